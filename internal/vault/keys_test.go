package vault_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

func TestInitHappensOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		sealed := w.seal(refOf(""), token)
		if err := vault.Init(t.Context(), w.config()); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("second Init: %v, want ErrConflict", err)
		}
		if got, err := w.open().Open(t.Context(), w.receipt(), refOf(""), sealed); err != nil || got.Reveal() != token {
			t.Errorf("after the second Init the first keys no longer open: %v", err)
		}
	})
}

func TestOpenRefusesAnotherWorld(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		config := vault.Config{Root: newRoot(t), Store: db.Vault(), Environment: production}
		refused := func(name string, config vault.Config, kind error, words ...string) {
			t.Helper()
			_, err := vault.Open(t.Context(), config)
			if err == nil || kind != nil && !errors.Is(err, kind) {
				t.Errorf("%s: Open = %v, want %v", name, err, kind)
				return
			}
			for _, word := range words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: error %q does not say %q", name, err, word)
				}
			}
		}
		refused("no keys", config, gatehouse.ErrNotFound, "gatehouse init")
		if err := vault.Init(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		staging := config
		staging.Environment = "staging"
		refused("another environment", staging, gatehouse.ErrConflict, `"production"`, `"staging"`)
		other := config
		other.Root = newRoot(t)
		refused("another root key", other, gatehouse.ErrConflict, config.Root.ID(), other.Root.ID())
		other.Root = renamedRoot{other.Root, config.Root.ID()}
		refused("another root key of the same name", other, nil, "unwrapping domain key", "another root key")

		// A copy whose rows were edited to say otherwise is still bound.
		storetest.OpenRaw(t, dsn).Exec("UPDATE vault_domain_keys SET environment = 'staging'")
		refused("relabelled copy", staging, nil, "unwrapping domain key")
		refused("relabelled original", config, gatehouse.ErrConflict)
	})
}

// renamedRoot is a root key that claims another's name.
type renamedRoot struct {
	vault.RootKey
	id string
}

func (r renamedRoot) ID() string { return r.id }

func TestDamagedDomainKeysAreRefused(t *testing.T) {
	for name, change := range map[string]string{
		"exchanged":      "UPDATE vault_domain_keys SET wrapped = (SELECT wrapped FROM vault_domain_keys WHERE domain = 'system') WHERE domain = 'tokens'",
		"cut":            "UPDATE vault_domain_keys SET wrapped = substr(wrapped, 1, 20) WHERE domain = 'tokens'",
		"empty":          "UPDATE vault_domain_keys SET wrapped = x'' WHERE domain = 'derive'",
		"missing":        "DELETE FROM vault_domain_keys WHERE domain = 'personal'",
		"disabled":       "UPDATE vault_domain_keys SET state = 'disabled' WHERE domain = 'personal'",
		"other version":  "UPDATE vault_domain_keys SET version = 2 WHERE domain = 'tokens'",
		"no longer used": "UPDATE vault_domain_keys SET state = 'decrypt-only' WHERE domain = 'derive'",
	} {
		w := newWorld(t, storetest.SQLite(t))
		storetest.OpenRaw(t, w.dsn).Exec(change)
		if _, err := vault.Open(t.Context(), w.config()); err == nil {
			t.Errorf("%s: Open succeeds", name)
		}
	}
}

func TestConfigMustBeComplete(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	for name, change := range map[string]func(*vault.Config){
		"Root":           func(c *vault.Config) { c.Root = nil },
		"Store":          func(c *vault.Config) { c.Store = nil },
		"Environment":    func(c *vault.Config) { c.Environment = "" },
		"HoldDomainKeys": func(c *vault.Config) { c.HoldDomainKeys = -1 },

		"KeepWithoutRoot": func(c *vault.Config) { c.KeepWithoutRoot = -1 },
	} {
		config := w.config()
		change(&config)
		if _, err := vault.Open(t.Context(), config); !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("Open with a bad %s: %v, want ErrInvalid that names it", name, err)
		}
		if err := vault.Init(t.Context(), config); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Init with a bad %s: %v, want ErrInvalid", name, err)
		}
	}
}

func TestKeysOfANewerVersionAreFound(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	// Another process rotates: it adds version 2 of "tokens", and seals with it.
	other := w.open()
	storetest.OpenRaw(t, w.dsn).Exec("UPDATE vault_domain_keys SET state = 'decrypt-only' WHERE domain = 'tokens'")
	key, err := vault.HookTestOnlyNewDomainKey(t.Context(), w.root, production, vault.Tokens, 2)
	if err != nil {
		t.Fatal(err)
	}
	old := w.seal(refOf(""), token)
	if err := w.db.Vault().AddDomainKeys(t.Context(), []vault.DomainKey{key}); err != nil {
		t.Fatal(err)
	}
	other.Close()
	sealed, err := other.Seal(t.Context(), refOf(""), secret.New(token))
	if err != nil {
		t.Fatal(err)
	}
	if version := sealed[4]; version != 2 {
		t.Errorf("sealed with version %d, want 2", version)
	}
	for name, record := range map[string][]byte{"old": old, "new": sealed} {
		if got, err := w.vault.Open(t.Context(), w.receipt(), refOf(""), record); err != nil || got.Reveal() != token {
			t.Errorf("%s record: %v", name, err)
		}
	}
	// A version that is disabled opens nothing, as soon as it is noticed.
	storetest.OpenRaw(t, w.dsn).Exec("UPDATE vault_domain_keys SET state = 'disabled' WHERE domain = 'tokens' AND version = 1")
	w.vault.Close()
	if _, err := w.vault.Open(t.Context(), w.receipt(), refOf(""), old); !errors.Is(err, vault.ErrUnreadable) {
		t.Errorf("a record of a disabled version: %v, want ErrUnreadable", err)
	}
	if got, err := w.vault.Open(t.Context(), w.receipt(), refOf(""), sealed); err != nil || got.Reveal() != token {
		t.Errorf("a record of the other version: %v", err)
	}
}

func TestDeriveIsStableAndUnambiguous(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		derive := func(v *vault.Vault, label string, parts ...string) string {
			t.Helper()
			s, err := v.Derive(t.Context(), label, parts...)
			if err != nil || len(s.Reveal()) != 64 {
				t.Fatalf("Derive(%q, %q) has %d characters, %v; want 64", label, parts, len(s.Reveal()), err)
			}
			return s.Reveal()
		}
		want := derive(w.vault, "oauth1-token", "a", "b")
		if got := derive(w.open(), "oauth1-token", "a", "b"); got != want {
			t.Error("another process derives another secret")
		}
		for _, other := range [][]string{{"oauth1-token", "ab"}, {"oauth1-token", "a", "b", ""}, {"oauth1-token", "", "ab"},
			{"oauth1-token", "b", "a"}, {"oauth1-tokena", "b"}, {"oauth1-consumer", "a", "b"}} {
			if derive(w.vault, other[0], other[1:]...) == want {
				t.Errorf("Derive(%q) is the same as that of another input", other)
			}
		}
		if _, err := w.vault.Derive(t.Context(), "", "a"); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("Derive without a label: %v, want ErrInvalid", err)
		}
	})
	one, two := newWorld(t, storetest.SQLite(t)), newWorld(t, storetest.SQLite(t))
	a, _ := one.vault.Derive(t.Context(), "l")
	b, _ := two.vault.Derive(t.Context(), "l")
	if a.Equal(b) {
		t.Error("two stores derive the same secret")
	}
}

func TestSystemSecrets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		if _, err := w.vault.System(t.Context(), "log-key"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("before it is put: %v, want ErrNotFound", err)
		}
		for _, value := range []string{"first", "second"} {
			if err := w.vault.PutSystem(t.Context(), "log-key", secret.New(value)); err != nil {
				t.Fatal(err)
			}
			if got, err := w.open().System(t.Context(), "log-key"); err != nil || got.Reveal() != value {
				t.Errorf("System = %q, %v; want %q", got.Reveal(), err, value)
			}
		}
		if err := w.vault.PutSystem(t.Context(), "", secret.New("x")); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("without a name: %v, want ErrInvalid", err)
		}
		storetest.OpenRaw(t, dsn).Exec("UPDATE vault_system SET name = 'ca-key'")
		if _, err := w.vault.System(t.Context(), "ca-key"); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("under another name: %v, want ErrUnreadable", err)
		}
	})
}

func TestSystemSecretsAreSwapped(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		other := w.open()
		none, first, second := secret.Text{}, secret.New("first"), secret.New("second")
		for _, c := range []struct {
			what     string
			from, to secret.Text
			want     error
		}{
			{"one that is not there", first, second, gatehouse.ErrConflict},
			{"the first", none, first, nil},
			{"the first once more", none, second, gatehouse.ErrConflict},
			{"another than stands there", second, first, gatehouse.ErrConflict},
			{"the second", first, second, nil},
			{"to nothing", second, none, nil},
			{"from nothing", none, first, nil},
		} {
			if err := other.SwapSystem(t.Context(), "ca", c.from, c.to); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.what, err, c.want)
			}
		}
		if got, err := w.vault.System(t.Context(), "ca"); err != nil || !got.Equal(first) {
			t.Errorf("System = %q, %v; want the last", got.Reveal(), err)
		}
		if err := w.vault.SwapSystem(t.Context(), "", none, first); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("without a name: %v, want ErrInvalid", err)
		}
	})
}

// Of processes that swap at the same time, one does.
func TestSystemSecretsAreSwappedByOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		const processes = 4
		errs := make(chan error, processes)
		for i := range processes {
			v := w.open()
			go func() { errs <- v.SwapSystem(t.Context(), "ca", secret.Text{}, secret.New(string(rune('a'+i)))) }()
		}
		did := 0
		for range processes {
			switch err := <-errs; {
			case err == nil:
				did++
			case !errors.Is(err, gatehouse.ErrConflict):
				t.Errorf("swapping: %v, want ErrConflict", err)
			}
		}
		if did != 1 {
			t.Errorf("%d swapped, want 1", did)
		}
	})
}

func TestWritesThatFailLoseNothing(t *testing.T) {
	for _, fault := range []string{"failed, not stored", "failed, stored"} {
		t.Run(fault, func(t *testing.T) {
			stored := fault == "failed, stored"
			db := storetest.Open(t, storetest.SQLite(t))
			faulty := &faultyStore{Store: db.Vault()}
			fail := func() { faulty.before, faulty.after = !stored, stored }
			heal := func() { faulty.before, faulty.after = false, false }
			config := vault.Config{Root: newRoot(t), Store: faulty, Environment: production}

			fail()
			if err := vault.Init(t.Context(), config); !errors.Is(err, errInjected) {
				t.Fatalf("Init: %v, want the fault", err)
			}
			heal()
			if err := vault.Init(t.Context(), config); stored != errors.Is(err, gatehouse.ErrConflict) {
				t.Fatalf("Init again: %v", err)
			}
			v, err := vault.Open(t.Context(), config)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}

			fail()
			if person, err := v.NewPerson(t.Context()); !errors.Is(err, errInjected) || person != "" {
				t.Errorf("NewPerson = %q, %v; want no person and the fault", person, err)
			}
			heal()
			ada, err := v.NewPerson(t.Context())
			if err != nil {
				t.Fatal(err)
			}

			if err := v.PutSystem(t.Context(), "log-key", secret.New("old")); err != nil {
				t.Fatal(err)
			}
			fail()
			if err := v.PutSystem(t.Context(), "log-key", secret.New("new")); !errors.Is(err, errInjected) {
				t.Errorf("PutSystem: %v, want the fault", err)
			}
			heal()
			want := map[bool]string{false: "old", true: "new"}[stored]
			if got, err := v.System(t.Context(), "log-key"); err != nil || got.Reveal() != want {
				t.Errorf("System = %q, %v; want %q", got.Reveal(), err, want)
			}

			sealed, err := v.SealPersonal(t.Context(), ada, "e", []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			fail()
			if err := v.DestroyPerson(t.Context(), ada); !errors.Is(err, errInjected) {
				t.Errorf("DestroyPerson: %v, want the fault", err)
			}
			heal()
			if _, err := v.OpenPersonal(t.Context(), ada, "e", sealed); stored != errors.Is(err, vault.ErrErased) {
				t.Errorf("after the fault: %v", err)
			}
			if err := v.DestroyPerson(t.Context(), ada); err != nil {
				t.Errorf("DestroyPerson again: %v", err)
			}
		})
	}
}

func TestNoPlaintextOnDiskOrInErrors(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn)
	ada := w.person()
	sealed := w.seal(refOf(ada), token)
	w.seal(refOf(""), token)
	if err := w.vault.PutSystem(t.Context(), "ca-key", secret.New(token)); err != nil {
		t.Fatal(err)
	}
	field, err := w.vault.SealPersonal(t.Context(), ada, "entry/1", []byte(token))
	if err != nil {
		t.Fatal(err)
	}
	// The sealed forms go to disk as a column of the store would.
	raw := storetest.OpenRaw(t, dsn)
	raw.Exec("CREATE TABLE planted (sealed BLOB)")
	raw.Exec("INSERT INTO planted VALUES ($1), ($2)", sealed, field)

	needles := map[string][]byte{
		"plain":  []byte(token),
		"base64": []byte(base64.StdEncoding.EncodeToString([]byte(token)))[:40],
		"hex":    []byte(hex.EncodeToString([]byte(token))),
	}
	files, err := filepath.Glob(strings.TrimPrefix(dsn, "sqlite:") + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("files of the store: %v, %v; want the database and its write-ahead log", files, err)
	}
	search := func(where string, content []byte) {
		for form, needle := range needles {
			if bytes.Contains(content, needle) {
				t.Errorf("%s holds the token (%s)", where, form)
			}
		}
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		search(filepath.Base(file), content)
		// The search itself must be able to find something.
		if strings.HasSuffix(file, "-wal") && !bytes.Contains(content, sealed) {
			t.Error("the write-ahead log does not hold the sealed record, so this test looks in the wrong place")
		}
	}
	for name, provoke := range map[string]func() error{
		"moved":   func() error { _, err := w.vault.Open(t.Context(), w.receipt(), refOf("nobody"), sealed); return err },
		"plain":   func() error { _, err := w.vault.Open(t.Context(), w.receipt(), refOf(ada), []byte(token)); return err },
		"no ref":  func() error { _, err := w.vault.Seal(t.Context(), vault.Ref{}, secret.New(token)); return err },
		"no name": func() error { return w.vault.PutSystem(t.Context(), "", secret.New(token)) },
		"field":   func() error { _, err := w.vault.OpenPersonal(t.Context(), ada, "x", []byte(token)); return err },
	} {
		err := provoke()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		search("the error of "+name, []byte(err.Error()))
	}
}
