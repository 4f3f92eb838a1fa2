package store

import (
	"context"
	"time"

	"gatehouse"
	grants "gatehouse/internal/connect"
)

const (
	// The conditions are those of the partial indexes, to the letter: an engine
	// uses one only if it sees that they are the same.
	healthDueChecks statement = connectionColumns + ` WHERE check_at > 0 AND redeemed > 0 AND check_at <= $1
		ORDER BY check_at LIMIT $2`
	healthUntold statement = connectionFields + `, told, telling, tell_seq, tell_at FROM connections
		WHERE redeemed > 0 AND (telling <> '' OR (told <> status || '/' || cause AND status <> 'renewing')) AND tell_at <= $1
		ORDER BY tell_at LIMIT $2`
	healthSchedule statement = `UPDATE connections SET check_at = $3 WHERE id = $1 AND check_at = $2`
	healthHasten   statement = `UPDATE connections SET check_at = $2 WHERE id = $1 AND check_at > $2`
	healthTelling  statement = `UPDATE connections SET told = $5, telling = $6, tell_seq = $7, tell_at = $8
		WHERE id = $1 AND telling = $2 AND tell_seq = $3 AND tell_at = $4`
)

func (s connectStore) DueChecks(ctx context.Context, now time.Time, limit int) ([]grants.Record, error) {
	return collect[grants.Record](s.db.query(ctx, healthDueChecks, micros(now), limit))(scanRow)
}

// None of these counts as a change that empties caches: what they change is read
// from the row itself by those who act on it.

func (s connectStore) ScheduleCheck(ctx context.Context, id gatehouse.ConnectionID, was, at time.Time) (bool, error) {
	n, err := s.db.logExec(ctx, healthSchedule, id, micros(was), micros(at))
	return n > 0, err
}

func (s connectStore) HastenCheck(ctx context.Context, id gatehouse.ConnectionID, at time.Time) error {
	_, err := s.db.logExec(ctx, healthHasten, id, micros(at))
	return err
}

func (s connectStore) Untold(ctx context.Context, now time.Time, limit int) ([]grants.Untold, error) {
	return collect[grants.Untold](s.db.query(ctx, healthUntold, micros(now), limit))(func(r *rows) (grants.Untold, error) {
		var u grants.Untold
		var at int64
		var err error
		u.Record, err = scanConnection(r, &u.Telling.Told, &u.Telling.Now, &u.Telling.Seq, &at)
		u.Telling.At = fromMicros(at)
		return u, err
	})
}

func (s connectStore) SaveTelling(ctx context.Context, id gatehouse.ConnectionID, was, is grants.Telling) (bool, error) {
	n, err := s.db.logExec(ctx, healthTelling, id, was.Now, was.Seq, micros(was.At), is.Told, is.Now, is.Seq, micros(is.At))
	return n > 0, err
}
