package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// serveConn runs ServeConn over a pipe and returns the client's end, in TLS.
func serveConn(t *testing.T, change func(*wire.ConnConfig), handler wire.HandlerFunc) (*tls.Conn, <-chan error) {
	t.Helper()
	_, ca := nextCA(t, secret.Text{}, true, "a.example")
	leaf, err := ca.Leaf("a.example")
	if err != nil {
		t.Fatal(err)
	}
	c := wire.ConnConfig{TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*leaf}}, Surface: &wire.Surface{Transparent: true, BodyStall: -1}, Handler: handler}
	if change != nil {
		change(&c)
	}
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- wire.ServeConn(t.Context(), ours, c) }()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Authorities()[0].PEM)
	return tls.Client(theirs, &tls.Config{ServerName: "a.example", RootCAs: roots, MinVersion: tls.VersionTLS12}), done
}

func TestServeConnEndsInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := func(_ http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return r.Context().Err()
		}
		conn, done := serveConn(t, func(c *wire.ConnConfig) { c.Silence = time.Minute }, handler)
		began := time.Now()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(conn); err == nil && len(b) > 0 {
			t.Errorf("there is an answer: %q", b)
		}
		if err := <-done; err != nil || time.Since(began) != time.Minute {
			t.Errorf("ends with %v after %v", err, time.Since(began))
		}
		conn.Close()
	})
}

// Silence is of both directions: who only listens, or only sends, is not silent.
func TestServeConnGoesOnWhileSomethingMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := func(w http.ResponseWriter, _ *http.Request) error {
			for range 10 {
				time.Sleep(50 * time.Second)
				_, _ = io.WriteString(w, "x")
				_ = http.NewResponseController(w).Flush()
			}
			return nil
		}
		conn, done := serveConn(t, func(c *wire.ConnConfig) { c.Silence = time.Minute }, handler)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(reply.Body); err != nil || string(body) != "xxxxxxxxxx" {
			t.Errorf("%q, %v", body, err)
		}
		if reply.Header.Get("Gatehouse-Request") != "" {
			t.Error("a transparent surface adds a header")
		}
		conn.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestServeConnBoundsTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, done := serveConn(t, func(c *wire.ConnConfig) { c.HandshakeTimeout = 5 * time.Second }, func(http.ResponseWriter, *http.Request) error { return nil })
		began := time.Now()
		if err := <-done; err == nil || time.Since(began) != 5*time.Second {
			t.Errorf("ends with %v after %v", err, time.Since(began))
		}
		conn.NetConn().Close()
	})
}

func TestServeConnNeedsItsParts(t *testing.T) {
	ours, theirs := net.Pipe()
	if err := wire.ServeConn(t.Context(), ours, wire.ConnConfig{}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	if _, err := theirs.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is not closed: %v", err)
	}
	for _, c := range []wire.DestinationConfig{{Host: "a.example"}, {Dial: func(context.Context) (net.Conn, error) { return nil, nil }}} {
		if _, err := wire.NewDestination(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	}
}
