package wire_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"testing"

	"gatehouse/internal/wire"
)

func TestOnlyThisUserAndRootAreTrustedPeers(t *testing.T) {
	for _, c := range []struct {
		user uint32
		euid int
		want bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1001, 1000, false}, {1000, 0, false}} {
		if got := wire.HookTestOnlyPeerTrusted(c.user, c.euid); got != c.want {
			t.Errorf("peer %d at a process of user %d: %v, want %v", c.user, c.euid, got, c.want)
		}
	}
}

func TestASocketForThisUserAnswersThisUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := wire.Listen(wire.ServerConfig{Addr: "unix:" + path, SameUser: true, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "yes")
	})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	reply, err := client.Get("http://socket/")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(reply.Body)
	reply.Body.Close()
	if err != nil || string(body) != "yes" {
		t.Errorf("answer %q, %v", body, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A key management system may stand in a private network; what else is not public
// stays out of reach, whatever is allowed.
func TestPrivateAndMetadataAddressesAreEachAllowedByThemselves(t *testing.T) {
	for _, c := range []struct {
		address           string
		private, metadata bool
		want              bool
	}{
		{"10.1.2.3", true, false, true},
		{"10.1.2.3", false, false, false},
		{"10.1.2.3", false, true, false},
		{"100.64.1.1", true, false, false},
		{"fd00::1", true, false, true},
		{"169.254.1.1", true, true, false},
		{"169.254.169.254", true, false, false},
		{"127.0.0.1", true, true, false},
		{"224.0.0.1", true, true, false},
		{"8.8.8.8", false, false, true},
		{"169.254.170.2", true, true, false},
		// A name, not the address, leads there.
		{"169.254.169.254", true, true, false},
	} {
		e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{"kms.test"}, AllowPrivate: c.private, AllowMetadata: c.metadata})
		if err != nil {
			t.Fatal(err)
		}
		if got := e.HookTestOnlyMayDial("kms.test:443", netip.MustParseAddr(c.address)); got != c.want {
			t.Errorf("%s (private %v, metadata %v): %v, want %v", c.address, c.private, c.metadata, got, c.want)
		}
	}
	e, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{wire.MetadataAddress + ":80", "kms.test"}, AllowMetadata: true})
	if err != nil {
		t.Fatal(err)
	}
	if !e.Allows("http", wire.MetadataAddress) || !e.HookTestOnlyMayDial(wire.MetadataAddress+":80", netip.MustParseAddr(wire.MetadataAddress)) {
		t.Error("the metadata server is out of reach although it is allowed")
	}
	for _, other := range []string{"kms.test", "169.254.169.253"} {
		if e.Allows("http", other) {
			t.Errorf("plain http to %s is allowed beside the metadata server", other)
		}
	}
}
