package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
)

const (
	insertOperatorToken statement = `INSERT INTO operator_tokens (hash, kind, operator, binding, tries, created, until, provider_groups, proved, mac)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $7, $8, $9)`
	clearTokensOfKind   statement = `DELETE FROM operator_tokens WHERE operator = $1 AND kind = $2`
	clearTokens         statement = `DELETE FROM operator_tokens WHERE operator = $1`
	selectOperatorToken statement = `SELECT hash, kind, operator, binding, tries, created, until, provider_groups, proved, mac FROM operator_tokens WHERE hash = $1`
	claimToken          statement = `UPDATE operator_tokens SET binding = $2 WHERE hash = $1 AND (binding = $3 OR binding = $2)`
	tryToken            statement = `UPDATE operator_tokens SET tries = tries + 1 WHERE hash = $1 AND tries < $2`
	deleteToken         statement = `DELETE FROM operator_tokens WHERE hash = $1`

	sessionColumns           = `s.id, s.hash, s.operator, s.binding, s.created, s.seen, s.proved, s.idle_until, s.until, s.agent, s.source, s.mac`
	insertSession  statement = `INSERT INTO operator_sessions (id, hash, operator, binding, created, seen, proved, idle_until, until, agent, source, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`
	selectSession  statement = `SELECT ` + sessionColumns + ` FROM operator_sessions s WHERE s.hash = $1`
	selectSessions statement = `SELECT ` + sessionColumns + ` FROM operator_sessions s WHERE s.operator = $1 ORDER BY s.created DESC, s.id`
	touchSession   statement = `UPDATE operator_sessions SET seen = $2, idle_until = $3, mac = $5 WHERE id = $1 AND mac = $4`
	touchOperator  statement = `UPDATE operators SET seen = $2 WHERE id = (SELECT operator FROM operator_sessions WHERE id = $1) AND seen < $2`
	seenOperator   statement = `UPDATE operators SET seen = $2 WHERE id = $1 AND seen < $2`
	rotateSession  statement = `UPDATE operator_sessions SET hash = $3, proved = $4, seen = $5, idle_until = $6, mac = $7 WHERE id = $1 AND hash = $2`
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
	anyBrowser    statement = `SELECT count(*) FROM (SELECT 1 FROM operator_browsers WHERE binding = $1 LIMIT 1) AS known`

	sweepSessions   statement = `DELETE FROM operator_sessions WHERE until < $1 OR idle_until < $1`
	sweepTokens     statement = `DELETE FROM operator_tokens WHERE until < $1`
	sweepCeremonies statement = `DELETE FROM operator_ceremonies WHERE until < $1`
	sweepApprovals  statement = `DELETE FROM operator_approvals WHERE asked < $1`
)

// maxBrowsers is how many browsers of an operator are known.
const maxBrowsers = 20

// groupsText is how a provider's groups are stored.
func groupsText(groups []string) (string, error) {
	if len(groups) == 0 {
		return "", nil
	}
	text, err := json.Marshal(groups)
	return string(text), err
}

func groupsOf(text string) (groups []string, err error) {
	if text == "" {
		return nil, nil
	}
	return groups, json.Unmarshal([]byte(text), &groups)
}

// AddToken implements operator.TokenStore.
func (s *Operators) AddToken(ctx context.Context, r operator.TokenRecord, alone bool) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if alone {
			if _, err := t.exec(ctx, clearTokensOfKind, string(r.Account), string(r.Kind)); err != nil {
				return err
			}
		}
		groups, err := groupsText(r.Groups)
		if err != nil {
			return err
		}
		_, err = t.exec(ctx, insertOperatorToken, r.Hash[:], string(r.Kind), string(r.Account), r.Binding[:], micros(r.Created), micros(r.Until),
			groups, micros(r.Proved), r.MAC)
		return err
	})
}

// Token implements operator.TokenStore.
func (s *Operators) Token(ctx context.Context, hash operator.Hash) (operator.TokenRecord, error) {
	var r operator.TokenRecord
	var stored, binding []byte
	var created, until, proved int64
	var groups string
	err := s.db.queryRow(ctx, selectOperatorToken, hash[:]).Scan(&stored, &r.Kind, &r.Account, &binding, &r.Tries, &created, &until, &groups, &proved, &r.MAC)
	if err != nil {
		return operator.TokenRecord{}, err
	}
	r.Created, r.Until, r.Proved = fromMicros(created), fromMicros(until), fromMicros(proved)
	r.Groups, err = groupsOf(groups)
	return r, errors.Join(err, operatorHash(&r.Hash, stored), operatorHash(&r.Binding, binding))
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

// EnrolByProvider implements operator.TokenStore.
func (s *Operators) EnrolByProvider(ctx context.Context, id operator.AccountID, at time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		err := t.setState(ctx, id, operator.StateChange{From: []operator.State{operator.Invited}, To: operator.Active, At: at})
		if err != nil {
			return err
		}
		return t.all(ctx, string(id), blankOwnFactors, clearPasskeys, clearRecovery, clearBrowsers, clearTokens, clearAllSessions)
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
			micros(v.Proved), micros(v.IdleUntil), micros(v.Until), v.Agent, v.Source, r.MAC); err != nil {
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
	err := r.Scan(&v.ID, &hash, &v.Account, &binding, &created, &seen, &proved, &idleUntil, &until, &v.Agent, &v.Source, &record.MAC)
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
func (s *Operators) TouchSession(ctx context.Context, was string, r operator.SessionRecord) error {
	return s.db.logTx(ctx, func(t *tx) error {
		v := r.Session
		if _, err := t.exec(ctx, touchSession, string(v.ID), micros(v.Seen), micros(v.IdleUntil), was, r.MAC); err != nil {
			return err
		}
		_, err := t.exec(ctx, touchOperator, string(v.ID), micros(v.Seen))
		return err
	})
}

// RotateSession implements operator.SessionStore.
func (s *Operators) RotateSession(ctx context.Context, from operator.Hash, r operator.SessionRecord) error {
	v := r.Session
	n, err := s.db.logExec(ctx, rotateSession, string(v.ID), from[:], r.Hash[:], micros(v.Proved), micros(v.Seen), micros(v.IdleUntil), r.MAC)
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
