package platform_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/platform"
)

// people returns the identities in a reply in the given pieces, as
// "person class value", told in whichever call.
func people(p platform.Name, operation string, pieces ...[]byte) []string {
	w := platform.NewPeople(p, operation)
	var out []string
	take := func() {
		for _, f := range w.Take() {
			out = append(out, strings.Join([]string{f.Person, f.Class, f.Value}, " "))
		}
	}
	for _, b := range pieces {
		_, _ = w.Write(b)
		take()
	}
	w.Settle()
	take()
	return out
}

type peopleCase struct {
	name      string
	platform  platform.Name
	operation string
	reply     string
	want      string // sorted, separated by "; "
}

// peopleCases are replies as the platforms document them, each followed by ones
// that come close.
var peopleCases = []peopleCase{
	{"me", platform.X, "GET /2/users/me", `{"data":{"id":"7","name":"Ada L","username":"ada","confirmed_email":"ada@people.example","profile_image_url":"https:\/\/pbs.example\/7.png","description":"id 99, mail bob@people.example, @bob"}}`,
		"7 email ada@people.example; 7 name Ada L; 7 profile-link https://pbs.example/7.png; 7 pseudonymous-id 7; 7 username ada"},
	{"names before the id", platform.X, "GET /2/users/{id}/followers", `{"data":[{"username":"ada","name":"A","id":"7","pinned_tweet_id":"50"},{"username":"bob","id":"8"}],"meta":{"next_token":"9"}}`,
		"7 name A; 7 post-id 50; 7 pseudonymous-id 7; 7 username ada; 8 pseudonymous-id 8; 8 username bob"},
	{"a profile's links", platform.X, "GET /2/users/by/username/{username}", `{"data":{"id":"7","url":"https://t.co/a","entities":{"url":{"urls":[{"url":"https://t.co/a","expanded_url":"https://ada.example","display_url":"ada.example"}]},"description":{"urls":[{"url":"https://t.co/b","expanded_url":"https://shop.example"}],"mentions":[{"username":"bob"}]}}}}`,
		" username bob; 7 profile-link https://ada.example; 7 profile-link https://t.co/a; 7 profile-link https://t.co/a; 7 pseudonymous-id 7"},
	{"posts", platform.X, "GET /2/tweets/search/recent", `{"data":[{"id":"50","text":"7 ada ada@people.example","author_id":"7","edit_history_tweet_ids":["49","50"],"conversation_id":"40","in_reply_to_user_id":"8","referenced_tweets":[{"type":"quoted","id":"30"}],"entities":{"mentions":[{"username":"bob","id":"8"}],"urls":[{"url":"https://t.co/x","expanded_url":"https://x.example/ada"}]},"public_metrics":{"like_count":7}}],"includes":{"users":[{"username":"ada","id":"7"}],"media":[{"media_key":"3_7","url":"https://pbs.example/m.jpg"}],"places":[{"id":"9","name":"London"}]},"meta":{"newest_id":"50"}}`,
		" post-id 30; " + " post-id 40; 7 post-id 49; 7 post-id 50; 7 post-id 50; 7 pseudonymous-id 7; 7 pseudonymous-id 7; 7 username ada; 8 pseudonymous-id 8; 8 pseudonymous-id 8; 8 username bob"},
	{"a post with its author's name", platform.X, "GET /2/tweets/{id}", `{"data":{"username":"ada","author_id":"7","id":"50","text":"x"}}`, "7 post-id 50; 7 pseudonymous-id 7; 7 username ada"},
	{"a post of which the author is not asked for", platform.X, "POST /2/tweets", `{"data":{"id":"50","text":"hello"}}`, " post-id 50"},
	{"messages", platform.X, "GET /2/dm_events", `{"data":[{"id":"60","text":"call 0151 1234567","sender_id":"7","participant_ids":["7","8"],"dm_conversation_id":"7-8","referenced_tweets":[{"id":"30"}]}]}`,
		" post-id 30; 7 message-id 60; 7 pseudonymous-id 7; 7 pseudonymous-id 7; 8 pseudonymous-id 8"},
	{"a message that was sent", platform.X, "POST /2/dm_conversations/with/{participant_id}/messages", `{"data":{"dm_event_id":"60","dm_conversation_id":"7-8"}}`, " message-id 60"},
	{"a stream", platform.X, "GET /2/tweets/search/stream", `{"data":{"id":"50","author_id":"7"},"matching_rules":[{"id":"9","tag":"ada"}]}` + "\r\n\r\n" + `{"data":{"id":"51"}}`, " post-id 51; 7 post-id 50; 7 pseudonymous-id 7"},
	{"activity", platform.X, "GET /2/activity/stream", `{"data":{"event_type":"follow.follow","filter":{"user_id":"7"},"payload":{"source":{"id":"7","username":"ada"},"target":{"id":"8"}}}}{"data":{"payload":{"id":"50","text":"x","author_id":"7"}}}{"data":{"payload":{"name":"B","id":"8","username":"bob"}}}`,
		"7 post-id 50; 7 pseudonymous-id 7; 7 pseudonymous-id 7; 7 pseudonymous-id 7; 7 username ada; 8 name B; 8 pseudonymous-id 8; 8 pseudonymous-id 8; 8 username bob"},
	{"spaces and lists", platform.X, "GET /2/spaces", `{"data":[{"id":"1x","title":"ada","creator_id":"7","host_ids":["8"]},{"id":"5","name":"Friends","owner_id":"9"}]}`, "7 pseudonymous-id 7; 8 pseudonymous-id 8; 9 pseudonymous-id 9"},
	{"an unknown operation", platform.X, "GET unknown", `{"data":[{"id":"7","username":"ada"},{"id":"50","text":"x"},{"id":"9","name":"n"}]}`, " post-id 50; 7 pseudonymous-id 7; 7 username ada"},
	{"errors", platform.X, "GET /2/users", `{"errors":[{"value":"7","resource_id":"7","id":"7","username":"ada"}]}`, ""},
	{"what is no id of X", platform.X, "GET /2/users/me", `{"data":{"id":"007","pinned_tweet_id":"x","author_id":-1,"most_recent_tweet_id":1.5}}`, ""},
	{"what is no address, name or mail", platform.X, "GET /2/users/me", `{"data":{"id":"7","url":"ada.example","name":" ","confirmed_email":"ada","username":"a b","profile_image_url":5}}`, "7 pseudonymous-id 7"},

	{"me on Facebook", platform.Facebook, "GET /me", `{"name":"Ada L","first_name":"Ada","email":"ada\u0040people.example","picture":{"data":{"height":50,"url":"https:\/\/look.example\/p?asid=100"}},"link":"https://www.facebook.com/app_scoped_user_id/100/","about":"100","location":{"id":"5","name":"London"},"id":"100"}`,
		"100 email ada@people.example; 100 name Ada; 100 name Ada L; 100 profile-link https://look.example/p?asid=100; 100 profile-link https://www.facebook.com/app_scoped_user_id/100/; 100 pseudonymous-id 100"},
	{"a node that is asked for without fields", platform.Facebook, "GET /{id}", `{"name":"A page","id":"200"}`, "200 name A page; 200 pseudonymous-id 200"},
	{"a picture, whose name is a caption", platform.Facebook, "GET /{id}", `{"created_time":"2026-01-01T00:00:00+0000","name":"Ada at the sea","id":"300"}`, " post-id 300"},
	{"an ad, whose name is nobody's", platform.Facebook, "GET /{id}", `{"name":"Summer","status":"PAUSED","id":"400"}`, ""},
	{"a bare id", platform.Facebook, "GET /{id}", `{"id":"500"}`, ""},
	{"pages", platform.Facebook, "GET /me/accounts", `{"data":[{"category":"Shop","category_list":[{"id":"1","name":"Shop"}],"name":"A page","id":"200","phone":"+49 151 1","emails":["shop@people.example"],"website":"https://shop.example"}],"paging":{"cursors":{"before":"100"}}}`,
		"200 email shop@people.example; 200 name A page; 200 phone +49 151 1; 200 profile-link https://shop.example; 200 pseudonymous-id 200"},
	{"a feed", platform.Facebook, "GET /{id}/feed", `{"data":[{"message":"100 says hi","from":{"name":"Ada","id":"100"},"to":{"data":[{"name":"A page","id":"200"}]},"permalink_url":"https://www.facebook.com/200/posts/1","link":"https://news.example","picture":"https://news.example/i.jpg","comments":{"data":[{"message":"x","from":{"id":"101","name":"Bob"},"id":"1_9"}],"summary":{"total_count":1}},"likes":{"data":[{"id":"102","name":"Cleo"}]},"shares":{"count":200},"id":"200_1"}]}`,
		"100 name Ada; 100 post-id 200_1; 100 profile-link https://www.facebook.com/200/posts/1; 100 pseudonymous-id 100; 101 name Bob; 101 post-id 1_9; 101 pseudonymous-id 101; 102 name Cleo; 102 pseudonymous-id 102; 200 name A page; 200 pseudonymous-id 200"},
	{"a post that was made", platform.Facebook, "POST /{id}/feed", `{"id":"200_1"}`, " post-id 200_1"},
	{"a picture that was published", platform.Facebook, "POST /{id}/photos", `{"id":"300","post_id":"200_1"}`, " post-id 200_1; " + " post-id 300"},
	{"what was changed", platform.Facebook, "POST /{id}", `{"success":true,"id":"300"}`, ""},
	{"nested edges", platform.Facebook, "GET /me", `{"posts":{"data":[{"message":"m","id":"100_1","from":{"id":"100"}}]},"name":"Ada","id":"100","unknown_edge":{"data":[{"id":"5","name":"thing"},{"id":"6","username":"u"}]}}`,
		"100 name Ada; 100 post-id 100_1; 100 pseudonymous-id 100; 100 pseudonymous-id 100; 6 pseudonymous-id 6; 6 username u"},
	{"ids=", platform.Facebook, "GET /{id}", `{"100":{"name":"Ada","id":"100"},"101":{"id":"101","name":"Bob"}}`, "100 name Ada; 100 pseudonymous-id 100; 101 name Bob; 101 pseudonymous-id 101"},
	{"ids= with an edge", platform.Facebook, "GET /{id}/comments", `{"100":{"data":[{"id":"1_9","from":{"id":"101"}}]}}`, "101 post-id 1_9; 101 pseudonymous-id 101"},
	{"an unknown member is no id", platform.Facebook, "GET /{id}", `{"best_thing":{"name":"Ada","id":"100"}}`, ""},
	{"tags say what they are", platform.Facebook, "GET /{id}/posts", `{"data":[{"id":"200_1","message_tags":[{"id":"100","name":"Ada","type":"user"},{"id":"9","name":"A party","type":"event"}]}]}`, " post-id 200_1; 100 name Ada; 100 pseudonymous-id 100"},
	{"who is in a picture", platform.Facebook, "GET /{id}/tags", `{"data":[{"id":"100","name":"Ada","created_time":"2026","x":1.5},{"id":"1789"}]}`, " post-id 1789; 100 name Ada; 100 pseudonymous-id 100"},
	{"conversations", platform.Facebook, "GET /{id}/conversations", `{"data":[{"id":"t_1","participants":{"data":[{"name":"Ada","email":"100@facebook.com","id":"100"}]},"messages":{"data":[{"message":"my id is 7","from":{"id":"100"},"id":"m_9","attachments":{"data":[{"id":"3","name":"ada.pdf"}]}}]}}]}`,
		" message-id t_1; 100 email 100@facebook.com; 100 message-id m_9; 100 name Ada; 100 pseudonymous-id 100; 100 pseudonymous-id 100"},
	{"a message by its id", platform.Facebook, "GET /{id}", `{"created_time":"2026","from":{"id":"100"},"message":"x","id":"m_9"}`, "100 message-id m_9; 100 pseudonymous-id 100"},
	{"a message that was sent", platform.Facebook, "POST /me/messages", `{"recipient_id":"100","message_id":"mid.1"}`, " message-id mid.1; 100 pseudonymous-id 100"},
	{"WhatsApp", platform.Facebook, "POST /{id}/messages", `{"messaging_product":"whatsapp","contacts":[{"input":"+49151","wa_id":"49151"}],"messages":[{"id":"wamid.x="}]}`, " message-id wamid.x=; " + " phone 49151"},
	{"leads", platform.Facebook, "GET /{id}/leads", `{"data":[{"created_time":"2026","field_data":[{"name":"email","values":["ada@people.example"]},{"values":["+49 151"],"name":"PHONE_NUMBER"},{"name":"full_name","values":["Ada L"]},{"name":"who_is_it?","values":["bob@people.example"]},{"name":"work_email","values":["nobody"]}],"id":"700"}]}`,
		"700 email ada@people.example; 700 name Ada L; 700 phone +49 151; 700 pseudonymous-id 700"},
	{"a lead by its id", platform.Facebook, "GET /{id}", `{"id":"700","created_time":"2026","field_data":[{"name":"first_name","values":["Ada"]}]}`, "700 name Ada; 700 pseudonymous-id 700"},
	{"a lead form", platform.Facebook, "GET /{id}/leadgen_forms", `{"data":[{"id":"710","name":"Ask us","status":"ACTIVE","questions":[{"key":"email"}]}]}`, ""},
	{"debug_token", platform.Facebook, "GET /debug_token", `{"data":{"app_id":"9","application":"main","type":"USER","is_valid":true,"user_id":"100","scopes":["email"]}}`, "100 pseudonymous-id 100"},
	{"a profile picture", platform.Facebook, "GET /{id}/picture", `{"data":{"url":"https://look.example/p","height":50}}`, " profile-link https://look.example/p"},
	{"places", platform.Threads, "GET /location_search", `{"data":[{"id":"5","name":"Café","username":"cafe"}]}`, ""},
	{"pages that were searched", platform.Facebook, "GET /pages/search", `{"data":[{"id":"200","name":"A page","location":{"id":"5","username":"x"}}]}`, "200 name A page; 200 pseudonymous-id 200"},
	{"insights", platform.Facebook, "GET /{id}/insights", `{"data":[{"name":"page_fans","id":"200/insights/page_fans/day","values":[{"value":7}]}]}`, ""},
	{"errors of the Graph", platform.Facebook, "GET /me", `{"error":{"message":"100","id":"100","name":"Ada"}}`, ""},
	{"two ids", platform.Facebook, "GET /me", `{"id":"100","name":"Ada","id":"101"}`, " name Ada; 100 pseudonymous-id 100; 101 pseudonymous-id 101"},

	{"me on Instagram", platform.Instagram, "GET /me", `{"user_id":"178","username":"ada","name":"Ada","profile_picture_url":"https://cdn.example/1.jpg","biography":"bob@people.example","website":"https://ada.example","ig_id":99,"id":"200"}`,
		"200 name Ada; 200 profile-link https://ada.example; 200 profile-link https://cdn.example/1.jpg; 200 pseudonymous-id 178; 200 pseudonymous-id 200; 200 pseudonymous-id 99; 200 username ada"},
	{"media", platform.Instagram, "GET /me/media", `{"data":[{"id":"17","caption":"@bob 178","media_type":"IMAGE","permalink":"https://www.instagram.com/p/S/","username":"ada","owner":{"id":"178"},"media_url":"https://cdn.example/x.jpg","ig_id":"31","comments":{"data":[{"id":"18","text":"hi","username":"bob","from":{"id":"179","username":"bob"}}]}}]}`,
		"178 post-id 17; 178 post-id 31; 178 profile-link https://www.instagram.com/p/S/; 178 pseudonymous-id 178; 178 username ada; 179 post-id 18; 179 pseudonymous-id 179; 179 username bob; 179 username bob"},
	{"media by its id", platform.Instagram, "GET /{id}", `{"id":"17","username":"ada","media_type":"IMAGE"}`, " post-id 17; " + " username ada"},
	{"bare media", platform.Instagram, "GET /{id}/media", `{"data":[{"id":"17"}]}`, " post-id 17"},
	{"another account", platform.Facebook, "GET /{id}", `{"business_discovery":{"username":"ada","followers_count":5,"id":"178"},"id":"200"}`, "178 pseudonymous-id 178; 178 username ada"},
	{"threads", platform.Threads, "GET /me/threads", `{"data":[{"id":"50","owner":{"id":"100"},"username":"ada","text":"#7","permalink":"https://www.threads.net/@ada/post/S","root_post":{"id":"40"},"replied_to":{"id":"41"}}]}`,
		" post-id 40; " + " post-id 41; 100 post-id 50; 100 profile-link https://www.threads.net/@ada/post/S; 100 pseudonymous-id 100; 100 username ada"},
	{"a profile on Threads", platform.Threads, "GET /me", `{"id":"100","username":"ada","threads_profile_picture_url":"https://cdn.example/t.jpg","threads_biography":"mail@people.example"}`, "100 profile-link https://cdn.example/t.jpg; 100 pseudonymous-id 100; 100 username ada"},

	{"escapes", platform.X, "GET /2/users/me", `{"d\u0061ta":{"\u0069d":"\u0037","name":"\ud83d\ude00\u00e9\n\"\\\/","username":"\u0061da"}}`, "7 name 😀é\n\"\\/; 7 pseudonymous-id 7; 7 username ada"},
	{"surrogates and bytes that are none", platform.X, "GET /2/users/me", "{\"data\":{\"id\":\"7\",\"name\":\"\\ud83d\xff\xc3\"}}", "7 name \ufffd\ufffd\ufffd; 7 pseudonymous-id 7"},
	{"values that are too long", platform.X, "GET /2/users/me", `{"data":{"name":"` + strings.Repeat("a", 3000) + `","username":"ada","id":"7"}}`, "7 pseudonymous-id 7; 7 username ada"},
	{"names that are too long", platform.X, "GET /2/users/me", `{"data":{"` + strings.Repeat("a", 3000) + `":{"mentions":[{"id":"8"}]},"id":"7"}}`, "7 pseudonymous-id 7; 8 pseudonymous-id 8"},
	{"cut off", platform.X, "GET /2/users/me", `{"data":{"username":"ada","id":"7","name":"Ad`, "7 pseudonymous-id 7; 7 username ada"},
	{"too deep", platform.X, "GET /2/users", `{"data":` + strings.Repeat(`[`, 300) + `{"id":"1"}` + strings.Repeat(`]`, 300) + `}{"data":{"id":"2"}}`, "2 pseudonymous-id 2"},
	{"not JSON", platform.Facebook, "GET /me", `}]"id":"1",{"id" "2" "name":]}`, ""},
	{"an id that is a list or an object", platform.Facebook, "GET /me", `{"id":["1"],"name":{"x":"Ada"},"email":{"name":"n"}}`, ""},
}

func TestPeopleInReplies(t *testing.T) {
	for _, test := range peopleCases {
		got := people(test.platform, test.operation, []byte(test.reply))
		slices.Sort(got)
		if joined := strings.Join(got, "; "); joined != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, joined, test.want)
		}
	}
}

// How a reply is cut into pieces never changes what is found in it, or in which
// order.
func TestPeopleDoNotDependOnChunks(t *testing.T) {
	for _, test := range append(peopleCases, waitingCases()...) {
		reply := []byte(test.reply)
		want := people(test.platform, test.operation, reply)
		step := 1 + len(reply)/2000
		for at := 0; at < len(reply); at += step {
			if got := people(test.platform, test.operation, reply[:at], reply[at:]); !slices.Equal(got, want) {
				t.Fatalf("%s, cut at %d:\n got %q\nwant %q", test.name, at, got, want)
			}
		}
		for range 20 {
			if got := people(test.platform, test.operation, pieces(reply)...); !slices.Equal(got, want) {
				t.Fatalf("%s, in pieces:\n got %q\nwant %q", test.name, got, want)
			}
		}
	}
}

// Where the time of a waiting value runs out in the middle of what would say whose
// it is, a cut there changes nothing.
func TestWaitingDoesNotDependOnChunks(t *testing.T) {
	told := map[string]bool{}
	for near := range 48 {
		reply := []byte(`{"email":"a@people.example","about":"` + strings.Repeat("x", 64<<10-64+near) + `","id":"7777777777","link":{"x":[1]}}`)
		want := people(platform.Facebook, "GET /me", reply)
		told[want[0]] = true
		for at := len(reply) - 60; at < len(reply); at++ {
			if got := people(platform.Facebook, "GET /me", reply[:at], reply[at:]); !slices.Equal(got, want) {
				t.Fatalf("cut %d bytes before the end: %q, whole: %q", len(reply)-at, got, want)
			}
		}
	}
	if len(told) != 2 {
		t.Errorf("the first value is always %v", told)
	}
}

// waitingCases are replies in which more waits than may, or for longer.
func waitingCases() []peopleCase {
	far := strings.Repeat("x", 70<<10)
	var many strings.Builder
	for i := range 600 {
		fmt.Fprintf(&many, `"e%d",`, i)
	}
	return []peopleCase{
		{"an id that comes late", platform.Facebook, "GET /me", `{"email":"a@people.example","about":"` + far + `","first_name":"Ada","id":"7"}`,
			" email a@people.example; 7 name Ada; 7 pseudonymous-id 7"},
		{"an id that came before", platform.Facebook, "GET /me", `{"id":"7","email":"a@people.example","about":"` + far + `"}`, "7 email a@people.example; 7 pseudonymous-id 7"},
		{"one within another", platform.Facebook, "GET /me", `{"email":"a@people.example","likes":{"data":[{"name":"Bob","about":"` + far + `","id":"8"}]},"id":"7"}`,
			" email a@people.example; " + " name Bob; 7 pseudonymous-id 7; 8 pseudonymous-id 8"},
		{"a field of a lead", platform.Facebook, "GET /{id}", `{"id":"700","field_data":[{"name":"email","values":["a@people.example","` + far + `"]}]}`,
			"700 email a@people.example; 700 pseudonymous-id 700"},
		{"a picture", platform.Facebook, "GET /me", `{"id":"7","picture":{"data":{"url":"https://look.example/p","x":"` + far + `"}}}`, "7 profile-link https://look.example/p; 7 pseudonymous-id 7"},
		{"many", platform.Facebook, "GET /me", `{"emails":[` + strings.ReplaceAll(strings.TrimSuffix(many.String(), ","), `"e`, `"e@`) + `],"id":"7"}`, ""},
	}
}

func TestPeopleThatWait(t *testing.T) {
	for _, test := range waitingCases() {
		got := people(test.platform, test.operation, []byte(test.reply))
		if test.name == "many" {
			owned := 0
			for _, one := range got {
				if strings.HasPrefix(one, "7 email") {
					owned++
				}
			}
			if len(got) != 601 || owned == 0 || owned == 600 {
				t.Errorf("of 600 values %d were told, %d of them with their person", len(got)-1, owned)
			}
			continue
		}
		slices.Sort(got)
		if joined := strings.Join(got, "; "); joined != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, joined, test.want)
		}
	}
}

// What Pending lets pass holds no value that was not told before, and what passed
// once is never asked back.
func TestPendingHoldsWhatIsNotTold(t *testing.T) {
	reply := []byte(`{"data":[{"username":"adalovelace","description":"nothing","id":"777"},{"author_id":888,"id":"999","pinned_tweet_id":555}]}`)
	all := [][][]byte{{reply}}
	single := make([][]byte, len(reply))
	for at := range reply {
		all = append(all, [][]byte{reply[:at], reply[at:]})
		single[at] = reply[at : at+1]
	}
	for range 100 {
		all = append(all, pieces(reply))
	}
	for _, cut := range append(all, single) {
		w := platform.NewPeople(platform.X, "GET /2/users")
		told, seen, passed := "", 0, 0
		for _, piece := range cut {
			_, _ = w.Write(piece)
			seen += len(piece)
			for _, f := range w.Take() {
				told += f.Value + " "
			}
			if seen-w.Pending() < passed {
				t.Fatalf("%d bytes passed, and of %d now %d are pending", passed, seen, w.Pending())
			}
			passed = seen - w.Pending()
			for _, v := range []string{"adalovelace", "777", "888", "999", "555"} {
				if bytes.Contains(reply[:passed], []byte(v)) && !strings.Contains(told, v) {
					t.Fatalf("%s may pass and was not told: %s", v, reply[:passed])
				}
			}
		}
		if passed != len(reply) {
			t.Fatalf("%d bytes of %d passed", passed, len(reply))
		}
	}
	// It is bounded, however late the end of the object comes.
	w := platform.NewPeople(platform.X, "GET /2/users/me")
	_, _ = w.Write([]byte(`{"data":{"username":"ada","description":"`))
	for range 100 {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 10<<10))
		if n := w.Pending(); n > 80<<10 {
			t.Fatalf("%d bytes are pending", n)
		}
	}
	if got := w.Take(); len(got) != 1 || got[0] != (platform.Identity{Class: platform.ClassUsername, Value: "ada"}) {
		t.Errorf("told is %v", got)
	}
}

func TestPeopleAreTakenOnce(t *testing.T) {
	w := platform.NewPeople(platform.X, "GET /2/users/me")
	_, _ = w.Write([]byte(`{"data":{"id":"7"}}`))
	if n := len(w.Take()); n != 1 {
		t.Fatalf("%d were taken", n)
	}
	w.Settle()
	if got := w.Take(); len(got) != 0 {
		t.Errorf("%v was told again", got)
	}
}

// FuzzPeople looks for replies in which the pieces matter, and for values that no
// reader of the reply would get.
func FuzzPeople(f *testing.F) {
	for i, test := range peopleCases {
		if len(test.reply) < 600 {
			f.Add([]byte(test.reply), uint16(7*i), uint8(i))
		}
	}
	operations := []struct {
		p  platform.Name
		op string
	}{
		{platform.X, "GET /2/users"}, {platform.X, "GET /2/tweets"}, {platform.X, "GET /2/dm_events"}, {platform.X, "GET unknown"},
		{platform.Facebook, "GET /me"}, {platform.Facebook, "GET /{id}"}, {platform.Facebook, "GET /{id}/feed"}, {platform.Facebook, "GET /{id}/leads"},
		{platform.Instagram, "GET /me/media"}, {platform.Threads, "GET /me/threads"},
	}
	f.Fuzz(func(t *testing.T, reply []byte, cut uint16, which uint8) {
		o := operations[int(which)%len(operations)]
		at := int(cut) % (len(reply) + 1)
		whole := people(o.p, o.op, reply)
		if got := people(o.p, o.op, reply[:at], reply[at:]); !slices.Equal(got, whole) {
			t.Fatalf("cut at %d: %q, whole: %q", at, got, whole)
		}
		if !json.Valid(reply) {
			return
		}
		known := map[string]bool{"": true}
		d := json.NewDecoder(bytes.NewReader(reply))
		d.UseNumber()
		for token, err := d.Token(); err == nil; token, err = d.Token() {
			known[fmt.Sprint(token)] = true
		}
		for _, one := range whole {
			if parts := strings.SplitN(one, " ", 3); !known[parts[2]] || !known[parts[0]] {
				t.Fatalf("%q does not stand in the reply", one)
			}
		}
	})
}

// searchReply is what X answers to a search, of about so many bytes.
func searchReply(size int) []byte {
	var reply bytes.Buffer
	reply.WriteString(`{"data":[`)
	for i := 0; reply.Len() < size*9/10; i++ {
		if i > 0 {
			reply.WriteByte(',')
		}
		fmt.Fprintf(&reply, `{"id":"18000000000000%05d","text":"A post of an ordinary length that says something about the day, “quoted” and a link https://t.co/abcdefghij","author_id":"22449%05d","created_at":"2026-05-04T03:02:01.000Z","edit_history_tweet_ids":["18000000000000%05d"],"conversation_id":"18000000000000%05d","lang":"en","public_metrics":{"retweet_count":1,"reply_count":2,"like_count":3,"quote_count":0,"bookmark_count":4,"impression_count":500},"entities":{"mentions":[{"start":0,"end":4,"username":"somebody","id":"999%05d"}]}}`, i, i, i, i, i)
	}
	reply.WriteString(`],"includes":{"users":[`)
	for i := 0; reply.Len() < size; i++ {
		if i > 0 {
			reply.WriteByte(',')
		}
		fmt.Fprintf(&reply, `{"username":"user%05d","id":"22449%05d","name":"Somebody No. %d","description":"Engines, numbers, long walks. Opinions are mine","profile_image_url":"https://pbs.example/profile_images/22449%05d/normal.png"}`, i, i, i, i)
	}
	reply.WriteString(`]},"meta":{"result_count":100}}`)
	return reply.Bytes()
}

func BenchmarkPeople(b *testing.B) {
	reply := searchReply(1 << 20)
	b.SetBytes(int64(len(reply)))
	b.ReportAllocs()
	w := platform.NewPeople(platform.X, "GET /2/tweets/search/recent")
	values := 0
	for range b.N {
		values = 0
		for at := 0; at < len(reply); at += 32 << 10 {
			_, _ = w.Write(reply[at:min(at+32<<10, len(reply))])
			values += len(w.Take())
		}
	}
	b.ReportMetric(float64(values), "values/op")
}

// What somebody enters in a form is told apart from who has an account.
func TestEnteredIdentities(t *testing.T) {
	for reply, want := range map[string]bool{
		`{"data":[{"field_data":[{"name":"email","values":["ada@people.example"]}],"id":"700"}]}`: true,
		`{"data":[{"first_name":"Ada","email":"ada@people.example","id":"700"}]}`:                 false,
	} {
		w := platform.NewPeople(platform.Facebook, "GET /{id}")
		_, _ = w.Write([]byte(reply))
		w.Settle()
		found := w.Take()
		if len(found) < 2 {
			t.Errorf("%s: %v", reply, found)
		}
		for _, v := range found {
			if v.Entered != want {
				t.Errorf("%s: %+v", reply, v)
			}
		}
	}
}

// What platforms send by themselves tells of people, too.
func TestPeopleOfEvents(t *testing.T) {
	for _, c := range []struct {
		platform    platform.Name
		event, want string
	}{
		{platform.X, `{"data":{"event_uuid":"u-1","event_type":"post.create","filter":{"user_id":"111"},"payload":{"id":"222","text":"hi","author_id":"111"}}}`,
			"111 post-id 222; 111 pseudonymous-id 111; 111 pseudonymous-id 111"},
		{platform.X, `{"data":{"event_type":"follow.follow","payload":{"source":{"id":"111","username":"ada","name":"Ada L"},"target":{"id":"333","username":"bob"}}}}`,
			"111 name Ada L; 111 pseudonymous-id 111; 111 username ada; 333 pseudonymous-id 333; 333 username bob"},
		{platform.X, `{"data":{"event_type":"dm.received","payload":{"dm_event_id":"444","sender_id":"555","participant_ids":["111","555"],"text":"x"}}}`,
			" message-id 444; 111 pseudonymous-id 111; 555 pseudonymous-id 555; 555 pseudonymous-id 555"},
		{platform.X, `{"for_user_id":"111","tweet_create_events":[{"id_str":"222","text":"hi","user":{"id_str":"333","screen_name":"bob","name":"Bob B"}}]}`,
			"111 pseudonymous-id 111; 333 name Bob B; 333 post-id 222; 333 pseudonymous-id 333; 333 username bob"},
		{platform.X, `{"direct_message_events":[{"message_create":{"target":{"recipient_id":"777"},"sender_id":"888","message_data":{"text":"Hello"}}}],"users":{"888":{"id":"888","name":"Jo Do","screen_name":"jodo"}}}`,
			"777 pseudonymous-id 777; 888 name Jo Do; 888 pseudonymous-id 888; 888 pseudonymous-id 888; 888 username jodo"},
		{platform.Facebook, `{"id":"900","messaging":[{"sender":{"id":"701"},"recipient":{"id":"900"},"message":{"mid":"m_abcdefgh","text":"hello"}}]}`,
			" message-id m_abcdefgh; 701 pseudonymous-id 701; 900 pseudonymous-id 900; 900 pseudonymous-id 900"},
		{platform.Facebook, `{"uid":"700","id":"700","changed_fields":["email"]}`, "700 pseudonymous-id 700; 700 pseudonymous-id 700"},
		{platform.Facebook, `{"id":"900","changes":[{"field":"feed","value":{"from":{"id":"701","name":"Ada L"},"post_id":"900_800","message":"x"}}]}`,
			" post-id 900_800; 701 name Ada L; 701 pseudonymous-id 701; 900 pseudonymous-id 900"},
		{platform.Instagram, `{"id":"900","changes":[{"field":"comments","value":{"from":{"id":"701","username":"ada.l"},"id":"178","text":"x"}}]}`,
			"701 post-id 178; 701 pseudonymous-id 701; 701 username ada.l; 900 pseudonymous-id 900"},
	} {
		w := platform.NewPeopleOfEvent(c.platform)
		_, _ = w.Write([]byte(c.event))
		w.Settle()
		var got []string
		for _, f := range w.Take() {
			got = append(got, f.Person+" "+f.Class+" "+f.Value)
		}
		slices.Sort(got)
		if joined := strings.Join(got, "; "); joined != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.event, joined, c.want)
		}
	}
}
