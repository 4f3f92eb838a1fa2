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
	// Index is what the entry is found by. It is written with the row, and only List
	// reads it.
	Index Index
	// SearchV1 is the connection's id that entries of version 1 hold in clear; later
	// ones have Index.
	SearchV1 string
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
	// Tight says that the disk is full, so that the store is to take as little
	// room as it can, at the price of time.
	Tight bool
}

// Store is what one log is written to. What it keeps of other logs is out of sight.
type Store interface {
	// Head returns the newest state; the zero Head (with Kept -1) when nothing
	// was ever appended.
	Head(ctx context.Context) (Head, error)
	// Append makes the batch durable, all of it or nothing, if the newest state
	// is still the given one in size and number of checkpoints; otherwise it
	// changes nothing and returns ErrConflict. After any other error the batch
	// may have been stored. A full disk is ErrFull.
	// What rows are found by is left out of those whose Index.Person was forgotten.
	Append(ctx context.Context, expect Head, b Batch) error
	// Find returns the index of the entry with the id, or ErrNotFound.
	Find(ctx context.Context, id string) (int64, error)
	// Hashes returns the leaf hashes of entries from to to-1.
	Hashes(ctx context.Context, from, to int64) ([][]byte, error)
	// Tiles returns full tiles of a level in order, from an index on.
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
	// Look calls f with what is stored at one moment, as somebody would see it who
	// comes anew: nothing that was read before is believed. It is ErrReplaced when
	// the store's address does not lead to what is open any more.
	Look(ctx context.Context, f func(Moment) error) error
	ForgetStore
}

// A Moment is a Store's reading half, of one moment.
type Moment interface {
	Head(ctx context.Context) (Head, error)
	Hashes(ctx context.Context, from, to int64) ([][]byte, error)
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
	Pruned(ctx context.Context) (Pruned, error)
}

// ForgetStore deletes what leads from a person to their entries, in all logs of the
// database. What a method did is durable when it returns nil, and it may be repeated.
type ForgetStore interface {
	// Forget has every Append that is not durable when it returns, in any process,
	// leave out what rows of this Index.Person are found by.
	Forget(ctx context.Context, person []byte) error
	// DropIndex deletes what up to limit rows of an Index.Person, which was forgotten
	// before, are found by, and returns how many these were.
	DropIndex(ctx context.Context, person []byte, limit int) (int64, error)
	// BlankV1 removes connection and sealed fields from up to limit rows of version 1
	// with this connection, and returns how many these were.
	BlankV1(ctx context.Context, connection string, limit int) (int64, error)
}

// VerifyStore is what Verify reads.
type VerifyStore interface {
	// Snapshot calls f with a reader that sees one moment of the log.
	Snapshot(ctx context.Context, f func(Reader) error) error
}

// A Reader reads everything stored, as it is, in order of the keys. from is the
// first key wanted.
type Reader interface {
	// Head returns the newest state; the zero Head (with Kept -1) when there is none.
	Head(ctx context.Context) (Head, error)
	Entries(ctx context.Context, from int64, limit int) ([]Row, error)
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
	// Levels returns how many tiles are stored at each level.
	Levels(ctx context.Context) (map[int]int64, error)
	Checkpoints(ctx context.Context, from int64, limit int) ([]Checkpoint, error)
	// Pruned says from where on the log is stored.
	Pruned(ctx context.Context) (Pruned, error)
}

// ListStore is what List and Show read.
type ListStore interface {
	// Before returns entries with an index below seq, the newest first.
	Before(ctx context.Context, seq int64, limit int) ([]Row, error)
	// Indexed is Before for the entries of an Index.Person, with their Index, and for
	// those of version 1 with a connection.
	Indexed(ctx context.Context, person []byte, connectionV1 string, seq int64, limit int) ([]Row, error)
	// Entry returns the entry with the id, or ErrNotFound.
	Entry(ctx context.Context, id string) (Row, error)
}

// OwnerStore tells whose an entry is.
type OwnerStore interface {
	// OwnerOf returns the Index.Person of the entry, or ErrNotFound.
	OwnerOf(ctx context.Context, seq int64) ([]byte, error)
}
