package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Renewer makes a connection's access token fresh. When it returns nil, the
// token in the store is durable and not due. It must not lose a token, whatever
// happens, and must not depend on how long its caller waits.
type Renewer interface {
	Renew(ctx context.Context, id gatehouse.ConnectionID) error
}

// renewal is the Renewer of one process: one flight for each connection, an
// intent before the platform is asked, the old tokens kept until the new ones
// are durable. Between processes the row decides. Its version is the fencing
// number: whoever changes it from what he read owns the connection until the
// lease passes, and every later write of an owner demands the version that he
// left. A read may be a few milliseconds old (see the store's cache): what
// follows from it is only ever done by such a write, so that a stale read ends
// in a conflict and another look, never in a verdict.
type renewal struct{ c *Connections }

func (w *renewal) Renew(ctx context.Context, id gatehouse.ConnectionID) error {
	flight := w.c.flights.DoChan(string(id), func() (any, error) {
		// What the platform has changed must be saved even if the caller that
		// happened to come first hangs up.
		return nil, w.renew(context.WithoutCancel(ctx), id)
	})
	select {
	case done := <-flight:
		return done.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// step marks a place between two writes, or between a write and a call of the
// platform: tests end the process there.
func (w *renewal) step(name string) {
	if w.c.testOnlyStep != nil {
		w.c.testOnlyStep(name)
	}
}

// renew takes the connection and renews it, or waits for whoever has it.
func (w *renewal) renew(ctx context.Context, id gatehouse.ConnectionID) error {
	b, until := w.c.bounds, time.Now().Add(w.c.bounds.wait)
	for {
		rec, err := w.c.store.Connection(ctx, id)
		if err != nil {
			return err
		}
		now := w.c.now(rec.App)
		switch {
		case !rec.Status.Usable():
			return unusable(rec)
		case !rec.due(now) && !rec.expired(now):
			return nil
		case rec.Status == Renewing && now.Before(rec.LeaseUntil):
			if !time.Now().Before(until) {
				return wire.WithRetryAfter(wire.GatewayTimeout("connect/renewal-busy", "Another process is renewing this connection and has not finished.", nil), b.impatience)
			}
			time.Sleep(b.poll)
			continue
		case rec.Status == Renewing && singleUse(rec.Platform) && !rec.expired(now):
			// Its owner is gone, and may have spent the refresh token. While the
			// access token is good, nothing is risked to find out.
			err = w.doubt(ctx, rec, "the process that was renewing it ended before the platform's answer was kept")
		case !rec.due(now) && w.early(rec):
			return wire.WithRetryAfter(wire.BadGateway("connect/renewal-failed", "The platform did not renew this connection's token; it is tried again shortly.", nil), b.pause(rec.Failures))
		case now.Before(rec.notBefore()) && !rec.expired(now):
			rec.RenewAt = rec.notBefore()
			err = conflictIsTaken(w.c.store.SaveConnections(ctx, rec))
		default:
			err = w.take(ctx, rec)
		}
		if !errors.Is(err, errTaken) {
			return err
		}
	}
}

// early reports whether the last attempt is so recent that callers must wait
// before there is another. A clock set back must not make them wait for ever.
func (w *renewal) early(rec Record) bool {
	since := time.Since(rec.Updated)
	return rec.Failures > 0 && since >= 0 && since < w.c.bounds.pause(rec.Failures)
}

// errTaken means that another owner was faster, or that the row has changed in
// some other way: what follows from it must be looked at again.
var errTaken = fmt.Errorf("the connection was taken by another owner: %w", gatehouse.ErrConflict)

// errHeldUp ends a renewal whose owner lost too much time to begin it.
var errHeldUp = wire.BadGateway("connect/held-up", "The renewal of this connection's token was held up; it is tried again shortly.", nil)

func conflictIsTaken(err error) error {
	if errors.Is(err, gatehouse.ErrConflict) {
		return errTaken
	}
	return err
}

// take becomes the owner of the renewal and carries it out.
func (w *renewal) take(ctx context.Context, rec Record) error {
	c := w.c
	c.flying.RLock()
	defer c.flying.RUnlock()
	a, err := c.app(rec.App)
	if err != nil {
		return err
	}
	w.step("begin")
	receipt, err := c.log.Intent(ctx, c.entry("connect.refresh", rec))
	if err != nil {
		return err
	}
	w.step("logged")
	err = w.owned(ctx, receipt, a, rec)
	if err != nil && !errors.Is(err, errTaken) {
		err = fmt.Errorf("renewing: %w", err)
	}
	w.step("settled")
	c.log.Outcome(receipt, outcome(c.entry("connect.refresh", rec), err))
	return err
}

func (w *renewal) owned(ctx context.Context, receipt audit.Receipt, a App, rec Record) error {
	c := w.c
	doubtful := rec.Status == InDoubt || rec.Status == Renewing
	now, sure := c.clockOf(a.Name).now()
	if sure && rec.expired(now) && exchangeOnly(a.Platform) {
		// These platforms do not renew what has expired. Only a clock that the
		// platform itself has confirmed may say so.
		if err := w.settle(ctx, rec, ReconnectNeeded, causeExpired, "its time passed before it could be renewed"); err != nil {
			return err
		}
		rec.Status = ReconnectNeeded
		return unusable(rec)
	}
	// The intent: durable, with a new fencing number, and the old pair stays.
	asking, cancel := context.WithTimeout(ctx, c.bounds.ask)
	defer cancel()
	taken := time.Now().Round(0)
	rec.Status, rec.LeaseUntil = Renewing, now.Add(c.bounds.lease)
	if err := c.store.SaveConnections(ctx, rec); err != nil {
		return conflictIsTaken(err)
	}
	rec.Version++
	w.step("taken")
	old, err := c.openTokens(ctx, receipt, rec)
	if err != nil {
		return errors.Join(err, w.fail(ctx, rec, doubtful, "its tokens could not be opened"))
	}
	// An owner that was held up (a stopped process, a slow disk) might find that
	// another has taken over: nothing is sent so late that its answer could
	// come when the lease has passed. The monotonic clock of asking does not
	// count the time in which the machine sleeps; the other one may be set.
	if asking.Err() != nil || time.Now().Round(0).Sub(taken) > c.bounds.ask {
		return errors.Join(errHeldUp, w.fail(ctx, rec, doubtful, "it was held up before the platform was asked"))
	}
	w.step("asking")
	fresh, err := c.provider(a).renew(asking, old)
	w.step("answered")
	switch {
	case err == nil:
		return w.save(ctx, a, rec, fresh)
	case dead(err):
		reason := "the platform no longer accepts the grant (" + ruleOf(err) + ")"
		if doubtful {
			reason += "; an earlier renewal's answer never became durable"
		}
		return errors.Join(err, w.settle(ctx, rec, ReconnectNeeded, causeIn(ReconnectNeeded, refusal(err).cause), reason))
	case unprocessed(err) || unsent(err):
		return errors.Join(err, w.fail(ctx, rec, doubtful, "the last renewal did not succeed ("+ruleOf(err)+")"))
	default:
		// The request may have had its effect. The old tokens stay; what the
		// platform's rules allow decides when they are tried again.
		return errors.Join(err, w.doubt(ctx, rec, "a renewal was sent and its answer did not arrive ("+ruleOf(err)+")"))
	}
}

// save makes the new tokens durable, whatever else happened to the row
// meanwhile: at this moment they exist nowhere else. Nobody uses them before.
func (w *renewal) save(ctx context.Context, a App, rec Record, fresh grant) error {
	ctx, cancel := context.WithTimeout(ctx, w.c.bounds.save)
	defer cancel()
	base := rec
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		next, err := w.fresh(ctx, a, base, fresh)
		if err == nil {
			w.step("sealed")
			err = w.c.store.SaveConnections(ctx, next)
		}
		if err == nil {
			w.step("saved")
			return nil
		}
		if errors.Is(err, gatehouse.ErrConflict) {
			current, again := w.c.store.Connection(ctx, rec.ID)
			if again == nil && current.Status != Revoked && current.Status != Erased && !bytes.Equal(current.Access, rec.Access) {
				return nil // the person connected again: that grant is the newer one
			}
			if again == nil {
				base = current
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

// fresh is a row with new tokens in the place of the old ones.
func (w *renewal) fresh(ctx context.Context, a App, base Record, g grant) (Record, error) {
	next := base
	if err := w.c.sealTokens(ctx, &next, g); err != nil {
		return Record{}, err
	}
	next.LeaseUntil, next.Updated = time.Time{}, time.Now()
	if len(g.scopes) > 0 {
		next.Scopes = g.scopes
	}
	if base.Status == Revoked || base.Status == Erased {
		// While we asked. The fresh pair is what must be given back now, even if
		// the platform confirmed that the old one is gone.
		next.RevokeOutstanding, next.RenewAt = true, time.Time{}
		return next, nil
	}
	next.healthy()
	next.RenewAt = renewAt(next, w.c.now(a.Name), g)
	return next, nil
}

// fail ends a renewal that changed nothing at the platform. A doubt that an
// earlier one left stays.
func (w *renewal) fail(ctx context.Context, rec Record, doubtful bool, reason string) error {
	if doubtful {
		return w.doubt(ctx, rec, "an earlier renewal's answer never became durable; "+reason)
	}
	rec.Failures++
	rec.RenewAt = w.c.bounds.again(w.c.now(rec.App), rec.Failures)
	return w.settle(ctx, rec, Healthy, causeIn(Healthy, rec.Cause), reason)
}

// doubt ends a renewal of which nobody knows whether the platform carried it
// out. Where refresh tokens work once, trying the old one may cost the access
// token that still works (a platform may end everything that grew from a token
// used twice): it waits until that has expired.
func (w *renewal) doubt(ctx context.Context, rec Record, reason string) error {
	now := w.c.now(rec.App)
	rec.Failures++
	rec.RenewAt = w.c.bounds.again(now, rec.Failures)
	if singleUse(rec.Platform) && rec.AccessExpires.After(rec.RenewAt) {
		rec.RenewAt = rec.AccessExpires
	}
	return w.settle(ctx, rec, InDoubt, "", reason)
}

// settle ends a renewal that brought no new tokens. It demands the row as this
// owner left it; if it has changed, what stands there is newer, and the verdict
// is not believed.
func (w *renewal) settle(ctx context.Context, rec Record, s Status, cause Cause, reason string) error {
	rec.become(s, cause, reason)
	rec.LeaseUntil = time.Time{}
	if !s.Usable() {
		rec.RenewAt = time.Time{}
	}
	return conflictIsTaken(w.c.store.SaveConnections(ctx, rec))
}
