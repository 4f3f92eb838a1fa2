package egress

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// Config says what a Proxy works with. It is copied and never changed; what the
// operator may change while the process runs stands in Settings.
type Config struct {
	// Surface renders errors and writes access lines. Required.
	Surface *wire.Surface
	// Dialer makes the connections out. Required.
	Dialer *wire.Dialer
	// Log holds intents, outcomes and refusals. Required.
	Log *audit.Log
	// Directory knows the services. Required.
	Directory *identity.Directory
	// Settings are what is declared, to begin with; see [Proxy.Apply]. Required.
	Settings Settings
	// Admit takes a number of requests from a service's rate, or refuses them. Nil
	// admits all.
	Admit func(gatehouse.ServiceName, int) error
	// Platform reports whether a host is one of the platforms', which are reached
	// through the gateway only. Nil means that none is.
	Platform func(host string) bool
	// Inspector looks into requests without TLS. Nil means that nothing does, and
	// that a destination with inspection gets none.
	Inspector Inspector
	// Terminate carries tunnels to destinations that are looked into. Nil means that
	// there are none: the tunnel is refused.
	Terminate Terminate
	// Limits bound one process. Zero fields take their defaults.
	Limits Limits
	// Logger gets what has no caller to be told. nil drops it.
	Logger *slog.Logger
}

// Limits bound one process.
type Limits struct {
	// Tunnels bounds the tunnels that are open at once; of one service at most half
	// of them. Zero means 1024.
	Tunnels int
	// Requests bounds the requests without TLS under way at once. Zero means 256.
	Requests int
	// RequestTime bounds a request without TLS. Zero means 15 minutes.
	RequestTime time.Duration
	// HelloTime bounds the time until a tunnel's first message, TLS's ClientHello, is
	// complete. Zero means 10 s.
	HelloTime time.Duration
	// Idle ends a tunnel in which nothing moved for so long, or whose reader takes
	// nothing. Zero means 10 minutes.
	Idle time.Duration
	// TunnelTime ends a tunnel, however busy. Zero means never.
	TunnelTime time.Duration
	// Check is how often the key with which an open tunnel was asked for is looked at
	// again. Zero means 10 s.
	Check time.Duration
	// Grace is how long tunnels may go on after Run's context ends. Zero means 5 s.
	Grace time.Duration
	// HoldBytes bounds how much of a body inspection may hold back. Zero means 1 MiB.
	HoldBytes int
	// StrangersPerSecond bounds refusals of unknown callers that get an entry of
	// their own in the log, and those of each service, which may have twenty seconds'
	// worth at once. Zero means 50.
	StrangersPerSecond int
}

func (l *Limits) fill() {
	def(&l.Tunnels, 1024)
	def(&l.Requests, 256)
	def(&l.RequestTime, 15*time.Minute)
	def(&l.HelloTime, 10*time.Second)
	def(&l.Idle, 10*time.Minute)
	def(&l.Check, 10*time.Second)
	def(&l.Grace, 5*time.Second)
	def(&l.HoldBytes, 1<<20)
	def(&l.StrangersPerSecond, 50)
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Settings are what the operator declares and may change at run time.
type Settings struct {
	// Policy knows purposes and destinations. Required.
	Policy *policy.Set
	// Services are the services of the configuration.
	Services map[gatehouse.ServiceName]Service
	// Routes are how destinations are reached that are not simply asked for by
	// their name, by host.
	Routes map[string]Route
}

// Service is the proxy's view of one service.
type Service struct {
	// Purposes are those that the service may send for.
	Purposes []gatehouse.PurposeName
	// Sources are the networks it may call from. None means any.
	Sources []netip.Prefix
}

// Route is how a destination is reached. The zero value is by its name, at public
// addresses, verified by the system's authorities.
type Route struct {
	// Private lets its name lead to addresses of private networks.
	Private bool
	// Address is dialled in the place of what the name leads to: a stand-in on
	// loopback, outside production. Zero means the name.
	Address netip.AddrPort
	// Roots verify the destination where it is looked into. nil means the system's.
	Roots *x509.CertPool
}

// equal reports whether both lead to the same, verified alike. A reload reads the
// authorities again, so it is their content that counts.
func (r Route) equal(o Route) bool {
	if r.Private != o.Private || r.Address != o.Address || (r.Roots == nil) != (o.Roots == nil) {
		return false
	}
	return r.Roots == nil || r.Roots.Equal(o.Roots)
}

// dial connects to a host by its route.
func (p *Proxy) dial(ctx context.Context, host string, port uint16) (net.Conn, error) {
	route := p.settings.Load().Routes[host]
	if a := route.Address; a.IsValid() {
		// The operator named this address, so it may be on this machine. (That it is
		// none of our own listeners is checked with the configuration.)
		return p.config.Dialer.Dial(ctx, a.Addr().String(), a.Port(), wire.Reach{Loopback: true, Own: true})
	}
	return p.config.Dialer.Dial(ctx, host, port, wire.Reach{Private: route.Private})
}

func (c *Config) check() error {
	for name, missing := range map[string]bool{
		"Surface": c.Surface == nil, "Dialer": c.Dialer == nil, "Log": c.Log == nil, "Directory": c.Directory == nil,
		"Settings.Policy": c.Settings.Policy == nil,
	} {
		if missing {
			return fmt.Errorf("egress: Config.%s is missing: %w", name, gatehouse.ErrInvalid)
		}
	}
	return nil
}
