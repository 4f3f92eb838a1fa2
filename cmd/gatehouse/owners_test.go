package main

import (
	"maps"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
)

// Whose an entry is, is found without looking at everybody once they are marked, and while
// they are not.
func TestOwnersAreFoundByTheirMarks(t *testing.T) {
	_, p := consoleParts(t)
	ctx := t.Context()
	hash := func(person gatehouse.PersonID) string { return string(audit.PersonHash(p.logIndex, person)) }
	person := func() gatehouse.PersonID {
		t.Helper()
		id, err := p.vault.NewPerson(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ada, bob, cy := person(), person(), person()
	of := func(wanted ...string) map[string]gatehouse.PersonID {
		t.Helper()
		set := map[string]bool{}
		for _, h := range wanted {
			set[h] = true
		}
		owners, err := p.ownersOf(ctx, set)
		if err != nil {
			t.Fatal(err)
		}
		return owners
	}
	// One whose mark leads elsewhere shows that it is the mark that is looked for.
	if err := p.db.Vault().MarkPeople(ctx, []store.PersonMark{{Person: cy, Mark: p.ownerMark([]byte(hash("dan")))}}); err != nil {
		t.Fatal(err)
	}
	want := map[string]gatehouse.PersonID{hash(ada): ada, hash(bob): bob, hash("dan"): cy}
	if got := of(hash(ada), hash(bob), hash("dan"), hash("nobody"), hash(cy)); !maps.Equal(got, want) {
		t.Errorf("found are %v", got)
	}
	if all, err := p.markPeople(ctx, markBatch); !all || err != nil {
		t.Errorf("afterwards some have no mark: %v", err)
	}
	if err := p.vault.DestroyPerson(ctx, ada); err != nil {
		t.Fatal(err)
	}
	if got := of(hash(ada)); len(got) != 0 {
		t.Errorf("who was erased is found: %v", got)
	}
}
