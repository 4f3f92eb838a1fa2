package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// pgConnector joins pgx to database/sql, so that both engines are used in one
// way. pgx's own adapter would do, but brings its connection pool as well;
// here database/sql is the pool.
type pgConnector struct{ config *pgx.ConnConfig }

func (c pgConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, c.config.Copy())
	if err != nil {
		return nil, err
	}
	return &pgConn{conn: conn, born: context.WithoutCancel(ctx), used: time.Now()}, nil
}

func (c pgConnector) Driver() driver.Driver { return pgDriver{} }

// pgDriver exists because a connector must name its driver.
type pgDriver struct{}

func (pgDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("connections are made by the connector")
}

// pgConn is one connection; database/sql lets one goroutine use it at a time.
type pgConn struct {
	conn *pgx.Conn
	// born carries the values of the context it was made with, for Close,
	// which is given none.
	born context.Context
	used time.Time
}

var (
	_ driver.QueryerContext   = (*pgConn)(nil)
	_ driver.ExecerContext    = (*pgConn)(nil)
	_ driver.ConnBeginTx      = (*pgConn)(nil)
	_ driver.SessionResetter  = (*pgConn)(nil)
	_ driver.Validator        = (*pgConn)(nil)
	_ driver.Pinger           = (*pgConn)(nil)
	_ driver.StmtQueryContext = (*pgStmt)(nil)
)

// idleCheck is how long a connection may lie idle before it is asked whether
// the server is still there.
const idleCheck = time.Second

// ResetSession is called before a connection is used again.
func (c *pgConn) ResetSession(ctx context.Context) error {
	idle := time.Since(c.used) > idleCheck
	c.used = time.Now()
	if c.conn.IsClosed() || idle && c.conn.Ping(ctx) != nil {
		return driver.ErrBadConn
	}
	return nil
}

func (c *pgConn) IsValid() bool                  { return !c.conn.IsClosed() }
func (c *pgConn) Ping(ctx context.Context) error { return c.conn.Ping(ctx) }

// Close says goodbye to the server, for a bounded time.
func (c *pgConn) Close() error {
	ctx, cancel := context.WithTimeout(c.born, 5*time.Second)
	defer cancel()
	return c.conn.Close(ctx)
}

// retry tells database/sql to take another connection when nothing was sent
// on this one.
func retry(err error) error {
	if err != nil && pgconn.SafeToRetry(err) {
		return driver.ErrBadConn
	}
	return err
}

func pgArgs(named []driver.NamedValue) []any {
	args := make([]any, len(named))
	for i, n := range named {
		args[i] = n.Value
	}
	return args
}

func (c *pgConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	tag, err := c.conn.Exec(ctx, query, pgArgs(args)...)
	if err != nil {
		return nil, retry(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (c *pgConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r, err := c.conn.Query(ctx, query, pgArgs(args)...)
	if err != nil {
		return nil, retry(err)
	}
	// The first row is read now, so that an error of the statement is an error
	// of the query and not of the iteration.
	rows := &pgRows{rows: r, more: r.Next()}
	if err := r.Err(); err != nil {
		return nil, retry(err)
	}
	return rows, nil
}

func (c *pgConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	options := pgx.TxOptions{}
	switch sql.IsolationLevel(o.Isolation) {
	case sql.LevelDefault, sql.LevelReadCommitted:
	case sql.LevelRepeatableRead:
		options.IsoLevel = pgx.RepeatableRead
	case sql.LevelSerializable:
		options.IsoLevel = pgx.Serializable
	default:
		return nil, fmt.Errorf("isolation level %v is not used here", sql.IsolationLevel(o.Isolation))
	}
	if o.ReadOnly {
		options.AccessMode = pgx.ReadOnly
	}
	t, err := c.conn.BeginTx(ctx, options)
	if err != nil {
		return nil, retry(err)
	}
	return pgTx{ctx, t}, nil
}

// Begin is the form without a context, which database/sql does not use when
// BeginTx is there.
func (c *pgConn) Begin() (driver.Tx, error) { return nil, errors.New("a transaction needs a context") }

// pgTx holds the context of the transaction, as database/sql's interface has
// no other way to hand it to Commit.
type pgTx struct {
	ctx context.Context
	tx  pgx.Tx
}

func (t pgTx) Commit() error   { return t.tx.Commit(t.ctx) }
func (t pgTx) Rollback() error { return t.tx.Rollback(t.ctx) }

// Prepare is the form without a context, see PrepareContext.
func (c *pgConn) Prepare(query string) (driver.Stmt, error) { return &pgStmt{c, query}, nil }

// pgStmt is a statement's text: pgx itself prepares and caches what is run.
type pgStmt struct {
	conn  *pgConn
	query string
}

func (s *pgStmt) Close() error  { return nil }
func (s *pgStmt) NumInput() int { return -1 }

func (s *pgStmt) Exec([]driver.Value) (driver.Result, error) {
	return nil, errors.New("a statement needs a context")
}

func (s *pgStmt) Query([]driver.Value) (driver.Rows, error) {
	return nil, errors.New("a statement needs a context")
}

func (s *pgStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s *pgStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// pgRows reads one row ahead; more says that the current row is not yet given out.
type pgRows struct {
	rows pgx.Rows
	more bool
}

func (r *pgRows) Columns() []string {
	fields := r.rows.FieldDescriptions()
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func (r *pgRows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

func (r *pgRows) Next(dest []driver.Value) error {
	if !r.more {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	values, err := r.rows.Values()
	if err != nil {
		return err
	}
	for i, v := range values {
		if dest[i], err = pgValue(v); err != nil {
			return err
		}
	}
	r.more = r.rows.Next()
	return nil
}

// pgValue turns what pgx decodes into one of the types of database/sql.
func pgValue(v any) (driver.Value, error) {
	if valuer, ok := v.(driver.Valuer); ok {
		return valuer.Value()
	}
	return driver.DefaultParameterConverter.ConvertValue(v)
}
