package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/store/storetest"
)

// Somebody with access to the database changed one person's row. Operators and the app
// still see all connections, which one it is and what to do, and can end it.
func TestAChangedRowIsSeenAndEnded(t *testing.T) {
	h := newHouse(t)
	h.start()
	ada, grace := h.connectPerson(demoX, "ada", h.box.People()[0]), h.connectPerson(demoX, "grace", h.box.People()[1])
	storetest.OpenRaw(t, h.load().Store.Text().Reveal()).Exec("UPDATE connections SET subject = access WHERE id = $1", ada.Connection)
	type row struct {
		ID         string `json:"id"`
		Subject    string `json:"subject"`
		Status     string `json:"status"`
		Next       string `json:"next_step"`
		Unreadable bool   `json:"unreadable"`
	}
	check := func(what string, list []row) {
		t.Helper()
		if len(list) != 2 {
			t.Fatalf("%s: %+v", what, list)
		}
		for _, r := range list {
			if changed := r.ID == ada.Connection; r.Unreadable != changed || strings.Contains(r.Next, "does not open") != changed || (r.Subject == "") != changed || !changed && r.Subject != "grace" {
				t.Errorf("%s: %+v", what, r)
			}
		}
	}
	out, errOut, code := h.gatehouse("connect", "list", "--json")
	var list []row
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != exitDone || !strings.Contains(errOut, "warning: "+ada.Connection) || strings.Contains(errOut, grace.Connection) {
		t.Errorf("connect list: %d, %v\n%s%s", code, err, out, errOut)
	}
	check("connect list", list)
	if out := h.must("connect", "list"); !strings.Contains(out, "(does not open)") {
		t.Errorf("connect list: %s", out)
	}
	if out := h.must("connect", "show", ada.Connection); !strings.Contains(out, `"unreadable": true`) {
		t.Errorf("connect show: %s", out)
	}
	var page struct {
		Connections []row `json:"connections"`
	}
	if err := h.api().do(t.Context(), http.MethodGet, "/gatehouse/v1/connections", nil, &page); err != nil {
		t.Fatal(err)
	}
	check("the app's list", page.Connections)
	// Its tokens are neither handed out nor taken away, the others' are.
	for _, args := range [][]string{{"service", "handle", "create", "--service", "demo", "--purpose", "publish", "--connection"}, {"connect", "export", "--out", "out.json"}} {
		if _, errOut, code := h.gatehouse(append(args, ada.Connection)...); code != exitFailed || !strings.Contains(errOut, "does not open") {
			t.Errorf("%v: %d %s", args, code, errOut)
		}
	}
	if out, errOut, _ := h.gatehouse("connect", "export", "--all", "--out", "out.json"); !strings.Contains(errOut, ada.Connection+" is left out") || strings.Contains(out, ada.Connection) {
		t.Errorf("connect export: %s%s", out, errOut)
	}
	var ended row
	if err := h.api().do(t.Context(), http.MethodDelete, "/gatehouse/v1/connections/"+ada.Connection, nil, &ended); err != nil || ended.Status != "revoked" {
		t.Errorf("the app ends it: %+v, %v", ended, err)
	}
	if status, _, err := h.call(t.Context(), http.MethodGet, "/x/2/users/me", ada.Handle, nil); err != nil || status == http.StatusOK {
		t.Errorf("with its handle: %d, %v", status, err)
	}
	// Whoever it belongs to can be erased, and the app is told of all that they have.
	var opened struct {
		Duties []struct {
			ID string `json:"id"`
		} `json:"duties"`
	}
	if err := h.api().do(t.Context(), http.MethodPost, "/gatehouse/v1/erasures", map[string]string{"subject": "ada"}, &opened); err != nil || len(opened.Duties) != 1 {
		t.Errorf("an erasure: %+v, %v", opened, err)
	}
	h.opens("grace", grace)
}
