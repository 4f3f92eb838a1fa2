package review

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/operator"
)

// A Kind is what a right is.
type Kind string

// The kinds, in the order of a review.
const (
	// Grant is a role of an operator.
	Grant Kind = "grant"
	// Key is a key of a service.
	Key Kind = "key"
	// Handles are a service's handles for one purpose.
	Handles Kind = "handles"
	// Purpose is one that a service may call for.
	Purpose Kind = "purpose"
	// Wide is something that a service may beyond its purposes, such as reading events.
	Wide Kind = "wide"
	// Scope is one that people are asked for, for a purpose.
	Scope Kind = "scope"
	// Party is somebody else who may receive data for a purpose.
	Party Kind = "third-party"
	// Listed is one of an imported list.
	Listed Kind = "listed"
)

var kinds = []Kind{Grant, Key, Handles, Purpose, Wide, Scope, Party, Listed}

// Right is something that somebody may.
type Right struct {
	Kind Kind
	// System is where it is, for one of an imported list; empty for Gatehouse.
	System string
	// Holder is who has it: an account's identifier, a service, a purpose, or an
	// account's name in another system.
	Holder string
	// Name tells it from the holder's others of its kind: a role, a key's id, a purpose,
	// a scope, a host.
	Name string
	// Detail is what else a reviewer wants to know.
	Detail string
	// Created is since when it is there, Used when it was last used; zero if that is
	// not known, or never.
	Created, Used time.Time
	// Flaw is why it should end even if it is used; empty if nothing speaks against it.
	Flaw string
}

// key identifies a right across reviews and lists.
func (r Right) key() [4]string { return [4]string{string(r.Kind), r.System, r.Holder, r.Name} }

// grace is how old a right is before it counts that it was never used: a sixth of the
// time without use.
const grace = 6

// unused says why a right should end, or "".
func (r Right) unused(since, now time.Time) string {
	switch {
	case r.Flaw != "":
		return r.Flaw
	case r.Used.IsZero() && r.Created.After(now.Add(-now.Sub(since)/grace)):
		return ""
	case r.Used.IsZero():
		return "never used"
	case r.Used.Before(since):
		return "not used since " + r.Used.UTC().Format(time.DateOnly)
	}
	return ""
}

// rights lists all there are, in the order of a review, with when each was last used
// since a time, and the imported lists that some of them come from.
func (r *Reviews) rights(ctx context.Context, at, since time.Time) ([]Right, []List, error) {
	grants, err := r.grants(ctx, at, since)
	if err != nil {
		return nil, nil, err
	}
	configured, err := r.config.Configured(ctx, since)
	if err != nil {
		return nil, nil, fmt.Errorf("listing what the configuration gives: %w", err)
	}
	served, err := r.served(ctx, at, configured)
	if err != nil {
		return nil, nil, err
	}
	listed, lists, err := r.listed(ctx)
	if err != nil {
		return nil, nil, err
	}
	all := slices.Concat(grants, configured, served, listed)
	slices.SortStableFunc(all, func(a, b Right) int {
		return cmp.Or(cmp.Compare(slices.Index(kinds, a.Kind), slices.Index(kinds, b.Kind)),
			strings.Compare(a.System, b.System), strings.Compare(a.Holder, b.Holder), strings.Compare(a.Name, b.Name))
	})
	return slices.CompactFunc(all, func(a, b Right) bool { return a.key() == b.key() }), lists, nil
}

// grants are the roles of operators.
func (r *Reviews) grants(ctx context.Context, at, since time.Time) ([]Right, error) {
	accounts, err := r.config.Operators.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	var out []Right
	for _, a := range accounts {
		if a.State == operator.Removed {
			continue
		}
		used, err := r.config.OperatorUsed(ctx, a.ID, since)
		if err != nil {
			return nil, fmt.Errorf("looking for what an operator did: %w", err)
		}
		if used.IsZero() && a.LastSeen.Before(since) {
			used = a.LastSeen // the log was not searched so far back
		}
		for _, g := range a.Grants {
			if !g.Until.IsZero() && !at.Before(g.Until) {
				continue
			}
			right := Right{Kind: Grant, Holder: string(a.ID), Name: string(g.Role), Created: a.Created, Used: used, Detail: "no end"}
			if !g.Until.IsZero() {
				right.Detail = "until " + g.Until.UTC().Format(time.DateOnly)
			}
			switch a.State {
			case operator.Suspended:
				right.Flaw = "the account is suspended"
			case operator.Invited:
				right.Detail += ", invited"
			}
			if err := r.roleUsed(ctx, a, g, at, since, &right); err != nil {
				return nil, err
			}
			out = append(out, right)
		}
	}
	return out, nil
}

// guarded reports whether a right is a role that decides approvals: taking it away
// takes two people, or time.
func (r Right) guarded() bool {
	return r.Kind == Grant && slices.Contains(operator.Role(r.Name).Permissions(), operator.ApprovalsDecide)
}

// served are the keys and handles of services. A handle was used when it was, or when
// its service last used the purpose: uses of handles were not always counted.
func (r *Reviews) served(ctx context.Context, at time.Time, configured []Right) ([]Right, error) {
	used := map[[2]string]time.Time{}
	several := map[string]int{}
	for _, c := range configured {
		if c.Kind == Purpose {
			used[[2]string{c.Holder, c.Name}] = c.Used
			several[c.Holder]++
		}
	}
	services, err := r.config.Services.Services(ctx)
	if err != nil {
		return nil, err
	}
	var out []Right
	for _, s := range services {
		if s.Disabled {
			continue
		}
		keys, err := r.config.Services.ServiceKeys(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if k.Live(at) {
				out = append(out, keyRight(k, several[string(s.Name)]))
			}
		}
		handles, err := r.handlesOf(ctx, s.Name)
		if err != nil {
			return nil, err
		}
		for purpose, list := range handles {
			right := Right{Kind: Handles, Holder: string(s.Name), Name: string(purpose), Used: used[[2]string{string(s.Name), string(purpose)}]}
			uses, err := r.config.Services.Uses(ctx, list)
			if err != nil {
				return nil, fmt.Errorf("reading how handles were used: %w", err)
			}
			var last time.Time
			for _, h := range list {
				if used := uses[h.ID].Last; used.After(right.Used) {
					right.Used = used
				}
				if right.Created.IsZero() || h.Created.Before(right.Created) {
					right.Created = h.Created
				}
				if h.Expires.After(last) {
					last = h.Expires
				}
			}
			right.Detail = fmt.Sprintf("%d, the last until %s", len(list), last.UTC().Format(time.DateOnly))
			out = append(out, right)
		}
	}
	return out, nil
}

func keyRight(k identity.ServiceKey, purposes int) Right {
	right := Right{Kind: Key, Holder: string(k.Service), Name: string(k.ID), Created: k.Created, Used: k.Used.At}
	switch k.Purpose {
	case "":
		right.Detail = "for every purpose"
		if purposes > 1 {
			right.Detail += " (wider than needed: make one for each)"
		}
	case identity.NoPurpose:
		right.Detail = "for no purpose"
	default:
		right.Detail = "for " + string(k.Purpose)
	}
	if k.Expires.IsZero() {
		right.Detail += ", no end"
	} else {
		right.Detail += ", until " + k.Expires.UTC().Format(time.DateOnly)
	}
	if k.Used.From.IsValid() {
		right.Detail += ", last from " + k.Used.From.String()
	}
	return right
}

// handlesOf returns a service's valid handles by their purpose.
func (r *Reviews) handlesOf(ctx context.Context, name gatehouse.ServiceName) (map[gatehouse.PurposeName][]identity.Handle, error) {
	list, err := r.config.Services.Handles(ctx, identity.Filter{Service: name, Limit: 1 << 30})
	if err != nil {
		return nil, err
	}
	out := map[gatehouse.PurposeName][]identity.Handle{}
	for _, h := range list {
		out[h.Purpose] = append(out[h.Purpose], h)
	}
	return out, nil
}

// listed are the rights of imported lists, and those lists.
func (r *Reviews) listed(ctx context.Context) ([]Right, []List, error) {
	lists, err := r.Lists(ctx)
	if err != nil {
		return nil, nil, err
	}
	// One that is imported meanwhile would be half in it.
	for range 5 {
		out, err := r.listedIn(ctx, lists)
		if err != nil {
			return nil, nil, err
		}
		again, err := r.Lists(ctx)
		if err != nil {
			return nil, nil, err
		}
		if slices.Equal(lists, again) {
			return out, lists, nil
		}
		lists = again
	}
	return nil, nil, fmt.Errorf("lists are imported again and again while they are read: %w", gatehouse.ErrConflict)
}

func (r *Reviews) listedIn(ctx context.Context, lists []List) ([]Right, error) {
	var out []Right
	for _, l := range lists {
		access, err := r.config.Store.Access(ctx, l.System)
		if err != nil {
			return nil, fmt.Errorf("reading an imported list: %w", err)
		}
		for _, a := range access {
			right := Right{Kind: Listed, System: l.System, Holder: a.Account, Name: a.Role, Used: a.Used, Detail: "as of " + l.At.UTC().Format(time.DateOnly)}
			if a.Used.IsZero() && !l.HasUse {
				// The system does not say when it was used: that proposes nothing.
				right.Created = r.now()
				right.Detail += ", use unknown"
			}
			out = append(out, right)
		}
	}
	return out, nil
}
