package x_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/sandbox/x"
)

func TestEveryOperationDemandsACredentialAndItsKind(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	for _, path := range []string{"/2/users/me", "/2/tweets?ids=1", "/2/webhooks"} {
		reply := d.call(http.MethodGet, path, "", nil).expect(t, http.StatusUnauthorized)
		if reply.body != `{"detail":"Unauthorized","status":401,"title":"Unauthorized","type":"about:blank"}` ||
			reply.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s without a credential: %s %s", path, reply.header.Get("Content-Type"), reply.body)
		}
	}
	app := d.call(http.MethodGet, "/2/users/me", d.x.AppBearer(), nil).expect(t, http.StatusForbidden)
	if got := app.at(t, "detail"); got != "Authenticating with OAuth 2.0 Application-Only is forbidden for this endpoint.  Supported authentication types are [OAuth 1.0a User Context, OAuth 2.0 User Context]." {
		t.Errorf("wrong kind: %v", got)
	}
	user := d.call(http.MethodGet, "/2/webhooks", access, nil).expect(t, http.StatusForbidden)
	if !strings.HasSuffix(user.at(t, "type").(string), "unsupported-authentication") {
		t.Errorf("user on app-only: %s", user.body)
	}
	signed := d.do(d.signed(http.MethodPost, "/2/users/1/bookmarks", d.minted(0), nil, nil)).expect(t, http.StatusForbidden)
	if !strings.Contains(signed.body, "Supported authentication types are [OAuth 2.0 User Context]") {
		t.Errorf("OAuth 1.0a on OAuth 2.0 only: %s", signed.body)
	}
	d.call(http.MethodGet, "/2/nothing/here", access, nil).expect(t, http.StatusNotFound)
	d.call(http.MethodPatch, "/2/tweets", access, nil).expect(t, http.StatusMethodNotAllowed)
	refresh := d.call(http.MethodGet, "/2/users/me", "a refresh token is no credential", nil)
	refresh.expect(t, http.StatusUnauthorized)
}

func TestScopesAreEnforcedForEachOperation(t *testing.T) {
	d := newDesk(t, x.Config{})
	me := d.id(0)
	for _, c := range []struct{ method, path, scopes string }{
		{"GET", "/2/users/me", "tweet.read users.read"},
		{"POST", "/2/tweets", "tweet.read tweet.write users.read"},
		{"DELETE", "/2/tweets/1", "tweet.read tweet.write users.read"},
		{"GET", "/2/users/" + me + "/followers", "follows.read tweet.read users.read"},
		{"POST", "/2/users/" + me + "/following", "follows.write tweet.read users.read"},
		{"POST", "/2/users/" + me + "/likes", "like.write tweet.read users.read"},
		{"POST", "/2/users/" + me + "/retweets", "tweet.read tweet.write users.read"},
		{"GET", "/2/users/" + me + "/bookmarks", "bookmark.read tweet.read users.read"},
		{"POST", "/2/lists", "list.read list.write tweet.read users.read"},
		{"GET", "/2/dm_events", "dm.read tweet.read users.read"},
		{"POST", "/2/dm_conversations/with/1/messages", "dm.write tweet.read users.read"},
		{"POST", "/2/media/upload", "media.write"},
		{"GET", "/2/users/" + me + "/muting", "mute.read tweet.read users.read"},
		{"GET", "/2/users/" + me + "/blocking", "block.read tweet.read users.read"},
	} {
		scopes := strings.Fields(c.scopes)
		full, _ := d.login(person(0), c.scopes)
		if reply := d.call(c.method, c.path, full, nil); reply.status == http.StatusForbidden || reply.status == http.StatusUnauthorized {
			t.Errorf("%s %s with all of %v: %d %s", c.method, c.path, scopes, reply.status, reply.body)
		}
		for i := range scopes {
			fewer := slices.Delete(slices.Clone(scopes), i, i+1)
			if len(fewer) == 0 {
				fewer = []string{"space.read"}
			}
			token, _ := d.login(person(0), strings.Join(fewer, " "))
			if reply := d.call(c.method, c.path, token, nil); reply.status != http.StatusForbidden {
				t.Errorf("%s %s without %s: %d %s", c.method, c.path, scopes[i], reply.status, reply.body)
			}
		}
	}
}

func TestUsers(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	access, _ := d.login(person(6), everything)
	id := d.id(6)
	one := d.call(http.MethodGet, "/2/users/"+id+"?user.fields=created_at,description,public_metrics,verified,url", app, nil).expect(t, http.StatusOK)
	if one.at(t, "data", "username") != person(6) || one.at(t, "data", "public_metrics", "followers_count") == nil {
		t.Errorf("user = %s", one.body)
	}
	if _, extra := one.at(t, "data").(map[string]any)["location"]; extra {
		t.Error("a field came that nobody asked for")
	}
	batch := d.call(http.MethodGet, "/2/users?ids="+id+",999999,"+d.id(7), app, nil).expect(t, http.StatusOK)
	if got := batch.at(t, "data", 1, "username"); got != person(7) {
		t.Errorf("batch = %s", batch.body)
	}
	if got := batch.at(t, "errors", 0, "resource_id"); got != "999999" {
		t.Errorf("the missing one is reported as %v: %s", got, batch.body)
	}
	names := d.call(http.MethodGet, "/2/users/by?usernames="+strings.ToUpper(person(6))+",nobody_here", app, nil).expect(t, http.StatusOK)
	if names.at(t, "data", 0, "id") != id || names.at(t, "errors", 0, "title") != "Not Found Error" {
		t.Errorf("by names = %s", names.body)
	}
	absent := d.call(http.MethodGet, "/2/users/by/username/nobody_here", app, nil).expect(t, http.StatusOK)
	if _, data := absent.json(t)["data"]; data || absent.at(t, "errors", 0, "type") != "https://api.x.com/2/problems/resource-not-found" {
		t.Errorf("absent = %s", absent.body)
	}
	pinned := d.call(http.MethodGet, "/2/users/"+id+"?expansions=pinned_tweet_id&tweet.fields=created_at", app, nil).expect(t, http.StatusOK)
	if pinned.at(t, "includes", "tweets", 0, "id") != pinned.at(t, "data", "pinned_tweet_id") {
		t.Errorf("pinned = %s", pinned.body)
	}
	email := d.call(http.MethodGet, "/2/users/me?user.fields=confirmed_email", access, nil)
	if email.at(t, "data", "confirmed_email") == nil {
		t.Errorf("own e-mail address with users.email: %s", email.body)
	}
	without, _ := d.login(person(6), "tweet.read users.read")
	for name, token := range map[string]string{"no users.email": without, "app": app} {
		path := map[bool]string{true: "/2/users/me", false: "/2/users/" + id}[name != "app"]
		if reply := d.call(http.MethodGet, path+"?user.fields=confirmed_email", token, nil); strings.Contains(reply.body, "confirmed_email") {
			t.Errorf("%s got an e-mail address: %s", name, reply.body)
		}
	}
	found := d.call(http.MethodGet, "/2/users/search?query="+url.QueryEscape(person(6)), access, nil).expect(t, http.StatusOK)
	if found.at(t, "data", 0, "id") != id {
		t.Errorf("search = %s", found.body)
	}
	for path, want := range map[string]string{
		"/2/users?ids=":  "ids",
		"/2/users?ids=a": "ids",
		"/2/users?ids=" + strings.Repeat("1,", 100) + "1": "size must be less than or equal to 100",
		"/2/users/abc":                                        "id",
		"/2/users/by/username/not-a-name":                     "does not match",
		"/2/users/" + id + "?user.fields=nose":                "is not one of",
		"/2/users/" + id + "?colour=red":                      "The query parameter [colour] is not one of",
		"/2/users/" + id + "?user.fields=id&user.fields=name": "more than once",
		"/2/users/" + id + "?user.fields=%zz":                 "could not be read",
	} {
		reply := d.call(http.MethodGet, path, app, nil).expect(t, http.StatusBadRequest)
		if reply.at(t, "title") != "Invalid Request" || !strings.Contains(reply.body, want) {
			t.Errorf("%s: %s, want %q", path, reply.body, want)
		}
	}
}

func TestSuspendedAndProtectedAccounts(t *testing.T) {
	d := newDesk(t, x.Config{})
	app := d.x.AppBearer()
	id := d.id(8)
	list := d.call(http.MethodGet, "/2/users/"+id+"/tweets", app, nil).expect(t, http.StatusOK)
	post := list.at(t, "data", 0, "id").(string)
	d.x.SetStanding(person(8), "suspended")
	gone := d.call(http.MethodGet, "/2/users/"+id, app, nil).expect(t, http.StatusOK)
	if !strings.Contains(gone.body, "has been suspended") {
		t.Errorf("suspended user = %s", gone.body)
	}
	if reply := d.call(http.MethodGet, "/2/tweets/"+post, app, nil); reply.at(t, "errors", 0, "title") != "Not Found Error" {
		t.Errorf("post of a suspended user = %s", reply.body)
	}
	d.call(http.MethodGet, "/2/users/"+id+"/tweets", app, nil).expect(t, http.StatusNotFound)
	d.x.SetStanding(person(8), "protected")
	d.x.SetStanding(person(8), "active")
	d.x.SetStanding(person(8), "protected")
	hidden := d.call(http.MethodGet, "/2/tweets?ids="+post, app, nil).expect(t, http.StatusOK)
	if hidden.at(t, "errors", 0, "title") != "Authorization Error" {
		t.Errorf("protected post = %s", hidden.body)
	}
	own, _ := d.login(person(8), everything)
	if reply := d.call(http.MethodGet, "/2/tweets?ids="+post, own, nil); reply.at(t, "data", 0, "id") != post {
		t.Errorf("own protected post = %s", reply.body)
	}
}

func TestAPersonWhoIsGoneCannotAct(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, refresh := d.login(person(9), everything)
	k := d.minted(9)
	for standing, want := range map[string]int{"suspended": http.StatusForbidden, "deleted": http.StatusUnauthorized, "deactivated": http.StatusUnauthorized} {
		d.x.SetStanding(person(9), standing)
		d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, want)
		d.do(d.signed(http.MethodGet, "/2/users/me", k, nil, nil)).expect(t, want)
		d.do(d.signed(http.MethodGet, "/1.1/account/verify_credentials.json", k, nil, nil)).expect(t, want)
		d.refreshWith(refresh).expect(t, http.StatusBadRequest)
		page := d.call(http.MethodGet, "/i/oauth2/authorize?sandbox_person="+person(9)+"&"+d.authorizeParameters("users.read").Encode(), "", nil)
		page.expect(t, http.StatusOK) // asked again: nobody of that name can answer
	}
	d.x.SetStanding(person(9), "active")
	d.call(http.MethodGet, "/2/users/me", access, nil).expect(t, http.StatusOK)
	d.refreshWith(refresh).expect(t, http.StatusOK)
}

func TestPosts(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	other, _ := d.login(person(1), everything)
	text := "שלום עולם 👨‍👩‍👧‍👦 <b>&amp;</b> #Test @" + person(1)
	made := d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": text}).expect(t, http.StatusCreated)
	id := made.at(t, "data", "id").(string)
	if made.at(t, "data", "text") != text || made.at(t, "data", "edit_history_tweet_ids", 0) != id {
		t.Errorf("created = %s", made.body)
	}
	answered := d.call(http.MethodPost, "/2/tweets", other, map[string]any{"text": "yes", "reply": map[string]string{"in_reply_to_tweet_id": id}}).expect(t, http.StatusCreated)
	quoted := d.call(http.MethodPost, "/2/tweets", other, map[string]any{"text": "look", "quote_tweet_id": id}).expect(t, http.StatusCreated)
	full := d.call(http.MethodGet, "/2/tweets/"+answered.at(t, "data", "id").(string)+
		"?tweet.fields=created_at,conversation_id,public_metrics,entities,lang&expansions=author_id,referenced_tweets.id,referenced_tweets.id.author_id,in_reply_to_user_id&user.fields=name", access, nil).expect(t, http.StatusOK)
	if full.at(t, "data", "conversation_id") != id || full.at(t, "data", "referenced_tweets", 0, "type") != "replied_to" ||
		full.at(t, "includes", "tweets", 0, "id") != id || len(full.at(t, "includes", "users").([]any)) != 2 {
		t.Errorf("reply = %s", full.body)
	}
	entities := d.call(http.MethodGet, "/2/tweets/"+id+"?tweet.fields=entities,public_metrics&expansions=entities.mentions.username", access, nil).expect(t, http.StatusOK)
	if entities.at(t, "data", "entities", "hashtags", 0, "tag") != "Test" || entities.at(t, "includes", "users", 0, "username") != person(1) {
		t.Errorf("entities = %s", entities.body)
	}
	start := int(entities.at(t, "data", "entities", "hashtags", 0, "start").(float64))
	if []rune(text)[start] != '#' {
		t.Errorf("the hashtag starts at %d, which is %q", start, []rune(text)[start])
	}
	if entities.at(t, "data", "public_metrics", "reply_count") != 1.0 || entities.at(t, "data", "public_metrics", "quote_count") != 1.0 {
		t.Errorf("metrics = %s", entities.body)
	}
	quotes := d.call(http.MethodGet, "/2/tweets/"+id+"/quote_tweets", access, nil).expect(t, http.StatusOK)
	if quotes.at(t, "data", 0, "id") != quoted.at(t, "data", "id") {
		t.Errorf("quotes = %s", quotes.body)
	}
	d.call(http.MethodPut, "/2/tweets/"+answered.at(t, "data", "id").(string)+"/hidden", access, map[string]bool{"hidden": true}).expect(t, http.StatusOK)
	d.call(http.MethodPut, "/2/tweets/"+answered.at(t, "data", "id").(string)+"/hidden", other, map[string]bool{"hidden": true}).expect(t, http.StatusForbidden)

	d.call(http.MethodDelete, "/2/tweets/"+id, other, nil).expect(t, http.StatusForbidden)
	if reply := d.call(http.MethodDelete, "/2/tweets/"+id, access, nil).expect(t, http.StatusOK); reply.at(t, "data", "deleted") != true {
		t.Errorf("delete = %s", reply.body)
	}
	if reply := d.call(http.MethodGet, "/2/tweets/"+id, access, nil).expect(t, http.StatusOK); reply.at(t, "errors", 0, "resource_id") != id {
		t.Errorf("deleted post = %s", reply.body)
	}
	if reply := d.call(http.MethodDelete, "/2/tweets/"+id, access, nil).expect(t, http.StatusOK); reply.at(t, "data", "deleted") != false {
		t.Errorf("second delete = %s", reply.body)
	}
}

func TestPostsThatAreRefused(t *testing.T) {
	d := newDesk(t, x.Config{})
	access, _ := d.login(person(0), everything)
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "twice"}).expect(t, http.StatusCreated)
	for _, c := range []struct {
		body   any
		status int
		want   string
	}{
		{map[string]any{"text": "twice"}, 403, "duplicate content"},
		{map[string]any{}, 400, "$.text"},
		{map[string]any{"text": strings.Repeat("a", 281)}, 403, "too long"},
		{map[string]any{"text": strings.Repeat("字", 141)}, 403, "too long"},
		{map[string]any{"text": "x", "colour": "red"}, 400, "$.colour: is not defined in the schema"},
		{map[string]any{"text": "x", "reply_settings": "nobody"}, 400, "$.reply_settings"},
		{map[string]any{"text": "x", "reply": map[string]string{"in_reply_to_tweet_id": "1"}}, 403, "reply to a Tweet that is deleted"},
		{map[string]any{"text": "x", "quote_tweet_id": "1"}, 400, "quote a Tweet that is deleted"},
		{map[string]any{"text": "x", "media": map[string]any{"media_ids": []string{"1"}}}, 400, "media IDs are invalid"},
		{map[string]any{"text": "x", "media": map[string]any{"media_ids": []string{}}}, 400, "media_ids"},
		{map[string]any{"text": "x", "poll": map[string]any{"options": []string{"a"}, "duration_minutes": 10}}, 400, "$.poll"},
		{`{"text":`, 400, "not valid JSON"},
		{`{"text":"a"}{"text":"b"}`, 400, "more than one JSON value"},
		{`[]`, 400, "not valid JSON"},
		{``, 400, "content-type"},
	} {
		if reply := d.call(http.MethodPost, "/2/tweets", access, c.body); reply.status != c.status || !strings.Contains(reply.body, c.want) {
			t.Errorf("%v: %d %s, want %d %q", c.body, reply.status, reply.body, c.status, c.want)
		}
	}
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": strings.Repeat("字", 140)}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": strings.Repeat("a", 256) + " https://example.com/" + strings.Repeat("x", 300)}).expect(t, http.StatusCreated)
	relaxed := newDesk(t, x.Config{AllowDuplicates: true})
	access, _ = relaxed.login(person(0), everything)
	for range 2 {
		relaxed.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": "twice"}).expect(t, http.StatusCreated)
	}
	relaxed.call(http.MethodPost, "/2/tweets", access, map[string]any{"text": strings.Repeat("x", 65<<20)}).expect(t, http.StatusRequestEntityTooLarge)
}
