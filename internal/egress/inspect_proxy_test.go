package egress_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/policy"
)

// The whole way: an app with HTTPS_PROXY, the proxy, the vault's authority, inspection
// and the destination.
func TestInspectionThroughTheProxy(t *testing.T) {
	const host = "inspected.test"
	found := &finder{words: []string{adasAddress}}
	var terminate egress.Terminate
	r := newRig(t, options{tls: true, change: func(c *egress.Config) {
		c.Terminate = func(ctx context.Context, client net.Conn, in egress.Inspected) error {
			return terminate(ctx, client, in)
		}
	}})
	authority, err := egress.NewAuthority(egress.AuthorityConfig{Secrets: r.vault, Environment: "test", Log: r.log})
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Use(t.Context(), []string{host}); err != nil {
		t.Fatal(err)
	}
	if terminate, err = egress.NewTerminate(egress.InspectConfig{Inspector: found, Certificate: authority.Leaf, Log: r.log}); err != nil {
		t.Fatal(err)
	}
	there := newParty(t, r.ca, host)
	settings := r.settings(policy.Enforce, destinations())
	settings.Routes[host] = egress.Route{Address: there.address(), Roots: r.pool}
	if err := r.proxy.Apply(settings); err != nil {
		t.Fatal(err)
	}

	trusted := r.pool.Clone()
	for _, a := range authority.Trusted() {
		trusted.AppendCertsFromPEM(a.PEM)
	}
	client := r.client("analytics", reports)
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: trusted, MinVersion: tls.VersionTLS12}
	for _, c := range []struct {
		body   string
		status int
	}{{"nothing of anybody's", 200}, {"to " + adasAddress, 403}, {"again nothing", 200}} {
		reply, err := client.Post("https://"+host+"/track", "text/plain", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, reply.Body)
		reply.Body.Close()
		if reply.StatusCode != c.status || reply.ProtoMajor != 2 {
			t.Errorf("%q: %d over %s, want %d over HTTP/2", c.body, reply.StatusCode, reply.Proto, c.status)
		}
	}
	if n := len(there.arrived()); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}
	if n := there.conn.Load(); n != 1 {
		t.Errorf("%d connections to the destination, want 1", n)
	}

	// Who trusts the authority trusts it for nothing else.
	only := x509.NewCertPool()
	only.AppendCertsFromPEM(authority.Trusted()[0].PEM)
	other := r.client("analytics", reports)
	other.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: only, MinVersion: tls.VersionTLS12}
	if _, err := other.Get("https://segment.test/"); err == nil {
		t.Error("another destination is trusted")
	}

	client.CloseIdleConnections()
	r.stop()
	tunnel := ""
	for _, e := range r.entries() {
		if e.Action == "egress.tunnel" && e.Kind == audit.KindIntent && e.Facts["host"] == host {
			tunnel = e.ID
		}
	}
	counts := map[string]int{}
	for _, e := range r.entries() {
		switch e.Action {
		case "egress.request":
			counts[e.Kind+" "+e.Verdict]++
			if e.Facts["tunnel"] != tunnel {
				t.Errorf("a request belongs to tunnel %q, want %q", e.Facts["tunnel"], tunnel)
			}
		case "egress.authority":
			counts[e.Action]++
		}
	}
	for what, want := range map[string]int{"intent allow": 3, "outcome done": 2, "outcome aborted": 1, "egress.authority": 1} {
		if counts[what] != want {
			t.Errorf("%d × %s, want %d: %v", counts[what], what, want, counts)
		}
	}
}
