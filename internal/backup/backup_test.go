package backup_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// fill puts rows of every shape in: references to rows that come later, numbers
// that were given out and are gone, empty bytes, and text that is not ASCII.
func fill(t testing.TB, dsn string) {
	t.Helper()
	raw := storetest.OpenRaw(t, dsn)
	raw.Exec(`INSERT INTO services (id, name, environment, created, disabled) VALUES ('s1', 'wéb', 'production', 1, 0)`)
	for _, h := range [][2]any{{"z-parent", nil}, {"a-child", "z-parent"}} {
		raw.Exec(`INSERT INTO handles (id, service, connection, person, purpose, platform, app, parent, hash, created, expires, revoked)
			VALUES ($1, 's1', 'c', 'p', 'q', 'x', 'a', $2, $3, 1, 2, 0)`, h[0], h[1], []byte{0, 1, 255})
	}
	for _, id := range []string{"e1", "e2"} {
		raw.Exec(`INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version)
			VALUES ($1, 't', 'a', '', '', $2, 'waiting', 1, 1, 1, 0, '', 1, 1)`, id, []byte{})
	}
	raw.Exec(`DELETE FROM outbox_events WHERE id = 'e2'`)
	var many []string // more than go in at once, and not a multiple of that
	for i := range 75 {
		many = append(many, fmt.Sprintf("('n%d', %d)", i, i))
	}
	raw.Exec("INSERT INTO notices (id, received) VALUES " + strings.Join(many, ", "))
}

// A backup of each engine comes back into each, row for row, with every table that
// the database has.
func TestRoundTrip(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		h := newHouse(t, dsn)
		fill(t, dsn)
		ada, adas := h.person(t)
		gone, _ := h.person(t)
		if err := h.erase(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
		before := contents(t, dsn)
		made := h.backup(t)
		var parts []string
		for _, p := range made.Manifest.Parts {
			parts = append(parts, p.Name)
		}
		slices.Sort(parts)
		if want := tableNames(storetest.OpenRaw(t, dsn), dsn); !slices.Equal(parts, want) {
			t.Fatalf("the backup has the tables %v, the database %v", parts, want)
		}
		for _, engine := range []string{"sqlite", "postgres"} {
			target := empty(t, engine)
			c, err := h.restoreConfig(made.Path)
			if err != nil {
				t.Fatal(err)
			}
			r, err := backup.NewRestore(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			db, err := store.Restoring(t.Context(), target, made.Manifest.Schema)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(r.Load(t.Context(), db.Backup(), nil), db.Close(), c.File.Close()); err != nil {
				t.Fatalf("into %s: %v", engine, err)
			}
			after := contents(t, target)
			after["meta"] = slices.DeleteFunc(after["meta"], func(row string) bool { return strings.Contains(row, "restoring") })
			delete(after, "changes")
			delete(after, "goose_db_version")
			for name := range before {
				// The log has the backup's own intent too; that it verifies is tested below. The
				// daily key has moved in from its file; that it opens is tested below.
				if name != "changes" && name != "vault_daily_keys" && !strings.HasPrefix(name, "audit_") && cmp.Diff(before[name], after[name]) != "" {
					t.Errorf("into %s: table %s: %s", engine, name, cmp.Diff(before[name], after[name]))
				}
			}
			// Nobody opens it before the erasures.
			if _, err := store.Open(t.Context(), target); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "restore") {
				t.Errorf("opening what is half restored: %v", err)
			}
			again, err := h.restore(t.Context(), made.Path, target)
			if err != nil {
				t.Fatal(err)
			}
			if err := again.opens(t, ada, adas); err != nil {
				t.Errorf("a token of somebody who was not erased: %v", err)
			}
			if err := again.close(); err != nil {
				t.Fatal(err)
			}
			raw := storetest.OpenRaw(t, target)
			raw.Exec(`INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version)
				VALUES ('e3', 't', 'a', '', '', NULL, 'waiting', 1, 1, 1, 0, '', 1, 1)`)
			if _, rows := raw.Query(`SELECT seq FROM outbox_events WHERE id = 'e3'`); rows[0][0] != int64(3) {
				t.Errorf("the next event has number %v; 2 was given out before the backup", rows[0][0])
			}
			if _, err := store.Restoring(t.Context(), target, made.Manifest.Schema); !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("restoring over a database in use: %v", err)
			}
			if db, err := store.Open(t.Context(), target); err != nil {
				t.Errorf("after the restore: %v", err)
			} else if err := db.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// While others write, a backup is of one moment: the log in it verifies, up to the
// checkpoint that its manifest names.
func TestOfOneMomentWhileOthersWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		h := newHouse(t, dsn)
		ctx, cancel := context.WithCancel(t.Context())
		var writers sync.WaitGroup
		writing := make(chan struct{}, 1)
		for range 2 {
			writers.Go(func() {
				for ctx.Err() == nil {
					if _, err := h.log.Record(t.Context(), audit.Entry{Action: "run.start", Verdict: "done"}); err != nil {
						t.Error(err)
						return
					}
					if _, err := h.vault.NewPerson(t.Context()); err != nil {
						t.Error(err)
						return
					}
					select {
					case writing <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 5 {
			<-writing
		}
		made := h.backup(t)
		cancel()
		writers.Wait()
		target := empty(t, "sqlite")
		again, err := h.restore(t.Context(), made.Path, target)
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(t.Context(), again.db.Audit(), again.verifier, audit.VerifyOptions{Known: [][]byte{[]byte(made.Manifest.Checkpoint)}})
		if err != nil || !report.OK() {
			t.Errorf("the log in the backup: %v, %+v", err, report.Problems)
		}
		if err := again.close(); err != nil {
			t.Error(err)
		}
	})
}

// Any byte that changes is found with the public key alone, wherever it is; so is
// any cut and anything added.
func TestEveryChangeIsFound(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	h.person(t)
	made := h.backup(t)
	whole, err := os.ReadFile(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "copy")
	verify := func(content []byte) error {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := backup.OpenFile(path, h.verifier)
		if err != nil {
			return err
		}
		return errors.Join(f.Verify(t.Context(), nil), f.Close())
	}
	if err := verify(whole); err != nil {
		t.Fatalf("unchanged: %v", err)
	}
	// Every byte of what is not covered by a digest, and some of each part.
	var at []int
	start := int64(len("gatehouse-backup-file-1\n"))
	for i := range int(start) {
		at = append(at, i)
	}
	for _, p := range made.Manifest.Parts {
		at = append(at, int(start), int(start+p.Size/2), int(start+p.Size-1))
		start += p.Size
	}
	for i := int(start); i < len(whole); i += 3 {
		at = append(at, i)
	}
	for _, i := range append(at, len(whole)-1) {
		changed := slices.Clone(whole)
		changed[i] ^= 1 << (i % 8)
		if verify(changed) == nil {
			t.Fatalf("a bit of byte %d of %d was flipped unnoticed", i, len(whole))
		}
	}
	for _, n := range []int{0, 1, 30, len(whole) / 2, len(whole) - 1} {
		if verify(whole[:n]) == nil {
			t.Errorf("cut to %d bytes unnoticed", n)
		}
	}
	if verify(append(slices.Clone(whole), 0)) == nil {
		t.Error("a byte was added unnoticed")
	}
	// Between the last part and the manifest nothing may hide.
	if verify(slices.Insert(slices.Clone(whole), int(start), []byte("hidden")...)) == nil {
		t.Error("bytes between the parts and the manifest went unnoticed")
	}
	// A checkpoint is signed by the same key, and is no manifest.
	if _, err := backup.ParseManifest([]byte(made.Manifest.Checkpoint), h.verifier); err == nil {
		t.Error("a checkpoint was taken for a manifest")
	}
}

// Who lacks one of the keys, or is in another environment, opens nothing.
func TestWhoOpensABackup(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	made := h.backup(t)
	for name, test := range map[string]struct {
		change func(*backup.RestoreConfig)
		want   string
		kind   error
	}{
		"whoever has all": {func(*backup.RestoreConfig) {}, "", nil},
		"staging":         {func(c *backup.RestoreConfig) { c.Environment = "staging" }, "own environment only", gatehouse.ErrConflict},
		"staging that calls the manifest its own": {func(c *backup.RestoreConfig) {
			// Somebody who copies the key's file to staging's name, too.
			content, err := os.ReadFile(h.path("keys/production-" + made.Manifest.Epoch + ".epochkey"))
			if err == nil {
				err = os.WriteFile(h.path("keys/staging-"+made.Manifest.Epoch+".epochkey"), content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			c.Environment, c.File.Manifest.Environment = "staging", "staging"
		}, "unwrapping the key", nil},
		"another root key": {func(c *backup.RestoreConfig) {
			path := filepath.Join(t.TempDir(), "other.key")
			if err := vault.CreateRootKeyFile(path); err != nil {
				t.Fatal(err)
			}
			c.Root, _ = vault.NewFileRootKey(path)
		}, "is wrapped by root key " + h.root.ID(), gatehouse.ErrConflict},
		"another, and this one as the one before": {func(c *backup.RestoreConfig) {
			path := filepath.Join(t.TempDir(), "other.key")
			if err := vault.CreateRootKeyFile(path); err != nil {
				t.Fatal(err)
			}
			c.Previous = []vault.RootKey{c.Root}
			c.Root, _ = vault.NewFileRootKey(path)
		}, "", nil},
		"no epoch key": {func(c *backup.RestoreConfig) { c.EpochKeys = t.TempDir() }, "was destroyed when its retention ended", gatehouse.ErrNotFound},
		"another backup's key": {func(c *backup.RestoreConfig) {
			c.File.Manifest.ID = "20200101T000000Z-aaaaaaaa"
		}, "does not open", gatehouse.ErrInvalid},
	} {
		c, err := h.restoreConfig(made.Path)
		if err != nil {
			t.Fatal(err)
		}
		test.change(&c)
		_, err = backup.NewRestore(t.Context(), c)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) || test.kind != nil && !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err := c.File.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Past its retention a backup opens for nobody, also where copies of it are; a day
// before it does. Leftovers of processes that died go too.
func TestPrune(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	made := h.backup(t)
	kept := filepath.Join(t.TempDir(), filepath.Base(made.Path))
	content, err := os.ReadFile(made.Path)
	if err != nil {
		t.Fatal(err)
	}
	stale, young := h.path("to/gatehouse-production-x.backup.partial"), h.path("to/gatehouse-production-y.backup.partial")
	foreign := h.path("to/notes.txt")
	for _, path := range []string{kept, stale, young, foreign} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	began := backup.EpochDay(made.Manifest.Epoch)
	end := began.Add(72 * time.Hour)
	if err := errors.Join(os.Chtimes(stale, end.Add(-25*time.Hour), end.Add(-25*time.Hour)), os.Chtimes(young, end, end)); err != nil {
		t.Fatal(err)
	}
	done, err := h.backups.Prune(t.Context(), end.Add(-time.Second))
	if err != nil || len(done) > 0 {
		t.Fatalf("a second too early: %v, %v", done, err)
	}
	if _, err := os.Stat(made.Path); err != nil {
		t.Fatal(err)
	}
	done, err = h.backups.Prune(t.Context(), end)
	if want := []backup.Pruned{{Day: made.Manifest.Epoch[:10], Backups: 1}}; err != nil || !slices.Equal(done, want) {
		t.Fatalf("at its time: %v, %v", done, err)
	}
	for path, want := range map[string]bool{made.Path: false, stale: false, young: true, foreign: true, h.path("to/" + backup.LedgerName(production)): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %t", filepath.Base(path), err == nil)
		}
	}
	c, err := h.restoreConfig(kept)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.File.Close() }()
	if err := c.File.Verify(t.Context(), nil); err != nil {
		t.Errorf("the copy is unaltered: %v", err)
	}
	if _, err := backup.NewRestore(t.Context(), c); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("a copy past its retention: %v", err)
	}
	// A directory of backups that is gone keeps no key alive.
	h.backup(t)
	if err := os.Rename(h.path("to"), h.path("away")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.backups.Prune(t.Context(), time.Now().Add(96*time.Hour)); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("without the directory of backups: %v", err)
	}
	if left, err := os.ReadDir(h.path("keys")); err != nil || len(left) > 0 {
		t.Errorf("keys left: %v, %v", left, err)
	}
}

// Two processes take one scheduled backup, and the next when it is due.
func TestScheduled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		h := newHouse(t, dsn)
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if err := backup.Due(h.backups, t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		count := func() int {
			list, err := backup.List(h.path("to"), production, h.verifier)
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		if n := count(); n != 1 {
			t.Fatalf("%d backups", n)
		}
		storetest.OpenRaw(t, dsn).Exec("UPDATE backup_work SET done_at = done_at - $1", (24 * time.Hour).Microseconds())
		if err := backup.Due(h.backups, t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(); n != 2 {
			t.Errorf("%d backups after a day", n)
		}
		// One that fails is not tried again at once; one that was told to stop is.
		raw := storetest.OpenRaw(t, dsn)
		due := func() { raw.Exec("UPDATE backup_work SET done_at = 0, lease_until = 0") }
		if err := os.Rename(h.path("to"), h.path("away")); err != nil {
			t.Fatal(err)
		}
		due()
		if err := backup.Due(h.backups, t.Context()); !errors.Is(err, gatehouse.ErrUnavailable) {
			t.Errorf("with the directory away: %v", err)
		}
		if err := os.Rename(h.path("away"), h.path("to")); err != nil {
			t.Fatal(err)
		}
		if err := backup.Due(h.backups, t.Context()); err != nil || count() != 2 {
			t.Errorf("at once after a failure: %d backups, %v", count(), err)
		}
		due()
		stopped, stop := context.WithCancel(t.Context())
		backup.SetStep(func(string) { stop() })
		if err := backup.Due(h.backups, stopped); err == nil {
			t.Error("it was told to stop and went on")
		}
		backup.SetStep(nil)
		if err := backup.Due(h.backups, t.Context()); err != nil || count() != 3 {
			t.Errorf("after one that was told to stop: %d backups, %v", count(), err)
		}
	})
}

// A full disk leaves nothing that looks like a backup, and says what was wrong.
func TestFullDisk(t *testing.T) {
	p := newPlace(t, storetest.SQLite(t))
	h := p.start(t)
	raw := storetest.OpenRaw(t, p.dsn)
	raw.Exec(`INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version)
		VALUES ('big', 't', 'a', '', '', $1, 'waiting', 1, 1, 1, 0, '', 1, 1)`, make([]byte, 8<<20))
	raw.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	out, _ := p.run(t, "backup", "", p.dsn, "", childLimit+"=6291456")
	if !strings.Contains(out, "too large") || !strings.Contains(out, "taking a backup") {
		t.Errorf("it said %q", out)
	}
	entries, err := os.ReadDir(p.path("to"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != backup.LedgerName(production) {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	h.backup(t) // with room again
}

func TestCheckPlaces(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"data", "to", "to/keys", "keys"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "to"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		keys, to string
		near     bool
		ok       bool
	}{
		"apart":                    {"keys", "to", false, true},
		"a name that begins alike": {"data2", "to", false, true},
		"in the backups":           {"to/keys", "to", true, false},
		"the backups in the keys":  {"to", "to/keys", true, false},
		"the same":                 {"to", "to", true, false},
		"by a link":                {"link/keys", "to", true, false},
		"not there yet":            {"link/new/keys", "to", true, false},
		"beside the data":          {"data/keys", "to", false, false},
		"beside the data, allowed": {"data/keys", "to", true, true},
	} {
		err := backup.CheckPlaces(filepath.Join(dir, test.keys), filepath.Join(dir, test.to), []string{filepath.Join(dir, "data"), ""}, test.near)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A backup for another directory gets no ledger there, which nobody would keep up
// to date.
func TestBackupToAnotherDirectory(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	other := t.TempDir()
	made, err := h.backups.Create(t.Context(), other, nil)
	if err != nil || filepath.Dir(made.Path) != other {
		t.Fatalf("%s, %v", made.Path, err)
	}
	entries, err := os.ReadDir(other)
	if err != nil || len(entries) != 1 {
		t.Errorf("it holds %v, %v", entries, err)
	}
	h.ledgerFile(t, "to")
}

func TestConfigIsChecked(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	for name, change := range map[string]func(*backup.Config){
		"no root key": func(c *backup.Config) { c.Root = nil }, "no directory": func(c *backup.Config) { c.To = "" },
		"kept too short": func(c *backup.Config) { c.Keep = 47 * time.Hour },
	} {
		c := h.config()
		change(&c)
		if _, err := backup.New(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := h.config()
	c.To = h.path("missing")
	b, err := backup.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(t.Context(), "", nil); !errors.Is(err, gatehouse.ErrUnavailable) || wire.RuleOf(err) != "" {
		t.Errorf("a directory that is not there: %v", err)
	}
}

// The keyring file turns between the snapshot and the look into it: the backup
// begins anew. One that stays away is an error, and no backup.
func TestKeyringTurnsMeanwhile(t *testing.T) {
	h := newHouse(t, storetest.SQLite(t))
	ada, adas := h.person(t)
	c := h.config()
	misses := 0
	c.Daily = func(version uint32) ([]byte, error) {
		if misses--; misses >= 0 {
			return nil, fmt.Errorf("turned: %w", gatehouse.ErrNotFound)
		}
		return h.vault.WrappedDailyKey(version)
	}
	b, err := backup.New(c)
	if err != nil {
		t.Fatal(err)
	}
	misses = 2
	made, err := b.Create(t.Context(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := h.restore(t.Context(), made.Path, empty(t, "sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(again.opens(t, ada, adas), again.close()); err != nil {
		t.Error(err)
	}
	misses = 100
	if _, err := b.Create(t.Context(), "", nil); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("with a keyring file of another time: %v", err)
	}
	if list, err := backup.List(h.path("to"), production, h.verifier); err != nil || len(list) != 1 {
		t.Errorf("%d backups, %v", len(list), err)
	}
}
