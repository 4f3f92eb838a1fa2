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

// cutRuns looks at a piece of the text of which mask says which bytes are digits.
func (t *stream) cutRuns(n int, mask uint64) {
	r := &t.runs
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
			t.cutRow(head, n, mask)
			return
		}
		t.endRun()
		mask = mask >> head << head
		long = long >> head << head
		head = 0
	}
	if !t.passes(n, head, mask, long) {
		t.cutRow(0, n, mask)
	}
}

// cutRow looks at the rows of a piece, from a place in it on, one after the other.
func (t *stream) cutRow(at, n int, mask uint64) {
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

// passes looks at all digits of a piece at once and reports whether no row of it can
// open a phase, as is so of most. Then it has done all there is to do; otherwise nothing.
// head is how many digits the piece begins with, long has the bits from which on eleven
// stand.
func (t *stream) passes(n, head int, mask, long uint64) bool {
	r := &t.runs
	// Broken lines are for others.
	if line := r.line + head; r.open != 0 || r.length != r.line || r.broken != noBreak || line == mimeLine || line == pemLine || t.depth >= depth {
		return false
	}
	b := t.raw[t.read:]
	if len(b) < 64 {
		var padded [64]byte
		copy(padded[:], b)
		b = padded[:]
	}
	m := readAll((*[64]byte)(b))
	hexes := m.hex & mask
	sixteen := hexes & (hexes >> 1)
	sixteen &= sixteen >> 2
	sixteen &= sixteen >> 4
	sixteen &= sixteen >> 8
	eight := mask & (mask >> 1)
	eight &= eight >> 2
	eight &= eight >> 4
	member := long | long<<1
	member |= member << 2
	member |= member << 4
	member |= member << 3
	begins := long &^ (mask << 1)
	// Where two groups in a row may end.
	ends := eight << 7 & member
	var before reading
	older := uint64(0)
	goesOn := r.fed > 0
	if goesOn {
		_, good := t.lastDigits(t.read, 7)
		older = uint64(reverse4[good&15])
		for i, c := range t.raw[t.read-3 : t.read] {
			before.add(reads[c]<<i, 0)
		}
		row := bits.TrailingZeros64(^hexes)
		if r.hex < minHex && r.hex+row >= minHex && t.beginsHex(t.read-r.hex) {
			return false
		}
		sixteen &^= 1<<row - 1
		ends |= 1<<head - 1
		begins &^= 1
	}
	good := (m.first<<3 | before.first) & (m.second<<2 | before.second>>1) &
		(m.letter<<1 | before.letter>>2 | (m.third<<1|before.third>>2)&m.fourth)
	if ends&good&(good<<4|older) != 0 {
		return false
	}
	for sixteen &^= sixteen << 1; sixteen != 0; sixteen &= sixteen - 1 {
		if t.beginsHex(t.read + bits.TrailingZeros64(sixteen)) {
			return false
		}
	}
	for ; begins != 0; begins &= begins - 1 {
		if t.beginsTexty(t.read + bits.TrailingZeros64(begins)) {
			return false
		}
	}
	tail := bits.LeadingZeros64(^(mask << (64 - n)))
	hex := min(bits.LeadingZeros64(^(hexes << (64 - n))), n)
	if goesOn && head == n {
		r.length += n
		if hex == n {
			hex += r.hex
		}
	} else {
		r.length = min(tail, n)
	}
	r.line, r.fed, r.hex, r.behind = r.length, 0, 0, false
	if r.length >= minRun {
		r.fed, r.hex, r.behind = r.length, hex, true
		t.runEnd = t.read + n
	}
	return true
}

// lastDigits reads the n digits before an index, which are of one row and line.
func (t *stream) lastDigits(end, n int) (acc, good uint64) {
	for _, c := range t.raw[end-n : end] {
		acc = acc<<6 | uint64(digit64[c]&63)
		good = good<<1 | printable(acc)
	}
	return acc, good
}

// printable says whether the last of base64's groups of four digits stands for three
// bytes of printable ASCII: below 0x80, and one of the two bits set that tell them from
// control characters.
func printable(acc uint64) uint64 {
	g := acc & 0xffffff
	wrong := g&0x808080 | ^(g|g<<1)&0x404040
	return (wrong - 1) >> 63
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

// Lanes of reads, of 8 bits each: what a base64 digit must be for the three bytes of a
// group to be printable ASCII, if it is the digit of the group that is named.
const (
	readsFirst  = 8 * iota // the first byte is printable
	readsSecond            // so is the second byte
	readsThird             // the third is not beyond ASCII
	readsLetter            // and it is printable, whatever the fourth digit is
	readsFourth            // the third is printable, if it is not beyond ASCII
	readsHex               // hexadecimal, too
)

// reads have the lanes of each byte.
var reads = func() (l [256]uint64) {
	for c := range 256 {
		d := digit64[c]
		set := func(lane int, is bool) {
			if is {
				l[c] |= 1 << lane
			}
		}
		set(readsFirst, d&0x20 == 0 && d&0x18 != 0)
		set(readsSecond, d&8 == 0 && d&6 != 0)
		set(readsThird, d&2 == 0)
		set(readsLetter, d&3 == 1)
		set(readsFourth, d&0x20 != 0)
		set(readsHex, d&64 != 0)
	}
	return l
}()

// reading has the lanes of up to 64 bytes, one bit for each.
type reading struct{ first, second, third, letter, fourth, hex uint64 }

// add adds the lanes of eight bytes at a place.
func (m *reading) add(w uint64, at int) {
	m.first |= w >> readsFirst & 255 << (at & 63)
	m.second |= w >> readsSecond & 255 << (at & 63)
	m.third |= w >> readsThird & 255 << (at & 63)
	m.letter |= w >> readsLetter & 255 << (at & 63)
	m.fourth |= w >> readsFourth & 255 << (at & 63)
	m.hex |= w >> readsHex & 255 << (at & 63)
}

// readAll returns the lanes of 64 bytes.
func readAll(b *[64]byte) (m reading) {
	for at := 0; at < 64; at += 8 {
		b := (*[8]byte)(b[at:])
		m.add(reads[b[0]]|reads[b[1]]<<1|reads[b[2]]<<2|reads[b[3]]<<3|
			reads[b[4]]<<4|reads[b[5]]<<5|reads[b[6]]<<6|reads[b[7]]<<7, at)
	}
	return m
}

// skipped is how many digits are read at once, so that those of the group before and
// the groups before that fit into 64 bits, too.
const skipped = 56

// reverse4 has four bits in the opposite order.
var reverse4 = [16]uint8{0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}

// skip reads digits of a row while no phase is open, up to the index or the first
// digit that may open one, and returns the index behind the last that it read. The three
// digits before are of the row, too, unless none have been read.
func (t *stream) skip(from, end int) int {
	r := &t.runs
	n := min(end-from, skipped)
	back := min(r.fed, 3)
	var m reading
	at := 3 - back
	for b := t.raw[from-back : from+n]; len(b) > 0; at += 8 {
		var w uint64
		for i, c := range b[:min(len(b), 8)] {
			w |= reads[c] << (i & 7)
		}
		m.add(w, at)
		b = b[min(len(b), 8):]
	}
	// Bit i is now the digit i-3 from the first on; good is of the group that ends there.
	good := m.first << 3 & (m.second << 2) & (m.letter<<1 | m.third<<1&m.fourth) >> 3
	hexes := m.hex >> 3
	// Four older ones before.
	good = good<<4 | uint64(reverse4[r.good&15])
	events := good & (good << 4) >> 4
	// The sixteenth hexadecimal digit in a row.
	row := bits.TrailingZeros64(^hexes)
	if r.hex < minHex && r.hex+row >= minHex {
		events |= 1 << (minHex - 1 - r.hex)
	}
	if long := hexes &^ (1<<row - 1); long != 0 {
		long &= long >> 1
		long &= long >> 2
		long &= long >> 4
		long &= long >> 8
		events |= long &^ (long << 1) << (minHex - 1)
	}
	events &= 1<<n - 1
	if events != 0 {
		n = bits.TrailingZeros64(events) + 1
	}
	for _, c := range t.raw[from+max(n-8, 0) : from+n] {
		r.acc = r.acc<<6 | uint64(digit64[c]&63)
	}
	r.good = uint64(reverse4[good>>n&15])
	r.fed += n
	if row >= n {
		r.hex += n
	} else {
		r.hex = bits.LeadingZeros64(^(hexes << (64 - n)))
	}
	if events != 0 {
		t.watch(from+n-1, r.acc, r.good|good>>(n-1)&1<<4, r.fed, r.hex)
	}
	return from + n
}

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
	many := 8 + 4*min(fed/4-2, 2)
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
	d := &t.runs.buf[p]
	out := t.runs.out[p]
	if len(d.b) > 0 {
		out.putFrom(d.b, d.src, t.next)
	}
	d.b, d.src = d.b[:0], d.src[:0]
	out.process(false)
}

// shut ends a phase.
func (t *stream) shut(p int) {
	t.pour(p)
	t.runs.out[p].process(true)
	t.runs.open &^= 1 << p
}
