package api_test

import (
	"net/http"
	"testing"

	"gatehouse"
	"gatehouse/internal/cases"
)

// The app asks for a person to be erased, answers, and sees it done.
func TestErasureByTheApp(t *testing.T) {
	w := newWorld(t)
	c := w.connect("user-7", "publish")
	if none := w.ok(http.StatusAccepted, "POST", "/gatehouse/v1/erasures", `{"subject":"nobody"}`); len(none["duties"].([]any)) != 0 {
		t.Errorf("erasing nobody opens %v", none)
	}
	opened := w.ok(http.StatusAccepted, "POST", "/gatehouse/v1/erasures", `{"subject":"user-7"}`)["duties"].([]any)
	if len(opened) != 1 {
		t.Fatalf("opened are %v", opened)
	}
	duty := opened[0].(map[string]any)
	id := duty["id"].(string)
	if duty["state"] != "open" || duty["kind"] != "erasure" || duty["revoked_at"] == nil || duty["confirmation_code"] == "" {
		t.Errorf("the duty is %v", duty)
	}
	if got := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections/"+c["id"].(string), ""); got["status"] != "revoked" {
		t.Errorf("the connection is %v", got)
	}
	// By one of its connections it is the same duty.
	again := w.ok(http.StatusAccepted, "POST", "/gatehouse/v1/erasures", `{"connection":"`+c["id"].(string)+`"}`)["duties"].([]any)
	if len(again) != 1 || again[0].(map[string]any)["id"] != id {
		t.Errorf("asking again opens %v", again)
	}
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties?state=open&app=main-x", "")["duties"].([]any); len(list) != 1 {
		t.Errorf("open are %v", list)
	}
	if done := w.ok(http.StatusOK, "POST", "/gatehouse/v1/duties/"+id+"/done", ""); done["answered_at"] == nil {
		t.Errorf("answering gives %v", done)
	}
	if _, err := w.duties.Advance(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	got := w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties/"+id, "")
	if got["state"] != "done" || got["proof"] == nil || got["shredded_at"] == nil || len(got["waiting_for"].([]any)) != 0 {
		t.Errorf("the duty is %v", got)
	}
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties?state=open", "")["duties"].([]any); len(list) != 0 {
		t.Errorf("open are still %v", list)
	}
}

func TestDutiesArePaged(t *testing.T) {
	w := newWorld(t)
	for _, key := range []string{"a", "b", "c"} {
		if _, err := w.duties.Open(t.Context(), cases.Request{Kind: cases.ContentRemoved, Origin: cases.FromCompliance, App: "main-x", Platform: gatehouse.X, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	seen, after := 0, ""
	for range 3 {
		page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties?limit=2"+after, "")
		seen += len(page["duties"].([]any))
		next, more := page["next"].(string)
		if !more {
			break
		}
		after = "&after=" + next
	}
	if seen != 3 {
		t.Errorf("the pages have %d duties", seen)
	}
}

// Another service neither sees the duties of an app that is not its own, nor answers
// them; and bad requests are refused by name.
func TestDutiesAreGuarded(t *testing.T) {
	w := newWorld(t)
	c := w.connect("user-7", "publish")
	id := w.ok(http.StatusAccepted, "POST", "/gatehouse/v1/erasures", `{"subject":"user-7"}`)["duties"].([]any)[0].(map[string]any)["id"].(string)
	for body, rule := range map[string]string{
		`{}`: "api/erase", `{"subject":"a","connection":"b"}`: "api/erase", `{"person":"a"}`: "api/unknown-field",
	} {
		w.refuses(http.StatusBadRequest, rule, w.request("POST", "/gatehouse/v1/erasures", body))
	}
	w.refuses(http.StatusNotFound, "connect/unknown-connection", w.request("POST", "/gatehouse/v1/erasures", `{"connection":"conunknown"}`))
	w.refuses(http.StatusBadRequest, "api/duty-state", w.request("GET", "/gatehouse/v1/duties?state=late", ""))
	w.refuses(http.StatusBadRequest, "api/after", w.request("GET", "/gatehouse/v1/duties?after=unknown", ""))
	w.refuses(http.StatusBadRequest, "api/unknown-parameter", w.request("GET", "/gatehouse/v1/duties/"+id+"?x=1", ""))
	w.refuses(http.StatusNotFound, "duty/unknown", w.request("POST", "/gatehouse/v1/duties/dtyunknown/done", ""))

	w.key = w.serviceKey("analytics")
	for _, path := range []string{"/gatehouse/v1/duties/" + id, "/gatehouse/v1/duties/" + id + "/done"} {
		method := "GET"
		if path != "/gatehouse/v1/duties/"+id {
			method = "POST"
		}
		w.refuses(http.StatusNotFound, "duty/unknown", w.request(method, path, ""))
	}
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties", "")["duties"].([]any); len(list) != 0 {
		t.Errorf("another service sees %v", list)
	}
	w.refuses(http.StatusNotFound, "connect/unknown-connection", w.request("POST", "/gatehouse/v1/erasures", `{"connection":"`+c["id"].(string)+`"}`))
}
