package wire

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse"
)

// DialerConfig says how connections out are made. It is copied.
type DialerConfig struct {
	// Own are addresses of Gatehouse itself that no name may lead to, beside the
	// listeners of this process, which are known: its public name, what stands in
	// front of it, listeners of other processes. "host:port"; an unspecified address
	// (":443") stands for every address of this machine.
	Own []string
	// Resolve finds the addresses of a host. nil means the system's resolver. It is
	// asked once for each connection, and what it said is what is dialled.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Timeout bounds resolving and connecting. Zero means 10 s.
	Timeout time.Duration
}

// Reach is what one connection may lead to beside public addresses. The zero value
// is public addresses only.
type Reach struct {
	// Loopback permits loopback addresses.
	Loopback bool
	// Private permits addresses of private networks (RFC 1918, fc00::/7). Link-local
	// addresses and those that clouds answer credentials on stay refused, also
	// inside those ranges.
	Private bool
	// Metadata permits MetadataAddress on port 80, if it is what was asked for: no
	// name may lead there.
	Metadata bool
	// Own permits what leads back to Gatehouse.
	Own bool
}

// Dialer makes every connection out: it resolves once, judges every address, and
// connects to one of those that it judged. It is safe for concurrent use.
type Dialer struct {
	config   DialerConfig
	own      map[string]bool // by hostKey
	ownPorts map[uint16]bool // on every address of this machine
}

// NewDialer returns a dialer.
func NewDialer(c DialerConfig) (*Dialer, error) {
	d := &Dialer{}
	for _, h := range c.Own {
		if err := d.addOwn(h); err != nil {
			return nil, fmt.Errorf("own address %q: %w", h, err)
		}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	withDefault(&c.Timeout, 10*time.Second)
	d.config = c
	return d, nil
}

// Dial connects to host, a name or an address. Its errors are [BadGateway] and
// [GatewayTimeout]; when ctx was cancelled the error is that. The connection is the
// bare one of TCP: whoever uses it bounds its silences.
func (d *Dialer) Dial(ctx context.Context, host string, port uint16, reach Reach) (net.Conn, error) {
	conn, err := d.dial(ctx, host, port, reach)
	if err != nil {
		return nil, destinationError(ctx, err)
	}
	return conn, nil
}

// dial is Dial with the errors as they came.
func (d *Dialer) dial(ctx context.Context, host string, port uint16, reach Reach) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Timeout)
	defer cancel()
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if !reach.Own && d.isOwn(a, port) {
			return nil, BadGateway("egress/own-address", "The host's name leads back to Gatehouse itself.", nil)
		}
		if class := Classify(a); !reach.permits(class, host, port) {
			return nil, BadGateway("egress/address", "The host's name leads to an address that is not allowed ("+string(class)+").", nil)
		}
	}
	var last error
	for i, a := range addrs {
		// Each address gets its share of what is left, so that one that swallows
		// packets does not use up the others' time.
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		dialer := net.Dialer{Timeout: share, KeepAlive: 30 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, port).String())
		if err == nil {
			return conn, nil
		}
		last = err
	}
	return nil, last
}

// permits judges one address that host led to, by its class.
func (r Reach) permits(class AddressClass, host string, port uint16) bool {
	switch class {
	case AddressPublic:
		return true
	case AddressLoopback:
		return r.Loopback
	case AddressPrivate:
		return r.Private
	case AddressMetadata:
		return r.Metadata && host == MetadataAddress && port == 80
	default:
		return false
	}
}

func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	addrs, err := d.config.Resolve(ctx, host)
	if err != nil {
		return nil, &resolveError{err}
	}
	if len(addrs) == 0 {
		return nil, &resolveError{fmt.Errorf("no address")}
	}
	return addrs, nil
}

// resolveError marks a name that could not be resolved.
type resolveError struct{ err error }

func (e *resolveError) Error() string { return "resolving: " + e.err.Error() }
func (e *resolveError) Unwrap() error { return e.err }

// addOwn notes an address that may not be called.
func (d *Dialer) addOwn(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || portNumber(port) == 0 {
		return fmt.Errorf("not host:port: %w", gatehouse.ErrInvalid)
	}
	if d.own == nil {
		d.own, d.ownPorts = map[string]bool{}, map[uint16]bool{}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		d.ownPorts[portNumber(port)] = true
		return nil
	}
	key, err := hostKey(strings.ToLower(host), port)
	if err != nil {
		return err
	}
	d.own[key] = true
	return nil
}

// Own reports whether host, as it is asked for, is a name or an address of
// Gatehouse's by configuration. Where a name leads is judged when it is dialled.
func (d *Dialer) Own(host string, port uint16) bool {
	return d.own[net.JoinHostPort(host, strconv.Itoa(int(port)))]
}

// isOwn reports whether an address that a name led to is Gatehouse itself. Behind
// a translation of addresses it cannot know; the name stands in Own then.
func (d *Dialer) isOwn(a netip.Addr, port uint16) bool {
	a = a.Unmap()
	if d.own[netip.AddrPortFrom(a, port).String()] || bound.has(netip.AddrPortFrom(a, port)) {
		return true
	}
	if !d.ownPorts[port] && !bound.everywhere(port) {
		return false
	}
	ours, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, o := range ours {
		if prefix, err := netip.ParsePrefix(o.String()); err == nil && prefix.Addr().Unmap() == a {
			return true
		}
	}
	return false
}

// bound are the addresses that this process listens on. They belong to the process
// as its listeners do, so that no dialer can forget one.
var bound listeners

// listeners counts bound addresses.
type listeners struct {
	mu sync.Mutex // guards at
	at map[netip.AddrPort]int
}

// add notes a listener's address until the function that it returns is called.
func (l *listeners) add(a net.Addr) (remove func()) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return func() {}
	}
	at := tcp.AddrPort()
	at = netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil {
		l.at = map[netip.AddrPort]int{}
	}
	l.at[at]++
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.at[at]--; l.at[at] == 0 {
			delete(l.at, at)
		}
	})
}

func (l *listeners) has(at netip.AddrPort) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at[at] > 0
}

// everywhere reports whether a listener has the port on every address.
func (l *listeners) everywhere(port uint16) bool {
	return l.has(netip.AddrPortFrom(netip.IPv6Unspecified(), port)) || l.has(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
}
