package wire_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"

	"gatehouse"
	"gatehouse/internal/wire"
)

// What goes with one host does not go with several: the certificate would be shown to
// all of them.
func TestWhatGoesWithOneHost(t *testing.T) {
	show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	for name, c := range map[string]wire.EgressConfig{
		"two hosts":   {Hosts: []string{"a.example.com", "b.example.com"}, Certificate: show},
		"no host":     {ServerName: "a.example.com"},
		"every other": {Hosts: []string{"a.example.com"}, AnyPublicHost: true, Certificate: show},
	} {
		if _, err := wire.NewEgress(c); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wire.NewEgress(wire.EgressConfig{Hosts: []string{"a.example.com"}, Certificate: show, ServerName: "b.example.com"}); err != nil {
		t.Errorf("near miss: %v", err)
	}
}

func TestNewStreamRefuses(t *testing.T) {
	dialer, err := wire.NewDialer(wire.DialerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	good := wire.StreamConfig{Host: "siem.example.com", Port: 6514}
	for name, c := range map[string]wire.StreamConfig{"no host": {Port: 6514}, "no port": {Host: "siem.example.com"}} {
		if _, err := wire.NewStream(c, dialer); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := wire.NewStream(good, nil); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("no dialer: %v", err)
	}
	if _, err := wire.NewStream(good, dialer); err != nil {
		t.Errorf("near miss: %v", err)
	}
}

// An address that the operator did not allow is not dialled, and what is no TLS is not
// spoken to.
func TestStreamDials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "220 mail.example.com ESMTP secret-canary\r\n")
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	dialer, err := wire.NewDialer(wire.DialerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		reach wire.Reach
		rule  string
	}{
		"not allowed": {wire.Reach{Own: true}, "egress/address"},
		"no TLS":      {wire.Reach{Own: true, Loopback: true}, "destination/tls"},
	} {
		s, err := wire.NewStream(wire.StreamConfig{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Reach: c.reach}, dialer)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Dial(t.Context()); wire.RuleOf(err) != c.rule {
			t.Errorf("%s: %v", name, err)
		}
	}
	if wire.StreamError(t.Context(), nil) != nil {
		t.Error("no error became one")
	}
}
