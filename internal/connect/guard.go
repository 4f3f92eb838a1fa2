package connect

import (
	"context"
	"hash/maphash"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"

	"golang.org/x/time/rate"
)

// Guard is told every token and secret of a platform, so that it is recognised
// where it must never stand: in what the app sends to others. Person is whose it
// is; "" for the app's own, and for a token of which that is not known yet, which
// is told again when it is.
//
// A token is told before anybody can use it: when a platform gave it, and, in a
// process that did not get it from the platform itself, when it is first opened.
// [Connections.GuardAll] tells those that nobody has opened yet. The same one may be
// told any number of times.
//
// A Guard has no error, on purpose. It is called while a platform's new token
// exists nowhere else: a grant must not be lost because a leak of it might go
// unnoticed. So it must not wait for anything slow, and what it cannot remember it
// has to report by itself.
type Guard func(ctx context.Context, person gatehouse.PersonID, text secret.Text)

// guarded remembers which sealed tokens were told, by a hash of their ciphertext,
// so that a call does not tell them again. It is bounded: when it is full it
// begins anew, and they are told once more.
type guarded struct {
	guard Guard // nil: nobody wants to be told
	seed  maphash.Seed

	mu   sync.Mutex
	seen map[uint64]struct{}
}

const maxGuarded = 1 << 16

func newGuarded(g Guard) *guarded {
	return &guarded{guard: g, seed: maphash.MakeSeed(), seen: map[uint64]struct{}{}}
}

// plain tells a token or secret that is not sealed yet.
func (g *guarded) plain(ctx context.Context, person gatehouse.PersonID, text secret.Text) {
	if g.guard != nil && !text.IsZero() {
		g.guard(ctx, person, text)
	}
}

// sealed tells a token that stands in the store as the ciphertext says.
func (g *guarded) sealed(ctx context.Context, person gatehouse.PersonID, text secret.Text, ciphertext []byte) {
	if g.guard == nil || text.IsZero() {
		return
	}
	hash := maphash.Bytes(g.seed, ciphertext)
	g.mu.Lock()
	_, known := g.seen[hash]
	g.mu.Unlock()
	if known {
		return
	}
	g.guard(ctx, person, text)
	// Only now: another call that finds it here uses the token at once.
	g.mu.Lock()
	if len(g.seen) >= maxGuarded {
		clear(g.seen)
	}
	g.seen[hash] = struct{}{}
	g.mu.Unlock()
}

// guardRecord tells the tokens of a record.
func (c *Connections) guardRecord(ctx context.Context, rec Record, g grant) {
	person := rec.Person
	if rec.Kind == KindApp {
		person = "" // it hangs on a person's connection, and is not theirs
	}
	c.guarded.sealed(ctx, person, g.access, rec.Access)
	c.guarded.sealed(ctx, person, g.refresh, rec.Refresh)
}

// obtained tells what a platform gave, of which it is not known yet whose it is.
func (p client) obtained(ctx context.Context, g grant, err error) (grant, error) {
	if err == nil {
		p.c.guarded.plain(ctx, "", g.access)
		p.c.guarded.plain(ctx, "", g.refresh)
	}
	return g, err
}

// guardApps tells the apps' own secrets, and what Facebook makes of one.
func (c *Connections) guardApps(ctx context.Context) {
	for _, name := range c.Apps() {
		a := c.apps[name]
		all := append([]secret.Text{a.ClientSecret, a.ConsumerSecret}, a.PreviousSecrets...)
		for _, s := range append(all, a.PreviousConsumerSecrets...) {
			c.guarded.plain(ctx, "", s)
		}
		if a.Platform == gatehouse.Facebook && !a.ClientSecret.IsZero() {
			c.guarded.plain(ctx, "", appToken(a))
		}
	}
}

// guardEvery is the time between two batches of GuardAll, which must not keep
// calls waiting: 20 000 tokens a second at most.
const guardEvery = 25 * time.Millisecond

// guardBatch is how many connections are opened under one intent.
const guardBatch = 500

// GuardAll tells the Guard the apps' own secrets and then every token that is
// stored, batch by batch behind after, each batch under an intent of its own. It is
// for the background of a start, and may be repeated; where it failed, Next says
// where to go on. With after "" the apps' secrets are told before anything that can
// fail. Without a Guard it does nothing.
func (c *Connections) GuardAll(ctx context.Context, after gatehouse.ConnectionID) (Opened, error) {
	all := Opened{Next: after}
	if c.guarded.guard == nil {
		return Opened{}, nil
	}
	if after == "" {
		c.guardApps(ctx)
	}
	pace := rate.NewLimiter(rate.Every(guardEvery), 1)
	for {
		if err := pace.Wait(ctx); err != nil {
			return all, err
		}
		page, err := c.store.Connections(ctx, Filter{WithPending: true, After: all.Next, Limit: guardBatch})
		if err != nil {
			return all, err
		}
		if len(page) == 0 {
			all.Next = ""
			return all, nil
		}
		e := audit.Entry{Action: "connect.guard", Facts: map[string]string{"connections": strconv.Itoa(len(page))}}
		// Opening tells; see openTokens.
		unreadable, err := c.openBatch(ctx, e, page, func(grant) {})
		all.Unreadable += unreadable
		if err != nil {
			return all, err
		}
		all.Connections += len(page)
		if len(page) < guardBatch {
			all.Next = ""
			return all, nil
		}
		all.Next = page[len(page)-1].ID
	}
}
