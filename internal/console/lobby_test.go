package console

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"testing"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

func TestLobby(t *testing.T) {
	l := newLobby()
	take := func(from string, n int) (got int, leave func()) {
		for range n {
			if out, ok := l.enter(netip.MustParseAddr(from)); ok {
				got, leave = got+1, out
			}
		}
		return got, leave
	}
	got, leave := take("192.0.2.1", 100)
	if got != maxLobbyEach {
		t.Errorf("one network has %d", got)
	}
	if got, _ := take("2001:db8::1", 10); got != 10 {
		t.Errorf("another has %d of 10", got)
	}
	if got, _ := take("2001:db8::2", 10); got != maxLobbyEach-10 {
		t.Errorf("its neighbour has %d", got)
	}
	if got, _ := take("127.0.0.1", 100); got != maxLobby-2*maxLobbyEach {
		t.Errorf("loopback has %d", got)
	}
	if got, _ := take("192.0.2.2", 1); got != 0 {
		t.Error("there is one too many")
	}
	leave()
	if got, _ := take("192.0.2.2", 2); got != 1 {
		t.Errorf("one left, and %d are let in", got)
	}
	// Nothing is kept of who is gone.
	l = newLobby()
	for range 3 {
		_, leave := take("192.0.2.1", 1)
		leave()
	}
	if len(l.each) != 0 || l.all != 0 {
		t.Errorf("of nobody it keeps %v, and counts %d", l.each, l.all)
	}
}

// However many wait who may be anybody, whoever is signed in is let in.
func TestWhoIsSignedInWaitsForNoLobby(t *testing.T) {
	h := newHouse(t, nil)
	d := h.join("Ada", operator.Auditor)
	server, err := wire.Listen(wire.ServerConfig{Addr: "127.0.0.1:0", Handler: h.handler, MaxConns: 20, Strangers: 10})
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() { stop(); must(t, <-done) })
	ask := func(client *http.Client, signedIn bool) int {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL()+"/account", nil)
		must(t, err)
		r.Host = "localhost:8102"
		if signedIn {
			for name, value := range d.cookies {
				r.AddCookie(&http.Cookie{Name: h.console.cookieName(name), Value: value})
			}
		}
		res, err := client.Do(r)
		must(t, err)
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	client := func() *http.Client {
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	known, stranger := client(), client()
	if got := ask(known, true); got != http.StatusOK {
		t.Fatalf("signed in: %d", got)
	}
	if got := ask(stranger, false); got != http.StatusSeeOther {
		t.Fatalf("a stranger: %d", got)
	}
	for range maxLobby {
		_, ok := h.console.lobby.enter(netip.MustParseAddr("127.0.0.1"))
		if !ok {
			t.Fatal("the lobby is full")
		}
	}
	if got := ask(known, true); got != http.StatusOK {
		t.Errorf("signed in, with a full lobby: %d", got)
	}
	if got := ask(stranger, false); got != http.StatusTooManyRequests {
		t.Errorf("a stranger, with a full lobby: %d", got)
	}
}

// Behind a proxy a stranger is whom the proxy names, and nobody else says whom they speak for.
func TestLobbyBehindAProxy(t *testing.T) {
	h := newHouse(t, func(c *Config) { c.Proxies = wire.Proxies{netip.MustParsePrefix("192.0.2.1/32")} })
	for range maxLobbyEach {
		if _, ok := h.console.lobby.enter(netip.MustParseAddr("198.51.100.1")); !ok {
			t.Fatal("the lobby is full")
		}
	}
	for _, c := range []struct {
		peer, said string
		want       int
	}{
		{"192.0.2.1:1", "198.51.100.1", http.StatusTooManyRequests}, {"192.0.2.1:1", "203.0.113.1", http.StatusOK},
		{"198.51.100.1:1", "203.0.113.1", http.StatusTooManyRequests},
	} {
		r := newRequest(t, http.MethodGet, "/sign-in", "")
		r.Header.Set("X-Forwarded-For", c.said)
		r.RemoteAddr = c.peer
		if got := h.stranger().send(r).status; got != c.want {
			t.Errorf("%s through %s: %d, want %d", c.said, c.peer, got, c.want)
		}
	}
}
