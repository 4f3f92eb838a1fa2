package egress

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse"
	"gatehouse/internal/wire"
)

// limiter holds what is counted while the process lives.
type limiter struct {
	requests chan struct{} // one slot for each request without TLS
	tunnels  chan struct{} // one slot for each tunnel
	strange  *rate.Limiter // refusals of callers whom we do not know
	perSec   int
	held     heldBytes     // of compressed requests without TLS
	decoding chan struct{} // one slot for each of them that is decoded

	mu       sync.Mutex // guards services and what they point to
	services map[gatehouse.ServiceName]*serviceLimit
}

type serviceLimit struct {
	refusals *rate.Limiter
	tunnels  int
}

func newLimiter(l Limits) *limiter {
	return &limiter{
		requests: make(chan struct{}, l.Requests), tunnels: make(chan struct{}, l.Tunnels),
		strange: rate.NewLimiter(rate.Limit(l.StrangersPerSecond), l.StrangersPerSecond), perSec: l.StrangersPerSecond,
		services: map[gatehouse.ServiceName]*serviceLimit{},
		held:     heldBytes{most: plainHeld}, decoding: make(chan struct{}, plainDecoders),
	}
}

// service returns what is counted for a service; l.mu is held. Services come from
// the configuration, so there are not many.
func (l *limiter) service(name gatehouse.ServiceName) *serviceLimit {
	s := l.services[name]
	if s == nil {
		s = &serviceLimit{refusals: rate.NewLimiter(rate.Limit(l.perSec), 20*l.perSec)}
		l.services[name] = s
	}
	return s
}

// enterRequest takes a place among the requests without TLS.
func (l *limiter) enterRequest() (release func(), err error) {
	select {
	case l.requests <- struct{}{}:
		return func() { <-l.requests }, nil
	default:
		return nil, wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/concurrent-requests",
			"as many requests as Gatehouse carries at once are under way"), time.Second)
	}
}

// enterTunnel takes a place among the tunnels: a bounded number in all, and of one
// service at most half of them, so that none can starve the others.
func (l *limiter) enterTunnel(name gatehouse.ServiceName) (release func(), err error) {
	refused := wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/concurrent-tunnels",
		"as many tunnels as Gatehouse carries at once are open"), time.Second)
	select {
	case l.tunnels <- struct{}{}:
	default:
		return nil, refused
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := l.service(name)
	if of.tunnels >= max(1, cap(l.tunnels)/2) {
		<-l.tunnels
		return nil, refused
	}
	of.tunnels++
	return func() {
		l.mu.Lock()
		of.tunnels--
		l.mu.Unlock()
		<-l.tunnels
	}, nil
}

// refused counts a refusal of a service that we know. Each has a log entry: without
// a bound, a service that asks for what is not declared could fill the disk.
func (l *limiter) refused(name gatehouse.ServiceName) error {
	l.mu.Lock()
	allowed := l.service(name).refusals.Allow()
	l.mu.Unlock()
	if allowed {
		return nil
	}
	return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/refusals",
		"this service sends too many requests that are refused; this one was not recorded by itself"), time.Second)
}

// stranger counts a refusal of somebody unknown.
func (l *limiter) stranger() error {
	if l.strange.Allow() {
		return nil
	}
	return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/strangers",
		"too many requests without a valid service key arrive; this one was not recorded by itself"), time.Second)
}
