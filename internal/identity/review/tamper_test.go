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
)

// altering changes one column of a row after the other, and puts it back.
func (w *world) altering(raw *storetest.Raw, table, where string, columns map[string]any, each func(column string)) {
	w.t.Helper()
	for column, to := range columns {
		_, was := raw.Query("SELECT " + column + " FROM " + table + " WHERE " + where)
		if len(was) != 1 {
			w.t.Fatalf("%d rows of %s where %s", len(was), table, where)
		}
		raw.Exec("UPDATE "+table+" SET "+column+" = $1 WHERE "+where, to)
		each(column)
		raw.Exec("UPDATE "+table+" SET "+column+" = $1 WHERE "+where, was[0][0])
	}
}

// Whoever writes to the database changes nothing of what a review does: not what is
// listed, not what was decided, not when it is due.
func TestNobodyChangesAReview(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		raw := storetest.OpenRaw(t, dsn)
		s := w.setUp()
		ctx := t.Context()
		_, err := w.reviews.Import(ctx, s.ada, "cloud", []byte("account,role\nada,admin\n"))
		w.must(err)
		r := w.begin(s.ada)
		kept := w.item(r.ID, review.Grant, string(s.cyID), "operator")
		other := w.item(r.ID, review.Key, "old", string(s.unused.ID))
		w.must(w.decide(s.ada, kept, review.Confirmed))
		soon := time.Now().UnixMicro()

		altered := func(what string, want bool) {
			t.Helper()
			got, err := w.reviews.Altered(ctx)
			if err != nil || (len(got) == 1) != want {
				t.Errorf("%s: altered are %+v, %v; want the review: %t", what, got, err, want)
			}
		}
		refuses := func(what string) {
			t.Helper()
			altered(what, true)
			if err := w.reviews.Tend(ctx); !errors.Is(err, review.ErrAltered) {
				t.Errorf("%s: Tend: %v, want ErrAltered", what, err)
			}
			_, err := w.reviews.Finish(ctx, s.ada, r.ID)
			w.refused(what+": finishing", err, "review/altered")
			if _, err := w.reviews.Items(ctx, r.ID); !errors.Is(err, review.ErrAltered) {
				t.Errorf("%s: Items: %v, want ErrAltered", what, err)
			}
			if !w.has(s.cyID, operator.Operator) {
				t.Fatalf("%s: a role ended", what)
			}
		}
		of := "id = '" + string(r.ID) + "'"
		w.altering(raw, "reviews", of, map[string]any{"begun": soon, "begun_by": "x", "due": soon, "since": soon, "closed": soon, "state": "closing", "mac": ""},
			func(column string) {
				refuses("a review whose column " + column + " was changed")
				if list, err := w.reviews.Reviews(ctx); err != nil || list[0].State != review.Altered {
					t.Errorf("it is listed as %+v, %v", list, err)
				}
			})
		altered("a review that is as it was", false)
		w.ahead += 15 * day // due, so that it would be carried out
		for what, item := range map[string]review.Item{"an item that was decided": kept, "one that was not": other} {
			changes := map[string]any{
				"kind": "listed", "system": "x", "holder": string(s.boID), "name": "x", "detail": "x", "created": soon, "used": soon, "flaw": "x",
				"proposed": 1 - map[bool]int{true: 1}[item.Proposed], "why": "x", "decision": "removed", "decided_by": "x", "own": 1, "at": soon, "reason": "x", "entry": "x",
				"effect": "gone", "done": soon, "mac": "",
			}
			w.altering(raw, "review_items", fmt.Sprintf("review = '%s' AND number = %d", r.ID, item.Number), changes,
				func(column string) { refuses(what + ", whose column " + column + " was changed") })
		}
		w.altering(raw, "review_items", fmt.Sprintf("review = '%s' AND number = %d", r.ID, kept.Number), map[string]any{"decision": "lapsed"},
			func(string) { refuses("a decision that was made a lapse") })
		w.altering(raw, "review_items", fmt.Sprintf("review = '%s' AND number = %d", r.ID, other.Number), map[string]any{"decision": "lapsed"},
			func(string) { refuses("a lapse before its time") })
		raw.Exec("UPDATE review_items SET number = 1000 WHERE review = $1 AND number = 1", string(r.ID))
		refuses("an item that got another number")
		raw.Exec("UPDATE review_items SET number = 1 WHERE review = $1 AND number = 1000", string(r.ID))
		altered("with all as it was", false)

		if n := w.logged("operator.altered", "row=review"); n == 0 {
			t.Error("the log does not say that rows were altered")
		}
		// As it was decided, nothing but that happens.
		w.must(w.reviews.Tend(ctx))
		if got, err := w.reviews.Review(ctx, r.ID); err != nil || got.State != review.Finished || !w.has(s.cyID, operator.Operator) || w.live(s.unused) {
			t.Errorf("the review is %+v, %v", got, err)
		}
		altered("a finished review", false)
	})
}

// A right is decided about as it was listed, or not at all; the lists are those of its
// beginning.
func TestNobodyMisleadsAReviewer(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn)
	raw := storetest.OpenRaw(t, dsn)
	s := w.setUp()
	ctx := t.Context()
	_, err := w.reviews.Import(ctx, s.ada, "cloud", []byte("account,role\nada,admin\n"))
	w.must(err)
	r := w.begin(s.ada)
	one := fmt.Sprintf("review = '%s' AND number = %d", r.ID, w.item(r.ID, review.Key, "old", string(s.unused.ID)).Number)
	two := w.item(r.ID, review.Key, "scheduler", string(s.used.ID))
	item := w.item(r.ID, review.Key, "old", string(s.unused.ID))
	w.altering(raw, "review_items", one, map[string]any{"name": string(s.used.ID), "detail": "harmless"}, func(column string) {
		w.refused("deciding about a right whose column "+column+" was changed", w.decide(s.ada, item, review.Confirmed), "review/altered")
		w.must(w.decide(s.ada, two, review.Confirmed))
	})
	w.must(w.decide(s.ada, item, review.Confirmed))
	raw.Exec("DELETE FROM review_items WHERE review = $1 AND number = $2", string(r.ID), r.Counts.Items)
	if _, err := w.reviews.Items(ctx, r.ID); !errors.Is(err, review.ErrAltered) {
		t.Errorf("without one of its rights: %v, want ErrAltered", err)
	}
	// The next one takes its place, and only then.
	next := w.begin(s.bo)
	if next.ID == r.ID || next.Counts.Items != r.Counts.Items || w.logged("review.discard", string(r.ID)) != 1 {
		t.Errorf("the next review is %+v", next)
	}
	_, err = w.reviews.Begin(ctx, s.bo, 0, 0)
	w.refused("another one beside one that is as it was", err, "review/open")

	_, lists := raw.Query("SELECT count(*) FROM review_reviewed_lists")
	if lists[0][0] != int64(1) {
		t.Errorf("%v lists are kept, want those of the review that is open", lists[0][0])
	}
	raw.Exec("UPDATE review_reviewed_lists SET sha256 = 'x'")
	w.ahead += 15 * day
	if err := w.reviews.Tend(ctx); !errors.Is(err, review.ErrAltered) || !w.has(s.cyID, operator.Operator) {
		t.Errorf("with another list than it was begun with: %v, want ErrAltered and nothing done", err)
	}
}

// closedMeanwhile is a store in which another process closes a review after it was read,
// and before its items are.
type closedMeanwhile struct {
	review.Store
	first func()
}

func (s *closedMeanwhile) Items(ctx context.Context, id review.ID) ([]review.Item, error) {
	if do := s.first; do != nil {
		s.first = nil
		do()
	}
	return s.Store.Items(ctx, id)
}

// A review that another process closes meanwhile is not taken for an altered one.
func TestAClosedReviewIsNotAltered(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	r := w.begin(s.ada)
	item := w.item(r.ID, review.Key, "old", string(s.unused.ID))
	store := &closedMeanwhile{Store: w.db.Reviews()}
	here := w.open(w.config(store))
	store.first = func() {
		w.ahead += 15 * day
		w.must(w.reviews.Tend(ctx))
		w.ahead -= 15 * day
	}
	err := here.Decide(ctx, s.ada, r.ID, review.Ruling{Decision: review.Confirmed, Items: []int{item.Number}})
	if w.refused("deciding in a review that is closed meanwhile", err, "review/closed"); w.logged("operator.altered") != 0 {
		t.Error("the log says that it was altered")
	}
	w.ahead += 30 * day
	next := w.begin(s.ada)
	// Closed, and not finished yet.
	store.first = func() {
		w.ahead += 15 * day
		store := &dying{Store: w.db.Reviews()}
		store.Die(1, true)
		died := w.open(w.config(store)).Tend(ctx)
		if !errors.Is(died, storetest.ErrDied) {
			t.Errorf("Tend = %v, want it to die", died)
		}
	}
	items, err := here.Items(ctx, next.ID)
	if err != nil || len(items) == 0 || items[0].Decision != review.Lapsed || w.logged("operator.altered") != 0 {
		t.Errorf("looking at a review that is closed meanwhile: %+v, %v", items, err)
	}
}

// Evidence that was put there is none, though this log's key signed it, for another review.
func TestNobodyPlacesEvidence(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn)
	raw := storetest.OpenRaw(t, dsn)
	s := w.setUp()
	ctx := t.Context()
	first := w.begin(s.ada)
	w.ahead += 15 * day
	w.must(w.reviews.Tend(ctx))
	file, err := w.reviews.Evidence(ctx, first.ID)
	w.must(err)
	second := w.begin(s.ada)
	raw.Exec("UPDATE reviews SET evidence = $2 WHERE id = $1", string(second.ID), file)
	w.ahead += 15 * day
	if err := w.reviews.Tend(ctx); !errors.Is(err, review.ErrAltered) {
		t.Errorf("with the evidence of another review: %v, want ErrAltered", err)
	}
	raw.Exec("UPDATE reviews SET evidence = NULL WHERE id = $1", string(second.ID))
	w.must(w.reviews.Tend(ctx))
	if _, err := w.reviews.Evidence(ctx, second.ID); err != nil {
		t.Errorf("with its own: %v", err)
	}
}

// The evidence has the lists that were reviewed, whatever is imported meanwhile.
func TestEvidenceHasTheListsOfItsBeginning(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	s := w.setUp()
	ctx := t.Context()
	was, err := w.reviews.Import(ctx, s.ada, "cloud", []byte("account,role\nada,admin\n"))
	w.must(err)
	r := w.begin(s.ada)
	w.ahead += day
	for system, list := range map[string]string{"cloud": "account,role\nbob,admin\n", "later": "account,role\nada,admin\n"} {
		_, err := w.reviews.Import(ctx, s.ada, system, []byte(list))
		w.must(err)
	}
	w.ahead += 15 * day
	w.must(w.reviews.Tend(ctx))
	file, err := w.reviews.Evidence(ctx, r.ID)
	w.must(err)
	d, _, err := review.Verify(file, w.verifier)
	if err != nil || len(d.Lists) != 1 || d.Lists[0] != was {
		t.Errorf("the evidence has the lists %+v, %v; want %+v", d.Lists, err, was)
	}
}
