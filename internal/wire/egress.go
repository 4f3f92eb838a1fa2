package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// EgressConfig says where the one HTTP client may go. It is copied.
type EgressConfig struct {
	// Hosts are the only hosts that may be called: "api.x.com" (port 443) or
	// "127.0.0.1:8443", exact, in lower case. None means that nothing may.
	Hosts []string
	// AnyPublicHost lets every other host be called too, with https on port 443
	// and at public addresses only: for addresses that a platform hands out, such
	// as those of X's compliance jobs. Zero means that only Hosts may.
	AnyPublicHost bool
	// Own are addresses that AnyPublicHost never reaches: Gatehouse's own
	// listeners and its public name, as "host:port". An unspecified address
	// (":443") stands for every address of this machine.
	Own []string
	// AllowLoopback permits loopback addresses: the sandbox, never production. It
	// concerns Hosts only.
	AllowLoopback bool
	// AllowPrivate permits addresses of private networks (RFC 1918, fc00::/7), for
	// a host among Hosts that the operator named as their own. Link-local addresses and those
	// that clouds answer credentials on stay refused, also inside those ranges.
	AllowPrivate bool
	// AllowPlainLoopback permits http:// to loopback addresses, for a sandbox
	// without TLS. It needs AllowLoopback.
	AllowPlainLoopback bool
	// AllowMetadata permits one more thing: plain http to MetadataAddress, where a
	// cloud hands a machine its own credentials. Nothing else link-local.
	AllowMetadata bool
	// RootCAs verify the other side. nil means the system's.
	RootCAs *x509.CertPool
	// Resolve finds the addresses of a host. nil means the system's resolver. It is
	// asked once for each connection, and what it said is what is dialled.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// DialTimeout bounds resolving and connecting. Zero means 10 s.
	DialTimeout time.Duration
	// HandshakeTimeout bounds the TLS handshake. Zero means 10 s.
	HandshakeTimeout time.Duration
	// HeaderTimeout bounds the wait from the request's end to the reply's header.
	// Zero means 30 s.
	HeaderTimeout time.Duration
	// Stall bounds a silence in the middle of a body, in either direction. Zero
	// means 60 s; X's streams send a heartbeat every 20 s.
	Stall time.Duration
	// MaxHeaderBytes bounds a reply's header. Zero means 64 KiB.
	MaxHeaderBytes int64
	// MaxReplyBytes bounds a reply's body, except for [Egress.Stream]. Zero means
	// 256 MiB.
	MaxReplyBytes int64
	// MaxIdlePerHost bounds the kept-alive connections to each host. Zero means 128.
	MaxIdlePerHost int
}

// MetadataAddress is where clouds answer a machine about itself, over plain http.
const MetadataAddress = "169.254.169.254"

// Egress is the only HTTP client in Gatehouse. It is safe for concurrent use.
type Egress struct {
	config    EgressConfig
	hosts     map[string]bool
	own       map[string]bool // by hostKey
	ownPorts  map[uint16]bool // on every address of this machine
	transport *http.Transport
}

// NewEgress returns a client for the configured hosts.
func NewEgress(c EgressConfig) (*Egress, error) {
	if c.AllowPlainLoopback && !c.AllowLoopback {
		return nil, fmt.Errorf("setting up egress: plain http to loopback needs loopback to be allowed: %w", gatehouse.ErrInvalid)
	}
	e := &Egress{hosts: make(map[string]bool, len(c.Hosts))}
	for _, h := range c.Hosts {
		key, err := hostKey(h, "443")
		if err != nil {
			return nil, fmt.Errorf("setting up egress: host %q: %w", h, err)
		}
		e.hosts[key] = true
	}
	for _, h := range c.Own {
		if err := e.addOwn(h); err != nil {
			return nil, fmt.Errorf("setting up egress: own address %q: %w", h, err)
		}
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	withDefault(&c.DialTimeout, 10*time.Second)
	withDefault(&c.HandshakeTimeout, 10*time.Second)
	withDefault(&c.HeaderTimeout, 30*time.Second)
	withDefault(&c.Stall, 60*time.Second)
	withDefault(&c.MaxHeaderBytes, 64<<10)
	withDefault(&c.MaxReplyBytes, 256<<20)
	withDefault(&c.MaxIdlePerHost, 128)
	e.config = c
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	e.transport = &http.Transport{
		Proxy:       nil, // never from the environment
		DialContext: e.dial,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			RootCAs:    c.RootCAs,
		},
		TLSHandshakeTimeout:    c.HandshakeTimeout,
		ResponseHeaderTimeout:  c.HeaderTimeout,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           4 * c.MaxIdlePerHost,
		MaxIdleConnsPerHost:    c.MaxIdlePerHost,
		MaxResponseHeaderBytes: c.MaxHeaderBytes,
		// The reply is relayed as it came; decoding is for whoever reads it.
		DisableCompression: true,
		// HTTP/1.1 with kept-alive connections: with HTTP/2 all calls to a platform
		// share one connection and wait for each other's bytes in it. See
		// docs/benchmarks.md for what was measured, and how surely. (net/http sends a request without a
		// body once more when a kept-alive connection ends before the answer; it
		// never does so with a POST.)
		Protocols: protocols,
	}
	return e, nil
}

// hostKey spells a host with its port, the way the allowlist and requests are
// compared. Anything but plain lower-case names and addresses is refused rather
// than cleaned: two spellings of one host must not differ in what is allowed.
func hostKey(host, defaultPort string) (string, error) {
	name, port := host, defaultPort
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil {
		name = ip.String()
	} else if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	if name == "" || portNumber(port) == 0 || strings.HasSuffix(name, ".") {
		return "", fmt.Errorf("not a host: %w", gatehouse.ErrInvalid)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != ':' {
			return "", fmt.Errorf("not a host in plain lower-case letters: %w", gatehouse.ErrInvalid)
		}
	}
	return net.JoinHostPort(name, port), nil
}

// Allows reports whether scheme and host (as in a URL) may be called.
func (e *Egress) Allows(scheme, host string) bool {
	port := "443"
	switch {
	case scheme == "https":
	case scheme == "http" && e.config.AllowMetadata && host == MetadataAddress:
		port = "80"
	case scheme == "http" && e.config.AllowPlainLoopback:
		port = "80"
	default:
		return false
	}
	key, err := hostKey(host, port)
	if err != nil {
		return false
	}
	return e.hosts[key] || e.config.AnyPublicHost && scheme == "https" && strings.HasSuffix(key, ":443") && !e.own[key]
}

// addOwn notes an address that may not be called.
func (e *Egress) addOwn(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || portNumber(port) == 0 {
		return fmt.Errorf("not host:port: %w", gatehouse.ErrInvalid)
	}
	if e.own == nil {
		e.own, e.ownPorts = map[string]bool{}, map[uint16]bool{}
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		e.ownPorts[portNumber(port)] = true
		return nil
	}
	key, err := hostKey(strings.ToLower(host), port)
	if err != nil {
		return err
	}
	e.own[key] = true
	return nil
}

// isOwn reports whether an address that a name led to is Gatehouse itself. Behind
// a translation of addresses it cannot know; the name stands in Own then.
func (e *Egress) isOwn(a netip.Addr, port uint16) bool {
	a = a.Unmap()
	if e.own[netip.AddrPortFrom(a, port).String()] {
		return true
	}
	if !e.ownPorts[port] {
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

// check refuses a request before anything is resolved or sent.
func (e *Egress) check(r *http.Request) error {
	if r.URL == nil || r.URL.User != nil || !e.Allows(r.URL.Scheme, r.URL.Host) {
		return BadGateway("egress/host", "Gatehouse does not call this host.", nil)
	}
	if r.Host != "" && r.Host != r.URL.Host {
		return BadGateway("egress/host-header", "The Host header does not name the host that is called.", nil)
	}
	if r.Header.Get("Upgrade") != "" {
		return BadGateway("egress/upgrade", "Protocol upgrades are not passed on.", nil)
	}
	return nil
}

// RoundTrip sends one request to an allowed host and returns the reply, whatever
// its status: redirects too, which are for the caller to judge. Errors, also
// those of reading the body, are [BadGateway] or [GatewayTimeout] and do not
// repeat anything of the request or the reply; when r's own context was cancelled
// the error is that. It implements http.RoundTripper.
func (e *Egress) RoundTrip(r *http.Request) (*http.Response, error) {
	return e.send(r, e.config.MaxReplyBytes)
}

// Stream is RoundTrip for replies that have no end: their size is not bounded,
// silence in them still is.
func (e *Egress) Stream(r *http.Request) (*http.Response, error) {
	return e.send(r, 0)
}

func (e *Egress) send(r *http.Request, limit int64) (*http.Response, error) {
	if err := e.check(r); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	reply, err := e.transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		err = upstreamError(r.Context(), err)
		cancel(nil)
		return nil, err
	}
	if reply.StatusCode == http.StatusSwitchingProtocols {
		reply.Body.Close()
		cancel(nil)
		return nil, BadGateway("upstream/protocol", "The platform changed the protocol.", nil)
	}
	reply.Body = newReplyBody(r.Context(), reply.Body, cancel, e.config.Stall, limit)
	reply.Request = r
	return reply, nil
}

// Client returns an http.Client over e, for libraries that want one. It follows
// no redirect. Its errors are wrapped by net/http in a *url.Error that repeats
// the address: log them with [LogText].
func (e *Egress) Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: e,
		Timeout:   timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return BadGateway("upstream/redirect", "The platform answered with a redirect, which is not followed.", nil)
		},
	}
}

// CloseIdle closes connections that nobody uses.
func (e *Egress) CloseIdle() { e.transport.CloseIdleConnections() }

// dial resolves once, judges every address, and connects to one of those judged:
// a second answer of the resolver never matters.
func (e *Egress) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.DialTimeout)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, BadGateway("egress/host", "The address cannot be read.", nil)
	}
	addrs, err := e.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	key, err := hostKey(addr, "443")
	listed := err == nil && e.hosts[key]
	for _, a := range addrs {
		if !listed && e.isOwn(a, portNumber(port)) {
			return nil, BadGateway("egress/own-address", "The host's name leads back to Gatehouse itself.", nil)
		}
		class := Classify(a)
		if class == AddressPublic || listed && e.mayDial(addr, a, class) {
			continue
		}
		return nil, BadGateway("egress/address", "The host's name leads to an address that is not allowed ("+string(class)+").", nil)
	}
	var last error
	for i, a := range addrs {
		// Each address gets its share of what is left, so that one that swallows
		// packets does not use up the others' time.
		deadline, _ := ctx.Deadline()
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		dialer := net.Dialer{Timeout: share, KeepAlive: 30 * time.Second}
		conn, err := dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(a, portNumber(port)).String())
		if err == nil {
			return &stallConn{conn, e.config.Stall}, nil
		}
		last = err
	}
	return nil, last
}

// mayDial judges one address that the name of a listed host led to; addr is what was
// asked for.
func (e *Egress) mayDial(addr string, a netip.Addr, class AddressClass) bool {
	switch class {
	case AddressPublic:
		return true
	case AddressLoopback:
		return e.config.AllowLoopback
	case AddressPrivate:
		return e.config.AllowPrivate
	case AddressMetadata:
		// The address itself must have been asked for: no name may lead there.
		return e.config.AllowMetadata && addr == net.JoinHostPort(MetadataAddress, "80") && a.String() == MetadataAddress
	default:
		return false
	}
}

// portNumber returns 0 for what is no number of a port.
func portNumber(port string) uint16 {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

func (e *Egress) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	addrs, err := e.config.Resolve(ctx, host)
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
