package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/gateway"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox/meta"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/sandbox/x"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// rig is a whole Gatehouse on a temporary SQLite file, with both sandboxes over
// TLS on loopback, put together as the command does. Every reply that a test
// gets through it, the log and the database are searched for the platforms'
// tokens by check.
type rig struct {
	t       testing.TB
	ctx     context.Context
	dir     string
	url     string
	client  *http.Client
	pool    *x509.CertPool
	ledger  *world.Ledger
	faults  *world.Faults
	seen    *arrivals
	xSite   *x.Platform
	mSite   *meta.Platform
	people  []world.Person
	clock   world.Clock // of X
	db      *store.DB
	log     *audit.Log
	verify  note.Verifier
	handles *identity.Directory
	connect *connect.Connections
	budgets *budget.Budgets
	quotas  quotas
	gateway *gateway.Gateway
	config  gateway.Config
	lines   *lockedBuffer
	full    atomic.Bool // the log's disk is full

	mu      sync.Mutex
	replies bytes.Buffer // everything the caller was ever sent
	xURL    string
	metaURL string
}

const (
	callback  = "https://app.example/callback"
	scheduler = gatehouse.ServiceName("scheduler")
	other     = gatehouse.ServiceName("other")
)

// arrival is one request as a platform got it.
type arrival struct {
	Method, Host, Path, Query string
	Header                    http.Header
	Body                      string
}

// arrivals records what reached the platforms.
type arrivals struct {
	off      atomic.Bool // nothing is recorded
	encoding atomic.Bool // replies claim to be compressed
	mu       sync.Mutex
	all      []arrival
}

func (a *arrivals) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// What a platform, or what stands before it, may add to any reply.
		w.Header().Set("Set-Cookie", "guest_id=1; Domain=.x.com")
		w.Header().Set("Strict-Transport-Security", "max-age=631138519")
		w.Header().Set("X-New-And-Unknown", "1")
		if a.encoding.Load() {
			w.Header().Set("Content-Encoding", "br")
		}
		if a.off.Load() {
			next.ServeHTTP(w, r)
			return
		}
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.mu.Lock()
		a.all = append(a.all, arrival{r.Method, r.Host, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Clone(), string(body)})
		a.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

func (a *arrivals) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = nil
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all)
}

// last returns the newest request that reached a platform.
func (r *rig) last() arrival {
	r.t.Helper()
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	if len(r.seen.all) == 0 {
		r.t.Fatal("nothing reached a platform")
	}
	return r.seen.all[len(r.seen.all)-1]
}

// fullDisk is the log's store, which can be made to refuse writing.
type fullDisk struct {
	audit.Store
	full *atomic.Bool
}

func (s fullDisk) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if s.full.Load() {
		return errors.New("no space left on device")
	}
	return s.Store.Append(ctx, expect, b)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// purposes of the tests' configuration.
func purposes() []policy.Purpose {
	declare := func(p platform.Name, calls ...string) []policy.Call {
		var out []policy.Call
		for _, c := range calls {
			op, err := platform.NormalizeCall(p, c)
			if err != nil {
				panic(err)
			}
			out = append(out, policy.Call{Operation: gatehouse.Operation(op)})
		}
		return out
	}
	return []policy.Purpose{
		{Name: "publish", Why: "Publish what the user scheduled", App: "main-x",
			Scopes: []string{"tweet.read", "tweet.write", "users.read", "follows.read", "offline.access", "media.write"},
			Calls: declare(platform.X, "GET /2/users/me", "POST /2/tweets", "GET /2/tweets/{id}", "GET /2/tweets", "GET /2/tweets/search/recent",
				"GET /2/users/{id}/followers", "GET /2/tweets/sample/stream", "POST /oauth2/token", "POST /2/media/upload", "DELETE /2/tweets/{id}")},
		{Name: "pages", Why: "Publish to the user's pages", App: "pages",
			Scopes: []string{"pages_show_list", "pages_read_engagement", "pages_manage_posts", "email"},
			Calls: declare(platform.Facebook, "GET /{id}", "GET /{id}/accounts", "GET /{id}/feed", "POST /{id}/feed", "POST /{id}/photos",
				"GET /debug_token", "GET /oauth/access_token", "GET /{id}/permissions", "GET /{id}/posts", "POST /{id}/videos")},
		{Name: "gram", Why: "Show the user's pictures", App: "insta", Scopes: []string{"instagram_business_basic"},
			Calls: declare(platform.Instagram, "GET /me")},
		{Name: "threads", Why: "Show the user's threads", App: "threads", Scopes: []string{"threads_basic"},
			Calls: declare(platform.Threads, "GET /me", "GET /me/threads")},
	}
}

// quotas say how much the sandboxes allow: X a multiple of its own limits, Meta so
// many calls of an app in an hour (0: it only reports). answer is how long the gateway
// waits for one of their answers (0: as long as the program does).
type quotas struct {
	x, meta int
	answer  time.Duration
}

// newRig puts everything together; change may adjust the gateway's configuration.
func newRig(t testing.TB, change ...func(*gateway.Config)) *rig {
	t.Helper()
	return newRigWith(t, quotas{x: 1000}, change...)
}

// newRigWith is newRig with other quotas.
func newRigWith(t testing.TB, q quotas, change ...func(*gateway.Config)) *rig {
	t.Helper()
	r := &rig{
		quotas: q,
		t:      t, ctx: t.Context(), dir: t.TempDir(), ledger: new(world.Ledger), faults: new(world.Faults),
		seen: new(arrivals), lines: new(lockedBuffer), people: world.People(),
	}
	loopback := []net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
	cert, key := must2(t)(wire.NewCA("Test CA", []string{"localhost"}, loopback, time.Hour))
	ca := must(t)(wire.OpenCA(cert, key)).(*wire.CA)
	r.pool = ca.Pool()
	tlsConfig := ca.ServerTLS([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})

	leaf, err := ca.Issue([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r.startSandboxes(&tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS12})
	r.openStores()
	r.openGateway(tlsConfig, change)
	return r
}

func must(t testing.TB) func(v any, err error) any {
	return func(v any, err error) any {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func must2(t testing.TB) func(a []byte, b secret.Text, err error) ([]byte, secret.Text) {
	return func(a []byte, b secret.Text, err error) ([]byte, secret.Text) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

func (r *rig) startSandboxes(tlsConfig *tls.Config) {
	t := r.t
	var err error
	if r.xSite, err = x.New(x.Config{Ledger: r.ledger, Clock: &r.clock, RedirectURIs: []string{callbackFor("main-x")}, RateFactor: r.quotas.x, Heartbeat: 50 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.xSite.Close)
	if r.mSite, err = meta.New(meta.Config{AppCallsPerHour: r.quotas.meta, Ledger: r.ledger, RedirectURIs: []string{callbackFor("pages"), callbackFor("insta"), callbackFor("threads")}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.mSite.Close() })
	for _, site := range []struct {
		handler http.Handler
		url     *string
	}{{r.xSite, &r.xURL}, {r.mSite, &r.metaURL}} {
		server := httptest.NewUnstartedServer(r.seen.middleware(r.faults.Middleware(site.handler)))
		server.TLS = tlsConfig.Clone()
		server.EnableHTTP2 = true
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
		server.StartTLS()
		t.Cleanup(server.Close)
		*site.url = server.URL
	}
}

func callbackFor(app string) string { return publicURL + connect.CallbackPath + app }

const publicURL = "https://app.example"

func (r *rig) openStores() {
	t, ctx := r.t, r.ctx
	dsn := "sqlite:" + filepath.Join(r.dir, "gatehouse.db")
	if err := store.Create(ctx, dsn); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.db, err = store.Open(ctx, dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.db.Close() })
	rootFile := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(rootFile); err != nil {
		t.Fatal(err)
	}
	root, err := vault.NewFileRootKey(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	vc := vault.Config{Root: root, Store: r.db.Vault(), Environment: "test"}
	if err := vault.Init(ctx, vc); err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(ctx, vc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	if r.verify, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	r.log, err = audit.Open(ctx, audit.Config{
		LookEvery: time.Hour,
		Store:     fullDisk{r.db.Audit(), &r.full}, Signer: signer, Environment: "test", Seal: v.SealPersonal, Index: audit.NewIndexHash([]byte("the key of a test")),
		OnFault: func(err error) {
			if !r.full.Load() {
				t.Errorf("log: %v", err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.log.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("running the log: %v", err)
		}
	})
	if r.handles, err = identity.New(identity.Config{Store: r.db.Identity(), Log: r.log, Derive: v.Derive, Environment: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := r.handles.EnsureServices(ctx, []gatehouse.ServiceName{scheduler, other}); err != nil {
		t.Fatal(err)
	}
	egress, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{host(r.xURL), host(r.metaURL)}, AllowLoopback: true, RootCAs: r.pool})
	if err != nil {
		t.Fatal(err)
	}
	set, err := policy.Compile(purposes(), policy.Enforce)
	if err != nil {
		t.Fatal(err)
	}
	r.budgets = budget.New(budget.Config{Now: func(app gatehouse.AppName) time.Time {
		if app == "main-x" {
			return r.clock.Now() // a gate that is closed learns nothing of a clock that was set
		}
		return time.Now()
	}})
	r.connect, err = connect.New(connect.Config{
		Budgets: r.budgets,
		Store:   r.db.Connect(), Log: r.log, Vault: v, Egress: egress, Apps: r.apps(), PublicURL: publicURL, Returns: []string{"https://app.example/*"},
		Scopes: func(names []gatehouse.PurposeName) ([]string, error) {
			p, _ := set.Purpose(names[0])
			return set.Scopes(p.App, names...)
		},
		RevokeHandles: r.handles.RevokeConnection, Logger: slog.New(slog.NewJSONHandler(r.lines, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	calls, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{host(r.xURL), host(r.metaURL)}, AllowLoopback: true, RootCAs: r.pool, HeaderTimeout: r.quotas.answer})
	if err != nil {
		t.Fatal(err)
	}
	r.config = gateway.Config{
		Surface: &wire.Surface{Name: "app", Log: slog.New(slog.NewJSONHandler(r.lines, nil))},
		Budgets: r.budgets,
		Egress:  calls, Log: r.log, Handles: r.handles, Connections: r.connect,
		Settings: gateway.Settings{
			Policy: set,
			Services: map[gatehouse.ServiceName]gateway.Service{
				scheduler: {Purposes: []gatehouse.PurposeName{"publish", "pages", "gram", "threads"}},
				other:     {Purposes: []gatehouse.PurposeName{"pages"}},
			},
			Apps: map[gatehouse.AppName]gateway.App{
				"main-x": {Platform: gatehouse.X}, "pages": {Platform: gatehouse.Facebook, ClientID: r.mSite.Apps().Facebook.AppID, Version: "v25.0"},
				"insta": {Platform: gatehouse.Instagram}, "threads": {Platform: gatehouse.Threads},
			},
		},
		Upstream: map[gatehouse.Platform]map[platform.Role]string{
			gatehouse.X:         {platform.RoleAPI: r.xURL},
			gatehouse.Facebook:  {platform.RoleAPI: r.metaURL, platform.RoleVideo: r.metaURL + "/video", platform.RoleUpload: r.metaURL + "/rupload"},
			gatehouse.Instagram: {platform.RoleAPI: r.metaURL + "/instagram", platform.RoleToken: r.metaURL + "/instagram", platform.RoleUpload: r.metaURL + "/rupload"},
			gatehouse.Threads:   {platform.RoleAPI: r.metaURL + "/threads"},
		},
		Limits: gateway.Limits{StreamCheck: 100 * time.Millisecond, BodyBytes: 4 << 20},
		Logger: slog.New(slog.NewJSONHandler(r.lines, nil)),
	}
}

func host(rawURL string) string {
	u, _ := url.Parse(rawURL)
	return u.Host
}

func (r *rig) apps() []connect.App {
	a, m := r.xSite.App(), r.mSite.Apps()
	return []connect.App{
		{Name: "main-x", Platform: gatehouse.X, ClientID: a.ClientID, ClientSecret: secret.New(a.ClientSecret),
			ConsumerKey: a.ConsumerKey, ConsumerSecret: secret.New(a.ConsumerSecret),
			Endpoints: connect.Endpoints{Authorize: r.xURL + "/i/oauth2/authorize", Token: r.xURL + "/2/oauth2/token", Revoke: r.xURL + "/2/oauth2/revoke", API: r.xURL}},
		{Name: "pages", Platform: gatehouse.Facebook, ClientID: m.Facebook.AppID, ClientSecret: secret.New(m.Facebook.AppSecret), Version: "v25.0",
			Endpoints: connect.Endpoints{Authorize: r.metaURL + "/v25.0/dialog/oauth", Token: r.metaURL + "/v25.0/oauth/access_token", API: r.metaURL, Video: r.metaURL + "/video"}},
		{Name: "insta", Platform: gatehouse.Instagram, ClientID: m.Instagram.AppID, ClientSecret: secret.New(m.Instagram.AppSecret),
			Endpoints: connect.Endpoints{Authorize: r.metaURL + "/instagram/oauth/authorize", Token: r.metaURL + "/instagram/oauth/access_token", API: r.metaURL + "/instagram"}},
		{Name: "threads", Platform: gatehouse.Threads, ClientID: m.Threads.AppID, ClientSecret: secret.New(m.Threads.AppSecret),
			Endpoints: connect.Endpoints{Authorize: r.metaURL + "/threads/oauth/authorize", Token: r.metaURL + "/threads/oauth/access_token", API: r.metaURL + "/threads"}},
	}
}

func (r *rig) openGateway(tlsConfig *tls.Config, change []func(*gateway.Config)) {
	t := r.t
	for _, f := range change {
		f(&r.config)
	}
	var err error
	if r.gateway, err = gateway.New(r.config); err != nil {
		t.Fatal(err)
	}
	server, err := wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:0", TLS: tlsConfig.Clone(), Handler: r.gateway.Handler(), Grace: 500 * time.Millisecond, OnShutdown: r.gateway.CloseStreams})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
	})
	r.url = server.URL()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool}, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	r.client = &http.Client{Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
