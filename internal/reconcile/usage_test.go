package reconcile_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store/storetest"
)

// graph is a call to Meta in whose reply an app's hour is used to that percentage; of
// items it has so many.
func (r *rig) graph(m *reconcile.Meter, percent float64, items int) {
	r.t.Helper()
	h := reconcile.Heard{Platform: gatehouse.Facebook, App: "pages", Operation: "GET /{id}", Began: time.Now()}
	e := audit.Entry{Action: "call", Platform: gatehouse.Facebook, App: "pages", Operation: "GET /{id}"}
	if items > 1 {
		e.Facts = map[string]string{"items": fmt.Sprint(items)}
	}
	if _, err := r.log.Intent(r.ctx, e); err != nil {
		r.t.Fatal(err)
	}
	h.Header = http.Header{"X-App-Usage": {fmt.Sprintf(`{"call_count":%g,"total_time":90,"total_cputime":90}`, percent)}}
	m.Hear(h)
}

// An app that was calm and has used much more of its hour ten minutes later, while
// hardly anything was called, is used by somebody else; each near miss is not.
func TestLeapsOfAnAppsUsage(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(r *rig, m *reconcile.Meter)
		excess int64
	}{
		// 30 points are 29 after rounding, and 58 calls at least; two calls of ours may
		// have been counted four times.
		"a leap": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			time.Sleep(9 * time.Minute)
			r.graph(m, 35, 1)
		}, 54},
		"in steps": {func(r *rig, m *reconcile.Meter) {
			for _, percent := range []float64{5, 12, 20, 35} {
				r.graph(m, percent, 1)
				time.Sleep(2 * time.Minute)
			}
		}, 50},
		"too small": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			r.graph(m, 24, 1)
		}, 0},
		"too slow": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			time.Sleep(11 * time.Minute)
			r.graph(m, 35, 1)
		}, 0},
		"not calm before": {func(r *rig, m *reconcile.Meter) { // the number of users may have fallen by half
			r.graph(m, 40, 1)
			r.graph(m, 80, 1)
		}, 0},
		"less than before": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 60, 1)
			r.graph(m, 5, 1)
		}, 0},
		"our own calls": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			r.graph(m, 6, 50) // a batch
			r.graph(m, 35, 1)
		}, 0},
		"calls just before": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 4, 30)
			time.Sleep(time.Minute)
			r.graph(m, 5, 1)
			r.graph(m, 35, 1)
		}, 0},
		"what Gatehouse does by itself": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			for range 6 {
				if _, err := r.log.Intent(r.ctx, audit.Entry{Action: "connect.check", Platform: gatehouse.Facebook, App: "pages"}); err != nil {
					t.Fatal(err)
				}
			}
			r.graph(m, 35, 1)
		}, 0},
		"another app's calls": {func(r *rig, m *reconcile.Meter) {
			r.graph(m, 5, 1)
			if _, err := r.log.Intent(r.ctx, audit.Entry{Action: "connect.check", Platform: gatehouse.Facebook, App: "other"}); err != nil {
				t.Fatal(err)
			}
			r.graph(m, 35, 1)
		}, 54},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := storetest.SQLite(t)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, dsn)
				m := r.meter()
				c.do(r, m)
				r.flush(m)
				report := r.all()
				var got int64
				for _, d := range report.Differences {
					if d.Check != "meta-app" || d.Platform != gatehouse.Facebook || d.App != "pages" || d.Operation != "" {
						t.Errorf("%+v", d)
					}
					got += d.Excess
				}
				if got != c.excess {
					t.Errorf("an excess of %d, want %d: %+v", got, c.excess, report)
				}
				if again := r.all(); len(again.Differences) > 0 {
					t.Errorf("again: %+v", again.Differences)
				}
			})
		})
	}
}

// shelf keeps what it is given.
type shelf struct {
	reconcile.MeterStore
	windows []reconcile.Window
}

func (s *shelf) AddWindows(_ context.Context, windows []reconcile.Window) error {
	s.windows = append(s.windows, windows...)
	return nil
}

// Whatever a platform's headers say, a meter takes no more from it than bounded numbers.
func FuzzHeaders(f *testing.F) {
	f.Add("100", "9", strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10), `{"call_count":5}`)
	f.Add("-1", "99999999999999999999", "0", `{"call_count":1e300}`)
	f.Add("", "NaN", "1e3", `{"call_count":null}`)
	f.Fuzz(func(t *testing.T, limit, left, reset, app string) {
		s := &shelf{}
		m := reconcile.NewMeter(reconcile.MeterConfig{Store: s, Index: audit.NewIndexHash([]byte("key"))})
		header := http.Header{"X-Rate-Limit-Limit": {limit}, "X-Rate-Limit-Remaining": {left}, "X-Rate-Limit-Reset": {reset}, "X-App-Usage": {app}}
		for _, usage := range []string{`{"call_count":0}`, app} {
			header["X-App-Usage"] = []string{usage}
			for _, p := range []gatehouse.Platform{gatehouse.X, gatehouse.Facebook} {
				m.Hear(reconcile.Heard{Platform: p, App: "a", Person: "p", Operation: posts, Began: time.Now(), Header: header})
			}
		}
		if err := m.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, w := range s.windows {
			drop := w.First.Left - w.Last.Left
			if drop < 0 || w.Last.Left < 0 || w.Operation != posts && drop > 2000 || w.Operation == posts && (drop != 0 || w.Replies != 2) {
				t.Errorf("%q %q %q %q: %+v", limit, left, reset, app, w)
			}
		}
	})
}
