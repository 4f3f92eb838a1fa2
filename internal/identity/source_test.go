package identity_test

import (
	"errors"
	"net/netip"
	"testing"

	"gatehouse"
	"gatehouse/internal/identity"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

func TestBoundServicesCallFromTheirNetworksOnly(t *testing.T) {
	bound := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")}
	for _, c := range []struct {
		from string
		want bool
	}{
		{"10.1.2.3", true}, {"::ffff:10.1.2.3", true}, {"2001:db8::1", true},
		{"10.2.0.1", false}, {"127.0.0.1", false}, {"2001:db9::1", false}, {"::ffff:10.2.0.1", false},
	} {
		err := identity.CheckSource(bound, netip.MustParseAddr(c.from))
		if c.want && err != nil || !c.want && (wire.RuleOf(err) != "identity/source" || !errors.Is(err, gatehouse.ErrDenied)) {
			t.Errorf("from %s: %v, want allowed: %v", c.from, err, c.want)
		}
	}
	if err := identity.CheckSource(bound, netip.Addr{}); err == nil {
		t.Error("a caller without an address is allowed")
	}
	if err := identity.CheckSource(nil, netip.MustParseAddr("192.0.2.1")); err != nil {
		t.Errorf("a service that is not bound: %v", err)
	}
}

func TestANewSourceIsInTheLogOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn)
		handle, _ := w.handle("c1")
		other := w.newDirectory(w.db.Identity())
		for _, c := range []struct {
			from  string
			d     *identity.Directory
			first bool
		}{
			{"192.0.2.1", w.directory, true}, {"192.0.2.1", w.directory, false}, {"192.0.2.1", other, false},
			{"::ffff:192.0.2.1", other, false}, {"192.0.2.2", other, true}, {"192.0.2.2", w.directory, false},
			{"2001:db8::1", w.directory, true}, {"2001:db8::2", w.directory, false}, {"2001:db8:0:1::1", w.directory, true},
		} {
			first, err := c.d.SeenSource(t.Context(), handle, netip.MustParseAddr(c.from))
			if err != nil || first != c.first {
				t.Errorf("from %s: first time %v, %v; want %v", c.from, first, err, c.first)
			}
		}
		if n := w.logged("service.source.new", "scheduler"); n != 4 {
			t.Errorf("%d new sources in the log, want 4", n)
		}
		if _, err := w.directory.SeenSource(t.Context(), handle, netip.Addr{}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("no address: %v, want ErrInvalid", err)
		}
	})
}
