package fingerprint

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultMany is how many people must have a value for it to be nobody's in
	// particular; MaxMany is the most that can be asked for.
	DefaultMany, MaxMany = 20, 20
	// manyWeak is the same for what people choose freely: five of one name are no
	// rarity, and it says nothing about any of them.
	manyWeak = 5
	// MaxOwners are the owners of one value that the index lists at most.
	MaxOwners = MaxMany - 1
)

// Config is what an index is made of.
type Config struct {
	// Key makes the fingerprints. It must not be zero.
	Key Key
	// Capacity is how many fingerprints the index holds at most; when it is full, the
	// ones that expire first make room. Zero is 10 million.
	Capacity int
	// Many is how many people must have an id, an e-mail address, a telephone number, a
	// post, a message or a secret for it to be shared: from 5 to MaxMany. Zero is
	// DefaultMany. Of usernames, names and links it is five.
	Many int
	// Ours are texts that are nobody's, whoever has them: the app's own addresses and
	// numbers, and words that it sends all the time. They are no hits, and no evidence
	// for others; secrets are hits all the same. Each must be such that it could be a
	// value.
	Ours []string
	// Form recognises secrets by how they are made, without the index: it is shown
	// every row of letters, digits and low lines that has FormLength bytes or more. nil
	// means that there are none. It must be fast and keep nothing.
	Form func(row []byte) bool
	// FormLength is the length of the shortest secret that Form knows.
	FormLength int
}

// Index holds fingerprints, and who may have the values. It is safe for concurrent
// use.
//
// Searches take no lock to turn a word down: they look into a sieve whose words are
// changed one by one, atomically, and which is replaced as a whole when it must
// shrink or grow. Only for the few words that pass do they take the read lock of one
// of 256 shards, for one look. Whoever writes holds the lock of one shard for as
// long as it takes to change it, a fraction of a millisecond at 10 million.
type Index struct {
	keys     *keys
	capacity int
	ours     map[mark]bool
	form     func([]byte) bool
	formed   int // FormLength
	many     int
	sieve    atomic.Pointer[sieve]
	shards   [shards]shard
	searches sync.Pool

	// writing is taken by whoever changes anything, before a shard's lock. The
	// counts are changed under it.
	writing sync.Mutex
	sifted  int  // values of which the sieve has been told
	stale   bool // the sieve lets through what is gone
	count   atomic.Int64
	evicted atomic.Int64
	// changes counts what was put in and taken out, behind each.
	changes atomic.Uint64
}

// shard is one part of the index. Its table is changed under both the index's
// writing and its own lock, so that holding either is enough to read it.
type shard struct {
	sync.RWMutex
	table
}

// New makes an empty index.
func New(c Config) (*Index, error) {
	if c.Key == (Key{}) {
		return nil, errors.New("the key of the fingerprints is zero")
	}
	if c.Capacity < 0 {
		return nil, errors.New("the capacity of the index of fingerprints is negative")
	}
	if c.Capacity == 0 {
		c.Capacity = 10_000_000
	}
	if c.Many == 0 {
		c.Many = DefaultMany
	}
	if c.Many < manyWeak || c.Many > MaxMany {
		return nil, fmt.Errorf("the number of people who make a value a shared one is %d; it is from %d to %d", c.Many, manyWeak, MaxMany)
	}
	x := &Index{keys: newKeys(c.Key), capacity: c.Capacity, form: c.Form, formed: max(c.FormLength, minExact), many: c.Many}
	x.sieve.Store(newSieve(0))
	basic()
	for i, text := range c.Ours {
		before := len(x.ours)
		for _, class := range classes[:classSecret] {
			if m, ok := x.mark(Value{Class: class, Text: text}); ok {
				if x.ours == nil {
					x.ours = map[mark]bool{}
				}
				x.ours[m] = true
			}
		}
		if len(x.ours) == before {
			return nil, fmt.Errorf("text %d of those that are ours can be no value, or stands there twice: it is too short, too long, or has no letters and digits", i+1)
		}
	}
	return x, nil
}

// Stats says how full an index is.
type Stats struct {
	// Entries is how many fingerprints there are; Capacity is how many there may be.
	Entries, Capacity int
	// Evicted is how many had to go before their time, since the start, because the
	// index was full.
	Evicted int64
	// Bytes is the memory that the index takes, empty places and sieve included.
	Bytes int64
}

// Stats returns how full the index is.
func (x *Index) Stats() Stats {
	s := Stats{Entries: int(x.count.Load()), Capacity: x.capacity, Evicted: x.evicted.Load(), Bytes: int64(x.sieve.Load().bytes())}
	for i := range x.shards {
		h := &x.shards[i]
		h.RLock()
		s.Bytes += int64(len(h.words)) * entryBytes
		h.RUnlock()
	}
	return s
}

// epoch is the hour from which expiry is counted: the beginning of 2020. Eighteen
// bits of hours lead to 2049.
const epoch = 1577836800 / 3600

// hourOf returns the hour by whose end a time has come.
func hourOf(t time.Time) uint32 {
	h := (t.Unix()+3599)/3600 - epoch
	return uint32(min(max(h, 0), maxHour))
}

func (x *Index) shard(m mark) (*shard, uint64) {
	return &x.shards[uint64(m)>>(64-shardBits)], uint64(m) & (1<<(64-shardBits) - 1)
}

// Add puts fingerprints into the index. One that is there for that owner is renewed:
// it expires at the later time. Of each value and kind of data the owners are kept;
// when there are many (see [Config]) it becomes shared, and nobody's in particular,
// until it expires. Owners who entered it somewhere do not make it shared: they are
// kept as long as there is room. Entries of an unknown kind of data, and fingerprints of another Key, are
// left out.
func (x *Index) Add(entries ...Entry) {
	x.writing.Lock()
	defer x.writing.Unlock()
	for _, e := range entries {
		class, known := classNumber(e.Class)
		m, ours := x.keys.mark(e.Print)
		if !known || !ours {
			continue
		}
		x.add(m, item{owner: uint32(e.Owner), class: class, hour: hourOf(e.Expires), entered: e.Entered})
	}
}

func (x *Index) add(m mark, i item) {
	h, key := x.shard(m)
	i.key = key
	if h.renew(i) {
		return
	}
	if x.count.Load() >= int64(x.capacity) {
		x.evict()
	}
	if x.sifted++; x.sifted > x.sieve.Load().room {
		x.sift(1)
	}
	x.sieve.Load().add(m)
	h.Lock()
	before := h.count
	x.stale = h.put(i, x.manyOf(i.class)) || x.stale
	x.changes.Add(1) // behind what had to make room, too
	x.count.Add(int64(h.count - before))
	h.Unlock()
}

// renew finds an item that is there and lets it live as long as the given one.
func (h *shard) renew(i item) bool {
	for at := h.find(i.key); h.has(at, i.key); at++ {
		had := h.item(at)
		if had.class != i.class || !had.shared && had.owner != i.owner {
			continue
		}
		if had.hour < i.hour {
			had.hour = i.hour
			h.Lock()
			h.set(at, had)
			h.Unlock()
		}
		return true
	}
	return false
}

// manyOf is how many people make a value of a kind shared.
func (x *Index) manyOf(class uint8) int {
	if weak(class) {
		return manyWeak
	}
	return x.many
}

// put adds an item that is not there, or makes the value shared, and says which.
func (h *shard) put(i item, many int) (shared bool) {
	first, owners, counted, gives := h.find(i.key), 0, 0, -1
	for at := first; h.has(at, i.key); at++ {
		switch had := h.item(at); {
		case had.class != i.class:
			continue
		case !had.entered:
			counted++
		case gives < 0 || had.hour < h.item(gives).hour:
			gives = at
		}
		owners++
	}
	switch {
	case owners < many-1:
		h.insert(i)
		return false
	case i.entered:
		return false // others are listed
	case counted < many-1:
		h.remove(gives)
		h.insert(i)
		return false
	}
	for at := first; h.has(at, i.key); {
		if had := h.item(at); had.class == i.class {
			i.hour = max(i.hour, had.hour)
			h.remove(at)
			continue
		}
		at++
	}
	i.owner, i.shared = 0, true
	h.insert(i)
	return true
}

// Forget removes every fingerprint of an owner and returns how many there were.
// Values that are shared have no owner, and stay. It walks through the whole index;
// a shard is locked only if something of the owner's is there. The bits of the sieve
// that the fingerprints had set (a hint that such a value may exist, without an
// owner) go with the next Expire.
func (x *Index) Forget(owner Owner) int {
	if owner == 0 {
		return 0
	}
	x.writing.Lock()
	defer x.writing.Unlock()
	forgotten := 0
	for i := range x.shards {
		h := &x.shards[i]
		for at := 0; at < len(h.owners); at++ {
			// A shared value has no owner: zero.
			if h.owners[at]&^ownerEntered != uint32(owner) {
				continue
			}
			h.Lock()
			for h.owners[at]&^ownerEntered == uint32(owner) {
				h.remove(at)
				forgotten++
			}
			h.Unlock()
		}
	}
	x.changes.Add(1)
	x.count.Add(-int64(forgotten))
	x.stale = x.stale || forgotten > 0
	return forgotten
}

// Expire removes what had expired at that time and returns how many it was.
func (x *Index) Expire(now time.Time) int {
	x.writing.Lock()
	defer x.writing.Unlock()
	hour := now.Unix()/3600 - epoch
	dropped := x.drop(func(i item) bool { return int64(i.hour) <= hour })
	x.changes.Add(1)
	if dropped > 0 || x.stale {
		x.sift(0)
	}
	return dropped
}

// drop removes what the function names, and locks only shards that hold any of it.
func (x *Index) drop(goes func(item) bool) int {
	dropped := 0
	for i := range x.shards {
		h := &x.shards[i]
		any := false
		for at, w := range h.words {
			if w != 0 && goes(h.item(at)) {
				any = true
				break
			}
		}
		if any {
			h.Lock()
			dropped += h.drop(goes)
			h.Unlock()
		}
	}
	x.count.Add(-int64(dropped))
	return dropped
}

// sift makes the sieve anew from what is there, with room for some more.
func (x *Index) sift(more int) {
	x.sifted, x.stale = int(x.count.Load())+more, false
	s := newSieve(x.sifted)
	x.each(func(m mark, w uint64) {
		// What so many have that it says nothing is not worth a second look.
		if c := uint8(w >> 2 & 15); w&wordShared == 0 || !weak(c) {
			s.add(m)
		}
	})
	x.sieve.Store(s)
}

// weak says whether values of a kind count only beside another: those that people
// choose freely. Somebody who calls herself like a word that the app sends all the
// time, or names the app's own page as hers, must not make it stop.
func weak(class uint8) bool {
	return class == classUsername || class == className || class == classLink
}

// each visits the mark of every item, and its word in the table. The caller holds
// writing.
func (x *Index) each(visit func(mark, uint64)) {
	for i := range x.shards {
		for _, w := range x.shards[i].words {
			if w != 0 {
				visit(mark(uint64(i)<<(64-shardBits)|w>>8), w)
			}
		}
	}
}

// evict makes room for a sixty-fourth of the capacity: what expires first goes.
func (x *Index) evict() {
	var counts [maxHour + 1]int32
	for i := range x.shards {
		h := &x.shards[i]
		for at, w := range h.words {
			if w != 0 {
				counts[uint32(w&3)<<16|uint32(h.hours[at])]++
			}
		}
	}
	last, left := uint32(0), x.capacity/64+1
	for last < maxHour && left > int(counts[last]) {
		left -= int(counts[last])
		last++
	}
	dropped := x.drop(func(i item) bool { return i.hour < last })
	// Of the last hour only as many go as are needed: first the same number in each
	// shard, then whatever is still wanting from wherever it is.
	for _, share := range []int{(left + shards - 1) / shards, left} {
		for i := range x.shards {
			h, quota := &x.shards[i], min(share, left)
			if quota == 0 {
				break
			}
			h.Lock()
			n := h.drop(func(i item) bool {
				if i.hour != last || quota == 0 {
					return false
				}
				quota--
				return true
			})
			h.Unlock()
			left -= n
			dropped += n
			x.count.Add(-int64(n))
		}
	}
	x.evicted.Add(int64(dropped))
	x.sift(0)
}

// found is one item under a mark.
type found struct {
	owner  Owner
	class  uint8
	shared bool
}

// look appends what the index has under a mark, save values of which so many people
// have them that they say nothing.
func (x *Index) look(to []found, m mark) []found {
	h, key := x.shard(m)
	h.RLock()
	for at := h.find(key); h.has(at, key); at++ {
		if i := h.item(at); !i.shared || !weak(i.class) {
			to = append(to, found{Owner(i.owner), i.class, i.shared})
		}
	}
	h.RUnlock()
	return to
}
