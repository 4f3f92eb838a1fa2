package budget

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

// The names of pools as package platform gives them.
const (
	poolCall      = "call"
	poolAppDay    = "app-24h"
	poolUserDay   = "user-24h"
	poolApp       = "app"
	poolPage      = "page"
	poolAdAccount = "ad-account"
	poolBusiness  = "business/"
)

// undocumented are the pools of which no platform's documentation speaks.
var undocumented = map[string]bool{poolAppDay: true, poolUserDay: true, poolPage: true}

// mostAccounts bounds how many accounts one operation is checked against. Replies
// name one as a rule.
const mostAccounts = 4

// Learn takes over what a reply's header says, of a call that had no ticket of its
// own: an item of a batch, or one of Gatehouse's that never waits.
func (b *Budgets) Learn(c *Call, status int, h http.Header) { b.learn(c, status, h, nil) }

// Observe takes over what a reply to one of Gatehouse's own calls says about the
// whole app.
func (b *Budgets) Observe(app gatehouse.AppName, p gatehouse.Platform, status int, h http.Header, body []byte) {
	c := &Call{App: app, Platform: p, Background: true}
	b.learn(c, status, h, nil)
	if status >= http.StatusBadRequest {
		b.Refused(c, platform.Interpret(platform.Name(p), status, h, body[:min(len(body), 8<<10)]))
	}
}

func (b *Budgets) learn(c *Call, status int, h http.Header, t *Ticket) {
	name := platform.Name(c.Platform)
	usage := platform.Usage(name, h)
	now := b.now(c.App)
	ok := status < http.StatusBadRequest
	if name == platform.X {
		b.learnX(c, usage, ok, now, t)
		return
	}
	if !name.Graph() {
		return
	}
	var accounts []key
	app := false
	for i := range usage {
		u := &usage[i]
		k, known := b.graphKey(c, u.Pool)
		if !known {
			continue
		}
		app = app || k.kind == kindApp
		if k.kind == kindAccount {
			accounts = append(accounts, k)
		}
		b.with(&k, true, now, func(p *pool) { p.learnUsage(c, u, ok, now) })
	}
	if c.Operation == "" {
		return
	}
	b.learnAccounts(c, accounts, app, now)
	if ok {
		b.succeed(c, app, now)
	}
}

// graphKey returns the pool that a header of Meta's is about.
func (b *Budgets) graphKey(c *Call, name string) (k key, known bool) {
	if name == poolApp {
		return key{kind: kindApp, app: c.App}, true
	}
	if c.Operation == "" || b.documented && undocumented[name] {
		return key{}, false // of a batch as a whole, the items say whose it is
	}
	k = key{kind: kindAccount, app: c.App, operation: gatehouse.Operation(name)}
	switch {
	case name == poolPage:
		k.owner = c.Owner // the header names no page; pages have tokens of their own
	case name == poolAdAccount:
		if k.node = c.node(); k.node == "" {
			k.owner = c.Owner
		}
	case strings.HasPrefix(name, poolBusiness) && len(name) <= 2*longNode:
		// The name has the platform's id of the account in it.
	default:
		return key{}, false
	}
	return k, true
}

// succeed opens what a throttled reply had closed, now that a call was answered.
// What the app's own header said was taken over with it.
func (b *Budgets) succeed(c *Call, app bool, now time.Time) {
	again := func(p *pool) { p.shut.succeed(now) }
	k := key{kind: kindOperation, app: c.App, owner: c.Owner, operation: c.Operation}
	b.with(&k, false, now, again)
	if k.node = c.node(); k.node != "" {
		b.with(&k, false, now, again)
	}
	b.with(&key{kind: kindOwner, app: c.App, owner: c.Owner}, false, now, again)
	if !app {
		b.with(&key{kind: kindApp, app: c.App}, false, now, again)
	}
}

// learnX takes over X's windows: its own for the operation and the day's.
func (b *Budgets) learnX(c *Call, usage []platform.Budget, ok bool, now time.Time, t *Ticket) {
	if c.Operation == "" {
		return
	}
	b.with(&key{kind: kindCall, app: c.App, owner: c.Owner, operation: c.Operation}, true, now, func(p *pool) {
		p.learnWindows(b, usage, ok, now, t, poolCall, poolUserDay)
	})
	b.with(&key{kind: kindDay, app: c.App, operation: c.Operation}, true, now, func(p *pool) {
		p.learnWindows(b, usage, ok, now, t, poolAppDay)
	})
}

// learnWindows takes over the windows of the named pools. With the lock held.
func (p *pool) learnWindows(b *Budgets, usage []platform.Budget, ok bool, now time.Time, t *Ticket, names ...string) {
	if ok {
		p.shut.succeed(now)
	}
	for i := range usage {
		u := &usage[i]
		if !slices.Contains(names, u.Pool) || b.documented && undocumented[u.Pool] {
			continue
		}
		w, length := p.windowOf(u.Pool)
		w.roll(now)
		if w.learn(u, now, length) && t.after(p) {
			p.lost = 0
		}
	}
}

// learnUsage takes over a percentage. With the lock held.
func (p *pool) learnUsage(c *Call, u *platform.Budget, ok bool, now time.Time) {
	percent := min(max(u.Percent, 0), 1000)
	p.usage.learn(percent, now)
	named := time.Time{}
	if u.RetryAfter > 0 {
		named = now.Add(u.RetryAfter)
	}
	switch {
	case percent >= 100 || !named.IsZero():
		p.shut.close(now, named)
	case ok:
		p.shut.succeed(now)
	}
	if percent < holdAt {
		p.held.reopen()
	} else if p.held.open() || !now.Before(p.held.until) {
		p.held.close(now, named)
	}
	if c.Service != "" {
		p.seat(c, now)
	}
}

// learnAccounts notes what an operation was counted against, so that the next such
// call is checked against the same. As long as there is only one account, its nodes
// need not be remembered.
func (b *Budgets) learnAccounts(c *Call, accounts []key, app bool, now time.Time) {
	if len(accounts) == 0 {
		return
	}
	slices.SortFunc(accounts, func(a, b key) int { return strings.Compare(string(a.operation), string(b.operation)) })
	accounts = accounts[:min(len(accounts), mostAccounts)]
	several := false
	k := key{kind: kindOperation, app: c.App, owner: c.Owner, operation: c.Operation}
	b.with(&k, true, now, func(p *pool) {
		p.free, p.noted = !app, now
		if c.Node != "" && len(p.accounts) > 0 && !slices.Equal(p.accounts, accounts) {
			p.several = true
		} else {
			p.accounts = accounts
		}
		several = p.several
	})
	if k.node = c.node(); several && k.node != "" {
		b.with(&k, true, now, func(p *pool) { p.accounts, p.free, p.noted = accounts, !app, now })
	}
}

// Refused takes over what a platform's error says. Only throttling matters here:
// it closes what the code is about, until the time that the platform names.
func (b *Budgets) Refused(c *Call, said platform.Outcome) {
	if said.Kind != platform.OutcomeThrottled {
		return
	}
	k := key{app: c.App, owner: c.Owner, operation: c.Operation}
	name := platform.Name(c.Platform)
	switch code := said.Code; {
	case name == platform.X && said.Cause == "usage-cap":
		k.kind, k.owner = kindDay, ""
	case name == platform.X:
		k.kind = kindCall
	case !name.Graph():
		return
	case code == 4 || code == 341:
		k = key{kind: kindApp, app: c.App}
	case code == 17 || code == 32:
		k = key{kind: kindOwner, app: c.App, owner: c.Owner}
	default:
		k.kind = kindOperation
		if code >= 80000 && code <= 80014 {
			k.node = c.node()
		}
	}
	if k.kind != kindApp && c.Operation == "" {
		return
	}
	now := b.now(c.App)
	var named time.Time
	switch {
	case !said.Reset.IsZero():
		named = said.Reset.Add(grain)
		if earliest := now.Add(grain); named.Before(earliest) {
			named = earliest
		}
	case said.RetryAfter > 0:
		named = now.Add(said.RetryAfter)
	}
	b.with(&k, true, now, func(p *pool) {
		// A window that is known to be empty says all there is to say, and the first
		// calls of the next one need not be attempts.
		for _, w := range []*window{&p.short, &p.day} {
			if w.known && w.remaining == 0 && now.Before(w.reset) {
				return
			}
		}
		p.shut.close(now, named)
	})
}
