package main

import (
	"context"
	"net"
	"net/url"
	"strings"

	"gatehouse"
	"gatehouse/internal/compliance"
	"gatehouse/internal/config"
	"gatehouse/internal/platform"
	"gatehouse/internal/wire"
)

// openCompliance binds X's batch compliance to the parts.
func (p *parts) openCompliance() error {
	p.complianceFound = keepFinding
	storage, err := newStorage(p.cfg)
	if err != nil {
		return err
	}
	p.compliance, err = compliance.New(compliance.Config{
		Store: p.db.Compliance(), Log: p.log, Vault: p.vault, Connections: p.connect, API: p.egress, Storage: storage,
		Apps: complianceApps(p.cfg), Logger: p.logger,
		Found: func(ctx context.Context, f compliance.Finding) error { return p.complianceFound(ctx, f) },
	})
	return err
}

// keepFinding refuses every finding, so that each waits in the store, is counted
// by 'connect compliance', and is handed over again: nothing makes duties of them
// yet, and one that is dropped would be content that stays.
func keepFinding(context.Context, compliance.Finding) error {
	return wire.Refuse(gatehouse.ErrUnavailable, "compliance/nobody", "nothing takes findings over yet; they wait")
}

// complianceApps are the registrations for which it is on.
func complianceApps(cfg *config.Config) []compliance.App {
	var apps []compliance.App
	for name, a := range cfg.Apps {
		if c := a.Compliance.WithDefaults(); c.Keep > 0 {
			apps = append(apps, compliance.App{Name: name, API: base(cfg, platform.X, platform.RoleAPI), Keep: c.Keep, MaxIDs: c.MaxIDs, Every: c.Every})
		}
	}
	return apps
}

// delivered tells the gateway whose deliveries are noted.
func delivered(p *parts) map[gatehouse.AppName]func(context.Context, []platform.Reference) error {
	var out map[gatehouse.AppName]func(context.Context, []platform.Reference) error
	for _, a := range complianceApps(p.cfg) {
		if out == nil {
			out = map[gatehouse.AppName]func(context.Context, []platform.Reference) error{}
		}
		out[a.Name] = p.compliance.Recorder(a.Name)
	}
	return out
}

// newStorage returns the client for the addresses that X names for its jobs: any
// public host but ourselves, and the sandbox's X if there is one.
func newStorage(cfg *config.Config) (*wire.Egress, error) {
	c, err := egressConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.AnyPublicHost = true
	c.MaxIdlePerHost = 1
	for _, own := range []string{cfg.Listen.App, cfg.Listen.Proxy, cfg.Listen.Console, cfg.Listen.Public} {
		if host, port, err := net.SplitHostPort(own); err == nil && !strings.HasPrefix(own, "unix:") && port != "0" {
			c.Own = append(c.Own, net.JoinHostPort(host, port))
		}
	}
	if u, err := url.Parse(cfg.PublicURL); err == nil && u.Hostname() != "" {
		port := u.Port()
		if port == "" {
			port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
		}
		c.Own = append(c.Own, net.JoinHostPort(u.Hostname(), port))
	}
	if u, err := url.Parse(cfg.Sandbox.X); err == nil && u.Host != "" {
		c.Hosts = []string{strings.ToLower(u.Host)}
	}
	return wire.NewEgress(c)
}
