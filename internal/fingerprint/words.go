package fingerprint

import (
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
	hasLarge                    // capital ASCII letters
	hasLow                      // low lines
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
	r.read, r.begun, r.traits, r.words = 0, none, 0, r.words[:0]
}

// Lanes of classify's tables, of 8 bits each. The first six are the bits of a digit of
// base64, in either alphabet.
const (
	laneHigh = 8 * 0 // of what is no digit: not ASCII
	laneWord = 8 * 6
	laneRow  = 8 * 7 // digits of base64
)

// lanes have, for the byte at a place among eight, the bit of that place in each lane
// that the byte is of. A table for each place is faster than a shift.
var lanes = func() (l [8][256]uint64) {
	for c := range 256 {
		var in uint64
		switch letter := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'; {
		case c >= 0x80:
			in = 1 << laneHigh
		case letter, c == '+', c == '/', c == '-':
			in = 1 << laneRow
			if letter {
				in |= 1 << laneWord
			}
			for bit := range 6 {
				in |= uint64(digit64[c]>>bit&1) << (8 * bit)
			}
		}
		for at := range l {
			l[at][c] = in << at
		}
	}
	return l
}()

// isWord says whether a byte is an ASCII letter, a digit or a low line.
func isWord(c byte) bool { return lanes[0][c]>>laneWord&1 != 0 }

// traitsOf are the traits of words that each ASCII byte of theirs gives.
var traitsOf = func() (of [utf8.RuneSelf]traits) {
	for c := range of {
		switch {
		case c >= 'A' && c <= 'Z':
			of[c] = notDigit | hasLarge
		case c == '_':
			of[c] = notDigit | hasLow
		case c < '0' || c > '9':
			of[c] = notDigit
		}
	}
	return of
}()

// masks say of 64 bytes which are what: bit i is byte i.
type masks struct {
	word, row uint64
	// high are those that are not ASCII.
	high uint64
	// d are the bits of the digits of base64 in row, the lowest first. What they are of
	// other bytes is of no consequence.
	d [6]uint64
}

// classify sorts 64 bytes.
func classify(bytes *[64]byte, m *masks) {
	a, b, c, d := eight(bytes, 0), eight(bytes, 8), eight(bytes, 16), eight(bytes, 24)
	e, f, g, h := eight(bytes, 32), eight(bytes, 40), eight(bytes, 48), eight(bytes, 56)
	// Turn eight words of lanes into words of one lane each.
	const quarters, bytes8 = 0x0000ffff0000ffff, 0x00ff00ff00ff00ff
	a, e = a&0xffffffff|e<<32, a>>32|e&^0xffffffff
	b, f = b&0xffffffff|f<<32, b>>32|f&^0xffffffff
	c, g = c&0xffffffff|g<<32, c>>32|g&^0xffffffff
	d, h = d&0xffffffff|h<<32, d>>32|h&^0xffffffff
	a, c = a&quarters|c&quarters<<16, a>>16&quarters|c&^quarters
	b, d = b&quarters|d&quarters<<16, b>>16&quarters|d&^quarters
	e, g = e&quarters|g&quarters<<16, e>>16&quarters|g&^quarters
	f, h = f&quarters|h&quarters<<16, f>>16&quarters|h&^quarters
	m.d[0], m.d[1] = a&bytes8|b&bytes8<<8, a>>8&bytes8|b&^bytes8
	m.d[2], m.d[3] = c&bytes8|d&bytes8<<8, c>>8&bytes8|d&^bytes8
	m.d[4], m.d[5] = e&bytes8|f&bytes8<<8, e>>8&bytes8|f&^bytes8
	m.word, m.row = g&bytes8|h&bytes8<<8, g>>8&bytes8|h&^bytes8
	m.high = m.d[laneHigh/8] &^ m.row
}

// eight returns the lanes of eight bytes.
func eight(bytes *[64]byte, at int) uint64 {
	b := (*[8]byte)(bytes[at:])
	return lanes[0][b[0]] | lanes[1][b[1]] | lanes[2][b[2]] | lanes[3][b[3]] |
		lanes[4][b[4]] | lanes[5][b[5]] | lanes[6][b[6]] | lanes[7][b[7]]
}

// upTo leaves of the masks the first n bytes.
func (m *masks) upTo(n int) {
	only := uint64(1)<<n - 1
	m.word, m.row, m.high = m.word&only, m.row&only, m.high&only
}

// digit are decimal digits: the values 52 to 61.
func (m *masks) digit() uint64 {
	d := &m.d
	return m.row & d[5] & d[4] & (d[3]&^(d[2]&d[1]) | d[2]&^d[3])
}

// large are capital letters: the values below 26.
func (m *masks) large() uint64 {
	d := &m.d
	return m.row &^ d[5] &^ (d[4] & d[3] & (d[2] | d[1]))
}

// lowLine are low lines: 63, and part of a word.
func (m *masks) lowLine() uint64 {
	d := &m.d
	return m.word & d[5] & d[4] & d[3] & d[2] & d[1] & d[0]
}

// hex are hexadecimal digits: decimal ones, the values below 6, and 26 to 31.
func (m *masks) hex() uint64 {
	d := &m.d
	return m.digit() | m.row&^d[5]&(d[4]&d[3]&(d[2]|d[1])|^(d[4]|d[3]|d[2]&d[1]))
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
	if len(b) >= 64 {
		classify((*[64]byte)(b), m)
		// The next piece begins where a row does, if that is not far.
		if back := bits.LeadingZeros64(^m.row); len(b) > 64 && n == 64 && back <= maxBack {
			n -= back
		}
		if n < 64 {
			m.upTo(n)
		}
		return n
	}
	var padded [64]byte
	copy(padded[:], b[:n])
	classify(&padded, m)
	return n
}

// maxBack is how much less than 64 bytes a piece may have so that no row, and so no
// word of ASCII, lies in two. It is more than a UUID.
const maxBack = 40

// cutWords cuts a piece of the text that was sorted.
func (r *reader) cutWords(n int, m *masks) {
	if m.high != 0 || r.traits&(isSign|isTailed) != 0 && r.begun != none {
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
	// A sum carries a start through what it is added to: to the end, if that is the word.
	other, large, low := ends&^(m.digit()&in+starts), ends&^(in&^m.large()+starts), ends&^(in&^m.lowLine()+starts)
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
		is := traits(other>>(end&63)&1)*notDigit | traits(large>>(end&63)&1)*hasLarge | traits(low>>(end&63)&1)*hasLow
		words[k&31] = word{start: read + int32(from), end: read + int32(end), traits: is}
	}
	r.words = r.words[:len(r.words)+k]
	if starts != 0 {
		// What goes on behind this piece.
		from := bits.TrailingZeros64(starts)
		r.begun, r.traits = r.read+from, m.traits(in&(^uint64(0)<<from))
	}
}

// traits returns the traits of the bytes of a mask that are part of a word.
func (m *masks) traits(of uint64) (is traits) {
	if of&^m.digit() != 0 {
		is |= notDigit
	}
	if of&m.large() != 0 {
		is |= hasLarge
	}
	if of&m.lowLine() != 0 {
		is |= hasLow
	}
	return is
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
			if c < utf8.RuneSelf {
				r.traits |= traitsOf[c]
			} else {
				r.traits |= notASCII | notDigit
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
		return appendLower(to, r.raw[w.start:w.end])
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
