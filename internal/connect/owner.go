package connect

import (
	"context"
	"net/http"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
)

// owners remembers whose budgets connections draw on, which never changes, so that no
// call reads a row for it more than once. The zero value is ready.
type owners struct {
	mu sync.RWMutex
	of map[gatehouse.ConnectionID]string
}

// mostOwners bounds what is remembered. When it is full it begins anew: a read more
// for each connection is all that this costs.
const mostOwners = 16384

// Owner says whose budgets at the platform a connection's calls draw on: the same
// text for all tokens of one person, a page or machine account by itself, and ""
// for the app's own token.
func (c *Connections) Owner(ctx context.Context, id gatehouse.ConnectionID) (string, error) {
	c.owners.mu.RLock()
	owner, ok := c.owners.of[id]
	c.owners.mu.RUnlock()
	if ok {
		return owner, nil
	}
	rec, err := c.redeemed(ctx, id)
	if err != nil {
		return "", err
	}
	switch rec.Kind {
	case KindUser, KindOAuth1:
		owner = string(rec.Person)
	case KindApp:
	default:
		owner = string(rec.ID)
	}
	c.owners.mu.Lock()
	defer c.owners.mu.Unlock()
	if c.owners.of == nil || len(c.owners.of) >= mostOwners {
		c.owners.of = make(map[gatehouse.ConnectionID]string)
	}
	c.owners.of[id] = owner
	return owner, nil
}

// PlatformTime is the time at an app's platform, as far as its replies have told.
func (c *Connections) PlatformTime(app gatehouse.AppName) time.Time { return c.now(app) }

// Background asks the budgets for a call that Gatehouse makes by itself, such as a
// health check or a compliance job, out of the share that is kept for those. Owner
// is whose token makes the call; see [Connections.Owner]. The ticket must be settled.
// What renews or revokes a grant does not ask: it is never held up.
func (c *Connections) Background(app gatehouse.AppName, owner string, op gatehouse.Operation) (*budget.Ticket, budget.Call, error) {
	call := budget.Call{App: app, Owner: owner, Operation: op, Background: true}
	if a, ok := c.apps[app]; ok {
		call.Platform = a.Platform
	}
	if c.budgets == nil {
		return nil, call, nil
	}
	t, err := c.budgets.Admit(call)
	return t, call, err
}

// learn has the budgets take over what a platform's reply says of the whole app.
func (p client) learn(reply *http.Response, body []byte) {
	if p.c.budgets != nil {
		p.c.budgets.Observe(p.app.Name, p.app.Platform, reply.StatusCode, reply.Header, body)
	}
}
