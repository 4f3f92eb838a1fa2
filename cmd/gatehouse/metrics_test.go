package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	// A call is counted when its handler ends, a moment after the caller has its reply.
	const counted = `gatehouse_call_duration_seconds{platform="x"}`
	for deadline := time.Now().Add(time.Minute); got[counted] < 3 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		got = h.scrape()
	}
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

// In the open, scrapers show a certificate of the named authority, or are not answered.
func TestScrapersShowCertificates(t *testing.T) {
	ours, oursPEM, oursKey := selfSigned(t)
	stranger, _, _ := selfSigned(t)
	h := newHouseWith(t, "events:", fmt.Sprintf("metrics: {listen: \"127.0.0.1:0\", tls: {cert: %q, key: %q, client_ca_file: %q}}\nevents:", oursPEM, oursKey, oursPEM))
	h.start()
	roots := x509.NewCertPool()
	roots.AddCert(ours.Leaf)
	for name, show := range map[string][]tls.Certificate{"ours": {ours}, "a stranger's": {stranger}, "none": nil} {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: show, MinVersion: tls.VersionTLS12}}}
		reply, err := client.Get(h.ready["metrics"])
		if (err == nil) != (name == "ours") {
			t.Errorf("with %s: %v", name, err)
		}
		if err == nil {
			if reply.StatusCode != http.StatusOK {
				t.Errorf("with %s: %s", name, reply.Status)
			}
			reply.Body.Close()
		}
		client.CloseIdleConnections()
	}
	if !strings.HasPrefix(h.ready["metrics"], "https://") {
		t.Errorf("the listener is at %s", h.ready["metrics"])
	}
}

// selfSigned makes a certificate that is its own authority, for both sides, in files too.
func selfSigned(t *testing.T) (cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "scraper"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, text := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return cert, certFile, keyFile
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

// A collector gets spans of the calls, in the caller's trace, and nothing of what the
// calls carried: no token, no handle, no address, no text, nobody's id.
func TestTracesOfTheRunningCommand(t *testing.T) {
	var mu sync.Mutex
	got := map[string][]byte{}
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], body...)
	}))
	t.Cleanup(collector.Close)
	h := newHouseWith(t, "events:", fmt.Sprintf("metrics: {otlp: {url: %q, plain: true, sample_percent: 100, every: 10s, onward: true}}\nevents:", collector.URL))
	h.start()
	grant := h.connectPerson(demoX, "subject-canary", h.box.People()[0])
	var me struct {
		Data struct{ ID, Name, Username string }
	}
	status, body, err := h.call(t.Context(), "GET", "/x/2/users/me", grant.Handle, nil)
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &me) != nil {
		t.Fatalf("%d %s %v", status, body, err)
	}
	for _, c := range []struct{ method, path, body string }{
		{"GET", "/x/2/users/me?user.fields=query-canary", ""}, {"GET", "/x/2/tweets/9999999999?access_token=", ""},
		{"GET", "/x/2/path-canary/" + grant.Handle, ""}, {"POST", "/x/2/tweets", `{"text":"body-canary","odd":"body-canary"}`},
		{"GET", "/x/2/users/" + me.Data.ID + "/followers", ""}, {"GET", "/x/2/users/me?access_token=EAAcanary", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, h.ready["app_listener"]+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+grant.Handle)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		for _, name := range []string{"Tracestate", "Baggage", "User-Agent", "X-Canary"} {
			r.Header.Set(name, "k=header-canary")
		}
		reply, err := h.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
	}
	if code := h.stop(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, h.stderr)
	}
	mu.Lock()
	defer mu.Unlock()
	sent := slices.Concat(got["/v1/traces"], got["/v1/metrics"])
	trace := []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")
	for _, text := range []string{"GET /2/users/me", "gatehouse.log.entry", "upstream", "credential", "publish", string(trace)} {
		if !bytes.Contains(got["/v1/traces"], []byte(text)) {
			t.Errorf("no span has %q", text)
		}
	}
	if !bytes.Contains(got["/v1/metrics"], []byte("gatehouse_calls_total")) {
		t.Error("no figures arrived")
	}
	noTokens(t, h.box, "what the collector got", sent)
	// An id of the platform may be a row of digits that is there by chance; all else not.
	for _, secret := range []string{"canary", grant.Handle, grant.Connection, me.Data.Username, "9999999999", h.key} {
		if secret != "" && bytes.Contains(sent, []byte(secret)) {
			t.Errorf("the collector got %q", secret)
		}
	}
}
