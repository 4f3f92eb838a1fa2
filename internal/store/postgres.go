package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// PostgreSQL's error codes that this package acts on (appendix A of its manual).
const (
	pgUniqueViolation      = "23505"
	pgForeignKeyViolation  = "23503"
	pgSerializationFailure = "40001"
	pgDeadlockDetected     = "40P01"
	pgReadOnly             = "25006"
	pgDiskFull             = "53100"
	pgOutOfMemory          = "53200"
)

// postgresVacuum removes dead rows of the tables that hold wrapped keys.
const postgresVacuum statement = `VACUUM vault_daily_keys, vault_keyring_keys, vault_person_keys`

func openPostgres(ctx context.Context, dsn string) (*DB, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		// pgx hides the password in its error, but not every mistyped address
		// has it where pgx looks for it.
		return nil, fmt.Errorf("the store's address is not a PostgreSQL address: %w", gatehouse.ErrInvalid)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = 10 * time.Second
	}
	// A server that acknowledges before its own log is on disk would break the
	// promise that acknowledged means durable, so a default set there is
	// overruled here.
	config.RuntimeParams["synchronous_commit"] = "on"
	// What we ask takes milliseconds, and to compile a plan takes dozens of them. The
	// planner compiles by what it thinks that a plan costs, and for a table without
	// statistics, as every young one is, it thinks of thousands of rows.
	config.RuntimeParams["jit"] = "off"
	config.RuntimeParams["application_name"] = "gatehouse"
	config.RuntimeParams["timezone"] = "UTC"
	pool := stdlib.OpenDB(*config)
	conns := max(8, 2*runtime.GOMAXPROCS(0))
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	d := &DB{
		engine: &engine{
			name: "postgres", kind: pgKind, retryable: pgRetryable, byRows: sql.LevelReadCommitted,
			snapshot: &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead},
			compact:  []statement{postgresVacuum},
		},
		write: pool, read: pool, prepareWrite: newPrepared(pool),
	}
	d.prepareRead = d.prepareWrite
	if err := pool.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database: %w", d.wrap(err)), pool.Close())
	}
	return d, nil
}

func pgCode(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func pgRetryable(err error) bool {
	switch pgCode(err) {
	// Also when the table of what serialisable transactions have read is full, which
	// passes when those that run at the same time have ended.
	case pgSerializationFailure, pgDeadlockDetected, pgOutOfMemory:
		return true
	}
	return false
}

func pgKind(err error) error {
	code := pgCode(err)
	switch code {
	case pgUniqueViolation, pgForeignKeyViolation:
		return gatehouse.ErrConflict
	case pgDiskFull:
		return audit.ErrFull
	case pgSerializationFailure, pgDeadlockDetected, pgReadOnly:
		return gatehouse.ErrUnavailable
	case "":
		var network net.Error
		var dial *pgconn.ConnectError
		if errors.As(err, &dial) || errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || pgconn.SafeToRetry(err) {
			return gatehouse.ErrUnavailable
		}
		return nil
	}
	switch code[:2] {
	// Connection lost, out of resources, operator intervention, system error.
	case "08", "53", "57", "58", "XX":
		return gatehouse.ErrUnavailable
	}
	return nil
}
