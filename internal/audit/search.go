package audit

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"gatehouse"
)

const (
	// DefaultPage and MaxPage are how many entries a page has.
	DefaultPage = 50
	MaxPage     = 1000
	// lookBudget is how many rows one page reads at most; where nothing fits and nothing
	// is indexed, a page is empty, and the next one goes on.
	lookBudget = 50_000
	// partCost is what reading a part counts as.
	partCost = 8
)

// A Searcher searches logs. It is safe for concurrent use.
type Searcher struct {
	logs []SearchedLog
	// Hash, if not nil, is that of the logs' Config: a destination is then also looked
	// for where it stands sealed.
	hash IndexHash
}

// A SearchedLog is one of the logs that are searched together.
type SearchedLog struct {
	Registration
	Store SearchStore
}

// NewSearcher returns the Searcher of logs; hash may be nil.
func NewSearcher(hash IndexHash, logs ...SearchedLog) *Searcher {
	return &Searcher{logs, hash}
}

// A Page is what a search found.
type Page struct {
	Entries []Shown
	// Next continues the search; empty at its end. A page may be shorter than was asked,
	// even empty, and still have a next one.
	Next string
	// Damaged says that a part of the index could not be used. What it would have found
	// is here all the same.
	Damaged bool
}

// Search returns entries that fit, the newest first, of several logs by their times.
// cursor is empty, or Next of the page before with the same query. It trusts the stored
// entries, as List does, and the index in nothing: what that finds is compared with the
// leaves, and what it does not cover is read through.
func (s *Searcher) Search(ctx context.Context, q Query, cursor string, limit int) (Page, error) {
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 0 || limit > MaxPage {
		return Page{}, fmt.Errorf("searching the log: limit: a page has 1 to %d entries: %w", MaxPage, gatehouse.ErrInvalid)
	}
	if err := q.Validate(); err != nil {
		return Page{}, err
	}
	before, err := readCursor(cursor, cursorPage, &q, len(s.logs))
	if err != nil {
		return Page{}, err
	}
	if before == nil {
		if before, err = s.sizes(ctx); err != nil {
			return Page{}, err
		}
	}
	logs := make([]*logSearch, len(s.logs))
	for i, log := range s.logs {
		logs[i] = newLogSearch(log, &q, s.hash, before[i])
	}
	page := Page{Entries: []Shown{}}
	budget := lookBudget
	ended := false
	for len(page.Entries) < limit {
		var newest *logSearch
		ended = true
		for _, l := range logs {
			if err := l.settle(ctx, &budget, limit-len(page.Entries)); err != nil {
				return Page{}, err
			}
			if l.head() == nil {
				if !l.done() {
					ended, newest = false, nil
					break
				}
				continue
			}
			ended = false
			if newest == nil || l.head().When.After(newest.head().When) {
				newest = l
			}
		}
		if newest == nil {
			break
		}
		page.Entries = append(page.Entries, newest.pop())
	}
	for i, l := range logs {
		before[i] = l.frontier()
		page.Damaged = page.Damaged || l.damaged()
	}
	if !ended {
		page.Next = writeCursor(cursorPage, &q, before)
	}
	return page, nil
}

// A Place is where logs ended at some moment.
type Place []int64

// Here returns where the logs end now.
func (s *Searcher) Here(ctx context.Context) (Place, error) { return s.sizes(ctx) }

// Before returns the cursor with which Search finds only what was before the place.
func (p Place) Before(q Query) string { return writeCursor(cursorPage, &q, p) }

func (s *Searcher) sizes(ctx context.Context) ([]int64, error) {
	all := make([]int64, len(s.logs))
	for i, log := range s.logs {
		head, err := log.Store.Head(ctx)
		if err != nil {
			return nil, err
		}
		all[i] = head.Size
	}
	return all, nil
}

// A logSearch merges what is found in one log on several ways, by index.
type logSearch struct {
	in   Registration
	ways []way
}

// A way finds entries of one log, those with the highest index first.
type way interface {
	// more looks for further entries, up to about want of them, and takes what it reads
	// from the budget. It finds none, or ends, only after some progress.
	more(ctx context.Context, budget *int, want int) error
	state() *found
}

// found is what a way has found.
type found struct {
	entries []Shown
	// before is where it goes on: everything from there on is among entries, or does not
	// fit.
	before  int64
	damaged bool
}

func (f *found) state() *found { return f }

// frontier is the index from which on everything was found or handed out.
func (f *found) frontier() int64 {
	if len(f.entries) > 0 {
		return f.entries[0].Seq + 1
	}
	return f.before
}

func newLogSearch(s SearchedLog, q *Query, hash IndexHash, before int64) *logSearch {
	if q.Found != nil {
		l := &logSearch{in: s.Registration}
		for i := range q.Found {
			l.ways = append(l.ways, &personWay{found{before: before}, s.Store, q, &q.Found[i]})
		}
		return l
	}
	l := &logSearch{s.Registration, []way{newLeafWay(s.Store, q, before)}}
	if q.Destination != "" && hash != nil {
		sealed := *q
		sealed.Destination = ""
		l.ways = append(l.ways, &personWay{found{before: before}, s.Store, &sealed, &Found{Hash: hash, Kind: factDestination, Value: q.Destination}})
	}
	return l
}

// settle has all ways look until the first entry of each is known, as far as the budget
// goes. The one that is furthest behind looks first, so that none waits for ever.
func (l *logSearch) settle(ctx context.Context, budget *int, want int) error {
	for {
		var last *found
		var behind way
		for _, w := range l.ways {
			f := w.state()
			if len(f.entries) == 0 && f.before > 0 && (last == nil || f.before > last.before) {
				last, behind = f, w
			}
		}
		if behind == nil || *budget <= 0 {
			return nil
		}
		if err := behind.more(ctx, budget, want); err != nil {
			return err
		}
	}
}

// head is the entry with the highest index, or nil if it is not known, or none is left.
func (l *logSearch) head() *Shown {
	var top *Shown
	for _, w := range l.ways {
		f := w.state()
		if len(f.entries) > 0 && (top == nil || f.entries[0].Seq > top.Seq) {
			top = &f.entries[0]
		}
	}
	if top == nil || l.frontier() > top.Seq+1 {
		return nil
	}
	return top
}

// pop takes the head away, from every way that has it.
func (l *logSearch) pop() Shown {
	e := *l.head()
	for _, w := range l.ways {
		f := w.state()
		if len(f.entries) > 0 && f.entries[0].Seq == e.Seq {
			f.entries = f.entries[1:]
		}
	}
	e.Log, e.Node = l.in.Number, l.in.Node
	return e
}

func (l *logSearch) done() bool { return l.frontier() <= 0 }

func (l *logSearch) frontier() (at int64) {
	for _, w := range l.ways {
		at = max(at, w.state().frontier())
	}
	return at
}

func (l *logSearch) damaged() bool {
	return slices.ContainsFunc(l.ways, func(w way) bool { return w.state().damaged })
}

// A personWay finds the entries that lie beside the tree under somebody's keyed hash.
type personWay struct {
	found
	s     SearchStore
	query *Query
	whose *Found
}

func (p *personWay) more(ctx context.Context, budget *int, want int) error {
	person, term := p.whose.keys()
	if person == nil {
		p.before = 0
		return nil
	}
	limit := min(readBatch, max(16, 2*want))
	rows, err := p.s.Indexed(ctx, person, string(p.whose.Connection), p.before, limit)
	if err != nil {
		return err
	}
	*budget -= len(rows) + 1
	needles := p.query.needles()
	for _, r := range rows {
		if term != nil && r.SearchV1 == "" && !r.Index.has(term) || !mayMatch(r.Leaf, needles) {
			continue
		}
		e, err := shown(r)
		if err != nil {
			return err
		}
		if p.query.matches(&e.Leaf) {
			p.entries = append(p.entries, e)
		}
	}
	p.before = 0
	if len(rows) == limit {
		p.before = rows[len(rows)-1].Seq
	}
	return nil
}

// Kinds of cursors.
const (
	cursorPage = 'p'
	cursorTail = 't'
)

// maxLogs bounds how many logs a cursor may name.
const maxLogs = 1024

// errCursor does not repeat what was given.
var errCursor = fmt.Errorf("searching the log: cursor: it is not one of this search: %w", gatehouse.ErrInvalid)

// writeCursor writes where to go on in each log: the kind, the query's sum, and the
// places.
func writeCursor(kind byte, q *Query, places []int64) string {
	b := binary.BigEndian.AppendUint64([]byte{kind}, q.sum())
	for _, at := range places {
		b = binary.AppendUvarint(b, uint64(at))
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// readCursor returns the places of a cursor, nil for the empty one. A log that came later
// than the cursor has nothing yet: place 0.
func readCursor(cursor string, kind byte, q *Query, logs int) ([]int64, error) {
	if cursor == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(b) < 9 || len(b) > 9+10*maxLogs || b[0] != kind || binary.BigEndian.Uint64(b[1:]) != q.sum() {
		return nil, errCursor
	}
	places := make([]int64, 0, logs)
	for b = b[9:]; len(b) > 0; {
		at, n := binary.Uvarint(b)
		if n <= 0 || at > maxEntries || len(places) == logs {
			return nil, errCursor
		}
		places, b = append(places, int64(at)), b[n:]
	}
	for len(places) < logs {
		places = append(places, 0)
	}
	return places, nil
}

// A leafWay finds entries by what stands in their leaves.
type leafWay struct {
	found
	s       SearchStore
	query   *Query
	clauses [][]uint32
	needles [][]byte
	// segments are those that begin before an index, newest first, as far as they were
	// read; all says that there are no more.
	segments []IndexSegment
	all      bool
	// parts were read ahead: of the span, by number and by where their segment begins.
	parts map[int]map[int64][]byte
	span  int64
	// ahead is how many parts are read at once; it grows while nothing is found.
	ahead int
	// left are what of the newest segment still is to be compared.
	left []int64
	// each, if not nil, is given every row that may fit, in place of entries.
	each func(Row) error
	// again is how often the segments were read again because parts were gone.
	again int
}

func newLeafWay(s SearchStore, q *Query, before int64) *leafWay {
	return &leafWay{found: found{before: before}, s: s, query: q, clauses: q.clauses(), needles: q.needles(), ahead: 1}
}

// selective reports whether the query says anything that segments know.
func (w *leafWay) selective() bool {
	return len(w.clauses) > 0 || !w.query.Since.IsZero() || !w.query.Until.IsZero()
}

func (w *leafWay) more(ctx context.Context, budget *int, want int) error {
	if len(w.left) > 0 {
		return w.compare(ctx, budget, want)
	}
	var to int64
	if w.selective() {
		s, next, err := w.segment(ctx)
		if err != nil {
			return err
		}
		if s != nil {
			return w.narrow(ctx, *s, budget, want)
		}
		to = next
	}
	return w.read(ctx, to, budget, want)
}

// errGone says that a segment is not there any more.
var errGone = fmt.Errorf("it is not there: %w", errPart)

// segmentsPage is how many segments are read at once.
const segmentsPage = 64

// segment returns the sound segment that holds the entry before w.before, or where the
// next lower one ends.
func (w *leafWay) segment(ctx context.Context) (*IndexSegment, int64, error) {
	for {
		for len(w.segments) > 0 {
			s := w.segments[0]
			switch {
			case !s.sound() || s.From >= w.before:
				w.segments = w.segments[1:]
			case s.From+s.Span >= w.before:
				return &s, 0, nil
			default:
				return nil, s.From + s.Span, nil
			}
		}
		if w.all {
			return nil, 0, nil
		}
		// Of segments that begin together the longest comes first: that all of them are
		// in one answer does not matter.
		some, err := w.s.Segments(ctx, w.before, segmentsPage)
		if err != nil {
			return nil, 0, err
		}
		w.all = len(some) < segmentsPage
		useful := slices.DeleteFunc(some, func(s IndexSegment) bool { return !s.sound() })
		if len(useful) == 0 && !w.all {
			// Nothing here can be used; what is older may.
			if useful, err = w.older(ctx); err != nil {
				return nil, 0, err
			}
		}
		w.segments = useful
	}
}

// older returns sound segments from behind those that are not.
func (w *leafWay) older(ctx context.Context) ([]IndexSegment, error) {
	all, err := allSegments(ctx, w.s)
	w.all = true
	return slices.DeleteFunc(all, func(s IndexSegment) bool { return !s.sound() || s.From >= w.before }), err
}

// narrow finds out which entries of the segment may fit, and compares them.
func (w *leafWay) narrow(ctx context.Context, s IndexSegment, budget *int, want int) error {
	q := w.query
	if !q.Since.IsZero() && s.Newest < q.Since.UnixMicro() || !q.Until.IsZero() && s.Oldest >= q.Until.UnixMicro() {
		w.before = s.From
		*budget--
		return nil
	}
	may, err := w.candidates(ctx, s, budget)
	if errors.Is(err, errGone) && w.again < maxAgain {
		// They became part of a longer one meanwhile.
		w.again++
		w.segments, w.all, w.span = nil, false, 0
		return nil
	}
	if errors.Is(err, errPart) {
		// What the index cannot say, the entries can.
		w.damaged = true
		w.segments = w.segments[1:]
		return nil
	}
	if err != nil {
		return err
	}
	may.below(int(w.before - s.From))
	for at := range may.down() {
		w.left = append(w.left, s.From+int64(at))
	}
	if len(w.left) == 0 {
		w.before = s.From
		w.ahead = min(2*w.ahead, 16)
		return nil
	}
	w.ahead = 1
	return w.compare(ctx, budget, want)
}

// candidates are the entries of the segment that have one term of each clause, in blocks
// whose times fit.
func (w *leafWay) candidates(ctx context.Context, s IndexSegment, budget *int) (set, error) {
	may, some := newSet(int(s.Span)), newSet(int(s.Span))
	may.fill()
	for _, clause := range w.clauses {
		clear(some)
		for _, term := range clause {
			number := s.partOf(term)
			content, err := w.part(ctx, s, number, budget)
			if err != nil {
				return nil, err
			}
			r, err := readPart(content, s.place(number))
			if err == nil {
				err = r.addTo(some, term)
			}
			if err != nil {
				return nil, err
			}
		}
		may.and(some)
		if may.empty() {
			return may, nil
		}
	}
	q := w.query
	first, last := q.Since.UnixMicro(), q.Until.UnixMicro()
	early := !q.Since.IsZero() && s.Oldest < first
	late := !q.Until.IsZero() && s.Newest >= last
	if !early && !late {
		return may, nil
	}
	content, err := w.part(ctx, s, timesPart, budget)
	if err != nil {
		return nil, err
	}
	times, err := readTimes(content, s.place(timesPart))
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(times); i += 2 {
		if early && times[i+1] < first || late && times[i] >= last {
			clear(may[i/2*blockSpan/64 : (i/2+1)*blockSpan/64])
		}
	}
	return may, nil
}

// part returns a part of the segment. While nothing is found, those of older segments
// are read with it.
func (w *leafWay) part(ctx context.Context, s IndexSegment, number int, budget *int) ([]byte, error) {
	if w.span != s.Span {
		w.span, w.parts = s.Span, map[int]map[int64][]byte{}
	}
	if content, ok := w.parts[number][s.From]; ok {
		return content, nil
	}
	parts, err := w.s.Parts(ctx, s.Span, number, s.From+1, w.ahead)
	if err != nil {
		return nil, err
	}
	*budget -= partCost * len(parts)
	byFrom := map[int64][]byte{}
	for _, p := range parts {
		byFrom[p.From] = p.Content
	}
	w.parts[number] = byFrom
	if content, ok := byFrom[s.From]; ok {
		return content, nil
	}
	return nil, errGone
}

// maxAgain bounds how often one search starts from the segments anew.
const maxAgain = 8

// atOnce is how many entries are asked for by their indexes at a time.
const atOnce = 16

// compare reads what may fit and compares it.
func (w *leafWay) compare(ctx context.Context, budget *int, want int) error {
	for len(w.left) > 0 && len(w.entries) < want && *budget > 0 {
		seqs := w.left[:min(len(w.left), atOnce)]
		rows, err := w.s.At(ctx, seqs)
		if err != nil {
			return err
		}
		*budget -= len(seqs)
		slices.SortFunc(rows, func(a, b Row) int { return int(b.Seq - a.Seq) })
		for i, seq := range seqs {
			if i >= len(rows) || rows[i].Seq != seq {
				return missing(seq)
			}
			if err := w.take(rows[i]); err != nil {
				return err
			}
		}
		w.left = w.left[len(seqs):]
		w.before = seqs[len(seqs)-1]
	}
	if len(w.left) == 0 && len(w.segments) > 0 {
		w.before = w.segments[0].From
	}
	return nil
}

// take keeps the row if it fits.
func (w *leafWay) take(r Row) error {
	if w.each != nil {
		return w.each(r)
	}
	if !mayMatch(r.Leaf, w.needles) {
		return nil
	}
	e, err := shown(r)
	if err != nil {
		return err
	}
	if w.query.matches(&e.Leaf) {
		w.entries = append(w.entries, e)
	}
	return nil
}

// read reads entries down to an index, one batch of them.
func (w *leafWay) read(ctx context.Context, to int64, budget *int, want int) error {
	limit := readBatch
	if !w.selective() {
		limit = min(limit, want)
	}
	limit = int(min(int64(limit), w.before-to))
	rows, err := w.s.Before(ctx, w.before, limit)
	if err != nil {
		return err
	}
	*budget -= limit
	for i := range limit {
		at := w.before - 1
		if i >= len(rows) || rows[i].Seq != at {
			return missing(at)
		}
		if err := w.take(rows[i]); err != nil {
			return err
		}
		w.before = at
	}
	return nil
}
