package console

import (
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/identity/operator"
)

func TestAccount(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	d.get("/account").shows(t, "Ada", "auditor", "this one", "Add a passkey", "Set a password", "!Sign all others out", "health.read", "!operators.change")

	d.post("/account/profile", "name", "Ada L.", "email", "ada.l@example.com").goesTo(t, "/account")
	d.get("/account").shows(t, "Your name and address were changed.", "Ada L.", "ada.l@example.com")
	for _, fields := range [][]string{{"name", "", "email", "a@example.com"}, {"name", "Ada", "email", "not an address"}, {"name", strings.Repeat("x", 101), "email", "a@example.com"}} {
		if r := d.post("/account/profile", fields...); r.status != 400 {
			t.Errorf("%q: %d", fields, r.status)
		}
	}

	// A password takes an app beside it.
	if r := d.post("/account/password", "password", testPassword, "repeat", testPassword+"x"); r.status != 400 {
		t.Errorf("two passwords: %d", r.status)
	}
	r := d.post("/account/password", "password", "short", "repeat", "short")
	if r.status != 400 {
		t.Errorf("a short password: %d", r.status)
	}
	r.shows(t, "too short", "Your account")
	d.post("/account/password", "password", testPassword, "repeat", testPassword).goesTo(t, "/account/app")
	seed := strings.ReplaceAll(regexp.MustCompile(`<code>([A-Z2-7 ]+)</code>`).FindStringSubmatch(d.get("/account/app").body)[1], " ", "")
	r = d.post("/account/app", "code", "000000")
	if r.status != 400 {
		t.Errorf("a wrong code: %d", r.status)
	}
	r.shows(t, "This is not the code", "QR code")
	d.post("/account/app", "code", factortest.Code(t, seed, d.house.now())).goesTo(t, "/account")
	for _, word := range []string{"", "codes", "New codes"} {
		if r := d.post("/account/recovery", "typed", word); r.status != 400 {
			t.Errorf("new recovery codes with the word %q: %d", word, r.status)
		}
	}
	d.get("/account").shows(t, "The codes that you have, on paper or elsewhere, stop working now.", "<kbd>new codes</kbd>")
	r = d.post("/account/recovery", "typed", "new codes")
	r.shows(t, "never again", `class="codes"`)
	code := regexp.MustCompile(`<ul class="codes"><li>([^<]+)</li>`).FindStringSubmatch(r.body)[1]
	if r := d.get("/account"); strings.Contains(r.body, code) || !strings.Contains(r.body, "Replace the app") {
		t.Error("a recovery code is shown again")
	}

	// A second passkey, and the first removed.
	ceremony, response := d.ask("/account/passkey", factortest.New(t, origin).Register)
	d.post("/account/passkey", "ceremony", ceremony, "response", response, "return", "/account").goesTo(t, "/account")
	keys := regexp.MustCompile(`name="passkey" value="([^"]+)"`).FindAllStringSubmatch(d.get("/account").body, -1)
	if len(keys) != 2 {
		t.Fatalf("%d passkeys", len(keys))
	}
	if r := d.post("/account/passkey/remove", "passkey", keys[0][1]); r.status != 400 || !strings.Contains(d.get("/account").body, keys[0][1]) {
		t.Errorf("removed without the word: %d", r.status)
	}
	d.post("/account/passkey/remove", "passkey", keys[0][1], "typed", "remove").goesTo(t, "/account")
	if r := d.post("/account/passkey/remove", "passkey", keys[0][1], "typed", "remove"); r.status != 404 {
		t.Errorf("a passkey that is gone: %d", r.status)
	}

	// Nothing of it without a recent proof.
	d.house.ahead.Store(int64(operator.DefaultFresh))
	d.get("/account").shows(t, "show first that it is you", "!Add a passkey", "!Change the password")
	for _, path := range []string{"/account/profile", "/account/password", "/account/recovery", "/account/app", "/account/passkey/remove"} {
		if r := d.post(path); !strings.HasPrefix(r.header.Get("Location"), "/prove?") {
			t.Errorf("%s: %d to %q", path, r.status, r.header.Get("Location"))
		}
	}
}

// TestLastPasskey: nobody locks themselves out.
func TestLastPasskey(t *testing.T) {
	d := newDesk(t, operator.Auditor)
	key := regexp.MustCompile(`name="passkey" value="([^"]+)"`).FindStringSubmatch(d.get("/account").body)
	r := d.post("/account/passkey/remove", "passkey", key[1], "typed", "remove")
	if r.status != 409 {
		t.Errorf("status %d", r.status)
	}
	r.shows(t, "You could not sign in without this passkey.")
}

func TestOwnSessions(t *testing.T) {
	d := newDesk(t, operator.Auditor)
	signInElsewhere := func() *desk {
		t.Helper()
		other := d.house.stranger()
		other.keys = d.keys
		ceremony, response := other.ask("/sign-in/passkey", other.keys.Sign)
		if r := other.post("/sign-in/passkey", "ceremony", ceremony, "response", response); r.status != 303 {
			t.Fatalf("elsewhere: %d %s", r.status, r.body)
		}
		return other
	}
	other := signInElsewhere()
	page := d.get("/account")
	page.shows(t, "Sign all others out")
	session := regexp.MustCompile(`name="session" value="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(session) != 1 {
		t.Fatalf("%d sessions can be ended", len(session))
	}
	d.post("/account/sessions/end", "session", session[0][1]).goesTo(t, "/account")
	other.get("/account").goesTo(t, "/sign-in?return=%2Faccount")
	other = signInElsewhere()
	d.post("/account/sessions/end-others").goesTo(t, "/account")
	other.get("/account").goesTo(t, "/sign-in?return=%2Faccount")
	if r := d.get("/account"); r.status != 200 {
		t.Errorf("this one ended too: %d", r.status)
	}

	// Nobody ends the sessions of others here.
	stranger := d.house.join("Grace", operator.Auditor)
	mine := regexp.MustCompile(`name="session" value="([^"]+)"`)
	signInElsewhere()
	id := mine.FindStringSubmatch(d.get("/account").body)[1]
	stranger.post("/account/sessions/end", "session", id)
	if got := mine.FindStringSubmatch(d.get("/account").body); got == nil || got[1] != id {
		t.Error("somebody else ended a session")
	}
}

func TestAgentNames(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36":                         "Chrome on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0": "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 Version/19.0 Mobile/15E148 Safari/604.1":           "Safari on iPhone",
		"": "unknown", "curl/8.0": "curl/8.0",
	} {
		if got := agentName(agent); got != want {
			t.Errorf("agentName(%q) = %q", agent, got)
		}
	}
}
