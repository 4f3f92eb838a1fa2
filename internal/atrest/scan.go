package atrest

import (
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
)

// chunk is how many bytes are collected before they are searched.
const chunk = 256 << 10

// Scanner searches one stream: write the stream to it, then Close. Its memory
// is bounded, and what it finds does not depend on how the bytes arrive. It
// belongs to one goroutine.
type Scanner struct {
	search *Search
	found  func(Match)
	// buf holds the stream from base on: maxForm bytes that were searched already,
	// then what was not.
	buf  []byte
	base int64
	// next is the first position that no window or run was looked for at.
	next int64
	// runs is where the last run of token characters ended.
	runs int64
	size int64
}

// Scanner returns a scanner of a new stream, which tells found of each match
// while it is written to.
func (s *Search) Scanner(found func(Match)) *Scanner {
	return &Scanner{search: s, found: found, buf: make([]byte, 0, chunk+2*maxForm)}
}

// Write takes the next bytes. It never fails.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	s.size += int64(n)
	for len(p) > 0 {
		room := min(len(p), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, p[:room]...)
		if p = p[room:]; len(s.buf) == cap(s.buf) {
			s.advance((len(s.buf) - maxForm) / grain * grain)
		}
	}
	return n, nil
}

// Close searches the rest.
func (s *Scanner) Close() error {
	s.advance((len(s.buf) + grain - 1) / grain * grain)
	clear(s.buf)
	return nil
}

// Size is how many bytes were written.
func (s *Scanner) Size() int64 { return s.size }

// advance searches what begins before limit in buf, a multiple of grain, and
// keeps what a later match may reach back to. base is a multiple of grain too, so
// that nothing depends on where the buffer begins.
func (s *Scanner) advance(limit int) {
	from := int(s.next - s.base)
	if limit <= from {
		return
	}
	if len(s.search.forms) > 0 {
		s.windows(from, min(limit, len(s.buf)-window+1))
	}
	if s.search.shapes {
		s.shapes(from, min(limit, len(s.buf)))
	}
	s.next = s.base + int64(limit)
	if keep := limit - maxForm; keep > 0 && keep < len(s.buf) {
		s.buf = s.buf[:copy(s.buf, s.buf[keep:])]
		s.base += int64(keep)
	}
}

// windows looks at every window that begins in buf from from to before to.
func (s *Scanner) windows(from, to int) {
	filter, wide, key0, key1 := s.search.filter, s.search.wide, s.search.key[0], s.search.key[1]
	buf := s.buf
	for i := from; i < to; i += stride {
		print := mix(binary.LittleEndian.Uint64(buf[i:]), key0, key1)
		bit := print >> wide
		if filter[bit/64]>>(bit%64)&1 != 0 {
			s.candidates(i, print)
		}
	}
}

// candidates decides whether a form stands where its window was seen.
func (s *Scanner) candidates(i int, print uint64) {
	search := s.search
	bucket := print >> search.deep
	for _, c := range search.slots[search.starts[bucket]:search.starts[bucket+1]] {
		if c.tag != uint32(print) {
			continue
		}
		f := &search.forms[c.form/stride]
		start := i - int(f.offset) - int(c.form%stride)
		end := start + int(f.length)
		if start < 0 || end > len(s.buf) || maphash.Bytes(search.seed, s.buf[start:end]) != f.digest {
			continue
		}
		it := &search.items[f.item]
		s.found(Match{What: it.what, Form: f.name, Offset: s.base + int64(start), Hash: hex.EncodeToString(it.hash[:])})
	}
}
