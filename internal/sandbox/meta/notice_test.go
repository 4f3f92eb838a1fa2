package meta_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
)

// listener is an app's server: it keeps what it is sent.
type listener struct {
	t      *testing.T
	url    string
	events chan *http.Request
	mu     sync.Mutex
	// verify is the token that challenges must carry.
	verify string
	// fail answers that many deliveries with 500 first.
	fail int
	// deletion is what the data-deletion callback answers.
	deletion string
}

func listen(t *testing.T) *listener {
	t.Helper()
	l := &listener{t: t, events: make(chan *http.Request, 64), verify: "sesame", deletion: `{"url":"https://app.example/deletion/abc1","confirmation_code":"abc1"}`}
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		if r.URL.Query().Get("hub.mode") != "subscribe" || r.URL.Query().Get("hub.verify_token") != l.verify {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("hub.challenge"))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail > 0 {
		l.fail--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		l.t.Errorf("reading a notice: %v", err)
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if r.URL.Path == "/delete" {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, l.deletion)
	}
	l.events <- r
}

// next returns the next notice and its body.
func (l *listener) next() (*http.Request, string) {
	l.t.Helper()
	select {
	case r := <-l.events:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			l.t.Fatal(err)
		}
		return r, string(body)
	case <-time.After(time.Minute):
		l.t.Fatal("no notice came")
		return nil, ""
	}
}

func (l *listener) none() {
	l.t.Helper()
	select {
	case r := <-l.events:
		l.t.Fatalf("a notice came to %s", r.URL)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestWebhooks(t *testing.T) {
	s := start(t)
	l := listen(t)
	fb := s.apps.Facebook
	page, token := s.page(s.long(s.people[0], pageScopes))
	subscribe := func(verify string, extra ...string) answer {
		return s.post("/v25.0/"+fb.AppID+"/subscriptions", append([]string{"object", "page", "callback_url", l.url + "/hook?x=1", "fields", "feed,leadgen", "verify_token", verify, "access_token", s.appToken()}, extra...)...)
	}
	subscribe("wrong").refused(2200, 0)
	s.post("/v25.0/"+fb.AppID+"/subscriptions", "object", "page", "callback_url", "nowhere", "access_token", s.appToken()).refused(100, 0)
	s.post("/v25.0/"+fb.AppID+"/subscriptions", "callback_url", l.url, "access_token", s.appToken()).refused(100, 0)
	user := s.long(s.people[1], "email")
	s.post("/v25.0/"+fb.AppID+"/subscriptions", "object", "page", "callback_url", l.url, "access_token", user).refused(15, 0)
	s.get("/v25.0/"+fb.AppID+"/subscriptions", "access_token", user).refused(15, 0)
	subscribe("sesame").ok()
	subscribe("sesame").ok()
	list := s.get("/v25.0/"+fb.AppID+"/subscriptions", "access_token", s.appToken()).ok()
	if len(list.list("data")) != 1 || list.text("data", "0", "callback_url") != l.url+"/hook?x=1" || len(list.list("data", "0", "fields")) != 2 {
		t.Errorf("subscriptions: %s", list.raw)
	}

	// Nothing comes before the page subscribes.
	s.post("/v25.0/"+page+"/feed", "message", "unheard", "access_token", token).ok()
	l.none()
	s.post("/v25.0/"+page+"/subscribed_apps", "access_token", token).refused(100, 0)
	s.post("/v25.0/"+page+"/subscribed_apps", "subscribed_fields", "feed,leadgen", "access_token", token).ok()
	if got := s.get("/v25.0/"+page+"/subscribed_apps", "access_token", token).ok(); got.text("data", "0", "id") != fb.AppID {
		t.Errorf("subscribed apps: %s", got.raw)
	}
	post := s.post("/v25.0/"+page+"/feed", "message", "heard: é/👍", "access_token", token).ok().text("id")
	r, body := l.next()
	if got, want := r.Header.Get("X-Hub-Signature-256"), meta.HubSignature(fb.AppSecret, []byte(body)); got != want {
		t.Errorf("signature %s, want %s", got, want)
	}
	if !strings.HasPrefix(r.Header.Get("X-Hub-Signature"), "sha1=") || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "x=1" {
		t.Errorf("delivered to %s with %v", r.URL, r.Header)
	}
	if !strings.Contains(body, `heard: \u00e9\/\ud83d\udc4d`) {
		t.Errorf("the body is not escaped as Meta does: %s", body)
	}
	a := answer{t: t, raw: body}
	if err := json.Unmarshal([]byte(body), &a.body); err != nil {
		t.Fatal(err)
	}
	if a.text("object") != "page" || a.text("entry", "0", "id") != page || a.text("entry", "0", "changes", "0", "field") != "feed" || a.text("entry", "0", "changes", "0", "value", "post_id") != post {
		t.Errorf("event: %s", body)
	}

	// A failed delivery is tried again.
	l.mu.Lock()
	l.fail = 2
	l.mu.Unlock()
	if a := s.postJSON("/_sandbox/lead", m{"person": s.people[0].Username}); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	if _, body := l.next(); !strings.Contains(body, `"field":"leadgen"`) {
		t.Errorf("event: %s", body)
	}
	if a := s.postJSON("/_sandbox/comment", m{"post": post, "person": s.people[9].Username, "message": "wow"}); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	if _, body := l.next(); !strings.Contains(body, `"item":"comment"`) || !strings.Contains(body, `"wow"`) {
		t.Errorf("event: %s", body)
	}
	if a := s.postJSON("/_sandbox/comment", m{"post": "1", "person": "x"}); a.status != http.StatusNotFound {
		t.Errorf("comment on nothing: %d", a.status)
	}

	s.call(http.MethodDelete, "/v25.0/"+page+"/subscribed_apps", "access_token", token).ok()
	s.post("/v25.0/"+page+"/feed", "message", "unheard", "access_token", token).ok()
	l.none()
	s.call(http.MethodDelete, "/v25.0/"+fb.AppID+"/subscriptions", "object", "page", "access_token", s.appToken()).ok()
	if got := s.get("/v25.0/"+fb.AppID+"/subscriptions", "access_token", s.appToken()).ok(); len(got.list("data")) != 0 {
		t.Errorf("subscriptions after deletion: %s", got.raw)
	}
}

func TestPermissionWebhook(t *testing.T) {
	s := start(t)
	l := listen(t)
	s.post("/v25.0/"+s.apps.Facebook.AppID+"/subscriptions", "object", "permissions", "callback_url", l.url, "fields", "email", "verify_token", "sesame", "access_token", s.appToken()).ok()
	user := s.long(s.people[0], pageScopes)
	s.call(http.MethodDelete, "/v25.0/me/permissions/pages_show_list", "access_token", user).ok()
	l.none()
	s.call(http.MethodDelete, "/v25.0/me/permissions", "permission", "email", "access_token", user).ok()
	if _, body := l.next(); !strings.Contains(body, `"verb":"revoked"`) || !strings.Contains(body, `"field":"email"`) {
		t.Errorf("event: %s", body)
	}
}

// signed checks a notice and returns its payload.
func (s *site) signed(secret, body string) map[string]any {
	s.t.Helper()
	form, err := url.ParseQuery(body)
	if err != nil {
		s.t.Fatal(err)
	}
	fields, err := meta.ParseSignedRequest(secret, form.Get("signed_request"))
	if err != nil {
		s.t.Fatalf("signed_request: %v", err)
	}
	return fields
}

func TestRemovalSendsDeauthorizeAndDataDeletion(t *testing.T) {
	l := listen(t)
	s := start(t, func(c *meta.Config) { c.DeauthorizeURL, c.DataDeletionURL = l.url+"/deauthorize", l.url+"/delete" })
	person := s.people[0]
	user := s.long(person, pageScopes)
	id := s.get("/v25.0/me", "access_token", user).ok().text("id")
	if a := s.postJSON("/_sandbox/remove_app", m{"person": s.people[4].Username}); a.status != http.StatusNotFound {
		t.Errorf("removal by a stranger: %d", a.status)
	}
	removed := s.postJSON("/_sandbox/remove_app", m{"person": person.Username, "delete_data": true}).ok()
	if removed.text("confirmation_code") != "abc1" || removed.at("deauthorize_status") != 200.0 || removed.at("problem") != nil {
		t.Errorf("removal: %s", removed.raw)
	}
	r, body := l.next()
	if fields := s.signed(s.apps.Facebook.AppSecret, body); r.URL.Path != "/deauthorize" || fields["user_id"] != id || fields["expires"] != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
		t.Errorf("deauthorize notice to %s: %v", r.URL, fields)
	}
	r, body = l.next()
	if fields := s.signed(s.apps.Facebook.AppSecret, body); r.URL.Path != "/delete" || fields["user_id"] != id || fields["expires"] == nil || fields["issued_at"] == nil {
		t.Errorf("deletion notice to %s: %v", r.URL, fields)
	}
	s.get("/v25.0/me", "access_token", user).refused(190, 458)
	if a := s.get("/_sandbox/removals"); a.status != http.StatusOK || !strings.Contains(a.raw, `"abc1"`) {
		t.Errorf("removals: %s", a.raw)
	}
	// A new login makes a new grant; the old token stays dead.
	s.get("/v25.0/me", "access_token", s.long(person, "email")).ok()
	s.get("/v25.0/me", "access_token", user).refused(190, 458)

	for answer, problem := range map[string]string{`nonsense`: "JSON", `{"url":"x","confirmation_code":"a"}`: "url", `{"url":"https://a.example/","confirmation_code":"a-b"}`: "alphanumeric"} {
		s.long(person, "email")
		l.mu.Lock()
		l.deletion = answer
		l.mu.Unlock()
		if a := s.postJSON("/_sandbox/remove_app", m{"person": person.Username, "delete_data": true}).ok(); !strings.Contains(a.text("problem"), problem) {
			t.Errorf("%s: %s", answer, a.raw)
		}
		l.next()
		l.next()
	}
}

func TestRemovalThroughTheAPI(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*meta.Config)
		body   string
		notice bool
	}{
		"documented":     {func(*meta.Config) {}, `{"success":true}`, true},
		"older and mute": {func(c *meta.Config) { c.BareTrue, c.QuietRemoval = true, true }, `true`, false},
	} {
		l := listen(t)
		s := start(t, func(config *meta.Config) { config.DeauthorizeURL = l.url + "/gone"; c.change(config) })
		user := s.long(s.people[0], "email")
		if a := s.call(http.MethodDelete, "/v25.0/me/permissions", "access_token", user); a.raw != c.body {
			t.Errorf("%s: answered %s", name, a.raw)
		}
		if !c.notice {
			l.none()
			continue
		}
		if r, _ := l.next(); r.URL.Path != "/gone" {
			t.Errorf("%s: notice to %s", name, r.URL)
		}
	}
}

// A person removes the app on the settings page, by clicking.
func TestSettingsPage(t *testing.T) {
	l := listen(t)
	s := start(t)
	if a := s.postJSON("/_sandbox/callbacks", m{"product": "threads", "deauthorize_url": l.url + "/uninstall", "data_deletion_url": l.url + "/delete"}); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	if a := s.postJSON("/_sandbox/callbacks", m{"product": "myspace"}); a.status != http.StatusNotFound {
		t.Errorf("callbacks of nothing: %d", a.status)
	}
	person := s.people[6]
	if a := s.postJSON("/_sandbox/mint", m{"product": "threads", "person": person.Username}); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	if a := s.postJSON("/_sandbox/mint", m{"person": "nobody-at-all"}); a.status != http.StatusNotFound {
		t.Errorf("a token for nobody: %d", a.status)
	}
	page := s.get("/settings/apps", "person", person.Username)
	if !strings.Contains(page.raw, "Sandbox Threads App") || strings.Contains(page.raw, "Sandbox Pages App") {
		t.Errorf("settings: %s", page.raw)
	}
	done := s.post("/settings/apps", "person", person.Username, "product", "threads", "delete_data", "true")
	if !strings.Contains(done.raw, "confirmation code abc1") || !strings.Contains(done.raw, "No apps are connected") {
		t.Errorf("after removal: %s", done.raw)
	}
	if _, body := l.next(); s.signed(s.apps.Threads.AppSecret, body)["user_id"] == "" {
		t.Error("the notice names nobody")
	}
	if again := s.post("/settings/apps", "person", person.Username, "product", "threads"); !strings.Contains(again.raw, "was not connected") {
		t.Errorf("second removal: %s", again.raw)
	}
}

// Close ends deliveries that cannot succeed, without waiting for their retries.
func TestCloseStopsDeliveries(t *testing.T) {
	s := start(t)
	l := listen(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	s.post("/v25.0/"+s.apps.Facebook.AppID+"/subscriptions", "object", "page", "callback_url", l.url, "verify_token", "sesame", "access_token", s.appToken()).ok()
	s.post("/v25.0/"+page+"/subscribed_apps", "subscribed_fields", "feed", "access_token", token).ok()
	l.mu.Lock()
	l.fail = 100
	l.mu.Unlock()
	s.post("/v25.0/"+page+"/feed", "message", "x", "access_token", token).ok()
	begun := time.Now()
	if err := s.platform.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("Close took %v", took)
	}
	s.post("/v25.0/"+page+"/feed", "message", "after", "access_token", token).ok()
	l.none()
}
