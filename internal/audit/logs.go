package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gatehouse"
)

// A Registration is one of the logs of a database, as its list of logs has it. That
// list is not signed; that a log belongs to it stands in log 0 (log.node).
type Registration struct {
	// Number counts from 0. Log 0 is that of all nodes without a name; of it, nothing
	// but the number is in the list.
	Number int64
	// Node is the name of the node that writes the log.
	Node string
	// Origin and Key are the log's name and its public key, in the form that
	// note.NewVerifier reads.
	Origin, Key string
	Created     time.Time
	// Entry is the entry of log 0 that names the log; empty until there is one.
	Entry string
}

// LogsStore is what is read of all logs of a database at once.
type LogsStore interface {
	// SnapshotLogs calls f with a reader that sees one moment of all logs.
	SnapshotLogs(ctx context.Context, f func(LogsReader) error) error
	// LookLogs is SnapshotLogs as somebody would see it who comes anew; see Store.Look.
	LookLogs(ctx context.Context, f func(LogsReader) error) error
}

// LogsReader reads what is stored of all logs.
type LogsReader interface {
	// Logs returns the list of logs in order of their numbers.
	Logs(ctx context.Context) ([]Registration, error)
	// Present returns the numbers of the logs of which anything is stored, whether the
	// list has them or not.
	Present(ctx context.Context) ([]int64, error)
	// Heads returns the newest state of every log that has one, by number.
	Heads(ctx context.Context) (map[int64]Head, error)
	// Log returns what reads one log.
	Log(number int64) LogReader
}

// LogReader reads one log.
type LogReader interface {
	Reader
	Moment
}

// A ListedLog is one of several logs that are listed together.
type ListedLog struct {
	Registration
	Store ListStore
}

// ListLogs is List over several logs, merged by time.
func ListLogs(ctx context.Context, logs []ListedLog, f Filter) ([]Shown, error) {
	var all []Shown
	for _, l := range logs {
		found, err := List(ctx, l.Store, f)
		if err != nil {
			return nil, err
		}
		for i := range found {
			found[i].Log, found[i].Node = l.Number, l.Node
		}
		all = append(all, found...)
	}
	if len(logs) > 1 {
		slices.SortStableFunc(all, func(a, b Shown) int { return cmp.Compare(a.Time, b.Time) })
	}
	last := f.Last
	if last == 0 {
		last = defaultLast
	}
	return all[max(0, len(all)-last):], nil
}

// ShowLogs is Show over several logs: an intent's outcome may stand in another one, if
// its node died and another finished what it had begun. It reads all that was written since.
func ShowLogs(ctx context.Context, logs []ListedLog, id string) ([]Shown, error) {
	e, err := EntryOf(ctx, logs, id)
	if err != nil {
		return nil, err
	}
	all := []Shown{e}
	if e.Kind != KindIntent {
		return all, nil
	}
	outcomes, err := ListLogs(ctx, logs, Filter{Last: 1, Intent: id, Since: e.When})
	return append(all, outcomes...), err
}

// EntryOf returns the entry with the id, in whichever log it stands.
func EntryOf(ctx context.Context, logs []ListedLog, id string) (Shown, error) {
	for _, l := range logs {
		row, err := l.Store.Entry(ctx, id)
		if errors.Is(err, gatehouse.ErrNotFound) {
			continue
		}
		if err != nil {
			return Shown{}, err
		}
		e, err := shown(row)
		e.Log, e.Node = l.Number, l.Node
		return e, err
	}
	return Shown{}, fmt.Errorf("no log has an entry %q: %w", id, gatehouse.ErrNotFound)
}

// OutcomeOf looks for the outcome of an intent in its own log, among as many of the entries
// that follow it. If it is not there, more says that others follow these.
func OutcomeOf(ctx context.Context, s SearchStore, intent *Shown, most int64) (outcome []Shown, more bool, err error) {
	head, err := s.Head(ctx)
	if err != nil {
		return nil, false, err
	}
	needle := appendString(append(appendString(nil, "intent"), ':'), intent.ID)
	end := min(head.Size, intent.Seq+1+most)
	for from := intent.Seq + 1; from < end; from += outcomeBatch {
		rows, err := s.Between(ctx, from, min(end, from+outcomeBatch))
		if err != nil {
			return nil, false, err
		}
		for _, r := range rows {
			if !bytes.Contains(r.Leaf, needle) {
				continue
			}
			e, err := shown(r)
			if err != nil {
				return nil, false, err
			}
			if e.Kind == KindOutcome && e.Intent == intent.ID {
				e.Log, e.Node = intent.Log, intent.Node
				return []Shown{e}, false, nil
			}
		}
	}
	return nil, end < head.Size, nil
}

// outcomeBatch is how many entries are read at once for an outcome, which most often is
// among the next few.
const outcomeBatch = 256
