package store

import (
	"context"
	"time"

	"gatehouse/internal/observe"
)

const (
	observeBegin statement = `INSERT INTO observe_since (id, at) VALUES (1, $1) ON CONFLICT (id) DO NOTHING`
	observeSince statement = `SELECT at FROM observe_since WHERE id = 1`

	observeCallColumns = `service, purpose, operation, app, first_day, last_day, calls, implied, reported, params, bodies, replies, files,
		other_params, other_body, other_reply`
	observeCallAdd statement = `INSERT INTO observe_calls (` + observeCallColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
		ON CONFLICT (service, purpose, operation) DO UPDATE SET app = excluded.app,
			first_day = CASE WHEN excluded.first_day < observe_calls.first_day THEN excluded.first_day ELSE observe_calls.first_day END,
			last_day = CASE WHEN excluded.last_day > observe_calls.last_day THEN excluded.last_day ELSE observe_calls.last_day END,
			calls = observe_calls.calls + excluded.calls, implied = observe_calls.implied + excluded.implied,
			reported = observe_calls.reported + excluded.reported, params = observe_calls.params + excluded.params,
			bodies = observe_calls.bodies + excluded.bodies, replies = observe_calls.replies + excluded.replies,
			files = observe_calls.files + excluded.files, other_params = observe_calls.other_params + excluded.other_params,
			other_body = observe_calls.other_body + excluded.other_body, other_reply = observe_calls.other_reply + excluded.other_reply`
	observeCalls statement = `SELECT ` + observeCallColumns + ` FROM observe_calls ORDER BY purpose, service, operation`

	observeFieldColumns = `service, purpose, operation, place, name, first_day, last_day, seen, kinds, least, greatest, length, entries, entry`
	// A name is added while there is room for it, and one that is there counts on.
	observeFieldAdd statement = `INSERT INTO observe_fields (` + observeFieldColumns + `)
		SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS TEXT), CAST($6 AS BIGINT), CAST($7 AS BIGINT),
			CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS BIGINT), CAST($12 AS BIGINT), CAST($13 AS BIGINT),
			CAST($14 AS BIGINT)
		WHERE (SELECT count(*) FROM observe_fields WHERE service = $1 AND purpose = $2 AND operation = $3 AND place = $4) < CAST($15 AS BIGINT)
			OR EXISTS (SELECT 1 FROM observe_fields WHERE service = $1 AND purpose = $2 AND operation = $3 AND place = $4 AND name = $5)
		ON CONFLICT (service, purpose, operation, place, name) DO UPDATE SET
			first_day = CASE WHEN excluded.first_day < observe_fields.first_day THEN excluded.first_day ELSE observe_fields.first_day END,
			last_day = CASE WHEN excluded.last_day > observe_fields.last_day THEN excluded.last_day ELSE observe_fields.last_day END,
			seen = observe_fields.seen + excluded.seen, kinds = observe_fields.kinds | excluded.kinds,
			least = CASE WHEN excluded.least < observe_fields.least THEN excluded.least ELSE observe_fields.least END,
			greatest = CASE WHEN excluded.greatest > observe_fields.greatest THEN excluded.greatest ELSE observe_fields.greatest END,
			length = CASE WHEN excluded.length > observe_fields.length THEN excluded.length ELSE observe_fields.length END,
			entries = CASE WHEN excluded.entries > observe_fields.entries THEN excluded.entries ELSE observe_fields.entries END,
			entry = CASE WHEN excluded.entry > observe_fields.entry THEN excluded.entry ELSE observe_fields.entry END`
	observeFields statement = `SELECT ` + observeFieldColumns + ` FROM observe_fields ORDER BY purpose, service, operation, place, name`

	observeForgetFields statement = `DELETE FROM observe_fields WHERE last_day < $1`
	observeForgetCalls  statement = `DELETE FROM observe_calls WHERE last_day < $1`
)

// anyNumber is the room for names that are kept in any case.
const anyNumber = 1 << 30

// observeStore implements observe.Store. No process remembers its rows.
type observeStore struct{ db *DB }

var _ observe.Store = observeStore{}

// Observe returns the part of the database that keeps what services use.
func (d *DB) Observe() observe.Store { return observeStore{d} }

func (s observeStore) BeginUses(ctx context.Context, now time.Time) error {
	_, err := s.db.logExec(ctx, observeBegin, micros(now))
	return err
}

func (s observeStore) AddUses(ctx context.Context, calls []observe.Call, fields []observe.Field) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, c := range calls {
			if _, err := t.exec(ctx, observeCallAdd, c.Service, c.Purpose, c.Operation, c.App, int64(c.First), int64(c.Last), c.Calls, c.Implied,
				c.Reported, c.Params, c.Bodies, c.Replies, c.Files, c.OtherParams, c.OtherBody, c.OtherReply); err != nil {
				return err
			}
		}
		for _, f := range fields {
			room := f.Place.Most()
			if f.Sure {
				room = anyNumber
			}
			if _, err := t.exec(ctx, observeFieldAdd, f.Service, f.Purpose, f.Operation, string(f.Place), f.Name, int64(f.First), int64(f.Last),
				f.Seen, int64(f.Kinds), f.Min, f.Max, f.Length, f.Entries, f.Entry, room); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s observeStore) Uses(ctx context.Context) (since time.Time, calls []observe.Call, fields []observe.Field, err error) {
	var at int64
	if err := s.db.queryRow(ctx, observeSince).Scan(&at); err != nil {
		return time.Time{}, nil, nil, err
	}
	if calls, err = collect[observe.Call](s.db.query(ctx, observeCalls))(func(r *rows) (c observe.Call, err error) {
		err = r.Scan(&c.Service, &c.Purpose, &c.Operation, &c.App, &c.First, &c.Last, &c.Calls, &c.Implied, &c.Reported, &c.Params,
			&c.Bodies, &c.Replies, &c.Files, &c.OtherParams, &c.OtherBody, &c.OtherReply)
		return c, err
	}); err != nil {
		return time.Time{}, nil, nil, err
	}
	fields, err = collect[observe.Field](s.db.query(ctx, observeFields))(func(r *rows) (f observe.Field, err error) {
		err = r.Scan(&f.Service, &f.Purpose, &f.Operation, &f.Place, &f.Name, &f.First, &f.Last, &f.Seen, &f.Kinds, &f.Min, &f.Max,
			&f.Length, &f.Entries, &f.Entry)
		return f, err
	})
	return fromMicros(at), calls, fields, err
}

func (s observeStore) ForgetUses(ctx context.Context, before observe.Day) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, observeForgetFields, int64(before)); err != nil {
			return err
		}
		_, err := t.exec(ctx, observeForgetCalls, int64(before))
		return err
	})
}
