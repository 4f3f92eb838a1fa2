package audit

import (
	"context"
	"slices"
	"time"
)

// tailSpan is how many entries a tail looks through at a time.
const tailSpan = 4096

// A Tail hands out entries as they are written. It is for one goroutine.
type Tail struct {
	s      *Searcher
	query  Query
	places []int64
	// recorded is when it was written down that this is looked for.
	recorded time.Time
}

// Follow returns the Tail of a query from a cursor of a Tail with the same query on, or
// from now on if it is empty.
func (s *Searcher) Follow(ctx context.Context, q Query, cursor string) (*Tail, error) {
	if err := q.Validate(); err != nil {
		return nil, err
	}
	places, recorded, err := s.readCursor(cursor, cursorTail, &q)
	if err != nil {
		return nil, err
	}
	if places == nil {
		if places, err = s.sizes(ctx); err != nil {
			return nil, err
		}
	}
	return &Tail{s, q, places, recorded}, nil
}

// Before returns the cursor with which Search finds what lies before the tail.
func (t *Tail) Before() string { return t.s.Before(t.places, t.query) }

// Recorded returns when it was written down that somebody looks for this, by what
// [Tail.Record] was told, here or before the cursor; zero for never.
func (t *Tail) Recorded() time.Time { return t.recorded }

// Record notes, in the cursors from now on, when it was written down. Times are kept to the
// second.
func (t *Tail) Record(at time.Time) { t.recorded = at }

// Cursor returns where the tail goes on.
func (t *Tail) Cursor() string { return t.s.writeCursor(cursorTail, &t.query, t.recorded, t.places) }

// Next returns what was written since, the oldest first, and whether there may be more
// already. It is none if nothing that fits was. A log that has become shorter, because it
// was rolled back and accepted so, is followed from its end.
func (t *Tail) Next(ctx context.Context) (entries []Shown, more bool, err error) {
	for i, log := range t.s.logs {
		head, err := log.Store.Head(ctx)
		if err != nil {
			return nil, false, err
		}
		from := t.places[i]
		to := min(head.Size, from+tailSpan)
		if to <= from {
			t.places[i] = to
			continue
		}
		found, err := t.between(ctx, log, from, to)
		if err != nil {
			return nil, false, err
		}
		entries = append(entries, found...)
		t.places[i] = to
		more = more || to < head.Size
	}
	if len(t.s.logs) > 1 {
		slices.SortStableFunc(entries, func(a, b Shown) int { return a.When.Compare(b.When) })
	}
	return entries, more, nil
}

// between returns what fits of entries from to to-1, the oldest first.
func (t *Tail) between(ctx context.Context, log SearchedLog, from, to int64) ([]Shown, error) {
	l := newLogSearch(SearchedLog{log.Registration, upTo{log.Store}}, &t.query, t.s.hash, to)
	var found []Shown
	for {
		// Nothing bounds this but the span.
		budget := 2 * tailSpan
		if err := l.settle(ctx, &budget, tailSpan); err != nil {
			return nil, err
		}
		e := l.head()
		if e == nil && !l.done() && l.frontier() > from {
			continue
		}
		if e == nil || e.Seq < from {
			slices.Reverse(found)
			return found, nil
		}
		found = append(found, l.pop())
	}
}

// upTo is a store whose end is not indexed yet: what is looked for there is read through.
type upTo struct{ SearchStore }

// Segments implements SearchStore.
func (upTo) Segments(context.Context, int64, int) ([]IndexSegment, error) { return nil, nil }
