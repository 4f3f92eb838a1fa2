package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
)

// Spans of the package's segments.
const (
	shortSpan = 1024
	longSpan  = 65536
)

// A pastLog is a log that was written without one: the store's rows only, and what a
// plain scan would find in them.
type pastLog struct {
	t      testing.TB
	db     *store.DB
	random *rand.Rand
	leaves []audit.Leaf
	// people are the hash under which the entry lies beside the tree, if any.
	people []gatehouse.PersonID
	open   []string
	clock  int64
}

// firstTime is before all entries, however often the clock was set.
const firstTime = 1_699_900_000_000_000

func newPast(t testing.TB, db *store.DB, seed uint64) *pastLog {
	return &pastLog{t: t, db: db, random: rand.New(rand.NewPCG(seed, 1)), clock: 1_700_000_000_000_000}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// leaf makes an entry as they come: intents with outcomes, refusals, and rare things.
func (h *pastLog) leaf() (audit.Leaf, gatehouse.PersonID) {
	r := h.random
	h.clock += int64(r.IntN(2_000_000))
	if r.IntN(5000) == 0 {
		h.clock -= 3_600_000_000 // somebody set the clock
	}
	l := audit.Leaf{
		ID: fmt.Sprintf("%06d-%016x", len(h.leaves), r.Uint64()), Environment: "production", Time: h.clock, Version: 2,
		Service: pick[gatehouse.ServiceName](r, "web", "web", "web", "scheduler", "billing"),
	}
	person := gatehouse.PersonID("person-" + strconv.Itoa(r.IntN(200)))
	switch n := r.IntN(100); {
	case n < 45:
		l.Action, l.Kind, l.Verdict = "call", audit.KindIntent, pick(r, "allow", "allow", "allow", "report")
		l.Platform, l.App, l.Purpose, l.Rule = "x", "main-x", pick[gatehouse.PurposeName](r, "publish", "insights"), "publish/1"
		l.Operation = pick[gatehouse.Operation](r, "GET /2/users/me", "POST /2/tweets", "GET /2/users/{id}")
		if r.IntN(100) > 0 {
			h.open = append(h.open, l.ID)
		}
	case n < 89 && len(h.open) > 0:
		i := r.IntN(len(h.open))
		l.Action, l.Kind, l.Verdict, l.Intent = "call", audit.KindOutcome, pick(r, "done", "done", "failed", "aborted"), h.open[i]
		l.Status, l.Bytes = pick(r, 200, 200, 201, 403, 429, 500), int64(r.IntN(9999))
		h.open = slices.Delete(h.open, i, i+1)
	case n < 94:
		l.Action, l.Kind, l.Verdict, l.Rule = "call", audit.KindEvent, "refuse", pick(r, "purpose/undeclared", "handle/expired")
		l.Facts = map[string]string{"reason": pick(r, "field", "endpoint"), "attempt": strconv.Itoa(r.IntN(3))}
	case n < 98:
		l.Action, l.Kind, l.Verdict, person = "egress.tunnel", audit.KindEvent, "allow", ""
		l.Facts = map[string]string{"host": pick(r, "api.stripe.example", "mail.example"), "took": strconv.Itoa(r.IntN(100_000)) + "ms"}
	default:
		l.Action, l.Kind, l.Verdict, l.Service, person = pick(r, "keys.rotate", "log.accept", "of.the.future"), audit.KindEvent, "done", "", ""
	}
	if r.IntN(4) > 0 {
		person = ""
	}
	return l, person
}

// rows makes n entries at the end of what is there.
func (h *pastLog) rows(n int) []audit.Row {
	h.t.Helper()
	rows := make([]audit.Row, 0, n)
	for range n {
		l, person := h.leaf()
		text, err := json.Marshal(l)
		if err != nil {
			h.t.Fatal(err)
		}
		hash := audit.LeafHash(text)
		row := audit.Row{Seq: int64(len(h.leaves)), ID: l.ID, Leaf: text, Hash: hash[:]}
		if person != "" {
			row.Index = audit.Index{Person: audit.PersonHash(index, person), Terms: []byte{}}
		}
		rows = append(rows, row)
		h.leaves, h.people = append(h.leaves, l), append(h.people, person)
	}
	return rows
}

// grow appends n entries.
func (h *pastLog) grow(n int) {
	h.t.Helper()
	for n > 0 {
		head, err := h.db.Audit().Head(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		some := min(n, 5000)
		if err := h.db.Audit().Append(h.t.Context(), head, audit.Batch{Rows: h.rows(some), Note: []byte("a note")}); err != nil {
			h.t.Fatal(err)
		}
		n -= some
	}
}

// query makes a query that looks for something.
func (h *pastLog) query() audit.Query {
	r := h.random
	var q audit.Query
	for range 1 + r.IntN(3) {
		switch r.IntN(15) {
		case 14:
			q.Passed = q.Kind != "event"
		case 0:
			q.Action = pick(r, "call", "egress.tunnel", "keys.rotate", "init")
		case 1:
			q.Code = pick(r, "GH2010I", "GH2011W", "GH2012N", "GH2013N", "GH9050A", "GH0000W", "GH8010N")
		case 2:
			q.Severity = pick(r, audit.Severities()...)
		case 3:
			q.Service = pick[gatehouse.ServiceName](r, "web", "scheduler", "nobody")
		case 4:
			q.Operation = pick[gatehouse.Operation](r, "POST /2/tweets", "GET /2/users/{id}")
		case 5:
			q.Verdict = pick(r, "done", "refuse", "aborted", "report")
		case 6:
			q.Status = pick(r, "429", "4xx", "200", "404")
		case 7:
			q.Facts = map[string]string{pick(r, "reason", "attempt"): pick(r, "field", "1")}
		case 8:
			q.Destination = pick(r, "api.stripe.example", "nowhere.example")
		case 9:
			q.Rule = pick(r, "purpose/undeclared", "publish/1")
		case 10:
			q.Kind, q.Passed, q.Purpose = pick(r, "", "intent", "event"), false, pick[gatehouse.PurposeName](r, "", "insights")
		case 11:
			q.Operator, q.Service = true, ""
		case 12:
			q.Since = time.UnixMicro(firstTime + r.Int64N(h.clock-firstTime)).UTC()
			q.Until = q.Since.Add(time.Duration(r.IntN(3600)+1) * time.Second)
		case 13:
			q.Found = []audit.Found{{Hash: index, Person: gatehouse.PersonID("person-" + strconv.Itoa(r.IntN(210)))}}
			if r.IntN(2) == 0 {
				q.Found = append(q.Found, audit.Found{Hash: index, Person: gatehouse.PersonID("person-" + strconv.Itoa(r.IntN(210)))})
			}
		}
	}
	if q.Operator {
		q.Service = ""
	}
	return q
}

// scan is the plain scan: the indexes of what fits, the newest first.
func (h *pastLog) scan(q audit.Query) []int64 {
	found := []int64{}
	for at, l := range slices.Backward(h.leaves) {
		if h.fits(q, at, l) {
			found = append(found, int64(at))
		}
	}
	return found
}

func (h *pastLog) fits(q audit.Query, at int, l audit.Leaf) bool {
	is := func(want, has string) bool { return want == "" || want == has }
	code := audit.CodeOf(l.Action, l.Verdict)
	status := strconv.Itoa(l.Status)
	if !is(q.Action, l.Action) || !is(q.Code, code.Code) || !is(string(q.Severity), string(code.Severity)) || !is(string(q.Service), string(l.Service)) ||
		!is(string(q.Operation), string(l.Operation)) || !is(q.Verdict, l.Verdict) || !is(q.Status, status) && q.Status != status[:1]+"xx" ||
		!is(q.Destination, l.Facts["host"]) || !is(q.Rule, l.Rule) || !is(q.Kind, l.Kind) || !is(string(q.Purpose), string(l.Purpose)) {
		return false
	}
	for name, value := range q.Facts {
		if l.Facts[name] != value {
			return false
		}
	}
	if q.Operator && l.Service != "" || q.Passed && l.Kind == audit.KindEvent || !q.Since.IsZero() && l.When().Before(q.Since) || !q.Until.IsZero() && !l.When().Before(q.Until) {
		return false
	}
	return q.Found == nil || h.people[at] != "" && slices.ContainsFunc(q.Found, func(f audit.Found) bool { return f.Person == h.people[at] })
}

// pages reads up to so many entries, page by page.
func pages(t testing.TB, s *audit.Searcher, q audit.Query, limit, most int) (found []int64, damaged bool) {
	t.Helper()
	found = []int64{}
	for cursor := ""; len(found) < most; {
		page, err := s.Search(t.Context(), q, cursor, limit)
		if err != nil {
			t.Fatalf("searching %+v: %v", q, err)
		}
		if len(page.Entries) > limit {
			t.Fatalf("a page of %d has %d entries", limit, len(page.Entries))
		}
		damaged = damaged || page.Damaged
		for _, e := range page.Entries {
			found = append(found, e.Seq)
		}
		if cursor = page.Next; cursor == "" {
			return found[:min(len(found), most)], damaged
		}
	}
	return found[:most], damaged
}

// check compares searches with plain scans.
func (h *pastLog) check(what string, queries int) (damaged bool) {
	h.t.Helper()
	s := audit.NewSearcher(index, audit.SearchedLog{Store: h.db.Audit()})
	for range queries {
		q := h.query()
		want := h.scan(q)
		limit := pick(h.random, 1, 7, 16, 32, 50, 1000)
		most := min(len(want)+1, pick(h.random, 3, 40, 400)*min(limit, 10))
		got, d := pages(h.t, s, q, limit, most)
		damaged = damaged || d
		if want = want[:min(len(want), most)]; !slices.Equal(got, want) {
			h.t.Fatalf("%s: %+v finds %d entries by pages of %d, not %d: %v, not %v", what, q, len(got), limit, len(want), head(got), head(want))
		}
	}
	return damaged
}

func head(all []int64) []int64 { return all[:min(len(all), 20)] }

func indexer(db *store.DB) *audit.Indexer {
	return audit.NewIndexer(slog.New(slog.DiscardHandler), db.Audit())
}

// segments counts the segments of each span.
func segments(t testing.TB, db *store.DB) (long, short int) {
	t.Helper()
	all, err := db.Audit().Segments(t.Context(), 1<<40, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if !s.Stands {
			continue
		}
		if s.Span == longSpan {
			long++
		} else {
			short++
		}
	}
	return long, short
}

// TestSearchFindsWhatAScanFinds: whatever of the log is indexed, and in whatever state the
// index is, a search finds what a plain scan finds, on however many pages.
func TestSearchFindsWhatAScanFinds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		h := newPast(t, db, 7)
		index := func(long, short int) {
			t.Helper()
			if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
				t.Fatal(err)
			}
			if l, s := segments(t, db); l != long || s != short {
				t.Fatalf("%d long segments and %d short ones, not %d and %d", l, s, long, short)
			}
		}
		h.grow(300)
		index(0, 0)
		h.check("a log without a segment", 20)
		h.grow(2*shortSpan + 600)
		h.check("nothing is indexed", 20)
		index(0, 2)
		if h.check("short segments", 40) {
			t.Error("the index is damaged")
		}
		h.grow(longSpan - 2*shortSpan)
		h.check("a long tail", 5)
		index(1, 0)
		h.grow(shortSpan)
		index(1, 1)
		if h.check("all of it", 40) {
			t.Error("the index is damaged")
		}

		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("UPDATE audit_segment_parts SET content = (SELECT p.content FROM audit_segment_parts p WHERE p.span = 65536 AND p.part = 63) WHERE part < 40")
		h.check("parts of other places", 8)
		raw.Exec("UPDATE audit_segment_parts SET content = (SELECT leaf FROM audit_entries WHERE seq = 1) WHERE part < 60")
		if !h.check("parts that are something else", 15) {
			t.Error("nobody noticed")
		}
		raw.Exec("DELETE FROM audit_segment_parts WHERE part > 9")
		h.check("parts that are gone", 10)
		if err := indexer(db).Rebuild(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if h.check("made anew", 10) {
			t.Error("the index is damaged")
		}
		raw.Exec("UPDATE audit_segments SET version = 99")
		h.check("segments of another program", 5)
		index(1, 1)
		h.check("made again", 10)
	})
}

// TestSearchAfterRollback: what was indexed of entries that are not there any more finds
// nothing, and hides nothing of those that took their place.
func TestSearchAfterRollback(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		afterRollback(t, dsn, true)
	})
	t.Run("nobody tidied up", func(t *testing.T) { afterRollback(t, storetest.SQLite(t), false) })
}

func afterRollback(t *testing.T, dsn string, forget bool) {
	t.Helper()
	db := storetest.Open(t, dsn)
	h := newPast(t, db, 8)
	h.grow(3*shortSpan + 10)
	if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	const kept = shortSpan + 100
	raw := storetest.OpenRaw(t, dsn)
	raw.Exec(fmt.Sprintf("DELETE FROM audit_entries WHERE seq >= %d", kept))
	raw.Exec(fmt.Sprintf("UPDATE audit_head SET size = %d", kept))
	h.leaves, h.people, h.open = h.leaves[:kept], h.people[:kept], nil
	if forget {
		if err := audit.ForgetRolledBack(t.Context(), db.Audit()); err != nil {
			t.Fatal(err)
		}
	} else {
		raw.Exec(fmt.Sprintf("DELETE FROM audit_search WHERE seq >= %d", kept))
	}
	if _, rows := raw.Query(fmt.Sprintf("SELECT seq FROM audit_search WHERE seq >= %d", kept)); len(rows) != 0 {
		t.Errorf("%d entries that are gone are still found by their people", len(rows))
	}
	if _, rows := raw.Query("SELECT seq FROM audit_search"); len(rows) == 0 {
		t.Error("nobody's entries are found any more")
	}
	h.check("rolled back", 30)
	h.grow(3 * shortSpan)
	if _, short := segments(t, db); short != 1 {
		t.Errorf("%d segments stand after the rollback", short)
	}
	h.check("written on", 40)
	if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	if _, short := segments(t, db); short != 4 {
		t.Errorf("%d segments stand", short)
	}
	if h.check("indexed again", 40) {
		t.Error("the index is damaged")
	}
}

// TestSearchWithin: a page reads no more than it may, is shorter for that, and goes on.
func TestSearchWithin(t *testing.T) {
	h := newPast(t, storetest.Open(t, storetest.SQLite(t)), 5)
	h.grow(3000)
	all := audit.NewSearcher(index, audit.SearchedLog{Store: h.db.Audit()})
	for _, q := range []audit.Query{
		{Action: "keys.rotate"},
		{Found: []audit.Found{{Hash: index, Person: "person-12"}, {Hash: index, Person: "person-13"}}},
	} {
		want, _ := pages(t, all, q, 1000, 1<<20)
		page, err := all.Within(2).Search(t.Context(), q, "", 1000)
		if err != nil || q.Found == nil && (len(page.Entries) >= len(want) || page.Next == "") {
			t.Errorf("%d entries of %d on a page of few rows, %v", len(page.Entries), len(want), err)
		}
		// Two people are looked for on two ways, each of which has to come on.
		if got, _ := pages(t, all.Within(2), q, 5, 1<<20); !slices.Equal(got, want) {
			t.Errorf("pages of few rows find %d entries, not %d", len(got), len(want))
		}
	}
}

// TestSearchOfSeveralLogs: pages and tails of several logs are those of one, in order of
// the times.
func TestSearchOfSeveralLogs(t *testing.T) {
	a, b := newPast(t, storetest.Open(t, storetest.SQLite(t)), 1), newPast(t, storetest.Open(t, storetest.SQLite(t)), 2)
	a.grow(2 * shortSpan)
	b.grow(shortSpan + 500)
	for _, h := range []*pastLog{a, b} {
		if err := indexer(h.db).CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
	}
	s := audit.NewSearcher(index, audit.SearchedLog{Store: a.db.Audit()}, audit.SearchedLog{Store: b.db.Audit()})
	for range 60 {
		q := a.query()
		if q.Found == nil && a.random.IntN(2) == 0 {
			q.Verdict = "aborted"
		}
		want := map[string]bool{}
		for _, h := range []*pastLog{a, b} {
			for _, at := range h.scan(q) {
				want[h.leaves[at].ID] = true
			}
		}
		last := map[bool]int64{}
		for cursor, n := "", 0; ; n++ {
			page, err := s.Search(t.Context(), q, cursor, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Entries {
				if !want[e.ID] {
					t.Fatalf("%+v finds %s, twice or wrongly", q, e.ID)
				}
				delete(want, e.ID)
				ofA := e.Seq < int64(len(a.leaves)) && a.leaves[e.Seq].ID == e.ID
				if at, seen := last[ofA]; seen && e.Seq >= at {
					t.Fatalf("entry %d of a log comes after entry %d", e.Seq, at)
				}
				last[ofA] = e.Seq
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if len(want) > 0 {
			t.Fatalf("%+v misses %d entries", q, len(want))
		}
	}
}

// TestSearchAfterErasure: an erased person's entries are found by what stands in their
// leaves, and by nothing that led to the person.
func TestSearchAfterErasure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		h := newPast(t, db, 9)
		h.grow(shortSpan + 700)
		if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		const person = "person-7"
		if len(h.scan(audit.Query{Found: []audit.Found{{Hash: index, Person: person}}})) == 0 {
			t.Fatal("the person has no entries")
		}
		if err := audit.Forget(t.Context(), db.Audit(), index, person); err != nil {
			t.Fatal(err)
		}
		for at := range h.people {
			if h.people[at] == person {
				h.people[at] = ""
			}
		}
		s := audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()})
		if got, _ := pages(t, s, audit.Query{Found: []audit.Found{{Hash: index, Person: person}}}, 50, 1000); len(got) != 0 {
			t.Errorf("%d entries are found", len(got))
		}
		h.check("after an erasure", 60)
	})
}

// TestQueriesThatCannotBeMeant: each is refused, and its near miss is not.
func TestQueriesThatCannotBeMeant(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	h := newPast(t, db, 3)
	h.grow(100)
	s := audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()})
	now := time.Now()
	facts := map[string]string{}
	for i := range 17 {
		facts[strconv.Itoa(i)] = ""
	}
	for what, c := range map[string]struct{ wrong, right audit.Query }{
		"a code":      {audit.Query{Code: "GH2010W"}, audit.Query{Code: "GH2010I"}},
		"an action":   {audit.Query{Action: "calls"}, audit.Query{Action: "call"}},
		"a severity":  {audit.Query{Severity: "info "}, audit.Query{Severity: "info"}},
		"a kind":      {audit.Query{Kind: "intents"}, audit.Query{Kind: "intent"}},
		"a verdict":   {audit.Query{Verdict: "refused"}, audit.Query{Verdict: "refuse"}},
		"a status":    {audit.Query{Status: "6xx"}, audit.Query{Status: "5xx"}},
		"a number":    {audit.Query{Status: "42x"}, audit.Query{Status: "429"}},
		"two actors":  {audit.Query{Operator: true, Service: "web"}, audit.Query{Operator: true}},
		"facts":       {audit.Query{Facts: facts}, audit.Query{Facts: map[string]string{"a": ""}}},
		"two hosts":   {audit.Query{Destination: "a", Facts: map[string]string{"host": "b"}}, audit.Query{Destination: "a", Facts: map[string]string{"host": "a"}}},
		"no time":     {audit.Query{Since: now, Until: now}, audit.Query{Since: now, Until: now.Add(1)}},
		"before then": {audit.Query{Since: now, Until: now.Add(-1)}, audit.Query{Until: now.Add(-1)}},
	} {
		if _, err := s.Search(t.Context(), c.wrong, "", 1); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := s.Follow(t.Context(), c.wrong, ""); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s, in a tail: %v", what, err)
		}
		if _, err := s.Search(t.Context(), c.right, "", 1); err != nil {
			t.Errorf("the near miss of %s: %v", what, err)
		}
	}
	for limit, ok := range map[int]bool{-1: false, 0: true, 1000: true, 1001: false} {
		if _, err := s.Search(t.Context(), audit.Query{}, "", limit); (err == nil) != ok {
			t.Errorf("a page of %d: %v", limit, err)
		}
	}
	page, err := s.Search(t.Context(), audit.Query{Action: "call"}, "", 1)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	if _, err := s.Search(t.Context(), audit.Query{Action: "call"}, page.Next, 1); err != nil {
		t.Error(err)
	}
	if _, err := s.Search(t.Context(), audit.Query{Action: "init"}, page.Next, 1); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("another search goes on with a cursor: %v", err)
	}
	if _, err := s.Follow(t.Context(), audit.Query{Action: "call"}, page.Next); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a tail goes on with a page's cursor: %v", err)
	}
}

// A cursor is of the caller who got it, and of the logs' key; nobody else can make one.
func TestCursorsAreMarked(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	h := newPast(t, db, 5)
	h.grow(40)
	log := audit.SearchedLog{Store: db.Audit()}
	ada, bob := audit.NewSearcher(index, log).As("ada"), audit.NewSearcher(index, log).As("bob")
	page, err := ada.Search(t.Context(), audit.Query{}, "", 1)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	tail, err := ada.Follow(t.Context(), audit.Query{}, "")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_800_000_000, 0).UTC()
	tail.Record(at)
	if again, err := ada.Follow(t.Context(), audit.Query{}, tail.Cursor()); err != nil || !again.Recorded().Equal(at) {
		t.Errorf("the tail's own: %v, %v", again, err)
	}
	if _, err := ada.Search(t.Context(), audit.Query{}, page.Next, 1); err != nil {
		t.Errorf("the page's own: %v", err)
	}
	for what, s := range map[string]*audit.Searcher{
		"another caller": bob, "another key": audit.NewSearcher(audit.NewIndexHash([]byte("another")), log).As("ada"), "no key": audit.NewSearcher(nil, log).As("ada"),
	} {
		if _, err := s.Search(t.Context(), audit.Query{}, page.Next, 1); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s goes on with a page: %v", what, err)
		}
		if _, err := s.Follow(t.Context(), audit.Query{}, tail.Cursor()); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s goes on with a tail: %v", what, err)
		}
	}
}

// TestMissingEntriesAreNotPassedOver: an entry that was deleted is no entry that does not
// fit.
func TestMissingEntriesAreNotPassedOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		h := newPast(t, db, 5)
		h.grow(shortSpan + 50)
		if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		raw := storetest.OpenRaw(t, dsn)
		for _, at := range []int{10, shortSpan + 10} {
			q := audit.Query{Action: h.leaves[at].Action, Service: h.leaves[at].Service}
			s := audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()})
			if _, err := s.Search(t.Context(), q, "", 5); err != nil {
				t.Fatal(err)
			}
			raw.Exec(fmt.Sprintf("DELETE FROM audit_entries WHERE seq = %d", at))
			var failed error
			for cursor := ""; failed == nil; {
				var page audit.Page
				page, failed = s.Search(t.Context(), q, cursor, 1000)
				if cursor = page.Next; cursor == "" {
					break
				}
			}
			if failed == nil {
				t.Errorf("entry %d is passed over", at)
			}
		}
	})
}

// TestSealedDestinations: a host that no configuration names stands in no leaf, and is
// found all the same, in order with the others.
func TestSealedDestinations(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, _ := newKey(t)
		log, _ := run(t, config(t, db.Audit(), private))
		const host = "evil.example"
		for i := range 9 {
			e := audit.Entry{Action: "egress.tunnel", Service: "web", Verdict: "refuse", Rule: "egress/undeclared"}
			switch i % 3 {
			case 0:
				e.Personal = map[string]string{"host": host}
			case 1:
				e.Facts = map[string]string{"host": host}
			default:
				e.Personal = map[string]string{"host": "other.example"}
			}
			if _, err := log.Record(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			s    *audit.Searcher
			q    audit.Query
			want []int64
		}{
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Destination: host}, []int64{7, 6, 4, 3, 1, 0}},
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Destination: host, Service: "web"}, []int64{7, 6, 4, 3, 1, 0}},
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Destination: host, Service: "billing"}, []int64{}},
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Destination: "other.example"}, []int64{8, 5, 2}},
			{audit.NewSearcher(nil, audit.SearchedLog{Store: db.Audit()}), audit.Query{Destination: host}, []int64{7, 4, 1}},
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Found: []audit.Found{{Hash: index, Kind: "host", Value: host}}}, []int64{6, 3, 0}},
			// Only what nobody owns is found without its owner.
			{audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()}), audit.Query{Found: []audit.Found{{Hash: index, Kind: "handle", Value: host}}}, []int64{}},
		} {
			for _, limit := range []int{1, 2, 50} {
				if got, _ := pages(t, c.s, c.q, limit, 100); !slices.Equal(got, c.want) {
					t.Errorf("%+v finds %v, not %v", c.q, got, c.want)
				}
			}
		}
		_, rows := storetest.OpenRaw(t, dsn).Query("SELECT leaf FROM audit_entries WHERE seq IN (0, 2, 3)")
		for _, row := range rows {
			if leaf, ok := row[0].([]byte); !ok || bytes.Contains(leaf, []byte(host)) {
				t.Errorf("a leaf holds the host: %s", leaf)
			}
		}
	})
}
