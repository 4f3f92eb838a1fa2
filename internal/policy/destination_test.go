package policy_test

import (
	"errors"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/policy"
)

func destinationSet(t testing.TB, mode policy.Mode, list ...policy.Destination) *policy.Set {
	t.Helper()
	set, err := policy.Compile([]policy.Purpose{{Name: "analytics", Why: "Count"}, {Name: "support", Why: "Answer"}}, mode)
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.WithDestinations(list); err != nil {
		t.Fatal(err)
	}
	return set
}

func segment() policy.Destination {
	return policy.Destination{
		Host: "api.segment.io", Purposes: []gatehouse.PurposeName{"analytics"}, MayReceive: []gatehouse.DataClass{gatehouse.PseudonymousID}, Inspect: true, Ports: []uint16{8443},
	}
}

func TestDecideDestination(t *testing.T) {
	both := []gatehouse.PurposeName{"analytics", "support"}
	good := policy.DestinationRequest{Service: "web", Allowed: both, Purpose: "analytics", Host: "api.segment.io", Port: 443}
	change := func(f func(*policy.DestinationRequest)) policy.DestinationRequest {
		r := good
		f(&r)
		return r
	}
	for _, c := range []struct {
		name    string
		request policy.DestinationRequest
		rule    string
		report  bool // whether report mode lets it pass
	}{
		{"declared", good, "third_parties/api.segment.io", true},
		{"declared port", change(func(r *policy.DestinationRequest) { r.Port = 8443 }), "third_parties/api.segment.io", true},
		{"plain http", change(func(r *policy.DestinationRequest) { r.Port, r.Plain = 80, true }), "third_parties/api.segment.io", true},
		{"plain http, declared port", change(func(r *policy.DestinationRequest) { r.Port, r.Plain = 8443, true }), "third_parties/api.segment.io", true},
		{"no purpose", change(func(r *policy.DestinationRequest) { r.Purpose = "" }), policy.RuleNoPurpose, false},
		{"unknown purpose", change(func(r *policy.DestinationRequest) { r.Purpose = "ads" }), policy.RuleUnknownPurpose, false},
		{"another's purpose", change(func(r *policy.DestinationRequest) { r.Allowed = both[1:] }), policy.RulePurposeNotAllowed, false},
		{"unknown host", change(func(r *policy.DestinationRequest) { r.Host = "segment.io" }), policy.RuleUnknownDestination, true},
		{"a purpose that it does not serve", change(func(r *policy.DestinationRequest) { r.Purpose = "support" }), policy.RuleDestinationPurpose, true},
		{"another port", change(func(r *policy.DestinationRequest) { r.Port = 444 }), policy.RuleDestinationPort, true},
		{"TLS on 80", change(func(r *policy.DestinationRequest) { r.Port = 80 }), policy.RuleDestinationPort, true},
		{"plain http on 443", change(func(r *policy.DestinationRequest) { r.Plain = true }), policy.RuleDestinationPort, true},
	} {
		enforce := destinationSet(t, policy.Enforce, segment()).DecideDestination(c.request)
		declared := strings.HasPrefix(c.rule, "third_parties/")
		if enforce.Rule != c.rule || enforce.Allow != declared || enforce.Report || (enforce.Reason == "") != declared {
			t.Errorf("%s: %+v", c.name, enforce)
		}
		report := destinationSet(t, policy.Report, segment()).DecideDestination(c.request)
		if report.Rule != c.rule || report.Allow != c.report || report.Report != (c.report && !declared) {
			t.Errorf("%s, in report mode: %+v", c.name, report)
		}
		// What is known of a host is known whatever was decided: inspection is not lost by
		// being let through in report mode.
		if known := c.request.Host == "api.segment.io" && c.rule != policy.RuleNoPurpose && c.rule != policy.RuleUnknownPurpose && c.rule != policy.RulePurposeNotAllowed; report.Declared != known || report.Inspect != known || (len(report.MayReceive) == 1) != known {
			t.Errorf("%s: %+v", c.name, report)
		}
	}
}

func TestAllowedDestinationsCostNothing(t *testing.T) {
	set := destinationSet(t, policy.Enforce, segment())
	r := policy.DestinationRequest{Service: "web", Allowed: []gatehouse.PurposeName{"support", "analytics"}, Purpose: "analytics", Host: "api.segment.io", Port: 443}
	if n := testing.AllocsPerRun(100, func() {
		host, err := policy.NormalHost("api.segment.io")
		r.Host = host
		if d := set.DecideDestination(r); err != nil || !d.Allow {
			t.Fatal(d)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWithDestinationsRefuses(t *testing.T) {
	set := destinationSet(t, policy.Enforce)
	for name, d := range map[string]func(*policy.Destination){
		"capitals": func(d *policy.Destination) { d.Host = "API.segment.io" }, "no host": func(d *policy.Destination) { d.Host = "" },
		"a last dot": func(d *policy.Destination) { d.Host += "." }, "an unknown purpose": func(d *policy.Destination) { d.Purposes[0] = "ads" },
		"an unknown kind": func(d *policy.Destination) { d.MayReceive[0] = "everything" }, "secrets": func(d *policy.Destination) { d.MayReceive[0] = gatehouse.Credential },
		"port 0": func(d *policy.Destination) { d.Ports[0] = 0 },
	} {
		bad := segment()
		d(&bad)
		if _, err := set.WithDestinations([]policy.Destination{bad}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := set.WithDestinations([]policy.Destination{segment(), segment()}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("twice: %v", err)
	}
	// A set is not changed by what was handed to it, or got from it.
	mine := segment()
	whole, err := set.WithDestinations([]policy.Destination{mine})
	if err != nil {
		t.Fatal(err)
	}
	mine.Purposes[0] = "support"
	got, ok := whole.Destination("api.segment.io")
	if !ok || got.Purposes[0] != "analytics" || !whole.Declares("api.segment.io") || whole.Declares("segment.io") || len(whole.Destinations()) != 1 {
		t.Errorf("%+v %v", got, whole.Destinations())
	}
	got.Ports[0] = 1
	if again, _ := whole.Destination("api.segment.io"); again.Ports[0] != 8443 {
		t.Error("a destination that was handed out is the set's own")
	}
}

func TestNormalHost(t *testing.T) {
	for in, want := range map[string]string{
		"api.segment.io": "api.segment.io", "API.Segment.IO": "api.segment.io", "api.segment.io.": "api.segment.io", "localhost": "localhost",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "_dmarc.example": "_dmarc.example", "1e100.net": "1e100.net", "0x.example": "0x.example", "a.0xg": "a.0xg",
		"1.1.1.1": "1.1.1.1", "[::1]": "::1", "::1": "::1", "2001:DB8:0:0::1": "2001:db8::1", "[::ffff:1.2.3.4]": "1.2.3.4",
		strings.Repeat("a", 63) + ".b": strings.Repeat("a", 63) + ".b",
	} {
		if got, err := policy.NormalHost(in); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "a..", "-a.b", "a-.b", "bücher.example", "a b", "a/b", "a:b", "a@b", "a%2eb", "*.a", "a\x00", "a,b",
		"1", "1.1", "1.1.1.1.1", "256.1.1.1", "01.1.1.1", "1.1.1.1.", "0x7f000001", "0X7F.1", "a.1", "a.0x1f", "a.0x", "0177.0.0.1",
		"[1.1.1.1]", "[a]", "[::1", "::1]", "[fe80::1%eth0]", "fe80::1%eth0", "[]", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "a",
	} {
		if got, err := policy.NormalHost(in); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%q passes as %q (%v)", in, got, err)
		}
	}
}

// FuzzNormalHost: what comes out is what comes out again, and says one thing only.
func FuzzNormalHost(f *testing.F) {
	for _, s := range []string{"a.b", "A.B.", "1.1.1.1", "[::1]", "0x7f.1", "xn--a", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		out, err := policy.NormalHost(in)
		if err != nil {
			if out != "" || !errors.Is(err, gatehouse.ErrInvalid) || len(in) > 8 && strings.Contains(err.Error(), in) {
				t.Fatalf("%q, %v", out, err)
			}
			return
		}
		if again, err := policy.NormalHost(out); err != nil || again != out {
			t.Fatalf("%q becomes %q, and that %q (%v)", in, out, again, err)
		}
		if strings.ToLower(out) != out || strings.ContainsAny(out, "/@%[] \x00") || strings.HasSuffix(out, ".") {
			t.Fatalf("%q becomes %q", in, out)
		}
	})
}
