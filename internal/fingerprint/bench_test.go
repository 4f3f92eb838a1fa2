package fingerprint_test

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/fingerprint"
)

// big is an index with ten million fingerprints as an app with one million people
// would have them, made once for all benchmarks.
var big = sync.OnceValues(func() (*fingerprint.Index, *crowd) {
	c := newCrowd(1, 1_500_000)
	return c.index(10_000_000), c
})

func BenchmarkSearch10M(b *testing.B) {
	x, c := big()
	s := x.Stats()
	if s.Entries < 9_900_000 {
		b.Fatalf("the index holds %d fingerprints", s.Entries)
	}
	for _, kind := range []string{"json", "form", "text", "mixed", "base64", "chinese"} {
		data := c.traffic(rand.New(rand.NewPCG(1, 2)), kind, 4<<20)
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			hits := 0
			report := reportCPU(b, int64(len(data)))
			for b.Loop() {
				s := x.Search()
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 32<<10)
					s.Write(rest[:n])
					rest = rest[n:]
					hits += len(s.Take())
				}
				s.End()
				hits += len(s.Take())
				s.Close()
			}
			report()
			b.ReportMetric(float64(hits)/float64(b.N), "hits/op")
		})
	}
}

// BenchmarkScan is what the search is measured against: a plain look at every byte.
func BenchmarkScan(b *testing.B) {
	_, c := big()
	data := c.traffic(rand.New(rand.NewPCG(1, 2)), "mixed", 4<<20)
	b.Run("IndexByte", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		defer reportCPU(b, int64(len(data)))()
		for b.Loop() {
			if bytes.IndexByte(data, 0) >= 0 {
				b.Fatal("a zero byte")
			}
		}
	})
	b.Run("crc32", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		defer reportCPU(b, int64(len(data)))()
		for b.Loop() {
			crc32.ChecksumIEEE(data)
		}
	})
}

// BenchmarkMemory reports what the index takes for each fingerprint.
func BenchmarkMemory(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		x, _ := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}})
		r := rand.New(rand.NewPCG(3, 4))
		worst := 0.0
		batch := make([]fingerprint.Entry, 1000)
		for n := range 10_000 {
			for i := range batch {
				print, _ := x.Print(fingerprint.Value{Class: gatehouse.PostID, Text: strconv.FormatUint(r.Uint64()|1<<60, 10)})
				batch[i] = fingerprint.Entry{Print: print, Owner: fingerprint.Owner(n + 1), Class: gatehouse.PostID, Expires: time.Unix(1_800_000_000+int64(n)*360, 0)}
			}
			x.Add(batch...)
			if s := x.Stats(); n >= 9000 && float64(s.Bytes)/float64(s.Entries) > worst {
				worst = float64(s.Bytes) / float64(s.Entries)
			}
		}
		runtime.ReadMemStats(&after)
		peak := after.HeapSys - before.HeapSys
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(x.Stats().Bytes)/float64(x.Stats().Entries), "B/fingerprint")
		b.ReportMetric(worst, "worst-B/fingerprint")
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(x.Stats().Entries), "heap-B/fingerprint")
		b.ReportMetric(float64(peak)/float64(x.Stats().Entries), "peak-B/fingerprint")
		runtime.KeepAlive(x)
	}
}
