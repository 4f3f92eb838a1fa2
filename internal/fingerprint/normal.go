package fingerprint

import (
	"bytes"
	"slices"
	"strings"

	"gatehouse"
)

// Bounds of what has a fingerprint.
const (
	minDigits  = 5 // of an id that is a number
	minExact   = 8 // of other ids, and of secrets
	minWord    = 3 // bytes of a name or username of one word
	minPhone   = 7
	maxPhone   = 15
	maxValue   = 4096 // bytes of any value
	minTailed  = 4    // letters of a name in Thai, Lao, Khmer, Burmese
	minSigns   = 2    // signs of a name in Chinese, Japanese, Korean
	maxGap     = 8    // bytes between two words of a value
	maxNameGap = 12   // bytes between two words of a name
)

// Print returns the fingerprint of a value; false if the value is too short, too
// long or too common to mean anything, or of a kind that is not known. The bounds,
// and what is brought to the same form, stand in docs/lineage-matching.md.
//
// The kind of data is no part of it: a number is found whatever it is the number of,
// and the index says what it may be.
func (x *Index) Print(v Value) (Print, bool) {
	m, ok := x.mark(v)
	if !ok {
		return Print{}, false
	}
	return x.keys.print(m), true
}

func (x *Index) mark(v Value) (mark, bool) {
	if len(v.Text) > 2*maxValue {
		return 0, false
	}
	// All escapes are undone in what is searched, so they are undone here.
	n := normal{keys: x.keys, reader: reader{kinds: basic()}}
	n.reset(0)
	n.put([]byte(v.Text))
	n.finish()
	switch v.Class {
	case gatehouse.PersonName:
		return n.name()
	case gatehouse.Username:
		return n.exact(true, minWord, minWord, &exactShape)
	case gatehouse.EmailAddress:
		return n.email()
	case gatehouse.PhoneNumber:
		return n.phone()
	case gatehouse.ProfileLink:
		return n.profile()
	case gatehouse.PseudonymousID, gatehouse.PostID, gatehouse.MessageID:
		return n.exact(false, minDigits, minExact, &exactShape)
	case gatehouse.Credential:
		return n.exact(false, minExact, minExact, &exactShape)
	}
	return 0, false
}

// normal brings one value to its normal form.
type normal struct {
	reader
	keys *keys
}

// cutAll cuts the text into words, and gives each its fast hash.
func (n *normal) cutAll() {
	var m masks
	for n.read < len(n.raw) {
		size := n.piece(len(n.raw), &m, true)
		n.cutWords(size, &m)
		n.read += size
	}
	n.close(len(n.raw))
	var b []byte
	for i := range n.words {
		b = n.appendWord(b[:0], &n.words[i])
		n.words[i].fast = n.keys.quickOf(b)
	}
}

func (n *normal) name() (mark, bool) {
	n.cutAll()
	letters := slices.ContainsFunc(n.words, func(w word) bool { return w.traits&notDigit != 0 })
	if !letters || len(n.words) > maxNameWords || len(n.words) == 0 {
		return 0, false
	}
	for i := range n.words[1:] {
		gap := n.raw[n.words[i].end:n.words[i+1].start]
		if len(gap) > maxNameGap || slices.ContainsFunc(gap, func(c byte) bool { return follow[c]&namesOnly == 0 }) {
			return 0, false
		}
	}
	text := n.appendName(nil, n.words)
	if len(n.words) == 1 {
		return n.one(text)
	}
	return n.several(text, nameShape[len(n.words)])
}

// one returns the mark of a value of one word.
func (n *normal) one(text []byte) (mark, bool) {
	if len(text) < minWord || len(text) > maxValue || n.words[0].traits&(isSign|isTailed) != 0 {
		return 0, false
	}
	return n.keys.oneOf(text, n.words[0].fast), true
}

// several returns the mark of a value of several words.
func (n *normal) several(text []byte, shape uint8) (mark, bool) {
	first, ok := n.first(n.words, n.keys)
	if !ok || len(text) > maxValue {
		return 0, false
	}
	all := uint64(0)
	for i := range n.words {
		all = n.keys.link(all, n.words[i].fast)
	}
	return n.keys.severalOf(text, chain(first, all), shape), true
}

// first returns the fast hash of what a value of several words begins with: its
// first word, or as many signs as say as much.
func (r *reader) first(words []word, k *keys) (uint64, bool) {
	var many int
	switch t := words[0].traits; {
	case t&isSign != 0:
		many = minSigns
	case t&isTailed != 0:
		many = minTailed
	default:
		return words[0].fast, true
	}
	if len(words) < many {
		return 0, false
	}
	if a, b := &words[0], &words[1]; many == minSigns && a.end-a.start == 3 && b.end-b.start == 3 && b.traits&isSign != 0 {
		// The usual two, without a detour.
		return k.twoSigns(r.raw[a.start:a.end], r.raw[b.start:b.end]), true
	}
	return k.quickOf(r.appendName(nil, words[:many])), true
}

// exact returns the mark of a value that is compared as it is written: what stands
// before its first letter or digit, and behind its last, does not count. digits is
// how long it must be if it is a number, and least otherwise.
func (n *normal) exact(small bool, digits, least int, shapes *[maxExactWords + 1]uint8) (mark, bool) {
	n.cutAll()
	if len(n.words) == 0 || len(n.words) > maxExactWords {
		return 0, false
	}
	number := true
	for i, w := range n.words {
		// A number may have low lines in it, as the ids of posts do.
		number = number && !slices.ContainsFunc(n.raw[w.start:w.end], func(c byte) bool { return c != '_' && (c < '0' || c > '9') })
		if i > 0 && !joins(n.raw[n.words[i-1].end:w.start], 1<<shapes[len(n.words)]) {
			return 0, false
		}
	}
	text := n.appendExact(nil, n.words, small)
	if number {
		least = digits
	}
	if len(text) < least {
		return 0, false
	}
	if len(n.words) == 1 {
		return n.one(text)
	}
	return n.several(text, shapes[len(n.words)])
}

// joins says whether this may stand between two words of a value of a shape.
func joins(gap []byte, shape uint32) bool {
	for _, c := range gap {
		shape &= follow[c]
	}
	return shape&^(1<<shapeOne) != 0 && len(gap) <= maxGap
}

func (n *normal) email() (mark, bool) {
	local, domain, ok := bytes.Cut(n.raw, []byte{'@'})
	if !ok || len(local) == 0 || !bytes.ContainsRune(domain, '.') || bytes.ContainsRune(domain, '@') {
		return 0, false
	}
	return n.exact(true, minWord, minWord, &emailShape)
}

func (n *normal) phone() (mark, bool) {
	var digits []byte
	for _, c := range n.raw {
		switch {
		case c >= '0' && c <= '9':
			digits = append(digits, c)
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
			// An extension, or no number at all.
			return 0, false
		}
	}
	digits = phoneDigits(digits)
	if len(digits) < minPhone || len(digits) > maxPhone {
		return 0, false
	}
	return n.keys.one(digits), true
}

// phoneDigits takes away what stands for the plus sign.
func phoneDigits(digits []byte) []byte { return bytes.TrimPrefix(digits, []byte("00")) }

// profile returns the mark of a link: without scheme, www., query, fragment and
// final slash. Links that lead to somebody only by their query have none: the id in
// it is a value of its own.
func (n *normal) profile() (mark, bool) {
	link := strings.TrimSpace(string(n.raw))
	if _, rest, ok := strings.Cut(link, "://"); ok {
		link = rest
	}
	link = strings.TrimPrefix(link, "//")
	if len(link) > 4 && strings.EqualFold(link[:4], "www.") {
		link = link[4:]
	}
	if at := strings.IndexAny(link, "?#"); at >= 0 {
		link = link[:at]
	}
	link = strings.TrimRight(link, "/")
	host, path, ok := strings.Cut(link, "/")
	last := path[strings.LastIndexByte(path, '/')+1:]
	if !ok || !strings.Contains(host, ".") || path == "" || strings.HasSuffix(last, ".php") || last == "profilepic" {
		return 0, false
	}
	n.reset(0)
	n.copy([]byte(link))
	return n.exact(true, minExact, minExact, &exactShape)
}
