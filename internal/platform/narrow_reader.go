package platform

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

// Reply says what kind of reply is narrowed.
type Reply struct {
	// Keyed is set when the call named its nodes in ids=: each stands under its id.
	Keyed bool
	// Failed is set when the status is an error's.
	Failed bool
}

// Reader returns a reader of r, a reply in JSON, that passes on only what is
// declared, in the order and spelling of the reply. Between declared members no
// space is kept. A value of another kind than the declared fields need, such as a
// text where fields of an object are declared, is left out of objects and null in
// arrays.
//
// Like [StrictJSON] it fails with ErrSyntax as soon as what it read cannot be
// JSON, and with io.ErrUnexpectedEOF where the reply ends in the middle; a
// sequence of values, as streams send it, is JSON too. Memory does not depend on
// the reply's size.
func (n *Narrowing) Reader(r io.Reader, reply Reply) io.Reader {
	root := n.plain
	switch {
	case reply.Failed:
		root = n.failed
	case reply.Keyed:
		root = n.keyed
	}
	return &narrower{r: r, root: root}
}

// narrowMode is what happens to the value at hand.
type narrowMode uint8

const (
	narrowing narrowMode = iota
	copying              // until the value that began at depth base has ended
	skipping             // likewise
)

// narrowFrame is an open object or array that is being narrowed.
type narrowFrame struct {
	node  *narrowNode
	wrote bool // a member or an entry
}

// narrower is the grammar of JSON as a machine that takes bytes and gives those
// of what is declared.
type narrower struct {
	r    io.Reader
	in   *[replyChunk]byte
	out  []byte
	sent int   // of out
	err  error // what Read returns when out is sent

	root   *narrowNode
	mode   narrowMode
	base   int
	frames []narrowFrame

	state  grammarState
	open   []byte // brackets
	naming bool   // the string is a member's name
	word   string // the rest of true, false or null
	digits numberState
	hex    int // digits of \uXXXX that are still to come
	begun  bool
	name   []byte // of the member at hand, as it is written
	long   bool   // the name is longer than any that could be declared
	next   *narrowNode
}

func (n *narrower) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for n.sent == len(n.out) {
		if n.err != nil {
			return 0, n.err
		}
		n.fill()
	}
	k := copy(p, n.out[n.sent:])
	n.sent += k
	return k, nil
}

// narrowBuffers hold what is read at once: a stream has a reader for each line.
var narrowBuffers = sync.Pool{New: func() any { return new([replyChunk]byte) }}

func (n *narrower) fill() {
	if n.in == nil {
		n.in = narrowBuffers.Get().(*[replyChunk]byte)
	}
	defer func() {
		if n.err != nil { // nothing is read any more
			narrowBuffers.Put(n.in)
			n.in = nil
		}
	}()
	n.out, n.sent = n.out[:0], 0
	k, err := n.r.Read(n.in[:])
	if ferr := n.feed(n.in[:k]); ferr != nil {
		n.out, n.err = n.out[:0], ferr
		return
	}
	if errors.Is(err, io.EOF) && !n.complete() {
		err = fmt.Errorf("reply ends in the middle: %w", io.ErrUnexpectedEOF)
	}
	n.err = err
}

// complete reports whether the reply may end here.
func (n *narrower) complete() bool {
	if len(n.open) > 0 {
		return false
	}
	switch n.state {
	case wantValue:
		return !n.begun
	case inNumber:
		return n.digits.ends()
	}
	return n.state == wantComma
}

var errNotJSON = fmt.Errorf("reply: %w: it is not JSON", ErrSyntax)

func (n *narrower) feed(b []byte) error {
	from := 0 // copying: what is not written yet
	for i := 0; i < len(b); {
		c := b[i]
		switch n.state {
		case inString:
			start := i
			i += plainText(b[i:])
			if n.naming {
				n.hold(b[start:i])
			}
			if i == len(b) {
				continue
			}
			switch c = b[i]; {
			case c == '\\':
				n.state = inEscape
				if n.naming {
					n.hold(b[i : i+1])
				}
			case c != '"':
				return errNotJSON
			case n.naming:
				n.state = wantColon
				n.look()
			default:
				n.state = wantComma
				from = n.ended(b, from, i+1)
			}
			i++
			continue
		case inEscape:
			if n.naming {
				n.hold(b[i : i+1])
			}
			if !n.escape(c) {
				return errNotJSON
			}
			i++
			continue
		case inWord:
			if c != n.word[0] {
				return errNotJSON
			}
			i++
			if n.word = n.word[1:]; n.word == "" {
				n.state = wantComma
				from = n.ended(b, from, i)
			}
			continue
		case inNumber:
			if n.digits.take(c) {
				for i++; i < len(b) && b[i] >= '0' && b[i] <= '9' && n.digits.more(); i++ {
				}
				continue
			}
			if !n.digits.ends() {
				return errNotJSON
			}
			n.state = wantComma
			from = n.ended(b, from, i)
		}
		// The two that are most common, where nothing is to be decided.
		switch {
		case c == ':' && n.state == wantColon:
			n.state = wantValue
			i++
			continue
		case c == ',' && n.state == wantComma && len(n.open) > 0:
			if n.state = wantValue; n.open[len(n.open)-1] == '{' {
				n.state = wantKey
			}
			i++
			continue
		case c == '"' && n.mode != narrowing && n.state <= wantKey:
			n.state, n.naming = inString, n.state >= wantFirstKey
			i++
			continue
		}
		if c == ' ' || c == '\n' || c == '\r' || c == '\t' {
			if len(n.open) == 0 && n.mode == narrowing {
				n.out = append(n.out, c) // between the objects of a stream
			}
			i++
			continue
		}
		var err error
		if from, err = n.step(b, from, i); err != nil {
			return err
		}
		i++
	}
	if n.mode == copying {
		n.out = append(n.out, b[from:]...)
	}
	return nil
}

// ended is called when a value has ended before b[i]. It returns where what is to
// be copied begins.
func (n *narrower) ended(b []byte, from, i int) int {
	if n.mode != narrowing && len(n.open) == n.base {
		if n.mode == copying {
			n.out = append(n.out, b[from:i]...)
		}
		n.mode = narrowing
	}
	return from
}

// escape takes the bytes after a backslash.
func (n *narrower) escape(c byte) bool {
	if n.hex > 0 {
		if unhex(c) < 0 {
			return false
		}
		if n.hex--; n.hex == 0 {
			n.state = inString
		}
		return true
	}
	switch c {
	case 'u':
		n.hex = 4
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		n.state = inString
	default:
		return false
	}
	return true
}

// hold keeps the spelling of a name until it is known whether it stays.
func (n *narrower) hold(b []byte) {
	if n.mode != narrowing || n.long {
		return
	}
	if len(n.name)+len(b) > maxReplyMember {
		n.long = true
		return
	}
	n.name = append(n.name, b...)
}

// look finds what is declared under the name that was read.
func (n *narrower) look() {
	if n.mode != narrowing {
		return
	}
	n.next = nil
	if !n.long {
		name, _ := unescape(n.name, false)
		n.next = n.frames[len(n.frames)-1].node.member(name)
	}
}

// step takes a byte that is no space and stands between values.
func (n *narrower) step(b []byte, from, i int) (int, error) {
	c := b[i]
	switch n.state {
	case wantColon:
		n.state = wantValue
		if c != ':' {
			return from, errNotJSON
		}
		return from, nil
	case wantComma:
		if len(n.open) == 0 {
			return n.value(b, from, i) // the next object of a stream
		}
		if c != ',' {
			return n.close(b, from, i)
		}
		if n.state = wantValue; n.open[len(n.open)-1] == '{' {
			n.state = wantKey
		}
		return from, nil
	case wantFirstKey, wantKey:
		if c == '}' && n.state == wantFirstKey {
			return n.close(b, from, i)
		}
		if c != '"' {
			return from, errNotJSON
		}
		n.state, n.naming, n.name, n.long = inString, true, n.name[:0], false
		return from, nil
	case wantFirstValue:
		if c == ']' {
			return n.close(b, from, i)
		}
	}
	return n.value(b, from, i)
}

// close takes the bracket that ends what is open.
func (n *narrower) close(b []byte, from, i int) (int, error) {
	last, c := len(n.open)-1, b[i]
	if c != n.open[last]+2 { // '{' and '}', '[' and ']' are two apart
		return from, errNotJSON
	}
	n.open, n.state = n.open[:last], wantComma
	if n.mode == narrowing {
		n.out = append(n.out, c)
		n.frames = n.frames[:len(n.frames)-1]
		return from, nil
	}
	return n.ended(b, from, i+1), nil
}

// value takes the first byte of a value and decides what becomes of it.
func (n *narrower) value(b []byte, from, i int) (int, error) {
	c := b[i]
	if n.mode == narrowing {
		n.choose(c)
		if n.mode == copying {
			from = i
		}
	}
	n.begun = true
	switch {
	case c == '"':
		n.state, n.naming = inString, false
	case c == '{' || c == '[':
		if len(n.open) >= maxReplyDepth {
			return from, fmt.Errorf("reply: %w: nested too deep", ErrTooLarge)
		}
		if n.open = append(n.open, c); c == '{' {
			n.state = wantFirstKey
		} else {
			n.state = wantFirstValue
		}
	case c == '-' || c >= '0' && c <= '9':
		n.state, n.digits = inNumber, numberStart
		n.digits.take(c)
	case c == 't':
		n.state, n.word = inWord, "rue"
	case c == 'f':
		n.state, n.word = inWord, "alse"
	case c == 'n':
		n.state, n.word = inWord, "ull"
	default:
		return from, errNotJSON
	}
	return from, nil
}

// choose decides about the value that begins with c, and writes what stands
// before it.
func (n *narrower) choose(c byte) {
	n.base = len(n.open)
	node, array := n.root, true
	if len(n.frames) > 0 {
		f := &n.frames[len(n.frames)-1]
		if array = n.open[len(n.open)-1] == '['; array {
			node = f.node
		} else {
			node = n.next
		}
	}
	container := c == '{' || c == '['
	switch {
	case node == nil, !node.whole && !container && !array:
		n.mode = skipping
		return
	case node.whole, len(n.frames) == 0 && (c == 't' || c == 'f' || c == 'n'):
		n.mode = copying
	}
	if len(n.frames) > 0 {
		f := &n.frames[len(n.frames)-1]
		if f.wrote {
			n.out = append(n.out, ',')
		}
		f.wrote = true
		if !array {
			n.out = append(n.out, '"')
			n.out = append(n.out, n.name...)
			n.out = append(n.out, '"', ':')
		}
	}
	switch {
	case n.mode == copying:
	case container:
		n.out = append(n.out, c)
		n.frames = append(n.frames, narrowFrame{node: node})
	default:
		n.out = append(n.out, "null"...)
		n.mode = skipping
	}
}
