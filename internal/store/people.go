package store

import (
	"context"
	"time"

	"gatehouse"
)

const (
	personEnd statement = `INSERT INTO connect_people_ended (user_hash, person)
		SELECT user_hash, person FROM connect_people WHERE person = $1 ON CONFLICT DO NOTHING`
	personDrop   statement = `DELETE FROM connect_people WHERE person = $1`
	peopleEnded  statement = `SELECT person FROM connect_people_ended WHERE user_hash = $1 ORDER BY person`
	personForget statement = `DELETE FROM connect_people_ended WHERE person = $1`
	// What is left of a connection says that there was one, of which kind, when.
	connectionsErase statement = `UPDATE connections SET status = 'erased', reason = '', cause = '', check_at = 0, data_access_expires = 0, platform_user = NULL, name = NULL,
		subject = NULL, access = NULL, refresh = NULL, user_hash = '', subject_hash = '', external_hash = '', renew_at = 0,
		lease_until = 0, revoke_outstanding = 0, updated = $2, version = version + 1 WHERE person = $1 AND person <> ''`
	attemptsErase statement = `DELETE FROM connect_attempts WHERE connection IN (SELECT id FROM connections WHERE person = $1)`
	importsErase  statement = `DELETE FROM connect_imports WHERE connection IN (SELECT id FROM connections WHERE person = $1)`
)

func (s connectStore) EndPerson(ctx context.Context, person gatehouse.PersonID) error {
	return s.db.tx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, personEnd, person); err != nil {
			return err
		}
		_, err := t.exec(ctx, personDrop, person)
		return err
	})
}

func (s connectStore) EndedPeople(ctx context.Context, userHash string) ([]gatehouse.PersonID, error) {
	return collect[gatehouse.PersonID](s.db.query(ctx, peopleEnded, userHash))(func(r *rows) (gatehouse.PersonID, error) {
		var person gatehouse.PersonID
		err := r.Scan(&person)
		return person, err
	})
}

func (s connectStore) ErasePerson(ctx context.Context, person gatehouse.PersonID, at time.Time) error {
	return s.db.tx(ctx, func(t *tx) error {
		for _, statement := range []statement{repeatsErase, windowsErase, usesErase, attemptsErase, importsErase, personDrop, personForget} {
			if _, err := t.exec(ctx, statement, person); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, connectionsErase, person, micros(at))
		return err
	})
}
