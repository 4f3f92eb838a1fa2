package audit_test

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// TestTailAndPagesWhileOthersWrite: a tail hands out every entry once, and pages neither
// repeat one nor leave one out, while several write and others index.
func TestTailAndPagesWhileOthersWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, _ := newKey(t)
		log, stop := run(t, config(t, db.Audit(), private))
		s := audit.NewSearcher(index, audit.SearchedLog{Store: db.Audit()})
		q := audit.Query{Verdict: "allow"}
		all, err := s.Follow(t.Context(), audit.Query{}, "")
		if err != nil {
			t.Fatal(err)
		}
		some, err := s.Follow(t.Context(), q, "")
		if err != nil {
			t.Fatal(err)
		}
		whose, err := s.Follow(t.Context(), audit.Query{Found: []audit.Found{connection("person-1", "connection-1")}}, "")
		if err != nil {
			t.Fatal(err)
		}
		const writers, each = 4, 600
		var group sync.WaitGroup
		for range writers {
			group.Go(func() {
				for range each {
					e := call()
					receipt, err := log.Intent(t.Context(), e)
					if err != nil {
						t.Error(err)
						return
					}
					log.Outcome(receipt, audit.Entry{Action: "call", Verdict: "done", Status: 200})
				}
			})
		}
		ended := make(chan struct{})
		go func() {
			group.Wait()
			if err := log.Flush(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
			close(ended)
		}()
		got := [3][]int64{}
		drain := func() {
			for i, tail := range []*audit.Tail{all, some, whose} {
				for more := true; more; {
					var entries []audit.Shown
					var err error
					// Going on from the cursor is the same as going on.
					if entries, more, err = tail.Next(t.Context()); err != nil {
						t.Fatal(err)
					}
					for _, e := range entries {
						got[i] = append(got[i], e.Seq)
					}
				}
			}
			if some, err = s.Follow(t.Context(), q, some.Cursor()); err != nil {
				t.Fatal(err)
			}
		}
		for on := true; on; {
			select {
			case <-ended:
				on = false
			default:
			}
			drain()
			if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
				t.Fatal(err)
			}
			found, _ := pages(t, s, q, 64, 1000)
			for i := 1; i < len(found); i++ {
				if found[i] >= found[i-1] {
					t.Fatalf("entry %d comes after entry %d", found[i], found[i-1])
				}
			}
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		drain()
		for i, want := range []int{2 * writers * each, writers * each, 2 * writers * each} {
			if len(got[i]) != want || !slices.IsSorted(got[i]) || len(slices.Compact(slices.Clone(got[i]))) != want {
				t.Errorf("tail %d hands out %d entries, not %d, each once and in order", i, len(got[i]), want)
			}
		}
		if found, _ := pages(t, s, q, 100, 1<<20); len(found) != writers*each || !slices.IsSortedFunc(found, func(a, b int64) int { return cmp.Compare(b, a) }) {
			t.Errorf("pages have %d entries, not %d", len(found), writers*each)
		}
	})
}

// TestInDoubt compares the intents without an outcome with those of a plain scan.
func TestInDoubt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		h := newPast(t, db, 11)
		check := func(what string) {
			t.Helper()
			s := audit.NewSearcher(nil, audit.SearchedLog{Store: db.Audit()})
			times := []int64{}
			for _, l := range h.leaves {
				times = append(times, l.Time)
			}
			slices.Sort(times)
			for _, since := range []time.Time{{}, time.UnixMicro(times[len(times)/3])} {
				before := time.UnixMicro(times[len(times)-20])
				ended := map[string]bool{}
				want := map[string]bool{}
				for _, l := range h.leaves {
					ended[l.Intent] = true
				}
				for _, l := range h.leaves {
					if l.Kind == audit.KindIntent && !ended[l.ID] && !l.When().Before(since) && l.When().Before(before) {
						want[l.ID] = true
					}
				}
				got, err := s.InDoubt(t.Context(), since, before)
				if err != nil {
					t.Fatal(err)
				}
				if len(want) == 0 || len(got) != len(want) {
					t.Fatalf("%s: %d are in doubt, not %d", what, len(got), len(want))
				}
				for _, e := range got {
					if !want[e.ID] {
						t.Errorf("%s: %s is not in doubt", what, e.ID)
					}
				}
			}
		}
		h.grow(2*shortSpan + 300)
		check("nothing indexed")
		if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		check("indexed")
		h.grow(longSpan)
		if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
			t.Fatal(err)
		}
		check("in long segments")
	})
}
