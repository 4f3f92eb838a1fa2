package connect_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/identity"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// handle makes a handle of a connection.
func handle(t *testing.T, w *connecttest.World, c connect.Connection) secret.Text {
	t.Helper()
	_, text, err := w.Directory.NewHandle(t.Context(), identity.HandleRequest{
		Service: "scheduler", Connection: c.ID, Person: c.Person, Purpose: c.Purposes[0], Platform: c.Platform, App: c.App,
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Revoking ends the grant at the platform, the handles here, and drops the
// tokens.
func TestRevoke(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		for _, purpose := range []gatehouse.PurposeName{"publish", "pages", "gallery", "generic"} {
			c := w.Connect("user-7", purpose, connecttest.Person(1))
			bearer, issued := handle(t, w, c), lastIssued(w, "access")
			if err := w.Connections.Revoke(t.Context(), c.ID, "asked by a test"); err != nil {
				t.Fatalf("%s: %v", purpose, err)
			}
			if _, err := w.Directory.AuthenticateHandle(t.Context(), bearer); err == nil {
				t.Errorf("%s: the handle still works", purpose)
			}
			_, err := w.Call(c.ID, http.MethodGet, w.XURL+"/2/users/me")
			refused(t, err, "connect/revoked")
			after, err := w.Connections.Get(t.Context(), c.ID)
			if err != nil || after.Status != connect.Revoked || after.RevokeOutstanding || after.Reason != "asked by a test" {
				t.Errorf("%s: %+v, %v", purpose, after, err)
			}
			if c.Platform == gatehouse.X || c.Platform == gatehouse.OAuth2 {
				if status := callWith(t, w, issued); status != http.StatusUnauthorized {
					t.Errorf("%s: the token still works at the platform: %d", purpose, status)
				}
			}
			rec, err := w.DB.Connect().Connection(t.Context(), c.ID)
			if err != nil || rec.Access != nil || rec.Refresh != nil {
				t.Errorf("%s: tokens are kept after the platform confirmed", purpose)
			}
			if err := w.Connections.Revoke(t.Context(), c.ID, "again"); err != nil {
				t.Errorf("%s: revoking again: %v", purpose, err)
			}
		}
	})
}

// The platform does not answer: the connection is cut off here at once, and the
// platform is asked again until it confirms.
func TestRevokeWithoutThePlatform(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	bearer, issued := handle(t, w, c), lastIssued(w, "access")
	if err := w.Faults.Add(world.Fault{Match: world.FaultMatch{Path: "/2/oauth2/revoke"}, Status: http.StatusServiceUnavailable}); err != nil {
		t.Fatal(err)
	}
	if err := w.Connections.Revoke(t.Context(), c.ID, "asked by a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Directory.AuthenticateHandle(t.Context(), bearer); err == nil {
		t.Error("the handle still works")
	}
	if after, err := w.Connections.Get(t.Context(), c.ID); err != nil || after.Status != connect.Revoked || !after.RevokeOutstanding {
		t.Fatalf("%+v, %v", after, err)
	}
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := callWith(t, w, issued); status != http.StatusOK {
		t.Fatalf("the platform was asked again without a pause: %d", status)
	}
	if err := w.Connections.Revoke(t.Context(), c.ID, "asked again"); err != nil {
		t.Fatal(err)
	}
	if after, err := w.Connections.Get(t.Context(), c.ID); err != nil || after.RevokeOutstanding || after.Reason != "asked by a test" {
		t.Errorf("%+v, %v", after, err)
	}
	if status := callWith(t, w, issued); status != http.StatusUnauthorized {
		t.Errorf("the token still works at the platform: %d", status)
	}
}

// A token found in a reply becomes a child: always the same connection, cut off
// with its parent.
func TestChildren(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := connecttest.New(t, dsn, connecttest.Options{})
		parent := w.Connect("user-7", "pages", connecttest.Person(1))
		adopt := func(token string) connect.Connection {
			t.Helper()
			c, err := w.Connections.Adopt(t.Context(), w.Receipt(), parent.ID, connect.Child{
				Kind: connect.KindPage, ExternalID: "page-9", Name: "Page", Token: secret.New(token),
			})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		first := adopt("EAAfirst")
		if first.Parent != parent.ID || first.Person != parent.Person || first.PlatformUser != "page-9" || first.Subject != "user-7" ||
			first.Status != connect.Healthy || first.Kind != connect.KindPage {
			t.Errorf("adopted: %+v", first)
		}
		if again := adopt("EAAfirst"); again.ID != first.ID || again.Version != first.Version {
			t.Errorf("the same token wrote again: %+v", again)
		}
		if renewed := adopt("EAAsecond"); renewed.ID != first.ID || renewed.Version == first.Version {
			t.Errorf("a new token gave %+v", renewed)
		}
		k, err := w.Connections.Credential(t.Context(), w.Receipt(), first.ID)
		if err != nil || !k.Is("EAAsecond") || k.Is("EAAfirst") || k.Is("") || k.Kind() != connect.KindPage {
			t.Errorf("the child's credential: %v", err)
		}
		bearer := handle(t, w, first)
		if err := w.Connections.Revoke(t.Context(), parent.ID, "asked by a test"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Directory.AuthenticateHandle(t.Context(), bearer); err == nil {
			t.Error("the child's handle still works")
		}
		_, err = w.Connections.Credential(t.Context(), w.Receipt(), first.ID)
		refused(t, err, "connect/revoked")
		_, err = w.Connections.Adopt(t.Context(), w.Receipt(), parent.ID, connect.Child{Kind: connect.KindPage, ExternalID: "page-9", Token: secret.New("EAAthird")})
		refused(t, err, "connect/revoked")
	})
}

// dyingStore fails to save children while it is broken, as if the process had
// died behind their parent; and watches how long a save may take.
type dyingStore struct {
	connect.Store
	broken  bool
	hurried bool
}

func (s *dyingStore) SaveConnections(ctx context.Context, records ...connect.Record) error {
	for _, r := range records {
		if s.broken && r.Parent != "" {
			return errors.New("the process died")
		}
		_, bounded := ctx.Deadline()
		s.hurried = s.hurried || bounded && r.Status == connect.Revoked
	}
	return s.Store.SaveConnections(ctx, records...)
}

// A revocation that dies behind the parent is completed by the work in the
// background: the child does not outlive it.
func TestRevokeDiesBeforeTheChildren(t *testing.T) {
	dying := &dyingStore{}
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{Store: func(s connect.Store) connect.Store {
		dying.Store = s
		return dying
	}})
	parent := w.Connect("user-7", "pages", connecttest.Person(1))
	child, err := w.Connections.Adopt(t.Context(), w.Receipt(), parent.ID, connect.Child{Kind: connect.KindPage, ExternalID: "page-9", Token: secret.New("EAA")})
	if err != nil {
		t.Fatal(err)
	}
	dying.broken = true
	if err := w.Connections.Revoke(t.Context(), parent.ID, "asked by a test"); err == nil {
		t.Fatal("a revocation that left a child standing succeeded")
	}
	dying.broken = false
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, id := range []gatehouse.ConnectionID{parent.ID, child.ID} {
		if c, err := w.Connections.Get(t.Context(), id); err != nil || c.Status != connect.Revoked || c.RevokeOutstanding {
			t.Errorf("%+v, %v", c, err)
		}
	}
	if dying.hurried {
		t.Error("what the platform answered is saved in the time that the platform left over")
	}
}

// Facebook ends all of a person's connections with one; the others say so.
func TestFacebookEndsSiblings(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	one, other := w.Connect("user-7", "pages", connecttest.Person(1)), w.Connect("user-8", "pages", connecttest.Person(1))
	stranger := w.Connect("user-9", "pages", connecttest.Person(2))
	if err := w.Connections.Revoke(t.Context(), one.ID, "asked by a test"); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[gatehouse.ConnectionID]connect.Status{one.ID: connect.Revoked, other.ID: connect.ReconnectNeeded, stranger.ID: connect.Healthy} {
		if c, err := w.Connections.Get(t.Context(), id); err != nil || c.Status != want {
			t.Errorf("%s is %s, want %s, %v", id, c.Status, want, err)
		}
	}
}

// The platform refuses a token for good: children die with it, unless only its
// own time has passed.
func TestMarkDead(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	for class, childUsable := range map[string]bool{"expired": true, "revoked": false} {
		parent := w.Connect(gatehouseSubject(class), "pages", connecttest.Person(1))
		child, err := w.Connections.Adopt(t.Context(), w.Receipt(), parent.ID, connect.Child{Kind: connect.KindPage, ExternalID: "page-9", Token: secret.New("EAA")})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Connections.MarkDead(t.Context(), parent.ID, class); err != nil {
			t.Fatal(err)
		}
		_, err = w.Connections.Credential(t.Context(), w.Receipt(), parent.ID)
		refused(t, err, "connect/reconnect-needed")
		after, err := w.Connections.Get(t.Context(), child.ID)
		if err != nil || after.Status.Usable() != childUsable {
			t.Errorf("%s: the child is %s, %v", class, after.Status, err)
		}
	}
}

func gatehouseSubject(class string) string { return "user-" + class }

// A grant that nobody redeems is given back, but a person's other connection to
// the same Facebook app is not taken along.
func TestForgottenGrantIsGivenBack(t *testing.T) {
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{})
	kept := w.Connect("user-7", "pages", connecttest.Person(1))
	for _, code := range []secret.Text{
		w.Code("user-8", "pages", connecttest.Person(1)), w.Code("user-8", "publish", connecttest.Person(1)),
	} {
		_, err := w.Connections.Redeem(t.Context(), code, "somebody else", "scheduler")
		refused(t, err, "connect/wrong-subject")
	}
	token := lastIssued(w, "x access")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := callWith(t, w, token); status != http.StatusUnauthorized {
		t.Errorf("the forgotten grant still works: %d", status)
	}
	if status, err := w.Call(kept.ID, http.MethodGet, w.MetaURL+"/v25.0/me"); status != http.StatusOK || err != nil {
		t.Errorf("the kept connection gives %d, %v", status, err)
	}
	due, err := w.DB.Connect().Due(t.Context(), "", time.Now().Add(time.Hour), time.Now(), 10)
	if err != nil || len(due) != 0 {
		t.Errorf("still due: %d, %v", len(due), err)
	}
}
