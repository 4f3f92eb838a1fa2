package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const scrapeToken = "scrape-token-of-the-test"

// scrape returns the figures that a running house shows, as name{label="value",...}.
func (h *house) scrape() map[string]float64 {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, h.ready["metrics"], nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+scrapeToken)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK {
		h.t.Fatalf("%s: %s %v", reply.Status, text, err)
	}
	noTokens(h.t, h.box, "/metrics", text)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		h.t.Fatal(err)
	}
	all := map[string]float64{}
	for name, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue()
			if histogram := m.GetHistogram(); histogram != nil {
				value = float64(histogram.GetSampleCount())
			}
			all[name+"{"+strings.Join(labels, ",")+"}"] = value
		}
	}
	return all
}

// What the running command shows is what its log says, and names nobody.
func TestFiguresOfTheRunningCommand(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte(scrapeToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHouseWith(t, "events:", fmt.Sprintf("metrics: {listen: \"127.0.0.1:0\", token: %q}\nevents:", "file:"+token))
	h.start()
	grant := h.connectPerson(demoX, "ada", h.box.People()[0])
	for range 3 {
		if status, body, err := h.call(t.Context(), "GET", "/x/2/users/me", grant.Handle, nil); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s %v", status, body, err)
		}
	}
	if status, _, err := h.call(t.Context(), "GET", "/x/2/dm_events", grant.Handle, nil); err != nil || status != http.StatusForbidden {
		t.Fatalf("what is not declared: %d %v", status, err)
	}
	reply, err := http.Get(h.ready["metrics"])
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", reply.Status)
	}
	got := h.scrape()
	for name, want := range map[string]float64{
		`gatehouse_calls_total{outcome="done",platform="x",purpose="publish",service="demo"}`:    3,
		`gatehouse_calls_total{outcome="refused",platform="x",purpose="publish",service="demo"}`: 1,
		`gatehouse_call_duration_seconds{platform="x"}`:                                          3,
		`gatehouse_call_part_duration_seconds{part="upstream"}`:                                  3,
		`gatehouse_log_entries_total{action="call",verdict="allow"}`:                             3,
		`gatehouse_log_entries_total{action="call",verdict="done"}`:                              3,
		`gatehouse_log_entries_total{action="run.start",verdict="done"}`:                         1,
		`gatehouse_refusals_total{action="call",rule="refuse/undeclared-call"}`:                  1,
		`gatehouse_log_condition{condition="writable"}`:                                          1,
		`gatehouse_root_key_state{state="answers"}`:                                              1,
		`gatehouse_duties_overdue{kind="erasure"}`:                                               0,
		`gatehouse_events{state="dead"}`:                                                         0,
		`gatehouse_build_info{environment="development",node="",version="` + version + `"}`:      1,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (there: %v), want %v", name, value, there, want)
		}
	}
	for _, name := range []string{
		`gatehouse_connections{app="demo-x",status="healthy"}`, `gatehouse_log_stored_entries{}`, `gatehouse_key_created_timestamp_seconds{key="tokens"}`,
		`gatehouse_key_created_timestamp_seconds{key="daily"}`, `gatehouse_lineage_index_ready{}`,
	} {
		if _, there := got[name]; !there {
			t.Errorf("%s is not there", name)
		}
	}
	for name := range got {
		if strings.Contains(name, string(grant.Handle)) || strings.Contains(name, "ada") {
			t.Errorf("a label names somebody: %s", name)
		}
	}
	// The entries behind the figures are there.
	for verdict, want := range map[string]int{"done": 3, "refuse": 1} {
		out, errOut, code := h.gatehouse("audit", "search", "--action", "call", "--verdict", verdict, "--json")
		if n := strings.Count(out, `"action":"call"`) + strings.Count(out, `"action": "call"`); code != 0 || n != want {
			t.Errorf("%d entries with %s: %s%s", n, verdict, out, errOut)
		}
	}
	if code := h.stop(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, h.stderr)
	}
}

// A listener that cannot work is found before it is needed.
func TestDoctorLooksAtTheMetrics(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, short := write("good", "a-token-that-is-long-enough"), write("short", "abc")
	for _, c := range []struct{ name, metrics, says string }{
		{"nothing", "", "ok    metrics        no listener and no collector"},
		{"a token", "metrics: {listen: \"127.0.0.1:0\", token: \"file:" + good + "\"}\n", "ok    metrics        what the listener and the collector need"},
		{"a short token", "metrics: {listen: \"127.0.0.1:0\", token: \"file:" + short + "\"}\n", "FAIL  metrics        metrics.token: has less than 16 letters"},
		{"no certificate", "metrics: {listen: \"127.0.0.1:0\", tls: {cert: none.pem, key: none.key}}\n", "FAIL  metrics        metrics.tls: looking at the certificate"},
		{"no authority", "metrics: {otlp: {url: \"https://collector.example\", tls: {ca_file: none.pem}}}\n", "FAIL  metrics        metrics.otlp.tls.ca_file: "},
	} {
		h := newHouseWith(t, "events:", c.metrics+"events:")
		out, errOut, _ := h.gatehouse("doctor")
		if !strings.Contains(out, c.says) || strings.Contains(out, "abc:") {
			t.Errorf("%s:\n%s%s", c.name, out, errOut)
		}
		var findings []finding
		if out, _, _ := h.gatehouse("doctor", "--json"); json.Unmarshal([]byte(out), &findings) != nil {
			t.Errorf("%s: %s", c.name, out)
		}
	}
}
