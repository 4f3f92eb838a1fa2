package export

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/secret"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// OTLPConfig says where requests go.
type OTLPConfig struct {
	// URL is the whole address, with its path: https://collector.example.com/v1/logs.
	URL string
	// Send sends a request and returns the reply, whatever its status.
	Send http.RoundTripper
	// Headers go with each request. They are asked for each time, so that a credential
	// that was renewed is used.
	Headers map[string]func() (secret.Text, error)
	// Plain sends requests as they are; otherwise they are compressed with gzip.
	Plain bool
	// Environment and Version say what is speaking.
	Environment, Version string
}

// OTLP is a sink that speaks OTLP over HTTP with binary messages. A reply of 2xx is
// the acknowledgement of the whole request.
type OTLP struct{ config OTLPConfig }

// maxReply bounds what is read of a reply.
const maxReply = 64 << 10

// NewOTLP returns the sink. Nothing is sent yet.
func NewOTLP(c OTLPConfig) (*OTLP, error) {
	if c.URL == "" || c.Send == nil {
		return nil, fmt.Errorf("setting up OTLP: an address and a client are needed: %w", gatehouse.ErrInvalid)
	}
	return &OTLP{c}, nil
}

// Send implements Sink.
func (o *OTLP) Send(ctx context.Context, entries []Entry) (Accepted, error) {
	body, err := o.body(entries)
	if err != nil {
		return Accepted{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.config.URL, bytes.NewReader(body))
	if err != nil {
		return Accepted{}, &Failure{Class: Unreachable, Text: "the sink's address cannot be read"}
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "gatehouse")
	if !o.config.Plain {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for name, value := range o.config.Headers {
		text, err := value()
		if err != nil {
			return Accepted{}, &Failure{Class: Refused, Text: "the reference of the header " + name + " cannot be followed", cause: err}
		}
		r.Header.Set(name, text.Reveal())
	}
	reply, err := o.config.Send.RoundTrip(r)
	if err != nil {
		return Accepted{}, err
	}
	defer func() { _ = reply.Body.Close() }()
	if reply.StatusCode/100 != 2 {
		return Accepted{}, refusal(reply)
	}
	return o.accepted(ctx, reply, len(entries))
}

// accepted reads what the sink says of a request that it took.
func (o *OTLP) accepted(ctx context.Context, reply *http.Response, n int) (Accepted, error) {
	answer, err := io.ReadAll(io.LimitReader(reply.Body, maxReply+1))
	switch {
	case ctx.Err() != nil:
		return Accepted{}, ctx.Err()
	case err != nil:
		return Accepted{}, err
	case len(answer) > maxReply:
		return Accepted{}, &Failure{Class: Unacknowledged, Text: "the sink's answer is longer than an acknowledgement"}
	}
	var said collector.ExportLogsServiceResponse
	if kind, _, _ := strings.Cut(reply.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/x-protobuf" || proto.Unmarshal(answer, &said) != nil {
		// A page of some proxy is no acknowledgement. An answer without a body, which
		// means that all is well, has no type with some receivers.
		if len(answer) > 0 {
			return Accepted{}, &Failure{Class: Unacknowledged, Text: "the answer is not OTLP's: something else listens at this address"}
		}
	}
	// By the specification, what a sink rejected must not be sent again.
	rejected := min(max(said.GetPartialSuccess().GetRejectedLogRecords(), 0), int64(n))
	return Accepted{Entries: n, Rejected: int(rejected)}, nil
}

// refusal is what a status says. The specification has 400 and most others mean
// "never again"; but an entry of this log is not given up because of one answer, so
// it waits, and the operator decides.
func refusal(reply *http.Response) error {
	f := &Failure{Class: Refused, Text: "the sink answers with status " + strconv.Itoa(reply.StatusCode)}
	switch reply.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.Class, f.Text, f.After = Throttled, "the sink asks to wait", retryAfter(reply.Header.Get("Retry-After"))
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		f.Class = Unreachable
	case http.StatusRequestEntityTooLarge:
		f.Class, f.Fewer = TooLarge, true
	case http.StatusBadRequest:
		f.Fewer = true // perhaps it is one of them
	case http.StatusUnauthorized, http.StatusForbidden:
		f.Text = "the sink does not accept our credential (status " + strconv.Itoa(reply.StatusCode) + ")"
	}
	return f
}

// retryAfter reads the header: seconds, or a date.
func retryAfter(text string) time.Duration {
	if n, err := strconv.Atoi(text); err == nil {
		return time.Duration(min(max(n, 0), int(longestAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), longestAfter)
	}
	return 0
}

func (o *OTLP) body(entries []Entry) ([]byte, error) {
	b, err := proto.Marshal(o.request(entries, time.Now()))
	if err != nil || o.config.Plain {
		return b, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(b)
	err = errors.Join(err, w.Close())
	return packed.Bytes(), err
}

// otlpSeverity is the data model's mapping of syslog's severities.
var otlpSeverity = map[audit.Severity]logs.SeverityNumber{
	audit.SeverityAlert:   logs.SeverityNumber_SEVERITY_NUMBER_ERROR3,
	audit.SeverityWarning: logs.SeverityNumber_SEVERITY_NUMBER_WARN,
	audit.SeverityNotice:  logs.SeverityNumber_SEVERITY_NUMBER_INFO2,
	audit.SeverityInfo:    logs.SeverityNumber_SEVERITY_NUMBER_INFO,
}

// request is one message for all entries, which may be of several logs.
func (o *OTLP) request(entries []Entry, now time.Time) *collector.ExportLogsServiceRequest {
	records := make([]*logs.LogRecord, 0, len(entries))
	for i := range entries {
		records = append(records, record(&entries[i], now))
	}
	return &collector.ExportLogsServiceRequest{ResourceLogs: []*logs.ResourceLogs{{
		Resource: &resource.Resource{Attributes: attributes(
			"service.name", "gatehouse", "service.version", o.config.Version, "deployment.environment.name", o.config.Environment,
		)},
		ScopeLogs: []*logs.ScopeLogs{{
			Scope:      &common.InstrumentationScope{Name: "gatehouse/audit"},
			LogRecords: records,
		}},
	}}}
}

// record is one entry. Its body is the leaf as the tree holds it, a text and not a
// map, so that whoever has it can compute its hash.
func record(e *Entry, now time.Time) *logs.LogRecord {
	code := CodeOf(e)
	r := &logs.LogRecord{
		TimeUnixNano: uint64(max(e.when(), 0)) * 1000, ObservedTimeUnixNano: uint64(max(now.UnixNano(), 0)),
		SeverityNumber: otlpSeverity[code.Severity], SeverityText: strings.ToUpper(string(code.Severity)), EventName: e.action(),
		Attributes: attributes("gatehouse.log.origin", e.Origin, "gatehouse.log.leaf_hash", e.Hash, "gatehouse.code", code.Code),
	}
	r.Attributes = append(r.Attributes, number("gatehouse.log.index", e.Index))
	l := e.Leaf
	if l == nil {
		return r
	}
	r.Body = &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: string(e.Raw)}}
	r.Attributes = append(r.Attributes, attributes(
		"log.record.uid", l.ID,
		"gatehouse.kind", l.Kind, "gatehouse.intent", l.Intent, "gatehouse.verdict", l.Verdict, "gatehouse.rule", l.Rule,
		"gatehouse.service", string(l.Service), "gatehouse.purpose", string(l.Purpose),
		"gatehouse.platform", string(l.Platform), "gatehouse.app", string(l.App), "gatehouse.operation", string(l.Operation),
	)...)
	if l.Status != 0 {
		r.Attributes = append(r.Attributes, number("http.response.status_code", int64(l.Status)))
	}
	return r
}

// attributes are texts by name, two by two; empty ones are left out.
func attributes(pairs ...string) []*common.KeyValue {
	var all []*common.KeyValue
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, &common.KeyValue{Key: pairs[i], Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: pairs[i+1]}}})
		}
	}
	return all
}

func number(name string, n int64) *common.KeyValue {
	return &common.KeyValue{Key: name, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}}
}

// Close implements Sink.
func (o *OTLP) Close() error { return nil }
