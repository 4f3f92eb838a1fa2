package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

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
	// cost is what reading one of left counts as, stride how many of them are read at once.
	cost, stride int
	// again is how often the segments were read again because parts were gone.
	again int
}

func newLeafWay(s SearchStore, q *Query, before int64) *leafWay {
	return &leafWay{found: found{before: before}, s: s, query: q, clauses: q.clauses(), needles: q.needles(), ahead: 1, cost: 1}
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

// atOnce is how many entries are asked for by their indexes at a time, mostAtOnce how many
// when few of them fit, or all are wanted: each time is a journey to the database.
const (
	atOnce     = 16
	mostAtOnce = 128
)

// compare reads what may fit and compares it.
func (w *leafWay) compare(ctx context.Context, budget *int, want int) error {
	for len(w.left) > 0 && len(w.entries) < want && *budget > 0 {
		if w.stride == 0 {
			w.stride = atOnce
		}
		if w.each != nil {
			w.stride = mostAtOnce
		}
		had := len(w.entries)
		seqs := w.left[:min(len(w.left), w.stride, max(1, *budget/w.cost))]
		rows, err := w.s.At(ctx, seqs)
		if err != nil {
			return err
		}
		*budget -= w.cost * len(seqs)
		slices.SortFunc(rows, func(a, b Row) int { return int(b.Seq - a.Seq) })
		for i, seq := range seqs {
			if i >= len(rows) || rows[i].Seq != seq {
				return w.gone(ctx, seq)
			}
			if err := w.take(rows[i]); err != nil {
				return err
			}
		}
		if len(w.entries)-had < len(seqs)/2 {
			w.stride = min(2*w.stride, mostAtOnce)
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
			return w.gone(ctx, at)
		}
		if err := w.take(rows[i]); err != nil {
			return err
		}
		w.before = at
	}
	return nil
}

// gone is what follows from an entry that is not there: the log was pruned up to behind
// it, and this is its end; or it is missing.
func (w *leafWay) gone(ctx context.Context, seq int64) error {
	first, err := w.s.First(ctx)
	if err != nil {
		return err
	}
	if seq >= first {
		return missing(seq)
	}
	w.before, w.left, w.segments, w.all = 0, nil, nil, true
	return nil
}
