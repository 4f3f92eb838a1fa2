package meta_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The main road: log in, exchange, list pages, post as a page, read it back page
// by page, debug the token, and remove the app.
func TestFacebookFromLoginToRemoval(t *testing.T) {
	s := start(t)
	ada := s.people[0]

	back := s.login("/v25.0/dialog/oauth", s.apps.Facebook.AppID, ada.Username, pageScopes)
	if got := back.Get("state"); got != "st/1" {
		t.Errorf("state came back as %q", got)
	}
	if got := back.Get("from"); got != "meta" {
		t.Errorf("the redirect URI's own query was lost: %v", back)
	}
	exchange := []string{"client_id", s.apps.Facebook.AppID, "client_secret", s.apps.Facebook.AppSecret, "redirect_uri", callback, "code", back.Get("code")}
	short := s.get("/v25.0/oauth/access_token", exchange...).ok()
	if !strings.HasPrefix(short.text("access_token"), "EAA") || short.text("token_type") != "bearer" || short.at("expires_in").(float64) > 3600 {
		t.Errorf("short-lived token reply: %s", short.raw)
	}
	used := s.get("/v25.0/oauth/access_token", exchange...).refused(100, 36009)
	if got, want := used.header.Get("WWW-Authenticate"), `OAuth "Facebook Platform" "invalid_code" "This authorization code has been used."`; got != want {
		t.Errorf("WWW-Authenticate %s, want %s", got, want)
	}

	longReply := s.exchange(short.text("access_token")).ok()
	if days := longReply.at("expires_in").(float64) / 86400; days < 59 || days > 60 {
		t.Errorf("a long-lived token of %v days", days)
	}
	long := longReply.text("access_token")

	me := s.get("/v25.0/me", "access_token", long, "fields", "id,name,email,accounts.limit(1){name,access_token}").ok()
	if me.text("name") != ada.Name || me.text("email") != ada.Email {
		t.Errorf("me is %s", me.raw)
	}
	pages := s.get("/v25.0/me/accounts", "access_token", long).ok()
	page, token := pages.text("data", "0", "id"), pages.text("data", "0", "access_token")
	if token == "" || token == long {
		t.Fatalf("no page token in %s", pages.raw)
	}
	if got := me.text("accounts", "data", "0", "access_token"); got != token {
		t.Errorf("the nested page token differs from the listed one")
	}
	if got := s.get("/v25.0/"+page, "access_token", long, "fields", "access_token").ok().text("access_token"); got != token {
		t.Errorf("the page node's token differs from the listed one")
	}

	const message = "Привет 👩🏽‍🍳 \u200fשלום/<b> & \"x\""
	post := s.post("/v25.0/"+page+"/feed", "message", message, "access_token", token).ok().text("id")
	if !strings.HasPrefix(post, page+"_") {
		t.Errorf("post id %s does not begin with the page's %s", post, page)
	}
	feed := s.get("/v25.0/"+page+"/feed", "access_token", token, "fields", "id,message", "limit", "2").ok()
	if feed.text("data", "0", "id") != post || feed.text("data", "0", "message") != message {
		t.Errorf("the new post is not the first of the feed: %s", feed.raw)
	}

	debug := s.get("/v25.0/debug_token", "input_token", long, "access_token", s.appToken()).ok()
	if debug.at("data", "is_valid") != true || debug.text("data", "type") != "USER" || debug.text("data", "user_id") != me.text("id") {
		t.Errorf("debug_token: %s", debug.raw)
	}

	if got := s.call(http.MethodDelete, "/v25.0/me/permissions", "access_token", long).ok().at("success"); got != true {
		t.Errorf("removal answered %v", got)
	}
	s.get("/v25.0/me", "access_token", long).refused(190, 458)
	s.get("/v25.0/"+page+"/feed", "access_token", token).refused(190, 458)
	gone := s.get("/v25.0/debug_token", "input_token", long, "access_token", s.appToken()).ok()
	if gone.at("data", "is_valid") != false || gone.at("data", "error", "subcode") != 458.0 {
		t.Errorf("debug_token of a removed app: %s", gone.raw)
	}
}

// Links to further pages are complete addresses that carry the token, however
// it came in, and following them visits everything once, forwards and back.
func TestPagingLinksCarryTheTokenAndVisitEverythingOnce(t *testing.T) {
	s := start(t)
	page, token := s.page(s.long(s.people[0], pageScopes))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/v24.0/"+page+"/posts?fields=id&limit=7", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	a := s.do(request).ok()
	if !strings.Contains(a.raw, `"next":"http:\/\/127.0.0.1`) {
		t.Errorf("slashes are not escaped as Graph does: %s", a.raw)
	}
	seen := make(map[string]bool)
	var forward []string
	var last answer
	for {
		for i := range a.list("data") {
			id := a.list("data")[i].(map[string]any)["id"].(string)
			if seen[id] {
				t.Fatalf("%s came twice", id)
			}
			seen[id] = true
			forward = append(forward, id)
		}
		last = a
		next := a.text("paging", "next")
		if next == "" {
			break
		}
		link, err := url.Parse(next)
		if err != nil || link.Query().Get("access_token") != token || link.Query().Get("fields") != "id" || link.Query().Get("limit") != "7" || !strings.HasPrefix(link.Path, "/v24.0/"+page) {
			t.Fatalf("next is %s (%v)", next, err)
		}
		a = s.get(next).ok()
	}
	if len(forward) != 60 {
		t.Errorf("visited %d posts, want 60", len(forward))
	}
	var backward []string
	for a = last; ; {
		var ids []string
		for i := range a.list("data") {
			ids = append(ids, a.list("data")[i].(map[string]any)["id"].(string))
		}
		backward = append(ids, backward...)
		previous := a.text("paging", "previous")
		if previous == "" {
			break
		}
		a = s.get(previous).ok()
	}
	if diff := cmp.Diff(forward, backward); diff != "" {
		t.Errorf("backwards differs from forwards:\n%s", diff)
	}
}
