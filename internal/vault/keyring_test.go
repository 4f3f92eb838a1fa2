package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

// withFile is a world whose daily key is kept outside the database.
func withFile(t testing.TB, dsn string) (*world, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keyring")
	w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), root: newRoot(t), keyringFile: path}
	if err := vault.Init(t.Context(), w.config()); err != nil {
		t.Fatal(err)
	}
	w.vault = w.open()
	w.log = openLog(t, w.db, w.vault)
	return w, path
}

// soon are keys whose keyring forgets at once.
func soon(c *vault.KeysConfig) { c.TurnAfter = 1 }

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The promise of the keyring: whoever holds everything that storage ever held of
// an erased person, the root key, and the keyring file of after the turn, does not
// open that person's records. The copy of the database is of before the erasure,
// so nothing in it was overwritten.
func TestErasedPersonIsGoneFromCopiesOfTheDatabase(t *testing.T) {
	dsn := storetest.SQLite(t)
	w, file := withFile(t, dsn)
	ada, bob := w.person(), w.person()
	ofAda, ofBob := w.seal(refOf(ada), token), w.seal(refOf(bob), token)

	dir := t.TempDir()
	if err := w.db.Vault().Compact(t.Context()); err != nil { // so that one file is all of it
		t.Fatal(err)
	}
	copyFile(t, strings.TrimPrefix(dsn, "sqlite:"), filepath.Join(dir, "copy.db"))
	copyFile(t, file, filepath.Join(dir, "keyring-before"))
	thief := &world{t: t, db: storetest.Open(t, "sqlite:"+filepath.Join(dir, "copy.db")), root: w.root, keyringFile: filepath.Join(dir, "keyring-before"), log: w.log}

	// The near miss: before the turn, the copy opens.
	if err := w.vault.DestroyPerson(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	thief.vault = thief.open()
	thief.opens("the copy with the keyring file of its time", ada, ofAda)

	if err := w.keys(soon).Maintain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	w.opens("another person, after the turn", bob, ofBob, w.open())
	copyFile(t, file, filepath.Join(dir, "keyring-after"))
	thief.keyringFile = filepath.Join(dir, "keyring-after")
	if _, err := vault.Open(t.Context(), thief.config()); err == nil || !strings.Contains(err.Error(), "keyring-after") {
		t.Errorf("opening the copy with the keyring file of after the turn: %v, want it refused by name", err)
	}
	// By force, with the new daily key relabelled as the old one: it is another key.
	storetest.OpenRaw(t, "sqlite:"+filepath.Join(dir, "copy.db")).Exec("UPDATE vault_daily_keys SET version = 2")
	forced, err := vault.Open(t.Context(), thief.config())
	if err != nil {
		t.Fatalf("opening the relabelled copy: %v", err)
	}
	if _, err := forced.Open(t.Context(), w.receipt(), refOf(ada), ofAda); err == nil {
		t.Error("the erased person's record opens in the copy")
	}

	before, _ := os.ReadFile(filepath.Join(dir, "keyring-before"))
	after, _ := os.ReadFile(file)
	old := before[4096 : 4096+200] // version 1 stands in the second place
	if bytes.Count(old, []byte{0}) > 150 {
		t.Fatal("this test looks in the wrong place of the keyring file")
	}
	if bytes.Contains(after, old[30:60]) {
		t.Error("the keyring file still holds the old daily key")
	}
}

// What the turn leaves in the live database's own files.
func TestTurnLeavesNoOldWrappingInTheFiles(t *testing.T) {
	dsn := storetest.SQLite(t)
	w, _ := withFile(t, dsn)
	ada := w.person()
	raw := storetest.OpenRaw(t, dsn)
	cell := func(query string, args ...any) []byte {
		_, rows := raw.Query(query, args...)
		return rows[0][0].([]byte)
	}
	wrapped := map[string][]byte{
		"person": cell("SELECT wrapped FROM vault_person_keys WHERE person = $1", string(ada)),
		"bucket": cell("SELECT wrapped FROM vault_keyring_keys"),
	}
	found := func() (names []string) {
		files, _ := filepath.Glob(strings.TrimPrefix(dsn, "sqlite:") + "*")
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for name, needle := range wrapped {
				if bytes.Contains(content, needle) {
					names = append(names, name)
				}
			}
		}
		return names
	}
	if len(found()) < 2 {
		t.Fatal("the wrapped keys are not found while they are in use: this test looks in the wrong place")
	}
	if err := w.vault.DestroyPerson(t.Context(), ada); err != nil {
		t.Fatal(err)
	}
	if err := w.keys(soon).Maintain(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if names := found(); len(names) > 0 {
		t.Errorf("after the turn the files still hold the wrapped keys of %v", names)
	}
}

func TestOnlyBucketsWithAnErasureAreMadeAnew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		var people []gatehouse.PersonID
		for range 40 {
			people = append(people, w.person())
		}
		sealed := make([][]byte, len(people))
		for i, p := range people {
			sealed[i] = w.seal(refOf(p), token)
		}
		raw := storetest.OpenRaw(t, dsn)
		ids := func() map[string]bool {
			_, rows := raw.Query("SELECT id FROM vault_keyring_keys")
			all := map[string]bool{}
			for _, row := range rows {
				all[fmt.Sprint(row[0])] = true
			}
			return all
		}
		before := ids()
		k := w.keys(soon)
		if err := k.Maintain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if s, err := k.Status(t.Context()); err != nil || len(s.Daily) != 1 {
			t.Errorf("without an erasure there are %d daily keys, %v; want 1", len(s.Daily), err)
		}
		if err := w.vault.DestroyPerson(t.Context(), people[0]); err != nil {
			t.Fatal(err)
		}
		if err := w.keys().Maintain(t.Context(), false); err != nil { // not due yet
			t.Fatal(err)
		}
		if s, err := k.Status(t.Context()); err != nil || len(s.Daily) != 1 || s.Keyring.Dirty != 1 || s.TurnDue.IsZero() {
			t.Errorf("before it is due: %d daily keys, %d dirty, due %s, %v; want 1, 1 and a time", len(s.Daily), s.Keyring.Dirty, s.TurnDue, err)
		}
		if err := k.Maintain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		after, kept := ids(), 0
		for id := range after {
			if before[id] {
				kept++
			}
		}
		if len(after) != len(before) || kept != len(before)-1 {
			t.Errorf("of %d keyring keys %d were kept, want all but one", len(before), kept)
		}
		s, err := k.Status(t.Context())
		if err != nil || s.Unfinished() || s.Keyring.Dirty != 0 || len(s.Daily) != 2 || s.Daily[0].State != vault.Destroyed || s.Daily[1].State != vault.Active {
			t.Errorf("after the turn: %+v, %v", s, err)
		}
		for i, p := range people[1:] {
			w.opens("after the turn", p, sealed[i+1], w.vault)
		}
		if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(people[0]), sealed[0]); !errors.Is(err, vault.ErrErased) {
			t.Errorf("the erased person: %v, want ErrErased", err)
		}
	})
}

// Calls, new people and erasures go on in other processes while the keyring is
// made anew over and over.
func TestTurnsUnderTraffic(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		k := w.keys(soon)
		var turns atomic.Int64
		var group sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		for range 3 {
			v, receipt := w.open(), w.receipt()
			group.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					person, err := v.NewPerson(t.Context())
					if err != nil {
						t.Errorf("NewPerson: %v", err)
						return
					}
					sealed, err := v.Seal(t.Context(), refOf(person), secret.New(token))
					if err != nil {
						t.Errorf("Seal: %v", err)
						return
					}
					for range 5 {
						if _, err := v.Open(t.Context(), receipt, refOf(person), sealed); err != nil {
							t.Errorf("Open: %v", err)
						}
					}
					if err := v.DestroyPerson(t.Context(), person); err != nil {
						t.Errorf("DestroyPerson: %v", err)
					}
				}
			})
		}
		for turns.Load() < 5 {
			if _, err := k.Rewrap(t.Context(), vault.RewrapOptions{Keyring: true}); err != nil {
				t.Errorf("Rewrap: %v", err)
			}
			turns.Add(1)
		}
		stop()
		group.Wait()
		if s, err := k.Status(t.Context()); err != nil || s.Unfinished() {
			t.Errorf("afterwards: %+v, %v", s, err)
		}
	})
}

// PostgreSQL may commit a keyring key under the old daily key after the turn has
// looked for the last of them: behind the place where it looks, and when it is
// through.
func TestKeyringKeysThatCommitLate(t *testing.T) {
	for _, at := range []string{"turn: keyring key ended", "turn: nothing left under the old daily key"} {
		t.Run(at, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				w := newWorld(t, dsn)
				ada := w.person()
				sealed := w.seal(refOf(ada), token)
				raw := storetest.OpenRaw(t, dsn)
				_, rows := raw.Query("SELECT bucket FROM vault_keyring_keys")
				taken := rows[0][0].(int64)
				k := w.keys(soon)
				late := 0
				k.HookTestOnlyStep(func(name string) {
					if name != at || late == 2 {
						return
					}
					late++
					key, err := w.vault.HookTestOnlyLateKeyringKey(t.Context(), vault.KeyringID(late), (int(taken)+late)%1024, 1)
					if err != nil {
						t.Fatal(err)
					}
					raw.Exec("INSERT INTO vault_keyring_keys (id, bucket, state, daily, wrapped, created, erased) VALUES ($1, $2, 'active', 1, $3, $4, 0)",
						int64(key.ID), key.Bucket, key.Wrapped, key.Created.UnixMicro())
				})
				if _, err := k.Rewrap(t.Context(), vault.RewrapOptions{Keyring: true}); err != nil {
					t.Fatalf("Rewrap: %v", err)
				}
				if late == 0 {
					t.Error("no keyring key came late: this test looks at nothing")
				}
				w.opens("after the turn", ada, sealed)
			})
		})
	}
}

// People of a store that is older than the keyring come under it, online.
func TestOlderPeopleComeUnderTheKeyring(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		var people []gatehouse.PersonID
		var sealed [][]byte
		for range 150 { // more than two batches
			person := w.vault.HookTestOnlyOldPerson(t.Context(), t.Fatal)
			people, sealed = append(people, person), append(sealed, w.seal(refOf(person), token))
		}
		if err := w.vault.DestroyPerson(t.Context(), people[0]); err != nil {
			t.Fatal(err)
		}
		// As a program of before would leave it.
		storetest.OpenRaw(t, dsn).Exec("UPDATE vault_person_keys SET domain_version = 1 WHERE person = $1", string(people[0]))
		k := w.keys()
		if s, err := k.Status(t.Context()); err != nil || !s.Direct {
			t.Fatalf("status = %+v, %v; want people directly under Personal", s, err)
		}
		if err := k.Maintain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if s, err := k.Status(t.Context()); err != nil || s.Direct || s.Keyring.Keys == 0 {
			t.Errorf("status = %+v, %v; want nobody directly under Personal", s, err)
		}
		for i, p := range people[1:] {
			w.opens("moved", p, sealed[i+1])
		}
		if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(people[0]), sealed[0]); !errors.Is(err, vault.ErrErased) {
			t.Errorf("the one erased before: %v, want ErrErased", err)
		}
	})
}

// Keys that were damaged hold up only themselves, until the operator goes on
// without them.
func TestDamagedKeysHoldUpOnlyThemselves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ada, bob, eve := w.person(), w.person(), w.person()
		ofBob := w.seal(refOf(bob), token)
		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("UPDATE vault_person_keys SET wrapped = $1 WHERE person = $2", bytes.Repeat([]byte{7}, 60), string(ada))
		_, rows := raw.Query("SELECT keyring FROM vault_person_keys WHERE person = $1", string(eve))
		raw.Exec("UPDATE vault_keyring_keys SET wrapped = $1 WHERE id = $2", bytes.Repeat([]byte{7}, 60), rows[0][0])
		w.vault = w.open()
		k := w.keys()
		done, err := k.Rewrap(t.Context(), vault.RewrapOptions{Keyring: true})
		if !errors.Is(err, vault.ErrUnreadable) || !strings.Contains(err.Error(), "--set-aside") {
			t.Errorf("Rewrap = %+v, %v; want an error that says how to go on", done, err)
		}
		w.opens("the person beside", bob, ofBob, w.open())
		if s, _ := k.Status(t.Context()); !s.Turning() {
			t.Error("the turn ended although something stands under the old daily key")
		}
		done, err = k.Rewrap(t.Context(), vault.RewrapOptions{SetAside: true})
		if err != nil || done.Unreadable != 2 {
			t.Errorf("setting aside: %+v, %v; want 2", done, err)
		}
		if s, _ := k.Status(t.Context()); s.Unfinished() {
			t.Errorf("afterwards it is unfinished: %+v", s)
		}
		w.opens("the person beside, afterwards", bob, ofBob, w.open())
		if _, err := w.vault.Seal(t.Context(), refOf(ada), secret.New("x")); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("the damaged one: %v, want ErrUnreadable", err)
		}
	})
}

// Whoever can write the database exchanges, moves or flips wrapped keys of the
// keyring: nothing opens that did not before, and the others stay as they were.
func TestKeyringRowsCannotBeExchanged(t *testing.T) {
	for name, change := range map[string]string{
		"keyring keys exchanged": "UPDATE vault_keyring_keys SET wrapped = (SELECT wrapped FROM vault_keyring_keys k WHERE k.id <> vault_keyring_keys.id LIMIT 1)",
		"buckets moved":          "UPDATE vault_keyring_keys SET bucket = bucket + 1024",
		"another person's":       "UPDATE vault_person_keys SET wrapped = (SELECT wrapped FROM vault_person_keys p WHERE p.person <> vault_person_keys.person LIMIT 1)",
		"another keyring key":    "UPDATE vault_person_keys SET keyring = (SELECT keyring FROM vault_person_keys p WHERE p.person <> vault_person_keys.person LIMIT 1)",
		"back under Personal":    "UPDATE vault_person_keys SET keyring = 0, domain_version = 1",
		"daily key as wrapped":   "UPDATE vault_keyring_keys SET wrapped = (SELECT wrapped FROM vault_daily_keys)",
	} {
		w := newWorld(t, storetest.SQLite(t))
		ada := w.person()
		w.person()
		for { // in another bucket than Ada
			if _, rows := storetest.OpenRaw(t, w.dsn).Query("SELECT DISTINCT keyring FROM vault_person_keys"); len(rows) > 1 {
				break
			}
			w.person()
		}
		sealed := w.seal(refOf(ada), token)
		storetest.OpenRaw(t, w.dsn).Exec(change)
		if _, err := w.open().Open(t.Context(), w.receipt(), refOf(ada), sealed); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("%s: %v, want ErrUnreadable", name, err)
		}
	}
}

// Every bit of the three wrapped keys between Personal and a record.
func TestEveryFlippedBitOfAWrappedKeyIsNoticed(t *testing.T) {
	// On PostgreSQL, where no process remembers rows, so that each change is seen.
	w := newWorld(t, storetest.Postgres(t))
	ada := w.person()
	sealed, receipt := w.seal(refOf(ada), token), w.receipt()
	raw := storetest.OpenRaw(t, w.dsn)
	for _, table := range []string{"vault_person_keys", "vault_keyring_keys", "vault_daily_keys"} {
		_, rows := raw.Query("SELECT wrapped FROM " + table)
		good := rows[0][0].([]byte)
		put := func(content []byte) { raw.Exec("UPDATE "+table+" SET wrapped = $1", content) }
		for bit := range len(good) * 8 {
			changed := bytes.Clone(good)
			changed[bit/8] ^= 1 << (bit % 8)
			put(changed)
			w.vault.Close()
			if _, err := w.vault.Open(t.Context(), receipt, refOf(ada), sealed); !errors.Is(err, vault.ErrUnreadable) {
				t.Fatalf("%s, bit %d flipped: %v, want ErrUnreadable", table, bit, err)
			}
		}
		put(good)
	}
	w.vault.Close()
	w.opens("unchanged", ada, sealed)
}

func TestKeyringFileThatIsNotOurs(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, path string)
		words []string
	}{
		"missing":  {func(t *testing.T, path string) { must(t, os.Remove(path)) }, []string{"does not exist", "put it back"}},
		"cut":      {func(t *testing.T, path string) { must(t, os.Truncate(path, 100)) }, []string{"100 bytes"}},
		"for all":  {func(t *testing.T, path string) { must(t, os.Chmod(path, 0o644)) }, []string{"chmod 600"}},
		"emptied":  {func(t *testing.T, path string) { must(t, os.WriteFile(path, make([]byte, 8192), 0o600)) }, []string{"daily key version 1", "together"}},
		"a link":   {func(t *testing.T, path string) { must(t, os.Rename(path, path+"2"), os.Symlink(path+"2", path)) }, nil},
		"one byte": {func(t *testing.T, path string) { flip(t, path, 4096+60) }, []string{"daily key version 1"}},
		"another one": {func(t *testing.T, path string) {
			_, other := withFile(t, storetest.SQLite(t))
			copyFile(t, other, path)
		}, []string{"daily key version 1"}},
	} {
		w, path := withFile(t, storetest.SQLite(t))
		ada := w.person()
		sealed := w.seal(refOf(ada), token)
		copyFile(t, path, path+".good")
		c.spoil(t, path)
		_, err := vault.Open(t.Context(), w.config())
		if err == nil {
			t.Errorf("%s: the vault opens", name)
			continue
		}
		for _, word := range c.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %q does not say %q", name, err, word)
			}
		}
		_ = os.Remove(path)
		copyFile(t, path+".good", path)
		w.opens(name+": put back", ada, sealed, w.open())
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b[:], at)
	must(t, err, f.Close())
}

// The daily key moves into a file when one is configured; then it is needed.
func TestDailyKeyMovesIntoTheFile(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ada := w.person()
	sealed := w.seal(refOf(ada), token)
	file := filepath.Join(t.TempDir(), "keyring")
	w.keyringFile = file
	w.vault = w.open()
	must(t, w.keys().Maintain(t.Context(), false))
	if s, err := w.keys().Status(t.Context()); err != nil || !s.InFile {
		t.Errorf("the daily key is not in the file: %v", err)
	}
	w.opens("in the file", ada, sealed, w.open())
	w.keyringFile = ""
	if _, err := vault.Open(t.Context(), w.config()); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "keys.keyring") {
		t.Errorf("without the file that holds the key: %v, want ErrConflict", err)
	}
}

func FuzzKeyringPlace(f *testing.F) {
	_, path := withFile(f, storetest.SQLite(f))
	file, err := os.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	content, err := io.ReadAll(file)
	if err = errors.Join(err, file.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(content[4096:])
	f.Add(content[:4096])
	f.Add([]byte("gatehouse-keyring-1\n\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, content []byte) {
		version, wrapped := vault.HookTestOnlyParseKeyringPlace(content)
		if len(wrapped) > len(content) || version == 0 && len(wrapped) > 0 && len(content) < 28 {
			t.Fatalf("%d bytes parse to version %d and %d bytes", len(content), version, len(wrapped))
		}
	})
}

// An erasure marks the keyring even if the person's key is being moved.
func TestErasureDuringATurn(t *testing.T) {
	for _, at := range []string{"turn: daily key made", "turn: keyring key made", "turn: people batch", "turn: people rewrapped", "turn: nothing left under the old daily key"} {
		storetest.Each(t, func(t *testing.T, dsn string) {
			w := newWorld(t, dsn)
			ada, bob := w.person(), w.person()
			ofBob := w.seal(refOf(bob), token)
			k := w.keys(soon)
			var once sync.Once
			k.HookTestOnlyStep(func(name string) {
				if name == at {
					once.Do(func() { must(t, w.vault.DestroyPerson(t.Context(), ada)) })
				}
			})
			_, err := k.Rewrap(t.Context(), vault.RewrapOptions{Keyring: true})
			must(t, err)
			time.Sleep(time.Millisecond)
			must(t, k.Maintain(t.Context(), false))
			if s, err := k.Status(t.Context()); err != nil || s.Unfinished() || s.Keyring.Dirty > 0 {
				t.Errorf("%s: %+v, %v", at, s, err)
			}
			w.opens(at, bob, ofBob, w.open())
			if _, err := w.vault.Seal(t.Context(), refOf(ada), secret.New("x")); !errors.Is(err, vault.ErrErased) {
				t.Errorf("%s: %v, want ErrErased", at, err)
			}
		})
	}
}

// Many processes start on a new store at once: one daily key comes of it, and what
// stands in the file is that one.
func TestManyProcessesMakeOneDailyKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), root: newRoot(t), keyringFile: filepath.Join(t.TempDir(), "keyring")}
		must(t, vault.Init(t.Context(), w.config()))
		var mu sync.Mutex
		var group sync.WaitGroup
		sealed := map[gatehouse.PersonID][]byte{}
		for range 8 {
			group.Go(func() {
				v, err := vault.Open(t.Context(), w.config())
				if err != nil {
					t.Errorf("Open: %v", err)
					return
				}
				person, err := v.NewPerson(t.Context())
				if err != nil {
					t.Errorf("NewPerson: %v", err)
					return
				}
				record, err := v.Seal(t.Context(), refOf(person), secret.New(token))
				if err != nil {
					t.Errorf("Seal: %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				sealed[person] = record
			})
		}
		group.Wait()
		w.vault = w.open()
		w.log = openLog(t, w.db, w.vault)
		for person, record := range sealed {
			w.opens("a person of one of them", person, record)
		}
	})
}
