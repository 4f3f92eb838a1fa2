package wire

import (
	"net"
	"net/netip"
)

// networkBits are the sizes of networks that callers are told apart by, in bits of the
// prefix, for IPv4 and IPv6: what one subscriber has, what one customer of a provider
// can have, and a provider's.
var networkBits = [...]struct{ v4, v6 int }{{32, 64}, {24, 48}, {16, 32}}

// networksOf returns the networks that an address is part of, the smallest first. An
// address that is none is part of the zero prefix.
func networksOf(a netip.Addr) (of [len(networkBits)]netip.Prefix) {
	a = a.Unmap().WithZone("")
	for i, bits := range networkBits {
		b := bits.v4
		if a.Is6() {
			b = bits.v6
		}
		of[i], _ = a.Prefix(b)
	}
	return of
}

// Subscriber returns the network that one subscriber has: an IPv4 address, or a /64. All
// addresses that are none are of the zero prefix.
func Subscriber(a netip.Addr) netip.Prefix { return networksOf(a)[0] }

// remoteAddr returns a connection's other end; the zero address for a Unix socket.
func remoteAddr(conn net.Conn) netip.Addr {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
