package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// A longLog is a log of more than one segment, and what there is to prune it.
type longLog struct {
	t        *testing.T
	db       *store.DB
	raw      *storetest.Raw
	private  string
	verifier note.Verifier
	log      *audit.Log
	stop     func() error
	dir      string
}

// newLongLog makes a log with some calls and then as many refusals as it takes.
func newLongLog(t *testing.T, dsn string, entries int) *longLog {
	t.Helper()
	x := &longLog{t: t, db: storetest.Open(t, dsn), raw: storetest.OpenRaw(t, dsn), dir: t.TempDir()}
	x.private, x.verifier = newKey(t)
	x.start()
	for range 20 {
		r, err := x.log.Intent(t.Context(), call())
		if err != nil {
			t.Fatal(err)
		}
		x.log.Outcome(r, audit.Entry{Status: 200})
	}
	e := call()
	e.Verdict = "refuse"
	x.log.Refusal(e)
	x.fill(int64(entries))
	return x
}

func (x *longLog) start() { x.log, x.stop = run(x.t, config(x.t, x.db.Audit(), x.private)) }

// fill appends until the log has that many entries.
func (x *longLog) fill(entries int64) {
	x.t.Helper()
	if err := x.log.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
	for range entries - x.size() {
		x.log.Refusal(audit.Entry{Action: "handle.refuse", Rule: "handle/expired"})
	}
	if err := x.log.Flush(x.t.Context()); err != nil {
		x.t.Fatal(err)
	}
}

func (x *longLog) size() int64 {
	x.t.Helper()
	head, err := x.db.Audit().Head(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return head.Size
}

func (x *longLog) source() audit.Source { return audit.NewSource(x.db.Audit()) }

func (x *longLog) view() *audit.View {
	x.t.Helper()
	view, err := audit.Newest(x.t.Context(), x.source(), x.verifier)
	if err != nil {
		x.t.Fatal(err)
	}
	return view
}

// pruner prunes everything that is complete; change may change its configuration.
func (x *longLog) pruner(change func(*audit.PruneConfig)) *audit.Pruner {
	x.t.Helper()
	signer, err := note.NewSigner(x.private)
	if err != nil {
		x.t.Fatal(err)
	}
	c := audit.PruneConfig{Log: x.log, Store: x.db.Audit(), Signer: signer, Keep: 1, Dir: x.dir}
	if change != nil {
		change(&c)
	}
	p, err := audit.NewPruner(c)
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

// prune prunes and wants that many segments.
func (x *longLog) prune(want int) []audit.PrunedSegment {
	x.t.Helper()
	done, err := x.pruner(nil).Prune(x.t.Context())
	if err != nil || len(done) != want {
		x.t.Fatalf("pruning: %d segments and %v, want %d", len(done), err, want)
	}
	return done
}

// sound wants the log to verify from an entry on.
func (x *longLog) sound(from int64, known ...[]byte) audit.Report {
	x.t.Helper()
	report := x.verify(known...)
	if !report.OK() || report.Pruned != from {
		var text bytes.Buffer
		report.Print(&text)
		x.t.Fatalf("the log from %d on, want %d:\n%s", report.Pruned, from, text.String())
	}
	return report
}

func (x *longLog) verify(known ...[]byte) audit.Report {
	x.t.Helper()
	report, err := audit.Verify(x.t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Known: known})
	if err != nil {
		x.t.Fatal(err)
	}
	return report
}

// wrong wants a problem whose place or text holds a text.
func (x *longLog) wrong(what, text string) {
	x.t.Helper()
	report := x.verify()
	for _, p := range report.Problems {
		if strings.Contains(p.Where+": "+p.What, text) {
			return
		}
	}
	var b bytes.Buffer
	report.Print(&b)
	x.t.Errorf("%s: want a problem with %q, got\n%s", what, text, b.String())
}

// checked checks an archive.
func (x *longLog) checked(name string, a audit.Archive) *audit.Archive {
	x.t.Helper()
	a.Verifier = x.verifier
	if err := a.Check(x.t.Context(), bytes.NewReader(read(x.t, filepath.Join(x.dir, name)))); err != nil {
		x.t.Fatalf("%s: %v", name, err)
	}
	return &a
}

// TestPrune prunes the first segments of a log, and wants all that was proved before to
// be provable, the rest to verify, and the archive to hold what is gone.
func TestPrune(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newLongLog(t, dsn, audit.Segment+700)
		before := x.view()
		old, err := before.Prove(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		proof, err := old.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var witness remembered
		w, _ := witnessOf(t, x.source(), x.verifier, &witness)
		if _, err := w.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		within, err := before.At(audit.Segment - 3)
		if err != nil {
			t.Fatal(err)
		}
		aligned, err := before.At(3 * 256)
		if err != nil {
			t.Fatal(err)
		}

		if done, err := x.pruner(func(c *audit.PruneConfig) { c.Keep = time.Hour }).Prune(t.Context()); err != nil || len(done) != 0 {
			t.Fatalf("entries that are not old: %v, %v", done, err)
		}
		failed := errors.New("nobody knows")
		for name, c := range map[string]struct {
			wanted int64
			waits  bool
			err    error
			wait   time.Duration
			due    int
		}{
			"the segment's last entry is wanted": {audit.Segment - 1, true, nil, time.Hour, 0},
			"what comes behind it is":            {audit.Segment, true, nil, time.Hour, 1},
			"nothing is":                         {0, false, nil, time.Hour, 1},
			"it was waited for long enough":      {0, true, nil, 1, 1},
			"nobody knows":                       {0, false, failed, time.Hour, 0},
		} {
			due, err := x.pruner(func(p *audit.PruneConfig) {
				p.Wait, p.Wanted = c.wait, func(context.Context) (int64, bool, error) { return c.wanted, c.waits, c.err }
			}).Due(t.Context())
			if len(due) != c.due || !errors.Is(err, c.err) {
				t.Errorf("%s: due are %v, %v", name, due, err)
			}
		}
		due, err := x.pruner(nil).Due(t.Context())
		if err != nil || len(due) != 1 || due[0].First != 0 || due[0].Last != audit.Segment-1 {
			t.Fatalf("due: %v, %v", due, err)
		}
		x.sound(0)
		done := x.prune(1)
		report := x.sound(audit.Segment, before.Note)
		if report.Size <= audit.Segment+700 {
			t.Errorf("the log has %d entries: nothing says what was pruned", report.Size)
		}
		for _, what := range []string{"audit_entries WHERE seq < 65536", "audit_search WHERE seq < 65536", "audit_tiles WHERE level = 0 AND idx < 256"} {
			if _, rows := x.raw.Query("SELECT count(*) FROM " + what); fmt.Sprint(rows[0][0]) != "0" {
				t.Errorf("%v are left of %s", rows[0][0], what)
			}
		}
		x.prune(0)
		// An erasure finds nothing of what is gone, and ends.
		if err := x.log.ForgetPerson(t.Context(), "person-1", "connection-1"); err != nil {
			t.Errorf("forgetting somebody whose entries were pruned: %v", err)
		}

		// Whatever was signed before still leads to what there is now.
		now := x.view()
		if err := now.GrownFrom(before.Point); err != nil {
			t.Errorf("from before the pruning: %v", err)
		}
		if err := now.GrownFrom(aligned); err != nil {
			t.Errorf("from within what was pruned, at a tile's end: %v", err)
		}
		if err := now.GrownFrom(within); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("from within what was pruned: %v, want that a tile is not there", err)
		}
		if _, err := w.Look(t.Context()); err != nil {
			t.Errorf("the witness: %v", err)
		}
		if _, err := audit.CheckProof(proof, x.verifier); err != nil {
			t.Errorf("a proof from before: %v", err)
		}
		if _, _, err := now.Entry(t.Context(), 5); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an entry that was pruned: %v", err)
		}
		for _, path := range []string{"tile/0/000", "tile/entries/255"} {
			if _, err := x.source()(t.Context(), path); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("%s: %v", path, err)
			}
		}

		// The archive proves what is gone, and completes the log's tiles.
		archive := x.checked(done[0].Archive, audit.Archive{Keep: func(path string) bool { return strings.HasPrefix(path, "tile/0/") || path == "tile/entries/000" }})
		if archive.Manifest.First != 0 || archive.Manifest.Last != audit.Segment-1 {
			t.Errorf("the archive: %+v", archive.Manifest)
		}
		both, err := audit.Newest(t.Context(), x.source().Or(archive.Source), x.verifier)
		if err != nil {
			t.Fatal(err)
		}
		if err := both.GrownFrom(within); err != nil {
			t.Errorf("with the archive: %v", err)
		}
		if again, err := both.Prove(t.Context(), 5); err != nil || again.Extra.Entry != old.Extra.Entry {
			t.Errorf("proving with the archive: %v", err)
		}

		// It goes on, also for a process that comes anew.
		x.fill(2*audit.Segment + 10)
		between := x.view()
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		x.start()
		x.prune(1)
		x.sound(2*audit.Segment, between.Note)
		if err := x.view().GrownFrom(between.Point); err != nil {
			t.Errorf("from between: %v", err)
		}
	})
}
