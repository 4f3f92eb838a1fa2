package audit_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// rule fails the test unless err is a refusal by a rule, of something unavailable.
func rule(t *testing.T, what string, err error, want string) {
	t.Helper()
	if !errors.Is(err, gatehouse.ErrUnavailable) || wire.RuleOf(err) != want {
		t.Errorf("%s: %v (rule %q), want rule %q", what, err, wire.RuleOf(err), want)
	}
}

// leaves returns the leaves of an action, in order.
func leaves(t *testing.T, rows []audit.Row, action string) []*audit.Leaf {
	t.Helper()
	var all []*audit.Leaf
	for _, r := range rows {
		l, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if l.Action == action {
			all = append(all, l)
		}
	}
	return all
}

// during begins n intents one after another until one is refused, and returns the
// ids of those that were acknowledged, and the refusal.
func during(t *testing.T, log *audit.Log, n int) (ids []string, refused error) {
	t.Helper()
	for range n {
		r, err := log.Intent(t.Context(), call())
		if err != nil {
			return ids, err
		}
		ids = append(ids, r.ID())
		log.Outcome(r, audit.Entry{Verdict: "done"})
	}
	return ids, nil
}

// wanted checks that the log verifies and holds each id once.
func wanted(t *testing.T, s *store.Audit, v note.Verifier, ids ...string) []audit.Row {
	t.Helper()
	_, rows := sound(t, s, v)
	for _, id := range ids {
		if n := count(rows, id); n != 1 {
			t.Errorf("entry %s is %d times in the log, want once", id, n)
		}
	}
	return rows
}

// hanging is a store whose appends end when they are let go.
type hanging struct {
	audit.Store
	mu   sync.Mutex
	gate chan struct{} // nil while nothing hangs
}

func (h *hanging) hang() (letGo func()) {
	gate := make(chan struct{})
	h.mu.Lock()
	h.gate = gate
	h.mu.Unlock()
	return func() {
		h.mu.Lock()
		h.gate = nil
		h.mu.Unlock()
		close(gate)
	}
}

func (h *hanging) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	h.mu.Lock()
	gate := h.gate
	h.mu.Unlock()
	if gate != nil {
		<-gate // as fsync hangs: no context ends it
	}
	return h.Store.Append(ctx, expect, b)
}

// TestSlowDisk: while a write does not end, callers are refused after a while, and
// the next ones at once, with an error that says why; access can be taken away;
// when the write ends, everything goes on.
func TestSlowDisk(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, v := newKey(t)
	s := &hanging{Store: db.Audit()}
	c := config(t, s, private)
	c.Aside, c.Patience = t.TempDir(), time.Second // a busy machine's disk takes less
	var faults, recoveries atomic.Int64
	c.OnFault, c.OnRecover = func(error) { faults.Add(1) }, func() { recoveries.Add(1) }
	log, stop := run(t, c)
	before, err := during(t, log, 3)
	if err != nil {
		t.Fatal(err)
	}
	letGo := s.hang()
	_, err = log.Intent(t.Context(), call())
	rule(t, "the intent that waits", err, "log/slow")
	if state := log.State(); state.Condition != audit.Slow || state.Since.IsZero() {
		t.Errorf("%+v, want slow", state)
	}
	begun := time.Now()
	for range 100 {
		_, err := log.Intent(t.Context(), call())
		rule(t, "one that comes later", err, "log/slow")
	}
	if took := time.Since(begun); took > 100*c.Patience/2 {
		t.Errorf("100 intents took %s to be refused: each waited", took)
	}
	cut, err := log.Reduce(t.Context(), audit.Entry{Action: "handle.revoke"})
	if err != nil || !cut.Valid() {
		t.Errorf("taking access away: %v", err)
	}
	log.Outcome(cut, audit.Entry{})
	letGo()
	eventually(t, "the recovery", func() bool { return log.State().Condition == audit.Writable })
	after, err := during(t, log, 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	rows := wanted(t, db.Audit(), v, append(append(before, after...), cut.ID())...)
	opened := leaves(t, rows, "log.open")
	if len(leaves(t, rows, "log.close")) != 1 || len(opened) != 1 || opened[0].Facts["condition"] != "slow" || opened[0].Facts["refused"] != "101" {
		t.Errorf("the log does not say once that it was slow and how many were refused: %v", opened)
	}
	if faults.Load() != 1 || recoveries.Load() != 1 {
		t.Errorf("%d faults and %d recoveries were reported, want one each", faults.Load(), recoveries.Load())
	}
	emptySpool(t, c.Aside)
}

// emptySpool fails the test if anything waits in a spool.
func emptySpool(t *testing.T, dir string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	if err != nil || len(names) > 0 {
		t.Errorf("spools are left: %v %v", names, err)
	}
}

// proxy stands between a test and PostgreSQL, as a network or a server that hangs,
// or is gone.
type proxy struct {
	l      net.Listener
	target string
	mu     sync.Mutex
	cond   *sync.Cond
	paused bool
	gone   bool
	conns  []net.Conn
}

func newProxy(t *testing.T, dsn string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{l: l, target: u.Host}
	p.cond = sync.NewCond(&p.mu)
	go p.serve()
	t.Cleanup(func() {
		p.set(false, true)
		_ = l.Close()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

func (p *proxy) serve() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", p.target)
		p.mu.Lock()
		if err != nil || p.gone {
			_ = c.Close()
			if up != nil {
				_ = up.Close()
			}
			p.mu.Unlock()
			continue
		}
		p.conns = append(p.conns, c, up)
		p.mu.Unlock()
		go p.copy(up, c)
		go p.copy(c, up)
	}
}

func (p *proxy) copy(to io.WriteCloser, from io.Reader) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.paused && !p.gone {
			p.cond.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			_ = to.Close()
			return
		}
	}
}

// set pauses what passes, or cuts everything off.
func (p *proxy) set(paused, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused, p.gone = paused, gone
	p.cond.Broadcast()
	if gone {
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.conns = nil
	}
}

// TestPostgresAway: a server that hangs, that is gone, and that only reads.
func TestPostgresAway(t *testing.T) {
	direct := storetest.Postgres(t)
	raw := storetest.OpenRaw(t, direct)
	p, dsn := newProxy(t, direct)
	for _, c := range []struct {
		name, rule string
		away, back func()
	}{
		{"hangs", "log/slow", func() { p.set(true, false) }, func() { p.set(false, false) }},
		{"gone", "log/unwritable", func() { p.set(false, true) }, func() { p.set(false, false) }},
		{"reads only", "log/unwritable", func() { readOnly(raw, true) }, func() { readOnly(raw, false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			db, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			private, v := newKey(t)
			// Each case has a log of its own.
			for _, table := range []string{"audit_entries", "audit_head", "audit_tiles", "audit_checkpoints"} {
				raw.Exec("DELETE FROM " + table)
			}
			conf := config(t, db.Audit(), private)
			conf.Aside, conf.Patience = t.TempDir(), 200*time.Millisecond
			conf.OnFault = func(error) {}
			log, stop := run(t, conf)
			// A machine that is busy is slow by itself, now and then.
			var before, after []string
			calls := func(ids *[]string) func() bool {
				return func() bool {
					some, err := during(t, log, 5)
					*ids = append(*ids, some...)
					return err == nil
				}
			}
			eventually(t, "calls", calls(&before))
			c.away()
			_, err = during(t, log, 1000)
			if got := wire.RuleOf(err); got != c.rule && got != "log/unwritable" {
				t.Errorf("a call: %v (rule %q), want %q", err, got, c.rule)
			}
			cut, err := log.Reduce(t.Context(), audit.Entry{Action: "handle.revoke"})
			if err != nil {
				t.Errorf("taking access away: %v", err)
			}
			log.Outcome(cut, audit.Entry{})
			c.back()
			eventually(t, "the recovery", func() bool { return log.State().Condition == audit.Writable })
			eventually(t, "calls again", calls(&after))
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			rows := wanted(t, db.Audit(), v, append(append(before, after...), cut.ID())...)
			if len(leaves(t, rows, "log.close")) == 0 || len(leaves(t, rows, "log.open")) == 0 {
				t.Error("the log does not say that it could not be written")
			}
			emptySpool(t, conf.Aside)
		})
	}
}

func readOnly(raw *storetest.Raw, only bool) {
	_, rows := raw.Query("SELECT current_database()")
	name := rows[0][0].(string)
	raw.Exec(fmt.Sprintf("ALTER DATABASE %s SET default_transaction_read_only = %t", name, only))
	raw.Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

// TestClockMovedBack writes with a clock that is decades behind: the order is that
// of the entries, and everything verifies. (Inside the bubble it is the year 2000.)
func TestClockMovedBack(t *testing.T) {
	dsn := storetest.SQLite(t)
	private, v := newKey(t)
	write := func(t *testing.T) (ids []string) {
		db, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		log, err := audit.Open(t.Context(), config(t, db.Audit(), private))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- log.Run(ctx) }()
		for range 5 {
			r, err := log.Intent(t.Context(), call())
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, r.ID())
			log.Outcome(r, audit.Entry{Verdict: "done"})
		}
		cancel()
		if err := errors.Join(<-ended, db.Close()); err != nil {
			t.Fatal(err)
		}
		return ids
	}
	ids := write(t)
	synctest.Test(t, func(t *testing.T) { ids = append(ids, write(t)...) })
	ids = append(ids, write(t)...)
	rows := wanted(t, storetest.Open(t, dsn).Audit(), v, ids...)
	first, _ := audit.DecodeLeaf(rows[0].Leaf)
	middle, _ := audit.DecodeLeaf(rows[len(rows)/2].Leaf)
	if !middle.When().Before(first.When()) {
		t.Error("the clock was not moved back")
	}
}

func TestClockStep(t *testing.T) {
	for _, c := range []struct {
		wall, passed time.Duration
		off          time.Duration
		stepped      bool
	}{
		{time.Second, time.Second, 0, false},
		{2900 * time.Millisecond, time.Second, 1900 * time.Millisecond, false},
		{-time.Hour, time.Second, -time.Hour - time.Second, true},
		{4 * time.Second, time.Second, 3 * time.Second, true},
	} {
		if off, stepped := audit.Stepped(c.wall, c.passed); off != c.off || stepped != c.stepped {
			t.Errorf("%s on the wall and %s passed: %s, %v; want %s, %v", c.wall, c.passed, off, stepped, c.off, c.stepped)
		}
	}
}
