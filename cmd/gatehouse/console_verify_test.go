package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/store/storetest"
)

// TestVerifyIsOnRecord: who had the log verified and what came of it stands in the log,
// from where another process knows it; and it is not done time after time.
func TestVerifyIsOnRecord(t *testing.T) {
	_, p := consoleParts(t)
	ctx, l := t.Context(), newLogChecker(p)
	ask := func(want string) {
		t.Helper()
		if said, err := l.Verify(ctx, "acc1"); err != nil || !strings.Contains(said, want) {
			t.Errorf("it says %q, %v; want %q", said, err, want)
		}
	}
	outcomes := func(verdict string) []console.EntryLine {
		t.Helper()
		if err := p.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		page, err := logSource{p}.Search(ctx, "acc2", console.LogQuery{Action: "log.verify", Kind: "outcome", Verdict: verdict, Facts: []string{"operator=acc1"}}, "", 50)
		if err != nil {
			t.Fatal(err)
		}
		return page.Entries
	}
	if err := l.recall(ctx); err != nil || !l.Verification().Began.IsZero() {
		t.Fatalf("before the first: %v, %+v", err, l.Verification())
	}
	ask("It has begun")
	ask("being verified already")
	l.once(ctx, ordered(t, l))
	first := l.Verification()
	if first.Entries == 0 || first.Count != 0 || first.Failed != "" {
		t.Fatalf("%+v", first)
	}
	if n := len(outcomes("done")); n != 1 {
		t.Errorf("the log has %d outcomes", n)
	}
	ask("a moment ago")
	again := newLogChecker(p)
	if err := again.recall(ctx); err != nil {
		t.Fatal(err)
	}
	if v := again.Verification(); v.Entries != first.Entries || v.Count != 0 || v.Failed != "" || v.Ended.Sub(first.Ended).Abs() > time.Minute {
		t.Errorf("another process knows %+v, want %+v", v, first)
	}
	if said, err := again.Verify(ctx, "acc1"); err != nil || !strings.Contains(said, "a moment ago") {
		t.Errorf("after a restart it says %q, %v", said, err)
	}

	// One without a result is on record as that, and may be tried again at once.
	l.mu.Lock()
	l.last.Ended = l.last.Ended.Add(-verifyEvery)
	l.mu.Unlock()
	ask("It has begun")
	over, cancel := context.WithCancel(ctx)
	cancel()
	l.once(over, ordered(t, l))
	if n := len(outcomes("failed")); n != 1 || l.Verification().Failed == "" {
		t.Errorf("%d outcomes that failed, %+v", n, l.Verification())
	}
	again = newLogChecker(p)
	if err := again.recall(ctx); err != nil || again.Verification().Failed == "" {
		t.Errorf("another process knows %+v, %v", again.Verification(), err)
	}
	ask("It has begun")
	l.once(ctx, ordered(t, l))

	// Problems are counted.
	receipt, err := p.log.Intent(ctx, audit.Entry{Action: "log.verify", Verdict: "allow"})
	if err != nil {
		t.Fatal(err)
	}
	p.log.Outcome(receipt, audit.Entry{Action: "log.verify", Verdict: "failed", Facts: map[string]string{"operator": "acc1", "entries": "7", "problems": "2", "seconds": "60"}})
	if n := len(outcomes("failed")); n != 2 {
		t.Errorf("%d outcomes that failed", n)
	}
	again = newLogChecker(p)
	if err := again.recall(ctx); err != nil {
		t.Fatal(err)
	}
	if v := again.Verification(); v.Count != 2 || v.Entries != 7 || len(v.Problems) != 1 || v.Ended.Sub(v.Began) != time.Minute {
		t.Errorf("another process knows %+v", v)
	}
}

// ordered is the order that waits.
func ordered(t *testing.T, l *logChecker) verifyOrder {
	t.Helper()
	select {
	case order := <-l.asked:
		return order
	default:
		t.Fatal("no order waits")
		return verifyOrder{}
	}
}

// TestVerifyTellsOfChanges: what is not as it was written is counted, shown as far as there
// is room, on record and known to the next process; a look rests after each batch; and one
// that could not be recorded is said not to be, and is none of the log's.
func TestVerifyTellsOfChanges(t *testing.T) {
	h, p := consoleParts(t)
	ctx, l := t.Context(), newLogChecker(p)
	for range 2 * maxProblems {
		p.log.Refusal(audit.Entry{Action: "operator.refuse", Verdict: "refuse", Rule: "operator/sign-in"})
	}
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	verified := func(ctx context.Context, want string) console.Verification {
		t.Helper()
		if said, err := l.Verify(ctx, "acc1"); err != nil || !strings.Contains(said, want) {
			t.Fatalf("it says %q, %v; want %q", said, err, want)
		}
		rests := 0
		l.pacing = func() *pacer {
			return &pacer{began: time.Now(), now: time.Now, pause: func(context.Context, time.Duration) { rests++ }}
		}
		l.once(t.Context(), ordered(t, l))
		if rests == 0 {
			t.Error("it never rests")
		}
		v := l.Verification()
		l.mu.Lock()
		l.last.Ended = l.last.Ended.Add(-verifyEvery)
		l.mu.Unlock()
		return v
	}
	outcomes := func(verdict, rule string) int {
		t.Helper()
		if err := p.log.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		page, err := logSource{p}.Search(ctx, "acc2", console.LogQuery{Action: "log.verify", Kind: "outcome", Verdict: verdict, Rule: rule}, "", 50)
		if err != nil {
			t.Fatal(err)
		}
		return len(page.Entries)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if v := verified(over, "cannot be written now, so that you asked is not in it"); v.Count != 0 || outcomes("done", "") != 0 {
		t.Errorf("one that is not on record: %+v, %d outcomes", v, outcomes("done", ""))
	}
	if v := verified(ctx, "You need not wait here"); v.Count != 0 || outcomes("done", "") != 1 {
		t.Errorf("before: %+v, %d outcomes", v, outcomes("done", ""))
	}
	raw := storetest.OpenRaw(t, "sqlite:"+filepath.Join(h.dir, "gatehouse.db"))
	raw.Exec("UPDATE audit_entries SET leaf = leaf || 'x' WHERE seq >= $1 AND seq < $2", int64(3), int64(3+maxProblems+10))
	v := verified(ctx, "You need not wait here")
	if v.Count < maxProblems+10 || len(v.Problems) != maxProblems || v.Failed != "" || v.Entries == 0 {
		t.Errorf("%d problems, %d shown, of %d entries, %q", v.Count, len(v.Problems), v.Entries, v.Failed)
	}
	if n := outcomes("failed", "log/altered"); n != 1 {
		t.Errorf("%d outcomes say that the log was altered", n)
	}
	next := newLogChecker(p)
	if err := next.recall(ctx); err != nil || next.Verification().Count != v.Count {
		t.Errorf("another process knows %+v, %v", next.Verification(), err)
	}
	// What began meanwhile is not what is remembered.
	busy := newLogChecker(p)
	if _, err := busy.Verify(ctx, "acc1"); err != nil {
		t.Fatal(err)
	}
	if err := busy.recall(ctx); err != nil || !busy.Verification().Ended.IsZero() {
		t.Errorf("one that is under way is %+v, %v", busy.Verification(), err)
	}
}

// TestVerifyRests: a verification rests three times as long as it works.
func TestVerifyRests(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	now := at
	var rests []time.Duration
	p := &pacer{began: at, now: func() time.Time { return now }, pause: func(_ context.Context, d time.Duration) { rests = append(rests, d); now = now.Add(d) }}
	for _, worked := range []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, time.Minute} {
		now = now.Add(worked)
		p.rest(t.Context())
	}
	if want := []time.Duration{30 * time.Millisecond, 60 * time.Millisecond, longestRest}; !slices.Equal(rests, want) {
		t.Errorf("rests %v, want %v", rests, want)
	}
}
