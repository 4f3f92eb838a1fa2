package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
)

// Keys is the life of a vault's keys: what operators and the clock do with them.
// Every change is in the log before it is made, is one compare-and-swap or a walk
// of such, and goes on after an interruption from what the rows say.
type Keys struct {
	vault  *Vault
	config KeysConfig
	// owner is who this process is to the lease.
	owner string
	// step is called between two writes; tests end the process there.
	step func(name string)
}

// KeysConfig says how keys live. It is copied and never changed.
type KeysConfig struct {
	// Vault is whose keys they are. Required.
	Vault *Vault
	// Log gets an intent before each change. Required.
	Log *audit.Log
	// RotateAfter is the age at which tokens, personal and system get a new
	// version by themselves. Zero means never.
	RotateAfter time.Duration
	// DestroyAfter is how long a version that was replaced and that nothing needs
	// is kept before its destruction is scheduled by itself. Zero means for ever.
	DestroyAfter time.Duration
	// TurnAfter is how long an erasure may wait until the keyring forgets it. Zero
	// means DefaultTurnAfter.
	TurnAfter time.Duration
	// Logger gets what the background work does. Nil means that nobody wants to
	// know.
	Logger *slog.Logger
}

const (
	// DefaultTurnAfter leaves half a day for the turn itself and for a machine
	// that was off: within a day of an erasure the keyring has forgotten.
	DefaultTurnAfter = 12 * time.Hour
	// DefaultWait is how long a version is scheduled before it is destroyed, and
	// LeastWait the least that may be asked for: by then every process that reaches
	// its root key has dropped the domain keys of before and does not seal with the
	// version any more. What one without its root key sealed is counted again before
	// the destruction.
	DefaultWait = 7 * 24 * time.Hour
	LeastWait   = 24 * time.Hour
)

// Actions in the log.
const (
	actionRotate   = "keys.rotate"
	actionRewrap   = "keys.rewrap"
	actionDisable  = "keys.disable"
	actionEnable   = "keys.enable"
	actionSchedule = "keys.schedule"
	actionDestroy  = "keys.destroy"
	actionImport   = "keys.import"
)

// NewKeys returns the life of a vault's keys.
func NewKeys(config KeysConfig) (*Keys, error) {
	switch {
	case config.Vault == nil:
		return nil, fmt.Errorf("vault: KeysConfig.Vault is missing: %w", gatehouse.ErrInvalid)
	case config.Log == nil:
		return nil, fmt.Errorf("vault: KeysConfig.Log is missing: %w", gatehouse.ErrInvalid)
	case config.RotateAfter < 0, config.DestroyAfter < 0, config.TurnAfter < 0:
		return nil, fmt.Errorf("vault: KeysConfig has a negative time: %w", gatehouse.ErrInvalid)
	}
	if config.TurnAfter == 0 {
		config.TurnAfter = DefaultTurnAfter
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Keys{vault: config.Vault, config: config, owner: rand.Text(), step: func(string) {}}, nil
}

func (k *Keys) store() Store { return k.vault.config.Store }

// use notes that a version is used in this hour. It is on the path of every call.
func (v *Vault) use(domain Domain, version uint32) {
	hour := time.Now().Unix() / 3600
	key := domainVersion{domain, version}
	noted, ok := v.used.Load(key)
	if !ok {
		noted, _ = v.used.LoadOrStore(key, new(atomic.Int64))
	}
	if last := noted.(*atomic.Int64); last.Load() != hour {
		last.Store(hour)
	}
}

// did records one change: the intent before it, the outcome after it.
func (k *Keys) did(ctx context.Context, action string, facts map[string]string, do func(audit.Receipt) error) error {
	receipt, err := k.config.Log.Intent(ctx, audit.Entry{Action: action, Facts: facts})
	if err != nil {
		return fmt.Errorf("recording %s: %w", action, err)
	}
	return k.ended(receipt, nil, do(receipt))
}

func (k *Keys) ended(receipt audit.Receipt, facts map[string]string, err error) error {
	outcome := audit.Entry{Verdict: "done", Facts: facts}
	if err != nil {
		outcome.Verdict = "failed"
	}
	k.config.Log.Outcome(receipt, outcome)
	return err
}

// reduced is did for what takes power away: it is done even if the log cannot be
// written. The entry then waits beside the log; if it cannot, the error says so.
func (k *Keys) reduced(ctx context.Context, action string, facts map[string]string, do func() error) error {
	receipt, unlogged := k.config.Log.Reduce(ctx, audit.Entry{Action: action, Facts: facts})
	err := do()
	if receipt.ID() != "" {
		err = k.ended(receipt, nil, err)
	}
	if err == nil && unlogged != nil {
		err = fmt.Errorf("%s was done, but not recorded: %w", action, unlogged)
	}
	return err
}

func keyFacts(domain Domain, version uint32) map[string]string {
	return map[string]string{"key": string(domain), "version": strconv.FormatUint(uint64(version), 10)}
}

// versions returns all versions of a domain, the oldest first.
func (k *Keys) versions(ctx context.Context, domain Domain) ([]DomainKey, error) {
	rows, err := k.store().DomainKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the domain keys: %w", err)
	}
	var of []DomainKey
	for _, row := range rows {
		if row.Domain == domain {
			of = append(of, row)
		}
	}
	if len(of) == 0 {
		return nil, wire.Refuse(gatehouse.ErrNotFound, "keys/unknown", "There is no domain key of this name. They are: tokens, personal, system, derive.")
	}
	return of, nil
}

func (k *Keys) version(ctx context.Context, domain Domain, version uint32) (DomainKey, error) {
	rows, err := k.versions(ctx, domain)
	if err != nil {
		return DomainKey{}, err
	}
	for _, row := range rows {
		if row.Version == version {
			return row, nil
		}
	}
	return DomainKey{}, wire.Refuse(gatehouse.ErrNotFound, "keys/unknown", fmt.Sprintf("The key %s has no version %d; its newest is %d.", domain, version, rows[len(rows)-1].Version))
}

// refuseDerive says why derive is not rotated.
func refuseDerive(domain Domain) error {
	if domain != Derive {
		return nil
	}
	return wire.Refuse(gatehouse.ErrDenied, "keys/derive-is-fixed",
		"What is derived is never stored, so it cannot be derived anew: the hashes by which people, subjects, service keys and "+
			"handles are found, and the secrets of OAuth 1.0a handles, would all stop matching. It would take a second hash beside "+
			"each, written whenever its original is at hand, until none is missing. After a compromise of this key, revoke service "+
			"keys and handles (gatehouse connect revoke --all) and make them anew in a new store.")
}

// Rotate makes a new version of a domain key, which seals from then on; what the
// ones before it sealed stays readable. It returns the new version.
func (k *Keys) Rotate(ctx context.Context, domain Domain) (uint32, error) {
	return k.rotate(ctx, actionRotate, domain, nil)
}

// rotate stores a new version whose keyset is made here, or is material.
func (k *Keys) rotate(ctx context.Context, action string, domain Domain, material *keyset.Handle) (uint32, error) {
	if err := refuseDerive(domain); err != nil {
		return 0, err
	}
	rows, err := k.versions(ctx, domain)
	if err != nil {
		return 0, err
	}
	version := rows[len(rows)-1].Version + 1
	err = k.did(ctx, action, keyFacts(domain, version), func(audit.Receipt) error {
		if material == nil {
			if material, err = keyset.NewHandle(template(domain)); err != nil {
				return fmt.Errorf("making domain key %s: %w", domain, err)
			}
		}
		row, err := wrapDomainKey(ctx, k.vault.config.Root, k.vault.config.Environment, domain, version, material)
		if err != nil {
			return err
		}
		k.step("rotate: wrapped")
		err = k.store().RotateDomainKey(ctx, row)
		if errors.Is(err, gatehouse.ErrConflict) {
			return wire.Refuse(gatehouse.ErrConflict, "keys/rotated-already", fmt.Sprintf("Another process has just made a version of %s. See: gatehouse keys list", domain))
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("rotating domain key %s: %w", domain, err)
	}
	k.step("rotate: stored")
	return version, k.vault.Renew(ctx)
}

// maxKeyset bounds a file with a keyset.
const maxKeyset = 64 << 10

// Import makes a keyset that was made elsewhere the new version of a domain key.
// The file holds a Tink keyset in plain (JSON or binary), is readable by its owner
// only, and is for the caller to destroy afterwards.
func (k *Keys) Import(ctx context.Context, domain Domain, path string) (uint32, error) {
	if err := refuseDerive(domain); err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("importing a key: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 || !info.Mode().IsRegular() || info.Size() > maxKeyset {
		return 0, wire.Refuse(gatehouse.ErrDenied, "keys/import-file", fmt.Sprintf("%s must be a file of at most 64 KiB that only its owner can reach: chmod 600 it.", path))
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("importing a key: %w", err)
	}
	defer clear(content)
	handle, err := parseKeyset(content)
	if err != nil {
		return 0, err
	}
	return k.rotate(ctx, actionImport, domain, handle)
}

// refuseActive keeps the one version that seals from being taken away.
func refuseActive(row DomainKey, what string) error {
	if row.State != Active {
		return nil
	}
	return wire.Refuse(gatehouse.ErrDenied, "keys/active",
		fmt.Sprintf("%s version %d is the one that seals; without it Gatehouse could not work. Rotate first (gatehouse keys rotate %s), then %s it.", row.Domain, row.Version, row.Domain, what))
}

// change replaces a version's state by compare-and-swap.
func (k *Keys) change(ctx context.Context, from DomainKey, state KeyState, destroyAt time.Time) error {
	to := from
	to.State, to.Changed, to.DestroyAt = state, time.Now(), destroyAt
	if state == Destroyed {
		to.Wrapped = nil
	}
	if err := k.store().ChangeDomainKey(ctx, from, to); err != nil {
		return fmt.Errorf("changing domain key %s version %d: %w", from.Domain, from.Version, err)
	}
	return k.vault.Renew(ctx)
}

// Disable keeps a version from opening anything until it is enabled again.
// Processes that run obey within seconds. It is done even if it cannot be recorded.
func (k *Keys) Disable(ctx context.Context, domain Domain, version uint32) error {
	row, err := k.version(ctx, domain, version)
	if err != nil {
		return err
	}
	if err := refuseActive(row, "disable"); err != nil {
		return err
	}
	if row.State == Disabled {
		return nil
	}
	if row.State != DecryptOnly {
		return stateRefusal(row, "disable")
	}
	return k.reduced(ctx, actionDisable, keyFacts(domain, version), func() error {
		return k.change(ctx, row, Disabled, time.Time{})
	})
}

func stateRefusal(row DomainKey, what string) error {
	return wire.Refuse(gatehouse.ErrConflict, "keys/state", fmt.Sprintf("%s version %d is %s, so there is nothing to %s.", row.Domain, row.Version, row.State, what))
}

// Enable makes a disabled version open again, or takes the schedule of its
// destruction away.
func (k *Keys) Enable(ctx context.Context, domain Domain, version uint32) error {
	row, err := k.version(ctx, domain, version)
	if err != nil {
		return err
	}
	if row.State != Disabled && row.State != Scheduled {
		return stateRefusal(row, "enable")
	}
	return k.did(ctx, actionEnable, keyFacts(domain, version), func(audit.Receipt) error {
		return k.change(ctx, row, DecryptOnly, time.Time{})
	})
}

// needed refuses while anything needs a version.
func (k *Keys) needed(ctx context.Context, domain Domain, version uint32) error {
	if domain == Derive {
		return refuseDerive(domain)
	}
	uses, err := k.store().DomainKeyUses(ctx, domain, version)
	if err != nil {
		return fmt.Errorf("counting what needs domain key %s version %d: %w", domain, version, err)
	}
	if len(uses) == 0 {
		return nil
	}
	text := ""
	for _, use := range uses {
		text += " " + use.Text() + ";"
	}
	return wire.Refuse(gatehouse.ErrConflict, "keys/needed",
		fmt.Sprintf("%s version %d is still needed by:%s nothing was changed. 'gatehouse keys rewrap %s' moves what can be moved; the rest ends with its own retention.", domain, version, text, domain))
}

// Schedule has a version destroyed after a wait. Until then it opens nothing, and
// Enable takes it back. It is refused while anything needs the version.
func (k *Keys) Schedule(ctx context.Context, domain Domain, version uint32, wait time.Duration) (time.Time, error) {
	row, err := k.version(ctx, domain, version)
	if err != nil {
		return time.Time{}, err
	}
	if wait < LeastWait {
		return time.Time{}, wire.Refuse(gatehouse.ErrInvalid, "keys/wait", fmt.Sprintf("The wait is at least %s: until then a process may still hold the key.", LeastWait))
	}
	if err := refuseActive(row, "destroy"); err != nil {
		return time.Time{}, err
	}
	if row.State == Scheduled {
		return row.DestroyAt, nil
	}
	if row.State == Destroyed {
		return time.Time{}, stateRefusal(row, "destroy")
	}
	if err := k.needed(ctx, domain, version); err != nil {
		return time.Time{}, err
	}
	at := time.Now().Add(wait).Truncate(time.Second)
	facts := keyFacts(domain, version)
	facts["at"] = at.UTC().Format(time.RFC3339)
	return at, k.did(ctx, actionSchedule, facts, func(audit.Receipt) error {
		return k.change(ctx, row, Scheduled, at)
	})
}

// DestroyDue destroys the scheduled versions whose wait is over, and returns how
// many. One that something needs after all is kept, and is an error.
func (k *Keys) DestroyDue(ctx context.Context) (int, error) {
	rows, err := k.store().DomainKeys(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the domain keys: %w", err)
	}
	n := 0
	var failed error
	for _, row := range rows {
		if row.State != Scheduled || time.Now().Before(row.DestroyAt) {
			continue
		}
		if err := k.needed(ctx, row.Domain, row.Version); err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		err := k.did(ctx, actionDestroy, keyFacts(row.Domain, row.Version), func(audit.Receipt) error {
			k.step("destroy: recorded")
			return k.change(ctx, row, Destroyed, time.Time{})
		})
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		n++
	}
	if n > 0 {
		failed = errors.Join(failed, k.store().Compact(ctx))
	}
	return n, failed
}

// parseKeyset reads a keyset in plain whose primitive is authenticated encryption.
// Its errors repeat nothing of it.
func parseKeyset(content []byte) (*keyset.Handle, error) {
	invalid := wire.Refuse(gatehouse.ErrInvalid, "keys/import-keyset", "The file does not hold a Tink keyset for authenticated encryption, in plain, as JSON or binary.")
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(content)))
	if err != nil {
		if handle, err = insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(content))); err != nil {
			return nil, invalid
		}
	}
	if _, err := aead.New(handle); err != nil {
		return nil, invalid
	}
	return handle, nil
}
