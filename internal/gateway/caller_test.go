package gateway_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/connect"
	"gatehouse/internal/identity"
	"gatehouse/internal/secret"
	"gatehouse/internal/wire"
)

// connection takes a person through the platform's consent.
func (r *rig) connection(app gatehouse.AppName, purpose gatehouse.PurposeName, username string) connect.Connection {
	t := r.t
	t.Helper()
	subject := gatehouse.Subject("subject of " + username)
	begun, err := r.connect.Begin(r.ctx, connect.BeginRequest{App: app, Subject: subject, Purposes: []gatehouse.PurposeName{purpose}, ReturnTo: "https://app.example/back", State: "s", Service: scheduler})
	if err != nil {
		t.Fatalf("beginning: %v", err)
	}
	authorize, browser, err := r.connect.Start(r.ctx, begun.ID)
	if err != nil {
		t.Fatalf("starting: %v", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.pool}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	reply, err := client.Get(authorize + "&sandbox_person=" + url.QueryEscape(username) + "&sandbox_decision=allow")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	back, err := reply.Location()
	if err != nil {
		body, _ := io.ReadAll(reply.Body)
		t.Fatalf("consent: %s: %s", reply.Status, body)
	}
	to, err := r.connect.Callback(r.ctx, app, back.Query(), browser)
	if err != nil {
		t.Fatalf("callback: %v", err)
	}
	u, _ := url.Parse(to)
	c, err := r.connect.Redeem(r.ctx, secret.New(u.Query().Get("code")), subject, scheduler)
	if err != nil {
		t.Fatalf("redeeming %s: %v", to, err)
	}
	return c
}

// handle makes a handle for a connection.
func (r *rig) handle(c connect.Connection, purpose gatehouse.PurposeName, ttl ...time.Duration) (identity.Handle, string) {
	r.t.Helper()
	request := identity.HandleRequest{Service: scheduler, Connection: c.ID, Person: c.Person, Purpose: purpose, Platform: c.Platform, App: c.App}
	if len(ttl) > 0 {
		request.TTL = ttl[0]
	}
	h, text, err := r.handles.NewHandle(r.ctx, request)
	if err != nil {
		r.t.Fatal(err)
	}
	return h, text.Reveal()
}

func (r *rig) xHandle() string {
	r.t.Helper()
	_, text := r.handle(r.connection("main-x", "publish", r.people[0].Username), "publish")
	return text
}

func (r *rig) metaHandle() string {
	r.t.Helper()
	_, text := r.handle(r.connection("pages", "pages", r.people[1].Username), "pages")
	return text
}

// answer is a reply, read whole.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

// do sends a request and remembers the reply for check.
func (r *rig) do(req *http.Request) answer {
	r.t.Helper()
	reply, err := r.client.Do(req)
	if err != nil {
		return answer{t: r.t, err: err}
	}
	defer reply.Body.Close()
	body, err := io.ReadAll(reply.Body)
	r.mu.Lock()
	_ = reply.Header.Write(&r.replies)
	r.replies.Write(body)
	r.replies.WriteByte('\n')
	r.mu.Unlock()
	return answer{t: r.t, status: reply.StatusCode, header: reply.Header, body: string(body), err: err}
}

type option func(*http.Request)

func bearer(handle string) option {
	return func(req *http.Request) { req.Header.Set("Authorization", "Bearer "+handle) }
}

func header(name, value string) option {
	return func(req *http.Request) { req.Header.Add(name, value) }
}

func asHost(name string) option { return func(req *http.Request) { req.Host = name } }

func body(contentType, text string) option {
	return func(req *http.Request) {
		req.Body = io.NopCloser(strings.NewReader(text))
		req.ContentLength = int64(len(text))
		req.Header.Set("Content-Type", contentType)
	}
}

const formType = "application/x-www-form-urlencoded"

// call sends method and path (with query) to the gateway.
func (r *rig) call(method, path string, options ...option) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.ctx, method, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range options {
		o(req)
	}
	return r.do(req)
}

// until waits for something that another goroutine does.
func (r *rig) until(what string, so func() bool) {
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Errorf("it never came to this: %s", what)
			return
		}
	}
}

// ok fails the test unless the reply is a success, and decodes it into v.
func (a answer) ok(v ...any) answer {
	a.t.Helper()
	if a.err != nil || a.status < 200 || a.status > 299 {
		a.t.Fatalf("got status %d, error %v: %s", a.status, a.err, a.body)
	}
	for _, into := range v {
		if err := json.Unmarshal([]byte(a.body), into); err != nil {
			a.t.Fatalf("decoding %s: %v", a.body, err)
		}
	}
	return a
}

// refused fails the test unless the reply is a refusal by us with this status and
// rule, an explanation, and the id of an entry in the log.
func (a answer) refused(status int, rule string) wire.Problem {
	a.t.Helper()
	var p wire.Problem
	if a.err != nil || a.status != status || json.Unmarshal([]byte(a.body), &p) != nil || p.Rule != rule || p.Detail == "" || p.Title == "" {
		a.t.Fatalf("got status %d, error %v, body %s; want %d with rule %q", a.status, a.err, a.body, status, rule)
	}
	if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/problem+json") {
		a.t.Errorf("refusal has content type %q", ct)
	}
	if p.Instance == "" {
		a.t.Errorf("refusal %s names no log entry", rule)
	}
	return p
}

// check is the oracle of every test: the log verifies, and no token that a
// platform ever issued stands in a reply, a log line or a file of ours.
func (r *rig) check() {
	r.t.Helper()
	r.verifyLog()
	r.mu.Lock()
	places := map[string]string{"a reply": r.replies.String(), "a log line": r.lines.String()}
	r.mu.Unlock()
	err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		places[filepath.Base(path)] = string(b)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, issued := range r.ledger.All() {
		if len(issued.Value) < 12 {
			continue
		}
		for place, text := range places {
			if issued.Kind == "client_id" || issued.Kind == "consumer_key" {
				continue
			}
			if strings.Contains(text, issued.Value) || strings.Contains(text, url.QueryEscape(issued.Value)) {
				i := strings.Index(text, issued.Value)
				r.t.Errorf("a %s that the platform issued stands in %s: …%.60q", issued.Kind, place, text[max(0, i-60):max(0, i)])
			}
		}
	}
	if strings.Contains(r.lines.String(), "gth_hnd_") || strings.Contains(r.lines.String(), "gth_svc_") {
		r.t.Error("a handle stands in a log line")
	}
	r.seen.mu.Lock()
	defer r.seen.mu.Unlock()
	for _, a := range r.seen.all {
		if sent := a.Path + a.Query + a.Body; strings.Contains(sent, "gth_hnd_") || strings.Contains(sent, "gth_svc_") {
			r.t.Errorf("a handle reached the platform: %s %s", a.Method, a.Path)
		}
		for name, values := range a.Header {
			if strings.Contains(strings.Join(values, " "), "gth_") {
				r.t.Errorf("a handle reached the platform in header %s", name)
			}
		}
	}
}
