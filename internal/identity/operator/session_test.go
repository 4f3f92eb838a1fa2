package operator_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

func TestSessionsEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("owner", operator.Owner)
		m := w.join("ada", operator.Security)

		// Idle.
		w.pass(operator.DefaultIdle - time.Minute)
		m.alive("a session just before it is idle", m.token, true)
		w.pass(operator.DefaultIdle - time.Minute)
		m.alive("a session that was used since", m.token, true)
		w.pass(operator.DefaultIdle)
		m.alive("an idle session", m.token, false)
		m.again()
		// A clock that is set back does not bring one back that was used after.
		owner.again()

		// In any case.
		start := w.now()
		for w.now().Sub(start) < operator.DefaultMaxSession-20*time.Minute {
			w.pass(20 * time.Minute)
			m.alive("a session in use", m.token, true)
		}
		w.pass(20 * time.Minute)
		m.alive("a session after its longest time", m.token, false)
		m.again()
		owner.again()

		// With the account, at the next request.
		if err := w.d.Suspend(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		m.alive("the session of a suspended account", m.token, false)
		is(t, "what it does", w.d.Authorise(ctx, m.by(), operator.OverviewRead), operator.ErrSession)
		if err := w.d.Resume(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		m.alive("the same session after it was resumed", m.token, false)
		m.again()

		// By sign-out, by another session of its own, and by an owner.
		other, session, err := m.signIn(m.browser)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.EndSession(ctx, m.by(), m.id, session.ID); err != nil {
			t.Fatal(err)
		}
		m.alive("a session that another ended", other, false)
		m.alive("the other", m.token, true)
		is(t, "ending it again", w.d.EndSession(ctx, m.by(), m.id, session.ID), gatehouse.ErrNotFound)
		is(t, "ending an owner's", w.d.EndSessions(ctx, m.by(), owner.id), operator.ErrMay)
		is(t, "ending an owner's as one's own", w.d.EndSession(ctx, m.by(), m.id, owner.session.ID), gatehouse.ErrNotFound)
		owner.alive("the owner's", owner.token, true)
		if err := w.d.EndSessions(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		m.alive("a session that an owner ended", m.token, false)
		m.again()
		if other, _, err = m.signIn(m.browser); err != nil {
			t.Fatal(err)
		}
		if err := w.d.EndSessions(ctx, m.by(), m.id); err != nil {
			t.Fatal(err)
		}
		m.alive("the others of one's own", other, false)
		m.alive("the one that ended them", m.token, true)
		if list, err := w.d.Sessions(ctx, m.by(), m.id); err != nil || len(list) != 1 || !list[0].Current {
			t.Errorf("Sessions = %+v, %v; want one, the current", list, err)
		}
		if err := w.d.SignOut(ctx, m.browser, m.token); err != nil {
			t.Fatal(err)
		}
		m.alive("a session after its sign-out", m.token, false)
		if err := w.d.SignOut(ctx, m.browser, m.token); err != nil {
			t.Errorf("signing out again: %v", err)
		}
	})
}

// A session belongs to one browser: elsewhere its token opens nothing and ends it.
func TestAStolenTokenOpensNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.join("ada", operator.Owner)
		for what, s := range map[string]string{
			"nothing": "", "a part": m.token.Reveal()[:20], "more": m.token.Reveal() + "x", "the session's id": string(m.session.ID),
			"another's name": "-" + m.token.Reveal()[1:], "too much": strings.Repeat("x", 10000),
		} {
			_, _, err := w.d.Session(ctx, m.browser, secret.New(s))
			is(t, what, err, operator.ErrSession)
		}
		moved := m.browser
		moved.Source = browser("198.51.100.3").Source // phones change their address
		if _, _, err := w.d.Session(ctx, moved, m.token); err != nil {
			t.Errorf("from another address: %v", err)
		}
		_, _, err := w.d.Session(ctx, browser("192.0.2.1"), m.token)
		is(t, "in another browser", err, operator.ErrSession)
		m.alive("afterwards", m.token, false)
		if w.logged("operator.sign-out", "binding") == 0 {
			t.Error("the log does not hold it")
		}
	})
}

// A token is new at each sign-in and at each proof, so that one that somebody planted
// or saw before is of no use.
func TestTokensAreNewWhenSomethingWasProved(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Owner)
		m.addPasskey(m.self())
		before := m.token
		m.again()
		if m.token.Equal(before) {
			t.Error("the second sign-in has the token of the first")
		}

		w.pass(operator.DefaultFresh)
		is(t, "something dangerous, later", w.d.Authorise(ctx, m.by(), operator.KeysDestroy), operator.ErrFresh)
		if err := w.d.Authorise(ctx, m.by(), operator.KeysRead); err != nil {
			t.Errorf("something harmless, later: %v", err)
		}
		is(t, "a factor, later", w.d.SetPassword(ctx, m.self(), secret.New(password+"2")), operator.ErrFresh)

		options, ceremony, err := w.d.ProvePasskeyBegin(ctx, m.browser, m.token)
		if err != nil {
			t.Fatal(err)
		}
		answer := m.keys.Sign(options)
		_, _, err = w.d.SignInPasskeyFinish(ctx, m.browser, ceremony, answer)
		is(t, "a proof as a sign-in", err, operator.ErrSignIn)
		token, s, err := w.d.ProvePasskeyFinish(ctx, m.browser, m.token, ceremony, answer)
		if err != nil || s.ID != m.session.ID || token.Equal(m.token) {
			t.Fatalf("proving: %+v, %v; want the session with a new token", s, err)
		}
		m.alive("the token of before", m.token, false)
		m.token, m.session = token, s
		m.alive("the new one", m.token, true)
		if err := w.d.Authorise(ctx, m.by(), operator.KeysDestroy); err != nil {
			t.Errorf("something dangerous now: %v", err)
		}
		_, _, err = w.d.ProvePasskeyFinish(ctx, m.browser, m.token, ceremony, answer)
		is(t, "the proof again", err, operator.ErrSignIn)

		// With password and code, and not with somebody else's.
		w.pass(operator.DefaultFresh)
		other := w.joinWithCodes("bob", operator.Owner)
		half, err := w.d.ProvePassword(ctx, m.browser, m.token, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.d.SignInCode(ctx, m.browser, half, m.next())
		is(t, "a proof's half as a sign-in's", err, operator.ErrSignIn)
		other.browser = m.browser
		theirs, _, err := other.signInWithCode(m.browser, other.next())
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.d.ProveCode(ctx, m.browser, theirs, half, m.next())
		is(t, "a proof of somebody else's", err, operator.ErrSignIn)
		token, _, err = w.d.ProveCode(ctx, m.browser, m.token, half, m.next())
		if err != nil || token.Equal(m.token) {
			t.Fatalf("proving: %v", err)
		}
		m.alive("the token of before", m.token, false)
		if err := w.d.Authorise(ctx, m.by(), operator.KeysDestroy); err != nil {
			t.Errorf("something dangerous now: %v", err)
		}

		// A clock that was set back makes nothing fresh.
		w.pass(-time.Hour)
		is(t, "with a proof from the future", w.d.Authorise(ctx, m.by(), operator.KeysDestroy), operator.ErrFresh)
	})
}

// Another's passkey in one's own session proves nothing.
func TestAProofIsTheSessionsOwn(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	m, other := w.join("ada", operator.Owner), w.join("bob", operator.Owner)
	options, ceremony, err := w.d.ProvePasskeyBegin(ctx, m.browser, m.token)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = w.d.ProvePasskeyFinish(ctx, m.browser, m.token, ceremony, other.keys.Sign(options))
	is(t, "another's passkey", err, operator.ErrSignIn)
	if _, _, err = w.d.ProvePasskeyFinish(ctx, m.browser, m.token, ceremony, m.keys.Sign(options)); err != nil {
		t.Errorf("one's own: %v", err)
	}
}

func TestChangingFactors(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.join("ada", operator.Owner)
		keys, err := w.d.Passkeys(ctx, m.by())
		if err != nil || len(keys) != 1 || !keys[0].Used.IsZero() {
			t.Fatalf("Passkeys = %+v, %v; want one that was not used", keys, err)
		}
		refused(t, "removing the only one", w.d.RemovePasskey(ctx, m.self(), keys[0].ID), "operator/last-factor")
		refused(t, "removing one that is not there", w.d.RemovePasskey(ctx, m.self(), "nothing"), "operator/passkey-unknown")
		_, err = w.d.NewRecoveryCodes(ctx, m.self())
		refused(t, "recovery codes without a password", err, "operator/recovery")
		is(t, "a password that is short", w.d.SetPassword(ctx, m.self(), secret.New("short")), gatehouse.ErrInvalid)

		// A password alone is no way to sign in.
		if err := w.d.SetPassword(ctx, m.self(), secret.New(password)); err != nil {
			t.Fatal(err)
		}
		_, err = w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password))
		is(t, "a password without codes", err, operator.ErrSignIn)
		refused(t, "removing the only passkey beside a password", w.d.RemovePasskey(ctx, m.self(), keys[0].ID), "operator/last-factor")
		refused(t, "a code of a seed that was not offered", w.d.FinishTOTP(ctx, m.self(), "123456"), "operator/totp-offer")
		first, err := w.d.BeginTOTP(ctx, m.self())
		if err != nil {
			t.Fatal(err)
		}
		second, err := w.d.BeginTOTP(ctx, m.self())
		if err != nil || !second.Seed.Equal(first.Seed) || !strings.HasPrefix(first.URI.Reveal(), "otpauth://totp/Gatehouse%20production:ada@example.com?secret="+first.Seed.Reveal()) {
			t.Errorf("the seed changes when the page is shown again, or the URI is not one: %v", err)
		}
		m.seed = first.Seed.Reveal()
		refused(t, "a wrong code", w.d.FinishTOTP(ctx, m.self(), "12345a"), "operator/totp-code")
		other, _, err := m.signIn(m.browser)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.FinishTOTP(ctx, m.self(), m.code()); err != nil {
			t.Fatal(err)
		}
		m.alive("the other session after a factor changed", other, false)
		m.alive("the one that changed it", m.token, true)
		if err := w.d.RemovePasskey(ctx, m.self(), keys[0].ID); err != nil {
			t.Errorf("removing the passkey now: %v", err)
		}
		_, _, err = m.signIn(m.browser)
		is(t, "the removed passkey", err, operator.ErrSignIn)
		if _, _, err := m.signInWithCode(m.browser, m.next()); err != nil {
			t.Errorf("password and code: %v", err)
		}
		if a, err := w.d.Account(ctx, m.id); err != nil || a.Passkeys != 0 || !a.Password || !a.TOTP {
			t.Errorf("Account = %+v, %v", a, err)
		}

		// An offered seed that nobody proved ends, and leaves the one before.
		offered, err := w.d.BeginTOTP(ctx, m.self())
		if err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		if m.token, m.session, err = m.signInWithCode(m.browser, m.code()); err != nil {
			t.Fatalf("with the seed of before: %v", err)
		}
		refused(t, "an offer that is over", w.d.FinishTOTP(ctx, m.self(), m.next()), "operator/totp-offer")
		if again, err := w.d.BeginTOTP(ctx, m.self()); err != nil || again.Seed.Equal(offered.Seed) {
			t.Errorf("the seed is offered again after its end, or not at all: %v", err)
		}

		// Names and addresses.
		if err := w.d.SetProfile(ctx, m.self(), " Ada Lovelace ", "ADA@Example.com"); err != nil {
			t.Fatal(err)
		}
		if a, _ := w.d.Account(ctx, m.id); a.Name != "Ada Lovelace" || a.Email != "ADA@Example.com" {
			t.Errorf("Account = %+v", a)
		}
		w.join("bob", operator.Auditor)
		refused(t, "another's address", w.d.SetProfile(ctx, m.self(), "Ada", "BOB@example.com"), "operator/email")
		for _, bad := range [][2]string{{"", "a@b.example"}, {"a\nb", "a@b.example"}, {"a\u202eb", "a@b.example"}, {strings.Repeat("a", 101), "a@b.example"},
			{"a", ""}, {"a", "nobody"}, {"a", "A <a@b.example>"}, {"a", "a@b.example\n"}, {"a", strings.Repeat("a", 200) + "@b.example"}, {"a", "a b@c.example"}} {
			if err := w.d.SetProfile(ctx, m.self(), bad[0], bad[1]); !errors.Is(err, gatehouse.ErrInvalid) && bad[1] != "a@b.example\n" {
				t.Errorf("name %q, address %q: %v, want ErrInvalid", bad[0], bad[1], err)
			}
		}
	})
}

// Sessions do not pile up.
func TestTheOldestSessionGoes(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	m := w.join("ada", operator.Owner)
	for range 20 {
		w.pass(time.Second)
		if _, _, err := m.signIn(m.browser); err != nil {
			t.Fatal(err)
		}
	}
	m.alive("the oldest of 21 sessions", m.token, false)
	m.again()
	if list, err := w.d.Sessions(t.Context(), m.by(), m.id); err != nil || len(list) != 20 {
		t.Errorf("%d sessions, %v; want 20", len(list), err)
	}
}
