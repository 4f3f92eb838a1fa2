package main

import (
	"context"
	"maps"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
)

// roleUsed returns when the log says that an operator used one of some permissions, and
// when they were given a role, since a time. A role that a provider's group gives is given
// anew at each sign-in, which is no reason to look at it as a new one.
func (p *parts) roleUsed(ctx context.Context, id operator.AccountID, g operator.Grant, of []operator.Permission, since time.Time) (used, given time.Time, err error) {
	s, err := searchLogs(ctx, p.db, nil)
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	newest := func(to *time.Time, action string, facts map[string]string) error {
		q := audit.Query{Action: action, Facts: facts, Since: since}
		if !to.IsZero() {
			q.Since = *to
		}
		at, err := newestEntry(ctx, s, q)
		if at.After(*to) {
			*to = at
		}
		return err
	}
	for _, permission := range of {
		for _, trace := range permission.Traces() {
			facts := map[string]string{"operator": string(id)}
			maps.Copy(facts, trace.Facts)
			if err := newest(&used, trace.Action, facts); err != nil {
				return time.Time{}, time.Time{}, err
			}
		}
	}
	if g.Provider {
		return used, given, nil
	}
	for _, giving := range []struct {
		action string
		facts  map[string]string
	}{
		{"operator.grant", map[string]string{"account": string(id), "role": string(g.Role)}},
		{"operator.hand-over", map[string]string{"to": string(id)}},
	} {
		if err := newest(&given, giving.action, giving.facts); err != nil {
			return time.Time{}, time.Time{}, err
		}
	}
	return used, given, nil
}
