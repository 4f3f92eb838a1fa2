package lineage

import (
	"context"
	"time"

	"gatehouse"
)

// Load, Poll, Flush and Sweep are steps of the background work, which tests take
// one at a time.
func (l *Lineage) Load(ctx context.Context) error  { return l.load(ctx) }
func (l *Lineage) Poll(ctx context.Context) error  { return l.poll(ctx) }
func (l *Lineage) Flush(ctx context.Context) error { return l.flush(ctx) }
func (l *Lineage) Sweep(ctx context.Context) error { return l.sweep(ctx) }

// ParsePlace parses where a page ended, and writes it again.
func ParsePlace(text string) (string, error) {
	k, err := parsePlace(text)
	return place(k), err
}

// NewDiagram makes a diagram of totals.
var NewDiagram = newDiagram

// Pages is how much one page of fingerprints holds.
const Pages = pageSize

// Probes count what was stopped.
type Probes struct{ p probes }

// Count takes in what was stopped of a service.
func (p *Probes) Count(service gatehouse.ServiceName, most int, stopped ...Print) (begins bool) {
	return p.p.count(service, "a.example", most, stopped)
}

// Shut reports whether that was too much.
func (p *Probes) Shut(service gatehouse.ServiceName) bool { return p.p.shut(service, "a.example") }

// Memory is what was noted lately.
type Memory struct{ m memory[struct{}] }

// Put remembers a number, at most so many.
func (m *Memory) Put(n uint64, life time.Duration) {
	m.m.turn(time.Now(), 100, life)
	m.m.now[sum{n}] = struct{}{}
}

// Has reports whether a number is remembered.
func (m *Memory) Has(n uint64) bool {
	_, known := m.m.get(sum{n})
	return known
}
