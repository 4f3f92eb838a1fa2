package fingerprint

import (
	"slices"
	"strings"
)

// window is how many bytes may lie between two values for one to count beside the
// other: of what was written, with the encodings it is in.
const window = 1024

// Search looks for the values of an index in one stream of bytes, and in texts that
// belong to it. One goroutine owns it. It must be ended, or its memory is not used
// again.
//
// How the stream is cut into pieces changes nothing but when something is found. The
// memory is bounded, save that every place where a value stands makes a Hit: take
// them after each piece.
type Search struct {
	x    *Index
	body *scan
	text *scan
	hits []Hit
	// ended is set when the stream is complete.
	ended bool
}

// Search begins with a stream.
func (x *Index) Search() *Search {
	if s, ok := x.searches.Get().(*Search); ok {
		return s
	}
	s := &Search{x: x}
	s.body, s.text = newScan(x), newScan(x)
	return s
}

// Write looks at the next bytes of the stream. It never fails.
func (s *Search) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), block)
		s.body.root.write(rest[:n])
		rest = rest[n:]
		s.hits = s.body.settle(s.hits, s.body.root.held())
	}
	return len(p), nil
}

// Text looks at a text that is complete and no part of the stream: the value of a
// header, an address.
func (s *Search) Text(text string) {
	t := s.text
	t.root.begin(0, "", "")
	for len(text) > 0 {
		n := min(len(text), block)
		t.root.write([]byte(text[:n]))
		text = text[n:]
		s.hits = t.settle(s.hits, t.root.held())
	}
	t.root.process(true)
	s.hits = t.settle(s.hits, 1<<62)
}

// reserve is how many of the last bytes are never safe. It is more than a value that
// waits for a second beside it takes, with the window behind it, save in the strangest
// encodings.
const reserve = 8 << 10

// Safe returns how many bytes, from the beginning of the stream, can no longer
// become part of a hit that has not been taken or may be. Until the stream ends, the
// last bytes wait whatever they are: if they waited only where a name stands that is
// known, how much goes on would tell what is known, of values for which nobody is
// refused.
func (s *Search) Safe() int64 {
	root := s.body.root
	safe := min(root.held(), s.body.waiting())
	if s.ended {
		return safe
	}
	return max(0, min(root.next-reserve, safe))
}

// End says that the stream is complete. Take what was found and Close.
func (s *Search) End() {
	s.body.root.process(true)
	s.hits = s.body.settle(s.hits, 1<<62)
	s.body.root.begin(s.body.root.next, "", "")
	s.ended = true
}

// Take returns what was found since it was last called, in no particular order.
func (s *Search) Take() []Hit {
	hits := s.hits
	s.hits = nil
	return hits
}

// Close gives the search's memory back. It must not be used afterwards.
func (s *Search) Close() {
	s.hits, s.ended = nil, false
	for _, c := range []*scan{s.body, s.text} {
		c.root.begin(0, "", "")
		c.seen, c.owned, c.marks, c.crowd = c.seen[:0], c.owned[:0], c.marks[:0], c.crowd[:0]
		clear(c.counts)
		c.recent = recent{}
	}
	s.x.searches.Put(s)
}

// scan is what is known of one text: its streams, and what they saw.
type scan struct {
	x    *Index
	root *stream
	// seen are the values within the window, those that wait for a second beside
	// them and those that may be that.
	seen []sight
	// owned has, for each of seen, a bit for each owner, and marks its mark, so that most
	// pairs that have no owner in common, or are of one value, cost one look.
	owned []uint64
	marks []mark
	// counts has how many values begin in each window's length of the source, and crowd
	// those beyond crowded, until they are reported.
	counts map[int64]int
	crowd  []sight

	recent  recent
	batches batches
	// short is for texts that are looked at only in passing.
	short reader
}

// crowded is how many values may begin within a window's length before each of them
// counts, alone or not. No text that somebody wrote holds so many, and each of them
// would have to be compared with all the others: a few people who call themselves by
// one word, by it twice, three times and so on would make a text of that word take
// half a second for each kilobyte.
const crowded = 256

func newScan(x *Index) *scan {
	s := &scan{x: x, counts: map[int64]int{}}
	s.short.kinds = basic()
	s.root = newStream(s, 0)
	return s
}

// sight is a value that the index has, at a place.
type sight struct {
	from, to int64
	mark     mark
	owners   [MaxOwners]Owner
	count    uint8
	class    uint8
	shared   bool
	// weak values count only beside another of the same owner's.
	weak bool
	// beside has bit i set when such a value of owner i's stands near.
	beside uint32
	// told is set when it has been reported.
	told   bool
	undone uint32
	form   string
}

// see notes a sight and compares it with those near it.
func (c *scan) see(s sight) {
	if s.weak && s.count == 0 {
		return // so many have it that it says nothing
	}
	at := s.from / window
	if c.counts[at]++; c.counts[at] > crowded {
		c.crowd = append(c.crowd, s)
		return
	}
	owned := uint64(0)
	for _, o := range s.owners[:s.count] {
		owned |= 1 << (uint32(o) * 0x9e3779b1 >> 26)
	}
	for i, bits := range c.owned {
		if bits&owned != 0 && c.marks[i] != s.mark {
			c.compare(&s, &c.seen[i])
		}
	}
	c.seen = append(c.seen, s)
	c.owned, c.marks = append(c.owned, owned), append(c.marks, s.mark)
}

// compare marks two sights of different values if they are near one another and may be
// of one owner.
func (c *scan) compare(s, o *sight) {
	if s.from-o.to > window || o.from-s.to > window {
		return
	}
	// A value that is part of the other says nothing new.
	if s.from < o.to && o.from < s.to {
		return
	}
	for a := range s.count {
		for b := range o.count {
			if s.owners[a] == o.owners[b] {
				s.beside |= 1 << a
				o.beside |= 1 << b
			}
		}
	}
}

// settle reports what needs nothing more, given that what comes later does not begin
// before the offset, and forgets what is out of sight then.
func (c *scan) settle(hits []Hit, held int64) []Hit {
	for _, s := range c.crowd {
		s.beside = everybody
		hits = append(hits, c.hit(&s))
	}
	c.crowd = c.crowd[:0]
	kept, owned, marks := c.seen[:0], c.owned[:0], c.marks[:0]
	for i, s := range c.seen {
		// The window's length that follows is complete, too.
		past := held-s.to > window && held/window > s.from/window+1
		if past && c.inCrowd(s.from/window) {
			s.beside = everybody
		}
		if !s.told && (!s.weak || past && s.beside != 0) {
			hits = append(hits, c.hit(&s))
			s.told = true
		}
		if !past {
			kept, owned, marks = append(kept, s), append(owned, c.owned[i]), append(marks, s.mark)
		}
	}
	c.seen, c.owned, c.marks = kept, owned, marks
	for at := range c.counts {
		if at < held/window-2 && (len(kept) == 0 || at < kept[0].from/window-2) {
			delete(c.counts, at)
		}
	}
	return hits
}

// everybody is for beside: each of a value's owners.
const everybody = 1<<MaxOwners - 1

// inCrowd says whether a value that begins in a window's length stands among too many,
// or beside them: what it would have been compared with may not have been kept.
func (c *scan) inCrowd(at int64) bool {
	return c.counts[at-1] > crowded || c.counts[at] > crowded || c.counts[at+1] > crowded
}

// waiting returns where the first value begins that may yet be reported.
func (c *scan) waiting() int64 {
	first := int64(1 << 62)
	for i := range c.seen {
		if s := &c.seen[i]; !s.told && s.count > 0 {
			first = min(first, s.from)
		}
	}
	return first
}

// hit makes the report of a sight. The owners of a weak value are those of whom
// another stands near: that is evidence. Those of others are all it may be.
func (c *scan) hit(s *sight) Hit {
	h := Hit{Class: classes[s.class], Print: c.x.keys.print(s.mark), Shared: s.shared, From: s.from, To: s.to, Form: formOf(s)}
	if s.shared {
		return h
	}
	for i, o := range s.owners[:s.count] {
		if !s.weak || s.beside>>i&1 != 0 {
			h.Owners = append(h.Owners, o)
		}
	}
	slices.Sort(h.Owners)
	return h
}

// formOf says how a value was written.
func formOf(s *sight) string {
	own := undoneNames(s.undone)
	outer := undoneNames(s.undone >> outerShift)
	form := own
	if s.form != "" {
		if form == "" {
			form = strings.TrimPrefix(s.form, " in ")
		} else {
			form += s.form
		}
	}
	if outer != "" {
		form += " in " + outer
	}
	if form == "" {
		return "plain"
	}
	return form
}

func undoneNames(undone uint32) string {
	var names []string
	for i, name := range []string{"percent", "json", "html", "form"} {
		if undone>>(24+i)&1 != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+")
}
