package audit_test

import (
	"log/slog"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// TestSearchOfAPrunedLog: the search ends where a pruned log begins, whether what was
// pruned is still indexed or not; an entry that is missing behind that is an error.
func TestSearchOfAPrunedLog(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		x := newLongLog(t, dsn, 2*65536+5000)
		store := x.db.Audit()
		indexer := audit.NewIndexer(slog.New(slog.DiscardHandler), store)
		if err := indexer.CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		s := audit.NewSearcher(index, audit.SearchedLog{Store: store})
		calls := func(when string, want int) {
			t.Helper()
			found := 0
			for cursor := ""; ; {
				page, err := s.Search(t.Context(), audit.Query{Action: "call"}, cursor, 0)
				if err != nil {
					t.Fatalf("%s: %v", when, err)
				}
				found += len(page.Entries)
				if cursor = page.Next; cursor == "" {
					break
				}
			}
			if found != want {
				t.Errorf("%s: %d entries of calls, want %d", when, found, want)
			}
		}
		calls("before", 41)
		x.prune(2)
		calls("pruned, and still indexed", 0)
		for range 2 {
			if err := indexer.CatchUp(t.Context(), false, nil); err != nil {
				t.Fatal(err)
			}
			segments, err := store.Segments(t.Context(), 1<<40, 100)
			if err != nil || len(segments) == 0 || segments[len(segments)-1].From < 2*65536 {
				t.Fatalf("segments %+v, %v: want those of what is left", segments, err)
			}
		}
		calls("pruned", 0)
		// Everything that is left is found, by way of the index or not.
		page, err := s.Search(t.Context(), audit.Query{}, "", audit.MaxPage)
		for err == nil && page.Next != "" {
			if page, err = s.Search(t.Context(), audit.Query{}, page.Next, audit.MaxPage); err == nil && len(page.Entries) > 0 && page.Entries[len(page.Entries)-1].Seq < 2*65536 {
				t.Fatal("something was found that was pruned")
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		// A log that runs would notice by itself; what is tested is the search.
		if err := x.stop(); err != nil {
			t.Fatal(err)
		}
		x.raw.Exec("DELETE FROM audit_entries WHERE seq = $1", 2*65536+100)
		for next := ""; ; next = page.Next {
			if page, err = s.Search(t.Context(), audit.Query{}, next, audit.MaxPage); err != nil || page.Next == "" {
				break
			}
		}
		if err == nil {
			t.Error("an entry is missing, and the search says nothing")
		}
	})
}
