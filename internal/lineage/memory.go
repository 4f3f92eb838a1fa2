package lineage

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// notes are what was noted lately, so that ordinary traffic, which sees the same
// people again and again, writes little; and what waits to be.
type notes struct {
	mu     sync.Mutex // guards what follows; never held across a call to the store
	flows  memory[*cell]
	prints memory[Owner]
	edges  map[Edge]int64
	// gone are people who were erased, for as long as the memory may hold them.
	gone  map[Owner]time.Time
	dirty []*cell // flows whose counts are to be written
	next  *group  // what the next write takes along
}

// cell is a flow that is stored; guarded by notes.mu.
type cell struct {
	FlowKey
	call  sum   // that was counted last
	seen  int64 // not written yet
	last  time.Time
	dirty bool // it is in notes.dirty
}

// memory is two generations of what is known: it forgets what has not been noted
// anew for two turns.
type memory[V any] struct {
	now, old map[sum]V
	turned   time.Time
}

func (m *memory[V]) turn(now time.Time, size int, life time.Duration) {
	age := now.Sub(m.turned)
	if m.now == nil || len(m.now) >= size || age >= life {
		m.old, m.now, m.turned = m.now, map[sum]V{}, now
		if age >= 2*life {
			m.old = nil
		}
	}
}

func (m *memory[V]) get(k sum) (V, bool) {
	v, known := m.now[k]
	if !known {
		v, known = m.old[k]
	}
	return v, known
}

// sum names something in the memory, in which no value and no id may stand.
type sum [2]uint64

// hasher makes sums. It is a process's own, and random.
type hasher struct{ seeds [2]maphash.Seed }

func newHasher() hasher { return hasher{[2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}} }

func (h *hasher) of(under sum, number int64, parts ...string) (s sum) {
	for i := range s {
		var m maphash.Hash
		m.SetSeed(h.seeds[i])
		writeNumber(&m, int64(under[0]))
		writeNumber(&m, int64(under[1]))
		writeNumber(&m, number)
		for _, p := range parts {
			writeNumber(&m, int64(len(p)))
			_, _ = m.WriteString(p)
		}
		s[i] = m.Sum64()
	}
	return s
}

func writeNumber(m *maphash.Hash, n int64) {
	for range 8 {
		_ = m.WriteByte(byte(n))
		n >>= 8
	}
}

// flush writes the counts that gathered. What a crash loses is at most these: each
// flow itself, with its first time, is durable.
func (l *Lineage) flush(ctx context.Context) error {
	n := &l.noted
	n.mu.Lock()
	cells := n.dirty
	n.dirty = nil
	counts := make([]Count, len(cells))
	for i, c := range cells {
		counts[i] = Count{FlowKey: c.FlowKey, Seen: c.seen, Last: c.last}
		c.seen, c.dirty = 0, false
	}
	n.mu.Unlock()
	for len(counts) > 0 {
		some := min(len(counts), maxGroup)
		if err := l.store.Count(ctx, counts[:some]); err != nil {
			l.again(cells, counts)
			return err
		}
		cells, counts = cells[some:], counts[some:]
	}
	return nil
}

// again puts counts back that could not be written.
func (l *Lineage) again(cells []*cell, counts []Count) {
	n := &l.noted
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, c := range cells {
		c.seen += counts[i].Seen
		if !c.dirty {
			c.dirty = true
			n.dirty = append(n.dirty, c)
		}
	}
}
