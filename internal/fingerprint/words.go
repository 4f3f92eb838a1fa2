package fingerprint

import (
	"encoding/binary"
	"math"
	"math/bits"
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
	hasLarge traits = 1 << iota // capital ASCII letters
	hasLow                      // low lines
	notDigit                    // something besides digits
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

// Lanes of classify's table: bit i of a lane is byte i of eight.
const (
	laneWord = 8 * iota
	lane64
	laneLarge
	laneLow
	laneDigit
	laneHigh
)

var lanes = func() (l [256]uint64) {
	for c := range l {
		switch {
		case c >= '0' && c <= '9':
			l[c] = 1<<laneWord | 1<<lane64 | 1<<laneDigit
		case c >= 'a' && c <= 'z':
			l[c] = 1<<laneWord | 1<<lane64
		case c >= 'A' && c <= 'Z':
			l[c] = 1<<laneWord | 1<<lane64 | 1<<laneLarge
		case c == '_':
			l[c] = 1<<laneWord | 1<<lane64 | 1<<laneLow
		case c == '+' || c == '/' || c == '-':
			l[c] = 1 << lane64
		case c >= 0x80:
			l[c] = 1 << laneHigh
		}
	}
	return l
}()

// masks say of 64 bytes which are what: bit i is byte i.
type masks struct{ word, b64, large, low, digit, high uint64 }

// classify sorts 64 bytes.
func classify(b *[64]byte, m *masks) {
	var w [8]uint64
	for i := range w {
		x := binary.LittleEndian.Uint64(b[8*i:])
		w[i] = lanes[x&255] | lanes[x>>8&255]<<1 | lanes[x>>16&255]<<2 | lanes[x>>24&255]<<3 |
			lanes[x>>32&255]<<4 | lanes[x>>40&255]<<5 | lanes[x>>48&255]<<6 | lanes[x>>56]<<7
	}
	// Turn eight words of lanes into words of one lane each: the transposition of a
	// matrix of eight by eight bytes.
	for i := range 4 {
		a, c := w[i], w[i+4]
		w[i], w[i+4] = a&0xffffffff|c<<32, a>>32|c&^0xffffffff
	}
	for _, i := range [4]int{0, 1, 4, 5} {
		const even = 0x0000ffff0000ffff
		a, c := w[i], w[i+2]
		w[i], w[i+2] = a&even|c&even<<16, a>>16&even|c&^even
	}
	for _, i := range [4]int{0, 2, 4, 6} {
		const even = 0x00ff00ff00ff00ff
		a, c := w[i], w[i+1]
		w[i], w[i+1] = a&even|c&even<<8, a>>8&even|c&^even
	}
	m.word, m.b64, m.large, m.low, m.digit, m.high = w[0], w[1], w[2], w[3], w[4], w[5]
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
	for ends != 0 {
		end := bits.TrailingZeros64(ends)
		ends &= ends - 1
		from := 0
		if r.begun == none {
			from = bits.TrailingZeros64(starts)
			starts &= starts - 1
			r.begun = r.read + from
		}
		of := uint64(1)<<end - 1<<from
		t := r.traits
		if m.large&of != 0 {
			t |= hasLarge
		}
		if m.low&of != 0 {
			t |= hasLow
		}
		if of&^m.digit != 0 {
			t |= notDigit
		}
		r.words = append(r.words, word{start: int32(r.begun), end: int32(r.read + end), traits: t})
		r.begun, r.traits = none, 0
	}
	// What goes on behind this piece.
	from := 0
	if r.begun == none {
		if starts == 0 {
			return
		}
		from = bits.TrailingZeros64(starts)
		r.begun = r.read + from
	}
	of := ^uint64(0) << from
	if n < 64 {
		of &= 1<<n - 1
	}
	if m.large&of != 0 {
		r.traits |= hasLarge
	}
	if m.low&of != 0 {
		r.traits |= hasLow
	}
	if of&^m.digit != 0 {
		r.traits |= notDigit
	}
}

// cutRunes is cutWords for a piece that is not ASCII.
func (r *reader) cutRunes(n int) {
	for at, end := r.read, r.read+n; at < end; {
		c := r.raw[at]
		size, k := 1, letter
		if c < utf8.RuneSelf {
			if lanes[c]>>laneWord&1 == 0 {
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
			switch lane := lanes[c]; {
			case lane>>laneHigh&1 != 0:
				r.traits |= notASCII | notDigit
			case lane>>laneLow&1 != 0:
				r.traits |= hasLow | notDigit
			case lane>>laneLarge&1 != 0:
				r.traits |= hasLarge | notDigit
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
