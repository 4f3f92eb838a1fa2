package export_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
)

func TestEverythingIsSentInOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.calls(200)
		sink := &memory{}
		stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
		r.reached("siem", 200)
		r.calls(50)
		r.reached("siem", 250)
		stop()
		exactly(t, sink.indexes(), 250)
		leaves := r.leaves()
		for i, e := range sink.got {
			if string(e.Raw) != string(leaves[i]) || e.Origin != origin || e.Hash != leafHash(leaves[i]) {
				t.Fatalf("entry %d is not what is stored: %+v", i, e)
			}
		}
		if !sink.closed {
			t.Error("the sink was not closed")
		}
		h := r.health("siem")
		if h.Sent != 250 || h.Class != "" || h.SucceededAt.IsZero() || h.Until.After(time.Now()) {
			t.Errorf("health: %+v", h)
		}
		// Another process goes on where this one stopped.
		again := &memory{}
		r.event("init")
		stop = r.export(r.config(export.Target{Name: "siem", Sink: again}))
		r.reached("siem", 251)
		stop()
		if got := again.indexes(); !slices.Equal(got, []int64{250}) {
			t.Errorf("the next process sent %v", got)
		}
	})
}

// The writer shares nothing with a sink but the database: while one never answers,
// every intent returns.
func TestAHangingSinkDelaysNoCall(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.call()
		hanging, free := make(chan struct{}), make(chan struct{})
		var once sync.Once
		var answered atomic.Bool
		sink := &memory{answer: func(ctx context.Context, entries []export.Entry) (export.Accepted, error) {
			once.Do(func() { close(hanging) })
			select {
			case <-free:
				answered.Store(true)
				return export.Accepted{Entries: len(entries)}, nil
			case <-ctx.Done():
				return export.Accepted{}, ctx.Err()
			}
		}}
		c := r.config(export.Target{Name: "siem", Sink: sink})
		c.Timeout = time.Hour // it hangs for as long as the test does
		stop := r.export(c)
		<-hanging
		r.calls(1000)
		if answered.Load() || r.cursor("siem") != 0 {
			t.Fatal("the sink was to hang")
		}
		if size, err := r.db.Audit().Exported().Size(t.Context()); err != nil || size != 1001 {
			t.Fatalf("the log has %d entries, %v", size, err)
		}
		close(free)
		r.reached("siem", 1001)
		stop()
		complete(t, sink.indexes(), 1001)
	})
}

// A sink that hangs is given up after the timeout, and asked for less.
func TestAHangingSinkIsGivenUp(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(64)
	var sizes []int
	sink := &memory{}
	sink.answer = func(ctx context.Context, entries []export.Entry) (export.Accepted, error) {
		sizes = append(sizes, len(entries))
		if len(entries) > 4 {
			<-ctx.Done()
			return export.Accepted{}, ctx.Err()
		}
		return export.Accepted{Entries: len(entries)}, nil
	}
	c := r.config(export.Target{Name: "siem", Sink: sink})
	c.Timeout = 5 * time.Millisecond
	stop := r.export(c)
	r.reached("siem", 64)
	stop()
	exactly(t, sink.indexes(), 64)
	if !slices.Equal(sizes[:5], []int{64, 32, 16, 8, 4}) {
		t.Errorf("it was asked to take %v", sizes)
	}
}

func TestFailuresAreSeenAndEnd(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.calls(10)
		var down atomic.Bool
		down.Store(true)
		sink := &memory{}
		sink.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
			if down.Load() {
				return export.Accepted{}, errDown
			}
			return export.Accepted{Entries: len(entries)}, nil
		}
		c := r.config(export.Target{Name: "siem", Sink: sink, StuckAfter: time.Millisecond})
		stop := r.export(c)
		until(t, "the log says that it is stuck", func() bool { h := r.health("siem"); return !h.StuckAt.IsZero() && h.Class != "" })
		reports, err := export.Status(t.Context(), r.db.Export(), []string{"siem"}, must(r.logs(t.Context())), time.Now().Add(time.Minute))
		if err != nil || len(reports) != 1 {
			t.Fatal(reports, err)
		}
		got := reports[0]
		if got.State != export.StateStuck || got.Class != export.Unreachable || got.Error == "" || strings.Contains(got.Error, "down") || got.Failed == nil || got.Succeeded != nil {
			t.Errorf("status: %+v", got)
		}
		// The entry that says so is behind the others.
		if l := got.Logs[0]; l.Next != 0 || l.Lag != 11 || l.Size != 11 || l.LagSeconds < 59 || l.Origin != origin {
			t.Errorf("standing: %+v", l)
		}
		down.Store(false)
		until(t, "the log says that it has caught up", func() bool { return r.health("siem").StuckAt.IsZero() })
		r.reached("siem", 12)
		stop()
		exactly(t, sink.indexes(), 12)
		actions := []string{sink.got[10].Leaf.Action, sink.got[11].Leaf.Action}
		if !slices.Equal(actions, []string{"log.export.stuck", "log.export.ok"}) {
			t.Errorf("the log says %v", actions)
		}
		if f := sink.got[10].Leaf.Facts; f["sink"] != "siem" || f["behind"] == "" {
			t.Errorf("facts: %v", f)
		}
		if h := r.health("siem"); h.Class != "" || h.Text != "" {
			t.Errorf("an old failure is still said: %+v", h)
		}
	})
}

func leafHash(leaf []byte) string {
	hash := audit.LeafHash(leaf)
	return hex.EncodeToString(hash[:])
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// What was accepted before a failure is not sent again.
func TestPartOfABatch(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(20)
	sink := &memory{}
	sink.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
		if len(entries) > 3 {
			return export.Accepted{Entries: 3}, errDown
		}
		return export.Accepted{Entries: len(entries)}, nil
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
	r.reached("siem", 20)
	stop()
	exactly(t, sink.indexes(), 20)
}

// A sink that takes less than it is given, and says nothing of a failure, gets the
// rest.
func TestLessThanABatch(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(20)
	sink := &memory{}
	sink.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
		return export.Accepted{Entries: min(3, len(entries))}, nil
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
	r.reached("siem", 20)
	stop()
	exactly(t, sink.indexes(), 20)
}

func TestRejectedEntriesAreCountedAndSaid(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(10)
	sink := &memory{}
	first := true
	sink.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
		a := export.Accepted{Entries: len(entries)}
		if first {
			a.Rejected = 4
		}
		first = false
		return a, nil
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
	r.reached("siem", 11)
	stop()
	said := sink.got[10].Leaf
	if said.Action != "log.export.rejected" || said.Facts["entries"] != "4" || said.Facts["from"] != "0" || said.Facts["to"] != "9" || said.Facts["sink"] != "siem" {
		t.Errorf("the log says %+v", said)
	}
	if h := r.health("siem"); h.Sent != 7 || h.Rejected != 4 {
		t.Errorf("health: %+v", h)
	}
}

// Only one process serves a sink, and when it ends another one does.
func TestOneProcessServesASink(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		var serving atomic.Int32
		both := &memory{}
		both.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
			if serving.Add(1) > 1 {
				t.Error("two processes send at once")
			}
			defer serving.Add(-1)
			return export.Accepted{Entries: len(entries)}, nil
		}
		c := r.config(export.Target{Name: "siem", Sink: both})
		c.Spare = time.Hour
		first, second := r.export(c), r.export(c)
		r.calls(200)
		r.reached("siem", 200)
		first()
		r.calls(50)
		r.reached("siem", 250) // by whichever is left, at once: the lease was given back
		second()
		exactly(t, both.indexes(), 250)
	})
}

// A process that was killed gives nothing back; its time has to be over.
func TestALeaseEnds(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(5)
	if ok, err := r.db.Export().Lease(t.Context(), "siem", "killed", time.Now(), time.Now().Add(time.Hour)); err != nil || !ok {
		t.Fatal(ok, err)
	}
	sink := &memory{}
	c := r.config(export.Target{Name: "siem", Sink: sink})
	asked := &counting{Store: c.Store}
	c.Store = asked
	stop := r.export(c)
	until(t, "it asks for the sink three times", func() bool { return asked.refused.Load() >= 3 })
	if len(sink.indexes()) > 0 {
		t.Error("it sends without a lease")
	}
	if ok, err := r.db.Export().Lease(t.Context(), "siem", "killed", time.Now(), time.Now()); err != nil || !ok {
		t.Fatalf("the other process has the sink: %t, %v", ok, err)
	}
	r.reached("siem", 5)
	stop()
	exactly(t, sink.indexes(), 5)
}

// counting counts the leases that were not given.
type counting struct {
	export.Store
	refused atomic.Int32
}

func (c *counting) Lease(ctx context.Context, sink, owner string, now, until time.Time) (bool, error) {
	ok, err := c.Store.Lease(ctx, sink, owner, now, until)
	if !ok {
		c.refused.Add(1)
	}
	return ok, err
}

func TestFilter(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	for _, action := range []string{"init", "log.tampered", "connect.revoke", "log.clock", "init"} {
		r.event(action)
	}
	for name, c := range map[string]struct {
		filter export.Filter
		want   []int64
	}{
		"all":       {export.Filter{}, []int64{0, 1, 2, 3, 4}},
		"severity":  {export.Filter{Least: audit.SeverityNotice}, []int64{0, 1, 2, 3, 4}},
		"alert":     {export.Filter{Least: audit.SeverityAlert}, []int64{1}},
		"action":    {export.Filter{Actions: []string{"init"}}, []int64{0, 4}},
		"beginning": {export.Filter{Actions: []string{"log.*", "connect.rev"}}, []int64{1, 3}},
		"both":      {export.Filter{Least: audit.SeverityAlert, Actions: []string{"log.*"}}, []int64{1}},
		"nothing":   {export.Filter{Actions: []string{"person.erase"}}, nil},
	} {
		sink := &memory{}
		stop := r.export(r.config(export.Target{Name: name, Sink: sink, Filter: c.filter}))
		r.reached(name, 5)
		stop()
		if got := sink.indexes(); !slices.Equal(got, c.want) && len(got)+len(c.want) > 0 {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What a filter keeps back does not hold the cursor, and a failure does not lose what
// stands behind it.
func TestFilterAndFailure(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	for range 5 {
		r.event("init")
		r.event("log.clock")
	}
	tries := 0
	sink := &memory{}
	sink.answer = func(_ context.Context, entries []export.Entry) (export.Accepted, error) {
		if tries++; tries == 1 {
			return export.Accepted{Entries: 2}, errDown
		}
		return export.Accepted{Entries: len(entries)}, nil
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink, Filter: export.Filter{Actions: []string{"log.clock"}}}))
	r.reached("siem", 10)
	stop()
	if got := sink.indexes(); !slices.Equal(got, []int64{1, 3, 5, 7, 9}) {
		t.Errorf("got %v", got)
	}
}

func TestFromNow(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(10)
	sink := &memory{}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink, FromNow: true}))
	r.reached("siem", 10)
	r.calls(2)
	r.reached("siem", 12)
	stop()
	if got := sink.indexes(); !slices.Equal(got, []int64{10, 11}) {
		t.Errorf("got %v", got)
	}
}

// Entries that are gone are passed over, and the log says so.
func TestGap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.calls(10)
		storetest.OpenRaw(t, dsn).Exec(`DELETE FROM audit_entries WHERE seq < $1 OR seq = $2`, int64(3), int64(6))
		sink := &memory{}
		stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
		r.reached("siem", 12)
		stop()
		if got := sink.indexes(); !slices.Equal(got, []int64{3, 4, 5, 7, 8, 9, 10, 11}) {
			t.Fatalf("got %v", got)
		}
		for i, want := range [][2]string{{"0", "2"}, {"6", "6"}} {
			l := sink.got[6+i].Leaf
			if l.Action != "log.export.gap" || l.Facts["from"] != want[0] || l.Facts["to"] != want[1] || l.Facts["sink"] != "siem" || l.Facts["origin"] != origin {
				t.Errorf("the log says %+v", l)
			}
		}
	})
}

// A log that does not go on from what was sent is not exported in silence.
func TestDiverged(t *testing.T) {
	hash := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		cursor  export.Cursor
		diverge bool
	}{
		"beyond the end":    {export.Cursor{Next: 11}, true},
		"at the end":        {export.Cursor{Next: 10}, false},
		"another entry":     {export.Cursor{Next: 5, Hash: hash}, true},
		"no entry, no hash": {export.Cursor{Next: 5}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, storetest.SQLite(t))
			r.calls(10)
			c.cursor.Sink, c.cursor.Since = "siem", time.Now()
			if err := r.db.Export().Move(t.Context(), c.cursor); err != nil {
				t.Fatal(err)
			}
			sink := &memory{}
			stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
			defer stop()
			if !c.diverge {
				r.call()
				r.reached("siem", 11)
				return
			}
			until(t, "the failure", func() bool { return r.health("siem").Class == export.Diverged })
			if len(sink.indexes()) > 0 {
				t.Errorf("entries were sent: %v", sink.indexes())
			}
			// An operator says where to go on.
			if err := r.db.Export().Move(t.Context(), export.Cursor{Sink: "siem", Next: 8, Since: time.Now()}); err != nil {
				t.Fatal(err)
			}
			r.reached("siem", 10)
		})
	}
}

// An operator may move the cursor while something is sent: what they said holds.
func TestMovedWhileSending(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(10)
	first := true
	sink := &memory{}
	sink.answer = func(ctx context.Context, entries []export.Entry) (export.Accepted, error) {
		if first {
			if err := r.db.Export().Move(ctx, export.Cursor{Sink: "siem", Next: 7, Since: time.Now()}); err != nil {
				t.Error(err)
			}
		}
		first = false
		return export.Accepted{Entries: len(entries)}, nil
	}
	stop := r.export(r.config(export.Target{Name: "siem", Sink: sink}))
	until(t, "what comes after the move", func() bool { return len(sink.indexes()) == 13 })
	stop()
	if got := sink.indexes(); !slices.Equal(got[10:], []int64{7, 8, 9}) {
		t.Errorf("got %v", got)
	}
}

// Several logs of one database: each has a cursor of its own.
func TestSeveralLogs(t *testing.T) {
	a, b := newRig(t, storetest.SQLite(t)), newRig(t, storetest.SQLite(t))
	a.calls(30)
	b.calls(40)
	sink := &memory{}
	c := a.config(export.Target{Name: "siem", Sink: sink})
	c.Logs = func(context.Context) ([]export.Log, error) {
		return []export.Log{{Origin: "a", Store: a.db.Audit().Exported()}, {Number: 1, Origin: "b", Store: b.db.Audit().Exported()}}, nil
	}
	stop := a.export(c)
	until(t, "all entries", func() bool { return len(sink.indexes()) == 70 })
	stop()
	byLog := map[string][]int64{}
	for _, e := range sink.got {
		byLog[e.Origin] = append(byLog[e.Origin], e.Index)
	}
	exactly(t, byLog["a"], 30)
	exactly(t, byLog["b"], 40)
}

// Nothing that belongs to a person is in anything that any sink is given, and a leaf
// that somebody changed is not passed on.
func TestNothingPersonalLeaves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.calls(3)
		secret := `{"action":"call","token":"ada@example.com"}`
		storetest.OpenRaw(t, dsn).Exec(`UPDATE audit_entries SET leaf = $1 WHERE seq = 1`, []byte(secret))
		sink := &memory{}
		stop := r.export(r.config(export.Target{Name: "siem", Sink: sink, Filter: export.Filter{Least: audit.SeverityAlert}}))
		r.reached("siem", 3)
		stop()
		all := &memory{}
		stop = r.export(r.config(export.Target{Name: "all", Sink: all}))
		r.reached("all", 3)
		stop()
		if got := sink.indexes(); !slices.Equal(got, []int64{1}) {
			t.Errorf("a changed entry passes every filter: %v", got)
		}
		format, err := export.SyslogFormat{}.WithDefaults()
		if err != nil {
			t.Fatal(err)
		}
		for i := range all.got {
			for kind, sent := range map[string][]byte{
				"line": all.got[i].AppendLine(nil), "syslog": format.AppendMessage(nil, &all.got[i]), "otlp": export.OTLPTestOnly(t, &all.got[i]),
			} {
				// No word of hexadecimal digits alone: hashes hold those by chance.
				for _, personal := range []string{"ada@example.com", "connection-1", "person-1", "sealed:"} {
					if strings.Contains(string(sent), personal) {
						t.Errorf("%s of entry %d holds %q: %s", kind, i, personal, sent)
					}
				}
			}
		}
		var line struct {
			Damaged bool            `json:"damaged"`
			Leaf    json.RawMessage `json:"leaf"`
			Hash    string          `json:"leaf_hash"`
		}
		if err := json.Unmarshal(all.got[1].AppendLine(nil), &line); err != nil || !line.Damaged || line.Leaf != nil || line.Hash != leafHash([]byte(secret)) {
			t.Errorf("a changed entry: %+v, %v", line, err)
		}
	})
}

func TestHeld(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	ctx := t.Context()
	for sink, next := range map[string]int64{"a": 70, "b": 50, "gone": 3} {
		if err := r.db.Export().Move(ctx, export.Cursor{Sink: sink, Next: next}); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		sinks map[string]bool
		log   int64
		want  int64
		ok    bool
	}{
		"none":                 {nil, 0, 0, false},
		"the smallest":         {map[string]bool{"a": false, "b": true}, 0, 50, true},
		"one":                  {map[string]bool{"a": false}, 0, 70, true},
		"not begun":            {map[string]bool{"a": false, "new": false}, 0, 0, true},
		"not begun, from now":  {map[string]bool{"a": false, "new": true}, 0, 70, true},
		"only from now":        {map[string]bool{"new": true}, 0, 0, false},
		"another log, not yet": {map[string]bool{"a": false}, 1, 0, true},
	} {
		if got, ok, err := export.Held(ctx, r.db.Export(), c.sinks, c.log); err != nil || got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %t, %v", name, got, ok, err)
		}
	}
}

func TestStates(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.calls(4)
	ctx, s := t.Context(), r.db.Export()
	state := func(configured ...string) string {
		t.Helper()
		all, err := export.Status(ctx, s, configured, must(r.logs(ctx)), time.Now())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		return all[0].State
	}
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("state %s, want %s", got, want)
		}
	}
	expect(state("siem"), export.StateNew)
	now := time.Now()
	if _, err := s.Lease(ctx, "siem", "me", now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx, export.Cursor{Sink: "siem", Since: now}); err != nil {
		t.Fatal(err)
	}
	expect(state("siem"), export.StateOK)
	expect(state(), export.StateRemoved)
	if _, err := s.Lease(ctx, "siem", "me", now, now); err != nil {
		t.Fatal(err)
	}
	expect(state("siem"), export.StateUnserved)
	if err := s.Advance(ctx, "me", 0, export.Cursor{Sink: "siem", Next: 4}, 4, 0); err != nil {
		t.Fatal(err)
	}
	expect(state("siem"), export.StateOK)
	if err := s.Failed(ctx, "me", export.Health{Sink: "siem", Class: export.TimedOut}); err != nil {
		t.Fatal(err)
	}
	expect(state("siem"), export.StateRetrying)
	if err := s.Stuck(ctx, "siem", "me", now); err != nil {
		t.Fatal(err)
	}
	expect(state("siem"), export.StateStuck)
}

func TestNewRefuses(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	good := export.Target{Name: "siem", Sink: &memory{}}
	for name, c := range map[string]export.Config{
		"no store":     {Logs: r.logs, Record: r.log.Record},
		"no logs":      {Store: r.db.Export(), Record: r.log.Record},
		"no record":    {Store: r.db.Export(), Logs: r.logs},
		"no name":      r.config(export.Target{Sink: &memory{}}),
		"no sink":      r.config(export.Target{Name: "siem"}),
		"a name twice": r.config(good, good),
	} {
		if _, err := export.New(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := export.New(r.config(good, export.Target{Name: "other", Sink: &memory{}})); err != nil {
		t.Errorf("near miss: %v", err)
	}
}
