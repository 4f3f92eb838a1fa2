package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestAuditKeep(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 17520 * time.Hour, "forever": 0, "2160h": 2160 * time.Hour,
	} {
		if got := (&config.Audit{Retention: text}).Keep(); got != want {
			t.Errorf("%q keeps %v, want %v", text, got, want)
		}
	}
}

func TestWaitForSinks(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 168 * time.Hour, "0s": 0, "36h": 36 * time.Hour} {
		if got := (&config.Audit{SinkWait: text}).WaitForSinks(); got != want {
			t.Errorf("%q waits %v, want %v", text, got, want)
		}
	}
}

func TestRetention(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"the log for 90 days", "environment: development", "environment: staging\naudit: {retention: 2160h, archive: old}", ""},
		{"the log for an hour, to try it", "services:", "audit: {retention: 1h}\nservices:", ""},
		{"the log for less", "environment: development", "environment: staging\naudit: {retention: 2159h59m}", "audit.retention: must be at least 2160h"},
		{"the log for good", "services:", "audit: {retention: forever}\nservices:", ""},
		{"the log for no time", "services:", "audit: {retention: 0s}\nservices:", "audit.retention: write a span of time as 17520h, or 'forever'"},
		{"nothing for a sink", "services:", "audit: {sink_wait: 0s}\nservices:", ""},
		{"the most for a sink", "services:", "audit: {sink_wait: 2160h}\nservices:", ""},
		{"more than that for a sink", "services:", "audit: {sink_wait: 2160h1s}\nservices:", "audit.sink_wait: write a span of time from 0s to 2160h"},
		{"less than nothing for a sink", "services:", "audit: {sink_wait: -1s}\nservices:", "audit.sink_wait: write a span of time"},
		{"a week for a sink", "services:", "audit: {sink_wait: 7d}\nservices:", "audit.sink_wait: write a span of time"},
		{"the log for years", "services:", "audit: {retention: 2y}\nservices:", "audit.retention: write a span of time as 17520h, or 'forever'"},
	} {
		text := strings.Replace(minimal, test.old, test.new, 1)
		if _, _, err := config.Parse("/etc/g.yaml", []byte(text), world()); (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}
