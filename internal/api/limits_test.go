package api_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
)

// What is left is shown for a service's own connections and its apps, the least
// first, and nothing of another service's.
func TestLimits(t *testing.T) {
	w := newWorld(t)
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/limits", "")["limits"].([]any); len(list) != 0 {
		t.Errorf("before any call: %v", list)
	}
	reset := time.Now().Add(10 * time.Minute).Truncate(time.Second)
	call := func(service gatehouse.ServiceName, app gatehouse.AppName, p gatehouse.Platform, owner string, h http.Header) {
		t.Helper()
		c := budget.Call{App: app, Platform: p, Owner: owner, Service: service, Connection: gatehouse.ConnectionID("con-" + owner), Operation: "GET /2/tweets"}
		ticket, err := w.budgets.Admit(c)
		if err != nil {
			t.Fatal(err)
		}
		ticket.Sent()
		ticket.Learn(&c, 200, h)
		ticket.Settle()
	}
	window := func(remaining int) http.Header {
		return http.Header{"X-Rate-Limit-Limit": {"100"}, "X-Rate-Limit-Remaining": {strconv.Itoa(remaining)}, "X-Rate-Limit-Reset": {strconv.FormatInt(reset.Unix(), 10)}}
	}
	call("scheduler", "main-x", gatehouse.X, "ada", window(70))
	call("scheduler", "main-x", gatehouse.X, "bob", window(0))
	call("analytics", "main-x", gatehouse.X, "eve", window(1))
	call("analytics", "pages", gatehouse.Facebook, "eve", http.Header{"X-App-Usage": {`{"call_count":42}`}})
	call("scheduler", "foreign", gatehouse.X, "ada", window(2))

	list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/limits", "")["limits"].([]any)
	if len(list) != 3 {
		t.Fatalf("the limits are %v", list)
	}
	bob, pages := list[0].(map[string]any), list[1].(map[string]any)
	if bob["connection"] != "con-bob" || bob["remaining"] != 0.0 || bob["limit"] != 100.0 || bob["documented"] != true ||
		bob["resets_at"] != reset.UTC().Format(time.RFC3339) || bob["used_percent"] != nil {
		t.Errorf("bob's is %v", bob)
	}
	if pages["app"] != "pages" || pages["pool"] != "app" || pages["used_percent"] != 42.0 || pages["limit"] != nil || pages["connection"] != nil {
		t.Errorf("the app's is %v", pages)
	}
	for query, want := range map[string]int{"?app=main-x": 2, "?connection=con-ada": 1, "?connection=con-eve": 0, "?limit=1": 1} {
		got := w.ok(http.StatusOK, "GET", "/gatehouse/v1/limits"+query, "")
		if len(got["limits"].([]any)) != want || (got["more"] == true) != (query == "?limit=1") {
			t.Errorf("%s: %v", query, got)
		}
	}
	w.refuses(http.StatusBadRequest, "api/unknown-parameter", w.request("GET", "/gatehouse/v1/limits?service=analytics", ""))
	w.refuses(http.StatusBadRequest, "api/limit", w.request("GET", "/gatehouse/v1/limits?limit=0", ""))
	w.key = w.serviceKey("analytics")
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/limits", "")["limits"].([]any); len(list) != 1 || list[0].(map[string]any)["connection"] != "con-eve" {
		t.Errorf("the other service sees %v", list)
	}
}
