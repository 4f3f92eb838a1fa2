package wire_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/internal/wire"
)

// allowed returns how often addresses may ask, of n times each.
func allowed(s *wire.Sources, n int, addresses ...string) int {
	got := 0
	for _, a := range addresses {
		from, _ := netip.ParseAddr(a)
		for range n {
			if s.Allow(from) {
				got++
			}
		}
	}
	return got
}

func TestSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wire.NewSources(2)
		for address, want := range map[string]int{
			"192.0.2.7": 2, "::ffff:192.0.2.8": 2, "2001:db8::1": 2, "127.0.0.1": 2 * wire.LoopbackShare, "garbage": 2,
		} {
			if got := allowed(s, 100, address); got != want {
				t.Errorf("%s is allowed %d, want %d", address, got, want)
			}
		}
		if got := allowed(s, 1, "2001:db8::ffff:1", "::1", "127.0.0.2"); got != 0 {
			t.Errorf("%d of the same networks have budgets of their own", got)
		}
		if got := allowed(s, 1, "2001:db8:0:1::1", "192.0.2.9"); got != 2 {
			t.Errorf("%d of the next networks have one", got)
		}
		if spent, _ := netip.ParseAddr("192.0.2.7"); !s.Spent(spent) || s.Spent(netip.MustParseAddr("192.0.2.10")) {
			t.Error("who has used it up is not known")
		}
		time.Sleep(time.Minute)
		if got := allowed(s, 100, "192.0.2.7", "2001:db8::1"); got != 4 {
			t.Errorf("after a minute they are allowed %d", got)
		}
	})
}

// Who has a large network of IPv6 is one, and their neighbours are others.
func TestSourcesOfIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wire.NewSources(3)
		site := func(provider, site byte, n int) (got int) {
			for i := range n {
				a := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, provider, 0, site, byte(i >> 8), byte(i), 1})
				if s.Allow(a) {
					got++
				}
			}
			return got
		}
		if got := site(1, 1, 5000); got != 3*8 {
			t.Errorf("a /48 is allowed %d", got)
		}
		if got := site(1, 2, 5); got != 5 {
			t.Errorf("the next /48 is allowed %d of 5", got)
		}
		got := 0
		for i := range 200 {
			got += site(1, byte(i), 50)
		}
		if got > 3*64 {
			t.Errorf("a provider's network is allowed %d in all", got)
		}
		if got := site(2, 1, 5); got != 5 {
			t.Errorf("another provider's is allowed %d of 5", got)
		}
	})
}

// However many networks there are, a new one is not refused for it, and what is
// remembered is bounded.
func TestSourcesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := wire.NewSources(2)
		// More of one origin than can be remembered.
		for i := range 20_000 {
			s.Allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		}
		if n := s.HookTestOnlyRemembered(); n != 8192 {
			t.Errorf("%d networks are remembered", n)
		}
		if got := allowed(s, 1, "192.0.2.1", "198.51.100.1", "2001:db8::1"); got != 3 {
			t.Errorf("%d of three others are let in", got)
		}
		if got := allowed(s, 100, "10.9.9.9"); got != 0 {
			t.Errorf("those who are too many are allowed %d", got)
		}
		if got := allowed(s, 100, "10.0.0.1"); got != 1 {
			t.Errorf("who is remembered is allowed %d of the one that is left", got)
		}
		// Whoever did nothing for a minute gives way.
		time.Sleep(time.Minute)
		if got := allowed(s, 100, "10.9.9.9"); got != 2 || s.HookTestOnlyRemembered() != 8192 {
			t.Errorf("afterwards a new one is allowed %d, and %d are remembered", got, s.HookTestOnlyRemembered())
		}
	})
}

func TestBudgetsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := wire.NewBudgets[string](2)
		for _, step := range []struct {
			key           string
			allowed, room bool
		}{{"a", true, true}, {"a", false, true}, {"b", true, true}, {"c", false, false}} {
			if allowed, room := b.Take(step.key, 1); allowed != step.allowed || room != step.room {
				t.Errorf("%s: %v, %v", step.key, allowed, room)
			}
		}
		time.Sleep(30 * time.Second)
		b.Take("a", 1) // heard of again, so that b is the one that goes
		time.Sleep(30 * time.Second)
		if allowed, room := b.Take("c", 1); !allowed || !room {
			t.Errorf("after a minute: %v, %v", allowed, room)
		}
		if b.Spent("b") || !b.Spent("c") {
			t.Error("another one gave way")
		}
	})
}
