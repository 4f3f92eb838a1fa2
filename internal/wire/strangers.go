package wire

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// strangers are the connections of a listener whose callers have not shown who they
// are. They have fewer places than there are connections, a short time each, and one of
// them gives way to whoever comes: somebody without a key, who opens connections and
// says nothing, keeps nobody out who has one, and the network that holds the most
// places is the one that loses them.
type strangers struct {
	most int
	time time.Duration
	// trusted are networks whose connections are never among them, as long as fewer
	// than named are known.
	trusted Proxies
	// named is how many connections [KnownAs] and trusted networks may have: what is
	// left for strangers, so that somebody who wants to sign in finds a place.
	named int

	mu    sync.Mutex              // guards what follows, and place, owner and in of each connection
	conns list.List               // of *countedConn, the oldest first
	known map[string]*list.List   // of *countedConn by who it is, the one heard of longest ago first
	all   int                     // how many are in known
	from  map[sizedNetwork]*crowd // of conns, for networks of every size
}

func newStrangers(most int, time time.Duration, trusted Proxies, conns int) *strangers {
	return &strangers{most: most, time: time, trusted: trusted, named: max(conns-most, 0), known: map[string]*list.List{}, from: map[sizedNetwork]*crowd{}}
}

// crowd are the strangers of one network. The lock of strangers guards conns.
type crowd struct {
	at    sizedNetwork
	conns int
}

// sizedNetwork is a network and which of networkBits it is: what is no address is all of
// its sizes.
type sizedNetwork struct {
	network netip.Prefix
	size    int
}

// add takes a connection in, and closes what is too many.
func (s *strangers) add(c *countedConn) {
	s.mu.Lock()
	c.among, c.since = s, time.Now()
	if s.trusted.holds(c.remote()) && s.all < s.named {
		s.own(c, "")
		s.mu.Unlock()
		return
	}
	c.place = s.conns.PushBack(c)
	for size, p := range networksOf(c.remote()) {
		key := sizedNetwork{p, size}
		if s.from[key] == nil {
			s.from[key] = &crowd{at: key}
		}
		c.in[size] = s.from[key]
		c.in[size].conns++
	}
	c.timer = time.AfterFunc(s.time, func() { c.Close() })
	tooMany := s.conns.Len() > s.most
	s.mu.Unlock()
	if tooMany {
		s.evict()
	}
}

// own counts a connection to somebody. s.mu is held.
func (s *strangers) own(c *countedConn, who string) {
	of := s.known[who]
	if of == nil {
		of = list.New()
		s.known[who] = of
	}
	c.owner, c.owned = who, of.PushBack(c)
	s.all++
}

// evict closes the oldest connection of the network that has the most, and reports
// whether there was one. It looks for the largest network first and then inside it: a
// provider's whole network, from which somebody attacks, loses places before anybody
// else does, and in it the attacker's own part.
func (s *strangers) evict() bool {
	s.mu.Lock()
	var chosen *countedConn
	for size := len(networkBits) - 1; size >= 0; size-- {
		most, best := 0, chosen
		for e := s.conns.Front(); e != nil; e = e.Next() {
			c := e.Value.(*countedConn)
			if chosen != nil && c.in[size+1] != chosen.in[size+1] {
				continue
			}
			if c.in[size].conns > most {
				most, best = c.in[size].conns, c
			}
		}
		chosen = best
	}
	s.mu.Unlock()
	if chosen == nil {
		return false
	}
	chosen.Close()
	return true
}

// remove takes a connection out, which is closed or whose caller is known.
func (s *strangers) remove(c *countedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(c)
	if c.owned != nil {
		of := s.known[c.owner]
		of.Remove(c.owned)
		c.owned = nil
		s.all--
		if of.Len() == 0 {
			delete(s.known, c.owner)
		}
	}
}

// forget takes a connection out of those whose callers are not known. s.mu is held.
func (s *strangers) forget(c *countedConn) {
	if c.place == nil {
		return
	}
	s.conns.Remove(c.place)
	c.place = nil
	c.timer.Stop()
	for _, n := range c.in {
		if n.conns--; n.conns == 0 {
			delete(s.from, n.at)
		}
	}
}

// name makes a connection one of who's, of which there may be most.
func (s *strangers) name(c *countedConn, who string, most int) {
	s.mu.Lock()
	if c.owned != nil {
		// A proxy's, or of somebody who may be another account by now: it stays whose
		// it was first, and is the one heard of last.
		s.known[c.owner].MoveToBack(c.owned)
		s.mu.Unlock()
		return
	}
	if c.place == nil || s.all >= s.named && s.known[who] == nil {
		s.mu.Unlock()
		return
	}
	var over *countedConn
	if of := s.known[who]; of != nil && (of.Len() >= most || s.all >= s.named) {
		over = of.Front().Value.(*countedConn)
	}
	s.forget(c)
	s.own(c, who)
	s.mu.Unlock()
	if over != nil {
		over.Close()
	}
}

// acceptStranger accepts a connection and makes room for it. Only where all places are
// taken by callers who are known it has to wait.
func (l *boundedListener) acceptStranger() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	for room := false; !room; {
		select {
		case l.free <- struct{}{}:
			room = true
			continue
		default:
		}
		if l.strangers.evict() {
			continue
		}
		// Nobody else adds strangers.
		select {
		case l.free <- struct{}{}:
			room = true
		case <-l.closed:
			conn.Close()
			return nil, net.ErrClosed
		}
	}
	c := &countedConn{stallConn: stallConn{conn, l.stall}, release: func() { <-l.free }}
	l.strangers.add(c)
	return c, nil
}

// callerKey finds a request's connection. net/http has no other way from a handler to
// the connection; it is part of the transport, and says nothing about who calls.
type callerKey struct{}

func withCaller(ctx context.Context, conn net.Conn) context.Context {
	if under, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = under.NetConn()
	}
	if c, ok := conn.(*countedConn); ok && c.among != nil {
		return context.WithValue(ctx, callerKey{}, c)
	}
	return ctx
}

// Known says of a request's context that its caller has shown who it is: its
// connection is no stranger's any more (see [ServerConfig].Strangers). It does nothing
// on listeners that do not tell them apart.
func Known(ctx context.Context) {
	if c, ok := ctx.Value(callerKey{}).(*countedConn); ok {
		c.among.remove(c)
	}
}

// KnownAs is [Known] for a listener whose callers bound each other by nothing else: who
// may have most connections, beyond which the one that was heard of longest ago is
// closed, and all who are known together leave the strangers their places. Where that is
// not so a connection stays a stranger's. One listener uses either this or Known.
func KnownAs(ctx context.Context, who string, most int) {
	if c, ok := ctx.Value(callerKey{}).(*countedConn); ok {
		c.among.name(c, who, most)
	}
}

// Named reports whether a request came on a connection that [KnownAs] made somebody's.
func Named(ctx context.Context) bool {
	c, ok := ctx.Value(callerKey{}).(*countedConn)
	if !ok {
		return false
	}
	c.among.mu.Lock()
	defer c.among.mu.Unlock()
	return c.owned != nil && c.owner != ""
}

// Aged reports whether a request came on a stranger's connection that has had half of
// its time: whoever answers it closes the connection in good order ("Connection: close"),
// before it is cut in the middle of another request.
func Aged(ctx context.Context) bool {
	c, ok := ctx.Value(callerKey{}).(*countedConn)
	if !ok {
		return false
	}
	c.among.mu.Lock()
	defer c.among.mu.Unlock()
	return c.place != nil && time.Since(c.since) > c.among.time/2
}
