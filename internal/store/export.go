package store

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/export"
)

const (
	exportLease statement = `
		INSERT INTO export_sinks (sink, owner, lease_until, class, error, failed_at, succeeded_at, stuck_at, sent, rejected)
		VALUES ($1, $2, $4, '', '', 0, 0, 0, 0, 0)
		ON CONFLICT (sink) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
		WHERE export_sinks.owner = excluded.owner OR export_sinks.lease_until <= $3`
	exportSucceeded statement = `
		UPDATE export_sinks SET class = '', error = '', succeeded_at = $3, sent = sent + $4, rejected = rejected + $5
		WHERE sink = $1 AND owner = $2`
	exportOwned  statement = `UPDATE export_sinks SET owner = owner WHERE sink = $1 AND owner = $2`
	exportFailed statement = `UPDATE export_sinks SET class = $3, error = $4, failed_at = $5 WHERE sink = $1 AND owner = $2`
	exportStuck  statement = `UPDATE export_sinks SET stuck_at = $3 WHERE sink = $1 AND owner = $2`
	exportHealth statement = `
		SELECT sink, owner, lease_until, class, error, failed_at, succeeded_at, stuck_at, sent, rejected FROM export_sinks ORDER BY sink`

	exportCursorColumns           = `sink, log, next, leaf_hash, since, moved`
	exportCursors       statement = `SELECT ` + exportCursorColumns + ` FROM export_cursors ORDER BY sink, log`
	exportCursor        statement = `SELECT ` + exportCursorColumns + ` FROM export_cursors WHERE sink = $1 AND log = $2`
	exportBegin         statement = `
		INSERT INTO export_cursors (` + exportCursorColumns + `) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (sink, log) DO NOTHING`
	exportAdvance statement = `UPDATE export_cursors SET next = $3, leaf_hash = $4, moved = $5 WHERE sink = $1 AND log = $2 AND next = $6`
	exportMove    statement = `
		INSERT INTO export_cursors (` + exportCursorColumns + `) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (sink, log) DO UPDATE SET next = excluded.next, leaf_hash = excluded.leaf_hash, since = excluded.since, moved = excluded.moved`

	exportLeaves statement = `SELECT seq, leaf FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq LIMIT $3`
)

// exportStore implements export.Store. No process remembers its rows.
type exportStore struct{ db *DB }

var (
	_ export.Store    = exportStore{}
	_ export.LogStore = exportLog{}
)

// Export returns the part of the database that keeps how far sinks have got.
func (d *DB) Export() export.Store { return exportStore{d} }

func (s exportStore) Lease(ctx context.Context, sink, owner string, now, until time.Time) (bool, error) {
	n, err := s.db.logExec(ctx, exportLease, sink, owner, micros(now), micros(until))
	return n > 0, err
}

func (s exportStore) Begin(ctx context.Context, c export.Cursor) (export.Cursor, error) {
	stored, err := s.cursor(ctx, c.Sink, c.Log)
	if err != nil || stored != nil {
		return deref(stored), err
	}
	if _, err := s.db.logExec(ctx, exportBegin, c.Sink, c.Log, c.Next, c.Hash, micros(c.Since), micros(c.Moved)); err != nil {
		return export.Cursor{}, err
	}
	stored, err = s.cursor(ctx, c.Sink, c.Log)
	if err == nil && stored == nil {
		err = fmt.Errorf("the cursor of a sink went away: %w", gatehouse.ErrConflict)
	}
	return deref(stored), err
}

func deref(c *export.Cursor) export.Cursor {
	if c == nil {
		return export.Cursor{}
	}
	return *c
}

// cursor returns nil when there is none.
func (s exportStore) cursor(ctx context.Context, sink string, log int64) (*export.Cursor, error) {
	all, err := collect[export.Cursor](s.db.query(ctx, exportCursor, sink, log))(scanCursor)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

func scanCursor(r *rows) (c export.Cursor, err error) {
	var since, moved int64
	err = r.Scan(&c.Sink, &c.Log, &c.Next, &c.Hash, &since, &moved)
	c.Since, c.Moved = fromMicros(since), fromMicros(moved)
	return c, err
}

func (s exportStore) Advance(ctx context.Context, owner string, from int64, to export.Cursor, sent, rejected int64) error {
	return s.db.logTx(ctx, func(t *tx) error {
		var n int64
		var err error
		if sent == 0 && rejected == 0 {
			n, err = t.exec(ctx, exportOwned, to.Sink, owner)
		} else {
			n, err = t.exec(ctx, exportSucceeded, to.Sink, owner, micros(to.Moved), sent, rejected)
		}
		if err := changed(n, err, "the sink's owner"); err != nil {
			return err
		}
		n, err = t.exec(ctx, exportAdvance, to.Sink, to.Log, to.Next, to.Hash, micros(to.Moved), from)
		return changed(n, err, "the sink's cursor")
	})
}

func (s exportStore) Failed(ctx context.Context, owner string, h export.Health) error {
	n, err := s.db.logExec(ctx, exportFailed, h.Sink, owner, h.Class, h.Text, micros(h.FailedAt))
	return changed(n, err, "the sink's owner")
}

func (s exportStore) Stuck(ctx context.Context, sink, owner string, at time.Time) error {
	n, err := s.db.logExec(ctx, exportStuck, sink, owner, micros(at))
	return changed(n, err, "the sink's owner")
}

func (s exportStore) Move(ctx context.Context, c export.Cursor) error {
	_, err := s.db.logExec(ctx, exportMove, c.Sink, c.Log, c.Next, c.Hash, micros(c.Since), micros(c.Moved))
	return err
}

func (s exportStore) Cursors(ctx context.Context) ([]export.Cursor, error) {
	return collect[export.Cursor](s.db.query(ctx, exportCursors))(scanCursor)
}

func (s exportStore) Health(ctx context.Context) ([]export.Health, error) {
	return collect[export.Health](s.db.query(ctx, exportHealth))(func(r *rows) (h export.Health, err error) {
		var until, failed, succeeded, stuck int64
		err = r.Scan(&h.Sink, &h.Owner, &until, &h.Class, &h.Text, &failed, &succeeded, &stuck, &h.Sent, &h.Rejected)
		h.Until, h.FailedAt, h.SucceededAt, h.StuckAt = fromMicros(until), fromMicros(failed), fromMicros(succeeded), fromMicros(stuck)
		return h, err
	})
}

// exportLog implements export.LogStore. What lies beside the tree it does not read.
type exportLog struct{ log *Audit }

// Exported returns what is read of the log to export it.
func (a *Audit) Exported() export.LogStore { return exportLog{a} }

func (l exportLog) Size(ctx context.Context) (int64, error) {
	head, err := l.log.Head(ctx)
	return head.Size, err
}

func (l exportLog) Leaves(ctx context.Context, from int64, limit, bytes int) ([]export.Row, error) {
	r, err := l.log.db.query(ctx, exportLeaves, l.log.from(from), l.log.end(), limit)
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	defer func() { _ = r.Close() }()
	var all []export.Row
	for n := 0; r.Next(); {
		var row export.Row
		if err := r.Scan(&row.Index, &row.Leaf); err != nil {
			return nil, fmt.Errorf("reading the log's entries: %w", err)
		}
		row.Index = l.log.index(row.Index)
		all = append(all, row)
		if n += len(row.Leaf); n >= bytes {
			return all, nil
		}
	}
	return all, r.Err()
}
