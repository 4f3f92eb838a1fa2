package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/gateway"
	"gatehouse/internal/identity"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/sandbox/world"
	"gatehouse/internal/wire"
)

// told is what a test's lineage was told.
type told struct {
	mu   sync.Mutex
	all  []toldOne
	fail func(n int) bool // by how many were told before
}

type toldOne struct {
	Source   gateway.Source
	Identity platform.Identity
}

func (l *told) tell(_ context.Context, s gateway.Source, found []platform.Identity) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil && l.fail(len(l.all)) {
		return wire.Refuse(gatehouse.ErrUnavailable, "lineage/index", "it could not be noted")
	}
	for _, f := range found {
		l.all = append(l.all, toldOne{s, f})
	}
	return nil
}

// take returns what was told since the last call, sorted, as "person class value",
// and the sources that told it.
func (l *told) take() (values []string, sources []gateway.Source) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		values = append(values, one.Identity.Person+" "+one.Identity.Class+" "+one.Identity.Value)
		if !slices.Contains(sources, one.Source) {
			sources = append(sources, one.Source)
		}
	}
	l.all = nil
	slices.Sort(values)
	return values, sources
}

func (l *told) failing(f func(int) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

func telling(l *told) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Lineage = l.tell }
}

// The words of the platform's values are those of the configuration.
func TestIdentityClassesAreDataClasses(t *testing.T) {
	classes := []string{
		platform.ClassPseudonymousID, platform.ClassUsername, platform.ClassName, platform.ClassEmail, platform.ClassPhone,
		platform.ClassProfileLink, platform.ClassPostID, platform.ClassMessageID,
	}
	for i, c := range gatehouse.DataClasses() {
		if i >= len(classes) || classes[i] != string(c) {
			t.Fatalf("class %d is %v, want %q", i, classes, c)
		}
	}
}

func TestDeliveredPeopleAreTold(t *testing.T) {
	l := &told{}
	r := newRig(t, telling(l))
	ada, bob := r.people[0], r.people[1]
	x, m := r.connection("main-x", "publish", ada.Username), r.connection("pages", "pages", bob.Username)
	xh, xText := r.handle(x, "publish")
	mh, mText := r.handle(m, "pages")
	page := r.accounts(mText)[0]
	ig, th := r.connection("insta", "gram", r.people[2].Username), r.connection("threads", "threads", r.people[3].Username)
	ih, iText := r.handle(ig, "gram")
	tth, tText := r.handle(th, "threads")
	l.take()
	xID, mID, tID := x.PlatformUser, m.PlatformUser, th.PlatformUser
	by := map[string]struct {
		connect.Connection
		identity.Handle
	}{xText: {x, xh}, mText: {m, mh}, iText: {ig, ih}, tText: {th, tth}}
	for _, test := range []struct {
		name, call, handle string
		operation          gatehouse.Operation
		want               []string
	}{
		{"X: me", "GET /x/2/users/me?user.fields=url,description", xText, "GET /2/users/me",
			[]string{xID + " name " + ada.Name, xID + " profile-link https://people.example/" + ada.Username, xID + " pseudonymous-id " + xID, xID + " username " + ada.Username}},
		{"X: a post that is made", `POST /x/2/tweets json {"text":"` + xID + ` ada@people.example"}`, xText, "POST /2/tweets", []string{" post-id *", " post-id *"}},
		{"Facebook: me", "GET /meta/v25.0/me?fields=id,name,email,first_name", mText, "GET /me",
			[]string{mID + " email " + bob.Email, mID + " name *", mID + " name *", mID + " pseudonymous-id " + mID}},
		{"Facebook: by id", "GET /meta/v25.0/?ids=" + mID, mText, "GET /{id}", []string{mID + " name " + bob.Name, mID + " pseudonymous-id " + mID}},
		{"Facebook: a page", "GET /meta/v25.0/me/accounts?fields=id,access_token&limit=1", mText, "GET /me/accounts", []string{page.ID + " pseudonymous-id " + page.ID}},
		{"Facebook: our own answer", "GET /meta/v25.0/debug_token?input_token=" + mText, mText, "GET /debug_token", []string{mID + " pseudonymous-id " + mID}},
		{"Facebook: posts", "GET /meta/v25.0/" + page.ID + "/posts?fields=id,message,from{id}&limit=1", mText, "GET /{id}/posts", []string{page.ID + " post-id " + page.ID + "_*", page.ID + " pseudonymous-id " + page.ID}},
		{"Instagram: me", "GET /instagram/me?fields=username,biography", iText, "GET /me", []string{"* pseudonymous-id *", "* username " + r.people[2].Username}},
		{"Threads: me", "GET /threads/v1.0/me?fields=id,username,threads_biography", tText, "GET /me", []string{tID + " pseudonymous-id " + tID, tID + " username " + r.people[3].Username}},
		{"Threads: what was written", "GET /threads/v1.0/me/threads?fields=id,text,username&limit=1", tText, "GET /me/threads", []string{" post-id *", " username " + r.people[3].Username}},
		{"Facebook: an error", "GET /meta/v25.0/me?fields=nonsense", mText, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.t = t
			a := r.spoken(test.handle, test.call)
			got, sources := l.take()
			matched := len(got) == len(test.want)
			for i := 0; matched && i < len(got); i++ {
				matched, _ = path.Match(test.want[i], got[i])
			}
			if !matched {
				t.Fatalf("told %q, want %q; the reply is %d %s", got, test.want, a.status, a.body)
			}
			if test.operation == "" {
				return
			}
			connection, h := by[test.handle].Connection, by[test.handle].Handle
			want := gateway.Source{
				Platform: connection.Platform, App: connection.App, Operation: test.operation, Purpose: h.Purpose, Service: scheduler,
				Handle: h.ID, Connection: connection.ID, Person: connection.Person,
			}
			if len(sources) != 1 || sources[0].Entry == "" {
				t.Fatalf("sources are %+v", sources)
			}
			sources[0].Entry = ""
			if d := cmp.Diff(want, sources[0]); d != "" {
				t.Errorf("source (-want +got):\n%s", d)
			}
		})
	}
	r.t = t
	r.check()
}

// Nothing is told that the app does not get, or that it wrote itself.
func TestNarrowedValuesAreNotTold(t *testing.T) {
	l := &told{}
	r := newRig(t, withContracts(t, policy.Enforce), telling(l))
	xHandle, metaHandle := r.xHandle(), r.metaHandle()
	l.take()
	for _, test := range []struct {
		call, path, sends string
		want              []string
	}{
		{"GET /x/2/users/me", "/2/users/me", `{"data":{"id":"1","name":"Ada","username":"ada"},"includes":{"users":[{"id":"7"}],"tweets":[{"id":"8","text":"t"}]}}`,
			[]string{"1 pseudonymous-id 1", "1 username ada"}},
		{"GET /meta/v25.0/me", "/v25.0/me", `{"name":"Ada","email":"ada@people.example","id":"1"}`, []string{"1 name Ada", "1 pseudonymous-id 1"}},
		{"GET /meta/v25.0/?ids=1", "/v25.0/", `{"1":{"id":"1","email":"ada@people.example","accounts":{"data":[{"id":"3","phone":"+49 151"}]}}}`, []string{"1 pseudonymous-id 1", "3 pseudonymous-id 3"}},
	} {
		handle := xHandle
		if strings.HasPrefix(test.call, "GET /meta") {
			handle = metaHandle
		}
		r.fault(world.Fault{Match: world.FaultMatch{Path: test.path}, ContentType: "application/json", Body: test.sends, Status: 200})
		a := r.spoken(handle, test.call).ok()
		if got, _ := l.take(); !slices.Equal(got, test.want) {
			t.Errorf("%s: told %q, want %q; the reply is %s", test.call, got, test.want, a.body)
		}
		r.faults.Clear()
	}
	// A file is not looked at, but what is JSON under another name is.
	for contentType, want := range map[string]int{"image/png": 0, "application/octet-stream": 1} {
		sends := map[int]string{0: `PNG {"data":{"id":"1"}}`, 1: `{"data":{"id":"1"}}`}[want]
		r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/tweets/5"}, ContentType: contentType, Body: sends, Status: 200})
		r.call("GET", "/x/2/tweets/5", bearer(xHandle)).ok()
		if got, _ := l.take(); len(got) != want {
			t.Errorf("of %s was told %q", contentType, got)
		}
		r.faults.Clear()
	}
	r.check()
}

// What cannot be told is not delivered: a small reply not at all, a large one not
// beyond what was told.
func TestPeopleWhoCannotBeTold(t *testing.T) {
	l := &told{}
	r := newRig(t, telling(l))
	xHandle, metaHandle := r.xHandle(), r.metaHandle()
	l.failing(func(int) bool { return true })
	for _, test := range []struct{ handle, call string }{
		{xHandle, "GET /x/2/users/me"}, {metaHandle, "GET /meta/v25.0/me?fields=id,name"},
		{metaHandle, "GET /meta/v25.0/debug_token?input_token=" + metaHandle},
		{metaHandle, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"}]`},
	} {
		if p := r.spoken(test.handle, test.call).refused(503, "lineage/index"); strings.Contains(p.Detail, r.people[1].Name) {
			t.Error("the refusal holds the reply")
		}
	}
	// An error of the platform that names somebody is kept back, too, and one that
	// names nobody is not.
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, Status: 403, ContentType: "application/json", Body: `{"data":{"id":"1","username":"ada"}}`})
	r.call("GET", "/x/2/users/me", bearer(xHandle)).refused(503, "lineage/index")
	r.faults.Clear()
	if a := r.call("GET", "/meta/v25.0/me?fields=nonsense", bearer(metaHandle)); a.status != 400 {
		t.Errorf("an error without people came as %d %s", a.status, a.body)
	}

	// One that breaks off is passed on as far as it came, and not before it is told.
	for _, sends := range []string{`{"data":{"id":"7","username":"ada","public_metrics":{"x":1`, `{"data":{"id":"7","username":"ada","description":"` + strings.Repeat("d", 100<<10) + `","public_metrics":{"x":1`} {
		for _, fails := range []bool{true, false} {
			l.failing(func(int) bool { return fails })
			r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/me"}, ContentType: "application/json", Body: sends})
			a := r.call("GET", "/x/2/users/me", bearer(xHandle))
			values, _ := l.take()
			if arrived := strings.Contains(a.body, `"ada"`); arrived == fails || arrived != slices.Contains(values, "7 username ada") && arrived != slices.Contains(values, " username ada") {
				t.Errorf("of a reply that broke off came %d with %d bytes, told were %q", a.status, len(a.body), values)
			}
		}
	}
	l.failing(func(int) bool { return true })

	// A large reply in which the names come long before the ids: nothing of it passes
	// that was not told.
	var b strings.Builder
	b.WriteString(`{"data":[`)
	for i := range 500 {
		fmt.Fprintf(&b, `{"username":"user%06d","description":"%s","id":"%d"},`, i, strings.Repeat("d", 3000), 5_000_000+i)
	}
	large := b.String() + `{"id":"1"}]}`
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/1/followers"}, ContentType: "application/json", Body: large})
	l.failing(func(before int) bool { return before > 300 })
	a := r.call("GET", "/x/2/users/1/followers", bearer(xHandle))
	values, _ := l.take()
	known := map[string]bool{}
	for _, v := range values {
		known[v[strings.LastIndexByte(v, ' ')+1:]] = true
	}
	if a.err == nil || len(values) < 300 {
		t.Fatalf("%d bytes came, error %v, %d values were told", len(a.body), a.err, len(values))
	}
	seen := 0
	for rest := a.body; ; seen++ {
		_, after, ok := strings.Cut(rest, `"username":"`)
		if !ok || len(after) < 10 {
			break
		}
		if !known[after[:10]] {
			t.Fatalf("%s was delivered and not told", after[:10])
		}
		rest = after
	}
	if seen < 100 {
		t.Errorf("only %d people came", seen)
	}

	// Without failures the same reply arrives whole, and with the ids.
	l.failing(nil)
	l.take()
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/2/users/1/followers"}, ContentType: "application/json", Body: large})
	if a := r.call("GET", "/x/2/users/1/followers", bearer(xHandle)).ok(); a.body != large {
		t.Errorf("the large reply was changed: %d bytes of %d", len(a.body), len(large))
	}
	if values, _ = l.take(); len(values) != 1001 || !slices.Contains(values, "5000499 username user000499") {
		t.Errorf("%d values of the large reply were told", len(values))
	}
	r.check()
}

// A large object of which the end is far: what waited is delivered and told.
func TestPeopleInOneLargeObject(t *testing.T) {
	l := &told{}
	r := newRig(t, telling(l))
	metaHandle := r.metaHandle()
	l.take()
	large := `{"name":"Ada","about":"` + strings.Repeat("x", 300<<10) + `","email":"ada@people.example","id":"1"}`
	r.fault(world.Fault{Match: world.FaultMatch{Path: "/v25.0/me"}, ContentType: "application/json", Body: large})
	if a := r.call("GET", "/meta/v25.0/me", bearer(metaHandle)).ok(); a.body != large {
		t.Errorf("the reply was changed: %d bytes of %d", len(a.body), len(large))
	}
	if got, _ := l.take(); !slices.Equal(got, []string{" name Ada", "1 email ada@people.example", "1 pseudonymous-id 1"}) {
		t.Errorf("told is %q", got)
	}
	r.check()
}

// Each item of a batch is told as the call that it is, in the name of the handle
// that it carries.
func TestBatchItemsAreTold(t *testing.T) {
	l := &told{}
	r := newRig(t, telling(l))
	m := r.connection("pages", "pages", r.people[1].Username)
	_, text := r.handle(m, "pages")
	page := r.accounts(text)[0]
	l.take()
	batch := `[{"method":"GET","relative_url":"me?fields=id,name"},{"method":"GET","relative_url":"` + page.ID + `/feed?fields=id,from,message&limit=1&access_token=` + page.AccessToken + `"}]`
	r.call("POST", "/meta/v25.0/", bearer(text), body(formType, "batch="+url.QueryEscape(batch))).ok()
	got, sources := l.take()
	if len(got) != 5 || len(sources) != 2 {
		t.Fatalf("told %q from %+v", got, sources)
	}
	me, feed := sources[0], sources[1]
	if me.Operation != "GET /me" || me.Connection != m.ID || me.Person != m.Person || feed.Operation != "GET /{id}/feed" || feed.Connection == m.ID || feed.Handle == me.Handle || feed.Entry == "" || feed.Entry == me.Entry {
		t.Errorf("sources are %+v", sources)
	}
	posts := 0
	for _, v := range got {
		if strings.HasPrefix(v, page.ID+" post-id "+page.ID+"_") {
			posts++
		}
	}
	if posts != 1 {
		t.Errorf("the page's post is not among %q", got)
	}
	r.check()
}

// An object of a stream is told before it is sent, and one that cannot be ends it.
func TestStreamedPeopleAreTold(t *testing.T) {
	l := &told{}
	r := newRig(t, telling(l))
	h := r.xHandle()
	var app tokenReply
	r.call("POST", "/x/oauth2/token", bearer(h), body(formType, "grant_type=client_credentials")).ok(&app)
	req, _ := http.NewRequestWithContext(r.ctx, "GET", r.url+"/x/2/tweets/sample/stream?tweet.fields=author_id", nil)
	bearer(app.AccessToken)(req)
	reply, err := r.client.Do(req)
	if err != nil || reply.StatusCode != 200 {
		t.Fatalf("opening the stream: %v", err)
	}
	defer reply.Body.Close()
	lines := bufio.NewScanner(reply.Body)
	for lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), `"author_id":"`); ok {
			author, _, _ := strings.Cut(after, `"`)
			got, sources := l.take()
			if !slices.Contains(got, author+" pseudonymous-id "+author) {
				t.Errorf("an object came before its author was told: %s, told %q", lines.Text(), got)
			}
			if len(sources) != 1 || sources[0].Operation != "GET /2/tweets/sample/stream" {
				t.Errorf("sources are %+v", sources)
			}
			break
		}
	}
	l.failing(func(int) bool { return true })
	for lines.Scan() {
	}
	if lines.Err() == nil {
		t.Error("the stream went on, or ended as if it were complete")
	}
}
