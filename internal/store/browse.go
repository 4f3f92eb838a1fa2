package store

import (
	"context"
	"errors"
	"math"

	"gatehouse"
	grants "gatehouse/internal/connect"
)

const (
	connectionsNewest statement = `SELECT created, id, purposes FROM connections
		WHERE app = $1 AND status = $2 AND (created, id) < ($3, $4) AND redeemed > 0
		ORDER BY created DESC, id DESC LIMIT $5`
)

func (s connectStore) Newest(ctx context.Context, app gatehouse.AppName, status grants.Status, before grants.Mark, limit int) ([]grants.Marked, error) {
	created := micros(before.Created)
	if before.ID == "" {
		created = math.MaxInt64
	}
	return collect[grants.Marked](s.db.query(ctx, connectionsNewest, app, status, created, before.ID, limit))(func(r *rows) (grants.Marked, error) {
		var m grants.Marked
		var created int64
		var purposes string
		if err := r.Scan(&created, &m.ID, &purposes); err != nil {
			return m, err
		}
		m.Created = fromMicros(created)
		return m, unlist(purposes, &m.Purposes)
	})
}

func (s connectStore) ConnectionRows(ctx context.Context, ids []gatehouse.ConnectionID) ([]grants.Record, error) {
	records := make([]grants.Record, 0, len(ids))
	for _, id := range ids {
		r, err := scanConnection(s.db.queryRow(ctx, connectionSelect, id))
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}
