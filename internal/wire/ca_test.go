package wire_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

var (
	loopback4 = net.IPNet{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}
	loopback6 = net.IPNet{IP: net.IPv6loopback, Mask: net.CIDRMask(128, 128)}
	localIPs  = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
)

// newCA makes an authority for localhost and loopback, as init does.
func newCA(t *testing.T) (*wire.CA, []byte, secret.Text) {
	t.Helper()
	cert, key, err := wire.NewCA("Gatehouse test CA", []string{"localhost"}, []net.IPNet{loopback4, loopback6}, 365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := wire.OpenCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return ca, cert, key
}

func TestTheAuthorityIsCriticallyConstrained(t *testing.T) {
	_, certPEM, _ := newCA(t)
	block, _ := pem.Decode(certPEM)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if !cert.PermittedDNSDomainsCritical || !cert.IsCA || !cert.MaxPathLenZero || len(cert.PermittedIPRanges) != 2 {
		t.Errorf("the authority is not constrained as it should be: %+v", cert)
	}
	if len(cert.ExtKeyUsage) != 1 || cert.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("the authority may sign more than servers: %v", cert.ExtKeyUsage)
	}
}

func TestNamesOutsideTheConstraintsAreNotIssued(t *testing.T) {
	ca, _, _ := newCA(t)
	for _, names := range [][]string{{"api.x.com"}, {"localhost", "graph.facebook.com"}, {"localhost.example.com"}} {
		if _, err := ca.Issue(names, nil); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("a certificate for %v: %v", names, err)
		}
	}
	if _, err := ca.Issue(nil, []net.IP{net.IPv4(10, 0, 0, 1)}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a certificate for 10.0.0.1: %v", err)
	}
	if _, err := ca.Issue(nil, nil); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a certificate for nothing: %v", err)
	}
	if _, err := ca.Issue([]string{"localhost"}, localIPs); err != nil {
		t.Errorf("a certificate for this machine: %v", err)
	}
}

// An authority for addresses alone must not be free to sign every name, and the
// other way round.
func TestAFormOfNameThatWasNotGivenIsForbidden(t *testing.T) {
	cert, key, err := wire.NewCA("ips", nil, []net.IPNet{loopback4}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ips, err := wire.OpenCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ips.Issue([]string{"api.x.com"}, nil); err == nil {
		t.Error("an authority for addresses signs api.x.com")
	}
	if _, err := ips.Issue(nil, []net.IP{net.IPv6loopback}); err == nil {
		t.Error("an authority for 127.0.0.0/8 signs ::1")
	}
	cert, key, err = wire.NewCA("names", []string{"localhost"}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	names, err := wire.OpenCA(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := names.Issue(nil, []net.IP{net.IPv4(127, 0, 0, 1)}); err == nil {
		t.Error("an authority for names signs an address")
	}
	if _, _, err := wire.NewCA("nothing", nil, nil, time.Hour); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("an authority for nothing: %v", err)
	}
}

func TestOpenCARefusals(t *testing.T) {
	_, cert, key := newCA(t)
	_, _, otherKey := newCA(t)

	free := func(change func(*x509.Certificate)) ([]byte, secret.Text) {
		priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"},
			NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
			PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"localhost"},
		}
		change(template)
		der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			secret.New(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	}
	unconstrained, unconstrainedKey := free(func(c *x509.Certificate) { c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = nil, false })
	leaf, leafKey := free(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0; c.PermittedDNSDomains = nil })
	ended, endedKey := free(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })

	for _, test := range []struct {
		name string
		cert []byte
		key  secret.Text
		want string
	}{
		{"not PEM", []byte("x"), key, "not one PEM block"},
		{"two certificates", append(append([]byte{}, cert...), cert...), key, "not one PEM block"},
		{"garbage in PEM", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), key, "certificate cannot be read"},
		{"another's key", cert, otherKey, "does not belong"},
		{"no key", cert, secret.Text{}, "key is not PEM"},
		{"broken key", cert, secret.New("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "key cannot be read"},
		{"unconstrained", unconstrained, unconstrainedKey, "names are not constrained"},
		{"a leaf", leaf, leafKey, "not an authority's"},
		{"ended", ended, endedKey, "ended on"},
	} {
		_, err := wire.OpenCA(test.cert, test.key)
		if !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestLeavesAreShortAndRenewThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, _, _ := newCA(t)
		config := ca.ServerTLS([]string{"localhost"}, localIPs)
		get := func() *x509.Certificate {
			t.Helper()
			c, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf
		}
		first := get()
		if life := first.NotAfter.Sub(first.NotBefore); life > 8*24*time.Hour {
			t.Errorf("a leaf lives %v", life)
		}
		if get().SerialNumber.Cmp(first.SerialNumber) != 0 {
			t.Error("a new leaf for every handshake")
		}
		time.Sleep(4 * 24 * time.Hour)
		if get().SerialNumber.Cmp(first.SerialNumber) == 0 {
			t.Error("the leaf was not renewed")
		}
		if config.MinVersion != tls.VersionTLS12 {
			t.Errorf("MinVersion = %x", config.MinVersion)
		}
		outside := ca.ServerTLS([]string{"api.x.com"}, nil)
		if _, err := outside.GetCertificate(&tls.ClientHelloInfo{}); err == nil {
			t.Error("a listener gets a certificate outside the constraints")
		}
	})
}

// OpenSSL is what Node.js and most SDKs verify with.
func TestOpenSSLAcceptsTheLeafAndRefusesOthers(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is not installed: apt-get install openssl")
	}
	ca, cert, key := newCA(t)
	dir := t.TempDir()
	caFile, leafFile := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	write := func(path string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(args ...string) (string, error) {
		out, err := exec.Command(openssl, append(append([]string{"verify", "-x509_strict", "-CAfile", caFile, "-purpose", "sslserver"}, args...), leafFile)...).CombinedOutput()
		return string(out), err
	}
	write(caFile, cert)
	leaf, err := ca.Issue([]string{"localhost"}, localIPs)
	if err != nil {
		t.Fatal(err)
	}
	write(leafFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]}))
	for _, args := range [][]string{{"-verify_hostname", "localhost"}, {"-verify_ip", "127.0.0.1"}, {"-verify_ip", "::1"}} {
		if out, err := verify(args...); err != nil {
			t.Errorf("openssl refuses %v: %s", args, out)
		}
	}

	// What somebody who stole the key could sign.
	keyBlock, _ := pem.Decode([]byte(key.Reveal()))
	priv, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	caBlock, _ := pem.Decode(cert)
	parent, err := x509.ParseCertificate(caBlock.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, forged := range []*x509.Certificate{{DNSNames: []string{"graph.facebook.com"}}, {IPAddresses: []net.IP{net.IPv4(8, 8, 8, 8)}}, {DNSNames: []string{"localhost"}, EmailAddresses: []string{"a@example.com"}}} {
		forged.SerialNumber, forged.Subject = big.NewInt(9), pkix.Name{Organization: []string{"x"}}
		forged.NotBefore, forged.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		forged.KeyUsage, forged.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		der, err := x509.CreateCertificate(rand.Reader, forged, parent, priv.(*ecdsa.PrivateKey).Public(), priv)
		if err != nil {
			t.Fatal(err)
		}
		write(leafFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		if out, err := verify(); err == nil || !strings.Contains(out, "permitted subtree violation") {
			t.Errorf("openssl accepts a forged certificate for %v %v %v: %s", forged.DNSNames, forged.IPAddresses, forged.EmailAddresses, out)
		}
	}
}
