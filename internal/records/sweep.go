package records

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// sweepPage bounds one transaction of the sweep.
const sweepPage = 500

// Run deletes records whose time is over, now and then, until ctx ends. What it
// cannot do it reports and tries again at the next time.
func (r *Records) Run(ctx context.Context) error {
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		if err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.Logger.ErrorContext(ctx, "deleting records whose time is over", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Sweep deletes the records whose own time is over, and those that are older than
// their purpose keeps data now. Records of a purpose that the configuration does
// not declare any more are left, for somebody to decide about, unless their own
// time is over: they are reported.
func (r *Records) Sweep(ctx context.Context) error {
	keeps := r.Keeps()
	purposes, err := r.Store.RecordPurposes(ctx)
	if err != nil {
		return err
	}
	for _, purpose := range purposes {
		keep, declared := keeps[purpose]
		if err := r.sweep(ctx, purpose, keep); err != nil {
			return fmt.Errorf("purpose %s: %w", purpose, err)
		}
		if !declared {
			r.Logger.WarnContext(ctx, "records are kept for a purpose that is not declared any more: nobody can open or delete them; declare it again, with a short keep if they should go",
				slog.String("purpose", string(purpose)))
		}
	}
	return nil
}

// Undeclared returns the purposes that records are kept for and that the
// configuration in force does not declare.
func (r *Records) Undeclared(ctx context.Context) ([]gatehouse.PurposeName, error) {
	keeps := r.Keeps()
	purposes, err := r.Store.RecordPurposes(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for records of undeclared purposes: %w", err)
	}
	var undeclared []gatehouse.PurposeName
	for _, p := range purposes {
		if _, declared := keeps[p]; !declared {
			undeclared = append(undeclared, p)
		}
	}
	return undeclared, nil
}

// sweep deletes what is over of one purpose, a page at a time.
func (r *Records) sweep(ctx context.Context, purpose gatehouse.PurposeName, keep time.Duration) error {
	for {
		now := time.Now()
		var updatedBefore time.Time
		if keep > 0 {
			updatedBefore = now.Add(-keep)
		}
		expired, err := r.Store.ExpiredRecords(ctx, purpose, now, updatedBefore, sweepPage)
		if err != nil || len(expired) == 0 {
			return err
		}
		entry := audit.Entry{Action: "record.expire", Purpose: purpose, Facts: map[string]string{"records": strconv.Itoa(len(expired))}}
		receipt, err := r.Log.Intent(ctx, entry)
		if err != nil {
			return err
		}
		n, err := r.Store.DeleteRecords(ctx, expired)
		entry.Facts = map[string]string{"records": strconv.FormatInt(n, 10)}
		if err != nil {
			entry.Verdict = "failed"
		}
		r.Log.Outcome(receipt, entry)
		if err != nil {
			return err
		}
	}
}
