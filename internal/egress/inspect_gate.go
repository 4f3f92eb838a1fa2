package egress

import (
	"context"
	"sync"

	"gatehouse/internal/identity"
)

// chunk is how much of a body is read and looked at in one step.
const chunk = 32 << 10

// chunks are buffers of that size.
var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// copyBuffers lends them to whoever copies answers.
type copyBuffers struct{}

func (copyBuffers) Get() []byte { return chunks.Get().(*[chunk]byte)[:] }
func (copyBuffers) Put(b []byte) {
	if cap(b) >= chunk {
		chunks.Put((*[chunk]byte)(b[:chunk]))
	}
}

// gate passes on the bytes of a body, or of one message, as far as an inspection lets
// them go, in their order. What is passed on may be other bytes than those looked at
// (a WebSocket's are masked), one for one. One goroutine owns it.
type gate struct {
	inspection Inspection
	keys       identity.Scanner // looks for credentials of ours, which never pass
	limit      int              // bytes that may wait
	ready      *[]byte
	waiting    []piece
	bytes      int   // that wait
	looked     int64 // bytes given to the inspection
	passed     int64 // of them, passed on
	open       bool  // nothing is held any more
}

// piece is what waits. Framing is nothing that the inspection sees, and passes when
// everything before it has.
type piece struct {
	raw     []byte
	framing bool
}

// frame adds framing.
func (g *gate) frame(raw []byte) { g.add(raw, true) }

// data adds content: raw is passed on when plain is judged.
func (g *gate) data(raw, plain []byte) error {
	if g.keys.Found(plain) {
		return errKeyInside("the body")
	}
	_, _ = g.inspection.Write(plain) // never fails
	g.looked += int64(len(plain))
	g.add(raw, false)
	return nil
}

func (g *gate) add(raw []byte, framing bool) {
	if len(g.waiting) == 0 && framing || g.open {
		*g.ready = append(*g.ready, raw...)
		if !framing {
			g.passed += int64(len(raw))
		}
		return
	}
	if last := len(g.waiting) - 1; last >= 0 && g.waiting[last].framing == framing {
		g.waiting[last].raw = append(g.waiting[last].raw, raw...)
	} else {
		g.waiting = append(g.waiting, piece{append([]byte(nil), raw...), framing})
	}
	g.bytes += len(raw)
}

// judge asks the inspection, and moves what may go to ready.
func (g *gate) judge(ctx context.Context) error {
	safe, err := g.inspection.Judge(ctx)
	if err != nil || g.open {
		return err
	}
	g.release(min(safe, g.looked))
	return nil
}

// end says that the body or the message is complete; everything may go then.
func (g *gate) end(ctx context.Context) error {
	if err := g.inspection.End(ctx); err != nil || g.open {
		return err
	}
	g.release(g.looked)
	return nil
}

// full reports whether more waits than may.
func (g *gate) full() bool { return g.bytes > g.limit }

// letGo passes on everything, now and later.
func (g *gate) letGo() {
	g.release(g.looked)
	g.open = true
}

func (g *gate) release(safe int64) {
	done := 0
	for i := range g.waiting {
		p := &g.waiting[i]
		n := len(p.raw)
		if !p.framing {
			n = int(min(int64(n), safe-g.passed))
		}
		if n < 0 {
			n = 0
		}
		*g.ready = append(*g.ready, p.raw[:n]...)
		g.bytes -= n
		if !p.framing {
			g.passed += int64(n)
		}
		if n < len(p.raw) {
			p.raw = append(p.raw[:0], p.raw[n:]...)
			break
		}
		done++
	}
	g.waiting = append(g.waiting[:0], g.waiting[done:]...)
	if len(g.waiting) == 0 {
		g.waiting = nil
	}
}
