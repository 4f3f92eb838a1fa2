package console

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// ask begins a ceremony and returns what the browser's script would send back.
func (d *desk) ask(path string, answer func(options []byte) []byte) (ceremony, response string) {
	d.t.Helper()
	r := d.post(path + "/begin")
	var got struct {
		Options  json.RawMessage `json:"options"`
		Ceremony string          `json:"ceremony"`
	}
	if err := json.Unmarshal([]byte(r.body), &got); err != nil || r.status != http.StatusOK {
		d.t.Fatalf("%s/begin: %d %s", path, r.status, r.body)
	}
	return got.Ceremony, string(answer(got.Options))
}

// signOut forgets the session as pressing the button does.
func (d *desk) signOut() {
	d.t.Helper()
	d.post("/sign-out").goesTo(d.t, "/sign-in")
}

func TestSignInWithPasskey(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	before := d.cookies[sessionCookie]
	d.signOut()
	if _, kept := d.cookies[sessionCookie]; kept {
		t.Error("signing out leaves the cookie")
	}
	d.cookies[sessionCookie] = before
	d.get("/health").goesTo(t, "/sign-in?return=%2Fhealth")

	ceremony, response := d.ask("/sign-in/passkey", d.keys.Sign)
	fixed := strings.Repeat("f", 52)
	d.cookies[sessionCookie] = fixed // somebody put one there
	d.post("/sign-in/passkey", "ceremony", ceremony, "response", response, "return", "/health?x=1").goesTo(t, "/health?x=1")
	if got := d.cookies[sessionCookie]; got == before || got == fixed || len(got) < 40 {
		t.Errorf("the session is %q after signing in", got)
	}
	if r := d.get("/health"); r.status != 200 {
		t.Fatalf("signed in: %d", r.status)
	}
	d.signOut()
	// The same answer does not sign in twice.
	if r := d.post("/sign-in/passkey", "ceremony", ceremony, "response", response); r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != "" {
		t.Errorf("a replayed passkey: %d", r.status)
	}
	// Nor in another browser.
	ceremony, response = d.ask("/sign-in/passkey", d.keys.Sign)
	other := d.house.stranger()
	if r := other.post("/sign-in/passkey", "ceremony", ceremony, "response", response); r.status != http.StatusUnauthorized || other.cookies[sessionCookie] != "" {
		t.Errorf("another browser's ceremony: %d", r.status)
	}
	// The page that people are sent to is ours, whatever the link says.
	for _, evil := range []string{"https://evil.example/", "//evil.example", `/\evil.example`} {
		ceremony, response = d.ask("/sign-in/passkey", d.keys.Sign)
		d.post("/sign-in/passkey", "ceremony", ceremony, "response", response, "return", evil).goesTo(t, "/health")
		d.get("/sign-in?"+url.Values{"return": {evil}}.Encode()).goesTo(t, "/health")
		d.signOut()
		d.get("/sign-in?"+url.Values{"return": {evil}}.Encode()).shows(t, `name="return" value="/"`, "!evil.example")
	}
}

// codes enrols somebody through the pages, with a password and an app, and returns
// the app's key and the recovery codes.
func (h *house) codes(name string) (d *desk, seed string, recovery []string) {
	h.t.Helper()
	d = h.stranger()
	link, account, err := h.directory.Invite(h.t.Context(), operator.Host(), operator.Invitation{Role: operator.Auditor})
	must(h.t, err)
	d.account = account
	const at = EnrolPath
	d.get(at).shows(h.t, "The link, or what stands behind its #")
	d.post(at, "link", link.Reveal()).goesTo(h.t, at)
	d.get(at).shows(h.t, "Your name, as other operators see it")
	d.post(at+"/profile", "name", name, "email", strings.ToLower(name)+"@example.com").goesTo(h.t, at)
	d.get(at).shows(h.t, "Welcome, "+name, "Make a passkey", "With a password and a code")
	d.post(at+"/password", "password", testPassword, "repeat", testPassword).goesTo(h.t, at)
	page := d.get(at)
	page.shows(h.t, `aria-label="QR code for an authenticator app"`)
	found := regexp.MustCompile(`<code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(page.body)
	if found == nil {
		h.t.Fatalf("no key of an app: %s", page.body)
	}
	seed = strings.ReplaceAll(found[1], " ", "")
	if r := d.post(at+"/code", "code", "000000"); r.status != http.StatusBadRequest {
		h.t.Errorf("a wrong code: %d", r.status)
	}
	r := d.post(at+"/code", "code", factortest.Code(h.t, seed, h.now()))
	r.shows(h.t, "They are shown now and never again.")
	for _, m := range regexp.MustCompile(`<li>([^<]+)</li></ul>|<li>([^<]+)</li>`).FindAllStringSubmatch(r.body[strings.Index(r.body, `class="codes"`):], -1) {
		recovery = append(recovery, m[1]+m[2])
	}
	if len(recovery) < 8 {
		h.t.Fatalf("recovery codes %q", recovery)
	}
	// The link was used up.
	if r := d.post(at, "link", link.Reveal()); r.status != http.StatusUnauthorized {
		h.t.Errorf("the link again: %d", r.status)
	}
	if _, kept := d.cookies[enrolCookie]; kept {
		h.t.Error("the link is kept after it was used")
	}
	return d, seed, recovery
}

func TestSignInWithCodes(t *testing.T) {
	h := newHouse(t, nil, Health(health{}))
	d, seed, recovery := h.codes("Ada")
	d.get("/account").shows(t, "Ada", "ada@example.com", "auditor")
	d.signOut()

	half := func(password string) string {
		t.Helper()
		r := d.post("/sign-in/password", "email", "Ada@Example.com", "password", password, "return", "/health")
		found := regexp.MustCompile(`name="half" value="([^"]+)"`).FindStringSubmatch(r.body)
		if found == nil {
			t.Fatalf("no second step: %d %s", r.status, r.body)
		}
		return found[1]
	}
	h.ahead.Add(int64(time.Minute))
	code := factortest.Code(t, seed, h.now())
	d.post("/sign-in/code", "half", half(testPassword), "code", code, "return", "/health").goesTo(t, "/health")
	d.signOut()
	for name, try := range map[string]string{"the code again": code, "a wrong code": "123456", "none": ""} {
		if r := d.post("/sign-in/code", "half", half(testPassword), "code", try); r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != "" {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	used := half(testPassword)
	d.post("/sign-in/code", "half", used, "code", recovery[0]).goesTo(t, "/health")
	d.signOut()
	for name, try := range map[string][2]string{"the recovery code again": {half(testPassword), recovery[0]}, "the first half again": {used, recovery[1]}} {
		if r := d.post("/sign-in/code", "half", try[0], "code", try[1]); r.status != http.StatusUnauthorized || d.cookies[sessionCookie] != "" {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	// A half of one browser is of no use in another.
	other := h.stranger()
	if r := other.post("/sign-in/code", "half", half(testPassword), "code", recovery[1]); r.status != http.StatusUnauthorized {
		t.Errorf("another browser's half: %d", r.status)
	}
}

// TestNobodyLearnsWhoHasAnAccount: the page for a wrong password says the same as that
// for somebody who does not exist, but for what was typed.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	h := newHouse(t, nil)
	h.join("Ada", operator.Owner) // without a password
	h.codes("Grace")
	answer := func(email string) string {
		t.Helper()
		r := h.stranger().post("/sign-in/password", "email", email, "password", "not her password")
		if r.status != http.StatusUnauthorized {
			t.Errorf("%s: %d", email, r.status)
		}
		return strings.ReplaceAll(r.body, email, "")
	}
	want := answer("nobody@example.com")
	for _, email := range []string{"ada@example.com", "grace@example.com"} {
		if got := answer(email); got != want {
			t.Errorf("%s is told from nobody:\n%s", email, got)
		}
	}
}

func TestProof(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	if r := d.get("/operators/invite"); r.status != 200 {
		t.Fatalf("just signed in: %d", r.status)
	}
	d.house.ahead.Store(int64(operator.DefaultFresh + time.Second))
	d.get("/operators/invite").goesTo(t, "/prove?return=%2Foperators%2Finvite")
	// A command is not done, and leads back to the page of its form.
	form := url.Values{"name": {"Eve"}, "email": {"eve@example.com"}, "role": {"owner"}}
	header := map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": origin, "Referer": origin + "/operators/invite"}
	d.do(http.MethodPost, "/operators/invite", form, header).goesTo(t, "/prove?return=%2Foperators%2Finvite")
	header["Referer"] = "https://evil.example/operators"
	d.do(http.MethodPost, "/operators/invite", form, header).goesTo(t, "/prove?return=%2F")
	d.get("/operators").shows(t, "!eve@example.com")

	before := d.cookies[sessionCookie]
	d.get("/prove?return=/operators/invite").shows(t, "Show that it is you", "Use a passkey", `value="/operators/invite"`)
	ceremony, response := d.ask("/prove/passkey", d.keys.Sign)
	d.post("/prove/passkey", "ceremony", ceremony, "response", response, "return", "/operators/invite").goesTo(t, "/operators/invite")
	if d.cookies[sessionCookie] == before {
		t.Error("the session's token was not changed by the proof")
	}
	if r := d.get("/operators/invite"); r.status != 200 {
		t.Errorf("proved: %d", r.status)
	}
	d.cookies[sessionCookie] = before
	d.get("/operators").goesTo(t, "/sign-in?return=%2Foperators")
}

func TestSessionEnds(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	d.house.ahead.Store(int64(operator.DefaultIdle - time.Second))
	if r := d.get("/health"); r.status != 200 {
		t.Fatalf("before its end: %d", r.status)
	}
	d.house.ahead.Store(int64(2*operator.DefaultIdle + time.Second))
	d.get("/health").goesTo(t, "/sign-in?return=%2Fhealth")
	if _, kept := d.cookies[sessionCookie]; kept {
		t.Error("the cookie of a session that is over stays")
	}
}

// TestSignInIsLimited: a network that tries and tries is stopped before a password is
// looked at, and others are not.
func TestSignInIsLimited(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Limits.SignIns = 3 }, Health(health{}))
	d := h.join("Ada", operator.Auditor)
	s := h.stranger()
	for range 3 {
		if r := s.post("/sign-in/passkey/begin"); r.status != 200 {
			t.Fatalf("within the limit: %d", r.status)
		}
	}
	if r := s.post("/sign-in/passkey/begin"); r.status != http.StatusTooManyRequests {
		t.Errorf("beyond the limit: %d", r.status)
	}
	// Whoever is signed in works on.
	if r := d.get("/health"); r.status != 200 {
		t.Errorf("somebody else: %d", r.status)
	}
	if r := d.post("/prove/passkey/begin"); r.status != 200 {
		t.Errorf("somebody who is signed in and proves it again: %d", r.status)
	}
}

// Whoever has signed in with a browser before has steps left when strangers have used up
// those of the network.
func TestKnownBrowsersHaveTheirOwnBudget(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Limits.SignIns = 2 }, Health(health{}))
	known := h.join("Ada", operator.Auditor)
	begin := func(d *desk) int { return d.post("/sign-in/passkey/begin").status }
	h.stranger().post("/sign-in/passkey/begin")
	stranger := h.stranger()
	for range 2 {
		begin(stranger)
	}
	if status := begin(stranger); status != http.StatusTooManyRequests {
		t.Fatalf("the network's budget is not used up: %d", status)
	}
	delete(known.cookies, sessionCookie)
	for range 2 {
		if status := begin(known); status != http.StatusOK {
			t.Errorf("who has been here before: %d", status)
		}
	}
	if status := begin(known); status != http.StatusTooManyRequests {
		t.Errorf("there is no bound for a browser that is known: %d", status)
	}
	// A cookie that nobody has signed in with is none.
	other := h.join("Bob", operator.Auditor)
	delete(other.cookies, sessionCookie)
	other.cookies[bindingCookie] += "x"
	if status := begin(other); status != http.StatusTooManyRequests {
		t.Errorf("a cookie that was made up: %d", status)
	}
}

// Where a proxy says whom it speaks for, one caller uses up nobody else's steps; whoever is
// no proxy has no say.
func TestCallersBehindAProxy(t *testing.T) {
	h := newHouse(t, func(c *Config) {
		c.Limits.SignIns, c.Proxies = 2, wire.Proxies{netip.MustParsePrefix("127.0.0.1/32")}
	})
	step := func(peer, said string) int {
		r := newRequest(t, http.MethodPost, "/sign-in/passkey/begin", "")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("X-Forwarded-For", said)
		r.RemoteAddr = peer
		return h.stranger().send(r).status
	}
	for _, peer := range []string{"127.0.0.1:1", "198.51.100.9:1"} {
		for range 2 {
			if status := step(peer, "198.51.100.1, 192.0.2.1"); status != http.StatusOK {
				t.Fatalf("within the limit from %s: %d", peer, status)
			}
		}
		if status := step(peer, "198.51.100.2, 192.0.2.1"); status != http.StatusTooManyRequests {
			t.Errorf("beyond the limit from %s: %d", peer, status)
		}
	}
	if status := step("127.0.0.1:1", "192.0.2.2"); status != http.StatusOK {
		t.Errorf("somebody else behind the proxy: %d", status)
	}
	if status := step("198.51.100.9:1", "192.0.2.3"); status != http.StatusTooManyRequests {
		t.Errorf("no proxy says that it speaks for somebody else: %d", status)
	}
}
