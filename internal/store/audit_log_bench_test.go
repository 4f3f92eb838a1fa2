package store_test

import (
	"crypto/sha256"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// BenchmarkAuditLog builds a log of -audit.entries as Gatehouse writes it, and measures
// what grows with it: how fast all of it is verified beside SHA-256 over the same bytes,
// how long a proof takes and how long it is, and what an entry takes on disk.
func BenchmarkAuditLog(b *testing.B) {
	want, ok := flag.Lookup("audit.entries").Value.(flag.Getter).Get().(int)
	if !ok {
		b.Fatal("audit.entries is no number")
	}
	dsn := storetest.SQLite(b)
	db := storetest.Open(b, dsn)
	signer, verifier := keys(b)
	log, stop := openLog(b, db.Audit(), signer)
	begun := time.Now()
	for i := range want {
		e := call(i)
		e.Verdict = "refuse"
		log.Refusal(e)
	}
	stop()
	built := time.Since(begun)
	b.Run("Build", func(b *testing.B) {
		for b.Loop() {
			continue // it was built once
		}
		b.ReportMetric(float64(want)/built.Seconds(), "entries/s")
		var size int64
		path := strings.TrimPrefix(dsn, "sqlite:")
		for _, name := range []string{path, path + "-wal"} {
			if info, err := os.Stat(name); err == nil {
				size += info.Size()
			}
		}
		b.ReportMetric(float64(size)/float64(want), "B/entry")
	})
	b.Run("Verify", func(b *testing.B) {
		var bytes int64
		for b.Loop() {
			report, err := audit.Verify(b.Context(), db.Audit(), verifier, audit.VerifyOptions{})
			if err != nil || !report.OK() || report.Size != int64(want) {
				b.Fatal(report, err)
			}
			bytes = report.Bytes
		}
		perEntry := b.Elapsed().Seconds() / float64(b.N) / float64(want)
		entry := make([]byte, bytes/int64(want))
		begun := time.Now()
		const rounds = 1_000_000
		for range rounds {
			sha256.Sum256(entry)
		}
		b.ReportMetric(time.Since(begun).Seconds()/rounds/perEntry, "of-SHA-256")
		b.ReportMetric(1/perEntry, "entries/s")
	})
	b.Run("Prove", func(b *testing.B) {
		r := rand.New(rand.NewPCG(1, 2))
		var took []time.Duration
		var size int
		for b.Loop() {
			begun := time.Now()
			view, err := audit.Newest(b.Context(), audit.NewSource(db.Audit()), verifier)
			if err != nil {
				b.Fatal(err)
			}
			proof, err := view.Prove(b.Context(), r.Int64N(int64(want)))
			if err != nil {
				b.Fatal(err)
			}
			data, err := proof.Marshal()
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(begun))
			if _, err := audit.CheckProof(data, verifier); err != nil {
				b.Fatal(err)
			}
			size = max(size, len(data))
		}
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
		b.ReportMetric(float64(size), "B/proof")
	})
}
