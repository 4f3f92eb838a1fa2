package factor_test

import (
	"encoding/base32"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/factor/factortest"
	"gatehouse/internal/secret"
)

// rfcKey is the secret of RFC 6238's appendix B.
var rfcKey = secret.New(base32.StdEncoding.EncodeToString([]byte("12345678901234567890")))

func TestVectorsOfRFC6238(t *testing.T) {
	for at, eight := range map[int64]string{
		59: "94287082", 1111111109: "07081804", 1111111111: "14050471", 1234567890: "89005924", 2000000000: "69279037", 20000000000: "65353130",
	} {
		// Six digits are the last of eight.
		step, err := factor.CheckTOTP(rfcKey, eight[2:], time.Unix(at, 0), 0)
		if err != nil || step != at/30 {
			t.Errorf("the code of %d: step %d, %v", at, step, err)
		}
	}
}

func TestTOTPInItsWindowOnly(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, test := range []struct {
		name  string
		shift time.Duration
		want  error
	}{
		{"now", 0, nil}, {"one early", factor.TOTPStep, nil}, {"one late", -factor.TOTPStep, nil},
		{"two early", 2 * factor.TOTPStep, factor.ErrWrong}, {"two late", -2 * factor.TOTPStep, factor.ErrWrong},
	} {
		code := factortest.Code(t, rfcKey.Reveal(), now.Add(test.shift))
		step, err := factor.CheckTOTP(rfcKey, code, now, 0)
		if !errors.Is(err, test.want) || err == nil && step != now.Add(test.shift).Unix()/30 {
			t.Errorf("%s: step %d, %v; want %v", test.name, step, err, test.want)
		}
	}
}

func TestTOTPIsTakenOnce(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	code := factortest.Code(t, rfcKey.Reveal(), now)
	step, err := factor.CheckTOTP(rfcKey, code, now, now.Unix()/30-1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := factor.CheckTOTP(rfcKey, code, now.Add(29*time.Second), step); !errors.Is(err, factor.ErrUsed) {
		t.Errorf("the same code again: %v", err)
	}
	// The one before it, which was never used, is older than one that was.
	before := factortest.Code(t, rfcKey.Reveal(), now.Add(-factor.TOTPStep))
	if _, err := factor.CheckTOTP(rfcKey, before, now, step); !errors.Is(err, factor.ErrUsed) {
		t.Errorf("an older code: %v", err)
	}
	after := factortest.Code(t, rfcKey.Reveal(), now.Add(factor.TOTPStep))
	if _, err := factor.CheckTOTP(rfcKey, after, now, step); err != nil {
		t.Errorf("the next code: %v", err)
	}
}

func TestTOTPAsItIsTyped(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	code := factortest.Code(t, rfcKey.Reveal(), now)
	for _, typed := range []string{code, code[:3] + " " + code[3:], " " + code + "\n", code[:3] + "-" + code[3:], code[:3] + "\u00a0" + code[3:]} {
		if _, err := factor.CheckTOTP(rfcKey, typed, now, 0); err != nil {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for _, typed := range []string{"", code[:5], code + "0", "0" + code, "+" + code[1:], strings.Repeat(" ", 60) + code, "１" + code[1:], code[:5] + "x"} {
		if _, err := factor.CheckTOTP(rfcKey, typed, now, 0); !errors.Is(err, factor.ErrWrong) || !errors.Is(err, gatehouse.ErrDenied) {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for _, key := range []string{"", "AAAA", "not base32"} {
		if _, err := factor.CheckTOTP(secret.New(key), code, now, 0); err == nil || gatehouse.Kind(err) != nil || strings.Contains(err.Error(), "AAAA") {
			t.Errorf("stored secret %q: %v", key, err)
		}
	}
}

func TestNewTOTP(t *testing.T) {
	a, b := factor.NewTOTP(), factor.NewTOTP()
	if a.Equal(b) || len(a.Reveal()) != 32 {
		t.Error("two new secrets are equal, or not of 160 bits")
	}
	u, err := url.Parse(factor.TOTPURI("An app: ours", "ada+1@example.com", a).Reveal())
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/An app  ours:ada+1@example.com" || q.Get("secret") != a.Reveal() || q.Get("issuer") != "An app  ours" ||
		q.Get("digits") != "6" || q.Get("period") != "30" || q.Get("algorithm") != "SHA1" {
		t.Errorf("the URI is %s", strings.ReplaceAll(u.String(), a.Reveal(), "…"))
	}
	now := time.Now()
	if _, err := factor.CheckTOTP(a, factortest.Code(t, a.Reveal(), now), now, 0); err != nil {
		t.Errorf("a code of a new secret: %v", err)
	}
}

func FuzzCheckTOTP(f *testing.F) {
	now := time.Unix(59, 0)
	for _, s := range []string{"287082", "28 70 82", "", "１２３４５６", "-1-1-1-1-1-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code string) {
		step, err := factor.CheckTOTP(rfcKey, code, now, 0)
		if err != nil {
			if !errors.Is(err, gatehouse.ErrDenied) {
				t.Errorf("%q: %v has no kind", code, err)
			}
			return
		}
		want := factortest.Code(t, rfcKey.Reveal(), time.Unix(step*30, 0))
		if got := strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return r
			}
			return -1
		}, code); got != want {
			t.Errorf("%q is taken as the code of step %d, %s", code, step, want)
		}
	})
}
