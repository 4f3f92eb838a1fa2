package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// reduceWait is how long Reduce waits for the log before it goes beside it.
const reduceWait = 2 * time.Second

// Reduce is Intent for what takes access away: it is admitted while the gates are
// closed. When it returns without error, the entry is on disk, in the log or in
// the spool, from where it gets into the log once. An error that is ErrUnavailable
// means that the entry is in memory only: the thing is to be done all the same, and
// the caller told; the receipt then takes its outcome, and is not valid.
func (l *Log) Reduce(ctx context.Context, e Entry) (Receipt, error) {
	e = attributed(ctx, e)
	if l.fault.Load() == nil {
		wait, cancel := context.WithTimeout(ctx, reduceWait)
		r, err := l.Intent(wait, e)
		cancel()
		if err == nil || !errors.Is(err, gatehouse.ErrUnavailable) {
			return r, err
		}
	}
	if e.Verdict == "" {
		e.Verdict = "allow"
	}
	row := l.must(KindIntent, "", e)
	err := l.take(row)
	l.entered(KindIntent, &e, 0)
	return Receipt{&receipt{id: row.ID, action: e.Action, volatile: err != nil, ended: make(chan struct{}, 1)}}, err
}

// Reduction records that access was taken away, and returns the entry's id. It
// does not wait for the log: while the gates are closed, it goes into the spool.
// It is not for what strangers can bring about: nothing bounds the memory that it
// takes.
func (l *Log) Reduction(e Entry) (id string) {
	if e.Verdict == "" {
		e.Verdict = "done"
	}
	row := l.must(KindEvent, "", e)
	l.entered(KindEvent, &e, 0)
	if l.fault.Load() == nil {
		if err := l.queue.put(row, false, true); err != nil {
			l.lost(err)
		}
		return row.ID
	}
	_ = l.take(row) // has said so
	return row.ID
}

// take keeps a row beside the log and has it written there when that can be.
func (l *Log) take(row Row) error {
	err := l.beside(row, nil)
	if err != nil && !errors.Is(err, errNoSpool) {
		l.config.Log.LogAttrs(l.base, slog.LevelError, "the spool cannot be written", slog.String("error", err.Error()))
	}
	if closed := l.queue.put(row, false, true); closed != nil && err != nil {
		l.lost(closed)
	}
	return err
}

// beside keeps a row in the spool, and what is to be done. It waits no longer than
// callers wait for the log: what is kept after that counts all the same.
func (l *Log) beside(row Row, deed *Deed) error {
	return l.spool.addWithin(min(l.config.Patience, reduceWait), row, deed)
}

// Redo says how to do what Defer noted, and returns when what processes owed that
// have ended was done, or could not be: then the gates are closed until it is. f is
// called from the goroutine that writes the log and may call Reduce, Reduction and
// Outcome. Without it nothing is deferred.
func (l *Log) Redo(ctx context.Context, f func(context.Context, Deed) error) {
	l.redo.Store(&f)
	select {
	case <-l.queue.nudge(): // after f is known, so that the look that answers has it
	case <-ctx.Done():
	}
}

// Defer notes what takes access away and could not be stored, with the entry that
// says so. It is done before any other intent is admitted, in this
// process, or in the next one that writes the log. The error it returns is what
// the caller is to be told: ErrUnavailable, with rule log/deferred when it is
// noted and cause otherwise.
func (l *Log) Defer(cause error, d Deed, e Entry) error {
	if !errors.Is(cause, gatehouse.ErrUnavailable) || l.redo.Load() == nil {
		return cause
	}
	e.Verdict = "failed"
	if e.Facts == nil {
		e.Facts = map[string]string{}
	}
	e.Facts["deferred"] = d.Kind
	row := l.must(KindEvent, "", e)
	if err := l.beside(row, &d); err != nil {
		l.config.Log.LogAttrs(l.base, slog.LevelError, "the spool cannot be written", slog.String("error", err.Error()))
		return cause
	}
	l.entered(KindEvent, &e, 0)
	if err := l.queue.put(row, false, true); err != nil {
		l.lost(err) // It is in the spool, for the next process.
	}
	l.queue.nudge()
	return fmt.Errorf("%w: %s", wire.Refuse(gatehouse.ErrUnavailable, "log/deferred",
		"The database cannot be written. What was asked for is noted beside it and is done as soon as it can be written; until then this Gatehouse makes no call."), cause.Error())
}

// redo does what is owed. It runs in the writer's goroutine, while the log can be
// written and before the gates open.
func (w *writer) redo(ctx context.Context) error {
	again := w.log.redo.Load()
	if again == nil {
		return nil
	}
	for id, d := range w.log.spool.owing() {
		if err := (*again)(ctx, d); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
			return fmt.Errorf("taking away access that is owed: %w", err)
		}
		if err := w.log.spool.done(id); err != nil {
			return err
		}
	}
	return nil
}

// errLater leaves a spool to whoever can do what it owes.
var errLater = errors.New("nobody says how")

// adopt writes what processes left behind that have ended, and does what they
// owed. Each entry gets into the log once: what is there already is left out, and
// a spool is removed only when all of it is there.
func (w *writer) adopt(ctx context.Context) error {
	return w.log.spool.orphans(ctx, func(lines []spoolLine, bad error) error {
		if bad != nil {
			w.log.config.Log.LogAttrs(ctx, slog.LevelError, "a spool of the audit log was changed by somebody else", slog.String("error", bad.Error()))
			w.log.config.OnFault(bad)
			_ = w.log.take(w.log.must(KindEvent, "", Entry{Action: "log.tampered", Verdict: "refuse", Facts: map[string]string{"where": "spool"}}))
		}
		var rows []entryRow
		again := w.log.redo.Load()
		for _, l := range lines {
			if l.Deed != nil {
				if again == nil {
					return errLater
				}
				if err := (*again)(ctx, *l.Deed); err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
					return fmt.Errorf("taking away access that a process owed: %w", err)
				}
			}
			switch _, err := w.store.Find(ctx, l.Row.ID); {
			case err == nil:
				continue
			case !errors.Is(err, gatehouse.ErrNotFound):
				return err
			}
			rows = append(rows, entryRow{Row: l.Row})
		}
		for len(rows) > 0 {
			n := min(len(rows), maxGroup)
			if err := w.write(ctx, rows[:n], false); err != nil {
				return err
			}
			rows = rows[n:]
		}
		return nil
	})
}
