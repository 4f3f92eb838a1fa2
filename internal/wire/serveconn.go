package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"gatehouse"
)

// ConnConfig says how [ServeConn] answers the requests of one connection.
type ConnConfig struct {
	// TLS begins the connection: TLS 1.2 or newer. What its GetConfigForClient
	// returns decides about HTTP/1.1 and HTTP/2 by NextProtos.
	TLS *tls.Config
	// Surface renders errors and logs requests. It is needed.
	Surface *Surface
	// Pattern stands in access lines in place of the path.
	Pattern string
	// Handler answers. It is needed.
	Handler HandlerFunc
	// Log gets what net/http has to say about broken connections, as debug lines.
	// nil drops it.
	Log *slog.Logger
	// MaxHeaderBytes bounds a request's header. Zero means 64 KiB.
	MaxHeaderBytes int
	// HandshakeTimeout bounds the TLS handshake, with all that the callbacks of TLS
	// do in it. Zero means 30 s.
	HandshakeTimeout time.Duration
	// Silence is after how long without a byte in either direction the connection is
	// given up. Zero means 10 min. Within a connection that is not silent, requests
	// and replies may take as long as they want.
	Silence time.Duration
	// WriteStall bounds how long one write waits for a caller that does not read.
	// Zero means 60 s.
	WriteStall time.Duration
}

const (
	// connStreams bounds the requests at once in one HTTP/2 connection, and
	// streamWindow what one of them may have waiting here in either direction.
	connStreams  = 100
	streamWindow = 256 << 10
)

// ServeConn speaks TLS and then HTTP/1.1 or HTTP/2 on a connection that somebody
// else accepted, and closes it. It returns when the connection is over and every
// handler has returned; when ctx ends, it closes the connection. The error is that
// of the handshake; nil means that there was one.
func ServeConn(ctx context.Context, conn net.Conn, c ConnConfig) error {
	if c.Surface == nil || c.Handler == nil || c.TLS == nil {
		conn.Close()
		return fmt.Errorf("serving a connection: a surface, a handler and TLS are needed: %w", gatehouse.ErrInvalid)
	}
	withDefault(&c.MaxHeaderBytes, 64<<10)
	withDefault(&c.HandshakeTimeout, 30*time.Second)
	withDefault(&c.Silence, 10*time.Minute)
	withDefault(&c.WriteStall, 60*time.Second)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := newHeardConn(&stallConn{conn, c.WriteStall}, c.Silence)
	defer heard.Close()
	defer context.AfterFunc(ctx, func() { heard.Close() })()

	config := c.TLS.Clone()
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	secured := tls.Server(heard, config)
	shaking, stop := context.WithTimeout(ctx, c.HandshakeTimeout)
	err := secured.HandshakeContext(shaking)
	stop()
	if err != nil {
		return err
	}

	one := &oneConn{conn: secured, closed: make(chan struct{})}
	var running sync.WaitGroup
	handler := c.Surface.Handler(c.Pattern, c.Handler)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.Add(1)
			defer running.Done()
			handler.ServeHTTP(w, r)
		}),
		MaxHeaderBytes: c.MaxHeaderBytes,
		// HTTP/2 knows no bound for a header's time; a silence is bounded anyway.
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       c.Silence,
		ErrorLog:          slog.NewLogLogger(discardIfNil(c.Log).Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Protocols:         protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: connStreams, MaxReceiveBufferPerStream: streamWindow, MaxReceiveBufferPerConnection: 2 << 20,
		},
		// A connection that was taken over is its handler's, and over when it returns.
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				one.Close()
			}
		},
	}
	// The error says only that there is no second connection.
	_ = server.Serve(one)
	running.Wait()
	return nil
}

// oneConn is a listener that accepts one connection, and then waits for its end.
type oneConn struct {
	conn   net.Conn // nil once accepted; only Serve's goroutine accepts
	closed chan struct{}
	once   sync.Once
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *oneConn) Addr() net.Addr { return noAddr{} }

type noAddr struct{}

func (noAddr) Network() string { return "tunnel" }
func (noAddr) String() string  { return "tunnel" }

// heardConn is closed when nothing was read or written for a while. Deadlines would
// be in the way of net/http, which sets its own.
type heardConn struct {
	net.Conn
	limit time.Duration
	timer *time.Timer
}

func newHeardConn(conn net.Conn, limit time.Duration) *heardConn {
	return &heardConn{Conn: conn, limit: limit, timer: time.AfterFunc(limit, func() { conn.Close() })}
}

func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.timer.Reset(c.limit)
	}
	return n, err
}

func (c *heardConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if n > 0 {
		c.timer.Reset(c.limit)
	}
	return n, err
}

func (c *heardConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}
