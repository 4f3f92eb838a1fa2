package vault

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"gatehouse"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/prf"
	tinkpb "github.com/tink-crypto/tink-go/v2/proto/tink_go_proto"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyring is the domain keys in plain, as Tink primitives, for a bounded time.
// It is not changed once made.
type keyring struct {
	until    time.Time // when it is dropped if the root key stays out of reach
	aeads    map[domainVersion]tink.AEAD
	newest   map[Domain]uint32 // the active version that seals
	deriving *prf.Set          // the active version of Derive
	people   peopleKeys        // below Personal, opened as they are needed
	states   string            // of the rows it was made from; see states
}

type domainVersion struct {
	domain  Domain
	version uint32
}

// template returns how a domain's keyset is made. XAES-256-GCM has a 192-bit
// nonce, so that no number of random nonces under one long-lived domain key
// comes near a collision; a person's key seals far fewer records.
func template(domain Domain) *tinkpb.KeyTemplate {
	if domain == Derive {
		return prf.HKDFSHA256PRFKeyTemplate()
	}
	return aead.XAES256GCM192BitNonceKeyTemplate()
}

func newDomainKey(ctx context.Context, root RootKey, env gatehouse.Environment, domain Domain, version uint32) (DomainKey, error) {
	handle, err := keyset.NewHandle(template(domain))
	if err != nil {
		return DomainKey{}, fmt.Errorf("making domain key %s: %w", domain, err)
	}
	return wrapDomainKey(ctx, root, env, domain, version, handle)
}

// wrapDomainKey returns the row of a keyset that becomes a version of a domain key.
func wrapDomainKey(ctx context.Context, root RootKey, env gatehouse.Environment, domain Domain, version uint32, handle *keyset.Handle) (DomainKey, error) {
	var material bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&material)); err != nil {
		return DomainKey{}, fmt.Errorf("serialising domain key %s: %w", domain, err)
	}
	defer clear(material.Bytes())
	wrapped, err := root.Wrap(ctx, material.Bytes(), domainContext(env, domain, version))
	if err != nil {
		return DomainKey{}, fmt.Errorf("wrapping domain key %s with root key %s: %w", domain, root.ID(), err)
	}
	return DomainKey{
		Domain: domain, Version: version, State: Active, Environment: env,
		Root: root.ID(), Wrapped: wrapped, Created: time.Now(),
	}, nil
}

// keyring returns the held domain keys, unwrapping them if they are not held or
// their time is over.
func (v *Vault) keyring(ctx context.Context) (*keyring, error) {
	if ring := v.held.Load(); ring != nil && time.Now().Before(ring.until) {
		return ring, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if ring := v.held.Load(); ring != nil && time.Now().Before(ring.until) {
		return ring, nil
	}
	return v.unwrap(ctx)
}

// renewed unwraps again what another process may have added since old was made.
func (v *Vault) renewed(ctx context.Context, old *keyring) (*keyring, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if ring := v.held.Load(); ring != nil && ring != old {
		return ring, nil
	}
	return v.unwrap(ctx)
}

// unwrap replaces the held keys by freshly unwrapped ones. The caller holds mu. On
// an error settle decides whether the old ones stay.
func (v *Vault) unwrap(ctx context.Context) (*keyring, error) {
	if err := v.lately(); err != nil {
		return nil, closed(err)
	}
	ring, err := v.fetch(ctx)
	if err = v.settle(ctx, ring, err); err != nil {
		return nil, closed(err)
	}
	return ring, nil
}

// fetch reads the domain keys and unwraps them.
func (v *Vault) fetch(ctx context.Context) (*keyring, error) {
	rows, err := v.config.Store.DomainKeys(ctx)
	if err != nil {
		return nil, &storeError{fmt.Errorf("reading the domain keys: %w", err)}
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("the store has no keys yet (gatehouse init makes them): %w", gatehouse.ErrNotFound)
	}
	ring := &keyring{
		until:  time.Now().Add(max(v.config.HoldDomainKeys, v.config.KeepWithoutRoot)),
		aeads:  make(map[domainVersion]tink.AEAD, len(rows)),
		newest: make(map[Domain]uint32, len(domains)),
		states: states(rows),
	}
	for _, row := range rows {
		if row.State == Destroyed {
			continue
		}
		if err := v.check(row); err != nil {
			return nil, err
		}
		if !row.State.opens() {
			continue
		}
		if err := v.add(ctx, ring, row); err != nil {
			return nil, err
		}
	}
	for _, domain := range domains {
		if ring.newest[domain] == 0 {
			return nil, fmt.Errorf("domain key %s has no active version: %w", domain, gatehouse.ErrConflict)
		}
	}
	return ring, nil
}

// states says which versions there are and what each may do.
func states(rows []DomainKey) string {
	var b strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&b, "%s/%d %s\n", row.Domain, row.Version, row.State)
	}
	return b.String()
}

// Renew unwraps the domain keys again, so that changes made in the store are
// obeyed by this process at once. If the root key is out of reach, what is held
// serves on, as it was.
func (v *Vault) Renew(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, err := v.unwrap(ctx)
	return err
}

// check refuses a row of another world before a root key is asked for it, so
// that the operator reads which of the two mistakes was made.
func (v *Vault) check(row DomainKey) error {
	if row.Environment != v.config.Environment {
		return fmt.Errorf("the store belongs to environment %q, and this process runs as %q: %w",
			row.Environment, v.config.Environment, gatehouse.ErrConflict)
	}
	if v.rootOf(row) == nil {
		return fmt.Errorf("domain key %s version %d is wrapped by root key %s, and the root key given is %s: "+
			"give the other one too, under previous_root_keys, until 'gatehouse keys rewrap --root' is done: %w",
			row.Domain, row.Version, row.Root, v.config.Root.ID(), gatehouse.ErrConflict)
	}
	return nil
}

// rootOf returns the root key that wraps a row, or nil if it is not configured.
// Only one that wraps something is ever asked.
func (v *Vault) rootOf(row DomainKey) RootKey {
	for _, root := range append([]RootKey{v.config.Root}, v.config.Previous...) {
		if root.ID() == row.Root {
			return root
		}
	}
	return nil
}

func (v *Vault) add(ctx context.Context, ring *keyring, row DomainKey) error {
	name := fmt.Sprintf("domain key %s version %d", row.Domain, row.Version)
	material, err := v.rootOf(row).Unwrap(ctx, row.Wrapped, domainContext(row.Environment, row.Domain, row.Version))
	if err != nil {
		return &rootError{fmt.Errorf("unwrapping %s with root key %s: %w", name, row.Root, err)}
	}
	defer clear(material)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(material)))
	if err != nil {
		return fmt.Errorf("%s is not a keyset: %w", name, ErrUnreadable)
	}
	sealing := row.State == Active && row.Version > ring.newest[row.Domain]
	if row.Domain == Derive {
		set, err := prf.NewPRFSet(handle)
		if err != nil {
			return fmt.Errorf("%s is not a keyset for deriving: %w", name, ErrUnreadable)
		}
		if sealing {
			ring.deriving = set
		}
	} else {
		primitive, err := aead.New(handle)
		if err != nil {
			return fmt.Errorf("%s is not a keyset for authenticated encryption: %w", name, ErrUnreadable)
		}
		ring.aeads[domainVersion{row.Domain, row.Version}] = primitive
	}
	if sealing {
		ring.newest[row.Domain] = row.Version
	}
	return nil
}

// sealer returns the active key of a domain and its version.
func (v *Vault) sealer(ctx context.Context, domain Domain) (tink.AEAD, uint32, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return nil, 0, err
	}
	version := ring.newest[domain]
	v.use(domain, version)
	return ring.aeads[domainVersion{domain, version}], version, nil
}

// opener returns one version of a domain's key.
func (v *Vault) opener(ctx context.Context, domain Domain, version uint32) (tink.AEAD, error) {
	ring, err := v.keyring(ctx)
	if err != nil {
		return nil, err
	}
	if primitive, ok := ring.aeads[domainVersion{domain, version}]; ok {
		v.use(domain, version)
		return primitive, nil
	}
	if ring, err = v.renewed(ctx, ring); err != nil {
		return nil, err
	}
	if primitive, ok := ring.aeads[domainVersion{domain, version}]; ok {
		return primitive, nil
	}
	return nil, fmt.Errorf("domain key %s has no version %d that may open: %w", domain, version, ErrUnreadable)
}
