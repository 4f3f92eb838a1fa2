package store_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"

	"github.com/google/go-cmp/cmp"
)

func domainKey(domain vault.Domain, version uint32) vault.DomainKey {
	return vault.DomainKey{
		Domain: domain, Version: version, State: vault.Active, Environment: "production", Root: "file-1",
		Wrapped: []byte{0, 1, 0xff}, Created: time.UnixMicro(1_700_000_000_000_001).UTC(),
	}
}

func TestDomainKeysAreAddedAllOrNone(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Vault()
		first := []vault.DomainKey{domainKey(vault.Derive, 1), domainKey(vault.Tokens, 1)}
		if err := s.AddDomainKeys(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		second := []vault.DomainKey{domainKey(vault.Tokens, 2), domainKey(vault.Tokens, 1)}
		second[1].Wrapped = []byte("another")
		if err := s.AddDomainKeys(t.Context(), second); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("with one that exists: %v, want ErrConflict", err)
		}
		got, err := s.DomainKeys(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("domain keys (-want +got):\n%s", diff)
		}
	})
}

func TestThePersonKeyThatSealsIsTheNewestActiveOne(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Vault()
		if _, err := s.PersonKey(t.Context(), "ada", 0); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("without a key: %v, want ErrNotFound", err)
		}
		add := func(version uint32, state vault.KeyState) vault.PersonKey {
			key := vault.PersonKey{
				Person: "ada", Version: version, State: state, DomainVersion: 7,
				Wrapped: []byte{byte(version)}, Created: time.UnixMicro(1_700_000_000_000_000).UTC(),
			}
			if err := s.AddPersonKey(t.Context(), key); err != nil {
				t.Fatal(err)
			}
			return key
		}
		want := func(version uint32, want vault.PersonKey) {
			t.Helper()
			got, err := s.PersonKey(t.Context(), "ada", version)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("version %d: %v (-want +got):\n%s", version, err, diff)
			}
		}
		one := add(1, vault.DecryptOnly)
		want(0, one) // none is active: the newest, so that its state can be named
		two := add(2, vault.Active)
		three := add(3, vault.Disabled)
		want(0, two)
		want(1, one)
		want(3, three)
		if _, err := s.PersonKey(t.Context(), "ada", 4); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown version: %v, want ErrNotFound", err)
		}
		again := two
		again.Wrapped = []byte("another")
		if err := s.AddPersonKey(t.Context(), again); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a version that exists: %v, want ErrConflict", err)
		}
		want(2, two)
	})
}

func TestDestructionReachesEveryVersionAndKeepsItsFirstTime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Vault()
		for version := range uint32(3) {
			key := vault.PersonKey{Person: "ada", Version: version + 1, State: vault.Active, DomainVersion: 1, Wrapped: []byte("w"), Created: time.Now()}
			if err := s.AddPersonKey(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
		at := time.UnixMicro(1_700_000_000_000_000).UTC()
		for i := range 2 {
			if err := s.DestroyPersonKeys(t.Context(), "ada", at.Add(time.Duration(i)*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		for version := range uint32(4) {
			key, err := s.PersonKey(t.Context(), "ada", version)
			if err != nil || key.State != vault.Destroyed || len(key.Wrapped) != 0 || !key.Destroyed.Equal(at) {
				t.Errorf("version %d = %+v, %v; want a tombstone of %s", version, key, err, at)
			}
		}
		if err := s.DestroyPersonKeys(t.Context(), "bob", at); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown person: %v, want ErrNotFound", err)
		}
	})
}

func TestASystemRecordIsReplaced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Vault()
		if _, err := s.SystemRecord(t.Context(), "log-key"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("before it is put: %v, want ErrNotFound", err)
		}
		for i, sealed := range [][]byte{{0}, bytes.Repeat([]byte{0xff, 0}, 1000)} {
			record := vault.SystemRecord{Name: "log-key", Sealed: sealed, Updated: time.UnixMicro(int64(1_700_000_000_000_000 + i)).UTC()}
			if err := s.PutSystemRecord(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			got, err := s.SystemRecord(t.Context(), "log-key")
			if diff := cmp.Diff(record, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
	})
}
