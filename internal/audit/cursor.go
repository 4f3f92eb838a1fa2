package audit

import (
	"fmt"
	"math"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// A tileCursor walks over the stored tiles of one level in order.
type tileCursor struct {
	v     *verification
	level int
	// from is the first index not read yet, buffer what was read and not taken.
	from   int64
	buffer []Tile
	ended  bool
	// next is the index that get expects next; seen counts the tiles given out.
	next, seen int64
}

// cursor returns the one of a level.
func (v *verification) cursor(level int) *tileCursor {
	c := v.tiles[level]
	if c == nil {
		c = &tileCursor{v: v, level: level, from: math.MinInt64}
		if v.start > 0 && level >= 0 && level < 8 && (level > 0 || v.start != v.pruned) {
			c.from = v.start >> (tileHeight * (level + 1))
			c.next = c.from
		} else if level == 0 {
			c.next = v.pruned / tileWidth
		}
		v.tiles[level] = c
	}
	return c
}

// tileBatch is how many tiles are read at a time.
const tileBatch = 64

func (c *tileCursor) fill() error {
	if len(c.buffer) > 0 || c.ended {
		return nil
	}
	tiles, err := c.v.reader.Tiles(c.v.ctx, c.level, c.from, tileBatch)
	if err != nil {
		return err
	}
	c.buffer = tiles
	if len(tiles) < tileBatch || tiles[len(tiles)-1].Index == math.MaxInt64 {
		c.ended = true
	} else {
		c.from = tiles[len(tiles)-1].Index + 1
	}
	return nil
}

// get returns the hashes of tile index, or nil, after saying so, when it is
// missing or has the wrong length. It must be called in order of indexes.
func (c *tileCursor) get(index int64) ([]byte, error) {
	c.next = index + 1
	for {
		if err := c.fill(); err != nil {
			return nil, err
		}
		name := fmt.Sprintf("tile %d/%d", c.level, index)
		switch {
		case len(c.buffer) == 0 || c.buffer[0].Index > index:
			c.v.report.add(name, "is missing")
			return nil, nil
		case c.buffer[0].Index < index:
			c.stray()
		default:
			hashes := c.buffer[0].Hashes
			c.buffer = c.buffer[1:]
			c.seen++
			if len(hashes) != tileWidth*tlog.HashSize {
				c.v.report.add(name, "was changed: it has %d bytes", len(hashes))
				return nil, nil
			}
			return hashes, nil
		}
	}
}

// through takes the tiles up to the index end that were not asked for, so that
// those missing are noticed.
func (c *tileCursor) through(end int64) error {
	for c.next < end {
		if err := c.fill(); err != nil {
			return err
		}
		if len(c.buffer) == 0 && end-c.next > 1 {
			c.v.report.add(fmt.Sprintf("tiles %d/%d to %d/%d", c.level, c.next, c.level, end-1), "are missing")
			return nil
		}
		if _, err := c.get(c.next); err != nil {
			return err
		}
	}
	return nil
}

func (c *tileCursor) stray() {
	t := c.buffer[0]
	c.v.report.add(fmt.Sprintf("tile %d/%d", t.Level, t.Index), "is not part of the log: inserted, or its number was changed")
	c.buffer = c.buffer[1:]
}

// rest reports all tiles that were not asked for.
func (c *tileCursor) rest() error {
	for {
		if err := c.fill(); err != nil || len(c.buffer) == 0 {
			return err
		}
		c.stray()
	}
}

// A mark is a checkpoint whose signature is right.
type mark struct {
	where string
	size  int64
	root  tlog.Hash
}

// A checkpointCursor walks over the kept checkpoints, the head's and those
// known from elsewhere, in order of size.
type checkpointCursor struct {
	v *verification
	// known are those of the options and the head, by size.
	known []mark
	// kept is the next kept one, if any.
	kept   *mark
	buffer []Checkpoint
	from   int64
	ended  bool
	number int64
	size   int64
}

func (c *checkpointCursor) init(v *verification) error {
	*c = checkpointCursor{v: v, from: math.MinInt64}
	for i, n := range v.options.Known {
		where := fmt.Sprintf("known checkpoint %d", i)
		p, err := OpenCheckpoint(n, v.verifier)
		switch {
		case err != nil:
			v.report.add(where, "is %v", errCheckpoint)
		case p.Size > v.size:
			v.report.add(where, "covers %d entries and the log ends at %d: it was rolled back", p.Size, v.size)
		case p.Size < v.pruned:
			if err := v.knownPruned(where, p); err != nil {
				return err
			}
		case p.Size < v.start:
			v.report.add(where, "covers %d entries, and the log was to be verified from %d on", p.Size, v.start)
		default:
			c.known = append(c.known, mark{where, p.Size, p.Root})
		}
	}
	if size, root, err := ParseCheckpoint(v.head.Note, v.verifier); err == nil {
		c.known = append(c.known, mark{"head", size, root})
	}
	slices.SortStableFunc(c.known, func(a, b mark) int { return int(a.size - b.size) })
	return nil
}

// upTo returns the next checkpoint of a size up to the given one.
func (c *checkpointCursor) upTo(size int64) (mark, bool, error) {
	if err := c.advance(); err != nil {
		return mark{}, false, err
	}
	if c.kept != nil && c.kept.size <= size && (len(c.known) == 0 || c.kept.size <= c.known[0].size) {
		m := *c.kept
		c.kept = nil
		return m, true, nil
	}
	if len(c.known) > 0 && c.known[0].size <= size {
		m := c.known[0]
		c.known = c.known[1:]
		return m, true, nil
	}
	return mark{}, false, nil
}

// advance reads kept checkpoints until one is in order.
func (c *checkpointCursor) advance() error {
	for c.kept == nil {
		if len(c.buffer) == 0 && !c.ended {
			var err error
			if c.buffer, err = c.v.reader.Checkpoints(c.v.ctx, c.from, readBatch); err != nil {
				return err
			}
			if n := len(c.buffer); n < readBatch || c.buffer[n-1].Number == math.MaxInt64 {
				c.ended = true
			} else {
				c.from = c.buffer[n-1].Number + 1
			}
		}
		if len(c.buffer) == 0 {
			return nil
		}
		c.take(c.buffer[0])
		c.buffer = c.buffer[1:]
	}
	return nil
}

// take checks one kept checkpoint by itself and makes it the next mark if it
// can be compared with the tree.
func (c *checkpointCursor) take(k Checkpoint) {
	where, report := fmt.Sprintf("checkpoint %d", k.Number), c.v.report
	if k.Number < 0 || k.Number >= c.v.head.Checkpoints {
		report.add(where, "is beyond the %d that the head counts: inserted, or its number or the head was changed", c.v.head.Checkpoints)
	} else {
		switch gap := k.Number - c.number; {
		case gap == 1:
			report.add(fmt.Sprintf("checkpoint %d", c.number), "is missing")
		case gap > 1:
			report.add(fmt.Sprintf("checkpoints %d to %d", c.number, k.Number-1), "are missing")
		}
		c.number = k.Number + 1
	}
	if k.Size < c.v.start && c.v.start != c.v.pruned {
		return // compared when the log was verified up to there
	}
	report.Checkpoints++
	size, root, err := ParseCheckpoint(k.Note, c.v.verifier)
	if err != nil {
		report.add(where, "is %v", err)
		return
	}
	if size != k.Size {
		report.add(where, "says %d entries and its signed text says %d", k.Size, size)
	}
	switch {
	case size > c.v.size:
		report.add(where, "covers %d entries and the log ends at %d: it was rolled back", size, c.v.size)
	case size < c.size:
		report.add(where, "covers fewer entries than the one before it: they were reordered")
	case size < c.v.pruned:
		c.size = size // What it covers was pruned; nothing is left to compare.
	default:
		c.size = size
		c.kept = &mark{where, size, root}
	}
}

// rest takes what is left after the last entry.
func (c *checkpointCursor) rest() error {
	for {
		m, ok, err := c.upTo(math.MaxInt64)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		c.v.agree(m)
	}
	// A head whose number of checkpoints was made enormous is one problem.
	if missing := c.v.head.Checkpoints - c.number; missing > 0 {
		c.v.report.add("head", "counts %d checkpoints and %d are kept: some were removed from the end, or the head was changed", c.v.head.Checkpoints, c.number)
	}
	return nil
}
