package x_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/x"
)

// pages follows a listing to its end and returns the ids on it.
func (d *desk) pages(path, bearer, parameter string) (ids []string, pages int) {
	d.t.Helper()
	next := ""
	for {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		target := path
		if next != "" {
			target += separator + parameter + "=" + next
		}
		reply := d.call(http.MethodGet, target, bearer, nil).expect(d.t, http.StatusOK)
		data, _ := reply.json(d.t)["data"].([]any)
		for _, item := range data {
			ids = append(ids, item.(map[string]any)["id"].(string))
		}
		if got := reply.at(d.t, "meta", "result_count"); got != float64(len(data)) {
			d.t.Errorf("result_count %v for %d", got, len(data))
		}
		pages++
		next, _ = reply.at(d.t, "meta", "next_token").(string)
		if next == "" {
			return ids, pages
		}
		if pages > 100 {
			d.t.Fatal("the listing does not end")
		}
	}
}

func TestFollowersInPages(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	me := d.id(0)
	ids, pages := d.pages("/2/users/"+me+"/followers?max_results=60", access, "pagination_token")
	if len(ids) < 200 || pages < 4 {
		t.Fatalf("%d followers in %d pages", len(ids), pages)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			t.Fatalf("follower %s twice", id)
		}
		seen[id] = true
	}
	count := d.call(http.MethodGet, "/2/users/me?user.fields=public_metrics", access, nil).at(t, "data", "public_metrics", "followers_count")
	if count != float64(len(ids)) {
		t.Errorf("%d listed, %v counted", len(ids), count)
	}
	first := d.call(http.MethodGet, "/2/users/"+me+"/followers?max_results=60", access, nil)
	token := first.at(t, "meta", "next_token").(string)
	second := d.call(http.MethodGet, "/2/users/"+me+"/followers?max_results=60&pagination_token="+token, access, nil)
	back := second.at(t, "meta", "previous_token").(string)
	again := d.call(http.MethodGet, "/2/users/"+me+"/followers?max_results=60&pagination_token="+back, access, nil)
	if again.at(t, "data", 0, "id") != first.at(t, "data", 0, "id") {
		t.Error("previous_token does not lead back")
	}
	// A new follower does not shift what comes next.
	newcomer, _ := d.login(person(299), everything)
	d.call(http.MethodDelete, "/2/users/"+d.id(299)+"/following/"+me, newcomer, nil).expect(t, http.StatusOK)
	d.call(http.MethodPost, "/2/users/"+d.id(299)+"/following", newcomer, map[string]string{"target_user_id": me}).expect(t, http.StatusOK)
	shifted := d.call(http.MethodGet, "/2/users/"+me+"/followers?max_results=60&pagination_token="+token, access, nil)
	if shifted.at(t, "data", 0, "id") != second.at(t, "data", 0, "id") {
		t.Error("a newcomer shifted the second page")
	}
	for path, want := range map[string]string{
		"/2/users/" + me + "/followers?max_results=0":             "is not between 1 and 1000",
		"/2/users/" + me + "/followers?max_results=x":             "is not between",
		"/2/users/" + me + "/followers?pagination_token=garbage!": "is not valid",
		"/2/users/" + me + "/following?pagination_token=" + token: "is not valid",
	} {
		if reply := d.call(http.MethodGet, path, access, nil).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, want) {
			t.Errorf("%s: %s, want %q", path, reply.body, want)
		}
	}
}

func TestFollowingAndMuting(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(20), everything)
	me, target := d.id(20), d.id(21)
	status := func() string {
		return fmt.Sprint(d.call(http.MethodGet, "/2/users/"+target+"?user.fields=connection_status", access, nil).at(t, "data", "connection_status"))
	}
	d.call(http.MethodDelete, "/2/users/"+me+"/following/"+target, access, nil).expect(t, http.StatusOK)
	before := status()
	follow := d.call(http.MethodPost, "/2/users/"+me+"/following", access, map[string]string{"target_user_id": target}).expect(t, http.StatusOK)
	if follow.at(t, "data", "following") != true || strings.Contains(before, "following") || !strings.Contains(status(), "following") {
		t.Errorf("follow = %s; %s then %s", follow.body, before, status())
	}
	d.call(http.MethodPost, "/2/users/"+me+"/muting", access, map[string]string{"target_user_id": target}).expect(t, http.StatusOK)
	if list := d.call(http.MethodGet, "/2/users/"+me+"/muting", access, nil); list.at(t, "data", 0, "id") != target {
		t.Errorf("muting = %s", list.body)
	}
	d.call(http.MethodDelete, "/2/users/"+me+"/muting/"+target, access, nil).expect(t, http.StatusOK)
	if strings.Contains(status(), "muting") {
		t.Error("still muted")
	}
	d.x.SetStanding(person(22), "protected")
	pending := d.call(http.MethodPost, "/2/users/"+me+"/following", access, map[string]string{"target_user_id": d.id(22)}).expect(t, http.StatusOK)
	if pending.at(t, "data", "pending_follow") != true {
		t.Errorf("following a protected account = %s", pending.body)
	}
	if reply := d.call(http.MethodPost, "/2/users/"+target+"/following", access, map[string]string{"target_user_id": me}).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, "must be the same as the authenticating user") {
		t.Errorf("following in another's name = %s", reply.body)
	}
	d.call(http.MethodPost, "/2/users/"+me+"/following", access, map[string]string{}).expect(t, http.StatusBadRequest)
	d.call(http.MethodPost, "/2/users/"+me+"/following", access, map[string]string{"target_user_id": me}).expect(t, http.StatusBadRequest)
	d.call(http.MethodPost, "/2/users/"+me+"/following", access, map[string]string{"target_user_id": "12"}).expect(t, http.StatusNotFound)
}

func TestLikesRepostsAndBookmarks(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(30), everything)
	me := d.id(30)
	post := d.call(http.MethodGet, "/2/users/"+d.id(1)+"/tweets", access, nil).at(t, "data", 0, "id").(string)
	body := map[string]string{"tweet_id": post}
	for _, c := range []struct{ add, remove, list, field, users string }{
		{"/likes", "/likes/", "/liked_tweets", "liked", "/liking_users"},
		{"/retweets", "/retweets/", "", "retweeted", "/retweeted_by"},
		{"/bookmarks", "/bookmarks/", "/bookmarks", "bookmarked", ""},
	} {
		for range 2 { // the second time changes nothing
			if reply := d.call(http.MethodPost, "/2/users/"+me+c.add, access, body).expect(t, http.StatusOK); reply.at(t, "data", c.field) != true {
				t.Errorf("%s = %s", c.add, reply.body)
			}
		}
		if c.list != "" {
			if reply := d.call(http.MethodGet, "/2/users/"+me+c.list, access, nil); reply.at(t, "data", 0, "id") != post {
				t.Errorf("%s = %s", c.list, reply.body)
			}
		}
		if c.users != "" {
			if reply := d.call(http.MethodGet, "/2/tweets/"+post+c.users, access, nil); reply.at(t, "data", 0, "id") != me {
				t.Errorf("%s = %s", c.users, reply.body)
			}
		}
		if reply := d.call(http.MethodDelete, "/2/users/"+me+c.remove+post, access, nil).expect(t, http.StatusOK); reply.at(t, "data", c.field) != false {
			t.Errorf("DELETE %s = %s", c.remove, reply.body)
		}
		if c.users != "" {
			if reply := d.call(http.MethodGet, "/2/tweets/"+post+c.users, access, nil); strings.Contains(reply.body, `"`+me+`"`) {
				t.Errorf("%s after removal = %s", c.users, reply.body)
			}
		}
		d.call(http.MethodPost, "/2/users/"+me+c.add, access, map[string]string{"tweet_id": "5"}).expect(t, http.StatusNotFound)
		d.call(http.MethodPost, "/2/users/"+me+c.add, access, map[string]string{}).expect(t, http.StatusBadRequest)
		d.call(http.MethodPost, "/2/users/1"+c.add, access, body).expect(t, http.StatusBadRequest)
	}
	d.call(http.MethodPost, "/2/users/"+me+"/retweets", access, body).expect(t, http.StatusOK)
	mine := d.call(http.MethodGet, "/2/users/"+me+"/tweets?expansions=referenced_tweets.id", access, nil)
	if mine.at(t, "data", 0, "referenced_tweets", 0, "type") != "retweeted" || !strings.HasPrefix(mine.at(t, "data", 0, "text").(string), "RT @"+person(1)) {
		t.Errorf("timeline after a repost = %s", mine.body)
	}
	if reply := d.call(http.MethodGet, "/2/users/"+me+"/tweets?exclude=retweets,replies", access, nil); strings.Contains(reply.body, "RT @") {
		t.Errorf("excluded reposts came: %s", reply.body)
	}
	author, _ := d.login(person(1), everything)
	if reply := d.call(http.MethodGet, "/2/users/reposts_of_me", author, nil).expect(t, http.StatusOK); reply.at(t, "meta", "result_count") != 1.0 {
		t.Errorf("reposts_of_me = %s", reply.body)
	}
}

func TestSearch(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	query := func(q, more string) answer {
		return d.call(http.MethodGet, "/2/tweets/search/recent?query="+url.QueryEscape(q)+more, access, nil)
	}
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "zebra crossing 🦓 #animals @" + person(1)}).expect(t, http.StatusCreated)
	for q, found := range map[string]bool{
		"zebra":                          true,
		"ZEBRA crossing":                 true,
		`"zebra crossing"`:               true,
		"🦓":                              true,
		"#animals":                       true,
		"#animal":                        false,
		"@" + person(1) + " zebra":       true,
		"zebra from:" + person(0):        true,
		"zebra from:" + person(1):        false,
		"zebra -crossing":                false,
		"zebra -from:" + person(1):       true,
		"(zebra OR quagga) has:hashtags": true,
		"quagga OR zebra":                true,
		"zebra has:links":                false,
		"zebra has:mentions -is:retweet": true,
		"zebra is:reply":                 false,
		"zebra lang:xx":                  false,
	} {
		reply := query(q, "").expect(t, http.StatusOK)
		if got := reply.at(t, "meta", "result_count").(float64) > 0; got != found {
			t.Errorf("%s: found %v, want %v: %s", q, got, found, reply.body)
		}
	}
	for q, want := range map[string]string{
		"":                       "query",
		"zebra AND crossing":     "AND is not an operator",
		"zebra (":                "missing",
		"(zebra":                 "not closed",
		`"zebra`:                 "not closed",
		"near:here":              "near: is not an operator",
		"has:teeth":              "has:teeth is not an operator",
		"is:big":                 "is:big is not an operator",
		"from:":                  "has no value",
		"-":                      "missing after -",
		"zebra)":                 "unexpected",
		strings.Repeat("z", 513): "longer than 512",
		strings.Repeat("(", 100) + "z" + strings.Repeat(")", 100): "nested too deeply",
	} {
		if reply := query(q, "").expect(t, http.StatusBadRequest); !strings.Contains(reply.body, want) {
			t.Errorf("%q: %s, want %q", q, reply.body, want)
		}
	}
	ids, pages := d.pages("/2/tweets/search/recent?query=a&max_results=100", access, "next_token")
	if len(ids) < 150 || pages < 2 || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("%d posts in %d pages, newest first %v", len(ids), pages, slices.IsSorted(ids))
	}
	middle := ids[len(ids)/2]
	since := query("a", "&max_results=10&since_id="+middle).expect(t, http.StatusOK)
	until := query("a", "&max_results=10&until_id="+middle).expect(t, http.StatusOK)
	if since.at(t, "meta", "oldest_id").(string) <= middle || until.at(t, "meta", "newest_id").(string) >= middle {
		t.Errorf("since %v until %v of %s", since.at(t, "meta"), until.at(t, "meta"), middle)
	}
	for _, more := range []string{"&max_results=9", "&max_results=101", "&since_id=x", "&start_time=yesterday", "&sort_order=best",
		"&start_time=2010-01-01T00:00:00Z", "&start_time=2030-01-02T00:00:00Z&end_time=2030-01-01T00:00:00Z", "&next_token=zz"} {
		query("a", more).expect(t, http.StatusBadRequest)
	}
	counts := d.call(http.MethodGet, "/2/tweets/counts/recent?query=a&granularity=day", d.x.AppBearer(), nil).expect(t, http.StatusOK)
	if counts.at(t, "meta", "total_tweet_count").(float64) < 150 {
		t.Errorf("counts = %s", counts.body)
	}
	d.call(http.MethodGet, "/2/tweets/search/all?query=a", d.x.AppBearer(), nil).expect(t, http.StatusOK)
	if reply := d.call(http.MethodGet, "/2/users/"+d.id(1)+"/mentions", access, nil); !strings.Contains(reply.body, "zebra") {
		t.Errorf("mentions = %s", reply.body)
	}
	home := d.call(http.MethodGet, "/2/users/"+d.id(0)+"/timelines/reverse_chronological?max_results=5", access, nil).expect(t, http.StatusOK)
	if !strings.Contains(home.body, "zebra") {
		t.Errorf("home = %s", home.body)
	}
}

func TestRateLimits(t *testing.T) {
	d := newDesk(t, x.Config{RateFactor: 1})
	access, _ := d.login(person(0), everything)
	other, _ := d.login(person(1), everything)
	for i := range 75 {
		reply := d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK)
		if got := reply.header.Get("X-Rate-Limit-Remaining"); got != fmt.Sprint(74-i) || reply.header.Get("X-Rate-Limit-Limit") != "75" {
			t.Fatalf("call %d: remaining %s of %s", i, got, reply.header.Get("X-Rate-Limit-Limit"))
		}
	}
	limited := d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusTooManyRequests)
	if limited.body != `{"detail":"Too Many Requests","status":429,"title":"Too Many Requests","type":"about:blank"}` || limited.header.Get("X-Rate-Limit-Remaining") != "0" {
		t.Errorf("limited = %v %s", limited.header, limited.body)
	}
	d.call(http.MethodGet, "/2/users/me", other, nil).expect(t, http.StatusOK) // another person's pool
	d.call(http.MethodGet, "/2/users/by/username/"+person(0), access, nil).expect(t, http.StatusOK)
	d.clock.SetSkew(16 * time.Minute)
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK)
	d.x.SetRateFactor(2)
	if got := d.call(http.MethodGet, "/2/users/me", access, nil).header.Get("X-Rate-Limit-Limit"); got != "150" {
		t.Errorf("doubled limit = %s", got)
	}
	post := d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "counted"}).expect(t, http.StatusCreated)
	if post.header.Get("X-Rate-Limit-Limit") != "200" || post.header.Get("X-App-Limit-24hour-Remaining") != "19999" {
		t.Errorf("headers of a post = %v", post.header)
	}
}

func TestLists(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(40), everything)
	other, _ := d.login(person(41), everything)
	me := d.id(40)
	made := d.call(http.MethodPost, "/2/lists", access, map[string]any{"name": "Łódź 🚋", "description": "trams", "private": true}).expect(t, http.StatusCreated)
	path := "/2/lists/" + made.at(t, "data", "id").(string)
	if reply := d.call(http.MethodGet, path, other, nil).expect(t, http.StatusOK); reply.at(t, "errors", 0, "resource_type") != "list" {
		t.Errorf("another's private list = %s", reply.body)
	}
	d.call(http.MethodPut, path, access, map[string]any{"private": false, "name": "Tramways"}).expect(t, http.StatusOK)
	d.call(http.MethodPut, path, other, map[string]any{"name": "mine"}).expect(t, http.StatusForbidden)
	shown := d.call(http.MethodGet, path+"?list.fields=member_count,private,owner_id,description&expansions=owner_id", other, nil).expect(t, http.StatusOK)
	if shown.at(t, "data", "name") != "Tramways" || shown.at(t, "includes", "users", 0, "id") != me {
		t.Errorf("list = %s", shown.body)
	}
	d.call(http.MethodPost, path+"/members", access, map[string]string{"user_id": d.id(1)}).expect(t, http.StatusOK)
	d.call(http.MethodPost, path+"/members", other, map[string]string{"user_id": d.id(1)}).expect(t, http.StatusForbidden)
	if reply := d.call(http.MethodGet, path+"/members", other, nil); reply.at(t, "data", 0, "username") != person(1) {
		t.Errorf("members = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, path+"/tweets?expansions=author_id", other, nil).expect(t, http.StatusOK); reply.at(t, "includes", "users", 0, "username") != person(1) {
		t.Errorf("posts of the list = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, "/2/users/"+d.id(1)+"/list_memberships?list.fields=owner_id", other, nil); !strings.Contains(reply.body, "Tramways") {
		t.Errorf("memberships = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, "/2/users/"+me+"/owned_lists", other, nil); !strings.Contains(reply.body, "Tramways") {
		t.Errorf("owned = %s", reply.body)
	}
	id := strings.TrimPrefix(path, "/2/lists/")
	theirs := "/2/users/" + d.id(41)
	for _, kind := range []string{"followed_lists", "pinned_lists"} {
		d.call(http.MethodPost, theirs+"/"+kind, other, map[string]string{"list_id": id}).expect(t, http.StatusOK)
		if reply := d.call(http.MethodGet, theirs+"/"+kind, other, nil); reply.at(t, "data", 0, "id") != id {
			t.Errorf("%s = %s", kind, reply.body)
		}
		d.call(http.MethodDelete, theirs+"/"+kind+"/"+id, other, nil).expect(t, http.StatusOK)
		if reply := d.call(http.MethodGet, theirs+"/"+kind, other, nil); strings.Contains(reply.body, id) {
			t.Errorf("%s after removal = %s", kind, reply.body)
		}
	}
	d.call(http.MethodDelete, path+"/members/"+d.id(1), access, nil).expect(t, http.StatusOK)
	if reply := d.call(http.MethodGet, path+"/members", other, nil); reply.at(t, "meta", "result_count") != 0.0 {
		t.Errorf("members after removal = %s", reply.body)
	}
	d.call(http.MethodDelete, path, other, nil).expect(t, http.StatusForbidden)
	d.call(http.MethodDelete, path, access, nil).expect(t, http.StatusOK)
	d.call(http.MethodGet, path, access, nil)
	for _, body := range []any{map[string]any{}, map[string]any{"name": ""}, map[string]any{"name": strings.Repeat("n", 26)}, map[string]any{"name": "n", "description": strings.Repeat("d", 101)}} {
		d.call(http.MethodPost, "/2/lists", access, body).expect(t, http.StatusBadRequest)
	}
}

func TestDirectMessages(t *testing.T) {
	d := newDesk(t, x.Config{})
	a, _ := d.login(person(50), everything)
	b, _ := d.login(person(51), everything)
	c, _ := d.login(person(52), everything)
	sent := d.call(http.MethodPost, "/2/dm_conversations/with/"+d.id(51)+"/messages", a, map[string]any{"text": "مرحبا 👋🏽"}).expect(t, http.StatusCreated)
	talk, event := sent.at(t, "data", "dm_conversation_id").(string), sent.at(t, "data", "dm_event_id").(string)
	d.call(http.MethodPost, "/2/dm_conversations/"+talk+"/messages", b, map[string]any{"text": "hello back"}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/dm_conversations/"+talk+"/messages", c, map[string]any{"text": "me too"}).expect(t, http.StatusForbidden)
	for _, path := range []string{"/2/dm_events", "/2/dm_conversations/" + talk + "/dm_events", "/2/dm_conversations/with/" + d.id(50) + "/dm_events"} {
		list := d.call(http.MethodGet, path+"?dm_event.fields=created_at,dm_conversation_id,participant_ids&expansions=sender_id", b, nil).expect(t, http.StatusOK)
		if list.at(t, "data", 0, "text") != "hello back" || list.at(t, "data", 1, "text") != "مرحبا 👋🏽" || len(list.at(t, "includes", "users").([]any)) != 2 {
			t.Errorf("%s = %s", path, list.body)
		}
	}
	if reply := d.call(http.MethodGet, "/2/dm_events", c, nil).expect(t, http.StatusOK); reply.at(t, "meta", "result_count") != 0.0 {
		t.Errorf("a stranger reads %s", reply.body)
	}
	if reply := d.call(http.MethodGet, "/2/dm_events/"+event, c, nil).expect(t, http.StatusOK); reply.at(t, "errors", 0, "title") != "Not Found Error" {
		t.Errorf("a stranger reads %s", reply.body)
	}
	d.call(http.MethodGet, "/2/dm_conversations/"+talk+"/dm_events", c, nil).expect(t, http.StatusForbidden)
	d.call(http.MethodDelete, "/2/dm_events/"+event, a, nil).expect(t, http.StatusOK)
	if reply := d.call(http.MethodGet, "/2/dm_events/"+event, a, nil); reply.at(t, "errors", 0, "title") != "Not Found Error" {
		t.Errorf("deleted for me = %s", reply.body)
	}
	d.call(http.MethodGet, "/2/dm_events/"+event, b, nil).expect(t, http.StatusOK)

	group := d.call(http.MethodPost, "/2/dm_conversations", a, map[string]any{
		"conversation_type": "Group", "participant_ids": []string{d.id(51), d.id(52)}, "message": map[string]any{"text": "all of you"},
	}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/dm_conversations/"+group.at(t, "data", "dm_conversation_id").(string)+"/messages", c, map[string]any{"text": "hi"}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/users/"+d.id(50)+"/dm/block", b, nil).expect(t, http.StatusOK)
	d.call(http.MethodPost, "/2/dm_conversations/with/"+d.id(51)+"/messages", a, map[string]any{"text": "blocked"}).expect(t, http.StatusForbidden)
	d.call(http.MethodPost, "/2/users/"+d.id(50)+"/dm/unblock", b, nil).expect(t, http.StatusOK)
	d.call(http.MethodPost, "/2/dm_conversations/with/"+d.id(51)+"/messages", a, map[string]any{"text": "again"}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/dm_conversations/with/"+d.id(51)+"/messages", a, map[string]any{}).expect(t, http.StatusBadRequest)
	for _, body := range []any{
		map[string]any{"conversation_type": "Pair", "participant_ids": []string{"1", "2"}},
		map[string]any{"conversation_type": "Group", "participant_ids": []string{"1"}},
	} {
		d.call(http.MethodPost, "/2/dm_conversations", a, body).expect(t, http.StatusBadRequest)
	}
}
