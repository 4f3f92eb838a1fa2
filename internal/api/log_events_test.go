package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/api"
)

// events is a stream of server-sent events.
type events struct {
	t      *testing.T
	reply  *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

// stream opens one, after what was seen last.
func (w *world) stream(path, last string) *events {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	req := w.request("GET", path, "").WithContext(ctx)
	req.Header.Set("Accept", "text/html;q=0.1, text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { cancel(); reply.Body.Close() })
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "text/event-stream" {
		w.t.Fatalf("%d, %s", reply.StatusCode, reply.Header.Get("Content-Type"))
	}
	e := &events{w.t, reply, bufio.NewScanner(reply.Body), cancel}
	e.lines.Buffer(nil, 1<<20)
	return e
}

// next returns the next event's id and how many entries it has; "" at the end.
func (e *events) next() (id string, entries int) {
	e.t.Helper()
	for e.lines.Scan() {
		line := e.lines.Text()
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = text
		}
		if text, ok := strings.CutPrefix(line, "data: "); ok {
			var data struct {
				Entries []any  `json:"entries"`
				Next    string `json:"next"`
			}
			if err := json.Unmarshal([]byte(text), &data); err != nil || data.Next != id {
				e.t.Fatalf("%v: %s", err, text)
			}
			return id, len(data.Entries)
		}
	}
	return "", 0
}

// Entries come as events as they are written, each once: also to a client that comes
// back and says what it has seen.
func TestTheLogAsEvents(t *testing.T) {
	w := newWorld(t)
	w.logged(3)
	const path = "/gatehouse/v1/log/tail?service=publisher"
	e := w.stream(path, "")
	w.logged(2)
	last := ""
	for n := 0; n < 2; {
		id, entries := e.next()
		if id == "" {
			t.Fatal("the stream ended")
		}
		last, n = id, n+entries
	}
	if api.Waiting(w.api) != 1 {
		t.Errorf("%d requests wait, want the stream", api.Waiting(w.api))
	}
	e.cancel()
	w.logged(4)
	again := w.stream(path, last)
	for n := 0; n < 4; {
		id, entries := again.next()
		if n += entries; id == "" || n > 4 {
			t.Fatalf("%d entries, want 4", n)
		}
	}
	// A shutdown need not wait for it.
	w.api.EndStreams()
	if id, _ := again.next(); id != "" || again.lines.Err() != nil {
		t.Errorf("after the end: %q, %v", id, again.lines.Err())
	}
}

// A stream is refused as the request without one is, and takes one of the places of
// those that wait; who asks for something else is answered at once.
func TestStreamsAreBounded(t *testing.T) {
	w := newWorld(t)
	ask := func(path, last string) *http.Request {
		req := w.request("GET", path, "")
		req.Header.Set("Accept", "text/event-stream")
		if last != "" {
			req.Header.Set("Last-Event-ID", last)
		}
		return req
	}
	const path = "/gatehouse/v1/log/tail"
	w.refuses(http.StatusBadRequest, "log/query", ask(path, "abc"))
	w.refuses(http.StatusBadRequest, "log/query", ask(path+"?code=x", ""))
	leave := api.Wait(w.api, 32)
	w.refuses(http.StatusTooManyRequests, "log/waiting", ask(path, ""))
	leave(1)
	w.stream(path, "").cancel()
	leave(31)
	other := ask(path, "abc")
	other.Header.Set("Accept", "text/event-streams, application/json")
	if status, reply := w.send(other, true); status != http.StatusOK {
		t.Errorf("without a stream: %d %v", status, reply)
	}
	w.key = w.serviceKey("analytics")
	w.refuses(http.StatusForbidden, "log/reader", ask(path, ""))
}
