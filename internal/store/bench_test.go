package store_test

import (
	"crypto/sha256"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// BenchmarkVerify reports the speed in bytes of entries, and how it compares
// with SHA-256 alone over the same bytes.
func BenchmarkVerify(b *testing.B) {
	db := storetest.Open(b, storetest.SQLite(b))
	signer, verifier := keys(b)
	log, stop := openLog(b, db.Audit(), signer)
	for i := range 50000 {
		e := call(i)
		e.Verdict = "refuse"
		log.Refusal(e)
	}
	stop()
	b.ResetTimer()
	for range b.N {
		report, err := audit.Verify(b.Context(), db.Audit(), verifier, audit.VerifyOptions{})
		if err != nil || !report.OK() {
			b.Fatal(report, err)
		}
		b.SetBytes(report.Bytes)
	}
	b.StopTimer()
	entry := make([]byte, 400)
	const rounds = 200000
	began := time.Now()
	for range rounds {
		sha256.Sum256(entry)
	}
	alone := float64(time.Since(began).Nanoseconds()) / rounds
	perEntry := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / 50000
	b.ReportMetric(alone/perEntry, "of-SHA-256")
	b.ReportMetric(1e9/perEntry, "entries/s")
}
