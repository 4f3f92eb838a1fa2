// Package vault owns the keys of Gatehouse and every credential at rest: the
// hierarchy from the root key through the domain keys and the keyring to one key
// for each person, the sealed records under them, and the life of all these keys
// (see [Keys]).
//
// It promises that a sealed record opens only in the environment, table, row
// and column it was sealed for and for the person it belongs to; that a token
// is opened only by someone who shows the receipt of a durable log entry; that
// no token and no person's key is kept in plain after the call (or the batch)
// that needed it, and no domain key longer than [Config.HoldDomainKeys] without its
// root key's consent, or [Config.KeepWithoutRoot] while that cannot be asked; and
// that destroying a person's key makes everything sealed under it unreadable,
// through Gatehouse at once and to a holder of the raw disk within a day. Its
// errors name the key or the column and never repeat material.
//
// It must never invent cryptography (domain keys are Tink keysets, records are
// the standard library's AES-256-GCM with random nonces), never write SQL, and
// never hand out a key. What it does not promise: Go cannot erase what the
// garbage collector has copied, so key bytes that were dropped may stay in the
// process's memory until they are overwritten.
package vault

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"
)

// DefaultHold is how long unwrapped domain keys are held when
// [Config.HoldDomainKeys] is zero.
const DefaultHold = 15 * time.Minute

// Config says which keys a vault works with. It is copied and never changed.
type Config struct {
	// Root wraps the domain keys. Required.
	Root RootKey
	// Previous are root keys that still wrap domain keys, until each of those was
	// rewrapped by Root. Usually there are none.
	Previous []RootKey
	// Store keeps wrapped keys and system records. Required.
	Store Store
	// Environment is bound into every key and record. Required.
	Environment gatehouse.Environment
	// HoldDomainKeys bounds how long unwrapped domain keys stay in memory before the
	// root key is asked for them again. Zero means DefaultHold.
	HoldDomainKeys time.Duration
	// KeepWithoutRoot bounds how long they serve on when the root key is then out of
	// reach, counted from its last answer. Zero means DefaultKeep; less than
	// HoldDomainKeys means HoldDomainKeys.
	KeepWithoutRoot time.Duration
	// OnRoot is called when the root key's condition changes, such as when it is
	// lost and when it is back. It must return at once. Nil means that nobody
	// watches.
	OnRoot func(RootStatus)
	// KeyringFile is where the daily key is kept, outside the database, so that it
	// can be forgotten. Empty means that it is kept in the database, which never
	// quite forgets; see docs/decisions/0010-keyring.md.
	KeyringFile string
	// Log gets one line for each time the domain keys are unwrapped, and a warning
	// when the root key is lost. Nil means that nobody wants to know.
	Log *slog.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Root == nil:
		return fmt.Errorf("vault: Config.Root is missing: %w", gatehouse.ErrInvalid)
	case c.Store == nil:
		return fmt.Errorf("vault: Config.Store is missing: %w", gatehouse.ErrInvalid)
	case c.Environment == "":
		return fmt.Errorf("vault: Config.Environment is empty: %w", gatehouse.ErrInvalid)
	case c.HoldDomainKeys < 0:
		return fmt.Errorf("vault: Config.HoldDomainKeys is negative: %w", gatehouse.ErrInvalid)
	case c.KeepWithoutRoot < 0:
		return fmt.Errorf("vault: Config.KeepWithoutRoot is negative: %w", gatehouse.ErrInvalid)
	}
	if c.KeepWithoutRoot == 0 {
		c.KeepWithoutRoot = DefaultKeep
	}
	if c.HoldDomainKeys == 0 {
		c.HoldDomainKeys = DefaultHold
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Vault seals and opens. It is safe for use by many goroutines.
type Vault struct {
	config Config

	// held is the one place where unwrapped domain keys stay. Readers load it
	// without a lock; it is only ever replaced or dropped, under mu.
	held atomic.Pointer[keyring]
	mu   sync.Mutex
	drop *time.Timer // guarded by mu; asks again for held when its hold is over

	status atomic.Pointer[RootStatus] // replaced under mu
	life   context.Context            // what the timer's requests run under

	// used notes the hour in which each domainVersion was last used, as
	// *atomic.Int64, until Keys writes it down.
	used sync.Map
}

// Init makes the first domain keys of an empty store, wrapped by the root key
// and bound to the environment. A store that has keys already is ErrConflict
// and stays as it is.
func Init(ctx context.Context, config Config) error {
	if err := config.validate(); err != nil {
		return err
	}
	var keys []DomainKey
	for _, domain := range domains {
		key, err := newDomainKey(ctx, config.Root, config.Environment, domain, 1)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	if err := config.Store.AddDomainKeys(ctx, keys); err != nil {
		return fmt.Errorf("storing the first domain keys: %w", err)
	}
	return nil
}

// Open opens the vault of a store that Init has prepared. A store of another
// environment, or one whose keys another root key wraps, is refused here and
// not at the first call; so is one whose daily key cannot be opened. The first
// daily key of a store is made here.
func Open(ctx context.Context, config Config) (*Vault, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	v := &Vault{config: config, life: context.WithoutCancel(ctx)}
	if _, err := v.keyring(ctx); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	if err := v.firstDaily(ctx); err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	return v, nil
}

// RootID names the root key that is configured. It is not secret.
func (v *Vault) RootID() string { return v.config.Root.ID() }

// PreviousRootIDs names the root keys that are configured beside that one.
func (v *Vault) PreviousRootIDs() []string {
	var ids []string
	for _, root := range v.config.Previous {
		ids = append(ids, root.ID())
	}
	return ids
}

// Close drops the domain keys. The vault may be used afterwards; it then
// unwraps them again.
func (v *Vault) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget()
}

// forget drops the held keys. The caller holds mu.
func (v *Vault) forget() {
	v.held.Store(nil)
	if v.drop != nil {
		v.drop.Stop()
		v.drop = nil
	}
}
