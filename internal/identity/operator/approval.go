package operator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"gatehouse"
	"gatehouse/internal/wire"
)

// An Act is something destructive that takes two operators.
type Act string

// The acts.
const (
	// ActDestroyKey destroys a version of a key.
	ActDestroyKey Act = "keys.destroy"
	// ActRevokeEverything cuts all connections off.
	ActRevokeEverything Act = "everything.revoke"
	// ActRestore puts a backup in the place of the database.
	ActRestore Act = "backup.restore"
	// ActChangeOwner says who may decide approvals: it gives or takes a role that
	// may, or hands an account that has one to somebody else.
	ActChangeOwner Act = "owner.change"
	// ActScimToken makes a token for an identity provider: whoever has it makes
	// accounts, and fills groups whose role may decide approvals.
	ActScimToken Act = "scim.token"
)

// acts holds what each act takes.
var acts = map[Act]Permission{
	ActDestroyKey: KeysDestroy, ActRevokeEverything: EverythingRevoke, ActRestore: RestoreApprove, ActChangeOwner: OwnerChange,
	ActScimToken: OwnerChange,
}

// Permission is what the act takes; empty for one that does not exist.
func (a Act) Permission() Permission { return acts[a] }

// ApprovalID is the random identifier of an approval.
type ApprovalID string

// ApprovalState is where an approval stands.
type ApprovalState string

// The states. One whose time is over stays as it was.
const (
	Waiting  ApprovalState = "waiting"
	Approved ApprovalState = "approved"
	Declined ApprovalState = "declined"
	Used     ApprovalState = "used"
	// Withdrawn is one whose asker lost their account meanwhile.
	Withdrawn ApprovalState = "withdrawn"
	// Altered is one that is not as it was written: it is of no use. It stands in no
	// row.
	Altered ApprovalState = "altered"
)

// Proposal is what somebody wants to do.
type Proposal struct {
	Act Act
	// Target says to an operator what is acted on, and never holds a value of a
	// person.
	Target string
	// Subject is the account that is acted on, if one is. Its operator does not
	// decide.
	Subject AccountID
	// Digest is of everything that the approval is for; see [Digest].
	Digest string
}

// Digest is the digest of what an act is about: the state of its target included,
// so that an approval is of no use once that has changed.
func Digest(act Act, parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{string(act)}, parts...) {
		h.Write([]byte(strconv.Itoa(len(p)) + ":" + p))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Approval is an act that waits for a second operator, or has got one.
type Approval struct {
	ID ApprovalID
	Proposal
	AskedBy AccountID
	Asked   time.Time
	// Until is when it ends, used or not.
	Until     time.Time
	State     ApprovalState
	DecidedBy AccountID
	Decided   time.Time
	Used      time.Time
}

const (
	// approvalFor is how long an approval can be decided and used.
	approvalFor = 24 * time.Hour
	// maxWaiting is how many approvals of one operator wait at most.
	maxWaiting = 20
	// maxTarget bounds the text about a target, in bytes.
	maxTarget = 300
	// maxApprovals is how many are listed.
	maxApprovals = 500
	// approvalsKept is how long they stay in the list.
	approvalsKept = 400 * 24 * time.Hour
	// deciderMemory is how long an account that could decide approvals still counts
	// as one that could: who takes everybody else's roles away does not thereby get
	// to act alone.
	deciderMemory = 72 * time.Hour
)

// NeedApproval is ErrApproval with what to propose.
type NeedApproval struct{ Proposal Proposal }

// Error implements error.
func (n *NeedApproval) Error() string { return ErrApproval.Error() }

// Unwrap makes it ErrApproval.
func (n *NeedApproval) Unwrap() error { return ErrApproval }

// Allow is the door to a destructive act: it refuses who may not do it, who showed no
// factor lately, and, where it takes two, who does not come with an approval of
// exactly this, which it uses up. Whoever calls it then records and does the act.
func (d *Directory) Allow(ctx context.Context, by Actor, p Proposal) error {
	if acts[p.Act] == "" {
		return fmt.Errorf("allowing an act: there is none of this name: %w", gatehouse.ErrInvalid)
	}
	if _, err := d.authorise(ctx, by, acts[p.Act], true); err != nil {
		return err
	}
	return d.approved(ctx, by, p)
}

// Do is Allow and the act after it, which records itself. If the act fails, the approval
// is given back: the second operator agreed to the act, not to an attempt. What fails must
// have given nothing to anybody. A process that dies in between leaves it used.
func (d *Directory) Do(ctx context.Context, by Actor, p Proposal, act func() error) error {
	if err := d.Allow(ctx, by, p); err != nil {
		return err
	}
	failed := act()
	if failed == nil || by.approval == "" {
		return failed
	}
	// Also for somebody who has hung up.
	return errors.Join(failed, d.giveBack(context.WithoutCancel(ctx), by, p))
}

// giveBack makes an approval that was used for p usable again. One that was not, because
// it took none, stays as it is.
func (d *Directory) giveBack(ctx context.Context, by Actor, p Proposal) error {
	a, was, err := d.approval(ctx, by.approval)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.State != Used || a.Act != p.Act || a.Digest != p.Digest || a.AskedBy != by.account {
		return nil
	}
	a.State, a.Used = Approved, time.Time{}
	r, err := d.sealApproval(ctx, a)
	if err != nil {
		return err
	}
	e := entry(actionReturn, by, p.Subject)
	e.Facts["approval"], e.Facts["act"], e.Facts["approver"] = string(a.ID), string(p.Act), string(a.DecidedBy)
	return d.logged(ctx, e, func() error { return d.config.Store.ReturnApproval(ctx, was, r) })
}

// approved uses an approval up, if it takes one.
func (d *Directory) approved(ctx context.Context, by Actor, p Proposal) error {
	needed, err := d.demanded(ctx, by)
	if err != nil || !needed {
		return err
	}
	if by.approval == "" {
		return &NeedApproval{p}
	}
	a, was, err := d.approval(ctx, by.approval)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return &NeedApproval{p}
	}
	if err != nil {
		return err
	}
	at := d.now()
	if a.State != Approved || a.Act != p.Act || a.Digest != p.Digest || a.AskedBy != by.account || !at.Before(a.Until) {
		return &NeedApproval{p}
	}
	// Who approved it must still be allowed to.
	if decider, err := d.record(ctx, a.DecidedBy); errors.Is(err, gatehouse.ErrNotFound) || err == nil && !decider.Account.May(ApprovalsDecide, at) {
		return &NeedApproval{p}
	} else if err != nil {
		return err
	}
	a.State, a.Used = Used, at
	used, err := d.sealApproval(ctx, a)
	if err != nil {
		return err
	}
	e := entry(actionUse, by, p.Subject)
	e.Facts["approval"], e.Facts["act"], e.Facts["approver"] = string(a.ID), string(p.Act), string(a.DecidedBy)
	return d.logged(ctx, e, func() error {
		err := d.config.Store.UseApproval(ctx, was, used)
		if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
			return &NeedApproval{p}
		}
		return err
	})
}

// approval reads an approval and its MAC. One that is not as it was written is none.
func (d *Directory) approval(ctx context.Context, id ApprovalID) (Approval, string, error) {
	r, err := d.config.Store.Approval(ctx, id)
	if err != nil {
		return Approval{}, "", fmt.Errorf("reading an approval: %w", err)
	}
	ok, err := d.approvalHolds(ctx, r)
	if err == nil && !ok {
		err = fmt.Errorf("reading an approval: it is not as it was written: %w", gatehouse.ErrNotFound)
	}
	return r.Approval, r.MAC, err
}

// TakesTwo reports whether an act of this operator would need an approval now.
func (d *Directory) TakesTwo(ctx context.Context, by Actor) (bool, error) {
	return d.demanded(ctx, by)
}

// demanded reports whether a destructive act takes two: approvals are on, and there
// is another account that could decide, or could until lately. With one operator
// alone there is nobody to ask, and the installation must not be stuck; the host may
// do everything anyway. An account that is itself acted on counts, though its operator
// does not decide: else one of two could take the other's account over.
func (d *Directory) demanded(ctx context.Context, by Actor) (bool, error) {
	if d.config.NoApprovals || by.host || by.system {
		return false, nil
	}
	records, err := d.config.Store.Accounts(ctx)
	if err != nil {
		return false, fmt.Errorf("looking for a second operator: %w", err)
	}
	since := d.now().Add(-deciderMemory)
	for _, r := range records {
		if err := d.grants(ctx, &r); err != nil {
			return false, err
		}
		if r.Account.ID == by.account || r.Environment != d.config.Environment {
			continue
		}
		if r.Account.May(ApprovalsDecide, since) || r.Decided.After(since) {
			return true, nil
		}
	}
	return false, nil
}

// decides reports whether an account has a role that decides approvals, whether or
// not the account is active.
func decides(a Account) bool {
	return slices.ContainsFunc(a.Grants, func(g Grant) bool { return guarded(g.Role) })
}

// guarded reports whether giving and taking a role takes two.
func guarded(r Role) bool { return slices.Contains(permissions[r], ApprovalsDecide) }

// ownerChange is what changes an account that decides approvals, and who else gets
// something by it. What each account signs in with is part of it: one that got other
// factors meanwhile may be somebody else's, since a new link to enrol takes one
// operator only. So are name and address, by which whoever decides knows the account.
func (d *Directory) ownerChange(ctx context.Context, what, detail string, r AccountRecord, also ...AccountRecord) (Proposal, error) {
	parts := []string{what, detail}
	for _, of := range append([]AccountRecord{r}, also...) {
		parts = append(parts, string(of.Account.ID), string(of.Account.State), of.Account.Name, of.Account.Email, of.EmailKey)
		for _, g := range of.Account.Grants {
			parts = append(parts, string(g.Role), g.Until.Format(time.RFC3339Nano))
		}
		keys, err := d.config.Store.Passkeys(ctx, of.Account.ID)
		if err != nil {
			return Proposal{}, fmt.Errorf("reading passkeys: %w", err)
		}
		parts = append(parts, "factors", string(of.Password), of.TOTP)
		for _, k := range keys {
			parts = append(parts, string(k.Passkey.ID))
		}
	}
	target := what + " " + string(r.Account.ID)
	if detail != "" {
		target += " " + detail
	}
	return Proposal{Act: ActChangeOwner, Target: target, Subject: r.Account.ID, Digest: Digest(ActChangeOwner, parts...)}, nil
}

// Propose asks for a second operator.
func (d *Directory) Propose(ctx context.Context, by Actor, p Proposal) (Approval, error) {
	if acts[p.Act] == "" || p.Digest == "" || p.Target == "" || len(p.Target) > maxTarget ||
		strings.ContainsFunc(p.Target, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return Approval{}, fmt.Errorf("proposal: it needs an act, a digest and a target of at most %d printable bytes: %w", maxTarget, gatehouse.ErrInvalid)
	}
	if by.host || by.system {
		return Approval{}, fmt.Errorf("proposal: the host needs nobody's approval: %w", gatehouse.ErrInvalid)
	}
	if _, err := d.authorise(ctx, by, acts[p.Act], true); err != nil {
		return Approval{}, err
	}
	at := d.now()
	a := Approval{ID: ApprovalID(newID()), Proposal: p, AskedBy: by.account, Asked: at, Until: at.Add(approvalFor), State: Waiting}
	e := entry(actionPropose, by, p.Subject)
	e.Facts["approval"], e.Facts["act"] = string(a.ID), string(p.Act)
	sealed, err := d.sealApproval(ctx, a)
	if err != nil {
		return Approval{}, err
	}
	err = d.logged(ctx, e, func() error {
		err := d.config.Store.AddApproval(ctx, sealed, maxWaiting)
		if errors.Is(err, gatehouse.ErrConflict) {
			return wire.Refuse(gatehouse.ErrLimited, "operator/many-approvals", "Too many of your proposals are waiting. Have some decided first.")
		}
		return err
	})
	if err != nil {
		return Approval{}, fmt.Errorf("proposing: %w", err)
	}
	return a, nil
}

// Approve agrees to what another operator proposed: the proposer may do it once,
// before it ends.
func (d *Directory) Approve(ctx context.Context, by Actor, id ApprovalID) error {
	return d.decide(ctx, by, id, Approved, actionApprove)
}

// Decline disagrees.
func (d *Directory) Decline(ctx context.Context, by Actor, id ApprovalID) error {
	return d.decide(ctx, by, id, Declined, actionDecline)
}

func (d *Directory) decide(ctx context.Context, by Actor, id ApprovalID, state ApprovalState, action string) error {
	if by.host || by.system {
		return fmt.Errorf("approval: it takes an operator with an account: %w", gatehouse.ErrInvalid)
	}
	if _, err := d.authorise(ctx, by, ApprovalsDecide, true); err != nil {
		return err
	}
	refused := wire.Refuse(gatehouse.ErrConflict, "operator/approval-state", "This proposal does not wait for you: it is decided, over, your own, or about you.")
	a, was, err := d.approval(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return wire.Refuse(gatehouse.ErrNotFound, "operator/approval-unknown", "There is no such proposal.")
	}
	if err != nil {
		return err
	}
	if a.AskedBy == by.account || a.Subject == by.account {
		return refused
	}
	e := entry(action, by, a.Subject)
	e.Facts["approval"], e.Facts["act"], e.Facts["proposer"] = string(id), string(a.Act), string(a.AskedBy)
	a.State, a.DecidedBy, a.Decided = state, by.account, d.now()
	decided, err := d.sealApproval(ctx, a)
	if err != nil {
		return err
	}
	return d.logged(ctx, e, func() error {
		err := d.config.Store.Decide(ctx, was, decided)
		if errors.Is(err, gatehouse.ErrConflict) {
			return refused
		}
		return err
	})
}

// Approvals returns the newest approvals, those that wait and those of the past.
func (d *Directory) Approvals(ctx context.Context) ([]Approval, error) {
	records, err := d.config.Store.Approvals(ctx, maxApprovals)
	if err != nil {
		return nil, fmt.Errorf("listing approvals: %w", err)
	}
	all := make([]Approval, 0, len(records))
	for _, r := range records {
		ok, err := d.approvalHolds(ctx, r)
		if err != nil {
			return nil, err
		}
		if !ok {
			// Somebody else wrote it: what it says is not shown as a proposal.
			r.Approval.State, r.Approval.Target = Altered, ""
		}
		all = append(all, r.Approval)
	}
	return all, nil
}
