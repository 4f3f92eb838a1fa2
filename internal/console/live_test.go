package console

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// liveDesk is a desk in front of a server that streams.
func (d *desk) open(ctx context.Context, base, path string) *http.Response {
	d.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	must(d.t, err)
	r.Host = "localhost:8102"
	for name, value := range d.cookies {
		r.AddCookie(&http.Cookie{Name: d.house.console.cookieName(name), Value: value})
	}
	res, err := http.DefaultClient.Do(r)
	must(d.t, err)
	return res
}

func TestLive(t *testing.T) {
	news := make(chan struct{})
	ended := make(chan error, 8)
	page := Page{routes: []route{stream("/things/live", healthRead, func(v *visit, to *feed) error {
		for {
			if err := to.wait(news, time.Minute); err != nil {
				ended <- err
				return err
			}
			if err := to.send("prepend", "health.html", "badge", Badge{Good, "<new>\r\nline"}); err != nil {
				ended <- err
				return err
			}
		}
	})}}
	h := newHouse(t, func(c *Config) { c.Limits.Streams = 2 }, page)
	d := h.join("Ada", operator.Auditor)
	server := httptest.NewServer(h.handler)
	defer server.Close()

	first := d.open(t.Context(), server.URL, "/things/live")
	if first.Header.Get("Content-Type") != "text/event-stream" || first.StatusCode != 200 {
		t.Fatalf("%d %s", first.StatusCode, first.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(first.Body)
	news <- struct{}{}
	var got []string
	for lines.Scan() && len(got) < 5 {
		if strings.HasPrefix(lines.Text(), "event:") || strings.HasPrefix(lines.Text(), "data:") {
			got = append(got, lines.Text())
		}
		if len(got) == 3 {
			break
		}
	}
	if text := strings.Join(got, "|"); text != `event: prepend|data: <span class="badge good">&lt;new&gt;|data: line</span>` {
		t.Errorf("the browser got %q", text)
	}

	// A place too few: the oldest gives way, and is asked to wait before it comes again.
	ctx, cancel := context.WithCancel(t.Context())
	second := d.open(ctx, server.URL, "/things/live")
	third := d.open(t.Context(), server.URL, "/things/live")
	if third.StatusCode != http.StatusOK {
		t.Errorf("a third live page: %d", third.StatusCode)
	}
	if err := <-ended; !errors.Is(err, errFeedOver) {
		t.Errorf("the page that gave way ends with %v", err)
	}
	last := ""
	for lines.Scan() {
		if lines.Text() != "" {
			last = lines.Text()
		}
	}
	if last != "retry: 60000" || lines.Err() != nil {
		t.Errorf("the page that gave way is told %q, %v", last, lines.Err())
	}
	// Pages have places of their own.
	if r := d.get("/account"); r.status != 200 {
		t.Errorf("a page beside live ones: %d", r.status)
	}
	cancel() // the browser leaves
	if err := <-ended; !errors.Is(err, errFeedOver) {
		t.Errorf("a browser that left ends the stream with %v", err)
	}
	first.Body.Close()
	second.Body.Close()
	h.console.Close()
	if err := <-ended; !errors.Is(err, errFeedOver) {
		t.Errorf("the console closes, and the stream ends with %v", err)
	}
	third.Body.Close()

	// Nobody is not sent to sign in by a stream with a way back to it.
	h.stranger().get("/things/live").goesTo(t, "/sign-in")
}

// TestLivePagesKeepNoSession: a live page asks again by itself, every few minutes; left
// open on an empty desk it must not keep somebody signed in.
func TestLivePagesKeepNoSession(t *testing.T) {
	page := Page{routes: []route{stream("/things/live", healthRead, func(*visit, *feed) error { return nil })}}
	d := newDesk(t, operator.Auditor, page, Health(health{}))
	wait := func() { d.house.ahead.Add(int64(operator.DefaultIdle * 2 / 3)) }
	wait()
	if r := d.get("/health"); r.status != http.StatusOK {
		t.Fatalf("a page within the time: %d", r.status)
	}
	wait()
	if r := d.get("/things/live"); r.status != http.StatusOK {
		t.Fatalf("a live page within the time: %d", r.status)
	}
	wait()
	d.get("/things/live").goesTo(t, "/sign-in")
	d.get("/health").goesTo(t, "/sign-in?return=%2Fhealth")
}

// TestLivePageEndsWithTheSession: who was signed out is shown nothing more, not even by a
// page that is open already.
func TestLivePageEndsWithTheSession(t *testing.T) {
	news, ended := make(chan struct{}), make(chan error, 1)
	page := Page{routes: []route{stream("/things/live", healthRead, func(_ *visit, to *feed) error {
		for {
			err := to.wait(news, time.Minute)
			if err == nil {
				err = to.send("prepend", "health.html", "badge", Badge{Good, "new"})
			}
			if err != nil {
				ended <- err
				return err
			}
		}
	})}}
	d := newDesk(t, operator.Auditor, page)
	server := httptest.NewServer(d.house.handler)
	defer server.Close()
	res := d.open(t.Context(), server.URL, "/things/live")
	defer res.Body.Close()
	news <- struct{}{}
	lines, events := bufio.NewScanner(res.Body), 0
	for events == 0 && lines.Scan() {
		events += strings.Count(lines.Text(), "event:")
	}
	d.signOut()
	news <- struct{}{}
	if err := <-ended; !errors.Is(err, errFeedOver) {
		t.Errorf("the stream ends with %v", err)
	}
	for lines.Scan() {
		events += strings.Count(lines.Text(), "event:")
	}
	if events != 1 {
		t.Errorf("%d events came, want only the one from before", events)
	}
}
