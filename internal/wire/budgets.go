package wire

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Budgets are how often each of many may do something in a minute, and at once. They
// remember a bounded number; whoever did nothing for a minute has a full budget, and is
// as good as forgotten. It is safe for concurrent use.
type Budgets[K comparable] struct {
	most int

	mu     sync.Mutex
	by     map[K]*list.Element // of *budgetOf[K]
	recent list.List           // the one heard of longest ago first
}

type budgetOf[K comparable] struct {
	key   K
	left  *rate.Limiter
	heard time.Time
}

// NewBudgets returns budgets of at most so many at a time.
func NewBudgets[K comparable](most int) *Budgets[K] {
	return &Budgets[K]{most: most, by: map[K]*list.Element{}}
}

// Take takes one from key's budget. room is false, and nothing was judged, if there is no
// place to remember key, because as many others did something within the last minute.
func (b *Budgets[K]) Take(key K, perMinute int) (allowed, room bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	l := b.of(key, perMinute, now)
	if l == nil {
		return false, false
	}
	return l.AllowN(now, 1), true
}

// Spent reports whether key's budget is used up, without taking from it.
func (b *Budgets[K]) Spent(key K) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.by[key]
	return e != nil && e.Value.(*budgetOf[K]).left.Tokens() < 1
}

// of returns key's budget, or nil if there is no place for it. b.mu is held.
func (b *Budgets[K]) of(key K, perMinute int, now time.Time) *rate.Limiter {
	if e := b.by[key]; e != nil {
		b.recent.MoveToBack(e)
		one := e.Value.(*budgetOf[K])
		one.heard = now
		return one.left
	}
	if len(b.by) >= b.most {
		oldest := b.recent.Front()
		one := oldest.Value.(*budgetOf[K])
		if now.Sub(one.heard) < time.Minute {
			return nil
		}
		b.recent.Remove(oldest)
		delete(b.by, one.key)
	}
	one := &budgetOf[K]{key, perMinuteLimiter(perMinute), now}
	b.by[key] = b.recent.PushBack(one)
	return one.left
}

func perMinuteLimiter(n int) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(float64(n)/time.Minute.Seconds()), n)
}

const (
	// maxNetworks bounds how many networks are remembered at once.
	maxNetworks = 8192
	// LoopbackShare is how many times a network's budget loopback has: whatever ends TLS
	// in front of us comes from there, for everybody that it does not tell apart.
	LoopbackShare = 10
	// overflows is how many budgets those share who are not remembered.
	overflows = 256
)

// shares are how many times one subscriber's budget the networks of IPv6 have that it is
// part of. Somebody who has a /48 has 65,536 subscribers' networks, and is one. Of IPv4
// each address is somebody's, if not many people's.
var shares = [len(networkBits)]int{1, 8, 64}

// Sources are how often each network may ask in a minute, and at once: an IPv4 address,
// or the /64 that one subscriber has and the larger networks around it. Nobody is refused
// because others are many: whoever finds no place to be remembered shares a budget with
// those of about the same origin who found none either. It is safe for concurrent use.
type Sources struct {
	perMinute int
	seed      maphash.Seed
	budgets   *Budgets[netip.Prefix]
	overflow  [overflows]*rate.Limiter // guarded by budgets.mu; nil is full
}

// NewSources returns sources of which each may ask so often.
func NewSources(perMinute int) *Sources {
	return &Sources{perMinute: perMinute, seed: maphash.MakeSeed(), budgets: NewBudgets[netip.Prefix](maxNetworks)}
}

// Allow takes one from the budgets of an address. Addresses that are none share one.
func (s *Sources) Allow(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	b := s.budgets
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if from.IsLoopback() {
		l := b.of(loopback, s.perMinute*LoopbackShare, now)
		return s.orOverflow(l, from, now).AllowN(now, 1)
	}
	networks := networksOf(from)
	sizes := 1
	if from.Is6() {
		sizes = len(networks)
	}
	var all [len(networks)]*rate.Limiter
	// The largest first: one that has used its budget up takes no more places.
	for i := sizes - 1; i >= 0; i-- {
		all[i] = b.of(networks[i], s.perMinute*shares[i], now)
		if all[i] == nil {
			return s.orOverflow(nil, from, now).AllowN(now, 1)
		}
		if all[i].TokensAt(now) < 1 {
			return false
		}
	}
	for _, l := range all[:sizes] {
		l.AllowN(now, 1)
	}
	return true
}

// loopback is one network, whoever it is.
var loopback = netip.MustParsePrefix("::1/128")

// orOverflow returns l, or if it is nil the budget that an address shares with others of
// its /8, or of some providers' networks. budgets.mu is held.
func (s *Sources) orOverflow(l *rate.Limiter, from netip.Addr, now time.Time) *rate.Limiter {
	if l != nil {
		return l
	}
	at := &s.overflow[maphash.Comparable(s.seed, origin(from))%overflows]
	if *at == nil {
		*at = perMinuteLimiter(s.perMinute * LoopbackShare)
	}
	return *at
}

// origin is what is left of an address when it cannot be remembered.
func origin(a netip.Addr) netip.Prefix {
	bits := 8
	if a.Is6() {
		bits = networkBits[len(networkBits)-1].v6
	}
	p, _ := a.Prefix(bits)
	return p
}

// Spent reports whether an address has used its budget up, without taking from it.
func (s *Sources) Spent(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	networks := networksOf(from)
	sizes := 1
	if from.Is6() {
		sizes = len(networks)
	}
	if from.IsLoopback() {
		networks[0], sizes = loopback, 1
	}
	for _, n := range networks[:sizes] {
		if s.budgets.Spent(n) {
			return true
		}
	}
	return false
}
