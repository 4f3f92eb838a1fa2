package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// run starts a server and stops it, and waits for it, when the test ends.
func run(t *testing.T, c wire.ServerConfig) *wire.Server {
	t.Helper()
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	s, err := wire.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s
}

// hello answers with the protocol.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) })

func TestListenRefusals(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		c    wire.ServerConfig
		kind error
	}{
		{"no handler", wire.ServerConfig{Addr: "127.0.0.1:0"}, gatehouse.ErrInvalid},
		{"plain on every interface", wire.ServerConfig{Addr: ":0", Handler: hello}, gatehouse.ErrInvalid},
		{"plain on a network", wire.ServerConfig{Addr: "10.0.0.1:0", Handler: hello}, gatehouse.ErrInvalid},
		{"plain on a name", wire.ServerConfig{Addr: "localhost.example.com:0", Handler: hello}, gatehouse.ErrInvalid},
		{"a file where the socket goes", wire.ServerConfig{Addr: "unix:" + file, Handler: hello}, gatehouse.ErrConflict},
	} {
		s, err := wire.Listen(test.c)
		if !errors.Is(err, test.kind) {
			t.Errorf("%s: %v, want %v", test.name, err, test.kind)
		}
		if s != nil {
			s.Close()
		}
	}
	for addr, want := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "[::ffff:127.0.0.1]:1": true,
		"0.0.0.0:1": false, ":1": false, "10.0.0.1:1": false, "127.0.0.1.example:1": false, "127.0.0.1": false,
	} {
		if got := wire.IsLoopback(addr); got != want {
			t.Errorf("IsLoopback(%q) = %v", addr, got)
		}
	}
}

func TestTLSIsTwelveOrNewerWithHTTP2(t *testing.T) {
	ca, _, _ := newCA(t)
	s := run(t, wire.ServerConfig{Handler: hello, TLS: ca.ServerTLS([]string{"localhost"}, localIPs)})
	if !strings.HasPrefix(s.URL(), "https://127.0.0.1:") {
		t.Fatalf("URL = %s", s.URL())
	}
	get := func(c *tls.Config) (string, error) {
		c.RootCAs = ca.Pool()
		transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		reply, err := (&http.Client{Transport: transport}).Get(s.URL())
		if err != nil {
			return "", err
		}
		defer reply.Body.Close()
		b, err := io.ReadAll(reply.Body)
		return string(b), err
	}
	if got, err := get(&tls.Config{MinVersion: tls.VersionTLS12}); err != nil || got != "HTTP/2.0" {
		t.Errorf("modern client: %q, %v", got, err)
	}
	if _, err := get(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

func TestAnOperatorsTLSConfigurationCannotGoBelowTwelve(t *testing.T) {
	ca, _, _ := newCA(t)
	old := ca.ServerTLS([]string{"localhost"}, localIPs)
	old.MinVersion = tls.VersionTLS10
	s := run(t, wire.ServerConfig{Handler: hello, TLS: old})
	_, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 is accepted")
	}
}

func TestHeadersThatAreTooLargeAreRefused(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: hello, MaxHeaderBytes: 8 << 10})
	r, err := http.NewRequest("GET", s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Big", strings.Repeat("a", 32<<10))
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d, want 431", reply.StatusCode)
	}
}

// dial connects without TLS.
func dial(t *testing.T, s *wire.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestACallerThatDripsItsHeaderIsCutOff(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: hello, ReadHeaderTimeout: 50 * time.Millisecond})
	conn := dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
	// A reply (408) or nothing: the connection ends either way.
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: hello, IdleTimeout: 50 * time.Millisecond})
	conn := dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		t.Errorf("the connection is still open: %v", err)
	}
}

func TestACallerThatDoesNotReadIsCutOff(t *testing.T) {
	failed := make(chan error, 1)
	s := run(t, wire.ServerConfig{WriteStall: 50 * time.Millisecond, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := w.Write(chunk); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	})})
	conn := dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	select {
	case err := <-failed:
		if err == nil {
			t.Error("a gigabyte was written to a caller that does not read")
		}
	case <-time.After(time.Minute):
		t.Error("the handler still waits for a caller that does not read")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := run(t, wire.ServerConfig{Handler: hello, MaxConns: 1})
	first, second := dial(t, s), dial(t, s)
	ask := func(c net.Conn) {
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	}
	answered := func(c net.Conn, within time.Duration) bool {
		if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, err := bufio.NewReader(c).ReadString('\n')
		return err == nil
	}
	ask(first)
	if !answered(first, time.Minute) {
		t.Fatal("the first connection is not answered")
	}
	ask(second)
	if answered(second, 100*time.Millisecond) {
		t.Error("a connection beyond the bound is answered")
	}
	first.Close()
	if !answered(second, time.Minute) {
		t.Error("a connection that waited is never answered")
	}
}

func TestShutdownLetsRequestsFinishAndEndsStreams(t *testing.T) {
	started, streams := make(chan struct{}, 2), make(chan struct{})
	release := make(chan struct{})
	s, err := wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:0", OnShutdown: func() { close(streams) }, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- struct{}{}
		if r.URL.Path == "/stream" {
			<-streams
		} else {
			<-release
		}
		_, _ = io.WriteString(w, "whole")
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	bodies := make(chan string, 2)
	for _, path := range []string{"/call", "/stream"} {
		go func() {
			reply, err := http.Get(s.URL() + path)
			if err != nil {
				bodies <- err.Error()
				return
			}
			defer reply.Body.Close()
			b, _ := io.ReadAll(reply.Body)
			bodies <- string(b)
		}()
	}
	<-started
	<-started
	stop()
	<-streams
	close(release)
	for range 2 {
		if got := <-bodies; got != "whole" {
			t.Errorf("a request under way got %q", got)
		}
	}
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := http.Get(s.URL()); err == nil {
		t.Error("the listener is still open")
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	started, told := make(chan struct{}), make(chan struct{})
	s, err := wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:0", Grace: 50 * time.Millisecond, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(told)
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	go func() {
		if reply, err := http.Get(s.URL()); err == nil {
			reply.Body.Close()
		}
	}()
	<-started
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("Run: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run waits for a handler that does not end")
	}
	<-told
}

func TestUnixSocketIsForThisUserAndReplacesADeadOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s := run(t, wire.ServerConfig{Addr: "unix:" + path, Handler: hello})
	if s.URL() != "unix:"+path {
		t.Errorf("URL = %s", s.URL())
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v", info.Mode())
	}
	if _, err := wire.Listen(wire.ServerConfig{Addr: "unix:" + path, Handler: hello}); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("a second listener on a living socket: %v", err)
	}

	dead := filepath.Join(t.TempDir(), "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, err := wire.Listen(wire.ServerConfig{Addr: "unix:" + dead, Handler: hello})
	if err != nil {
		t.Fatalf("a socket that a crash left behind: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// A connection of HTTP/2 has so many requests under way, and says so.
func TestStreamsOfAConnection(t *testing.T) {
	ca, _, _ := newCA(t)
	for most, want := range map[int]uint32{7: 7, 0: 250} {
		s := run(t, wire.ServerConfig{Handler: hello, TLS: ca.ServerTLS([]string{"localhost"}, localIPs), MaxStreams: most})
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		// The first frame is the settings: pairs of a number of two bytes and a value of four.
		head := make([]byte, 9)
		if _, err := io.ReadFull(conn, head); err != nil || head[3] != 4 {
			t.Fatalf("%x, %v", head, err)
		}
		settings := make([]byte, int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(conn, settings); err != nil {
			t.Fatal(err)
		}
		var got uint32
		for ; len(settings) >= 6; settings = settings[6:] {
			if binary.BigEndian.Uint16(settings) == 3 { // SETTINGS_MAX_CONCURRENT_STREAMS
				got = binary.BigEndian.Uint32(settings[2:])
			}
		}
		if got != want {
			t.Errorf("of %d: %d requests may be under way, not %d", most, got, want)
		}
	}
}
