package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
)

// Renewer makes a connection's access token fresh. When it returns nil, the
// token in the store is durable and not due. It must not lose a token, whatever
// happens, and must not depend on how long its caller waits.
type Renewer interface {
	Renew(ctx context.Context, id gatehouse.ConnectionID) error
}

const (
	// leaseLife bounds a renewal: it is longer than any platform call, so that
	// a lease that has passed means that its owner is gone.
	leaseLife = 2 * platformTimeout
	// backoff is how long after an unsuccessful renewal the next one is due.
	backoff = 30 * time.Second
	// impatience is the shortest pause between attempts while callers wait for
	// an expired token.
	impatience = 2 * time.Second
)

// renewAt says when a fresh token should be replaced: early enough that no call
// waits for it, spread so that tokens made together are not renewed together.
func renewAt(p gatehouse.Platform, now time.Time, g grant) time.Time {
	if g.expires.IsZero() {
		return time.Time{}
	}
	life := g.expires.Sub(now)
	var lead time.Duration
	switch p {
	case gatehouse.X, gatehouse.OAuth2:
		if g.refresh.IsZero() {
			return time.Time{}
		}
		lead = min(life/4, 15*time.Minute)
	case gatehouse.Facebook:
		lead = life / 6
	default:
		// Instagram and Threads refuse a refresh before 24 hours and after
		// expiry; the middle of the life is far from both.
		lead = life / 2
	}
	jitter := time.Duration(rand.Int64N(int64(lead/4) + 1))
	return g.expires.Add(-lead - jitter)
}

// due reports whether the record's token should be replaced now.
func (r Record) due(now time.Time) bool { return !r.RenewAt.IsZero() && !now.Before(r.RenewAt) }

// expired reports whether the platform has ceased to accept the token.
func (r Record) expired(now time.Time) bool {
	return !r.AccessExpires.IsZero() && !now.Before(r.AccessExpires)
}

// renewal is the Renewer of one process: one flight for each connection, an
// intent before the platform is asked, the old tokens kept until the new ones
// are durable. Compare-and-swap on the row and a lease keep a second process
// from doing the same at the same time.
type renewal struct{ c *Connections }

func (w *renewal) Renew(ctx context.Context, id gatehouse.ConnectionID) error {
	flight := w.c.flights.DoChan(string(id), func() (any, error) {
		w.c.flying.RLock()
		defer w.c.flying.RUnlock()
		// What the platform has changed must be saved even if the caller that
		// happened to come first hangs up.
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseLife)
		defer cancel()
		return nil, w.renew(detached, id)
	})
	select {
	case done := <-flight:
		return done.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// renew takes the connection and renews it, or waits for whoever has it.
func (w *renewal) renew(ctx context.Context, id gatehouse.ConnectionID) error {
	for {
		rec, err := w.c.store.Connection(ctx, id)
		if err != nil {
			return err
		}
		now := time.Now()
		if !rec.Status.Usable() {
			return unusable(rec)
		}
		if !rec.due(now) && !rec.expired(now) {
			return nil
		}
		if rec.Status == Renewing && now.Before(rec.LeaseUntil) {
			select {
			case <-ctx.Done():
				return wire.GatewayTimeout("connect/renewal-busy", "Another process is renewing this connection and has not finished.", nil)
			case <-time.After(50 * time.Millisecond):
				continue
			}
		}
		if !rec.due(now) && now.Sub(rec.Updated) < impatience {
			return wire.WithRetryAfter(wire.BadGateway("connect/renewal-failed", "The platform did not renew this connection's token; it is tried again shortly.", nil), impatience)
		}
		err = w.take(ctx, rec)
		if !errors.Is(err, errTaken) {
			return err
		}
	}
}

// errTaken means that another owner was faster.
var errTaken = fmt.Errorf("the connection was taken by another owner: %w", gatehouse.ErrConflict)

// take becomes the owner of the renewal and carries it out.
func (w *renewal) take(ctx context.Context, rec Record) error {
	c := w.c
	a, err := c.app(rec.App)
	if err != nil {
		return err
	}
	receipt, err := c.log.Intent(ctx, c.entry("connect.refresh", rec))
	if err != nil {
		return err
	}
	err = w.owned(ctx, receipt, a, rec)
	if err != nil && !errors.Is(err, errTaken) {
		err = fmt.Errorf("renewing: %w", err)
	}
	c.log.Outcome(receipt, outcome(c.entry("connect.refresh", rec), err))
	return err
}

func (w *renewal) owned(ctx context.Context, receipt audit.Receipt, a App, rec Record) error {
	c := w.c
	rec.Status, rec.LeaseUntil = Renewing, time.Now().Add(leaseLife)
	if err := c.store.SaveConnections(ctx, rec); err != nil {
		if errors.Is(err, gatehouse.ErrConflict) {
			return errTaken
		}
		return err
	}
	rec.Version++
	old, err := c.openTokens(ctx, receipt, rec)
	if err != nil {
		return errors.Join(err, w.settle(ctx, rec, Healthy, "its tokens could not be opened", true))
	}
	asking, cancel := context.WithTimeout(ctx, platformTimeout)
	fresh, err := c.provider(a).renew(asking, old)
	cancel()
	switch {
	case err == nil:
		return w.save(ctx, a, rec, fresh)
	case dead(err) || (rec.expired(time.Now()) && exchangeOnly(a.Platform) && answered(err)):
		return errors.Join(err, w.settle(ctx, rec, ReconnectNeeded, "the platform no longer accepts the grant ("+ruleOf(err)+")", false))
	case answered(err) || unsent(err):
		return errors.Join(err, w.settle(ctx, rec, Healthy, "the last renewal did not succeed ("+ruleOf(err)+")", true))
	default:
		// The request may have had its effect. The old token stays; the next
		// attempt learns from the platform which of the two is true.
		return errors.Join(err, w.settle(ctx, rec, InDoubt, "a renewal was sent and its answer did not arrive ("+ruleOf(err)+")", true))
	}
}

// exchangeOnly reports whether a platform renews a token only while it lives.
func exchangeOnly(p gatehouse.Platform) bool {
	return p == gatehouse.Facebook || p == gatehouse.Instagram || p == gatehouse.Threads
}

// unsent reports whether err shows that the platform never saw the request.
func unsent(err error) bool {
	switch wire.RuleOf(err) {
	case "upstream/resolve", "upstream/tls":
		return true
	}
	return false
}

// save makes the new tokens durable, whatever else happened to the row
// meanwhile: at this moment they exist nowhere else.
func (w *renewal) save(ctx context.Context, a App, rec Record, fresh grant) error {
	c := w.c
	next, now := rec, time.Now()
	if err := c.sealTokens(ctx, &next, fresh); err != nil {
		return err
	}
	next.RenewAt, next.Updated = renewAt(a.Platform, now, fresh), now
	next.Status, next.Reason, next.LeaseUntil = Healthy, "", time.Time{}
	if len(fresh.scopes) > 0 {
		next.Scopes = fresh.scopes
	}
	var err error
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err = c.store.SaveConnections(ctx, next); err == nil {
			return nil
		}
		if errors.Is(err, gatehouse.ErrConflict) {
			current, again := c.store.Connection(ctx, rec.ID)
			if again == nil {
				cutOff := current.Status == Revoked || current.Status == Erased
				if !cutOff && !bytes.Equal(current.Access, rec.Access) {
					return nil // the person connected again: that grant is the newer one
				}
				next.Version = current.Version
				if cutOff {
					// While we asked. The fresh pair is what must be given back
					// now, even if the platform confirmed that the old one is gone.
					next.Status, next.Reason, next.RevokeOutstanding = current.Status, current.Reason, true
					next.RenewAt = time.Time{}
				}
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// settle ends a renewal that brought no new tokens. If the row has changed
// hands meanwhile, what stands there is newer and stays.
func (w *renewal) settle(ctx context.Context, rec Record, s Status, reason string, again bool) error {
	now := time.Now()
	rec.Status, rec.Reason, rec.LeaseUntil, rec.Updated = s, reason, time.Time{}, now
	rec.RenewAt = time.Time{}
	if again {
		rec.RenewAt = now.Add(backoff + time.Duration(rand.Int64N(int64(backoff/4))))
	}
	err := w.c.store.SaveConnections(ctx, rec)
	if errors.Is(err, gatehouse.ErrConflict) {
		return nil
	}
	return err
}

// Run does what is due by the clock until ctx ends: it renews tokens before
// they expire, gives back grants that nobody redeemed, asks platforms again to
// confirm revocations, and forgets old attempts. It returns when no renewal is
// under way any more.
func (c *Connections) Run(ctx context.Context) error {
	defer func() {
		c.flying.Lock()
		c.flying.Unlock() //nolint:staticcheck // an empty critical section: having waited is the point
	}()
	for round := 0; ; round++ {
		err := c.Tend(ctx)
		if round%60 == 0 {
			err = errors.Join(err, c.store.SweepAttempts(ctx, time.Now().Add(-24*time.Hour)))
		}
		if err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "background work on connections", slog.String("error", wire.LogText(err)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// tendBatch bounds how many connections one round handles, tendAtOnce how many
// platforms' answers it waits for at the same time.
const (
	tendBatch  = 64
	tendAtOnce = 8
)

// Tend does one round of what Run does.
func (c *Connections) Tend(ctx context.Context) error {
	now := time.Now()
	records, err := c.store.Due(ctx, now, now.Add(-attemptLife-codeLife), tendBatch)
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.SetLimit(tendAtOnce)
	for _, rec := range records {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			// One connection's failure is in its own row and in the log; the
			// round goes on with the others.
			if err := c.tend(ctx, rec); err != nil {
				c.logger.InfoContext(ctx, "connection not settled", slog.String("app", string(rec.App)), slog.String("rule", ruleOf(err)))
			}
			return nil
		})
	}
	return group.Wait()
}

func (c *Connections) tend(ctx context.Context, rec Record) error {
	_, configured := c.apps[rec.App]
	switch {
	case !configured && rec.Status != Pending:
		// Nothing can be asked of a platform for an app that has left the
		// configuration; it may come back.
		rec.RenewAt = time.Now().Add(time.Hour)
		return c.store.SaveConnections(ctx, rec)
	case rec.RevokeOutstanding:
		return c.giveBack(ctx, rec)
	case rec.Status == Pending:
		rec.Status, rec.Reason, rec.RevokeOutstanding = Revoked, "the app did not redeem it in time", true
		rec.RenewAt, rec.Updated = time.Time{}, time.Now()
		return c.store.SaveConnections(ctx, rec)
	default:
		return c.renewer.Renew(ctx, rec.ID)
	}
}
