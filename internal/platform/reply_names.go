package platform

import (
	"strings"
)

// The bounds of what [ReplyNames] remembers.
const (
	maxNameNodes = 512 // of a reply's tree of names
	maxNameDepth = 8   // of a path; what lies deeper belongs to the object at that depth
)

// ReplyNames lists the names of the fields in replies, as [NewNarrowing] takes them:
// of the object that a call is about, with the path to each. It keeps names that
// the platform's documents have, and nothing else: a reply's other names may be
// values (ids, cities, users), and are counted. It is an io.Writer that never
// fails; what is not JSON has no names. Memory is bounded, and after the first
// replies of a kind nothing is allocated.
//
// A ReplyNames may be used for one reply after another: see Begin. It is not safe for
// concurrent use.
type ReplyNames struct {
	platform Name
	keyed    bool
	data     *nameNode // of the object itself
	includes *nameNode // X
	nodes    int
	now      uint64 // the reply at hand: what was met in it has this mark
	others   int

	state   namesState
	stack   []nameFrame
	skipped int    // open brackets in what is skipped
	name    []byte // of the member at hand
	long    bool
	// What the value at hand belongs to. through is set where that depends on its
	// kind: "data" on the Graph.
	next    *nameNode
	through *nameNode
	begun   bool // the value at hand is no object and no array
}

// nameNode is one name, at one place.
type nameNode struct {
	path  string // "" at the top
	depth int
	mark  uint64
	// whole is the mark of the last reply in which it held more than names below it
	// say: a text or number, or something unnamed.
	whole uint64
	below map[string]*nameNode
}

type nameFrame struct {
	node   *nameNode
	object bool
	top    bool // the envelope
}

type namesState uint8

const (
	namesValue namesState = iota // a value, or what ends one
	namesKey                     // a member's name, or the end of an object
	namesColon
	namesInName
	namesInNameEscape
	namesInText
	namesInTextEscape
	namesLost // it is no JSON
)

// NewReplyNames returns a ReplyNames for replies of p.
func NewReplyNames(p Name) *ReplyNames {
	n := &ReplyNames{platform: p}
	n.forget()
	return n
}

// forget starts the tree of names anew.
func (n *ReplyNames) forget() {
	n.data, n.includes, n.nodes = &nameNode{}, &nameNode{path: "includes", depth: 1}, 0
}

// Begin says that the next reply comes. keyed is as in [Reply].
func (n *ReplyNames) Begin(keyed bool) {
	n.keyed, n.now, n.others = keyed, n.now+1, 0
	n.state, n.stack, n.skipped = namesValue, n.stack[:0], 0
	n.next, n.through, n.begun = nil, nil, false
	if n.nodes > maxNameNodes/2 {
		n.forget()
	}
}

// Others returns how many names of the reply were not kept.
func (n *ReplyNames) Others() int { return n.others }

// Each calls f with the path of each field of the reply that nothing lies below,
// in no order. One that is also a text, or below which something has no name of the
// documents', is given itself. empty is set when there was nothing in it: null, or
// an object or array without an entry.
func (n *ReplyNames) Each(f func(path string, empty bool)) {
	for _, top := range []*nameNode{n.data, n.includes} {
		for _, c := range top.below {
			n.each(c, f)
		}
	}
}

func (n *ReplyNames) each(at *nameNode, f func(path string, empty bool)) {
	if at.mark != n.now {
		return
	}
	leaf := true
	if at.whole != n.now {
		for _, c := range at.below {
			if c.mark == n.now {
				leaf = false
				n.each(c, f)
			}
		}
	}
	if leaf {
		f(at.path, at.whole != n.now)
	}
}

// Write reads on in the reply.
func (n *ReplyNames) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch n.state {
		case namesInText, namesInName:
			k := plainText(b[i:])
			if n.state == namesInName {
				n.hold(b[i : i+k])
			}
			if i += k; i == len(b) {
				return len(b), nil
			}
			switch c = b[i]; {
			case c == '\\' && n.state == namesInText:
				n.state = namesInTextEscape
			case c == '\\':
				n.long, n.state = true, namesInNameEscape // no document has such a name
			case c != '"':
				n.state = namesLost
			case n.state == namesInText:
				n.state = namesValue
			default:
				n.state = namesColon
				n.named()
			}
		case namesInTextEscape:
			n.state = namesInText
		case namesInNameEscape:
			n.state = namesInName
		case namesLost:
			return len(b), nil
		default:
			n.mark(c)
		}
	}
	return len(b), nil
}

// mark takes a byte that stands between texts.
func (n *ReplyNames) mark(c byte) {
	switch c {
	case '"':
		if n.state == namesKey && n.skipped == 0 {
			n.state, n.name, n.long = namesInName, n.name[:0], false
			return
		}
		n.begin(c)
		n.state = namesInText
	case ':':
		if n.state == namesColon {
			n.state = namesValue
		}
	case ',':
		if n.skipped == 0 {
			n.separate()
		}
	case '{', '[':
		n.open(c)
	case '}', ']':
		n.close()
	case ' ', '\n', '\r', '\t':
	default:
		n.begin(c)
	}
}

// separate stands between two members, or two entries.
func (n *ReplyNames) separate() {
	n.next, n.through, n.begun = nil, nil, false
	if len(n.stack) > 0 && n.stack[len(n.stack)-1].object {
		n.state = namesKey
	}
}

// begin takes a byte of a value that is no object and no array.
func (n *ReplyNames) begin(c byte) {
	if n.begun || n.skipped > 0 || len(n.stack) == 0 {
		return
	}
	n.begun = true
	at := n.next
	if f := n.stack[len(n.stack)-1]; !f.object {
		at = f.node
	} else if n.through != nil {
		at = n.child(n.through, []byte("data")) // a text called data
	}
	if at != nil && c != 'n' { // null says nothing of what it might be
		at.whole = n.now
	}
}

func (n *ReplyNames) open(c byte) {
	if n.skipped > 0 {
		n.skipped++
		return
	}
	f := nameFrame{object: c == '{'}
	switch {
	case len(n.stack) == 0:
		f.top = true
		f.node = n.data
	case n.through != nil:
		f.node = n.through
	default:
		last := n.stack[len(n.stack)-1]
		if f.node = n.next; !last.object {
			f.node, f.top = last.node, last.top && n.platform != X && !n.keyed
		}
	}
	n.next, n.through, n.begun = nil, nil, false
	if f.node == nil || len(n.stack) >= maxReplyDepth {
		n.skipped, n.state = 1, namesValue
		return
	}
	n.stack = append(n.stack, f)
	if n.state = namesValue; f.object {
		n.state = namesKey
	}
}

func (n *ReplyNames) close() {
	n.state = namesValue
	switch {
	case n.skipped > 0:
		n.skipped--
	case len(n.stack) > 0:
		n.stack = n.stack[:len(n.stack)-1]
	default:
		n.state = namesLost
	}
}

func (n *ReplyNames) hold(b []byte) {
	if len(n.name)+len(b) > maxReplyMember {
		n.long = true
	}
	if !n.long {
		n.name = append(n.name, b...)
	}
}

// named finds the place of the member whose name was read.
func (n *ReplyNames) named() {
	f := n.stack[len(n.stack)-1]
	n.next, n.through, n.begun = nil, nil, false
	if f.top && n.envelope() {
		return
	}
	if n.platform != X && !n.long {
		switch string(n.name) {
		case "paging":
			return
		case "data":
			n.through = f.node
			return
		}
	}
	n.next = n.child(f.node, n.name)
}

// envelope finds the place of a member of the reply itself, if it is none of the
// object's.
func (n *ReplyNames) envelope() bool {
	switch {
	case n.platform != X && string(n.name) == "error":
	case n.platform != X && n.keyed:
		n.next = n.data // the name is an id
	case n.platform != X:
		return false
	case string(n.name) == "data":
		n.next = n.data
	case string(n.name) == "includes":
		n.next = n.includes
	case string(n.name) == "meta", string(n.name) == "errors", string(n.name) == "matching_rules":
	default:
		n.others++
	}
	return true
}

// child finds a name below at, and marks it. What the documents do not have
// belongs to the object around it.
func (n *ReplyNames) child(at *nameNode, name []byte) *nameNode {
	c := at.below[string(name)]
	if c == nil {
		if n.long || at.depth >= maxNameDepth || n.nodes >= maxNameNodes || !fieldNames[n.platform][string(name)] {
			if at.path == "" || at == n.includes {
				n.others++
			} else if parent, kind, _ := strings.Cut(at.path, "."); parent == "includes" && n.platform == X && !strings.Contains(kind, ".") {
				n.others++ // at the top of an object that is included
			} else {
				at.whole = n.now
			}
			return nil
		}
		c = &nameNode{path: string(name), depth: at.depth + 1}
		if at.path != "" {
			c.path = at.path + "." + c.path
		}
		if at.below == nil {
			at.below = map[string]*nameNode{}
		}
		at.below[string(name)] = c
		n.nodes++
	}
	c.mark = n.now
	return c
}
