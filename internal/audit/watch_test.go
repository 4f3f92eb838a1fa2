package audit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// watched is a log that runs, and what somebody may do to it behind its back.
type watched struct {
	dsn  string
	db   *store.DB
	log  *audit.Log
	raw  *storetest.Raw
	stop func() error
	conf audit.Config
}

// file is the database's, on SQLite.
func (w *watched) file() string { return strings.TrimPrefix(w.dsn, "sqlite:") }

// fillTree writes so many entries that there are full tiles.
func fillTree(t *testing.T, log *audit.Log, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if _, err := log.Record(t.Context(), call()); err != nil {
				t.Errorf("recording: %v", err)
			}
		})
	}
	all.Wait()
}

func watching(t *testing.T, dsn string, entries int) *watched {
	t.Helper()
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	private, _ := newKey(t)
	w := &watched{dsn: dsn, db: db, raw: storetest.OpenRaw(t, dsn), conf: config(t, db.Audit(), private)}
	w.conf.OnFault = func(error) {}
	w.conf.Aside = t.TempDir()
	w.log, w.stop = run(t, w.conf)
	t.Cleanup(func() { _ = w.stop(); _ = db.Close() })
	fillTree(t, w.log, entries)
	return w
}

// copyFile copies the database's file, without its write-ahead log.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fold moves the write-ahead log into the file.
func (w *watched) fold() { w.raw.Query("PRAGMA wal_checkpoint(TRUNCATE)") }

// remember keeps a table's rows, so that an older state can be put back.
func (w *watched) remember() {
	for _, table := range []string{"audit_entries", "audit_head", "audit_tiles", "audit_checkpoints"} {
		w.raw.Exec("CREATE TABLE old_" + table + " AS SELECT * FROM " + table)
	}
}

func (w *watched) rollBack() {
	for _, table := range []string{"audit_entries", "audit_head", "audit_tiles", "audit_checkpoints"} {
		w.raw.Exec("DELETE FROM " + table)
		w.raw.Exec("INSERT INTO " + table + " SELECT * FROM old_" + table)
	}
}

// tamperings are what somebody who can write to the database, or to its files, may
// do while the log is open. before is done when there are 600 entries, do when
// there are 700.
var tamperings = []struct {
	name       string
	sqlite     bool // only there
	before, do func(t *testing.T, w *watched)
}{
	{name: "the last entry is deleted", do: func(_ *testing.T, w *watched) {
		w.raw.Exec("DELETE FROM audit_entries WHERE seq = (SELECT max(seq) FROM audit_entries)")
	}},
	{name: "an entry of long ago is deleted", do: func(_ *testing.T, w *watched) { w.raw.Exec("DELETE FROM audit_entries WHERE seq = 17") }},
	{name: "an entry of long ago has another hash", do: func(_ *testing.T, w *watched) {
		w.raw.Exec("UPDATE audit_entries SET leaf_hash = (SELECT leaf_hash FROM audit_entries WHERE seq = 300) WHERE seq = 18")
	}},
	{name: "two entries change places", do: func(_ *testing.T, w *watched) {
		w.raw.Exec("UPDATE audit_entries SET seq = -1 WHERE seq = 600")
		w.raw.Exec("UPDATE audit_entries SET seq = 600 WHERE seq = 601")
		w.raw.Exec("UPDATE audit_entries SET seq = 601 WHERE seq = -1")
	}},
	{name: "all entries are deleted", do: func(_ *testing.T, w *watched) { w.raw.Exec("DELETE FROM audit_entries") }},
	{name: "the head is deleted", do: func(_ *testing.T, w *watched) { w.raw.Exec("DELETE FROM audit_head") }},
	{name: "the head says less", do: func(_ *testing.T, w *watched) { w.raw.Exec("UPDATE audit_head SET size = size - 1") }},
	{name: "the head says more", do: func(_ *testing.T, w *watched) { w.raw.Exec("UPDATE audit_head SET size = size + 1") }},
	{name: "a tile is deleted", do: func(_ *testing.T, w *watched) { w.raw.Exec("DELETE FROM audit_tiles WHERE level = 0 AND idx = 1") }},
	{name: "a tile and its entries are those of another", do: func(_ *testing.T, w *watched) {
		w.raw.Exec("UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 0) WHERE level = 0 AND idx = 1")
		w.raw.Exec("UPDATE audit_entries SET leaf_hash = (SELECT o.leaf_hash FROM audit_entries o WHERE o.seq = audit_entries.seq - 256) WHERE seq >= 256 AND seq < 512")
	}},
	{name: "kept checkpoints are deleted", do: func(_ *testing.T, w *watched) { w.raw.Exec("DELETE FROM audit_checkpoints") }},
	{name: "the whole log is rolled back", before: func(_ *testing.T, w *watched) { w.remember() }, do: func(_ *testing.T, w *watched) { w.rollBack() }},
	{name: "the file is deleted", sqlite: true, do: func(t *testing.T, w *watched) {
		if err := os.Remove(w.file()); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "the write-ahead log is deleted", sqlite: true, do: func(t *testing.T, w *watched) {
		if err := os.Remove(w.file() + "-wal"); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "the write-ahead log is replaced by a copy of itself", sqlite: true, do: func(t *testing.T, w *watched) {
		copyFile(t, w.file()+"-wal", w.file()+".copy")
		if err := os.Rename(w.file()+".copy", w.file()+"-wal"); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "the file is replaced by a copy of itself", sqlite: true, do: func(t *testing.T, w *watched) {
		w.fold()
		copyFile(t, w.file(), w.file()+".copy")
		if err := os.Rename(w.file()+".copy", w.file()); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "the file is replaced by an older copy", sqlite: true, before: func(t *testing.T, w *watched) {
		w.fold()
		copyFile(t, w.file(), w.file()+".old")
	}, do: func(t *testing.T, w *watched) {
		if err := os.Rename(w.file()+".old", w.file()); err != nil {
			t.Fatal(err)
		}
	}},
	{name: "the file is overwritten with an older copy", sqlite: true, before: func(t *testing.T, w *watched) {
		w.fold()
		copyFile(t, w.file(), w.file()+".old")
	}, do: func(t *testing.T, w *watched) {
		w.fold()
		copyFile(t, w.file()+".old", w.file())
	}},
	{name: "the file is truncated", sqlite: true, do: func(t *testing.T, w *watched) {
		w.fold()
		if err := os.Truncate(w.file(), 64<<10); err != nil {
			t.Fatal(err)
		}
	}},
}

// TestTamperedWhileRunning: each is noticed by itself, the gates close with an
// error that says what to do, what takes access away is still accepted, and a
// restart does not forget it.
func TestTamperedWhileRunning(t *testing.T) {
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each := storetest.Each
			if c.sqlite {
				each = func(t *testing.T, f func(*testing.T, string)) { f(t, storetest.SQLite(t)) }
			}
			each(t, func(t *testing.T, dsn string) {
				w := watching(t, dsn, 600)
				if c.before != nil {
					c.before(t, w)
				}
				fillTree(t, w.log, 100)
				c.do(t, w)
				eventually(t, "noticing", func() bool { return w.log.State().Condition != audit.Writable })
				state := w.log.State()
				if state.Condition != audit.Tampered {
					t.Fatalf("%+v, want tampered", state)
				}
				_, err := w.log.Intent(t.Context(), call())
				rule(t, "a call", err, "log/tampered")
				if r, err := w.log.Reduce(t.Context(), audit.Entry{Action: "handle.revoke"}); err != nil || !r.Valid() {
					t.Errorf("taking access away: %v", err)
				}
				if alert, err := audit.ReadAlert(w.conf.Aside); err != nil || alert.What == "" || alert.Size < 700 || alert.Note == "" {
					t.Errorf("the alert is %+v, %v", alert, err)
				}
				if err := w.stop(); err == nil {
					t.Error("stopping says nothing of entries that are not written")
				}
				// Neither that process nor the next one writes or admits anything.
				again, err := audit.Open(t.Context(), w.conf)
				if err != nil {
					return // it does not even open
				}
				if again.State().Condition != audit.Tampered {
					t.Errorf("after a restart: %+v", again.State())
				}
			})
		})
	}
}

// TestNothingIsWrong is the near misses of TestTamperedWhileRunning: what happens
// to a database in the course of things.
func TestNothingIsWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		sqlite bool
		do     func(t *testing.T, w *watched)
	}{
		{"another process appends", false, func(t *testing.T, w *watched) {
			other, stop := run(t, w.conf)
			fillTree(t, other, 700)
			if err := stop(); err != nil {
				t.Error(err)
			}
		}},
		{"VACUUM", false, func(_ *testing.T, w *watched) { w.raw.ExecUncounted("VACUUM") }},
		{"another table is changed", false, func(_ *testing.T, w *watched) {
			w.raw.Exec("INSERT INTO meta (name, value) VALUES ('environment', 'production')")
		}},
		{"the write-ahead log is folded", true, func(_ *testing.T, w *watched) { w.fold() }},
		{"a copy is taken", true, func(_ *testing.T, w *watched) { w.raw.ExecUncounted("VACUUM INTO $1", w.file()+".copy") }},
		{"the file's mode is changed", true, func(t *testing.T, w *watched) {
			if err := os.Chmod(w.file(), 0o400); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each := storetest.Each
			if c.sqlite {
				each = func(t *testing.T, f func(*testing.T, string)) { f(t, storetest.SQLite(t)) }
			}
			each(t, func(t *testing.T, dsn string) {
				w := watching(t, dsn, 600)
				w.conf.OnFault = func(err error) { t.Errorf("fault: %v", err) }
				c.do(t, w)
				for range 3 { // looks
					looked(t, w.log)
					if s := w.log.State(); s.Condition != audit.Writable {
						t.Fatalf("%+v", s)
					}
				}
				if _, err := w.log.Intent(t.Context(), call()); err != nil {
					t.Error(err)
				}
				if err := w.stop(); err != nil {
					t.Error(err)
				}
				again, stop := run(t, w.conf)
				looked(t, again)
				if _, err := again.Intent(t.Context(), call()); err != nil {
					t.Errorf("after a restart: %v", err)
				}
				if err := stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// looked returns when the log has looked at what is stored.
func looked(t *testing.T, log *audit.Log) {
	t.Helper()
	log.Redo(t.Context(), func(context.Context, audit.Deed) error { return nil })
}

// TestRolledBackWhileStopped puts an older copy, which verifies, in the place of
// the log while nobody looks.
func TestRolledBackWhileStopped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := watching(t, dsn, 300)
		w.remember()
		fillTree(t, w.log, 300)
		looked(t, w.log)
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.rollBack()
		log, stop := run(t, w.conf)
		_, err := log.Intent(t.Context(), call())
		rule(t, "a call", err, "log/tampered")

		// The operator looks, and accepts it: the log that runs goes on.
		if err := audit.Accept(w.conf.Aside); err != nil {
			t.Fatal(err)
		}
		if _, err := audit.ReadAccepted(w.conf.Aside); err != nil {
			t.Errorf("what was accepted is not kept until that is on record: %v", err)
		}
		eventually(t, "going on", func() bool { return log.State().Condition == audit.Writable })
		if _, err := log.Record(t.Context(), audit.Entry{Action: "log.accept"}); err != nil {
			t.Fatal(err)
		}
		if err := audit.Accepted(w.conf.Aside); err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		err = w.db.Audit().Snapshot(t.Context(), func(r audit.Reader) error {
			rows, err := r.Entries(t.Context(), 0, 1<<20)
			if n := len(leaves(t, rows, "log.tampered")); n != 1 {
				t.Errorf("that it was noticed is %d times in the log", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		// From here on it is the log that later ones have to lead to.
		again, stop := run(t, w.conf)
		if _, err := again.Intent(t.Context(), call()); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, read := range []func(string) (audit.Alert, error){audit.ReadAlert, audit.ReadAccepted} {
			if _, err := read(w.conf.Aside); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("an alert is left: %v", err)
			}
		}
	})
}

// TestSeenIsOnlyBelieved checks what a checkpoint beside the log is worth: a file
// that is cut, or of another key, says nothing.
func TestSeenIsOnlyBelieved(t *testing.T) {
	w := watching(t, storetest.SQLite(t), 10)
	looked(t, w.log)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.conf.Aside, "seen")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty": "", "cut": string(good[:len(good)/2]), "of another size": strings.Replace(string(good), "\n1", "\n9", 1), "garbage": "\n\n\n\n\x00",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		log, err := audit.Open(t.Context(), w.conf)
		if err != nil || log.State().Condition != audit.Writable {
			t.Errorf("%s: %v %+v", name, err, log.State())
		}
	}
}

// TestWalkInATallTree walks over a log in which tiles lie above full tiles, whole and
// with each kind of change that leaves the lower levels in agreement.
func TestWalkInATallTree(t *testing.T) {
	w := watching(t, storetest.SQLite(t), 0)
	for range 66 {
		for range 1000 {
			w.log.Refusal(audit.Entry{Action: "call"})
		}
		if err := w.log.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), w.conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := audit.WalkAll(t.Context(), log); err != nil {
		t.Fatalf("an untouched log: %v", err)
	}
	w.remember()
	for _, change := range []string{
		"UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 7) WHERE level = 1",
		"DELETE FROM audit_tiles WHERE level = 1",
		"UPDATE audit_tiles SET hashes = zeroblob(32) || substr(hashes, 33) WHERE level = 1",
		"UPDATE audit_tiles SET hashes = substr(hashes, 1, 8191) WHERE level = 1",
	} {
		w.raw.Exec(change)
		if err := audit.WalkAll(t.Context(), log); err == nil {
			t.Errorf("not noticed: %s", change)
		}
		w.rollBack()
	}
	w.raw.Exec("UPDATE audit_tiles SET hashes = (SELECT hashes FROM audit_tiles WHERE level = 0 AND idx = 0) WHERE level = 0 AND idx = 200")
	w.raw.Exec("UPDATE audit_entries SET leaf_hash = (SELECT o.leaf_hash FROM audit_entries o WHERE o.seq = audit_entries.seq - 51200) WHERE seq >= 51200 AND seq < 51456")
	if err := audit.WalkAll(t.Context(), log); err == nil {
		t.Error("a tile that agrees with its entries and not with the one above is not noticed")
	}
	w.rollBack()
	if err := audit.WalkAll(t.Context(), log); err != nil {
		t.Fatalf("as it was again: %v", err)
	}
}
