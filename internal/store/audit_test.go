package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// testOnlySeal stands for the vault: it hides nothing, but is different each
// time and says for whom it was called.
func testOnlySeal(_ context.Context, person gatehouse.PersonID, context string, plain []byte) ([]byte, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt)
	return fmt.Appendf(salt, "%s|%s|%d", person, context, len(plain)), nil
}

// testOnlyIndex is a keyed hash as the commands use.
var testOnlyIndex = audit.NewIndexHash([]byte("a key of thirty-two bytes length"))

// keys returns a signer and its verifier.
func keys(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(rand.Reader, audit.Origin("production", "test"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return signer, verifier
}

// openLog opens a log that runs until stop is called (or the test ends).
func openLog(t testing.TB, s audit.Store, signer note.Signer) (log *audit.Log, stop func()) {
	t.Helper()
	log, err := audit.Open(t.Context(), audit.Config{
		Store: s, Signer: signer, Environment: "production", Seal: testOnlySeal, Index: testOnlyIndex,
		OnFault: func(err error) { t.Errorf("fault: %v", err) },
	})
	if err != nil {
		t.Fatalf("opening the log: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("closing the log: %v", err)
		}
	})
	t.Cleanup(stop)
	return log, stop
}

// call is an entry as the gateway makes them.
func call(n int) audit.Entry {
	return audit.Entry{
		Action: "call", Service: "scheduler", Purpose: "publish", Platform: gatehouse.X, App: "main-x",
		Operation: "GET /2/users/me", Verdict: "allow", Rule: "publish/1",
		Person: "person-1", Personal: map[string]string{"connection": fmt.Sprint("connection-", n%7), "handle": "h"},
		Search: fmt.Sprint("connection-", n%7),
	}
}

func verify(t testing.TB, db *store.DB, v note.Verifier) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), db.Audit(), v, audit.VerifyOptions{})
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	return report
}

func wantSound(t testing.TB, db *store.DB, v note.Verifier) audit.Report {
	t.Helper()
	report := verify(t, db, v)
	if !report.OK() {
		var text bytes.Buffer
		report.Print(&text)
		t.Fatalf("the log does not verify:\n%s", text.String())
	}
	return report
}

func TestLogWritesAndVerifies(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		signer, verifier := keys(t)
		log, stop := openLog(t, db.Audit(), signer)
		var callers sync.WaitGroup
		const workers, rounds = 16, 40
		for w := range workers {
			callers.Go(func() {
				for i := range rounds {
					r, err := log.Intent(t.Context(), call(w*rounds+i))
					if err != nil {
						t.Error(err)
						return
					}
					log.Outcome(r, audit.Entry{Verdict: "done", Status: 200, Bytes: 1234})
				}
			})
		}
		callers.Wait()
		log.Refusal(audit.Entry{Action: "call", Verdict: "refuse", Rule: "publish/undeclared"})
		stop()
		report := wantSound(t, db, verifier)
		if want := int64(2*workers*rounds + 1); report.Size != want || report.OpenCount != 0 {
			t.Errorf("%d entries and %d open intents, want %d and none", report.Size, report.OpenCount, want)
		}
		// A second process goes on where the first one stopped.
		log, stop = openLog(t, db.Audit(), signer)
		if _, err := log.Record(t.Context(), audit.Entry{Action: "handle.create"}); err != nil {
			t.Fatal(err)
		}
		stop()
		if again := wantSound(t, db, verifier); again.Size != report.Size+1 {
			t.Errorf("%d entries after one more, want %d", again.Size, report.Size+1)
		}
	})
}

func TestTwoProcessesShareOneLog(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		signer, verifier := keys(t)
		var callers sync.WaitGroup
		var stops []func()
		const workers, rounds = 8, 50
		for range 2 {
			log, stop := openLog(t, storetest.Open(t, dsn).Audit(), signer)
			stops = append(stops, stop)
			for w := range workers {
				callers.Go(func() {
					for i := range rounds {
						if _, err := log.Record(t.Context(), call(w*rounds+i)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		callers.Wait()
		for _, stop := range stops {
			stop()
		}
		report := wantSound(t, storetest.Open(t, dsn), verifier)
		if report.Size != 2*workers*rounds {
			t.Errorf("%d entries, want %d", report.Size, 2*workers*rounds)
		}
	})
}

// fdatasync returns how long one write of a page with fdatasync takes on the
// disk of the temporary directory, to compare with.
func fdatasync(b *testing.B) time.Duration {
	f, err := os.Create(filepath.Join(b.TempDir(), "baseline"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	page := make([]byte, 4096)
	const rounds = 200
	began := time.Now()
	for range rounds {
		if _, err := f.Write(page); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(began) / rounds
}

// BenchmarkAppend appends with several writers at a time, each of which waits
// for the disk. The PostgreSQL of the tests does not wait for the disk, so its
// figures say what the work costs, not the durability.
func BenchmarkAppend(b *testing.B) {
	for name, open := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		for _, writers := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%s/%d", name, writers), func(b *testing.B) {
				signer, _ := keys(b)
				log, stop := openLog(b, storetest.Open(b, open(b)).Audit(), signer)
				var left sync.WaitGroup
				n := make(chan int, writers)
				b.ResetTimer()
				start := time.Now()
				for range writers {
					left.Go(func() {
						for i := range n {
							if _, err := log.Record(b.Context(), call(i)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for i := range b.N {
					n <- i
				}
				close(n)
				left.Wait()
				took := time.Since(start)
				b.StopTimer()
				stop()
				b.ReportMetric(float64(b.N)/took.Seconds(), "entries/s")
				b.ReportMetric(float64(fdatasync(b).Microseconds()), "µs/fdatasync")
			})
		}
	}
}
