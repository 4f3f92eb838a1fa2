package wire

import "net/netip"

// HookTestOnlyPeerTrusted reports whether a process of this user may speak.
func HookTestOnlyPeerTrusted(user uint32, euid int) bool { return peerTrusted(user, euid) }

// HookTestOnlyMayDial judges one address of a host.
func (e *Egress) HookTestOnlyMayDial(addr string, a netip.Addr) bool {
	return e.mayDial(addr, a, Classify(a))
}
