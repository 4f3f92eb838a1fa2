package audit

import (
	"context"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// InDoubtWithin is NewestInDoubt with another budget.
func InDoubtWithin(ctx context.Context, s *Searcher, since, before time.Time, budget int) (Doubt, error) {
	return s.inDoubt(ctx, since, before, budget)
}

// AppendLeaf appends the canonical form of a leaf.
func AppendLeaf(b []byte, l *Leaf) []byte { return l.appendJSON(b) }

// A TestTree gives tests the tree itself.
type TestTree struct{ tree }

// Push appends a hash and returns the tiles that became full.
func (t *TestTree) Push(h tlog.Hash) (full []Tile) {
	t.push(h, func(tile Tile) { full = append(full, tile) })
	return full
}

// Root returns the root.
func (t *TestTree) Root() tlog.Hash { return t.root() }

// Restored returns the tree rebuilt from its partial tiles alone.
func (t *TestTree) Restored() *TestTree { return &TestTree{*restore(t.size, t.partial)} }

// TileRoot returns the root of a full tile's subtree.
func TileRoot(hashes []byte) tlog.Hash { return tileRoot(hashes) }

// Stepped reports whether the wall clock went further, or less far, than time.
func Stepped(wall, passed time.Duration) (time.Duration, bool) { return stepped(wall, passed) }

// ReadSpool returns how many entries of a spool are this log's.
func ReadSpool(data []byte, signer note.Signer) (int, error) {
	lines, err := readSpool(data, signer)
	return len(lines), err
}

// WalkAll is what many looks do: it checks every full tile. Run must not be running.
func WalkAll(ctx context.Context, l *Log) error {
	w := &l.writer
	return w.store.Look(ctx, func(v Moment) error {
		if _, err := w.lookPruned(ctx, v); err != nil {
			return err
		}
		for w.watch.tile = 0; w.watch.tile < w.tree.size/tileWidth; {
			if err := w.step(ctx, v); err != nil {
				return err
			}
		}
		return nil
	})
}

// IsScanned reports whether a leaf is read the fast way.
func IsScanned(data []byte) bool {
	_, ok := scanLeaf(data)
	return ok
}

// DecodeSlowly is DecodeLeaf without the fast way.
func DecodeSlowly(data []byte) (*Leaf, error) {
	if len(data) > maxLeaf {
		return nil, errLeaf
	}
	return decodeLeaf(data)
}

// LookAround has the writer look around, and returns why the log cannot be written then.
func (l *Log) LookAround(ctx context.Context) error {
	select {
	case <-l.queue.nudge():
		return l.Fault()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OutcomeOf records the outcome of an intent that another log may have.
func (l *Log) OutcomeOf(intent string) error {
	return l.queue.put(l.must(KindOutcome, intent, Entry{Action: "call", Verdict: "done"}), false, false)
}
