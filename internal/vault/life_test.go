package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
)

// keys is the life of the world's keys, as a command or a running process has it.
func (w *world) keys(change ...func(*vault.KeysConfig)) *vault.Keys {
	w.t.Helper()
	config := vault.KeysConfig{Vault: w.vault, Log: w.log}
	for _, c := range change {
		c(&config)
	}
	k, err := vault.NewKeys(config)
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// opens fails the test unless the record opens to the token, for each vault.
func (w *world) opens(what string, person gatehouse.PersonID, sealed []byte, in ...*vault.Vault) {
	w.t.Helper()
	for _, v := range append(in, w.vault) {
		if got, err := v.Open(w.t.Context(), w.receipt(), refOf(person), sealed); err != nil || got.Reveal() != token {
			w.t.Errorf("%s: %v", what, err)
		}
	}
}

// actions returns the actions of the log with their facts, the oldest first.
func (w *world) actions() []string {
	w.t.Helper()
	all, err := audit.List(w.t.Context(), w.db.Audit(), audit.Filter{Last: 10000})
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		if strings.HasPrefix(e.Action, "keys.") {
			names = append(names, fmt.Sprintf("%s %s %s@%s %s", e.Kind, e.Action, e.Facts["key"], e.Facts["version"], e.Verdict))
		}
	}
	return names
}

func refused(t *testing.T, what string, err error, rule string, words ...string) {
	t.Helper()
	if wire.RuleOf(err) != rule {
		t.Errorf("%s: %v, want the rule %s", what, err, rule)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %q does not say %q", what, err, word)
		}
	}
}

func TestRotationKeepsEverythingReadable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		other := w.open() // a process that holds the keys of before
		ada := w.person()
		if err := w.vault.PutSystem(t.Context(), "log-key", secret.New("signs")); err != nil {
			t.Fatal(err)
		}
		old, oldNobody := w.seal(refOf(ada), token), w.seal(refOf(""), token)
		k := w.keys()
		for _, domain := range []vault.Domain{vault.Tokens, vault.Personal, vault.System} {
			if version, err := k.Rotate(t.Context(), domain); err != nil || version != 2 {
				t.Fatalf("Rotate(%s) = %d, %v; want 2", domain, version, err)
			}
		}
		check := func(when string) {
			t.Helper()
			w.opens(when+": a person's record", ada, old, other)
			w.opens(when+": a record of no person", "", oldNobody, other)
			fresh := w.seal(refOf(""), token)
			if fresh[4] != 2 {
				t.Errorf("%s: sealed under version %d, want 2", when, fresh[4])
			}
			w.opens(when+": a fresh record", "", fresh, other)
			w.opens(when+": a new person's", ada, w.seal(refOf(ada), token), other)
			if got, err := w.vault.System(t.Context(), "log-key"); err != nil || got.Reveal() != "signs" {
				t.Errorf("%s: system secret: %v", when, err)
			}
		}
		check("rotated")
		s, err := k.Status(t.Context())
		if err != nil || !s.Unfinished() || s.OldSystem != 1 {
			t.Errorf("after rotating: %+v, %v; want it unfinished", s, err)
		}
		if _, err := k.Rewrap(t.Context(), vault.RewrapOptions{}); err != nil {
			t.Fatal(err)
		}
		check("rewrapped")
		for _, domain := range []vault.Domain{vault.Personal, vault.System} {
			uses, err := k.Uses(t.Context(), domain, 1)
			if err != nil || len(uses) > 0 && domain == vault.System {
				t.Errorf("after rewrapping %s@1 is needed by %v, %v", domain, uses, err)
			}
			for _, use := range uses {
				if use.What != "entries of the audit log" {
					t.Errorf("after rewrapping %s@1 is needed by %d %s", domain, use.Count, use.What)
				}
			}
		}
		if s, err := k.Status(t.Context()); err != nil || s.Unfinished() {
			t.Errorf("after rewrapping: %+v, %v; want it finished", s, err)
		}
	})
}

func TestRecordsOfNoPersonAreSealedAnew(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ada := w.person()
	old, ofAda := w.seal(refOf(""), token), w.seal(refOf(ada), token)
	if _, err := w.keys().Rotate(t.Context(), vault.Tokens); err != nil {
		t.Fatal(err)
	}
	fresh, err := w.vault.Reseal(t.Context(), w.receipt(), refOf(""), old)
	if err != nil || fresh[4] != 2 {
		t.Fatalf("Reseal: %v, under version %d; want 2", err, fresh[4])
	}
	w.opens("sealed anew", "", fresh)
	if again, err := w.vault.Reseal(t.Context(), w.receipt(), refOf(""), fresh); err != nil || !bytes.Equal(again, fresh) {
		t.Errorf("what is under the newest is sealed anew: %v", err)
	}
	if _, err := w.vault.Reseal(t.Context(), audit.Receipt{}, refOf(""), old); !errors.Is(err, gatehouse.ErrDenied) {
		t.Errorf("without a receipt: %v, want ErrDenied", err)
	}
	if _, err := w.vault.Reseal(t.Context(), w.receipt(), refOf(ada), ofAda); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a person's: %v, want ErrInvalid", err)
	}
}

func TestDeriveIsNotRotated(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	_, err := w.keys().Rotate(t.Context(), vault.Derive)
	refused(t, "rotating derive", err, "keys/derive-is-fixed", "second hash")
	_, err = w.keys().Rotate(t.Context(), "tokenz")
	refused(t, "rotating nothing", err, "keys/unknown", "tokens, personal, system, derive")
}

func TestTwoProcessesRotateOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		one, two := w.keys(), w.keys()
		// The second rotates while the first has its new version ready.
		one.HookTestOnlyStep(func(name string) {
			if name == "rotate: wrapped" {
				if _, err := two.Rotate(t.Context(), vault.Tokens); err != nil {
					t.Errorf("the faster one: %v", err)
				}
			}
		})
		_, err := one.Rotate(t.Context(), vault.Tokens)
		refused(t, "the slower one", err, "keys/rotated-already")
		s, err := one.Status(t.Context())
		active := 0
		for _, row := range s.Domains {
			if row.Domain == vault.Tokens && row.State == vault.Active {
				active++
			}
		}
		if err != nil || active != 1 {
			t.Errorf("%d active versions, %v; want 1", active, err)
		}
	})
}

func TestLifeOfAVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		k, ctx := w.keys(), t.Context()
		old := w.seal(refOf(""), token)
		open := func() error {
			_, err := w.vault.Open(ctx, w.receipt(), refOf(""), old)
			return err
		}
		refused(t, "disabling the active version", k.Disable(ctx, vault.Tokens, 1), "keys/active", "keys rotate tokens")
		_, err := k.Schedule(ctx, vault.Tokens, 1, vault.DefaultWait)
		refused(t, "destroying the active version", err, "keys/active", "keys rotate tokens")
		if _, err := k.Rotate(ctx, vault.Tokens); err != nil {
			t.Fatal(err)
		}
		refused(t, "enabling what is not disabled", k.Enable(ctx, vault.Tokens, 1), "keys/state")
		refused(t, "a version that is not there", k.Disable(ctx, vault.Tokens, 9), "keys/unknown")
		if err := open(); err != nil {
			t.Errorf("decrypt-only: %v", err)
		}
		if err := k.Disable(ctx, vault.Tokens, 1); err != nil {
			t.Fatal(err)
		}
		if err := open(); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("disabled: %v, want ErrUnreadable", err)
		}
		if err := k.Enable(ctx, vault.Tokens, 1); err != nil || open() != nil {
			t.Errorf("enabled again: %v, %v", err, open())
		}
		_, err = k.Schedule(ctx, vault.Tokens, 1, vault.LeastWait-time.Second)
		refused(t, "too short a wait", err, "keys/wait")
		at, err := k.Schedule(ctx, vault.Tokens, 1, vault.LeastWait)
		if err != nil || time.Until(at) < vault.LeastWait-time.Minute {
			t.Fatalf("Schedule = %s, %v", at, err)
		}
		if err := open(); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("scheduled: %v, want ErrUnreadable", err)
		}
		if n, err := k.DestroyDue(ctx); n != 0 || err != nil {
			t.Errorf("before its time: %d destroyed, %v", n, err)
		}
		if err := k.Enable(ctx, vault.Tokens, 1); err != nil || open() != nil {
			t.Errorf("taken back: %v, %v", err, open())
		}
		if _, err := k.Schedule(ctx, vault.Tokens, 1, vault.LeastWait); err != nil {
			t.Fatal(err)
		}
		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("UPDATE vault_domain_keys SET destroy_at = 1 WHERE state = 'scheduled'")
		if n, err := k.DestroyDue(ctx); n != 1 || err != nil {
			t.Errorf("after its time: %d destroyed, %v; want 1", n, err)
		}
		_, rows := raw.Query("SELECT state, length(wrapped) FROM vault_domain_keys WHERE domain = 'tokens' AND version = 1")
		if fmt.Sprint(rows) != "[[destroyed 0]]" {
			t.Errorf("the row is %v, want a tombstone", rows)
		}
		refused(t, "enabling a destroyed version", k.Enable(ctx, vault.Tokens, 1), "keys/state", "destroyed")
		if _, err := vault.Open(ctx, w.config()); err != nil {
			t.Errorf("a vault with a destroyed version: %v", err)
		}
		want := []string{
			"intent keys.rotate tokens@2 allow", "outcome keys.rotate @ done", "intent keys.disable tokens@1 allow", "outcome keys.disable @ done",
			"intent keys.enable tokens@1 allow", "outcome keys.enable @ done", "intent keys.schedule tokens@1 allow", "outcome keys.schedule @ done",
			"intent keys.enable tokens@1 allow", "outcome keys.enable @ done", "intent keys.schedule tokens@1 allow", "outcome keys.schedule @ done",
			"intent keys.destroy tokens@1 allow", "outcome keys.destroy @ done",
		}
		if err := w.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if got := w.actions(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the log holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestWhatIsNeededIsNotDestroyed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		w.person()
		if err := w.vault.PutSystem(t.Context(), "log-key", secret.New("x")); err != nil {
			t.Fatal(err)
		}
		entry := audit.Entry{Action: "call", Personal: map[string]string{"connection": "c"}}
		if _, err := w.log.Record(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
		k := w.keys()
		for domain, words := range map[vault.Domain][]string{
			vault.System: {"1 system secrets"}, vault.Personal: {"1 daily keys of the keyring", "1 entries of the audit log"},
		} {
			if _, err := k.Rotate(t.Context(), domain); err != nil {
				t.Fatal(err)
			}
			_, err := k.Schedule(t.Context(), domain, 1, vault.DefaultWait)
			refused(t, string(domain), err, "keys/needed", words...)
		}
		if _, err := k.Rewrap(t.Context(), vault.RewrapOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Schedule(t.Context(), vault.System, 1, vault.DefaultWait); err != nil {
			t.Errorf("the near miss, once nothing needs it: %v", err)
		}
		_, err := k.Schedule(t.Context(), vault.Personal, 1, vault.DefaultWait)
		refused(t, "while the log needs it", err, "keys/needed", "1 entries of the audit log")
	})
}

func TestMoveToAnotherRootKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		sealed := w.seal(refOf(""), token)
		before := w.root
		// The configuration names the new one; the old one is gone from it at first.
		moved := w.config()
		moved.Root = newRoot(t)
		if _, err := vault.Open(t.Context(), moved); !errors.Is(err, gatehouse.ErrConflict) || !strings.Contains(err.Error(), "previous_root_keys") {
			t.Errorf("without the old root key: %v, want an error that says what to do", err)
		}
		moved.Previous = []vault.RootKey{before}
		w.root = moved.Root
		v, err := vault.Open(t.Context(), moved)
		if err != nil {
			t.Fatalf("with both: %v", err)
		}
		w.vault = v
		k := w.keys()
		if s, err := k.Status(t.Context()); err != nil || fmt.Sprint(s.PreviousRoots()) != "["+before.ID()+"]" {
			t.Errorf("status = %v, %v; want the old root key to be needed", s.PreviousRoots(), err)
		}
		if _, err := k.Rewrap(t.Context(), vault.RewrapOptions{Root: true}); err != nil {
			t.Fatal(err)
		}
		if s, err := k.Status(t.Context()); err != nil || len(s.PreviousRoots()) != 0 {
			t.Errorf("status = %v, %v; want the old root key no longer needed", s.PreviousRoots(), err)
		}
		moved.Previous = nil
		if v, err = vault.Open(t.Context(), moved); err != nil {
			t.Fatalf("without the old one, afterwards: %v", err)
		}
		w.opens("after the move", "", sealed, v)
	})
}

// liar is a root key of a provider that has gone wrong in one way.
type liar struct {
	vault.RootKey
	unwrap func(plaintext []byte, err error) ([]byte, error)
	wrap   error
}

func (l liar) Wrap(ctx context.Context, p, at []byte) ([]byte, error) {
	if l.wrap != nil {
		return nil, l.wrap
	}
	return l.RootKey.Wrap(ctx, p, at)
}

func (l liar) Unwrap(ctx context.Context, c, at []byte) ([]byte, error) {
	plaintext, err := l.RootKey.Unwrap(ctx, c, at)
	if l.unwrap != nil {
		return l.unwrap(plaintext, err)
	}
	return plaintext, err
}

func TestMoveToARootKeyThatDoesNotWorkChangesNothing(t *testing.T) {
	for name, spoil := range map[string]func(*liar){
		"denies to wrap":   func(l *liar) { l.wrap = errors.New("denied") },
		"out of reach":     func(l *liar) { l.wrap = gatehouse.ErrUnavailable },
		"denies to unwrap": func(l *liar) { l.unwrap = func([]byte, error) ([]byte, error) { return nil, errors.New("denied") } },
		"gives back another": func(l *liar) {
			l.unwrap = func(p []byte, err error) ([]byte, error) { return bytes.Repeat([]byte{1}, len(p)), err }
		},
	} {
		w := newWorld(t, storetest.SQLite(t))
		sealed, before := w.seal(refOf(""), token), w.root
		bad := liar{RootKey: newRoot(t)}
		spoil(&bad)
		config := w.config()
		config.Root, config.Previous = bad, []vault.RootKey{before}
		v, err := vault.Open(t.Context(), config)
		if err != nil {
			t.Fatalf("%s: Open: %v", name, err)
		}
		w.vault = v
		_, err = w.keys().Rewrap(t.Context(), vault.RewrapOptions{Root: true})
		if err == nil || !strings.Contains(err.Error(), bad.ID()) {
			t.Errorf("%s: Rewrap = %v, want an error that names the root key", name, err)
		}
		w.root = before
		w.opens(name+": with the old root key", "", sealed, w.open())
	}
}

func TestImportedKeyset(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	old := w.seal(refOf(""), token)
	write := func(name string, mode os.FileMode, content []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, content, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	handle, err := keyset.NewHandle(aead.XAES256GCM192BitNonceKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	var binary, text, deriving bytes.Buffer
	derive, err := keyset.NewHandle(prf.HKDFSHA256PRFKeyTemplate())
	if err = errors.Join(err, insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&binary)),
		insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&text)),
		insecurecleartextkeyset.Write(derive, keyset.NewBinaryWriter(&deriving))); err != nil {
		t.Fatal(err)
	}
	k := w.keys()
	_, err = k.Import(t.Context(), vault.Tokens, write("open", 0o644, binary.Bytes()))
	refused(t, "a file that others can read", err, "keys/import-file")
	_, err = k.Import(t.Context(), vault.Tokens, write("noise", 0o600, []byte(token)))
	refused(t, "noise", err, "keys/import-keyset")
	if strings.Contains(err.Error(), token) {
		t.Error("the error repeats the file")
	}
	_, err = k.Import(t.Context(), vault.Tokens, write("prf", 0o600, deriving.Bytes()))
	refused(t, "a keyset for something else", err, "keys/import-keyset")
	_, err = k.Import(t.Context(), vault.Derive, write("derive", 0o600, deriving.Bytes()))
	refused(t, "derive", err, "keys/derive-is-fixed")
	for i, content := range [][]byte{binary.Bytes(), text.Bytes()} {
		version, err := k.Import(t.Context(), vault.Tokens, write("good", 0o600, content))
		if err != nil || version != uint32(i+2) {
			t.Errorf("Import = %d, %v; want %d", version, err, i+2)
		}
		w.opens("sealed under the imported keyset", "", w.seal(refOf(""), token), w.open())
	}
	w.opens("sealed before", "", old)
}

func FuzzKeyset(f *testing.F) {
	f.Add([]byte(`{"primaryKeyId":1,"key":[]}`))
	f.Add([]byte{8, 1})
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := vault.HookTestOnlyParseKeyset(content); err != nil && !errors.Is(err, gatehouse.ErrInvalid) {
			t.Fatalf("%v, want ErrInvalid", err)
		}
	})
}

// The clock rotates, and destroys what nothing needs after its time; a running
// process obeys what another one disabled.
func TestKeysByAge(t *testing.T) {
	dsn := storetest.SQLite(t)
	root := newRoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), root: root}
		if err := vault.Init(t.Context(), w.config()); err != nil {
			t.Fatal(err)
		}
		w.vault = w.open()
		defer w.vault.Close()
		w.log = openLog(t, w.db, w.vault)
		k := w.keys(func(c *vault.KeysConfig) { c.RotateAfter, c.DestroyAfter = 90*24*time.Hour, 30*24*time.Hour })
		state := func(domain vault.Domain, version uint32) vault.KeyState {
			s, err := k.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range s.Domains {
				if row.Domain == domain && row.Version == version {
					return row.State
				}
			}
			return "none"
		}
		for _, step := range []struct {
			after    time.Duration
			one, two vault.KeyState
			derive   vault.KeyState
		}{
			{89 * 24 * time.Hour, vault.Active, "none", vault.Active},
			{2 * 24 * time.Hour, vault.DecryptOnly, vault.Active, vault.Active},
			{28 * 24 * time.Hour, vault.DecryptOnly, vault.Active, vault.Active},
			{2 * 24 * time.Hour, vault.Scheduled, vault.Active, vault.Active},
			{7 * 24 * time.Hour, vault.Destroyed, vault.Active, vault.Active},
		} {
			time.Sleep(step.after)
			if err := k.Maintain(t.Context(), true); err != nil {
				t.Error(err)
			}
			if one, two, derive := state(vault.Tokens, 1), state(vault.Tokens, 2), state(vault.Derive, 1); one != step.one || two != step.two || derive != step.derive {
				t.Errorf("%s later: tokens@1 %s, tokens@2 %s, derive@1 %s; want %+v", step.after, one, two, derive, step)
			}
		}
	})
}

// A running process obeys within seconds what another one did, and notes the hour
// in which a key was used.
func TestRunObeysAndNotes(t *testing.T) {
	dsn := storetest.SQLite(t)
	root := newRoot(t)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dsn: dsn, db: storetest.Open(t, dsn), root: root}
		if err := vault.Init(t.Context(), w.config()); err != nil {
			t.Fatal(err)
		}
		w.vault = w.open()
		defer w.vault.Close()
		running := w.open()
		defer running.Close()
		w.log = openLog(t, w.db, w.vault)
		old := w.seal(refOf(""), token)
		other := &world{t: t, db: w.db, vault: running, log: w.log}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- other.keys().Run(ctx) }()
		defer func() { stop(); <-done }()
		if _, err := w.keys().Rotate(t.Context(), vault.Tokens); err != nil {
			t.Fatal(err)
		}
		other.opens("while it is decrypt-only", "", old)
		if err := w.keys().Disable(t.Context(), vault.Tokens, 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(16 * time.Second)
		if _, err := running.Open(t.Context(), w.receipt(), refOf(""), old); !errors.Is(err, vault.ErrUnreadable) {
			t.Errorf("disabled by another process: %v, want ErrUnreadable", err)
		}
		time.Sleep(16 * time.Second)
		s, err := w.keys().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range s.Domains {
			if row.Domain == vault.Tokens && row.Version == 1 && row.Used != time.Now().UTC().Truncate(time.Hour) {
				t.Errorf("last used %s, want this hour", row.Used)
			}
		}
	})
}
