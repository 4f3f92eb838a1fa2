package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
)

const (
	operatorColumns = `o.id, o.environment, o.name, o.email, COALESCE(o.email_key, ''), o.state, o.reason, o.created, o.seen, o.decided_until,
		o.own_email, o.handle, o.password, o.totp, o.totp_step, o.totp_next, o.totp_next_end,
		(SELECT count(*) FROM operator_passkeys p WHERE p.operator = o.id),
		(SELECT count(*) FROM operator_recovery c WHERE c.operator = o.id)`
	selectOperator          statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.id = $1`
	selectOperatorByEmail   statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.email_key = $1`
	selectOperatorByHandle  statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.handle = $1`
	selectOperatorBySubject statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.subject = $1`
	linkSubject             statement = `UPDATE operators SET subject = $2 WHERE id = $1 AND subject IS NULL AND state <> 'removed'`
	selectOperators         statement = `SELECT ` + operatorColumns + ` FROM operators o ORDER BY o.created, o.id`
	selectGrantsOf          statement = `SELECT operator, role, until, provider, mac FROM operator_grants WHERE operator = $1 ORDER BY role`
	selectGrants            statement = `SELECT operator, role, until, provider, mac FROM operator_grants ORDER BY operator, role`

	insertOperator statement = `INSERT INTO operators (id, environment, name, email, email_key, state, reason, created, seen, decided_until,
		handle, password, totp, totp_step, totp_next, totp_next_end)
		VALUES ($1, $2, $3, $4, $5, $6, '', $7, 0, 0, $8, '', '', 0, '', 0)`
	// holdOperator locks a row, so that what depends on its state happens before it
	// changes or after.
	holdOperator        statement = `UPDATE operators SET state = state WHERE id = $1 AND state = $2`
	updateOperatorState statement = `UPDATE operators SET state = $3, reason = $4, seen = CASE WHEN $3 = 'active' THEN $5 ELSE seen END,
		decided_until = CASE WHEN CAST($6 AS BIGINT) = 1 THEN $5 ELSE decided_until END
		WHERE id = $1 AND state = $2 AND (CAST($8 AS TEXT) = '' OR reason = $8) AND (CAST($7 AS BIGINT) = 0 OR CASE WHEN seen = 0 THEN created ELSE seen END < CAST($7 AS BIGINT))`
	updateOperatorProfile statement = `UPDATE operators SET name = $2, email = $3, email_key = $4, own_email = $5 WHERE id = $1 AND state <> 'removed'`
	noteDecider           statement = `UPDATE operators SET decided_until = $2 WHERE id = $1`
	blankOperator         statement = `UPDATE operators SET name = '', email = '', email_key = NULL, subject = NULL, password = '', totp = '', totp_next = '' WHERE id = $1`
	blankFactors          statement = `UPDATE operators SET subject = NULL, password = '', totp = '', totp_next = '' WHERE id = $1`
	// blankOwnFactors leaves what a provider calls the account.
	blankOwnFactors statement = `UPDATE operators SET password = '', totp = '', totp_step = 0, totp_next = '', totp_next_end = 0 WHERE id = $1`
	// countHolders counts the active accounts that have a role without an end.
	countHolders statement = `SELECT count(*) FROM operators o JOIN operator_grants g ON g.operator = o.id
		WHERE o.state = 'active' AND g.role = $1 AND g.until = 0`
	// keeperOf is whether this account is one of them.
	keeperOf statement = `SELECT count(*) FROM operators o JOIN operator_grants g ON g.operator = o.id
		WHERE o.state = 'active' AND g.role = $1 AND g.until = 0 AND o.id = $2`

	upsertGrant statement = `INSERT INTO operator_grants (operator, role, since, until, provider, mac) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (operator, role) DO UPDATE SET until = excluded.until, provider = excluded.provider, mac = excluded.mac, source = ''`
	// holdGrant locks a grant that is as it was read.
	holdGrant    statement = `UPDATE operator_grants SET until = until WHERE operator = $1 AND role = $2 AND until = $3 AND mac = $4`
	deleteGrant  statement = `DELETE FROM operator_grants WHERE operator = $1 AND role = $2`
	deleteGrants statement = `DELETE FROM operator_grants WHERE operator = $1`
)

// Operators is the operator.Store of a database.
type Operators struct{ db *DB }

var _ operator.Store = (*Operators)(nil)

// Operators returns the part of the database that keeps operators.
func (d *DB) Operators() *Operators { return &Operators{db: d} }

// touched is what a write returns that changed n rows and had to change one.
func touched(n int64, err error, kind error, what string) error {
	if err == nil && n == 0 {
		return fmt.Errorf("%s: %w", what, kind)
	}
	return err
}

// AddAccount implements operator.AccountStore.
func (s *Operators) AddAccount(ctx context.Context, r operator.AccountRecord) error {
	return s.db.logTx(ctx, func(t *tx) error {
		a := r.Account
		if err := t.ownName(ctx, a.ID, a.Name); err != nil {
			return err
		}
		_, err := t.exec(ctx, insertOperator, string(a.ID), string(r.Environment), a.Name, a.Email, nullable(r.EmailKey),
			string(a.State), micros(a.Created), r.Handle)
		for _, g := range r.Grants {
			if err == nil {
				err = t.putGrant(ctx, a.ID, g, a.Created)
			}
		}
		return err
	})
}

// nullable is a text that is NULL when empty, so that many rows may lack it.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Account implements operator.AccountStore.
func (s *Operators) Account(ctx context.Context, id operator.AccountID) (operator.AccountRecord, error) {
	return s.one(ctx, selectOperator, string(id))
}

// AccountByEmail implements operator.AccountStore.
func (s *Operators) AccountByEmail(ctx context.Context, key string) (operator.AccountRecord, error) {
	return s.one(ctx, selectOperatorByEmail, key)
}

// AccountByHandle implements operator.AccountStore.
func (s *Operators) AccountByHandle(ctx context.Context, handle []byte) (operator.AccountRecord, error) {
	return s.one(ctx, selectOperatorByHandle, handle)
}

// AccountBySubject implements operator.SubjectStore.
func (s *Operators) AccountBySubject(ctx context.Context, subject string) (operator.AccountRecord, error) {
	return s.one(ctx, selectOperatorBySubject, subject)
}

// LinkSubject implements operator.SubjectStore.
func (s *Operators) LinkSubject(ctx context.Context, id operator.AccountID, subject string) error {
	n, err := s.db.logExec(ctx, linkSubject, string(id), subject)
	return touched(n, err, gatehouse.ErrConflict, "the account has another subject")
}

func (s *Operators) one(ctx context.Context, which statement, key any) (operator.AccountRecord, error) {
	r, err := scanOperator(s.db.queryRow(ctx, which, key))
	if err != nil {
		return operator.AccountRecord{}, err
	}
	// Grants are read after the account, which never gets more of them than it had
	// when it was active: an account that is suspended keeps them.
	r.Grants, err = collect[operator.GrantRecord](s.db.query(ctx, selectGrantsOf, string(r.Account.ID)))(func(r *rows) (operator.GrantRecord, error) {
		_, g, err := scanGrant(r)
		return g, err
	})
	return r, err
}

func (t *tx) putGrant(ctx context.Context, id operator.AccountID, g operator.GrantRecord, at time.Time) error {
	_, err := t.exec(ctx, upsertGrant, string(id), string(g.Grant.Role), micros(at), micros(g.Grant.Until), flag(g.Grant.Provider), g.MAC)
	return err
}

func scanGrant(r *rows) (id operator.AccountID, g operator.GrantRecord, err error) {
	var until, provider int64
	err = r.Scan(&id, &g.Grant.Role, &until, &provider, &g.MAC)
	g.Grant.Until, g.Grant.Provider = fromMicros(until), provider != 0
	return id, g, err
}

// Accounts implements operator.AccountStore.
func (s *Operators) Accounts(ctx context.Context) ([]operator.AccountRecord, error) {
	var all []operator.AccountRecord
	err := s.db.snapshot(ctx, func(t *tx) (err error) {
		all, err = collect[operator.AccountRecord](t.query(ctx, selectOperators))(func(r *rows) (operator.AccountRecord, error) { return scanOperator(r) })
		if err != nil {
			return err
		}
		grants := map[operator.AccountID][]operator.GrantRecord{}
		_, err = collect[struct{}](t.query(ctx, selectGrants))(func(r *rows) (struct{}, error) {
			id, g, err := scanGrant(r)
			grants[id] = append(grants[id], g)
			return struct{}{}, err
		})
		for i := range all {
			all[i].Grants = grants[all[i].Account.ID]
		}
		return err
	})
	return all, err
}

func scanOperator(r scanner) (operator.AccountRecord, error) {
	var record operator.AccountRecord
	var created, seen, decided, nextEnd, own int64
	a := &record.Account
	err := r.Scan(&a.ID, &record.Environment, &a.Name, &a.Email, &record.EmailKey, &a.State, &a.Reason, &created, &seen, &decided,
		&own, &record.Handle, &record.Password, &record.TOTP, &record.Step, &record.NextTOTP, &nextEnd, &a.Passkeys, &a.RecoveryLeft)
	a.Created, a.LastSeen = fromMicros(created), fromMicros(seen)
	a.Password, a.TOTP = record.Password != "", record.TOTP != ""
	record.NextEnd, record.Decided, record.OwnEmail = fromMicros(nextEnd), fromMicros(decided), own != 0
	return record, err
}

// keeping runs a change after which somebody must still have a role, if the account
// that it is about was one who did.
func (t *tx) keeping(ctx context.Context, role operator.Role, id operator.AccountID, change func() error) error {
	if role == "" {
		return change()
	}
	var keeper, left int
	if err := t.queryRow(ctx, keeperOf, string(role), string(id)).Scan(&keeper); err != nil {
		return err
	}
	if err := change(); err != nil || keeper == 0 {
		return err
	}
	if err := t.queryRow(ctx, countHolders, string(role)).Scan(&left); err != nil {
		return err
	}
	if left == 0 {
		return operator.ErrLast
	}
	return nil
}

// SetState implements operator.AccountStore.
func (s *Operators) SetState(ctx context.Context, id operator.AccountID, change operator.StateChange) error {
	return s.db.logTx(ctx, func(t *tx) error { return t.setState(ctx, id, change) })
}

func (t *tx) setState(ctx context.Context, id operator.AccountID, change operator.StateChange) error {
	return t.keeping(ctx, change.Keep, id, func() error {
		moved := false
		for _, from := range change.From {
			if moved {
				break
			}
			n, err := t.exec(ctx, updateOperatorState, string(id), string(from), string(change.To), change.Reason, micros(change.At),
				flag(change.Decider), micros(change.SeenBefore), change.Because)
			if err != nil {
				return err
			}
			moved = n > 0
		}
		if !moved {
			return fmt.Errorf("the account is in none of the states %v: %w", change.From, gatehouse.ErrConflict)
		}
		if change.To == operator.Active {
			return nil
		}
		return t.all(ctx, string(id), clearTokens, withdrawApprovals, clearAllSessions)
	})
}

const clearAllSessions statement = `DELETE FROM operator_sessions WHERE operator = $1`

// all runs statements about one operator.
func (t *tx) all(ctx context.Context, id string, statements ...statement) error {
	for _, s := range statements {
		if _, err := t.exec(ctx, s, id); err != nil {
			return err
		}
	}
	return nil
}

// Forget implements operator.AccountStore.
func (s *Operators) Forget(ctx context.Context, id operator.AccountID, change operator.StateChange) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if err := t.setState(ctx, id, change); err != nil {
			return err
		}
		return t.all(ctx, string(id), blankOperator, clearMembership, clearProvisioned, clearPasskeys, clearRecovery, clearBrowsers, deleteGrants)
	})
}

// SetProfile implements operator.AccountStore.
func (s *Operators) SetProfile(ctx context.Context, id operator.AccountID, by operator.Claim, p operator.Naming) error {
	return s.claiming(ctx, id, by, func(t *tx) error {
		if err := t.ownName(ctx, id, p.Name); err != nil {
			return err
		}
		n, err := t.exec(ctx, updateOperatorProfile, string(id), p.Name, p.Email, nullable(p.EmailKey), flag(p.OwnEmail))
		return touched(n, err, gatehouse.ErrNotFound, "no such account")
	})
}

// PutGrant implements operator.GrantStore.
func (s *Operators) PutGrant(ctx context.Context, id operator.AccountID, g operator.GrantRecord, at time.Time, keep operator.Role) error {
	return s.db.logTx(ctx, func(t *tx) error {
		return t.keeping(ctx, keep, id, func() error {
			var state operator.State
			if err := t.queryRow(ctx, stateOf, string(id)).Scan(&state); err != nil {
				return err
			}
			if state == operator.Removed {
				return fmt.Errorf("the account is removed: %w", gatehouse.ErrConflict)
			}
			return t.putGrant(ctx, id, g, at)
		})
	})
}

const stateOf statement = `SELECT state FROM operators WHERE id = $1`

// DropGrant implements operator.GrantStore.
func (s *Operators) DropGrant(ctx context.Context, id operator.AccountID, role operator.Role, at time.Time, keep operator.Role, decider bool) error {
	return s.db.logTx(ctx, func(t *tx) error {
		return t.keeping(ctx, keep, id, func() error {
			n, err := t.exec(ctx, deleteGrant, string(id), string(role))
			if err = touched(n, err, gatehouse.ErrNotFound, "no such grant"); err != nil || !decider {
				return err
			}
			_, err = t.exec(ctx, noteDecider, string(id), micros(at))
			return err
		})
	})
}

// MoveGrants implements operator.GrantStore.
func (s *Operators) MoveGrants(ctx context.Context, m operator.GrantMove) error {
	return s.db.logTx(ctx, func(t *tx) error {
		return t.keeping(ctx, m.Keep, m.From, func() error {
			n, err := t.exec(ctx, holdOperator, string(m.To), string(operator.Active))
			if err = touched(n, err, gatehouse.ErrConflict, "who takes over is not active"); err != nil {
				return err
			}
			if err := t.asRead(ctx, m.From, m.Given); err != nil {
				return err
			}
			if err := t.asRead(ctx, m.To, m.Had); err != nil {
				return err
			}
			for _, g := range m.Grants {
				if err := t.putGrant(ctx, m.To, g, m.At); err != nil {
					return err
				}
			}
			if m.Decider {
				if _, err := t.exec(ctx, noteDecider, string(m.From), micros(m.At)); err != nil {
					return err
				}
			}
			return t.all(ctx, string(m.From), deleteGrants, clearAllSessions, withdrawApprovals)
		})
	})
}

// asRead locks grants, and is ErrConflict if one is not any more what it was.
func (t *tx) asRead(ctx context.Context, id operator.AccountID, grants []operator.GrantRecord) error {
	for _, g := range grants {
		n, err := t.exec(ctx, holdGrant, string(id), string(g.Grant.Role), micros(g.Grant.Until), g.MAC)
		if err = touched(n, err, gatehouse.ErrConflict, "a role was taken away or changed meanwhile"); err != nil {
			return err
		}
	}
	return nil
}
