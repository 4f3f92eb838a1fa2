package operator_test

import (
	"context"
	"testing"
	"time"

	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// between is a store in which something happens just before a factor or a hand-over is
// written, after it was looked whether it may be.
type between struct {
	operator.Store
	first func()
}

func (m *between) happen() {
	if f := m.first; f != nil {
		m.first = nil
		f()
	}
}

func (m *between) AddPasskey(ctx context.Context, r operator.PasskeyRecord, by operator.Claim, most int) error {
	m.happen()
	return m.Store.AddPasskey(ctx, r, by, most)
}

func (m *between) SetPassword(ctx context.Context, id operator.AccountID, by operator.Claim, before, hash factor.PasswordHash) error {
	m.happen()
	return m.Store.SetPassword(ctx, id, by, before, hash)
}

func (m *between) PutRecovery(ctx context.Context, id operator.AccountID, by operator.Claim, hashes []operator.Hash) error {
	m.happen()
	return m.Store.PutRecovery(ctx, id, by, hashes)
}

func (m *between) AcceptTOTP(ctx context.Context, id operator.AccountID, by operator.Claim, random string, step int64) error {
	m.happen()
	return m.Store.AcceptTOTP(ctx, id, by, random, step)
}

func (m *between) SetProfile(ctx context.Context, id operator.AccountID, by operator.Claim, p operator.Naming) error {
	m.happen()
	return m.Store.SetProfile(ctx, id, by, p)
}

func (m *between) DropPasskey(ctx context.Context, account operator.AccountID, id operator.PasskeyID, by operator.Claim, able bool) error {
	m.happen()
	return m.Store.DropPasskey(ctx, account, id, by, able)
}

func (m *between) MoveGrants(ctx context.Context, move operator.GrantMove) error {
	m.happen()
	return m.Store.MoveGrants(ctx, move)
}

// What is taken from an heir, or from who hands over, while a hand-over is under way does
// not come back with it.
func TestHandOverBringsNoRoleBack(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	for what, c := range map[string]struct {
		giver, heir operator.Role
		end         time.Time // of the giver's role; zero for none
		meanwhile   func(context.Context, *operator.Directory, *member, *member) error
		rule        string
		want        operator.Role // the heir's only one
	}{
		"a role of the heir's own": {giver: operator.Auditor, heir: operator.Developer, want: operator.Auditor,
			meanwhile: func(ctx context.Context, d *operator.Directory, _, heir *member) error {
				return d.Revoke(ctx, operator.Host(), heir.id, operator.Developer)
			}},
		"the giver's": {giver: operator.Auditor, heir: operator.Developer, want: operator.Developer, rule: "operator/state",
			meanwhile: func(ctx context.Context, d *operator.Directory, giver, _ *member) error {
				return d.Revoke(ctx, operator.Host(), giver.id, operator.Auditor)
			}},
		"the giver's end": {giver: operator.Auditor, heir: operator.Developer, want: operator.Developer, rule: "operator/state",
			meanwhile: func(ctx context.Context, d *operator.Directory, giver, _ *member) error {
				return d.Grant(ctx, operator.Host(), giver.id, operator.Grant{Role: operator.Auditor, Until: soon})
			}},
		"the later end, which was the heir's": {giver: operator.Auditor, end: soon, heir: operator.Auditor, rule: "operator/state",
			meanwhile: func(ctx context.Context, d *operator.Directory, _, heir *member) error {
				return d.Revoke(ctx, operator.Host(), heir.id, operator.Auditor)
			}},
		"nothing": {giver: operator.Auditor, end: soon, heir: operator.Auditor, want: operator.Auditor,
			meanwhile: func(context.Context, *operator.Directory, *member, *member) error { return nil }},
	} {
		storetest.Each(t, func(t *testing.T, dsn string) {
			rows := &between{}
			w := newFaultyWorld(t, dsn, faults{store: func(s operator.Store) operator.Store { rows.Store = s; return rows }})
			ctx := t.Context()
			w.join("ada", operator.Owner)
			giver, heir := w.join("bob", c.giver), w.join("eve", c.heir)
			if !c.end.IsZero() {
				if err := w.d.Grant(ctx, operator.Host(), giver.id, operator.Grant{Role: c.giver, Until: c.end}); err != nil {
					t.Fatal(err)
				}
			}
			rows.first = func() {
				if err := c.meanwhile(ctx, w.d, giver, heir); err != nil {
					t.Errorf("%s: meanwhile: %v", what, err)
				}
			}
			err := w.d.HandOver(ctx, operator.Host(), giver.id, heir.id)
			if c.rule != "" {
				refused(t, "handing over while "+what+" went", err, c.rule)
			} else if err != nil {
				t.Errorf("handing over while %s went: %v", what, err)
			}
			a, err := w.d.Account(ctx, heir.id)
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" && len(a.Grants) > 0 || c.want != "" && (len(a.Grants) != 1 || a.Grants[0].Role != c.want || !a.Grants[0].Until.IsZero()) {
				t.Errorf("while %s went: after it the heir has %+v, want %q without an end", what, a.Grants, c.want)
			}
		})
	}
}

// Whoever holds a link that is replaced, or is in a session that is ended, leaves no
// factor behind, however close it is.
func TestNoFactorOutlivesWhatItWasAddedBy(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		rows := &between{}
		w := newFaultyWorld(t, dsn, faults{store: func(s operator.Store) operator.Store { rows.Store = s; return rows }})
		ctx := t.Context()
		w.join("ada", operator.Owner)

		thief, e := w.invite("bob", operator.Auditor)
		reinvite := func() {
			if _, _, err := w.d.Reinvite(ctx, operator.Host(), thief.id); err != nil {
				t.Fatalf("Reinvite: %v", err)
			}
		}
		options, ceremony, err := w.d.BeginPasskey(ctx, e)
		if err != nil {
			t.Fatal(err)
		}
		rows.first = reinvite
		is(t, "a passkey by a link that was replaced", w.d.FinishPasskey(ctx, e, ceremony, thief.keys.Register(options)), operator.ErrEnrolment)
		first := thief.id
		thief, e = w.invite("cleo", operator.Auditor)
		rows.first = reinvite
		is(t, "a password by a link that was replaced", w.d.SetPassword(ctx, e, secret.New(password)), operator.ErrEnrolment)
		for _, id := range []operator.AccountID{first, thief.id} {
			if a, err := w.d.Account(ctx, id); err != nil || a.Passkeys != 0 || a.Password {
				t.Errorf("the new link finds %d passkeys, password %t (%v)", a.Passkeys, a.Password, err)
			}
		}

		m := w.joinWithCodes("dan", operator.Auditor)
		end := func() {
			if err := w.d.EndSessions(ctx, operator.Host(), m.id); err != nil {
				t.Fatalf("EndSessions: %v", err)
			}
		}
		rows.first = end
		_, err = w.d.NewRecoveryCodes(ctx, m.self())
		is(t, "recovery codes in a session that was ended", err, operator.ErrSession)
		if m.token, m.session, err = m.signInWithCode(m.browser, m.next()); err != nil {
			t.Fatal(err)
		}
		totp, err := w.d.BeginTOTP(ctx, m.self())
		if err != nil {
			t.Fatal(err)
		}
		other := *m
		other.seed = totp.Seed.Reveal()
		rows.first = end
		is(t, "an app in a session that was ended", w.d.FinishTOTP(ctx, m.self(), other.code()), operator.ErrSession)
		if m.token, m.session, err = m.signInWithCode(m.browser, m.next()); err != nil {
			t.Fatal(err)
		}
		rows.first = end
		is(t, "an address in a session that was ended", w.d.SetProfile(ctx, m.self(), "Dan", "other@example.com"), operator.ErrSession)
		if m.token, m.session, err = m.signInWithCode(m.browser, m.next()); err != nil {
			t.Fatal(err)
		}
		m.addPasskey(m.self())
		keys, err := w.d.Passkeys(ctx, m.by())
		if err != nil || len(keys) != 1 {
			t.Fatalf("%d passkeys, %v", len(keys), err)
		}
		rows.first = end
		is(t, "removing a passkey in a session that was ended", w.d.RemovePasskey(ctx, m.self(), keys[0].ID), operator.ErrSession)
		if a, err := w.d.Account(ctx, m.id); err != nil || a.Email != m.email || a.Passkeys != 1 {
			t.Errorf("the account is %+v, %v", a, err)
		}
		// Near miss: nothing happened meanwhile.
		if m.token, m.session, err = m.signInWithCode(m.browser, m.next()); err != nil {
			t.Fatal(err)
		}
		if err := w.d.SetPassword(ctx, m.self(), secret.New(password+" indeed")); err != nil {
			t.Errorf("a password in a session that lasts: %v", err)
		}
		if err := w.d.SetProfile(ctx, m.self(), "Dan", "other@example.com"); err != nil {
			t.Errorf("an address in a session that lasts: %v", err)
		}
		if err := w.d.RemovePasskey(ctx, m.self(), keys[0].ID); err != nil {
			t.Errorf("removing a passkey in a session that lasts: %v", err)
		}
	})
}
