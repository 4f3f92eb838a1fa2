// Package meta is the sandbox's idea of Meta: Facebook Login and the Graph API,
// the Instagram API with Instagram Login, and Threads, on the hosts that those
// have in reality or below a path prefix for each.
//
// It promises what an SDK can observe: dialogs, token shapes and lifetimes,
// field expansion, paging links that carry tokens, batch requests, error codes
// and subcodes, proofs, usage headers, webhooks and the notices that follow the
// removal of an app. It keeps everything in memory. It must never import the
// product's own packages, so that a mistake in the product cannot confirm itself
// here, and it must never be presented as more than an emulation: what Meta does
// not document is decided here by one switch or one constant with its reason
// beside it.
package meta

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/sandbox/world"
)

// Config says how this Meta behaves. It is copied by New and never changed
// afterwards.
type Config struct {
	// Clock is the sandbox's time; nil reads the machine's.
	Clock *world.Clock
	// Ledger receives every secret that is issued; nil keeps a ledger that
	// nobody reads.
	Ledger *world.Ledger
	// ShortTTL and LongTTL are the lifetimes of Facebook user tokens. Zero means
	// one hour and sixty days.
	ShortTTL, LongTTL time.Duration
	// IGTTL and ThreadsTTL are the lifetimes of long-lived Instagram and Threads
	// tokens. Zero means sixty days. Their short-lived tokens live one hour, or
	// as long as these when these are shorter.
	IGTTL, ThreadsTTL time.Duration
	// RefreshAge is how old an Instagram or Threads token must be before it can
	// be refreshed. Zero means the documented 24 hours.
	RefreshAge time.Duration
	// Apps gives the apps fixed credentials; empty fields are made up, the
	// secrets anew for each platform.
	Apps Apps
	// RequireProof is the dashboard's "Require App Secret" switch.
	RequireProof bool
	// RedirectURIs are registered for every app and compared exactly.
	RedirectURIs []string
	// BaseURL returns the sandbox's own address, for links that stand outside a
	// request (pictures, settings). Nil means the address the request came to.
	BaseURL func() string
	// DeauthorizeURL and DataDeletionURL are the callbacks of every app; empty
	// sends nothing. The control API can set them for one app.
	DeauthorizeURL, DataDeletionURL string
	// FlatInstagramToken answers Instagram's code exchange without the data[]
	// wrapper. Both shapes have been seen.
	FlatInstagramToken bool
	// BareTrue answers DELETE permissions with true in place of
	// {"success":true}. Both have been seen.
	BareTrue bool
	// QuietRemoval sends no deauthorize notice when the app removed itself
	// through the API; whether Meta sends one then is not documented.
	QuietRemoval bool
	// AppCallsPerHour is the platform rate limit of each app. Zero refuses
	// nothing and reports usage of 200 calls for each person, the documented
	// limit.
	AppCallsPerHour int
	// Client sends webhooks and notices. Nil means a client of our own with a
	// ten-second timeout, which follows no redirects and uses no proxy.
	Client *http.Client
	// Log may be nil, which discards.
	Log *slog.Logger
}

// App is one registered app's credentials.
type App struct {
	// Name is what the consent page shows.
	Name string `json:"name"`
	// AppID and AppSecret are what a developer copies from the dashboard.
	AppID     string `json:"app_id"`
	AppSecret string `json:"app_secret"`
}

// Apps are the registered apps, one for each product.
type Apps struct {
	Facebook  App `json:"facebook"`
	Instagram App `json:"instagram"`
	Threads   App `json:"threads"`
}

// Platform is this Meta: an http.Handler for all of its hosts.
//
// mu guards everything below it; it is held while one Graph call is answered and
// never while anything is sent to somebody else.
type Platform struct {
	config Config
	client *http.Client
	log    *slog.Logger
	kinds  kinds
	people []world.Person
	texts  []string

	// stop ends deliveries under way; senders are waited for by Close.
	stop    func()
	stopped <-chan struct{}
	senders sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	apps      map[string]*app
	redirects map[string]bool
	tokens    map[string]*token
	pageKeys  map[string]*token
	codes     map[string]*code
	grants    map[grantKey]*grant
	nodes     map[string]*node
	names     map[string]int
	serial    int64
	uploads   map[string]*upload
	throttles []throttle
	windows   map[string]*window
	removals  []Removal
	proof     bool
}

// New seeds a platform.
func New(c Config) (*Platform, error) {
	fill := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	const day = 24 * time.Hour
	fill(&c.ShortTTL, time.Hour)
	fill(&c.LongTTL, 60*day)
	fill(&c.IGTTL, 60*day)
	fill(&c.ThreadsTTL, 60*day)
	fill(&c.RefreshAge, day)
	for _, d := range []time.Duration{c.ShortTTL, c.LongTTL, c.IGTTL, c.ThreadsTTL, c.RefreshAge} {
		if d < 0 {
			return nil, errors.New("a token lifetime is negative")
		}
	}
	if c.Clock == nil {
		c.Clock = new(world.Clock)
	}
	if c.Ledger == nil {
		c.Ledger = new(world.Ledger)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Client == nil {
		c.Client = &http.Client{
			Timeout:       10 * time.Second,
			Transport:     &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 4, IdleConnTimeout: 10 * time.Second},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	p := &Platform{
		config: c, client: c.Client, log: c.Log,
		people: world.People(), texts: world.Texts(),
		redirects: make(map[string]bool), tokens: make(map[string]*token), pageKeys: make(map[string]*token),
		codes: make(map[string]*code), grants: make(map[grantKey]*grant), nodes: make(map[string]*node),
		names: make(map[string]int), uploads: make(map[string]*upload), windows: make(map[string]*window),
		apps: make(map[string]*app), proof: c.RequireProof,
	}
	stopped := make(chan struct{})
	p.stopped = stopped
	p.stop = sync.OnceFunc(func() { close(stopped) })
	for _, uri := range c.RedirectURIs {
		p.redirects[uri] = true
	}
	for _, a := range []*app{
		{App: c.Apps.Facebook.or("Sandbox Pages App", "1029384756010203"), product: facebook},
		{App: c.Apps.Instagram.or("Sandbox Instagram App", "2138475690102030"), product: instagram},
		{App: c.Apps.Threads.or("Sandbox Threads App", "3247586901020304"), product: threads},
	} {
		if strings.Trim(a.AppID, "0123456789") != "" || p.apps[a.AppID] != nil {
			return nil, fmt.Errorf("%s's app id is not a number of its own", a.product)
		}
		a.deauthorize, a.deletion = c.DeauthorizeURL, c.DataDeletionURL
		p.apps[a.AppID] = a
		c.Ledger.Add(string(a.product)+" app secret", a.AppSecret)
		c.Ledger.Add(string(a.product)+" app token", a.AppID+"|"+a.AppSecret)
	}
	p.kinds = newKinds()
	p.seed()
	return p, nil
}

// Close stops deliveries of webhooks and notices and waits for them. The
// platform still answers, but sends nothing more.
func (p *Platform) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.senders.Wait()
	p.client.CloseIdleConnections()
	return nil
}

// Apps returns the credentials of the registered apps.
func (p *Platform) Apps() Apps {
	return Apps{
		Facebook:  p.appOf(facebook).App,
		Instagram: p.appOf(instagram).App,
		Threads:   p.appOf(threads).App,
	}
}

// SetRedirectURIs replaces the redirect URIs registered for every app.
func (p *Platform) SetRedirectURIs(uris []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirects = make(map[string]bool, len(uris))
	for _, uri := range uris {
		p.redirects[uri] = true
	}
}

// SetRequireProof turns the "Require App Secret" switch.
func (p *Platform) SetRequireProof(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proof = on
}

// or fills in what the configuration left open.
func (a App) or(name, id string) App {
	return App{Name: cmp.Or(a.Name, name), AppID: cmp.Or(a.AppID, id), AppSecret: cmp.Or(a.AppSecret, hexSecret())}
}

// now is the sandbox's time. Graph shows it to the second, but a token that lives
// two seconds should not die after one.
func (p *Platform) now() time.Time { return p.config.Clock.Now() }

// app is a registered app. Its fields are guarded by Platform.mu, save App and
// product, which never change.
type app struct {
	App
	product       product
	deauthorize   string
	deletion      string
	subscriptions []*subscription
}

// appOf returns the app of a product. The set of apps never changes after New.
func (p *Platform) appOf(product product) *app {
	for _, a := range p.apps {
		if a.product == product {
			return a
		}
	}
	return nil
}
