package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/egress"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"
)

func newInit(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make a configuration, a root key, a database and a local CA",
		Long: `Makes what Gatehouse needs to run, and keeps what is there:

  the configuration      an annotated example, if there is none at --config
  the root key           where the configuration says: a file of mode 0600 in a directory
                         of 0700 (its passphrase is asked for, or read from standard
                         input), or a key management system's key, which is tried first
  the database           empty, bound to the environment
  its keyring file       beside it: what lets erased people be forgotten; keep both together
  log.pub                the audit log's public key, beside the configuration
  ca.pem                 the app listener's certificate authority, likewise
  an invitation          for the first owner, if there is no operator: a link, printed
                         once, to enrol with. There is no account before it is used

Without a configuration it writes one and stops there, so that you can fill in
your app registrations; run it again for the rest. Keep a copy of the root key
elsewhere: without it, nothing in the database can be opened, by anybody.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			out := c.OutOrStdout()
			if _, err := os.Stat(o.config); errors.Is(err, fs.ErrNotExist) {
				if err := os.MkdirAll(filepath.Dir(o.config), 0o700); err != nil {
					return err
				}
				if err := writeFileSync(o.config, []byte(config.Example()), 0o600); err != nil {
					return fmt.Errorf("writing the configuration: %w", err)
				}
				_, err := fmt.Fprintf(out, "made  %s\n\nFill in your app registrations, and where root_key and store shall be\n(file:root.key and sqlite:gatehouse.db put them beside the configuration).\nThen run 'gatehouse config check', and 'gatehouse init' again for the rest.\n", o.config)
				return err
			}
			cfg, err := readConfig(o)
			if err != nil {
				return err
			}
			return initialiseThen(c.Context(), cfg, out, func(root vault.RootKey) error { return firstOwner(c.Context(), cfg, root, out) })
		},
	}
}

// initialise makes what is missing. It may be interrupted at any line and run
// again: each step looks whether it was done, and the database, which says that
// keys exist, is made after the root key that wraps them.
func initialise(ctx context.Context, cfg *config.Config, out io.Writer) error {
	return initialiseThen(ctx, cfg, out, func(vault.RootKey) error { return nil })
}

// initialiseThen does something more, with the root key at hand.
func initialiseThen(ctx context.Context, cfg *config.Config, out io.Writer, then func(vault.RootKey) error) error {
	say := func(verb, what string) error {
		_, err := fmt.Fprintf(out, "%s  %s\n", verb, what)
		return err
	}
	keyPath, dsn := cfg.RootKey.Path(), cfg.Store.Text().Reveal() // a key management system's key has no path
	for entry, path := range map[string]string{"root_key": keyPath, "store": storeFile(cfg)} {
		if path == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("making the directory that %s names in the configuration (name another, or make it for this user): %w", entry, err)
		}
	}
	fresh := false
	db, err := store.Open(ctx, dsn)
	switch {
	case err == nil:
		if closeErr := db.Close(); closeErr != nil {
			return closeErr
		}
		if _, err := os.Stat(keyPath); keyPath != "" && errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the database exists and its root key %s does not: restore the key, or name another database: %w", keyPath, gatehouse.ErrConflict)
		}
		if err := say("kept", "database"); err != nil {
			return err
		}
	case errors.Is(err, gatehouse.ErrNotFound):
		fresh = true
	default:
		return err
	}
	root, verb, what, err := makeRootKey(ctx, cfg, fresh)
	if err != nil {
		return err
	}
	if fresh {
		if err := say(verb, what); err != nil {
			return err
		}
		if err := store.Create(ctx, dsn); err != nil {
			return err
		}
		if err := say("made", "database "+cfg.Store.String()); err != nil {
			return err
		}
	}
	if err := fill(ctx, cfg, root, say); err != nil {
		return err
	}
	return then(root)
}

// fill gives an existing database its environment, keys and public files.
func fill(ctx context.Context, cfg *config.Config, root vault.RootKey, say func(verb, what string) error) (err error) {
	db, err := store.Open(ctx, cfg.Store.Text().Reveal())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	env, err := db.Environment(ctx)
	switch {
	case errors.Is(err, gatehouse.ErrNotFound):
		if err := db.SetEnvironment(ctx, cfg.Environment); err != nil {
			return err
		}
	case err != nil:
		return err
	case env != cfg.Environment:
		return fmt.Errorf("the store belongs to environment %q and the configuration says %q: %w", env, cfg.Environment, gatehouse.ErrConflict)
	}
	if err := vault.Init(ctx, vault.Config{Root: root, Store: db.Vault(), Environment: cfg.Environment}); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		return err
	}
	v, err := openVault(ctx, cfg, root, db.Vault(), quiet(), nil)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := ensureLogKey(ctx, cfg, v, say); err != nil {
		return err
	}
	if err := recordInit(ctx, cfg, db, v); err != nil {
		return err
	}
	if _, err := ensureInspection(ctx, cfg, v, egress.AuthorityConfig{}); err != nil {
		return err
	}
	return ensureCA(ctx, cfg, v, say)
}

// recordInit begins the log, so that it verifies from here on: one that holds
// nothing cannot be told from one that lost everything.
func recordInit(ctx context.Context, cfg *config.Config, db *store.DB, v *vault.Vault) error {
	head, err := db.Audit().Head(ctx)
	if err != nil || head.Size > 0 {
		return err
	}
	p := &parts{cfg: cfg, logger: quiet(), db: db, vault: v}
	first, err := p.openSigner(ctx)
	if err != nil {
		return err
	}
	// Whatever the node is called: log 0 is what the others are verified by.
	log, stop, err := p.startLog(ctx, audit.Registration{}, p.signer, first, "")
	if err != nil {
		return err
	}
	_, err = log.Record(ctx, audit.Entry{Action: "init", Verdict: "done", Facts: map[string]string{"version": version}})
	return errors.Join(err, stop())
}

// ensureLogKey makes the audit log's signing key once, and its public half.
func ensureLogKey(ctx context.Context, cfg *config.Config, v *vault.Vault, say func(verb, what string) error) error {
	path := beside(cfg, logKeyFile)
	_, err := v.System(ctx, secretLogKey)
	if err == nil {
		if _, err := os.Stat(path); err != nil {
			return fmt.Errorf("the audit log's public key %s is missing: put back your copy of it, since a new one would verify a log that somebody else signed: %w", path, gatehouse.ErrConflict)
		}
		return say("kept", path)
	}
	if !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	private, public, err := note.GenerateKey(rand.Reader, audit.Origin(cfg.Environment, strings.ToLower(rand.Text()[:8])))
	if err != nil {
		return fmt.Errorf("making the audit log's key: %w", err)
	}
	// The public half first: without the private one it verifies nothing, and
	// the next init replaces it.
	if err := writeFileSync(path, []byte(public+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := v.PutSystem(ctx, secretLogKey, secret.New(private)); err != nil {
		return err
	}
	return say("made", path+"  (keep a copy elsewhere: it verifies the log)")
}

// caLife is how long the local certificate authority lives, and caRenew how
// long before its end a new one is made, at a start.
const (
	caLife  = 365 * 24 * time.Hour
	caRenew = 30 * 24 * time.Hour
)

// ensureCA makes the app listener's authority if there is none or it is about
// to end, and writes its certificate where clients can read it.
func ensureCA(ctx context.Context, cfg *config.Config, v *vault.Vault, say func(verb, what string) error) error {
	if !usesCA(cfg) {
		return nil
	}
	path := beside(cfg, caFile)
	cert, err := v.System(ctx, secretCACert)
	if err == nil {
		key, err := v.System(ctx, secretCAKey)
		if err != nil {
			return err
		}
		if serves(cfg, []byte(cert.Reveal()), key) {
			if have, err := os.ReadFile(path); err == nil && string(have) == cert.Reveal() {
				return say("kept", path)
			}
			if err := writeFileSync(path, []byte(cert.Reveal()), 0o644); err != nil {
				return err
			}
			return say("made", path)
		}
	} else if !errors.Is(err, gatehouse.ErrNotFound) {
		return err
	}
	names, ips := listenerNames(cfg)
	names = append(names, browserNames(cfg)...)
	certPEM, key, err := wire.NewCA("Gatehouse local CA ("+string(cfg.Environment)+")", names, networks(ips), caLife)
	if err != nil {
		return err
	}
	if err := v.PutSystem(ctx, secretCAKey, key); err != nil {
		return err
	}
	if err := v.PutSystem(ctx, secretCACert, secret.New(string(certPEM))); err != nil {
		return err
	}
	if err := writeFileSync(path, certPEM, 0o644); err != nil {
		return err
	}
	return say("made", path+"  (your app's clients trust it)")
}

// serves reports whether an authority lives long enough and may certify the
// names that the app listener has today.
func serves(cfg *config.Config, certPEM []byte, key secret.Text) bool {
	ca, err := wire.OpenCA(certPEM, key)
	if err != nil || time.Until(ca.Expires()) <= caRenew {
		return false
	}
	names, ips := listenerNames(cfg)
	_, err = ca.Issue(append(names, browserNames(cfg)...), ips)
	return err == nil
}

// usesCA reports whether a listener gets its certificate from the local CA.
func usesCA(cfg *config.Config) bool {
	return cfg.AppCertificate().Source == localCA || browserNames(cfg) != nil || cfg.Listen.Proxy != "" && cfg.ProxyCertificate().Source == localCA
}

// publicNames returns the name that the public listener's certificate stands
// for, if the local CA makes it.
func publicNames(cfg *config.Config) []string {
	if cfg.Listen.Public == "" || cfg.PublicCertificate().Source != localCA {
		return nil
	}
	u, err := url.Parse(cfg.PublicURL)
	if err != nil || net.ParseIP(u.Hostname()) != nil {
		return []string{"localhost"}
	}
	return []string{u.Hostname()}
}

// listenerNames returns the names and addresses that the certificates of the app and
// the proxy listener stand for: loopback, and the hosts that they listen on.
func listenerNames(cfg *config.Config) ([]string, []net.IP) {
	names := append([]string{"localhost"}, cfg.TLS.Names...)
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	for _, address := range []string{cfg.Listen.App, cfg.Listen.Proxy} {
		host, _, err := net.SplitHostPort(address)
		if err != nil || host == "" || slices.Contains(names, host) {
			continue
		}
		if ip := net.ParseIP(host); ip == nil {
			names = append(names, host)
		} else if !ip.IsLoopback() && !ip.IsUnspecified() && !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	return names, ips
}

// networks turns addresses into the single-address networks of a constraint.
func networks(ips []net.IP) []net.IPNet {
	out := make([]net.IPNet, 0, len(ips))
	for _, ip := range ips {
		if v4 := ip.To4(); v4 != nil {
			out = append(out, net.IPNet{IP: v4, Mask: net.CIDRMask(32, 32)})
			continue
		}
		out = append(out, net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)})
	}
	return out
}
