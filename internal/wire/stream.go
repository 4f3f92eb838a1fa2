package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"gatehouse"
)

// StreamConfig says who is on the other side of a stream of bytes over TLS.
type StreamConfig struct {
	// Host is a name or an address, and Port where it listens.
	Host string
	Port uint16
	// Reach says what the host may lead to.
	Reach Reach
	// ServerName is the name that the certificate must be for. Empty means Host.
	ServerName string
	// Roots verify the certificate. nil means the system's.
	Roots *x509.CertPool
	// Certificate, if not nil, is what the other side gets when it asks who calls.
	Certificate func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	// HandshakeTimeout bounds the TLS handshake. Zero means 10 s.
	HandshakeTimeout time.Duration
	// WriteStall bounds how long one write waits for a receiver that does not read.
	// Zero means 60 s.
	WriteStall time.Duration
}

// A Stream makes connections over TLS for what is no HTTP. It is safe for concurrent
// use.
type Stream struct {
	config StreamConfig
	dialer *Dialer
	tls    *tls.Config
}

// NewStream returns the way to one receiver. Nothing is connected yet.
func NewStream(c StreamConfig, d *Dialer) (*Stream, error) {
	if c.Host == "" || c.Port == 0 || d == nil {
		return nil, fmt.Errorf("setting up a stream: a host, a port and a dialer are needed: %w", gatehouse.ErrInvalid)
	}
	withDefault(&c.ServerName, c.Host)
	withDefault(&c.HandshakeTimeout, 10*time.Second)
	withDefault(&c.WriteStall, 60*time.Second)
	return &Stream{config: c, dialer: d, tls: &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: c.ServerName, RootCAs: c.Roots, GetClientCertificate: c.Certificate,
		// Connections are short, so that most of them should not begin from nothing.
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}}, nil
}

// Dial connects and greets. Its errors are [BadGateway] and [GatewayTimeout] and
// repeat nothing that the other side sent; when ctx was cancelled the error is that.
func (s *Stream) Dial(ctx context.Context) (*tls.Conn, error) {
	raw, err := s.dialer.dial(ctx, s.config.Host, s.config.Port, s.config.Reach)
	if err != nil {
		return nil, destinationError(ctx, err)
	}
	conn := tls.Client(&stallConn{raw, s.config.WriteStall}, s.tls)
	greeting, cancel := context.WithTimeout(ctx, s.config.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(greeting); err != nil {
		raw.Close()
		return nil, destinationError(ctx, err)
	}
	return conn, nil
}

// StreamError is what went wrong with a connection of a Stream, in the manner of the
// errors of [Stream.Dial].
func StreamError(ctx context.Context, err error) error { return destinationError(ctx, err) }
