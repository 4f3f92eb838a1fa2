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
	countToken     statement = `SELECT count(*) FROM operator_tokens WHERE operator = $1 AND hash = $2`
	countSession   statement = `SELECT count(*) FROM operator_sessions WHERE operator = $1 AND id = $2`
	insertCeremony statement = `INSERT INTO operator_ceremonies (hash, until) VALUES ($1, $2)`
)

// SetPassword implements operator.FactorStore.
func (s *Operators) SetPassword(ctx context.Context, id operator.AccountID, by operator.Claim, before, hash factor.PasswordHash) error {
	return s.claiming(ctx, id, by, func(t *tx) error {
		n, err := t.exec(ctx, updatePassword, string(id), string(before), string(hash))
		return touched(n, err, gatehouse.ErrConflict, "the password was changed meanwhile")
	})
}

// claiming runs a change of an account's factors, if that by which it is changed is
// still there.
func (s *Operators) claiming(ctx context.Context, id operator.AccountID, by operator.Claim, change func(*tx) error) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, c := range []struct {
			needed bool
			count  statement
			key    any
			gone   error
		}{
			{by.Enrolment != operator.Hash{}, countToken, by.Enrolment[:], operator.ErrEnrolment},
			{by.Session != "", countSession, string(by.Session), operator.ErrSession},
		} {
			if !c.needed {
				continue
			}
			var n int
			if err := t.queryRow(ctx, c.count, string(id), c.key).Scan(&n); err != nil {
				return err
			}
			if n == 0 {
				return c.gone
			}
		}
		return change(t)
	})
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
func (s *Operators) AcceptTOTP(ctx context.Context, id operator.AccountID, by operator.Claim, random string, step int64) error {
	return s.claiming(ctx, id, by, func(t *tx) error {
		n, err := t.exec(ctx, acceptTOTP, string(id), random, step)
		return touched(n, err, gatehouse.ErrConflict, "another seed is offered by now")
	})
}

// TakeStep implements operator.FactorStore.
func (s *Operators) TakeStep(ctx context.Context, id operator.AccountID, random string, step int64) error {
	n, err := s.db.logExec(ctx, takeStep, string(id), random, step)
	return touched(n, err, gatehouse.ErrConflict, "the code was taken")
}

// PutRecovery implements operator.FactorStore.
func (s *Operators) PutRecovery(ctx context.Context, id operator.AccountID, by operator.Claim, hashes []operator.Hash) error {
	return s.claiming(ctx, id, by, func(t *tx) error {
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
func (s *Operators) TakeRecovery(ctx context.Context, id operator.AccountID, hash operator.Hash) error {
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
func (s *Operators) AddPasskey(ctx context.Context, r operator.PasskeyRecord, by operator.Claim, most int) error {
	return s.claiming(ctx, r.Passkey.Account, by, func(t *tx) error {
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

// DropCloned implements operator.PasskeyStore.
func (s *Operators) DropCloned(ctx context.Context, account operator.AccountID, id operator.PasskeyID) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, deletePasskey, string(account), string(id))
		if err = touched(n, err, gatehouse.ErrNotFound, "no such passkey"); err != nil {
			return err
		}
		return t.all(ctx, string(account), clearAllSessions, clearTokens, clearBrowsers)
	})
}

// DropPasskey implements operator.PasskeyStore.
func (s *Operators) DropPasskey(ctx context.Context, account operator.AccountID, id operator.PasskeyID, by operator.Claim, able bool) error {
	return s.claiming(ctx, account, by, func(t *tx) error {
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
