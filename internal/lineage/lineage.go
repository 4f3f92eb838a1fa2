// Package lineage knows whose data went where: it owns the flows (person, kind of
// data, call and purpose that it came by, destination, service, time, count), the
// people's numbers in the index of fingerprints, and the questions about both.
//
// It promises that a flow is durable before the bytes that make it have all been
// passed on; that a value of a person is never stored, only its fingerprint; that
// nobody learns from a refusal what was recognised; and that an erased person's
// flows lead to nobody.
package lineage

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/wire"
)

const (
	// DefaultKeep is how long a fingerprint lives after its value was last delivered.
	DefaultKeep = 90 * 24 * time.Hour
	// DefaultKeepFlows is how long a flow is kept after its day.
	DefaultKeepFlows = 2 * 365 * 24 * time.Hour
	// DefaultMaxFingerprints bounds the fingerprints.
	DefaultMaxFingerprints = 10_000_000
	// pollEvery is how often a process looks for what others noted.
	pollEvery = time.Second
	// flushEvery is how often counts of flows that are there are written.
	flushEvery = 500 * time.Millisecond
	// sweepEvery is how often what is over is looked for.
	sweepEvery = time.Minute
)

// Config is what New needs. It is copied and not changed.
type Config struct {
	// Store keeps all of it. Required.
	Store Store
	// Log gets an entry for each question and erasure, and for what is alerting.
	// Required.
	Log *audit.Log
	// Index holds the fingerprints; it is this lineage's own, and empty. Required.
	Index *fingerprint.Index
	// Key is the keyed hash of what a platform calls somebody towards an app
	// registration: the one by which connections find their people. Required.
	Key func(context.Context, gatehouse.AppName, string) (string, error)
	// Keys returns all such hashes of a person whose grant is held. Required.
	Keys func(context.Context, gatehouse.PersonID) ([]string, error)
	// Keep and KeepFlows are how long fingerprints and flows live; zero means
	// DefaultKeep and DefaultKeepFlows.
	Keep, KeepFlows time.Duration
	// MaxFingerprints bounds the fingerprints; zero means DefaultMaxFingerprints.
	MaxFingerprints int
	// Brands are the hashes of the customer's own accounts, whose data is public on
	// purpose: it is reported at most.
	Brands func(context.Context) ([]string, error)
	// ReportSecrets lets recognised secrets through and reports them.
	ReportSecrets bool
	// MaxProbes is how many different values of one service may be stopped within an
	// hour before the destinations where they were are closed to it for the rest of
	// the hour. Zero means 50.
	MaxProbes int
	// Remember is how many flows, and how many fingerprints, are remembered as noted,
	// in each of two generations. Zero means 500000.
	Remember int
	// Recognised is told of each kind of data that was recognised in a transfer, once for
	// each way it came, with what became of it at first. It is called from many
	// goroutines and must not wait. nil costs nothing.
	Recognised func(class gatehouse.DataClass, became Verdict, destination string)
	// Logger gets what the background work has to report; nil discards it.
	Logger *slog.Logger
}

// Lineage notes, recognises and answers. It is safe for concurrent use.
type Lineage struct {
	config Config
	store  Store
	log    *audit.Log
	logger *slog.Logger
	hash   hasher

	writing chan struct{} // held by the one that writes a group
	noted   notes
	index   loading
	probes  probes
	origins origins
}

// New returns the lineage of a store.
func New(c Config) (*Lineage, error) {
	if c.Store == nil || c.Log == nil || c.Index == nil || c.Key == nil || c.Keys == nil {
		return nil, errors.New("lineage: Config lacks store, log, index, key or keys")
	}
	orDefault(&c.Keep, DefaultKeep)
	orDefault(&c.KeepFlows, DefaultKeepFlows)
	orDefault(&c.MaxFingerprints, DefaultMaxFingerprints)
	orDefault(&c.MaxProbes, 50)
	orDefault(&c.Remember, 500_000)
	if c.Brands == nil {
		c.Brands = func(context.Context) ([]string, error) { return nil, nil }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Lineage{config: c, store: c.Store, log: c.Log, logger: c.Logger, hash: newHasher(), writing: make(chan struct{}, 1)}, nil
}

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// touch is how much earlier than in truth the last delivery of a value may be
// noted: so much longer is its fingerprint kept.
func (l *Lineage) touch() time.Duration { return min(max(l.config.Keep/24, time.Minute), 24*time.Hour) }

// Run reads the fingerprints of the table into the index, then what other processes
// note, writes counts, and ends what is over, until ctx ends.
func (l *Lineage) Run(ctx context.Context) error {
	var wait sync.WaitGroup
	wait.Go(func() {
		every(ctx, flushEvery, func() { l.try(ctx, "counts of flows could not be written; they are tried again", l.flush) })
		// What was counted since is not lost with the process.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		defer cancel()
		l.try(last, "the last counts of flows could not be written", l.flush)
	})
	wait.Go(func() {
		l.try(ctx, "the fingerprints could not be read; it is tried again", l.load)
		every(ctx, pollEvery, func() {
			if !l.Ready() {
				l.try(ctx, "the fingerprints could not be read; it is tried again", l.load)
				return
			}
			l.try(ctx, "other processes' fingerprints could not be read; it is tried again", l.poll)
		})
	})
	wait.Go(func() {
		every(ctx, sweepEvery, func() { l.try(ctx, "what is over could not be deleted; it is tried again", l.sweep) })
	})
	wait.Wait()
	return nil
}

// every calls f again and again until ctx ends.
func every(ctx context.Context, pause time.Duration, f func()) {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f()
		}
	}
}

// try runs a step of the background work.
func (l *Lineage) try(ctx context.Context, failed string, f func(context.Context) error) {
	if err := f(ctx); err != nil && ctx.Err() == nil {
		l.logger.ErrorContext(ctx, failed, slog.String("error", wire.LogText(err)))
	}
}
