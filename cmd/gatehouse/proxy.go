package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// bindProxy makes the forward proxy and its listener, if the configuration names one.
func (s *server) bindProxy(certificate func() (*tls.Config, error)) error {
	if s.cfg.Listen.Proxy == "" {
		return nil
	}
	c, err := proxyConfig(s.parts, func(name gatehouse.ServiceName, cost int) error { return s.gateway.Admit(name, cost) })
	if err != nil {
		return err
	}
	c.Inspector = inspector{s.lineage}
	if c.Terminate, err = inspection(s.parts, s.authority, c.Inspector, s.log); err != nil {
		return err
	}
	if s.egressProxy, err = egress.New(c); err != nil {
		return err
	}
	tlsConfig, err := certificate()
	if err != nil {
		return err
	}
	s.proxy, err = wire.Listen(wire.ServerConfig{
		Addr: s.cfg.Listen.Proxy, TLS: tlsConfig, Handler: s.egressProxy.Handler(), Log: s.logger, OnlyHTTP1: true,
		// Under TLS, a tunnel's reader that takes nothing is bounded here.
		WriteStall: c.Limits.Idle,
		// What somebody without a key can have held is strangers times headers.
		MaxHeaderBytes: proxyHeaderBytes, MaxConns: c.Limits.Tunnels + c.Limits.Requests + proxyStrangers, Strangers: proxyStrangers,
	})
	return err
}

const (
	// proxyHeaderBytes bounds a request's header on the proxy listener, before anybody
	// knows who sends it; inside a tunnel that is looked into 64 KiB are allowed.
	proxyHeaderBytes = 16 << 10
	// proxyStrangers are places for callers who are being identified.
	proxyStrangers = 512
)

// proxyConfig binds the proxy to the parts.
func proxyConfig(p *parts, admit func(gatehouse.ServiceName, int) error) (egress.Config, error) {
	limits := p.cfg.Limits.WithDefaults()
	dialer, err := wire.NewDialer(wire.DialerConfig{Own: ownAddresses(p.cfg)})
	if err != nil {
		return egress.Config{}, err
	}
	r := p.inForce.Load()
	settings, err := proxySettings(r.cfg, r.policy)
	if err != nil {
		return egress.Config{}, err
	}
	return egress.Config{
		Surface: &wire.Surface{Name: "proxy", Log: p.logger}, Dialer: dialer, Log: p.log, Directory: p.identity, Settings: settings, Admit: admit,
		Platform: isPlatform,
		Limits:   egress.Limits{Tunnels: limits.Tunnels, Requests: limits.Calls, Idle: limits.TunnelIdle, TunnelTime: limits.TunnelTime},
		Logger:   p.logger,
	}, nil
}

// isPlatform reports whether a host is one of the platforms'.
func isPlatform(host string) bool {
	_, _, is := platform.HostOf(host)
	return is
}

// proxySettings is what a reload may change.
func proxySettings(cfg *config.Config, set *policy.Set) (egress.Settings, error) {
	s := egress.Settings{
		Policy:   set,
		Services: make(map[gatehouse.ServiceName]egress.Service, len(cfg.Services)),
		Routes:   map[string]egress.Route{},
	}
	for name, c := range cfg.Services {
		s.Services[name] = egress.Service{Purposes: c.Purposes, Sources: c.Sources}
	}
	for host, t := range cfg.ThirdParty {
		route := egress.Route{Private: t.Private}
		var err error
		if t.Address != "" {
			if route.Address, err = netip.ParseAddrPort(t.Address); err != nil {
				return s, fmt.Errorf("third_parties.%s.address: %w", host, err)
			}
		}
		if t.CAFile != "" {
			if route.Roots, err = certificates("third_parties."+host+".ca_file", t.CAFile); err != nil {
				return s, err
			}
		}
		s.Routes[host] = route
	}
	return s, nil
}

// ownAddresses are Gatehouse itself: what no name may lead to.
func ownAddresses(cfg *config.Config) []string {
	var own []string
	for _, address := range []string{cfg.Listen.App, cfg.Listen.Proxy, cfg.Listen.Console, cfg.Listen.Public, cfg.Metrics.Listen} {
		if host, port, err := net.SplitHostPort(address); err == nil && !strings.HasPrefix(address, "unix:") && port != "0" {
			own = append(own, net.JoinHostPort(host, port))
		}
	}
	if u, err := url.Parse(cfg.PublicURL); err == nil && u.Hostname() != "" {
		port := u.Port()
		if port == "" {
			port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
		}
		own = append(own, net.JoinHostPort(u.Hostname(), port))
	}
	return own
}
