package review_test

import (
	"context"
	"errors"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"
)

// What somebody decides on a page of before does not take the place of what a colleague
// decided since.
func TestALaterFormDoesNotWin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		s := w.setUp()
		r := w.begin(s.ada)
		i := w.item(r.ID, review.Key, "old", string(s.unused.ID))
		seen := func(by operator.Actor, d review.Decision, entry string) error {
			return w.reviews.Decide(t.Context(), by, r.ID, review.Ruling{Decision: d, Items: []int{i.Number}, Reason: "because", Seen: map[int]string{i.Number: entry}})
		}
		w.must(seen(s.ada, review.Removed, ""))
		w.refused("a page on which it was undecided", seen(s.bo, review.Confirmed, ""), "review/meanwhile")
		i = w.item(r.ID, review.Key, "old", string(s.unused.ID))
		if i.Decision != review.Removed || i.By != s.ada.Name() || i.Entry == "" {
			t.Fatalf("it stands as %+v, want as it was decided first", i)
		}
		w.refused("a page of something else", seen(s.bo, review.Confirmed, i.Entry+"x"), "review/meanwhile")
		first := i.Entry
		w.must(seen(s.bo, review.Confirmed, first))
		w.refused("a page of before that", seen(s.ada, review.Removed, first), "review/meanwhile")
		// Whoever saw nothing, such as a command, decides about what there is.
		w.must(w.reviews.Decide(t.Context(), operator.Host(), r.ID, review.Ruling{Decision: review.Removed, Items: []int{i.Number}, Seen: map[int]string{i.Number + 1: "x"}}))
		if i = w.item(r.ID, review.Key, "old", string(s.unused.ID)); i.Decision != review.Removed || i.By != "host" {
			t.Errorf("it stands as %+v", i)
		}
	})
}

// racing is a store in which somebody decides just before each decision is written.
type racing struct {
	review.Store
	first func()
}

func (s *racing) Decide(ctx context.Context, i review.Item, before string) error {
	if first := s.first; first != nil {
		s.first = nil
		first()
	}
	return s.Store.Decide(ctx, i, before)
}

func TestOfTwoDecisionsAtOnceOneStands(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		s := w.setUp()
		rows := &racing{Store: w.db.Reviews()}
		w.reviews = w.open(w.config(rows))
		r := w.begin(s.ada)
		i := w.item(r.ID, review.Key, "old", string(s.unused.ID))
		rows.first = func() { w.must(w.decide(s.ada, i, review.Removed)) }
		err := w.decide(s.bo, i, review.Confirmed)
		w.refused("the second", err, "review/meanwhile")
		if !errors.Is(err, review.ErrMeanwhile) {
			t.Errorf("it is %v", err)
		}
		if i = w.item(r.ID, review.Key, "old", string(s.unused.ID)); i.Decision != review.Removed || i.By != s.ada.Name() {
			t.Errorf("it stands as %+v", i)
		}
		if w.logged("review.decide failed", "item=") != 1 {
			t.Error("the log does not say that the second decision does not stand")
		}
	})
}

// A sole owner beside others who review: nobody else may decide about the roles that take
// an owner.
func TestASoleOwnerConfirmsWhatTakesAnOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		s := w.setUp()
		w.must(w.operators.Grant(t.Context(), operator.Host(), s.adaID, operator.Grant{Role: operator.Auditor}))
		r := w.begin(s.ada)
		own, plain := w.item(r.ID, review.Grant, string(s.adaID), "owner"), w.item(r.ID, review.Grant, string(s.adaID), "auditor")
		w.refused("a security operator, about the owner", w.decide(s.bo, own, review.Confirmed), "operator/permission")
		w.refused("their own role that others may decide about", w.decide(s.ada, plain, review.Confirmed), "review/own")
		w.must(w.decide(s.bo, plain, review.Confirmed))
		w.must(w.decide(s.ada, own, review.Confirmed))
		if i := w.item(r.ID, review.Grant, string(s.adaID), "owner"); !i.Own || i.Decision != review.Confirmed {
			t.Errorf("it stands as %+v, want confirmed by its holder", i)
		}
		// With a second owner it is for them.
		w.must(w.operators.Grant(t.Context(), operator.Host(), s.boID, operator.Grant{Role: operator.Owner}))
		w.refused("with a second owner", w.decide(s.ada, own, review.Confirmed), "review/own")
		w.must(w.decide(s.bo, own, review.Confirmed))
	})
}
