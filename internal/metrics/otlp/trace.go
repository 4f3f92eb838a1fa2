package otlp

import (
	crypto "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"time"

	"gatehouse"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	traces "go.opentelemetry.io/proto/slim/otlp/trace/v1"
)

// Trace is where a call stands among others.
type Trace struct {
	ID           [16]byte
	Span, Parent [8]byte // of the call, and of the caller; zero for none
	Sampled      bool
}

// Call is how one call went, for its trace.
type Call struct {
	Trace
	Service     gatehouse.ServiceName
	Purpose     gatehouse.PurposeName
	Platform    gatehouse.Platform
	App         gatehouse.AppName
	Operation   string // of our tables, or ""
	Verdict     string // "" when it has no entry
	Rule, Class string
	Entry       string // id of its entry in the log
	Status      int
	Began       time.Time
	Judged      time.Duration // when the parts were over, counted from Began; zero for those not reached
	Recorded    time.Duration
	Opened      time.Duration
	Answered    time.Duration
	Elapsed     time.Duration
	Streaming   bool
}

// Begin says which trace a call belongs to: that of the caller's traceparent if it is
// valid, and a new one otherwise. It allocates nothing.
func (e *Exporter) Begin(traceparent string) Trace {
	if e.config.Sample <= 0 {
		return Trace{}
	}
	t, ok := ParseParent(traceparent)
	if !ok {
		// Not a secret: whoever knows an id knows nothing else.
		binary.BigEndian.PutUint64(t.ID[:8], rand.Uint64())
		binary.BigEndian.PutUint64(t.ID[8:], rand.Uint64()|1)
		t.Sampled = rand.Float64() < e.config.Sample
	}
	binary.BigEndian.PutUint64(t.Span[:], rand.Uint64()|1)
	return t
}

// ParseParent reads a traceparent header of W3C Trace Context: of version 00 exactly,
// of a later one its beginning. The trace has no span of its own yet.
func ParseParent(text string) (t Trace, ok bool) {
	const length = 55 // 00-<32>-<16>-<2>
	if len(text) < length || text[2] != '-' || text[35] != '-' || text[52] != '-' {
		return Trace{}, false
	}
	var version, flags [1]byte
	if !lowerHex(version[:], text[:2]) || !lowerHex(t.ID[:], text[3:35]) || !lowerHex(t.Parent[:], text[36:52]) || !lowerHex(flags[:], text[53:55]) {
		return Trace{}, false
	}
	switch {
	case version[0] == 0xff, t.ID == [16]byte{}, t.Parent == [8]byte{}:
		return Trace{}, false
	case version[0] == 0 && len(text) != length, len(text) > length && text[length] != '-':
		return Trace{}, false
	}
	t.Sampled = flags[0]&1 == 1
	return t, true
}

// lowerHex decodes hexadecimal in lower-case letters, which is all that the
// recommendation has.
func lowerHex(into []byte, text string) bool {
	for i := range into {
		hi, lo := nibble(text[2*i]), nibble(text[2*i+1])
		if hi > 15 || lo > 15 {
			return false
		}
		into[i] = hi<<4 | lo
	}
	return true
}

func nibble(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 16
}

// End takes a call's trace, if the call is to be traced. It never waits: when the queue
// is full, the trace is dropped and counted.
func (e *Exporter) End(c *Call) {
	if !c.Sampled {
		return
	}
	select {
	case e.queue <- *c:
	default:
		e.config.Dropped()
	}
}

// tracesRequest is one message for calls.
func (e *Exporter) tracesRequest(calls []Call) *collector.ExportTraceServiceRequest {
	var spans []*traces.Span
	for i := range calls {
		spans = append(spans, calls[i].spans()...)
	}
	return &collector.ExportTraceServiceRequest{ResourceSpans: []*traces.ResourceSpans{{
		Resource:   e.resource,
		ScopeSpans: []*traces.ScopeSpans{{Scope: &common.InstrumentationScope{Name: "gatehouse/gateway"}, Spans: spans}},
	}}}
}

// spans are the call's own and one for each part that it reached.
func (c *Call) spans() []*traces.Span {
	name := c.Operation
	if name == "" {
		name = "call"
	}
	verdict := c.Verdict
	if verdict == "" {
		verdict = "unrecorded"
	}
	whole := c.span(c.Span[:], c.Parent[:], name, traces.Span_SPAN_KIND_SERVER, 0, c.Elapsed)
	whole.Attributes = attributes(
		"gatehouse.service", string(c.Service), "gatehouse.purpose", string(c.Purpose), "gatehouse.platform", string(c.Platform),
		"gatehouse.app", string(c.App), "gatehouse.operation", c.Operation, "gatehouse.verdict", verdict, "gatehouse.rule", c.Rule,
		"gatehouse.upstream.class", c.Class, "gatehouse.log.entry", c.Entry,
	)
	if c.Status != 0 {
		whole.Attributes = append(whole.Attributes, number("http.response.status_code", int64(c.Status)))
	}
	if c.Verdict == "failed" || c.Status >= 500 {
		whole.Status = &traces.Status{Code: traces.Status_STATUS_CODE_ERROR, Message: c.Rule}
	}
	if c.Parent == [8]byte{} {
		whole.ParentSpanId = nil
	}
	all := []*traces.Span{whole}
	from := time.Duration(0)
	for _, part := range []struct {
		name string
		to   time.Duration
	}{{"judge", c.Judged}, {"log", c.Recorded}, {"credential", c.Opened}, {"upstream", c.Answered}} {
		if part.to == 0 {
			return all
		}
		kind := traces.Span_SPAN_KIND_INTERNAL
		if part.name == "upstream" {
			kind = traces.Span_SPAN_KIND_CLIENT
		}
		all = append(all, c.span(spanID(), c.Span[:], part.name, kind, from, part.to))
		from = part.to
	}
	return append(all, c.span(spanID(), c.Span[:], "relay", traces.Span_SPAN_KIND_INTERNAL, from, c.Elapsed))
}

func (c *Call) span(id, parent []byte, name string, kind traces.Span_SpanKind, from, to time.Duration) *traces.Span {
	return &traces.Span{
		TraceId: c.ID[:], SpanId: id, ParentSpanId: parent, Name: name, Kind: kind,
		StartTimeUnixNano: nanoseconds(c.Began.Add(from)), EndTimeUnixNano: nanoseconds(c.Began.Add(to)),
	}
}

// spanID is that of a part, which nobody else has to know before it is sent.
func spanID() []byte {
	id := make([]byte, 8)
	_, _ = crypto.Read(id)
	return id
}
