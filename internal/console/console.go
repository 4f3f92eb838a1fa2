// Package console owns the operator's browser: the table of routes, view models,
// templates and assets, and nothing else. It asks what a page shows through small
// interfaces that it declares, and hands what is ordered to whoever owns the rule.
//
// It promises that every route names one permission, that nothing is changed except
// by a typed command that came from a page of ours and is answered by a redirect,
// that a page is complete before its first byte is written, that no script runs but
// its own files, and that it takes a bounded share of the machine, so that the gates
// never wait for somebody who looks. It must never decide a business rule, see a key
// or a platform's token, or build markup in any way but html/template.
//
// # How to add a page
//
//  1. internal/console/page_things.go declares what the page asks for, as small as
//     it can be: a struct ThingsPage of functions or one interface of few methods,
//     whose results are view data.
//  2. func Things(from ThingsSource) Page returns its routes: get(pattern, permission,
//     handler) for what is looked at, post(pattern, permission, do) for a command. The
//     path is one of navigation (nav.go), or below one.
//  3. A handler is func(v *visit) error: it reads v.query, asks, fills a struct and
//     returns v.show("things.html", "Things", data). What may not be shown is left
//     out by v.may(permission).
//  4. internal/console/pages/things.html is the template: {{define "content"}}, with
//     the pieces of pieces.html: tiles, table, filter, badge, empty, danger, plot…
//     No style attribute, no inline script: the browser would refuse both.
//  5. A command is a struct with read(*form), which takes every field that may be
//     there; do returns goTo(path).saying("what was done"). A dangerous one is
//     .demanding a fresh sign-in, and its form is a danger piece with a typed word.
//  6. Live parts: stream(pattern, permission, handler) and data-live in the template
//     (see live.go); the page must say everything without them.
//  7. cmd/gatehouse binds the source in console_traffic.go or console_rules.go.
//  8. page_things_test.go shows the page to a role that may see all of it and to one
//     that may not; the route matrix in cmd/gatehouse takes its routes by itself
//     (go test ./cmd/gatehouse -run TestConsoleMatrix -update).
//  9. lookAt(t, b, "things", b.at+"/things") in cmd/gatehouse takes the pictures and lets
//     axe judge the page, light and dark, wide and narrow. Look at them.
//
// Health (page_health.go, pages/health.html, page_health_test.go) is the example.
package console

import (
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// Config is what New needs.
type Config struct {
	// URL is where browsers reach the console: scheme, host, port. It is needed: names
	// of cookies, and the host that is answered for, follow from it.
	URL *url.URL
	// Environment is shown on every page.
	Environment gatehouse.Environment
	// Directory knows the operators: who is signed in, and what they may. It is needed.
	Directory *operator.Directory
	// Pages are what is offered beside signing in and one's own account.
	Pages []Page
	// Log gets one access line for each request; nil logs nothing.
	Log *slog.Logger
	// Proxies are those in front of the console that say whom a request came from; nil
	// is nobody.
	Proxies wire.Proxies
	// Limits bound what the console takes.
	Limits Limits
}

// Limits bound what the console takes of the machine. Zero means the default.
type Limits struct {
	// Requests is how many pages are made at once for those who are signed in, and how
	// many for those who are not; more wait for a moment and are then refused. Default
	// half of the processors, and at least 2.
	Requests int
	// Share is how many per cent of all processors' time pages for those who are signed
	// in get in the long run; pages for all others get half as much. See places. Default
	// 6.
	Share int
	// Streams is how many live pages are fed at once; the oldest of the account that has
	// the most gives way to one more. Default 64.
	Streams int
	// Body is the largest form, in bytes. Default 64 KiB.
	Body int64
	// Time is how long one page may take. Default 10 s.
	Time time.Duration
	// SignIns is how many steps of signing in one source may take in a minute, and
	// at once. Default 30.
	SignIns int
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Requests, max(2, runtime.GOMAXPROCS(0)/2))
	orDefault(&l.Share, 6)
	orDefault(&l.Streams, 64)
	orDefault(&l.Body, 64<<10)
	orDefault(&l.Time, 10*time.Second)
	orDefault(&l.SignIns, 30)
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Console answers operators' browsers. It is safe for concurrent use.
type Console struct {
	url         *url.URL
	environment gatehouse.Environment
	directory   *operator.Directory
	log         *slog.Logger
	limits      Limits
	proxies     wire.Proxies // never changed
	cross       *http.CrossOriginProtection
	templates   map[string]*template.Template // by file; never changed
	assets      map[string]asset              // by path; never changed
	routes      []route                       // never changed
	nav         []navGroup                    // never changed
	places      *places                       // of pages for those who are signed in
	strangers   *places                       // of pages for all others
	lobby       *lobby                        // of pages for those who may be anybody
	asking      chan struct{}                 // holds one element for each cookie that is looked up
	live        *livePlaces                   // of live pages
	sources     *sources                      // of those who sign in
	// closing is closed to end the live pages, which would otherwise outlast a shutdown.
	closing chan struct{}
	once    sync.Once
}

// New returns the console. A page whose route has no permission, or changes something
// without being a command, is an error.
func New(c Config) (*Console, error) {
	if c.URL == nil || c.URL.Host == "" || c.Directory == nil {
		return nil, errors.New("console: Config lacks its URL or the directory of operators")
	}
	limits := c.Limits.withDefaults()
	k := &Console{
		url: c.URL, environment: c.Environment, directory: c.Directory, log: c.Log, limits: limits, proxies: c.Proxies,
		cross:     http.NewCrossOriginProtection(),
		places:    newPlaces(limits.Requests, float64(limits.Share)/100),
		strangers: newPlaces(limits.Requests, float64(limits.Share)/200),
		lobby:     newLobby(),
		asking:    make(chan struct{}, 2),
		live:      newLivePlaces(limits.Streams),
		sources:   newSources(limits.SignIns),
		closing:   make(chan struct{}),
	}
	var err error
	if k.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if k.templates, err = loadTemplates(k.assets); err != nil {
		return nil, err
	}
	pages := append([]Page{k.ownPages()}, c.Pages...)
	for _, p := range pages {
		for _, r := range p.routes {
			if err := r.check(); err != nil {
				return nil, fmt.Errorf("console: %w", err)
			}
			k.routes = append(k.routes, r)
		}
	}
	if !slices.ContainsFunc(k.routes, func(r route) bool { return r.pattern == "GET /{$}" }) {
		k.routes = append(k.routes, get("/{$}", self, func(v *visit) error { return v.redirect(k.home(v.who, v.now)) }))
	}
	k.nav = navigate(k.routes)
	return k, nil
}

// Handler returns the handler of the whole listener.
func (k *Console) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range k.routes {
		mux.Handle(r.pattern, k.mount(r))
	}
	mux.Handle("/", k.mount(route{pattern: "/", permission: anyone, handler: func(v *visit) error { return errNoPage }}))
	return mux
}

// Close ends the live pages. The listener calls it before it waits for requests.
func (k *Console) Close() { k.once.Do(func() { close(k.closing) }) }
