package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// eachOutbox runs f on the outbox.Store of both engines.
func eachOutbox(t *testing.T, f func(t *testing.T, s outbox.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Outbox()) })
}

// anEvent is put at a moment after the test's first.
func anEvent(id, stream string, offset time.Duration) outbox.Record {
	return outbox.Record{
		ID: id, Type: "platform.event", App: "main-x", Person: "person", Stream: stream, Data: []byte{0, 1}, State: outbox.Waiting,
		Created: moment(0), Since: moment(offset), Due: moment(offset), Updated: moment(offset),
	}
}

func addEvent(t *testing.T, s outbox.Store, id, stream string, offset time.Duration) {
	t.Helper()
	if err := s.AddEvent(t.Context(), anEvent(id, stream, offset)); err != nil {
		t.Fatal(err)
	}
}

func eventOf(t *testing.T, s outbox.Store, id string) outbox.Record {
	t.Helper()
	r, err := s.Event(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// heads returns the ids of the events that are due.
func heads(t *testing.T, s outbox.Store) []string {
	t.Helper()
	list, err := s.DueEvents(t.Context(), moment(time.Hour), 100)
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, r := range list {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestOutboxKeepsAnEvent(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		if _, err := s.Event(ctx, "e1"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an unknown event gives %v", err)
		}
		addEvent(t, s, "e1", "", 0)
		want := anEvent("e1", "", 0)
		got := eventOf(t, s, "e1")
		want.Seq, want.Version = got.Seq, 1
		if got.Seq == 0 || !cmp.Equal(got, want) {
			t.Errorf("read back: %s", cmp.Diff(want, got))
		}
		// The same id is the same event, whatever comes with it.
		again := anEvent("e1", "s", time.Second)
		again.Type, again.Data = "other", []byte{9}
		if err := s.AddEvent(ctx, again); err != nil {
			t.Fatal(err)
		}
		if now := eventOf(t, s, "e1"); !cmp.Equal(now, got) {
			t.Errorf("a second one with its id changed it: %s", cmp.Diff(got, now))
		}

		changed := got
		changed.Due, changed.Attempts, changed.Class, changed.Updated = moment(time.Minute), 1, "status/500", moment(time.Second)
		if err := s.SaveEvent(ctx, changed, moment(0)); err != nil {
			t.Fatal(err)
		}
		conflict(t, "saving over a change", s.SaveEvent(ctx, changed, moment(0)))
		changed.Version = 2
		if now := eventOf(t, s, "e1"); !cmp.Equal(now, changed) {
			t.Errorf("saved: %s", cmp.Diff(changed, now))
		}
		changed.State, changed.Data, changed.Due = outbox.Delivered, nil, time.Time{}
		if err := s.SaveEvent(ctx, changed, moment(0)); err != nil {
			t.Fatal(err)
		}
		if now := eventOf(t, s, "e1"); now.State != outbox.Delivered || now.Data != nil || !now.Due.IsZero() {
			t.Errorf("delivered: %+v", now)
		}
		if err := s.AddEvent(ctx, again); err != nil {
			t.Fatal(err)
		}
		if now := eventOf(t, s, "e1"); now.State != outbox.Delivered || now.Data != nil || now.Version != 3 {
			t.Errorf("put again after its delivery: %+v", now)
		}
	})
}

func TestOutboxStreamsHaveOneHead(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		want := func(when string, ids ...string) {
			t.Helper()
			if got := heads(t, s); !slices.Equal(got, ids) {
				t.Errorf("%s: due are %v, want %v", when, got, ids)
			}
		}
		end := func(id string, state outbox.State, at time.Duration) {
			t.Helper()
			r := eventOf(t, s, id)
			r.State, r.Due = state, time.Time{}
			if err := s.SaveEvent(ctx, r, moment(at)); err != nil {
				t.Fatal(err)
			}
		}
		addEvent(t, s, "a1", "a", 0)
		addEvent(t, s, "a2", "a", time.Second)
		addEvent(t, s, "free1", "", 2*time.Second)
		addEvent(t, s, "free2", "", 3*time.Second)
		addEvent(t, s, "b1", "b", 4*time.Second)
		addEvent(t, s, "a3", "a", 5*time.Second)
		want("at first", "a1", "free1", "free2", "b1")

		// Taken for an attempt, the head stays it.
		head := eventOf(t, s, "a1")
		head.Due = moment(30 * time.Second)
		if err := s.SaveEvent(ctx, head, moment(time.Second)); err != nil {
			t.Fatal(err)
		}
		want("while it is under way", "free1", "free2", "b1", "a1")
		end("a1", outbox.Dead, 40*time.Second)
		want("after it died", "free1", "free2", "b1", "a2")
		// One in the middle is acknowledged: the head is still the head.
		end("a3", outbox.Delivered, 41*time.Second)
		want("after one behind it ended", "free1", "free2", "b1", "a2")

		// A replayed one does not become a second head, but is the next.
		addEvent(t, s, "a4", "a", 42*time.Second)
		dead := eventOf(t, s, "a1")
		dead.State = outbox.Waiting
		if err := s.SaveEvent(ctx, dead, moment(43*time.Second)); err != nil {
			t.Fatal(err)
		}
		want("after the replay", "free1", "free2", "b1", "a2")
		end("a2", outbox.Delivered, 44*time.Second)
		want("after the head ended", "free1", "free2", "b1", "a1")
		end("a1", outbox.Delivered, 45*time.Second)
		want("after the replayed one", "free1", "free2", "b1", "a4")
		end("a4", outbox.Dead, 46*time.Second)
		want("with nothing left in a", "free1", "free2", "b1")
		dead = eventOf(t, s, "a4")
		dead.State = outbox.Waiting
		if err := s.SaveEvent(ctx, dead, moment(47*time.Second)); err != nil {
			t.Fatal(err)
		}
		want("replayed into an empty stream", "free1", "free2", "b1", "a4")
	})
}

func TestOutboxLists(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		for i := range 6 {
			r := anEvent(fmt.Sprint("e", i), "", time.Duration(i))
			r.App = gatehouse.AppName([]string{"main-x", "pages"}[i%2])
			r.Type = []string{"content.delete", "person.erase", "content.delete"}[i%3]
			if err := s.AddEvent(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		dead := eventOf(t, s, "e3")
		dead.State, dead.Due = outbox.Dead, time.Time{}
		if err := s.SaveEvent(ctx, dead, moment(0)); err != nil {
			t.Fatal(err)
		}
		for name, test := range map[string]struct {
			f    outbox.Filter
			want []string
		}{
			"all":     {outbox.Filter{Limit: 10}, []string{"e0", "e1", "e2", "e3", "e4", "e5"}},
			"waiting": {outbox.Filter{State: outbox.Waiting, Limit: 10}, []string{"e0", "e1", "e2", "e4", "e5"}},
			"dead":    {outbox.Filter{State: outbox.Dead, Limit: 10}, []string{"e3"}},
			"app":     {outbox.Filter{App: "pages", Limit: 10}, []string{"e1", "e3", "e5"}},
			"type":    {outbox.Filter{State: outbox.Waiting, Type: "person.erase", Limit: 10}, []string{"e1", "e4"}},
			"page":    {outbox.Filter{After: eventOf(t, s, "e1").Seq, Limit: 2}, []string{"e2", "e3"}},
		} {
			list, err := s.Events(ctx, test.f)
			got := []string{}
			for _, r := range list {
				got = append(got, r.ID)
			}
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, %v, want %v", name, got, err, test.want)
			}
		}
	})
}

func TestOutboxForgetsAPerson(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		for _, e := range []struct{ id, stream, person string }{
			{"gone1", "a", "person"}, {"kept1", "a", "other"}, {"gone2", "", "person"}, {"done", "", "person"}, {"nobody", "b", ""},
		} {
			r := anEvent(e.id, e.stream, 0)
			r.Person = gatehouse.PersonID(e.person)
			if err := s.AddEvent(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		done := eventOf(t, s, "done")
		done.State, done.Data, done.Due = outbox.Delivered, nil, time.Time{}
		if err := s.SaveEvent(ctx, done, moment(0)); err != nil {
			t.Fatal(err)
		}
		taken := eventOf(t, s, "gone1")
		for i, want := range []int{2, 0} {
			if n, err := s.ForgetPerson(ctx, "person", outbox.ClassErased, moment(time.Second)); err != nil || n != want {
				t.Errorf("forgetting, time %d: %d, %v, want %d", i+1, n, err, want)
			}
		}
		for _, id := range []string{"gone1", "gone2"} {
			if r := eventOf(t, s, id); r.State != outbox.Dead || r.Data != nil || r.Person != "" || r.Stream != "" || r.Class != outbox.ClassErased || !r.Due.IsZero() {
				t.Errorf("%s is %+v", id, r)
			}
		}
		if r := eventOf(t, s, "done"); r.State != outbox.Delivered || r.Person != "" {
			t.Errorf("the delivered one is %+v", r)
		}
		if r := eventOf(t, s, "kept1"); r.State != outbox.Waiting || r.Data == nil || r.Due.IsZero() {
			t.Errorf("the next of the stream is %+v, and should have its turn", r)
		}
		if r := eventOf(t, s, "nobody"); r.State != outbox.Waiting {
			t.Errorf("an event of no person is %+v", r)
		}
		if n, err := s.ForgetPerson(ctx, "", outbox.ClassErased, moment(0)); n != 0 || err != nil {
			t.Errorf("forgetting nobody: %d, %v", n, err)
		}
		conflict(t, "an attempt that was under way", s.SaveEvent(ctx, taken, moment(0)))
	})
}

func TestOutboxSweep(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		for i, state := range []outbox.State{outbox.Delivered, outbox.Delivered, outbox.Dead, outbox.Dead, outbox.Waiting} {
			id := fmt.Sprint("e", i)
			addEvent(t, s, id, "", 0)
			r := eventOf(t, s, id)
			r.State, r.Updated = state, moment(time.Duration(i%2)*time.Hour)
			if state != outbox.Waiting {
				r.Due = time.Time{}
			}
			if err := s.SaveEvent(ctx, r, moment(0)); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.SweepEvents(ctx, moment(time.Minute), moment(2*time.Hour), 1); n != 1 || err != nil {
			t.Errorf("one at a time: %d, %v", n, err)
		}
		if n, err := s.SweepEvents(ctx, moment(time.Minute), moment(2*time.Hour), 10); n != 2 || err != nil {
			t.Errorf("the rest: %d, %v", n, err)
		}
		left, err := s.Events(ctx, outbox.Filter{Limit: 10})
		if err != nil || len(left) != 2 || left[0].ID != "e1" || left[1].ID != "e4" {
			t.Errorf("left are %v, %v", left, err)
		}
		// A number is not used twice, or who fetches page by page would miss an event.
		last := left[1].Seq
		r := left[1]
		r.State, r.Due, r.Updated = outbox.Delivered, time.Time{}, moment(0)
		if err := s.SaveEvent(ctx, r, moment(0)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.SweepEvents(ctx, moment(time.Minute), moment(0), 10); err != nil {
			t.Fatal(err)
		}
		addEvent(t, s, "new", "", 0)
		if now := eventOf(t, s, "new"); now.Seq <= last {
			t.Errorf("number %d is given again after %d", now.Seq, last)
		}
	})
}

// Many put without a stream at once: they are not in each other's way, and none
// gives up.
func TestOutboxPutsWithoutAStreamAtOnce(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		var all sync.WaitGroup
		for g := range 16 {
			all.Go(func() {
				for i := range 30 {
					if err := s.AddEvent(t.Context(), anEvent(fmt.Sprintf("e%d-%d", g, i), "", 0)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if list, err := s.Events(t.Context(), outbox.Filter{State: outbox.Waiting, Limit: 1000}); err != nil || len(list) != 480 {
			t.Errorf("%d events, %v, want 480", len(list), err)
		}
	})
}

// Many put into few streams at once: nothing is lost, and each stream has one head.
func TestOutboxPutsAtOnce(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 10 {
					if err := s.AddEvent(t.Context(), anEvent(fmt.Sprintf("e%d-%d", g, i), fmt.Sprint("s", i%3), 0)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		list, err := s.Events(t.Context(), outbox.Filter{State: outbox.Waiting, Limit: 1000})
		if err != nil || len(list) != 80 {
			t.Errorf("%d events, %v, want 80", len(list), err)
		}
		if due := heads(t, s); len(due) != 3 {
			t.Errorf("3 streams have the heads %v", due)
		}
		first := map[string]string{}
		for _, r := range list {
			if first[r.Stream] == "" {
				first[r.Stream] = r.ID
			}
			if !r.Due.IsZero() && first[r.Stream] != r.ID {
				t.Errorf("the head of %s is %s, and %s came earlier", r.Stream, r.ID, first[r.Stream])
			}
		}
	})
}

// Of two processes that take the same event, one has it.
func TestOutboxOneTakesIt(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		addEvent(t, s, "e", "", 0)
		r := eventOf(t, s, "e")
		oneWins(t, func() error { return s.SaveEvent(t.Context(), r, moment(0)) })
	})
}

func TestOutboxSigning(t *testing.T) {
	eachOutbox(t, func(t *testing.T, s outbox.Store) {
		ctx := t.Context()
		want := func(w outbox.Signing) {
			t.Helper()
			if got, err := s.Signing(ctx); err != nil || got != w {
				t.Errorf("%+v, %v, want %+v", got, err, w)
			}
		}
		want(outbox.Signing{Version: 1})
		conflict(t, "a rotation from a version that never was", s.RotateSigning(ctx, 2, moment(0)))
		if err := s.RotateSigning(ctx, 1, moment(time.Hour)); err != nil {
			t.Fatal(err)
		}
		want(outbox.Signing{Version: 2, Overlap: moment(time.Hour)})
		conflict(t, "the same rotation again", s.RotateSigning(ctx, 1, moment(0)))
		if err := s.RotateSigning(ctx, 2, time.Time{}); err != nil {
			t.Fatal(err)
		}
		want(outbox.Signing{Version: 3})
	})
}
