package connect_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// settlement is one of everything that RevokeAll has to end.
type settlement struct {
	*connecttest.World
	t       *testing.T
	ids     map[string]gatehouse.ConnectionID
	handles []secret.Text
	system  string
	bearer  string
}

func settle(t *testing.T, w *connecttest.World) *settlement {
	t.Helper()
	s := &settlement{World: w, t: t, ids: map[string]gatehouse.ConnectionID{}}
	keep := func(name string, c connect.Connection) {
		s.ids[name] = c.ID
		s.handles = append(s.handles, handle(t, w, c))
	}
	for _, purpose := range []gatehouse.PurposeName{"publish", "pages", "gallery"} {
		keep(string(purpose), w.Connect("user-7", purpose, connecttest.Person(1)))
	}
	page, err := w.Connections.Adopt(t.Context(), w.Receipt(), s.ids["pages"], connect.Child{Kind: connect.KindPage, ExternalID: "page-9", Token: secret.New("EAApage")})
	if err != nil {
		t.Fatal(err)
	}
	keep("page", page)
	s.system = w.Meta.MintSystemUser()
	token, tokenSecret := w.X.MintOAuth1(connecttest.Person(2))
	for name, r := range map[string]connect.ImportRequest{
		"system": {App: "pages", Purposes: []gatehouse.PurposeName{"pages"}, Kind: connect.KindSystemUser, Access: secret.New(s.system)},
		"oauth1": {App: "main-x", Purposes: []gatehouse.PurposeName{"publish"}, Kind: connect.KindOAuth1, Access: secret.New(token), Refresh: secret.New(tokenSecret)},
	} {
		r.Service, r.Subject = "scheduler", "user-8"
		in, err := w.Connections.Import(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		keep(name, in.Connection)
	}
	w.Code("user-9", "publish", connecttest.Person(3)) // agreed to, and not redeemed
	s.bearer = w.X.AppBearer()
	return s
}

// nothingUsable asks the sandbox and the directory about everything there is.
func (s *settlement) nothingUsable() {
	s.t.Helper()
	for _, h := range s.handles {
		if _, err := s.Directory.AuthenticateHandle(s.t.Context(), h); err == nil {
			s.t.Error("a handle still works")
		}
	}
	for name, id := range s.ids {
		if _, err := s.Connections.Credential(s.t.Context(), s.Receipt(), id); err == nil {
			s.t.Errorf("%s can still be called with", name)
		}
	}
	for _, issued := range s.Tokens() {
		if strings.Contains(issued.Kind, "x access") || issued.Value == s.bearer {
			if status := callWith(s.t, s.World, issued.Value); status != http.StatusUnauthorized {
				s.t.Errorf("a token (%s) works at X: %d", issued.Kind, status)
			}
		}
	}
	if s.X.AppBearer() == s.bearer {
		s.t.Error("the app-only bearer is still the same")
	}
	if status := s.me(s.system); status == http.StatusOK {
		s.t.Error("the system user's token works at Facebook")
	}
}

// me asks the sandbox's Facebook who a token belongs to.
func (s *settlement) me(token string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.MetaURL+"/v25.0/me", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	reply.Body.Close()
	return reply.StatusCode
}

// Everything ends, here and at the platforms, and the report says of each
// connection how far that is.
func TestRevokeAll(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		s := settle(t, connecttest.New(t, dsn, connecttest.Options{}))
		var last, of int
		report, err := s.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", func(done, all int) { last, of = done, all })
		if err != nil {
			t.Fatal(err)
		}
		if last != of || of == 0 {
			t.Errorf("progress ended at %d of %d", last, of)
		}
		s.nothingUsable()
		want := map[string]connect.AtPlatform{
			"publish": connect.Confirmed, "pages": connect.Confirmed, "gallery": connect.NotOffered, "page": connect.WithParent,
			"system": connect.Confirmed, "oauth1": connect.Confirmed,
		}
		if len(report.Ended) != len(want) || report.OpenImports != 0 || len(report.Bearers) != 1 || report.Bearers["main-x"] != nil {
			t.Errorf("%+v", report)
		}
		for name, id := range s.ids {
			for _, one := range report.Ended {
				if one.ID == id && (one.AtPlatform != want[name] || one.Subject == "") {
					t.Errorf("%s is %s for %q, want %s", name, one.AtPlatform, one.Subject, want[name])
				}
			}
		}
		again, err := s.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
		if err != nil || len(again.Ended) != len(want) {
			t.Errorf("run again, it reports %d, %v", len(again.Ended), err)
		}
	})
}

// A scope leaves the rest alone.
func TestRevokeAllInScope(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	onX, onFacebook := w.Connect("user-7", "publish", connecttest.Person(1)), w.Connect("user-7", "pages", connecttest.Person(1))
	other := w.Connect("user-7", "mobile", connecttest.Person(2))
	report, err := w.Connections.RevokeAll(t.Context(), connect.Scope{Platform: gatehouse.X, App: "main-x"}, "stolen laptop", nil)
	if err != nil || len(report.Ended) != 1 || report.Ended[0].ID != onX.ID {
		t.Fatalf("%+v, %v", report, err)
	}
	works(t, w, onFacebook.ID, w.MetaURL+"/v25.0/me")
	works(t, w, other.ID, w.XURL+"/2/users/me")
	_, err = w.Connections.RevokeAll(t.Context(), connect.Scope{}, "", nil)
	refused(t, err, "connect/reason")
}

// The platform does not answer: everything is cut off here, the report says what
// is outstanding, and the next run gets it confirmed.
func TestRevokeAllWithoutThePlatform(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	bearer, issued := handle(t, w, c), lastIssued(w, "x access")
	fault := world.Fault{Match: world.FaultMatch{Path: "/2/oauth2/revoke"}, Status: http.StatusServiceUnavailable}
	if err := w.Faults.Add(fault); err != nil {
		t.Fatal(err)
	}
	fault.Match.Path = "/oauth2/invalidate_token"
	if err := w.Faults.Add(fault); err != nil {
		t.Fatal(err)
	}
	report, err := w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
	if err != nil || len(report.Ended) != 1 || report.Ended[0].AtPlatform != connect.Outstanding || report.Bearers["main-x"] == nil {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := w.Directory.AuthenticateHandle(t.Context(), bearer); err == nil {
		t.Error("the handle still works")
	}
	report, err = w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
	if err != nil || report.Ended[0].AtPlatform != connect.Confirmed || report.Bearers["main-x"] != nil {
		t.Errorf("%+v, %v", report, err)
	}
	if status := callWith(t, w, issued); status != http.StatusUnauthorized {
		t.Errorf("the token still works at the platform: %d", status)
	}
}

// cutting is a store that stops the program at the n-th save of connections.
type cutting struct {
	connect.Store
	at, seen int
}

func (c *cutting) SaveConnections(ctx context.Context, records ...connect.Record) error {
	if c.seen++; c.seen == c.at {
		panic(stopped{})
	}
	return c.Store.SaveConnections(ctx, records...)
}

// Stopped while it cuts off, and run again, it leaves nothing usable.
func TestRevokeAllInterrupted(t *testing.T) {
	for _, at := range []int{1, 2, 4, 6, 7} {
		w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
		s := settle(t, w)
		stop := &cutting{at: at}
		c := w.Open(connecttest.Options{Store: func(under connect.Store) connect.Store { stop.Store = under; return stop }})
		func() {
			defer func() {
				if _, ok := recover().(stopped); !ok {
					t.Errorf("at %d it was not stopped", at)
				}
			}()
			_, _ = c.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
		}()
		report, err := w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
		if err != nil || len(report.Ended) != len(s.ids) {
			t.Errorf("at %d: %d connections are reported, %v", at, len(report.Ended), err)
		}
		s.nothingUsable()
	}
}

// A pair that only an interrupted import holds is given back too.
func TestRevokeAllEndsOpenImports(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	stop := &stopping{at: 3}
	r := handedIn(mintX(t, w, connecttest.Person(1)))
	interrupted(t, w.Open(connecttest.Options{Store: func(under connect.Store) connect.Store { stop.Store = under; return stop }}), r)
	fresh := lastIssued(w, "x access")
	if status := callWith(t, w, fresh); status != http.StatusOK {
		t.Fatalf("the fresh pair does not work: %d", status)
	}
	if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/2/oauth2/revoke"}, Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{1, 0} {
		report, err := w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
		if err != nil || report.OpenImports != left {
			t.Fatalf("%+v, %v; want %d open", report, err, left)
		}
	}
	if status := callWith(t, w, fresh); status != http.StatusUnauthorized {
		t.Errorf("the fresh pair still works: %d", status)
	}
}

// A connection that is being renewed while everything ends does not come back.
func TestRevokeAllDuringRenewal(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	held, release := holdAt(w, "answered")
	defer release()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = w.Call(id, http.MethodGet, w.XURL+"/2/users/me")
	}()
	<-held
	if _, err := w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil); err != nil {
		t.Fatal(err)
	}
	release()
	<-done
	report, err := w.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
	if err != nil || len(report.Ended) != 1 || report.Ended[0].AtPlatform != connect.Confirmed {
		t.Errorf("%+v, %v", report, err)
	}
	if status := callWith(t, w, lastIssued(w, "x access")); status != http.StatusUnauthorized {
		t.Errorf("the fresh token works: %d", status)
	}
}

// The log cannot be written: everything is cut off all the same, and the error
// says that this is not the end of it.
func TestRevokeAllWithoutALog(t *testing.T) {
	log := &closedLog{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Audit: func(s audit.Store) audit.Store { log.Store = s; return log }})
	one, other := w.Connect("user-7", "publish", connecttest.Person(1)), w.Connect("user-8", "publish", connecttest.Person(2))
	bearers := []secret.Text{handle(t, w, one), handle(t, w, other)}
	log.closed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := w.Connections.RevokeAll(ctx, connect.Scope{}, "stolen laptop", nil); err == nil {
		t.Error("a sweep that the log knows nothing of is called done")
	}
	for _, bearer := range bearers {
		if _, err := w.Directory.AuthenticateHandle(t.Context(), bearer); err == nil {
			t.Error("a handle still works")
		}
	}
	for _, id := range []gatehouse.ConnectionID{one.ID, other.ID} {
		if rec, err := w.DB.Connect().Connection(t.Context(), id); err != nil || rec.Status != connect.Revoked || !rec.RevokeOutstanding {
			t.Errorf("%s is %s, %v", id, rec.Status, err)
		}
	}
}

// A row that somebody changed keeps nobody from seeing the others, nor from cutting off
// everything, itself included.
func TestAChangedRowHidesNoOthers(t *testing.T) {
	for _, column := range []string{"subject", "name", "platform_user"} {
		t.Run(column, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, dsn string) {
				s := settle(t, connecttest.New(t, dsn, connecttest.Options{}))
				changed := s.ids["publish"]
				storetest.OpenRaw(t, dsn).Exec("UPDATE connections SET "+column+" = access WHERE id = $1", string(changed))
				check := func(what string, list []connect.Connection, err error) {
					t.Helper()
					if err != nil || len(list) != len(s.ids) {
						t.Fatalf("%s: %d of %d, %v", what, len(list), len(s.ids), err)
					}
					for _, one := range list {
						if one.Unreadable != (one.ID == changed) || one.Unreadable && (one.Subject != "" || !strings.Contains(one.Next, "does not open")) || !one.Unreadable && one.Subject == "" {
							t.Errorf("%s: %+v", what, one)
						}
					}
				}
				list, err := s.Connections.List(t.Context(), connect.Selection{})
				check("the list", list, err)
				alive, err := s.Connections.Exportable(t.Context(), connect.Scope{})
				check("what is alive", alive, err)
				one, err := s.Connections.Get(t.Context(), changed)
				if err != nil || !one.Unreadable || one.Status != connect.Healthy {
					t.Errorf("by itself: %+v, %v", one, err)
				}
				report, err := s.Connections.RevokeAll(t.Context(), connect.Scope{}, "stolen laptop", nil)
				ended := make([]connect.Connection, 0, len(report.Ended))
				for _, one := range report.Ended {
					ended = append(ended, one.Connection)
				}
				check("what has ended", ended, err)
				s.nothingUsable()
			})
		})
	}
}
