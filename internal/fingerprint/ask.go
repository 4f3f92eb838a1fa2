package fingerprint

import (
	"bytes"
	"sync/atomic"
)

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
	asPhone
	asSeveral
)

// answer puts the questions that wait to the sieve, and looks up what passes.
func (t *stream) answer(s *sieve) {
	n := 0
	for asks := t.asks; len(asks) > 0; {
		some := asks[:min(len(asks), batch)]
		asks = asks[len(some):]
		var loaded [batch]uint64
		for i := range some {
			loaded[i] = atomic.LoadUint64(&s.bits[some[i].quick>>s.shift])
		}
		for i := range some {
			if b := three(some[i].quick); loaded[i]&b == b {
				// Those that pass move to the front.
				t.asks[n] = some[i]
				n++
			}
		}
	}
	k := t.scan.x.keys
	for i := range t.asks[:n] {
		q := &t.asks[i]
		switch q.how {
		case asWord:
			// The place in the sieve is half of the fast hash; the mark needs no more.
			fast := q.quick << (64 - quickBits)
			written := t.raw[q.from:q.end]
			t.b = appendLower(t.b[:0], written)
			t.match(k.oneOf(t.b, fast), int(q.start), int(q.end))
			if len(written) >= minExact && !bytes.Equal(written, t.b) {
				t.match(k.oneOf(written, fast), int(q.start), int(q.end))
			}
		case asPhone:
			t.b = t.b[:0]
			for _, c := range t.raw[q.start:q.end] {
				if c >= '0' && c <= '9' {
					t.b = append(t.b, c)
				}
			}
			t.matchKind(k.oneOf(phoneDigits(t.b), q.quick<<(64-quickBits)), int(q.start), int(q.end), 1<<classPhone)
		case asSeveral:
			t.tryShapes(q)
		}
	}
	t.asks = t.asks[:0]
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
