package meta_test

import (
	"net/http"
	"strings"
	"testing"
)

// With every permission every field and every readable edge of every kind
// answers, alone and inside field expansion.
func TestEveryFieldAndEdgeAnswers(t *testing.T) {
	s := start(t)
	mint := func(product string) string {
		token, err := s.platform.MintUserToken(product, s.people[0].Username)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	user, ig, th, system := mint("facebook"), mint("instagram"), mint("threads"), s.platform.MintSystemUser()
	page, token := s.page(user)
	first := func(prefix, path, token string) string {
		t.Helper()
		return s.get(prefix+path, "access_token", token, "limit", "1").ok().text("data", "0", "id")
	}
	me := func(prefix, token string) string { return s.get(prefix+"me", "access_token", token).ok().text("id") }
	const fb, igHost, thHost = "/v25.0/", "/instagram/v25.0/", "/threads/v1.0/"
	s.post(fb+page+"/photos", "url", "https://example.com/x.jpg", "access_token", token).ok()
	video := s.post(fb+page+"/videos", "file_url", "https://example.com/v.mp4", "access_token", token).ok().text("id")
	post := first(fb, page+"/posts", token)
	comment := s.post(fb+post+"/comments", "message", "x", "access_token", token).ok().text("id")
	form := first(fb, page+"/leadgen_forms", token)
	media := first(igHost, "me/media", ig)
	account := s.get(fb+page, "fields", "instagram_business_account", "access_token", token).ok().text("instagram_business_account", "id")
	container := s.post(igHost+"me/media", "image_url", "https://example.com/x.jpg", "access_token", ig).ok().text("id")
	thread := first(thHost, "me/threads", th)

	for _, c := range []struct{ kind, prefix, id, token string }{
		{"User", fb, me(fb, user), user},
		{"Page", fb, page, token},
		{"Post", fb, post, token},
		{"Photo", fb, first(fb, page+"/photos", token), token},
		{"Video", fb, video, token},
		{"Comment", fb, comment, token},
		{"LeadgenForm", fb, form, token},
		{"Lead", fb, first(fb, form+"/leads", token), token},
		{"IGUser", fb, account, token},
		{"InstagramUser", igHost, me(igHost, ig), ig},
		{"IGMedia", igHost, media, ig},
		{"IGMedia", fb, media, token},
		{"IGComment", igHost, first(igHost, media+"/comments", ig), ig},
		{"Container", igHost, container, ig},
		{"ThreadsUser", thHost, me(thHost, th), th},
		{"ThreadsMedia", thHost, thread, th},
		{"Application", fb, s.apps.Facebook.AppID, s.appToken()},
		{"Business", fb, first(fb, "me/businesses", user), user},
		{"SystemUser", fb, me(fb, system), system},
		{"AdAccount", fb, first(fb, "me/adaccounts", user), user},
	} {
		kind, fields, edges := s.platform.Schema(c.id)
		if kind != c.kind {
			t.Fatalf("%s is a %q, want %s", c.id, kind, c.kind)
		}
		if a := s.get(c.prefix+c.id, "fields", strings.Join(fields, ","), "access_token", c.token); a.status != http.StatusOK {
			t.Errorf("%s: %s", kind, a.raw)
		}
		for _, name := range edges {
			if a := s.get(c.prefix+c.id+"/"+name, "redirect", "0", "access_token", c.token); a.status != http.StatusOK || a.at("data") == nil {
				t.Errorf("%s/%s: %s", kind, name, a.raw)
			}
			if a := s.get(c.prefix+c.id, "fields", "id,"+name+".limit(1)", "access_token", c.token); a.status != http.StatusOK || a.at(name, "data") == nil {
				t.Errorf("%s{%s}: %s", kind, name, a.raw)
			}
		}
	}
}

// Who sees which object at all, whatever the permissions.
func TestWhoSeesWhat(t *testing.T) {
	s := start(t)
	mint := func(product string, person int, scopes ...string) string {
		token, err := s.platform.MintUserToken(product, s.people[person].Username, scopes...)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	ada, zoe := mint("facebook", 0), mint("facebook", 9)
	page, pageToken := s.page(ada)
	second := s.get("/me/accounts", "access_token", ada).ok().text("data", "1", "id")
	me := s.get("/me", "access_token", ada).ok().text("id")
	account := s.get("/"+page, "fields", "instagram_business_account", "access_token", ada).ok().text("instagram_business_account", "id")
	system := s.platform.MintSystemUser()
	zoesPage, _ := s.page(zoe)
	few := mint("facebook", 12, "email", "pages_show_list")
	const business, systemUser, adAccount = "380000000000101", "61550000000101", "act_770000000000101"
	stranger := s.get("/"+page+"/visitor_posts", "fields", "from", "access_token", pageToken).ok().text("data", "0", "from", "id")

	for _, c := range []struct {
		name, id, token string
		sees            bool
	}{
		{"her page", page, ada, true},
		{"her page, as the page", page, pageToken, true},
		{"her other page, as the first", second, pageToken, false},
		{"her page, as somebody else", page, zoe, false},
		{"her page, as the app", page, s.appToken(), false},
		{"an assigned page, as the system user", page, system, true},
		{"another page, as the system user", zoesPage, system, false},
		{"herself", me, ada, true},
		{"herself, as her page", me, pageToken, false},
		{"her, as somebody else", me, zoe, false},
		{"her, as the app", me, s.appToken(), false},
		{"her Instagram", account, ada, true},
		{"her Instagram, as the page", account, pageToken, true},
		{"her Instagram, as somebody else", account, zoe, false},
		{"a stranger, as the page", stranger, pageToken, false},
		{"the business", business, ada, true},
		{"the business, without permission", business, few, false},
		{"the business, as the app", business, s.appToken(), false},
		{"the ad account, as the system user", adAccount, system, true},
		{"the system user, as the app", systemUser, s.appToken(), true},
		{"the app", s.apps.Facebook.AppID, ada, true},
		{"another app", s.apps.Threads.AppID, ada, false},
	} {
		a := s.get("/v25.0/"+c.id, "access_token", c.token)
		if c.sees != (a.status == http.StatusOK) {
			t.Errorf("%s: %d %s", c.name, a.status, a.raw)
		}
		if !c.sees && (a.at("error", "code") != 100.0 || a.at("error", "error_subcode") != 33.0) {
			t.Errorf("%s: refused with %s", c.name, a.raw)
		}
	}
	// Instagram's host shows nothing of Facebook's, nor the other way round.
	ig := mint("instagram", 0)
	for _, id := range []string{page, me, business} {
		s.get("/instagram/"+id, "access_token", ig).refused(100, 33)
	}
	scoped := s.get("/instagram/me", "access_token", ig).ok().text("id")
	s.get("/v25.0/"+scoped, "access_token", ada).refused(100, 33)
	s.get("/threads/"+scoped, "access_token", mint("threads", 0)).refused(100, 33)
}

// What a field holds can be narrowed by sub-fields, and pictures load from any
// host prefix.
func TestObjectsInFields(t *testing.T) {
	s := start(t)
	token, err := s.platform.MintUserToken("facebook", s.people[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	a := s.get("/v25.0/me", "fields", "picture{url},location{name}", "access_token", token).ok()
	if a.text("location", "name") != s.people[0].Location || a.at("location", "id") != nil {
		t.Errorf("location: %s", a.raw)
	}
	a = s.get("/video/v25.0/me", "fields", "picture", "access_token", token).ok()
	if got := s.get(a.text("picture", "data", "url")); got.status != http.StatusOK || got.header.Get("Content-Type") != "image/svg+xml" {
		t.Errorf("picture: %d %s", got.status, got.header.Get("Content-Type"))
	}
}

func TestInstagramWebhookGoesToBothApps(t *testing.T) {
	s := start(t)
	l := listen(t)
	person := s.people[0]
	ig, err := s.platform.MintUserToken("instagram", person.Username)
	if err != nil {
		t.Fatal(err)
	}
	page, pageToken := s.page(s.long(person, pageScopes))
	for prefix, app := range map[string]string{"/v25.0/": s.apps.Facebook.AppID + "|" + s.apps.Facebook.AppSecret, "/instagram/v25.0/": s.apps.Instagram.AppID + "|" + s.apps.Instagram.AppSecret} {
		id, _, _ := strings.Cut(app, "|")
		s.post(prefix+id+"/subscriptions", "object", "instagram", "callback_url", l.url, "fields", "comments", "verify_token", "sesame", "access_token", app).ok()
	}
	s.post("/v25.0/"+page+"/subscribed_apps", "subscribed_fields", "feed", "access_token", pageToken).ok()
	s.post("/instagram/v25.0/me/subscribed_apps", "subscribed_fields", "comments", "access_token", ig).ok()
	media := s.get("/instagram/v25.0/me/media", "access_token", ig).ok().text("data", "0", "id")
	s.post("/instagram/v25.0/"+media+"/comments", "access_token", ig).refused(100, 0)
	s.post("/instagram/v25.0/"+media+"/comments", "message", "ok", "access_token", ig).ok()
	for range 2 {
		if _, body := l.next(); !strings.Contains(body, `"object":"instagram"`) || !strings.Contains(body, `"text":"ok"`) {
			t.Errorf("event: %s", body)
		}
	}
	l.none()
}
