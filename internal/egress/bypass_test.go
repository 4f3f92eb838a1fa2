package egress_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/policy"
)

// Every way around the list of destinations that we know of, in a tunnel's target.
// rule "" is a near miss that passes.
func TestBypassesByTheTarget(t *testing.T) {
	r := newRig(t, options{})
	_, ours, _ := strings.Cut(r.url, "127.0.0.1:")
	r.names["office.test"] = []string{"10.0.0.7"}
	for _, c := range []struct{ name, target, rule string }{
		{"declared", "segment.test:443", ""},
		{"mixed case is the same host", "SeGment.TEST:443", ""},
		{"one trailing dot is the same host", "segment.test.:443", ""},
		{"a declared port", "segment.test:8443", ""},
		{"punycode", "xn--bcher-kva.test:443", ""},
		{"punycode in capitals", "XN--BCHER-KVA.test:443", ""},
		{"a declared address", "192.0.2.7:443", ""},
		{"a declared IPv6 address", "[2001:db8::7]:443", ""},
		{"the same, written long", "[2001:0db8:0:0::0007]:443", ""},
		{"a declared address, mapped", "[::ffff:192.0.2.7]:443", ""},

		{"not declared", "unknown.test:443", policy.RuleUnknownDestination},
		{"below a declared one", "api.segment.test:443", policy.RuleUnknownDestination},
		{"above a declared one", "test:443", policy.RuleUnknownDestination},
		{"with a declared one before it", "segment.test.evil.example:443", policy.RuleUnknownDestination},
		{"with a declared one at its end", "evilsegment.test:443", policy.RuleUnknownDestination},
		{"another port", "segment.test:444", policy.RuleDestinationPort},
		{"the port of plain http", "segment.test:80", policy.RuleDestinationPort},
		{"mail", "segment.test:25", policy.RuleDestinationPort},
		{"declared for another purpose", "other.test:443", policy.RuleDestinationPurpose},
		{"an address that is not declared", "192.0.2.8:443", policy.RuleUnknownDestination},
		{"an IPv6 address that is not declared", "[2001:db8::8]:443", policy.RuleUnknownDestination},

		{"homograph, as letters", "s\u0435gment.test:443", "egress/host-form"}, // a Cyrillic letter
		{"homograph, as punycode", "xn--sgment-7of.test:443", policy.RuleUnknownDestination},
		{"wide letters", "ｓegment.test:443", "egress/host-form"},
		{"ideographic full stop", "segment\u3002test:443", "egress/host-form"},
		{"two trailing dots", "segment.test..:443", "egress/host-form"},
		{"an empty label", "segment..test:443", "egress/host-form"},
		{"a leading dot", ".segment.test:443", "egress/host-form"},
		{"percent-encoded", "segment%2etest:443", byNetHTTP},
		{"a dash in front", "-segment.test:443", "egress/host-form"},

		{"IPv4 as one number", "2130706433:443", "egress/host-form"},
		{"IPv4 in octal", "0177.0.0.1:443", "egress/host-form"},
		{"IPv4 as one octal number", "017700000001:443", "egress/host-form"},
		{"IPv4 in hexadecimal", "0x7f.0.0.1:443", "egress/host-form"},
		{"IPv4 as one hexadecimal number", "0x7f000001:443", "egress/host-form"},
		{"IPv4 in capitals", "0X7F.1:443", "egress/host-form"},
		{"IPv4 in two parts", "127.1:443", "egress/host-form"},
		{"IPv4 in three parts", "127.0.1:443", "egress/host-form"},
		{"IPv4 with leading zeros", "127.000.000.001:443", "egress/host-form"},
		{"IPv4 with a part too large", "127.0.0.256:443", "egress/host-form"},
		{"IPv4 with five parts", "127.0.0.0.1:443", "egress/host-form"},
		{"IPv4 with a trailing dot", "169.254.169.254.:443", "egress/host-form"},
		{"a zone", "[fe80::1%25eth0]:443", "egress/host-form"},
		{"IPv6 without brackets", "::1:443", byNetHTTP},
		{"brackets around a name", "[segment.test]:443", byNetHTTP},

		// Declared or not, the address is judged.
		{"loopback", "127.0.0.1:443", "egress/address"},
		{"loopback, mapped", "[::ffff:127.0.0.1]:443", "egress/address"},
		{"metadata", "169.254.169.254:443", "egress/address"},
		{"metadata, mapped", "[::ffff:a9fe:a9fe]:443", "egress/address"},
		{"our own listener", "127.0.0.1:" + ours, policy.RuleDestinationPort},
		{"our own name", "gatehouse.test:443", "egress/own-address"},
		{"our own name, another port", "gatehouse.test:444", policy.RuleUnknownDestination},

		{"a platform", "api.x.com:443", "egress/platform-host"},
		{"a platform in capitals", "GRAPH.facebook.com.:443", "egress/platform-host"},
		{"like a platform", "api.x.com.example:443", policy.RuleUnknownDestination},

		{"no port", "segment.test", "egress/target"},
		{"an empty port", "segment.test:", "egress/target"},
		{"port 0", "segment.test:0", "egress/target"},
		{"a leading zero in the port", "segment.test:0443", "egress/target"},
		{"a port too large", "segment.test:65979", "egress/target"}, // 443 modulo 65536
		{"user name", "a@segment.test:443", "egress/userinfo"},
		{"a declared host as user name", "segment.test@unknown.test:443", "egress/userinfo"},
		{"user name and password", "segment.test:443@unknown.test:443", "egress/userinfo"},
		{"a path", "segment.test:443/x", "egress/target"},
		{"a query", "segment.test:443?x", "egress/target"},
		{"a key of ours as a name", "gth_svc_x.segment.test:443", "refuse/handle-inside"},
	} {
		a := r.connect(c.target)
		switch {
		case c.rule == "" && a.status != http.StatusOK:
			t.Errorf("%s: %d %s; want it to pass", c.name, a.status, a.body)
		case c.rule == "":
		case c.rule == byNetHTTP && a.status == http.StatusBadRequest && a.rule() == "":
		case a.status < 400 || a.rule() != c.rule:
			t.Errorf("%s: %d %s; want %s", c.name, a.status, a.body, c.rule)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.resolved) != 0 {
		t.Errorf("refused hosts were resolved: %v", r.resolved)
	}
}

// byNetHTTP stands for what is not even taken for a request.
const byNetHTTP = "net/http"

// Where a declared name leads.
func TestBypassesByTheAddress(t *testing.T) {
	r := newRig(t, options{})
	for _, c := range []struct {
		name  string
		host  string
		leads []string
		rule  string
	}{
		{"private", "public.test", []string{"10.1.2.3"}, "egress/address"},
		{"private 172", "public.test", []string{"172.31.0.1"}, "egress/address"},
		{"private 192", "public.test", []string{"192.168.0.1"}, "egress/address"},
		{"loopback", "public.test", []string{"127.0.0.1"}, "egress/address"},
		{"loopback elsewhere", "public.test", []string{"127.255.0.9"}, "egress/address"},
		{"loopback 6", "public.test", []string{"::1"}, "egress/address"},
		{"mapped loopback", "public.test", []string{"::ffff:127.0.0.1"}, "egress/address"},
		{"compatible loopback", "public.test", []string{"::7f00:1"}, "egress/address"},
		{"NAT64 to private", "public.test", []string{"64:ff9b::a00:5"}, "egress/address"},
		{"NAT64 to metadata", "public.test", []string{"64:ff9b::a9fe:a9fe"}, "egress/address"},
		{"local NAT64", "public.test", []string{"64:ff9b:1::a00:5"}, "egress/address"},
		{"6to4", "public.test", []string{"2002:a00:5::1"}, "egress/address"},
		{"Teredo", "public.test", []string{"2001::1"}, "egress/address"},
		{"ISATAP", "public.test", []string{"2606:4700::5efe:a00:5"}, "egress/address"},
		{"metadata", "public.test", []string{"169.254.169.254"}, "egress/address"},
		{"metadata 6", "public.test", []string{"fd00:ec2::254"}, "egress/address"},
		{"Azure's", "public.test", []string{"168.63.129.16"}, "egress/address"},
		{"Alibaba's", "public.test", []string{"100.100.100.200"}, "egress/address"},
		{"link-local", "public.test", []string{"169.254.1.1"}, "egress/address"},
		{"link-local 6 with a zone", "public.test", []string{"fe80::1%eth0"}, "egress/address"},
		{"unique local", "public.test", []string{"fd12::1"}, "egress/address"},
		{"shared", "public.test", []string{"100.64.0.1"}, "egress/address"},
		{"this host", "public.test", []string{"0.0.0.0"}, "egress/address"},
		{"broadcast", "public.test", []string{"255.255.255.255"}, "egress/address"},
		{"multicast", "public.test", []string{"224.0.0.1"}, "egress/address"},
		{"one good, one bad", "public.test", []string{"198.41.0.4", "10.0.0.1"}, "egress/address"},
		{"nowhere", "public.test", nil, "destination/resolve"},

		// private: true is for private networks alone.
		{"private, declared: loopback", "office.test", []string{"127.0.0.1"}, "egress/address"},
		{"private, declared: metadata", "office.test", []string{"fd00:ec2::254"}, "egress/address"},
		{"private, declared: link-local", "office.test", []string{"169.254.1.1"}, "egress/address"},
		{"private, declared: shared", "office.test", []string{"100.64.0.1"}, "egress/address"},
	} {
		r.mu.Lock()
		r.names[c.host], r.resolved = c.leads, nil
		r.mu.Unlock()
		if a := r.connect(c.host + ":443"); a.status != http.StatusBadGateway || a.rule() != c.rule {
			t.Errorf("%s: %d %s; want %s", c.name, a.status, a.body, c.rule)
		}
		r.mu.Lock()
		if !slices.Equal(r.resolved, []string{c.host}) {
			t.Errorf("%s: resolved %v; want it once", c.name, r.resolved)
		}
		r.mu.Unlock()
		if e := r.last("outcome"); e.Verdict != "failed" || e.Rule != c.rule || e.Bytes != 0 {
			t.Errorf("%s: the outcome is %+v", c.name, e.Leaf)
		}
	}
}

// A listener of this process is refused by whatever address of the machine leads to
// it, whoever opened it.
func TestOurOwnListenersAreNobodysDestination(t *testing.T) {
	r := newRig(t, options{})
	address := machineAddress(t)
	list := append(destinations(), policy.Destination{Host: "home.test", Purposes: []gatehouse.PurposeName{"analytics"}, Ports: ports(t, r.url)})
	s := r.settings(policy.Enforce, list)
	s.Routes["home.test"] = routePrivate
	everywhere := r.listen("0.0.0.0:0")
	list[len(list)-1].Ports = append(list[len(list)-1].Ports, ports(t, everywhere.URL())...)
	s = r.settings(policy.Enforce, list)
	s.Routes["home.test"] = routePrivate
	if err := r.proxy.Apply(s); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(everywhere.URL(), "http://"), ":")
	r.names["home.test"] = []string{address}
	if a := r.connect("home.test:" + port); a.rule() != "egress/own-address" {
		t.Errorf("a listener on every address: %d %s", a.status, a.body)
	}
	// One that was closed is none any more: then it is an address like others.
	if err := everywhere.Close(); err != nil {
		t.Fatal(err)
	}
	if a := r.connect("home.test:" + port); a.rule() == "egress/own-address" {
		t.Errorf("a closed listener: %d %s", a.status, a.body)
	}
	// The proxy's own, on loopback.
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	r.names["home.test"] = []string{"127.0.0.1"}
	if a := r.connect("home.test:" + u.Port()); a.rule() != "egress/own-address" {
		t.Errorf("the proxy itself: %d %s", a.status, a.body)
	}
}

// The same for requests without TLS, as far as they are written in other ways.
func TestBypassesOfPlainRequests(t *testing.T) {
	r := newRig(t, options{})
	for _, c := range []struct {
		name, line, headers string
		status              int
		rule                string
	}{
		{"declared", "GET http://plain.test/", "", 200, ""},
		{"capitals and a last dot", "GET HTTP://PLAIN.test./", "", 200, ""},
		{"its port", "GET http://plain.test:80/", "", 200, ""},
		{"a declared port", "GET http://plain.test:8080/", "", 200, ""},
		{"another method", "PURGE http://plain.test/", "", 200, ""},
		{"another port", "GET http://plain.test:81/", "", 403, policy.RuleDestinationPort},
		{"not declared", "GET http://unknown.test/", "", 403, policy.RuleUnknownDestination},
		{"https", "GET https://segment.test/", "", 400, "egress/target"},
		{"another scheme", "GET ftp://plain.test/", "", 400, "egress/target"},
		{"no host", "GET /", "", 400, "egress/target"},
		{"user name", "GET http://a:b@plain.test/", "", 400, "egress/userinfo"},
		{"a platform", "GET http://api.x.com/2/users/me", "", 403, "egress/platform-host"},
		{"upgrade", "GET http://plain.test/ws", "Upgrade: websocket\r\nConnection: Upgrade\r\n", 400, "egress/upgrade"},
		{"h2c", "GET http://plain.test/", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", 400, "egress/upgrade"},
		{"a key of ours in the address", "GET http://plain.test/?k=gth_svc_x", "", 403, "refuse/handle-inside"},
		{"a handle, percent-encoded", "GET http://plain.test/?k=gth%5Fhnd%5Fx", "", 403, "refuse/handle-inside"},
		{"a handle in the path", "GET http://plain.test/gth_hnd_x", "", 403, "refuse/handle-inside"},
		{"a handle in the path, encoded", "GET http://plain.test/gth%5fhnd_x", "", 403, "refuse/handle-inside"},
		{"a key of ours in a header", "GET http://plain.test/", "Authorization: Bearer gth_svc_x\r\n", 403, "refuse/handle-inside"},
		{"a key of ours in a header's name", "GET http://plain.test/", "X-Gth_svc_x: 1\r\n", 403, "refuse/handle-inside"},
		{"like a handle", "GET http://plain.test/?k=gth_other_x", "Authorization: Bearer gth-svc-x\r\n", 200, ""},
	} {
		before := len(r.plain.arrived())
		a := r.raw(c.line + " HTTP/1.1\r\nHost: plain.test\r\n" + r.credentials() + c.headers + "\r\n")
		if c.rule == "" {
			if a.status != c.status || len(r.plain.arrived()) != before+1 {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
			continue
		}
		if c.rule == "egress/upgrade" {
			// It is refused when the destination is known, as a failed call.
			if a.status != c.status || a.rule() != c.rule {
				t.Errorf("%s: %d %s", c.name, a.status, a.body)
			}
		} else {
			r.refused(c.name, a, c.status, c.rule)
		}
		if len(r.plain.arrived()) != before {
			t.Errorf("%s: it went out", c.name)
		}
	}
	// In a body it appears while it is on its way.
	for body, status := range map[string]int{"a=" + r.keys[scheduler]: 403, "a=gth_svc-": 200} {
		a := r.raw("POST http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n" + r.credentials() + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
		if a.status != status {
			t.Errorf("%.10s: %d %s", body, a.status, a.body)
		}
	}
	for _, got := range r.plain.arrived() {
		if strings.Contains(got.Body, "gth_svc_") {
			t.Error("a key of ours went out")
		}
	}
}

// A CONNECT carries a key in nothing but the credentials.
func TestKeysDoNotLeaveInATunnelsHeader(t *testing.T) {
	r := newRig(t, options{})
	r.refused("a handle in a header", r.raw("CONNECT segment.test:443 HTTP/1.1\r\nHost: segment.test:443\r\nX-Handle: gth_hnd_x\r\n"+r.credentials()+"\r\n"), 403, "refuse/handle-inside")
	r.refused("with a body", r.raw("CONNECT segment.test:443 HTTP/1.1\r\nHost: segment.test:443\r\nContent-Length: 3\r\n"+r.credentials()+"\r\nabc"), 400, "egress/target")
	r.refused("with chunks", r.raw("CONNECT segment.test:443 HTTP/1.1\r\nHost: segment.test:443\r\nTransfer-Encoding: chunked\r\n"+r.credentials()+"\r\n0\r\n\r\n"), 400, "egress/target")
}
