package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"

	"gatehouse/internal/audit"
)

// openFile is the file of a SQLite database as it was when it was opened.
type openFile struct {
	path string
	main os.FileInfo

	mu sync.Mutex
	// wal is the write-ahead log, once it was seen. It stays the same file for as
	// long as the database is open.
	wal os.FileInfo
}

// same returns audit.ErrReplaced unless the path still leads to what is open. A
// process that has a deleted file open can go on writing it for ever, and nobody
// else would see any of it.
func (f *openFile) same() error {
	now, err := os.Stat(f.path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(f.main, now) {
		return fmt.Errorf("%s: %w", f.path, audit.ErrReplaced)
	}
	if err != nil {
		return fmt.Errorf("looking for the database's file: %w", err)
	}
	wal, err := os.Stat(f.path + "-wal")
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil && f.wal == nil:
		f.wal = wal
	case errors.Is(err, os.ErrNotExist) && f.wal == nil:
		// Nothing was written since it was opened.
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("looking for the database's write-ahead log: %w", err)
	case err != nil || !os.SameFile(f.wal, wal):
		return fmt.Errorf("%s-wal: %w", f.path, audit.ErrReplaced)
	}
	return nil
}

// anew runs f in a read-only transaction that sees one moment and believes nothing
// that was read before: on SQLite, on a connection of its own, whose cache is
// empty.
func (d *DB) anew(ctx context.Context, f func(*tx) error) (err error) {
	if d.file == nil {
		return d.snapshot(ctx, f)
	}
	if err := d.file.same(); err != nil {
		return err
	}
	pool, err := sql.Open("sqlite", sqliteURI(d.file.path, sqliteRead))
	if err != nil {
		return fmt.Errorf("looking at the database: %w", err)
	}
	pool.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, pool.Close()) }()
	t, err := pool.BeginTx(ctx, d.engine.snapshot)
	if err != nil {
		return d.wrap(err)
	}
	defer func() { _ = t.Rollback() }()
	if err := f(&tx{db: d, sql: t}); err != nil {
		return err
	}
	// It was the same file before and after, so it was the one that was read.
	return d.file.same()
}

// sqlitePassive copies what it can of the write-ahead log into the database,
// waiting for nobody. When all of it is there, the next write begins the log anew.
const sqlitePassive statement = `PRAGMA wal_checkpoint(PASSIVE)`

// rewind makes the next write reuse room, if it can.
func (d *DB) rewind(ctx context.Context) error {
	if d.file == nil {
		return nil
	}
	_, err := d.write.ExecContext(ctx, string(sqlitePassive))
	return d.wrap(err)
}
