package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// A Condition says whether the log can be written and, if not, why not.
type Condition string

// The conditions of a log. In all but Writable no intent is admitted.
const (
	Writable Condition = "writable"
	// Slow: a write has been under way for longer than callers wait.
	Slow Condition = "slow"
	// Unwritable: the store refuses, for whatever reason but the next ones.
	Unwritable Condition = "unwritable"
	// Full: the disk is full; what takes access away is written into the space
	// that was held back for it.
	Full Condition = "full"
	// Tampered: what is stored is not what was written. Only an operator ends it.
	Tampered Condition = "tampered"
	// Owing: something that takes access away could not be stored. It is done
	// before anything else is admitted.
	Owing Condition = "owing"
	// Stopped: the log's writer has ended.
	Stopped Condition = "stopped"
)

// State is how a log is, for whoever watches it.
type State struct {
	Condition Condition
	// Since is when it became so; zero while Writable.
	Since time.Time
	// Cause is why; nil while Writable.
	Cause error
	// Reserve is false when space is to be held back and is not.
	Reserve bool
	// Queued is how many entries wait to be written, and Owed how many deeds that took
	// access away could not be stored yet.
	Queued, Owed int
}

// outage is why the gates are closed.
type outage struct {
	condition Condition
	cause     error
	since     time.Time
	// refused counts the intents and records that were refused because of it.
	refused atomic.Int64
}

// ErrFull is what a Store says when its disk is full: what was held back is
// released then.
var ErrFull = fmt.Errorf("the disk is full: %w", gatehouse.ErrUnavailable)

// ErrReplaced is what a Store says when its address does not lead to what is
// open any more.
var ErrReplaced = errors.New("the database's file was deleted or replaced while it was open")

// ErrDamaged is what a Store says when what it reads cannot have been written by
// it: the database's file was overwritten, cut, or its disk lost something.
var ErrDamaged = fmt.Errorf("the database is damaged: %w", gatehouse.ErrUnavailable)

// tamperedError says that the log is not as it was written.
type tamperedError struct{ what string }

func (e *tamperedError) Error() string {
	return e.what + "; `gatehouse audit verify` says more"
}

func tampered(format string, args ...any) error {
	return &tamperedError{fmt.Sprintf(format, args...)}
}

// conditionOf judges why a write failed.
func conditionOf(err error) Condition {
	var t *tamperedError
	switch {
	case errors.As(err, &t), errors.Is(err, ErrReplaced), errors.Is(err, ErrDamaged):
		return Tampered
	case errors.Is(err, ErrFull):
		return Full
	case errors.Is(err, errClosed):
		return Stopped
	}
	return Unwritable
}

// The texts that callers read, by the condition that refuses them. A rule is the
// condition's name behind "log/".
var details = map[Condition]string{
	Slow:       "The log is slower than can be waited for, so nothing can be recorded and nothing is done. It recovers by itself.",
	Unwritable: "The log cannot be written, so nothing can be recorded and nothing is done. It recovers by itself.",
	Full:       "The log's disk is full, so nothing can be recorded and nothing is done. It recovers by itself when there is room.",
	Tampered:   "The log is not as it was written, so nothing is done until an operator has looked: gatehouse audit verify, then gatehouse audit accept.",
	Owing:      "Access that was taken away could not be stored as such, so nothing can be recorded before it is, and nothing is done. It recovers by itself.",
	Stopped:    "The log is closed because Gatehouse is stopping, so nothing can be recorded and nothing is done.",
}

// refusal is what a caller gets while the gates are closed. The cause's own kind
// (a conflict, say) is not the caller's business.
func refusal(c Condition, cause error) error {
	return fmt.Errorf("%w: %s", wire.Refuse(gatehouse.ErrUnavailable, "log/"+string(c), details[c]), cause.Error())
}

// open returns why the gates are closed, or nil.
func (l *Log) open() error {
	if o := l.fault.Load(); o != nil {
		o.refused.Add(1)
		return refusal(o.condition, o.cause)
	}
	if l.spool.owed.Load() > 0 {
		return refusal(Owing, errOwing)
	}
	if o := l.stall.Load(); o != nil {
		o.refused.Add(1)
		return refusal(Slow, o.cause)
	}
	return nil
}

var (
	errOwing = errors.New("access that was taken away is not stored yet")
	errSlow  = errors.New("a write has not ended")
)

// State returns how the log is.
func (l *Log) State() State {
	s := State{Condition: Writable, Reserve: l.reserve.held(), Queued: l.queue.waiting(), Owed: int(l.spool.owed.Load())}
	o := l.fault.Load()
	if o == nil {
		o = l.stall.Load()
	}
	switch {
	case o != nil:
		s.Condition, s.Since, s.Cause = o.condition, o.since, o.cause
	case l.spool.owed.Load() > 0:
		s.Condition, s.Cause = Owing, errOwing
	}
	return s
}

// Fault returns why the log cannot be written at present, or nil.
func (l *Log) Fault() error {
	if o := l.fault.Load(); o != nil {
		return o.cause
	}
	return nil
}

// gates closes the gates on an error and opens them on success.
func (l *Log) gates(err error) {
	was := l.fault.Load()
	switch {
	case err != nil && was == nil:
		o := &outage{condition: conditionOf(err), cause: err, since: time.Now()}
		l.fault.Store(o)
		l.closed(o)
	case err != nil:
		// Which it is may change: a disk that is full after something else was wrong.
		if next := conditionOf(err); next != was.condition && was.condition != Tampered {
			o := &outage{condition: next, cause: err, since: was.since}
			o.refused.Store(was.refused.Load())
			l.fault.Store(o)
			l.report(o)
		}
	case was != nil:
		l.fault.Store(nil)
		l.reopened(was)
	}
}

// alerted closes the gates because of what was noticed before, or by another
// process, and is on record already.
func (l *Log) alerted() {
	if l.fault.Load() != nil {
		return
	}
	o := &outage{condition: Tampered, cause: tampered("tampering was noticed and is not accepted"), since: time.Now()}
	l.fault.Store(o)
	l.report(o)
	l.config.OnFault(o.cause)
}

// stalled closes the gates while a write takes longer than can be waited for.
func (l *Log) stalled() {
	o := &outage{condition: Slow, cause: errSlow, since: time.Now()}
	if l.busy.Load() && l.stall.CompareAndSwap(nil, o) {
		l.closed(o)
	}
}

// begin marks that the store is at work; the function that it returns, that it
// has ended.
func (l *Log) begin() (end func()) {
	l.busy.Store(true)
	return func() {
		l.busy.Store(false)
		if o := l.stall.Swap(nil); o != nil {
			l.reopened(o)
		}
	}
}

// report tells the operator why nothing is admitted.
func (l *Log) report(o *outage) {
	l.config.Log.LogAttrs(l.base, slog.LevelError, "audit log cannot be written, calls are refused",
		slog.String("condition", string(o.condition)), slog.String("error", o.cause.Error()))
}

// closed tells that the gates are closed, and has it written as soon as anything
// can be: into the log's reserve, or beside the log.
func (l *Log) closed(o *outage) {
	l.report(o)
	l.config.OnFault(o.cause)
	e := Entry{Action: "log.close", Verdict: "refuse", Rule: "log/" + string(o.condition), Facts: map[string]string{"condition": string(o.condition)}}
	if o.condition == Tampered {
		e.Action = "log.tampered"
	}
	row := l.must(KindEvent, "", e)
	l.entered(KindEvent, &e, 0)
	_ = l.beside(row, nil)            // without one, it is written when the log can be
	_ = l.queue.put(row, false, true) // closed already: the error of Run says more
}

// reopened tells that the gates are open again, and how many were refused. It is
// called by the writer.
func (l *Log) reopened(o *outage) {
	l.config.Log.LogAttrs(l.base, slog.LevelInfo, "audit log can be written again",
		slog.String("condition", string(o.condition)), slog.Duration("after", time.Since(o.since)), slog.Int64("refused", o.refused.Load()))
	l.config.OnRecover()
	e := Entry{Action: "log.open", Verdict: "done", Facts: map[string]string{
		"condition": string(o.condition),
		"seconds":   strconv.FormatInt(int64(time.Since(o.since)/time.Second), 10),
		"refused":   strconv.FormatInt(o.refused.Load(), 10),
	}}
	row := l.must(KindEvent, "", e)
	l.entered(KindEvent, &e, 0)
	if err := l.queue.put(row, false, true); err != nil {
		l.writer.pending = append(l.writer.pending, entryRow{Row: row, urgent: true}) // Run is about to end
	}
}
