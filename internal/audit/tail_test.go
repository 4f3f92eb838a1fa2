package audit_test

import (
	"cmp"
	"context"
	"maps"
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

// checkNewest compares what is in doubt within a budget with a plain scan of as many
// entries as it says that it looked through.
func (h *pastLog) checkNewest() {
	h.t.Helper()
	s := audit.NewSearcher(nil, audit.SearchedLog{Store: h.db.Audit()})
	ended := map[string]bool{}
	for _, l := range h.leaves {
		ended[l.Intent] = true
	}
	size := int64(len(h.leaves))
	before := h.leaves[size-1].When()
	var last int64
	for _, budget := range []int{1, 300, 701, 3000, 8000, 1 << 20} {
		d, err := audit.InDoubtWithin(h.t.Context(), s, time.Time{}, before, budget)
		if err != nil {
			h.t.Fatal(err)
		}
		first := int64(0)
		if !d.From.IsZero() {
			if first = size - d.Looked; d.Looked < last || !d.From.Equal(h.leaves[first].When()) {
				h.t.Errorf("with %d it looked through %d entries, to %v, which is not where these begin", budget, d.Looked, d.From)
			}
		} else if budget < 1<<20 || d.Looked != 0 {
			h.t.Errorf("with %d it says that all of %d entries were looked through", budget, size)
		}
		last = d.Looked
		var want, got []string
		for _, l := range h.leaves[first:] {
			if l.Kind == audit.KindIntent && !ended[l.ID] && l.When().Before(before) {
				want = append(want, l.ID)
			}
		}
		for _, e := range d.Entries {
			got = append(got, e.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			h.t.Errorf("with %d, %d of the newest %d entries are in doubt, not %d", budget, len(got), d.Looked, len(want))
		}
	}
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
		h.grow(700)
		h.checkNewest()
	})
}

// counted is a log that counts which entries were asked for by their indexes.
type counted struct {
	audit.SegmentStore
	asked map[int64]int
}

func (c *counted) At(ctx context.Context, seqs []int64) ([]audit.Row, error) {
	for _, seq := range seqs {
		c.asked[seq]++
	}
	return c.SegmentStore.At(ctx, seqs)
}

// TestInDoubtReadsWhatIsOpen: of a long segment, only what has its counterpart elsewhere,
// or none, is read to see what is in doubt.
func TestInDoubtReadsWhatIsOpen(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	h := newPast(t, db, 17)
	h.grow(longSpan + 500)
	if err := indexer(db).CatchUp(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	at := map[string]int64{}
	want := map[int64]int{}
	for seq, l := range h.leaves[:longSpan] {
		switch _, here := at[l.Intent]; {
		case l.Kind == audit.KindIntent:
			at[l.ID] = int64(seq)
			want[int64(seq)] = 1
		case l.Kind == audit.KindOutcome && here:
			delete(want, at[l.Intent])
		case l.Kind == audit.KindOutcome:
			want[int64(seq)] = 1
		}
	}
	c := &counted{db.Audit(), map[int64]int{}}
	if _, err := audit.NewSearcher(nil, audit.SearchedLog{Store: c}).InDoubt(t.Context(), time.Time{}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if len(want) == 0 || !maps.Equal(c.asked, want) {
		t.Errorf("%d entries were read, not the %d that are open", len(c.asked), len(want))
	}
}

// TestInDoubtOfSeveralLogs has outcomes in another log than their intents, where one who
// looks through the newest entries only does not see them.
func TestInDoubtOfSeveralLogs(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		a, b := newPast(t, storetest.Open(t, dsn), 3), newPast(t, storetest.Open(t, storetest.SQLite(t)), 4)
		a.grow(3000)
		left := len(a.open)
		b.open, b.clock = slices.Clone(a.open), a.clock+2*3_600_000_000 // clocks are set back by an hour now and then
		b.grow(3000)
		s := audit.NewSearcher(nil, audit.SearchedLog{Store: a.db.Audit()}, audit.SearchedLog{Store: b.db.Audit()})
		ended := map[string]bool{}
		for _, l := range slices.Concat(a.leaves, b.leaves) {
			ended[l.Intent] = true
		}
		open := 0
		for _, id := range a.open {
			if !ended[id] {
				open++
			}
		}
		if open == left {
			t.Fatal("no intent of one log has its outcome in the other")
		}
		for _, budget := range []int{2, 1500, 3000, 0} {
			d, err := audit.InDoubtWithin(t.Context(), s, time.Time{}, time.Time{}, budget)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range d.Entries {
				if ended[e.ID] {
					t.Errorf("with %d, %s is in doubt, which has an outcome", budget, e.ID)
				}
			}
			if (budget == 0) != d.From.IsZero() || budget == 0 && len(d.Entries) == 0 {
				t.Errorf("with %d it looked through %d entries, to %v, and found %d", budget, d.Looked, d.From, len(d.Entries))
			}
		}
	})
}
