package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"
)

const (
	selectDomainKeys statement = `
		SELECT domain, version, state, environment, root, wrapped, created, changed, destroy_at, used
		FROM vault_domain_keys ORDER BY domain, version`
	insertDomainKey statement = `
		INSERT INTO vault_domain_keys (domain, version, state, environment, root, wrapped, created, changed, destroy_at, used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0)`
	newestDomainKey  statement = `SELECT COALESCE(MAX(version), 0) FROM vault_domain_keys WHERE domain = $1`
	demoteDomainKeys statement = `UPDATE vault_domain_keys SET state = 'decrypt-only', changed = $2 WHERE domain = $1 AND state = 'active'`
	changeDomainKey  statement = `
		UPDATE vault_domain_keys SET state = $3, root = $4, wrapped = $5, changed = $6, destroy_at = $7
		WHERE domain = $1 AND version = $2 AND state = $8 AND root = $9 AND wrapped = $10`
	useDomainKey statement = `UPDATE vault_domain_keys SET used = $3 WHERE domain = $1 AND version = $2 AND used < $3`

	// What stands under a version of a domain key, as far as it is counted. A sealed
	// record names the version in its first five bytes; where there can be many rows, an
	// index holds these.
	countPersonKeysUnder statement = `SELECT count(*) FROM (SELECT 1 AS one FROM vault_person_keys WHERE domain_version = $1 AND domain_version > 0 AND state <> 'destroyed' LIMIT $2) AS counted`
	countDailyKeysUnder  statement = `SELECT count(*) FROM (SELECT 1 AS one FROM vault_daily_keys WHERE domain_version = $1 AND state <> 'destroyed' LIMIT $2) AS counted`
	countEntriesUnder    statement = `SELECT count(*) FROM (SELECT 1 AS one FROM audit_entries WHERE personal IS NOT NULL AND substr(personal, 1, 5) = $1 LIMIT $2) AS counted`
	countAttemptsUnder   statement = `SELECT count(*) FROM (SELECT 1 AS one FROM connect_attempts WHERE substr(subject, 1, 5) = $1 OR substr(verifier, 1, 5) = $1 LIMIT $2) AS counted`
	countImportsUnder    statement = `SELECT count(*) FROM (SELECT 1 AS one FROM connect_imports
		WHERE access IS NOT NULL AND substr(access, 1, 5) = $1 OR refresh IS NOT NULL AND substr(refresh, 1, 5) = $1 LIMIT $2) AS counted`
	countEventsUnder   statement = `SELECT count(*) FROM (SELECT 1 AS one FROM outbox_events WHERE data IS NOT NULL AND substr(data, 1, 5) = $1 LIMIT $2) AS counted`
	countIDsUnder      statement = `SELECT count(*) FROM (SELECT 1 AS one FROM compliance_ids WHERE substr(sealed, 1, 5) = $1 LIMIT $2) AS counted`
	countTasksUnder    statement = `SELECT count(*) FROM (SELECT 1 AS one FROM compliance_tasks WHERE substr(upload_url, 1, 5) = $1 OR substr(download_url, 1, 5) = $1 LIMIT $2) AS counted`
	countFindingsUnder statement = `SELECT count(*) FROM (SELECT 1 AS one FROM compliance_findings WHERE substr(sealed, 1, 5) = $1 LIMIT $2) AS counted`
	countSystemUnder   statement = `SELECT count(*) FROM (SELECT 1 AS one FROM vault_system WHERE substr(sealed, 1, 5) = $1 LIMIT $2) AS counted`

	insertPersonKey statement = `
		INSERT INTO vault_person_keys (person, version, state, domain_version, keyring, wrapped, created, destroyed)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0)`
	selectPersonKey statement = `
		SELECT person, version, state, domain_version, keyring, wrapped, created, destroyed
		FROM vault_person_keys WHERE person = $1 AND version = $2`
	selectSealingPersonKey statement = `
		SELECT person, version, state, domain_version, keyring, wrapped, created, destroyed
		FROM vault_person_keys WHERE person = $1
		ORDER BY CASE state WHEN 'active' THEN 0 ELSE 1 END, version DESC LIMIT 1`
	peopleWithKeys statement = `SELECT DISTINCT person FROM vault_person_keys WHERE person > $1 AND state <> 'destroyed' ORDER BY person LIMIT $2`

	destroyPersonKeys statement = `
		UPDATE vault_person_keys
		SET wrapped = $2, state = 'destroyed', domain_version = 0, keyring = 0, owner = NULL,
			destroyed = CASE destroyed WHEN 0 THEN $3 ELSE destroyed END
		WHERE person = $1`
	holdPersonKeys statement = `UPDATE vault_person_keys SET destroyed = destroyed WHERE person = $1`
	markErased     statement = `
		UPDATE vault_keyring_keys SET erased = $2 WHERE erased = 0
			AND id IN (SELECT keyring FROM vault_person_keys WHERE person = $1 AND keyring > 0)`
	// The comparison with 0 lets both engines use the partial index.
	personKeysUnderKeyring statement = `
		SELECT person, version, state, domain_version, keyring, wrapped, created, destroyed
		FROM vault_person_keys WHERE keyring = $1 AND keyring > 0 LIMIT $2`
	personKeysUnderDomain statement = `
		SELECT person, version, state, domain_version, keyring, wrapped, created, destroyed
		FROM vault_person_keys WHERE domain_version = $1 AND domain_version > 0 LIMIT $2`
	rewrapPersonKey statement = `
		UPDATE vault_person_keys SET domain_version = $3, keyring = $4, wrapped = $5
		WHERE person = $1 AND version = $2 AND domain_version = $6 AND keyring = $7 AND wrapped = $8`

	putSystemRecord statement = `
		INSERT INTO vault_system (name, sealed, updated) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, updated = excluded.updated`
	addSystemRecord statement = `
		INSERT INTO vault_system (name, sealed, updated) VALUES ($1, $2, $3) ON CONFLICT (name) DO NOTHING`
	swapSystemRecord    statement = `UPDATE vault_system SET sealed = $2, updated = $3 WHERE name = $1 AND sealed = $4`
	selectSystemRecord  statement = `SELECT sealed, updated FROM vault_system WHERE name = $1`
	selectSystemRecords statement = `SELECT name, sealed, updated FROM vault_system ORDER BY name`
	resealSystemRecord  statement = `UPDATE vault_system SET sealed = $2 WHERE name = $1 AND sealed = $3`

	seeKey statement = `
		INSERT INTO vault_seen_keys (name, fingerprint, since) VALUES ($1, $2, $3)
		ON CONFLICT (name) DO UPDATE SET fingerprint = excluded.fingerprint, since = excluded.since
		WHERE vault_seen_keys.fingerprint <> excluded.fingerprint`
	selectSeenKeys statement = `SELECT name, fingerprint, since FROM vault_seen_keys ORDER BY name`

	takeLease statement = `
		INSERT INTO vault_leases (name, owner, until) VALUES ($1, $2, $4)
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
		WHERE vault_leases.owner = excluded.owner OR vault_leases.until <= $3`
)

// Vault is the vault.Store of a database.
type Vault struct{ db *DB }

var _ vault.Store = (*Vault)(nil)

// Vault returns the part of the database that keeps keys.
func (d *DB) Vault() *Vault { return &Vault{db: d} }

// blob is b as a value that is never NULL: the drivers read an empty one as nil.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// changed turns "no row was changed" into ErrConflict.
func changed(n int64, err error, what string) error {
	if err == nil && n == 0 {
		err = fmt.Errorf("%s changed meanwhile: %w", what, gatehouse.ErrConflict)
	}
	return err
}

// DomainKeys implements vault.DomainStore.
func (s *Vault) DomainKeys(ctx context.Context) ([]vault.DomainKey, error) {
	return collect[vault.DomainKey](s.db.query(ctx, selectDomainKeys))(func(r *rows) (vault.DomainKey, error) {
		var key vault.DomainKey
		var created, changed, destroy, used int64
		err := r.Scan(&key.Domain, &key.Version, &key.State, &key.Environment, &key.Root, &key.Wrapped,
			&created, &changed, &destroy, &used)
		key.Created, key.Changed, key.DestroyAt, key.Used = fromMicros(created), fromMicros(changed), fromMicros(destroy), fromMicros(used)
		return key, err
	})
}

// AddDomainKeys implements vault.DomainStore.
func (s *Vault) AddDomainKeys(ctx context.Context, keys []vault.DomainKey) error {
	return s.db.tx(ctx, func(t *tx) error {
		for _, key := range keys {
			if err := addDomainKey(ctx, t, key); err != nil {
				return err
			}
		}
		return nil
	})
}

func addDomainKey(ctx context.Context, t *tx, key vault.DomainKey) error {
	_, err := t.exec(ctx, insertDomainKey, string(key.Domain), int64(key.Version), string(key.State),
		string(key.Environment), key.Root, key.Wrapped, micros(key.Created), micros(key.Changed))
	if err != nil {
		return fmt.Errorf("domain key %s version %d: %w", key.Domain, key.Version, err)
	}
	return nil
}

// RotateDomainKey implements vault.DomainStore.
func (s *Vault) RotateDomainKey(ctx context.Context, key vault.DomainKey) error {
	return s.db.tx(ctx, func(t *tx) error {
		var newest int64
		if err := t.queryRow(ctx, newestDomainKey, string(key.Domain)).Scan(&newest); err != nil {
			return err
		}
		if newest+1 != int64(key.Version) {
			return fmt.Errorf("domain key %s has version %d already: %w", key.Domain, newest, gatehouse.ErrConflict)
		}
		if _, err := t.exec(ctx, demoteDomainKeys, string(key.Domain), micros(key.Created)); err != nil {
			return err
		}
		return addDomainKey(ctx, t, key)
	})
}

// ChangeDomainKey implements vault.DomainStore.
func (s *Vault) ChangeDomainKey(ctx context.Context, from, to vault.DomainKey) error {
	n, err := s.db.exec(ctx, changeDomainKey, string(from.Domain), int64(from.Version), string(to.State), to.Root, blob(to.Wrapped),
		micros(to.Changed), micros(to.DestroyAt), string(from.State), from.Root, blob(from.Wrapped))
	return changed(n, err, fmt.Sprintf("domain key %s version %d", from.Domain, from.Version))
}

// MarkDomainKeyUsed implements vault.DomainStore.
func (s *Vault) MarkDomainKeyUsed(ctx context.Context, domain vault.Domain, version uint32, at time.Time) error {
	_, err := s.db.logExec(ctx, useDomainKey, string(domain), int64(version), micros(at))
	return err
}

// DomainKeyUses implements vault.DomainStore.
func (s *Vault) DomainKeyUses(ctx context.Context, domain vault.Domain, version uint32) ([]vault.Use, error) {
	type count struct {
		what string
		statement
		arg any
	}
	header := vault.RecordHeader(version)
	var counts []count
	switch domain {
	case vault.Personal:
		counts = []count{
			{"keys of people", countPersonKeysUnder, int64(version)},
			{"daily keys of the keyring", countDailyKeysUnder, int64(version)},
			{"entries of the audit log", countEntriesUnder, header},
		}
	case vault.Tokens:
		counts = []count{
			{"attempts to connect", countAttemptsUnder, header},
			{"imports under way", countImportsUnder, header},
			{"events for the app", countEventsUnder, header},
			{"identifiers in the compliance index", countIDsUnder, header},
			{"compliance jobs", countTasksUnder, header},
			{"compliance findings", countFindingsUnder, header},
		}
	case vault.System:
		counts = []count{{"system secrets", countSystemUnder, header}}
	}
	var uses []vault.Use
	for _, c := range counts {
		use := vault.Use{What: c.what}
		if err := s.db.queryRow(ctx, c.statement, c.arg, vault.MostCounted).Scan(&use.Count); err != nil {
			return nil, err
		}
		if use.Count > 0 {
			uses = append(uses, use)
		}
	}
	return uses, nil
}

// AddPersonKey implements vault.PersonStore.
func (s *Vault) AddPersonKey(ctx context.Context, key vault.PersonKey) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		_, err := t.exec(ctx, insertPersonKey, string(key.Person), int64(key.Version), string(key.State),
			int64(key.DomainVersion), int64(key.Keyring), key.Wrapped, micros(key.Created))
		if err != nil {
			return err
		}
		return holdKeyring(ctx, t, key.Keyring)
	})
}

// PersonKey implements vault.PersonStore.
func (s *Vault) PersonKey(ctx context.Context, person gatehouse.PersonID, version uint32) (vault.PersonKey, error) {
	return cached(ctx, s.db, cacheKey{selectPersonKey, string(person), int64(version)}, func() (vault.PersonKey, error) {
		if version == 0 {
			return scanPersonKey(s.db.queryRow(ctx, selectSealingPersonKey, string(person)))
		}
		return scanPersonKey(s.db.queryRow(ctx, selectPersonKey, string(person), int64(version)))
	})
}

func scanPersonKey(r scanner) (vault.PersonKey, error) {
	var key vault.PersonKey
	var created, destroyed int64
	err := r.Scan(&key.Person, &key.Version, &key.State, &key.DomainVersion, &key.Keyring, &key.Wrapped, &created, &destroyed)
	if err != nil {
		return vault.PersonKey{}, err
	}
	key.Created, key.Destroyed = fromMicros(created), fromMicros(destroyed)
	return key, nil
}

// DestroyPersonKeys implements vault.PersonStore.
func (s *Vault) DestroyPersonKeys(ctx context.Context, person gatehouse.PersonID, at time.Time) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		// Which keyring keys wrap them stays true from here on: a walk that is moving
		// these rows ends first.
		if _, err := t.exec(ctx, holdPersonKeys, string(person)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, markErased, string(person), micros(at)); err != nil {
			return err
		}
		n, err := t.exec(ctx, destroyPersonKeys, string(person), []byte{}, micros(at))
		if err == nil && n == 0 {
			err = fmt.Errorf("the person has no key: %w", gatehouse.ErrNotFound)
		}
		return err
	})
}

// People returns up to limit people with keys that are not destroyed, in order, from
// after one on.
func (s *Vault) People(ctx context.Context, after gatehouse.PersonID, limit int) ([]gatehouse.PersonID, error) {
	return collect[gatehouse.PersonID](s.db.query(ctx, peopleWithKeys, string(after), limit))(func(r *rows) (person gatehouse.PersonID, err error) {
		return person, r.Scan(&person)
	})
}

// PersonKeysUnder implements vault.PersonStore.
func (s *Vault) PersonKeysUnder(ctx context.Context, keyring vault.KeyringID, domainVersion uint32, limit int) ([]vault.PersonKey, error) {
	scan := func(r *rows) (vault.PersonKey, error) { return scanPersonKey(r) }
	if keyring == 0 {
		return collect[vault.PersonKey](s.db.query(ctx, personKeysUnderDomain, int64(domainVersion), limit))(scan)
	}
	return collect[vault.PersonKey](s.db.query(ctx, personKeysUnderKeyring, int64(keyring), limit))(scan)
}

// RewrapPersonKeys implements vault.PersonStore. Rows that a process remembers
// stay true: the wrapping they hold opens until its keyring key is ended, and
// ending it makes every process forget them.
func (s *Vault) RewrapPersonKeys(ctx context.Context, from, to []vault.PersonKey) (replaced int, err error) {
	err = s.db.rowTx(ctx, func(t *tx) error {
		replaced = 0
		under := map[vault.KeyringID]bool{}
		for i, key := range to {
			n, err := t.exec(ctx, rewrapPersonKey, string(key.Person), int64(key.Version), int64(key.DomainVersion), int64(key.Keyring),
				blob(key.Wrapped), int64(from[i].DomainVersion), int64(from[i].Keyring), blob(from[i].Wrapped))
			if err != nil {
				return err
			}
			replaced += int(n)
			under[key.Keyring] = true
		}
		for _, id := range slices.Sorted(maps.Keys(under)) {
			if err := holdKeyring(ctx, t, id); err != nil {
				return err
			}
		}
		return nil
	})
	return replaced, err
}

// PutSystemRecord implements vault.SystemStore.
func (s *Vault) PutSystemRecord(ctx context.Context, record vault.SystemRecord) error {
	_, err := s.db.exec(ctx, putSystemRecord, record.Name, record.Sealed, micros(record.Updated))
	return err
}

// SwapSystemRecord implements vault.SystemStore.
func (s *Vault) SwapSystemRecord(ctx context.Context, from []byte, record vault.SystemRecord) error {
	var n int64
	var err error
	if from == nil {
		n, err = s.db.exec(ctx, addSystemRecord, record.Name, record.Sealed, micros(record.Updated))
	} else {
		n, err = s.db.exec(ctx, swapSystemRecord, record.Name, record.Sealed, micros(record.Updated), from)
	}
	return changed(n, err, "system secret "+record.Name)
}

// SystemRecord implements vault.SystemStore.
func (s *Vault) SystemRecord(ctx context.Context, name string) (vault.SystemRecord, error) {
	record := vault.SystemRecord{Name: name}
	var updated int64
	if err := s.db.queryRow(ctx, selectSystemRecord, name).Scan(&record.Sealed, &updated); err != nil {
		return vault.SystemRecord{}, err
	}
	record.Updated = fromMicros(updated)
	return record, nil
}

// SystemRecords implements vault.SystemStore.
func (s *Vault) SystemRecords(ctx context.Context) ([]vault.SystemRecord, error) {
	return collect[vault.SystemRecord](s.db.query(ctx, selectSystemRecords))(func(r *rows) (vault.SystemRecord, error) {
		var record vault.SystemRecord
		var updated int64
		err := r.Scan(&record.Name, &record.Sealed, &updated)
		record.Updated = fromMicros(updated)
		return record, err
	})
}

// ResealSystemRecord implements vault.SystemStore.
func (s *Vault) ResealSystemRecord(ctx context.Context, from, to vault.SystemRecord) error {
	n, err := s.db.exec(ctx, resealSystemRecord, from.Name, to.Sealed, from.Sealed)
	return changed(n, err, "system secret "+from.Name)
}

// SeeKeys implements vault.SystemStore.
func (s *Vault) SeeKeys(ctx context.Context, keys []vault.SeenKey) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for _, key := range keys {
			if _, err := t.exec(ctx, seeKey, key.Name, key.Fingerprint, micros(key.Since)); err != nil {
				return err
			}
		}
		return nil
	})
}

// SeenKeys implements vault.SystemStore.
func (s *Vault) SeenKeys(ctx context.Context) ([]vault.SeenKey, error) {
	return collect[vault.SeenKey](s.db.query(ctx, selectSeenKeys))(func(r *rows) (vault.SeenKey, error) {
		var key vault.SeenKey
		var since int64
		err := r.Scan(&key.Name, &key.Fingerprint, &since)
		key.Since = fromMicros(since)
		return key, err
	})
}

// Lease implements vault.SystemStore.
func (s *Vault) Lease(ctx context.Context, name, owner string, now, until time.Time) (bool, error) {
	n, err := s.db.logExec(ctx, takeLease, name, owner, micros(now), micros(until))
	return n > 0, err
}
