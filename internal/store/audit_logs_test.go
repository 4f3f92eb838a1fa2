package store_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// register enters logs 1 and 2.
func register(t testing.TB, db *store.DB) {
	t.Helper()
	for i, node := range []string{"blue", "green"} {
		l, err := db.RegisterLog(t.Context(), audit.Registration{Node: node, Origin: "gatehouse/production/test/" + node, Key: "key of " + node})
		if err != nil || l.Number != int64(i+1) {
			t.Fatalf("registering %s: %+v, %v", node, l, err)
		}
	}
}

func TestListOfLogs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		register(t, db)
		again, err := db.RegisterLog(t.Context(), audit.Registration{Node: "blue", Origin: "other", Key: "another key"})
		if err != nil || again.Number != 1 || again.Key != "key of blue" {
			t.Errorf("registered again: %+v, %v; want what is there", again, err)
		}
		if _, err := db.RegisterLog(t.Context(), audit.Registration{Node: "red", Origin: "gatehouse/production/test/blue", Key: "k"}); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("a second node with one origin: %v, want a conflict", err)
		}
		for _, wanting := range []audit.Registration{{Origin: "o", Key: "k"}, {Node: "n", Key: "k"}, {Node: "n", Origin: "o"}} {
			if _, err := db.RegisterLog(t.Context(), wanting); !errors.Is(err, gatehouse.ErrInvalid) {
				t.Errorf("registering %+v: %v", wanting, err)
			}
		}
		if err := db.EnteredLog(t.Context(), 2, "entry of green"); err != nil {
			t.Fatal(err)
		}
		all, err := db.AuditLogs(t.Context())
		if err != nil || len(all) != 3 || all[0].Number != 0 || all[1].Node != "blue" || all[2].Node != "green" || all[2].Created.IsZero() || all[1].Entry != "" || all[2].Entry != "entry of green" {
			t.Errorf("the list: %+v, %v", all, err)
		}
	})
}

// TestNodesRegisterAtOnce has every node get a number of its own, and one.
func TestNodesRegisterAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		nodes := []string{"a", "b", "c", "a", "b", "c"}
		numbers := make([]int64, len(nodes))
		var all sync.WaitGroup
		for i, node := range nodes {
			db := storetest.Open(t, dsn)
			all.Go(func() {
				l, err := db.RegisterLog(t.Context(), audit.Registration{Node: node, Origin: "o/" + node, Key: node})
				if err != nil {
					t.Error(err)
				}
				numbers[i] = l.Number
			})
		}
		all.Wait()
		if !slices.Equal(numbers[:3], numbers[3:]) || numbers[0] == numbers[1] || numbers[0] == numbers[2] || numbers[1] == numbers[2] {
			t.Errorf("the nodes %v have the numbers %v", nodes, numbers)
		}
	})
}

// TestLogsOfOneDatabase writes three logs and reads each as if it were the only one.
func TestLogsOfOneDatabase(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		register(t, db)
		const entries = 300
		verifiers := map[int64]note.Verifier{}
		ids := map[int64]string{}
		var stops []func()
		var logs []*audit.Log
		for number := range int64(3) {
			signer, verifier := keys(t)
			verifiers[number] = verifier
			log, stop := openLog(t, db.AuditLog(number), signer)
			logs, stops = append(logs, log), append(stops, stop)
		}
		for i := range entries {
			for number, log := range logs {
				if id := log.Refusal(call(i)); i == 17 {
					ids[int64(number)] = id
				}
			}
		}
		for _, stop := range stops {
			stop()
		}
		for number, verifier := range verifiers {
			s := db.AuditLog(number)
			report, err := audit.Verify(t.Context(), s, verifier, audit.VerifyOptions{})
			if err != nil || !report.OK() || report.Size != entries || report.Tiles != 1 {
				t.Errorf("log %d: %+v, %v", number, report, err)
			}
			head, err := s.Head(t.Context())
			if err != nil || head.Size != entries || head.Kept != entries {
				t.Errorf("log %d: head %+v, %v", number, head, err)
			}
			rows, err := s.Before(t.Context(), math.MaxInt64, 1000)
			if err != nil || len(rows) != entries || rows[0].Seq != entries-1 || rows[entries-1].Seq != 0 {
				t.Errorf("log %d: %d rows, %v", number, len(rows), err)
			}
			if rows, err = s.Before(t.Context(), 5, 1000); err != nil || len(rows) != 5 {
				t.Errorf("log %d: %d rows before 5, %v", number, len(rows), err)
			}
			rows, err = s.Indexed(t.Context(), testOnlyIndex("person", "person-1")[:16], "", math.MaxInt64, 1000)
			if err != nil || len(rows) != entries || rows[0].Seq != entries-1 {
				t.Errorf("log %d: %d rows of the person, %v", number, len(rows), err)
			}
			for other, id := range ids {
				at, err := s.Find(t.Context(), id)
				entry, err2 := s.Entry(t.Context(), id)
				if other == number && (err != nil || err2 != nil || at != 17 || entry.Seq != 17) {
					t.Errorf("log %d: its entry is at %d, %v, %v", number, at, err, err2)
				}
				if other != number && (!errors.Is(err, gatehouse.ErrNotFound) || !errors.Is(err2, gatehouse.ErrNotFound)) {
					t.Errorf("log %d: an entry of log %d: %v, %v", number, other, err, err2)
				}
			}
			if owner, err := s.OwnerOf(t.Context(), 17); err != nil || len(owner) == 0 {
				t.Errorf("log %d: the owner of entry 17: %v", number, err)
			}
		}
		present := func(want ...int64) {
			t.Helper()
			if err := db.SnapshotLogs(t.Context(), func(r audit.LogsReader) error {
				got, err := r.Present(t.Context())
				if !slices.Equal(got, want) {
					t.Errorf("present are %v, want %v", got, want)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
		}
		present(0, 1, 2)
		raw.Exec("INSERT INTO audit_tiles (level, idx, hashes) VALUES (0, $1, $2)", int64(77)<<40, []byte("x"))
		raw.Exec("INSERT INTO audit_checkpoints (num, size, note) VALUES ($1, 0, $2)", int64(78)<<40|3, []byte("x"))
		raw.Exec("INSERT INTO audit_search (seq, person, terms) VALUES ($1, $2, $2)", int64(79)<<40|3, []byte("x"))
		raw.Exec("UPDATE audit_entries SET seq = $1 WHERE seq = 17", int64(math.MaxInt64))
		present(0, 1, 2, 77, 78, 79, math.MaxInt64>>40)
		// What an erasure deletes it deletes everywhere.
		if err := db.Audit().Forget(t.Context(), testOnlyIndex("person", "person-1")[:16]); err != nil {
			t.Fatal(err)
		}
		if n, err := db.Audit().DropIndex(t.Context(), testOnlyIndex("person", "person-1")[:16], 10_000); err != nil || n != 3*entries {
			t.Errorf("%d rows of the index deleted, %v; want those of all logs", n, err)
		}
	})
}

// TestForgottenWhileAllLogsWrite: once Forget has returned, no log's writer, in this
// process or another, leaves anything that leads to the person.
func TestForgottenWhileAllLogsWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db, raw := storetest.Open(t, dsn), storetest.OpenRaw(t, dsn)
		register(t, db)
		var writers sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		started := make(chan struct{}, 6)
		for number := range int64(3) {
			signer, _ := keys(t)
			for range 2 { // two processes
				log, end := openLog(t, storetest.Open(t, dsn).AuditLog(number), signer)
				writers.Go(func() {
					defer end()
					for i := 0; ctx.Err() == nil; i++ {
						if _, err := log.Record(t.Context(), call(i)); err != nil {
							t.Error(err)
							return
						}
						if i == 3 {
							started <- struct{}{}
						}
					}
				})
			}
		}
		for range 6 {
			<-started
		}
		person := testOnlyIndex("person", "person-1")[:16]
		for range 3 { // it may be repeated
			if err := db.Audit().Forget(t.Context(), person); err != nil {
				t.Fatal(err)
			}
		}
		for {
			n, err := db.Audit().DropIndex(t.Context(), person, 100)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		if _, rows := raw.Query("SELECT seq FROM audit_search WHERE person = $1", person); len(rows) != 0 {
			t.Errorf("%d rows lead to the person after the erasure", len(rows))
		}
		stop()
		writers.Wait()
		if _, rows := raw.Query("SELECT seq FROM audit_search WHERE person = $1", person); len(rows) != 0 {
			t.Errorf("%d rows lead to the person at the end", len(rows))
		}
	})
}
