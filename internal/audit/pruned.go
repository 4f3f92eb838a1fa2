package audit

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"gatehouse"

	"golang.org/x/mod/sumdb/tlog"
)

// Pruned says from where on a log is stored. It is a row that anybody who can write to
// the database can change: what makes it true is the entry that it names, which the
// tree proves.
type Pruned struct {
	// Start is the first entry that is stored; a multiple of 256, and 0 if nothing was
	// pruned. What is below it is gone, but for tiles of level 1 and above.
	Start int64
	// Entry is the index of the intent of action log.prune that announced this, and
	// Leaf that entry's bytes; nil if there is none.
	Entry int64
	Leaf  []byte
}

// PruneAction is the action of the entries that say what was pruned.
const PruneAction = "log.prune"

// A pruneRecord is what an entry of PruneAction says.
type pruneRecord struct {
	// first and last are the segment's entries, and root the root of the tree of them.
	first, last int64
	root        tlog.Hash
	// file and sum name the archive and its SHA-256; empty if there is none.
	file, sum string
}

func (r *pruneRecord) facts() map[string]string {
	facts := map[string]string{
		"first": strconv.FormatInt(r.first, 10), "last": strconv.FormatInt(r.last, 10), "root": hex.EncodeToString(r.root[:]),
	}
	if r.file != "" {
		facts["archive"], facts["sha256"] = r.file, r.sum
	}
	return facts
}

var errPruneRecord = errors.New("is no record of a pruning")

// parsePruneRecord reads an intent of PruneAction.
func parsePruneRecord(l *Leaf) (r pruneRecord, err error) {
	if l.Action != PruneAction || l.Kind != KindIntent {
		return r, errPruneRecord
	}
	var failed [3]error
	var root []byte
	r.first, failed[0] = strconv.ParseInt(l.Facts["first"], 10, 64)
	r.last, failed[1] = strconv.ParseInt(l.Facts["last"], 10, 64)
	root, failed[2] = hex.DecodeString(l.Facts["root"])
	if errors.Join(failed[:]...) != nil || len(root) != tlog.HashSize || r.first < 0 || r.first%Segment != 0 || r.last != r.first+Segment-1 {
		return r, errPruneRecord
	}
	r.root, r.file, r.sum = tlog.Hash(root), l.Facts["archive"], l.Facts["sha256"]
	return r, nil
}

// errUnjustified is wrapped by what is wrong with a Pruned.
var errUnjustified = errors.New("the log does not say that its beginning was pruned")

// justify checks that a log, as a point of it that is known to be right, says that what
// is missing was pruned. s may be asked for hashes and tiles only.
func (p Pruned) justify(ctx context.Context, s TileStore, point Point) error {
	switch {
	case p.Start == 0:
		return nil
	case p.Start < 0 || p.Start%tileWidth != 0 || p.Start > point.Size:
		return fmt.Errorf("%w: it cannot begin at entry %d", errUnjustified, p.Start)
	case p.Leaf == nil || p.Entry < p.Start || p.Entry >= point.Size:
		return fmt.Errorf("%w: no entry says that those before %d were", errUnjustified, p.Start)
	}
	view := NewView(ctx, NewSource(s), point, nil)
	proof, err := tlog.ProveRecord(point.Size, p.Entry, view.hashes)
	if err != nil {
		return fmt.Errorf("proving entry %d: %w", p.Entry, broken(err))
	}
	if err := tlog.CheckRecord(proof, point.Size, point.Root, p.Entry, LeafHash(p.Leaf)); err != nil {
		return fmt.Errorf("%w: entry %d, which is to say so, is not the one that the checkpoint covers", errUnjustified, p.Entry)
	}
	l, err := DecodeLeaf(p.Leaf)
	if err != nil {
		return fmt.Errorf("%w: entry %d is no entry", errUnjustified, p.Entry)
	}
	r, err := parsePruneRecord(l)
	if err != nil {
		return fmt.Errorf("%w: entry %d %w", errUnjustified, p.Entry, err)
	}
	if p.Start > r.last+1 {
		return fmt.Errorf("%w: entry %d says so of those up to %d, and those up to %d are gone", errUnjustified, p.Entry, r.last, p.Start-1)
	}
	root, err := view.hashes.ReadHashes([]int64{tlog.StoredHashIndex(2*tileHeight, r.first/Segment)})
	if err != nil {
		return fmt.Errorf("reading the root of entries %d to %d: %w", r.first, r.last, broken(err))
	}
	if root[0] != r.root {
		return fmt.Errorf("%w: entry %d names another root for entries %d to %d than the tree has", errUnjustified, p.Entry, r.first, r.last)
	}
	return nil
}

// momentStore is a Moment as a store of tiles.
type momentStore struct{ Moment }

func (momentStore) Leaves(context.Context, int64, int64) ([][]byte, error) {
	return nil, fmt.Errorf("entries are not read here: %w", gatehouse.ErrNotFound)
}

// readerStore is a Reader as a store of tiles.
type readerStore struct{ Reader }

func (readerStore) Head(context.Context) (Head, error) {
	return Head{}, fmt.Errorf("the head is not read here: %w", gatehouse.ErrNotFound)
}

func (readerStore) Leaves(context.Context, int64, int64) ([][]byte, error) {
	return nil, fmt.Errorf("entries are not read here: %w", gatehouse.ErrNotFound)
}

func (s readerStore) Hashes(ctx context.Context, from, to int64) ([][]byte, error) {
	rows, err := s.Entries(ctx, from, int(to-from))
	var all [][]byte
	for _, r := range rows {
		if r.Seq < to {
			all = append(all, r.Hash)
		}
	}
	return all, err
}

// beginPruned begins at the first entry that is stored, if the tiles that are left lead
// there.
func (v *verification) beginPruned() error {
	p, err := v.reader.Pruned(v.ctx)
	if err != nil || p.Start == 0 {
		return err
	}
	const where = "the beginning"
	if p.Start < 0 || p.Start%tileWidth != 0 || p.Start > v.size {
		v.report.add(where, "is said to be at entry %d, where no log can begin: the row was changed", p.Start)
		return nil
	}
	v.pruned = p.Start
	if size, root, err := ParseCheckpoint(v.head.Note, v.verifier); err == nil {
		switch err := p.justify(v.ctx, readerStore{v.reader}, Point{size, root}); {
		case errors.Is(err, errUnjustified):
			v.report.add(where, "entries before %d are gone, and %v", p.Start, err)
		case errors.Is(err, ErrTampered), errors.Is(err, gatehouse.ErrNotFound):
			v.report.add(where, "entries before %d are gone, and what the log says of that cannot be proved: %v", p.Start, err)
		case err != nil:
			return err
		}
	}
	if v.options.Since != nil {
		return nil // begins where that says
	}
	partial, err := v.edge(p.Start)
	if err != nil {
		return err
	}
	if partial == nil {
		v.report.add(where, "the tiles of the entries before %d, which were pruned, are not all there: nothing else can be verified", p.Start)
		v.broken, v.next, v.start = true, p.Start, p.Start
		return nil
	}
	v.main = restore(p.Start, partial)
	v.agreed, v.from = v.main.clone(), v.main.clone()
	v.next, v.start, v.report.Pruned = p.Start, p.Start, p.Start
	return v.prunedTiles()
}

// prunedTiles compares the tiles that are left of what was pruned with one another.
// Those that no full tile stands above lead to the first checkpoint that is compared.
func (v *verification) prunedTiles() error {
	for level := 1; v.pruned>>(tileHeight*(level+1)) > 0; level++ {
		n := v.pruned >> (tileHeight * (level + 1))
		above := n / tileWidth
		children := &tileCursor{v: v, level: level}
		parents := &tileCursor{v: v, level: level + 1}
		var parent []byte
		for index := range n {
			tile, err := children.get(index)
			if err != nil {
				return err
			}
			if index%tileWidth == 0 {
				parent = nil
				if index/tileWidth < above {
					if parent, err = parents.get(index / tileWidth); err != nil {
						return err
					}
				}
			}
			if tile == nil || parent == nil {
				continue
			}
			root, at := tileRoot(tile), index%tileWidth*tlog.HashSize
			if !bytes.Equal(parent[at:at+tlog.HashSize], root[:]) {
				v.report.add(fmt.Sprintf("tile %d/%d", level, index), "or the one above it was changed")
			}
		}
		v.report.Tiles += children.seen
	}
	return nil
}

// above returns the first n hashes of a tile, for where the tiles below it were pruned.
func (v *verification) above(level int, index int64, n int) ([]byte, error) {
	tiles, err := v.reader.Tiles(v.ctx, level, index, 1)
	if err != nil || len(tiles) != 1 || tiles[0].Index != index || len(tiles[0].Hashes) != tileWidth*tlog.HashSize {
		return nil, err
	}
	return tiles[0].Hashes[:n*tlog.HashSize], nil
}

// knownPruned compares a checkpoint that was kept elsewhere with what is left of the
// entries that it covers.
func (v *verification) knownPruned(where string, p Point) error {
	if p.Size%tileWidth != 0 && v.options.Archive == nil {
		return fmt.Errorf("%s covers %d entries, and those before %d were pruned: the archive that holds entry %d is needed to compare it: %w", where, p.Size, v.pruned, p.Size, gatehouse.ErrInvalid)
	}
	head, root, err := ParseCheckpoint(v.head.Note, v.verifier)
	if err != nil {
		return nil // is reported
	}
	source := NewSource(readerStore{v.reader})
	if v.options.Archive != nil {
		source = source.Or(v.options.Archive)
	}
	switch err := NewView(v.ctx, source, Point{head, root}, nil).GrownFrom(p); {
	case errors.Is(err, ErrTampered):
		v.report.add(where, "is not of this log: %v", err)
	case errors.Is(err, gatehouse.ErrNotFound):
		return fmt.Errorf("%s covers %d entries, which were pruned, and cannot be compared: %w", where, p.Size, err)
	case err != nil:
		return err
	}
	return nil
}

// orTiles is added to what is wrong with the first entries behind what was pruned.
func (v *verification) orTiles() string {
	if v.pruned > 0 && v.agreed.size == v.pruned {
		return ", or one of the tiles of what was pruned before them"
	}
	return ""
}
