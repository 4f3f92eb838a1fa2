package identity

import (
	"bytes"
	"strings"
)

// Holds reports whether s holds, anywhere, the beginning of a handle or a service
// key: a text that must not be passed on to anyone.
func Holds(s string) bool {
	return strings.Contains(s, "gth_") && (strings.Contains(s, handlePrefix) || strings.Contains(s, keyPrefix))
}

// HoldsBytes is [Holds] for bytes.
func HoldsBytes(b []byte) bool {
	return bytes.Contains(b, []byte("gth_")) && (bytes.Contains(b, []byte(handlePrefix)) || bytes.Contains(b, []byte(keyPrefix)))
}

// Scanner looks for the beginning of a handle or a service key in what passes in
// pieces. The zero value is ready. One goroutine uses it.
type Scanner struct {
	tail [len(handlePrefix) - 1]byte // the end of what was seen: one less than the needle
	n    int
}

// Found reports whether one stands in p, or begins in the pieces before it.
func (s *Scanner) Found(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	var seam [2 * len(s.tail)]byte
	joined := append(seam[:0], s.tail[:s.n]...)
	joined = append(joined, p[:min(len(p), len(s.tail))]...)
	if HoldsBytes(joined) || HoldsBytes(p) {
		return true
	}
	if len(p) >= len(s.tail) {
		s.n = copy(s.tail[:], p[len(p)-len(s.tail):])
		return false
	}
	keep := min(s.n, len(s.tail)-len(p))
	copy(s.tail[:], s.tail[s.n-keep:s.n])
	s.n = keep + copy(s.tail[keep:], p)
	return false
}
