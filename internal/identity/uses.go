package identity

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// Use is when something was last used, from where, and how often since it was last
// stored.
type Use struct {
	At time.Time
	// From is the network that it was used from, never a whole address: /24 of
	// IPv4, /48 of IPv6. Invalid if it is not known.
	From  netip.Prefix
	Count int64
}

// add takes up another use of the same.
func (u *Use) add(o Use) {
	u.Count += o.Count
	if o.At.After(u.At) {
		u.At, u.From = o.At, o.From
	}
}

// maxUses bounds what a Uses holds between two flushes. Who is noted was
// authenticated, so it is the number of credentials in use that counts.
const maxUses = 16384

// flushEvery is how often uses are stored: what a crash loses of them.
const flushEvery = 5 * time.Second

// Uses gathers in memory when each of something was last used, so that no call
// waits for the store. A crash loses what was noted since the last Flush. It is safe
// for concurrent use; the zero value is ready.
type Uses[K comparable] struct {
	mu   sync.Mutex // guards what follows; not held while storing
	seen map[K]Use
	lost int64
}

// Note notes one use, now.
func (u *Uses[K]) Note(key K, from netip.Addr) {
	use := Use{At: now(), From: networkOf(from), Count: 1}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(key, use)
}

// add is called with mu held.
func (u *Uses[K]) add(key K, use Use) {
	before, known := u.seen[key]
	switch {
	case known:
		before.add(use)
		u.seen[key] = before
	case len(u.seen) >= maxUses:
		u.lost += use.Count
	default:
		if u.seen == nil {
			u.seen = map[K]Use{}
		}
		u.seen[key] = use
	}
}

// Flush stores what was noted, all in one write. What cannot be stored is kept for
// the next time.
func (u *Uses[K]) Flush(ctx context.Context, store func(context.Context, map[K]Use) error) error {
	u.mu.Lock()
	seen := u.seen
	u.seen = nil
	u.mu.Unlock()
	if len(seen) == 0 {
		return nil
	}
	err := store(ctx, seen)
	if err == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for key, use := range seen {
		u.add(key, use)
	}
	return fmt.Errorf("storing when things were used: %w", err)
}

// networkOf is the network that is remembered of an address.
func networkOf(from netip.Addr) netip.Prefix {
	from = from.Unmap().WithZone("")
	bits := 48
	if from.Is4() {
		bits = 24
	}
	network, err := from.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return network
}
