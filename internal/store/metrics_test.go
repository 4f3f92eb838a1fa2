package store_test

import (
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/metrics"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

func TestWhatIsCounted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, ctx := storetest.Open(t, dsn), t.Context()
		s := db.Metrics()
		if none, err := s.CountConnections(ctx); err != nil || len(none) != 0 {
			t.Errorf("of nothing: %v, %v", none, err)
		}
		if none, err := s.CountDuties(ctx, moment(0)); err != nil || len(none) != 0 {
			t.Errorf("of nothing: %v, %v", none, err)
		}
		if none, err := s.CountEvents(ctx); err != nil || none != (metrics.EventCount{}) {
			t.Errorf("of nothing: %v, %v", none, err)
		}
		for id, change := range map[gatehouse.ConnectionID]func(*connect.Record){
			"a": func(*connect.Record) {}, "b": func(*connect.Record) {},
			"c": func(r *connect.Record) { r.Status = connect.ReconnectNeeded },
			"d": func(r *connect.Record) { r.App = "other" },
		} {
			r := record(id)
			r.SubjectHash = "sh-" + string(id)
			change(&r)
			if err := db.Connect().SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		want := []metrics.ConnectionCount{{App: "main-x", Status: "healthy", Count: 2}, {App: "main-x", Status: "reconnect_needed", Count: 1}, {App: "other", Status: "healthy", Count: 1}}
		if got, err := s.CountConnections(ctx); err != nil || !cmp.Equal(got, want) {
			t.Errorf("connections: %v %s", err, cmp.Diff(want, got))
		}

		for id, change := range map[string]func(*cases.Duty){
			"dty1": func(*cases.Duty) {},
			"dty2": func(d *cases.Duty) { d.Deadline = moment(2 * time.Hour) },
			"dty3": func(d *cases.Duty) { d.Deadline = moment(0) },
			"dty4": func(d *cases.Duty) { d.Kind, d.Deadline = cases.Erasure, moment(-time.Hour) },
		} {
			d := duty(id)
			change(&d)
			if _, err := db.Cases().OpenDuty(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		closed, err := db.Cases().OpenDuty(ctx, duty("dty5"))
		if err != nil {
			t.Fatal(err)
		}
		closed.Version, closed.Closed, closed.LookAt, closed.Deadline = 1, moment(1), time.Time{}, moment(1)
		if err := db.Cases().SaveDuty(ctx, closed); err != nil {
			t.Fatal(err)
		}
		duties := []metrics.DutyCount{{Kind: "deauthorized", Open: 3, Overdue: 1, Nearest: moment(time.Hour)}, {Kind: "erasure", Open: 1, Overdue: 1}}
		if got, err := s.CountDuties(ctx, moment(0)); err != nil || !cmp.Equal(got, duties) {
			t.Errorf("duties: %v %s", err, cmp.Diff(duties, got))
		}

		box := db.Outbox()
		for i, id := range []string{"e1", "e2", "e3", "e4"} {
			e := anEvent(id, "", 0)
			e.Created = moment(time.Duration(i) * time.Minute)
			if err := box.AddEvent(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		for id, state := range map[string]outbox.State{"e1": outbox.Delivered, "e3": outbox.Dead} {
			e := eventOf(t, box, id)
			e.State, e.Due = state, time.Time{}
			if err := box.SaveEvent(ctx, e, moment(0)); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.CountEvents(ctx); err != nil || got != (metrics.EventCount{Waiting: 2, Dead: 1, Oldest: moment(time.Minute)}) {
			t.Errorf("events: %v, %v", got, err)
		}
	})
}
