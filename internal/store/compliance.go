package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/compliance"
)

const (
	complianceIDInto  = `INSERT INTO compliance_ids (app, kind, hash, sealed, first_at, last_at, expires, told, reason) VALUES `
	complianceIDAgain = ` ON CONFLICT (app, kind, hash) DO UPDATE SET last_at = excluded.last_at, expires = excluded.expires, told = 0, reason = '',
			first_at = CASE compliance_ids.told WHEN 0 THEN compliance_ids.first_at ELSE excluded.first_at END`
	complianceIDPut statement = complianceIDInto + `($1, $4, $5, $6, $2, $2, $3, 0, '')` + complianceIDAgain
	// A page of a hundred posts names hundreds of identifiers, and each statement is
	// a way to the server and back.
	complianceIDPut16 statement = complianceIDInto + `
			($1, $4, $5, $6, $2, $2, $3, 0, ''), ($1, $7, $8, $9, $2, $2, $3, 0, ''),
			($1, $10, $11, $12, $2, $2, $3, 0, ''), ($1, $13, $14, $15, $2, $2, $3, 0, ''),
			($1, $16, $17, $18, $2, $2, $3, 0, ''), ($1, $19, $20, $21, $2, $2, $3, 0, ''),
			($1, $22, $23, $24, $2, $2, $3, 0, ''), ($1, $25, $26, $27, $2, $2, $3, 0, ''),
			($1, $28, $29, $30, $2, $2, $3, 0, ''), ($1, $31, $32, $33, $2, $2, $3, 0, ''),
			($1, $34, $35, $36, $2, $2, $3, 0, ''), ($1, $37, $38, $39, $2, $2, $3, 0, ''),
			($1, $40, $41, $42, $2, $2, $3, 0, ''), ($1, $43, $44, $45, $2, $2, $3, 0, ''),
			($1, $46, $47, $48, $2, $2, $3, 0, ''), ($1, $49, $50, $51, $2, $2, $3, 0, '')` + complianceIDAgain
	complianceIDColumns           = `SELECT kind, hash, sealed, first_at, last_at, told, reason FROM compliance_ids`
	complianceIDsAfter  statement = complianceIDColumns + ` WHERE app = $1 AND kind = $2 AND hash > $3 ORDER BY hash LIMIT $4`
	complianceIDOf      statement = complianceIDColumns + ` WHERE app = $1 AND kind = $2 AND hash = $3`
	complianceExpire    statement = `
		DELETE FROM compliance_ids WHERE app = $1 AND kind = $2 AND hash IN
			(SELECT hash FROM compliance_ids WHERE app = $1 AND kind = $2 AND expires < $3 ORDER BY expires LIMIT $4)`
	complianceEvict statement = `
		DELETE FROM compliance_ids WHERE app = $1 AND kind = $2 AND hash IN
			(SELECT hash FROM compliance_ids WHERE app = $1 AND kind = $2 ORDER BY expires LIMIT $3)`
	complianceEvicted statement = `UPDATE compliance_tasks SET evicted = evicted + $3, evicted_at = $4 WHERE app = $1 AND kind = $2`
	complianceCount   statement = `SELECT count(*) FROM compliance_ids WHERE app = $1 AND kind = $2`
	complianceOldest  statement = `SELECT last_at FROM compliance_ids WHERE app = $1 AND kind = $2 ORDER BY expires LIMIT 1`
	complianceForget  statement = `DELETE FROM compliance_ids WHERE app = $1 AND kind = $2 AND hash = $3 AND last_at <= $4`
	complianceRenew   statement = `
		UPDATE compliance_ids SET first_at = last_at WHERE app = $1 AND kind = $2 AND hash = $3 AND first_at = $4 AND last_at > $5`
	complianceTold statement = `
		UPDATE compliance_ids SET told = $5, reason = $6 WHERE app = $1 AND kind = $2 AND hash = $3 AND last_at <= $4`

	complianceTaskInsert statement = `
		INSERT INTO compliance_tasks (app, kind, state, due, lease_until, started, ended, name, job, expires, asked, asked_at, polls, tries,
			reason, jobs, sent, found, ignored, malformed, epoch, evicted, evicted_at, version)
		VALUES ($1, $2, 'idle', $3, 0, 0, 0, '', '', 0, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 1)
		ON CONFLICT (app, kind) DO NOTHING`
	complianceTaskForward statement = `
		UPDATE compliance_tasks SET due = $3, version = version + 1 WHERE app = $1 AND kind = $2 AND state = 'idle' AND due > $3`
	complianceTaskUpdate statement = `
		UPDATE compliance_tasks SET state = $4, due = $5, lease_until = $6, started = $7, ended = $8, cursor_at = $9, upto = $10,
			name = $11, job = $12, upload_url = $13, download_url = $14, expires = $15, asked = $16, asked_at = $17, polls = $18,
			tries = $19, reason = $20, jobs = $21, sent = $22, found = $23, ignored = $24, malformed = $25, version = version + 1
		WHERE app = $1 AND kind = $2 AND version = $3`
	// As many rows as there are app registrations, twice.
	complianceTasks statement = `
		SELECT app, kind, state, due, lease_until, started, ended, cursor_at, upto, name, job, upload_url, download_url, expires, asked,
			asked_at, polls, tries, reason, jobs, sent, found, ignored, malformed, epoch, evicted, evicted_at, version
		FROM compliance_tasks ORDER BY app, kind`
	complianceEpoch statement = `SELECT CAST(COALESCE(SUM(epoch), 0) AS BIGINT) FROM compliance_tasks WHERE app = $1`
	complianceTurn  statement = `UPDATE compliance_tasks SET epoch = epoch + 1 WHERE app = $1 AND kind = $2`

	complianceFindingPut statement = `
		INSERT INTO compliance_findings (app, kind, hash, reason, action, sealed, at, first_at, ready, due, tries)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) ON CONFLICT (app, kind, hash, reason) DO NOTHING`
	complianceFindingsDue statement = `
		SELECT app, kind, hash, reason, action, sealed, at, first_at, ready, due, tries
		FROM compliance_findings WHERE due <= $1 ORDER BY due LIMIT $2`
	complianceFindingDelay statement = `
		UPDATE compliance_findings SET due = $6, tries = tries + 1
		WHERE app = $1 AND kind = $2 AND hash = $3 AND reason = $4 AND due = $5`
	complianceFindingDelete statement = `DELETE FROM compliance_findings WHERE app = $1 AND kind = $2 AND hash = $3 AND reason = $4`
	complianceFindingCount  statement = `SELECT count(*) FROM compliance_findings WHERE app = $1 AND kind = $2`
)

// complianceStore is the compliance.Store of a database. No process remembers its
// rows, so changes go past the cache.
type complianceStore struct{ db *DB }

var _ compliance.Store = complianceStore{}

// Compliance returns the part of the database that keeps what was delivered and
// what X was asked about it.
func (d *DB) Compliance() compliance.Store { return complianceStore{d} }

func (s complianceStore) RecordIDs(ctx context.Context, app gatehouse.AppName, now, expires time.Time, ids []compliance.ID) error {
	return s.db.logTx(ctx, func(t *tx) error {
		for len(ids) > 0 {
			put, n := complianceIDPut, 1
			if len(ids) >= 16 {
				put, n = complianceIDPut16, 16
			}
			args := append(make([]any, 0, 3+3*n), app, micros(now), micros(expires))
			for _, id := range ids[:n] {
				args = append(args, id.Kind, id.Hash, id.Sealed)
			}
			if _, err := t.exec(ctx, put, args...); err != nil {
				return err
			}
			ids = ids[n:]
		}
		return nil
	})
}

func (s complianceStore) IDs(ctx context.Context, app gatehouse.AppName, kind compliance.Kind, after []byte, limit int) ([]compliance.ID, error) {
	if after == nil {
		after = []byte{}
	}
	return collect[compliance.ID](s.db.query(ctx, complianceIDsAfter, app, kind, after, limit))(func(r *rows) (compliance.ID, error) {
		return scanComplianceID(r)
	})
}

func (s complianceStore) IDOf(ctx context.Context, app gatehouse.AppName, kind compliance.Kind, hash []byte) (compliance.ID, error) {
	return scanComplianceID(s.db.queryRow(ctx, complianceIDOf, app, kind, hash))
}

func scanComplianceID(row interface{ Scan(...any) error }) (compliance.ID, error) {
	var id compliance.ID
	var first, last, told int64
	err := row.Scan(&id.Kind, &id.Hash, &id.Sealed, &first, &last, &told, &id.Reason)
	id.First, id.Last, id.Told = fromMicros(first), fromMicros(last), fromMicros(told)
	return id, err
}

func (s complianceStore) Expire(ctx context.Context, app gatehouse.AppName, kind compliance.Kind, now time.Time, limit int) (int64, error) {
	return s.db.logExec(ctx, complianceExpire, app, kind, micros(now), limit)
}

func (s complianceStore) Evict(ctx context.Context, app gatehouse.AppName, kind compliance.Kind, now time.Time, limit int) (n int64, err error) {
	err = s.db.logTx(ctx, func(t *tx) error {
		if n, err = t.exec(ctx, complianceEvict, app, kind, limit); err != nil {
			return err
		}
		_, err := t.exec(ctx, complianceEvicted, app, kind, n, micros(now))
		return err
	})
	return n, err
}

func (s complianceStore) Held(ctx context.Context, app gatehouse.AppName, kind compliance.Kind) (compliance.Held, error) {
	var h compliance.Held
	if err := s.db.queryRow(ctx, complianceCount, app, kind).Scan(&h.IDs); err != nil || h.IDs == 0 {
		return h, err
	}
	oldest, err := collect[int64](s.db.query(ctx, complianceOldest, app, kind))(func(r *rows) (last int64, err error) {
		return last, r.Scan(&last)
	})
	if len(oldest) > 0 {
		h.Oldest = fromMicros(oldest[0])
	}
	return h, err
}

func (s complianceStore) EnsureTask(ctx context.Context, app gatehouse.AppName, kind compliance.Kind, due time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, complianceTaskInsert, app, kind, micros(due)); err != nil {
			return err
		}
		_, err := t.exec(ctx, complianceTaskForward, app, kind, micros(due))
		return err
	})
}

func (s complianceStore) Tasks(ctx context.Context) ([]compliance.Task, error) {
	return collect[compliance.Task](s.db.query(ctx, complianceTasks))(func(r *rows) (compliance.Task, error) {
		var t compliance.Task
		var due, lease, started, ended, expires, askedAt, evictedAt int64
		err := r.Scan(&t.App, &t.Kind, &t.State, &due, &lease, &started, &ended, &t.Cursor, &t.Upto, &t.Name, &t.Job,
			&t.UploadURL, &t.DownloadURL, &expires, &t.Asked, &askedAt, &t.Polls, &t.Tries, &t.Reason, &t.Jobs, &t.Sent, &t.Found,
			&t.Ignored, &t.Malformed, &t.Epoch, &t.Evicted, &evictedAt, &t.Version)
		t.Due, t.LeaseUntil, t.Started, t.Ended = fromMicros(due), fromMicros(lease), fromMicros(started), fromMicros(ended)
		t.Expires, t.AskedAt, t.EvictedAt = fromMicros(expires), fromMicros(askedAt), fromMicros(evictedAt)
		return t, err
	})
}

func (s complianceStore) SaveTask(ctx context.Context, t compliance.Task) (int64, error) {
	n, err := s.db.logExec(ctx, complianceTaskUpdate, t.App, t.Kind, t.Version, t.State, micros(t.Due), micros(t.LeaseUntil),
		micros(t.Started), micros(t.Ended), t.Cursor, t.Upto, t.Name, t.Job, t.UploadURL, t.DownloadURL, micros(t.Expires), t.Asked,
		micros(t.AskedAt), t.Polls, t.Tries, t.Reason, t.Jobs, t.Sent, t.Found, t.Ignored, t.Malformed)
	if err == nil && n == 0 {
		err = fmt.Errorf("the compliance task changed meanwhile: %w", gatehouse.ErrConflict)
	}
	return t.Version + 1, err
}

func (s complianceStore) Epoch(ctx context.Context, app gatehouse.AppName) (epoch int64, err error) {
	err = s.db.queryRow(ctx, complianceEpoch, app).Scan(&epoch)
	return epoch, err
}

func (s complianceStore) AddFindings(ctx context.Context, findings []compliance.StoredFinding) error {
	type list struct {
		app  gatehouse.AppName
		kind compliance.Kind
	}
	return s.db.logTx(ctx, func(t *tx) error {
		turned := map[list]bool{}
		for _, f := range findings {
			if l := (list{f.App, f.Kind}); !turned[l] {
				turned[l] = true
				if _, err := t.exec(ctx, complianceTurn, f.App, f.Kind); err != nil {
					return err
				}
			}
			if _, err := t.exec(ctx, complianceFindingPut, f.App, f.Kind, f.Hash, f.Reason, f.Action, f.Sealed, micros(f.At), micros(f.First),
				micros(f.Ready), micros(f.Due)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s complianceStore) Findings(ctx context.Context, now time.Time, limit int) ([]compliance.StoredFinding, error) {
	return collect[compliance.StoredFinding](s.db.query(ctx, complianceFindingsDue, micros(now), limit))(func(r *rows) (compliance.StoredFinding, error) {
		var f compliance.StoredFinding
		var at, first, ready, due int64
		err := r.Scan(&f.App, &f.Kind, &f.Hash, &f.Reason, &f.Action, &f.Sealed, &at, &first, &ready, &due, &f.Tries)
		f.At, f.First, f.Ready, f.Due = fromMicros(at), fromMicros(first), fromMicros(ready), fromMicros(due)
		return f, err
	})
}

func (s complianceStore) DelayFinding(ctx context.Context, f compliance.StoredFinding, due time.Time) error {
	n, err := s.db.logExec(ctx, complianceFindingDelay, f.App, f.Kind, f.Hash, f.Reason, micros(f.Due), micros(due))
	if err == nil && n == 0 {
		err = fmt.Errorf("the finding is in other hands: %w", gatehouse.ErrConflict)
	}
	return err
}

func (s complianceStore) SettleFinding(ctx context.Context, f compliance.StoredFinding, forget bool, now time.Time) error {
	return s.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, complianceFindingDelete, f.App, f.Kind, f.Hash, f.Reason); err != nil {
			return err
		}
		if !forget {
			_, err := t.exec(ctx, complianceTold, f.App, f.Kind, f.Hash, micros(f.Ready), micros(now), f.Reason)
			return err
		}
		if _, err := t.exec(ctx, complianceForget, f.App, f.Kind, f.Hash, micros(f.Ready)); err != nil {
			return err
		}
		_, err := t.exec(ctx, complianceRenew, f.App, f.Kind, f.Hash, micros(f.First), micros(f.Ready))
		return err
	})
}

func (s complianceStore) Waiting(ctx context.Context, app gatehouse.AppName, kind compliance.Kind) (n int64, err error) {
	err = s.db.queryRow(ctx, complianceFindingCount, app, kind).Scan(&n)
	return n, err
}
