package export_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/export"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"github.com/leodido/go-syslog/v4/rfc5424"
)

// An authority issues what tests show one another.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	dir  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the tests' authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign(template, template, nil)
	a.pool.AddCert(a.cert)
	a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parentKey == nil {
		parentKey = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert
}

func (a *authority) write(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// issue makes a certificate for a name and loopback, in files as well.
func (a *authority) issue(name string, ends time.Time) (cert tls.Certificate, certFile, keyFile string) {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: ends,
		DNSNames: []string{name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if name == "127.0.0.1" {
		template.DNSNames, template.IPAddresses = nil, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	key, leaf := a.sign(template, a.cert, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, a.write(name+".pem", "CERTIFICATE", leaf.Raw), a.write(name+".key", "PRIVATE KEY", der)
}

func (a *authority) server(name string) *tls.Config {
	cert, _, _ := a.issue(name, time.Now().Add(time.Hour))
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
}

// dial is the way to a listener on loopback.
func (a *authority) dial(addr string, change func(*wire.StreamConfig)) func(context.Context) (*wire.StreamConn, error) {
	a.t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		a.t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		a.t.Fatal(err)
	}
	dialer, err := wire.NewDialer(wire.DialerConfig{})
	if err != nil {
		a.t.Fatal(err)
	}
	c := wire.StreamConfig{Host: host, Port: uint16(n), Reach: wire.Reach{Loopback: true, Own: true}, Roots: a.pool}
	if change != nil {
		change(&c)
	}
	s, err := wire.NewStream(c, dialer)
	if err != nil {
		a.t.Fatal(err)
	}
	return s.Dial
}

// A receiver is a listener; serve is called with each connection.
type receiver struct {
	net.Listener
	wait sync.WaitGroup
	mu   sync.Mutex
	got  []int64
}

func listen(t testing.TB, c *tls.Config, serve func(*receiver, *tls.Conn)) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{Listener: l}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.wait.Go(func() {
				defer func() { _ = conn.Close() }()
				serve(r, tls.Server(conn, c))
			})
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
		r.wait.Wait()
	})
	return r
}

// take reads frames until the connection ends, and keeps whole messages.
func (r *receiver) take(t testing.TB, conn io.Reader, most int) error {
	in := bufio.NewReader(conn)
	for range most {
		length, err := in.ReadString(' ')
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil {
			t.Errorf("no frame: %q", length)
			return err
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(in, message); err != nil {
			return err
		}
		r.mu.Lock()
		r.got = append(r.got, parse(t, message).Index)
		r.mu.Unlock()
	}
	return nil
}

func (r *receiver) indexes() []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]int64(nil), r.got...)
}

// parse reads a message by a parser that is not ours.
func parse(t testing.TB, message []byte) line {
	t.Helper()
	parsed, err := rfc5424.NewParser().Parse(message)
	if err != nil {
		t.Errorf("%q is no message of RFC 5424: %v", message, err)
		return line{}
	}
	m := parsed.(*rfc5424.SyslogMessage)
	text, ok := strings.CutPrefix(*m.Message, "\xef\xbb\xbf")
	var l line
	if err := json.Unmarshal([]byte(text), &l); err != nil || !ok {
		t.Errorf("%q holds no JSON behind a byte order mark: %v", message, err)
	}
	return l
}

// obedient is a receiver that does as RFC 5425 says.
func obedient(t testing.TB) func(*receiver, *tls.Conn) {
	return func(r *receiver, conn *tls.Conn) {
		if errors.Is(r.take(t, conn, 1<<30), io.EOF) {
			_ = conn.Close()
		}
	}
}

func syslogTo(t testing.TB, dial func(context.Context) (*wire.StreamConn, error)) *export.Syslog {
	t.Helper()
	s, err := export.NewSyslog(export.SyslogConfig{Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSyslogMessage(t *testing.T) {
	format, err := export.SyslogFormat{Hostname: "gate-1"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	raw := `{"action":"call","app":"main-x","env":"production","id":"06h0dyvhg3fs7nz5jeqkyz7s9w","kind":"event","operation":"GET /2/users/{id}","platform":"x","purpose":"publish","rule":"refuse/\"]\\","service":"scheduler","time":1767323045000006,"v":2,"verdict":"refuse"}`
	e := export.NewEntry(origin, 7, []byte(raw))
	want := `<108>1 2026-01-02T03:04:05.000006Z gate-1 gatehouse - call [gatehouse@32473 origin="gatehouse/production/test" index="7" leaf_hash="` +
		leafHash([]byte(raw)) + `" code="GH2011W" id="06h0dyvhg3fs7nz5jeqkyz7s9w" kind="event" verdict="refuse" rule="refuse/\"\]\\" service="scheduler" purpose="publish" platform="x" operation="GET /2/users/{id}"] ` +
		"\xef\xbb\xbf" + `{"index":7,"leaf":` + raw + `,"leaf_hash":"` + leafHash([]byte(raw)) + `","origin":"gatehouse/production/test"}`
	got := string(format.AppendMessage(nil, &e))
	if got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	parsed, err := rfc5424.NewParser().Parse([]byte(got))
	if err != nil {
		t.Fatal(err)
	}
	m := parsed.(*rfc5424.SyslogMessage)
	if *m.Facility != 13 || *m.Severity != 4 || *m.MsgID != "call" || !m.Timestamp.Equal(e.Leaf.When()) || (*m.StructuredData)["gatehouse@32473"]["rule"] != `refuse/"]\` {
		t.Errorf("parsed: %+v", m)
	}
}

// The longest message is kept, whatever is in an entry, and says what is missing.
func TestSyslogLength(t *testing.T) {
	leaf := func(n int) []byte {
		return fmt.Appendf(nil, `{"action":"init","facts":{"long":"%s"},"id":"06h0dyvhg3fs7nz5jeqkyz7s9w","kind":"event","time":1767323045000006,"v":2}`, strings.Repeat("]", n))
	}
	format, err := export.SyslogFormat{MaxMessage: 2048}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	short := export.NewEntry(origin, 0, leaf(0))
	room := 2048 - len(format.AppendMessage(nil, &short))
	for name, c := range map[string]struct {
		n    int
		kept bool
	}{"just": {room, true}, "one more": {room + 1, false}, "the longest": {65000, false}} {
		e := export.NewEntry(origin, 0, leaf(c.n))
		message := format.AppendMessage([]byte("before"), &e)[len("before"):]
		var got struct {
			line
			Bytes int `json:"leaf_bytes"`
		}
		_, text, _ := bytes.Cut(message, []byte("\xef\xbb\xbf"))
		if err := json.Unmarshal(text, &got); err != nil || e.Leaf == nil {
			t.Fatal(name, err)
		}
		if len(message) > 2048 || (got.Leaf != nil) != c.kept || !c.kept && got.Bytes != len(e.Raw) || got.Hash != e.Hash {
			t.Errorf("%s: %d bytes, %+v", name, len(message), got)
		}
	}
}

// Whatever stands in a leaf: the message is one of RFC 5424, and a parser that is not
// ours reads out of it what was put in.
func FuzzSyslogMessage(f *testing.F) {
	f.Add("call", `a"b\c]d`, "é☃")
	f.Add("", "\x00\x1f\x7f", "\xff\xfe")
	f.Add("with space", strings.Repeat("]", 200), strings.Repeat("\"", 99)+"é")
	format, err := export.SyslogFormat{Hostname: "gate-1"}.WithDefaults()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, action, rule, operation string) {
		leaf := &audit.Leaf{Action: action, Rule: rule, Operation: gatehouse.Operation(operation), ID: "id", Kind: "event", Time: 1767323045000006, Version: 2}
		raw, err := json.Marshal(leaf)
		if err != nil {
			t.Fatal(err)
		}
		e := export.Entry{Origin: origin, Index: 1, Raw: raw, Leaf: leaf, Hash: leafHash(raw)}
		message := format.AppendMessage(nil, &e)
		if len(message) > 8192 {
			t.Fatalf("%d bytes", len(message))
		}
		parsed, err := rfc5424.NewParser().Parse(message)
		if err != nil {
			t.Fatalf("%q: %v", message, err)
		}
		m := parsed.(*rfc5424.SyslogMessage)
		params := (*m.StructuredData)["gatehouse@32473"]
		if params["index"] != "1" || params["leaf_hash"] != e.Hash {
			t.Fatalf("%q is read as %v", message, params)
		}
		for name, want := range map[string]string{"rule": rule, "operation": operation} {
			want = strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return '?'
				}
				return r
			}, strings.ToValidUTF8(want, "\ufffd"))
			got := params[name]
			if len(want) <= 40 && strings.ToValidUTF8(got, "\ufffd") != want && !strings.Contains(want, "\ufffd") {
				t.Fatalf("%s is read as %q, want %q of %q", name, got, want, message)
			}
			if got != "" && !strings.Contains(want, "\ufffd") && !strings.HasPrefix(want, got) {
				t.Fatalf("%s is read as %q, which is no beginning of %q", name, got, want)
			}
		}
	})
}

func TestSyslogOfALog(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	a := newAuthority(t)
	server := a.server("127.0.0.1")
	_, certFile, keyFile := a.issue("gatehouse", time.Now().Add(time.Hour))
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	siem := listen(t, server, obedient(t))
	show, err := wire.ClientCertificate(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	r.calls(500)
	stop := r.export(r.config(export.Target{Name: "siem", Sink: syslogTo(t, a.dial(siem.Addr().String(), func(c *wire.StreamConfig) { c.Certificate = show }))}))
	r.reached("siem", 500)
	r.calls(20)
	r.reached("siem", 520)
	stop()
	exactly(t, siem.indexes(), 520)
}

// What a receiver does wrong costs no entry: the cursor stays until one does right.
func TestSyslogFaults(t *testing.T) {
	a := newAuthority(t)
	good := a.server("127.0.0.1")
	wrongName := a.server("elsewhere.example.com")
	endedCert, _, _ := a.issue("127.0.0.1", time.Now().Add(-time.Hour))
	ended := &tls.Config{Certificates: []tls.Certificate{endedCert}}
	stranger := newAuthority(t).server("127.0.0.1")
	wantsClient := a.server("127.0.0.1")
	wantsClient.ClientAuth, wantsClient.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
	// In TLS 1.3 the server says so when the handshake is over for us, and what we wrote
	// meanwhile may break the connection before its alert is read.
	wantsClientEarly := wantsClient.Clone()
	wantsClientEarly.MaxVersion = tls.VersionTLS12
	old := a.server("127.0.0.1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11

	hang := func(_ *receiver, conn *tls.Conn) { _, _ = io.Copy(io.Discard, conn.NetConn()) }
	for name, c := range map[string]struct {
		tls   *tls.Config
		serve func(*receiver, *tls.Conn)
		class string
	}{
		"hangs before it greets": {good, hang, export.Unreachable},
		"does not read": {good, func(_ *receiver, conn *tls.Conn) {
			if conn.Handshake() == nil {
				_, _ = io.Copy(io.Discard, conn.NetConn())
			}
		}, export.Unacknowledged},
		"closes at once": {good, func(_ *receiver, conn *tls.Conn) { _ = conn.Handshake(); _ = conn.Close() }, ""},
		"closes in the middle of a batch": {good, func(r *receiver, conn *tls.Conn) {
			_ = r.take(t, conn, 5)
			_ = conn.Close()
		}, ""},
		"says that it ends, and reads no more": {good, func(r *receiver, conn *tls.Conn) {
			_ = r.take(t, conn, 5)
			_ = conn.CloseWrite()
			_, _ = conn.NetConn().Read(make([]byte, 1))
		}, ""},
		"is cut off in the middle of a batch": {good, func(r *receiver, conn *tls.Conn) { _ = r.take(t, conn, 5) }, ""},
		"reads all and ends without a word":   {good, func(r *receiver, conn *tls.Conn) { _ = r.take(t, conn, 1<<30) }, export.Unacknowledged},
		"talks": {good, func(_ *receiver, conn *tls.Conn) {
			_, _ = conn.Write([]byte("hello"))
			_, _ = io.Copy(io.Discard, conn)
		}, export.Unacknowledged},
		"speaks no TLS": {good, func(_ *receiver, conn *tls.Conn) {
			_, _ = conn.NetConn().Write([]byte("220 mail.example.com ESMTP\r\n"))
		}, export.Untrusted},
		"another name":                 {wrongName, obedient(t), export.Untrusted},
		"a certificate that is over":   {ended, obedient(t), export.Untrusted},
		"a stranger's certificate":     {stranger, obedient(t), export.Untrusted},
		"wants our certificate":        {wantsClientEarly, obedient(t), export.Untrusted},
		"wants it behind our greeting": {wantsClient, obedient(t), ""},
		"TLS 1.1":                      {old, obedient(t), export.Untrusted},
	} {
		t.Run(name, func(t *testing.T) {
			bad := listen(t, c.tls, c.serve)
			sink := syslogTo(t, a.dial(bad.Addr().String(), func(s *wire.StreamConfig) { s.HandshakeTimeout = 300 * time.Millisecond }))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			accepted, err := sink.Send(ctx, entries(0, 200))
			if err == nil || accepted.Entries != 0 {
				t.Fatalf("it was accepted: %+v", accepted)
			}
			if got := export.ClassTestOnly(ctx, err); c.class != "" && got != c.class && got != export.TimedOut {
				t.Errorf("class %s, want %s: %v", got, c.class, err)
			}
		})
	}
	t.Run("near miss", func(t *testing.T) {
		siem := listen(t, good, obedient(t))
		if a, err := syslogTo(t, a.dial(siem.Addr().String(), nil)).Send(t.Context(), entries(0, 200)); err != nil || a.Entries != 200 {
			t.Fatal(a, err)
		}
		exactly(t, siem.indexes(), 200)
	})
	t.Run("another name that is expected", func(t *testing.T) {
		siem := listen(t, wrongName, obedient(t))
		dial := a.dial(siem.Addr().String(), func(c *wire.StreamConfig) { c.ServerName = "elsewhere.example.com" })
		if a, err := syslogTo(t, dial).Send(t.Context(), entries(0, 2)); err != nil || a.Entries != 2 {
			t.Fatal(a, err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		_, err = syslogTo(t, a.dial(l.Addr().String(), nil)).Send(t.Context(), entries(0, 2))
		if got := export.ClassTestOnly(t.Context(), err); got != export.Unreachable {
			t.Errorf("class %s: %v", got, err)
		}
	})
	t.Run("an end without a word, where that is all there is", func(t *testing.T) {
		siem := listen(t, good, func(r *receiver, conn *tls.Conn) { _ = r.take(t, conn, 1<<30) })
		sink, err := export.NewSyslog(export.SyslogConfig{Dial: a.dial(siem.Addr().String(), nil), Unconfirmed: true})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := sink.Send(t.Context(), entries(0, 2)); err != nil || a.Entries != 2 {
			t.Fatal(a, err)
		}
	})
}

// A receiver that is bad in another way with each connection gets every entry, once or
// more, in order.
func TestSyslogComesBack(t *testing.T) {
	r := newRig(t, storetest.SQLite(t))
	a := newAuthority(t)
	var n int
	var mu sync.Mutex
	siem := listen(t, a.server("127.0.0.1"), func(rec *receiver, conn *tls.Conn) {
		mu.Lock()
		n++
		turn := n
		mu.Unlock()
		switch {
		case turn > 12:
			obedient(t)(rec, conn)
		case turn%3 == 0:
			_ = rec.take(t, conn, turn)
			_ = conn.Close()
		case turn%3 == 1:
			_ = rec.take(t, conn, turn)
		default:
			_ = rec.take(t, conn, 1<<30)
		}
	})
	r.calls(300)
	stop := r.export(r.config(export.Target{Name: "siem", Sink: syslogTo(t, a.dial(siem.Addr().String(), nil))}))
	r.reached("siem", 300)
	stop()
	// A connection that broke is read to where it broke, so that the next begins again.
	seen := map[int64]bool{}
	for _, index := range siem.indexes() {
		if index > 0 && !seen[index-1] {
			t.Fatalf("entry %d came before %d", index, index-1)
		}
		seen[index] = true
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 entries came", len(seen))
	}
}

func TestSyslogFormatRefuses(t *testing.T) {
	for name, f := range map[string]export.SyslogFormat{
		"facility":       {Facility: 24},
		"less":           {Facility: -1},
		"host":           {Hostname: "gate 1"},
		"id":             {ID: "gatehouse"},
		"id of letters":  {ID: "gatehouse@x"},
		"id that breaks": {ID: `a"]@1`},
		"short":          {MaxMessage: 2047},
		"long":           {MaxMessage: 1 << 30},
	} {
		if _, err := f.WithDefaults(); !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := export.SyslogFormat{Facility: 23, Hostname: "gate-1", ID: "audit@48577", MaxMessage: 2048}
	if got, err := f.WithDefaults(); err != nil || got != f {
		t.Errorf("near miss: %+v, %v", got, err)
	}
	if _, err := export.NewSyslog(export.SyslogConfig{}); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("no way to connect: %v", err)
	}
}
