package fingerprint

import "sync/atomic"

// sieve turns down, at the cost of one look into memory, nearly every word that is
// no value by itself, every word that begins no value of several words, and nearly
// every row of words that is no such value.
type sieve struct {
	// bits has three bits for each value, all in one word of memory, so that a look
	// costs one miss of the cache at most.
	bits  []uint64
	shift int
	room  int // values for which it is made
	// leads has, for the upper bits of the fast hash of a word, the shapes of the
	// values that begin with it.
	leads []uint32
	// first has, for each of leads, two bits: whether there are addresses of e-mail
	// among these values, and others. It stays in the nearer caches.
	first []uint64
}

const (
	// perWord are the values to each word of memory; about one word of text in eighty
	// passes then.
	perWord      = 5
	minSieveBits = 10
	maxSieveBits = quickBits - 12
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
	return &sieve{bits: make([]uint64, 1<<n), shift: quickBits - n, room: room, leads: make([]uint32, 1<<leadBits), first: make([]uint64, 1<<leadBits/32)}
}

// three returns the three bits of a quick part. A value may have it if all are set in
// its word of bits, the one at the quick part shifted by shift. Where the sieve is large
// there are twelve bits to make them of: the third is a mixture.
func three(quick uint64) uint64 {
	return 1<<(quick&63) | 1<<(quick>>6&63) | 1<<((quick+quick>>6*37+13)&63)
}

// lead returns the shapes of the values that begin with a word of this fast hash.
func (s *sieve) lead(fast uint64) uint32 { return atomic.LoadUint32(&s.leads[fast>>(64-leadBits)]) }

// add lets a mark through.
func (s *sieve) add(m mark) {
	q := m.quick()
	atomic.OrUint64(&s.bits[q>>s.shift], three(q))
	if m.shape() != shapeOne {
		at, bit := q>>(quickBits-leadBits), uint64(2)
		if emailOnly>>m.shape()&1 != 0 {
			bit = 1
		}
		atomic.OrUint32(&s.leads[at], 1<<m.shape())
		atomic.OrUint64(&s.first[at>>5], bit<<(at&31*2))
	}
}

// bytes returns the memory that it takes.
func (s *sieve) bytes() int { return 8*len(s.bits) + 4*len(s.leads) + 8*len(s.first) }
