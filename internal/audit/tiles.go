package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// CheckpointPath is where a log is served its newest checkpoint.
const CheckpointPath = "checkpoint"

// A Source returns what a log serves under a path of C2SP tlog-tiles, relative to its
// prefix: "checkpoint", "tile/0/x001/234", "tile/entries/000.p/17". The error is
// ErrNotFound for what there is not. It is a directory, a web server or the database;
// nothing that it returns is believed before it was checked.
type Source func(ctx context.Context, path string) ([]byte, error)

// entriesLevel stands for bundles of entries among the levels of tiles.
const entriesLevel = -1

// TilePath returns the path of a tile, or for level -1 of a bundle of entries; width is
// 256 for a full one.
func TilePath(level int, index int64, width int) string {
	var b strings.Builder
	b.WriteString("tile/")
	if level == entriesLevel {
		b.WriteString("entries")
	} else {
		b.WriteString(strconv.Itoa(level))
	}
	digits := fmt.Sprintf("%03d", index)
	if short := len(digits) % 3; short != 0 {
		digits = strings.Repeat("0", 3-short) + digits
	}
	for len(digits) > 3 {
		b.WriteString("/x" + digits[:3])
		digits = digits[3:]
	}
	b.WriteString("/" + digits)
	if width != tileWidth {
		b.WriteString(".p/" + strconv.Itoa(width))
	}
	return b.String()
}

// ParseTilePath is the inverse of TilePath. It accepts one spelling of each path.
func ParseTilePath(path string) (level int, index int64, width int, err error) {
	bad := fmt.Errorf("there is no tile of this path: %w", gatehouse.ErrNotFound)
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok || len(path) > 64 {
		return 0, 0, 0, bad
	}
	first, rest, _ := strings.Cut(rest, "/")
	if first == "entries" {
		level = entriesLevel
	} else if level, err = strconv.Atoi(first); err != nil || level < 0 || level > 7 {
		// At level 7 a tile has 2^64 entries below it.
		return 0, 0, 0, bad
	}
	rest, partial, isPartial := strings.Cut(rest, ".p/")
	width = tileWidth
	if isPartial {
		if width, err = strconv.Atoi(partial); err != nil || width < 1 || width >= tileWidth {
			return 0, 0, 0, bad
		}
	}
	for part := range strings.SplitSeq(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 16)
		if err != nil || n > 999 || index > (math.MaxInt64>>8)/1000-1 {
			return 0, 0, 0, bad
		}
		index = index*1000 + int64(n)
	}
	if TilePath(level, index, width) != path {
		return 0, 0, 0, bad
	}
	return level, index, width, nil
}

// TileStore is what a Source is made of.
type TileStore interface {
	Head(ctx context.Context) (Head, error)
	// Leaves returns the bytes of entries from to to-1.
	Leaves(ctx context.Context, from, to int64) ([][]byte, error)
	Hashes(ctx context.Context, from, to int64) ([][]byte, error)
	Tiles(ctx context.Context, level int, from int64, limit int) ([]Tile, error)
}

// NewSource returns the source that a log in a store is served from. It serves every
// partial tile that is covered by the newest checkpoint.
func NewSource(s TileStore) Source {
	return func(ctx context.Context, path string) ([]byte, error) {
		if path == CheckpointPath {
			head, err := s.Head(ctx)
			if err == nil && len(head.Note) == 0 {
				err = fmt.Errorf("the log has no checkpoint yet: %w", gatehouse.ErrNotFound)
			}
			return head.Note, err
		}
		level, index, width, err := ParseTilePath(path)
		if err != nil {
			return nil, err
		}
		from := index * tileWidth
		to := from + int64(width)
		var data []byte
		switch {
		case level == entriesLevel:
			var leaves [][]byte
			leaves, err = s.Leaves(ctx, from, to)
			if err == nil && len(leaves) == width {
				data = bundle(leaves)
			}
		case level == 0:
			var hashes [][]byte
			if hashes, err = s.Hashes(ctx, from, to); err == nil {
				for _, h := range hashes {
					data = append(data, h...)
				}
			}
		case width == tileWidth:
			var tiles []Tile
			if tiles, err = s.Tiles(ctx, level, index, 1); err == nil && len(tiles) == 1 && tiles[0].Index == index {
				data = tiles[0].Hashes
			}
		default:
			var tiles []Tile
			if tiles, err = s.Tiles(ctx, level-1, from, width); err == nil {
				for i, t := range tiles {
					if t.Index != from+int64(i) || len(t.Hashes) != tileWidth*tlog.HashSize {
						break
					}
					h := tileRoot(t.Hashes)
					data = append(data, h[:]...)
				}
			}
		}
		if err != nil {
			return nil, err
		}
		if len(data) == 0 || level != entriesLevel && len(data) != width*tlog.HashSize {
			return nil, fmt.Errorf("the log has no such tile: %w", gatehouse.ErrNotFound)
		}
		return data, nil
	}
}

// bundle puts entries one after the other, each behind its length.
func bundle(leaves [][]byte) []byte {
	var b []byte
	for _, leaf := range leaves {
		b = binary.BigEndian.AppendUint16(b, uint16(len(leaf)))
		b = append(b, leaf...)
	}
	return b
}

// Unbundle takes a bundle of entries apart.
func Unbundle(b []byte, width int) ([][]byte, error) {
	leaves := make([][]byte, 0, min(width, tileWidth))
	for len(b) > 0 {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, errBundle
		}
		end := 2 + int(binary.BigEndian.Uint16(b))
		leaves = append(leaves, b[2:end])
		b = b[end:]
	}
	if len(leaves) != width {
		return nil, errBundle
	}
	return leaves, nil
}

var errBundle = fmt.Errorf("this is no bundle of as many entries as its path says: %w", gatehouse.ErrInvalid)

// A View is a log as one of its checkpoints signs it, read from a source. What it
// returns was checked against that checkpoint.
type View struct {
	source Source
	hashes tlog.HashReader
	Point
	// Note is the signed checkpoint.
	Note []byte
}

// A Point is what a checkpoint says of a log.
type Point struct {
	Size int64
	Root tlog.Hash
}

// OpenCheckpoint verifies the log's signature on a checkpoint, whoever else has signed
// it, and returns what it says.
func OpenCheckpoint(signed []byte, verifier note.Verifier) (Point, error) {
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		return Point{}, fmt.Errorf("this is %w: %w", errCheckpoint, gatehouse.ErrInvalid)
	}
	point, err := parsePoint(n.Text, verifier.Name())
	if err != nil {
		return Point{}, fmt.Errorf("this is %w: %w", err, gatehouse.ErrInvalid)
	}
	return point, nil
}

// Newest returns the log of the source's newest checkpoint.
func Newest(ctx context.Context, source Source, verifier note.Verifier) (*View, error) {
	signed, err := source(ctx, CheckpointPath)
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	point, err := OpenCheckpoint(signed, verifier)
	if err != nil {
		return nil, fmt.Errorf("reading the log's checkpoint: %w", err)
	}
	return NewView(ctx, source, point, signed), nil
}

// NewView returns the log of a checkpoint whose signature was verified.
func NewView(ctx context.Context, source Source, point Point, signed []byte) *View {
	v := &View{source: source, Point: point, Note: signed}
	v.hashes = tlog.TileHashReader(tlog.Tree{N: point.Size, Hash: point.Root}, &tileReader{ctx, source, point.Size})
	return v
}

// Entry returns the bytes of an entry, and the hashes that prove its place.
func (v *View) Entry(ctx context.Context, index int64) (leaf []byte, proof tlog.RecordProof, err error) {
	if index < 0 || index >= v.Size {
		return nil, nil, fmt.Errorf("the log of this checkpoint has %d entries: %w", v.Size, gatehouse.ErrNotFound)
	}
	n := index / tileWidth
	data, width, err := fetch(ctx, v.source, entriesLevel, n, int(min(tileWidth, v.Size-n*tileWidth)))
	if err != nil {
		return nil, nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	leaves, err := Unbundle(data, width)
	if err != nil {
		return nil, nil, fmt.Errorf("reading entry %d: %w", index, err)
	}
	leaf = leaves[index-n*tileWidth]
	if proof, err = tlog.ProveRecord(v.Size, index, v.hashes); err != nil {
		return nil, nil, fmt.Errorf("proving entry %d: %w", index, broken(err))
	}
	if err := tlog.CheckRecord(proof, v.Size, v.Root, index, LeafHash(leaf)); err != nil {
		return nil, nil, fmt.Errorf("entry %d is not the one that the checkpoint covers: %w", index, ErrTampered)
	}
	return leaf, proof, nil
}

// At returns what the log was when it had size entries.
func (v *View) At(size int64) (Point, error) {
	if size < 0 || size > v.Size {
		return Point{}, fmt.Errorf("the log of this checkpoint has %d entries: %w", v.Size, gatehouse.ErrNotFound)
	}
	if size == 0 {
		return Point{0, emptyRoot}, nil
	}
	root, err := tlog.TreeHash(size, v.hashes)
	if err != nil {
		return Point{}, fmt.Errorf("computing the root of %d entries: %w", size, broken(err))
	}
	return Point{size, root}, nil
}

// GrownFrom checks that the log has grown from an older point by appending alone; the
// error is ErrTampered if not.
func (v *View) GrownFrom(older Point) error {
	switch {
	case older.Size > v.Size:
		return fmt.Errorf("the log was shortened from %d entries to %d: %w", older.Size, v.Size, ErrTampered)
	case older.Size == v.Size && older.Root == v.Root:
		return nil
	case older.Size == v.Size:
		return fmt.Errorf("there are two different logs of %d entries, both signed: %w", v.Size, ErrTampered)
	}
	then, err := v.At(older.Size)
	if err != nil {
		return err
	}
	if then.Root != older.Root {
		return fmt.Errorf("the log of %d entries has not grown from the one of %d: it was forked or rewritten: %w", v.Size, older.Size, ErrTampered)
	}
	return nil
}

// ErrTampered says that something is not as it was signed.
var ErrTampered = fmt.Errorf("the log was tampered with: %w", gatehouse.ErrConflict)

// broken tells a tile that could not be read from one that is not as it was signed.
func broken(err error) error {
	if gatehouse.Kind(err) != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrTampered, err)
}

// tileReader reads tiles for package tlog, which checks them.
type tileReader struct {
	ctx    context.Context
	source Source
	size   int64
}

func (r *tileReader) Height() int                         { return tileHeight }
func (r *tileReader) SaveTiles(_ []tlog.Tile, _ [][]byte) {}

func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	all := make([][]byte, len(tiles))
	for i, t := range tiles {
		data, width, err := fetch(r.ctx, r.source, t.L, t.N, t.W)
		if err != nil {
			return nil, err
		}
		if len(data) != width*tlog.HashSize {
			return nil, fmt.Errorf("tile %d/%d has %d bytes: %w", t.L, t.N, len(data), ErrTampered)
		}
		all[i] = data[:t.W*tlog.HashSize]
	}
	return all, nil
}

// fetch reads a tile or a bundle, and where a partial one is gone, the full one that
// has replaced it. It returns the width of what it read.
func fetch(ctx context.Context, source Source, level int, index int64, width int) ([]byte, int, error) {
	data, err := source(ctx, TilePath(level, index, width))
	if err != nil && width < tileWidth && errors.Is(err, gatehouse.ErrNotFound) {
		if full, err := source(ctx, TilePath(level, index, tileWidth)); err == nil {
			return full, tileWidth, nil
		}
	}
	return data, width, err
}
