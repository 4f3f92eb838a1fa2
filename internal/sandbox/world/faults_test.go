package world_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/sandbox/world"
)

// stage is a platform that counts its effects behind faults and a record of
// requests.
type stage struct {
	*httptest.Server
	faults   world.Faults
	requests world.Requests
	effects  atomic.Int32
}

const reply = `{"a reply":"long enough to be cut in half"}`

func newStage(t *testing.T) *stage {
	s := &stage{}
	platform := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "short") {
			t.Errorf("the platform saw a cut body: %q", body)
		}
		s.effects.Add(1)
		w.Header().Set("X-Effect", "yes")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, reply)
	})
	mux := http.NewServeMux()
	mux.Handle("/_sandbox/faults", s.faults.Handler())
	mux.Handle("/_sandbox/requests", s.requests.Handler())
	mux.Handle("/", platform)
	s.Server = httptest.NewServer(s.requests.Middleware("test", s.faults.Middleware(mux)))
	t.Cleanup(s.Close)
	return s
}

// post makes a request and returns status, headers, body and the error of either
// step.
func (s *stage) post(path, body string) (int, http.Header, string, error) {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Post(s.URL+path, "text/plain", strings.NewReader(body))
	if err != nil {
		return 0, nil, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, res.Header, string(text), err
}

func (s *stage) order(t *testing.T, fault string) {
	t.Helper()
	res, err := http.Post(s.URL+"/_sandbox/faults", "application/json", strings.NewReader(fault))
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("ordering %s: %v, %v", fault, res, err)
	}
	res.Body.Close()
}

func TestEachFaultDoesWhatItSays(t *testing.T) {
	for name, c := range map[string]struct {
		fault   string
		status  int
		body    string
		effects int32
		cut     bool
		slow    time.Duration
	}{
		"none":        {``, 202, reply, 1, false, 0},
		"status":      {`{"status":503,"body":"{\"error\":\"down\"}"}`, 503, `{"error":"down"}`, 0, false, 0},
		"body":        {`{"body":"<html>not JSON</html>","content_type":"text/html"}`, 200, "<html>not JSON</html>", 0, false, 0},
		"delay":       {`{"delay_ms":120}`, 202, reply, 1, false, 100 * time.Millisecond},
		"slow reply":  {`{"delay_reply_ms":120}`, 202, reply, 1, false, 100 * time.Millisecond},
		"lost reply":  {`{"lose_reply":true}`, 0, "", 1, true, 0},
		"cut body":    {`{"cut_body":true}`, 202, reply[:len(reply)/2], 1, true, 0},
		"lied length": {`{"lie_length":true}`, 202, reply, 1, true, 0},
		"repeated":    {`{"repeat":true}`, 202, reply, 2, false, 0},
		"redirect":    {`{"redirect":"https://elsewhere.example/"}`, 302, "", 0, false, 0},
		"redirect307": {`{"redirect":"https://elsewhere.example/","status":307}`, 307, "", 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			if c.fault != "" {
				s.order(t, c.fault)
			}
			began := time.Now()
			status, header, body, err := s.post("/path", "long body")
			if status != c.status || body != c.body || (err != nil) != c.cut || s.effects.Load() != c.effects {
				t.Errorf("got %d %q, %v, %d effects; want %d %q, cut %v, %d", status, body, err, s.effects.Load(), c.status, c.body, c.cut, c.effects)
			}
			if took := time.Since(began); took < c.slow {
				t.Errorf("took %v, want at least %v", took, c.slow)
			}
			if strings.HasPrefix(name, "redirect") && header.Get("Location") != "https://elsewhere.example/" {
				t.Errorf("redirected to %q", header.Get("Location"))
			}
			// One fault disturbs one request.
			if status, header, _, err := s.post("/path", "again"); status != 202 || err != nil || header.Get("X-Effect") != "yes" {
				t.Errorf("the next request got %d, %v", status, err)
			}
			last := s.requests.Last(2)
			if last[0].Status != c.status || last[0].Path != "/path" {
				t.Errorf("recorded %+v, want status %d", last[0], c.status)
			}
		})
	}
}

func TestAHangingRequestEndsWhenTheCallerLeaves(t *testing.T) {
	s := newStage(t)
	s.order(t, `{"hang":true}`)
	client := &http.Client{Timeout: time.Second}
	_, err := client.Post(s.URL+"/x", "text/plain", strings.NewReader("body"))
	var timeout *url.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("hanging request: %v, want a timeout", err)
	}
	deadline := time.Now().Add(time.Minute)
	for len(s.requests.Last(0)) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the handler goes on hanging after its caller left")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s.effects.Load() != 0 {
		t.Error("a hanging request took effect")
	}
}

func TestFaultsFindTheirRequests(t *testing.T) {
	for _, c := range []struct {
		match      string
		path, body string
		disturbed  bool
	}{
		{`{}`, "/a", "", true},
		{`{"method":"POST"}`, "/a", "", true},
		{`{"method":"GET"}`, "/a", "", false},
		{`{"path":"/a/b"}`, "/a/b", "", true},
		{`{"path":"/a/b"}`, "/a/b/c", "", false},
		{`{"path":"/a/*"}`, "/a/b/c", "", true},
		{`{"path":"/a/*/c"}`, "/a/b/c", "", true},
		{`{"path":"/a/*/c"}`, "/a/b/d", "", false},
		{`{"contains":"grant_type=refresh_token"}`, "/a", "x=1&grant_type=refresh_token", true},
		{`{"contains":"grant_type=refresh_token"}`, "/a?grant_type=refresh_token", "", true},
		{`{"contains":"grant_type=refresh_token"}`, "/a", "grant_type=authorization_code", false},
	} {
		s := newStage(t)
		s.order(t, `{"match":`+c.match+`,"status":500}`)
		status, _, _, err := s.post(c.path, c.body)
		if err != nil || (status == 500) != c.disturbed {
			t.Errorf("match %s on %s %q: %d, %v; want disturbed %v", c.match, c.path, c.body, status, err, c.disturbed)
		}
		if left := len(s.faults.Pending()); (left == 0) != c.disturbed {
			t.Errorf("match %s on %s: %d faults left", c.match, c.path, left)
		}
	}
}

func TestFaultsAreCountedListedAndCancelled(t *testing.T) {
	s := newStage(t)
	s.order(t, `{"times":2,"status":500}`)
	s.order(t, `{"times":-1,"status":501}`)
	for _, want := range []int{500, 500, 501, 501, 501} {
		if status, _, _, _ := s.post("/", ""); status != want {
			t.Errorf("got %d, want %d", status, want)
		}
	}
	res, err := http.Get(s.URL + "/_sandbox/faults")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var pending []world.Fault
	if err := json.NewDecoder(res.Body).Decode(&pending); err != nil || len(pending) != 1 || pending[0].Status != 501 {
		t.Errorf("pending = %v, %v", pending, err)
	}
	req, _ := http.NewRequest(http.MethodDelete, s.URL+"/_sandbox/faults", nil)
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusNoContent {
		t.Errorf("DELETE = %v, %v", res, err)
	}
	if status, _, _, _ := s.post("/", ""); status != 202 {
		t.Errorf("after cancelling: %d", status)
	}
	for _, bad := range []string{`{"statsu":500}`, `{"status":42}`, `{"match":{"path":"["}}`, `{`} {
		res, err := http.Post(s.URL+"/_sandbox/faults", "application/json", strings.NewReader(bad))
		if err != nil || res.StatusCode != http.StatusBadRequest {
			t.Errorf("fault %s was taken: %v, %v", bad, res, err)
		}
	}
	req, _ = http.NewRequest(http.MethodPut, s.URL+"/_sandbox/faults", nil)
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("PUT = %v, %v", res, err)
	}
}

func TestRequestsAreRemembered(t *testing.T) {
	s := newStage(t)
	for header, want := range map[string]string{
		"": "none", "Bearer x": "bearer", "Basic x": "basic", `OAuth oauth_signature="x"`: "oauth1", "OAuth x": "bearer", "Digest x": "other",
	} {
		req, _ := http.NewRequest(http.MethodGet, s.URL+"/p?q=1", nil)
		if header != "" {
			req.Header.Set("Authorization", header)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		last := s.requests.Last(1)[0]
		if last.Credential != want || last.Query != "q=1" || last.Status != 202 || last.Header.Get("Authorization") != header {
			t.Errorf("%q recorded as %+v, want %s", header, last, want)
		}
	}
	res, _ := http.Get(s.URL + "/p?access_token=x")
	res.Body.Close()
	if got := s.requests.Last(1)[0].Credential; got != "query" {
		t.Errorf("token in the query recorded as %s", got)
	}
	for range 1200 {
		s.requests.Middleware("x", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
			ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}
	if n := len(s.requests.Last(0)); n > 1000 || n < 500 {
		t.Errorf("%d requests are remembered", n)
	}
	if got := s.requests.Last(1)[0].Status; got != http.StatusOK {
		t.Errorf("a silent handler is recorded as %d", got)
	}
}

func TestConsentPage(t *testing.T) {
	w := httptest.NewRecorder()
	err := world.RenderConsent(w, world.Consent{
		Platform: "X", AppName: `<script>alert("x")</script>`, People: world.People(), Scopes: []string{"a.read", `"><b>`},
		Hidden: url.Values{"scope": {"a.read b.write"}, "state": {`"'<>&`}}, Notice: "careful",
	})
	if err != nil {
		t.Fatal(err)
	}
	body := w.Body.String()
	for _, bad := range []string{"<script>", `"><b>`} {
		if strings.Contains(body, bad) {
			t.Errorf("the page holds %s unescaped", bad)
		}
	}
	if got := strings.Count(body, "<option"); got != 40 {
		t.Errorf("%d people listed, want 40", got)
	}
	for _, want := range []string{`name="requested_scope" value="a.read b.write"`, `name="state"`, `<label for="person">`, `role="alert"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if w.Header().Get("X-Frame-Options") != "DENY" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("headers = %v", w.Header())
	}
}

func TestAnswers(t *testing.T) {
	offered := []string{"a", "b", "c"}
	for name, c := range map[string]struct {
		form   url.Values
		want   string
		answer bool
	}{
		"nothing":             {url.Values{"state": {"x"}}, "", false},
		"unknown decision":    {url.Values{"person": {"ada"}, "decision": {"maybe"}}, "", false},
		"allow some":          {url.Values{"person": {"ada"}, "scope": {"c", "a", "z"}, "decision": {"allow"}}, "ada allow a c", true},
		"typed name":          {url.Values{"person": {"ada"}, "other": {" @grace "}, "decision": {"allow"}}, "grace allow", true},
		"deny":                {url.Values{"person": {"ada"}, "scope": {"a"}, "decision": {"deny"}}, "ada deny a", true},
		"shortcut":            {url.Values{"sandbox_person": {"ada"}, "sandbox_decision": {"allow"}}, "ada allow a b c", true},
		"shortcut with fewer": {url.Values{"sandbox_person": {"ada"}, "sandbox_scopes": {"b z"}}, "ada allow b", true},
		"shortcut with none":  {url.Values{"sandbox_person": {"ada"}, "sandbox_scopes": {""}}, "ada allow", true},
		"shortcut denied":     {url.Values{"sandbox_person": {"ada"}, "sandbox_decision": {"deny"}}, "ada deny a b c", true},
	} {
		got, answered := world.ReadAnswer(c.form, offered)
		text := ""
		if answered {
			text = strings.TrimSpace(got.Person + map[bool]string{true: " allow ", false: " deny "}[got.Allow] + strings.Join(got.Scopes, " "))
		}
		if text != c.want || answered != c.answer {
			t.Errorf("%s: %q %v, want %q %v", name, text, answered, c.want, c.answer)
		}
	}
	request := world.OriginalRequest(url.Values{"person": {"p"}, "scope": {"a"}, "requested_scope": {"a b"}, "state": {"s"}, "decision": {"allow"}, "other": {""}})
	if got := request.Encode(); got != "scope=a+b&state=s" {
		t.Errorf("original request = %s", got)
	}
}
