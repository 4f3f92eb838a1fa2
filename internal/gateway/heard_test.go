package gateway_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/gateway"
	"gatehouse/internal/sandbox/world"
)

// ears are what a gateway tells of replies and of what is sent once more.
type ears struct {
	mu      sync.Mutex
	heard   []gateway.Heard
	repeats []gateway.Heard
}

func (e *ears) listen(c *gateway.Config) {
	c.Heard = func(h gateway.Heard) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.heard = append(e.heard, h)
	}
	c.Repeat = func(_ context.Context, h gateway.Heard) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.repeats = append(e.repeats, h)
	}
}

// counts returns how much was told, and forgets it.
func (e *ears) counts() (heard, repeats int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	heard, repeats = len(e.heard), len(e.repeats)
	e.heard, e.repeats = nil, nil
	return heard, repeats
}

// What X says in a reply's header is told with the call's own names, and every time
// that a request is sent beyond the first is: after a renewal, and when net/http sends
// it once more because the connection that it had kept ended. What it does not send
// once more is not told.
func TestRepliesAndRepeatsAreTold(t *testing.T) {
	e := new(ears)
	r := newRig(t, e.listen)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	before := time.Now()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	e.mu.Lock()
	one := e.heard[0]
	e.mu.Unlock()
	if one.Platform != "x" || one.App != "main-x" || one.Operation != "GET /2/users/me" || one.Connection != c.ID || one.Person == "" ||
		one.Header.Get("X-Rate-Limit-Remaining") == "" || one.Began.Before(before) || one.Began.After(time.Now()) {
		t.Errorf("told: %+v", one)
	}
	if heard, repeats := e.counts(); heard != 1 || repeats != 0 {
		t.Errorf("one call: %d replies and %d repeats", heard, repeats)
	}

	for name, step := range map[string]struct {
		do             func()
		heard, repeats int
	}{
		"refused before the intent": {func() { r.call("GET", "/x/2/dm_events", bearer(h)) }, 0, 0},
		"another platform": {func() {
			page := r.connection("pages", "pages", r.people[1].Username)
			_, h := r.handle(page, "pages")
			r.call("GET", "/meta/v25.0/me", bearer(h)).ok()
		}, 1, 0},
		"renewed in between": {func() {
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			e.counts()
			r.revokeAccess()
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
		}, 2, 1},
		"reply lost on a kept connection": {func() {
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			e.counts()
			r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, LoseReply: true})
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
		}, 1, 1},
		"reply to a POST lost": {func() {
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			e.counts()
			r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets"}, LoseReply: true})
			if a := r.call("POST", "/x/2/tweets", body("application/json", `{"text":"lost"}`), bearer(h)); a.status != 502 {
				t.Errorf("got %d: %s", a.status, a.body)
			}
		}, 0, 0},
	} {
		e.counts()
		step.do()
		if heard, repeats := e.counts(); heard != step.heard || repeats != step.repeats {
			t.Errorf("%s: %d replies and %d repeats told, want %d and %d", name, heard, repeats, step.heard, step.repeats)
		}
	}
	r.check()
}
