package wire

import (
	"container/list"
	"context"
	"net"
	"sync"
	"time"
)

// strangers are the connections of a listener whose callers have not shown who they
// are. They have fewer places than there are connections, a short time each, and the
// oldest gives way to whoever comes: somebody without a key, who opens connections and
// says nothing, keeps nobody out who has one.
type strangers struct {
	most int
	time time.Duration

	mu    sync.Mutex // guards conns, and place of each
	conns list.List  // of *countedConn, the oldest first
}

// add takes a connection in, and closes the oldest ones that are too many.
func (s *strangers) add(c *countedConn) {
	s.mu.Lock()
	c.among = s
	c.place = s.conns.PushBack(c)
	c.timer = time.AfterFunc(s.time, func() { c.Close() })
	tooMany := s.conns.Len() > s.most
	s.mu.Unlock()
	if tooMany {
		s.evict()
	}
}

// evict closes the oldest connection, and reports whether there was one.
func (s *strangers) evict() bool {
	s.mu.Lock()
	oldest := s.conns.Front()
	s.mu.Unlock()
	if oldest == nil {
		return false
	}
	oldest.Value.(*countedConn).Close()
	return true
}

// remove takes a connection out, which is closed or whose caller is known.
func (s *strangers) remove(c *countedConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place == nil {
		return
	}
	s.conns.Remove(c.place)
	c.place = nil
	c.timer.Stop()
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
