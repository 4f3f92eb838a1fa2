package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/wire"

	"github.com/coder/websocket"
)

// stranger is a third party on loopback that keeps everything that it is sent.
type stranger struct {
	host   string
	server *httptest.Server
	caFile string // of its certificate; empty if it speaks plain http

	mu       sync.Mutex
	got      []byte   // addresses, headers, bodies and messages, also of what broke off
	requests []string // paths of those that came
}

// newStranger starts one under a name that exists nowhere.
func newStranger(t *testing.T, host string, plain bool) *stranger {
	t.Helper()
	s := &stranger{host: host}
	s.server = httptest.NewUnstartedServer(s)
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that are meant to break
	t.Cleanup(s.server.Close)
	if plain {
		s.server.Start()
		return s
	}
	certificate, key, err := wire.NewCA("the third party's CA", []string{host}, nil, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := wire.OpenCA(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	s.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(s.caFile, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	s.server.TLS = ca.ServerTLS([]string{host}, nil)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	return s
}

// declare is its line below third_parties.
func (s *stranger) declare(may string) string {
	line := fmt.Sprintf("  %s: {purposes: [publish, pages], may_receive: [%s], inspect: true, address: %q", s.host, may, s.server.Listener.Addr())
	if s.caFile != "" {
		line += fmt.Sprintf(", ca_file: %q", s.caFile)
	}
	return line + "}\n"
}

// ServeHTTP takes everything: a WebSocket is answered message by message.
func (s *stranger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s %s\n", r.Method, r.URL.RequestURI(), r.Proto)
	_ = r.Header.Write(&head)
	s.keep(head.Bytes())
	s.mu.Lock()
	s.requests = append(s.requests, r.URL.Path)
	s.mu.Unlock()
	if r.Header.Get("Upgrade") != "" {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer conn.CloseNow()
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			s.keep(message)
			if conn.Write(r.Context(), kind, []byte("heard")) != nil {
				return
			}
		}
	}
	buffer := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buffer)
		s.keep(buffer[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler) // half a request is none
		}
	}
	var trailer bytes.Buffer
	_ = r.Trailer.Write(&trailer)
	s.keep(trailer.Bytes())
	w.WriteHeader(http.StatusNoContent)
}

func (s *stranger) keep(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, p...)
}

// heard returns whether something stands in what was received.
func (s *stranger) heard(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Contains(s.got, []byte(text))
}

// visits counts the requests to a path.
func (s *stranger) visits(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, p := range s.requests {
		if p == path {
			n++
		}
	}
	return n
}

// outside is an app's client for everybody but the platforms: it has HTTPS_PROXY, the
// service key and the authority for inspection, and knows nothing else of Gatehouse.
func (h *house) outside(purpose string, http2 bool) *http.Client {
	h.t.Helper()
	h.api() // makes the key
	proxy, err := url.Parse(h.ready["proxy_listener"])
	if err != nil {
		h.t.Fatal(err)
	}
	proxy.User = url.UserPassword(purpose, h.key)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(h.ready["ca_file"])
	if err != nil {
		h.t.Fatal(err)
	}
	if !roots.AppendCertsFromPEM(ca) || !roots.AppendCertsFromPEM([]byte(h.must("egress", "ca", "--pem"))) {
		h.t.Fatal("there are no authorities")
	}
	transport := &http.Transport{
		Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: http2,
		DisableCompression: true,
	}
	h.t.Cleanup(transport.CloseIdleConnections)
	h.outsiders = append(h.outsiders, transport)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// refusal is what a request came to: empty if it passed, the rule if it was refused with
// a problem document, "cut" if it broke off.
func refusal(t *testing.T, client *http.Client, r *http.Request) (rule, document string) {
	t.Helper()
	reply, err := client.Do(r)
	if err != nil {
		return "cut", err.Error()
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	if reply.StatusCode == http.StatusNoContent {
		return "", ""
	}
	var problem struct {
		Rule   string `json:"rule"`
		Status int    `json:"status"`
	}
	if reply.StatusCode != http.StatusForbidden || reply.Header.Get("Content-Type") != "application/problem+json" ||
		json.Unmarshal(b, &problem) != nil || problem.Status != http.StatusForbidden {
		t.Errorf("%s %s answers %d, %s: %s", r.Method, r.URL.Path, reply.StatusCode, reply.Header.Get("Content-Type"), b)
	}
	return problem.Rule, string(b)
}

// talk says messages over a WebSocket until one is not answered, and returns how many
// were.
func talk(t *testing.T, client *http.Client, address string, messages ...[]byte) int {
	t.Helper()
	conn, reply, err := websocket.Dial(t.Context(), address, &websocket.DialOptions{HTTPClient: &http.Client{Transport: client.Transport}})
	if err != nil {
		t.Fatal(err)
	}
	_ = reply
	defer conn.CloseNow()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i, m := range messages {
		if err := conn.Write(ctx, websocket.MessageText, m); err != nil {
			return i
		}
		if _, _, err := conn.Read(ctx); err != nil {
			return i
		}
	}
	return len(messages)
}

// piecemeal is a body of unknown length that comes in the given pieces.
func piecemeal(pieces ...string) io.Reader {
	readers := make([]io.Reader, len(pieces))
	for i, p := range pieces {
		readers[i] = strings.NewReader(p)
	}
	return io.MultiReader(readers...)
}

// sorted is for comparing what has no order.
func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}
