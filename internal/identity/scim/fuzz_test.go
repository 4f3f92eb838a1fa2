package scim_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/wire"
)

// refusedWell demands of an error that it is a refusal with words that we wrote.
func refusedWell(t *testing.T, err error, sent string) {
	t.Helper()
	if !errors.Is(err, gatehouse.ErrInvalid) || !strings.HasPrefix(wire.RuleOf(err), "scim/") {
		t.Fatalf("%q: the error is no refusal: %v", sent, err)
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		`userName eq "ada@example.com"`, `externalId Eq "x"`, `id eq "a\"b\\c\u00E9"`, `emails[type eq "work"]`, `urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a"`,
		`not (a pr) and (b co "x" or c gt 1.5e3)`, `((((`, `a eq 1e99999`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		attribute, value, err := scim.HookTestOnlyFilter(s)
		if err != nil {
			refusedWell(t, err, s)
			return
		}
		// What was understood means the same when it is written anew.
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), `\u`) {
			return // the parser knows escapes in capital letters only
		}
		a, v, err := scim.HookTestOnlyFilter(attribute + " eq " + string(text))
		if err != nil && len(s) < 400 || err == nil && (a != attribute || v != value) {
			t.Fatalf("%q was read as %s=%q, and that as %s=%q (%v)", s, attribute, value, a, v, err)
		}
	})
}

func FuzzPatch(f *testing.F) {
	for _, s := range []string{
		`{"Operations":[{"op":"Replace","path":"active","value":"False"}]}`,
		`{"schemas":["x"],"operations":[{"op":"add","value":{"displayName":"x","name.givenName":"y","emails[type eq \"work\"].value":"a@b.c"}}]}`,
		`{"Operations":[{"op":"remove","path":"emails[value eq \"a@b.c\"]"},{"op":"replace","path":"name","value":{"familyName":null}}]}`,
		`{"Operations":[{"op":"add","path":"urn:a:b:c","value":[[]]}]}`,
		`{"Operations":[{"op":"remove","path":"members[value eq \"m\"]"},{"op":"add","path":"members","value":[{"value":"n"}]}]}`,
	} {
		f.Add([]byte(s))
	}
	before := operator.Provisioned{ID: "id", State: operator.Active, Profile: operator.Profile{UserName: "u", Given: "g", Email: "a@b.c"}}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, err := scim.HookTestOnlyPatch(before, body)
		if err != nil {
			refusedWell(t, err, string(body))
		} else {
			// Nobody becomes active or inactive by what does not speak of it.
			if want.Active != nil && !strings.Contains(strings.ToLower(strings.NewReplacer(`\u0061`, "a", `\u0041`, "a").Replace(string(body))), "active") && !strings.Contains(string(body), `\`) {
				t.Fatalf("%q says that somebody is active: %v", body, *want.Active)
			}
			if want.Profile.Email == "" && want.Profile.UserName != "" {
				t.Fatalf("%q leaves no address", body)
			}
		}
		if _, err := scim.HookTestOnlyUser(body); err != nil {
			refusedWell(t, err, string(body))
		}
		group := operator.Group{ID: "g", Name: "n", Members: []operator.Member{{Account: "m", Role: operator.Auditor}}}
		if _, members, err := scim.HookTestOnlyPatchGroup(group, body); err != nil {
			refusedWell(t, err, string(body))
		} else if len(members) > 5000 {
			t.Fatalf("%d members", len(members))
		}
	})
}
