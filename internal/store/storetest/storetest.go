// Package storetest gives tests of the store, and of whatever stands on it, a
// fresh database on each engine: SQLite in the test's directory, and a real
// PostgreSQL that it starts itself, once for each test binary.
//
// It promises that both are always used: a machine without PostgreSQL fails the
// test with the command that installs it. Only tests may import it.
package storetest

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/store"

	// The drivers' names are "sqlite" (through package store) and this one's.
	"github.com/jackc/pgx/v5"
)

// Each runs f as a subtest on a fresh database of each engine, made by
// store.Create.
func Each(t *testing.T, f func(t *testing.T, dsn string)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// SQLite returns the address of a fresh SQLite database.
func SQLite(t testing.TB) string {
	t.Helper()
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	if err := store.Create(t.Context(), dsn); err != nil {
		t.Fatalf("creating a SQLite database: %v", err)
	}
	return dsn
}

// Postgres returns the address of a fresh PostgreSQL database.
func Postgres(t testing.TB) string {
	t.Helper()
	dsn := EmptyPostgres(t)
	if err := store.Create(t.Context(), dsn); err != nil {
		t.Fatalf("creating the schema: %v", err)
	}
	return dsn
}

var databases atomic.Int64

// EmptyPostgres returns the address of a PostgreSQL database without a schema.
func EmptyPostgres(t testing.TB) string {
	t.Helper()
	s := server(t)
	name := fmt.Sprintf("test%d", databases.Add(1))
	run := func(ctx context.Context, statement string) error {
		c, err := pgx.Connect(ctx, s.dsn("postgres"))
		if err != nil {
			return err
		}
		_, err = c.Exec(ctx, statement)
		if closing := c.Close(ctx); err == nil {
			err = closing
		}
		return err
	}
	if err := run(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatalf("creating a database: %v", err)
	}
	t.Cleanup(func() {
		if err := run(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("dropping the test's database: %v", err)
		}
	})
	return s.dsn(name)
}

// Open opens the database and closes it when the test ends.
func Open(t testing.TB, dsn string) *store.DB {
	t.Helper()
	d, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return d
}

// Raw is a connection that goes around package store, as an intruder with the
// disk would. Statements use $1 placeholders on both engines.
type Raw struct {
	t   testing.TB
	sql *sql.DB
	pg  *pgx.Conn
}

// OpenRaw connects to the database of dsn directly.
func OpenRaw(t testing.TB, dsn string) *Raw {
	t.Helper()
	r := &Raw{t: t}
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		db, err := sql.Open("sqlite", "file:"+path+"?mode=rw&_busy_timeout=10000&_synchronous=OFF")
		if err != nil {
			t.Fatalf("connecting directly: %v", err)
		}
		r.sql = db
		t.Cleanup(func() { _ = db.Close() })
		return r
	}
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatalf("connecting directly: %v", err)
	}
	r.pg = c
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return r
}

// Exec runs a statement, as another process of Gatehouse would, and returns how
// many rows it changed. On SQLite that means to count the change and to give
// other processes the two milliseconds in which they believe what they remember.
func (r *Raw) Exec(statement string, args ...any) int64 {
	r.t.Helper()
	if r.pg != nil {
		tag, err := r.pg.Exec(r.t.Context(), statement, args...)
		if err != nil {
			r.t.Fatalf("%s: %v", statement, err)
		}
		return tag.RowsAffected()
	}
	defer func() {
		// A test may have taken the table away.
		_, _ = r.sql.ExecContext(r.t.Context(), "UPDATE changes SET n = n + 1")
		time.Sleep(5 * time.Millisecond)
	}()
	return r.ExecUncounted(statement, args...)
}

// ExecUncounted is Exec as somebody with a database tool would do it: nothing
// tells a running process of the change.
func (r *Raw) ExecUncounted(statement string, args ...any) int64 {
	r.t.Helper()
	if r.pg != nil {
		return r.Exec(statement, args...)
	}
	result, err := r.sql.ExecContext(r.t.Context(), statement, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	return n
}

// Leaves returns the leaves of all logs as text, oldest first, if they contain all the
// words. What the log has not written yet is not among them: flush it first.
func (r *Raw) Leaves(words ...string) (leaves []string) {
	r.t.Helper()
	_, rows := r.Query("SELECT leaf FROM audit_entries ORDER BY seq")
	for _, row := range rows {
		leaf := fmt.Sprintf("%s", row[0])
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(leaf, word) }) {
			leaves = append(leaves, leaf)
		}
	}
	return leaves
}

// Query returns all rows of a query, each value as the driver gives it.
func (r *Raw) Query(statement string, args ...any) (columns []string, all [][]any) {
	r.t.Helper()
	if r.pg != nil {
		rows, err := r.pg.Query(r.t.Context(), statement, args...)
		if err != nil {
			r.t.Fatalf("%s: %v", statement, err)
		}
		defer rows.Close()
		for _, f := range rows.FieldDescriptions() {
			columns = append(columns, f.Name)
		}
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				r.t.Fatalf("%s: %v", statement, err)
			}
			all = append(all, values)
		}
		if err := rows.Err(); err != nil {
			r.t.Fatalf("%s: %v", statement, err)
		}
		return columns, all
	}
	rows, err := r.sql.QueryContext(r.t.Context(), statement, args...)
	if err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	defer func() { _ = rows.Close() }()
	if columns, err = rows.Columns(); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			r.t.Fatalf("%s: %v", statement, err)
		}
		all = append(all, values)
	}
	if err := rows.Err(); err != nil {
		r.t.Fatalf("%s: %v", statement, err)
	}
	return columns, all
}
