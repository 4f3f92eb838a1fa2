package audit

import (
	"cmp"
	"errors"
	"slices"

	"gatehouse"
)

// maxPrunedClaims bounds how many claims about the pruned part of one log are compared:
// each takes some reads. The newest go first.
const maxPrunedClaims = 1 << 12

// comparePruned compares what others say of the part of a log that was pruned, as far as
// the tiles that are left lead there, or those of the archive. The rest is counted: a
// size within 256 entries that are gone says nothing that can be checked, and is no
// sign of anything.
func (v *logsVerification) comparePruned(l *verifiedLog) error {
	gone := slices.Clone(v.claims[l.Origin])
	gone = slices.DeleteFunc(gone, func(c claim) bool { return c.size == 0 || c.size > l.report.Pruned })
	slices.SortStableFunc(gone, func(a, b claim) int { return cmp.Compare(b.size, a.size) })
	reader := v.reader.Log(l.Number)
	head, err := reader.Head(v.ctx)
	if err != nil {
		return err
	}
	size, root, err := ParseCheckpoint(head.Note, l.verifier)
	if err != nil {
		return nil // is reported
	}
	source := NewSource(readerStore{reader})
	if l.archive != nil {
		source = source.Or(l.archive)
	}
	view, left := NewView(v.ctx, source, Point{size, root}, nil), maxPrunedClaims
	wrong := map[int64]struct{}{} // one word for each log that says so
	for _, c := range gone {
		if left == 0 || c.size%tileWidth != 0 && l.archive == nil {
			l.report.Uncompared++
			continue
		}
		left--
		switch err := view.GrownFrom(Point{c.size, c.root}); {
		case errors.Is(err, gatehouse.ErrNotFound):
			l.report.Uncompared++
		case errors.Is(err, ErrTampered):
			if _, told := wrong[c.by]; !told {
				wrong[c.by] = struct{}{}
				v.add(l.Origin, "its first %d entries, which were pruned, are others than those that %s has of it: it was rolled back and written anew", c.size, v.entry(c))
			}
		case err != nil:
			return err
		}
	}
	return nil
}
