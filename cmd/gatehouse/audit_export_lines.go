package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"gatehouse/internal/export"
)

// lineOptions are the flags of 'audit export --jsonl'.
type lineOptions struct {
	file, since, until string
	follow, json       bool
}

// followEvery is how often --follow looks for new entries.
const followEvery = time.Second

// export writes the entries of all logs, each in its order.
func (l *lineOptions) export(ctx context.Context, stdout io.Writer, logs []export.Log) (err error) {
	now := time.Now()
	since, err := parseMoment("--since", l.since, now)
	if err != nil {
		return err
	}
	until, err := parseMoment("--until", l.until, now)
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
	next, wrote := make([]int64, len(logs)), 0
	for {
		for i, log := range logs {
			var lines int
			next[i], lines, err = writeLines(ctx, out, log, next[i], since, until)
			wrote += lines
			if err != nil {
				break
			}
		}
		err = errors.Join(err, sync())
		if err == nil && !l.follow && l.file != "-" {
			return l.report(stdout, wrote)
		}
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

// report says what stands in the file.
func (l *lineOptions) report(w io.Writer, entries int) error {
	if l.json {
		return printJSON(w, map[string]any{"jsonl": l.file, "entries": entries})
	}
	_, err := fmt.Fprintf(w, "%s holds %d entries.\n", l.file, entries)
	return err
}

// writeLines writes the entries from an index on, and returns the next index and how
// many it wrote.
func writeLines(ctx context.Context, w io.Writer, log export.Log, next int64, since, until time.Time) (int64, int, error) {
	wrote := 0
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
				wrote++
			}
			next = r.Index + 1
		}
		_, err = w.Write(lines)
	}
	return next, wrote, err
}
