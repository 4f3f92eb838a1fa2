package wire

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"gatehouse"
)

// ServerConfig describes one listener.
type ServerConfig struct {
	// Addr is host:port, or "unix:" and the path of a socket.
	Addr string
	// TLS is needed unless Addr is loopback or a Unix socket.
	TLS *tls.Config
	// AllowPlain permits plain http on other addresses: somebody else ends TLS in
	// front. The exception is the operator's to declare.
	AllowPlain bool
	// SameUser accepts, on a Unix socket, only processes of this process's user and
	// of root, by what the kernel says about the other end: the socket's mode is the
	// first wall, and this the second. Where the kernel cannot be asked (see peerUser)
	// the mode alone holds.
	SameUser bool
	// OnlyHTTP1 keeps HTTP/2 off: a proxy's tunnels take over their connection.
	OnlyHTTP1 bool
	// Handler answers; see [Surface].
	Handler http.Handler
	// Log gets what net/http has to say about broken connections, as debug lines.
	// nil drops it.
	Log *slog.Logger
	// MaxHeaderBytes bounds a request's header. Zero means 64 KiB.
	MaxHeaderBytes int
	// ReadHeaderTimeout bounds the time until a request's header is complete. Zero
	// means 10 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout bounds how long a kept-alive connection waits for its next
	// request. Zero means 2 min.
	IdleTimeout time.Duration
	// WriteStall bounds how long one write waits for a caller that does not read.
	// Zero means 30 s.
	WriteStall time.Duration
	// MaxConns bounds the open connections; more wait to be accepted. Zero means
	// 10 000.
	MaxConns int
	// MaxStreams bounds the requests under way on one connection of HTTP/2. Zero means
	// what net/http allows, 250.
	MaxStreams int
	// Strangers bounds those of MaxConns whose callers nobody has called [Known]: one of
	// them is closed for one too many, and for room among all: the oldest of the network
	// that has the most. Zero means that the listener does not tell them apart.
	Strangers int
	// Trusted are networks whose connections are not a stranger's: of proxies in front,
	// which carry many callers. nil means none.
	Trusted Proxies
	// StrangerTime is how long a caller may stay a stranger. Zero means 10 s.
	StrangerTime time.Duration
	// Grace is how long requests under way may take after Run's context ends. Zero
	// means 10 s.
	Grace time.Duration
	// OnShutdown is called when Run's context ends, before waiting: the owner of
	// long-lived streams ends them. nil does nothing.
	OnShutdown func()
}

// Server is a bound listener. Create it with [Listen], then Run it.
type Server struct {
	config   ServerConfig
	listener net.Listener
	http     *http.Server
	socket   string // path of the Unix socket, "" when none
	unbind   func() // forgets the address among those of this process
	close    sync.Once
}

// Listen binds the address. Connections that come before Run wait.
func Listen(c ServerConfig) (*Server, error) {
	if c.Handler == nil {
		return nil, fmt.Errorf("listening on %s: no handler: %w", c.Addr, gatehouse.ErrInvalid)
	}
	withDefault(&c.MaxHeaderBytes, 64<<10)
	withDefault(&c.ReadHeaderTimeout, 10*time.Second)
	withDefault(&c.IdleTimeout, 2*time.Minute)
	withDefault(&c.WriteStall, 30*time.Second)
	withDefault(&c.MaxConns, 10_000)
	withDefault(&c.Grace, 10*time.Second)
	withDefault(&c.StrangerTime, 10*time.Second)

	s := &Server{config: c}
	path, isUnix := strings.CutPrefix(c.Addr, "unix:")
	if !isUnix && c.TLS == nil && !c.AllowPlain && !IsLoopback(c.Addr) {
		return nil, fmt.Errorf("listening on %s: plain http is for loopback addresses only; give the listener a certificate: %w", c.Addr, gatehouse.ErrInvalid)
	}
	var err error
	if isUnix {
		s.socket = path
		s.listener, err = listenUnix(path)
	} else {
		s.listener, err = net.Listen("tcp", c.Addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", c.Addr, err)
	}
	s.unbind = bound.add(s.listener.Addr())
	if c.SameUser && isUnix {
		s.listener = &sameUserListener{s.listener}
	}
	bounded := &boundedListener{Listener: s.listener, stall: c.WriteStall, free: make(chan struct{}, c.MaxConns), closed: make(chan struct{})}
	if c.Strangers > 0 {
		bounded.strangers = newStrangers(c.Strangers, c.StrangerTime, c.Trusted, c.MaxConns)
	}
	s.listener = bounded
	s.http = &http.Server{
		Handler:           c.Handler,
		MaxHeaderBytes:    c.MaxHeaderBytes,
		ReadHeaderTimeout: c.ReadHeaderTimeout,
		IdleTimeout:       c.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(discardIfNil(c.Log).Handler(), slog.LevelDebug),
		ConnContext:       withCaller,
	}
	if c.MaxStreams > 0 {
		s.http.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: c.MaxStreams}
	}
	if c.OnlyHTTP1 {
		s.http.Protocols = new(http.Protocols)
		s.http.Protocols.SetHTTP1(true)
	}
	if c.TLS != nil {
		s.http.TLSConfig = c.TLS.Clone()
		if s.http.TLSConfig.MinVersion < tls.VersionTLS12 {
			s.http.TLSConfig.MinVersion = tls.VersionTLS12
		}
	}
	return s, nil
}

func withDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func discardIfNil(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// IsLoopback reports whether addr, a host:port, names a loopback address
// literally (or "localhost"). A name that would have to be resolved is not one.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// listenUnix binds a socket that only this user may use. A socket that a crash
// left behind is replaced; one that answers belongs to somebody else.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("there is a file that is not a socket: %w", gatehouse.ErrConflict)
		}
		if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
			conn.Close()
			return nil, fmt.Errorf("another process listens on this socket: %w", gatehouse.ErrConflict)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("removing the old socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("restricting the socket: %w", err)
	}
	return l, nil
}

// URL returns the address that a client on this machine uses: scheme, host and
// port, without a trailing slash; "unix:" and the path for a Unix socket.
func (s *Server) URL() string {
	if s.socket != "" {
		return "unix:" + s.socket
	}
	scheme := "http"
	if s.config.TLS != nil {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return scheme + "://" + s.listener.Addr().String()
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// Run serves until ctx ends, then lets requests under way finish for the grace
// period, and returns when every handler has returned or its connection is
// closed. A nil error means that it ended because ctx did.
func (s *Server) Run(ctx context.Context) error {
	defer s.unbind()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.http.BaseContext = func(net.Listener) context.Context { return base }

	served := make(chan error, 1)
	go func() {
		if s.http.TLSConfig != nil {
			served <- s.http.ServeTLS(s.listener, "", "")
		} else {
			served <- s.http.Serve(s.listener)
		}
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serving on %s: %w", s.config.Addr, err)
	case <-ctx.Done():
	}
	if s.config.OnShutdown != nil {
		s.config.OnShutdown()
	}
	grace, stop := context.WithTimeout(base, s.config.Grace)
	defer stop()
	err := s.http.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		// What still runs is told through its context, then cut.
		cancel()
		err = s.http.Close()
	}
	if ended := <-served; err == nil && !errors.Is(ended, http.ErrServerClosed) {
		err = ended
	}
	if err != nil {
		return fmt.Errorf("closing %s: %w", s.config.Addr, err)
	}
	return nil
}

// Close gives up a listener that is not going to Run.
func (s *Server) Close() error {
	var err error
	s.close.Do(func() { err = s.listener.Close(); s.unbind() })
	return err
}

// boundedListener accepts at most so many connections at once, and gives each a
// bound for a single write.
type boundedListener struct {
	net.Listener
	stall  time.Duration
	free   chan struct{} // holds one element for each open connection
	closed chan struct{} // closed with the listener, for an Accept that waits for room
	once   sync.Once
	// strangers are told apart; nil for a listener that does not.
	strangers *strangers
}

func (l *boundedListener) Accept() (net.Conn, error) {
	if l.strangers != nil {
		return l.acceptStranger()
	}
	select {
	case l.free <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &countedConn{stallConn: stallConn{conn, l.stall}, release: func() { <-l.free }}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// countedConn makes room for another connection when it is closed.
type countedConn struct {
	stallConn
	release func()
	once    sync.Once

	among *strangers    // nil where they are not told apart; never changed
	since time.Time     // when it was accepted; never changed
	place *list.Element // in among.conns, whose lock guards it; nil for no stranger
	timer *time.Timer   // ends a stranger's time
	// in are the networks that a stranger is counted in; never changed.
	in [len(networkBits)]*crowd
	// owned is its place among those of owner, in among.known; nil if nobody's.
	owned *list.Element
	owner string
}

func (c *countedConn) remote() netip.Addr { return remoteAddr(c.Conn) }

func (c *countedConn) Close() error {
	if c.among != nil {
		c.among.remove(c)
	}
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}

// Bare returns the connection under the bounds that a listener of ours puts on it,
// for whoever took it over and bounds it by other means: two connections of TCP can
// be joined by the kernel. conn must be closed, not what is returned. Under TLS there
// is none but conn.
func Bare(conn net.Conn) net.Conn {
	if c, ok := conn.(*countedConn); ok {
		return c.Conn
	}
	return conn
}

// stallConn fails a write that the other side does not take within limit. It is
// a bound for each write, so that a long honest reply or stream has none.
type stallConn struct {
	net.Conn
	limit time.Duration
}

func (c *stallConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
