package platform

import (
	"bytes"
	"io"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// stringEnd returns the index of the quote that ends the string whose contents
// begin at or before from, or -1. From must not stand inside an escape.
func stringEnd(b []byte, from int) int {
	for i := from; i < len(b); {
		n := bytes.IndexByte(b[i:], '"')
		if n < 0 {
			return -1
		}
		i += n
		back := i
		for back > from && b[back-1] == '\\' {
			back--
		}
		if (i-back)%2 == 0 {
			return i
		}
		i++
	}
	return -1
}

// unescape decodes the contents of a JSON string. With offsets it also returns,
// for each decoded byte and for the end, where its escape or byte begins in raw.
// What is no escape is kept as it is.
func unescape(raw []byte, withOffsets bool) (decoded []byte, offsets []int) {
	if !withOffsets && bytes.IndexByte(raw, '\\') < 0 {
		return raw, nil
	}
	decoded = make([]byte, 0, len(raw))
	if withOffsets {
		offsets = make([]int, 0, len(raw)+1)
	}
	for i := 0; i < len(raw); {
		before, at := len(decoded), i
		if raw[i] == '\\' && i+1 < len(raw) {
			var n int
			decoded, n = appendUnescaped(decoded, raw[i:])
			i += n
		} else {
			decoded = append(decoded, raw[i])
			i++
		}
		if withOffsets {
			for range len(decoded) - before {
				offsets = append(offsets, at)
			}
		}
	}
	if withOffsets {
		offsets = append(offsets, len(raw))
	}
	return decoded, offsets
}

// appendUnescaped decodes the escape at the start of b and returns its length.
func appendUnescaped(dst, b []byte) ([]byte, int) {
	switch b[1] {
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	case 'u':
		r, ok := hex4(b)
		if !ok {
			return append(dst, b[:2]...), 2
		}
		if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == '\\' {
			if low, ok := hex4(b[6:]); ok {
				if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
					return utf8.AppendRune(dst, pair), 12
				}
			}
		}
		return utf8.AppendRune(dst, r), 6
	}
	return append(dst, b[1]), 2
}

// hex4 reads the \uXXXX at the start of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		d := unhex(c)
		if d < 0 {
			return 0, false
		}
		r = r<<4 | rune(d)
	}
	return r, true
}

// appendEscaped appends s as the contents of a JSON string.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// Scrubber is a writer that replaces literal credentials in whatever passes
// through it, also when they arrive in pieces. It holds back no more than what
// may be the beginning of one; Flush writes that.
type Scrubber struct {
	w     io.Writer
	known []Known
	held  []byte
}

// shortestKnown is the length below which a value is too short to be a credential,
// and too likely to be something else.
const shortestKnown = 8

// NewScrubber returns a Scrubber in front of w. Each credential is looked for as
// it is, as JSON may escape it, and as a URL would.
func NewScrubber(w io.Writer, known []Known) *Scrubber {
	s := &Scrubber{w: w}
	for _, k := range known {
		if len(k.Value) < shortestKnown {
			continue
		}
		for _, form := range []string{k.Value, strings.ReplaceAll(k.Value, "/", `\/`), url.QueryEscape(k.Value), url.PathEscape(k.Value)} {
			s.add(form, k.Replacement)
		}
	}
	return s
}

func (s *Scrubber) add(value, replacement string) {
	for _, k := range s.known {
		if k.Value == value {
			return
		}
	}
	s.known = append(s.known, Known{value, replacement})
}

// Write implements io.Writer.
func (s *Scrubber) Write(p []byte) (int, error) {
	if len(s.known) == 0 {
		return s.w.Write(p)
	}
	n := len(p)
	if len(s.held) > 0 {
		p = append(s.held, p...)
		s.held = nil
	}
	for {
		at, found := -1, Known{}
		for _, k := range s.known {
			if i := bytes.Index(p, []byte(k.Value)); i >= 0 && (at < 0 || i < at || i == at && len(k.Value) > len(found.Value)) {
				at, found = i, k
			}
		}
		if at < 0 {
			break
		}
		if _, err := s.w.Write(append(p[:at:at], found.Replacement...)); err != nil {
			return 0, err
		}
		p = p[at+len(found.Value):]
	}
	keep := s.partial(p)
	if len(p) > keep {
		if _, err := s.w.Write(p[:len(p)-keep]); err != nil {
			return 0, err
		}
	}
	s.held = append([]byte(nil), p[len(p)-keep:]...)
	return n, nil
}

// partial returns the length of the longest end of p that begins a credential.
func (s *Scrubber) partial(p []byte) int {
	longest := 0
	for _, k := range s.known {
		for n := min(len(p), len(k.Value)-1); n > longest; n-- {
			if p[len(p)-n] == k.Value[0] && string(p[len(p)-n:]) == k.Value[:n] {
				longest = n
				break
			}
		}
	}
	return longest
}

// Flush writes what is held back. The reply must be complete: the beginning of a
// credential that was cut off is dropped when it is long enough to matter.
func (s *Scrubber) Flush() error {
	held := s.held
	s.held = nil
	if len(held) == 0 || len(held) >= 16 {
		return nil
	}
	_, err := s.w.Write(held)
	return err
}
