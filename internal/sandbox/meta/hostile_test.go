package meta_test

import (
	"bytes"
	"encoding/json"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
)

func (s *site) send(method, path, contentType, body string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	return s.do(r)
}

func TestOddBodies(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	feed := "/v25.0/" + page + "/feed?access_token=" + token
	s.send(http.MethodPost, feed, "application/json", `["message"]`).refused(2500, 0)
	s.send(http.MethodPost, feed, "application/json", `{"message":`).refused(2500, 0)
	s.send(http.MethodPost, feed, "application/json", ``).refused(100, 0)
	s.send(http.MethodPost, feed, "application/x-www-form-urlencoded", `message=%zz`).refused(2500, 0)
	s.send(http.MethodPost, feed, "multipart/form-data; boundary=x", "--x\r\nnothing").refused(2500, 0)
	s.get("/v25.0/me?fields=%zz&access_token="+token).refused(2500, 0)
	if got := s.send(http.MethodPost, feed, "nonsense/;;", "message=still+a+form").ok().text("id"); got == "" {
		t.Error("a body without a usable type was not read as a form")
	}
	// A number in JSON arrives as its text, a nested value as JSON.
	s.send(http.MethodPost, feed, "application/json", `{"message":17}`).ok()
	if got := s.get(feed, "limit", "1").ok().text("data", "0", "message"); got != "17" {
		t.Errorf("message %q, want 17", got)
	}
	// PHP's spelling of lists.
	forms := "/v25.0/" + page + "/leadgen_forms?access_token=" + token
	form := s.send(http.MethodPost, forms, "application/x-www-form-urlencoded", `name=x&questions[0]={"type":"EMAIL"}&questions[1]={"type":"PHONE"}`).ok().text("id")
	if got := s.get("/v25.0/"+form, "fields", "questions", "access_token", token).ok().list("questions"); len(got) != 2 {
		t.Errorf("questions %v", got)
	}
	s.send(http.MethodPost, forms, "application/x-www-form-urlencoded", `questions={`).refused(100, 0)
	s.send(http.MethodPost, forms, "application/x-www-form-urlencoded", `name=x&questions={`).refused(100, 0)
	// Of several tokens the last parameter wins, and a parameter over the header.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/me?access_token=EAAx&access_token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer EAAy")
	s.do(r).ok()
}

func TestBatchWithFilesAndWholeAddresses(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	items := `[{"method":"POST","relative_url":"` + page + `/photos","body":"message=x","attached_files":"one"},
		{"method":"GET","relative_url":"https://graph.facebook.com/v24.0/me?fields=name"},
		{"method":"POST","relative_url":"` + page + `/photos","attached_files":"two"},
		{"method":"GET","relative_url":"me?fields=%zz"},{"relative_url":"%zz"},{"relative_url":"v99.0/me"},{"method":"POST","relative_url":"me","body":"method=fly"},
		{"relative_url":"me","access_token":"EAAx"}]`
	for name, value := range map[string]string{"batch": items, "access_token": token} {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreateFormFile("one", "a.jpg")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write([]byte("jpeg")); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	a := s.send(http.MethodPost, "/", form.FormDataContentType(), body.String())
	var out []*item
	if err := json.Unmarshal([]byte(a.raw), &out); err != nil || len(out) != 8 {
		t.Fatalf("%v: %s", err, a.raw)
	}
	for i, code := range []int{200, 200, 400, 400, 400, 400, 400, 400} {
		if out[i].Code != code {
			t.Errorf("item %d: %d %s, want %d", i, out[i].Code, out[i].Body, code)
		}
	}
}

func TestConfiguration(t *testing.T) {
	if _, err := meta.New(meta.Config{LongTTL: -time.Second}); err == nil {
		t.Error("a negative lifetime was accepted")
	}
	if _, err := meta.New(meta.Config{Apps: meta.Apps{Facebook: meta.App{AppID: "mine"}}}); err == nil {
		t.Error("an app id that is no number was accepted")
	}
	s := start(t, func(c *meta.Config) { c.Apps.Facebook = meta.App{AppID: "77", AppSecret: "hush"} })
	if got := s.apps; got.Facebook.AppID != "77" || got.Facebook.AppSecret != "hush" || got.Facebook.Name == "" || got.Threads.AppSecret == "" {
		t.Errorf("apps %+v", got)
	}
	s.get("/app", "access_token", "77|hush").ok()
	s.platform.SetRedirectURIs([]string{"https://other.example/"})
	if a := s.get("/dialog/oauth", "client_id", s.apps.Facebook.AppID, "redirect_uri", callback); a.status != http.StatusBadRequest {
		t.Errorf("a redirect URI that is no longer registered: %d", a.status)
	}
	if _, err := s.platform.MintUserToken("orkut", s.people[0].Username); err == nil {
		t.Error("a token of an unknown product was minted")
	}
	for _, path := range []string{"remove_app", "sessions", "callbacks", "require_proof", "mint", "lead", "comment"} {
		if a := s.send(http.MethodPost, "/_sandbox/"+path, "application/json", `{"surprise":1}`); a.status != http.StatusBadRequest {
			t.Errorf("%s with an unknown member: %d", path, a.status)
		}
	}
	for path, body := range map[string]string{"sessions": `{"person":"nobody-at-all"}`, "lead": `{"person":"nobody-at-all"}`} {
		if a := s.send(http.MethodPost, "/_sandbox/"+path, "application/json", body); a.status != http.StatusNotFound {
			t.Errorf("%s of nobody: %d", path, a.status)
		}
	}
	if a := s.get("/_sandbox/nothing"); a.status != http.StatusNotFound {
		t.Errorf("an unknown control: %d", a.status)
	}
}

// Whatever is sent, the platform answers, and JSON is JSON.
func FuzzRequests(f *testing.F) {
	platform, err := meta.New(meta.Config{RedirectURIs: []string{callback}})
	if err != nil {
		f.Fatal(err)
	}
	token, err := platform.MintUserToken("facebook", "ada_lovelace")
	if err != nil {
		f.Fatal(err)
	}
	form := "application/x-www-form-urlencoded"
	f.Add("GET", "/v25.0/me?fields=id,accounts{access_token,feed.limit(2){comments.summary(true)}}", "", "")
	f.Add("POST", "/", form, `batch=[{"relative_url":"me","name":"a"},{"relative_url":"{result=a:$.id}/accounts"}]`)
	f.Add("GET", "/?ids=me,102200000000013&fields=name", "", "")
	f.Add("DELETE", "/me/permissions/email", "", "")
	f.Add("POST", "/v25.0/100000000000011/feed?method=get", "application/json", `{"message":"x","attached_media":["{}"]}`)
	f.Add("POST", "/rupload/video-upload/v25.0/1", "", "")
	f.Add("GET", "/dialog/oauth?client_id=1029384756010203&redirect_uri=x&scope=email", "", "")
	f.Add("POST", "/instagram/oauth/access_token", form, "client_id=1&code=%00")
	f.Add("GET", "/me/accounts?after=QVFJMDox&before=&limit=0&since=now", "", "")
	f.Fuzz(func(t *testing.T, method, target, contentType, body string) {
		if method == "" || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "/_sandbox") {
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		begun := time.Now()
		platform.ServeHTTP(w, r)
		if took := time.Since(begun); took > 30*time.Second {
			t.Fatalf("%s %s took %v", method, target, took)
		}
		if strings.Contains(w.Header().Get("Content-Type"), "json") && w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s answered %q", method, target, w.Body)
		}
	})
}
