package store_test

import (
	"testing"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/store/storetest"
)

// How often a handle was used goes with its person, and nobody else's does.
func TestUsesAreErased(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := withService(t, dsn)
		mine, other := handleRecord("mine", ""), handleRecord("other", "")
		mine.Handle.Person, other.Handle.Person = "person-mine", "person-other"
		uses := map[gatehouse.HandleID]identity.Use{}
		for _, record := range []identity.HandleRecord{mine, other} {
			if err := s.AddHandle(t.Context(), record); err != nil {
				t.Fatal(err)
			}
			uses[record.Handle.ID] = identity.Use{Count: 3, First: day, Last: day}
		}
		if err := s.AddUses(t.Context(), identity.UseBatch{Process: "p", Number: 1, At: day, Uses: uses}); err != nil {
			t.Fatal(err)
		}
		if err := storetest.Open(t, dsn).Connect().ErasePerson(t.Context(), "person-mine", day); err != nil {
			t.Fatal(err)
		}
		left, err := s.Uses(t.Context(), []gatehouse.HandleID{"mine", "other"})
		if err != nil || len(left) != 1 || left["other"].Count != 3 || !left["other"].Last.Equal(day) {
			t.Errorf("after the erasure: %+v, %v", left, err)
		}
	})
}
