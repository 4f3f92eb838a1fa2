package factor_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity/factor"
)

func TestRecoveryCodes(t *testing.T) {
	codes := factor.NewRecoveryCodes()
	seen := map[factor.RecoveryHash]bool{}
	for _, c := range codes {
		s := c.Reveal()
		hash, err := factor.HashRecovery("ada", s)
		if err != nil || seen[hash] || len(s) != 19 {
			t.Fatalf("a new code has no hash of its own: %v", err)
		}
		seen[hash] = true
		for name, typed := range map[string]string{
			"capitals": strings.ToUpper(s), "without hyphens": strings.ReplaceAll(s, "-", ""), "with spaces": " " + strings.ReplaceAll(s, "-", " ") + "\n",
			"letters for digits": strings.NewReplacer("0", "o", "1", "l").Replace(s), "the other letters": strings.NewReplacer("0", "O", "1", "I").Replace(s),
		} {
			if again, err := factor.HashRecovery("ada", typed); err != nil || again != hash {
				t.Errorf("%s: another hash, %v", name, err)
			}
		}
		if other, err := factor.HashRecovery("bob", s); err != nil || other == hash {
			t.Errorf("another's code has the same hash, %v", err)
		}
	}
	if len(codes) != factor.RecoveryCodes {
		t.Errorf("%d codes", len(codes))
	}
	good := codes[0].Reveal()
	for _, typed := range []string{"", good[:18], good + "0", strings.Repeat("-", 60) + good, "u" + good[1:], "é" + good[1:]} {
		if _, err := factor.HashRecovery("ada", typed); !errors.Is(err, factor.ErrWrong) {
			t.Errorf("a code of the wrong form: %v", err)
		}
	}
}

func FuzzHashRecovery(f *testing.F) {
	for _, s := range []string{"7k2m-9pqr-t0vw-x3yz", "7K2M 9PQR T0VW X3YZ", "", "----", "oooo-iiii-llll-0000", "ſſſſſſſſſſſſſſſſ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, code string) {
		hash, err := factor.HashRecovery("ada", code)
		if err != nil {
			if !errors.Is(err, gatehouse.ErrDenied) {
				t.Errorf("%q: %v has no kind", code, err)
			}
			return
		}
		// What is taken differs from the code itself in nothing but how it is written.
		plain := strings.Join(strings.FieldsFunc(code, func(r rune) bool { return strings.ContainsRune("- \u00a0\t\r\n", r) }), "")
		if again, err := factor.HashRecovery("ada", plain); err != nil || again != hash || len(plain) != 16 {
			t.Errorf("%q is a code, and %q another, or none: %v", code, plain, err)
		}
	})
}
