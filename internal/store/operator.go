package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
)

const (
	operatorColumns = `o.id, o.environment, o.name, o.email, COALESCE(o.email_key, ''), o.state, o.reason, o.created, o.seen, o.decided_until,
		o.handle, o.password, o.totp, o.totp_step, o.totp_next, o.totp_next_end,
		(SELECT count(*) FROM operator_passkeys p WHERE p.operator = o.id),
		(SELECT count(*) FROM operator_recovery c WHERE c.operator = o.id)`
	selectOperator         statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.id = $1`
	selectOperatorByEmail  statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.email_key = $1`
	selectOperatorByHandle statement = `SELECT ` + operatorColumns + ` FROM operators o WHERE o.handle = $1`
	selectOperators        statement = `SELECT ` + operatorColumns + ` FROM operators o ORDER BY o.created, o.id`
	selectGrantsOf         statement = `SELECT operator, role, until, mac FROM operator_grants WHERE operator = $1 ORDER BY role`
	selectGrants           statement = `SELECT operator, role, until, mac FROM operator_grants ORDER BY operator, role`

	insertOperator statement = `INSERT INTO operators (id, environment, name, email, email_key, state, reason, created, seen, decided_until,
		handle, password, totp, totp_step, totp_next, totp_next_end)
		VALUES ($1, $2, $3, $4, $5, $6, '', $7, 0, 0, $8, '', '', 0, '', 0)`
	// holdOperator locks a row, so that what depends on its state happens before it
	// changes or after.
	holdOperator        statement = `UPDATE operators SET state = state WHERE id = $1 AND state = $2`
	updateOperatorState statement = `UPDATE operators SET state = $3, reason = $4, seen = CASE WHEN $3 = 'active' THEN $5 ELSE seen END,
		decided_until = CASE WHEN CAST($6 AS BIGINT) = 1 THEN $5 ELSE decided_until END
		WHERE id = $1 AND state = $2 AND (CAST($7 AS BIGINT) = 0 OR CASE WHEN seen = 0 THEN created ELSE seen END < CAST($7 AS BIGINT))`
	updateOperatorProfile statement = `UPDATE operators SET name = $2, email = $3, email_key = $4 WHERE id = $1 AND state <> 'removed'`
	noteDecider           statement = `UPDATE operators SET decided_until = $2 WHERE id = $1`
	blankOperator         statement = `UPDATE operators SET name = '', email = '', email_key = NULL, password = '', totp = '', totp_next = '' WHERE id = $1`
	blankFactors          statement = `UPDATE operators SET password = '', totp = '', totp_next = '' WHERE id = $1`
	// countHolders counts the active accounts that have a role without an end.
	countHolders statement = `SELECT count(*) FROM operators o JOIN operator_grants g ON g.operator = o.id
		WHERE o.state = 'active' AND g.role = $1 AND g.until = 0`
	// keeperOf is whether this account is one of them.
	keeperOf statement = `SELECT count(*) FROM operators o JOIN operator_grants g ON g.operator = o.id
		WHERE o.state = 'active' AND g.role = $1 AND g.until = 0 AND o.id = $2`

	upsertGrant statement = `INSERT INTO operator_grants (operator, role, since, until, mac) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (operator, role) DO UPDATE SET until = excluded.until, mac = excluded.mac`
	deleteGrant  statement = `DELETE FROM operator_grants WHERE operator = $1 AND role = $2`
	deleteGrants statement = `DELETE FROM operator_grants WHERE operator = $1`

	updatePassword statement = `UPDATE operators SET password = $3 WHERE id = $1 AND password = $2 AND state <> 'removed'`
	offerTOTP      statement = `UPDATE operators SET totp_next = $2, totp_next_end = $4
		WHERE id = $1 AND (totp_next = '' OR totp_next_end <= $3) AND state <> 'removed'`
	offeredTOTP statement = `SELECT totp_next FROM operators WHERE id = $1`
	acceptTOTP  statement = `UPDATE operators SET totp = $2, totp_step = $3, totp_next = '', totp_next_end = 0
		WHERE id = $1 AND totp_next = $2 AND state <> 'removed'`
	takeStep       statement = `UPDATE operators SET totp_step = $3 WHERE id = $1 AND totp = $2 AND totp_step < $3`
	insertRecovery statement = `INSERT INTO operator_recovery (operator, hash) VALUES ($1, $2)`
	deleteRecovery statement = `DELETE FROM operator_recovery WHERE operator = $1 AND hash = $2`
	clearRecovery  statement = `DELETE FROM operator_recovery WHERE operator = $1`

	insertPasskey  statement = `INSERT INTO operator_passkeys (id, operator, name, credential, mac, synced, created, used) VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`
	selectPasskeys statement = `SELECT id, operator, name, credential, mac, synced, created, used FROM operator_passkeys WHERE operator = $1 ORDER BY created, id`
	countPasskeys  statement = `SELECT count(*) FROM operator_passkeys WHERE operator = $1`
	usePasskey     statement = `UPDATE operator_passkeys SET credential = $3, used = $4 WHERE id = $1 AND credential = $2`
	deletePasskey  statement = `DELETE FROM operator_passkeys WHERE operator = $1 AND id = $2`
	clearPasskeys  statement = `DELETE FROM operator_passkeys WHERE operator = $1`
	hasCodes       statement = `SELECT count(*) FROM operators WHERE id = $1 AND password <> '' AND totp <> ''`
	insertCeremony statement = `INSERT INTO operator_ceremonies (hash, until) VALUES ($1, $2)`

	insertOperatorToken statement = `INSERT INTO operator_tokens (hash, kind, operator, binding, tries, created, until) VALUES ($1, $2, $3, $4, 0, $5, $6)`
	clearTokensOfKind   statement = `DELETE FROM operator_tokens WHERE operator = $1 AND kind = $2`
	clearTokens         statement = `DELETE FROM operator_tokens WHERE operator = $1`
	selectOperatorToken statement = `SELECT hash, kind, operator, binding, tries, created, until FROM operator_tokens WHERE hash = $1`
	claimToken          statement = `UPDATE operator_tokens SET binding = $2 WHERE hash = $1 AND (binding = $3 OR binding = $2)`
	tryToken            statement = `UPDATE operator_tokens SET tries = tries + 1 WHERE hash = $1 AND tries < $2`
	deleteToken         statement = `DELETE FROM operator_tokens WHERE hash = $1`

	sessionColumns           = `s.id, s.hash, s.operator, s.binding, s.created, s.seen, s.proved, s.idle_until, s.until, s.agent, s.source`
	insertSession  statement = `INSERT INTO operator_sessions (id, hash, operator, binding, created, seen, proved, idle_until, until, agent, source)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`
	selectSession  statement = `SELECT ` + sessionColumns + ` FROM operator_sessions s WHERE s.hash = $1`
	selectSessions statement = `SELECT ` + sessionColumns + ` FROM operator_sessions s WHERE s.operator = $1 ORDER BY s.created DESC, s.id`
	touchSession   statement = `UPDATE operator_sessions SET seen = $2, idle_until = $3 WHERE id = $1 AND seen < $2`
	touchOperator  statement = `UPDATE operators SET seen = $2 WHERE id = (SELECT operator FROM operator_sessions WHERE id = $1) AND seen < $2`
	seenOperator   statement = `UPDATE operators SET seen = $2 WHERE id = $1 AND seen < $2`
	rotateSession  statement = `UPDATE operator_sessions SET hash = $3, proved = $4 WHERE id = $1 AND hash = $2`
	deleteSession  statement = `DELETE FROM operator_sessions WHERE operator = $1 AND id = $2`
	clearSessions  statement = `DELETE FROM operator_sessions WHERE operator = $1 AND id <> $2`
	trimSessions   statement = `DELETE FROM operator_sessions WHERE operator = $1 AND id NOT IN
		(SELECT id FROM operator_sessions WHERE operator = $1 ORDER BY created DESC, id LIMIT $2)`

	upsertBrowser statement = `INSERT INTO operator_browsers (operator, binding, seen) VALUES ($1, $2, $3)
		ON CONFLICT (operator, binding) DO UPDATE SET seen = excluded.seen`
	trimBrowsers statement = `DELETE FROM operator_browsers WHERE operator = $1 AND binding NOT IN
		(SELECT binding FROM operator_browsers WHERE operator = $1 ORDER BY seen DESC, binding LIMIT $2)`
	clearBrowsers statement = `DELETE FROM operator_browsers WHERE operator = $1`
	countBrowser  statement = `SELECT count(*) FROM operator_browsers WHERE operator = $1 AND binding = $2`

	sweepSessions   statement = `DELETE FROM operator_sessions WHERE until < $1 OR idle_until < $1`
	sweepTokens     statement = `DELETE FROM operator_tokens WHERE until < $1`
	sweepCeremonies statement = `DELETE FROM operator_ceremonies WHERE until < $1`
	sweepApprovals  statement = `DELETE FROM operator_approvals WHERE asked < $1`

	// holdLimit makes a row and locks it, so that two attempts are counted one after
	// the other.
	holdLimit   statement = `INSERT INTO operator_limits (slot, tries, since) VALUES ($1, 0, $2) ON CONFLICT (slot) DO UPDATE SET tries = operator_limits.tries`
	selectLimit statement = `SELECT tries, since FROM operator_limits WHERE slot = $1`
	updateLimit statement = `UPDATE operator_limits SET tries = $2, since = $3 WHERE slot = $1`
	forgive     statement = `UPDATE operator_limits SET tries = tries - 1 WHERE slot = $1 AND tries > 0`

	approvalColumns           = `id, act, target, subject, digest, asked_by, asked, until, state, decided_by, decided, used`
	insertApproval  statement = `INSERT INTO operator_approvals (` + approvalColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', 0, 0)`
	countWaiting    statement = `SELECT count(*) FROM operator_approvals WHERE asked_by = $1 AND state = 'waiting' AND until > $2`
	selectApproval  statement = `SELECT ` + approvalColumns + ` FROM operator_approvals WHERE id = $1`
	selectApprovals statement = `SELECT ` + approvalColumns + ` FROM operator_approvals ORDER BY asked DESC, id LIMIT $1`
	decideApproval  statement = `UPDATE operator_approvals SET state = $3, decided_by = $2, decided = $4
		WHERE id = $1 AND state = 'waiting' AND asked_by <> $2 AND subject <> $2 AND until > $4`
	useApproval statement = `UPDATE operator_approvals SET state = 'used', used = $5
		WHERE id = $1 AND state = 'approved' AND act = $2 AND digest = $3 AND asked_by = $4 AND until > $5
		AND decided_by IN (SELECT id FROM operators WHERE state = 'active')`
	withdrawApprovals statement = `UPDATE operator_approvals SET state = 'withdrawn' WHERE asked_by = $1 AND state IN ('waiting', 'approved')`
)

// maxBrowsers is how many browsers of an operator are known.
const maxBrowsers = 20

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
	_, err := t.exec(ctx, upsertGrant, string(id), string(g.Grant.Role), micros(at), micros(g.Grant.Until), g.MAC)
	return err
}

func scanGrant(r *rows) (id operator.AccountID, g operator.GrantRecord, err error) {
	var until int64
	err = r.Scan(&id, &g.Grant.Role, &until, &g.MAC)
	g.Grant.Until = fromMicros(until)
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
	var created, seen, decided, nextEnd int64
	a := &record.Account
	err := r.Scan(&a.ID, &record.Environment, &a.Name, &a.Email, &record.EmailKey, &a.State, &a.Reason, &created, &seen, &decided,
		&record.Handle, &record.Password, &record.TOTP, &record.Step, &record.NextTOTP, &nextEnd, &a.Passkeys, &a.RecoveryLeft)
	a.Created, a.LastSeen = fromMicros(created), fromMicros(seen)
	a.Password, a.TOTP = record.Password != "", record.TOTP != ""
	record.NextEnd, record.Decided = fromMicros(nextEnd), fromMicros(decided)
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
				flag(change.Decider), micros(change.SeenBefore))
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
		return t.all(ctx, string(id), blankOperator, clearPasskeys, clearRecovery, clearBrowsers, deleteGrants)
	})
}

// SetProfile implements operator.AccountStore.
func (s *Operators) SetProfile(ctx context.Context, id operator.AccountID, name, email, key string) error {
	n, err := s.db.logExec(ctx, updateOperatorProfile, string(id), name, email, nullable(key))
	return touched(n, err, gatehouse.ErrNotFound, "no such account")
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
func (s *Operators) MoveGrants(ctx context.Context, from, to operator.AccountID, grants []operator.GrantRecord, at time.Time, keep operator.Role, decider bool) error {
	return s.db.logTx(ctx, func(t *tx) error {
		return t.keeping(ctx, keep, from, func() error {
			n, err := t.exec(ctx, holdOperator, string(to), string(operator.Active))
			if err = touched(n, err, gatehouse.ErrConflict, "who takes over is not active"); err != nil {
				return err
			}
			for _, g := range grants {
				if err := t.putGrant(ctx, to, g, at); err != nil {
					return err
				}
			}
			if decider {
				if _, err := t.exec(ctx, noteDecider, string(from), micros(at)); err != nil {
					return err
				}
			}
			return t.all(ctx, string(from), deleteGrants, clearAllSessions, withdrawApprovals)
		})
	})
}

// SetPassword implements operator.FactorStore.
func (s *Operators) SetPassword(ctx context.Context, id operator.AccountID, before, hash factor.PasswordHash) error {
	n, err := s.db.logExec(ctx, updatePassword, string(id), string(before), string(hash))
	return touched(n, err, gatehouse.ErrConflict, "the password was changed meanwhile")
}

// OfferTOTP implements operator.FactorStore.
func (s *Operators) OfferTOTP(ctx context.Context, id operator.AccountID, random string, at, until time.Time) (offered string, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, offerTOTP, string(id), random, micros(at), micros(until)); err != nil {
			return err
		}
		return t.queryRow(ctx, offeredTOTP, string(id)).Scan(&offered)
	})
	return offered, err
}

// AcceptTOTP implements operator.FactorStore.
func (s *Operators) AcceptTOTP(ctx context.Context, id operator.AccountID, random string, step int64) error {
	n, err := s.db.logExec(ctx, acceptTOTP, string(id), random, step)
	return touched(n, err, gatehouse.ErrConflict, "another seed is offered by now")
}

// TakeStep implements operator.FactorStore.
func (s *Operators) TakeStep(ctx context.Context, id operator.AccountID, random string, step int64) error {
	n, err := s.db.logExec(ctx, takeStep, string(id), random, step)
	return touched(n, err, gatehouse.ErrConflict, "the code was taken")
}

// PutRecovery implements operator.FactorStore.
func (s *Operators) PutRecovery(ctx context.Context, id operator.AccountID, hashes []factor.RecoveryHash) error {
	return s.db.logTx(ctx, func(t *tx) error {
		_, err := t.exec(ctx, clearRecovery, string(id))
		for _, h := range hashes {
			if err == nil {
				_, err = t.exec(ctx, insertRecovery, string(id), h[:])
			}
		}
		return err
	})
}

// TakeRecovery implements operator.FactorStore.
func (s *Operators) TakeRecovery(ctx context.Context, id operator.AccountID, hash factor.RecoveryHash) error {
	n, err := s.db.logExec(ctx, deleteRecovery, string(id), hash[:])
	return touched(n, err, gatehouse.ErrNotFound, "no such recovery code")
}

// DropFactors implements operator.FactorStore.
func (s *Operators) DropFactors(ctx context.Context, id operator.AccountID, _ time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		return t.all(ctx, string(id), blankFactors, clearPasskeys, clearRecovery, clearBrowsers, clearAllSessions)
	})
}

// AddPasskey implements operator.PasskeyStore.
func (s *Operators) AddPasskey(ctx context.Context, r operator.PasskeyRecord, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		var n int
		if err := t.queryRow(ctx, countPasskeys, string(r.Passkey.Account)).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fmt.Errorf("the account has %d passkeys: %w", n, gatehouse.ErrConflict)
		}
		k := r.Passkey
		_, err := t.exec(ctx, insertPasskey, string(k.ID), string(k.Account), k.Name, r.Credential, r.MAC, flag(k.Synced), micros(k.Created))
		return err
	})
}

// Passkeys implements operator.PasskeyStore.
func (s *Operators) Passkeys(ctx context.Context, id operator.AccountID) ([]operator.PasskeyRecord, error) {
	return collect[operator.PasskeyRecord](s.db.query(ctx, selectPasskeys, string(id)))(func(r *rows) (operator.PasskeyRecord, error) {
		var record operator.PasskeyRecord
		var synced, created, used int64
		k := &record.Passkey
		err := r.Scan(&k.ID, &k.Account, &k.Name, &record.Credential, &record.MAC, &synced, &created, &used)
		k.Synced, k.Created, k.Used = synced != 0, fromMicros(created), fromMicros(used)
		return record, err
	})
}

// UsePasskey implements operator.PasskeyStore.
func (s *Operators) UsePasskey(ctx context.Context, id operator.PasskeyID, before, after []byte, at time.Time, ceremony operator.Hash, until time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, insertCeremony, ceremony[:], micros(until)); err != nil {
			return err
		}
		n, err := t.exec(ctx, usePasskey, string(id), before, after, micros(at))
		return touched(n, err, gatehouse.ErrConflict, "the passkey was used or removed meanwhile")
	})
}

// TakeCeremony implements operator.PasskeyStore.
func (s *Operators) TakeCeremony(ctx context.Context, ceremony operator.Hash, until time.Time) error {
	_, err := s.db.logExec(ctx, insertCeremony, ceremony[:], micros(until))
	return err
}

// DropPasskey implements operator.PasskeyStore.
func (s *Operators) DropPasskey(ctx context.Context, account operator.AccountID, id operator.PasskeyID, able bool) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, deletePasskey, string(account), string(id))
		if err = touched(n, err, gatehouse.ErrNotFound, "no such passkey"); err != nil || !able {
			return err
		}
		var left, codes int
		if err := errors.Join(t.queryRow(ctx, countPasskeys, string(account)).Scan(&left),
			t.queryRow(ctx, hasCodes, string(account)).Scan(&codes)); err != nil {
			return err
		}
		if left+codes == 0 {
			return fmt.Errorf("the account could not sign in without it: %w", gatehouse.ErrConflict)
		}
		return nil
	})
}

// AddToken implements operator.TokenStore.
func (s *Operators) AddToken(ctx context.Context, r operator.TokenRecord, alone bool) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if alone {
			if _, err := t.exec(ctx, clearTokensOfKind, string(r.Account), string(r.Kind)); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, insertOperatorToken, r.Hash[:], string(r.Kind), string(r.Account), r.Binding[:], micros(r.Created), micros(r.Until))
		return err
	})
}

// Token implements operator.TokenStore.
func (s *Operators) Token(ctx context.Context, hash operator.Hash) (operator.TokenRecord, error) {
	var r operator.TokenRecord
	var stored, binding []byte
	var created, until int64
	err := s.db.queryRow(ctx, selectOperatorToken, hash[:]).Scan(&stored, &r.Kind, &r.Account, &binding, &r.Tries, &created, &until)
	if err != nil {
		return operator.TokenRecord{}, err
	}
	r.Created, r.Until = fromMicros(created), fromMicros(until)
	return r, errors.Join(operatorHash(&r.Hash, stored), operatorHash(&r.Binding, binding))
}

// operatorHash refuses a stored hash of the wrong length.
func operatorHash(hash *operator.Hash, stored []byte) error {
	if len(stored) != len(hash) {
		return errors.New("a stored hash has the wrong length")
	}
	copy(hash[:], stored)
	return nil
}

// ClaimToken implements operator.TokenStore.
func (s *Operators) ClaimToken(ctx context.Context, hash, binding operator.Hash) error {
	var none operator.Hash
	n, err := s.db.logExec(ctx, claimToken, hash[:], binding[:], none[:])
	return touched(n, err, gatehouse.ErrConflict, "the token belongs to another browser")
}

// TryToken implements operator.TokenStore.
func (s *Operators) TryToken(ctx context.Context, hash operator.Hash, most int) error {
	n, err := s.db.logExec(ctx, tryToken, hash[:], most)
	return touched(n, err, gatehouse.ErrConflict, "the token was tried too often")
}

// DropToken implements operator.TokenStore.
func (s *Operators) DropToken(ctx context.Context, hash operator.Hash) error {
	n, err := s.db.logExec(ctx, deleteToken, hash[:])
	return touched(n, err, gatehouse.ErrNotFound, "no such token")
}

// Enrol implements operator.TokenStore.
func (s *Operators) Enrol(ctx context.Context, hash operator.Hash, id operator.AccountID, at time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, deleteToken, hash[:])
		if err = touched(n, err, gatehouse.ErrNotFound, "no such token"); err != nil {
			return err
		}
		return t.setState(ctx, id, operator.StateChange{From: []operator.State{operator.Invited}, To: operator.Active, At: at})
	})
}

// AddSession implements operator.SessionStore.
func (s *Operators) AddSession(ctx context.Context, r operator.SessionRecord, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		v := r.Session
		n, err := t.exec(ctx, holdOperator, string(v.Account), string(operator.Active))
		if err = touched(n, err, gatehouse.ErrConflict, "the account is not active"); err != nil {
			return err
		}
		if _, err := t.exec(ctx, insertSession, string(v.ID), r.Hash[:], string(v.Account), r.Binding[:], micros(v.Created), micros(v.Seen),
			micros(v.Proved), micros(v.IdleUntil), micros(v.Until), v.Agent, v.Source); err != nil {
			return err
		}
		if _, err := t.exec(ctx, trimSessions, string(v.Account), most); err != nil {
			return err
		}
		if _, err := t.exec(ctx, upsertBrowser, string(v.Account), r.Binding[:], micros(v.Created)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, trimBrowsers, string(v.Account), maxBrowsers); err != nil {
			return err
		}
		_, err = t.exec(ctx, seenOperator, string(v.Account), micros(v.Created))
		return err
	})
}

// Session implements operator.SessionStore.
func (s *Operators) Session(ctx context.Context, hash operator.Hash) (operator.SessionRecord, operator.AccountRecord, error) {
	r, err := scanSession(s.db.queryRow(ctx, selectSession, hash[:]))
	if err != nil {
		return operator.SessionRecord{}, operator.AccountRecord{}, err
	}
	account, err := s.Account(ctx, r.Session.Account)
	return r, account, err
}

func scanSession(r scanner) (operator.SessionRecord, error) {
	var record operator.SessionRecord
	var hash, binding []byte
	var created, seen, proved, idleUntil, until int64
	v := &record.Session
	err := r.Scan(&v.ID, &hash, &v.Account, &binding, &created, &seen, &proved, &idleUntil, &until, &v.Agent, &v.Source)
	if err != nil {
		return operator.SessionRecord{}, err
	}
	v.Created, v.Seen, v.Proved, v.IdleUntil, v.Until = fromMicros(created), fromMicros(seen), fromMicros(proved), fromMicros(idleUntil), fromMicros(until)
	return record, errors.Join(operatorHash(&record.Hash, hash), operatorHash(&record.Binding, binding))
}

// Sessions implements operator.SessionStore.
func (s *Operators) Sessions(ctx context.Context, id operator.AccountID) ([]operator.SessionRecord, error) {
	return collect[operator.SessionRecord](s.db.query(ctx, selectSessions, string(id)))(
		func(r *rows) (operator.SessionRecord, error) { return scanSession(r) })
}

// TouchSession implements operator.SessionStore.
func (s *Operators) TouchSession(ctx context.Context, id operator.SessionID, at, idleUntil time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, touchSession, string(id), micros(at), micros(idleUntil)); err != nil {
			return err
		}
		_, err := t.exec(ctx, touchOperator, string(id), micros(at))
		return err
	})
}

// RotateSession implements operator.SessionStore.
func (s *Operators) RotateSession(ctx context.Context, id operator.SessionID, from, to operator.Hash, proved time.Time) error {
	n, err := s.db.logExec(ctx, rotateSession, string(id), from[:], to[:], micros(proved))
	return touched(n, err, gatehouse.ErrConflict, "the session has another token, or has ended")
}

// EndSession implements operator.SessionStore.
func (s *Operators) EndSession(ctx context.Context, account operator.AccountID, id operator.SessionID) error {
	n, err := s.db.logExec(ctx, deleteSession, string(account), string(id))
	return touched(n, err, gatehouse.ErrNotFound, "no such session")
}

// EndSessions implements operator.SessionStore.
func (s *Operators) EndSessions(ctx context.Context, account operator.AccountID, but operator.SessionID) (int, error) {
	n, err := s.db.logExec(ctx, clearSessions, string(account), string(but))
	return int(n), err
}

// Sweep implements operator.SessionStore.
func (s *Operators) Sweep(ctx context.Context, at, approvals time.Time) error {
	for _, statement := range []statement{sweepSessions, sweepTokens, sweepCeremonies} {
		if _, err := s.db.logExec(ctx, statement, micros(at)); err != nil {
			return err
		}
	}
	_, err := s.db.logExec(ctx, sweepApprovals, micros(approvals))
	return err
}

// Attempt implements operator.LimitStore.
func (s *Operators) Attempt(ctx context.Context, limits []operator.Limit, at time.Time) (full time.Time, reached bool, err error) {
	type count struct {
		tries int64
		since time.Time
	}
	err = s.db.rowTx(ctx, func(t *tx) error {
		full, reached = time.Time{}, false
		counts := make([]count, len(limits))
		for i, l := range limits {
			if _, err := t.exec(ctx, holdLimit, l.Slot, micros(at)); err != nil {
				return err
			}
			var since int64
			if err := t.queryRow(ctx, selectLimit, l.Slot).Scan(&counts[i].tries, &since); err != nil {
				return err
			}
			// A clock that was set back must not make the wait longer.
			counts[i].since = fromMicros(min(since, micros(at)))
			if !at.Before(counts[i].since.Add(l.Within)) {
				counts[i] = count{0, at}
			}
			if end := counts[i].since.Add(l.Within); counts[i].tries >= int64(l.Most) && end.After(full) {
				full = end
			}
		}
		if !full.IsZero() {
			return nil
		}
		for i, l := range limits {
			reached = reached || counts[i].tries+1 == int64(l.Most)
			if _, err := t.exec(ctx, updateLimit, l.Slot, counts[i].tries+1, micros(counts[i].since)); err != nil {
				return err
			}
		}
		return nil
	})
	return full, reached, err
}

// Forgive implements operator.LimitStore.
func (s *Operators) Forgive(ctx context.Context, limits []operator.Limit) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, l := range limits {
			if _, err := t.exec(ctx, forgive, l.Slot); err != nil {
				return err
			}
		}
		return nil
	})
}

// Knows implements operator.LimitStore.
func (s *Operators) Knows(ctx context.Context, account operator.AccountID, binding operator.Hash) (bool, error) {
	var n int
	err := s.db.queryRow(ctx, countBrowser, string(account), binding[:]).Scan(&n)
	return n > 0, err
}

// AddApproval implements operator.ApprovalStore.
func (s *Operators) AddApproval(ctx context.Context, a operator.Approval, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		var n int
		if err := t.queryRow(ctx, countWaiting, string(a.AskedBy), micros(a.Asked)).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fmt.Errorf("%d approvals wait: %w", n, gatehouse.ErrConflict)
		}
		_, err := t.exec(ctx, insertApproval, string(a.ID), string(a.Act), a.Target, string(a.Subject), a.Digest, string(a.AskedBy),
			micros(a.Asked), micros(a.Until), string(a.State))
		return err
	})
}

func scanApproval(r scanner) (operator.Approval, error) {
	var a operator.Approval
	var asked, until, decided, used int64
	err := r.Scan(&a.ID, &a.Act, &a.Target, &a.Subject, &a.Digest, &a.AskedBy, &asked, &until, &a.State, &a.DecidedBy, &decided, &used)
	a.Asked, a.Until, a.Decided, a.Used = fromMicros(asked), fromMicros(until), fromMicros(decided), fromMicros(used)
	return a, err
}

// Approval implements operator.ApprovalStore.
func (s *Operators) Approval(ctx context.Context, id operator.ApprovalID) (operator.Approval, error) {
	return scanApproval(s.db.queryRow(ctx, selectApproval, string(id)))
}

// Approvals implements operator.ApprovalStore.
func (s *Operators) Approvals(ctx context.Context, most int) ([]operator.Approval, error) {
	return collect[operator.Approval](s.db.query(ctx, selectApprovals, most))(func(r *rows) (operator.Approval, error) { return scanApproval(r) })
}

// Decide implements operator.ApprovalStore.
func (s *Operators) Decide(ctx context.Context, id operator.ApprovalID, by operator.AccountID, state operator.ApprovalState, at time.Time) error {
	n, err := s.db.logExec(ctx, decideApproval, string(id), string(by), string(state), micros(at))
	return touched(n, err, gatehouse.ErrConflict, "the approval does not wait for this account")
}

// UseApproval implements operator.ApprovalStore.
func (s *Operators) UseApproval(ctx context.Context, u operator.ApprovalUse) error {
	n, err := s.db.logExec(ctx, useApproval, string(u.ID), string(u.Act), u.Digest, string(u.AskedBy), micros(u.At))
	return touched(n, err, gatehouse.ErrConflict, "there is no such approval to use")
}
