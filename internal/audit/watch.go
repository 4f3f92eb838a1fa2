package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"syscall"
	"time"

	"gatehouse"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// tilesAtOnce is how many full tiles, with their entries' hashes, one look
	// walks over.
	tilesAtOnce = 4
	// clockStep is by how much the wall clock may go wrong between two looks
	// before it is recorded.
	clockStep = 2 * time.Second
)

// watch is what the writer knows of its last look.
type watch struct {
	last time.Time
	// tile is the next of the full tiles to walk over.
	tile int64
	// pruned is where the stored log begins, as far as the log says so.
	pruned int64
	// saw is the size of the checkpoint that is kept beside the log.
	saw int64
	// unheld says that the operator knows that no space is held back.
	unheld bool
}

// due returns how long it is until the next look.
func (w *writer) due() time.Duration { return max(0, w.log.config.LookEvery-time.Since(w.watch.last)) }

// tick is what is done each second: a look at what is stored, what other processes
// left behind, and the space that is held back.
func (w *writer) tick(ctx context.Context) {
	last := w.watch.last
	w.watch.last = time.Now()
	w.clock(last, w.watch.last)
	if w.log.aside.alerted() {
		w.log.alerted() // another process has noticed
		return
	}
	defer w.log.begin()()
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	err := w.look(ctx)
	if err == nil {
		err = w.around(ctx, w.crossDue())
	}
	if err == nil {
		err = w.hold()
	}
	if err == nil {
		err = w.clearUp(ctx)
	}
	w.sound(err)
	w.log.gates(err)
}

// hold holds space back. It is an error only if there is none: then the disk is
// full, whoever filled it.
func (w *writer) hold() error {
	err := w.log.reserve.hold()
	switch {
	case err == nil:
		w.watch.unheld = false
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if !w.watch.unheld {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelWarn, "no space is held back for the audit log", slog.String("error", err.Error()))
	}
	w.watch.unheld = true
	return nil
}

// clearUp writes what processes left behind and does what is owed.
func (w *writer) clearUp(ctx context.Context) error {
	if err := w.adopt(ctx); err != nil {
		return err
	}
	return w.redo(ctx)
}

// clock records that this machine's clock was set: times before and after do not
// follow one another. Nothing depends on them, the order is that of the entries.
func (w *writer) clock(from, to time.Time) {
	if from.IsZero() {
		return
	}
	if off, stepped := stepped(to.Round(0).Sub(from.Round(0)), to.Sub(from)); stepped {
		w.log.Reduction(Entry{Action: "log.clock", Facts: map[string]string{"seconds": strconv.FormatInt(int64(off/time.Second), 10)}})
	}
}

// stepped reports by how much the wall clock went further than the time that
// really passed, if that is worth a word.
func stepped(wall, passed time.Duration) (time.Duration, bool) {
	off := wall - passed
	return off, off > clockStep || off < -clockStep
}

// look compares what is stored, read anew, with what is known to have been stored:
// the head, the hashes since the last full tile, and a few full tiles up to the
// root. Each look walks on, so that all of them have their turn.
func (w *writer) look(ctx context.Context) error {
	grown := false
	err := w.store.Look(ctx, func(v Moment) error {
		head, err := v.Head(ctx)
		if err != nil {
			return err
		}
		known := w.tree
		switch {
		case head.Size < known.size:
			return shrunk(known.size, head.Size)
		case head.Size > known.size:
			grown = true // by another process, or a write of ours that is in doubt
		case head.Checkpoints < w.head.Checkpoints, !bytes.Equal(head.Note, w.head.Note) && head.Checkpoints == w.head.Checkpoints:
			return tampered("the log's head was replaced while it was open")
		case head.Checkpoints == w.head.Checkpoints && head.Kept != w.head.Kept:
			return tampered("kept checkpoints of the log were removed while it was open")
		}
		from := known.size &^ (tileWidth - 1)
		hashes, err := v.Hashes(ctx, from, known.size)
		if err != nil {
			return err
		}
		var edge []byte
		if len(known.partial) > 0 {
			edge = known.partial[0]
		}
		if !bytes.Equal(bytes.Join(hashes, nil), edge) {
			return tampered("entries of the log from %d on were changed or removed while it was open", from)
		}
		beyond, err := w.lookPruned(ctx, v)
		if err != nil || beyond {
			return err
		}
		return w.walk(ctx, v)
	})
	if err == nil && grown && !w.doubtful {
		err = w.reload(ctx)
	}
	if err == nil {
		w.see()
	}
	return err
}

// see keeps the newest checkpoint beside the log.
func (w *writer) see() {
	if w.watch.saw == w.head.Size {
		return
	}
	if err := w.log.aside.see(w.head.Note); err != nil {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelWarn, "the newest checkpoint cannot be kept beside the log", slog.String("error", err.Error()))
		return
	}
	w.watch.saw = w.head.Size
}

// walk checks the next few full tiles.
func (w *writer) walk(ctx context.Context, v Moment) error {
	full := w.tree.size / tileWidth
	for range min(full, tilesAtOnce) {
		if w.watch.tile >= full {
			w.watch.tile = 0
		}
		if err := w.step(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// step checks the next full tile, or of a segment that was pruned, the tile of level 1
// that is left.
func (w *writer) step(ctx context.Context, v Moment) error {
	if from := w.watch.pruned / tileWidth; w.watch.tile < from {
		if err := w.climb(ctx, v, 1, w.watch.tile/tileWidth); err != nil {
			return err
		}
		w.watch.tile = min(from, (w.watch.tile/tileWidth+1)*tileWidth)
		return nil
	}
	if err := w.checkTile(ctx, v, w.watch.tile); err != nil {
		return err
	}
	w.watch.tile++
	return nil
}

// lookPruned takes over from where on the log is stored. It reports true if what says so
// is beyond what this process knows of the log yet.
func (w *writer) lookPruned(ctx context.Context, v Moment) (beyond bool, err error) {
	p, err := v.Pruned(ctx)
	if err != nil || p.Start == w.watch.pruned {
		return false, err
	}
	if p.Start < w.watch.pruned {
		return false, tampered("the log was pruned up to entry %d, and is now said to begin at %d", w.watch.pruned, p.Start)
	}
	if p.Entry >= w.tree.size && p.Leaf != nil {
		return true, nil
	}
	err = p.justify(ctx, momentStore{v}, Point{w.tree.size, w.tree.root()})
	switch {
	case errors.Is(err, errUnjustified), errors.Is(err, ErrTampered), errors.Is(err, gatehouse.ErrNotFound):
		return false, tampered("entries of the log before %d were removed while it was open: %v", p.Start, err)
	case err != nil:
		return false, err
	}
	w.watch.pruned = p.Start
	return false, nil
}

// checkTile compares the hashes of one full tile's entries with the tile, and the
// tile with those above it, up to what is known.
func (w *writer) checkTile(ctx context.Context, v Moment, index int64) error {
	from := index * tileWidth
	hashes, err := v.Hashes(ctx, from, from+tileWidth)
	if err != nil {
		return err
	}
	below := bytes.Join(hashes, nil)
	if len(below) != tileWidth*tlog.HashSize {
		return tampered("of the entries %d to %d of the log some were removed or changed", from, from+tileWidth-1)
	}
	tiles, err := v.Tiles(ctx, 0, index, 1)
	if err != nil {
		return err
	}
	if len(tiles) == 1 && tiles[0].Index == index && len(tiles[0].Hashes) == len(below) && !bytes.Equal(tiles[0].Hashes, below) {
		return tampered("entries %d to %d of the log, or tile 0/%d, were changed", from, from+tileWidth-1, index)
	}
	return w.climb(ctx, v, 0, index)
}

// climb compares a full tile with those above it, up to what is known.
func (w *writer) climb(ctx context.Context, v Moment, level int, index int64) error {
	for ; ; level++ {
		// index is that of the tile at this level, as it has to be.
		tiles, err := v.Tiles(ctx, level, index, 1)
		if err != nil {
			return err
		}
		if len(tiles) != 1 || tiles[0].Index != index || len(tiles[0].Hashes) != tileWidth*tlog.HashSize {
			return tampered("tile %d/%d of the log was removed or changed", level, index)
		}
		root := tileRoot(tiles[0].Hashes)
		above, place := index/tileWidth, int(index%tileWidth)*tlog.HashSize
		if above >= w.tree.size>>(tileHeight*(level+2)) {
			// The tile above is not full: we know it.
			edge := w.tree.partial[level+1]
			if len(edge) < place+tlog.HashSize || !bytes.Equal(edge[place:place+tlog.HashSize], root[:]) {
				return tampered("tile %d/%d of the log was changed", level, index)
			}
			return nil
		}
		higher, err := v.Tiles(ctx, level+1, above, 1)
		if err != nil {
			return err
		}
		if len(higher) != 1 || higher[0].Index != above || len(higher[0].Hashes) != tileWidth*tlog.HashSize ||
			!bytes.Equal(higher[0].Hashes[place:place+tlog.HashSize], root[:]) {
			return tampered("tile %d/%d of the log, or the one above it, was changed", level, index)
		}
		index = above
	}
}

func shrunk(had, has int64) error {
	return tampered("the log has shrunk from %d to %d entries", had, has)
}

// sound keeps on disk that tampering was noticed, so that a restart does not
// forget it.
func (w *writer) sound(err error) {
	if err == nil || conditionOf(err) != Tampered {
		return
	}
	if kept := w.log.aside.alert(err.Error(), w.head.Size, w.head.Note); kept != nil {
		w.log.config.Log.LogAttrs(w.log.base, slog.LevelError, "what was noticed of tampering cannot be kept", slog.String("error", kept.Error()))
	}
}

// compare checks that the log leads to the newest checkpoint that this machine
// has seen stored.
func (w *writer) compare(ctx context.Context) error {
	size, root, ok := w.log.aside.seen(w.signer)
	if !ok || size == 0 {
		return nil
	}
	if w.tree.size < size {
		// Another process may have appended, and seen it, since this one read the head.
		// What it saw was stored before: it is there now.
		if err := w.reload(ctx); err != nil {
			return err
		}
	}
	if w.tree.size < size {
		return tampered("the log has %d entries, and this machine has seen %d: it was rolled back", w.tree.size, size)
	}
	had := w.tree
	if size < had.size {
		gone := false
		err := w.store.Look(ctx, func(v Moment) error {
			p, err := v.Pruned(ctx)
			if segments := (p.Start + Segment - 1) / Segment; err == nil && size < segments*Segment {
				gone = true
				_, err = w.lookPruned(ctx, v)
			}
			return err
		})
		if err != nil {
			return err
		}
		if gone {
			// This machine was away for longer than entries are kept.
			w.log.config.Log.LogAttrs(ctx, slog.LevelWarn, "what this machine has seen of the audit log was pruned since, so that it cannot be compared", slog.Int64("entries", size))
			return nil
		}
		if had, err = rebuild(ctx, w.store, size); err != nil {
			return err
		}
	}
	if had.root() != root {
		return tampered("the log of %d entries is another one than this machine has seen", size)
	}
	return nil
}
