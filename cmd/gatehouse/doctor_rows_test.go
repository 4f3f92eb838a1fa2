package main

import (
	"strings"
	"testing"

	"gatehouse/internal/store/storetest"
)

// The doctor finds what somebody else wrote into the database, and the log has it.
func TestDoctorFindsAlteredRows(t *testing.T) {
	h := newHouse(t)
	if out, errOut, code := h.gatehouse("account", "invite", "ada@example.com", "--role", "auditor"); code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, out, errOut)
	}
	if out, errOut, code := h.gatehouse("account", "review", "start"); code != 0 {
		t.Fatalf("exit status %d\n%s%s", code, out, errOut)
	}
	raw := storetest.OpenRaw(t, h.load().Store.Text().Reveal())
	doctor := func(what string, wantCode int, says string) {
		t.Helper()
		if out, errOut, code := h.gatehouse("doctor"); code != wantCode || !strings.Contains(out, says) {
			t.Errorf("%s: exit status %d\n%s%s", what, code, out, errOut)
		}
	}
	doctor("as it was written", 0, "ok    operators      roles, passkeys")
	raw.Exec("UPDATE operator_grants SET role = 'owner' WHERE role = 'auditor'")
	raw.Exec("UPDATE reviews SET due = due - 1")
	doctor("with a role and a review that were altered", 1, "FAIL  operators      rows of the database that somebody else wrote, and that give nothing: grant (1), review (1)\n")
	raw.Exec("UPDATE operator_grants SET role = 'auditor' WHERE role = 'owner'")
	out, _, code := h.gatehouse("audit", "show", "--action", "operator.altered")
	if code != 0 || strings.Count(out, "operator.altered") != 2 {
		t.Errorf("the log: exit status %d\n%s", code, out)
	}
	// The next review takes the place of the altered one.
	if out, errOut, code := h.gatehouse("account", "review", "start"); code != 0 {
		t.Errorf("beginning another one: exit status %d\n%s%s", code, out, errOut)
	}
	doctor("after that", 0, "ok    operators")
}
