package store_test

import (
	"errors"
	"slices"
	"testing"

	"gatehouse"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
)

func TestPeopleAreFoundByTheirMarks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx, s := t.Context(), storetest.Open(t, dsn).Vault()
		for _, person := range []gatehouse.PersonID{"ada", "bob", "cy", "dan"} {
			want(t, "adding", s.AddPersonKey(ctx, vault.PersonKey{Person: person, Version: 1, State: vault.Active, DomainVersion: 1, Wrapped: []byte("w"), Created: day}), nil)
		}
		want(t, "destroying", s.DestroyPersonKeys(ctx, "dan", day), nil)
		unmarked := func(limit int, people ...gatehouse.PersonID) {
			t.Helper()
			if got, err := s.UnmarkedPeople(ctx, limit); err != nil || !slices.Equal(got, people) {
				t.Errorf("without a mark are %v, %v; want %v", got, err, people)
			}
		}
		unmarked(2, "ada", "bob")
		mark := func(person gatehouse.PersonID, mark string) {
			t.Helper()
			want(t, "marking", s.MarkPeople(ctx, []store.PersonMark{{Person: person, Mark: []byte(mark)}}), nil)
		}
		found := func(mark string, person gatehouse.PersonID) {
			t.Helper()
			got, err := s.MarkedPerson(ctx, []byte(mark))
			if got != person || (err != nil) != (person == "") || err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("%s is of %q, %v; want %q", mark, got, err, person)
			}
		}
		mark("ada", "a")
		mark("bob", "b")
		mark("dan", "d") // who was erased before it was written
		mark("ada", "other")
		found("a", "ada")
		found("b", "bob")
		found("d", "")
		found("other", "")
		unmarked(10, "cy")
		want(t, "destroying", s.DestroyPersonKeys(ctx, "ada", day), nil)
		found("a", "")
		// The mark goes with the key: brought back to life by hand, the row has none.
		storetest.OpenRaw(t, dsn).ExecUncounted("UPDATE vault_person_keys SET state = 'active' WHERE person = 'ada'")
		found("a", "")
		storetest.OpenRaw(t, dsn).ExecUncounted("UPDATE vault_person_keys SET state = 'destroyed' WHERE person = 'ada'")
		// A new version has none yet, and the old one still leads to them.
		want(t, "adding", s.AddPersonKey(ctx, vault.PersonKey{Person: "bob", Version: 2, State: vault.Active, DomainVersion: 1, Wrapped: []byte("w"), Created: day}), nil)
		found("b", "bob")
		unmarked(10, "bob", "cy")
	})
}
