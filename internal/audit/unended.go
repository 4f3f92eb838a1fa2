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

// InDoubt returns the intents without an outcome, the oldest first: what was begun, and
// of which nobody knows how it ended. Those since a time are wanted, and those before
// another one; an intent that is under way has no outcome yet.
func (s *Searcher) InDoubt(ctx context.Context, since, before time.Time) ([]Shown, error) {
	d := unended{outcomes: map[string]bool{}, since: since, before: before}
	for _, log := range s.logs {
		d.in = log.Registration
		if err := d.look(ctx, log.Store); err != nil {
			return nil, err
		}
	}
	// An outcome may stand in another log than its intent.
	d.intents = slices.DeleteFunc(d.intents, func(e Shown) bool { return d.outcomes[e.ID] })
	slices.SortStableFunc(d.intents, func(a, b Shown) int { return cmp.Or(a.When.Compare(b.When), cmp.Compare(a.Seq, b.Seq)) })
	return d.intents, nil
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

func (d *unended) look(ctx context.Context, s SearchStore) error {
	head, err := s.Head(ctx)
	if err != nil {
		return err
	}
	// It asks segments for one term, as any search does.
	w := newLeafWay(s, &Query{}, head.Size)
	w.clauses = [][]uint32{{termOf(byOpen, "")}}
	w.each = d.see
	floor, err := d.floor(ctx, s)
	if err != nil {
		return err
	}
	for w.before > floor {
		budget := lookBudget
		if err := w.more(ctx, &budget, maxDoubt); err != nil {
			return err
		}
	}
	return nil
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

// errDoubt is what is said if there are too many.
var errDoubt = fmt.Errorf("more than %d intents have no outcome; ask for a shorter time: %w", maxDoubt, gatehouse.ErrLimited)
