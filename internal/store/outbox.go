package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	events "gatehouse/internal/outbox"
)

const (
	eventInto   = `INSERT INTO outbox_events (id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version) `
	eventUnless = ` ON CONFLICT (id) DO NOTHING`
	// Who puts an event into a stream where one waits stands behind it. Without a
	// stream there is nothing to look at, and nobody to conflict with.
	eventInsert       statement = eventInto + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 1)` + eventUnless
	eventInsertBehind statement = eventInto + `VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
		 CASE WHEN EXISTS (SELECT 1 FROM outbox_events WHERE stream = $5 AND state = 'waiting') THEN 0 ELSE CAST($10 AS BIGINT) END,
		 $11, $12, $13, 1)` + eventUnless
	eventColumns = `SELECT seq, id, type, app, person, stream, data, state, created, since, due, attempts, class, updated, version
		FROM outbox_events`
	eventSelect  statement = eventColumns + ` WHERE id = $1`
	eventsOf     statement = eventColumns + ` WHERE state = $1 AND seq > $4` + eventsOthers
	eventsAll    statement = eventColumns + ` WHERE $1 = '' AND seq > $4` + eventsOthers
	eventsOthers           = ` AND ($2 = '' OR app = $2) AND ($3 = '' OR type = $3) ORDER BY seq LIMIT $5`
	eventsDue    statement = eventColumns + ` WHERE due > 0 AND due <= $1 ORDER BY due LIMIT $2`
	// What it is, and the order it was put in, never change.
	eventUpdate statement = `UPDATE outbox_events SET person = $3, stream = $4, data = $5, state = $6, since = $7, due = $8,
		attempts = $9, class = $10, updated = $11, version = version + 1 WHERE id = $1 AND version = $2`
	// A stream without a head gets one: the earliest of those that wait.
	eventPromote statement = `UPDATE outbox_events SET due = $2, version = version + 1
		WHERE seq = (SELECT seq FROM outbox_events WHERE stream = $1 AND state = 'waiting' ORDER BY seq LIMIT 1)
		AND NOT EXISTS (SELECT 1 FROM outbox_events WHERE stream = $1 AND state = 'waiting' AND due > 0)`
	eventStreamsOf statement = `SELECT DISTINCT stream FROM outbox_events WHERE person = $1 AND person <> '' AND stream <> ''`
	eventForget    statement = `UPDATE outbox_events SET person = '', stream = '', data = NULL, due = 0, updated = $3, version = version + 1,
		class = CASE WHEN state = 'delivered' THEN class ELSE $2 END,
		state = CASE WHEN state = 'delivered' THEN state ELSE 'dead' END
		WHERE person = $1 AND person <> ''`
	eventCountOf statement = `SELECT count(*) FROM outbox_events WHERE person = $1 AND person <> '' AND data IS NOT NULL`
	eventSweep   statement = `DELETE FROM outbox_events WHERE seq IN
		(SELECT seq FROM outbox_events WHERE state = $1 AND state <> 'waiting' AND updated < $2 ORDER BY updated LIMIT $3)`

	signingSelect statement = `SELECT version, overlap FROM outbox_signing WHERE id = 1`
	signingInsert statement = `INSERT INTO outbox_signing (id, version, overlap) VALUES (1, $1, $2)`
	signingUpdate statement = `UPDATE outbox_signing SET version = version + 1, overlap = $2 WHERE id = 1 AND version = $1`
)

// outboxStore implements the Store of package outbox.
type outboxStore struct{ db *DB }

// Outbox returns the store of package outbox.
func (d *DB) Outbox() events.Store { return outboxStore{d} }

func (s outboxStore) AddEvent(ctx context.Context, r events.Record) error {
	return s.db.logTx(ctx, func(t *tx) error {
		insert := eventInsertBehind
		if r.Stream == "" {
			insert = eventInsert
		}
		_, err := t.exec(ctx, insert, r.ID, r.Type, r.App, r.Person, r.Stream, r.Data, r.State, micros(r.Created),
			micros(r.Since), micros(r.Due), r.Attempts, r.Class, micros(r.Updated))
		return err
	})
}

func (s outboxStore) Event(ctx context.Context, id string) (events.Record, error) {
	return scanEvent(s.db.queryRow(ctx, eventSelect, id))
}

func (s outboxStore) Events(ctx context.Context, f events.Filter) ([]events.Record, error) {
	selection := eventsOf
	if f.State == "" {
		selection = eventsAll
	}
	return collect[events.Record](s.db.query(ctx, selection, f.State, f.App, f.Type, f.After, f.Limit))(eventRow)
}

func (s outboxStore) DueEvents(ctx context.Context, now time.Time, limit int) ([]events.Record, error) {
	return collect[events.Record](s.db.query(ctx, eventsDue, micros(now), limit))(eventRow)
}

func (s outboxStore) SaveEvent(ctx context.Context, r events.Record, now time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, eventUpdate, r.ID, r.Version, r.Person, r.Stream, r.Data, r.State, micros(r.Since), micros(r.Due),
			r.Attempts, r.Class, micros(r.Updated))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the event changed meanwhile: %w", gatehouse.ErrConflict)
		}
		// Taking the head for an attempt, or putting it off, changes no turn.
		if r.Stream == "" || r.State == events.Waiting && !r.Due.IsZero() {
			return nil
		}
		_, err = t.exec(ctx, eventPromote, r.Stream, micros(now))
		return err
	})
}

func (s outboxStore) ForgetPerson(ctx context.Context, person gatehouse.PersonID, class string, now time.Time) (int, error) {
	var forgotten int
	err := s.db.logTx(ctx, func(t *tx) error {
		if err := t.queryRow(ctx, eventCountOf, person).Scan(&forgotten); err != nil {
			return err
		}
		streams, err := collect[string](t.query(ctx, eventStreamsOf, person))(func(r *rows) (string, error) {
			var stream string
			return stream, r.Scan(&stream)
		})
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, eventForget, person, class, micros(now)); err != nil {
			return err
		}
		for _, stream := range streams {
			if _, err := t.exec(ctx, eventPromote, stream, micros(now)); err != nil {
				return err
			}
		}
		return nil
	})
	return forgotten, err
}

func (s outboxStore) SweepEvents(ctx context.Context, deliveredBefore, deadBefore time.Time, limit int) (int, error) {
	var swept int64
	err := s.db.logTx(ctx, func(t *tx) error {
		delivered, err := t.exec(ctx, eventSweep, events.Delivered, micros(deliveredBefore), limit)
		if err != nil {
			return err
		}
		dead, err := t.exec(ctx, eventSweep, events.Dead, micros(deadBefore), int64(limit)-delivered)
		swept = delivered + dead
		return err
	})
	return int(swept), err
}

func (s outboxStore) Signing(ctx context.Context) (events.Signing, error) {
	var version, overlap int64
	err := s.db.queryRow(ctx, signingSelect).Scan(&version, &overlap)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return events.Signing{Version: 1}, nil
	}
	return events.Signing{Version: version, Overlap: fromMicros(overlap)}, err
}

func (s outboxStore) RotateSigning(ctx context.Context, from int64, overlap time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, signingUpdate, from, micros(overlap))
		if err != nil || n == 1 {
			return err
		}
		if from == 1 {
			// The first rotation, or somebody else's: then the row is there.
			_, err = t.exec(ctx, signingInsert, from+1, micros(overlap))
			return err
		}
		return fmt.Errorf("the signing secret was rotated meanwhile: %w", gatehouse.ErrConflict)
	})
}

func eventRow(r *rows) (events.Record, error) { return scanEvent(r) }

func scanEvent(row interface{ Scan(...any) error }) (events.Record, error) {
	var r events.Record
	var created, since, due, updated int64
	err := row.Scan(&r.Seq, &r.ID, &r.Type, &r.App, &r.Person, &r.Stream, &r.Data, &r.State, &created, &since, &due,
		&r.Attempts, &r.Class, &updated, &r.Version)
	r.Created, r.Since, r.Due, r.Updated = fromMicros(created), fromMicros(since), fromMicros(due), fromMicros(updated)
	return r, err
}
