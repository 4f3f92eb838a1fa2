package gateway_test

import (
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/gateway"
	"gatehouse/internal/sandbox/world"
)

// However a call ends, it is told how: with what its last entry says, and with the times
// of the parts that it reached.
func TestHowCallsWent(t *testing.T) {
	told := make(chan gateway.Done, 16)
	r := newRig(t, func(c *gateway.Config) { c.Done = func(d *gateway.Done) { told <- *d } })
	h, m := r.xHandle(), r.metaHandle()
	const me = "/x/2/users/me"
	for _, c := range []struct {
		name  string
		fault *world.Fault
		full  bool
		call  func() answer
		want  gateway.Done
		parts string // which were reached
	}{
		{name: "done", call: func() answer { return r.call("GET", me, bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/users/me", Verdict: "done", Status: 200}, parts: "JROA"},
		{name: "another platform", call: func() answer { return r.call("GET", "/meta/v25.0/me?fields=id", bearer(m)) },
			want: gateway.Done{Service: scheduler, Purpose: "pages", Platform: "facebook", App: "pages", Operation: "GET /me", Verdict: "done", Status: 200}, parts: "JROA"},
		{name: "refused", call: func() answer { return r.call("GET", "/x/2/dm_events", bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/dm_events", Verdict: "refuse", Rule: "refuse/undeclared-call", Status: 403}},
		{name: "unknown", call: func() answer { return r.call("GET", "/x/2/somebody@example.com", bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Verdict: "refuse", Rule: "refuse/unknown-operation", Status: 403}},
		{name: "a stranger", call: func() answer { return r.call("GET", me, bearer("gth_hnd_nobody")) },
			want: gateway.Done{Platform: "x", Verdict: "refuse", Rule: "identity/handle-malformed", Status: 401}},
		{name: "throttled", fault: &world.Fault{Status: 429, Body: `{"title":"Too Many Requests"}`, ContentType: "application/json"},
			call: func() answer { return r.call("GET", "/x/2/tweets/1", bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/tweets/{id}", Verdict: "done", Class: "throttled", Status: 429}, parts: "JROA"},
		{name: "not understood", fault: &world.Fault{Status: 200, Body: "<html>", ContentType: "text/html"}, call: func() answer { return r.call("GET", me, bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/users/me", Verdict: "failed", Rule: "upstream/content-type", Status: 502}, parts: "JROA"},
		{name: "not recorded", full: true, call: func() answer { return r.call("GET", me, bearer(h)) },
			want: gateway.Done{Service: scheduler, Purpose: "publish", Platform: "x", App: "main-x", Operation: "GET /2/users/me", Rule: "log/unwritable", Status: 503}, parts: "J"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			if c.fault != nil {
				r.fault(*c.fault)
				defer r.faults.Clear()
			}
			r.full.Store(c.full)
			defer r.full.Store(false)
			before := time.Now()
			a := c.call()
			d := <-told
			if a.status != c.want.Status {
				t.Errorf("the caller got %d: %s", a.status, a.body)
			}
			last := max(d.Judged, d.Recorded, d.Opened, d.Answered)
			parts := ""
			for i, at := range []time.Duration{d.Judged, d.Recorded, d.Opened, d.Answered} {
				if at > 0 {
					parts += string("JROA"[i])
				}
			}
			ordered := d.Recorded == 0 || d.Judged <= d.Recorded && (d.Opened == 0 || d.Recorded <= d.Opened && d.Opened <= d.Answered)
			if parts != c.parts || !ordered || d.Elapsed < last || d.Began.Before(before) || d.Elapsed > time.Since(before) {
				t.Errorf("it reached %s: %+v", parts, d)
			}
			if (d.Entry == "") != c.full || d.Bytes == 0 && d.Verdict == "done" {
				t.Errorf("its entry is %q, and %d bytes were passed on", d.Entry, d.Bytes)
			}
			d.Began, d.Judged, d.Recorded, d.Opened, d.Answered, d.Elapsed, d.Entry, d.Bytes = time.Time{}, 0, 0, 0, 0, 0, "", 0
			if d != c.want {
				t.Errorf("told\n%+v, want\n%+v", d, c.want)
			}
		})
	}
}

// A trace goes on to the platform only where it is to, and what the caller wrote never
// does as it was.
func TestTracesGoOn(t *testing.T) {
	trace := gateway.Trace{ID: [16]byte{1, 2}, Span: [8]byte{3}, Sampled: true}
	heard := make(chan string, 4)
	r := newRig(t, func(c *gateway.Config) {
		c.Done = func(*gateway.Done) {}
		c.Trace = func(header string) gateway.Trace {
			heard <- header
			return trace
		}
	})
	h := r.xHandle()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		onward  bool
		headers []string
		heard   string
		sent    string
	}{
		{false, []string{parent}, parent, ""},
		{true, []string{parent}, parent, "00-" + hex.EncodeToString(trace.ID[:]) + "-" + hex.EncodeToString(trace.Span[:]) + "-01"},
		{true, nil, "", "00-" + hex.EncodeToString(trace.ID[:]) + "-" + hex.EncodeToString(trace.Span[:]) + "-01"},
		{false, []string{parent, parent}, "", ""},
	} {
		trace.Onward = c.onward
		options := []option{bearer(h), header("Tracestate", "vendor=canary"), header("Baggage", "user=canary")}
		for _, v := range c.headers {
			options = append(options, header("Traceparent", v))
		}
		r.call("GET", "/x/2/users/me", options...).ok()
		if got := <-heard; got != c.heard {
			t.Errorf("with %q it was asked about %q", c.headers, got)
		}
		at := r.last().Header
		if got := at.Get("Traceparent"); got != c.sent {
			t.Errorf("onward %t: the platform got %q, want %q", c.onward, got, c.sent)
		}
		for name, values := range at {
			if strings.Contains(strings.Join(values, " "), "canary") {
				t.Errorf("the platform got %s: %s", name, values)
			}
		}
	}
}

// Only who is known chooses a trace: anybody else could add to somebody's, and have
// as many recorded as they like.
func TestStrangersChooseNoTrace(t *testing.T) {
	heard, told := make(chan string, 4), make(chan gateway.Trace, 4)
	own := gateway.Trace{ID: [16]byte{9}, Span: [8]byte{9}}
	r := newRig(t, func(c *gateway.Config) {
		c.Done = func(d *gateway.Done) { told <- d.Trace }
		c.Trace = func(header string) gateway.Trace {
			heard <- header
			return own
		}
	})
	h := r.xHandle()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		name, path string
		who        []option
		status     int
		heard      string
	}{
		{"nobody", "/x/2/users/me", nil, http.StatusUnauthorized, ""},
		{"a handle that is none", "/x/2/users/me", []option{header("Authorization", "Bearer "+strings.Repeat("a", 40))}, http.StatusUnauthorized, ""},

		{"who is known, and refused", "/x/2/nowhere", []option{bearer(h)}, http.StatusForbidden, parent},
		{"who is known", "/x/2/users/me", []option{bearer(h)}, http.StatusOK, parent},
	} {
		if a := r.call("GET", c.path, append(c.who, header("Traceparent", parent))...); a.status != c.status {
			t.Errorf("%s: %d %s", c.name, a.status, a.body)
		}
		if got := <-heard; got != c.heard {
			t.Errorf("%s: it was asked about %q", c.name, got)
		}
		if got := <-told; got != own {
			t.Errorf("%s: told is %+v", c.name, got)
		}
		if len(heard) != 0 {
			t.Errorf("%s: it was asked twice", c.name)
		}
	}
}

// BenchmarkDone is the journey with nobody told how it went, and with somebody.
func BenchmarkDone(b *testing.B) {
	for name, done := range map[string]func(*gateway.Done){"told=false": nil, "told=true": func(*gateway.Done) {}} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b, func(c *gateway.Config) { c.Surface.Log, c.Done = nil, done })
			h := r.xHandle()
			r.seen.off.Store(true)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				req, _ := http.NewRequest(http.MethodGet, r.url+"/x/2/users/me", nil)
				bearer(h)(req)
				reply, err := r.client.Do(req)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, reply.Body)
				reply.Body.Close()
			}
		})
	}
}
