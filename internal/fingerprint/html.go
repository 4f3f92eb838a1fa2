package fingerprint

import (
	"html"
	"unicode/utf8"
)

// entity returns the HTML escape with which the text ends, behind its semicolon.
func (t *text) entity() (n int, kind uint32) {
	end := len(t.raw)
	at := end - 2
	for at >= 0 && end-at <= entityReach && inside[t.raw[at]] != 0 {
		at--
	}
	if at < 0 || t.raw[at] != '&' || end-at < 4 {
		return 0, 0
	}
	name := t.raw[at+1 : end-1]
	n = end - at
	if name[0] == '#' {
		if r, ok := number(name[1:]); ok {
			t.value = utf8.AppendRune(t.value[:0], r)
			return n, fromHTML
		}
		return 0, 0
	}
	switch string(name) {
	case "amp":
		t.value = append(t.value[:0], '&')
		return n, fromHTML
	case "lt":
		t.value = append(t.value[:0], '<')
		return n, fromHTML
	case "gt":
		t.value = append(t.value[:0], '>')
		return n, fromHTML
	case "quot":
		t.value = append(t.value[:0], '"')
		return n, fromHTML
	}
	escaped := string(t.raw[at:end])
	plain := html.UnescapeString(escaped)
	// Longer than its name would break the promise of linear work; one that ends with
	// a semicolon is a name that HTML knows by its beginning only.
	if len(plain) >= n || plain[len(plain)-1] == ';' && escaped != "&semi;" {
		return 0, 0
	}
	t.value = append(t.value[:0], plain...)
	return n, fromHTML
}

// bareName is the length of the longest name that HTML knows without a semicolon.
const bareName = 6

// bare returns the length of the escape of HTML with which the text ends, given the
// byte that comes next and is no semicolon, and puts into value what it stands for.
func (t *text) bare(next byte) int {
	end := len(t.raw)
	at := end - 1
	for at >= 0 && end-at < entityReach && inside[t.raw[at]] != 0 {
		at--
	}
	if at < 0 || t.raw[at] != '&' || end-at < 3 || next == ';' {
		return 0
	}
	name := t.raw[at+1 : end]
	if name[0] == '#' {
		hexadecimal := name[1] == 'x' || name[1] == 'X'
		if _, digit := unhex(next); digit && (hexadecimal || next <= '9') {
			return 0
		}
		r, ok := number(name[1:])
		if !ok {
			return 0
		}
		t.value = utf8.AppendRune(t.value[:0], r)
		return end - at
	}
	if next == '=' || inside[next] != 0 && next != '#' || len(name) > bareName {
		return 0
	}
	plain := html.UnescapeString(string(t.raw[at:end]))
	if r, size := utf8.DecodeRuneInString(plain); size != len(plain) || r == '&' && string(name) != "amp" && string(name) != "AMP" {
		return 0 // it stands for itself, or begins with one
	}
	t.value = append(t.value[:0], plain...)
	return end - at
}

// number reads the number of a rune as HTML writes it.
func number(b []byte) (rune, bool) {
	base := rune(10)
	if len(b) > 1 && (b[0] == 'x' || b[0] == 'X') {
		base, b = 16, b[1:]
	}
	var r rune
	for _, c := range b {
		d, ok := unhex(c)
		if !ok || rune(d) >= base || r > utf8.MaxRune {
			return 0, false
		}
		r = r*base + rune(d)
	}
	return r, len(b) > 0 && r > 0 && utf8.ValidRune(r)
}
