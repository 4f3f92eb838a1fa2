package egress_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/iotest"

	"gatehouse"
	"gatehouse/internal/egress"
	"gatehouse/internal/wire"
)

// FuzzReadHello: whatever comes, no more is read than one message needs, what was read
// is given back as it came, pieces make no difference, and where crypto/tls reads a
// name out of it, it is the same.
func FuzzReadHello(f *testing.F) {
	for _, name := range []string{"segment.test", "a.b", ""} {
		hello := helloFor(f, name)
		f.Add(hello)
		f.Add(fragmented(hello[:40]))
		f.Add(lie(hello))
	}
	f.Add(twoNames(f, "a.test"))
	f.Add(twoNames(f, "a.test", "b.test"))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		source := bytes.NewReader(input)
		read, name, err := egress.HookTestOnlyReadHello(source)
		if !bytes.Equal(read, input[:len(read)]) || len(read)+source.Len() != len(input) {
			t.Fatal("what was read is not what came")
		}
		if err != nil && (wire.RuleOf(err) != "tunnel/no-tls" || !errors.Is(err, gatehouse.ErrDenied)) {
			t.Fatalf("%v", err)
		}
		again, other, otherErr := egress.HookTestOnlyReadHello(iotest.OneByteReader(bytes.NewReader(input)))
		if !bytes.Equal(read, again) || name != other || (err == nil) != (otherErr == nil) {
			t.Fatal("pieces make a difference")
		}
		// We refuse more than crypto/tls does, but never read another name.
		if theirs, ok := reads(input); ok && err == nil && theirs != name {
			t.Fatalf("%q here, %q there", name, theirs)
		}
	})
}

// reads is what crypto/tls takes for the server name.
func reads(input []byte) (name string, ok bool) {
	stop := errors.New("enough")
	_ = tls.Server(replay{Reader: bytes.NewReader(input)}, &tls.Config{
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, ok = h.ServerName, true
			return nil, stop
		},
	}).Handshake()
	return name, ok
}

// replay is a connection that says something and hears nothing.
type replay struct {
	net.Conn // nil: nothing else is asked of it
	io.Reader
}

func (r replay) Read(p []byte) (int, error) { return r.Reader.Read(p) }
func (replay) Write(p []byte) (int, error)  { return len(p), nil }
func (replay) Close() error                 { return nil }

func FuzzCredentials(f *testing.F) {
	for _, s := range []string{"Basic YTpi", "basic  YTpi", "Bearer x", "Basic", "Basic !", "", "Digest a=b", "Basic Og=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		user, err := egress.HookTestOnlyCredentials(http.Header{"Proxy-Authorization": {value}})
		if err != nil && (user != "" || wire.StatusOf(err) != http.StatusProxyAuthRequired) {
			t.Fatalf("%q, %v", user, err)
		}
	})
}
