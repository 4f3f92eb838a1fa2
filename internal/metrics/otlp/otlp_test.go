package otlp_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/metrics"
	"gatehouse/internal/metrics/otlp"
	"gatehouse/internal/secret"

	figures "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	spans "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// receiver is a collector: it answers with the statuses that it was told, then with 200.
type receiver struct {
	t        *testing.T
	mu       sync.Mutex
	answers  []int
	after    string        // Retry-After of the answers
	hang     chan struct{} // requests wait for it, if it is there
	figures  []*figures.ExportMetricsServiceRequest
	traces   []*traces.ExportTraceServiceRequest
	headers  []http.Header
	bytes    []byte // everything that was sent
	requests int
}

func (r *receiver) RoundTrip(q *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, err
	}
	if r.hang != nil {
		select {
		case <-r.hang:
		case <-q.Context().Done():
			return nil, q.Context().Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.headers = append(r.headers, q.Header.Clone())
	if q.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if body, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	status := http.StatusOK
	if len(r.answers) > 0 {
		status, r.answers = r.answers[0], r.answers[1:]
	}
	if status == 0 {
		return nil, errors.New("connection refused")
	}
	if status == http.StatusOK {
		r.bytes = append(r.bytes, body...)
		switch q.URL.String() {
		case "https://collector.test/otlp/v1/metrics":
			m := new(figures.ExportMetricsServiceRequest)
			r.figures, err = append(r.figures, m), proto.Unmarshal(body, m)
		case "https://collector.test/otlp/v1/traces":
			m := new(traces.ExportTraceServiceRequest)
			r.traces, err = append(r.traces, m), proto.Unmarshal(body, m)
		default:
			r.t.Errorf("sent to %s", q.URL)
		}
		if err != nil {
			r.t.Error(err)
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {r.after}}, Body: http.NoBody}, nil
}

// spans returns every span that arrived.
func (r *receiver) spans() []*spans.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*spans.Span
	for _, m := range r.traces {
		all = append(all, m.ResourceSpans[0].ScopeSpans[0].Spans...)
	}
	return all
}

func newExporter(t *testing.T, r *receiver, change ...func(*otlp.Config)) *otlp.Exporter {
	t.Helper()
	r.t = t
	c := otlp.Config{URL: "https://collector.test/otlp/", Send: r, Sample: 1, Version: "v1", Environment: "test", Node: "n1"}
	for _, f := range change {
		f(&c)
	}
	e, err := otlp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// run runs the exporter; stop waits for its end, and sends what is left.
func run(t *testing.T, e *otlp.Exporter) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		e.Flush(t.Context())
	}
}

func texts(list []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		out[kv.Key] = kv.Value.GetStringValue()
		if n := kv.Value.GetIntValue(); n != 0 {
			out[kv.Key] = fmt.Sprint(n)
		}
	}
	return out
}

// The examples of the recommendation, and what is nearly one.
func TestParents(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for text, want := range map[string]string{
		good: "sampled", good[:53] + "00": "not", good[:53] + "ff": "sampled", "cc" + good[2:]: "sampled", "cc" + good[2:] + "-what-comes-later": "sampled",
		"": "", good[:54]: "", good + "-x": "", good + "0": "", "cc" + good[2:] + "x": "", "ff" + good[2:]: "", strings.ToUpper(good): "",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": "", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": "",
		"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01": "", "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": "",
		"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x": "", " " + good: "",
	} {
		tr, ok := otlp.ParseParent(text)
		got := map[bool]string{true: "sampled", false: "not"}[tr.Sampled]
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
		if ok && (hex.EncodeToString(tr.ID[:]) != good[3:35] || hex.EncodeToString(tr.Parent[:]) != good[36:52] || tr.Span != [8]byte{}) {
			t.Errorf("%q is %+v", text, tr)
		}
	}
}

// What is taken for a parent is one: its fields stand where the recommendation has them.
func FuzzParents(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Add("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")
	f.Fuzz(func(t *testing.T, text string) {
		tr, ok := otlp.ParseParent(text)
		if !ok {
			if tr != (otlp.Trace{}) {
				t.Errorf("of what is no parent %+v is kept", tr)
			}
			return
		}
		if want := hex.EncodeToString(tr.ID[:]) + "-" + hex.EncodeToString(tr.Parent[:]); text[3:52] != want || tr.ID == [16]byte{} || tr.Parent == [8]byte{} {
			t.Errorf("%q is taken for %s", text, want)
		}
	})
}

func TestWhichCallsAreTraced(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, c := range []struct {
		sample          float64
		without, marked bool // traced: without a parent, with one that is sampled
	}{{0, false, false}, {1e-12, false, true}, {1, true, true}} {
		e := newExporter(t, new(receiver), func(x *otlp.Config) { x.Sample = c.sample })
		if got := e.Begin(""); got.Sampled != c.without || c.sample > 0 && (got.ID == [16]byte{} || got.Span == [8]byte{}) {
			t.Errorf("of %v: %+v", c.sample, got)
		}
		if got := e.Begin(parent + "1"); got.Sampled != c.marked || c.sample > 0 && (hex.EncodeToString(got.ID[:]) != parent[3:35] || got.Span == [8]byte{} || got.Span == got.Parent) {
			t.Errorf("of %v with a parent: %+v", c.sample, got)
		}
		if got := e.Begin(parent + "0"); got.Sampled {
			t.Errorf("of %v with a parent that is not sampled: %+v", c.sample, got)
		}
		if n := testing.AllocsPerRun(100, func() { e.Begin("") }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func aCall(e *otlp.Exporter) *otlp.Call {
	return &otlp.Call{
		Trace: e.Begin(""), Service: "scheduler", Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/users/me", Verdict: "done",
		Entry: "01J", Status: 200, Began: time.UnixMilli(1_700_000_000_000), Judged: 1, Recorded: 3, Opened: 6, Answered: 10, Elapsed: 15,
	}
}

func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(receiver)
		e := newExporter(t, r)
		stop := run(t, e)
		done := aCall(e)
		done.Trace = e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		e.End(done)
		refused := aCall(e)
		refused.Verdict, refused.Rule, refused.Status, refused.Judged, refused.Recorded, refused.Opened, refused.Answered = "refuse", "refuse/undeclared-call", 403, 0, 0, 0, 0
		e.End(refused)
		failed := aCall(e)
		failed.Verdict, failed.Rule, failed.Status, failed.Answered, failed.Operation = "failed", "upstream/timeout", 504, 0, ""
		e.End(failed)
		e.End(&otlp.Call{}) // not sampled
		time.Sleep(6 * time.Second)
		stop()
		if len(r.traces) != 1 {
			t.Fatalf("%d requests", len(r.traces))
		}
		about := texts(r.traces[0].ResourceSpans[0].Resource.Attributes)
		if about["service.name"] != "gatehouse" || about["service.version"] != "v1" || about["deployment.environment.name"] != "test" || about["gatehouse.node"] != "n1" || about["service.instance.id"] == "" {
			t.Errorf("from %v", about)
		}
		all := r.spans()
		var names []string
		for _, s := range all {
			names = append(names, s.Name)
		}
		want := []string{"GET /2/users/me", "judge", "log", "credential", "upstream", "relay", "GET /2/users/me", "call", "judge", "log", "credential"}
		if !slices.Equal(names, want) {
			t.Fatalf("spans %q, want %q", names, want)
		}
		whole := all[0]
		if hex.EncodeToString(whole.TraceId) != "0af7651916cd43dd8448eb211c80319c" || hex.EncodeToString(whole.ParentSpanId) != "b7ad6b7169203331" || !bytes.Equal(whole.SpanId, done.Span[:]) ||
			whole.Kind != spans.Span_SPAN_KIND_SERVER || whole.EndTimeUnixNano-whole.StartTimeUnixNano != 15 || whole.StartTimeUnixNano != 1_700_000_000_000_000_000 || whole.Status != nil {
			t.Errorf("the call is %v", whole)
		}
		if got := texts(whole.Attributes); !maps.Equal(got, map[string]string{
			"gatehouse.service": "scheduler", "gatehouse.purpose": "publish", "gatehouse.platform": "x", "gatehouse.app": "main-x",
			"gatehouse.operation": "GET /2/users/me", "gatehouse.verdict": "done", "gatehouse.log.entry": "01J", "http.response.status_code": "200",
		}) {
			t.Errorf("its attributes are %v", got)
		}
		ids := map[string]bool{}
		for i, s := range all[1:6] {
			at := []uint64{0, 1, 3, 6, 10, 15}
			if !bytes.Equal(s.ParentSpanId, whole.SpanId) || !bytes.Equal(s.TraceId, whole.TraceId) || s.StartTimeUnixNano-whole.StartTimeUnixNano != at[i] || s.EndTimeUnixNano-whole.StartTimeUnixNano != at[i+1] ||
				(s.Kind == spans.Span_SPAN_KIND_CLIENT) != (s.Name == "upstream") || len(s.SpanId) != 8 {
				t.Errorf("%s is %v", s.Name, s)
			}
			ids[string(s.SpanId)] = true
		}
		if len(ids) != 5 || all[6].Status != nil || all[6].ParentSpanId != nil || all[7].Status.GetCode() != spans.Status_STATUS_CODE_ERROR || all[7].Status.GetMessage() != "upstream/timeout" {
			t.Errorf("%d ids, %v, %v", len(ids), all[6], all[7])
		}
		if got := texts(all[6].Attributes); got["gatehouse.rule"] != "refuse/undeclared-call" || got["gatehouse.verdict"] != "refuse" {
			t.Errorf("the refused one's attributes are %v", got)
		}
	})
}

// A collector that never answers delays nobody: calls end, and what does not fit into
// the queue is counted.
func TestCollectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{hang: make(chan struct{})}
		var dropped atomic.Int64
		e := newExporter(t, r, func(c *otlp.Config) { c.Dropped = func() { dropped.Add(1) } })
		stop := run(t, e)
		began := time.Now()
		for range 10_000 {
			e.End(aCall(e))
		}
		if waited := time.Since(began); waited != 0 { // by the bubble's clock, which moves when everybody waits
			t.Errorf("calls waited for %s", waited)
		}
		if n := dropped.Load(); n < 10_000-2048-512 || n > 10_000-2048 {
			t.Errorf("%d were dropped at once", n)
		}
		time.Sleep(time.Hour)
		if n := dropped.Load(); n != 10_000 {
			t.Errorf("%d were dropped in the end", n)
		}
		stop()
	})
}

func TestCollectorThatRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		answers  []int
		after    string
		requests int
		dropped  int64
		took     time.Duration
	}{
		{"takes it", nil, "", 1, 0, 5 * time.Second},
		{"is away once", []int{0}, "", 2, 0, 6 * time.Second},
		{"asks to wait", []int{429, 503}, "7", 3, 0, 5*time.Second + 7*time.Second + 14*time.Second},
		{"asks to wait for ever", []int{503}, "86400", 2, 0, 35 * time.Second},
		{"stays away", []int{0, 0, 0, 0}, "", 3, 1, 8 * time.Second},
		{"does not want it", []int{400}, "", 1, 1, 5 * time.Second},
		{"does not know us", []int{401}, "", 1, 1, 5 * time.Second},
		{"redirects", []int{302}, "", 1, 1, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &receiver{answers: c.answers, after: c.after}
				var dropped, good, bad atomic.Int64
				var settled time.Time
				e := newExporter(t, r, func(x *otlp.Config) {
					x.Dropped = func() { dropped.Add(1) }
					x.Sent = func(signal string, ok bool) {
						if signal != "traces" {
							t.Errorf("signal %s", signal)
						}
						if settled = time.Now(); ok {
							good.Add(1)
						} else {
							bad.Add(1)
						}
					}
				})
				began := time.Now()
				stop := run(t, e)
				e.End(aCall(e))
				time.Sleep(10 * time.Minute)
				stop()
				if r.requests != c.requests || dropped.Load() != c.dropped || settled.Sub(began) != c.took || good.Load()+bad.Load() != int64(c.requests) || good.Load() != 1-c.dropped {
					t.Errorf("%d requests, %d dropped, %d good, after %s", r.requests, dropped.Load(), good.Load(), settled.Sub(began))
				}
			})
		})
	}
}

// What is queued when the process ends is sent, unless nobody takes it.
func TestLastTraces(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := new(receiver)
			if hangs {
				r.hang = make(chan struct{})
			}
			var dropped atomic.Int64
			e := newExporter(t, r, func(c *otlp.Config) { c.Dropped = func() { dropped.Add(1) } })
			stop := run(t, e)
			for range 3 {
				e.End(aCall(e))
			}
			synctest.Wait()
			began := time.Now()
			stop()
			n := 0
			for _, s := range r.spans() {
				if s.Kind == spans.Span_SPAN_KIND_SERVER {
					n++
				}
			}
			if want := map[bool]int{false: 3, true: 0}[hangs]; n != want || dropped.Load() != int64(3-want) || time.Since(began) > 5*time.Second {
				t.Errorf("hangs %t: %d calls arrived, %d dropped, after %s", hangs, n, dropped.Load(), time.Since(began))
			}
		})
	}
}

// A credential that is renewed is used, and one that is gone is not sent as nothing.
func TestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := new(receiver)
		token := "Bearer first-canary"
		e := newExporter(t, r, func(c *otlp.Config) {
			c.Sample, c.Every = 0, time.Minute
			c.Plain = true
			m, err := metrics.New(metrics.Config{})
			if err != nil {
				t.Fatal(err)
			}
			c.Gather = m.Gather
			c.Headers = map[string]func() (secret.Text, error){"Authorization": func() (secret.Text, error) {
				if token == "" {
					return secret.Text{}, errors.New("no such file")
				}
				return secret.New(token), nil
			}}
		})
		stop := run(t, e)
		time.Sleep(61 * time.Second)
		token = "Bearer second"
		time.Sleep(time.Minute)
		token = ""
		time.Sleep(time.Minute)
		stop()
		if len(r.headers) != 2 || r.headers[0].Get("Authorization") != "Bearer first-canary" || r.headers[1].Get("Authorization") != "Bearer second" ||
			r.headers[0].Get("Content-Type") != "application/x-protobuf" || r.headers[0].Get("Content-Encoding") != "" {
			t.Errorf("headers %v", r.headers)
		}
	})
}

// What is sent is what Prometheus is shown.
func TestFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := metrics.New(metrics.Config{Version: "v1", Names: metrics.Names{Services: []gatehouse.ServiceName{"scheduler"}}})
		if err != nil {
			t.Fatal(err)
		}
		m.Call(&metrics.Call{Service: "scheduler", Platform: "x", Outcome: metrics.OutcomeDone, Timing: metrics.Timing{Judged: 1, Ended: 7 * time.Millisecond}})
		m.Call(&metrics.Call{Service: "scheduler", Platform: "x", Outcome: metrics.OutcomeDone, Timing: metrics.Timing{Judged: 1, Ended: 10 * time.Minute}})
		m.Entered(audit.KindEvent, audit.Entry{Action: "run.start", Verdict: "done"}, time.Millisecond)
		r := new(receiver)
		e := newExporter(t, r, func(c *otlp.Config) {
			c.Gather, c.Since, c.Every, c.Sample = m.Gather, m.Since(), 10*time.Second, 0
			c.Unit = metrics.OTLPUnit
		})
		stop := run(t, e)
		time.Sleep(11 * time.Second)
		stop()
		families, err := m.Gather()
		if err != nil {
			t.Fatal(err)
		}
		sent := map[string]bool{}
		for _, one := range r.figures[0].ResourceMetrics[0].ScopeMetrics[0].Metrics {
			sent[one.Name] = true
			switch one.Name {
			case "gatehouse_calls_total":
				total := 0.0
				for _, p := range one.GetSum().DataPoints {
					total += p.GetAsDouble()
					if p.StartTimeUnixNano == 0 || p.TimeUnixNano <= p.StartTimeUnixNano {
						t.Errorf("from %d to %d", p.StartTimeUnixNano, p.TimeUnixNano)
					}
				}
				if total != 2 || !one.GetSum().IsMonotonic || one.Unit != "{calls}" {
					t.Errorf("calls are %v", one)
				}
			case "gatehouse_call_duration_seconds":
				p := one.GetHistogram().DataPoints[0]
				n := uint64(0)
				for _, c := range p.BucketCounts {
					n += c
				}
				if len(p.BucketCounts) != len(p.ExplicitBounds)+1 || n != 2 || p.Count != 2 || p.BucketCounts[len(p.ExplicitBounds)] != 1 || one.Unit != "s" || texts(p.Attributes)["platform"] != "x" {
					t.Errorf("durations are %v", p)
				}
			case "gatehouse_build_info":
				if p := one.GetGauge().DataPoints[0]; p.GetAsDouble() != 1 || texts(p.Attributes)["version"] != "v1" {
					t.Errorf("the build is %v", p)
				}
			}
		}
		for _, f := range families {
			if !sent[f.GetName()] {
				t.Errorf("%s was not sent", f.GetName())
			}
		}
	})
}

func TestWhatCannotBeMeant(t *testing.T) {
	for name, c := range map[string]otlp.Config{
		"no address": {Send: new(receiver)}, "no client": {URL: "https://collector.test"},
		"too many": {URL: "https://collector.test", Send: new(receiver), Sample: 1.01}, "too few": {URL: "https://collector.test", Send: new(receiver), Sample: -.1},
	} {
		if _, err := otlp.New(c); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}
