package connect_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// refreshes is how often the sandbox was asked to renew a token.
func refreshes(w *connecttest.World) int {
	n := 0
	for _, r := range w.Requests.Last(1000) {
		if r.Path == "/2/oauth2/token" {
			n++
		}
	}
	return n - 1 // the first was for the grant itself
}

// fault orders a disturbance of the next refreshes.
func fault(t *testing.T, w *connecttest.World, f world.Fault) {
	t.Helper()
	f.Match = world.FaultMatch{Path: "/2/oauth2/token", Contains: "grant_type=refresh_token"}
	if err := w.Faults.Add(f); err != nil {
		t.Fatal(err)
	}
}

// expired connects a person whose access token has had its time. A new one lives for
// hours: on a slow machine one that lived for seconds would be renewed again.
func expired(t *testing.T, dsn string) (*connecttest.World, gatehouse.ConnectionID) {
	t.Helper()
	w := connecttest.New(t, dsn, connecttest.Options{})
	id := w.Connect("user-7", "publish", connecttest.Person(1)).ID
	age(t, w, makeExpired)
	return w, id
}

// holdAt keeps the first renewal at a step until it is released. It reports that the
// renewal is there by closing held.
func holdAt(w *connecttest.World, at string) (held chan struct{}, release func()) {
	held, on := make(chan struct{}), make(chan struct{})
	var first sync.Once
	w.Connections.OnStep(func(step string) {
		if step == at {
			first.Do(func() {
				close(held)
				<-on
			})
		}
	})
	return held, sync.OnceFunc(func() { close(on) })
}

func call(t *testing.T, w *connecttest.World, id gatehouse.ConnectionID) {
	t.Helper()
	if status, err := w.Call(id, http.MethodGet, w.XURL+"/2/users/me"); status != http.StatusOK || err != nil {
		t.Fatalf("calling gives %d, %v", status, err)
	}
}

// Many calls meet an expired token: it is renewed once, and all of them succeed.
func TestOneRenewalForManyCalls(t *testing.T) {
	t.Parallel()
	storetest.Each(t, func(t *testing.T, dsn string) {
		w, id := expired(t, dsn)
		var calls sync.WaitGroup
		for range 16 {
			calls.Go(func() {
				k, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
				if err != nil || k.Kind() != connect.KindUser || len(k.Scopes()) == 0 {
					t.Errorf("Credential: %v", err)
				}
			})
		}
		calls.Wait()
		if n := refreshes(w); n != 1 {
			t.Errorf("the platform was asked %d times", n)
		}
		call(t, w, id)
	})
}

// Two processes find the same token expired: one asks, the other waits for it.
func TestTwoProcessesRenewOnce(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.Postgres(t))
	other := w.Open(connecttest.Options{})
	fault(t, w, world.Fault{DelayMS: 300})
	var calls sync.WaitGroup
	for _, c := range []*connect.Connections{w.Connections, other} {
		calls.Go(func() {
			if _, err := c.Credential(t.Context(), w.Receipt(), id); err != nil {
				t.Errorf("Credential: %v", err)
			}
		})
	}
	calls.Wait()
	if n := refreshes(w); n != 1 {
		t.Errorf("the platform was asked %d times", n)
	}
	call(t, w, id)
}

// The timer renews before anybody needs the token.
func TestTimerRenewsBeforeExpiry(t *testing.T) {
	t.Parallel()
	w := connecttest.New(t, storetest.SQLite(t), connecttest.Options{XTokenTTL: 3 * time.Second})
	c := w.Connect("user-7", "publish", connecttest.Person(1))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Connections.Run(ctx) }()
	deadline := time.Now().Add(time.Minute)
	for refreshes(w) == 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	renewed, err := w.Connections.Get(t.Context(), c.ID)
	if err != nil || !renewed.AccessExpires.After(c.AccessExpires) || renewed.Status != connect.Healthy {
		t.Errorf("after the timer: %+v, %v", renewed, err)
	}
}

// The caller hangs up in the middle of a renewal: the new pair is saved all the
// same, and the next call works with it.
func TestRenewalOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	held, release := holdAt(w, "answered")
	defer release()
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-held
		hangUp()
	}()
	if _, err := w.Connections.Credential(ctx, w.Receipt(), id); !errors.Is(err, context.Canceled) {
		t.Fatalf("a caller that hung up got %v", err)
	}
	release()
	call(t, w, id) // waits for the renewal that is under way
	if n := refreshes(w); n != 1 {
		t.Errorf("the platform was asked %d times", n)
	}
	if rec, err := w.DB.Connect().Connection(t.Context(), id); err != nil || rec.Status != connect.Healthy || !rec.AccessExpires.After(time.Now()) {
		t.Errorf("the new pair was not saved: %v, %v", rec.Status, err)
	}
}

// The platform is down: the connection keeps its tokens, and when the platform
// is back the next call works.
func TestFailedRenewalLosesNothing(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	fault(t, w, world.Fault{Status: http.StatusServiceUnavailable})
	if _, err := w.Connections.Credential(t.Context(), w.Receipt(), id); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("with the platform down: %v", err)
	}
	if c, err := w.Connections.Get(t.Context(), id); err != nil || c.Status != connect.Healthy || !strings.Contains(c.Reason, "503") {
		t.Errorf("with the platform down: %+v, %v", c, err)
	}
	// A caller who cannot wait is not let through to hammer the platform: as after many
	// failures, so that the pause is longer than this takes on a slow machine.
	age(t, w, "UPDATE connections SET failures = 10 * failures, renew_at = renew_at + 3600000000")
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	refused(t, err, "connect/renewal-failed")
	age(t, w, makeExpired)
	call(t, w, id)
}

// The platform rotated the tokens and its reply was lost: nobody knows, until
// the old token is tried again and refused. Only then must the person return.
func TestLostReplyEndsInDoubtAndThenInAVerdict(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	fault(t, w, world.Fault{LoseReply: true})
	if _, err := w.Connections.Credential(t.Context(), w.Receipt(), id); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("after a lost reply: %v", err)
	}
	if c, err := w.Connections.Get(t.Context(), id); err != nil || c.Status != connect.InDoubt {
		t.Fatalf("after a lost reply: %+v, %v", c, err)
	}
	age(t, w, makeExpired)
	_, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
	refused(t, err, "connect/reconnect-needed")
	c, err := w.Connections.Get(t.Context(), id)
	if err != nil || c.Status != connect.ReconnectNeeded || c.Reason == "" {
		t.Fatalf("after the verdict: %+v, %v", c, err)
	}
	// Connecting again heals the same connection.
	if again := w.Connect("user-7", "publish", connecttest.Person(1)); again.ID != id || again.Status != connect.Healthy {
		t.Errorf("connecting again gives %+v", again)
	}
	call(t, w, id)
}

// A misconfigured app must not cost anybody's grant.
func TestRefusedClientIsNotADeadGrant(t *testing.T) {
	t.Parallel()
	w, id := expired(t, storetest.SQLite(t))
	fault(t, w, world.Fault{
		Status: http.StatusUnauthorized, ContentType: "application/json",
		Body: `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`,
	})
	if _, err := w.Connections.Credential(t.Context(), w.Receipt(), id); !errors.Is(err, gatehouse.ErrUnavailable) {
		t.Fatalf("with a refused client: %v", err)
	}
	if c, err := w.Connections.Get(t.Context(), id); err != nil || c.Status != connect.Healthy {
		t.Errorf("with a refused client: %+v, %v", c, err)
	}
}

// Whatever a platform writes into an error, no token comes out of us, and no
// nonsense costs the grant.
func TestErrorsRepeatNoToken(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]world.Fault{
		"error word":   {Status: 400, ContentType: "application/json", Body: `{"error":"TOKEN","error_description":"bad token TOKEN"}`},
		"plain text":   {Status: 400, ContentType: "text/plain", Body: "TOKEN"},
		"wrong type":   {Status: 200, ContentType: "application/json", Body: `{"access_token":{"TOKEN":1}}`},
		"line break":   {Status: 200, ContentType: "application/json", Body: `{"access_token":"TOKEN\n"}`},
		"no token":     {Status: 200, ContentType: "application/json", Body: `{"token":"TOKEN"}`},
		"long":         {Status: 200, ContentType: "application/json", Body: `{"access_token":"TOKEN` + strings.Repeat("x", 9000) + `"}`},
		"redirect":     {Redirect: "http://127.0.0.1:1/TOKEN"},
		"cut":          {CutBody: true},
		"wrong length": {LieLength: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, id := expired(t, storetest.SQLite(t))
			token := lastIssued(w, "refresh")
			f.Body, f.Redirect = strings.ReplaceAll(f.Body, "TOKEN", token), strings.ReplaceAll(f.Redirect, "TOKEN", token)
			fault(t, w, f)
			_, err := w.Connections.Credential(t.Context(), w.Receipt(), id)
			if err == nil || strings.Contains(err.Error(), token) || strings.Contains(wire.LogText(err), token) {
				t.Errorf("the error is %v", err)
			}
			c, err := w.Connections.Get(t.Context(), id)
			if err != nil || strings.Contains(c.Reason, token) || !c.Status.Usable() {
				t.Errorf("the connection is %+v, %v", c, err)
			}
			rec, err := w.DB.Connect().Connection(t.Context(), id)
			if err != nil || rec.Access == nil || rec.Refresh == nil {
				t.Errorf("tokens are lost: %v", err)
			}
		})
	}
}
