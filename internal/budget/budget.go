// Package budget keeps what the platforms say about how many calls are left, and
// decides before a call whether it may be made: a caller gets an early refusal
// with the time at which asking again makes sense, in place of a call that the
// platform would refuse too, or that another would then lack.
//
// It promises that a pool whose numbers it has seen is not drawn on beyond them,
// however many calls are under way at once (as far as they go through this
// process); that Gatehouse's own duties find a share left; that no service takes
// all of a scarce pool from the others; and that a pool closed by mistake opens
// again by itself. It must never refuse what it knows nothing about, hold up what
// reduces access or renews a grant (those do not ask), or keep a credential.
//
// How it decides, in a paragraph. Every reply names pools and what is left in
// them: X counts calls of one operation, of one user or one app, until a time;
// Meta gives a percentage of what an app, a page, an ad account or a business may
// use. Left is what was last heard, less what is under way and less what was sent
// and never answered. A call is admitted while something is left; of a percentage,
// callers may use up to [holdAt] and background work the rest. When a pool is
// scarce (on X less than half is left, and less than the part of the window that is
// left; at Meta from [scarceAt] on), what is left and what was taken in the present
// period belongs in equal parts to the services that asked in this period or in
// the one before: one that has had its part waits for the next period, in which
// what is left is divided anew. So a service that is alone gets everything, and
// none waits longer than a period while there is anything. What a throttled reply
// closes opens after the time that the platform names, or else after a pause that
// grows; then one call at a time tries, until one succeeds.
//
// Everything is in memory and in one process: after a start nothing is known, and
// of two processes each learns from its own replies.
package budget

import (
	"hash/maphash"
	"time"

	"gatehouse"
)

// Config is what New needs. It is copied and never changed afterwards.
type Config struct {
	// Now is the time at an app's platform: what a platform's reset times are
	// compared with. Nil means this machine's clock.
	Now func(gatehouse.AppName) time.Time
	// Reserved are the operations that background work calls with budgets counted
	// in calls (X): a twentieth of their pools is kept for it, at least one call.
	// Nil means [BackgroundOperations].
	Reserved []gatehouse.Operation
	// DocumentedOnly ignores what the platforms send without documenting it: X's
	// 24-hour headers and Meta's X-Page-Usage. Zero acts on them.
	DocumentedOnly bool
	// Pools bounds how many pools are remembered. Zero means 32,768, which take some
	// 20 MB at most.
	Pools int
}

// BackgroundOperations are X's operations that Gatehouse calls by itself: to
// submit and read compliance jobs, and to see whether a grant still stands.
var BackgroundOperations = []gatehouse.Operation{
	"GET /2/compliance/jobs", "POST /2/compliance/jobs", "GET /2/compliance/jobs/{id}", "GET /2/users/me",
}

// Budgets are the pools of all apps. They are safe for concurrent use.
type Budgets struct {
	now        func(gatehouse.AppName) time.Time
	reserved   map[gatehouse.Operation]bool
	documented bool
	seed       maphash.Seed
	most       int // pools in one shard
	shards     [shards]shard
}

// New returns budgets that know nothing yet.
func New(c Config) *Budgets {
	b := &Budgets{now: c.Now, documented: c.DocumentedOnly, reserved: map[gatehouse.Operation]bool{}, seed: maphash.MakeSeed()}
	if b.now == nil {
		b.now = func(gatehouse.AppName) time.Time { return time.Now() }
	}
	if c.Reserved == nil {
		c.Reserved = BackgroundOperations
	}
	for _, op := range c.Reserved {
		b.reserved[op] = true
	}
	if c.Pools <= 0 {
		c.Pools = 32768
	}
	b.most = max(1, c.Pools/shards)
	for i := range b.shards {
		b.shards[i].pools = map[key]*pool{}
	}
	return b
}

// Call is one call to a platform, as far as its budgets go.
type Call struct {
	App      gatehouse.AppName
	Platform gatehouse.Platform
	// Owner says whose token makes the call: two tokens of one user are the same
	// owner. "" means the app's own.
	Owner string
	// Service asks. Background work has none.
	Service gatehouse.ServiceName
	// Connection is only shown again to the service that asked with it.
	Connection gatehouse.ConnectionID
	// Operation is the call's name; "" if it has none that stands for one thing.
	Operation gatehouse.Operation
	// Node is the id of the Graph node that the path names, or "".
	Node string
	// Cost is how many calls the platform counts. Zero means one.
	Cost int
	// Background marks a call that Gatehouse makes by itself, for which a share is
	// kept.
	Background bool
}

func (c *Call) cost() int { return max(1, c.Cost) }

// node is the node by which pools are told apart.
func (c *Call) node() string {
	if len(c.Node) > longNode {
		return ""
	}
	return c.Node
}

// Admit asks whether calls may be made; several are the items of one Graph batch,
// which are admitted together or not at all. The error is a *[Refusal]. A ticket
// must be settled.
func (b *Budgets) Admit(calls ...Call) (*Ticket, error) {
	if len(calls) == 0 {
		return nil, nil
	}
	t := &Ticket{budgets: b}
	t.draws = t.few[:0]
	now := b.now(calls[0].App)
	for i := range calls {
		if refusal := t.add(&calls[i], now); refusal != nil {
			refusal.Index = i
			t.Settle()
			return nil, refusal
		}
	}
	return t, nil
}
