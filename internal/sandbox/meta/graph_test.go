package meta_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
)

func TestNobodySeesAnotherPersonsPages(t *testing.T) {
	s := start(t)
	ada, bob := s.long(s.people[0], pageScopes), s.long(s.people[1], pageScopes)
	page, token := s.page(ada)
	bobs, bobsToken := s.page(bob)
	post := s.get("/v25.0/"+page+"/posts", "access_token", token, "limit", "1").ok().text("data", "0", "id")
	bobsID := s.get("/v25.0/me", "access_token", bob).ok().text("id")
	for _, path := range []string{page, page + "/feed", post, post + "/comments"} {
		if got := s.get("/v25.0/"+path, "access_token", bob).refused(100, 33); got.text("error", "type") != "GraphMethodException" {
			t.Errorf("%s: %s", path, got.raw)
		}
		s.get("/v25.0/"+path, "access_token", bobsToken).refused(100, 33)
	}
	s.get("/v25.0/"+bobsID, "access_token", ada).refused(100, 33)
	s.get("/v25.0/", "ids", page+","+bobs, "access_token", ada).refused(100, 33)
	s.get("/v25.0/999999", "access_token", ada).refused(100, 33)
	s.get("/v25.0/some.alias", "access_token", ada).refused(803, 0)
	s.post("/v25.0/"+page+"/feed", "message", "x", "access_token", bobsToken).refused(100, 33)
}

func TestPermissionsOpenEdges(t *testing.T) {
	s := start(t)
	full := s.long(s.people[5], pageScopes)
	page, token := s.page(full)
	person := s.people[6]
	s.get("/v25.0/me/accounts", "access_token", s.long(person, "email")).refused(10, 0)
	few := s.long(person, "pages_show_list")
	fewPage, fewToken := s.page(few)
	s.get("/v25.0/"+fewPage+"/feed", "access_token", fewToken).refused(10, 0)
	s.post("/v25.0/"+fewPage+"/feed", "message", "x", "access_token", fewToken).refused(200, 0)
	s.get("/v25.0/"+fewPage+"/insights", "metric", "page_fans", "access_token", fewToken).refused(10, 0)
	s.get("/v25.0/"+fewPage+"/leadgen_forms", "access_token", fewToken).refused(10, 0)
	if got := s.get("/v25.0/"+fewPage, "fields", "instagram_business_account", "access_token", fewToken).ok().at("instagram_business_account"); got != nil {
		t.Errorf("the Instagram account %v shows without permission", got)
	}
	s.get("/v25.0/me/businesses", "access_token", full).refused(200, 0)
	// Changes need the page's own token.
	s.post("/v25.0/"+page+"/feed", "message", "x", "access_token", full).refused(210, 0)
	s.post("/v25.0/"+page, "about", "x", "access_token", full).refused(210, 0)
	s.post("/v25.0/me/feed", "message", "x", "access_token", full).refused(200, 0)
	s.post("/v25.0/"+page, "about", "neu: ä", "access_token", token).ok()
	if got := s.get("/v25.0/"+page, "fields", "about", "access_token", token).ok().text("about"); got != "neu: ä" {
		t.Errorf("about is %q", got)
	}
}

func TestPostsCommentsAndLikes(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	at := func(path string) string { return "/v25.0/" + path }
	s.post(at(page+"/feed"), "access_token", token).refused(100, 0)
	post := s.postJSON(at(page+"/feed"), m{"message": "as JSON 🚋", "access_token": token}).ok().text("id")
	s.post(at(post), "message", "edited", "access_token", token).ok()
	if got := s.get(at(post), "access_token", token, "fields", "message,created_time,permalink_url,is_published").ok(); got.text("message") != "edited" || got.at("is_published") != true || got.text("created_time") == "" {
		t.Errorf("edited post: %s", got.raw)
	}
	s.post(at(post+"/comments"), "access_token", token).refused(100, 0)
	first := s.post(at(post+"/comments"), "message", "one", "access_token", token).ok().text("id")
	s.post(at(post+"/comments"), "message", "two", "access_token", token).ok()
	reply := s.post(at(first+"/comments"), "message", "a reply", "access_token", token).ok().text("id")
	if got := s.get(at(reply), "fields", "parent{id}", "access_token", token).ok().text("parent", "id"); got != first {
		t.Errorf("parent of the reply is %q, want %s", got, first)
	}
	a := s.get(at(post+"/comments"), "access_token", token, "summary", "true").ok()
	if a.text("data", "0", "message") != "one" || a.at("summary", "total_count") != 2.0 || a.at("summary", "can_comment") != true {
		t.Errorf("comments: %s", a.raw)
	}
	if a := s.get(at(post+"/comments"), "access_token", token, "order", "reverse_chronological").ok(); a.text("data", "0", "message") != "two" {
		t.Errorf("comments in reverse: %s", a.raw)
	}
	s.post(at(first), "is_hidden", "true", "access_token", token).ok()
	if got := s.get(at(first), "fields", "is_hidden,comment_count", "access_token", token).ok(); got.at("is_hidden") != true || got.at("comment_count") != 1.0 {
		t.Errorf("hidden comment: %s", got.raw)
	}
	s.post(at(post+"/likes"), "access_token", token).ok()
	s.post(at(post+"/likes"), "access_token", token).ok()
	likes := func() answer { return s.get(at(post+"/likes"), "access_token", token, "summary", "total_count").ok() }
	if got := likes(); got.at("summary", "total_count") != 1.0 || got.at("summary", "has_liked") != true || got.text("data", "0", "name") == "" {
		t.Errorf("likes: %s", got.raw)
	}
	s.call(http.MethodDelete, at(post+"/likes"), "access_token", token).ok()
	if got := likes(); got.at("summary", "total_count") != 0.0 || got.at("paging") != nil {
		t.Errorf("after unliking: %s", got.raw)
	}
	s.call(http.MethodDelete, at(first), "access_token", token).ok()
	s.get(at(reply), "access_token", token).refused(100, 33)
	// The old override does the same as DELETE, in the query and in a form.
	s.get(at(post), "method", "delete", "access_token", token).ok()
	s.get(at(post), "access_token", token).refused(100, 33)
	s.get(at(page), "method", "fetch", "access_token", token).refused(2500, 0)
	visitor := s.get(at(page+"/visitor_posts"), "access_token", token).ok().text("data", "0", "id")
	s.post(at(visitor), "message", "words in their mouth", "access_token", token).refused(200, 0)
}

func TestScheduledAndUnpublishedPosts(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	feed := "/v25.0/" + page + "/feed"
	in := func(d time.Duration) string { return strconv.FormatInt(s.clock.Now().Add(d).Unix(), 10) }
	s.post(feed, "message", "too soon", "published", "false", "scheduled_publish_time", in(time.Minute), "access_token", token).refused(100, 1363037)
	s.post(feed, "message", "x", "scheduled_publish_time", "whenever", "access_token", token).refused(100, 0)
	later := s.post(feed, "message", "later", "published", "false", "scheduled_publish_time", in(time.Hour), "access_token", token).ok().text("id")
	draft := s.post(feed, "message", "draft", "published", "false", "access_token", token).ok().text("id")
	visible := func(id string) bool {
		return strings.Contains(s.get(feed, "access_token", token, "limit", "5").ok().raw, id)
	}
	if visible(later) || visible(draft) {
		t.Error("unpublished posts are in the feed")
	}
	if got := s.get("/v25.0/"+page+"/scheduled_posts", "access_token", token).ok(); len(got.list("data")) != 1 || got.text("data", "0", "id") != later {
		t.Errorf("scheduled: %s", got.raw)
	}
	s.later(2 * time.Hour)
	if !visible(later) {
		t.Error("the scheduled post did not appear")
	}
	s.post("/v25.0/"+draft, "is_published", "true", "access_token", token).ok()
	if !visible(draft) {
		t.Error("the draft did not appear")
	}
}

func TestPhotoUploads(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	upload := func(data []byte, fields map[string]string) answer {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		for name, value := range fields {
			if err := form.WriteField(name, value); err != nil {
				t.Fatal(err)
			}
		}
		part, err := form.CreateFormFile("source", "photo.jpg")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/v25.0/"+page+"/photos", &body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", form.FormDataContentType())
		return s.do(r)
	}
	up := upload([]byte("jpeg"), map[string]string{"message": "ein Foto", "access_token": token}).ok()
	if !strings.HasPrefix(up.text("post_id"), page+"_") {
		t.Errorf("upload: %s", up.raw)
	}
	if got := s.get("/v25.0/"+up.text("id"), "fields", "name,images,page_story_id", "access_token", token).ok(); got.text("name") != "ein Foto" || got.text("page_story_id") != up.text("post_id") {
		t.Errorf("photo: %s", got.raw)
	}
	upload(nil, map[string]string{"access_token": token}).refused(324, 2069019)
	s.post("/v25.0/"+page+"/photos", "access_token", token).refused(100, 0)
	hidden := s.post("/v25.0/"+page+"/photos", "url", "https://example.com/p.jpg", "published", "false", "access_token", token).ok()
	if hidden.at("post_id") != nil {
		t.Errorf("an unpublished photo made a post: %s", hidden.raw)
	}
	post := s.post("/v25.0/"+page+"/feed", "message", "album", "attached_media[0]", fmt.Sprintf(`{"media_fbid":"%s"}`, hidden.text("id")), "access_token", token).ok().text("id")
	if got := s.get("/v25.0/"+post, "fields", "full_picture,attachments{media,type}", "access_token", token).ok(); got.text("full_picture") == "" || got.text("attachments", "data", "0", "type") != "photo" {
		t.Errorf("album: %s", got.raw)
	}
	s.post("/v25.0/"+page+"/feed", "attached_media", `[{"media_fbid":"1"}]`, "access_token", token).refused(100, 0)
}

func TestSeveralIDs(t *testing.T) {
	s := start(t)
	user := s.long(s.people[2], pageScopes)
	pages := s.get("/v25.0/me/accounts", "access_token", user, "fields", "id").ok().list("data")
	var ids []string
	for _, p := range pages {
		ids = append(ids, p.(m)["id"].(string))
	}
	both := s.get("/v25.0/", "ids", strings.Join(ids, ","), "fields", "name,access_token", "access_token", user).ok()
	if len(both.body) != len(ids) || both.text(ids[0], "access_token") == "" {
		t.Errorf("ids: %s", both.raw)
	}
	feeds := s.get("/v25.0/feed", "ids", strings.Join(ids, ","), "fields", "id", "limit", "1", "access_token", user).ok()
	if len(feeds.list(ids[1], "data")) != 1 {
		t.Errorf("edges of several: %s", feeds.raw)
	}
	s.get("/v25.0/", "ids", "", "access_token", user).refused(100, 0)
	s.get("/v25.0/", "ids", strings.Repeat("1,", 60)+"1", "access_token", user).refused(100, 0)
	s.get("/v25.0/", "ids", ids[0]+",12", "access_token", user).refused(100, 33)
	if got := s.get("/v25.0/", "id", ids[0], "access_token", user).ok().text("id"); got != ids[0] {
		t.Errorf("id= answers %q", got)
	}
	s.get("/v25.0/", "access_token", user).refused(100, 33)
}

func TestVersionsHeadersAndConditionalRequests(t *testing.T) {
	s := start(t)
	token := s.long(s.people[0], "email")
	for asked, served := range map[string]string{"/me": "v25.0", "/v26.0/me": "v26.0", "/v21.0/me": "v21.0", "/v3.2/me": "v21.0"} {
		a := s.get(asked, "access_token", token).ok()
		if got := a.header.Get("facebook-api-version"); got != served {
			t.Errorf("%s was served as %s, want %s", asked, got, served)
		}
		for _, name := range []string{"X-App-Usage", "X-Fb-Trace-Id", "X-Fb-Debug", "X-Fb-Rev", "Etag"} {
			if a.header.Get(name) == "" {
				t.Errorf("%s has no %s", asked, name)
			}
		}
	}
	s.get("/v99.0/me", "access_token", token).refused(2500, 0)
	s.get("/v25.5/me", "access_token", token).refused(2500, 0)
	s.get("/v25.0/me/accounts/1/2", "access_token", token).refused(2500, 0)
	s.get("/v25.0/me/nowhere", "access_token", token).refused(2500, 0)
	s.post("/v25.0/me/nowhere", "access_token", token).refused(100, 33)
	// Edges that can only be read, or only be written.
	s.call(http.MethodDelete, "/v25.0/me/accounts", "access_token", token).refused(100, 33)
	s.post("/v25.0/me/permissions", "access_token", token).refused(100, 33)
	ig, err := s.platform.MintUserToken("instagram", s.people[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	s.get("/instagram/me/media_publish", "access_token", ig).refused(100, 33)
	s.call(http.MethodPut, "/v25.0/me", "access_token", token).refused(2500, 0)
	s.call(http.MethodDelete, "/v25.0/me", "access_token", token).refused(100, 33)

	etag := s.get("/me", "access_token", token).header.Get("ETag")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "OAuth "+token)
	r.Header.Set("If-None-Match", etag)
	if a := s.do(r); a.status != http.StatusNotModified || a.raw != "" {
		t.Errorf("If-None-Match answered %d %q", a.status, a.raw)
	}
	if a := s.get("/me", "access_token", "EAAx", "suppress_http_code", "1"); a.status != http.StatusOK || a.at("error", "code") != 190.0 {
		t.Errorf("suppressed status: %d %s", a.status, a.raw)
	}
	picture := s.get("/me/picture", "access_token", token)
	if picture.status != http.StatusFound || s.get(picture.header.Get("Location")).status != http.StatusOK {
		t.Errorf("picture: %d to %s", picture.status, picture.header.Get("Location"))
	}
	if a := s.get("/me/picture", "redirect", "0", "access_token", token).ok(); a.text("data", "url") == "" {
		t.Errorf("picture data: %s", a.raw)
	}
}

func TestUsageAndRateLimits(t *testing.T) {
	s := start(t, func(c *meta.Config) { c.AppCallsPerHour = 20 })
	token, err := s.platform.MintUserToken("facebook", s.people[0].Username)
	if err != nil {
		t.Fatal(err)
	}
	page, pageToken := s.page(token)
	a := s.get("/v25.0/"+page+"/feed", "access_token", pageToken).ok()
	var usage map[string][]struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal([]byte(a.header.Get("X-Business-Use-Case-Usage")), &usage); err != nil || len(usage[page]) != 1 || usage[page][0].Type != "pages" {
		t.Errorf("X-Business-Use-Case-Usage %q (%v)", a.header.Get("X-Business-Use-Case-Usage"), err)
	}
	var app struct {
		Calls int `json:"call_count"`
	}
	if err := json.Unmarshal([]byte(a.header.Get("X-App-Usage")), &app); err != nil || app.Calls != 10 {
		t.Errorf("X-App-Usage %q (%v), want 10 per cent", a.header.Get("X-App-Usage"), err)
	}
	forms := s.get("/v25.0/"+page+"/leadgen_forms", "access_token", pageToken).ok()
	if !strings.Contains(forms.header.Get("X-Business-Use-Case-Usage"), `"leadgen"`) {
		t.Errorf("leadgen usage %q", forms.header.Get("X-Business-Use-Case-Usage"))
	}
	for range 17 {
		s.get("/me", "access_token", token).ok()
	}
	limited := s.get("/me", "access_token", token).refused(4, 0)
	if limited.at("error", "is_transient") != true || !strings.Contains(limited.header.Get("X-App-Usage"), `"call_count":100`) {
		t.Errorf("limited: %s, X-App-Usage %s", limited.raw, limited.header.Get("X-App-Usage"))
	}
	// The limit may be changed in the middle of the hour.
	s.platform.SetAppCalls(40)
	if a := s.get("/me", "access_token", token).ok(); !strings.Contains(a.header.Get("X-App-Usage"), `"call_count":52`) {
		t.Errorf("with twice as many calls: X-App-Usage %s", a.header.Get("X-App-Usage"))
	}
	s.platform.SetAppCalls(20)
	s.later(time.Hour)
	s.get("/me", "access_token", token).ok()
	// Each id counts.
	ids := strings.TrimSuffix(strings.Repeat(page+",", 25), ",")
	s.get("/", "ids", ids, "access_token", token).refused(4, 0)
	s.later(time.Hour)

	order := func(body m) {
		t.Helper()
		if a := s.postJSON("/_sandbox/throttle", body); a.status != http.StatusCreated {
			t.Fatal(a.raw)
		}
	}
	order(m{"code": 17})
	order(m{"code": 80001, "path": "*/feed", "times": 2})
	order(m{"code": 613, "subcode": 1996, "path": "nothing/*"})
	s.get("/me", "access_token", token).refused(17, 0)
	s.get("/me", "access_token", token).ok()
	s.get("/"+page+"/feed", "access_token", pageToken).refused(80001, 0)
	s.get("/"+page+"/feed", "access_token", pageToken).refused(80001, 0)
	s.get("/"+page+"/feed", "access_token", pageToken).ok()
	order(m{"code": 32, "times": -1})
	for range 3 {
		s.get("/me", "access_token", token).refused(32, 0)
	}
	if a := s.call(http.MethodDelete, "/_sandbox/throttle"); a.status != http.StatusOK {
		t.Fatal(a.raw)
	}
	s.get("/me", "access_token", token).ok()
	for _, bad := range []m{{}, {"code": 4, "path": "["}, {"cod": 4}} {
		if a := s.postJSON("/_sandbox/throttle", bad); a.status != http.StatusBadRequest {
			t.Errorf("%v: %d", bad, a.status)
		}
	}
}

func TestWindowsOfAList(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	posts := func(params ...string) answer {
		return s.get("/v25.0/"+page+"/posts", append([]string{"access_token", token, "fields", "id,created_time"}, params...)...)
	}
	if got := len(posts().ok().list("data")); got != 25 {
		t.Errorf("%d posts without a limit, want 25", got)
	}
	if got := len(posts("limit", "1000").ok().list("data")); got != 60 {
		t.Errorf("%d posts with a large limit, want 60", got)
	}
	for _, bad := range []string{"limit", "after", "before", "offset", "since", "until"} {
		posts(bad, "?!").refused(100, 0)
	}
	posts("limit", "-1").refused(100, 0)
	since := posts("since", "2026-05-01", "until", "1779000000", "limit", "100").ok()
	for _, p := range since.list("data") {
		if at := p.(m)["created_time"].(string); at < "2026-05-01" || at > "2026-05-18" {
			t.Errorf("a post of %s", at)
		}
	}
	if n := len(since.list("data")); n == 0 || n >= 60 {
		t.Errorf("%d posts between the dates", n)
	}
	second := posts("offset", "1", "limit", "1").ok().text("data", "0", "id")
	first := posts("limit", "1").ok()
	if got := posts("limit", "1", "after", first.text("paging", "cursors", "after")).ok().text("data", "0", "id"); got != second {
		t.Errorf("after the first comes %s, want %s", got, second)
	}
	// A cursor survives what is posted in front of it.
	s.post("/v25.0/"+page+"/feed", "message", "new", "access_token", token).ok()
	if got := posts("limit", "1", "after", first.text("paging", "cursors", "after")).ok().text("data", "0", "id"); got != second {
		t.Errorf("after a new post the cursor leads to %s, want %s", got, second)
	}
	oldest := posts("order", "chronological", "limit", "2").ok().list("data")
	if oldest[0].(m)["created_time"].(string) > oldest[1].(m)["created_time"].(string) {
		t.Error("chronological order is not")
	}
}

func TestInsightsAndLeads(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	a := s.get("/v25.0/"+page+"/insights", "metric", "page_fans,page_impressions", "period", "day", "access_token", token).ok()
	if len(a.list("data")) != 2 || a.text("data", "0", "name") != "page_fans" || a.text("data", "0", "values", "0", "end_time") == "" {
		t.Errorf("insights: %s", a.raw)
	}
	s.get("/v25.0/"+page+"/insights", "metric", "page_mood", "access_token", token).refused(100, 0)
	s.get("/v25.0/"+page+"/insights", "metric", "page_fans", "period", "eon", "access_token", token).refused(100, 0)
	form := s.get("/v25.0/"+page+"/leadgen_forms", "fields", "id,name,leads_count,leads.limit(1){field_data}", "access_token", token).ok()
	if form.at("data", "0", "leads_count") != 3.0 || form.text("data", "0", "leads", "data", "0", "field_data", "1", "values", "0") == "" {
		t.Errorf("form: %s", form.raw)
	}
	id := form.text("data", "0", "id")
	lead := s.post("/v25.0/"+id+"/test_leads", "field_data", `[{"name":"email","values":["x@example.com"]}]`, "access_token", token).ok().text("id")
	if got := s.get("/v25.0/"+lead, "access_token", token).ok(); got.text("field_data", "0", "values", "0") != "x@example.com" {
		t.Errorf("lead: %s", got.raw)
	}
	s.post("/v25.0/"+id+"/test_leads", "field_data", `{`, "access_token", token).refused(100, 0)
	made := s.post("/v25.0/"+page+"/leadgen_forms", "name", "Neu", "questions", `[{"type":"EMAIL"}]`, "access_token", token).ok().text("id")
	if got := s.get("/v25.0/"+made, "access_token", token).ok().text("name"); got != "Neu" {
		t.Errorf("form is called %q", got)
	}
	s.call(http.MethodDelete, "/v25.0/"+lead, "access_token", token).ok()
	s.get("/v25.0/"+lead, "access_token", token).refused(100, 33)
}

// Every token that left the sandbox stands in the ledger.
func TestLedgerHoldsEveryToken(t *testing.T) {
	s := start(t)
	user := s.long(s.people[0], pageScopes)
	_, page := s.page(user)
	system := s.platform.MintSystemUser()
	var values []string
	for _, issued := range s.ledger.All() {
		values = append(values, issued.Value)
	}
	for _, want := range []string{user, page, system, s.appToken(), s.apps.Facebook.AppSecret, s.apps.Threads.AppSecret} {
		if !slices.Contains(values, want) {
			t.Errorf("%.12s… is not in the ledger", want)
		}
	}
}
