package store

import (
	"encoding/json"
	goflag "flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// entriesSeeded is how many entries searches are measured in.
var entriesSeeded = goflag.Int("audit.entries", 200_000, "entries of the log to measure searches in")

const sumParts statement = `SELECT coalesce(sum(length(content)), 0) FROM audit_segment_parts`

// A benchLog makes entries as a gateway writes them: most are intents of calls with
// their outcomes.
type benchLog struct {
	random *rand.Rand
	n      int
	clock  time.Time
	intent string
	people int
}

func (l *benchLog) row(b *testing.B, hash audit.IndexHash, marker string) audit.Row {
	r := l.random
	l.clock = l.clock.Add(time.Duration(r.IntN(20)) * time.Millisecond)
	id := fmt.Sprintf("%010x%016x", l.n, r.Uint64())
	person := r.IntN(l.people)
	e := audit.Leaf{
		Action: "call", App: "main-x", Environment: "production", ID: id, Kind: audit.KindIntent, Platform: "x", Time: l.clock.UnixMicro(), Version: 2, Verdict: "allow",
		Operation: gatehouse.Operation("GET /2/" + strconv.Itoa(r.IntN(1+r.IntN(60)))), Purpose: gatehouse.PurposeName("purpose-" + strconv.Itoa(r.IntN(1+r.IntN(20)))),
		Service: gatehouse.ServiceName("service-" + strconv.Itoa(r.IntN(1+r.IntN(12)))), Rule: "rule/" + strconv.Itoa(r.IntN(40)),
	}
	commitment := fmt.Sprintf("%064x", r.Uint64())
	e.Personal, e.SealedHash = map[string]string{"connection": commitment, "handle": commitment}, commitment
	row := audit.Row{Seq: int64(l.n), ID: id, Personal: make([]byte, 64)}
	kind := r.IntN(100)
	switch {
	case l.intent != "":
		e.Kind, e.Intent, e.Verdict, e.Status, e.Bytes = audit.KindOutcome, l.intent, "done", 200, int64(r.IntN(50_000))
		if kind < 3 {
			e.Verdict, e.Status = "failed", 429
		}
		e.Personal, e.SealedHash, row.Personal, l.intent = nil, "", nil, ""
	case kind < 88:
		l.intent = id
	case kind < 98:
		e.Action, e.Operation, e.Kind, e.Platform, e.App, e.Personal, e.SealedHash, row.Personal = "egress.tunnel", "CONNECT", audit.KindEvent, "", "", nil, "", nil
		e.Facts = map[string]string{"host": "host-" + strconv.Itoa(r.IntN(300)) + ".example", "sent": strconv.Itoa(r.IntN(1 << 20)), "took": strconv.Itoa(r.IntN(5000)) + "ms"}
		person = -1
	default:
		e.Kind, e.Verdict, e.Rule = audit.KindEvent, "refuse", "purpose/undeclared"
	}
	if l.n%500_000 == 77 {
		e.Rule = marker
	}
	text, err := json.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	sum := audit.LeafHash(text)
	row.Leaf, row.Hash = text, sum[:]
	if person >= 0 {
		row.Index = audit.Index{Person: audit.PersonHash(hash, gatehouse.PersonID("person-"+strconv.Itoa(person))), Terms: make([]byte, 16)}
	}
	l.n++
	return row
}

// BenchmarkAuditSearch measures searches of one page in a log of -audit.entries. Each
// question is another one of its kind: what was read before does not help.
func BenchmarkAuditSearch(b *testing.B) {
	dsn := "sqlite:" + b.TempDir() + "/gatehouse.db"
	if err := Create(b.Context(), dsn); err != nil {
		b.Fatal(err)
	}
	d, err := Open(b.Context(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	// How the log is written is not what is measured.
	if _, err := d.write.ExecContext(b.Context(), "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000"); err != nil {
		b.Fatal(err)
	}
	hash := audit.NewIndexHash([]byte("the key of a benchmark"))
	l := &benchLog{random: rand.New(rand.NewPCG(1, 2)), clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), people: max(1, *entriesSeeded/50)}
	first := l.clock
	begun := time.Now()
	head := audit.Head{}
	for l.n < *entriesSeeded {
		rows := make([]audit.Row, 0, 20_000)
		for len(rows) < cap(rows) && l.n < *entriesSeeded {
			rows = append(rows, l.row(b, hash, "a/marker"))
		}
		if err := d.Audit().Append(b.Context(), head, audit.Batch{Rows: rows, Note: []byte("a note")}); err != nil {
			b.Fatal(err)
		}
		head = audit.Head{Size: int64(l.n), Note: []byte("a note")}
	}
	appended := time.Since(begun)
	begun = time.Now()
	if err := audit.NewIndexer(slog.New(slog.DiscardHandler), d.Audit()).CatchUp(b.Context(), false, nil); err != nil {
		b.Fatal(err)
	}
	indexed := time.Since(begun)
	var size int64
	if err := d.queryRow(b.Context(), sumParts).Scan(&size); err != nil {
		b.Fatal(err)
	}
	b.Run("Build", func(b *testing.B) {
		for b.Loop() {
			continue // it was built once
		}
		b.ReportMetric(float64(l.n), "entries")
		b.ReportMetric(appended.Seconds(), "append-s")
		b.ReportMetric(indexed.Seconds(), "index-s")
		b.ReportMetric(float64(size)/float64(l.n), "index-B/entry")
	})

	s := audit.NewSearcher(hash, audit.SearchedLog{Store: d.Audit()})
	r := l.random
	span := l.clock.Sub(first)
	for _, c := range []struct {
		name string
		q    func() audit.Query
		// whole says that all pages are read, down to the log's beginning.
		whole bool
	}{
		{"RareTerm", func() audit.Query { return audit.Query{Rule: "a/marker"} }, true},
		{"CommonTermPageOf50", func() audit.Query {
			return audit.Query{Service: gatehouse.ServiceName("service-" + strconv.Itoa(r.IntN(6)))}
		}, false},
		{"TwoTerms", func() audit.Query {
			return audit.Query{Destination: "host-" + strconv.Itoa(r.IntN(300)) + ".example", Service: gatehouse.ServiceName("service-" + strconv.Itoa(r.IntN(12)))}
		}, false},
		{"TwoTermsRarelyTogether", func() audit.Query {
			return audit.Query{Code: "GH2012N", Service: "service-11", Operation: gatehouse.Operation("GET /2/" + strconv.Itoa(40+r.IntN(20)))}
		}, false},
		{"Person", func() audit.Query {
			return audit.Query{Found: []audit.Found{{Hash: hash, Person: gatehouse.PersonID("person-" + strconv.Itoa(r.IntN(l.people)))}}}
		}, false},
		{"TimeWindow", func() audit.Query {
			since := first.Add(time.Duration(r.Int64N(int64(span))))
			return audit.Query{Since: since, Until: since.Add(10 * time.Second)}
		}, false},
		{"NoMatch", func() audit.Query { return audit.Query{Rule: "no/rule-" + strconv.Itoa(r.IntN(1000))} }, true},
		{"NoFact", func() audit.Query {
			return audit.Query{Facts: map[string]string{"took": strconv.Itoa(10_000+r.IntN(1000)) + "ms"}}
		}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			found := 0
			for b.Loop() {
				q := c.q()
				begun := time.Now()
				for cursor := ""; ; {
					page, err := s.Search(b.Context(), q, cursor, 50)
					if err != nil {
						b.Fatal(err)
					}
					found += len(page.Entries)
					if cursor = page.Next; cursor == "" || !c.whole {
						break
					}
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
			b.ReportMetric(float64(found)/float64(len(took)), "entries/page")
		})
	}
}
