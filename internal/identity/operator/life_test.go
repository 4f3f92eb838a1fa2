package operator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

func TestALifeOfAnAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("owner", operator.Owner)
		link, account, err := w.d.Invite(ctx, owner.by(), operator.Invitation{Name: "Ada", Email: "ada@example.com", Role: operator.Developer, Until: w.now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		m := &member{w: w, id: account.ID, email: account.Email, browser: browser("192.0.2.4"), keys: owner.keys.Clone()}
		e := operator.EnrolmentOrSession{Browser: m.browser, Enrolment: link}
		m.addCodes(e)
		m.enrol(e)
		for what, in := range map[string]operator.Invitation{
			"without a name":          {Email: "b@example.com", Role: operator.Auditor},
			"without an address":      {Name: "b", Role: operator.Auditor},
			"without a role":          {Name: "b", Email: "b@example.com"},
			"with a role that isn't":  {Name: "b", Email: "b@example.com", Role: "root"},
			"with an end that's over": {Name: "b", Email: "b@example.com", Role: operator.Auditor, Until: w.now().Add(-time.Second)},
		} {
			_, _, err := w.d.Invite(ctx, owner.by(), in)
			is(t, "an invitation "+what, err, gatehouse.ErrInvalid)
		}
		_, _, err = w.d.Invite(ctx, owner.by(), operator.Invitation{Name: "b", Email: "ADA@example.com", Role: operator.Auditor})
		refused(t, "an address that is taken", err, "operator/email")
		_, _, err = w.d.Invite(ctx, m.by(), operator.Invitation{Name: "b", Email: "b@example.com", Role: operator.Auditor})
		is(t, "an invitation by a developer", err, operator.ErrMay)

		// The grant ends in the middle of the session.
		if err := w.d.Authorise(ctx, m.by(), operator.ServicesRead); err != nil {
			t.Errorf("before the grant's end: %v", err)
		}
		for range 3 {
			w.pass(20 * time.Minute)
			m.alive("the session", m.token, true)
			owner.alive("the owner's", owner.token, true)
		}
		is(t, "after the grant's end", w.d.Authorise(ctx, m.by(), operator.ServicesRead), operator.ErrMay)
		if err := w.d.Authorise(ctx, m.by(), operator.Self); err != nil {
			t.Errorf("one's own sessions after it: %v", err)
		}
		owner.again()
		if err := w.d.Grant(ctx, owner.by(), m.id, operator.Grant{Role: operator.Auditor}); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Authorise(ctx, m.by(), operator.OperatorsRead); err != nil {
			t.Errorf("with a new role: %v", err)
		}
		if err := w.d.Revoke(ctx, owner.by(), m.id, operator.Auditor); err != nil {
			t.Fatal(err)
		}
		is(t, "after it was revoked", w.d.Authorise(ctx, m.by(), operator.OperatorsRead), operator.ErrMay)
		refused(t, "revoking it again", w.d.Revoke(ctx, owner.by(), m.id, operator.Auditor), "operator/grant-unknown")
		refused(t, "granting to nobody", w.d.Grant(ctx, owner.by(), "nobody", operator.Grant{Role: operator.Auditor}), "operator/unknown")

		// Suspended, resumed, suspended twice.
		if err := w.d.Suspend(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		refused(t, "suspending again", w.d.Suspend(ctx, owner.by(), m.id), "operator/state")
		_, err = w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password))
		is(t, "signing in while suspended", err, operator.ErrSignIn)
		if err := w.d.Resume(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		refused(t, "resuming again", w.d.Resume(ctx, owner.by(), m.id), "operator/state")
		half, err := w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		// A half sign-in ends with the account, too.
		if err := w.d.Suspend(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Resume(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		_, _, err = w.d.SignInCode(ctx, m.browser, half, m.next())
		is(t, "a half of before it was suspended", err, operator.ErrSignIn)
		if _, _, err := m.signInWithCode(m.browser, m.next()); err != nil {
			t.Errorf("after it was resumed: %v", err)
		}

		// Factors that are lost.
		link, _, err = w.d.Reinvite(ctx, owner.by(), m.id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password))
		is(t, "the password of before the new link", err, operator.ErrSignIn)
		e = operator.EnrolmentOrSession{Browser: browser("192.0.2.5"), Enrolment: link}
		m.addCodes(e)
		m.enrol(e)

		// Removed: nothing is left but the identifier.
		if err := w.d.Remove(ctx, owner.by(), m.id); err != nil {
			t.Fatal(err)
		}
		a, err := w.d.Account(ctx, m.id)
		if err != nil || a.State != operator.Removed || a.Name != "" || a.Email != "" || len(a.Grants) != 0 || a.Password || a.TOTP || a.RecoveryLeft != 0 {
			t.Errorf("Account = %+v, %v; want an identifier only", a, err)
		}
		for _, table := range []string{"operator_grants", "operator_passkeys", "operator_recovery", "operator_tokens", "operator_sessions", "operator_browsers"} {
			if _, rows := w.raw.Query("SELECT operator FROM "+table+" WHERE operator = $1", string(m.id)); len(rows) != 0 {
				t.Errorf("%s holds %d rows of a removed account", table, len(rows))
			}
		}
		refused(t, "resuming a removed account", w.d.Resume(ctx, owner.by(), m.id), "operator/state")
		refused(t, "granting to a removed account", w.d.Grant(ctx, owner.by(), m.id, operator.Grant{Role: operator.Auditor}), "operator/state")
		_, _, err = w.d.Reinvite(ctx, owner.by(), m.id)
		refused(t, "a new link for a removed account", err, "operator/state")
		if _, _, err := w.d.Invite(ctx, owner.by(), operator.Invitation{Name: "Ada", Email: "ada@example.com", Role: operator.Auditor}); err != nil {
			t.Errorf("inviting the same person anew: %v", err)
		}
		for _, action := range []string{"invite", "enrol", "grant", "revoke", "suspend", "resume", "remove"} {
			if w.logged(`"operator.`+action+`"`, string(m.id), "done") == 0 {
				t.Errorf("the log does not hold the outcome of operator.%s", action)
			}
		}
	})
}

func TestHandingOver(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		from, to := w.join("ada", operator.Owner), w.join("bob", operator.Auditor)
		end := w.now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		for id, g := range map[operator.AccountID]operator.Grant{from.id: {Role: operator.Auditor, Until: end}, to.id: {Role: operator.Developer, Until: end}} {
			if err := w.d.Grant(ctx, from.by(), id, g); err != nil {
				t.Fatal(err)
			}
		}
		is(t, "handing over to oneself", w.d.HandOver(ctx, from.by(), from.id, from.id), gatehouse.ErrInvalid)
		is(t, "handing over as an auditor", w.d.HandOver(ctx, to.by(), from.id, to.id), operator.ErrMay)
		if err := w.d.Suspend(ctx, from.by(), to.id); err != nil {
			t.Fatal(err)
		}
		refused(t, "handing over to a suspended account", w.d.HandOver(ctx, from.by(), from.id, to.id), "operator/state")
		if err := w.d.Resume(ctx, from.by(), to.id); err != nil {
			t.Fatal(err)
		}
		if err := w.d.HandOver(ctx, from.by(), from.id, to.id); err != nil {
			t.Fatal(err)
		}
		from.alive("the session of who handed over", from.token, false)
		a, err := w.d.Account(ctx, to.id)
		// Of the role that both had, the later end, which is none.
		want := []operator.Grant{{Role: operator.Auditor}, {Role: operator.Developer, Until: end}, {Role: operator.Owner}}
		if err != nil || fmt.Sprint(a.Grants) != fmt.Sprint(want) {
			t.Errorf("the grants are %v, %v; want %v", a.Grants, err, want)
		}
		if a, err := w.d.Account(ctx, from.id); err != nil || len(a.Grants) != 0 || a.State != operator.Active {
			t.Errorf("who handed over is %+v, %v", a, err)
		}
	})
}

func TestTheLastOwnerStays(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner := w.join("ada", operator.Owner)
		other := w.join("bob", operator.Auditor)
		// Neither an owner for a time nor one who has not enrolled nor a suspended one
		// keeps the place.
		if err := w.d.Grant(ctx, operator.Host(), other.id, operator.Grant{Role: operator.Owner, Until: w.now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		w.invite("cleo", operator.Owner)
		gone := w.join("dan", operator.Owner)
		if err := w.d.Suspend(ctx, operator.Host(), gone.id); err != nil {
			t.Fatal(err)
		}
		host := operator.Host()
		for what, err := range map[string]error{
			"suspending": w.d.Suspend(ctx, host, owner.id), "removing": w.d.Remove(ctx, host, owner.id),
			"demoting":             w.d.Revoke(ctx, host, owner.id, operator.Owner),
			"giving an end":        w.d.Grant(ctx, host, owner.id, operator.Grant{Role: operator.Owner, Until: w.now().Add(time.Hour)}),
			"suspending one's own": w.d.Suspend(ctx, owner.by(), owner.id),
		} {
			is(t, what+" the last owner", err, operator.ErrLast)
		}
		owner.alive("the last owner's session", owner.token, true)
		if a, err := w.d.Account(ctx, owner.id); err != nil || !a.Is(operator.Owner, w.now().Add(24*365*time.Hour)) {
			t.Errorf("the last owner is %+v, %v", a, err)
		}
		// The others may go.
		for what, err := range map[string]error{
			"suspending": w.d.Suspend(ctx, host, other.id), "removing": w.d.Remove(ctx, host, gone.id),
		} {
			if err != nil {
				t.Errorf("%s another: %v", what, err)
			}
		}
		if err := w.d.Resume(ctx, host, other.id); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Grant(ctx, host, other.id, operator.Grant{Role: operator.Owner}); err != nil {
			t.Fatal(err)
		}
		if err := w.d.Revoke(ctx, host, owner.id, operator.Owner); err != nil {
			t.Errorf("demoting one of two: %v", err)
		}
		// A new link for the last owner, who has lost everything, is the host's to give.
		if _, _, err := w.d.Reinvite(ctx, host, other.id); err != nil {
			t.Errorf("a new link for the last owner: %v", err)
		}
	})
}

// Two owners act against each other at the same moment: one of them stays.
func TestOwnersWhoRemoveEachOther(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		host := operator.Host()
		for what, act := range map[string]func(operator.AccountID) error{
			"suspend": func(id operator.AccountID) error { return w.d.Suspend(ctx, host, id) },
			"remove":  func(id operator.AccountID) error { return w.d.Remove(ctx, host, id) },
			"demote":  func(id operator.AccountID) error { return w.d.Revoke(ctx, host, id, operator.Owner) },
			"end": func(id operator.AccountID) error {
				return w.d.Grant(ctx, host, id, operator.Grant{Role: operator.Owner, Until: w.now().Add(time.Hour)})
			},
		} {
			for range 4 {
				var ids []operator.AccountID
				accounts, err := w.d.Accounts(ctx)
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range accounts {
					if a.State == operator.Active && a.Is(operator.Owner, w.now().Add(1000*time.Hour)) {
						ids = append(ids, a.ID)
					}
				}
				for len(ids) < 2 {
					ids = append(ids, w.join(fmt.Sprintf("%s-%d", what, time.Now().UnixNano()), operator.Owner).id)
				}
				errs := make([]error, 2)
				var group sync.WaitGroup
				for i, id := range ids {
					group.Go(func() { errs[i] = act(id) })
				}
				group.Wait()
				if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), operator.ErrLast) {
					t.Errorf("%s: %v; want one to go through and the other to be the last", what, errs)
				}
			}
		}
	})
}

func TestIdleAccountsAreSuspended(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner, used, idle := w.join("ada", operator.Owner), w.join("bob", operator.Auditor), w.join("cleo", operator.Auditor)
		w.pass(operator.DefaultSuspendAfter - time.Minute)
		used.again()
		if n, err := w.d.Tend(ctx); err != nil || n != 0 {
			t.Errorf("just before: %d, %v; want none suspended", n, err)
		}
		w.pass(2 * time.Minute)
		if n, err := w.d.Tend(ctx); err != nil || n != 1 {
			t.Errorf("Tend suspended %d, %v; want 1", n, err)
		}
		for m, want := range map[*member]operator.State{owner: operator.Active, used: operator.Active, idle: operator.Suspended} {
			if a, err := w.d.Account(ctx, m.id); err != nil || a.State != want || want == operator.Suspended && a.Reason != "idle" {
				t.Errorf("%s is %s (%s), %v; want %s", m.email, a.State, a.Reason, err, want)
			}
		}
		owner.again()
		if err := w.d.Resume(ctx, owner.by(), idle.id); err != nil {
			t.Fatal(err)
		}
		if n, err := w.d.Tend(ctx); err != nil || n != 0 {
			t.Errorf("after it was resumed: %d, %v; want none suspended", n, err)
		}
		if w.logged("operator.suspend", string(idle.id), "idle", "gatehouse", "done") != 1 {
			t.Error("the log does not hold it")
		}
	})
}

// What is over does not pile up.
func TestWhatIsOverIsRemoved(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	m := w.joinWithCodes("ada", operator.Owner)
	m.addPasskey(m.self())
	m.again()
	w.invite("bob", operator.Auditor)
	if _, err := w.d.SignInPassword(ctx, m.browser, m.email, secret.New(password)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.d.Propose(ctx, m.by(), destroy("1")); err != nil {
		t.Fatal(err)
	}
	count := func(table string) int {
		_, rows := w.raw.Query("SELECT 1 FROM " + table)
		return len(rows)
	}
	tables := []string{"operator_sessions", "operator_tokens", "operator_ceremonies", "operator_approvals"}
	if _, err := w.d.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if count(table) == 0 {
			t.Errorf("%s is empty before anything is over", table)
		}
	}
	w.pass(401 * 24 * time.Hour)
	if _, err := w.d.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if n := count(table); n != 0 {
			t.Errorf("%s holds %d rows that are over", table, n)
		}
	}
}

// closedLog is an audit.Store that cannot be written while told so.
type closedLog struct {
	audit.Store
	closed atomic.Bool
}

func (l *closedLog) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if l.closed.Load() {
		return fmt.Errorf("the disk is full: %w", gatehouse.ErrUnavailable)
	}
	return l.Store.Append(ctx, expect, b)
}

// readOnly is a store that changes nothing while told so.
type readOnly struct {
	operator.Store
	only atomic.Bool
}

var errReadOnly = fmt.Errorf("reading only: %w", gatehouse.ErrUnavailable)

func (r *readOnly) SetState(ctx context.Context, id operator.AccountID, c operator.StateChange) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.SetState(ctx, id, c)
}

func (r *readOnly) Forget(ctx context.Context, id operator.AccountID, c operator.StateChange) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.Forget(ctx, id, c)
}

func (r *readOnly) DropGrant(ctx context.Context, id operator.AccountID, role operator.Role, at time.Time, keep operator.Role, decider bool) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.DropGrant(ctx, id, role, at, keep, decider)
}

func (r *readOnly) DropCloned(ctx context.Context, account operator.AccountID, id operator.PasskeyID) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.DropCloned(ctx, account, id)
}

func (r *readOnly) DropPasskey(ctx context.Context, account operator.AccountID, id operator.PasskeyID, by operator.Claim, able bool) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.DropPasskey(ctx, account, id, by, able)
}

func (r *readOnly) EndSession(ctx context.Context, account operator.AccountID, id operator.SessionID) error {
	if r.only.Load() {
		return errReadOnly
	}
	return r.Store.EndSession(ctx, account, id)
}

func (r *readOnly) EndSessions(ctx context.Context, account operator.AccountID, but operator.SessionID) (int, error) {
	if r.only.Load() {
		return 0, errReadOnly
	}
	return r.Store.EndSessions(ctx, account, but)
}

// writable waits until the log takes entries again.
func (w *world) writable() {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); w.log.State().Condition != audit.Writable; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%+v", w.log.State())
		}
	}
}

// reductions are five members whom something is taken from, and what takes it.
func (w *world) reductions(by operator.Actor) (members []*member, takes map[string]func() error, taken func(*testing.T)) {
	for i := range 5 {
		members = append(members, w.join(fmt.Sprintf("m%d", i), operator.Auditor))
	}
	ctx := w.t.Context()
	takes = map[string]func() error{
		"suspend":  func() error { return w.d.Suspend(ctx, by, members[0].id) },
		"remove":   func() error { return w.d.Remove(ctx, by, members[1].id) },
		"revoke":   func() error { return w.d.Revoke(ctx, by, members[2].id, operator.Auditor) },
		"sign out": func() error { return w.d.SignOut(ctx, members[3].browser, members[3].token) },
		"end all":  func() error { return w.d.EndSessions(ctx, by, members[4].id) },
	}
	return members, takes, func(t *testing.T) {
		t.Helper()
		for i, want := range []operator.State{operator.Suspended, operator.Removed, operator.Active, operator.Active, operator.Active} {
			a, err := w.d.Account(ctx, members[i].id)
			if err != nil || a.State != want || i == 2 && len(a.Grants) != 0 {
				t.Errorf("member %d is %+v, %v; want %s", i, a, err, want)
			}
			members[i].alive(fmt.Sprint("member ", i), members[i].token, i == 2)
		}
	}
}

// While the log cannot be written nobody signs in and nobody gets anything, but
// everything can be taken away.
func TestTakingAwayWhileTheLogIsClosed(t *testing.T) {
	log := &closedLog{}
	w := newFaultyWorld(t, storetest.SQLite(t), faults{audit: func(s audit.Store) audit.Store { log.Store = s; return log }, aside: t.TempDir()})
	ctx := t.Context()
	owner := w.join("owner", operator.Owner)
	_, takes, taken := w.reductions(owner.by())
	w.pass(operator.DefaultFresh) // a recent sign-in could not be had now
	log.closed.Store(true)
	_, _, err := owner.signIn(owner.browser)
	is(t, "signing in", err, gatehouse.ErrUnavailable)
	_, _, err = w.d.Invite(ctx, operator.Host(), operator.Invitation{Name: "x", Email: "x@example.com", Role: operator.Auditor})
	is(t, "inviting", err, gatehouse.ErrUnavailable)
	if accounts, err := w.d.Accounts(ctx); err != nil || len(accounts) != 6 {
		t.Errorf("%d accounts, %v; want no new one", len(accounts), err)
	}
	for what, take := range takes {
		if err := take(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	taken(t)
	log.closed.Store(false)
	w.writable()
	for _, action := range []string{"suspend", "remove", "revoke", "sign-out"} {
		if w.logged(`"operator.`+action+`"`, "allow") == 0 || w.logged(`"operator.`+action+`"`, "done") == 0 {
			t.Errorf("the log does not hold operator.%s afterwards", action)
		}
	}
}

// What cannot be taken away because nothing can be written is taken away before
// anything is given again.
func TestTakingAwayWhileNothingCanBeWritten(t *testing.T) {
	log, rows := &closedLog{}, &readOnly{}
	w := newFaultyWorld(t, storetest.SQLite(t), faults{
		audit: func(s audit.Store) audit.Store { log.Store = s; return log },
		store: func(s operator.Store) operator.Store { rows.Store = s; return rows },
		aside: t.TempDir(),
	})
	w.log.Redo(t.Context(), func(ctx context.Context, d audit.Deed) error {
		known, err := w.d.Redo(ctx, d)
		if !known {
			t.Errorf("a deed of kind %q is not this package's", d.Kind)
		}
		return err
	})
	if known, _ := w.d.Redo(t.Context(), audit.Deed{Kind: "handle"}); known {
		t.Error("a deed of another package is taken for one of this")
	}
	owner := w.join("owner", operator.Owner)
	members, takes, taken := w.reductions(owner.by())
	victim := w.join("victim", operator.Auditor)
	clone := victim.keys.Clone()
	victim.again()
	log.closed.Store(true)
	rows.only.Store(true)
	for what, take := range takes {
		if err := take(); wire.RuleOf(err) != "log/deferred" {
			t.Errorf("%s: %v, want it noted", what, err)
		}
	}
	// Until then who reads only is held to it.
	for i, m := range members {
		m.alive(fmt.Sprint("meanwhile member ", i), m.token, i == 2)
	}
	if a, err := w.d.Account(t.Context(), members[2].id); err != nil || a.May(operator.LogRead, w.now()) {
		t.Errorf("meanwhile a role that was taken away: %+v, %v", a, err)
	}
	victim.alive("meanwhile somebody else", victim.token, true)
	victim.keys = clone
	_, _, err := victim.signIn(victim.browser)
	is(t, "a cloned passkey", err, operator.ErrSignIn)
	is(t, "a cloned passkey that cannot be taken away", err, gatehouse.ErrUnavailable)
	victim.alive("meanwhile whose passkey there is twice", victim.token, false)
	// Whoever is to go decides nothing any more.
	if a, err := w.d.Account(t.Context(), members[0].id); err != nil || a.State != operator.Suspended {
		t.Errorf("meanwhile somebody who is to be suspended: %+v, %v", a, err)
	}
	// One that will be refused when its turn comes does not hold up the others.
	_ = w.d.Suspend(t.Context(), operator.Host(), owner.id)
	owner.alive("meanwhile the last owner", owner.token, true)
	if _, err := w.d.Redo(t.Context(), audit.Deed{Kind: "operator-suspend", Target: string(owner.id)}); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Errorf("done while nothing can be written: %v", err)
	}
	owner.alive("meanwhile the last owner, whose turn came too early", owner.token, true)
	log.closed.Store(false)
	rows.only.Store(false)
	w.writable()
	taken(t)
	owner.alive("the last owner", owner.token, true)
	// Done is done: who comes back is in, and has what they are given.
	if err := errors.Join(w.d.Resume(t.Context(), operator.Host(), members[0].id), w.d.Grant(t.Context(), operator.Host(), members[2].id, operator.Grant{Role: operator.Auditor})); err != nil {
		t.Fatal(err)
	}
	members[0].again()
	members[0].alive("who was resumed", members[0].token, true)
	if a, err := w.d.Account(t.Context(), members[2].id); err != nil || !a.May(operator.LogRead, w.now()) {
		t.Errorf("a role that was given again: %+v, %v", a, err)
	}
	if a, err := w.d.Account(t.Context(), victim.id); err != nil || a.Passkeys != 0 {
		t.Errorf("the cloned passkey: %d, %v; want it taken away", a.Passkeys, err)
	}
}

// meanwhile is a store between whose look at all accounts and what follows something
// happens.
type meanwhile struct {
	operator.Store
	happens func()
}

func (m *meanwhile) Accounts(ctx context.Context) ([]operator.AccountRecord, error) {
	all, err := m.Store.Accounts(ctx)
	if m.happens != nil {
		m.happens()
	}
	return all, err
}

// An operator who signs in while idle accounts are looked for is not idle.
func TestWhoSignsInMeanwhileIsNotIdle(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		rows := &meanwhile{}
		w := newFaultyWorld(t, dsn, faults{store: func(s operator.Store) operator.Store { rows.Store = s; return rows }})
		w.join("owner", operator.Owner)
		m := w.join("ada", operator.Auditor)
		w.pass(operator.DefaultSuspendAfter + time.Minute)
		rows.happens = func() { m.again() }
		if n, err := w.d.Tend(t.Context()); err != nil || n != 0 {
			t.Errorf("Tend suspended %d, %v; want none", n, err)
		}
		rows.happens = nil
		m.alive("the session", m.token, true)
	})
}
