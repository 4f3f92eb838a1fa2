package operator_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

func TestSigningInWithAPasskey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.join("ada", operator.Owner)
		b := browser("192.0.2.2")
		options, ceremony, err := w.d.SignInPasskeyBegin(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		answer := m.keys.Sign(options)

		// Another browser has no use for the answer, nor has another ceremony.
		_, _, err = w.d.SignInPasskeyFinish(ctx, browser("192.0.2.2"), ceremony, answer)
		is(t, "another browser", err, operator.ErrSignIn)
		_, other, err := w.d.SignInPasskeyBegin(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = w.d.SignInPasskeyFinish(ctx, b, other, answer)
		is(t, "another ceremony", err, operator.ErrSignIn)
		body, mac, _ := strings.Cut(ceremony, ".")
		for what, changed := range map[string]string{
			"no MAC": body, "another MAC": body + "." + strings.Repeat("0", len(mac)), "another body": "e30." + mac, "nothing": "", "too much": strings.Repeat("a", 20000),
		} {
			_, _, err = w.d.SignInPasskeyFinish(ctx, b, changed, answer)
			is(t, "a ceremony with "+what, err, operator.ErrSignIn)
		}
		_, _, err = w.d.SignInPasskeyFinish(ctx, b, ceremony, []byte("{}"))
		is(t, "another answer", err, operator.ErrSignIn)

		// The near miss of all these works, once.
		token, s, err := w.d.SignInPasskeyFinish(ctx, b, ceremony, answer)
		if err != nil {
			t.Fatalf("signing in: %v", err)
		}
		if s.Account != m.id || !s.Current || s.Source != "192.0.2.2" {
			t.Errorf("the session is %+v", s)
		}
		_, _, err = w.d.SignInPasskeyFinish(ctx, b, ceremony, answer)
		is(t, "the answer again", err, operator.ErrSignIn)
		if got, a, err := w.d.Session(ctx, b, token); err != nil || got.ID != s.ID || a.ID != m.id {
			t.Errorf("Session = %+v, %+v, %v", got, a, err)
		}

		// A ceremony ends.
		options, ceremony, err = w.d.SignInPasskeyBegin(ctx, b)
		if err != nil {
			t.Fatal(err)
		}
		answer = m.keys.Sign(options)
		w.pass(5 * time.Minute)
		_, _, err = w.d.SignInPasskeyFinish(ctx, b, ceremony, answer)
		is(t, "a ceremony that took too long", err, operator.ErrSignIn)
		if w.logged("operator.sign-in", string(m.id), "passkey", "done") != 1 {
			t.Error("the log does not hold the sign-in once")
		}
	})
}

// One answer arrives twice at the same moment.
func TestOneAnswerSignsInOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.join("ada", operator.Owner)
		m.keys.Step = 0 // a passkey that does not count, as most: the store has to see to it
		m.keys.Counter = 0
		m2, e := w.invite("bob", operator.Auditor)
		m2.keys.Step, m2.keys.Counter = 0, 0
		m2.addPasskey(e)
		m2.enrol(e)
		b := browser("192.0.2.2")
		options, ceremony, err := w.d.SignInPasskeyBegin(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		answer := m2.keys.Sign(options)
		errs := make([]error, 6)
		var group sync.WaitGroup
		for i := range errs {
			group.Go(func() { _, _, errs[i] = w.d.SignInPasskeyFinish(t.Context(), b, ceremony, answer) })
		}
		group.Wait()
		once(t, "sign-ins with one answer", errs)
	})
}

// once checks that exactly one of several got through, and that the others were told
// what everybody is told.
func once(t *testing.T, what string, errs []error) {
	t.Helper()
	n := 0
	for _, err := range errs {
		if err == nil {
			n++
		} else if !errors.Is(err, operator.ErrSignIn) {
			t.Errorf("%s: %v, want ErrSignIn", what, err)
		}
	}
	if n != 1 {
		t.Errorf("%s: %d got through, want 1", what, n)
	}
}

func TestAClonedPasskeyIsTakenAway(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.join("ada", operator.Owner)
		clone := m.keys.Clone()
		for range 3 {
			if _, _, err := m.signIn(m.browser); err != nil {
				t.Fatal(err)
			}
		}
		mine := m.keys
		m.keys = clone
		_, _, err := m.signIn(browser("203.0.113.9"))
		is(t, "the clone", err, operator.ErrSignIn)
		m.keys = mine
		_, _, err = m.signIn(m.browser)
		is(t, "the other one, after that", err, operator.ErrSignIn)
		if a, err := w.d.Account(t.Context(), m.id); err != nil || a.Passkeys != 0 {
			t.Errorf("the account has %d passkeys, %v; want none", a.Passkeys, err)
		}
		if w.logged("operator.cloned", string(m.id)) == 0 {
			t.Error("the log does not hold it")
		}
	})
}

func TestSigningInWithPasswordAndCode(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Owner)
		b := browser("192.0.2.2")

		// The code that proved the enrolment is used up.
		_, _, err := m.signInWithCode(b, m.code())
		is(t, "the enrolment's code", err, operator.ErrSignIn)
		half, err := w.d.SignInPassword(ctx, b, "ADA@example.com ", secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		code := m.next()
		_, _, err = w.d.SignInCode(ctx, browser("192.0.2.2"), half, code)
		is(t, "another browser's code", err, operator.ErrSignIn)
		_, _, err = w.d.SignInCode(ctx, b, half, "000000")
		is(t, "a wrong code", err, operator.ErrSignIn)
		_, _, err = w.d.SignInCode(ctx, b, secret.New(half.Reveal()+"x"), code)
		is(t, "another half", err, operator.ErrSignIn)
		_, _, err = w.d.ProveCode(ctx, b, m.token, half, code)
		is(t, "a half of a sign-in as proof in another browser's session", err, operator.ErrSession)
		token, s, err := w.d.SignInCode(ctx, b, half, code)
		if err != nil || s.Account != m.id {
			t.Fatalf("signing in: %+v, %v", s, err)
		}
		if _, _, err := w.d.Session(ctx, b, token); err != nil {
			t.Errorf("its session: %v", err)
		}
		_, _, err = w.d.SignInCode(ctx, b, half, m.next())
		is(t, "the half again", err, operator.ErrSignIn)
		_, _, err = m.signInWithCode(b, code)
		is(t, "the code again", err, operator.ErrSignIn)

		// A half ends.
		if half, err = w.d.SignInPassword(ctx, b, m.email, secret.New(password)); err != nil {
			t.Fatal(err)
		}
		w.pass(5 * time.Minute)
		_, _, err = w.d.SignInCode(ctx, b, half, m.next())
		is(t, "a half that is over", err, operator.ErrSignIn)
	})
}

// One code arrives at the same moment with two halves, and one half with two codes.
func TestOneCodeSignsInOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.joinWithCodes("ada", operator.Owner)
		var halves []secret.Text
		for range 4 {
			half, err := w.d.SignInPassword(t.Context(), m.browser, m.email, secret.New(password))
			if err != nil {
				t.Fatal(err)
			}
			halves = append(halves, half)
		}
		code := m.next()
		errs := make([]error, len(halves))
		var group sync.WaitGroup
		for i, half := range halves {
			group.Go(func() { _, _, errs[i] = w.d.SignInCode(t.Context(), m.browser, half, code) })
		}
		group.Wait()
		once(t, "sign-ins with one code", errs)

		half, err := w.d.SignInPassword(t.Context(), m.browser, m.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		errs = make([]error, 4)
		for i := range errs {
			group.Go(func() { _, _, errs[i] = w.d.SignInCode(t.Context(), m.browser, half, m.codes[i].Reveal()) })
		}
		group.Wait()
		once(t, "sign-ins with one half", errs)
	})
}

func TestRecoveryCodes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		m := w.joinWithCodes("ada", operator.Owner)
		if a, _ := w.d.Account(t.Context(), m.id); a.RecoveryLeft != len(m.codes) {
			t.Errorf("%d recovery codes are left, want %d", a.RecoveryLeft, len(m.codes))
		}
		code := m.codes[3].Reveal()
		half, err := w.d.SignInPassword(t.Context(), m.browser, m.email, secret.New(password))
		if err != nil {
			t.Fatal(err)
		}
		wrong := "0" + code[1:]
		if wrong == code {
			wrong = "1" + code[1:]
		}
		_, _, err = w.d.SignInCode(t.Context(), m.browser, half, wrong)
		is(t, "a wrong recovery code", err, operator.ErrSignIn)
		// A mistyped code leaves the half for another try.
		if _, _, err := w.d.SignInCode(t.Context(), m.browser, half, strings.ToUpper(code)); err != nil {
			t.Errorf("a recovery code: %v", err)
		}
		_, _, err = m.signInWithCode(m.browser, code)
		is(t, "the same again", err, operator.ErrSignIn)
		if a, _ := w.d.Account(t.Context(), m.id); a.RecoveryLeft != len(m.codes)-1 {
			t.Errorf("%d recovery codes are left, want %d", a.RecoveryLeft, len(m.codes)-1)
		}
		codes, err := w.d.NewRecoveryCodes(t.Context(), m.self())
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.signInWithCode(m.browser, m.codes[4].Reveal())
		is(t, "one of before", err, operator.ErrSignIn)
		if _, _, err := m.signInWithCode(m.browser, codes[0].Reveal()); err != nil {
			t.Errorf("a new one: %v", err)
		}
		if w.logged("operator.sign-in", "password+recovery", "done") != 2 {
			t.Error("the log does not say that recovery codes were used")
		}
		for _, c := range append(codes, m.codes...) {
			if w.logged(c.Reveal()) != 0 {
				t.Error("the log holds a recovery code")
			}
		}
	})
}

// Whoever does not get in is told the same in every case, and the password is hashed
// once in every case.
func TestRefusalsAreAlike(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	owner := w.join("owner", operator.Owner)
	active := w.joinWithCodes("active", operator.Auditor)
	suspended := w.joinWithCodes("suspended", operator.Auditor)
	removed := w.joinWithCodes("removed", operator.Auditor)
	invited, e := w.invite("invited", operator.Auditor)
	invited.addCodes(e)
	if err := w.d.Suspend(ctx, owner.by(), suspended.id); err != nil {
		t.Fatal(err)
	}
	if err := w.d.Remove(ctx, owner.by(), removed.id); err != nil {
		t.Fatal(err)
	}
	text := ""
	for what, try := range map[string]struct{ email, password string }{
		"a wrong password":                 {active.email, password + "x"},
		"no password":                      {active.email, ""},
		"an account without a password":    {owner.email, password},
		"a suspended account's":            {suspended.email, password},
		"a suspended account's wrong one":  {suspended.email, "x"},
		"a removed account's":              {removed.email, password},
		"an invited account's":             {invited.email, password},
		"an account that does not exist's": {"nobody@example.com", password},
		"what is no address":               {"\x00' OR 1=1 --", password},
		"an address that never ends":       {strings.Repeat("a", 1<<16), password},
		"no address":                       {"", password},
		"a password that never ends":       {active.email, strings.Repeat("a", 1<<20)},
	} {
		before := hashes(w)
		_, err := w.d.SignInPassword(ctx, browser("192.0.2.3"), try.email, secret.New(try.password))
		is(t, what, err, operator.ErrSignIn)
		if text == "" {
			text = err.Error()
		}
		if err.Error() != text || wire.StatusOf(err) != 401 {
			t.Errorf("%s: %q with %d, want what everybody is told: %q with 401", what, err, wire.StatusOf(err), text)
		}
		if n := hashes(w) - before; n != 1 {
			t.Errorf("%s: %d passwords were hashed, want 1", what, n)
		}
	}
	if _, err := w.d.SignInPassword(ctx, browser("192.0.2.3"), active.email, secret.New(password)); err != nil {
		t.Errorf("the right password: %v", err)
	}
	if w.logged("operator.refuse", "example.com")+w.logged("operator.refuse", "OR 1=1") != 0 {
		t.Error("the log holds what was typed")
	}
	// A browser that keeps no cookie is told so, before anything is looked at.
	for _, binding := range []string{"", "short", strings.Repeat("a", 200)} {
		b := browser("192.0.2.3")
		b.Binding = secret.New(binding)
		_, err := w.d.SignInPassword(ctx, b, active.email, secret.New(password))
		refused(t, "a browser without a cookie", err, "operator/browser")
	}
}

// Somebody who tries much from elsewhere does not keep the operator out.
func TestAttackersDoNotLockOut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		ctx := t.Context()
		m := w.joinWithCodes("ada", operator.Owner)
		m.addPasskey(m.self())
		known := m.browser

		attacker := browser("203.0.113.5")
		tries := 0
		for ; tries < 100; tries++ {
			_, err := w.d.SignInPassword(ctx, attacker, m.email, secret.New("wrong"))
			if !errors.Is(err, operator.ErrSignIn) {
				is(t, "after many tries", err, operator.ErrLocked)
				var locked *operator.Locked
				if !errors.As(err, &locked) || !locked.Until.After(w.now()) || locked.Until.After(w.now().Add(15*time.Minute)) ||
					!errors.Is(err, gatehouse.ErrLimited) || wire.StatusOf(err) != 429 {
					t.Errorf("the lock is %+v with %d, want it to end within 15 minutes", locked, wire.StatusOf(err))
				}
				break
			}
		}
		if tries != 6 {
			t.Errorf("%d tries were taken from one source, want 6", tries)
		}
		_, err := w.d.SignInPassword(ctx, attacker, m.email, secret.New(password))
		is(t, "the right password from there", err, operator.ErrLocked)
		_, err = w.d.SignInPassword(ctx, browser("203.0.113.5"), "other@example.com", secret.New(password))
		is(t, "another account from there", err, operator.ErrSignIn)

		// From many sources, the account's password closes for strangers …
		tries = 0
		for i := range 40 {
			b := browser("198.51.100." + string(rune('1'+i%9)))
			b.Binding = secret.New(rand.Text())
			if _, err := w.d.SignInPassword(ctx, b, m.email, secret.New("wrong")); errors.Is(err, operator.ErrLocked) {
				break
			}
			tries++
		}
		if tries > 30 {
			t.Errorf("%d tries were taken from many sources, want at most 30", tries)
		}
		stranger := browser("192.0.2.77")
		_, err = w.d.SignInPassword(ctx, stranger, m.email, secret.New(password))
		is(t, "a new browser's right password meanwhile", err, operator.ErrLocked)

		// … but not for the browser that the operator has signed in with, from whatever
		// address, nor for a passkey in any browser.
		known.Source = attacker.Source
		half, err := w.d.SignInPassword(ctx, known, m.email, secret.New(password))
		if err != nil {
			t.Fatalf("the operator's own browser: %v", err)
		}
		if _, _, err := w.d.SignInCode(ctx, known, half, m.next()); err != nil {
			t.Errorf("the operator's own browser: %v", err)
		}
		if _, _, err := m.signIn(stranger); err != nil {
			t.Errorf("a passkey in a new browser: %v", err)
		}
		// One entry says that it was locked, for each kind of room that was full.
		if n := w.logged("operator.locked"); n < 2 || n > 3 {
			t.Errorf("%d entries say that it is locked, want 2 or 3", n)
		}
		w.pass(15 * time.Minute)
		if _, err := w.d.SignInPassword(ctx, browser("192.0.2.78"), m.email, secret.New(password)); err != nil {
			t.Errorf("a new browser, afterwards: %v", err)
		}
		// A clock that is set back makes nobody wait longer than the window.
		w.pass(-24 * time.Hour)
		for range 8 {
			_, err = w.d.SignInPassword(ctx, attacker, m.email, secret.New("wrong"))
		}
		var locked *operator.Locked
		if !errors.As(err, &locked) || locked.Until.After(w.now().Add(15*time.Minute)) {
			t.Errorf("after the clock was set back: %v, until %+v", err, locked)
		}
	})
}

// Answers that cannot be guessed are judged however many come from one address, which
// may be a proxy's; not all of them are written down.
func TestManyWrongAnswersKeepNobodyOut(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	m := w.join("ada", operator.Owner)
	b := browser("127.0.0.1")
	_, ceremony, err := w.d.SignInPasskeyBegin(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for range 70 {
		_, _, err := w.d.SignInPasskeyFinish(t.Context(), b, ceremony, []byte("{}"))
		is(t, "a wrong answer", err, operator.ErrSignIn)
	}
	if n := w.logged("operator.refuse"); n != 60 {
		t.Errorf("%d refusals are in the log, want 60", n)
	}
	if _, _, err := m.signIn(b); err != nil {
		t.Errorf("a right answer from there: %v", err)
	}
}

// Who knows the password gets few tries at the code, and takes none from the
// operator's own browser.
func TestCodesAreNotGuessed(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t))
	ctx := t.Context()
	m := w.joinWithCodes("ada", operator.Owner)
	tried, locked := 0, false
	for i := 0; i < 30 && !locked; i++ {
		half, err := w.d.SignInPassword(ctx, browser("203.0.113."+string(rune('1'+i%9))), m.email, secret.New(password))
		if errors.Is(err, operator.ErrLocked) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = half
	}
	b := browser("203.0.113.77")
	w.pass(20 * time.Minute)
	half, err := w.d.SignInPassword(ctx, b, m.email, secret.New(password))
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, _, err := w.d.SignInCode(ctx, b, half, "000000")
		is(t, "a wrong code", err, operator.ErrSignIn)
		tried++
	}
	_, _, err = w.d.SignInCode(ctx, b, half, m.next())
	is(t, "the right code after five wrong ones", err, operator.ErrSignIn)
	if half, err = w.d.SignInPassword(ctx, b, m.email, secret.New(password)); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		_, _, err = w.d.SignInCode(ctx, b, half, "000000")
	}
	_, _, err = w.d.SignInCode(ctx, b, half, m.next())
	is(t, "the right code after ten tries", err, operator.ErrLocked)
	if _, _, err := m.signInWithCode(m.browser, m.next()); err != nil {
		t.Errorf("the operator's own browser: %v", err)
	}
}

// hashes counts the passwords that were hashed.
func hashes(w *world) int64 { return w.hashed.Load() }
