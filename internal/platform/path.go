package platform

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxPath     = 2048
	maxSegments = 16
)

// splitPath returns the segments of an escaped path, each still escaped, or
// ErrHostilePath. A final empty segment stands for a trailing slash.
//
// The rule behind the refusals: the gateway, a proxy on the way and the platform
// must not be able to disagree about which path this is. So whatever one of them
// might decode, merge, strip or fold is refused.
func splitPath(escaped string) ([]string, error) {
	if !strings.HasPrefix(escaped, "/") {
		return nil, hostile("it does not begin with a slash")
	}
	if len(escaped) > maxPath {
		return nil, hostile("it is too long")
	}
	segments := strings.Split(escaped[1:], "/")
	if len(segments) > maxSegments {
		return nil, hostile("it has too many segments")
	}
	for i, s := range segments {
		if s == "" && i == len(segments)-1 {
			continue // the caller decides whether a trailing slash is meant
		}
		if err := checkSegment(s); err != nil {
			return nil, err
		}
	}
	return segments, nil
}

func hostile(why string) error { return fmt.Errorf("%w: %s", ErrHostilePath, why) }

// checkSegment refuses a segment that could be read in two ways.
func checkSegment(s string) error {
	if s == "" {
		return hostile("it has an empty segment")
	}
	if s[len(s)-1] == '.' {
		return hostile("a segment is or ends with a dot")
	}
	var decoded []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '%' {
			if !pathByte(c) {
				return hostile("it holds a byte that must be escaped or must not be there")
			}
			decoded = append(decoded, c)
			continue
		}
		if i+2 >= len(s) {
			return hostile("an escape is cut off")
		}
		hi, lo := unhex(s[i+1]), unhex(s[i+2])
		if hi < 0 || lo < 0 {
			return hostile("an escape is not hexadecimal")
		}
		b := byte(hi<<4 | lo)
		if !escapable(b) {
			return hostile("it escapes a byte that no identifier needs escaped")
		}
		decoded = append(decoded, b)
		i += 2
	}
	if !utf8.Valid(decoded) {
		return hostile("it is not UTF-8")
	}
	return nil
}

// pathByte reports whether c may stand unescaped in a segment. It is RFC 3986's
// pchar without the semicolon, which some servers take for a parameter, and
// without what no platform's identifier holds.
func pathByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-._~!$&'()*+,=:@", c) >= 0
}

// escapable reports whether an escaped b is unsuspicious: a reserved byte that
// identifiers do hold, or part of a character outside ASCII. Escaped letters,
// dots, slashes, percent signs and controls are ways to hide a path.
func escapable(b byte) bool {
	return b >= 0x80 || strings.IndexByte("!$&'()*+,=:@|", b) >= 0
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// foldsTo reports whether s is word in another case. Such a segment would be an
// unknown value to one reader and the word to another.
func foldsTo(s, word string) bool {
	return s != word && strings.EqualFold(s, word)
}

// digits reports whether s is 1 to n decimal digits.
func digits(s string, n int) bool {
	if s == "" || len(s) > n {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// each reports whether every byte of s satisfies ok.
func each(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return s != ""
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
