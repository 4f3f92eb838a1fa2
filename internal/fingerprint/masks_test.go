package fingerprint

import (
	"encoding/base64"
	"math/rand/v2"
	"strings"
	"testing"
)

// What is worked out of 64 bytes at once is what each byte is.
func TestMasks(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var b [64]byte
	for round := range 2000 {
		for i := range b {
			b[i] = byte(r.UintN(256))
			if round&1 != 0 {
				b[i] &= 127
			}
		}
		n := 1 + r.IntN(64)
		var m masks
		classify(&b, &m)
		m.upTo(n)
		for i, c := range b {
			for _, mask := range []struct {
				name string
				bits uint64
				is   bool
			}{
				{"part of words", m.word, isASCIIWord(c)},
				{"digits of base64", m.row, isASCIIWord(c) || c == '+' || c == '/' || c == '-'},
				{"not ASCII", m.high, c >= 0x80},
				{"decimal digits", m.digit(), c >= '0' && c <= '9'},
				{"capital letters", m.large(), c >= 'A' && c <= 'Z'},
				{"low lines", m.lowLine(), c == '_'},
				{"hexadecimal digits", m.hex(), strings.IndexByte("0123456789abcdefABCDEF", c) >= 0},
			} {
				if got := mask.bits>>i&1 != 0; got != (mask.is && i < n) {
					t.Fatalf("of %d bytes, %q at %d is among the %s: %v", n, c, i, mask.name, got)
				}
			}
			for bit, d := range m.d {
				if m.row>>i&1 != 0 && d>>i&1 != uint64(digit64[c]>>bit&1) {
					t.Fatalf("bit %d of the digit %q is wrong", bit, c)
				}
			}
		}
	}
}

func isASCIIWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Words have the traits of their bytes, wherever pieces end.
func TestTraitsOfWords(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const signs = "0123456789aZ_ -/é"
	for range 500 {
		var b strings.Builder
		few := []rune(signs)[r.IntN(8):][:9]
		for b.Len() < 200 {
			b.WriteRune(few[r.IntN(len(few))])
			if r.IntN(20) == 0 {
				b.WriteString(strings.Repeat("7", r.IntN(70)))
			}
		}
		rd := reader{kinds: basic()}
		rd.reset(0)
		rd.raw = append(rd.raw, b.String()...)
		var m masks
		for rd.read < len(rd.raw) {
			n := rd.piece(len(rd.raw), &m, true)
			rd.cutWords(n, &m)
			rd.read += n
		}
		rd.close(rd.read)
		for _, w := range rd.words {
			var want traits
			for _, c := range string(rd.raw[w.start:w.end]) {
				switch {
				case c >= 0x80:
					want |= notDigit | notASCII
				case c == '_':
					want |= notDigit | hasLow
				case c == 'Z':
					want |= notDigit | hasLarge
				case c == 'a':
					want |= notDigit
				}
			}
			if w.traits != want {
				t.Fatalf("%q in %q has the traits %b and not %b", rd.raw[w.start:w.end], b.String(), w.traits, want)
			}
		}
	}
}

// Every beginning that reads as text is one that may be text, and of noise hardly any is.
func TestMayBeText(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	runes := []rune("ab Z9~\t\n\r\u00e9\u0416\u4e2d\u0e01\U0001f600\u0001\u007f")
	var wrong, noise int
	for round := range 100_000 {
		raw := make([]byte, 48)
		if round&1 == 0 {
			raw = raw[:0]
			for len(raw) < 48 {
				raw = append(raw, string(runes[r.IntN(len(runes))])...)
			}
			// From anywhere in a rune.
			raw = raw[r.IntN(3):][:45]
		} else {
			for i := range raw {
				raw[i] = byte(r.UintN(256))
			}
		}
		var b [64]byte
		at := r.IntN(50)
		copy(b[at:], base64.RawStdEncoding.EncodeToString(raw))
		var m masks
		classify(&b, &m)
		var acc uint64
		for _, c := range b[at : at+8] {
			acc = acc<<6 | uint64(digit64[c]&63)
		}
		may := m.mayBeText()>>at&1 != 0
		if texty(acc) && !may {
			t.Fatalf("%x reads as text, and is said not to", acc)
		}
		if round&1 != 0 {
			noise++
			if may && !texty(acc) {
				wrong++
			}
		}
	}
	if wrong > noise/20 {
		t.Errorf("%d of %d beginnings of noise may be text", wrong, noise)
	}
}
