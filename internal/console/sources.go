package console

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// maxSources bounds how many networks are remembered; when there are more, those that
// are allowed a full burst again are forgotten.
const maxSources = 4096

// loopbackShare is how many times a source's budget loopback has: whatever ends TLS in
// front of us comes from there, for everybody.
const loopbackShare = 10

// sources limits how often each network may take a step of signing in. mu guards
// known.
type sources struct {
	perMinute int

	mu    sync.Mutex
	known map[netip.Prefix]*rate.Limiter
}

func newSources(perMinute int) *sources {
	return &sources{perMinute: perMinute, known: map[netip.Prefix]*rate.Limiter{}}
}

// allow takes one step from a source's budget: of an IPv4 address, or of the /64 that
// one subscriber has.
func (s *sources) allow(remote string) bool {
	addr := source(remote)
	bits, budget := addr.BitLen(), s.perMinute
	if addr.Is6() {
		bits = 64
	}
	if addr.IsLoopback() {
		bits, budget = 0, s.perMinute*loopbackShare
	}
	// Whatever cannot be told apart shares the zero prefix's budget.
	from, _ := addr.Prefix(bits)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.known[from]
	if l == nil {
		if len(s.known) >= maxSources {
			for p, l := range s.known {
				if l.Tokens() >= float64(l.Burst()) {
					delete(s.known, p)
				}
			}
		}
		if len(s.known) >= maxSources {
			return false
		}
		l = rate.NewLimiter(rate.Limit(float64(budget)/time.Minute.Seconds()), budget)
		s.known[from] = l
	}
	return l.Allow()
}
