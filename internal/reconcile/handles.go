package reconcile

import (
	"context"
	"errors"
	"math"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// mostHandles bounds of how many handles one run compares the counters; the others
// wait for the next.
const mostHandles = 10_000

// A UsedHandle is a handle that was used since its counter was last compared.
type UsedHandle struct {
	ID         gatehouse.HandleID
	Person     gatehouse.PersonID
	Connection gatehouse.ConnectionID
	// Uses is its counter, of which Compared were compared already, at Since; that is
	// when the first use was counted if there are none.
	Uses, Compared int64
	Since          time.Time
}

// handles compares how often handles were used with their entries. A use is counted
// after its intent is in the log, and stored within lag.
func (r *Reconciler) handles(ctx context.Context, report *Report) error {
	list, err := r.config.Store.UsedHandles(ctx, mostHandles)
	if err != nil {
		return err
	}
	for i := range list {
		h := &list[i]
		at := time.Now()
		// When counts begin anew, so does this: entries and uses are not of one history.
		if report.Baseline == "" || report.Baseline == baselineFirst {
			if err := r.handle(ctx, report, h, at); err != nil {
				return err
			}
		}
		if err := r.config.Store.CompareHandle(ctx, h.ID, h.Uses, at); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) handle(ctx context.Context, report *Report, h *UsedHandle, at time.Time) error {
	report.Handles++
	uses := h.Uses - h.Compared
	logged, known, err := r.intentsOf(ctx, h, h.Since.Add(-lag-skew), uses)
	if err != nil {
		return err
	}
	if !known {
		report.HandlesUnjudged++
		return nil
	}
	if logged >= uses {
		return nil
	}
	// Who was erased meanwhile has no entries any more that are found.
	person, err := r.config.Person(ctx, h.Connection)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	if person != h.Person || person == "" {
		report.HandlesUnjudged++
		return nil
	}
	return r.record(ctx, report, ruleRows, Difference{
		Check: "handle-uses", Connection: h.Connection, Counted: uses, Logged: logged, Excess: uses - logged, From: h.Since, Until: at,
	})
}

// intentsOf counts the intents of a handle since a time, up to as many as are wanted;
// known is false if there are too many entries to read.
func (r *Reconciler) intentsOf(ctx context.Context, h *UsedHandle, since time.Time, wanted int64) (n int64, known bool, err error) {
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return 0, false, err
	}
	owner := audit.PersonHash(r.config.Index, h.Person)
	for _, log := range logs {
		read := 0
		for before := int64(math.MaxInt64); ; {
			rows, err := log.List.Indexed(ctx, owner, "", before, readBatch)
			if err != nil {
				return 0, false, err
			}
			over := len(rows) < readBatch
			for i := range rows {
				leaf, err := audit.DecodeLeaf(rows[i].Leaf)
				if err != nil {
					return 0, false, err
				}
				if leaf.When().Before(since) {
					over = true
					break
				}
				if leaf.Kind == audit.KindIntent && (leaf.Action == "call" || leaf.Action == "call.stream") &&
					rows[i].Index.Holds(r.config.Index, "handle", string(h.ID)) {
					if n++; n >= wanted {
						return n, true, nil
					}
				}
			}
			if over {
				break
			}
			if read += len(rows); read >= mostOfPerson {
				return 0, false, nil
			}
			before = rows[len(rows)-1].Seq
		}
	}
	return n, true, nil
}
