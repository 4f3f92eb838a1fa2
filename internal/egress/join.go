package egress

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// join copies in both directions until both have ended, or one broke, or nothing
// moved for idle (it may take twice as long to notice). It closes neither side,
// unless one broke.
//
// Two connections of TCP are joined by the kernel where it can do that, so nothing
// here looks at single reads: deadlines that are set once in a while find silence.
func join(client, upstream net.Conn, idle time.Duration, carried *Carried) error {
	j := &joint{window: max(idle/2, time.Millisecond)}
	now := time.Now().UnixNano()
	j.moved[sending].Store(now)
	j.moved[receiving].Store(now)
	ends := make(chan error, 2)
	go func() { ends <- j.copy(upstream, client, sending, &carried.Sent) }()
	go func() { ends <- j.copy(client, upstream, receiving, &carried.Received) }()
	var err error
	for range 2 {
		if one := <-ends; one != nil && err == nil {
			err = one
			// What comes now would be part of nothing whole.
			client.Close()
			upstream.Close()
		}
	}
	return err
}

// The directions of a tunnel.
const (
	sending = iota
	receiving
)

// joint is what both directions of a tunnel share.
type joint struct {
	window time.Duration
	moved  [2]atomic.Int64 // when each direction last moved something, in Unix nanoseconds
}

// copy is one direction, until its source ends.
func (j *joint) copy(to, from net.Conn, direction int, count *atomic.Int64) error {
	for {
		// Reads begin during the first window only, so a write has one window at
		// least: one that does not end then is a reader that takes nothing.
		begun := time.Now()
		if from.SetReadDeadline(begun.Add(j.window)) != nil || to.SetWriteDeadline(begun.Add(2*j.window)) != nil {
			return errTorn
		}
		n, writing, err := move(to, from)
		count.Add(n)
		if n > 0 {
			j.moved[direction].Store(time.Now().UnixNano())
		}
		switch {
		case err == nil:
			// The source said that it has no more to say.
			if half, ok := to.(interface{ CloseWrite() error }); ok && half.CloseWrite() != nil {
				return errTorn
			}
			return nil
		case !isTimeout(err):
			return errTorn
		case writing || time.Since(begun) >= 2*j.window:
			return errIdle
		case n == 0 && j.idle():
			return errIdle
		}
	}
}

// idle reports whether no direction has moved anything for two windows. What moved in
// the window that the other direction is in is not noted yet, so it takes three.
func (j *joint) idle() bool {
	last := max(j.moved[sending].Load(), j.moved[receiving].Load())
	return time.Now().UnixNano()-last >= int64(3*j.window)
}

// move copies until from ends or something fails. writing says that it is the write
// that failed, where that can be told: of two connections of TCP, which the kernel
// joins, it cannot.
func move(to, from net.Conn) (n int64, writing bool, err error) {
	if direct, ok := to.(*net.TCPConn); ok {
		if source, ok := from.(*net.TCPConn); ok {
			n, err = io.Copy(direct, source)
			return n, false, err
		}
	}
	buffer := buffers.Get().(*[32 << 10]byte)
	defer buffers.Put(buffer)
	for {
		got, err := from.Read(buffer[:])
		if got > 0 {
			put, err := to.Write(buffer[:got])
			n += int64(put)
			if err != nil {
				return n, true, err
			}
		}
		if errors.Is(err, io.EOF) {
			return n, false, nil
		}
		if err != nil {
			return n, false, err
		}
	}
}

var buffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}
