package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// A dying store is a real one of a process that dies at the nth write of a kind, before
// it or after it; nothing that comes later is done.
type dying struct {
	audit.PruneLog
	kind   string
	nth    int
	stored bool
	dead   bool
}

var errDead = errors.New("the process is dead")

func (d *dying) write(kind string, do func() error) error {
	if d.dead {
		return errDead
	}
	if kind == d.kind {
		if d.nth--; d.nth == 0 {
			d.dead = true
			if d.stored {
				return errors.Join(do(), errDead)
			}
			return errDead
		}
	}
	return do()
}

func (d *dying) ClaimPruning(ctx context.Context, holder string, now, until time.Time) (p audit.Pruning, err error) {
	err = d.write("claim", func() error {
		p, err = d.PruneLog.ClaimPruning(ctx, holder, now, until)
		return err
	})
	return p, err
}

func (d *dying) MarkPruning(ctx context.Context, holder string, since int64, until time.Time) error {
	return d.write("mark", func() error { return d.PruneLog.MarkPruning(ctx, holder, since, until) })
}

func (d *dying) Prune(ctx context.Context, holder string, from, to, entry int64, until time.Time) error {
	return d.write("prune", func() error { return d.PruneLog.Prune(ctx, holder, from, to, entry, until) })
}

func (d *dying) ReleasePruning(ctx context.Context, holder string) error {
	return d.write("release", func() error { return d.PruneLog.ReleasePruning(ctx, holder) })
}

func (d *dying) NoteArchive(ctx context.Context, f audit.ArchiveFile) error {
	return d.write("note", func() error { return d.PruneLog.NoteArchive(ctx, f) })
}

// TestPruneCrashPairs has a process die before and after each write of a pruning. At
// every point the log verifies, a program that runs notices nothing wrong, rows beyond
// what was announced are still missed, and the next run goes on until all is done, with
// one intent and one outcome.
func TestPruneCrashPairs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newLongLog(t, dsn, audit.Segment+300)
		name := audit.ArchiveName(x.verifier.Name(), 0)
		// A file that is not finished, of a process that died while it wrote.
		if err := os.WriteFile(filepath.Join(x.dir, name+".new"), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		const batches = audit.Segment / 1024
		for _, death := range []struct {
			kind   string
			nth    int
			stored bool
			from   int64 // where the log begins then
		}{
			{"claim", 1, false, 0},
			{"claim", 1, true, 0},
			{"note", 1, false, 0},
			{"note", 1, true, 0},
			{"mark", 1, false, 0},
			{"mark", 1, true, 0},
			{"prune", 1, false, 0},
			{"prune", 1, true, 1024},
			{"prune", 2, false, 2048},
			{"prune", batches - 2, false, audit.Segment - 1024},
			{"prune", 1, true, audit.Segment},
			{"mark", 1, false, audit.Segment},
			{"mark", 1, true, audit.Segment},
			{"mark", 2, false, audit.Segment},
			{"mark", 2, true, audit.Segment},
			{"release", 1, false, audit.Segment},
			{"release", 1, true, audit.Segment},
		} {
			store := &dying{PruneLog: x.db.Audit(), kind: death.kind, nth: death.nth, stored: death.stored}
			_, err := x.pruner(func(c *audit.PruneConfig) { c.Store = store }).Prune(t.Context())
			if !errors.Is(err, errDead) {
				t.Fatalf("%+v: %v, want death", death, err)
			}
			x.sound(death.from)
			looked(t, x.log)
			if death.from > 0 && death.from < audit.Segment {
				// A row within what was announced, and not pruned yet.
				gone := x.taken("audit_entries", "seq", death.from+7)
				x.wrong("a row of a half pruned segment", "is missing")
				gone()
				first := x.taken("audit_entries", "seq", audit.Segment)
				x.wrong("a row behind it", "entry 65536: is missing")
				first()
			}
			switch _, err := x.pruner(nil).Prune(t.Context()); {
			case death.kind == "claim" && !death.stored, death.kind == "release" && death.stored:
				if err != nil {
					t.Fatalf("%+v: the next one: %v", death, err)
				}
			case !errors.Is(err, gatehouse.ErrConflict):
				t.Fatalf("%+v: while its claim lasts: %v", death, err)
			}
			if death.kind == "claim" && !death.stored {
				break
			}
			// Its claim ends.
			x.raw.Exec("UPDATE audit_pruned SET until = 0")
		}
		x.prune(0)
		x.sound(audit.Segment)
		var intents, outcomes int
		found, err := audit.List(t.Context(), x.db.Audit(), audit.Filter{Action: audit.PruneAction, Last: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			switch e.Kind {
			case audit.KindIntent:
				intents++
			case audit.KindOutcome:
				outcomes++
			}
		}
		if intents != 1 || outcomes != 1 {
			t.Errorf("the log has %d intents and %d outcomes of one pruning", intents, outcomes)
		}
		x.checked(name, audit.Archive{})
		if files, err := os.ReadDir(x.dir); err != nil || len(files) != 1 {
			t.Errorf("the directory of archives holds %v, %v", files, err)
		}
	})
}
