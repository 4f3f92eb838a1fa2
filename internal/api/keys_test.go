package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity"
)

// boundKey has the world call with a key of the scheduler that is bound.
func (w *world) boundKey(purpose gatehouse.PurposeName) identity.ServiceKey {
	w.t.Helper()
	key, text, err := w.Directory.MakeServiceKey(w.t.Context(), identity.KeyRequest{Service: "scheduler", Purpose: purpose, Life: time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	w.key = text.Reveal()
	return key
}

// A key that is bound to a purpose does everything for that one and nothing for
// another, nor what concerns all of them; a key for no purpose does only the last.
func TestKeysOfOnePurpose(t *testing.T) {
	w := newWorld(t)
	wide := w.key
	mine, other := w.connect("user-7", "publish"), w.connect("user-8", "read")
	myID, otherID := mine["id"].(string), other["id"].(string)
	w.key = wide
	otherHandle := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+otherID+`","purpose":"read"}`)
	w.ok(http.StatusCreated, "PUT", "/gatehouse/v1/records/read/email?subject=user-7", `{"value":"x"}`)
	sealed := w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", `{"subject":"user-7","purpose":"read","label":"l","data":"YQ=="}`)["sealed"].(string)

	const refused = "identity/key-purpose"
	key := w.boundKey("publish")
	me := w.ok(http.StatusOK, "GET", "/gatehouse/v1/me", "")
	shown, _ := me["key"].(map[string]any)
	if list := me["purposes"].([]any); len(list) != 1 || shown["id"] != string(key.ID) || shown["purpose"] != "publish" || shown["expires_at"] == nil {
		t.Errorf("me = %v", me)
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/gatehouse/v1/connections", strings.Replace(begin, "publish", "read", 1)},
		{"POST", "/gatehouse/v1/connections", strings.Replace(begin, `"publish"`, `"publish","read"`, 1)},
		{"POST", "/gatehouse/v1/connections/import", `{"app":"main-x","subject":"s","purposes":["read"],"access_token":"t"}`},
		{"GET", "/gatehouse/v1/connections/" + otherID, ""},
		{"DELETE", "/gatehouse/v1/connections/" + otherID, ""},
		{"POST", "/gatehouse/v1/handles", `{"connection":"` + myID + `","purpose":"read"}`},
		{"POST", "/gatehouse/v1/handles", `{"connection":"` + otherID + `","purpose":"publish"}`},
		{"DELETE", "/gatehouse/v1/handles/" + otherHandle["id"].(string), ""},
		{"POST", "/gatehouse/v1/seal", `{"subject":"user-7","purpose":"read","label":"l","data":"YQ=="}`},
		{"POST", "/gatehouse/v1/open", `{"subject":"user-7","purpose":"read","label":"l","sealed":"` + sealed + `"}`},
		{"PUT", "/gatehouse/v1/records/read/email?subject=user-7", `{"value":"x"}`},
		{"GET", "/gatehouse/v1/records/read/email?subject=user-7", ""},
		{"DELETE", "/gatehouse/v1/records/read/email?subject=user-7", ""},
		{"POST", "/gatehouse/v1/erasures", `{"subject":"user-7"}`},
		{"GET", "/gatehouse/v1/duties", ""},
		{"GET", "/gatehouse/v1/duties/d", ""},
		{"POST", "/gatehouse/v1/duties/d/done", ""},
		{"GET", "/gatehouse/v1/events", ""},
		{"POST", "/gatehouse/v1/events/e/ack", ""},
		{"GET", "/gatehouse/v1/lineage/purposes/publish", ""},
		{"GET", "/gatehouse/v1/log/checkpoint", ""},
		{"GET", "/gatehouse/v1/log/entries", ""},
		{"GET", "/gatehouse/v1/logs", ""},
	} {
		w.refuses(http.StatusForbidden, refused, w.request(c.method, c.path, c.body))
	}
	// Near each of them, what it is for.
	w.ok(http.StatusCreated, "POST", "/gatehouse/v1/connections", begin)
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections", "")["connections"].([]any); len(list) != 1 {
		t.Errorf("a bound key sees the connections %v, want that of its purpose", list)
	}
	handle := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+myID+`","purpose":"publish"}`)
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/handles", "")["handles"].([]any); len(list) != 1 {
		t.Errorf("a bound key sees the handles %v, want that of its purpose", list)
	}
	w.ok(http.StatusNoContent, "DELETE", "/gatehouse/v1/handles/"+handle["id"].(string), "")
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/seal", `{"subject":"user-7","purpose":"publish","label":"l","data":"YQ=="}`)
	w.ok(http.StatusCreated, "PUT", "/gatehouse/v1/records/publish/email?subject=user-7", `{"value":"x"}`)
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/records?subject=user-7", "")["records"].([]any); len(list) != 1 {
		t.Errorf("a bound key sees the records %v, want that of its purpose", list)
	}
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/limits", "")
	w.ok(http.StatusOK, "DELETE", "/gatehouse/v1/connections/"+myID, "")

	w.boundKey(identity.NoPurpose)
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/me", "")["purposes"].([]any); len(list) != 0 {
		t.Errorf("a key for no purpose may be used for %v", list)
	}
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/events", "")
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/duties", "")
	w.refuses(http.StatusForbidden, refused, w.request("POST", "/gatehouse/v1/connections", begin))
	w.refuses(http.StatusForbidden, refused, w.request("GET", "/gatehouse/v1/connections/"+otherID, ""))

	w.key = wide
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections/"+otherID, "")
	if err := w.Directory.FlushKeyUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k, err := w.Directory.ServiceKey(t.Context(), key.ID); err != nil || k.Used.Count < 30 || k.Used.From.String() != "127.0.0.0/24" {
		t.Errorf("uses of the bound key: %+v, %v", k.Used, err)
	}
}

// A code is redeemed by a key for the purposes that the person connected for, and a
// key for others does not use it up.
func TestRedeemingWithAKeyOfAnotherPurpose(t *testing.T) {
	w := newWorld(t)
	wide := w.key
	code := w.code("user-7", "publish")
	w.boundKey("read")
	body := `{"code":"` + code + `","subject":"user-7"}`
	w.refuses(http.StatusForbidden, "identity/key-purpose", w.request("POST", "/gatehouse/v1/connections/redeem", body))
	w.boundKey("publish")
	w.ok(http.StatusOK, "POST", "/gatehouse/v1/connections/redeem", body)
	w.key = wide
}
