package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
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

// A saved connection is forgotten at once, and the others stay remembered: unless
// another process has changed something that this one has not heard of.
func TestRememberedConnections(t *testing.T) {
	ctx, dsn := t.Context(), storetest.SQLite(t)
	mine, other, hand := storetest.Open(t, dsn).Connect(), storetest.Open(t, dsn).Connect(), storetest.OpenRaw(t, dsn)
	if err := mine.SaveConnections(ctx, record("one"), record("two")); err != nil {
		t.Fatal(err)
	}
	reason := func(id gatehouse.ConnectionID) string {
		t.Helper()
		r, err := mine.Connection(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return r.Reason
	}
	save := func(s connect.Store, id gatehouse.ConnectionID, why string) {
		t.Helper()
		r, err := other.Connection(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		r.Reason = why
		if err := s.SaveConnections(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	kept := false
	for try := 0; try < 20 && !kept; try++ { // nothing is kept for longer than a second
		time.Sleep(5 * time.Millisecond) // so that the other process looks
		before, _ := reason("two"), reason("one")
		hand.ExecUncounted("UPDATE connections SET reason = $1 WHERE id = 'two'", fmt.Sprint("by hand ", try))
		why := fmt.Sprint("renewed ", try)
		save(mine, "one", why)
		if got := reason("one"); got != why {
			t.Fatalf("what this process has saved reads %q", got)
		}
		kept = reason("two") == before
	}
	if !kept {
		t.Error("saving one connection made this process forget the other")
	}
	for try := range 5 {
		time.Sleep(5 * time.Millisecond)
		reason("two")
		theirs, ours := fmt.Sprint("theirs ", try), fmt.Sprint("ours ", try)
		save(other, "two", theirs)
		time.Sleep(5 * time.Millisecond)
		save(mine, "one", ours)
		if one, two := reason("one"), reason("two"); one != ours || two != theirs {
			t.Errorf("after a change by each process it reads %q and %q", one, two)
		}
	}
}
