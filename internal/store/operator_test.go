package store_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store"
	"gatehouse/internal/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// operatorRecord is an account as it is first stored.
func operatorRecord(id operator.AccountID, role operator.Role) operator.AccountRecord {
	return operator.AccountRecord{
		Account: operator.Account{ID: id, Name: "Name of " + string(id), Email: string(id) + "@Example.com", State: operator.Invited, Created: day},
		Grants:  []operator.GrantRecord{{Grant: operator.Grant{Role: role}, MAC: "mac"}}, Environment: "production",
		EmailKey: string(id) + "@example.com", Handle: []byte("handle of " + id),
	}
}

// withOperators returns the operators' store of a database with active accounts.
func withOperators(t *testing.T, dsn string, owners ...operator.AccountID) *store.Operators {
	t.Helper()
	s := storetest.Open(t, dsn).Operators()
	for _, id := range owners {
		if err := s.AddAccount(t.Context(), operatorRecord(id, operator.Owner)); err != nil {
			t.Fatal(err)
		}
		if err := s.SetState(t.Context(), id, operator.StateChange{From: []operator.State{operator.Invited}, To: operator.Active, At: day}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func wantConflict(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, gatehouse.ErrConflict) {
		t.Errorf("%s: %v, want ErrConflict", what, err)
	}
}

func TestOperatorsAreStoredAsTheyAre(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn)
		r := operatorRecord("ada", operator.Security)
		r.Grants = append(r.Grants, operator.GrantRecord{Grant: operator.Grant{Role: "tester", Until: day.Add(time.Hour), Provider: true}, MAC: "other"})
		if err := s.AddAccount(ctx, r); err != nil {
			t.Fatal(err)
		}
		for what, find := range map[string]func() (operator.AccountRecord, error){
			"by id":      func() (operator.AccountRecord, error) { return s.Account(ctx, "ada") },
			"by address": func() (operator.AccountRecord, error) { return s.AccountByEmail(ctx, "ada@example.com") },
			"by handle":  func() (operator.AccountRecord, error) { return s.AccountByHandle(ctx, []byte("handle of ada")) },
			"by list": func() (operator.AccountRecord, error) {
				all, err := s.Accounts(ctx)
				if err != nil || len(all) != 1 {
					return operator.AccountRecord{}, fmt.Errorf("%d accounts: %w", len(all), err)
				}
				return all[0], nil
			},
		} {
			if got, err := find(); err != nil || cmp.Diff(r, got) != "" {
				t.Errorf("%s: %v (-want +got):\n%s", what, err, cmp.Diff(r, got))
			}
		}
		for what, change := range map[string]func(*operator.AccountRecord){
			"of the same id":      func(o *operator.AccountRecord) { o.Account.Name = "x"; o.EmailKey, o.Handle = "x", []byte("x") },
			"of the same address": func(o *operator.AccountRecord) { o.Account.Name = "x"; o.Account.ID, o.Handle = "x", []byte("x") },
			"of the same handle":  func(o *operator.AccountRecord) { o.Account.Name = "x"; o.Account.ID, o.EmailKey = "x", "x" },
		} {
			other := r
			change(&other)
			wantConflict(t, "another "+what, s.AddAccount(ctx, other))
		}
		// Two may have no address, and no name; not the same one.
		named := operatorRecord("named", operator.Auditor)
		named.Account.Name = strings.ToUpper(r.Account.Name)
		if err := s.AddAccount(ctx, named); !errors.Is(err, operator.ErrName) {
			t.Errorf("an account with another's name: %v, want ErrName", err)
		}
		for _, id := range []operator.AccountID{"one", "two"} {
			other := operatorRecord(id, operator.Auditor)
			other.EmailKey, other.Account.Name = "", ""
			if err := s.AddAccount(ctx, other); err != nil {
				t.Errorf("an account without an address: %v", err)
			}
		}
		if _, err := s.Account(ctx, "nobody"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("nobody: %v, want ErrNotFound", err)
		}
		wantConflict(t, "a change from a state that it is not in",
			s.SetState(ctx, "ada", operator.StateChange{From: []operator.State{operator.Active, operator.Suspended}, To: operator.Active, At: day}))
	})
}

// Attempts that arrive at the same moment are counted one by one.
func TestAttemptsAreCounted(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn)
		limits := []operator.Limit{{Slot: "a/1", Most: 5, Within: time.Hour}, {Slot: "b/1", Most: 7, Within: 2 * time.Hour}}
		var mu sync.Mutex
		var group sync.WaitGroup
		admitted, last := 0, 0
		for range 12 {
			group.Go(func() {
				full, reached, err := s.Attempt(ctx, limits, day)
				if err != nil {
					t.Errorf("Attempt: %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if full.IsZero() {
					admitted++
				} else if !full.Equal(day.Add(time.Hour)) {
					t.Errorf("full until %s, want an hour", full)
				}
				if reached {
					last++
				}
			})
		}
		group.Wait()
		if admitted != 5 || last != 1 {
			t.Errorf("%d attempts were admitted, %d of them the last; want 5 and 1", admitted, last)
		}
		if err := s.Forgive(ctx, limits); err != nil {
			t.Fatal(err)
		}
		try := func(what string, at time.Time, want bool) {
			t.Helper()
			if full, _, err := s.Attempt(ctx, limits, at); err != nil || full.IsZero() != want {
				t.Errorf("%s: full until %s, %v; want it admitted: %t", what, full, err, want)
			}
		}
		try("after one was forgiven", day, true)
		try("after that", day, false)
		try("just before the hour is over", day.Add(time.Hour-time.Microsecond), false)
		try("after the hour", day.Add(time.Hour), true)
		try("the other limit's last", day.Add(time.Hour), true)
		try("beyond the other limit", day.Add(time.Hour), false)
		// A clock that went back a year waits no longer than the window.
		back := day.Add(-365 * 24 * time.Hour)
		full, _, err := s.Attempt(ctx, limits, back)
		if err != nil || full.After(back.Add(2*time.Hour)) {
			t.Errorf("with the clock set back: full until %s, %v", full, err)
		}
		for range 3 {
			if err := s.Forgive(ctx, []operator.Limit{{Slot: "never/1"}}); err != nil {
				t.Errorf("forgiving what was not tried: %v", err)
			}
		}
	})
}

// What is used once is used once, whoever asks at the same moment.
func TestOperatorsThingsAreUsedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada", "bob")
		if _, err := s.OfferTOTP(ctx, "ada", "seed", day, day.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if err := s.AcceptTOTP(ctx, "ada", operator.Claim{}, "seed", 10); err != nil {
			t.Fatal(err)
		}
		if err := s.PutRecovery(ctx, "ada", operator.Claim{}, []operator.Hash{{1}, {2}}); err != nil {
			t.Fatal(err)
		}
		key := operator.PasskeyRecord{Passkey: operator.Passkey{ID: "key", Account: "ada", Name: "n", Created: day, Synced: true}, Credential: []byte("1"), MAC: "m"}
		if err := s.AddPasskey(ctx, key, operator.Claim{}, 1); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Passkeys(ctx, "ada"); err != nil || len(got) != 1 || cmp.Diff(key, got[0]) != "" {
			t.Errorf("Passkeys = %+v, %v", got, err)
		}
		wantConflict(t, "one passkey more than there may be", s.AddPasskey(ctx, operator.PasskeyRecord{Passkey: operator.Passkey{ID: "k2", Account: "ada"}, Credential: []byte("1")}, operator.Claim{}, 1))
		token := operator.TokenRecord{Hash: operator.Hash{9}, Kind: "half", Account: "ada", Binding: operator.Hash{8}, Created: day, Until: day.Add(time.Hour)}
		if err := s.AddToken(ctx, token, false); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Token(ctx, token.Hash); err != nil || cmp.Diff(token, got) != "" {
			t.Errorf("Token = %+v, %v", got, err)
		}
		a := operator.Approval{ID: "a", Proposal: operator.Proposal{Act: operator.ActDestroyKey, Target: "t", Digest: "d"}, AskedBy: "ada", Asked: day,
			Until: day.Add(time.Hour), State: operator.Waiting}
		waits := operator.ApprovalRecord{Approval: a, MAC: "1"}
		if err := s.AddApproval(ctx, waits, 1); err != nil {
			t.Fatal(err)
		}
		wantConflict(t, "one approval more than may wait",
			s.AddApproval(ctx, operator.ApprovalRecord{Approval: operator.Approval{ID: "b", AskedBy: "ada", Asked: day, Until: day.Add(time.Hour)}}, 1))
		if got, err := s.Approval(ctx, "a"); err != nil || cmp.Diff(waits, got) != "" {
			t.Errorf("Approval = %+v, %v", got, err)
		}
		decided := func(by operator.AccountID, at time.Time) operator.ApprovalRecord {
			r := operator.ApprovalRecord{Approval: a, MAC: "2"}
			r.Approval.State, r.Approval.DecidedBy, r.Approval.Decided = operator.Approved, by, at
			return r
		}
		used := func(at time.Time) operator.ApprovalRecord {
			r := decided("bob", day)
			r.Approval.State, r.Approval.Used, r.MAC = operator.Used, at, "3"
			return r
		}
		wantConflict(t, "using one that waits", s.UseApproval(ctx, "1", used(day)))
		about := operator.ApprovalRecord{Approval: operator.Approval{ID: "about", Proposal: operator.Proposal{Act: operator.ActChangeOwner, Subject: "bob"}, AskedBy: "ada",
			Asked: day, Until: day.Add(time.Hour), State: operator.Waiting}, MAC: "1"}
		if err := s.AddApproval(ctx, about, 2); err != nil {
			t.Fatal(err)
		}
		about.Approval.State, about.Approval.DecidedBy, about.Approval.Decided = operator.Approved, "bob", day
		wantConflict(t, "approving one about oneself", s.Decide(ctx, "1", about))
		wantConflict(t, "approving one's own", s.Decide(ctx, "1", decided("ada", day)))
		wantConflict(t, "approving one that is over", s.Decide(ctx, "1", decided("bob", day.Add(time.Hour))))
		wantConflict(t, "approving one that is another by now", s.Decide(ctx, "0", decided("bob", day)))
		for what, f := range map[string]func() error{
			"a code's step":   func() error { return s.TakeStep(ctx, "ada", "seed", 11) },
			"a recovery code": func() error { return s.TakeRecovery(ctx, "ada", operator.Hash{1}) },
			"a ceremony":      func() error { return s.TakeCeremony(ctx, operator.Hash{5}, day) },
			"a passkey's answer": func() error {
				return s.UsePasskey(ctx, "key", []byte("1"), []byte("1"), day, operator.Hash{6}, day)
			},
			"a passkey's counter": func() error {
				return s.UsePasskey(ctx, "key", []byte("1"), []byte("2"), day, operator.Hash{7}, day)
			},
			"half a sign-in": func() error { return s.DropToken(ctx, token.Hash) },
			"a decision":     func() error { return s.Decide(ctx, "1", decided("bob", day)) },
		} {
			if what == "a passkey's counter" {
				continue // after the one before it
			}
			onlyOnce(t, what, f)
		}
		onlyOnce(t, "a passkey's counter", func() error {
			return s.UsePasskey(ctx, "key", []byte("1"), []byte("2"), day, operator.Hash{7}, day)
		})
		wantConflict(t, "an approval that is another by now", s.UseApproval(ctx, "1", used(day)))
		wantConflict(t, "an approval that is over", s.UseApproval(ctx, "2", used(day.Add(time.Hour))))
		for _, change := range []operator.StateChange{{From: []operator.State{operator.Active}, To: operator.Suspended, At: day},
			{From: []operator.State{operator.Suspended}, To: operator.Active, At: day}} {
			if err := s.SetState(ctx, "bob", change); err != nil {
				t.Fatal(err)
			}
			if change.To == operator.Suspended {
				wantConflict(t, "an approval of somebody who is suspended", s.UseApproval(ctx, "2", used(day)))
			}
		}
		onlyOnce(t, "an approval", func() error { return s.UseApproval(ctx, "2", used(day)) })
		if got, err := s.Approval(ctx, "a"); err != nil || cmp.Diff(used(day), got) != "" {
			t.Errorf("Approval = %+v, %v", got, err)
		}
		back := decided("bob", day)
		back.MAC = "4"
		wantConflict(t, "giving back one that is another by now", s.ReturnApproval(ctx, "2", back))
		for _, change := range []operator.StateChange{{From: []operator.State{operator.Active}, To: operator.Suspended, At: day},
			{From: []operator.State{operator.Suspended}, To: operator.Active, At: day}} {
			if err := s.SetState(ctx, "ada", change); err != nil {
				t.Fatal(err)
			}
			if change.To == operator.Suspended {
				wantConflict(t, "giving one back to somebody who is suspended", s.ReturnApproval(ctx, "3", back))
			}
		}
		onlyOnce(t, "giving an approval back", func() error { return s.ReturnApproval(ctx, "3", back) })
		if got, err := s.Approval(ctx, "a"); err != nil || cmp.Diff(back, got) != "" {
			t.Errorf("Approval = %+v, %v", got, err)
		}
		wantConflict(t, "an older step", s.TakeStep(ctx, "ada", "seed", 10))
		wantConflict(t, "another seed's step", s.TakeStep(ctx, "ada", "other", 12))
	})
}

// onlyOnce checks that of many calls at the same moment one goes through, and the
// others are told that it is taken or gone.
func onlyOnce(t *testing.T, what string, f func() error) {
	t.Helper()
	errs := make([]error, 6)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = f() })
	}
	group.Wait()
	n := 0
	for _, err := range errs {
		switch {
		case err == nil:
			n++
		case !errors.Is(err, gatehouse.ErrConflict) && !errors.Is(err, gatehouse.ErrNotFound):
			t.Errorf("%s: %v", what, err)
		}
	}
	if n != 1 {
		t.Errorf("%s was taken %d times, want once", what, n)
	}
}

// Sessions are born while their account is suspended; none may survive.
func TestNoSessionOutlivesItsAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "owner", "ada")
		active, suspended := []operator.State{operator.Active}, []operator.State{operator.Suspended}
		for round := range 5 {
			var group sync.WaitGroup
			for i := range 6 {
				group.Go(func() {
					if i == 3 {
						if err := s.SetState(ctx, "ada", operator.StateChange{From: active, To: operator.Suspended, At: day, Keep: operator.Owner}); err != nil {
							t.Errorf("SetState: %v", err)
						}
						return
					}
					v := operator.Session{ID: operator.SessionID(fmt.Sprint(round, "-", i)), Account: "ada", Created: day, Until: day.Add(time.Hour)}
					err := s.AddSession(ctx, operator.SessionRecord{Session: v, Hash: operator.Hash{byte(round), byte(i)}, Binding: operator.Hash{1}}, 20)
					if err != nil && !errors.Is(err, gatehouse.ErrConflict) {
						t.Errorf("AddSession: %v", err)
					}
				})
			}
			group.Wait()
			if left, err := s.Sessions(ctx, "ada"); err != nil || len(left) != 0 {
				t.Errorf("%d sessions of a suspended account, %v", len(left), err)
			}
			if err := s.SetState(ctx, "ada", operator.StateChange{From: suspended, To: operator.Active, At: day}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A request that is noted late undoes nothing that happened to its session meanwhile.
func TestALateTouchChangesNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada")
		first := operator.SessionRecord{Session: operator.Session{ID: "s", Account: "ada", Created: day, Seen: day, Proved: day, IdleUntil: day, Until: day}, Hash: operator.Hash{1}, MAC: "1"}
		if err := s.AddSession(ctx, first, 20); err != nil {
			t.Fatal(err)
		}
		touched := first
		touched.Session.Seen, touched.Session.IdleUntil, touched.MAC = day.Add(time.Minute), day.Add(time.Hour), "2"
		rotated := touched
		rotated.Session.Proved, rotated.Hash, rotated.MAC = day.Add(time.Minute), operator.Hash{2}, "3"
		late := first
		late.Session.Seen, late.MAC = day.Add(2*time.Minute), "4"
		check := func(what string, err error, want operator.SessionRecord) {
			t.Helper()
			got, again := s.Sessions(ctx, "ada")
			if err != nil || again != nil || len(got) != 1 || cmp.Diff(want, got[0]) != "" {
				t.Errorf("%s: %+v, %v", what, got, errors.Join(err, again))
			}
		}
		check("after a request", s.TouchSession(ctx, "1", touched), touched)
		check("after a factor", s.RotateSession(ctx, first.Hash, rotated), rotated)
		check("after a request that is late", s.TouchSession(ctx, "2", late), rotated)
		wantConflict(t, "a factor for a token of before", s.RotateSession(ctx, first.Hash, rotated))
	})
}

func TestADamagedOperatorHashIsSeen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada")
		if err := s.AddToken(ctx, operator.TokenRecord{Hash: operator.Hash{1}, Kind: "half", Account: "ada"}, false); err != nil {
			t.Fatal(err)
		}
		if err := s.AddSession(ctx, operator.SessionRecord{Session: operator.Session{ID: "s", Account: "ada", Created: day}, Hash: operator.Hash{1}}, 20); err != nil {
			t.Fatal(err)
		}
		raw := storetest.OpenRaw(t, dsn)
		raw.Exec("UPDATE operator_tokens SET binding = $1", []byte{1})
		raw.Exec("UPDATE operator_sessions SET binding = $1", []byte{1})
		if _, err := s.Token(ctx, operator.Hash{1}); err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("Token: %v, want an error without a kind", err)
		}
		if _, _, err := s.Session(ctx, operator.Hash{1}); err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("Session: %v, want an error without a kind", err)
		}
	})
}

func TestBrowserThatAnybodySignedInWith(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		s := withOperators(t, dsn, "ada", "bob")
		for i, id := range []operator.AccountID{"ada", "bob"} {
			v := operator.Session{ID: operator.SessionID("s" + id), Account: id, Created: day, Seen: day, Proved: day, IdleUntil: day.Add(time.Hour), Until: day.Add(time.Hour)}
			if err := s.AddSession(ctx, operator.SessionRecord{Session: v, Hash: operator.Hash{byte(i)}, Binding: operator.Hash{1}}, 20); err != nil {
				t.Fatal(err)
			}
		}
		for binding, want := range map[operator.Hash]bool{{1}: true, {2}: false} {
			if known, err := s.KnowsBrowser(ctx, binding); err != nil || known != want {
				t.Errorf("%x: %v, %v", binding[:1], known, err)
			}
		}
	})
}
