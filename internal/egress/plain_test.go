package egress_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/egress"
	"gatehouse/internal/wire"
)

// keeper is an inspector that lets pass everything but what holds "forbidden", also
// where two writes divide it: it holds back as much as may yet become that.
type keeper struct {
	mu    sync.Mutex
	seen  []string // where and what
	began []egress.Transfer
	open  int
	most  int    // bytes that are never let go before the end
	late  bool   // finds out about a body at its end only
	taken []bool // for each TakeBack, whether some may have left
}

const forbidden = "forbidden"

func (k *keeper) Inspect(t egress.Transfer) egress.Inspection {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.began = append(k.began, t)
	k.open++
	return &look{keeper: k}
}

type look struct {
	keeper *keeper
	texts  string
	body   []byte
	closed bool
}

func (l *look) Text(where egress.Where, name, value string) {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	l.keeper.seen = append(l.keeper.seen, string(where)+" "+name+" "+value)
	l.texts += value + "\n"
}

func (l *look) Write(p []byte) (int, error) {
	if l.closed {
		panic("used after Close")
	}
	l.body = append(l.body, p...)
	return len(p), nil
}

func (l *look) Judge(context.Context) (int64, error) {
	if strings.Contains(l.texts, forbidden) || !l.keeper.late && bytes.Contains(l.body, []byte(forbidden)) {
		return 0, errForbidden
	}
	return int64(max(0, len(l.body)-len(forbidden)+1-l.keeper.most)), nil
}

var errForbidden = wire.Refuse(gatehouse.ErrDenied, "refuse/test", "not this")

func (l *look) End(ctx context.Context) error {
	if bytes.Contains(l.body, []byte(forbidden)) {
		return errForbidden
	}
	_, err := l.Judge(ctx)
	return err
}

func (l *look) TakeBack(_ context.Context, left bool) error {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	if l.closed {
		panic("taken back after Close")
	}
	l.keeper.taken = append(l.keeper.taken, left)
	return nil
}

func (l *look) Close() {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	l.closed = true
	l.keeper.open--
}

func TestPlainRequestsAreLookedInto(t *testing.T) {
	k := &keeper{}
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = k }})
	send := func(address, header, body string, chunked bool) *answer {
		t.Helper()
		var reader io.Reader = strings.NewReader(body)
		if chunked {
			reader = io.MultiReader(reader) // hides its length
		}
		request, err := http.NewRequest("POST", address, reader)
		if err != nil {
			t.Fatal(err)
		}
		if header != "" {
			name, value, _ := strings.Cut(header, ": ")
			request.Header.Set(name, value)
		}
		reply, err := r.client("analytics", reports).Do(request)
		if err != nil {
			return &answer{body: err.Error()}
		}
		defer reply.Body.Close()
		text, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return &answer{status: reply.StatusCode, header: reply.Header, body: string(text)}
	}
	big := strings.Repeat("all is well ", 20_000)
	for _, c := range []struct {
		name, address, header, body string
		chunked                     bool
		refused                     bool
	}{
		{"nothing in it", "http://plain.test/a?b=c", "X-A: 1", "hello", false, false},
		{"nothing in it, chunked", "http://plain.test/a?b=c", "X-A: 1", "hello", true, false},
		{"no body", "http://plain.test/a", "", "", false, false},
		{"much", "http://plain.test/a", "", big, false, false},
		{"much, chunked", "http://plain.test/a", "", big, true, false},
		{"nearly", "http://plain.test/a", "", big + "forbidde", true, false},
		{"address", "http://plain.test/a?b=forbidden", "", "hello", false, true},
		{"path", "http://plain.test/forbidden", "", "", false, true},
		{"header", "http://plain.test/a", "X-A: forbidden", "hello", false, true},
		{"body", "http://plain.test/a", "", "a forbidden thing", false, true},
		{"chunked body", "http://plain.test/a", "", "a forbidden thing", true, true},
		{"the end of much", "http://plain.test/a", "", big + forbidden, false, true},
		{"the middle of much, chunked", "http://plain.test/a", "", big + forbidden + big, true, true},
	} {
		before := len(r.plain.arrived())
		a := send(c.address, c.header, c.body, c.chunked)
		got := r.plain.arrived()
		if !c.refused {
			if a.status != http.StatusOK || len(got) != before+1 || got[before].Body != c.body {
				t.Errorf("%s: %d %.200s, %d requests arrived", c.name, a.status, a.body, len(got)-before)
			}
			continue
		}
		if a.status != http.StatusForbidden || a.rule() != "refuse/test" || len(got) != before {
			t.Errorf("%s: %d %.300s, %d whole requests arrived", c.name, a.status, a.body, len(got)-before)
		}
		if e := r.last(audit.KindOutcome); e.Rule != "refuse/test" || e.Verdict == "done" || !strings.Contains(a.body, e.Intent) {
			t.Errorf("%s: the outcome is %+v", c.name, e.Leaf)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != 0 {
		t.Errorf("%d inspections were not closed", k.open)
	}
	first := k.began[0]
	if first.Destination != "plain.test" || first.Service != reports || first.Purpose != "analytics" || first.Entry == "" {
		t.Errorf("the transfer is %+v", first)
	}
	all := strings.Join(k.seen, "\n")
	for _, want := range []string{"url  http://plain.test/a?b=c", "header X-A 1", "header Content-Length"} {
		if want != "header Content-Length" && !strings.Contains(all, want) {
			t.Errorf("%q was not looked at", want)
		}
	}
	if strings.Contains(all, "Proxy-Authorization") || strings.Contains(all, "gth_svc_") {
		t.Error("our own credentials were looked at")
	}
}

// A method that nobody knows is a text of the app's.
func TestMethodsOfPlainRequestsAreLookedAt(t *testing.T) {
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = &keeper{} }})
	for method, want := range map[string]int{"X" + forbidden: http.StatusForbidden, "Xforbidde": http.StatusOK, http.MethodOptions: http.StatusOK} {
		request, err := http.NewRequest(method, "http://plain.test/", nil)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := r.client("analytics", reports).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("%s: %d, want %d", method, reply.StatusCode, want)
		}
	}
}

// What inspection does not let go of is not sent, and is bounded.
func TestWhatIsHeldBackIsBounded(t *testing.T) {
	k := &keeper{most: 1 << 30}
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector, c.Limits.HoldBytes = k, 64<<10 }})
	post := func(n int) (int, string) {
		t.Helper()
		reply, err := r.client("analytics", reports).Post("http://plain.test/", "text/plain", strings.NewReader(strings.Repeat("a", n)))
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, _ := io.ReadAll(reply.Body)
		return reply.StatusCode, string(body)
	}
	if status, body := post(60 << 10); status != http.StatusOK {
		t.Errorf("within the bound: %d %s", status, body)
	}
	if status, body := post(70 << 10); status != http.StatusBadRequest || !strings.Contains(body, "egress/held-back") {
		t.Errorf("beyond it: %d %s", status, body)
	}
	if e := r.last(audit.KindOutcome); e.Bytes != 0 {
		t.Errorf("the outcome is %+v", e.Leaf)
	}
}

// What is found out at the end of a body keeps its last bytes, so that what arrived is
// no whole request.
func TestWhatIsFoundAtTheEnd(t *testing.T) {
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = &keeper{late: true} }})
	for body, want := range map[string]int{"a forbidden thing": 403, "a fine thing": 200} {
		reply, err := r.client("analytics", reports).Post("http://plain.test/", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		reply.Body.Close()
		if reply.StatusCode != want {
			t.Errorf("%s: %d", body, reply.StatusCode)
		}
	}
	if got := r.plain.arrived(); len(got) != 1 || got[0].Body != "a fine thing" {
		t.Errorf("arrived: %+v", got)
	}
}

// A body that cannot be read here is not passed on unread.
func TestCompressedBodiesOfPlainRequests(t *testing.T) {
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = &keeper{} }})
	squeezed := func(s string) string { return string(gzipped(t, s)) }
	large := squeezed(strings.Repeat("fine ", 600_000))
	for _, c := range []struct {
		encoding, body string
		status         int
		rule           string
	}{
		{"identity", "a", 200, ""}, {"Identity", "a", 200, ""},
		{"gzip", squeezed("fine"), 200, ""}, {"gzip", large, 200, ""}, {"gzip, gzip", squeezed(squeezed("fine")), 200, ""},
		{"gzip", squeezed("this is " + forbidden), 403, "refuse/test"}, {"gzip, gzip", squeezed(squeezed(forbidden)), 403, "refuse/test"},
		{"gzip", squeezed(strings.Repeat("fine ", 600_000) + forbidden), 403, "refuse/test"},
		{"gzip", squeezed("gth_svc_0123456789abcdefghij"), 403, "refuse/handle-inside"},
		{"gzip", "a", 415, "egress/encoded-body"}, {"gzip", squeezed("fine") + "a", 415, "egress/encoded-body"},
		{"compress", "a", 415, "egress/content-encoding"},
		{"gzip", squeezed(strings.Repeat("0", 65<<20)), 415, "egress/decoded-size"},
		{"gzip", strings.Repeat("a", 8<<20+64<<10), 415, "egress/encoded-size"},
	} {
		before := len(r.plain.arrived())
		a := r.raw("POST http://plain.test/ HTTP/1.1\r\nHost: x\r\nContent-Encoding: " + c.encoding + "\r\nContent-Length: " + strconv.Itoa(len(c.body)) + "\r\n" + r.credentials() + "\r\n" + c.body)
		if a.status != c.status || a.status != 200 && a.rule() != c.rule {
			t.Errorf("%s, %d bytes: %d %s, want %d %s", c.encoding, len(c.body), a.status, a.body, c.status, c.rule)
		}
		got := r.plain.arrived()[before:]
		if c.status != 200 && len(got) != 0 || c.status == 200 && (len(got) != 1 || got[0].Body != c.body) {
			t.Errorf("%s, %d bytes: the destination got %d requests", c.encoding, len(c.body), len(got))
		}
	}
	if a := r.raw("GET http://plain.test/ HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n" + r.credentials() + "\r\n"); a.status != 200 {
		t.Errorf("without a body: %v", a)
	}
}

// A destination that answers before it has the whole request must not leave the
// inspection in use, nor the caller waiting.
func TestAnswersThatComeEarly(t *testing.T) {
	k := &keeper{}
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = k }})
	r.route("plain.test", answering(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
	conn, read := r.dial()
	request := "POST http://plain.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n" + r.credentials() + "\r\nbegin"
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if a := r.read(read, request); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%v", a)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.open != 0 {
		t.Error("the inspection is still open")
	}
}

func TestCallersWhoHangUp(t *testing.T) {
	arrived, hold := make(chan struct{}), make(chan struct{})
	r := newRig(t, options{})
	r.route("plain.test", waiting(t, arrived, hold))
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, "GET", "http://plain.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := r.client("analytics", reports).Do(request)
		done <- err
	}()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	until(t, func() bool {
		e := r.last(audit.KindIntent)
		for _, o := range r.entries() {
			if o.Kind == audit.KindOutcome && o.Intent == e.ID {
				return o.Verdict == "aborted" && o.Rule == "egress/caller-gone"
			}
		}
		return false
	})
	close(hold)
}

// What was let go of a request that is then stopped may have left, and is told to
// whoever keeps the record; of one that passes, or is stopped by its header, nothing is.
func TestPlainRequestsAreTakenBack(t *testing.T) {
	k := &keeper{}
	r := newRig(t, options{change: func(c *egress.Config) { c.Inspector = k }})
	for _, c := range []struct {
		header, body string
		want         []bool
	}{
		{"fine", "nothing", nil},
		{forbidden, "nothing", nil},
		{"fine", strings.Repeat("fine ", 20_000) + forbidden, []bool{true}},
	} {
		request, err := http.NewRequest("POST", "http://plain.test/", io.MultiReader(strings.NewReader(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Word", c.header)
		if reply, err := r.client("analytics", reports).Do(request); err == nil {
			_, _ = io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
		}
		r.stopped(k)
		k.mu.Lock()
		if !slices.Equal(k.taken, c.want) {
			t.Errorf("%s, %.20q: taken back %v, want %v", c.header, c.body, k.taken, c.want)
		}
		k.taken = nil
		k.mu.Unlock()
	}
}

// stopped waits until nothing is looked into.
func (r *rig) stopped(k *keeper) {
	r.t.Helper()
	for {
		k.mu.Lock()
		open := k.open
		k.mu.Unlock()
		if open == 0 {
			return
		}
		runtime.Gosched()
	}
}
