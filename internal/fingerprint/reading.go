package fingerprint

import "math/bits"

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

// readingOf returns the lanes of bytes that were sorted.
func readingOf(m *masks) reading {
	d := &m.d
	return reading{
		first: (d[4] | d[3]) &^ d[5], second: (d[2] | d[1]) &^ d[3], third: ^d[1], letter: d[0] &^ d[1], fourth: d[5], hex: m.hex(),
	}
}

// mayBeText returns from which digits on the six bytes that eight stand for may be the
// beginning of a text in UTF-8. It looks at pairs of bytes only: at which may follow
// which.
func (m *masks) mayBeText() uint64 {
	d := &m.d
	// Of each of a group's three bytes the two upper bits say whether it is ASCII, begins
	// a rune or goes on in one.
	high0, high1, high2 := d[5], d[3]>>1, d[1]>>2
	second0, second1, second2 := d[4], d[2]>>1, d[0]>>2
	goesOn0, goesOn1, goesOn2 := high0&^second0, high1&^second1, high2&^second2
	// What goes on stands behind nothing of ASCII, and behind what begins. It may stand
	// before anything.
	wrong := goesOn1&^high0 | (high0&second0)&^goesOn1 | goesOn2&^high1 | (high1&second1)&^goesOn2
	// Control characters, save those around line feeds.
	wrong |= ^(d[5] | d[4] | d[3]) & (d[2] | ^d[1])
	wrong |= ^(d[3] | d[2] | d[1]) >> 1 & (d[0]>>1 | ^d[5]>>2)
	wrong |= ^(d[1] | d[0]) >> 2 & ((^d[5] & (d[4] | ^d[3])) >> 3)
	// The last byte of a group, and the first of the next.
	next0 := goesOn0 >> 4
	between := next0&^high2 | (high2&second2)&^next0
	return ^(wrong | wrong>>4 | between | goesOn0)
}

// passes looks at all digits of a piece at once and reports whether no row of it can
// open a phase in which there is a value, as is so of most. Then it has done all there is
// to do; otherwise nothing.
// head is how many digits the piece begins with, long has the bits from which on eleven
// stand.
func (t *stream) passes(n, head int, mask, long uint64, of *masks) bool {
	r := &t.runs
	// Broken lines are for others.
	if line := r.line + head; r.open != 0 || r.length != r.line || r.broken != noBreak || line == mimeLine || line == pemLine || t.depth >= depth {
		return false
	}
	m := readingOf(of)
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
	events := ends & good & (good<<4 | older)
	for sixteen &^= sixteen << 1; sixteen != 0; sixteen &= sixteen - 1 {
		if t.beginsHex(t.read + bits.TrailingZeros64(sixteen)) {
			return false
		}
	}
	for begins &= of.mayBeText(); begins != 0; begins &= begins - 1 {
		if at := bits.TrailingZeros64(begins); t.beginsTexty(t.read + at) {
			events |= 1 << (at + 7)
		}
	}
	if events != 0 && !t.allBarren(events, mask, n) {
		return false
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
