package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/budget"
	"gatehouse/internal/identity"
	"gatehouse/internal/sandbox/world"
)

// left returns what is known of a pool.
func (r *rig) left(pool string, op gatehouse.Operation) budget.State {
	r.t.Helper()
	for _, s := range r.budgets.Snapshot() {
		if s.Pool == pool && s.Operation == op {
			return s
		}
	}
	r.t.Fatalf("nothing is known of %s %s: %+v", pool, op, r.budgets.Snapshot())
	return budget.State{}
}

const deleteTweet = "/x/2/tweets/1234567890123456789"

// When X's window is used up, the next call is answered by Gatehouse, with the time
// to ask again where SDKs look for it, and X does not see it. The reset opens.
func TestEarlyRefusal(t *testing.T) {
	r := newRigWith(t, quotas{x: 1})
	h := r.xHandle()
	_, another := r.handle(r.connection("main-x", "publish", r.people[2].Username), "publish")
	last := ""
	for range 50 { // X's limit for a user
		last = r.call("DELETE", deleteTweet, bearer(h)).header.Get("X-Rate-Limit-Remaining")
	}
	if last != "0" {
		t.Fatalf("X says that %q are left", last)
	}
	r.seen.reset()
	a := r.call("DELETE", deleteTweet, bearer(h))
	problem := a.refused(429, "limit/platform-window")
	if n := r.seen.count(); n != 0 {
		t.Errorf("X saw %d calls", n)
	}
	reset := r.left("call", "DELETE /2/tweets/{id}").Reset
	wait, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || wait < 880 || wait > 902 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	if !strings.Contains(problem.Detail, reset.Add(time.Second).UTC().Format(time.RFC3339)) {
		t.Errorf("the detail does not name the reset %s: %s", reset, problem.Detail)
	}
	if a.header.Get("X-Rate-Limit-Remaining") != "0" || a.header.Get("X-Rate-Limit-Limit") != "50" || a.header.Get("X-Rate-Limit-Reset") != fmt.Sprint(reset.Unix()+2) {
		t.Errorf("X's own headers say %v", a.header)
	}
	entries := r.entries()
	if got := entries[len(entries)-1]; got != "event|DELETE /2/tweets/{id}|refuse|limit/platform-window" {
		t.Errorf("the last entry is %s", got)
	}
	// Another user's, and another operation, go on.
	r.call("DELETE", deleteTweet, bearer(another)).ok()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.clock.SetSkew(15*time.Minute + 2*time.Second)
	r.call("DELETE", deleteTweet, bearer(h)).ok()
	r.check()
}

// A burst of callers gets as many calls as there are, and X refuses none of them.
func TestBurst(t *testing.T) {
	r := newRigWith(t, quotas{x: 1})
	h := r.xHandle()
	r.call("DELETE", deleteTweet, bearer(h)).ok()
	r.seen.reset()
	var callers sync.WaitGroup
	for range 64 {
		callers.Go(func() {
			for range 3 {
				switch a := r.call("DELETE", deleteTweet, bearer(h)); {
				case a.status == 200:
				case a.status != 429 || !strings.Contains(a.body, "limit/platform-window"):
					t.Errorf("got %d: %s", a.status, a.body)
				}
			}
		})
	}
	callers.Wait()
	if n := r.seen.count(); n > 49 {
		t.Errorf("X saw %d calls where 49 were left", n)
	}
	for range 49 - r.seen.count() {
		r.call("DELETE", deleteTweet, bearer(h)).ok()
	}
	r.call("DELETE", deleteTweet, bearer(h)).refused(429, "limit/platform-window")
	r.check()
}

// What is under way is settled when the platform has answered, however it did: a call
// repeated after a 401 counts once, a lost one counts, a stream does not stay.
func TestSettled(t *testing.T) {
	r := newRigWith(t, quotas{x: 1})
	h := r.xHandle()
	me := func() int { return r.left("call", "GET /2/users/me").Remaining }
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	before := me()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Status: 401, Body: `{"title":"Unauthorized","status":401}`})
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	if got := me(); got != before-1 {
		t.Errorf("after a repeated call %d are left of %d", got, before)
	}
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, LoseReply: true, Times: 2})
	r.call("GET", "/x/2/users/me", bearer(h)).refused(502, "upstream/connection")
	if got := me(); got != before-2 {
		t.Errorf("after a lost call %d are left of %d", got, before)
	}
	var app struct {
		AccessToken string `json:"access_token"`
	}
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
	bearer(app.AccessToken)(req)
	reply, err := r.client.Do(req)
	if err != nil || reply.StatusCode != 200 {
		t.Fatalf("the stream: %v %v", reply, err)
	}
	defer reply.Body.Close()
	if s := r.left("call", "GET /2/tweets/sample/stream"); s.Owner != "" || s.Remaining != s.Limit-1 {
		t.Errorf("with an open stream: %+v", s)
	}
	// The app's own token has a pool of its own.
	r.call("GET", "/x/2/tweets/search/recent?query=a", bearer(h)).ok()
	user := r.left("call", "GET /2/tweets/search/recent")
	r.call("GET", "/x/2/tweets/search/recent?query=a", bearer(app.AccessToken)).ok()
	if s := r.left("call", "GET /2/tweets/search/recent"); user.Owner == "" || user.Remaining != user.Limit-1 {
		t.Errorf("the user's: %+v, then %+v", user, s)
	}
	cancel()
	if err := reply.Body.Close(); err != nil {
		t.Error(err)
	}
}

// A call that was admitted and then not made is given back.
func TestUnsentIsGivenBack(t *testing.T) {
	r := newRigWith(t, quotas{x: 1})
	h := r.xHandle()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	before := r.left("call", "GET /2/users/me").Remaining
	r.full.Store(true)
	if a := r.call("GET", "/x/2/users/me", bearer(h)); a.status != 503 {
		t.Errorf("with a closed log: %d", a.status)
	}
	if got := r.left("call", "GET /2/users/me").Remaining; got != before {
		t.Errorf("after a call that was not made %d are left of %d", got, before)
	}
	r.full.Store(false)
	deadline := time.Now().Add(time.Minute)
	for r.call("GET", "/x/2/users/me", bearer(h)).status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the gates stay closed")
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.check()
}

// At 95 % of Meta's limit callers are held, background work goes on, and what gives
// up access is not held.
func TestMetaIsHeld(t *testing.T) {
	r := newRigWith(t, quotas{x: 1000, meta: 200})
	h := r.metaHandle()
	another := r.connection("pages", "pages", r.people[2].Username)
	_, anotherHandle := r.handle(another, "pages")
	var a answer
	for range 200 {
		if a = r.call("GET", "/meta/v25.0/me?fields=id", bearer(h)); a.status != 200 {
			break
		}
	}
	a.refused(429, "limit/platform-usage")
	if used := r.left("app", "").Percent; used < 95 || used > 96 {
		t.Errorf("%v %% are used", used)
	}
	if wait := a.header.Get("Retry-After"); wait != "60" {
		t.Errorf("Retry-After is %q", wait)
	}
	r.seen.reset()
	r.call("GET", "/meta/v25.0/me?fields=id", bearer(anotherHandle)).refused(429, "limit/platform-usage")
	if n := r.seen.count(); n != 0 {
		t.Errorf("Meta saw %d calls", n)
	}
	ticket, _, err := r.connect.Background("pages", string(another.Person), "GET /debug_token")
	if err != nil {
		t.Errorf("background work is held: %v", err)
	}
	ticket.Settle()
	r.call("DELETE", "/meta/v25.0/me/permissions", bearer(anotherHandle)).ok()
	r.check()
}

// Two services at one scarce budget: the one that asks for everything gets its part,
// and the other can go on.
func TestServicesShare(t *testing.T) {
	r := newRigWith(t, quotas{x: 1000, meta: 200})
	c := r.connection("pages", "pages", r.people[1].Username)
	_, greedy := r.handle(c, "pages")
	_, text, err := r.handles.NewHandle(r.ctx, identity.HandleRequest{
		Service: other, Connection: c.ID, Person: c.Person, Purpose: "pages", Platform: c.Platform, App: c.App,
	})
	if err != nil {
		t.Fatal(err)
	}
	modest := text.Reveal()
	const me = "/meta/v25.0/me?fields=id"
	r.call("GET", me, bearer(modest)).ok()
	calls := 0
	var a answer
	for a = r.call("GET", me, bearer(greedy)); a.status == 200; a = r.call("GET", me, bearer(greedy)) {
		calls++
	}
	a.refused(429, "limit/platform-share")
	used := r.left("app", "").Percent
	if used < 75 || used > 90 {
		t.Errorf("the greedy one stopped at %v %%, after %d calls", used, calls)
	}
	for range 10 {
		r.call("GET", me, bearer(modest)).ok()
	}
	r.check()
}

// A throttled reply closes what its code is about until the time that it names. Its
// items' answers and headers teach as a call's own do.
func TestThrottledReplies(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	_, another := r.handle(r.connection("pages", "pages", r.people[2].Username), "pages")
	const me = "/meta/v25.0/me?fields=id"
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Status: 400, Body: `{"error":{"code":17,"message":"User request limit reached"}}`,
		Header: http.Header{"X-Business-Use-Case-Usage": {`{"9":[{"type":"pages","call_count":100,"estimated_time_to_regain_access":7}]}`}}})
	if a := r.call("GET", me, bearer(h)); a.status != 400 || !strings.Contains(a.body, `"code":17`) {
		t.Errorf("the platform's own answer: %d %s", a.status, a.body)
	}
	a := r.call("GET", me, bearer(h))
	a.refused(429, "limit/platform-throttled")
	if a.header.Get("Retry-After") != "420" {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	r.call("GET", me, bearer(another)).ok()

	// In a batch the refusal names the item.
	items := fmt.Sprintf(`[{"method":"GET","relative_url":"me?fields=name"},{"method":"GET","relative_url":"me?fields=name&access_token=%s"}]`, h)
	a = r.call("POST", "/meta/v25.0/", bearer(another), body(formType, "batch="+url.QueryEscape(items)))
	if p := a.refused(429, "limit/platform-throttled"); !strings.HasPrefix(p.Detail, "batch item 1: ") || a.header.Get("Retry-After") == "" {
		t.Errorf("the batch: %+v, Retry-After %q", p, a.header.Get("Retry-After"))
	}
	batch := func(header, answer string) {
		t.Helper()
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/"}, Status: 200, Body: fmt.Sprintf(`[null,{"code":200,"headers":[%s],"body":%q}]`, header, answer)})
		two := `[{"method":"GET","relative_url":"me?fields=name"},{"method":"GET","relative_url":"me/accounts"}]`
		r.call("POST", "/meta/v25.0/", bearer(another), body(formType, "batch="+url.QueryEscape(two))).ok()
	}
	batch(`{"name":"X-Business-Use-Case-Usage","value":"{\"8\":[{\"type\":\"pages\",\"call_count\":96}]}"}`, `{"data":[]}`)
	r.call("GET", "/meta/v25.0/me/accounts", bearer(another)).refused(429, "limit/platform-usage")
	r.call("GET", me, bearer(another)).ok()
	// A throttled item, and the whole batch.
	third := r.connection("pages", "pages", r.people[3].Username)
	_, another = r.handle(third, "pages")
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/"}, Status: 200, Body: `[{"code":400,"body":"{\"error\":{\"code\":613}}"},null]`})
	two := `[{"method":"GET","relative_url":"me?fields=name"},{"method":"GET","relative_url":"me/accounts"}]`
	r.call("POST", "/meta/v25.0/", bearer(another), body(formType, "batch="+url.QueryEscape(two))).ok()
	r.call("GET", me, bearer(another)).refused(429, "limit/platform-throttled")
	r.call("GET", "/meta/v25.0/me/accounts", bearer(another)).ok()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/"}, Status: 400, Body: `{"error":{"code":4}}`})
	one := `[{"method":"GET","relative_url":"me/accounts"}]`
	if a := r.call("POST", "/meta/v25.0/", bearer(another), body(formType, "batch="+url.QueryEscape(one))); a.status != 400 {
		t.Errorf("the throttled batch: %d %s", a.status, a.body)
	}
	r.call("GET", "/meta/v25.0/me/accounts", bearer(another)).refused(429, "limit/platform-throttled")
	// The person can still take back what was given.
	r.call("DELETE", "/meta/v25.0/me/permissions", bearer(another)).ok()
	r.check()
}

// Gatehouse's own calls are never refused for a budget: a grant is connected, renewed
// and revoked while its app is closed to callers.
func TestOwnCallsGoOn(t *testing.T) {
	r := newRig(t)
	h := r.metaHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, Status: 400, Body: `{"error":{"code":4}}`})
	r.call("GET", "/meta/v25.0/me?fields=id", bearer(h))
	r.call("GET", "/meta/v25.0/me?fields=id", bearer(h)).refused(429, "limit/platform-throttled")
	c := r.connection("pages", "pages", r.people[2].Username)
	if err := r.connect.Revoke(r.ctx, c.ID, "test"); err != nil {
		t.Error(err)
	}
	if shown, err := r.connect.Get(r.ctx, c.ID); err != nil || shown.RevokeOutstanding {
		t.Errorf("after the revocation: %+v, %v", shown, err)
	}
	r.check()
}
