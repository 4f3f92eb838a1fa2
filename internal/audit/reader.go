package audit

import (
	"context"
	"iter"
	"math"
	"sync"
)

// oneReader lets several goroutines use a Reader, which is of one transaction, one
// after the other.
type oneReader struct {
	mu     sync.Mutex
	reader Reader
}

func (r *oneReader) Head(ctx context.Context) (Head, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Head(ctx)
}

func (r *oneReader) Entries(ctx context.Context, from int64, limit int) ([]Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Entries(ctx, from, limit)
}

func (r *oneReader) Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Tiles(ctx, level, from, limit)
}

func (r *oneReader) Levels(ctx context.Context) (map[int]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Levels(ctx)
}

func (r *oneReader) Checkpoints(ctx context.Context, from int64, limit int) ([]Checkpoint, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Checkpoints(ctx, from, limit)
}

func (r *oneReader) Pruned(ctx context.Context) (Pruned, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reader.Pruned(ctx)
}

// entries yields the entries from an index on, a batch at a time. The next batch is
// read while one is looked at.
func (v *verification) entries(from int64) iter.Seq2[[]Row, error] {
	type batch struct {
		rows []Row
		err  error
	}
	return func(yield func([]Row, error) bool) {
		ctx, cancel := context.WithCancel(v.ctx)
		batches := make(chan batch)
		go func() {
			defer close(batches)
			for {
				rows, err := v.reader.Entries(ctx, from, readBatch)
				select {
				case batches <- batch{rows, err}:
				case <-ctx.Done():
					return
				}
				if err != nil || len(rows) < readBatch || rows[len(rows)-1].Seq == math.MaxInt64 {
					return
				}
				from = rows[len(rows)-1].Seq + 1
			}
		}()
		defer func() {
			cancel()
			for range batches { // The reader is of a transaction that ends with the caller.
			}
		}()
		for b := range batches {
			if !yield(b.rows, b.err) {
				return
			}
		}
	}
}
