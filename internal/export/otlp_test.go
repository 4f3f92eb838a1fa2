package export_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/export"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/slim/otlp/logs/v1"
	"google.golang.org/protobuf/proto"
)

// A gatherer is a server that takes what OTLP sends. say answers; nil says that all is
// well.
type gatherer struct {
	*httptest.Server
	t   testing.TB
	say http.HandlerFunc

	mu       sync.Mutex
	got      []*logs.LogRecord
	requests []*http.Request
}

func gather(t testing.TB, c *tls.Config, say http.HandlerFunc) *gatherer {
	t.Helper()
	g := &gatherer{t: t, say: say}
	g.Server = httptest.NewUnstartedServer(g)
	g.TLS = c
	g.StartTLS()
	t.Cleanup(g.Close)
	return g
}

func (g *gatherer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests = append(g.requests, r)
	g.mu.Unlock()
	if g.say != nil {
		g.say(w, r)
		return
	}
	g.take(w, r, 0)
}

// take keeps what came and says that it did.
func (g *gatherer) take(w http.ResponseWriter, r *http.Request, rejected int64) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		packed, err := gzip.NewReader(r.Body)
		if err != nil {
			g.t.Error(err)
			return
		}
		body = packed
	}
	b, err := io.ReadAll(body)
	if err != nil {
		g.t.Error(err)
		return
	}
	var said collector.ExportLogsServiceRequest
	if err := proto.Unmarshal(b, &said); err != nil {
		g.t.Error(err)
		return
	}
	g.mu.Lock()
	for _, resource := range said.ResourceLogs {
		for _, scope := range resource.ScopeLogs {
			g.got = append(g.got, scope.LogRecords...)
		}
	}
	g.mu.Unlock()
	answer := &collector.ExportLogsServiceResponse{}
	if rejected > 0 {
		answer.PartialSuccess = &collector.ExportLogsPartialSuccess{RejectedLogRecords: rejected, ErrorMessage: "<script>"}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	b, _ = proto.Marshal(answer)
	_, _ = w.Write(b)
}

func (g *gatherer) indexes() (all []int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.got {
		for _, a := range r.Attributes {
			if a.Key == "gatehouse.log.index" {
				all = append(all, a.Value.GetIntValue())
			}
		}
	}
	return all
}

func otlpTo(t testing.TB, a *authority, url string, change func(*export.OTLPConfig, *wire.EgressConfig)) *export.OTLP {
	t.Helper()
	c := export.OTLPConfig{URL: url + "/v1/logs", Environment: "production", Version: "1.2.3"}
	e := wire.EgressConfig{Hosts: []string{strings.TrimPrefix(url, "https://")}, AllowLoopback: true, RootCAs: a.pool}
	if change != nil {
		change(&c, &e)
	}
	egress, err := wire.NewEgress(e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(egress.CloseIdle)
	c.Send = egress
	o, err := export.NewOTLP(c)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOTLPOfALog(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	a := newAuthority(t)
	server := a.server("127.0.0.1")
	_, certFile, keyFile := a.issue("gatehouse", time.Now().Add(time.Hour))
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	show, err := wire.ClientCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	g := gather(t, server, nil)
	r.calls(300)
	stop := r.export(r.config(export.Target{Name: "otel", Sink: otlpTo(t, a, g.URL, func(c *export.OTLPConfig, e *wire.EgressConfig) {
		e.Certificate = show
		c.Headers = map[string]func() (secret.Text, error){"Authorization": func() (secret.Text, error) { return secret.New("Bearer canary"), nil }}
	})}))
	r.reached("otel", 300)
	stop()
	exactly(t, g.indexes(), 300)
	for i, raw := range r.leaves() {
		got := g.got[i]
		attributes := map[string]string{}
		for _, a := range got.Attributes {
			attributes[a.Key] = a.Value.GetStringValue()
		}
		if got.Body.GetStringValue() != string(raw) || got.EventName != "call" || got.SeverityNumber != logs.SeverityNumber_SEVERITY_NUMBER_INFO ||
			attributes["gatehouse.log.leaf_hash"] != leafHash(raw) || attributes["gatehouse.log.origin"] != origin || attributes["log.record.uid"] == "" ||
			attributes["gatehouse.operation"] != "GET /2/users/me" || got.TimeUnixNano == 0 || got.ObservedTimeUnixNano < got.TimeUnixNano {
			t.Fatalf("record %d: %v", i, got)
		}
	}
	first := g.requests[0]
	if first.Header.Get("Authorization") != "Bearer canary" || first.Header.Get("Content-Type") != "application/x-protobuf" || first.URL.Path != "/v1/logs" || first.Method != http.MethodPost {
		t.Errorf("request: %v", first.Header)
	}
}

func TestOTLPSeverity(t *testing.T) {
	for action, want := range map[string]logs.SeverityNumber{
		"log.tampered": logs.SeverityNumber_SEVERITY_NUMBER_ERROR3, "lineage.full": logs.SeverityNumber_SEVERITY_NUMBER_WARN,
		"log.clock": logs.SeverityNumber_SEVERITY_NUMBER_INFO2, "run.start": logs.SeverityNumber_SEVERITY_NUMBER_INFO,
	} {
		raw := bytes.ReplaceAll(leafOf(0), []byte(`"init"`), []byte(strconv.Quote(action)))
		e := export.NewEntry(origin, 0, raw)
		var said collector.ExportLogsServiceRequest
		if err := proto.Unmarshal(export.OTLPTestOnly(t, &e), &said); err != nil {
			t.Fatal(err)
		}
		if r := said.ResourceLogs[0].ScopeLogs[0].LogRecords[0]; r.SeverityNumber != want || r.EventName != action {
			t.Errorf("%s: %v", action, r)
		}
	}
}

// What a receiver answers, and what becomes of it. Nothing of the answer is repeated.
func TestOTLPFaults(t *testing.T) {
	a := newAuthority(t)
	good := a.server("127.0.0.1")
	const nasty = "<b>token canary</b>"
	status := func(n int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(n)
			_, _ = io.WriteString(w, nasty)
		}
	}
	free := make(chan struct{})
	t.Cleanup(func() { close(free) })
	hang := func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see the caller go
		select {
		case <-r.Context().Done():
		case <-free:
		}
	}
	for name, c := range map[string]struct {
		tls   *tls.Config
		say   http.HandlerFunc
		class string
		after time.Duration
		fewer bool
	}{
		"hangs":          {good, hang, export.TimedOut, 0, true},
		"throttles":      {good, status(429, "Retry-After", "7"), export.Throttled, 7 * time.Second, false},
		"is unavailable": {good, status(503), export.Throttled, 0, false},
		"bad gateway":    {good, status(502), export.Unreachable, 0, false},
		"bad request":    {good, status(400), export.Refused, 0, true},
		"too large":      {good, status(413), export.TooLarge, 0, true},
		"no credential":  {good, status(401), export.Refused, 0, false},
		"fails":          {good, status(500), export.Refused, 0, false},
		"redirects":      {good, status(307, "Location", "https://elsewhere.example.com/"), export.Refused, 0, false},
		"a page":         {good, status(200, "Content-Type", "text/html"), export.Unacknowledged, 0, false},
		"no message":     {good, status(200, "Content-Type", "application/x-protobuf"), export.Unacknowledged, 0, false},
		"a flood": {good, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, export.Unacknowledged, 0, false},
		"drips": {good, func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				if _, err := w.Write([]byte{0}); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				<-tick.C
			}
		}, export.TimedOut, 0, true},
		"is cut off": {good, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte{0})
			panic(http.ErrAbortHandler)
		}, export.Unreachable, 0, false},
		"another name": {a.server("elsewhere.example.com"), nil, export.Untrusted, 0, false},
		"over": {func() *tls.Config {
			cert, _, _ := a.issue("127.0.0.1", time.Now().Add(-time.Hour))
			return &tls.Config{Certificates: []tls.Certificate{cert}}
		}(), nil, export.Untrusted, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := gather(t, c.tls, c.say)
			g.Config.ErrorLog = nil
			patience := time.Minute
			if c.class == export.TimedOut {
				patience = 500 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			accepted, err := otlpTo(t, a, g.URL, nil).Send(ctx, entries(0, 3))
			if err == nil || accepted.Entries != 0 {
				t.Fatalf("accepted: %+v", accepted)
			}
			f := export.FailureTestOnly(ctx, err)
			if f.Class != c.class || f.After != c.after || f.Fewer != c.fewer {
				t.Errorf("%+v, want %+v", f, c)
			}
			if strings.Contains(f.Text, "canary") || strings.Contains(err.Error(), "canary") {
				t.Errorf("the answer is repeated: %v", err)
			}
		})
	}
	for name, say := range map[string]http.HandlerFunc{
		"an empty answer": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) },
		"202":             func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202) },
		"as specified":    nil,
	} {
		g := gather(t, good, say)
		if a, err := otlpTo(t, a, g.URL, nil).Send(t.Context(), entries(0, 3)); err != nil || a != (export.Accepted{Entries: 3}) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	t.Run("partial success", func(t *testing.T) {
		var g *gatherer
		for rejected, want := range map[int64]int{2: 2, 99: 3} {
			g = gather(t, good, func(w http.ResponseWriter, r *http.Request) { g.take(w, r, rejected) })
			if a, err := otlpTo(t, a, g.URL, nil).Send(t.Context(), entries(0, 3)); err != nil || a != (export.Accepted{Entries: 3, Rejected: want}) {
				t.Errorf("%+v, %v", a, err)
			}
		}
	})
	t.Run("a header that cannot be read", func(t *testing.T) {
		g := gather(t, good, nil)
		sink := otlpTo(t, a, g.URL, func(c *export.OTLPConfig, _ *wire.EgressConfig) {
			c.Headers = map[string]func() (secret.Text, error){"X-Key": func() (secret.Text, error) { return secret.Text{}, errors.New("no file") }}
		})
		if _, err := sink.Send(t.Context(), entries(0, 1)); err == nil || len(g.requests) > 0 {
			t.Errorf("it was sent without: %v", err)
		}
	})
	t.Run("plain", func(t *testing.T) {
		g := gather(t, good, nil)
		sink := otlpTo(t, a, g.URL, func(c *export.OTLPConfig, _ *wire.EgressConfig) { c.Plain = true })
		if _, err := sink.Send(t.Context(), entries(0, 1)); err != nil || g.requests[0].Header.Get("Content-Encoding") != "" {
			t.Errorf("%v", err)
		}
		exactly(t, g.indexes(), 1)
	})
}

// A receiver that answers in another way each time gets every entry, in order.
func TestOTLPComesBack(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	a := newAuthority(t)
	n := 0
	var g *gatherer
	g = gather(t, a.server("127.0.0.1"), func(w http.ResponseWriter, req *http.Request) {
		n++
		switch {
		case n > 12:
			g.take(w, req, 0)
		case n%4 == 0:
			w.WriteHeader(503)
		case n%4 == 1:
			g.take(httptest.NewRecorder(), req, 0)
			panic(http.ErrAbortHandler) // it has them, and we do not know
		case n%4 == 2:
			w.WriteHeader(413)
		default:
			g.take(w, req, 0)
		}
	})
	r.calls(300)
	stop := r.export(r.config(export.Target{Name: "otel", Sink: otlpTo(t, a, g.URL, nil)}))
	r.reached("otel", 300)
	stop()
	complete(t, g.indexes(), 300)
}

func TestRetryAfter(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "-5": 0, "999999999999": 0, "99999": 10 * time.Minute, "soon": 0,
		"Thu, 01 Jan 1970 00:00:00 GMT": 0, "Fri, 01 Jan 2100 00:00:00 GMT": 10 * time.Minute} {
		if text == "999999999999" && strconv.IntSize == 64 {
			want = 10 * time.Minute
		}
		if got := export.RetryAfterTestOnly(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestOTLPRefuses(t *testing.T) {
	for name, c := range map[string]export.OTLPConfig{"no address": {Send: http.NewFileTransport(nil)}, "no client": {URL: "https://x"}} {
		if _, err := export.NewOTLP(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func listenPlain(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
