package operator_test

import (
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

func TestEnrolment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m, e := w.invite("ada", operator.Owner)

		// Looking does not use a link up.
		for range 2 {
			look, err := w.d.Enrolment(ctx, e.Enrolment)
			if err != nil || look.Account.ID != m.id || look.Claimed || look.Complete {
				t.Fatalf("Enrolment = %+v, %v; want that of the account, not claimed, not complete", look, err)
			}
		}
		_, _, _, err := w.d.Enrol(ctx, e.Browser, e.Enrolment)
		refused(t, "enrolling without factors", err, "operator/factors")
		if err := w.d.SetPassword(ctx, e, secret.New(password)); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.d.Enrol(ctx, e.Browser, e.Enrolment)
		refused(t, "enrolling with a password alone", err, "operator/factors")

		// It belongs to the browser that used it.
		other := operator.EnrolmentOrSession{Browser: browser("192.0.2.9"), Enrolment: e.Enrolment}
		is(t, "another browser's password", w.d.SetPassword(ctx, other, secret.New(password)), operator.ErrEnrolment)
		_, _, err = w.d.BeginPasskey(ctx, other)
		is(t, "another browser's passkey", err, operator.ErrEnrolment)

		// Nobody signs in before it is complete.
		m.addPasskey(e)
		_, _, err = m.signIn(m.browser)
		is(t, "signing in while invited", err, operator.ErrSignIn)
		m.enrol(e)
		m.alive("the session of the enrolment", m.token, true)
		if len(m.codes) == 0 {
			t.Error("no recovery codes for an account with a password")
		}
		if _, _, err := m.signIn(m.browser); err != nil {
			t.Errorf("signing in: %v", err)
		}
		_, _, _, err = w.d.Enrol(ctx, e.Browser, e.Enrolment)
		is(t, "the link again", err, operator.ErrEnrolment)
		_, err = w.d.Enrolment(ctx, e.Enrolment)
		is(t, "looking at the link again", err, operator.ErrEnrolment)
		if w.logged("operator.enrol", string(m.id), "done") != 1 || w.logged("operator.invite", string(m.id), `"host"`) == 0 {
			t.Error("the log does not hold the invitation and the enrolment")
		}
		if w.logged("ada") != 0 || w.logged("example.com") != 0 {
			t.Error("the log holds the operator's name or address")
		}
	})
}

func TestAnEnrolmentLinkEnds(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	m, e := w.invite("ada", operator.Owner)
	m.addPasskey(e)
	w.pass(operator.DefaultEnrolWithin - time.Minute)
	if _, err := w.d.Enrolment(t.Context(), e.Enrolment); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	w.pass(time.Minute)
	_, _, _, err := w.d.Enrol(t.Context(), e.Browser, e.Enrolment)
	is(t, "at its end", err, operator.ErrEnrolment)
	for _, s := range []string{"", "x", string(m.id) + ".x", e.Enrolment.Reveal() + "x", "a" + e.Enrolment.Reveal()} {
		_, err := w.d.Enrolment(t.Context(), secret.New(s))
		is(t, "a link that is none", err, operator.ErrEnrolment)
	}
	// The host makes another.
	link, _, err := w.d.Reinvite(t.Context(), operator.Host(), m.id)
	if err != nil {
		t.Fatal(err)
	}
	look, err := w.d.Enrolment(t.Context(), link)
	if err != nil || look.Complete || look.Claimed {
		t.Errorf("the new link: %+v, %v; want one that begins anew", look, err)
	}
	_, err = w.d.Enrolment(t.Context(), e.Enrolment)
	is(t, "the old link", err, operator.ErrEnrolment)
}

// Two browsers use one link at the same moment.
func TestOneBrowserGetsAnEnrolment(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		for range 5 {
			m, e := w.invite("ada"+time.Now().Format("150405.000000000"), operator.Auditor)
			holders := []operator.EnrolmentOrSession{e, {Browser: browser("192.0.2.7"), Enrolment: e.Enrolment}}
			errs := make([]error, len(holders))
			var group sync.WaitGroup
			for i := range holders {
				group.Go(func() { _, _, errs[i] = w.d.BeginPasskey(t.Context(), holders[i]) })
			}
			group.Wait()
			won := 0
			for i, err := range errs {
				if err == nil {
					won, m.browser, e = won+1, holders[i].Browser, holders[i]
				} else {
					is(t, "the browser that was late", err, operator.ErrEnrolment)
				}
			}
			if won != 1 {
				t.Fatalf("%d browsers got the enrolment, want 1", won)
			}
			// And one of two presses of its last button.
			m.addPasskey(e)
			sessions := make([]error, 4)
			for i := range sessions {
				group.Go(func() { _, _, _, sessions[i] = w.d.Enrol(t.Context(), e.Browser, e.Enrolment) })
			}
			group.Wait()
			won = 0
			for _, err := range sessions {
				if err == nil {
					won++
				} else {
					is(t, "the press that was late", err, operator.ErrEnrolment)
				}
			}
			if won != 1 {
				t.Errorf("%d enrolments went through, want 1", won)
			}
		}
	})
}
