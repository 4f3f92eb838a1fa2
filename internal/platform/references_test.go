package platform_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/platform"
)

// references returns what a reply in the given pieces speaks of, as "post:1".
func references(operation string, pieces ...[]byte) []string {
	r := platform.NewReferences(operation)
	var out []string
	for _, p := range pieces {
		_, _ = r.Write(p)
		for _, f := range r.Take() {
			out = append(out, fmt.Sprint(f.Kind, ":", f.ID))
		}
	}
	return out
}

func TestReferencesInReplies(t *testing.T) {
	for _, test := range []struct {
		name, operation, reply string
		want                   string
	}{
		{"one post", "GET /2/tweets/{id}", `{"data":{"id":"12","text":"id 99","edit_history_tweet_ids":["11","12"],"author_id":"7"}}`, "post:12 post:11 post:12 user:7"},
		{"posts", "GET /2/tweets", `{"data":[{"id":"1"},{"id":"2","in_reply_to_user_id":"3","conversation_id":"4","referenced_tweets":[{"type":"quoted","id":"5"}]}],"meta":{"newest_id":"1"}}`,
			"post:1 post:2 user:3 post:4 post:5"},
		{"users", "GET /2/users/{id}/followers", `{"data":[{"id":"1","username":"a","pinned_tweet_id":"9","most_recent_post_id":"8"}],"includes":{"tweets":[{"id":"9","text":"x"}]}}`, "user:1 post:9 post:8 post:9"},
		{"expansions", "GET /2/tweets/{id}", `{"includes":{"users":[{"id":"3"}],"posts":[{"id":"4"}],"media":[{"media_key":"3_5","id":"6"}],"polls":[{"id":"7"}],"places":[{"id":"8"}]}}`, "user:3 post:4"},
		{"mentions", "GET /2/tweets/{id}", `{"data":{"entities":{"mentions":[{"start":1,"username":"a","id":"6"}],"urls":[{"id":"7"}]}}}`, "user:6"},
		{"messages", "GET /2/dm_events", `{"data":[{"id":"50","text":"x","sender_id":"1","participant_ids":["1","2"],"dm_conversation_id":"1-2","referenced_tweets":[{"id":"3"}]}]}`, "user:1 user:1 user:2 post:3"},
		{"spaces", "GET /2/spaces", `{"data":[{"id":"1x","creator_id":"2","host_ids":["2"],"speaker_ids":["3"],"invited_user_ids":["4"]}]}`, "user:2 user:2 user:3 user:4"},
		{"lists", "GET /2/users/{id}/owned_lists", `{"data":[{"id":"1","owner_id":"2"}]}`, "user:2"},
		{"a chat", "GET /2/chat/conversations/{id}/events", `{"data":[{"id":"1","conversation_id":"2","sender_id":"3"}]}`, "user:3"},
		{"a stream", "GET /2/tweets/search/stream", `{"data":{"id":"1"},"matching_rules":[{"id":"9"}]}` + "\r\n\r\n" + `{"data":{"id":"2"}}`, "post:1 post:2"},
		{"activity", "GET /2/activity/stream", `{"data":{"event_type":"post.create","filter":{"user_id":"5"},"payload":{"id":"1","text":"a"}}}{"data":{"payload":{"username":"b","id":"2"}}}{"data":{"payload":{"id":"3","liked_tweet_id":"4"}}}`,
			"user:5 post:1 user:2 post:4"},
		{"numbers", "GET /2/users/me", `{"data":{"id":17,"pinned_tweet_id":18}}`, "user:17 post:18"},
		{"escapes", "GET /2/users/me", `{"d\u0061ta":{"\u0069d":"\u0031\u0037"}}`, "user:17"},
		{"an article", "POST /2/articles/{article_id}/publish", `{"data":{"post_id":"5"}}`, "post:5"},
		{"the largest", "GET /2/users/me", `{"data":{"id":"9223372036854775807"}}`, "user:9223372036854775807"},

		{"errors", "GET /2/tweets", `{"errors":[{"resource_id":"5","tweet_id":"6","id":"7"}]}`, ""},
		{"texts", "GET /2/tweets/{id}", `{"data":{"text":"{\"data\":{\"id\":\"1\"}}","source":"author_id\":\"5"}}`, ""},
		{"no numbers", "GET /2/users/me", `{"data":{"id":"12a","pinned_tweet_id":"-3","most_recent_tweet_id":"007","author_id":""}}`, ""},
		{"fractions", "GET /2/users/me", `{"data":{"id":1.5,"author_id":1e3,"owner_id":-4}}`, ""},
		{"too large", "GET /2/users/me", `{"data":{"id":"9223372036854775808"}}`, ""},
		{"too long", "GET /2/users/me", `{"data":{"id":"` + strings.Repeat("1", 400) + `"}}`, ""},
		{"an object", "GET /2/users/me", `{"data":{"id":{"id":"4"}}}`, ""},
		{"empty", "GET /2/users/me", ``, ""},
		{"too deep", "GET /2/tweets", `{"data":` + strings.Repeat(`[`, 300) + `{"id":"1"}` + strings.Repeat(`]`, 300) + `}{"data":{"id":"2"}}`, "post:2"},
	} {
		if got := strings.Join(references(test.operation, []byte(test.reply)), " "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// How a reply is cut into pieces never changes what is found in it.
func TestReferencesDoNotDependOnChunks(t *testing.T) {
	reply := []byte(`{"data":[{"id":"1234567890123456789","text":"a \"quoted\\\" id\":\"5\"","author_id":17,"\u0065ntities":{"mentions":[{"id":"\u00316"}]}}],` +
		`"includes":{"users":[{"id":"17","username":"x"}]},"errors":[{"id":"3"}]}` + "\r\n" + `{"data":[{"edit_history_tweet_ids":["8","9"]}]}`)
	want := references("GET /2/tweets", reply)
	if len(want) != 6 {
		t.Fatalf("found %v", want)
	}
	for at := range reply {
		if got := references("GET /2/tweets", reply[:at], reply[at:]); !slices.Equal(got, want) {
			t.Fatalf("cut at %d: %v, want %v", at, got, want)
		}
	}
	for range 200 {
		if got := references("GET /2/tweets", pieces(reply)...); !slices.Equal(got, want) {
			t.Fatalf("in pieces: %v, want %v", got, want)
		}
	}
}

func pieces(b []byte) [][]byte {
	var out [][]byte
	for len(b) > 0 {
		n := 1 + rand.IntN(min(len(b), 9))
		out = append(out, b[:n])
		b = b[n:]
	}
	return out
}

// Every operation of the lists is one of X's.
func TestReferenceOperationsExist(t *testing.T) {
	for _, call := range []string{"GET /2/tweets/{id}", "GET /2/users/{id}/bookmarks/folders/{folder_id}", "GET /2/users/by/username/{username}"} {
		if _, err := platform.NormalizeCall(platform.X, call); err != nil {
			t.Errorf("%s: %v", call, err)
		}
	}
	for _, call := range platform.ReferenceOperations() {
		if name, err := platform.NormalizeCall(platform.X, call); err != nil || name != call {
			t.Errorf("%s is named %q, %v", call, name, err)
		}
	}
}

func FuzzReferences(f *testing.F) {
	for _, s := range []string{
		`{"data":[{"id":"1","text":"x","author_id":"2"}],"includes":{"users":[{"id":"2"}]}}`, `{"data":{"payload":{"id":"1","text":""}}}`, `]}"\`, `{"data":{"id":1`,
	} {
		f.Add([]byte(s), uint16(3))
	}
	f.Fuzz(func(t *testing.T, reply []byte, cut uint16) {
		at := int(cut) % (len(reply) + 1)
		whole := references("GET /2/tweets", reply)
		if got := references("GET /2/tweets", reply[:at], reply[at:]); !slices.Equal(got, whole) {
			t.Fatalf("cut at %d: %v, whole: %v", at, got, whole)
		}
		for _, one := range whole {
			_, digits, _ := strings.Cut(one, ":")
			if !bytes.Contains(reply, []byte(digits)) && !bytes.ContainsRune(reply, '\\') {
				t.Fatalf("%s does not stand in the reply", one)
			}
		}
	})
}

func BenchmarkReferences(b *testing.B) {
	var reply bytes.Buffer
	reply.WriteString(`{"data":[`)
	for i := range 100 {
		if i > 0 {
			reply.WriteByte(',')
		}
		fmt.Fprintf(&reply, `{"id":"18000000000000%05d","text":"A post of an ordinary length that says something about the day, and a link https://t.co/abcdefghij","author_id":"22449%05d","created_at":"2026-05-04T03:02:01.000Z","edit_history_tweet_ids":["18000000000000%05d"],"public_metrics":{"retweet_count":1,"reply_count":2,"like_count":3}}`, i, i, i)
	}
	reply.WriteString(`]}`)
	b.SetBytes(int64(reply.Len()))
	b.ReportAllocs()
	for range b.N {
		r := platform.NewReferences("GET /2/tweets")
		_, _ = r.Write(reply.Bytes())
		if len(r.Take()) != 300 {
			b.Fatal("not all were found")
		}
	}
}
