package connect

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
)

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
		rec.Status, rec.Reason, rec.RevokeOutstanding = Revoked, "the app did not redeem it in time", true
		rec.RenewAt, rec.Updated = time.Time{}, time.Now()
		return c.store.SaveConnections(ctx, rec)
	default:
		return c.renewer.Renew(ctx, rec.ID)
	}
}
