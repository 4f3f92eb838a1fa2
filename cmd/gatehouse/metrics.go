package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/config"
	"gatehouse/internal/export"
	"gatehouse/internal/gateway"
	"gatehouse/internal/metrics"
	"gatehouse/internal/metrics/otlp"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// newMetrics returns what counts, before anything is there that could be counted.
func newMetrics(p *parts) (*metrics.Metrics, error) {
	apps := func() []gatehouse.AppName { return metricNames(p.configured()).Apps }
	looks := append(metrics.StoreLooks(p.db.Metrics(), apps),
		metrics.Look{Name: "log", Sets: []string{metrics.LogCondition, metrics.LogReserve, metrics.LogQueued, metrics.LogOwed}, At: p.lookAtLog},
		metrics.Look{Name: "log size", Sets: []string{metrics.LogSize}, Every: 30 * time.Second, At: p.lookAtLogSize},
		metrics.Look{Name: "lineage", Sets: []string{metrics.LineageHeld, metrics.LineageLimit, metrics.LineageReady}, Every: time.Minute, At: p.lookAtLineage},
		metrics.Look{Name: "keys", Sets: []string{metrics.KeyCreated}, Every: 5 * time.Minute, At: p.lookAtKeys},
		metrics.Look{Name: "root key", Sets: []string{metrics.RootKeyState, metrics.RootKeyServesUntil}, At: p.lookAtRootKey},
		metrics.Look{Name: "budgets", Sets: []string{metrics.BudgetLeft}, Every: 30 * time.Second, At: p.lookAtBudgets},
		metrics.Look{Name: "sinks", Sets: []string{metrics.ExportLag, metrics.ExportLagSeconds, metrics.ExportState}, Every: 30 * time.Second, At: p.lookAtSinks},
	)
	return metrics.New(metrics.Config{
		Version: version, Environment: p.cfg.Environment, Node: p.cfg.Node, Names: metricNames(p.cfg), Looks: looks, Logger: p.logger,
	})
}

// configured is the configuration in force.
func (p *parts) configured() *config.Config {
	if r := p.inForce.Load(); r != nil {
		return r.cfg
	}
	return p.cfg
}

// metricNames are what labels may say.
func metricNames(cfg *config.Config) metrics.Names {
	return metrics.Names{
		Services: slices.Sorted(maps.Keys(cfg.Services)), Purposes: slices.Sorted(maps.Keys(cfg.Purposes)),
		Apps: slices.Sorted(maps.Keys(cfg.Apps)), Destinations: slices.Sorted(maps.Keys(cfg.ThirdParty)),
	}
}

// entered is what is told of the log's entries; nil where nothing is counted, as while a
// database is made.
func (p *parts) entered() func(kind string, e audit.Entry, took time.Duration) {
	if p.metrics == nil {
		return nil
	}
	return p.metrics.Entered
}

// outcomes are how figures call the verdicts of calls.
var outcomes = map[string]string{
	"done": metrics.OutcomeDone, "failed": metrics.OutcomeFailed, "aborted": metrics.OutcomeAborted, "refuse": metrics.OutcomeRefused,
	"": metrics.OutcomeUnrecorded,
}

// called counts and times a call.
func (p *parts) called(d *gateway.Done) {
	c := metrics.Call{
		Service: d.Service, Purpose: d.Purpose, Platform: d.Platform, Outcome: outcomes[d.Verdict], Bytes: d.Bytes, Streaming: d.Streaming,
		Timing: metrics.Timing{Judged: d.Judged, Recorded: d.Recorded, Opened: d.Opened, Answered: d.Answered, Ended: d.Elapsed},
	}
	p.metrics.Call(&c)
	if p.telemetry != nil && d.Trace.Sampled {
		p.telemetry.End(&otlp.Call{
			Trace:   otlp.Trace{ID: d.Trace.ID, Span: d.Trace.Span, Parent: d.Trace.Parent, Sampled: true},
			Service: d.Service, Purpose: d.Purpose, Platform: d.Platform, App: d.App, Operation: d.Operation,
			Verdict: d.Verdict, Rule: d.Rule, Class: d.Class, Entry: d.Entry, Status: d.Status, Began: d.Began,
			Judged: d.Judged, Recorded: d.Recorded, Opened: d.Opened, Answered: d.Answered, Elapsed: d.Elapsed,
		})
	}
}

// traced says which trace a call belongs to; nil when none is traced.
func (p *parts) traced() func(traceparent string) gateway.Trace {
	c := p.cfg.Metrics.OTLP
	if p.telemetry == nil || c.Sample == 0 {
		return nil
	}
	return func(traceparent string) gateway.Trace {
		t := p.telemetry.Begin(traceparent)
		return gateway.Trace{ID: t.ID, Span: t.Span, Parent: t.Parent, Sampled: t.Sampled, Onward: c.Onward}
	}
}

// newTelemetry returns what sends to the configured collector, or nil. Nothing is sent
// yet.
func newTelemetry(p *parts) (*otlp.Exporter, error) {
	c := p.cfg.Metrics.OTLP
	if c.IsZero() {
		return nil, nil
	}
	roots, show, err := sinkTLS(p, &config.Sink{Name: "metrics.otlp", TLS: c.TLS})
	if err != nil {
		return nil, fmt.Errorf("metrics.otlp: %w", err)
	}
	address, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("metrics.otlp.url: %w", gatehouse.ErrInvalid)
	}
	address.Host = strings.ToLower(address.Host)
	// The operator names the host, so that it may be one of their own network.
	client, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{address.Host}, AllowLoopback: true, AllowPlainLoopback: true, AllowPrivate: true,
		RootCAs: roots, Certificate: show, ServerName: c.TLS.ServerName, MaxReplyBytes: 1 << 20, MaxIdlePerHost: 2,
	})
	if err != nil {
		return nil, fmt.Errorf("metrics.otlp: %w", err)
	}
	o := otlp.Config{
		URL: address.String(), Send: client, Headers: map[string]func() (secret.Text, error){}, Plain: c.Plain,
		Gather: p.metrics.Gather, Since: p.metrics.Since(), Unit: metrics.OTLPUnit, Every: c.Interval(), Sample: float64(c.Sample) / 100,
		Version: version, Environment: p.cfg.Environment, Node: p.cfg.Node,
		Dropped: p.metrics.Dropped, Sent: p.metrics.Exported, Logger: p.logger,
	}
	for name, value := range c.Headers {
		o.Headers[name] = value.Again
	}
	return otlp.New(o)
}

// asNumber is what a state, a condition or a switch is shown as.
func asNumber(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// conditions are those that a log may be in.
var conditions = []audit.Condition{audit.Writable, audit.Slow, audit.Unwritable, audit.Full, audit.Tampered, audit.Owing, audit.Stopped}

func (p *parts) lookAtLog(context.Context) ([]metrics.Reading, error) {
	s := p.log.State()
	list := []metrics.Reading{
		{Name: metrics.LogReserve, Value: asNumber(s.Reserve)}, {Name: metrics.LogQueued, Value: float64(s.Queued)}, {Name: metrics.LogOwed, Value: float64(s.Owed)},
	}
	for _, c := range conditions {
		list = append(list, metrics.Reading{Name: metrics.LogCondition, Labels: []string{string(c)}, Value: asNumber(c == s.Condition)})
	}
	return list, nil
}

func (p *parts) lookAtLogSize(ctx context.Context) ([]metrics.Reading, error) {
	head, err := p.db.AuditLog(p.own.Number).Head(ctx)
	return []metrics.Reading{{Name: metrics.LogSize, Value: float64(head.Size)}}, err
}

func (p *parts) lookAtLineage(ctx context.Context) ([]metrics.Reading, error) {
	s, err := p.lineage.Status(ctx)
	return []metrics.Reading{
		{Name: metrics.LineageHeld, Value: float64(s.Prints)}, {Name: metrics.LineageLimit, Value: float64(s.MaxFingerprints)},
		{Name: metrics.LineageReady, Value: asNumber(p.lineage.Ready())},
	}, err
}

// lookAtKeys reads when the versions in force were made.
func (p *parts) lookAtKeys(ctx context.Context) ([]metrics.Reading, error) {
	domains, err := p.db.Vault().DomainKeys(ctx)
	if err != nil {
		return nil, err
	}
	daily, err := p.db.Vault().DailyKeys(ctx)
	var list []metrics.Reading
	add := func(name string, state vault.KeyState, created time.Time) {
		if state == vault.Active {
			list = append(list, metrics.Reading{Name: metrics.KeyCreated, Labels: []string{name}, Value: metrics.Seconds(created)})
		}
	}
	for _, k := range domains {
		add(string(k.Domain), k.State, k.Created)
	}
	for _, k := range daily {
		add("daily", k.State, k.Created)
	}
	return list, err
}

func (p *parts) lookAtRootKey(context.Context) ([]metrics.Reading, error) {
	s := p.vault.RootStatus()
	var list []metrics.Reading
	for _, state := range []vault.RootState{vault.RootAnswers, vault.RootLost, vault.RootRefuses} {
		list = append(list, metrics.Reading{Name: metrics.RootKeyState, Labels: []string{string(state)}, Value: asNumber(state == s.State)})
	}
	if s.State == vault.RootLost && !s.Until.IsZero() {
		list = append(list, metrics.Reading{Name: metrics.RootKeyServesUntil, Value: metrics.Seconds(s.Until)})
	}
	return list, nil
}

// lookAtBudgets reads what is left of the apps' own budgets: nobody's in particular,
// since no service has no name.
func (p *parts) lookAtBudgets(context.Context) ([]metrics.Reading, error) {
	least := map[[2]string]float64{}
	for _, s := range p.budgets.For("", metricNames(p.configured()).Apps) {
		key := [2]string{string(s.App), s.Pool}
		if was, ok := least[key]; !ok || left(s) < was {
			least[key] = left(s)
		}
	}
	var list []metrics.Reading
	for key, value := range least {
		list = append(list, metrics.Reading{Name: metrics.BudgetLeft, Labels: key[:], Value: value})
	}
	return list, nil
}

// left is how much of a budget is left, from 0 to 1.
func left(s budget.State) float64 {
	switch {
	case !s.ClosedUntil.IsZero():
		return 0
	case s.Limit > 0:
		return float64(s.Remaining) / float64(s.Limit)
	}
	return max(0, 1-s.Percent/100)
}

func (p *parts) lookAtSinks(ctx context.Context) ([]metrics.Reading, error) {
	names := sinkNames(p.cfg)
	if len(names) == 0 {
		return nil, nil
	}
	logs, err := logsOf(ctx, p.db, p.signer.Name(), "")
	if err != nil {
		return nil, err
	}
	reports, err := export.Status(ctx, p.db.Export(), names, logs, time.Now())
	var list []metrics.Reading
	for _, r := range reports {
		if r.State == export.StateRemoved {
			continue // its name is not one of the configuration's any more
		}
		lag, waiting := int64(0), int64(0)
		for _, l := range r.Logs {
			lag, waiting = lag+max(0, l.Lag), max(waiting, l.LagSeconds)
		}
		list = append(list,
			metrics.Reading{Name: metrics.ExportLag, Labels: []string{r.Sink}, Value: float64(lag)},
			metrics.Reading{Name: metrics.ExportLagSeconds, Labels: []string{r.Sink}, Value: float64(waiting)})
		for _, state := range []string{export.StateNew, export.StateOK, export.StateRetrying, export.StateStuck, export.StateUnserved} {
			list = append(list, metrics.Reading{Name: metrics.ExportState, Labels: []string{r.Sink, state}, Value: asNumber(state == r.State)})
		}
	}
	return list, err
}

// bindMetrics makes the listener for who collects figures, if the configuration names
// one.
func (s *server) bindMetrics() error {
	c := s.cfg.Metrics
	if c.Listen == "" {
		return nil
	}
	tlsConfig, err := metricsTLS(c.TLS)
	if err != nil {
		return err
	}
	e := metrics.Exposure{Log: s.logger}
	if !c.Token.IsZero() {
		e.Token = c.Token.Again
	}
	s.figures, err = wire.Listen(metricsServer(c.Listen, tlsConfig, s.metrics.Handler(e), s.logger))
	return err
}

// metricsServer is the listener for who collects figures: whoever opens connections keeps
// out nobody who comes from elsewhere.
func metricsServer(addr string, tlsConfig *tls.Config, handler http.Handler, log *slog.Logger) wire.ServerConfig {
	return wire.ServerConfig{
		Addr: addr, TLS: tlsConfig, Log: log, MaxHeaderBytes: 16 << 10, MaxConns: 64, Strangers: 63, StrangerTime: 10 * time.Minute, Grace: time.Second,
		IdleTimeout: 5 * time.Minute, MaxStreams: 16,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if wire.Aged(r.Context()) {
				w.Header().Set("Connection", "close")
			}
			handler.ServeHTTP(w, r)
		}),
	}
}

// metricsTLS is what the listener speaks, and whom it lets in; nil is plain http.
func metricsTLS(c config.MetricsTLS) (*tls.Config, error) {
	if c.Cert == "" {
		return nil, nil
	}
	t, err := wire.FileTLS(c.Cert, c.Key)
	if err != nil {
		return nil, fmt.Errorf("metrics.tls: %w", err)
	}
	if c.ClientCAFile != "" {
		if t.ClientCAs, err = certificates("metrics.tls.client_ca_file", c.ClientCAFile); err != nil {
			return nil, err
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// checkMetrics looks at what the metrics listener and the collector need.
func checkMetrics(cfg *config.Config) (string, error) {
	c := cfg.Metrics
	var errs []error
	text := "no listener and no collector is configured"
	if c.Listen != "" || !c.OTLP.IsZero() {
		text = "what the listener and the collector need is there"
	}
	_, err := metricsTLS(c.TLS)
	errs = append(errs, err)
	if !c.Token.IsZero() {
		token, err := c.Token.Again()
		if err != nil {
			errs = append(errs, fmt.Errorf("metrics.token: %w", err))
		} else if len(token.Reveal()) < 16 {
			errs = append(errs, fmt.Errorf("metrics.token: has less than 16 letters: %w", gatehouse.ErrInvalid))
		}
	}
	for name, header := range c.OTLP.Headers {
		if _, err := header.Again(); err != nil {
			errs = append(errs, fmt.Errorf("metrics.otlp.headers.%s: %w", name, err))
		}
	}
	if file := c.OTLP.TLS.CAFile; file != "" {
		_, err := certificates("metrics.otlp.tls.ca_file", file)
		errs = append(errs, err)
	}
	if c.OTLP.TLS.Cert != "" {
		if _, err := wire.ClientCertificate(c.OTLP.TLS.Cert, c.OTLP.TLS.Key); err != nil {
			errs = append(errs, fmt.Errorf("metrics.otlp.tls: %w", err))
		}
	}
	return text, errors.Join(errs...)
}
