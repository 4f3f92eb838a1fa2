package review

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gatehouse/internal/identity/operator"
)

// roleUsed says of a role of an operator when it was used: when they did something that
// this role of theirs allows and no other one. A role that only lets read is used when they
// do anything, such as signing in, since reading is not recorded.
func (r *Reviews) roleUsed(ctx context.Context, a operator.Account, g operator.Grant, at, since time.Time, right *Right) error {
	if r.config.RoleUsed == nil || right.Flaw != "" {
		return nil
	}
	a.Grants = slices.DeleteFunc(slices.Clone(a.Grants), func(g operator.Grant) bool { return !g.Until.IsZero() && !at.Before(g.Until) })
	own := a.Own(g)
	if len(own) == 0 {
		right.Flaw = "gives nothing that the operator's other roles do not"
		return nil
	}
	recorded := slices.DeleteFunc(own, func(p operator.Permission) bool { return len(p.Traces()) == 0 })
	if len(recorded) == 0 {
		return nil
	}
	used, given, err := r.config.RoleUsed(ctx, a.ID, g, recorded, since)
	if err != nil {
		return fmt.Errorf("looking for what an operator did: %w", err)
	}
	if given.After(right.Created) {
		right.Created = given
	}
	if used.IsZero() && right.Used.Before(since) {
		return nil // nothing at all was done: there is a time for that
	}
	right.Used = used
	if used.IsZero() && right.Created.Before(since) {
		right.Flaw = "not used since " + since.UTC().Format(time.DateOnly)
	}
	return nil
}
