package storetest

import (
	"errors"
	"sync"
)

// ErrDied is what a process that died gets of its store.
var ErrDied = errors.New("the process died")

// Death is a process's, at one of its writes. A store that hands its writes to one is a
// store on which a process dies; the real one goes on for the next process. The zero
// value lives.
type Death struct {
	mu     sync.Mutex
	at     int // the write at which it dies; 0 is never
	after  bool
	writes int
}

// Die says at which write from now the process dies, the first being 1, and whether that
// write takes effect. At 0 it lives, also after a death: it is the next process.
func (d *Death) Die(at int, after bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.after, d.writes = at, after, 0
}

// Write is one write. From the one on at which the process dies it is ErrDied: the dead
// write nothing.
func (d *Death) Write(do func() error) error {
	d.mu.Lock()
	d.writes++
	dead, last := d.at > 0 && d.writes > d.at, d.writes == d.at
	dead = dead || last && !d.after
	d.mu.Unlock()
	if dead {
		return ErrDied
	}
	if err := do(); err != nil || !last {
		return err
	}
	return ErrDied
}

// Writes is how many writes there were, or would have been, since Die.
func (d *Death) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// Died reports whether the write came at which the process dies.
func (d *Death) Died() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at > 0 && d.writes >= d.at
}
