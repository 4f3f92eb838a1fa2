// Package scim owns the door by which an identity provider keeps operators' accounts: a
// service provider of SCIM 2.0 (RFC 7643, RFC 7644), and the tokens that open it.
//
// It promises that nothing is said to whoever shows no token, and always the same; that
// who leaves is out before anything else of a request is looked at again; that every
// request takes a bounded share of the machine; and that no answer repeats what was sent
// but what is kept of a user. It must never decide what a provider may do to an account:
// package operator does. It must never make a link to enrol, give a role that decides
// approvals, or take a factor from anybody.
package scim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"

	"golang.org/x/time/rate"
)

// Prefix is below what everything of this package stands.
const Prefix = "/scim/"

// base is where the resources stand.
const base = Prefix + "v2"

// Config says what a Server works with.
type Config struct {
	// URL is where providers reach it: scheme, host and port. Required.
	URL *url.URL
	// Directory knows the operators. Required.
	Directory *operator.Directory
	// Tokens says who asks. Required.
	Tokens *Tokens
	// Log records who was refused. Required.
	Log *audit.Log
	// Sources are the networks that may ask. None means all.
	Sources []netip.Prefix
	// Logger gets one access line for each request; nil logs nothing.
	Logger *slog.Logger
	// Limits bound what is taken of the machine.
	Limits Limits
}

// Limits bound what is taken of the machine. Zero means the default.
type Limits struct {
	// PerSecond is how many requests with a token are answered in a second, and four
	// times as many at once. Default 25.
	PerSecond int
	// Requests is how many are worked on at a time, and how many more are looked at
	// for their token. Default 2.
	Requests int
	// Time is how long one may take, its body included. Default 20 s.
	Time time.Duration
}

// Server answers identity providers. It is safe for concurrent use.
type Server struct {
	config  Config
	surface *wire.Surface
	rate    *rate.Limiter
	refused *rate.Limiter // of entries in the log about those who show no token
	places  chan struct{} // holds one element for each request that is worked on
	door    chan struct{} // holds one element for each that is looked at
}

// Of refusals for want of a token, the log gets this many at once, and then one each
// refusedEvery: the access log has all of them.
const (
	refusedAtOnce = 20
	refusedEvery  = 30 * time.Second
	// doorWait is how long a request waits to be looked at, and for its place.
	doorWait = 5 * time.Second
)

// New returns a Server.
func New(c Config) (*Server, error) {
	if c.URL == nil || c.URL.Host == "" || c.Directory == nil || c.Tokens == nil || c.Log == nil {
		return nil, fmt.Errorf("scim: Config lacks URL, Directory, Tokens or Log: %w", gatehouse.ErrInvalid)
	}
	l := &c.Limits
	if l.PerSecond == 0 {
		l.PerSecond = 25
	}
	if l.Requests == 0 {
		l.Requests = 2
	}
	if l.Time == 0 {
		l.Time = 20 * time.Second
	}
	s := &Server{
		config: c, rate: rate.NewLimiter(rate.Limit(l.PerSecond), 4*l.PerSecond), refused: rate.NewLimiter(rate.Every(refusedEvery), refusedAtOnce),
		places: make(chan struct{}, l.Requests), door: make(chan struct{}, l.Requests),
	}
	s.surface = &wire.Surface{Name: "scim", Log: c.Logger, RenderError: renderError}
	return s, nil
}

func (s *Server) location(parts ...string) string {
	return strings.TrimSuffix(s.config.URL.String(), "/") + base + "/" + strings.Join(parts, "/")
}

// A Route is one thing that is offered.
type Route struct {
	Method, Path string
	serve        func(s *Server, c call) error
}

// Routes are all that are offered: those about groups only where groups give anything.
func (s *Server) Routes() []Route {
	routes := slices.Concat(discovery(), userRoutes())
	if s.config.Directory.HasGroups() {
		routes = append(routes, groupRoutes()...)
	}
	for i := range routes {
		routes[i].Path = base + routes[i].Path
	}
	return routes
}

// call is a request of somebody who has shown a token.
type call struct {
	ctx context.Context //nolint:containedctx // the request's, with its end
	w   http.ResponseWriter
	r   *http.Request
	by  operator.Actor
}

// Handler answers everything below Prefix.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	paths := map[string]map[string]Route{}
	for _, r := range s.Routes() {
		if paths[r.Path] == nil {
			paths[r.Path] = map[string]Route{}
		}
		paths[r.Path][r.Method] = r
	}
	for path, methods := range paths {
		mux.Handle(path, s.surface.Handler(path, s.admitted(func(c call) error {
			route, ok := methods[c.r.Method]
			if !ok {
				return wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "scim/method", "This path does not offer this method."), http.StatusMethodNotAllowed)
			}
			wire.Annotate(c.w, wire.Note{Operation: route.Method + " " + route.Path})
			return route.serve(s, c)
		})))
	}
	mux.Handle("/", s.surface.Handler(Prefix, s.admitted(func(call) error {
		return wire.Refuse(gatehouse.ErrNotFound, "scim/unknown-path", "There is nothing here. The base address ends in "+base+".")
	})))
	return mux
}

var (
	errBusy   = wire.Refuse(gatehouse.ErrUnavailable, "scim/busy", "Too much is asked at once. Try again.")
	errRate   = wire.Refuse(gatehouse.ErrLimited, "scim/rate", "Too many requests. Slow down.")
	errSource = wire.Refuse(gatehouse.ErrDenied, "scim/source", "This is not offered to the network that you ask from.")
	errWeb    = wire.Refuse(gatehouse.ErrDenied, "scim/browser", "This is for identity providers. The request came from a browser, where a token must never be.")
)

// admitted lets those through who show a token, as many and as often as the limits say.
// Nothing of the path, the method or the body is looked at before.
func (s *Server) admitted(next func(call) error) wire.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		ctx, cancel := context.WithTimeout(r.Context(), s.config.Limits.Time)
		defer cancel()
		if !s.from(r) {
			return errSource
		}
		for _, name := range []string{"Origin", "Sec-Fetch-Site", "Cookie"} {
			if len(r.Header[name]) > 0 {
				return errWeb
			}
		}
		token, err := s.known(ctx, r)
		if err != nil {
			if errors.Is(err, errToken) {
				h.Set("WWW-Authenticate", `Bearer realm="SCIM"`)
			}
			return retry(w, err, errBusy)
		}
		if !s.rate.Allow() {
			return retry(w, errRate, errRate)
		}
		leave, err := enter(ctx, s.places)
		if err != nil {
			return retry(w, err, errBusy)
		}
		defer leave()
		// Whoever sends a body slowly loses their place.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.config.Limits.Time))
		return next(call{ctx, w, r, operator.Provisioner(string(token.ID))})
	}
}

func (s *Server) from(r *http.Request) bool {
	if len(s.config.Sources) == 0 {
		return true
	}
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && slices.ContainsFunc(s.config.Sources, func(p netip.Prefix) bool { return p.Contains(at.Addr().Unmap()) })
}

// known returns the token of a request. Of those without one, some are written down.
func (s *Server) known(ctx context.Context, r *http.Request) (Token, error) {
	leave, err := enter(ctx, s.door)
	if err != nil {
		return Token{}, err
	}
	defer leave()
	token, reason, err := s.config.Tokens.authenticate(ctx, r.Header)
	if errors.Is(err, errToken) && s.refused.Allow() {
		s.config.Log.Refusal(audit.Entry{Action: actionRefuse, Verdict: "refuse", Rule: wire.RuleOf(err), Facts: map[string]string{"reason": reason}})
	}
	if err == nil {
		wire.KnownAs(ctx, "scim", maxConnections)
	}
	return token, err
}

// maxConnections is how many connections of identity providers are no strangers'.
const maxConnections = 16

func enter(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
	}
	wait := time.NewTimer(doorWait)
	defer wait.Stop()
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-wait.C:
	case <-ctx.Done():
	}
	return nil, errBusy
}

// retry says when to ask again, if the error is of the kind that passes.
func retry(w http.ResponseWriter, err, passes error) error {
	if errors.Is(err, passes) {
		w.Header().Set("Retry-After", "2")
	}
	return err
}

// body reads the body of a request: one JSON object.
func (c call) body() (object, error) {
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/scim+json" && kind != "application/json" {
		return nil, wire.WithStatus(wire.Refuse(gatehouse.ErrInvalid, "scim/content-type", "The body must be application/scim+json."), http.StatusUnsupportedMediaType)
	}
	raw, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, err
	}
	if err != nil {
		return nil, errSyntax
	}
	return parseObject(raw)
}

// reply writes a resource.
func reply(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}

// mediaType is SCIM's (RFC 7644, 8.1).
const mediaType = "application/scim+json"
