package reconcile_test

import (
	"context"
	"crypto/rand"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/reconcile"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"golang.org/x/mod/sumdb/note"
)

const (
	ada    gatehouse.PersonID     = "person-ada"
	adaCon gatehouse.ConnectionID = "con-ada"
	app    gatehouse.AppName      = "main-x"
	posts  gatehouse.Operation    = "POST /2/tweets"
	me     gatehouse.Operation    = "GET /2/users/me"
)

// rig is a log on a database, what is heard of X, and what compares them.
type rig struct {
	t     testing.TB
	ctx   context.Context
	db    *store.DB
	log   *audit.Log
	index audit.IndexHash
	x     *windows
	// usage is what X answers of its count of posts; nil: it is not asked.
	usage func() ([]byte, error)
	dsn   string
	batch int64 // of uses that were stored
}

// raw changes the database past the store.
func (r *rig) raw(sql string, args ...any) {
	r.t.Helper()
	storetest.OpenRaw(r.t, r.dsn).ExecUncounted(sql, args...)
}

func newRig(t testing.TB, dsn string) *rig {
	t.Helper()
	r := &rig{t: t, ctx: t.Context(), db: storetest.Open(t, dsn), dsn: dsn, index: audit.NewIndexHash([]byte("the key of a test")), x: &windows{of: map[string]*window{}}}
	private, _, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	if r.log, err = audit.Open(r.ctx, audit.Config{
		Store: r.db.Audit(), Signer: signer, Environment: "test", Index: r.index, LookEvery: time.Hour,
		Seal: func(_ context.Context, _ gatehouse.PersonID, _ string, plain []byte) ([]byte, error) {
			return plain, nil
		},
	}); err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(r.ctx))
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.log.Run(run); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); running.Wait() })
	return r
}

// meter returns one process's ears.
func (r *rig) meter() *reconcile.Meter {
	return reconcile.NewMeter(reconcile.MeterConfig{
		Store: r.db.Reconcile(), Index: r.index, Posts: map[gatehouse.AppName]bool{app: true},
	})
}

// open returns what compares, on a store that may be wrapped.
func (r *rig) open(s reconcile.Store) *reconcile.Reconciler {
	r.t.Helper()
	log := r.db.Audit()
	var fetch func(context.Context, gatehouse.AppName) ([]byte, error)
	if r.usage != nil {
		fetch = func(context.Context, gatehouse.AppName) ([]byte, error) { return r.usage() }
	}
	c, err := reconcile.New(reconcile.Config{
		Usage: []reconcile.UsageApp{{Client: "4711", Apps: []gatehouse.AppName{app, "second-x"}, Tolerance: 10}}, FetchUsage: fetch,
		Store: s, Log: r.log, Logs: func(context.Context) ([]reconcile.Log, error) { return []reconcile.Log{{List: log, Entries: log}}, nil }, Index: r.index,
		Person: func(_ context.Context, id gatehouse.ConnectionID) (gatehouse.PersonID, error) {
			if id == adaCon {
				return ada, nil
			}
			return "", gatehouse.ErrNotFound
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// all compares everything.
func (r *rig) all() *reconcile.Report {
	r.t.Helper()
	report, err := r.open(r.db.Reconcile()).All(r.ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return report
}

// intent writes one and returns what its reply is heard with.
func (r *rig) intent(op gatehouse.Operation) (reconcile.Heard, audit.Receipt) {
	r.t.Helper()
	h := reconcile.Heard{Platform: gatehouse.X, App: app, Person: ada, Operation: op, Connection: adaCon, Began: time.Now()}
	receipt, err := r.log.Intent(r.ctx, audit.Entry{
		Action: "call", Platform: gatehouse.X, App: app, Operation: op, Person: ada, Personal: map[string]string{"connection": string(adaCon)}, Search: string(adaCon),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return h, receipt
}

// call is a whole call in one process.
func (r *rig) call(m *reconcile.Meter, op gatehouse.Operation) {
	r.t.Helper()
	h, _ := r.intent(op)
	r.x.count(op, &h)
	m.Hear(h)
}

// flush stores what a process heard.
func (r *rig) flush(m *reconcile.Meter) {
	r.t.Helper()
	if err := m.Flush(r.ctx); err != nil {
		r.t.Fatal(err)
	}
}

// windows count as X does: so many calls of an operation from the first one on.
type windows struct {
	mu sync.Mutex
	of map[string]*window
	// limit is how many calls a window has; zero means 100.
	limit int
}

type window struct {
	used  int
	reset time.Time
}

// count counts one call and writes the header of its reply, if somebody gets that.
func (w *windows) count(op gatehouse.Operation, reply *reconcile.Heard) {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limit
	if limit == 0 {
		limit = 100
	}
	one := w.of[string(op)]
	if one == nil || !time.Now().Before(one.reset) {
		one = &window{reset: time.Now().Add(15 * time.Minute)}
		w.of[string(op)] = one
	}
	if one.used < limit { // what is refused for its number is not counted
		one.used++
	}
	if reply != nil {
		reply.Header = http.Header{
			"X-Rate-Limit-Limit": {strconv.Itoa(limit)}, "X-Rate-Limit-Remaining": {strconv.Itoa(limit - one.used)},
			"X-Rate-Limit-Reset": {strconv.FormatInt(one.reset.Unix(), 10)},
		}
	}
}

// steal is somebody else's call with the same token.
func (r *rig) steal(op gatehouse.Operation) { r.x.count(op, nil) }
