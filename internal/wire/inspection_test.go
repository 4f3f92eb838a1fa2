package wire_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// nextCA steps the authorities on and opens them.
func nextCA(t *testing.T, today secret.Text, wantChange bool, hosts ...string) (secret.Text, *wire.InspectionCA) {
	t.Helper()
	text, changed, err := wire.NextInspectionCA(today, "production", hosts)
	if err != nil {
		t.Fatal(err)
	}
	if changed != wantChange {
		t.Errorf("hosts %v: changed = %v, want %v", hosts, changed, wantChange)
	}
	ca, err := wire.OpenInspectionCA(text)
	if err != nil {
		t.Fatal(err)
	}
	return text, ca
}

func TestInspectionCASignsForExactlyItsHosts(t *testing.T) {
	_, ca := nextCA(t, secret.Text{}, true, "api.example.com", "192.0.2.7", "2001:db8::7", "example.org")
	if diff := cmp.Diff([]string{"192.0.2.7", "2001:db8::7", "api.example.com", "example.org"}, ca.Hosts()); diff != "" {
		t.Error(diff)
	}
	roots := x509.NewCertPool()
	for _, a := range ca.Authorities() {
		roots.AppendCertsFromPEM(a.PEM)
	}
	for _, host := range ca.Hosts() {
		leaf, err := ca.Leaf(host)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		if life := leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore); life > 14*time.Hour {
			t.Errorf("a leaf lives %v", life)
		}
	}
	for _, host := range []string{
		"below.api.example.com", "example.com", "www.example.org", "192.0.2.8", "API.example.com", "api.example.com.", "*.example.org", "invalid", "",
	} {
		if _, err := ca.Leaf(host); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("%q: %v, want ErrNotFound", host, err)
		}
	}
}

func TestInspectionCARefusesWhatIsNoHost(t *testing.T) {
	for _, host := range []string{"", "*.example.com", ".example.com", "Example.com", "example.com:443", "https://example.com", "example.com.", "::ffff:192.0.2.1", "2001:DB8::1", "fe80::1%eth0"} {
		if _, _, err := wire.NextInspectionCA(secret.Text{}, "test", []string{host}); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", host, err)
		}
	}
	many := make([]string, wire.MaxInspected+1)
	for i := range many {
		many[i] = fmt.Sprintf("h%d.example", i)
	}
	if _, _, err := wire.NextInspectionCA(secret.Text{}, "test", many); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("too many: %v, want ErrInvalid", err)
	}
	if _, _, err := wire.NextInspectionCA(secret.Text{}, "test", many[1:]); err != nil {
		t.Errorf("as many as may be: %v", err)
	}
	if _, err := wire.OpenInspectionCA(secret.Text{}); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("no text: %v, want ErrNotFound", err)
	}
	if _, err := wire.OpenInspectionCA(secret.New("-----BEGIN CERTIFICATE-----")); err == nil {
		t.Error("a broken text is opened")
	}
}

// shown are the hosts of each authority that clients should trust, newest first.
func shown(ca *wire.InspectionCA) (all [][]string) {
	for _, a := range ca.Authorities() {
		all = append(all, a.Hosts)
	}
	return all
}

func TestInspectionCAFollowsTheHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text, ca := nextCA(t, secret.Text{}, true, "a.example")
		old := ca.Authorities()[0]
		text, _ = nextCA(t, text, false, "a.example", "a.example")

		// A host more: who trusts the old one alone is still served for the old host.
		text, ca = nextCA(t, text, true, "b.example", "a.example")
		if diff := cmp.Diff([][]string{{"a.example", "b.example"}, {"a.example"}}, shown(ca)); diff != "" {
			t.Error(diff)
		}
		if ca.Authorities()[0].SHA256 == old.SHA256 || ca.Authorities()[1].SHA256 != old.SHA256 {
			t.Error("the newer authority has the old one's key, or the old one went")
		}
		verifies := func(host string, by []byte) bool {
			t.Helper()
			leaf, err := ca.Leaf(host)
			if err != nil {
				t.Fatal(err)
			}
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(by)
			_, err = leaf.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
			return err == nil
		}
		if !verifies("a.example", old.PEM) || verifies("b.example", old.PEM) || !verifies("b.example", ca.Authorities()[0].PEM) {
			t.Error("while they overlap, the wrong authority signs")
		}
		time.Sleep(14*24*time.Hour + time.Second)
		if verifies("a.example", old.PEM) || !verifies("a.example", ca.Authorities()[0].PEM) || len(shown(ca)) != 1 {
			t.Error("after the overlap the old authority still signs, or is shown")
		}
		text, ca = nextCA(t, text, true, "a.example", "b.example")
		if strings.Count(text.Reveal(), "PRIVATE KEY") != 2 || len(shown(ca)) != 1 {
			t.Error("the old authority's key is kept after the overlap")
		}

		// A host less: what may sign for it is forgotten at once.
		text, ca = nextCA(t, text, true, "b.example")
		if diff := cmp.Diff([][]string{{"b.example"}}, shown(ca)); diff != "" {
			t.Error(diff)
		}
		if _, err := ca.Leaf("a.example"); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("a host that is not looked into any more: %v", err)
		}

		// Its time: the successor comes early, and both are shown.
		time.Sleep(60*24*time.Hour - time.Minute)
		text, _ = nextCA(t, text, false, "b.example")
		time.Sleep(2 * time.Minute)
		text, ca = nextCA(t, text, true, "b.example")
		if diff := cmp.Diff([][]string{{"b.example"}, {"b.example"}}, shown(ca)); diff != "" {
			t.Error(diff)
		}

		none, changed, err := wire.NextInspectionCA(text, "production", nil)
		if err != nil || !changed || !none.IsZero() {
			t.Errorf("no hosts: changed %v, %v; want nothing kept", changed, err)
		}
		if _, changed, err := wire.NextInspectionCA(none, "production", nil); err != nil || changed {
			t.Errorf("still no hosts: changed %v, %v", changed, err)
		}
	})
}

func TestInspectionCAsAreBounded(t *testing.T) {
	var text secret.Text
	var hosts []string
	for i := range 12 {
		hosts = append(hosts, fmt.Sprintf("h%02d.example", i))
		text, _ = nextCA(t, text, true, hosts...)
	}
	ca, err := wire.OpenInspectionCA(text)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(ca.Authorities()); got != 8 {
		t.Errorf("%d authorities are kept, want 8", got)
	}
}

func TestInspectionLeavesRenewThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, ca := nextCA(t, secret.Text{}, true, "a.example")
		leaf := func() *tls.Certificate {
			t.Helper()
			l, err := ca.Leaf("a.example")
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		first := leaf()
		time.Sleep(5 * time.Hour)
		if leaf() != first {
			t.Error("a new leaf before half of its time")
		}
		time.Sleep(2 * time.Hour)
		if leaf() == first {
			t.Error("the leaf was not renewed")
		}
	})
}

// A client that trusts only this authority must refuse every other host, whoever
// has its key.
func TestOpenSSLHoldsTheInspectionCAToItsHosts(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: apt-get install openssl")
	}
	text, ca := nextCA(t, secret.Text{}, true, "api.example.com", "192.0.2.7")
	dir := t.TempDir()
	caFile, leafFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(caFile, ca.Authorities()[0].PEM)
	verify := func(der []byte, args ...string) (string, error) {
		t.Helper()
		write(leafFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		all := slices.Concat([]string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver"}, args, []string{leafFile})
		out, err := exec.Command(openssl, all...).CombinedOutput()
		return string(out), err
	}
	for host, flag := range map[string]string{"api.example.com": "-verify_hostname", "192.0.2.7": "-verify_ip"} {
		leaf, err := ca.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := verify(leaf.Certificate[0], flag, host); err != nil {
			t.Errorf("openssl refuses %s: %s", host, out)
		}
	}

	certBlock, rest := pem.Decode([]byte(text.Reveal()))
	keyBlock, _ := pem.Decode(rest)
	parent, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	forge := func(names []string, ips ...net.IP) []byte {
		t.Helper()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
			SerialNumber: big.NewInt(9), Subject: pkix.Name{Organization: []string{"x"}}, DNSNames: names, IPAddresses: ips,
			NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, parent, key.(*ecdsa.PrivateKey).Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, der := range [][]byte{
		forge([]string{"api.x.com"}), forge([]string{"example.com"}), forge([]string{"api.example.com", "www.example.com"}), forge(nil, net.IPv4(192, 0, 2, 8)),
		forge(nil, net.ParseIP("2001:db8::1")),
	} {
		if out, err := verify(der); err == nil || !strings.Contains(out, "permitted subtree violation") {
			t.Errorf("openssl accepts a certificate for another host: %s", out)
		}
	}
	// What the form of constraints cannot express, and the documentation says.
	if out, err := verify(forge([]string{"below.api.example.com"}), "-verify_hostname", "below.api.example.com"); err != nil {
		t.Errorf("openssl refuses a name below, and the documentation says otherwise: %s", out)
	}
}
