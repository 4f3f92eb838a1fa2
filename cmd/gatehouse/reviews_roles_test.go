package main

import (
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
)

// TestRoleUsed: what an operator did by a role is found in the log by what the role alone
// allows, and when the role was given.
func TestRoleUsed(t *testing.T) {
	_, p := consoleParts(t)
	ctx := t.Context()
	record := func(account string, e audit.Entry) {
		t.Helper()
		e.Verdict = "done"
		if _, err := p.log.Record(audit.By(ctx, account), e); err != nil {
			t.Fatal(err)
		}
	}
	record("acc1", audit.Entry{Action: "keys.rotate"})
	record("acc2", audit.Entry{Action: "operator.approved", Facts: map[string]string{"act": string(operator.ActRevokeEverything)}})
	record("", audit.Entry{Action: "operator.grant", Facts: map[string]string{"account": "acc1", "role": "operator"}})
	record("", audit.Entry{Action: "operator.hand-over", Facts: map[string]string{"account": "acc1", "to": "acc3"}})
	if err := p.log.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	for _, c := range []struct {
		what        string
		id          operator.AccountID
		g           operator.Grant
		of          []operator.Permission
		since       time.Time
		used, given bool
	}{
		{"who did it and was given the role", "acc1", operator.Grant{Role: operator.Operator}, []operator.Permission{operator.PeopleErase, operator.KeysRotate}, past, true, true},
		{"another permission, and another role", "acc1", operator.Grant{Role: operator.Security}, []operator.Permission{operator.KeysDestroy}, past, false, false},
		{"before the time that counts", "acc1", operator.Grant{Role: operator.Operator}, []operator.Permission{operator.KeysRotate}, future, false, false},
		{"an act that took two", "acc2", operator.Grant{Role: operator.Security}, []operator.Permission{operator.EverythingRevoke}, past, true, false},
		{"another act", "acc2", operator.Grant{Role: operator.Security}, []operator.Permission{operator.RestoreApprove}, past, false, false},
		{"who took over from somebody", "acc3", operator.Grant{Role: operator.Auditor}, nil, past, false, true},
		{"whose role is a group's", "acc1", operator.Grant{Role: operator.Operator, Provider: true}, []operator.Permission{operator.KeysRotate}, past, true, false},
	} {
		used, given, err := p.roleUsed(ctx, c.id, c.g, c.of, c.since)
		if err != nil || used.IsZero() == c.used || given.IsZero() == c.given {
			t.Errorf("%s: used %s, given %s, %v; want used %t, given %t", c.what, used, given, err, c.used, c.given)
		}
	}
}
