package atrest

import (
	"bytes"
	"encoding/base64"
)

// Tokens are recognised in runs of the characters that they are made of: letters,
// digits, - and _. A run of grain bytes or more holds a position that is a
// multiple of grain, so only those are looked at.
const (
	grain  = 16
	maxRun = maxForm - 1
)

// inToken says which bytes are token characters, and upper, lower and digit which
// kind they are of.
var inToken = func() (class [256]byte) {
	for c := range 256 {
		switch {
		case 'a' <= c && c <= 'z':
			class[c] = lower
		case 'A' <= c && c <= 'Z':
			class[c] = upper
		case '0' <= c && c <= '9':
			class[c] = digit
		case c == '-' || c == '_':
			class[c] = joint
		}
	}
	return class
}()

const (
	lower = 1 << iota
	upper
	digit
	joint
)

// shapes looks at the runs and private keys that are seen first in buf from from
// to before to.
func (s *Scanner) shapes(from, to int) {
	s.pem(from, to)
	buf := s.buf
	for i := from; i < to; i += grain {
		if inToken[buf[i]] == 0 || s.base+int64(i) < s.runs {
			continue
		}
		left, right := i, i
		for first := max(0, i-maxRun); left > first && inToken[buf[left-1]] != 0; {
			left--
		}
		for last := min(len(buf), i+maxRun); right < last && inToken[buf[right]] != 0; {
			right++
		}
		s.runs = s.base + int64(right)
		if i-left == maxRun || right-i == maxRun {
			continue // no token is that long
		}
		s.run(left, right)
	}
}

// shortest is the length of the shortest token that has a shape.
const shortest = 32

// run reports the tokens in a run.
func (s *Scanner) run(left, right int) {
	run := s.buf[left:right]
	if len(run) < shortest {
		return
	}
	report := func(what What, from, to int) {
		s.found(Match{What: what, Form: "plain", Offset: s.base + int64(left+from), Hash: hashOf(run[from:to])})
	}
	if at := ourForm(run); at >= 0 {
		report(ShapeGatehouse, at, at+ourLength)
		return
	}
	if at := oauth2(run); at >= 0 {
		report(ShapeX, at, len(run))
		return
	}
	if at := oauth1(run); at >= 0 {
		report(ShapeXOAuth1, at, len(run))
		return
	}
	for from := 0; from < len(run); {
		to := from
		for to < len(run) && inToken[run[to]] != joint {
			to++
		}
		switch word := run[from:to]; {
		case metaWord(word) && !s.inBase64(left+from, left+to):
			report(ShapeMeta, from, to)
		case bearer(word, s.buf[right:]) && to == len(run):
			report(ShapeXBearer, from, to)
		}
		from = to + 1
	}
}

// ours: "gth_hnd_" or "gth_svc_", 22 characters of base62, "_", 49 of base62.
const ourLength = 8 + 22 + 1 + 49

var ourPrefixes = [][]byte{[]byte("gth_hnd_"), []byte("gth_svc_")}

func ourForm(run []byte) int {
	for _, prefix := range ourPrefixes {
		for at := 0; ; at++ {
			next := bytes.Index(run[at:], prefix)
			if next < 0 {
				break
			}
			at += next
			if len(run)-at >= ourLength && only(run[at+8:at+30], lower|upper|digit) && run[at+30] == '_' &&
				only(run[at+31:at+ourLength], lower|upper|digit) {
				return at
			}
		}
	}
	return -1
}

// oauth2 recognises X's access and refresh tokens and authorization codes: as its
// documentation's samples decode, base64url of text that ends with the time in
// milliseconds and ":1:1:at:1" (or rt, ac).
func oauth2(run []byte) int {
	const least = 60
	if len(run) < least || len(run) > 300 {
		return -1
	}
	decoded := make([]byte, 3*len(run)/4+3)
	for at := range 4 {
		n, err := base64.RawURLEncoding.Decode(decoded, run[at:])
		if err == nil && xText(decoded[:n]) {
			return at
		}
	}
	return -1
}

// xText reports whether b ends with ":<13 digits>:<digit>:<digit>:at:1".
func xText(b []byte) bool {
	const tail = len(":1700000000000:1:1:at:1")
	if len(b) < tail+20 {
		return false
	}
	for i, c := range b[len(b)-tail:] {
		switch {
		case i == 0 || i == 14 || i == 16 || i == 18 || i == 21:
			if c != ':' {
				return false
			}
		case i == 19 || i == 20: // the kind, below
		case inToken[c] != digit:
			return false
		}
	}
	switch string(b[len(b)-4 : len(b)-2]) {
	case "at", "rt", "ac":
		return true
	}
	return false
}

// oauth1 recognises "<user id>-<40 letters and digits>" at the end of a run. Ids of less
// than five digits are those of X's first accounts, and a digit or two with a hyphen are
// how one of ten thousand hashes of 32 bytes begins in base64url.
func oauth1(run []byte) int {
	const secretPart, leastDigits = 40, 5
	hyphen := len(run) - secretPart - 1
	if hyphen < 1 || run[hyphen] != '-' || !mixed(run[hyphen+1:]) {
		return -1
	}
	at := hyphen
	for at > 0 && inToken[run[at-1]] == digit {
		at--
	}
	if digits := hyphen - at; digits < leastDigits || digits > 20 || at > 0 && inToken[run[at-1]] != joint {
		return -1
	}
	return at
}

// metaPrefixes are those of Facebook's, Instagram's and Threads' tokens, as far as
// they are known.
var metaPrefixes = [][]byte{[]byte("EAA"), []byte("IGAA"), []byte("IGQ"), []byte("THAA"), []byte("THQ")}

// metaWord recognises a token of Meta's by its prefix, its length and its mixture
// of letters and digits.
func metaWord(word []byte) bool {
	const least = 50
	if len(word) < least {
		return false
	}
	for _, prefix := range metaPrefixes {
		if bytes.HasPrefix(word, prefix) {
			return mixed(word) && different(word) >= 20
		}
	}
	return false
}

// inBase64 reports whether a word of buf is a piece of base64: its neighbour is one
// of the digits that a token does not have, or it fills a line of the usual length.
func (s *Scanner) inBase64(from, to int) bool {
	before, after := byte(0), byte(0)
	if from > 0 {
		before = s.buf[from-1]
	}
	if to < len(s.buf) {
		after = s.buf[to]
	}
	line := (before == '\n' || before == 0) && (after == '\n' || after == '\r') && (to-from == 64 || to-from == 76)
	return line || before == '+' || after == '+' || after == '/'
}

// bearer recognises an X app-only bearer: at least twenty times A, then others;
// after that come percent escapes or many more characters.
func bearer(word, after []byte) bool {
	const zeros = 20
	if len(word) < shortest || inToken[word[zeros]] == 0 {
		return false
	}
	for _, c := range word[:zeros] {
		if c != 'A' {
			return false
		}
	}
	escaped := len(after) > 0 && after[0] == '%'
	return (escaped || len(word) > 80) && mixed(word) && different(word) >= 10
}

// mixed reports whether b is letters of both cases and digits, and nothing else.
func mixed(b []byte) bool {
	var classes byte
	for _, c := range b {
		classes |= inToken[c]
	}
	return classes == lower|upper|digit
}

// only reports whether every byte of b is of one of these classes.
func only(b []byte, classes byte) bool {
	for _, c := range b {
		if inToken[c]&classes == 0 {
			return false
		}
	}
	return true
}

func different(b []byte) int {
	var seen [256]bool
	n := 0
	for _, c := range b {
		if !seen[c] {
			seen[c] = true
			n++
		}
	}
	return n
}

var pemAnchor = []byte("PRIVATE KEY-----")

// pem reports private keys: the words alone stand in many programs, so the key
// has to follow.
func (s *Scanner) pem(from, to int) {
	region := s.buf[:min(to+len(pemAnchor)-1, len(s.buf))]
	for at := from; ; at++ {
		next := bytes.Index(region[at:], pemAnchor)
		if next < 0 {
			return
		}
		at += next
		begin := max(0, at-30)
		dashes := bytes.LastIndex(s.buf[begin:at], []byte("-----BEGIN "))
		body := at + len(pemAnchor)
		for body < len(s.buf) && bytes.IndexByte([]byte("\r\n\\rn \t"), s.buf[body]) >= 0 {
			body++
		}
		const least = 32
		end := body
		for end < len(s.buf) && end < body+least && (inToken[s.buf[end]] != 0 || s.buf[end] == '+' || s.buf[end] == '/' || s.buf[end] == ':') {
			end++
		}
		sealed := bytes.Contains(s.buf[begin:at], []byte("ENCRYPTED "))
		if dashes >= 0 && !sealed && end-body == least {
			s.found(Match{What: ShapePEM, Form: "plain", Offset: s.base + int64(begin+dashes), Hash: hashOf(s.buf[body:end])})
		}
	}
}
