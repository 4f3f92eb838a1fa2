package operator_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oauth2-proxy/mockoidc"
)

// person is somebody whom the provider knows, and what it says of them.
type person struct {
	subject string
	claims  map[string]any
	// lie changes the claims that the provider makes itself.
	lie map[string]any
}

func (p *person) ID() string { return p.subject }

func (p *person) Userinfo([]string) ([]byte, error) { return json.Marshal(p.claims) }

func (p *person) Claims(_ []string, base *mockoidc.IDTokenClaims) (jwt.Claims, error) {
	text, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	all := jwt.MapClaims{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, more := range []map[string]any{p.claims, p.lie} {
		for name, v := range more {
			all[name] = v
		}
	}
	return all, nil
}

// withProvider adds a provider to a world.
func withProvider(t *testing.T, w *world, change func(*operator.ProviderConfig)) *mockoidc.MockOIDC {
	t.Helper()
	m, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Shutdown() })
	c := w.config()
	c.Provider = &operator.ProviderConfig{
		Issuer: m.Issuer(), ClientID: m.ClientID, ClientSecret: secret.New(m.ClientSecret), RedirectURL: origin + "/sign-in/provider",
		Client: &http.Client{Timeout: time.Minute}, SecondFactor: []string{"mfa", "hwk"},
		Roles: map[string]operator.Role{"auditors": operator.Auditor, "sec": operator.Security}, MayApprove: true,
	}
	if change != nil {
		change(c.Provider)
	}
	w.d = w.directory(c)
	return m
}

// visit goes to the provider as a browser does, and returns what it comes back with.
func visit(t *testing.T, m *mockoidc.MockOIDC, address string, p *person) (state, code string) {
	t.Helper()
	m.QueueUser(p)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	back, err := url.Parse(answer.Header.Get("Location"))
	if err != nil || !strings.HasPrefix(back.String(), origin) {
		t.Fatalf("the provider answered %d, and sends the browser to %q: %v", answer.StatusCode, back, err)
	}
	return back.Query().Get("state"), back.Query().Get("code")
}

// through signs somebody in at the provider.
func (w *world) through(t *testing.T, m *mockoidc.MockOIDC, b operator.Browser, p *person) (secret.Text, operator.Session, secret.Text, error) {
	t.Helper()
	address, err := w.d.SignInProviderBegin(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	state, code := visit(t, m, address, p)
	return w.d.SignInProviderFinish(t.Context(), b, state, code)
}

func TestSigningInAtAProvider(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Owner)
		p := withProvider(t, w, nil)
		ada := &person{subject: "s-1", claims: map[string]any{"email": "ADA@example.com", "email_verified": true}}
		b := m.browser

		// Without the provider's second factor it takes ours.
		token, _, half, err := w.through(t, p, b, ada)
		if err != nil || !token.IsZero() || half.IsZero() {
			t.Fatalf("signing in: %v; want half of it", err)
		}
		if _, _, err := w.d.SignInCode(ctx, b, half, m.next()); err != nil {
			t.Errorf("with our code: %v", err)
		}
		if w.logged("operator.sign-in", "provider+totp", "done") != 1 {
			t.Error("the log does not say what the factors were")
		}
		// With it, it does not.
		ada.claims["amr"] = []string{"pwd", "mfa"}
		token, s, half, err := w.through(t, p, b, ada)
		if err != nil || !half.IsZero() || s.Account != m.id {
			t.Fatalf("signing in: %+v, %v", s, err)
		}
		m.alive("the session", token, true)
		ada.claims["amr"] = []string{"pwd", "otp"} // one that is not among those believed
		if token, _, _, err := w.through(t, p, b, ada); err != nil || !token.IsZero() {
			t.Errorf("with a factor that is not believed: %v", err)
		}
		ada.claims["amr"] = []string{"hwk"}

		// The subject is what counts from the first time on: the address may change, and
		// somebody else who gets it is not this account.
		ada.claims["email"] = "lovelace@example.com"
		if _, s, _, err := w.through(t, p, b, ada); err != nil || s.Account != m.id {
			t.Errorf("with another address: %+v, %v", s, err)
		}
		thief := &person{subject: "s-2", claims: map[string]any{"email": "ada@example.com", "email_verified": true, "amr": "mfa"}}
		_, _, _, err = w.through(t, p, b, thief)
		is(t, "another subject with the address", err, operator.ErrSignIn)

		// Whom nobody invited, and whose address the provider has not verified.
		bob := w.joinWithCodes("bob", operator.Auditor)
		for what, claims := range map[string]map[string]any{
			"an unknown address":        {"email": "nobody@example.com", "email_verified": true, "amr": "mfa"},
			"no address":                {"amr": "mfa"},
			"an address not verified":   {"email": bob.email, "email_verified": false, "amr": "mfa"},
			"an address without a word": {"email": bob.email, "amr": "mfa"},
			"an address that is none":   {"email": []string{bob.email}, "email_verified": true, "amr": "mfa"},
		} {
			_, _, _, err := w.through(t, p, b, &person{subject: "s-3", claims: claims})
			is(t, what, err, operator.ErrSignIn)
		}
		if _, s, _, err := w.through(t, p, b, &person{subject: "s-3", claims: map[string]any{"email": bob.email, "email_verified": "true", "amr": "mfa"}}); err != nil || s.Account != bob.id {
			t.Errorf("the near miss of these: %v", err)
		}

		// Suspended and removed.
		if err := w.d.Suspend(ctx, operator.Host(), bob.id); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.through(t, p, b, &person{subject: "s-3", claims: map[string]any{"email": bob.email, "email_verified": true, "amr": "mfa"}})
		is(t, "a suspended account", err, operator.ErrSignIn)
		if err := w.d.Remove(ctx, operator.Host(), bob.id); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.through(t, p, b, &person{subject: "s-3", claims: map[string]any{"email": bob.email, "email_verified": true, "amr": "mfa"}})
		is(t, "a removed account", err, operator.ErrSignIn)
		if w.logged("operator.sign-in", "provider", string(m.id), "done") == 0 || w.logged("s-1") != 0 || w.logged("example.com") != 0 {
			t.Error("the log does not hold the sign-in, or it holds who that is")
		}
	})
}

func TestAProvidersAnswerIsTakenOnceAndByOneBrowser(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.join("ada", operator.Owner)
		p := withProvider(t, w, nil)
		ada := &person{subject: "s-1", claims: map[string]any{"email": m.email, "email_verified": true, "amr": []string{"mfa"}}}
		begin := func(b operator.Browser) (state, code string) {
			t.Helper()
			address, err := w.d.SignInProviderBegin(ctx, b)
			if err != nil {
				t.Fatal(err)
			}
			return visit(t, p, address, ada)
		}
		state, code := begin(m.browser)
		finish := func(what string, b operator.Browser, state, code string) {
			t.Helper()
			_, _, _, err := w.d.SignInProviderFinish(ctx, b, state, code)
			is(t, what, err, operator.ErrSignIn)
		}
		finish("another browser", browser("192.0.2.1"), state, code)
		finish("another state", m.browser, state+"0", code)
		finish("no state", m.browser, "", code)
		_, ceremony, err := w.d.SignInPasskeyBegin(ctx, m.browser)
		if err != nil {
			t.Fatal(err)
		}
		finish("a passkey's ceremony as state", m.browser, ceremony, code)
		if n := w.logged("operator.refuse", `"ceremony"`); n != 4 {
			t.Errorf("%d were refused for their state, want 4", n)
		}
		// Somebody else's code in this browser's flight: verifier and nonce are not its.
		_, other := begin(browser("192.0.2.3"))
		finish("another flight's code", m.browser, state, other)
		finish("no code", m.browser, state, "")
		state, code = begin(m.browser)
		errs := make([]error, 4)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() { _, _, _, errs[i] = w.d.SignInProviderFinish(ctx, m.browser, state, code) })
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			}
		}
		if won != 1 {
			t.Errorf("%d sign-ins with one answer (%v), want 1", won, errs)
		}
		finish("the answer again", m.browser, state, code)
		state, code = begin(m.browser)
		w.pass(5 * time.Minute)
		finish("an answer that took too long", m.browser, state, code)
	})
}

// Tokens that say something else than what was asked for.
func TestAProvidersTokenIsChecked(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	m := w.join("ada", operator.Owner)
	p := withProvider(t, w, nil)
	claims := map[string]any{"email": m.email, "email_verified": true, "amr": []string{"mfa"}}
	for what, lie := range map[string]map[string]any{
		"another nonce": {"nonce": "x"}, "no nonce": {"nonce": ""}, "another audience": {"aud": "x"}, "another issuer": {"iss": "https://evil.example"},
		"an end that is over": {"exp": time.Now().Add(-time.Hour).Unix()}, "no subject": {"sub": ""}, "a subject without end": {"sub": strings.Repeat("x", 256)},
	} {
		_, _, _, err := w.through(t, p, m.browser, &person{subject: "s-1", claims: claims, lie: lie})
		is(t, what, err, operator.ErrSignIn)
	}
	if _, _, _, err := w.through(t, p, m.browser, &person{subject: "s-1", claims: claims}); err != nil {
		t.Errorf("the near miss: %v", err)
	}
}

func TestAProviderEnrolsAndMapsRoles(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		w.join("owner", operator.Owner)
		m, e := w.invite("ada", operator.Developer)
		p := withProvider(t, w, nil)
		ada := &person{subject: "s-1", claims: map[string]any{"email": m.email, "email_verified": true, "groups": []string{"auditors", "others"}}}
		_, _, _, err := w.through(t, p, m.browser, ada)
		is(t, "enrolling without a second factor", err, operator.ErrSignIn)
		ada.claims["amr"] = []string{"mfa"}
		_, s, _, err := w.through(t, p, m.browser, ada)
		if err != nil || s.Account != m.id {
			t.Fatalf("enrolling: %+v, %v", s, err)
		}
		_, err = w.d.Enrolment(ctx, e.Enrolment)
		is(t, "the link afterwards", err, operator.ErrEnrolment)
		if err := w.d.Authorise(ctx, operator.By(s), operator.OperatorsRead); err != nil {
			t.Errorf("with the role of a group: %v", err)
		}
		is(t, "with a role of no group", w.d.Authorise(ctx, operator.By(s), operator.PeopleRead), operator.ErrMay)
		a, err := w.d.Account(ctx, m.id)
		if err != nil || a.State != operator.Active || len(a.Grants) != 2 || a.Grants[0].Role != operator.Auditor || a.Grants[0].Until.After(w.now().Add(operator.DefaultMaxSession)) || a.Grants[0].Until.IsZero() {
			t.Errorf("the account is %+v, %v; want the group's role for as long as a session lasts", a, err)
		}
		// Out of the group: the role ends by itself.
		ada.claims["groups"] = "others"
		w.pass(operator.DefaultMaxSession)
		p.FastForward(operator.DefaultMaxSession)
		_, s, _, err = w.through(t, p, m.browser, ada)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "after leaving the group", w.d.Authorise(ctx, operator.By(s), operator.OperatorsRead), operator.ErrMay)
		// One that has the role for good keeps it so.
		if err := w.d.Grant(ctx, operator.Host(), m.id, operator.Grant{Role: operator.Auditor}); err != nil {
			t.Fatal(err)
		}
		ada.claims["groups"] = []string{"auditors"}
		if _, _, _, err = w.through(t, p, m.browser, ada); err != nil {
			t.Fatal(err)
		}
		if a, _ := w.d.Account(ctx, m.id); !a.Grants[0].Until.IsZero() {
			t.Errorf("a role without end got one: %+v", a.Grants)
		}
	})
}

// Nobody takes somebody else's address and waits for them to come: what one wrote oneself
// does not find the account for the provider.
func TestAnAddressOfOnesOwnFindsNobody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("ada", operator.Owner)
		second := w.join("gus", operator.Security)
		thief, honest := w.join("bob", operator.Auditor), w.join("cleo", operator.Auditor)
		p := withProvider(t, w, nil)
		boss := func(subject, email string) *person {
			return &person{subject: subject, claims: map[string]any{"email": email, "email_verified": true, "amr": []string{"mfa"}, "groups": []string{"sec"}}}
		}
		if err := w.d.SetProfile(ctx, thief.self(), "Bob", "boss@example.com"); err != nil {
			t.Fatal(err)
		}
		_, _, _, err := w.through(t, p, browser("192.0.2.9"), boss("s-1", "boss@example.com"))
		is(t, "an address that somebody wrote", err, operator.ErrSignIn)
		// Neither after a second change, nor by the link that one enrols with.
		thief.again()
		if err := w.d.SetProfile(ctx, thief.self(), "Robert", "BOSS@example.com"); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.through(t, p, browser("192.0.2.9"), boss("s-1", "boss@example.com"))
		is(t, "the same address, written again", err, operator.ErrSignIn)
		invited, e := w.invite("fay", operator.Auditor)
		if err := w.d.SetProfile(ctx, e, "Fay", "chief@example.com"); err != nil {
			t.Fatal(err)
		}
		_, _, _, err = w.through(t, p, browser("192.0.2.9"), boss("s-2", "chief@example.com"))
		is(t, "an address that was written by a link", err, operator.ErrSignIn)
		if n := w.logged("operator.factor", "profile", "address", "done"); n != 2 {
			t.Errorf("the log has %d changes of an address, want 2", n)
		}
		// Near miss: another name, and the address that one was invited to.
		if err := w.d.SetProfile(ctx, honest.self(), "Cleopatra", honest.email); err != nil {
			t.Fatal(err)
		}
		if _, s, _, err := w.through(t, p, browser("192.0.2.9"), boss("s-3", honest.email)); err != nil || s.Account != honest.id {
			t.Errorf("the address that somebody was invited to: %v", err)
		}
		// And one that somebody else vouches for.
		is(t, "vouching without the right", w.d.SetEmail(ctx, second.by(), invited.id, "chief@example.com"), operator.ErrMay)
		if err := w.d.SetEmail(ctx, owner.by(), owner.id, "me@example.com"); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("vouching for one's own: %v, want ErrInvalid", err)
		}
		refused(t, "another's address", w.d.SetEmail(ctx, owner.by(), invited.id, owner.email), "operator/email")
		proposal := needs(t, "the address of who approves", w.d.SetEmail(ctx, owner.by(), second.id, "sec@example.com"))
		if strings.Contains(proposal.Target, "example.com") {
			t.Errorf("the proposal shows the address: %s", proposal.Target)
		}
		// What two agreed to is one address and no other.
		agreed := w.agreed(owner, w.join("tom", operator.Security), proposal)
		needs(t, "another address of who approves", w.d.SetEmail(ctx, agreed, second.id, "thief@example.com"))
		if err := w.d.SetEmail(ctx, agreed, second.id, "sec@example.com"); err != nil {
			t.Errorf("the address that two agreed to: %v", err)
		}
		if err := w.d.SetEmail(ctx, owner.by(), invited.id, "chief@example.com"); err != nil {
			t.Errorf("vouching: %v", err)
		}
		if _, s, _, err := w.through(t, p, browser("192.0.2.9"), boss("s-2", "chief@example.com")); err != nil || s.Account != invited.id {
			t.Errorf("an address that an owner vouches for: %v", err)
		}
	})
}

// Somebody who may approve by a group of the provider's may not any more once the
// provider, or the configuration, says so: not for what waits, nor for what they approved.
func TestWhoLeftTheGroupHasApprovedNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		asker := w.join("ada", operator.Owner)
		bob := w.joinWithCodes("bob", operator.Developer)
		p := withProvider(t, w, nil)
		theirs := &person{subject: "s-1", claims: map[string]any{"email": bob.email, "email_verified": true, "amr": []string{"mfa"}}}
		signIn := func(what string, groups ...string) {
			t.Helper()
			theirs.claims["groups"], theirs.claims["auth_time"] = groups, w.now().Unix()
			var err error
			if bob.token, bob.session, _, err = w.through(t, p, bob.browser, theirs); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		do := operator.Proposal{Act: operator.ActRevokeEverything, Target: "everything", Digest: operator.Digest(operator.ActRevokeEverything, "1")}
		approved := func() operator.Actor {
			t.Helper()
			a, err := w.d.Propose(ctx, asker.by(), do)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.d.Approve(ctx, bob.by(), a.ID); err != nil {
				t.Fatalf("approving in the group: %v", err)
			}
			return asker.by().With(a.ID)
		}
		signIn("in the group", "sec", "auditors")
		by := approved()
		signIn("out of it", "auditors")
		needs(t, "using what was approved by who left the group", w.d.Allow(ctx, by, do))
		waits, err := w.d.Propose(ctx, asker.by(), do)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "approving out of the group", w.d.Approve(ctx, bob.by(), waits.ID), operator.ErrMay)
		if err := w.d.Authorise(ctx, bob.by(), operator.OperatorsRead); err != nil {
			t.Errorf("with the role of the other group: %v", err)
		}
		if err := w.d.Authorise(ctx, bob.by(), operator.FlowsRead); err != nil {
			t.Errorf("with the role that an operator gave: %v", err)
		}
		if w.logged("operator.revoke", "security", string(bob.id), "done") != 1 {
			t.Error("the log does not say that the role was taken")
		}
		// Near miss: still in it. And half a sign-in, which takes nothing but what is gone.
		signIn("in the group again", "sec")
		if err := w.d.Allow(ctx, approved(), do); err != nil {
			t.Errorf("using what was approved in the group: %v", err)
		}
		by = approved()
		theirs.claims["amr"], theirs.claims["groups"] = nil, []string{}
		if _, _, half, err := w.through(t, p, bob.browser, theirs); err != nil || half.IsZero() {
			t.Fatalf("half a sign-in: %v", err)
		}
		needs(t, "after half a sign-in without the group", w.d.Allow(ctx, by, do))

		// Nobody makes it look as if an operator had given it.
		theirs.claims["amr"] = []string{"mfa"}
		signIn("in the group again", "auditors")
		w.raw.Exec("UPDATE operator_grants SET provider = 0 WHERE role = 'auditor'")
		is(t, "with a group's role that was made an operator's", w.d.Authorise(ctx, bob.by(), operator.OperatorsRead), operator.ErrMay)
		w.raw.Exec("UPDATE operator_grants SET provider = 1 WHERE role = 'auditor'")
		if err := w.d.Authorise(ctx, bob.by(), operator.OperatorsRead); err != nil {
			t.Errorf("with the group's role as it was given: %v", err)
		}

		// The configuration takes it back.
		theirs.claims["amr"] = []string{"mfa"}
		signIn("in the group again", "sec")
		by = approved()
		c := w.config()
		d := w.directory(c)
		needs(t, "without a provider", d.Allow(ctx, by, do))
		if err := w.d.Allow(ctx, by, do); err != nil {
			t.Errorf("with it: %v", err)
		}
	})
}

func TestAProviderThatIsAway(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	_, err := w.d.SignInProviderBegin(t.Context(), browser("192.0.2.1"))
	refused(t, "without a provider", err, "operator/no-provider")

	down := true
	inner := http.Handler(http.NotFoundHandler())
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down {
			http.Error(rw, "secret words of the provider", http.StatusInternalServerError)
			return
		}
		inner.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	inner = http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/a", "token_endpoint": server.URL + "/t", "jwks_uri": server.URL + "/k",
		})
	})
	withProvider(t, w, func(c *operator.ProviderConfig) { c.Issuer = server.URL })
	b := browser("192.0.2.1")
	_, err = w.d.SignInProviderBegin(t.Context(), b)
	refused(t, "a provider that does not answer", err, "operator/provider")
	if !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("its kind is %v", gatehouse.Kind(err))
	}
	down = false
	address, err := w.d.SignInProviderBegin(t.Context(), b)
	if err != nil {
		t.Fatalf("once it answers: %v", err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	down = true
	_, _, _, err = w.d.SignInProviderFinish(t.Context(), b, u.Query().Get("state"), "code")
	refused(t, "when it is away again", err, "operator/provider")
	for _, change := range []func(*operator.ProviderConfig){
		func(c *operator.ProviderConfig) { c.Issuer = "" }, func(c *operator.ProviderConfig) { c.Client = nil },
		func(c *operator.ProviderConfig) { c.Roles = map[string]operator.Role{"g": operator.Owner} },
		func(c *operator.ProviderConfig) { c.Roles = map[string]operator.Role{"g": "root"} },
		func(c *operator.ProviderConfig) { c.MayApprove = false },
	} {
		c := w.config()
		c.Provider = &operator.ProviderConfig{Issuer: "https://a.example", ClientID: "x", RedirectURL: origin, Client: &http.Client{}, MayApprove: true,
			Roles: map[string]operator.Role{"g": operator.Security}}
		if _, err := operator.New(c); err != nil {
			t.Fatalf("a provider: %v", err)
		}
		change(c.Provider)
		if _, err := operator.New(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a provider that is none: %v", err)
		}
	}
}
