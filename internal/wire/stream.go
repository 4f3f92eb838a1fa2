package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
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
func (s *Stream) Dial(ctx context.Context) (*StreamConn, error) {
	raw, err := s.dialer.dial(ctx, s.config.Host, s.config.Port, s.config.Reach)
	if err != nil {
		return nil, destinationError(ctx, err)
	}
	under := &endConn{Conn: raw}
	conn := tls.Client(&stallConn{under, s.config.WriteStall}, s.tls)
	greeting, cancel := context.WithTimeout(ctx, s.config.HandshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(greeting); err != nil {
		raw.Close()
		return nil, destinationError(ctx, err)
	}
	return &StreamConn{tls: conn, under: under}, nil
}

// A StreamConn is one connection of a Stream. One goroutine may write while another
// waits for the end.
type StreamConn struct {
	tls   *tls.Conn
	under *endConn
}

// endConn notes that the connection below TLS ended: crypto/tls takes that for the
// other side's last word, which anybody on the way can say in its place.
type endConn struct {
	net.Conn
	ended atomic.Bool
}

func (c *endConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n == 0 && err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// Write writes.
func (c *StreamConn) Write(b []byte) (int, error) { return c.tls.Write(b) }

// Finish says that nothing more comes: TLS's close_notify.
func (c *StreamConn) Finish() error { return c.tls.CloseWrite() }

// Cut ends the connection without a word, and whoever waits for anything of it.
func (c *StreamConn) Cut() { _ = c.under.Close() }

// errTalks is of a side that says something where nothing is to be said.
var errTalks = errors.New("the other side sends data")

// AwaitNotify waits until the other side says that nothing more comes. It is nil only
// if that was TLS's close_notify.
func (c *StreamConn) AwaitNotify() error {
	n, err := c.tls.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errTalks
	case !errors.Is(err, io.EOF):
		return err
	case c.under.ended.Load():
		return io.ErrUnexpectedEOF
	}
	return nil
}

// FinishTCP is Finish for TCP, for other sides that wait for it and do not know TLS's.
func (c *StreamConn) FinishTCP() error {
	half, ok := c.under.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// AwaitRead is for after FinishTCP and AwaitNotify. It is nil if the other side read
// all that was written: had it closed with something unread, or before something came,
// its system would reset the connection instead of ending it. (That what came last has
// come is seen on Linux only.)
func (c *StreamConn) AwaitRead(ctx context.Context) error {
	if _, err := io.Copy(io.Discard, io.LimitReader(c.under.Conn, 1<<10)); err != nil {
		return err
	}
	return awaitAcknowledged(ctx, c.under.Conn)
}

// StreamError is what went wrong with a connection of a Stream, in the manner of the
// errors of [Stream.Dial]. It is nil if err is.
func StreamError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return destinationError(ctx, err)
}
