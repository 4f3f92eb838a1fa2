package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/export"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/wire"
)

// logsOf returns the logs of a database, or that of one node. origin is that of log 0,
// which the list of logs does not hold, or of the node.
func logsOf(ctx context.Context, db *store.DB, origin, node string) ([]export.Log, error) {
	list, err := db.AuditLogs(ctx)
	if err != nil {
		return nil, err
	}
	var logs []export.Log
	for _, l := range list {
		if node != "" && l.Node != node {
			continue
		}
		if l.Number == 0 {
			l.Origin = origin
		}
		logs = append(logs, export.Log{Number: l.Number, Origin: l.Origin, Store: db.AuditLog(l.Number).Exported()})
	}
	return logs, nil
}

// newExporter returns what serves the sinks of a configuration. Nothing is connected
// yet.
func newExporter(p *parts, cfg *config.Config) (*export.Exporter, error) {
	c := export.Config{
		Store: p.db.Export(), Record: p.log.Record, Logger: p.logger,
		Logs: func(ctx context.Context) ([]export.Log, error) { return logsOf(ctx, p.db, p.signer.Name(), "") },
	}
	for i := range cfg.Audit.Export {
		s := &cfg.Audit.Export[i]
		sink, err := newSink(p, s)
		if err != nil {
			return nil, fmt.Errorf("audit.export: sink %s: %w", s.Name, err)
		}
		c.Targets = append(c.Targets, export.Target{
			Name: s.Name, Sink: sink, FromNow: s.FromNow, StuckAfter: s.StuckAfter,
			Filter: export.Filter{Least: audit.Severity(s.Severity), Actions: s.Actions},
		})
	}
	return export.New(c)
}

func newSink(p *parts, s *config.Sink) (export.Sink, error) {
	switch s.Kind {
	case config.SinkLines:
		if s.Path == "-" {
			return &export.Lines{To: os.Stdout}, nil
		}
		return export.NewFile(export.FileConfig{Path: s.Path, MaxBytes: int64(s.RotateMB) << 20, Every: s.RotateEvery, Keep: s.Keep})
	case config.SinkSyslog:
		return newSyslog(p, s)
	case config.SinkOTLP:
		return newOTLP(p, s)
	}
	return nil, fmt.Errorf("a sink of kind %q: %w", s.Kind, gatehouse.ErrInvalid)
}

// sinkTLS returns what is believed of a sink, and what it is shown; nil for neither.
func sinkTLS(p *parts, s *config.Sink) (roots *x509.CertPool, show func(*tls.CertificateRequestInfo) (*tls.Certificate, error), err error) {
	if s.TLS.CAFile != "" {
		if roots, err = certificates("tls.ca_file", s.TLS.CAFile); err != nil {
			return nil, nil, err
		}
	}
	if s.TLS.Cert != "" {
		show, err = wire.ClientCertificate(s.TLS.Cert, s.TLS.Key, func(err error) {
			p.logger.LogAttrs(context.Background(), slog.LevelWarn, "the certificate for a sink of the audit log", slog.String("sink", s.Name), slog.Any("error", err))
		})
	}
	return roots, show, err
}

func newSyslog(p *parts, s *config.Sink) (export.Sink, error) {
	roots, show, err := sinkTLS(p, s)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("address: %w: %w", gatehouse.ErrInvalid, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("address: the port: %w", gatehouse.ErrInvalid)
	}
	dialer, err := wire.NewDialer(wire.DialerConfig{})
	if err != nil {
		return nil, err
	}
	// The operator names the host, so that it may be one of their own network.
	stream, err := wire.NewStream(wire.StreamConfig{
		Host: host, Port: uint16(n), Reach: wire.Reach{Loopback: true, Private: true, Own: true},
		ServerName: s.TLS.ServerName, Roots: roots, Certificate: show, WriteStall: 30 * time.Second,
	}, dialer)
	if err != nil {
		return nil, err
	}
	return export.NewSyslog(export.SyslogConfig{
		Format: export.SyslogFormat{Facility: s.Facility, Hostname: s.Hostname, ID: s.SDID, MaxMessage: s.MaxMessage},
		Dial:   stream.Dial, Unconfirmed: s.Unconfirmed,
	})
}

func newOTLP(p *parts, s *config.Sink) (export.Sink, error) {
	roots, show, err := sinkTLS(p, s)
	if err != nil {
		return nil, err
	}
	address, err := url.Parse(s.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", gatehouse.ErrInvalid)
	}
	egress, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{strings.ToLower(address.Host)}, AllowLoopback: true, AllowPlainLoopback: true, AllowPrivate: true,
		RootCAs: roots, Certificate: show, ServerName: s.TLS.ServerName, MaxReplyBytes: 1 << 20, MaxIdlePerHost: 1,
	})
	if err != nil {
		return nil, err
	}
	address.Host = strings.ToLower(address.Host)
	c := export.OTLPConfig{
		URL: address.String(), Send: egress, Plain: s.Plain, Headers: map[string]func() (secret.Text, error){},
		Environment: string(p.cfg.Environment), Version: version,
	}
	for name, value := range s.Headers {
		c.Headers[name] = value.Again
	}
	return export.NewOTLP(c)
}

// exporting runs the exporter of the configuration that is in force. A sink's cursor is
// stored, so that each one goes on where the last exporter got to.
type exporting struct {
	// next has the exporter that is to replace the one that runs, or the first.
	next chan *export.Exporter
}

func newExporting() *exporting { return &exporting{next: make(chan *export.Exporter, 1)} }

// use puts an exporter in the place of the one that runs.
func (e *exporting) use(x *export.Exporter) {
	select {
	case <-e.next: // one that never ran, and has opened nothing
	default:
	}
	e.next <- x
}

// run serves the sinks until ctx ends.
func (e *exporting) run(ctx context.Context) error {
	stop, ended := func() {}, make(chan error, 1)
	ended <- nil
	for {
		select {
		case <-ctx.Done():
			stop()
			return <-ended
		case x := <-e.next:
			stop()
			if err := <-ended; err != nil {
				return err
			}
			var running context.Context
			running, stop = context.WithCancel(ctx)
			go func() { ended <- x.Run(running) }()
		}
	}
}
