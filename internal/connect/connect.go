// Package connect owns a connection's life: a person's grant at a platform from
// the app's wish to begin one, over consent, callback and redemption, through
// renewal, to revocation.
//
// It promises that a connection authorises nothing before the app has redeemed
// its one-time code for the same subject; that a token stands in the store only
// sealed, and in memory only between its opening and the outgoing request; that
// nothing is opened and no platform is asked to act before an intent is durable
// in the log; and that no failure deletes a token.
//
// It must never put a platform's token, or any text a platform sent with an
// error, into an error, a log line or an address other than the platform's.
package connect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/sync/singleflight"
)

// The life spans that the flow depends on.
const (
	// attemptLife is how long a begin-link, and then the state given to the
	// platform, can be used.
	attemptLife = 10 * time.Minute
	// codeLife is how long the app has to redeem the one-time code.
	codeLife = 10 * time.Minute
	// platformTimeout bounds one call to a platform's token endpoint.
	platformTimeout = 20 * time.Second
)

// CallbackPath is the path below the public address at which platforms return
// a browser; the app's name follows.
const CallbackPath = "/_gatehouse/connect/callback/"

// StartPath is the path of begin-links; the attempt's id follows.
const StartPath = "/_gatehouse/connect/start/"

// Config is what New needs. It is copied and never changed afterwards.
type Config struct {
	Store  Store
	Log    *audit.Log
	Vault  *vault.Vault
	Egress *wire.Egress
	Apps   []App
	// Scopes says which scopes the named purposes need together.
	Scopes func([]gatehouse.PurposeName) ([]string, error)
	// PublicURL is the address of the public listener, without a path.
	PublicURL string
	// Returns is the allowlist of addresses a browser may be sent back to:
	// exact ones, and prefixes that end in "/*".
	Returns []string
	// RevokeHandles cuts off every handle of a connection.
	RevokeHandles func(ctx context.Context, id gatehouse.ConnectionID) error
	// Tell tells the app that a connection's state has changed; nil means that
	// there is nobody to tell. When it returns nil, the change must be durable
	// with whoever delivers it; until then it is told again, with the same ID. It
	// is never called for two changes of one connection at the same time by one
	// process, and must know by the ID what it has heard before.
	Tell func(ctx context.Context, change HealthChange) error
	// Guard is told every token and secret; nil means that nobody is.
	Guard Guard
	// Renewer replaces the built-in one; nil means the built-in one.
	Renewer Renewer
	// Budgets learn from what the platforms' replies say is left; nil means none.
	Budgets *budget.Budgets
	// Logger receives what background work could not do; nil means nothing.
	Logger *slog.Logger
}

// Connections is the registry of connections. It is safe for concurrent use.
type Connections struct {
	store         Store
	log           *audit.Log
	vault         *vault.Vault
	egress        *wire.Egress
	apps          map[gatehouse.AppName]App
	scopes        func([]gatehouse.PurposeName) ([]string, error)
	publicURL     string
	returns       ReturnList
	revokeHandles func(ctx context.Context, id gatehouse.ConnectionID) error
	tellApp       func(ctx context.Context, change HealthChange) error
	renewer       Renewer
	logger        *slog.Logger
	flights       singleflight.Group // one renewal for each connection in this process
	flying        sync.RWMutex       // read-locked by each flight, so that Run can wait for all
	clocks        map[string]*clock  // by clockKey; the map never changes
	refusals      refusals
	owners        owners
	budgets       *budget.Budgets // nil: none
	bounds        bounds
	pacing        pacing
	guarded       *guarded
	// testOnlyStep is called between any two steps of a renewal; nil outside tests.
	testOnlyStep func(step string)
}

// New checks the configuration and returns the registry.
func New(c Config) (*Connections, error) {
	if c.Store == nil || c.Log == nil || c.Vault == nil || c.Egress == nil || c.Scopes == nil || c.RevokeHandles == nil {
		return nil, errors.New("connect: Config lacks a store, log, vault, egress, scopes or revoke function")
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil || public.Host == "" || strings.Trim(public.Path, "/") != "" || public.RawQuery != "" || public.User != nil ||
		(public.Scheme != "https" && (public.Scheme != "http" || !loopback(public.Hostname()))) {
		return nil, fmt.Errorf("public_url must be https://host[:port] (http only on loopback): %w", gatehouse.ErrInvalid)
	}
	n := &Connections{
		store: c.Store, log: c.Log, vault: c.Vault, egress: c.Egress, scopes: c.Scopes,
		publicURL: public.Scheme + "://" + public.Host, revokeHandles: c.RevokeHandles,
		apps: make(map[gatehouse.AppName]App, len(c.Apps)), renewer: c.Renewer, tellApp: c.Tell, budgets: c.Budgets, logger: c.Logger,
		clocks: make(map[string]*clock), bounds: defaultBounds, pacing: defaultPacing, guarded: newGuarded(c.Guard),
	}
	if n.logger == nil {
		n.logger = slog.New(slog.DiscardHandler)
	}
	if n.renewer == nil {
		n.renewer = &renewal{n}
	}
	for _, a := range c.Apps {
		a = a.withDefaults()
		if err := a.validate(); err != nil {
			return nil, err
		}
		if _, twice := n.apps[a.Name]; twice {
			return nil, fmt.Errorf("app %q is declared twice: %w", a.Name, gatehouse.ErrInvalid)
		}
		n.apps[a.Name] = a
		n.clocks[clockKey(a)] = &clock{app: a}
	}
	if n.returns, err = NewReturnList(c.Returns); err != nil {
		return nil, err
	}
	return n, nil
}

// Secure reports whether the public listener is reached over https, which
// decides the form of the cookie.
func (c *Connections) Secure() bool { return strings.HasPrefix(c.publicURL, "https:") }

// PublicURL is the address of the public listener, without a path.
func (c *Connections) PublicURL() string { return c.publicURL }

// Apps returns the names of the configured apps in order.
func (c *Connections) Apps() []gatehouse.AppName { return slices.Sorted(maps.Keys(c.apps)) }

// app returns a configured app.
func (c *Connections) app(name gatehouse.AppName) (App, error) {
	a, ok := c.apps[name]
	if !ok {
		return App{}, wire.Refuse(gatehouse.ErrInvalid, "connect/unknown-app", "no app of that name is configured; the configured ones are in gatehouse.yaml under apps")
	}
	return a, nil
}

// redirectURI is the callback address that is registered at the platform.
func (c *Connections) redirectURI(app gatehouse.AppName) string {
	return c.publicURL + CallbackPath + string(app)
}

// Get returns one connection. One that was never redeemed does not exist, one whose row
// was changed is Unreadable.
func (c *Connections) Get(ctx context.Context, id gatehouse.ConnectionID) (Connection, error) {
	rec, err := c.redeemed(ctx, id)
	if err != nil {
		return Connection{}, err
	}
	return c.listed(ctx, rec)
}

// redeemed returns the record of a connection that the app has redeemed.
func (c *Connections) redeemed(ctx context.Context, id gatehouse.ConnectionID) (Record, error) {
	rec, err := c.store.Connection(ctx, id)
	if err == nil && rec.Redeemed.IsZero() {
		err = gatehouse.ErrNotFound
	}
	if errors.Is(err, gatehouse.ErrNotFound) {
		return Record{}, wire.Refuse(gatehouse.ErrNotFound, "connect/unknown-connection", "there is no such connection")
	}
	return rec, err
}

// Selection selects connections for List. A zero field selects everything.
type Selection struct {
	Service gatehouse.ServiceName
	App     gatehouse.AppName
	Status  Status
	Subject gatehouse.Subject
	Parent  gatehouse.ConnectionID
	// After is the id of the last connection of the page before.
	After gatehouse.ConnectionID
	Limit int // zero means 100
}

// List returns redeemed connections, oldest first. One whose row was changed is among
// them, as Unreadable.
func (c *Connections) List(ctx context.Context, s Selection) ([]Connection, error) {
	f := Filter{Service: s.Service, App: s.App, Status: s.Status, Parent: s.Parent, After: s.After, Limit: s.Limit}
	if s.Subject != "" {
		hash, err := c.subjectHash(ctx, s.Subject)
		if err != nil {
			return nil, err
		}
		f.SubjectHash = hash
	}
	records, err := c.store.Connections(ctx, f)
	if err != nil {
		return nil, err
	}
	list := make([]Connection, 0, len(records))
	for _, rec := range records {
		one, err := c.listed(ctx, rec)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}
