package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// flood is a connection of HTTP/2 whose client does not behave.
type flood struct {
	*http2.Framer
	conn *tls.Conn
	host string
	// block is what the encoder wrote last.
	block   bytes.Buffer
	encoder *hpack.Encoder
	// ended is closed when the server says nothing more, or has answered the last ping;
	// away is why it went, if it said so. Both are for who reads.
	ended chan struct{}
	away  string
}

// lastPing is behind everything that a flood sends.
var lastPing = [8]byte{'l', 'a', 's', 't'}

// newFlood opens one; with deaf nothing is read of what the server says.
func newFlood(at string, config *tls.Config, deaf bool) (*flood, error) {
	host := strings.TrimPrefix(at, "https://")
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", host, config)
	if err != nil {
		return nil, err
	}
	// What hangs ends, and fails the test.
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	f := &flood{Framer: http2.NewFramer(conn, conn), conn: conn, host: host, ended: make(chan struct{})}
	f.encoder = hpack.NewEncoder(&f.block)
	f.AllowIllegalWrites = true
	if err := f.WriteSettings(); err != nil {
		return nil, err
	}
	go func() {
		defer close(f.ended)
		for !deaf {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			switch frame := frame.(type) {
			case *http2.GoAwayFrame:
				f.away = frame.ErrCode.String()
			case *http2.PingFrame:
				if frame.IsAck() && frame.Data == lastPing {
					return
				}
			}
		}
	}()
	return f, nil
}

// request is the header block of a page that needs no account.
func (f *flood) request(more ...hpack.HeaderField) []byte {
	f.block.Reset()
	for _, field := range append([]hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: f.host}, {Name: ":path", Value: "/sign-in"},
	}, more...) {
		_ = f.encoder.WriteField(field) // into memory
	}
	return bytes.Clone(f.block.Bytes())
}

// floods are what a hostile client sends, some thousands of frames each; an error is that
// the server has had enough.
var floods = map[string]func(f *flood) error{
	"streams opened and reset": func(f *flood) error {
		for i := range uint32(4000) {
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: f.request(), EndStream: true, EndHeaders: true}); err != nil {
				return err
			}
			if err := f.WriteRSTStream(2*i+1, http2.ErrCodeCancel); err != nil {
				return err
			}
		}
		return nil
	},
	"streams that the server has to reset": func(f *flood) error {
		for i := range uint32(4000) {
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: f.request(), EndHeaders: true}); err != nil {
				return err
			}
			if err := f.WriteWindowUpdate(2*i+1, 0); err != nil {
				return err
			}
		}
		return nil
	},
	"a header without an end": func(f *flood) error {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.request(), EndStream: true}); err != nil {
			return err
		}
		for i := range 2000 {
			f.block.Reset()
			_ = f.encoder.WriteField(hpack.HeaderField{Name: fmt.Sprintf("x-%d", i), Value: strings.Repeat("~", 8<<10), Sensitive: true})
			if err := f.WriteContinuation(1, false, f.block.Bytes()); err != nil {
				return err
			}
		}
		return nil
	},
	"empty pieces of a header": func(f *flood) error {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.request(), EndStream: true}); err != nil {
			return err
		}
		for range 20000 {
			if err := f.WriteContinuation(1, false, nil); err != nil {
				return err
			}
		}
		return nil
	},
	"headers that unpack to more": func(f *flood) error {
		// A field of 4 kB in the table is named by one byte from then on.
		long := hpack.HeaderField{Name: "x-long", Value: strings.Repeat("~", 4000)}
		for i := range uint32(200) {
			more := make([]hpack.HeaderField, 4000)
			for j := range more {
				more[j] = long
			}
			block := f.request(more...)
			first := block[:min(len(block), 16<<10)]
			if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: first, EndStream: true, EndHeaders: len(first) == len(block)}); err != nil {
				return err
			}
		}
		return nil
	},
	"settings": func(f *flood) error {
		for i := range uint32(10000) {
			if err := f.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: i % 4096}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: i}); err != nil {
				return err
			}
		}
		return nil
	},
	"pings": func(f *flood) error {
		for range 30000 {
			if err := f.WritePing(false, [8]byte{}); err != nil {
				return err
			}
		}
		return nil
	},
	"empty bodies": func(f *flood) error {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.request(), EndHeaders: true}); err != nil {
			return err
		}
		for range 20000 {
			if err := f.WriteData(1, false, nil); err != nil {
				return err
			}
		}
		return nil
	},
	"priorities": func(f *flood) error {
		for i := range uint32(20000) {
			if err := f.WritePriority(2*i+1, http2.PriorityParam{StreamDep: 2*i + 3, Weight: 1}); err != nil {
				return err
			}
		}
		return nil
	},
}

// residentOf is how much memory a process has, in bytes.
func residentOf(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no VmRSS in\n%s", status)
	}
	n, err := strconv.ParseInt(string(found[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestConsoleUnderFloods floods the console of the running program with frames of HTTP/2,
// by each kind from several connections, some of which read no answer. An operator goes on
// reading pages and the app goes on calling; the program's memory stays as it is; and
// strangers are answered when it is over.
func TestConsoleUnderFloods(t *testing.T) {
	// What is read but not collected yet is some 130 MB on a busy machine; headers that
	// unpack to more would be 12 GB.
	const connections, memory = 4, 256 << 20
	h := newHouseWith(t, "tls: {", "tls: {console: local-ca, ")
	h.edit(strings.NewReplacer("rate: 200/s", "rate: 100000/s").Replace)
	h.start()
	at := h.ready["console"]
	x := h.connectPerson(demoX, "ada", h.box.People()[0])
	trusted := h.client.Transport.(*http.Transport).TLSClientConfig //nolint:forcetypeassert // demoClient's

	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	link, _, err := p.operators.Invite(t.Context(), operator.Host(), operator.Invitation{Name: "Ada", Email: "ada@example.com", Role: operator.Owner})
	if err != nil {
		t.Fatal(err)
	}
	binding := secret.New(rand.Text())
	_, token, err := enrolDemo(t.Context(), p.operators, demoBrowser(binding, "test"), link, secret.New(rand.Text()))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: trusted.Clone(), ForceAttemptHTTP2: true}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer browser.CloseIdleConnections()
	page := func(path string, known bool) (int, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at+path, nil)
		if err != nil {
			return 0, err
		}
		if known {
			r.Header.Set("Cookie", "__Host-gatehouse="+token.Reveal()+"; __Host-gatehouse-browser="+binding.Reveal())
		}
		res, err := browser.Do(r)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		_, err = io.Copy(io.Discard, res.Body)
		return res.StatusCode, err
	}
	// The operator's connection is there before, and known for one.
	if status, err := page("/account", true); err != nil || status != http.StatusOK {
		t.Fatalf("before: %d %v", status, err)
	}
	before := residentOf(t, h.process.Process.Pid)

	var running sync.WaitGroup
	for name, flooding := range floods {
		for i := range connections {
			running.Go(func() {
				deaf := i%2 == 1
				f, err := newFlood(at, trusted, deaf)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					return
				}
				defer f.conn.Close()
				if err = flooding(f); err == nil {
					err = f.WritePing(false, lastPing)
				}
				<-f.ended
				t.Logf("%s, deaf %t: %v %s", name, deaf, err, f.away)
				if strings.Contains(name, "header") && strings.Contains(name, "end") && err == nil && f.away == "" && !deaf {
					t.Errorf("%s: all of it was taken", name)
				}
			})
		}
	}
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	pages := 0
	for over := false; !over || pages < 20; pages++ {
		select {
		case <-done:
			over = true
		default:
		}
		if status, err := page("/account", true); err != nil || status != http.StatusOK {
			t.Errorf("an operator's page: %d %v", status, err)
			break
		}
		if status, b, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", x.Handle, nil); err != nil || status != http.StatusOK {
			t.Errorf("a call: %d %s %v", status, b, err)
			break
		}
		if now := residentOf(t, h.process.Process.Pid); now > before+memory {
			t.Errorf("the program has %d MB, and had %d", now>>20, before>>20)
			break
		}
	}
	<-done
	t.Logf("%d pages and calls; memory %d MB, %d MB before", pages, residentOf(t, h.process.Process.Pid)>>20, before>>20)
	eventually(t, "a stranger gets the page to sign in", func() bool {
		status, err := page("/sign-in", false)
		if err != nil || status != http.StatusOK && status != http.StatusTooManyRequests {
			t.Fatalf("a stranger: %d %v", status, err)
		}
		return status == http.StatusOK
	})
	browser.CloseIdleConnections()
	if code := h.stop(); code != 0 {
		t.Errorf("exit status %d\n%s", code, h.stderr)
	}
	if strings.Contains(h.stderr.String(), "panic") {
		t.Errorf("the program's log:\n%s", h.stderr)
	}
}
