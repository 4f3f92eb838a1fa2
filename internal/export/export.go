// Package export owns the way of the audit log's entries to other systems: to a SIEM
// by syslog, to an OpenTelemetry collector, to a file of JSON lines.
//
// It promises that a sink gets every entry that its filter lets through, at least once
// and in the order of the log; that a cursor is never ahead of what its sink has
// accepted, as far as its protocol says what it accepted; and that whoever writes the
// log never waits for a sink: entries are read from the database, and wait there. It
// must never send anything but leaves, which name nobody, hold a lock or a transaction
// while it sends, keep more than a batch in memory, or repeat what a sink answered.
package export

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// A Sink takes entries. It is used by one goroutine.
type Sink interface {
	// Send delivers entries in their order. It returns when the sink has accepted
	// them, as far as its protocol can say so, or ctx ends. Together with an error,
	// what it returns are those that were accepted before.
	Send(ctx context.Context, entries []Entry) (Accepted, error)
	// Close gives up what is open.
	Close() error
}

// Accepted is what a sink took of a batch.
type Accepted struct {
	// Entries is how many, from the first one on, need not be sent again.
	Entries int
	// Rejected is how many of these the sink says that it threw away.
	Rejected int
}

// Target is one sink and what it gets.
type Target struct {
	// Name is unique. The cursor belongs to it.
	Name string
	Sink Sink
	// Filter says what it gets; the zero lets everything through.
	Filter Filter
	// FromNow has a sink that was never seen before begin with what comes, instead of
	// the beginning of the log.
	FromNow bool
	// StuckAfter is after how long behind the log says so. Zero means 15 min.
	StuckAfter time.Duration
}

// Config is what an Exporter needs. It is copied.
type Config struct {
	Store   Store
	Targets []Target
	// Logs returns the logs that there are.
	Logs func(ctx context.Context) ([]Log, error)
	// Record writes to the log: that a sink is stuck, and that it is not any more.
	Record func(ctx context.Context, e audit.Entry) (id string, err error)
	// Logger gets faults; nil drops them.
	Logger *slog.Logger
	// Every is how often the log is looked at. Zero means a second.
	Every time.Duration
	// Timeout bounds the sending of one batch. Zero means 30 s.
	Timeout time.Duration
	// Spare is how much longer a sink is a process's than one batch may take: after a
	// process was killed, the next waits for both. Zero means 30 s.
	Spare time.Duration
	// Backoff is the pause after the first failure; it doubles up to LongestBackoff.
	// Zero means 1 s and 60 s.
	Backoff, LongestBackoff time.Duration
	// Batch and BatchBytes bound what is read and sent at once. Zero means 512 entries,
	// and no further one after a MiB.
	Batch, BatchBytes int
}

// longestAfter bounds what a sink can ask for.
const longestAfter = 10 * time.Minute

// An Exporter serves sinks.
type Exporter struct {
	config Config
	owner  string
}

// New returns an exporter; Run has to run.
func New(c Config) (*Exporter, error) {
	if c.Store == nil || c.Logs == nil || c.Record == nil {
		return nil, fmt.Errorf("setting up the export: a store, logs and a way to record are needed: %w", gatehouse.ErrInvalid)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	orDefault(&c.Every, time.Second)
	orDefault(&c.Timeout, 30*time.Second)
	orDefault(&c.Spare, 30*time.Second)
	orDefault(&c.Backoff, time.Second)
	orDefault(&c.LongestBackoff, time.Minute)
	orDefault(&c.Batch, 512)
	orDefault(&c.BatchBytes, 1<<20)
	targets := make([]Target, len(c.Targets))
	seen := map[string]bool{}
	for i, t := range c.Targets {
		if t.Name == "" || t.Sink == nil || seen[t.Name] {
			return nil, fmt.Errorf("setting up the export: sink %q has no name of its own, or is none: %w", t.Name, gatehouse.ErrInvalid)
		}
		seen[t.Name] = true
		orDefault(&t.StuckAfter, 15*time.Minute)
		targets[i] = t
	}
	c.Targets = targets
	return &Exporter{config: c, owner: rand.Text()}, nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Run serves the sinks, each by itself, until ctx ends. What is under way then is
// given up, and sent again by whoever comes next.
func (x *Exporter) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, target := range x.config.Targets {
		s := &server{Config: x.config, target: target, owner: x.owner, most: x.config.Batch}
		wait.Go(func() {
			s.run(ctx)
			if err := target.Sink.Close(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("closing the sink %s: %w", target.Name, err))
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}
