package store_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"

	"github.com/google/go-cmp/cmp"
)

func TestHealthChecks(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, now := t.Context(), moment(time.Hour)
		for id, change := range map[gatehouse.ConnectionID]func(*connect.Record){
			"due":     func(r *connect.Record) { r.CheckAt = now },
			"overdue": func(r *connect.Record) { r.CheckAt = now.Add(-time.Hour) },
			"later":   func(r *connect.Record) { r.CheckAt = now.Add(time.Microsecond) },
			"never":   func(r *connect.Record) { r.CheckAt = time.Time{} },
			"pending": func(r *connect.Record) { r.CheckAt, r.Status, r.Redeemed = now, connect.Pending, time.Time{} },
		} {
			r := record(id)
			change(&r)
			if err := s.SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		due := func(limit int) (ids []gatehouse.ConnectionID) {
			t.Helper()
			records, err := s.DueChecks(ctx, now, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				ids = append(ids, r.ID)
			}
			return ids
		}
		if got := due(10); !cmp.Equal(got, []gatehouse.ConnectionID{"overdue", "due"}) {
			t.Errorf("due are %v", got)
		}
		if got := due(1); !cmp.Equal(got, []gatehouse.ConnectionID{"overdue"}) {
			t.Errorf("of which the first is %v", got)
		}
		// One of many takes it.
		var taken atomic.Int32
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				ok, err := s.ScheduleCheck(ctx, "due", now, now.Add(time.Hour))
				if err != nil {
					t.Error(err)
				}
				if ok {
					taken.Add(1)
				}
			})
		}
		all.Wait()
		if taken.Load() != 1 {
			t.Errorf("%d took it", taken.Load())
		}
		if ok, err := s.ScheduleCheck(ctx, "unknown", now, now); ok || err != nil {
			t.Errorf("of an unknown connection: %t, %v", ok, err)
		}
		if got := due(10); !cmp.Equal(got, []gatehouse.ConnectionID{"overdue"}) {
			t.Errorf("then due are %v", got)
		}
		for _, id := range []gatehouse.ConnectionID{"later", "never", "overdue"} {
			if err := s.HastenCheck(ctx, id, now.Add(-time.Minute)); err != nil {
				t.Fatal(err)
			}
		}
		if got := due(10); !cmp.Equal(got, []gatehouse.ConnectionID{"overdue", "later"}) {
			t.Errorf("after hastening, due are %v", got)
		}
		// The version is that of what renewals go by.
		r, err := s.Connection(ctx, "due")
		if err != nil || r.Version != 1 {
			t.Errorf("version %d, %v", r.Version, err)
		}
	})
}

func TestHealthUntold(t *testing.T) {
	eachConnect(t, func(t *testing.T, s connect.Store) {
		ctx, now := t.Context(), moment(time.Hour)
		save := func(r connect.Record) {
			t.Helper()
			if err := s.SaveConnections(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		untold := func() map[gatehouse.ConnectionID]connect.Telling {
			t.Helper()
			list, err := s.Untold(ctx, now, 10)
			if err != nil {
				t.Fatal(err)
			}
			all := map[gatehouse.ConnectionID]connect.Telling{}
			for _, u := range list {
				all[u.ID] = u.Telling
			}
			return all
		}
		r := record("con1")
		r.Status, r.Cause = connect.Healthy, ""
		save(r)
		pending := record("con2")
		pending.Status, pending.Cause, pending.Redeemed = connect.Pending, "", time.Time{}
		save(pending)
		pending.Version, pending.Reason = 1, "still waiting"
		save(pending)
		if got := untold(); len(got) != 0 {
			t.Errorf("born and pending ones are untold: %v", got)
		}
		pending.Version, pending.Status, pending.Redeemed = 2, connect.Healthy, moment(0)
		save(pending)
		if got := untold(); len(got) != 0 {
			t.Errorf("a redeemed one is untold: %v", got)
		}
		pending.Version, pending.Status = 3, connect.Renewing
		save(pending)
		if got := untold(); len(got) != 0 {
			t.Errorf("a renewing one is untold: %v", got)
		}
		pending.Version, pending.Status, pending.Cause = 4, connect.Healthy, "soon"
		save(pending)
		r.Version, r.Status = 1, connect.ReconnectNeeded
		save(r)
		before := connect.Telling{Told: "healthy/"}
		if got, want := untold(), (map[gatehouse.ConnectionID]connect.Telling{"con1": before, "con2": before}); !cmp.Equal(got, want) {
			t.Errorf("untold are %v, want %v", got, want)
		}
		begun := connect.Telling{Told: "healthy/", Now: "reconnect_needed/", Seq: 1, At: now.Add(time.Second)}
		for i, want := range []bool{true, false} {
			if ok, err := s.SaveTelling(ctx, "con1", before, begun); ok != want || err != nil {
				t.Errorf("begun for the %d. time: %t, %v", i+1, ok, err)
			}
		}
		if got := untold(); len(got) != 1 {
			t.Errorf("what somebody is telling is untold: %v", got)
		}
		// It rests no longer, and is found even if the state went back.
		r.Version, r.Status = 2, connect.Healthy
		save(r)
		now = now.Add(time.Second)
		if got := untold(); got["con1"] != begun {
			t.Errorf("what was left is %+v", got["con1"])
		}
		done := connect.Telling{Told: "reconnect_needed/", Seq: 1}
		if ok, err := s.SaveTelling(ctx, "con1", before, done); ok || err != nil {
			t.Errorf("marked by one who has not begun it: %t, %v", ok, err)
		}
		if ok, err := s.SaveTelling(ctx, "con1", begun, done); !ok || err != nil {
			t.Errorf("marked: %t, %v", ok, err)
		}
		if got := untold(); got["con1"] != done {
			t.Errorf("that it went back is %+v", got["con1"])
		}
		if got, err := s.Connection(ctx, "con1"); err != nil || got.Version != 3 {
			t.Errorf("version %d, %v", got.Version, err)
		}
		if list, err := s.Untold(ctx, now, 1); err != nil || len(list) != 1 {
			t.Errorf("a limit of one gives %d, %v", len(list), err)
		}
	})
}
