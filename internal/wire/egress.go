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
	// Certificate, if not nil, is what the other side gets when it asks who calls;
	// see [ClientCertificate]. It is shown to every host, so it goes with one.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// ServerName is the name that the other side's certificate must be for, if that
	// is not its host. It goes with one host.
	ServerName string
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
	dialer    *Dialer
	transport *http.Transport
}

// NewEgress returns a client for the configured hosts.
func NewEgress(c EgressConfig) (*Egress, error) {
	if c.AllowPlainLoopback && !c.AllowLoopback {
		return nil, fmt.Errorf("setting up egress: plain http to loopback needs loopback to be allowed: %w", gatehouse.ErrInvalid)
	}
	if (c.Certificate != nil || c.ServerName != "") && (len(c.Hosts) != 1 || c.AnyPublicHost) {
		return nil, fmt.Errorf("setting up egress: a client certificate and a server name go with one host: %w", gatehouse.ErrInvalid)
	}
	e := &Egress{hosts: make(map[string]bool, len(c.Hosts))}
	for _, h := range c.Hosts {
		key, err := hostKey(h, "443")
		if err != nil {
			return nil, fmt.Errorf("setting up egress: host %q: %w", h, err)
		}
		e.hosts[key] = true
	}
	var err error
	if e.dialer, err = NewDialer(DialerConfig{Own: c.Own, Resolve: c.Resolve, Timeout: c.DialTimeout}); err != nil {
		return nil, fmt.Errorf("setting up egress: %w", err)
	}
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
			MinVersion:           tls.VersionTLS12,
			RootCAs:              c.RootCAs,
			GetClientCertificate: c.Certificate,
			ServerName:           c.ServerName,
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
	return e.hosts[key] || e.config.AnyPublicHost && scheme == "https" && strings.HasSuffix(key, ":443") && !e.dialer.own[key]
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

// dial connects to addr; what it may lead to depends on whether it is listed.
func (e *Egress) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, BadGateway("egress/host", "The address cannot be read.", nil)
	}
	conn, err := e.dialer.dial(ctx, host, portNumber(port), e.reach(addr))
	if err != nil {
		return nil, err
	}
	return &stallConn{conn, e.config.Stall}, nil
}

// reach says where addr may lead.
func (e *Egress) reach(addr string) Reach {
	if key, err := hostKey(addr, "443"); err != nil || !e.hosts[key] {
		return Reach{}
	}
	return Reach{Loopback: e.config.AllowLoopback, Private: e.config.AllowPrivate, Metadata: e.config.AllowMetadata, Own: true}
}

// portNumber returns 0 for what is no number of a port.
func portNumber(port string) uint16 {
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}
