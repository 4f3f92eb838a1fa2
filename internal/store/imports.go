package store

import (
	"context"
	"fmt"

	"gatehouse"
	grants "gatehouse/internal/connect"
)

const (
	importInsert statement = `INSERT INTO connect_imports
		(fingerprint, app, state, access, refresh, access_expires, connection, lease_until, created, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)`
	importUpdate statement = `UPDATE connect_imports SET state = $3, access = $4, refresh = $5, access_expires = $6,
		connection = $7, lease_until = $8, version = version + 1 WHERE fingerprint = $1 AND version = $2`
	importColumns = `SELECT fingerprint, app, state, access, refresh, access_expires, connection, lease_until, created, version
		FROM connect_imports`
	importSelect statement = importColumns + ` WHERE fingerprint = $1`
	importsOpen  statement = importColumns + ` WHERE state <> 'done' ORDER BY created, fingerprint LIMIT $1`
	importDelete statement = `DELETE FROM connect_imports WHERE fingerprint = $1 AND version = $2`
)

func (s connectStore) SaveImport(ctx context.Context, i grants.ImportRecord, records ...grants.Record) error {
	return s.db.tx(ctx, func(t *tx) error {
		for _, r := range records {
			if err := saveConnection(ctx, t, r); err != nil {
				return err
			}
		}
		if i.Version == 0 {
			_, err := t.exec(ctx, importInsert, i.Fingerprint, i.App, i.State, i.Access, i.Refresh, micros(i.AccessExpires),
				i.Connection, micros(i.LeaseUntil), micros(i.Created))
			return err
		}
		n, err := t.exec(ctx, importUpdate, i.Fingerprint, i.Version, i.State, i.Access, i.Refresh, micros(i.AccessExpires),
			i.Connection, micros(i.LeaseUntil))
		if err == nil && n == 0 {
			err = fmt.Errorf("the import changed meanwhile: %w", gatehouse.ErrConflict)
		}
		return err
	})
}

func (s connectStore) ImportOf(ctx context.Context, fingerprint string) (grants.ImportRecord, error) {
	i, err := scanImport(s.db.queryRow(ctx, importSelect, fingerprint))
	if err != nil {
		return grants.ImportRecord{}, fmt.Errorf("reading an import: %w", err)
	}
	return i, nil
}

func (s connectStore) OpenImports(ctx context.Context, limit int) ([]grants.ImportRecord, error) {
	return collect[grants.ImportRecord](s.db.query(ctx, importsOpen, limit))(func(r *rows) (grants.ImportRecord, error) { return scanImport(r) })
}

func (s connectStore) DropImport(ctx context.Context, i grants.ImportRecord) error {
	_, err := s.db.logExec(ctx, importDelete, i.Fingerprint, i.Version)
	return err
}

func scanImport(row interface{ Scan(...any) error }) (grants.ImportRecord, error) {
	var i grants.ImportRecord
	var expires, lease, created int64
	err := row.Scan(&i.Fingerprint, &i.App, &i.State, &i.Access, &i.Refresh, &expires, &i.Connection, &lease, &created, &i.Version)
	i.AccessExpires, i.LeaseUntil, i.Created = fromMicros(expires), fromMicros(lease), fromMicros(created)
	return i, err
}
