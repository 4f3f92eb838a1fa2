// Package otlp sends figures and traces of calls to an OpenTelemetry collector, by OTLP
// over HTTP with binary messages.
//
// It promises that a call never waits for a collector: a trace is one record, put into a
// bounded queue when the call is over, or dropped and counted; that a span holds names
// of the configuration and of our tables, measures, and the id of the log's entry, and
// never an address, a header, a body or an id of a person; and that of what a caller
// sends only a well-formed trace id and span id are taken over.
//
// It must never be needed: what it sends is in /metrics and in the audit log.
package otlp

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"

	dto "github.com/prometheus/client_model/go"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	resource "go.opentelemetry.io/proto/slim/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// Config says what is sent where. It is copied and never changed.
type Config struct {
	// URL is the collector's address without the path of a signal. Required.
	URL string
	// Send sends a request and returns the reply, whatever its status. Required.
	Send http.RoundTripper
	// Headers go with each request. They are asked for each time, so that a credential
	// that was renewed is used.
	Headers map[string]func() (secret.Text, error)
	// Plain sends requests as they are; otherwise they are compressed with gzip.
	Plain bool
	// Gather returns the figures, and Since is when counting began; nil sends none.
	Gather func() ([]*dto.MetricFamily, error)
	Since  time.Time
	// Unit names the unit of a figure as OpenTelemetry does ("s", "By"); nil names none.
	Unit func(name string) string
	// Every is how often they are sent; zero means once a minute.
	Every time.Duration
	// Sample is the part of calls that are traced, from 0 to 1. With 0 none is, and with
	// more a call that comes with a valid traceparent is traced as that says.
	Sample float64
	// Version, Environment and Node say what is speaking.
	Version     string
	Environment gatehouse.Environment
	Node        string
	// Dropped is told of each trace that is not sent, Sent of each request's end, with
	// the signal "metrics" or "traces". nil tells nobody.
	Dropped func()
	Sent    func(signal string, ok bool)
	// Logger gets what the collector answers, once when it begins to fail and once when
	// it is well again. nil drops it.
	Logger *slog.Logger
}

// Exporter sends. It is safe for concurrent use; Run must be running, or nothing is
// sent.
type Exporter struct {
	config   Config
	resource *resource.Resource
	queue    chan Call
	// pending are the traces that Run was sending when it ended. Run writes them, and
	// after it Flush reads them.
	pending []Call

	mu      sync.Mutex
	failing map[string]bool // by signal; guarded by mu
}

const (
	// queued bounds the traces that wait: some 300 bytes each.
	queued = 2048
	// batch is how many traces one request has at most, batchTime how long the first of
	// them waits for company.
	batch     = 512
	batchTime = 5 * time.Second
	// requestTime bounds one request, attempts how often traces are sent, and longestWait
	// how long a collector can make them wait for the next attempt.
	requestTime = 10 * time.Second
	attempts    = 3
	longestWait = 30 * time.Second
	// lastTime bounds what is sent when the process ends.
	lastTime = 2 * time.Second
	maxReply = 64 << 10
)

// The signals.
const (
	signalMetrics = "metrics"
	signalTraces  = "traces"
)

// New returns an exporter. Nothing is sent yet.
func New(c Config) (*Exporter, error) {
	if c.URL == "" || c.Send == nil {
		return nil, fmt.Errorf("otlp: an address and a client are needed: %w", gatehouse.ErrInvalid)
	}
	if c.Sample < 0 || c.Sample > 1 {
		return nil, fmt.Errorf("otlp: the part of calls that are traced is from 0 to 1: %w", gatehouse.ErrInvalid)
	}
	if c.Every == 0 {
		c.Every = time.Minute
	}
	if c.Dropped == nil {
		c.Dropped = func() {}
	}
	if c.Sent == nil {
		c.Sent = func(string, bool) {}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
	// Two processes that call themselves the same would have their counters mixed up.
	return &Exporter{config: c, queue: make(chan Call, queued), failing: map[string]bool{}, resource: &resource.Resource{Attributes: attributes(
		"service.name", "gatehouse", "service.version", c.Version, "service.instance.id", rand.Text(),
		"deployment.environment.name", string(c.Environment), "gatehouse.node", c.Node,
	)}}, nil
}

// Run sends until ctx ends. Flush sends what is left then.
func (e *Exporter) Run(ctx context.Context) error {
	var group sync.WaitGroup
	if e.config.Gather != nil {
		group.Go(func() { e.sendFigures(ctx) })
	}
	if e.config.Sample > 0 {
		group.Go(func() { e.sendTraces(ctx) })
	}
	group.Wait()
	return nil
}

// Flush sends what there is when the process ends, if the collector takes it at once.
// Run must have returned, and no call may end any more.
func (e *Exporter) Flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastTime)
	defer cancel()
	calls := e.pending
	for len(e.queue) > 0 {
		calls = append(calls, <-e.queue)
	}
	if len(calls) > 0 {
		if _, err := e.post(ctx, signalTraces, e.tracesRequest(calls)); err != nil {
			e.drop(calls)
		}
	}
	if e.config.Gather != nil {
		_ = e.figures(ctx)
	}
}

func (e *Exporter) drop(calls []Call) {
	for range calls {
		e.config.Dropped()
	}
}

func (e *Exporter) sendFigures(ctx context.Context) {
	clock := time.NewTicker(e.config.Every)
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
			// What is not taken now is in the next: counters count from the beginning.
			_ = e.figures(ctx)
		}
	}
}

func (e *Exporter) figures(ctx context.Context) error {
	families, err := e.config.Gather()
	if err != nil && len(families) == 0 {
		return err
	}
	_, err = e.post(ctx, signalMetrics, e.metricsRequest(families, time.Now()))
	return err
}

// sendTraces gathers traces and sends them.
func (e *Exporter) sendTraces(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-e.queue:
			e.deliver(ctx, e.gather(ctx, first))
		}
	}
}

// gather waits for company, but not for long.
func (e *Exporter) gather(ctx context.Context, first Call) []Call {
	calls := []Call{first}
	until := time.NewTimer(batchTime)
	defer until.Stop()
	for len(calls) < batch {
		select {
		case c := <-e.queue:
			calls = append(calls, c)
		case <-until.C:
			return calls
		case <-ctx.Done():
			return calls
		}
	}
	return calls
}

// deliver sends traces, again if the collector asks for it or is away. What ctx
// interrupts is left to Flush.
func (e *Exporter) deliver(ctx context.Context, calls []Call) {
	request := e.tracesRequest(calls)
	for attempt := 1; ctx.Err() == nil; attempt++ {
		again, err := e.post(ctx, signalTraces, request)
		if err == nil {
			return
		}
		if ctx.Err() == nil && (again == 0 || attempt == attempts) {
			e.drop(calls)
			return
		}
		wait := time.NewTimer(again * time.Duration(attempt))
		select {
		case <-wait.C:
		case <-ctx.Done():
		}
		wait.Stop()
	}
	e.pending = calls
}

// post sends one request. again is how long to wait before it may be sent once more;
// zero means that it is not to be.
func (e *Exporter) post(ctx context.Context, signal string, m proto.Message) (again time.Duration, err error) {
	bounded, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	again, err = e.exchange(bounded, signal, m)
	if errors.Is(ctx.Err(), context.Canceled) && err != nil {
		return 0, err // we ended it, and not the collector
	}
	e.config.Sent(signal, err == nil)
	e.mu.Lock()
	was := e.failing[signal]
	e.failing[signal] = err != nil
	e.mu.Unlock()
	switch {
	case err != nil && !was:
		e.config.Logger.LogAttrs(ctx, slog.LevelWarn, "the OpenTelemetry collector does not take what it is sent", slog.String("signal", signal), slog.Any("error", err))
	case err == nil && was:
		e.config.Logger.LogAttrs(ctx, slog.LevelInfo, "the OpenTelemetry collector takes what it is sent again", slog.String("signal", signal))
	}
	return again, err
}

func (e *Exporter) exchange(ctx context.Context, signal string, m proto.Message) (again time.Duration, err error) {
	body, err := e.body(m)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.config.URL+"/v1/"+signal, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("otlp: the collector's address cannot be read: %w", gatehouse.ErrInvalid)
	}
	r.Header.Set("Content-Type", "application/x-protobuf")
	r.Header.Set("User-Agent", "gatehouse")
	if !e.config.Plain {
		r.Header.Set("Content-Encoding", "gzip")
	}
	for name, value := range e.config.Headers {
		text, err := value()
		if err != nil {
			return 0, fmt.Errorf("otlp: the reference of the header %s cannot be followed: %w", name, err)
		}
		r.Header.Set(name, text.Reveal())
	}
	reply, err := e.config.Send.RoundTrip(r)
	if err != nil {
		return time.Second, fmt.Errorf("otlp: asking the collector: %w", err)
	}
	defer func() { _ = reply.Body.Close() }()
	if _, err := io.Copy(io.Discard, io.LimitReader(reply.Body, maxReply)); err != nil {
		return 0, fmt.Errorf("otlp: reading the collector's answer: %w", err)
	}
	if reply.StatusCode/100 == 2 {
		return 0, nil
	}
	switch reply.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		again = retryAfter(reply.Header.Get("Retry-After"))
	}
	return again, fmt.Errorf("otlp: the collector answers with status %d: %w", reply.StatusCode, gatehouse.ErrUnavailable)
}

// retryAfter reads the header's seconds; a date is not worth a clock.
func retryAfter(text string) time.Duration {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return time.Second
	}
	return time.Duration(min(n, int(longestWait/time.Second))) * time.Second
}

func (e *Exporter) body(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil || e.config.Plain {
		return b, err
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(b)
	err = errors.Join(err, w.Close())
	return packed.Bytes(), err
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

// nanoseconds is a time as the protocol has it.
func nanoseconds(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
