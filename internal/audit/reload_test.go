package audit_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"gatehouse"
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

// passed is a store in which another process appends right after one that opens the log
// has read its head.
type passed struct {
	audit.Store
	once   sync.Once
	append func()
}

func (p *passed) Head(ctx context.Context) (audit.Head, error) {
	head, err := p.Store.Head(ctx)
	p.once.Do(p.append)
	return head, err
}

// Two processes of one machine share what it has seen. One that opens the log while the
// other appends and sees it stored has not found a log that was rolled back.
func TestOpeningWhileAnotherProcessSees(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, v := newKey(t)
		conf := config(t, db.Audit(), private)
		conf.Aside = t.TempDir()
		busy, _ := run(t, conf)
		fillTree(t, busy, 5)
		conf.Store = &passed{Store: db.Audit(), append: func() {
			fillTree(t, busy, 5)
			looked(t, busy)
		}}
		late, _ := run(t, conf)
		if _, err := late.Record(t.Context(), call()); err != nil {
			t.Errorf("recording: %v", err)
		}
		if _, err := audit.ReadAlert(conf.Aside); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("an alert is kept: %v", err)
		}
		sound(t, db.Audit(), v)
	})
}
