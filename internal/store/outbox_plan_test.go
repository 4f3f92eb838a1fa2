package store

import (
	"strings"
	"testing"
)

// Every statement of the outbox finds its rows by an index, however many events
// are kept.
func TestOutboxStatementsUseIndexes(t *testing.T) {
	dsn := "sqlite:" + t.TempDir() + "/gatehouse.db"
	if err := Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for name, q := range map[string]struct {
		s     statement
		args  int
		index string // what it must go by
	}{
		"insert": {eventInsertBehind, 13, "outbox_events_stream"}, "event": {eventSelect, 1, "sqlite_autoindex"}, "list": {eventsOf, 5, "outbox_events_state"},
		"all": {eventsAll, 5, "PRIMARY KEY"}, "due": {eventsDue, 2, "outbox_events_due"}, "update": {eventUpdate, 11, "sqlite_autoindex"},
		"promote": {eventPromote, 2, "outbox_events_stream"}, "streams": {eventStreamsOf, 1, "outbox_events_person"},
		"forget": {eventForget, 3, "outbox_events_person"}, "count": {eventCountOf, 1, "outbox_events_person"},
		"sweep": {eventSweep, 3, "outbox_events_settled"},
	} {
		rows, err := d.query(t.Context(), "EXPLAIN QUERY PLAN "+q.s, make([]any, q.args)...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int64
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
			if strings.Contains(detail, "SCAN outbox_events") && !strings.Contains(detail, "USING") {
				t.Errorf("%s: %s", name, detail)
			}
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(plan, "\n"), q.index) {
			t.Errorf("%s does not go by %s: %q", name, q.index, plan)
		}
	}
}
