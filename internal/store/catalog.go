package store

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gatehouse/internal/backup"
)

// This file is the one place where a statement is put together, because a backup
// has to hold every table and column, also those that a later migration adds. The
// pieces are names that the database's own catalog gives, which only our
// migrations have put there; each is checked against identForm. Nothing of a
// backup's content, which somebody may have made, becomes part of a statement.

const (
	sqliteTables statement = `SELECT name, sql LIKE '%AUTOINCREMENT%' FROM sqlite_schema
		WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name <> 'goose_db_version' ORDER BY name`
	sqliteColumns statement = `SELECT name, type, pk FROM pragma_table_info($1) ORDER BY cid`
	sqliteLast    statement = `SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = $1`
	sqliteSetLast statement = `UPDATE sqlite_sequence SET seq = max(seq, $2) WHERE name = $1`
	sqliteAddLast statement = `INSERT INTO sqlite_sequence (name, seq) SELECT $1, $2 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $1)`
	sqliteDefer   statement = `PRAGMA defer_foreign_keys = ON`

	postgresTables statement = `SELECT t.tablename, EXISTS (SELECT 1 FROM information_schema.columns c
			WHERE c.table_schema = current_schema() AND c.table_name = t.tablename AND c.is_identity = 'YES')
		FROM pg_tables t WHERE t.schemaname = current_schema() AND t.tablename <> 'goose_db_version' ORDER BY t.tablename COLLATE "C"`
	postgresColumns statement = `SELECT column_name, data_type, CASE is_identity WHEN 'YES' THEN 1 ELSE 0 END
		FROM information_schema.columns WHERE table_schema = current_schema() AND table_name = $1 ORDER BY ordinal_position`
	postgresLast    statement = `SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass), 0)`
	postgresSetLast statement = `SELECT setval(pg_get_serial_sequence($1, $2), $3)`
	postgresForeign statement = `SELECT r.relname, c.conname FROM pg_constraint c JOIN pg_class r ON r.oid = c.conrelid
		WHERE c.contype = 'f' AND c.connamespace = current_schema()::regnamespace ORDER BY r.relname, c.conname`
	postgresImmediate statement = `SET CONSTRAINTS ALL IMMEDIATE`
	postgresStrangers statement = `SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'goose_db_version'`
)

// identForm is what a name may look like that becomes part of a statement.
var identForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)

// kinds are the declared types of both engines.
var kinds = map[string]string{
	"INTEGER": backup.Int, "BIGINT": backup.Int, "TEXT": backup.Text, "BLOB": backup.Blob,
	"integer": backup.Int, "bigint": backup.Int, "text": backup.Text, "bytea": backup.Blob,
}

// tables reads the catalog.
func (t *tx) tables(ctx context.Context) ([]backup.Table, error) {
	list, columns := sqliteTables, sqliteColumns
	if t.db.engine.name == "postgres" {
		list, columns = postgresTables, postgresColumns
	}
	type named struct {
		name    string
		counted bool
	}
	names, err := collect[named](t.query(ctx, list))(func(r *rows) (n named, err error) { return n, r.Scan(&n.name, &n.counted) })
	if err != nil {
		return nil, fmt.Errorf("reading the list of tables: %w", err)
	}
	var all []backup.Table
	for _, n := range names {
		table := backup.Table{Name: n.name}
		table.Columns, err = collect[backup.Column](t.query(ctx, columns, n.name))(func(r *rows) (c backup.Column, err error) {
			var kind string
			var key int
			if err := r.Scan(&c.Name, &kind, &key); err != nil {
				return c, err
			}
			if n.counted && key > 0 {
				table.Counted = c.Name
			}
			c.Kind = kinds[kind]
			if c.Kind == "" || !identForm.MatchString(c.Name) {
				return c, fmt.Errorf("column %s.%s has a name or a type (%s) that a backup does not know", n.name, c.Name, kind)
			}
			return c, nil
		})
		if err == nil && !identForm.MatchString(n.name) {
			err = fmt.Errorf("table %q has a name that a backup does not know", n.name)
		}
		if err == nil {
			err = t.last(ctx, &table)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the table's description: %w", err)
		}
		all = append(all, table)
	}
	return all, nil
}

// last reads the last number that a counted column has given out.
func (t *tx) last(ctx context.Context, table *backup.Table) error {
	switch {
	case table.Counted == "":
		return nil
	case t.db.engine.name == "postgres":
		return t.queryRow(ctx, postgresLast, table.Name, table.Counted).Scan(&table.Last)
	}
	return t.queryRow(ctx, sqliteLast, table.Name).Scan(&table.Last)
}

// setLast has a counted column go on after a number.
func (t *tx) setLast(ctx context.Context, table backup.Table) error {
	switch {
	case table.Counted == "" || table.Last < 1:
		return nil
	case t.db.engine.name == "postgres":
		var n int64
		return t.queryRow(ctx, postgresSetLast, table.Name, table.Counted, table.Last).Scan(&n)
	}
	if _, err := t.exec(ctx, sqliteAddLast, table.Name, table.Last); err != nil {
		return err
	}
	_, err := t.exec(ctx, sqliteSetLast, table.Name, table.Last)
	return err
}

// selectAll reads every row of a table of the catalog.
func selectAll(t backup.Table) statement {
	return statement("SELECT " + columnList(t) + " FROM " + t.Name)
}

// deleteAll empties a table of the catalog.
func deleteAll(t backup.Table) statement { return statement("DELETE FROM " + t.Name) }

// insertInto adds rows to a table of the catalog.
func insertInto(t backup.Table, rows int, engine string) statement {
	overriding := ""
	if engine == "postgres" && t.Counted != "" {
		overriding = " OVERRIDING SYSTEM VALUE"
	}
	var values strings.Builder
	for n := range rows * len(t.Columns) {
		switch {
		case n == 0:
			values.WriteString("(")
		case n%len(t.Columns) == 0:
			values.WriteString("), (")
		default:
			values.WriteString(", ")
		}
		values.WriteString("$" + strconv.Itoa(n+1))
	}
	return statement("INSERT INTO " + t.Name + " (" + columnList(t) + ")" + overriding + " VALUES " + values.String() + ")")
}

func columnList(t backup.Table) string {
	names := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		names[i] = `"` + c.Name + `"`
	}
	return strings.Join(names, ", ")
}

// foreignKeys returns the statements that let PostgreSQL check references at the
// end of a transaction, or at once. SQLite has a setting for it.
func (t *tx) foreignKeys(ctx context.Context, when string) ([]statement, error) {
	type named struct{ table, name string }
	list, err := collect[named](t.query(ctx, postgresForeign))(func(r *rows) (n named, err error) { return n, r.Scan(&n.table, &n.name) })
	if err != nil {
		return nil, err
	}
	var all []statement
	for _, n := range list {
		if !identForm.MatchString(n.table) || !identForm.MatchString(n.name) {
			return nil, fmt.Errorf("the reference %s of table %s has a name that a restore does not know", n.name, n.table)
		}
		all = append(all, statement("ALTER TABLE "+n.table+" ALTER CONSTRAINT "+n.name+" "+when))
	}
	return all, nil
}
