package operator_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
)

// What changes something leaves a trace in the log, by an action that exists; what reads
// leaves none.
func TestTraces(t *testing.T) {
	for _, p := range operator.Permissions() {
		traces := p.Traces()
		if reads := strings.HasSuffix(string(p), ".read"); reads != (len(traces) == 0) {
			t.Errorf("%s has %d traces", p, len(traces))
		}
		for _, trace := range traces {
			q := audit.Query{Action: trace.Action, Facts: trace.Facts}
			if err := q.Validate(); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
}

func TestOwn(t *testing.T) {
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	grant := func(r operator.Role, until time.Time) operator.Grant { return operator.Grant{Role: r, Until: until} }
	var never time.Time
	for _, c := range []struct {
		what   string
		of     operator.Grant
		others []operator.Grant
		has    []operator.Permission
		not    []operator.Permission
	}{
		{"alone", grant(operator.Operator, never), nil, []operator.Permission{operator.KeysRotate, operator.HealthRead}, nil},
		{
			"beside one that has less", grant(operator.Operator, never), []operator.Grant{grant(operator.Auditor, never)},
			[]operator.Permission{operator.KeysRotate, operator.PeopleRead}, []operator.Permission{operator.HealthRead, operator.KeysRead},
		},
		{"beside one that ends sooner", grant(operator.Operator, later), []operator.Grant{grant(operator.Owner, soon)}, []operator.Permission{operator.KeysRotate}, nil},
		{"beside one that ends", grant(operator.Operator, never), []operator.Grant{grant(operator.Owner, soon)}, []operator.Permission{operator.KeysRotate}, nil},
	} {
		a := operator.Account{Grants: append([]operator.Grant{c.of}, c.others...)}
		own := a.Own(c.of)
		for _, p := range c.has {
			if !slices.Contains(own, p) {
				t.Errorf("%s: %s is not its own", c.what, p)
			}
		}
		for _, p := range c.not {
			if slices.Contains(own, p) {
				t.Errorf("%s: %s is its own", c.what, p)
			}
		}
	}
	for what, other := range map[string]operator.Grant{"without an end": grant(operator.Owner, never), "with the same end": grant(operator.Owner, soon)} {
		a := operator.Account{Grants: []operator.Grant{grant(operator.Operator, soon), other}}
		if own := a.Own(a.Grants[0]); len(own) != 0 {
			t.Errorf("beside one that gives all, %s: %v", what, own)
		}
	}
}
