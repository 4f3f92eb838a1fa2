package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
)

const (
	// holdLimit makes a row and locks it, so that two attempts are counted one after
	// the other.
	holdLimit   statement = `INSERT INTO operator_limits (slot, tries, since) VALUES ($1, 0, $2) ON CONFLICT (slot) DO UPDATE SET tries = operator_limits.tries`
	selectLimit statement = `SELECT tries, since FROM operator_limits WHERE slot = $1`
	updateLimit statement = `UPDATE operator_limits SET tries = $2, since = $3 WHERE slot = $1`
	forgive     statement = `UPDATE operator_limits SET tries = tries - 1 WHERE slot = $1 AND tries > 0`

	approvalColumns           = `id, act, target, subject, digest, asked_by, asked, until, state, decided_by, decided, used, mac`
	insertApproval  statement = `INSERT INTO operator_approvals (` + approvalColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', 0, 0, $10)`
	countWaiting    statement = `SELECT count(*) FROM operator_approvals WHERE asked_by = $1 AND state = 'waiting' AND until > $2`
	selectApproval  statement = `SELECT ` + approvalColumns + ` FROM operator_approvals WHERE id = $1`
	selectApprovals statement = `SELECT ` + approvalColumns + ` FROM operator_approvals ORDER BY asked DESC, id LIMIT $1`
	decideApproval  statement = `UPDATE operator_approvals SET state = $3, decided_by = $2, decided = $4, mac = $6
		WHERE id = $1 AND mac = $5 AND state = 'waiting' AND asked_by <> $2 AND subject <> $2 AND until > $4`
	useApproval statement = `UPDATE operator_approvals SET state = 'used', used = $2, mac = $4
		WHERE id = $1 AND mac = $3 AND state = 'approved' AND until > $2
		AND decided_by IN (SELECT id FROM operators WHERE state = 'active')`
	returnApproval statement = `UPDATE operator_approvals SET state = 'approved', used = 0, mac = $3
		WHERE id = $1 AND mac = $2 AND state = 'used' AND asked_by IN (SELECT id FROM operators WHERE state = 'active')`
	withdrawApprovals statement = `UPDATE operator_approvals SET state = 'withdrawn' WHERE asked_by = $1 AND state IN ('waiting', 'approved')`
)

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

// KnowsBrowser implements operator.LimitStore.
func (s *Operators) KnowsBrowser(ctx context.Context, binding operator.Hash) (bool, error) {
	var n int
	err := s.db.queryRow(ctx, anyBrowser, binding[:]).Scan(&n)
	return n > 0, err
}

// AddApproval implements operator.ApprovalStore.
func (s *Operators) AddApproval(ctx context.Context, r operator.ApprovalRecord, most int) error {
	return s.db.logTx(ctx, func(t *tx) error {
		a := r.Approval
		var n int
		if err := t.queryRow(ctx, countWaiting, string(a.AskedBy), micros(a.Asked)).Scan(&n); err != nil {
			return err
		}
		if n >= most {
			return fmt.Errorf("%d approvals wait: %w", n, gatehouse.ErrConflict)
		}
		_, err := t.exec(ctx, insertApproval, string(a.ID), string(a.Act), a.Target, string(a.Subject), a.Digest, string(a.AskedBy),
			micros(a.Asked), micros(a.Until), string(a.State), r.MAC)
		return err
	})
}

func scanApproval(row scanner) (operator.ApprovalRecord, error) {
	var r operator.ApprovalRecord
	var asked, until, decided, used int64
	a := &r.Approval
	err := row.Scan(&a.ID, &a.Act, &a.Target, &a.Subject, &a.Digest, &a.AskedBy, &asked, &until, &a.State, &a.DecidedBy, &decided, &used, &r.MAC)
	a.Asked, a.Until, a.Decided, a.Used = fromMicros(asked), fromMicros(until), fromMicros(decided), fromMicros(used)
	return r, err
}

// Approval implements operator.ApprovalStore.
func (s *Operators) Approval(ctx context.Context, id operator.ApprovalID) (operator.ApprovalRecord, error) {
	return scanApproval(s.db.queryRow(ctx, selectApproval, string(id)))
}

// Approvals implements operator.ApprovalStore.
func (s *Operators) Approvals(ctx context.Context, most int) ([]operator.ApprovalRecord, error) {
	return collect[operator.ApprovalRecord](s.db.query(ctx, selectApprovals, most))(func(r *rows) (operator.ApprovalRecord, error) { return scanApproval(r) })
}

// Decide implements operator.ApprovalStore.
func (s *Operators) Decide(ctx context.Context, was string, r operator.ApprovalRecord) error {
	a := r.Approval
	n, err := s.db.logExec(ctx, decideApproval, string(a.ID), string(a.DecidedBy), string(a.State), micros(a.Decided), was, r.MAC)
	return touched(n, err, gatehouse.ErrConflict, "the approval does not wait for this account")
}

// UseApproval implements operator.ApprovalStore.
func (s *Operators) UseApproval(ctx context.Context, was string, r operator.ApprovalRecord) error {
	n, err := s.db.logExec(ctx, useApproval, string(r.Approval.ID), micros(r.Approval.Used), was, r.MAC)
	return touched(n, err, gatehouse.ErrConflict, "there is no such approval to use")
}

// ReturnApproval implements operator.ApprovalStore.
func (s *Operators) ReturnApproval(ctx context.Context, was string, r operator.ApprovalRecord) error {
	n, err := s.db.logExec(ctx, returnApproval, string(r.Approval.ID), was, r.MAC)
	return touched(n, err, gatehouse.ErrConflict, "there is no such approval to give back")
}
