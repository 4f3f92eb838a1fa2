package store_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func eachReconcile(t *testing.T, f func(t *testing.T, db *store.DB, s reconcile.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		f(t, db, db.Reconcile())
	})
}

func sec(n int) time.Time { return moment(time.Duration(n) * time.Second) }

// reading is what a call heard that began at a second and was answered in the next.
func reading(left int64, began int) reconcile.Reading {
	return reconcile.Reading{Left: left, Began: sec(began), At: sec(began + 1)}
}

func aWindow(replies int64, first, last reconcile.Reading) reconcile.Window {
	return reconcile.Window{
		App: "main-x", Owner: []byte("owner"), Operation: "POST /2/tweets", Limit: 100, Reset: sec(900), Connection: "con1",
		First: first, Last: last, Replies: replies,
	}
}

// What several processes heard of one window is one: the reading that was heard first,
// the one with the least left, whoever stores first. Another reset, limit, operation,
// owner or app is another window.
func TestWindowsAreJoined(t *testing.T) {
	early := aWindow(2, reading(99, 10), reading(90, 20))
	late := aWindow(3, reading(98, 12), reading(80, 30))
	want := aWindow(5, reading(99, 10), reading(80, 30))
	for name, order := range map[string][]reconcile.Window{"in order": {early, late}, "the other way": {late, early}} {
		t.Run(name, func(t *testing.T) {
			eachReconcile(t, func(t *testing.T, _ *store.DB, s reconcile.Store) {
				ctx := t.Context()
				for _, w := range order {
					if err := s.AddWindows(ctx, []reconcile.Window{w}); err != nil {
						t.Fatal(err)
					}
				}
				others := []reconcile.Window{early, early, early, early, early}
				others[0].App, others[1].Owner, others[2].Operation, others[3].Limit, others[4].Reset = "other", []byte("x"), "GET /2/users/me", 99, sec(901)
				if err := s.AddWindows(ctx, others); err != nil {
					t.Fatal(err)
				}
				got, err := s.OpenWindows(ctx, 100)
				if err != nil || len(got) != 6 {
					t.Fatalf("%d windows, %v", len(got), err)
				}
				i := slices.IndexFunc(got, func(w reconcile.Window) bool { return w.Replies == 5 })
				if i < 0 {
					t.Fatalf("nothing is joined: %+v", got)
				}
				if diff := cmp.Diff(want, got[i]); diff != "" {
					t.Error(diff)
				}
				if got, err := s.OpenWindows(ctx, 2); err != nil || len(got) != 2 {
					t.Errorf("with a limit of 2: %d windows, %v", len(got), err)
				}
			})
		})
	}
}

// A window is open while the platform counted more than the replies explain, and again
// when it has counted more since it was judged.
func TestWindowsThatAreOpen(t *testing.T) {
	eachReconcile(t, func(t *testing.T, _ *store.DB, s reconcile.Store) {
		ctx := t.Context()
		open := func(want int, told int64) {
			t.Helper()
			got, err := s.OpenWindows(ctx, 10)
			if err != nil || len(got) != want || want > 0 && got[0].Told != told {
				t.Fatalf("open: %+v, %v; want %d, of which %d were told", got, err, want, told)
			}
		}
		add := func(w reconcile.Window) {
			t.Helper()
			if err := s.AddWindows(ctx, []reconcile.Window{w}); err != nil {
				t.Fatal(err)
			}
		}
		add(aWindow(4, reading(99, 10), reading(96, 20))) // three more calls, three more replies
		open(0, 0)
		add(aWindow(1, reading(95, 21), reading(94, 21))) // two more calls, one more reply
		open(1, 0)
		w := aWindow(0, reading(0, 0), reading(94, 21))
		if err := s.JudgeWindow(ctx, w, 7); err != nil {
			t.Fatal(err)
		}
		open(0, 0)
		add(aWindow(1, reading(93, 22), reading(93, 22)))
		open(1, 7)
		if err := s.SweepWindows(ctx, sec(23)); err != nil { // it was heard of at 23
			t.Fatal(err)
		}
		open(1, 7)
		if err := s.SweepWindows(ctx, sec(24)); err != nil {
			t.Fatal(err)
		}
		open(0, 0)
	})
}

// Repeats are those of one owner and operation, with any app, after a time and up to another.
func TestRepeatsAreCounted(t *testing.T) {
	eachReconcile(t, func(t *testing.T, _ *store.DB, s reconcile.Store) {
		ctx := t.Context()
		w := aWindow(1, reading(9, 0), reading(9, 0))
		for i, at := range []int{9, 10, 11, 20, 21} {
			r := reconcile.Repeat{App: w.App, Owner: w.Owner, Operation: w.Operation, At: sec(at)}
			other := []reconcile.Repeat{r, r, r}[i%3]
			other.App, other.Owner, other.Operation = w.App, [][]byte{w.Owner, []byte("x"), []byte("y")}[i%3],
				[]gatehouse.Operation{"x", w.Operation, w.Operation}[i%3]
			if i == 2 {
				r.App = "the same app under another name"
			}
			for _, r := range []reconcile.Repeat{r, other} {
				if err := s.AddRepeat(ctx, r); err != nil {
					t.Fatal(err)
				}
			}
		}
		count := func(want int64) {
			t.Helper()
			if n, err := s.Repeats(ctx, w, sec(9), sec(20)); err != nil || n != want {
				t.Errorf("%d repeats, %v; want %d", n, err, want)
			}
		}
		count(3)
		if err := s.SweepWindows(ctx, sec(11)); err != nil {
			t.Fatal(err)
		}
		count(2)
	})
}

// Whoever is erased leaves no window and no repeat; somebody else's stay.
func TestErasedPersonHasNoWindows(t *testing.T) {
	eachReconcile(t, func(t *testing.T, db *store.DB, s reconcile.Store) {
		ctx := t.Context()
		theirs, others := aWindow(1, reading(9, 0), reading(5, 0)), aWindow(1, reading(9, 0), reading(5, 0))
		others.Owner, others.Connection = []byte("other"), "con2"
		other := record("con2")
		other.Person, other.UserHash = "other", "uh-con2"
		if err := db.Connect().SaveConnections(ctx, record("con1"), other); err != nil {
			t.Fatal(err)
		}
		if err := s.AddWindows(ctx, []reconcile.Window{theirs, others}); err != nil {
			t.Fatal(err)
		}
		for _, w := range []reconcile.Window{theirs, others} {
			if err := s.AddRepeat(ctx, reconcile.Repeat{App: w.App, Owner: w.Owner, Operation: w.Operation, At: sec(1)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Connect().ErasePerson(ctx, "person", sec(2)); err != nil {
			t.Fatal(err)
		}
		open, err := s.OpenWindows(ctx, 10)
		if err != nil || len(open) != 1 || open[0].Connection != "con2" {
			t.Errorf("left are %+v, %v", open, err)
		}
		for i, w := range []reconcile.Window{theirs, others} {
			if n, err := s.Repeats(ctx, w, sec(0), sec(2)); err != nil || n != int64(i) {
				t.Errorf("of %s there are %d repeats, %v", w.Connection, n, err)
			}
		}
	})
}

// A baseline is what was saved last, and nothing before that; a moment counts each
// equation's rows.
func TestBaselines(t *testing.T) {
	eachReconcile(t, func(t *testing.T, db *store.DB, s reconcile.Store) {
		ctx := t.Context()
		if _, err := s.Baseline(ctx); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Fatalf("before anything was saved: %v", err)
		}
		for _, m := range []reconcile.Moment{
			{At: sec(1), Rows: map[string]int64{"handles": 3, "carry/erasures": 1}, Sizes: map[int64]int64{0: 17, 1: 4}},
			{At: sec(2), Rows: map[string]int64{"handles": 5}, Sizes: map[int64]int64{0: 20}},
		} {
			if err := s.SaveBaseline(ctx, m); err != nil {
				t.Fatal(err)
			}
			got, err := s.Baseline(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Error(diff)
			}
		}
		m, err := s.Moment(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range reconcile.Equations {
			if n, counted := m.Rows[e.Name]; !counted || n != 0 {
				t.Errorf("%s: %d, %v in an empty database", e.Name, n, counted)
			}
		}
	})
}

// One process compares at a time; whoever died gives way when the lease ends, and whoever
// lost it neither extends nor frees another's.
func TestReconcilingIsTakenOnce(t *testing.T) {
	eachReconcile(t, func(t *testing.T, _ *store.DB, s reconcile.Store) {
		ctx := t.Context()
		// held is 0 if it is to be taken.
		take := func(now, until, held int) {
			t.Helper()
			got, end, err := s.TakeReconcile(ctx, sec(now), sec(until))
			if err != nil || got != (held == 0) || !got && !end.Equal(sec(held)) {
				t.Errorf("taking at %d: %v, held until %s, %v; want %d", now, got, end, err, held)
			}
		}
		extend := func(was, until int, want bool) {
			t.Helper()
			if got, err := s.ExtendReconcile(ctx, sec(was), sec(until)); err != nil || got != want {
				t.Errorf("extending from %d to %d: %v, %v; want %v", was, until, got, err, want)
			}
		}
		free := func(until int) {
			t.Helper()
			if err := s.FreeReconcile(ctx, sec(until)); err != nil {
				t.Fatal(err)
			}
		}
		take(1, 10, 0)
		take(9, 20, 10)
		extend(10, 15, true)
		extend(10, 15, true) // whose reply was lost
		take(14, 30, 15)
		take(15, 25, 0)
		extend(15, 30, false)
		free(15)
		take(24, 40, 25)
		free(25)
		take(24, 40, 0)
		if at, err := s.ReconcileDone(ctx); err != nil || !at.IsZero() {
			t.Errorf("done at %s, %v", at, err)
		}
		if err := s.SetReconcileDone(ctx, sec(12)); err != nil {
			t.Fatal(err)
		}
		if at, err := s.ReconcileDone(ctx); err != nil || !at.Equal(sec(12)) {
			t.Errorf("done at %s, %v", at, err)
		}
	})
}
