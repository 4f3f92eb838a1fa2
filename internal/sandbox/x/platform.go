// Package x is the sandbox's X: the OAuth 2.0 and OAuth 1.0a endpoints, the API
// v2 with its state, its streams, webhooks and compliance jobs, on one
// http.Handler that serves what x.com and api.x.com serve.
//
// It promises to refuse what X refuses, in X's words: a program that works here
// has proved its signatures, its single-use tokens and its scopes. It must never
// import the product's packages and never call anything but loopback. What X
// leaves undocumented is a switch in Config, and the switch says so.
package x

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatehouse/internal/sandbox/world"
)

// App is the credentials of the app that is registered with the platform. One
// registration has a confidential and a public OAuth 2.0 client and an OAuth
// 1.0a consumer, as one X project app has.
type App struct {
	Name           string `json:"name"`
	ID             string `json:"id"`
	ClientID       string `json:"client_id"`
	ClientSecret   string `json:"client_secret"`
	PublicClientID string `json:"public_client_id"`
	ConsumerKey    string `json:"consumer_key"`
	ConsumerSecret string `json:"consumer_secret"`
}

// Config says how the platform behaves. The zero value of every field is what
// X documents, or where X documents nothing, what most evidence points at.
type Config struct {
	// Clock is the platform's time; nil means the machine's.
	Clock *world.Clock
	// Ledger receives every secret that is issued; nil means a private one.
	Ledger *world.Ledger
	// App is the registered app; empty fields are made up.
	App App
	// RedirectURIs are the callbacks registered for the app, compared exactly.
	RedirectURIs []string
	// TokenTTL is the life of an OAuth 2.0 access token; zero means two hours.
	TokenTTL time.Duration
	// RefreshTTL is the life of a refresh token; zero means 180 days (community
	// evidence; not in X's documentation).
	RefreshTTL time.Duration
	// CodeTTL is the life of an authorization code; zero means 30 seconds.
	CodeTTL time.Duration
	// FamilyKill makes a spent refresh token revoke everything that grew from
	// the same consent (one report of it; not in X's documentation).
	FamilyKill bool
	// RefreshKillsAccess makes a refresh end the previous access token at once
	// (not in X's documentation).
	RefreshKillsAccess bool
	// OAuth1Skew is how far an OAuth 1.0a timestamp may be off; zero means five
	// minutes (a guess of the community), negative means any distance.
	OAuth1Skew time.Duration
	// AllowNonceReplay accepts an OAuth 1.0a nonce twice (what X does is not
	// documented; refusing is the stricter choice).
	AllowNonceReplay bool
	// AllowDuplicates accepts a post with the text of the author's last one.
	AllowDuplicates bool
	// RateFactor multiplies every documented rate limit; zero means one,
	// negative means that nothing is limited.
	RateFactor int
	// Heartbeat is how often a quiet stream sends an empty line; zero means 20
	// seconds.
	Heartbeat time.Duration
	// SampleEvery is the pace of the sampled stream; zero means one second.
	SampleEvery time.Duration
	// OpenAPI is the path of X's OpenAPI document (JSON), whose other operations
	// are then answered from their schemas; empty means only what is built in.
	OpenAPI string
	// WebhookHosts maps host names of webhooks to the loopback address that
	// stands in for them. Anything else must be loopback itself.
	WebhookHosts map[string]string
	// WebhookTLS is used to verify webhook receivers; nil means the system's.
	WebhookTLS *tls.Config
	// Log receives one line for each webhook delivery that failed; nil discards.
	Log *slog.Logger
}

// withDefaults fills in the zero values.
func (c Config) withDefaults() Config {
	setDuration := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	setDuration(&c.TokenTTL, 2*time.Hour)
	setDuration(&c.RefreshTTL, 180*24*time.Hour)
	setDuration(&c.CodeTTL, 30*time.Second)
	setDuration(&c.OAuth1Skew, 5*time.Minute)
	setDuration(&c.Heartbeat, 20*time.Second)
	setDuration(&c.SampleEvery, time.Second)
	if c.Clock == nil {
		c.Clock = &world.Clock{}
	}
	if c.Ledger == nil {
		c.Ledger = &world.Ledger{}
	}
	if c.RateFactor == 0 {
		c.RateFactor = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	setText := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	setText(&c.App.Name, "Sandbox App")
	setText(&c.App.ID, "29104731")
	setText(&c.App.ClientID, newClientID())
	setText(&c.App.ClientSecret, letters(50))
	setText(&c.App.PublicClientID, newClientID())
	setText(&c.App.ConsumerKey, letters(25))
	setText(&c.App.ConsumerSecret, letters(50))
	return c
}

// Platform is the sandbox's X. It is an http.Handler; Run delivers webhooks and
// Close ends the streams.
type Platform struct {
	config Config
	routes *router
	// openAPI is the document that was loaded, if any.
	openAPI []byte

	// stop is closed once, by Close; it ends the streams.
	stop     chan struct{}
	stopOnce sync.Once

	// mu guards everything below. Handlers of operations hold it while they
	// work, except those marked unlocked, which wait for the network.
	mu        sync.Mutex
	redirects map[string]bool
	auth      authState
	limits    limiter
	state     state
	hooks     hooks
	streams   streams
	jobs      map[string]*complianceJob
}

// New builds the platform with its people and posts in place.
func New(c Config) (*Platform, error) {
	c = c.withDefaults()
	p := &Platform{
		config:    c,
		stop:      make(chan struct{}),
		redirects: make(map[string]bool),
		auth:      newAuthState(),
		limits:    limiter{factor: c.RateFactor, windows: make(map[string]*window)},
		jobs:      make(map[string]*complianceJob),
	}
	p.state = newState(c.Clock.Now())
	p.hooks = newHooks()
	p.streams = newStreams()
	p.SetRedirectURIs(c.RedirectURIs)
	for kind, secret := range map[string]string{
		"x client secret": c.App.ClientSecret, "x consumer secret": c.App.ConsumerSecret,
	} {
		c.Ledger.Add(kind, secret)
	}
	p.routes = newRouter(p.operations())
	if c.OpenAPI != "" {
		if err := p.loadOpenAPI(c.OpenAPI); err != nil {
			return nil, fmt.Errorf("loading the OpenAPI document: %w", err)
		}
	}
	return p, nil
}

// operations is everything that is built in.
func (p *Platform) operations() []operation {
	var all []operation
	for _, group := range [][]operation{
		userOperations, postOperations, searchOperations, followOperations, engagementOperations,
		listOperations, messageOperations, mediaOperations, webhookOperations, complianceOperations,
		streamOperations, ruleOperations,
	} {
		all = append(all, group...)
	}
	return all
}

// Run delivers events to webhooks until ctx ends, then ends the streams.
func (p *Platform) Run(ctx context.Context) error {
	defer p.Close()
	return p.deliver(ctx)
}

// Close ends every stream. It may be called more than once.
func (p *Platform) Close() {
	p.stopOnce.Do(func() { close(p.stop) })
}

// App returns the registered app's credentials.
func (p *Platform) App() App { return p.config.App }

// SetRedirectURIs replaces the callbacks registered for the app.
func (p *Platform) SetRedirectURIs(uris []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.redirects = make(map[string]bool, len(uris))
	for _, uri := range uris {
		p.redirects[uri] = true
	}
}

// SetRateFactor changes the multiple of the documented rate limits and forgets
// what was used; zero means one, negative means that nothing is limited.
func (p *Platform) SetRateFactor(factor int) {
	if factor == 0 {
		factor = 1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = limiter{factor: factor, windows: make(map[string]*window)}
}

// now is the platform's time.
func (p *Platform) now() time.Time { return p.config.Clock.Now() }

// ServeHTTP serves x.com and api.x.com.
func (p *Platform) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", p.now().UTC().Format(http.TimeFormat)) // of the sandbox's clock, which may be set
	w.Header().Set("X-Transaction-Id", strings.ToLower(letters(16)))
	w.Header().Set("Cache-Control", "no-cache, no-store, max-age=0")
	switch r.URL.Path {
	case "/i/oauth2/authorize", "/2/oauth2/authorize":
		p.serveAuthorize(w, r)
	case "/2/oauth2/token":
		p.servePost(w, r, p.exchangeToken)
	case "/2/oauth2/revoke":
		p.servePost(w, r, p.revokeToken)
	case "/oauth2/token":
		p.servePost(w, r, p.issueAppBearer)
	case "/oauth2/invalidate_token":
		p.servePost(w, r, p.invalidateAppBearer)
	case "/oauth/request_token":
		p.servePost(w, r, p.requestToken)
	case "/oauth/authorize", "/oauth/authenticate":
		p.serveOAuth1Authorize(w, r)
	case "/oauth/access_token":
		p.servePost(w, r, p.accessToken)
	case "/1.1/oauth/invalidate_token", "/1.1/oauth/invalidate_token.json":
		p.servePost(w, r, p.invalidateOAuth1)
	case "/1.1/account/verify_credentials.json":
		p.serveLegacy(w, r, http.MethodGet, p.verifyCredentials)
	case "/2/openapi.json":
		p.serveOpenAPI(w, r)
	case "/1.1/statuses/update.json":
		p.serveLegacy(w, r, http.MethodPost, p.updateStatus)
	default:
		switch {
		case strings.HasPrefix(r.URL.Path, "/compliance/"):
			p.serveComplianceStorage(w, r)
		case strings.HasPrefix(r.URL.Path, "/media/"):
			p.serveMediaFile(w, r)
		default:
			p.serveAPI(w, r)
		}
	}
}

// errTooLarge means that a body is beyond what any operation takes.
var errTooLarge = errors.New("request body too large")
