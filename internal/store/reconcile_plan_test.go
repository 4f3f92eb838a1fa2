package store

import (
	"strings"
	"testing"
)

const manyWindows statement = `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
	INSERT INTO reconcile_windows (app, owner, operation, lim, reset_at, connection, first_left, first_began, first_at,
		last_left, last_began, last_at, replies, told, judged_left)
	SELECT 'main-x', CAST('owner' || i AS BLOB), 'GET /2/users/me', 75, i, 'con' || i, 70, i, i, CASE WHEN i % 1000 = 0 THEN 1 ELSE 69 END, i, i, 2, 0, 100 FROM n`

// Among many windows, those that their replies do not explain are found by their
// partial index, and those that are old by theirs.
func TestReconcileStatementsUseIndexes(t *testing.T) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			d := open(t)
			many, explain := manyWindows, "EXPLAIN QUERY PLAN "
			if engine == "postgres" {
				many, explain = statement(strings.Replace(string(manyWindows), `CAST('owner' || i AS BLOB)`, `CAST('owner' || i AS BYTEA)`, 1)), "EXPLAIN "
			}
			for _, s := range []statement{many, analyze} {
				if _, err := d.exec(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			for s, want := range map[statement]struct {
				index string
				args  []any
			}{
				windowsOpen:  {"reconcile_windows_open", []any{100}},
				windowsSweep: {"reconcile_windows_last", []any{int64(10)}},
			} {
				plan := planOf(t, d, explain+string(s), want.args)
				if !strings.Contains(plan, want.index) || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s is not what finds them:\n%s", want.index, plan)
				}
			}
		})
	}
}
