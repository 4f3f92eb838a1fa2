package audit_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
)

// TestTreeAgreesWithTwoOthers grows a tree beside that of transparency-dev and
// x/mod's tlog, through sizes around every boundary of tiles of two levels.
func TestTreeAgreesWithTwoOthers(t *testing.T) {
	const size = 65536 + 512 + 7
	ours := &audit.TestTree{}
	theirs := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	if got := ours.Root(); !bytes.Equal(got[:], rfc6962.DefaultHasher.EmptyRoot()) {
		t.Errorf("the empty tree's root is %x", got)
	}
	tiles := map[int][]byte{}
	for n := range int64(size) {
		leaf := binary.BigEndian.AppendUint64(nil, uint64(n))
		hash := audit.LeafHash(leaf)
		if want := rfc6962.DefaultHasher.HashLeaf(leaf); !bytes.Equal(hash[:], want) {
			t.Fatalf("leaf hash %x, want %x", hash, want)
		}
		for _, tile := range ours.Push(hash) {
			if have := int64(len(tiles[tile.Level]) / 32 / 256); tile.Index != have || len(tile.Hashes) != 256*32 {
				t.Fatalf("after %d entries tile %d/%d with %d bytes, want index %d", n+1, tile.Level, tile.Index, len(tile.Hashes), have)
			}
			tiles[tile.Level] = append(tiles[tile.Level], tile.Hashes...)
		}
		if err := theirs.Append(hash[:], nil); err != nil {
			t.Fatal(err)
		}
		more, err := tlog.StoredHashesForRecordHash(n, hash, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
		// All small sizes, and those around the larger boundaries.
		if n := n + 1; n > 1100 && n%256 > 1 && n%256 < 255 {
			continue
		}
		got := ours.Root()
		want, err := theirs.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[:], want) {
			t.Fatalf("root of %d entries %x, transparency-dev says %x", n+1, got, want)
		}
		if n < 1100 || n > size-300 {
			if again := ours.Restored().Root(); again != got {
				t.Fatalf("root of %d entries after restoring %x, want %x", n+1, again, got)
			}
			if other, err := tlog.TreeHash(n+1, read); err != nil || other != got {
				t.Fatalf("root of %d entries %x, tlog says %x (%v)", n+1, got, other, err)
			}
		}
	}
	if len(tiles[0]) != 258*256*32 || len(tiles[1]) != 256*32 || len(tiles) != 2 {
		t.Fatalf("tiles of %d levels", len(tiles))
	}
	for i := range 256 {
		want := tiles[1][i*32 : i*32+32]
		if got := audit.TileRoot(tiles[0][i*8192 : i*8192+8192]); !bytes.Equal(got[:], want) {
			t.Fatalf("tile 0/%d leads to %x, tile 1/0 holds %x", i, got, want)
		}
	}
	// A restored tree goes on like the one it was made from.
	again := ours.Restored()
	for n := range 600 {
		h := audit.LeafHash([]byte{byte(n)})
		if a, b := ours.Push(h), again.Push(h); len(a) != len(b) || ours.Root() != again.Root() {
			t.Fatalf("%d entries later the restored tree differs", n+1)
		}
	}
}

// TestIndependentVerifier proves entries of a stored log, from the stored
// hashes alone, with the verifier of transparency-dev.
func TestIndependentVerifier(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, stop := run(t, config(t, db.Audit(), private))
	for range 300 {
		r, err := log.Intent(t.Context(), call())
		if err != nil {
			t.Fatal(err)
		}
		log.Outcome(r, audit.Entry{})
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), verifier)
	head, err := db.Audit().Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	size, root, err := audit.ParseCheckpoint(head.Note, verifier)
	if err != nil || size != int64(len(rows)) {
		t.Fatalf("the checkpoint says %d entries of %d: %v", size, len(rows), err)
	}
	node := func(begin, end uint64) []byte {
		r := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(begin)
		for _, row := range rows[begin:end] {
			if err := r.Append(row.Hash, nil); err != nil {
				t.Fatal(err)
			}
		}
		return r.Hashes()[0]
	}
	for _, index := range []uint64{0, 1, 255, 256, uint64(size) - 1} {
		nodes, err := proof.Inclusion(index, uint64(size))
		if err != nil {
			t.Fatal(err)
		}
		var hashes [][]byte
		for _, id := range nodes.IDs {
			begin, end := id.Coverage()
			hashes = append(hashes, node(begin, end))
		}
		path, err := nodes.Rehash(hashes, rfc6962.DefaultHasher.HashChildren)
		if err != nil {
			t.Fatal(err)
		}
		leaf := rfc6962.DefaultHasher.HashLeaf(rows[index].Leaf)
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, index, uint64(size), leaf, path, root[:]); err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
	}
}
