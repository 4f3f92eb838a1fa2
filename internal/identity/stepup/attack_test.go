package stepup_test

// This file is what somebody does who wants past a factor, or wants to keep others out.

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/stepup"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

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

// Who had the browser first, and kept a copy of its cookie, is not known as the next
// person who proves a factor in it: neither is their proof the other's, nor their guesses.
func TestACookieThatWasThereBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for name, prove := range map[string]func(h *human, id string) (stepup.Visit, error){
			"passkey":  func(h *human, id string) (stepup.Visit, error) { return h.touch(id) },
			"recovery": func(h *human, id string) (stepup.Visit, error) { return h.types(id, h.codes[0].Reveal()) },
		} {
			mallory := w.enrolled("mallory-"+name, stepup.Passkey)
			id, _ := mallory.begin(ask("mallory-" + name))
			if _, err := mallory.touch(id); err != nil || mallory.known.IsZero() {
				t.Fatal(err)
			}
			subject := "ada-" + name
			owner := w.enrolled(subject, stepup.Passkey)
			owner.known = mallory.known // at the computer that both use
			id, _ = owner.begin(ask(subject))
			if v, err := prove(owner, id); err != nil || v.To == "" {
				t.Fatalf("%+v, %v", v.Page, err)
			}
			recent := ask(subject)
			recent.MaxAge = time.Hour
			recent.Methods = nil
			if name == "passkey" {
				if _, v := owner.begin(recent); v.To == "" {
					t.Error("the owner's own browser is not known")
				}
			}
			thief := w.human(subject)
			thief.known = mallory.known
			if _, v := thief.begin(recent); v.To != "" || v.Page.Step != stepup.Prove {
				t.Errorf("%s: whoever had the browser before is past the factor: %+v", name, v)
			}
			if thief.known.Equal(owner.known) {
				t.Errorf("%s: both have the same cookie", name)
			}
			// Who copied the owner's is not past the factor for the next proof's sake.
			thief.known = owner.known
			id, _ = owner.begin(ask(subject))
			if _, err := owner.touch(id); err != nil || owner.known.Equal(thief.known) {
				t.Errorf("%s: the owner's cookie did not change: %v", name, err)
			}
			recent.Methods = nil
			if _, v := thief.begin(recent); v.To != "" || v.Page.Step != stepup.Prove {
				t.Errorf("%s: a copied cookie is of use after the next proof: %+v", name, v)
			}
			if _, v := owner.begin(recent); v.To == "" {
				t.Errorf("%s: the owner's new cookie is not known", name)
			}
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

// What was proved with a copy is worth nothing once it is known that there is one.
func TestAClonedPasskeyIsNoRecentProof(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		h, other := w.human("ada"), w.enrolled("bob", stepup.Passkey)
		h.device.Step = 1
		id, _ := h.begin(ask("ada"))
		w.redeem(id, h.setUpPasskey(id), "ada")
		recently := func(h *human, subject string) bool {
			t.Helper()
			a := ask(subject)
			a.MaxAge = 24 * time.Hour
			_, v := h.begin(a)
			return v.To != ""
		}
		id, _ = other.begin(ask("bob"))
		if v, err := other.touch(id); err != nil || v.To == "" {
			t.Fatalf("%+v, %v", v, err)
		}
		thief := w.human("ada")
		thief.device = h.device.Clone()
		for range 2 {
			id, _ := thief.begin(ask("ada"))
			if v, err := thief.touch(id); err != nil || v.To == "" {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		if !recently(thief, "ada") {
			t.Fatal("a proof of a moment ago is none")
		}
		// One that the thief has proved, and in which a factor of theirs would follow.
		more := ask("ada")
		more.Add = true
		add, _ := thief.begin(more)
		if v, err := thief.touch(add); err != nil || v.Page.Step != stepup.Setup {
			t.Fatalf("%+v, %v", v, err)
		}
		_, rows := storetest.OpenRaw(t, w.DSN).Query("SELECT person, hash FROM stepup_browsers WHERE person IN (SELECT person FROM stepup_factors WHERE used > 0) AND hash <> ''")
		id, _ = h.begin(ask("ada"))
		if v, err := h.touch(id); err != nil || v.To != "" {
			t.Fatalf("the owner, after the thief: %+v, %v", v, err)
		}
		if recently(thief, "ada") {
			t.Error("the copy's proof is still a recent one")
		}
		// Nor is it one that is stored a moment too late.
		late := 0
		for _, row := range rows {
			person, hash := fmt.Sprintf("%s", row[0]), fmt.Sprintf("%s", row[1])
			if sum := sha256.Sum256([]byte(thief.known.Reveal())); hash == base64.RawURLEncoding.EncodeToString(sum[:]) {
				late++
				if err := w.DB.Stepup().Remember(t.Context(), stepup.Browser{Person: gatehouse.PersonID(person), Hash: hash, Proved: time.Now(), By: stepup.Passkey}, "", 9); err != nil {
					t.Fatal(err)
				}
			}
		}
		if late != 1 || recently(thief, "ada") {
			t.Errorf("a proof of the copy that is stored too late (%d of them) is a recent one", late)
		}
		if _, err := w.stepups.BeginTOTP(t.Context(), thief.at(add)); err == nil {
			t.Error("the thief goes on in a request that was proved with the copy")
		}
		if !recently(other, "bob") {
			t.Error("somebody else's proof is gone")
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
