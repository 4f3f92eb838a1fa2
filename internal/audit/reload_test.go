package audit_test

import (
	"context"
	"sync"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// overtaken is a store in which another process appends between two reads of one
// that opens the log.
type overtaken struct {
	audit.Store
	once   sync.Once
	append func()
}

func (o *overtaken) Tiles(ctx context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	o.once.Do(o.append)
	return o.Store.Tiles(ctx, level, from, limit)
}

// A process opens the log while another one appends and completes a tile in
// between: that is no sign of tampering.
func TestOpeningWhileAnotherProcessAppends(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, v := newKey(t)
		busy, _ := run(t, config(t, db.Audit(), private))
		record := func(n int) {
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					if _, err := busy.Record(t.Context(), call()); err != nil {
						t.Errorf("recording: %v", err)
					}
				})
			}
			all.Wait()
		}
		record(600)
		second := &overtaken{Store: db.Audit(), append: func() { record(300) }}
		late, _ := run(t, config(t, second, private))
		if _, err := late.Record(t.Context(), call()); err != nil {
			t.Errorf("recording: %v", err)
		}
		if _, rows := sound(t, db.Audit(), v); len(rows) < 901 {
			t.Errorf("%d entries", len(rows))
		}
	})
}
