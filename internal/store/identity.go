package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
)

const (
	selectServices statement = `SELECT id, name, environment, created, disabled FROM services ORDER BY name`
	insertService  statement = `
		INSERT INTO services (id, name, environment, created, disabled) VALUES ($1, $2, $3, $4, 0)
		ON CONFLICT (name) DO UPDATE SET disabled = 0`
	disableService statement = `UPDATE services SET disabled = $2 WHERE id = $1 AND disabled = 0`

	insertServiceKey statement = `INSERT INTO service_keys (id, service, hash, created, revoked, expires, purpose, life)
		VALUES ($1, $2, $3, $4, 0, $5, $6, $7)`
	serviceKeyColumns = `k.id, k.hash, k.created, k.expires, k.revoked, k.purpose, k.life, k.successor, k.warned,
			COALESCE(u.at, 0), COALESCE(u.source, ''), COALESCE(u.uses, 0), s.id, s.name, s.environment, s.created, s.disabled
		FROM service_keys k JOIN services s ON s.id = k.service LEFT JOIN service_key_uses u ON u.key = k.id`
	selectServiceKey  statement = `SELECT ` + serviceKeyColumns + ` WHERE k.id = $1`
	selectServiceKeys statement = `SELECT ` + serviceKeyColumns + ` WHERE s.name = $1 ORDER BY k.created, k.id`
	revokeServiceKey  statement = `
		UPDATE service_keys SET revoked = CASE revoked WHEN 0 THEN $2 ELSE revoked END WHERE id = $1`

	revokeUnusedKey statement = `
		UPDATE service_keys SET revoked = CASE revoked WHEN 0 THEN $2 ELSE revoked END
		WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM service_key_uses u WHERE u.key = service_keys.id)`

	expireServiceKey statement = `
		UPDATE service_keys SET expires = CASE WHEN expires > 0 AND expires < $2 THEN expires ELSE $2 END WHERE id = $1`

	// The end of a key that is replaced is the earlier of what it had and the given one.
	replaceServiceKey statement = `
		UPDATE service_keys SET successor = $2, expires = CASE WHEN expires > 0 AND expires < $3 THEN expires ELSE $3 END
		WHERE id = $1 AND successor = $4 AND revoked = 0`
	warnServiceKey statement = `UPDATE service_keys SET warned = $2 WHERE id = $1`
	addKeyUse      statement = `INSERT INTO service_key_uses (key, at, source, uses) VALUES ($1, $2, $3, $4)
		ON CONFLICT (key) DO UPDATE SET uses = service_key_uses.uses + excluded.uses,
			source = CASE WHEN excluded.at >= service_key_uses.at THEN excluded.source ELSE service_key_uses.source END,
			at = CASE WHEN excluded.at > service_key_uses.at THEN excluded.at ELSE service_key_uses.at END`

	// holdHandle locks the row of a parent, so that its revocation and the
	// birth of a child happen one after the other.
	holdHandle   statement = `UPDATE handles SET revoked = revoked WHERE id = $1 AND revoked = 0`
	insertHandle statement = `
		INSERT INTO handles (id, service, connection, person, purpose, platform, app, parent, hash, created, expires, revoked)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0)`
	selectHandle statement = `
		SELECT h.id, h.service, s.name, h.connection, h.person, h.purpose, h.platform, h.app, COALESCE(h.parent, ''),
			h.hash, h.created, h.expires, h.revoked, s.environment, s.disabled, COALESCE(p.revoked, 0)
		FROM handles h JOIN services s ON s.id = h.service LEFT JOIN handles p ON p.id = h.parent
		WHERE h.id = $1`
	// An empty filter matches everything; $3 is the time after which a handle
	// must expire, or 0 for those that have ended too.
	selectHandles statement = `
		SELECT h.id, h.service, s.name, h.connection, h.person, h.purpose, h.platform, h.app, COALESCE(h.parent, ''),
			h.hash, h.created, h.expires, h.revoked, s.environment, s.disabled, COALESCE(p.revoked, 0)
		FROM handles h JOIN services s ON s.id = h.service LEFT JOIN handles p ON p.id = h.parent
		WHERE s.name = CASE WHEN CAST($1 AS TEXT) = '' THEN s.name ELSE CAST($1 AS TEXT) END
			AND (CAST($3 AS BIGINT) = 0 OR (h.revoked = 0 AND COALESCE(p.revoked, 0) = 0 AND h.expires > $3))
			AND h.connection = $2
		ORDER BY h.created DESC, h.id LIMIT $4`
	selectHandlesOfAll statement = `
		SELECT h.id, h.service, s.name, h.connection, h.person, h.purpose, h.platform, h.app, COALESCE(h.parent, ''),
			h.hash, h.created, h.expires, h.revoked, s.environment, s.disabled, COALESCE(p.revoked, 0)
		FROM handles h JOIN services s ON s.id = h.service LEFT JOIN handles p ON p.id = h.parent
		WHERE s.name = CASE WHEN CAST($1 AS TEXT) = '' THEN s.name ELSE CAST($1 AS TEXT) END
			AND (CAST($2 AS BIGINT) = 0 OR (h.revoked = 0 AND COALESCE(p.revoked, 0) = 0 AND h.expires > $2))
		ORDER BY h.created DESC, h.id LIMIT $3`
	handleExists statement = `SELECT count(*) FROM handles WHERE id = $1`
	revokeHandle statement = `
		WITH RECURSIVE family (id) AS (
			SELECT id FROM handles WHERE id = $1
			UNION SELECT h.id FROM handles h JOIN family f ON h.parent = f.id)
		UPDATE handles SET revoked = $2 WHERE revoked = 0 AND id IN (SELECT id FROM family)`
	revokeConnection statement = `
		WITH RECURSIVE family (id) AS (
			SELECT id FROM handles WHERE connection = $1
			UNION SELECT h.id FROM handles h JOIN family f ON h.parent = f.id)
		UPDATE handles SET revoked = $2 WHERE revoked = 0 AND id IN (SELECT id FROM family)`

	insertNonce  statement = `INSERT INTO oauth1_nonces (handle, nonce, expires) VALUES ($1, $2, $3)`
	deleteNonces statement = `DELETE FROM oauth1_nonces WHERE expires < $1`

	// The count of a batch that was stored already is 0.
	batchAdd statement = `INSERT INTO handle_use_batches (process, batch, at) VALUES ($1, $2, $3)
		ON CONFLICT (process) DO UPDATE SET batch = excluded.batch, at = excluded.at WHERE handle_use_batches.batch < excluded.batch`
	batchesSweep statement = `DELETE FROM handle_use_batches WHERE at < $1`
	usesAdd      statement = `INSERT INTO handle_uses (handle, uses, last_used, compared, compared_at) VALUES ($1, $2, $3, 0, $4)
		ON CONFLICT (handle) DO UPDATE SET uses = handle_uses.uses + excluded.uses,
			last_used = CASE WHEN excluded.last_used > handle_uses.last_used THEN excluded.last_used ELSE handle_uses.last_used END`
	selectUses statement = `SELECT uses, last_used FROM handle_uses WHERE handle = $1`

	selectSources statement = `SELECT source FROM service_sources WHERE service = $1 ORDER BY source`
	insertSource  statement = `
		INSERT INTO service_sources (service, source, created) VALUES ($1, $2, $3)
		ON CONFLICT (service, source) DO NOTHING`
)

// Identity is the identity.Store of a database.
type Identity struct{ db *DB }

var _ identity.Store = (*Identity)(nil)

// Identity returns the part of the database that keeps services and handles.
func (d *DB) Identity() *Identity { return &Identity{db: d} }

// SyncServices implements identity.ServiceStore.
func (s *Identity) SyncServices(ctx context.Context, records []identity.ServiceRecord, at time.Time) error {
	return s.db.tx(ctx, func(t *tx) error {
		wanted := make(map[gatehouse.ServiceName]bool, len(records))
		for _, record := range records {
			wanted[record.Service.Name] = true
			_, err := t.exec(ctx, insertService, string(record.Service.ID), string(record.Service.Name),
				string(record.Environment), micros(record.Service.Created))
			if err != nil {
				return err
			}
		}
		existing, err := collect[identity.ServiceRecord](t.query(ctx, selectServices))(scanService)
		if err != nil {
			return err
		}
		for _, record := range existing {
			if wanted[record.Service.Name] {
				continue
			}
			if _, err := t.exec(ctx, disableService, string(record.Service.ID), micros(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Services implements identity.ServiceStore.
func (s *Identity) Services(ctx context.Context) ([]identity.ServiceRecord, error) {
	return collect[identity.ServiceRecord](s.db.query(ctx, selectServices))(scanService)
}

func scanService(r *rows) (identity.ServiceRecord, error) {
	var record identity.ServiceRecord
	var created, disabled int64
	err := r.Scan(&record.Service.ID, &record.Service.Name, &record.Environment, &created, &disabled)
	record.Service.Created, record.Service.Disabled = fromMicros(created), disabled != 0
	return record, err
}

// AddServiceKey implements identity.ServiceStore.
func (s *Identity) AddServiceKey(ctx context.Context, record identity.ServiceKeyRecord) error {
	_, err := s.db.exec(ctx, insertServiceKey, keyRow(record)...)
	return err
}

func keyRow(record identity.ServiceKeyRecord) []any {
	k := record.Key
	return []any{
		string(k.ID), string(record.Service.Service.ID), record.Hash[:], micros(k.Created), micros(k.Expires), string(k.Purpose), k.Life.Microseconds(),
	}
}

// ServiceKey implements identity.ServiceStore.
func (s *Identity) ServiceKey(ctx context.Context, id identity.ServiceKeyID) (identity.ServiceKeyRecord, error) {
	return scanServiceKey(s.db.queryRow(ctx, selectServiceKey, string(id)))
}

// ServiceKeys implements identity.ServiceStore.
func (s *Identity) ServiceKeys(ctx context.Context, name gatehouse.ServiceName) ([]identity.ServiceKeyRecord, error) {
	return collect[identity.ServiceKeyRecord](s.db.query(ctx, selectServiceKeys, string(name)))(
		func(r *rows) (identity.ServiceKeyRecord, error) { return scanServiceKey(r) })
}

// scanner is one row, of a query for one or for many.
type scanner interface{ Scan(dest ...any) error }

func scanServiceKey(r scanner) (identity.ServiceKeyRecord, error) {
	var record identity.ServiceKeyRecord
	var hash []byte
	var created, expires, revoked, life, warned, used, serviceCreated, disabled int64
	var source string
	service := &record.Service.Service
	k := &record.Key
	err := r.Scan(&k.ID, &hash, &created, &expires, &revoked, &k.Purpose, &life, &k.Successor, &warned, &used, &source, &k.Used.Count,
		&service.ID, &service.Name, &record.Service.Environment, &serviceCreated, &disabled)
	if err != nil {
		return identity.ServiceKeyRecord{}, err
	}
	if err := copyHash(&record.Hash, hash); err != nil {
		return identity.ServiceKeyRecord{}, err
	}
	k.Service = service.Name
	k.Created, k.Expires, k.Revoked = fromMicros(created), fromMicros(expires), fromMicros(revoked)
	k.Life, k.Warned, k.Used.At = time.Duration(life)*time.Microsecond, fromMicros(warned), fromMicros(used)
	if source != "" {
		if k.Used.From, err = netip.ParsePrefix(source); err != nil {
			return identity.ServiceKeyRecord{}, fmt.Errorf("the source of a key's use: %w", err)
		}
	}
	service.Created, service.Disabled = fromMicros(serviceCreated), disabled != 0
	return record, nil
}

// copyHash refuses a stored hash of the wrong length: padded with zeros it could
// match nothing, but it must be seen.
func copyHash(hash *identity.Hash, stored []byte) error {
	if len(stored) != len(hash) {
		return errors.New("a stored hash has the wrong length")
	}
	copy(hash[:], stored)
	return nil
}

// RevokeServiceKey implements identity.ServiceStore.
func (s *Identity) RevokeServiceKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	n, err := s.db.exec(ctx, revokeServiceKey, string(id), micros(at))
	if err == nil && n == 0 {
		err = fmt.Errorf("no such service key: %w", gatehouse.ErrNotFound)
	}
	return err
}

// RevokeUnusedKey implements identity.UseStore.
func (s *Identity) RevokeUnusedKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	n, err := s.db.exec(ctx, revokeUnusedKey, string(id), micros(at))
	if err == nil && n == 0 {
		err = fmt.Errorf("the key was used: %w", gatehouse.ErrConflict)
	}
	return err
}

// ExpireServiceKey implements identity.ServiceStore.
func (s *Identity) ExpireServiceKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	n, err := s.db.exec(ctx, expireServiceKey, string(id), micros(at))
	if err == nil && n == 0 {
		err = fmt.Errorf("no such service key: %w", gatehouse.ErrNotFound)
	}
	return err
}

// ReplaceServiceKey implements identity.ServiceStore.
func (s *Identity) ReplaceServiceKey(ctx context.Context, record identity.ServiceKeyRecord, other, expected identity.ServiceKeyID, end time.Time) error {
	return s.db.tx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, replaceServiceKey, string(other), string(record.Key.ID), micros(end), string(expected))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("the key was replaced or revoked meanwhile: %w", gatehouse.ErrConflict)
		}
		_, err = t.exec(ctx, insertServiceKey, keyRow(record)...)
		return err
	})
}

// AddHandle implements identity.HandleStore.
func (s *Identity) AddHandle(ctx context.Context, record identity.HandleRecord) error {
	h := record.Handle
	return s.db.tx(ctx, func(t *tx) error {
		var parent any // NULL without a parent, for the foreign key's sake
		if h.Parent != "" {
			parent = string(h.Parent)
			n, err := t.exec(ctx, holdHandle, string(h.Parent))
			if err != nil {
				return err
			}
			if n == 0 {
				return fmt.Errorf("the parent handle is revoked or does not exist: %w", gatehouse.ErrConflict)
			}
		}
		_, err := t.exec(ctx, insertHandle, string(h.ID), string(h.Service), string(h.Connection), string(h.Person),
			string(h.Purpose), string(h.Platform), string(h.App), parent, record.Hash[:], micros(h.Created), micros(h.Expires))
		return err
	})
}

// Handle implements identity.HandleStore.
func (s *Identity) Handle(ctx context.Context, id gatehouse.HandleID) (identity.HandleRecord, error) {
	return cached(ctx, s.db, cacheKey{query: selectHandle, id: string(id)}, func() (identity.HandleRecord, error) {
		return scanHandle(s.db.queryRow(ctx, selectHandle, string(id)))
	})
}

// Handles implements identity.HandleStore.
func (s *Identity) Handles(ctx context.Context, filter identity.Filter) ([]identity.HandleRecord, error) {
	var after int64
	if !filter.Ended {
		after = micros(time.Now())
	}
	scan := func(r *rows) (identity.HandleRecord, error) { return scanHandle(r) }
	if filter.Connection == "" {
		return collect[identity.HandleRecord](s.db.query(ctx, selectHandlesOfAll, string(filter.Service), after, filter.Limit))(scan)
	}
	return collect[identity.HandleRecord](s.db.query(ctx, selectHandles,
		string(filter.Service), string(filter.Connection), after, filter.Limit))(scan)
}

func scanHandle(r scanner) (identity.HandleRecord, error) {
	var record identity.HandleRecord
	var hash []byte
	var created, expires, revoked, disabled, parentRevoked int64
	h := &record.Handle
	err := r.Scan(&h.ID, &h.Service, &h.ServiceName, &h.Connection, &h.Person, &h.Purpose, &h.Platform, &h.App, &h.Parent,
		&hash, &created, &expires, &revoked, &record.Environment, &disabled, &parentRevoked)
	if err != nil {
		return identity.HandleRecord{}, err
	}
	if err := copyHash(&record.Hash, hash); err != nil {
		return identity.HandleRecord{}, err
	}
	h.Created, h.Expires, h.Revoked = fromMicros(created), fromMicros(expires), fromMicros(revoked)
	record.ServiceDisabled, record.ParentRevoked = disabled != 0, parentRevoked != 0
	return record, nil
}

// RevokeHandle implements identity.HandleStore.
func (s *Identity) RevokeHandle(ctx context.Context, id gatehouse.HandleID, at time.Time) error {
	return s.db.tx(ctx, func(t *tx) error {
		var n int
		if err := t.queryRow(ctx, handleExists, string(id)).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("no such handle: %w", gatehouse.ErrNotFound)
		}
		_, err := t.exec(ctx, revokeHandle, string(id), micros(at))
		return err
	})
}

// RevokeConnection implements identity.HandleStore.
func (s *Identity) RevokeConnection(ctx context.Context, id gatehouse.ConnectionID, at time.Time) (int, error) {
	var revoked int64
	err := s.db.tx(ctx, func(t *tx) (err error) {
		revoked, err = t.exec(ctx, revokeConnection, string(id), micros(at))
		return err
	})
	return int(revoked), err
}

// UseNonce implements identity.UseStore.
func (s *Identity) UseNonce(ctx context.Context, use identity.NonceUse) error {
	_, err := s.db.logExec(ctx, insertNonce, string(use.Handle), use.Nonce[:], micros(use.Expires))
	return err
}

// SweepNonces implements identity.UseStore.
func (s *Identity) SweepNonces(ctx context.Context, before time.Time) error {
	_, err := s.db.logExec(ctx, deleteNonces, micros(before))
	return err
}

// Sources implements identity.UseStore.
func (s *Identity) Sources(ctx context.Context, service gatehouse.ServiceID) ([]netip.Prefix, error) {
	return collect[netip.Prefix](s.db.query(ctx, selectSources, string(service)))(func(r *rows) (netip.Prefix, error) {
		var text string
		if err := r.Scan(&text); err != nil {
			return netip.Prefix{}, err
		}
		return netip.ParsePrefix(text)
	})
}

// AddSource implements identity.UseStore.
func (s *Identity) AddSource(ctx context.Context, service gatehouse.ServiceID, source netip.Prefix, at time.Time) error {
	_, err := s.db.logExec(ctx, insertSource, string(service), source.String(), micros(at))
	return err
}

// AddKeyUses implements identity.UseStore.
func (s *Identity) AddKeyUses(ctx context.Context, uses map[identity.ServiceKeyID]identity.KeyUse) error {
	// Always in one order, so that two processes wait for each other and do not lock.
	ids := slices.Sorted(maps.Keys(uses))
	return s.db.logTx(ctx, func(t *tx) error {
		for _, id := range ids {
			u := uses[id]
			source := ""
			if u.From.IsValid() {
				source = u.From.String()
			}
			if _, err := t.exec(ctx, addKeyUse, string(id), micros(u.At), source, u.Count); err != nil {
				return err
			}
		}
		return nil
	})
}

// WarnServiceKey implements identity.UseStore.
func (s *Identity) WarnServiceKey(ctx context.Context, id identity.ServiceKeyID, at time.Time) error {
	_, err := s.db.logExec(ctx, warnServiceKey, string(id), micros(at))
	return err
}

// keepBatches is how long it is remembered up to where a process has stored its uses:
// far longer than it tries.
const keepBatches = 30 * 24 * time.Hour

// AddUses implements identity.CountStore.
func (s *Identity) AddUses(ctx context.Context, b identity.UseBatch) error {
	return s.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, batchAdd, b.Process, b.Number, micros(b.At))
		if err != nil || n == 0 {
			return err
		}
		if _, err := t.exec(ctx, batchesSweep, micros(b.At.Add(-keepBatches))); err != nil {
			return err
		}
		// In one order, so that no two processes wait for one another.
		for _, id := range slices.Sorted(maps.Keys(b.Uses)) {
			use := b.Uses[id]
			if _, err := t.exec(ctx, usesAdd, string(id), use.Count, micros(use.Last), micros(use.First)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Uses implements identity.CountStore.
func (s *Identity) Uses(ctx context.Context, handles []gatehouse.HandleID) (map[gatehouse.HandleID]identity.Use, error) {
	uses := make(map[gatehouse.HandleID]identity.Use, len(handles))
	for _, id := range handles {
		var use identity.Use
		var last int64
		err := s.db.queryRow(ctx, selectUses, string(id)).Scan(&use.Count, &last)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		use.Last = fromMicros(last)
		uses[id] = use
	}
	return uses, nil
}
