package audit_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"gatehouse/internal/audit"
)

// BenchmarkBundles computes the root of a log from its bundles, as a verifier of the
// served files does, and compares with SHA-256 alone over the same bytes.
func BenchmarkBundles(b *testing.B) {
	m := &memory{}
	l := full
	l.Facts = map[string]string{"attempt": "1"}
	leaf := audit.AppendLeaf(nil, &l)
	const entries = 256 * 256
	for range entries {
		m.append(leaf)
	}
	var bundles [][]byte
	for n := range int64(entries / 256) {
		data, err := audit.NewSource(m)(b.Context(), audit.TilePath(-1, n, 256))
		if err != nil {
			b.Fatal(err)
		}
		bundles = append(bundles, data)
	}
	b.SetBytes(int64(entries * len(leaf)))
	for b.Loop() {
		var tree audit.TestTree
		for _, data := range bundles {
			leaves, err := audit.Unbundle(data, 256)
			if err != nil {
				b.Fatal(err)
			}
			for _, leaf := range leaves {
				tree.Push(audit.LeafHash(leaf))
			}
		}
		if tree.Root() != m.tree.Root() {
			b.Fatal("another root")
		}
	}
	took := b.Elapsed().Seconds() / float64(b.N)
	began := time.Now()
	const rounds = 5
	for range rounds * entries {
		sha256.Sum256(leaf)
	}
	b.ReportMetric(time.Since(began).Seconds()/rounds/took, "of-SHA-256")
	b.ReportMetric(entries/took, "entries/s")
}
