package vault

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"time"

	"gatehouse"
)

// HookTestOnlyStep has f called between two writes of the work on keys.
func (k *Keys) HookTestOnlyStep(f func(name string)) { k.step = f }

// HookTestOnlyParseKeyringPlace parses one place of a keyring file.
func HookTestOnlyParseKeyringPlace(content []byte) (uint32, []byte) {
	return parseKeyringPlace(content)
}

// HookTestOnlyParseKeyset parses a keyset that is to be imported.
func HookTestOnlyParseKeyset(content []byte) error {
	_, err := parseKeyset(content)
	return err
}

// HookTestOnlyOldPerson makes a person as before there was a keyring: the key
// stands directly under the domain key Personal.
func (v *Vault) HookTestOnlyOldPerson(ctx context.Context, fatal func(...any)) gatehouse.PersonID {
	row := PersonKey{Person: gatehouse.PersonID(rand.Text()), Version: 1, State: Active, Created: time.Now()}
	wrapping, version, err := v.sealer(ctx, Personal)
	if err != nil {
		fatal(err)
	}
	row.DomainVersion = version
	if row.Wrapped, err = wrapping.Encrypt(make([]byte, keySize), v.personKeyPlace(row)); err != nil {
		fatal(err)
	}
	if err := v.config.Store.AddPersonKey(ctx, row); err != nil {
		fatal(err)
	}
	return row.Person
}

// HookTestOnlyManyPeople yields so many people's keys, wrapped by keyring keys that
// it has stored, for a benchmark to store.
func (v *Vault) HookTestOnlyManyPeople(ctx context.Context, n int, store func(PersonKey) error) error {
	type wrapping struct {
		id        KeyringID
		primitive cipher.AEAD
	}
	var ring []wrapping
	for bucket := range buckets {
		id, primitive, err := v.newKeyringKey(ctx, bucket, 1, 0)
		if err != nil {
			return err
		}
		ring = append(ring, wrapping{id, primitive})
	}
	key := make([]byte, keySize)
	for i := range n {
		under := ring[i%len(ring)]
		row := PersonKey{Person: gatehouse.PersonID(rand.Text()), Version: 1, State: Active, Keyring: under.id, Created: time.Now()}
		row.Wrapped = under.primitive.Seal(nil, nil, key, v.personKeyPlace(row))
		if err := store(row); err != nil {
			return err
		}
	}
	return nil
}

// HookTestOnlyLateKeyringKey returns a keyring key for a bucket under a version
// of the daily key that may be no longer active: as another process stores it
// whose transaction began before there was a newer one and is committed after.
func (v *Vault) HookTestOnlyLateKeyringKey(ctx context.Context, id KeyringID, bucket int, daily uint32) (KeyringKey, error) {
	wrapping, err := v.dailyKey(ctx, daily)
	if err != nil {
		return KeyringKey{}, err
	}
	row := KeyringKey{ID: id, Bucket: bucket, State: Active, Daily: daily, Created: time.Now()}
	row.Wrapped = wrapping.Seal(nil, nil, make([]byte, keySize), v.keyringPlace(row))
	return row, nil
}
