package gateway_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/gateway"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/wire"
)

// entries lists the calls in the log as "kind operation verdict rule status".
func (r *rig) entries() []string {
	r.t.Helper()
	r.settled()
	shown, err := audit.List(r.ctx, r.db.Audit(), audit.Filter{Last: 1000, Action: "call"})
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, e := range shown {
		out = append(out, strings.Join([]string{e.Kind, string(e.Operation), e.Verdict, e.Rule}, "|"))
	}
	return out
}

// What the log says of calls: operations in clear, nothing of people.
func TestEntries(t *testing.T) {
	r := newRig(t)
	c := r.connection("main-x", "publish", r.people[0].Username)
	h, text := r.handle(c, "publish")
	r.call("GET", "/x/2/users/me?user.fields=description", bearer(text)).ok()
	r.call("DELETE", "/x/2/lists/123456", bearer(text)).refused(403, "refuse/undeclared-call")
	r.call("GET", "/x/2/nonsense/"+r.people[0].Username, bearer(text)).refused(403, "refuse/unknown-operation")
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Redirect: "https://evil.example/"})
	problem := r.call("GET", "/x/2/users/me", bearer(text)).refused(502, "upstream/redirect")
	want := []string{
		"intent|GET /2/users/me|allow|purpose/publish/calls[0]",
		"outcome|GET /2/users/me|done|",
		"event|DELETE /2/lists/{id}|refuse|refuse/undeclared-call",
		"event|GET unknown|refuse|refuse/unknown-operation",
		"intent|GET /2/users/me|allow|purpose/publish/calls[0]",
		"outcome|GET /2/users/me|failed|upstream/redirect",
	}
	if diff := cmp.Diff(want, r.entries()); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	shown, err := audit.Show(r.ctx, r.db.Audit(), problem.Instance)
	if err != nil || len(shown) != 2 || shown[1].Status != 502 {
		t.Errorf("the instance of the refusal shows %+v (%v)", shown, err)
	}
	all, err := audit.List(r.ctx, r.db.Audit(), audit.Filter{Last: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		leaf := strings.Join([]string{string(e.Operation), e.Rule, e.Verdict, string(e.Service)}, " ")
		for k, v := range e.Facts {
			leaf += " " + k + v
		}
		for _, personal := range []string{string(c.ID), string(h.ID), string(c.Person), c.PlatformUser, r.people[0].Username, text} {
			if strings.Contains(leaf, personal) {
				t.Errorf("entry %d holds %q: %s", e.Seq, personal, leaf)
			}
		}
	}
	r.check()
}

// While the log cannot be written no call is made, and giving up access works.
func TestClosedLog(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	r.call("GET", "/x/2/users/me", bearer(h)).ok()
	r.seen.reset()
	r.full.Store(true)
	a := r.call("GET", "/x/2/users/me", bearer(h))
	if a.status != http.StatusServiceUnavailable {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	// What it answers is another package's to say; what counts is that it is done.
	r.call("POST", "/x/2/oauth2/revoke", body(formType, "client_id=gatehouse&token="+h))
	r.full.Store(false)
	deadline := time.Now().Add(time.Minute)
	for {
		if a = r.call("GET", "/x/2/users/me", bearer(h)); a.status == 401 || time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.refused(401, "identity/handle-revoked")
	r.check()
}

// A call in whose handler something breaks has its outcome in the log, too.
func TestPanicHasAnOutcome(t *testing.T) {
	r := newRig(t)
	h := r.xHandle()
	defer gateway.ReplaceAnswerTestOnly(platform.TokenRefresh, func() { panic("broken") })()
	if a := r.call("POST", "/x/2/oauth2/token", body(formType, "grant_type=refresh_token&refresh_token="+h)); a.status != 500 || strings.Contains(a.body, "broken") {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	entries := r.entries()
	if got := entries[len(entries)-1]; got != "outcome|POST /2/oauth2/token|failed|" {
		t.Errorf("the last entry is %s", got)
	}
	r.check()
}

// Report mode lets through what is not declared and says so in the log; an
// overridden method stays refused.
func TestReportMode(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) {
		set, err := policy.Compile(purposes(), policy.Report)
		if err != nil {
			panic(err)
		}
		c.Settings.Policy = set
	})
	h, m := r.xHandle(), r.metaHandle()
	r.call("GET", "/x/2/users/by/username/"+r.people[5].Username, bearer(h)).ok()
	if a := r.call("GET", "/x/2/unheard/of", bearer(h)); a.status != 404 {
		t.Errorf("got %d: %s", a.status, a.body)
	}
	r.call("GET", "/meta/v25.0/1234?method=delete", bearer(m)).refused(403, "refuse/method-override")
	got := r.entries()
	if !strings.Contains(strings.Join(got, "\n"), "intent|GET /2/users/by/username/{username}|report|refuse/undeclared-call") {
		t.Errorf("entries: %v", got)
	}
	r.check()
}

// A platform whose certificate does not verify gets nothing.
func TestWrongCertificate(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) {
		hosts := []string{}
		for _, roles := range c.Upstream {
			for _, u := range roles {
				hosts = append(hosts, host(u))
			}
		}
		egress, err := wire.NewEgress(wire.EgressConfig{Hosts: hosts, AllowLoopback: true, RootCAs: x509.NewCertPool()})
		if err != nil {
			panic(err)
		}
		c.Egress = egress
	})
	h := r.xHandle() // connecting uses its own client
	r.seen.reset()
	r.call("GET", "/x/2/users/me", bearer(h)).refused(502, "upstream/tls")
	if n := r.seen.count(); n != 0 {
		t.Errorf("%d requests reached the platform", n)
	}
	r.check()
}

// Places are bounded: calls and streams beyond them are told when to come back.
func TestConcurrency(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.Calls, c.Limits.Streams = 2, 2 })
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Times: 2, Hang: true})
	r.seen.reset()
	ctx, hangUp := context.WithCancel(r.ctx)
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			req, _ := http.NewRequestWithContext(ctx, "GET", r.url+"/x/2/users/me", nil)
			bearer(h)(req)
			if a := r.do(req); a.err == nil {
				t.Errorf("a call that hangs got %d", a.status)
			}
		})
	}
	r.until("both calls hang", func() bool { return r.arrived("GET", "/2/users/me") == 2 })
	a := r.call("GET", "/x/2/users/me", bearer(h))
	a.refused(429, "limit/concurrent-calls")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	hangUp()
	calls.Wait()
	r.until("the places are free again", func() bool { return r.call("GET", "/x/2/users/me", bearer(h)).status == 200 })
	r.check()
}

// Paging at Threads, whose base has a path at the sandbox.
func TestThreadsPaging(t *testing.T) {
	r := newRig(t)
	_, h := r.handle(r.connection("threads", "threads", r.people[3].Username), "threads")
	var page struct {
		Data   []struct{ ID string }
		Paging struct{ Next string }
	}
	r.call("GET", "/threads/v1.0/me/threads?limit=1&access_token="+h).ok(&page)
	if !strings.HasPrefix(page.Paging.Next, r.url+"/threads/v1.0/") {
		t.Fatalf("next leads to %q", page.Paging.Next)
	}
	first := page.Data[0].ID
	r.call("GET", strings.TrimPrefix(page.Paging.Next, r.url)).ok(&page)
	if page.Data[0].ID == first {
		t.Error("the next page is the first")
	}
	r.check()
}

// The app's own API stands beside the platforms, and nothing else does.
func TestAPIBeside(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) {
		c.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	})
	if a := r.call("GET", "/gatehouse/v1/me"); a.status != http.StatusTeapot {
		t.Errorf("the API got %d", a.status)
	}
	r.call("GET", "/").refused(401, "refuse/no-handle")
}

// The old host name is accepted only as long as the configuration says so.
func TestLegacyHost(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.NoLegacyHosts = true })
	h := r.xHandle()
	r.call("GET", "/2/users/me", bearer(h), asHost("api.twitter.com")).refused(400, "refuse/legacy-host")
	r.call("GET", "/2/users/me", bearer(h), asHost("api.x.com")).ok()
}

// Half of the streams may be one service's, so that another's find a place.
func TestStreamPlaces(t *testing.T) {
	r := newRig(t, func(c *gateway.Config) { c.Limits.Streams = 2 })
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	req, err := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer(app.AccessToken)(req)
	first, err := r.client.Do(req)
	if err != nil || first.StatusCode != http.StatusOK {
		t.Fatalf("the first stream: %v", err)
	}
	r.call("GET", "/x/2/tweets/sample/stream", bearer(app.AccessToken)).refused(429, "limit/concurrent-streams")
	first.Body.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		again, err := r.client.Do(req.Clone(r.ctx))
		if err != nil {
			t.Fatal(err)
		}
		again.Body.Close()
		if again.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place is never free again: %s", again.Status)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// A configuration that lacks a part is refused with its name.
func TestNewNamesWhatIsMissing(t *testing.T) {
	r := newRig(t)
	for name, change := range map[string]func(*gateway.Config){
		"Surface": func(c *gateway.Config) { c.Surface = nil }, "Egress": func(c *gateway.Config) { c.Egress = nil },
		"Log": func(c *gateway.Config) { c.Log = nil }, "Handles": func(c *gateway.Config) { c.Handles = nil },
		"Connections": func(c *gateway.Config) { c.Connections = nil }, "Settings.Policy": func(c *gateway.Config) { c.Settings.Policy = nil },
		"upstream of x": func(c *gateway.Config) {
			c.Upstream = map[gatehouse.Platform]map[platform.Role]string{gatehouse.X: {0: "not a url"}}
		},
	} {
		c := r.config
		change(&c)
		if _, err := gateway.New(c); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	if err := r.gateway.Apply(gateway.Settings{}); err == nil {
		t.Error("settings without a policy were applied")
	}
}
