package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/budget"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/connect/connecttest"
	"gatehouse/internal/lineage"
	"gatehouse/internal/outbox"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
)

// world is the API over HTTP, with a client that checks everything against the
// OpenAPI document.
type world struct {
	*connecttest.World
	t       *testing.T
	url     string
	router  routers.Router
	key     string
	log     *bytes.Buffer
	full    bool          // the service has used up its rate
	nodes   []api.NodeLog // that have a log of their own
	deaf    bool          // what is shown cannot be noted
	shown   []string
	duties  *cases.Cases
	duty    api.Duties
	events  *outbox.Outbox
	budgets *budget.Budgets
	lineage *lineage.Lineage
	api     *api.API
	// searched are the searches for people that were to be recorded.
	searched []string
	// person is the one whom searches know as person:1.
	person gatehouse.PersonID
	data   // see data_test.go
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: connecttest.New(t, storetest.SQLite(t), connecttest.Options{}), t: t, log: &bytes.Buffer{}, budgets: budget.New(budget.Config{})}
	var err error
	if w.events, err = outbox.New(outbox.Config{Store: w.DB.Outbox(), Log: w.Log, Vault: w.Vault}); err != nil {
		t.Fatal(err)
	}
	w.duties, _, _ = w.Duties(0)
	w.duty = api.Duties{
		Cases: w.duties, Erase: w.erase,
		// Only the scheduler answers for the apps of its purposes.
		May: func(s gatehouse.ServiceName, app gatehouse.AppName) bool {
			return s == "scheduler" && (app == "main-x" || app == "pages")
		},
	}
	w.setUpData()
	a, err := api.New(api.Config{
		Connections: w.Connections, Directory: w.Directory, Records: w.records,
		Duties: w.duty,
		Events: w.events, EventReader: func(s gatehouse.ServiceName) bool { return s == "scheduler" },
		Purposes: func(s gatehouse.ServiceName) []api.Purpose {
			var list []api.Purpose
			for _, n := range w.services[s] {
				list = append(list, api.Purpose{Name: n, Why: "because " + string(n), App: connecttest.AppOf(n)})
			}
			return list
		},
		Admit: func(_ gatehouse.ServiceName, n int) error {
			w.cost += n
			if w.full {
				return wire.WithRetryAfter(wire.Refuse(gatehouse.ErrLimited, "limit/service-rate", "too fast"), time.Second)
			}
			return nil
		},
		Budgets: w.budgets,
		Shown: func(_ context.Context, s gatehouse.ServiceName, list []connect.Connection) error {
			if w.deaf {
				return wire.Refuse(gatehouse.ErrUnavailable, "lineage/flows", "it could not be noted")
			}
			for _, v := range list {
				w.shown = append(w.shown, string(s)+" "+v.PlatformUser+" "+string(v.ID))
			}
			return nil
		},
		Lineage: w.setUpLineage(),
		Log:     audit.NewSource(w.DB.Audit()), LogReader: func(s gatehouse.ServiceName) bool { return s == "scheduler" },
		Logs:    func(context.Context) ([]api.NodeLog, error) { return w.nodes, nil },
		Search:  w.setUpSearch(),
		Surface: &wire.Surface{Name: "app", Log: slog.New(slog.NewTextHandler(w.log, nil))},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.api = a
	server := httptest.NewServer(a.Handler())
	t.Cleanup(server.Close)
	w.url, w.key = server.URL, w.serviceKey("scheduler")
	doc, err := openapi3.NewLoader().LoadFromData(api.Document())
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the document is not valid OpenAPI: %v", err)
	}
	doc.Servers = nil // the router takes "/" for a prefix
	if w.router, err = legacy.NewRouter(doc); err != nil {
		t.Fatal(err)
	}
	return w
}

// erase opens a duty for each person, as the program does.
func (w *world) erase(ctx context.Context, _ gatehouse.ServiceName, who connect.Who) ([]cases.Duty, error) {
	people, err := w.Connections.People(ctx, who)
	var opened []cases.Duty
	for _, person := range people {
		d, failed := w.duties.Open(ctx, cases.Request{Kind: cases.Erasure, Origin: cases.FromApp, App: "main-x", Platform: gatehouse.X, Person: person})
		if failed == nil {
			d, failed = w.duties.Advance(ctx, d.ID)
		}
		opened, err = append(opened, d), errors.Join(err, failed)
	}
	return opened, err
}

func (w *world) serviceKey(name gatehouse.ServiceName) string {
	w.t.Helper()
	key, err := w.Directory.NewServiceKey(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	return key.Reveal()
}

// request builds a request as a server-side app sends it.
func (w *world) request(method, path, body string) *http.Request {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, reader)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// send makes a request and checks the reply against the document; the request
// too, unless the test means it to be wrong.
func (w *world) send(req *http.Request, valid bool) (int, map[string]any) {
	w.t.Helper()
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Body = io.NopCloser(bytes.NewReader(sent))
	w.check(req, reply, body, valid)
	var decoded map[string]any
	if len(body) > 0 {
		if err := json.Unmarshal(body, &decoded); err != nil {
			w.t.Fatalf("the reply is no JSON object: %s", body)
		}
	}
	return reply.StatusCode, decoded
}

func (w *world) check(req *http.Request, reply *http.Response, body []byte, valid bool) {
	w.t.Helper()
	route, params, err := w.router.FindRoute(req)
	if err != nil {
		if valid {
			w.t.Fatalf("%s %s is not in the document: %v", req.Method, req.URL.Path, err)
		}
		return
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, MultiError: true, IncludeResponseStatus: true,
	}
	in := &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: options}
	err = openapi3filter.ValidateRequest(context.WithoutCancel(req.Context()), in)
	if valid && err != nil {
		w.t.Errorf("%s %s: the request is not as documented: %v", req.Method, req.URL.Path, err)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: reply.StatusCode, Header: reply.Header, Options: options}
	out.SetBodyBytes(body)
	if err := openapi3filter.ValidateResponse(context.WithoutCancel(req.Context()), out); err != nil {
		w.t.Errorf("%s %s: the reply %d is not as documented: %v\n%s", req.Method, req.URL.Path, reply.StatusCode, err, body)
	}
}

// ok makes a documented request and wants a status.
func (w *world) ok(status int, method, path, body string) map[string]any {
	w.t.Helper()
	got, reply := w.send(w.request(method, path, body), true)
	if got != status {
		w.t.Fatalf("%s %s gives %d, want %d: %v", method, path, got, status, reply)
	}
	return reply
}

// refuses makes a request and wants a refusal by a rule.
func (w *world) refuses(status int, rule string, req *http.Request) map[string]any {
	w.t.Helper()
	got, reply := w.send(req, false)
	if got != status || reply["rule"] != rule {
		w.t.Errorf("%s %s gives %d %v, want %d %s", req.Method, req.URL.Path, got, reply, status, rule)
	}
	return reply
}

const begin = `{"app":"main-x","subject":"user-7","purposes":["publish"],"return_to":"` + connecttest.ReturnTo + `","state":"app state"}`

// connect goes through the API and the sandbox to a connection.
func (w *world) connect(subject, purpose string) map[string]any {
	w.t.Helper()
	return w.ok(http.StatusOK, "POST", "/gatehouse/v1/connections/redeem", `{"code":"`+w.code(subject, purpose)+`","subject":"`+subject+`"}`)
}

// code goes as far as the code to redeem.
func (w *world) code(subject, purpose string) string {
	w.t.Helper()
	body := strings.NewReplacer("user-7", subject, "publish", purpose, "main-x", string(connecttest.AppOf(gatehouse.PurposeName(purpose)))).Replace(begin)
	begun := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/connections", body)
	link := begun["url"].(string)
	address, cookie, err := w.Connections.Start(w.t.Context(), link[strings.LastIndex(link, "/")+1:])
	if err != nil {
		w.t.Fatal(err)
	}
	b := w.Browser(address, cookie)
	return b.Back(connecttest.AppOf(gatehouse.PurposeName(purpose)), b.Decide(connecttest.Person(1), "allow", "")).Get("code")
}

// The app's whole journey: who am I, connect, look, make a handle, revoke.
func TestJourney(t *testing.T) {
	w := newWorld(t)
	me := w.ok(http.StatusOK, "GET", "/gatehouse/v1/me", "")
	if me["service"] != "scheduler" || len(me["purposes"].([]any)) != 3 {
		t.Errorf("me is %v", me)
	}
	c := w.connect("user-7", "publish")
	id := c["id"].(string)
	if c["subject"] != "user-7" || c["status"] != "healthy" {
		t.Errorf("the connection is %v", c)
	}
	h := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"publish","expires_in":3600}`)
	principal, err := w.Directory.AuthenticateHandle(t.Context(), secret.New(h["handle"].(string)))
	if err != nil || string(principal.Connection) != id || principal.Purpose != "publish" || principal.Person == "" {
		t.Errorf("the handle is %+v, %v", principal, err)
	}
	if life := time.Until(principal.Expires); life < 59*time.Minute || life > time.Hour {
		t.Errorf("the handle lives %s", life)
	}
	set := h["oauth1"].(map[string]any)
	if set["token"] != h["id"] || set["consumer_secret"] == "" {
		t.Errorf("the OAuth 1.0a set is %v", set)
	}
	fb := w.connect("user-7", "pages")
	if second := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+fb["id"].(string)+`","purpose":"pages"}`); second["oauth1"] != nil {
		t.Errorf("a Facebook handle has an OAuth 1.0a set: %v", second)
	}
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/handles?connection="+id, ""); len(list["handles"].([]any)) != 1 {
		t.Errorf("the handles are %v", list)
	}
	w.ok(http.StatusNoContent, "DELETE", "/gatehouse/v1/handles/"+h["id"].(string), "")
	if _, err := w.Directory.AuthenticateHandle(t.Context(), secret.New(h["handle"].(string))); err == nil {
		t.Error("a revoked handle works")
	}
	if gone := w.ok(http.StatusOK, "DELETE", "/gatehouse/v1/connections/"+id, ""); gone["status"] != "revoked" || gone["revoke_outstanding"] != nil {
		t.Errorf("after revocation: %v", gone)
	}
	if shown := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections/"+id, ""); shown["status"] != "revoked" {
		t.Errorf("after revocation: %v", shown)
	}
	w.refuses(http.StatusConflict, "api/connection-unusable", w.request("POST", "/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"publish"}`))
}

// A connection says what is wrong with it, and what to do: as a word, in words.
func TestConnectionSaysWhatComesNext(t *testing.T) {
	w := newWorld(t)
	id := w.connect("user-7", "pages")["id"].(string)
	show := func() map[string]any {
		t.Helper()
		return w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections/"+id, "")
	}
	if c := show(); c["cause"] != nil || c["next_step"] != nil || c["data_access_expires_at"] != nil {
		t.Errorf("a healthy one says %v", c)
	}
	w.Meta.SetDataAccess("facebook", connecttest.Person(1), time.Now().Add(24*time.Hour))
	storetest.OpenRaw(t, w.DSN).Exec("UPDATE connections SET check_at = 1")
	if err := w.Connections.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c := show(); c["status"] != "healthy" || c["cause"] != "data-access-ending" || !strings.Contains(c["next_step"].(string), "log in again by") || c["data_access_expires_at"] == nil {
		t.Errorf("a day before the end it says %v", c)
	}
	if err := w.Connections.MarkDead(t.Context(), gatehouse.ConnectionID(id), "checkpoint"); err != nil {
		t.Fatal(err)
	}
	if c := show(); c["status"] != "reconnect_needed" || c["cause"] != "checkpoint" || !strings.Contains(c["next_step"].(string), "security check first") {
		t.Errorf("a dead one says %v", c)
	}
}

func TestListsArePagedAndFiltered(t *testing.T) {
	w := newWorld(t)
	for _, subject := range []string{"user-1", "user-2", "user-3"} {
		w.connect(subject, "publish")
	}
	w.connect("user-1", "pages")
	count := func(query string) int {
		t.Helper()
		return len(w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections"+query, "")["connections"].([]any))
	}
	for query, want := range map[string]int{
		"": 4, "?subject=user-1": 2, "?app=pages": 1, "?status=healthy": 4, "?status=revoked": 0, "?subject=user-1&app=main-x": 1, "?subject=nobody": 0,
	} {
		if got := count(query); got != want {
			t.Errorf("%q lists %d, want %d", query, got, want)
		}
	}
	var seen []string
	for after := ""; ; {
		page := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections?limit=2"+after, "")
		for _, c := range page["connections"].([]any) {
			seen = append(seen, c.(map[string]any)["id"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		after = "&after=" + next
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) != 4 {
		t.Errorf("paging shows %v", seen)
	}
}

// A service neither sees nor touches what another one began.
func TestServicesAreApart(t *testing.T) {
	w := newWorld(t)
	c := w.connect("user-7", "publish")
	id := c["id"].(string)
	h := w.ok(http.StatusCreated, "POST", "/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"publish"}`)
	w.key = w.serviceKey("analytics")
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections", ""); len(list["connections"].([]any)) != 0 {
		t.Errorf("another service sees %v", list)
	}
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/handles", ""); len(list["handles"].([]any)) != 0 {
		t.Errorf("another service sees %v", list)
	}
	for _, method := range []string{"GET", "DELETE"} {
		w.refuses(http.StatusNotFound, "connect/unknown-connection", w.request(method, "/gatehouse/v1/connections/"+id, ""))
	}
	w.refuses(http.StatusNotFound, "connect/unknown-connection", w.request("POST", "/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"publish"}`))
	w.refuses(http.StatusNotFound, "api/unknown-handle", w.request("DELETE", "/gatehouse/v1/handles/"+h["id"].(string), ""))
	w.refuses(http.StatusForbidden, "api/purpose", w.request("POST", "/gatehouse/v1/connections", strings.Replace(begin, "publish", "read", 1)))
	if _, err := w.Directory.AuthenticateHandle(t.Context(), secret.New(h["handle"].(string))); err != nil {
		t.Errorf("the handle was touched: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	c := w.connect("user-7", "publish")
	connections, id := "/gatehouse/v1/connections", c["id"].(string)
	post := func(path, body string) *http.Request { return w.request("POST", path, body) }
	with := func(req *http.Request, name string, values ...string) *http.Request {
		req.Header[name] = values
		return req
	}
	get := func(path string) *http.Request { return w.request("GET", path, "") }
	for _, r := range []struct {
		status int
		rule   string
		req    *http.Request
	}{
		{401, "api/key-missing", with(get("/gatehouse/v1/me"), "Authorization")},
		{401, "api/key-missing", with(get("/gatehouse/v1/me"), "Authorization", "Basic "+w.key)},
		{401, "api/key-missing", with(get("/gatehouse/v1/me"), "Authorization", "Bearer "+w.key, "Bearer "+w.key)},
		{403, "api/browser", with(get("/gatehouse/v1/me"), "Origin", "https://app.example.com")},
		{403, "api/browser", with(get("/gatehouse/v1/me"), "Sec-Fetch-Site", "none")},
		{403, "api/browser", with(get("/gatehouse/v1/me"), "Cookie", "a=b")},
		{403, "api/browser", with(get("/gatehouse/v1/openapi.json"), "Cookie", "a=b")},
		{404, "api/unknown-path", get("/gatehouse/v1/nothing")},
		{405, "api/method", w.request("PUT", connections, "")},
		{405, "api/method", w.request("PUT", connections+"/redeem", "")},
		{400, "api/unknown-parameter", get("/gatehouse/v1/me?verbose=1")},
		{400, "api/unknown-parameter", get(connections + "?subjects=user-7")},
		{400, "api/repeated-parameter", get(connections + "?subject=a&subject=b")},
		{400, "api/query", get(connections + "?subject=%zz")},
		{400, "api/parameter", get(connections + "?subject=%ff")},
		{400, "api/limit", get(connections + "?limit=0")},
		{400, "api/limit", get(connections + "?limit=501")},
		{400, "api/status", get(connections + "?status=pending")},
		{400, "api/after", get(connections + "?after=unknown")},
		{415, "api/content-type", with(post(connections, begin), "Content-Type", "text/plain")},
		{415, "api/content-encoding", with(post(connections, begin), "Content-Encoding", "gzip")},
		{400, "api/json", post(connections, `[]`)},
		{400, "api/json", post(connections, begin+begin)},
		{400, "api/json", post(connections, strings.Replace(begin, "app state", "\xff", 1))},
		{400, "api/unknown-field", post(connections, strings.Replace(begin, `"state"`, `"State"`, 1))},
		{400, "api/repeated-field", post(connections, strings.Replace(begin, `"state"`, `"app":"x","state"`, 1))},
		{400, "api/field-type", post(connections, strings.Replace(begin, `"app state"`, `7`, 1))},
		{400, "api/field-type", post(connections, strings.Replace(begin, `"app state"`, `null`, 1))},
		{400, "api/field-type", post(connections, strings.Replace(begin, `["publish"]`, `"publish"`, 1))},
		{400, "api/purpose-twice", post(connections, strings.Replace(begin, `"publish"`, `"publish","publish"`, 1))},
		{400, "api/purpose-app", post(connections, strings.Replace(begin, "publish", "pages", 1))},
		{403, "api/purpose", post(connections, strings.Replace(begin, "publish", "nothing", 1))},
		{400, "connect/purposes", post(connections, strings.Replace(begin, `"publish"`, ``, 1))},
		{400, "connect/return-url", post(connections, strings.Replace(begin, "app.example.com", "evil.example", 1))},
		{400, "connect/subject", post(connections, strings.Replace(begin, "user-7", "", 1))},
		{400, "connect/unknown-app", post(connections, `{"app":"nowhere","subject":"u","purposes":[],"return_to":"x"}`)},
		{400, "api/redeem", post(connections+"/redeem", `{"subject":"user-7"}`)},
		{403, "connect/unknown-code", post(connections+"/redeem", `{"code":"guess","subject":"user-7"}`)},
		{404, "connect/unknown-connection", get(connections + "/unknown")},
		{403, "api/purpose", post("/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"nothing"}`)},
		{400, "api/purpose-app", post("/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"pages"}`)},
		{403, "api/purpose-not-connected", post("/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"read"}`)},
		{400, "api/expires-in", post("/gatehouse/v1/handles", `{"connection":"`+id+`","purpose":"publish","expires_in":-1}`)},
		{404, "api/unknown-handle", w.request("DELETE", "/gatehouse/v1/handles/unknown", "")},
	} {
		w.refuses(r.status, r.rule, r.req)
	}
	if status, _ := w.send(post(connections, `{"app":"`+strings.Repeat("x", 70<<10)+`"}`), false); status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body gives %d", status)
	}
}

// Nothing that could be a credential comes back in an error or stands in the
// access log.
func TestErrorsAndLogRepeatNoSecret(t *testing.T) {
	w := newWorld(t)
	canary := w.serviceKey("analytics")
	for _, req := range []*http.Request{
		w.request("POST", "/gatehouse/v1/connections", `{"`+canary+`":1}`),
		w.request("POST", "/gatehouse/v1/connections/redeem", `{"code":"`+canary+`","subject":"x"}`),
		w.request("POST", "/gatehouse/v1/connections/redeem", `{"code":{"`+canary+`":1},"subject":"x"}`),
		w.request("GET", "/gatehouse/v1/me?"+canary+"=1", ""),
		w.request("GET", "/gatehouse/v1/connections/"+canary, ""),
	} {
		status, reply := w.send(req, false)
		text, _ := json.Marshal(reply)
		if status < 400 || strings.Contains(string(text), canary) {
			t.Errorf("%d %s", status, text)
		}
	}
	if strings.Contains(w.log.String(), canary) || strings.Contains(w.log.String(), w.key) {
		t.Error("the access log holds a key")
	}
	if !strings.Contains(w.log.String(), "/gatehouse/v1/connections/{id}") {
		t.Errorf("the access log lacks the pattern: %s", w.log)
	}
}

// Every route is in the document, and every operation of the document is a
// route.
func TestDocumentAndRoutesAgree(t *testing.T) {
	doc, err := openapi3.NewLoader().LoadFromData(api.Document())
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			// A path with slashes in it cannot be said in this format.
			documented = append(documented, method+" "+strings.Replace(path, "/{path}", "/{path...}", 1))
		}
	}
	slices.Sort(documented)
	served := api.Routes()
	slices.Sort(served)
	if !slices.Equal(documented, served) {
		t.Errorf("documented: %v\nserved: %v", documented, served)
	}
	var causes []string
	for _, c := range connect.Causes() {
		causes = append(causes, string(c))
	}
	var listed []string
	for _, c := range doc.Components.Schemas["Connection"].Value.Properties["cause"].Value.Enum {
		listed = append(listed, fmt.Sprint(c))
	}
	if !slices.Equal(listed, causes) {
		t.Errorf("documented causes: %v\nthose that there are: %v", listed, causes)
	}
	w := newWorld(t)
	req := w.request("GET", "/gatehouse/v1/openapi.json", "")
	req.Header.Del("Authorization")
	if status, served := w.send(req, true); status != http.StatusOK || served["openapi"] != "3.0.3" {
		t.Errorf("the document is served with %d", status)
	}
}

// A service that has used up its rate is told when to come again, and nothing is
// done; others, and the document, are not touched.
func TestServiceOverItsRate(t *testing.T) {
	w := newWorld(t)
	w.full = true
	w.refuses(http.StatusTooManyRequests, "limit/service-rate", w.request("POST", "/gatehouse/v1/connections", begin))
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/openapi.json", "")
	w.full = false
	if list := w.ok(http.StatusOK, "GET", "/gatehouse/v1/connections", ""); len(list["connections"].([]any)) != 0 {
		t.Errorf("a refused request began a connection: %v", list)
	}
}

// Whose ids and names a reply shows is told before it is sent; where that fails, it is
// not. Handles name nobody.
func TestWhatIsShownIsTold(t *testing.T) {
	w := newWorld(t)
	v := w.connect("ada", "publish")
	id, user := v["id"].(string), v["platform_user"].(string)
	want := "scheduler " + user + " " + id
	if len(w.shown) == 0 || w.shown[len(w.shown)-1] != want {
		t.Errorf("redeemed: told is %q", w.shown)
	}
	for _, path := range []string{"/gatehouse/v1/connections", "/gatehouse/v1/connections/" + id} {
		w.shown = nil
		w.ok(http.StatusOK, "GET", path, "")
		if len(w.shown) != 1 || w.shown[0] != want {
			t.Errorf("%s: told is %q, want %q", path, w.shown, want)
		}
		w.deaf = true
		w.refuses(http.StatusServiceUnavailable, "lineage/flows", w.request("GET", path, ""))
		w.deaf = false
	}
	w.shown = nil
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/handles", "")
	if len(w.shown) != 0 {
		t.Errorf("told is %q", w.shown)
	}
}
