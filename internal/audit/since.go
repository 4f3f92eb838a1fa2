package audit

import (
	"bytes"
	"fmt"

	"gatehouse"

	"golang.org/x/mod/sumdb/tlog"
)

// sinceName is how a report names the checkpoint that verification begins with.
const sinceName = "the checkpoint given"

// begin starts behind the entries that a checkpoint covers, if the stored tiles and
// hashes lead to its root. It reports false after saying what is wrong.
func (v *verification) begin() (bool, error) {
	p, err := OpenCheckpoint(v.options.Since, v.verifier)
	if err != nil {
		v.report.add(sinceName, "is %v", errCheckpoint)
		return false, nil
	}
	if p.Size > v.size {
		v.report.add(sinceName, "covers %d entries and the log ends at %d: it was rolled back", p.Size, v.size)
		return false, nil
	}
	if p.Size < v.pruned {
		return false, fmt.Errorf("the checkpoint to begin with covers %d entries, and those before %d were pruned; verify without it: %w", p.Size, v.pruned, gatehouse.ErrInvalid)
	}
	partial, err := v.edge(p.Size)
	if err != nil {
		return false, err
	}
	if partial == nil || restore(p.Size, partial).root() != p.Root {
		v.report.add(sinceName, "does not agree with the hashes of the %d entries that it covers: something among them was changed; verify the whole log", p.Size)
		return false, nil
	}
	v.main = restore(p.Size, partial)
	v.agreed, v.from = v.main.clone(), v.main.clone()
	v.next, v.start, v.report.Since = p.Size, p.Size, p.Size
	if done := v.next % tileWidth; done != 0 && v.next-done+tileWidth <= v.size {
		if v.tile, err = v.cursor(0).get(v.next / tileWidth); err != nil {
			return false, err
		}
		if v.tile != nil && !bytes.Equal(v.tile[:done*tlog.HashSize], partial[0]) {
			v.report.add(sinceName, "does not agree with tile 0/%d: it was changed; verify the whole log", v.next/tileWidth)
			return false, nil
		}
	}
	return true, nil
}

// edge reads the hashes of the partial tiles at the end of the first size entries, as
// restore takes them; nil if there are not as many as there should be.
func (v *verification) edge(size int64) ([][]byte, error) {
	partial := [][]byte{}
	for level := 0; size>>(tileHeight*level) > 0; level++ {
		complete := size >> (tileHeight * level)
		from := complete &^ (tileWidth - 1)
		var hashes []byte
		if n := int(complete - from); n > 0 && level == 1 && from*tileWidth < v.pruned {
			var err error
			if hashes, err = v.above(level, complete/tileWidth, n); err != nil {
				return nil, err
			}
		} else if n := int(complete - from); n > 0 && level == 0 {
			rows, err := v.reader.Entries(v.ctx, from, n)
			if err != nil {
				return nil, err
			}
			for i, r := range rows {
				if r.Seq != from+int64(i) || len(r.Hash) != tlog.HashSize {
					return nil, nil
				}
				hashes = append(hashes, r.Hash...)
			}
		} else if n > 0 {
			tiles, err := v.reader.Tiles(v.ctx, level-1, from, n)
			if err != nil {
				return nil, err
			}
			for i, t := range tiles {
				if t.Index != from+int64(i) || len(t.Hashes) != tileWidth*tlog.HashSize {
					return nil, nil
				}
				h := tileRoot(t.Hashes)
				hashes = append(hashes, h[:]...)
			}
		}
		if int64(len(hashes)) != (complete-from)*tlog.HashSize {
			return nil, nil
		}
		partial = append(partial, hashes)
	}
	return partial, nil
}
