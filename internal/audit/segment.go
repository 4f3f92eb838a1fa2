package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse"
)

// A segment is indexed as soon as it is complete: short ones, so that little of the log's
// end has to be read through, and of these long ones, so that a search through all of it
// asks few.
const (
	shortSpan = 1 << 10
	longSpan  = 1 << 16
	// blockSpan is the number of entries whose times are kept together.
	blockSpan = 1 << 8
	// longParts is how many parts the terms of a long segment are in, by their highest
	// bits: a search for one reads one of them. A short segment has one.
	longParts = 64
	// timesPart is the number of the part that holds the blocks' times.
	timesPart = longParts
	// maxEntries is more than any log has.
	maxEntries = 1 << 40
)

// A IndexSegment says that the entries From to From+Span-1 are indexed. What is indexed follows
// from the leaves alone: it may be thrown away and made again, and no search depends on it.
type IndexSegment struct {
	From, Span int64
	// Version is that of the terms and of their form.
	Version int64
	// LastHash is the leaf hash of the last entry. Every entry has a random id, so that a
	// log that was rolled back and written on has another one there.
	LastHash []byte
	// Oldest and Newest are the earliest and the latest time, in microseconds since 1970.
	Oldest, Newest int64
	// Stands says, when it is read, that the log's entry still has LastHash.
	Stands bool
}

func (s *IndexSegment) sound() bool {
	return s.Stands && s.Version == termsVersion && (s.Span == shortSpan || s.Span == longSpan) && s.From%s.Span == 0
}

func (s *IndexSegment) parts() int {
	if s.Span == longSpan {
		return longParts
	}
	return 1
}

// partOf is the part of a segment that holds a term.
func (s *IndexSegment) partOf(term uint32) int {
	return int(uint64(term) * uint64(s.parts()) >> 32)
}

func (s *IndexSegment) place(number int) place { return place{s.Span, s.From, number} }

// A Part is one of a segment's.
type Part struct {
	// From is where its segment begins.
	From int64
	// Number is 0 to 63, by the terms' highest bits, and 64 for the times.
	Number  int
	Content []byte
}

// SearchStore is what entries are searched in. Indexes begin with 0.
type SearchStore interface {
	ListStore
	// Head is Store's.
	Head(ctx context.Context) (Head, error)
	// First returns the index of the first entry that is stored: 0, unless the beginning
	// was pruned.
	First(ctx context.Context) (int64, error)
	// At returns those of the entries that are there, in any order.
	At(ctx context.Context, seqs []int64) ([]Row, error)
	// Between returns the entries from to to-1, in order.
	Between(ctx context.Context, from, to int64) ([]Row, error)
	// Segments returns segments that begin before an index, those that begin last first,
	// of those that begin together the longest first.
	Segments(ctx context.Context, before int64, limit int) ([]IndexSegment, error)
	// Parts returns the number-th part of segments of a span that begin before an index,
	// those that begin last first.
	Parts(ctx context.Context, span int64, number int, before int64, limit int) ([]Part, error)
}

// SegmentStore is what segments are kept in.
type SegmentStore interface {
	SearchStore
	// PutSegment stores a segment and its parts, all or nothing, in place of one that
	// begins at the same entry with the same span.
	PutSegment(ctx context.Context, s IndexSegment, parts []Part) error
	// DropSegments deletes up to limit segments of a span that begin in from to to-1, and
	// returns how many these were.
	DropSegments(ctx context.Context, span, from, to int64, limit int) (int64, error)
}

// encodeTimes writes the times of blocks, each with the earliest and the latest.
func encodeTimes(times []int64, at place) []byte {
	b := make([]byte, 0, 8*len(times)+partCheck)
	for _, t := range times {
		b = binary.LittleEndian.AppendUint64(b, uint64(t))
	}
	return at.seal(b)
}

func readTimes(part []byte, at place) ([]int64, error) {
	b, err := at.open(part)
	if err != nil || int64(len(b)) != at.span/blockSpan*16 {
		return nil, errPart
	}
	times := make([]int64, len(b)/8)
	for i := range times {
		times[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return times, nil
}

// build indexes the rows of a short segment, which are complete and in order.
func build(rows []Row) (IndexSegment, []Part, error) {
	s := IndexSegment{From: rows[0].Seq, Span: int64(len(rows)), Version: termsVersion, LastHash: rows[len(rows)-1].Hash}
	terms := postings{}
	times := make([]int64, 0, 2*len(rows)/blockSpan)
	intents := map[string]int{}
	for at, r := range rows {
		leaf, err := DecodeLeaf(r.Leaf)
		if err != nil {
			return s, nil, fmt.Errorf("indexing entry %d (%s); `gatehouse audit verify` says more: %w", r.Seq, r.ID, err)
		}
		leaf.terms(func(term uint32) { terms.add(term, at) })
		switch leaf.Kind {
		case KindIntent:
			intents[leaf.ID] = at
		case KindOutcome:
			if _, here := intents[leaf.Intent]; here {
				delete(intents, leaf.Intent)
			} else {
				terms.add(termOf(byOpen, ""), at)
			}
		}
		if at%blockSpan == 0 {
			times = append(times, leaf.Time, leaf.Time)
		}
		n := len(times)
		times[n-2], times[n-1] = min(times[n-2], leaf.Time), max(times[n-1], leaf.Time)
	}
	open := newSet(int(s.Span))
	for _, at := range intents {
		open.add(at)
	}
	for _, at := range terms[termOf(byOpen, "")] {
		open.add(int(at))
	}
	terms.replace(termOf(byOpen, ""), open)
	return s.with(terms, times)
}

// replace makes the entries that have a term those of s.
func (p postings) replace(term uint32, s set) {
	delete(p, term)
	var list []uint16
	for at := range s.down() {
		list = append(list, uint16(at))
	}
	for i := len(list) - 1; i >= 0; i-- {
		p[term] = append(p[term], list[i])
	}
}

// with writes the parts of a segment.
func (s IndexSegment) with(terms postings, times []int64) (IndexSegment, []Part, error) {
	s.Oldest, s.Newest = times[0], times[1]
	for i := 0; i < len(times); i += 2 {
		s.Oldest, s.Newest = min(s.Oldest, times[i]), max(s.Newest, times[i+1])
	}
	parts := make([]Part, 0, s.parts()+1)
	byPart := make([]postings, s.parts())
	for term, list := range terms {
		n := s.partOf(term)
		if byPart[n] == nil {
			byPart[n] = postings{}
		}
		byPart[n][term] = list
	}
	for n := range byPart {
		parts = append(parts, Part{s.From, n, byPart[n].encode(int(s.Span), s.place(n))})
	}
	return s, append(parts, Part{s.From, timesPart, encodeTimes(times, s.place(timesPart))}), nil
}

// Indexer keeps the segments of logs. In how many processes it runs does not matter: what
// it writes is the same everywhere.
type Indexer struct {
	stores []SegmentStore
	log    *slog.Logger
}

// NewIndexer returns the Indexer of the logs of the stores.
func NewIndexer(log *slog.Logger, stores ...SegmentStore) *Indexer {
	return &Indexer{stores, log}
}

// indexEvery is how often it is looked whether a segment is complete.
const indexEvery = 5 * time.Second

// Run indexes what is complete until ctx ends. It rests as long as it worked: nothing
// waits for it, since what is not indexed is read through. What it cannot index it says
// once, and goes on with the rest.
func (x *Indexer) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	said := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		err := x.CatchUp(ctx, true, nil)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && err.Error() != said {
			said = err.Error()
			x.log.WarnContext(ctx, "a part of the log cannot be indexed; searching it is slow", slog.Any("error", err))
		}
		timer.Reset(indexEvery)
	}
}

// CatchUp indexes all that is complete, the newest first. If it is to be gentle, it rests
// after each segment for as long as that took. progress, which may be nil, is told how many
// of how many entries are done. What cannot be indexed is left out, and the first reason
// returned.
func (x *Indexer) CatchUp(ctx context.Context, gentle bool, progress func(done, total int64)) error {
	var failed error
	for _, s := range x.stores {
		c := catchUp{s: s, gentle: gentle, progress: progress}
		if err := c.all(ctx); err != nil && failed == nil {
			failed = err
		}
	}
	return failed
}

// Rebuild throws away what is indexed and makes it anew.
func (x *Indexer) Rebuild(ctx context.Context, progress func(done, total int64)) error {
	for _, s := range x.stores {
		for _, span := range []int64{longSpan, shortSpan} {
			if err := dropSegments(ctx, s, span, 0, maxEntries); err != nil {
				return err
			}
		}
	}
	return x.CatchUp(ctx, false, progress)
}

// catchUp is one pass over one log.
type catchUp struct {
	s        SegmentStore
	gentle   bool
	progress func(done, total int64)
	failed   error
	// sound are the segments that need no work, by span and beginning, with LastHash.
	sound map[[2]int64][]byte
}

func (c *catchUp) all(ctx context.Context) error {
	head, err := c.s.Head(ctx)
	if err != nil {
		return err
	}
	first, err := c.s.First(ctx)
	if err != nil {
		return err
	}
	segments, err := allSegments(ctx, c.s)
	if err != nil {
		return err
	}
	c.sound = map[[2]int64][]byte{}
	var beyond, pruned [2]int64
	former := map[int64]bool{} // spans that earlier programs made
	for _, s := range segments {
		if s.Span != longSpan && s.Span != shortSpan {
			former[s.Span] = true
			continue
		}
		if s.From < first {
			if s.Span == longSpan {
				pruned[0]++
			} else {
				pruned[1]++
			}
			continue
		}
		if s.sound() {
			c.sound[[2]int64{s.Span, s.From}] = s.LastHash
		}
		if s.From+s.Span > head.Size {
			// What was indexed of a log that was longer.
			if s.Span == longSpan {
				beyond[0]++
			} else {
				beyond[1]++
			}
		}
	}
	for span := range former {
		if err := dropSegments(ctx, c.s, span, 0, maxEntries); err != nil {
			return err
		}
	}
	for i, span := range []int64{longSpan, shortSpan} {
		if pruned[i] > 0 {
			if err := dropSegments(ctx, c.s, span, 0, first); err != nil {
				return err
			}
		}
		if beyond[i] > 0 {
			if err := dropSegments(ctx, c.s, span, max(0, head.Size-span+1), maxEntries); err != nil {
				return err
			}
		}
	}
	total := head.Size / shortSpan * shortSpan
	for slot := total / longSpan * longSpan; slot >= first/longSpan*longSpan; slot -= longSpan {
		if c.progress != nil {
			c.progress(total-min(total, slot+longSpan), total)
		}
		if c.sound[[2]int64{longSpan, slot}] != nil {
			continue
		}
		complete := slot >= first
		for from := min(total, slot+longSpan) - shortSpan; from >= max(slot, first); from -= shortSpan {
			if c.sound[[2]int64{shortSpan, from}] != nil {
				continue
			}
			if err := c.one(ctx, func() error { return c.short(ctx, from) }); err != nil {
				return err
			}
			complete = complete && c.sound[[2]int64{shortSpan, from}] != nil
		}
		if slot+longSpan > total || !complete {
			continue
		}
		if err := c.one(ctx, func() error { return c.long(ctx, slot) }); err != nil {
			return err
		}
	}
	if c.progress != nil {
		c.progress(total, total)
	}
	return c.failed
}

// one does one piece of work and rests. It returns an error if nothing more can be done;
// others are kept.
func (c *catchUp) one(ctx context.Context, do func() error) error {
	begun := time.Now()
	// On a conflict another process has just done it.
	if err := do(); err != nil && !errors.Is(err, gatehouse.ErrConflict) {
		if ctx.Err() != nil || errors.Is(err, gatehouse.ErrUnavailable) {
			return err
		}
		if c.failed == nil {
			c.failed = err
		}
	}
	if !c.gentle {
		return nil
	}
	rest := time.NewTimer(time.Since(begun))
	defer rest.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-rest.C:
		return nil
	}
}

// allSegments reads all segments.
func allSegments(ctx context.Context, s SearchStore) ([]IndexSegment, error) {
	const page = 500
	var all []IndexSegment
	for before := int64(1 << 40); ; {
		some, err := s.Segments(ctx, before, page)
		if err != nil {
			return nil, err
		}
		if len(some) < page {
			return append(all, some...), nil
		}
		// The last ones may begin where others do that did not fit.
		before = some[len(some)-1].From + 1
		for len(some) > 0 && some[len(some)-1].From == before-1 {
			some = some[:len(some)-1]
		}
		all = append(all, some...)
	}
}

func (c *catchUp) short(ctx context.Context, from int64) error {
	rows, err := c.s.Between(ctx, from, from+shortSpan)
	if err != nil {
		return err
	}
	for i, r := range rows {
		if r.Seq != from+int64(i) {
			return missing(from + int64(i))
		}
	}
	if len(rows) < shortSpan {
		return missing(from + int64(len(rows)))
	}
	s, parts, err := build(rows)
	if err != nil {
		return err
	}
	if err := c.s.PutSegment(ctx, s, parts); err != nil {
		return err
	}
	c.sound[[2]int64{shortSpan, from}] = s.LastHash
	return nil
}

// missing is what is said of an entry that should be there.
func missing(seq int64) error {
	return tampered("entry %d of the log is missing", seq)
}

// long makes one segment of the short ones in its place, which then go.
func (c *catchUp) long(ctx context.Context, from int64) error {
	// Not what the log has there now: it may be another by now, than those were made of.
	s := IndexSegment{From: from, Span: longSpan, Version: termsVersion, LastHash: c.sound[[2]int64{shortSpan, from + longSpan - shortSpan}]}
	terms := postings{}
	var times []int64
	for at := from; at < from+longSpan; at += shortSpan {
		short := IndexSegment{From: at, Span: shortSpan}
		// Terms and times of the same moment: both are there, or the segment is not.
		content, err := one(c.s.Parts(ctx, shortSpan, 0, at+1, 1))(at)
		if err != nil {
			return err
		}
		r, err := readPart(content, short.place(0))
		if err == nil {
			err = r.merge(terms, int(at-from))
		}
		var some []int64
		if err == nil {
			content, err = one(c.s.Parts(ctx, shortSpan, timesPart, at+1, 1))(at)
		}
		if err == nil {
			some, err = readTimes(content, short.place(timesPart))
		}
		if errors.Is(err, errPart) {
			// It is made anew in the next pass.
			if _, dropped := c.s.DropSegments(ctx, shortSpan, at, at+1, 1); dropped != nil {
				return dropped
			}
		}
		if err != nil {
			return err
		}
		times = append(times, some...)
	}
	if err := c.pair(ctx, from, terms); err != nil {
		return err
	}
	s, parts, err := s.with(terms, times)
	if err != nil {
		return err
	}
	if err := c.s.PutSegment(ctx, s, parts); err != nil {
		return err
	}
	return dropSegments(ctx, c.s, shortSpan, from, from+longSpan)
}

// one returns the part of the segment that begins at from, of what Parts returned.
func one(parts []Part, err error) func(from int64) ([]byte, error) {
	return func(from int64) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		if len(parts) == 0 || parts[0].From != from {
			return nil, errPart
		}
		return parts[0].Content, nil
	}
}
