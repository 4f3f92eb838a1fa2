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
	for try := 1; ; try++ {
		person, err := v.newPerson(ctx)
		// The keyring key was replaced since it was looked up: another one.
		if !errors.Is(err, gatehouse.ErrConflict) && !errors.Is(err, errMoved) || try == moves {
			return person, err
		}
		v.forgetActive()
	}
}

func (v *Vault) newPerson(ctx context.Context) (gatehouse.PersonID, error) {
	keyring, wrapping, err := v.anyKeyringKey(ctx)
	if err != nil {
		return "", fmt.Errorf("making a person's key: %w", err)
	}
	var key [keySize]byte
	defer clear(key[:])
	if _, err := rand.Read(key[:]); err != nil {
		return "", fmt.Errorf("making a person's key: %w", err)
	}
	row := PersonKey{Person: gatehouse.PersonID(rand.Text()), Version: 1, State: Active, Keyring: keyring, Created: time.Now()}
	row.Wrapped = wrapping.Seal(nil, nil, key[:], v.personKeyPlace(row))
	if err := v.config.Store.AddPersonKey(ctx, row); err != nil {
		return "", fmt.Errorf("storing a person's key: %w", err)
	}
	return row.Person, nil
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

// personKeyPlace binds a wrapped key to its person, version and wrapping.
func (v *Vault) personKeyPlace(row PersonKey) []byte {
	env, person, version := string(v.config.Environment), string(row.Person), versionPart(row.Version)
	if row.Keyring == 0 {
		return place(personKeyKind, env, person, version)
	}
	return place(keyringPersonKeyKind, env, person, version, row.Keyring.part())
}

// personSealer returns the primitive of the person's active key.
func (v *Vault) personSealer(ctx context.Context, person gatehouse.PersonID) (cipher.AEAD, uint32, error) {
	return v.personPrimitive(ctx, person, 0)
}

// personOpener returns the primitive of one version of the person's key.
func (v *Vault) personOpener(ctx context.Context, person gatehouse.PersonID, version uint32) (cipher.AEAD, error) {
	primitive, _, err := v.personPrimitive(ctx, person, version)
	return primitive, err
}

// personPrimitive returns the primitive and version of a person's key: of the
// given version to open, or for version 0 of the active one to seal.
func (v *Vault) personPrimitive(ctx context.Context, person gatehouse.PersonID, version uint32) (cipher.AEAD, uint32, error) {
	for try := 1; ; try++ {
		row, err := v.config.Store.PersonKey(ctx, person, version)
		switch {
		case version != 0 && errors.Is(err, gatehouse.ErrNotFound):
			// The person or the version is not there: the record names a key that it
			// was not sealed under, like any other record out of its place.
			return nil, 0, ErrUnreadable
		case err != nil:
			return nil, 0, fmt.Errorf("reading the person's key: %w", err)
		case row.State == Destroyed:
			return nil, 0, ErrErased
		case version == 0 && row.State != Active, !row.State.opens():
			return nil, 0, fmt.Errorf("the person's key version %d is %s: %w", row.Version, row.State, gatehouse.ErrDenied)
		}
		primitive, err := v.personKey(ctx, row)
		if !errors.Is(err, errMoved) || try == moves {
			return primitive, row.Version, err
		}
		if err := pause(ctx); err != nil {
			return nil, 0, err
		}
	}
}

// personKey unwraps a person's key for one use. The bytes are wiped here; the
// primitive lives as long as the call.
func (v *Vault) personKey(ctx context.Context, row PersonKey) (cipher.AEAD, error) {
	key, err := v.personMaterial(ctx, row)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return newPersonAEAD(key)
}

// personMaterial unwraps a person's key. The caller wipes it.
func (v *Vault) personMaterial(ctx context.Context, row PersonKey) (key []byte, err error) {
	if row.Keyring != 0 {
		wrapping, err := v.keyringKey(ctx, row.Keyring)
		if err != nil {
			return nil, err
		}
		if key, err = wrapping.Open(nil, nil, row.Wrapped, v.personKeyPlace(row)); err != nil {
			return nil, fmt.Errorf("unwrapping the person's key: %w", ErrUnreadable)
		}
		return key, nil
	}
	wrapping, err := v.opener(ctx, Personal, row.DomainVersion)
	if err != nil {
		return nil, err
	}
	if key, err = wrapping.Decrypt(row.Wrapped, v.personKeyPlace(row)); err != nil {
		return nil, fmt.Errorf("unwrapping the person's key: %w", ErrUnreadable)
	}
	return key, nil
}
