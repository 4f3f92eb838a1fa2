package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/wire"
)

// Whoever opens as many connections as there may be, and says nothing, closes neither the
// console nor the public pages nor the figures: not to somebody who comes, nor to whoever is signed in.
func TestIdleConnectionsCloseNothing(t *testing.T) {
	cfg := &config.Config{Listen: config.Listen{Console: "127.0.0.1:0", Public: "127.0.0.1:0"}}
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Known") != "" {
			wire.KnownAs(r.Context(), "ada", 2)
		}
		_, _ = io.WriteString(w, "hello")
	})
	figures := func(_ *config.Config, c *tls.Config, h http.Handler, log *slog.Logger) wire.ServerConfig {
		return metricsServer("127.0.0.1:0", c, h, log)
	}
	for name, server := range map[string]func(*config.Config, *tls.Config, http.Handler, *slog.Logger) wire.ServerConfig{
		"console": consoleServer, "public": publicServer, "metrics": figures,
	} {
		t.Run(name, func(t *testing.T) {
			c := server(cfg, nil, hello, nil)
			if c.MaxConns == 0 {
				c.MaxConns, c.Strangers = 600, 512 // of a size that a test may take
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
					t.Error(err)
				}
			})
			ask := func(client *http.Client, known string) {
				t.Helper()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(), nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Known", known)
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			client := func(from string) (*http.Client, *int) {
				dials := 0
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
				return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials++
					return d.DialContext(ctx, network, addr)
				}}}, &dials
			}
			known, dials := client("127.2.0.1")
			ask(known, "yes")
			for range c.MaxConns + 10 {
				conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
			}
			stranger, _ := client("127.3.0.1")
			ask(stranger, "")
			ask(known, "yes")
			if *dials != 1 {
				t.Errorf("whoever is known lost %d connections", *dials-1)
			}
		})
	}
}
