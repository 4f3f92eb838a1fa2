package egress_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// bothProtocols runs a test over HTTP/1.1 and HTTP/2, on both sides of the proxy.
func bothProtocols(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Helper()
	for name, http2 := range map[string]bool{"http/1.1": false, "h2": true} {
		t.Run(name, func(t *testing.T) { test(t, http2) })
	}
}

const base = "https://" + thirdParty

// echo answers with what it got.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	fmt.Fprintf(w, "%s %s %s %s", r.Proto, r.Method, r.URL.RequestURI(), body)
}

func TestInspectedRequestsPass(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		var got http.Header
		s := newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Clone()
			w.Header().Set("X-Kept", "yes")
			echo(w, r)
		}))
		l := newLook(t, s, nil)
		client := l.client(http2)
		proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[http2]
		for _, c := range []struct{ method, path, body string }{
			{"GET", "/a%2Fb?q=%7e;x&&y", ""},
			{"POST", "/", "small"},
			{"PUT", "//double?", strings.Repeat("large ", 100_000)},
			{"DELETE", "/x", ""},
		} {
			r, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer theirs")
			r.Header.Set("Cookie", "a=b")
			r.Header.Set("X-Forwarded-For", "as it was")
			r.Header["User-Agent"] = nil
			reply, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s %s: %v", c.method, c.path, err)
			}
			if want, body := proto+" "+c.method+" "+c.path+" "+c.body, read(t, reply); body != want || reply.Proto != proto || reply.Header.Get("X-Kept") != "yes" {
				t.Errorf("%s %s: %s, %.80q, want %.80q", c.method, c.path, reply.Proto, body, want)
			}
			for name, want := range map[string]string{"Authorization": "Bearer theirs", "Cookie": "a=b", "X-Forwarded-For": "as it was", "User-Agent": "", "Via": ""} {
				if got.Get(name) != want {
					t.Errorf("%s arrives as %q, want %q", name, got.Get(name), want)
				}
			}
			if reply.Header.Get("Gatehouse-Request") != "" {
				t.Error("the answer has a header of ours")
			}
		}
		if n := s.dials(); n != 1 {
			t.Errorf("%d connections to the destination for one of the app's, want 1", n)
		}
		if places := l.finder.places(); len(places) != 0 {
			t.Errorf("found %v", places)
		}
		entries := l.entries()
		if len(entries) != 8 {
			t.Fatalf("%d entries, want 4 intents and 4 outcomes", len(entries))
		}
		for _, e := range entries {
			if e.Verdict != "allow" && (e.Verdict != "done" || e.Status != 200 || e.Facts["host"] != thirdParty || e.Facts["received"] == "0") {
				t.Errorf("an entry says %q, %d, %v", e.Verdict, e.Status, e.Facts)
			}
		}
	})
}

// reached counts what arrives at a destination.
type reached struct {
	mu       sync.Mutex
	requests int
	bodies   bytes.Buffer
	broken   int
}

func (d *reached) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.requests++
	d.mu.Unlock()
	buffer := make([]byte, 1024)
	for {
		n, err := r.Body.Read(buffer)
		d.mu.Lock()
		d.bodies.Write(buffer[:n])
		if err != nil && !errors.Is(err, io.EOF) {
			d.broken++
		}
		d.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (d *reached) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.bodies.String()
}

// Each place in which something may stand that must not be sent, with a near miss.
func TestWhatMayNotBeSentIsStopped(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 64<<10)
	bothProtocols(t, func(t *testing.T, http2 bool) {
		for name, c := range map[string]struct {
			place string
			build func(word string) *http.Request
			// begun means that the destination may see a beginning.
			begun bool
		}{
			"path":  {"url", func(word string) *http.Request { return request("GET", base+"/u/"+word, nil) }, false},
			"query": {"url", func(word string) *http.Request { return request("GET", base+"/?email="+word, nil) }, false},
			"header": {"header X-User", func(word string) *http.Request {
				r := request("GET", base, nil)
				r.Header.Set("X-User", word)
				return r
			}, false},
			"cookie": {"header Cookie", func(word string) *http.Request {
				r := request("GET", base, nil)
				r.Header.Set("Cookie", "u="+word)
				return r
			}, false},
			"authorization": {"header Authorization", func(word string) *http.Request {
				r := request("GET", base, nil)
				r.Header.Set("Authorization", "Basic "+word)
				return r
			}, false},
			"small body":    {"body", func(word string) *http.Request { return request("POST", base, strings.NewReader("to "+word)) }, false},
			"end of a body": {"body", func(word string) *http.Request { return request("POST", base, strings.NewReader(long+word)) }, true},
			"middle of a body of unknown length": {"body", func(word string) *http.Request {
				return request("POST", base, io.MultiReader(strings.NewReader(long[:1000]), strings.NewReader(word), strings.NewReader(long)))
			}, true},
			"piece by piece": {"body", func(word string) *http.Request {
				var pieces []io.Reader
				for i := range word {
					pieces = append(pieces, strings.NewReader(word[i:i+1]))
				}
				return request("POST", base, io.MultiReader(pieces...))
			}, true},
			"trailer": {"header X-Sum", func(word string) *http.Request {
				r := request("POST", base, io.MultiReader(strings.NewReader("text")))
				r.Trailer = http.Header{"X-Sum": {word}}
				return r
			}, true},
		} {
			t.Run(name, func(t *testing.T) {
				arrived := &reached{}
				l := newLook(t, newSite(t, thirdParty, true, arrived), nil)
				client := l.client(http2)
				reply, err := client.Do(c.build(adasAddress))
				switch {
				case err == nil:
					if got := rule(t, reply); reply.StatusCode != http.StatusForbidden || got != "egress/personal-data" {
						t.Errorf("answered %d with rule %q, want 403", reply.StatusCode, got)
					}
				case !c.begun:
					t.Errorf("broken off without an answer: %v", err)
				}
				if got := l.finder.places(); !slices.Equal(got, []string{c.place}) {
					t.Errorf("found in %q, want %q", got, c.place)
				}
				if strings.Contains(arrived.text(), adasAddress) {
					t.Error("it arrived")
				}
				if !c.begun && arrived.requests > 0 {
					t.Error("the destination saw a request that was refused before anything is sent")
				}

				near := adasAddress[:len(adasAddress)-1] + "_"
				reply, err = client.Do(c.build(near))
				if err != nil {
					t.Fatalf("the near miss: %v", err)
				}
				if read(t, reply); reply.StatusCode != http.StatusOK {
					t.Errorf("the near miss is answered with %d", reply.StatusCode)
				}

				client.CloseIdleConnections()
				found := false
				for _, e := range l.entries() {
					found = found || e.Verdict == "aborted" && e.Rule == "egress/personal-data"
				}
				if !found {
					t.Error("the outcome does not stand in the log")
				}

				l.mu.Lock()
				l.report = true
				l.mu.Unlock()
				reply, err = l.client(http2).Do(c.build(adasAddress))
				if err != nil {
					t.Fatalf("in report mode: %v", err)
				}
				if read(t, reply); reply.StatusCode != http.StatusOK || len(l.finder.places()) != 2 {
					t.Errorf("in report mode: %d, found %v", reply.StatusCode, l.finder.places())
				}
			})
		}
	})
}

func request(method, url string, body io.Reader) *http.Request {
	r, err := http.NewRequest(method, url, body) //nolint:noctx // a test's
	if err != nil {
		panic(err)
	}
	return r
}

func TestTrailersPassBothWays(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		var got http.Header
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", "X-Announced")
			_, _ = io.Copy(w, r.Body)
			got = r.Trailer.Clone()
			w.Header().Set("X-Announced", "a")
			w.Header().Set(http.TrailerPrefix+"X-Late", "b")
		})), nil)
		r := request("POST", base, io.MultiReader(strings.NewReader("text")))
		r.Trailer = http.Header{"X-Sum": {"42"}}
		reply, err := l.client(http2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if body := read(t, reply); body != "text" {
			t.Errorf("the body comes back as %q", body)
		}
		if diff := cmp.Diff(http.Header{"X-Sum": {"42"}}, got); diff != "" {
			t.Errorf("at the destination: %s", diff)
		}
		if diff := cmp.Diff(http.Header{"X-Announced": {"a"}, "X-Late": {"b"}}, reply.Trailer); diff != "" {
			t.Errorf("at the app: %s", diff)
		}
	})
}

// A stream in both directions: each side waits for the other.
func TestAnswersStreamWhileTheAppSends(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "got %s\n", lines.Text())
			w.(http.Flusher).Flush()
		}
	})), nil)
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		defer close(done)
		reply, err := l.client(true).Do(request("POST", base, out))
		if err != nil {
			done <- err
			return
		}
		defer reply.Body.Close()
		lines := bufio.NewScanner(reply.Body)
		for i := 1; lines.Scan(); i++ {
			if want := fmt.Sprintf("got line %d", i); lines.Text() != want {
				done <- fmt.Errorf("%q, want %q", lines.Text(), want)
				return
			}
			if i == 3 {
				in.Close()
			} else {
				fmt.Fprintf(in, "line %d\n", i+1)
			}
		}
	}()
	fmt.Fprint(in, "line 1\n")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestExpectContinueIsAnswered(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		l := newLook(t, newSite(t, thirdParty, false, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refuse {
				http.Error(w, "no", http.StatusRequestEntityTooLarge)
				return
			}
			echo(w, r)
		})), nil)
		conn := l.secured("http/1.1")
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n", thirdParty)
		r := textproto.NewReader(bufio.NewReader(conn))
		line, err := r.ReadLine()
		if err != nil {
			t.Fatal(err)
		}
		if refuse {
			if !strings.HasPrefix(line, "HTTP/1.1 413") {
				t.Errorf("the answer begins with %q, want the refusal without any body sent", line)
			}
			continue
		}
		if line != "HTTP/1.1 100 Continue" {
			t.Errorf("the answer begins with %q, want to be told to go on", line)
		}
		if _, err := conn.Write(bytes.Repeat([]byte("x"), 100_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadLine(); err != nil {
			t.Fatal(err)
		}
		if line, err = r.ReadLine(); err != nil || line != "HTTP/1.1 200 OK" {
			t.Errorf("then %q, %v", line, err)
		}
	}
}

// Who answers for ever before the answer is cut off, by number and by size; those
// within the bounds pass with what comes behind them.
func TestEarlyAnswersAreBounded(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		var size, number atomic.Int64
		s := newSite(t, thirdParty, http2, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for i := int64(0); i < number.Load() && r.Context().Err() == nil; i++ {
				w.Header().Set("X-Padding", strings.Repeat("a", int(size.Load())))
				w.WriteHeader(http.StatusEarlyHints)
			}
			w.Header().Del("X-Padding")
			_, _ = io.WriteString(w, "at last")
		}))
		l := newLook(t, s, nil)
		client := l.client(http2)
		for _, c := range []struct {
			number, size int64
			rule         string
		}{{32, 10, ""}, {33, 10, "destination/early-answers"}, {6, 10 << 10, ""}, {7, 10 << 10, "destination/early-answers"}, {1 << 40, 10, "destination/early-answers"}} {
			number.Store(c.number)
			size.Store(c.size)
			var got int64
			r := request("GET", base, nil)
			r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(int, textproto.MIMEHeader) error {
				got++
				return nil
			}}))
			reply, err := client.Do(r)
			if err != nil {
				t.Fatalf("HTTP/2 %v, %d of %d bytes: %v", http2, c.number, c.size, err)
			}
			if c.rule == "" {
				if body := read(t, reply); body != "at last" || got != c.number {
					t.Errorf("%s, %d of %d bytes: %s, %d came", reply.Proto, c.number, c.size, body, got)
				}
			} else if found := rule(t, reply); reply.StatusCode != http.StatusBadGateway || found != c.rule || got > 33 {
				t.Errorf("%s, %d of %d bytes: %d %s, %d came", reply.Proto, c.number, c.size, reply.StatusCode, found, got)
			}
			all := l.entries()
			if last := all[len(all)-1]; last.Kind != audit.KindOutcome || last.Rule != c.rule {
				t.Errorf("the outcome is %+v", last.Leaf)
			}
		}
	}
}

func TestEarlyHintsPass(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "</x>")
			w.WriteHeader(http.StatusEarlyHints)
			w.Header().Del("Link")
		})), nil)
		hinted := ""
		r := request("GET", base, nil)
		r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			hinted = fmt.Sprint(code, h.Get("Link"))
			return nil
		}}))
		reply, err := l.client(http2).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if read(t, reply); hinted != "103</x>" || reply.Header.Get("Link") != "" {
			t.Errorf("hinted %q, and the answer has %q", hinted, reply.Header.Get("Link"))
		}
	})
}

// The app is offered what the destination speaks.
func TestProtocolIsTheDestinations(t *testing.T) {
	for _, c := range []struct {
		http2 bool
		offer []string
		want  string
	}{
		{true, []string{"h2", "http/1.1"}, "h2"},
		{false, []string{"h2", "http/1.1"}, "http/1.1"},
		{true, []string{"http/1.1"}, "http/1.1"},
		{true, []string{"acme-tls/1", "h2"}, "h2"},
		{true, nil, ""},
	} {
		l := newLook(t, newSite(t, thirdParty, c.http2, http.HandlerFunc(echo)), nil)
		conn := l.secured(c.offer...)
		if got := conn.ConnectionState().NegotiatedProtocol; got != c.want {
			t.Errorf("destination with HTTP/2 %v, app offers %v: %q, want %q", c.http2, c.offer, got, c.want)
		}
		conn.Close()
	}
}

func TestTunnelsThatAreNoneOfOursAreRefused(t *testing.T) {
	l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(echo)), nil)
	for name, c := range map[string]struct {
		config *tls.Config
		rule   string
	}{
		"another server name":             {&tls.Config{ServerName: "other.example.com"}, "egress/server-name"},
		"another protocol":                {&tls.Config{ServerName: thirdParty, NextProtos: []string{"imap"}}, "egress/protocol"},
		"a client that does not trust us": {&tls.Config{ServerName: thirdParty, RootCAs: l.site.roots}, "egress/client-tls"},
	} {
		before := len(l.tunnelErrors())
		if c.config.RootCAs == nil {
			c.config.RootCAs = l.roots
		}
		conn := tls.Client(l.connect(), c.config)
		if err := conn.Handshake(); err == nil {
			// TLS 1.3: the client's own refusal is the last word.
			t.Errorf("%s: there is a handshake", name)
		}
		conn.Close()
		for len(l.tunnelErrors()) == before {
			l.mu.Lock()
			l.mu.Unlock() //nolint:staticcheck // waits for the tunnel, which ends by itself
		}
		if got := wire.RuleOf(l.tunnelErrors()[before]); got != c.rule {
			t.Errorf("%s: rule %q, want %q", name, got, c.rule)
		}
	}
	plain := l.connect()
	fmt.Fprint(plain, "GET / HTTP/1.1\r\n\r\n")
	if _, err := io.ReadAll(plain); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Logf("a client without TLS: %v", err)
	}
	if n := l.site.dials(); n != 1 {
		t.Errorf("%d connections to the destination, want only that of the client that does not trust us", n)
	}
}

func TestDestinationsThatCannotBeTrusted(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		good := newSite(t, thirdParty, true, http.HandlerFunc(echo))
		speaks, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer speaks.Close()
		go func() {
			for {
				conn, err := speaks.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(conn, "220 mail.example.com ESMTP\r\n")
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
		}()
		closed, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		for name, c := range map[string]struct {
			site *site
			rule string
		}{
			"a certificate for another name":        {newSite(t, "other.example.com", true, http.HandlerFunc(echo)), "destination/tls"},
			"a certificate of an unknown authority": {&site{addr: newSite(t, thirdParty, true, http.HandlerFunc(echo)).addr, roots: good.roots}, "destination/tls"},
			"a destination that speaks first":       {&site{addr: speaks.Addr().String(), roots: good.roots}, "destination/tls"},
			"nobody":                                {&site{addr: closed.Addr().String(), roots: good.roots}, "destination/connection"},
			"the right one":                         {good, ""},
		} {
			if c.site.roots != good.roots && c.rule != "" {
				other := newSite(t, "other.example.com", true, http.HandlerFunc(echo))
				c.site.roots = other.roots
			}
			l := newLook(t, c.site, nil)
			reply, err := l.client(http2).Do(request("POST", base, strings.NewReader("x")))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if c.rule == "" {
				if body := read(t, reply); reply.StatusCode != http.StatusOK {
					t.Errorf("%s: %d %s", name, reply.StatusCode, body)
				}
				continue
			}
			if got := rule(t, reply); got != c.rule || reply.StatusCode != http.StatusBadGateway {
				t.Errorf("%s: %d, rule %q, want 502, %q", name, reply.StatusCode, got, c.rule)
			}
		}
	})
}

func TestRequestsForOthersAreRefused(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		var served atomic.Int32
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			echo(w, r)
		})), nil)
		client := l.client(http2)
		for _, c := range []struct {
			host string
			want int
		}{
			{thirdParty, 200}, {"API.example.COM", 200}, {thirdParty + ":443", 200},
			{"other.example.com", 421}, {thirdParty + ":8443", 421}, {thirdParty + ".", 421}, {"www." + thirdParty, 421}, {"127.0.0.1", 421},
			{thirdParty, 200},
		} {
			r := request("GET", base+"/x", nil)
			r.Host = c.host
			before := served.Load()
			reply, err := client.Do(r)
			if err != nil {
				t.Fatalf("%s: %v", c.host, err)
			}
			if reply.StatusCode != c.want {
				t.Errorf("host %q: %d, want %d", c.host, reply.StatusCode, c.want)
			}
			if c.want == 200 {
				read(t, reply)
			} else if got := rule(t, reply); got != "egress/authority" || served.Load() != before {
				t.Errorf("host %q: rule %q, and %d were served", c.host, got, served.Load()-before)
			}
		}
		refused := 0
		for _, e := range l.entries() {
			if e.Verdict == "refuse" && e.Rule == "egress/authority" && e.Status == 421 {
				refused++
			}
		}
		if refused != 5 {
			t.Errorf("%d refusals stand in the log, want 5", refused)
		}
	})
}

func TestCredentialsOfOursNeverPass(t *testing.T) {
	key := "gth_svc_0123456789abcdefghij"
	bothProtocols(t, func(t *testing.T, http2 bool) {
		arrived := &reached{}
		l := newLook(t, newSite(t, thirdParty, true, arrived), nil)
		l.report = true
		for name, build := range map[string]func(string) *http.Request{
			"header": func(k string) *http.Request {
				r := request("GET", base, nil)
				r.Header.Set("Authorization", "Bearer "+k)
				return r
			},
			"address":    func(k string) *http.Request { return request("GET", base+"/?k="+k, nil) },
			"small body": func(k string) *http.Request { return request("POST", base, strings.NewReader(k)) },
			"body": func(k string) *http.Request {
				return request("POST", base, io.MultiReader(strings.NewReader("x"+k[:5]), strings.NewReader(k[5:])))
			},
			"trailer": func(k string) *http.Request {
				r := request("POST", base, io.MultiReader(strings.NewReader("x")))
				r.Trailer = http.Header{"X-Sum": {k}}
				return r
			},
		} {
			reply, err := l.client(http2).Do(build(key))
			if err == nil {
				if got := rule(t, reply); got != "refuse/handle-inside" {
					t.Errorf("%s: rule %q", name, got)
				}
			}
			if strings.Contains(arrived.text(), key) {
				t.Errorf("%s: it arrived", name)
			}
			reply, err = l.client(http2).Do(build("gth-svc-0123456789abcdefghij"))
			if err != nil {
				t.Errorf("%s: the near miss: %v", name, err)
				continue
			}
			if read(t, reply); reply.StatusCode != 200 {
				t.Errorf("%s: the near miss is answered with %d", name, reply.StatusCode)
			}
		}
	})
}

// hungUp is an app that breaks off in the middle of its body.
func TestAppsThatHangUp(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		arrived, begun := &reached{}, make(chan struct{})
		ended := make(chan struct{})
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			close(begun)
			arrived.ServeHTTP(w, r)
		})), nil)
		out, in := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		r := request("POST", base, out).WithContext(ctx)
		go func() {
			fmt.Fprint(in, "the beginning")
			<-begun
			cancel()
			in.CloseWithError(context.Canceled)
		}()
		if reply, err := l.client(http2).Do(r); err == nil {
			t.Errorf("there is an answer: %d", reply.StatusCode)
		}
		<-ended
		if arrived.broken != 1 {
			t.Error("the destination takes the beginning for a whole body")
		}
	})
}

// A destination that answers before it has read the body, and an app that goes on
// sending: neither waits for the other for ever.
func TestInspectedAnswersThatComeEarly(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).EnableFullDuplex() // else HTTP/1.1 reads on before it answers
			http.Error(w, "enough", http.StatusTooManyRequests)
		})), nil)
		for range 10 { // which side notices first differs
			out, in := io.Pipe()
			go func() { fmt.Fprint(in, "the beginning") }()
			reply, err := l.client(http2).Do(request("POST", base, out))
			if err != nil {
				t.Fatal(err)
			}
			if body := read(t, reply); reply.StatusCode != http.StatusTooManyRequests || body != "enough\n" {
				t.Errorf("%d %q", reply.StatusCode, body)
			}
			in.Close()
		}
	})
}

func TestAnswersThatBreakOffStayBroken(t *testing.T) {
	bothProtocols(t, func(t *testing.T, http2 bool) {
		l := newLook(t, newSite(t, thirdParty, true, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "half")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})), nil)
		reply, err := l.client(http2).Do(request("GET", base, nil))
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		if body, err := io.ReadAll(reply.Body); err == nil {
			t.Errorf("half an answer is taken for a whole one: %q", body)
		}
		if !slices.ContainsFunc(l.entries(), func(e auditShown) bool { return e.Verdict == "aborted" && e.Rule == "egress/broken-answer" }) {
			t.Error("the outcome does not stand in the log")
		}
	})
}

// Of a body that the inspector does not decide about, only so much is held.
func TestWhatInspectionHoldsBackIsBounded(t *testing.T) {
	undecided := adasAddress[:len(adasAddress)-1]
	for _, report := range []bool{false, true} {
		arrived := &reached{}
		l := newLook(t, newSite(t, thirdParty, true, arrived), func(c *egress.InspectConfig) { c.MaxWaiting = 8 })
		l.report = report
		out, in := io.Pipe()
		go func() {
			fmt.Fprint(in, "text "+undecided)
			for report && arrived.text() == "" {
				runtime.Gosched()
			}
			if report {
				fmt.Fprint(in, " and more")
				in.Close()
			}
		}()
		reply, err := l.client(true).Do(request("POST", base, out))
		if err != nil {
			t.Fatal(err)
		}
		if report {
			if read(t, reply); reply.StatusCode != 200 || arrived.text() != "text "+undecided+" and more" {
				t.Errorf("in report mode: %d, and %q arrives", reply.StatusCode, arrived.text())
			}
			es := l.entries()
			if !slices.ContainsFunc(es, func(e auditShown) bool { return e.Facts["unsearched"] == "egress/held-back" }) {
				t.Error("the log does not say that a part was not searched")
			}
		} else if got := rule(t, reply); got != "egress/held-back" {
			t.Errorf("rule %q", got)
		}
	}
}
