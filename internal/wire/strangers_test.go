package wire_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/wire"
)

// greeting knows who sends X-Key.
var greeting = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Key") != "" {
		wire.Known(r.Context())
	}
	_, _ = io.WriteString(w, "hello")
})

// ask sends one request on a connection and reads the answer.
func ask(t *testing.T, conn net.Conn, key string) error {
	t.Helper()
	header := "GET / HTTP/1.1\r\nHost: a\r\n"
	if key != "" {
		header += "X-Key: " + key + "\r\n"
	}
	if _, err := io.WriteString(conn, header+"\r\n"); err != nil {
		return err
	}
	reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, reply.Body)
	return err
}

// ended waits for the other side to close the connection.
func ended(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection is not closed: %v", err)
	}
}

// Those who open connections and show no key keep nobody out: neither by their own
// places nor by all.
func TestStrangersGiveWay(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: greeting, MaxConns: 4, Strangers: 3, StrangerTime: time.Hour})
	known := dial(t, s)
	if err := ask(t, known, "k"); err != nil {
		t.Fatal(err)
	}
	var silent []net.Conn
	for range 3 {
		silent = append(silent, dial(t, s))
	}
	// All places are taken: the oldest goes for the next, who is served.
	second := dial(t, s)
	if err := ask(t, second, "k"); err != nil {
		t.Fatal(err)
	}
	ended(t, silent[0])
	third := dial(t, s)
	if err := ask(t, third, "k"); err != nil {
		t.Fatal(err)
	}
	ended(t, silent[1])
	// An answer alone makes nobody known.
	talking := dial(t, s)
	if err := ask(t, talking, ""); err != nil {
		t.Fatal(err)
	}
	ended(t, silent[2])
	fourth := dial(t, s)
	if err := ask(t, fourth, "k"); err != nil {
		t.Fatal(err)
	}
	ended(t, talking)
	// Who is known never gives way.
	for i, conn := range []net.Conn{known, second, third, fourth} {
		if err := ask(t, conn, ""); err != nil {
			t.Errorf("the known caller %d was cut off: %v", i, err)
		}
	}
	// With all places taken by them, the next one waits until one goes.
	waits := dial(t, s)
	known.Close()
	if err := ask(t, waits, ""); err != nil {
		t.Error(err)
	}
}

// Strangers have no more places than theirs, however many are free.
func TestStrangersAreFewerThanConnections(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: greeting, MaxConns: 100, Strangers: 2, StrangerTime: time.Hour})
	first, second, third := dial(t, s), dial(t, s), dial(t, s)
	ended(t, first)
	for _, conn := range []net.Conn{second, third} {
		if err := ask(t, conn, ""); err != nil {
			t.Errorf("a stranger who had a place was cut off: %v", err)
		}
	}
}

// A stranger's time is short, also while it talks; somebody known has no such bound.
func TestAStrangersTimeIsShort(t *testing.T) {
	ca, _, _ := newCA(t)
	for _, listener := range []wire.ServerConfig{{}, {TLS: ca.ServerTLS([]string{"localhost"}, localIPs)}} {
		listener.Handler, listener.Strangers, listener.StrangerTime = greeting, 10, time.Second
		s := run(t, listener)
		open := func() net.Conn {
			if listener.TLS == nil {
				return dial(t, s)
			}
			return dialTLS(t, s, ca.Pool())
		}
		known := open()
		if err := ask(t, known, "k"); err != nil {
			t.Fatal(err)
		}
		stranger := open()
		for ask(t, stranger, "") == nil {
		}
		if err := ask(t, known, ""); err != nil {
			t.Errorf("the known caller was cut off as well: %v", err)
		}
	}
}

func dialTLS(t *testing.T, s *wire.Server, roots *x509.CertPool) net.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// dialFrom connects from one of loopback's many addresses.
func dialFrom(t *testing.T, s *wire.Server, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// The network that has the most places loses them: however often somebody connects from
// one of them, those who came from others before keep theirs.
func TestTheFullestNetworkGivesWay(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: greeting, MaxConns: 100, Strangers: 4, StrangerTime: time.Hour})
	first, neighbour := dialFrom(t, s, "127.0.0.9"), dialFrom(t, s, "127.3.0.1")
	for _, conn := range []net.Conn{first, neighbour} {
		if err := ask(t, conn, ""); err != nil {
			t.Fatal(err)
		}
	}
	// One address, and then many of one provider's.
	for _, from := range []string{"127.3.0.2", "127.3.0.2", "127.3.0.2", "127.3.1.3", "127.3.2.4", "127.3.3.5", "127.3.4.6"} {
		conn := dialFrom(t, s, from)
		if err := ask(t, conn, ""); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
	}
	if err := ask(t, first, ""); err != nil {
		t.Errorf("who was alone in a network was cut off: %v", err)
	}
	ended(t, neighbour) // the oldest of the network that had the most
}

// named knows who sends X-Key, by it.
var named = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	if who := r.Header.Get("X-Key"); who != "" {
		wire.KnownAs(r.Context(), who, 2)
	}
	_, _ = io.WriteString(w, "hello")
})

// Somebody who is known has so many connections, and all who are known leave strangers
// their places.
func TestKnownCallersLeavePlaces(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: named, MaxConns: 5, Strangers: 2, StrangerTime: time.Hour})
	as := func(who string) net.Conn {
		conn := dial(t, s)
		if err := ask(t, conn, who); err != nil {
			t.Fatalf("%s: %v", who, err)
		}
		return conn
	}
	a1, a2 := as("a"), as("a")
	if err := ask(t, a1, "a"); err != nil { // heard of last
		t.Fatal(err)
	}
	a3 := as("a")
	ended(t, a2)
	b1 := as("b") // all three places of those who are known
	c1 := as("c") // is served, and gives way like a stranger
	s1 := as("")
	for i, conn := range []net.Conn{a1, a3, b1, c1, s1} {
		if err := ask(t, conn, ""); err != nil {
			t.Errorf("connection %d was cut off: %v", i, err)
		}
	}
	s2 := as("")
	ended(t, c1)
	b2 := as("b") // has a place if one of its own goes
	ended(t, s1)
	ended(t, b1)
	a1.Close()
	for i, conn := range []net.Conn{a3, b2, s2} {
		if err := ask(t, conn, ""); err != nil {
			t.Errorf("connection %d was cut off afterwards: %v", i, err)
		}
	}
}

// A proxy's connections are nobody's to close, and leave strangers their places too.
func TestAProxysConnectionsAreNoStrangers(t *testing.T) {
	s := run(t, wire.ServerConfig{
		Handler: named, MaxConns: 4, Strangers: 2, StrangerTime: 2 * time.Second, Trusted: wire.Proxies{netip.MustParsePrefix("127.7.0.0/16")},
	})
	first, second, third := dialFrom(t, s, "127.7.0.1"), dialFrom(t, s, "127.7.0.1"), dialFrom(t, s, "127.7.0.2")
	ended(t, third) // one too many of the proxy's is a stranger, whose time is over
	for _, conn := range []net.Conn{first, second, dialFrom(t, s, "127.0.0.1")} {
		if err := ask(t, conn, ""); err != nil {
			t.Error(err)
		}
	}
}

// Whoever answers a stranger hears of it before the connection is cut.
func TestAStrangersConnectionAges(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Key") != "" {
			wire.Known(r.Context())
		}
		if wire.Aged(r.Context()) {
			w.Header().Set("Connection", "close")
		}
	})
	s := run(t, wire.ServerConfig{Handler: handler, MaxConns: 4, Strangers: 2, StrangerTime: 3 * time.Second})
	known, stranger := dial(t, s), dial(t, s)
	reader := bufio.NewReader(stranger)
	for closed := false; !closed; {
		if _, err := io.WriteString(stranger, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("it was cut in the middle: %v", err)
		}
		closed = reply.Close
		if err := ask(t, known, "k"); err != nil {
			t.Fatalf("who is known grows old too: %v", err)
		}
	}
}
