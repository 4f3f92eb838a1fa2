package budget_test

import (
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
)

// by returns the call as another service makes it.
func by(c budget.Call, service gatehouse.ServiceName) budget.Call {
	c.Service, c.Connection = service, gatehouse.ConnectionID("con of "+service)
	return c
}

// While a pool is scarce, services that ask get equal parts of what is left; one that
// is alone gets all of it.
func TestShares(t *testing.T) {
	r := newRig(t, budget.Config{})
	reset := r.now.Add(14 * time.Minute)
	r.answer(by(xCall, "greedy"), 200, window(100, 20, reset))
	for range 12 {
		r.admitted(by(xCall, "greedy"))
	}
	// 8 are left and 13 were taken: of 21, each has half.
	for range 8 {
		r.admitted(by(xCall, "modest"))
	}

	r = newRig(t, budget.Config{})
	reset = r.now.Add(14 * time.Minute)
	r.answer(by(xCall, "greedy"), 200, window(100, 20, reset))
	r.free(by(xCall, "modest"))
	for range 10 {
		r.admitted(by(xCall, "greedy"))
	}
	r.refused(by(xCall, "greedy"), budget.RuleShare, 3*time.Minute)
	r.free(by(xCall, "modest"))
	// What the other does not take is divided anew in the next period.
	r.pass(3 * time.Minute)
	for range 5 {
		r.admitted(by(xCall, "greedy"))
	}
	r.refused(by(xCall, "greedy"), budget.RuleShare, 3*time.Minute)
	// And one that has not asked for two periods has no part any more.
	r.pass(6 * time.Minute)
	for range 5 {
		r.admitted(by(xCall, "greedy"))
	}
	r.refused(by(xCall, "greedy"), budget.RuleWindow, time.Second)
}

// One that has not asked for two periods has no part, also if nobody asked since.
func TestAbsentHaveNoPart(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(by(xCall, "greedy"), 200, window(100, 10, r.now.Add(14*time.Minute)))
	r.free(by(xCall, "modest"))
	r.pass(6 * time.Minute)
	for range 10 {
		r.admitted(by(xCall, "greedy"))
	}
}

// Nobody waits for others while there is plenty, or while the window is nearly over.
func TestNoSharesWithoutScarcity(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(by(xCall, "greedy"), 200, window(100, 70, r.now.Add(14*time.Minute)))
	r.free(by(xCall, "modest"))
	for range 20 {
		r.admitted(by(xCall, "greedy"))
	}
	r = newRig(t, budget.Config{})
	r.answer(by(xCall, "greedy"), 200, window(100, 99, r.now.Add(14*time.Minute)))
	r.free(by(xCall, "modest"))
	r.free(by(xCall, "third"))
	for range 45 {
		r.admitted(by(xCall, "greedy"))
	}
	r = newRig(t, budget.Config{})
	r.answer(by(xCall, "greedy"), 200, window(100, 40, r.now.Add(time.Minute)))
	r.free(by(xCall, "modest"))
	for range 30 {
		r.admitted(by(xCall, "greedy"))
	}
}

// Meta's percentage is shared from 75 on. Background work has no part and is not
// counted.
func TestSharesOfAPercentage(t *testing.T) {
	for _, percent := range []float64{74, 76} {
		r := newRig(t, budget.Config{})
		r.answer(by(graphCall, "greedy"), 200, appUsage(percent))
		r.free(by(graphCall, "modest"))
		for range 18 {
			r.admitted(by(graphCall, "greedy"))
		}
		_, err := r.Admit(by(graphCall, "greedy"), by(graphCall, "greedy"))
		if percent < 75 && err != nil {
			t.Errorf("at %v: %v", percent, err)
		}
		if percent < 75 {
			continue
		}
		if err != nil {
			t.Errorf("the last of its part: %v", err) // a batch goes as a whole
		}
		r.refused(by(graphCall, "greedy"), budget.RuleShare, 3*time.Minute)
		r.free(by(graphCall, "modest"))
		r.free(but(graphCall, func(c *budget.Call) { c.Service, c.Background = "", true }))
	}
}

// A call that was admitted and never sent is no part of what a service took.
func TestUnsentIsNotTaken(t *testing.T) {
	r := newRig(t, budget.Config{})
	r.answer(by(xCall, "greedy"), 200, window(100, 10, r.now.Add(14*time.Minute)))
	r.free(by(xCall, "modest"))
	for range 50 {
		r.free(by(xCall, "greedy"))
	}
}

// Of three services that ask as often as they can, every so often, and now and then,
// none starves, and the whole window is used in its time.
func TestNobodyStarves(t *testing.T) {
	for _, limit := range []int{15, 60, 300} {
		r := newRig(t, budget.Config{})
		start, used := r.now, 0
		reset := start.Add(15 * time.Minute)
		every := map[gatehouse.ServiceName]int{"greedy": 1, "steady": 10, "rare": 60}
		got := map[gatehouse.ServiceName]int{}
		wanted := map[gatehouse.ServiceName]int{}
		for second := range 15 * 60 {
			for _, name := range []gatehouse.ServiceName{"greedy", "steady", "rare"} {
				if second%every[name] != 0 {
					continue
				}
				if used < limit {
					wanted[name]++
				}
				c := by(xCall, name)
				ticket, err := r.Admit(c)
				if err != nil {
					continue
				}
				used++
				got[name]++
				ticket.Sent()
				ticket.Learn(&c, 200, window(limit, limit-used, reset))
				ticket.Settle()
			}
			r.pass(time.Second)
		}
		t.Logf("of %d: %v (wanted while there was any: %v)", limit, got, wanted)
		if used < limit-1 || used > limit {
			t.Errorf("of %d calls %d were used", limit, used)
		}
		for name, n := range got {
			if n < min(wanted[name], limit/3)*3/4 {
				t.Errorf("of %d calls, %s got %d", limit, name, n)
			}
		}
	}
}

// What is known of pools that are over is forgotten, and there are never more than
// are allowed; an exhausted one is kept before others.
func TestMemoryIsBounded(t *testing.T) {
	r := newRig(t, budget.Config{Pools: 6400})
	r.answer(xCall, 200, window(100, 0, r.now.Add(time.Hour)))
	for i := range 20000 {
		c := but(xCall, func(c *budget.Call) { c.Owner = fmt.Sprint("user ", i) })
		r.answer(c, 200, window(100, 99, r.now.Add(time.Minute)))
	}
	if n := budget.CountTestOnly(r.Budgets); n > 6400 || n < 5000 {
		t.Errorf("%d pools are kept", n)
	}
	if _, err := r.Admit(xCall); err == nil {
		t.Error("the exhausted pool was forgotten")
	}
	r.pass(2 * time.Hour)
	for i := range 6400 {
		c := but(xCall, func(c *budget.Call) { c.Owner = fmt.Sprint("later user ", i) })
		r.answer(c, 200, window(100, 99, r.now.Add(time.Minute)))
		r.pass(100 * time.Millisecond)
	}
	if n := budget.CountTestOnly(r.Budgets); n > 1500 {
		t.Errorf("%d pools are kept where those of the last minute, 600, matter", n)
	}
	// When everything is under way there is no room: such a call is not kept track of.
	r = newRig(t, budget.Config{Pools: 64})
	for i := range 1000 {
		r.admitted(but(xCall, func(c *budget.Call) { c.Owner = fmt.Sprint(i) }))
	}
	if n := budget.CountTestOnly(r.Budgets); n > 64 {
		t.Errorf("%d pools are kept", n)
	}
}
