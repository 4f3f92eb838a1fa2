package audit

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// VerifyOptions say what else to compare the log with. The zero compares it
// with itself only.
type VerifyOptions struct {
	// Known are checkpoints kept somewhere else; the log must have grown from
	// each of them. They are what shows that a whole log was rolled back or
	// replaced by another that the same key signed.
	Known [][]byte
	// Since, if not nil, is a signed checkpoint up to which the log was verified
	// before: that it still is the same up to there is checked by the tiles, and all
	// else from there on. Known checkpoints must not be older.
	Since []byte
	// Archive, if not nil, returns tiles of what was pruned; it is for Known ones from
	// then. (See Archive.Source.)
	Archive Source
	// Progress, if not nil, is called now and then.
	Progress func(done, total int64)
}

// readBatch is how many rows are read at a time.
const readBatch = 1024

// Verify recomputes everything stored from the entries' bytes and compares:
// hashes, tiles, every checkpoint and its signature, the commitments to what
// lies outside the tree, ids, gaps, and that every outcome follows its intent.
// The error is for a log that could not be read; what is wrong with a log that
// could be stands in the report.
func Verify(ctx context.Context, s VerifyStore, verifier note.Verifier, o VerifyOptions) (Report, error) {
	var report Report
	err := s.Snapshot(ctx, func(r Reader) error {
		report = Report{Origin: verifier.Name()}
		v := newVerification(ctx, r, verifier, o, &report)
		if err := v.run(); err != nil {
			return err
		}
		v.intents.list(0, &report)
		return nil
	})
	if err != nil {
		return report, fmt.Errorf("verifying the log: %w", err)
	}
	return report, nil
}

func newVerification(ctx context.Context, r Reader, verifier note.Verifier, o VerifyOptions, report *Report) *verification {
	return &verification{
		ctx: ctx, reader: &oneReader{reader: r}, verifier: verifier, options: o,
		report: report, main: &tree{}, agreed: &tree{}, intents: newIntents(), tiles: map[int]*tileCursor{},
	}
}

// verification is one pass over the log.
type verification struct {
	ctx      context.Context
	reader   Reader
	verifier note.Verifier
	options  VerifyOptions
	report   *Report

	// head is the newest state, and size how many entries there should be.
	head Head
	size int64
	// next is the index of the entry that comes next, and start the first that is
	// looked at.
	next, start int64
	// pruned is where the stored log begins.
	pruned int64

	// main is the tree as it most probably was. Where an entry's bytes and the
	// hashes stored for it disagree and nothing yet tells which was changed,
	// alt holds the other reading, and doubts wait for the next checkpoint,
	// which tells.
	main, alt *tree
	doubts    []doubt
	// agreed is the tree of the last checkpoint that agreed, and since are the
	// hashes of the entries after it, while they are few.
	agreed *tree
	since  []tlog.Hash
	// broken says that the tree can no longer be followed.
	broken bool

	marks checkpointCursor
	tiles map[int]*tileCursor
	// tile are the stored hashes of the level-0 tile around next, if any.
	tile []byte

	intents *intents

	// number is the log's, and logs the pass over all logs that this one belongs to;
	// nil for one alone.
	number int64
	logs   *logsVerification
	// from is the tree up to start; nil for the empty one.
	from *tree
}

// A doubt is a disagreement: what to report if main is right, and if alt is.
type doubt struct{ main, alt Problem }

func (v *verification) run() error {
	if err := v.readHead(); err != nil {
		return err
	}
	if err := v.beginPruned(); err != nil {
		return err
	}
	from := int64(math.MinInt64)
	if v.options.Since != nil {
		if ok, err := v.begin(); err != nil || !ok {
			return err
		}
		from = v.start
	}
	if err := v.marks.init(v); err != nil {
		return err
	}
	for rows, err := range v.entries(from) {
		if err != nil {
			return err
		}
		for i := range rows {
			if err := v.row(&rows[i]); err != nil {
				return err
			}
		}
		if v.options.Progress != nil {
			v.options.Progress(v.next, v.size)
		}
	}
	if err := v.missing(v.size); err != nil {
		return err
	}
	if err := v.checkpoints(); err != nil {
		return err
	}
	if err := v.finish(); err != nil {
		return err
	}
	return nil
}

// readHead reads the newest checkpoint, which says how many entries there are.
func (v *verification) readHead() error {
	head, err := v.reader.Head(v.ctx)
	if err != nil {
		return err
	}
	if head.Note == nil {
		v.report.add("head", "the newest checkpoint is missing: it was removed, or the log was never opened")
		return nil
	}
	v.head = head
	size, root, err := ParseCheckpoint(head.Note, v.verifier)
	if err != nil {
		v.report.add("head", "the newest checkpoint is %v", err)
		v.size = head.Size
		return nil
	}
	v.size, v.report.Root = size, encodeRoot(root)
	if head.Size != size {
		v.report.add("head", "says %d entries and its signed checkpoint says %d", head.Size, size)
	}
	return nil
}

// entryName is how a report names an entry.
func entryName(seq int64, id string) string { return fmt.Sprintf("entry %d (%s)", seq, id) }

// row takes one stored row, in order of their indexes.
func (v *verification) row(r *Row) error {
	if r.Seq < 0 || r.Seq >= v.size {
		v.report.add(entryName(r.Seq, r.ID), "is not covered by the newest checkpoint, which ends at %d entries: inserted, or its number was changed, or the checkpoint is an old one", v.size)
		return nil
	}
	if r.Seq < v.pruned {
		v.report.add(entryName(r.Seq, r.ID), "stands before entry %d, where the log begins since it was pruned: inserted, or the row that says so was changed", v.pruned)
		return nil
	}
	if err := v.missing(r.Seq); err != nil {
		return err
	}
	if err := v.arrive(); err != nil {
		return err
	}
	v.report.Bytes += int64(len(r.Leaf))
	if !v.hashes(r) {
		return nil // The contents are not what was written.
	}
	v.contents(r)
	return nil
}

// missing notes that the entries from next up to seq are not there.
func (v *verification) missing(seq int64) error {
	if v.next >= seq {
		return nil
	}
	first := v.next
	for v.next < seq {
		if v.broken {
			// Nothing is left to compare, and a forged number of entries must
			// not keep this busy for ever.
			v.next, v.tile = seq, nil
			break
		}
		if err := v.arrive(); err != nil {
			return err
		}
		if v.tile == nil {
			// Nothing says what its hash was.
			v.broken = true
		}
		h := v.tileHash()
		v.push(h, h)
	}
	if seq-first == 1 {
		v.report.add(fmt.Sprintf("entry %d", first), "is missing")
	} else {
		v.report.add(fmt.Sprintf("entries %d to %d", first, seq-1), "are missing")
	}
	return nil
}

// arrive is called before the entry with index next is taken: it compares the
// checkpoints of this size and fetches the tile around it.
func (v *verification) arrive() error {
	if err := v.checkpoints(); err != nil {
		return err
	}
	if v.next%tileWidth != 0 {
		return nil
	}
	v.tile = nil
	if v.next+tileWidth > v.size {
		return nil
	}
	var err error
	v.tile, err = v.cursor(0).get(v.next / tileWidth)
	return err
}

// tileHash returns the hash that the tile holds for the entry next.
func (v *verification) tileHash() (h tlog.Hash) {
	if v.tile != nil {
		at := v.next % tileWidth * tlog.HashSize
		h = tlog.Hash(v.tile[at : at+tlog.HashSize])
	}
	return h
}

// hashes compares the entry's hash with those stored and appends the right one
// to the tree. It reports whether the entry's bytes may be those written.
func (v *verification) hashes(r *Row) bool {
	computed := LeafHash(r.Leaf)
	var column tlog.Hash
	copy(column[:], r.Hash)
	same := len(r.Hash) == tlog.HashSize && column == computed
	tile := v.tileHash()
	if same && (v.tile == nil || tile == computed) {
		v.push(computed, computed)
		return true
	}
	where := entryName(r.Seq, r.ID)
	switch {
	case v.tile == nil:
		v.fork(doubt{
			Problem{where, "its bytes were changed: they do not match the hash stored with them"},
			Problem{where, "the hash stored with it was changed"},
		})
		v.push(column, computed)
	case same:
		v.fork(doubt{
			Problem{fmt.Sprintf("tile 0/%d", r.Seq/tileWidth), "was changed: it holds another hash for " + where},
			Problem{where, "was replaced together with its hash: the tile and the checkpoint know another"},
		})
		v.push(computed, tile)
	case tile == computed:
		v.report.add(where, "the hash stored with it was changed")
		v.push(computed, computed)
	case tile == column:
		v.report.add(where, "its bytes were changed: they do not match its hash")
		v.push(tile, tile)
		return false
	default:
		v.report.add(where, "its bytes, the hash stored with it and its hash in tile 0/%d are three different ones", r.Seq/tileWidth)
		v.push(tile, computed)
	}
	return true
}

// fork begins a second reading, unless there is one already.
func (v *verification) fork(d doubt) {
	if v.alt == nil {
		v.alt = v.main.clone()
	}
	v.doubts = append(v.doubts, d)
}

// push appends to both readings and compares every tile that became full.
func (v *verification) push(main, alt tlog.Hash) {
	if v.alt == nil && main != alt {
		v.alt = v.main.clone()
	}
	if len(v.since) <= maxSwap {
		v.since = append(v.since, main)
	}
	v.main.push(main, func(t Tile) {
		if t.Level > 0 {
			// Level 0 was compared entry by entry; errors of reading come
			// again at the end, where they are returned.
			v.compare(t)
		}
	})
	if v.alt != nil {
		v.alt.push(alt, func(Tile) {})
	}
	v.next++
}

// compare compares a computed tile of a higher level with the stored one.
func (v *verification) compare(t Tile) {
	stored, err := v.cursor(t.Level).get(t.Index)
	if err != nil || stored == nil || v.broken || bytes.Equal(stored, t.Hashes) {
		return
	}
	where := fmt.Sprintf("tile %d/%d", t.Level, t.Index)
	if v.alt != nil {
		v.doubts = append(v.doubts, doubt{main: Problem{where, "was changed: it does not follow from the entries"}})
		return
	}
	v.report.add(where, "was changed: it does not follow from the entries")
}

// checkpoints compares the tree with all checkpoints of its present size.
func (v *verification) checkpoints() error {
	for {
		m, ok, err := v.marks.upTo(v.next)
		if err != nil || !ok {
			return err
		}
		v.agree(m)
	}
}

// agree compares the tree with a checkpoint and settles the doubts.
func (v *verification) agree(m mark) {
	if v.broken {
		return
	}
	switch {
	case v.main.root() == m.root:
		for _, d := range v.doubts {
			v.report.add(d.main.Where, "%s", d.main.What)
		}
	case v.alt != nil && v.alt.root() == m.root:
		for _, d := range v.doubts {
			if d.alt.Where != "" {
				v.report.add(d.alt.Where, "%s", d.alt.What)
			}
		}
		v.main = v.alt
	case v.alt == nil && v.swapped(m.root):
	default:
		v.unsettled()
		v.report.add(m.where, "does not agree with the entries: something in entries %d to %d was changed together with its hashes%s", v.agreed.size, m.size-1, v.orTiles())
		v.broken = true
	}
	v.alt, v.doubts, v.agreed, v.since = nil, nil, v.main.clone(), v.since[:0]
}

// maxSwap bounds the search for exchanged entries, which tries all pairs.
const maxSwap = tileWidth

// swapped looks for two entries since the last good checkpoint that have to be
// exchanged for the tree to agree. Those in full tiles are found by the tile;
// this is for the newest ones.
func (v *verification) swapped(root tlog.Hash) bool {
	if len(v.since) > maxSwap {
		return false
	}
	for i := range v.since {
		for j := i + 1; j < len(v.since); j++ {
			t := v.agreed.clone()
			for k, h := range v.since {
				switch k {
				case i:
					h = v.since[j]
				case j:
					h = v.since[i]
				}
				t.push(h, func(Tile) {})
			}
			if t.root() != root {
				continue
			}
			first, second := v.agreed.size+int64(i), v.agreed.size+int64(j)
			v.report.add(fmt.Sprintf("entry %d", first), "was exchanged with entry %d", second)
			v.report.add(fmt.Sprintf("entry %d", second), "was exchanged with entry %d", first)
			v.main = t
			return true
		}
	}
	return false
}

// unsettled reports doubts that no checkpoint settled, in both readings.
func (v *verification) unsettled() {
	for _, d := range v.doubts {
		for _, p := range []Problem{d.main, d.alt} {
			if p.Where != "" {
				v.report.add(p.Where, "possibly %s", p.What)
			}
		}
	}
	v.doubts = nil
}

// finish checks what can be checked only after the last entry.
func (v *verification) finish() error {
	if err := v.marks.rest(); err != nil {
		return err
	}
	v.unsettled()
	levels, err := v.reader.Levels(v.ctx)
	if err != nil {
		return err
	}
	for level := range levels {
		v.cursor(level)
	}
	// Every level that should have tiles is asked, so that one of which all
	// tiles are gone is noticed.
	for level := 0; v.size>>(tileHeight*(level+1)) > 0; level++ {
		v.cursor(level)
	}
	for _, level := range slices.Sorted(maps.Keys(v.tiles)) {
		c := v.tiles[level]
		if level >= 0 && level < 8 {
			if err := c.through(v.size >> (tileHeight * (level + 1))); err != nil {
				return err
			}
		}
		if err := c.rest(); err != nil {
			return err
		}
		v.report.Tiles += c.seen
	}
	v.report.Size = v.size
	return nil
}
