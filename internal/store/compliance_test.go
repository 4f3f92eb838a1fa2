package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/compliance"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// eachCompliance runs f on the compliance.Store of both engines.
func eachCompliance(t *testing.T, f func(t *testing.T, s compliance.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Compliance()) })
}

func delivered(kind compliance.Kind, hash string) compliance.ID {
	return compliance.ID{Kind: kind, Hash: []byte(hash), Sealed: []byte("sealed " + hash)}
}

func hashes(ids []compliance.ID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, string(id.Hash))
	}
	return out
}

func TestComplianceIDs(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		ctx := t.Context()
		record := func(at time.Duration, ids ...compliance.ID) {
			t.Helper()
			if err := s.RecordIDs(ctx, "main-x", moment(at), moment(at+time.Hour), ids); err != nil {
				t.Fatal(err)
			}
		}
		record(0, delivered("post", "b"), delivered("post", "a"), delivered("user", "a"))
		record(time.Minute, delivered("post", "c"), delivered("post", "a"))
		if err := s.RecordIDs(ctx, "other", moment(0), moment(0), []compliance.ID{delivered("post", "z")}); err != nil {
			t.Fatal(err)
		}

		all, err := s.IDs(ctx, "main-x", "post", nil, 10)
		if err != nil || !cmp.Equal(hashes(all), []string{"a", "b", "c"}) {
			t.Fatalf("there are %v, %v", hashes(all), err)
		}
		want := compliance.ID{Kind: "post", Hash: []byte("a"), Sealed: []byte("sealed a"), First: moment(0), Last: moment(time.Minute)}
		if got, err := s.IDOf(ctx, "main-x", "post", []byte("a")); err != nil || !cmp.Equal(got, want) || !cmp.Equal(all[0], want) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(want, got))
		}
		if page, err := s.IDs(ctx, "main-x", "post", []byte("a"), 1); err != nil || !cmp.Equal(hashes(page), []string{"b"}) {
			t.Errorf("after a come %v, %v", hashes(page), err)
		}
		for _, none := range []struct {
			app  gatehouse.AppName
			kind compliance.Kind
			hash string
		}{{"other", "post", "a"}, {"main-x", "user", "b"}, {"main-x", "post", ""}} {
			if _, err := s.IDOf(ctx, none.app, none.kind, []byte(none.hash)); !errors.Is(err, gatehouse.ErrNotFound) {
				t.Errorf("%v gives %v", none, err)
			}
		}
		if held, err := s.Held(ctx, "main-x", "post"); err != nil || held != (compliance.Held{IDs: 3, Oldest: moment(0)}) {
			t.Errorf("held are %v, %v", held, err)
		}
		if held, err := s.Held(ctx, "nobody", "post"); err != nil || held != (compliance.Held{}) {
			t.Errorf("held of nobody are %v, %v", held, err)
		}

		// b's time is over first; a was delivered again.
		if n, err := s.Expire(ctx, "main-x", "post", moment(time.Hour), 10); err != nil || n != 0 {
			t.Errorf("%d expired early, %v", n, err)
		}
		if n, err := s.Expire(ctx, "main-x", "post", moment(time.Hour+time.Second), 10); err != nil || n != 1 {
			t.Errorf("%d expired, %v", n, err)
		}
		if all, err = s.IDs(ctx, "main-x", "post", nil, 10); err != nil || !cmp.Equal(hashes(all), []string{"a", "c"}) {
			t.Errorf("left are %v, %v", hashes(all), err)
		}
	})
}

// Many at once are all stored, whatever their number.
func TestComplianceManyIDs(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		for _, n := range []int{0, 1, 15, 16, 17, 33, 100} {
			app := gatehouse.AppName(fmt.Sprint("app", n))
			var ids []compliance.ID
			for i := range n {
				ids = append(ids, delivered([]compliance.Kind{"post", "user"}[i%2], fmt.Sprint(i)))
			}
			for range 2 {
				if err := s.RecordIDs(t.Context(), app, moment(0), moment(time.Hour), ids); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range ids {
				want := id
				want.First, want.Last = moment(0), moment(0)
				if got, err := s.IDOf(t.Context(), app, id.Kind, id.Hash); err != nil || !cmp.Equal(got, want) {
					t.Errorf("of %d: %v %s", n, err, cmp.Diff(want, got))
				}
			}
		}
	})
}

func TestComplianceEviction(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		ctx := t.Context()
		if err := s.EnsureTask(ctx, "main-x", "post", moment(0)); err != nil {
			t.Fatal(err)
		}
		for i, hash := range []string{"old", "older", "new"} {
			at := moment([]time.Duration{time.Minute, 0, time.Hour}[i])
			if err := s.RecordIDs(ctx, "main-x", at, at.Add(time.Hour), []compliance.ID{delivered("post", hash), delivered("user", hash)}); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.Evict(ctx, "main-x", "post", moment(5*time.Hour), 2); err != nil || n != 2 {
			t.Fatalf("%d were evicted, %v", n, err)
		}
		if left, err := s.IDs(ctx, "main-x", "post", nil, 10); err != nil || !cmp.Equal(hashes(left), []string{"new"}) {
			t.Errorf("left are %v, %v", hashes(left), err)
		}
		if held, err := s.Held(ctx, "main-x", "user"); err != nil || held.IDs != 3 {
			t.Errorf("users were evicted with the posts: %v, %v", held, err)
		}
		if tasks, err := s.Tasks(ctx); err != nil || tasks[0].Evicted != 2 || !tasks[0].EvictedAt.Equal(moment(5*time.Hour)) {
			t.Errorf("it is not reported: %+v, %v", tasks, err)
		}
	})
}

func TestComplianceTasks(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		ctx := t.Context()
		for _, kind := range []compliance.Kind{"user", "post"} {
			if err := s.EnsureTask(ctx, "main-x", kind, moment(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		tasks, err := s.Tasks(ctx)
		want := compliance.Task{App: "main-x", Kind: "post", State: compliance.Idle, Due: moment(time.Hour), Version: 1}
		if err != nil || len(tasks) != 2 || !cmp.Equal(tasks[0], want) || tasks[1].Kind != "user" {
			t.Fatalf("with %v: %s", err, cmp.Diff(want, tasks))
		}

		// A longer period moves nothing, a shorter one does.
		ensure := func(due time.Duration) time.Time {
			t.Helper()
			if err := s.EnsureTask(ctx, "main-x", "post", moment(due)); err != nil {
				t.Fatal(err)
			}
			tasks, err := s.Tasks(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want.Version = tasks[0].Version
			return tasks[0].Due
		}
		if due := ensure(2 * time.Hour); !due.Equal(moment(time.Hour)) {
			t.Errorf("put off to %v", due)
		}
		if due := ensure(time.Minute); !due.Equal(moment(time.Minute)) {
			t.Errorf("not brought forward: %v", due)
		}

		full := compliance.Task{
			App: "main-x", Kind: "post", State: compliance.Uploading, Due: moment(1), LeaseUntil: moment(time.Minute), Started: moment(2 * time.Minute),
			Ended: moment(3 * time.Minute), Cursor: []byte{1}, Upto: []byte{2}, Name: "name", Job: "7", UploadURL: []byte{3}, DownloadURL: []byte{4},
			Expires: moment(4 * time.Minute), Asked: 5, AskedAt: moment(5 * time.Minute), Polls: 6, Tries: 7, Reason: "why", Jobs: 8, Sent: 9, Found: 10,
			Ignored: 11, Malformed: 12, Version: want.Version,
		}
		full.Due = moment(time.Second)
		version, err := s.SaveTask(ctx, full)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.SaveTask(ctx, full)
		conflict(t, "saving an older version", err)
		full.Version = version
		if tasks, err := s.Tasks(ctx); err != nil || !cmp.Equal(tasks[0], full) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(full, tasks[0]))
		}
		if due := ensure(0); !due.Equal(full.Due) {
			t.Errorf("a task at work was moved to %v", due)
		}
	})
}

func storedFinding(hash, reason string) compliance.StoredFinding {
	return compliance.StoredFinding{
		App: "main-x", Kind: "post", Hash: []byte(hash), Sealed: []byte{1}, Action: "delete", Reason: reason, At: moment(-time.Hour),
		First: moment(0), Ready: moment(time.Minute), Due: moment(time.Minute),
	}
}

func TestComplianceFindings(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		ctx := t.Context()
		if err := s.EnsureTask(ctx, "main-x", "post", moment(0)); err != nil {
			t.Fatal(err)
		}
		add := func(f ...compliance.StoredFinding) {
			t.Helper()
			if err := s.AddFindings(ctx, f); err != nil {
				t.Fatal(err)
			}
		}
		a, b := storedFinding("a", "deleted"), storedFinding("b", "scrub_geo")
		b.Due = moment(2 * time.Minute)
		add(a, b)
		again := a
		again.Due = moment(0)
		add(again) // the first one stays
		if epoch, err := s.Epoch(ctx, "main-x"); err != nil || epoch != 2 {
			t.Errorf("the epoch is %d, %v", epoch, err)
		}
		if epoch, err := s.Epoch(ctx, "other"); err != nil || epoch != 0 {
			t.Errorf("the epoch of another app is %d, %v", epoch, err)
		}
		if due, err := s.Findings(ctx, moment(90*time.Second), 10); err != nil || !cmp.Equal(due, []compliance.StoredFinding{a}) {
			t.Errorf("due with %v: %s", err, cmp.Diff([]compliance.StoredFinding{a}, due))
		}
		if err := s.DelayFinding(ctx, a, moment(time.Hour)); err != nil {
			t.Fatal(err)
		}
		conflict(t, "taking it twice", s.DelayFinding(ctx, a, moment(time.Hour)))
		if due, err := s.Findings(ctx, moment(time.Hour), 10); err != nil || len(due) != 2 || string(due[1].Hash) != "a" || due[1].Tries != 1 {
			t.Errorf("due are %+v, %v", due, err)
		}
		if n, err := s.Waiting(ctx, "main-x", "post"); err != nil || n != 2 {
			t.Errorf("%d wait, %v", n, err)
		}
	})
}

// What a settled finding means for the identifier.
func TestComplianceSettle(t *testing.T) {
	eachCompliance(t, func(t *testing.T, s compliance.Store) {
		ctx := t.Context()
		if err := s.EnsureTask(ctx, "main-x", "post", moment(0)); err != nil {
			t.Fatal(err)
		}
		deliver := func(hash string, at time.Duration) {
			t.Helper()
			if err := s.RecordIDs(ctx, "main-x", moment(at), moment(at+24*time.Hour), []compliance.ID{delivered("post", hash)}); err != nil {
				t.Fatal(err)
			}
		}
		settle := func(f compliance.StoredFinding, forget bool) {
			t.Helper()
			if err := s.AddFindings(ctx, []compliance.StoredFinding{f}); err != nil {
				t.Fatal(err)
			}
			if err := s.SettleFinding(ctx, f, forget, moment(time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
		for _, hash := range []string{"gone", "again", "told", "toldagain"} {
			deliver(hash, 0)
		}
		deliver("again", 2*time.Minute) // after the finding was ready
		settle(storedFinding("gone", "deleted"), true)
		settle(storedFinding("again", "deleted"), true)
		settle(storedFinding("told", "scrub_geo"), false)
		settle(storedFinding("toldagain", "scrub_geo"), false)
		deliver("toldagain", 3*time.Minute)

		if n, err := s.Waiting(ctx, "main-x", "post"); err != nil || n != 0 {
			t.Errorf("%d wait, %v", n, err)
		}
		if _, err := s.IDOf(ctx, "main-x", "post", []byte("gone")); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("what is gone gives %v", err)
		}
		for hash, want := range map[string]compliance.ID{
			"again":     {First: moment(2 * time.Minute), Last: moment(2 * time.Minute)},
			"told":      {First: moment(0), Last: moment(0), Told: moment(time.Hour), Reason: "scrub_geo"},
			"toldagain": {First: moment(3 * time.Minute), Last: moment(3 * time.Minute)},
		} {
			want.Kind, want.Hash, want.Sealed = "post", []byte(hash), []byte("sealed "+hash)
			if got, err := s.IDOf(ctx, "main-x", "post", []byte(hash)); err != nil || !cmp.Equal(got, want) {
				t.Errorf("%s with %v: %s", hash, err, cmp.Diff(want, got))
			}
		}
	})
}
