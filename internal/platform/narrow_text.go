package platform

import (
	"encoding/binary"
	"math/bits"
)

// plainText returns how many bytes b begins with that are neither the end of a
// string, nor an escape, nor refused in strings. It looks at eight at a time.
func plainText(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, escape := x^(ones*'"'), x^(ones*'\\')
		found := ((x - ones*0x20) &^ x) | ((quote - ones) &^ quote) | ((escape - ones) &^ escape)
		if found &= highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c == '"' || c == '\\' || c < 0x20 {
			break
		}
	}
	return i
}

// numberState is how far a JSON number has been read.
type numberState uint8

const (
	numberStart numberState = iota
	numberMinus
	numberZero
	numberInt
	numberDot
	numberFraction
	numberE
	numberSign
	numberExponent
)

// ends reports whether the number may end here.
func (s numberState) ends() bool {
	return s == numberZero || s == numberInt || s == numberFraction || s == numberExponent
}

// more reports whether any number of digits may follow and change nothing.
func (s numberState) more() bool {
	return s == numberInt || s == numberFraction || s == numberExponent
}

// take reports whether c goes on with the number.
func (s *numberState) take(c byte) bool {
	digit := c >= '0' && c <= '9'
	switch *s {
	case numberStart, numberMinus:
		switch {
		case c == '-' && *s == numberStart:
			*s = numberMinus
		case c == '0':
			*s = numberZero
		case digit:
			*s = numberInt
		default:
			return false
		}
		return true
	case numberInt:
		if digit {
			return true
		}
		fallthrough
	case numberZero:
		switch c {
		case '.':
			*s = numberDot
		case 'e', 'E':
			*s = numberE
		default:
			return false
		}
		return true
	case numberDot, numberFraction:
		switch {
		case digit:
			*s = numberFraction
		case (c == 'e' || c == 'E') && *s == numberFraction:
			*s = numberE
		default:
			return false
		}
		return true
	case numberE:
		if c == '+' || c == '-' {
			*s = numberSign
			return true
		}
		fallthrough
	case numberSign, numberExponent:
		if digit {
			*s = numberExponent
		}
		return digit
	}
	return false
}
