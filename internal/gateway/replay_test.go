package gateway_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/secret"
)

// arrived counts the requests that reached a platform with a method and path.
func (r *rig) arrived(method, path string) int {
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	n := 0
	for _, a := range r.seen.all {
		if a.Method == method && a.Path == path {
			n++
		}
	}
	return n
}

// revokeAccess has X end the access token that it got last; the grant lives on.
func (r *rig) revokeAccess() {
	r.t.Helper()
	if !r.xSite.Revoke(strings.TrimPrefix(r.last().Header.Get("Authorization"), "Bearer ")) {
		r.t.Fatal("nothing to revoke")
	}
	r.seen.reset()
}

const tokenPath = "/2/oauth2/token"

// The platform refuses an access token in the middle of a call: it is renewed
// once, and the caller notices nothing, also when the call has a body.
func TestRefusedTokenIsRenewedAndTheCallRepeated(t *testing.T) {
	for name, call := range map[string]struct {
		method, path string
		options      []option
		status       int
	}{
		"get":  {"GET", "/2/users/me", nil, 200},
		"post": {"POST", "/2/tweets", []option{body("application/json", `{"text":"twice sent, once done"}`)}, 201},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := r.connection("main-x", "publish", r.people[0].Username)
			_, h := r.handle(c, "publish")
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			r.revokeAccess()
			if a := r.call(call.method, "/x"+call.path, append(call.options, bearer(h))...); a.status != call.status {
				t.Errorf("got %d: %s", a.status, a.body)
			}
			if calls, refreshes := r.arrived(call.method, call.path), r.arrived("POST", tokenPath); calls != 2 || refreshes != 1 {
				t.Errorf("%d calls and %d refreshes reached the platform", calls, refreshes)
			}
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			if n := r.arrived("POST", tokenPath); n != 1 {
				t.Errorf("the next call renewed again: %d", n)
			}
			r.check()
		})
	}
}

// Many calls are refused with the same token: it is renewed once for all.
func TestRefusedTokenIsRenewedOnceForManyCalls(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.revokeAccess()
	var calls sync.WaitGroup
	for range 12 {
		calls.Go(func() {
			if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 200 {
				t.Errorf("got %d: %s", a.status, a.body)
			}
		})
	}
	calls.Wait()
	if n := r.arrived("POST", tokenPath); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	r.check()
}

// The person withdrew the grant: the platform's refusal is passed on, and the
// next call is refused here with what to do.
func TestDeadGrantIsRemembered(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	if !r.xSite.RevokePerson(r.people[0].Username) {
		t.Fatal("nothing to revoke")
	}
	if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 401 || !strings.Contains(a.body, "Unauthorized") {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	now, err := r.connect.Get(r.ctx, c.ID)
	if err != nil || now.Status != connect.ReconnectNeeded {
		t.Errorf("the connection is %s (%v)", now.Status, err)
	}
	r.seen.reset()
	r.call("GET", "/x/2/users/me", bearer(h)).refused(403, "connect/reconnect-needed")
	if r.seen.count() != 0 {
		t.Error("the platform was asked again")
	}
	r.check()
}

// A platform that refuses every token, fresh ones too, is asked for a new one
// once, not by every call, and costs nobody the grant.
func TestPlatformThatRefusesEverything(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	r.seen.reset()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Times: 6, Status: 401, ContentType: "application/json",
		Body: `{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}`})
	for range 5 {
		if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 401 {
			t.Errorf("got %d: %s", a.status, a.body)
		}
	}
	if n := r.arrived("POST", tokenPath); n != 1 {
		t.Errorf("%d refreshes", n)
	}
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.check()
}

// What cannot be sent twice is not: the refusal is passed on, and the next call
// has a new token. A stream is not begun a second time either.
func TestWhatIsNotRepeated(t *testing.T) {
	for name, refused := range map[string]struct {
		method, path string
		options      []option
	}{
		"upload": {"POST", "/2/media/upload", []option{body("multipart/form-data; boundary=b",
			"--b\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\nx\r\n--b--\r\n")}},
		"stream": {"GET", "/2/tweets/sample/stream", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			c := r.connection("main-x", "publish", r.people[0].Username)
			_, h := r.handle(c, "publish")
			r.seen.reset()
			r.fault(world.Fault{Match: world.FaultMatch{Path: refused.path}, Status: 401, ContentType: "application/json",
				Body: `{"title":"Unauthorized","type":"about:blank","status":401,"detail":"Unauthorized"}`})
			if a := r.call(refused.method, "/x"+refused.path, append(refused.options, bearer(h))...); a.status != 401 {
				t.Errorf("got %d: %s", a.status, a.body)
			}
			if calls, refreshes := r.arrived(refused.method, refused.path), r.arrived("POST", tokenPath); calls != 1 || refreshes != 0 {
				t.Errorf("%d calls and %d refreshes reached the platform", calls, refreshes)
			}
			r.call("GET", "/x/2/users/me", bearer(h)).ok()
			if n := r.arrived("POST", tokenPath); n != 1 {
				t.Errorf("the next call came with %d refreshes", n)
			}
			r.check()
		})
	}
}

// The renewal that a refusal asks for finds the token endpoint down: the caller
// hears that it is the platform's trouble, not that the grant is gone.
func TestRefusedTokenWhileTheTokenEndpointIsDown(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.revokeAccess()
	r.fault(world.Fault{Match: world.FaultMatch{Path: tokenPath}, Status: 503})
	if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 502 {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	if now, err := r.connect.Get(r.ctx, c.ID); err != nil || !now.Status.Usable() {
		t.Errorf("the connection is %s (%v)", now.Status, err)
	}
	time.Sleep(2100 * time.Millisecond)
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.check()
}

// X refuses our timestamp because the clocks differ: the call is signed again
// with X's own time, and later calls are right at once.
func TestSignedAgainByThePlatformsClock(t *testing.T) {
	r := newRig(t)
	token, tokenSecret := r.xSite.MintOAuth1(r.people[0].Username)
	c, err := r.connect.AddOAuth1(r.ctx, connect.AddOAuth1Request{App: "main-x", Service: scheduler, Subject: "s", Purposes: []gatehouse.PurposeName{"publish"},
		Token: secret.New(token), TokenSecret: secret.New(tokenSecret)})
	if err != nil {
		t.Fatal(err)
	}
	_, h := r.handle(c, "publish")
	r.clock.SetSkew(17 * time.Minute)
	r.seen.reset()
	for range 2 {
		if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 200 {
			t.Fatalf("got %d: %s", a.status, a.body)
		}
	}
	if n := r.arrived("GET", "/2/users/me"); n != 3 {
		t.Errorf("X was asked %d times, want one refusal and two answers", n)
	}
	if skew, ok := r.connect.ClockSkew("main-x"); !ok || (skew-17*time.Minute).Abs() > 3*time.Second {
		t.Errorf("the measured difference is %s", skew)
	}
	if !strings.Contains(r.lines.String(), "clock differs") {
		t.Error("nobody was told that the clock is off")
	}
	r.check()
}

// The machine's clock is hours behind X's, as after a restart without a time
// service: the token has expired at X, and the call notices nothing.
func TestExpiryByThePlatformsClock(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	r.clock.SetSkew(3 * time.Hour)
	r.seen.reset()
	for range 3 {
		r.call("GET", "/x/2/users/me", bearer(h)).ok()
	}
	if calls, refreshes := r.arrived("GET", "/2/users/me"), r.arrived("POST", tokenPath); calls != 4 || refreshes != 1 {
		t.Errorf("%d calls and %d refreshes reached the platform", calls, refreshes)
	}
	r.check()
}
