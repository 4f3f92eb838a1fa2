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
