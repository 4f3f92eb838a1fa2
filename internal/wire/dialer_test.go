package wire_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// names is a resolver, and counts how often it is asked.
type names struct {
	asked atomic.Int32
	leads func(n int32) []string
}

func (r *names) resolve(_ context.Context, host string) ([]netip.Addr, error) {
	leads := r.leads(r.asked.Add(1))
	if len(leads) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	out := make([]netip.Addr, 0, len(leads))
	for _, a := range leads {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

// accepting is a listener that is none of ours, and its port.
func accepting(t *testing.T, addr string) (net.Listener, uint16) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, uint16(l.Addr().(*net.TCPAddr).Port)
}

func newDialer(t *testing.T, c wire.DialerConfig) *wire.Dialer {
	t.Helper()
	d, err := wire.NewDialer(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// The address that was judged is the one that is dialled: a name that leads elsewhere
// the next time it is asked for gains nothing.
func TestDialerPinsWhatItJudged(t *testing.T) {
	_, port := accepting(t, "127.0.0.1:0")
	r := &names{leads: func(n int32) []string {
		if n == 1 {
			return []string{"127.0.0.1"}
		}
		return []string{"169.254.169.254"}
	}}
	d := newDialer(t, wire.DialerConfig{Resolve: r.resolve})
	conn, err := d.Dial(t.Context(), "name.test", port, wire.Reach{Loopback: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, bare := conn.(*net.TCPConn); !bare {
		t.Errorf("the connection is a %T", conn)
	}
	conn.Close()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("resolved %d times", n)
	}
	_, err = d.Dial(t.Context(), "name.test", port, wire.Reach{Loopback: true, Private: true, Metadata: true})
	refused(t, "rebound", err, 502, "egress/address")
}

func TestDialerReachesWhatItMay(t *testing.T) {
	_, port := accepting(t, "127.0.0.1:0")
	for _, c := range []struct {
		name  string
		leads []string
		reach wire.Reach
		rule  string
	}{
		{"loopback, allowed", []string{"127.0.0.1"}, wire.Reach{Loopback: true}, ""},
		{"loopback, mapped, allowed", []string{"::ffff:127.0.0.1"}, wire.Reach{Loopback: true}, ""},
		{"the first does not answer", []string{"127.0.0.7", "127.0.0.1"}, wire.Reach{Loopback: true}, ""},
		{"loopback", []string{"127.0.0.1"}, wire.Reach{}, "egress/address"},
		{"loopback for private", []string{"127.0.0.1"}, wire.Reach{Private: true}, "egress/address"},
		{"private", []string{"10.0.0.1"}, wire.Reach{Loopback: true}, "egress/address"},
		{"one of several", []string{"127.0.0.1", "10.0.0.1"}, wire.Reach{Loopback: true}, "egress/address"},
		{"metadata by a name", []string{"169.254.169.254"}, wire.Reach{Metadata: true}, "egress/address"},
		{"nowhere", nil, wire.Reach{}, "destination/resolve"},
		{"nobody there", []string{"127.0.0.7"}, wire.Reach{Loopback: true}, "destination/connection"},
	} {
		r := &names{leads: func(int32) []string { return c.leads }}
		conn, err := newDialer(t, wire.DialerConfig{Resolve: r.resolve}).Dial(t.Context(), "name.test", port, c.reach)
		if c.rule == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			conn.Close()
			continue
		}
		refused(t, c.name, err, 502, c.rule)
	}
	// An address that is asked for by itself is judged as well.
	d := newDialer(t, wire.DialerConfig{Resolve: (&names{leads: func(int32) []string { t.Error("an address was resolved"); return nil }}).resolve})
	_, err := d.Dial(t.Context(), "127.0.0.1", port, wire.Reach{})
	refused(t, "an address", err, 502, "egress/address")

	hang := func(ctx context.Context, _ string) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err = newDialer(t, wire.DialerConfig{Resolve: hang, Timeout: time.Millisecond}).Dial(t.Context(), "name.test", port, wire.Reach{})
	if wire.RuleOf(err) != "destination/resolve" {
		t.Errorf("a resolver that hangs: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := newDialer(t, wire.DialerConfig{Resolve: hang}).Dial(ctx, "name.test", port, wire.Reach{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that is gone: %v", err)
	}
}

// Listeners of this process are its own from the moment they are bound until they are
// closed, on every address of the machine if that is how they are bound.
func TestDialerKnowsOurOwnListeners(t *testing.T) {
	port := func(address string) uint16 {
		n, err := strconv.ParseUint(address[strings.LastIndexByte(address, ':')+1:], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		return uint16(n)
	}
	d := newDialer(t, wire.DialerConfig{Own: []string{"App.example:443", ":9443"}})
	for _, addr := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		s, err := wire.Listen(wire.ServerConfig{Addr: addr, AllowPlain: true, Handler: http.NotFoundHandler()})
		if err != nil {
			t.Fatal(err)
		}
		host := "127.0.0.1"
		if strings.HasPrefix(addr, "[::1]") {
			host = "::1"
		}
		_, err = d.Dial(t.Context(), host, port(s.URL()), wire.Reach{Loopback: true})
		refused(t, addr, err, 502, "egress/own-address")
		// The operator may name it.
		conn, err := d.Dial(t.Context(), host, port(s.URL()), wire.Reach{Loopback: true, Own: true})
		if err != nil {
			t.Errorf("%s, named by the operator: %v", addr, err)
		} else {
			conn.Close()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = d.Dial(t.Context(), host, port(s.URL()), wire.Reach{Loopback: true})
		refused(t, addr+", closed", err, 502, "destination/connection")
	}
	// One that ran is forgotten when it has ended.
	s, err := wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:0", Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = d.Dial(t.Context(), "127.0.0.1", port(s.URL()), wire.Reach{Loopback: true})
	refused(t, "one that ended", err, 502, "destination/connection")

	if !d.Own("app.example", 443) || d.Own("app.example", 444) || d.Own("b.app.example", 443) {
		t.Error("the configured names are not told apart")
	}
	_, err = d.Dial(t.Context(), "127.0.0.1", 9443, wire.Reach{Loopback: true})
	refused(t, "a configured port", err, 502, "egress/own-address")
	for _, bad := range []string{"app.example", ":x", "a b:1", ""} {
		if _, err := wire.NewDialer(wire.DialerConfig{Own: []string{bad}}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("own address %q: %v", bad, err)
		}
	}
}

func TestForwardCarriesPlainHTTPOnly(t *testing.T) {
	l, _ := accepting(t, "127.0.0.1:0")
	served := make(chan *http.Request, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
				served <- r
			}
			conn.Close()
		}
	}()
	var asked []string
	f := wire.NewForward(wire.ForwardConfig{Dial: func(ctx context.Context, host string, port uint16) (net.Conn, error) {
		asked = append(asked, net.JoinHostPort(host, strconv.Itoa(int(port))))
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}})
	t.Cleanup(f.CloseIdle)
	send := func(address string, header ...string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range header {
			r.Header.Set(h, "x")
		}
		return f.RoundTrip(r)
	}
	reply, err := send("http://party.test/x")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if r := <-served; err != nil || string(body) != "ok" || r.Host != "party.test" || len(asked) != 1 || asked[0] != "party.test:80" {
		t.Errorf("%s %v, %v, %v", body, err, r, asked)
	}
	for name, send := range map[string]func() (*http.Response, error){
		"https":     func() (*http.Response, error) { return send("https://party.test/") },
		"user name": func() (*http.Response, error) { return send("http://a@party.test/") },
		"upgrade":   func() (*http.Response, error) { return send("http://party.test/", "Upgrade") },
	} {
		_, err := send()
		refused(t, name, err, 502, "egress/host")
	}
	if len(asked) != 1 {
		t.Errorf("refused requests were dialled: %v", asked)
	}
}

// A refusal of a proxy asks for the proxy's credentials, and its title is no bare
// number.
func TestProxyAuthenticationHasATitle(t *testing.T) {
	p := wire.ProblemOf(wire.WithStatus(wire.Unauthenticated("a/b", "c"), http.StatusProxyAuthRequired))
	if p.Status != 407 || p.Title != "Authentication is needed" {
		t.Errorf("%+v", p)
	}
}
