package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse"

	"github.com/prometheus/client_golang/prometheus"
)

// Call is how one call to a platform went.
type Call struct {
	Service  gatehouse.ServiceName
	Purpose  gatehouse.PurposeName
	Platform gatehouse.Platform
	// Outcome is one of the Outcome constants.
	Outcome string
	Bytes   int64
	// Streaming calls are counted and not timed: they last as long as somebody
	// listens.
	Streaming bool
	Timing
}

// Timing is when the parts of a call were over, counted from its begin. A part that was
// not reached is zero.
type Timing struct {
	Judged, Recorded, Opened, Answered, Ended time.Duration
}

// callKey is what a call is counted under.
type callKey struct {
	service  gatehouse.ServiceName
	purpose  gatehouse.PurposeName
	platform gatehouse.Platform
}

// callSet are the instruments of one key.
type callSet struct {
	done, failed, aborted, refused, unrecorded prometheus.Counter
	whole                                      prometheus.Observer
	bytes                                      prometheus.Counter
}

func (s *callSet) of(outcome string) prometheus.Counter {
	switch outcome {
	case OutcomeDone:
		return s.done
	case OutcomeFailed:
		return s.failed
	case OutcomeAborted:
		return s.aborted
	case OutcomeRefused:
		return s.refused
	}
	return s.unrecorded
}

// calls finds a call's instruments. The map is replaced, never changed, so that
// finding takes no lock.
type calls struct {
	metrics *Metrics
	seen    atomic.Pointer[map[callKey]*callSet]
	adding  sync.Mutex // held while seen is replaced

	judge, log, credential, upstream, relay prometheus.Observer
}

func newCalls(m *Metrics) *calls {
	c := &calls{
		metrics: m,
		judge:   m.parts.WithLabelValues("judge"), log: m.parts.WithLabelValues("log"), credential: m.parts.WithLabelValues("credential"),
		upstream: m.parts.WithLabelValues("upstream"), relay: m.parts.WithLabelValues("relay"),
	}
	c.seen.Store(&map[callKey]*callSet{})
	return c
}

// Call counts and times a call. It keeps nothing of it.
func (m *Metrics) Call(c *Call) {
	// What the configuration does not have any more may still be shown: a handle
	// outlives its purpose.
	known := m.names.Load()
	key := callKey{service: c.Service, purpose: c.Purpose, platform: c.Platform}
	if key.service != "" && !known.services[key.service] {
		key.service = Other
	}
	if key.purpose != "" && !known.purposes[key.purpose] {
		key.purpose = Other
	}
	s, ok := (*m.calls.seen.Load())[key]
	if !ok {
		s = m.calls.add(key)
	}
	s.of(c.Outcome).Inc()
	if c.Bytes > 0 {
		s.bytes.Add(float64(c.Bytes))
	}
	if c.Streaming || c.Outcome == OutcomeRefused || c.Outcome == OutcomeUnrecorded {
		return
	}
	m.calls.time(&c.Timing, s.whole, m.own)
}

// time observes the parts that were reached.
func (c *calls) time(t *Timing, whole, own prometheus.Observer) {
	whole.Observe(t.Ended.Seconds())
	if t.Judged == 0 {
		return
	}
	c.judge.Observe(t.Judged.Seconds())
	if t.Recorded == 0 {
		return
	}
	c.log.Observe((t.Recorded - t.Judged).Seconds())
	if t.Opened == 0 {
		return
	}
	own.Observe(t.Opened.Seconds())
	c.credential.Observe((t.Opened - t.Recorded).Seconds())
	if t.Answered == 0 {
		return
	}
	c.upstream.Observe((t.Answered - t.Opened).Seconds())
	c.relay.Observe((t.Ended - t.Answered).Seconds())
}

func (c *calls) add(key callKey) *callSet {
	c.adding.Lock()
	defer c.adding.Unlock()
	old := *c.seen.Load()
	if s, ok := old[key]; ok {
		return s
	}
	if len(old) >= maxChildren/5 {
		// More services and purposes than anybody looks at one by one.
		key.service, key.purpose = Other, Other
		if s, ok := old[key]; ok {
			return s
		}
	}
	ended := func(outcome string) prometheus.Counter {
		return c.metrics.ended.WithLabelValues(string(key.service), string(key.purpose), string(key.platform), outcome)
	}
	s := &callSet{
		done: ended(OutcomeDone), failed: ended(OutcomeFailed), aborted: ended(OutcomeAborted), refused: ended(OutcomeRefused),
		unrecorded: ended(OutcomeUnrecorded),
		whole:      c.metrics.whole.WithLabelValues(string(key.platform)),
		bytes:      c.metrics.replyBytes.WithLabelValues(string(key.platform)),
	}
	next := maps.Clone(old)
	next[key] = s
	c.seen.Store(&next)
	return s
}
