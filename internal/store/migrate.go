package store

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"

	"gatehouse"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// blobDomain gives PostgreSQL the type name that the migrations use for bytes.
const blobDomain statement = `DO $$ BEGIN CREATE DOMAIN blob AS bytea; EXCEPTION WHEN duplicate_object THEN NULL; END $$`

// Migrate brings the schema up to this program's version. Migrations run
// forward only, each in a transaction, and under a lock, so that two nodes may
// start at the same time.
func (d *DB) Migrate(ctx context.Context) error { return d.migrateTo(ctx, newest) }

// newest stands for the newest version that this program knows.
const newest = math.MaxInt64

// migrateTo brings the schema up to a version.
func (d *DB) migrateTo(ctx context.Context, version int64) error {
	if d.engine.name == "postgres" {
		if _, err := d.exec(ctx, blobDomain); err != nil {
			return fmt.Errorf("preparing the schema: %w", err)
		}
	}
	p, err := d.provider()
	if err != nil {
		return err
	}
	if _, err := p.UpTo(ctx, version); err != nil {
		return fmt.Errorf("migrating the schema: %w", d.wrap(err))
	}
	return nil
}

// schema returns the version of the database's schema (0 when there is none)
// and the newest that this program knows.
func (d *DB) schema(ctx context.Context) (version, latest int64, err error) {
	p, err := d.provider()
	if err != nil {
		return 0, 0, err
	}
	sources := p.ListSources()
	latest = sources[len(sources)-1].Version
	has, err := d.hasTable(ctx, "goose_db_version")
	if err != nil || !has {
		return 0, latest, err
	}
	if version, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, fmt.Errorf("reading the schema's version: %w", d.wrap(err))
	}
	return version, latest, nil
}

const (
	sqliteHasTable   statement = `SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1`
	postgresHasTable statement = `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename = $1`
)

// hasTable exists because asking for the version of a database that has none
// would create the table of versions, and looking must not change anything.
func (d *DB) hasTable(ctx context.Context, name string) (bool, error) {
	s := sqliteHasTable
	if d.engine.name == "postgres" {
		s = postgresHasTable
	}
	var n int
	if err := d.queryRow(ctx, s, name).Scan(&n); err != nil {
		return false, fmt.Errorf("looking for the schema: %w", err)
	}
	return n > 0, nil
}

const sqliteStrangers statement = `SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> 'goose_db_version'`

// checkUnused refuses a file without our schema that is somebody else's database.
func (d *DB) checkUnused(ctx context.Context) error {
	var n int
	if err := d.queryRow(ctx, sqliteStrangers).Scan(&n); err != nil {
		return fmt.Errorf("looking into the database: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("the database is there already and holds something else; name another file: %w", gatehouse.ErrConflict)
	}
	return nil
}

func (d *DB) provider() (*goose.Provider, error) {
	dialect, options := goose.DialectSQLite3, []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	if d.engine.name == "postgres" {
		dialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, fmt.Errorf("preparing the schema's lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	if d.engine.name == "postgres" {
		files = dialectFS{files}
	}
	p, err := goose.NewProvider(dialect, d.write, files, options...)
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	return p, nil
}

// A dialectFS is the migrations in PostgreSQL's dialect. One text serves both
// engines; the differences that no common spelling covers are the row number
// that the engine itself uses as the key, which SQLite recognises only as INTEGER
// PRIMARY KEY, while PostgreSQL's INTEGER ends at two thousand million; and the
// one that it counts up itself, never using a number twice.
type dialectFS struct{ fs.FS }

func (d dialectFS) Open(name string) (fs.File, error) {
	f, err := d.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return f, err
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	text = bytes.ReplaceAll(text, []byte("INTEGER PRIMARY KEY AUTOINCREMENT"), []byte("BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"))
	text = bytes.ReplaceAll(text, []byte("INTEGER PRIMARY KEY"), []byte("BIGINT PRIMARY KEY"))
	return dialectFile{f, bytes.NewReader(text)}, nil
}

// dialectFile is a file with other contents.
type dialectFile struct {
	fs.File
	text *bytes.Reader
}

func (f dialectFile) Read(b []byte) (int, error) { return f.text.Read(b) }
