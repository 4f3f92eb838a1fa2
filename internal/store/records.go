package store

import (
	"context"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/records"
)

const (
	subjectSelect statement = `SELECT person FROM record_subjects WHERE subject_hash = $1`
	subjectInsert statement = `INSERT INTO record_subjects (subject_hash, person) VALUES ($1, $2)`
	subjectForget statement = `DELETE FROM record_subjects WHERE person = $1`

	recordInsert statement = `
		INSERT INTO records (person, purpose, label, json, sealed, size, created, updated, expires)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (person, purpose, label) DO NOTHING`
	recordReplace statement = `
		UPDATE records SET json = $4, sealed = $5, size = $6, updated = $7, expires = $8
		WHERE person = $1 AND purpose = $2 AND label = $3`
	recordCreated statement = `SELECT created FROM records WHERE person = $1 AND purpose = $2 AND label = $3`
	recordSelect  statement = `
		SELECT json, sealed, size, created, updated, expires
		FROM records WHERE person = $1 AND purpose = $2 AND label = $3`
	recordsOfPerson statement = `
		SELECT person, purpose, label, json, size, created, updated, expires
		FROM records WHERE person = $1 AND (purpose, label) > ($2, $3) ORDER BY purpose, label LIMIT $4`
	recordDelete statement = `
		DELETE FROM records WHERE person = $1 AND purpose = $2 AND label = $3 AND updated = $4`
	recordsForget statement = `DELETE FROM records WHERE person = $1`

	recordNextPurpose statement = `SELECT purpose FROM records WHERE purpose > $1 ORDER BY purpose LIMIT 1`
	recordsExpired    statement = `
		SELECT person, purpose, label, json, size, created, updated, expires
		FROM records WHERE purpose = $1 AND expires > 0 AND expires <= $2 ORDER BY expires LIMIT $3`
	recordsAged statement = `
		SELECT person, purpose, label, json, size, created, updated, expires
		FROM records WHERE purpose = $1 AND updated <= $2 ORDER BY updated LIMIT $3`
)

// recordStore implements the Store of package records.
type recordStore struct{ db *DB }

// Records returns the part of the database that keeps the app's data about people.
func (d *DB) Records() records.Store { return recordStore{d} }

func (s recordStore) SubjectPerson(ctx context.Context, hash string, candidate gatehouse.PersonID) (gatehouse.PersonID, error) {
	known := func() (gatehouse.PersonID, error) {
		var person gatehouse.PersonID
		err := s.db.queryRow(ctx, subjectSelect, hash).Scan(&person)
		return person, err
	}
	person, err := cached(ctx, s.db, cacheKey{subjectSelect, hash, 0}, known)
	if candidate == "" || !errors.Is(err, gatehouse.ErrNotFound) {
		return person, err
	}
	_, err = s.db.exec(ctx, subjectInsert, hash, string(candidate))
	if errors.Is(err, gatehouse.ErrConflict) {
		return known()
	}
	return candidate, err
}

func (s recordStore) ForgetPerson(ctx context.Context, person gatehouse.PersonID) (n int64, err error) {
	err = s.db.tx(ctx, func(t *tx) error {
		if n, err = t.exec(ctx, recordsForget, string(person)); err != nil {
			return err
		}
		_, err := t.exec(ctx, subjectForget, string(person))
		return err
	})
	return n, err
}

// Records are not remembered, so changing them need not be counted: logTx.

func (s recordStore) PutRecord(ctx context.Context, r *records.Record) (created bool, err error) {
	// Whoever puts a record looks next whether its person was erased meanwhile, by
	// whatever process, and must not be told what was remembered from before.
	defer s.db.cache.forget()
	first := micros(r.Created)
	err = s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, recordInsert, string(r.Person), string(r.Purpose), r.Label, flag(r.JSON), r.Sealed, r.Size,
			micros(r.Created), micros(r.Updated), micros(r.Expires))
		if created = n == 1; err != nil || created {
			return err
		}
		if _, err = t.exec(ctx, recordReplace, string(r.Person), string(r.Purpose), r.Label, flag(r.JSON), r.Sealed, r.Size,
			micros(r.Updated), micros(r.Expires)); err != nil {
			return err
		}
		return t.queryRow(ctx, recordCreated, string(r.Person), string(r.Purpose), r.Label).Scan(&first)
	})
	r.Created = fromMicros(first)
	return created, err
}

func (s recordStore) Record(ctx context.Context, key records.Key) (records.Record, error) {
	r := records.Record{Key: key}
	var json, created, updated, expires int64
	err := s.db.queryRow(ctx, recordSelect, string(key.Person), string(key.Purpose), key.Label).
		Scan(&json, &r.Sealed, &r.Size, &created, &updated, &expires)
	r.JSON, r.Created, r.Updated, r.Expires = json > 0, fromMicros(created), fromMicros(updated), fromMicros(expires)
	return r, err
}

func (s recordStore) Records(ctx context.Context, after records.Key, limit int) ([]records.Record, error) {
	return collectRecords(s.db.query(ctx, recordsOfPerson, string(after.Person), string(after.Purpose), after.Label, limit))
}

func collectRecords(r *rows, err error) ([]records.Record, error) {
	return collect[records.Record](r, err)(func(r *rows) (records.Record, error) {
		var rec records.Record
		var json, created, updated, expires int64
		err := r.Scan(&rec.Person, &rec.Purpose, &rec.Label, &json, &rec.Size, &created, &updated, &expires)
		rec.JSON, rec.Created, rec.Updated, rec.Expires = json > 0, fromMicros(created), fromMicros(updated), fromMicros(expires)
		return rec, err
	})
}

func (s recordStore) DeleteRecords(ctx context.Context, list []records.Record) (n int64, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		n = 0
		for _, r := range list {
			deleted, err := t.exec(ctx, recordDelete, string(r.Person), string(r.Purpose), r.Label, micros(r.Updated))
			if err != nil {
				return err
			}
			n += deleted
		}
		return nil
	})
	return n, err
}

// RecordPurposes steps from one purpose to the next by the index: there are few
// purposes and may be many records.
func (s recordStore) RecordPurposes(ctx context.Context) ([]gatehouse.PurposeName, error) {
	var all []gatehouse.PurposeName
	for last := ""; ; {
		err := s.db.queryRow(ctx, recordNextPurpose, last).Scan(&last)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, gatehouse.PurposeName(last))
	}
}

func (s recordStore) ExpiredRecords(ctx context.Context, purpose gatehouse.PurposeName, now, updatedBefore time.Time, limit int) ([]records.Record, error) {
	expired, err := collectRecords(s.db.query(ctx, recordsExpired, string(purpose), micros(now), limit))
	if err != nil || len(expired) > 0 || updatedBefore.IsZero() {
		return expired, err
	}
	return collectRecords(s.db.query(ctx, recordsAged, string(purpose), micros(updatedBefore), limit))
}
