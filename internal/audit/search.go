package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	// caller is whose cursors it takes.
	caller string
	// budget is how many rows one page reads.
	budget int
}

// A SearchedLog is one of the logs that are searched together.
type SearchedLog struct {
	Registration
	Store SearchStore
}

// NewSearcher returns the Searcher of logs; hash may be nil.
func NewSearcher(hash IndexHash, logs ...SearchedLog) *Searcher {
	return &Searcher{logs: logs, hash: hash, budget: lookBudget}
}

// As returns the Searcher of a caller, who can go on with cursors of their own only.
func (s *Searcher) As(caller string) *Searcher {
	c := *s
	c.caller = caller
	return &c
}

// Within returns a Searcher whose pages read about as many rows: for somebody who waits,
// and takes a page that is shorter than was asked for what was found so far.
func (s *Searcher) Within(rows int) *Searcher {
	c := *s
	c.budget = rows
	return &c
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
	before, _, err := s.readCursor(cursor, cursorPage, &q)
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
	budget := s.budget
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
		page.Next = s.writeCursor(cursorPage, &q, time.Time{}, before)
	}
	return page, nil
}

// A Place is where logs ended at some moment.
type Place []int64

// Here returns where the logs end now.
func (s *Searcher) Here(ctx context.Context) (Place, error) { return s.sizes(ctx) }

// Before returns the cursor with which Search finds only what was before the place.
func (s *Searcher) Before(p Place, q Query) string {
	return s.writeCursor(cursorPage, &q, time.Time{}, p)
}

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
	// start is where all ways begin.
	start int64
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
		l := &logSearch{in: s.Registration, start: before}
		for i := range q.Found {
			l.ways = append(l.ways, &personWay{found: found{before: before}, s: s.Store, query: q, whose: &q.Found[i]})
		}
		return l
	}
	l := &logSearch{s.Registration, []way{newLeafWay(s.Store, q, before)}, before}
	if q.Destination != "" && hash != nil {
		sealed := *q
		sealed.Destination = ""
		l.ways = append(l.ways, &personWay{found: found{before: before}, s: s.Store, query: &sealed, whose: &Found{Hash: hash, Kind: factDestination, Value: q.Destination}})
	}
	return l
}

// settle has all ways look until the first entry of each is known, as far as the budget
// goes. The one that is furthest behind looks first, so that none waits for ever, and each
// looks once, so that the next page begins further on.
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
		if behind == nil || *budget <= 0 && last.before < l.start {
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
	// times is how often it has looked.
	times int
}

func (p *personWay) more(ctx context.Context, budget *int, want int) error {
	person, term := p.whose.keys()
	if person == nil {
		p.before = 0
		return nil
	}
	// Of what was read few fitted, so more is read at a time: each time is a journey to
	// the database.
	limit := min(readBatch, max(16, 2*want)<<min(p.times, 6), max(16, *budget))
	p.times++
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
