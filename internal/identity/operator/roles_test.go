package operator_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

var update = flag.Bool("update", false, "write the golden file")

// The whole table, for whoever reviews a change of it.
func TestRoles(t *testing.T) {
	var b strings.Builder
	for _, p := range operator.Permissions() {
		b.WriteString(string(p) + ":")
		for _, r := range operator.Roles() {
			if slices.Contains(r.Permissions(), p) {
				b.WriteString(" " + string(r))
			}
		}
		if p.Dangerous() {
			b.WriteString(" (recent sign-in)")
		}
		b.WriteString("\n")
	}
	const golden = "testdata/roles.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != b.String() {
		t.Errorf("the table of roles changed (%v); if that is meant: go test ./internal/identity/operator -run TestRoles -update\n%s", err, b.String())
	}
}

// What must hold of the table whatever it says in detail.
func TestWhatRolesMayNever(t *testing.T) {
	all := operator.Permissions()
	for _, r := range operator.Roles() {
		for _, p := range r.Permissions() {
			if !slices.Contains(all, p) {
				t.Errorf("%s has %s, which the owner has not", r, p)
			}
			changes := !strings.HasSuffix(string(p), ".read")
			if changes && (r == operator.Auditor || r == operator.Developer) {
				t.Errorf("%s has %s: it may only look", r, p)
			}
			if p == operator.PeopleRead && (r == operator.Auditor || r == operator.Developer) {
				t.Errorf("%s sees people", r)
			}
			if (p == operator.OwnerChange || p == operator.OperatorsChange) && r != operator.Owner {
				t.Errorf("%s says who the operators are", r)
			}
		}
		if slices.Contains(r.Permissions(), operator.Self) || slices.Contains(r.Permissions(), operator.Anyone) {
			t.Errorf("%s has what needs no role", r)
		}
	}
	if got := operator.Role("nobody").Permissions(); len(got) != 0 {
		t.Errorf("a role that does not exist has %v", got)
	}
}

func TestMay(t *testing.T) {
	now := time.Now()
	account := func(state operator.State, grants ...operator.Grant) *operator.Account {
		return &operator.Account{State: state, Grants: grants}
	}
	auditor := operator.Grant{Role: operator.Auditor}
	for _, test := range []struct {
		what string
		a    *operator.Account
		p    operator.Permission
		want bool
	}{
		{"nobody signs in", nil, operator.Anyone, true},
		{"nobody has sessions", nil, operator.Self, false},
		{"nobody reads", nil, operator.LogRead, false},
		{"an account without roles has sessions", account(operator.Active), operator.Self, true},
		{"and reads nothing", account(operator.Active), operator.LogRead, false},
		{"an auditor reads the log", account(operator.Active, auditor), operator.LogRead, true},
		{"and reveals nothing", account(operator.Active, auditor), operator.LogReveal, false},
		{"a suspended one does not", account(operator.Suspended, auditor), operator.LogRead, false},
		{"nor has sessions", account(operator.Suspended, auditor), operator.Self, false},
		{"an invited one does not", account(operator.Invited, auditor), operator.LogRead, false},
		{"a removed one does not", account(operator.Removed, auditor), operator.LogRead, false},
		{"before its end", account(operator.Active, operator.Grant{Role: operator.Auditor, Until: now.Add(1)}), operator.LogRead, true},
		{"at its end", account(operator.Active, operator.Grant{Role: operator.Auditor, Until: now}), operator.LogRead, false},
		{"with another that holds", account(operator.Active, operator.Grant{Role: operator.Auditor, Until: now}, operator.Grant{Role: operator.Developer}), operator.LogRead, true},
		{"a role that does not exist", account(operator.Active, operator.Grant{Role: "root"}), operator.LogRead, false},
		{"a permission that does not exist", account(operator.Active, operator.Grant{Role: operator.Owner}), "", false},
	} {
		if got := test.a.May(test.p, now); got != test.want {
			t.Errorf("%s: %t, want %t", test.what, got, test.want)
		}
	}
}
