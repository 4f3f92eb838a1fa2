package public

import (
	"net/netip"
	"sync"

	"gatehouse/internal/wire"
)

const (
	// maxReading bounds how many notices are in memory at once: with maxNotice it
	// bounds the memory that strangers can make us use.
	maxReading = 32
	// maxReadingEach bounds those of one source, so that a slow one leaves room for
	// the platforms. From loopback comes whatever ends TLS in front of us.
	maxReadingEach = 8
)

// places counts who is being read. mu guards the counts.
type places struct {
	mu   sync.Mutex
	all  int
	each map[netip.Prefix]int
}

func newPlaces() *places { return &places{each: map[netip.Prefix]int{}} }

// enter takes a place for a source; leave gives it back.
func (p *places) enter(a netip.Addr) (leave func(), ok bool) {
	from := wire.Subscriber(a)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all >= maxReading || (p.each[from] >= maxReadingEach && !from.Addr().IsLoopback()) {
		return nil, false
	}
	p.all++
	p.each[from]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.all--
		if p.each[from]--; p.each[from] == 0 {
			delete(p.each, from)
		}
	}, true
}
