package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/gateway"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/public"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// gatewayConfig binds the gateway to the parts.
func gatewayConfig(p *parts, own *api.API) gateway.Config {
	limits := p.cfg.Limits.WithDefaults()
	return gateway.Config{
		Surface: &wire.Surface{Name: "app", Log: p.logger},
		Egress:  p.egress, Log: p.log, Handles: p.identity, Connections: p.connect, Budgets: p.budgets,
		Settings:  gatewaySettings(p.cfg, p.inForce.Load().policy),
		API:       own.Handler(),
		Upstream:  upstreams(p.cfg),
		Delivered: delivered(p),
		Lineage:   p.deliver,
		Observe:   p.observed,
		Heard:     func(h gateway.Heard) { p.meter.Hear(heard(h)) },
		Repeat:    func(ctx context.Context, h gateway.Heard) { p.meter.Repeat(ctx, heard(h)) },
		Posts:     countedPosts(p),
		Done:      p.called,
		Trace:     p.traced(),
		Limits:    gateway.Limits{BodyBytes: int64(limits.Body), Calls: limits.Calls, Streams: limits.Streams},
		Logger:    p.logger,
	}
}

// observed hands what the gateway observed to who remembers it.
func (p *parts) observed(o *gateway.Observation) {
	p.observer.See(&observe.Seen{
		Service: o.Service, Purpose: o.Purpose, Platform: o.Platform, App: o.App, Operations: o.Operations,
		Params: o.Params, Body: o.Body, Selected: o.Selected, ReadParams: o.ReadParams, ReadBody: o.ReadBody, ReadFields: o.ReadFields,
		Contract: o.Contract, Reported: o.Reported, Answered: o.Answered, File: o.File, Again: o.Again, Reply: o.Reply,
	})
}

// gatewaySettings is what a reload may change.
func gatewaySettings(cfg *config.Config, set *policy.Set) gateway.Settings {
	s := gateway.Settings{
		Policy:   set,
		Services: make(map[gatehouse.ServiceName]gateway.Service, len(cfg.Services)),
		Apps:     make(map[gatehouse.AppName]gateway.App, len(cfg.Apps)),
	}
	for name, c := range cfg.Services {
		s.Services[name] = gateway.Service{Purposes: c.Purposes, Rate: c.Rate.PerSecond(), Sources: c.Sources, Accept: c.Accept}
	}
	for name, a := range cfg.Apps {
		s.Apps[name] = gateway.App{Platform: a.Platform, ClientID: a.ClientID.Text(), Version: a.Version}
	}
	return s
}

// upstreams names the base URLs that a sandbox replaces.
func upstreams(cfg *config.Config) map[gatehouse.Platform]map[platform.Role]string {
	if cfg.Sandbox.X == "" && cfg.Sandbox.Meta == "" {
		return nil
	}
	out := map[gatehouse.Platform]map[platform.Role]string{}
	for _, p := range platform.Names() {
		roles := map[platform.Role]string{}
		for _, r := range platform.Roles(p) {
			roles[r] = base(cfg, p, r)
		}
		out[gatehouse.Platform(p)] = roles
	}
	return out
}

// apiConfig binds the app's API to the parts.
func apiConfig(p *parts, admit func(gatehouse.ServiceName, int) error) api.Config {
	return api.Config{
		Connections: p.connect, Directory: p.identity, Records: p.records, Stepups: p.stepup,
		Purposes: p.purposesOf, Admit: admit, Budgets: p.budgets, Health: p.health,
		Events: p.outbox, EventReader: p.readsEvents,
		Lineage: api.Lineage{Of: p.lineage, May: p.asksLineage, Keys: p.lineageKeys, Handle: p.handleScope},
		Log:     audit.NewSource(p.db.Audit()), LogReader: p.readsLog, Logs: p.nodeLogs,
		Search:  api.LogSearch{In: p.searcher, Whose: p.searchedFor, Record: p.recordSearch},
		Shown:   p.shown,
		Duties:  api.Duties{Cases: p.cases, May: p.mayAnswer, Erase: p.eraseFor},
		Surface: &wire.Surface{Name: "app", Log: p.logger},
	}
}

// health says how this process is, to whoever watches it.
func (p *parts) health() api.Health {
	root := p.vault.RootStatus()
	log := p.log.State()
	h := api.Health{Status: api.Open, RootKey: string(root.State), Log: string(log.Condition)}
	if !log.Since.IsZero() {
		since := log.Since.UTC().Truncate(time.Second)
		h.LogSince = &since
	}
	switch {
	case root.State == vault.RootAnswers:
	case root.State == vault.RootLost && time.Now().Before(root.Until):
		h.Status = api.Degraded
	default:
		h.Status = api.Sealed
		return h
	}
	if log.Condition != audit.Writable {
		h.Status = api.Closed
	}
	return h
}

// purposesOf returns what the configuration in force lets a service do.
func (p *parts) purposesOf(name gatehouse.ServiceName) []api.Purpose {
	cfg := p.inForce.Load().cfg
	var out []api.Purpose
	for _, purpose := range cfg.Services[name].Purposes {
		c := cfg.Purposes[purpose]
		out = append(out, api.Purpose{Name: purpose, Why: c.Why, App: c.App})
	}
	return out
}

// readsEvents reports whether the configuration in force lets a service fetch
// events.
func (p *parts) readsEvents(name gatehouse.ServiceName) bool {
	return slices.Contains(p.inForce.Load().cfg.Events.Services, name)
}

// readsLog reports whether the configuration in force lets a service read the log.
func (p *parts) readsLog(name gatehouse.ServiceName) bool {
	return slices.Contains(p.inForce.Load().cfg.Audit.Readers, name)
}

// searchedFor returns what finds somebody's entries, for a service that asks.
func (p *parts) searchedFor(ctx context.Context, kind, value string) ([]audit.Found, error) {
	named := map[string]string{kind: value}
	whose, err := p.logWhose(ctx, named["connection"], named["handle"], named["person"])
	if usage := (*usageError)(nil); errors.As(err, &usage) {
		return nil, gatehouse.ErrInvalid
	}
	return whose, err
}

// recordSearch writes down whose entries are searched for, before they are.
func (p *parts) recordSearch(ctx context.Context, by gatehouse.ServiceName, whose []audit.Found) error {
	for _, f := range whose {
		e := audit.Entry{Action: "audit.search", Verdict: "allow", Service: by}
		switch {
		case f.Person != "":
			e.Person, e.Personal = f.Person, map[string]string{"person": string(f.Person)}
		case f.Connection != "":
			e.Personal, e.Search = map[string]string{"connection": string(f.Connection)}, string(f.Connection)
		}
		if f.Kind != "" && e.Personal != nil {
			e.Personal[f.Kind] = f.Value
		}
		if _, err := p.log.Record(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// publicConfig binds the public pages to the parts.
func publicConfig(p *parts) public.Config {
	return public.Config{Connections: p.connect, Notices: p.notices, Cases: p.cases, Stepups: p.stepup, Log: p.logger, Proxies: p.cfg.Public.TrustedProxies}
}

// publicServer is the listener of the public pages: whoever is nobody's platform has a
// short time, and gives way to others from a network that has more.
func publicServer(cfg *config.Config, tlsConfig *tls.Config, handler http.Handler, log *slog.Logger) wire.ServerConfig {
	return wire.ServerConfig{
		Addr: cfg.Listen.Public, TLS: tlsConfig, Handler: handler, Log: log, Trusted: cfg.Public.TrustedProxies,
		MaxHeaderBytes: 16 << 10, IdleTimeout: 30 * time.Second, MaxStreams: 64, Strangers: 4096, StrangerTime: 2 * time.Minute,
	}
}

// reload applies the configuration again at each SIGHUP, and ends report mode
// after its last day, until ctx ends. A configuration that is wrong changes
// nothing.
func (s *server) reload(ctx context.Context) error {
	// The day is looked at rather than waited for: a timer of weeks would not
	// notice that the machine slept or that its clock was set.
	clock := time.NewTicker(time.Minute)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-clock.C:
			if err := s.endReport(ctx, now); err != nil {
				s.logger.ErrorContext(ctx, "the end of report mode", slog.Any("error", err))
			}
		case <-s.hup:
			if err := s.apply(ctx); err != nil {
				s.logger.ErrorContext(ctx, "the configuration was not applied", slog.Any("error", err))
			}
		}
	}
}

// endReport enforces what the configuration in force declares once the last day
// of report mode is over. It takes access away, so it does not wait for the log:
// an error may say that it was done and not recorded.
func (s *server) endReport(ctx context.Context, now time.Time) error {
	cfg := s.inForce.Load().cfg
	if s.inForce.Load().policy.Mode() != policy.Report || cfg.Reporting(now) {
		return nil
	}
	set, err := policySet(cfg, now)
	if err != nil {
		return err
	}
	if err := s.applySettings(cfg, set); err != nil {
		return err
	}
	s.inForce.Store(&rules{cfg, set})
	s.logger.WarnContext(ctx, "report mode is over: what no purpose declares is refused from now on", slog.String("until", cfg.Until.String()))
	return s.recordApplied(ctx, s.inForce.Load())
}

// applySettings puts into force what the surfaces take from a configuration.
func (s *server) applySettings(cfg *config.Config, set *policy.Set) error {
	s.metrics.Apply(metricNames(cfg))
	if s.egressProxy != nil {
		settings, err := proxySettings(cfg, set)
		if err != nil {
			return err
		}
		if err := s.egressProxy.Apply(settings); err != nil {
			return err
		}
	}
	return s.gateway.Apply(gatewaySettings(cfg, set))
}

// recordApplied writes down which configuration is in force, and in which mode.
func (s *server) recordApplied(ctx context.Context, r *rules) error {
	entry, err := s.log.Record(ctx, audit.Entry{
		Action: "config.apply", Verdict: "done", Facts: map[string]string{"sha256": r.cfg.Hash(), "mode": r.policy.Mode().String()},
	})
	if err == nil {
		s.keepApplied(ctx, r, entry)
	}
	return err
}

// apply reads the configuration and puts what can change at run time in force.
func (s *server) apply(ctx context.Context) error {
	next, warnings, err := config.Load(s.cfg.Path(), resolver())
	if err != nil {
		return err
	}
	for _, w := range warnings {
		s.logger.WarnContext(ctx, w.String())
	}
	set, err := policySet(next, time.Now())
	if err != nil {
		return err
	}
	if _, err := proxySettings(next, set); err != nil {
		return err // nothing is in force yet
	}
	exporter, err := newExporter(s.parts, next)
	if err != nil {
		return err
	}
	if err := s.identity.EnsureServices(ctx, serviceNames(next)); err != nil {
		return err
	}
	// What was used under the old rules can be read as soon as the new ones count.
	if err := s.observer.Flush(ctx); err != nil {
		s.logger.WarnContext(ctx, "what calls use could not be stored yet", slog.Any("error", err))
	}
	// Recorded before it is in force: no call is judged by rules that the log
	// does not know.
	applied := &rules{next, set}
	if err := s.recordApplied(ctx, applied); err != nil {
		return err
	}
	// A destination is looked into, or refused, from the first tunnel on.
	if err := s.authority.Use(ctx, inspectedHosts(next)); err != nil {
		return err
	}
	if err := s.applySettings(next, set); err != nil {
		return err
	}
	changes := config.Diff(s.inForce.Swap(applied).cfg, next)
	if slices.ContainsFunc(changes, func(c string) bool { return strings.HasPrefix(c, "audit.export") }) {
		s.exporting.use(exporter)
	}
	for _, change := range changes {
		if live(change) {
			s.logger.InfoContext(ctx, "configuration applied", slog.String("change", change))
		} else {
			s.logger.WarnContext(ctx, "this change needs a restart", slog.String("change", change))
		}
	}
	return nil
}

// live reports whether a change took effect with the reload: the gateway's
// settings did, everything that was built at the start did not.
func live(change string) bool {
	for _, part := range []string{"purposes", "services", "third_parties", "events.services", "lineage.services", "audit.readers", "audit.export", "stepup.services", "stepup.returns", "stepup.life", "stepup.signing_key", "mode", "until"} {
		if rest, ok := strings.CutPrefix(change, part); ok && rest != "" && strings.ContainsAny(rest[:1], ". ") {
			return true
		}
	}
	return false
}
