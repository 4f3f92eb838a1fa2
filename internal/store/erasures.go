package store

import (
	"context"
	"errors"
	"time"

	"gatehouse"
	"gatehouse/internal/backup"
)

const (
	lineColumns               = `seq, at, person, line`
	lineHead        statement = `SELECT ` + lineColumns + ` FROM backup_erasures ORDER BY seq DESC LIMIT 1`
	lineOf          statement = `SELECT ` + lineColumns + ` FROM backup_erasures WHERE person = $1`
	linesAfter      statement = `SELECT ` + lineColumns + ` FROM backup_erasures WHERE seq > $1 ORDER BY seq LIMIT $2`
	lineInsert      statement = `INSERT INTO backup_erasures (seq, at, person, line) VALUES ($1, $2, $3, $4)`
	backupClaim     statement = `UPDATE backup_work SET lease_until = $1 WHERE id = 1 AND done_at <= $2 AND lease_until <= $3`
	backupExtend    statement = `UPDATE backup_work SET lease_until = $1 WHERE id = 1`
	backupGiveBack  statement = `UPDATE backup_work SET lease_until = 0 WHERE id = 1`
	backupDone      statement = `UPDATE backup_work SET lease_until = 0, done_at = $1 WHERE id = 1`
	backupLastTaken statement = `SELECT done_at FROM backup_work WHERE id = 1`
)

// LedgerHead implements backup.LedgerStore.
func (b *Backup) LedgerHead(ctx context.Context) (backup.Line, error) {
	return newestLine(b.db.queryRow(ctx, lineHead))
}

func newestLine(r *row) (backup.Line, error) {
	line, err := scanLine(r.Scan)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return backup.Line{}, nil
	}
	return line, err
}

// LedgerOf implements backup.LedgerStore.
func (b *Backup) LedgerOf(ctx context.Context, person gatehouse.PersonID) (backup.Line, error) {
	return scanLine(b.db.queryRow(ctx, lineOf, string(person)).Scan)
}

// LedgerAfter implements backup.LedgerStore.
func (b *Backup) LedgerAfter(ctx context.Context, seq int64, limit int) ([]backup.Line, error) {
	return collect[backup.Line](b.db.query(ctx, linesAfter, seq, limit))(func(r *rows) (backup.Line, error) { return scanLine(r.Scan) })
}

func scanLine(scan func(...any) error) (backup.Line, error) {
	var l backup.Line
	var at int64
	err := scan(&l.Seq, &at, &l.Person, &l.Text)
	l.At = fromMicros(at)
	return l, err
}

// AddLine implements backup.LedgerStore.
func (b *Backup) AddLine(ctx context.Context, l backup.Line) error {
	_, err := b.db.logExec(ctx, lineInsert, l.Seq, micros(l.At), string(l.Person), l.Text)
	return err
}

// ClaimBackup implements backup.WorkStore.
func (b *Backup) ClaimBackup(ctx context.Context, now, due, until time.Time) (bool, error) {
	n, err := b.db.logExec(ctx, backupClaim, micros(until), micros(due), micros(now))
	return n > 0, err
}

// ExtendBackup implements backup.WorkStore.
func (b *Backup) ExtendBackup(ctx context.Context, until time.Time) error {
	_, err := b.db.logExec(ctx, backupExtend, micros(until))
	return err
}

// EndBackup implements backup.WorkStore.
func (b *Backup) EndBackup(ctx context.Context, done time.Time) error {
	if done.IsZero() {
		_, err := b.db.logExec(ctx, backupGiveBack)
		return err
	}
	_, err := b.db.logExec(ctx, backupDone, micros(done))
	return err
}

// LastBackup returns when the last scheduled backup was taken; zero for never.
func (b *Backup) LastBackup(ctx context.Context) (time.Time, error) {
	var at int64
	err := b.db.queryRow(ctx, backupLastTaken).Scan(&at)
	return fromMicros(at), err
}
