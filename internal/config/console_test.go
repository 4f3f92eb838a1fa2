package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
)

func TestConsole(t *testing.T) {
	with := func(listen, rest string) string {
		return strings.Replace(minimal, "listen: {", rest+"listen: {console: \""+listen+"\", ", 1)
	}
	for _, test := range []struct{ name, listen, rest, url, tls string }{
		{"loopback", "127.0.0.1:8102", "", "http://localhost:8102", "off"},
		{"loopback with TLS", "127.0.0.1:8102", "tls: {console: local-ca}\n", "https://localhost:8102", "local-ca"},
		{"behind something that ends TLS", "127.0.0.1:8102", "console: {url: \"https://ops.example.com/\"}\n", "https://ops.example.com", "off"},
		{"in the open", "10.0.0.1:8102", "console: {url: \"https://ops.example.com:8443\", fresh: 1m, requests: 1}\n", "https://ops.example.com:8443", "local-ca"},
	} {
		c, _ := load(t, with(test.listen, test.rest))
		if c.ConsoleURL() != test.url || c.ConsoleCertificate().Source != test.tls {
			t.Errorf("%s: %s, %s", test.name, c.ConsoleURL(), c.ConsoleCertificate().Source)
		}
	}
	if c, _ := load(t, minimal); c.ConsoleURL() != "" {
		t.Errorf("without a listener it is at %s", c.ConsoleURL())
	}
	if got := (config.Console{}).WithDefaults(); got.Fresh != 5*time.Minute || got.Requests != 0 || got.Share != 6 || got.Streams != 64 || got.SignIns != 30 {
		t.Errorf("defaults: %+v", got)
	}
	for _, test := range []struct{ name, listen, rest, want string }{
		{"open without a url", "10.0.0.1:8102", "", "console.url: is needed because listen.console is not on loopback"},
		{"any port", "127.0.0.1:0", "", "listen.console: needs a port"},
		{"open in plain", "10.0.0.1:8102", "console: {url: \"https://ops.example.com\"}\ntls: {console: off}\n", "tls.console: off (plain http) is for loopback"},
		{"path", "127.0.0.1:8102", "console: {url: \"https://ops.example.com/console\"}\n", "console.url: has no path"},
		{"plain url", "127.0.0.1:8102", "console: {url: \"http://ops.example.com\"}\n", "console.url:"},
		{"the app's own host", "127.0.0.1:8102", "console: {url: \"http://127.0.0.1:8103\"}\n", "console.url: is the host of public_url"},
		{"capitals", "127.0.0.1:8102", "console: {url: \"https://Ops.example.com\"}\n", "console.url: write the host in lower-case"},
		{"too fresh", "127.0.0.1:8102", "console: {fresh: 59s}\n", "console.fresh: must be from 1m to 1h"},
		{"stale", "127.0.0.1:8102", "console: {fresh: 61m}\n", "console.fresh: must be from 1m to 1h"},
		{"too many", "127.0.0.1:8102", "console: {requests: 1001}\n", "console.requests: must be from 1 to 1000"},
		{"too many streams", "127.0.0.1:8102", "console: {streams: 1001}\n", "console.streams: must be from 1 to 1000"},
	} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(with(test.listen, test.rest)), world())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}
