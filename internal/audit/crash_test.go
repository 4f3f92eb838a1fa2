package audit_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// errDisk is what the broken store says.
var errDisk = errors.New("the disk is gone")

// A broken store is a real one whose appends fail while told to, before or
// after they were stored, and which may be unable to say which.
type broken struct {
	audit.Store
	failing atomic.Bool
	stored  bool
	mute    atomic.Bool
	fails   atomic.Int64
	// rowsOnly lets writes without entries pass; then it is mute once one with
	// entries was stored.
	rowsOnly bool
}

func (b *broken) Append(ctx context.Context, expect audit.Head, batch audit.Batch) error {
	if !b.failing.Load() || b.rowsOnly && len(batch.Rows) == 0 {
		return b.Store.Append(ctx, expect, batch)
	}
	b.fails.Add(1)
	if b.stored {
		if err := b.Store.Append(ctx, expect, batch); err != nil {
			return err
		}
		b.mute.Store(b.mute.Load() || b.rowsOnly)
	}
	return errDisk
}

func (b *broken) Find(ctx context.Context, id string) (int64, error) {
	if b.mute.Load() {
		return 0, errDisk
	}
	return b.Store.Find(ctx, id)
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// TestCrashPairs fails a write that was not stored, one that was, and each with
// a store that cannot say which. Whatever was acknowledged is in the log once;
// whatever nobody waited for gets there once; the log verifies.
func TestCrashPairs(t *testing.T) {
	for name, c := range map[string]struct{ stored, mute bool }{
		"failed, not stored":               {false, false},
		"failed, stored":                   {true, false},
		"failed, not stored, cannot say":   {false, true},
		"failed, stored, cannot say which": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				db := storetest.Open(t, dsn)
				private, verifier := newKey(t)
				store := &broken{Store: db.Audit(), stored: c.stored}
				var faults, recoveries atomic.Int64
				conf := config(t, store, private)
				conf.OnFault = func(error) { faults.Add(1) }
				conf.OnRecover = func() { recoveries.Add(1) }
				log, stop := run(t, conf)

				before, err := log.Intent(t.Context(), call())
				if err != nil {
					t.Fatal(err)
				}
				store.mute.Store(c.mute)
				store.failing.Store(true)
				// These join one group, so that it holds both kinds.
				log.Outcome(before, audit.Entry{Verdict: "done", Status: 200})
				refusal := log.Refusal(audit.Entry{Action: "call", Rule: "publish/undeclared"})
				during, failure := log.Intent(t.Context(), call())
				if acknowledged := c.stored && !c.mute; acknowledged != (failure == nil) {
					t.Errorf("the intent whose write failed: %v", failure)
				}
				if failure != nil {
					if !errors.Is(failure, gatehouse.ErrUnavailable) || during.Valid() {
						t.Errorf("the refused intent: %v, receipt valid %v; want unavailable and no receipt", failure, during.Valid())
					}
					eventually(t, "the fault", func() bool { return log.Fault() != nil })
					late := log.Refusal(audit.Entry{Action: "call", Rule: "log/closed"})
					if _, err := log.Record(t.Context(), audit.Entry{Action: "handle.create"}); !errors.Is(err, gatehouse.ErrUnavailable) {
						t.Errorf("a record while the gates are closed: %v", err)
					}
					store.failing.Store(false)
					store.mute.Store(false)
					eventually(t, "the recovery", func() bool { return log.Fault() == nil })
					defer func() {
						if _, rows := sound(t, db.Audit(), verifier); count(rows, late) != 1 {
							t.Errorf("the refusal during the outage is %d times in the log", count(rows, late))
						}
					}()
				}
				store.failing.Store(false)
				after, err := log.Intent(t.Context(), call())
				if err != nil {
					t.Fatalf("after the recovery: %v", err)
				}
				log.Outcome(after, audit.Entry{Verdict: "done"})
				if err := stop(); err != nil {
					t.Fatal(err)
				}
				_, rows := sound(t, db.Audit(), verifier)
				ids := []string{before.ID(), refusal, after.ID()}
				if failure == nil {
					ids = append(ids, during.ID())
				}
				for _, id := range ids {
					if n := count(rows, id); n != 1 {
						t.Errorf("entry %s is %d times in the log, want once", id, n)
					}
				}
				outcomes := slices.DeleteFunc(slices.Clone(rows), func(r audit.Row) bool {
					leaf, err := audit.DecodeLeaf(r.Leaf)
					return err != nil || leaf.Kind != audit.KindOutcome || leaf.Intent != before.ID()
				})
				if len(outcomes) != 1 {
					t.Errorf("the outcome is %d times in the log, want once", len(outcomes))
				}
				if failure != nil && (faults.Load() != 1 || recoveries.Load() != 1) {
					t.Errorf("%d faults and %d recoveries were reported, want one each", faults.Load(), recoveries.Load())
				}
			})
		})
	}
}

// TestOutageIsBounded fills the queue while the log cannot be written: refusals
// wait, intents are refused, and nothing is lost.
func TestOutageIsBounded(t *testing.T) {
	dsn := storetest.SQLite(t)
	db := storetest.Open(t, dsn)
	private, verifier := newKey(t)
	store := &broken{Store: db.Audit()}
	conf := config(t, store, private)
	conf.Queue = 8
	conf.OnFault = func(error) {}
	log, stop := run(t, conf)
	store.failing.Store(true)
	if _, err := log.Intent(t.Context(), call()); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("the intent that finds the fault: %v", err)
	}
	const refusals = 30
	done := make(chan string, refusals)
	for range refusals {
		go func() { done <- log.Refusal(audit.Entry{Action: "call", Rule: "log/closed"}) }()
	}
	// One place is taken by the entry that says that the gates are closed.
	eventually(t, "the queue's limit", func() bool { return len(done) == 7 })
	if fails := store.fails.Load(); fails > 20 {
		t.Errorf("%d attempts in a moment; an outage must not be a busy loop", fails)
	}
	// What takes access away is not held up by those who wait.
	ids := []string{log.Reduction(audit.Entry{Action: "connect.revoke"})}
	if len(done) != 7 {
		t.Error("the queue had room for a reduction")
	}
	store.failing.Store(false)
	for range refusals {
		ids = append(ids, <-done)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), verifier)
	for _, id := range ids {
		if count(rows, id) != 1 {
			t.Errorf("entry %s is %d times in the log", id, count(rows, id))
		}
	}
}

func TestStopDuringOutageSaysWhatIsLost(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, _ := newKey(t)
	store := &broken{Store: db.Audit()}
	conf := config(t, store, private)
	conf.OnFault = func(error) {}
	log, stop := run(t, conf)
	r, err := log.Intent(t.Context(), call())
	if err != nil {
		t.Fatal(err)
	}
	store.failing.Store(true)
	log.Outcome(r, audit.Entry{})
	// The outcome, and that the gates were closed.
	if err := stop(); !errors.Is(err, errDisk) || err.Error() != "closing the log with 2 entries unwritten: the disk is gone" {
		t.Errorf("stopping: %v", err)
	}
	if _, err := log.Intent(t.Context(), call()); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("an intent after the end: %v", err)
	}
}
