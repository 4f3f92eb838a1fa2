package gateway_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/audit"
	"gatehouse/internal/gateway"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox/world"
)

// What a platform sends beyond the contract does not reach the app, whatever the
// shape of the reply.
func TestRepliesAreNarrowed(t *testing.T) {
	r := newRig(t, withContracts(t, policy.Enforce))
	xHandle, metaHandle := r.xHandle(), r.metaHandle()
	many := func(with string) string {
		return `{"data":[` + strings.Repeat(`{"id":"1"`+with+`},`, 9000) + `{"id":"2"}],"meta":{"n":1}}`
	}
	for _, test := range []struct {
		name, call, path, sends, want string
		status                        int
		rule                          string
	}{
		{"X: an object", "GET /x/2/users/me", "/2/users/me",
			`{"data":{"id":"1","name":"Ada","username":"ada","public_metrics":{"followers_count":5,"tweet_count":6}},"includes":{"tweets":[{"id":"7","text":"t"}]}}`,
			`{"data":{"id":"1","username":"ada","public_metrics":{"followers_count":5}},"includes":{"tweets":[{"text":"t"}]}}`, 200, ""},
		{"X: a page", "GET /x/2/tweets/search/recent?query=a", "/2/tweets/search/recent",
			`{"data":[{"id":"1","text":"t","geo":{"place_id":"p"}}],"includes":{"users":[{"id":"2","username":"bo","name":"Bo"}],"media":[{"url":"u"}]},"meta":{"next_token":"n"},"errors":[{"detail":"d"}]}`,
			`{"data":[{"id":"1","text":"t"}],"includes":{"users":[{"username":"bo"}]},"meta":{"next_token":"n"},"errors":[{"detail":"d"}]}`, 200, ""},
		{"X: a large page", "GET /x/2/users/1/followers", "/2/users/1/followers", many(`,"name":"A name","description":"` + strings.Repeat("d", 40) + `"`), many(""), 200, ""},
		{"X: a call without a contract", "GET /x/2/tweets/1", "/2/tweets/1", `{"data":{"id":"1","geo":{}}}`, `{"data":{"id":"1","geo":{}}}`, 200, ""},
		{"X: an error that holds data", "GET /x/2/users/me", "/2/users/me", `{"title":"Forbidden","status":403,"data":{"id":"1","name":"Ada"}}`, `{"title":"Forbidden","status":403,"data":{"id":"1"}}`, 403, ""},
		{"X: cut off", "GET /x/2/users/me", "/2/users/me", `{"data":{"id":"1","na`, "", 502, "upstream/reply"},
		{"X: no JSON", "GET /x/2/users/me", "/2/users/me", `{"data":{id:1}}`, "", 502, "upstream/not-json"},
		{"X: deep", "GET /x/2/users/me", "/2/users/me", `{"data":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`, "", 502, "upstream/reply"},
		{"X: twice", "GET /x/2/users/me", "/2/users/me", `{"data":{"name":"Ada","id":"1"},"data":{"id":"2","name":"Bo"}}`, `{"data":{"id":"1"},"data":{"id":"2"}}`, 200, ""},
		{"Graph: a node", "GET /meta/v25.0/me", "/v25.0/me", `{"id":"1","name":"Ada","email":"a@example.com","picture":{"data":{"url":"u","height":1}}}`, `{"id":"1","name":"Ada","picture":{"data":{"url":"u"}}}`, 200, ""},
		{"Graph: an edge", "GET /meta/v25.0/me/accounts", "/v25.0/me/accounts", `{"data":[{"id":"1","name":"P","category":"c"}],"paging":{"cursors":{"after":"x"}}}`, `{"data":[{"id":"1","name":"P"}],"paging":{"cursors":{"after":"x"}}}`, 200, ""},
		{"Graph: nodes by id", "GET /meta/v25.0/?ids=1,2", "/v25.0/", `{"1":{"id":"1","email":"e"},"2":{"id":"2","accounts":{"data":[{"id":"3","phone":"4"}]}}}`, `{"1":{"id":"1"},"2":{"id":"2","accounts":{"data":[{"id":"3"}]}}}`, 200, ""},
		{"Graph: an error", "GET /meta/v25.0/me", "/v25.0/me", `{"error":{"message":"m","code":100},"email":"e"}`, `{"error":{"message":"m","code":100}}`, 400, ""},
		{"Graph: what was written", "POST /meta/v25.0/1234/feed form message=a", "/v25.0/1234/feed", `{"id":"1_2","post_supports_client_mutation_id":true}`, `{"id":"1_2"}`, 200, ""},
		{"Graph: one word", "POST /meta/v25.0/1234/feed form message=b", "/v25.0/1234/feed", `true`, `true`, 200, ""},
		{"Graph: a batch", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me/posts"},{"method":"GET","relative_url":"?ids=1"},{"method":"GET","relative_url":"me"}]`, "/v25.0/",
			`[{"code":200,"body":"{\"id\":\"1\",\"email\":\"e\"}"},{"code":200,"body":"{\"data\":[{\"story\":\"s\"}]}"},{"code":200,"body":"{\"1\":{\"id\":\"1\",\"email\":\"e\"}}"},{"code":400,"body":"{\"error\":{\"code\":1},\"id\":\"1\"}"}]`,
			`[{"code":200,"body":"{\"id\":\"1\"}"},{"code":200,"body":"{\"data\":[{\"story\":\"s\"}]}"},{"code":200,"body":"{\"1\":{\"id\":\"1\"}}"},{"code":400,"body":"{\"error\":{\"code\":1}}"}]`, 200, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.t = t
			handle := xHandle
			if strings.HasPrefix(test.name, "Graph") {
				handle = metaHandle
			}
			fault := world.Fault{Match: world.FaultMatch{Path: test.path}, ContentType: "application/json", Body: test.sends, Status: test.status}
			if test.status == 502 {
				fault.Status = 200
			}
			r.fault(fault)
			defer r.faults.Clear()
			a := r.spoken(handle, test.call)
			if test.rule != "" {
				a.refused(test.status, test.rule)
				return
			}
			if d := cmp.Diff(test.want, strings.TrimSuffix(a.body, "\n")); d != "" || a.status != test.status {
				t.Errorf("status %d (-want +got):\n%s", a.status, d)
			}
		})
	}
	r.t = t
	// A file has no fields.
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, ContentType: "image/png", Body: "PNG", Status: 200})
	r.call("GET", "/x/2/users/me", bearer(xHandle)).refused(502, "upstream/content-type")
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets/1"}, ContentType: "image/png", Body: "PNG", Status: 200})
	r.call("GET", "/x/2/tweets/1", bearer(xHandle)).ok()
	r.check()
}

// A token that the contract does not declare is dropped before anything is made of
// it: no connection of a page comes of it. Where it is declared, one does.
func TestUndeclaredTokensMakeNoConnections(t *testing.T) {
	count := func(r *rig, h string) int {
		r.t.Helper()
		a := r.call("GET", "/meta/v25.0/me/accounts", bearer(h)).ok()
		if strings.Contains(a.body, "access_token") != strings.Contains(a.body, "gth_hnd_") {
			t.Errorf("pages: %s", a.body)
		}
		return strings.Count(a.body, "gth_hnd_")
	}
	r := newRig(t, withContracts(t, policy.Enforce))
	if n := count(r, r.metaHandle()); n != 0 {
		t.Errorf("%d tokens came although none is declared", n)
	}
	r.check()
	open := newRig(t)
	if count(open, open.metaHandle()) == 0 {
		t.Error("no token came although all is declared")
	}
}

// What is noted of a delivery is what is delivered.
func TestOnlyWhatIsDeliveredIsNoted(t *testing.T) {
	n := &notes{}
	r := newRig(t, noting(n), withContracts(t, policy.Enforce))
	h := r.xHandle()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets/search/recent"}, ContentType: "application/json",
		Body: `{"data":[{"id":"11","text":"t","author_id":"12","in_reply_to_user_id":"13"}],"includes":{"users":[{"id":"14","username":"u"}],"tweets":[{"id":"15","text":"x"}]}}`})
	r.call("GET", "/x/2/tweets/search/recent?query=a", bearer(h)).ok()
	if !n.has(platform.PostReference, 11) || !n.has(platform.UserReference, 12) || n.count() != 2 {
		t.Errorf("noted are %v", n.all)
	}
}

// In report mode everything goes through whole, and what would be refused is in
// the log with its rule.
func TestContractsInReportMode(t *testing.T) {
	r := newRig(t, withContracts(t, policy.Report))
	h := r.xHandle()
	r.call("GET", "/x/2/users/me?user.fields=description", bearer(h)).ok()
	r.call("GET", "/x/2/tweets/search/recent?query=a&max_results=10&sort_order=recency", bearer(h))
	r.call("POST", "/x/2/tweets", bearer(h), body("application/json", `{"text":"a","text":"b"}`))
	a := r.call("GET", "/x/2/users/me", bearer(h)).ok()
	if !strings.Contains(a.body, `"name"`) {
		t.Errorf("report mode narrowed a reply: %s", a.body)
	}
	var intents []string
	for _, e := range r.entries() {
		if strings.HasPrefix(e, "intent|") {
			intents = append(intents, e)
		}
	}
	want := []string{
		"intent|GET /2/users/me|report|refuse/undeclared-field",
		"intent|GET /2/tweets/search/recent|report|refuse/undeclared-parameter",
		"intent|POST /2/tweets|report|refuse/unjudged-body",
		"intent|GET /2/users/me|allow|purpose/publish/calls[0]",
	}
	if d := cmp.Diff(want, intents); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	r.check()
}

// A stream is narrowed object by object, and ends when its contract changes.
func TestStreamsAreNarrowed(t *testing.T) {
	withStream := func(fields ...string) *policy.Set {
		list := purposes()
		for i, c := range list[0].Calls {
			if c.Operation == "GET /2/tweets/sample/stream" {
				list[0].Calls[i].Fields = fields
			}
		}
		set, err := policy.Compile(list, policy.Enforce)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	r := newRig(t, func(c *gateway.Config) { c.Settings.Policy = withStream("id") })
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	req, _ := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream", nil)
	bearer(app.AccessToken)(req)
	reply, err := r.client.Do(req)
	if err != nil || reply.StatusCode != 200 {
		t.Fatalf("opening the stream: %v", err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	seen, changed := 0, false
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		seen++
		if text := lines.Text(); strings.Contains(text, `"text"`) || !strings.Contains(text, `{"data":{"id":"`) {
			t.Errorf("a line of the stream: %s", text)
		}
		if !changed {
			changed = true
			settings := r.config.Settings
			settings.Policy = withStream("id", "text")
			if err := r.gateway.Apply(settings); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen == 0 || lines.Err() == nil {
		t.Errorf("the stream went on to its end after %d lines: %v", seen, lines.Err())
	}
	if err := r.log.Flush(r.ctx); err != nil {
		t.Fatal(err)
	}
	shown, err := audit.List(r.ctx, r.db.Audit(), audit.Filter{Last: 10, Action: "call.stream"})
	if err != nil || len(shown) != 2 || shown[1].Rule != "gateway/stream-cut" {
		t.Errorf("%+v, %v", shown, err)
	}
}

// A part that follows a file was not there when the call was judged.
func TestPartsAfterAFile(t *testing.T) {
	r := newRig(t, withContracts(t, policy.Enforce))
	x, m := r.xHandle(), r.metaHandle()
	r.spoken(x, "POST /x/2/media/upload parts @media owner=secretly").refused(400, "refuse/multipart")
	r.spoken(m, "POST /meta/v25.0/1234/photos parts @source caption=secretly-and-far-too-long").refused(400, "refuse/multipart")
	r.spoken(x, "POST /x/2/media/upload parts media_category=tweet_image @media")
	r.spoken(m, "POST /meta/v25.0/1234/photos parts caption=first @source @source")
	whole := 0
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	for _, a := range r.seen.all {
		if strings.Contains(a.Body, "secretly") {
			t.Errorf("it reached the platform: %s", a.Body)
		}
		if strings.HasSuffix(a.Body, "--b--\r\n") { // the others broke off
			whole++
		}
	}
	if whole != 2 {
		t.Errorf("%d of two near misses reached the platform", whole)
	}
}

// A contract that changes is in force for the next call, and the same contract is
// compiled once.
func TestContractsChange(t *testing.T) {
	r := newRig(t, withContracts(t, policy.Enforce))
	h := r.xHandle()
	if a := r.call("GET", "/x/2/users/me", bearer(h)).ok(); strings.Contains(a.body, `"name"`) {
		t.Errorf("undeclared: %s", a.body)
	}
	list := purposes()
	list[0].Calls = []policy.Call{{Operation: "GET /2/users/me", Fields: []string{"name"}}}
	set, err := policy.Compile(list, policy.Enforce)
	if err != nil {
		t.Fatal(err)
	}
	settings := r.config.Settings
	settings.Policy = set
	if err := r.gateway.Apply(settings); err != nil {
		t.Fatal(err)
	}
	if a := r.call("GET", "/x/2/users/me", bearer(h)).ok(); !strings.Contains(a.body, `"name"`) || strings.Contains(a.body, `"id"`) {
		t.Errorf("after the change: %s", a.body)
	}
}

// BenchmarkNarrowedCall is a whole call whose reply is narrowed, and the same
// without a contract.
func BenchmarkNarrowedCall(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("contract=%t", on), func(b *testing.B) {
			r := newRig(b, func(c *gateway.Config) {
				c.Surface.Log = nil
				if on {
					c.Settings.Policy = bounded(b, policy.Enforce)
				}
			})
			h := r.xHandle()
			r.seen.off.Store(true)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				r.call("GET", "/x/2/users/me", bearer(h))
			}
		})
	}
}
