package audit

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"gatehouse"
)

// A Filter chooses entries. The zero chooses the newest ones.
type Filter struct {
	// Last is how many entries are wanted; the zero means 50.
	Last int
	// Since leaves out what is older.
	Since time.Time
	// Found chooses by whose entries they are.
	Found Found

	Action    string
	Service   gatehouse.ServiceName
	Purpose   gatehouse.PurposeName
	Operation gatehouse.Operation
	Verdict   string
	// Intent is an intent's id: its outcome is wanted.
	Intent string
}

// defaultLast is how many entries are listed where nobody says how many.
const defaultLast = 50

func (f *Filter) matches(l *Leaf) bool {
	is := func(want, has string) bool { return want == "" || want == has }
	return is(f.Action, l.Action) && is(string(f.Service), string(l.Service)) && is(string(f.Purpose), string(l.Purpose)) &&
		is(string(f.Operation), string(l.Operation)) && is(f.Verdict, l.Verdict) && is(f.Intent, l.Intent)
}

// A Shown is an entry as a person reads it. Personal fields stay sealed; who
// may open them does so with Sealed and SealContext.
type Shown struct {
	// Log is the number of the log that has the entry, and Node the node that writes it.
	Log  int64  `json:"-"`
	Node string `json:"node,omitempty"`
	Seq  int64  `json:"seq"`
	Leaf
	// When is the leaf's time in a readable form.
	When time.Time `json:"when"`
	// SearchV1 is the connection of an entry of version 1, and Owner the hash of the
	// person (see PersonHash) if the entry was looked for by it. They stand outside the
	// tree.
	SearchV1 string `json:"-"`
	Owner    []byte `json:"-"`
	Sealed   []byte `json:"-"`
}

func shown(r Row) (Shown, error) {
	leaf, err := DecodeLeaf(r.Leaf)
	if err != nil {
		return Shown{}, fmt.Errorf("reading entry %d (%s); `gatehouse audit verify` says more: %w", r.Seq, r.ID, err)
	}
	return Shown{Seq: r.Seq, Leaf: *leaf, When: leaf.When(), SearchV1: r.SearchV1, Owner: r.Index.Person, Sealed: r.Personal}, nil
}

// List returns the newest entries that the filter chooses, the oldest first.
// It trusts what is stored; Verify tells whether that is what was written.
func List(ctx context.Context, s ListStore, f Filter) ([]Shown, error) {
	if f.Last == 0 {
		f.Last = defaultLast
	}
	if f.Last < 0 {
		return nil, fmt.Errorf("listing the log: %d entries cannot be shown: %w", f.Last, gatehouse.ErrInvalid)
	}
	person, term := f.Found.keys()
	var found []Shown
	for before := int64(math.MaxInt64); len(found) < f.Last; {
		var rows []Row
		var err error
		if person != nil {
			rows, err = s.Indexed(ctx, person, string(f.Found.Connection), before, readBatch)
		} else {
			rows, err = s.Before(ctx, before, readBatch)
		}
		if err != nil {
			return nil, err
		}
		full := len(rows) == readBatch
		for _, r := range rows {
			if term != nil && r.SearchV1 == "" && !r.Index.has(term) {
				continue
			}
			e, err := shown(r)
			if err != nil {
				return nil, err
			}
			// Entries of one group are in order of arrival, not exactly of
			// time, so one that is too old may stand before one that is not;
			// a minute later none can.
			if e.When.Before(f.Since.Add(-time.Minute)) {
				full = false
				break
			}
			if !e.When.Before(f.Since) && f.matches(&e.Leaf) && len(found) < f.Last {
				found = append(found, e)
			}
		}
		if !full {
			break
		}
		before = rows[len(rows)-1].Seq
	}
	slices.Reverse(found)
	return found, nil
}

// Show returns the entry with the id and, if it is an intent, its outcome
// (when there is one).
func Show(ctx context.Context, s ListStore, id string) ([]Shown, error) {
	row, err := s.Entry(ctx, id)
	if err != nil {
		return nil, err
	}
	e, err := shown(row)
	if err != nil {
		return nil, err
	}
	all := []Shown{e}
	if e.Kind != KindIntent {
		return all, nil
	}
	outcomes, err := List(ctx, s, Filter{Last: 1, Intent: id, Since: e.When})
	if err != nil {
		return nil, err
	}
	return append(all, outcomes...), nil
}
