package audit_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// failing stops the indexer as a crash would: before or after what it writes is stored.
type failing struct {
	audit.SegmentStore
	random *rand.Rand
	failed int
}

func (f *failing) fail() error {
	if f.random.IntN(3) > 0 {
		return nil
	}
	f.failed++
	return fmt.Errorf("the power is gone: %w", gatehouse.ErrUnavailable)
}

func (f *failing) PutSegment(ctx context.Context, s audit.IndexSegment, parts []audit.Part) error {
	if err := f.fail(); err != nil {
		return err
	}
	if err := f.SegmentStore.PutSegment(ctx, s, parts); err != nil {
		return err
	}
	return f.fail()
}

func (f *failing) DropSegments(ctx context.Context, span, from, to int64, limit int) (int64, error) {
	if err := f.fail(); err != nil {
		return 0, err
	}
	n, err := f.SegmentStore.DropSegments(ctx, span, from, to, limit)
	if err == nil {
		err = f.fail()
	}
	return n, err
}

// TestIndexerStoppedAnywhere: whenever the indexer was stopped, searches find what a scan
// finds, and it goes on to the same end.
func TestIndexerStoppedAnywhere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		h := newPast(t, db, 21)
		h.grow(longSpan + shortSpan + 100)
		f := &failing{db.Audit(), h.random, 0}
		for try := 0; ; try++ {
			if try == 200 {
				t.Fatal("it comes to no end")
			}
			if err := audit.NewIndexer(slog.New(slog.DiscardHandler), f).CatchUp(t.Context(), false, nil); err == nil {
				break
			} else if !errors.Is(err, gatehouse.ErrUnavailable) {
				t.Fatal(err)
			}
			if try%4 == 0 && h.check("stopped", 1) {
				t.Error("the index is damaged")
			}
		}
		if long, _ := segments(t, db); long != 1 || f.failed < 5 {
			t.Errorf("%d long segments after %d failures", long, f.failed)
		}
		if h.check("at the end", 10) {
			t.Error("the index is damaged")
		}
	})
}

// TestIndexOfAFormerLength: parts of a length that this program does not make are dropped.
func TestIndexOfAFormerLength(t *testing.T) {
	h := newPast(t, storetest.Open(t, storetest.SQLite(t)), 8)
	h.grow(shortSpan)
	former := audit.IndexSegment{From: 0, Span: 4 * shortSpan, Version: 1, LastHash: []byte("hash")}
	if err := h.db.Audit().PutSegment(t.Context(), former, []audit.Part{{Content: []byte("part")}}); err != nil {
		t.Fatal(err)
	}
	if err := indexer(h.db).CatchUp(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	got, err := h.db.Audit().Segments(t.Context(), 1<<40, 10)
	if err != nil || len(got) != 1 || got[0].Span != shortSpan {
		t.Errorf("the segments are %+v, %v", got, err)
	}
}
