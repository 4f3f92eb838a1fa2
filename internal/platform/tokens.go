package platform

import "bytes"

// tokenTaker is told what a reply consists of. Positions are those right behind
// what is told, counted in bytes from the beginning.
type tokenTaker interface {
	// begin and end are an object's or array's brackets.
	begin(object bool, at int64)
	end(at int64)
	// next is the comma between members or entries.
	next()
	// wants reports whether the string or number that begins is to be kept. Names
	// of members always are.
	wants() bool
	// name and value get the contents as they are spelled, valid until they return.
	// What is longer than the limit is nil.
	name(raw []byte, at int64)
	value(raw []byte, text bool, at int64)
}

// tokens takes a reply apart that passes by in whatever pieces. It looks for what
// is told and believes the rest: what is not JSON is for others to refuse. Of what
// lies deeper than maxReplyDepth it tells nothing.
type tokens struct {
	to    tokenTaker
	limit int // of what is kept of one string or number

	open   []bool // of each open bracket: is it an object's?
	deep   int    // open brackets beyond maxReplyDepth
	naming bool   // the next string is a member's name
	taken  int64  // bytes before the piece at hand

	state  tokenState
	odd    bool // the string so far ends with an odd number of backslashes
	keep   bool
	split  bool // it began in an earlier piece, and held has what came of it
	excess bool // held would be longer than the limit
	held   []byte
}

type tokenState uint8

const (
	betweenTokens tokenState = iota
	inText
	inDigits
)

// write takes the next bytes of the reply.
func (t *tokens) write(p []byte) {
	for i := 0; i < len(p); {
		switch t.state {
		case betweenTokens:
			c := p[i]
			i++
			switch c {
			case '"':
				t.state, t.odd, t.split, t.excess = inText, false, false, false
				t.keep = t.deep == 0 && (t.naming || t.to.wants())
			case '{', '[':
				t.begin(c == '{', t.taken+int64(i))
			case '}', ']':
				t.end(t.taken + int64(i))
			case ',':
				if t.deep == 0 && len(t.open) > 0 {
					t.naming = t.open[len(t.open)-1]
					t.to.next()
				}
			case ':':
				t.naming = false
			case '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-':
				if t.deep == 0 && !t.naming && t.to.wants() {
					t.state, t.keep, t.split, t.excess = inDigits, true, false, false
					i-- // it is part of the number
				}
			}
		case inText:
			i += t.text(p[i:], t.taken+int64(i))
		case inDigits:
			i += t.digits(p[i:], t.taken+int64(i))
		}
	}
	t.taken += int64(len(p))
}

func (t *tokens) begin(object bool, at int64) {
	if t.deep > 0 || len(t.open) == maxReplyDepth {
		t.deep++
		return
	}
	t.to.begin(object, at)
	t.open = append(t.open, object)
	t.naming = object
}

func (t *tokens) end(at int64) {
	if t.deep > 0 {
		t.deep--
		return
	}
	if len(t.open) == 0 {
		return
	}
	t.to.end(at)
	t.open = t.open[:len(t.open)-1]
	t.naming = false
}

// text takes the next bytes of a string, which stand at position at, and returns
// how many.
func (t *tokens) text(p []byte, at int64) int {
	for from := 0; ; {
		n := bytes.IndexByte(p[from:], '"')
		if n < 0 {
			t.odd = oddBackslashes(p, t.odd)
			t.hold(p)
			return len(p)
		}
		n += from
		if n == 0 && !t.odd || n > 0 && p[n-1] != '\\' || !oddBackslashes(p[:n], t.odd) {
			t.state = betweenTokens
			if !t.keep {
				return n + 1
			}
			raw := t.whole(p[:n])
			if t.naming {
				t.to.name(raw, at+int64(n)+1)
			} else {
				t.to.value(raw, true, at+int64(n)+1)
			}
			return n + 1
		}
		from = n + 1
	}
}

// oddBackslashes reports whether p, behind a text that did so or not, ends with an
// odd number of backslashes.
func oddBackslashes(p []byte, before bool) bool {
	n := len(p)
	for n > 0 && p[n-1] == '\\' {
		n--
	}
	return (len(p)-n)%2 == 1 != (n == 0 && before)
}

// digits takes the next bytes of a number.
func (t *tokens) digits(p []byte, at int64) int {
	n := 0
	for n < len(p) && (p[n] >= '0' && p[n] <= '9' || p[n] == '.' || p[n] == 'e' || p[n] == 'E' || p[n] == '+' || p[n] == '-') {
		n++
	}
	if n == len(p) {
		t.hold(p)
		return n
	}
	t.state = betweenTokens // the byte that ends the number is looked at again
	t.to.value(t.whole(p[:n]), false, at+int64(n))
	return n
}

// hold keeps a part of a string or number that goes on in the next piece.
func (t *tokens) hold(p []byte) {
	if !t.split {
		t.split, t.held = true, t.held[:0]
	}
	switch {
	case !t.keep || t.excess:
	case len(t.held)+len(p) > t.limit:
		t.excess = true
	default:
		t.held = append(t.held, p...)
	}
}

// whole returns a string or number that ends with p, or nil.
func (t *tokens) whole(p []byte) []byte {
	if t.split {
		t.hold(p)
		if t.excess {
			return nil
		}
		return t.held
	}
	if len(p) > t.limit {
		return nil
	}
	return p
}

// begun returns how many of the last bytes are the beginning of a string or number
// that is kept.
func (t *tokens) begun() int {
	n := 0
	if t.split {
		n = len(t.held)
	}
	switch {
	case t.state == inDigits && t.keep && !t.excess:
		return n
	case t.state == inText && t.keep && !t.excess:
		return n + 1 // its quote
	}
	return 0
}
