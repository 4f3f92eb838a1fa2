package console

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// TestProposeRestore: who may restore proposes one with the code of a backup, and another
// approves it.
func TestProposeRestore(t *testing.T) {
	d := newDesk(t, operator.Owner, Operators())
	other := d.house.join("Grace", operator.Security)
	code := "20261126T045900Z-k3j5h2aa/" + strings.Repeat("0a", 32)
	d.get("/operators/approvals").shows(t, "Propose to restore a backup")
	for _, wrong := range []string{"", code[:40], code + "0", strings.ToUpper(code), "x" + code} {
		if r := d.post("/operators/approvals/restore", "code", wrong); r.status != 400 {
			t.Errorf("code %q: status %d", wrong, r.status)
		}
	}
	d.post("/operators/approvals/restore", "code", code).goesTo(t, "/operators/approvals")
	other.get("/operators/approvals").shows(t, "Restore a backup", "backup 20261126T045900Z-k3j5h2aa", `aria-label="Approve`)
	all, err := d.house.directory.Approvals(t.Context())
	must(t, err)
	if want := operator.ProposalToRestore("20261126T045900Z-k3j5h2aa", strings.Repeat("0a", 32)); len(all) != 1 || all[0].Proposal != want {
		t.Errorf("proposed %+v, want %+v", all, want)
	}
	keeper := d.house.join("Olga", operator.Operator)
	keeper.get("/operators/approvals").shows(t, "!Propose to restore")
	if r := keeper.post("/operators/approvals/restore", "code", code); r.status != 403 {
		t.Errorf("an operator: status %d", r.status)
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post("/operators/approvals/restore", "code", code); !strings.HasPrefix(r.header.Get("Location"), "/prove") {
		t.Errorf("without a recent proof: status %d", r.status)
	}
}
