package audit_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

// Each entry that gets into the log is told once, and none that did not.
func TestEntriesAreTold(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, v := newKey(t)
	c := config(t, db.Audit(), private)
	c.Aside = t.TempDir()
	var mu sync.Mutex
	var told []string
	c.Entered = func(kind string, e audit.Entry, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if waited := kind == audit.KindIntent || e.Action == "run.start"; waited != (took > 0) {
			t.Errorf("%s of %s took %s", kind, e.Action, took)
		}
		told = append(told, kind+" "+e.Action+" "+e.Verdict+" "+e.Rule)
	}
	log, stop := run(t, c)
	done, err := log.Intent(t.Context(), audit.Entry{Action: "call"})
	if err != nil {
		t.Fatal(err)
	}
	log.Outcome(done, audit.Entry{Status: 200})
	log.Refusal(audit.Entry{Action: "call", Rule: "refuse/undeclared-call"})
	if _, err := log.Record(t.Context(), audit.Entry{Action: "run.start", Verdict: "done"}); err != nil {
		t.Fatal(err)
	}
	cut, err := log.Reduce(t.Context(), audit.Entry{Action: "handle.revoke"})
	if err != nil {
		t.Fatal(err)
	}
	log.Outcome(cut, audit.Entry{})
	log.Reduction(audit.Entry{Action: "handle.revoke"})
	if _, err := log.Intent(t.Context(), audit.Entry{Action: "no.such.action"}); err == nil {
		t.Error("an unregistered action was taken")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, rows := sound(t, db.Audit(), v)
	var want []string
	for _, r := range rows {
		l, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, l.Kind+" "+l.Action+" "+l.Verdict+" "+l.Rule)
	}
	slices.Sort(want)
	slices.Sort(told)
	if !slices.Equal(told, want) {
		t.Errorf("told %q\nand in the log are %q", told, want)
	}
}
