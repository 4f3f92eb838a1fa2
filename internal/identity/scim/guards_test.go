package scim_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// session signs an operator in who was just made.
func (w *world) session(email string, role operator.Role) operator.Session {
	w.t.Helper()
	link, _, err := w.d.Invite(w.t.Context(), operator.Host(), operator.Invitation{Name: email, Email: email, Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	token, b := w.signedIn(link)
	s, _, err := w.d.Session(w.t.Context(), b, token)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestALeaverWhoDecidedIsMissed: whoever has a provider's token cannot make one of two who
// approve act alone by suspending the other.
func TestALeaverWhoDecidedIsMissed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		owner := operator.By(w.session("owner@example.com", operator.Owner))
		two := func(when string, want bool) {
			t.Helper()
			if got, err := w.d.TakesTwo(t.Context(), owner); err != nil || got != want {
				t.Errorf("%s an act takes two: %v, %v", when, got, err)
			}
		}
		two("alone", false)
		id := w.linked("bob@example.com", operator.Security)
		two("with another", true)
		w.do("PATCH", "/scim/v2/Users/"+id, active(false)).is(200)
		two("just after the other left", true)
		w.ahead.Add(int64(71 * time.Hour))
		two("within three days", true)
		w.ahead.Add(int64(2 * time.Hour))
		two("afterwards", false)
	})
}

// TestHandingAnApproverOverTakesTwo: a provider gets an account that approves when two
// operators agree, and any other by one.
func TestHandingAnApproverOverTakesTwo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		owner := operator.By(w.session("owner@example.com", operator.Owner))
		bob, dan := w.operator("bob@example.com", operator.Security), w.operator("dan@example.com", operator.Developer)
		if err := w.d.Manage(t.Context(), owner, bob); !errors.Is(err, operator.ErrApproval) {
			t.Errorf("one who approves: %v", err)
		}
		if err := w.d.Manage(t.Context(), owner, dan); err != nil {
			t.Errorf("one who does not: %v", err)
		}
	})
}

// TestLeavingTakesAll holds what does not come back with somebody, and what a provider
// takes with it.
func TestLeavingTakesAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"sre": operator.Operator, "audit": operator.Auditor}})
		ctx, host := t.Context(), operator.Host()
		w.operator("owner@example.com", operator.Owner)

		// A link of before is none after coming back; a new one is.
		id := w.made("ada@example.com")
		link, _, err := w.d.Reinvite(ctx, host, operator.AccountID(id))
		if err != nil {
			t.Fatal(err)
		}
		w.do("PATCH", "/scim/v2/Users/"+id, active(false)).is(200)
		w.do("PATCH", "/scim/v2/Users/"+id, active(true)).is(200)
		if _, err := w.d.Enrolment(ctx, link); !errors.Is(err, operator.ErrEnrolment) {
			t.Errorf("the link of before: %v", err)
		}
		w.enrol(id)

		// Roles by groups go with the management, and those that an operator gave stay.
		members := `"members": [{"value": "` + id + `"}]`
		sre := w.do("POST", "/scim/v2/Groups", `{"displayName": "sre", `+members+`}`).is(201).id()
		if err := w.d.Grant(ctx, host, operator.AccountID(id), operator.Grant{Role: operator.Auditor}); err != nil {
			t.Fatal(err)
		}
		// Given by an operator before, a role is not the group's to take.
		audit := w.do("POST", "/scim/v2/Groups", `{"displayName": "audit", `+members+`}`).is(201).id()
		w.do("PUT", "/scim/v2/Groups/"+audit, `{"displayName": "audit", "members": []}`).is(200)
		if got := w.roles(id); got != "auditor operator" {
			t.Fatalf("the roles are %q", got)
		}
		if err := w.d.Unmanage(ctx, host, operator.AccountID(id)); err != nil {
			t.Fatal(err)
		}
		if got := w.roles(id); got != "auditor" {
			t.Errorf("without a provider the roles are %q", got)
		}
		w.do("GET", "/scim/v2/Groups/"+sre, "").is(200).has("members", nil)
	})
}

// TestAProvidersAddressIsVouchedFor: an address that the operator wrote finds no account for
// single sign-on, and one that a provider gave does.
func TestAProvidersAddressIsVouchedFor(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		id := w.made("ada@example.com")
		w.raw.Exec(`UPDATE operators SET subject = 'https://login.example.com', own_email = 1 WHERE id = $1`, id)
		own := func() bool {
			t.Helper()
			r, err := w.db.Operators().Account(t.Context(), operator.AccountID(id))
			if err != nil {
				t.Fatal(err)
			}
			return r.OwnEmail
		}
		w.do("PUT", "/scim/v2/Users/"+id, `{"userName": "ada@example.com", "displayName": "Ada"}`).is(200)
		if !own() {
			t.Error("a name vouches for an address")
		}
		w.do("PUT", "/scim/v2/Users/"+id, `{"userName": "ada@example.com", "emails": [{"value": "ada@example.org"}]}`).is(200)
		if own() {
			t.Error("a provider's address counts as the operator's own")
		}
	})
}

// TestWritesOfGroupsAreBounded holds what the store and the directory take of groups.
func TestWritesOfGroupsAreBounded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"g": operator.Operator}})
		ctx, s := t.Context(), w.db.Operators()
		id := w.made("ada@example.com")
		g, err := s.Group(ctx, operator.GroupID(w.do("POST", "/scim/v2/Groups", `{"displayName": "g"}`).is(201).id()))
		if err != nil {
			t.Fatal(err)
		}
		for role, until := range map[operator.Role]time.Time{operator.Owner: {}, operator.Auditor: w.now().Add(time.Hour)} {
			err := s.SetGroup(ctx, operator.GroupChange{Group: g, Grants: []operator.AccountGrant{{
				Account: operator.AccountID(id), Grant: operator.GrantRecord{Grant: operator.Grant{Role: role, Until: until}},
			}}, At: w.now()})
			if got := w.roles(id); err == nil || got != "" {
				t.Errorf("a group gives %s until %v: %v", role, until, err)
			}
		}
		crowd := func(n int) error {
			_, err := w.d.ChangeGroup(ctx, operator.Provisioner("token"), g.ID, func(g operator.Group) (operator.Group, []operator.AccountID, error) {
				members := make([]operator.AccountID, n)
				for i := range members {
					members[i] = operator.AccountID(fmt.Sprint("member ", i))
				}
				return g, members, nil
			})
			return err
		}
		if err := crowd(2001); !errors.Is(err, operator.ErrCrowded) {
			t.Errorf("2001 members: %v", err)
		}
		if err := crowd(2000); !errors.Is(err, gatehouse.ErrInvalid) { // none of them is known
			t.Errorf("2000 members: %v", err)
		}
		gone := w.operator("gone@example.com", operator.Auditor)
		w.operator("owner@example.com", operator.Owner)
		if err := w.d.Remove(ctx, operator.Host(), gone); err != nil {
			t.Fatal(err)
		}
		p := operator.Provisioned{ID: gone, Profile: operator.Profile{UserName: "gone@example.com", Email: "gone@example.com"}, Since: w.now(), Changed: w.now(), Version: 1}
		if err := s.LinkProvisioned(ctx, p, false, 100); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("linking who was removed: %v", err)
		}
	})
}
