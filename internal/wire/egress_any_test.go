package wire_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/internal/wire"
)

// anyHost is an egress that may call every public host, with a resolver that
// says what the test wants.
func anyHost(t *testing.T, resolve func(host string) []string, change ...func(*wire.EgressConfig)) *wire.Egress {
	t.Helper()
	c := wire.EgressConfig{
		AnyPublicHost: true, Own: []string{"app.example:443", ":8443", "198.41.0.4:443"},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			var out []netip.Addr
			for _, a := range resolve(host) {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		},
	}
	for _, f := range change {
		f(&c)
	}
	e, err := wire.NewEgress(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.CloseIdle)
	return e
}

func TestAnyPublicHostAllowsHTTPSOnItsPortOnly(t *testing.T) {
	e := anyHost(t, func(string) []string { return nil })
	for _, ok := range []string{"storage.example", "storage.example:443", "1.1.1.1", "[2606:4700::1111]:443"} {
		if !e.Allows("https", ok) {
			t.Errorf("https to %s is refused", ok)
		}
	}
	for _, bad := range []string{"storage.example:8443", "storage.example:80", "app.example", "app.example:443", "STORAGE.example", "storage.example.", "user@storage.example", ""} {
		if e.Allows("https", bad) {
			t.Errorf("https to %s is allowed", bad)
		}
	}
	for _, scheme := range []string{"http", "ftp", "file", ""} {
		if e.Allows(scheme, "storage.example") {
			t.Errorf("%s is allowed", scheme)
		}
	}
	listed, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{"api.x.com"}})
	if err != nil {
		t.Fatal(err)
	}
	if listed.Allows("https", "storage.example") {
		t.Error("without AnyPublicHost a host that is not listed is allowed")
	}
}

func TestAnyPublicHostReachesPublicAddressesOnly(t *testing.T) {
	for name, address := range map[string]string{
		"private": "10.0.0.5", "private 172": "172.16.3.4", "link-local": "169.254.1.1", "metadata": "169.254.169.254", "azure": "168.63.129.16",
		"loopback": "127.0.0.1", "loopback 6": "::1", "mapped": "::ffff:10.0.0.5", "mapped metadata": "::ffff:169.254.169.254", "NAT64": "64:ff9b::a00:5",
		"6to4": "2002:a00:5::1", "teredo": "2001::1", "compatible": "::7f00:1", "unique local": "fd00::1", "shared": "100.64.0.1", "unspecified": "0.0.0.0",
	} {
		var asked atomic.Int32
		e := anyHost(t, func(string) []string { asked.Add(1); return []string{"198.41.0.5", address} },
			// Loopback is for listed hosts.
			func(c *wire.EgressConfig) { c.AllowLoopback, c.AllowPlainLoopback = true, true })
		_, _, err := get(t, e, "https://storage.example/upload?signature=1")
		refused(t, name, err, http.StatusBadGateway, "egress/address")
		if asked.Load() != 1 {
			t.Errorf("%s: resolved %d times", name, asked.Load())
		}
	}
}

// A name that leads to our own listener is no storage of the platform's.
func TestAnyPublicHostDoesNotLeadHome(t *testing.T) {
	e := anyHost(t, func(string) []string { return []string{"198.41.0.4"} })
	_, _, err := get(t, e, "https://storage.example/")
	refused(t, "a listener's address", err, http.StatusBadGateway, "egress/own-address")

	ours, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	e = anyHost(t, func(string) []string { return []string{strings.Split(ours[len(ours)-1].String(), "/")[0]} },
		func(c *wire.EgressConfig) { c.Own = []string{":443"} })
	_, _, err = get(t, e, "https://storage.example/")
	refused(t, "every address of the machine", err, http.StatusBadGateway, "egress/own-address")

	for _, bad := range []string{"app.example", "app.example:", "app.example:x", "a b:443"} {
		if _, err := wire.NewEgress(wire.EgressConfig{Own: []string{bad}}); err == nil {
			t.Errorf("own address %q is accepted", bad)
		}
	}
}

// Rebinding: the address that was judged is the one that is dialled, and a listed
// host (the sandbox) keeps its own rule beside the open one.
func TestAnyPublicHostPinsWhatItJudged(t *testing.T) {
	var asked atomic.Int32
	e, base := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			t.Error("a credential was sent")
		}
	}, func(c *wire.EgressConfig) {
		c.AnyPublicHost, c.Own = true, []string{"127.0.0.1:1"}
		resolve := c.Resolve
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			if asked.Add(1) > 1 {
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			}
			return resolve(ctx, host)
		}
	})
	if reply, _, err := get(t, e, base+"/x"); err != nil || reply.StatusCode != http.StatusOK {
		t.Fatalf("the listed host gives %v", err)
	}
	e.CloseIdle()
	_, _, err := get(t, e, "https://storage.example/x")
	refused(t, "rebound", err, http.StatusBadGateway, "egress/address")
}
