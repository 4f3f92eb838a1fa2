package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"gatehouse"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// An Exporter copies a log into the form that a static web server can serve (C2SP
// tlog-tiles). It goes on where it stopped: what is full and there is not copied again.
type Exporter struct {
	Source   Source
	Verifier note.Verifier
	// Have returns what was exported under a path; ErrNotFound if nothing was.
	Have Source
	// Put makes content durable under a path. The checkpoint comes last, so that
	// whoever reads it finds what it covers.
	Put func(path string, content []byte) error
	// Start is where the log begins, if its beginning was pruned; a multiple of 256.
	Start int64
	// Progress, if not nil, is called now and then.
	Progress func(done, total int64)
}

// Export copies what is missing, and returns the log of the checkpoint that it copied.
// The error is ErrTampered if what was exported before is not the beginning of the log,
// or if the log is not as it was signed; the exported checkpoint then stays as it was.
func (x *Exporter) Export(ctx context.Context) (*View, error) {
	view, err := Newest(ctx, x.Source, x.Verifier)
	if err != nil {
		return nil, err
	}
	done := Point{Size: 0, Root: emptyRoot}
	switch signed, err := x.Have(ctx, CheckpointPath); {
	case err == nil:
		if done, err = OpenCheckpoint(signed, x.Verifier); err != nil {
			return nil, fmt.Errorf("reading what was exported before: %w", err)
		}
	case !errors.Is(err, gatehouse.ErrNotFound):
		return nil, fmt.Errorf("reading what was exported before: %w", err)
	}
	if err := view.GrownFrom(done); err != nil {
		return nil, err
	}
	// The tree is computed anew from the first bundle that was not full: so the tiles
	// follow from the entries that are exported, and from nothing else.
	start := done.Size &^ (tileWidth - 1)
	if start < x.Start {
		if err := x.pruned(ctx, view, start); err != nil {
			return nil, err
		}
		start = x.Start
	}
	t, err := x.treeAt(ctx, view, start)
	if err != nil {
		return nil, err
	}
	for from := start; from < view.Size; from += tileWidth {
		if x.Progress != nil {
			x.Progress(from, view.Size)
		}
		width := int(min(tileWidth, view.Size-from))
		path := TilePath(entriesLevel, from/tileWidth, width)
		data, err := x.Source(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		leaves, err := Unbundle(data, width)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		if err := x.Put(path, data); err != nil {
			return nil, err
		}
		for _, leaf := range leaves {
			var failed error
			t.push(LeafHash(leaf), func(tile Tile) {
				if failed == nil {
					failed = x.Put(TilePath(tile.Level, tile.Index, tileWidth), bytes.Clone(tile.Hashes))
				}
			})
			if failed != nil {
				return nil, failed
			}
		}
	}
	if t.root() != view.Root {
		return nil, fmt.Errorf("the entries do not lead to the root that is signed; 'gatehouse audit verify' says more: %w", ErrTampered)
	}
	for level, hashes := range t.partial {
		if len(hashes) > 0 {
			if err := x.Put(TilePath(level, view.Size>>(tileHeight*(level+1)), len(hashes)/len(emptyRoot)), hashes); err != nil {
				return nil, err
			}
		}
	}
	if x.Progress != nil {
		x.Progress(view.Size, view.Size)
	}
	return view, x.Put(CheckpointPath, view.Note)
}

// pruned copies what is left of what was pruned, from an entry on: full tiles above the
// lowest level, each checked against the view.
func (x *Exporter) pruned(ctx context.Context, view *View, from int64) error {
	if x.Start%tileWidth != 0 || x.Start > view.Size {
		return fmt.Errorf("the log is said to begin at entry %d: %w", x.Start, ErrTampered)
	}
	for level := 1; x.Start>>(tileHeight*(level+1)) > 0; level++ {
		for index := from >> (tileHeight * (level + 1)); index < x.Start>>(tileHeight*(level+1)); index++ {
			path := TilePath(level, index, tileWidth)
			data, err := x.Source(ctx, path)
			if err != nil {
				return fmt.Errorf("reading %s: %w", path, err)
			}
			root, err := view.hashes.ReadHashes([]int64{tlog.StoredHashIndex(tileHeight*(level+1), index)})
			if err != nil {
				return fmt.Errorf("reading the log's tiles: %w", broken(err))
			}
			if len(data) != tileWidth*tlog.HashSize || tileRoot(data) != root[0] {
				return fmt.Errorf("%s is not the one that the checkpoint covers: %w", path, ErrTampered)
			}
			if err := x.Put(path, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// treeAt returns the right edge of the log's first size entries, checked against the
// view.
func (x *Exporter) treeAt(ctx context.Context, view *View, size int64) (*tree, error) {
	var partial [][]byte
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		complete := size >> (tileHeight * level)
		var hashes []byte
		if width := int(complete % tileWidth); width > 0 {
			var err error
			if hashes, _, err = fetch(ctx, x.Source, level, complete/tileWidth, width); err != nil {
				return nil, fmt.Errorf("reading the log's tiles: %w", err)
			}
			if len(hashes) < width*tlog.HashSize {
				return nil, fmt.Errorf("tile %d/%d has %d bytes: %w", level, complete/tileWidth, len(hashes), ErrTampered)
			}
			hashes = hashes[:width*tlog.HashSize]
		}
		partial = append(partial, hashes)
	}
	t := restore(size, partial)
	then, err := view.At(size)
	if err != nil {
		return nil, err
	}
	if t.root() != then.Root {
		return nil, fmt.Errorf("the log's tiles do not lead to the root that is signed: %w", ErrTampered)
	}
	return t, nil
}
