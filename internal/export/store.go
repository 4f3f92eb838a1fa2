package export

import (
	"context"
	"time"
)

// A Cursor says how far a sink has got in one log.
type Cursor struct {
	Sink string
	// Log is the log's number.
	Log int64
	// Next is the index of the first entry that the sink has not accepted.
	Next int64
	// Hash is the leaf hash of the entry before Next, by which the log is known to be
	// the one that was sent; empty when nothing was.
	Hash string
	// Since is when the sink began there: at its first start, or when an operator moved
	// it. It is not behind for what is older.
	Since time.Time
	// Moved is when Next last changed.
	Moved time.Time
}

// A Health is how a sink is doing, as whoever serves it noted last.
type Health struct {
	Sink string
	// Owner serves the sink, until Until.
	Owner string
	Until time.Time
	// Class is what went wrong last, a word of this package; empty when the last
	// attempt succeeded. Text says it in a sentence, FailedAt when.
	Class, Text string
	FailedAt    time.Time
	// SucceededAt is when the sink last accepted something.
	SucceededAt time.Time
	// StuckAt is since when the log says that the sink is stuck; zero when it is not.
	StuckAt time.Time
	// Sent and Rejected count entries since the sink exists.
	Sent, Rejected int64
}

// Store keeps cursors and leases. Every method is one transaction, durable when it
// returns nil.
type Store interface {
	// Lease gives the sink to the owner until a time, if it is free, over, or theirs;
	// it reports whether it did. A sink that was never seen before is entered.
	Lease(ctx context.Context, sink, owner string, now, until time.Time) (bool, error)
	// Begin enters a cursor where there is none, and returns the one that is there.
	Begin(ctx context.Context, c Cursor) (Cursor, error)
	// Advance moves the cursor from an index, if it still stands there and the sink is
	// still the owner's; otherwise nothing changes and the error is ErrConflict. It
	// counts sent and rejected entries, and, if either is not 0, notes success.
	Advance(ctx context.Context, owner string, from int64, to Cursor, sent, rejected int64) error
	// Failed notes what went wrong, and since when the sink is said to be stuck, if it
	// is still the owner's.
	Failed(ctx context.Context, owner string, h Health) error
	// Stuck notes since when the sink is said to be stuck, or with the zero time that
	// it is not, if it is still the owner's.
	Stuck(ctx context.Context, sink, owner string, at time.Time) error
	// Move puts a cursor wherever an operator wants it, and enters it where there is
	// none.
	Move(ctx context.Context, c Cursor) error
	StatusStore
}

// StatusStore is what Status and Held read.
type StatusStore interface {
	// Cursors returns all cursors by sink and log.
	Cursors(ctx context.Context) ([]Cursor, error)
	// Health returns how all sinks that there ever were are doing, by name.
	Health(ctx context.Context) ([]Health, error)
}

// A Row is one stored leaf. What lies beside the tree is not part of it, so that
// nothing sealed ever comes this way.
type Row struct {
	Index int64
	Leaf  []byte
}

// LogStore is what is read of one log.
type LogStore interface {
	// Size returns how many entries the log has.
	Size(ctx context.Context) (int64, error)
	// Leaves returns entries from an index on, in order: at most limit, and no further
	// one once there are this many bytes. Entries that are not there any more are
	// left out.
	Leaves(ctx context.Context, from int64, limit, bytes int) ([]Row, error)
}

// A Log is one log that is exported.
type Log struct {
	// Number tells the logs of one database apart; today's has 0.
	Number int64
	// Origin is its name, which stands in every entry that is sent.
	Origin string
	Store  LogStore
}
