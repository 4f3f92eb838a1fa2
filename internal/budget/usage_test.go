package budget_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"gatehouse/internal/budget"
	"gatehouse/internal/platform"
)

// Meta's percentage: callers are held at 95, background work goes on to 100.
func TestUsage(t *testing.T) {
	bob := but(graphCall, func(c *budget.Call) { c.Owner, c.Operation = "bob", "GET /me" })
	duty := but(bob, func(c *budget.Call) { c.Background = true })
	r := newRig(t, budget.Config{})
	r.answer(graphCall, 200, appUsage(94.5))
	r.free(bob)
	r.answer(graphCall, 200, appUsage(96))
	r.refused(bob, budget.RuleUsage, time.Minute)
	r.free(duty)
	r.free(but(bob, func(c *budget.Call) { c.App = "other" }))
	// After the pause one call tries; the pause grows as long as nothing is left.
	r.pass(time.Minute)
	attempt := r.admitted(bob)
	r.refused(bob, budget.RuleUsage, time.Second)
	attempt.Sent()
	attempt.Learn(&bob, 200, appUsage(97))
	attempt.Settle()
	r.refused(bob, budget.RuleUsage, 2*time.Minute)
	// Background work's replies are news, too.
	r.answer(duty, 200, appUsage(60))
	r.free(bob)

	r.answer(duty, 200, appUsage(100))
	r.refused(duty, budget.RuleThrottled, time.Minute)
	r.refused(bob, budget.RuleThrottled, time.Minute)
}

// A percentage means nothing after an hour.
func TestUsageGrowsOld(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(graphCall, 200, appUsage(99))
	r.pass(59 * time.Minute)
	one := r.admitted(graphCall)
	r.refused(graphCall, budget.RuleUsage, time.Second)
	one.Settle()
	r.pass(time.Minute)
	r.admitted(graphCall)
	r.free(graphCall)
}

// Near the end, what is under way counts by an estimate: two calls to a hundredth
// until replies show that there are more.
func TestUsageUnderWay(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(graphCall, 200, appUsage(94))
	r.admitted(graphCall)
	two := r.admitted(graphCall)
	r.refused(graphCall, budget.RuleUsage, time.Second)
	two.Settle()
	for range 10 {
		r.answer(graphCall, 200, appUsage(94))
	}
	for range 9 {
		r.admitted(graphCall)
	}
}

// Each throttling code closes what it is about, and nothing else.
func TestThrottlingCodes(t *testing.T) {
	calls := map[string]budget.Call{
		"same":            graphCall,
		"other node":      but(graphCall, func(c *budget.Call) { c.Node = "2" }),
		"other operation": but(graphCall, func(c *budget.Call) { c.Operation = "GET /{id}" }),
		"other owner":     but(graphCall, func(c *budget.Call) { c.Owner = "bob" }),
		"other app":       but(graphCall, func(c *budget.Call) { c.App = "other" }),
	}
	for code, closed := range map[int]map[string]bool{
		4:     {"same": true, "other node": true, "other operation": true, "other owner": true},
		341:   {"same": true, "other node": true, "other operation": true, "other owner": true},
		17:    {"same": true, "other node": true, "other operation": true},
		32:    {"same": true, "other node": true, "other operation": true},
		613:   {"same": true, "other node": true},
		80000: {"same": true},
		80004: {"same": true},
		80014: {"same": true},
	} {
		r := newRig(t, budget.Config{})
		r.Refused(&graphCall, throttled(t, code))
		for name, c := range calls {
			_, err := r.Admit(c)
			if (err != nil) != closed[name] {
				t.Errorf("code %d, %s: %v", code, name, err)
			}
		}
		duty := but(graphCall, func(c *budget.Call) { c.Background = true })
		r.refused(duty, budget.RuleThrottled, time.Minute)
		// It opens with the first success after the pause, and a reply that was under way
		// before opens nothing.
		r.Learn(&graphCall, 200, nil)
		r.refused(graphCall, budget.RuleThrottled, time.Minute)
		r.pass(time.Minute)
		r.answer(graphCall, 200, nil)
		r.admitted(graphCall)
		r.free(graphCall)
	}
	r := newRig(t, budget.Config{})
	said := throttled(t, 80001)
	said.RetryAfter = 7 * time.Minute
	r.Refused(&graphCall, said)
	r.refused(graphCall, budget.RuleThrottled, 7*time.Minute)
	// As a node is no part of what a batch as a whole is about, neither is its code.
	r.Refused(&budget.Call{App: "other", Platform: graphCall.Platform}, throttled(t, 613))
	r.free(but(graphCall, func(c *budget.Call) { c.App = "other" }))
}

// An attempt that fails makes the pause grow, whatever its reply says beside.
func TestThrottlingLasts(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.Refused(&graphCall, throttled(t, 4))
	for _, pause := range []time.Duration{1, 2, 4, 8, 15, 15} {
		r.refused(graphCall, budget.RuleThrottled, pause*time.Minute)
		r.pass(pause * time.Minute)
		attempt := r.admitted(graphCall)
		attempt.Sent()
		attempt.Learn(&graphCall, 400, appUsage(50))
		r.Refused(&graphCall, throttled(t, 4))
		attempt.Settle()
	}
}

// A header that names several is the same whatever their order.
func TestSeveralUses(t *testing.T) {
	r := newRig(t, budget.Config{})
	for i := range 30 {
		c := but(graphCall, func(c *budget.Call) { c.Node = fmt.Sprint(i) })
		r.answer(c, 200, map[string][]string{"X-Business-Use-Case-Usage": {`{"9":[{"type":"pages","call_count":96}],"8":[{"type":"pages","call_count":1}],"7":[{"type":"pages","call_count":1}]}`}})
		r.refused(but(graphCall, func(c *budget.Call) { c.Node = "new" }), budget.RuleUsage, time.Minute)
		r.pass(time.Hour)
	}
}

// A business's header is about one account: the owner's other accounts go on, and so
// does everything of which the same header says less.
func TestAccounts(t *testing.T) {
	r := newRig(t, budget.Config{})
	two := but(graphCall, func(c *budget.Call) { c.Node = "2" })
	three := but(graphCall, func(c *budget.Call) { c.Node = "3" })
	r.answer(graphCall, 200, business("9", "pages", 50, 0))
	r.Learn(&graphCall, 200, business("9", "pages", 96, 0))
	r.refused(graphCall, budget.RuleUsage, time.Minute)
	// As long as one account is all that the owner has been seen to have, its other
	// nodes are of that one.
	r.refused(two, budget.RuleUsage, time.Minute)
	r.free(but(two, func(c *budget.Call) { c.Operation = "GET /{id}" }))
	r.free(but(graphCall, func(c *budget.Call) { c.Owner = "bob" }))
	r.Learn(&two, 200, business("8", "pages", 10, 0))
	r.free(two)
	r.free(three)
	r.Learn(&graphCall, 200, business("9", "pages", 96, 0))
	r.refused(graphCall, budget.RuleUsage, time.Minute)
	r.Learn(&graphCall, 200, business("9", "pages", 100, 5))
	r.refused(graphCall, budget.RuleThrottled, 5*time.Minute)
	r.free(two)
}

// What a business's budget pays for is not refused for the app's.
func TestBusinessIsNotTheApp(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(graphCall, 200, business("9", "pages", 10, 0))
	other := but(graphCall, func(c *budget.Call) { c.Operation = "GET /me" })
	r.answer(other, 200, appUsage(99))
	r.free(graphCall)
	r.refused(other, budget.RuleUsage, time.Minute)
	both := appUsage(99)
	maps.Copy(both, business("9", "pages", 10, 0))
	r.Learn(&graphCall, 200, both)
	r.refused(graphCall, budget.RuleUsage, time.Minute)
}

// An ad account's header is about the node that was called, a page's about the owner.
func TestAdAccountAndPage(t *testing.T) {
	ad := budget.Call{App: "ads", Platform: "facebook", Owner: "ada", Service: "s", Operation: "GET /{id}/insights", Node: "act_1"}
	other := but(ad, func(c *budget.Call) { c.Node = "act_2" })
	r := newRig(t, budget.Config{})
	r.Learn(&other, 200, map[string][]string{"X-Ad-Account-Usage": {`{"acc_id_util_pct":3}`}})
	r.Learn(&ad, 200, map[string][]string{"X-Ad-Account-Usage": {`{"acc_id_util_pct":100,"reset_time_duration":90}`}})
	r.refused(ad, budget.RuleThrottled, 90*time.Second)
	r.free(other)
	for _, ignore := range []bool{false, true} {
		r := newRig(t, budget.Config{DocumentedOnly: ignore})
		r.Learn(&graphCall, 200, map[string][]string{"X-Page-Usage": {`{"call_count":97}`}})
		if ignore {
			r.free(graphCall)
			continue
		}
		r.refused(graphCall, budget.RuleUsage, time.Minute)
		r.free(but(graphCall, func(c *budget.Call) { c.Owner = "bob" }))
	}
}

// Gatehouse's own calls teach what is about the whole app, and nothing else.
func TestObserve(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.Observe("pages", "facebook", 200, appUsage(96), nil)
	r.refused(graphCall, budget.RuleUsage, time.Minute)
	r.Observe("pages", "facebook", 200, appUsage(1), nil)
	r.free(graphCall)
	r.Observe("pages", "facebook", 400, nil, []byte(`{"error":{"code":17}}`))
	r.free(graphCall)
	r.Observe("pages", "facebook", 400, nil, []byte(`{"error":{"code":4}}`))
	r.refused(graphCall, budget.RuleThrottled, time.Minute)
	r.Observe("main-x", "x", 429, window(1, 0, r.now.Add(time.Minute)), nil)
	r.free(xCall)
}

// A batch is admitted as a whole; the refusal says which item.
func TestBatch(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(graphCall, 200, appUsage(90)) // ten calls are left
	items := make([]budget.Call, 8)
	for i := range items {
		items[i] = graphCall
	}
	first, err := r.Admit(items...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Admit(items...); err == nil {
		t.Fatal("16 calls were admitted where 10 are left")
	}
	two, err := r.Admit(items[:2]...)
	if err != nil {
		t.Fatal(err)
	}
	r.refused(graphCall, budget.RuleUsage, time.Second)
	first.Settle()
	two.Settle()
	bob := but(graphCall, func(c *budget.Call) { c.Owner = "bob" })
	r.Refused(&bob, platform.Outcome{Kind: platform.OutcomeThrottled, Code: 17})
	items[5] = bob
	_, err = r.Admit(items...)
	var refusal *budget.Refusal
	if !errors.As(err, &refusal) || refusal.Index != 5 || refusal.Rule != budget.RuleThrottled {
		t.Errorf("got %v", err)
	}
	for range 10 {
		r.admitted(graphCall) // nothing of the refused batch stays
	}
}
