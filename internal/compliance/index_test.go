package compliance_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/compliance"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/platform"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// countingStore counts what the index writes, and can fail or wait.
type countingStore struct {
	compliance.Store
	writes, ids, epochs atomic.Int32
	fail                atomic.Bool
	before              func()
}

func (s *countingStore) RecordIDs(ctx context.Context, app gatehouse.AppName, now, expires time.Time, ids []compliance.ID) error {
	if s.before != nil {
		s.before()
	}
	if s.fail.Load() {
		return errors.New("no space left on device")
	}
	s.writes.Add(1)
	s.ids.Add(int32(len(ids)))
	return s.Store.RecordIDs(ctx, app, now, expires, ids)
}

func (s *countingStore) Epoch(ctx context.Context, app gatehouse.AppName) (int64, error) {
	s.epochs.Add(1)
	return s.Store.Epoch(ctx, app)
}

func counted(d *desk) (*compliance.Compliance, *countingStore) {
	s := &countingStore{Store: d.DB.Compliance()}
	d.wrap = func(c *compliance.Config) { c.Store = s }
	return d.openAgain(), s
}

func TestWhatIsKnownIsNotWrittenAgain(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.Recheck = time.Hour })
	k, s := counted(d)
	d.deliver(k, platform.PostReference, "1", "2", "2", "1")
	d.deliver(k, platform.PostReference, "2", "1")
	d.deliver(k, platform.UserReference, "1")
	d.deliver(k, platform.PostReference)
	if s.writes.Load() != 2 || s.ids.Load() != 3 || s.epochs.Load() != 1 {
		t.Errorf("%d writes of %d identifiers, %d looks at the epoch", s.writes.Load(), s.ids.Load(), s.epochs.Load())
	}
	if k.Recorder("pages") != nil {
		t.Error("an app without compliance has a recorder")
	}
	// Another process does not know what this one remembers.
	d.deliver(d.openAgain(), platform.PostReference, "1")
	if s.writes.Load() != 3 {
		t.Error("a new process wrote nothing")
	}
}

// The memory is bounded; what it forgot is written again.
func TestTheMemoryIsBounded(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.Recheck, d.bound.Remember = time.Hour, 10 })
	k, s := counted(d)
	for i := range 100 {
		d.deliver(k, platform.PostReference, fmt.Sprint(i+1))
	}
	d.deliver(k, platform.PostReference, "100")
	if s.writes.Load() != 100 {
		t.Errorf("%d writes for what was remembered", s.writes.Load())
	}
	d.deliver(k, platform.PostReference, "1")
	if s.writes.Load() != 101 {
		t.Error("a hundred are remembered with room for twenty")
	}
}

// Calls that come while another writes share the next write.
func TestConcurrentDeliveriesShareWrites(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.Recheck = time.Hour })
	k, s := counted(d)
	first, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.before = func() {
		once.Do(func() { close(first) })
		<-gate
	}
	var group sync.WaitGroup
	var returned atomic.Int32
	deliver := func(id string) {
		group.Go(func() { d.deliver(k, platform.PostReference, id); returned.Add(1) })
	}
	deliver("1")
	<-first
	for i := range 50 {
		deliver(fmt.Sprint(i + 2))
	}
	for s.epochs.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // they are waiting, or nothing is shown
	if returned.Load() != 0 {
		t.Error("a delivery was reported as noted before it was")
	}
	close(gate)
	group.Wait()
	if n := s.writes.Load(); n > 4 || s.ids.Load() != 51 {
		t.Errorf("%d writes of %d identifiers", n, s.ids.Load())
	}
}

// What cannot be noted is an error that says so, and is noted when it can be.
func TestDeliveriesThatCannotBeNoted(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t))
	k, s := counted(d)
	s.fail.Store(true)
	err := k.Recorder("main-x")(t.Context(), []platform.Reference{{Kind: platform.PostReference, ID: 5}})
	if wire.RuleOf(err) != "compliance/index" || wire.StatusOf(err) != 503 || !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("got %v with status %d", err, wire.StatusOf(err))
	}
	if !strings.Contains(d.lines.String(), "could not be noted") {
		t.Error("the operator is not told")
	}
	s.fail.Store(false)
	d.deliver(k, platform.PostReference, "5")
	if s.writes.Load() != 1 {
		t.Error("what failed was remembered as noted")
	}
}

// A delivery after a finding was handed over is noted again in every process,
// although each remembers an earlier one, and is asked about anew.
func TestRedeliveryIsNoticed(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		posts := d.posts(5, 1)
		other := d.openAgain()
		d.deliver(d.k, platform.PostReference, posts...)
		d.deliver(other, platform.PostReference, posts...)
		d.X.SetStanding(connecttest.Person(5), "suspended")
		d.run(d.k)
		if got := d.taken(); len(got) != 1 {
			t.Fatalf("found %q", got)
		}
		if s := d.status(d.k)[compliance.Post]; s.IDs != 0 {
			t.Fatalf("it stays in the index: %+v", s)
		}
		for _, k := range []*compliance.Compliance{other, d.k} {
			before := len(d.taken())
			d.X.SetStanding(connecttest.Person(5), "active")
			d.deliver(k, platform.PostReference, posts...)
			if s := d.status(d.k)[compliance.Post]; s.IDs != 1 {
				t.Fatal("the second delivery was not noted")
			}
			d.X.SetStanding(connecttest.Person(5), "suspended")
			d.run(d.k)
			if got := d.taken(); len(got) != before+1 {
				t.Fatalf("after the second delivery found %q", got)
			}
		}
		if d.found[0].Key == d.found[1].Key {
			t.Error("both lives of the identifier have one key")
		}
	})
}

// A delivery between the answer and its handing over belongs to the finding; one
// while it is handed over begins a new life.
func TestDeliveryWhileAFindingIsHandedOver(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		posts := d.posts(5, 1)
		d.deliver(d.k, platform.PostReference, posts...)
		d.X.Redact(posts[0], "deleted")
		var once sync.Once
		d.k.OnStep(func(step string) error {
			if step == "taken" {
				once.Do(func() {
					time.Sleep(2 * time.Millisecond) // the store keeps microseconds
					d.deliver(d.k, platform.PostReference, posts...)
				})
			}
			return nil
		})
		d.run(d.k)
		if s := d.status(d.k)[compliance.Post]; len(d.taken()) != 1 || s.IDs != 1 {
			t.Fatalf("found %q, status %+v", d.taken(), s)
		}
		d.run(d.k)
		if got := d.taken(); len(got) != 2 || d.found[0].Key == d.found[1].Key {
			t.Errorf("found %q", got)
		}
	})
}

// A finding is not handed over before every process has dropped its memory.
func TestFindingsSettle(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t), func(d *desk, _ *connecttest.Options) { d.bound.Settle = time.Hour })
	posts := d.posts(5, 1)
	d.deliver(d.k, platform.PostReference, posts...)
	d.X.Redact(posts[0], "deleted")
	if err := d.k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := errors.Join(d.k.Tend(t.Context()), d.k.HandOver(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if s := d.status(d.k)[compliance.Post]; s.Waiting != 1 || len(d.taken()) != 0 || s.State != compliance.Idle {
		t.Errorf("found %q, status %+v", d.taken(), s)
	}
}

// A full list drops its oldest, says so, and asks about the rest.
func TestFullListsDropTheOldest(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		if err := d.k.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		posts := d.posts(5, 12)
		for _, id := range posts { // each with a time of its own
			d.deliver(d.k, platform.PostReference, id)
		}
		if err := d.k.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := d.status(d.k)[compliance.Post]
		if s.IDs != 8 || s.Evicted != 4 || s.EvictedAt.IsZero() || !strings.Contains(d.lines.String(), "the oldest are no longer asked about") {
			t.Errorf("the status is %+v\n%s", s, d.lines)
		}
		for _, id := range posts {
			d.X.Redact(id, "deleted")
		}
		d.run(d.k)
		got, want := d.taken(), []string{}
		for _, id := range posts[4:] {
			want = append(want, "post "+id+" deleted")
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("found %q, want %q", got, want)
		}
	}, func(d *desk, _ *connecttest.Options) { d.app.MaxIDs = 8 })
}

// What the app may no longer hold is not asked about.
func TestListsExpire(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t))
	if err := d.k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-48 * time.Hour)
	if err := d.DB.Compliance().RecordIDs(t.Context(), "main-x", long, long.Add(time.Hour), []compliance.ID{{Kind: compliance.Post, Hash: []byte("h"), Sealed: []byte("s")}}); err != nil {
		t.Fatal(err)
	}
	d.deliver(d.k, platform.PostReference, "5")
	if err := d.k.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := d.status(d.k)[compliance.Post]; s.IDs != 1 || s.Evicted != 0 {
		t.Errorf("the status is %+v", s)
	}
}

// Neither the database nor the log holds an identifier or an address in clear.
func TestIdentifiersAreSealed(t *testing.T) {
	dsn := storetest.SQLite(t)
	d := newDesk(t, dsn)
	posts := d.posts(5, 2)
	d.deliver(d.k, platform.PostReference, posts...)
	d.X.Redact(posts[0], "deleted")
	d.k.OnStep(func(step string) error {
		if step == "uploaded" {
			return errors.New("killed")
		}
		return nil
	})
	if err := d.k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = d.k.Tend(t.Context())
	path := strings.TrimPrefix(dsn, "sqlite:")
	for _, file := range []string{path, path + "-wal"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, clear := range append(posts, "signature=") {
			if bytes.Contains(b, []byte(clear)) {
				t.Errorf("%s holds %q", file, clear)
			}
		}
	}
}

func TestNewRefusals(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t))
	for name, change := range map[string]func(*compliance.Config){
		"nobody takes findings": func(c *compliance.Config) { c.Found = nil },
		"no store":              func(c *compliance.Config) { c.Store = nil },
		"no time to keep":       func(c *compliance.Config) { c.Apps = []compliance.App{{Name: "a", API: "https://api.x.com"}} },
		"no address":            func(c *compliance.Config) { c.Apps = []compliance.App{{Name: "a", Keep: time.Hour}} },
		"an app twice": func(c *compliance.Config) {
			c.Apps = []compliance.App{{Name: "a", API: "x", Keep: time.Hour}, {Name: "a", API: "x", Keep: time.Hour}}
		},
	} {
		c := compliance.Config{Store: d.DB.Compliance(), Log: d.Log, Vault: d.Vault, Connections: d.Connections, API: d.Egress, Storage: d.Egress, Found: d.take}
		if _, err := compliance.New(c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := compliance.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// When compliance is switched off, what was found is still handed over.
func TestSwitchedOff(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t))
	posts := d.posts(5, 1)
	d.deliver(d.k, platform.PostReference, posts...)
	d.X.Redact(posts[0], "deleted")
	d.refuse = errors.New("not now")
	d.run(d.k)
	d.refuse = nil
	d.wrap = func(c *compliance.Config) { c.Apps = nil }
	off := d.openAgain()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- off.Run(ctx) }()
	for deadline := time.Now().Add(time.Minute); len(d.taken()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was handed over\n%s", d.lines)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := d.status(off)[compliance.Post]; s.On || s.State != compliance.Idle {
		t.Errorf("the status is %+v", s)
	}
	if err := off.Start(t.Context()); wire.RuleOf(err) != "compliance/off" {
		t.Errorf("starting what is off gives %v", err)
	}
}

// Run does it all by the clock, and ends.
func TestRun(t *testing.T) {
	d := newDesk(t, storetest.SQLite(t))
	posts := d.posts(5, 1)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.k.Run(ctx) }()
	d.deliver(d.k, platform.PostReference, posts...)
	d.X.Redact(posts[0], "deleted")
	if err := d.openAgain().Start(t.Context()); err != nil { // as the command does
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); len(d.taken()) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was found\n%s", d.lines)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := d.taken(); len(got) != 1 {
		t.Errorf("found %q", got)
	}
}

// BenchmarkRecord is the cost of noting new and known identifiers of a reply, with
// bytes on disk for each.
func BenchmarkRecord(b *testing.B) {
	for _, engine := range []struct {
		name string
		open func(testing.TB) string
	}{{"sqlite", storetest.SQLite}, {"postgres", storetest.Postgres}} {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprint(engine.name, "/new-", n), func(b *testing.B) { benchmarkRecord(b, engine.open(b), n, true) })
			b.Run(fmt.Sprint(engine.name, "/known-", n), func(b *testing.B) { benchmarkRecord(b, engine.open(b), n, false) })
		}
	}
}

func benchmarkRecord(b *testing.B, dsn string, n int, fresh bool) {
	w := connecttest.New(b, dsn, connecttest.Options{})
	k, err := compliance.New(compliance.Config{
		Store: w.DB.Compliance(), Log: w.Log, Vault: w.Vault, Connections: w.Connections, API: w.Egress, Storage: w.Egress,
		Apps:  []compliance.App{{Name: "main-x", API: w.XURL, Keep: 24 * time.Hour}},
		Found: func(context.Context, compliance.Finding) error { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	record, next := k.Recorder("main-x"), uint64(1_800_000_000_000_000_000)
	refs := make([]platform.Reference, n)
	b.ResetTimer()
	for i := range b.N {
		for j := range refs {
			if fresh || i == 0 {
				next += 977
				refs[j] = platform.Reference{Kind: platform.PostReference, ID: next}
			}
		}
		if err := record(b.Context(), refs); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if !fresh || n == 1 {
		return
	}
	raw, size := storetest.OpenRaw(b, dsn), "SELECT pg_total_relation_size('compliance_ids')"
	if strings.HasPrefix(dsn, "sqlite:") {
		size = "SELECT sum(pgsize) FROM dbstat WHERE name LIKE '%compliance_ids%'"
	}
	_, rows := raw.Query(size)
	b.ReportMetric(float64(rows[0][0].(int64))/float64(b.N*n), "bytes/id")
}
