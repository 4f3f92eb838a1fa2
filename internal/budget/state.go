package budget

import (
	"slices"
	"strings"
	"time"

	"gatehouse"
)

// State is what is known of one pool.
type State struct {
	App gatehouse.AppName
	// Pool is "call" (X's of one operation), "user-24h", "app-24h", "app", "page",
	// "ad-account", "business/ID/TYPE", or "throttled" where all that is known is that
	// the platform refused.
	Pool      string
	Operation gatehouse.Operation // "" where the pool is of no single one
	// Owner is whose pool it is; "" means the app's.
	Owner string
	// Connection is the one with which the service last drew on an owner's pool. Only
	// For sets it.
	Connection gatehouse.ConnectionID
	// Documented is false for what the platform sends without documenting it.
	Documented bool
	// Limit and Remaining count calls, less those under way; -1 where the platform
	// gives a percentage.
	Limit, Remaining int
	// Percent is what is used; -1 where the platform counts calls.
	Percent float64
	// Reset is when the window ends, by the platform's clock; zero for a percentage.
	Reset time.Time
	// ClosedUntil is when callers may ask again, if the pool is closed to them.
	ClosedUntil time.Time
}

// Snapshot returns all that is known, in no order.
func (b *Budgets) Snapshot() []State {
	return b.states(func(*pool) (gatehouse.ConnectionID, bool) { return "", true })
}

// For returns what a service may know: the pools of its apps, and those of the
// owners with whose connections it called. The least that is left comes first.
func (b *Budgets) For(service gatehouse.ServiceName, apps []gatehouse.AppName) []State {
	list := b.states(func(p *pool) (gatehouse.ConnectionID, bool) {
		if !slices.Contains(apps, p.key.app) {
			return "", false
		}
		switch p.key.kind {
		case kindApp, kindDay:
			return "", true
		case kindCall:
			if p.key.owner == "" {
				return "", true
			}
		}
		for i := range p.seats {
			if p.seats[i].service == service {
				return p.seats[i].connection, true
			}
		}
		return "", false
	})
	slices.SortFunc(list, func(x, y State) int {
		if x.left() != y.left() {
			if x.left() < y.left() {
				return -1
			}
			return 1
		}
		return strings.Compare(string(x.App)+x.Pool+string(x.Operation)+string(x.Connection), string(y.App)+y.Pool+string(y.Operation)+string(y.Connection))
	})
	return list
}

// left is how much is left, from 0 to 1.
func (s State) left() float64 {
	switch {
	case !s.ClosedUntil.IsZero():
		return 0
	case s.Limit > 0:
		return float64(s.Remaining) / float64(s.Limit)
	}
	return max(0, 1-s.Percent/100)
}

// states lists the pools that may be seen. One shard is locked at a time, and not
// for long.
func (b *Budgets) states(see func(*pool) (gatehouse.ConnectionID, bool)) []State {
	type seen struct {
		pool
		connection gatehouse.ConnectionID
	}
	var found []seen
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for _, p := range s.pools {
			if connection, ok := see(p); ok {
				found = append(found, seen{*p, connection})
			}
		}
		s.mu.Unlock()
	}
	times := map[gatehouse.AppName]time.Time{}
	var list []State
	for i := range found {
		app := found[i].key.app
		if times[app].IsZero() {
			times[app] = b.now(app)
		}
		list = found[i].states(list, found[i].connection, times[app])
	}
	return list
}

// states appends what is known of one pool, a copy.
func (p *pool) states(list []State, connection gatehouse.ConnectionID, now time.Time) []State {
	one := State{App: p.key.app, Operation: p.key.operation, Owner: p.key.owner, Connection: connection, Documented: true, Limit: -1, Remaining: -1, Percent: -1}
	if !p.shut.open() && now.Before(p.shut.until) {
		one.ClosedUntil = p.shut.until
	}
	some := false
	for _, w := range []*window{&p.short, &p.day} {
		if !w.known || w.assumed || !now.Before(w.reset) {
			continue
		}
		s := one
		s.Pool, s.Documented = poolCall, w == &p.short
		if w == &p.day {
			s.Pool = poolUserDay
			if p.key.kind == kindDay {
				s.Pool = poolAppDay
			}
		}
		s.Limit, s.Remaining, s.Reset = w.limit, max(0, w.remaining-p.lost-p.flying), w.reset
		list, some = append(list, s), true
	}
	if p.usage.known && now.Before(p.usage.at.Add(usageLife)) {
		s := one
		s.Pool, s.Percent = poolApp, p.usage.percent
		if p.key.kind == kindAccount {
			s.Pool, s.Operation = string(p.key.operation), ""
			s.Documented = s.Pool != poolPage
		}
		if s.ClosedUntil.IsZero() && !p.held.open() && now.Before(p.held.until) {
			s.ClosedUntil = p.held.until
		}
		list, some = append(list, s), true
	}
	if !some && !one.ClosedUntil.IsZero() {
		one.Pool = "throttled"
		list = append(list, one)
	}
	return list
}
