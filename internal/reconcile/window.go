package reconcile

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	// lookback is how long a call may take from its intent to being counted by the
	// platform: with the first reading of a window, calls that began so long before may
	// not be counted yet. A reply's header is waited for 30 seconds by default, and a
	// renewal before it takes less than a minute.
	lookback = 2 * time.Minute
	// skew is by how much the clocks of two nodes may differ.
	skew = time.Minute
	// readBatch is how many entries are read at once, mostOfPerson how many of one
	// person's, and mostEntries how many of everybody's.
	readBatch, mostOfPerson, mostEntries = 512, 50_000, 2_000_000
)

// span is the time in which the intents of what a window's Last counts beyond its
// First must have been written: after from, not after until.
func (w *Window) span() (from, until time.Time) {
	return w.First.Began.Add(-lookback), w.Last.At.Add(skew)
}

// drop is how many calls the platform counted between the two readings.
func (w *Window) drop() int64 { return w.First.Left - w.Last.Left }

// windows judges what the platforms counted since the last look.
func (r *Reconciler) windows(ctx context.Context, report *Report) error {
	store := r.config.Store
	list, err := store.OpenWindows(ctx, mostWindows)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		earliest := list[0].First.Began
		for i := range list {
			if list[i].First.Began.Before(earliest) {
				earliest = list[i].First.Began
			}
		}
		usage := slices.ContainsFunc(list, func(w Window) bool { return w.Operation == appUsage })
		around, err := r.around(ctx, earliest.Add(-lookback-skew), usage)
		if err != nil {
			return err
		}
		for i := range list {
			if err := r.window(ctx, report, &list[i], around); err != nil {
				return err
			}
		}
	}
	return store.SweepWindows(ctx, report.At.Add(-keepWindows))
}

// window judges one.
func (r *Reconciler) window(ctx context.Context, report *Report, w *Window, around *surroundings) error {
	report.Windows++
	if w.Operation == appUsage {
		return r.usage(ctx, report, w, around)
	}
	from, until := w.span()
	logged, known, err := r.logged(ctx, w, from, until)
	if err != nil {
		return err
	}
	told := w.Told
	switch {
	case !known || logged == 0 || around.incomplete || around.clockMoved(from):
		// Not all was read, times cannot be compared, or not even the call of the first
		// reading is found, because its person was erased: nothing is said.
		report.Unjudged++
	default:
		repeats, err := r.config.Store.Repeats(ctx, *w, from, until)
		if err != nil {
			return err
		}
		// The first reading's own call has its intent in the span and is not in the drop.
		logged += repeats - 1
		if w.Operation == ownOperation {
			logged += around.own(from, until)
		}
		// What was told already counts as explained.
		if more := w.drop() - logged - told; more > 0 {
			if err := r.record(ctx, report, ruleElsewhere, Difference{
				Check: "x-window", Platform: gatehouse.X, App: w.App, Operation: w.Operation, Connection: w.Connection,
				Counted: w.drop(), Logged: logged + told, Excess: more, From: w.First.Began, Until: w.Last.At,
			}); err != nil {
				return err
			}
			told += more
		}
	}
	return r.config.Store.JudgeWindow(ctx, *w, told)
}

// usage judges a leap of what Meta says is used of an app's hour.
func (r *Reconciler) usage(ctx context.Context, report *Report, w *Window, around *surroundings) error {
	from, until := w.span()
	var logged int64
	for _, s := range around.spent {
		if s.app == w.App && s.at.After(from) && !s.at.After(until) {
			logged += s.calls
		}
	}
	told := w.Told
	if around.incomplete || around.clockMoved(from) {
		report.Unjudged++
	} else if more := w.drop() - logged - told; more > 0 {
		if err := r.record(ctx, report, ruleElsewhere, Difference{
			Check: "meta-app", Platform: gatehouse.Facebook, App: w.App, Counted: w.drop(), Logged: logged + told, Excess: more,
			From: w.First.Began, Until: w.Last.At,
		}); err != nil {
			return err
		}
		told += more
	}
	return r.config.Store.JudgeWindow(ctx, *w, told)
}

// logged counts the intents that the logs hold of a window's person and operation in a
// time, with whichever app: two registrations here may be one app at X, whose calls
// share a window. known is false if there are too many to read.
func (r *Reconciler) logged(ctx context.Context, w *Window, from, until time.Time) (n int64, known bool, err error) {
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return 0, false, err
	}
	for _, log := range logs {
		read := 0
		for before := int64(math.MaxInt64); ; {
			rows, err := log.List.Indexed(ctx, w.Owner, "", before, readBatch)
			if err != nil {
				return 0, false, err
			}
			over := len(rows) < readBatch
			for i := range rows {
				leaf, err := audit.DecodeLeaf(rows[i].Leaf)
				if err != nil {
					return 0, false, err
				}
				// Entries of one group stand in the order of their arrival.
				if leaf.When().Before(from.Add(-skew)) {
					over = true
					break
				}
				if leaf.Kind == audit.KindIntent && strings.HasPrefix(leaf.Action, "call") && leaf.Platform == gatehouse.X && leaf.Operation == w.Operation &&
					leaf.When().After(from) && !leaf.When().After(until) {
					n++
				}
			}
			if over {
				break
			}
			if read += len(rows); read >= mostOfPerson {
				return 0, false, nil
			}
			before = rows[len(rows)-1].Seq
		}
	}
	return n, true, nil
}

// ownOperation is X's operation that Gatehouse itself calls with a person's token, to
// learn who has come back from consent, or whose token was handed in. The intents of
// those calls are not found by the person, who is not yet known.
const ownOperation gatehouse.Operation = "GET /2/users/me"

// surroundings are what else happened meanwhile.
type surroundings struct {
	incomplete bool
	clocks     []time.Time
	came       []time.Time // when a token was asked about
	spent      []spent     // only if it is asked for
}

// around reads what everybody's entries since then say; with usage, also of calls to
// Meta.
func (r *Reconciler) around(ctx context.Context, since time.Time, usage bool) (*surroundings, error) {
	s := &surroundings{}
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		err := each(ctx, log.List, since, mostEntries, func(leaf *audit.Leaf) {
			if usage {
				if one, ok := spend(leaf); ok {
					s.spent = append(s.spent, one)
				}
			}
			switch {
			case leaf.Action == "log.clock":
				s.clocks = append(s.clocks, leaf.When())
			case leaf.Kind == audit.KindIntent && leaf.Platform == gatehouse.X && (leaf.Action == "connect.callback" || leaf.Action == "connect.import"):
				s.came = append(s.came, leaf.When())
			}
		})
		if errors.Is(err, errMany) {
			s.incomplete = true
		} else if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// clockMoved reports whether a clock was set after a time, so that what is written of
// times since then cannot be compared.
func (s *surroundings) clockMoved(since time.Time) bool {
	for _, at := range s.clocks {
		if at.After(since) {
			return true
		}
	}
	return false
}

// own counts Gatehouse's own calls to X with people's tokens.
func (s *surroundings) own(from, until time.Time) (n int64) {
	for _, at := range s.came {
		if at.After(from) && !at.After(until) {
			n++
		}
	}
	return n
}
