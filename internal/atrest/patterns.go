package atrest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"math/bits"

	"gatehouse/internal/secret"
)

// The search looks at one window of eight bytes at every fourth position of the
// stream. Of each form of each secret, four consecutive windows are known, so
// that one of them is looked at wherever the form begins; it leads to the form's
// fingerprint, which decides.
const (
	window = 8
	stride = 4

	// MinSecret is the length in bytes below which a secret is not looked for: it
	// could stand anywhere by chance.
	MinSecret = 12
	// maxSecret is how much of a long secret is looked for: its beginning.
	maxSecret = 256
	// maxForm bounds the forms, and with them how far a match can reach.
	maxForm = 1024
)

// Patterns takes in what is to be looked for, and keeps no secret: for each form
// the keyed fingerprints of four windows (eleven neighbouring bytes, shortened
// to some fifty bits each) and a keyed fingerprint of the whole, of 64 bits. Who
// can read this process's memory could regain those eleven bytes, not the rest.
// The zero value is not usable; NewPatterns makes one. It belongs to one
// goroutine.
type Patterns struct {
	key     [2]uint64 // of the windows' fingerprints; odd
	seed    maphash.Seed
	items   []item
	forms   []known
	windows []entry
	short   int
}

// item is one secret.
type item struct {
	what What
	hash [4]byte
}

// known is one form of an item.
type known struct {
	digest uint64
	item   uint32
	length uint16
	offset uint16 // of the first known window
	name   string
}

// entry is a window that leads to a form: the form's index times stride, plus
// which of its windows this is.
type entry struct {
	print uint64
	form  uint32
}

// NewPatterns returns an empty set with keys of its own.
func NewPatterns() *Patterns {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return &Patterns{
		key:  [2]uint64{binary.LittleEndian.Uint64(b[:]) | 1, binary.LittleEndian.Uint64(b[8:]) | 1},
		seed: maphash.MakeSeed(),
	}
}

// Add takes in a credential. One that is empty is nothing to look for; one
// shorter than MinSecret is only counted.
func (p *Patterns) Add(what What, s secret.Text) {
	value := []byte(s.Reveal())
	defer clear(value)
	p.AddBytes(what, value)
}

// AddBytes is Add for key material and sealed data. It keeps nothing of value's
// memory.
func (p *Patterns) AddBytes(what What, value []byte) {
	if len(value) == 0 {
		return
	}
	if len(value) < MinSecret {
		p.short++
		return
	}
	sum := sha256.Sum256(value)
	p.items = append(p.items, item{what, [4]byte(sum[:4])})
	for _, f := range forms(value[:min(len(value), maxSecret)]) {
		p.add(f)
		clear(f.bytes)
	}
}

// add takes in a form of the newest item. It copies what it keeps.
func (p *Patterns) add(f form) {
	index := uint32(len(p.forms))
	at := telling(f.bytes)
	p.forms = append(p.forms, known{
		digest: maphash.Bytes(p.seed, f.bytes), item: uint32(len(p.items) - 1),
		length: uint16(len(f.bytes)), offset: uint16(at), name: f.name,
	})
	for k := range stride {
		p.windows = append(p.windows, entry{p.print(f.bytes[at+k:]), index*stride + uint32(k)})
	}
}

// Len is how many secrets are looked for.
func (p *Patterns) Len() int { return len(p.items) }

// Short is how many were too short to be looked for.
func (p *Patterns) Short() int { return p.short }

// telling returns where the four windows are taken: in the middle half, since
// tokens of one kind share their beginnings and ends, at the place with the most
// different bytes.
func telling(b []byte) int {
	const span = window + stride - 1
	first, last := len(b)/4, len(b)*3/4-span
	if last < first {
		first, last = 0, len(b)-span
	}
	best, most := first, -1
	for at := first; at <= last; at++ {
		var seen [4]uint64
		for _, c := range b[at : at+span] {
			seen[c>>6] |= 1 << (c & 63)
		}
		different := 0
		for _, s := range seen {
			different += bits.OnesCount64(s)
		}
		if different > most {
			best, most = at, different
		}
	}
	return best
}

// print is the keyed fingerprint of the window at the beginning of b.
func (p *Patterns) print(b []byte) uint64 {
	return mix(binary.LittleEndian.Uint64(b), p.key[0], p.key[1])
}

func mix(x, key0, key1 uint64) uint64 {
	x = (x ^ key1) * key0
	return (x ^ x>>29) * key1
}

// Search is a set that is complete and can be looked for by many goroutines.
type Search struct {
	key    [2]uint64
	seed   maphash.Seed
	items  []item
	forms  []known
	filter []uint64 // one bit in sixteen is set, or fewer: the first question
	wide   uint     // a print's bit in the filter is its upper part: print >> wide
	// starts says where the slots of each bucket begin in slots; a print's bucket is
	// its upper part too: print >> deep.
	starts []uint32
	deep   uint
	slots  []slot
	// shapes says whether tokens are looked for by their shapes.
	shapes bool
}

// slot is a window's entry; its bucket holds the upper bits of the print.
type slot struct {
	tag  uint32 // the lower bits of the print
	form uint32
}

// Search returns the search for what was taken in, and for the shapes of tokens
// unless they were looked for before. The set is empty afterwards and can be
// filled again.
func (p *Patterns) Search(shapes bool) *Search {
	n := max(len(p.windows), 1)
	filterBits := max(bits.Len(uint(n*16-1)), 16)
	bucketBits := max(bits.Len(uint(n-1)), 8)
	s := &Search{
		key: p.key, seed: p.seed, items: p.items, forms: p.forms, shapes: shapes,
		filter: make([]uint64, 1<<filterBits/64), wide: uint(64 - filterBits),
		starts: make([]uint32, 1<<bucketBits+1), deep: uint(64 - bucketBits),
		slots: make([]slot, len(p.windows)),
	}
	for _, w := range p.windows {
		bit := w.print >> s.wide
		s.filter[bit/64] |= 1 << (bit % 64)
		s.starts[w.print>>s.deep+1]++
	}
	for i := 1; i < len(s.starts); i++ {
		s.starts[i] += s.starts[i-1]
	}
	next := append([]uint32(nil), s.starts...)
	for _, w := range p.windows {
		bucket := w.print >> s.deep
		s.slots[next[bucket]] = slot{uint32(w.print), w.form}
		next[bucket]++
	}
	p.items, p.forms, p.windows, p.short = nil, nil, nil, 0
	return s
}

// hashOf is a value's name in reports.
func hashOf(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:4])
}
