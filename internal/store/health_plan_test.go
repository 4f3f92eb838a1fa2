package store

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	manyConnections statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
		INSERT INTO connections (id, app, platform, kind, service, person, user_hash, subject_hash, parent, external_hash, status, reason,
			scopes, declined, purposes, access_expires, refresh_expires, renew_at, lease_until, redeemed, revoke_outstanding, created,
			updated, version, check_at, told)
		SELECT 'con' || i, 'pages', 'facebook', 'user', 's', 'p' || i, 'u' || i, 's' || i, '', '', 'healthy', '', '[]', '[]', '[]', 0, 0,
			1000000000 + i, 0, 1, 0, i, i, 1, 1000000000 + i, 'healthy/' FROM n`
	analyze statement = `ANALYZE`
)

// Among many connections, those that are due for a check or that the app has not
// heard of are found by the partial indexes on both engines: the planner chooses
// them by itself.
func TestHealthStatementsUseIndexes(t *testing.T) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			d := open(t)
			for _, s := range []statement{manyConnections, analyze} {
				if _, err := d.exec(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			for s, index := range map[statement]string{healthDueChecks: "connections_check", healthUntold: "connections_untold"} {
				explain, args := "EXPLAIN QUERY PLAN ", []any{int64(1000000100), 16}
				if engine == "postgres" {
					explain = "EXPLAIN "
				}
				plan := planOf(t, d, explain+string(s), args)
				if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s is not what finds them:\n%s", index, plan)
				}
			}
		})
	}
}

// planOf returns the text of an engine's plan.
func planOf(t *testing.T, d *DB, explain string, args []any) string {
	t.Helper()
	rows, err := d.read.QueryContext(t.Context(), explain, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var plan strings.Builder
	for rows.Next() {
		cells := make([]any, len(columns))
		var text string
		for i := range cells {
			cells[i] = new(any)
		}
		cells[len(cells)-1] = &text
		if err := rows.Scan(cells...); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(text + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}

const insertOld statement = `INSERT INTO connections (id, app, platform, kind, service, person, user_hash, subject_hash, parent,
	external_hash, status, reason, scopes, declined, purposes, access_expires, refresh_expires, renew_at, lease_until, redeemed,
	revoke_outstanding, created, updated, version)
	VALUES ($1, 'a', $2, 'user', 's', 'p', $1, 's', '', '', $3, '', '[]', '[]', '[]', 0, 0, 0, 0, $4, 0, 1, 1, 1)`

// A database from before: what the app knows already is not told to it, and
// Facebook's connections are checked from now on. The program before still writes
// on the new schema.
func TestHealthMigration(t *testing.T) {
	for engine, dsn := range map[string]func() string{
		"sqlite":   func() string { return sqlitePrefix + filepath.Join(t.TempDir(), "old.db") },
		"postgres": func() string { return testOnlyPostgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			d := openAt(t, dsn(), 7)
			for _, row := range [][]any{
				{"healthy", "facebook", "healthy", 1}, {"renewing", "facebook", "renewing", 1}, {"dead", "facebook", "reconnect_needed", 1},
				{"x", "x", "in_doubt", 1}, {"pending", "facebook", "pending", 0},
			} {
				if _, err := d.exec(t.Context(), insertOld, row...); err != nil {
					t.Fatal(err)
				}
			}
			if err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := d.exec(t.Context(), insertOld, "later", "facebook", "healthy", 1); err != nil {
				t.Fatal(err)
			}
			s := d.Connect()
			due, err := s.DueChecks(t.Context(), fromMicros(1000), 10)
			if err != nil || len(due) != 2 {
				t.Errorf("to check are %d, %v", len(due), err)
			}
			untold, err := s.Untold(t.Context(), fromMicros(1000), 10)
			if err != nil || len(untold) != 1 || untold[0].ID != "later" {
				t.Errorf("untold are %v, %v", untold, err)
			}
		})
	}
}

// openAt opens a new database with the schema of an older version.
func openAt(t *testing.T, dsn string, version int64) *DB {
	t.Helper()
	if path, ok := strings.CutPrefix(dsn, sqlitePrefix); ok {
		if err := createSQLite(path); err != nil {
			t.Fatal(err)
		}
	}
	d, err := connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if d.engine.name == "postgres" {
		if _, err := d.logExec(t.Context(), blobDomain); err != nil {
			t.Fatal(err)
		}
	}
	p, err := d.provider()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return d
}
