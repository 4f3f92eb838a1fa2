package budget_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/platform"
)

// X's window: used up it refuses until its reset, and only what draws on it.
func TestWindow(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(10 * time.Minute)
	r.answer(xCall, 200, window(100, 1, reset))
	r.free(xCall) // one is left
	r.answer(xCall, 200, window(100, 0, reset))
	refusal := r.refused(xCall, budget.RuleWindow, 10*time.Minute+time.Second)
	if refusal.Limit != 100 || refusal.Remaining != 0 || !refusal.Reset.Equal(reset) {
		t.Errorf("the refusal says %+v", refusal)
	}
	for name, other := range map[string]budget.Call{
		"another operation": but(xCall, func(c *budget.Call) { c.Operation = "GET /2/users/me" }),
		"another user":      but(xCall, func(c *budget.Call) { c.Owner = "bob" }),
		"the app itself":    but(xCall, func(c *budget.Call) { c.Owner = "" }),
		"another app":       but(xCall, func(c *budget.Call) { c.App = "other-x" }),
		"an unknown call":   but(xCall, func(c *budget.Call) { c.Operation = "" }),
		"another platform":  but(xCall, func(c *budget.Call) { c.Platform = gatehouse.OAuth2 }),
	} {
		if _, err := r.Admit(other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.refused(but(xCall, func(c *budget.Call) { c.Service = "another" }), budget.RuleWindow, 10*time.Minute+time.Second)
	r.pass(10 * time.Minute)
	r.refused(xCall, budget.RuleWindow, time.Second) // reset times name whole seconds
	r.pass(time.Second)
	r.free(xCall)
}

// What is under way counts against what is left, also from before anything was
// known; what was admitted and not sent is given back.
func TestUnderWay(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(time.Minute)
	early := []*budget.Ticket{r.admitted(xCall), r.admitted(xCall), r.admitted(xCall)}
	r.answer(xCall, 200, window(100, 4, reset))
	last := r.admitted(xCall) // 4 less the three under way
	r.refused(xCall, budget.RuleWindow, time.Second)
	last.Settle()
	last.Settle()
	again := r.admitted(xCall)
	r.refused(xCall, budget.RuleWindow, time.Second)
	again.Settle()
	early[0].Sent()
	early[0].Learn(&xCall, 200, window(100, 3, reset))
	early[0].Settle()
	r.free(xCall) // 3 less two
}

// Within one window the lowest number is the newest; a new window begins with a later
// reset or another limit.
func TestRepliesOvertake(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(time.Minute)
	r.answer(xCall, 200, window(100, 1, reset))
	r.answer(xCall, 200, window(100, 50, reset)) // was overtaken
	one := r.admitted(xCall)
	r.refused(xCall, budget.RuleWindow, time.Second)
	one.Settle()
	r.answer(xCall, 200, window(100, 0, reset))
	r.pass(62 * time.Second)
	r.Learn(&xCall, 200, window(100, 0, reset)) // of the window that is over
	r.free(xCall)
	r.Learn(&xCall, 200, window(100, 0, r.now.Add(15*time.Minute)))
	r.refused(xCall, budget.RuleWindow, 15*time.Minute+time.Second)
	r.Learn(&xCall, 200, window(100, 9, r.now.Add(5*time.Minute))) // older
	r.refused(xCall, budget.RuleWindow, 15*time.Minute+time.Second)
	r.Learn(&xCall, 200, window(10, 10, r.now.Add(-time.Minute))) // older, of another plan
	r.refused(xCall, budget.RuleWindow, 15*time.Minute+time.Second)
	r.Learn(&xCall, 200, window(1000, 900, r.now.Add(15*time.Minute))) // another plan
	r.free(xCall)
	r.Learn(&xCall, 200, window(1000, 0, r.now.Add(5*time.Minute))) // older
	r.free(xCall)
}

// After the reset a window is taken to be as large as the last, so that a burst does
// not overshoot it before the first reply.
func TestNextWindowIsBounded(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(xCall, 200, window(3, 0, r.now.Add(time.Minute)))
	r.pass(2 * time.Minute)
	for range 3 {
		r.admitted(xCall)
	}
	r.refused(xCall, budget.RuleWindow, time.Second)
	// What X says of the new window counts, also if it ends sooner than was thought.
	r.Learn(&xCall, 200, window(3, 0, r.now.Add(5*time.Minute)))
	r.refused(xCall, budget.RuleWindow, 5*time.Minute+time.Second)
}

// A call that is lost counts as made until a later reply tells; alone, one may find
// out.
func TestLostReplies(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(time.Minute)
	r.answer(xCall, 200, window(100, 3, reset))
	lost := r.admitted(xCall)
	lost.Sent()
	lost.Settle()
	two := []*budget.Ticket{r.admitted(xCall), r.admitted(xCall)}
	r.refused(xCall, budget.RuleWindow, time.Second)
	for _, one := range two {
		one.Sent()
		one.Settle()
	}
	alone := r.admitted(xCall)
	r.refused(xCall, budget.RuleWindow, time.Second)
	alone.Sent()
	alone.Learn(&xCall, 200, window(100, 2, reset)) // none of the lost ones was counted
	alone.Settle()
	r.admitted(xCall)
	r.admitted(xCall)
	r.refused(xCall, budget.RuleWindow, time.Second)

	// A reply to a call from before the loss says nothing of it.
	r = newRig(t, budget.Config{})
	reset = r.now.Add(time.Minute)
	before := r.admitted(xCall)
	r.answer(xCall, 200, window(100, 3, reset))
	lost = r.admitted(xCall)
	lost.Sent()
	lost.Settle()
	before.Sent()
	before.Learn(&xCall, 200, window(100, 2, reset))
	before.Settle()
	r.admitted(xCall)
	r.refused(xCall, budget.RuleWindow, time.Second)
	// The next window is whole.
	r.pass(62 * time.Second)
	for range 99 {
		r.admitted(xCall)
	}
	r.refused(xCall, budget.RuleWindow, time.Second)
}

// What is under way is not forgotten, however much else comes and goes.
func TestUnderWayIsKept(t *testing.T) {
	r := newRig(t, budget.Config{})
	under := r.admitted(xCall)
	for i := range 3000 {
		r.free(but(xCall, func(c *budget.Call) { c.Owner = fmt.Sprint(i) }))
	}
	r.answer(xCall, 200, window(100, 1, r.now.Add(time.Minute)))
	r.refused(xCall, budget.RuleWindow, time.Second)
	under.Settle()
	r.free(xCall)
}

// A share of the pools that background work draws on is kept for it.
func TestReserve(t *testing.T) {
	me := but(xCall, func(c *budget.Call) { c.Operation = "GET /2/users/me" })
	duty := but(me, func(c *budget.Call) { c.Service, c.Background = "", true })
	r := newRig(t, budget.Config{})
	reset := r.now.Add(time.Minute)
	r.answer(me, 200, window(75, 4, reset))
	r.free(me) // a twentieth of 75 is 3
	r.answer(me, 200, window(75, 3, reset))
	r.refused(me, budget.RuleWindow, time.Minute+time.Second)
	for range 3 {
		r.admitted(duty)
	}
	r.refused(duty, budget.RuleWindow, time.Second)
	// Nothing is kept where no background work is done, and of a single call.
	r.answer(xCall, 200, window(100, 1, reset))
	r.free(xCall)
	one := but(me, func(c *budget.Call) { c.Owner = "bob" })
	r.answer(one, 200, window(1, 1, reset))
	r.free(one)
}

// The undocumented 24-hour headers: of the user, and of the app, which draws on all
// users; and the switch that ignores them.
func TestUndocumentedDays(t *testing.T) {
	bob := but(xCall, func(c *budget.Call) { c.Owner = "bob" })
	for _, ignore := range []bool{false, true} {
		r := newRig(t, budget.Config{DocumentedOnly: ignore})
		reset := r.now.Add(20 * time.Hour)
		r.answer(xCall, 200, xHeader("x-user-limit-24hour", 17, 0, reset))
		r.free(bob)
		if ignore {
			r.free(xCall)
		} else {
			r.refused(xCall, budget.RuleWindow, 20*time.Hour+time.Second)
		}
		r.Learn(&xCall, 200, xHeader("x-app-limit-24hour", 17, 0, reset))
		if ignore {
			r.free(bob)
		} else {
			r.refused(bob, budget.RuleWindow, 20*time.Hour+time.Second)
		}
	}
}

// A malformed header closes nothing for longer than a day, and one from the past
// nothing at all.
func TestAbsurdResets(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(xCall, 200, window(100, 0, r.now.Add(-time.Hour)))
	r.free(xCall)
	r.answer(xCall, 200, window(100, 0, r.now.Add(10000*time.Hour)))
	r.refused(xCall, budget.RuleWindow, 25*time.Hour+time.Second)
	r.pass(25*time.Hour + time.Second)
	r.free(xCall)
}

// X's 429 without a usable reset closes for a pause that grows; with one the window
// says it all.
func TestXThrottled(t *testing.T) {
	r := newRig(t, budget.Config{})
	said := platform.Interpret(platform.X, 429, nil, nil)
	r.Refused(&xCall, said)
	r.Refused(&xCall, said) // another reply of the same burst
	r.refused(xCall, budget.RuleThrottled, time.Minute)
	r.free(but(xCall, func(c *budget.Call) { c.Owner = "bob" }))
	r.pass(time.Minute)
	attempt := r.admitted(xCall)
	r.refused(xCall, budget.RuleThrottled, time.Second) // one at a time
	r.Refused(&xCall, said)
	attempt.Settle()
	r.refused(xCall, budget.RuleThrottled, 2*time.Minute)
	r.pass(2 * time.Minute)
	r.answer(xCall, 200, nil)
	r.admitted(xCall)
	r.free(xCall)

	reset := r.now.Add(time.Minute)
	header := window(100, 0, reset)
	r.Learn(&xCall, 429, header)
	r.Refused(&xCall, platform.Interpret(platform.X, 429, header, nil))
	r.refused(xCall, budget.RuleWindow, time.Minute+time.Second)
	r.pass(time.Minute + time.Second)
	r.admitted(xCall)
	r.admitted(xCall)

	// A reset that has passed is about to come true.
	eve := but(xCall, func(c *budget.Call) { c.Owner = "eve" })
	r.Refused(&eve, platform.Outcome{Kind: platform.OutcomeThrottled, Reset: r.now.Add(-10 * time.Second)})
	r.refused(eve, budget.RuleThrottled, time.Second)
	// What is no throttling closes nothing.
	bob := but(xCall, func(c *budget.Call) { c.Owner = "bob" })
	r.Refused(&bob, platform.Interpret(platform.X, 403, nil, nil))
	r.free(bob)
	// A cap on the whole app's reading closes the operation for everybody.
	r.Refused(&bob, platform.Interpret(platform.X, 429, nil, []byte(`{"type":"https://api.twitter.com/2/problems/usage-capped"}`)))
	r.refused(xCall, budget.RuleThrottled, time.Minute)
}
