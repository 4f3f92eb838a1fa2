package vault

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"gatehouse"
)

// NewPerson makes a person: a random identifier and a key of their own. Both
// are durable on return.
func (v *Vault) NewPerson(ctx context.Context) (gatehouse.PersonID, error) {
	wrapping, domainVersion, err := v.sealer(ctx, Personal)
	if err != nil {
		return "", fmt.Errorf("making a person's key: %w", err)
	}
	person := gatehouse.PersonID(rand.Text())
	var key [keySize]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return "", fmt.Errorf("making a person's key: %w", err)
	}
	const version = 1
	wrapped, err := wrapping.Encrypt(key[:], v.personKeyPlace(person, version))
	if err != nil {
		return "", fmt.Errorf("wrapping a person's key: %w", err)
	}
	err = v.config.Store.AddPersonKey(ctx, PersonKey{
		Person: person, Version: version, State: Active,
		DomainVersion: domainVersion, Wrapped: wrapped, Created: time.Now(),
	})
	if err != nil {
		return "", fmt.Errorf("storing a person's key: %w", err)
	}
	return person, nil
}

// DestroyPerson destroys the person's key, and with it everything sealed under
// it. It cannot be undone, and repeating it is no error. It needs no key, so it
// works when the root key cannot be reached.
func (v *Vault) DestroyPerson(ctx context.Context, person gatehouse.PersonID) error {
	if person == "" {
		return fmt.Errorf("destroying a person's key: no person is named: %w", gatehouse.ErrInvalid)
	}
	if err := v.config.Store.DestroyPersonKeys(ctx, person, time.Now()); err != nil {
		return fmt.Errorf("destroying a person's key: %w", err)
	}
	return nil
}

func (v *Vault) personKeyPlace(person gatehouse.PersonID, version uint32) []byte {
	return place(personKeyKind, string(v.config.Environment), string(person), versionPart(version))
}

// personSealer returns the primitive of the person's active key.
func (v *Vault) personSealer(ctx context.Context, person gatehouse.PersonID) (cipher.AEAD, uint32, error) {
	row, err := v.config.Store.PersonKey(ctx, person, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the person's key: %w", err)
	}
	if row.State == Destroyed {
		return nil, 0, ErrErased
	}
	if row.State != Active {
		return nil, 0, stateError(row)
	}
	primitive, err := v.personKey(ctx, row)
	return primitive, row.Version, err
}

// personOpener returns the primitive of one version of the person's key.
func (v *Vault) personOpener(ctx context.Context, person gatehouse.PersonID, version uint32) (cipher.AEAD, error) {
	row, err := v.config.Store.PersonKey(ctx, person, version)
	if errors.Is(err, gatehouse.ErrNotFound) {
		// The person or the version is not there: the record names a key that it
		// was not sealed under, like any other record out of its place.
		return nil, ErrUnreadable
	}
	if err != nil {
		return nil, fmt.Errorf("reading the person's key: %w", err)
	}
	if row.State == Destroyed {
		return nil, ErrErased
	}
	if !row.State.opens() {
		return nil, stateError(row)
	}
	return v.personKey(ctx, row)
}

func stateError(row PersonKey) error {
	return fmt.Errorf("the person's key version %d is %s: %w", row.Version, row.State, gatehouse.ErrDenied)
}

// personKey unwraps a person's key for one use. The bytes are wiped here; the
// primitive lives as long as the call.
func (v *Vault) personKey(ctx context.Context, row PersonKey) (cipher.AEAD, error) {
	wrapping, err := v.opener(ctx, Personal, row.DomainVersion)
	if err != nil {
		return nil, err
	}
	key, err := wrapping.Decrypt(row.Wrapped, v.personKeyPlace(row.Person, row.Version))
	if err != nil {
		return nil, fmt.Errorf("unwrapping the person's key: %w", ErrUnreadable)
	}
	defer clear(key)
	return newPersonAEAD(key)
}
