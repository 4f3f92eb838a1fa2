package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/identity"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// The services and purposes of the tests' configuration.
const (
	reports   = gatehouse.ServiceName("reports")   // has two purposes
	scheduler = gatehouse.ServiceName("scheduler") // has one
)

// rig is a proxy on a real store, log and vault, with third parties on loopback. The
// entries that it wrote verify at the end of each test, and hold no key.
type rig struct {
	t      testing.TB
	dir    string
	db     *store.DB
	vault  *vault.Vault
	log    *audit.Log
	verify note.Verifier
	known  *identity.Directory
	keys   map[gatehouse.ServiceName]string
	ca     *wire.CA
	caPEM  []byte
	pool   *x509.CertPool
	party  *party // segment.test, with TLS
	plain  *party // the same without
	config egress.Config
	proxy  *egress.Proxy
	// applied are the settings that route put into force.
	applied *egress.Settings
	url     string // of the listener
	lines   lockedBuffer
	full    atomic.Bool // the log's disk is full
	stop    func()      // of listener and proxy, once

	mu       sync.Mutex
	resolved []string            // hosts that were resolved
	names    map[string][]string // where names lead
}

// party is somebody else: what it was sent.
type party struct {
	*httptest.Server
	mu   sync.Mutex
	got  []arrival
	conn atomic.Int32 // connections that were made
}

type arrival struct {
	Method, Host, URI, Proto string
	Header                   http.Header
	Trailer                  http.Header
	Body                     string
	Encoding                 []string
	Length                   int64
}

func (p *party) arrived() []arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got
}

func (p *party) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // it broke off: not a request
	}
	p.mu.Lock()
	p.got = append(p.got, arrival{r.Method, r.Host, r.RequestURI, r.Proto, r.Header.Clone(), r.Trailer, string(body), r.TransferEncoding, r.ContentLength})
	p.mu.Unlock()
	w.Header().Set("X-Party", "yes")
	w.Header().Set("Connection", "X-Hop")
	w.Header().Set("X-Hop", "1")
	_, _ = io.WriteString(w, "got "+r.URL.Path)
}

func newParty(t testing.TB, ca *wire.CA, names ...string) *party {
	t.Helper()
	p := &party{}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	p.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			p.conn.Add(1)
		}
	}
	if ca == nil {
		p.Start()
	} else {
		leaf, err := ca.Issue(names, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.TLS = &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS12}
		p.EnableHTTP2 = true
		p.StartTLS()
	}
	t.Cleanup(p.Close)
	return p
}

func (p *party) address() netip.AddrPort { return netip.MustParseAddrPort(p.Listener.Addr().String()) }

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fullDisk is the log's store, which can be made to refuse writing.
type fullDisk struct {
	audit.Store
	full *atomic.Bool
}

func (s fullDisk) Append(ctx context.Context, expect audit.Head, b audit.Batch) error {
	if s.full.Load() {
		return errors.New("no space left on device")
	}
	return s.Store.Append(ctx, expect, b)
}

// options change the rig before it starts.
type options struct {
	report bool
	tls    bool // the listener speaks TLS
	change func(*egress.Config)
	listen func(*wire.ServerConfig)
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), names: map[string][]string{}, keys: map[gatehouse.ServiceName]string{}}
	loopback := []net.IPNet{{IP: net.IPv4(127, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
	cert, key, err := wire.NewCA("Test CA", []string{"localhost", "test"}, loopback, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if r.ca, err = wire.OpenCA(cert, key); err != nil {
		t.Fatal(err)
	}
	r.caPEM, r.pool = cert, r.ca.Pool()
	r.party = newParty(t, r.ca, "segment.test", "other.test", "xn--bcher-kva.test")
	r.plain = newParty(t, nil)
	r.openStores()
	r.configure(o)
	r.serve(o)
	t.Cleanup(r.check)
	return r
}

func (r *rig) openStores() {
	t, ctx := r.t, r.t.Context()
	dsn := "sqlite:" + filepath.Join(r.dir, "gatehouse.db")
	if err := store.Create(ctx, dsn); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.db, err = store.Open(ctx, dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.db.Close() })
	rootFile := filepath.Join(t.TempDir(), "root.key")
	if err := vault.CreateRootKeyFile(rootFile); err != nil {
		t.Fatal(err)
	}
	root, err := vault.NewFileRootKey(rootFile)
	if err != nil {
		t.Fatal(err)
	}
	vc := vault.Config{Root: root, Store: r.db.Vault(), Environment: "test"}
	if err := vault.Init(ctx, vc); err != nil {
		t.Fatal(err)
	}
	if r.vault, err = vault.Open(ctx, vc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.vault.Close)
	private, public, err := note.GenerateKey(rand.Reader, "gatehouse/test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	if r.verify, err = note.NewVerifier(public); err != nil {
		t.Fatal(err)
	}
	r.log, err = audit.Open(ctx, audit.Config{
		Store: fullDisk{r.db.Audit(), &r.full}, Signer: signer, Environment: "test", Seal: r.vault.SealPersonal,
		OnFault: func(err error) {
			if !r.full.Load() {
				t.Errorf("log: %v", err)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.log.Run(run) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("running the log: %v", err)
		}
	})
	if r.known, err = identity.New(identity.Config{Store: r.db.Identity(), Log: r.log, Derive: r.vault.Derive, Environment: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := r.known.EnsureServices(ctx, []gatehouse.ServiceName{reports, scheduler}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []gatehouse.ServiceName{reports, scheduler} {
		key, err := r.known.NewServiceKey(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		r.keys[name] = key.Reveal()
	}
}

// destinations are the third parties of the tests' configuration.
func destinations() []policy.Destination {
	both := []gatehouse.PurposeName{"analytics"}
	return []policy.Destination{
		{Host: "segment.test", Purposes: both, MayReceive: []gatehouse.DataClass{gatehouse.PseudonymousID}, Ports: []uint16{8443}},
		{Host: "other.test", Purposes: []gatehouse.PurposeName{"publish"}},
		{Host: "plain.test", Purposes: both, Ports: []uint16{8080}},
		{Host: "inspected.test", Purposes: both, MayReceive: []gatehouse.DataClass{gatehouse.EmailAddress}, Inspect: true},
		{Host: "office.test", Purposes: both},
		{Host: "public.test", Purposes: both},
		{Host: "xn--bcher-kva.test", Purposes: both},
		{Host: "192.0.2.7", Purposes: both},
		{Host: "2001:db8::7", Purposes: both},
		{Host: "169.254.169.254", Purposes: both},
		{Host: "127.0.0.1", Purposes: both},
	}
}

// settings are the tests' configuration.
func (r *rig) settings(mode policy.Mode, list []policy.Destination) egress.Settings {
	r.t.Helper()
	set, err := policy.Compile([]policy.Purpose{{Name: "analytics", Why: "See what is used"}, {Name: "publish", Why: "Publish"}}, mode)
	if err != nil {
		r.t.Fatal(err)
	}
	if set, err = set.WithDestinations(list); err != nil {
		r.t.Fatal(err)
	}
	with := egress.Route{Address: r.party.address(), Roots: r.pool}
	return egress.Settings{
		Policy: set,
		Services: map[gatehouse.ServiceName]egress.Service{
			reports:   {Purposes: []gatehouse.PurposeName{"analytics", "publish"}},
			scheduler: {Purposes: []gatehouse.PurposeName{"publish"}, Sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
		},
		Routes: map[string]egress.Route{
			"segment.test": with, "other.test": with, "inspected.test": with, "xn--bcher-kva.test": with, "192.0.2.7": with, "2001:db8::7": with,
			"plain.test": {Address: r.plain.address()}, "office.test": {Private: true},
		},
	}
}

func (r *rig) configure(o options) {
	t := r.t
	dialer, err := wire.NewDialer(wire.DialerConfig{
		Own: []string{"gatehouse.test:443"}, Timeout: 30 * time.Second,
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.resolved = append(r.resolved, host)
			leads := r.names[host]
			if len(leads) == 0 {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
			out := make([]netip.Addr, 0, len(leads))
			for _, a := range leads {
				out = append(out, netip.MustParseAddr(a))
			}
			return out, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mode := policy.Enforce
	if o.report {
		mode = policy.Report
	}
	r.config = egress.Config{
		Surface: &wire.Surface{Name: "proxy", Log: slog.New(slog.NewJSONHandler(&r.lines, nil))},
		Dialer:  dialer, Log: r.log, Directory: r.known, Settings: r.settings(mode, destinations()),
		Platform: func(host string) bool { return host == "api.x.com" || host == "graph.facebook.com" },
		Limits:   egress.Limits{Grace: time.Millisecond},
	}
	if o.change != nil {
		o.change(&r.config)
	}
}

func (r *rig) serve(o options) {
	t := r.t
	var err error
	if r.proxy, err = egress.New(r.config); err != nil {
		t.Fatal(err)
	}
	sc := wire.ServerConfig{Addr: "127.0.0.1:0", Handler: r.proxy.Handler(), OnlyHTTP1: true, Grace: 500 * time.Millisecond}
	if o.tls {
		sc.TLS = r.ca.ServerTLS([]string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)})
	}
	if o.listen != nil {
		o.listen(&sc)
	}
	server, err := wire.Listen(sc)
	if err != nil {
		t.Fatal(err)
	}
	r.url = server.URL()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- server.Run(ctx) }()
	go func() { done <- r.proxy.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		stop()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("stopping: %v", err)
			}
		}
	})
	t.Cleanup(func() { r.stop() })
}

// check looks at what every test must leave behind: a log that verifies, with an
// outcome for each intent, and no key anywhere.
func (r *rig) check() {
	t := r.t
	r.stop()
	r.full.Store(false)
	if err := r.log.Flush(context.Background()); err != nil {
		t.Errorf("flushing the log: %v", err)
	}
	report, err := audit.Verify(context.Background(), r.db.Audit(), r.verify, audit.VerifyOptions{})
	if err != nil {
		t.Errorf("verifying the log: %v", err)
	} else if !report.OK() || report.OpenCount != 0 {
		t.Errorf("the log does not verify: %+v", report)
	}
	lines := r.lines.String()
	for _, e := range r.entries() {
		lines += string(e.Operation) + e.Rule
		for k, v := range e.Facts {
			lines += k + v
		}
	}
	for name, key := range r.keys {
		if strings.Contains(lines, key) || strings.Contains(lines, base64.StdEncoding.EncodeToString([]byte(key))) {
			t.Errorf("the key of %s stands in the log", name)
		}
	}
}

// entries returns what the log says, without what opening the rig wrote.
func (r *rig) entries() []audit.Shown {
	r.t.Helper()
	if err := r.log.Flush(context.Background()); err != nil {
		r.t.Fatal(err)
	}
	all, err := audit.List(context.Background(), r.db.Audit(), audit.Filter{Last: 10_000})
	if err != nil {
		r.t.Fatal(err)
	}
	out := all[:0]
	for _, e := range all {
		if !strings.HasPrefix(e.Action, "service.") {
			out = append(out, e)
		}
	}
	return out
}

// last returns the newest entry of a kind.
func (r *rig) last(kind string) audit.Shown {
	r.t.Helper()
	list := r.entries()
	for i := range list {
		if e := list[len(list)-1-i]; e.Kind == kind {
			return e
		}
	}
	r.t.Fatalf("there is no %s", kind)
	return audit.Shown{}
}

// sealed opens what an entry says that is nobody's by name.
func (r *rig) sealed(e audit.Shown) string {
	r.t.Helper()
	plain, err := r.vault.OpenPersonal(context.Background(), "", audit.SealContext(e.ID), e.Sealed)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(plain)
}

// proxyURL is what an app writes into HTTPS_PROXY.
func (r *rig) proxyURL(purpose string, service gatehouse.ServiceName) *url.URL {
	u, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	u.User = url.UserPassword(purpose, r.keys[service])
	return u
}

// client goes through the proxy.
func (r *rig) client(purpose string, service gatehouse.ServiceName) *http.Client {
	transport := &http.Transport{
		Proxy: http.ProxyURL(r.proxyURL(purpose, service)), TLSClientConfig: &tls.Config{RootCAs: r.pool}, ForceAttemptHTTP2: true,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, reply *http.Response) error {
			if reply.StatusCode == http.StatusOK {
				return nil
			}
			body, _ := io.ReadAll(io.LimitReader(reply.Body, 1<<16))
			return &answer{status: reply.StatusCode, header: reply.Header, body: string(body)}
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// answer is what the proxy said to a CONNECT, or to anything else.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a *answer) Error() string { return http.StatusText(a.status) + " " + a.body }

// rule is the rule in a problem document.
func (a *answer) rule() string {
	_, rest, _ := strings.Cut(a.body, `"rule":"`)
	rule, _, _ := strings.Cut(rest, `"`)
	return rule
}

// credentials is the header of the tests' usual caller.
func (r *rig) credentials() string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("analytics:"+r.keys[reports])) + "\r\n"
}

// dial opens a bare connection to the proxy.
func (r *rig) dial() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	u, err := url.Parse(r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		r.t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// raw sends bytes as they are and returns the answer.
func (r *rig) raw(text string) *answer {
	r.t.Helper()
	conn, read := r.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		r.t.Fatal(err)
	}
	return r.read(read, text)
}

func (r *rig) read(read *bufio.Reader, request string) *answer {
	r.t.Helper()
	method, _, _ := strings.Cut(request, " ")
	reply, err := http.ReadResponse(read, &http.Request{Method: method})
	if err != nil {
		r.t.Fatalf("%.60q: %v", request, err)
	}
	if method == http.MethodConnect && reply.StatusCode == http.StatusOK {
		return &answer{status: reply.StatusCode, header: reply.Header}
	}
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return &answer{status: reply.StatusCode, header: reply.Header, body: string(body)}
}

// connect asks for a tunnel as the tests' usual caller.
func (r *rig) connect(target string) *answer {
	r.t.Helper()
	return r.raw("CONNECT " + target + " HTTP/1.1\r\nHost: what-this-says-counts-for-nothing\r\n" + r.credentials() + "\r\n")
}

// refused checks status and rule, and that the log's entry is the one that the answer
// names.
func (r *rig) refused(name string, a *answer, status int, rule string) {
	r.t.Helper()
	if a.status != status || a.rule() != rule {
		r.t.Errorf("%s: %d %s; want %d %s", name, a.status, a.body, status, rule)
		return
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		r.t.Errorf("%s: the refusal is %s", name, got)
	}
	if status < 500 {
		e := r.last(audit.KindEvent)
		if e.Verdict != "refuse" || e.Rule != rule || e.Status != status || !strings.Contains(a.body, `"instance":"`+e.ID+`"`) {
			r.t.Errorf("%s: the newest refusal in the log is %+v, and the answer %s", name, e.Leaf, a.body)
		}
	}
}

// apply puts other settings into force.
func (r *rig) apply(mode policy.Mode, list []policy.Destination) {
	r.t.Helper()
	if err := r.proxy.Apply(r.settings(mode, list)); err != nil {
		r.t.Fatal(err)
	}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(list))
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func itoa(n int) string { return strconv.Itoa(n) }

// routePrivate is a route into one's own networks.
var routePrivate = egress.Route{Private: true}

// listen opens one more listener of this process.
func (r *rig) listen(addr string) *wire.Server {
	r.t.Helper()
	s, err := wire.Listen(wire.ServerConfig{Addr: addr, AllowPlain: true, Handler: http.NotFoundHandler()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	return s
}

// ports is the port of an address, as a destination declares it.
func ports(t testing.TB, address string) []uint16 {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return []uint16{uint16(n)}
}

// machineAddress is an address of this machine, which need not be loopback.
func machineAddress(t testing.TB) string {
	t.Helper()
	ours, err := net.InterfaceAddrs()
	if err != nil || len(ours) == 0 {
		t.Fatal("this machine has no address", err)
	}
	for _, a := range ours {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr().String()
		}
	}
	return "127.0.0.1"
}

// route leads a destination to an address.
func (r *rig) route(host string, to netip.AddrPort) {
	r.t.Helper()
	s := r.settings(policy.Enforce, destinations())
	s.Routes[host] = egress.Route{Address: to, Roots: r.pool}
	r.applied = &s
	if err := r.proxy.Apply(s); err != nil {
		r.t.Fatal(err)
	}
}

// serving is a destination that does what it wants with each connection.
func serving(t testing.TB, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// answering is a destination that reads one request's header and sends some bytes.
func answering(t testing.TB, text string) netip.AddrPort {
	return serving(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, text)
		}
	})
}

// until waits for something that another goroutine is about to bring about.
func until(t testing.TB, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not come about")
		}
	}
}

// refuseRate is what a service over its rate gets.
var refuseRate = wire.Refuse(gatehouse.ErrLimited, "limit/service-rate", "too fast")

// lie makes a ClientHello whose lengths do not fit.
func lie(hello []byte) []byte {
	out := bytes.Clone(hello)
	out[5+4+2+32]++ // the length of the session's id
	return out
}

// twoNames is a ClientHello with two lists of server names.
func twoNames(t testing.TB, names ...string) []byte {
	t.Helper()
	var extensions []byte
	for _, name := range names {
		list := append([]byte{0, byte(len(name) >> 8), byte(len(name))}, name...)
		data := append([]byte{byte(len(list) >> 8), byte(len(list))}, list...)
		extensions = append(extensions, 0, 0, byte(len(data)>>8), byte(len(data)))
		extensions = append(extensions, data...)
	}
	body := append(make([]byte, 34), 0, 0, 2, 0x13, 1, 1, 0)
	body = append(body, byte(len(extensions)>>8), byte(len(extensions)))
	body = append(body, extensions...)
	message := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}

// fragmented puts each byte of a record's content into a record of its own.
func fragmented(record []byte) []byte {
	var out []byte
	for _, b := range record[5:] {
		out = append(out, 22, 3, 1, 0, 1, b)
	}
	return out
}

// tlsEcho serves a handshake like WebSocket's and sends back what comes.
func tlsEcho(t testing.TB, leaf *tls.Certificate) netip.AddrPort {
	return serving(t, func(bare net.Conn) {
		conn := tls.Server(bare, &tls.Config{Certificates: []tls.Certificate{*leaf}, MinVersion: tls.VersionTLS12})
		read := bufio.NewReader(conn)
		if _, err := http.ReadRequest(read); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, read)
	})
}

// waiting is a destination that takes a request and answers nothing.
func waiting(t testing.TB, arrived chan<- struct{}, hold <-chan struct{}) netip.AddrPort {
	return serving(t, func(net.Conn) {
		arrived <- struct{}{}
		<-hold
	})
}
