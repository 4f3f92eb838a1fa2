package store

import (
	"fmt"
	"strings"
	"testing"
)

// What runs for every call, every reply and every second finds its rows by an
// index, however many connections there are.
func TestConnectStatementsUseIndexes(t *testing.T) {
	usesIndexes(t, map[string]statement{
		"attempt": attemptSelect, "state": attemptByState, "sweep": attemptSweep, "person": personSelect,
		"newest": connectionsNewest, "connection": connectionSelect, "parent": connectionsOfParent, "user": connectionsOfUser, "subject": connectionsOfSubject,
		"persons": connectionsOfPerson, "service": connectionsOfService, "due": connectionDue,
		"end": personEnd, "drop": personDrop, "ended": peopleEnded, "forget": personForget, "erase": connectionsErase,
		"erased attempts": attemptsErase, "erased imports": importsErase,
		"duty": dutySelect, "code": dutyByCode, "request": dutyByRequest, "duty of person": dutyOfPerson, "duties due": dutiesDue,
		"duties open": dutiesOpen, "duties of person": dutiesOfPerson, "duties": dutiesOfAll,
		"notice": noticeSelect, "notices swept": noticeSweep,
		"checks": healthDueChecks, "untold": healthUntold, "schedule": healthSchedule, "hasten": healthHasten, "telling": healthTelling,
	})
}

const otherService statement = `UPDATE connections SET service = 't' WHERE created % 10 > 0`

// A page of all connections, or of a service's, is where its index goes on, on both
// engines: a start goes through a million of them, 500 at a time.
func TestPagesOfConnectionsAreInTheOrderOfTheirIndex(t *testing.T) {
	for engine, open := range map[string]func(*testing.T) *DB{"sqlite": openTemp, "postgres": openTempPostgres} {
		t.Run(engine, func(t *testing.T) {
			d := open(t)
			for _, s := range []statement{manyConnections, otherService, analyze} {
				if _, err := d.exec(t.Context(), s); err != nil {
					t.Fatal(err)
				}
			}
			explain := "EXPLAIN QUERY PLAN "
			if engine == "postgres" {
				explain = "EXPLAIN "
			}
			for _, page := range []struct {
				statement                            statement
				service, index, onSQLite, onPostgres string
			}{
				{connectionsOfAll, "", "connections_created", "(created>?)", "Index Cond: (created >="},
				{connectionsOfService, "s", "connections_service", "(service=? AND created>?)", "Index Cond: ((service = 's'::text) AND (created >="},
			} {
				plan := planOf(t, d, explain+string(page.statement), []any{page.service, "", "", "", "", "", "", 1, int64(15000), "con15000", 500, ""})
				from := page.onSQLite
				if engine == "postgres" {
					from = page.onPostgres
				}
				if !strings.Contains(plan, page.index) || !strings.Contains(plan, from) || strings.Contains(plan, "Sort") || strings.Contains(plan, "TEMP B-TREE") {
					t.Errorf("%s is not what a page follows:\n%s", page.index, plan)
				}
			}
		})
	}
}

// usesIndexes fails for statements that read a table whole, and for those whose plan
// holds one of the words that it never may.
func usesIndexes(t *testing.T, statements map[string]statement, never ...string) {
	t.Helper()
	dsn := "sqlite:" + t.TempDir() + "/gatehouse.db"
	if err := Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for name, s := range statements {
		args := make([]any, strings.Count(string(s), "$"))
		for len(args) > 0 && !strings.Contains(string(s), fmt.Sprint("$", len(args))) {
			args = args[1:]
		}
		rows, err := d.query(t.Context(), "EXPLAIN QUERY PLAN "+s, args...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for rows.Next() {
			var id, parent, unused int64
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(detail, "SCAN ") && !strings.Contains(detail, "USING") && !strings.Contains(detail, "SCAN CONSTANT") &&
				!strings.Contains(detail, "SCAN renewals") && !strings.Contains(detail, "SCAN revocations") && !strings.Contains(detail, "SCAN forgotten") && detail != "SCAN counted" {
				t.Errorf("%s: %s", name, detail)
			}
			for _, word := range never {
				if strings.Contains(detail, word) {
					t.Errorf("%s: %s", name, detail)
				}
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
