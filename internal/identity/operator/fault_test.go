package operator_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// failing is a store one of whose writes fails, before or after it took effect, as a
// process that dies there leaves it.
type failing struct {
	operator.Store
	// left counts the writes until the one that fails; below zero none does.
	left  atomic.Int64
	after bool
}

var errDied = errors.New("the process died")

func (f *failing) write(do func() error) error {
	n := f.left.Add(-1)
	if n == 0 && !f.after {
		return errDied
	}
	err := do()
	if n == 0 && err == nil {
		return errDied
	}
	return err
}

func (f *failing) AddAccount(ctx context.Context, r operator.AccountRecord) error {
	return f.write(func() error { return f.Store.AddAccount(ctx, r) })
}

func (f *failing) SetState(ctx context.Context, id operator.AccountID, c operator.StateChange) error {
	return f.write(func() error { return f.Store.SetState(ctx, id, c) })
}

func (f *failing) DropFactors(ctx context.Context, id operator.AccountID, at time.Time) error {
	return f.write(func() error { return f.Store.DropFactors(ctx, id, at) })
}

func (f *failing) AddToken(ctx context.Context, r operator.TokenRecord, alone bool) error {
	return f.write(func() error { return f.Store.AddToken(ctx, r, alone) })
}

func (f *failing) ClaimToken(ctx context.Context, hash, binding operator.Hash) error {
	return f.write(func() error { return f.Store.ClaimToken(ctx, hash, binding) })
}

func (f *failing) TakeCeremony(ctx context.Context, c operator.Hash, until time.Time) error {
	return f.write(func() error { return f.Store.TakeCeremony(ctx, c, until) })
}

func (f *failing) AddPasskey(ctx context.Context, r operator.PasskeyRecord, by operator.Claim, most int) error {
	return f.write(func() error { return f.Store.AddPasskey(ctx, r, by, most) })
}

func (f *failing) Enrol(ctx context.Context, hash operator.Hash, id operator.AccountID, at time.Time) error {
	return f.write(func() error { return f.Store.Enrol(ctx, hash, id, at) })
}

func (f *failing) AddSession(ctx context.Context, r operator.SessionRecord, most int) error {
	return f.write(func() error { return f.Store.AddSession(ctx, r, most) })
}

func (f *failing) UsePasskey(ctx context.Context, id operator.PasskeyID, before, after []byte, at time.Time, c operator.Hash, until time.Time) error {
	return f.write(func() error { return f.Store.UsePasskey(ctx, id, before, after, at, c, until) })
}

// Whichever write fails on the way from an invitation to a sign-in, the way can be
// gone again from its beginning by those who may go it, and nobody got in who has not
// gone it.
func TestNobodyIsStuckOrInAfterAFailedWrite(t *testing.T) {
	rows := &failing{}
	w := newFaultyWorld(t, storetest.SQLite(t), faults{store: func(s operator.Store) operator.Store { rows.Store = s; return rows }})
	ctx := t.Context()
	w.join("owner", operator.Owner)
	for _, after := range []bool{false, true} {
		rows.after = after
		for n := int64(1); ; n++ {
			email := "m" + time.Now().Format("150405.000000000") + "@example.com"
			rows.left.Store(n)
			m := &member{w: w, email: email, browser: browser("192.0.2.1")}
			failed := walk(ctx, m)
			reached := rows.left.Load() <= 0
			rows.left.Store(-1)
			if !reached {
				if failed != nil || n < 8 {
					t.Fatalf("after %d writes: %v", n-1, failed)
				}
				break // no write of the way is left to fail
			}
			if failed == nil {
				t.Errorf("write %d failed (after it took effect: %t), and nobody was told", n, after)
			}
			if _, _, err := w.d.Session(ctx, m.browser, m.token); failed != nil && err == nil {
				t.Errorf("write %d: there is a session although the way failed", n)
			}
			// Again: a new link if there is an account, and the rest from its beginning.
			accounts, err := w.d.Accounts(ctx)
			if err != nil {
				t.Fatal(err)
			}
			var id operator.AccountID
			for _, a := range accounts {
				if a.Email == email {
					id = a.ID
				}
			}
			if err := again(ctx, m, id); err != nil {
				t.Errorf("write %d (after it took effect: %t), gone again: %v", n, after, err)
			}
		}
	}
}

// walk goes from an invitation to a second sign-in.
func walk(ctx context.Context, m *member) error {
	link, account, err := m.w.d.Invite(ctx, operator.Host(), operator.Invitation{Name: m.email, Email: m.email, Role: operator.Auditor})
	if err != nil {
		return err
	}
	m.id = account.ID
	return rest(ctx, m, operator.EnrolmentOrSession{Browser: m.browser, Enrolment: link})
}

// again is walk for somebody who may have an account.
func again(ctx context.Context, m *member, id operator.AccountID) error {
	if id == "" {
		return walk(ctx, m)
	}
	link, _, err := m.w.d.Reinvite(ctx, operator.Host(), id)
	if err != nil {
		return err
	}
	return rest(ctx, m, operator.EnrolmentOrSession{Browser: m.browser, Enrolment: link})
}

func rest(ctx context.Context, m *member, e operator.EnrolmentOrSession) error {
	m.keys = m.w.authenticator()
	options, ceremony, err := m.w.d.BeginPasskey(ctx, e)
	if err != nil {
		return err
	}
	if err := m.w.d.FinishPasskey(ctx, e, ceremony, m.keys.Register(options)); err != nil {
		return err
	}
	if _, _, _, err = m.w.d.Enrol(ctx, e.Browser, e.Enrolment); err != nil {
		return err
	}
	token, s, err := m.signIn(m.browser)
	if err == nil {
		m.token, m.session = token, s
	}
	return err
}
