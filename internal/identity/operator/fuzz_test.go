package operator_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/store/storetest"
)

// Whatever a browser brings back as a ceremony, it is one that was packed here or none.
func FuzzCeremony(f *testing.F) {
	w := newWorld(f, storetest.SQLite(f))
	b := browser("192.0.2.1")
	_, packed, err := w.d.SignInPasskeyBegin(f.Context(), b)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{packed, "", ".", "e30.00", packed[:len(packed)-1], "a" + packed} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		// With another browser even the right one is none.
		if ok, err := w.d.HookTestOnlyUnpack(t.Context(), s, operator.Hash{1}); ok || err == nil || gatehouse.Kind(err) != nil {
			t.Errorf("unpacking %q: %t, %v", s, ok, err)
		}
	})
}

// What is shown to other operators is short, printable text, and an address has one
// form by which it is found.
func FuzzNames(f *testing.F) {
	for _, seed := range []string{"Ada Lovelace", "ada@example.com", "A <ada@example.com>", "\u202eada", "a\x00b", "\xff", " ", "ÅDA@EXAMPLE.COM", "a@b\r\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		printable := func(what, v string, most int) {
			t.Helper()
			if len(v) > most || !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%s %q", what, v)
			}
		}
		name, err := operator.HookTestOnlyName(s)
		if err != nil && !errors.Is(err, gatehouse.ErrInvalid) || err == nil && name == "" {
			t.Errorf("the name %q: %q, %v", s, name, err)
		}
		printable("the name", name, 100)
		email, key, err := operator.HookTestOnlyEmail(s)
		if err == nil {
			_, again, err := operator.HookTestOnlyEmail(email)
			if err != nil || again != key || strings.ToLower(key) != key || !strings.Contains(key, "@") {
				t.Errorf("the address %q: %q, then %q, %v", s, key, again, err)
			}
		}
		printable("the address", email, 200)
		printable("the agent", operator.HookTestOnlyAgent(s), 200)
	})
}

func TestNetworks(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2ff::1": "2001:db8:1:200::/56", "fe80::1%eth0": "fe80::/56",
	} {
		if got := operator.HookTestOnlyNetwork(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s counts as %s, want %s", address, got, want)
		}
	}
}

// Each page asks for the session.
func BenchmarkSession(b *testing.B) {
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b, dsn(b))
			m := w.join("ada", operator.Owner)
			for b.Loop() {
				if _, _, err := w.d.Session(b.Context(), m.browser, m.token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
