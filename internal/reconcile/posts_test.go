package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store/storetest"
)

// usageAnswer is X's answer for the app of these tests and another one.
func usageAnswer(at time.Time, used int64) []byte {
	return fmt.Appendf(nil, `{"data":{"project_usage":"9","daily_client_app_usage":[
		{"client_app_id":"1","usage":[{"date":%[1]q,"usage":"999999"}],"usage_result_count":1},
		{"client_app_id":"4711","usage":[{"date":%[1]q,"usage":"%[2]d"}],"usage_result_count":1}]}}`, at.Format("2006-01-02T15:04:05.000Z"), used)
}

// today is a day that all of a test is in, as X names it.
func today() time.Time { return time.Now().UTC().Truncate(24 * time.Hour) }

// Operations of X that answer with posts: one that ends, a stream of which X says how fast
// it may be, and one of which it does not.
const (
	search   = "GET /2/tweets/search/recent"
	filtered = "GET /2/tweets/search/stream"
	sampled  = "GET /2/tweets/sample10/stream"
)

// streams is a stream that began.
func (r *rig) streams(op gatehouse.Operation) {
	r.t.Helper()
	if _, err := r.log.Intent(r.ctx, audit.Entry{Action: "call.stream", Platform: gatehouse.X, App: app, Operation: op}); err != nil {
		r.t.Fatal(err)
	}
}

// reads is a call whose reply of so many posts was read to its end.
func (r *rig) reads(m *reconcile.Meter, posts int64) {
	r.t.Helper()
	r.intent(search)
	m.Read(app, search, posts, true)
}

// X's count of posts is explained by what replies held, with a tolerance, by what
// replies may have held that nobody read, and by nothing else.
func TestPostsUsedElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		do       func(r *rig, m *reconcile.Meter)
		used     int64 // by X's count, in the end
		excess   int64
		unjudged int
	}{
		"all of ours":                  {func(r *rig, m *reconcile.Meter) { r.reads(m, 60); r.reads(m, 40) }, 100, 0, 0},
		"within the tolerance":         {func(r *rig, m *reconcile.Meter) { r.reads(m, 100) }, 110, 0, 0},
		"beyond the tolerance":         {func(r *rig, m *reconcile.Meter) { r.reads(m, 100) }, 111, 1, 0},
		"X counts each once a day":     {func(r *rig, m *reconcile.Meter) { r.reads(m, 100); r.reads(m, 100) }, 100, 0, 0},
		"an idle app":                  {func(*rig, *reconcile.Meter) {}, 30, 30, 0},
		"another name of the app":      {func(_ *rig, m *reconcile.Meter) { m.Read("second-x", search, 30, true) }, 30, 0, 0},
		"another app":                  {func(_ *rig, m *reconcile.Meter) { m.Read("third-x", search, 30, true) }, 30, 30, 0},
		"a reply that broke off":       {func(r *rig, _ *reconcile.Meter) { r.intent(me) }, 550, 0, 0},
		"more than it can have held":   {func(r *rig, _ *reconcile.Meter) { r.intent(me) }, 551, 1, 0},
		"a stream that goes on":        {func(_ *rig, m *reconcile.Meter) { m.Read(app, filtered, 100, false) }, 110, 0, 0},
		"what it may have sent since":  {func(_ *rig, m *reconcile.Meter) { m.Read(app, filtered, 100, false) }, (100 + 3*7500) * 11 / 10, 0, 0},
		"more than that":               {func(_ *rig, m *reconcile.Meter) { m.Read(app, filtered, 100, false) }, (100+3*7500)*11/10 + 1, 1, 0},
		"streams that ended":           {func(r *rig, _ *reconcile.Meter) { r.streams(filtered); r.streams(filtered) }, 2 * 7500 * 11 / 10, 0, 0},
		"more than they can have sent": {func(r *rig, _ *reconcile.Meter) { r.streams(filtered); r.streams(filtered) }, 2*7500*11/10 + 1, 1, 0},
		"a stream of any speed":        {func(_ *rig, m *reconcile.Meter) { m.Read(app, sampled, 100, false) }, 50_000, 0, 1},
		"one of any speed that ended":  {func(r *rig, _ *reconcile.Meter) { r.streams(sampled) }, 50_000, 0, 1},
		"a stream and a reply":         {func(r *rig, m *reconcile.Meter) { m.Read(app, filtered, 100, false); r.intent(me) }, (100+3*7500+500)*11/10 + 1, 1, 0},
		"a call that was sent again":   {func(r *rig, m *reconcile.Meter) { r.reads(m, 0); m.Repeat(r.ctx, r.heard(me)) }, 550, 0, 0},
		"one that was not sent again":  {func(r *rig, m *reconcile.Meter) { r.reads(m, 0) }, 550, 550, 0},
		"calls to somebody else": {func(r *rig, _ *reconcile.Meter) {
			if _, err := r.log.Intent(r.ctx, audit.Entry{Action: "call", Platform: gatehouse.X, App: "third-x", Operation: me}); err != nil {
				r.t.Fatal(err)
			}
		}, 550, 550, 0},
		"the clock was set": {func(r *rig, _ *reconcile.Meter) { r.event("log.clock") }, 550, 0, 1},
	} {
		r := newRig(t, storetest.SQLite(t))
		m, used := r.meter(), int64(0)
		r.usage = func() ([]byte, error) { return usageAnswer(today(), used), nil }
		if first := r.all(); len(first.Posts) != 0 || first.UsageFailed != 0 {
			t.Errorf("%s: the first time: %+v", name, first)
		}
		c.do(r, m)
		r.flush(m)
		used = c.used
		report := r.all()
		var got int64
		for _, d := range report.Differences {
			if d.Check != "x-posts" || d.App != app || d.Counted != c.used || !d.From.Equal(today()) || d.Until.Sub(d.From) != 24*time.Hour {
				t.Errorf("%s: %+v", name, d)
			}
			got += d.Excess
		}
		if got != c.excess || report.UsageUnjudged != c.unjudged {
			t.Errorf("%s: an excess of %d, %d unjudged; want %d and %d: %+v", name, got, report.UsageUnjudged, c.excess, c.unjudged, report)
		}
		if again := r.all(); len(again.Differences) > 0 {
			t.Errorf("%s: told again: %+v", name, again.Differences)
		}
		if c.excess == 0 {
			continue
		}
		used += 7
		if more := r.all(); len(more.Differences) != 1 || more.Differences[0].Excess != 7 {
			t.Errorf("%s: seven more: %+v", name, more.Differences)
		}
	}
}

// heard is a call that is sent.
func (r *rig) heard(op gatehouse.Operation) reconcile.Heard {
	return reconcile.Heard{Platform: gatehouse.X, App: app, Person: ada, Operation: op, Connection: adaCon, Began: time.Now()}
}

// What X counted before anybody looked is not reported, nor a day long ago; on both
// engines.
func TestPostsOfBefore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		used, at := int64(1000), today()
		r.usage = func() ([]byte, error) { return usageAnswer(at, used), nil }
		r.all()
		if report := r.all(); len(report.Differences) != 0 || len(report.Posts) != 1 || report.Posts[0].Used != 1000 {
			t.Errorf("what was before: %+v", report)
		}
		used = 1001
		if report := r.all(); len(report.Differences) != 1 || report.Differences[0].Excess != 1 {
			t.Errorf("one more: %+v", report)
		}
		at = at.AddDate(0, 0, -5)
		if report := r.all(); len(report.Differences) != 0 || len(report.Posts) != 0 {
			t.Errorf("a day long ago: %+v", report)
		}
	})
}

// If X cannot be asked, or answers something else, everything else is compared and
// the report says so.
func TestUsageThatCannotBeHad(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.service()
	r.usage = func() ([]byte, error) { return usageAnswer(today(), 1), nil }
	r.all()
	for name, usage := range map[string]func() ([]byte, error){
		"refused":     func() ([]byte, error) { return nil, gatehouse.ErrUnavailable },
		"no JSON":     func() ([]byte, error) { return []byte("<html>"), nil },
		"another app": func() ([]byte, error) { return []byte(`{"data":{"daily_client_app_usage":[]}}`), nil },
		"no number": func() ([]byte, error) {
			return []byte(strings.Replace(string(usageAnswer(today(), 1)), `"1"}]`, `"many"}]`, 1)), nil
		},
		"less than one": func() ([]byte, error) { return usageAnswer(today(), -1), nil },
		"no day":        func() ([]byte, error) { return usageAnswer(time.Unix(0, 0), 1), nil },
	} {
		r.usage = usage
		r.addHandle(gatehouse.HandleID("h-" + name))
		if report := r.all(); report.UsageFailed != 1 || len(report.Differences) != 1 || report.Differences[0].Check != "handles" {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

// brimful is a store that takes no posts for a while.
type brimful struct {
	reconcile.Store
	full bool
}

func (b *brimful) AddPosts(ctx context.Context, list []reconcile.Posts) error {
	if b.full {
		return gatehouse.ErrUnavailable
	}
	return b.Store.AddPosts(ctx, list)
}

// What could not be stored is stored later, with what came since.
func TestPostsWaitForTheStore(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	s := &brimful{r.db.Reconcile(), true}
	m := reconcile.NewMeter(reconcile.MeterConfig{Store: s, Index: r.index})
	m.Read(app, search, 3, true)
	if err := m.Flush(r.ctx); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("a full store: %v", err)
	}
	m.Read(app, filtered, 4, false)
	s.full = false
	r.flush(m)
	r.flush(m)
	got, err := s.PostsOf(r.ctx, app, time.Now().Add(-2*time.Hour), time.Now())
	if err != nil || got.Posts != 7 || got.Replies != 1 || !got.Streamed || got.Unbounded {
		t.Errorf("%+v, %v", got, err)
	}
}

// Whatever X answers, what is read of it is bounded and never below zero.
func FuzzReadUsage(f *testing.F) {
	f.Add(usageAnswer(time.Unix(1_800_000_000, 0), 5))
	f.Add([]byte(`{"data":{"daily_client_app_usage":[{"client_app_id":"4711","usage":[{"date":"2026-01-01T00:00:00Z","usage":null}]}]}}`))
	f.Add([]byte(`{"data":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		days, err := reconcile.ReadUsage(body, "4711")
		if err != nil && days != nil || len(days) > 100 {
			t.Errorf("%d days, %v", len(days), err)
		}
		for at, n := range days {
			if n < 0 || !at.Equal(at.Truncate(24*time.Hour)) {
				t.Errorf("%d posts on %s", n, at)
			}
		}
	})
}
