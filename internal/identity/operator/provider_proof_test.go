package operator_test

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// Whoever got hold of a link adds what they sign in with; the invited one comes by the
// provider, and must not leave that behind.
func TestEnrollingAtAProviderTakesAwayWhatTheLinkGave(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		bystander := w.join("owner", operator.Owner)
		victim, e := w.invite("ada", operator.Operator)
		p := withProvider(t, w, nil)
		thief := &member{w: w, id: victim.id, email: victim.email, browser: browser("203.0.113.9"), keys: w.authenticator()}
		te := operator.EnrolmentOrSession{Browser: thief.browser, Enrolment: e.Enrolment}
		thief.addPasskey(te)
		thief.addCodes(te)

		ada := &person{subject: "s-1", claims: map[string]any{"email": victim.email, "email_verified": true, "amr": []string{"mfa"}}}
		token, s, _, err := w.through(t, p, victim.browser, ada)
		if err != nil || s.Account != victim.id {
			t.Fatalf("enrolling: %+v, %v", s, err)
		}
		victim.alive("the invited one's session", token, true)
		_, _, err = thief.signIn(thief.browser)
		is(t, "the passkey that was added by the link", err, operator.ErrSignIn)
		_, err = w.d.SignInPassword(ctx, thief.browser, victim.email, secret.New(password))
		is(t, "the password that was added by the link", err, operator.ErrSignIn)
		for _, table := range []string{"operator_tokens", "operator_passkeys", "operator_recovery", "operator_browsers"} {
			want := 0
			if table == "operator_browsers" {
				want = 1 // that of the invited one, who is signed in
			}
			if _, rows := w.raw.Query("SELECT operator FROM "+table+" WHERE operator = $1", string(victim.id)); len(rows) != want {
				t.Errorf("%s has %d rows of the account, want %d", table, len(rows), want)
			}
		}
		a, err := w.d.Account(ctx, victim.id)
		if err != nil || a.State != operator.Active || a.Passkeys != 0 || a.Password || a.TOTP || a.RecoveryLeft != 0 {
			t.Errorf("the account is %+v, %v; want it active, with the provider only", a, err)
		}
		if _, _, _, err := w.through(t, p, victim.browser, ada); err != nil {
			t.Errorf("signing in again: %v", err)
		}
		// Who was there before keeps all.
		if _, _, err := bystander.signIn(bystander.browser); err != nil {
			t.Errorf("somebody else: %v", err)
		}
		// And so does who enrolled with factors of their own and signs in by the provider
		// later.
		bob := w.joinWithCodes("bob", operator.Auditor)
		if _, _, _, err := w.through(t, p, bob.browser, &person{subject: "s-2", claims: map[string]any{"email": bob.email, "email_verified": true, "amr": "mfa"}}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := bob.signInWithCode(bob.browser, bob.next()); err != nil {
			t.Errorf("the factors of who had enrolled: %v", err)
		}
	})
}

func TestAProviderIsAskedForARecentSignIn(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	m := w.join("ada", operator.Owner)
	withProvider(t, w, nil)
	asked := func(address string, err error) (age, prompt string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get("max_age"), u.Query().Get("prompt")
	}
	if age, prompt := asked(w.d.SignInProviderBegin(ctx, m.browser)); age != "600" || prompt != "" {
		t.Errorf("signing in asks for max_age %q and prompt %q, want 600 and none", age, prompt)
	}
	if age, prompt := asked(w.d.ProveProviderBegin(ctx, m.browser, m.token)); age != "600" || prompt != "login" {
		t.Errorf("proving again asks for max_age %q and prompt %q, want 600 and login", age, prompt)
	}
	_, err := w.d.ProveProviderBegin(ctx, browser("192.0.2.1"), m.token)
	is(t, "proving in another browser", err, operator.ErrSession)
}

// What a provider says of when it saw somebody is what counts as a recent sign-in.
func TestAProvidersSignInIsAsFreshAsItSays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Owner)
		p := withProvider(t, w, nil)
		for _, c := range []struct {
			what  string
			time  func() any
			fresh bool
		}{
			{"now", func() any { return w.now().Unix() }, true},
			{"a moment ago", func() any { return w.now().Add(-operator.DefaultFresh + 2*time.Minute).Unix() }, true},
			{"too long ago", func() any { return w.now().Add(-operator.DefaultFresh).Unix() }, false},
			{"nothing", nil, false},
			{"a text", func() any { return w.now().Format(time.RFC3339) }, false},
			{"a moment from now", func() any { return w.now().Add(30 * time.Second).Unix() }, true},
			{"long from now", func() any { return w.now().Add(time.Hour).Unix() }, false},
			{"less than nothing", func() any { return -1 }, false},
			{"the end of time", func() any { return 1e300 }, false},
		} {
			for _, own := range []bool{false, true} {
				ada := &person{subject: "s-1", claims: map[string]any{"email": m.email, "email_verified": true}}
				if c.time != nil {
					ada.claims["auth_time"] = c.time()
				}
				what := c.what
				var s operator.Session
				var err error
				if own {
					what += ", with our own code"
					_, _, half, begun := w.through(t, p, m.browser, ada)
					if begun != nil {
						t.Fatal(begun)
					}
					_, s, err = w.d.SignInCode(ctx, m.browser, half, m.next())
					p.FastForward(30 * time.Second)
				} else {
					ada.claims["amr"] = []string{"mfa"}
					_, s, _, err = w.through(t, p, m.browser, ada)
				}
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				// Signed in one is in any case; what is dangerous takes a recent sign-in.
				if err := w.d.Authorise(ctx, operator.By(s), operator.OperatorsRead); err != nil {
					t.Errorf("%s: %v", what, err)
				}
				err = w.d.Authorise(ctx, operator.By(s), operator.KeysDestroy)
				if c.fresh && err != nil || !c.fresh && !errors.Is(err, operator.ErrFresh) {
					t.Errorf("%s: something dangerous: %v, want fresh: %t", what, err, c.fresh)
				}
				if s.Proved.After(w.now()) {
					t.Errorf("%s: proved in the future", what)
				}
			}
		}
	})
}

func TestProvingAgainAtAProvider(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m, other := w.join("ada", operator.Owner), w.join("bob", operator.Owner)
		p := withProvider(t, w, nil)
		claims := func(m *member, at time.Time) map[string]any {
			c := map[string]any{"email": m.email, "email_verified": true, "amr": []string{"mfa"}}
			if !at.IsZero() {
				c["auth_time"] = at.Unix()
			}
			return c
		}
		ada, bob := &person{subject: "s-1", claims: claims(m, w.now())}, &person{subject: "s-2", claims: claims(other, w.now())}
		prove := func(who *person) (operator.Session, error) {
			t.Helper()
			address, err := w.d.ProveProviderBegin(ctx, m.browser, m.token)
			if err != nil {
				t.Fatal(err)
			}
			state, code := visit(t, p, address, who)
			_, s, _, err := w.d.SignInProviderFinish(ctx, m.browser, state, code)
			return s, err
		}
		w.pass(operator.DefaultFresh)
		p.FastForward(operator.DefaultFresh)
		is(t, "before", w.d.Authorise(ctx, m.by(), operator.KeysDestroy), operator.ErrFresh)
		_, err := prove(ada)
		is(t, "a provider that saw them long ago", err, operator.ErrSignIn)
		ada.claims = claims(m, time.Time{})
		_, err = prove(ada)
		is(t, "a provider that does not say when", err, operator.ErrSignIn)
		bob.claims = claims(other, w.now())
		_, err = prove(bob)
		is(t, "somebody else who is signed in there", err, operator.ErrSignIn)
		if w.logged("operator.refuse", `"auth-time"`) != 2 || w.logged("operator.refuse", `"another-account"`) != 1 {
			t.Error("the log does not say why")
		}
		ada.claims = claims(m, w.now())
		s, err := prove(ada)
		if err != nil {
			t.Fatalf("proving: %v", err)
		}
		if err := w.d.Authorise(ctx, operator.By(s), operator.KeysDestroy); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestGroupsGiveRolesWhenOurOwnFactorFollows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Developer)
		p := withProvider(t, w, nil)
		ada := &person{subject: "s-1", claims: map[string]any{"email": m.email, "email_verified": true, "groups": []string{"auditors", "others"}}}
		_, _, half, err := w.through(t, p, m.browser, ada)
		if err != nil || half.IsZero() {
			t.Fatal(err)
		}
		is(t, "with half a sign-in", w.d.Authorise(ctx, m.by(), operator.OperatorsRead), operator.ErrMay)
		_, _, err = w.d.SignInCode(ctx, m.browser, half, "000000")
		is(t, "a wrong code", err, operator.ErrSignIn)
		is(t, "after a wrong code", w.d.Authorise(ctx, m.by(), operator.OperatorsRead), operator.ErrMay)
		_, s, err := w.d.SignInCode(ctx, m.browser, half, m.next())
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.Authorise(ctx, operator.By(s), operator.OperatorsRead); err != nil {
			t.Errorf("with the role of a group: %v", err)
		}
		is(t, "with a role of no group", w.d.Authorise(ctx, operator.By(s), operator.PeopleRead), operator.ErrMay)

		// Whoever writes to the database gives nobody a group, and nobody a recent sign-in.
		for column, to := range map[string]any{"provider_groups": `["auditors","sec"]`, "proved": w.now().UnixMicro(), "mac": ""} {
			p.FastForward(30 * time.Second)
			_, _, half, err := w.through(t, p, m.browser, ada)
			if err != nil {
				t.Fatal(err)
			}
			w.raw.Exec("UPDATE operator_tokens SET "+column+" = $1", to)
			_, _, err = w.d.SignInCode(ctx, m.browser, half, m.next())
			is(t, "a half whose "+column+" was changed", err, operator.ErrSignIn)
		}
	})
}

// Of a passkey that was copied it is not known who is in which session.
func TestACopiedPasskeyEndsAllSessions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m, other := w.join("ada", operator.Owner), w.join("bob", operator.Owner)
		m.addCodes(m.self())
		mine := m.keys
		thief := &member{w: w, id: m.id, email: m.email, browser: browser("203.0.113.9"), keys: mine.Clone()}
		var err error
		for range 3 {
			if thief.token, thief.session, err = thief.signIn(thief.browser); err != nil {
				t.Fatal(err)
			}
		}
		half, err := w.d.SignInPassword(ctx, thief.browser, m.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.signIn(m.browser)
		is(t, "the owner, after the thief", err, operator.ErrSignIn)
		is(t, "the thief's session", w.d.Authorise(ctx, thief.by(), operator.OperatorsRead), operator.ErrSession)
		m.alive("the owner's own session", m.token, false)
		_, _, err = w.d.SignInCode(ctx, thief.browser, half, m.next())
		is(t, "the thief's half", err, operator.ErrSignIn)
		if _, rows := w.raw.Query("SELECT operator FROM operator_browsers WHERE operator = $1", string(m.id)); len(rows) != 0 {
			t.Errorf("%d browsers are still known", len(rows))
		}
		other.alive("somebody else's session", other.token, true)
		if _, _, err := m.signInWithCode(m.browser, m.next()); err != nil {
			t.Errorf("the owner's other way in: %v", err)
		}
	})
}

func TestClocksOfNodesMayDiffer(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	m := w.join("ada", operator.Owner)
	w.pass(-5 * time.Second)
	s := m.session
	at := w.now()
	c := w.config()
	c.Now = func() time.Time { return at } // seconds count here, also on a slow machine
	d := w.directory(c)
	if ahead := s.Proved.Sub(at); ahead > 5*time.Second {
		t.Fatalf("the session is %s ahead", ahead)
	}
	if !d.Fresh(s) {
		t.Error("a session of a node whose clock is 5 s ahead is not fresh")
	}
	s.Proved = at.Add(6 * time.Second)
	if d.Fresh(s) {
		t.Error("a session of a clock that is further ahead is fresh")
	}
	s.Proved = at.Add(-operator.DefaultFresh - time.Second)
	if d.Fresh(s) {
		t.Error("a session whose factor was shown too long ago is fresh")
	}
	s.Proved = time.Time{}
	if d.Fresh(s) {
		t.Error("a session of which it is not known is fresh")
	}
}
