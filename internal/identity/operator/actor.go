package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// The refusals that a page tells apart.
var (
	// ErrSignIn is the answer to everybody who does not get in, whatever the reason.
	ErrSignIn = wire.Unauthenticated("operator/sign-in", "That did not work. Check what you entered, or ask an owner of this Gatehouse.")
	// ErrSession means that there is no session, or none any more: sign in.
	ErrSession = wire.Unauthenticated("operator/session", "You are not signed in, or not any more.")
	// ErrMay means that the operator's roles do not allow it.
	ErrMay = wire.Refuse(gatehouse.ErrDenied, "operator/permission", "Your roles do not allow this.")
	// ErrLocked means that too much was tried; errors.As gives a *Locked with the time.
	ErrLocked = wire.Refuse(gatehouse.ErrLimited, "operator/locked", "Too many attempts. Wait, or use a passkey, or a browser that you have signed in with before.")
	// ErrFresh means that a factor has to be shown anew before this.
	ErrFresh = wire.Refuse(gatehouse.ErrDenied, "operator/fresh", "This needs a recent sign-in: show a factor again.")
	// ErrApproval means that a second operator has to agree; errors.As gives a
	// *NeedApproval with what to propose.
	ErrApproval = wire.Refuse(gatehouse.ErrDenied, "operator/approval", "This takes two: another operator has to approve it first.")
	// ErrLast means that no owner would be left.
	ErrLast = wire.Refuse(gatehouse.ErrConflict, "operator/last-owner", "This would leave no active owner. Make another one first.")
	// ErrEnrolment means that an enrolment link does not work, or not any more, or
	// belongs to the browser that used it first.
	ErrEnrolment = wire.Unauthenticated("operator/enrolment", "This link does not work, or not any more. Ask for a new one.")
)

// An Actor is who does something: an operator in a session, or whoever has the
// command line of the host. The zero Actor may do nothing.
type Actor struct {
	account  AccountID
	session  SessionID
	approval ApprovalID
	host     bool
	system   bool
	// provisioner is the token of an identity provider.
	provisioner string
}

// Host is whoever runs a command on the host, with the configuration and what it
// refers to: they need no role, and no second operator.
func Host() Actor { return Actor{host: true} }

// By is the operator of a session.
func By(s Session) Actor { return Actor{account: s.Account, session: s.ID} }

// With is the actor who uses an approval.
func (a Actor) With(approval ApprovalID) Actor {
	a.approval = approval
	return a
}

// Approval returns the approval that the actor uses, if any.
func (a Actor) Approval() ApprovalID { return a.approval }

// Account returns the operator's account, empty for the host.
func (a Actor) Account() AccountID { return a.account }

// Name is how the log names the actor.
func (a Actor) Name() string {
	switch {
	case a.host:
		return "host"
	case a.system:
		return "gatehouse"
	case a.provisioner != "":
		return "scim"
	}
	return string(a.account)
}

// Authorise refuses an actor who may not use a permission now: whose session or
// account has ended, whose roles do not hold it (ErrMay), or who showed no factor
// lately where the permission is dangerous (ErrFresh).
func (d *Directory) Authorise(ctx context.Context, by Actor, p Permission) error {
	_, err := d.authorise(ctx, by, p, p.Dangerous())
	return err
}

// authorise is Authorise, with what it found.
func (d *Directory) authorise(ctx context.Context, by Actor, p Permission, fresh bool) (Account, error) {
	if by.host || by.system {
		return Account{}, nil
	}
	if by.account == "" || by.session == "" {
		return Account{}, ErrSession
	}
	account, err := d.record(ctx, by.account)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Account{}, ErrSession
	}
	if err != nil {
		return Account{}, err
	}
	sessions, err := d.config.Store.Sessions(ctx, by.account)
	if err != nil {
		return Account{}, fmt.Errorf("reading a session: %w", err)
	}
	at := d.now()
	for _, s := range sessions {
		if s.Session.ID != by.session || !d.alive(s.Session, account, at) {
			continue
		}
		ok, err := d.sessionHolds(ctx, &s)
		switch {
		case err != nil:
			return Account{}, err
		case !ok:
			return Account{}, ErrSession
		case !account.Account.May(p, at):
			return Account{}, ErrMay
		case fresh && !d.Fresh(s.Session):
			return Account{}, ErrFresh
		}
		return account.Account, nil
	}
	return Account{}, ErrSession
}

// Fresh reports whether a factor was shown in a session as lately as a dangerous act
// demands. The clock of another node may be ahead of this one's by maxSkew; one that was
// set back further makes no session fresher.
func (d *Directory) Fresh(s Session) bool {
	if s.Proved.IsZero() {
		return false
	}
	age := d.now().Sub(s.Proved)
	return age >= -maxSkew && age < d.config.Fresh
}

// maxSkew is by how much the clocks of the nodes of one Gatehouse may differ.
const maxSkew = 5 * time.Second

// entry is the beginning of an entry of the log: who does it, to which account.
func entry(action string, by Actor, account AccountID) audit.Entry {
	facts := map[string]string{}
	if name := by.Name(); name != "" {
		facts["operator"] = name
	}
	if account != "" {
		facts["account"] = string(account)
	}
	return audit.Entry{Action: action, Facts: facts}
}

// logged does one thing that gives access, or changes it: its intent is durable
// before, its outcome follows. If the log cannot be written, it is not done.
func (d *Directory) logged(ctx context.Context, e audit.Entry, do func() error) error {
	e.Verdict = verdictAllow
	receipt, err := d.config.Log.Intent(ctx, e)
	if err != nil {
		return fmt.Errorf("recording %s: %w", e.Action, err)
	}
	return d.finish(receipt, e, do())
}

// reduced does one thing that takes access away. It is done even if the log cannot
// be written: the entry then waits beside it. If it is the store that cannot be
// written, the deed is noted, and done before the log admits anything else.
func (d *Directory) reduced(ctx context.Context, e audit.Entry, deed audit.Deed, do func() error) error {
	e.Verdict = verdictAllow
	receipt, unlogged := d.config.Log.Reduce(ctx, e)
	err := do()
	if receipt.ID() != "" {
		err = d.finish(receipt, e, err)
	}
	if errors.Is(err, gatehouse.ErrUnavailable) {
		// Held before it is noted: it may be done at once.
		release := d.hold(ctx, deed)
		if err = d.config.Log.Defer(err, deed, e); wire.RuleOf(err) != ruleDeferred {
			release()
		}
	}
	if err != nil {
		return err
	}
	if unlogged != nil {
		return fmt.Errorf("%s was done, but not recorded: %w", e.Action, unlogged)
	}
	return nil
}

// finish records the outcome of what was done and returns its error.
func (d *Directory) finish(receipt audit.Receipt, e audit.Entry, err error) error {
	outcome := audit.Entry{Action: e.Action, Verdict: verdictDone, Facts: e.Facts}
	if err != nil {
		outcome.Verdict, outcome.Rule = verdictFailed, wire.RuleOf(err)
	}
	d.config.Log.Outcome(receipt, outcome)
	return err
}

// ruleDeferred is the rule of an error that says that a deed was noted.
const ruleDeferred = "log/deferred"

// The verdicts of the log that this package uses.
const (
	verdictAllow  = "allow"
	verdictRefuse = "refuse"
	verdictDone   = "done"
	verdictFailed = "failed"
)

// The actions of the log.
const (
	actionInvite   = "operator.invite"
	actionEnrol    = "operator.enrol"
	actionFactor   = "operator.factor"
	actionSignIn   = "operator.sign-in"
	actionProve    = "operator.prove"
	actionRefuse   = "operator.refuse"
	actionLocked   = "operator.locked"
	actionCloned   = "operator.cloned"
	actionAltered  = "operator.altered"
	actionSignOut  = "operator.sign-out"
	actionGrant    = "operator.grant"
	actionRevoke   = "operator.revoke"
	actionHandOver = "operator.hand-over"
	actionSuspend  = "operator.suspend"
	actionResume   = "operator.resume"
	actionRemove   = "operator.remove"
	actionPropose  = "operator.propose"
	actionApprove  = "operator.approve"
	actionDecline  = "operator.decline"
	actionUse      = "operator.approved"
	actionReturn   = "operator.returned"
)
