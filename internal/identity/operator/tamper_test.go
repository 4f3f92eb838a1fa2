package operator_test

import (
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

		// A session whose idle end, or whose account's state, was changed.
		w.raw.Exec("UPDATE operator_sessions SET idle_until = $2 WHERE operator = $1", string(owner.id), time.Now().Add(1000*time.Hour).UnixMicro())
		w.raw.Exec("UPDATE operators SET state = 'suspended' WHERE id = $1", string(owner.id))
		owner.alive("a session of an account that is suspended", owner.token, false)
		w.raw.Exec("UPDATE operators SET state = 'active' WHERE id = $1", string(owner.id))
		owner.alive("of one that is active", owner.token, true)
		w.pass(operator.DefaultMaxSession)
		owner.alive("beyond its longest time", owner.token, false)
		w.pass(-operator.DefaultMaxSession)

		// Rows of another environment.
		w.raw.Exec("UPDATE operators SET environment = 'staging' WHERE id = $1", string(owner.id))
		owner.alive("a session of another environment", owner.token, false)
		_, _, err = owner.signIn(owner.browser)
		is(t, "an account of another environment", err, operator.ErrSignIn)
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
