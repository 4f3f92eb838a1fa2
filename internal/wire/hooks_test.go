package wire

import (
	"net"
	"net/netip"
)

// HookTestOnlyPeerTrusted reports whether a process of this user may speak.
func HookTestOnlyPeerTrusted(user uint32, euid int) bool { return peerTrusted(user, euid) }

// HookTestOnlyMayDial judges one address of a host.
func (e *Egress) HookTestOnlyMayDial(addr string, a netip.Addr) bool {
	host, port, err := net.SplitHostPort(addr)
	return err == nil && e.reach(addr).permits(Classify(a), host, portNumber(port))
}

// HookTestOnlyRemembered returns how many networks are remembered.
func (s *Sources) HookTestOnlyRemembered() int { return len(s.budgets.by) }
