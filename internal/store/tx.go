package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"time"

	"gatehouse"
)

// A statement is SQL text fixed at compile time. A constant converts to it
// silently; a string put together at run time does not compile, so that no
// value can become part of a statement.
type statement string

// A tx is one transaction, seen by one goroutine.
type tx struct {
	db  *DB
	sql *sql.Tx
	// from is where compiled statements come from; nil compiles anew.
	from *prepared
	// used are those of this transaction, which may not outlive it, and new
	// those among them that from did not know.
	used map[statement]*sql.Stmt
	new  []statement
}

// A transaction that lost against another is run again until it has lost maxTries
// times and for as long as patience. Where many change the same rows, more than half
// of the tries are lost: ten are too few, and a count that would do takes no time at
// all where they are lost at once.
const (
	maxTries = 10
	patience = 5 * time.Second
)

// tx runs f in a transaction and commits when f returns nil. Isolation is
// serialisable on both engines. A transaction that failed because another ran
// at the same time is run again from the start, so f must do nothing that
// cannot be repeated. A panic rolls back. Calling tx inside f is refused: on
// SQLite it could only wait for itself.
//
// Rows that a process remembers (see cache) are forgotten. logTx does not.
func (d *DB) tx(ctx context.Context, f func(*tx) error) error {
	return d.txOn(ctx, nil, f)
}

// txOn is tx for changes that concern only these of the rows that a process
// remembers; nil means that it may be any.
func (d *DB) txOn(ctx context.Context, concerned []cacheKey, f func(*tx) error) error {
	if d.cache == nil {
		return d.logTx(ctx, f)
	}
	var n int64
	err := d.logTx(ctx, func(t *tx) error {
		if err := f(t); err != nil {
			return err
		}
		return t.queryRow(ctx, countChange).Scan(&n)
	})
	if err != nil || concerned == nil {
		d.cache.forget() // also after an error: the transaction may have been stored
	} else {
		d.cache.drop(n, concerned)
	}
	return err
}

// logTx is tx for changes to rows that no process remembers, such as the log's.
func (d *DB) logTx(ctx context.Context, f func(*tx) error) error {
	return d.again(ctx, sql.LevelSerializable, f)
}

// rowTx is logTx for a transaction that is in order with others by the rows that it
// locks: on PostgreSQL each of its statements sees what is committed, and a row that
// another transaction has changed is waited for and looked at anew, where
// serialisable isolation has the transaction fail.
func (d *DB) rowTx(ctx context.Context, f func(*tx) error) error {
	return d.again(ctx, d.engine.byRows, f)
}

// keyTx is rowTx for rows that a process remembers. Only a process on SQLite
// remembers any, and there every transaction is serialisable.
func (d *DB) keyTx(ctx context.Context, f func(*tx) error) error {
	if d.cache == nil {
		return d.rowTx(ctx, f)
	}
	return d.tx(ctx, f)
}

// again runs a transaction until it does not fail because of another one.
func (d *DB) again(ctx context.Context, level sql.IsolationLevel, f func(*tx) error) error {
	leave, err := d.open.enter()
	if err != nil {
		return err
	}
	defer leave()
	begun := time.Now()
	for try := 1; ; try++ {
		err := d.once(ctx, level, f)
		if err == nil || !d.engine.retryable(err) || try >= maxTries && time.Since(begun) > patience {
			return err
		}
		pause := time.Duration(rand.Int64N(int64(time.Millisecond) << min(try, 7)))
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
	}
}

func (d *DB) once(ctx context.Context, level sql.IsolationLevel, f func(*tx) error) (err error) {
	t, err := d.write.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return d.wrap(err)
	}
	// Rollback after Commit does nothing; it is reached with an open
	// transaction when f fails or panics.
	defer func() { _ = t.Rollback() }()
	own := &tx{db: d, sql: t, from: d.prepareWrite}
	if err := f(own); err != nil {
		return err
	}
	if err := t.Commit(); err != nil {
		return d.wrap(err)
	}
	for _, s := range own.new {
		// Only for the next transaction's speed: what fails here is tried there.
		_, _ = d.prepareWrite.get(ctx, s)
	}
	return nil
}

// snapshot runs f in a read-only transaction that sees one moment.
func (d *DB) snapshot(ctx context.Context, f func(*tx) error) error {
	t, err := d.read.BeginTx(ctx, d.engine.snapshot)
	if err != nil {
		return d.wrap(err)
	}
	defer func() { _ = t.Rollback() }()
	return f(&tx{db: d, sql: t})
}

// exec runs a statement and returns how many rows it changed.
func (d *DB) exec(ctx context.Context, s statement, args ...any) (n int64, err error) {
	if d.cache == nil {
		return d.logExec(ctx, s, args...)
	}
	err = d.tx(ctx, func(t *tx) error {
		n, err = t.exec(ctx, s, args...)
		return err
	})
	return n, err
}

// logExec is exec for changes to rows that no process remembers.
func (d *DB) logExec(ctx context.Context, s statement, args ...any) (int64, error) {
	st, err := d.prepareWrite.get(ctx, s)
	if err != nil {
		return 0, d.wrap(err)
	}
	return d.affected(st.ExecContext(ctx, args...))
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, s statement, args ...any) (int64, error) {
	st, err := t.stmt(ctx, s)
	if err != nil {
		return 0, t.db.wrap(err)
	}
	return t.db.affected(st.ExecContext(ctx, args...))
}

// stmt returns the compiled form of s for this transaction's connection. It is
// closed with the transaction.
func (t *tx) stmt(ctx context.Context, s statement) (*sql.Stmt, error) {
	if st := t.used[s]; st != nil {
		return st, nil
	}
	var st *sql.Stmt
	if shared := t.from.known(s); shared != nil {
		st = t.sql.StmtContext(ctx, shared)
	} else {
		// Compiled on the transaction's own connection: on SQLite it is the pool's
		// only one, so asking the pool here would wait for ourselves.
		own, err := t.sql.PrepareContext(ctx, string(s))
		if err != nil {
			return nil, err
		}
		st = own
		t.new = append(t.new, s)
	}
	if t.used == nil {
		t.used = make(map[statement]*sql.Stmt)
	}
	t.used[s] = st
	return st, nil
}

func (d *DB) affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, d.wrap(err)
	}
	n, err := r.RowsAffected()
	return n, d.wrap(err)
}

// query runs a query on the read pool. The caller closes the rows, or uses
// collect.
func (d *DB) query(ctx context.Context, s statement, args ...any) (*rows, error) {
	st, err := d.prepareRead.get(ctx, s)
	if err != nil {
		return &rows{nil, d}, d.wrap(err)
	}
	r, err := st.QueryContext(ctx, args...)
	return &rows{r, d}, d.wrap(err)
}

// query runs a query inside the transaction.
func (t *tx) query(ctx context.Context, s statement, args ...any) (*rows, error) {
	st, err := t.stmt(ctx, s)
	if err != nil {
		return &rows{nil, t.db}, t.db.wrap(err)
	}
	r, err := st.QueryContext(ctx, args...)
	return &rows{r, t.db}, t.db.wrap(err)
}

// queryRow runs a query on the read pool for one row; Scan says ErrNotFound
// when there is none.
func (d *DB) queryRow(ctx context.Context, s statement, args ...any) *row {
	st, err := d.prepareRead.get(ctx, s)
	if err != nil {
		return &row{err: err, db: d}
	}
	return &row{row: st.QueryRowContext(ctx, args...), db: d}
}

// queryRow runs a query inside the transaction for one row; Scan says
// ErrNotFound when there is none.
func (t *tx) queryRow(ctx context.Context, s statement, args ...any) *row {
	st, err := t.stmt(ctx, s)
	if err != nil {
		return &row{err: err, db: t.db}
	}
	return &row{row: st.QueryRowContext(ctx, args...), db: t.db}
}

// row is sql.Row with errors as kinds.
type row struct {
	row *sql.Row
	err error // why there is no row
	db  *DB
}

func (r *row) Scan(dest ...any) error {
	if r.err != nil {
		return r.db.wrap(r.err)
	}
	return r.db.wrap(r.row.Scan(dest...))
}

// rows is sql.Rows with errors as kinds.
type rows struct {
	*sql.Rows
	db *DB
}

func (r *rows) Scan(dest ...any) error { return r.db.wrap(r.Rows.Scan(dest...)) }
func (r *rows) Err() error             { return r.db.wrap(r.Rows.Err()) }

// collect reads all rows and closes them; it takes what query returns.
func collect[T any](r *rows, err error) func(scan func(*rows) (T, error)) ([]T, error) {
	return func(scan func(*rows) (T, error)) ([]T, error) {
		if err != nil {
			return nil, err
		}
		defer func() { _ = r.Close() }()
		var all []T
		for r.Next() {
			v, err := scan(r)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, r.Err()
	}
}

// wrap attaches the kind of failure to a driver's error.
func (d *DB) wrap(err error) error {
	if err == nil {
		return nil
	}
	if kind := d.kindOf(err); kind != nil && !errors.Is(err, kind) {
		return fmt.Errorf("%w: %w", kind, err)
	}
	return err
}

// kindOf maps an error of the driver to a kind of failure by its code, or to
// nil for what can only be a mistake of ours (bad SQL, a failed CHECK).
func (d *DB) kindOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return gatehouse.ErrNotFound
	case errors.Is(err, sql.ErrConnDone), errors.Is(err, sql.ErrTxDone):
		return gatehouse.ErrUnavailable
	}
	return d.engine.kind(err)
}

// nesting refuses a transaction inside a transaction. The check is by
// goroutine, read from the stack header: the closure form leaves no other
// place to see it, a marker in the context would be lost as soon as the inner
// call uses the outer context (which is the usual mistake), and without the
// check SQLite's single writer waits for itself until the request times out.
type nesting struct{ inside sync.Map }

func (n *nesting) enter() (leave func(), err error) {
	id := goroutine()
	if _, twice := n.inside.LoadOrStore(id, struct{}{}); twice {
		return nil, errors.New("a transaction was begun inside a transaction")
	}
	return func() { n.inside.Delete(id) }, nil
}

// goroutine returns the number in "goroutine 17 [running]:".
func goroutine() uint64 {
	var buf [64]byte
	fields := bytes.Fields(buf[:runtime.Stack(buf[:], false)])
	id, err := strconv.ParseUint(string(fields[1]), 10, 64)
	if err != nil {
		panic("the runtime's stack header has changed its form")
	}
	return id
}
