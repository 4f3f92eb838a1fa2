package fingerprint

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
)

// keepBytes has a mask that leaves the first n bytes of eight.
var keepBytes = [9]uint64{0, 0xff, 0xffff, 0xffffff, 0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff, ^uint64(0)}

// batch is how many words are looked up together. What is looked up of each is
// loaded in a loop that does nothing else, so that the processor waits for many of
// them at once: that is most of the time it takes.
const batch = 128

// lookUp asks for the words before ready by themselves, and opens those with which
// values of several may begin.
func (t *stream) lookUp(ready int) {
	s := t.scan.x.sieve.Load()
	k := t.scan.x.keys
	// Short words are read eight bytes at once.
	t.low, t.raw = slices.Grow(t.low, 8), slices.Grow(t.raw, 2)
	raw := t.raw[:len(t.raw)+2]
	var loaded [batch]uint64
	var pass [batch]int32
	for t.looked < ready {
		words := t.words[t.looked:min(ready, t.looked+batch)]
		t.hash(words)
		for i := range words {
			loaded[i] = atomic.LoadUint64(&s.bits[words[i].fast>>(64-quickBits)>>s.shift])
		}
		t.openAll(s, words)
		n := 0
		for i := range words {
			b := two(words[i].fast >> (64 - quickBits))
			pass[n] = int32(i)
			if loaded[i]&b == b {
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

// hash gives words their fast hashes.
func (t *stream) hash(words []word) {
	k := t.scan.x.keys
	low := t.low[:len(t.low)+8]
	for i := range words {
		w := &words[i]
		n := int(w.end - w.start)
		if n > 16 || w.traits&notASCII != 0 && (w.traits&isSign == 0 || n != 3) {
			t.hashSlowly(w)
			t.known(w)
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
}

// known notes a secret that is known by how it is made.
func (t *stream) known(w *word) {
	x := t.scan.x
	if n := int(w.end - w.start); x.form == nil || n < x.formed || n > maxValue {
		return
	}
	if b := t.raw[w.start:w.end]; x.form(b) {
		t.see(x.keys.one(b), classSecret, int(w.start), int(w.end))
	}
}

// hashSlowly hashes a word that is long, or not ASCII.
func (t *stream) hashSlowly(w *word) {
	if w.end-w.start > maxValue {
		w.fast = 0
		return
	}
	t.b = t.appendWord(t.b[:0], w)
	w.fast = t.scan.x.keys.quickOf(t.b)
}

// openAll opens those of the words, not looked up yet, with which a value of several
// may begin.
func (t *stream) openAll(s *sieve, words []word) {
	// Behind the text there is room, and what stands there is of no consequence.
	raw := t.raw[:len(t.raw)+2]
	var some [batch]int32
	var leads [batch]uint32
	n := 0
	for i := range words {
		w := &words[i]
		may := follow[raw[w.end]] & follow[raw[w.end+1]] & shapesOf1[s.leads1(w.fast)]
		// Numbers may begin a telephone number; of signs the second is not known yet.
		may |= uint32(w.traits&(notDigit|isSign|isTailed)) ^ uint32(notDigit)
		some[n] = int32(i)
		if may != 0 {
			n++
		}
	}
	for j, i := range some[:n] {
		leads[j] = s.lead(words[i].fast)
	}
	k := t.scan.x.keys
	for j, i := range some[:n] {
		w := &words[i]
		if w.end-w.start > maxValue {
			continue
		}
		o := opening{word: int32(t.looked) + i, count: 1, digits: notPhone}
		if w.traits&(isSign|isTailed) != 0 {
			o.unread = true
		} else {
			o.first = w.fast
			o.leads = leads[j] & follow[raw[w.end]] & follow[raw[w.end+1]]
			if w.traits&notDigit == 0 && t.beginsPhone(w) {
				o.digits = uint8(w.end - w.start)
			}
			if o.leads == 0 && o.digits == notPhone {
				continue
			}
		}
		o.all = k.link(0, w.fast)
		t.openings = append(t.openings, o)
	}
}

// shapesOf1 are the shapes that leads1 may mean.
var shapesOf1 = [4]uint32{0, emailOnly, exactOnly | namesOnly, exactOnly | namesOnly | emailOnly}

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
