// Package public owns what people's browsers see of Gatehouse under the app's
// own domain, below /_gatehouse/: here, the two stations of connecting, before
// and after a platform's consent page.
//
// It promises that a browser is sent only where package connect says, with no
// referrer and nothing cached; that pages are plain HTML without script, in
// which nothing a visitor sent appears unescaped; and that one source cannot
// ask faster than a person could, unless it stands in front of us on the same
// machine. It must never show or log a state, a code or
// a cookie.
package public

import (
	"errors"
	"log/slog"
	"net/http"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// Config is what New needs.
type Config struct {
	Connections *connect.Connections
	// Log gets one access line for each request; nil logs nothing.
	Log *slog.Logger
	// PerMinute is how many requests one source may make in a minute, and at
	// once; zero means 60.
	PerMinute int
}

// Public answers browsers. It is safe for concurrent use.
type Public struct {
	connections *connect.Connections
	surface     *wire.Surface
	sources     *sources
}

// New returns the public pages.
func New(c Config) (*Public, error) {
	if c.Connections == nil {
		return nil, errors.New("public: Config lacks connections")
	}
	if c.PerMinute == 0 {
		c.PerMinute = 60
	}
	p := &Public{connections: c.Connections, sources: newSources(c.PerMinute)}
	p.surface = &wire.Surface{Name: "public", Log: c.Log, RenderError: renderError}
	return p, nil
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
		mux.Handle(pattern, p.surface.Handler(pattern, p.guard(handle)))
	}
	return mux
}

// guard sets the headers that every answer has, and refuses what no visitor
// would send.
func (p *Public) guard(next wire.HandlerFunc) wire.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		setHeaders(w.Header())
		if r.Method != http.MethodGet {
			w.Header().Set("Allow", http.MethodGet)
			return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "public/method", "This address is only for looking at."), http.StatusMethodNotAllowed)
		}
		if !p.sources.allow(r.RemoteAddr) {
			return wire.Refuse(gatehouse.ErrLimited, "public/rate", "Too many requests came from your network. Wait a minute and try again.")
		}
		return next(w, r)
	}
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
