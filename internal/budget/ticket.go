package budget

import (
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

// Ticket is a leave to make calls. What it stands for counts as under way until it
// is settled. It is used by one goroutine; a nil ticket does nothing.
type Ticket struct {
	budgets  *Budgets
	draws    []draw
	few      [4]draw
	sent     bool
	answered bool
	// Of the call that is being added: what its operation is counted against.
	accounts []key
	free     bool // not against the app's pool
}

// draw is a ticket's part in one pool.
type draw struct {
	pool     *pool
	cost     int
	admitted int // the pool's count after it
	service  gatehouse.ServiceName
}

// add asks for one more call.
func (t *Ticket) add(c *Call, now time.Time) *Refusal {
	switch platform.Name(c.Platform) {
	case platform.X:
		if c.Operation == "" {
			return nil
		}
		if r := t.draw(&key{kind: kindCall, app: c.App, owner: c.Owner, operation: c.Operation}, c, true, now); r != nil {
			return r
		}
		return t.draw(&key{kind: kindDay, app: c.App, operation: c.Operation}, c, true, now)
	case platform.Facebook, platform.Instagram, platform.Threads:
	default:
		return nil
	}
	return t.addGraph(c, now)
}

// addGraph asks for a call of the Graph. What it is counted against is not said in
// advance: it is taken to be what the last such call was.
func (t *Ticket) addGraph(c *Call, now time.Time) *Refusal {
	t.accounts, t.free = nil, false
	if c.Operation != "" {
		k := key{kind: kindOperation, app: c.App, owner: c.Owner, operation: c.Operation}
		if r := t.draw(&k, c, false, now); r != nil {
			return r
		}
		if k.node = c.node(); k.node != "" {
			if r := t.draw(&k, c, false, now); r != nil {
				return r
			}
		}
	}
	if !t.free {
		if r := t.draw(&key{kind: kindApp, app: c.App}, c, true, now); r != nil {
			return r
		}
	}
	accounts := t.accounts
	for i := range accounts {
		if r := t.draw(&accounts[i], c, false, now); r != nil {
			return r
		}
	}
	if c.Owner == "" {
		return nil
	}
	return t.draw(&key{kind: kindOwner, app: c.App, owner: c.Owner}, c, false, now)
}

// draw takes a call from one pool, if it has one left.
func (t *Ticket) draw(k *key, c *Call, make bool, now time.Time) (refusal *Refusal) {
	reserved := t.budgets.background(c.Operation)
	t.budgets.with(k, make, now, func(p *pool) {
		var mine *draw
		for i := range t.draws {
			if t.draws[i].pool == p {
				mine = &t.draws[i]
			}
		}
		own := 0
		if mine != nil {
			own = mine.cost
		}
		if k.kind == kindOperation {
			t.accounts, t.free = p.accountsOf(c), t.free || p.free
		}
		if refusal = p.check(c, own, reserved, now); refusal != nil {
			return
		}
		p.flying += c.cost()
		p.admitted++
		p.charge(c.Service, c.cost())
		if mine == nil {
			t.draws = append(t.draws, draw{pool: p, service: c.Service})
			mine = &t.draws[len(t.draws)-1]
		}
		mine.cost += c.cost()
		mine.admitted = p.admitted
	})
	return refusal
}

// accountsOf returns what the operation is counted against, if that is known: where
// there are several accounts, only a call on a node that was seen before tells. With
// the lock held; the list is never changed in place.
func (p *pool) accountsOf(c *Call) []key {
	if p.several && p.key.node == "" && c.Node != "" {
		return nil
	}
	return p.accounts
}

// charge counts what a service took in this period; cost is negative when it is
// given back.
func (p *pool) charge(service gatehouse.ServiceName, cost int) {
	for i := range p.seats {
		if s := &p.seats[i]; s.service == service {
			s.taken = max(0, s.taken+cost)
		}
	}
}

// Sent says that the calls are on their way. If no answer comes, they count as made.
// It may be said again, of a call that is repeated.
func (t *Ticket) Sent() {
	if t != nil {
		t.sent, t.answered = true, false
	}
}

// Learn takes over what a reply's header says of the pools that the call was counted
// against. It leaves the ticket as it is; see Settle.
func (t *Ticket) Learn(c *Call, status int, h http.Header) {
	if t == nil {
		return
	}
	t.answered = true
	t.budgets.learn(c, status, h, t)
}

// Settle ends the ticket: nothing of it is under way any more. Of calls that were
// never sent it gives everything back. Settling twice does nothing.
func (t *Ticket) Settle() {
	if t == nil {
		return
	}
	for i := range t.draws {
		d := &t.draws[i]
		s := d.pool.shard
		s.mu.Lock()
		d.pool.settle(d, t.sent, t.answered)
		s.mu.Unlock()
	}
	t.draws = nil
}

// settle ends one draw. With the lock held.
func (p *pool) settle(d *draw, sent, answered bool) {
	p.flying -= d.cost
	switch {
	case answered:
		p.usage.since += d.cost
	case sent:
		p.lost += d.cost
		p.lostAt = p.admitted
	default:
		p.charge(d.service, -d.cost)
	}
}

// after reports whether the ticket's call on the pool was admitted after the last
// loss, so that what its reply says includes what was lost.
func (t *Ticket) after(p *pool) bool {
	if t == nil {
		return false
	}
	for i := range t.draws {
		if t.draws[i].pool == p {
			return t.draws[i].admitted > p.lostAt
		}
	}
	return false
}
