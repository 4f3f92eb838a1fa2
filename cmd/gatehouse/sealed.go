package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/secret"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/sync/errgroup"
)

const (
	// unsealSocket is where a sealed Gatehouse listens for its passphrase, in the
	// directory of the database, or of the configuration if that is elsewhere.
	unsealSocket = "unseal.sock"
	unsealPath   = "/unseal"

	// After a wrong passphrase, the next is heard after a while that doubles.
	firstPause, longestPause = time.Second, 30 * time.Second
)

// socketPath returns where the passphrase of a sealed Gatehouse is taken.
func socketPath(cfg *config.Config) string {
	if file := storeFile(cfg); file != "" {
		return filepath.Join(filepath.Dir(file), unsealSocket)
	}
	return beside(cfg, unsealSocket)
}

// unsealed says what it took to open a root key.
type unsealed struct {
	root   vault.RootKey
	waited bool // for an operator's passphrase
	failed int  // wrong passphrases before the right one
}

// recordUnseal writes down, now that there is a log to write in, that an operator
// opened a sealed Gatehouse.
func (p *parts) recordUnseal(ctx context.Context, u unsealed) error {
	if !u.waited {
		return nil
	}
	_, err := p.log.Record(ctx, audit.Entry{
		Action: "keys.unseal", Verdict: "done", Facts: map[string]string{"root": u.root.ID(), "wrong": strconv.Itoa(u.failed)},
	})
	return err
}

// awaitRootKey returns the root key, for a start that nobody may attend: a
// passphrase that the configuration does not refer to is waited for, sealed.
func awaitRootKey(ctx context.Context, cfg *config.Config, logger *slog.Logger) (unsealed, error) {
	if cfg.RootKey.Kind() != config.RootPassphrase || !cfg.RootAccess.Passphrase.IsZero() {
		root, err := openRootKey(cfg)
		return unsealed{root: root}, err
	}
	key, err := vault.ReadPassphraseFile(cfg.RootKey.Path())
	if err != nil {
		return unsealed{}, err
	}
	s := &sealed{key: key, opened: make(chan vault.RootKey, 1), logger: logger}
	return s.wait(ctx, cfg)
}

// sealed is a Gatehouse that runs and cannot open anything: its listeners answer
// health and refuse the rest, and a Unix socket for its own user takes the
// passphrase.
type sealed struct {
	key    *vault.SealedRoot
	opened chan vault.RootKey
	logger *slog.Logger

	mu     sync.Mutex // held while a passphrase is tried: one at a time
	failed int
	next   time.Time // when the next one is heard
	done   bool
}

// wait serves, sealed, until a passphrase opened the key, and closes its listeners.
func (s *sealed) wait(ctx context.Context, cfg *config.Config) (unsealed, error) {
	servers, err := s.listen(cfg)
	if err != nil {
		return unsealed{}, err
	}
	run, stop := context.WithCancel(ctx)
	defer stop()
	group, run := errgroup.WithContext(run)
	for _, server := range servers {
		group.Go(func() error { return server.Run(run) })
	}
	s.logger.WarnContext(ctx, "sealed: waiting for 'gatehouse keys unseal'",
		slog.String("root", s.key.ID()), slog.String("socket", socketPath(cfg)), slog.Any("listeners", addressesOf(servers)))
	var out unsealed
	select {
	case out.root = <-s.opened:
		s.mu.Lock()
		out.waited, out.failed = true, s.failed
		s.mu.Unlock()
	case <-run.Done():
	}
	stop()
	err = group.Wait()
	if out.root == nil && err == nil {
		err = ctx.Err()
	}
	return out, err
}

func addressesOf(servers []*wire.Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.URL())
	}
	return all
}

// listen binds what the unsealed Gatehouse will bind, and the socket.
func (s *sealed) listen(cfg *config.Config) (_ []*wire.Server, err error) {
	var servers []*wire.Server
	defer func() {
		if err != nil {
			for _, server := range servers {
				err = errors.Join(err, server.Close())
			}
		}
	}()
	bind := func(c wire.ServerConfig) error {
		server, err := wire.Listen(c)
		if err == nil {
			servers = append(servers, server)
		}
		return err
	}
	control := &wire.Surface{Name: "unseal", Log: s.logger}
	mux := http.NewServeMux()
	mux.Handle("POST "+unsealPath, control.Handler(unsealPath, s.unseal))
	if err := bind(wire.ServerConfig{Addr: "unix:" + socketPath(cfg), SameUser: true, Handler: mux, Log: s.logger}); err != nil {
		return nil, err
	}
	for _, l := range []struct {
		name, addr  string
		certificate config.Certificate
	}{{"app", cfg.Listen.App, cfg.AppCertificate()}, {"proxy", cfg.Listen.Proxy, cfg.ProxyCertificate()}, {"public", cfg.Listen.Public, cfg.PublicCertificate()}, {"console", cfg.Listen.Console, cfg.ConsoleCertificate()}} {
		if l.addr == "" {
			continue
		}
		c := wire.ServerConfig{Addr: l.addr, Log: s.logger, Handler: sealedHandler(l.name, s.logger)}
		if c.TLS, err = fileTLS(l.certificate); err != nil {
			return nil, err
		}
		if l.certificate.Source == localCA {
			// The local authority's key is sealed too. A certificate that nobody trusts
			// lets a check that does not verify see that the process is there.
			names, ips := listenerNames(cfg)
			certificate, key, err := wire.NewCA("Gatehouse, sealed", append(names, browserNames(cfg)...), networks(ips), 24*time.Hour)
			if err != nil {
				return nil, err
			}
			ca, err := wire.OpenCA(certificate, key)
			if err != nil {
				return nil, err
			}
			c.TLS = ca.ServerTLS(append(names, browserNames(cfg)...), ips)
		}
		if err := bind(c); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// sealedHandler answers health, and refuses the rest.
func sealedHandler(name string, logger *slog.Logger) http.Handler {
	surface := &wire.Surface{Name: name, Log: logger}
	mux := http.NewServeMux()
	if name == "app" {
		mux.Handle("GET "+api.HealthPath, surface.Handler(api.HealthPath, func(w http.ResponseWriter, _ *http.Request) error {
			return api.WriteHealth(w, api.Health{Status: api.Sealed})
		}))
	}
	mux.Handle("/", surface.Handler("/", func(http.ResponseWriter, *http.Request) error {
		return wire.Refuse(gatehouse.ErrUnavailable, "vault/sealed", "Gatehouse waits for the passphrase of its root key; an operator gives it with 'gatehouse keys unseal'.")
	}))
	return mux
}

// unseal tries one passphrase.
func (s *sealed) unseal(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4096))
	if err != nil {
		return err
	}
	defer clear(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return wire.Refuse(gatehouse.ErrConflict, "unseal/open", "Gatehouse is open already.")
	}
	if wait := time.Until(s.next); wait > 0 {
		return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "unseal/wait", "The last passphrase was wrong; the next one is heard in "+wait.Round(time.Second/10).String()+"."), wait)
	}
	root, err := s.key.Open(secret.New(string(body)))
	if errors.Is(err, vault.ErrPassphrase) {
		s.failed++
		s.next = time.Now().Add(min(firstPause<<min(s.failed-1, 10), longestPause))
		s.logger.WarnContext(r.Context(), "a wrong passphrase", slog.Int("so_far", s.failed))
		return wire.Refuse(gatehouse.ErrDenied, "unseal/passphrase", "This is not the passphrase of root key "+s.key.ID()+".")
	}
	if err != nil {
		return err
	}
	s.done = true
	s.opened <- root
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, err = fmt.Fprintln(w, s.key.ID())
	return err
}

// sendPassphrase gives a passphrase to the sealed Gatehouse behind a socket and
// returns what it answers.
func sendPassphrase(ctx context.Context, socket string, passphrase secret.Text) (string, error) {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://gatehouse"+unsealPath, newSecretReader(passphrase))
	if err != nil {
		return "", err
	}
	reply, err := client.Do(r)
	if err != nil {
		return "", fmt.Errorf("no sealed Gatehouse listens at %s; is it running, as this user, and still sealed?: %w", socket, gatehouse.ErrUnavailable)
	}
	defer reply.Body.Close()
	if reply.StatusCode == http.StatusOK {
		id, err := io.ReadAll(io.LimitReader(reply.Body, 1024))
		return string(id), err
	}
	var p wire.Problem
	if err := decodeProblem(reply.Body, &p); err != nil {
		return "", fmt.Errorf("the sealed Gatehouse answers with status %s: %w", strconv.Itoa(reply.StatusCode), gatehouse.ErrUnavailable)
	}
	return "", fmt.Errorf("%s: %w", p.Detail, gatehouse.ErrDenied)
}
