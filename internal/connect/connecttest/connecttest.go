// Package connecttest gives tests a whole registry of connections on a fresh
// database, joined over real HTTP to the sandbox's X and Meta.
//
// It promises that nothing leaves the machine and that every entry of the log
// was accepted. Only tests may import it.
package connecttest

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/sandbox/meta"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/sandbox/x"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// PublicURL is where browsers reach the registry. Nothing listens there: tests
// call the registry as package public would.
const PublicURL = "http://127.0.0.1:8103"

// ReturnTo is an allowed return address.
const ReturnTo = "https://app.example.com/connected"

// Options changes the world. The zero value is the usual one.
type Options struct {
	XTokenTTL    time.Duration
	RequireProof bool
	PublicURL    string // "" means PublicURL
	// FamilyKill and RefreshKillsAccess are the switches of the sandbox's X.
	FamilyKill, RefreshKillsAccess bool
	// Offline leaves the platforms off the network, for tests in virtual time: open
	// sockets would keep it from passing.
	Offline bool
	// FacebookSecret replaces the app secret of the Facebook app, whose own is then
	// the one being replaced; "" keeps it.
	FacebookSecret string
	// Clock is the platforms' time; nil means the machine's.
	Clock *world.Clock
	// Budgets learn from the registry's calls; nil means none.
	Budgets *budget.Budgets
	// Platform wraps what answers as X, to see or disturb its calls.
	Platform func(http.Handler) http.Handler
	// Store wraps the store, for faults.
	Store func(connect.Store) connect.Store
	// Apps changes the app registrations, for mistakes in them.
	Apps func([]connect.App) []connect.App
	// Tell hears of changes of connections' states; nil means that nobody does.
	Tell func(context.Context, connect.HealthChange) error
	// Guard is told every token; nil means that nobody is.
	Guard connect.Guard
	// Audit wraps the log's store, for faults.
	Audit func(audit.Store) audit.Store
	// Aside is where the log keeps what it cannot take; empty means nowhere.
	Aside string
}

// World is the registry and what it stands on.
type World struct {
	T           testing.TB
	DSN         string
	DB          *store.DB
	Vault       *vault.Vault
	Log         *audit.Log
	Directory   *identity.Directory
	Connections *connect.Connections
	X           *x.Platform
	Meta        *meta.Platform
	XURL        string
	MetaURL     string
	PublicURL   string
	Ledger      *world.Ledger
	Faults      *world.Faults
	Requests    *world.Requests
	Egress      *wire.Egress
	// RootKey is the file of the root key, SignerKey the log's signing key: what
	// another process needs to work on the same database.
	RootKey, SignerKey string
	facebookSecret     string
	// StopX takes X off the network.
	StopX func()
}

// The purposes of the world, each with its app and scopes.
var purposes = map[gatehouse.PurposeName]struct {
	App    gatehouse.AppName
	Scopes []string
}{
	"publish":  {"main-x", []string{"tweet.read", "tweet.write", "users.read"}},
	"read":     {"main-x", []string{"tweet.read", "users.read", "follows.read"}},
	"mobile":   {"public-x", []string{"tweet.read", "users.read"}},
	"pages":    {"pages", []string{"pages_show_list", "pages_read_engagement"}},
	"gallery":  {"insta", []string{"instagram_business_basic", "instagram_business_content_publish"}},
	"threads":  {"threads", []string{"threads_basic", "threads_content_publish"}},
	"generic":  {"other", []string{"tweet.read", "users.read", "offline.access"}},
	"unlisted": {"main-x", nil},
}

// AppOf returns the app that a purpose is declared for.
func AppOf(p gatehouse.PurposeName) gatehouse.AppName { return purposes[p].App }

func scopes(names []gatehouse.PurposeName) ([]string, error) {
	all := map[string]bool{}
	for _, name := range names {
		p, ok := purposes[name]
		if !ok {
			return nil, wire.Refuse(gatehouse.ErrInvalid, "policy/unknown-purpose", "no such purpose is declared")
		}
		for _, s := range p.Scopes {
			all[s] = true
		}
	}
	return slices.Sorted(maps.Keys(all)), nil
}

// New builds a world on the database of dsn.
func New(t testing.TB, dsn string, o Options) *World {
	t.Helper()
	w := &World{T: t, DSN: dsn, DB: storetest.Open(t, dsn), Ledger: &world.Ledger{}, Faults: &world.Faults{}, Requests: &world.Requests{}}
	if o.PublicURL == "" {
		o.PublicURL = PublicURL
	}
	w.PublicURL = o.PublicURL
	w.platforms(o)
	w.foundations(o)
	w.Connections = w.Open(o)
	return w
}

func must[T any](t testing.TB, what string) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return v
	}
}

// platforms starts the sandbox.
func (w *World) platforms(o Options) {
	var callbacks []string
	for _, app := range []string{"main-x", "public-x", "pages", "insta", "threads", "other"} {
		callbacks = append(callbacks, o.PublicURL+connect.CallbackPath+app)
	}
	w.X = must[*x.Platform](w.T, "X")(x.New(x.Config{
		Ledger: w.Ledger, RedirectURIs: callbacks, TokenTTL: o.XTokenTTL, RateFactor: -1, Clock: o.Clock,
		FamilyKill: o.FamilyKill, RefreshKillsAccess: o.RefreshKillsAccess,
	}))
	w.Meta = must[*meta.Platform](w.T, "Meta")(meta.New(meta.Config{
		Ledger: w.Ledger, RedirectURIs: callbacks, RequireProof: o.RequireProof, Clock: o.Clock,
	}))
	w.facebookSecret = o.FacebookSecret
	if w.facebookSecret == "" {
		w.facebookSecret = w.Meta.Apps().Facebook.AppSecret
	}
	if o.Offline {
		w.XURL, w.MetaURL = "http://127.0.0.1:1", "http://127.0.0.1:2"
		return
	}
	if o.Platform == nil {
		o.Platform = func(h http.Handler) http.Handler { return h }
	}
	for _, p := range []struct {
		name  string
		h     http.Handler
		url   *string
		close func()
	}{{"x", o.Platform(w.X), &w.XURL, w.X.Close}, {"meta", w.Meta, &w.MetaURL, func() { _ = w.Meta.Close() }}} {
		server := httptest.NewServer(w.Requests.Middleware(p.name, w.Faults.Middleware(p.h)))
		*p.url = server.URL
		if p.name == "x" {
			w.StopX = server.Close
		}
		w.T.Cleanup(func() {
			p.close()
			server.CloseClientConnections()
			server.Close()
		})
	}
}

// foundations opens vault, log, directory and egress.
func (w *World) foundations(o Options) {
	t := w.T
	logStore, onFault := audit.Store(w.DB.Audit()), func(err error) { t.Errorf("log: %v", err) }
	if o.Audit != nil {
		logStore, onFault = o.Audit(logStore), nil
	}
	path := filepath.Join(t.TempDir(), "root.key")
	w.RootKey = path
	if err := vault.CreateRootKeyFile(path); err != nil {
		t.Fatal(err)
	}
	root := must[vault.RootKey](t, "root key")(vault.NewFileRootKey(path))
	config := vault.Config{Root: root, Store: w.DB.Vault(), Environment: "development"}
	if err := vault.Init(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	w.Vault = must[*vault.Vault](t, "vault")(vault.Open(t.Context(), config))
	key, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	w.SignerKey = key
	signer := must[note.Signer](t, "signer")(note.NewSigner(key))
	w.Log = must[*audit.Log](t, "log")(audit.Open(t.Context(), audit.Config{
		LookEvery: time.Hour,
		Store:     logStore, Signer: signer, Environment: "development", Seal: w.Vault.SealPersonal, Index: audit.NewIndexHash([]byte("the key of a test")),
		Log: slog.New(slog.DiscardHandler), OnFault: onFault, Aside: o.Aside,
	}))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Log.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) && o.Audit == nil {
			t.Errorf("running the log: %v", err)
		}
	})
	w.Directory = must[*identity.Directory](t, "directory")(identity.New(identity.Config{
		Store: w.DB.Identity(), Log: w.Log, Derive: w.Vault.Derive, Environment: "development",
	}))
	if err := w.Directory.EnsureServices(t.Context(), []gatehouse.ServiceName{"scheduler", "analytics"}); err != nil {
		t.Fatal(err)
	}
	hosts := []string{host(w.XURL), host(w.MetaURL)}
	w.Egress = must[*wire.Egress](t, "egress")(wire.NewEgress(wire.EgressConfig{Hosts: hosts, AllowLoopback: true, AllowPlainLoopback: true}))
	t.Cleanup(w.Egress.CloseIdle)
}

func host(address string) string { return strings.TrimPrefix(address, "http://") }

// Apps returns the world's app registrations.
func (w *World) Apps() []connect.App {
	a, m := w.X.App(), w.Meta.Apps()
	var previous []secret.Text
	if w.facebookSecret != m.Facebook.AppSecret {
		previous = []secret.Text{secret.New(m.Facebook.AppSecret)}
	}
	xEnds := connect.Endpoints{
		Authorize: w.XURL + "/i/oauth2/authorize", Token: w.XURL + "/2/oauth2/token", Revoke: w.XURL + "/2/oauth2/revoke", API: w.XURL,
	}
	return []connect.App{
		{
			Name: "main-x", Platform: gatehouse.X, ClientID: a.ClientID, ClientSecret: secret.New(a.ClientSecret),
			ConsumerKey: a.ConsumerKey, ConsumerSecret: secret.New(a.ConsumerSecret), Endpoints: xEnds,
		},
		{Name: "public-x", Platform: gatehouse.X, ClientID: a.PublicClientID, Public: true, Endpoints: xEnds},
		{
			Name: "pages", Platform: gatehouse.Facebook, ClientID: m.Facebook.AppID, ClientSecret: secret.New(w.facebookSecret), PreviousSecrets: previous,
			Endpoints: connect.Endpoints{
				Authorize: w.MetaURL + "/v25.0/dialog/oauth", Token: w.MetaURL + "/v25.0/oauth/access_token",
				API: w.MetaURL, Video: w.MetaURL + "/video", Upload: w.MetaURL + "/rupload",
			},
		},
		{
			Name: "insta", Platform: gatehouse.Instagram, ClientID: m.Instagram.AppID, ClientSecret: secret.New(m.Instagram.AppSecret),
			Endpoints: connect.Endpoints{
				Authorize: w.MetaURL + "/instagram/oauth/authorize", Token: w.MetaURL + "/instagram/oauth/access_token", API: w.MetaURL + "/instagram",
			},
		},
		{
			Name: "threads", Platform: gatehouse.Threads, ClientID: m.Threads.AppID, ClientSecret: secret.New(m.Threads.AppSecret),
			Endpoints: connect.Endpoints{
				Authorize: w.MetaURL + "/threads/oauth/authorize", Token: w.MetaURL + "/threads/oauth/access_token", API: w.MetaURL + "/threads",
			},
		},
		{
			Name: "other", Platform: gatehouse.OAuth2, ClientID: a.ClientID, ClientSecret: secret.New(a.ClientSecret), Endpoints: xEnds,
			UserInfo: w.XURL + "/2/users/me", UserIDPath: "data.id", UserNamePath: "data.username",
		},
	}
}

// Open opens a registry on the world's database, as another process would.
func (w *World) Open(o Options) *connect.Connections {
	w.T.Helper()
	if o.PublicURL == "" {
		o.PublicURL = PublicURL
	}
	s := w.DB.Connect()
	if o.Store != nil {
		s = o.Store(s)
	}
	apps := w.Apps()
	if o.Apps != nil {
		apps = o.Apps(apps)
	}
	return must[*connect.Connections](w.T, "connections")(connect.New(connect.Config{
		Store: s, Log: w.Log, Vault: w.Vault, Egress: w.Egress, Apps: apps, Scopes: scopes, PublicURL: o.PublicURL, Tell: o.Tell,
		Returns: []string{ReturnTo, "https://app.example.com/deep/*", "http://127.0.0.1/*"}, RevokeHandles: w.Directory.RevokeConnection,
		Budgets: o.Budgets, Guard: o.Guard,
	}))
}

// Begin begins a connection of a subject for a purpose.
func (w *World) Begin(subject string, purpose gatehouse.PurposeName) connect.Begun {
	w.T.Helper()
	return must[connect.Begun](w.T, "Begin")(w.Connections.Begin(w.T.Context(), connect.BeginRequest{
		App: AppOf(purpose), Subject: gatehouse.Subject(subject), Purposes: []gatehouse.PurposeName{purpose},
		ReturnTo: ReturnTo, State: "app state", Service: "scheduler",
	}))
}

// Browser is a person at a browser who has started an attempt.
type Browser struct {
	w       *World
	Consent string // the consent page's address
	Cookie  secret.Text
}

// Start opens a begin-link.
func (w *World) Start(b connect.Begun) Browser {
	w.T.Helper()
	address, cookie, err := w.Connections.Start(w.T.Context(), b.ID)
	if err != nil {
		w.T.Fatalf("Start: %v", err)
	}
	return Browser{w, address, cookie}
}

// Decide answers the consent page as one of the sandbox's people and returns
// what the platform sends back to the callback. Scopes "" grants all.
func (b Browser) Decide(person, decision, scopes string) url.Values {
	b.w.T.Helper()
	u := must[*url.URL](b.w.T, "consent address")(url.Parse(b.Consent))
	q := u.Query()
	q.Set("sandbox_person", person)
	q.Set("sandbox_decision", decision)
	if scopes != "" {
		q.Set("sandbox_scopes", scopes)
	}
	u.RawQuery = strings.ReplaceAll(q.Encode(), "+", "%20")
	return b.w.follow(u.String())
}

// follow asks for an address and returns the query of where it redirects to.
func (w *World) follow(address string) url.Values {
	w.T.Helper()
	req := must[*http.Request](w.T, "request")(http.NewRequestWithContext(w.T.Context(), http.MethodGet, address, nil))
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	reply := must[*http.Response](w.T, "consent page")(client.Do(req))
	reply.Body.Close()
	if reply.StatusCode/100 != 3 {
		w.T.Fatalf("the consent page answered %d", reply.StatusCode)
	}
	to := must[*url.URL](w.T, "redirect")(url.Parse(reply.Header.Get("Location")))
	return to.Query()
}

// Back returns the browser to the callback and gives what the app receives.
func (b Browser) Back(app gatehouse.AppName, query url.Values) url.Values {
	b.w.T.Helper()
	to, err := b.w.Connections.Callback(b.w.T.Context(), app, query, b.Cookie)
	if err != nil {
		b.w.T.Fatalf("Callback: %v", err)
	}
	u := must[*url.URL](b.w.T, "return address")(url.Parse(to))
	if got := u.Scheme + "://" + u.Host + u.Path; got != ReturnTo {
		b.w.T.Fatalf("the browser was sent to %s", got)
	}
	return u.Query()
}

// Code goes through consent as a person and returns the one-time code.
func (w *World) Code(subject string, purpose gatehouse.PurposeName, person string) secret.Text {
	w.T.Helper()
	b := w.Start(w.Begin(subject, purpose))
	q := b.Back(AppOf(purpose), b.Decide(person, "allow", ""))
	if q.Get("code") == "" || q.Get("state") != "app state" {
		w.T.Fatalf("the app received %v", q)
	}
	return secret.New(q.Get("code"))
}

// Connect goes all the way to a healthy connection.
func (w *World) Connect(subject string, purpose gatehouse.PurposeName, person string) connect.Connection {
	w.T.Helper()
	return must[connect.Connection](w.T, "Redeem")(w.Connections.Redeem(w.T.Context(), w.Code(subject, purpose, person), gatehouse.Subject(subject), "scheduler"))
}

// Receipt records the intent of a call.
func (w *World) Receipt() audit.Receipt {
	w.T.Helper()
	return must[audit.Receipt](w.T, "intent")(w.Log.Intent(w.T.Context(), audit.Entry{Action: "call", Service: "scheduler"}))
}

// Call makes a request to a platform with a connection's credential and returns
// the status.
func (w *World) Call(id gatehouse.ConnectionID, method, address string) (int, error) {
	w.T.Helper()
	k, err := w.Connections.Credential(w.T.Context(), w.Receipt(), id)
	if err != nil {
		return 0, err
	}
	req := must[*http.Request](w.T, "request")(http.NewRequestWithContext(w.T.Context(), method, address, nil))
	if err := k.Authorize(req); err != nil {
		return 0, err
	}
	reply, err := w.Egress.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	reply.Body.Close()
	return reply.StatusCode, nil
}

// Tokens returns every secret that the sandbox issued and that belongs to a
// person.
func (w *World) Tokens() []world.Issued { return w.Ledger.All() }

// Person returns the user name of one of the sandbox's people.
func Person(i int) string { return world.People()[i].Username }

// Browser is a browser that was given a consent page and a cookie.
func (w *World) Browser(consent string, cookie secret.Text) Browser {
	return Browser{w, consent, cookie}
}
