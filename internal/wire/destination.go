package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"gatehouse"
)

// DestinationConfig says who is on the other side of one tunnel.
type DestinationConfig struct {
	// Host is the name, or the address, for which the certificate must be.
	Host string
	// Dial connects to an address of the host that was judged. It speaks no TLS.
	Dial func(context.Context) (net.Conn, error)
	// Roots verify the certificate. nil means the system's.
	Roots *x509.CertPool
	// HandshakeTimeout bounds the TLS handshake. Zero means 10 s.
	HandshakeTimeout time.Duration
	// WriteStall bounds how long one write waits for a destination that does not
	// read. Zero means 60 s.
	WriteStall time.Duration
}

// Destination sends requests to one host that is not ours, over connections that
// are made for one tunnel and end with it. It is safe for concurrent use.
type Destination struct {
	config    DestinationConfig
	transport *http.Transport

	mu       sync.Mutex // guards what follows
	ready    net.Conn   // made by Connect, for the first request
	protocol string
	open     map[*openConn]bool
}

// openConn is a connection below TLS. It is forgotten when it is closed.
type openConn struct {
	net.Conn
	destination *Destination
}

func (c *openConn) Close() error {
	c.destination.mu.Lock()
	delete(c.destination.open, c)
	c.destination.mu.Unlock()
	return c.Conn.Close()
}

// NewDestination returns the other side of a tunnel. Nothing is connected yet.
func NewDestination(c DestinationConfig) (*Destination, error) {
	if c.Host == "" || c.Dial == nil {
		return nil, fmt.Errorf("setting up a destination: a host and a way to dial are needed: %w", gatehouse.ErrInvalid)
	}
	withDefault(&c.HandshakeTimeout, 10*time.Second)
	withDefault(&c.WriteStall, 60*time.Second)
	d := &Destination{config: c, open: map[*openConn]bool{}}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	d.transport = &http.Transport{
		Proxy:                  nil, // never from the environment
		DialTLSContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.take(ctx) },
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 256 << 10,
		// The reply is relayed as it came.
		DisableCompression: true,
		Protocols:          protocols,
		HTTP2:              &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow},
	}
	return d, nil
}

// Protocols that a tunnel may carry, as TLS names them.
const (
	ProtocolHTTP1 = "http/1.1"
	ProtocolHTTP2 = "h2"
)

// Connect connects, offers the protocols and returns the one that the destination
// speaks: http/1.1 when it names none. All later connections of d speak it, too.
func (d *Destination) Connect(ctx context.Context, offer []string) (protocol string, err error) {
	conn, err := d.dial(ctx, offer)
	if err != nil {
		return "", destinationError(ctx, err)
	}
	protocol = conn.ConnectionState().NegotiatedProtocol
	if protocol == "" {
		protocol = ProtocolHTTP1
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready, d.protocol = conn, protocol
	return protocol, nil
}

func (d *Destination) dial(ctx context.Context, offer []string) (*tls.Conn, error) {
	raw, err := d.config.Dial(ctx)
	if err != nil {
		return nil, err
	}
	under := &openConn{Conn: raw, destination: d}
	d.mu.Lock()
	d.open[under] = true
	d.mu.Unlock()
	conn := tls.Client(&stallConn{under, d.config.WriteStall}, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: d.config.Host, RootCAs: d.config.Roots, NextProtos: slices.Clone(offer),
	})
	ctx, cancel := context.WithTimeout(ctx, d.config.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		under.Close()
		return nil, err
	}
	return conn, nil
}

// take returns the connection that Connect made, or makes one like it.
func (d *Destination) take(ctx context.Context) (net.Conn, error) {
	d.mu.Lock()
	conn, protocol := d.ready, d.protocol
	d.ready = nil
	d.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	again, err := d.dial(ctx, []string{protocol})
	if err != nil {
		return nil, err
	}
	if now := again.ConnectionState().NegotiatedProtocol; now != protocol && (now != "" || protocol != ProtocolHTTP1) {
		again.Close()
		return nil, BadGateway("destination/protocol", "The destination does not speak the protocol any more that it spoke before.", nil)
	}
	return again, nil
}

// RoundTrip sends one request, whatever host its address names, and returns the
// reply. Errors are [BadGateway] or [GatewayTimeout] and repeat nothing of the
// request or the reply; when r's own context was cancelled the error is that. It
// implements http.RoundTripper.
func (d *Destination) RoundTrip(r *http.Request) (*http.Response, error) {
	reply, err := d.transport.RoundTrip(r)
	if err != nil {
		return nil, destinationError(r.Context(), err)
	}
	return reply, nil
}

// Break cuts every connection without a word. TLS's own end would be an end to those
// who take it for one; after a cut it is plain that something is missing.
func (d *Destination) Break() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.open {
		c.Conn.Close()
	}
}

// Close gives up the connections that no request uses.
func (d *Destination) Close() {
	d.mu.Lock()
	conn := d.ready
	d.ready = nil
	d.mu.Unlock()
	if conn != nil {
		conn.Close()
	}
	d.transport.CloseIdleConnections()
}
