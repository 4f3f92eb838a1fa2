package operator

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"time"

	"gatehouse/internal/secret"
)

// A RowKind is a kind of row that gives something and so has a MAC.
type RowKind string

// The kinds. Those of a review are written by package review.
const (
	RowGrant      RowKind = "grant"
	RowPasskey    RowKind = "passkey"
	RowSession    RowKind = "session"
	RowApproval   RowKind = "approval"
	RowReview     RowKind = "review"
	RowReviewList RowKind = "review-list"
	RowReviewItem RowKind = "review-item"
)

// RowMAC is what stands beside a row that gives something, so that who can write to the
// database alone gives nothing. The parts are all that the row says.
func (d *Directory) RowMAC(ctx context.Context, kind RowKind, parts ...string) (string, error) {
	derived, err := d.config.Derive(ctx, "operator-row-"+string(kind), parts...)
	if err != nil {
		return "", fmt.Errorf("signing a row: %w", err)
	}
	return derived.Reveal(), nil
}

// RowHolds reports whether a row has the MAC that RowMAC gave it.
func (d *Directory) RowHolds(ctx context.Context, stored string, kind RowKind, parts ...string) (bool, error) {
	right, err := d.RowMAC(ctx, kind, parts...)
	return err == nil && secret.New(right).Equal(secret.New(stored)), err
}

// AlteredRow is a row that is not as this package, or package review, wrote it. It gives
// nothing.
type AlteredRow struct {
	Kind RowKind
	// Account is whose it says to be, if of an operator.
	Account AccountID
	// Name tells it from others of its kind: a role, or an identifier.
	Name string
}

const (
	// maxTold is how many altered rows are remembered as told of, and tellAgain how long.
	maxTold   = 256
	tellAgain = time.Hour
)

// told are the altered rows that are in the log already: each is met at every request.
type told struct {
	mu   sync.Mutex
	rows map[AlteredRow]time.Time // guarded by mu
}

// first reports whether a row was not told of lately. Beyond maxTold the log has enough.
func (t *told) first(row AlteredRow, at time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, there := t.rows[row]; there && at.Sub(last) < tellAgain {
		return false
	}
	for other, last := range t.rows {
		if at.Sub(last) >= tellAgain {
			delete(t.rows, other)
		}
	}
	if len(t.rows) >= maxTold {
		return false
	}
	if t.rows == nil {
		t.rows = map[AlteredRow]time.Time{}
	}
	t.rows[row] = at
	return true
}

// maxRowName bounds what the log repeats of a row that somebody else wrote, in bytes.
const maxRowName = 64

// TellAltered records that a row was met that is not as it was written; once an hour for
// each.
func (d *Directory) TellAltered(row AlteredRow) {
	row.Account = AccountID(rowName(string(row.Account)))
	row.Name = rowName(row.Name)
	if !d.told.first(row, d.now()) {
		return
	}
	e := entry(actionAltered, Actor{}, row.Account)
	e.Verdict = verdictRefuse
	e.Facts["row"], e.Facts["name"] = string(row.Kind), row.Name
	d.config.Log.Refusal(e)
}

// rowName is what is repeated of a name that somebody else may have written: nothing
// that is not one of ours.
func rowName(s string) string {
	if len(s) > maxRowName {
		return "?"
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return "?"
		}
	}
	return s
}

// RowTime is a time as a part of what a MAC is over: as exactly as it is stored.
func RowTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return strconv.FormatInt(t.UnixMicro(), 10)
}

// sealSession gives a session's record its MAC.
func (d *Directory) sealSession(ctx context.Context, r *SessionRecord) (err error) {
	r.MAC, err = d.RowMAC(ctx, RowSession, sessionParts(r)...)
	return err
}

// sessionHolds reports whether a session is as it was written.
func (d *Directory) sessionHolds(ctx context.Context, r *SessionRecord) (bool, error) {
	ok, err := d.RowHolds(ctx, r.MAC, RowSession, sessionParts(r)...)
	if err == nil && !ok {
		d.TellAltered(AlteredRow{RowSession, r.Session.Account, string(r.Session.ID)})
	}
	return ok, err
}

func sessionParts(r *SessionRecord) []string {
	s := &r.Session
	return []string{
		string(s.ID), hex.EncodeToString(r.Hash[:]), string(s.Account), hex.EncodeToString(r.Binding[:]), RowTime(s.Created), RowTime(s.Seen),
		RowTime(s.Proved), RowTime(s.IdleUntil), RowTime(s.Until), s.Agent, s.Source,
	}
}

// sealApproval makes the row of an approval.
func (d *Directory) sealApproval(ctx context.Context, a Approval) (ApprovalRecord, error) {
	mac, err := d.RowMAC(ctx, RowApproval, approvalParts(a)...)
	return ApprovalRecord{a, mac}, err
}

// approvalHolds reports whether an approval is as it was written. One is withdrawn
// without its MAC, which is then that of before: it gives nothing any more.
func (d *Directory) approvalHolds(ctx context.Context, r ApprovalRecord) (bool, error) {
	before := []ApprovalState{r.Approval.State}
	if r.Approval.State == Withdrawn {
		before = []ApprovalState{Waiting, Approved}
	}
	for _, state := range before {
		a := r.Approval
		a.State = state
		if ok, err := d.RowHolds(ctx, r.MAC, RowApproval, approvalParts(a)...); err != nil || ok {
			return ok, err
		}
	}
	d.TellAltered(AlteredRow{RowApproval, r.Approval.Subject, string(r.Approval.ID)})
	return false, nil
}

func approvalParts(a Approval) []string {
	return []string{
		string(a.ID), string(a.Act), a.Target, string(a.Subject), a.Digest, string(a.AskedBy), RowTime(a.Asked), RowTime(a.Until), string(a.State),
		string(a.DecidedBy), RowTime(a.Decided), RowTime(a.Used),
	}
}

// Altered looks for rows that are not as they were written, and tells the log of each.
func (d *Directory) Altered(ctx context.Context) ([]AlteredRow, error) {
	var out []AlteredRow
	records, err := d.config.Store.Accounts(ctx)
	if err != nil {
		return nil, fmt.Errorf("looking for altered rows: %w", err)
	}
	for _, r := range records {
		if err := d.grants(ctx, &r); err != nil {
			return nil, err
		}
		for _, g := range r.Grants {
			if ok, err := d.grantHolds(ctx, r.Account.ID, g); err != nil {
				return nil, err
			} else if !ok {
				out = append(out, AlteredRow{RowGrant, r.Account.ID, string(g.Grant.Role)})
			}
		}
		keys, err := d.config.Store.Passkeys(ctx, r.Account.ID)
		if err != nil {
			return nil, fmt.Errorf("looking for altered rows: %w", err)
		}
		for _, k := range keys {
			if _, ok, err := d.passkeyHolds(ctx, k); err != nil {
				return nil, err
			} else if !ok {
				out = append(out, AlteredRow{RowPasskey, r.Account.ID, string(k.Passkey.ID)})
			}
		}
		sessions, err := d.config.Store.Sessions(ctx, r.Account.ID)
		if err != nil {
			return nil, fmt.Errorf("looking for altered rows: %w", err)
		}
		for _, s := range sessions {
			if ok, err := d.sessionHolds(ctx, &s); err != nil {
				return nil, err
			} else if !ok {
				out = append(out, AlteredRow{RowSession, r.Account.ID, string(s.Session.ID)})
			}
		}
	}
	approvals, err := d.config.Store.Approvals(ctx, maxApprovals)
	if err != nil {
		return nil, fmt.Errorf("looking for altered rows: %w", err)
	}
	for _, a := range approvals {
		if ok, err := d.approvalHolds(ctx, a); err != nil {
			return nil, err
		} else if !ok {
			out = append(out, AlteredRow{RowApproval, a.Approval.Subject, string(a.Approval.ID)})
		}
	}
	return out, nil
}
