package api

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/internal/audit"
)

const (
	// eventStream is the media type of server-sent events.
	eventStream = "text/event-stream"
	// heartbeat is how often a stream without entries says that it lives, and whether
	// its service may still read is looked at.
	heartbeat = 15 * time.Second
	// streamLife is how long a stream lasts. Its client comes back, and shows its key.
	streamLife = 5 * time.Minute
)

// wantsEvents reports whether a request asks for server-sent events.
func wantsEvents(r *http.Request) bool {
	for _, list := range r.Header.Values("Accept") {
		for one := range strings.SplitSeq(list, ",") {
			if t, _, err := mime.ParseMediaType(one); err == nil && t == eventStream {
				return true
			}
		}
	}
	return false
}

// resumed puts what a client has seen last, which it says when it comes back to the same
// address, in the place of the cursor.
func resumed(r *http.Request) *http.Request {
	last := r.Header.Get("Last-Event-ID")
	query, err := url.ParseQuery(r.URL.RawQuery)
	if last == "" || err != nil || len(query["cursor"]) > 1 {
		return r
	}
	query.Set("cursor", last)
	again := r.Clone(r.Context())
	again.URL.RawQuery = query.Encode()
	return again
}

// streamLog sends entries as events until the client leaves: each event is what a
// request without a stream is answered, and its id the cursor that goes on after it.
func (a *API) streamLog(w http.ResponseWriter, r *http.Request, c caller, tail *audit.Tail) error {
	control := http.NewResponseController(w)
	// Who does not read what is sent is cut off by the listener (wire.ServerConfig.WriteStall).
	send := func(text string) error {
		if _, err := w.Write([]byte(text)); err != nil { //nolint:gosec // an event stream of JSON, which no browser takes for a page
			return err
		}
		return control.Flush()
	}
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("Cache-Control", "no-store")
	if err := send("retry: 1000\n\n"); err != nil {
		return nil //nolint:nilerr // The client is gone.
	}
	clock, beat, end := time.NewTicker(tailEvery), time.NewTicker(heartbeat), time.NewTimer(streamLife)
	defer clock.Stop()
	defer beat.Stop()
	defer end.Stop()
	for {
		entries, more, err := tail.Next(r.Context())
		if err != nil {
			return err
		}
		if len(entries) > 0 {
			b, err := json.Marshal(logEntries{entries, tail.Cursor()})
			if err != nil {
				return err
			}
			if send(fmt.Sprintf("id: %s\ndata: %s\n\n", tail.Cursor(), b)) != nil {
				return nil
			}
		}
		if more {
			continue
		}
		select {
		case <-clock.C:
		case <-beat.C:
			if a.readsLog(c) != nil || send(":\n\n") != nil {
				return nil
			}
		case <-end.C:
			return nil
		case <-a.ending:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// EndStreams ends what has no end of its own, so that a shutdown need not wait for it.
// Nothing begins any more. It may be called once.
func (a *API) EndStreams() { close(a.ending) }
