package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	selectHead     statement = `SELECT size, checkpoints, note FROM audit_head WHERE id = $1`
	selectHeads    statement = `SELECT id, size, checkpoints, note FROM audit_head ORDER BY id`
	selectLastKept statement = `SELECT size FROM audit_checkpoints WHERE num < $1 AND num >= $2 ORDER BY num DESC LIMIT 1`
	insertHead     statement = `INSERT INTO audit_head (id, size, checkpoints, note, forgotten) VALUES ($1, $2, $3, $4, $5)`
	updateHead     statement = `UPDATE audit_head SET size = $1, checkpoints = $2, note = $3 WHERE id = $4 AND size = $5 AND checkpoints = $6 AND forgotten = $7`

	insertTile       statement = `INSERT INTO audit_tiles (level, idx, hashes) VALUES ($1, $2, $3)`
	insertCheckpoint statement = `INSERT INTO audit_checkpoints (num, size, note) VALUES ($1, $2, $3)`

	selectSeq         statement = `SELECT seq FROM audit_entries WHERE id = $1`
	selectHashes      statement = `SELECT leaf_hash FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	selectLeaves      statement = `SELECT leaf FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	selectTiles       statement = `SELECT level, idx, hashes FROM audit_tiles WHERE level = $1 AND idx >= $2 AND idx < $3 ORDER BY idx LIMIT $4`
	selectLevels      statement = `SELECT level, count(*) FROM audit_tiles WHERE idx >= $1 AND idx < $2 GROUP BY level`
	selectCheckpoints statement = `SELECT num, size, note FROM audit_checkpoints WHERE num >= $1 AND num < $2 ORDER BY num LIMIT $3`

	entryColumns            = `seq, id, leaf, leaf_hash, personal, search`
	selectEntries statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq LIMIT $3`
	selectBefore  statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq < $1 AND seq >= $2 ORDER BY seq DESC LIMIT $3`
	selectEntry   statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE id = $1 AND seq >= $2 AND seq < $3`
)

// Entries go in many at a time: to begin a statement costs more than a row, and on
// PostgreSQL each is a journey. What is left of a batch goes in by a few.
const (
	insertEntry statement = `INSERT INTO audit_entries (` + entryColumns + `) VALUES ($1, $2, $3, $4, $5, $6)`

	insertFewEntries statement = insertEntry +
		`, ($7, $8, $9, $10, $11, $12), ($13, $14, $15, $16, $17, $18), ($19, $20, $21, $22, $23, $24)`

	insertEntries statement = insertFewEntries +
		`, ($25, $26, $27, $28, $29, $30), ($31, $32, $33, $34, $35, $36), ($37, $38, $39, $40, $41, $42)` +
		`, ($43, $44, $45, $46, $47, $48), ($49, $50, $51, $52, $53, $54), ($55, $56, $57, $58, $59, $60)` +
		`, ($61, $62, $63, $64, $65, $66), ($67, $68, $69, $70, $71, $72), ($73, $74, $75, $76, $77, $78)` +
		`, ($79, $80, $81, $82, $83, $84), ($85, $86, $87, $88, $89, $90), ($91, $92, $93, $94, $95, $96)`
	entriesAtOnce = 16
	fewAtOnce     = 4
)

// A place is where the rows of one log lie in the tables: a row's number is the
// log's from bit 40 on, and below it the index that package audit knows. It is added
// and taken away here and nowhere else.
type place int64

const (
	placeBits = 40
	placeSize = int64(1) << placeBits
	// maxLogs is far more than a database has nodes; a number has room for more.
	maxLogs = 1 << 16
)

// row is the number of the row with an index.
func (p place) row(index int64) int64 { return int64(p)<<placeBits + index }

// index is the inverse of row.
func (p place) index(row int64) int64 { return row - int64(p)<<placeBits }

// from is the first row with this index or a larger one. Log 0 has the rows with
// negative numbers too, which nobody writes, so that they are seen if somebody does.
func (p place) from(index int64) int64 {
	if p == 0 && index < 0 {
		return index
	}
	return p.row(min(max(index, 0), placeSize))
}

// end is the first row behind the log's.
func (p place) end() int64 { return p.from(placeSize) }

// head is the key of the log's head.
func (p place) head() int64 { return int64(p) + 1 }

// Audit is the store of one log.
type Audit struct {
	db *DB
	place
}

var (
	_ audit.Store       = (*Audit)(nil)
	_ audit.VerifyStore = (*Audit)(nil)
	_ audit.ListStore   = (*Audit)(nil)
	_ audit.OwnerStore  = (*Audit)(nil)
	_ audit.TileStore   = (*Audit)(nil)
)

// Audit returns the store of log 0, which is that of all nodes without a name.
func (d *DB) Audit() *Audit { return d.AuditLog(0) }

// AuditLog returns the store of the log with a number of AuditLogs. It sees only the
// rows of this log, with indexes from 0.
func (d *DB) AuditLog(number int64) *Audit {
	if number < 0 || number >= maxLogs {
		panic(fmt.Sprintf("store: there is no log %d", number))
	}
	return &Audit{d, place(number)}
}

// Head implements audit.Store. What it returns is of one moment.
func (a *Audit) Head(ctx context.Context) (audit.Head, error) {
	var h audit.Head
	err := a.db.snapshot(ctx, func(t *tx) (err error) {
		h, err = auditReader{t, a.place}.Head(ctx)
		return err
	})
	return h, err
}

// Append implements audit.Store. The head is changed first: there, writers of
// other processes meet. Writers of another log change another head and nothing else
// that this transaction reads or writes.
func (a *Audit) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if b.Tight {
		// What fails here is of no consequence: then the append takes new room.
		_ = a.db.rewind(ctx)
	}
	err := a.db.rowTx(ctx, func(t *tx) error {
		size, kept := expect.Size+int64(len(b.Rows)), expect.Checkpoints
		if b.Keep {
			kept++
		}
		n, err := a.swapHead(ctx, t, expect, size, kept, b.Note)
		if err != nil {
			return err
		}
		if n == 0 {
			return gatehouse.ErrConflict
		}
		if err := t.insertEntries(ctx, a.place, b.Rows); err != nil {
			return err
		}
		if err := t.insertIndex(ctx, a.place, b.Rows, &a.db.forgotten); err != nil {
			return err
		}
		for _, tile := range b.Tiles {
			if _, err := t.exec(ctx, insertTile, tile.Level, a.row(tile.Index), tile.Hashes); err != nil {
				return err
			}
		}
		if b.Keep {
			_, err = t.exec(ctx, insertCheckpoint, a.row(kept-1), size, b.Note)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("appending to the log: %w", err)
	}
	return nil
}

// swapHead replaces the head if it is the one expected, and returns 0 if not. From
// then on the transaction holds it.
func (a *Audit) swapHead(ctx context.Context, t *tx, expect audit.Head, size, kept int64, note []byte) (int64, error) {
	if len(expect.Note) == 0 {
		// The first one of all. Until it is there, nobody can say in it who was forgotten.
		if _, err := t.exec(ctx, lockLogs); err != nil {
			return 0, err
		}
		last, err := a.readForgotten(ctx, t)
		if err != nil {
			return 0, err
		}
		return t.exec(ctx, insertHead, a.head(), size, kept, note, last)
	}
	n, err := t.exec(ctx, updateHead, size, kept, note, a.head(), expect.Size, expect.Checkpoints, a.db.forgotten.known(a.place))
	if err != nil || n > 0 {
		return n, err
	}
	// Perhaps only somebody was erased since. What the head says is read first: whoever
	// it counts is in the list by then.
	var last int64
	err = t.queryRow(ctx, selectHeadForgotten, a.head()).Scan(&last)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if _, err := a.readForgotten(ctx, t); err != nil {
		return 0, err
	}
	a.db.forgotten.know(a.place, last)
	return t.exec(ctx, updateHead, size, kept, note, a.head(), expect.Size, expect.Checkpoints, last)
}

func (t *tx) insertEntries(ctx context.Context, in place, rows []audit.Row) error {
	args := make([]any, 0, 6*entriesAtOnce)
	for len(rows) > 0 {
		n, insert := 1, insertEntry
		switch {
		case len(rows) >= entriesAtOnce:
			n, insert = entriesAtOnce, insertEntries
		case len(rows) >= fewAtOnce:
			n, insert = fewAtOnce, insertFewEntries
		}
		args = args[:0]
		for _, r := range rows[:n] {
			var personal, search any
			if r.Personal != nil {
				personal = r.Personal
			}
			if r.SearchV1 != "" {
				search = r.SearchV1
			}
			args = append(args, in.row(r.Seq), r.ID, r.Leaf, r.Hash, personal, search)
		}
		if _, err := t.exec(ctx, insert, args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// Find implements audit.Store.
func (a *Audit) Find(ctx context.Context, id string) (int64, error) {
	var seq int64
	if err := a.db.queryRow(ctx, selectSeq, id).Scan(&seq); err != nil {
		return 0, fmt.Errorf("looking for a log entry: %w", err)
	}
	if seq < a.from(math.MinInt64) || seq >= a.end() {
		return 0, fmt.Errorf("looking for a log entry: it is in another log: %w", gatehouse.ErrNotFound)
	}
	return a.index(seq), nil
}

// Hashes implements audit.Store.
func (a *Audit) Hashes(ctx context.Context, from, to int64) ([][]byte, error) {
	return hashes(a.db.query(ctx, selectHashes, a.from(from), a.from(to)))
}

func hashes(r *rows, err error) ([][]byte, error) {
	all, err := collect[[]byte](r, err)(func(r *rows) (h []byte, err error) { return h, r.Scan(&h) })
	if err != nil {
		return nil, fmt.Errorf("reading the log's hashes: %w", err)
	}
	return all, nil
}

// Leaves implements audit.TileStore.
func (a *Audit) Leaves(ctx context.Context, from, to int64) ([][]byte, error) {
	all, err := collect[[]byte](a.db.query(ctx, selectLeaves, a.from(from), a.from(to)))(func(r *rows) (leaf []byte, err error) {
		return leaf, r.Scan(&leaf)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	return all, nil
}

// Tiles implements audit.Store.
func (a *Audit) Tiles(ctx context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	return a.tiles(a.db.query(ctx, selectTiles, level, a.from(from), a.end(), limit))
}

func (p place) tiles(r *rows, err error) ([]audit.Tile, error) {
	all, err := collect[audit.Tile](r, err)(func(r *rows) (t audit.Tile, err error) {
		err = r.Scan(&t.Level, &t.Index, &t.Hashes)
		t.Index = p.index(t.Index)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's tiles: %w", err)
	}
	return all, nil
}

// entries reads rows without an allocation for each of their columns: verification
// reads every row of the log, and waits for this most of its time.
func (p place) entries(r *rows, err error) ([]audit.Row, error) {
	// What is cut from the arena stays when it is replaced.
	var arena []byte
	keep := func(b sql.RawBytes) []byte {
		if b == nil {
			return nil
		}
		if cap(arena)-len(arena) < len(b) {
			arena = make([]byte, 0, max(len(b), entriesArena))
		}
		from := len(arena)
		arena = append(arena, b...)
		return arena[from:len(arena):len(arena)]
	}
	var leaf, hash, personal sql.RawBytes
	all, err := collect[audit.Row](r, err)(func(r *rows) (audit.Row, error) {
		var e audit.Row
		var search sql.NullString
		if err := r.Scan(&e.Seq, &e.ID, &leaf, &hash, &personal, &search); err != nil {
			return e, err
		}
		e.Seq = p.index(e.Seq)
		e.Leaf, e.Hash, e.Personal, e.SearchV1 = keep(leaf), keep(hash), keep(personal), search.String
		return e, nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	return all, nil
}

// entriesArena is how many bytes of entries are cut from one piece of memory.
const entriesArena = 64 << 10

// Look implements audit.Store.
func (a *Audit) Look(ctx context.Context, f func(audit.Moment) error) error {
	return a.db.anew(ctx, func(t *tx) error { return f(auditReader{t, a.place}) })
}

// Snapshot implements audit.VerifyStore.
func (a *Audit) Snapshot(ctx context.Context, f func(audit.Reader) error) error {
	return a.db.snapshot(ctx, func(t *tx) error { return f(auditReader{t, a.place}) })
}

// auditReader reads the log as of one moment.
type auditReader struct {
	tx *tx
	place
}

// Head implements audit.Moment.
func (a auditReader) Head(ctx context.Context) (audit.Head, error) {
	h := audit.Head{Kept: -1}
	err := a.tx.queryRow(ctx, selectHead, a.head()).Scan(&h.Size, &h.Checkpoints, &h.Note)
	if err == nil {
		err = a.tx.queryRow(ctx, selectLastKept, a.end(), a.from(math.MinInt64)).Scan(&h.Kept)
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return audit.Head{}, fmt.Errorf("reading the log's head: %w", err)
	}
	return h, nil
}

// Hashes implements audit.Moment.
func (a auditReader) Hashes(ctx context.Context, from, to int64) ([][]byte, error) {
	return hashes(a.tx.query(ctx, selectHashes, a.from(from), a.from(to)))
}

// heads returns all rows of the table of heads, by the number of the log.
func (l logsReader) heads(ctx context.Context, query statement, args ...any) (map[int64]audit.Head, error) {
	type keyed struct {
		id int64
		audit.Head
	}
	all, err := collect[keyed](l.tx.query(ctx, query, args...))(func(r *rows) (k keyed, err error) {
		return k, r.Scan(&k.id, &k.Size, &k.Checkpoints, &k.Note)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's head: %w", err)
	}
	heads := make(map[int64]audit.Head, len(all))
	for _, k := range all {
		heads[k.id-1] = k.Head
	}
	return heads, nil
}

func (a auditReader) Entries(ctx context.Context, from int64, limit int) ([]audit.Row, error) {
	return a.entries(a.tx.query(ctx, selectEntries, a.from(from), a.end(), limit))
}

func (a auditReader) Tiles(ctx context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	return a.tiles(a.tx.query(ctx, selectTiles, level, a.from(from), a.end(), limit))
}

func (a auditReader) Levels(ctx context.Context) (map[int]int64, error) {
	type count struct {
		level int
		tiles int64
	}
	all, err := collect[count](a.tx.query(ctx, selectLevels, a.from(math.MinInt64), a.end()))(func(r *rows) (c count, err error) {
		return c, r.Scan(&c.level, &c.tiles)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's tiles: %w", err)
	}
	levels := make(map[int]int64, len(all))
	for _, c := range all {
		levels[c.level] = c.tiles
	}
	return levels, nil
}

func (a auditReader) Checkpoints(ctx context.Context, from int64, limit int) ([]audit.Checkpoint, error) {
	all, err := collect[audit.Checkpoint](a.tx.query(ctx, selectCheckpoints, a.from(from), a.end(), limit))(func(r *rows) (c audit.Checkpoint, err error) {
		err = r.Scan(&c.Number, &c.Size, &c.Note)
		c.Number = a.index(c.Number)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoints: %w", err)
	}
	return all, nil
}

// Before implements audit.ListStore.
func (a *Audit) Before(ctx context.Context, seq int64, limit int) ([]audit.Row, error) {
	return a.entries(a.db.query(ctx, selectBefore, a.from(seq), a.from(math.MinInt64), limit))
}

// Entry implements audit.ListStore.
func (a *Audit) Entry(ctx context.Context, id string) (audit.Row, error) {
	all, err := a.entries(a.db.query(ctx, selectEntry, id, a.from(math.MinInt64), a.end()))
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("the log has no entry %q: %w", id, gatehouse.ErrNotFound)
	}
	if err != nil {
		return audit.Row{}, err
	}
	return all[0], nil
}
