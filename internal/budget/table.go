package budget

import (
	"hash/maphash"
	"sync"
	"time"

	"gatehouse"
)

// kind says what a pool belongs to.
type kind uint8

const (
	// kindCall: X's pool of one operation, of one user or (without an owner) of the
	// app-only token; with the user's undocumented 24 hours.
	kindCall kind = iota
	// kindDay: X's undocumented 24 hours of one operation for the whole app.
	kindDay
	// kindApp: what X-App-Usage is about, and the throttling of a whole app.
	kindApp
	// kindOwner: the throttling of one user or page.
	kindOwner
	// kindOperation: the throttling of one operation of one owner, on one node or on
	// all; it also knows which accounts the operation was counted against.
	kindOperation
	// kindAccount: a page, an ad account or a business, from the header about it.
	kindAccount
)

// key names a pool. Of an account the node is the platform's id and the operation
// the name of its kind of use.
type key struct {
	kind      kind
	app       gatehouse.AppName
	owner     string
	operation gatehouse.Operation
	node      string
}

// longNode bounds the ids that are kept; Graph's own are shorter.
const longNode = 64

// shards spread the pools, so that callers of different ones do not wait for each
// other.
const shards = 64

// shard holds some of the pools. Its lock guards them and everything in them; no
// two are held at once.
type shard struct {
	mu    sync.Mutex
	pools map[key]*pool
}

func (b *Budgets) shardOf(k *key) *shard {
	h := maphash.String(b.seed, k.owner) + 3*maphash.String(b.seed, string(k.operation)) + 5*maphash.String(b.seed, string(k.app))
	return &b.shards[h>>32%shards]
}

// with calls f with the pool of that key, locked: nil if there is none and none is
// to be made, or if there is no room.
func (b *Budgets) with(k *key, make bool, now time.Time, f func(*pool)) {
	s := b.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pools[*k]
	if p == nil && make {
		p = s.make(k, b.most, now)
	}
	if p != nil {
		f(p)
	}
}

// looked is how many pools are looked at when one is made. More than one, so that
// those whose time has passed go faster than others come.
const looked = 4

// make adds a pool. In place of a sweep, which would hold callers up, each new
// pool pays for the removal of old ones. When there is no room, the idle pool with
// the most left goes: what it knew is the least worth. With the lock held.
func (s *shard) make(k *key, most int, now time.Time) *pool {
	n := 0
	var spare *pool
	full := len(s.pools) >= most
	for _, p := range s.pools { // Go begins each round at another place
		if p.flying == 0 && p.over(now) {
			delete(s.pools, p.key)
		} else if p.flying == 0 && (spare == nil || p.left(now) > spare.left(now)) {
			spare = p
		}
		// A full shard is searched until there is a candidate.
		if n++; n >= looked && (!full || spare != nil || len(s.pools) < most) {
			break
		}
	}
	if len(s.pools) >= most {
		if spare == nil {
			return nil
		}
		delete(s.pools, spare.key)
	}
	p := &pool{key: *k, shard: s}
	s.pools[*k] = p
	return p
}
