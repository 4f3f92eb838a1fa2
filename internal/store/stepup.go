package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
)

const (
	stepupInsert statement = `INSERT INTO stepup_requests
		(id, service, person, about, methods, further, max_age, return_to, app_state, stage, browser_hash, ceremony, pending,
		 proved, proved_by, enrolled, is_first, wrong, begun, code_hash, created, expires, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', NULL, NULL, 0, '', '', 0, 0, 0, '', $11, $12, 1)`
	// What a request is for never changes; only how far it has come does.
	stepupUpdate statement = `UPDATE stepup_requests SET stage = $3, browser_hash = $4, ceremony = $5, pending = $6, proved = $7,
		proved_by = $8, enrolled = $9, is_first = $10, wrong = $11, begun = $12, code_hash = $13, expires = $14, version = version + 1
		WHERE id = $1 AND version = $2`
	stepupSelect statement = `SELECT id, service, person, about, methods, further, max_age, return_to, app_state, stage, browser_hash, ceremony,
		pending, proved, proved_by, enrolled, is_first, wrong, begun, code_hash, created, expires, version FROM stepup_requests WHERE id = $1`
	stepupSweep statement = `DELETE FROM stepup_requests WHERE expires < $1`
	stepupKeep  statement = `DELETE FROM stepup_requests WHERE person = $1 AND id NOT IN
		(SELECT id FROM stepup_requests WHERE person = $1 ORDER BY created DESC, id DESC LIMIT $2)`
	stepupOrphanFactors statement = `DELETE FROM stepup_factors WHERE request <> ''
		AND NOT EXISTS (SELECT 1 FROM stepup_requests WHERE id = stepup_factors.request)`
	stepupOrphanCodes statement = `DELETE FROM stepup_recovery WHERE request <> ''
		AND NOT EXISTS (SELECT 1 FROM stepup_requests WHERE id = stepup_recovery.request)`

	factorInsert statement = `INSERT INTO stepup_factors (id, person, request, method, site, sealed, step, blocked, created, used, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, 0, 1)`
	factorUse statement = `UPDATE stepup_factors SET sealed = $3, step = $4, used = $5, version = version + 1
		WHERE id = $1 AND version = $2 AND blocked = 0 AND request = '' AND (step < $4 OR (step = 0 AND $4 = 0))`
	factorsOf statement = `SELECT id, person, request, method, site, sealed, step, blocked, created, used, version
		FROM stepup_factors WHERE person = $1 AND request = '' ORDER BY created, id`
	factorsCount statement = `SELECT count(*) FROM stepup_factors WHERE person = $1 AND request = ''`
	factorBlock  statement = `UPDATE stepup_factors SET blocked = 1, version = version + 1 WHERE id = $1`
	// With a copied factor goes what may have been proved with the copy: the browsers that
	// are known by it (the budget that all others share stays), and the requests.
	copiedBrowsers statement = `DELETE FROM stepup_browsers WHERE hash <> '' AND person = (SELECT person FROM stepup_factors WHERE id = $1)`
	copiedRequests statement = `DELETE FROM stepup_requests WHERE proved > 0 AND proved_by = (SELECT method FROM stepup_factors WHERE id = $1)
		AND person = (SELECT person FROM stepup_factors WHERE id = $1)`
	factorsActivate statement = `UPDATE stepup_factors SET request = '', version = version + 1 WHERE request = $1 AND request <> ''`
	factorsDrop     statement = `DELETE FROM stepup_factors WHERE request = $1 AND request <> ''`

	recoveryInsert   statement = `INSERT INTO stepup_recovery (person, hash, request) VALUES ($1, $2, $3)`
	recoveryTake     statement = `DELETE FROM stepup_recovery WHERE person = $1 AND hash = $2 AND request = ''`
	recoveryCount    statement = `SELECT count(*) FROM stepup_recovery WHERE person = $1 AND request = ''`
	recoveryPending  statement = `SELECT count(*) FROM stepup_recovery WHERE request = $1 AND request <> ''`
	recoveryReplace  statement = `DELETE FROM stepup_recovery WHERE person = $1 AND request = ''`
	recoveryActivate statement = `UPDATE stepup_recovery SET request = '' WHERE request = $1 AND request <> ''`
	recoveryDrop     statement = `DELETE FROM stepup_recovery WHERE request = $1 AND request <> ''`

	browserSelect statement = `SELECT person, hash, proved, method FROM stepup_browsers WHERE person = $1 AND hash = $2 AND proved > 0`
	browserPut    statement = `INSERT INTO stepup_browsers (person, hash, proved, method, spent) VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (person, hash) DO UPDATE SET proved = $3, method = $4`
	browserDrop statement = `DELETE FROM stepup_browsers WHERE person = $1 AND hash = $2 AND hash <> ''`
	browserKeep statement = `DELETE FROM stepup_browsers WHERE person = $1 AND hash <> '' AND hash NOT IN
		(SELECT hash FROM stepup_browsers WHERE person = $1 AND hash <> '' ORDER BY proved DESC, hash LIMIT $2)`
	guessRow  statement = `INSERT INTO stepup_browsers (person, hash, proved, method, spent) VALUES ($1, $2, 0, '', 0) ON CONFLICT DO NOTHING`
	guessRead statement = `SELECT spent FROM stepup_browsers WHERE person = $1 AND hash = $2`
	guessTake statement = `UPDATE stepup_browsers SET spent = $3 WHERE person = $1 AND hash = $2`
	guessBack statement = `UPDATE stepup_browsers SET spent = spent - $3 WHERE person = $1 AND hash = $2 AND spent >= $3`

	stepupResetFactors  statement = `DELETE FROM stepup_factors WHERE person = $1`
	stepupResetRecovery statement = `DELETE FROM stepup_recovery WHERE person = $1`
	stepupResetRequests statement = `DELETE FROM stepup_requests WHERE person = $1`
	stepupResetBrowsers statement = `DELETE FROM stepup_browsers WHERE person = $1`
	stepupForget        statement = `DELETE FROM stepup_people WHERE person = $1`
)

// stepupStore implements the Store of package stepup.
type stepupStore struct{ db *DB }

// Stepup returns the part of the database that keeps step-ups and second factors.
func (d *DB) Stepup() stepup.Store { return stepupStore{d} }

// None of these rows is remembered, so changing them need not be counted: logTx.

// AddRequest is in order with others by the rows that it locks: whoever adds at the
// same moment sweeps the same rows, and none of them has to fail for it.
func (s stepupStore) AddRequest(ctx context.Context, r *stepup.Request, subject []byte, keep int) error {
	err := s.db.rowTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, personAsked, string(r.Person), subject, micros(r.Created)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, stepupInsert, r.ID, string(r.Service), string(r.Person), r.About, list(r.Methods), flag(r.Add), r.MaxAge.Microseconds(),
			r.ReturnTo, r.AppState, string(r.Stage), micros(r.Created), micros(r.Expires)); err != nil {
			return err
		}
		swept, err := t.exec(ctx, stepupSweep, micros(r.Created.Add(-24*time.Hour)))
		if err != nil {
			return err
		}
		over, err := t.exec(ctx, stepupKeep, string(r.Person), keep)
		if err != nil || swept+over == 0 {
			return err
		}
		return t.orphans(ctx)
	})
	if err == nil {
		r.Version = 1
	}
	return err
}

// orphans deletes what was being set up in requests that are gone.
func (t *tx) orphans(ctx context.Context) error {
	if _, err := t.exec(ctx, stepupOrphanFactors); err != nil {
		return err
	}
	_, err := t.exec(ctx, stepupOrphanCodes)
	return err
}

func (s stepupStore) Request(ctx context.Context, id string) (stepup.Request, error) {
	var r stepup.Request
	var methods string
	var further, maxAge, proved, first, created, expires int64
	err := s.db.queryRow(ctx, stepupSelect, id).Scan(&r.ID, &r.Service, &r.Person, &r.About, &methods, &further, &maxAge, &r.ReturnTo, &r.AppState,
		&r.Stage, &r.BrowserHash, &r.Ceremony, &r.Pending, &proved, &r.ProvedBy, &r.Enrolled, &first, &r.Wrong, &r.Begun, &r.CodeHash, &created, &expires, &r.Version)
	if err != nil {
		return stepup.Request{}, err
	}
	r.Add, r.First, r.MaxAge = further > 0, first > 0, time.Duration(maxAge)*time.Microsecond
	r.Proved, r.Created, r.Expires = fromMicros(proved), fromMicros(created), fromMicros(expires)
	return r, unlist(methods, &r.Methods)
}

// saveRequest stores a request in place of the version that it was read as.
func saveRequest(ctx context.Context, t *tx, r *stepup.Request) error {
	n, err := t.exec(ctx, stepupUpdate, r.ID, r.Version, string(r.Stage), r.BrowserHash, r.Ceremony, r.Pending, micros(r.Proved), string(r.ProvedBy),
		string(r.Enrolled), flag(r.First), r.Wrong, r.Begun, r.CodeHash, micros(r.Expires))
	if err == nil && n == 0 {
		err = fmt.Errorf("the step-up changed meanwhile: %w", gatehouse.ErrConflict)
	}
	return err
}

// saving runs a transaction that saves a request, whose version goes up if it is
// stored.
func (s stepupStore) saving(ctx context.Context, r *stepup.Request, f func(*tx) error) error {
	err := s.db.logTx(ctx, func(t *tx) error {
		if err := saveRequest(ctx, t, r); err != nil {
			return err
		}
		return f(t)
	})
	if err == nil {
		r.Version++
	}
	return err
}

func (s stepupStore) SaveRequest(ctx context.Context, r *stepup.Request) error {
	return s.saving(ctx, r, func(t *tx) error {
		switch r.Stage {
		case stepup.Cancelled, stepup.Failed, stepup.Burnt:
		default:
			return nil
		}
		if _, err := t.exec(ctx, factorsDrop, r.ID); err != nil {
			return err
		}
		_, err := t.exec(ctx, recoveryDrop, r.ID)
		return err
	})
}

func (s stepupStore) Enrol(ctx context.Context, r *stepup.Request, f stepup.Factor, codes []factor.RecoveryHash) error {
	return s.saving(ctx, r, func(t *tx) error {
		if _, err := t.exec(ctx, factorInsert, f.ID, string(f.Person), f.Request, string(f.Method), f.Site, f.Sealed, f.Step, micros(f.Created)); err != nil {
			return err
		}
		if len(codes) == 0 {
			return nil
		}
		if _, err := t.exec(ctx, recoveryDrop, r.ID); err != nil {
			return err
		}
		for _, c := range codes {
			if _, err := t.exec(ctx, recoveryInsert, string(f.Person), c[:], r.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s stepupStore) UseFactor(ctx context.Context, r *stepup.Request, f stepup.Factor) error {
	return s.saving(ctx, r, func(t *tx) error {
		n, err := t.exec(ctx, factorUse, f.ID, f.Version, f.Sealed, f.Step, micros(f.Used))
		if err == nil && n == 0 {
			err = fmt.Errorf("the factor was used, changed or blocked meanwhile: %w", gatehouse.ErrConflict)
		}
		return err
	})
}

func (s stepupStore) UseRecovery(ctx context.Context, r *stepup.Request, hash factor.RecoveryHash) error {
	return s.saving(ctx, r, func(t *tx) error {
		n, err := t.exec(ctx, recoveryTake, string(r.Person), hash[:])
		if err == nil && n == 0 {
			err = fmt.Errorf("there is no such recovery code: %w", gatehouse.ErrNotFound)
		}
		return err
	})
}

func (s stepupStore) Finish(ctx context.Context, r *stepup.Request) error {
	return s.saving(ctx, r, func(t *tx) error {
		var n int64
		if r.First {
			if err := t.queryRow(ctx, factorsCount, string(r.Person)).Scan(&n); err != nil {
				return err
			}
			if n > 0 {
				return fmt.Errorf("the person has a factor by now: %w", gatehouse.ErrConflict)
			}
		}
		if err := t.queryRow(ctx, recoveryPending, r.ID).Scan(&n); err != nil {
			return err
		}
		if n > 0 {
			if _, err := t.exec(ctx, recoveryReplace, string(r.Person)); err != nil {
				return err
			}
			if _, err := t.exec(ctx, recoveryActivate, r.ID); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, factorsActivate, r.ID)
		return err
	})
}

func (s stepupStore) Factors(ctx context.Context, person gatehouse.PersonID) ([]stepup.Factor, int, error) {
	factors, err := collect[stepup.Factor](s.db.query(ctx, factorsOf, string(person)))(func(r *rows) (stepup.Factor, error) {
		var f stepup.Factor
		var blocked, created, used int64
		err := r.Scan(&f.ID, &f.Person, &f.Request, &f.Method, &f.Site, &f.Sealed, &f.Step, &blocked, &created, &used, &f.Version)
		f.Blocked, f.Created, f.Used = blocked > 0, fromMicros(created), fromMicros(used)
		return f, err
	})
	if err != nil {
		return nil, 0, err
	}
	left := 0
	err = s.db.queryRow(ctx, recoveryCount, string(person)).Scan(&left)
	return factors, left, err
}

func (s stepupStore) Block(ctx context.Context, id string) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, what := range []statement{factorBlock, copiedBrowsers, copiedRequests} {
			if _, err := t.exec(ctx, what, id); err != nil {
				return err
			}
		}
		return t.orphans(ctx)
	})
}

func (s stepupStore) Reset(ctx context.Context, person gatehouse.PersonID) (int, error) {
	var n int
	err := s.db.logTx(ctx, func(t *tx) (err error) {
		n, err = resetStepups(ctx, t, person)
		return err
	})
	return n, err
}

func resetStepups(ctx context.Context, t *tx, person gatehouse.PersonID) (n int, err error) {
	if err := t.queryRow(ctx, factorsCount, string(person)).Scan(&n); err != nil {
		return 0, err
	}
	for _, statement := range []statement{stepupResetFactors, stepupResetRecovery, stepupResetRequests, stepupResetBrowsers} {
		if _, err := t.exec(ctx, statement, string(person)); err != nil {
			return 0, err
		}
	}
	return n, nil
}

func (s stepupStore) Forget(ctx context.Context, person gatehouse.PersonID) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := resetStepups(ctx, t, person); err != nil {
			return err
		}
		_, err := t.exec(ctx, stepupForget, string(person))
		return err
	})
}

func (s stepupStore) Browser(ctx context.Context, person gatehouse.PersonID, hash string) (stepup.Browser, error) {
	var b stepup.Browser
	var proved int64
	err := s.db.queryRow(ctx, browserSelect, string(person), hash).Scan(&b.Person, &b.Hash, &proved, &b.By)
	b.Proved = fromMicros(proved)
	return b, err
}

func (s stepupStore) Remember(ctx context.Context, b stepup.Browser, instead string, keep int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if instead != "" {
			if _, err := t.exec(ctx, browserDrop, string(b.Person), instead); err != nil {
				return err
			}
		}
		if _, err := t.exec(ctx, browserPut, string(b.Person), b.Hash, micros(b.Proved), string(b.By)); err != nil {
			return err
		}
		_, err := t.exec(ctx, browserKeep, string(b.Person), keep)
		return err
	})
}

func (s stepupStore) Guess(ctx context.Context, person gatehouse.PersonID, hash string, now time.Time, every time.Duration, burst int) (next time.Time, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, guessRow, string(person), hash); err != nil {
			return err
		}
		var spent int64
		if err := t.queryRow(ctx, guessRead, string(person), hash).Scan(&spent); err != nil {
			return err
		}
		spent = max(spent, micros(now)) + every.Microseconds()
		if full := micros(now) + every.Microseconds()*int64(burst); spent > full {
			next = fromMicros(micros(now) + spent - full)
			return fmt.Errorf("the budget of guesses is used up: %w", gatehouse.ErrLimited)
		}
		_, err := t.exec(ctx, guessTake, string(person), hash, spent)
		return err
	})
	if err != nil && !errors.Is(err, gatehouse.ErrLimited) {
		next = time.Time{}
	}
	return next, err
}

func (s stepupStore) Unguess(ctx context.Context, person gatehouse.PersonID, hash string, every time.Duration) error {
	_, err := s.db.logExec(ctx, guessBack, string(person), hash, every.Microseconds())
	return err
}
