package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	selectHead     statement = `SELECT size, checkpoints, note FROM audit_head WHERE id = 1`
	selectHeads    statement = `SELECT id, size, checkpoints, note FROM audit_head ORDER BY id`
	selectLastKept statement = `SELECT size FROM audit_checkpoints ORDER BY num DESC LIMIT 1`
	insertHead     statement = `INSERT INTO audit_head (id, size, checkpoints, note) VALUES (1, $1, $2, $3)`
	updateHead     statement = `UPDATE audit_head SET size = $1, checkpoints = $2, note = $3 WHERE id = 1 AND size = $4 AND checkpoints = $5
		AND ` + lastForgotten + ` = $6`
	insertTile       statement = `INSERT INTO audit_tiles (level, idx, hashes) VALUES ($1, $2, $3)`
	insertCheckpoint statement = `INSERT INTO audit_checkpoints (num, size, note) VALUES ($1, $2, $3)`

	selectSeq         statement = `SELECT seq FROM audit_entries WHERE id = $1`
	selectHashes      statement = `SELECT leaf_hash FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	selectLeaves      statement = `SELECT leaf FROM audit_entries WHERE seq >= $1 AND seq < $2 ORDER BY seq`
	selectTiles       statement = `SELECT level, idx, hashes FROM audit_tiles WHERE level = $1 AND idx >= $2 ORDER BY idx LIMIT $3`
	selectLevels      statement = `SELECT level, count(*) FROM audit_tiles GROUP BY level`
	selectCheckpoints statement = `SELECT num, size, note FROM audit_checkpoints WHERE num >= $1 ORDER BY num LIMIT $2`

	entryColumns            = `seq, id, leaf, leaf_hash, personal, search`
	selectEntries statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq >= $1 ORDER BY seq LIMIT $2`
	selectBefore  statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE seq < $1 ORDER BY seq DESC LIMIT $2`
	selectEntry   statement = `SELECT ` + entryColumns + ` FROM audit_entries WHERE id = $1`
)

// Entries go in many at a time: to begin a statement costs more than a row.
const (
	insertEntry statement = `INSERT INTO audit_entries (` + entryColumns + `) VALUES ($1, $2, $3, $4, $5, $6)`

	insertEntries statement = insertEntry +
		`, ($7, $8, $9, $10, $11, $12), ($13, $14, $15, $16, $17, $18), ($19, $20, $21, $22, $23, $24)` +
		`, ($25, $26, $27, $28, $29, $30), ($31, $32, $33, $34, $35, $36), ($37, $38, $39, $40, $41, $42)` +
		`, ($43, $44, $45, $46, $47, $48), ($49, $50, $51, $52, $53, $54), ($55, $56, $57, $58, $59, $60)` +
		`, ($61, $62, $63, $64, $65, $66), ($67, $68, $69, $70, $71, $72), ($73, $74, $75, $76, $77, $78)` +
		`, ($79, $80, $81, $82, $83, $84), ($85, $86, $87, $88, $89, $90), ($91, $92, $93, $94, $95, $96)`
	entriesAtOnce = 16
)

// Audit is the store of package audit.
type Audit struct{ db *DB }

var (
	_ audit.Store       = (*Audit)(nil)
	_ audit.VerifyStore = (*Audit)(nil)
	_ audit.ListStore   = (*Audit)(nil)
	_ audit.OwnerStore  = (*Audit)(nil)
	_ audit.TileStore   = (*Audit)(nil)
)

// Audit returns the store of package audit.
func (d *DB) Audit() *Audit { return &Audit{d} }

// Head implements audit.Store. What it returns is of one moment.
func (a *Audit) Head(ctx context.Context) (audit.Head, error) {
	var h audit.Head
	err := a.db.snapshot(ctx, func(t *tx) (err error) {
		h, err = auditReader{t}.Head(ctx)
		return err
	})
	return h, err
}

// Append implements audit.Store. The head is changed first: there, writers of
// other processes meet.
func (a *Audit) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if b.Tight {
		// What fails here is of no consequence: then the append takes new room.
		_ = a.db.rewind(ctx)
	}
	err := a.db.logTx(ctx, func(t *tx) error {
		size, kept := expect.Size+int64(len(b.Rows)), expect.Checkpoints
		if b.Keep {
			kept++
		}
		var n int64
		var err error
		if len(expect.Note) == 0 {
			// The first one of all; who was erased before then does not matter.
			n, err = t.exec(ctx, insertHead, size, kept, b.Note)
		} else {
			n, err = t.exec(ctx, updateHead, size, kept, b.Note, expect.Size, expect.Checkpoints, a.db.forgotten.last())
			if err == nil && n == 0 {
				// Perhaps only somebody was erased since.
				if err = a.readForgotten(ctx, t); err == nil {
					n, err = t.exec(ctx, updateHead, size, kept, b.Note, expect.Size, expect.Checkpoints, a.db.forgotten.last())
				}
			}
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return gatehouse.ErrConflict
		}
		if err := t.insertEntries(ctx, b.Rows); err != nil {
			return err
		}
		if err := t.insertIndex(ctx, b.Rows, &a.db.forgotten); err != nil {
			return err
		}
		for _, tile := range b.Tiles {
			if _, err := t.exec(ctx, insertTile, tile.Level, tile.Index, tile.Hashes); err != nil {
				return err
			}
		}
		if b.Keep {
			_, err = t.exec(ctx, insertCheckpoint, kept-1, size, b.Note)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("appending to the log: %w", err)
	}
	return nil
}

func (t *tx) insertEntries(ctx context.Context, rows []audit.Row) error {
	args := make([]any, 0, 6*entriesAtOnce)
	for len(rows) > 0 {
		n, insert := 1, insertEntry
		if len(rows) >= entriesAtOnce {
			n, insert = entriesAtOnce, insertEntries
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
			args = append(args, r.Seq, r.ID, r.Leaf, r.Hash, personal, search)
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
	return seq, nil
}

// Hashes implements audit.Store.
func (a *Audit) Hashes(ctx context.Context, from, to int64) ([][]byte, error) {
	return hashes(a.db.query(ctx, selectHashes, from, to))
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
	all, err := collect[[]byte](a.db.query(ctx, selectLeaves, from, to))(func(r *rows) (leaf []byte, err error) {
		return leaf, r.Scan(&leaf)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's entries: %w", err)
	}
	return all, nil
}

// Tiles implements audit.Store.
func (a *Audit) Tiles(ctx context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	return tiles(a.db.query(ctx, selectTiles, level, from, limit))
}

func tiles(r *rows, err error) ([]audit.Tile, error) {
	all, err := collect[audit.Tile](r, err)(func(r *rows) (t audit.Tile, err error) {
		return t, r.Scan(&t.Level, &t.Index, &t.Hashes)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's tiles: %w", err)
	}
	return all, nil
}

// entries reads rows without an allocation for each of their columns: verification
// reads every row of the log, and waits for this most of its time.
func entries(r *rows, err error) ([]audit.Row, error) {
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
	return a.db.anew(ctx, func(t *tx) error { return f(auditReader{t}) })
}

// Snapshot implements audit.VerifyStore.
func (a *Audit) Snapshot(ctx context.Context, f func(audit.Reader) error) error {
	return a.db.snapshot(ctx, func(t *tx) error { return f(auditReader{t}) })
}

// auditReader reads the log as of one moment.
type auditReader struct{ tx *tx }

// Head implements audit.Moment.
func (a auditReader) Head(ctx context.Context) (audit.Head, error) {
	h := audit.Head{Kept: -1}
	err := a.tx.queryRow(ctx, selectHead).Scan(&h.Size, &h.Checkpoints, &h.Note)
	if err == nil {
		err = a.tx.queryRow(ctx, selectLastKept).Scan(&h.Kept)
	}
	if err != nil && !errors.Is(err, gatehouse.ErrNotFound) {
		return audit.Head{}, fmt.Errorf("reading the log's head: %w", err)
	}
	return h, nil
}

// Hashes implements audit.Moment.
func (a auditReader) Hashes(ctx context.Context, from, to int64) ([][]byte, error) {
	return hashes(a.tx.query(ctx, selectHashes, from, to))
}

func (a auditReader) Heads(ctx context.Context) (map[int64]audit.Head, error) {
	type keyed struct {
		id int64
		audit.Head
	}
	all, err := collect[keyed](a.tx.query(ctx, selectHeads))(func(r *rows) (k keyed, err error) {
		return k, r.Scan(&k.id, &k.Size, &k.Checkpoints, &k.Note)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's head: %w", err)
	}
	heads := make(map[int64]audit.Head, len(all))
	for _, k := range all {
		heads[k.id] = k.Head
	}
	return heads, nil
}

func (a auditReader) Entries(ctx context.Context, from int64, limit int) ([]audit.Row, error) {
	return entries(a.tx.query(ctx, selectEntries, from, limit))
}

func (a auditReader) Tiles(ctx context.Context, level int, from int64, limit int) ([]audit.Tile, error) {
	return tiles(a.tx.query(ctx, selectTiles, level, from, limit))
}

func (a auditReader) Levels(ctx context.Context) (map[int]int64, error) {
	type count struct {
		level int
		tiles int64
	}
	all, err := collect[count](a.tx.query(ctx, selectLevels))(func(r *rows) (c count, err error) {
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
	all, err := collect[audit.Checkpoint](a.tx.query(ctx, selectCheckpoints, from, limit))(func(r *rows) (c audit.Checkpoint, err error) {
		return c, r.Scan(&c.Number, &c.Size, &c.Note)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoints: %w", err)
	}
	return all, nil
}

// Before implements audit.ListStore.
func (a *Audit) Before(ctx context.Context, seq int64, limit int) ([]audit.Row, error) {
	return entries(a.db.query(ctx, selectBefore, seq, limit))
}

// Entry implements audit.ListStore.
func (a *Audit) Entry(ctx context.Context, id string) (audit.Row, error) {
	all, err := entries(a.db.query(ctx, selectEntry, id))
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("the log has no entry %q: %w", id, gatehouse.ErrNotFound)
	}
	if err != nil {
		return audit.Row{}, err
	}
	return all[0], nil
}
