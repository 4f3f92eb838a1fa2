package reconcile

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// An Equation says how many rows of a kind may have been added while so many entries
// were written.
type Equation struct {
	Name string
	// Adds are the actions of the entries that may add one row each.
	Adds []string
	// Removes are the actions of the entries that say how many rows they remove. With them
	// there are never fewer rows than they explain.
	Removes []string
	// Exact says that what is done adds exactly one row. Otherwise it adds one at most.
	Exact bool
	// Items says that an entry may add as many as it has items.
	Items bool
	// Lags says that rows may be counted up to lag after the entry; Leads that they are
	// before it, so that what is too many has to be so at two comparisons.
	Lags, Leads bool
	// Grows says that the log bounds nothing, but that there are never fewer rows;
	// Shrinks that old ones are forgotten.
	Grows, Shrinks bool
}

// lag is how late the rows of an equation that Lags may come.
const lag = 10 * time.Minute

// Equations are what is compared; the store counts the rows by these names.
var Equations = []Equation{
	{Name: "handles", Adds: []string{"handle.create"}, Exact: true},
	{Name: "service-keys", Adds: []string{"service.key.create"}, Exact: true},
	{Name: "connections", Adds: []string{"connect.redeem", "connect.adopt", "connect.import"}},
	{Name: "erasures", Adds: []string{"person.erase"}, Leads: true},
	{Name: "records", Adds: []string{"record.put"}, Removes: []string{"record.delete", "record.expire"}},
	// What is delivered or closed is said first and then noted in its row.
	{Name: "deliveries", Adds: []string{"event.deliver", "event.ack"}, Lags: true, Shrinks: true},
	{Name: "duties-closed", Adds: []string{"duty.done", "duty.refuse"}, Lags: true},
	{Name: "uses", Adds: []string{"call", "call.stream"}, Items: true, Lags: true, Shrinks: true},
	// What was revoked stays so. How many rows one revocation changes, the log does not
	// say.
	{Name: "handles-revoked", Grows: true},
	{Name: "service-keys-revoked", Grows: true},
	// Nor is any duty forgotten.
	{Name: "duties", Grows: true},
}

// carry is the prefix of the names under which a Moment keeps what was too many in
// an equation that Leads, and before that of what an equation that Lags still expects.
const carry, before = "carry/", "before/"

// removing is the prefix of the names that say that rows may go yet of which nothing may
// be said: somebody was about to remove them.
const removing = "removing/"

// A Moment is what the database held at one time.
type Moment struct {
	At time.Time
	// Rows are numbers by the names of equations.
	Rows map[string]int64
	// Sizes are how many entries each log has.
	Sizes map[int64]int64
}

// A Count is one equation, compared.
type Count struct {
	Name string `json:"name"`
	// Added is how many rows were added, Least and Most what the log allows.
	Added int64 `json:"added"`
	Least int64 `json:"least"`
	Most  int64 `json:"most"`
}

// tally is what the log says of one equation.
type tally struct {
	least, most int64
	open        map[string]bool // intents without outcome so far
	loose       map[string]bool // outcomes without intent so far, by its id: done?

	removed  int64           // rows that entries say they removed
	unknown  bool            // there may be more
	removers map[string]bool // intents to remove: ended?
}

func newTally() *tally {
	return &tally{open: map[string]bool{}, loose: map[string]bool{}, removers: map[string]bool{}}
}

// The reasons for which counts begin anew.
const (
	baselineFirst    = "first"    // there is nothing to compare with
	baselineRestored = "restored" // the database is a backup's
	baselineAccepted = "accepted" // an operator accepted a log that was changed
	baselineShorter  = "shorter"  // a log has fewer entries than before
	baselineClock    = "clock"    // this machine's clock was set
	baselineLogs     = "logs"     // there are other logs than before
)

// counts compares how rows and entries have grown since the last time.
func (r *Reconciler) counts(ctx context.Context, report *Report) error {
	now, err := r.config.Store.Moment(ctx)
	if err != nil {
		return err
	}
	was, err := r.config.Store.Baseline(ctx)
	if errors.Is(err, gatehouse.ErrNotFound) {
		report.Baseline = baselineFirst
	} else if err != nil {
		return err
	}
	if report.Baseline == "" {
		if report.Baseline, err = r.compare(ctx, report, was, now); err != nil {
			return err
		}
	}
	// Only now: who dies before compares the same once more.
	if err := r.expect(ctx, &now); err != nil {
		return err
	}
	return r.config.Store.SaveBaseline(ctx, now)
}

// compare judges every equation, unless it returns why it cannot.
func (r *Reconciler) compare(ctx context.Context, report *Report, was, now Moment) (string, error) {
	tallies := map[string]*tally{}
	for _, e := range Equations {
		tallies[e.Name] = newTally()
		tallies[e.Name].most = was.Rows[before+e.Name]
		tallies[e.Name].unknown = was.Rows[removing+e.Name] > 0
	}
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return "", err
	}
	if len(was.Sizes) != len(logs) {
		return baselineLogs, nil
	}
	for _, log := range logs {
		from, before := was.Sizes[log.Number]
		to, still := now.Sizes[log.Number]
		if !before || !still {
			return baselineLogs, nil
		}
		if to < from {
			return baselineShorter, nil
		}
		if why, err := r.tally(ctx, log, from, to, tallies); why != "" || err != nil {
			return why, err
		}
	}
	for i := range Equations {
		e, t := &Equations[i], tallies[Equations[i].Name]
		if _, known := was.Rows[e.Name]; !known {
			continue // the last comparison was by a Gatehouse that did not count these
		}
		t.close()
		c := Count{Name: e.Name, Added: now.Rows[e.Name] - was.Rows[e.Name], Most: t.most}
		switch {
		case e.Exact:
			c.Least = t.least
		case len(e.Removes) > 0 && t.unknown:
			c.Least = min(0, c.Added)
		case len(e.Removes) > 0:
			c.Least = -t.removed
		}
		if t.removing() {
			now.Rows[removing+e.Name] = 1
		}
		report.Counts = append(report.Counts, c)
		switch {
		case e.Grows:
			c.Most = max(0, c.Added)
		case e.Shrinks:
			c.Least = min(0, c.Added)
		}
		excess, bound := max(0, c.Added-c.Most), c.Most
		if c.Added < c.Least {
			excess, bound = c.Added-c.Least, c.Least
		}
		if e.Leads {
			// What was too many last time and still is.
			carried := was.Rows[carry+e.Name]
			still := max(0, c.Added+carried-c.Most)
			excess = min(carried, still)
			now.Rows[carry+e.Name] = still - excess
		}
		if excess == 0 {
			continue
		}
		if err := r.record(ctx, report, ruleRows, Difference{
			Check: e.Name, Counted: c.Added, Logged: bound, Excess: excess, From: was.At, Until: now.At,
		}); err != nil {
			return "", err
		}
	}
	return "", nil
}

// tally adds up what the entries from one index to another allow.
func (r *Reconciler) tally(ctx context.Context, log Log, from, to int64, tallies map[string]*tally) (why string, err error) {
	const batch = 4096
	for at := from; at < to; {
		var rows []audit.Row
		err := log.Entries.Snapshot(ctx, func(reader audit.Reader) (err error) {
			rows, err = reader.Entries(ctx, at, int(min(batch, to-at)))
			return err
		})
		if err != nil {
			return "", err
		}
		if len(rows) == 0 {
			return baselineShorter, nil
		}
		for i := range rows {
			leaf, err := audit.DecodeLeaf(rows[i].Leaf)
			if err != nil {
				return "", err
			}
			switch leaf.Action {
			case "backup.restore":
				return baselineRestored, nil
			case "log.accept":
				return baselineAccepted, nil
			case "log.clock":
				return baselineClock, nil
			}
			for j := range Equations {
				e := &Equations[j]
				if slices.Contains(e.Adds, leaf.Action) {
					tallies[e.Name].add(e, leaf)
				}
				if slices.Contains(e.Removes, leaf.Action) {
					tallies[e.Name].remove(leaf)
				}
			}
		}
		at = rows[len(rows)-1].Seq + 1
	}
	return "", nil
}

// add takes one entry in. A row is written between its intent and its outcome. So
// every intent since the last comparison may have added one, and so may an outcome
// whose intent was before; and what is done has added one since the last comparison,
// if its intent was written since then.
func (t *tally) add(e *Equation, leaf *audit.Leaf) {
	each := int64(1)
	if e.Items {
		each = items(leaf)
	}
	switch {
	case leaf.Kind == audit.KindEvent && leaf.Verdict == "refuse":
	case leaf.Kind == audit.KindEvent, leaf.Kind == audit.KindIntent && e.Lags:
		t.most += each
	case leaf.Kind == audit.KindIntent:
		t.most += each
		t.open[leaf.ID] = true
	case leaf.Kind == audit.KindOutcome && !e.Lags:
		if t.open[leaf.Intent] {
			delete(t.open, leaf.Intent)
			t.ended(leaf.Verdict == "done")
			return
		}
		// Its intent was before, or stands in another log.
		t.loose[leaf.Intent] = leaf.Verdict == "done"
	}
}

// items is how many calls the platform counts of an intent: those of a batch, or of a
// list of ids.
func items(leaf *audit.Leaf) int64 {
	n, err := strconv.ParseInt(leaf.Facts["items"], 10, 32)
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// ended takes in that an intent since the last comparison has come to its end.
func (t *tally) ended(done bool) {
	if done {
		t.least++
	}
}

// remove takes in one entry of those that remove rows, which say so when it is done.
func (t *tally) remove(leaf *audit.Leaf) {
	if leaf.Kind == audit.KindIntent {
		if _, ended := t.removers[leaf.ID]; !ended {
			t.removers[leaf.ID] = false
		}
		return
	}
	if leaf.Kind == audit.KindOutcome {
		t.removers[leaf.Intent] = true
	} else if leaf.Verdict == "refuse" {
		return
	}
	n, err := strconv.ParseInt(leaf.Facts["records"], 10, 64)
	if err != nil || n < 0 || leaf.Verdict != "done" {
		t.unknown = true // as many as it likes
		return
	}
	t.removed += n
}

// removing reports whether somebody is about to remove rows.
func (t *tally) removing() bool {
	for _, ended := range t.removers {
		if !ended {
			return true
		}
	}
	return false
}

// close takes in the outcomes that were not with their intents.
func (t *tally) close() {
	for intent, done := range t.loose {
		if t.open[intent] {
			t.ended(done)
		} else {
			t.most++
		}
	}
	t.unknown = t.unknown || t.removing()
}

// expect notes what equations that Lag may still get rows for.
func (r *Reconciler) expect(ctx context.Context, now *Moment) error {
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return err
	}
	for i := range Equations {
		e := &Equations[i]
		if !e.Lags {
			continue
		}
		t := newTally()
		for _, log := range logs {
			err := each(ctx, log.List, now.At.Add(-lag), mostEntries, func(leaf *audit.Leaf) {
				if slices.Contains(e.Adds, leaf.Action) && leaf.Kind != audit.KindOutcome {
					t.add(e, leaf)
				}
			})
			if errors.Is(err, errMany) {
				t.most = math.MaxInt32 // nothing can be said next time
			} else if err != nil {
				return err
			}
		}
		now.Rows[before+e.Name] = t.most
	}
	return nil
}

// errMany means that there are more entries than are read.
var errMany = errors.New("there are too many entries to read")

// each calls f with the entries since a time, the newest first, and returns errMany
// after the most that are read.
func each(ctx context.Context, list audit.ListStore, since time.Time, most int, f func(*audit.Leaf)) error {
	read := 0
	for from := int64(math.MaxInt64); ; {
		rows, err := list.Before(ctx, from, readBatch)
		if err != nil {
			return err
		}
		for i := range rows {
			leaf, err := audit.DecodeLeaf(rows[i].Leaf)
			if err != nil {
				return err
			}
			// Entries of one group stand in the order of their arrival.
			if leaf.When().Before(since.Add(-skew)) {
				return nil
			}
			f(leaf)
		}
		if len(rows) < readBatch {
			return nil
		}
		if read += len(rows); read >= most {
			return errMany
		}
		from = rows[len(rows)-1].Seq
	}
}
