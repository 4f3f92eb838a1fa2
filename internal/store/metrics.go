package store

import (
	"context"
	"time"

	"gatehouse/internal/metrics"
	events "gatehouse/internal/outbox"
)

const (
	metricsConnections statement = `SELECT app, status, count(*) FROM connections GROUP BY app, status ORDER BY app, status`
	metricsDuties      statement = `
		SELECT kind, count(*), sum(CASE WHEN deadline <= $1 THEN 1 ELSE 0 END), min(CASE WHEN deadline > $1 THEN deadline END)
		FROM duties WHERE closed = 0 GROUP BY kind ORDER BY kind`
	metricsEvents      statement = `SELECT state, count(*) FROM outbox_events WHERE state IN ('waiting', 'dead') GROUP BY state`
	metricsOldestEvent statement = `SELECT created FROM outbox_events WHERE state = 'waiting' ORDER BY seq LIMIT 1`
)

// metricsStore implements the Store of package metrics.
type metricsStore struct{ db *DB }

// Metrics returns what counts rows for package metrics.
func (d *DB) Metrics() metrics.Store { return metricsStore{d} }

func (s metricsStore) CountConnections(ctx context.Context) ([]metrics.ConnectionCount, error) {
	return collect[metrics.ConnectionCount](s.db.query(ctx, metricsConnections))(func(r *rows) (metrics.ConnectionCount, error) {
		var c metrics.ConnectionCount
		err := r.Scan(&c.App, &c.Status, &c.Count)
		return c, err
	})
}

func (s metricsStore) CountDuties(ctx context.Context, now time.Time) ([]metrics.DutyCount, error) {
	return collect[metrics.DutyCount](s.db.query(ctx, metricsDuties, micros(now)))(func(r *rows) (metrics.DutyCount, error) {
		var c metrics.DutyCount
		var nearest *int64
		err := r.Scan(&c.Kind, &c.Open, &c.Overdue, &nearest)
		if nearest != nil {
			c.Nearest = fromMicros(*nearest)
		}
		return c, err
	})
}

func (s metricsStore) CountEvents(ctx context.Context) (c metrics.EventCount, err error) {
	err = s.db.snapshot(ctx, func(t *tx) error {
		c = metrics.EventCount{}
		type count struct {
			state string
			n     int64
		}
		states, err := collect[count](t.query(ctx, metricsEvents))(func(r *rows) (one count, err error) {
			return one, r.Scan(&one.state, &one.n)
		})
		for _, one := range states {
			if one.state == string(events.Waiting) {
				c.Waiting = one.n
			} else {
				c.Dead = one.n
			}
		}
		if err != nil || c.Waiting == 0 {
			return err
		}
		var created int64
		if err := t.queryRow(ctx, metricsOldestEvent).Scan(&created); err != nil {
			return err
		}
		c.Oldest = fromMicros(created)
		return nil
	})
	return c, err
}
