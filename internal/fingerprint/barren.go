package fingerprint

import (
	"math/bits"
	"sync/atomic"
)

// allBarren says whether nothing can be found in what the phases of base64 stand for that
// open at the events, which are places in a piece, of which mask are the digits. Of noise
// opens one, of a few bytes, to some five hundred words of JSON: to make a stream takes
// many times as long as to see here that they hold no value. False says nothing.
func (t *stream) allBarren(events, mask uint64, n int) bool {
	for events != 0 {
		at := bits.TrailingZeros64(events)
		from := bits.Len64(^mask & (1<<at - 1))
		end := at + bits.TrailingZeros64(^(mask >> at))
		if from == 0 && t.runs.length > 0 || end >= n {
			return false // it lies in other pieces, too
		}
		stop := t.decodeFrom(t.read+from, t.read+at, t.read+end) - t.read
		if !t.barren(t.b) {
			return false
		}
		// The phase is open until then.
		const phase = 0x1111111111111111
		events &^= phase << (at & 3) & (1<<stop - 1<<at)
	}
	return true
}

// decodeFrom puts into b what a phase that opens with the digit at an index stands for, of
// a row of digits between two, and returns the index behind the last digit that it reads.
func (t *stream) decodeFrom(from, at, end int) int {
	fed := at + 1 - from
	i := at + 1 - openingDigits(fed)
	t.b = t.b[:0]
	for ; i+4 <= end; i += 4 {
		d := (*[4]byte)(t.raw[i:])
		g := uint64(digit64[d[0]]&63)<<18 | uint64(digit64[d[1]]&63)<<12 | uint64(digit64[d[2]]&63)<<6 | uint64(digit64[d[3]]&63)
		t.b = append(t.b, byte(g>>16), byte(g>>8), byte(g))
		if i > at && control(g) {
			return i + 4
		}
	}
	if rest := t.raw[i:end]; len(rest) >= 2 {
		second := digit64[rest[1]]
		t.b = append(t.b, digit64[rest[0]]<<2|second&63>>4)
		if len(rest) == 3 {
			t.b = append(t.b, second<<4|digit64[rest[2]]&63>>2)
		}
	}
	return end
}

// barren says whether a short text that is complete holds no value. False says nothing.
func (t *stream) barren(b []byte) bool {
	for i, c := range b[:len(b)-1] {
		if next := b[i+1]; starts[c] != 0 && (starts[next]|inside[next] != 0 || simple[next] != 0) {
			return false // an escape, perhaps
		}
	}
	r := &t.scan.short
	r.reset(0)
	r.raw = append(r.raw, b...)
	var m masks
	for r.read < len(b) {
		n := r.piece(len(b), &m, true)
		if rows := m.row & (m.row >> 1) & (m.row >> 2) & (m.row >> 3); rows&(rows>>4)&(rows>>(minRun-4)) != 0 {
			return false // base64 in base64, perhaps, or a secret that is known by how it is made
		}
		r.cutWords(n, &m)
		r.read += n
	}
	r.close(len(b))
	for i := range r.words {
		w := &r.words[i]
		if w.traits&(isSign|isTailed) != 0 || w.end-w.start >= varies[w.traits&31] {
			return false
		}
		t.b = r.appendWord(t.b[:0], w)
		w.fast = t.scan.x.keys.quickOf(t.b)
	}
	s := t.scan.x.sieve.Load()
	for i := range r.words {
		w := &r.words[i]
		quick := w.fast >> (64 - quickBits)
		loaded := atomic.LoadUint64(&s.bits[quick>>s.shift])
		if q := three(quick); loaded&q == q && w.end-w.start >= minWord {
			return false
		}
		if i+1 < len(r.words) {
			may := follow[r.raw[w.end]] & follow[r.raw[w.end+1]] & shapesOf1[loaded>>leadsBit] &^ uint32((w.traits|r.words[i+1].traits)&notDigit)
			if may&mayPhone != 0 || may != 0 && t.maySeveral(s, r.words[i:], may) {
				return false
			}
		}
	}
	return true
}

// maySeveral says whether a value of several of the words in the short text may begin with
// the first of these, if it has one of the shapes.
func (t *stream) maySeveral(s *sieve, words []word, shapes uint32) bool {
	k, raw := t.scan.x.keys, t.scan.short.raw
	o := opening{first: words[0].fast, all: k.link(0, words[0].fast)}
	o.leads = s.lead(o.first) & shapes
	for n := 2; n <= len(words) && o.leads&shapesFrom[n] != 0; n++ {
		before, next := &words[n-2], &words[n-1]
		o.join(raw[before.end:next.start])
		o.all = k.link(o.all, next.fast)
		if o.shapes(n) == 0 {
			continue
		}
		quick := chain(o.first, o.all)
		if q := three(quick); atomic.LoadUint64(&s.bits[quick>>s.shift])&q == q {
			return true
		}
	}
	return false
}
