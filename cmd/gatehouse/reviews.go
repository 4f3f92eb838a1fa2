package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/observe"
	"gatehouse/internal/outbox"
)

// openReviews binds access reviews to the other parts.
func (p *parts) openReviews() (err error) {
	c := p.cfg.Reviews.WithDefaults()
	reviewers := make([]operator.Role, len(c.Reviewers))
	for i, role := range c.Reviewers {
		reviewers[i] = operator.Role(role)
	}
	checkpoints := audit.NewSource(p.db.AuditLog(p.own.Number))
	p.reviews, err = review.New(review.Config{
		Store: p.db.Reviews(), Log: p.log, Operators: p.operators, Services: p.identity, Environment: p.cfg.Environment, Signer: p.signer,
		Checkpoint: func(ctx context.Context) (string, error) {
			b, err := checkpoints(ctx, audit.CheckpointPath)
			return string(b), err
		},
		OperatorUsed: p.operatorUsed, RoleUsed: p.roleUsed, Configured: p.configuredRights, Tell: p.tellReview,
		Every: c.Every, Due: c.Due, Shortest: c.Shortest, Unused: c.Unused, Reviewers: reviewers, Logger: p.logger,
	})
	return err
}

// operatorUsed returns when the log says that an operator did something, or signed
// in, since a time.
func (p *parts) operatorUsed(ctx context.Context, id operator.AccountID, since time.Time) (time.Time, error) {
	s, err := searchLogs(ctx, p.db, nil)
	if err != nil {
		return time.Time{}, err
	}
	return newestEntry(ctx, s, audit.Query{Facts: map[string]string{"operator": string(id)}, Since: since})
}

// configuredRights are the rights that the configuration in force gives, with their
// last use since a time.
func (p *parts) configuredRights(ctx context.Context, since time.Time) ([]review.Right, error) {
	cfg := p.inForce.Load().cfg
	var out []review.Right
	newest := func(audit.Query) (time.Time, error) { return time.Time{}, nil }
	sent := map[string]time.Time{}
	if !since.IsZero() {
		s, err := searchLogs(ctx, p.db, nil)
		if err != nil {
			return nil, err
		}
		newest = func(q audit.Query) (time.Time, error) {
			q.Since = since
			return newestEntry(ctx, s, q)
		}
		hosts := make([]string, 0, len(cfg.ThirdParty))
		for host := range cfg.ThirdParty {
			hosts = append(hosts, host)
		}
		if sent, err = lastSent(ctx, p.db, hosts, since); err != nil {
			return nil, err
		}
	}
	for name, s := range cfg.Services {
		for _, purpose := range s.Purposes {
			used, err := newest(audit.Query{Service: name, Purpose: purpose, Kind: audit.KindIntent})
			if err != nil {
				return nil, err
			}
			out = append(out, review.Right{Kind: review.Purpose, Holder: string(name), Name: string(purpose), Used: used, Detail: cfg.Purposes[purpose].Why})
		}
	}
	for _, wide := range []struct {
		name, action, detail string
		services             []gatehouse.ServiceName
	}{
		{"events.services", "event.fetch", "reads every event", cfg.Events.Services},
		{"lineage.services", "lineage.ask", "asks about everybody's data", cfg.Lineage.Services},
		{"audit.readers", "audit.search", "reads the log", cfg.Audit.Readers},
	} {
		for _, service := range wide.services {
			used, err := newest(audit.Query{Service: service, Action: wide.action})
			if err != nil {
				return nil, err
			}
			right := review.Right{Kind: review.Wide, Holder: string(service), Name: wide.name, Used: used, Detail: wide.detail}
			if wide.name == "audit.readers" && used.IsZero() {
				// Reading tiles is not recorded: that proposes nothing.
				right.Created, right.Detail = time.Now(), right.Detail+", use is not recorded"
			}
			out = append(out, right)
		}
	}
	unused, err := p.unusedScopes(ctx, cfg, since)
	if err != nil {
		return nil, err
	}
	for name, purpose := range cfg.Purposes {
		for _, scope := range purpose.Scopes {
			right := review.Right{Kind: review.Scope, Holder: string(name), Name: scope, Detail: "asked of people for app " + string(purpose.App)}
			if why := unused[[2]string{string(name), scope}]; why != "" {
				right.Flaw = why
			} else {
				right.Created = time.Now() // whether it is needed is judged, not when
			}
			out = append(out, right)
		}
	}
	for host, party := range cfg.ThirdParty {
		for _, purpose := range party.Purposes {
			right := review.Right{Kind: review.Party, Holder: host, Name: string(purpose), Used: sent[host], Detail: "may receive nothing of people"}
			if len(party.MayReceive) > 0 {
				right.Detail = "may receive " + join(party.MayReceive)
			}
			out = append(out, right)
		}
	}
	return out, nil
}

// unusedScopes says of purposes' scopes why no call needed them.
func (p *parts) unusedScopes(ctx context.Context, cfg *config.Config, since time.Time) (map[[2]string]string, error) {
	out := map[[2]string]string{}
	if since.IsZero() {
		return out, nil
	}
	declared, err := declaredIn(cfg)
	if err != nil {
		return nil, err
	}
	seen, err := observe.Load(ctx, p.db.Observe(), since, "")
	if errors.Is(err, gatehouse.ErrNotFound) {
		return out, nil // nothing was observed yet, which says nothing
	}
	if err != nil {
		return nil, fmt.Errorf("reading what was observed: %w", err)
	}
	for _, f := range observe.FindUnused(seen, declared) {
		if f.Kind == observe.UnusedScope {
			out[[2]string{string(f.Purpose), f.Name}] = f.Text
		}
	}
	return out, nil
}

// tellReview tells the app that a review waits.
func (p *parts) tellReview(ctx context.Context, r review.Reminder) error {
	return p.tell(ctx, outbox.Event{ID: fmt.Sprintf("review-%s-%d", r.Review.ID, r.Number), Type: "review.due", Stream: "review-" + string(r.Review.ID)}, struct {
		Review    review.ID `json:"review"`
		Begun     time.Time `json:"begun_at"`
		Due       time.Time `json:"due_at"`
		Rights    int       `json:"rights"`
		Undecided int       `json:"undecided"`
		Proposed  int       `json:"proposed_for_removal"`
		Next      string    `json:"next_step"`
	}{r.Review.ID, r.Review.Begun, r.Review.Due, r.Review.Counts.Items, r.Review.Counts.Undecided, r.Review.Counts.Proposed, "gatehouse account review show " + string(r.Review.ID)})
}
