package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"gatehouse"
	"gatehouse/internal/atrest"
)

// The statements that read whole tables are made by the databases themselves out
// of their catalogues, with their own quoting: this program puts none together.
const (
	sqliteReads statement = `
		SELECT name, 'SELECT * FROM "' || replace(name, '"', '""') || '"'
		FROM sqlite_schema WHERE type = 'table' ORDER BY name`
	pgReads statement = `
		SELECT n.nspname || '.' || c.relname, format('SELECT * FROM %I.%I', n.nspname, c.relname)
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
			AND n.nspname NOT LIKE 'pg_toast%' AND n.nspname NOT LIKE 'pg_temp%'
		ORDER BY 1`

	pgDirectory statement = `SELECT current_setting('data_directory')`
	pgWire      statement = `
		SELECT coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', TRUE),
			coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl), '')`
	pgCheckpoint statement = `CHECKPOINT`
)

// AtRest is the atrest.Database of a database.
type AtRest struct{ db *DB }

var _ atrest.Database = AtRest{}

// AtRest returns the database as a search for plain secrets sees it.
func (d *DB) AtRest() AtRest { return AtRest{d} }

// EachTable implements atrest.Database. The walk is not one snapshot: a table of
// any size must not hold back the engine's own cleaning.
func (s AtRest) EachTable(ctx context.Context, visit func(table string, read func(w io.Writer) error) error) error {
	type table struct{ name, read string }
	list := sqliteReads
	if s.db.engine.name == "postgres" {
		list = pgReads
	}
	tables, err := collect[table](s.db.query(ctx, list))(func(r *rows) (table, error) {
		var t table
		err := r.Scan(&t.name, &t.read)
		return t, err
	})
	if err != nil {
		return fmt.Errorf("listing the tables: %w", err)
	}
	for _, t := range tables {
		err := visit(t.name, func(w io.Writer) error { return s.rows(ctx, t.read, w) })
		if err != nil {
			return err
		}
	}
	return nil
}

// rows writes every value of every row. The text comes from the catalogue.
func (s AtRest) rows(ctx context.Context, text string, w io.Writer) error {
	r, err := s.db.read.QueryContext(ctx, text)
	if err != nil {
		return s.db.wrap(err)
	}
	defer func() { _ = r.Close() }()
	columns, err := r.Columns()
	if err != nil {
		return s.db.wrap(err)
	}
	values := make([]sql.RawBytes, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	for r.Next() {
		if err := r.Scan(into...); err != nil {
			return s.db.wrap(err)
		}
		for _, v := range values {
			if _, err := w.Write(v); err != nil {
				return err
			}
			if _, err := w.Write([]byte{0}); err != nil {
				return err
			}
		}
	}
	return s.db.wrap(r.Err())
}

// Server implements atrest.Database.
func (s AtRest) Server(ctx context.Context) (atrest.Server, error) {
	server := atrest.Server{Engine: s.db.engine.name}
	if server.Engine == "sqlite" {
		server.Local = true
		return server, nil
	}
	if err := s.db.queryRow(ctx, pgWire).Scan(&server.Local, &server.TLS); err != nil {
		return server, fmt.Errorf("asking how the database is reached: %w", err)
	}
	if err := s.db.queryRow(ctx, pgDirectory).Scan(&server.Directory); err != nil {
		if errors.Is(err, gatehouse.ErrUnavailable) {
			return server, err
		}
		server.Why = "the server does not tell this user where its files are (that needs the role pg_read_all_settings)"
	}
	return server, nil
}

// Settle implements atrest.Database. SQLite writes into its files at each commit.
func (s AtRest) Settle(ctx context.Context) error {
	if s.db.engine.name == "sqlite" {
		return nil
	}
	if _, err := s.db.write.ExecContext(ctx, string(pgCheckpoint)); err != nil {
		return fmt.Errorf("asking for a checkpoint: %w", s.db.wrap(err))
	}
	return nil
}
