package fingerprint

import (
	"sync"
	"unicode"
	"unicode/utf8"
)

// kind says what a rune is to somebody who looks for words.
type kind uint8

const (
	separator kind = iota
	// letter is a letter or a digit of a script that puts something between words.
	letter
	// marking runes belong to the letter before.
	marking
	// silent runes are not seen: joiners, marks of direction, soft hyphens.
	silent
	// sign is a letter of a script that puts nothing between words and says much
	// with each: Chinese, Japanese, Korean (where endings are glued to names).
	sign
	// tailed is a letter of a script that puts nothing between words and needs
	// several for a syllable: Thai, Lao, Khmer, Burmese.
	tailed
)

// plane are the kinds and the folded forms of the runes below 0x10000.
type plane struct {
	kinds [1 << 16]kind
	folds [1 << 16]uint16
}

// basic is made when the first index is: programs that search nothing do not pay.
var basic = sync.OnceValue(func() *plane {
	p := new(plane)
	for r := range rune(1 << 16) {
		p.kinds[r] = kindOf(r)
		p.folds[r] = uint16(foldOf(r))
	}
	return p
})

func (p *plane) kind(r rune) kind {
	if r < 1<<16 {
		return p.kinds[r]
	}
	return kindOf(r)
}

func (p *plane) fold(r rune) rune {
	if r < 1<<16 {
		return rune(p.folds[r])
	}
	return foldOf(r)
}

// appendFolded appends b in its folded form: what of a word counts.
func (p *plane) appendFolded(to, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		if p.kind(r) != silent {
			to = utf8.AppendRune(to, p.fold(r))
		}
	}
	return to
}

func kindOf(r rune) kind {
	switch {
	case r == '_', '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		return letter
	case r < 0x80, r == utf8.RuneError:
		return separator
	case unicode.Is(unicode.Cf, r):
		return silent
	case unicode.IsMark(r):
		return marking
	case r == 'ー' || r == '々' || r == '〆',
		unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo) && unicode.IsLetter(r):
		return sign
	case unicode.In(r, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar) && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		return tailed
	case unicode.IsLetter(r), unicode.IsDigit(r):
		return letter
	}
	return separator
}

// foldOf removes the difference between large and small, and between full width
// and half.
func foldOf(r rune) rune {
	if 0xff01 <= r && r <= 0xff5e {
		r -= 0xfee0
	}
	// Up first: some small letters are variants of others (ſ, ς, dotless ı).
	return unicode.ToLower(unicode.ToUpper(r))
}
