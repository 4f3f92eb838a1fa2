package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// What package export says of its store, on both engines.
func TestExportStore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := storetest.Open(t, dsn).Export()
		now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		lease := func(owner string, at, until time.Time, want bool) {
			t.Helper()
			if got, err := s.Lease(ctx, "siem", owner, at, until); err != nil || got != want {
				t.Fatalf("lease for %s: %t, %v, want %t", owner, got, err, want)
			}
		}
		lease("a", now, now.Add(time.Minute), true)
		lease("b", now, now.Add(time.Minute), false)
		lease("a", now, now.Add(2*time.Minute), true)
		lease("b", now.Add(2*time.Minute-time.Microsecond), now.Add(time.Hour), false)
		lease("b", now.Add(2*time.Minute), now.Add(time.Hour), true)
		lease("a", now.Add(3*time.Minute), now.Add(time.Hour), false)

		first := export.Cursor{Sink: "siem", Next: 5, Since: now, Moved: now}
		for _, c := range []export.Cursor{first, {Sink: "siem", Next: 9, Since: now.Add(time.Hour)}} {
			got, err := s.Begin(ctx, c)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first, got); diff != "" {
				t.Fatalf("a cursor begins once: %s", diff)
			}
		}
		moved := now.Add(time.Second)
		to := export.Cursor{Sink: "siem", Next: 7, Hash: strings.Repeat("ab", 32), Moved: moved}
		for name, err := range map[string]error{
			"another owner": s.Advance(ctx, "a", 5, to, 2, 1),
			"another place": s.Advance(ctx, "b", 4, to, 2, 1),
			"failed":        s.Failed(ctx, "a", export.Health{Sink: "siem", Class: export.Refused}),
			"stuck":         s.Stuck(ctx, "siem", "a", now),
		} {
			if !errors.Is(err, gatehouse.ErrConflict) {
				t.Errorf("%s: %v, want ErrConflict", name, err)
			}
		}
		health := export.Health{Sink: "siem", Owner: "b", Until: now.Add(time.Hour)}
		expect := func(c export.Cursor) {
			t.Helper()
			cursors, err := s.Cursors(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]export.Cursor{c}, cursors); diff != "" {
				t.Errorf("cursors: %s", diff)
			}
			all, err := s.Health(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]export.Health{health}, all); diff != "" {
				t.Errorf("health: %s", diff)
			}
		}
		expect(first) // a failed Advance changed neither

		failure := export.Health{Sink: "siem", Class: export.Refused, Text: "no", FailedAt: moved}
		if err := errors.Join(s.Failed(ctx, "b", failure), s.Stuck(ctx, "siem", "b", now)); err != nil {
			t.Fatal(err)
		}
		health.Class, health.Text, health.FailedAt, health.StuckAt = failure.Class, failure.Text, failure.FailedAt, now
		expect(first)

		if err := s.Advance(ctx, "b", 5, to, 0, 0); err != nil {
			t.Fatal(err)
		}
		to.Since = first.Since
		expect(to) // nothing was sent, so the failure stands

		next := export.Cursor{Sink: "siem", Next: 10, Hash: strings.Repeat("cd", 32), Since: first.Since, Moved: moved.Add(time.Second)}
		if err := errors.Join(s.Advance(ctx, "b", 7, next, 2, 1), s.Stuck(ctx, "siem", "b", time.Time{})); err != nil {
			t.Fatal(err)
		}
		health.Class, health.Text, health.Sent, health.Rejected, health.SucceededAt, health.StuckAt = "", "", 2, 1, next.Moved, time.Time{}
		expect(next)

		back := export.Cursor{Sink: "siem", Next: 1, Since: moved, Moved: moved}
		if err := s.Move(ctx, back); err != nil {
			t.Fatal(err)
		}
		expect(back)
	})
}

// What is read to be exported: leaves in order, bounded, and nothing beside them.
func TestExportedLeaves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		db := storetest.Open(t, dsn)
		signer, _ := keys(t)
		log, stop := openLog(t, db.Audit(), signer)
		for range 5 {
			if _, err := log.Record(ctx, audit.Entry{Action: "init", Person: "p", Personal: map[string]string{"subject": "ada"}}); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		l := db.Audit().Exported()
		if size, err := l.Size(ctx); err != nil || size != 5 {
			t.Fatalf("size: %d, %v", size, err)
		}
		for name, c := range map[string]struct {
			from         int64
			limit, bytes int
			first        int64
			n            int
		}{
			"all":    {0, 10, 1 << 20, 0, 5},
			"from":   {3, 10, 1 << 20, 3, 2},
			"limit":  {1, 2, 1 << 20, 1, 2},
			"bytes":  {1, 10, 0, 1, 1},
			"beyond": {5, 10, 1 << 20, 0, 0},
		} {
			rows, err := l.Leaves(ctx, c.from, c.limit, c.bytes)
			if err != nil || len(rows) != c.n || c.n > 0 && rows[0].Index != c.first {
				t.Errorf("%s: %d rows, %v", name, len(rows), err)
			}
		}
		storetest.OpenRaw(t, dsn).Exec(`DELETE FROM audit_entries WHERE seq < $1`, int64(2))
		rows, err := l.Leaves(ctx, 0, 10, 1<<20)
		if err != nil || len(rows) != 3 || rows[0].Index != 2 {
			t.Errorf("behind a gap: %v, %v", rows, err)
		}
	})
}
