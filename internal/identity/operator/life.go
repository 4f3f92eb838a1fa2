package operator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
)

// Why an account is suspended.
const (
	reasonOperator = "operator"
	reasonIdle     = "idle"
)

// Suspend keeps an account from signing in and ends its sessions. It demands no
// recent sign-in and no second operator: it is the brake, and can be undone. The last
// owner cannot be suspended.
func (d *Directory) Suspend(ctx context.Context, by Actor, id AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, false); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	return d.suspend(ctx, by, r, reasonOperator)
}

func (d *Directory) suspend(ctx context.Context, by Actor, r AccountRecord, reason string) error {
	at := d.now()
	e := entry(actionSuspend, by, r.Account.ID)
	e.Facts["reason"] = reason
	change := StateChange{
		From: []State{Active}, To: Suspended, Reason: reason, At: at, Keep: Owner, Decider: r.Account.May(ApprovalsDecide, at),
	}
	// An operator's word stands above an identity provider's, who may undo only its own.
	if reason == reasonOperator && r.Account.State == Suspended && r.Account.Reason == reasonSCIM {
		change.From, change.Because = []State{Suspended}, reasonSCIM
	}
	if reason == reasonIdle {
		change.SeenBefore = at.Add(-d.config.SuspendAfter)
	}
	return d.reduced(ctx, e, deedOf(deedSuspend, string(r.Account.ID)), func() error {
		return d.stateRefusal(d.config.Store.SetState(ctx, r.Account.ID, change))
	})
}

// Resume lets a suspended account sign in again, with the factors and the roles that
// it had.
func (d *Directory) Resume(ctx context.Context, by Actor, id AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, true); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	return d.logged(ctx, entry(actionResume, by, id), func() error {
		return d.stateRefusal(d.config.Store.SetState(ctx, id, StateChange{From: []State{Suspended}, To: resumed(r), At: d.now()}))
	})
}

// Remove ends an account for good: its sessions, factors and roles go, and so do its
// name and address. Only the identifier stays, for the log. It takes two for an
// account that decides approvals; the last owner cannot be removed.
func (d *Directory) Remove(ctx context.Context, by Actor, id AccountID) error {
	if _, err := d.authorise(ctx, by, OperatorsChange, false); err != nil {
		return err
	}
	r, err := d.record(ctx, id)
	if err != nil {
		return err
	}
	if decides(r.Account) {
		if err := d.authoriseOwner(ctx, by, "remove", "", r); err != nil {
			return err
		}
	}
	return d.remove(ctx, by, r)
}

func (d *Directory) remove(ctx context.Context, by Actor, r AccountRecord) error {
	at := d.now()
	change := StateChange{
		From: []State{Invited, Active, Suspended}, To: Removed, At: at, Keep: Owner, Decider: r.Account.May(ApprovalsDecide, at),
	}
	return d.reduced(ctx, entry(actionRemove, by, r.Account.ID), deedOf(deedRemove, string(r.Account.ID)), func() error {
		return d.stateRefusal(d.config.Store.Forget(ctx, r.Account.ID, change))
	})
}

// Tend suspends the accounts that were not used for as long as the configuration
// allows, but the last owner, and removes what is over, roles of groups that the
// configuration does not give them any more among it. It returns how many it
// suspended.
func (d *Directory) Tend(ctx context.Context) (int, error) {
	at := d.now()
	if err := d.config.Store.Sweep(ctx, at, at.Add(-approvalsKept)); err != nil {
		return 0, fmt.Errorf("removing what is over: %w", err)
	}
	if err := d.tendGroups(ctx); err != nil {
		return 0, err
	}
	if d.config.SuspendAfter < 0 {
		return 0, nil
	}
	records, err := d.config.Store.Accounts(ctx)
	if err != nil {
		return 0, fmt.Errorf("looking for idle operators: %w", err)
	}
	n, before := 0, at.Add(-d.config.SuspendAfter)
	for _, r := range records {
		if err := d.grants(ctx, &r); err != nil {
			return n, err
		}
		if r.Account.State != Active || !lastUse(r.Account).Before(before) {
			continue
		}
		switch err := d.suspend(ctx, Actor{system: true}, r, reasonIdle); {
		case err == nil:
			n++
		case !errors.Is(err, gatehouse.ErrConflict):
			return n, fmt.Errorf("suspending an idle operator: %w", err)
		}
	}
	return n, nil
}

// lastUse is when an account was used last.
func lastUse(a Account) time.Time {
	if a.LastSeen.IsZero() {
		return a.Created
	}
	return a.LastSeen
}
