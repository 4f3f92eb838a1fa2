package connect_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// watch is a Guard that remembers of each text whose it was said to be.
type watch struct {
	mu    sync.Mutex
	texts map[string][]gatehouse.PersonID
	calls int
}

func (g *watch) guard(_ context.Context, person gatehouse.PersonID, text secret.Text) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.texts == nil {
		g.texts = map[string][]gatehouse.PersonID{}
	}
	g.calls++
	if v := text.Reveal(); !slices.Contains(g.texts[v], person) {
		g.texts[v] = append(g.texts[v], person)
	}
}

func (g *watch) knows(text string, person gatehouse.PersonID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Contains(g.texts[text], person)
}

// owned is how many texts were said to be the person's.
func (g *watch) owned(person gatehouse.PersonID) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, people := range g.texts {
		if slices.Contains(people, person) {
			n++
		}
	}
	return n
}

func (g *watch) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.texts, g.calls = nil, 0
}

func (g *watch) counted() (texts, calls int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.texts), g.calls
}

// Whatever a platform gives in any flow is told, and the apps' secrets are: nothing
// that the platforms ever issued for us to keep is missing.
func TestEverythingIssuedIsGuarded(t *testing.T) {
	g := &watch{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Guard: g.guard})
	x := w.Connect("x", "publish", connecttest.Person(0))
	if n := g.owned(x.Person); n != 2 {
		t.Errorf("%d tokens of the new connection were told with their person, want 2", n)
	}
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), x.ID)
	if err != nil {
		t.Fatal(err)
	}
	if k, err = w.Connections.Replace(t.Context(), w.Receipt(), k); err != nil || k == nil || refreshes(w) != 1 {
		t.Fatalf("renewing: %v", err)
	}
	user, _, adopted := family(t, w)
	w.Connect("ig", "gallery", connecttest.Person(2))
	w.Connect("th", "threads", connecttest.Person(3))
	w.Connect("gen", "generic", connecttest.Person(4))
	b := beginOAuth1(t, w)
	q := b.Back("main-x", b.Decide(connecttest.Person(5), "allow", ""))
	if _, err := w.Connections.Redeem(t.Context(), secret.New(q.Get("code")), "user-7", "scheduler"); err != nil {
		t.Fatal(err)
	}
	imported := handedIn(mintX(t, w, connecttest.Person(6)))
	imported.Subject = "imported"
	if _, err := w.Connections.Import(t.Context(), imported); err != nil {
		t.Fatal(err)
	}
	minted, err := w.Meta.MintUserToken("facebook", connecttest.Person(7), "pages_show_list")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Connections.Import(t.Context(), connect.ImportRequest{
		App: "pages", Service: "scheduler", Subject: "minted", Purposes: []gatehouse.PurposeName{"pages"}, Access: secret.New(minted),
	}); err != nil {
		t.Fatal(err)
	}
	for app, address := range map[gatehouse.AppName]string{"main-x": w.XURL + "/2/tweets/1", "pages": w.MetaURL + "/v25.0/app", "threads": w.MetaURL + "/threads/me"} {
		if err := w.Connections.AppRequest(t.Context(), w.Receipt(), app, request(t, address)); err != nil {
			t.Fatalf("%s: %v", app, err)
		}
	}
	if g.knows(w.X.App().ClientSecret, "") {
		t.Error("the apps' secrets were told although nobody asked for all")
	}
	if _, err := w.Connections.GuardAll(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, i := range w.Tokens() {
		switch {
		case strings.Contains(i.Kind, "code"), strings.Contains(i.Kind, "verifier"), strings.Contains(i.Kind, "request token"),
			strings.HasSuffix(i.Kind, "client_id"), strings.HasSuffix(i.Kind, "consumer_key"), strings.Contains(i.Kind, "webhook"):
			continue // of no use to anybody afterwards, or no secret
		}
		kinds[i.Kind]++
		g.mu.Lock()
		_, known := g.texts[i.Value]
		g.mu.Unlock()
		if known {
			continue
		}
		if strings.HasPrefix(i.Kind, "instagram") && strings.HasSuffix(i.Kind, "app token") || strings.HasPrefix(i.Kind, "threads") && strings.HasSuffix(i.Kind, "app token") {
			continue // a form that only Facebook takes
		}
		if i.Kind == "facebook page token" && i.Value != adopted {
			continue // of a page that nobody took out of the reply
		}
		t.Errorf("a %s is not told", i.Kind)
	}
	if len(kinds) < 8 {
		t.Errorf("the flows made only %v", slices.Sorted(maps.Keys(kinds)))
	}
	// Whose it is, is told as soon as it is known.
	person := shown(t, w, user).Person
	if n := g.owned(person); n != 2 { // the long-lived token and the page's
		t.Errorf("%d tokens are told to be the Facebook user's, want 2", n)
	}
	// The app's own is nobody's, whoever's connection it hangs on.
	if _, err := w.Connections.Adopt(t.Context(), w.Receipt(), user, connect.Child{Kind: connect.KindApp, ExternalID: "app", Token: secret.New("the app's own token")}); err != nil {
		t.Fatal(err)
	}
	if !g.knows("the app's own token", "") || g.owned(person) != 2 {
		t.Error("the app's own token is told to be a person's")
	}
}

// A process that did not get a token from the platform tells it before its first
// use, and once only.
func TestTokenIsGuardedBeforeItIsUsed(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("x", "publish", connecttest.Person(0))
	g := &watch{}
	another := w.Open(connecttest.Options{Guard: g.guard})
	for range 3 {
		k, err := another.Credential(t.Context(), w.Receipt(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		req := request(t, w.XURL+"/2/users/me")
		if err := k.Authorize(req); err != nil {
			t.Fatal(err)
		}
		token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !g.knows(token, c.Person) {
			t.Fatal("the token was ready for use and not told")
		}
	}
	if texts, calls := g.counted(); texts != 1 || calls != 1 {
		t.Errorf("%d tokens were told in %d calls, want the access token once", texts, calls)
	}
	if status, err := w.Call(c.ID, http.MethodGet, w.XURL+"/2/users/me"); status != http.StatusOK || err != nil {
		t.Errorf("a registry without a guard gives %d, %v", status, err)
	}
}

// At a start all stored tokens are told, from where an earlier run stopped, and
// one that does not open stops nothing.
func TestStoredTokensAreGuarded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		x := w.Connect("x", "publish", connecttest.Person(0))
		fb := w.Connect("fb", "pages", connecttest.Person(1))
		g := &watch{}
		another := w.Open(connecttest.Options{Guard: g.guard})
		opened, err := another.GuardAll(t.Context(), "")
		if err != nil || opened != (connect.Opened{Connections: 2}) {
			t.Fatalf("%+v, %v", opened, err)
		}
		for _, secret := range []string{w.X.App().ClientSecret, w.X.App().ConsumerSecret, w.Meta.Apps().Facebook.AppSecret, w.Meta.Apps().Facebook.AppID + "|" + w.Meta.Apps().Facebook.AppSecret} {
			if !g.knows(secret, "") {
				t.Error("a secret of an app is not told")
			}
		}
		for _, c := range []connect.Connection{x, fb} {
			if n, want := g.owned(c.Person), map[gatehouse.Platform]int{gatehouse.X: 2, gatehouse.Facebook: 1}[c.Platform]; n != want {
				t.Errorf("%d tokens of %s are told, want %d", n, c.Platform, want)
			}
		}

		// From behind the first connection: only the others, and no secrets of apps.
		first, second := x, fb // the oldest comes first
		g.reset()
		if opened, err = w.Open(connecttest.Options{Guard: g.guard}).GuardAll(t.Context(), first.ID); err != nil || opened.Connections != 1 {
			t.Fatalf("%+v, %v", opened, err)
		}
		for _, people := range g.texts {
			if !slices.Equal(people, []gatehouse.PersonID{second.Person}) {
				t.Errorf("told are tokens of %v, want the second one's", people)
			}
		}

		storetest.OpenRaw(t, dsn).Exec("UPDATE connections SET refresh = access WHERE id = $1", string(x.ID))
		g.reset()
		if opened, err = w.Open(connecttest.Options{Guard: g.guard}).GuardAll(t.Context(), ""); err != nil || opened.Unreadable != 1 || opened.Connections != 2 {
			t.Errorf("with a damaged row: %+v, %v", opened, err)
		}

		// Nobody wants to be told: nothing is opened.
		before := guardIntents(t, dsn)
		if opened, err = w.Connections.GuardAll(t.Context(), ""); err != nil || opened != (connect.Opened{}) {
			t.Errorf("without a guard: %+v, %v", opened, err)
		}
		if after := guardIntents(t, dsn); before != 3 || after != before {
			t.Errorf("the log has %d intents, and without a guard %d, want 3", before, after)
		}
	})
}

func guardIntents(t *testing.T, dsn string) (n int) {
	t.Helper()
	_, rows := storetest.OpenRaw(t, dsn).Query("SELECT leaf FROM audit_entries")
	for _, row := range rows {
		if leaf := fmt.Sprintf("%s", row[0]); strings.Contains(leaf, `"connect.guard"`) && strings.Contains(leaf, `"intent"`) && strings.Contains(leaf, `"connections"`) {
			n++
		}
	}
	return n
}
