package audit

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
)

// periodSlack is by how much the times of neighbouring entries may be out of order:
// those of one group are in order of arrival.
const periodSlack = time.Minute

// Period returns the first and the last of the stored entries of a time, from from up
// to, but not including, to; a minute more on both sides, since entries stand in order
// of arrival. The zero time is the beginning and the end. It looks by halving, so a
// clock that was set far back misleads it. The error is ErrNotFound if there are none.
func Period(ctx context.Context, s PeriodStore, from, to time.Time) (first, last int64, err error) {
	head, err := s.Head(ctx)
	if err != nil {
		return 0, 0, err
	}
	start, err := Begin(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	first, end := start, head.Size
	if !from.IsZero() {
		first, err = behind(ctx, s, start, head.Size, from.Add(-periodSlack))
	}
	if !to.IsZero() && err == nil {
		end, err = behind(ctx, s, start, head.Size, to.Add(periodSlack))
	}
	if err == nil && first >= end {
		err = fmt.Errorf("the log has no entries of this time: %w", gatehouse.ErrNotFound)
		if start > 0 {
			err = fmt.Errorf("%w; those before entry %d were pruned", err, start)
		}
	}
	return first, end - 1, err
}

// Begin returns the first entry of a log that is stored, as the store says. Verify tells
// whether the log says so, too.
func Begin(ctx context.Context, s VerifyStore) (start int64, err error) {
	err = s.Snapshot(ctx, func(r Reader) error {
		p, err := r.Pruned(ctx)
		start = p.Start
		return err
	})
	return start, err
}

// PeriodStore is what Period reads.
type PeriodStore interface {
	VerifyStore
	TileStore
}

// behind returns the first entry from from on, before end, that is not older than t.
func behind(ctx context.Context, s PeriodStore, from, end int64, t time.Time) (int64, error) {
	for from < end {
		middle := from + (end-from)/2
		leaves, err := s.Leaves(ctx, middle, middle+1)
		if err != nil {
			return 0, err
		}
		if len(leaves) != 1 {
			return 0, fmt.Errorf("entry %d is missing: %w", middle, ErrTampered)
		}
		l, err := DecodeLeaf(leaves[0])
		if err != nil {
			return 0, fmt.Errorf("reading entry %d: %w: %w", middle, ErrTampered, err)
		}
		if l.When().Before(t) {
			from = middle + 1
		} else {
			end = middle
		}
	}
	return from, nil
}
