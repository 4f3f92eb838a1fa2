package review_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// dying is a store on which a process dies.
type dying struct {
	review.Store
	storetest.Death
}

func (s *dying) Close(ctx context.Context, was string, r review.Review) error {
	return s.Write(func() error { return s.Store.Close(ctx, was, r) })
}

func (s *dying) Effect(ctx context.Context, i review.Item) error {
	return s.Write(func() error { return s.Store.Effect(ctx, i) })
}

func (s *dying) Sign(ctx context.Context, id review.ID, evidence []byte) error {
	return s.Write(func() error { return s.Store.Sign(ctx, id, evidence) })
}

func (s *dying) Finish(ctx context.Context, id review.ID, at time.Time) error {
	return s.Write(func() error { return s.Store.Finish(ctx, id, at) })
}

// A process that dies at any write of closing a review, before or after it took
// effect, leaves the rest to the next one, which comes to the same end.
func TestDyingAtEachWriteOfClosing(t *testing.T) {
	// What became of each right, in a review that nobody interrupted.
	end := func(t *testing.T, n int, after bool) (what map[string]string, writes int) {
		w := newWorld(t, storetest.SQLite(t))
		s := w.setUp()
		_, err := w.reviews.Import(t.Context(), s.ada, "cloud", []byte("account,role\nada,admin\n"))
		w.must(err)
		r := w.begin(s.ada)
		w.must(w.decide(s.ada, w.item(r.ID, review.Key, "scheduler", string(s.used.ID)), review.Confirmed))
		w.must(w.decide(s.ada, w.item(r.ID, review.Grant, string(s.cyID), "operator"), review.Removed))
		w.ahead += 15 * day
		store := &dying{Store: w.db.Reviews()}
		store.Die(n, after)
		died := w.open(w.config(store)).Tend(t.Context())
		if store.Died() != errors.Is(died, storetest.ErrDied) {
			t.Fatalf("Tend = %v, dying at write %d", died, n)
		}
		writes = store.Writes()
		w.must(w.reviews.Tend(t.Context())) // the next process
		got, err := w.reviews.Review(t.Context(), r.ID)
		w.must(err)
		file, err := w.reviews.Evidence(t.Context(), r.ID)
		w.must(err)
		d, covered, err := review.Verify(file, w.verifier)
		if err != nil || !covered || d.Counts != got.Counts || got.State != review.Finished {
			t.Errorf("the review is %+v, its evidence %v", got, err)
		}
		if w.logged("review.finish") == 0 {
			t.Error("the log does not say that the review was finished")
		}
		what = map[string]string{
			"live": fmt.Sprint(w.live(s.used), w.live(s.unused), w.has(s.adaID, operator.Owner), w.has(s.boID, operator.Security), w.has(s.cyID, operator.Operator)),
			"rest": fmt.Sprintf("%+v", got.Counts),
		}
		h, err := w.services.Handle(t.Context(), s.handle.ID)
		w.must(err)
		what["handle"] = fmt.Sprint(h.Revoked.IsZero())
		for _, i := range w.items(r.ID) {
			effect := i.Effect
			if effect == review.Gone { // taken by the one that died
				effect = review.Ended
			}
			what[string(i.Kind)+string(effect)+string(i.Decision)] += "x"
		}
		return what, writes
	}
	want, writes := end(t, 0, false)
	if writes < 13 || want["live"] != "true false true false false" || want["handle"] != "false" {
		t.Fatalf("without a death: %d writes, %v", writes, want)
	}
	for n := 1; n <= writes; n++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				if got, _ := end(t, n, after); !cmp.Equal(want, got) {
					t.Errorf("another end (-want +got):\n%s", cmp.Diff(want, got))
				}
			})
		}
	}
}

// Two processes close a review at the same time: there is one end.
func TestTwoProcessesCloseAReview(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		s := w.setUp()
		r := w.begin(s.ada)
		w.ahead += 15 * day
		done := make(chan error)
		for range 2 {
			d := w.open(w.config(w.db.Reviews()))
			go func() { done <- d.Tend(t.Context()) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("Tend: %v", err)
			}
		}
		file, err := w.reviews.Evidence(t.Context(), r.ID)
		w.must(err)
		if _, _, err := review.Verify(file, w.verifier); err != nil {
			t.Error(err)
		}
		if !w.has(s.adaID, operator.Owner) || w.has(s.boID, operator.Security) {
			t.Error("roles are not as they should be")
		}
	})
}

// unsigned is a store on which a process dies before it keeps the evidence.
type unsigned struct{ review.Store }

func (unsigned) Sign(context.Context, review.ID, []byte) error { return storetest.ErrDied }

// A process dies between carrying a review out and signing what was done; before the
// next one signs, what had to be removed elsewhere is seen gone. The evidence is the
// only one that there will ever be: it must stand.
func TestSomethingIsGoneBeforeTheEvidenceIsSigned(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	_, err := w.reviews.Import(t.Context(), s.ada, "cloud", []byte("account,role\nada,admin\nbo,viewer\n"))
	w.must(err)
	r := w.begin(s.ada)
	w.ahead += 15 * day
	if err := w.open(w.config(unsigned{w.db.Reviews()})).Tend(t.Context()); !errors.Is(err, storetest.ErrDied) {
		t.Fatalf("Tend = %v", err)
	}
	w.ahead += time.Hour
	_, err = w.reviews.Import(t.Context(), s.ada, "cloud", []byte("account,role\nbo,viewer\n"))
	w.must(err)
	w.must(w.reviews.Tend(t.Context())) // the next process
	file, err := w.reviews.Evidence(t.Context(), r.ID)
	w.must(err)
	if _, _, err := review.Verify(file, w.verifier); err != nil {
		t.Error(err)
	}
	if i := w.item(r.ID, review.Listed, "ada", "admin"); i.Effect != review.Outside || i.Resolved.IsZero() {
		t.Errorf("the item is %+v", i)
	}
}
