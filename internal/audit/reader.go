package audit

import (
	"context"
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
