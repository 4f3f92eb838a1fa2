package store

import (
	"strings"
	"testing"
)

// What is counted once a minute reads no rows of connections, which hold sealed tokens,
// and neither duties nor events that are done with.
func TestCountingReadsIndexes(t *testing.T) {
	dsn := "sqlite:" + t.TempDir() + "/gatehouse.db"
	if err := Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	for index, s := range map[string]statement{
		"COVERING INDEX connections_counted":           metricsConnections,
		"INDEX duties_open":                            metricsDuties,
		"COVERING INDEX outbox_events_state (state=?)": metricsEvents,
		"INDEX outbox_events_state (state=?)":          metricsOldestEvent,
	} {
		var args []any
		if strings.Contains(string(s), "$1") {
			args = append(args, int64(1))
		}
		rows, err := d.query(t.Context(), "EXPLAIN QUERY PLAN "+s, args...)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		var plan []string
		for rows.Next() {
			var id, parent, unused int64
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		if err := rows.Close(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(plan, "\n"), index) {
			t.Errorf("%s does not go by %s: %q", s, index, plan)
		}
	}
}
