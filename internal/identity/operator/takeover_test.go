package operator_test

import (
	"testing"

	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// takeOver gives an account, which takes one operator to invite again, to whoever has
// the new link.
func (w *world) takeOver(by, victim *member) {
	w.t.Helper()
	link, _, err := w.d.Reinvite(w.t.Context(), by.by(), victim.id)
	if err != nil {
		w.t.Fatalf("Reinvite: %v", err)
	}
	thief := &member{w: w, id: victim.id, email: victim.email, browser: by.browser, keys: factortest.New(w.t, origin)}
	thief.keys.Step = 1
	e := operator.EnrolmentOrSession{Browser: thief.browser, Enrolment: link}
	thief.addPasskey(e)
	thief.enrol(e)
}

// What was approved for an account was approved for who signs in to it: an owner who
// takes the account over meanwhile, which takes nobody else, must not get a second vote.
func TestAnApprovalIsForWhoHoldsTheAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner, second, third := w.join("ada", operator.Owner), w.join("bob", operator.Security), w.join("eve", operator.Security)
		subject, heir := w.join("cleo", operator.Auditor), w.join("dan", operator.Auditor)
		grant := operator.Grant{Role: operator.Security}

		by := w.agreed(owner, second, needs(t, "granting security", w.d.Grant(ctx, owner.by(), subject.id, grant)))
		w.takeOver(owner, subject)
		needs(t, "granting it to who took the account over", w.d.Grant(ctx, by, subject.id, grant))

		by = w.agreed(owner, third, needs(t, "handing over", w.d.HandOver(ctx, owner.by(), second.id, heir.id)))
		w.takeOver(owner, heir)
		needs(t, "handing over to who took the account over", w.d.HandOver(ctx, by, second.id, heir.id))

		// Near miss: what did not change hands.
		by = w.agreed(owner, third, needs(t, "handing over", w.d.HandOver(ctx, owner.by(), second.id, heir.id)))
		if err := w.d.HandOver(ctx, by, second.id, heir.id); err != nil {
			t.Errorf("handing over as approved: %v", err)
		}
	})
}

// What was approved was the giver's roles as they stood: what is taken from the giver while
// a hand-over waits does not go to the heir.
func TestAHandOverIsApprovedAsItStood(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner, second := w.join("ada", operator.Owner), w.join("bob", operator.Security)
		giver, heir := w.join("eve", operator.Security), w.join("dan", operator.Auditor)
		if err := w.d.Grant(ctx, operator.Host(), giver.id, operator.Grant{Role: operator.Developer}); err != nil {
			t.Fatal(err)
		}
		by := w.agreed(owner, second, needs(t, "handing over", w.d.HandOver(ctx, owner.by(), giver.id, heir.id)))
		if err := w.d.Revoke(ctx, operator.Host(), giver.id, operator.Developer); err != nil {
			t.Fatal(err)
		}
		needs(t, "handing over less than was approved", w.d.HandOver(ctx, by, giver.id, heir.id))

		// Near miss: approved as it stands now.
		by = w.agreed(owner, second, needs(t, "handing over", w.d.HandOver(ctx, owner.by(), giver.id, heir.id)))
		if err := w.d.HandOver(ctx, by, giver.id, heir.id); err != nil {
			t.Errorf("handing over as approved: %v", err)
		}
		a, err := w.d.Account(ctx, heir.id)
		if err != nil || len(a.Grants) != 2 || a.Grants[0].Role != operator.Auditor || a.Grants[1].Role != operator.Security {
			t.Errorf("after it the heir has %+v, %v", a.Grants, err)
		}
	})
}

// An account that nobody has enrolled belongs to whoever has the link, and the one who
// invited saw it.
func TestNobodyApprovesWhoHasNotEnrolled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("ada", operator.Owner)
		w.join("bob", operator.Security)
		subject, e := w.invite("cleo", operator.Auditor)
		grant := operator.Grant{Role: operator.Security}
		refused(t, "granting it before they enrolled", w.d.Grant(ctx, owner.by(), subject.id, grant), "operator/not-enrolled")
		if err := w.d.Grant(ctx, owner.by(), subject.id, operator.Grant{Role: operator.Developer}); err != nil {
			t.Errorf("granting another role: %v", err)
		}
		subject.addPasskey(e)
		subject.enrol(e)
		needs(t, "granting it after", w.d.Grant(ctx, owner.by(), subject.id, grant))
	})
}
