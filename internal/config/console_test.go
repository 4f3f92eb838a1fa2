package config_test

import (
	"slices"
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

func TestTrustedProxies(t *testing.T) {
	with := func(rest string) string {
		return strings.Replace(minimal, "listen: {", rest+"listen: {console: \"127.0.0.1:8102\", ", 1)
	}
	c, _ := load(t, with("console: {trusted_proxies: [127.0.0.1/32, \"2001:db8::/32\"]}\npublic: {trusted_proxies: [10.0.0.0/8]}\n"))
	if len(c.Console.TrustedProxies) != 2 || len(c.Public.TrustedProxies) != 1 || c.Console.TrustedProxies[1].String() != "2001:db8::/32" {
		t.Errorf("read: %v, %v", c.Console.TrustedProxies, c.Public.TrustedProxies)
	}
	for _, test := range []struct{ name, rest, want string }{
		{"everybody", "console: {trusted_proxies: [0.0.0.0/0]}\n", "console.trusted_proxies[0]: is the whole internet"},
		{"everybody of IPv6", "public: {trusted_proxies: [127.0.0.1/32, \"::/0\"]}\n", "public.trusted_proxies[1]: is the whole internet"},
		{"IPv4 in IPv6", "public: {trusted_proxies: [\"::ffff:10.0.0.0/104\"]}\n", "public.trusted_proxies[0]: write the IPv4 network itself"},
		{"a name", "console: {trusted_proxies: [localhost]}\n", "console.trusted_proxies[0]:"},
		{"too many", "public: {trusted_proxies: [" + strings.Repeat("10.0.0.0/8, ", 65) + "]}\n", "public.trusted_proxies: has more than 64"},
	} {
		_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(with(test.rest)), world())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
	// https outside and plain http inside is something in front, which can be told apart
	// from its callers or not.
	const inFront = "is empty, and something in front ends TLS"
	for _, test := range []struct {
		name, rest       string
		console, visitor bool
	}{
		{"both", "console: {url: \"https://ops.example.com\"}\n", true, true},
		{"named", "console: {url: \"https://ops.example.com\", trusted_proxies: [127.0.0.1/32]}\npublic: {trusted_proxies: [127.0.0.1/32]}\n", false, false},
		{"TLS of its own", "console: {url: \"https://ops.example.com\"}\ntls: {console: local-ca, public: local-ca}\n", false, false},
		{"nobody in front", "", false, true},
	} {
		_, warnings := load(t, strings.Replace(with(test.rest), "public_url: http:", "public_url: https:", 1))
		found := func(at string) bool {
			return slices.ContainsFunc(warnings, func(w config.Warning) bool { return strings.Contains(w.String(), at+": "+inFront) })
		}
		if found("console.trusted_proxies") != test.console || found("public.trusted_proxies") != test.visitor {
			t.Errorf("%s: %v", test.name, warnings)
		}
	}
}
