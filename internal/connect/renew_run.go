package connect

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
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
	for _, app := range c.Apps() {
		l := c.lane(app)
		duties.Go(func() error {
			c.pace(ctx, l.work)
			return l.group.Wait()
		})
	}
	for _, duty := range []func(context.Context) error{c.checkDue, c.tell, c.recordClocks, c.sweep} {
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

// sweep forgets old attempts, and moves what is due for apps that nobody works
// for, once a minute.
func (c *Connections) sweep(ctx context.Context) error {
	err := errors.Join(c.store.SweepAttempts(ctx, time.Now().Add(-24*time.Hour)), c.renewStrays(ctx))
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
	}
	return err
}

// pacing bounds the background work for one app. Renewals come due at the pace at
// which tokens were obtained, so that it also bounds every wave that follows from
// one that was worked off.
type pacing struct {
	// batch is how many connections one look at the store brings of each kind of
	// work.
	batch int
	// perSecond is how many are begun in a second at most, evenly: each makes some
	// writes, and calls stand in the same queue for the disk. A million tokens that
	// live for two hours need 180.
	perSecond rate.Limit
	// atOnce is how many platforms' answers are waited for at the same time: 256 a
	// second need 64 if an answer takes a quarter of one.
	atOnce int
}

var defaultPacing = pacing{batch: 64, perSecond: 256, atOnce: 64}

// calm is the share of the pace at which renewals begin that have all their time
// ahead of them.
const calm = 1.0 / 8

// of is how many a second may be begun while this one is the next. A renewal that
// has just come due can wait: the more of the first third of the time between then
// and the token's end has passed, the faster it goes, up to the full pace, so that
// calls notice little of a wave that is early, and one that is late is still worked
// off with two thirds of the time left. What gives up a grant never waits.
func (p pacing) of(rec Record, now time.Time) rate.Limit {
	window := rec.AccessExpires.Sub(rec.RenewAt)
	if rec.Status == Pending || rec.RevokeOutstanding || rec.AccessExpires.IsZero() || window <= 0 {
		return p.perSecond
	}
	passed := 3 * now.Sub(rec.RenewAt).Seconds() / window.Seconds()
	return p.perSecond * rate.Limit(min(max(passed, calm), 1))
}

const (
	// tendBatch bounds how many changes one look at the store brings, to tell the
	// app of; tendAtOnce how many checks, or tellings, are under way at once.
	tendBatch  = 64
	tendAtOnce = 8
)

// Tend does one round of what Run does, but for old attempts. It returns when
// what it began is done.
func (c *Connections) Tend(ctx context.Context) error {
	var lanes errgroup.Group
	for _, app := range c.Apps() {
		lanes.Go(func() error {
			l := c.lane(app)
			return errors.Join(l.work(ctx), l.group.Wait())
		})
	}
	return errors.Join(lanes.Wait(), c.renewStrays(ctx), c.checkDue(ctx), c.tell(ctx), c.recordClocks(ctx))
}

// lane is the background work for one app: renewals, revocations that the
// platform has not confirmed, and grants that nobody redeemed. Each app has its
// own, so that a platform that fails, or takes its time, keeps nobody else's
// grants waiting; and each kind of work has its own share of a batch.
type lane struct {
	c        *Connections
	app      gatehouse.AppName
	group    errgroup.Group
	pace     *rate.Limiter
	underway sync.Map // of connection ids: what a second look need not begin again
	// settled and failed count what was handled without an error and with one.
	settled, failed atomic.Int64
}

func (c *Connections) lane(app gatehouse.AppName) *lane {
	l := &lane{c: c, app: app, pace: rate.NewLimiter(c.pacing.perSecond, 1)}
	l.group.SetLimit(c.pacing.atOnce)
	return l
}

// work begins what is due, and goes on as long as there is more than one batch
// of it and not all of it fails: a platform that refuses everything is tried at
// the pace of Run. It waits for its pace and for room, not for the last answer.
func (l *lane) work(ctx context.Context) error {
	for {
		settled, failed := l.settled.Load(), l.failed.Load()
		records, err := l.c.store.Due(ctx, l.app, l.c.now(l.app), time.Now().Add(-attemptLife-codeLife), l.c.pacing.batch)
		if err != nil {
			return err
		}
		begun := 0
		for _, rec := range records {
			if _, already := l.underway.LoadOrStore(rec.ID, true); already {
				continue
			}
			l.pace.SetLimit(l.c.pacing.of(rec, l.c.now(l.app)))
			if l.pace.Wait(ctx) != nil {
				return nil // told to stop
			}
			l.begin(ctx, rec)
			begun++
		}
		if len(records) < l.c.pacing.batch {
			return nil
		}
		if begun == 0 {
			// What is under way may still be due: a revocation is until it is confirmed.
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(l.c.bounds.poll):
			}
		}
		if l.failed.Load() > failed && l.settled.Load() == settled {
			return nil
		}
	}
}

// begin handles one connection as soon as there is room for it.
func (l *lane) begin(ctx context.Context, rec Record) {
	l.group.Go(func() error {
		defer l.underway.Delete(rec.ID)
		if ctx.Err() != nil {
			return nil
		}
		// One connection's failure is in its own row and in the log; the round
		// goes on with the others.
		if err := l.c.tend(ctx, rec); err != nil {
			l.c.logger.InfoContext(ctx, "connection not settled", slog.String("app", string(rec.App)), slog.String("rule", ruleOf(err)))
			l.failed.Add(1)
			return nil
		}
		l.settled.Add(1)
		return nil
	})
}

// renewStrays moves what is due for apps that have left the configuration. Nobody
// else touches these rows, so that they come to be the longest due.
func (c *Connections) renewStrays(ctx context.Context) error {
	records, err := c.store.Due(ctx, "", c.latest(), time.Now().Add(-attemptLife-codeLife), c.pacing.batch)
	for _, rec := range records {
		if _, configured := c.apps[rec.App]; configured {
			continue
		}
		if failed := conflictIsTaken(c.tend(ctx, rec)); failed != nil && !errors.Is(failed, errTaken) {
			err = errors.Join(err, failed)
		}
	}
	return err
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
