package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/budget"
	"gatehouse/internal/cases"
	"gatehouse/internal/compliance"
	"gatehouse/internal/config"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/review"
	"gatehouse/internal/lineage"
	"gatehouse/internal/metrics"
	"gatehouse/internal/metrics/otlp"
	"gatehouse/internal/notice"
	"gatehouse/internal/observe"
	"gatehouse/internal/outbox"
	"gatehouse/internal/policy"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/records"
	"gatehouse/internal/secret"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// Names of the system secrets in the vault.
const (
	secretLogKey = "audit-signing-key"
	secretCAKey  = "listener-ca-key"
	secretCACert = "listener-ca-certificate"
)

// parts is Gatehouse put together: everything that both the server and the
// commands work with. Close it.
type parts struct {
	cfg     *config.Config // as it was at the start
	logger  *slog.Logger
	inForce atomic.Pointer[rules] // what a reload replaces
	db      *store.DB
	root    vault.RootKey
	signer  note.Signer // of log 0
	ledger  *backup.Ledger
	backups *backup.Backups // nil when none are configured
	// destroyed are the people (gatehouse.PersonID) whose erasure waits for nothing
	// but the ledger's directories.
	destroyed sync.Map
	vault     *vault.Vault
	keys      *vault.Keys
	log       *audit.Log
	logIndex  audit.IndexHash // hashes what the log's entries are found by
	identity  *identity.Directory
	operators *operator.Directory
	reviews   *review.Reviews
	breached  *factor.Breached // nil without a list
	outbox    *outbox.Outbox
	records   *records.Records
	connect   *connect.Connections
	cases     *cases.Cases
	notices   *notice.Notices
	budgets   *budget.Budgets
	egress    *wire.Egress
	observer  *observe.Observer
	meter     *reconcile.Meter
	metrics   *metrics.Metrics
	telemetry *otlp.Exporter // nil when no collector is configured
	reconcile *reconcile.Reconciler

	compliance *compliance.Compliance
	lineage    *lineage.Lineage
	// guarding has tokens recognised where they leave; nil in a command, which sends
	// nothing to others.
	guarding atomic.Pointer[guarding]

	aside string // see asideDir

	// rootChanges tells when the root key is lost and back; run takes it.
	rootChanges chan vault.RootStatus

	stopLog func() error // ends the log's writer
	// firstKey is the public key of log 0; own and ownSigner are the log of this node and
	// what signs it.
	firstKey  string
	own       audit.Registration
	ownSigner note.Signer
}

// rules are a configuration and its compiled purposes.
type rules struct {
	cfg    *config.Config
	policy *policy.Set
}

// readConfig reads the configuration for a command that does one thing. Warnings are for
// 'run', which lives by the file, and for 'config check' and 'doctor', which look
// at it.
func readConfig(o *options) (*config.Config, error) {
	cfg, _, err := config.Load(o.config, resolver())
	return cfg, err
}

// newLogger returns the logger that a configuration asks for; it writes to
// standard error, because standard output belongs to commands' answers.
func newLogger(l config.Log) *slog.Logger {
	var level slog.Level
	if l.Level != "" {
		if err := level.UnmarshalText([]byte(l.Level)); err != nil {
			level = slog.LevelInfo
		}
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o))
}

// quiet is the logger of commands: problems only.
func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// openStore opens the database and checks that it belongs to the configured
// environment.
func openStore(ctx context.Context, cfg *config.Config) (*store.DB, error) {
	db, err := store.Open(ctx, cfg.Store.Text().Reveal())
	if err != nil {
		return nil, err
	}
	env, err := db.Environment(ctx)
	if err == nil && env != cfg.Environment {
		err = fmt.Errorf("the store belongs to environment %q and the configuration says %q: two environments never share a store: %w", env, cfg.Environment, gatehouse.ErrConflict)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// assemble opens the root key and everything under it, for a command.
func assemble(ctx context.Context, cfg *config.Config, logger *slog.Logger) (*parts, error) {
	root, err := openRootKey(cfg)
	if err != nil {
		return nil, err
	}
	return assembleUnder(ctx, cfg, root, logger)
}

// assembleUnder opens everything under a root key.
func assembleUnder(ctx context.Context, cfg *config.Config, root vault.RootKey, logger *slog.Logger) (*parts, error) {
	db, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return assembleOn(ctx, cfg, root, logger, db, asideDir(cfg))
}

// assembleOn opens everything on an open database, which it closes if it fails. The
// audit log's writer runs until Close; aside is where the log keeps what is not in
// the database, or empty.
func assembleOn(ctx context.Context, cfg *config.Config, root vault.RootKey, logger *slog.Logger, db *store.DB, aside string) (_ *parts, err error) {
	p := &parts{cfg: cfg, logger: logger, db: db, root: root, rootChanges: make(chan vault.RootStatus, 16), aside: aside}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	limits := cfg.Limits.WithDefaults()
	if p.vault, err = openVault(ctx, cfg, root, p.db.Vault(), logger, p.rootChanges); err != nil {
		return nil, err
	}
	if p.metrics, err = newMetrics(p); err != nil {
		return nil, err
	}
	if err := p.openLog(ctx); err != nil {
		return nil, err
	}
	if p.keys, err = vault.NewKeys(vault.KeysConfig{
		Vault: p.vault, Log: p.log, RotateAfter: cfg.Keys.RotateAfter, DestroyAfter: cfg.Keys.DestroyAfter, Logger: logger,
	}); err != nil {
		return nil, err
	}
	if p.identity, err = identity.New(identity.Config{
		Store: p.db.Identity(), Log: p.log, Derive: p.vault.Derive, Environment: cfg.Environment,
		HandleTTL: limits.HandleTTL, MaxHandleTTL: limits.HandleMaxTTL,
		KeyTTL: limits.ServiceKeyTTL, Tell: p.tellKeyEnding, Logger: logger,
	}); err != nil {
		return nil, err
	}
	if err := p.openOperators(); err != nil {
		return nil, err
	}
	if p.outbox, err = newOutbox(p); err != nil {
		return nil, err
	}
	set, err := policySet(cfg, time.Now())
	if err != nil {
		return nil, err
	}
	p.inForce.Store(&rules{cfg, set})
	if p.records, err = records.New(records.Config{
		Store: p.db.Records(), Vault: p.vault, Log: p.log, May: p.mayUse, Keeps: p.keeps, Logger: logger,
	}); err != nil {
		return nil, err
	}
	if p.egress, err = newEgress(cfg); err != nil {
		return nil, err
	}
	p.budgets = budget.New(budget.Config{
		Now:            func(app gatehouse.AppName) time.Time { return p.connect.PlatformTime(app) },
		DocumentedOnly: limits.DocumentedOnly,
	})
	if p.connect, err = connect.New(connect.Config{
		Store: p.db.Connect(), Log: p.log, Vault: p.vault, Egress: p.egress, Apps: connectApps(cfg),
		Scopes:    p.scopes,
		PublicURL: cfg.PublicURL, Returns: cfg.Returns,
		RevokeHandles: p.identity.RevokeConnection, Tell: p.tellHealth, Budgets: p.budgets, Logger: logger,
		Guard: func(ctx context.Context, person gatehouse.PersonID, text secret.Text) {
			if g := p.guarding.Load(); g != nil {
				g.token(ctx, person, text)
			}
		},
	}); err != nil {
		return nil, err
	}
	p.observer = observe.New(observe.Config{Store: p.db.Observe(), Logger: logger})
	if err := p.openReconcile(); err != nil {
		return nil, err
	}
	if err := p.openLineage(ctx); err != nil {
		return nil, err
	}
	if err := p.openBackups(); err != nil {
		return nil, err
	}
	if err := p.openDuties(); err != nil {
		return nil, err
	}
	if err := p.openCompliance(); err != nil {
		return nil, err
	}
	if err := p.openReviews(); err != nil {
		return nil, err
	}
	p.log.Redo(ctx, p.redo)
	return p, nil
}

// logReserve is what is held back on the disk of a SQLite database, so that access
// can be taken away when it is full.
const logReserve = 16 << 20

// redo does again what took access away and could not be stored.
func (p *parts) redo(ctx context.Context, deed audit.Deed) error {
	if known, err := p.connect.Redo(ctx, deed); known {
		return err
	}
	if known, err := p.identity.Redo(ctx, deed); known {
		return err
	}
	if known, err := p.operators.Redo(ctx, deed); known {
		return err
	}
	return fmt.Errorf("a deed of kind %q: %w", deed.Kind, errors.ErrUnsupported)
}

// newLogIndex returns the keyed hash of what the log's entries are found by.
func newLogIndex(ctx context.Context, v *vault.Vault) (audit.IndexHash, error) {
	key, err := v.Derive(ctx, "audit/search")
	if err != nil {
		return nil, fmt.Errorf("deriving the key of the log's index: %w", err)
	}
	return audit.NewIndexHash([]byte(key.Reveal())), nil
}

// Close writes what the log still holds and closes the store.
func (p *parts) Close() error {
	var errs []error
	if p.stopLog != nil {
		errs = append(errs, p.stopLog())
	}
	if p.breached != nil {
		errs = append(errs, p.breached.Close())
	}
	if p.vault != nil {
		p.vault.Close()
	}
	if p.db != nil {
		errs = append(errs, p.db.Close())
	}
	return errors.Join(errs...)
}

// scopes returns the scopes that purposes need together; they all use one app.
func (p *parts) scopes(purposes []gatehouse.PurposeName) ([]string, error) {
	if len(purposes) == 0 {
		return nil, fmt.Errorf("no purpose is named: %w", gatehouse.ErrInvalid)
	}
	set := p.inForce.Load().policy
	first, ok := set.Purpose(purposes[0])
	if !ok {
		return nil, fmt.Errorf("no purpose of that name is declared: %w", gatehouse.ErrInvalid)
	}
	return set.Scopes(first.App, purposes...)
}

// mayUse reports whether the configuration in force gives a service a purpose.
func (p *parts) mayUse(service gatehouse.ServiceName, purpose gatehouse.PurposeName) bool {
	return slices.Contains(p.inForce.Load().cfg.Services[service].Purposes, purpose)
}

// keeps returns the purposes of the configuration in force and how long each
// keeps data.
func (p *parts) keeps() map[gatehouse.PurposeName]time.Duration {
	purposes := p.inForce.Load().cfg.Purposes
	keeps := make(map[gatehouse.PurposeName]time.Duration, len(purposes))
	for name, c := range purposes {
		keeps[name] = c.Keep
	}
	return keeps
}

// policySet compiles the configured purposes and third parties.
func policySet(cfg *config.Config, now time.Time) (*policy.Set, error) {
	var purposes []policy.Purpose
	for name, c := range cfg.Purposes {
		p := policy.Purpose{Name: name, Why: c.Why, App: c.App, Scopes: c.Scopes}
		for _, call := range c.Calls {
			p.Calls = append(p.Calls, call.Policy())
		}
		purposes = append(purposes, p)
	}
	slices.SortFunc(purposes, func(a, b policy.Purpose) int { return strings.Compare(string(a.Name), string(b.Name)) })
	mode := policy.Enforce
	if cfg.Reporting(now) {
		mode = policy.Report
	}
	set, err := policy.Compile(purposes, mode)
	if err != nil {
		return nil, err
	}
	var destinations []policy.Destination
	for host, t := range cfg.ThirdParty {
		destinations = append(destinations, t.Destination(host))
	}
	return set.WithDestinations(destinations)
}

// connectApps turns the configured registrations into connect's.
func connectApps(cfg *config.Config) []connect.App {
	var apps []connect.App
	for name, a := range cfg.Apps {
		apps = append(apps, connect.App{
			Name: name, Platform: a.Platform, ClientID: a.ClientID.Text(), ClientSecret: a.ClientSecret.Text(),
			ConsumerKey: a.ConsumerKey.Text(), ConsumerSecret: a.ConsumerSecret.Text(),
			PreviousSecrets: previousSecrets(a.ClientSecretPrevious), PreviousConsumerSecrets: previousSecrets(a.ConsumerSecretPrevious),
			Public: a.Public, Proof: a.Proof, Version: a.Version, Endpoints: endpoints(cfg, a), Scopes: a.Scopes,
			UserInfo: a.UserInfoURL, UserIDPath: a.UserIDPath,
		})
	}
	slices.SortFunc(apps, func(a, b connect.App) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return apps
}

// previousSecrets is a secret that is being replaced, if one is.
func previousSecrets(s config.Secret) []secret.Text {
	if s.IsZero() {
		return nil
	}
	return []secret.Text{s.Text()}
}

// newEgress returns the client for the hosts that the configuration implies.
func newEgress(cfg *config.Config) (*wire.Egress, error) {
	c, err := egressConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Hosts = egressHosts(cfg)
	return wire.NewEgress(c)
}

// egressConfig is what every client of a configuration has in common.
func egressConfig(cfg *config.Config) (wire.EgressConfig, error) {
	limits := cfg.Limits.WithDefaults()
	sandboxed := cfg.Sandbox.X != "" || cfg.Sandbox.Meta != ""
	c := wire.EgressConfig{
		HeaderTimeout: limits.UpstreamTimeout, AllowLoopback: sandboxed, AllowPlainLoopback: sandboxed,
	}
	if cfg.Sandbox.CAFile != "" {
		roots, err := certificates("sandbox.ca_file", cfg.Sandbox.CAFile)
		if err != nil {
			return c, err
		}
		c.RootCAs = roots
	}
	return c, nil
}

// certificates reads the authorities of a file that a configuration field names.
func certificates(field, path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: there is no certificate in %s: %w", field, path, gatehouse.ErrInvalid)
	}
	return roots, nil
}
