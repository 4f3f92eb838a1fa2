package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/gateway"
	"gatehouse/internal/public"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func newRun(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run Gatehouse",
		Long: `Runs Gatehouse until it is told to stop (SIGINT or SIGTERM), then lets calls
under way finish. SIGHUP reads the configuration again: purposes, services (with
their rates and sources), third parties, who may fetch events, ask about lineage and
read the audit log, that log's sinks and the mode change without a restart; for every
other change the log says that it needs one.

A root key under a passphrase that the configuration does not refer to starts
Gatehouse sealed: its listeners answer /gatehouse/v1/health and refuse the rest, until
'gatehouse keys unseal' gives the passphrase.

When every listener is bound, one line is printed on standard output.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, warnings, err := config.Load(o.config, resolver())
			if err != nil {
				return err
			}
			logger := newLogger(cfg.Log)
			if os.Getenv("GOGC") == "" {
				// What lives is small and what a call allocates is not: collecting
				// when the heap has doubled would be dozens of times a second under
				// load, for memory that nobody needs.
				debug.SetGCPercent(400)
			}
			for _, w := range warnings {
				logger.WarnContext(c.Context(), w.String())
			}
			logger.InfoContext(c.Context(), "memory", slog.Bool("locked", guardMemory()))
			return serve(c.Context(), cfg, logger, func(s *server) error {
				if asJSON {
					return json.NewEncoder(c.OutOrStdout()).Encode(s.addresses())
				}
				return s.announce(c.OutOrStdout())
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the ready line as JSON")
	return c
}

// server is a running Gatehouse: its parts and its bound listeners.
type server struct {
	*parts
	app, proxy, public *wire.Server
	figures            *wire.Server // nil when nothing listens for who collects figures
	console            *wire.Server // nil when nothing listens for it
	gateway            *gateway.Gateway
	egressProxy        *egress.Proxy // nil when nothing listens for it
	authority          *egress.Authority
	exporting          *exporting
	logChecker         *logChecker       // nil without a console
	keyMover           *keyMover         // nil without a console
	everything         *everythingCutter // nil without a console
	// hup gets each SIGHUP from before the ready line on: without anybody to take it, it
	// would end the program.
	hup    chan os.Signal
	pruner *audit.Pruner
	// beside is what else runs as long as the server does; ready may set it.
	beside func(context.Context) error
}

// addresses are the keys of the ready line.
func (s *server) addresses() map[string]string {
	out := map[string]string{}
	if s.app != nil {
		out["app_listener"] = s.app.URL()
	}
	if s.proxy != nil {
		out["proxy_listener"] = s.proxy.URL()
	}
	if s.public != nil {
		out["public"] = s.public.URL()
	}
	if s.figures != nil {
		out["metrics"] = s.figures.URL() + "/metrics"
	}
	if s.console != nil {
		out["console"] = s.cfg.ConsoleURL()
	}
	if usesCA(s.cfg) {
		out["ca_file"] = beside(s.cfg, caFile)
	}
	return out
}

func (s *server) announce(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "gatehouse (%s) is ready:", s.cfg.Environment)
	for _, k := range []string{"app_listener", "proxy_listener", "public", "metrics", "console", "ca_file"} {
		if v, ok := s.addresses()[k]; ok {
			fmt.Fprintf(&b, " %s %s", strings.ReplaceAll(k, "_", " "), v)
		}
	}
	_, err := fmt.Fprintln(w, b.String())
	return err
}

// serve puts Gatehouse together, binds its listeners, calls ready, and serves
// until ctx ends. It returns after everything that was acknowledged is durable.
func serve(ctx context.Context, cfg *config.Config, logger *slog.Logger, ready func(*server) error) (err error) {
	key, err := awaitRootKey(ctx, cfg, logger)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while sealed
		}
		return err
	}
	p, err := assembleUnder(ctx, cfg, key.root, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	if err := p.log.Prepare(); err != nil {
		logger.WarnContext(ctx, "nothing is held back for a full disk", slog.Any("error", err))
	}
	if err := p.recordUnseal(ctx, key); err != nil {
		return err
	}
	if err := ensureCA(ctx, cfg, p.vault, func(verb, what string) error {
		logger.DebugContext(ctx, "local CA", slog.String("step", verb), slog.String("what", what))
		return nil
	}); err != nil {
		return err
	}
	authority, err := ensureInspection(ctx, cfg, p.vault, egress.AuthorityConfig{Log: p.log, Logger: logger})
	if err != nil {
		return err
	}
	if err := p.identity.EnsureServices(ctx, serviceNames(cfg)); err != nil {
		return err
	}
	if err := seeKeys(ctx, p); err != nil {
		return err
	}
	p.guarding.Store(newGuarding(p))
	s := &server{parts: p, authority: authority, exporting: newExporting(), hup: make(chan os.Signal, 1)}
	signal.Notify(s.hup, syscall.SIGHUP)
	defer signal.Stop(s.hup)
	exporter, err := newExporter(p, p.cfg)
	if err != nil {
		return err
	}
	s.exporting.use(exporter)
	if s.pruner, err = p.newPruner(p.ownLog()); err != nil {
		return err
	}
	if err := s.recordApplied(ctx, p.inForce.Load()); err != nil {
		return err
	}
	if err := s.bind(ctx); err != nil {
		return err
	}
	if _, err := p.log.Record(ctx, audit.Entry{Action: "run.start", Verdict: "done", Facts: map[string]string{"version": version}}); err != nil {
		return err
	}
	if err := ready(s); err != nil {
		return err
	}
	err = s.run(ctx)
	// The last word of this process; one that was killed has none.
	last := audit.Entry{Action: "run.stop", Verdict: "done"}
	if err != nil {
		last.Verdict = "failed"
	}
	_, unsaid := p.log.Record(context.WithoutCancel(ctx), last)
	return errors.Join(err, unsaid)
}

// run serves until ctx ends or a part fails. The log's writer is stopped last,
// by Close, after every handler has returned.
func (s *server) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, listener := range []*wire.Server{s.app, s.proxy, s.public, s.figures, s.console} {
		if listener != nil {
			group.Go(func() error { return listener.Run(ctx) })
		}
	}
	if s.egressProxy != nil {
		group.Go(func() error { return s.egressProxy.Run(ctx) })
	}
	group.Go(func() error { return s.authority.Run(ctx) })
	group.Go(func() error { return s.connect.Run(ctx) })
	group.Go(func() error { return s.outbox.Run(ctx) })
	group.Go(func() error { return s.cases.Run(ctx) })
	group.Go(func() error { return s.notices.Run(ctx) })
	group.Go(func() error { return s.records.Run(ctx) })
	if s.backups != nil {
		group.Go(func() error { return s.backups.Run(ctx) })
	}
	group.Go(func() error { return s.compliance.Run(ctx) })
	group.Go(func() error { return s.lineage.Run(ctx) })
	group.Go(func() error { return s.guarding.Load().run(ctx) })
	group.Go(func() error { return s.keys.Run(ctx) })
	group.Go(func() error { return s.tendOperators(ctx) })
	group.Go(func() error { return s.tendMarks(ctx) })
	group.Go(func() error { return s.reviews.Run(ctx) })
	group.Go(func() error { return s.pruner.Run(ctx) })
	group.Go(func() error { return s.pruneOthers(ctx) })
	group.Go(func() error { return s.observer.Run(ctx) })
	group.Go(func() error { return s.identity.Run(ctx) })
	group.Go(func() error { return audit.NewIndexer(s.logger, s.db.AuditLog(s.own.Number)).Run(ctx) })
	group.Go(func() error { return s.exporting.run(ctx) })
	group.Go(func() error { return s.meter.Run(ctx) })
	group.Go(func() error { s.identity.RunUses(ctx); return nil })
	group.Go(func() error { return s.metrics.Run(ctx) })
	if s.telemetry != nil {
		group.Go(func() error { return s.telemetry.Run(ctx) })
	}
	group.Go(func() error { return s.reconcile.Run(ctx) })
	if s.logChecker != nil {
		group.Go(func() error { return s.logChecker.run(ctx) })
		group.Go(func() error { return s.keyMover.run(ctx) })
		group.Go(func() error { return s.everything.run(ctx) })
	}
	group.Go(func() error { return s.reload(ctx) })
	group.Go(func() error { return s.watchRoot(ctx) })
	if s.beside != nil {
		group.Go(func() error { return s.beside(ctx) })
	}
	// What the last calls used is stored when no more come.
	last := context.WithoutCancel(ctx)
	err := errors.Join(group.Wait(), s.observer.Flush(last), s.meter.Flush(last), s.identity.FlushUses(last), s.identity.FlushKeyUses(last))
	if s.telemetry != nil {
		s.telemetry.Flush(last)
	}
	return err
}

// bind makes the surfaces and their listeners.
func (s *server) bind(ctx context.Context) error {
	cfg := s.cfg
	var err error
	if s.telemetry, err = newTelemetry(s.parts); err != nil {
		return err
	}
	// The gateway counts the API's requests too, and exists a moment later.
	own, err := api.New(apiConfig(s.parts, func(name gatehouse.ServiceName, cost int) error { return s.gateway.Admit(name, cost) }))
	if err != nil {
		return err
	}
	if s.gateway, err = gateway.New(gatewayConfig(s.parts, own)); err != nil {
		return err
	}
	if cfg.Listen.App != "" {
		names, ips := listenerNames(cfg)
		tlsConfig, err := s.certificate(ctx, cfg.AppCertificate(), names, ips)
		if err != nil {
			return err
		}
		if s.app, err = wire.Listen(wire.ServerConfig{
			Addr: cfg.Listen.App, TLS: tlsConfig, Handler: s.gateway.Handler(), Log: s.logger, OnShutdown: func() { s.gateway.CloseStreams(); own.EndStreams() },
		}); err != nil {
			return err
		}
	}
	if err := s.bindProxy(func() (*tls.Config, error) {
		names, ips := listenerNames(cfg)
		return s.certificate(ctx, cfg.ProxyCertificate(), names, ips)
	}); err != nil {
		return err
	}
	if cfg.Listen.Public != "" {
		tlsConfig, err := s.certificate(ctx, cfg.PublicCertificate(), publicNames(cfg), nil)
		if err != nil {
			return err
		}
		handler, err := s.publicHandler()
		if err != nil {
			return err
		}
		if s.public, err = wire.Listen(publicServer(cfg, tlsConfig, handler, s.logger)); err != nil {
			return err
		}
	}
	if err := s.bindMetrics(); err != nil {
		return err
	}
	return s.bindConsole(ctx)
}

func (s *server) publicHandler() (http.Handler, error) {
	pages, err := public.New(publicConfig(s.parts))
	if err != nil {
		return nil, err
	}
	return pages.Handler(), nil
}

// certificate returns what a listener speaks; nil is plain http.
func (s *server) certificate(ctx context.Context, c config.Certificate, names []string, ips []net.IP) (*tls.Config, error) {
	if c.Source != localCA {
		return fileTLS(c)
	}
	cert, err := s.vault.System(ctx, secretCACert)
	if err != nil {
		return nil, fmt.Errorf("opening the local CA: %w", err)
	}
	key, err := s.vault.System(ctx, secretCAKey)
	if err != nil {
		return nil, fmt.Errorf("opening the local CA: %w", err)
	}
	ca, err := wire.OpenCA([]byte(cert.Reveal()), key)
	if err != nil {
		return nil, err
	}
	return ca.ServerTLS(names, ips), nil
}

// fileTLS returns the operator's own certificate, or nil for plain http.
func fileTLS(c config.Certificate) (*tls.Config, error) {
	if c.Cert == "" {
		return nil, nil
	}
	return wire.FileTLS(c.Cert, c.Key)
}

func serviceNames(cfg *config.Config) []gatehouse.ServiceName {
	names := make([]gatehouse.ServiceName, 0, len(cfg.Services))
	for name := range cfg.Services {
		names = append(names, name)
	}
	return names
}
