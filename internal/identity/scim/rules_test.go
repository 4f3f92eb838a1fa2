package scim_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

func active(yes bool) string {
	if yes {
		return `{"Operations": [{"op": "replace", "path": "active", "value": true}]}`
	}
	return `{"Operations": [{"op": "replace", "path": "active", "value": false}]}`
}

// made provisions somebody.
func (w *world) made(name string) string {
	w.t.Helper()
	return w.do("POST", "/scim/v2/Users", `{"userName": "`+name+`", "externalId": "x-`+name+`"}`).is(201).id()
}

// linked makes an operator here and puts them under management.
func (w *world) linked(name string, role operator.Role) string {
	w.t.Helper()
	id := w.operator(name, role)
	if err := w.d.Manage(w.t.Context(), operator.Host(), id); err != nil {
		w.t.Fatal(err)
	}
	return string(id)
}

// TestOnlyWhatSCIMSuspendedIsResumed holds the rules about who may undo whose suspension.
func TestOnlyWhatSCIMSuspendedIsResumed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		ctx, host := t.Context(), operator.Host()
		w.operator("owner@example.com", operator.Owner)
		fail := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}

		// An operator's suspension stays, whatever the provider says before or after.
		ada := operator.AccountID(w.made("ada@example.com"))
		w.enrol(string(ada))
		fail(w.d.Suspend(ctx, host, ada))
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(true)).refused(409, "")
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(false)).is(200)
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(true)).refused(409, "")
		w.state(string(ada), operator.Suspended, "operator")
		// A PUT that says nothing about it changes the name all the same.
		w.do("PUT", "/scim/v2/Users/"+string(ada), `{"userName": "ada@example.com", "displayName": "Ada"}`).is(200).has("active", false).has("displayName", "Ada")
		fail(w.d.Resume(ctx, host, ada))
		w.state(string(ada), operator.Active, "")

		// An operator makes the provider's suspension their own.
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(false)).is(200)
		w.state(string(ada), operator.Suspended, "scim")
		fail(w.d.Suspend(ctx, host, ada))
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(true)).refused(409, "")
		w.state(string(ada), operator.Suspended, "operator")
		fail(w.d.Resume(ctx, host, ada))

		// Who was idle stays so until the provider has said that they left.
		w.ahead.Add(int64(91 * 24 * time.Hour))
		if n, err := w.d.Tend(ctx); err != nil || n != 1 {
			t.Fatalf("%d idle operators, %v", n, err)
		}
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(true)).refused(409, "")
		w.state(string(ada), operator.Suspended, "idle")
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(false)).is(200)
		w.state(string(ada), operator.Suspended, "scim")
		w.do("PATCH", "/scim/v2/Users/"+string(ada), active(true)).is(200)
		w.state(string(ada), operator.Active, "")

		// Who never enrolled has no way in by coming back, and their link is gone.
		link, bob, err := w.d.Invite(ctx, host, operator.Invitation{Name: "Bob", Email: "bob@example.com", Role: operator.Auditor})
		fail(err)
		if id := w.do("POST", "/scim/v2/Users", `{"userName": "bob@example.com"}`).is(201).id(); id != string(bob.ID) {
			t.Fatalf("an invitation that nobody has used became another account")
		}
		w.do("PATCH", "/scim/v2/Users/"+string(bob.ID), active(false)).is(200)
		w.state(string(bob.ID), operator.Suspended, "scim")
		if _, err := w.d.Enrolment(ctx, link); err == nil {
			t.Error("the link of somebody who left works")
		}
		w.do("PATCH", "/scim/v2/Users/"+string(bob.ID), active(true)).is(200)
		w.state(string(bob.ID), operator.Invited, "")
		w.do("PATCH", "/scim/v2/Users/"+string(bob.ID), active(false)).is(200)
		fail(w.d.Resume(ctx, host, bob.ID))
		w.state(string(bob.ID), operator.Invited, "")

		// Who is created inactive is suspended from the beginning.
		eve := w.do("POST", "/scim/v2/Users", `{"userName": "eve@example.com", "active": false}`).is(201).has("active", false).id()
		w.state(eve, operator.Suspended, "scim")
	})
}

// TestLastOwner holds that the last owner stays, and that this is told.
func TestLastOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		id := w.linked("owner@example.com", operator.Owner)
		refused := func(want int) {
			t.Helper()
			if n, err := w.d.ProvisionRefused(t.Context()); err != nil || n != want {
				t.Fatalf("%d accounts stayed, want %d (%v)", n, want, err)
			}
		}
		refused(0)
		for _, a := range []answer{
			w.do("PATCH", "/scim/v2/Users/"+id, active(false)), w.do("DELETE", "/scim/v2/Users/"+id, ""),
			w.do("PUT", "/scim/v2/Users/"+id, `{"userName": "owner@example.com", "active": "False"}`),
		} {
			a.refused(409, "")
			if !strings.Contains(a.raw, "last owner") {
				t.Errorf("%s: it does not say why: %s", a.asked, a.raw)
			}
		}
		w.state(id, operator.Active, "")
		refused(1)
		if n := len(w.entries("operator.suspend", `"operator":"scim"`, "failed", "operator/last-owner")); n != 2 {
			t.Errorf("the log has %d refused suspensions, want 2", n)
		}
		if n := len(w.entries("operator.remove", `"operator":"scim"`, "failed", "operator/last-owner")); n != 1 {
			t.Errorf("the log has %d refused removals, want 1", n)
		}
		w.do("PATCH", "/scim/v2/Users/"+id, active(true)).is(200)
		refused(0)
		// With another owner it is a leaver as any other.
		w.do("PATCH", "/scim/v2/Users/"+id, active(false)).refused(409, "")
		w.operator("other@example.com", operator.Owner)
		w.do("PATCH", "/scim/v2/Users/"+id, active(false)).is(200)
		w.state(id, operator.Suspended, "scim")
		refused(0)
		w.do("DELETE", "/scim/v2/Users/"+id, "").is(204)
	})
}

// TestWhoseAccounts holds which accounts a provider sees and touches.
func TestWhoseAccounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		ctx, host := t.Context(), operator.Host()
		w.operator("owner@example.com", operator.Owner)
		ada := string(w.operator("ada@example.com", operator.Operator))

		// Somebody who works here is neither seen nor taken over.
		w.do("GET", "/scim/v2/Users", "").is(200).has("totalResults", 0)
		for _, a := range []answer{
			w.do("GET", "/scim/v2/Users/"+ada, ""), w.do("PATCH", "/scim/v2/Users/"+ada, active(false)), w.do("DELETE", "/scim/v2/Users/"+ada, ""),
			w.do("PUT", "/scim/v2/Users/"+ada, `{"userName": "ada@example.com"}`),
		} {
			a.refused(404, "")
		}
		w.do("POST", "/scim/v2/Users", `{"userName": "someone", "emails": [{"value": "ADA@example.com"}]}`).refused(409, "uniqueness")
		w.state(ada, operator.Active, "")

		// An invitation that a browser has opened is somebody's.
		link, _, err := w.d.Invite(ctx, host, operator.Invitation{Name: "Bob", Email: "bob@example.com", Role: operator.Security})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.SetProfile(ctx, operator.EnrolmentOrSession{Browser: browser(w.token), Enrolment: link}, "Bob", "bob@example.com"); err != nil {
			t.Fatal(err)
		}
		w.do("POST", "/scim/v2/Users", `{"userName": "bob@example.com"}`).refused(409, "uniqueness")
		// And so is one of somebody who had been here, and got a new link.
		if _, _, err := w.d.Reinvite(ctx, host, operator.AccountID(ada)); err != nil {
			t.Fatal(err)
		}
		w.do("POST", "/scim/v2/Users", `{"userName": "ada@example.com"}`).refused(409, "uniqueness")

		// One that nobody has opened is not, and keeps its role.
		_, eve, err := w.d.Invite(ctx, host, operator.Invitation{Name: "Eve", Email: "eve@example.com", Role: operator.Security})
		if err != nil {
			t.Fatal(err)
		}
		w.do("POST", "/scim/v2/Users", `{"userName": "eve@example.com", "externalId": "e"}`).is(201).has("id", eve.ID)
		if got := w.roles(string(eve.ID)); got != "security" {
			t.Errorf("the roles are %q", got)
		}
		// But its address is fixed: single sign-on would find another person by it.
		w.do("PUT", "/scim/v2/Users/"+string(eve.ID), `{"userName": "eve@example.com", "emails": [{"value": "mallory@example.com"}]}`).refused(400, "mutability")
		if got := w.account(string(eve.ID)).Email; got != "eve@example.com" {
			t.Errorf("the address is %s", got)
		}

		// Somebody whom the provider made may get another address until they enrol.
		dan := w.made("dan@example.com")
		rename := `{"userName": "daniel@example.com", "emails": [{"value": "daniel@example.com"}], "externalId": "x-dan@example.com"}`
		w.do("PUT", "/scim/v2/Users/"+dan, rename).is(200).has("emails.0.value", "daniel@example.com")
		w.enrol(dan)
		w.do("PUT", "/scim/v2/Users/"+dan, strings.ReplaceAll(rename, `"value": "daniel`, `"value": "d`)).refused(400, "mutability")
		// The name that the provider finds them by is its own affair.
		w.do("PUT", "/scim/v2/Users/"+dan, strings.Replace(rename, `"userName": "daniel`, `"userName": "d`, 1)).is(200).has("userName", "d@example.com")
		// Whoever signs in by single sign-on is not found by address any more.
		w.raw.Exec(`UPDATE operators SET subject = 'https://login.example.com' WHERE id = $1`, dan)
		w.do("PUT", "/scim/v2/Users/"+dan, strings.ReplaceAll(rename, `"value": "daniel`, `"value": "d`)).is(200).has("emails.0.value", "d@example.com")
		// What else such a request says about leaving counts all the same.
		w.raw.Exec(`UPDATE operators SET subject = NULL WHERE id = $1`, dan)
		w.do("PUT", "/scim/v2/Users/"+dan, `{"userName": "d@example.com", "emails": [{"value": "z@example.com"}], "active": false}`).refused(400, "mutability")
		w.state(dan, operator.Suspended, "scim")

		// An address that an operator has is not given twice.
		w.do("PUT", "/scim/v2/Users/"+w.made("tim@example.com"), `{"userName": "tim@example.com", "emails": [{"value": "owner@example.com"}]}`).refused(409, "uniqueness")

		// The host hands accounts over, and takes them back.
		max := w.linked("max@example.com", operator.Auditor)
		w.do("GET", `/scim/v2/Users?filter=userName%20eq%20%22MAX@example.com%22`, "").is(200).has("Resources.0.id", max)
		if err := w.d.Manage(ctx, host, operator.AccountID(max)); err == nil {
			t.Error("an account was linked twice")
		}
		if err := w.d.Unmanage(ctx, host, operator.AccountID(max)); err != nil {
			t.Fatal(err)
		}
		w.do("DELETE", "/scim/v2/Users/"+max, "").refused(404, "")
		if len(w.entries("scim.link", max, `"operator":"host"`)) != 6 {
			t.Error("linking is not in the log")
		}
	})
}

// TestGroups holds what members of groups get and lose.
func TestGroups(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		mapping := map[string]operator.Role{"sre": operator.Operator, "oncall": operator.Operator, "audit": operator.Auditor}
		w := newWorld(t, dsn, options{groups: mapping})
		ctx, host := t.Context(), operator.Host()
		w.operator("owner@example.com", operator.Owner)
		ada, bob := w.made("ada@example.com"), w.made("bob@example.com")
		want := func(id, roles string) {
			t.Helper()
			if got := w.roles(id); got != roles {
				t.Fatalf("the roles are %q, want %q", got, roles)
			}
		}
		group := func(name string, members ...string) string {
			t.Helper()
			var list []string
			for _, m := range members {
				list = append(list, `{"value": "`+m+`"}`)
			}
			return w.do("POST", "/scim/v2/Groups", `{"displayName": "`+name+`", "members": [`+strings.Join(list, ",")+`]}`).is(201).id()
		}
		sre, oncall := group("sre", ada, bob), group("oncall", ada)
		other := group("elsewhere", ada)
		want(ada, "operator")
		want(bob, "operator")
		w.do("POST", "/scim/v2/Groups", `{"displayName": "SRE"}`).refused(409, "uniqueness")
		w.do("PATCH", "/scim/v2/Groups/"+sre, `{"Operations": [{"op": "add", "path": "members", "value": [{"value": "nobody"}]}]}`).refused(400, "invalidValue")

		// A role that two groups give goes with the second.
		w.do("DELETE", "/scim/v2/Groups/"+oncall, "").is(204)
		want(ada, "operator")
		w.do("PUT", "/scim/v2/Groups/"+sre, `{"displayName": "sre", "members": [{"value": "`+bob+`"}]}`).is(200)
		want(ada, "")
		want(bob, "operator")
		// One that an operator gave stays.
		w.do("PATCH", "/scim/v2/Groups/"+sre, `{"Operations": [{"op": "add", "path": "members", "value": [{"value": "`+ada+`"}]}]}`).is(200)
		if err := w.d.Grant(ctx, host, operator.AccountID(ada), operator.Grant{Role: operator.Operator}); err != nil {
			t.Fatal(err)
		}
		w.do("PATCH", "/scim/v2/Groups/"+sre, `{"Operations": [{"op": "remove", "path": "members[value eq \"`+ada+`\"]"}]}`).is(200)
		want(ada, "operator")
		// One that an operator took away does not come back by being told again.
		if err := w.d.Revoke(ctx, host, operator.AccountID(bob), operator.Operator); err != nil {
			t.Fatal(err)
		}
		w.do("PUT", "/scim/v2/Groups/"+sre, `{"displayName": "sre", "members": [{"value": "`+bob+`"}, {"value": "`+ada+`"}]}`).is(200)
		want(bob, "")
		// It does by leaving and joining.
		w.do("PUT", "/scim/v2/Groups/"+sre, `{"displayName": "sre", "members": []}`).is(200)
		w.do("PUT", "/scim/v2/Groups/"+sre, `{"displayName": "sre", "members": [{"value": "`+bob+`"}]}`).is(200)
		want(bob, "operator")

		// A new name is another group.
		w.do("PATCH", "/scim/v2/Groups/"+sre, `{"Operations": [{"op": "replace", "value": {"displayName": "audit"}}]}`).is(200)
		want(bob, "auditor")

		// What the configuration does not give any more goes at the next look.
		w.do("PATCH", "/scim/v2/Groups/"+other, `{"Operations": [{"op": "replace", "path": "displayName", "value": "oncall"}]}`).is(200)
		delete(mapping, "audit")
		if _, err := w.d.Tend(ctx); err != nil {
			t.Fatal(err)
		}
		want(bob, "")
		want(ada, "operator")
		if len(w.entries("operator.revoke", `"operator":"gatehouse"`, bob)) != 2 {
			t.Error("the log does not say that a role by a group ended")
		}

		// Rows that somebody wrote into the database give nothing.
		w.raw.Exec(`INSERT INTO operator_group_members (grp, operator, role) VALUES ($1, $2, 'operator')`, other, bob)
		w.raw.Exec(`INSERT INTO operator_grants (operator, role, since, until, mac, source) VALUES ($1, 'operator', 0, 0, '', 'scim')`, bob)
		if _, err := w.d.Tend(ctx); err != nil {
			t.Fatal(err)
		}
		want(bob, "")

		// Removing an account removes it from groups.
		w.do("DELETE", "/scim/v2/Users/"+ada, "").is(204)
		w.do("GET", "/scim/v2/Groups/"+other, "").is(200).has("members.0.value", bob).has("members.1", nil)
	})
}

// TestNoGroupsWithoutRoles holds that groups are offered only where they give something,
// and never a role that decides approvals.
func TestNoGroupsWithoutRoles(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), options{})
	w.do("GET", "/scim/v2/Groups", "").refused(404, "")
	w.do("POST", "/scim/v2/Groups", `{"displayName": "x"}`).refused(404, "")
	w.do("GET", "/scim/v2/ResourceTypes", "").is(200).has("totalResults", 1)
	for _, role := range []operator.Role{operator.Owner, operator.Security, "nothing"} {
		c := operator.Config{
			Store: w.db.Operators(), Log: w.log, Derive: w.vault.Derive, Passwords: struct{ operator.Passwords }{}, Environment: production,
			Groups: map[string]operator.Role{"g": role},
		}
		if _, err := operator.New(c); err == nil {
			t.Errorf("a group gives %s", role)
		}
		c.Groups["g"] = operator.Operator
		if _, err := operator.New(c); err != nil {
			t.Errorf("a group gives operator: %v", err)
		}
	}
}
