package audit

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// A set holds which of a segment's entries have something, a bit for each.
type set []uint64

func newSet(span int) set { return make(set, span/64) }

func (s set) add(at int) { s[at/64] |= 1 << (at % 64) }

func (s set) remove(at int) { s[at/64] &^= 1 << (at % 64) }

func (s set) and(o set) {
	for i := range s {
		s[i] &= o[i]
	}
}

func (s set) fill() {
	for i := range s {
		s[i] = ^uint64(0)
	}
}

// below removes what is not below at.
func (s set) below(at int) {
	for i := range s {
		if first := 64 * i; at < first+64 {
			s[i] &= 1<<max(at-first, 0) - 1
		}
	}
}

func (s set) empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}

// down returns the members, the highest first.
func (s set) down() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, word := range slices.Backward(s) {
			for word != 0 {
				top := bits.Len64(word) - 1
				word &^= 1 << top
				if !yield(64*i + top) {
					return
				}
			}
		}
	}
}

// postings are the entries of a segment by what they have: their places, in order.
type postings map[uint32][]uint16

func (p postings) add(term uint32, at int) {
	list := p[term]
	if n := len(list); n == 0 || list[n-1] != uint16(at) {
		p[term] = append(list, uint16(at))
	}
}

// A part of a segment's terms is: their number (4 bytes); for each in order, the term (4)
// and how many entries have it, less one (2); then the entries of each, in the same order;
// and CRC-32C over where the part belongs and all of it. All integers are little-endian. Entries are, whichever is
// shortest, nothing (all have it), their places (2 each), the places of those that do not
// have it (2 each), or a bit for each entry of the segment. Most terms are either on nearly
// every entry or on few, so that this is what a library of compressed bitmaps would come to.
const (
	partHead  = 4
	partTerm  = 6
	partCheck = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errPart says that a part cannot be used; the entries themselves can.
var errPart = errors.New("a part of the log's search index is damaged")

// shape is how many bytes the entries of a term take, and how they are written.
func shape(n, span int) (size int, absent, plain bool) {
	switch m := span / 8; {
	case n == span:
		return 0, true, false
	case 2*n < m:
		return 2 * n, false, false
	case 2*(span-n) < m:
		return 2 * (span - n), true, false
	default:
		return m, false, true
	}
}

// encode writes all terms as one part.
func (p postings) encode(span int, at place) []byte {
	terms := slices.Sorted(maps.Keys(p))
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(terms)))
	for _, t := range terms {
		b = binary.LittleEndian.AppendUint32(b, t)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p[t])-1))
	}
	for _, t := range terms {
		list := p[t]
		_, absent, plain := shape(len(list), span)
		switch {
		case plain:
			s := newSet(span)
			for _, at := range list {
				s.add(int(at))
			}
			for _, word := range s {
				b = binary.LittleEndian.AppendUint64(b, word)
			}
		case absent:
			next := 0
			for at := range span {
				if next < len(list) && int(list[next]) == at {
					next++
					continue
				}
				b = binary.LittleEndian.AppendUint16(b, uint16(at))
			}
		default:
			for _, at := range list {
				b = binary.LittleEndian.AppendUint16(b, at)
			}
		}
	}
	return at.seal(b)
}

// A place is where a part belongs.
type place struct {
	span, from int64
	number     int
}

func (p place) sum(b []byte) uint32 {
	var own []byte
	for _, n := range []int64{p.span, p.from, int64(p.number)} {
		own = binary.LittleEndian.AppendUint64(own, uint64(n))
	}
	return crc32.Update(crc32.Checksum(own, castagnoli), castagnoli, b)
}

// seal appends the sum that open checks.
func (p place) seal(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, p.sum(b)) }

func (p place) open(b []byte) ([]byte, error) {
	n := len(b) - partCheck
	if n < 0 || p.sum(b[:n]) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, errPart
	}
	return b[:n], nil
}

// A partReader reads what encode wrote.
type partReader struct {
	span int
	// terms is the list of terms, entries what follows it.
	terms, entries []byte
}

func readPart(part []byte, at place) (partReader, error) {
	b, err := at.open(part)
	if err != nil || len(b) < partHead {
		return partReader{}, errPart
	}
	n := int64(binary.LittleEndian.Uint32(b))
	if int64(len(b)-partHead) < n*partTerm {
		return partReader{}, errPart
	}
	end := partHead + int(n)*partTerm
	return partReader{int(at.span), b[partHead:end], b[end:]}, nil
}

// each calls visit with every term, how many entries have it, and how these are written,
// until visit returns false.
func (r partReader) each(visit func(term uint32, n int, entries []byte) (bool, error)) error {
	rest := r.entries
	for t := r.terms; len(t) > 0; t = t[partTerm:] {
		n := int(binary.LittleEndian.Uint16(t[4:])) + 1
		if n > r.span {
			return errPart
		}
		size, _, _ := shape(n, r.span)
		if len(rest) < size {
			return errPart
		}
		if on, err := visit(binary.LittleEndian.Uint32(t), n, rest[:size]); err != nil || !on {
			return err
		}
		rest = rest[size:]
	}
	if len(rest) > 0 {
		return errPart
	}
	return nil
}

// addTo adds the entries that have a term to s.
func (r partReader) addTo(s set, term uint32) error {
	return r.each(func(t uint32, n int, entries []byte) (bool, error) {
		if t != term {
			return t < term, nil
		}
		return false, unpack(s, n, entries, r.span)
	})
}

// unpack adds n entries, as they are written, to s.
func unpack(s set, n int, entries []byte, span int) error {
	_, absent, plain := shape(n, span)
	switch {
	case plain:
		for i := range s {
			s[i] |= binary.LittleEndian.Uint64(entries[8*i:])
		}
		return nil
	case absent:
		missing := newSet(span)
		for e := entries; len(e) > 0; e = e[2:] {
			at := int(binary.LittleEndian.Uint16(e))
			if at >= span {
				return errPart
			}
			missing.add(at)
		}
		for i := range s {
			s[i] |= ^missing[i]
		}
		return nil
	}
	for e := entries; len(e) > 0; e = e[2:] {
		at := int(binary.LittleEndian.Uint16(e))
		if at >= span {
			return errPart
		}
		s.add(at)
	}
	return nil
}

// merge adds all terms of a part to p, their entries moved by a number of places.
func (r partReader) merge(p postings, by int) error {
	s := newSet(r.span)
	return r.each(func(term uint32, n int, entries []byte) (bool, error) {
		clear(s)
		if err := unpack(s, n, entries, r.span); err != nil {
			return false, err
		}
		list := p[term]
		for i, word := range s {
			for ; word != 0; word &= word - 1 {
				list = append(list, uint16(by+64*i+bits.TrailingZeros64(word)))
			}
		}
		p[term] = list
		return true, nil
	})
}
