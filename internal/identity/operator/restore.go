package operator

import (
	"context"
	"errors"
	"fmt"

	"gatehouse"
	"gatehouse/internal/wire"
)

// ProposalToRestore is what two operators agree to before a backup is restored beside an
// installation: the backup's id and the SHA-256 of its manifest in hexadecimal, which
// stands for all of it.
func ProposalToRestore(backup, manifest string) Proposal {
	return Proposal{Act: ActRestore, Target: "backup " + backup, Digest: Digest(ActRestore, backup, manifest)}
}

// RestoreTakesTwo reports whether the host needs an approval to restore beside this
// installation: approvals are on, and there are two who could agree, one who asks and one
// who decides.
func (d *Directory) RestoreTakesTwo(ctx context.Context) (bool, error) {
	if d.config.NoApprovals {
		return false, nil
	}
	accounts, err := d.Accounts(ctx)
	if err != nil {
		return false, err
	}
	able, at := 0, d.now()
	for _, a := range accounts {
		if a.May(RestoreApprove, at) && a.May(ApprovalsDecide, at) {
			able++
		}
	}
	return able > 1, nil
}

// AllowRestore is Allow for the host, which restores what two operators agreed to. An
// approval that was used is good for the same backup again until it ends: a restore that
// is interrupted is run again. Each use is on record.
func (d *Directory) AllowRestore(ctx context.Context, id ApprovalID, p Proposal) error {
	refused := wire.Refuse(gatehouse.ErrDenied, "operator/restore-approval", "This approval is not for this backup, waits to be decided, is over, or is of somebody who may not approve any more.")
	a, was, err := d.approval(ctx, id)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return refused
	}
	if err != nil {
		return fmt.Errorf("reading an approval: %w", err)
	}
	if a.Act != ActRestore || p.Act != ActRestore || a.Digest != p.Digest || a.State != Approved && a.State != Used || !d.now().Before(a.Until) {
		return refused
	}
	for who, may := range map[AccountID]Permission{a.AskedBy: RestoreApprove, a.DecidedBy: ApprovalsDecide} {
		r, err := d.record(ctx, who)
		if errors.Is(err, gatehouse.ErrNotFound) || err == nil && !r.Account.May(may, d.now()) {
			return refused
		}
		if err != nil {
			return err
		}
	}
	e := entry(actionUse, Host(), "")
	e.Facts["approval"], e.Facts["act"], e.Facts["approver"], e.Facts["proposer"] = string(a.ID), string(a.Act), string(a.DecidedBy), string(a.AskedBy)
	again := a.State == Used
	a.State, a.Used = Used, d.now()
	used, err := d.sealApproval(ctx, a)
	if err != nil {
		return err
	}
	return d.logged(ctx, e, func() error {
		if again {
			return nil
		}
		err := d.config.Store.UseApproval(ctx, was, used)
		if errors.Is(err, gatehouse.ErrConflict) || errors.Is(err, gatehouse.ErrNotFound) {
			return refused
		}
		return err
	})
}
