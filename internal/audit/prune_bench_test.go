package audit_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// BenchmarkPrune archives and prunes one segment of calls, each with two sealed fields,
// while somebody appends. It reports the size of an entry in the archive, how long the
// parts take, and the longest append with and without a pruning beside it.
func BenchmarkPrune(b *testing.B) {
	dsn := storetest.SQLite(b)
	db := storetest.Open(b, dsn)
	private, verifier := newKey(b)
	log, _ := run(b, config(b, db.Audit(), private))
	refused := call()
	refused.Verdict = "refuse"
	for range audit.Segment + 100 {
		log.Refusal(refused)
	}
	if err := log.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		b.Fatal(err)
	}
	appends := func(end <-chan struct{}) (longest time.Duration, n int) {
		for {
			select {
			case <-end:
				return longest, n
			default:
			}
			begin := time.Now()
			if _, err := log.Record(b.Context(), audit.Entry{Action: "handle.create"}); err != nil {
				b.Error(err)
				return longest, n
			}
			longest, n = max(longest, time.Since(begin)), n+1
		}
	}
	quiet, _ := appends(closedAfter(2 * time.Second))
	dir := b.TempDir()
	p, err := audit.NewPruner(audit.PruneConfig{Log: log, Store: db.Audit(), Signer: signer, Keep: 1, Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	end, done := make(chan struct{}), make(chan time.Duration)
	go func() {
		longest, _ := appends(end)
		done <- longest
	}()
	begin := time.Now()
	if segments, err := p.Prune(b.Context()); err != nil || len(segments) != 1 {
		b.Fatal(segments, err)
	}
	took := time.Since(begin)
	close(end)
	info, err := os.Stat(filepath.Join(dir, audit.ArchiveName(verifier.Name(), 0)))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/audit.Segment, "archive-B/entry")
	b.ReportMetric(took.Seconds(), "s/segment")
	b.ReportMetric(float64((<-done).Microseconds())/1000, "longest-append-ms")
	b.ReportMetric(float64(quiet.Microseconds())/1000, "longest-append-alone-ms")
}

// closedAfter returns a channel that is closed after a while.
func closedAfter(d time.Duration) <-chan struct{} {
	end := make(chan struct{})
	time.AfterFunc(d, func() { close(end) })
	return end
}
