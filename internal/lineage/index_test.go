package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/lineage"
	"gatehouse/internal/store/storetest"
)

func (w *world) recognises(l *lineage.Lineage, id string) bool {
	w.t.Helper()
	return rule(w.send(l, to("probe.example"), mail(id))) == "lineage/stopped"
}

func (w *world) poll(l *lineage.Lineage) {
	w.t.Helper()
	if err := l.Poll(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// What one process delivers another recognises a moment later.
func TestProcessesLearnFromEachOther(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.deliver(w.l, source, person("111222333444"))
		other := w.open()
		w.deliver(w.l, source, person("555666777888"))
		if !w.recognises(other, "111222333444") || w.recognises(other, "555666777888") {
			t.Fatal("before it looks, the other knows what was there when it started")
		}
		w.poll(other)
		w.poll(other)
		if !w.recognises(other, "555666777888") {
			t.Error("after it looked, it does not know the rest")
		}
	})
}

// An erasure reaches every process, and nothing brings the person back: neither a
// poll, nor a restart, nor what was read before.
func TestErasure(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		c := w.Connect("ada", "publish", connecttest.Person(0))
		id := w.UserOf(c.ID)
		w.deliver(w.l, source, person(id), person("555666777888"))
		_ = w.send(w.l, to("a.example"), mail(id))
		other := w.open()
		for range 2 {
			if err := w.l.Erase(ctx, c.Person); err != nil {
				t.Fatal(err)
			}
		}
		w.poll(other)
		for name, l := range map[string]*lineage.Lineage{"here": w.l, "elsewhere": other, "after a restart": w.open()} {
			w.poll(l)
			if w.recognises(l, id) || !w.recognises(l, "555666777888") {
				t.Errorf("%s: the erased is recognised %t, the other %t", name, w.recognises(l, id), w.recognises(l, "555666777888"))
			}
			same(t, name, w.of(l, id))
			erased := 0
			for _, f := range w.flows(l, lineage.Subject{Service: "web"}) {
				if f.Person.Erased {
					erased++
					if f.Person.Person != "" || f.Person.Platform != "" {
						t.Errorf("%s: a tombstone says %+v", name, f.Person)
					}
				}
			}
			if erased != 3 {
				t.Errorf("%s: %d flows of the erased stay", name, erased)
			}
		}
		if entries := w.actions("lineage.erase"); len(entries) != 1 {
			t.Errorf("the log says %q", entries)
		}
		// Who appears again is somebody new, in a process that knew the old one, too.
		for _, l := range []*lineage.Lineage{w.l, other} {
			w.deliver(l, source, person(id))
			same(t, "again", w.of(l, id), "delivery email web passed×1", "delivery pseudonymous-id web passed×1")
			if !w.recognises(l, id) {
				t.Error("who appears again is not recognised")
			}
			if err := w.l.EraseKeys(ctx, w.keys(id)...); err != nil {
				t.Fatal(err)
			}
			w.poll(other)
		}
	})
}

// Killed before or after it is stored, an erasure is done by being repeated.
func TestErasureThatIsInterrupted(t *testing.T) {
	for name, fault := range map[string]func(*faulty) interface{ Store(bool) }{
		"not stored": func(f *faulty) interface{ Store(bool) } { return &f.before },
		"stored":     func(f *faulty) interface{ Store(bool) } { return &f.after },
	} {
		t.Run(name, func(t *testing.T) {
			w, f := withFaulty(t)
			w.deliver(w.l, source, person("111222333444"))
			fault(f).Store(true)
			if err := w.l.EraseKeys(t.Context(), w.keys("111222333444")...); !errors.Is(err, errDisk) {
				t.Fatalf("erased with %v", err)
			}
			fault(f).Store(false)
			next := w.open() // the process died
			if err := next.EraseKeys(t.Context(), w.keys("111222333444")...); err != nil {
				t.Fatal(err)
			}
			for _, l := range []*lineage.Lineage{next, w.l} {
				w.poll(l)
				if w.recognises(l, "111222333444") {
					t.Error("the erased is recognised")
				}
				same(t, "flows", w.of(l, "111222333444"))
			}
			if held, err := w.DB.Lineage().Held(t.Context()); err != nil || held.Prints != 1 {
				t.Errorf("held is %+v, %v; want the word to others only", held, err)
			}
		})
	}
}

// Deliveries and erasures of the same people at the same time end in either order,
// but never with an erased person's values in an index.
func TestErasuresUnderTraffic(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := w.open()
		ids := make([]string, 8)
		for i := range ids {
			ids[i] = fmt.Sprint(111222333440 + i)
		}
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() {
				for _, id := range ids {
					if err := []*lineage.Lineage{w.l, other}[i%2].Deliver(t.Context(), source, []lineage.Delivered{person(id)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wait.Go(func() {
			for range 5 {
				if err := w.l.EraseKeys(t.Context(), w.keys(ids...)...); err != nil {
					t.Error(err)
				}
				if err := other.Poll(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		wait.Wait()
		if err := w.l.EraseKeys(t.Context(), w.keys(ids...)...); err != nil {
			t.Fatal(err)
		}
		w.poll(other)
		for _, id := range ids {
			if w.recognises(w.l, id) || w.recognises(other, id) {
				t.Errorf("%s is recognised", id)
			}
		}
	})
}

// meddler does something between the store and whoever asked it.
type meddler struct {
	lineage.Store
	afterPrints func([]lineage.StoredPrint) []lineage.StoredPrint
	afterNote   func()
}

func (m *meddler) Prints(ctx context.Context, after int64, limit int) ([]lineage.StoredPrint, error) {
	page, err := m.Store.Prints(ctx, after, limit)
	if f := m.afterPrints; f != nil {
		page = f(page)
	}
	return page, err
}

func (m *meddler) Note(ctx context.Context, b *lineage.Batch) (lineage.Noted, error) {
	n, err := m.Store.Note(ctx, b)
	if f := m.afterNote; f != nil {
		m.afterNote = nil
		f()
	}
	return n, err
}

// Whoever is erased while their rows are on the way from the table to the index
// stays out of it.
func TestErasedOnTheWay(t *testing.T) {
	m := &meddler{}
	w := fresh(t, func(c *lineage.Config) {
		m.Store = c.Store
		c.Store = m
	})
	erase := func(id string) {
		if err := w.l.EraseKeys(t.Context(), w.keys(id)...); err != nil {
			t.Error(err)
		}
	}
	w.deliver(w.l, source, person("111222333444"))
	m.afterPrints = func(page []lineage.StoredPrint) []lineage.StoredPrint {
		m.afterPrints = nil
		erase("111222333444")
		return page
	}
	w.poll(w.l)
	if w.recognises(w.l, "111222333444") {
		t.Error("a page that was read before brought the person back")
	}
	m.afterNote = func() { erase("555666777888") }
	w.deliver(w.l, source, person("555666777888"))
	if w.recognises(w.l, "555666777888") {
		t.Error("a delivery under way brought the person back")
	}
	// Nor is the delivery remembered as one of the new person.
	w.deliver(w.l, source, person("555666777888"))
	same(t, "again", w.of(w.l, "555666777888"), "delivery email web passed×1", "delivery pseudonymous-id web passed×1")
	if !w.recognises(w.l, "555666777888") {
		t.Error("who is delivered again is not recognised")
	}
}

// A fingerprint may become visible after others with greater numbers; it is read all
// the same.
func TestLateFingerprintsAreRead(t *testing.T) {
	m := &meddler{}
	w := fresh(t, func(c *lineage.Config) {
		m.Store = c.Store
		c.Store = m
	})
	other := w.open()
	var late int64
	m.afterPrints = func(page []lineage.StoredPrint) (seen []lineage.StoredPrint) {
		for _, p := range page {
			if late == 0 {
				late = p.Seq
			}
			if p.Seq > late+1 { // a person has two
				seen = append(seen, p)
			}
		}
		return seen
	}
	w.deliver(w.l, source, person("111222333444"))
	w.deliver(w.l, source, person("555666777888"))
	w.poll(other)
	if w.recognises(other, "111222333444") || !w.recognises(other, "555666777888") {
		t.Fatal("the first two are not late")
	}
	m.afterPrints = nil
	w.poll(other)
	if !w.recognises(other, "111222333444") {
		t.Error("what came late was never read")
	}
}

// Everything is read, page by page, and how far it has come can be seen.
func TestLoading(t *testing.T) {
	w := fresh(t, nil)
	if s, err := w.start().Status(t.Context()); err != nil || s.State != "ready" {
		t.Errorf("the status of an empty index is %+v, %v", s, err)
	}
	n := lineage.Pages + 5
	b := lineage.Batch{Now: time.Now(), Expires: time.Now().Add(time.Hour), People: []lineage.BatchPerson{{Hash: "h", Platform: gatehouse.X}}}
	for i := range n {
		b.Prints = append(b.Prints, lineage.BatchPrint{Print: lineage.Print{13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}, Class: gatehouse.PostID})
	}
	if _, err := w.DB.Lineage().Note(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	w.deliver(w.l, source, person("111222333444"))
	var during []lineage.Status
	w.wrap = func(c *lineage.Config) { c.Store = &watched{Store: c.Store, during: &during} }
	l := w.open()
	if !w.recognises(l, "111222333444") {
		t.Error("what was on the last page is not recognised")
	}
	if len(during) != 2 || during[0].State != "loading" || during[0].Percent != 0 {
		t.Errorf("during it: %+v", during)
	}
	s, err := l.Status(t.Context())
	if err != nil || s.State != "ready" || s.Percent != 100 || s.Prints != int64(n+2) || s.Progress.Loaded != s.Prints {
		t.Errorf("after it: %+v, %v", s, err)
	}
	if page, err := l.Flows(t.Context(), lineage.Question{}); err != nil || page.Note != "" {
		t.Errorf("a note after loading: %q, %v", page.Note, err)
	}
	began := time.Now().Add(time.Minute)
	if err := w.DB.Lineage().Loading(t.Context(), lineage.Progress{Loaded: 1, ToLoad: 3, Began: began}); err != nil {
		t.Fatal(err)
	}
	if page, err := l.Flows(t.Context(), lineage.Question{}); err != nil || page.Note == "" {
		t.Errorf("no note while loading: %v", err)
	}
}

// watched looks at the status whenever a page is read.
type watched struct {
	lineage.Store
	during *[]lineage.Status
}

func (s *watched) Prints(ctx context.Context, after int64, limit int) ([]lineage.StoredPrint, error) {
	held, err := s.Held(ctx)
	if err != nil {
		return nil, err
	}
	state := "loading"
	if !held.Progress.Done.IsZero() {
		state = "ready"
	}
	*s.during = append(*s.during, lineage.Status{State: state, Held: held})
	return s.Store.Prints(ctx, after, limit)
}

// When there is no room the oldest go, it is counted, and said once an hour.
func TestNoRoom(t *testing.T) {
	w := fresh(t, func(c *lineage.Config) { c.MaxFingerprints = 4 })
	for i := range 4 {
		w.deliver(w.l, source, person(fmt.Sprint(111222333440+i)))
	}
	for range 2 {
		if err := w.l.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.deliver(w.l, source, person("111222333444"))
	if err := w.l.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := w.l.Status(t.Context())
	if err != nil || s.Prints != 4 || s.Evicted != 6 || s.EvictedAt.IsZero() {
		t.Errorf("the status is %+v, %v", s, err)
	}
	if entries := w.actions("lineage.full"); len(entries) != 1 {
		t.Errorf("the log says %q", entries)
	}
	if l := w.open(); w.recognises(l, "111222333440") || !w.recognises(l, "111222333444") {
		t.Error("not the oldest went")
	}
}

// Fingerprints end some time after the last delivery, and are kept by another one.
func TestFingerprintsExpire(t *testing.T) {
	w := fresh(t, func(c *lineage.Config) { c.Keep = 24 * time.Hour })
	w.deliver(w.l, source, person("111222333444"))
	held, err := w.DB.Lineage().Held(t.Context())
	if left := time.Until(held.NextExpiry); err != nil || left < 24*time.Hour || left > 25*time.Hour+time.Minute {
		t.Errorf("it ends in %s, %v", left, err)
	}
	if _, err := w.DB.Lineage().ExpirePrints(t.Context(), time.Now().Add(26*time.Hour), 100); err != nil {
		t.Fatal(err)
	}
	if w.recognises(w.open(), "111222333444") {
		t.Error("what expired is recognised after a restart")
	}
}

// The background work starts, serves and ends with its context.
func TestRun(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), nil)
	w.deliver(w.l, source, person("111222333444"))
	ctx, stop := context.WithCancel(t.Context())
	l := w.start()
	done := make(chan error)
	go func() { done <- l.Run(ctx) }()
	for !l.Ready() {
		select {
		case err := <-done:
			t.Fatalf("it ended with %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	w.deliver(l, source, person("111222333444"))
	w.deliver(l, source, person("111222333444"))
	stop()
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
	// The last counts were written.
	same(t, "counts", w.of(w.open(), "111222333444"), "delivery email web passed×3", "delivery pseudonymous-id web passed×3")
}

// What was noted lately is forgotten in time, so that what is delivered again and
// again is kept.
func TestMemoryAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m lineage.Memory
		m.Put(1, time.Hour)
		time.Sleep(90 * time.Minute)
		m.Put(2, time.Hour)
		if !m.Has(1) || !m.Has(2) {
			t.Error("it forgets early")
		}
		time.Sleep(90 * time.Minute)
		m.Put(3, time.Hour)
		if m.Has(1) || !m.Has(2) {
			t.Error("it does not forget the oldest generation")
		}
		time.Sleep(3 * time.Hour)
		m.Put(4, time.Hour)
		if m.Has(3) || !m.Has(4) {
			t.Error("after a pause it believes what is too old")
		}
	})
}
