package stepup_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"

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

func TestCodeForTheAppWorksOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		to := h.setUpPasskey(id)
		code := w.codeIn(to)
		other, _ := h.begin(ask("ada"))
		for name, test := range map[string]struct {
			service gatehouse.ServiceName
			id      string
			code    string
			rule    string
		}{
			"another service":      {"other", id, code.Reveal(), "stepup/unknown"},
			"a service of no list": {"stranger", id, code.Reveal(), "stepup/service"},
			"another request":      {"web", other, code.Reveal(), "stepup/unknown-code"},
			"another code":         {"web", id, code.Reveal()[1:] + "A", "stepup/unknown-code"},
			"no code":              {"web", id, "", "stepup/unknown-code"},
			"no request":           {"web", "stp" + strings.Repeat("a", 26), code.Reveal(), "stepup/unknown"},
			"a path":               {"web", "../x", code.Reveal(), "stepup/unknown"},
		} {
			_, err := w.stepups.Redeem(ctx, test.service, test.id, secret.New(test.code), "ada")
			wantRule(t, name, test.rule, err)
		}
		w.redeem(id, to, "ada")
		_, err := w.stepups.Redeem(ctx, "web", id, code, "ada")
		wantRule(t, "the code again", "stepup/unknown-code", err)
	})
}

// Somebody else's link: what comes back in a browser that the app knows as another
// person is worth nothing, and neither is what was set up with it.
func TestCodeForAnotherSubjectIsBurnt(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.human("ada")
		id, _ := h.begin(ask("ada"))
		to := h.setUpPasskey(id)
		_, err := w.stepups.Redeem(ctx, "web", id, w.codeIn(to), "mallory")
		wantRule(t, "another subject", "stepup/wrong-subject", err)
		_, err = w.stepups.Redeem(ctx, "web", id, w.codeIn(to), "ada")
		wantRule(t, "the right one afterwards", "stepup/unknown-code", err)
		for _, subject := range []gatehouse.Subject{"ada", "mallory"} {
			if held, err := w.stepups.Holds(ctx, "web", subject); err != nil || len(held.Methods) > 0 || held.RecoveryLeft > 0 {
				t.Errorf("%s has %+v, %v", subject, held, err)
			}
		}
		if got := w.events(); len(got) > 0 {
			t.Errorf("the app was told %q", got)
		}
		// A newer one sets a factor up, and the passkey of the first does not prove it.
		fresh := w.human("ada")
		next, _ := fresh.begin(ask("ada"))
		w.redeem(next, fresh.setUpPasskey(next), "ada")
		if held, err := w.stepups.Holds(ctx, "web", "ada"); err != nil || len(held.Methods) != 1 {
			t.Errorf("ada has %+v, %v", held, err)
		}
	})
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

// The browser that began is the browser that finishes.
func TestAnotherBrowser(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.enrolled("ada", stepup.Passkey)
		id, _ := h.begin(ask("ada"))
		thief := stepup.Visitor{ID: id, Browser: secret.New("guessed")}
		for name, act := range map[string]func(stepup.Visitor) error{
			"options":  func(v stepup.Visitor) error { _, err := w.stepups.PasskeyOptions(ctx, v); return err },
			"answer":   func(v stepup.Visitor) error { _, err := w.stepups.PasskeyAnswer(ctx, v, []byte("{}")); return err },
			"code":     func(v stepup.Visitor) error { _, err := w.stepups.Code(ctx, v, h.codes[0].Reveal()); return err },
			"set up":   func(v stepup.Visitor) error { _, err := w.stepups.BeginTOTP(ctx, v); return err },
			"confirm":  func(v stepup.Visitor) error { _, err := w.stepups.ConfirmTOTP(ctx, v, "123456"); return err },
			"cancel":   func(v stepup.Visitor) error { _, err := w.stepups.Cancel(ctx, v); return err },
			"continue": func(v stepup.Visitor) error { _, err := w.stepups.Continue(ctx, v); return err },
		} {
			wantRule(t, name, "stepup/other-browser", act(thief))
			wantRule(t, name+" without a cookie", "stepup/other-browser", act(stepup.Visitor{ID: id}))
		}
		// Opened elsewhere, the link is that browser's; what the first had is worth nothing.
		elsewhere := w.human("ada")
		v, err := w.stepups.Open(ctx, elsewhere.at(id))
		if err != nil || v.Page.Step != stepup.Prove {
			t.Fatalf("opening elsewhere: %+v, %v", v, err)
		}
		_, err = h.touch(id)
		wantRule(t, "the first browser", "stepup/other-browser", err)
		// Once something is set up, a link stays where it is.
		bob := w.human("bob")
		id, _ = bob.begin(ask("bob"))
		options, err := w.stepups.PasskeyOptions(ctx, bob.at(id))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.stepups.PasskeyAnswer(ctx, bob.at(id), bob.device.Register(options)); err != nil {
			t.Fatal(err)
		}
		_, err = w.stepups.Open(ctx, stepup.Visitor{ID: id})
		wantRule(t, "opening what is set up elsewhere", "stepup/other-browser", err)
		if v, err := w.stepups.Open(ctx, bob.at(id)); err != nil || v.Page.Step != stepup.Saved || len(v.Page.Codes) > 0 {
			t.Errorf("reloading: %+v, %v", v.Page, err)
		}
	})
}

func TestNothingIsTakenTwice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := t.Context()
		h := w.enrolled("ada", stepup.TOTP)
		first, _ := h.begin(ask("ada"))
		second, _ := h.begin(ask("ada"))
		code := h.code(1)
		if v, err := h.types(first, code); err != nil || v.To == "" {
			t.Fatalf("a code: %+v, %v", v, err)
		}
		if v, err := h.types(second, code); err != nil || v.To != "" || v.Page.Problem == "" {
			t.Errorf("the code again, in another request: %+v, %v", v, err)
		}
		_, err := h.types(first, h.code(1))
		wantRule(t, "the request again", "stepup/link-used", err)

		recovery := h.codes[3].Reveal()
		v, err := h.types(second, recovery)
		if err != nil {
			t.Fatal(err)
		}
		if r := w.redeem(second, v.To, "ada"); r.Method != stepup.Recovery || r.RecoveryLeft != 9 {
			t.Errorf("the result is %+v", r)
		}
		third, _ := h.begin(ask("ada"))
		if v, err := h.types(third, recovery); err != nil || v.To != "" || v.Page.Problem == "" {
			t.Errorf("a recovery code again: %+v, %v", v, err)
		}

		p := w.enrolled("bob", stepup.Passkey)
		id, _ := p.begin(ask("bob"))
		options, err := w.stepups.PasskeyOptions(ctx, p.at(id))
		if err != nil {
			t.Fatal(err)
		}
		answer := p.device.Sign(options)
		other, _ := p.begin(ask("bob"))
		if _, err := w.stepups.PasskeyOptions(ctx, p.at(other)); err != nil {
			t.Fatal(err)
		}
		if v, err := w.stepups.PasskeyAnswer(ctx, p.at(other), answer); err != nil || v.To != "" || v.Page.Problem == "" {
			t.Errorf("an assertion in another request: %+v, %v", v, err)
		}
		// The ceremony that was answered wrongly is over, also for a right answer.
		_, err = w.stepups.PasskeyAnswer(ctx, p.at(other), answer)
		wantRule(t, "a ceremony again", "stepup/order", err)
		if v, err := w.stepups.PasskeyAnswer(ctx, p.at(id), answer); err != nil || v.To == "" {
			t.Errorf("near miss: %+v, %v", v, err)
		}
	})
}

// One right code, presented many times at the same moment in many requests.
func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada", stepup.TOTP)
		var ids []string
		for range 4 {
			id, _ := h.begin(ask("ada"))
			ids = append(ids, id, id)
		}
		code := h.code(1)
		var group sync.WaitGroup
		var mu sync.Mutex
		passed := 0
		for _, id := range ids {
			at := h.at(id)
			group.Go(func() {
				v, err := w.stepups.Code(t.Context(), at, code)
				if err != nil && gatehouse.Kind(err) == nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if v.To != "" {
					passed++
				}
			})
		}
		group.Wait()
		if passed != 1 {
			t.Errorf("%d requests were passed by one code", passed)
		}
	})
}

// Two that set up a first factor: the second would get past the first's owner.
func TestFirstFactorIsTheFirst(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		owner, thief := w.human("ada"), w.human("ada")
		early, _ := thief.begin(ask("ada"))
		stolen := thief.setUpPasskey(early)
		late, _ := owner.begin(ask("ada"))
		w.redeem(late, owner.setUpPasskey(late), "ada")
		_, err := w.stepups.Redeem(t.Context(), "web", early, w.codeIn(stolen), "ada")
		wantRule(t, "a first factor after the first", "stepup/overtaken", err)
		if held, err := w.stepups.Holds(t.Context(), "web", "ada"); err != nil || len(held.Methods) != 1 {
			t.Errorf("ada has %+v, %v", held, err)
		}
		// One that is open still, of before: it asks for the factor now.
		id, v := thief.begin(ask("ada"))
		if v.Page.Step != stepup.Prove {
			t.Errorf("the page is %+v", v.Page)
		}
		_, err = w.stepups.BeginTOTP(t.Context(), thief.at(id))
		wantRule(t, "setting up without proving", "stepup/order", err)
	})
}

func TestWrongAnswersEndARequest(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.enrolled("ada", stepup.TOTP)
		id, _ := h.begin(ask("ada"))
		for i := range 4 {
			if v, err := h.types(id, "000000"); err != nil || v.To != "" || v.Page.Status != 422 {
				t.Fatalf("wrong code %d: %+v, %v", i, v, err)
			}
		}
		near, _ := h.begin(ask("ada"))
		for range 4 {
			_, _ = h.types(near, h.code(-9))
		}
		if v, err := h.types(near, h.code(1)); err != nil || !strings.Contains(v.To, "code=") {
			t.Errorf("near miss, right at the fifth time: %+v, %v", v, err)
		}
		v, err := h.types(id, "000000")
		if err != nil || !strings.HasPrefix(v.To, returnTo+"?error=access_denied&") || strings.Contains(v.To, "code=") {
			t.Errorf("the fifth wrong code: %+v, %v", v, err)
		}
		_, err = h.types(id, h.code(1))
		wantRule(t, "a code after the end", "stepup/link-used", err)
		if b, err := w.stepups.Look(t.Context(), "web", id); err != nil || b.State != stepup.Failed {
			t.Errorf("the app sees %+v, %v", b, err)
		}
	})
}

// Whoever has links can guess for a while, and then no more; the person's own browser,
// and their passkey, are not affected by that.
func TestGuessing(t *testing.T) {
	virtual(t, func(t *testing.T, w *world) {
		owner := w.enrolled("ada", stepup.TOTP, stepup.Passkey)
		thief := w.human("ada")
		guesses := 0
		limited := func() bool {
			id, _ := thief.begin(ask("ada"))
			v, err := thief.types(id, "000000")
			if err != nil {
				t.Fatal(err)
			}
			guesses++
			return v.Page.Status == 429
		}
		for !limited() {
			if guesses > 20 {
				t.Fatal("guessing has no end")
			}
		}
		if guesses != 11 {
			t.Errorf("the guess number %d was refused", guesses)
		}
		if got := w.events(); !slices.Contains(got, "stepup.alarm ada guessing") {
			t.Errorf("the app was told %q", got)
		}
		// The right code does not help the thief now either.
		id, _ := thief.begin(ask("ada"))
		thief.totp = owner.totp
		if v, err := thief.types(id, thief.code(0)); err != nil || v.Page.Status != 429 || !strings.Contains(v.Page.Problem, "passkey works") {
			t.Errorf("a right code of a stranger: %+v, %v", v.Page, err)
		}
		// However often one link is tried, what is written down has an end.
		for range 19 {
			if v, err := thief.types(id, "000000"); err != nil || v.Page.Status != 429 {
				t.Fatalf("a further guess: %+v, %v", v.Page, err)
			}
		}
		_, err := thief.types(id, "000000")
		wantRule(t, "the twenty-first guess of one link", "stepup/order", err)
		// The owner's browser is known.
		time.Sleep(time.Minute)
		id, _ = owner.begin(ask("ada"))
		if v, err := owner.types(id, owner.code(0)); err != nil || v.To == "" {
			t.Errorf("the owner's browser: %+v, %v", v.Page, err)
		}
		// Another browser of the owner's has a passkey.
		owner.known = secret.Text{}
		id, _ = owner.begin(ask("ada"))
		if v, err := owner.touch(id); err != nil || v.To == "" {
			t.Errorf("the owner's passkey: %+v, %v", v.Page, err)
		}
		// And after half an hour there is one guess more, no two.
		time.Sleep(30 * time.Minute)
		if limited() {
			t.Error("half an hour later nothing can be tried")
		}
		if !limited() {
			t.Error("half an hour later two codes can be tried")
		}
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

// Setting up is no proof. A stranger who opened somebody's link first, and whose factor
// never counted, gets nothing for it when that person has one of their own.
func TestSettingUpIsNoProof(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for _, method := range stepup.Methods() {
			subject := "ada-" + string(method)
			thief := w.human(subject)
			id, _ := thief.begin(ask(subject))
			to := ""
			if method == stepup.Passkey {
				to = thief.setUpPasskey(id)
			} else {
				to = thief.setUpTOTP(id)
			}
			_, err := w.stepups.Redeem(t.Context(), "web", id, w.codeIn(to), "mallory")
			wantRule(t, "the stranger", "stepup/wrong-subject", err)
			if !thief.known.IsZero() {
				t.Error("the browser is known")
			}
			w.enrolled(subject, method)
			recent := ask(subject)
			recent.MaxAge = time.Hour
			if _, v := thief.begin(recent); v.To != "" || v.Page.Step != stepup.Prove {
				t.Errorf("the stranger is past the factor: %+v", v)
			}
		}
		if n := w.count("stepup_browsers"); n != 0 {
			t.Errorf("%d browsers are known in which nothing was proved", n)
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

func TestClonedPasskey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		h.device.Step = 1
		id, _ := h.begin(ask("ada"))
		w.redeem(id, h.setUpPasskey(id), "ada")
		clone := h.device.Clone()
		for range 2 {
			id, _ := h.begin(ask("ada"))
			if v, err := h.touch(id); err != nil || v.To == "" {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		h.device, clone = clone, h.device
		id, _ = h.begin(ask("ada"))
		if v, err := h.touch(id); err != nil || v.To != "" || v.Page.Passkey || !strings.Contains(v.Page.Problem, "twice") {
			t.Errorf("the copy: %+v, %v", v.Page, err)
		}
		if got := w.events(); !slices.Contains(got, "stepup.alarm ada cloned") {
			t.Errorf("the app was told %q", got)
		}
		// Neither works any more, and nobody sets up a new one in its place.
		h.device = clone
		id, v := h.begin(ask("ada"))
		if v.Page.Step != stepup.Prove || v.Page.Passkey || !v.Page.Recovery {
			t.Errorf("the page is %+v", v.Page)
		}
		if v, err := h.types(id, h.codes[0].Reveal()); err != nil || v.To == "" {
			t.Errorf("a recovery code: %+v, %v", v.Page, err)
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
		for _, table := range []string{"stepup_requests", "stepup_factors", "stepup_recovery", "stepup_browsers"} {
			if n := w.count(table); n != 0 {
				t.Errorf("%d rows are left in %s", n, table)
			}
		}
		if _, v := h.begin(ask("ada")); v.Page.Step != stepup.Setup {
			t.Errorf("somebody of that name is asked for %+v", v.Page)
		}
	})
}

func TestAsksThatAreRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.settings.Methods = []stepup.Method{stepup.Passkey}
		for name, test := range map[string]struct {
			change func(*stepup.Ask)
			rule   string
		}{
			"nothing changed":    {func(*stepup.Ask) {}, ""},
			"a service":          {func(a *stepup.Ask) { a.Service = "stranger" }, "stepup/service"},
			"no subject":         {func(a *stepup.Ask) { a.Subject = "" }, "stepup/subject"},
			"a long subject":     {func(a *stepup.Ask) { a.Subject = gatehouse.Subject(strings.Repeat("a", 201)) }, "stepup/subject"},
			"its bound":          {func(a *stepup.Ask) { a.Subject = gatehouse.Subject(strings.Repeat("a", 200)) }, ""},
			"a control":          {func(a *stepup.Ask) { a.Subject = "a\x00" }, "stepup/subject"},
			"a long reason":      {func(a *stepup.Ask) { a.Reason = strings.Repeat("a", 201) }, "stepup/reason"},
			"a new line":         {func(a *stepup.Ask) { a.Reason = "a\nb" }, "stepup/reason"},
			"no reason":          {func(a *stepup.Ask) { a.Reason = "" }, ""},
			"a long account":     {func(a *stepup.Ask) { a.Account = strings.Repeat("a", 101) }, "stepup/account"},
			"a long state":       {func(a *stepup.Ask) { a.State = strings.Repeat("a", 501) }, "stepup/state"},
			"an age below zero":  {func(a *stepup.Ask) { a.MaxAge = -time.Second }, "stepup/max-age"},
			"an age of two days": {func(a *stepup.Ask) { a.MaxAge = 48 * time.Hour }, "stepup/max-age"},
			"a method":           {func(a *stepup.Ask) { a.Methods = []stepup.Method{"sms"} }, "stepup/methods"},
			"recovery":           {func(a *stepup.Ask) { a.Methods = []stepup.Method{stepup.Recovery} }, "stepup/methods"},
			"one not offered":    {func(a *stepup.Ask) { a.Methods = []stepup.Method{stepup.TOTP} }, "stepup/methods"},
			"one twice":          {func(a *stepup.Ask) { a.Methods = []stepup.Method{stepup.Passkey, stepup.Passkey} }, ""},
			"no address":         {func(a *stepup.Ask) { a.ReturnTo = "" }, "stepup/return-url"},
			"another host":       {func(a *stepup.Ask) { a.ReturnTo = "https://evil.example/back" }, "stepup/return-url"},
			"a host that begins": {func(a *stepup.Ask) { a.ReturnTo = "https://app.example.com.evil.example/back" }, "stepup/return-url"},
			"a user":             {func(a *stepup.Ask) { a.ReturnTo = "https://app.example.com@evil.example/back" }, "stepup/return-url"},
			"a script":           {func(a *stepup.Ask) { a.ReturnTo = "javascript:alert(1)//app.example.com/back" }, "stepup/return-url"},
			"no scheme":          {func(a *stepup.Ask) { a.ReturnTo = "//app.example.com/back" }, "stepup/return-url"},
			"a path beside":      {func(a *stepup.Ask) { a.ReturnTo = returnTo + "/x" }, "stepup/return-url"},
			"a way out":          {func(a *stepup.Ask) { a.ReturnTo = "https://app.example.com/below/../x" }, "stepup/return-url"},
			"a path below":       {func(a *stepup.Ask) { a.ReturnTo = "https://app.example.com/below/x?y=1" }, ""},
		} {
			a := ask("ada")
			test.change(&a)
			_, err := w.stepups.Begin(t.Context(), a)
			wantRule(t, name, test.rule, err)
		}
	})
}

func TestOnlySoManyRequestsOfOnePerson(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h := w.human("ada")
		first, _ := h.begin(ask("ada"))
		to := h.setUpPasskey(first)
		for range 20 {
			if _, err := w.stepups.Begin(t.Context(), ask("ada")); err != nil {
				t.Fatal(err)
			}
		}
		_, err := w.stepups.Redeem(t.Context(), "web", first, w.codeIn(to), "ada")
		wantRule(t, "the first of twenty-one", "stepup/unknown", err)
		if n := w.count("stepup_requests"); n != 20 {
			t.Errorf("%d requests are kept", n)
		}
		if n := w.count("stepup_factors") + w.count("stepup_recovery"); n != 0 {
			t.Errorf("%d rows are left of what nobody can redeem", n)
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
