package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gatehouse"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	showDurability statement = `SHOW synchronous_commit`
	// A process identifier may come again, with another beginning.
	selectBackend statement = `SELECT pid || ' ' || backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()`
	// pgProtocolViolation is what PgBouncer says of a parameter that it does not know.
	pgProtocolViolation = "08P01"
)

var (
	errPoolerParameters = fmt.Errorf("a pooler before PostgreSQL refuses what Gatehouse sets when it connects. With PgBouncer: pool_mode = session, "+
		"ignore_startup_parameters = synchronous_commit,jit, and at PostgreSQL: ALTER ROLE … SET synchronous_commit = on, ALTER ROLE … SET jit = off: %w", gatehouse.ErrInvalid)
	errPoolerDurability = fmt.Errorf("PostgreSQL acknowledges before its own log is on disk (synchronous_commit = off), and a pooler keeps Gatehouse from changing that for itself. "+
		"At PostgreSQL: ALTER ROLE … SET synchronous_commit = on; then let the pooler connect anew: %w", gatehouse.ErrInvalid)
	errPoolerMode = fmt.Errorf("a pooler before PostgreSQL gives each transaction another session, and Gatehouse needs its own (prepared statements, the lock of a migration). "+
		"With PgBouncer: pool_mode = session for this database: %w", gatehouse.ErrInvalid)
)

// throughPooler looks at what openPostgres returned: without a pooler there is nothing to
// find. One that gives transactions a session is found out only while it has one to spare
// that this process has just used, which at a start is as good as always.
func throughPooler(ctx context.Context, d *DB, err error) (*DB, error) {
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgProtocolViolation && strings.Contains(refused.Message, "startup parameter") {
		return nil, errors.Join(errPoolerParameters, err)
	}
	if err != nil {
		return nil, err
	}
	if err := d.checkPooler(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *DB) checkPooler(ctx context.Context) (err error) {
	var conns [2]*sql.Conn
	for i := range conns {
		if conns[i], err = d.write.Conn(ctx); err != nil {
			return fmt.Errorf("opening the database: %w", d.wrap(err))
		}
		defer func() { err = errors.Join(err, conns[i].Close()) }()
	}
	// In one message each, which every pooler lets through.
	ask := func(c *sql.Conn, s statement) (answer string, err error) {
		if err := c.QueryRowContext(ctx, string(s), pgx.QueryExecModeSimpleProtocol).Scan(&answer); err != nil {
			return "", fmt.Errorf("asking the database for its settings: %w", d.wrap(err))
		}
		return answer, nil
	}
	durable, err := ask(conns[0], showDurability)
	if err != nil {
		return err
	}
	if durable == "off" {
		return errPoolerDurability
	}
	var sessions [len(conns)]string
	for i, c := range conns {
		if sessions[i], err = ask(c, selectBackend); err != nil {
			return err
		}
	}
	if sessions[0] == sessions[1] {
		return errPoolerMode
	}
	return nil
}
