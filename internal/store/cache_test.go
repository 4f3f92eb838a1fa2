package store_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

// TestRememberedRows tells the story of a row that one process remembers while
// it is changed: by that process, by another one, and by hand.
func TestRememberedRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		open := func() *store.DB {
			db, err := store.Open(ctx, dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
			return db
		}
		mine, other := open(), open()
		wrapped := func(db *store.DB, person gatehouse.PersonID) string {
			t.Helper()
			key, err := db.Vault().PersonKey(ctx, person, 0)
			if err != nil {
				t.Fatalf("reading the key of %s: %v", person, err)
			}
			return string(key.Wrapped)
		}
		for _, person := range []gatehouse.PersonID{"ada", "grace", "linus"} {
			key := vault.PersonKey{Person: person, Version: 1, State: vault.Active, DomainVersion: 1, Wrapped: []byte("sealed"), Created: time.Now()}
			if err := mine.Vault().AddPersonKey(ctx, key); err != nil {
				t.Fatal(err)
			}
			if got := wrapped(mine, person); got != "sealed" {
				t.Fatalf("key of %s is %q", person, got)
			}
		}

		// Destroyed here: gone when the call returns.
		if err := mine.Vault().DestroyPersonKeys(ctx, "ada", time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := wrappedOrNone(t, mine, "ada"); got != "" {
			t.Errorf("a key destroyed in this process reads %q", got)
		}

		// Destroyed by another process: gone a few milliseconds later.
		if err := other.Vault().DestroyPersonKeys(ctx, "grace", time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		if got := wrappedOrNone(t, mine, "grace"); got != "" {
			t.Errorf("a key destroyed in another process reads %q", got)
		}

		// Changed by hand, without counting: seen within a second.
		storetest.OpenRaw(t, dsn).ExecUncounted("UPDATE vault_person_keys SET wrapped = $1 WHERE person = 'linus'", []byte("by hand"))
		time.Sleep(1100 * time.Millisecond)
		if got := wrapped(mine, "linus"); got != "by hand" {
			t.Errorf("a row changed by hand reads %q after a second", got)
		}
	})
}

// wrappedOrNone returns the stored key, or "" for one that is gone.
func wrappedOrNone(t *testing.T, db *store.DB, person gatehouse.PersonID) string {
	t.Helper()
	key, err := db.Vault().PersonKey(t.Context(), person, 0)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(key.Wrapped)
}
