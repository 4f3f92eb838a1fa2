package export_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/export"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

// origin is the log's name in these tests.
var origin = audit.Origin("production", "test")

// A rig is a log in a database, and what is exported of it.
type rig struct {
	t   testing.TB
	dsn string
	db  *store.DB
	log *audit.Log
}

func newRig(t testing.TB, dsn string) *rig {
	t.Helper()
	db := storetest.Open(t, dsn)
	private, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	log, err := audit.Open(t.Context(), audit.Config{
		Store: db.Audit(), Signer: signer, Environment: "production",
		Seal: func(_ context.Context, person gatehouse.PersonID, context string, plain []byte) ([]byte, error) {
			return fmt.Appendf(nil, "sealed:%s|%s|%s", person, context, plain), nil
		},
		Index:   audit.NewIndexHash([]byte("the key of the index")),
		OnFault: func(err error) { t.Errorf("the log: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the log: %v", err)
		}
	})
	return &rig{t, dsn, db, log}
}

func (r *rig) logs(context.Context) ([]export.Log, error) {
	return []export.Log{{Origin: origin, Store: r.db.Audit().Exported()}}, nil
}

// config is an exporter's, quick enough for a test.
func (r *rig) config(targets ...export.Target) export.Config {
	return export.Config{
		Store: r.db.Export(), Logs: r.logs, Record: r.log.Record, Targets: targets,
		Every: time.Millisecond, Timeout: 10 * time.Second, Spare: time.Second, Backoff: time.Millisecond, LongestBackoff: 4 * time.Millisecond, Batch: 64,
	}
}

// export runs an exporter until stop is called or the test ends.
func (r *rig) export(c export.Config) (stop func()) {
	r.t.Helper()
	x, err := export.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("the exporter: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

// call writes what the gateway writes of a call: an intent about a person.
func (r *rig) call() {
	r.t.Helper()
	if _, err := r.log.Intent(r.t.Context(), audit.Entry{
		Action: "call", Service: "scheduler", Purpose: "publish", Platform: gatehouse.X, App: "main-x",
		Operation: "GET /2/users/me", Rule: "publish/1",
		Person: "person-1", Personal: map[string]string{"connection": "connection-1", "subject": "ada@example.com"},
	}); err != nil {
		r.t.Fatalf("an intent: %v", err)
	}
}

func (r *rig) calls(n int) {
	var wait sync.WaitGroup
	for range 16 {
		wait.Go(func() {
			for range n / 16 {
				r.call()
			}
		})
	}
	for range n % 16 {
		r.call()
	}
	wait.Wait()
}

func (r *rig) event(action string) {
	r.t.Helper()
	if _, err := r.log.Record(r.t.Context(), audit.Entry{Action: action}); err != nil {
		r.t.Fatal(err)
	}
}

// leaves are all entries as they are stored.
func (r *rig) leaves() [][]byte {
	r.t.Helper()
	rows, err := r.db.Audit().Exported().Leaves(r.t.Context(), 0, 1<<20, 1<<30)
	if err != nil {
		r.t.Fatal(err)
	}
	all := make([][]byte, len(rows))
	for i, row := range rows {
		all[i] = row.Leaf
	}
	return all
}

func (r *rig) cursor(sink string) int64 {
	r.t.Helper()
	all, err := r.db.Export().Cursors(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, c := range all {
		if c.Sink == sink {
			return c.Next
		}
	}
	return -1
}

func (r *rig) health(sink string) export.Health {
	r.t.Helper()
	all, err := r.db.Export().Health(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range all {
		if h.Sink == sink {
			return h
		}
	}
	return export.Health{}
}

// until waits for what is to come about by itself.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

// reached waits for a sink's cursor.
func (r *rig) reached(sink string, next int64) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("the cursor of %s at %d", sink, next), func() bool { return r.cursor(sink) >= next })
}

// A memory is a sink that keeps what it gets. answer, if not nil, decides what it says.
type memory struct {
	mu     sync.Mutex
	got    []export.Entry
	answer func(ctx context.Context, entries []export.Entry) (export.Accepted, error)
	closed bool
}

func (m *memory) Send(ctx context.Context, entries []export.Entry) (export.Accepted, error) {
	accepted, err := export.Accepted{Entries: len(entries)}, error(nil)
	if m.answer != nil {
		accepted, err = m.answer(ctx, entries)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, entries[:accepted.Entries]...)
	return accepted, err
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) indexes() []int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]int64, len(m.got))
	for i, e := range m.got {
		all[i] = e.Index
	}
	return all
}

// complete checks that what a sink got, in the order that it got it, is every entry
// of the log once or more, in order: an entry may come again, with all that follow.
func complete(t testing.TB, got []int64, size int) {
	t.Helper()
	next := int64(0)
	for i, index := range got {
		if index > next {
			t.Fatalf("entry %d came at place %d, and %d did not come before it", index, i, next)
		}
		if i > 0 && index != got[i-1]+1 && index > got[i-1] {
			t.Fatalf("entry %d came after %d", index, got[i-1])
		}
		next = max(next, index+1)
	}
	if next != int64(size) {
		t.Fatalf("%d entries came, and the log has %d", next, size)
	}
}

// exactly checks that every entry came, in order and once.
func exactly(t testing.TB, got []int64, size int) {
	t.Helper()
	want := make([]int64, size)
	for i := range want {
		want[i] = int64(i)
	}
	if !slices.Equal(got, want) {
		t.Fatalf("got %d entries %v, want all %d in order", len(got), got, size)
	}
}

var errDown = errors.New("down")
