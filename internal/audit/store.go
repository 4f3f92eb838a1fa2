package audit

import "context"

// A Row is one stored entry.
type Row struct {
	// Seq is the index in the tree, from 0.
	Seq int64
	ID  string
	// Leaf is what the tree covers, and Hash its RFC 6962 hash.
	Leaf, Hash []byte
	// Personal is sealed with a person's key; nil when there is none.
	Personal []byte
	// Search is a connection's id, or empty.
	Search string
}

// A Head is the newest state of the log.
type Head struct {
	Size int64
	// Checkpoints is how many are kept, and Kept the size of the last of them
	// (-1 when there is none).
	Checkpoints, Kept int64
	// Note is the signed checkpoint of Size; empty before the first.
	Note []byte
}

// A Checkpoint is one kept for good.
type Checkpoint struct {
	// Number counts from 0 without a gap.
	Number int64
	Size   int64
	Note   []byte
}

// A Batch is what one Append makes durable at once.
type Batch struct {
	Rows  []Row
	Tiles []Tile
	// Note is the signed checkpoint of the size that results.
	Note []byte
	// Keep says that Note is also to be kept for good.
	Keep bool
}

// Store is what a log is written to.
type Store interface {
	// Head returns the newest state; the zero Head (with Kept -1) when nothing
	// was ever appended.
	Head(ctx context.Context) (Head, error)
	// Append makes the batch durable, all of it or nothing, if the newest state
	// is still the given one in size and number of checkpoints; otherwise it
	// changes nothing and returns ErrConflict. After any other error the batch
	// may have been stored.
	Append(ctx context.Context, expect Head, b Batch) error
	// Find returns the index of the entry with the id, or ErrNotFound.
	Find(ctx context.Context, id string) (int64, error)
	// Hashes returns the leaf hashes of entries from to to-1.
	Hashes(ctx context.Context, from, to int64) ([][]byte, error)
	// Tiles returns full tiles of a level in order, from an index on.
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
}

// VerifyStore is what Verify reads.
type VerifyStore interface {
	// Snapshot calls f with a reader that sees one moment of the log.
	Snapshot(ctx context.Context, f func(Reader) error) error
}

// A Reader reads everything stored, as it is, in order of the keys. from is the
// first key wanted.
type Reader interface {
	// Heads returns all rows of the table that holds the newest state, with
	// their keys; there should be one, with key 1.
	Heads(ctx context.Context) (map[int64]Head, error)
	Entries(ctx context.Context, from int64, limit int) ([]Row, error)
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
	// Levels returns how many tiles are stored at each level.
	Levels(ctx context.Context) (map[int]int64, error)
	Checkpoints(ctx context.Context, from int64, limit int) ([]Checkpoint, error)
}

// ListStore is what List and Show read.
type ListStore interface {
	// Before returns entries with an index below seq, the newest first.
	Before(ctx context.Context, seq int64, limit int) ([]Row, error)
	// Searched is Before for the entries with a search key.
	Searched(ctx context.Context, search string, seq int64, limit int) ([]Row, error)
	// Entry returns the entry with the id, or ErrNotFound.
	Entry(ctx context.Context, id string) (Row, error)
}
