package platform

import (
	"fmt"
	"io"
)

// StrictJSON returns a reader of r that fails with ErrSyntax as soon as what it
// read cannot be JSON, before any of that is passed on. A sequence of values, as
// streams send it, is JSON too; an end in the middle is for the reader's user to
// notice.
//
// RewriteReply finds credentials by the names of members. In a form, a script, a
// text in UTF-16 or an object without quotes there are none, so a reply that is
// only called JSON could carry a credential through it.
func StrictJSON(r io.Reader) io.Reader { return &strictReader{r: r} }

type strictReader struct {
	r io.Reader
	g grammar
}

func (s *strictReader) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if !s.g.feed(p[:n]) {
		return 0, fmt.Errorf("reply: %w: it is not JSON", ErrSyntax)
	}
	return n, err
}

// grammarState is what may come next.
type grammarState uint8

const (
	wantValue      grammarState = iota
	wantFirstValue              // or the end of the array
	wantFirstKey                // or the end of the object
	wantKey
	wantColon
	wantComma // or the end of what is open
	inString
	inEscape
	inWord
	inNumber
)

// grammar is JSON's, as a machine that takes bytes. Of strings, escapes and
// numbers it knows only where they end.
type grammar struct {
	state grammarState
	key   bool   // the string is a member's name
	open  []byte // brackets
	word  string // the rest of true, false or null
}

// feed reports whether b may follow what was fed before.
func (g *grammar) feed(b []byte) bool {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch g.state {
		case inString:
			for c != '"' && c != '\\' {
				if i++; i == len(b) {
					return true
				}
				c = b[i]
			}
			switch {
			case c == '\\':
				g.state = inEscape
			case g.key:
				g.state = wantColon
			default:
				g.state = wantComma
			}
			continue
		case inEscape:
			g.state = inString
			continue
		case inWord:
			if c != g.word[0] {
				return false
			}
			if g.word = g.word[1:]; g.word == "" {
				g.state = wantComma
			}
			continue
		case inNumber:
			if c >= '0' && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-' {
				continue
			}
			g.state = wantComma
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' && !g.step(c) {
			return false
		}
	}
	return true
}

// step takes a byte that is no space and stands between values.
func (g *grammar) step(c byte) bool {
	switch g.state {
	case wantColon:
		g.state = wantValue
		return c == ':'
	case wantComma:
		if len(g.open) == 0 {
			return g.value(c) // the next object of a stream
		}
		if c != ',' {
			return g.close(c)
		}
		if g.state = wantValue; g.open[len(g.open)-1] == '{' {
			g.state = wantKey
		}
		return true
	case wantFirstKey, wantKey:
		if c == '}' && g.state == wantFirstKey {
			return g.close(c)
		}
		g.state, g.key = inString, true
		return c == '"'
	case wantFirstValue:
		if c == ']' {
			return g.close(c)
		}
	}
	return g.value(c)
}

// close takes the bracket that ends what is open.
func (g *grammar) close(c byte) bool {
	last := len(g.open) - 1
	if c != g.open[last]+2 { // '{' and '}', '[' and ']' are two apart
		return false
	}
	g.open, g.state = g.open[:last], wantComma
	return true
}

// value takes the first byte of a value.
func (g *grammar) value(c byte) bool {
	switch {
	case c == '"':
		g.state, g.key = inString, false
	case c == '{' || c == '[':
		if len(g.open) > maxReplyDepth {
			return false
		}
		if g.open = append(g.open, c); c == '{' {
			g.state = wantFirstKey
		} else {
			g.state = wantFirstValue
		}
	case c == '-' || c >= '0' && c <= '9':
		g.state = inNumber
	case c == 't':
		g.state, g.word = inWord, "rue"
	case c == 'f':
		g.state, g.word = inWord, "alse"
	case c == 'n':
		g.state, g.word = inWord, "ull"
	default:
		return false
	}
	return true
}
