package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// spools returns the paths of spools.
func spools(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "spool-*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// left is a process that ended while the log could not be written, after it had
// taken access away n times: what it leaves behind is a spool.
func left(t *testing.T, conf audit.Config, b *broken, n int) (ids []string) {
	t.Helper()
	conf.OnFault = func(error) {}
	log, stop := run(t, conf)
	b.failing.Store(true)
	if _, err := log.Intent(t.Context(), call()); err == nil {
		t.Fatal("the store is not broken")
	}
	eventually(t, "the fault", func() bool { return log.Fault() != nil })
	for range n {
		r, err := log.Reduce(t.Context(), audit.Entry{Action: "handle.revoke", Person: "person-1", Personal: map[string]string{"handle": "h"}, Search: "connection-1"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID())
	}
	ids = append(ids, log.Reduction(audit.Entry{Action: "connect.revoke"}))
	if err := stop(); err == nil {
		t.Error("stopping says nothing of entries that are not written")
	}
	b.failing.Store(false)
	if len(spools(t, conf.Aside)) != 1 {
		t.Fatalf("spools: %v, want one", spools(t, conf.Aside))
	}
	return ids
}

// TestSpoolIsMergedOnce: what was spooled gets into the log once, whenever the
// process that merges it dies.
func TestSpoolIsMergedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		db := storetest.Open(t, dsn)
		private, v := newKey(t)
		b := &broken{Store: db.Audit()}
		conf := config(t, b, private)
		conf.Aside = t.TempDir()
		ids := left(t, conf, b, 3)
		path := spools(t, conf.Aside)[0]
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// It dies before anything is in the log, and after it is stored but before it
		// hears of that; then after it is in the log, but before the spool is gone.
		b.rowsOnly = true
		for _, b.stored = range []bool{false, true} {
			conf.OnFault = func(error) {}
			b.failing.Store(true)
			before := b.fails.Load()
			_, stop := run(t, conf)
			eventually(t, "an attempt", func() bool { return b.fails.Load() > before })
			_ = stop()
			b.failing.Store(false)
			b.mute.Store(false)
			if again, err := os.ReadFile(path); err != nil || !bytes.Equal(again, content) {
				t.Fatalf("the spool did not stay: %v", err)
			}
			if b.stored {
				continue
			}
			// And when some of it is in the log.
			lines := bytes.SplitAfter(content[:bytes.IndexByte(content, 0)], []byte("\n"))
			if err := os.WriteFile(path, bytes.Join(lines[:3], nil), 0o600); err != nil {
				t.Fatal(err)
			}
			log, stop := run(t, conf)
			looked(t, log)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b.rowsOnly = false
		conf.OnFault = func(err error) { t.Errorf("fault: %v", err) }
		for range 3 {
			log, stop := run(t, conf)
			looked(t, log)
			if err := stop(); err != nil {
				t.Fatal(err)
			}
			rows := wanted(t, db.Audit(), v, ids...)
			for _, l := range leaves(t, rows, "log.tampered") {
				t.Errorf("an untouched spool was taken for a changed one: %v", l)
			}
			emptySpool(t, conf.Aside)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestSpoolOfALiveProcess: it is not another one's to merge.
func TestSpoolOfALiveProcess(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, v := newKey(t)
	conf := config(t, db.Audit(), private)
	conf.Aside = t.TempDir()
	log, stop := run(t, conf)
	if err := log.Prepare(); err != nil {
		t.Fatal(err)
	}
	other, stopOther := run(t, conf)
	looked(t, other)
	if len(spools(t, conf.Aside)) != 1 {
		t.Errorf("spools: %v", spools(t, conf.Aside))
	}
	if err := errors.Join(stopOther(), stop()); err != nil {
		t.Fatal(err)
	}
	emptySpool(t, conf.Aside)
	sound(t, db.Audit(), v)
}

// TestChangedSpool changes, removes, reorders and adds what stands in a spool.
// What is before that gets into the log, nothing that is not ours does, and the
// log says so; a line that was cut by a crash is no such thing.
func TestChangedSpool(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, v := newKey(t)
	b := &broken{Store: db.Audit()}
	conf := config(t, b, private)
	conf.Aside = t.TempDir()
	left(t, conf, b, 3)
	path := spools(t, conf.Aside)[0]
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(content), "\x00")
	lines := strings.SplitAfter(text, "\n")
	lines = lines[:len(lines)-1]
	if len(lines) != 5 { // that the gates are closed, and four
		t.Fatalf("%d lines", len(lines))
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, content string
		readable      int
		changed       bool
	}{
		{"whole", text, 5, false},
		{"cut in a line", text[:len(text)-40], 4, false},
		{"cut behind a line", strings.Join(lines[:2], ""), 2, false},
		{"empty", "", 0, false},
		{"the first line removed", strings.Join(lines[1:], ""), 0, true},
		{"a line in the middle removed", lines[0] + lines[2], 1, true},
		{"two lines exchanged", lines[0] + lines[2] + lines[1], 1, true},
		{"a line twice", lines[0] + lines[0], 1, true},
		{"a line of its own", lines[0] + "AAAA {}\n", 1, true},
		{"an entry changed", lines[0] + lines[1] + strings.Replace(lines[2], `"prev":"`, `"prev":"0`, 1), 2, true},
		{"a signature cut", lines[0] + lines[1][1:], 1, true},
		{"a space added", lines[0] + strings.Replace(lines[1], `"prev":`, `"prev": `, 1), 1, true},
	} {
		n, err := audit.ReadSpool([]byte(c.content), signer)
		if n != c.readable || (err != nil) != c.changed {
			t.Errorf("%s: %d lines are readable, %v; want %d, changed %v", c.name, n, err, c.readable, c.changed)
		}
	}
	// Each single byte.
	for i := range len(text) {
		changed := []byte(text)
		changed[i] ^= 1
		n, err := audit.ReadSpool(changed, signer)
		if n == 5 {
			t.Fatalf("byte %d was changed and nobody noticed", i)
		}
		if line := strings.Count(text[:i], "\n"); n > line {
			t.Fatalf("byte %d, in line %d, was changed, and %d lines are believed (%v)", i, line, n, err)
		}
	}

	if err := os.WriteFile(path, []byte(lines[0]+lines[2]), 0o600); err != nil {
		t.Fatal(err)
	}
	var faults atomic.Int64
	conf.OnFault = func(error) { faults.Add(1) }
	log, stop := run(t, conf)
	looked(t, log)
	if _, err := log.Intent(t.Context(), call()); err != nil {
		t.Errorf("a changed spool closes the gates: %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), v)
	if n := len(leaves(t, rows, "log.tampered")); n != 1 || faults.Load() != 1 {
		t.Errorf("%d entries and %d faults say that the spool was changed, want one each", n, faults.Load())
	}
	if n := len(leaves(t, rows, "log.close")); n != 1 {
		t.Errorf("what stood before the change is %d times in the log", n)
	}
	kept, err := filepath.Glob(filepath.Join(conf.Aside, "changed-*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("the changed spool is not kept: %v %v", kept, err)
	}
}

// TestDeferredDeeds: what could not be stored is done before anything else is
// admitted, by this process or the next one.
func TestDeferredDeeds(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, v := newKey(t)
	conf := config(t, db.Audit(), private)
	conf.Aside = t.TempDir()
	conf.OnFault = func(error) {}
	var away atomic.Bool
	done := make(chan audit.Deed, 10)
	// While it is held, a deed is neither done nor refused.
	var held sync.Mutex
	redo := func(_ context.Context, d audit.Deed) error {
		held.Lock()
		defer held.Unlock()
		if away.Load() {
			return fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
		}
		done <- d
		return nil
	}
	cause := fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	deed := audit.Deed{Kind: "handle", Target: "handle-1", Reason: "asked by a test"}
	entry := audit.Entry{Action: "handle.revoke"}

	log, stop := run(t, conf)
	if err := log.Defer(cause, deed, entry); !errors.Is(err, cause) || wire.RuleOf(err) != "" {
		t.Errorf("deferring before anybody can do it: %v, want the cause", err)
	}
	log.Redo(t.Context(), redo)
	if err := log.Defer(gatehouse.ErrConflict, deed, entry); !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("deferring what is not for want of a store: %v, want the cause", err)
	}
	held.Lock()
	away.Store(true)
	rule(t, "deferring", log.Defer(cause, deed, entry), "log/deferred")
	_, err := log.Intent(t.Context(), call())
	rule(t, "an intent while something is owed", err, "log/owing")
	if s := log.State().Condition; s != audit.Owing {
		t.Errorf("condition %s, want owing", s)
	}
	held.Unlock()
	eventually(t, "the refusal to do it", func() bool { return log.State().Condition == audit.Unwritable })
	away.Store(false)
	if got := <-done; got != deed {
		t.Errorf("done: %+v, want %+v", got, deed)
	}
	eventually(t, "the recovery", func() bool { return log.State().Condition == audit.Writable })
	if _, err := log.Intent(t.Context(), call()); err != nil {
		t.Error(err)
	}

	// It dies before it can do the next one.
	away.Store(true)
	rule(t, "deferring again", log.Defer(cause, deed, entry), "log/deferred")
	_ = stop()
	away.Store(false)
	again, stop := run(t, conf)
	again.Redo(t.Context(), redo)
	if got := <-done; got != deed {
		t.Errorf("done by the next process: %+v, want %+v", got, deed)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(done) != 0 {
		t.Errorf("%d deeds more were done", len(done))
	}
	emptySpool(t, conf.Aside)
	_, rows := sound(t, db.Audit(), v)
	deferred := 0
	for _, l := range leaves(t, rows, "handle.revoke") {
		if l.Facts["deferred"] == "handle" && l.Verdict == "failed" {
			deferred++
		}
	}
	if deferred != 2 {
		t.Errorf("%d entries say that something was deferred, want 2", deferred)
	}
}

// pausing is a store that fails, or can be held where a process looks for what dead
// ones left behind.
type pausing struct {
	audit.Store
	broken, hold atomic.Bool
	// held gets a channel when the look is held, which goes on when that is closed.
	held chan chan struct{}
}

func (s *pausing) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if s.broken.Load() {
		return fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	}
	return s.Store.Append(ctx, expect, b)
}

func (s *pausing) Find(ctx context.Context, id string) (int64, error) {
	if s.hold.CompareAndSwap(true, false) {
		goOn := make(chan struct{})
		s.held <- goOn
		<-goOn
	}
	return s.Store.Find(ctx, id)
}

// waited is a context that says when somebody waits for its end.
type waited struct {
	context.Context
	once  sync.Once
	waits chan struct{}
}

func waitedFor(ctx context.Context) *waited { return &waited{Context: ctx, waits: make(chan struct{})} }

func (w *waited) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// lookHeld returns a log that begins to look at what a dead process left, an entry
// and something that is to be done. It was not told yet how, and goes on when goOn is
// closed.
func lookHeld(t *testing.T) (log *audit.Log, conf audit.Config, goOn chan struct{}, stop func() error) {
	t.Helper()
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	store := &pausing{Store: db.Audit(), held: make(chan chan struct{})}
	conf = config(t, store, private)
	conf.Aside, conf.LookEvery = t.TempDir(), time.Hour
	conf.OnFault = func(error) {}

	dead, kill := run(t, conf)
	away := fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	dead.Redo(t.Context(), func(context.Context, audit.Deed) error { return away })
	store.broken.Store(true)
	if _, err := dead.Intent(t.Context(), call()); err == nil {
		t.Fatal("an intent was admitted by a log that cannot be written")
	}
	dead.Reduction(audit.Entry{Action: "handle.revoke"})
	rule(t, "deferring", dead.Defer(away, audit.Deed{Kind: "handle", Target: "handle-1"}, audit.Entry{Action: "handle.revoke"}), "log/deferred")
	if kill() == nil {
		t.Fatal("a log that cannot be written was closed without an error")
	}
	store.broken.Store(false)

	log, stop = run(t, conf)
	if err := log.LookAround(t.Context()); err != nil { // no other look is due after this one
		t.Fatal(err)
	}
	store.hold.Store(true)
	go func() { _ = log.LookAround(t.Context()) }()
	return log, conf, <-store.held, stop
}

// TestRedoDuringALook: a look that began before it was known how to do what a dead
// process owed leaves it undone, and does not answer whoever said how meanwhile.
func TestRedoDuringALook(t *testing.T) {
	log, conf, goOn, _ := lookHeld(t)
	var done atomic.Int64
	redone := make(chan int64, 1)
	ctx := waitedFor(t.Context())
	go func() {
		log.Redo(ctx, func(context.Context, audit.Deed) error { done.Add(1); return nil })
		redone <- done.Load()
	}()
	<-ctx.waits
	close(goOn)
	if n := <-redone; n != 1 {
		t.Errorf("%d deeds were done when Redo returned, want 1", n)
	}
	if _, err := log.Intent(t.Context(), call()); err != nil {
		t.Errorf("a call after that: %v", err)
	}
	emptySpool(t, conf.Aside)
}

// TestRedoEnds: Redo does not wait for a look that will not come, nor longer than its
// caller.
func TestRedoEnds(t *testing.T) {
	log, _, goOn, stop := lookHeld(t)
	nothing := func(context.Context, audit.Deed) error {
		return fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)
	}
	impatient, leave := context.WithCancel(t.Context())
	leave()
	log.Redo(impatient, nothing)

	ended := make(chan struct{})
	ctx := waitedFor(t.Context())
	go func() { defer close(ended); log.Redo(ctx, nothing) }()
	<-ctx.waits
	stopped := make(chan struct{})
	go func() { defer close(stopped); _ = stop() }()
	close(goOn)
	<-ended
	<-stopped
	log.Redo(t.Context(), nothing) // of a log that is closed
}

func FuzzSpool(f *testing.F) {
	private, _, err := note.GenerateKey(strings.NewReader(strings.Repeat("seed", 64)), origin)
	if err != nil {
		f.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(""))
	f.Add([]byte("\x00"))
	f.Add([]byte("AAAA {\"prev\":\"\",\"row\":{}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		// Nobody without the key writes a line.
		if n, _ := audit.ReadSpool(data, signer); n != 0 {
			t.Errorf("%d lines are believed", n)
		}
	})
}
