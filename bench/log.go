package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"

	"github.com/jackc/pgx/v5"
	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

// logWriters are the levels of concurrency at which logs are measured.
var logWriters = []int{1, 8, 64}

// logPeer is something that entries can be appended to.
type logPeer struct {
	name string
	// append returns when an entry is durable.
	append func(context.Context) error
	// size returns how many bytes the log takes on disk.
	size  func() (int64, error)
	close func() error
	// appended counts what was acknowledged.
	appended atomic.Int64
	// turn counts appends that several nodes take in turns.
	turn atomic.Int64
}

// logs measures appends that are durable before they return, side by side, then
// how fast a log is verified, and how much room an entry takes.
func logs(ctx context.Context, d time.Duration, rounds int, postgres string) error {
	dir, err := os.MkdirTemp("", "gatehouse-bench-log-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := printMachine(dir); err != nil {
		return err
	}
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/bench/log")
	if err != nil {
		return err
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		return err
	}
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return err
	}
	if postgres == "" {
		dsn, stop, err := startPostgres(ctx)
		if err != nil {
			return err
		}
		defer stop()
		postgres = dsn
	}
	lite, liteDB, err := ownLog(ctx, "Gatehouse on SQLite", "sqlite:"+filepath.Join(dir, "gatehouse.db"), dir, signer)
	if err != nil {
		return err
	}
	pg, _, err := ownLog(ctx, "Gatehouse on PostgreSQL", postgres, "", signer)
	if err != nil {
		return err
	}
	peers := []*logPeer{lite, pg}
	// Integrated means that the entry is on disk and has its place in the tree, which
	// is what an append to Gatehouse's log means; published, that a signed checkpoint
	// covers it too, which Gatehouse's append also means.
	for _, published := range []bool{false, true} {
		p, err := tesseraLog(ctx, filepath.Join(dir, fmt.Sprint("tessera-", published)), signer, verifier, published)
		if err != nil {
			return err
		}
		peers = append(peers, p)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| writers\t| log\t| appends/s, ratio to Tessera (published)\t| appends/s\t| p50\t| p99\t|\n| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, writers := range logWriters {
		seen := make([][]result, len(peers))
		for range rounds {
			for i, p := range peers {
				r, err := appendFor(ctx, p, writers, d)
				if err != nil {
					return fmt.Errorf("measuring %s with %d writers: %w", p.name, writers, err)
				}
				seen[i] = append(seen[i], r)
			}
		}
		for i, p := range peers {
			var ratio, rate []float64
			var p50, p99 []time.Duration
			for round, r := range seen[i] {
				ratio = append(ratio, r.perSecond/seen[len(peers)-1][round].perSecond)
				rate = append(rate, r.perSecond)
				p50, p99 = append(p50, r.p50), append(p99, r.p99)
			}
			us := func(d []time.Duration) string { return median(d).Round(10 * time.Microsecond).String() }
			fmt.Fprintf(out, "| %d\t| %s\t| %.1f\t| %.0f\t| %s\t| %s\t|\n", writers, p.name, median(ratio), median(rate), us(p50), us(p99))
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	fmt.Println()
	if err := verifySpeed(ctx, liteDB, verifier); err != nil {
		return err
	}
	for _, p := range peers {
		// Closed, so that what stands in a write-ahead log is where it stays.
		if err := p.close(); err != nil {
			return err
		}
		size, err := p.size()
		if err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes on disk for each of %d entries.\n", p.name, size/max(1, p.appended.Load()), p.appended.Load())
	}
	return nil
}

// appendFor appends with n writers for a time.
func appendFor(ctx context.Context, p *logPeer, n int, d time.Duration) (result, error) {
	var all sync.WaitGroup
	took := make([][]time.Duration, n)
	failed := make([]error, n)
	began := time.Now()
	for w := range n {
		all.Go(func() {
			for time.Since(began) < d {
				at := time.Now()
				if failed[w] = p.append(ctx); failed[w] != nil {
					return
				}
				took[w] = append(took[w], time.Since(at))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(began)
	var every []time.Duration
	for w := range n {
		if failed[w] != nil {
			return result{}, failed[w]
		}
		every = append(every, took[w]...)
	}
	slices.Sort(every)
	p.appended.Add(int64(len(every)))
	return result{perSecond: float64(len(every)) / elapsed.Seconds(), p50: every[len(every)/2], p99: every[len(every)*99/100]}, nil
}

// benchEntry is an entry as the gateway writes it for a call.
var benchEntry = audit.Entry{
	Action: "call", Service: "scheduler", Purpose: "publish", Platform: gatehouse.X, App: "main-x",
	Operation: "GET /2/users/me", Verdict: "allow", Rule: "publish/1", Person: "person",
	Personal: map[string]string{"connection": "con0123456789abcdefghjkmnpq", "handle": "0123456789abcdefghjkmn"}, Search: "con0123456789abcdefghjkmnpq",
}

// ownLog is Gatehouse's log, with an entry as the gateway writes it for a call.
// Sealing is stood for by random bytes of the size that the vault makes.
func ownLog(ctx context.Context, name, dsn, dir string, signer note.Signer) (*logPeer, *store.DB, error) {
	if err := store.Create(ctx, dsn); err != nil {
		return nil, nil, err
	}
	db, err := store.Open(ctx, dsn)
	if err != nil {
		return nil, nil, err
	}
	l, err := audit.Open(ctx, audit.Config{
		Store: db.Audit(), Signer: signer, Environment: "production",
		Seal: func(_ context.Context, _ gatehouse.PersonID, _ string, plain []byte) ([]byte, error) {
			sealed := make([]byte, len(plain)+33)
			_, _ = rand.Read(sealed)
			return sealed, nil
		},
		OnFault: func(err error) { log.Printf("%s: %v", name, err) },
	})
	if err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(running) }()
	return &logPeer{
		name:   name,
		append: func(ctx context.Context) error { _, err := l.Record(ctx, benchEntry); return err },
		size: func() (int64, error) {
			if dir != "" {
				return treeSize(dir, "gatehouse.db")
			}
			return postgresSize(ctx, dsn)
		},
		close: func() error {
			stop()
			if err := <-ended; err != nil {
				return err
			}
			return db.Close()
		},
	}, db, nil
}

// tesseraLog is Tessera's log on a POSIX file system, with entries of the same size
// and batching for latency: an entry waits for others for 10 ms at most, and a
// checkpoint is published as often as it lets us (100 ms).
func tesseraLog(ctx context.Context, dir string, signer note.Signer, verifier note.Verifier, published bool) (*logPeer, error) {
	ctx, cancel := context.WithCancel(ctx)
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		cancel()
		return nil, err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithBatching(256, 10*time.Millisecond).WithCheckpointInterval(100 * time.Millisecond)
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		cancel()
		return nil, err
	}
	await := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 10*time.Millisecond)
	p := &logPeer{name: "Tessera, integrated", size: func() (int64, error) { return treeSize(dir, "") }, close: func() error {
		defer cancel()
		return shutdown(ctx)
	}}
	p.append = func(ctx context.Context) error {
		data := make([]byte, 430)
		_, _ = rand.Read(data)
		_, err := appender.Add(ctx, tessera.NewEntry(data))()
		return err
	}
	if published {
		p.name = "Tessera, published"
		p.append = func(ctx context.Context) error {
			data := make([]byte, 430)
			_, _ = rand.Read(data)
			_, _, err := await.Await(ctx, appender.Add(ctx, tessera.NewEntry(data)))
			return err
		}
	}
	return p, nil
}

// treeSize returns the bytes of files below dir whose names begin so.
func treeSize(dir, prefix string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), prefix) || strings.HasSuffix(d.Name(), "-wal") || strings.HasSuffix(d.Name(), "-shm") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func postgresSize(ctx context.Context, dsn string) (size int64, err error) {
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer c.Close(ctx)
	err = c.QueryRow(ctx, `SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c WHERE c.relname IN ('audit_entries', 'audit_tiles', 'audit_checkpoints', 'audit_head')`).Scan(&size)
	return size, err
}

// verifySpeed prints how fast a log is verified, beside SHA-256 alone over the same
// bytes.
func verifySpeed(ctx context.Context, db *store.DB, verifier note.Verifier) error {
	began := time.Now()
	report, err := audit.Verify(ctx, db.Audit(), verifier, audit.VerifyOptions{})
	if err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("the log does not verify: %v", report.Problems)
	}
	took := time.Since(began)
	entry := make([]byte, report.Bytes/report.Size)
	began = time.Now()
	for range report.Size {
		sha256.Sum256(entry)
	}
	bare := time.Since(began)
	fmt.Printf("Verifying %d entries (%d MB): %s, %.0f entries/s; SHA-256 alone over the same bytes takes %s, ratio %.2f.\n",
		report.Size, report.Bytes>>20, took.Round(time.Millisecond), float64(report.Size)/took.Seconds(), bare.Round(time.Millisecond), bare.Seconds()/took.Seconds())
	return nil
}
