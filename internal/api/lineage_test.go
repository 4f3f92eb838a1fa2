package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/fingerprint"
	"gatehouse/internal/identity"
	"gatehouse/internal/lineage"
	"gatehouse/internal/wire"
)

// setUpLineage makes what knows whose data went where; only the scheduler may ask.
func (w *world) setUpLineage() api.Lineage {
	w.t.Helper()
	index, err := fingerprint.New(fingerprint.Config{Key: fingerprint.Key{1}, Capacity: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	w.lineage, err = lineage.New(lineage.Config{
		Store: w.DB.Lineage(), Log: w.Log, Key: w.Connections.UserKey, Keys: w.Connections.UserKeys,
		Index: index,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return api.Lineage{
		Of: w.lineage, May: func(s gatehouse.ServiceName) bool { return s == "scheduler" },
		Keys: func(ctx context.Context, who string) ([]string, error) {
			id, cut := strings.CutPrefix(who, "x:")
			if !cut {
				return nil, wire.Refuse(gatehouse.ErrInvalid, "lineage/person", "no")
			}
			key, err := w.Connections.UserKey(ctx, "main-x", id)
			return []string{key}, err
		},
		Handle: func(ctx context.Context, id gatehouse.HandleID) (identity.Handle, []string, error) {
			h, err := w.Directory.Handle(ctx, id)
			return h, []string{"GET /2/users/me"}, err
		},
	}
}

func (w *world) noteDeliveries(handle gatehouse.HandleID) {
	w.t.Helper()
	err := w.lineage.Deliver(w.t.Context(), lineage.Source{
		Platform: gatehouse.X, App: "main-x", Operation: "GET /2/users/{id}", Purpose: "publish", Service: "scheduler", Handle: handle,
	}, []lineage.Delivered{
		{ID: "12345678", Values: []fingerprint.Value{{Class: gatehouse.PseudonymousID, Text: "12345678"}, {Class: gatehouse.Username, Text: "ada_l"}}},
		{ID: "87654321", Values: []fingerprint.Value{{Class: gatehouse.PseudonymousID, Text: "87654321"}}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	s := w.lineage.Search(lineage.Transfer{Service: "scheduler", Purpose: "publish", Destination: "a.example", Report: true})
	defer s.Close()
	s.Text("url", "", "12345678")
	if err := s.End(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// Every question is answered as documented.
func TestLineage(t *testing.T) {
	w := newWorld(t)
	c := w.Connect("ada", "publish", connecttest.Person(0))
	made := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", fmt.Sprintf(`{"connection":%q,"purpose":"publish"}`, c.ID))
	handle := made["id"].(string)
	w.noteDeliveries(gatehouse.HandleID(handle))

	flows := func(path string) []any {
		t.Helper()
		return w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/"+path, "")["flows"].([]any)
	}
	if got := flows("persons/x:12345678"); len(got) != 3 {
		t.Errorf("of one person there are %v", got)
	} else {
		number := got[0].(map[string]any)["person"].(map[string]any)["number"].(float64)
		if again := flows(fmt.Sprintf("persons/number:%.0f", number)); len(again) != 3 {
			t.Errorf("by number there are %v", again)
		}
	}
	if got := flows("persons/x:99"); len(got) != 0 {
		t.Errorf("of nobody there are %v", got)
	}
	for path, want := range map[string]int{
		"services/scheduler": 4, "services/other": 0, "flows": 4, "flows?since=2100-01-01": 0, "flows?until=2000-01-01": 0, "flows?limit=2": 2,
		"handles/" + handle: 3,
	} {
		if got := flows(path); len(got) != want {
			t.Errorf("%s: %d flows, want %d", path, len(got), want)
		}
	}
	next := w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/flows?limit=3", "")["next"].(string)
	if got := flows("flows?after=" + next); len(got) != 1 {
		t.Errorf("the second page holds %v", got)
	}
	if seen := w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/handles/"+handle, ""); seen["purpose"] != "publish" || len(seen["could"].([]any)) != 1 {
		t.Errorf("the handle: %v", seen)
	}
	for path, want := range map[string]int{"destinations/a.example": 1, "destinations/b.example": 0, "purposes/publish": 2} {
		if got := w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/"+path, "")["people"].([]any); len(got) != want {
			t.Errorf("%s: %v, want %d people", path, got, want)
		}
	}
	if s := w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/status", ""); s["fingerprints"] != 3.0 {
		t.Errorf("the status is %v", s)
	}
	w.ok(http.StatusNotFound, "GET", "/gatehouse/v1/lineage/handles/unknown", "")
	for path, rule := range map[string]string{
		"flows?limit=0": "api/limit", "flows?limit=1001": "api/limit", "flows?since=yesterday": "api/day", "flows?after=1": "lineage/after",
		"flows?since=2026-05-05&until=2026-05-04": "lineage/period", "flows?who=ada": "api/unknown-parameter", "persons/ada": "lineage/person",
		"persons/number:0": "api/person", "persons/number:4294967296": "api/person", "status?a=b": "api/unknown-parameter",
	} {
		w.refuses(http.StatusBadRequest, rule, w.request("GET", "/gatehouse/v1/lineage/"+path, ""))
	}
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/lineage/flows?since=2026-05-04&until=2026-05-04&limit=1000&after=1.0.0.0", "")
}

// A service that is not named learns nothing, not even whether there is something;
// where nothing is configured, nobody does.
func TestLineageIsForThoseWhoMayAsk(t *testing.T) {
	w := newWorld(t)
	w.noteDeliveries("")
	paths := []string{"persons/x:12345678", "persons/nonsense", "destinations/a.example", "services/scheduler", "handles/unknown", "purposes/publish", "flows", "status"}
	w.key = w.serviceKey("analytics")
	for _, path := range paths {
		w.refuses(http.StatusForbidden, "api/lineage", w.request("GET", "/gatehouse/v1/lineage/"+path, ""))
	}
	w.key = w.serviceKey("scheduler")
	a, err := api.New(api.Config{
		Connections: w.Connections, Directory: w.Directory, Records: w.records, Purposes: func(gatehouse.ServiceName) []api.Purpose { return nil },
		Surface: &wire.Surface{Name: "app", Log: slog.New(slog.DiscardHandler)}, Duties: w.duty,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		reply := httptest.NewRecorder()
		a.Handler().ServeHTTP(reply, w.request("GET", "/gatehouse/v1/lineage/"+path, ""))
		if reply.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, reply.Code, reply.Body)
		}
	}
}
