package metrics

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// What is kept in memory: two hours in steps of ten seconds, a day in steps of a minute.
const (
	step        = 10 * time.Second
	fineSteps   = 720
	coarseSteps = 1440
	perCoarse   = int(time.Minute / step)
	// maxSeries bounds the memory: each series has less than 9 kB. One of Other for each
	// figure may come on top.
	maxSeries = 600
)

// The quantiles that are kept of histograms, as the label "quantile" of their series.
const (
	Median = "0.5"
	P95    = "0.95"
)

var quantiles = []struct {
	label string
	q     float64
}{{Median, .5}, {P95, .95}}

// A Point is one value of a series.
type Point struct {
	// At is the end of the step that it is about.
	At time.Time
	// Value is, of a counter, by how much it grew in a minute (of a shorter step, what
	// that comes to); of a gauge, what it was; of a histogram's quantile, seconds.
	Value float64
}

// recorder keeps the series. One goroutine writes; readers take the lock for a moment.
type recorder struct {
	registry *prometheus.Registry
	began    time.Time

	mu     sync.RWMutex
	series map[string]*series // by name and kept labels
	steps  int                // how many fine steps were taken
	times  [fineSteps]int64   // when each fine step ended, in microseconds
	minute [coarseSteps]int64 // when each coarse step ended

	// last are the counters as they were, by series, and buckets the histograms'. Only
	// the writer uses them.
	last    map[string]float64
	buckets map[string][]uint64
	// ofMinute are the buckets at the beginning of the minute.
	ofMinute map[string][]uint64
}

// series are the values of one figure. NaN is a step in which it was not known.
type series struct {
	name   string
	labels []string // name, value, name, value
	fine   [fineSteps]float32
	coarse [coarseSteps]float32
	sum    float64 // of the fine steps of this minute
	n      int
}

func newRecorder(r *prometheus.Registry) *recorder {
	return &recorder{
		registry: r, began: time.Now().UTC().Truncate(time.Second), series: map[string]*series{}, last: map[string]float64{},
		buckets: map[string][]uint64{}, ofMinute: map[string][]uint64{},
	}
}

func (r *recorder) run(ctx context.Context) {
	clock := time.NewTicker(step)
	defer clock.Stop()
	r.take(time.Now(), 0) // from where counters are counted
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-clock.C:
			r.take(now, step)
		}
	}
}

// sample is a figure as it is at one step.
type sample struct {
	instrument *Instrument
	labels     []string
	value      float64
	counts     []uint64 // of a histogram, cumulative
	bounds     []float64
}

// take adds one step. Of the first, nothing is known but where counters stand.
func (r *recorder) take(now time.Time, length time.Duration) {
	families, err := r.registry.Gather()
	if err != nil && len(families) == 0 {
		return
	}
	samples := map[string]*sample{}
	for _, f := range families {
		i := byName[f.GetName()]
		if i == nil || i.keep == nil {
			continue
		}
		for _, m := range f.GetMetric() {
			add(samples, i, m)
		}
	}
	values := map[string]value{}
	for key, s := range samples {
		r.value(values, key, s, length)
	}
	if length > 0 {
		r.keep(now, values)
	}
}

// value is what a series gets at one step.
type value struct {
	name      string
	labels    []string
	fine      float64
	minute    float64 // a quantile's of the whole minute so far
	ownMinute bool
	counter   bool
}

// key names a series.
func key(name string, labels []string) string { return name + "\x00" + strings.Join(labels, "\x00") }

// add puts one metric of a family into the sample that its kept labels lead to.
func add(samples map[string]*sample, i *Instrument, m *dto.Metric) {
	var labels []string
	for _, name := range i.keep {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				labels = append(labels, name, l.GetValue())
			}
		}
	}
	k := key(i.Name, labels)
	s := samples[k]
	if s == nil {
		s = &sample{instrument: i, labels: labels}
		samples[k] = s
		if i.least {
			s.value = math.Inf(1)
		}
	}
	switch i.Type {
	case Counter:
		s.value += m.GetCounter().GetValue()
	case Gauge:
		if i.least {
			s.value = min(s.value, m.GetGauge().GetValue())
		} else {
			s.value += m.GetGauge().GetValue()
		}
	case Histogram:
		h := m.GetHistogram()
		if s.counts == nil {
			s.counts = make([]uint64, len(h.GetBucket())+1)
			for _, b := range h.GetBucket() {
				s.bounds = append(s.bounds, b.GetUpperBound())
			}
		}
		for at, b := range h.GetBucket() {
			s.counts[at] += b.GetCumulativeCount()
		}
		s.counts[len(s.counts)-1] += h.GetSampleCount()
	}
}

// value adds what a sample comes to.
func (r *recorder) value(values map[string]value, k string, s *sample, length time.Duration) {
	switch s.instrument.Type {
	case Gauge:
		values[k] = value{name: s.instrument.Name, labels: s.labels, fine: s.value}
	case Counter:
		was := r.last[k]
		r.last[k] = s.value
		if length > 0 {
			values[k] = value{name: s.instrument.Name, labels: s.labels, fine: (s.value - was) * float64(time.Minute) / float64(length), counter: true}
		}
	case Histogram:
		was, began := r.buckets[k], r.ofMinute[k]
		r.buckets[k] = s.counts
		if r.steps%perCoarse == 0 || began == nil {
			if began = was; began == nil {
				began = make([]uint64, len(s.counts))
			}
			r.ofMinute[k] = began
		}
		if length == 0 {
			return
		}
		if was == nil {
			was = make([]uint64, len(s.counts))
		}
		for _, q := range quantiles {
			labels := append(slices.Clone(s.labels), "quantile", q.label)
			values[key(s.instrument.Name, labels)] = value{
				name: s.instrument.Name, labels: labels,
				fine: quantile(q.q, s.bounds, was, s.counts), minute: quantile(q.q, s.bounds, began, s.counts), ownMinute: true,
			}
		}
	}
}

// quantile estimates a quantile of what was observed between two states of a
// histogram, as Prometheus does: linear within a bucket. NaN when there was nothing.
func quantile(q float64, bounds []float64, from, to []uint64) float64 {
	total := float64(to[len(to)-1] - from[len(from)-1])
	if total == 0 {
		return math.NaN()
	}
	rank, lower, below := q*total, 0.0, 0.0
	for i, upper := range bounds {
		n := float64(to[i] - from[i])
		if n >= rank {
			if n == below {
				return upper
			}
			return lower + (upper-lower)*(rank-below)/(n-below)
		}
		lower, below = upper, n
	}
	return lower // beyond the last bound: at least that
}

// keep writes the step.
func (r *recorder) keep(now time.Time, values map[string]value) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fine, coarse := r.steps%fineSteps, r.steps/perCoarse%coarseSteps
	last := r.steps%perCoarse == perCoarse-1 // of its minute
	values = r.folded(values)
	for k, v := range values {
		if r.series[k] == nil {
			s := &series{name: v.name, labels: v.labels}
			fill(s.fine[:])
			fill(s.coarse[:])
			r.series[k] = s
		}
	}
	for k, s := range r.series {
		v, known := values[k]
		if !known {
			v.fine = math.NaN()
		}
		s.put(fine, coarse, v, known)
		if last {
			s.sum, s.n = 0, 0
		}
	}
	r.times[fine], r.minute[coarse] = now.UnixMicro(), now.UnixMicro()
	r.steps++
}

// folded adds what would be more series than there may be to one of Other for each
// figure, so that nothing is missing in a sum.
func (r *recorder) folded(values map[string]value) map[string]value {
	out := make(map[string]value, len(values))
	room := maxSeries - len(r.series)
	for k, v := range values {
		if r.series[k] == nil && len(v.labels) > 0 {
			if room--; room < 0 {
				v.labels = slices.Clone(v.labels)
				for i := 1; i < len(v.labels); i += 2 {
					v.labels[i] = Other
				}
				k = key(v.name, v.labels)
				v.fine += out[k].fine
			}
		}
		out[k] = v
	}
	return out
}

// put writes one step into both resolutions. The minute under way is shown as far as it
// has come.
func (s *series) put(fine, coarse int, v value, known bool) {
	s.fine[fine] = float32(v.fine)
	switch {
	case !known:
		if s.n == 0 {
			s.coarse[coarse] = nan
		}
	case v.ownMinute:
		s.coarse[coarse] = float32(v.minute)
		s.n++
	case v.counter:
		s.sum += v.fine
		s.n++
		s.coarse[coarse] = float32(s.sum / float64(s.n))
	default:
		s.n++
		s.coarse[coarse] = float32(v.fine)
	}
}

var nan = float32(math.NaN())

func fill(list []float32) {
	for i := range list {
		list[i] = nan
	}
}

// Series returns the last day of one figure in steps of a minute, oldest first. Labels
// are names and values by turns ("outcome", "failed"); several series that have them are
// added up (of quantiles the greatest is taken, of what is left of budgets the least). A histogram's series have the label
// "quantile" ([Median], [P95]). Steps of which nothing is known are left out, so that
// who draws a line leaves a gap where two points are more than a step apart.
//
// It reads memory only. In a page's view model:
//
//	type plot struct{ Name string; Points []metrics.Point }
//	plot{"Failed calls per minute", m.Series("gatehouse_calls_total", "outcome", metrics.OutcomeFailed)}
//
// and in html/template {{range .Points}}{{.At.Format "15:04"}} {{printf "%.1f" .Value}}{{end}}.
func (m *Metrics) Series(name string, labels ...string) []Point {
	return m.series.points(name, labels, false)
}

// Recent is [Metrics.Series] of the last two hours in steps of ten seconds.
func (m *Metrics) Recent(name string, labels ...string) []Point {
	return m.series.points(name, labels, true)
}

func (r *recorder) points(name string, labels []string, fine bool) []Point {
	r.mu.RLock()
	defer r.mu.RUnlock()
	steps, length, times := (r.steps+perCoarse-1)/perCoarse, coarseSteps, r.minute[:]
	if fine {
		steps, length, times = r.steps, fineSteps, r.times[:]
	}
	var found [][]float32
	for _, s := range r.series {
		if s.name != name || !s.has(labels) {
			continue
		}
		if fine {
			found = append(found, s.fine[:])
		} else {
			found = append(found, s.coarse[:])
		}
	}
	i := byName[name]
	if i == nil || i.keep == nil {
		return nil
	}
	joined := func(a, b float64) float64 { return a + b }
	if i.least {
		joined = func(a, b float64) float64 { return min(a, b) }
	} else if i.Type == Histogram {
		joined = func(a, b float64) float64 { return max(a, b) }
	}
	// A counter that was never raised stands at zero, which is known.
	always := i.Type == Counter
	out := make([]Point, 0, min(steps, length))
	for n := max(0, steps-length); n < steps; n++ {
		at, sum, some := n%length, 0.0, false
		for _, values := range found {
			v := float64(values[at])
			if math.IsNaN(v) {
				continue
			}
			if !some {
				sum, some = v, true
			} else {
				sum = joined(sum, v)
			}
		}
		if some || always {
			out = append(out, Point{time.UnixMicro(times[at]).UTC(), sum})
		}
	}
	return out
}

// has reports whether the series has these labels.
func (s *series) has(labels []string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		ok := false
		for j := 0; j+1 < len(s.labels); j += 2 {
			ok = ok || s.labels[j] == labels[i] && s.labels[j+1] == labels[i+1]
		}
		if !ok {
			return false
		}
	}
	return true
}

// values are those of one label of the series of a figure.
func (r *recorder) values(name, label string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	found := map[string]bool{}
	for _, s := range r.series {
		if s.name != name {
			continue
		}
		for j := 0; j+1 < len(s.labels); j += 2 {
			if s.labels[j] == label {
				found[s.labels[j+1]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
