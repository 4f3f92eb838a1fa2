package gateway

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// afford asks the budgets before anything is written, opened or sent, so that a
// refusal costs next to nothing. Of a batch each item is asked for. What is answered
// here costs the platform nothing, and what gives up access is never held up.
func (c *call) afford(ctx context.Context) error {
	if c.class.Endpoint != platform.None && endpoints[c.class.Endpoint] != nil {
		return nil
	}
	asked := make([]budget.Call, 0, 1)
	if c.batch == nil {
		one, err := c.budgetCall(ctx, c.handle, c.class)
		if err != nil {
			return nil //nolint:nilerror // whoever opens the credential says better what is wrong
		}
		if ids, ok := c.query.get("ids"); ok && c.at.platform.Graph() {
			one.Cost = strings.Count(ids, ",") + 1 // Graph counts each of them
		}
		asked = append(asked, one)
	} else {
		for _, item := range c.batch.items {
			one, err := c.budgetCall(ctx, item.by.handle, item.class)
			if err != nil {
				return nil //nolint:nilerror // as above
			}
			asked = append(asked, one)
		}
	}
	ticket, err := c.gateway.config.Budgets.Admit(asked...)
	if err != nil {
		return c.notAfforded(err)
	}
	c.asked, c.ticket = asked, ticket
	c.releases = append(c.releases, ticket.Settle)
	return nil
}

// budgetCall describes a call by its handle to the budgets.
func (c *call) budgetCall(ctx context.Context, h identity.Handle, class platform.Call) (budget.Call, error) {
	owner, err := c.gateway.config.Connections.Owner(ctx, h.Connection)
	if err != nil {
		return budget.Call{}, err
	}
	one := budget.Call{
		App: h.App, Platform: h.Platform, Owner: owner, Service: h.ServiceName, Connection: h.Connection, Node: class.Param("id"),
	}
	if !class.Unknown {
		one.Operation = gatehouse.Operation(class.Operation)
	}
	return one, nil
}

// notAfforded turns a refusal of the budgets into the caller's. X's libraries wait
// until the time in X's own header, and some fail without it.
func (c *call) notAfforded(err error) error {
	var r *budget.Refusal
	if !errors.As(err, &r) {
		return err
	}
	if c.at.platform == platform.X {
		h := c.w.Header()
		h.Set("X-Rate-Limit-Limit", strconv.Itoa(r.Limit))
		h.Set("X-Rate-Limit-Remaining", "0")
		h.Set("X-Rate-Limit-Reset", strconv.FormatInt(r.Until.Unix()+1, 10))
	}
	refusal := wire.Refuse(gatehouse.ErrLimited, r.Rule, r.Detail())
	if c.batch != nil {
		refusal = inItem(r.Index, refusal)
	}
	return wire.WithRetryAfter(refusal, r.RetryAfter)
}

// learn has the budgets take over what a reply's header says. That of a batch as a
// whole is about the app; its items have headers of their own.
func (c *call) learn(reply *http.Response) {
	if about := c.about(); about != nil {
		c.ticket.Learn(about, reply.StatusCode, reply.Header)
	}
}

// about is what the reply as a whole is about to the budgets; nil if they were not
// asked.
func (c *call) about() *budget.Call {
	if len(c.asked) == 0 {
		return nil
	}
	if c.batch == nil {
		return &c.asked[0]
	}
	whole := c.asked[0]
	whole.Operation = ""
	return &whole
}

// learnItem does so for one item of a batch.
func (c *call) learnItem(o owner, status int, h http.Header) {
	if o.asked != nil {
		c.gateway.config.Budgets.Learn(o.asked, status, h)
	}
}
