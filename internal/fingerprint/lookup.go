package fingerprint

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync/atomic"
)

// keepBytes has, for the length of a word, a mask that leaves of eight bytes those
// that are its.
var keepBytes = func() (keep [32]uint64) {
	for n := range keep {
		keep[n] = 1<<(8*min(n, 8)) - 1
	}
	return keep
}()

// batch is how many words are looked up together. What is looked up of each is
// loaded in a loop that does nothing else, so that the processor waits for many of
// them at once: that is most of the time it takes. It is a power of two, so that an
// index that is masked with it needs no check.
const batch = 128

// batches are what is worked out of the words of a batch. All streams of a search use
// the same, one after the other.
type batches struct {
	fast, loaded, firsts [batch]uint64
	pass, some, other    [batch]int32
	may, leads           [batch]uint32
}

// lookUp asks for the words before ready by themselves, and opens those with which
// values of several may begin.
func (t *stream) lookUp(ready int) {
	t.scan.recent.renew(t.scan.x.changes.Load())
	s := t.scan.x.sieve.Load()
	// Short words are read eight bytes at once; behind the text there is room, and what
	// stands there is of no consequence.
	t.raw = slices.Grow(t.raw, 8)
	raw := t.raw[:len(t.raw)+2]
	t.findAt(ready)
	bits, shift := s.bits, uint(64-quickBits+s.shift)
	lastAt, noAt := int32(t.lastAt), int32(t.noAt)
	b := &t.scan.batches
	for t.looked < ready {
		words := t.words[t.looked:min(ready, t.looked+batch)]
		other := t.hash(words, b)
		for i, f := range b.fast[:len(words)] {
			b.loaded[i] = atomic.LoadUint64(&bits[f>>(shift&63)])
		}
		passed, some := b.passing(len(words)), b.beginning(words, raw, lastAt, noAt)
		t.openAll(s, words, some)
		for _, i := range b.other[:other] {
			t.variants(&words[i])
		}
		for _, i := range b.pass[:passed] {
			w := &words[i]
			size := w.end - w.start
			if size < minWord || size > maxValue || w.traits&(isSign|isTailed) != 0 {
				continue
			}
			t.matchWord(w)
			if size >= minExact && w.traits&(hasLarge|notASCII) != 0 {
				// It may be a value that is compared as it is written, too.
				t.match(t.scan.x.keys.oneOf(t.raw[w.start:w.end], w.fast), int(w.start), int(w.end))
			}
		}
		t.looked += len(words)
	}
	t.answer(s)
}

// passing lists which of n words the sieve lets through, and returns how many. This
// loop and that of beginning have no branch that depends on a word, and each fits into
// registers.
func (b *batches) passing(n int) (passed int) {
	for i, f := range b.fast[:n] {
		q := three(f >> (64 - quickBits))
		b.pass[passed&(batch-1)] = int32(i)
		passed += one(b.loaded[i&(batch-1)]&q == q)
	}
	return passed
}

// beginning lists the words with which values of several may begin.
func (b *batches) beginning(words []word, raw []byte, lastAt, noAt int32) (some int) {
	for i := range words {
		w := &words[i]
		m := follow[raw[w.end]] & follow[raw[w.end+1]] & shapesOf1[b.loaded[i&(batch-1)]>>leadsBit] &^ uint32(w.traits&notDigit)
		if w.end > lastAt && w.end < noAt {
			m &^= emailOnly
		}
		if w.traits&(isSign|isTailed) != 0 {
			m = ^uint32(0) // the second sign says what may begin
		}
		b.some[some&(batch-1)], b.may[some&(batch-1)] = int32(i), m
		some += one(m != 0)
	}
	return some
}

// varies has, for the traits of a word, from which length on it may be something else.
var varies = func() (from [32]int32) {
	for t := range from {
		switch is := traits(t); {
		case is&isSign != 0:
			from[t] = math.MaxInt32
		case is&hasLow != 0:
			from[t] = minDigits
		case is&notDigit == 0:
			from[t] = minPhone
		default:
			from[t] = math.MaxInt32
		}
	}
	return from
}()

// one is 1 if something is so. The compiler makes no branch of it.
func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// inRegisters has, for the traits of a word, how long it may be to be hashed without a
// copy of its normal form: signs of three bytes are their own, and in words of ASCII one
// bit tells a large letter from a small one, which digits have, too. Low lines have it
// not, so that they must not stand beside large letters.
var inRegisters = func() (most [32]uint) {
	for t := range most {
		switch is := traits(t); {
		case is&isSign != 0:
			most[t] = 3
		case is&notASCII == 0 && is&(hasLarge|hasLow) != hasLarge|hasLow:
			most[t] = 16
		}
	}
	return most
}()

// hash gives words their fast hashes, and lists those that variants must look at. It
// returns how many these are.
func (t *stream) hash(words []word, b *batches) (other int) {
	k := t.scan.x.keys
	raw := t.raw[:len(t.raw)+8]
	for i := range words {
		w := &words[i]
		n := uint(w.end - w.start)
		b.other[other&(batch-1)] = int32(i)
		other += one(int32(n) >= varies[w.traits&31])
		if n > inRegisters[w.traits&31] {
			t.hashSlowly(w)
			t.known(w)
			b.fast[i&(batch-1)] = w.fast
			continue
		}
		small := 0x2020202020202020 & -uint64(w.traits/hasLarge&1)
		v := (binary.LittleEndian.Uint64(raw[w.start:]) | small) & keepBytes[n&31]
		y := binary.LittleEndian.Uint64(raw[max(w.end-8, 0):]) | small
		if n <= 8 {
			y = 0
		}
		w.fast = k.fast16(v, y, uint64(n))
		b.fast[i&(batch-1)] = w.fast
	}
	return other
}

// known notes a secret that is known by how it is made.
func (t *stream) known(w *word) {
	x := t.scan.x
	if n := int(w.end - w.start); x.form == nil || n < x.formed || n > maxValue {
		return
	}
	if b := t.raw[w.start:w.end]; x.form(b) {
		t.see(x.keys.oneOf(b, w.fast), classSecret, int(w.start), int(w.end))
	}
}

// hashSlowly hashes a word that is not hashed in registers.
func (t *stream) hashSlowly(w *word) {
	if w.end-w.start > maxValue {
		w.fast = 0
		return
	}
	t.b = t.appendWord(t.b[:0], w)
	w.fast = t.scan.x.keys.quickOf(t.b)
}

// findAt looks for the last at sign of what is known, from the first of the words that
// are to be looked up, and for the beginning of what may yet get one: behind it nothing
// stands that is in no address. No address begins with a word between the two.
func (t *stream) findAt(ready int) {
	t.lastAt, t.noAt = t.read, t.read
	if t.looked == ready {
		return
	}
	first := max(0, int(t.words[t.looked].end))
	for t.lastAt = first - 1; ; {
		// bytes.LastIndexByte takes many times as long.
		next := bytes.IndexByte(t.raw[t.lastAt+1:t.read], '@')
		if next < 0 {
			break
		}
		t.lastAt += next + 1
	}
	for follow[t.raw[t.noAt-1]]&emailOnly != 0 {
		if t.noAt--; t.noAt <= first || t.noAt < t.read-maxLook {
			t.noAt = 0
			return
		}
	}
}

// maxLook bounds how far it is looked back for where an address may begin.
const maxLook = 256

// openAll opens those of the words, not looked up yet, with which a value of several
// may begin: the first that lookUp has put into some. If the next word is there, too,
// values of two are asked for at once.
func (t *stream) openAll(s *sieve, words []word, some int) {
	k := t.scan.x.keys
	b := &t.scan.batches
	n := 0
	for j, i := range b.some[:some] {
		w, may, first := &words[i], b.may[j], words[i].fast
		switch {
		case may&mayPhone == 0 || int(i)+1 >= len(words):
		case w.traits&(isSign|isTailed) == 0:
			if t.askPhones(words[i:]) {
				may &^= mayPhone
			}
		default:
			if next := &words[i+1]; w.traits&next.traits&isSign != 0 && w.end-w.start == 3 && next.end-next.start == 3 {
				first = k.twoSigns(t.raw[w.start:w.end], t.raw[next.start:next.end])
				may &^= mayPhone
			}
		}
		b.some[n], b.may[n], b.firsts[n] = i, may, first
		if may == mayPhone {
			b.firsts[n] = 0 // what other values begin with it is not asked
		}
		n += one(may != 0)
	}
	some = n
	for j, f := range b.firsts[:some] {
		b.leads[j] = s.lead(f)
	}
	n = 0
	for j := range b.leads[:some] {
		leads := (b.leads[j] | mayPhone) & b.may[j]
		b.some[n], b.leads[n], b.firsts[n] = b.some[j], leads, b.firsts[j]
		if leads != 0 {
			n++
		}
	}
	pairs := 0
	for j, i := range b.some[:n] {
		w := &words[i]
		o := opening{word: int32(t.looked) + i, count: 1, digits: notPhone, first: b.firsts[j], leads: b.leads[j]}
		if w.end-w.start > maxValue {
			continue
		}
		if o.leads&mayPhone != 0 || int(i)+1 >= len(words) {
			o.leads &^= mayPhone
			switch {
			case w.traits&(isSign|isTailed) != 0:
				// What follows is no sign, or not known.
				o.unread = true
			case b.leads[j]&mayPhone != 0 && t.beginsPhone(w):
				o.digits = uint8(w.end - w.start)
			}
			if o.unread || o.digits != notPhone || o.leads != 0 && int(i)+1 >= len(words) {
				o.all = k.link(0, w.fast)
				t.openings = append(t.openings, o)
				continue
			}
			if o.leads == 0 {
				continue
			}
		}
		next := &words[i+1]
		if next.start-w.end > maxNameGap || next.end-w.start > maxValue {
			continue
		}
		o.join(t.raw[w.end:next.start])
		if o.leads&shapesFrom[2] == 0 {
			continue
		}
		o.count, o.all = 2, k.link(k.link(0, w.fast), next.fast)
		if o.leads&shapesFrom[3] != 0 {
			t.openings = append(t.openings, o)
		}
		if leads := o.shapes(2); leads != 0 {
			b.some[pairs], b.leads[pairs], b.firsts[pairs] = i, leads, chain(o.first, o.all)
			pairs++
		}
	}
	for j, q := range b.firsts[:pairs] {
		b.loaded[j] = atomic.LoadUint64(&s.bits[q>>s.shift])
	}
	for j, i := range b.some[:pairs] {
		if q := three(b.firsts[j]); b.loaded[j]&q == q {
			t.asks = append(t.asks, ask{quick: b.firsts[j], how: asSeveral, start: words[i].start, end: words[i+1].end, words: 2, first: int32(t.looked) + i, leads: b.leads[j]})
		}
	}
}

// phoneFollows says whether a telephone number may begin with the first of these words,
// as far as they go.
func phoneFollows(words []word) bool {
	digits := int32(0)
	for i := range words {
		w := &words[i]
		if w.traits&notDigit != 0 || i > 0 && w.start-words[i-1].end > maxPhoneGap {
			return false
		}
		if digits += w.end - w.start; digits >= minPhone && i > 0 {
			return digits <= maxPhone+2
		}
	}
	return true
}

// mayPhone is, beside shapes, that a telephone number may begin, or a value of signs.
const mayPhone uint32 = 1 << shapeOne

// shapesOf1 are the shapes that the three bits of a sieve's word may mean that say what
// begins. They say nothing of mayPhone.
var shapesOf1 = func() (of [8]uint32) {
	for bits := range of {
		of[bits] = mayPhone
		for i, only := range [3]uint32{exactOnly, emailOnly, namesOnly} {
			if bits>>i&1 != 0 {
				of[bits] |= only
			}
		}
	}
	return of
}()

// follow has, for a byte behind a word, the shapes of the values that may go on with
// it: names do not with what stands between the parts of addresses, addresses of
// e-mail only with what may stand in them, and what is compared as it is written not
// with a space. Most words end there. mayPhone is set for digits, and for what may
// stand between those of a telephone number.
var follow = func() (f [256]uint32) {
	for c := range f {
		switch {
		case c <= ' ':
			f[c] = namesOnly
		case c == '"':
		case isWord(byte(c)) || c >= 0x80:
			f[c] = ^uint32(0)
		case strings.IndexByte("/:=[]{}<>|%#?$~", byte(c)) >= 0:
			f[c] = exactOnly
		case c == '@':
			f[c] = exactOnly | emailOnly
		case c == '.' || c == '-' || c == '+' || c == '\'':
			f[c] = ^uint32(0)
		default:
			f[c] = exactOnly | namesOnly
		}
		f[c] &^= mayPhone
		if c >= '0' && c <= '9' || strings.IndexByte(phoneSigns, byte(c)) >= 0 {
			f[c] |= mayPhone
		}
	}
	return f
}()

// variants asks for what else a word may be: a number without the plus sign's zeros, or in parts between low lines. The word has minDigits bytes or
// more.
func (t *stream) variants(w *word) {
	size := w.end - w.start
	if size > maxValue || w.traits&(isSign|isTailed) != 0 {
		return
	}
	exact := t.raw[w.start:w.end]
	if w.traits&notDigit == 0 {
		if size >= minPhone && exact[0] == '0' && exact[1] == '0' {
			t.askOne(w.start+2, w.start, w.end)
		}
		return
	}
	// Numbers between low lines.
	from := 0
	for i := 0; i <= len(exact); i++ {
		if i < len(exact) && exact[i] >= '0' && exact[i] <= '9' {
			continue
		}
		if i-from >= minDigits && i-from < len(exact) && (i == len(exact) || exact[i] == '_') && (from == 0 || exact[from-1] == '_') {
			at := w.start + int32(from)
			t.askOne(at, at, w.start+int32(i))
		}
		from = i + 1
	}
	// A word between low lines, as they are put around what is to be emphasised.
	first, end := w.start, w.end
	for first < end && t.raw[first] == '_' {
		first++
	}
	for end > first && t.raw[end-1] == '_' {
		end--
	}
	if end-first >= minWord && end-first < size && w.traits&notASCII == 0 {
		t.askOne(first, first, end)
	}
}

// askOne asks for a value of one word of ASCII, which stands from from to end.
func (t *stream) askOne(from, start, end int32) {
	t.b = appendLower(t.b[:0], t.raw[from:end])
	quick := t.scan.x.keys.quickOf(t.b) >> (64 - quickBits)
	t.asks = append(t.asks, ask{quick: quick, how: asWord, from: from, start: start, end: end})
}
