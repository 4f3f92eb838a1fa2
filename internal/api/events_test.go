package api_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/outbox"
	"gatehouse/internal/wire"
)

func (w *world) put(id string) {
	w.t.Helper()
	if err := w.events.Put(w.t.Context(), outbox.Event{ID: id, Type: "test.event", App: "main-x", Stream: "s", Data: json.RawMessage(`{"n":1}`)}); err != nil {
		w.t.Fatal(err)
	}
}

// An app without an endpoint fetches its events and acknowledges them.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	if page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/events", ""); len(page["events"].([]any)) != 0 || page["next"] != nil {
		t.Errorf("at first: %v", page)
	}
	for i := range 3 {
		w.put(fmt.Sprint("event-", i))
	}
	var seen []string
	for after := ""; ; {
		page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/events?limit=2"+after, "")
		for _, e := range page["events"].([]any) {
			e := e.(map[string]any)
			seen = append(seen, e["id"].(string))
			if e["type"] != "test.event" || e["app"] != "main-x" || e["data"].(map[string]any)["n"] != 1.0 {
				t.Errorf("fetched %v", e)
			}
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		after = "&after=" + next
	}
	if !slices.Equal(seen, []string{"event-0", "event-1", "event-2"}) {
		t.Errorf("fetched %v", seen)
	}
	for range 2 {
		w.ok(http.StatusNoContent, "POST", "/gatehouse/v1/events/event-0/ack", "")
	}
	page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/events", "")
	if left := page["events"].([]any); len(left) != 2 || left[0].(map[string]any)["id"] != "event-1" {
		t.Errorf("left are %v", left)
	}
	w.ok(http.StatusNotFound, "POST", "/gatehouse/v1/events/unknown/ack", "")
	for rule, path := range map[string]string{
		"api/unknown-parameter": "?state=dead", "api/repeated-parameter": "?limit=1&limit=2", "api/limit": "?limit=101", "events/after": "?after=-1",
	} {
		w.refuses(http.StatusBadRequest, rule, w.request("GET", "/gatehouse/v1/events"+path, ""))
	}
	w.refuses(http.StatusBadRequest, "api/limit", w.request("GET", "/gatehouse/v1/events?limit=0", ""))
	w.refuses(http.StatusBadRequest, "events/after", w.request("GET", "/gatehouse/v1/events?after=canary", ""))
}

// A service that is not named as a reader of events sees none, and cannot end
// one; where nothing is configured, nobody can.
func TestEventsAreForTheirReaders(t *testing.T) {
	w := newWorld(t)
	w.put("event-0")
	w.key = w.serviceKey("analytics")
	w.refuses(http.StatusForbidden, "api/events", w.request("GET", "/gatehouse/v1/events", ""))
	w.refuses(http.StatusForbidden, "api/events", w.request("POST", "/gatehouse/v1/events/event-0/ack", ""))
	w.refuses(http.StatusForbidden, "api/events", w.request("POST", "/gatehouse/v1/events/unknown/ack", ""))
	if d, err := w.events.State(t.Context(), "event-0"); err != nil || d.State != outbox.Waiting {
		t.Errorf("the event is %+v, %v", d, err)
	}
	w.key = w.serviceKey("scheduler")
	for name, change := range map[string]func(*api.Config){
		"no reader": func(c *api.Config) { c.Events = w.events },
		"no events": func(c *api.Config) { c.EventReader = func(gatehouse.ServiceName) bool { return true } },
	} {
		c := api.Config{
			Connections: w.Connections, Directory: w.Directory, Records: w.records, Purposes: func(gatehouse.ServiceName) []api.Purpose { return nil },
			Surface: &wire.Surface{Name: "app", Log: slog.New(slog.DiscardHandler)}, Duties: w.duty,
		}
		change(&c)
		a, err := api.New(c)
		if err != nil {
			t.Fatal(err)
		}
		reply := httptest.NewRecorder()
		a.Handler().ServeHTTP(reply, w.request("GET", "/gatehouse/v1/events", ""))
		if reply.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, reply.Code, reply.Body)
		}
	}
}
