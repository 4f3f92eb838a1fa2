package operator_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// TestRestoreTakesTwo: beside an installation with two who may agree, the host restores
// the very backup that they agreed to.
func TestRestoreTakesTwo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		takes := func(what string, want bool) {
			t.Helper()
			if got, err := w.d.RestoreTakesTwo(ctx); err != nil || got != want {
				t.Errorf("%s: takes two is %v, %v", what, got, err)
			}
		}
		takes("nobody", false)
		asker := w.join("ada", operator.Security)
		w.join("olga", operator.Operator)
		takes("one", false)
		decider := w.join("bob", operator.Security)
		takes("two", true)

		p := operator.ProposalToRestore("20261126T045900Z-k3j5h2aa", "aa")
		refused(t, "one that does not exist", w.d.AllowRestore(ctx, "nothing", p), "operator/restore-approval")
		a, err := w.d.Propose(ctx, asker.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, "one that waits", w.d.AllowRestore(ctx, a.ID, p), "operator/restore-approval")
		if err := w.d.Approve(ctx, decider.by(), a.ID); err != nil {
			t.Fatal(err)
		}
		refused(t, "another manifest", w.d.AllowRestore(ctx, a.ID, operator.ProposalToRestore("20261126T045900Z-k3j5h2aa", "ab")), "operator/restore-approval")
		refused(t, "another backup", w.d.AllowRestore(ctx, a.ID, operator.ProposalToRestore("20261125T045900Z-k3j5h2aa", "aa")), "operator/restore-approval")
		other := w.agreed(asker, decider, destroy("1"))
		refused(t, "of another act", w.d.AllowRestore(ctx, other.Approval(), p), "operator/restore-approval")
		// An approval is of its act, whatever its digest says.
		disguised := operator.Proposal{Act: operator.ActDestroyKey, Target: "key", Digest: p.Digest}
		other = w.agreed(asker, decider, disguised)
		refused(t, "of another act with this digest", w.d.AllowRestore(ctx, other.Approval(), p), "operator/restore-approval")
		refused(t, "for another act with its digest", w.d.AllowRestore(ctx, a.ID, disguised), "operator/restore-approval")
		no, err := w.d.Propose(ctx, asker.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.Decline(ctx, decider.by(), no.ID); err != nil {
			t.Fatal(err)
		}
		refused(t, "one that was declined", w.d.AllowRestore(ctx, no.ID, p), "operator/restore-approval")
		if w.logged(`"operator.approved"`) != 0 {
			t.Error("the log says that an approval was used")
		}
		if err := w.d.Suspend(ctx, operator.Host(), decider.id); err != nil {
			t.Fatal(err)
		}
		refused(t, "while who approved it is suspended", w.d.AllowRestore(ctx, a.ID, p), "operator/restore-approval")
		if err := w.d.Resume(ctx, operator.Host(), decider.id); err != nil {
			t.Fatal(err)
		}
		// demoted takes the decider's role for as long as it takes to try.
		demoted := func(what string) {
			t.Helper()
			if err := w.d.Revoke(ctx, operator.Host(), decider.id, operator.Security); err != nil {
				t.Fatal(err)
			}
			refused(t, what, w.d.AllowRestore(ctx, a.ID, p), "operator/restore-approval")
			if err := w.d.Grant(ctx, operator.Host(), decider.id, operator.Grant{Role: operator.Security}); err != nil {
				t.Fatal(err)
			}
		}
		demoted("while who approved it may not approve")
		for i := range 2 { // what was interrupted is run again
			if err := w.d.AllowRestore(ctx, a.ID, p); err != nil {
				t.Fatal(err)
			}
			if n := w.logged(`"operator.approved"`, `"done"`, string(a.ID), string(asker.id), string(decider.id)); n != i+1 {
				t.Errorf("after use %d the log knows of %d", i+1, n)
			}
			all, err := w.d.Approvals(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if j := slices.IndexFunc(all, func(b operator.Approval) bool { return b.ID == a.ID }); j < 0 || all[j].State != operator.Used || all[j].Used.IsZero() {
				t.Errorf("after use %d the approvals are %+v", i+1, all)
			}
		}
		demoted("again, while who approved it may not approve")
		leaver := w.join("cleo", operator.Security)
		withdrawn := w.agreed(leaver, asker, p).Approval()
		if err := w.d.AllowRestore(ctx, withdrawn, p); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Suspend(ctx, operator.Host(), leaver.id); err != nil {
			t.Fatal(err)
		}
		refused(t, "of an asker who is suspended", w.d.AllowRestore(ctx, withdrawn, p), "operator/restore-approval")
		w.pass(25 * time.Hour)
		refused(t, "one that is over", w.d.AllowRestore(ctx, a.ID, p), "operator/restore-approval")
	})
}
