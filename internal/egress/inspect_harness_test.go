package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"golang.org/x/mod/sumdb/note"
)

// The destination of these tests, and what may not be sent there.
const (
	thirdParty  = "api.example.com"
	adasAddress = "ada@lovelace.example"
)

// finder is a small inspector: it looks for literal texts.
type finder struct {
	words []string

	mu    sync.Mutex
	seen  []string // where a word stood: "body", "header Name", "url"
	texts []string // the names of headers that were shown
	open  int      // inspections that are not closed
	made  int
	taken []bool // for each TakeBack, whether some may have left
}

func (f *finder) Inspect(t egress.Transfer) egress.Inspection {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open++
	f.made++
	return &finding{finder: f, transfer: t}
}

func (f *finder) found(where string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, where)
}

// places returns where words stood so far.
func (f *finder) places() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

type auditShown = audit.Shown

type finding struct {
	finder   *finder
	transfer egress.Transfer
	tail     []byte // the end of the body: the beginning of a word, perhaps
	total    int64
	hit      bool
	closed   bool
}

func (i *finding) Text(where egress.Where, name, value string) {
	i.finder.mu.Lock()
	i.finder.texts = append(i.finder.texts, name)
	i.finder.mu.Unlock()
	for _, w := range i.finder.words {
		if strings.Contains(name+": "+value, w) {
			i.hit = true
			i.finder.found(strings.TrimSpace(string(where) + " " + name))
		}
	}
}

func (i *finding) Write(p []byte) (int, error) {
	if i.closed {
		panic("written to after Close")
	}
	i.total += int64(len(p))
	all := append(i.tail, p...)
	keep := 0
	for _, w := range i.finder.words {
		if bytes.Contains(all, []byte(w)) {
			i.hit = true
			i.finder.found("body")
			all = nil
		}
		for n := min(len(w)-1, len(all)); n > keep; n-- {
			if bytes.HasSuffix(all, []byte(w[:n])) {
				keep = n
				break
			}
		}
	}
	i.tail = slices.Clone(all[len(all)-min(keep, len(all)):])
	return len(p), nil
}

func (i *finding) verdict() error {
	if i.hit && !i.transfer.Report {
		return wire.Refuse(gatehouse.ErrDenied, "egress/personal-data", "this destination may not have what the request holds")
	}
	return nil
}

func (i *finding) Judge(context.Context) (int64, error) {
	if i.closed {
		panic("judged after Close")
	}
	return i.total - int64(len(i.tail)), i.verdict()
}

func (i *finding) End(context.Context) error { return i.verdict() }

func (i *finding) TakeBack(_ context.Context, left bool) error {
	if i.closed {
		panic("taken back after Close")
	}
	i.finder.mu.Lock()
	defer i.finder.mu.Unlock()
	i.finder.taken = append(i.finder.taken, left)
	return nil
}

// takenBack returns and forgets what was taken back.
func (f *finder) takenBack() []bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	taken := f.taken
	f.taken = nil
	return taken
}

func (i *finding) Close() {
	if i.closed {
		panic("closed twice")
	}
	i.closed = true
	i.finder.mu.Lock()
	defer i.finder.mu.Unlock()
	i.finder.open--
}

// site is a destination on loopback with a certificate of its own authority.
type site struct {
	t      testing.TB
	addr   string
	roots  *x509.CertPool
	server *httptest.Server
	wrap   func(net.Conn) net.Conn // what is dialled; nil leaves it as it is

	mu     sync.Mutex
	dialed int
}

// newSite serves handler over TLS as the host; without HTTP/2 when told so.
func newSite(t testing.TB, host string, http2 bool, handler http.Handler) *site {
	t.Helper()
	certPEM, key, err := wire.NewCA("the destination's CA", []string{host}, nil, 1e15)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := wire.OpenCA(certPEM, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, roots: ca.Pool()}
	s.server = httptest.NewUnstartedServer(handler)
	s.server.TLS = ca.ServerTLS([]string{host}, nil)
	s.server.EnableHTTP2 = http2
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that the tests let fail
	if !http2 {
		s.server.TLS.NextProtos = []string{"http/1.1"}
	}
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	s.addr = s.server.Listener.Addr().String()
	return s
}

func (s *site) dial(ctx context.Context) (net.Conn, error) {
	s.mu.Lock()
	s.dialed++
	s.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", s.addr)
	if err != nil || s.wrap == nil {
		return conn, err
	}
	return s.wrap(conn), nil
}

func (s *site) dials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dialed
}

// memorySecrets keeps the authority in memory.
type memorySecrets struct {
	mu    sync.Mutex
	texts map[string]secret.Text
	// between runs before a swap, for a test that lets somebody else be faster.
	between func()
}

func (m *memorySecrets) System(_ context.Context, name string) (secret.Text, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, ok := m.texts[name]
	if !ok {
		return secret.Text{}, gatehouse.ErrNotFound
	}
	return text, nil
}

func (m *memorySecrets) SwapSystem(_ context.Context, name string, from, to secret.Text) error {
	if f := m.between; f != nil {
		m.between = nil
		f()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.texts[name].Equal(from) {
		return gatehouse.ErrConflict
	}
	if m.texts == nil {
		m.texts = map[string]secret.Text{}
	}
	m.texts[name] = to
	return nil
}

// inspectProxy is a proxy that carries every CONNECT to the site, looked into.
type inspectProxy struct {
	t         testing.TB
	finder    *finder
	site      *site
	authority *egress.Authority
	roots     *x509.CertPool // what the app trusts: the authority for inspection
	caFile    []byte
	log       *audit.Log
	store     audit.ListStore
	proxy     *url.URL
	terminate egress.Terminate

	mu     sync.Mutex
	errs   []error
	report bool
	// service is who sends; see as.
	service gatehouse.ServiceName
	done    sync.WaitGroup
}

// newLook starts a proxy in front of a site; change may change its configuration.
func newLook(t testing.TB, s *site, change func(*egress.InspectConfig)) *inspectProxy {
	t.Helper()
	l := &inspectProxy{t: t, site: s, service: "shop", finder: &finder{words: []string{adasAddress}}}
	var err error
	l.authority, err = egress.NewAuthority(egress.AuthorityConfig{Secrets: &memorySecrets{}, Environment: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.authority.Use(t.Context(), []string{thirdParty}); err != nil {
		t.Fatal(err)
	}
	l.roots = x509.NewCertPool()
	for _, a := range l.authority.Trusted() {
		l.caFile = append(l.caFile, a.PEM...)
	}
	l.roots.AppendCertsFromPEM(l.caFile)
	l.openLog()
	config := egress.InspectConfig{Inspector: l.finder, Certificate: l.authority.Leaf, Log: l.log}
	if change != nil {
		change(&config)
	}
	l.terminate, err = egress.NewTerminate(config)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.proxy = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	l.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			l.done.Go(func() { l.tunnel(ctx, conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		cancel()
		l.done.Wait()
		l.finder.mu.Lock()
		defer l.finder.mu.Unlock()
		if l.finder.open != 0 {
			t.Errorf("%d inspections were not closed", l.finder.open)
		}
	})
	return l
}

func (l *inspectProxy) openLog() {
	l.t.Helper()
	db := storetest.Open(l.t, storetest.SQLite(l.t))
	private, _, err := note.GenerateKey(rand.Reader, audit.Origin("production", "test"))
	if err != nil {
		l.t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		l.t.Fatal(err)
	}
	l.store = db.Audit()
	if l.log, err = audit.Open(l.t.Context(), audit.Config{
		Store: db.Audit(), Signer: signer, Environment: "production",
		Seal: func(_ context.Context, _ gatehouse.PersonID, _ string, plain []byte) ([]byte, error) {
			return plain, nil
		},
	}); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.log.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		<-ended
	})
}

// bufferedConn reads first what was read ahead.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

func (l *inspectProxy) tunnel(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r := bufio.NewReader(conn)
	request, err := http.ReadRequest(r)
	if err != nil || request.Method != http.MethodConnect {
		return
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	l.mu.Lock()
	report, service := l.report, l.service
	l.mu.Unlock()
	err = l.terminate(ctx, &bufferedConn{conn, r}, egress.Inspected{
		Transfer: egress.Transfer{Service: service, Purpose: "mail", Destination: thirdParty, Report: report},
		Port:     443, Dial: l.site.dial, Roots: l.site.roots, Carried: new(egress.Carried),
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

// as has the tunnels from now on be another service's.
func (l *inspectProxy) as(service gatehouse.ServiceName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.service = service
}

// client is an app that trusts the authority for inspection and nothing else.
func (l *inspectProxy) client(http2 bool) *http.Client {
	l.t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	transport := &http.Transport{
		Proxy: http.ProxyURL(l.proxy), TLSClientConfig: &tls.Config{RootCAs: l.roots, MinVersion: tls.VersionTLS12}, Protocols: protocols,
		DisableCompression: true,
	}
	l.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// connect opens a tunnel by hand and returns what is in it.
func (l *inspectProxy) connect() net.Conn {
	l.t.Helper()
	conn, err := net.Dial("tcp", l.proxy.Host)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "CONNECT "+thirdParty+":443 HTTP/1.1\r\nHost: "+thirdParty+":443\r\n\r\n"); err != nil {
		l.t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	reply, err := http.ReadResponse(r, nil)
	if err != nil || reply.StatusCode != http.StatusOK {
		l.t.Fatalf("CONNECT: %v, %v", reply, err)
	}
	return &bufferedConn{conn, r}
}

// secured is connect with TLS on top.
func (l *inspectProxy) secured(protocols ...string) *tls.Conn {
	l.t.Helper()
	conn := tls.Client(l.connect(), &tls.Config{RootCAs: l.roots, ServerName: thirdParty, NextProtos: protocols, MinVersion: tls.VersionTLS12})
	if err := conn.Handshake(); err != nil {
		l.t.Fatal(err)
	}
	return conn
}

// tunnelErrors closes nothing and returns how the tunnels ended so far.
func (l *inspectProxy) tunnelErrors() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.errs)
}

// entries returns the requests that stand in the log, the newest first, when every
// intent has its outcome.
func (l *inspectProxy) entries() []audit.Shown {
	l.t.Helper()
	for {
		if err := l.log.Flush(l.t.Context()); err != nil {
			l.t.Fatal(err)
		}
		all, err := audit.List(l.t.Context(), l.store, audit.Filter{Last: 1000, Action: "egress.request"})
		if err != nil {
			l.t.Fatal(err)
		}
		open := 0
		for _, e := range all {
			switch e.Kind {
			case audit.KindIntent:
				open++
			case audit.KindOutcome:
				open--
			}
		}
		if open == 0 {
			return all
		}
		runtime.Gosched()
	}
}

// read returns a reply's body and closes it.
func read(t testing.TB, r *http.Response) string {
	t.Helper()
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return string(b)
}

// rule returns the rule of a problem document.
func rule(t testing.TB, r *http.Response) string {
	t.Helper()
	body := read(t, r)
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the answer %d is %q, want a problem document: %s", r.StatusCode, got, body)
	}
	_, after, _ := strings.Cut(body, `"rule":"`)
	found, _, _ := strings.Cut(after, `"`)
	return found
}
