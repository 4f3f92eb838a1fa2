package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// A server serves one sink. All of it belongs to one goroutine.
type server struct {
	Config
	target Target
	owner  string
	// most is how many entries are sent at once: less after a sink found it too much.
	most int
	// failures counts those in a row.
	failures int
	// stuckAt is since when the log says that the sink is stuck, and known whether
	// that was read.
	stuckAt time.Time
	known   bool
	// until is when the lease ends.
	until time.Time
}

// run sends until ctx ends.
func (s *server) run(ctx context.Context) {
	for {
		pause := s.Every
		more, err := s.turn(ctx)
		switch {
		case ctx.Err() != nil:
			s.release(ctx)
			return
		case err != nil:
			pause = s.fail(ctx, err)
		case more:
			pause = 0
		}
		if pause > 0 {
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// release lets another process take the sink at once.
func (s *server) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	now := time.Now()
	if _, err := s.Store.Lease(ctx, s.target.Name, s.owner, now, now); err != nil {
		s.Logger.LogAttrs(ctx, slog.LevelDebug, "giving a sink of the audit log back", slog.String("error", err.Error()))
	}
}

// hold takes the sink, or keeps it, for as long as one batch may take. It writes now
// and then only: on SQLite that is where the log's writer waits for its turn.
func (s *server) hold(ctx context.Context) (bool, error) {
	now := time.Now()
	if s.until.Sub(now) > s.Timeout+s.Spare/2 {
		return true, nil
	}
	until := now.Add(s.Timeout + s.Spare)
	ours, err := s.Store.Lease(ctx, s.target.Name, s.owner, now, until)
	if err == nil && ours {
		s.until = until
	}
	return ours, err
}

// errElsewhere says that another process serves the sink.
var errElsewhere = fmt.Errorf("another process serves the sink: %w", gatehouse.ErrConflict)

// turn sends at most one batch of each log, and reports whether there is more.
func (s *server) turn(ctx context.Context) (more bool, err error) {
	ours, err := s.hold(ctx)
	if err != nil {
		return false, fmt.Errorf("taking the sink: %w", err)
	}
	if !ours {
		s.known = false
		return false, errElsewhere
	}
	if err := s.recall(ctx); err != nil {
		return false, err
	}
	logs, err := s.Logs(ctx)
	if err != nil {
		return false, fmt.Errorf("looking for logs: %w", err)
	}
	var behind time.Duration
	for _, l := range logs {
		if ours, err := s.hold(ctx); err != nil || !ours {
			s.known = false
			return false, errors.Join(err, errElsewhere)
		}
		left, late, err := s.batch(ctx, l)
		behind = max(behind, late)
		if err != nil {
			return false, errors.Join(err, s.tell(ctx, behind))
		}
		more = more || left
	}
	s.failures = 0
	return more, s.tell(ctx, behind)
}

// recall reads what was said about the sink before, by this process or another.
func (s *server) recall(ctx context.Context) error {
	if s.known {
		return nil
	}
	all, err := s.Store.Health(ctx)
	if err != nil {
		return err
	}
	for _, h := range all {
		if h.Sink == s.target.Name {
			s.stuckAt = h.StuckAt
		}
	}
	s.known = true
	return nil
}

// begin returns where the sink stands in a log.
func (s *server) begin(ctx context.Context, l Log) (c Cursor, size int64, err error) {
	if size, err = l.Store.Size(ctx); err != nil {
		return c, 0, err
	}
	now := time.Now()
	c = Cursor{Sink: s.target.Name, Log: l.Number, Since: now, Moved: now}
	if s.target.FromNow {
		c.Next = size
	}
	c, err = s.Store.Begin(ctx, c)
	return c, size, err
}

// batch sends the next entries of a log. It returns whether there are more, and for
// how long the first entry that was not sent has been waiting.
func (s *server) batch(ctx context.Context, l Log) (more bool, late time.Duration, err error) {
	c, size, err := s.begin(ctx, l)
	if err != nil {
		return false, 0, err
	}
	if err := s.same(ctx, l, c, size); err != nil {
		return false, time.Since(c.Moved), err
	}
	if c.Next >= size {
		return false, 0, nil
	}
	rows, err := l.Store.Leaves(ctx, c.Next, min(s.most, s.Batch), s.BatchBytes)
	if err != nil {
		return false, 0, err
	}
	for len(rows) > 0 && rows[len(rows)-1].Index >= size {
		rows = rows[:len(rows)-1] // written since
	}
	if len(rows) == 0 {
		return false, 0, s.gap(ctx, l, c, size)
	}
	if first := rows[0].Index; first > c.Next {
		return true, 0, s.gap(ctx, l, c, first)
	}
	all := make([]Entry, 0, len(rows))
	for i, r := range rows {
		if r.Index != c.Next+int64(i) {
			break // a gap further on is the next batch's
		}
		all = append(all, NewEntry(l.Origin, r.Index, r.Leaf))
	}
	wanted := make([]Entry, 0, len(all))
	for i := range all {
		if s.target.Filter.Lets(&all[i]) {
			wanted = append(wanted, all[i])
		}
	}
	accepted, failed := s.send(ctx, wanted)
	done := len(all)
	if accepted.Entries < len(wanted) {
		// Up to the first entry that is left, with what the filter kept back before it.
		done = int(wanted[accepted.Entries].Index - c.Next)
	}
	if done > 0 {
		last := &all[done-1]
		to := Cursor{Sink: c.Sink, Log: c.Log, Next: last.Index + 1, Hash: last.Hash, Since: c.Since, Moved: time.Now()}
		if err := s.Store.Advance(ctx, s.owner, c.Next, to, int64(accepted.Entries-accepted.Rejected), int64(accepted.Rejected)); err != nil {
			return false, 0, fmt.Errorf("moving the cursor: %w", err)
		}
		if accepted.Rejected > 0 {
			s.reject(ctx, l, c.Next, last.Index, accepted.Rejected)
		}
	}
	if failed != nil {
		if done < len(all) {
			late = waiting(&all[done], c.Since)
		}
		return false, late, failed
	}
	s.most = min(2*s.most, s.Batch)
	return c.Next+int64(done) < size, 0, nil
}

// waiting returns for how long an entry has been behind.
func waiting(e *Entry, since time.Time) time.Duration {
	if at := time.UnixMicro(e.when()); e.Leaf != nil && at.After(since) {
		since = at
	}
	return time.Since(since)
}

// send gives entries to the sink. It holds nothing while it does.
func (s *server) send(ctx context.Context, entries []Entry) (Accepted, error) {
	if len(entries) == 0 {
		return Accepted{}, nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	accepted, err := s.target.Sink.Send(bounded, entries)
	if err == nil {
		return accepted, nil
	}
	f := failureOf(bounded, err)
	if f.Fewer {
		s.most = max(1, min(s.most, len(entries))/2)
	}
	return accepted, f
}

// same checks that the log goes on from what was sent: a cursor beyond its end, or
// behind another entry, would have it end in silence.
func (s *server) same(ctx context.Context, l Log, c Cursor, size int64) error {
	ok := c.Next <= size
	if ok && c.Hash != "" {
		rows, err := l.Store.Leaves(ctx, c.Next-1, 1, 0)
		if err != nil {
			return err
		}
		// An entry that was sent may have been pruned since.
		if len(rows) > 0 && rows[0].Index == c.Next-1 {
			ok = NewEntry(l.Origin, c.Next-1, rows[0].Leaf).Hash == c.Hash
		}
	}
	if ok {
		return nil
	}
	return &Failure{Class: Diverged, Text: "the log does not go on from what the sink was sent: look at 'gatehouse audit verify', and then say with 'gatehouse audit export move' where to go on"}
}

// gap goes on behind entries that are not there any more, and says so.
func (s *server) gap(ctx context.Context, l Log, c Cursor, to int64) error {
	if _, err := s.Record(ctx, audit.Entry{Action: "log.export.gap", Verdict: "failed", Facts: map[string]string{
		"sink": s.target.Name, "origin": l.Origin, "from": strconv.FormatInt(c.Next, 10), "to": strconv.FormatInt(to-1, 10),
	}}); err != nil {
		return fmt.Errorf("recording a gap: %w", err)
	}
	next := Cursor{Sink: c.Sink, Log: c.Log, Next: to, Since: c.Since, Moved: time.Now()}
	return s.Store.Advance(ctx, s.owner, c.Next, next, 0, 0)
}

// reject says that a sink threw entries away. It was asked for what it accepts, and
// answered; sending them again is what its protocol forbids.
func (s *server) reject(ctx context.Context, l Log, from, to int64, n int) {
	_, err := s.Record(ctx, audit.Entry{Action: "log.export.rejected", Verdict: "failed", Facts: map[string]string{
		"sink": s.target.Name, "origin": l.Origin, "from": strconv.FormatInt(from, 10), "to": strconv.FormatInt(to, 10), "entries": strconv.Itoa(n),
	}})
	if err != nil {
		s.Logger.LogAttrs(ctx, slog.LevelError, "a sink of the audit log rejected entries", slog.String("sink", s.target.Name),
			slog.Int64("from", from), slog.Int64("to", to), slog.Int("entries", n), slog.Any("unrecorded", err))
	}
}

// tell has the log say when the sink becomes stuck, and when it has caught up.
func (s *server) tell(ctx context.Context, behind time.Duration) error {
	facts := map[string]string{"sink": s.target.Name}
	entry := audit.Entry{Action: "log.export.stuck", Verdict: "failed", Facts: facts}
	at := time.Now()
	switch {
	case s.stuckAt.IsZero() && behind > s.target.StuckAfter:
		facts["behind"] = strconv.FormatInt(int64(behind/time.Second), 10)
	case !s.stuckAt.IsZero() && behind == 0:
		facts["stuck"] = strconv.FormatInt(int64(time.Since(s.stuckAt)/time.Second), 10)
		entry.Action, entry.Verdict, at = "log.export.ok", "done", time.Time{}
	default:
		return nil
	}
	// If it is recorded and then not noted, the same word may come twice.
	if _, err := s.Record(ctx, entry); err != nil {
		return fmt.Errorf("recording how the sink is doing: %w", err)
	}
	s.stuckAt = at
	return s.Store.Stuck(ctx, s.target.Name, s.owner, at)
}

// fail notes what went wrong and returns how long to wait.
func (s *server) fail(ctx context.Context, err error) time.Duration {
	if errors.Is(err, gatehouse.ErrConflict) {
		s.until, s.known = time.Time{}, false
		return 5 * s.Every // somebody else has the sink, or an operator moved it
	}
	pause := s.LongestBackoff
	if s.failures < 20 {
		pause = min(pause, s.Backoff<<s.failures)
	}
	s.failures++
	h := Health{Sink: s.target.Name, Class: "internal", Text: "the log or the database could not be read or written", FailedAt: time.Now()}
	var f *Failure
	if errors.As(err, &f) {
		h.Class, h.Text = f.Class, f.Text
		if f.After > 0 {
			pause = min(f.After, longestAfter)
		}
	}
	if noting := s.Store.Failed(ctx, s.owner, h); noting != nil {
		err = errors.Join(err, noting)
	}
	s.Logger.LogAttrs(ctx, slog.LevelWarn, "a sink of the audit log does not take entries", slog.String("sink", s.target.Name),
		slog.String("class", h.Class), slog.String("error", err.Error()), slog.Int("failures", s.failures))
	// Between three and five quarters, so that processes and sinks do not knock together.
	return pause*3/4 + time.Duration(rand.Int64N(int64(pause/2)+1))
}
