package audit

import (
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// tileWidth is how many hashes a full tile holds; a tile spans eight levels of
// the tree (C2SP tlog-tiles).
const (
	tileWidth  = 256
	tileHeight = 8
)

// A Tile is one full tile: the hashes of tileWidth complete subtrees, each of
// which covers tileWidth^Level leaves.
type Tile struct {
	Level  int
	Index  int64
	Hashes []byte
}

// A tree is the right edge of the Merkle tree: what is needed to append to it,
// to know its root and to fill tiles. It is a value of one goroutine; clone
// before changing what must survive a failure.
type tree struct {
	size int64
	// stack[i] is the root of the complete subtree of 2^i leaves that ends at
	// size, wherever bit i of size is set.
	stack []tlog.Hash
	// partial[l] are the hashes of level l's last tile, fewer than tileWidth.
	partial [][]byte
}

func (t *tree) clone() *tree {
	c := &tree{size: t.size, stack: slices.Clone(t.stack), partial: slices.Clone(t.partial)}
	for i, p := range t.partial {
		c.partial[i] = slices.Clone(p)
	}
	return c
}

// push appends a leaf's hash and hands every tile that became full to full.
func (t *tree) push(h tlog.Hash, full func(Tile)) {
	t.fill(0, h, full)
	level := 0
	for ; t.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(t.stack[level], h)
		if (level+1)%tileHeight == 0 {
			t.fill((level+1)/tileHeight, h, full)
		}
	}
	if level == len(t.stack) {
		t.stack = append(t.stack, h)
	} else {
		t.stack[level] = h
	}
	t.size++
}

// fill appends a hash to the last tile of a level.
func (t *tree) fill(level int, h tlog.Hash, full func(Tile)) {
	if level == len(t.partial) {
		t.partial = append(t.partial, nil)
	}
	p := append(t.partial[level], h[:]...)
	if len(p) == tileWidth*tlog.HashSize {
		width := int64(1) << (tileHeight * (level + 1))
		full(Tile{Level: level, Index: t.size / width, Hashes: p})
		p = nil
	}
	t.partial[level] = p
}

// root returns the root of the tree; the empty tree's is the hash of nothing.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		return emptyRoot
	}
	low := bits.TrailingZeros64(uint64(t.size))
	h := t.stack[low]
	for level := low + 1; t.size>>level != 0; level++ {
		if t.size>>level&1 == 1 {
			h = tlog.NodeHash(t.stack[level], h)
		}
	}
	return h
}

// emptyRoot is SHA-256 of nothing, RFC 6962's hash of the empty tree.
var emptyRoot = tlog.Hash{
	0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
	0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
}

// restore rebuilds the right edge of a tree of the given size from the hashes
// of the partial tiles: partial[l] are those of level l.
func restore(size int64, partial [][]byte) *tree {
	t := &tree{size: size, stack: make([]tlog.Hash, bits.Len64(uint64(size)))}
	for level, p := range partial {
		t.partial = append(t.partial, slices.Clone(p))
		// The hashes of a partial tile are a small tree of their own, whose
		// complete subtrees are those of the large one, eight levels up.
		small := &tree{}
		for h := range slices.Chunk(p, tlog.HashSize) {
			small.push(tlog.Hash(h), func(Tile) {})
		}
		for i, h := range small.stack {
			if small.size>>i&1 == 1 {
				t.stack[level*tileHeight+i] = h
			}
		}
	}
	return t
}

// tileRoot returns the root of a full tile's subtree.
func tileRoot(hashes []byte) tlog.Hash {
	level := make([]tlog.Hash, 0, tileWidth)
	for h := range slices.Chunk(hashes, tlog.HashSize) {
		level = append(level, tlog.Hash(h))
	}
	for ; len(level) > 1; level = level[:len(level)/2] {
		for i := range len(level) / 2 {
			level[i] = tlog.NodeHash(level[2*i], level[2*i+1])
		}
	}
	return level[0]
}
