package vault_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

// failingStore fails the write that is so many writes away, before or after it
// took effect, and all later ones before: the disk is full from then on.
type failingStore struct {
	vault.Store
	left  int
	after bool
	tried bool // that a write failed
}

func (s *failingStore) write(do func() error) error {
	s.left--
	if s.left > 0 {
		return do()
	}
	first := s.left == 0
	s.tried = true
	if first && s.after {
		if err := do(); err != nil {
			return err
		}
	}
	return fmt.Errorf("no space left: %w", gatehouse.ErrUnavailable)
}

func (s *failingStore) RotateDomainKey(ctx context.Context, key vault.DomainKey) error {
	return s.write(func() error { return s.Store.RotateDomainKey(ctx, key) })
}

func (s *failingStore) ChangeDomainKey(ctx context.Context, from, to vault.DomainKey) error {
	return s.write(func() error { return s.Store.ChangeDomainKey(ctx, from, to) })
}

func (s *failingStore) RewrapPersonKeys(ctx context.Context, from, to []vault.PersonKey) (n int, err error) {
	err = s.write(func() (err error) { n, err = s.Store.RewrapPersonKeys(ctx, from, to); return err })
	return n, err
}

func (s *failingStore) AddKeyringKey(ctx context.Context, key vault.KeyringKey, replaces vault.KeyringID) error {
	return s.write(func() error { return s.Store.AddKeyringKey(ctx, key, replaces) })
}

func (s *failingStore) RewrapKeyringKeys(ctx context.Context, from, to []vault.KeyringKey) (n int, err error) {
	err = s.write(func() (err error) { n, err = s.Store.RewrapKeyringKeys(ctx, from, to); return err })
	return n, err
}

func (s *failingStore) EndKeyringKey(ctx context.Context, id vault.KeyringID) error {
	return s.write(func() error { return s.Store.EndKeyringKey(ctx, id) })
}

func (s *failingStore) AddDailyKey(ctx context.Context, key vault.DailyKey) error {
	return s.write(func() error { return s.Store.AddDailyKey(ctx, key) })
}

func (s *failingStore) EndDailyKey(ctx context.Context, version uint32, at time.Time) error {
	return s.write(func() error { return s.Store.EndDailyKey(ctx, version, at) })
}

func (s *failingStore) MarkKeyringErased(ctx context.Context, at time.Time) error {
	return s.write(func() error { return s.Store.MarkKeyringErased(ctx, at) })
}

func (s *failingStore) ResealSystemRecord(ctx context.Context, from, to vault.SystemRecord) error {
	return s.write(func() error { return s.Store.ResealSystemRecord(ctx, from, to) })
}

func (s *failingStore) Compact(ctx context.Context) error {
	return s.write(func() error { return s.Store.Compact(ctx) })
}

// The disk fills at every write of a rotation and of a turn, in each of the two
// ways in which a write can fail. Everything stays readable, in that process and
// in a new one, and with room again the next run comes to the end.
func TestDiskFullAtEveryWrite(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w, _ := withFile(t, storetest.SQLite(t))
			ada, bob := w.person(), w.person()
			ofAda, ofNobody := w.seal(refOf(ada), token), w.seal(refOf(""), token)
			must(t, w.vault.PutSystem(t.Context(), "log-key", secret.New("signs")), w.vault.DestroyPerson(t.Context(), bob))
			failing := &failingStore{Store: w.db.Vault(), left: n, after: after}
			config := w.config()
			config.Store = failing
			v, err := vault.Open(t.Context(), config)
			must(t, err)
			k := mustKeys(t, v, w.log)
			work := func(k *vault.Keys) error {
				for _, domain := range []vault.Domain{vault.Tokens, vault.System, vault.Personal} {
					if _, err := k.Rotate(t.Context(), domain); err != nil {
						return err
					}
				}
				_, err := k.Rewrap(t.Context(), vault.RewrapOptions{Keyring: true})
				return err
			}
			err = work(k)
			if failing.tried && !errors.Is(err, gatehouse.ErrUnavailable) {
				t.Errorf("write %d: %v, want ErrUnavailable", n, err)
			}
			name := fmt.Sprintf("after write %d failed (stored: %t)", n, after)
			for _, vault := range []*vault.Vault{v, w.open()} {
				w.opens(name, ada, ofAda, vault)
				w.opens(name, "", ofNobody, vault)
				if got, err := vault.System(t.Context(), "log-key"); err != nil || got.Reveal() != "signs" {
					t.Errorf("%s: system secret: %v", name, err)
				}
			}
			healed := w.keys(soon)
			must(t, healed.Maintain(t.Context(), false))
			if s, err := healed.Status(t.Context()); err != nil || s.Unfinished() || s.Keyring.Dirty > 0 {
				t.Errorf("%s, with room again: %+v, %v", name, s, err)
			}
			w.opens(name+", with room again", ada, ofAda, w.open())
			if t.Failed() {
				return
			}
			if !failing.tried {
				if n < 10 {
					t.Errorf("only %d writes were seen: the sweep looks in the wrong place", n)
				}
				break
			}
		}
	}
}

// The keyring file cannot be written: nothing is begun, and the error names it.
func TestKeyringFileThatCannotBeWritten(t *testing.T) {
	w, path := withFile(t, storetest.SQLite(t))
	ada := w.person()
	sealed := w.seal(refOf(ada), token)
	must(t, os.Chmod(path, 0o600), os.Rename(path, path+".away"))
	_, err := w.keys().Rewrap(t.Context(), vault.RewrapOptions{Keyring: true})
	if !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("Rewrap: %v, want the missing file", err)
	}
	w.opens("without the file, in a process that has the key", ada, sealed)
	must(t, os.Rename(path+".away", path))
	if _, err := w.keys().Rewrap(t.Context(), vault.RewrapOptions{}); err != nil {
		t.Errorf("with the file back: %v", err)
	}
	w.opens("with the file back", ada, sealed, w.open())
}
