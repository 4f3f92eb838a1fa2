package store

import (
	"context"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/scim"
)

const (
	insertScimToken statement = `INSERT INTO scim_tokens (id, hash, created, until, used, maker) VALUES ($1, $2, $3, $4, 0, $5)`
	endScimTokens   statement = `UPDATE scim_tokens SET until = $2 WHERE id <> $1 AND (until = 0 OR until > $2)`
	sweepScimTokens statement = `DELETE FROM scim_tokens WHERE until <> 0 AND until <= $1`
	selectScimToken statement = `SELECT id, created, until, used, maker FROM scim_tokens WHERE hash = $1`
	listScimTokens  statement = `SELECT id, created, until, used, maker FROM scim_tokens ORDER BY created, id`
	touchScimToken  statement = `UPDATE scim_tokens SET used = $2 WHERE id = $1 AND used < $2`
	deleteScimToken statement = `DELETE FROM scim_tokens WHERE id = $1`
)

// ScimTokens is the scim.TokenStore of a database.
type ScimTokens struct{ db *DB }

var _ scim.TokenStore = (*ScimTokens)(nil)

// ScimTokens returns the part of the database that keeps identity providers' tokens.
func (d *DB) ScimTokens() *ScimTokens { return &ScimTokens{db: d} }

// AddToken implements scim.TokenStore.
func (s *ScimTokens) AddToken(ctx context.Context, r scim.TokenRecord, others time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, sweepScimTokens, micros(r.Token.Created)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, insertScimToken, string(r.Token.ID), r.Hash[:], micros(r.Token.Created), micros(r.Token.Until), string(r.Token.By)); err != nil || others.IsZero() {
			return err
		}
		_, err := t.exec(ctx, endScimTokens, string(r.Token.ID), micros(others))
		return err
	})
}

// Token implements scim.TokenStore.
func (s *ScimTokens) Token(ctx context.Context, hash scim.Hash) (scim.Token, error) {
	return scanScimToken(s.db.queryRow(ctx, selectScimToken, hash[:]))
}

// Tokens implements scim.TokenStore.
func (s *ScimTokens) Tokens(ctx context.Context) ([]scim.Token, error) {
	return collect[scim.Token](s.db.query(ctx, listScimTokens))(func(r *rows) (scim.Token, error) { return scanScimToken(r) })
}

func scanScimToken(r scanner) (k scim.Token, err error) {
	var created, until, used int64
	err = r.Scan(&k.ID, &created, &until, &used, &k.By)
	k.Created, k.Until, k.Used = fromMicros(created), fromMicros(until), fromMicros(used)
	return k, err
}

// TouchToken implements scim.TokenStore.
func (s *ScimTokens) TouchToken(ctx context.Context, id scim.TokenID, at time.Time) error {
	_, err := s.db.logExec(ctx, touchScimToken, string(id), micros(at))
	return err
}

// DropToken implements scim.TokenStore.
func (s *ScimTokens) DropToken(ctx context.Context, id scim.TokenID) error {
	n, err := s.db.logExec(ctx, deleteScimToken, string(id))
	return touched(n, err, gatehouse.ErrNotFound, "no such token")
}
