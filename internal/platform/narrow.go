package platform

import (
	"maps"
	"strings"
)

// Narrowing is the fields that replies are narrowed to. It is immutable.
//
// A path leads from the object that a call is about, on X inside data, on the
// Graph inside data or the reply itself: "id", "public_metrics.like_count". On X
// what is included with it is "includes.users.username". On the Graph an edge's
// page is passed through: "accounts.name" is the name of each account. What is
// declared with nothing below it is declared whole.
//
// What a platform says about the reply and not about people stays: X's meta,
// errors and matching_rules; the Graph's paging and error.
type Narrowing struct {
	plain, keyed, failed *narrowNode
}

// narrowNode is what may stand in an object, or in each object of an array.
type narrowNode struct {
	whole   bool
	members map[string]*narrowNode
	// through is set on the Graph: "data" holds what the object around it would.
	through bool
	// any is what may stand under any other name; nil is nothing.
	any *narrowNode
}

var wholeNode = &narrowNode{whole: true}

// NewNarrowing returns the narrowing to the fields with these paths.
func NewNarrowing(p Name, fields []string) *Narrowing {
	top := &narrowNode{}
	for _, path := range fields {
		top.add(path)
	}
	n := &Narrowing{}
	if p == X {
		n.plain = xEnvelope(top)
		n.keyed = n.plain
		n.failed = &narrowNode{members: n.plain.members, any: wholeNode}
		return n
	}
	top.page()
	n.plain = &narrowNode{members: map[string]*narrowNode{"data": top, "error": wholeNode}}
	maps.Copy(n.plain.members, top.members)
	n.keyed = &narrowNode{members: map[string]*narrowNode{"error": wholeNode}, any: n.plain}
	// An error says nothing beside itself that we could know the shape of.
	n.failed = &narrowNode{members: map[string]*narrowNode{"error": wholeNode}}
	return n
}

func (n *narrowNode) add(path string) {
	for more := true; more; {
		var name string
		name, path, more = strings.Cut(path, ".")
		next := n.members[name]
		if next != nil && next.whole {
			return
		}
		if next == nil {
			next = &narrowNode{}
			if n.members == nil {
				n.members = map[string]*narrowNode{}
			}
			n.members[name] = next
		}
		if !more {
			*next = narrowNode{whole: true}
		}
		n = next
	}
}

// paging is what the Graph puts beside the nodes of a page.
var paging = &narrowNode{members: map[string]*narrowNode{
	"cursors": {members: map[string]*narrowNode{"before": wholeNode, "after": wholeNode}}, "next": wholeNode, "previous": wholeNode,
}}

// page lets every object be a page of the Graph, too.
func (n *narrowNode) page() {
	if n.whole {
		return
	}
	for _, below := range n.members {
		below.page()
	}
	n.through = true
	if n.members == nil {
		n.members = map[string]*narrowNode{}
	}
	if n.members["paging"] == nil {
		n.members["paging"] = paging
	}
}

// xEnvelope puts X's envelope around the objects of a call.
func xEnvelope(top *narrowNode) *narrowNode {
	includes := top.members["includes"]
	if includes == nil {
		includes = &narrowNode{}
	}
	delete(top.members, "includes")
	for _, pair := range [2][2]string{{"tweets", "posts"}, {"posts", "tweets"}} {
		if own, other := includes.members[pair[0]], includes.members[pair[1]]; own != nil && other == nil {
			includes.members[pair[1]] = own // X's document has the one name, its replies the other
		}
	}
	return &narrowNode{members: map[string]*narrowNode{
		"data": top, "includes": includes, "errors": wholeNode, "meta": wholeNode, "matching_rules": wholeNode,
	}}
}

func (n *narrowNode) member(name []byte) *narrowNode {
	if m := n.members[string(name)]; m != nil {
		return m
	}
	if n.through && string(name) == "data" {
		return n
	}
	return n.any
}
