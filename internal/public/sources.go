package public

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds how many sources are remembered at once. When there are
// more, those that would be allowed a full burst anyway are forgotten.
const maxSources = 10000

// sources limits how often each network source may ask. mu guards known.
type sources struct {
	perMinute int

	mu    sync.Mutex
	known map[netip.Prefix]*rate.Limiter
}

func newSources(perMinute int) *sources {
	return &sources{perMinute: perMinute, known: make(map[netip.Prefix]*rate.Limiter)}
}

// source is what counts as one visitor's network: an IPv4 address, or the /64
// that one IPv6 subscriber has.
func source(remote string) netip.Prefix {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{} // all that cannot be told apart share one budget
	}
	addr := a.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	prefix, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// allow takes one request from a source's budget. From loopback comes whatever
// ends TLS in front of us: everybody would share its budget, and only it can
// tell them apart.
func (s *sources) allow(remote string) bool {
	if a, err := netip.ParseAddrPort(remote); err == nil && a.Addr().Unmap().IsLoopback() {
		return true
	}
	from := source(remote)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.known[from]
	if l == nil {
		if len(s.known) >= maxSources {
			s.forget()
		}
		if len(s.known) >= maxSources {
			return false
		}
		l = rate.NewLimiter(rate.Limit(float64(s.perMinute)/time.Minute.Seconds()), s.perMinute)
		s.known[from] = l
	}
	return l.Allow()
}

// spent reports whether a source has used its budget up, without taking from it.
func (s *sources) spent(remote string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.known[source(remote)]
	return l != nil && l.Tokens() < 1
}

// forget drops the sources whose budget is full again.
func (s *sources) forget() {
	for from, l := range s.known {
		if l.Tokens() >= float64(s.perMinute) {
			delete(s.known, from)
		}
	}
}
