package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// tunnel opens one to target as the tests' usual caller; what was not carried is the
// answer.
func (r *rig) tunnel(target string) (net.Conn, *answer) {
	r.t.Helper()
	conn, read := r.dial()
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: x\r\n" + r.credentials() + "\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		r.t.Fatal(err)
	}
	a := r.read(read, request)
	if a.status != http.StatusOK {
		return nil, a
	}
	return &readAhead{conn.(*net.TCPConn), read}, nil
}

// readAhead is a connection of which some bytes may be in the reader already.
type readAhead struct {
	*net.TCPConn
	read *bufio.Reader
}

func (c *readAhead) Read(p []byte) (int, error) { return c.read.Read(p) }

// helloFor is a real ClientHello for a server name.
func helloFor(t testing.TB, name string) []byte {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	sent := make(chan []byte, 1)
	go func() {
		b := make([]byte, 16<<10)
		n, _ := far.Read(b)
		far.Close()
		sent <- b[:n]
	}()
	_ = tls.Client(near, &tls.Config{ServerName: name, InsecureSkipVerify: name == ""}).HandshakeContext(t.Context())
	return <-sent
}

func (r *rig) outcome(rule string) audit.Shown {
	r.t.Helper()
	r.stop() // every outcome is with the log then
	e := r.last(audit.KindOutcome)
	if e.Rule != rule {
		r.t.Errorf("the outcome is %+v; want rule %s", e.Leaf, rule)
	}
	return e
}

// Domain fronting: the tunnel is for one name, and what comes through it for another
// that the same machine serves.
func TestAFrontIsNoWayToSomebodyElse(t *testing.T) {
	for _, c := range []struct{ name, target, server, rule string }{
		{"the same", "segment.test:443", "segment.test", ""},
		{"the same in other letters", "Segment.Test:443", "SEGMENT.test", ""},
		{"another that the machine serves", "segment.test:443", "other.test", "tunnel/server-name"},
		{"one below", "segment.test:443", "a.segment.test", "tunnel/server-name"},
		{"none", "segment.test:443", "", "tunnel/server-name"},
		{"none for an address", "192.0.2.7:443", "", ""},
		{"a name for an address", "192.0.2.7:443", "segment.test", "tunnel/server-name"},
		{"none for an IPv6 address", "[2001:db8::7]:443", "", ""},
	} {
		r := newRig(t, options{})
		conn, refused := r.tunnel(c.target)
		if refused != nil {
			t.Fatalf("%s: %v", c.name, refused)
		}
		if _, err := conn.Write(helloFor(t, c.server)); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		_, err := io.ReadFull(conn, first)
		if c.rule == "" {
			if err != nil || first[0] != 22 {
				t.Errorf("%s: %v, %v", c.name, first, err)
			}
			conn.Close()
			continue
		}
		if err != nil || first[0] != 21 {
			t.Errorf("%s: %v, %v; want an alert", c.name, first, err)
		}
		if e := r.outcome(c.rule); e.Verdict != "failed" || e.Bytes != 0 || e.Status != 403 {
			t.Errorf("%s: the outcome is %+v", c.name, e.Leaf)
		}
	}
}

// What is no TLS gets no byte to the destination, and a destination that speaks first
// none to the caller.
func TestATunnelCarriesNothingButTLS(t *testing.T) {
	var got atomic.Int64
	greeter := serving(t, func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.test ESMTP\r\n")
		n, _ := io.Copy(io.Discard, conn)
		got.Add(n)
	})
	whole := helloFor(t, "segment.test")
	for name, first := range map[string][]byte{
		"mail":                  []byte("EHLO me\r\nMAIL FROM:<a@b>\r\n"),
		"ssh":                   []byte("SSH-2.0-OpenSSH_9.6\r\n"),
		"plain http":            []byte("GET / HTTP/1.1\r\nHost: segment.test\r\n\r\n"),
		"SSL 2":                 {0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10},
		"another record":        {23, 3, 3, 0, 1, 0},
		"another message":       {22, 3, 1, 0, 4, 2, 0, 0, 0},
		"an empty record":       {22, 3, 1, 0, 0},
		"a record too long":     {22, 3, 1, 0xff, 0xff},
		"a message too long":    {22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff},
		"half a hello":          whole[:len(whole)/2],
		"nothing":               {},
		"a hello that lies":     lie(whole),
		"a hello with two SNIs": twoNames(t, "segment.test", "other.test"),
	} {
		r := newRig(t, options{})
		r.route("segment.test", greeter)
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatalf("%s: %v", name, refused)
		}
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*readAhead).CloseWrite() // it may be closed already
		back, _ := io.ReadAll(conn)
		if bytes.Contains(back, []byte("220 mail.test")) {
			t.Errorf("%s: the destination's greeting came through", name)
		}
		if e := r.outcome("tunnel/no-tls"); e.Bytes != 0 || e.Facts["received"] != "0" {
			t.Errorf("%s: %+v", name, e.Leaf)
		}
	}
	if got.Load() != 0 {
		t.Errorf("%d bytes that were no TLS went out", got.Load())
	}
}

// A ClientHello may come in pieces, with the CONNECT, and in several records.
func TestHellosInPieces(t *testing.T) {
	r := newRig(t, options{})
	whole := helloFor(t, "segment.test")
	fragments := fragmented(whole)
	for name, write := range map[string]func(net.Conn) error{
		"byte by byte": func(c net.Conn) error {
			for i := range whole {
				if _, err := c.Write(whole[i : i+1]); err != nil {
					return err
				}
			}
			return nil
		},
		"in records of one byte": func(c net.Conn) error { _, err := c.Write(fragments); return err },
	} {
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatal(refused)
		}
		if err := write(conn); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(conn, first); err != nil {
			t.Errorf("%s: %v, %v", name, first, err)
		}
		conn.Close()
	}
	// With what follows it, in one write with the CONNECT: nothing is lost.
	r.route("segment.test", serving(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) }))
	eager, answers := r.dial()
	text := "CONNECT segment.test:443 HTTP/1.1\r\nHost: x\r\n" + r.credentials() + "\r\n" + string(whole) + "and what follows"
	if _, err := io.WriteString(eager, text); err != nil {
		t.Fatal(err)
	}
	if a := r.read(answers, text); a.status != http.StatusOK {
		t.Fatal(a)
	}
	back := make([]byte, len(whole)+len("and what follows"))
	if _, err := io.ReadFull(answers, back); err != nil || string(back) != string(whole)+"and what follows" {
		t.Errorf("%d bytes came back: %v", len(back), err)
	}
	r.route("segment.test", r.party.address())

	// Eagerly, in one write with the CONNECT.
	conn, read := r.dial()
	request := "CONNECT segment.test:443 HTTP/1.1\r\nHost: x\r\n" + r.credentials() + "\r\n"
	if _, err := conn.Write(append([]byte(request), whole...)); err != nil {
		t.Fatal(err)
	}
	if a := r.read(read, request); a.status != http.StatusOK {
		t.Fatal(a)
	}
	if b, err := read.ReadByte(); err != nil || b != 22 {
		t.Errorf("%d, %v", b, err)
	}
}

// WebSocket, and whatever else speaks TLS, passes without being understood; each
// direction ends by itself.
func TestATunnelPassesWhateverIsInside(t *testing.T) {
	for _, listener := range []bool{false, true} {
		r := newRig(t, options{tls: listener})
		leaf, err := r.ca.Issue([]string{"segment.test"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.route("segment.test", tlsEcho(t, leaf))
		client := r.client("analytics", reports)
		transport := client.Transport.(*http.Transport)
		transport.ForceAttemptHTTP2 = false
		transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
		request := newRequest(t, "https://segment.test/socket")
		request.Header.Set("Connection", "Upgrade")
		request.Header.Set("Upgrade", "websocket")
		reply, err := transport.RoundTrip(request)
		if err != nil || reply.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v %v", reply, err)
		}
		socket := reply.Body.(io.ReadWriteCloser)
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
		go func() { _, _ = socket.Write(big) }()
		back := make([]byte, len(big))
		if _, err := io.ReadFull(socket, back); err != nil || !bytes.Equal(back, big) {
			t.Errorf("what came back is not what went out: %v", err)
		}
		socket.Close()
		r.stop()
		if e := r.last(audit.KindOutcome); e.Bytes < 1<<20 {
			t.Errorf("the outcome is %+v", e.Leaf)
		}
	}
}

func TestTunnelsAreCut(t *testing.T) {
	open := func(r *rig) net.Conn {
		t.Helper()
		r.route("segment.test", serving(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }))
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatal(refused)
		}
		if _, err := conn.Write(helloFor(t, "segment.test")); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	ended := func(conn net.Conn) {
		t.Helper()
		if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
			t.Error("the tunnel goes on")
		}
	}
	t.Run("by rules", func(t *testing.T) {
		r := newRig(t, options{})
		conn := open(r)
		s := r.settings(policy.Enforce, destinations()[1:])
		if err := r.proxy.Apply(s); err != nil {
			t.Fatal(err)
		}
		ended(conn)
		r.outcome("tunnel/rules")
	})
	t.Run("by inspection", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) {
			c.Terminate = func(context.Context, net.Conn, egress.Inspected) error { return nil }
		}})
		conn := open(r)
		list := destinations()
		list[0].Inspect = true
		s := r.settings(policy.Enforce, list)
		s.Routes["segment.test"] = egress.Route{}
		if err := r.proxy.Apply(s); err != nil {
			t.Fatal(err)
		}
		ended(conn)
		r.outcome("tunnel/rules")
	})
	for name, change := range map[string]func(*egress.Route){
		"by another address": func(to *egress.Route) { to.Address = netip.MustParseAddrPort("127.0.0.1:1") },
		"by other networks":  func(to *egress.Route) { to.Private = true },
		"by other roots":     func(to *egress.Route) { to.Roots = x509.NewCertPool() },
		"by no roots":        func(to *egress.Route) { to.Roots = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{})
			conn := open(r)
			s := *r.applied
			to := s.Routes["segment.test"]
			change(&to)
			s.Routes = map[string]egress.Route{"segment.test": to}
			if err := r.proxy.Apply(s); err != nil {
				t.Fatal(err)
			}
			ended(conn)
			r.outcome("tunnel/rules")
		})
	}
	t.Run("by its key", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) { c.Limits.Check = 5 * time.Millisecond }})
		conn := open(r)
		keys, err := r.known.ServiceKeys(t.Context(), reports)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.known.RevokeServiceKey(t.Context(), keys[0].ID); err != nil {
			t.Fatal(err)
		}
		ended(conn)
		r.outcome("tunnel/key")
	})
	t.Run("by its time", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) { c.Limits.TunnelTime = 500 * time.Millisecond }})
		ended(open(r))
		r.outcome("tunnel/time")
	})
	t.Run("by silence", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) { c.Limits.Idle = 200 * time.Millisecond }})
		ended(open(r))
		r.outcome("tunnel/idle")
	})
	t.Run("by a first message that does not come", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) { c.Limits.HelloTime = 20 * time.Millisecond }})
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatal(refused)
		}
		ended(conn)
		r.outcome("tunnel/no-tls")
	})
	t.Run("by the end of the process", func(t *testing.T) {
		r := newRig(t, options{})
		conn := open(r)
		r.stop()
		ended(conn)
		r.outcome("tunnel/stopped")
	})
	t.Run("by nothing when the rules still allow it", func(t *testing.T) {
		r := newRig(t, options{change: func(c *egress.Config) { c.Limits.Check = time.Millisecond }})
		echo := serving(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
		r.route("segment.test", echo)
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatal(refused)
		}
		hello := helloFor(t, "segment.test")
		back := make([]byte, len(hello))
		for range 3 {
			if _, err := conn.Write(hello); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(conn, back); err != nil {
				t.Fatal(err)
			}
			r.pool = r.ca.Pool() // read again, and the same
			r.route("segment.test", echo)
		}
	})
}

func TestTunnelsAreBounded(t *testing.T) {
	r := newRig(t, options{change: func(c *egress.Config) { c.Limits.Tunnels = 4 }})
	var open []net.Conn
	for range 2 {
		conn, refused := r.tunnel("segment.test:443")
		if refused != nil {
			t.Fatal(refused)
		}
		open = append(open, conn)
	}
	// One service may have half of them.
	_, refused := r.tunnel("segment.test:443")
	if refused == nil || refused.status != http.StatusTooManyRequests || refused.rule() != "limit/concurrent-tunnels" || refused.header.Get("Retry-After") == "" {
		t.Fatalf("%v", refused)
	}
	// Others still get theirs.
	request := "CONNECT other.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer " + r.keys[scheduler] + "\r\n\r\n"
	if a := r.raw(request); a.status != http.StatusOK {
		t.Errorf("another service: %v", a)
	}
	open[0].Close()
	until(t, func() bool {
		conn, refused := r.tunnel("segment.test:443")
		if refused == nil {
			conn.Close()
		}
		return refused == nil
	})
}

func TestRefusalsAndRequestsAreBounded(t *testing.T) {
	hold := make(chan struct{})
	arrived := make(chan struct{}, 1)
	slow := serving(t, func(conn net.Conn) {
		arrived <- struct{}{}
		<-hold
	})
	r := newRig(t, options{change: func(c *egress.Config) { c.Limits.Requests, c.Limits.StrangersPerSecond = 1, 1 }})
	r.route("plain.test", slow)
	text := "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n" + r.credentials() + "\r\n"
	conn, _ := r.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	<-arrived
	r.refused("the second request", r.raw(text), 429, "limit/concurrent-requests")
	close(hold)

	rules := map[string]int{}
	for range 60 {
		rules[r.raw("GET http://unknown.test/ HTTP/1.1\r\nHost: x\r\n"+r.credentials()+"\r\n").rule()]++
		rules[r.raw("GET http://unknown.test/ HTTP/1.1\r\nHost: x\r\n\r\n").rule()]++
	}
	if rules["limit/refusals"] == 0 || rules["limit/strangers"] == 0 || rules[policy.RuleUnknownDestination] < 10 {
		t.Errorf("%v", rules)
	}
	written := 0
	for _, e := range r.entries() {
		if e.Verdict == "refuse" {
			written++
		}
	}
	if want := rules[policy.RuleUnknownDestination] + rules["egress/credentials"] + 1; written != want {
		t.Errorf("%d refusals in the log; want %d", written, want)
	}
}

func TestRatesAreTheServices(t *testing.T) {
	var asked []gatehouse.ServiceName
	r := newRig(t, options{change: func(c *egress.Config) {
		c.Admit = func(name gatehouse.ServiceName, n int) error {
			asked = append(asked, name)
			return refuseRate
		}
	}})
	r.refused("over the rate", r.connect("segment.test:443"), 429, "limit/service-rate")
	if len(asked) != 1 || asked[0] != reports {
		t.Errorf("asked %v", asked)
	}
}

// A tunnel to a destination with inspection goes to whoever inspects, or nowhere.
func TestInspectedTunnels(t *testing.T) {
	r := newRig(t, options{})
	if a := r.connect("inspected.test:443"); a.status != http.StatusServiceUnavailable || a.rule() != "egress/no-inspection" {
		t.Errorf("%v", a)
	}
	if r.party.conn.Load() != 0 {
		t.Error("it went out uninspected")
	}
	// In report mode, too.
	r = newRig(t, options{report: true})
	if a := r.connect("inspected.test:443"); a.rule() != "egress/no-inspection" {
		t.Errorf("%v", a)
	}

	var seen egress.Inspected
	r = newRig(t, options{change: func(c *egress.Config) {
		c.Terminate = func(ctx context.Context, client net.Conn, i egress.Inspected) error {
			seen = i
			hello := helloFor(t, "inspected.test")
			got := make([]byte, len(hello))
			if _, err := io.ReadFull(client, got); err != nil || got[0] != 22 {
				t.Errorf("the tunnel begins with %v %v", got[:5], err)
			}
			for range 2 {
				upstream, err := i.Dial(ctx)
				if err != nil {
					return err
				}
				defer upstream.Close()
			}
			i.Carried.Sent.Add(7)
			_, _ = io.WriteString(client, "from the one who inspects")
			return nil
		}
	}})
	conn, refused := r.tunnel("inspected.test:443")
	if refused != nil {
		t.Fatal(refused)
	}
	if _, err := conn.Write(helloFor(t, "inspected.test")); err != nil {
		t.Fatal(err)
	}
	if back, err := io.ReadAll(conn); err != nil || string(back) != "from the one who inspects" {
		t.Errorf("%s, %v", back, err)
	}
	e := r.outcome("")
	want := egress.Transfer{Service: reports, Purpose: "analytics", Destination: "inspected.test", May: []gatehouse.DataClass{gatehouse.EmailAddress}, Entry: e.Intent}
	if got := seen.Transfer; got.Service != want.Service || got.Purpose != want.Purpose || got.Destination != want.Destination || len(got.May) != 1 || got.May[0] != want.May[0] || got.Report || got.Entry != want.Entry {
		t.Errorf("the transfer is %+v", got)
	}
	if seen.Port != 443 || seen.Roots == nil || seen.Receipt.ID() != e.Intent || e.Bytes != 7 {
		t.Errorf("%+v, %+v", seen, e.Leaf)
	}
	if n := r.party.conn.Load(); n != 2 {
		t.Errorf("%d connections were made; want the one that stood, and one more", n)
	}
}

// Redirects and proxies' ways of saying no are read by programs: curl says what the
// refusal says.
func TestARefusalIsReadable(t *testing.T) {
	r := newRig(t, options{})
	a := r.connect("unknown.test:443")
	r.refused("unknown", a, 403, policy.RuleUnknownDestination)
	if !strings.Contains(a.body, "third_parties") {
		t.Errorf("%s", a.body)
	}
	if e := r.last(audit.KindEvent); e.Action != "egress.tunnel" || e.Service != reports || e.Purpose != "analytics" || e.Facts["host"] != "" || !strings.Contains(r.sealed(e), "unknown.test") {
		t.Errorf("the log says %+v", e.Leaf)
	}
	_, _, refused := fetch(t, r.client("analytics", reports), "https://api.x.com/2/users/me")
	if refused == nil || !strings.Contains(refused.body, "gateway") {
		t.Errorf("%v", refused)
	}
}

// A caller whose key was accepted is no stranger any more: those who show none do not
// push its tunnel out, and have no place of its. A key that is not is none.
func TestStrangersPushNobodyOut(t *testing.T) {
	r := newRig(t, options{listen: func(c *wire.ServerConfig) { c.Strangers, c.StrangerTime = 1, time.Hour }})
	conn, refused := r.tunnel("segment.test:443")
	if refused != nil {
		t.Fatal(refused)
	}
	wrong, read := r.dial()
	request := "CONNECT segment.test:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer gth_svc_wrong\r\n\r\n"
	if _, err := io.WriteString(wrong, request); err != nil {
		t.Fatal(err)
	}
	if a := r.read(read, request); a.status != http.StatusProxyAuthRequired {
		t.Fatalf("%d", a.status)
	}
	silent, heard := r.dial()
	r.dial()
	if _, err := heard.ReadByte(); err == nil || isTimeout(err) {
		t.Errorf("the older stranger %s is still there: %v", silent.LocalAddr(), err)
	}
	secured := tls.Client(conn, &tls.Config{ServerName: "segment.test", RootCAs: r.pool, MinVersion: tls.VersionTLS12})
	if err := secured.HandshakeContext(t.Context()); err != nil {
		t.Errorf("the tunnel: %v", err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
