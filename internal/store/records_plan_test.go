package store

import (
	"fmt"
	"strings"
	"testing"
)

// What runs for every request and every sweep finds its rows by an index, however
// many records there are.
func TestRecordStatementsUseIndexes(t *testing.T) {
	dsn := "sqlite:" + t.TempDir() + "/gatehouse.db"
	if err := Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for name, s := range map[string]statement{
		"subject": subjectSelect, "forget subject": subjectForget, "record": recordSelect, "created": recordCreated, "replace": recordReplace,
		"list": recordsOfPerson, "delete": recordDelete, "forget": recordsForget, "purpose": recordNextPurpose, "expired": recordsExpired, "aged": recordsAged,
	} {
		args := make([]any, 0, 8)
		for strings.Contains(string(s), fmt.Sprint("$", len(args)+1)) {
			args = append(args, "")
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
			if strings.Contains(detail, "SCAN") || strings.Contains(detail, "TEMP B-TREE") {
				t.Errorf("%s: %s", name, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
