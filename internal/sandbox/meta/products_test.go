package meta_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/meta"
)

func (s *site) igCode(person string) string {
	s.t.Helper()
	return s.login("/instagram/oauth/authorize", s.apps.Instagram.AppID, person, "instagram_business_basic,instagram_business_content_publish,instagram_business_manage_comments").Get("code")
}

func (s *site) igExchange(code string) answer {
	s.t.Helper()
	ig := s.apps.Instagram
	return s.post("/instagram/oauth/access_token", "client_id", ig.AppID, "client_secret", ig.AppSecret, "grant_type", "authorization_code", "redirect_uri", callback, "code", code)
}

func TestInstagramLogin(t *testing.T) {
	s := start(t)
	person := s.people[7]
	code := s.igCode(person.Username)
	first := s.igExchange(code).ok()
	short := first.text("data", "0", "access_token")
	if !strings.HasPrefix(short, "IGAA") || !strings.Contains(first.text("data", "0", "permissions"), "instagram_business_basic,") {
		t.Errorf("code exchange: %s", first.raw)
	}
	if again := s.igExchange(code); again.status != http.StatusBadRequest || again.text("error_type") != "OAuthException" || again.text("error_message") != "Matching code was not found or was already used" {
		t.Errorf("spent code: %d %s", again.status, again.raw)
	}
	ig := s.apps.Instagram
	for name, params := range map[string][]string{
		"wrong secret":   {"client_id", ig.AppID, "client_secret", "x", "grant_type", "authorization_code"},
		"wrong grant":    {"client_id", ig.AppID, "client_secret", ig.AppSecret, "grant_type", "implicit"},
		"other redirect": {"client_id", ig.AppID, "client_secret", ig.AppSecret, "grant_type", "authorization_code", "redirect_uri", "https://x", "code", s.igCode(person.Username)},
	} {
		if a := s.post("/instagram/oauth/access_token", params...); a.status != http.StatusBadRequest || a.text("error_message") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	if a := s.get("/instagram/oauth/access_token"); a.status != http.StatusBadRequest {
		t.Errorf("GET of the token endpoint: %d", a.status)
	}

	exchange := func(secret, token string) answer {
		return s.get("/instagram/access_token", "grant_type", "ig_exchange_token", "client_secret", secret, "access_token", token)
	}
	exchange("wrong", short).refused(1, 0)
	exchange(ig.AppSecret, "IGAAnone").refused(190, 0)
	s.get("/instagram/access_token", "grant_type", "th_exchange_token", "client_secret", ig.AppSecret, "access_token", short).refused(100, 0)
	long := exchange(ig.AppSecret, short).ok()
	if days := long.at("expires_in").(float64) / 86400; days < 59 {
		t.Errorf("long-lived: %s", long.raw)
	}
	token := long.text("access_token")
	exchange(ig.AppSecret, token).refused(452, 0)

	refresh := func(token string) answer {
		return s.get("/instagram/refresh_access_token", "grant_type", "ig_refresh_token", "access_token", token)
	}
	refresh(token).refused(100, 0)
	refresh(short).refused(100, 0)
	s.get("/instagram/refresh_access_token", "grant_type", "other", "access_token", token).refused(100, 0)
	s.later(25 * time.Hour)
	s.get("/instagram/v25.0/me", "access_token", short).refused(190, 463)
	renewed := refresh(token).ok().text("access_token")
	s.later(59 * 24 * time.Hour)
	refresh(token).refused(190, 463)
	s.get("/instagram/v25.0/me", "access_token", renewed).ok()
}

func TestLivesOfEachProduct(t *testing.T) {
	s := start(t, func(c *meta.Config) { c.IGTTL, c.ThreadsTTL = 30*time.Minute, 2*time.Hour })
	for product, alive := range map[string]time.Duration{"instagram": 29 * time.Minute, "threads": 119 * time.Minute} {
		token, err := s.platform.MintUserToken(product, s.people[0].Username)
		if err != nil {
			t.Fatal(err)
		}
		s.later(alive)
		s.get("/"+product+"/me", "access_token", token).ok()
		s.later(2 * time.Minute)
		s.get("/"+product+"/me", "access_token", token).refused(190, 463)
	}
	// A short-lived token never outlives what the long-lived ones are given.
	first := s.igExchange(s.igCode(s.people[0].Username)).ok().text("data", "0", "access_token")
	s.later(31 * time.Minute)
	s.get("/instagram/me", "access_token", first).refused(190, 463)
}

func TestFlatInstagramTokenReply(t *testing.T) {
	s := start(t, func(c *meta.Config) { c.FlatInstagramToken = true })
	if a := s.igExchange(s.igCode(s.people[0].Username)).ok(); a.text("access_token") == "" || a.at("data") != nil {
		t.Errorf("flat reply: %s", a.raw)
	}
}

// One account behind two hosts: what Instagram's API publishes, Facebook's lists.
func TestInstagramPublishing(t *testing.T) {
	s := start(t)
	person := s.people[7]
	token, err := s.platform.MintUserToken("instagram", person.Username)
	if err != nil {
		t.Fatal(err)
	}
	me := s.get("/instagram/v25.0/me", "fields", "user_id,username,account_type,media_count", "access_token", token).ok()
	if me.text("username") != person.Username || me.text("user_id") == me.text("id") {
		t.Errorf("me: %s", me.raw)
	}
	publish := func(params ...string) (container string) {
		t.Helper()
		return s.post("/instagram/v25.0/me/media", append(params, "access_token", token)...).ok().text("id")
	}
	finish := func(id string) answer {
		return s.post("/instagram/v25.0/"+me.text("user_id")+"/media_publish", "creation_id", id, "access_token", token)
	}
	s.post("/instagram/v25.0/me/media", "caption", "no picture", "access_token", token).refused(100, 2207003)
	s.post("/instagram/v25.0/me/media", "media_type", "REELS", "access_token", token).refused(100, 0)
	s.post("/instagram/v25.0/me/media", "media_type", "CAROUSEL", "children", "1", "access_token", token).refused(100, 0)
	s.post("/instagram/v25.0/me/media", "media_type", "CAROUSEL", "children", "1,2", "access_token", token).refused(100, 0)
	image := publish("image_url", "https://example.com/a.jpg", "caption", "naïve café ☕")
	if got := s.get("/instagram/v25.0/"+image, "fields", "status_code,status", "access_token", token).ok(); got.text("status_code") != "FINISHED" {
		t.Errorf("container: %s", got.raw)
	}
	media := finish(image).ok().text("id")
	finish(image).refused(9, 2207032)
	finish("17").refused(100, 2207006)

	reel := publish("media_type", "REELS", "video_url", "https://example.com/v.mp4")
	finish(reel).refused(9007, 2207027)
	s.later(3 * time.Second)
	finish(reel).ok()
	stale := publish("image_url", "https://example.com/b.jpg")
	a, b := publish("image_url", "https://example.com/1.jpg", "is_carousel_item", "true"), publish("image_url", "https://example.com/2.jpg", "is_carousel_item", "true")
	album := finish(publish("media_type", "CAROUSEL", "children", a+","+b, "caption", "two")).ok().text("id")
	if got := s.get("/instagram/v25.0/"+album, "fields", "media_type,children{id,media_type}", "access_token", token).ok(); got.text("media_type") != "CAROUSEL_ALBUM" || len(got.list("children", "data")) != 2 {
		t.Errorf("album: %s", got.raw)
	}
	if got := s.get("/instagram/v25.0/me/content_publishing_limit", "access_token", token).ok(); got.at("data", "0", "quota_usage") != 3.0 {
		t.Errorf("limit: %s", got.raw)
	}
	s.later(25 * time.Hour)
	finish(stale).refused(100, 2207008)

	user := s.long(person, pageScopes)
	page, pageToken := s.page(user)
	listed := s.get("/v25.0/"+page, "fields", "instagram_business_account{id,media{id,caption}}", "access_token", pageToken).ok()
	if !strings.Contains(listed.raw, media) || listed.text("instagram_business_account", "id") != me.text("user_id") {
		t.Errorf("Facebook's view: %s", listed.raw)
	}
	account := listed.text("instagram_business_account", "id")
	comment := s.post("/v25.0/"+media+"/comments", "message", "hi", "access_token", pageToken).ok().text("id")
	if got := s.get("/instagram/v25.0/"+media+"/comments", "access_token", token).ok(); got.text("data", "0", "id") != comment || got.text("data", "0", "text") != "hi" {
		t.Errorf("comments: %s", got.raw)
	}
	s.post("/instagram/v25.0/"+comment+"/replies", "message", "re", "access_token", token).ok()
	s.post("/instagram/v25.0/"+comment, "hide", "true", "access_token", token).ok()
	if got := s.get("/instagram/v25.0/"+comment, "fields", "hidden,replies{text}", "access_token", token).ok(); got.at("hidden") != true || got.text("replies", "data", "0", "text") != "re" {
		t.Errorf("comment: %s", got.raw)
	}
	s.call(http.MethodDelete, "/instagram/v25.0/"+comment, "access_token", token).ok()
	if got := s.get("/v25.0/"+account+"/insights", "metric", "reach", "access_token", user).ok(); got.text("data", "0", "name") != "reach" {
		t.Errorf("insights: %s", got.raw)
	}
	// Tokens do not cross hosts, and accounts do not cross people.
	s.get("/v25.0/me", "access_token", token).refused(190, 0)
	s.get("/instagram/v25.0/me", "access_token", user).refused(190, 0)
	other, err := s.platform.MintUserToken("instagram", s.people[8].Username, "instagram_business_basic")
	if err != nil {
		t.Fatal(err)
	}
	s.get("/instagram/v25.0/"+media, "access_token", other).refused(100, 33)
	s.get("/instagram/v25.0/"+page, "access_token", token).refused(100, 33)
	s.post("/instagram/v25.0/me/media", "image_url", "https://example.com/a.jpg", "access_token", other).refused(10, 0)
}

func TestThreads(t *testing.T) {
	s := start(t)
	person := s.people[9]
	th := s.apps.Threads
	code := s.login("/threads/oauth/authorize", th.AppID, person.Username, "threads_basic,threads_content_publish,threads_manage_replies,threads_read_replies,threads_delete").Get("code")
	exchange := func(code string) answer {
		return s.post("/threads/oauth/access_token", "client_id", th.AppID, "client_secret", th.AppSecret, "grant_type", "authorization_code", "redirect_uri", callback, "code", code)
	}
	first := exchange(code).ok()
	short := first.text("access_token")
	if _, isNumber := first.at("user_id").(float64); !strings.HasPrefix(short, "THQ") || !isNumber {
		t.Errorf("code exchange: %s", first.raw)
	}
	exchange(code).refused(100, 36009)
	s.get("/threads/oauth/access_token", "client_id", th.AppID, "client_secret", th.AppSecret, "code", code).refused(100, 0)
	app := s.get("/threads/oauth/access_token", "client_id", th.AppID, "client_secret", th.AppSecret, "grant_type", "client_credentials").ok().text("access_token")
	if !strings.HasPrefix(app, "TH|"+th.AppID+"|") {
		t.Errorf("app token %.6s…", app)
	}
	token := s.get("/threads/access_token", "grant_type", "th_exchange_token", "client_secret", th.AppSecret, "access_token", short).ok().text("access_token")
	if !strings.HasPrefix(token, "THAA") {
		t.Errorf("long-lived token %.6s…", token)
	}
	refresh := func() answer {
		return s.get("/threads/refresh_access_token", "grant_type", "th_refresh_token", "access_token", token)
	}
	refresh().refused(100, 0)
	s.later(24 * time.Hour)
	token = refresh().ok().text("access_token")

	me := s.get("/threads/v1.0/me", "fields", "id,username,threads_biography", "access_token", token).ok()
	if me.text("username") != person.Username || me.header.Get("facebook-api-version") != "v1.0" {
		t.Errorf("me: %s", me.raw)
	}
	s.get("/threads/v25.0/me", "access_token", token).refused(2500, 0)
	for _, bad := range [][]string{{"media_type", "TEXT"}, {"media_type", "IMAGE"}, {"media_type", "VIDEO"}, {"media_type", "SMELL", "text", "x"}} {
		s.post("/threads/v1.0/me/threads", append(bad, "access_token", token)...).refused(100, 0)
	}
	container := s.post("/threads/v1.0/me/threads", "media_type", "TEXT", "text", "שלום 🧵", "access_token", token).ok().text("id")
	if got := s.get("/threads/v1.0/"+container, "fields", "status", "access_token", token).ok().text("status"); got != "FINISHED" {
		t.Errorf("container is %q", got)
	}
	post := s.post("/threads/v1.0/me/threads_publish", "creation_id", container, "access_token", token).ok().text("id")
	s.post("/threads/v1.0/me/threads_publish", "creation_id", container, "access_token", token).refused(24, 4279009)
	video := s.post("/threads/v1.0/me/threads", "media_type", "VIDEO", "video_url", "https://example.com/v", "access_token", token).ok().text("id")
	s.post("/threads/v1.0/me/threads_publish", "creation_id", video, "access_token", token).refused(9007, 2207027)
	list := s.get("/threads/v1.0/me/threads", "fields", "id,text,username", "limit", "2", "access_token", token).ok()
	if list.text("data", "0", "id") != post || list.text("data", "0", "text") != "שלום 🧵" {
		t.Errorf("threads: %s", list.raw)
	}
	if next := list.text("paging", "next"); !strings.HasPrefix(next, s.url+"/threads/v1.0/") || s.get(next).status != http.StatusOK {
		t.Errorf("next is %s", next)
	}
	reply := s.post("/threads/v1.0/me/threads", "media_type", "TEXT", "text", "re", "reply_to_id", post, "auto_publish_text", "true", "access_token", token).ok().text("id")
	if got := s.get("/threads/v1.0/"+post+"/replies", "fields", "id,is_reply", "access_token", token).ok(); got.text("data", "0", "id") != reply || got.at("data", "0", "is_reply") != true {
		t.Errorf("replies: %s", got.raw)
	}
	s.post("/threads/v1.0/me/threads", "media_type", "TEXT", "text", "re", "reply_to_id", "1", "access_token", token).refused(100, 33)
	s.call(http.MethodDelete, "/threads/v1.0/"+reply, "access_token", token).ok()
	if got := s.get("/threads/v1.0/"+post+"/replies", "access_token", token).ok(); len(got.list("data")) != 0 {
		t.Errorf("replies after deletion: %s", got.raw)
	}
	if got := s.get("/threads/v1.0/me/threads_publishing_limit", "access_token", token).ok(); got.at("data", "0", "quota_usage") == nil {
		t.Errorf("limit: %s", got.raw)
	}
	s.get("/threads/v1.0/me/threads_insights", "metric", "views", "access_token", token).refused(10, 0)
	if got := s.get("/threads/v1.0/debug_token", "input_token", token, "access_token", app).ok(); got.at("data", "is_valid") != true {
		t.Errorf("debug: %s", got.raw)
	}
	// There is no way to take back permissions by API here.
	s.call(http.MethodDelete, "/threads/v1.0/me/permissions", "access_token", token).refused(100, 33)
}

// The same hosts are chosen by their real names, and links lead back to them.
func TestHostsByName(t *testing.T) {
	s := start(t)
	tokens := make(map[string]string)
	for _, product := range []string{"facebook", "instagram", "threads"} {
		token, err := s.platform.MintUserToken(product, s.people[0].Username)
		if err != nil {
			t.Fatal(err)
		}
		tokens[product] = token
	}
	for host, c := range map[string]struct{ product, path string }{
		"graph.facebook.com":  {"facebook", "/v25.0/me/accounts?limit=1"},
		"graph.instagram.com": {"instagram", "/v25.0/me/media?limit=1"},
		"graph.threads.net":   {"threads", "/v1.0/me/threads?limit=1"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		r.Header.Set("Authorization", "Bearer "+tokens[c.product])
		a := s.do(r).ok()
		// Everybody has more than one of each.
		if next := a.text("paging", "next"); !strings.HasPrefix(next, "http://"+host+"/v") {
			t.Errorf("%s: next is %q", host, next)
		}
	}
	for host, path := range map[string]string{"www.facebook.com": "/v25.0/dialog/oauth", "www.instagram.com": "/oauth/authorize", "threads.net": "/oauth/authorize"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host + ":443"
		if a := s.do(r); a.status != http.StatusBadRequest || !strings.Contains(a.raw, "Invalid App ID") {
			t.Errorf("%s%s: %d %s", host, path, a.status, a.raw)
		}
	}
}

func TestVideosAndResumableUploads(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	videos := "/video/v25.0/" + page + "/videos"
	s.post(videos, "access_token", token).refused(390, 1363030)
	whole := s.post(videos, "file_url", "https://example.com/v.mp4", "description", "Film 🎬", "access_token", token).ok().text("id")
	if got := s.get("/v25.0/"+whole, "fields", "description,status", "access_token", token).ok(); got.text("description") != "Film 🎬" || got.text("status", "video_status") != "ready" {
		t.Errorf("video: %s", got.raw)
	}
	s.post(videos, "upload_phase", "start", "access_token", token).refused(100, 0)
	s.post(videos, "upload_phase", "dance", "access_token", token).refused(100, 0)
	begun := s.post(videos, "upload_phase", "start", "file_size", "5", "access_token", token).ok()
	session := begun.text("upload_session_id")
	s.post(videos, "upload_phase", "finish", "upload_session_id", session, "access_token", token).refused(6000, 1363036)
	s.post(videos, "upload_phase", "transfer", "upload_session_id", session, "start_offset", "3", "access_token", token).refused(6001, 1363037)
	s.post(videos, "upload_phase", "transfer", "upload_session_id", "no", "access_token", token).refused(6000, 1363030)

	reels := "/v25.0/" + page + "/video_reels"
	begun = s.post(reels, "upload_phase", "start", "access_token", token).ok()
	video := begun.text("video_id")
	s.post(reels, "upload_phase", "finish", "video_id", video, "access_token", token).refused(100, 0)
	send := func(offset, size, body, bearer string) answer {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, begun.text("upload_url"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "OAuth "+bearer)
		if offset != "" {
			r.Header.Set("offset", offset)
		}
		if size != "" {
			r.Header.Set("file_size", size)
		}
		return s.do(r)
	}
	if !strings.HasPrefix(begun.text("upload_url"), s.url+"/rupload/") {
		t.Fatalf("upload_url %s", begun.text("upload_url"))
	}
	send("0", "4", "abcd", "EAAx").refused(190, 0)
	send("", "4", "abcd", token).refused(100, 0)
	send("0", "", "abcd", token).refused(100, 0)
	if a := send("0", "4", "ab", token); a.status != http.StatusBadRequest || a.text("error", "type") != "PartialRequestError" {
		t.Errorf("half a video: %d %s", a.status, a.raw)
	}
	send("0", "4", "abcd", token).refused(100, 0)
	if got := s.get(begun.text("upload_url"), "access_token", token).ok().at("offset"); got != 2.0 {
		t.Errorf("offset %v, want 2", got)
	}
	send("2", "4", "cd", token).ok()
	s.post(reels, "upload_phase", "finish", "video_id", video, "description", "Reel", "access_token", token).ok()
	s.get("/rupload/video-upload/v25.0/1", "access_token", token).refused(100, 33)

	// An Instagram container that waits for its bytes.
	account := s.get("/v25.0/"+page, "fields", "instagram_business_account", "access_token", token).ok().text("instagram_business_account", "id")
	begun = s.post(fmt.Sprintf("/v25.0/%s/media", account), "media_type", "REELS", "upload_type", "resumable", "access_token", token).ok()
	s.later(3 * time.Second)
	publish := func() answer {
		return s.post("/v25.0/"+account+"/media_publish", "creation_id", begun.text("id"), "access_token", token)
	}
	publish().refused(9007, 2207027)
	begun.body["upload_url"] = begun.text("uri")
	send("0", "4", "abcd", token).ok()
	publish().ok()
}
