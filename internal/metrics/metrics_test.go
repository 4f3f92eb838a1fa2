package metrics_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/metrics"
	"gatehouse/internal/secret"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

var names = metrics.Names{
	Services:     []gatehouse.ServiceName{"scheduler", "analytics"},
	Purposes:     []gatehouse.PurposeName{"publish", "measure"},
	Apps:         []gatehouse.AppName{"main-x"},
	Destinations: []string{"api.segment.test"},
}

func newMetrics(t testing.TB, looks ...metrics.Look) *metrics.Metrics {
	t.Helper()
	m, err := metrics.New(metrics.Config{Version: "v1", Environment: "test", Names: names, Looks: looks})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// call is one that went well, in 100 ms of which 5 were ours.
func call() metrics.Call {
	return metrics.Call{
		Service: "scheduler", Purpose: "publish", Platform: "x", Outcome: metrics.OutcomeDone, Bytes: 1000,
		Timing: metrics.Timing{
			Judged: time.Millisecond, Recorded: 3 * time.Millisecond, Opened: 5 * time.Millisecond, Answered: 90 * time.Millisecond, Ended: 100 * time.Millisecond,
		},
	}
}

// gather returns what is counted, as name{label="value",...}.
func gather(t testing.TB, m *metrics.Metrics) map[string]float64 {
	t.Helper()
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			var labels []string
			for _, l := range one.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			key := f.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch f.GetType() {
			case dto.MetricType_HISTOGRAM:
				all[key] = float64(one.GetHistogram().GetSampleCount())
			case dto.MetricType_COUNTER:
				all[key] = one.GetCounter().GetValue()
			default:
				all[key] = one.GetGauge().GetValue()
			}
		}
	}
	return all
}

func want(t testing.TB, m *metrics.Metrics, figures map[string]float64) {
	t.Helper()
	all := gather(t, m)
	for key, value := range figures {
		if got, ok := all[key]; !ok || got != value {
			t.Errorf("%s is %v (there: %v), want %v", key, got, ok, value)
		}
	}
}

func TestCallsAreCounted(t *testing.T) {
	m := newMetrics(t)
	c := call()
	m.Call(&c)
	m.Call(&c)
	refused := metrics.Call{Service: "scheduler", Purpose: "publish", Platform: "x", Outcome: metrics.OutcomeRefused, Timing: metrics.Timing{Ended: time.Millisecond}}
	m.Call(&refused)
	// The log was closed: judged, and no more.
	closed := metrics.Call{Service: "scheduler", Purpose: "publish", Platform: "x", Outcome: metrics.OutcomeUnrecorded, Timing: metrics.Timing{Judged: 1, Ended: 2}}
	m.Call(&closed)
	// The platform did not answer.
	failed := call()
	failed.Outcome, failed.Answered = metrics.OutcomeFailed, 0
	m.Call(&failed)
	stream := call()
	stream.Streaming = true
	m.Call(&stream)
	want(t, m, map[string]float64{
		`gatehouse_calls_total{outcome="done",platform="x",purpose="publish",service="scheduler"}`:       3,
		`gatehouse_calls_total{outcome="refused",platform="x",purpose="publish",service="scheduler"}`:    1,
		`gatehouse_calls_total{outcome="failed",platform="x",purpose="publish",service="scheduler"}`:     1,
		`gatehouse_calls_total{outcome="aborted",platform="x",purpose="publish",service="scheduler"}`:    0,
		`gatehouse_calls_total{outcome="unrecorded",platform="x",purpose="publish",service="scheduler"}`: 1,
		`gatehouse_call_duration_seconds{platform="x"}`:                                                  3,
		`gatehouse_call_own_duration_seconds{}`:                                                          3,
		`gatehouse_call_part_duration_seconds{part="credential"}`:                                        3,
		`gatehouse_call_part_duration_seconds{part="upstream"}`:                                          2,
		`gatehouse_call_part_duration_seconds{part="relay"}`:                                             2,
		`gatehouse_call_reply_bytes_total{platform="x"}`:                                                 4000,
	})
}

// Whoever calls chooses neither how many series there are nor what their labels say.
func TestLabelsAreNamesOfTheConfiguration(t *testing.T) {
	m := newMetrics(t)
	c := call()
	c.Service, c.Purpose = "Jane Doe <jane@example.com>", "gth_hnd_secret"
	m.Call(&c)
	for i := range 100 {
		c.Service = gatehouse.ServiceName(fmt.Sprint("made-up-", i))
		m.Call(&c)
		m.Entered(audit.KindOutcome, audit.Entry{Action: "egress.tunnel", Verdict: "done", Facts: map[string]string{"host": fmt.Sprint(i, ".example.com"), "sent": "1"}}, 0)
		m.Entered(audit.KindOutcome, audit.Entry{Action: "connect.refresh", Verdict: "done", App: gatehouse.AppName(fmt.Sprint("app", i))}, 0)
	}
	m.Recognised(gatehouse.EmailAddress, "stopped", "jane.example.com")
	m.Recognised(gatehouse.EmailAddress, "passed", "api.segment.test")
	m.Entered(audit.KindOutcome, audit.Entry{Action: "egress.tunnel", Verdict: "done", Facts: map[string]string{"host": "api.segment.test", "sent": "12", "received": "7"}}, 0)
	want(t, m, map[string]float64{
		`gatehouse_calls_total{outcome="done",platform="x",purpose="(other)",service="(other)"}`:                101,
		`gatehouse_egress_requests_total{action="egress.tunnel",destination="(undeclared)",outcome="done"}`:     100,
		`gatehouse_egress_requests_total{action="egress.tunnel",destination="api.segment.test",outcome="done"}`: 1,
		`gatehouse_egress_sent_bytes_total{destination="(undeclared)"}`:                                         100,
		`gatehouse_egress_sent_bytes_total{destination="api.segment.test"}`:                                     12,
		`gatehouse_egress_received_bytes_total{destination="api.segment.test"}`:                                 7,
		`gatehouse_renewals_total{app="(other)",outcome="done"}`:                                                100,
	})
	want(t, m, map[string]float64{
		`gatehouse_lineage_hits_total{class="email",destination="(undeclared)",verdict="stopped"}`:    1,
		`gatehouse_lineage_hits_total{class="email",destination="api.segment.test",verdict="passed"}`: 1,
	})
	for key := range gather(t, m) {
		if strings.Contains(key, "Jane") || strings.Contains(key, "made-up") || strings.Contains(key, "example.com") {
			t.Errorf("a label says %s", key)
		}
	}
	// A reload adds names.
	more := names
	more.Services = append(slices.Clone(more.Services), "made-up-1")
	m.Apply(more)
	c.Service = "made-up-1"
	m.Call(&c)
	want(t, m, map[string]float64{`gatehouse_calls_total{outcome="done",platform="x",purpose="(other)",service="made-up-1"}`: 1})
}

// However many rules there were, one scrape stays one that can be carried.
func TestSeriesAreBounded(t *testing.T) {
	m := newMetrics(t)
	for i := range 5000 {
		m.Entered(audit.KindEvent, audit.Entry{Action: "call", Verdict: "refuse", Rule: fmt.Sprint("rule/", i)}, 0)
	}
	n, rest := 0, 0.0
	for key, v := range gather(t, m) {
		if strings.HasPrefix(key, "gatehouse_refusals_total") {
			n++
			if strings.Contains(key, `rule="(other)"`) {
				rest = v
			}
		}
	}
	if n != 2001 || rest != 3000 {
		t.Errorf("there are %d series, and the last counts %v", n, rest)
	}
}

func TestEntriesAreCounted(t *testing.T) {
	m := newMetrics(t)
	enter := func(kind string, e audit.Entry, took time.Duration) { m.Entered(kind, e, took) }
	enter(audit.KindIntent, audit.Entry{Action: "call", Verdict: "allow", Platform: "x"}, 2*time.Millisecond)
	enter(audit.KindOutcome, audit.Entry{Action: "call", Verdict: "done", Platform: "x", Facts: map[string]string{"class": "throttled"}}, 0)
	enter(audit.KindOutcome, audit.Entry{Action: "call", Verdict: "failed", Platform: "x", Rule: "upstream/timeout"}, 0)
	enter(audit.KindOutcome, audit.Entry{Action: "call", Verdict: "done", Platform: "x"}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "call", Verdict: "refuse", Platform: "x", Rule: "policy/undeclared"}, 0)
	enter(audit.KindIntent, audit.Entry{Action: "connect.refresh", Verdict: "allow", App: "main-x"}, time.Millisecond)
	enter(audit.KindOutcome, audit.Entry{Action: "connect.refresh", Verdict: "failed", App: "main-x"}, 0)
	enter(audit.KindOutcome, audit.Entry{Action: "event.deliver", Verdict: "done"}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "egress.call", Verdict: "refuse", Rule: "egress/private", Facts: map[string]string{"host": "api.segment.test"}}, 0)
	enter(audit.KindOutcome, audit.Entry{Action: "egress.request", Verdict: "done", Facts: map[string]string{"host": "api.segment.test", "sent": "5"}}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "operator.sign-in", Verdict: "done"}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "operator.refuse", Verdict: "refuse"}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "operator.locked", Verdict: "refuse"}, 0)
	enter(audit.KindIntent, audit.Entry{Action: "operator.cloned", Verdict: "allow"}, 0)
	enter(audit.KindOutcome, audit.Entry{Action: "operator.cloned", Verdict: "done"}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "stepup.alarm", Verdict: "done", Facts: map[string]string{"cause": "guessing"}}, 0)
	enter(audit.KindEvent, audit.Entry{Action: "stepup.alarm", Verdict: "done", Facts: map[string]string{"cause": "else"}}, 0)
	want(t, m, map[string]float64{
		`gatehouse_log_entries_total{action="call",verdict="allow"}`:                                             1,
		`gatehouse_log_entries_total{action="call",verdict="done"}`:                                              2,
		`gatehouse_log_append_duration_seconds{}`:                                                                2,
		`gatehouse_upstream_errors_total{kind="throttled",platform="x"}`:                                         1,
		`gatehouse_upstream_errors_total{kind="upstream/timeout",platform="x"}`:                                  1,
		`gatehouse_refusals_total{action="call",rule="policy/undeclared"}`:                                       1,
		`gatehouse_renewals_total{app="main-x",outcome="failed"}`:                                                1,
		`gatehouse_event_deliveries_total{outcome="done"}`:                                                       1,
		`gatehouse_egress_requests_total{action="egress.call",destination="api.segment.test",outcome="refused"}`: 1,
		`gatehouse_egress_requests_total{action="egress.request",destination="api.segment.test",outcome="done"}`: 1,
		`gatehouse_factor_alarms_total{cause="cloned",whose="operator"}`:                                         1, `gatehouse_factor_alarms_total{cause="guessing",whose="user"}`: 1, `gatehouse_factor_alarms_total{cause="cloned",whose="user"}`: 0,
		`gatehouse_operator_sign_ins_total{outcome="refused"}`: 1, `gatehouse_operator_sign_ins_total{outcome="done"}`: 1, `gatehouse_operator_sign_ins_total{outcome="locked"}`: 1,
	})
	for key := range gather(t, m) {
		if strings.HasPrefix(key, "gatehouse_egress_sent_bytes_total") {
			t.Errorf("bytes inside a tunnel are counted beside those of the tunnel: %s", key)
		}
	}
}

// filled takes every look, counts something under every instrument.
func filled(t testing.TB) *metrics.Metrics {
	t.Helper()
	var look metrics.Look
	var list []metrics.Reading
	for _, i := range metrics.Instruments() {
		if i.Type != metrics.Gauge || i.Name == "gatehouse_build_info" {
			continue
		}
		look.Sets = append(look.Sets, i.Name)
		list = append(list, metrics.Reading{Name: i.Name, Labels: slices.Repeat([]string{"some"}, len(i.Labels)), Value: 1})
	}
	look.Name, look.At = "all", func(context.Context) ([]metrics.Reading, error) { return list, nil }
	broken := metrics.Look{Name: "broken", At: func(context.Context) ([]metrics.Reading, error) { return nil, errors.New("no") }}
	m := newMetrics(t, look, broken)
	m.Look(t.Context())
	c := call()
	m.Call(&c)
	for _, action := range []string{"call", "connect.refresh", "event.deliver", "egress.tunnel"} {
		m.Entered(audit.KindOutcome, audit.Entry{Action: action, Verdict: "failed", Rule: "r", Facts: map[string]string{"sent": "1", "received": "1"}}, time.Millisecond)
	}
	m.Entered(audit.KindEvent, audit.Entry{Action: "call", Verdict: "refuse", Rule: "r"}, 0)
	m.Entered(audit.KindEvent, audit.Entry{Action: "operator.sign-in", Verdict: "done"}, 0)
	m.Recognised(gatehouse.EmailAddress, "stopped", "api.segment.test")
	m.Exported("metrics", true)
	m.Dropped()
	return m
}

// Prometheus' own rules of names, and its own parser: it reads what we show, and finds
// there exactly what the registry says.
func TestPrometheusReadsIt(t *testing.T) {
	m := filled(t)
	server := httptest.NewServer(m.Handler(metrics.Exposure{}))
	defer server.Close()
	reply, err := http.Get(server.URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(reply.Body); err != nil || reply.StatusCode != http.StatusOK {
		t.Fatal(reply.Status, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(&text).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "gatehouse_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	for _, i := range metrics.Instruments() {
		f := families[i.Name]
		if f == nil {
			t.Errorf("%s is not shown", i.Name)
			continue
		}
		if got := strings.ToLower(f.GetType().String()); got != string(i.Type) {
			t.Errorf("%s is a %s, and the registry says %s", i.Name, got, i.Type)
		}
		if f.GetHelp() != i.Meaning {
			t.Errorf("the help of %s is %q", i.Name, f.GetHelp())
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		declared := slices.Sorted(slices.Values(i.Labels))
		if !slices.Equal(labels, declared) {
			t.Errorf("%s has the labels %v, and the registry says %v", i.Name, labels, declared)
		}
		if i.Bad == "" || i.Unit == "" {
			t.Errorf("%s: the registry does not say what to do, or in which unit it is", i.Name)
		}
		for _, unit := range []string{"seconds", "bytes", "ratio"} {
			if has := strings.Contains(i.Name+"_", "_"+unit+"_"); has != (i.Unit == unit) {
				t.Errorf("%s is in %s, which its name does not say", i.Name, i.Unit)
			}
		}
		delete(families, i.Name)
	}
	for name := range families {
		if strings.HasPrefix(name, "gatehouse_") {
			t.Errorf("%s is shown and not in the registry", name)
		}
	}
	if families["go_goroutines"] == nil || families["process_start_time_seconds"] == nil {
		t.Error("the runtime or the process is not shown")
	}
}

// A page in a browser on this machine that has its own name lead here reads nothing.
func TestWithoutATokenNoOtherNameIsAnswered(t *testing.T) {
	m := newMetrics(t)
	open := m.Handler(metrics.Exposure{})
	closed := m.Handler(metrics.Exposure{Token: func() (secret.Text, error) { return secret.New("t0ken"), nil }})
	ask := func(h http.Handler, host string, change func(*http.Request) *http.Request) int {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Host = host
		if change != nil {
			r = change(r)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for host, want := range map[string]int{
		"127.0.0.1:9464": 200, "[::1]:9464": 200, "::1": 200, "localhost:9464": 200, "LOCALHOST": 200, "10.0.0.7": 200, "": 200,
		"evil.example:9464": 403, "localhost.evil.example:9464": 403, "127.0.0.1.evil.example": 403, "localhost.:9464": 403, "gatehouse": 403,
	} {
		if got := ask(open, host, nil); got != want {
			t.Errorf("Host %q: %d, want %d", host, got, want)
		}
	}
	for what, c := range map[string]struct {
		h      http.Handler
		change func(*http.Request) *http.Request
	}{
		"with a token": {closed, func(r *http.Request) *http.Request { r.Header.Set("Authorization", "Bearer t0ken"); return r }},
		"by TLS":       {open, func(r *http.Request) *http.Request { r.TLS = &tls.ConnectionState{}; return r }},
		"by a socket in the file system": {open, func(r *http.Request) *http.Request {
			return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(&net.UnixAddr{Name: "/run/m", Net: "unix"})))
		}},
	} {
		if got := ask(c.h, "gatehouse:9464", c.change); got != http.StatusOK {
			t.Errorf("another name %s: %d", what, got)
		}
	}
}

func TestWhoMayScrape(t *testing.T) {
	m := newMetrics(t)
	token := "scrape-me-twice"
	h := m.Handler(metrics.Exposure{Token: func() (secret.Text, error) {
		if token == "gone" {
			return secret.Text{}, errors.New("no such file")
		}
		return secret.New(token), nil
	}})
	ask := func(method, path string, headers ...string) int {
		r := httptest.NewRequest(method, path, nil)
		for _, h := range headers {
			r.Header.Add("Authorization", h)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if token != "" && strings.Contains(w.Body.String(), token) {
			t.Error("the answer holds the token")
		}
		if w.Code == http.StatusOK != strings.Contains(w.Body.String(), "go_goroutines") {
			t.Errorf("status %d does not go with the answer", w.Code)
		}
		return w.Code
	}
	for _, c := range []struct {
		method, path string
		headers      []string
		status       int
	}{
		{"GET", "/metrics", []string{"Bearer scrape-me-twice"}, 200},
		{"GET", "/metrics", []string{"bearer scrape-me-twice"}, 200},
		{"GET", "/metrics", nil, 401},
		{"GET", "/metrics", []string{"Bearer scrape-me-twic"}, 401},
		{"GET", "/metrics", []string{"Bearer "}, 401},
		{"GET", "/metrics", []string{"scrape-me-twice"}, 401},
		{"GET", "/metrics", []string{"Basic scrape-me-twice"}, 401},
		{"GET", "/metrics", []string{"Bearer scrape-me-twice", "Bearer scrape-me-twice"}, 401},
		{"GET", "/", []string{"Bearer scrape-me-twice"}, 404},
		{"GET", "/debug/pprof/", []string{"Bearer scrape-me-twice"}, 404},
		{"POST", "/metrics", []string{"Bearer scrape-me-twice"}, 405},
	} {
		if got := ask(c.method, c.path, c.headers...); got != c.status {
			t.Errorf("%s %s with %q: %d, want %d", c.method, c.path, c.headers, got, c.status)
		}
	}
	token = "another"
	if got := ask("GET", "/metrics", "Bearer another"); got != 200 {
		t.Errorf("with a renewed token: %d", got)
	}
	token = "" // an empty file
	if got := ask("GET", "/metrics", "Bearer "); got != 401 {
		t.Errorf("with an empty token: %d", got)
	}
	token = "gone"
	if got := ask("GET", "/metrics", "Bearer gone"); got != 500 {
		t.Errorf("without a token to compare: %d", got)
	}
}

func TestSeriesOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		healthy := 5.0
		m := newMetrics(t, metrics.Look{Name: "connections", Sets: []string{metrics.Connections}, At: func(context.Context) ([]metrics.Reading, error) {
			if healthy < 0 {
				return nil, errors.New("the database is away")
			}
			return []metrics.Reading{
				{Name: metrics.Connections, Labels: []string{"main-x", "healthy"}, Value: healthy},
				{Name: metrics.Connections, Labels: []string{"pages", "healthy"}, Value: 1},
			}, nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		began := time.Now()
		time.Sleep(time.Second)
		// Two calls in each step of ten seconds, one of them refused.
		for range 12 {
			c := call()
			m.Call(&c)
			m.Call(&metrics.Call{Service: "analytics", Platform: "x", Outcome: metrics.OutcomeRefused})
			time.Sleep(10 * time.Second)
		}
		time.Sleep(4 * time.Second)
		recent := m.Recent("gatehouse_calls_total")
		if len(recent) != 12 {
			t.Fatalf("%d points: %v", len(recent), recent)
		}
		for i, p := range recent {
			if p.Value != 12 || !p.At.Equal(began.Add(time.Duration(i+1)*10*time.Second)) {
				t.Errorf("point %d is %v", i, p)
			}
		}
		if day := m.Series("gatehouse_calls_total", "outcome", metrics.OutcomeRefused); len(day) != 2 || day[1].Value != 6 {
			t.Errorf("the day is %v", day)
		}
		if day := m.Series("gatehouse_calls_total", "service", "analytics", "outcome", metrics.OutcomeDone); len(day) != 2 || day[1].Value != 0 {
			t.Errorf("of a service that did nothing: %v", day)
		}
		if day := m.Series("gatehouse_calls_total", "service", "nobody"); len(day) != 2 || day[1].Value != 0 {
			t.Errorf("of nobody: %v", day)
		}
		if p := m.Series("gatehouse_connections", "status", "healthy"); len(p) != 2 || p[1].Value != 6 {
			t.Errorf("connections: %v", p)
		}
		if p := m.Series("gatehouse_call_duration_seconds", "quantile", metrics.P95); len(p) != 2 || p[1].Value <= .05 || p[1].Value > .1 {
			t.Errorf("latency: %v", p)
		}
		o := m.Overview(time.Now())
		if o.Calls.Value != 12 || o.Refused.Value != 6 || o.Refused.Level != metrics.Warning || o.Refused.Advice == "" || o.Connected.Value != 6 {
			t.Errorf("the overview: %+v", o)
		}
		if got := o.Refused.Search(); got != "action=call&since=1999-12-31T23%3A57%3A05Z&verdict=refuse" {
			t.Errorf("what finds the refused: %s", got)
		}
		if m.Series("gatehouse_nothing") != nil || len(m.Series("gatehouse_log_append_duration_seconds")) != 0 {
			t.Error("there are points of what is not there, or was never measured")
		}
		if o.Renewals.Text() != "0" || o.LogAppend.Text() != "–" || o.Failed.Level != metrics.Good || o.P95.Text() == "–" {
			t.Errorf("the overview: %+v %+v %+v %+v", o.Renewals, o.LogAppend, o.Failed, o.P95)
		}
		for _, f := range o.Figures() {
			if f.Title == "" || f.Known && f.Level != metrics.Good && f.Advice == "" {
				t.Errorf("%+v", f)
			}
			if f.Entries != nil {
				if err := f.Entries.Validate(); err != nil {
					t.Errorf("%s: %v", f.Title, err)
				}
			}
		}
		q := metrics.PointEntries(o.Refused, recent[3], 10*time.Second)
		if q.Until.Sub(q.Since) != 10*time.Second || q.Verdict != "refuse" {
			t.Errorf("what finds a point's: %+v", q)
		}
		rows := m.Services(time.Now(), "")
		if len(rows) != 2 || rows[0].Value != 6 || rows[0].Entries.Service == "" {
			t.Errorf("services: %+v", rows)
		}

		// What cannot be read is absent, not old.
		healthy = -1
		time.Sleep(10 * time.Second)
		if o := m.Overview(time.Now()); o.Connected.Known {
			t.Errorf("connections that could not be read: %+v", o.Connected)
		}
		n := len(m.Recent("gatehouse_connections"))
		healthy = 7
		time.Sleep(time.Minute)
		if p := m.Recent("gatehouse_connections"); len(p) < n+5 || p[len(p)-1].Value != 8 {
			t.Errorf("after they could be read again: %v", p)
		}
		// Two days later there is one day, and two hours.
		time.Sleep(48 * time.Hour)
		if day, recent := m.Series("gatehouse_connections"), m.Recent("gatehouse_connections"); len(day) != 1440 || len(recent) != 720 ||
			time.Since(recent[0].At) > 2*time.Hour || time.Since(day[0].At) > 24*time.Hour {
			t.Errorf("%d minutes since %v and %d steps since %v", len(day), day[0].At, len(recent), recent[0].At)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// With more services than can be plotted one by one, nothing is missing in the sum.
func TestSeriesThatAreTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := names
		for i := range 300 {
			many.Services = append(many.Services, gatehouse.ServiceName(fmt.Sprint("service-", i)))
		}
		m := newMetrics(t)
		m.Apply(many)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		for range 2 {
			time.Sleep(time.Second)
			for _, service := range many.Services {
				m.Call(&metrics.Call{Service: service, Platform: "x", Outcome: metrics.OutcomeDone})
			}
			time.Sleep(9 * time.Second)
		}
		synctest.Wait()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		points := m.Recent("gatehouse_calls_total")
		if want := 6 * float64(len(many.Services)); len(points) != 2 || points[0].Value != want || points[1].Value != want {
			t.Errorf("in all %v, want %v", points, want)
		}
		if rows := m.Services(time.Now(), ""); len(rows) < 100 || len(rows) > 200 {
			t.Errorf("%d services have series", len(rows))
		}
	})
}

// Looks are taken at once and often at first: whoever has just started Gatehouse looks.
func TestLooksAtTheBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		began := time.Now()
		m := newMetrics(t, metrics.Look{Name: "events", Sets: []string{metrics.Events}, Every: time.Minute, At: func(context.Context) ([]metrics.Reading, error) {
			at = append(at, time.Since(began))
			return nil, nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(3*time.Minute + time.Second)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if want := []time.Duration{0, 10 * time.Second, 30 * time.Second, 70 * time.Second, 130 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("looked at %v, want %v", at, want)
		}
	})
}

// A look that hangs leaves no figures behind that look new.
func TestLookThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		first := true
		m := newMetrics(t, metrics.Look{Name: "events", Sets: []string{metrics.Events}, Every: time.Minute, At: func(context.Context) ([]metrics.Reading, error) {
			if !first {
				<-hang // as a driver may that knows no context
			}
			first = false
			return []metrics.Reading{
				{Name: metrics.Events, Labels: []string{"dead"}, Value: 2}, {Name: metrics.Events, Labels: []string{"dead"}, Value: 3},
				{Name: metrics.Events, Labels: []string{"too", "many"}}, {Name: metrics.Connections, Labels: []string{"a", "b"}},
			}, nil
		}})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		time.Sleep(3 * time.Minute)
		const name = `gatehouse_events{state="dead"}`
		if got := gather(t, m); got[name] != 2 {
			t.Errorf("%s is %v", name, got[name])
		}
		time.Sleep(time.Minute)
		if got, there := gather(t, m)[name]; there {
			t.Errorf("after four minutes it is still %v", got)
		}
		close(hang)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for name, looks := range map[string][]metrics.Look{
		"a counter": {{Sets: []string{"gatehouse_calls_total"}}}, "nothing": {{Sets: []string{"gatehouse_nothing"}}},
		"twice": {{Sets: []string{metrics.Events}}, {Sets: []string{metrics.Events}}},
	} {
		if _, err := metrics.New(metrics.Config{Looks: looks}); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// BenchmarkMeasuredCall is what measuring adds to a call: its own figures, its two entries.
func BenchmarkMeasuredCall(b *testing.B) {
	m := newMetrics(b)
	intent := audit.Entry{Action: "call", Service: "scheduler", Platform: "x", Verdict: "allow"}
	outcome := audit.Entry{Action: "call", Service: "scheduler", Platform: "x", Verdict: "done"}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := call()
		for pb.Next() {
			m.Entered(audit.KindIntent, intent, time.Millisecond)
			m.Entered(audit.KindOutcome, outcome, 0)
			m.Call(&c)
		}
	})
}

func TestMeasuringAllocatesNothing(t *testing.T) {
	m := newMetrics(t)
	intent := audit.Entry{Action: "call", Service: "scheduler", Platform: "x", Verdict: "allow"}
	outcome := audit.Entry{Action: "call", Service: "scheduler", Platform: "x", Verdict: "failed", Rule: "upstream/timeout"}
	c := call()
	if n := testing.AllocsPerRun(100, func() {
		m.Entered(audit.KindIntent, intent, time.Millisecond)
		m.Entered(audit.KindOutcome, outcome, 0)
		m.Call(&c)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
