package wire_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// writePair writes a certificate and key of ca's as an operator would.
func writePair(t *testing.T, ca *wire.CA, certFile, keyFile string, modified time.Time) *x509.Certificate {
	t.Helper()
	pair, err := ca.Issue([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		keyFile:  {Type: "PRIVATE KEY", Bytes: pkcs8},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	return pair.Leaf
}

func TestARenewedCertificateIsPickedUp(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	synctest.Test(t, func(t *testing.T) {
		ca, _, _ := newCA(t)
		start := time.Now().Add(-time.Hour)
		first := writePair(t, ca, certFile, keyFile, start)
		var reported []error
		config, err := wire.FileTLS(certFile, keyFile, func(err error) { reported = append(reported, err) })
		if err != nil {
			t.Fatal(err)
		}
		serves := func(want *x509.Certificate, when string) {
			t.Helper()
			c, err := config.GetCertificate(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := x509.ParseCertificate(c.Certificate[0])
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) {
				t.Errorf("%s: another certificate than expected", when)
			}
		}
		serves(first, "at start")

		second := writePair(t, ca, certFile, keyFile, start.Add(time.Minute))
		serves(first, "at once: files are not read for every handshake")
		time.Sleep(11 * time.Second)
		serves(second, "after renewal")

		// A renewal that is half written leaves what works, says so, and heals.
		if err := os.WriteFile(certFile, []byte("-----BEGIN"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		serves(second, "half written")
		if len(reported) == 0 {
			t.Error("the broken renewal was not reported")
		}
		third := writePair(t, ca, certFile, keyFile, start.Add(2*time.Minute))
		time.Sleep(11 * time.Second)
		serves(third, "healed")

		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		serves(third, "key gone")
	})
}

func TestFileTLSRefusals(t *testing.T) {
	ca, _, _ := newCA(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "a.pem"), filepath.Join(dir, "a.key")
	if _, err := wire.FileTLS(certFile, keyFile); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing files: %v", err)
	}
	writePair(t, ca, certFile, keyFile, time.Now())
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.FileTLS(certFile, keyFile); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("a key that everybody can read: %v", err)
	}
	if err := os.Chmod(keyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.FileTLS(certFile, keyFile); err != nil {
		t.Errorf("a key for a group: %v", err)
	}
	writePair(t, ca, filepath.Join(dir, "b.pem"), filepath.Join(dir, "b.key"), time.Now())
	if _, err := wire.FileTLS(certFile, filepath.Join(dir, "b.key")); err == nil {
		t.Error("a key of another certificate is accepted")
	}
}
