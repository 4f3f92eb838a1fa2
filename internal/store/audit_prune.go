package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	selectPruned  statement = `SELECT start, entry FROM audit_pruned WHERE log = $1 AND start <> 0`
	selectStart   statement = `SELECT start FROM audit_pruned WHERE log = $1`
	selectPruning statement = `SELECT start, since FROM audit_pruned WHERE log = $1`
	insertPruned  statement = `INSERT INTO audit_pruned (log, start, entry, since, holder, until) VALUES ($1, 0, -1, -1, '', 0) ON CONFLICT (log) DO NOTHING`
	claimPruned   statement = `UPDATE audit_pruned SET holder = $1, until = $2 WHERE log = $3 AND (holder = '' OR holder = $1 OR until < $4)`
	beginPruned   statement = `UPDATE audit_pruned SET since = $1, until = $2 WHERE log = $3 AND holder = $4`
	movePruned    statement = `UPDATE audit_pruned SET start = $1, entry = $2, until = $3 WHERE log = $4 AND holder = $5 AND start = $6`
	releasePruned statement = `UPDATE audit_pruned SET holder = '', until = 0 WHERE log = $1 AND holder = $2`

	pruneEntries statement = `DELETE FROM audit_entries WHERE seq >= $1 AND seq < $2`
	pruneIndex   statement = `DELETE FROM audit_search WHERE seq >= $1 AND seq < $2`
	pruneTiles   statement = `DELETE FROM audit_tiles WHERE level = 0 AND idx >= $1 AND idx < $2`

	insertArchive statement = `INSERT INTO audit_archives (log, segment, first_id, last_id, file) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (log, segment) DO UPDATE SET first_id = excluded.first_id, last_id = excluded.last_id, file = excluded.file`
	selectArchive statement = `SELECT segment, file FROM audit_archives WHERE log = $1 AND first_id <= $2 AND last_id >= $2 ORDER BY segment LIMIT 8`
)

var _ audit.PruneStore = (*Audit)(nil)

// Pruned implements audit.Moment and audit.Reader.
func (a auditReader) Pruned(ctx context.Context) (audit.Pruned, error) {
	p := audit.Pruned{Entry: -1}
	err := a.tx.queryRow(ctx, selectPruned, int64(a.place)).Scan(&p.Start, &p.Entry)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return p, nil
	}
	// Whoever changed the row may have written any number.
	if err == nil && p.Entry >= 0 && p.Entry < placeSize {
		err = a.tx.queryRow(ctx, selectLeaves, a.row(p.Entry), a.row(p.Entry)+1).Scan(&p.Leaf)
		if errors.Is(err, gatehouse.ErrNotFound) {
			return p, nil
		}
	}
	if err != nil {
		return audit.Pruned{}, fmt.Errorf("reading where the log begins: %w", err)
	}
	return p, nil
}

// ClaimPruning implements audit.PruneStore.
func (a *Audit) ClaimPruning(ctx context.Context, holder string, now, until time.Time) (p audit.Pruning, err error) {
	err = a.db.logTx(ctx, func(t *tx) error {
		if _, err := t.exec(ctx, insertPruned, int64(a.place)); err != nil {
			return err
		}
		n, err := t.exec(ctx, claimPruned, holder, micros(until), int64(a.place), micros(now))
		if err == nil && n == 0 {
			err = fmt.Errorf("another process prunes the log: %w", gatehouse.ErrConflict)
		}
		if err != nil {
			return err
		}
		return t.queryRow(ctx, selectPruning, int64(a.place)).Scan(&p.Start, &p.Since)
	})
	if err != nil {
		return p, fmt.Errorf("claiming the pruning of the log: %w", err)
	}
	return p, nil
}

// MarkPruning implements audit.PruneStore.
func (a *Audit) MarkPruning(ctx context.Context, holder string, since int64, until time.Time) error {
	n, err := a.db.logExec(ctx, beginPruned, since, micros(until), int64(a.place), holder)
	if err == nil && n == 0 {
		err = fmt.Errorf("another process prunes the log: %w", gatehouse.ErrConflict)
	}
	if err != nil {
		return fmt.Errorf("noting the pruning of the log: %w", err)
	}
	return nil
}

// Prune implements audit.PruneStore.
func (a *Audit) Prune(ctx context.Context, holder string, from, to, entry int64, until time.Time) error {
	err := a.db.logTx(ctx, func(t *tx) error {
		n, err := t.exec(ctx, movePruned, to, entry, micros(until), int64(a.place), holder, from)
		if err == nil && n == 0 {
			err = fmt.Errorf("another process prunes the log: %w", gatehouse.ErrConflict)
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, pruneEntries, a.row(from), a.row(to)); err != nil {
			return err
		}
		if _, err := t.exec(ctx, pruneIndex, a.row(from), a.row(to)); err != nil {
			return err
		}
		_, err = t.exec(ctx, pruneTiles, a.row(from/audit.TileWidth), a.row(to/audit.TileWidth))
		return err
	})
	if err != nil {
		return fmt.Errorf("deleting entries of the log: %w", err)
	}
	return nil
}

// ReleasePruning implements audit.PruneStore.
func (a *Audit) ReleasePruning(ctx context.Context, holder string) error {
	if _, err := a.db.logExec(ctx, releasePruned, int64(a.place), holder); err != nil {
		return fmt.Errorf("ending the pruning of the log: %w", err)
	}
	return nil
}

// NoteArchive implements audit.PruneStore.
func (a *Audit) NoteArchive(ctx context.Context, f audit.ArchiveFile) error {
	if _, err := a.db.logExec(ctx, insertArchive, int64(a.place), f.Segment, f.FirstID, f.LastID, f.File); err != nil {
		return fmt.Errorf("noting a segment's archive: %w", err)
	}
	return nil
}

// Archives returns what was pruned in which an entry of this id may have stood.
func (a *Audit) Archives(ctx context.Context, id string) ([]audit.ArchiveFile, error) {
	all, err := collect[audit.ArchiveFile](a.db.query(ctx, selectArchive, int64(a.place), id))(func(r *rows) (f audit.ArchiveFile, err error) {
		return f, r.Scan(&f.Segment, &f.File)
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a segment's archive: %w", err)
	}
	return all, nil
}

// First implements audit.SearchStore.
func (a *Audit) First(ctx context.Context) (int64, error) {
	var start int64
	err := a.db.queryRow(ctx, selectStart, int64(a.place)).Scan(&start)
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return 0, fmt.Errorf("reading where the log begins: %w", err)
	}
	return start, nil
}
