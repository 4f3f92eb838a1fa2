package export

import (
	"context"
	"io"
)

// Lines is a sink that writes lines to somebody else's stream, such as standard
// output. What it accepted was written; whether it was read, the stream does not say.
type Lines struct {
	// To is written by one goroutine of Send's, which outlives a Send that gave up
	// waiting: a write that hangs cannot be taken back.
	To io.Writer

	// hanging is closed when the write under way has ended, with err. It is of pending
	// entries from first on.
	hanging chan struct{}
	err     error
	first   Entry
	pending int
}

// Send implements Sink. A write that did not end in time is waited for by the next
// Send, which then counts what it wrote.
func (l *Lines) Send(ctx context.Context, entries []Entry) (Accepted, error) {
	if l.hanging == nil {
		var lines []byte
		for i := range entries {
			lines = entries[i].AppendLine(lines)
		}
		l.hanging, l.first, l.pending = make(chan struct{}), entries[0], len(entries)
		go func() {
			defer close(l.hanging)
			_, l.err = l.To.Write(lines)
		}()
	}
	select {
	case <-ctx.Done():
		return Accepted{}, ctx.Err()
	case <-l.hanging:
	}
	l.hanging = nil
	if l.err != nil {
		return Accepted{}, &Failure{Class: Unwritable, Text: "the stream cannot be written", cause: l.err}
	}
	done := min(l.pending, len(entries))
	if entries[0].Origin != l.first.Origin || entries[0].Index != l.first.Index {
		done = 0 // it was of others: the cursor was moved meanwhile
	}
	return Accepted{Entries: done}, nil
}

// Close implements Sink. The stream is not ours to close.
func (l *Lines) Close() error { return nil }
