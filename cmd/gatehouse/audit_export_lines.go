package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"gatehouse/internal/export"
)

// lineOptions are the flags of 'audit export --jsonl'.
type lineOptions struct {
	file, since, until string
	follow             bool
}

// followEvery is how often --follow looks for new entries.
const followEvery = time.Second

// export writes the entries of all logs, each in its order.
func (l *lineOptions) export(ctx context.Context, stdout io.Writer, logs []export.Log) (err error) {
	now := time.Now()
	since, err := moment(l.since, now)
	if err != nil {
		return err
	}
	until, err := moment(l.until, now)
	if err != nil {
		return err
	}
	out, sync := stdout, func() error { return nil }
	if l.file != "-" {
		f, err := os.OpenFile(l.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return usagef("%s is there already: name a new file", l.file)
		}
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out, sync = f, f.Sync
	}
	next := make([]int64, len(logs))
	for {
		for i, log := range logs {
			if next[i], err = writeLines(ctx, out, log, next[i], since, until); err != nil {
				break
			}
		}
		err = errors.Join(err, sync())
		if ctx.Err() != nil && l.follow {
			return nil // interrupted, which is how following ends
		}
		if err != nil || !l.follow || !until.IsZero() && time.Now().After(until) {
			return err
		}
		timer := time.NewTimer(followEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// writeLines writes the entries from an index on, and returns the next index.
func writeLines(ctx context.Context, w io.Writer, log export.Log, next int64, since, until time.Time) (int64, error) {
	size, err := log.Store.Size(ctx)
	for err == nil && next < size {
		var rows []export.Row
		if rows, err = log.Store.Leaves(ctx, next, 512, 1<<20); err != nil || len(rows) == 0 {
			break
		}
		var lines []byte
		for _, r := range rows {
			e := export.NewEntry(log.Origin, r.Index, r.Leaf)
			// One that was changed has no time; it is not passed over.
			if e.Leaf == nil || (since.IsZero() || !e.Leaf.When().Before(since)) && (until.IsZero() || e.Leaf.When().Before(until)) {
				lines = e.AppendLine(lines)
			}
			next = r.Index + 1
		}
		_, err = w.Write(lines)
	}
	return next, err
}

// moment reads a time: a date or a moment in RFC 3339, or how long ago. Empty is the
// zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%q is no time: write 2026-01-31, 2026-01-31T15:04:05Z, or 24h", text)
}
