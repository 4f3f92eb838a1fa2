package operator_test

import (
	"slices"
	"testing"
	"time"

	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// Whoever writes to the database and has no root key makes no role, no passkey and no
// session out of what they have.
func TestChangedRowsGiveNothing(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		owner, low := w.join("ada", operator.Owner), w.joinWithCodes("bob", operator.Auditor)

		w.raw.Exec("INSERT INTO operator_grants (operator, role, since, until, mac) VALUES ($1, 'owner', 1, 0, '')", string(low.id))
		w.raw.Exec("INSERT INTO operator_grants (operator, role, since, until, mac) SELECT $1, 'security', since, until, mac FROM operator_grants WHERE operator = $2",
			string(low.id), string(owner.id))
		a, err := w.d.Account(ctx, low.id)
		if err != nil || len(a.Grants) != 1 || a.Grants[0].Role != operator.Auditor {
			t.Errorf("the grants are %v, %v; want the one that was given", a.Grants, err)
		}
		is(t, "with a grant that nobody gave", w.d.Authorise(ctx, low.by(), operator.OwnerChange), operator.ErrMay)
		if err := w.d.Authorise(ctx, low.by(), operator.LogRead); err != nil {
			t.Errorf("with the one that was given: %v", err)
		}
		w.raw.Exec("UPDATE operator_grants SET until = $2 WHERE operator = $1 AND role = 'auditor'", string(low.id), time.Now().Add(time.Hour).UnixMicro())
		is(t, "with a grant whose end was changed", w.d.Authorise(ctx, low.by(), operator.LogRead), operator.ErrMay)

		// A session that is made another account's.
		w.raw.Exec("UPDATE operator_sessions SET operator = $1 WHERE operator = $2", string(owner.id), string(low.id))
		low.alive("a session that was made the owner's", low.token, false)
		owner.alive("the owner's own", owner.token, true)

		// A link that is made another account's.
		victim, _ := w.invite("cleo", operator.Owner)
		_, e := w.invite("dan", operator.Auditor)
		w.raw.Exec("UPDATE operator_tokens SET operator = $1", string(victim.id))
		_, err = w.d.Enrolment(ctx, e.Enrolment)
		is(t, "a link that was made another account's", err, operator.ErrEnrolment)

		// A passkey that is made another account's.
		thief := w.join("eve", operator.Auditor)
		_, handles := w.raw.Query("SELECT handle FROM operators WHERE id = $1", string(owner.id))
		w.raw.Exec("UPDATE operator_passkeys SET operator = $1 WHERE operator = $2", string(owner.id), string(thief.id))
		thief.keys.Handle = handles[0][0].([]byte) //nolint:forcetypeassert // the column's type on both engines
		_, _, err = thief.signIn(thief.browser)
		is(t, "a passkey that was made the owner's", err, operator.ErrSignIn)
		if _, _, err := owner.signIn(owner.browser); err != nil {
			t.Errorf("the owner's own: %v", err)
		}

		// Half a sign-in that is made another account's, and a seed that is copied.
		low = w.joinWithCodes("fay", operator.Auditor)
		other := w.joinWithCodes("gus", operator.Owner)
		w.raw.Exec("UPDATE operators SET totp = (SELECT totp FROM operators WHERE id = $2), totp_step = 0 WHERE id = $1", string(other.id), string(low.id))
		_, _, err = other.signInWithCode(other.browser, low.next())
		is(t, "a seed that was copied", err, operator.ErrSignIn)
		half, err := w.d.SignInPassword(ctx, low.browser, low.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		w.raw.Exec("UPDATE operator_tokens SET operator = $1", string(other.id))
		_, _, err = w.d.SignInCode(ctx, low.browser, half, low.next())
		is(t, "a half that was made another account's", err, operator.ErrSignIn)

		// A password and a recovery code that were written there.
		known := "0123-4567-89ab-cdef"
		hash, err := factor.HashRecovery(string(other.id), known)
		if err != nil {
			t.Fatal(err)
		}
		w.raw.Exec("UPDATE operators SET password = (SELECT password FROM operators WHERE id = $2) WHERE id = $1", string(other.id), string(low.id))
		w.raw.Exec("INSERT INTO operator_recovery (operator, hash) VALUES ($1, $2)", string(other.id), hash[:])
		_, _, err = other.signInWithCode(other.browser, known)
		is(t, "a recovery code that nobody made", err, operator.ErrSignIn)

		// A session whose account's state was changed.
		w.raw.Exec("UPDATE operators SET state = 'suspended' WHERE id = $1", string(owner.id))
		owner.alive("a session of an account that is suspended", owner.token, false)
		w.raw.Exec("UPDATE operators SET state = 'active' WHERE id = $1", string(owner.id))
		owner.alive("of one that is active", owner.token, true)

		// Rows of another environment.
		w.raw.Exec("UPDATE operators SET environment = 'staging' WHERE id = $1", string(owner.id))
		owner.alive("a session of another environment", owner.token, false)
		_, _, err = owner.signIn(owner.browser)
		is(t, "an account of another environment", err, operator.ErrSignIn)
	})
}

// altering changes one column of a row after the other, and puts it back.
func (w *world) altering(table, id string, columns map[string]any, each func(column string)) {
	w.t.Helper()
	for column, to := range columns {
		_, was := w.raw.Query("SELECT "+column+" FROM "+table+" WHERE id = $1", id)
		w.raw.Exec("UPDATE "+table+" SET "+column+" = $2 WHERE id = $1", id, to)
		each(column)
		w.raw.Exec("UPDATE "+table+" SET "+column+" = $2 WHERE id = $1", id, was[0][0])
	}
}

// Whoever writes to the database prolongs no session, and makes none look as if its
// operator had just shown a factor, or another one asked for something.
func TestNobodyProlongsASession(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.join("ada", operator.Owner)
		w.join("bob", operator.Owner)
		later := time.Now().Add(1000 * time.Hour).UnixMicro()
		columns := map[string]any{
			"created": later, "seen": later, "proved": later, "idle_until": later, "until": later, "agent": "Other/1.0", "source": "192.0.2.2", "mac": "",
		}
		w.altering("operator_sessions", string(m.session.ID), columns, func(column string) {
			m.alive("a session whose column "+column+" was changed", m.token, false)
			is(t, "an act of a session whose column "+column+" was changed", w.d.Authorise(t.Context(), m.by(), operator.LogRead), operator.ErrSession)
			if got, err := w.d.Sessions(t.Context(), operator.Host(), m.id); err != nil || len(got) != 0 {
				t.Errorf("a session whose column %s was changed is listed: %+v, %v", column, got, err)
			}
			want := []operator.AlteredRow{{Kind: operator.RowSession, Account: m.id, Name: string(m.session.ID)}}
			if got, err := w.d.Altered(t.Context()); err != nil || !slices.Equal(got, want) {
				t.Errorf("a session whose column %s was changed: altered are %+v, %v", column, got, err)
			}
		})
		m.alive("one that is as it was", m.token, true)
		if got, err := w.d.Altered(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("altered are %+v, %v; want none", got, err)
		}
		if n := w.logged(`"operator.altered"`, string(m.session.ID)); n != 1 {
			t.Errorf("the log says %d times that a row was altered, want once an hour", n)
		}
		// What Gatehouse itself changes holds: a request, and a factor.
		w.pass(time.Minute)
		m.alive("after a minute", m.token, true)
		m.again()
		m.alive("after a factor", m.token, true)
		w.altering("operator_sessions", string(m.session.ID), map[string]any{"idle_until": later}, func(string) {
			m.alive("one that was changed an hour later", m.token, false)
		})
		if err := w.d.Authorise(t.Context(), m.by(), operator.LogRead); err != nil {
			t.Errorf("an act of one that is as it was: %v", err)
		}
	})
}

// A session that was noted by a request keeps its operator in, and one whose factor was
// shown again is fresh, whichever comes first.
func TestASessionHoldsThroughItsLife(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.join("ada", operator.Owner)
		for range 4 {
			w.pass(20 * time.Minute)
			m.alive("after a request in time", m.token, true)
		}
		options, ceremony, err := w.d.ProvePasskeyBegin(t.Context(), m.browser, m.token)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "a dangerous act of a session that is not fresh", w.d.Authorise(t.Context(), m.by(), operator.OperatorsChange), operator.ErrFresh)
		token, _, err := w.d.ProvePasskeyFinish(t.Context(), m.browser, m.token, ceremony, m.keys.Sign(options))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.d.Authorise(t.Context(), m.by(), operator.OperatorsChange); err != nil {
			t.Errorf("a dangerous act of a session that is fresh: %v", err)
		}
		w.pass(20 * time.Minute)
		m.alive("after a factor", token, true)
		m.alive("with the token of before", m.token, false)
		w.pass(operator.DefaultMaxSession)
		m.alive("beyond its longest time", token, false)
	})
}

// Whoever writes to the database approves nothing, and turns no approval into one of
// something else.
func TestNobodyForgesAnApproval(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		asker, other, third := w.join("ada", operator.Owner), w.join("bob", operator.Security), w.join("eve", operator.Security)
		later := time.Now().Add(1000 * time.Hour).UnixMicro()
		p := operator.Proposal{Act: operator.ActRevokeEverything, Target: "everything", Digest: operator.Digest(operator.ActRevokeEverything, "1")}
		waits, err := w.d.Propose(ctx, asker.by(), p)
		if err != nil {
			t.Fatal(err)
		}
		// An approval that nobody gave.
		columns := map[string]any{"state": "approved", "decided_by": string(other.id), "decided": later}
		for column, to := range columns {
			w.raw.Exec("UPDATE operator_approvals SET "+column+" = $2 WHERE id = $1", string(waits.ID), to)
		}
		needs(t, "with an approval that nobody gave", w.d.Allow(ctx, asker.by().With(waits.ID), p))
		if list, err := w.d.Approvals(ctx); err != nil || len(list) != 1 || list[0].State != operator.Altered {
			t.Errorf("it is listed as %+v, %v", list, err)
		}
		w.raw.Exec("UPDATE operator_approvals SET state = 'waiting', decided_by = '', decided = 0 WHERE id = $1", string(waits.ID))

		// One that waits, of something else than was asked for.
		w.altering("operator_approvals", string(waits.ID), map[string]any{
			"act": "backup.restore", "target": "nothing", "subject": string(third.id), "digest": "d", "asked_by": string(third.id), "asked": later, "until": later, "mac": "",
		}, func(column string) {
			refused(t, "approving one whose column "+column+" was changed", w.d.Approve(ctx, other.by(), waits.ID), "operator/approval-unknown")
		})
		if err := w.d.Approve(ctx, other.by(), waits.ID); err != nil {
			t.Fatalf("approving it as it was asked for: %v", err)
		}
		w.altering("operator_approvals", string(waits.ID), map[string]any{
			"target": "nothing", "subject": string(third.id), "asked": later, "until": later, "decided_by": string(third.id), "decided": later, "mac": "",
		}, func(column string) {
			needs(t, "using one whose column "+column+" was changed", w.d.Allow(ctx, asker.by().With(waits.ID), p))
		})
		more := p
		more.Digest = operator.Digest(operator.ActRevokeEverything, "2")
		w.altering("operator_approvals", string(waits.ID), map[string]any{"digest": more.Digest}, func(string) {
			needs(t, "using it for something else", w.d.Allow(ctx, asker.by().With(waits.ID), more))
		})
		needs(t, "using it for something else as it is", w.d.Allow(ctx, asker.by().With(waits.ID), more))
		if n := w.logged(`"operator.altered"`, string(waits.ID)); n != 1 && n != 2 { // about two accounts, or one
			t.Errorf("the log says %d times that the approval was altered", n)
		}
		if err := w.d.Allow(ctx, asker.by().With(waits.ID), p); err != nil {
			t.Errorf("using it as it was approved: %v", err)
		}
		w.raw.Exec("UPDATE operator_approvals SET state = 'approved', used = 0 WHERE id = $1", string(waits.ID))
		needs(t, "using it again", w.d.Allow(ctx, asker.by().With(waits.ID), p))
		// A withdrawn one is as it was when it was withdrawn.
		if _, err := w.d.Propose(ctx, asker.by(), p); err != nil {
			t.Fatal(err)
		}
		if err := w.d.HandOver(ctx, operator.Host(), asker.id, other.id); err != nil {
			t.Fatal(err)
		}
		list, err := w.d.Approvals(ctx)
		if err != nil || len(list) != 2 || list[0].State != operator.Withdrawn {
			t.Errorf("after it was withdrawn: %+v, %v", list, err)
		}
	})
}

// Nothing that is stored or logged is what was presented.
func TestNothingPresentedIsStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m, e := w.invite("ada", operator.Owner)
		m.addCodes(e)
		m.enrol(e)
		half, err := w.d.SignInPassword(t.Context(), m.browser, m.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		presented := append([]secret.Text{e.Enrolment, m.token, half, m.browser.Binding, secret.New(password), secret.New(m.seed)}, m.codes...)
		entries := w.entries()
		for _, table := range []string{"operators", "operator_grants", "operator_passkeys", "operator_recovery", "operator_tokens", "operator_sessions",
			"operator_browsers", "operator_limits", "operator_approvals", "operator_ceremonies"} {
			_, rows := w.raw.Query("SELECT * FROM " + table)
			for _, row := range rows {
				for _, v := range row {
					entries = append(entries, text(v))
				}
			}
		}
		for i, p := range presented {
			for _, e := range entries {
				if contains(e, p) {
					t.Errorf("secret %d is stored, or in the log", i)
				}
			}
		}
	})
}
