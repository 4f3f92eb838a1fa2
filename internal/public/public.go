// Package public owns what the world sees of Gatehouse under the app's own domain,
// below /_gatehouse/: the two stations of connecting, before and after a platform's
// consent page; the addresses at which platforms leave their notices; the page on which
// a person can see what became of a request to delete their data; and those on which
// the app's users prove a second factor, or set one up.
//
// It promises that a browser is sent only where packages connect and stepup say, with no
// referrer and nothing cached; that pages are plain HTML, in which nothing a visitor
// sent appears unescaped, and without script but for passkeys, which browsers give to
// nothing else; that one source cannot ask faster than a
// person could, unless it stands in front of us on the same machine; and that what
// is not signed by a platform costs us little. It must never show or log a state, a
// code, a cookie or what a notice says.
package public

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/notice"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Config is what New needs.
type Config struct {
	Connections *connect.Connections
	Notices     *notice.Notices
	Cases       *cases.Cases
	// Stepups ask people for a second factor. Nil shows no such pages.
	Stepups *stepup.Stepups
	// Log gets one access line for each request; nil logs nothing.
	Log *slog.Logger
	// PerMinute is how many requests one source may make in a minute, and at
	// once; zero means 60.
	PerMinute int
	// Proxies are those in front of the pages that say whom a request came from; nil is
	// nobody.
	Proxies wire.Proxies
}

// Public answers browsers. It is safe for concurrent use.
type Public struct {
	connections *connect.Connections
	notices     *notice.Notices
	cases       *cases.Cases
	stepups     *stepup.Stepups
	sameOrigin  *http.CrossOriginProtection
	pages       *wire.Surface // for people: errors are pages
	hooks       *wire.Surface // for platforms: errors are problem documents
	proxies     wire.Proxies  // never changed
	sources     *wire.Sources // of visitors
	strangers   *wire.Sources // of those who send what no platform signed
	reading     *places       // for notices that are being read
}

// New returns the public pages.
func New(c Config) (*Public, error) {
	if c.Connections == nil || c.Notices == nil || c.Cases == nil {
		return nil, errors.New("public: Config lacks connections, notices or cases")
	}
	if c.PerMinute == 0 {
		c.PerMinute = 60
	}
	return &Public{
		connections: c.Connections, notices: c.Notices, cases: c.Cases, stepups: c.Stepups, sameOrigin: http.NewCrossOriginProtection(),
		pages:   &wire.Surface{Name: "public", Log: c.Log, RenderError: renderError},
		hooks:   &wire.Surface{Name: "public", Log: c.Log, BodyStall: readTime},
		proxies: c.Proxies, sources: wire.NewSources(c.PerMinute), strangers: wire.NewSources(c.PerMinute), reading: newPlaces(),
	}, nil
}

// Handler returns the handler for everything below /_gatehouse/.
func (p *Public) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, handle := range map[string]wire.HandlerFunc{
		connect.StartPath + "{id}":     p.start,
		connect.CallbackPath + "{app}": p.callback,
		stylePath:                      p.style,
		"/_gatehouse/": func(http.ResponseWriter, *http.Request) error {
			return wire.Refuse(gatehouse.ErrNotFound, "public/unknown-path", "There is nothing at this address.")
		},
	} {
		mux.Handle(pattern, p.pages.Handler(pattern, p.visited(p.guard(handle, http.MethodGet))))
	}
	for _, app := range []string{"", "/{app}"} {
		webhooks, deletion := WebhooksPath+"{platform}"+app, DeletionPath+"{platform}"+app
		mux.Handle(webhooks, p.hooks.Handler(webhooks, p.guard(p.webhook, http.MethodGet, http.MethodPost)))
		mux.Handle("POST "+deletion, p.hooks.Handler(deletion, p.guard(p.deletion, http.MethodPost)))
	}
	status := DeletionPath + "{code}"
	mux.Handle(status, p.pages.Handler(status, p.visited(p.guard(p.status, http.MethodGet))))
	if p.stepups != nil {
		p.handleStepups(mux)
	}
	return mux
}

// guard sets the headers that every answer has, and refuses other methods.
func (p *Public) guard(next wire.HandlerFunc, methods ...string) wire.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		setHeaders(w.Header())
		if wire.Aged(r.Context()) {
			w.Header().Set("Connection", "close")
		}
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "public/method", "This address is not for that."), http.StatusMethodNotAllowed)
		}
		return next(w, r)
	}
}

// visited counts a visitor's request against its source.
func (p *Public) visited(next wire.HandlerFunc) wire.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !p.allow(p.sources, r) {
			setHeaders(w.Header())
			return wire.Refuse(gatehouse.ErrLimited, "public/rate", "Too many requests came from your network. Wait a minute and try again.")
		}
		return next(w, r)
	}
}

// allow takes one from the budget of whom a request came from. Whatever ends TLS in front
// of us comes from loopback: unless it is set up to tell them apart, everybody would share
// its budget.
func (p *Public) allow(s *wire.Sources, r *http.Request) bool {
	from, _ := p.proxies.Source(r)
	return from.IsLoopback() && len(p.proxies) == 0 || s.Allow(from)
}

// setHeaders makes the answer as closed as a page can be.
func setHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("X-Robots-Tag", "noindex, nofollow")
}

// cookieLife matches the time a person has for the platform's consent page.
const cookieLife = 600

// cookie binds an attempt to this browser. Lax, because the platform's redirect
// comes from another site.
func (p *Public) cookie(attempt, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: connect.CookieName(attempt, p.connections.Secure()), Value: value, Path: "/", MaxAge: maxAge,
		Secure: p.connections.Secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// start sends the browser to the platform.
func (p *Public) start(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	address, browser, err := p.connections.Start(r.Context(), id)
	if err != nil {
		return err
	}
	http.SetCookie(w, p.cookie(id, browser.Reveal(), cookieLife))
	redirect(w, address)
	return nil
}

// callback takes the browser back from the platform and sends it to the app.
func (p *Public) callback(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	attempt := p.connections.AttemptOf(r.Context(), query)
	browser := secret.Text{}
	if attempt != "" {
		// Two cookies of the name mean that somebody set one beside ours.
		found := r.CookiesNamed(connect.CookieName(attempt, p.connections.Secure()))
		if len(found) == 1 {
			browser = secret.New(found[0].Value)
		}
	}
	to, err := p.connections.Callback(r.Context(), gatehouse.AppName(r.PathValue("app")), query, browser)
	if err != nil {
		return err
	}
	http.SetCookie(w, p.cookie(attempt, "", -1))
	redirect(w, to)
	return nil
}

// redirect sends the browser on, without the body that net/http would add: it
// would repeat the address.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
