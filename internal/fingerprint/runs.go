package fingerprint

import (
	"math/bits"
	"unicode/utf8"
)

const (
	// minRun is the shortest row of base64 digits that is looked into: eight bytes.
	minRun = 11
	// minHex is the shortest row of hexadecimal digits: eight bytes.
	minHex = 16
	// mimeLine and pemLine are the lengths of the lines of base64 behind which the next
	// one goes on. Lines of any other length may be values of their own.
	mimeLine, pemLine = 76, 64
	// depth is how many layers of base64 and hexadecimal are opened, one in another.
	depth = 3
	// phases are the ways to cut a row of base64 digits into groups of four; hexPhase
	// is hexadecimal's place behind them.
	phases   = 4
	hexPhase = phases
)

// runs looks for base64 and hexadecimal digits in a text. A row of digits can be cut
// into groups of four in four ways, and what is before a value may be anything, so
// all four are watched: where two groups in a row read as text, their phase opens a
// stream of its own, which ends where the text does.
type runs struct {
	length int // digits of the row that is going on
	line   int // of which stand in its last line
	broken lineBreak
	fed    int // of which have been fed
	acc    uint64
	good   uint64 // bit i: the group that ended i digits ago reads as text
	behind bool   // acc and good are not those of the digits that have been fed
	hex    int    // hexadecimal digits in a row
	open   uint8  // phases that are being read, by number
	// out are the streams of the phases, made when first needed.
	out [phases + 1]*stream
	buf [phases + 1]decoded
}

// lineBreak is what of a break between two lines of one row was read.
type lineBreak uint8

const (
	noBreak lineBreak = iota
	carriageReturn
	lineFeed
)

// lineBreakLength is how many bytes a break has at most.
const lineBreakLength = 2

// decoded are bytes on their way into a phase's stream.
type decoded struct {
	b   []byte
	src []uint32
}

const maxDecoded = 3072

// digit64 has the values of base64 digits in both alphabets, and bit 6 for
// hexadecimal ones.
var digit64, digit16 = func() (d [256]uint8, h [256]uint8) {
	const std = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	for i := range len(std) {
		d[std[i]] = uint8(i)
	}
	d['-'], d['_'] = 62, 63
	for c := range 256 {
		if v, ok := unhex(byte(c)); ok {
			d[c] |= 64
			h[c] = v
		}
	}
	return d, h
}()

// cutRuns looks at a piece of the text that was sorted.
func (t *stream) cutRuns(n int, m *masks) {
	r, mask := &t.runs, m.row
	long := mask & (mask >> 1)
	long &= long >> 2
	long &= long >> 4
	long &= long >> 3 // bit i: eleven digits from i on
	head := bits.TrailingZeros64(^mask)
	if long == 0 && r.length+head < minRun {
		if head >= n {
			r.length += n
		} else {
			r.length = bits.LeadingZeros64(^(mask << (64 - n)))
		}
		r.line = r.length
		return
	}
	if r.fed == 0 && r.length > 0 && r.length+head >= minRun && t.depth < depth {
		// A row that has begun before.
		r.length += head
		r.line += head
		t.feed(t.read + head)
		if head == n {
			return
		}
		if r.open != 0 || r.line == mimeLine || r.line == pemLine {
			t.cutRows(head, n, mask)
			return
		}
		t.endRun()
		mask = mask >> head << head
		long = long >> head << head
		head = 0
	}
	if !t.passes(n, head, mask, long, m) {
		t.cutRows(0, n, mask)
	}
}

// cutRows looks at the rows of a piece, from a place in it on, one after the other.
func (t *stream) cutRows(at, n int, mask uint64) {
	r := &t.runs
	for at < n {
		rest := mask >> at
		ones := min(bits.TrailingZeros64(^rest), n-at)
		if ones == 0 {
			if t.breaks(t.raw[t.read+at]) {
				at++
				continue
			}
			t.endRun()
			zeros := bits.TrailingZeros64(rest)
			at += zeros
			continue
		}
		switch r.broken {
		case carriageReturn:
			t.endRun()
		case lineFeed:
			r.broken, r.line = noBreak, 0
		}
		at += ones
		r.length += ones
		r.line += ones
		if r.length >= minRun {
			t.feed(t.read + at)
		}
	}
}

// breaks says whether a byte behind the row breaks its line only, as mail and keys
// are written: a value may go on behind it.
func (t *stream) breaks(c byte) bool {
	r := &t.runs
	switch {
	case r.line != mimeLine && r.line != pemLine:
		return false
	case c == '\r' && r.broken == noBreak:
		r.broken = carriageReturn
	case c == '\n' && r.broken != lineFeed:
		r.broken = lineFeed
	default:
		return false
	}
	// Rows of hexadecimal digits are not broken like that.
	r.hex = 0
	if r.open>>hexPhase&1 != 0 {
		t.shut(hexPhase)
	}
	return true
}

// endRun ends the row that is going on.
func (t *stream) endRun() {
	r := &t.runs
	if r.fed > 0 {
		for p := range phases {
			if r.open>>p&1 == 0 {
				continue
			}
			switch (r.fed - p) & 3 {
			case 2:
				t.decode(p, t.runEnd-2, byte(r.acc>>4))
			case 3:
				t.decode(p, t.runEnd-3, byte(r.acc>>10), byte(r.acc>>2))
			}
			t.shut(p)
		}
		if r.open>>hexPhase&1 != 0 {
			t.shut(hexPhase)
		}
	}
	r.length, r.fed, r.acc, r.good, r.hex = 0, 0, 0, 0, 0
	r.line, r.broken, r.behind = 0, noBreak, false
}

// feed reads the digits of the row up to the index that have not been read yet.
func (t *stream) feed(end int) {
	r := &t.runs
	if t.depth >= depth {
		return
	}
	from := end - (r.length - r.fed)
	if r.behind {
		r.acc, r.good = t.lastDigits(t.runEnd, min(r.fed, minRun))
		r.behind = false
	}
	joined := r.fed == 0 || from == t.runEnd
	if r.fed == 0 && t.beginsTexty(from) {
		from = t.feedSlowly(from, from+8)
	}
	for from < end {
		switch {
		case r.open != 0, r.fed > 0 && (r.fed < 3 || !joined):
			// Behind a broken line, the first groups have digits of the one before.
			from = t.feedSlowly(from, min(from+4, end))
			joined = true
		default:
			from = t.skip(from, end)
		}
	}
	t.runEnd = end
}

// feedSlowly reads the digits between two indexes one by one.
func (t *stream) feedSlowly(from, end int) int {
	r := &t.runs
	acc, good, fed, hex := r.acc, r.good, r.fed, r.hex
	for j, c := range t.raw[from:end] {
		d := digit64[c]
		acc = acc<<6 | uint64(d&63)
		fed++
		hex = (hex + 1) & -int(d>>6)
		good = good<<1 | printable(acc)
		if good&17 == 17 || fed == 8 || hex >= minHex || r.open != 0 {
			t.watch(from+j, acc, good, fed, hex)
		}
	}
	r.acc, r.good, r.fed, r.hex = acc, good, fed, hex
	return end
}

// beginsTexty says whether the first six bytes of the row of base64 that begins at an
// index may be the beginning of a text.
func (t *stream) beginsTexty(from int) bool {
	b := (*[8]byte)(t.raw[from : from+8])
	first := digit64[b[0]]<<2 | digit64[b[1]]&63>>4
	if !mayBegin(first) {
		return false
	}
	var acc uint64
	for _, c := range b {
		acc = acc<<6 | uint64(digit64[c]&63)
	}
	return texty(acc)
}

// sixteen returns what sixteen hexadecimal digits from an index on stand for.
func (t *stream) sixteen(from int) (b [minHex / 2]byte) {
	for j := range b {
		b[j] = digit16[t.raw[from+2*j]]<<4 | digit16[t.raw[from+2*j+1]]
	}
	return b
}

// beginsHex says whether sixteen hexadecimal digits may be the beginning of a text.
func (t *stream) beginsHex(from int) bool {
	if begins := digit16[t.raw[from]]<<4 | digit16[t.raw[from+1]]; !mayBegin(begins) {
		return false
	}
	b := t.sixteen(from)
	return textyBytes(b[:])
}

// mayBegin says whether a byte may be the first of a text.
func mayBegin(c byte) bool { return c >= '\t' && c < utf8.RuneSelf || c >= 0xc2 }

// watch looks at the digit at an index, at which something may begin, go on or end.
func (t *stream) watch(i int, acc, good uint64, fed, hex int) {
	r := &t.runs
	if hex == 0 && r.open>>hexPhase&1 != 0 {
		t.shut(hexPhase)
	}
	p, g := fed&3, acc&0xffffff
	switch {
	case r.open>>p&1 != 0:
		t.decode(p, i-3, byte(g>>16), byte(g>>8), byte(g))
		if control(g) {
			t.shut(p)
		}
	case good&17 == 17 && fed >= 8 || fed == 8 && texty(acc&(1<<48-1)):
		t.start(p, i, fed)
	}
	if hex >= minHex {
		t.feedHex(i, hex)
	}
}

// control says whether one of three bytes is a control character other than those
// that end lines and fill them.
func control(g uint64) bool {
	for range 3 {
		if c := byte(g); c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return true
		}
		g >>= 8
	}
	return false
}

// texty says whether six bytes may be the beginning of a text in UTF-8.
func texty(six uint64) bool {
	var b [6]byte
	for i := range b {
		b[i] = byte(six >> (40 - 8*i))
	}
	return textyBytes(b[:])
}

func textyBytes(b []byte) bool {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			if b[0] < ' ' && b[0] != '\n' && b[0] != '\r' && b[0] != '\t' || b[0] == 0x7f {
				return false
			}
			b = b[1:]
			continue
		}
		if !utf8.FullRune(b) {
			return true
		}
		v, n := utf8.DecodeRune(b)
		if v == utf8.RuneError {
			return false
		}
		b = b[n:]
	}
	return true
}

// openingDigits returns how many of the digits that have been fed a phase begins with.
func openingDigits(fed int) int { return 8 + 4*min(fed/4-2, 2) }

// start opens the phase in which the group ends at index i, with the two groups
// before the two that read as text: a value may begin in the first of them behind
// a letter that is not ASCII.
func (t *stream) start(p, i, fed int) {
	// In the innermost layer, only rows that are base64 as a whole are opened: it bounds
	// the work.
	if t.depth == depth-1 && p != 0 {
		return
	}
	t.openPhase(p, "base64")
	// The last digits, wherever a line was broken between them.
	var at [16]int
	many := openingDigits(fed)
	for n := many; n > 0; i-- {
		if c := t.raw[i]; c != '\r' && c != '\n' {
			n--
			at[n] = i
		}
	}
	for g := 0; g < many; g += 4 {
		var v uint32
		for _, from := range at[g : g+4] {
			v = v<<6 | uint32(digit64[t.raw[from]]&63)
		}
		t.decode(p, at[g], byte(v>>16), byte(v>>8), byte(v))
	}
}

// feedHex reads the hexadecimal digits up to index i.
func (t *stream) feedHex(i, hex int) {
	r := &t.runs
	if hex == minHex {
		if b := t.sixteen(i - 15); textyBytes(b[:]) {
			t.openPhase(hexPhase, "hex")
			for j, c := range b {
				t.decode(hexPhase, i-15+2*j, c)
			}
		}
		return
	}
	if hex&1 == 0 && r.open>>hexPhase&1 != 0 {
		t.decode(hexPhase, i-1, digit16[t.raw[i-1]]<<4|digit16[t.raw[i]])
	}
}

func (t *stream) openPhase(p int, form string) {
	r := &t.runs
	if r.out[p] == nil {
		r.out[p] = newStream(t.scan, t.depth+1)
		r.buf[p] = decoded{b: make([]byte, 0, maxDecoded+8), src: make([]uint32, 0, maxDecoded+8)}
	}
	r.out[p].begin(t.next, form, t.outer)
	r.open |= 1 << p
}

// decode adds the bytes that a phase's digits from an index on stand for.
func (t *stream) decode(p, at int, bytes ...byte) {
	d := &t.runs.buf[p]
	for j, c := range bytes {
		src := uint32(t.offset(at+j)) & offsetMask
		if at+j < t.even {
			f := t.src[at+j]
			src |= f & fromMask << outerShift
			src |= f & (fromMask << outerShift)
		}
		d.b = append(d.b, c)
		d.src = append(d.src, src)
	}
	if len(d.b) >= maxDecoded {
		t.pour(p)
	}
}

// pour hands a phase's bytes to its stream.
func (t *stream) pour(p int) {
	t.fill(p)
	t.runs.out[p].process(false)
}

// fill hands a phase's bytes to its stream, which looks at them with the next.
func (t *stream) fill(p int) {
	if d := &t.runs.buf[p]; len(d.b) > 0 {
		t.runs.out[p].putFrom(d.b, d.src, t.next)
		d.b, d.src = d.b[:0], d.src[:0]
	}
}

// shut ends a phase.
func (t *stream) shut(p int) {
	t.fill(p)
	t.runs.out[p].process(true)
	t.runs.open &^= 1 << p
}
