package audit

import "golang.org/x/mod/sumdb/tlog"

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
