package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/lineage"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// eachLineage runs f on the lineage.Store of both engines.
func eachLineage(t *testing.T, f func(t *testing.T, s lineage.Store)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, dsn string) { f(t, storetest.Open(t, dsn).Lineage()) })
}

func delivery(class gatehouse.DataClass, service gatehouse.ServiceName) lineage.Edge {
	return lineage.Edge{
		Kind: lineage.Delivery, Verdict: lineage.Passed, Platform: gatehouse.X, App: "main-x", Class: class, Operation: "GET /2/users/{id}",
		Purpose: "insights", Service: service,
	}
}

func transfer(class gatehouse.DataClass, host string) lineage.Edge {
	return lineage.Edge{
		Kind: lineage.Sending, Verdict: lineage.Stopped, Platform: gatehouse.X, App: "main-x", Class: class, Operation: "GET /2/users/{id}",
		Purpose: "insights", Service: "web", Destination: host, SentFor: "analytics",
	}
}

// batch makes a batch at a moment; fingerprints live an hour and are fresh half of it.
func batch(at time.Duration, people []string, flows []lineage.BatchFlow, prints ...lineage.BatchPrint) *lineage.Batch {
	b := &lineage.Batch{Now: moment(at), Expires: moment(at + time.Hour), Fresh: moment(at + time.Hour/2), Flows: flows, Prints: prints}
	for _, p := range people {
		b.People = append(b.People, lineage.BatchPerson{Hash: p, Platform: gatehouse.X})
	}
	for i := range b.Flows {
		f := &b.Flows[i]
		f.First, f.Last, f.Seen = b.Now, b.Now, 1
	}
	return b
}

func noteBatch(t *testing.T, s lineage.Store, b *lineage.Batch) lineage.Noted {
	t.Helper()
	n, err := s.Note(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func allPrints(t *testing.T, s lineage.Store) []lineage.StoredPrint {
	t.Helper()
	list, err := s.Prints(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLineageFlowsAreNotedOnceAndCounted(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		flows := func() []lineage.BatchFlow {
			return []lineage.BatchFlow{
				{Person: 0, Edge: delivery(gatehouse.Username, "web"), Handle: "h1", Day: 10},
				{Person: 1, Edge: delivery(gatehouse.Username, "web"), Day: 10},
				{Person: -1, Edge: transfer(gatehouse.Credential, "a.example"), Day: 10},
			}
		}
		first := noteBatch(t, s, batch(0, []string{"b", "a"}, flows()))
		second := noteBatch(t, s, batch(time.Minute, []string{"b", "a"}, flows()))
		if !cmp.Equal(first, second) || first.Owners[0] == first.Owners[1] || first.Owners[0] == 0 || first.Edges[0] != first.Edges[1] ||
			first.Edges[0] == first.Edges[2] || first.Handles[0] == 0 || first.Handles[1] != 0 {
			t.Fatalf("the numbers are %v and then %v", first, second)
		}
		known := flows()
		known[0].EdgeID = first.Edges[0]
		if third := noteBatch(t, s, batch(2*time.Minute, []string{"b", "a"}, known)); !cmp.Equal(first, third) {
			t.Errorf("with the edge's number they are %v", third)
		}
		key := lineage.FlowKey{Owner: first.Owners[0], Day: 10, Edge: first.Edges[0], Handle: first.Handles[0]}
		missing := key
		missing.Day = 11
		for _, last := range []time.Duration{time.Hour, 30 * time.Minute} {
			if err := s.Count(t.Context(), []lineage.Count{{FlowKey: key, Seen: 5, Last: moment(last)}, {FlowKey: missing, Seen: 5, Last: moment(last)}}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.Flows(t.Context(), lineage.Selection{Owner: first.Owners[0], Until: 100, Limit: 10})
		want := []lineage.FlowRow{{
			FlowKey: key, Way: delivery(gatehouse.Username, "web"), HandleID: "h1", First: moment(0), Last: moment(time.Hour), Seen: 13,
		}}
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("read back with %v: %s", err, cmp.Diff(want, got))
		}
	})
}

func TestLineagePrints(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		p := func(n byte) lineage.BatchPrint {
			return lineage.BatchPrint{Person: 0, Print: fingerprint.Print{15: n}, Class: gatehouse.EmailAddress, Entered: n == 2}
		}
		secret := lineage.BatchPrint{Person: -1, Print: fingerprint.Print{0: 1 << 7}, Class: gatehouse.Credential}
		owner := noteBatch(t, s, batch(0, []string{"a"}, nil, p(1), secret)).Owners[0]
		// Fresh ones stay; a stale one comes again with a new number.
		noteBatch(t, s, batch(10*time.Minute, []string{"a"}, nil, p(1), p(2), secret))
		before := allPrints(t, s)
		noteBatch(t, s, batch(40*time.Minute, []string{"a"}, nil, p(1)))
		after := allPrints(t, s)
		entry := func(print byte, o fingerprint.Owner, class gatehouse.DataClass, expires time.Duration) fingerprint.Entry {
			return fingerprint.Entry{Print: fingerprint.Print{15: print}, Owner: o, Class: class, Expires: moment(expires)}
		}
		entries := func(list []lineage.StoredPrint) (out []fingerprint.Entry) {
			for _, p := range list {
				out = append(out, p.Entry)
			}
			return out
		}
		one, other := entry(1, owner, gatehouse.EmailAddress, time.Hour), entry(2, owner, gatehouse.EmailAddress, 70*time.Minute)
		other.Entered = true
		nobodys := fingerprint.Entry{Print: secret.Print, Class: gatehouse.Credential, Expires: moment(time.Hour)}
		if want := []fingerprint.Entry{one, nobodys, other}; !cmp.Equal(entries(before), want) {
			t.Fatalf("the fingerprints: %s", cmp.Diff(want, entries(before)))
		}
		one.Expires = moment(100 * time.Minute)
		if want := []fingerprint.Entry{nobodys, other, one}; !cmp.Equal(entries(after), want) || after[2].Seq <= before[2].Seq {
			t.Fatalf("after one was extended: %s", cmp.Diff(want, entries(after)))
		}
		if page, err := s.Prints(t.Context(), after[0].Seq, 1); err != nil || !cmp.Equal(page, after[1:2]) {
			t.Errorf("the page is %v, %v", page, err)
		}

		held, err := s.Held(t.Context())
		if want := (lineage.Held{Prints: 3, Last: after[2].Seq, NextExpiry: moment(time.Hour)}); err != nil || !cmp.Equal(held, want) {
			t.Errorf("held with %v: %s", err, cmp.Diff(want, held))
		}
		if n, err := s.ExpirePrints(t.Context(), moment(time.Hour), 10); err != nil || n != 0 {
			t.Errorf("%d expired early, %v", n, err)
		}
		if n, err := s.ExpirePrints(t.Context(), moment(time.Hour+time.Second), 10); err != nil || n != 1 {
			t.Errorf("%d expired, %v", n, err)
		}
		for i, want := range []bool{true, false, true} {
			n, say, err := s.EvictPrints(t.Context(), moment(2*time.Hour+time.Duration(i)*40*time.Minute), 1)
			if err != nil || n != []int64{1, 1, 0}[i] || say != (want && n > 0) {
				t.Errorf("eviction %d: %d, %t, %v", i, n, say, err)
			}
		}
		held, err = s.Held(t.Context())
		if want := (lineage.Held{Expired: 1, Evicted: 2, EvictedAt: moment(160 * time.Minute)}); err != nil || !cmp.Equal(held, want) {
			t.Errorf("held at the end with %v: %s", err, cmp.Diff(want, held))
		}
	})
}

func TestLineageProgress(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		older := lineage.Progress{Loaded: 5, ToLoad: 10, Began: moment(0)}
		newer := lineage.Progress{Loaded: 1, ToLoad: 2, Began: moment(time.Minute), Done: moment(time.Hour)}
		// The process that started last has the word.
		for _, p := range []lineage.Progress{older, newer, older} {
			if err := s.Loading(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		if held, err := s.Held(t.Context()); err != nil || held.Progress != newer {
			t.Errorf("the progress is %+v, %v", held.Progress, err)
		}
	})
}

// An erased person's number leads to nobody, the flows stay, and the same hash is
// somebody new.
func TestLineageErase(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		ctx := t.Context()
		flow := func() []lineage.BatchFlow {
			return []lineage.BatchFlow{{Person: 0, Edge: delivery(gatehouse.EmailAddress, "web"), Day: 10}}
		}
		print := lineage.BatchPrint{Person: 0, Print: fingerprint.Print{7}, Class: gatehouse.EmailAddress}
		gone := noteBatch(t, s, batch(0, []string{"a"}, flow(), print)).Owners[0]
		other := noteBatch(t, s, batch(0, []string{"b"}, flow(), lineage.BatchPrint{Person: 0, Print: fingerprint.Print{8}, Class: gatehouse.EmailAddress})).Owners[0]
		for i, want := range [][]fingerprint.Owner{{gone}, nil} {
			owners, prints, err := s.Erase(ctx, []string{"a", "unknown", ""}, moment(time.Hour), moment(2*time.Hour))
			if err != nil || !cmp.Equal(owners, want) || prints != int64(1-i) {
				t.Fatalf("erased are %v with %d fingerprints, %v", owners, prints, err)
			}
		}
		people, err := s.People(ctx, []fingerprint.Owner{gone, other, 99})
		want := []lineage.PersonRow{{Owner: gone, Platform: gatehouse.X, Erased: moment(time.Hour)}, {Owner: other, Hash: "b", Platform: gatehouse.X}}
		if err != nil || !cmp.Equal(people, want) {
			t.Errorf("people with %v: %s", err, cmp.Diff(want, people))
		}
		if rows, err := s.Flows(ctx, lineage.Selection{Owner: gone, Until: 100, Limit: 10}); err != nil || len(rows) != 1 {
			t.Errorf("the flows that stay are %v, %v", rows, err)
		}
		if owners, err := s.Owners(ctx, []string{"a", "b", ""}); err != nil || !cmp.Equal(owners, []fingerprint.Owner{other}) {
			t.Errorf("found are %v, %v", owners, err)
		}
		list := allPrints(t, s)
		if len(list) != 2 || list[0].Owner != other || list[1].Owner != gone || list[1].Class != "" || !list[1].Expires.Equal(moment(2*time.Hour)) {
			t.Errorf("the fingerprints are %v", list)
		}
		if again := noteBatch(t, s, batch(time.Hour, []string{"a"}, flow(), print)).Owners[0]; again == gone {
			t.Error("who comes back has the number of the one who was erased")
		}
	})
}

func TestLineageOrigin(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		old, newer, elsewhere := delivery(gatehouse.EmailAddress, "web"), delivery(gatehouse.EmailAddress, "web"), delivery(gatehouse.EmailAddress, "batch")
		old.Operation, newer.Operation = "GET /old", "GET /new"
		n := noteBatch(t, s, batch(0, []string{"a", "b"}, []lineage.BatchFlow{
			{Person: 0, Edge: newer, Day: 11}, {Person: 0, Edge: old, Day: 10}, {Person: 0, Edge: elsewhere, Day: 12},
			{Person: 0, Edge: delivery(gatehouse.Username, "web"), Day: 13}, {Person: 0, Edge: transfer(gatehouse.EmailAddress, "a.example"), Day: 14},
			{Person: 1, Edge: old, Day: 20},
		}))
		for service, want := range map[gatehouse.ServiceName]lineage.Edge{"web": newer, "batch": elsewhere, "nobody": elsewhere} {
			key := lineage.OriginKey{Owner: n.Owners[0], Class: gatehouse.EmailAddress, Service: service}
			if got, err := s.Origins(t.Context(), []lineage.OriginKey{key}, 10); err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("to %s it came from %v, %v", service, got, err)
			}
		}
		// Many at once, in their order, each with what is its own.
		var keys []lineage.OriginKey
		for range 20 {
			for _, o := range []lineage.Owner{n.Owners[1], n.Owners[0], 1 << 30} {
				keys = append(keys, lineage.OriginKey{Owner: o + lineage.Owner(len(keys)/3)<<20, Class: gatehouse.EmailAddress, Service: "batch"})
			}
		}
		keys[2].Class = gatehouse.PhoneNumber
		got, err := s.Origins(t.Context(), keys, 11)
		if err != nil || len(got) != len(keys) {
			t.Fatal(len(got), err)
		}
		for i, e := range got {
			if want := map[int]lineage.Edge{0: old, 1: elsewhere}[i]; e != want {
				t.Errorf("number %d came from %v, want %v", i, e, want)
			}
		}
		if got, err := s.Origins(t.Context(), keys[:2], 21); err != nil || got[0] != (lineage.Edge{}) || got[1] != (lineage.Edge{}) {
			t.Errorf("before that day: %v, %v", got, err)
		}
	})
}

// Every question pages through the same flows, newest first, without losing or
// doubling one.
func TestLineageQuestionsPage(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		var flows []lineage.BatchFlow
		for day := range 4 {
			for person := range 3 {
				for _, handle := range []gatehouse.HandleID{"h1", "h2", ""} {
					for _, e := range []lineage.Edge{
						delivery(gatehouse.Username, "web"), delivery(gatehouse.EmailAddress, "web"), delivery(gatehouse.EmailAddress, "batch"),
						transfer(gatehouse.EmailAddress, "a.example"),
					} {
						flows = append(flows, lineage.BatchFlow{Person: person, Edge: e, Handle: handle, Day: lineage.Day(10 + day)})
					}
				}
			}
		}
		owners := noteBatch(t, s, batch(0, []string{"a", "b", "c"}, flows)).Owners
		for name, q := range map[string]struct {
			sel  lineage.Selection
			want int
		}{
			"all": {lineage.Selection{}, 144}, "owner": {lineage.Selection{Owner: owners[1]}, 48}, "handle": {lineage.Selection{Handle: "h1"}, 48},
			"destination": {lineage.Selection{Destination: "a.example"}, 36}, "service": {lineage.Selection{Service: "web"}, 108},
			"purpose": {lineage.Selection{Purpose: "insights"}, 144}, "sent for": {lineage.Selection{Purpose: "analytics"}, 36},
			"no handle": {lineage.Selection{Handle: "none"}, 0}, "no destination": {lineage.Selection{Destination: "b.example"}, 0},
			"days": {lineage.Selection{Owner: owners[0], Since: 11, Until: 12}, 24}, "days of all": {lineage.Selection{Since: 12, Until: 12}, 36},
		} {
			if q.sel.Until == 0 {
				q.sel.Until = 1000
			}
			for _, limit := range []int{1, 7, 144, 1000} {
				var seen []lineage.FlowKey
				for sel := q.sel; ; {
					sel.Limit = limit
					page, err := s.Flows(t.Context(), sel)
					if err != nil {
						t.Fatal(err)
					}
					for _, f := range page {
						seen = append(seen, f.FlowKey)
						if f.Way.Kind == "" || (f.Handle > 0) != (f.HandleID != "") {
							t.Fatalf("%s: incomplete: %+v", name, f)
						}
					}
					if len(page) < limit {
						break
					}
					sel.After = page[len(page)-1].FlowKey
				}
				sorted := slices.IsSortedFunc(seen, func(a, b lineage.FlowKey) int { return int(b.Day - a.Day) })
				distinct := map[lineage.FlowKey]bool{}
				for _, k := range seen {
					distinct[k] = true
				}
				if len(seen) != q.want || len(distinct) != q.want || !sorted {
					t.Errorf("%s by %d: %d flows, %d different, sorted %t; want %d", name, limit, len(seen), len(distinct), sorted, q.want)
				}
			}
		}
		reached, err := s.Reached(t.Context(), lineage.Selection{Destination: "a.example", Until: 100, Limit: 2})
		if err != nil || !cmp.Equal(reached, owners[:2]) {
			t.Errorf("reached are %v, %v", reached, err)
		}
		reached, err = s.Reached(t.Context(), lineage.Selection{Service: "web", Until: 100, Limit: 2, After: lineage.FlowKey{Owner: owners[1]}})
		if err != nil || !cmp.Equal(reached, owners[2:]) {
			t.Errorf("behind are %v, %v", reached, err)
		}
		totals, err := s.Totals(t.Context(), 11, 12)
		if err != nil || len(totals) != 4 || totals[0].People != 3 || totals[0].Seen != 18 || totals[0].First != moment(0) {
			t.Errorf("the totals are %v, %v", totals, err)
		}
	})
}

func TestLineageSets(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		owners := noteBatch(t, s, batch(0, []string{"a", "b"}, nil)).Owners
		b := batch(0, nil, []lineage.BatchFlow{{Person: 0, Edge: transfer(gatehouse.EmailAddress, "a.example"), Day: 10}})
		b.People = []lineage.BatchPerson{{Hash: "set", Candidates: owners}}
		set := noteBatch(t, s, b).Owners[0]
		noteBatch(t, s, b)
		if sets, err := s.Sets(t.Context(), owners[1]); err != nil || !cmp.Equal(sets, []fingerprint.Owner{set}) {
			t.Errorf("the sets are %v, %v", sets, err)
		}
		if people, err := s.People(t.Context(), []fingerprint.Owner{set}); err != nil || len(people) != 1 || !cmp.Equal(people[0].Candidates, owners) {
			t.Errorf("the candidates are %v, %v", people, err)
		}
	})
}

// What is over goes, and with it people and sets of whom nothing is left.
func TestLineageExpiry(t *testing.T) {
	eachLineage(t, func(t *testing.T, s lineage.Store) {
		ctx := t.Context()
		e := delivery(gatehouse.EmailAddress, "web")
		owners := noteBatch(t, s, batch(0, []string{"old", "new", "secret", "member"}, []lineage.BatchFlow{
			{Person: 0, Edge: e, Day: 10, Handle: "h1"}, {Person: 1, Edge: e, Day: 10}, {Person: 1, Edge: e, Day: 12, Handle: "h2"}, {Person: 3, Edge: e, Day: 9},
		}, lineage.BatchPrint{Person: 2, Print: fingerprint.Print{5}, Class: gatehouse.Credential})).Owners
		b := batch(0, nil, []lineage.BatchFlow{{Person: 0, Edge: transfer(gatehouse.EmailAddress, "a.example"), Day: 12}})
		b.People = []lineage.BatchPerson{{Hash: "set", Candidates: owners[3:]}}
		set := noteBatch(t, s, b).Owners[0]
		for i, want := range []int64{2, 1, 0} {
			if n, err := s.ExpireFlows(ctx, 12, 2); err != nil || n != want {
				t.Fatalf("deletion %d: %d, %v", i, n, err)
			}
		}
		left := func() []fingerprint.Owner {
			for after := fingerprint.Owner(0); ; {
				next, err := s.ExpirePeople(ctx, after, 2)
				if err != nil {
					t.Fatal(err)
				}
				if after = next; next == 0 {
					break
				}
			}
			people, err := s.People(ctx, append(slices.Clone(owners), set))
			if err != nil {
				t.Fatal(err)
			}
			var left []fingerprint.Owner
			for _, p := range people {
				left = append(left, p.Owner)
			}
			return left
		}
		if got, want := left(), []fingerprint.Owner{owners[1], owners[2], owners[3], set}; !cmp.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
		if _, err := s.ExpireFlows(ctx, 13, 10); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ExpirePrints(ctx, moment(2*time.Hour), 10); err != nil {
			t.Fatal(err)
		}
		left() // a set goes in one round, and its members in the next
		if got := left(); got != nil {
			t.Errorf("left are %v", got)
		}
	})
}

// Two processes that note the same people at the same time agree about their numbers.
func TestLineageIsSharedByProcesses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		var stores []lineage.Store
		for range 2 {
			d, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			stores = append(stores, d.Lineage())
		}
		type result struct {
			noted lineage.Noted
			err   error
		}
		done := make(chan result)
		for _, s := range stores {
			go func() {
				var people []string
				var flows []lineage.BatchFlow
				for i := range 50 {
					people = append(people, fmt.Sprint("person ", i))
					flows = append(flows, lineage.BatchFlow{Person: i, Edge: delivery(gatehouse.Username, "web"), Handle: "h", Day: 10})
				}
				n, err := s.Note(t.Context(), batch(0, people, flows, lineage.BatchPrint{Person: 3, Print: fingerprint.Print{9}, Class: gatehouse.Username}))
				done <- result{n, err}
			}()
		}
		a, b := <-done, <-done
		if a.err != nil || b.err != nil || !cmp.Equal(a.noted, b.noted) {
			t.Errorf("they differ: %v, %v, %s", a.err, b.err, cmp.Diff(a.noted, b.noted))
		}
		rows, err := stores[0].Flows(t.Context(), lineage.Selection{Until: 100, Limit: 100})
		if err != nil || len(rows) != 50 || rows[0].Seen != 2 {
			t.Errorf("there are %d flows, %v", len(rows), err)
		}
	})
}
