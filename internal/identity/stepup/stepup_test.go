package stepup_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"

	"github.com/golang-jwt/jwt/v5"
)

func TestFirstFactorThenProof(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, method := range stepup.Methods() {
			subject := "ada-" + string(method)
			h := w.human(subject)
			id, v := h.begin(ask(subject))
			if p := v.Page; p.Step != stepup.Setup || !p.Passkey || !p.TOTP || !p.First || p.Reason != "Delete the account" || p.Account != subject+"@example.com" || p.Origin != "https://app.example.com" {
				t.Fatalf("the first page is %+v", v.Page)
			}
			to := ""
			if method == stepup.TOTP {
				to = h.setUpTOTP(id)
			} else {
				to = h.setUpPasskey(id)
			}
			if len(h.codes) != factor.RecoveryCodes {
				t.Errorf("%d recovery codes", len(h.codes))
			}
			// Nothing counts before the app has redeemed.
			if held, err := w.stepups.Holds(t.Context(), "web", gatehouse.Subject(subject)); err != nil || len(held.Methods) > 0 || held.RecoveryLeft > 0 {
				t.Errorf("before it is redeemed, the person has %+v, %v", held, err)
			}
			r := w.redeem(id, to, subject)
			if r.Method != method || r.Enrolled != method || r.RecoveryLeft != factor.RecoveryCodes || r.ID != id || r.Proved.IsZero() {
				t.Errorf("the result is %+v", r)
			}
			if held, err := w.stepups.Holds(t.Context(), "web", gatehouse.Subject(subject)); err != nil || !slices.Equal(held.Methods, []stepup.Method{method}) || held.RecoveryLeft != 10 {
				t.Errorf("the person has %+v, %v", held, err)
			}
			id, v = h.begin(ask(subject))
			if p := v.Page; p.Step != stepup.Prove || p.Passkey != (method == stepup.Passkey) || p.TOTP != (method == stepup.TOTP) || !p.Recovery {
				t.Fatalf("the second page is %+v", v.Page)
			}
			var err error
			if method == stepup.TOTP {
				v, err = h.types(id, h.code(1))
			} else {
				v, err = h.touch(id)
			}
			if err != nil || v.To == "" {
				t.Fatalf("proving: %+v, %v", v, err)
			}
			if r := w.redeem(id, v.To, subject); r.Method != method || r.Enrolled != "" || time.Since(r.Proved) > time.Minute {
				t.Errorf("the result is %+v", r)
			}
		}
		if got, want := w.events(), []string{"stepup.enrolled ada-passkey passkey", "stepup.enrolled ada-totp totp"}; !slices.Equal(got, want) {
			t.Errorf("the app was told %q, want %q", got, want)
		}
	})
}

// The token is verified by somebody else's library, with the key that the app fetches.
func TestResultIsSigned(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		r := w.redeem(id, h.setUpPasskey(id), "ada")
		verify := func(token string, version int) (jwt.MapClaims, error) {
			keys, err := w.stepups.PublicKeys(t.Context())
			if err != nil || len(keys) == 0 || len(keys) > 2 {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			c := jwt.MapClaims{}
			_, err = jwt.ParseWithClaims(token, c, func(token *jwt.Token) (any, error) {
				for _, k := range keys {
					if k.ID == token.Header["kid"] {
						x, err := base64.RawURLEncoding.DecodeString(k.X)
						return ed25519.PublicKey(x), err
					}
				}
				return nil, errors.New("no such key")
			}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer(publicURL), jwt.WithAudience("web"), jwt.WithSubject("ada"), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
			return c, err
		}
		c, err := verify(r.Token, 1)
		if err != nil {
			t.Fatal(err)
		}
		if c["jti"] != id || c["method"] != "passkey" || c["enrolled"] != "passkey" || c["reason"] != "Delete the account" || c["auth_time"].(float64) < float64(time.Now().Add(-time.Minute).Unix()) {
			t.Errorf("the claims are %v", c)
		}
		parts := strings.Split(r.Token, ".")
		forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(mustDecode(t, parts[1]), `"ada"`, `"bob"`, 1))) + "." + parts[2]
		if _, err := verify(forged, 1); err == nil {
			t.Error("a token with another subject is valid")
		}
		// A new key: what the old one signed stays valid, until there is a newer one yet.
		w.settings.KeyVersion = 2
		if _, err := verify(r.Token, 2); err != nil {
			t.Errorf("after one rotation: %v", err)
		}
		w.settings.KeyVersion = 3
		if _, err := verify(r.Token, 3); err == nil {
			t.Error("after two rotations it is still valid")
		}
	})
}

func mustDecode(t *testing.T, part string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCodeExpires(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		to := h.setUpPasskey(id)
		time.Sleep(stepup.CodeLife)
		_, err := w.stepups.Redeem(t.Context(), "web", id, w.codeIn(to), "ada")
		wantRule(t, "a code that is two minutes old", "stepup/code-expired", err)
		id, _ = h.begin(ask("ada"))
		h.device = w.human("ada").device
		to = h.setUpPasskey(id)
		time.Sleep(stepup.CodeLife - time.Second)
		w.redeem(id, to, "ada")
	})
}

func TestLinkExpires(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada", stepup.Passkey)
		id, _ := h.begin(ask("ada"))
		options, err := w.stepups.PasskeyOptions(t.Context(), h.at(id))
		if err != nil {
			t.Fatal(err)
		}
		answer := h.device.Sign(options)
		time.Sleep(stepup.DefaultLife)
		_, err = w.stepups.Open(t.Context(), h.at(id))
		wantRule(t, "opening", "stepup/link-expired", err)
		_, err = w.stepups.PasskeyAnswer(t.Context(), h.at(id), answer)
		wantRule(t, "answering", "stepup/link-expired", err)
		if b, err := w.stepups.Look(t.Context(), "web", id); err != nil || b.State != "expired" {
			t.Errorf("the app sees %+v, %v", b, err)
		}
		time.Sleep(25 * time.Hour)
		h.begin(ask("ada"))
		_, err = w.stepups.Look(t.Context(), "web", id)
		wantRule(t, "a day later", "stepup/unknown", err)
	})
}

func TestProofThatIsRecent(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada", stepup.Passkey)
		id, _ := h.begin(ask("ada"))
		v, err := h.touch(id)
		if err != nil {
			t.Fatal(err)
		}
		proved := w.redeem(id, v.To, "ada").Proved
		time.Sleep(9 * time.Minute)
		recent := ask("ada")
		recent.MaxAge = 10 * time.Minute
		id, v = h.begin(recent)
		if v.To == "" {
			t.Fatalf("a proof of nine minutes: %+v", v.Page)
		}
		if r := w.redeem(id, v.To, "ada"); !r.Proved.Equal(proved) || r.Method != stepup.Passkey {
			t.Errorf("the result is %+v, proved at %v", r, proved)
		}
		for name, test := range map[string]func() (*human, stepup.Ask){
			"another browser":       func() (*human, stepup.Ask) { return w.human("ada"), recent },
			"no age":                func() (*human, stepup.Ask) { return h, ask("ada") },
			"another method":        func() (*human, stepup.Ask) { a := recent; a.Methods = []stepup.Method{stepup.TOTP}; return h, a },
			"a factor to be set up": func() (*human, stepup.Ask) { a := recent; a.Add = true; return h, a },
			"somebody else's cookie": func() (*human, stepup.Ask) {
				b := w.enrolled("bob", stepup.Passkey)
				b.known = h.known
				return b, ask("bob")
			},
		} {
			who, a := test()
			if _, v := who.begin(a); v.To != "" || v.Page.Step != stepup.Prove {
				t.Errorf("%s: %+v", name, v)
			}
		}
		time.Sleep(time.Minute)
		if _, v := h.begin(recent); v.To != "" {
			t.Error("a proof of ten minutes is taken")
		}
	})
}

func TestFurtherFactor(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada", stepup.Passkey)
		codes := h.codes
		a := ask("ada")
		a.Methods = []stepup.Method{stepup.TOTP} // which the person has not: it is set up
		id, v := h.begin(a)
		if v.Page.Step != stepup.Prove || !v.Page.Passkey || v.Page.TOTP {
			t.Fatalf("the page is %+v", v.Page)
		}
		_, err := w.stepups.BeginTOTP(t.Context(), h.at(id))
		wantRule(t, "setting up before proving", "stepup/order", err)
		if v, err = h.touch(id); err != nil || v.Page.Step != stepup.Setup || v.Page.Passkey || !v.Page.TOTP || v.To != "" {
			t.Fatalf("after proving: %+v, %v", v, err)
		}
		h.codes = nil
		r := w.redeem(id, h.setUpTOTP(id), "ada")
		if r.Method != stepup.TOTP || r.Enrolled != stepup.TOTP || h.codes != nil || r.RecoveryLeft != len(codes) {
			t.Errorf("the result is %+v, and there are %d new codes", r, len(h.codes))
		}
		// With few codes left, new ones come with a further factor, and the old ones go.
		for _, c := range codes[:8] {
			id, _ := h.begin(ask("ada"))
			v, err := h.types(id, c.Reveal())
			if err != nil || v.To == "" {
				t.Fatalf("a recovery code: %+v, %v", v.Page, err)
			}
		}
		a = ask("ada")
		a.Add, a.Methods = true, []stepup.Method{stepup.Passkey}
		id, _ = h.begin(a)
		if _, err := h.touch(id); err != nil {
			t.Fatal(err)
		}
		h.device = w.human("ada").device
		if r := w.redeem(id, h.setUpPasskey(id), "ada"); len(h.codes) != 10 || r.RecoveryLeft != 10 {
			t.Errorf("the result is %+v, and there are %d new codes", r, len(h.codes))
		}
		id, _ = h.begin(ask("ada"))
		if v, err := h.types(id, codes[9].Reveal()); err != nil || v.To != "" {
			t.Errorf("an old recovery code: %+v, %v", v, err)
		}
	})
}

func TestCancelled(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		options, err := w.stepups.PasskeyOptions(t.Context(), h.at(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.stepups.PasskeyAnswer(t.Context(), h.at(id), h.device.Register(options)); err != nil {
			t.Fatal(err)
		}
		v, err := w.stepups.Cancel(t.Context(), h.at(id))
		if err != nil || v.To != returnTo+"?error=access_denied&error_description=The+person+did+not+go+on.&state=s1" {
			t.Errorf("the browser is sent to %q, %v", v.To, err)
		}
		_, err = w.stepups.Continue(t.Context(), h.at(id))
		wantRule(t, "going on", "stepup/link-used", err)
		if held, err := w.stepups.Holds(t.Context(), "web", "ada"); err != nil || len(held.Methods) > 0 {
			t.Errorf("ada has %+v, %v", held, err)
		}
		if _, v := h.begin(ask("ada")); v.Page.Step != stepup.Setup {
			t.Errorf("the next page is %+v", v.Page)
		}
	})
}

func TestReset(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.enrolled("ada-canary", stepup.Passkey)
		open, _ := h.begin(ask("ada-canary"))
		_, err := w.stepups.Reset(ctx, "stranger", "ada-canary")
		wantRule(t, "a service of no list", "stepup/service", err)
		w.deaf = true
		if _, err := w.stepups.Reset(ctx, "other", "ada-canary"); err == nil {
			t.Error("factors go without a word")
		}
		w.deaf = false
		if held, err := w.stepups.Holds(ctx, "web", "ada-canary"); err != nil || len(held.Methods) != 1 {
			t.Fatalf("after a reset that failed, ada has %+v, %v", held, err)
		}
		if n, err := w.stepups.Reset(ctx, "other", "ada-canary"); err != nil || n != 1 {
			t.Errorf("resetting: %d, %v", n, err)
		}
		if held, err := w.stepups.Holds(ctx, "web", "ada-canary"); err != nil || len(held.Methods) > 0 || held.RecoveryLeft > 0 {
			t.Errorf("ada has %+v, %v", held, err)
		}
		_, err = h.touch(open)
		wantRule(t, "a request of before", "stepup/unknown-link", err)
		if got := w.events(); !slices.Contains(got, "stepup.reset ada-canary ") {
			t.Errorf("the app was told %q", got)
		}
		if n, err := w.stepups.Reset(ctx, "web", "nobody"); err != nil || n != 0 {
			t.Errorf("resetting nobody: %d, %v", n, err)
		}
		for _, e := range w.entries("stepup.reset") {
			if strings.Contains(fmt.Sprintf("%+v", e.Leaf), "ada-canary") {
				t.Error("the log names the subject in clear")
			}
		}
	})
}

func TestAFactorNeverCountsWithoutAWord(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		to := h.setUpPasskey(id)
		w.deaf = true
		if _, err := w.stepups.Redeem(t.Context(), "web", id, w.codeIn(to), "ada"); err == nil {
			t.Error("a factor counts, and the app was not told")
		}
		if held, err := w.stepups.Holds(t.Context(), "web", "ada"); err != nil || len(held.Methods) > 0 {
			t.Errorf("ada has %+v, %v", held, err)
		}
		w.deaf = false
		w.redeem(id, to, "ada") // nothing was used up
	})
}

func TestErasedPerson(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.enrolled("ada", stepup.Passkey)
		id, _ := h.begin(ask("ada"))
		people, err := w.records.PersonsOfSubject(ctx, "ada")
		if err != nil || len(people) != 1 {
			t.Fatal(people, err)
		}
		if err := w.Vault.DestroyPerson(ctx, people[0]); err != nil {
			t.Fatal(err)
		}
		_, err = h.touch(id)
		wantRule(t, "between the key and the rows", "stepup/unknown-link", err)
		for range 2 {
			if err := errors.Join(w.stepups.Forget(ctx, people[0]), w.records.Forget(ctx, people[0])); err != nil {
				t.Fatal(err)
			}
		}
		for _, table := range []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_browsers", "stepup_people"} {
			if n := w.count(table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if _, v := h.begin(ask("ada")); v.Page.Step != stepup.Setup {
			t.Errorf("somebody of that name is asked for %+v", v.Page)
		}
	})
}

// erasing is a store on which a person is erased just before something of theirs is
// written.
type erasing struct {
	stepup.Store
	guess, remember func()
}

func (s erasing) Guess(ctx context.Context, person gatehouse.PersonID, hash string, now time.Time, every time.Duration, burst int) (time.Time, error) {
	s.guess()
	return s.Store.Guess(ctx, person, hash, now, every, burst)
}

func (s erasing) Remember(ctx context.Context, b stepup.Browser, instead string, keep int) error {
	s.remember()
	return s.Store.Remember(ctx, b, instead, keep)
}

// A person who is erased while they prove something leaves nothing either.
func TestErasedWhileProving(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		for _, name := range []string{"guess", "remember"} {
			h := w.enrolled(name, stepup.TOTP)
			id, _ := h.begin(ask(name))
			erase := func() {
				people, err := w.records.PersonsOfSubject(ctx, gatehouse.Subject(name))
				if err != nil || len(people) != 1 {
					t.Fatal(people, err)
				}
				if err := errors.Join(w.Vault.DestroyPerson(ctx, people[0]), w.stepups.Forget(ctx, people[0]), w.records.Forget(ctx, people[0])); err != nil {
					t.Fatal(err)
				}
			}
			s := erasing{w.DB.Stepup(), func() {}, func() {}}
			if name == "guess" {
				s.guess = erase
			} else {
				s.remember = erase
			}
			_, err := w.open(s).Code(ctx, h.at(id), h.code(1))
			wantRule(t, "proving", "stepup/unknown-link", err)
			for _, table := range []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_browsers", "stepup_people"} {
				if n := w.count(table); n != 0 {
					t.Errorf("erased before %s: %d rows are left in %s", name, n, table)
				}
			}
		}
	})
}

// What stands in the database and in the log in plain leads to nobody and proves
// nothing.
func TestNothingIsPlain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada-canary", stepup.TOTP, stepup.Passkey)
		id, _ := h.begin(ask("ada-canary"))
		raw := w.dump()
		for name, canary := range map[string]string{
			"subject": "ada-canary", "TOTP secret": h.totp, "recovery code": h.codes[0].Reveal(), "its letters": strings.ReplaceAll(h.codes[0].Reveal(), "-", ""),
			"cookie": h.cookies[id].Reveal(), "known cookie": h.known.Reveal(), "reason": "Delete the account", "passkey": string(h.device.IDs()[0]),
		} {
			if canary == "" || strings.Contains(raw, canary) {
				t.Errorf("the database holds the %s in plain", name)
			}
		}
		for _, action := range []string{"stepup.begin", "stepup.start", "stepup.prove", "stepup.enrol", "stepup.redeem"} {
			if len(w.entries(action)) == 0 {
				t.Errorf("the log has no entry %s", action)
			}
		}
	})
}
