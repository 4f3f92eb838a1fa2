package store_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/observe"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func eachObserve(t *testing.T, f func(t *testing.T, s observe.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Observe()) })
}

var aUse = observe.Use{Service: "web", Purpose: "read", Operation: "GET /2/users/me"}

// Counts add up, measures and days widen, kinds are joined.
func TestUsesAddUp(t *testing.T) {
	eachObserve(t, func(t *testing.T, s observe.Store) {
		ctx := t.Context()
		if _, _, _, err := s.Uses(ctx); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Fatalf("before anything was observed: %v", err)
		}
		begun := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
		for _, at := range []time.Time{begun, begun.Add(time.Hour)} {
			if err := s.BeginUses(ctx, at); err != nil {
				t.Fatal(err)
			}
		}
		call := observe.Call{Use: aUse, App: "old", First: 10, Last: 11, Calls: 1, Implied: 2, Reported: 3, Params: 4, Bodies: 5, Replies: 6, Files: 7,
			OtherParams: 8, OtherBody: 9, OtherReply: 10}
		later := call
		later.App, later.First, later.Last = "new", 9, 20
		field := observe.Field{Use: aUse, Place: observe.InParams, Name: "max_results", First: 10, Last: 11, Seen: 3, Kinds: observe.IsInteger,
			Min: 5, Max: 10, Length: 2, Entries: 1, Entry: 2}
		wider := observe.Field{Use: aUse, Place: observe.InParams, Name: "max_results", First: 12, Last: 12, Seen: 1, Kinds: observe.IsText,
			Min: math.MaxInt64, Max: math.MinInt64, Length: 9, Entries: 0, Entry: 1}
		for i := range 2 {
			if err := s.AddUses(ctx, []observe.Call{[]observe.Call{call, later}[i]}, []observe.Field{[]observe.Field{field, wider}[i]}); err != nil {
				t.Fatal(err)
			}
		}
		since, calls, fields, err := s.Uses(ctx)
		if err != nil || !since.Equal(begun) {
			t.Fatalf("since %s, %v", since, err)
		}
		want := observe.Call{Use: aUse, App: "new", First: 9, Last: 20, Calls: 2, Implied: 4, Reported: 6, Params: 8, Bodies: 10, Replies: 12, Files: 14,
			OtherParams: 16, OtherBody: 18, OtherReply: 20}
		if diff := cmp.Diff([]observe.Call{want}, calls); diff != "" {
			t.Error(diff)
		}
		whole := field
		whole.Last, whole.Seen, whole.Kinds, whole.Length = 12, 4, observe.IsInteger|observe.IsText, 9
		if diff := cmp.Diff([]observe.Field{whole}, fields); diff != "" {
			t.Error(diff)
		}
	})
}

// A use keeps so many names in a place, those that are there, and those that are
// sure; other uses and places have their own room.
func TestUsesAreBounded(t *testing.T) {
	eachObserve(t, func(t *testing.T, s observe.Store) {
		ctx := t.Context()
		if err := s.BeginUses(ctx, moment(0)); err != nil {
			t.Fatal(err)
		}
		var fields []observe.Field
		for i := range observe.InParams.Most() + 5 {
			fields = append(fields, observe.Field{Use: aUse, Place: observe.InParams, Name: fmt.Sprintf("n%03d", i), Seen: 1})
		}
		body := observe.Field{Use: aUse, Place: observe.InBody, Name: "text", Seen: 1}
		sure := observe.Field{Use: aUse, Place: observe.InParams, Name: "sure", Seen: 1, Sure: true}
		for range 2 {
			if err := s.AddUses(ctx, nil, append(fields, body, sure)); err != nil {
				t.Fatal(err)
			}
		}
		_, _, got, err := s.Uses(ctx)
		if err != nil || len(got) != observe.InParams.Most()+2 {
			t.Fatalf("%d names are kept, want %d and two; %v", len(got), observe.InParams.Most(), err)
		}
		for _, f := range got {
			if f.Seen != 2 {
				t.Errorf("%s was seen %d times, want 2", f.Name, f.Seen)
			}
		}
	})
}

// What was not used for long is forgotten, and what was used on the last day is
// not.
func TestUsesAreForgotten(t *testing.T) {
	eachObserve(t, func(t *testing.T, s observe.Store) {
		ctx := t.Context()
		if err := s.BeginUses(ctx, moment(0)); err != nil {
			t.Fatal(err)
		}
		other := aUse
		other.Operation = "GET /2/tweets/{id}"
		if err := s.AddUses(ctx, []observe.Call{{Use: aUse, Last: 99}, {Use: other, Last: 100}}, []observe.Field{
			{Use: aUse, Place: observe.InParams, Name: "a", Last: 99}, {Use: other, Place: observe.InParams, Name: "b", Last: 100},
		}); err != nil {
			t.Fatal(err)
		}
		if err := s.ForgetUses(ctx, 100); err != nil {
			t.Fatal(err)
		}
		_, calls, fields, err := s.Uses(ctx)
		if err != nil || len(calls) != 1 || len(fields) != 1 || calls[0].Last != 100 || fields[0].Name != "b" {
			t.Errorf("left: %v, %v, %v", calls, fields, err)
		}
	})
}
