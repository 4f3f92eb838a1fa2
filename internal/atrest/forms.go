package atrest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// form is one way in which programs write a secret.
type form struct {
	name  string
	bytes []byte
}

// forms returns the distinct ways to write a secret, each cut to maxForm bytes.
// One that is the same as an earlier one is left out.
func forms(value []byte) []form {
	var all []form
	seen := map[string]bool{}
	add := func(name string, b []byte) {
		b = b[:min(len(b), maxForm)]
		if len(b) < window+stride-1 || seen[string(b)] {
			return
		}
		seen[string(b)] = true
		all = append(all, form{name, b})
	}
	add("plain", value)
	for alignment := range 3 {
		add("base64", inner64(base64.RawStdEncoding, value, alignment))
		add("base64url", inner64(base64.RawURLEncoding, value, alignment))
	}
	lower := []byte(hex.EncodeToString(value))
	add("hex", lower)
	add("hex", []byte(strings.ToUpper(string(lower))))
	text := string(value)
	for _, escaped := range []string{url.QueryEscape(text), url.PathEscape(text)} {
		add("percent-encoded", []byte(escaped))
		add("percent-encoded", lowerEscapes(escaped))
	}
	// Two percent-encodings, one in the other, as in a redirect's address.
	add("percent-encoded", []byte(url.QueryEscape(url.QueryEscape(text))))
	if utf8.Valid(value) {
		for _, escaped := range jsonForms(text) {
			add("JSON", escaped)
		}
		add("UTF-16", utf16Form(text))
	}
	return all
}

// inner64 returns the digits of base64 that are the same whatever stands before
// and behind the value, when it begins at this alignment of an encoded text.
func inner64(encoding *base64.Encoding, value []byte, alignment int) []byte {
	padded := append(make([]byte, alignment), value...)
	encoded := encoding.AppendEncode(nil, padded)
	return encoded[(8*alignment+5)/6 : 8*len(padded)/6]
}

// lowerEscapes writes the digits of percent escapes in lower case.
func lowerEscapes(escaped string) []byte {
	b := []byte(escaped)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], strings.ToLower(string(b[i+1:i+3])))
			i += 2
		}
	}
	return b
}

// jsonForms returns the inside of JSON strings: as most encoders write it, as
// those do that escape what HTML would read, and with escaped slashes (PHP).
func jsonForms(text string) [][]byte {
	html, err := json.Marshal(text)
	if err != nil {
		return nil
	}
	var plain strings.Builder
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		return nil
	}
	inside := strings.TrimSuffix(plain.String(), "\n")
	inside = inside[1 : len(inside)-1]
	return [][]byte{[]byte(inside), html[1 : len(html)-1], []byte(strings.ReplaceAll(inside, "/", `\/`))}
}

// utf16Form returns UTF-16 without the last byte, so that the other byte order
// holds it as well (a zero byte earlier) as long as the text is ASCII.
func utf16Form(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	if len(b) == 0 {
		return nil
	}
	return b[:len(b)-1]
}
