package store

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"gatehouse"
)

// LatestSchema returns the newest version that this program knows.
func LatestSchema(t *testing.T, dsn string) int64 {
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	_, latest, err := d.schema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return latest
}

// TestSettingsReachEveryConnection holds two connections of each pool at once,
// because a setting made by a statement would reach only the first.
func TestSettingsReachEveryConnection(t *testing.T) {
	d := openTemp(t)
	first, err := d.read.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = first.Close() }()
	second, err := d.read.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = second.Close() }()
	writer, err := d.write.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.Close() }()
	for _, c := range []struct{ pragma, read, write string }{
		{"foreign_keys", "1", "1"},
		{"journal_mode", "wal", "wal"},
		{"synchronous", "2", "2"},
		{"busy_timeout", "10000", "10000"},
		{"query_only", "1", "0"},
		{"secure_delete", "0", "1"},
	} {
		var got [3]string
		for i, conn := range []*sql.Conn{first, second, writer} {
			if err := conn.QueryRowContext(t.Context(), "PRAGMA "+c.pragma).Scan(&got[i]); err != nil {
				t.Fatal(err)
			}
		}
		if want := [3]string{c.read, c.read, c.write}; got != want {
			t.Errorf("%s of two readers and the writer = %v, want %v", c.pragma, got, want)
		}
	}
}

const makeThings statement = `CREATE TABLE things (id TEXT NOT NULL PRIMARY KEY, size BIGINT NOT NULL CHECK (size < 100), owner TEXT REFERENCES things (id))`
const insertThing statement = `INSERT INTO things (id, size, owner) VALUES ($1, $2, $3)`
const countThings statement = `SELECT count(*) FROM things`

func eachThings(t *testing.T, f func(t *testing.T, d *DB)) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			d := open(t)
			if _, err := d.exec(t.Context(), makeThings); err != nil {
				t.Fatal(err)
			}
			f(t, d)
		})
	}
}

func TestKindsOfDriverErrors(t *testing.T) {
	eachThings(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		if n, err := d.exec(ctx, insertThing, "a", 1, nil); n != 1 || err != nil {
			t.Fatalf("inserting: %d rows, %v", n, err)
		}
		for name, c := range map[string]struct {
			args []any
			kind error
		}{
			"the same key":         {[]any{"a", 2, nil}, gatehouse.ErrConflict},
			"a missing reference":  {[]any{"b", 2, "nobody"}, gatehouse.ErrConflict},
			"a failed check":       {[]any{"b", 200, nil}, nil},
			"nothing where needed": {[]any{"b", nil, nil}, nil},
		} {
			_, err := d.exec(ctx, insertThing, c.args...)
			if err == nil || !errors.Is(gatehouse.Kind(err), c.kind) {
				t.Errorf("%s: %v, want kind %v", name, err, c.kind)
			}
		}
		var id string
		if err := d.queryRow(ctx, `SELECT id FROM things WHERE id = $1`, "z").Scan(&id); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a missing row: %v, want not found", err)
		}
	})
}

func TestTransactions(t *testing.T) {
	eachThings(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		count := func() (n int) {
			t.Helper()
			if err := d.queryRow(ctx, countThings).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		stop := errors.New("stop")
		err := d.tx(ctx, func(tx *tx) error {
			if _, err := tx.exec(ctx, insertThing, "a", 1, nil); err != nil {
				return err
			}
			return stop
		})
		if !errors.Is(err, stop) || count() != 0 {
			t.Errorf("a failed transaction: %v and %d rows, want its error and none", err, count())
		}
		func() {
			defer func() { _ = recover() }()
			_ = d.tx(ctx, func(tx *tx) error {
				if _, err := tx.exec(ctx, insertThing, "a", 1, nil); err != nil {
					t.Error(err)
				}
				panic("in the middle")
			})
		}()
		if count() != 0 {
			t.Error("a panic left rows behind")
		}
		err = d.tx(ctx, func(tx *tx) error { return d.tx(ctx, nil) })
		if err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("a nested transaction: %v, want an error without a kind (a bug)", err)
		}
		err = d.tx(ctx, func(tx *tx) error {
			_, err := tx.exec(ctx, insertThing, "a", 1, nil)
			return err
		})
		if err != nil || count() != 1 {
			t.Errorf("after all that: %v and %d rows, want one", err, count())
		}
	})
}

// Two transactions read the same sum and each adds to it: if both commit on
// what they read, one addition is lost.
func TestConcurrentTransactionsAreSerial(t *testing.T) {
	eachThings(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		const workers, rounds = 4, 5
		errs := make(chan error, workers)
		for w := range workers {
			go func() {
				for r := range rounds {
					if err := d.tx(ctx, func(tx *tx) error {
						var n int
						if err := tx.queryRow(ctx, countThings).Scan(&n); err != nil {
							return err
						}
						_, err := tx.exec(ctx, insertThing, fmt.Sprintf("%d-%d", w, r), n, nil)
						return err
					}); err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
		}
		for range workers {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		var distinct int
		if err := d.queryRow(ctx, `SELECT count(DISTINCT size) FROM things`).Scan(&distinct); err != nil {
			t.Fatal(err)
		}
		if distinct != workers*rounds {
			t.Errorf("%d distinct counts were seen by %d transactions", distinct, workers*rounds)
		}
	})
}

// A transaction that loses goes on for as long as patience says: here it loses more
// often than maxTries, to somebody who changes what it has read each time.
func TestLosingTransactions(t *testing.T) {
	d := openTempPostgres(t)
	ctx := t.Context()
	for _, s := range []statement{makeThings, `INSERT INTO things (id, size) VALUES ('a', 0)`} {
		if _, err := d.exec(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	const grow = `UPDATE things SET size = size + 1 WHERE id = 'a'`
	tries := 0
	err := d.tx(ctx, func(tx *tx) error {
		tries++
		var n int
		if err := tx.queryRow(ctx, countThings).Scan(&n); err != nil {
			return err
		}
		if tries <= maxTries+3 {
			if _, err := d.exec(ctx, grow); err != nil {
				return err
			}
		}
		_, err := tx.exec(ctx, grow)
		return err
	})
	if err != nil || tries != maxTries+4 {
		t.Errorf("after %d tries: %v, want none after %d", tries, err, maxTries+4)
	}

	for code, again := range map[statement]bool{"53200": true, "40P01": true, "53100": false, "23505": false} {
		tries := 0
		err := d.tx(ctx, func(tx *tx) error {
			if tries++; tries > 1 {
				return nil
			}
			_, err := tx.exec(ctx, `DO $$ BEGIN RAISE SQLSTATE '`+code+`'; END $$`)
			return err
		})
		if (err == nil) != again || (tries == 2) != again {
			t.Errorf("error %s of the server: %v after %d tries", code, err, tries)
		}
	}
}

func TestOldSQLiteIsRefused(t *testing.T) {
	for version, want := range map[string]bool{
		"3.51.2": false, "3.51.3": true, "3.50.9": false, "3.53.0": true, "4.0.0": true, "2.99.99": false, "": false, "3": false,
	} {
		if got := recentSQLite(version); got != want {
			t.Errorf("recentSQLite(%q) = %v, want %v", version, got, want)
		}
	}
}

func openTemp(t *testing.T) *DB {
	t.Helper()
	return openNew(t, "sqlite:"+filepath.Join(t.TempDir(), "a b?c#d.db"))
}

func openNew(t *testing.T, dsn string) *DB {
	t.Helper()
	if err := Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
