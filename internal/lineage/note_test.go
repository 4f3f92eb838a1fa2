package lineage_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// What is delivered is on record, once for each person, kind and day, with counts,
// and what was noted lately costs no write.
func TestDeliveriesAreNoted(t *testing.T) {
	w, f := withFaulty(t)
	both := []lineage.Delivered{person("111222333444"), person("555666777888", fingerprint.Value{Class: gatehouse.PostID, Text: "1700000000000000001"},
		fingerprint.Value{Class: gatehouse.PostID, Text: "1700000000000000002"})}
	for range 5 {
		w.deliver(w.l, source, both...)
	}
	if n := f.notes.Load(); n != 1 {
		t.Errorf("five deliveries of the same people took %d writes", n)
	}
	same(t, "one", w.of(w.l, "111222333444"), "delivery email web passed×5", "delivery pseudonymous-id web passed×5")
	same(t, "other", w.of(w.l, "555666777888"), "delivery email web passed×5", "delivery post-id web passed×5", "delivery pseudonymous-id web passed×5")
	same(t, "nobody", w.of(w.l, "999"))
	other := source
	other.Handle, other.Service = "handle-2", "batch"
	w.deliver(w.l, other, both[0])
	same(t, "handle", w.ask(w.l, lineage.Subject{Handle: "handle-2"}), "delivery email batch passed×1", "delivery pseudonymous-id batch passed×1")
	same(t, "service", w.ask(w.l, lineage.Subject{Service: "batch"}), "delivery email batch passed×1", "delivery pseudonymous-id batch passed×1")
	if flows := w.flows(w.l, lineage.Subject{Handle: "handle-2"}); flows[0].Operation != "GET /2/users/{id}" || flows[0].Purpose != "insights" || flows[0].App != "main-x" {
		t.Errorf("the flow is %+v", flows[0])
	}
}

// What a reply says of somebody in several places, or is told in pieces, is one
// delivery; the next call's is another.
func TestOneCallCountsOnce(t *testing.T) {
	w, _ := withFaulty(t)
	one, two, unnamed := source, source, source
	one.Call, two.Call = "call-1", "call-2"
	w.deliver(w.l, one, person("111222333444"), person("555666777888"), person("111222333444"))
	w.deliver(w.l, one, person("111222333444"))
	same(t, "pieces", w.of(w.l, "111222333444"), "delivery email web passed×1", "delivery pseudonymous-id web passed×1")
	w.deliver(w.l, two, person("111222333444"), person("111222333444"))
	same(t, "the next call", w.of(w.l, "111222333444"), "delivery email web passed×2", "delivery pseudonymous-id web passed×2")
	w.deliver(w.l, unnamed, person("555666777888"), person("555666777888"))
	same(t, "without a name", w.of(w.l, "555666777888"), "delivery email web passed×3", "delivery pseudonymous-id web passed×3")
}

// A delivery that cannot be noted is not completed, and one that could is found
// after a restart.
func TestDeliveriesThatCannotBeNoted(t *testing.T) {
	w, f := withFaulty(t)
	f.before.Store(true)
	err := w.l.Deliver(t.Context(), source, []lineage.Delivered{person("111222333444")})
	if !errors.Is(err, gatehouse.ErrUnavailable) || rule(err) != "lineage/flows" || strings.Contains(err.Error(), "111222333444") {
		t.Errorf("refused with %v", err)
	}
	f.before.Store(false)
	f.after.Store(true)
	if err := w.l.Deliver(t.Context(), source, []lineage.Delivered{person("111222333444")}); rule(err) != "lineage/flows" {
		t.Errorf("stored, and refused with %v", err)
	}
	f.after.Store(false)
	w.deliver(w.l, source, person("111222333444"))
	again := w.open()
	same(t, "after a restart", w.of(again, "111222333444"), "delivery email web passed×2", "delivery pseudonymous-id web passed×2")
	if err := w.send(again, to("a.example"), mail("111222333444")); rule(err) != "lineage/stopped" {
		t.Errorf("after a restart it is not recognised: %v", err)
	}
}

// Counts that cannot be written are written later.
func TestCountsAreNotLost(t *testing.T) {
	w, f := withFaulty(t)
	for range 3 {
		w.deliver(w.l, source, person("111222333444"))
	}
	f.before.Store(true)
	if err := w.l.Flush(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("flushed with %v", err)
	}
	w.deliver(w.l, source, person("111222333444"))
	f.before.Store(false)
	same(t, "counts", w.of(w.l, "111222333444"), "delivery email web passed×4", "delivery pseudonymous-id web passed×4")
}

// Many at once share writes, and nothing is lost.
func TestConcurrentDeliveries(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		other := w.open()
		var wait sync.WaitGroup
		for i := range 40 {
			wait.Go(func() {
				l := []*lineage.Lineage{w.l, other}[i%2]
				if err := l.Deliver(t.Context(), source, []lineage.Delivered{person("111222333444"), person("555666777888")}); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		if err := other.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"111222333444", "555666777888"} {
			same(t, id, w.of(w.l, id), "delivery email web passed×40", "delivery pseudonymous-id web passed×40")
		}
	})
}

// Deliveries of people who were noted lately allocate nothing.
func TestKnownDeliveriesAllocateNothing(t *testing.T) {
	w := fresh(t, nil)
	people := []lineage.Delivered{person("111222333444"), person("555666777888")}
	w.deliver(w.l, source, people...)
	ctx := t.Context()
	n := testing.AllocsPerRun(100, func() {
		if err := w.l.Deliver(ctx, source, people); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%g allocations", n)
	}
}

// Somebody whom a reply does not name is known by the strongest value.
func TestPeopleWithoutAnID(t *testing.T) {
	w := fresh(t, nil)
	nameless := lineage.Delivered{Values: []fingerprint.Value{{Class: gatehouse.PersonName, Text: "Ada Lovelace"}, {Class: gatehouse.EmailAddress, Text: "ada@example.com"}}}
	w.deliver(w.l, source, nameless, lineage.Delivered{}, lineage.Delivered{Values: []fingerprint.Value{{Class: gatehouse.EmailAddress, Text: "ada@example.com"}}})
	flows := w.flows(w.l, lineage.Subject{})
	if len(flows) != 2 || flows[0].Person.Number != flows[1].Person.Number {
		t.Errorf("the flows are %+v", flows)
	}
}

// No id and no value stands in the database, and none in the log.
func TestNothingIsPlainInTheDatabase(t *testing.T) {
	dsn := storetest.SQLite(t)
	w := newWorld(t, dsn, nil)
	const token = "canary-token-7d0f8a2b5c"
	w.deliver(w.l, source, person("777888999000", fingerprint.Value{Class: gatehouse.PersonName, Text: "Canary Personname"}))
	if err := w.l.Guard(t.Context(), lineage.Guarded{UserKey: w.keys("777888999000")[0], Platform: gatehouse.X, Secret: secret.New(token)}); err != nil {
		t.Fatal(err)
	}
	_ = w.send(w.l, to("a.example"), token+" "+mail("777888999000"))
	w.of(w.l, "777888999000")
	all := everything(t, dsn)
	if !strings.Contains(all, "a.example") {
		t.Fatal("the database's files were not read")
	}
	for _, plain := range []string{"777888999000", mail("777888999000"), "Canary Personname", token} {
		if strings.Contains(all, plain) {
			t.Errorf("%q stands in the database", plain)
		}
	}
}

// Who appeared before they connected is found as one person.
func TestWhoAppearedConnects(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.Connect("ada", "publish", connecttest.Person(0))
		id := w.UserOf(c.ID)
		w.deliver(w.l, source, person(id))
		flows := w.flows(w.l, lineage.Subject{Keys: w.keys(id)})
		if len(flows) != 2 || flows[0].Person.Person != c.Person {
			t.Errorf("the flows of who connected are %+v", flows)
		}
		keys, err := w.Connections.UserKeys(t.Context(), c.Person)
		if err != nil || !cmp.Equal(keys, w.keys(id)) {
			t.Errorf("the person's keys are %q, %v", keys, err)
		}
	})
}
