// Package gateway carries the app's calls to the platforms. It owns the way of
// one call: which platform and operation it is, whose handle it carries, whether
// a purpose declares it, what of it is sent on and what of the reply is given
// back.
//
// It promises that nothing is opened or sent before the call's intent is durable
// in the log; that a handle never leaves for a platform and a platform's token
// never leaves for the caller; that what no purpose declares is refused with a
// reason; and that every call, however it ends, has its outcome in the log.
//
// It must never choose a host by what the caller wrote, keep a credential beyond
// the call, or pass on a reply in which a token could not be replaced.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// Gateway answers everything on the app listener but the app's own API. It is
// safe for concurrent use.
type Gateway struct {
	config    Config
	settings  atomic.Pointer[Settings]
	upstreams map[platform.Name]bases
	limits    *limiter
	// replyNames holds what reads the names of replies, by platform.
	replyNames map[platform.Name]*sync.Pool
	log        *slog.Logger

	closing chan struct{} // closed by CloseStreams
	closed  sync.Once
}

// New returns a gateway.
func New(c Config) (*Gateway, error) {
	for name, missing := range map[string]bool{
		"Surface": c.Surface == nil, "Egress": c.Egress == nil, "Log": c.Log == nil,
		"Handles": c.Handles == nil, "Connections": c.Connections == nil, "Settings.Policy": c.Settings.Policy == nil,
	} {
		if missing {
			return nil, fmt.Errorf("gateway: Config.%s is missing: %w", name, gatehouse.ErrInvalid)
		}
	}
	c.Limits.fill()
	if c.Budgets == nil {
		c.Budgets = budget.New(budget.Config{Now: c.Connections.PlatformTime})
	}
	g := &Gateway{config: c, limits: newLimiter(c.Limits), log: c.Logger, closing: make(chan struct{})}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if g.upstreams, err = c.upstreams(); err != nil {
		return nil, err
	}
	g.replyNames = map[platform.Name]*sync.Pool{}
	for _, p := range platform.Names() {
		g.replyNames[p] = &sync.Pool{New: func() any { return platform.NewReplyNames(p) }}
	}
	c.Settings.narrowings = new(sync.Map)
	g.settings.Store(&c.Settings)
	return g, nil
}

// Apply replaces the settings for the calls that begin from now on. The maps in
// s must not be changed afterwards.
func (g *Gateway) Apply(s Settings) error {
	if s.Policy == nil {
		return fmt.Errorf("gateway: Settings.Policy is missing: %w", gatehouse.ErrInvalid)
	}
	s.narrowings = new(sync.Map)
	g.settings.Store(&s)
	return nil
}

// CloseStreams ends the open streams, because a server that stops would wait for
// them.
func (g *Gateway) CloseStreams() { g.closed.Do(func() { close(g.closing) }) }

// Admit takes cost requests from a service's rate, for what the app listener
// answers beside calls.
func (g *Gateway) Admit(name gatehouse.ServiceName, cost int) error {
	return g.limits.admit(name, g.settings.Load().Services[name], cost)
}

// Handler returns the handler of the whole app listener. It must not stand
// behind an http.ServeMux, which cleans paths and redirects: a path that could
// be read in two ways is refused here instead.
func (g *Gateway) Handler() http.Handler {
	calls := g.config.Surface.Handler("gateway", g.serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.config.API != nil && (r.URL.Path == "/gatehouse" || strings.HasPrefix(r.URL.Path, "/gatehouse/")) {
			g.config.API.ServeHTTP(w, r)
			return
		}
		calls.ServeHTTP(w, r)
	})
}

// serve is the way of one call.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) error {
	c := &call{gateway: g, settings: g.settings.Load(), w: w, r: r}
	defer c.release()
	if g.config.Done != nil {
		c.start()
		defer c.done()
	}
	if err := c.judge(r.Context()); err != nil {
		return c.refuse(err)
	}
	c.reached(&c.went.Judged)
	err := errPanicked
	defer func() { c.end(err) }() // also when what follows panics
	if err = c.begin(r.Context()); err == nil {
		c.reached(&c.went.Recorded)
		err = errPanicked
		err = c.carry(r.Context())
		c.observe()
	}
	if errors.Is(err, context.Canceled) {
		err = wire.WithStatus(err, statusGone)
	}
	return wire.WithInstance(err, c.receipt.ID())
}

// errPanicked is the outcome of a call in whose handler something broke.
var errPanicked = errors.New("the handler panicked")

// judge does everything that can be done before anything happens: it reads the
// request, finds out who calls, names the call, and asks the policy.
func (c *call) judge(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		c.enter, c.read, c.identify, c.join, c.classify, c.inspect, c.openBatch, c.decide, c.admit, c.afford,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// carry answers the call: OAuth endpoints by ourselves, batches item by item,
// everything else by the platform.
func (c *call) carry(ctx context.Context) error {
	ctx, cancel := c.deadline(ctx)
	defer cancel()
	if c.class.Endpoint != platform.None {
		if answer := endpoints[c.class.Endpoint]; answer != nil {
			return answer(c, ctx)
		}
	}
	reply, err := c.send(ctx)
	if err != nil {
		return err
	}
	defer reply.Body.Close()
	switch {
	case c.class.Streaming:
		return c.stream(ctx, reply)
	case c.class.Batch:
		return c.relayBatch(ctx, reply)
	}
	return c.relay(ctx, reply)
}

// deadline bounds a call that is no stream, and makes a stream one that can be
// cut.
func (c *call) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.class.Streaming {
		ctx, c.cut = context.WithCancelCause(ctx)
		return ctx, func() { c.cut(nil) }
	}
	return context.WithTimeoutCause(ctx, c.gateway.config.Limits.CallTimeout, errCallTimeout)
}

// errCallTimeout ends a call that took too long although the platform was never
// silent for long.
var errCallTimeout = errors.New("the call took longer than the configuration allows")
