package vault

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"gatehouse/internal/secret"
)

// Status is how far the keys are: what the store says of them, and what is
// unfinished.
type Status struct {
	// Root is the root key that is configured, and Roots how many domain keys each
	// root key still wraps.
	Root  string
	Roots map[string]int
	// Domains are all versions of the domain keys.
	Domains []DomainKey
	// Direct is whether keys of people stand directly under a domain key still.
	Direct bool
	// OldSystem is how many system secrets an older version seals.
	OldSystem int
	// Daily are all versions of the daily key, and Keyring is the rest of it.
	Daily   []DailyKey
	Keyring KeyringSummary
	// InFile is whether the daily key stands outside the database.
	InFile bool
	// TurnDue is when the keyring has to forget next; zero if nobody was erased.
	TurnDue time.Time
	// System are the system secrets, without what is sealed.
	System []SystemRecord
	// Seen are the keys that others keep.
	Seen []SeenKey
}

// Turning reports whether a turn of the keyring is under way, or was interrupted.
func (s Status) Turning() bool {
	for _, key := range s.Daily {
		if key.State == DecryptOnly {
			return true
		}
	}
	return false
}

// Unfinished reports whether Rewrap has anything to do.
func (s Status) Unfinished() bool {
	return len(s.PreviousRoots()) > 0 || s.Direct || s.OldSystem > 0 || s.Turning()
}

// PreviousRoots returns the root keys other than the configured one that still
// wrap domain keys.
func (s Status) PreviousRoots() []string {
	var roots []string
	for id := range s.Roots {
		if id != s.Root {
			roots = append(roots, id)
		}
	}
	return roots
}

// Status reads how far the keys are.
func (k *Keys) Status(ctx context.Context) (Status, error) {
	s := Status{Root: k.vault.config.Root.ID(), Roots: map[string]int{}}
	var err error
	fail := func(what string) (Status, error) { return Status{}, fmt.Errorf("reading %s: %w", what, err) }
	if s.Domains, err = k.store().DomainKeys(ctx); err != nil {
		return fail("the domain keys")
	}
	var system uint32
	for _, row := range s.Domains {
		if row.State != Destroyed {
			s.Roots[row.Root]++
		}
		if row.Domain == System && row.State == Active {
			system = row.Version
		}
		if row.Domain != Personal || !row.State.opens() || s.Direct {
			continue
		}
		some, err := k.store().PersonKeysUnder(ctx, 0, row.Version, 1)
		if err != nil {
			return Status{}, fmt.Errorf("reading keys of people: %w", err)
		}
		s.Direct = len(some) > 0
	}
	if s.System, err = k.store().SystemRecords(ctx); err != nil {
		return fail("the system secrets")
	}
	for i, record := range s.System {
		if !bytes.HasPrefix(record.Sealed, RecordHeader(system)) {
			s.OldSystem++
		}
		s.System[i].Sealed = nil
	}
	if s.Daily, err = k.store().DailyKeys(ctx); err != nil {
		return fail("the daily key")
	}
	for i, key := range s.Daily {
		if key.State == Active {
			s.InFile = key.InFile
		}
		s.Daily[i].Wrapped = nil
	}
	for i := range s.Domains {
		s.Domains[i].Wrapped = nil
	}
	if s.Keyring, err = k.store().KeyringSummary(ctx); err != nil {
		return fail("the keyring")
	}
	if !s.Keyring.Erased.IsZero() {
		s.TurnDue = s.Keyring.Erased.Add(k.config.TurnAfter)
	}
	if s.Seen, err = k.store().SeenKeys(ctx); err != nil {
		return fail("the keys seen")
	}
	return s, nil
}

// Uses counts what still needs a version of a domain key, up to MostCounted of a kind.
func (k *Keys) Uses(ctx context.Context, domain Domain, version uint32) ([]Use, error) {
	return k.store().DomainKeyUses(ctx, domain, version)
}

// See notes keys that others keep, by a keyed hash of their values, so that it
// can be told since when each is what it is. The values are not stored.
func (k *Keys) See(ctx context.Context, values map[string]secret.Text) error {
	keys := make([]SeenKey, 0, len(values))
	for name, value := range values {
		fingerprint, err := k.vault.Derive(ctx, "keys/seen", name, value.Reveal())
		if err != nil {
			return err
		}
		keys = append(keys, SeenKey{Name: name, Fingerprint: fingerprint.Reveal()[:16], Since: time.Now()})
	}
	if err := k.store().SeeKeys(ctx, keys); err != nil {
		return fmt.Errorf("noting the keys seen: %w", err)
	}
	return nil
}
