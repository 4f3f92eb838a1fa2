package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// upstream starts a TLS server as a platform would be, and an egress that may
// call it as api.test.
func upstream(t *testing.T, h http.HandlerFunc, change ...func(*wire.EgressConfig)) (*wire.Egress, string) {
	t.Helper()
	cert, key, err := wire.NewCA("platform", []string{"test"}, []net.IPNet{loopback4}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := wire.OpenCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := run(t, wire.ServerConfig{Handler: h, TLS: ca.ServerTLS([]string{"api.test"}, nil), Grace: 100 * time.Millisecond})
	address, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	host := "api.test:" + address.Port()
	c := wire.EgressConfig{
		Hosts: []string{host}, AllowLoopback: true, RootCAs: ca.Pool(),
		Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		},
	}
	for _, f := range change {
		f(&c)
	}
	e, err := wire.NewEgress(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.CloseIdle)
	return e, "https://" + host
}

// get asks and reads everything; the error is of either.
func get(t *testing.T, e *wire.Egress, address string) (*http.Response, string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := e.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	return reply, string(b), err
}

// refused checks the rule and status of an error, and that it has a kind.
func refused(t *testing.T, name string, err error, status int, rule string) {
	t.Helper()
	if got := wire.RuleOf(err); err == nil || got != rule || wire.StatusOf(err) != status {
		t.Errorf("%s: rule %q, status %d (%v); want %q, %d", name, got, wire.StatusOf(err), err, rule, status)
	}
	if err != nil && !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("%s: the error has no kind: %v", name, err)
	}
}

func TestACallGoesOutOverVerifiedTLS(t *testing.T) {
	e, base := upstream(t, hello)
	reply, body, err := get(t, e, base+"/2/users/me")
	if err != nil || body != "HTTP/1.1" || reply.TLS == nil {
		t.Fatalf("%q, %v", body, err)
	}
}

func TestHostsThatAreNotListedAreNotCalled(t *testing.T) {
	var calls atomic.Int32
	e, base := upstream(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	port := base[strings.LastIndex(base, ":"):]
	for name, address := range map[string]string{
		"another host":         "https://evil.test" + port,
		"another port":         "https://api.test:1",
		"default port":         "https://api.test/",
		"subdomain":            "https://x.api.test" + port,
		"trailing dot":         "https://api.test." + port,
		"upper case":           "https://API.test" + port,
		"user name":            "https://api.test@evil.test" + port,
		"user name before":     "https://evil@api.test" + port,
		"plain http":           "http://api.test" + port,
		"another scheme":       "ftp://api.test" + port,
		"address of the host":  "https://127.0.0.1" + port,
		"no host":              "https:///x",
		"backslash in a label": "https://api.test%5c.evil" + port,
	} {
		u, err := url.Parse(address)
		if err != nil {
			continue // cannot even be asked for
		}
		_, err = e.RoundTrip((&http.Request{Method: "GET", URL: u, Header: http.Header{}}).WithContext(t.Context()))
		refused(t, name, err, 502, "egress/host")
	}
	r, err := http.NewRequest("GET", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "evil.test"
	_, err = e.RoundTrip(r)
	refused(t, "Host header of another host", err, 502, "egress/host-header")

	r.Host = ""
	r.Header.Set("Upgrade", "websocket")
	_, err = e.RoundTrip(r)
	refused(t, "upgrade", err, 502, "egress/upgrade")

	if n := calls.Load(); n != 0 {
		t.Errorf("%d refused calls went out", n)
	}
}

func TestNewEgressRefusals(t *testing.T) {
	for name, c := range map[string]wire.EgressConfig{
		"plain without loopback": {AllowPlainLoopback: true},
		"upper case":             {Hosts: []string{"API.x.com"}},
		"scheme":                 {Hosts: []string{"https://api.x.com"}},
		"wildcard":               {Hosts: []string{"*.x.com"}},
		"trailing dot":           {Hosts: []string{"api.x.com."}},
		"empty":                  {Hosts: []string{""}},
	} {
		if _, err := wire.NewEgress(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{"api.x.com", "::1"}})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Allows("https", "[::1]") || !e.Allows("https", "[::1]:443") || e.Allows("https", "[::1]:80") {
		t.Error("an IPv6 address is not compared with its port")
	}
	if !e.Allows("https", "api.x.com") || !e.Allows("https", "api.x.com:443") || e.Allows("http", "api.x.com") || e.Allows("https", "api.x.com:80") {
		t.Error("the default port is not 443, or not the only one")
	}
}

func TestNamesThatLeadToPrivateAddressesAreRefused(t *testing.T) {
	for _, address := range []string{"10.0.0.1", "169.254.169.254", "100.64.0.1", "::ffff:192.168.0.1", "64:ff9b::10.0.0.1", "fe80::1", "0.0.0.0", "::", "224.0.0.1", "2002:7f00:1::"} {
		e, base := upstream(t, hello, func(c *wire.EgressConfig) {
			c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr(address)}, nil
			}
		})
		_, _, err := get(t, e, base)
		refused(t, address, err, 502, "egress/address")
	}
	e, base := upstream(t, hello, func(c *wire.EgressConfig) { c.AllowLoopback = false })
	_, _, err := get(t, e, base)
	refused(t, "loopback when it is not allowed", err, 502, "egress/address")
}

// The operator's own app may stand on a private network. What clouds answer
// credentials on stays refused, and so does everything else that is not public.
func TestPrivateNetworksWhereTheyAreAllowed(t *testing.T) {
	call := func(address string, allow bool) error {
		e, base := upstream(t, hello, func(c *wire.EgressConfig) {
			c.AllowPrivate = allow
			c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr(address)}, nil
			}
		})
		_, _, err := get(t, e, base)
		return err
	}
	for _, address := range []string{"10.0.0.1", "172.16.0.1", "192.168.0.1", "fd00::1", "::ffff:192.168.0.1"} {
		if err := call(address, true); err != nil {
			t.Errorf("%s: %v", address, err)
		}
		refused(t, address+" when it is not allowed", call(address, false), 502, "egress/address")
	}
	for _, address := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.1.1", "fe80::1", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "100.64.0.1",
		"192.0.0.192", "168.63.129.16", "0.0.0.0", "224.0.0.1", "2002:a00:1::",
	} {
		refused(t, address, call(address, true), 502, "egress/address")
	}
	e, base := upstream(t, hello, func(c *wire.EgressConfig) { c.AllowLoopback, c.AllowPrivate = false, true })
	_, _, err := get(t, e, base)
	refused(t, "loopback when only private networks are allowed", err, 502, "egress/address")
}

// A name server that gives a good address when it is asked first and a private
// one afterwards gains nothing: it is asked once, and that answer is dialled.
func TestRebindingGainsNothing(t *testing.T) {
	var asked atomic.Int32
	e, base := upstream(t, hello, func(c *wire.EgressConfig) {
		c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			if asked.Add(1) == 1 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
		}
	})
	if _, _, err := get(t, e, base); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times for one connection", n)
	}
	e.CloseIdle()
	_, _, err := get(t, e, base)
	refused(t, "second connection", err, 502, "egress/address")
}

func TestTheNextAddressIsTriedWhenOneDoesNotAnswer(t *testing.T) {
	e, base := upstream(t, hello, func(c *wire.EgressConfig) {
		c.Resolve = func(context.Context, string) ([]netip.Addr, error) {
			// Nothing listens on 127.9.9.9.
			return []netip.Addr{netip.MustParseAddr("127.9.9.9"), netip.MustParseAddr("127.0.0.1")}, nil
		}
	})
	if _, _, err := get(t, e, base); err != nil {
		t.Error(err)
	}
}

func TestANameThatDoesNotResolve(t *testing.T) {
	for name, resolve := range map[string]func(context.Context, string) ([]netip.Addr, error){
		"error": func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("no such host") },
		"empty": func(context.Context, string) ([]netip.Addr, error) { return nil, nil },
	} {
		e, base := upstream(t, hello, func(c *wire.EgressConfig) { c.Resolve = resolve })
		_, _, err := get(t, e, base)
		refused(t, name, err, 502, "upstream/resolve")
	}
}

func TestAnAddressIsNotResolved(t *testing.T) {
	server := httptest.NewServer(hello)
	defer server.Close()
	e, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{server.Listener.Addr().String()}, AllowLoopback: true, AllowPlainLoopback: true,
		Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, errors.New("asked") },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.CloseIdle()
	if _, _, err := get(t, e, server.URL); err != nil {
		t.Error(err)
	}
}

// closing notes that it was closed.
type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

// net/http's contract for a RoundTripper: whoever streams a body through a pipe
// would otherwise wait for ever.
func TestTheBodyOfARefusedCallIsClosed(t *testing.T) {
	e, err := wire.NewEgress(wire.EgressConfig{})
	if err != nil {
		t.Fatal(err)
	}
	body := &closing{Reader: strings.NewReader("x")}
	r, err := http.NewRequest("POST", "https://api.x.com/", body)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.RoundTrip(r)
	refused(t, "no host is listed", err, 502, "egress/host")
	if !body.closed {
		t.Error("the body is still open")
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var second atomic.Bool
	e, base := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			second.Store(true)
		}
		http.Redirect(w, r, "/second", http.StatusFound)
	})
	if reply, _, err := get(t, e, base); err != nil || reply.StatusCode != http.StatusFound {
		t.Errorf("RoundTrip: %v, %v", reply, err)
	}
	reply, err := e.Client(time.Second).Get(base)
	if err == nil {
		reply.Body.Close()
	}
	refused(t, "Client", err, 502, "upstream/redirect")
	if second.Load() {
		t.Error("a redirect was followed")
	}
}

func TestAWrongCertificateIsRefused(t *testing.T) {
	for name, change := range map[string]func(*wire.EgressConfig){
		"unknown authority": func(c *wire.EgressConfig) {
			other, _, _ := newCA(t)
			c.RootCAs = other.Pool()
		},
		"system's authorities": func(c *wire.EgressConfig) { c.RootCAs = nil },
	} {
		e, base := upstream(t, hello, change)
		_, _, err := get(t, e, base)
		refused(t, name, err, 502, "upstream/tls")
	}
	var other string
	e, _ := upstream(t, hello, func(c *wire.EgressConfig) {
		other = strings.Replace(c.Hosts[0], "api.", "other.", 1)
		c.Hosts = append(c.Hosts, other)
	})
	_, _, err := get(t, e, "https://"+other)
	refused(t, "certificate for another name", err, 502, "upstream/tls")
}

func TestAPlatformThatHangs(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	hang := func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-stop:
		}
	}
	e, base := upstream(t, hang, func(c *wire.EgressConfig) { c.HeaderTimeout = 50 * time.Millisecond })
	_, _, err := get(t, e, base)
	refused(t, "before the header", err, 504, "upstream/timeout")

	half := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		hang(w, r)
	}
	e, base = upstream(t, half, func(c *wire.EgressConfig) { c.Stall = 500 * time.Millisecond })
	reply, body, err := get(t, e, base)
	refused(t, "in the body", err, 504, "upstream/timeout")
	if body != "half" {
		t.Errorf("%v: what came before the silence is lost: %q", reply, body)
	}

	e, base = upstream(t, hang)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.RoundTrip(r)
	refused(t, "the caller's deadline", err, 504, "upstream/timeout")

	gone, hangUp := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, hangUp)
	if _, err = e.RoundTrip(r.WithContext(gone)); !errors.Is(err, context.Canceled) || wire.RuleOf(err) != "" {
		t.Errorf("the caller hung up: %v", err)
	}
}

// raw is an upstream that says exactly the bytes given, over plain http.
func raw(t *testing.T, say func(net.Conn)) (*wire.Egress, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					say(conn)
				}
			}()
		}
	}()
	e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{l.Addr().String()}, AllowLoopback: true, AllowPlainLoopback: true, MaxHeaderBytes: 4 << 10, MaxReplyBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.CloseIdle)
	return e, "http://" + l.Addr().String()
}

func TestAPlatformThatLies(t *testing.T) {
	const canary = "EAAcanary"
	for _, test := range []struct {
		name, say string
		status    int
		rule      string
	}{
		{"not HTTP", canary + "\r\n\r\n", 502, "upstream/malformed"},
		{"broken status", "HTTP/1.1 " + canary + "\r\n\r\n", 502, "upstream/malformed"},
		{"broken header", "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", 502, "upstream/malformed"},
		{"broken length", "HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n", 502, "upstream/malformed"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502, "upstream/malformed"},
		{"unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n", 502, "upstream/malformed"},
		{"huge header", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 502, "upstream/header-size"},
		{"says nothing", "", 502, "upstream/connection"},
		{"body shorter than said", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + canary[:5], 502, "upstream/connection"},
		{"broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n", 502, "upstream/malformed"},
		{"huge body", "HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + strings.Repeat("a", 2000), 502, "upstream/size"},
		{"changes the protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", 502, "upstream/protocol"},
	} {
		e, base := raw(t, func(c net.Conn) { _, _ = io.WriteString(c, test.say) })
		_, _, err := get(t, e, base)
		refused(t, test.name, err, test.status, test.rule)
		if err != nil && strings.Contains(err.Error(), canary[3:]) {
			t.Errorf("%s: the error quotes the platform: %v", test.name, err)
		}
	}
	e, base := raw(t, func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 1024\r\n\r\n", strings.Repeat("a", 1024))
	})
	if _, body, err := get(t, e, base); err != nil || len(body) != 1024 {
		t.Errorf("a body of exactly the limit: %d bytes, %v", len(body), err)
	}
}

func TestAStreamHasNoEndAndNoSize(t *testing.T) {
	e, base := raw(t, func(c net.Conn) {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4096\r\n\r\n", strings.Repeat("a", 4096))
	})
	r, err := http.NewRequest("GET", base, nil)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := e.Stream(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if b, err := io.ReadAll(reply.Body); err != nil || len(b) != 4096 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{host}, AllowLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = get(t, e, "https://"+host)
	refused(t, "nothing listens", err, 502, "upstream/connection")
}

func TestProxiesOfTheEnvironmentAreIgnored(t *testing.T) {
	var asked atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }))
	defer proxy.Close()
	t.Setenv("HTTPS_PROXY", proxy.URL)
	t.Setenv("HTTP_PROXY", proxy.URL)
	e, base := upstream(t, hello)
	if _, _, err := get(t, e, base); err != nil {
		t.Error(err)
	}
	if asked.Load() {
		t.Error("the proxy of the environment was asked")
	}
}

func TestTheRepliesConnectionIsUsedAgain(t *testing.T) {
	conns := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conns[r.RemoteAddr] = true
		_, _ = io.WriteString(w, "ok")
	}))
	defer server.Close()
	// By name, so that the system's resolver (its hosts file) is asked too.
	address := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{strings.TrimPrefix(address, "http://")}, AllowLoopback: true, AllowPlainLoopback: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, _, err := get(t, e, address); err != nil {
			t.Fatal(err)
		}
	}
	e.CloseIdle()
	if len(conns) != 1 {
		t.Errorf("5 calls used %d connections", len(conns))
	}
}
