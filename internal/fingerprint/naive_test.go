package fingerprint_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"html"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gatehouse"
)

// This file is a second, slow and obvious idea of what the search finds, for values
// that count alone and are at least eight characters long. It knows the values.

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}$|\\u[0-9A-Fa-f]{4}$|\\x[0-9A-Fa-f]{2}$|\\[ntrbf/"'\\]$|&#?[0-9A-Za-z]{1,32};$`)

// undo undoes all escapes, one after the other, each as soon as it is complete.
func undo(s string) string {
	out := ""
	for i := range len(s) {
		out = undoLast(ended(out, s[i:i+1]) + s[i:i+1])
	}
	return ended(out, " ")
}

// ended undoes the escape of HTML without a semicolon that the next byte ends.
func ended(out, next string) string {
	at := bare.FindStringIndex(out[max(0, len(out)-34):])
	if at == nil || strings.Contains(`;%\`, next) {
		return out
	}
	e := out[max(0, len(out)-34):][at[0]:]
	plain := html.UnescapeString(e + ";")
	one := utf8.RuneCountInString(plain) == 1 && plain != "\ufffd"
	number := e[1] == '#' && !strings.Contains(decimalDigits, next) && !(strings.ContainsAny(e[2:3], "xX") && hexDigit.MatchString(next))
	name := e[1] != '#' && len(e) <= 7 && html.UnescapeString(e) == plain && !wordOrEqual.MatchString(next)
	if one && (number || name) {
		return undoLast(out[:len(out)-len(e)] + plain)
	}
	return out
}

var (
	bare        = regexp.MustCompile(`&#?[0-9A-Za-z]{1,32}$`)
	hexDigit    = regexp.MustCompile(`[0-9A-Fa-f]`)
	wordOrEqual = regexp.MustCompile(`[0-9A-Za-z=]`)
)

const decimalDigits = "0123456789"

// undoLast undoes the escapes with which a text ends.
func undoLast(out string) string {
	for strings.Contains(`0123456789abcdefABCDEFntr/"'\;`, out[len(out)-1:]) {
		tail := out[max(0, len(out)-40):]
		at := escapes.FindStringIndex(tail)
		if at == nil {
			break
		}
		e := tail[at[0]:]
		var plain string
		switch {
		case e[0] == '%':
			n, _ := strconv.ParseUint(e[1:], 16, 8)
			plain = string([]byte{byte(n)})
		case e[0] == '&':
			plain = html.UnescapeString(e)
		case e[1] == 'u', e[1] == 'x':
			n, _ := strconv.ParseUint(e[2:], 16, 16)
			plain = string(rune(n))
		default:
			plain = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'b': "\b", 'f': "\f"}[e[1]]
			if plain == "" {
				plain = e[1:]
			}
		}
		if len(plain) >= len(e) {
			break
		}
		out = ended(out[:len(out)-len(e)], plain[:1]) + plain
	}
	return out
}

var (
	rows64  = regexp.MustCompile(`[0-9A-Za-z+/_-]{11,}`)
	rowsHex = regexp.MustCompile(`[0-9A-Fa-f]{16,}`)
	std     = strings.NewReplacer("-", "+", "_", "/")
)

// unbroken joins lines of base64 that are as long as mail's and keys' are.
func unbroken(s string) string {
	digit := func(i int) bool { return i < len(s) && rowDigit.MatchString(s[i:i+1]) }
	out, line := "", 0
	for i := 0; i < len(s); i++ {
		end := i
		if s[i] == '\r' {
			end++
		}
		if (line == 76 || line == 64) && end < len(s) && s[end] == '\n' && digit(end+1) {
			i, line = end, 0
			continue
		}
		if line++; !digit(i) {
			line = 0
		}
		out += s[i : i+1]
	}
	return out
}

var rowDigit = regexp.MustCompile(`[0-9A-Za-z+/_-]`)

// naive returns the values that stand in a text, in whatever encoding.
func naive(values []owned, text string, depth int) []string {
	text = undo(text)
	var found []string
	for _, v := range values {
		want, have, low := undo(v.text), text, true
		switch v.class {
		case gatehouse.EmailAddress:
			want, have = strings.ToLower(want), strings.ToLower(have)
		case gatehouse.PseudonymousID, gatehouse.PostID:
			low = false
		}
		want = strings.Trim(want, "=")
		for at := 0; ; {
			i := strings.Index(have[at:], want)
			if i < 0 {
				break
			}
			at += i + 1
			before, _ := utf8.DecodeLastRuneInString(have[:at-1])
			behind, _ := utf8.DecodeRuneInString(have[at-1+len(want):])
			if wordRune(before, low) || wordRune(behind, low) {
				continue
			}
			found = append(found, v.text)
			break
		}
	}
	if depth == 0 {
		return found
	}
	for _, row := range rows64.FindAllString(unbroken(text), -1) {
		for phase := range 4 {
			digits := std.Replace(row[phase:])
			if len(digits)%4 == 1 {
				digits = digits[:len(digits)-1]
			}
			if plain, err := base64.RawStdEncoding.DecodeString(digits); err == nil {
				found = append(found, naive(values, string(plain), depth-1)...)
			}
		}
	}
	for _, row := range rowsHex.FindAllString(text, -1) {
		if plain, err := hex.DecodeString(row[:len(row)&^1]); err == nil {
			found = append(found, naive(values, string(plain), depth-1)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// wordRune says whether a rune is part of a word.
func wordRune(r rune, low bool) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) || r == '_' && low
}

// TestAgainstNaive compares what is found with the slow idea of it.
func TestAgainstNaive(t *testing.T) {
	values := []owned{
		{1, gatehouse.PseudonymousID, "1234567890123456789"}, {2, gatehouse.PostID, "998877665544_11223344556677"}, {3, gatehouse.EmailAddress, "Grace.Hopper@navy.example"},
		{4, gatehouse.Credential, "AAAAMLheAAA%2FAAAA0%2BuSeid%3DEUifi"}, {5, gatehouse.Credential, "1357924680|Zx-yW9.v~u+T/s"},
	}
	x := indexOf(t, values...)
	texts := map[string]string{}
	for _, v := range values {
		p, _ := x.Print(fingerprintValue(v))
		texts[fmt.Sprint(p)] = v.text
	}
	found := 0
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 9))
		var b strings.Builder
		for range 1 + r.IntN(4) {
			v := values[r.IntN(len(values))].text
			s := []string{"", "x", "1", `"`, ":", " ", "é", "/", "=", "%"}[r.IntN(10)] + v + []string{"", "x", "1", `"`, ",", " ", "é", "/", "&", ";"}[r.IntN(10)]
			layers := 0
			for range r.IntN(4) {
				e := r.IntN(len(encodings))
				// Two layers are enough for the slow one, and what stands before a row
				// inside another is no promise.
				if e >= 7 {
					if layers++; layers > 2 {
						continue
					}
				}
				if e == 9 {
					layers = 2
				}
				s = encodings[e](r, s)
			}
			b.WriteString([]string{" ", "&a=", `","`, "\n", ": "}[r.IntN(5)] + s)
		}
		var got []string
		for _, h := range search(x, []byte(b.String()), whole) {
			got = append(got, texts[fmt.Sprint(h.Print)])
		}
		slices.Sort(got)
		got = slices.Compact(got)
		want := naive(values, b.String(), 2)
		if !slices.Equal(got, want) {
			t.Errorf("seed %d: found %q, the slow idea %q, in %q", seed, got, want, b.String())
		}
		found += len(got)
	}
	if found < 450 {
		t.Errorf("only %d values were found", found)
	}
}
