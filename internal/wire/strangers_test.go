package wire_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
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
		listener.Handler, listener.Strangers, listener.StrangerTime = greeting, 10, 300*time.Millisecond
		s := run(t, listener)
		open := func() net.Conn {
			if listener.TLS == nil {
				return dial(t, s)
			}
			return dialTLS(t, s, ca.Pool())
		}
		known, stranger := open(), open()
		if err := ask(t, known, "k"); err != nil {
			t.Fatal(err)
		}
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
