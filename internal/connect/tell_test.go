package connect_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// ear is an app that hears of changes.
type ear struct {
	mu    sync.Mutex
	heard []connect.HealthChange
	fail  error
}

func (e *ear) tell(_ context.Context, h connect.HealthChange) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, h)
	return e.fail
}

// take returns what was heard since the last time, as "number: from > to".
func (e *ear) take(id gatehouse.ConnectionID) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []string
	for _, h := range e.heard {
		number, ok := strings.CutPrefix(h.ID, string(id)+":")
		if !ok || h.Connection.ID != id {
			number = "wrong id " + h.ID
		}
		text := fmt.Sprintf("%s: %s > %s", number, h.Previous, h.Connection.Status)
		if h.Connection.Cause != "" {
			text += "/" + string(h.Connection.Cause)
		}
		all = append(all, text)
	}
	e.heard = nil
	return all
}

func tend(t *testing.T, c *connect.Connections) {
	t.Helper()
	if err := c.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// rested lets unfinished tellings be taken up.
const rested = "UPDATE connections SET tell_at = 1000000 WHERE telling <> ''"

func heard(t *testing.T, e *ear, id gatehouse.ConnectionID, what string, want ...string) {
	t.Helper()
	if got := e.take(id); !cmp.Equal(got, want) {
		t.Errorf("%s: heard %q, want %q", what, got, want)
	}
}

// The app hears of each change once, and not of what it was answered itself.
func TestAppHearsOfChanges(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		e := &ear{}
		w := connecttest.New(t, dsn, connecttest.Options{Tell: e.tell})
		id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
		for range 2 {
			tend(t, w.Connections)
		}
		heard(t, e, id, "after connecting")
		if err := w.Connections.MarkDead(t.Context(), id, "invalidated"); err != nil {
			t.Fatal(err)
		}
		tend(t, w.Connections)
		if len(e.heard) != 1 || !strings.Contains(e.heard[0].Connection.Next, "logged out") || e.heard[0].Connection.Subject != "user-7" || e.heard[0].Connection.Reason == "" {
			t.Errorf("heard %+v", e.heard)
		}
		heard(t, e, id, "after the token died", "1: healthy > reconnect_needed/invalidated")
		tend(t, w.Connections)
		heard(t, e, id, "a round later")
		w.Connect("user-7", "publish", connecttest.Person(1))
		tend(t, w.Connections)
		heard(t, e, id, "after connecting again", "2: reconnect_needed > healthy")
		age(t, w, makeDue)
		tend(t, w.Connections)
		heard(t, e, id, "after a renewal")
		if err := w.Connections.Revoke(t.Context(), id, "asked by a test"); err != nil {
			t.Fatal(err)
		}
		tend(t, w.Connections)
		heard(t, e, id, "after a revocation", "3: healthy > revoked")
		// What nobody redeemed was never the app's.
		w.Code("user-8", "publish", connecttest.Person(2))
		age(t, w, "UPDATE connections SET created = 1000000 WHERE redeemed = 0")
		tend(t, w.Connections)
		tend(t, w.Connections)
		heard(t, e, id, "after an attempt was given up")
	})
}

// What is worth knowing of a healthy connection is told too, and so is that it is
// over.
func TestAppHearsOfCauses(t *testing.T) {
	t.Parallel()
	e := &ear{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Tell: e.tell})
	id := w.Connect("user-7", "pages", connecttest.Person(1)).ID
	w.Meta.SetDataAccess("facebook", connecttest.Person(1), time.Now().Add(24*time.Hour))
	checkNow(t, w)
	heard(t, e, id, "a day before the end", "1: healthy > healthy/data-access-ending")
	w.Meta.SetDataAccess("facebook", connecttest.Person(1), time.Now().Add(2000*time.Hour))
	checkNow(t, w)
	heard(t, e, id, "after the end has moved", "2: healthy > healthy")
}

// brokenMark is a store that loses the mark of what was told, as a crash does.
type brokenMark struct {
	connect.Store
	broken bool
}

func (s *brokenMark) SaveTelling(ctx context.Context, id gatehouse.ConnectionID, was, is connect.Telling) (bool, error) {
	if s.broken && is.Now == "" {
		return false, errors.New("the process has ended")
	}
	return s.Store.SaveTelling(ctx, id, was, is)
}

// The process dies between telling and the mark: the change is told again under
// the same number, even if it has been undone meanwhile, and what undid it follows
// under another. Nothing that the app heard stays uncorrected.
func TestToldAgainUnderTheSameNumber(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		e, s := &ear{}, &brokenMark{}
		w := connecttest.New(t, dsn, connecttest.Options{Tell: e.tell})
		dying := w.Open(connecttest.Options{Tell: e.tell, Store: func(real connect.Store) connect.Store { s.Store = real; return s }})
		id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
		s.broken = true
		_ = w.Connections.MarkDead(t.Context(), id, "spent")
		tend(t, dying)
		heard(t, e, id, "before the crash", "1: healthy > reconnect_needed/spent")
		tend(t, w.Connections)
		heard(t, e, id, "while it belongs to another")
		age(t, w, rested)
		tend(t, dying)
		heard(t, e, id, "after a crash", "1: healthy > reconnect_needed/spent")
		// The person connects again before the change is marked.
		w.Connect("user-7", "publish", connecttest.Person(1))
		age(t, w, rested)
		tend(t, w.Connections)
		if len(e.heard) != 1 || e.heard[0].Connection.Next == "" || e.heard[0].Connection.Reason != "" {
			t.Errorf("told again, it is %+v", e.heard)
		}
		heard(t, e, id, "after it was undone", "1: healthy > reconnect_needed/spent")
		tend(t, w.Connections)
		heard(t, e, id, "and then", "2: reconnect_needed > healthy")
		tend(t, w.Connections)
		heard(t, e, id, "at last")
	})
}

// Whoever delivers does not take it: it is told again after a rest, with the same
// number, and nothing else of this connection before.
func TestTellingFails(t *testing.T) {
	t.Parallel()
	e := &ear{fail: gatehouse.ErrUnavailable}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Tell: e.tell})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	_ = w.Connections.MarkDead(t.Context(), id, "spent")
	tend(t, w.Connections)
	tend(t, w.Connections)
	heard(t, e, id, "at first", "1: healthy > reconnect_needed/spent")
	_ = w.Connections.Revoke(t.Context(), id, "asked by a test")
	tend(t, w.Connections)
	heard(t, e, id, "while it rests")
	e.fail = nil
	age(t, w, rested)
	tend(t, w.Connections)
	heard(t, e, id, "after the rest", "1: healthy > reconnect_needed/spent")
	tend(t, w.Connections)
	heard(t, e, id, "and then", "2: reconnect_needed > revoked")
}

// The person is erased while a change is under way: what is told then must not ask
// for the key that is gone, or it and all that follows could never be told.
func TestErasedWhileItIsTold(t *testing.T) {
	t.Parallel()
	e := &ear{fail: gatehouse.ErrUnavailable}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Tell: e.tell})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	if _, err := w.Connections.EndPerson(t.Context(), c.Person, "asked by a test"); err != nil {
		t.Fatal(err)
	}
	tend(t, w.Connections)
	if len(e.heard) != 1 || e.heard[0].Connection.Person != c.Person {
		t.Fatalf("before the erasure, heard %+v", e.heard)
	}
	if err := w.Connections.ErasePerson(t.Context(), c.Person); err != nil {
		t.Fatal(err)
	}
	e.fail, e.heard = nil, nil
	age(t, w, rested)
	tend(t, w.Connections)
	if len(e.heard) != 1 || e.heard[0].Connection.Status != connect.Revoked || e.heard[0].Connection.Person != "" {
		t.Errorf("after the erasure, heard %+v", e.heard)
	}
}

// A connection that flaps while processes are telling: what the app hears is in
// order, each number is one change, and the last is what is true.
func TestFlappingConnection(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		e := &ear{}
		w := connecttest.New(t, dsn, connecttest.Options{Tell: e.tell})
		other := w.Open(connecttest.Options{Tell: e.tell})
		id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
		stop := make(chan struct{})
		var telling sync.WaitGroup
		for _, c := range []*connect.Connections{w.Connections, other} {
			telling.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if err := c.Tend(t.Context()); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		for range 12 {
			if err := w.Connections.MarkDead(t.Context(), id, "spent"); err != nil {
				t.Error(err)
			}
			w.Connect("user-7", "publish", connecttest.Person(1))
		}
		if err := w.Connections.MarkDead(t.Context(), id, "spent"); err != nil {
			t.Error(err)
		}
		close(stop)
		telling.Wait()
		tend(t, w.Connections)
		number, last, changes := 0, connect.Healthy, e.heard
		for _, h := range changes {
			if number++; h.ID != fmt.Sprintf("%s:%d", id, number) || h.Previous != last || h.Connection.Status == last {
				t.Fatalf("change %d is %s: %s > %s after %s", number, h.ID, h.Previous, h.Connection.Status, last)
			}
			last = h.Connection.Status
		}
		if last != connect.ReconnectNeeded {
			t.Errorf("the last of %d that the app heard is %s", number, last)
		}
		// One that came and went between two rounds is no news.
		e.take(id)
		w.Connect("user-7", "publish", connecttest.Person(1))
		_ = w.Connections.MarkDead(t.Context(), id, "spent")
		tend(t, w.Connections)
		heard(t, e, id, "after a flap between two rounds")
	})
}

// Telling touches nothing that a renewal or a call goes by, and a renewal under
// way is no news.
func TestTellingDisturbsNoRenewal(t *testing.T) {
	t.Parallel()
	e := &ear{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Tell: e.tell})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	other := w.Open(connecttest.Options{Tell: e.tell})
	before := stored(t, w, id)
	age(t, w, "UPDATE connections SET told = 'in_doubt/'")
	tend(t, other)
	heard(t, e, id, "of a change", "1: in_doubt > healthy")
	if after := stored(t, w, id); after.Version != before.Version || !after.Updated.Equal(before.Updated) {
		t.Error("telling changed the row's version")
	}
	w.Connections.OnStep(func(step string) {
		if step == "asking" {
			tend(t, other)
		}
	})
	age(t, w, makeDue)
	call(t, w, id)
	heard(t, e, id, "in a renewal")
	if status, err := w.Call(id, http.MethodGet, w.XURL+"/2/users/me"); status != http.StatusOK || err != nil || refreshes(w) != 1 {
		t.Errorf("%d, %v, asked %d times", status, err, refreshes(w))
	}
}

// With nobody to tell, changes count as told: who comes later does not hear what
// is past.
func TestNobodyToTell(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	_ = w.Connections.MarkDead(t.Context(), id, "spent")
	tend(t, w.Connections)
	e := &ear{}
	tend(t, w.Open(connecttest.Options{Tell: e.tell}))
	heard(t, e, id, "later")
}
