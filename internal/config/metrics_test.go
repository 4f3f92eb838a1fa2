package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestMetrics(t *testing.T) {
	const open, tls = "listen: '10.0.0.1:9100'", "tls: {cert: c.pem, key: c.key}"
	const otlp = "otlp: {url: 'https://collector.example.com:4318'"
	for _, test := range []struct{ name, metrics, want string }{
		{"loopback", "listen: '127.0.0.1:9100'", ""},
		{"loopback with a token", "listen: '127.0.0.1:9100', token: env:SCRAPE", ""},
		{"open with a token", open + ", token: env:SCRAPE, " + tls, ""},
		{"open with certificates", open + ", tls: {cert: c.pem, key: c.key, client_ca_file: ca.pem}", ""},
		{"open without TLS", open + ", token: env:SCRAPE", "metrics.tls: is needed because metrics.listen is not on loopback"},
		{"open to all", open + ", " + tls, "metrics.token: is needed because metrics.listen is not on loopback"},
		{"a token in clear", open + ", token: canary, " + tls, "metrics.token: a secret does not belong into this file"},
		{"a socket", "listen: 'unix:/run/metrics'", "metrics.listen: only the app can be listened to on a Unix socket"},
		{"no port", "listen: '127.0.0.1'", "metrics.listen: "},
		{"the app's address", "listen: '127.0.0.1:8100'", "metrics.listen: is the same address as listen.app"},
		{"half a pair", "listen: '127.0.0.1:9100', tls: {cert: c.pem}", "metrics.tls: cert and key go together"},
		{"clients without TLS", "listen: '127.0.0.1:9100', tls: {client_ca_file: ca.pem}", "metrics.tls.client_ca_file: needs cert and key"},
		{"a token for nothing", "token: env:SCRAPE", "metrics.listen: is needed for token and tls"},
		{"a collector", otlp + "}", ""},
		{"all of a collector", "otlp: {url: 'https://collector.example.com/otlp', headers: {Authorization: env:SCRAPE}, plain: true, every: 10s, sample_percent: 100, onward: true, tls: {ca_file: ca.pem, server_name: c, cert: c.pem, key: c.key}}", ""},
		{"a collector on loopback", "otlp: {url: 'http://127.0.0.1:4318'}", ""},
		{"in plain", "otlp: {url: 'http://collector.example.com:4318'}", "metrics.otlp.url: must be https"},
		{"TLS of plain http", "otlp: {url: 'http://127.0.0.1:4318', tls: {ca_file: x}}", "metrics.otlp.tls: is for https"},
		{"a signal's path", "otlp: {url: 'https://collector.example.com/v1/traces/'}", "metrics.otlp.url: leave out /v1/metrics"},
		{"no collector", "otlp: {sample_percent: 5}", "metrics.otlp.url: is needed"},
		{"a password in the address", "otlp: {url: 'https://me:canary@collector.example.com'}", "metrics.otlp.url: holds a user name"},
		{"a secret in clear", otlp + ", headers: {Authorization: Bearer canary}}", "metrics.otlp.headers.Authorization: a secret does not belong into this file"},
		{"a header of ours", otlp + ", headers: {Host: env:SCRAPE}}", "metrics.otlp.headers: holds a name"},
		{"too often", otlp + ", every: 9s}", "metrics.otlp.every: must be from 10s"},
		{"too seldom", otlp + ", every: 61m}", "metrics.otlp.every: must be from 10s"},
		{"more than all", otlp + ", sample_percent: 101}", "metrics.otlp.sample_percent: must be from 0 to 100"},
		{"onward for nothing", otlp + ", onward: true}", "metrics.otlp.onward: goes with sample_percent"},
	} {
		w := world()
		lookup := w.LookupEnv
		w.LookupEnv = func(name string) (string, bool) {
			if name == "SCRAPE" {
				return "scrape", true
			}
			return lookup(name)
		}
		c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(minimal+"metrics: {"+test.metrics+"}\n"), w)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want == "" && c.Metrics.TLS.Cert != "" && c.Metrics.TLS.Cert != "/etc/gatehouse/c.pem":
			t.Errorf("%s: the certificate is %s", test.name, c.Metrics.TLS.Cert)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		case err != nil && strings.Contains(err.Error(), "canary"):
			t.Errorf("%s: the error repeats a secret: %v", test.name, err)
		}
	}
	if got := (config.Telemetry{}).Interval(); got != time.Minute {
		t.Errorf("by default every %s", got)
	}
}
