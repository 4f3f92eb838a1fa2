package backup_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/backup"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// steps returns the steps of an operation, in order, each once. Of those for each
// table the last is enough.
func steps(t *testing.T, f func() error) []string {
	t.Helper()
	var mu sync.Mutex
	var list []string
	backup.SetStep(func(name string) {
		mu.Lock()
		defer mu.Unlock()
		for i, known := range list {
			kind, _, perTable := strings.Cut(name, " ")
			if known == name {
				return
			}
			if perTable && (kind == "part" || kind == "loaded") && strings.HasPrefix(known, kind+" ") {
				list[i] = name
				return
			}
		}
		list = append(list, name)
	})
	defer backup.SetStep(nil)
	if err := f(); err != nil {
		t.Fatal(err)
	}
	return list
}

// A process that takes a backup is killed at every step. What is there under a
// backup's name is whole, and the next one is taken as ever.
func TestBackupKilledAtEveryStep(t *testing.T) {
	p := newPlace(t, storetest.SQLite(t))
	h := p.start(t)
	h.erased(t, 1)
	points := steps(t, func() error { _, err := h.backups.Create(t.Context(), "", nil); return err })
	if len(points) < 6 {
		t.Fatalf("only the steps %q", points)
	}
	for _, point := range points {
		for _, dir := range []string{"to", "keys"} { // as if it were the first
			if err := os.RemoveAll(p.path(dir)); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(p.path(dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if out, killed := p.run(t, "backup", "", p.dsn, point); !killed {
			// Steps of the first shipping do not come again in the same process.
			t.Fatalf("not killed at %q: %s", point, out)
		}
		check := func() int {
			list, err := backup.List(p.path("to"), production, h.verifier)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				f, err := backup.OpenFile(l.Path, h.verifier)
				if err != nil {
					t.Fatalf("killed at %q: %v", point, err)
				}
				if err := f.Verify(t.Context(), nil); err != nil {
					t.Errorf("killed at %q: %v", point, err)
				}
				_ = f.Close()
			}
			return len(list)
		}
		before := check()
		if (before == 1) != (point == "named") {
			t.Errorf("killed at %q: %d backups", point, before)
		}
		h.backup(t)
		if n := check(); n != before+1 {
			t.Errorf("killed at %q, then again: %d backups", point, n)
		}
	}
}

// A restore is killed at every step. Until it has ended nothing opens the target;
// it can be run again; and then who was erased stays erased.
func TestRestoreKilledAtEveryStep(t *testing.T) {
	p := newPlace(t, storetest.SQLite(t))
	h := p.start(t)
	fill(t, p.dsn)
	ada, adas := h.person(t)
	made := h.backup(t)
	if err := h.erase(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	points := steps(t, func() error {
		again, err := h.restore(t.Context(), made.Path, empty(t, "sqlite"))
		if err != nil {
			return err
		}
		return again.close()
	})
	if len(points) < 6 {
		t.Fatalf("only the steps %q", points)
	}
	for _, engine := range []string{"sqlite", "postgres"} {
		for _, point := range points {
			target := empty(t, engine)
			if out, killed := p.run(t, "restore", made.Path, target, point); !killed {
				t.Fatalf("%s: not killed at %q: %s", engine, point, out)
			}
			if db, err := store.Open(t.Context(), target); err == nil {
				_ = db.Close()
				t.Fatalf("%s: killed at %q, and it opens", engine, point)
			}
			again, err := h.restore(t.Context(), made.Path, target)
			if err != nil {
				t.Fatalf("%s: killed at %q, then again: %v", engine, point, err)
			}
			if again.opens(t, ada, adas) == nil {
				t.Errorf("%s: killed at %q, then again: the token of who was erased opens", engine, point)
			}
			if err := again.close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Pruning is killed at every step: the key, once touched, opens nothing, and the
// next round ends what was begun.
func TestPruneKilledAtEveryStep(t *testing.T) {
	p := newPlace(t, storetest.SQLite(t))
	h := p.start(t)
	later := time.Now().Add(80 * time.Hour)
	h.backup(t)
	points := steps(t, func() error { _, err := h.backups.Prune(t.Context(), later); return err })
	if len(points) != 4 {
		t.Fatalf("the steps %q", points)
	}
	for _, point := range points {
		made := h.backup(t)
		content, err := os.ReadFile(made.Path)
		if err != nil {
			t.Fatal(err)
		}
		if out, killed := p.run(t, "prune", "", p.dsn, point); !killed {
			t.Fatalf("not killed at %q: %s", point, out)
		}
		kept := filepath.Join(t.TempDir(), filepath.Base(made.Path))
		if err := os.WriteFile(kept, content, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := p.restoreConfig(kept)
		if err != nil {
			t.Fatal(err)
		}
		_, err = backup.NewDrill(t.Context(), c)
		if (err == nil) != (point == "prune") {
			t.Errorf("killed at %q: opening a copy gives %v", point, err)
		}
		_ = c.File.Close()
		if _, err := h.backups.Prune(t.Context(), later); err != nil {
			t.Errorf("killed at %q, then again: %v", point, err)
		}
		for _, dir := range []string{"keys", "to"} {
			left, err := filepath.Glob(p.path(dir + "/*[py]")) // *.backup and *.epochkey
			if err != nil || len(left) > 0 {
				t.Errorf("killed at %q, then again: left %v", point, left)
			}
		}
	}
}

// An erasure is killed while its line goes to the directories: it is repeated, and
// every copy has it once.
func TestErasureKilledWhileShipped(t *testing.T) {
	p := newPlace(t, storetest.SQLite(t))
	h := p.start(t)
	person, sealed := h.person(t)
	if out, killed := p.run(t, "erase", string(person), p.dsn, "line shipped"); !killed {
		t.Fatalf("not killed: %s", out)
	}
	if err := h.erase(t.Context(), person); err != nil {
		t.Fatal(err)
	}
	if h.opens(t, person, sealed) == nil {
		t.Error("the token opens")
	}
	for _, dir := range []string{"to", "copy"} {
		if n := strings.Count(string(h.ledgerFile(t, dir)), string(person)); n != 1 {
			t.Errorf("%s names the person %d times", dir, n)
		}
	}
}
