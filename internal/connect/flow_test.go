package connect_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// refused fails the test unless err carries the rule.
func refused(t *testing.T, err error, rule string) {
	t.Helper()
	if got := wire.RuleOf(err); got != rule {
		t.Fatalf("error %v has rule %q, want %q", err, got, rule)
	}
}

// A person connects X and Facebook, and the app's calls reach both platforms.
func TestConnectingAndCalling(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{RequireProof: true})
		for _, p := range []struct {
			purpose gatehouse.PurposeName
			call    string
			scope   string
		}{
			{"publish", w.XURL + "/2/users/me", "tweet.write"},
			{"mobile", w.XURL + "/2/users/me", "offline.access"},
			{"pages", w.MetaURL + "/v25.0/me/accounts", "pages_show_list"},
			{"gallery", w.MetaURL + "/instagram/v25.0/me", "instagram_business_content_publish"},
			{"threads", w.MetaURL + "/threads/v1.0/me", "threads_basic"},
			{"generic", w.XURL + "/2/users/me", "users.read"},
		} {
			c := w.Connect("user-7", p.purpose, connecttest.Person(3))
			if c.Status != connect.Healthy || c.Subject != "user-7" || c.PlatformUser == "" || c.Person == "" ||
				!slices.Contains(c.Scopes, p.scope) || len(c.Declined) != 0 || c.App != connecttest.AppOf(p.purpose) {
				t.Errorf("%s: %+v", p.purpose, c)
			}
			if status, err := w.Call(c.ID, http.MethodGet, p.call); status != http.StatusOK || err != nil {
				t.Errorf("%s: calling gives %d, %v", p.purpose, status, err)
			}
		}
	})
}

// What the person did not agree to is recorded beside what they did.
func TestDeclinedScopesAreSeen(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for purpose, granted := range map[gatehouse.PurposeName]string{
		"publish": "tweet.read users.read offline.access",
		"pages":   "public_profile pages_show_list",
		"gallery": "instagram_business_basic",
	} {
		b := w.Start(w.Begin("user-7", purpose))
		q := b.Back(connecttest.AppOf(purpose), b.Decide(connecttest.Person(1), "allow", granted))
		c, err := w.Connections.Redeem(t.Context(), secret.New(q.Get("code")), "user-7", "scheduler")
		if err != nil {
			t.Fatalf("%s: %v", purpose, err)
		}
		want := map[gatehouse.PurposeName]string{
			"publish": "tweet.write", "pages": "pages_read_engagement", "gallery": "instagram_business_content_publish",
		}[purpose]
		if !cmp.Equal(c.Declined, []string{want}) || slices.Contains(c.Scopes, want) {
			t.Errorf("%s: scopes %v, declined %v", purpose, c.Scopes, c.Declined)
		}
	}
}

// A person who says no is sent back to the app, which learns why.
func TestDenialReachesTheApp(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for _, purpose := range []gatehouse.PurposeName{"publish", "pages", "gallery", "threads"} {
		b := w.Start(w.Begin("user-7", purpose))
		q := b.Back(connecttest.AppOf(purpose), b.Decide(connecttest.Person(1), "deny", ""))
		if q.Get("error") != "access_denied" || q.Get("error_description") == "" || q.Get("state") != "app state" || q.Has("code") {
			t.Errorf("%s: the app received %v", purpose, q)
		}
	}
}

// An attacker begins a connection for their own subject and sends the link to a
// victim, who agrees. The code arrives in the victim's session at the app; the
// app redeems it for the victim; nothing is joined to anybody.
func TestVictimOfABeginLinkJoinsNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		code := w.Code("attacker", "publish", connecttest.Person(2))
		granted := lastIssued(w, "access")
		if status := callWith(t, w, granted); status != http.StatusOK {
			t.Fatalf("the victim's grant does not work at all: %d", status)
		}
		if list, err := w.Connections.List(t.Context(), connect.Selection{}); err != nil || len(list) != 0 {
			t.Fatalf("a pending connection is visible: %v, %v", list, err)
		}
		_, err := w.Connections.Redeem(t.Context(), code, "victim", "scheduler")
		refused(t, err, "connect/wrong-subject")
		// The attacker, even knowing the code, is too late: it is burnt.
		_, err = w.Connections.Redeem(t.Context(), code, "attacker", "scheduler")
		refused(t, err, "connect/code-used")
		for _, subject := range []gatehouse.Subject{"attacker", "victim"} {
			if list, err := w.Connections.List(t.Context(), connect.Selection{Subject: subject}); err != nil || len(list) != 0 {
				t.Errorf("%s has %v, %v", subject, list, err)
			}
		}
		if err := w.Connections.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		if status := callWith(t, w, granted); status != http.StatusUnauthorized {
			t.Errorf("the victim's grant still works at the platform: %d", status)
		}
	})
}

// An attacker who has been to the platform sends the victim only the last leg:
// the victim's browser has no cookie for it.
func TestAnotherBrowserIsRefused(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	b := w.Start(w.Begin("attacker", "publish"))
	back := b.Decide(connecttest.Person(2), "allow", "")
	for _, cookie := range []secret.Text{{}, secret.New("guess")} {
		_, err := w.Connections.Callback(t.Context(), "main-x", back, cookie)
		refused(t, err, "connect/other-browser")
	}
	if q := b.Back("main-x", back); q.Get("code") == "" {
		t.Errorf("the right browser received %v", q)
	}
}

func TestStateWorksOnceAndOnlyWhereItBelongs(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	b := w.Start(w.Begin("user-7", "publish"))
	back := b.Decide(connecttest.Person(1), "allow", "")
	ask := func(app gatehouse.AppName, q url.Values) error {
		_, err := w.Connections.Callback(t.Context(), app, q, b.Cookie)
		return err
	}
	refused(t, ask("pages", back), "connect/mixed-up")
	refused(t, ask("nowhere", back), "connect/unknown-callback")
	refused(t, ask("main-x", url.Values{"code": back["code"]}), "connect/unknown-state")
	refused(t, ask("main-x", url.Values{"code": back["code"], "state": {"guess"}}), "connect/unknown-state")
	refused(t, ask("main-x", url.Values{"code": back["code"], "state": {back.Get("state"), "second"}}), "connect/ambiguous")
	refused(t, ask("main-x", url.Values{"code": {"a", "b"}, "state": back["state"]}), "connect/ambiguous")
	refused(t, ask("main-x", url.Values{"code": back["code"], "oauth_token": back["state"]}), "connect/unknown-state")
	if q := b.Back("main-x", back); q.Get("code") == "" {
		t.Fatalf("the app received %v", q)
	}
	refused(t, ask("main-x", back), "connect/state-used")
}

// A begin-link may be opened again until the platform has answered; only the
// newest opening counts.
func TestReloadedLink(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	begun := w.Begin("user-7", "publish")
	first := w.Start(begun)
	stale := first.Decide(connecttest.Person(1), "allow", "")
	second := w.Start(begun)
	_, err := w.Connections.Callback(t.Context(), "main-x", stale, first.Cookie)
	refused(t, err, "connect/unknown-state")
	second.Back("main-x", second.Decide(connecttest.Person(1), "allow", ""))
	_, _, err = w.Connections.Start(t.Context(), begun.ID)
	refused(t, err, "connect/link-used")
	_, _, err = w.Connections.Start(t.Context(), "attunknown")
	refused(t, err, "connect/unknown-link")
}

func TestCodeIsRedeemedOnceByItsService(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	code := w.Code("user-7", "publish", connecttest.Person(1))
	redeem := func(code string, service gatehouse.ServiceName) error {
		_, err := w.Connections.Redeem(t.Context(), secret.New(code), "user-7", service)
		return err
	}
	refused(t, redeem(code.Reveal(), "analytics"), "connect/unknown-code")
	refused(t, redeem(code.Reveal()+"x", "scheduler"), "connect/unknown-code")
	refused(t, redeem("", "scheduler"), "connect/unknown-code")
	if err := redeem(code.Reveal(), "scheduler"); err != nil {
		t.Fatal(err)
	}
	refused(t, redeem(code.Reveal(), "scheduler"), "connect/code-used")
}

// The same person and subject keep their connection when they connect again;
// another subject, and another person, get their own.
func TestReconnectingKeepsTheConnection(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		first := w.Connect("user-7", "publish", connecttest.Person(1))
		again := w.Connect("user-7", "read", connecttest.Person(1))
		if again.ID != first.ID || again.Person != first.Person || !slices.Contains(again.Scopes, "follows.read") ||
			!cmp.Equal(again.Purposes, []gatehouse.PurposeName{"read"}) {
			t.Errorf("connecting again gives %+v", again)
		}
		if status, err := w.Call(first.ID, http.MethodGet, w.XURL+"/2/users/me"); status != http.StatusOK || err != nil {
			t.Errorf("calling gives %d, %v", status, err)
		}
		shared := w.Connect("user-8", "publish", connecttest.Person(1))
		if shared.ID == first.ID || shared.Person != first.Person {
			t.Errorf("another subject's connection is %+v", shared)
		}
		if other := w.Connect("user-7", "publish", connecttest.Person(4)); other.ID == first.ID || other.Person == first.Person {
			t.Errorf("another person's connection is %+v", other)
		}
		// X knows one person by one id, whichever app asks.
		if mobile := w.Connect("user-8", "mobile", connecttest.Person(1)); mobile.Person != first.Person {
			t.Errorf("at another app of X the same person is %s", mobile.Person)
		}
		list, err := w.Connections.List(t.Context(), connect.Selection{Subject: "user-7"})
		if err != nil || len(list) != 2 {
			t.Errorf("user-7 has %d connections, %v", len(list), err)
		}
	})
}

func TestBeginRefuses(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	good := connect.BeginRequest{
		App: "main-x", Subject: "user-7", Purposes: []gatehouse.PurposeName{"publish"}, ReturnTo: connecttest.ReturnTo, Service: "scheduler",
	}
	for rule, change := range map[string]func(*connect.BeginRequest){
		"connect/unknown-app":    func(r *connect.BeginRequest) { r.App = "nowhere" },
		"connect/subject":        func(r *connect.BeginRequest) { r.Subject = "" },
		"connect/purposes":       func(r *connect.BeginRequest) { r.Purposes = nil },
		"connect/state":          func(r *connect.BeginRequest) { r.State = strings.Repeat("s", 501) },
		"connect/service":        func(r *connect.BeginRequest) { r.Service = "" },
		"connect/oauth1":         func(r *connect.BeginRequest) { r.App, r.OAuth1 = "pages", true },
		"connect/return-url":     func(r *connect.BeginRequest) { r.ReturnTo = "https://evil.example/connected" },
		"policy/unknown-purpose": func(r *connect.BeginRequest) { r.Purposes = []gatehouse.PurposeName{"nothing"} },
	} {
		r := good
		change(&r)
		_, err := w.Connections.Begin(t.Context(), r)
		refused(t, err, rule)
		if !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s is not invalid input: %v", rule, err)
		}
	}
	if _, err := w.Connections.Begin(t.Context(), good); err != nil {
		t.Errorf("the unchanged request is refused: %v", err)
	}
}

// lastIssued returns the newest token of the sandbox whose kind contains a word.
func lastIssued(w *connecttest.World, word string) string {
	list := w.Tokens()
	for _, one := range slices.Backward(list) {
		if strings.Contains(one.Kind, word) {
			return one.Value
		}
	}
	w.T.Fatalf("the sandbox issued nothing like %q", word)
	return ""
}

// callWith asks the sandbox's X who a token belongs to.
func callWith(t *testing.T, w *connecttest.World, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.XURL+"/2/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	return reply.StatusCode
}
