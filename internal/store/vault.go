package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"
)

const (
	selectDomainKeys statement = `
		SELECT domain, version, state, environment, root, wrapped, created
		FROM vault_domain_keys ORDER BY domain, version`
	insertDomainKey statement = `
		INSERT INTO vault_domain_keys (domain, version, state, environment, root, wrapped, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`

	insertPersonKey statement = `
		INSERT INTO vault_person_keys (person, version, state, domain_version, wrapped, created, destroyed)
		VALUES ($1, $2, $3, $4, $5, $6, 0)`
	selectPersonKey statement = `
		SELECT version, state, domain_version, wrapped, created, destroyed
		FROM vault_person_keys WHERE person = $1 AND version = $2`
	selectSealingPersonKey statement = `
		SELECT version, state, domain_version, wrapped, created, destroyed
		FROM vault_person_keys WHERE person = $1
		ORDER BY CASE state WHEN 'active' THEN 0 ELSE 1 END, version DESC LIMIT 1`
	destroyPersonKeys statement = `
		UPDATE vault_person_keys
		SET wrapped = $2, state = 'destroyed', destroyed = CASE destroyed WHEN 0 THEN $3 ELSE destroyed END
		WHERE person = $1`

	putSystemRecord statement = `
		INSERT INTO vault_system (name, sealed, updated) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, updated = excluded.updated`
	selectSystemRecord statement = `SELECT sealed, updated FROM vault_system WHERE name = $1`
)

// Vault is the vault.Store of a database.
type Vault struct{ db *DB }

var _ vault.Store = (*Vault)(nil)

// Vault returns the part of the database that keeps keys.
func (d *DB) Vault() *Vault { return &Vault{db: d} }

// DomainKeys implements vault.Store.
func (s *Vault) DomainKeys(ctx context.Context) ([]vault.DomainKey, error) {
	return collect[vault.DomainKey](s.db.query(ctx, selectDomainKeys))(func(r *rows) (vault.DomainKey, error) {
		var key vault.DomainKey
		var created int64
		err := r.Scan(&key.Domain, &key.Version, &key.State, &key.Environment, &key.Root, &key.Wrapped, &created)
		key.Created = fromMicros(created)
		return key, err
	})
}

// AddDomainKeys implements vault.Store.
func (s *Vault) AddDomainKeys(ctx context.Context, keys []vault.DomainKey) error {
	return s.db.tx(ctx, func(t *tx) error {
		for _, key := range keys {
			_, err := t.exec(ctx, insertDomainKey, string(key.Domain), int64(key.Version), string(key.State),
				string(key.Environment), key.Root, key.Wrapped, micros(key.Created))
			if err != nil {
				return fmt.Errorf("domain key %s version %d: %w", key.Domain, key.Version, err)
			}
		}
		return nil
	})
}

// AddPersonKey implements vault.Store.
func (s *Vault) AddPersonKey(ctx context.Context, key vault.PersonKey) error {
	_, err := s.db.exec(ctx, insertPersonKey, string(key.Person), int64(key.Version), string(key.State),
		int64(key.DomainVersion), key.Wrapped, micros(key.Created))
	return err
}

// PersonKey implements vault.Store.
func (s *Vault) PersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (vault.PersonKey, error) {
	return cached(ctx, s.db, cacheKey{selectPersonKey, string(person), int64(version)}, func() (vault.PersonKey, error) {
		return s.readPersonKey(ctx, person, version)
	})
}

func (s *Vault) readPersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (vault.PersonKey, error) {
	var found *row
	if version == 0 {
		found = s.db.queryRow(ctx, selectSealingPersonKey, string(person))
	} else {
		found = s.db.queryRow(ctx, selectPersonKey, string(person), int64(version))
	}
	key := vault.PersonKey{Person: person}
	var created, destroyed int64
	if err := found.Scan(&key.Version, &key.State, &key.DomainVersion, &key.Wrapped, &created, &destroyed); err != nil {
		return vault.PersonKey{}, err
	}
	key.Created, key.Destroyed = fromMicros(created), fromMicros(destroyed)
	return key, nil
}

// DestroyPersonKeys implements vault.Store.
func (s *Vault) DestroyPersonKeys(ctx context.Context, person gatehouse.PersonID, at time.Time) error {
	n, err := s.db.exec(ctx, destroyPersonKeys, string(person), []byte{}, micros(at))
	if err == nil && n == 0 {
		err = fmt.Errorf("the person has no key: %w", gatehouse.ErrNotFound)
	}
	return err
}

// PutSystemRecord implements vault.Store.
func (s *Vault) PutSystemRecord(ctx context.Context, record vault.SystemRecord) error {
	_, err := s.db.exec(ctx, putSystemRecord, record.Name, record.Sealed, micros(record.Updated))
	return err
}

// SystemRecord implements vault.Store.
func (s *Vault) SystemRecord(ctx context.Context, name string) (vault.SystemRecord, error) {
	record := vault.SystemRecord{Name: name}
	var updated int64
	if err := s.db.queryRow(ctx, selectSystemRecord, name).Scan(&record.Sealed, &updated); err != nil {
		return vault.SystemRecord{}, err
	}
	record.Updated = fromMicros(updated)
	return record, nil
}
