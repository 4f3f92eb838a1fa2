package gateway

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"gatehouse"
	"gatehouse/internal/wire"
)

// limiter holds what is counted for each service while the process lives: its
// rate and its open streams. Configured figures may change under it; the counts
// stay.
type limiter struct {
	calls   chan struct{} // one slot for each call under way
	unheard chan struct{} // one slot for each call whose body has to tell who calls
	streams chan struct{} // one slot for each open stream
	unknown *rate.Limiter // refusals of callers whom we do not know

	mu       sync.Mutex // guards services
	services map[gatehouse.ServiceName]*serviceLimit
}

type serviceLimit struct {
	bucket   *rate.Limiter
	refusals *rate.Limiter
	streams  int // guarded by limiter.mu
}

func newLimiter(l Limits) *limiter {
	return &limiter{
		calls:    make(chan struct{}, l.Calls),
		unheard:  make(chan struct{}, max(1, l.Calls/4)),
		streams:  make(chan struct{}, l.Streams),
		unknown:  rate.NewLimiter(rate.Limit(l.UnknownPerSecond), l.UnknownPerSecond),
		services: map[gatehouse.ServiceName]*serviceLimit{},
	}
}

func (l *limiter) service(name gatehouse.ServiceName, s Service) *serviceLimit {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.services[name]
	if have == nil {
		have = &serviceLimit{bucket: rate.NewLimiter(s.limit(), s.burst()), refusals: rate.NewLimiter(l.unknown.Limit(), 20*l.unknown.Burst())}
		l.services[name] = have
	}
	if have.bucket.Limit() != s.limit() || have.bucket.Burst() != s.burst() {
		have.bucket.SetLimit(s.limit())
		have.bucket.SetBurst(s.burst())
	}
	return have
}

// enter takes a place among the calls under way; release gives it back. It comes
// before anything is read: the places bound the memory that callers can make us
// use. Those whose body has to be read to find out who they are have places of
// their own, so that strangers who send slowly keep nobody else out.
func (l *limiter) enter(unheard bool) (release func(), err error) {
	places := l.calls
	if unheard {
		places = l.unheard
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/concurrent-calls",
			"as many calls as Gatehouse carries at once are under way"), time.Second)
	}
}

// admit takes cost calls from the service's rate. A Graph batch costs as many
// calls as it has items, as it does at the platform.
func (l *limiter) admit(name gatehouse.ServiceName, s Service, cost int) error {
	bucket := l.service(name, s).bucket
	r := bucket.ReserveN(time.Now(), min(cost, bucket.Burst()))
	if r.OK() && r.Delay() == 0 {
		return nil
	}
	delay := r.Delay()
	r.Cancel()
	return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/service-rate",
		"this service calls faster than its rate in the configuration allows"), min(max(delay, time.Second), time.Hour))
}

// openStream takes a place among the streams: a bounded number in all, and of
// one service at most half of them, so that none can starve the others.
func (l *limiter) openStream(name gatehouse.ServiceName, s Service) (release func(), err error) {
	refused := wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/concurrent-streams",
		"as many streams as Gatehouse carries at once are open"), 5*time.Second)
	select {
	case l.streams <- struct{}{}:
	default:
		return nil, refused
	}
	of := l.service(name, s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if of.streams >= max(1, cap(l.streams)/2) {
		<-l.streams
		return nil, refused
	}
	of.streams++
	return func() {
		l.mu.Lock()
		of.streams--
		l.mu.Unlock()
		<-l.streams
	}, nil
}

// refused counts a refusal of a service that we know. Each has a log entry, and
// comes before the service's rate: without a bound of its own, a service that
// calls what no purpose declares could fill the disk.
func (l *limiter) refused(name gatehouse.ServiceName, s Service) error {
	if l.service(name, s).refusals.Allow() {
		return nil
	}
	return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/refusals",
		"this service sends too many requests that are refused; this one was not recorded by itself"), time.Second)
}

// stranger counts a refusal of somebody unknown. Each such refusal is a log
// entry; without a bound a stranger could fill the disk with them.
func (l *limiter) stranger() error {
	if l.unknown.Allow() {
		return nil
	}
	return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/strangers",
		"too many requests without a valid handle arrive; this one was not recorded by itself"), time.Second)
}
