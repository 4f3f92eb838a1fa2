package compliance_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"gatehouse"
	"gatehouse/internal/compliance"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/gateway"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// The whole way: an app reads posts through the gateway, one is deleted at X, the
// next run finds it, and it is handed over once, by its right name.
func TestAPostReadThroughTheGatewayIsDeleted(t *testing.T) {
	each(t, func(t *testing.T, d *desk) {
		const search = "GET /2/tweets/search/recent"
		set, err := policy.Compile([]policy.Purpose{
			{Name: "read", Why: "Show what is said", App: "main-x", Scopes: []string{"tweet.read", "users.read"}, Calls: []policy.Call{{Operation: search}}},
		}, policy.Enforce)
		if err != nil {
			t.Fatal(err)
		}
		g, err := gateway.New(gateway.Config{
			Surface: &wire.Surface{Name: "app"}, Egress: d.Egress, Log: d.Log, Handles: d.Directory, Connections: d.Connections,
			Settings: gateway.Settings{
				Policy:   set,
				Services: map[gatehouse.ServiceName]gateway.Service{"scheduler": {Purposes: []gatehouse.PurposeName{"read"}}},
				Apps:     map[gatehouse.AppName]gateway.App{"main-x": {Platform: gatehouse.X}},
			},
			Upstream:  map[gatehouse.Platform]map[platform.Role]string{gatehouse.X: {platform.RoleAPI: d.XURL}},
			Delivered: map[gatehouse.AppName]func(context.Context, []platform.Reference) error{"main-x": d.k.Recorder("main-x")},
		})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(g.Handler())
		defer server.Close()
		con := d.Connect("ada", "read", connecttest.Person(0))
		_, handle, err := d.Directory.NewHandle(t.Context(), identity.HandleRequest{
			Service: "scheduler", Connection: con.ID, Person: con.Person, Purpose: "read", Platform: con.Platform, App: con.App,
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/x/2/tweets/search/recent?query=the&tweet.fields=author_id", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+handle.Reveal())
		reply, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		var page struct {
			Data []struct {
				ID     string `json:"id"`
				Author string `json:"author_id"`
			} `json:"data"`
		}
		if err := json.NewDecoder(reply.Body).Decode(&page); err != nil || len(page.Data) < 2 {
			t.Fatalf("searching gives %d, %v", reply.StatusCode, err)
		}
		d.X.Redact(page.Data[1].ID, "deleted")

		d.run(d.k)
		d.run(d.k)
		if got := d.taken(); len(got) != 1 || got[0] != "post "+page.Data[1].ID+" deleted" {
			t.Errorf("found %q, want only post %s", got, page.Data[1].ID)
		}
		s := d.status(d.k)
		if s[compliance.Post].IDs != int64(len(page.Data)-1) || s[compliance.User].IDs == 0 {
			t.Errorf("left are %+v", s)
		}
		d.checkLog()
	})
}
