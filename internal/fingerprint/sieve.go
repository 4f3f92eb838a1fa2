package fingerprint

import "sync/atomic"

// sieve turns down, at the cost of one look into memory, nearly every word that is
// no value by itself, every word that begins no value of several words, and nearly
// every row of words that is no such value.
type sieve struct {
	// bits has three bits for each value, all in one word of memory, so that a look
	// costs one miss of the cache at most. The three upper bits of each word say whether
	// there are values that are compared as they are written, addresses of e-mail and
	// names among the values of several words that begin with a word that is looked up
	// there.
	bits  []uint64
	shift int
	room  int // values for which it is made
	// leads has, for the upper bits of the fast hash of a word, the shapes of the
	// values that begin with it. There are leadRoom times as many as words of bits, if
	// the fast hash of the first word is known so far.
	leads     []uint32
	leadShift int // of a fast hash
}

const (
	// perWord are the values to each word of memory; about one word of text in eighty
	// passes then.
	perWord      = 5
	minSieveBits = 10
	maxSieveBits = quickBits - 12
	// leadRoom is how many more bits leads is told apart by.
	leadRoom = 4
	// leadsBit is the first of the three upper bits.
	leadsBit = 61
)

func newSieve(values int) *sieve {
	n := minSieveBits
	for n < maxSieveBits && values > perWord<<n {
		n++
	}
	room := perWord << n
	if n == maxSieveBits {
		room = 1 << 62
	}
	l := min(n+leadRoom, leadBits)
	return &sieve{bits: make([]uint64, 1<<n), shift: quickBits - n, room: room, leads: make([]uint32, 1<<l), leadShift: 64 - l}
}

// three returns the three bits of a quick part, less those that would be one of the
// upper ones. A value may have it if all are set in its word of bits, the one at the
// quick part shifted by shift. Where the sieve is large there are twelve bits to make
// them of: the third is a mixture.
func three(quick uint64) uint64 {
	return (1<<(quick&63) | 1<<(quick>>6&63) | 1<<((quick+quick>>6*37+13)&63)) &^ (7 << leadsBit)
}

// lead returns the shapes of the values that begin with a word of this fast hash.
func (s *sieve) lead(fast uint64) uint32 {
	return atomic.LoadUint32(&s.leads[fast>>(s.leadShift&63)])
}

// add lets a mark through.
func (s *sieve) add(m mark) {
	q := m.quick()
	atomic.OrUint64(&s.bits[q>>s.shift], three(q))
	if m.shape() == shapeOne {
		return
	}
	var bit uint64
	for i, only := range [3]uint32{exactOnly, emailOnly, namesOnly} {
		if only>>m.shape()&1 != 0 {
			bit = 1 << (leadsBit + i)
		}
	}
	// Of a first word's fast hash the upper leadBits are known. If more say where it is
	// looked up, it may be in any of several words.
	first := q >> (quickBits - leadBits) << (quickBits - leadBits)
	for at := first >> s.shift; at <= (first+1<<(quickBits-leadBits)-1)>>s.shift; at++ {
		atomic.OrUint64(&s.bits[at], bit)
	}
	atomic.OrUint32(&s.leads[q<<(64-quickBits)>>s.leadShift], 1<<m.shape())
}

// bytes returns the memory that it takes.
func (s *sieve) bytes() int { return 8*len(s.bits) + 4*len(s.leads) }
