// Package store holds every SQL statement of Gatehouse, the schema and its
// migrations, and runs them on two engines: SQLite (one file, one node) and
// PostgreSQL (several nodes).
//
// It promises that what a method reports as done is on disk, that each method
// is atomic, and that both engines behave alike (every contract suite runs on
// both). Driver errors become kinds of failure here and nowhere else. It must
// never hold a business rule, build a statement from pieces at run time, or
// create a database because somebody mistyped a path.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"gatehouse"
)

// A DB is an open database. It is safe for concurrent use; the fields are set
// by Open and do not change.
type DB struct {
	engine *engine
	// write is the pool for changes: one connection on SQLite, where writers
	// are serial anyway and a queue in front is fairer than SQLITE_BUSY.
	write *sql.DB
	// read is the pool for queries outside transactions; on PostgreSQL it is
	// the same as write.
	read *sql.DB
	// prepareWrite and prepareRead hold the compiled statements of the pools.
	prepareWrite, prepareRead *prepared
	// file is the database's, on SQLite.
	file *openFile
	// cache remembers rows; nil on PostgreSQL.
	cache *cache
	// open knows which goroutines are inside a transaction.
	open nesting
	// forgotten are the people whose log entries get no index any more.
	forgotten forgotten
}

// engine is what differs between the two databases.
type engine struct {
	name string
	// retryable reports whether the transaction failed only because another
	// ran at the same time, so that running it again may succeed.
	retryable func(error) bool
	// kind maps the driver's codes to kinds of failure, or to nil.
	kind func(error) error
	// byRows is the isolation of transactions that lock the rows they depend on.
	byRows sql.IsolationLevel
	// snapshot opens a transaction that sees one moment of the database.
	snapshot *sql.TxOptions
	// compact removes what is left of overwritten keys.
	compact []statement
}

// Open opens the database that dsn names, "sqlite:/path/file.db" or
// "postgres://…", and brings an older schema up to date. A SQLite file must
// exist: Create makes new ones. A schema more than one version newer than this
// program is refused, because only the next version is promised to be
// compatible.
func Open(ctx context.Context, dsn string) (*DB, error) {
	d, err := connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if err := d.check(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// check refuses databases that are not ours or too new, and migrates older ones.
func (d *DB) check(ctx context.Context) error {
	version, latest, err := d.schema(ctx)
	switch {
	case err != nil:
		return err
	case version == 0:
		return fmt.Errorf("the database holds no Gatehouse schema; `gatehouse init` makes one: %w", gatehouse.ErrNotFound)
	case version > latest+1:
		return fmt.Errorf("the database's schema is version %d and this program knows version %d (and runs on %d): use a newer program: %w",
			version, latest, latest+1, gatehouse.ErrConflict)
	}
	if err := d.checkWhole(ctx); err != nil {
		return err
	}
	if version < latest {
		return d.Migrate(ctx)
	}
	return nil
}

// Create makes a new database with the newest schema: the SQLite file (mode
// 0600), or the tables in an empty PostgreSQL database. It refuses when there
// is one already. If it is interrupted, Open finds no schema and Create can be
// called again.
func Create(ctx context.Context, dsn string) error {
	if path, ok := strings.CutPrefix(dsn, sqlitePrefix); ok {
		if err := createSQLite(path); err != nil {
			return err
		}
	}
	d, err := connect(ctx, dsn)
	if err != nil {
		return err
	}
	version, _, err := d.schema(ctx)
	if err == nil && version != 0 {
		err = fmt.Errorf("the database holds a Gatehouse schema already (version %d): %w", version, gatehouse.ErrConflict)
	}
	if err == nil && d.engine.name == "sqlite" {
		err = d.checkUnused(ctx)
	}
	if err == nil {
		err = d.Migrate(ctx)
	}
	return errors.Join(err, d.Close())
}

// connect opens the pools without looking at the schema.
func connect(ctx context.Context, dsn string) (*DB, error) {
	switch {
	case strings.HasPrefix(dsn, sqlitePrefix):
		return openSQLite(ctx, strings.TrimPrefix(dsn, sqlitePrefix))
	case strings.HasPrefix(dsn, "postgres://"), strings.HasPrefix(dsn, "postgresql://"):
		d, err := openPostgres(ctx, dsn)
		return throughPooler(ctx, d, err)
	}
	// The text is not repeated: a PostgreSQL address may hold a password.
	return nil, fmt.Errorf("the store must be sqlite:/path/file.db or postgres://host/database: %w", gatehouse.ErrInvalid)
}

// Close closes all connections.
func (d *DB) Close() error {
	if d.read == d.write {
		return d.write.Close()
	}
	// Readers first: SQLite folds the write-ahead log into the file when the
	// last connection closes, which only a writer can do.
	return errors.Join(d.read.Close(), d.write.Close())
}

const (
	selectMeta statement = `SELECT value FROM meta WHERE name = $1`
	insertMeta statement = `INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`
)

// Environment returns the environment that the database belongs to, or
// ErrNotFound when SetEnvironment was never called.
func (d *DB) Environment(ctx context.Context) (gatehouse.Environment, error) {
	var value string
	if err := d.queryRow(ctx, selectMeta, "environment").Scan(&value); err != nil {
		return "", fmt.Errorf("reading the database's environment: %w", err)
	}
	return gatehouse.Environment(value), nil
}

// SetEnvironment marks the database as belonging to an environment. It can be
// said once: a different one is ErrConflict.
func (d *DB) SetEnvironment(ctx context.Context, env gatehouse.Environment) error {
	if _, err := d.exec(ctx, insertMeta, "environment", string(env)); err != nil {
		return fmt.Errorf("marking the database: %w", err)
	}
	has, err := d.Environment(ctx)
	if err == nil && has != env {
		err = fmt.Errorf("the database belongs to environment %q, not %q: %w", has, env, gatehouse.ErrConflict)
	}
	return err
}

// micros is the form in which times are stored: UTC microseconds; 0 stands for
// the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
