package console

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"

	"github.com/golang-jwt/jwt/v5"
	"github.com/oauth2-proxy/mockoidc"
)

// colleague is somebody whom a provider knows.
type colleague struct {
	email string
	amr   []string
	seen  time.Time // when the provider saw them; zero for a provider that does not say
}

func (c *colleague) ID() string { return "subject-" + c.email }

func (c *colleague) Userinfo([]string) ([]byte, error) { return json.Marshal(map[string]any{}) }

func (c *colleague) Claims(_ []string, base *mockoidc.IDTokenClaims) (jwt.Claims, error) {
	text, err := json.Marshal(base)
	if err != nil {
		return nil, err
	}
	all := jwt.MapClaims{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	all["email"], all["email_verified"], all["amr"] = c.email, true, c.amr
	if !c.seen.IsZero() {
		all["auth_time"] = c.seen.Unix()
	}
	return all, nil
}

func TestProvider(t *testing.T) {
	m, err := mockoidc.Run()
	must(t, err)
	t.Cleanup(func() { _ = m.Shutdown() })
	h := newHouse(t, nil, Health(health{}))
	h.stranger().get("/sign-in").shows(t, "!Single sign-on")
	h.reopen(func(c *operator.Config) {
		c.Provider = &operator.ProviderConfig{
			Issuer: m.Issuer(), ClientID: m.ClientID, ClientSecret: secret.New(m.ClientSecret), RedirectURL: origin + "/sign-in/provider",
			Client: &http.Client{Timeout: time.Minute}, SecondFactor: []string{"mfa"},
		}
	}, Health(health{}))
	_, seed, _ := h.codes("Grace")
	_ = seed

	// begin goes as far as the provider's way back.
	beginAt := func(d *desk, page string, who *colleague) string {
		t.Helper()
		d.get(page+"?return=/health").shows(t, "Single sign-on", page+"/provider/begin")
		r := d.post(page+"/provider/begin", "return", "/health")
		found := regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]+)"`).FindStringSubmatch(r.body)
		if r.status != 200 || found == nil {
			t.Fatalf("begin: %d %s", r.status, r.body)
		}
		m.QueueUser(who)
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, html.UnescapeString(found[1]), nil)
		must(t, err)
		res, err := client.Do(req)
		must(t, err)
		res.Body.Close()
		back, err := url.Parse(res.Header.Get("Location"))
		must(t, err)
		return back.RequestURI()
	}
	begin := func(d *desk, who *colleague) string {
		t.Helper()
		return beginAt(d, "/sign-in", who)
	}
	d := h.stranger()
	back := begin(d, &colleague{"grace@example.com", []string{"mfa"}, time.Time{}})
	// The browser comes from another site, without its cookies: it is sent around, and
	// gets none that would take the place of those that it has.
	other := &desk{t: t, house: h, cookies: map[string]string{}}
	r := other.do(http.MethodGet, back, nil, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})
	r.shows(t, `http-equiv="refresh" content="0"`)
	if len(other.cookies) != 0 || len(r.header.Values("Set-Cookie")) != 0 {
		t.Errorf("a browser from elsewhere gets %q", r.header.Values("Set-Cookie"))
	}
	// Another browser's way back is of no use.
	if r := h.stranger().get(back); r.status != http.StatusUnauthorized {
		t.Errorf("another browser: %d", r.status)
	}
	d.get(back).goesTo(t, "/health")
	if r := d.get("/health"); r.status != 200 {
		t.Errorf("signed in: %d", r.status)
	}
	// Proving again is a new session, in the place of the old one, once the provider has
	// seen whose it is.
	old := d.cookies[sessionCookie]
	for what, who := range map[string]*colleague{
		"a provider that does not say when": {"grace@example.com", []string{"mfa"}, time.Time{}},
		"one that saw them too long ago":    {"grace@example.com", []string{"mfa"}, time.Now().Add(-operator.DefaultFresh)},
	} {
		r := d.get(beginAt(d, "/prove", who))
		if r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != old || !strings.Contains(r.body, proveTitle) {
			t.Errorf("%s: %d", what, r.status)
		}
	}
	stale := d.again()
	d.get(beginAt(d, "/prove", &colleague{"grace@example.com", []string{"mfa"}, time.Now()})).goesTo(t, "/health")
	if d.cookies[sessionCookie] == old || d.get("/health").status != 200 {
		t.Error("there is no new session")
	}
	stale.get("/health").goesTo(t, "/sign-in?return=%2Fhealth")
	d.signOut()
	if r := d.get(back); r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != "" {
		t.Errorf("the way back again: %d", r.status)
	}

	// Without a factor that is believed our own follows.
	d = h.stranger()
	r = d.get(begin(d, &colleague{"grace@example.com", []string{"pwd"}, time.Time{}}))
	r.shows(t, "Enter a code", `value="/health"`)
	if d.cookies[sessionCookie] != "" {
		t.Error("half a sign-in is a session")
	}
	// Nobody is made an operator by a provider.
	d = h.stranger()
	if r := d.get(begin(d, &colleague{"stranger@example.com", []string{"mfa"}, time.Time{}})); r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != "" {
		t.Errorf("a stranger: %d", r.status)
	}
	for _, query := range []string{"", "?error=access_denied&state=x", "?state=x&code=y", "?state=" + strings.Repeat("x", maxProvider)} {
		if r := h.stranger().get("/sign-in/provider" + query); r.status != 400 && r.status != 401 {
			t.Errorf("%.40s: %d", query, r.status)
		}
	}
}
