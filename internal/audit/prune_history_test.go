package audit_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// TestPruneHistories prunes random logs up to random points: the process dies in the
// middle more often than not. Whatever verified before still does, checkpoints, proofs
// and a witness from before go on, and any change to the rest is found.
func TestPruneHistories(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newLongLog(t, dsn, 1+rand.IntN(2000))
		var kept []*audit.View
		var proofs [][]byte
		var witness remembered
		for x.size() < audit.Segment {
			x.fill(min(x.size()+1+rand.Int64N(30000), audit.Segment+rand.Int64N(3000)))
			view := x.view()
			kept = append(kept, view)
			p, err := view.Prove(t.Context(), rand.Int64N(view.Size))
			if err != nil {
				t.Fatal(err)
			}
			proof, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			proofs = append(proofs, proof)
		}
		w, _ := witnessOf(t, x.source(), x.verifier, &witness)
		if _, err := w.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.sound(0, notes(kept)...)

		// Half of the time the process dies in the middle.
		store := &dying{PruneLog: x.db.Audit(), kind: "prune", nth: 1 + rand.IntN(2*audit.Segment/1024), stored: rand.IntN(2) == 0}
		if _, err := x.pruner(func(c *audit.PruneConfig) { c.Store = store }).Prune(t.Context()); err != nil && !errors.Is(err, errDead) {
			t.Fatal(err)
		}
		_, rows := x.raw.Query("SELECT start, entry FROM audit_pruned")
		start := number(t, rows[0][0])
		t.Logf("%d entries, pruned up to %d, checkpoints of %v", x.size(), start, sizes(kept))
		var left []*audit.View
		for _, k := range kept {
			if k.Size >= start || k.Size%audit.TileWidth == 0 {
				left = append(left, k)
			}
		}
		x.sound(start, notes(left)...)
		for _, p := range proofs {
			if _, err := audit.CheckProof(p, x.verifier); err != nil {
				t.Errorf("a proof from before: %v", err)
			}
		}
		if _, err := w.Look(t.Context()); err != nil {
			t.Errorf("the witness: %v", err)
		}
		now := x.view()
		for _, k := range left {
			if err := now.GrownFrom(k.Point); err != nil {
				t.Errorf("from %d entries: %v", k.Size, err)
			}
		}
		if start > 0 {
			archive := x.checked(audit.ArchiveName(x.verifier.Name(), 0), audit.Archive{Keep: func(string) bool { return true }})
			for _, k := range kept {
				if err := now.Or(t.Context(), archive.Source).GrownFrom(k.Point); err != nil {
					t.Errorf("from %d entries, with the archive: %v", k.Size, err)
				}
			}
			if report, err := audit.Verify(t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Known: notes(kept), Archive: archive.Source}); err != nil || !report.OK() {
				t.Errorf("with all checkpoints and the archive: %v, %v", report.Problems, err)
			}
			if len(left) < len(kept) {
				if _, err := audit.Verify(t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Known: notes(kept)}); !errors.Is(err, gatehouse.ErrInvalid) {
					t.Errorf("with a checkpoint of what is gone: %v, want that the archive is needed", err)
				}
			}
			forged := rand.Int64N(start)
			if forged%audit.TileWidth == 0 {
				forged++
			}
			fork := forgedCheckpoint(t, x.private, forged)
			if report, err := audit.Verify(t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Known: [][]byte{fork}, Archive: archive.Source}); err != nil || report.OK() {
				t.Errorf("a fork of %d entries: %v, want a problem", forged, err)
			}
			since, err := audit.Verify(t.Context(), x.db.Audit(), x.verifier, audit.VerifyOptions{Since: now.Note})
			if err != nil || !since.OK() {
				t.Errorf("since the newest checkpoint: %v, %v", since.Problems, err)
			}
		}
		x.exported(start)
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		size := x.size()
		for range 6 {
			entry := start + rand.Int64N(size-start)
			_, tiles := x.raw.Query("SELECT level, idx FROM audit_tiles WHERE level = 0 OR idx >= 0 ORDER BY level, idx")
			tile := tiles[rand.IntN(len(tiles))]
			for what, change := range map[string]func() func(){
				fmt.Sprint("entry removed: ", entry): func() func() { return x.taken("audit_entries", "seq", entry) },
				fmt.Sprint("entry changed: ", entry): func() func() {
					undo := x.taken("audit_entries", "seq", entry)
					undo()
					x.raw.Exec("UPDATE audit_entries SET leaf = (SELECT e.leaf FROM audit_entries e WHERE e.seq <> $1 ORDER BY e.seq LIMIT 1) WHERE seq = $1", entry)
					return undo
				},
				fmt.Sprintf("tile removed: %v/%v", tile...): func() func() {
					x.raw.Exec("UPDATE audit_tiles SET level = level + 50 WHERE level = $1 AND idx = $2", tile...)
					return func() {
						x.raw.Exec("UPDATE audit_tiles SET level = level - 50 WHERE level >= 50")
					}
				},
				"checkpoint removed": func() func() { return x.taken("audit_checkpoints", "num", 0) },
			} {
				undo := change()
				if report := x.verify(); report.OK() {
					t.Errorf("%s: not found", what)
				}
				undo()
			}
		}
		x.sound(start)
	})
}

// exported exports a log that begins at an entry, and wants what was exported to prove
// what is left.
func (x *longLog) exported(start int64) {
	x.t.Helper()
	files := map[string][]byte{}
	have := audit.Source(func(_ context.Context, path string) ([]byte, error) {
		if b, ok := files[path]; ok {
			return b, nil
		}
		return nil, fmt.Errorf("%s: %w", path, gatehouse.ErrNotFound)
	})
	e := audit.Exporter{Source: x.source(), Verifier: x.verifier, Have: have, Start: start, Put: func(path string, content []byte) error {
		files[path] = content
		return nil
	}}
	for range 2 {
		if _, err := e.Export(x.t.Context()); err != nil {
			x.t.Fatalf("exporting from %d on: %v", start, err)
		}
		x.fill(x.size() + 300) // and goes on
	}
	view, err := audit.Newest(x.t.Context(), have, x.verifier)
	if err != nil {
		x.t.Fatal(err)
	}
	for _, index := range []int64{start, view.Size - 1, start + rand.Int64N(view.Size-start)} {
		if _, _, err := view.Entry(x.t.Context(), index); err != nil {
			x.t.Errorf("entry %d of the exported log: %v", index, err)
		}
	}
	e.Start = start + 1
	e.Have = func(context.Context, string) ([]byte, error) { return nil, gatehouse.ErrNotFound }
	if _, err := e.Export(x.t.Context()); !errors.Is(err, audit.ErrTampered) {
		x.t.Errorf("from the middle of a tile: %v", err)
	}
}

func notes(views []*audit.View) (all [][]byte) {
	for _, v := range views {
		all = append(all, v.Note)
	}
	return all
}

func sizes(views []*audit.View) (all []int64) {
	for _, v := range views {
		all = append(all, v.Size)
	}
	return all
}

func number(t *testing.T, v any) int64 {
	t.Helper()
	n, ok := v.(int64)
	if !ok {
		t.Fatalf("%v is no number", v)
	}
	return n
}

// forgedCheckpoint is one of another log that the same key signed.
func forgedCheckpoint(t *testing.T, private string, size int64) []byte {
	t.Helper()
	db := storetest.Open(t, storetest.SQLite(t))
	log, stop := run(t, config(t, db.Audit(), private))
	x := &longLog{t: t, db: db, log: log, stop: stop}
	if size > 3000 {
		size = 3000 // any other size is refused as well
	}
	x.fill(size)
	head, err := db.Audit().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return head.Note
}

// TestPruneAfterARestore: the database is put back to before a pruning. It verifies, and
// what is pruned again is the archive that is there already; one of another log of the
// same key is not taken for it.
func TestPruneAfterARestore(t *testing.T) {
	dsn := storetest.SQLite(t)
	x := newLongLog(t, dsn, audit.Segment+300)
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup.db")
	x.raw.Query("PRAGMA wal_checkpoint(TRUNCATE)")
	copyFile(t, dsn[len("sqlite:"):], backup)
	x.start()
	first := x.prune(1)[0]
	x.sound(audit.Segment)

	restored := *x
	restored.db, restored.raw = storetest.Open(t, "sqlite:"+backup), storetest.OpenRaw(t, "sqlite:"+backup)
	restored.sound(0)
	restored.start()
	again := restored.prune(1)[0]
	if again.SHA256 != first.SHA256 || again.Archive != first.Archive {
		t.Errorf("pruned again: %+v, want the archive %+v", again, first)
	}
	restored.sound(audit.Segment)

	other := newLongLog(t, storetest.SQLite(t), 10)
	if err := other.stop(); err != nil {
		t.Fatal(err)
	}
	fork := *other
	fork.db, fork.raw = storetest.Open(t, storetest.SQLite(t)), other.raw
	fork.private, fork.verifier, fork.dir = x.private, x.verifier, x.dir
	fork.start()
	fork.fill(audit.Segment + 10)
	if done, err := fork.pruner(nil).Prune(t.Context()); !errors.Is(err, gatehouse.ErrConflict) || len(done) > 0 {
		t.Errorf("a fork over another log's archive: %v, %v", done, err)
	}
	fork.sound(0)
	if err := os.Remove(filepath.Join(x.dir, first.Archive)); err != nil {
		t.Fatal(err)
	}
	fork.prune(1)
	fork.sound(audit.Segment)
}

// TestSeenLongAgo: a machine that was away for longer than entries are kept opens the log
// all the same, and one that is rolled back further than that is still found.
func TestSeenLongAgo(t *testing.T) {
	x := newLongLog(t, storetest.SQLite(t), 1000)
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	conf := config(t, x.db.Audit(), x.private)
	conf.Aside = t.TempDir()
	log, stop := run(t, conf)
	looked(t, log)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	x.start()
	x.fill(audit.Segment + 300)
	x.prune(1)
	if err := x.stop(); err != nil {
		t.Fatal(err)
	}
	again, err := audit.Open(t.Context(), conf)
	if err != nil || again.Fault() != nil {
		t.Fatalf("opening: %v, %v", err, again.Fault())
	}
	// The near miss: what this machine has seen is gone, and the log does not say so.
	x.raw.Exec("UPDATE audit_pruned SET entry = 65540")
	conf.OnFault = func(error) {}
	forged, err := audit.Open(t.Context(), conf)
	if err != nil || forged.State().Condition != audit.Tampered {
		t.Errorf("with a forged row: %v, %+v", err, forged.State())
	}
}
