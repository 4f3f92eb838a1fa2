package fingerprint

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// word is a piece of text that is looked up: a row of letters, digits and low lines,
// or one sign of a script that puts nothing between words.
type word struct {
	start, end int32
	fast       uint64 // its fast hash
	traits     traits
}

// traits are what is known of a word without looking at it.
type traits uint8

const (
	notDigit traits = 1 << iota // something besides digits
	hasMore                     // capital ASCII letters or low lines
	notASCII
	isSign   // of a script with words of few signs
	isTailed // of a script with syllables of several signs
)

// none is no index.
const none = math.MinInt

// reader cuts a text into words.
type reader struct {
	text
	kinds *plane
	// low is the text with ASCII letters in lower case, as far as it is settled.
	low []byte
	// read is how far the text is cut into words.
	read int
	// begun is where the word begins that goes on at read, before the beginning of the
	// text if that has been cut off; none: nowhere. traits are its.
	begun  int
	traits traits
	words  []word
}

func (r *reader) reset(at int64) {
	r.text.reset(at)
	r.low = r.low[:0]
	r.read, r.begun, r.traits, r.words = 0, none, 0, r.words[:0]
}

// lowerTo brings low up to an index.
func (r *reader) lowerTo(end int) { r.low = appendLower(r.low, r.raw[len(r.low):end]) }

// cut takes away the first n bytes.
func (r *reader) cut(n int) {
	r.text.cut(n)
	r.low = append(r.low[:0], r.low[min(n, len(r.low)):]...)
}

// Lanes of classify's tables, of 16 bits each.
const (
	laneWord  = 16 * iota
	laneRow   // digits of base64 in both alphabets
	laneMore  // capital letters and low lines
	laneDigit // decimal digits
)

// lanes have, for the byte at a place among eight, the bit of that place in each lane
// that the byte is of. A table for each place is faster than a shift.
var lanes = func() (l [8][256]uint64) {
	for c := range 256 {
		var in uint64
		switch {
		case c >= '0' && c <= '9':
			in = 1<<laneWord | 1<<laneRow | 1<<laneDigit
		case c >= 'a' && c <= 'z':
			in = 1<<laneWord | 1<<laneRow
		case c >= 'A' && c <= 'Z', c == '_':
			in = 1<<laneWord | 1<<laneRow | 1<<laneMore
		case c == '+' || c == '/' || c == '-':
			in = 1 << laneRow
		}
		for at := range l {
			l[at][c] = in << at
		}
	}
	return l
}()

// isWord says whether a byte is an ASCII letter, a digit or a low line.
func isWord(c byte) bool { return lanes[0][c]>>laneWord&1 != 0 }

// masks say of 64 bytes which are what: bit i is byte i.
type masks struct{ word, row, more, digit uint64 }

// classify sorts 64 bytes.
func classify(bytes *[64]byte, m *masks) {
	var w [4]uint64
	for i := range w {
		b := (*[16]byte)(bytes[16*i:])
		w[i] = lanes[0][b[0]] | lanes[1][b[1]] | lanes[2][b[2]] | lanes[3][b[3]] |
			lanes[4][b[4]] | lanes[5][b[5]] | lanes[6][b[6]] | lanes[7][b[7]] |
			(lanes[0][b[8]]|lanes[1][b[9]]|lanes[2][b[10]]|lanes[3][b[11]]|
				lanes[4][b[12]]|lanes[5][b[13]]|lanes[6][b[14]]|lanes[7][b[15]])<<8
	}
	// Turn four words of lanes into words of one lane each.
	const even = 0x0000ffff0000ffff
	a, b := w[0]&even|w[1]&even<<16, w[0]>>16&even|w[1]&^even
	c, d := w[2]&even|w[3]&even<<16, w[2]>>16&even|w[3]&^even
	m.word, m.more = a&0xffffffff|c<<32, a>>32|c&^0xffffffff
	m.row, m.digit = b&0xffffffff|d<<32, b>>32|d&^0xffffffff
}

// isASCII says whether all bytes are.
func isASCII(b []byte) bool {
	var all uint64
	for len(b) >= 8 {
		all |= binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	for _, c := range b {
		all |= uint64(c)
	}
	return all&0x8080808080808080 == 0
}

// piece sorts the next bytes of the text before end, 64 or fewer, so that no rune is
// torn apart, and returns how many. It is zero if the last rune is not complete, and
// may become so.
func (r *reader) piece(end int, m *masks, last bool) int {
	b := r.raw[r.read:end]
	n := min(len(b), 64)
	switch {
	case len(b) > 64:
		// A byte that begins no rune belongs to one before, unless there are too many.
		for back := range 4 {
			if utf8.RuneStart(b[64-back]) {
				n = 64 - back
				break
			}
		}
	case !last:
		for back := 1; back <= min(3, n); back++ {
			if utf8.RuneStart(b[n-back]) {
				if !utf8.FullRune(b[n-back : n]) {
					n -= back
				}
				break
			}
		}
	}
	if n == 64 {
		classify((*[64]byte)(b), m)
		return n
	}
	var padded [64]byte
	copy(padded[:], b[:n])
	classify(&padded, m)
	return n
}

// cutWords cuts a piece of the text that was sorted.
func (r *reader) cutWords(n int, m *masks) {
	if !isASCII(r.raw[r.read:r.read+n]) || r.traits&(isSign|isTailed) != 0 && r.begun != none {
		r.cutRunes(n)
		return
	}
	in := m.word
	before := in << 1
	if r.begun != none {
		before |= 1
	}
	starts := in &^ before
	ends := ^in & before
	if n < 64 {
		ends &= 1<<n - 1
	}
	if r.begun != none {
		if ends == 0 {
			r.traits |= m.traits(in)
			return
		}
		end := bits.TrailingZeros64(ends)
		ends &= ends - 1
		r.traits |= m.traits(1<<end - 1)
		r.close(r.read + end)
	}
	r.words = slices.Grow(r.words, 32)
	words := r.words[len(r.words) : len(r.words)+32]
	read := int32(r.read)
	k := 0
	for ; ends != 0; k++ {
		from, end := bits.TrailingZeros64(starts), bits.TrailingZeros64(ends)
		starts &= starts - 1
		ends &= ends - 1
		words[k&31] = word{start: read + int32(from), end: read + int32(end), traits: m.traits(1<<(end&63) - 1<<(from&63))}
	}
	r.words = r.words[:len(r.words)+k]
	if starts != 0 {
		// What goes on behind this piece.
		from := bits.TrailingZeros64(starts)
		r.begun, r.traits = r.read+from, m.traits(in&(^uint64(0)<<from))
	}
}

// traits returns the traits of the bytes of a mask, without a branch.
func (m *masks) traits(of uint64) traits {
	more, other := of&m.more, of&^m.digit
	return traits((more|-more)>>63)*hasMore | traits((other|-other)>>63)*notDigit
}

// cutRunes is cutWords for a piece that is not ASCII.
func (r *reader) cutRunes(n int) {
	for at, end := r.read, r.read+n; at < end; {
		c := r.raw[at]
		size, k := 1, letter
		if c < utf8.RuneSelf {
			if !isWord(c) {
				k = separator
			}
		} else {
			var v rune
			v, size = utf8.DecodeRune(r.raw[at:end])
			k = r.kinds.kind(v)
		}
		switch {
		case (k == marking || k == silent) && r.begun != none:
			r.traits |= notASCII
		case k == sign || k == tailed:
			r.close(at)
			r.begun, r.traits = at, notDigit|notASCII|isSign
			if k == tailed {
				r.traits ^= isSign | isTailed
			}
		case k == letter:
			if r.traits&(isSign|isTailed) != 0 {
				r.close(at)
			}
			if r.begun == none {
				r.begun = at
			}
			switch lane := lanes[0][c]; {
			case c >= utf8.RuneSelf:
				r.traits |= notASCII | notDigit
			case lane>>laneMore&1 != 0:
				r.traits |= hasMore | notDigit
			case lane>>laneDigit&1 == 0:
				r.traits |= notDigit
			}
		default:
			r.close(at)
		}
		at += size
	}
}

// close ends the word that is begun, if one is.
func (r *reader) close(at int) {
	if r.begun != none {
		r.words = append(r.words, word{start: int32(r.begun), end: int32(at), traits: r.traits})
	}
	r.begun, r.traits = none, 0
}

// appendWord appends the normal form of a word.
func (r *reader) appendWord(to []byte, w *word) []byte {
	if w.traits&notASCII == 0 {
		return append(to, r.low[w.start:w.end]...)
	}
	return r.kinds.appendFolded(to, r.raw[w.start:w.end])
}

// appendName appends the normal form of a name of these words: one space between
// them, and none between signs.
func (r *reader) appendName(to []byte, words []word) []byte {
	for i := range words {
		if i > 0 && (words[i].traits&(isSign|isTailed) == 0 || words[i-1].traits&(isSign|isTailed) == 0) {
			to = append(to, ' ')
		}
		to = r.appendWord(to, &words[i])
	}
	return to
}

// appendExact appends the normal form of a value that is compared as it is written,
// from the first of these words to the last, large letters made small if so wanted.
func (r *reader) appendExact(to []byte, words []word, small bool) []byte {
	from, end := words[0].start, words[len(words)-1].end
	if !small {
		return append(to, r.raw[from:end]...)
	}
	for i := range words {
		if i > 0 {
			to = append(to, r.raw[words[i-1].end:words[i].start]...)
		}
		to = r.appendWord(to, &words[i])
	}
	return to
}
