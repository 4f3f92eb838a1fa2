package audit

import (
	"context"
	"fmt"
)

// RollbackStore deletes what is left of entries that are not there any more.
type RollbackStore interface {
	SegmentStore
	// DropIndexBeyond deletes what up to limit rows are found by that lie behind the end
	// of the log, and returns how many these were.
	DropIndexBeyond(ctx context.Context, limit int) (int64, error)
}

// ForgetRolledBack deletes what entries behind the end of the log were found by: after a
// rollback others will take their numbers, and would be found as those of people whose
// they are not. It is for an operator's accepting such a log, before it is written on.
func ForgetRolledBack(ctx context.Context, s RollbackStore) error {
	for {
		n, err := s.DropIndexBeyond(ctx, forgetBatch)
		if err != nil {
			return fmt.Errorf("forgetting what was rolled back: %w", err)
		}
		if n < forgetBatch {
			break
		}
	}
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	for _, span := range []int64{longSpan, shortSpan} {
		if err := dropSegments(ctx, s, span, max(0, head.Size-span+1), maxEntries); err != nil {
			return err
		}
	}
	return nil
}

// dropBatch is how many segments one transaction deletes: a long one has a megabyte.
const dropBatch = 4

func dropSegments(ctx context.Context, s SegmentStore, span, from, to int64) error {
	for {
		n, err := s.DropSegments(ctx, span, from, to, dropBatch)
		if err != nil {
			return fmt.Errorf("dropping the log's search index: %w", err)
		}
		if n < dropBatch {
			return nil
		}
	}
}
