package cases

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

const (
	// lookEvery is the pause between two looks at a duty that waits for somebody.
	lookEvery = 30 * time.Second
	// lookSeldom is the pause for one that only the app's answer can change.
	lookSeldom = 24 * time.Hour
	// roundEvery is the pause between two rounds; rounds come sooner when a duty
	// was opened or answered in this process.
	roundEvery = time.Second
	// roundSize bounds how many duties one round looks at.
	roundSize = 100
)

// Run takes the steps of open duties until ctx ends.
func (c *Cases) Run(ctx context.Context) error {
	for {
		if err := c.Tend(ctx); err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "duties could not be read", slog.String("error", wire.LogText(err)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-time.After(roundEvery):
		}
	}
}

// Tend takes one round of steps.
func (c *Cases) Tend(ctx context.Context) error {
	duties, err := c.store.DutiesToLookAt(ctx, time.Now(), roundSize)
	if err != nil {
		return err
	}
	for _, d := range duties {
		if ctx.Err() != nil {
			return nil
		}
		if _, err := c.advance(ctx, d); err != nil && ctx.Err() == nil {
			c.logger.WarnContext(ctx, "a duty could not go on; it is tried again",
				slog.String("duty", d.ID), slog.String("kind", string(d.Kind)), slog.String("error", wire.LogText(err)))
		}
	}
	return nil
}

// Advance takes the steps that are possible now, without waiting for Run, and
// returns how the duty stands. It is for commands and requests whose callers want
// to see that the person is cut off.
func (c *Cases) Advance(ctx context.Context, id string) (Duty, error) {
	d, err := c.Get(ctx, id)
	if err != nil {
		return Duty{}, err
	}
	return c.advance(ctx, d)
}

// advance takes the steps that are possible. They do not wait for each other
// where they need not: a platform that is down keeps nobody from asking the app.
// Whatever fails is tried again after a pause; what succeeded is noted first.
func (c *Cases) advance(ctx context.Context, d Duty) (Duty, error) {
	if !d.Closed.IsZero() {
		return d, nil
	}
	before := d
	failed := c.prepare(ctx, &d)
	now := time.Now()
	if failed == nil && d.About() && d.Shredded.IsZero() {
		ready, err := c.ready(ctx, d, now)
		if err == nil && ready {
			err = c.steps.Shred(ctx, d)
		}
		if err == nil && ready {
			d.Shredded = time.Now()
		}
		failed = err
	}
	if now.After(d.Deadline) && d.Noted.IsZero() {
		if _, err := c.record(ctx, "duty.overdue", d, "failed"); err != nil {
			return before, errors.Join(failed, err)
		}
		d.Noted = now
		c.logger.ErrorContext(ctx, "a duty is overdue: see 'gatehouse case show'", slog.String("duty", d.ID), slog.String("kind", string(d.Kind)))
	}
	d.LookAt = now.Add(lookEvery)
	if !d.About() {
		// Nothing happens to it but the answer and the deadline: a platform may say
		// of thousands of posts that they must go, and people's duties must not wait
		// behind them.
		d.LookAt = now.Add(lookSeldom)
		if d.Noted.IsZero() && d.Deadline.Before(d.LookAt) {
			d.LookAt = d.Deadline.Add(time.Millisecond)
		}
	}
	if failed == nil && len(d.Waiting()) == 0 {
		proof, err := c.record(ctx, "duty.done", d, "done")
		if err != nil {
			return before, err
		}
		d.Proof, d.Closed, d.LookAt = proof, time.Now(), time.Time{}
	}
	if err := c.store.SaveDuty(ctx, d); err != nil {
		if errors.Is(err, gatehouse.ErrConflict) {
			// Somebody answered meanwhile, or another process was at it: every step
			// may be repeated.
			return c.Get(ctx, d.ID)
		}
		return before, errors.Join(failed, err)
	}
	d.Version++
	return d, failed
}

// prepare ends the person's grants and asks the app.
func (c *Cases) prepare(ctx context.Context, d *Duty) error {
	if !d.About() {
		return nil
	}
	var failed error
	if d.Revoked.IsZero() {
		confirmed, err := c.steps.Revoke(ctx, *d)
		if err == nil && confirmed {
			d.Revoked = time.Now()
		}
		failed = err
	}
	if d.Asked.IsZero() {
		err := c.steps.Ask(ctx, *d)
		if err == nil {
			d.Asked = time.Now()
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// ready reports whether what is held here may be destroyed. That is so once the
// grants have ended and the app has answered. When the deadline has passed it is
// so, too, as soon as the app has been told whose data it is about: the event is
// sealed under the key that goes, and an app that never heard it could never
// comply. The duty stays overdue until the app answers.
func (c *Cases) ready(ctx context.Context, d Duty, now time.Time) (bool, error) {
	if !d.Revoked.IsZero() && !d.Answered.IsZero() {
		return true, nil
	}
	if !now.After(d.Deadline) {
		return false, nil
	}
	if !d.Answered.IsZero() {
		return true, nil
	}
	return c.steps.Heard(ctx, d)
}
