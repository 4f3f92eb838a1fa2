package audit

import (
	"context"
	"time"
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
