package egress

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Proxy answers everything on the proxy listener. It is safe for concurrent use.
// Run must be running as long as it serves.
type Proxy struct {
	config   Config
	settings atomic.Pointer[Settings]
	limits   *limiter
	forward  *wire.Forward

	mu      sync.Mutex // guards tunnels and closing
	tunnels map[*exchange]struct{}
	closing bool
	ended   sync.WaitGroup // counts tunnels
}

// New returns a proxy.
func New(c Config) (*Proxy, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Limits.fill()
	if c.Admit == nil {
		c.Admit = func(gatehouse.ServiceName, int) error { return nil }
	}
	if c.Platform == nil {
		c.Platform = func(string) bool { return false }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Proxy{config: c, limits: newLimiter(c.Limits), tunnels: map[*exchange]struct{}{}}
	p.settings.Store(&c.Settings)
	p.forward = wire.NewForward(wire.ForwardConfig{Dial: p.dial})
	return p, nil
}

// Apply replaces the settings. Tunnels that they do not allow any more are ended.
// The maps in s must not be changed afterwards.
func (p *Proxy) Apply(s Settings) error {
	c := p.config
	c.Settings = s
	if err := c.check(); err != nil {
		return err
	}
	p.settings.Store(&s)
	p.forward.CloseIdle() // they may lead to where they no longer may
	for _, x := range p.open() {
		if d, err := x.decide(&s); err != nil || d.Inspect != x.decision.Inspect || !x.route.equal(s.Routes[x.host]) {
			x.cut(errRules)
		}
	}
	return nil
}

// Why tunnels are cut.
var (
	errRules   = wire.Refuse(gatehouse.ErrDenied, "tunnel/rules", "the configuration no longer allows this tunnel")
	errKey     = wire.Refuse(gatehouse.ErrDenied, "tunnel/key", "the key with which this tunnel was asked for is no longer accepted")
	errStopped = wire.Refuse(gatehouse.ErrUnavailable, "tunnel/stopped", "Gatehouse was stopped")
	errTime    = wire.Refuse(gatehouse.ErrLimited, "tunnel/time", "the tunnel was open as long as the configuration allows")
	errIdle    = wire.Refuse(gatehouse.ErrLimited, "tunnel/idle", "nothing moved in the tunnel for too long")
)

// Handler returns the handler of the whole proxy listener. It must not stand
// behind an http.ServeMux, and its server must not speak HTTP/2.
func (p *Proxy) Handler() http.Handler { return p.config.Surface.Handler("egress", p.serve) }

// Run looks after open tunnels until ctx ends, gives those under way the grace
// period, ends them, and returns when the outcome of each is with the log.
func (p *Proxy) Run(ctx context.Context) error {
	check := time.NewTicker(p.config.Limits.Check)
	defer check.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-check.C:
			p.recheck(ctx)
		}
	}
	p.mu.Lock()
	p.closing = true
	p.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		p.ended.Wait()
		close(ended)
	}()
	grace := time.NewTimer(p.config.Limits.Grace)
	defer grace.Stop()
	select {
	case <-ended:
	case <-grace.C:
		for _, x := range p.open() {
			x.cut(errStopped)
		}
		<-ended
	}
	p.forward.CloseIdle()
	return nil
}

// recheck ends the tunnels whose key would not be accepted any more. One that
// cannot be looked up now decides nothing.
func (p *Proxy) recheck(ctx context.Context) {
	for _, x := range p.open() {
		if _, err := p.config.Directory.AuthenticateService(ctx, x.key); errors.Is(err, gatehouse.ErrDenied) {
			x.cut(errKey)
		}
	}
}

func (p *Proxy) open() []*exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]*exchange, 0, len(p.tunnels))
	for x := range p.tunnels {
		list = append(list, x)
	}
	return list
}

// register notes an open tunnel until x is released, which is when its outcome is
// with the log.
func (p *Proxy) register(x *exchange) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return errStopped
	}
	p.tunnels[x] = struct{}{}
	p.ended.Add(1)
	x.releases = append(x.releases, func() {
		p.mu.Lock()
		delete(p.tunnels, x)
		p.mu.Unlock()
		p.ended.Done()
	})
	return nil
}

// serve is the way of one request.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) error {
	x := &exchange{proxy: p, settings: p.settings.Load(), w: w, r: r}
	defer x.release()
	if err := x.judge(r.Context()); err != nil {
		return x.refuse(err)
	}
	err := errPanicked
	defer func() { x.end(err) }() // also when what follows panics
	if err = x.begin(r.Context()); err == nil {
		err = errPanicked
		if x.tunnel {
			err = x.carryTunnel(r.Context())
		} else {
			err = x.carryPlain(r.Context())
		}
	}
	if errors.Is(err, context.Canceled) {
		err = wire.WithStatus(err, statusGone)
	}
	return wire.WithInstance(err, x.receipt.ID())
}

// errPanicked is the outcome of a request in whose handler something broke.
var errPanicked = errors.New("the handler panicked")

// statusGone is what access lines and entries say of a caller that hung up; no
// one receives it.
const statusGone = 499
