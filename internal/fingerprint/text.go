package fingerprint

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"
)

// text is what a stream of bytes reads like when all its escapes are undone: of
// percent-encoding, of JSON strings and of HTML, in whatever order they were put
// around one another and however often. It is a window: what nobody needs any more
// is cut off at the front.
//
// An escape is undone as soon as its last byte is there, and what comes out may
// complete another one that has begun before it. Each time the text gets shorter, so
// the work is linear whatever the input is, and how the input is cut does not matter.
type text struct {
	raw []byte
	// src has, for the bytes before even, where each came from: the lower 24 bits of
	// the offset, and above them what had to be undone. The bytes from even on
	// followed one another in the source, too: there the offset is index plus ahead.
	src   []uint32
	even  int
	ahead int64
	// next is the source's offset of the byte that comes next.
	next int64
	// open is where an escape may have begun that is not complete; -1: nowhere.
	open int
	// since counts the bytes since the last one that begins an escape.
	since int
	// firm is the end of what no escape reaches back to.
	firm int
	// value is what the last escape stood for.
	value []byte
}

// What had to be undone to read a byte: of its own, and of the encoding that it was
// in.
const (
	fromPercent = 1 << (24 + iota)
	fromJSON
	fromHTML
	fromForm
	outerShift = 4
	offsetMask = 1<<24 - 1
	fromMask   = 15 << 24
)

const (
	// reach is how far an escape may reach back; entityReach how long one of HTML is.
	reach       = 64
	entityReach = 34
	escapeReach = 48
)

func (t *text) reset(at int64) {
	*t = text{raw: t.raw[:0], src: t.src[:0], value: t.value[:0], next: at, ahead: at, open: -1}
}

// offset returns where the byte at the index came from. The end of the text is
// where the next byte will come from.
func (t *text) offset(at int) int64 {
	switch {
	case at >= len(t.raw):
		return t.next
	case at >= t.even:
		return t.ahead + int64(at)
	}
	return t.next - (t.next-int64(t.src[at]))&offsetMask
}

// undone returns what had to be undone to read the bytes between two indexes.
func (t *text) undone(from, to int) uint32 {
	var all uint32
	for _, s := range t.src[min(from, t.even):min(to, t.even)] {
		all |= s
	}
	return all &^ offsetMask
}

// settled returns the end of what no later byte changes.
func (t *text) settled() int {
	if t.open < 0 {
		return len(t.raw)
	}
	return max(t.open, t.firm)
}

// cut takes away the first n bytes.
func (t *text) cut(n int) {
	t.raw = append(t.raw[:0], t.raw[n:]...)
	if t.even > n {
		t.src = append(t.src[:0], t.src[n:t.even]...)
		t.even -= n
	} else {
		t.src, t.even = t.src[:0], 0
	}
	t.ahead += int64(n)
	t.firm = max(0, t.firm-n)
	if t.open >= 0 {
		t.open = max(0, t.open-n)
	}
}

// put appends bytes that follow one another in the source.
func (t *text) put(p []byte) {
	// Where the next of each byte is that begins an escape.
	var nearest [3]int
	for done := 0; done < len(p); {
		if t.open >= 0 {
			t.push(p[done], uint32(t.next)&offsetMask)
			t.next++
			done++
			continue
		}
		end := len(p)
		for i, c := range [3]byte{'%', '\\', '&'} {
			if nearest[i] < done || nearest[i] == 0 {
				nearest[i] = len(p)
				if at := bytes.IndexByte(p[done:], c); at >= 0 {
					nearest[i] = done + at
				}
			}
			end = min(end, nearest[i])
		}
		t.copy(p[done:end])
		done = end
		if n := t.short(p[done:]); n > 0 {
			done += n
			continue
		}
		if done < len(p) {
			t.push(p[done], uint32(t.next)&offsetMask)
			t.next++
			done++
		}
	}
}

// short undoes, while no escape is open, one that is complete and completes no
// other, or passes over a sign that begins none: it does what push would do with the
// same bytes, for those that are everywhere. It returns how many bytes it took.
func (t *text) short(p []byte) int {
	if len(p) < 3 {
		return 0
	}
	switch p[0] {
	case '&':
		n := 1
		for n < len(p) && n < 24 && inside[p[n]] != 0 && p[n] != '#' {
			n++
		}
		if n == len(p) || n == 24 || starts[p[n]] != 0 || p[n] == ';' || p[n] == '#' || p[n] != '=' && n >= 3 && n <= bareName+1 {
			return 0
		}
		t.copy(p[:n+1])
		return n + 1
	case '%':
		hi, ok := unhex(p[1])
		lo, ok2 := unhex(p[2])
		if c := hi<<4 | lo; ok && ok2 && inside[c]|starts[c] == 0 && (c&0xc0 != 0x80 || !t.halfWith(c)) {
			t.plain(c, 3, fromPercent)
			return 3
		}
	case '\\':
		if c := simple[p[1]]; c != 0 && inside[c]|starts[c] == 0 {
			t.plain(c, 2, fromJSON)
			return 2
		}
	}
	return 0
}

// plain appends a byte for which n bytes stood.
func (t *text) plain(c byte, n int, kind uint32) {
	t.put1(c, uint32(t.next)&offsetMask|kind)
	t.next += int64(n)
	t.firm = max(t.firm, len(t.raw)+n-1-reach)
}

// copy appends bytes in which no escape begins, while none is open.
func (t *text) copy(p []byte) {
	if len(p) == 0 {
		return
	}
	if t.even == len(t.raw) {
		t.ahead = t.next - int64(len(t.raw))
	}
	t.raw = append(t.raw, p...)
	t.next += int64(len(p))
	t.firm = max(t.firm, len(t.raw)-reach)
}

// putFrom appends bytes of which each has its place in the source.
func (t *text) putFrom(p []byte, src []uint32, next int64) {
	for i, c := range p {
		if t.open < 0 && starts[c] == 0 {
			t.put1(c, src[i])
			continue
		}
		t.push(c, src[i])
	}
	// Offsets are understood by their distance from next.
	t.next = next
}

// put1 appends one byte.
func (t *text) put1(c byte, src uint32) {
	t.spell()
	t.raw = append(t.raw, c)
	t.src = append(t.src, src)
	t.even = len(t.raw)
	t.firm = max(t.firm, len(t.raw)-reach)
}

// spell writes down the offset of each byte for which it is not.
func (t *text) spell() {
	for i := t.even; i < len(t.raw); i++ {
		t.src = append(t.src, uint32(t.ahead+int64(i))&offsetMask)
	}
	t.even = len(t.raw)
}

// starts are the bytes that begin an escape, and those that may stand inside one.
var starts, inside = func() (s, in [256]uint8) {
	s['%'], s['\\'], s['&'] = 1, 1, 1
	for c := range 256 {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '#' {
			in[c] = 1
		}
	}
	return s, in
}()

// push appends one byte while an escape is open, or begins one.
func (t *text) push(c byte, src uint32) {
	if t.open >= 0 {
		t.endBare(c)
	}
	t.put1(c, src)
	t.undo()
	t.track()
}

// endBare undoes an escape of HTML without a semicolon, which the next byte ends. As
// in the values of attributes, a name is none before a letter, a digit or =: that is
// how the fields of forms are written, &region=1 and the like.
func (t *text) endBare(next byte) {
	if next == '%' || next == '\\' {
		return // it may be an escape of what does not end it
	}
	n := t.bare(next)
	if n == 0 || len(t.raw)-n < t.firm {
		return
	}
	if t.replace(n, fromHTML) {
		t.undo()
	}
	t.track()
}

// finish undoes what nothing more ends.
func (t *text) finish() {
	if t.open >= 0 {
		t.endBare(' ')
	}
}

// replace puts value in the place of the last n bytes, and reports whether that may
// complete another escape: a plain byte may.
func (t *text) replace(n int, kind uint32) bool {
	at := len(t.raw) - n
	from := t.src[at]
	for _, s := range t.src[at:] {
		from |= s &^ offsetMask
	}
	t.raw, t.src, t.even = t.raw[:at], t.src[:at], at
	var room [8]byte
	value := append(room[:0], t.value...)
	if t.open >= 0 && t.open < at {
		t.endBare(value[0]) // now it is known what comes next
	}
	for _, b := range value {
		t.put1(b, from|kind)
	}
	return len(value) == 1 && value[0] < 0x80
}

// undo undoes the escapes with which the text ends.
func (t *text) undo() {
	for {
		n, kind := t.escape()
		if n == 0 || len(t.raw)-n < t.firm || !t.replace(n, kind) {
			return
		}
	}
}

// track notes, behind a byte that is new, where an escape may have begun.
func (t *text) track() {
	last := t.raw[len(t.raw)-1]
	switch {
	case starts[last] != 0:
		if t.open < 0 {
			t.open = len(t.raw) - 1
		}
		t.since = 0
	case t.half(len(t.raw)):
		// The first half of a surrogate pair waits for the second.
		t.open, t.since = len(t.raw)-3, 0
	case inside[last] == 0:
		t.open = -1
	default:
		if t.since++; t.since > escapeReach {
			t.open = -1
		}
	}
	if t.open >= len(t.raw) {
		t.open = -1
	}
}

// halfWith says whether another byte would make the text end with half a pair.
func (t *text) halfWith(c byte) bool {
	end := len(t.raw)
	return end >= 2 && t.raw[end-2] == 0xed && t.raw[end-1]&0xf0 == 0xa0 && c&0xc0 == 0x80
}

// half says whether the text before the index ends with half a surrogate pair.
func (t *text) half(end int) bool {
	return end >= 3 && t.raw[end-3] == 0xed && t.raw[end-2]&0xf0 == 0xa0 && t.raw[end-1]&0xc0 == 0x80
}

// escape returns the length of the escape with which the text ends, and its kind,
// and puts into value what it stands for. The length is zero if there is none.
func (t *text) escape() (n int, kind uint32) {
	b := t.raw
	end := len(b)
	if end < 2 {
		return 0, 0
	}
	last := b[end-1]
	if b[end-2] == '\\' {
		if v := simple[last]; v != 0 {
			t.value = append(t.value[:0], v)
			return 2, fromJSON
		}
	}
	if last == ';' {
		return t.entity()
	}
	lo, ok := unhex(last)
	if !ok || end < 3 {
		return 0, 0
	}
	hi, ok := unhex(b[end-2])
	if !ok {
		return 0, 0
	}
	if b[end-3] == '%' {
		t.value = append(t.value[:0], hi<<4|lo)
		return 3, fromPercent
	}
	if end >= 4 && b[end-3] == 'x' && b[end-4] == '\\' {
		t.value = utf8.AppendRune(t.value[:0], rune(hi<<4|lo))
		return 4, fromJSON
	}
	if end >= 6 && b[end-5] == 'u' && b[end-6] == '\\' {
		b2, ok2 := unhex(b[end-3])
		b3, ok3 := unhex(b[end-4])
		if ok2 && ok3 {
			return t.unit(rune(b3)<<12 | rune(b2)<<8 | rune(hi)<<4 | rune(lo))
		}
	}
	return 0, 0
}

// unit returns what \u with this UTF-16 code unit stands for. The first half of a
// pair is kept in three bytes, which are no UTF-8, until the second comes.
func (t *text) unit(r rune) (n int, kind uint32) {
	if r >= 0xdc00 && r < 0xe000 && t.half(len(t.raw)-6) {
		b := t.raw[len(t.raw)-9:]
		high := rune(b[0]&15)<<12 | rune(b[1]&63)<<6 | rune(b[2]&63)
		t.value = utf8.AppendRune(t.value[:0], (high-0xd800)<<10+(r-0xdc00)+0x10000)
		return 9, fromJSON
	}
	if r >= 0xd800 && r < 0xe000 {
		t.value = append(t.value[:0], 0xe0|byte(r>>12), 0x80|byte(r>>6)&63, 0x80|byte(r)&63)
		return 6, fromJSON
	}
	t.value = utf8.AppendRune(t.value[:0], r)
	return 6, fromJSON
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

var (
	simple = [256]byte{'n': '\n', 't': '\t', 'r': '\r', 'b': '\b', 'f': '\f', '/': '/', '"': '"', '\'': '\'', '\\': '\\'}
	lower  = func() (l [256]byte) {
		for c := range l {
			l[c] = byte(c)
			if c >= 'A' && c <= 'Z' {
				l[c] += 'a' - 'A'
			}
		}
		return l
	}()
)

// appendLower appends p with ASCII letters in lower case, eight bytes at a time.
func appendLower(to, p []byte) []byte {
	at := len(to)
	to = slices.Grow(to, len(p))[:at+len(p)]
	b := to[at:]
	for len(p) >= 8 && len(b) >= 8 {
		x := binary.LittleEndian.Uint64(p)
		const ones, high = 0x0101010101010101, 0x8080808080808080
		y := x &^ high
		// The high bit of each byte that is A or greater, and not greater than Z.
		large := (y + (0x80-'A')*ones) &^ (y + (0x80-'Z'-1)*ones) &^ x & high
		binary.LittleEndian.PutUint64(b, x|large>>2)
		p, b = p[8:], b[8:]
	}
	for i, c := range p {
		b[i] = lower[c]
	}
	return to
}
