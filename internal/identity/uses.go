package identity

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"gatehouse"
)

const (
	// usesEvery is how often what was counted is stored.
	usesEvery = 5 * time.Second
	// mostUses bounds of how many handles uses are held in memory. What finds no room is
	// not counted.
	mostUses = 1 << 16
)

// uses counts how often handles are used, in memory. A batch that could not be stored
// is tried again as it is, under its number: it may have been stored after all.
type uses struct {
	process string

	storing chan struct{} // held by the one that stores: number and failed are theirs
	number  int64
	failed  *UseBatch

	mu  sync.Mutex // guards what follows; not held while storing
	now map[gatehouse.HandleID]Use
}

func newUses() uses {
	return uses{process: rand.Text(), storing: make(chan struct{}, 1), now: map[gatehouse.HandleID]Use{}}
}

// Used counts one call that is let through with a handle. It is to be called after the
// call's intent is in the log, so that the log has at least as many. It never waits for
// the store.
func (d *Directory) Used(id gatehouse.HandleID) {
	at := now()
	d.uses.mu.Lock()
	defer d.uses.mu.Unlock()
	use, known := d.uses.now[id]
	if !known {
		if len(d.uses.now) >= mostUses {
			return
		}
		use.First = at
	}
	use.Count++
	use.Last = at
	d.uses.now[id] = use
}

// FlushUses stores what was counted so far. After an error it is still there.
func (d *Directory) FlushUses(ctx context.Context) error {
	u := &d.uses
	select {
	case u.storing <- struct{}{}:
		defer func() { <-u.storing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if u.failed != nil {
		if err := d.config.Store.AddUses(ctx, *u.failed); err != nil {
			return err
		}
		u.failed = nil
	}
	u.mu.Lock()
	counted := u.now
	u.now = make(map[gatehouse.HandleID]Use, len(counted))
	u.mu.Unlock()
	if len(counted) == 0 {
		return nil
	}
	u.number++
	batch := UseBatch{Process: u.process, Number: u.number, At: now(), Uses: counted}
	if err := d.config.Store.AddUses(ctx, batch); err != nil {
		u.failed = &batch
		return err
	}
	return nil
}

// RunUses stores what was counted, every few seconds, until ctx ends.
func (d *Directory) RunUses(ctx context.Context) {
	tick := time.NewTicker(usesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = d.FlushUses(ctx) // It is tried again, and a counter is no reason for an alarm.
		}
	}
}

// Uses returns how often handles were used, and when last, as far as it is stored: for
// at most a few seconds less than what has happened.
func (d *Directory) Uses(ctx context.Context, handles []Handle) (map[gatehouse.HandleID]Use, error) {
	ids := make([]gatehouse.HandleID, len(handles))
	for i := range handles {
		ids[i] = handles[i].ID
	}
	return d.config.Store.Uses(ctx, ids)
}
