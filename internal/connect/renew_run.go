package connect

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
)

// Run does what is due by the clock until ctx ends: it renews tokens before they
// expire, has platforms say once a day which are still good, tells the app what
// has changed, gives back grants that nobody redeemed, asks platforms again to
// confirm revocations, and forgets old attempts. It returns when nothing of that
// is under way any more.
func (c *Connections) Run(ctx context.Context) error {
	defer func() {
		c.flying.Lock()
		c.flying.Unlock() //nolint:staticcheck // an empty critical section: having waited is the point
	}()
	// Each at its own pace: a platform that answers no check must keep neither
	// another's renewals nor the app waiting.
	var duties errgroup.Group
	for _, duty := range []func(context.Context) error{c.renewDue, c.checkDue, c.tell, c.recordClocks, c.sweep} {
		duties.Go(func() error {
			c.pace(ctx, duty)
			return nil
		})
	}
	return duties.Wait()
}

// pace does one duty again and again until ctx ends.
func (c *Connections) pace(ctx context.Context, duty func(context.Context) error) {
	for {
		if err := duty(ctx); err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "background work on connections", slog.String("error", wire.LogText(err)))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// sweep forgets old attempts, once a minute.
func (c *Connections) sweep(ctx context.Context) error {
	err := c.store.SweepAttempts(ctx, time.Now().Add(-24*time.Hour))
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
	}
	return err
}

// tendBatch bounds how many connections one round handles, tendAtOnce how many
// platforms' answers it waits for at the same time.
const (
	tendBatch  = 64
	tendAtOnce = 8
)

// Tend does one round of what Run does, but for old attempts.
func (c *Connections) Tend(ctx context.Context) error {
	return errors.Join(c.renewDue(ctx), c.checkDue(ctx), c.tell(ctx), c.recordClocks(ctx))
}

// renewDue does one round of renewals and revocations.
func (c *Connections) renewDue(ctx context.Context) error {
	now := c.latest()
	records, err := c.store.Due(ctx, now, time.Now().Add(-attemptLife-codeLife), tendBatch)
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
		rec.RenewAt = c.latest().Add(time.Hour)
		return c.store.SaveConnections(ctx, rec)
	case rec.RevokeOutstanding:
		return c.giveBack(ctx, rec)
	case rec.Status == Pending:
		rec.become(Revoked, "", "the app did not redeem it in time")
		rec.RevokeOutstanding, rec.RenewAt = true, time.Time{}
		return c.store.SaveConnections(ctx, rec)
	default:
		return c.renewer.Renew(ctx, rec.ID)
	}
}
