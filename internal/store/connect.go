package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	grants "gatehouse/internal/connect"
)

const (
	attemptInsert statement = `INSERT INTO connect_attempts
		(id, service, app, oauth1, purposes, scopes, return_to, app_state, subject_hash, subject, state_hash, browser_hash,
		 verifier, code_hash, connection, stage, expires, created, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 1)`
	// What an attempt is for never changes; only how far it has come does.
	attemptUpdate statement = `UPDATE connect_attempts SET state_hash = $3, browser_hash = $4, verifier = $5, code_hash = $6,
		connection = $7, stage = $8, expires = $9, version = version + 1 WHERE id = $1 AND version = $2`
	attemptSelect statement = `SELECT id, service, app, oauth1, purposes, scopes, return_to, app_state, subject_hash, subject,
		state_hash, browser_hash, verifier, code_hash, connection, stage, expires, created, version
		FROM connect_attempts WHERE id = $1`
	attemptByState statement = `SELECT id, service, app, oauth1, purposes, scopes, return_to, app_state, subject_hash, subject,
		state_hash, browser_hash, verifier, code_hash, connection, stage, expires, created, version
		FROM connect_attempts WHERE state_hash = $1 AND state_hash <> ''`
	attemptSweep statement = `DELETE FROM connect_attempts WHERE expires < $1`

	personSelect statement = `SELECT person FROM connect_people WHERE user_hash = $1`
	personInsert statement = `INSERT INTO connect_people (user_hash, person) VALUES ($1, $2)`

	connectionInsert statement = `INSERT INTO connections
		(id, app, platform, kind, service, person, user_hash, platform_user, name, subject_hash, subject, parent, external_hash,
		 status, reason, scopes, declined, purposes, access, refresh, access_expires, refresh_expires, renew_at, lease_until,
		 redeemed, revoke_outstanding, created, updated, obtained, failures, cause, check_at,
		 data_access_expires, told, version)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
		 $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, 1)`
	// Whose connection it is and what it came from never change.
	connectionUpdate statement = `UPDATE connections SET platform_user = $3, name = $4, subject = $5, status = $6, reason = $7,
		scopes = $8, declined = $9, purposes = $10, access = $11, refresh = $12, access_expires = $13, refresh_expires = $14,
		renew_at = $15, lease_until = $16, redeemed = $17, revoke_outstanding = $18, updated = $19, obtained = $20,
		failures = $21, cause = $22, check_at = $23, data_access_expires = $24,
		told = CASE WHEN redeemed = 0 THEN $25 ELSE told END, version = version + 1
		WHERE id = $1 AND version = $2`
	connectionFields = `SELECT id, app, platform, kind, service, person, user_hash, platform_user, name, subject_hash,
		subject, parent, external_hash, status, reason, scopes, declined, purposes, access, refresh, access_expires,
		refresh_expires, renew_at, lease_until, redeemed, revoke_outstanding, created, updated, obtained, failures, cause, check_at,
		data_access_expires, version`
	connectionColumns           = connectionFields + ` FROM connections`
	connectionSelect  statement = connectionColumns + ` WHERE id = $1`
	// One statement for each way to select that has an index: with "or" around
	// it, the index would not be used. The rest filters what the index found.
	connectionsOfParent  statement = connectionColumns + ` WHERE parent = $7` + connectionsOthers
	connectionsOfUser    statement = connectionColumns + ` WHERE user_hash = $5` + connectionsOthers
	connectionsOfSubject statement = connectionColumns + ` WHERE subject_hash = $6` + connectionsOthers
	connectionsOfPerson  statement = connectionColumns + ` WHERE person = $4` + connectionsOthers
	connectionsOfService statement = connectionColumns + ` WHERE service = $1 AND created >= $9` + connectionsOthers
	connectionsOfAll     statement = connectionColumns + ` WHERE created >= $9` + connectionsOthers
	connectionsOthers              = ` AND ($1 = '' OR service = $1) AND ($2 = '' OR app = $2) AND ($3 = '' OR status = $3)
		AND ($4 = '' OR person = $4) AND ($5 = '' OR user_hash = $5) AND ($6 = '' OR subject_hash = $6) AND ($7 = '' OR parent = $7)
		AND ($12 = '' OR external_hash = $12) AND (redeemed > 0 OR $8 > 0) AND (created > $9 OR (created = $9 AND id > $10))
		ORDER BY created, id LIMIT $11`
	connectionCreated statement = `SELECT created FROM connections WHERE id = $1`
	// The lease keeps a renewal that another owner is at from being due.
	connectionDue statement = connectionColumns + ` WHERE id IN (
			SELECT id FROM (SELECT id FROM connections WHERE renew_at > 0 AND renew_at <= $1 AND lease_until <= $1
				AND redeemed > 0 AND revoke_outstanding = 0 AND ($4 = '' OR app = $4) ORDER BY renew_at LIMIT $3) AS renewals
			UNION SELECT id FROM (SELECT id FROM connections WHERE revoke_outstanding > 0 AND renew_at <= $1
				AND ($4 = '' OR app = $4) ORDER BY updated LIMIT $3) AS revocations
			UNION SELECT id FROM (SELECT id FROM connections WHERE status = 'pending' AND created <= $2
				AND ($4 = '' OR app = $4) ORDER BY created LIMIT $3) AS forgotten)
		ORDER BY updated`
)

// connectStore implements the Store of package connect.
type connectStore struct{ db *DB }

// Connect returns the store of package connect.
func (d *DB) Connect() grants.Store { return connectStore{d} }

// list is the stored form of a list of words: a JSON array.
func list[S ~string](words []S) string {
	if len(words) == 0 {
		return "[]"
	}
	text, err := json.Marshal(words)
	if err != nil {
		panic(err) // strings always marshal
	}
	return string(text)
}

func unlist[S ~string](text string, into *[]S) error {
	if text == "[]" {
		*into = nil
		return nil
	}
	return json.Unmarshal([]byte(text), into)
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func (s connectStore) SaveAttempt(ctx context.Context, a grants.Attempt) (int64, error) {
	if a.Version == 0 {
		_, err := s.db.logExec(ctx, attemptInsert, a.ID, a.Service, a.App, flag(a.OAuth1), list(a.Purposes), list(a.Scopes),
			a.ReturnTo, a.AppState, a.SubjectHash, a.SubjSealed, a.StateHash, a.BrowserHash, a.Verifier, a.CodeHash,
			a.Connection, a.Stage, micros(a.Expires), micros(a.Created))
		return 1, err
	}
	n, err := s.db.logExec(ctx, attemptUpdate, a.ID, a.Version, a.StateHash, a.BrowserHash, a.Verifier, a.CodeHash,
		a.Connection, a.Stage, micros(a.Expires))
	if err == nil && n == 0 {
		err = fmt.Errorf("the attempt changed meanwhile: %w", gatehouse.ErrConflict)
	}
	return a.Version + 1, err
}

func (s connectStore) Attempt(ctx context.Context, id string) (grants.Attempt, error) {
	return scanAttempt(s.db.queryRow(ctx, attemptSelect, id))
}

func (s connectStore) AttemptByState(ctx context.Context, stateHash string) (grants.Attempt, error) {
	return scanAttempt(s.db.queryRow(ctx, attemptByState, stateHash))
}

func scanAttempt(row *row) (grants.Attempt, error) {
	var a grants.Attempt
	var oauth1, expires, created int64
	var purposes, scopes string
	err := row.Scan(&a.ID, &a.Service, &a.App, &oauth1, &purposes, &scopes, &a.ReturnTo,
		&a.AppState, &a.SubjectHash, &a.SubjSealed, &a.StateHash, &a.BrowserHash, &a.Verifier, &a.CodeHash, &a.Connection,
		&a.Stage, &expires, &created, &a.Version)
	if err != nil {
		return grants.Attempt{}, fmt.Errorf("reading an attempt: %w", err)
	}
	a.OAuth1, a.Expires, a.Created = oauth1 > 0, fromMicros(expires), fromMicros(created)
	return a, errors.Join(unlist(purposes, &a.Purposes), unlist(scopes, &a.Scopes))
}

func (s connectStore) SweepAttempts(ctx context.Context, before time.Time) error {
	_, err := s.db.logExec(ctx, attemptSweep, micros(before))
	return err
}

func (s connectStore) PersonOf(ctx context.Context, userHash string, candidate gatehouse.PersonID) (gatehouse.PersonID, error) {
	var person gatehouse.PersonID
	err := s.db.queryRow(ctx, personSelect, userHash).Scan(&person)
	if candidate == "" || !errors.Is(err, gatehouse.ErrNotFound) {
		return person, err
	}
	_, err = s.db.exec(ctx, personInsert, userHash, candidate)
	if errors.Is(err, gatehouse.ErrConflict) {
		err = s.db.queryRow(ctx, personSelect, userHash).Scan(&person)
		return person, err
	}
	return candidate, err
}

func (s connectStore) SaveConnections(ctx context.Context, records ...grants.Record) error {
	rows := make([]cacheKey, 0, len(records))
	for _, r := range records {
		rows = append(rows, connectionKey(r.ID))
	}
	return s.db.txOn(ctx, rows, func(t *tx) error {
		for _, r := range records {
			if err := saveConnection(ctx, t, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func saveConnection(ctx context.Context, t *tx, r grants.Record) error {
	if r.Version == 0 {
		_, err := t.exec(ctx, connectionInsert, r.ID, r.App, r.Platform, r.Kind, r.Service, r.Person, r.UserHash, r.UserSealed,
			r.NameSealed, r.SubjectHash, r.SubjSealed, r.Parent, r.ExternalHash, r.Status, r.Reason, list(r.Scopes),
			list(r.Declined), list(r.Purposes), r.Access, r.Refresh, micros(r.AccessExpires), micros(r.RefreshExpires),
			micros(r.RenewAt), micros(r.LeaseUntil), micros(r.Redeemed), flag(r.RevokeOutstanding), micros(r.Created), micros(r.Updated),
			micros(r.Obtained), r.Failures, r.Cause, micros(r.CheckAt), micros(r.DataAccessExpires), told(r))
		return err
	}
	n, err := t.exec(ctx, connectionUpdate, r.ID, r.Version, r.UserSealed, r.NameSealed, r.SubjSealed, r.Status, r.Reason,
		list(r.Scopes), list(r.Declined), list(r.Purposes), r.Access, r.Refresh, micros(r.AccessExpires), micros(r.RefreshExpires),
		micros(r.RenewAt), micros(r.LeaseUntil), micros(r.Redeemed), flag(r.RevokeOutstanding), micros(r.Updated),
		micros(r.Obtained), r.Failures, r.Cause, micros(r.CheckAt), micros(r.DataAccessExpires), told(r))
	if err == nil && n == 0 {
		err = fmt.Errorf("the connection changed meanwhile: %w", gatehouse.ErrConflict)
	}
	return err
}

// told is what the app knows of a row that is new, or newly redeemed: the state
// that it was answered.
func told(r grants.Record) string {
	if r.Redeemed.IsZero() {
		return ""
	}
	return r.Health()
}

func connectionKey(id gatehouse.ConnectionID) cacheKey {
	return cacheKey{query: connectionSelect, id: string(id)}
}

func (s connectStore) Connection(ctx context.Context, id gatehouse.ConnectionID) (grants.Record, error) {
	r, err := cached(ctx, s.db, connectionKey(id), func() (grants.Record, error) {
		return scanConnection(s.db.queryRow(ctx, connectionSelect, id))
	})
	if err != nil {
		return grants.Record{}, fmt.Errorf("reading a connection: %w", err)
	}
	return r, nil
}

func (s connectStore) Connections(ctx context.Context, f grants.Filter) ([]grants.Record, error) {
	var after int64
	if f.After != "" {
		err := s.db.queryRow(ctx, connectionCreated, f.After).Scan(&after)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return nil, fmt.Errorf("the page's beginning is not known: %w", gatehouse.ErrInvalid)
		}
		if err != nil {
			return nil, err
		}
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	return collect[grants.Record](s.db.query(ctx, selection(f), f.Service, f.App, f.Status, f.Person, f.UserHash, f.SubjectHash,
		f.Parent, flag(f.WithPending), after, f.After, limit, f.ExternalHash))(scanRow)
}

// selection picks the statement whose index finds the fewest rows.
func selection(f grants.Filter) statement {
	switch {
	case f.Parent != "":
		return connectionsOfParent
	case f.UserHash != "":
		return connectionsOfUser
	case f.SubjectHash != "":
		return connectionsOfSubject
	case f.Person != "":
		return connectionsOfPerson
	case f.Service != "":
		return connectionsOfService
	default:
		return connectionsOfAll
	}
}

func (s connectStore) Due(ctx context.Context, app gatehouse.AppName, now, pendingBefore time.Time, limit int) ([]grants.Record, error) {
	return collect[grants.Record](s.db.query(ctx, connectionDue, micros(now), micros(pendingBefore), limit, app))(scanRow)
}

func scanRow(r *rows) (grants.Record, error) { return scanConnection(r) }

// scanConnection reads a row of connectionFields, and what stands after them.
func scanConnection(row interface{ Scan(...any) error }, more ...any) (grants.Record, error) {
	var r grants.Record
	var scopes, declined, purposes string
	var access, refresh, renew, lease, redeemed, outstanding, created, updated, obtained, check, data int64
	err := row.Scan(append([]any{&r.ID, &r.App, &r.Platform, &r.Kind, &r.Service, &r.Person, &r.UserHash, &r.UserSealed, &r.NameSealed,
		&r.SubjectHash, &r.SubjSealed, &r.Parent, &r.ExternalHash, &r.Status, &r.Reason, &scopes, &declined, &purposes,
		&r.Access, &r.Refresh, &access, &refresh, &renew, &lease, &redeemed, &outstanding, &created, &updated,
		&obtained, &r.Failures, &r.Cause, &check, &data, &r.Version}, more...)...)
	if err != nil {
		return grants.Record{}, err
	}
	r.AccessExpires, r.RefreshExpires, r.RenewAt = fromMicros(access), fromMicros(refresh), fromMicros(renew)
	r.LeaseUntil, r.Redeemed, r.RevokeOutstanding = fromMicros(lease), fromMicros(redeemed), outstanding > 0
	r.Created, r.Updated, r.Obtained = fromMicros(created), fromMicros(updated), fromMicros(obtained)
	r.CheckAt, r.DataAccessExpires = fromMicros(check), fromMicros(data)
	return r, errors.Join(unlist(scopes, &r.Scopes), unlist(declined, &r.Declined), unlist(purposes, &r.Purposes))
}
