package reconcile

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse"
)

var (
	// ErrBusy means that another process compares at this moment.
	ErrBusy = fmt.Errorf("another process compares at this moment: %w", gatehouse.ErrConflict)
	// errOvertaken means that this process was held up for so long that another one took
	// it for dead.
	errOvertaken = fmt.Errorf("this process was held up for longer than its lease, and another may compare now: %w", gatehouse.ErrConflict)
)

func ignoreBusy(err error) error {
	if errors.Is(err, ErrBusy) {
		return nil
	}
	return err
}

// once does something while no other process does. The lease spares double work; two
// that compare at once could report a difference twice, and lose none.
func (r *Reconciler) once(ctx context.Context, do func(context.Context, *Report) error) (*Report, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	until := now.Add(r.config.Lease)
	taken, held, err := r.config.Store.TakeReconcile(ctx, now, until)
	if err != nil {
		return nil, err
	}
	if !taken {
		return nil, fmt.Errorf("wait until it has finished; if it has died, this is possible again at %s: %w", held.Add(time.Second).Format(time.TimeOnly+"Z"), ErrBusy)
	}
	report := &Report{At: now, Posts: []PostsCount{}, Counts: []Count{}, Differences: []Difference{}}
	limited, end := context.WithTimeout(ctx, mostTime)
	doing, lose := context.WithCancelCause(limited)
	var keeping sync.WaitGroup
	keeping.Go(func() { until = r.keep(doing, until, lose) })
	if r.config.Meter != nil {
		err = r.config.Meter.Flush(doing)
	}
	if err == nil {
		err = do(doing, report)
	}
	if err != nil && errors.Is(context.Cause(doing), errOvertaken) {
		err = errOvertaken
	}
	end()
	keeping.Wait()
	// Also when it failed or was cancelled: the next one need not wait.
	err = errors.Join(err, r.config.Store.FreeReconcile(context.WithoutCancel(ctx), until))
	return report, err
}

// keep extends the lease until ctx ends and returns until when it is ours. If the lease
// is lost, or could not be extended before its end, it calls lose.
func (r *Reconciler) keep(ctx context.Context, until time.Time, lose context.CancelCauseFunc) time.Time {
	tick := time.NewTicker(r.config.Lease / 3)
	defer tick.Stop()
	next := until
	for {
		select {
		case <-ctx.Done():
			return until
		case now := <-tick.C:
			// What was asked for in vain may have been granted: it is asked for again.
			if next.Equal(until) {
				next = now.UTC().Truncate(time.Microsecond).Add(r.config.Lease)
			}
		}
		// Not given up when ctx ends: what it came to must be known.
		asking, end := context.WithDeadline(context.WithoutCancel(ctx), until)
		ours, err := r.config.Store.ExtendReconcile(asking, until, next)
		end()
		switch {
		case err == nil && ours:
			until = next
		case err == nil, !time.Now().Before(until):
			lose(errOvertaken)
			return until
		}
	}
}
