package wire

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the networks of those who stand in front of a listener and say, in
// X-Forwarded-For, whom a request came from. Nobody else is believed. nil is nobody.
type Proxies []netip.Prefix

const (
	// maxForwarded bounds what is read of X-Forwarded-For, in bytes of all its lines.
	maxForwarded = 4096
	forwardedFor = "X-Forwarded-For"
)

// holds reports whether an address is a proxy's.
func (p Proxies) holds(a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a) })
}

// Source returns the address that a request came from: the connection's other end, or,
// if that is a proxy, the last address of X-Forwarded-For that is no proxy's. Each proxy
// adds at the end whom it saw, so what stands before that is what a caller wrote, and is
// not looked at. An address that is not written as one (with a port, a zone, a name), or
// that nobody can have come from, ends the search, and the proxy is the source: its
// callers share what it may do.
//
// told reports whether a proxy said it. A request whose source is unknown has the zero
// address.
func (p Proxies) Source(r *http.Request) (from netip.Addr, told bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	from = peer.Addr().Unmap().WithZone("")
	if !p.holds(from) {
		return from, false
	}
	lines := r.Header[forwardedFor]
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if size > maxForwarded {
		return from, false
	}
	for i := len(lines) - 1; i >= 0; i-- {
		rest := lines[i]
		for more := true; more; {
			var one string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, one = rest[:at], rest[at+1:]
			} else {
				one, more = rest, false
			}
			a, err := netip.ParseAddr(strings.Trim(one, " \t"))
			if err != nil || a.Zone() != "" {
				return from, false
			}
			if a = a.Unmap(); p.holds(a) {
				continue
			}
			if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
				return from, false
			}
			return a, true
		}
	}
	return from, false
}
