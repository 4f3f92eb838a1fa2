package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store/storetest"
)

// Each mishap by itself explains what X counted; the same with a theft is found, with
// as many calls as were stolen, less those that hide behind calls of ours shortly
// before the window's first reading.
func TestWhatExplainsACount(t *testing.T) {
	hidden := map[string]int64{"a new window begins": 2, "the limit changes": 1}
	for name, happens := range map[string]func(r *rig, m *reconcile.Meter, call func()){
		"nothing": func(_ *rig, _ *reconcile.Meter, call func()) { call() },
		"a reply is lost": func(r *rig, _ *reconcile.Meter, _ func()) {
			r.intent(posts)
			r.x.count(posts, nil)
		},
		"a call is sent twice": func(r *rig, m *reconcile.Meter, _ func()) {
			h, _ := r.intent(posts)
			r.x.count(posts, nil)
			m.Repeat(r.ctx, h)
			r.x.count(posts, &h)
			m.Hear(h)
		},
		"another process has the reply and dies": func(r *rig, _ *reconcile.Meter, _ func()) {
			r.call(r.meter(), posts)
		},
		"another process stores its own": func(r *rig, _ *reconcile.Meter, _ func()) {
			other := r.meter()
			r.call(other, posts)
			r.flush(other)
		},
		"replies come in another order": func(r *rig, m *reconcile.Meter, _ func()) {
			one, _ := r.intent(posts)
			two, _ := r.intent(posts)
			r.x.count(posts, &one)
			r.x.count(posts, &two)
			m.Hear(two)
			m.Hear(one)
		},
		"a new window begins": func(r *rig, _ *reconcile.Meter, call func()) {
			call()
			r.x.of[string(posts)].used = 0
			r.x.of[string(posts)].reset = r.x.of[string(posts)].reset.Add(15 * time.Minute)
			call()
		},
		"another name of the same app": func(r *rig, _ *reconcile.Meter, _ func()) {
			if _, err := r.log.Intent(r.ctx, audit.Entry{Action: "call", Platform: "x", App: "old-name", Operation: posts, Person: ada}); err != nil {
				r.t.Fatal(err)
			}
			r.x.count(posts, nil)
		},
		"the limit changes": func(r *rig, _ *reconcile.Meter, call func()) {
			r.x.limit = 50
			call()
		},
	} {
		t.Run(name, func(t *testing.T) {
			const stolen = 5
			for _, k := range []int{0, stolen} {
				r := newRig(t, storetest.SQLite(t))
				m := r.meter()
				call := func() { r.call(m, posts) }
				call()
				happens(r, m, call)
				for range k {
					r.steal(posts)
				}
				call()
				call()
				r.flush(m)
				report := r.all()
				var got int64
				for _, d := range report.Differences {
					got += d.Excess
				}
				if want := max(0, int64(k)-hidden[name]); got != want {
					t.Errorf("%d of %d stolen calls are told, want %d: %+v", got, k, want, report)
				}
			}
		})
	}
}

// Calls that X refuses because nothing is left are not counted by it, nor taken for
// an explanation.
func TestNothingIsLeft(t *testing.T) {
	for _, stolen := range []int{0, 2} {
		r := newRig(t, storetest.SQLite(t))
		r.x.limit = 5
		m := r.meter()
		r.call(m, posts)
		for range stolen {
			r.steal(posts)
		}
		for range 4 { // with the theft, the last ones are refused
			r.call(m, posts)
		}
		r.flush(m)
		// The intents of what was refused hide as many of what was stolen: nobody can
		// tell which of them X counted.
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("%d stolen: %+v", stolen, report.Differences)
		}
	}
}

// Over random histories of several processes, with calls under way for up to a minute
// and mishaps of every kind, no more is told than was stolen; without a theft, nothing.
func TestNoMoreIsToldThanWasStolen(t *testing.T) {
	found := 0
	for seed := range uint64(12) {
		stolen := 0
		if seed%2 == 1 {
			stolen = 15
		}
		t.Run(fmt.Sprintf("%d stolen, seed %d", stolen, seed), func(t *testing.T) {
			dsn := storetest.SQLite(t)
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, dsn)
				told := history(r, rand.New(rand.NewPCG(seed, 1)), stolen)
				if told > int64(stolen) {
					t.Errorf("%d calls are told, and %d were stolen", told, stolen)
				}
				found += int(told)
			})
		})
	}
	if found < 6*15/3 {
		t.Errorf("of %d stolen calls %d were told: the bounds are so wide that nothing is found", 6*15, found)
	}
}

// history lets forty minutes pass and returns how many calls are told as too many.
func history(r *rig, random *rand.Rand, stolen int) (told int64) {
	upTo := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }
	meters := []*reconcile.Meter{r.meter(), r.meter(), r.meter()}
	var under sync.WaitGroup
	at := func(after time.Duration, do func()) {
		under.Go(func() { time.Sleep(after); do() })
	}
	const all = 40 * time.Minute
	for range 60 {
		meter, kind := meters[random.IntN(3)], random.IntN(10)
		until, back := upTo(time.Minute), upTo(20*time.Second)
		at(upTo(all), func() {
			h, receipt := r.intent(posts)
			defer r.log.Outcome(receipt, audit.Entry{Action: "call", Verdict: "done"})
			time.Sleep(until)
			switch kind {
			case 0: // never sent
				return
			case 1: // lost
				r.x.count(posts, nil)
				return
			case 2: // sent twice
				r.x.count(posts, nil)
				meter.Repeat(r.ctx, h)
			}
			r.x.count(posts, &h)
			time.Sleep(back)
			meter.Hear(h)
		})
	}
	for range 12 { // the third process only when it likes, and not at the end
		meter := meters[random.IntN(3)]
		at(upTo(all), func() { r.flush(meter) })
	}
	begin := upTo(all - 5*time.Minute)
	for range stolen {
		at(begin+upTo(2*time.Minute), func() { r.steal(posts) })
	}
	for range 3 {
		at(upTo(all), func() { told += looked(r) })
	}
	under.Wait()
	r.flush(meters[0])
	r.flush(meters[1])
	return told + looked(r)
}

// looked compares once and returns what was not told before.
func looked(r *rig) (told int64) {
	report, err := r.open(r.db.Reconcile()).All(r.ctx)
	if errors.Is(err, reconcile.ErrBusy) {
		return 0
	}
	if err != nil {
		r.t.Error(err)
		return 0
	}
	for _, d := range report.Differences {
		if d.Check == "x-window" {
			told += d.Excess
		}
	}
	return told
}

// Who hands a token in, or comes back from consent, has Gatehouse ask X about it, with
// intents that are not found by the person.
func TestOwnCallsAreOurs(t *testing.T) {
	for _, action := range []string{"connect.callback", "connect.import", "connect.begin"} {
		r := newRig(t, storetest.SQLite(t))
		m := r.meter()
		r.call(m, me)
		if _, err := r.log.Intent(r.ctx, audit.Entry{Action: action, App: app, Platform: "x"}); err != nil {
			t.Fatal(err)
		}
		r.x.count(me, nil)
		r.call(m, me)
		r.flush(m)
		if report := r.all(); (len(report.Differences) == 0) != (action != "connect.begin") {
			t.Errorf("%s: %+v", action, report)
		}
	}
}

// Times before and after a clock was set cannot be compared, nor is anything said of a
// token whose entries are not found any more.
func TestWhatCannotBeJudged(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"a clock is set": func(r *rig) {
			if _, err := r.log.Record(r.ctx, audit.Entry{Action: "log.clock", Facts: map[string]string{"seconds": "3600"}}); err != nil {
				r.t.Fatal(err)
			}
		},
		"the person is erased": func(r *rig) {
			if err := r.log.ForgetPerson(r.ctx, ada); err != nil {
				r.t.Fatal(err)
			}
		},
		"nothing": func(*rig) {},
	} {
		r := newRig(t, storetest.SQLite(t))
		m := r.meter()
		r.call(m, posts)
		r.steal(posts)
		r.call(m, posts)
		r.flush(m)
		spoil(r)
		report := r.all()
		judged := name == "nothing"
		if report.Windows != 1 || (report.Unjudged == 0) != judged || (len(report.Differences) == 1) != judged {
			t.Errorf("%s: %+v", name, report)
		}
	}
}

// What was told is told again only if there is more of it, and then with what is new.
func TestToldOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		m := r.meter()
		r.call(m, posts)
		for i, want := range []int64{2, 0, 3} {
			for range want {
				r.steal(posts)
			}
			r.call(m, posts)
			r.flush(m)
			report := r.all()
			if want == 0 && len(report.Differences) == 0 {
				continue
			}
			if len(report.Differences) != 1 || report.Differences[0].Excess != want {
				t.Errorf("look %d: %+v, want %d more", i, report.Differences, want)
			}
		}
	})
}

// failing is a store that dies at the point that is named, having done it or not.
type failing struct {
	reconcile.Store
	judge error
}

func (f failing) JudgeWindow(context.Context, reconcile.Window, int64) error { return f.judge }

// A process that dies between the entry and the note of it repeats the entry, and
// nothing is lost.
func TestDiedAfterTheEntry(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	m := r.meter()
	r.call(m, posts)
	r.steal(posts)
	r.call(m, posts)
	r.flush(m)
	died := errors.New("the process died")
	if _, err := r.open(failing{r.db.Reconcile(), died}).All(r.ctx); !errors.Is(err, died) {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		if report := r.all(); len(report.Differences) != want {
			t.Errorf("look %d after it: %+v", i, report)
		}
	}
	list, err := audit.List(r.ctx, r.db.Audit(), audit.Filter{Action: reconcile.ActionDifference})
	if err != nil || len(list) != 2 {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

// What a platform says that is no number, or of other pools, counts nothing.
func TestHeadersThatSayNothing(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	m := r.meter()
	for _, h := range []http.Header{
		nil, {"X-Rate-Limit-Limit": {"100"}}, {"X-Rate-Limit-Limit": {"100"}, "X-Rate-Limit-Remaining": {"many"}, "X-Rate-Limit-Reset": {"1"}},
		{"X-App-Limit-24hour-Limit": {"100"}, "X-App-Limit-24hour-Remaining": {"9"}, "X-App-Limit-24hour-Reset": {"1800000000"}},
		{"X-Rate-Limit-Limit": {"100"}, "X-Rate-Limit-Remaining": {"9"}, "X-Rate-Limit-Reset": {"9000000000000000000"}},
		{"X-App-Usage": {strings.Repeat("[", 100)}},
	} {
		for _, left := range []string{"9", "1"} { // eight calls more, if it said anything
			one, _ := r.intent(posts)
			one.Header = h.Clone()
			for _, name := range []string{"X-App-Limit-24hour-Remaining", "X-Rate-Limit-Remaining"} {
				if one.Header.Get(name) == "9" {
					one.Header.Set(name, left)
				}
			}
			m.Hear(one)
		}
	}
	r.flush(m)
	if report := r.all(); report.Windows != 0 {
		t.Errorf("%+v", report)
	}
}

// A running process looks every quarter of an hour, and says once a day that it
// compared everything.
func TestRunsByItself(t *testing.T) {
	dsn := storetest.SQLite(t)
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dsn)
		m := r.meter()
		ctx, stop := context.WithCancel(r.ctx)
		var running sync.WaitGroup
		running.Go(func() {
			if err := r.open(r.db.Reconcile()).Run(ctx); err != nil {
				t.Error(err)
			}
		})
		running.Go(func() {
			if err := m.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		entries := func(action string) int {
			list, err := audit.List(r.ctx, r.db.Audit(), audit.Filter{Action: action})
			if err != nil {
				t.Fatal(err)
			}
			return len(list)
		}
		time.Sleep(time.Hour)
		r.call(m, posts)
		r.steal(posts)
		r.call(m, posts)
		if n := entries("reconcile.difference"); n != 0 {
			t.Errorf("%d differences at once", n)
		}
		time.Sleep(16 * time.Minute)
		if done, differences := entries("reconcile.done"), entries("reconcile.difference"); done != 1 || differences != 1 {
			t.Errorf("after a quarter of an hour: done %d, differences %d", done, differences)
		}
		time.Sleep(24 * time.Hour)
		if done, differences := entries("reconcile.done"), entries("reconcile.difference"); done != 2 || differences != 1 {
			t.Errorf("a day later: done %d, differences %d", done, differences)
		}
		stop()
		running.Wait()
	})
}

// A store that cannot be reached loses nothing that was heard.
func TestHeardAgainAfterAnError(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	s := &broken{MeterStore: r.db.Reconcile(), err: errors.New("no connection")}
	m := reconcile.NewMeter(reconcile.MeterConfig{Store: s, Index: r.index})
	r.call(m, posts)
	if err := m.Flush(r.ctx); !errors.Is(err, s.err) {
		t.Fatal(err)
	}
	r.steal(posts)
	r.call(m, posts)
	s.err = nil
	r.flush(m)
	if report := r.all(); len(report.Differences) != 1 || report.Differences[0].Excess != 1 {
		t.Errorf("%+v", report)
	}
}

// broken is a store that cannot be reached while err is set.
type broken struct {
	reconcile.MeterStore
	err error
}

func (b *broken) AddWindows(ctx context.Context, windows []reconcile.Window) error {
	if b.err != nil {
		return b.err
	}
	return b.MeterStore.AddWindows(ctx, windows)
}
