package console

import (
	"net/netip"
	"sync"

	"gatehouse/internal/wire"
)

const (
	// maxLobby bounds how many pages are made, or wait to be, for browsers whose
	// connection nobody has signed in on, and maxLobbyEach those of one network. Whoever
	// is signed in waits behind no more than these.
	maxLobby     = 64
	maxLobbyEach = 16
)

// lobby counts pages for those who may be anybody. mu guards the counts.
type lobby struct {
	mu   sync.Mutex
	all  int
	each map[netip.Prefix]int
}

func newLobby() *lobby { return &lobby{each: map[netip.Prefix]int{}} }

// enter takes a place for a source; leave gives it back. Loopback is whatever ends TLS in
// front of us, and many.
func (l *lobby) enter(from netip.Addr) (leave func(), ok bool) {
	network := wire.Subscriber(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxLobby || l.each[network] >= maxLobbyEach && !from.IsLoopback() {
		return nil, false
	}
	l.all++
	l.each[network]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all--
		if l.each[network]--; l.each[network] == 0 {
			delete(l.each, network)
		}
	}, true
}
