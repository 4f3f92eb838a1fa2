package export

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"

	"gatehouse/internal/audit"
)

// An Entry is what a sink gets of one entry of a log: the leaf, which names nobody,
// and where it stands in which tree, so that it can be checked against the log later.
type Entry struct {
	// Origin is the log's name, and Index the entry's place in it, from 0.
	Origin string
	Index  int64
	// Raw is the leaf as the tree holds it: canonical JSON.
	Raw []byte
	// Leaf is Raw decoded; nil if what is stored is no leaf, which means that it was
	// changed. Of such an entry nothing but its place and its hash is sent.
	Leaf *audit.Leaf
	// Hash is the RFC 6962 hash of Raw, in hexadecimal digits.
	Hash string
}

// NewEntry returns the entry of a stored leaf.
func NewEntry(origin string, index int64, raw []byte) Entry {
	hash := audit.LeafHash(raw)
	e := Entry{Origin: origin, Index: index, Raw: raw, Hash: hex.EncodeToString(hash[:])}
	if leaf, err := audit.DecodeLeaf(raw); err == nil {
		e.Leaf = leaf
	}
	return e
}

// AppendLine appends the entry as one line of canonical JSON (RFC 8785), with its end:
//
//	{"index":7,"leaf":{…},"leaf_hash":"…","origin":"…"}
//
// In the place of a leaf that was changed stands "damaged":true.
func (e *Entry) AppendLine(b []byte) []byte { return append(e.appendJSON(b, true), '\n') }

// appendJSON is the line without its end. Without its leaf, for a sink with short
// messages, "leaf_bytes" says how long that is.
func (e *Entry) appendJSON(b []byte, leaf bool) []byte {
	b = append(b, '{')
	if e.Leaf == nil {
		b = append(b, `"damaged":true,`...)
	}
	b = strconv.AppendInt(append(b, `"index":`...), e.Index, 10)
	switch {
	case e.Leaf == nil:
	case leaf:
		b = append(append(b, `,"leaf":`...), e.Raw...)
	default:
		b = strconv.AppendInt(append(b, `,"leaf_bytes":`...), int64(len(e.Raw)), 10)
	}
	b = append(append(append(b, `,"leaf_hash":"`...), e.Hash...), `","origin":`...)
	return append(append(b, quoted(e.Origin)...), '}')
}

// quoted is a text as JSON. An origin is a log's name: there is nothing in it that
// encoding/json and RFC 8785 write differently, once HTML is left alone.
func quoted(s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(s) != nil {
		return []byte(`""`) // a string always encodes
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'})
}

// When returns the entry's time in microseconds since 1970, 0 if it is damaged.
func (e *Entry) when() int64 {
	if e.Leaf == nil {
		return 0
	}
	return e.Leaf.Time
}

// action is the entry's action; a damaged one has a name of its own, which no entry
// has.
func (e *Entry) action() string {
	if e.Leaf == nil {
		return damaged
	}
	return e.Leaf.Action
}

// damaged is what a sink sees in the place of an action whose leaf was changed.
const damaged = "log.damaged"
