package fingerprint

import "math/bits"

// table holds the fingerprints of one shard: an array that is sorted, with gaps. A
// fingerprint stands at its home, which is proportional to it, or behind it in an
// unbroken row. So a search ends at the first gap or greater fingerprint, growth is
// one walk, and the upper bits need not be kept. Nine tenths of it are used before
// it grows by an eighth, and a fingerprint takes 14 bytes.
type table struct {
	// words hold, from above: 56 bits of the mark (the shard is the rest), used,
	// shared, class (4), and the two upper bits of the hour.
	words  []uint64
	owners []uint32
	// hours are the lower bits of the hour of expiry.
	hours []uint16
	homes uint64 // places that are homes; behind them there is room to give way
	count int
}

const (
	shardBits = 8
	shards    = 1 << shardBits

	wordUsed   = 1 << 7
	wordShared = 1 << 6
	// ownerEntered is the uppermost bit of an owner's place.
	ownerEntered = 1 << 31

	// tail are the places behind the last home.
	tail = 48
	// entryBytes are what one place takes.
	entryBytes = 8 + 4 + 2
)

// item is one place of a table, taken apart.
type item struct {
	key    uint64 // the mark without its shard, 56 bits
	owner  uint32
	hour   uint32 // 18 bits
	class  uint8
	shared bool
	// entered is set for an owner who does not count among the many.
	entered bool
}

const maxHour = 1<<18 - 1

func (i item) word() uint64 {
	w := i.key<<8 | wordUsed | uint64(i.class)<<2 | uint64(i.hour>>16)
	if i.shared {
		w |= wordShared
	}
	return w
}

func (t *table) item(at int) item {
	w := t.words[at]
	return item{
		key: w >> 8, owner: t.owners[at] &^ ownerEntered, entered: t.owners[at]&ownerEntered != 0, hour: uint32(w&3)<<16 | uint32(t.hours[at]), class: uint8(w >> 2 & 15), shared: w&wordShared != 0,
	}
}

func (t *table) set(at int, i item) {
	owner := i.owner
	if i.entered {
		owner |= ownerEntered
	}
	t.words[at], t.owners[at], t.hours[at] = i.word(), owner, uint16(i.hour)
}

func (t *table) home(key uint64) int {
	hi, _ := bits.Mul64(key<<8, t.homes)
	return int(hi)
}

// find returns the place of the first item with that key, or where one would be
// put.
func (t *table) find(key uint64) int {
	at := t.home(key)
	for at < len(t.words) && t.words[at] != 0 && t.words[at]>>8 < key {
		at++
	}
	return at
}

// has says whether an item with that key stands at the place.
func (t *table) has(at int, key uint64) bool {
	return at < len(t.words) && t.words[at] != 0 && t.words[at]>>8 == key
}

// insert adds an item, behind those with the same key.
func (t *table) insert(i item) {
	if t.homes == 0 || uint64(t.count+1)*10 > t.homes*9 {
		t.grow()
	}
	for {
		at := t.find(i.key)
		for t.has(at, i.key) {
			at++
		}
		gap := at
		for gap < len(t.words) && t.words[gap] != 0 {
			gap++
		}
		if gap == len(t.words) {
			t.grow()
			continue
		}
		copy(t.words[at+1:gap+1], t.words[at:gap])
		copy(t.owners[at+1:gap+1], t.owners[at:gap])
		copy(t.hours[at+1:gap+1], t.hours[at:gap])
		t.set(at, i)
		t.count++
		return
	}
}

// remove takes out the item at that place. What had to give way moves back.
func (t *table) remove(at int) {
	end := at + 1
	for end < len(t.words) && t.words[end] != 0 && t.home(t.words[end]>>8) < end {
		end++
	}
	copy(t.words[at:end-1], t.words[at+1:end])
	copy(t.owners[at:end-1], t.owners[at+1:end])
	copy(t.hours[at:end-1], t.hours[at+1:end])
	t.words[end-1], t.owners[end-1], t.hours[end-1] = 0, 0, 0
	t.count--
}

func (t *table) grow() { t.resize(t.homes + max(t.homes/8, 16)) }

// resize moves everything to a table with that many homes, or with more if they do
// not suffice.
func (t *table) resize(homes uint64) {
	for ; ; homes += homes/16 + 16 {
		n := int(homes) + tail
		to := table{
			words: make([]uint64, n), owners: make([]uint32, n), hours: make([]uint16, n), homes: homes,
		}
		if to.take(t) {
			*t = to
			return
		}
	}
}

// take fills an empty table with everything of another; false if it does not fit.
func (t *table) take(from *table) bool {
	next := 0
	for at, w := range from.words {
		if w == 0 {
			continue
		}
		next = max(next, t.home(w>>8))
		if next >= len(t.words) {
			return false
		}
		t.words[next], t.owners[next], t.hours[next] = w, from.owners[at], from.hours[at]
		next++
	}
	t.count = from.count
	return true
}

// drop removes every item that the function names, and returns how many. A table
// that is mostly empty afterwards shrinks.
func (t *table) drop(goes func(item) bool) int {
	next, dropped := 0, 0
	for at, w := range t.words {
		if w == 0 {
			continue
		}
		i := t.item(at)
		t.words[at], t.owners[at], t.hours[at] = 0, 0, 0
		if goes(i) {
			dropped++
			continue
		}
		// Never behind where it was: there are fewer before it.
		next = max(next, t.home(i.key))
		t.set(next, i)
		next++
	}
	t.count -= dropped
	if uint64(t.count)*10 < t.homes*6 {
		t.resize(max(uint64(t.count)*5/4, 16))
	}
	return dropped
}
