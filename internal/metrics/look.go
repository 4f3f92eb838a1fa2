package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse"

	"github.com/prometheus/client_golang/prometheus"
)

// A Look reads figures that are not counted here: from the database, or from the state
// of another part. It is taken on a schedule and not when somebody asks for the
// figures, so that nobody can make Gatehouse read its database by asking often.
type Look struct {
	// Name stands in gatehouse_look_failures_total.
	Name string
	// Sets are the gauges that it reads. What it does not return of them is absent.
	Sets []string
	// Every is how often it is taken; zero means every 10 seconds. It may take that long.
	Every time.Duration
	// At reads the figures. Label values are names of the configuration or of our tables.
	At func(context.Context) ([]Reading, error)
}

// A Reading is one figure.
type Reading struct {
	Name   string
	Labels []string // in the order of the instrument's labels
	Value  float64
}

// looked is what the Looks read last. It is a collector of them.
type looked struct {
	metrics *Metrics
	looks   []*look
	descs   map[string]*prometheus.Desc
}

// look is a Look with what it read last; nil when that is nothing, or too old.
type look struct {
	Look
	last atomic.Pointer[seen]
}

type seen struct {
	at   time.Time
	list []Reading
}

func newLooked(m *Metrics, looks []Look) (*looked, error) {
	l := &looked{metrics: m, descs: map[string]*prometheus.Desc{}}
	for _, one := range looks {
		if one.Every == 0 {
			one.Every = step
		}
		for _, name := range one.Sets {
			i := byName[name]
			if i == nil || i.Type != Gauge || l.descs[name] != nil {
				return nil, fmt.Errorf("metrics: look %s: %s is no gauge that is to be read, or another look reads it: %w", one.Name, name, gatehouse.ErrInvalid)
			}
			l.descs[name] = prometheus.NewDesc(name, i.Meaning, i.Labels, nil)
		}
		l.looks = append(l.looks, &look{Look: one})
	}
	return l, nil
}

// Describe implements prometheus.Collector.
func (l *looked) Describe(to chan<- *prometheus.Desc) {
	for _, d := range l.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector. Readings of which nobody knows whether they
// are still true are left out.
func (l *looked) Collect(to chan<- prometheus.Metric) {
	for _, one := range l.looks {
		for _, r := range one.current() {
			to <- prometheus.MustNewConstMetric(l.descs[r.Name], prometheus.GaugeValue, r.Value, r.Labels...)
		}
	}
}

// current is what was read last, unless it is too old to be believed.
func (one *look) current() []Reading {
	last := one.last.Load()
	if last == nil || time.Since(last.at) > 3*one.Every+step {
		return nil
	}
	return last.list
}

// run takes one look until ctx ends: often at first, when much changes and somebody is
// looking, and then as often as it says.
func (l *looked) run(ctx context.Context, one *look) {
	pause := min(step, one.Every)
	clock := time.NewTimer(pause)
	defer clock.Stop()
	for {
		l.take(ctx, one)
		clock.Reset(pause)
		pause = min(2*pause, one.Every)
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
	}
}

// take reads once. What cannot be read is absent: an old figure looks like a new one.
func (l *looked) take(ctx context.Context, one *look) {
	bounded, cancel := context.WithTimeout(ctx, one.Every)
	defer cancel()
	list, err := one.At(bounded)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		one.last.Store(nil)
		l.metrics.lookFailures.get(one.Name, "", "").Inc()
		l.metrics.logger.LogAttrs(ctx, slog.LevelWarn, "figures could not be read", slog.String("look", one.Name), slog.Any("error", err))
		return
	}
	one.last.Store(&seen{time.Now(), one.valid(list)})
}

// valid leaves out what does not fit its instrument, and what is there twice: a scrape
// must not fail as a whole because of one figure.
func (one *look) valid(list []Reading) []Reading {
	there := map[string]bool{}
	out := make([]Reading, 0, min(len(list), maxChildren))
	for _, r := range list {
		key := fmt.Sprintf("%s %q", r.Name, r.Labels)
		if !slices.Contains(one.Sets, r.Name) || len(r.Labels) != len(byName[r.Name].Labels) || there[key] || len(out) == maxChildren {
			continue
		}
		there[key] = true
		out = append(out, r)
	}
	return out
}

// Look takes every Look once, before it returns: for a process that has just begun.
func (m *Metrics) Look(ctx context.Context) {
	for _, one := range m.looked.looks {
		m.looked.take(ctx, one)
	}
}
