package vault

import (
	"context"

	"gatehouse"
)

// HookTestOnlyOpenRecord opens a sealed record with a person's key in plain, as the
// vectors have it, through the code that Open uses.
func HookTestOnlyOpenRecord(key []byte, env gatehouse.Environment, ref Ref, sealed []byte) ([]byte, error) {
	_, body, err := parseSealed(sealed, formatPerson)
	if err != nil {
		return nil, err
	}
	primitive, err := newPersonAEAD(key)
	if err != nil {
		return nil, err
	}
	v := &Vault{config: Config{Environment: env}}
	return openPerson(primitive, body, v.recordPlace(ref))
}

// HookTestOnlySealRecord seals with a person's key in plain.
func HookTestOnlySealRecord(key []byte, env gatehouse.Environment, ref Ref, plaintext []byte) ([]byte, error) {
	primitive, err := newPersonAEAD(key)
	if err != nil {
		return nil, err
	}
	v := &Vault{config: Config{Environment: env}}
	return sealPerson(primitive, 1, plaintext, v.recordPlace(ref)), nil
}

// HookTestOnlyHolds reports whether domain keys are in memory now.
func (v *Vault) HookTestOnlyHolds() bool { return v.held.Load() != nil }

// HookTestOnlyPlace is the associated data of the given parts.
func HookTestOnlyPlace(kind string, parts ...string) []byte { return place(kind, parts...) }

// HookTestOnlyParseRootKey parses the content of a root key file.
func HookTestOnlyParseRootKey(content []byte) (RootKey, error) {
	key, err := parseRootKey(content)
	if err != nil {
		return nil, err
	}
	return key, nil
}

// HookTestOnlyParseSealed parses a sealed record of either format.
func HookTestOnlyParseSealed(sealed []byte, format byte) (uint32, []byte, error) {
	return parseSealed(sealed, format)
}

// HookTestOnlyOwnerTrusted reports whether a key file's owner is trusted.
func HookTestOnlyOwnerTrusted(owner uint32, euid int) bool { return ownerTrusted(owner, euid) }

// HookTestOnlyNewDomainKey makes a further version of a domain key, as a rotation
// does.
func HookTestOnlyNewDomainKey(ctx context.Context, root RootKey, env gatehouse.Environment, domain Domain, version uint32) (DomainKey, error) {
	return newDomainKey(ctx, root, env, domain, version)
}

// HookTestOnlyBind is the associated data of a datum.
func (b *Batch) HookTestOnlyBind(p Place) []byte { return b.bind(p) }

// HookTestOnlyParsePassphrase parses the content of a passphrase file.
func HookTestOnlyParsePassphrase(content []byte) (*SealedRoot, error) {
	return parsePassphrase(content)
}

// HookTestOnlyLateTimer closes the vault and then lets the timer of its hold fire.
func (v *Vault) HookTestOnlyLateTimer() {
	ring := v.held.Load()
	v.Close()
	v.refresh(ring)
}
