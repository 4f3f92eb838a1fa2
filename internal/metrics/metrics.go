// Package metrics counts and measures what an operator watches: for Prometheus, for an
// OpenTelemetry collector, and for the plots of the console.
//
// It promises that what is measured costs a call no allocation and no lock once its
// labels were seen; that every label is a name of the configuration, of our tables, or
// "(other)", so that neither a caller nor a platform can add to the number of series;
// that reading figures reads memory and no database; and that each figure says how the
// entries of the log are found that are behind it.
//
// It must never be given a token, an id of a person, or a text that somebody chose.
// Figures are this process's own, except those that are read from the database.
package metrics

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"
)

// Other stands for every label value that is not one of the configuration's.
const Other = "(other)"

// maxChildren bounds the series of one instrument: what comes on top is counted under
// Other.
const maxChildren = 2000

// Config says what Metrics works with. It is copied and never changed.
type Config struct {
	// Version, Environment and Node stand in gatehouse_build_info.
	Version     string
	Environment gatehouse.Environment
	Node        string
	// Names are the configuration's, to begin with; see [Metrics.Apply].
	Names Names
	// Looks are the figures that are read from elsewhere.
	Looks []Look
	// Logger gets what could not be read. nil drops it.
	Logger *slog.Logger
}

// Names are those of the configuration in force: what labels may say.
type Names struct {
	Services     []gatehouse.ServiceName
	Purposes     []gatehouse.PurposeName
	Apps         []gatehouse.AppName
	Destinations []string
}

// names is Names to look up.
type names struct {
	services     map[gatehouse.ServiceName]bool
	purposes     map[gatehouse.PurposeName]bool
	apps         map[gatehouse.AppName]bool
	destinations map[string]bool
}

// Metrics holds the instruments. It is safe for concurrent use.
type Metrics struct {
	config Config
	// registry holds our own instruments, runtime what is said of the Go runtime and the
	// process: reading that takes longer, and no series is kept of it.
	registry, runtime *prometheus.Registry
	names             atomic.Pointer[names]
	logger            *slog.Logger

	calls      *calls
	ended      *prometheus.CounterVec // by service, purpose, platform, outcome
	whole      *prometheus.HistogramVec
	own        prometheus.Observer
	parts      *prometheus.HistogramVec
	replyBytes *prometheus.CounterVec
	appending  prometheus.Observer

	entries, upstream, refusals, renewals, deliveries, egress, sent, received, signIns, factorAlarms, lookFailures, exports, recognised *children
	dropped                                                                                                                             prometheus.Counter

	looked *looked
	series *recorder
}

// The histograms' bounds, in seconds. What Gatehouse itself takes is below a
// millisecond on a good disk, what a platform takes is not.
var (
	ownBounds   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}
	wholeBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	partBounds  = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
)

// New returns Metrics that have counted nothing yet. [Metrics.Run] keeps the time
// series and reads the Looks.
func New(c Config) (*Metrics, error) {
	m := &Metrics{config: c, registry: prometheus.NewRegistry(), runtime: prometheus.NewRegistry(), logger: c.Logger}
	if m.logger == nil {
		m.logger = slog.New(slog.DiscardHandler)
	}
	m.Apply(c.Names)
	m.ended = m.counter(nameCalls)
	m.whole = m.histogram(nameCallSeconds, wholeBounds)
	m.parts = m.histogram(namePartSeconds, partBounds)
	m.replyBytes = m.counter(nameReplyBytes)
	m.own = m.histogram(nameOwnSeconds, ownBounds).WithLabelValues()
	m.appending = m.histogram(nameAppendSeconds, ownBounds).WithLabelValues()
	m.calls = newCalls(m)
	for name, into := range map[string]**children{
		nameEntries: &m.entries, nameUpstream: &m.upstream, nameRefusals: &m.refusals, nameRenewals: &m.renewals,
		nameDeliveries: &m.deliveries, nameEgress: &m.egress, nameEgressSent: &m.sent, nameEgressBack: &m.received,
		nameSignIns: &m.signIns, nameFactorAlarms: &m.factorAlarms, nameLookFailures: &m.lookFailures, nameExports: &m.exports, nameRecognised: &m.recognised,
	} {
		*into = newChildren(m.counter(name), len(byName[name].Labels))
	}
	// There from the start: the first of something so rare would be no increase.
	for _, one := range [][2]string{{"operator", "cloned"}, {"user", "cloned"}, {"user", "guessing"}} {
		m.factorAlarms.get(one[0], one[1], "")
	}
	m.dropped = m.counter(nameDropped).WithLabelValues()
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: nameBuild, Help: byName[nameBuild].Meaning}, byName[nameBuild].Labels)
	build.WithLabelValues(c.Version, string(c.Environment), c.Node).Set(1)
	var err error
	if m.looked, err = newLooked(m, c.Looks); err != nil {
		return nil, err
	}
	m.registry.MustRegister(build, m.looked)
	m.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.series = newRecorder(m.registry)
	return m, nil
}

// counter makes and registers one of the registry's. A mistake in the table is a
// programmer's, and every test meets it.
func (m *Metrics) counter(name string) *prometheus.CounterVec {
	i := byName[name]
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: i.Meaning}, i.Labels)
	m.registry.MustRegister(v)
	return v
}

func (m *Metrics) histogram(name string, bounds []float64) *prometheus.HistogramVec {
	i := byName[name]
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: i.Meaning, Buckets: bounds}, i.Labels)
	m.registry.MustRegister(v)
	return v
}

// Apply says which names labels may have from now on. Series of names that left the
// configuration stay until the process ends, as counters must.
func (m *Metrics) Apply(n Names) {
	set := &names{
		services: set(n.Services), purposes: set(n.Purposes), apps: set(n.Apps), destinations: set(n.Destinations),
	}
	m.names.Store(set)
}

func set[T comparable](list []T) map[T]bool {
	out := make(map[T]bool, len(list))
	for _, v := range list {
		out[v] = true
	}
	return out
}

// known returns a label's value: the name if it is one of those, Other if it is
// another, and nothing for nothing.
func known[T ~string](in map[T]bool, name T) string {
	switch {
	case name == "":
		return ""
	case in[name]:
		return string(name)
	}
	return Other
}

// Run keeps the time series and reads the Looks until ctx ends.
func (m *Metrics) Run(ctx context.Context) error {
	var group sync.WaitGroup
	for _, l := range m.looked.looks {
		group.Go(func() { m.looked.run(ctx, l) })
	}
	m.series.run(ctx)
	group.Wait()
	return nil
}

// Gather returns everything as it is now, for whoever sends it elsewhere.
func (m *Metrics) Gather() ([]*dto.MetricFamily, error) { return m.all().Gather() }

func (m *Metrics) all() prometheus.Gatherer { return prometheus.Gatherers{m.registry, m.runtime} }

// Since is when counting began.
func (m *Metrics) Since() time.Time { return m.series.began }

// Recognised counts a kind of data that was recognised in a transfer.
func (m *Metrics) Recognised(class gatehouse.DataClass, verdict, destination string) {
	m.recognised.get(string(class), verdict, m.destination(destination)).Inc()
}

// destination is a host of the configuration, or stands for all others.
func (m *Metrics) destination(host string) string {
	if host != "" && m.names.Load().destinations[host] {
		return host
	}
	return undeclared
}

// Dropped counts a trace that was not sent.
func (m *Metrics) Dropped() { m.dropped.Inc() }

// Exported counts a request to a collector; the signal is "metrics" or "traces".
func (m *Metrics) Exported(signal string, done bool) {
	outcome := OutcomeFailed
	if done {
		outcome = OutcomeDone
	}
	m.exports.get(signal, outcome, "").Inc()
}

// children finds the counters of one instrument by at most three labels, without a
// lock or an allocation for those that it has seen.
type children struct {
	vec    *prometheus.CounterVec
	labels int
	seen   atomic.Pointer[map[[3]string]prometheus.Counter]
	adding sync.Mutex // held while seen is replaced
}

func newChildren(v *prometheus.CounterVec, labels int) *children {
	c := &children{vec: v, labels: labels}
	c.seen.Store(&map[[3]string]prometheus.Counter{})
	return c
}

func (c *children) get(a, b, d string) prometheus.Counter {
	key := [3]string{a, b, d}
	if counter, ok := (*c.seen.Load())[key]; ok {
		return counter
	}
	return c.add(key)
}

func (c *children) add(key [3]string) prometheus.Counter {
	c.adding.Lock()
	defer c.adding.Unlock()
	old := *c.seen.Load()
	if counter, ok := old[key]; ok {
		return counter
	}
	if len(old) >= maxChildren {
		key = [3]string{Other, Other, Other}
		if counter, ok := old[key]; ok {
			return counter
		}
	}
	next := make(map[[3]string]prometheus.Counter, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	counter := c.vec.WithLabelValues(key[:c.labels]...)
	next[key] = counter
	c.seen.Store(&next)
	return counter
}
