package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

// logFlags say which log a command reads, and with which key it checks it.
type logFlags struct {
	keyFile, tiles     string
	node               string
	caFile, serviceKey string
}

// register adds the flags; what is the name of the one that names the log.
func (l *logFlags) register(c *cobra.Command, name, usage string) {
	f := c.Flags()
	f.StringVar(&l.keyFile, "key", "", "the log's public key (default: log.pub, or log-NODE.pub, beside the configuration)")
	f.StringVar(&l.node, "node", "", "the log of the node of this name (default: that of nodes without one)")
	f.StringVar(&l.tiles, name, "", usage)
	f.StringVar(&l.caFile, "ca-file", "", "authority that signed the certificate of an address, such as ca.pem of this Gatehouse")
	f.StringVar(&l.serviceKey, "service-key-file", "", "file with the service key that an address wants to be shown")
}

// verifier reads the log's public key; cfg may be nil if --key is given.
func (l *logFlags) verifier(cfg *config.Config) (note.Verifier, error) {
	path := l.keyFile
	if path == "" {
		if cfg == nil {
			return nil, usagef("say with --key which public key the log has")
		}
		path = beside(cfg, nodeKeyFile(l.node))
	}
	return readVerifier(path)
}

// stored returns the log of the database that the flags name, with its public key.
func (l *logFlags) stored(ctx context.Context, cfg *config.Config, db *store.DB) (*store.Audit, note.Verifier, error) {
	named, err := logNamed(ctx, db, l.node)
	if err != nil {
		return nil, nil, err
	}
	var verifier note.Verifier
	if l.keyFile != "" {
		verifier, err = readVerifier(l.keyFile)
	} else {
		verifier, err = verifierOfNode(cfg, named)
	}
	return db.AuditLog(named.Number), verifier, err
}

// view calls do with the newest state of the log that the flags name: a directory, an
// address, or else the configured database.
func (l *logFlags) view(ctx context.Context, o *options, do func(*audit.View, note.Verifier) error) (err error) {
	var cfg *config.Config
	if l.tiles == "" || l.keyFile == "" {
		if cfg, err = configToVerify(o); err != nil {
			return err
		}
	}
	var source audit.Source
	var verifier note.Verifier
	if l.tiles != "" {
		if verifier, err = l.verifier(cfg); err != nil {
			return err
		}
		if source, err = l.source(); err != nil {
			return err
		}
	} else {
		db, openErr := openStore(ctx, cfg)
		if openErr != nil {
			return openErr
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		log, key, err := l.stored(ctx, cfg, db)
		if err != nil {
			return err
		}
		source, verifier = audit.NewSource(log), key
	}
	view, err := audit.Newest(ctx, source, verifier)
	if err != nil {
		return err
	}
	return do(view, verifier)
}

// source is a directory, or an address.
func (l *logFlags) source() (audit.Source, error) {
	if !strings.Contains(l.tiles, "://") {
		return directorySource(l.tiles), nil
	}
	return l.httpSource()
}

func directorySource(dir string) audit.Source {
	return func(_ context.Context, path string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s: %w: %w", path, err, gatehouse.ErrNotFound)
		}
		return b, err
	}
}

// requestTimeout bounds one request for a tile; maxResource is the largest there is, a
// full bundle of the longest entries.
const (
	requestTimeout = 30 * time.Second
	maxResource    = 256 * (2 + 65535)
)

func (l *logFlags) httpSource() (audit.Source, error) {
	base, err := url.Parse(strings.TrimSuffix(l.tiles, "/"))
	if err != nil || base.Host == "" || base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, usagef("%s is no address of a log, such as https://127.0.0.1:8100/gatehouse/v1/log", l.tiles)
	}
	var roots *x509.CertPool
	if l.caFile != "" {
		if roots, err = certificates("--ca-file", l.caFile); err != nil {
			return nil, err
		}
	}
	// The operator names the host, so that it may be one of their own network.
	egress, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{strings.ToLower(base.Host)}, AllowLoopback: true, AllowPlainLoopback: true, AllowPrivate: true, RootCAs: roots,
	})
	if err != nil {
		return nil, err
	}
	var key secret.Text
	if l.serviceKey != "" {
		b, err := os.ReadFile(l.serviceKey)
		if err != nil {
			return nil, err
		}
		key = secret.New(strings.TrimSpace(string(b)))
	}
	client := egress.Client(requestTimeout)
	return func(ctx context.Context, path string) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, base.String()+"/"+path, nil)
		if err != nil {
			return nil, err
		}
		if !key.IsZero() {
			r.Header.Set("Authorization", "Bearer "+key.Reveal())
		}
		reply, err := client.Do(r)
		if err != nil {
			return nil, fmt.Errorf("the log cannot be reached: %w: %w", err, gatehouse.ErrUnavailable)
		}
		defer func() { _ = reply.Body.Close() }()
		if reply.StatusCode != http.StatusOK {
			kind := gatehouse.ErrUnavailable
			switch reply.StatusCode {
			case http.StatusNotFound:
				kind = gatehouse.ErrNotFound
			case http.StatusUnauthorized, http.StatusForbidden:
				kind = gatehouse.ErrDenied
			}
			return nil, fmt.Errorf("the log answers %s for %s: %w", reply.Status, path, kind)
		}
		b, err := io.ReadAll(io.LimitReader(reply.Body, maxResource+1))
		if err == nil && len(b) > maxResource {
			err = errors.New("the answer is longer than anything in a log")
		}
		if err != nil {
			return nil, fmt.Errorf("reading the log's answer for %s: %w: %w", path, err, gatehouse.ErrUnavailable)
		}
		return b, nil
	}, nil
}
