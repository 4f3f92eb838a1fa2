package audit_test

import (
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/store/storetest"
)

func TestWhatAnOperatorDoesIsTheirs(t *testing.T) {
	db := storetest.Open(t, storetest.SQLite(t))
	private, verifier := newKey(t)
	log, stop := run(t, config(t, db.Audit(), private))
	ctx := audit.By(t.Context(), "acc1")
	if _, err := log.Record(ctx, audit.Entry{Action: "audit.search", Verdict: "allow"}); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{"about": "person"}
	receipt, err := log.Intent(ctx, audit.Entry{Action: "lineage.ask", Facts: own})
	if err != nil {
		t.Fatal(err)
	}
	log.Outcome(receipt, audit.Entry{Action: "lineage.ask", Verdict: "done"})
	if _, err := log.Reduce(ctx, audit.Entry{Action: "connect.revoke"}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Record(ctx, audit.Entry{Action: "audit.search", Verdict: "allow", Facts: map[string]string{"operator": "acc2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := log.Record(audit.By(t.Context(), ""), audit.Entry{Action: "audit.search", Verdict: "allow"}); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(own) != 1 {
		t.Errorf("the caller's facts were changed: %v", own)
	}
	_, rows := sound(t, db.Audit(), verifier)
	var got []string
	for _, r := range rows {
		leaf, err := audit.DecodeLeaf(r.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		if leaf.Kind == audit.KindIntent || leaf.Action == "audit.search" {
			got = append(got, leaf.Action+" "+leaf.Facts["operator"]+" "+leaf.Facts["about"])
		}
	}
	want := []string{"audit.search acc1 ", "lineage.ask acc1 person", "connect.revoke acc1 ", "audit.search acc2 ", "audit.search  "}
	if len(got) != len(want) {
		t.Fatalf("entries %q", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("entry %d is %q, want %q", i, got[i], want[i])
		}
	}
}
