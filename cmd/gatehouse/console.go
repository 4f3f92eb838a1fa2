package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/console"
	"gatehouse/internal/wire"
)

// bindConsole makes the operators' pages and their listener, which has bounds of its
// own: whoever looks at the console takes nothing that the gates need.
func (s *server) bindConsole(ctx context.Context) error {
	if s.cfg.Listen.Console == "" {
		return nil
	}
	pages, err := s.newConsole()
	if err != nil {
		return err
	}
	handler, err := s.withSCIM(pages.Handler())
	if err != nil {
		return err
	}
	tlsConfig, err := s.certificate(ctx, s.cfg.ConsoleCertificate(), consoleNames(s.cfg), nil)
	if err != nil {
		return err
	}
	c := consoleServer(s.cfg, tlsConfig, handler, s.logger)
	c.OnShutdown = pages.Close
	s.console, err = wire.Listen(c)
	return err
}

// consoleServer is the listener of the console: those who have not signed in have fewer
// places than there are, and a short time.
func consoleServer(cfg *config.Config, tlsConfig *tls.Config, handler http.Handler, log *slog.Logger) wire.ServerConfig {
	return wire.ServerConfig{
		Addr: cfg.Listen.Console, TLS: tlsConfig, Handler: handler, Log: log, Grace: 3 * time.Second, Trusted: cfg.Console.TrustedProxies,
		MaxHeaderBytes: 16 << 10, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxStreams: 64,
		MaxConns: 512, Strangers: 128, StrangerTime: time.Minute,
	}
}

// newConsole binds the console to the parts.
func (s *server) newConsole() (*console.Console, error) {
	at, err := url.Parse(s.cfg.ConsoleURL())
	if err != nil {
		return nil, err
	}
	c := s.cfg.Console.WithDefaults()
	return console.New(console.Config{
		URL: at, Environment: s.cfg.Environment, Log: s.logger, Directory: s.operators, Proxies: c.TrustedProxies,
		Pages:  slices.Concat(s.trafficPages(), s.rulesPages(), s.housePages()),
		Limits: console.Limits{Requests: c.Requests, Share: c.Share, Streams: c.Streams, SignIns: c.SignIns},
	})
}

// consoleNames returns the name that the console's certificate stands for, if the
// local CA makes it.
func consoleNames(cfg *config.Config) []string {
	if cfg.Listen.Console == "" || cfg.ConsoleCertificate().Source != localCA {
		return nil
	}
	u, err := url.Parse(cfg.ConsoleURL())
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return []string{"localhost"}
	}
	return []string{u.Hostname()}
}

// browserNames are the names that the local CA certifies for browsers.
func browserNames(cfg *config.Config) []string {
	return append(publicNames(cfg), consoleNames(cfg)...)
}
