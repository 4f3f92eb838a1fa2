package fingerprint_test

import (
	"math/rand/v2"
	"testing"

	"gatehouse/internal/fingerprint"
)

// BenchmarkFloor is what remains of Search10M if nothing is looked up: no search that
// hashes every word is faster.
func BenchmarkFloor(b *testing.B) {
	x, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{7}})
	if err != nil {
		b.Fatal(err)
	}
	c := newCrowd(1, 1)
	for _, kind := range []string{"json", "form", "text", "mixed", "chinese"} {
		data := c.traffic(rand.New(rand.NewPCG(1, 2)), kind, 4<<20)
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			words, cut := 0, x.CutAndHash()
			best := make(best)
			for b.Loop() {
				for at := 0; at < len(data); at += piece {
					best.time(at, func() { words += cut(data[at:min(at+piece, len(data))]) })
				}
			}
			best.report(b, len(data))
			b.ReportMetric(float64(words)/float64(b.N), "words/op")
		})
	}
}
