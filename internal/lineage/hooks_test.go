package lineage

import (
	"context"

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
func (p *Probes) Count(service gatehouse.ServiceName, most int, stopped ...Print) (over, begins bool) {
	return p.p.count(service, most, stopped)
}
