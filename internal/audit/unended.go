package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gatehouse"
)

// maxDoubt bounds how many entries are in doubt, as far as somebody is to read them.
const maxDoubt = 10_000

// doubtBudget is how many rows NewestInDoubt reads, of all logs together. One that the
// index chooses lies by itself, and counts as chosenCost, a part of the index as partCost.
const (
	doubtBudget = 10_000
	chosenCost  = 4
)

// A Doubt is what was begun, and of which nobody knows how it ended.
type Doubt struct {
	// Entries are intents without an outcome, the oldest first.
	Entries []Shown
	// Looked is among how many of the newest entries of all logs they were looked for, and
	// From the time of the oldest of these. Both are zero if all entries were looked
	// through that could be meant.
	Looked int64
	From   time.Time
}

// InDoubt returns the intents without an outcome, the oldest first: what was begun, and
// of which nobody knows how it ended. Those since a time are wanted, and those before
// another one; an intent that is under way has no outcome yet. It reads as much as that
// takes, which grows with the log.
func (s *Searcher) InDoubt(ctx context.Context, since, before time.Time) ([]Shown, error) {
	d, err := s.inDoubt(ctx, since, before, 0)
	return d.Entries, err
}

// NewestInDoubt is InDoubt for somebody who waits: it looks through the newest entries only
// if all would take too long.
func (s *Searcher) NewestInDoubt(ctx context.Context, since, before time.Time) (Doubt, error) {
	return s.inDoubt(ctx, since, before, doubtBudget)
}

// inDoubt reads about as many rows as the budget says; zero is as many as it takes.
func (s *Searcher) inDoubt(ctx context.Context, since, before time.Time, budget int) (Doubt, error) {
	u := unended{outcomes: map[string]bool{}, since: since, before: before}
	var found Doubt
	cut := false
	for i, log := range s.logs {
		u.in = log.Registration
		var share *int
		if budget > 0 {
			// What a log does not need is left for the others.
			part := max(1, budget/(len(s.logs)-i))
			budget -= part
			share = &part
		}
		looked, from, err := u.look(ctx, log.Store, share)
		if err != nil {
			return Doubt{}, err
		}
		if share != nil {
			budget += max(0, *share)
		}
		found.Looked += looked
		if !from.IsZero() {
			cut = true
			if from.After(found.From) {
				found.From = from
			}
		}
	}
	// An outcome may stand in another log than its intent: of what is older than where one of
	// several logs was left, nobody knows here.
	several := len(s.logs) > 1
	found.Entries = slices.DeleteFunc(u.intents, func(e Shown) bool { return u.outcomes[e.ID] || several && e.When.Before(found.From) })
	slices.SortStableFunc(found.Entries, func(a, b Shown) int { return cmp.Or(a.When.Compare(b.When), cmp.Compare(a.Seq, b.Seq)) })
	if !cut {
		found.Looked = 0
	}
	return found, nil
}

// unended is what is known while the logs are read from their ends on.
type unended struct {
	since, before time.Time
	// in is the log that is read.
	in Registration
	// outcomes are the intents whose outcomes were seen and which were not.
	outcomes map[string]bool
	intents  []Shown
}

// look reads a log from its end on, and returns how many entries it looked through. If the
// budget, which may be nil, did not suffice, from is the time of the last of them.
func (d *unended) look(ctx context.Context, s SearchStore, budget *int) (looked int64, from time.Time, err error) {
	head, err := s.Head(ctx)
	if err != nil {
		return 0, from, err
	}
	// It asks segments for one term, as any search does.
	w := newLeafWay(s, &Query{}, head.Size)
	w.clauses = [][]uint32{{termOf(byOpen, "")}}
	w.each, w.cost = d.see, chosenCost
	floor, err := d.floor(ctx, s)
	if err != nil {
		return 0, from, err
	}
	for w.before > floor {
		step := lookBudget
		if budget != nil {
			if *budget <= 0 {
				break
			}
			step = *budget
		}
		left := step
		if err := w.more(ctx, &left, maxDoubt); err != nil {
			return 0, from, err
		}
		if budget != nil {
			*budget -= step - left
		}
	}
	looked = head.Size - max(w.before, floor)
	if w.before > floor {
		from, err = timeOf(ctx, s, w.before)
	}
	return looked, from, err
}

// timeOf returns the time of an entry that is there.
func timeOf(ctx context.Context, s SearchStore, seq int64) (time.Time, error) {
	rows, err := s.At(ctx, []int64{seq})
	if err != nil {
		return time.Time{}, err
	}
	if len(rows) == 0 {
		return time.Time{}, missing(seq)
	}
	e, err := shown(rows[0])
	return e.When, err
}

// floor is an index before which no entry is young enough. What comes behind it is read
// whatever its time is: a clock may have been set between an intent and its outcome.
func (d *unended) floor(ctx context.Context, s SearchStore) (at int64, err error) {
	if d.since.IsZero() {
		return 0, nil
	}
	segments, err := allSegments(ctx, s)
	if err != nil {
		return 0, err
	}
	for _, s := range slices.Backward(segments) {
		if s.sound() && s.From <= at && s.From+s.Span > at && s.Newest < d.since.UnixMicro() {
			at = s.From + s.Span
		}
	}
	return at, nil
}

func (d *unended) see(r Row) error {
	e, err := shown(r)
	if err != nil {
		return err
	}
	switch {
	case e.Kind == KindOutcome:
		d.outcomes[e.Intent] = true
	case e.Kind == KindIntent && d.outcomes[e.ID]:
		delete(d.outcomes, e.ID)
	case e.Kind == KindIntent && !e.When.Before(d.since) && (d.before.IsZero() || e.When.Before(d.before)):
		if len(d.intents) >= maxDoubt {
			return errDoubt
		}
		e.Log, e.Node = d.in.Number, d.in.Node
		d.intents = append(d.intents, e)
	}
	return nil
}

// pair takes from what is open in the short segments of a long one what belongs together:
// with many calls under way, half of each short segment is open. What cannot be read now
// stays.
func (c *catchUp) pair(ctx context.Context, from int64, terms postings) error {
	term := termOf(byOpen, "")
	open := newSet(longSpan)
	intents := map[string]int{}
	for some := range slices.Chunk(terms[term], mostAtOnce) {
		seqs := make([]int64, len(some))
		for i, at := range some {
			seqs[i] = from + int64(at)
			open.add(int(at))
		}
		rows, err := c.s.At(ctx, seqs)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b Row) int { return cmp.Compare(a.Seq, b.Seq) })
		for _, r := range rows {
			leaf, err := DecodeLeaf(r.Leaf)
			if err != nil {
				continue // whoever looks for it is told
			}
			at := int(r.Seq - from)
			switch leaf.Kind {
			case KindIntent:
				intents[leaf.ID] = at
			case KindOutcome:
				if begun, here := intents[leaf.Intent]; here {
					delete(intents, leaf.Intent)
					open.remove(begun)
					open.remove(at)
				}
			}
		}
	}
	terms.replace(term, open)
	return nil
}

// errDoubt is what is said if there are too many.
var errDoubt = fmt.Errorf("more than %d intents have no outcome; ask for a shorter time: %w", maxDoubt, gatehouse.ErrLimited)
