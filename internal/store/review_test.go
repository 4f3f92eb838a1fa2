package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func reviewOf(id review.ID) review.Review {
	return review.Review{ID: id, State: review.Open, Begun: day, By: "host", Due: day.Add(48 * time.Hour), Since: day.Add(-time.Hour), MAC: "of " + string(id)}
}

func itemsOf(id review.ID) []review.Item {
	return []review.Item{
		{Review: id, Number: 1, Right: review.Right{Kind: review.Grant, Holder: "a1", Name: "owner", Detail: "no end", Created: day, Used: day.Add(time.Minute)}},
		{Review: id, Number: 2, Right: review.Right{Kind: review.Listed, System: "cloud", Holder: "ada", Name: "admin", Flaw: "x"}, Proposed: true, Why: "x"},
		{Review: id, Number: 3, Right: review.Right{Kind: review.Scope, Holder: "publish", Name: "dm.read"}},
	}
}

func TestReviewsAreStoredAsTheyAre(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Reviews()
		ctx := t.Context()
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []review.ID{"r1", "nothing"} {
			if _, err := s.Review(ctx, id); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("Review: %v, want ErrNotFound", err)
			}
		}
		want, items := reviewOf("r1"), itemsOf("r1")
		lists := []review.ReviewedList{{List: review.List{System: "cloud", At: day, By: "host", SHA256: "aa", Rights: 2, HasUse: true}, MAC: "m"}}
		check(s.Begin(ctx, want, items, lists))
		if got, err := s.ReviewedLists(ctx, "r1"); err != nil || !cmp.Equal(lists, got) {
			t.Errorf("ReviewedLists = %+v, %v", got, err)
		}
		want.Lists = 1
		if err := s.Begin(ctx, reviewOf("r2"), nil, nil); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a second review: %v, want ErrConflict", err)
		}
		want.Counts = review.Counts{Items: 3, Proposed: 1, Undecided: 3}
		if got, err := s.Review(ctx, "r1"); err != nil || got != want {
			t.Errorf("Review = %+v, %v; want %+v", got, err, want)
		}
		if got, err := s.Items(ctx, "r1"); err != nil || !cmp.Equal(items, got) {
			t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(items, got))
		}
		// What comes only later.
		if err := s.Finish(ctx, "r1", day); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("finishing an open review: %v, want ErrConflict", err)
		}
		check(s.Sign(ctx, "r1", []byte("too early")))
		if _, err := s.Evidence(ctx, "r1"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("evidence of an open review: %v, want ErrNotFound", err)
		}
		items[0].Decision, items[0].By, items[0].Own, items[0].At, items[0].Reason, items[0].Entry = review.Confirmed, "a1", true, day.Add(time.Hour), "mine", "e1"
		items[0].MAC = "decided"
		check(s.Decide(ctx, items[0], ""))
		check(s.Remind(ctx, "r1", 2))
		check(s.Remind(ctx, "r1", 1))
		closing := want
		check(s.Close(ctx, "another", closing))
		if got, err := s.Review(ctx, "r1"); err != nil || got.State != review.Open {
			t.Errorf("closing one that is another by now: %+v, %v", got, err)
		}
		for i := range 2 { // the first counts
			closing.Closed, closing.MAC = day.Add(time.Duration(2+i)*time.Hour), fmt.Sprint("closed", i)
			check(s.Close(ctx, want.MAC, closing))
		}
		if err := s.Decide(ctx, items[1], ""); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("deciding in a closed review: %v, want ErrConflict", err)
		}
		for i := range 2 {
			check(s.Effect(ctx, review.Item{Review: "r1", Number: 2, Effect: review.Outside, Done: day.Add(time.Duration(3+i) * time.Hour), MAC: "2"}))
			check(s.Effect(ctx, review.Item{Review: "r1", Number: 3, Effect: []review.Effect{review.InConfiguration, review.Gone}[i], Done: day.Add(3 * time.Hour), MAC: "3"}))
			check(s.Sign(ctx, "r1", fmt.Append(nil, "evidence", i)))
		}
		for n := 1; n < 3; n++ {
			items[n].Decision, items[n].By, items[n].At, items[n].Done = review.Lapsed, "gatehouse", day.Add(2*time.Hour), day.Add(3*time.Hour)
		}
		items[1].Effect, items[2].Effect = review.Outside, review.InConfiguration
		items[1].MAC, items[2].MAC = "2", "3"
		if got, err := s.Items(ctx, "r1"); err != nil || !cmp.Equal(items, got) {
			t.Errorf("%v (-want +got):\n%s", err, cmp.Diff(items, got))
		}
		if got, err := s.OpenItems(ctx); err != nil || !cmp.Equal(items[1:], got) {
			t.Errorf("open items: %v (-want +got):\n%s", err, cmp.Diff(items[1:], got))
		}
		if got, err := s.Evidence(ctx, "r1"); err != nil || string(got) != "evidence0" {
			t.Errorf("Evidence = %q, %v", got, err)
		}
		for i := range 2 {
			check(s.Finish(ctx, "r1", day.Add(time.Duration(4+i)*time.Hour)))
			check(s.Resolve(ctx, "r1", 2, day.Add(time.Duration(5+i)*time.Hour)))
		}
		want.State, want.Closed, want.Finished, want.Reminded = review.Finished, day.Add(2*time.Hour), day.Add(4*time.Hour), 2
		want.MAC = "closed0"
		want.Counts = review.Counts{Items: 3, Proposed: 1, Confirmed: 1, Lapsed: 2, OpenItems: 1}
		if got, err := s.Review(ctx, "r1"); err != nil || got != want {
			t.Errorf("Review = %+v, %v; want %+v", got, err, want)
		}
		if got, err := s.OpenItems(ctx); err != nil || len(got) != 1 || got[0].Number != 3 {
			t.Errorf("open items: %+v, %v", got, err)
		}
		next := reviewOf("r2")
		next.Begun = day.Add(time.Hour)
		check(s.Begin(ctx, next, itemsOf("r2"), lists))
		for _, id := range []review.ID{"r1", "r2", "r2"} { // a finished one stays
			check(s.Discard(ctx, id))
		}
		if _, err := s.Review(ctx, "r2"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a review that was discarded: %v, want ErrNotFound", err)
		}
		got, err := s.Items(ctx, "r2")
		left, again := s.ReviewedLists(ctx, "r2")
		if err != nil || again != nil || len(got)+len(left) != 0 {
			t.Errorf("of a review that was discarded %+v and %+v are left, %v", got, left, errors.Join(err, again))
		}
		check(s.Begin(ctx, next, nil, nil))
		if list, err := s.Reviews(ctx); err != nil || len(list) != 2 || list[0].ID != "r2" {
			t.Errorf("Reviews = %+v, %v; want the newest first", list, err)
		}
	})
}

// Several processes begin a review at once: one does.
func TestOneReviewAtATime(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Reviews()
		var group sync.WaitGroup
		var mu sync.Mutex
		begun := 0
		for i := range 6 {
			group.Go(func() {
				id := review.ID(fmt.Sprint("r", i))
				err := s.Begin(t.Context(), reviewOf(id), itemsOf(id), nil)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					begun++
				} else if !errors.Is(err, gatehouse.ErrConflict) {
					t.Errorf("Begin: %v", err)
				}
			})
		}
		group.Wait()
		if list, err := s.Reviews(t.Context()); err != nil || begun != 1 || len(list) != 1 || list[0].Counts.Items != 3 {
			t.Errorf("%d began; %+v, %v", begun, list, err)
		}
	})
}

func TestListsAreReplaced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := storetest.Open(t, dsn).Reviews()
		ctx := t.Context()
		first := review.List{System: "cloud", At: day, By: "host", SHA256: "aa", Rights: 2, HasUse: true}
		if err := s.PutList(ctx, first, []review.Access{{Account: "b", Role: "x"}, {Account: "a", Role: "x", Used: day}}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Access(ctx, "cloud"); err != nil || !cmp.Equal([]review.Access{{Account: "a", Role: "x", Used: day}, {Account: "b", Role: "x"}}, got) {
			t.Errorf("Access = %+v, %v", got, err)
		}
		// One that cannot be stored changes nothing.
		if err := s.PutList(ctx, review.List{System: "cloud"}, []review.Access{{Account: "c", Role: "x"}, {Account: "c", Role: "x"}}); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a list with a line twice: %v, want ErrConflict", err)
		}
		if got, err := s.Lists(ctx); err != nil || !cmp.Equal([]review.List{first}, got) {
			t.Errorf("Lists = %+v, %v", got, err)
		}
		second := review.List{System: "cloud", At: day.Add(time.Hour), By: "a1", SHA256: "bb", Rights: 1}
		if err := s.PutList(ctx, second, []review.Access{{Account: "c", Role: "y"}}); err != nil {
			t.Fatal(err)
		}
		got, err := s.Lists(ctx)
		access, again := s.Access(ctx, "cloud")
		if err != nil || again != nil || !cmp.Equal([]review.List{second}, got) || len(access) != 1 || access[0].Account != "c" {
			t.Errorf("after another list: %+v, %+v, %v", got, access, errors.Join(err, again))
		}
	})
}
