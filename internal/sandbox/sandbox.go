// Package sandbox runs an emulation of X and of Meta over real HTTP or HTTPS,
// good enough that a client library cannot tell: one listener for what x.com and
// api.x.com serve, one for Meta's hosts, and beside each a control API under
// /_sandbox/.
//
// It promises to hold everything in memory, to call nothing but this machine,
// and to remember every secret that it issued. It must never import another
// package of the product, so that a mistake there cannot confirm itself here.
package sandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gatehouse/internal/sandbox/meta"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/sandbox/x"
)

// Config says what to run. The zero value runs both platforms on free ports of
// 127.0.0.1 over plain HTTP with the platforms' documented lifetimes and limits.
type Config struct {
	// XAddr and MetaAddr are listen addresses; empty means a free port of
	// 127.0.0.1.
	XAddr, MetaAddr string
	// TLS makes both listeners HTTPS; nil means plain HTTP.
	TLS *tls.Config
	// XTokenTTL is the life of X's access tokens; zero means two hours.
	XTokenTTL time.Duration
	// MetaShortTTL, MetaLongTTL, IGTTL and ThreadsTTL are the lives of Meta's
	// tokens; zero means one hour and three times sixty days.
	MetaShortTTL, MetaLongTTL, IGTTL, ThreadsTTL time.Duration
	// XOpenAPI is the path of X's OpenAPI document; empty means only the
	// operations that are built in.
	XOpenAPI string
	// XApp gives X's app fixed credentials; empty fields are made up.
	XApp x.App
	// XRateFactor multiplies X's documented rate limits; zero means one, negative
	// means that nothing is limited.
	XRateFactor int
	// XAllowDuplicates lets a person post the same text twice in a row.
	XAllowDuplicates bool
	// XHeartbeat is how often a quiet stream of X sends an empty line; zero means
	// 20 seconds.
	XHeartbeat time.Duration
	// XSampleEvery is the pace of X's sampled stream; zero means one second.
	XSampleEvery time.Duration
	// RedirectURIs are the callbacks registered for every app, compared exactly.
	RedirectURIs []string
	// FamilyKill makes a spent refresh token of X revoke its whole family.
	FamilyKill bool
	// RequireProof is Meta's "Require App Secret" switch.
	RequireProof bool
	// WebhookHosts maps the host names of webhooks to loopback addresses.
	WebhookHosts map[string]string
	// WebhookTLS verifies webhook receivers; nil means the system's.
	WebhookTLS *tls.Config
	// Log receives warnings; nil discards them.
	Log *slog.Logger
}

// Apps are the registered apps' credentials.
type Apps struct {
	X         x.App    `json:"x"`
	Facebook  meta.App `json:"facebook"`
	Instagram meta.App `json:"instagram"`
	Threads   meta.App `json:"threads"`
}

// Server is a running sandbox.
type Server struct {
	// XURL and MetaURL are the addresses of the listeners, without a last slash.
	XURL, MetaURL string
	// X and Meta are the platforms themselves, for what no client can do.
	X    *x.Platform
	Meta *meta.Platform

	clock    *world.Clock
	ledger   *world.Ledger
	faults   *world.Faults
	requests *world.Requests

	servers []*http.Server
	ctx     context.Context // ends with cancel; Close derives its timeout from it
	cancel  context.CancelFunc
	running sync.WaitGroup
	closing sync.Once
}

// Start runs the sandbox until ctx ends or Close is called. When it returns
// without an error both listeners accept.
func Start(ctx context.Context, c Config) (*Server, error) {
	s := &Server{clock: &world.Clock{}, ledger: &world.Ledger{}, faults: &world.Faults{}, requests: &world.Requests{}}
	var err error
	s.X, err = x.New(x.Config{
		Clock: s.clock, Ledger: s.ledger, App: c.XApp, RedirectURIs: c.RedirectURIs, TokenTTL: c.XTokenTTL,
		FamilyKill: c.FamilyKill, AllowDuplicates: c.XAllowDuplicates, RateFactor: c.XRateFactor,
		Heartbeat: c.XHeartbeat, SampleEvery: c.XSampleEvery, OpenAPI: c.XOpenAPI,
		WebhookHosts: c.WebhookHosts, WebhookTLS: c.WebhookTLS, Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox's X: %w", err)
	}
	s.Meta, err = meta.New(meta.Config{
		Clock: s.clock, Ledger: s.ledger, ShortTTL: c.MetaShortTTL, LongTTL: c.MetaLongTTL, IGTTL: c.IGTTL, ThreadsTTL: c.ThreadsTTL,
		RequireProof: c.RequireProof, RedirectURIs: c.RedirectURIs, BaseURL: func() string { return s.MetaURL },
		Client: webhookClient(c), Log: c.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("starting the sandbox's Meta: %w", err)
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.ctx = ctx
	if err := s.listen(ctx, c); err != nil {
		s.cancel()
		return nil, errors.Join(err, s.Meta.Close())
	}
	s.running.Go(func() { _ = s.X.Run(ctx) })
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

// listen opens both listeners before either serves, so that the addresses are
// known to every handler.
func (s *Server) listen(ctx context.Context, c Config) error {
	var config net.ListenConfig
	listeners := make([]net.Listener, 0, 2)
	for _, address := range []string{c.XAddr, c.MetaAddr} {
		if address == "" {
			address = "127.0.0.1:0"
		}
		listener, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return fmt.Errorf("opening the sandbox's listener: %w", err)
		}
		listeners = append(listeners, listener)
	}
	scheme := "http"
	if c.TLS != nil {
		scheme = "https"
	}
	s.XURL = scheme + "://" + listeners[0].Addr().String()
	s.MetaURL = scheme + "://" + listeners[1].Addr().String()
	for i, handler := range []http.Handler{s.handler("x", s.X, nil), s.handler("meta", s.Meta, s.Meta.Control())} {
		server := &http.Server{
			Handler: handler, TLSConfig: c.TLS.Clone(), ReadHeaderTimeout: 10 * time.Second,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		}
		s.servers = append(s.servers, server)
		listener := listeners[i]
		s.running.Go(func() {
			if c.TLS != nil {
				_ = server.ServeTLS(listener, "", "")
			} else {
				_ = server.Serve(listener)
			}
		})
	}
	return nil
}

// handler puts a platform behind the record of requests and the faults, with the
// control API beside it.
func (s *Server) handler(name string, platform, control http.Handler) http.Handler {
	// A mux cleans paths and redirects. The platforms must see paths as they
	// came, so only the control API goes through one.
	commands := s.control(control)
	disturbed := s.requests.Middleware(name, s.faults.Middleware(platform))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isControl(r) {
			commands.ServeHTTP(w, r)
			return
		}
		disturbed.ServeHTTP(w, r)
	})
}

// Apps returns the registered apps' credentials.
func (s *Server) Apps() Apps {
	apps := s.Meta.Apps()
	return Apps{X: s.X.App(), Facebook: apps.Facebook, Instagram: apps.Instagram, Threads: apps.Threads}
}

// People returns the user names of the people in the sandbox's world.
func (s *Server) People() []string {
	var names []string
	for _, person := range world.People() {
		names = append(names, person.Username)
	}
	return names
}

// Ledger returns every secret that was ever issued.
func (s *Server) Ledger() []world.Issued { return s.ledger.All() }

// Requests returns the n most recent requests, oldest first; zero means all that
// are remembered.
func (s *Server) Requests(n int) []world.Request { return s.requests.Last(n) }

// Fault orders a disturbance of a later request.
func (s *Server) Fault(fault world.Fault) error { return s.faults.Add(fault) }

// ClearFaults cancels the disturbances that are still waiting.
func (s *Server) ClearFaults() { s.faults.Clear() }

// SetSkew makes both platforms' clocks differ from the machine's.
func (s *Server) SetSkew(d time.Duration) { s.clock.SetSkew(d) }

// SetRedirectURIs replaces the callbacks registered for every app.
func (s *Server) SetRedirectURIs(uris []string) {
	s.X.SetRedirectURIs(uris)
	s.Meta.SetRedirectURIs(uris)
}

// Revoke kills any token that either platform issued and reports whether there
// was one.
func (s *Server) Revoke(token string) bool {
	// Not short-circuited: nobody promises that the platforms' tokens differ.
	onX, onMeta := s.X.Revoke(token), s.Meta.Revoke(token)
	return onX || onMeta
}

// closeTimeout is how long Close waits for requests under way.
const closeTimeout = 2 * time.Second

// Close ends the streams, lets other requests finish for a moment, and waits
// until everything that Start began has ended.
func (s *Server) Close() error {
	var err error
	s.closing.Do(func() {
		s.X.Close()
		for _, server := range s.servers {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), closeTimeout)
			if server.Shutdown(ctx) != nil {
				_ = server.Close()
			}
			cancel()
		}
		s.cancel()
		s.running.Wait()
		err = s.Meta.Close()
	})
	return err
}
