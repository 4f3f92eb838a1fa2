package export

import (
	"context"
	"slices"
	"time"
)

// States of a sink.
const (
	// StateNew is of a sink that nothing was sent to yet.
	StateNew = "new"
	// StateOK is of one that took the last thing that it was sent.
	StateOK = "ok"
	// StateRetrying is of one that did not.
	StateRetrying = "retrying"
	// StateStuck is of one of which the log says that it is stuck.
	StateStuck = "stuck"
	// StateUnserved is of one that is behind and that no process serves.
	StateUnserved = "unserved"
	// StateRemoved is of one that the configuration does not have any more.
	StateRemoved = "removed"
)

// A Standing is how one sink stands in one log.
type Standing struct {
	Origin string `json:"origin"`
	Log    int64  `json:"log"`
	// Next is the first entry that was not accepted, Size how many there are.
	Next int64 `json:"next"`
	Size int64 `json:"size"`
	// Lag is how many entries were not accepted, LagSeconds how long the first of them
	// has been waiting.
	Lag        int64 `json:"lag_entries"`
	LagSeconds int64 `json:"lag_seconds"`
}

// A Report is how one sink is doing.
type Report struct {
	Sink  string `json:"sink"`
	State string `json:"state"`
	// Succeeded and Failed are the times of the last success and the last failure.
	Succeeded *time.Time `json:"last_success,omitempty"`
	Failed    *time.Time `json:"last_failure,omitempty"`
	// Class and Error say what went wrong, if the last attempt failed.
	Class    string     `json:"class,omitempty"`
	Error    string     `json:"last_error,omitempty"`
	Sent     int64      `json:"sent"`
	Rejected int64      `json:"rejected"`
	Logs     []Standing `json:"logs"`
}

// Status says how sinks are doing: those named, which are the configuration's, and
// those that were there before.
func Status(ctx context.Context, s StatusStore, sinks []string, all []Log, now time.Time) ([]Report, error) {
	health, err := s.Health(ctx)
	if err != nil {
		return nil, err
	}
	cursors, err := s.Cursors(ctx)
	if err != nil {
		return nil, err
	}
	byName := map[string]Health{}
	names := slices.Clone(sinks)
	for _, h := range health {
		byName[h.Sink] = h
		if !slices.Contains(names, h.Sink) {
			names = append(names, h.Sink)
		}
	}
	reports := make([]Report, 0, len(names))
	for _, name := range names {
		h := byName[name]
		r := Report{
			Sink: name, Succeeded: timeOrNil(h.SucceededAt), Failed: timeOrNil(h.FailedAt), Class: h.Class, Error: h.Text,
			Sent: h.Sent, Rejected: h.Rejected, Logs: []Standing{},
		}
		began := false
		for _, l := range all {
			at := slices.IndexFunc(cursors, func(c Cursor) bool { return c.Sink == name && c.Log == l.Number })
			var c Cursor
			if at >= 0 {
				c, began = cursors[at], true
			}
			standing, err := standing(ctx, l, c, at >= 0, now)
			if err != nil {
				return nil, err
			}
			r.Logs = append(r.Logs, standing)
		}
		r.State = state(&r, h, slices.Contains(sinks, name), began, now)
		reports = append(reports, r)
	}
	return reports, nil
}

func state(r *Report, h Health, configured, began bool, now time.Time) string {
	lag := slices.ContainsFunc(r.Logs, func(s Standing) bool { return s.Lag != 0 })
	switch {
	case !configured:
		return StateRemoved
	case !began:
		return StateNew
	case !h.StuckAt.IsZero():
		return StateStuck
	case h.Class != "":
		return StateRetrying
	case lag && now.After(h.Until):
		return StateUnserved
	}
	return StateOK
}

func standing(ctx context.Context, l Log, c Cursor, began bool, now time.Time) (Standing, error) {
	size, err := l.Store.Size(ctx)
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Origin: l.Origin, Log: l.Number, Next: c.Next, Size: size, Lag: size - c.Next}
	if s.Lag <= 0 || !began {
		return s, nil
	}
	rows, err := l.Store.Leaves(ctx, c.Next, 1, 0)
	if err != nil {
		return s, err
	}
	since := c.Since
	if len(rows) > 0 {
		e := NewEntry(l.Origin, rows[0].Index, rows[0].Leaf)
		if at := time.UnixMicro(e.when()); e.Leaf != nil && at.After(since) {
			since = at
		}
	}
	s.LagSeconds = max(0, int64(now.Sub(since)/time.Second))
	return s, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Held returns the index of the first entry of a log that a sink still wants: whoever
// removes old entries must leave it, and those after it. Sinks are those of the
// configuration; one that has not begun wants everything, unless it is to begin with
// what comes (fromNow). ok is false when no sink wants anything.
func Held(ctx context.Context, s StatusStore, sinks map[string]bool, log int64) (index int64, ok bool, err error) {
	cursors, err := s.Cursors(ctx)
	if err != nil {
		return 0, false, err
	}
	for name, fromNow := range sinks {
		next, wants := int64(0), !fromNow
		for _, c := range cursors {
			if c.Sink == name && c.Log == log {
				next, wants = c.Next, true
			}
		}
		if wants && (!ok || next < index) {
			index, ok = next, true
		}
	}
	return index, ok, nil
}
