package egress_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
)

// fetch gets an address through a client.
func fetch(t *testing.T, c *http.Client, address string) (*http.Response, string, *answer) {
	t.Helper()
	reply, err := c.Get(address)
	var refused *answer
	if errors.As(err, &refused) {
		return nil, "", refused
	}
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply, string(body), nil
}

func TestATunnelCarriesTLSToADeclaredHost(t *testing.T) {
	for _, listener := range []bool{false, true} {
		r := newRig(t, options{tls: listener})
		reply, body, refused := fetch(t, r.client("analytics", reports), "https://segment.test/v1/track?x=1")
		if refused != nil || body != "got /v1/track" {
			t.Fatalf("TLS listener %v: %v %s", listener, refused, body)
		}
		// Nothing is put between: protocol and certificate are the destination's.
		if reply.ProtoMajor != 2 || reply.TLS == nil {
			t.Errorf("the tunnel carried %s", reply.Proto)
		}
		if got := r.party.arrived(); len(got) != 1 || got[0].Host != "segment.test" || got[0].Header.Get("Proxy-Authorization") != "" {
			t.Errorf("the destination got %+v", got)
		}
		r.stop()
		intent, outcome := r.last(audit.KindIntent), r.last(audit.KindOutcome)
		if intent.Action != "egress.tunnel" || intent.Service != reports || intent.Purpose != "analytics" || intent.Verdict != "allow" ||
			intent.Rule != "third_parties/segment.test" || intent.Facts["host"] != "segment.test" || intent.Facts["port"] != "443" ||
			intent.Operation != "CONNECT segment.test:443" {
			t.Errorf("the intent is %+v", intent.Leaf)
		}
		if outcome.Intent != intent.ID || outcome.Bytes < 100 || outcome.Facts["received"] == "0" || outcome.Facts["took"] == "" {
			t.Errorf("the outcome is %+v", outcome.Leaf)
		}
	}
}

func TestAPlainRequestGoesToADeclaredHost(t *testing.T) {
	r := newRig(t, options{})
	request, err := http.NewRequest("POST", "http://plain.test/hook?a=b", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer the-party's-own")
	request.Header.Set("Cookie", "session=1")
	request.Header.Set("Connection", "X-Mine")
	request.Header.Set("X-Mine", "1")
	request.Header.Set("Te", "trailers")
	reply, err := r.client("analytics", reports).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	if err != nil || reply.StatusCode != http.StatusOK || string(body) != "got /hook" || reply.Header.Get("X-Party") != "yes" {
		t.Fatalf("%d %s %v", reply.StatusCode, body, err)
	}
	if reply.Header.Get("X-Hop") != "" {
		t.Error("a header of one hop came back")
	}
	got := r.plain.arrived()
	if len(got) != 1 || got[0].Method != "POST" || got[0].URI != "/hook?a=b" || got[0].Host != "plain.test" || got[0].Body != "hello" || got[0].Length != 5 {
		t.Fatalf("the destination got %+v", got)
	}
	for name, want := range map[string]string{"Authorization": "Bearer the-party's-own", "Cookie": "session=1", "X-Mine": "", "Te": "", "Proxy-Authorization": "", "Via": "1.1 gatehouse"} {
		if v := got[0].Header.Get(name); v != want {
			t.Errorf("%s is %q there; want %q", name, v, want)
		}
	}
	if outcome := r.last(audit.KindOutcome); outcome.Action != "egress.call" || outcome.Verdict != "done" || outcome.Status != 200 || outcome.Bytes != 5 ||
		outcome.Facts["received"] != "9" || outcome.Operation != "POST plain.test:80" {
		t.Errorf("the outcome is %+v", outcome.Leaf)
	}
}

// Clients that programs really use, each with the environment's variables.
func TestClientsThatAppsUse(t *testing.T) {
	for _, listener := range []bool{false, true} {
		r := newRig(t, options{tls: listener})
		ca := filepath.Join(r.dir, "ca.pem")
		if err := os.WriteFile(ca, r.caPEM, 0o600); err != nil {
			t.Fatal(err)
		}
		run := func(command string, args ...string) string {
			t.Helper()
			c := exec.Command(command, args...)
			proxy := r.proxyURL("analytics", reports).String()
			c.Env = []string{"PATH=" + os.Getenv("PATH"), "HTTPS_PROXY=" + proxy, "https_proxy=" + proxy, "http_proxy=" + proxy, "HTTP_PROXY=" + proxy}
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%s %v: %v\n%s", command, args, err, out)
			}
			return string(out)
		}
		if out := run("curl", "-sS", "--cacert", ca, "--proxy-cacert", ca, "https://segment.test/curl"); out != "got /curl" {
			t.Errorf("curl, TLS listener %v: %s", listener, out)
		}
		if out := run("curl", "-sS", "--proxy-cacert", ca, "-d", "a=b", "http://plain.test/curl"); out != "got /curl" {
			t.Errorf("curl without TLS: %s", out)
		}
		if out := run("curl", "-sS", "-o", "/dev/null", "-w", "%{http_connect}", "--cacert", ca, "--proxy-cacert", ca, "https://segment.test:8443/"); out != "200" {
			t.Errorf("curl to a declared port: %s", out)
		}
		if got := r.party.arrived(); len(got) != 2 || got[0].URI != "/curl" || got[0].Header.Get("Proxy-Authorization") != "" {
			t.Errorf("the destination got %+v", got)
		}
	}
}

func TestWhoMayUseTheProxy(t *testing.T) {
	r := newRig(t, options{})
	ask := func(header string) *answer {
		return r.raw("GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n" + header + "\r\n")
	}
	basic := func(user, password string) string {
		return "Proxy-Authorization: Basic " + encode(user+":"+password) + "\r\n"
	}
	mine := r.keys[reports]
	for name, header := range map[string]string{
		"nothing":               "",
		"another header":        "Authorization: Bearer " + mine + "\r\n",
		"another scheme":        "Proxy-Authorization: Digest username=analytics\r\n",
		"no base64":             "Proxy-Authorization: Basic !!!\r\n",
		"no colon":              "Proxy-Authorization: Basic " + encode("analytics") + "\r\n",
		"twice":                 r.credentials() + r.credentials(),
		"an unknown key":        basic("analytics", "gth_svc_0000000000000000000000_00000000000000000000000000000000000000000000000000"),
		"a cut key":             basic("analytics", mine[:len(mine)-1]),
		"no key":                basic("analytics", ""),
		"key as user name":      basic(mine, ""),
		"bearer without a key":  "Proxy-Authorization: Bearer \r\n",
		"bearer with a handle?": "Proxy-Authorization: Bearer gth_hnd_x\r\n",
	} {
		a := ask(header)
		if a.status != http.StatusProxyAuthRequired || !strings.HasPrefix(a.header.Get("Proxy-Authenticate"), "Basic ") || a.rule() == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if e := r.last(audit.KindEvent); e.Action != "handle.refuse" || e.Verdict != "refuse" || e.Status != 407 {
			t.Errorf("%s: the log says %+v", name, e.Leaf)
		}
	}
	if n := len(r.plain.arrived()); n != 0 {
		t.Fatalf("%d requests of strangers went out", n)
	}
	// And those that may, next to each.
	for name, header := range map[string]string{
		"basic": basic("analytics", mine), "lower case": strings.Replace(basic("analytics", mine), "Basic", "basic", 1), "two spaces": strings.Replace(basic("analytics", mine), "Basic ", "Basic  ", 1),
	} {
		if a := ask(header); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	// A service with one purpose need not name it.
	r.apply(policy.Enforce, append(destinations(), policy.Destination{Host: "single.test", Purposes: []gatehouse.PurposeName{"publish"}}))
	single := func(header string) *answer {
		return r.raw("GET http://single.test/ HTTP/1.1\r\nHost: single.test\r\n" + header + "\r\n")
	}
	for name, header := range map[string]string{
		"bearer": "Proxy-Authorization: Bearer " + r.keys[scheduler] + "\r\n", "no user name": basic("", r.keys[scheduler]),
	} {
		if a := single(header); a.rule() != "destination/resolve" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	r.refused("a service with two purposes", ask("Proxy-Authorization: Bearer "+mine+"\r\n"), 403, policy.RuleNoPurpose)
	r.refused("another's purpose", single(basic("analytics", r.keys[scheduler])), 403, policy.RulePurposeNotAllowed)
	r.refused("a purpose that nobody declared", ask(basic("nothing", mine)), 403, policy.RuleUnknownPurpose)
	if e := r.last(audit.KindEvent); e.Purpose != "" {
		t.Errorf("a purpose that the caller made up stands in the log: %q", e.Purpose)
	}

	// A key that is bound to one of the two.
	made, text, err := r.known.MakeServiceKey(t.Context(), identity.KeyRequest{Service: reports, Purpose: "analytics"})
	if err != nil {
		t.Fatal(err)
	}
	for name, header := range map[string]string{"its purpose": basic("analytics", text.Reveal()), "no user name": "Proxy-Authorization: Bearer " + text.Reveal() + "\r\n"} {
		if a := ask(header); a.status != http.StatusOK {
			t.Errorf("a bound key, %s: %d %s", name, a.status, a.body)
		}
	}
	r.refused("a bound key, the service's other purpose", ask(basic("publish", text.Reveal())), 403, "identity/key-purpose")
	r.refused("a bound key, a purpose that nobody declared", ask(basic("nothing", text.Reveal())), 403, "identity/key-purpose")
	if e := r.last(audit.KindEvent); e.Purpose != "" {
		t.Errorf("a purpose that the caller made up stands in the log: %q", e.Purpose)
	}
	_, none, err := r.known.MakeServiceKey(t.Context(), identity.KeyRequest{Service: reports, Purpose: identity.NoPurpose})
	if err != nil {
		t.Fatal(err)
	}
	r.refused("a key for no purpose", ask(basic("analytics", none.Reveal())), 403, "identity/key-purpose")
	if err := r.known.FlushKeyUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k, err := r.known.ServiceKey(t.Context(), made.ID); err != nil || k.Used.Count != 4 || k.Used.From.String() != "127.0.0.0/24" {
		t.Errorf("uses of the bound key: %+v, %v; want 4 from 127.0.0.0/24", k.Used, err)
	}

	// Networks.
	s := r.settings(policy.Enforce, destinations())
	bound := s.Services[scheduler]
	bound.Sources = prefixes("10.0.0.0/8")
	s.Services[scheduler] = bound
	if err := r.proxy.Apply(s); err != nil {
		t.Fatal(err)
	}
	r.refused("another network", single("Proxy-Authorization: Bearer "+r.keys[scheduler]+"\r\n"), 403, "identity/source")

	// A key that is revoked.
	keys, err := r.known.ServiceKeys(t.Context(), reports)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.known.RevokeServiceKey(t.Context(), keys[0].ID); err != nil {
		t.Fatal(err)
	}
	r.refused("a revoked key", ask(basic("analytics", mine)), 407, "identity/key-revoked")
}

// Nothing is sent, or even resolved, before the intent is on disk.
func TestNothingLeavesWithoutTheLog(t *testing.T) {
	r := newRig(t, options{})
	if a := r.raw("GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n" + r.credentials() + "\r\n"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body) // and the source is known
	}
	before := r.plain.conn.Load()
	r.full.Store(true)
	for _, text := range []string{"CONNECT segment.test:443 HTTP/1.1\r\nHost: segment.test:443\r\n", "GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\n", "CONNECT public.test:443 HTTP/1.1\r\nHost: x\r\n"} {
		if a := r.raw(text + r.credentials() + "\r\n"); a.status != http.StatusServiceUnavailable || !strings.HasPrefix(a.rule(), "log/") {
			t.Errorf("%.20s: %d %s", text, a.status, a.body)
		}
	}
	if r.party.conn.Load() != 0 || r.plain.conn.Load() != before || len(r.resolved) != 0 {
		t.Error("something was resolved or dialled that is not in the log")
	}
	r.full.Store(false)
}

func TestReportModeLetsTheUnknownPass(t *testing.T) {
	k := &keeper{}
	r := newRig(t, options{report: true, change: func(c *egress.Config) { c.Inspector = k }})
	// Not declared: it is resolved and judged like any other, so nothing private is
	// reached.
	r.names["unknown.test"] = []string{"10.0.0.1"}
	if a := r.connect("unknown.test:443"); a.status != http.StatusBadGateway || a.rule() != "egress/address" {
		t.Errorf("%d %s", a.status, a.body)
	}
	intent := r.last(audit.KindIntent)
	if intent.Verdict != "report" || intent.Rule != policy.RuleUnknownDestination || intent.Facts["host"] != "" || intent.Operation != "CONNECT" {
		t.Errorf("the intent is %+v", intent.Leaf)
	}
	if got := r.sealed(intent); !strings.Contains(got, `"value":"unknown.test"`) {
		t.Errorf("sealed is %s", got)
	}
	// What looks into it is not told a name that the caller chose.
	for address, want := range map[string]string{"http://unknown.test/": egress.Undeclared, "http://plain.test/": "plain.test"} {
		_, _, _ = fetch(t, r.client("analytics", reports), address)
		k.mu.Lock()
		if last := k.began[len(k.began)-1]; last.Destination != want {
			t.Errorf("%s is looked into as %q, want %q", address, last.Destination, want)
		}
		k.mu.Unlock()
	}
	// Declared for another purpose: carried, and flagged.
	_, body, refused := fetch(t, r.client("analytics", reports), "https://other.test/x")
	if refused != nil || body != "got /x" {
		t.Fatalf("%v %s", refused, body)
	}
	if intent = r.last(audit.KindIntent); intent.Verdict != "report" || intent.Rule != policy.RuleDestinationPurpose || intent.Facts["host"] != "other.test" {
		t.Errorf("the intent is %+v", intent.Leaf)
	}
	// Who sends, and the platforms' hosts, are no matter of mode.
	r.refused("a platform", r.connect("api.x.com:443"), 403, "egress/platform-host")
}

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	r := newRig(t, options{})
	for name, change := range map[string]func(){
		"dialer": func() { r.config.Dialer = nil }, "log": func() { r.config.Log = nil }, "surface": func() { r.config.Surface = nil },
		"directory": func() { r.config.Directory = nil }, "policy": func() { r.config.Settings.Policy = nil },
	} {
		whole := r.config
		change()
		if _, err := egress.New(r.config); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("without %s: %v", name, err)
		}
		r.config = whole
	}
	if err := r.proxy.Apply(egress.Settings{}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("settings without a policy: %v", err)
	}
}
