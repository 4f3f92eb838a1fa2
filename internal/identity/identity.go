// Package identity owns who may call: services, their keys, and handles, the
// stand-ins for a user's token that an app holds in its place.
//
// It promises that nothing it stores lets anyone call: a key or a handle is kept
// as a hash, the secrets of the OAuth 1.0a form are derived and kept nowhere;
// that a handle stops at its expiry, at its revocation, with its parent, with
// its service and with its connection, whichever comes first; that a signed
// OAuth 1.0a request is accepted once; and that whatever it gives out or takes
// away is in the log.
//
// It must never repeat a key or a handle in an error, never accept one that is
// only nearly right, and never know a platform's token.
package identity

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"
)

// The bounds of a handle's life where the configuration names none.
const (
	DefaultHandleTTL    = 24 * time.Hour
	DefaultMaxHandleTTL = 90 * 24 * time.Hour
)

// DefaultKeyTTL is the life of a service key where neither the configuration nor who
// makes it names one.
const DefaultKeyTTL = 365 * 24 * time.Hour

// Config says what a Directory works with. It is copied and never changed.
type Config struct {
	// Store keeps services, keys, handles and nonces. Required.
	Store Store
	// Log records what is given out and taken away. Required.
	Log *audit.Log
	// Derive computes the secrets that are never stored, the same for the same
	// input; (*vault.Vault).Derive in production. Required.
	Derive func(ctx context.Context, label string, parts ...string) (secret.Text, error)
	// Environment is what services belong to; one of another environment is
	// refused, should its rows ever be copied here. Required.
	Environment gatehouse.Environment
	// HandleTTL is the life of a handle for which none is asked. Zero means
	// DefaultHandleTTL.
	HandleTTL time.Duration
	// MaxHandleTTL is the longest life that may be asked. Zero means
	// DefaultMaxHandleTTL.
	MaxHandleTTL time.Duration
	// KeyTTL is the life of a service key for which none is asked. Zero means
	// DefaultKeyTTL.
	KeyTTL time.Duration
	// Tell tells the app that a key ends soon. It is called again for the same key if
	// what it did could not be noted. Nil tells nobody.
	Tell func(ctx context.Context, key ServiceKey) error
	// Logger gets what Run could not do. Nil drops it.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	missing := ""
	switch {
	case c.Store == nil:
		missing = "Store"
	case c.Log == nil:
		missing = "Log"
	case c.Derive == nil:
		missing = "Derive"
	case c.Environment == "":
		missing = "Environment"
	}
	if missing != "" {
		return fmt.Errorf("identity: Config.%s is missing: %w", missing, gatehouse.ErrInvalid)
	}
	if c.HandleTTL == 0 {
		c.HandleTTL = DefaultHandleTTL
	}
	if c.MaxHandleTTL == 0 {
		c.MaxHandleTTL = DefaultMaxHandleTTL
	}
	if c.KeyTTL == 0 {
		c.KeyTTL = DefaultKeyTTL
	}
	if c.KeyTTL < 0 {
		return fmt.Errorf("identity: the life of a service key (%s) must be positive: %w", c.KeyTTL, gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HandleTTL < 0 || c.MaxHandleTTL < 0 || c.HandleTTL > c.MaxHandleTTL {
		return fmt.Errorf("identity: the life of a handle (%s) and its maximum (%s) must be positive and in this order: %w",
			c.HandleTTL, c.MaxHandleTTL, gatehouse.ErrInvalid)
	}
	return nil
}

// Directory knows services, keys and handles. It is safe for use by many
// goroutines, and several processes may have one on the same database: it keeps
// nothing in memory that another could change, but for what it counts and has not
// stored yet.
type Directory struct {
	config Config

	// signed counts accepted OAuth 1.0a requests, to sweep old nonces now and
	// then.
	signed atomic.Uint64

	// seen is what SeenSource need not ask the store again. Sources are only ever
	// added, so it cannot be wrong, only incomplete.
	mu   sync.Mutex
	seen map[sourceKey]struct{}

	keyUses keyUses
	// firstUse holds something if keyUses has the first use of a key.
	firstUse chan struct{}
	uses     uses
}

// New returns a Directory.
func New(config Config) (*Directory, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	return &Directory{config: config, seen: make(map[sourceKey]struct{}), firstUse: make(chan struct{}, 1), uses: newUses()}, nil
}

// now is the present as the store keeps it, so that what is returned and what is
// read back later are the same.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// logged does one thing that gives access: its intent is durable before, its
// outcome follows. If the log cannot be written, the thing is not done.
func (d *Directory) logged(ctx context.Context, entry audit.Entry, do func() error) error {
	entry.Verdict = verdictAllow
	receipt, err := d.config.Log.Intent(ctx, entry)
	if err != nil {
		return fmt.Errorf("recording %s: %w", entry.Action, err)
	}
	return d.finish(receipt, entry, do())
}

// reduced does one thing that takes access away. It is done even if the log
// cannot be written: the entry then waits beside it. If it is the store that
// cannot be written, the deed is noted, and done before the log admits anything
// else.
func (d *Directory) reduced(ctx context.Context, entry audit.Entry, deed audit.Deed, do func() error) error {
	entry.Verdict = verdictAllow
	receipt, unlogged := d.config.Log.Reduce(ctx, entry)
	if isNotFound(unlogged) {
		// The person was erased, and with them the key that would seal the
		// details. That something was taken away stays to be said.
		entry.Person, entry.Personal, entry.Search = "", nil, ""
		receipt, unlogged = d.config.Log.Reduce(ctx, entry)
	}
	err := do()
	if receipt.ID() != "" {
		err = d.finish(receipt, entry, err)
	}
	if err != nil {
		return d.config.Log.Defer(err, deed, entry)
	}
	if unlogged != nil {
		return fmt.Errorf("%s was done, but not recorded: %w", entry.Action, unlogged)
	}
	return nil
}

// The kinds of what Defer may be asked to note; see Redo.
const (
	deedHandle  = "handle"
	deedHandles = "handles"
	deedKey     = "service-key"
)

// Redo does what was noted because the store could not be written, and reports
// whether that is of a kind of this package.
func (d *Directory) Redo(ctx context.Context, deed audit.Deed) (bool, error) {
	switch deed.Kind {
	case deedHandle:
		return true, d.RevokeHandle(ctx, gatehouse.HandleID(deed.Target))
	case deedHandles:
		return true, d.RevokeConnection(ctx, gatehouse.ConnectionID(deed.Target))
	case deedKey:
		return true, d.RevokeServiceKey(ctx, ServiceKeyID(deed.Target))
	}
	return false, nil
}

// finish records the outcome of what was done and returns its error. The
// details stand in the intent.
func (d *Directory) finish(receipt audit.Receipt, entry audit.Entry, err error) error {
	outcome := audit.Entry{
		Action: entry.Action, Service: entry.Service, Purpose: entry.Purpose,
		Platform: entry.Platform, App: entry.App, Verdict: verdictDone,
	}
	if err != nil {
		outcome.Verdict = verdictFailed
	}
	d.config.Log.Outcome(receipt, outcome)
	return err
}

// The verdicts of the log that this package uses.
const (
	verdictAllow  = "allow"
	verdictDone   = "done"
	verdictFailed = "failed"
)
