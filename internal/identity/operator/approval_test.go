package operator_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

func destroy(version string) operator.Proposal {
	return operator.Proposal{
		Act: operator.ActDestroyKey, Target: "key records, version " + version, Digest: operator.Digest(operator.ActDestroyKey, "records", version, "scheduled"),
	}
}

// needs checks that something takes a second operator, and returns what to propose.
func needs(t *testing.T, what string, err error) operator.Proposal {
	t.Helper()
	var need *operator.NeedApproval
	if !errors.Is(err, operator.ErrApproval) || !errors.As(err, &need) {
		t.Errorf("%s: %v, want ErrApproval with a proposal", what, err)
		return operator.Proposal{}
	}
	return need.Proposal
}

// agreed has one operator propose what needs two and another approve it.
func (w *world) agreed(asker, decider *member, p operator.Proposal) operator.Actor {
	w.t.Helper()
	a, err := w.d.Propose(w.t.Context(), asker.by(), p)
	if err != nil {
		w.t.Fatalf("Propose: %v", err)
	}
	if err := w.d.Approve(w.t.Context(), decider.by(), a.ID); err != nil {
		w.t.Fatalf("Approve: %v", err)
	}
	return asker.by().With(a.ID)
}

func TestDestructiveActsTakeTwo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		asker, decider := w.join("ada", operator.Security), w.join("bob", operator.Security)
		third, auditor := w.join("cleo", operator.Owner), w.join("dan", operator.Auditor)

		is(t, "without the permission", w.d.Allow(ctx, auditor.by(), destroy("1")), operator.ErrMay)
		is(t, "an act that does not exist", w.d.Allow(ctx, asker.by(), operator.Proposal{Act: "rm"}), gatehouse.ErrInvalid)
		p := needs(t, "without an approval", w.d.Allow(ctx, asker.by(), destroy("1")))
		_, err := w.d.Propose(ctx, auditor.by(), p)
		is(t, "proposing without the permission", err, operator.ErrMay)
		a, err := w.d.Propose(ctx, asker.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		needs(t, "with one that waits", w.d.Allow(ctx, asker.by().With(a.ID), p))
		refused(t, "approving one's own", w.d.Approve(ctx, asker.by(), a.ID), "operator/approval-state")
		if w.logged(`"operator.approve"`) != 0 {
			t.Error("the log says that one's own proposal may be approved")
		}
		is(t, "approving without the permission", w.d.Approve(ctx, auditor.by(), a.ID), operator.ErrMay)
		refused(t, "approving what does not exist", w.d.Approve(ctx, decider.by(), "nothing"), "operator/approval-unknown")
		is(t, "approving as the host", w.d.Approve(ctx, operator.Host(), a.ID), gatehouse.ErrInvalid)
		is(t, "approving as nobody", w.d.Approve(ctx, operator.Actor{}, a.ID), operator.ErrSession)
		if err := w.d.Approve(ctx, decider.by(), a.ID); err != nil {
			t.Fatal(err)
		}
		refused(t, "declining what is approved", w.d.Decline(ctx, third.by(), a.ID), "operator/approval-state")

		// It is of no use for anybody else, for anything else, and for what has changed.
		needs(t, "in another's hands", w.d.Allow(ctx, third.by().With(a.ID), p))
		needs(t, "for another target", w.d.Allow(ctx, asker.by().With(a.ID), destroy("2")))
		changed := p
		changed.Digest = operator.Digest(operator.ActDestroyKey, "records", "1", "enabled")
		needs(t, "for a target that has changed", w.d.Allow(ctx, asker.by().With(a.ID), changed))
		other := p
		other.Act = operator.ActRevokeEverything
		needs(t, "for another act", w.d.Allow(ctx, asker.by().With(a.ID), other))

		// Nor while who approved it may not approve.
		if err := w.d.Suspend(ctx, operator.Host(), decider.id); err != nil {
			t.Fatal(err)
		}
		needs(t, "while its approver is suspended", w.d.Allow(ctx, asker.by().With(a.ID), p))
		if err := w.d.Resume(ctx, operator.Host(), decider.id); err != nil {
			t.Fatal(err)
		}
		decider.again()

		// Once.
		errs := make([]error, 5)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() { errs[i] = w.d.Allow(ctx, asker.by().With(a.ID), p) })
		}
		group.Wait()
		used := 0
		for _, err := range errs {
			if err == nil {
				used++
			} else {
				needs(t, "an approval that is used", err)
			}
		}
		if used != 1 {
			t.Errorf("an approval was used %d times, want once", used)
		}
		list, err := w.d.Approvals(ctx)
		if err != nil || len(list) != 1 || list[0].State != operator.Used || list[0].DecidedBy != decider.id || list[0].Used.IsZero() {
			t.Errorf("Approvals = %+v, %v", list, err)
		}
		if w.logged("operator.approved", string(a.ID), string(decider.id), "done") != 1 || w.logged("operator.approve\"", string(a.ID)) == 0 {
			t.Error("the log does not hold who approved and that it was used, once")
		}

		// A declined one, and one that is over.
		a, err = w.d.Propose(ctx, asker.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.Decline(ctx, decider.by(), a.ID); err != nil {
			t.Fatal(err)
		}
		needs(t, "with a declined one", w.d.Allow(ctx, asker.by().With(a.ID), p))
		refused(t, "approving a declined one", w.d.Approve(ctx, third.by(), a.ID), "operator/approval-state")
		late := w.agreed(asker, decider, p)
		waiting, err := w.d.Propose(ctx, asker.by(), destroy("3"))
		if err != nil {
			t.Fatal(err)
		}
		w.pass(24 * time.Hour)
		asker.again()
		decider.again()
		refused(t, "approving one that is over", w.d.Approve(ctx, decider.by(), waiting.ID), "operator/approval-state")
		needs(t, "with an approval that is over", w.d.Allow(ctx, operator.By(asker.session).With(late.Approval()), p))
	})
}

// Two deciders decide at the same moment.
// An act that fails costs nobody's approval, and one that is done does.
func TestAFailedActGivesItsApprovalBack(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		asker, decider := w.join("ada", operator.Security), w.join("bob", operator.Security)
		by := w.agreed(asker, decider, destroy("1"))
		full := errors.New("the disk is full")
		ctx, hangUp := context.WithCancel(t.Context())
		if err := w.d.Do(ctx, by, destroy("1"), func() error { hangUp(); return full }); !errors.Is(err, full) {
			t.Errorf("an act that fails: %v", err)
		}
		if w.logged(`"operator.returned"`, string(by.Approval()), string(decider.id), `"done"`) != 1 {
			t.Error("the log does not say that the approval can be used again")
		}
		// For nothing else, and not without it.
		done := 0
		act := func() error { done++; return nil }
		needs(t, "for another target", w.d.Do(t.Context(), by, destroy("2"), act))
		needs(t, "without it", w.d.Do(t.Context(), asker.by(), destroy("1"), act))
		if err := w.d.Do(t.Context(), by, destroy("1"), act); err != nil || done != 1 {
			t.Errorf("the second try: %v, done %d times", err, done)
		}
		needs(t, "after it was done", w.d.Do(t.Context(), by, destroy("1"), act))

		// What takes nobody's approval gives nobody's back.
		if err := w.d.Do(t.Context(), operator.Host().With(by.Approval()), destroy("1"), func() error { return full }); !errors.Is(err, full) {
			t.Errorf("an act of the host that fails: %v", err)
		}
		needs(t, "after another's act has failed", w.d.Do(t.Context(), by, destroy("1"), act))
		if done != 1 || w.logged(`"operator.returned"`, `"done"`) != 1 {
			t.Errorf("it was done %d times", done)
		}
	})
}

func TestOneDecisionStands(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		asker, one, two := w.join("ada", operator.Owner), w.join("bob", operator.Owner), w.join("cleo", operator.Owner)
		for range 5 {
			a, err := w.d.Propose(t.Context(), asker.by(), destroy("1"))
			if err != nil {
				t.Fatal(err)
			}
			var group sync.WaitGroup
			var yes, no error
			group.Go(func() { yes = w.d.Approve(t.Context(), one.by(), a.ID) })
			group.Go(func() { no = w.d.Decline(t.Context(), two.by(), a.ID) })
			group.Wait()
			if (yes == nil) == (no == nil) {
				t.Errorf("approving: %v, declining: %v; want one to stand", yes, no)
			}
		}
	})
}

// An installation with one operator is not stuck, and one operator does not make it
// one by taking everybody else's roles away.
func TestOneOperatorIsEnoughWhereThereIsNoSecond(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("ada", operator.Owner)
		w.join("auditor", operator.Auditor) // who could not approve
		if err := w.d.Allow(ctx, owner.by(), destroy("1")); err != nil {
			t.Errorf("the only one who could approve: %v", err)
		}
		if err := w.d.Allow(ctx, operator.Host(), destroy("1")); err != nil {
			t.Errorf("the host: %v", err)
		}
		second := w.join("bob", operator.Security)
		needs(t, "with a second", w.d.Allow(ctx, owner.by(), destroy("1")))
		if err := w.d.Allow(ctx, operator.Host(), destroy("1")); err != nil {
			t.Errorf("the host: %v", err)
		}
		if err := w.d.Suspend(ctx, owner.by(), second.id); err != nil {
			t.Fatalf("suspending takes one: %v", err)
		}
		needs(t, "with a second who was suspended just now", w.d.Allow(ctx, owner.by(), destroy("1")))
		w.pass(72*time.Hour + time.Second)
		owner.again()
		if err := w.d.Allow(ctx, owner.by(), destroy("1")); err != nil {
			t.Errorf("three days after: %v", err)
		}
		third, e := w.invite("cleo", operator.Owner)
		if err := w.d.Allow(ctx, owner.by(), destroy("1")); err != nil {
			t.Errorf("with a second who has not enrolled: %v", err)
		}
		third.addPasskey(e)
		third.enrol(e)
		needs(t, "with a second again", w.d.Allow(ctx, owner.by(), destroy("1")))
		config := w.config()
		config.NoApprovals = true
		if err := w.directory(config).Allow(ctx, owner.by(), destroy("1")); err != nil {
			t.Errorf("where approvals are off: %v", err)
		}
	})
}

// Who decides approvals is changed by two, so that nobody makes their own second.
func TestChangingWhoApprovesTakesTwo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner, second := w.join("ada", operator.Owner), w.join("bob", operator.Security)
		subject := w.join("cleo", operator.Auditor)

		_, _, err := w.d.Invite(ctx, owner.by(), operator.Invitation{Name: "x", Email: "x@example.com", Role: operator.Security})
		refused(t, "inviting one who approves", err, "operator/invite-role")
		if _, _, err := w.d.Invite(ctx, owner.by(), operator.Invitation{Name: "x", Email: "x@example.com", Role: operator.Developer}); err != nil {
			t.Errorf("inviting another: %v", err)
		}
		if err := w.d.Grant(ctx, owner.by(), subject.id, operator.Grant{Role: operator.Developer}); err != nil {
			t.Errorf("granting a role that does not approve: %v", err)
		}
		grant := operator.Grant{Role: operator.Owner}
		is(t, "granting as security", w.d.Grant(ctx, second.by(), subject.id, grant), operator.ErrMay)
		p := needs(t, "granting owner", w.d.Grant(ctx, owner.by(), subject.id, grant))
		needs(t, "granting security", w.d.Grant(ctx, owner.by(), subject.id, operator.Grant{Role: operator.Security}))
		by := w.agreed(owner, second, p)
		needs(t, "granting something else with it", w.d.Grant(ctx, by, subject.id, operator.Grant{Role: operator.Security}))
		needs(t, "granting it for a time with it", w.d.Grant(ctx, by, subject.id, operator.Grant{Role: operator.Owner, Until: w.now().Add(time.Hour)}))
		needs(t, "granting it to another", w.d.Grant(ctx, by, second.id, grant))
		// The target changes, and changes back.
		if err := w.d.Revoke(ctx, owner.by(), subject.id, operator.Developer); err != nil {
			t.Fatal(err)
		}
		needs(t, "granting it after the account changed", w.d.Grant(ctx, by, subject.id, grant))
		if err := w.d.Grant(ctx, owner.by(), subject.id, operator.Grant{Role: operator.Developer}); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Grant(ctx, by, subject.id, grant); err != nil {
			t.Errorf("granting what was approved: %v", err)
		}
		needs(t, "granting it again", w.d.Grant(ctx, by, subject.id, grant))

		// The one whom it is about does not decide.
		p = needs(t, "revoking", w.d.Revoke(ctx, owner.by(), subject.id, operator.Owner))
		a, err := w.d.Propose(ctx, owner.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "its subject's approval", w.d.Approve(ctx, subject.by(), a.ID), "operator/approval-state")
		if err := w.d.Approve(ctx, second.by(), a.ID); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Revoke(ctx, owner.by().With(a.ID), subject.id, operator.Owner); err != nil {
			t.Errorf("revoking what was approved: %v", err)
		}
		needs(t, "removing one who approves", w.d.Remove(ctx, owner.by(), second.id))
		_, _, err = w.d.Reinvite(ctx, owner.by(), second.id)
		needs(t, "a new link for one who approves", err)
		needs(t, "handing their roles over", w.d.HandOver(ctx, owner.by(), second.id, subject.id))
		if _, _, err = w.d.Reinvite(ctx, owner.by(), subject.id); err != nil {
			t.Errorf("a new link for one who does not: %v", err)
		}
		if err := w.d.Remove(ctx, owner.by(), subject.id); err != nil {
			t.Errorf("removing one who does not: %v", err)
		}
	})
}

// Proposals are bounded, and end with their proposer's session rights.
func TestProposals(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	asker, decider := w.join("ada", operator.Owner), w.join("bob", operator.Owner)
	for what, p := range map[string]operator.Proposal{
		"without an act":         {Target: "x", Digest: "x"},
		"without a target":       {Act: operator.ActRestore, Digest: "x"},
		"without a digest":       {Act: operator.ActRestore, Target: "x"},
		"with a long target":     {Act: operator.ActRestore, Target: strings.Repeat("x", 301), Digest: "x"},
		"with a target in lines": {Act: operator.ActRestore, Target: "a\nb", Digest: "x"},
	} {
		_, err := w.d.Propose(ctx, asker.by(), p)
		is(t, "a proposal "+what, err, gatehouse.ErrInvalid)
	}
	_, err := w.d.Propose(ctx, operator.Host(), destroy("1"))
	is(t, "a proposal of the host", err, gatehouse.ErrInvalid)
	for range 20 {
		if _, err := w.d.Propose(ctx, asker.by(), destroy("1")); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.d.Propose(ctx, asker.by(), destroy("1"))
	refused(t, "one too many", err, "operator/many-approvals")
	w.pass(operator.DefaultFresh)
	decider.again()
	list, err := w.d.Approvals(ctx)
	if err != nil || len(list) != 20 {
		t.Fatalf("Approvals = %d, %v", len(list), err)
	}
	_, err = w.d.Propose(ctx, asker.by(), destroy("1"))
	is(t, "one without a recent sign-in", err, operator.ErrFresh)
	if err := w.d.Suspend(ctx, decider.by(), asker.id); err != nil {
		t.Fatal(err)
	}
	refused(t, "approving one whose proposer is suspended", w.d.Approve(ctx, decider.by(), list[0].ID), "operator/approval-state")
	w.pass(operator.DefaultFresh)
	is(t, "approving without a recent sign-in", w.d.Approve(ctx, decider.by(), list[0].ID), operator.ErrFresh)
}
