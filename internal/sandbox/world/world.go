// Package world is what the sandbox's platforms share: the people and the texts
// that they are seeded with, the clock they read, the ledger of every secret
// they ever issued, the faults that may be ordered for a later request, the
// record of recent requests and the consent page.
//
// It promises the same people and texts in every run, so that a test may name
// them. It must never import anything of the product's own packages: the
// sandbox is a second opinion about the platforms, and a mistake shared with the
// product would confirm itself.
package world

import (
	"sync"
	"time"
)

// Clock is the sandbox's time: the machine's time plus a skew. The zero value
// reads the machine's time. It is safe for concurrent use.
type Clock struct {
	mu   sync.RWMutex
	skew time.Duration
}

// Now returns the time as the sandbox sees it, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return time.Now().Add(c.skew).UTC()
}

// SetSkew makes the sandbox's time differ from the machine's by d, so that
// expiries and out-of-bounds timestamps can be provoked without waiting.
func (c *Clock) SetSkew(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skew = d
}

// Skew returns the difference between the sandbox's time and the machine's.
func (c *Clock) Skew() time.Duration {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.skew
}

// Issued is one secret that the sandbox handed out.
type Issued struct {
	// Kind says what the secret is, such as "x access token".
	Kind string `json:"kind"`
	// Value is the secret exactly as it stood in the reply.
	Value string `json:"value"`
}

// Ledger remembers every secret that the sandbox ever issued, spent and revoked
// ones too, so that a test can search everywhere for them. The zero value is
// ready; it is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	issued []Issued
	seen   map[string]bool
}

// Add records a secret. A value already recorded is not recorded twice.
func (l *Ledger) Add(kind, value string) {
	if value == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen = make(map[string]bool)
	}
	if l.seen[value] {
		return
	}
	l.seen[value] = true
	l.issued = append(l.issued, Issued{Kind: kind, Value: value})
}

// All returns every secret in the order of issue.
func (l *Ledger) All() []Issued {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Issued(nil), l.issued...)
}
