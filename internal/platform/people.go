package platform

import (
	"bytes"
	"unicode/utf8"
)

// The kinds of identifying values, in the words of gatehouse.DataClass.
const (
	ClassPseudonymousID = "pseudonymous-id"
	ClassUsername       = "username"
	ClassName           = "name"
	ClassEmail          = "email"
	ClassPhone          = "phone"
	ClassProfileLink    = "profile-link"
	ClassPostID         = "post-id"
	ClassMessageID      = "message-id"
)

// Identity is a value in a reply by which somebody can be recognised.
type Identity struct {
	// Person is the platform's id of whose value it is: of a post or message, who
	// wrote it. "" means that the reply does not say.
	Person string
	// Class is one of the constants above.
	Class string
	// Value is what a reader of the reply gets: without escapes, and with U+FFFD for
	// what is not UTF-8.
	Value string
	// Entered says that it is of a form that anybody can fill in, as often and with
	// whatever they like.
	Entered bool
}

// People finds the identifying values of people in a reply while it passes by, in
// whatever pieces. What counts is a matter of where a value stands, never of what
// it looks like: texts that people write are data. An object is a person, a post
// or a message
//
//   - by the operation, for what the reply is about;
//   - by the member or edge that it lies in: from, mentions, likes, comments;
//   - by its other members, where that says nothing. What has a username, a first
//     name or a profile picture is a person; what has an author, a text, a caption
//     or the time when it was made is a post.
//
// Pages and business accounts count as people: a reply does not tell them apart. So
// does a node that was asked for by its id and has a name and nothing that speaks
// against it: that is what the Graph says of users and pages by default.
// What somebody entered into a lead form is a person of its own, whose id is the
// lead's. A node that stays unclear is none, and its id is not told: it is an ad, a
// place, a form, or what the call itself named. Comments count as posts, albums
// too, and conversations as messages. Who wrote a post is told if the post says so;
// that it lies on somebody's wall does not.
//
// What an X reply says in errors and meta, and a reply of the Graph in paging and
// error, does not count. Neither do links in texts, or to anything but a profile, a
// picture of one, or a post. A batch's reply is not taken apart: each of its items is
// a reply of its own, to an operation of its own.
//
// Values of an object wait for its end, because what says whose they are may come
// behind them: at most maxWaitingBytes of the reply, and maxWaiting values; then
// they are told with what is known. Beyond that nothing is held but the nesting.
// It has no errors: what is not JSON is for others to refuse. One goroutine owns
// it. The zero value is not usable.
type People struct {
	tokens  tokens
	rules   map[string]memberRule
	graph   bool
	event   bool  // it is no reply but an event that the platform sent by itself
	root    place // of the reply on the Graph, of data on X
	frames  []personFrame
	waiting []waitingValue // in the order of the reply; those of inner objects behind
	oldest  int            // the first of them that is not told yet
	found   []Identity
	scratch []byte
}

const (
	// maxIdentity bounds a value, as it is spelled. Longer ones are no ids or names,
	// and no links that anybody would pass on.
	maxIdentity = 2048
	// maxWaiting and maxWaitingBytes bound what waits for the end of an object.
	maxWaiting      = 256
	maxWaitingBytes = 64 << 10
)

// personFrame is an open object or array.
type personFrame struct {
	object bool
	at     place
	// What the value that comes next is: below a member, or in an array.
	below  place
	member valueKind
	owns   bool // what comes next is who wrote what it is a member of

	owner    bool // it is who wrote the object around it
	evidence evidence
	first    int    // index in waiting of its first value
	id       string // "" if it has none yet, or two
	two      bool   // it has two different ids
	author   string // of a post or message
	field    valueKind
}

// waitingValue is a value whose owner is not known yet.
type waitingValue struct {
	kind  valueKind // noValue: it was told
	value string
	at    int64 // where it begins
}

// NewPeople returns an extractor for one reply of p to an operation, written as
// "GET /{id}/feed".
func NewPeople(p Name, operation string) *People {
	w := &People{graph: p.Graph()}
	w.tokens = tokens{to: w, limit: maxIdentity}
	if w.graph {
		w.rules, w.root = graphRules, graphRoot(operation)
	} else {
		w.rules, w.root = xRules, xData(operation)
	}
	return w
}

// NewPeopleOfEvent returns an extractor for one event that p sent by itself: X's
// Activity API and the older payloads, an entry of a webhook of Meta's.
func NewPeopleOfEvent(p Name) *People {
	w := &People{graph: p.Graph(), event: true, root: inEither}
	w.tokens = tokens{to: w, limit: maxIdentity}
	if w.rules = xEventRules; w.graph {
		w.rules = graphRules
	}
	return w
}

// Write looks at the next bytes of the reply. It never fails.
func (w *People) Write(p []byte) (int, error) {
	w.tokens.write(p)
	w.expire(w.tokens.taken)
	return len(p), nil
}

// Take returns what was found since the last call, in the order in which it became
// clear, with its repetitions. The slice is valid until the next Write or Settle.
func (w *People) Take() []Identity {
	found := w.found
	w.found = w.found[:0]
	return found
}

// Pending returns how many bytes at the end of what was written hold values that
// are not told yet: what came before them can be passed on.
func (w *People) Pending() int {
	if w.oldest < len(w.waiting) {
		return int(w.tokens.taken - w.waiting[w.oldest].at)
	}
	return w.tokens.begun()
}

// Settle tells what waits for the end of an object with what is known of it. It is
// for the end of a reply, which may be cut off, and for whoever cannot wait.
func (w *People) Settle() { w.settle(len(w.waiting)) }

func (w *People) top() *personFrame {
	if len(w.frames) == 0 {
		return nil
	}
	return &w.frames[len(w.frames)-1]
}

func (w *People) begin(object bool, at int64) {
	w.expire(at)
	f := personFrame{object: object, at: w.root, first: len(w.waiting)}
	if !w.graph && !w.event {
		f.at = atTop
	}
	if t := w.top(); t != nil {
		f.at = t.below
		if object {
			f.owner = t.object && t.owns
		} else if t.member != valueID { // an id is no list
			f.member = t.member
		}
	}
	if !object {
		f.below = f.at
	}
	w.frames = append(w.frames, f)
}

func (w *People) end(at int64) {
	w.expire(at)
	last := len(w.frames) - 1
	f := &w.frames[last]
	w.frames = w.frames[:last]
	if f.at == inLeadFields && f.object {
		for i := f.first; i < len(w.waiting); i++ {
			f.relabel(&w.waiting[i])
		}
	}
	if last > 0 && f.passes() {
		return // its values are those of the object around it
	}
	kind := f.kind()
	for i := max(f.first, w.oldest); i < len(w.waiting); i++ {
		w.tell(f, kind, &w.waiting[i])
	}
	w.waiting = w.waiting[:f.first]
	w.oldest = min(w.oldest, f.first)
	if f.owner && f.id != "" && last > 0 {
		w.frames[last-1].author = f.id
	}
}

func (w *People) next() {
	if t := w.top(); t.object {
		t.below, t.member, t.owns = nowhere, noValue, false
	}
}

func (w *People) wants() bool {
	t := w.top()
	return t != nil && t.member != noValue
}

// name takes a member's name.
func (w *People) name(raw []byte, at int64) {
	w.expire(at)
	t := w.top()
	if t.at == nowhere {
		return
	}
	t.below, t.member, t.owns = nowhere, noValue, false
	if raw == nil {
		t.below = w.unclear()
		return
	}
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = w.unescape(raw)
	}
	if w.graph {
		w.graphMember(t, raw)
	} else {
		w.xMember(t, raw)
	}
}

// unclear is what lies below a member of which nothing is known.
func (w *People) unclear() place {
	if w.graph {
		return inEither
	}
	return inOther
}

// value takes a string or a number.
func (w *People) value(raw []byte, text bool, at int64) {
	w.expire(at)
	t := w.top()
	kind := t.member
	if raw == nil || !text && !kind.number() {
		return
	}
	start := at - int64(len(raw))
	if text {
		start -= 2 // its quotes
	}
	if bytes.IndexByte(raw, '\\') >= 0 {
		raw = w.unescape(raw)
	}
	switch kind {
	case valueType:
		switch string(raw) {
		case "event", "group", "application", "app":
			t.evidence |= isOther
		}
		return
	case valueFieldName:
		t.field = leadField(raw)
		return
	}
	if !kind.fits(raw, w.graph) {
		return
	}
	if !utf8.Valid(raw) {
		raw = w.repair(raw)
	}
	v := string(raw)
	switch kind {
	case valueID:
		switch {
		case t.two || t.id == v:
		case t.id == "":
			t.id = v
		default:
			t.id, t.two = "", true // whose the rest is cannot be said
		}
	case valueAuthorID:
		t.author = v
		w.found = append(w.found, Identity{Person: v, Class: ClassPseudonymousID, Value: v})
		return
	case valuePersonID:
		w.found = append(w.found, Identity{Person: v, Class: ClassPseudonymousID, Value: v})
		return
	case valuePostID:
		w.found = append(w.found, Identity{Class: ClassPostID, Value: v})
		return
	case valueMessageID:
		w.found = append(w.found, Identity{Class: ClassMessageID, Value: v})
		return
	}
	if len(w.waiting) == maxWaiting {
		w.settle(len(w.waiting))
		w.waiting, w.oldest = w.waiting[:0], 0
		for i := range w.frames {
			w.frames[i].first = 0
		}
	}
	w.waiting = append(w.waiting, waitingValue{kind, v, start})
}

// expire tells what has waited for too long at a position.
func (w *People) expire(at int64) {
	if w.oldest == len(w.waiting) || at-w.waiting[w.oldest].at <= maxWaitingBytes {
		return
	}
	n := w.oldest
	for n < len(w.waiting) && at-w.waiting[n].at > maxWaitingBytes {
		n++
	}
	w.settle(n)
}

// settle tells the waiting values before the n-th with what is known of the objects
// that they are in.
func (w *People) settle(n int) {
	for inner := 0; w.oldest < n; w.oldest++ {
		for inner+1 < len(w.frames) && w.frames[inner+1].first <= w.oldest {
			inner++
		}
		v, in := &w.waiting[w.oldest], inner
		for ; in > 0 && w.frames[in].passes(); in-- {
			if w.frames[in].at == inLeadFields && w.frames[in].object {
				w.frames[in].relabel(v)
			}
		}
		w.tell(&w.frames[in], w.frames[in].kind(), v)
	}
}

// tell says whose a value is.
func (w *People) tell(f *personFrame, kind place, v *waitingValue) {
	class, person := "", ""
	switch kind {
	case inUser, inLead:
		person = f.id
	case inPost, inMessage:
		person = f.author
	}
	switch v.kind {
	case valueID:
		switch kind {
		case inUser, inLead:
			class, person = ClassPseudonymousID, v.value
		case inPost:
			class = ClassPostID
		case inMessage:
			class = ClassMessageID
		}
	case valueUserID, valueOtherID:
		switch {
		case kind == inUser:
			if class = ClassPseudonymousID; person == "" {
				person = v.value
			}
		case v.kind == valueUserID:
			class, person = ClassPseudonymousID, v.value
		case kind == inPost:
			class = ClassPostID
		}
	case valueOwnPost:
		class = ClassPostID
	case valueUsername:
		if kind == inUser || kind == inPost {
			class = ClassUsername
		}
	case valuePostLink:
		if kind == inPost {
			class = ClassProfileLink
		}
	default:
		if kind == inUser || kind == inLead {
			class = v.kind.class()
		}
	}
	v.kind = noValue
	if class != "" {
		w.found = append(w.found, Identity{Person: person, Class: class, Value: v.value, Entered: kind == inLead})
	}
}

// passes reports whether the values in f are those of the object around it.
func (f *personFrame) passes() bool {
	return !f.object || f.at == inLinks || f.at == inEntities || f.at == inLeadFields
}

// unescape decodes a string without allocating, and is valid until the next call.
func (w *People) unescape(raw []byte) []byte {
	w.scratch = w.scratch[:0]
	for len(raw) > 0 {
		n := bytes.IndexByte(raw, '\\')
		if n < 0 || n+1 == len(raw) {
			w.scratch = append(w.scratch, raw...)
			break
		}
		w.scratch = append(w.scratch, raw[:n]...)
		raw = raw[n:]
		var taken int
		w.scratch, taken = appendUnescaped(w.scratch, raw)
		raw = raw[taken:]
	}
	return w.scratch
}

// repair puts U+FFFD for each byte that is not UTF-8, as readers of JSON do.
func (w *People) repair(raw []byte) []byte {
	out := make([]byte, 0, len(raw)+8)
	for len(raw) > 0 {
		r, n := utf8.DecodeRune(raw)
		out = utf8.AppendRune(out, r)
		raw = raw[n:]
	}
	return out
}
