package identity

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// KeyUse is when a key was last used, from where, and how often.
type KeyUse struct {
	At time.Time
	// From is the network that it was used from, never a whole address: /24 of
	// IPv4, /48 of IPv6. Invalid if it is not known.
	From  netip.Prefix
	Count int64
}

// add takes up another use of the same.
func (u *KeyUse) add(o KeyUse) {
	u.Count += o.Count
	if o.At.After(u.At) {
		u.At, u.From = o.At, o.From
	}
}

// maxKeyUses bounds what is held between two flushes. Who is noted was authenticated,
// so it is the number of keys in use that counts.
const maxKeyUses = 16384

// keyUses gathers in memory when each key was last used, so that no call waits for the
// store. A crash loses what was noted since the last flush; a flush whose end is not
// known may count twice. (How often handles are used is compared with the log, and so
// counted more exactly: see uses.) The zero value is ready.
type keyUses struct {
	mu   sync.Mutex // guards what follows; not held while storing
	seen map[ServiceKeyID]KeyUse
	// known are the keys of which this process has noted a use.
	known map[ServiceKeyID]bool
}

// note notes one use, now, and reports whether it is the first of the key that this
// process knows of.
func (u *keyUses) note(key ServiceKeyID, from netip.Addr) bool {
	use := KeyUse{At: now(), From: networkOf(from), Count: 1}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.add(key, use)
	if u.known[key] || len(u.known) >= maxKeyUses {
		return false
	}
	if u.known == nil {
		u.known = map[ServiceKeyID]bool{}
	}
	u.known[key] = true
	return true
}

// add is called with mu held.
func (u *keyUses) add(key ServiceKeyID, use KeyUse) {
	before, known := u.seen[key]
	switch {
	case known:
		before.add(use)
		u.seen[key] = before
	case len(u.seen) >= maxKeyUses:
		// It is noted after the next flush.
	default:
		if u.seen == nil {
			u.seen = map[ServiceKeyID]KeyUse{}
		}
		u.seen[key] = use
	}
}

// flush stores what was noted, all in one write. What cannot be stored is kept for
// the next time.
func (u *keyUses) flush(ctx context.Context, store func(context.Context, map[ServiceKeyID]KeyUse) error) error {
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
	return fmt.Errorf("storing when keys were used: %w", err)
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
