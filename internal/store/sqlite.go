package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"gatehouse"
	"gatehouse/internal/audit"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const sqlitePrefix = "sqlite:"

// oldestSQLite is the first version in which a reset of the write-ahead log
// cannot corrupt the database.
var oldestSQLite = [3]int{3, 51, 3}

// Every setting stands in the data source name, so that the driver applies it
// to every connection of the pool; a PRAGMA run once would reach only one.
//
// synchronous=FULL with WAL makes a commit durable against power loss. mode=rw
// opens but never creates. The writer begins its transactions "immediate", so
// that it waits for another process in the beginning instead of failing in the
// middle. The write-ahead log is copied into the database every 32 MB instead of
// every 4: whoever commits at that moment waits for it. secure_delete overwrites
// deleted rows with zeros, so that no wrapped key stays in a free page.
const (
	sqliteCommon = "?mode=rw&_busy_timeout=10000&_foreign_keys=on&_dqs=0&_error_rc=1" +
		"&_pragma=cache_size(-16384)&_pragma=temp_store(MEMORY)"
	sqliteWrite = sqliteCommon + "&_journal_mode=WAL&_synchronous=FULL&_txlock=immediate" +
		"&_pragma=journal_size_limit(67108864)&_pragma=wal_autocheckpoint(8000)&_pragma=secure_delete(1)"
	sqliteRead = sqliteCommon + "&_query_only=1"
)

// sqliteTruncate copies the write-ahead log into the database and empties it. If
// somebody reads at that moment it does less, without an error.
const sqliteTruncate statement = `PRAGMA wal_checkpoint(TRUNCATE)`

func sqliteURI(path, settings string) string {
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path}).String() + settings
}

// createSQLite makes an empty file that only its owner can read, and makes the
// directory entry durable. One that looks like it may be what an interrupted
// Create left behind; Create then looks inside.
func createSQLite(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		if info, err := os.Lstat(path); err == nil && info.Mode() == 0o600 {
			return nil
		}
		return fmt.Errorf("creating the database: %s is there already: %w", path, gatehouse.ErrConflict)
	case err != nil:
		return fmt.Errorf("creating the database: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("creating the database: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("opening the database: %s does not exist; `gatehouse init` makes one: %w", path, gatehouse.ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	// With POSIX record locks, any part of this process that opens and closes
	// the file (a backup, a scan for planted secrets) would drop SQLite's own.
	if _, err := sqlite.OFDLocking(true); err != nil && !errors.Is(err, sqlite.ErrOFDLockingUnavailable) {
		return nil, fmt.Errorf("choosing SQLite's locks: %w", err)
	}
	write, err := sql.Open("sqlite", sqliteURI(path, sqliteWrite))
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteURI(path, sqliteRead))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), write.Close())
	}
	// The pool keeps what it opened: opening a connection costs more than most
	// queries.
	readers := max(4, runtime.GOMAXPROCS(0))
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)
	d := &DB{
		engine: &engine{
			name: "sqlite", kind: sqliteKind, retryable: sqliteRetryable, byRows: sql.LevelSerializable,
			// A read transaction of WAL sees one moment as it is.
			snapshot: &sql.TxOptions{ReadOnly: true},
			compact:  []statement{sqliteTruncate},
		},
		write: write, read: read, prepareWrite: newPrepared(write), prepareRead: newPrepared(read), cache: newCache(),
	}
	d.file = &openFile{path: path}
	if err := d.checkSQLite(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", path, err), d.Close())
	}
	if d.file.main, err = os.Stat(path); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", err), d.Close())
	}
	return d, nil
}

func (d *DB) checkSQLite(ctx context.Context) error {
	var version string
	if err := d.write.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version); err != nil {
		return d.wrap(err)
	}
	if !recentSQLite(version) {
		return fmt.Errorf("this program is built with SQLite %s; 3.51.3 is the oldest that cannot lose committed data: %w", version, gatehouse.ErrUnavailable)
	}
	return nil
}

// recentSQLite reports whether version is oldestSQLite or newer.
func recentSQLite(version string) bool {
	var v [3]int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &v[0], &v[1], &v[2]); n != 3 {
		return false
	}
	for i, has := range v {
		if has != oldestSQLite[i] {
			return has > oldestSQLite[i]
		}
	}
	return true
}

func sqliteRetryable(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_BUSY
}

func sqliteKind(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return nil
	}
	switch e.Code() {
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
		sqlite3.SQLITE_CONSTRAINT_ROWID, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return gatehouse.ErrConflict
	}
	if e.Code() == sqlite3.SQLITE_IOERR_SHORT_READ {
		return audit.ErrDamaged
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_FULL:
		return audit.ErrFull
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return audit.ErrDamaged
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
		sqlite3.SQLITE_PROTOCOL:
		return gatehouse.ErrUnavailable
	}
	return nil
}
