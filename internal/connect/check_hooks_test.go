package connect_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
)

// control gives the sandbox's Meta an order.
func control(t *testing.T, w *connecttest.World, what string, body map[string]any) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.MetaURL+"/_sandbox/"+what, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		t.Fatalf("the sandbox answers %s with %d", what, reply.StatusCode)
	}
}

// graph asks Facebook with a token, as a connection would.
func graph(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID, path string, into any) {
	t.Helper()
	k, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.MetaURL+"/v25.0"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Authorize(req); err != nil {
		t.Fatal(err)
	}
	reply, err := w.Egress.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if err := json.NewDecoder(reply.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// firstPage returns the first page of a connection's person, and its token.
func firstPage(t *testing.T, w *connecttest.World, user gatehouse.ConnectionID) (id, token string) {
	t.Helper()
	var pages struct {
		Data []struct {
			ID    string `json:"id"`
			Token string `json:"access_token"`
		} `json:"data"`
	}
	if graph(t, w, user, "/me/accounts", &pages); len(pages.Data) == 0 {
		t.Fatal("the person has no page")
	}
	return pages.Data[0].ID, pages.Data[0].Token
}

// oldChecks is a store whose due checks are those of a while ago.
type oldChecks struct {
	connect.Store
	old connect.Record
}

func (s *oldChecks) DueChecks(context.Context, time.Time, int) ([]connect.Record, error) {
	return []connect.Record{s.old}, nil
}
