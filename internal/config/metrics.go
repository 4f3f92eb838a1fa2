package config

import (
	"slices"
	"strings"
	"time"
)

// Metrics says where the figures that an operator watches are shown and sent. The zero
// value shows them nowhere; the console has them all the same.
type Metrics struct {
	Listen string     `yaml:"listen" doc:"host:port of a listener of its own, which answers GET /metrics for Prometheus. Elsewhere than on loopback it needs tls, and token or tls.client_ca_file. Default: none."`
	Token  Secret     `yaml:"token" doc:"What a scraper presents as Authorization: Bearer. A reference; it is read again for each request."`
	TLS    MetricsTLS `yaml:"tls" doc:"The listener's certificate. Default on loopback: plain http."`
	OTLP   Telemetry  `yaml:"otlp" doc:"An OpenTelemetry collector that gets the same figures, and traces of calls. Default: none."`
}

// MetricsTLS is the certificate of the listener, and who may connect.
type MetricsTLS struct {
	Cert         string `yaml:"cert" doc:"The certificate's file; with key. Both are read again when they change."`
	Key          string `yaml:"key" doc:"Its key."`
	ClientCAFile string `yaml:"client_ca_file" doc:"The authority of the certificates that scrapers have to show. Default: none is asked for."`
}

// Telemetry is an OpenTelemetry collector.
type Telemetry struct {
	URL     string            `yaml:"url" doc:"Where OTLP over HTTP is taken, without the path of a signal: https://collector.example.com:4318. /v1/metrics and /v1/traces are added. http is for loopback only."`
	Headers map[string]Secret `yaml:"headers" doc:"Headers of each request, such as {Authorization: file:/run/secrets/otlp}. References, never values; they are read again for each request."`
	TLS     SinkTLS           `yaml:"tls" doc:"What is believed, and what we show."`
	Plain   bool              `yaml:"plain" doc:"true does not compress (default: gzip)."`
	Every   time.Duration     `yaml:"every" doc:"How often figures are sent, from 10s to 1h. Default 1m."`
	Sample  int               `yaml:"sample_percent" doc:"How many of a hundred calls are traced. With more than 0, a call of a known caller that comes with a traceparent header is traced as that says. Default 0: none is."`
	Onward  bool              `yaml:"onward" doc:"true gives the platform a traceparent header with the trace's and our span's id: random numbers, but the first may be the caller's choice. Default false: nothing leaves."`
}

// IsZero reports whether no collector is named.
func (t Telemetry) IsZero() bool { return t.URL == "" }

// Interval returns how often figures are sent, with the default filled in.
func (t Telemetry) Interval() time.Duration {
	every := t.Every
	orDefault(&every, time.Minute)
	return every
}

func (c *Config) validateMetrics(d *decoder) {
	m := &c.Metrics
	if (m.TLS.Cert == "") != (m.TLS.Key == "") {
		d.failAt("metrics.tls", "cert and key go together")
	}
	if m.TLS.ClientCAFile != "" && m.TLS.Cert == "" {
		d.failAt("metrics.tls.client_ca_file", "needs cert and key: certificates are shown in TLS")
	}
	for _, path := range []*string{&m.TLS.Cert, &m.TLS.Key, &m.TLS.ClientCAFile} {
		if *path != "" {
			*path = d.resolvePath(*path)
		}
	}
	switch {
	case m.Listen == "":
		if !m.Token.IsZero() || m.TLS != (MetricsTLS{}) {
			d.failAt("metrics.listen", "is needed for token and tls: nothing listens without it")
		}
	case !d.failed("metrics.listen") && !privateListen(m.Listen):
		// What is shown names services, purposes and destinations.
		if m.TLS.Cert == "" {
			d.failAt("metrics.tls", "is needed because metrics.listen is not on loopback")
		}
		if m.Token.IsZero() && !d.failed("metrics.token") && m.TLS.ClientCAFile == "" {
			d.failAt("metrics.token", "is needed because metrics.listen is not on loopback, or tls.client_ca_file")
		}
	}
	c.validateTelemetry(d)
}

func (c *Config) validateTelemetry(d *decoder) {
	t := &c.Metrics.OTLP
	const at = "metrics.otlp"
	if t.URL == "" {
		if t.Headers != nil || t.TLS != (SinkTLS{}) || t.Plain || t.Every != 0 || t.Sample != 0 || t.Onward {
			d.failAt(at+".url", "is needed: where the collector is")
		}
		return
	}
	if u := d.webURL(at+".url", t.URL, false); u != nil {
		if path := strings.TrimSuffix(u.Path, "/"); strings.HasSuffix(path, "/v1/traces") || strings.HasSuffix(path, "/v1/metrics") || strings.HasSuffix(path, "/v1/logs") {
			d.failAt(at+".url", "leave out /v1/metrics and /v1/traces: they are added")
		}
		if u.Scheme == "http" && t.TLS != (SinkTLS{}) {
			d.failAt(at+".tls", "is for https")
		}
	}
	for name := range t.Headers {
		if !headerName.MatchString(name) || slices.Contains(ownHeaders, strings.ToLower(name)) {
			d.failAt(at+".headers", "holds a name that is no header, or one that every request has")
		}
	}
	d.sinkTLS(at+".tls", &t.TLS)
	if t.Every != 0 && (t.Every < 10*time.Second || t.Every > time.Hour) {
		d.failAt(at+".every", "must be from 10s to 1h")
	}
	if t.Sample > 100 {
		d.failAt(at+".sample_percent", "must be from 0 to 100")
	}
	if t.Onward && t.Sample == 0 {
		d.failAt(at+".onward", "goes with sample_percent: without it no call has a trace")
	}
}
