package wire

import "net/netip"

// AddressClass says what kind of network an address belongs to, by the IANA
// special-purpose registries.
type AddressClass string

// The classes. Only AddressPublic may be dialled, and AddressLoopback and
// AddressPrivate where the configuration says so.
const (
	AddressPublic      AddressClass = "public"
	AddressLoopback    AddressClass = "loopback"
	AddressUnspecified AddressClass = "unspecified"
	AddressPrivate     AddressClass = "private"
	AddressShared      AddressClass = "shared (carrier-grade NAT)"
	AddressLinkLocal   AddressClass = "link-local"
	AddressMetadata    AddressClass = "cloud metadata"
	AddressMulticast   AddressClass = "multicast"
	AddressReserved    AddressClass = "reserved"
	AddressTunnel      AddressClass = "tunnel"
)

// special lists the ranges that are not public, most specific first. What
// several clouds answer credentials on is named even where its range is refused
// anyway, so that the log says what somebody tried; 168.63.129.16 lies in public
// space.
var special = []struct {
	prefix netip.Prefix
	class  AddressClass
}{
	{netip.MustParsePrefix("169.254.169.254/32"), AddressMetadata}, // AWS, Google, Azure and others
	{netip.MustParsePrefix("169.254.170.2/32"), AddressMetadata},   // AWS container credentials
	{netip.MustParsePrefix("100.100.100.200/32"), AddressMetadata}, // Alibaba
	{netip.MustParsePrefix("192.0.0.192/32"), AddressMetadata},     // Oracle
	{netip.MustParsePrefix("168.63.129.16/32"), AddressMetadata},   // Azure's wire server
	{netip.MustParsePrefix("fd00:ec2::254/128"), AddressMetadata},  // AWS over IPv6
	{netip.MustParsePrefix("fd20:ce::254/128"), AddressMetadata},   // Google over IPv6

	{netip.MustParsePrefix("0.0.0.0/8"), AddressUnspecified},
	{netip.MustParsePrefix("10.0.0.0/8"), AddressPrivate},
	{netip.MustParsePrefix("100.64.0.0/10"), AddressShared},
	{netip.MustParsePrefix("127.0.0.0/8"), AddressLoopback},
	{netip.MustParsePrefix("169.254.0.0/16"), AddressLinkLocal},
	{netip.MustParsePrefix("172.16.0.0/12"), AddressPrivate},
	{netip.MustParsePrefix("192.0.0.0/24"), AddressReserved},
	{netip.MustParsePrefix("192.0.2.0/24"), AddressReserved},  // documentation
	{netip.MustParsePrefix("192.88.99.0/24"), AddressTunnel},  // 6to4 relays
	{netip.MustParsePrefix("192.168.0.0/16"), AddressPrivate}, //
	{netip.MustParsePrefix("198.18.0.0/15"), AddressReserved}, // benchmarks
	{netip.MustParsePrefix("198.51.100.0/24"), AddressReserved},
	{netip.MustParsePrefix("203.0.113.0/24"), AddressReserved},
	{netip.MustParsePrefix("224.0.0.0/4"), AddressMulticast},
	{netip.MustParsePrefix("240.0.0.0/4"), AddressReserved},

	{netip.MustParsePrefix("::/128"), AddressUnspecified},
	{netip.MustParsePrefix("::1/128"), AddressLoopback},
	{netip.MustParsePrefix("fc00::/7"), AddressPrivate},
	{netip.MustParsePrefix("fe80::/10"), AddressLinkLocal},
	{netip.MustParsePrefix("fec0::/10"), AddressPrivate}, // site-local, deprecated
	{netip.MustParsePrefix("ff00::/8"), AddressMulticast},
	{netip.MustParsePrefix("2001::/32"), AddressTunnel},       // Teredo
	{netip.MustParsePrefix("2001::/23"), AddressReserved},     // protocol assignments: ORCHID, benchmarks
	{netip.MustParsePrefix("2001:db8::/32"), AddressReserved}, // documentation
	{netip.MustParsePrefix("2002::/16"), AddressTunnel},       // 6to4
	{netip.MustParsePrefix("3fff::/20"), AddressReserved},     // documentation
}

var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	globalIP6 = netip.MustParsePrefix("2000::/3")
)

// Classify says what kind of network addr belongs to. An IPv4 address inside an
// IPv6 one (mapped, NAT64, ISATAP) counts as itself. A tunnel that carries its
// end in the address (6to4, Teredo) is never public: where it leads is not for
// the sender of a name to choose.
func Classify(addr netip.Addr) AddressClass {
	if !addr.IsValid() {
		return AddressUnspecified
	}
	if addr.Zone() != "" {
		return AddressLinkLocal
	}
	addr = addr.Unmap()
	if addr.Is6() {
		b := addr.As16()
		if nat64.Contains(addr) {
			return Classify(netip.AddrFrom4([4]byte(b[12:])))
		}
		if isISATAP(b) {
			if class := Classify(netip.AddrFrom4([4]byte(b[12:]))); class != AddressPublic {
				return class
			}
		}
	}
	for _, s := range special {
		if s.prefix.Contains(addr) {
			return s.class
		}
	}
	// The rest of IPv6 outside global unicast is unassigned, local NAT64
	// (64:ff9b:1::/48), IPv4-compatible (::/96), discard-only (100::/64), SRv6.
	if addr.Is6() && !globalIP6.Contains(addr) {
		return AddressReserved
	}
	return AddressPublic
}

// isISATAP reports whether the interface part is 0000:5efe or 0200:5efe with an
// IPv4 address behind it (RFC 5214).
func isISATAP(b [16]byte) bool {
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}
