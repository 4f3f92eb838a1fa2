package connect

import (
	"context"
	"errors"
	"strconv"

	"gatehouse"
	"gatehouse/internal/atrest"
	"gatehouse/internal/audit"
	"gatehouse/internal/vault"
)

// Opened is how far AddTokens came.
type Opened struct {
	// Connections is how many were looked at, Unreadable how many of them hold a
	// token that does not open.
	Connections, Unreadable int
	// Next is where to go on; "" means that all connections were looked at.
	Next gatehouse.ConnectionID
}

// AddTokens opens the tokens of every connection behind after, whatever its
// state, and gives them to a search until that holds limit secrets. They go
// nowhere else, and the search gives nothing back. One intent for each batch is
// durable before it is opened.
func (c *Connections) AddTokens(ctx context.Context, into *atrest.Patterns, after gatehouse.ConnectionID, limit int) (Opened, error) {
	batch := max(1, min(500, limit))
	all := Opened{Next: after}
	for {
		page, err := c.store.Connections(ctx, Filter{WithPending: true, After: all.Next, Limit: batch})
		if err != nil {
			return all, err
		}
		e := audit.Entry{Action: "doctor.at-rest", Facts: map[string]string{"step": "open", "connections": strconv.Itoa(len(page))}}
		unreadable, err := c.openBatch(ctx, e, page, func(g grant) {
			into.Add(atrest.AccessToken, g.access)
			into.Add(atrest.RefreshToken, g.refresh)
		})
		all.Connections += len(page)
		all.Unreadable += unreadable
		if err != nil {
			return all, err
		}
		if len(page) < batch {
			all.Next = ""
			return all, nil
		}
		all.Next = page[len(page)-1].ID
		if into.Len() >= limit {
			return all, nil
		}
	}
}

// openBatch opens the tokens of a page of connections, whatever their state, under
// the intent e, and gives them to take.
func (c *Connections) openBatch(ctx context.Context, e audit.Entry, page []Record, take func(grant)) (unreadable int, err error) {
	if len(page) == 0 {
		return 0, nil
	}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return 0, err
	}
	defer func() {
		end := outcome(e, err)
		end.Facts = map[string]string{"unreadable": strconv.Itoa(unreadable)}
		if step := e.Facts["step"]; step != "" {
			end.Facts["step"] = step
		}
		c.log.Outcome(receipt, end)
	}()
	for _, rec := range page {
		if rec.Access == nil || rec.Status == Erased {
			continue
		}
		g, err := c.openTokens(ctx, receipt, rec)
		switch {
		case errors.Is(err, vault.ErrErased):
			continue // the row is about to say so itself
		case errors.Is(err, gatehouse.ErrUnavailable):
			return unreadable, err
		case err != nil:
			unreadable++
			continue
		}
		take(g)
	}
	return unreadable, nil
}
