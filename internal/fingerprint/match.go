package fingerprint

import (
	"encoding/binary"
	"slices"
	"strings"
)

// keepBytes has a mask that leaves the first n bytes of eight.
var keepBytes = [9]uint64{0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, ^uint64(0)}

// ask is a question to the sieve that waits to be put with others.
type ask struct {
	quick uint64
	// start and end are where it stands; from is where its normal form begins, if that
	// is not start.
	start, end, from int32
	// words and first are how many it has, and which is the first, if it has several,
	// and leads the shapes that it may have.
	words uint8
	leads uint32
	first int32
	how   how
}

// how says how the normal form of what is asked for is made.
type how uint8

const (
	asWord how = iota
	asWritten
	asPhone
	asSeveral
)

// lookUp asks for the words before ready by themselves. It hashes many first and then
// looks into the sieve for all of them, so that the looks into memory overlap.
func (t *stream) lookUp(ready int) {
	x := t.scan.x
	s := x.sieve.Load()
	k := t.scan.x.keys
	var pass [128]int32
	// Short words are read eight bytes at once.
	t.low, t.raw = slices.Grow(t.low, 8), slices.Grow(t.raw, 2)
	raw, low := t.raw[:len(t.raw)+2], t.low[:len(t.low)+8]
	for t.looked < ready {
		words := t.words[t.looked:min(ready, t.looked+len(pass))]
		for i := range words {
			w := &words[i]
			w.count, w.digits, w.leads = 1, 0, 0
			n := int(w.end - w.start)
			if n > 16 || w.traits&notASCII != 0 && (w.traits&isSign == 0 || n != 3) {
				t.hashSlowly(w)
				if x.form != nil && n >= x.formed && n <= maxValue && x.form(t.raw[w.start:w.end]) {
					t.see(k.one(t.raw[w.start:w.end]), classSecret, int(w.start), int(w.end))
				}
				continue
			}
			v := binary.LittleEndian.Uint64(low[w.start:])
			var y uint64
			if n > 8 {
				y = binary.LittleEndian.Uint64(low[w.end-8:])
			} else {
				v &= keepBytes[n]
			}
			w.fast = k.fast16(v, y, uint64(n))
		}
		n := 0
		for i := range words {
			w := &words[i]
			// Behind the text there is room, and what stands there is of no consequence.
			may := follow[raw[w.end]] & follow[raw[w.end+1]]
			if may&shapesOf1[s.leads1(w.fast)] != 0 {
				w.leads = s.lead(w.fast) & may
			}
			pass[n] = int32(i)
			if s.passes(w.fast >> (64 - quickBits)) {
				n++
			}
		}
		for i := range words {
			w := &words[i]
			if w.traits&(hasLarge|hasLow|notASCII) != 0 && w.traits&(isSign|isTailed) == 0 || w.traits&notDigit == 0 && raw[max(w.start, 0)] == '0' {
				t.variants(w)
			}
		}
		for _, i := range pass[:n] {
			w := &words[i]
			if size := w.end - w.start; size < minWord || size > maxValue || w.traits&(isSign|isTailed) != 0 {
				continue
			}
			t.b = t.appendWord(t.b[:0], w)
			t.match(k.oneOf(t.b, w.fast), int(w.start), int(w.end))
		}
		t.looked += len(words)
	}
	t.answer(s)
}

// shapesOf1 are the shapes that leads1 may mean.
var shapesOf1 = [4]uint32{0, emailOnly, exactOnly | namesOnly, exactOnly | namesOnly | emailOnly}

// answer puts the questions that wait to the sieve, and looks up what passes.
func (t *stream) answer(s *sieve) {
	n := 0
	for i := range t.asks {
		// Those that pass move to the front.
		t.asks[n] = t.asks[i]
		if s.passes(t.asks[i].quick) {
			n++
		}
	}
	k := t.scan.x.keys
	for i := range t.asks[:n] {
		q := &t.asks[i]
		switch q.how {
		case asWord:
			t.b = append(t.b[:0], t.low[q.from:q.end]...)
		case asWritten:
			t.b = append(t.b[:0], t.raw[q.from:q.end]...)
		case asPhone:
			t.b = t.b[:0]
			for _, c := range t.raw[q.start:q.end] {
				if c >= '0' && c <= '9' {
					t.b = append(t.b, c)
				}
			}
			t.matchKind(k.oneOf(phoneDigits(t.b), q.quick<<(64-quickBits)), int(q.start), int(q.end), 1<<classPhone)
			continue
		case asSeveral:
			t.tryShapes(q)
			continue
		}
		// The place in the sieve is half of the fast hash; the mark needs no more.
		t.match(k.oneOf(t.b, q.quick<<(64-quickBits)), int(q.start), int(q.end))
	}
	t.asks = t.asks[:0]
}

// follow has, for a byte behind a word, the shapes of the values that may go on with
// it: names do not with what stands between the parts of addresses, addresses of
// e-mail only with what may stand in them, and what is compared as it is written not
// with a space. Most words end there.
var follow = func() (f [256]uint32) {
	for c := range f {
		switch {
		case c <= ' ':
			f[c] = namesOnly
		case c == '"':
		case lanes[c]>>laneWord&1 != 0 || c >= 0x80:
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
	}
	return f
}()

// hashSlowly hashes a word that is long, or not ASCII.
func (t *stream) hashSlowly(w *word) {
	if w.end-w.start > maxValue {
		w.fast, w.count = 0, finished
		return
	}
	t.b = t.appendWord(t.b[:0], w)
	w.fast = t.scan.x.keys.quickOf(t.b)
}

// variants asks for what else a word may be: exactly as it is written, without the
// plus sign's zeros, or in parts between low lines.
func (t *stream) variants(w *word) {
	size := w.end - w.start
	if size < minDigits || size > maxValue {
		return
	}
	if size >= minExact && w.traits&(hasLarge|notASCII) != 0 {
		t.askOne(asWritten, w.start, w.start, w.end)
	}
	exact := t.raw[w.start:w.end]
	if w.traits&notDigit == 0 && size >= minPhone && exact[0] == '0' && exact[1] == '0' {
		t.askOne(asWritten, w.start+2, w.start, w.end)
	}
	if w.traits&hasLow == 0 {
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
			t.askOne(asWritten, at, at, w.start+int32(i))
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
		t.askOne(asWord, first, first, end)
		if w.traits&hasLarge != 0 && end-first >= minExact {
			t.askOne(asWritten, first, first, end)
		}
	}
}

// askOne asks for a value of one word, whose normal form stands from from to end.
func (t *stream) askOne(as how, from, start, end int32) {
	b := t.raw[from:end]
	if as == asWord {
		b = t.low[from:end]
	}
	t.asks = append(t.asks, ask{quick: t.scan.x.keys.quickOf(b) >> (64 - quickBits), how: as, from: from, start: start, end: end})
}

// finished marks a word at which no value of several words begins, or none that has
// not been found.
const finished = 255

// extendAll looks for values of several words at the words before ready.
func (t *stream) extendAll(ready int, last bool) {
	s := t.scan.x.sieve.Load()
	t.leadSigns(s, ready)
	pending := ready
	for i := t.done; i < ready; i++ {
		w := &t.words[i]
		if w.leads == 0 && w.traits&(notDigit|isSign|isTailed) == notDigit || w.count == finished {
			continue
		}
		if t.extend(s, i, ready, last) {
			w.count = finished
		} else {
			pending = min(pending, i)
		}
	}
	t.done = pending
	t.answer(s)
}

// leadSigns finds what begins at signs that have their second already, for all at
// once.
func (t *stream) leadSigns(s *sieve, ready int) {
	k := t.scan.x.keys
	for i := t.done; i+1 < ready; i++ {
		w := &t.words[i]
		if w.traits&isSign == 0 || w.count != 1 || w.digits != 0 {
			continue
		}
		w.first, _ = t.first(t.words[i:i+minSigns], k)
		w.digits, w.all = notPhone, k.link(0, w.fast)
		if s.leads1(w.first)&2 != 0 {
			w.leads = s.lead(w.first)
		}
	}
}

// shapesFrom are the shapes of values of that many words or more.
var shapesFrom = func() (from [maxExactWords + 1]uint32) {
	for n := 2; n <= maxExactWords; n++ {
		for m := n; m <= maxExactWords; m++ {
			from[n] |= 1 << exactShape[m]
			from[n] |= 1<<emailShape[m] | 1<<nameShape[m]
		}
		from[n] &^= 1 << shapeOne
	}
	return from
}()

// extend looks for values of several words that begin with the one at i; false if
// words are missing that may yet come.
func (t *stream) extend(s *sieve, i, ready int, last bool) bool {
	w := &t.words[i]
	k := t.scan.x.keys
	if w.count == 1 && w.digits == 0 {
		w.first, w.all = w.fast, k.link(0, w.fast)
		if w.traits&(isSign|isTailed) != 0 {
			many := minSigns
			if w.traits&isTailed != 0 {
				many = minTailed
			}
			if i+many > ready && !last {
				return false
			}
			first, ok := t.first(t.words[i:min(i+many, ready)], k)
			if !ok {
				return true
			}
			w.first = first
			w.leads = s.lead(first)
		}
		w.digits = notPhone
		if w.traits&notDigit == 0 && t.beginsPhone(w) {
			w.digits = uint8(min(w.end-w.start, notPhone))
		}
	}
	for n := int(w.count) + 1; ; n++ {
		if w.digits == notPhone && (n > maxExactWords || w.leads&shapesFrom[n] == 0) {
			return true
		}
		if i+n > ready {
			return last || t.isAlone(i, ready)
		}
		before, next := &t.words[i+n-2], &t.words[i+n-1]
		if next.start-before.end > maxNameGap || next.end-w.start > maxValue {
			return true
		}
		gap := t.raw[before.end:next.start]
		w.count = uint8(n)
		if w.digits != notPhone {
			t.extendPhone(w, i, n, gap)
		}
		if n > maxExactWords || w.leads&shapesFrom[n] == 0 {
			continue
		}
		w.all = k.link(w.all, next.fast)
		for _, c := range gap {
			w.leads &= follow[c]
			if c == '@' {
				w.traits |= hasAt
			}
		}
		if len(gap) > maxGap {
			w.leads &= namesOnly
		}
		leads := w.leads
		if w.traits&hasAt == 0 {
			leads &^= emailOnly
		}
		if leads&(1<<exactShape[n]|1<<emailShape[n]|1<<nameShape[n]) != 0 {
			t.asks = append(t.asks, ask{quick: chain(w.first, w.all), how: asSeveral, start: w.start, end: next.end, words: uint8(n), first: int32(i), leads: leads})
		}
	}
}

// isAlone says whether the word behind those that are ready, which is not ready yet,
// is too far away to belong to the same value as the one at i.
func (t *stream) isAlone(i, ready int) bool {
	next := t.read
	if len(t.words) > ready {
		next = int(t.words[ready].start)
	} else if t.begun != none {
		next = t.begun
	}
	return next-int(t.words[ready-1].end) > maxNameGap || t.read-int(t.words[i].start) > maxValue+ahead
}

// tryShapes looks up the value of several words that was asked for.
func (t *stream) tryShapes(q *ask) {
	k := t.scan.x.keys
	n, start, end := q.words, int(q.start), int(q.end)
	words := t.words[q.first : q.first+int32(n)]
	// No value of several words has the shape zero, so none is found under it.
	exact, email, name := exactShape[n], emailShape[n], nameShape[n]
	if q.leads&(1<<exact|1<<email) != 0 {
		t.b = t.appendExact(t.b[:0], words, true)
	}
	if q.leads>>email&1 != 0 {
		t.match(k.severalOf(t.b, q.quick, email), start, end)
	}
	if q.leads>>exact&1 != 0 {
		m := k.severalOf(t.b, q.quick, exact)
		t.match(m, start, end)
		t.b = t.appendExact(t.b[:0], words, false)
		if other := k.severalOf(t.b, q.quick, exact); other != m {
			t.match(other, start, end)
		}
	}
	if q.leads>>name&1 != 0 {
		t.b = t.appendName(t.b[:0], words)
		t.match(k.severalOf(t.b, q.quick, name), start, end)
	}
}

// notPhone is a number of digits that no telephone number has.
const notPhone = 255

// beginsPhone says whether a telephone number in groups may begin with a number.
func (t *stream) beginsPhone(w *word) bool {
	at := int(w.start)
	if w.end-w.start >= maxPhone {
		return false
	}
	if t.raw[at] == '0' || at < 2 {
		return true
	}
	// Inside a row of groups, one with a sign of a beginning.
	c, before := t.raw[at-1], t.raw[at-2]
	return c == '+' || c == '(' || !phoneGap(t.raw[at-1:at]) || before < '0' || before > '9'
}

// phoneGap says whether this stands between groups of digits of one number.
func phoneGap(gap []byte) bool {
	if len(gap) == 0 || len(gap) > 3 {
		return false
	}
	for _, c := range gap {
		switch c {
		case ' ', '-', '.', '/', '(', ')':
		case '+':
			// A space in a form; behind something else it begins another number.
			if len(gap) > 1 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// extendPhone looks up the telephone number that n groups of digits from i on may be.
func (t *stream) extendPhone(w *word, i, n int, gap []byte) {
	next := &t.words[i+n-1]
	total := int(w.digits) + int(next.end-next.start)
	if next.traits&notDigit != 0 || !phoneGap(gap) || total > maxPhone+2 {
		w.digits = notPhone
		return
	}
	w.digits = uint8(total)
	if total < minPhone {
		return
	}
	t.b = t.b[:0]
	address := n == 4
	for j, g := range t.words[i : i+n] {
		t.b = append(t.b, t.raw[g.start:g.end]...)
		address = address && g.end-g.start <= 3 && (j == 3 || string(t.raw[g.end:t.words[i+j+1].start]) == ".")
	}
	if address {
		return // of IP
	}
	if b := phoneDigits(t.b); len(b) >= minPhone && len(b) <= maxPhone {
		t.asks = append(t.asks, ask{quick: t.scan.x.keys.quickOf(b) >> (64 - quickBits), how: asPhone, start: w.start, end: next.end})
	}
}
