package console

import (
	"context"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// health is a source of the page Health.
type health HealthView

func (h health) Health(context.Context) (HealthView, error) { return HealthView(h), nil }

func TestHealth(t *testing.T) {
	// What is only worth a look needs nobody here either, as the overview says.
	backup := Check{Name: "Backup", Tone: Warn, State: "not in order", Says: "None is configured.", Next: "Name a place."}
	with := func(checks ...Check) *desk { return newDesk(t, operator.Auditor, Health(health{Checks: checks})) }
	with(backup).get("/health").shows(t, "One thing is worth a look", "!needs somebody")
	with(backup, backup).get("/health").shows(t, "2 things are worth a look", "!needs somebody")
	with(backup, Check{Name: "Log", Tone: Bad}).get("/health").shows(t, "2 things need somebody")
	with(Check{Name: "Log", Tone: Good}).get("/health").shows(t, "Everything works")

	page := Health(health{
		Version: "1.2.3", Started: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC),
		Checks: []Check{
			{Name: "Root key", Tone: Good, State: "answers", Says: "It was used a moment ago."},
			{Name: "Log", Tone: Bad, State: "full", Says: "<b>No</b> space is left.", Next: "Make room."},
		},
	})
	d := newDesk(t, operator.Auditor, page)
	r := d.get("/health")
	if r.status != 200 {
		t.Fatalf("status %d: %s", r.status, r.body)
	}
	r.shows(t, "One thing needs somebody", "Root key", "What to do:", "Make room.", "&lt;b&gt;No&lt;/b&gt;", "!<b>No</b>", `aria-current="page"`, "26 Nov 2026, 12:00:00 UTC")

	// Whoever may not see it neither gets it nor finds it in the navigation.
	other := d.house.join("Guest", operator.Auditor)
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), other.account.ID, operator.Auditor))
	if r := other.get("/health"); r.status != 403 {
		t.Errorf("without the permission: status %d", r.status)
	} else {
		r.shows(t, "health.read", "!Root key", `!href="/health"`)
	}
}
