package wire_test

import (
	"net/netip"
	"testing"

	"gatehouse/internal/wire"
)

func TestClassify(t *testing.T) {
	for addr, want := range map[string]wire.AddressClass{
		"104.244.42.2":    wire.AddressPublic,
		"157.240.1.1":     wire.AddressPublic,
		"8.8.8.8":         wire.AddressPublic,
		"172.15.255.255":  wire.AddressPublic,
		"172.32.0.0":      wire.AddressPublic,
		"100.63.255.255":  wire.AddressPublic,
		"100.128.0.0":     wire.AddressPublic,
		"223.255.255.255": wire.AddressPublic,
		"2606:2800:220::": wire.AddressPublic,
		"2a03:2880::1":    wire.AddressPublic,

		"127.0.0.1":       wire.AddressLoopback,
		"127.255.255.254": wire.AddressLoopback,
		"::1":             wire.AddressLoopback,
		"0.0.0.0":         wire.AddressUnspecified,
		"0.1.2.3":         wire.AddressUnspecified,
		"::":              wire.AddressUnspecified,
		"10.0.0.1":        wire.AddressPrivate,
		"172.16.0.1":      wire.AddressPrivate,
		"172.31.255.255":  wire.AddressPrivate,
		"192.168.1.1":     wire.AddressPrivate,
		"fc00::1":         wire.AddressPrivate,
		"fdff::1":         wire.AddressPrivate,
		"fec0::1":         wire.AddressPrivate,
		"100.64.0.1":      wire.AddressShared,
		"100.127.255.255": wire.AddressShared,
		"169.254.1.1":     wire.AddressLinkLocal,
		"fe80::1":         wire.AddressLinkLocal,
		"fe80::1%eth0":    wire.AddressLinkLocal,
		"2606::1%eth0":    wire.AddressLinkLocal,
		"169.254.169.254": wire.AddressMetadata,
		"169.254.170.2":   wire.AddressMetadata,
		"100.100.100.200": wire.AddressMetadata,
		"168.63.129.16":   wire.AddressMetadata,
		"192.0.0.192":     wire.AddressMetadata,
		"fd00:ec2::254":   wire.AddressMetadata,
		"fd20:ce::254":    wire.AddressMetadata,
		"224.0.0.1":       wire.AddressMulticast,
		"239.255.255.250": wire.AddressMulticast,
		"ff02::1":         wire.AddressMulticast,
		"192.0.0.1":       wire.AddressReserved,
		"192.0.2.1":       wire.AddressReserved,
		"198.18.0.1":      wire.AddressReserved,
		"198.51.100.1":    wire.AddressReserved,
		"203.0.113.1":     wire.AddressReserved,
		"240.0.0.1":       wire.AddressReserved,
		"255.255.255.255": wire.AddressReserved,
		"2001:db8::1":     wire.AddressReserved,
		"3fff::1":         wire.AddressReserved,
		"2001:20::1":      wire.AddressReserved, // ORCHID
		"100::1":          wire.AddressReserved, // discard
		"5f00::1":         wire.AddressReserved, // segment routing
		"64:ff9b:1::1":    wire.AddressReserved, // a network's own NAT64
		"::7f00:1":        wire.AddressReserved, // IPv4-compatible 127.0.0.1
		"192.88.99.1":     wire.AddressTunnel,

		// IPv4 inside IPv6.
		"::ffff:127.0.0.1":         wire.AddressLoopback,
		"::ffff:10.0.0.1":          wire.AddressPrivate,
		"::ffff:169.254.169.254":   wire.AddressMetadata,
		"::ffff:8.8.8.8":           wire.AddressPublic,
		"64:ff9b::8.8.8.8":         wire.AddressPublic,
		"64:ff9b::10.0.0.1":        wire.AddressPrivate,
		"64:ff9b::169.254.169.254": wire.AddressMetadata,
		"64:ff9b::127.0.0.1":       wire.AddressLoopback,
		"2002:7f00:1::":            wire.AddressTunnel,   // 6to4 to 127.0.0.1
		"2002:808:808::":           wire.AddressTunnel,   // 6to4 to 8.8.8.8
		"2001::1":                  wire.AddressTunnel,   // Teredo
		"2606::5efe:10.0.0.1":      wire.AddressPrivate,  // ISATAP
		"2606::200:5efe:127.0.0.1": wire.AddressLoopback, // ISATAP, global bit
		"2606::5efe:8.8.8.8":       wire.AddressPublic,
	} {
		if got := wire.Classify(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
	if got := wire.Classify(netip.Addr{}); got == wire.AddressPublic {
		t.Errorf("no address at all is %s", got)
	}
}

// Nothing that any registry calls special may count as public, however it is
// wrapped.
func FuzzClassify(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "10.1.2.3", "169.254.169.254", "8.8.8.8", "224.0.0.1", "100.64.1.1"} {
		f.Add(netip.MustParseAddr(seed).AsSlice())
	}
	nat64 := netip.MustParseAddr("64:ff9b::").As16()
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 16 {
			wire.Classify(netip.AddrFrom16([16]byte(b)))
			return
		}
		if len(b) != 4 {
			return
		}
		a := netip.AddrFrom4([4]byte(b))
		class := wire.Classify(a)
		if class == wire.AddressPublic && (a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()) {
			t.Errorf("%s is public", a)
		}
		if mapped := wire.Classify(netip.AddrFrom16(a.As16())); mapped != class {
			t.Errorf("%s is %s, but %s when mapped", a, class, mapped)
		}
		copy(nat64[12:], b)
		if through := wire.Classify(netip.AddrFrom16(nat64)); through != class {
			t.Errorf("%s is %s, but %s through NAT64", a, class, through)
		}
	})
}
