package backup

import (
	"context"
	"time"

	"gatehouse"
)

// Kinds of columns. Both engines give and take the same Go type for each.
const (
	Int  = "int"  // int64
	Text = "text" // string
	Blob = "blob" // []byte
)

// A Column is one column of a table.
type Column struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

// A Table is one table as the database itself describes it.
type Table struct {
	Name    string   `json:"table"`
	Columns []Column `json:"columns"`
	// Counted names the column that the engine counts up itself, if there is one,
	// and Last the last number it has given out, which is never given twice.
	Counted string `json:"counted,omitempty"`
	Last    int64  `json:"last,omitempty"`
}

// A State is what a manifest says of the moment.
type State struct {
	Schema      int64
	Environment gatehouse.Environment
	// Checkpoint is the log's newest, signed.
	Checkpoint  []byte
	Connections int64
	// Ledger is the newest line, or the zero Line.
	Ledger Line
}

// Source is a database that can be looked at.
type Source interface {
	// Snapshot calls f with what sees one moment of every table, whatever is
	// written meanwhile; writers do not wait for it.
	Snapshot(ctx context.Context, f func(Snapshot) error) error
}

// A Snapshot is one moment of a database.
type Snapshot interface {
	State(ctx context.Context) (State, error)
	// Tables returns every table of the schema, as the database lists them, so
	// that none can be forgotten; only the record of migrations is left out.
	Tables(ctx context.Context) ([]Table, error)
	// Rows calls visit for every row, without holding more than a few. The values
	// are int64, string, []byte or nil, as the columns' kinds say, and visit may
	// not keep them.
	Rows(ctx context.Context, t Table, visit func(row []any) error) error
}

// Target is a database that is being restored: marked, so that nothing else
// opens it.
type Target interface {
	// Load empties every table and calls f to fill them, in one transaction: all
	// of it or nothing. References between rows are checked at its end, so that
	// the order of tables does not matter. The mark stays.
	Load(ctx context.Context, f func(Loading) error) error
	// Migrate brings the schema to this program's version.
	Migrate(ctx context.Context) error
	// State is what the restored database says of itself.
	State(ctx context.Context) (State, error)
	// Finish takes the mark away: from here on it is a database like another.
	Finish(ctx context.Context) error
}

// Loading is the transaction of Target.Load.
type Loading interface {
	// Tables returns the tables of the target.
	Tables(ctx context.Context) ([]Table, error)
	// Insert adds a row to one of them, with the columns of t.
	Insert(ctx context.Context, t Table, row []any) error
	// Count has the column t.Counted go on after t.Last.
	Count(ctx context.Context, t Table) error
}

// LedgerStore keeps the ledger's lines. A line is never changed or removed.
type LedgerStore interface {
	// LedgerHead returns the newest line, or the zero Line when there is none.
	LedgerHead(ctx context.Context) (Line, error)
	// LedgerOf returns a person's line, or ErrNotFound.
	LedgerOf(ctx context.Context, person gatehouse.PersonID) (Line, error)
	// LedgerAfter returns lines after a number, in order.
	LedgerAfter(ctx context.Context, seq int64, limit int) ([]Line, error)
	// AddLine makes a line durable. A number or a person that is there already is
	// ErrConflict.
	AddLine(ctx context.Context, l Line) error
}

// WorkStore says when the last scheduled backup was taken, and who is at it.
type WorkStore interface {
	// ClaimBackup takes the work until a time, if the last backup is from before
	// due and nobody holds the work now; otherwise it reports false.
	ClaimBackup(ctx context.Context, now, due, until time.Time) (bool, error)
	// ExtendBackup prolongs a claim.
	ExtendBackup(ctx context.Context, until time.Time) error
	// EndBackup gives the work back; done, if not zero, is when a backup was taken.
	EndBackup(ctx context.Context, done time.Time) error
}
