package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/vault"
)

const (
	selectKeyringKey statement = `
		SELECT id, bucket, state, daily, wrapped, created, erased FROM vault_keyring_keys WHERE id = $1`
	selectKeyringKeyOf statement = `
		SELECT id, bucket, state, daily, wrapped, created, erased FROM vault_keyring_keys WHERE bucket = $1 AND state = 'active'`
	selectKeyringKeysUnder statement = `
		SELECT id, bucket, state, daily, wrapped, created, erased FROM vault_keyring_keys
		WHERE daily = $1 AND id > $2 ORDER BY id LIMIT $3`
	insertKeyringKey statement = `
		INSERT INTO vault_keyring_keys (id, bucket, state, daily, wrapped, created, erased) VALUES ($1, $2, 'active', $3, $4, $5, 0)`
	demoteKeyringKey statement = `UPDATE vault_keyring_keys SET state = 'decrypt-only' WHERE id = $1 AND state = 'active'`
	// Somebody erased meanwhile: then the key must be made anew, not kept.
	rewrapKeyringKey statement = `
		UPDATE vault_keyring_keys SET daily = $2, wrapped = $3
		WHERE id = $1 AND daily = $4 AND state = 'active' AND erased = 0`
	deleteKeyringKey  statement = `DELETE FROM vault_keyring_keys WHERE id = $1 AND state = 'decrypt-only'`
	holdKeyringKey    statement = `UPDATE vault_keyring_keys SET state = state WHERE id = $1 AND state = 'active'`
	countUnderKeyring statement = `SELECT count(*) FROM vault_person_keys WHERE keyring = $1 AND keyring > 0`
	eraseKeyringKeys  statement = `UPDATE vault_keyring_keys SET erased = $1 WHERE erased = 0 AND state = 'active'`
	countKeyringKeys  statement = `SELECT count(*), COALESCE(MIN(created), 0) FROM vault_keyring_keys`
	countDirtyKeyring statement = `SELECT count(*), COALESCE(MIN(erased), 0) FROM vault_keyring_keys WHERE erased > 0`
	selectDailyKeys   statement = `
		SELECT version, state, domain_version, in_file, wrapped, created, destroyed FROM vault_daily_keys ORDER BY version`
	insertDailyKey statement = `
		INSERT INTO vault_daily_keys (version, state, domain_version, in_file, wrapped, created, destroyed)
		VALUES ($1, 'active', $2, $3, $4, $5, 0)`
	newestDailyKey  statement = `SELECT COALESCE(MAX(version), 0) FROM vault_daily_keys`
	olderDailyKeys  statement = `SELECT count(*) FROM vault_daily_keys WHERE state = 'decrypt-only'`
	demoteDailyKey  statement = `UPDATE vault_daily_keys SET state = 'decrypt-only' WHERE state = 'active'`
	holdDailyKey    statement = `UPDATE vault_daily_keys SET state = state WHERE version = $1 AND state = 'active'`
	countUnderDaily statement = `SELECT count(*) FROM vault_keyring_keys WHERE daily = $1`
	destroyDailyKey statement = `
		UPDATE vault_daily_keys SET state = 'destroyed', wrapped = $2, destroyed = $3 WHERE version = $1 AND state = 'decrypt-only'`
)

// count reads one number inside the transaction.
func (t *tx) count(ctx context.Context, s statement, args ...any) (n int64, err error) {
	err = t.queryRow(ctx, s, args...).Scan(&n)
	return n, err
}

// The transactions on the keys of people, of the keyring and of the day are in order
// with each other by the rows that they lock (see DB.keyTx): who puts something under
// a key holds that key's row, and sees that it still may wrap; who ends a key takes
// its row first, waits for those who hold it, and then counts what is under it. All
// lock people before keys of the keyring, and the day's key before those.

// holdKeyring refuses a keyring key that may not wrap. It stays so until the end of
// the transaction.
func holdKeyring(ctx context.Context, t *tx, id vault.KeyringID) error {
	if id == 0 {
		return nil
	}
	n, err := t.exec(ctx, holdKeyringKey, int64(id))
	return changed(n, err, "the keyring key")
}

// holdDaily is holdKeyring for a daily key.
func holdDaily(ctx context.Context, t *tx, version uint32) error {
	n, err := t.exec(ctx, holdDailyKey, int64(version))
	return changed(n, err, "the daily key")
}

func scanKeyringKey(r scanner) (vault.KeyringKey, error) {
	var key vault.KeyringKey
	var created, erased int64
	err := r.Scan(&key.ID, &key.Bucket, &key.State, &key.Daily, &key.Wrapped, &created, &erased)
	key.Created, key.Erased = fromMicros(created), fromMicros(erased)
	return key, err
}

// KeyringKey implements vault.KeyringStore.
func (s *Vault) KeyringKey(ctx context.Context, id vault.KeyringID) (vault.KeyringKey, error) {
	return scanKeyringKey(s.db.queryRow(ctx, selectKeyringKey, int64(id)))
}

// KeyringKeyOf implements vault.KeyringStore.
func (s *Vault) KeyringKeyOf(ctx context.Context, bucket int) (vault.KeyringKey, error) {
	return scanKeyringKey(s.db.queryRow(ctx, selectKeyringKeyOf, bucket))
}

// KeyringKeysUnder implements vault.KeyringStore.
func (s *Vault) KeyringKeysUnder(ctx context.Context, daily uint32, after vault.KeyringID, limit int) ([]vault.KeyringKey, error) {
	return collect[vault.KeyringKey](s.db.query(ctx, selectKeyringKeysUnder, int64(daily), int64(after), limit))(
		func(r *rows) (vault.KeyringKey, error) { return scanKeyringKey(r) })
}

// AddKeyringKey implements vault.KeyringStore.
func (s *Vault) AddKeyringKey(ctx context.Context, key vault.KeyringKey, replaces vault.KeyringID) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		if err := holdDaily(ctx, t, key.Daily); err != nil {
			return err
		}
		if replaces != 0 {
			n, err := t.exec(ctx, demoteKeyringKey, int64(replaces))
			if err := changed(n, err, "the keyring key"); err != nil {
				return err
			}
		}
		_, err := t.exec(ctx, insertKeyringKey, int64(key.ID), key.Bucket, int64(key.Daily), key.Wrapped, micros(key.Created))
		return err
	})
}

// RewrapKeyringKeys implements vault.KeyringStore.
func (s *Vault) RewrapKeyringKeys(ctx context.Context, from, to []vault.KeyringKey) (replaced int, err error) {
	err = s.db.rowTx(ctx, func(t *tx) error {
		replaced = 0
		for i, key := range to {
			if i == 0 || key.Daily != to[i-1].Daily {
				if err := holdDaily(ctx, t, key.Daily); err != nil {
					return err
				}
			}
			n, err := t.exec(ctx, rewrapKeyringKey, int64(key.ID), int64(key.Daily), key.Wrapped, int64(from[i].Daily))
			if err != nil {
				return err
			}
			replaced += int(n)
		}
		return nil
	})
	return replaced, err
}

// EndKeyringKey implements vault.KeyringStore.
func (s *Vault) EndKeyringKey(ctx context.Context, id vault.KeyringID) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, deleteKeyringKey, int64(id)); err != nil {
			return err
		}
		n, err := t.count(ctx, countUnderKeyring, int64(id))
		if err == nil && n > 0 {
			err = fmt.Errorf("the keyring key still wraps %d keys of people: %w", n, gatehouse.ErrConflict)
		}
		return err
	})
}

// KeyringSummary implements vault.KeyringStore.
func (s *Vault) KeyringSummary(ctx context.Context) (vault.KeyringSummary, error) {
	var sum vault.KeyringSummary
	var oldest, erased int64
	if err := s.db.queryRow(ctx, countKeyringKeys).Scan(&sum.Keys, &oldest); err != nil {
		return sum, err
	}
	err := s.db.queryRow(ctx, countDirtyKeyring).Scan(&sum.Dirty, &erased)
	sum.Oldest, sum.Erased = fromMicros(oldest), fromMicros(erased)
	return sum, err
}

// DailyKeys implements vault.DailyStore.
func (s *Vault) DailyKeys(ctx context.Context) ([]vault.DailyKey, error) {
	return collect[vault.DailyKey](s.db.query(ctx, selectDailyKeys))(func(r *rows) (vault.DailyKey, error) {
		var key vault.DailyKey
		var inFile, created, destroyed int64
		err := r.Scan(&key.Version, &key.State, &key.DomainVersion, &inFile, &key.Wrapped, &created, &destroyed)
		key.InFile, key.Created, key.Destroyed = inFile != 0, fromMicros(created), fromMicros(destroyed)
		return key, err
	})
}

// AddDailyKey implements vault.DailyStore.
func (s *Vault) AddDailyKey(ctx context.Context, key vault.DailyKey) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		newest, err := t.count(ctx, newestDailyKey)
		if err != nil {
			return err
		}
		older, err := t.count(ctx, olderDailyKeys)
		if err != nil {
			return err
		}
		if newest+1 != int64(key.Version) || older > 0 {
			return fmt.Errorf("the daily key has version %d already, or one before it is still in use: %w", newest, gatehouse.ErrConflict)
		}
		if _, err := t.exec(ctx, demoteDailyKey); err != nil {
			return err
		}
		_, err = t.exec(ctx, insertDailyKey, int64(key.Version), int64(key.DomainVersion), flag(key.InFile), blob(key.Wrapped), micros(key.Created))
		return err
	})
}

// EndDailyKey implements vault.DailyStore.
func (s *Vault) EndDailyKey(ctx context.Context, version uint32, at time.Time) error {
	return s.db.keyTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, destroyDailyKey, int64(version), []byte{}, micros(at))
		if err := changed(n, err, "the daily key"); err != nil {
			return err
		}
		wraps, err := t.count(ctx, countUnderDaily, int64(version))
		if err == nil && wraps > 0 {
			err = fmt.Errorf("daily key version %d still wraps %d keyring keys: %w", version, wraps, gatehouse.ErrConflict)
		}
		return err
	})
}

// MarkKeyringErased implements vault.DailyStore.
func (s *Vault) MarkKeyringErased(ctx context.Context, at time.Time) error {
	_, err := s.db.exec(ctx, eraseKeyringKeys, micros(at))
	return err
}

// Compact implements vault.DailyStore.
func (s *Vault) Compact(ctx context.Context) error {
	for _, statement := range s.db.engine.compact {
		// Neither runs inside a transaction, nor can be compiled ahead.
		if _, err := s.db.write.ExecContext(ctx, string(statement)); err != nil {
			return s.db.wrap(err)
		}
	}
	return nil
}
