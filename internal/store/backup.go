package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"gatehouse"
	"gatehouse/internal/backup"
)

const (
	// A database with this row is being restored.
	restoringName = "restoring"

	selectConnectionCount statement = `SELECT count(*) FROM connections`
	selectAnyMeta         statement = `SELECT count(*) FROM meta`
	selectAnyKey          statement = `SELECT count(*) FROM vault_domain_keys`
	deleteMeta            statement = `DELETE FROM meta WHERE name = $1`
)

// Backup is the part of a database that backups are taken from and restored to.
type Backup struct{ db *DB }

var (
	_ backup.Source      = (*Backup)(nil)
	_ backup.Target      = (*Backup)(nil)
	_ backup.LedgerStore = (*Backup)(nil)
	_ backup.WorkStore   = (*Backup)(nil)
)

// Backup returns the part of the database that backups are taken from.
func (d *DB) Backup() *Backup { return &Backup{d} }

// Snapshot implements backup.Source.
func (b *Backup) Snapshot(ctx context.Context, f func(backup.Snapshot) error) error {
	// Outside, since looking at the version takes a connection of its own.
	schema, _, err := b.db.schema(ctx)
	if err != nil {
		return err
	}
	return b.db.snapshot(ctx, func(t *tx) error { return f(moment{t, schema}) })
}

// moment implements backup.Snapshot.
type moment struct {
	tx     *tx
	schema int64
}

// State implements backup.Snapshot.
func (m moment) State(ctx context.Context) (backup.State, error) {
	s := backup.State{Schema: m.schema}
	var env string
	if err := m.tx.queryRow(ctx, selectMeta, "environment").Scan(&env); err != nil {
		return s, fmt.Errorf("reading the database's environment: %w", err)
	}
	s.Environment = gatehouse.Environment(env)
	var size, checkpoints int64
	if err := m.tx.queryRow(ctx, selectHead, place(0).head()).Scan(&size, &checkpoints, &s.Checkpoint); err != nil {
		return s, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	if err := m.tx.queryRow(ctx, selectConnectionCount).Scan(&s.Connections); err != nil {
		return s, fmt.Errorf("counting connections: %w", err)
	}
	var err error
	s.Ledger, err = newestLine(m.tx.queryRow(ctx, lineHead))
	return s, err
}

// Tables implements backup.Snapshot.
func (m moment) Tables(ctx context.Context) ([]backup.Table, error) { return m.tx.tables(ctx) }

// Rows implements backup.Snapshot.
func (m moment) Rows(ctx context.Context, t backup.Table, visit func([]any) error) error {
	r, err := m.tx.query(ctx, selectAll(t))
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	row, into := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range row {
		into[i] = &row[i]
	}
	for r.Next() {
		if err := r.Scan(into...); err != nil {
			return err
		}
		for i, c := range t.Columns {
			row[i] = asKind(row[i], c.Kind)
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	return r.Err()
}

// asKind gives text and bytes the type that their column is declared with: SQLite
// keeps whichever of the two it was given.
func asKind(v any, kind string) any {
	switch v := v.(type) {
	case []byte:
		if kind == backup.Text {
			return string(v)
		}
	case string:
		if kind == backup.Blob {
			return []byte(v)
		}
	}
	return v
}

// Restoring prepares a database to be restored into, with the schema of a version,
// and marks it: until Finish, Open refuses it. It accepts what does not exist yet
// (SQLite), what is empty, and what an interrupted restore has left.
func Restoring(ctx context.Context, dsn string, schema int64) (_ *DB, err error) {
	if path, ok := strings.CutPrefix(dsn, sqlitePrefix); ok {
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if err := createSQLite(path); err != nil {
				return nil, err
			}
		}
	}
	d, err := connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	version, latest, err := d.schema(ctx)
	switch {
	case err != nil:
		return nil, err
	case schema > latest:
		return nil, fmt.Errorf("the backup's schema is version %d and this program knows version %d: use the program that took it, or a newer one: %w", schema, latest, gatehouse.ErrConflict)
	case version == 0:
		if err := d.checkNoTables(ctx); err != nil {
			return nil, err
		}
	default:
		if err := d.checkRestorable(ctx, version, schema); err != nil {
			return nil, err
		}
	}
	if err := d.migrateTo(ctx, schema); err != nil {
		return nil, err
	}
	if _, err := d.exec(ctx, insertMeta, restoringName, "from a backup"); err != nil {
		return nil, fmt.Errorf("marking the database: %w", err)
	}
	return d, nil
}

// checkNoTables refuses a database without our schema that holds anything.
func (d *DB) checkNoTables(ctx context.Context) error {
	if d.engine.name == "sqlite" {
		return d.checkUnused(ctx)
	}
	var n int
	if err := d.queryRow(ctx, postgresStrangers).Scan(&n); err != nil {
		return fmt.Errorf("looking into the database: %w", err)
	}
	if n > 0 {
		return fmt.Errorf("the database is not empty; name another: %w", gatehouse.ErrConflict)
	}
	return nil
}

// checkRestorable refuses a database that is in use, and one that an interrupted
// restore has brought past the schema from which it would have to start over.
func (d *DB) checkRestorable(ctx context.Context, version, schema int64) error {
	marked, err := d.restoring(ctx)
	if err != nil {
		return err
	}
	if !marked {
		var meta, keys int
		err := errors.Join(d.queryRow(ctx, selectAnyMeta).Scan(&meta), d.queryRow(ctx, selectAnyKey).Scan(&keys))
		if err != nil {
			return fmt.Errorf("looking into the database: %w", err)
		}
		if meta+keys > 0 {
			return fmt.Errorf("the database is in use; a backup is restored into an empty one only: %w", gatehouse.ErrConflict)
		}
	}
	if version > schema {
		return fmt.Errorf("the database was left by an interrupted restore, at schema %d, and the backup is of schema %d: delete it and start over on an empty one: %w", version, schema, gatehouse.ErrConflict)
	}
	return nil
}

// restoring reports whether the database is marked.
func (d *DB) restoring(ctx context.Context) (bool, error) {
	var value string
	err := d.queryRow(ctx, selectMeta, restoringName).Scan(&value)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// checkWhole refuses a database whose restore has not ended.
func (d *DB) checkWhole(ctx context.Context) error {
	marked, err := d.restoring(ctx)
	if err == nil && marked {
		err = fmt.Errorf("the database is being restored from a backup, or that was interrupted: people who were erased may be in it. Run 'gatehouse restore' again: %w", gatehouse.ErrConflict)
	}
	return err
}

// Migrate implements backup.Target.
func (b *Backup) Migrate(ctx context.Context) error { return b.db.Migrate(ctx) }

// State implements backup.Target.
func (b *Backup) State(ctx context.Context) (s backup.State, err error) {
	err = b.Snapshot(ctx, func(m backup.Snapshot) error {
		s, err = m.State(ctx)
		return err
	})
	return s, err
}

// Finish implements backup.Target.
func (b *Backup) Finish(ctx context.Context) error {
	_, err := b.db.exec(ctx, deleteMeta, restoringName)
	return err
}

// Load implements backup.Target.
func (b *Backup) Load(ctx context.Context, f func(backup.Loading) error) error {
	return b.db.tx(ctx, func(t *tx) error {
		tables, err := t.tables(ctx)
		if err != nil {
			return err
		}
		if err := t.deferReferences(ctx); err != nil {
			return err
		}
		for _, table := range tables {
			if _, err := t.exec(ctx, deleteAll(table)); err != nil {
				return fmt.Errorf("emptying table %s: %w", table.Name, err)
			}
		}
		if _, err := t.exec(ctx, insertMeta, restoringName, "from a backup"); err != nil {
			return err
		}
		l := &loading{tx: t, tables: tables}
		if err := f(l); err != nil {
			return err
		}
		if err := l.flush(ctx); err != nil {
			return err
		}
		return t.checkReferences(ctx)
	})
}

// deferReferences has references between rows checked at the end.
func (t *tx) deferReferences(ctx context.Context) error {
	if t.db.engine.name == "sqlite" {
		_, err := t.exec(ctx, sqliteDefer)
		return err
	}
	return t.alterReferences(ctx, "DEFERRABLE INITIALLY DEFERRED")
}

// checkReferences checks them, and has them checked at once from here on.
func (t *tx) checkReferences(ctx context.Context) error {
	if t.db.engine.name == "sqlite" {
		return nil // at the commit
	}
	if _, err := t.exec(ctx, postgresImmediate); err != nil {
		return err
	}
	return t.alterReferences(ctx, "NOT DEFERRABLE")
}

func (t *tx) alterReferences(ctx context.Context, when string) error {
	all, err := t.foreignKeys(ctx, when)
	for _, s := range all {
		if err == nil {
			_, err = t.exec(ctx, s)
		}
	}
	return err
}

// loading implements backup.Loading. Rows go in many at a time: on PostgreSQL each
// statement is a round trip.
type loading struct {
	tx     *tx
	tables []backup.Table
	// name is the table whose rows wait, under the names of the catalog in into; args
	// are their values, rows how many they are, and bytes roughly how large.
	name        string
	into        backup.Table
	args        []any
	rows, bytes int
}

const (
	rowsAtOnce  = 32
	bytesAtOnce = 1 << 20
)

// Tables implements backup.Loading.
func (l *loading) Tables(context.Context) ([]backup.Table, error) { return l.tables, nil }

// Insert implements backup.Loading.
func (l *loading) Insert(ctx context.Context, t backup.Table, row []any) error {
	if t.Name != l.name {
		if err := l.flush(ctx); err != nil {
			return err
		}
		own, err := l.own(t)
		if err != nil {
			return err
		}
		l.name, l.into = t.Name, own
	}
	for _, v := range row {
		switch v := v.(type) {
		case string:
			l.bytes += len(v)
		case []byte:
			l.bytes += len(v)
		}
	}
	l.args = append(l.args, row...)
	if l.rows++; l.rows < rowsAtOnce && l.bytes < bytesAtOnce {
		return nil
	}
	return l.flush(ctx)
}

// flush writes the rows that wait: by one statement if they are as many as usual,
// or else one by one, so that a table has two statements and not thirty.
func (l *loading) flush(ctx context.Context) error {
	width := len(l.into.Columns)
	each := 1
	if l.rows == rowsAtOnce {
		each = rowsAtOnce
	}
	for at := 0; at < l.rows; at += each {
		_, err := l.tx.exec(ctx, insertInto(l.into, each, l.tx.db.engine.name), l.args[at*width:(at+each)*width]...)
		if err != nil {
			return err
		}
	}
	clear(l.args)
	l.args, l.rows, l.bytes = l.args[:0], 0, 0
	return nil
}

// own returns a table with the names of this database's catalog, in the order of
// the columns of t: no name that a backup brings becomes part of a statement.
func (l *loading) own(t backup.Table) (backup.Table, error) {
	for _, table := range l.tables {
		if table.Name != t.Name {
			continue
		}
		own := backup.Table{Name: table.Name, Counted: table.Counted}
		for _, c := range t.Columns {
			for _, has := range table.Columns {
				if has == c {
					own.Columns = append(own.Columns, has)
				}
			}
		}
		if len(own.Columns) == len(t.Columns) {
			return own, nil
		}
	}
	return backup.Table{}, fmt.Errorf("table %s is not in the schema as the backup describes it: %w", t.Name, gatehouse.ErrConflict)
}

// Count implements backup.Loading.
func (l *loading) Count(ctx context.Context, t backup.Table) error {
	own, err := l.own(t)
	if err != nil {
		return err
	}
	own.Last = t.Last
	if err := l.flush(ctx); err != nil {
		return err
	}
	return l.tx.setLast(ctx, own)
}
