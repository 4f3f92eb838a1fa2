package factor_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
)

const origin = "https://app.example.com:8443"

func passkeys(t testing.TB, c factor.PasskeyConfig) *factor.Passkeys {
	t.Helper()
	if c.Origin == "" {
		c.Origin = origin
	}
	c.Name = "An app"
	p, err := factor.NewPasskeys(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func ada() factor.Holder {
	return factor.Holder{Handle: []byte("handle of ada"), Name: "ada", Display: "Ada"}
}

// registered returns a holder with one passkey, and the authenticator that has it.
func registered(t testing.TB, p *factor.Passkeys, a *factortest.Authenticator) factor.Holder {
	t.Helper()
	h := ada()
	options, state, err := p.BeginRegistration(h)
	if err != nil {
		t.Fatal(err)
	}
	k, err := p.FinishRegistration(h, state, a.Register(options))
	if err != nil {
		t.Fatal(reason(err))
	}
	h.Passkeys = []factor.Passkey{k}
	return h
}

// reason returns all that an error holds, for a test that fails.
func reason(err error) string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return fmt.Sprint(err, many.Unwrap())
	}
	return fmt.Sprint(err)
}

func TestPasskeyOfAHolder(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	for _, edwards := range []bool{false, true} {
		a := factortest.New(t, origin)
		a.Edwards, a.Step = edwards, 1
		h := registered(t, p, a)
		for range 3 {
			options, state, err := p.BeginLogin(h)
			if err != nil {
				t.Fatal(err)
			}
			k, err := p.FinishLogin(h, state, a.Sign(options))
			if err != nil {
				t.Fatal(reason(err))
			}
			if k.Counter != a.Counter || !bytes.Equal(k.ID, h.Passkeys[0].ID) || !bytes.Equal(k.Key, h.Passkeys[0].Key) {
				t.Errorf("the passkey came back as %+v", k)
			}
			h.Passkeys[0] = k
		}
	}
}

func TestDiscoverablePasskey(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{Discoverable: true})
	a := factortest.New(t, origin)
	h := registered(t, p, a)
	sign := func() ([]byte, []byte) {
		options, state, err := p.BeginDiscoverable()
		if err != nil {
			t.Fatal(err)
		}
		return state, a.Sign(options)
	}
	find := func(handle, id []byte) (factor.Holder, error) {
		if !bytes.Equal(handle, h.Handle) || !bytes.Equal(id, h.Passkeys[0].ID) {
			return factor.Holder{}, fmt.Errorf("nobody: %w", gatehouse.ErrNotFound)
		}
		return h, nil
	}
	state, answer := sign()
	found, k, err := p.FinishDiscoverable(state, answer, find)
	if err != nil || found.Name != "ada" || !bytes.Equal(k.ID, h.Passkeys[0].ID) {
		t.Fatalf("found %q, %v", found.Name, reason(err))
	}
	a.Handle = []byte("another")
	state, answer = sign()
	if _, _, err := p.FinishDiscoverable(state, answer, find); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("another's handle: %v", err)
	}
	// A find that takes the browser's word for the handle is caught by the library.
	if _, _, err := p.FinishDiscoverable(state, answer, func(_, _ []byte) (factor.Holder, error) { return h, nil }); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("another's handle, and a holder that does not have it: %v", err)
	}
	a.Handle = []byte{}
	state, answer = sign()
	if _, _, err := p.FinishDiscoverable(state, answer, func(_, _ []byte) (factor.Holder, error) { return h, nil }); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("no handle: %v", err)
	}
	a.Handle = nil
	state, answer = sign()
	broken := errors.New("no database")
	if _, _, err := p.FinishDiscoverable(state, answer, func(_, _ []byte) (factor.Holder, error) { return factor.Holder{}, broken }); !errors.Is(err, broken) || errors.Is(err, factor.ErrWrong) {
		t.Errorf("a store that does not answer: %v", err)
	}
}

// What the options demand of the browser.
func TestOptions(t *testing.T) {
	for _, discoverable := range []bool{false, true} {
		p := passkeys(t, factor.PasskeyConfig{Discoverable: discoverable, Ceremony: time.Minute})
		h := registered(t, p, factortest.New(t, origin))
		options, _, err := p.BeginRegistration(h)
		if err != nil {
			t.Fatal(err)
		}
		var made struct {
			PublicKey struct {
				RP                     struct{ ID, Name string }
				Attestation            string
				Timeout                int
				ExcludeCredentials     []struct{ ID string }
				AuthenticatorSelection struct{ ResidentKey, UserVerification string }
				PubKeyCredParams       []struct{ Alg int }
			}
		}
		if err := json.Unmarshal(options, &made); err != nil {
			t.Fatal(err)
		}
		resident := map[bool]string{false: "preferred", true: "required"}[discoverable]
		k := made.PublicKey
		// The default of the specification is none.
		if k.RP.ID != "app.example.com" || k.RP.Name != "An app" || k.Attestation != "" && k.Attestation != "none" || k.Timeout != 60000 || len(k.ExcludeCredentials) != 1 ||
			k.AuthenticatorSelection.UserVerification != "required" || k.AuthenticatorSelection.ResidentKey != resident || len(k.PubKeyCredParams) != 3 {
			t.Errorf("options of registration: %s", options)
		}
		options, _, err = p.BeginLogin(h)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(options, []byte(`"userVerification":"required"`)) || !bytes.Contains(options, []byte(`"allowCredentials":[{`)) || !bytes.Contains(options, []byte(`"rpId":"app.example.com"`)) {
			t.Errorf("options of a login: %s", options)
		}
	}
}

// Every lie of an authenticator or a page, at registration.
func TestRegistrationsThatAreRefused(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	for name, lie := range map[string]func(*factortest.Authenticator){
		"nothing":                    func(*factortest.Authenticator) {},
		"self-signed":                func(a *factortest.Authenticator) { a.Format = "packed" },
		"another origin":             func(a *factortest.Authenticator) { a.Origin = "https://app.example.com.evil.example:8443" },
		"another port":               func(a *factortest.Authenticator) { a.Origin = "https://app.example.com" },
		"http":                       func(a *factortest.Authenticator) { a.Origin = "http://app.example.com:8443" },
		"a domain below":             func(a *factortest.Authenticator) { a.Origin = "https://x.app.example.com:8443" },
		"an app":                     func(a *factortest.Authenticator) { a.Origin = "android:apk-key-hash:AAAA" },
		"another id":                 func(a *factortest.Authenticator) { a.ID = "example.com" },
		"no verification":            func(a *factortest.Authenticator) { a.Flags = factortest.Present },
		"nobody there":               func(a *factortest.Authenticator) { a.Flags = factortest.Verified },
		"backed up but not eligible": func(a *factortest.Authenticator) { a.Flags |= factortest.BackedUp },
		"in a frame of another":      func(a *factortest.Authenticator) { a.CrossOrigin = true },
		"a login's answer":           func(a *factortest.Authenticator) { a.Type = "webauthn.get" },
		"an attestation": func(a *factortest.Authenticator) {
			a.Format, a.Statement = "fido-u2f", map[string]any{"sig": []byte{1}, "x5c": []any{[]byte{1}}}
		},
		"a certificate": func(a *factortest.Authenticator) {
			a.Format, a.Statement = "packed", map[string]any{"alg": -7, "sig": []byte{1}, "x5c": []any{[]byte{1}}}
		},
		"a true attestation":           func(a *factortest.Authenticator) { a.Certified = true },
		"an attestation of none, full": func(a *factortest.Authenticator) { a.Statement = map[string]any{"sig": []byte{1}} },
		"signed by nothing": func(a *factortest.Authenticator) {
			a.Format, a.Statement = "packed", map[string]any{"alg": -7, "sig": []byte{1}}
		},
	} {
		a := factortest.New(t, origin)
		lie(a)
		options, state, err := p.BeginRegistration(ada())
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.FinishRegistration(ada(), state, a.Register(options))
		if fine := name == "nothing" || name == "self-signed"; fine != (err == nil) || !fine && !errors.Is(err, factor.ErrWrong) {
			t.Errorf("%s: %s", name, reason(err))
		}
	}
}

// Every lie at a login.
func TestLoginsThatAreRefused(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	for name, lie := range map[string]func(*factortest.Authenticator){
		"nothing":                    func(*factortest.Authenticator) {},
		"another origin":             func(a *factortest.Authenticator) { a.Origin = "https://evil.example" },
		"another port":               func(a *factortest.Authenticator) { a.Origin = "https://app.example.com" },
		"another id":                 func(a *factortest.Authenticator) { a.ID = "example.com" },
		"no verification":            func(a *factortest.Authenticator) { a.Flags = factortest.Present },
		"nobody there":               func(a *factortest.Authenticator) { a.Flags = factortest.Verified },
		"suddenly synced":            func(a *factortest.Authenticator) { a.Flags |= factortest.Eligible },
		"backed up but not eligible": func(a *factortest.Authenticator) { a.Flags |= factortest.BackedUp },
		"in a frame of another":      func(a *factortest.Authenticator) { a.CrossOrigin = true },
		"a registration's answer":    func(a *factortest.Authenticator) { a.Type = "webauthn.create" },
		"another's handle":           func(a *factortest.Authenticator) { a.Handle = []byte("bob") },
	} {
		a := factortest.New(t, origin)
		h := registered(t, p, a)
		lie(a)
		options, state, err := p.BeginLogin(h)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.FinishLogin(h, state, a.Sign(options))
		if fine := name == "nothing"; fine != (err == nil) || !fine && !errors.Is(err, factor.ErrWrong) {
			t.Errorf("%s: %s", name, reason(err))
		}
	}
}

func TestAnswersElsewhere(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	a, b := factortest.New(t, origin), factortest.New(t, origin)
	h, other := registered(t, p, a), registered(t, p, b)
	options, state, err := p.BeginLogin(h)
	if err != nil {
		t.Fatal(err)
	}
	answer := a.Sign(options)

	// Another ceremony of the same holder: the challenge is another.
	_, second, err := p.BeginLogin(h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.FinishLogin(h, second, answer); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("an answer to another challenge: %v", err)
	}
	// A passkey of somebody else, for this ceremony.
	if _, err := p.FinishLogin(h, state, b.SignWith(options, b.IDs()[0])); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("somebody else's passkey: %v", err)
	}
	// Another holder with this ceremony.
	if _, err := p.FinishLogin(factor.Holder{Handle: []byte("bob"), Passkeys: other.Passkeys}, state, answer); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("another holder: %v", err)
	}
	// A holder who lost the passkey in between.
	if _, err := p.FinishLogin(factor.Holder{Handle: h.Handle, Passkeys: other.Passkeys}, state, answer); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("a passkey that was removed: %v", err)
	}
	// States of one kind for another.
	_, found, err := p.BeginDiscoverable()
	if err != nil {
		t.Fatal(err)
	}
	_, made, err := p.BeginRegistration(ada())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string][]byte{"discoverable": found, "registration": made, "none": nil, "an object": []byte(`{}`), "without an end": []byte(`{"kind":"login","session":{"rpId":"app.example.com"}}`)} {
		if _, err := p.FinishLogin(h, s, answer); err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("state %s: %v; want an error of our own making", name, err)
		}
	}
	// Another site with the same code.
	elsewhere := passkeys(t, factor.PasskeyConfig{Origin: "https://other.example.com"})
	if _, err := elsewhere.FinishLogin(h, state, answer); err == nil || gatehouse.Kind(err) != nil {
		t.Errorf("a ceremony of another site: %v; want an error of our own making", err)
	}
	// And after all that, the right one is right.
	if _, err := p.FinishLogin(h, state, answer); err != nil {
		t.Errorf("near miss: %s", reason(err))
	}
	big := append(append([]byte{}, answer[:len(answer)-1]...), []byte(`,"x":"`+strings.Repeat("x", factor.MaxResponse)+`"}`)...)
	if _, err := p.FinishLogin(h, state, big); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("a large answer: %v", err)
	}
	if _, _, err := p.BeginLogin(ada()); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("a holder without passkeys: %v", err)
	}
	if _, err := p.FinishRegistration(h, made, a.Sign(options)); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("a login's answer to a registration: %v", err)
	}
}

func TestOnePasskeyIsRegisteredOnce(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	a := factortest.New(t, origin)
	options, state, err := p.BeginRegistration(ada())
	if err != nil {
		t.Fatal(err)
	}
	answer := a.Register(options)
	k, err := p.FinishRegistration(ada(), state, answer)
	if err != nil {
		t.Fatal(err)
	}
	h := ada()
	h.Passkeys = []factor.Passkey{k}
	if _, err := p.FinishRegistration(h, state, answer); !errors.Is(err, factor.ErrWrong) {
		t.Errorf("the same passkey again: %v", err)
	}
}

func TestCounterThatGoesBack(t *testing.T) {
	p := passkeys(t, factor.PasskeyConfig{})
	a := factortest.New(t, origin)
	a.Step = 1
	h := registered(t, p, a)
	use := func(by *factortest.Authenticator) (factor.Passkey, error) {
		options, state, err := p.BeginLogin(h)
		if err != nil {
			t.Fatal(err)
		}
		return p.FinishLogin(h, state, by.Sign(options))
	}
	clone := a.Clone()
	for range 2 {
		k, err := use(a)
		if err != nil {
			t.Fatal(reason(err))
		}
		h.Passkeys[0] = k
	}
	k, err := use(clone)
	if !errors.Is(err, factor.ErrCloned) || !errors.Is(err, gatehouse.ErrDenied) || !bytes.Equal(k.ID, h.Passkeys[0].ID) {
		t.Errorf("a copy, which is behind: %+v, %v", k, err)
	}
	if _, err := use(clone); !errors.Is(err, factor.ErrCloned) {
		t.Errorf("a copy that has caught up: %v", err)
	}
	if _, err := use(clone); err != nil {
		t.Errorf("near miss, one that is ahead: %v", err)
	}
}

func TestCeremonyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := passkeys(t, factor.PasskeyConfig{Ceremony: time.Minute})
		a := factortest.New(t, origin)
		h := registered(t, p, a)
		options, state, err := p.BeginLogin(h)
		if err != nil {
			t.Fatal(err)
		}
		answer := a.Sign(options)
		time.Sleep(time.Minute - time.Millisecond)
		if _, err := p.FinishLogin(h, state, answer); err != nil {
			t.Errorf("at the last moment: %v", err)
		}
		time.Sleep(time.Millisecond)
		if _, err := p.FinishLogin(h, state, answer); !errors.Is(err, factor.ErrExpired) {
			t.Errorf("too late: %v", err)
		}
	})
}

func TestSitesWithoutPasskeys(t *testing.T) {
	for _, bad := range []string{
		"", "app.example.com", "http://app.example.com", "https://192.0.2.1", "https://[::1]:8443", "http://127.0.0.1:8080", "https://app.example.com/path", "https://u@app.example.com",
		"https://app.example.com?q", "ftp://app.example.com", "http://localhost.example.com",
	} {
		if _, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: bad, Name: "An app"}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"https://app.example.com", "http://localhost:8102", "https://localhost"} {
		if _, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: good, Name: "An app"}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	if _, err := factor.NewPasskeys(factor.PasskeyConfig{Origin: origin}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("no name: %v", err)
	}
}

func FuzzFinishRegistration(f *testing.F) {
	p := passkeys(f, factor.PasskeyConfig{})
	options, state, err := p.BeginRegistration(ada())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(factortest.New(f, origin).Register(options))
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		k, err := p.FinishRegistration(ada(), state, answer)
		if err != nil && !errors.Is(err, factor.ErrWrong) {
			t.Errorf("%v is not a verdict", err)
		}
		if err == nil && (len(k.ID) == 0 || len(k.Key) == 0) {
			t.Error("a passkey without id or key")
		}
	})
}

func FuzzFinishLogin(f *testing.F) {
	p := passkeys(f, factor.PasskeyConfig{})
	a := factortest.New(f, origin)
	h := registered(f, p, a)
	options, state, err := p.BeginLogin(h)
	if err != nil {
		f.Fatal(err)
	}
	right := a.Sign(options)
	f.Add(right)
	f.Add([]byte(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AA","signature":"AA","userHandle":null}}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if _, err := p.FinishLogin(h, state, answer); err != nil && !errors.Is(err, factor.ErrWrong) {
			t.Errorf("%v is not a verdict", err)
		}
	})
}
