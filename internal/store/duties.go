package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
)

const (
	dutyColumns = `id, kind, origin, app, platform, person, request, code, opened, deadline, revoked, asked, answered,
		answered_by, shredded, closed, justification, noted, look_at, proof, version`
	dutyInsert statement = `INSERT INTO duties (` + dutyColumns + `)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 1)`
	// Whose duty it is, and what asked for it, never change.
	dutyUpdate statement = `UPDATE duties SET kind = $3, deadline = $4, revoked = $5, asked = $6, answered = $7, answered_by = $8,
		shredded = $9, closed = $10, justification = $11, noted = $12, look_at = $13, proof = $14, version = version + 1
		WHERE id = $1 AND version = $2`
	dutySelect    statement = `SELECT ` + dutyColumns + ` FROM duties WHERE id = $1`
	dutyByCode    statement = `SELECT ` + dutyColumns + ` FROM duties WHERE code = $1`
	dutyByRequest statement = `SELECT ` + dutyColumns + ` FROM duties WHERE request = $1`
	dutyOfPerson  statement = `SELECT ` + dutyColumns + ` FROM duties WHERE person = $1 AND person <> '' AND closed = 0`
	dutiesDue     statement = `SELECT ` + dutyColumns + ` FROM duties WHERE look_at > 0 AND look_at <= $1 ORDER BY look_at LIMIT $2`
	dutyOpened    statement = `SELECT opened FROM duties WHERE id = $1`
	// One statement for each way to select that has an index.
	dutiesOfAll    statement = `SELECT ` + dutyColumns + ` FROM duties WHERE opened >= $5` + dutiesOthers
	dutiesOpen     statement = `SELECT ` + dutyColumns + ` FROM duties WHERE closed = 0 AND opened >= $5` + dutiesOthers
	dutiesOfPerson statement = `SELECT ` + dutyColumns + ` FROM duties WHERE person = $2 AND person <> ''` + dutiesOthers
	dutiesOthers             = ` AND ($1 = '' OR app = $1) AND ($2 = '' OR person = $2)
		AND ($3 = '' OR ($3 = 'refused' AND justification <> '') OR ($3 = 'done' AND closed > 0 AND justification = '')
			OR ($3 = 'open' AND closed = 0 AND deadline >= $4) OR ($3 = 'overdue' AND closed = 0 AND deadline < $4))
		AND (opened > $5 OR (opened = $5 AND id > $6)) ORDER BY opened, id LIMIT $7`
)

// caseStore implements the Store of package cases.
type caseStore struct{ db *DB }

// Cases returns the store of package cases.
func (d *DB) Cases() cases.Store { return caseStore{d} }

func (s caseStore) OpenDuty(ctx context.Context, d cases.Duty) (cases.Duty, error) {
	_, err := s.db.logExec(ctx, dutyInsert, d.ID, d.Kind, d.Origin, d.App, d.Platform, d.Person, d.Key, d.Code, micros(d.Opened),
		micros(d.Deadline), micros(d.Revoked), micros(d.Asked), micros(d.Answered), d.AnsweredBy, micros(d.Shredded),
		micros(d.Closed), d.Justification, micros(d.Noted), micros(d.LookAt), d.Proof)
	if !errors.Is(err, gatehouse.ErrConflict) {
		return d, err
	}
	known, again := scanDuty(s.db.queryRow(ctx, dutyByRequest, d.Key))
	if errors.Is(again, gatehouse.ErrNotFound) {
		known, again = scanDuty(s.db.queryRow(ctx, dutyOfPerson, d.Person))
	}
	if errors.Is(again, gatehouse.ErrNotFound) {
		return cases.Duty{}, err // it was closed in between: the caller may ask again
	}
	return known, again
}

func (s caseStore) SaveDuty(ctx context.Context, d cases.Duty) error {
	n, err := s.db.logExec(ctx, dutyUpdate, d.ID, d.Version, d.Kind, micros(d.Deadline), micros(d.Revoked), micros(d.Asked),
		micros(d.Answered), d.AnsweredBy, micros(d.Shredded), micros(d.Closed), d.Justification, micros(d.Noted), micros(d.LookAt), d.Proof)
	if err == nil && n == 0 {
		err = fmt.Errorf("the duty changed meanwhile: %w", gatehouse.ErrConflict)
	}
	return err
}

func (s caseStore) Duty(ctx context.Context, id string) (cases.Duty, error) {
	return scanDuty(s.db.queryRow(ctx, dutySelect, id))
}

func (s caseStore) DutyByCode(ctx context.Context, code string) (cases.Duty, error) {
	return scanDuty(s.db.queryRow(ctx, dutyByCode, code))
}

func (s caseStore) Duties(ctx context.Context, f cases.Filter) ([]cases.Duty, error) {
	var after int64
	if f.After != "" {
		err := s.db.queryRow(ctx, dutyOpened, f.After).Scan(&after)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return nil, fmt.Errorf("the page's beginning is not known: %w", gatehouse.ErrInvalid)
		}
		if err != nil {
			return nil, err
		}
	}
	query := dutiesOfAll
	switch {
	case f.Person != "":
		query = dutiesOfPerson
	case f.State == cases.Open || f.State == cases.Overdue:
		query = dutiesOpen
	}
	return collect[cases.Duty](s.db.query(ctx, query, f.App, f.Person, f.State, micros(f.Now), after, f.After, f.Limit))(scanDutyRow)
}

func (s caseStore) DutiesToLookAt(ctx context.Context, now time.Time, limit int) ([]cases.Duty, error) {
	return collect[cases.Duty](s.db.query(ctx, dutiesDue, micros(now), limit))(scanDutyRow)
}

func scanDutyRow(r *rows) (cases.Duty, error) { return scanDuty(r) }

func scanDuty(row interface{ Scan(...any) error }) (cases.Duty, error) {
	var d cases.Duty
	var opened, deadline, revoked, asked, answered, shredded, closed, noted, lookAt int64
	err := row.Scan(&d.ID, &d.Kind, &d.Origin, &d.App, &d.Platform, &d.Person, &d.Key, &d.Code, &opened, &deadline, &revoked, &asked,
		&answered, &d.AnsweredBy, &shredded, &closed, &d.Justification, &noted, &lookAt, &d.Proof, &d.Version)
	if err != nil {
		return cases.Duty{}, fmt.Errorf("reading a duty: %w", err)
	}
	d.Opened, d.Deadline, d.Revoked, d.Asked = fromMicros(opened), fromMicros(deadline), fromMicros(revoked), fromMicros(asked)
	d.Answered, d.Shredded, d.Closed = fromMicros(answered), fromMicros(shredded), fromMicros(closed)
	d.Noted, d.LookAt = fromMicros(noted), fromMicros(lookAt)
	return d, nil
}
