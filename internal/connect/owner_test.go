package connect_test

import (
	"net/http"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// Whose budgets a connection draws on: a person's, whichever connection; a page's
// own; the app's.
func TestOwner(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	owner := func(id gatehouse.ConnectionID) string {
		t.Helper()
		for range 2 { // the second time it is remembered
			if _, err := w.Connections.Owner(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		o, _ := w.Connections.Owner(t.Context(), id)
		return o
	}
	first, second := w.Connect("one", "publish", connecttest.Person(1)), w.Connect("two", "publish", connecttest.Person(1))
	if owner(first.ID) == "" || owner(first.ID) != owner(second.ID) {
		t.Errorf("two connections of one person: %q, %q", owner(first.ID), owner(second.ID))
	}
	other := w.Connect("three", "publish", connecttest.Person(2))
	if owner(other.ID) == owner(first.ID) {
		t.Error("two people are one owner")
	}
	child := func(kind connect.Kind) gatehouse.ConnectionID {
		t.Helper()
		c, err := w.Connections.Adopt(t.Context(), w.Receipt(), first.ID, connect.Child{Kind: kind, ExternalID: "9", Token: secret.New("token-" + string(kind))})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	if page := child(connect.KindPage); owner(page) != string(page) {
		t.Errorf("a page's: %q", owner(page))
	}
	if app := owner(child(connect.KindApp)); app != "" {
		t.Errorf("the app's: %q", app)
	}
	if _, err := w.Connections.Owner(t.Context(), "con-unknown"); err == nil {
		t.Error("an unknown connection has an owner")
	}
}

// Background work asks for its own share; the registry's own calls teach the budgets
// by the platform's time, and are never refused.
func TestOwnCallsTeach(t *testing.T) {
	clock := &world.Clock{}
	clock.SetSkew(3 * time.Hour)
	var w *connecttest.World
	budgets := budget.New(budget.Config{Now: func(app gatehouse.AppName) time.Time { return w.Connections.PlatformTime(app) }})
	w = connecttest.New(t, storetest.SQLite(t), connecttest.Options{Budgets: budgets, Clock: clock})
	w.Connect("one", "pages", connecttest.Person(1))
	known := budgets.Snapshot()
	if len(known) != 1 || known[0].Pool != "app" || known[0].App != "pages" {
		t.Fatalf("after a connection: %+v", known)
	}
	if ahead := time.Until(w.Connections.PlatformTime("pages")); ahead < 3*time.Hour-time.Minute || ahead > 3*time.Hour+time.Minute {
		t.Errorf("the platform's time is %s ahead", ahead)
	}
	const op = "GET /debug_token"
	ask := func() error {
		ticket, call, err := w.Connections.Background("pages", "ada", op)
		ticket.Settle()
		if call.Platform != gatehouse.Facebook || !call.Background || call.Operation != op {
			t.Errorf("the call is %+v", call)
		}
		return err
	}
	budgets.Observe("pages", gatehouse.Facebook, 200, http.Header{"X-App-Usage": {`{"call_count":99}`}}, nil)
	if _, err := budgets.Admit(budget.Call{App: "pages", Platform: gatehouse.Facebook, Owner: "ada", Service: "s", Operation: op}); err == nil {
		t.Error("a caller is admitted at 99 %")
	}
	if err := ask(); err != nil {
		t.Errorf("background work: %v", err)
	}
	budgets.Observe("pages", gatehouse.Facebook, 400, nil, []byte(`{"error":{"code":4}}`))
	if err := ask(); err == nil {
		t.Error("background work is admitted although the app is throttled")
	}
	// A health check waits for what is refused to everybody, and goes on while only
	// callers are held. A grant is connected all the same.
	id := w.Connect("two", "pages", connecttest.Person(2)).ID
	before := asked(w, "/debug_token")
	checkNow(t, w)
	if n := asked(w, "/debug_token") - before; n != 0 {
		t.Errorf("%d checks were made although the app is throttled", n)
	}
	if in := stored(t, w, id).CheckAt.Sub(w.Connections.PlatformTime("pages")); in < 50*time.Second || in > 3*time.Minute {
		t.Errorf("the check comes in %s", in)
	}
	held := budget.New(budget.Config{})
	other := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Budgets: held})
	other.Connect("one", "pages", connecttest.Person(1))
	held.Observe("pages", gatehouse.Facebook, 200, http.Header{"X-App-Usage": {`{"call_count":97}`}}, nil)
	checkNow(t, other)
	if n := asked(other, "/debug_token"); n != 1 {
		t.Errorf("%d checks were made while callers are held", n)
	}

	without := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	ticket, _, err := without.Connections.Background("pages", "ada", op)
	if ticket != nil || err != nil {
		t.Errorf("without budgets: %v %v", ticket, err)
	}
}
