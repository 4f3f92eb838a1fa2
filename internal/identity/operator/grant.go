package operator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Grant gives an account a role, or another end to one that it has. A role that
// decides approvals takes two operators.
func (d *Directory) Grant(ctx context.Context, by Actor, id AccountID, g Grant) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	at := d.now()
	g.Until = micro(g.Until)
	if err := checkGrant(g, at); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	if guarded(g.Role) {
		detail := string(g.Role)
		if !g.Until.IsZero() {
			detail += " until " + g.Until.Format("2006-01-02T15:04:05.999999Z")
		}
		if err := d.enrolled(ctx, by, r); err != nil {
			return err
		}
		if err := d.authoriseOwner(ctx, by, "grant", detail, r); err != nil {
			return err
		}
	}
	sealed, err := d.sealGrant(ctx, id, g)
	if err != nil {
		return err
	}
	e := entry(actionGrant, by, id)
	describe(e, g)
	return d.logged(ctx, e, func() error { return d.stateRefusal(d.config.Store.PutGrant(ctx, id, sealed, at, Owner)) })
}

// enrolled refuses, where it takes two, an account that nobody has enrolled: it
// belongs to whoever has the link, which the one who invited has seen.
func (d *Directory) enrolled(ctx context.Context, by Actor, r AccountRecord) error {
	if r.Account.State != Invited {
		return nil
	}
	needed, err := d.demanded(ctx, by)
	if err == nil && needed {
		err = wire.Refuse(gatehouse.ErrConflict, "operator/not-enrolled", "This role takes two operators, and an account whose operator has enrolled.")
	}
	return err
}

// authoriseOwner demands owner.change and, where it takes two, an approval.
func (d *Directory) authoriseOwner(ctx context.Context, by Actor, what, detail string, r AccountRecord, also ...AccountRecord) error {
	if _, err := d.authorise(ctx, by, OwnerChange, false); err != nil {
		return err
	}
	p, err := d.ownerChange(ctx, what, detail, r, also...)
	if err != nil {
		return err
	}
	return d.approved(ctx, by, p)
}

// Revoke takes a role away, at once and in the middle of sessions. The last owner's
// stays. It demands no recent sign-in, which could not be had while the log is out of
// order.
func (d *Directory) Revoke(ctx context.Context, by Actor, id AccountID, role Role) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, false); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	if guarded(role) {
		if err := d.authoriseOwner(ctx, by, "revoke", string(role), r); err != nil {
			return err
		}
	}
	return d.revoke(ctx, by, r, role)
}

func (d *Directory) revoke(ctx context.Context, by Actor, r AccountRecord, role Role) error {
	e := entry(actionRevoke, by, r.Account.ID)
	e.Facts["role"] = string(role)
	at := d.now()
	return d.reduced(ctx, e, deedOf(deedGrant, pair(r.Account.ID, string(role))), func() error {
		err := d.config.Store.DropGrant(ctx, r.Account.ID, role, at, Owner, r.Account.May(ApprovalsDecide, at))
		if errors.Is(err, gatehouse.ErrNotFound) {
			return wire.Refuse(gatehouse.ErrNotFound, "operator/grant-unknown", "The operator does not have this role.")
		}
		return d.stateRefusal(err)
	})
}

// HandOver gives all roles of one account to another, which has to be active; the
// one before keeps its account without a role, and is signed out.
func (d *Directory) HandOver(ctx context.Context, by Actor, from, to AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	if from == to {
		return fmt.Errorf("hand-over: it takes two accounts: %w", gatehouse.ErrInvalid)
	}
	r, err := d.record(ctx, from)
	if err != nil {
		return err
	}
	heir, err := d.record(ctx, to)
	if err != nil {
		return err
	}
	move, err := d.move(ctx, r.Account, heir.Account)
	if err != nil {
		return err
	}
	if decides(r.Account) {
		if err := d.authoriseOwner(ctx, by, "hand-over", "to "+string(to), r, heir); err != nil {
			return err
		}
	}
	move.At, move.Keep = d.now(), Owner
	move.Decider = r.Account.May(ApprovalsDecide, move.At)
	e := entry(actionHandOver, by, from)
	e.Facts["to"] = string(to)
	return d.logged(ctx, e, func() error { return d.stateRefusal(d.config.Store.MoveGrants(ctx, move)) })
}

// move says what a hand-over does: of a role that both have, the heir gets the later
// end. All that this is made of has to be so still when it is written: a role may have
// been taken from either since it was read.
func (d *Directory) move(ctx context.Context, giver, heir Account) (GrantMove, error) {
	m := GrantMove{From: giver.ID, To: heir.ID}
	put := func(list *[]GrantRecord, id AccountID, g Grant) error {
		sealed, err := d.sealGrant(ctx, id, g)
		*list = append(*list, sealed)
		return err
	}
	for _, g := range giver.Grants {
		err := put(&m.Given, giver.ID, g)
		if i := slices.IndexFunc(heir.Grants, func(had Grant) bool { return had.Role == g.Role }); i >= 0 {
			had := heir.Grants[i]
			err = errors.Join(err, put(&m.Had, heir.ID, had))
			if !g.Until.IsZero() && (had.Until.IsZero() || had.Until.After(g.Until)) {
				g = had
			}
		}
		if err := errors.Join(err, put(&m.Grants, heir.ID, g)); err != nil {
			return GrantMove{}, err
		}
	}
	return m, nil
}

// stateRefusal says what a conflict with an account's state is about.
func (d *Directory) stateRefusal(err error) error {
	if err == nil || errors.Is(err, ErrLast) || !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	return wire.Refuse(gatehouse.ErrConflict, "operator/state", "The account is not in a state for this, or was changed meanwhile.")
}

// The kinds of what Defer may be asked to note; see Redo.
const (
	deedSuspend  = "operator-suspend"
	deedRemove   = "operator-remove"
	deedGrant    = "operator-grant"
	deedSession  = "operator-session"
	deedSessions = "operator-sessions"
	deedPasskey  = "operator-passkey"
)

func deedOf(kind, target string) audit.Deed { return audit.Deed{Kind: kind, Target: target} }

// Redo does what was noted because the store could not be written, and reports
// whether that is of a kind of this package. What is refused by now stays undone.
func (d *Directory) Redo(ctx context.Context, deed audit.Deed) (bool, error) {
	by := Actor{system: true}
	ctx = context.WithValue(ctx, asStored{}, true) // else it is not there to be taken
	first, second, _ := strings.Cut(deed.Target, "/")
	id := AccountID(first)
	var err error
	switch deed.Kind {
	case deedSuspend, deedRemove, deedGrant:
		var r AccountRecord
		if r, err = d.record(ctx, id); err != nil {
			break
		}
		switch deed.Kind {
		case deedSuspend:
			if deed.Reason == reasonSCIM {
				err = d.suspendProvisioned(ctx, by, r)
			} else {
				err = d.suspend(ctx, by, r, reasonOperator)
			}
		case deedRemove:
			err = d.remove(ctx, by, r)
		default:
			err = d.revoke(ctx, by, r, Role(second))
		}
	case deedSession:
		err = d.endSession(ctx, entry(actionSignOut, by, id), id, SessionID(second))
	case deedSessions:
		err = d.endSessions(ctx, entry(actionSignOut, by, id), id, SessionID(deed.Reason))
	case deedPasskey:
		err = d.cloned(ctx, id, PasskeyID(second))
	default:
		return false, nil
	}
	if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
		err = nil
	}
	if err == nil {
		d.owed.drop(deed)
	}
	return true, err
}
