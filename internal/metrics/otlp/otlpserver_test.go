//go:build otlpserver

package otlp_test

// The OpenTelemetry Collector's own receiver, built by `make test-otlp`.

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/metrics"
	"gatehouse/internal/metrics/otlp"
	"gatehouse/internal/wire"
)

// selfSigned makes a certificate that is its own authority, for both sides.
func selfSigned(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "collector"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
}

func TestCollector(t *testing.T) {
	cert, key := selfSigned(t)
	server := exec.Command(os.Getenv("GATEHOUSE_OTLP_SERVER"), cert, key, cert)
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatalf("starting the receiver (make test-otlp builds it): %v", err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	said := bufio.NewScanner(out)
	said.Buffer(nil, 64<<20)
	if !said.Scan() {
		t.Fatal("the receiver says no address")
	}
	address := said.Text()

	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	show, err := wire.ClientCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := wire.NewEgress(wire.EgressConfig{
		Hosts: []string{address}, AllowLoopback: true, RootCAs: roots, Certificate: func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) { return show(i) },
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := metrics.New(metrics.Config{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	m.Call(&metrics.Call{Platform: "x", Outcome: metrics.OutcomeDone, Timing: metrics.Timing{Judged: 1, Ended: time.Millisecond}})
	e, err := otlp.New(otlp.Config{URL: "https://" + address, Send: client, Gather: m.Gather, Since: m.Since(), Unit: metrics.OTLPUnit, Sample: 1, Version: "v1", Environment: "test"})
	if err != nil {
		t.Fatal(err)
	}
	c := aCall(e)
	c.Trace = e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	e.End(c)
	e.Flush(context.WithoutCancel(t.Context()))

	var got strings.Builder
	for range 2 {
		if !said.Scan() {
			t.Fatal("the receiver took less than figures and traces")
		}
		got.WriteString(said.Text() + "\n")
	}
	for _, want := range []string{
		`"traceId":"0af7651916cd43dd8448eb211c80319c"`, `"parentSpanId":"b7ad6b7169203331"`, `"name":"GET /2/users/me"`, `"name":"upstream"`,
		`"name":"gatehouse_calls_total"`, `"unit":"{calls}"`, `"isMonotonic":true`, `"name":"gatehouse_call_duration_seconds"`, `"explicitBounds":[0.001,`, `"name":"go_goroutines"`,
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the receiver read nothing like %s", want)
		}
	}
}
