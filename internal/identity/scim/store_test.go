package scim_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// TestStoreRefuses holds what the writes demand of what is stored, whoever asks for them.
func TestStoreRefuses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"g": operator.Operator}})
		ctx, s := t.Context(), w.db.Operators()
		id := w.made("ada@example.com")
		p, err := s.Provisioned(ctx, operator.AccountID(id))
		if err != nil {
			t.Fatal(err)
		}
		set := func() error { return s.SetProvisioned(ctx, p, "Ada", "ada@example.com", w.now()) }
		if err := set(); err != nil {
			t.Fatal(err)
		}
		if err := set(); !errors.Is(err, operator.ErrStale) {
			t.Errorf("a profile of before: %v", err)
		}
		g, err := s.Group(ctx, operator.GroupID(w.do("POST", "/scim/v2/Groups", `{"displayName": "g"}`).is(201).id()))
		if err != nil {
			t.Fatal(err)
		}
		change := operator.GroupChange{Group: g, Add: []operator.Member{{Account: p.ID}}, At: w.now()}
		if err := s.SetGroup(ctx, change); err != nil {
			t.Fatal(err)
		}
		change.Add = nil
		if err := s.SetGroup(ctx, change); !errors.Is(err, operator.ErrStale) {
			t.Errorf("a group of before: %v", err)
		}
		change.Group.Version++
		change.Grants = []operator.AccountGrant{{Account: p.ID, Grant: operator.GrantRecord{Grant: operator.Grant{Role: operator.Owner}}}}
		if err := s.SetGroup(ctx, change); err == nil || w.roles(id) != "" {
			t.Errorf("a group made an owner: %v", err)
		}
		p.ID, p.Profile.UserName, p.Profile.ExternalID = "nobody", "x", ""
		if err := s.LinkProvisioned(ctx, p, false, 100); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("linking nobody: %v", err)
		}
		other := w.operator("bob@example.com", operator.Auditor)
		p.ID = other
		if err := s.LinkProvisioned(ctx, p, false, 1); !errors.Is(err, operator.ErrCrowded) {
			t.Errorf("one too many: %v", err)
		}
		if err := s.LinkProvisioned(ctx, p, false, 2); err != nil {
			t.Errorf("as many as there may be: %v", err)
		}
		if err := s.AddGroup(ctx, operator.Group{ID: "h", Name: "h", Version: 1}, 1); !errors.Is(err, operator.ErrCrowded) {
			t.Errorf("one group too many: %v", err)
		}
	})
}

// TestWhoMayProvision holds that only a provider provisions, and does nothing else.
func TestWhoMayProvision(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), options{groups: map[string]operator.Role{"g": operator.Operator}})
	ctx := t.Context()
	id := operator.AccountID(w.made("ada@example.com"))
	group := operator.GroupID(w.do("POST", "/scim/v2/Groups", `{"displayName": "g"}`).is(201).id())
	provider := operator.Provisioner("token")
	as := func(p operator.Provisioned) (operator.Desired, error) {
		return operator.Desired{Profile: p.Profile}, nil
	}
	same := func(g operator.Group) (operator.Group, []operator.AccountID, error) { return g, nil, nil }
	for _, by := range []operator.Actor{{}, operator.Host(), operator.Itself(), operator.By(operator.Session{Account: id})} {
		_, provision := w.d.Provision(ctx, by, operator.Profile{UserName: "bob@example.com", Email: "bob@example.com"}, true)
		_, reprovision := w.d.Reprovision(ctx, by, id, as)
		_, add := w.d.AddGroup(ctx, by, "h", "", nil)
		_, change := w.d.ChangeGroup(ctx, by, group, same)
		for i, err := range []error{provision, reprovision, w.d.Deprovision(ctx, by, id), add, change, w.d.RemoveGroup(ctx, by, group)} {
			if !errors.Is(err, gatehouse.ErrDenied) {
				t.Errorf("%s does what a provider does (%d): %v", by.Name(), i, err)
			}
		}
	}
	_, _, invite := w.d.Invite(ctx, provider, operator.Invitation{Name: "x", Email: "x@example.com", Role: operator.Auditor})
	_, _, reinvite := w.d.Reinvite(ctx, provider, id)
	for i, err := range []error{
		invite, reinvite, w.d.Suspend(ctx, provider, id), w.d.Resume(ctx, provider, id), w.d.Remove(ctx, provider, id),
		w.d.Grant(ctx, provider, id, operator.Grant{Role: operator.Auditor}), w.d.Revoke(ctx, provider, id, operator.Auditor),
		w.d.Manage(ctx, provider, id), w.d.Unmanage(ctx, provider, id), w.d.Authorise(ctx, provider, operator.OverviewRead),
	} {
		if !errors.Is(err, operator.ErrSession) {
			t.Errorf("a provider does what an operator does (%d): %v", i, err)
		}
	}
	if _, err := w.d.Reprovision(ctx, provider, id, as); err != nil {
		t.Errorf("a provider: %v", err)
	}
	w.state(string(id), operator.Invited, "")
}

// TestNames holds which of a user's names operators see.
func TestNames(t *testing.T) {
	for want, p := range map[string]operator.Profile{
		"D": {UserName: "u", Display: "D", Formatted: "F", Given: "G", Family: "H"}, "F": {UserName: "u", Formatted: "F", Given: "G", Family: "H"},
		"G H": {UserName: "u", Given: "G", Family: "H"}, "H": {UserName: "u", Family: "H"}, "u": {UserName: "u"},
		strings.Repeat("a", 99): {Display: strings.Repeat("a", 99) + "é" + "b"},
	} {
		if got := p.Name(); got != want {
			t.Errorf("the name is %q, want %q", got, want)
		}
	}
}
