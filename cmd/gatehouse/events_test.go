package main

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/outbox"
	"gatehouse/internal/wire"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// TestEvents is what an operator and an app see of events: posted and verified,
// a dead letter listed and replayed, and fetched by a service once the
// configuration names it.
func TestEvents(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	var refusing atomic.Bool
	got := map[string]int{}
	secret := ""
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if refusing.Load() {
			w.WriteHeader(http.StatusGone)
			return
		}
		body, _ := io.ReadAll(r.Body)
		library, err := standardwebhooks.NewWebhook(secret)
		if err != nil || library.Verify(body, r.Header) != nil {
			t.Errorf("a delivery does not verify: %v", err)
		}
		got[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(endpoint.Close)
	configure := func(services string) {
		t.Helper()
		text, err := os.ReadFile(h.config)
		if err != nil {
			t.Fatal(err)
		}
		base, _, _ := strings.Cut(string(text), "\nevents:")
		if err := os.WriteFile(h.config, []byte(base+"\nevents: {url: \""+endpoint.URL+"/\", services: "+services+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure("[]")
	out, errOut, code := h.gatehouse("events", "secret")
	if code != 0 {
		t.Fatalf("events secret: %s", errOut)
	}
	secret = strings.TrimSpace(out)
	h.start()

	// A part of Gatehouse puts events, here in another process.
	p, err := assemble(t.Context(), h.load(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	put := func(id string) {
		t.Helper()
		if err := p.outbox.Put(t.Context(), outbox.Event{ID: id, Type: "test.event", App: "x", Data: json.RawMessage(`{"canary":"c4n4ry"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	await := func(id string, state outbox.State) {
		t.Helper()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if d, err := p.outbox.State(t.Context(), id); err == nil && d.State == state {
				return
			}
		}
		t.Fatalf("%s never became %s\n%s", id, state, h.stderr)
	}
	put("one")
	await("one", outbox.Delivered)

	refusing.Store(true)
	put("two")
	await("two", outbox.Dead)
	refusing.Store(false)
	out, errOut, code = h.gatehouse("events", "list", "--state", "dead", "--json")
	var list []eventRow
	if err := json.Unmarshal([]byte(out), &list); code != 0 || err != nil || len(list) != 1 || list[0].ID != "two" || list[0].Failure != "status/410" || !list[0].Content {
		t.Errorf("the dead letters: %d %v %s%s", code, err, out, errOut)
	}
	if out, _, code = h.gatehouse("events", "list"); code != 0 || !strings.Contains(out, "status/410") || strings.Contains(out, "c4n4ry") {
		t.Errorf("events list: %d\n%s", code, out)
	}
	if out, errOut, code = h.gatehouse("events", "replay", "--all"); code != 0 || !strings.HasPrefix(out, "1 dead letters") {
		t.Errorf("events replay: %d %s%s", code, out, errOut)
	}
	await("two", outbox.Delivered)
	if out, errOut, code = h.gatehouse("events", "replay", "two"); code != 1 || !strings.Contains(errOut, "was delivered") {
		t.Errorf("replaying what was delivered: %d %s%s", code, out, errOut)
	}
	mu.Lock()
	if got["one"] != 1 || got["two"] != 1 {
		t.Errorf("the app took %v", got)
	}
	mu.Unlock()

	// A service fetches once it is named, without a restart.
	refusing.Store(true)
	put("three")
	await("three", outbox.Dead)
	refusing.Store(false)
	api := h.api()
	if err := api.do(t.Context(), "GET", "/gatehouse/v1/events", nil, nil); err == nil || !strings.Contains(err.Error(), "api/events") {
		t.Errorf("a service that is not named: %v", err)
	}
	configure("[demo]")
	if err := h.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := api.do(t.Context(), "GET", "/gatehouse/v1/events", nil, nil)
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the reload: %v\n%s", err, h.stderr)
		}
	}
	if err := api.do(t.Context(), "POST", "/gatehouse/v1/events/three/ack", nil, nil); err != nil {
		t.Error(err)
	}
	await("three", outbox.Delivered)
	if strings.Contains(h.stderr.String(), "c4n4ry") || strings.Contains(h.stderr.String(), "events.services gains demo\" needs") {
		t.Errorf("the program's log:\n%s", h.stderr)
	}
	if code := h.stop(); code != 0 {
		t.Errorf("it ended with %d\n%s", code, h.stderr)
	}
}

// The endpoint's certificate is checked against the authority that the
// configuration names, and only the configured host is reached.
func TestEventsEgress(t *testing.T) {
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(endpoint.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: endpoint.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(e config.Events, url string) error {
		t.Helper()
		reach, err := eventsEgress(e)
		if err != nil {
			t.Fatal(err)
		}
		egress, err := wire.NewEgress(reach)
		if err != nil {
			t.Fatal(err)
		}
		defer egress.CloseIdle()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := egress.RoundTrip(req)
		if err == nil {
			reply.Body.Close()
		}
		return err
	}
	if err := ask(config.Events{URL: endpoint.URL, CAFile: ca}, endpoint.URL+"/events"); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	if err := ask(config.Events{URL: endpoint.URL}, endpoint.URL); err == nil {
		t.Error("a certificate of an unknown authority is accepted")
	}
	if err := ask(config.Events{URL: "https://app.example.com/", CAFile: ca}, endpoint.URL); err == nil || !strings.Contains(err.Error(), "egress/host") {
		t.Errorf("another host: %v", err)
	}
	for _, test := range []struct {
		url, host       string
		loopback, plain bool
	}{
		{"https://app.example.com/e", "app.example.com", false, false},
		{"https://10.0.0.5:8443/e", "10.0.0.5:8443", false, false},
		{"https://localhost:8443/e", "localhost:8443", true, false},
		{"https://[::1]/e", "[::1]", true, false},
		{"http://127.0.0.1/e", "127.0.0.1:80", true, true},
		{"http://[::1]:9000/e", "[::1]:9000", true, true},
		{"http://app.example.com/e", "app.example.com:80", false, false}, // refused by the configuration already
	} {
		c, err := eventsEgress(config.Events{URL: test.url})
		if err != nil || !slices.Equal(c.Hosts, []string{test.host}) || c.AllowLoopback != test.loopback || c.AllowPlainLoopback != test.plain || !c.AllowPrivate {
			t.Errorf("%s reaches %+v, %v", test.url, c, err)
		}
		if _, err := wire.NewEgress(c); err != nil {
			t.Errorf("%s: %v", test.url, err)
		}
	}
	if _, err := eventsEgress(config.Events{URL: endpoint.URL, CAFile: ca + ".missing"}); err == nil || !strings.Contains(err.Error(), "events.ca_file") {
		t.Errorf("a missing authority: %v", err)
	}
}
