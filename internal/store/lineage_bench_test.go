package store

import (
	goflag "flag"
	"fmt"

	"testing"

	"gatehouse"
	"gatehouse/internal/lineage"
)

// flowsSeeded is how many flows the questions are measured on.
var flowsSeeded = goflag.Int("lineage.flows", 200_000, "flows to measure questions on")

const (
	seedEdges statement = `INSERT INTO lineage_edges (kind, verdict, platform, app, class, operation, purpose, service, destination, sent_for, part)
		VALUES ($1, 'passed', 'x', 'main-x', 'email', $2, 'insights', 'web', $3, 'analytics', 'body')`
	seedPeople statement = `
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO lineage_people (hash, platform, created, erased) SELECT 'hash-' || i, 'x', 0, 0 FROM n`
	// A hundred flows of each person: ten ways on ten of ninety days.
	seedFlows statement = `
		WITH RECURSIVE n(i) AS (SELECT CAST($1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $2)
		INSERT INTO lineage_flows (owner, day, edge, handle, first_at, last_at, seen)
		SELECT 1 + i / 100, 20000 + (i / 100 + 9 * ((i / 10) % 10)) % 90, 1 + i % 10, CASE i % 10 WHEN 0 THEN 1 + i % 1000 ELSE 0 END,
			1700000000000000 + i, 1700000000000000 + i, 1 FROM n`
)

// seedLineage makes a database with flows.
func seedLineage(b *testing.B) *DB {
	b.Helper()
	dsn := "sqlite:" + b.TempDir() + "/gatehouse.db"
	if err := Create(b.Context(), dsn); err != nil {
		b.Fatal(err)
	}
	d, err := Open(b.Context(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	seed := func(s statement, args ...any) {
		if _, err := d.logExec(b.Context(), s, args...); err != nil {
			b.Fatal(err)
		}
	}
	for i := range 10 {
		kind, host := "delivery", ""
		if i >= 5 {
			kind, host = "transfer", fmt.Sprintf("h%d.example", i)
		}
		seed(seedEdges, kind, fmt.Sprint("GET /", i), host)
	}
	seed(seedPeople, *flowsSeeded/100)
	for from := 0; from < *flowsSeeded; from += 500_000 {
		seed(seedFlows, from, min(from+500_000, *flowsSeeded)-1)
	}
	return d
}

// BenchmarkLineage measures the first page of each question, and what a delivery
// costs, on as many flows as -lineage.flows says.
func BenchmarkLineage(b *testing.B) {
	d := seedLineage(b)
	s := d.Lineage()
	people := *flowsSeeded / 100
	page := func(b *testing.B, sel lineage.Selection) {
		b.Helper()
		sel.Until, sel.Limit = 100_000, 200
		rows, err := s.Flows(b.Context(), sel)
		if err != nil || len(rows) == 0 {
			b.Fatal(len(rows), err)
		}
	}
	b.Run("person", func(b *testing.B) {
		for i := range b.N {
			owners, err := s.Owners(b.Context(), []string{fmt.Sprint("hash-", 1+i*7919%people)})
			if err != nil || len(owners) != 1 {
				b.Fatal(owners, err)
			}
			page(b, lineage.Selection{Owner: owners[0]})
			if _, err := s.People(b.Context(), owners); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, sel := range map[string]lineage.Selection{
		"destination": {Destination: "h5.example"}, "service": {Service: "web"}, "purpose": {Purpose: "insights"}, "all": {},
		"a week": {Service: "web", Since: 20030},
	} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				page(b, sel)
			}
		})
	}
	b.Run("people of a destination in a week", func(b *testing.B) {
		for range b.N {
			if _, err := s.Reached(b.Context(), lineage.Selection{Destination: "h5.example", Since: 20050, Until: 20056, Limit: 200}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("origin", func(b *testing.B) {
		for i := range b.N {
			key := lineage.OriginKey{Owner: lineage.Owner(1 + i*7919%people), Class: gatehouse.EmailAddress, Service: "web"}
			if _, err := s.Origins(b.Context(), []lineage.OriginKey{key}, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("origins of 1000", func(b *testing.B) {
		for i := range b.N {
			keys := make([]lineage.OriginKey, 1000)
			for k := range keys {
				keys[k] = lineage.OriginKey{Owner: lineage.Owner(1 + (i*1000+k)*7919%people), Class: gatehouse.EmailAddress, Service: "web"}
			}
			if _, err := s.Origins(b.Context(), keys, 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}
