package reconcile_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/backup"
	"gatehouse/internal/identity"
	"gatehouse/internal/observe"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store/storetest"
)

// logged writes an intent and, unless it is "", its outcome.
func (r *rig) logged(action, verdict string, facts map[string]string) {
	r.t.Helper()
	receipt, err := r.log.Intent(r.ctx, audit.Entry{Action: action, Facts: facts})
	if err != nil {
		r.t.Fatal(err)
	}
	if verdict != "" {
		r.log.Outcome(receipt, audit.Entry{Action: action, Verdict: verdict})
	}
}

// event writes an entry that stands for itself.
func (r *rig) event(action string) {
	r.t.Helper()
	if _, err := r.log.Record(r.ctx, audit.Entry{Action: action}); err != nil {
		r.t.Fatal(err)
	}
}

// service is a row that keys and handles refer to.
func (r *rig) service() identity.ServiceRecord {
	r.t.Helper()
	record := identity.ServiceRecord{Service: identity.Service{ID: "svc1", Name: "scheduler", Created: time.Now()}, Environment: "test"}
	if err := r.db.Identity().SyncServices(r.ctx, []identity.ServiceRecord{record}, time.Now()); err != nil {
		r.t.Fatal(err)
	}
	return record
}

func (r *rig) addHandle(id gatehouse.HandleID) {
	r.t.Helper()
	record := identity.HandleRecord{Handle: identity.Handle{
		ID: id, Service: r.service().Service.ID, Connection: adaCon, Person: ada, Purpose: "publish", Platform: gatehouse.X, App: app,
		Created: time.Now(), Expires: time.Now().Add(time.Hour),
	}, Environment: "test"}
	if err := r.db.Identity().AddHandle(r.ctx, record); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addKey(id identity.ServiceKeyID) {
	r.t.Helper()
	if err := r.db.Identity().AddServiceKey(r.ctx, identity.ServiceKeyRecord{
		Key: identity.ServiceKey{ID: id, Service: "scheduler", Created: time.Now()}, Service: r.service(),
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addLine(seq int64) {
	r.t.Helper()
	if err := r.db.Backup().AddLine(r.ctx, backup.Line{Seq: seq, At: time.Now(), Person: gatehouse.PersonID(string(ada) + string(rune('0'+seq))), Text: "line"}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) addUses(n int64) {
	r.t.Helper()
	day := observe.DayOf(time.Now())
	call := observe.Call{Use: observe.Use{Service: "scheduler", Purpose: "publish", Operation: posts}, App: app, First: day, Last: day, Calls: n}
	if err := r.db.Observe().AddUses(r.ctx, []observe.Call{call}, nil); err != nil {
		r.t.Fatal(err)
	}
}

// ended writes an intent and its outcome with facts.
func (r *rig) ended(action, verdict string, facts map[string]string) {
	r.t.Helper()
	receipt, err := r.log.Intent(r.ctx, audit.Entry{Action: action})
	if err != nil {
		r.t.Fatal(err)
	}
	r.log.Outcome(receipt, audit.Entry{Action: action, Verdict: verdict, Facts: facts})
}

// records keeps so many records, and no others.
func (r *rig) records(n int) {
	r.raw("DELETE FROM records")
	for i := range n {
		r.raw("INSERT INTO records (person, purpose, label, json, sealed, size, created, updated, expires) VALUES ('p', 'publish', $1, 0, $2, 1, 1, 1, 0)", strconv.Itoa(i), []byte{1})
	}
}

// delivered keeps so many delivered events, and no others.
func (r *rig) delivered(n int) {
	r.raw("DELETE FROM outbox_events")
	for i := range n {
		r.raw(`INSERT INTO outbox_events (id, type, app, person, stream, state, created, since, due, attempts, class, updated, version)
			VALUES ($1, 'test', 'main-x', '', '', 'delivered', 1, 1, 0, 1, '', 1, 1)`, strconv.Itoa(i))
	}
}

// duties keeps duties, of which the last ones are closed, later than they were opened
// or at once.
func (r *rig) duties(n, closed int, atOnce bool) {
	r.raw("DELETE FROM duties")
	for i := range n {
		at := 0
		if i >= n-closed {
			at = 9
		}
		if at > 0 && atOnce {
			at = 5
		}
		r.raw(`INSERT INTO duties (id, kind, origin, app, platform, person, request, code, opened, deadline, revoked, asked, answered, answered_by,
			shredded, closed, justification, noted, look_at, proof, version)
			VALUES ($1, 'erasure', 'app', 'main-x', 'x', '', $1, $1, 5, 9, 0, 0, 0, '', 0, $2, '', 0, 0, '', 1)`, strconv.Itoa(i), at)
	}
}

// What is kept for the app, what it was told and what had to be deleted: each equation
// holds for what the log says, and finds what it does not; with a near miss of each.
func TestEquationsOfRecordsDeliveriesAndDuties(t *testing.T) {
	two, many := map[string]string{"records": "2"}, map[string]string{"records": "many"}
	for _, c := range []struct {
		name   string
		do     func(r *rig)
		excess int64
	}{
		{"records", func(r *rig) { r.logged("record.put", "done", nil); r.records(4) }, 0},
		{"records", func(r *rig) { r.logged("record.put", "done", nil) }, 0}, // in place of another
		{"records", func(r *rig) { r.logged("record.put", "done", nil); r.records(5) }, 1},
		{"records", func(r *rig) { r.logged("record.get", "done", nil); r.records(4) }, 1},
		{"records", func(r *rig) { r.ended("record.delete", "done", two); r.records(1) }, 0},
		{"records", func(r *rig) { r.ended("record.expire", "done", two); r.records(0) }, -1},
		{"records", func(r *rig) { r.records(2) }, -1},
		{"records", func(r *rig) { r.logged("record.delete", "", nil); r.records(0) }, 0}, // it died in between
		{"records", func(r *rig) { r.ended("record.delete", "failed", two); r.records(0) }, 0},
		{"records", func(r *rig) { r.ended("record.delete", "done", many); r.records(0) }, 0},
		{"records", func(r *rig) {
			if _, err := r.log.Record(r.ctx, audit.Entry{Action: "record.delete", Verdict: "refuse", Facts: two}); err != nil {
				r.t.Fatal(err)
			}
			r.records(2)
		}, -1},
		{"records", func(r *rig) {
			if _, err := r.log.Record(r.ctx, audit.Entry{Action: "record.delete", Facts: two}); err != nil {
				r.t.Fatal(err)
			}
			r.records(1)
		}, 0},
		{"deliveries", func(r *rig) { r.logged("event.deliver", "done", nil); r.delivered(4) }, 0},
		{"deliveries", func(r *rig) { r.event("event.ack"); r.delivered(4) }, 0},
		{"deliveries", func(r *rig) { r.logged("event.deliver", "failed", nil); r.delivered(3) }, 0},
		{"deliveries", func(r *rig) { r.delivered(4) }, 1},
		{"deliveries", func(r *rig) { r.logged("event.fetch", "done", nil); r.delivered(4) }, 1},
		{"deliveries", func(r *rig) { r.delivered(0) }, 0}, // they were swept
		{"duties-closed", func(r *rig) { r.event("duty.done"); r.duties(3, 2, false) }, 0},
		{"duties-closed", func(r *rig) { r.event("duty.refuse"); r.duties(3, 2, false) }, 0},
		{"duties-closed", func(r *rig) { r.event("duty.answer"); r.duties(3, 2, false) }, 1},
		{"duties-closed", func(r *rig) { r.duties(3, 2, false) }, 1},
		{"duties", func(r *rig) { r.duties(4, 1, false) }, 0},
		{"duties", func(r *rig) { r.event("duty.done"); r.duties(2, 1, false) }, -1},
	} {
		r := newRig(t, storetest.SQLite(t))
		r.records(3)
		r.delivered(3)
		r.duties(3, 1, false)
		r.all()
		c.do(r)
		r.settle()
		report := r.all()
		var got int64
		for _, d := range report.Differences {
			if d.Check != c.name {
				t.Errorf("%s: %+v", c.name, d)
			}
			got += d.Excess
		}
		if got != c.excess || len(report.Counts) != len(reconcile.Equations) {
			t.Errorf("%s: an excess of %d, want %d: %+v", c.name, got, c.excess, report)
		}
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("%s again: %+v", c.name, report.Differences)
		}
	}
}

// A duty that nothing has to be done for is closed when it is opened, and none of those
// that the log says were closed.
func TestDutiesThatAreClosedAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.records(2)
		r.delivered(2)
		r.all()
		r.duties(3, 3, true)
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("%+v", report.Differences)
		}
	})
}

// Whoever dies between saying that rows go and deleting them leaves rows of which
// nothing can be said, also after a comparison in between; after the next one it can.
func TestRemovalUnderWay(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.records(9)
	r.all()
	r.logged("record.delete", "", nil)
	r.all()
	for _, step := range []struct {
		left   int
		excess int64
	}{{7, 0}, {6, -1}} {
		r.records(step.left)
		var got int64
		for _, d := range r.all().Differences {
			got += d.Excess
		}
		if got != step.excess {
			t.Errorf("down to %d: an excess of %d, want %d", step.left, got, step.excess)
		}
	}
}

// An equation that the last comparison did not have yet begins with this one.
func TestNewEquation(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.records(3)
	r.all()
	r.raw("DELETE FROM reconcile_baseline WHERE name = 'records'")
	if report := r.all(); len(report.Differences) > 0 || len(report.Counts) != len(reconcile.Equations)-1 {
		t.Errorf("the first time: %+v", report)
	}
	r.records(4)
	if report := r.all(); len(report.Differences) != 1 || report.Differences[0].Check != "records" {
		t.Errorf("the second time: %+v", report)
	}
}

// Every equation holds for what the log announced, however it ended, and finds what
// the log does not know, or what it says was done and is not there.
func TestEquations(t *testing.T) {
	for _, c := range []struct {
		name   string
		do     func(r *rig)
		excess int64
	}{
		{"handles", func(r *rig) { r.logged("handle.create", "done", nil); r.addHandle("h1") }, 0},
		{"handles", func(r *rig) { r.logged("handle.create", "failed", nil) }, 0},
		{"handles", func(r *rig) { r.logged("handle.create", "failed", nil); r.addHandle("h1") }, 0}, // it took effect all the same
		{"handles", func(r *rig) { r.logged("handle.create", "", nil); r.addHandle("h1") }, 0},       // it died in between
		{"handles", func(r *rig) { r.logged("handle.create", "", nil) }, 0},
		{"handles", func(r *rig) { r.addHandle("h1") }, 1},
		{"handles", func(r *rig) { r.logged("handle.create", "done", nil); r.addHandle("h1"); r.addHandle("h2") }, 1},
		{"handles", func(r *rig) { r.logged("handle.create", "done", nil) }, -1},
		{"handles", func(r *rig) { r.logged("handle.revoke", "done", nil); r.addHandle("h1") }, 1},
		{"service-keys", func(r *rig) { r.logged("service.key.create", "done", nil); r.addKey("k1") }, 0},
		{"service-keys", func(r *rig) { r.addKey("k1") }, 1},
		{"service-keys", func(r *rig) { r.logged("service.key.create", "done", nil) }, -1},
		{"connections", func(r *rig) { r.logged("connect.redeem", "done", nil) }, 0}, // of one that there is
		{"uses", func(r *rig) { r.logged("call", "done", nil); r.addUses(1) }, 0},
		{"uses", func(r *rig) { r.logged("call", "done", map[string]string{"items": "3"}); r.addUses(3) }, 0},
		{"uses", func(r *rig) { r.logged("call", "done", nil) }, 0}, // nobody saw it, or it was killed before it was stored
		{"uses", func(r *rig) { r.logged("call", "done", nil); r.addUses(2) }, 1},
		{"erasures", func(r *rig) { r.event("person.erase"); r.addLine(1) }, 0},
		{"erasures", func(r *rig) { r.event("person.erase"); r.event("person.erase"); r.addLine(1) }, 0}, // begun again
	} {
		r := newRig(t, storetest.SQLite(t))
		r.service()
		if first := r.all(); first.Baseline != "first" || len(first.Differences) > 0 || len(first.Counts) > 0 {
			t.Fatalf("the first time: %+v", first)
		}
		c.do(r)
		r.settle()
		report := r.all()
		var got int64
		for _, d := range report.Differences {
			if d.Check != c.name {
				t.Errorf("%s: %+v", c.name, d)
			}
			got += d.Excess
		}
		if got != c.excess || report.Baseline != "" || len(report.Counts) != len(reconcile.Equations) {
			t.Errorf("%s: an excess of %d, want %d: %+v", c.name, got, c.excess, report)
		}
		// The next time compares from there.
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("%s again: %+v", c.name, report.Differences)
		}
	}
}

// settle waits for outcomes, which join the group of a later entry.
func (r *rig) settle() { r.event("run.start") }

// Each equation on both engines, with connections, of which only the store has rows.
func TestEquationsOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.service()
		r.all()
		r.addHandle("h1")
		r.addKey("k1")
		r.addUses(4)
		report := r.all()
		got := map[string]int64{}
		for _, d := range report.Differences {
			got[d.Check] = d.Excess
			if d.Entry == "" || d.Connection != "" || d.Until.Before(d.From) {
				t.Errorf("%+v", d)
			}
		}
		if len(got) != 3 || got["handles"] != 1 || got["service-keys"] != 1 || got["uses"] != 4 {
			t.Errorf("%+v", report)
		}
	})
}

// A revocation that is undone in its row is one too few; revoking is none too many.
// Nor is it one too few that old uses are forgotten.
func TestRevocationsStay(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		r.addHandle("h1")
		r.addKey("k1")
		r.addUses(3)
		r.all()
		if err := r.db.Identity().RevokeHandle(r.ctx, "h1", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := r.db.Identity().RevokeServiceKey(r.ctx, "k1", time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := r.db.Observe().ForgetUses(r.ctx, observe.DayOf(time.Now())+1); err != nil {
			t.Fatal(err)
		}
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("after revoking: %+v", report.Differences)
		}
		raw := storetest.OpenRaw(t, dsn)
		raw.ExecUncounted("UPDATE handles SET revoked = 0")
		raw.ExecUncounted("UPDATE service_keys SET revoked = 0")
		got := map[string]int64{}
		for _, d := range r.all().Differences {
			got[d.Check] = d.Excess
		}
		if len(got) != 2 || got["handles-revoked"] != -1 || got["service-keys-revoked"] != -1 {
			t.Errorf("after the rows were put back: %v", got)
		}
	})
}

// A line of the ledger is written before its entry: it is missing an entry only if it
// still does at the next time.
func TestErasureThatIsUnderWay(t *testing.T) {
	for name, later := range map[string]struct {
		do     func(r *rig)
		excess int64
	}{
		"goes on":       {func(r *rig) { r.event("person.erase") }, 0},
		"never happens": {func(*rig) {}, 1},
	} {
		r := newRig(t, storetest.SQLite(t))
		r.all()
		r.addLine(1)
		if report := r.all(); len(report.Differences) > 0 {
			t.Errorf("%s: at once: %+v", name, report.Differences)
		}
		later.do(r)
		var got int64
		for range 2 {
			for _, d := range r.all().Differences {
				got += d.Excess
			}
		}
		if got != later.excess {
			t.Errorf("%s: an excess of %d, want %d", name, got, later.excess)
		}
	}
}

// What services used is stored a few seconds later: also after a baseline, and then the
// calls before it explain it, but no more.
func TestUsesAfterTheBaseline(t *testing.T) {
	for uses, excess := range map[int64]int64{2: 0, 3: 1} {
		r := newRig(t, storetest.SQLite(t))
		r.logged("call", "done", nil)
		r.logged("call", "done", nil)
		r.all()
		r.addUses(uses)
		var got int64
		for _, d := range r.all().Differences {
			got += d.Excess
		}
		if got != excess {
			t.Errorf("%d uses of 2 calls: an excess of %d, want %d", uses, got, excess)
		}
	}
}

// An intent from before a baseline whose outcome and row come after it explains a row.
func TestOutcomeAfterTheBaseline(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	r.service()
	receipt, err := r.log.Intent(r.ctx, audit.Entry{Action: "handle.create"})
	if err != nil {
		t.Fatal(err)
	}
	r.all()
	r.addHandle("h1")
	r.log.Outcome(receipt, audit.Entry{Action: "handle.create", Verdict: "done"})
	r.settle()
	if report := r.all(); len(report.Differences) > 0 {
		t.Errorf("%+v", report.Differences)
	}
}

// After a restore, an accepted log or a set clock nothing is compared, and the report
// says why; from then on it is.
func TestCountsBeginAnew(t *testing.T) {
	for action, why := range map[string]string{"backup.restore": "restored", "log.accept": "accepted", "log.clock": "clock", "backup.create": ""} {
		r := newRig(t, storetest.SQLite(t))
		r.service()
		r.all()
		r.event(action)
		r.addHandle("h1")
		if report := r.all(); report.Baseline != why || (len(report.Differences) > 0) != (why == "") {
			t.Errorf("%s: %+v", action, report)
		}
		r.addHandle("h2")
		if report := r.all(); report.Baseline != "" || len(report.Differences) != 1 {
			t.Errorf("after %s: %+v", action, report)
		}
	}
}

// shorter is a store whose log has lost entries, or has others beside it.
type shorter struct {
	reconcile.Store
	sizes map[int64]int64
}

func (s shorter) Moment(ctx context.Context) (reconcile.Moment, error) {
	m, err := s.Store.Moment(ctx)
	m.Sizes = s.sizes
	return m, err
}

func TestOtherLogsThanBefore(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	for range 5 {
		r.event("run.start")
	}
	r.all()
	for why, sizes := range map[string]map[int64]int64{"shorter": {0: 2}, "logs": {7: 2}} {
		report, err := r.open(shorter{r.db.Reconcile(), sizes}).All(r.ctx)
		if err != nil || report.Baseline != why {
			t.Errorf("%v: %+v, %v", sizes, report, err)
		}
		r.all()
	}
}
