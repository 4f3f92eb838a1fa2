package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/gateway"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

type shapes = map[string]policy.Shape

// bounded are purposes whose calls have contracts.
func bounded(t testing.TB, mode policy.Mode) *policy.Set {
	t.Helper()
	id := policy.Shape{Pattern: "[0-9]{1,19}"}
	calls := func(p platform.Name, list ...policy.Call) []policy.Call {
		for i := range list {
			op, err := platform.NormalizeCall(p, string(list[i].Operation))
			if err != nil {
				t.Fatal(err)
			}
			list[i].Operation = gatehouse.Operation(op)
		}
		return list
	}
	list := purposes()
	list[0].Calls = calls(platform.X,
		policy.Call{Operation: "GET /2/users/me", Params: shapes{}, Fields: []string{"id", "username", "public_metrics.followers_count", "includes.tweets.text"}},
		policy.Call{Operation: "POST /2/tweets", Fields: []string{"id"}, Body: shapes{
			"text": {Type: policy.Text, Max: 20, Required: true}, "reply.in_reply_to_tweet_id": id, "nullcast": {Type: policy.Boolean},
			"poll.options": {Type: policy.List, Entries: 2, Max: 5}, "poll.duration_minutes": {Type: policy.Number, Min: 5, Max: 60},
			"reply_settings": {OneOf: []string{"following", "mentionedUsers"}}, "geo": {Type: policy.Object},
		}},
		policy.Call{Operation: "GET /2/tweets/search/recent", Fields: []string{"id", "text", "author_id", "includes.users.username"}, Params: shapes{
			"query": {Max: 30, Required: true}, "max_results": {Type: policy.Number, Min: 10, Max: 100}, "start_time": {Pattern: `\d{4}-\d\d-\d\dT.*Z`},
		}},
		policy.Call{Operation: "GET /2/tweets", Params: shapes{
			"ids": {Type: policy.List, Entries: 2, Pattern: "[0-9]{1,19}"}, "tweet.fields": {Type: policy.List, OneOf: []string{"created_at", "lang"}},
		}},
		policy.Call{Operation: "GET /2/users/{id}/followers", Fields: []string{"id"}, Params: shapes{"id": {Pattern: "[1-4].*"}, "max_results": {Type: policy.Number, Max: 100}}},
		policy.Call{Operation: "GET /2/tweets/{id}"},
		policy.Call{Operation: "POST /2/media/upload", Body: shapes{"media": {Type: policy.File}, "media_category": {OneOf: []string{"tweet_image"}}, "additional_owners": {}}},
		policy.Call{Operation: "DELETE /2/tweets/{id}", Params: shapes{}, Body: shapes{}},
	)
	list[1].Calls = calls(platform.Facebook,
		policy.Call{Operation: "GET /{id}", Fields: []string{"id", "name", "accounts.id", "accounts.name", "picture.url", "feed.message"}, Params: shapes{
			"ids": {Type: policy.List, Entries: 2}, "limit": {Type: policy.Number, Max: 50},
		}},
		policy.Call{Operation: "GET /{id}/accounts", Fields: []string{"id", "name"}, Params: shapes{"limit": {Type: policy.Number, Max: 50}}},
		policy.Call{Operation: "GET /{id}/feed", Fields: []string{"id", "message"}, Params: shapes{"limit": {Type: policy.Number, Max: 10}, "since": {Pattern: "[0-9]+"}}},
		policy.Call{Operation: "POST /{id}/feed", Fields: []string{"id"}, Body: shapes{"message": {Max: 20, Required: true}, "link": {Pattern: "https://example.com/.*"}, "published": {Type: policy.Boolean}}},
		policy.Call{Operation: "GET /{id}/posts"},
		policy.Call{Operation: "GET /{id}/picture", Params: shapes{"id": {Pattern: "[0-4].*"}, "ids": {Type: policy.List}}},
		policy.Call{Operation: "GET /{id}/comments"},
		policy.Call{Operation: "POST /{id}/photos", Body: shapes{"source": {Type: policy.File}, "caption": {Max: 10}}},
	)
	set, err := policy.Compile(list, mode)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func withContracts(t testing.TB, mode policy.Mode) func(*gateway.Config) {
	return func(c *gateway.Config) { c.Settings.Policy = bounded(t, mode) }
}

// spoken sends a request as the tables write it: METHOD path, then perhaps the
// kind of body and the body.
func (r *rig) spoken(handle, line string) answer {
	parts := strings.SplitN(line, " ", 4)
	o := []option{bearer(handle)}
	if len(parts) == 4 {
		switch text := parts[3]; parts[2] {
		case "json":
			o = append(o, body("application/json", text))
		case "form":
			o = append(o, body(formType, text))
		case "batch":
			o = append(o, body(formType, "batch="+url.QueryEscape(text)))
		case "png":
			o = append(o, body("image/png", text))
		case "parts":
			o = append(o, body("multipart/form-data; boundary=b", parted(text)))
		default:
			r.t.Fatalf("what is %q?", line)
		}
	}
	return r.call(parts[0], parts[1], o...)
}

// parted makes a multipart form of "name=value" words; "@name" is a file.
func parted(words string) string {
	var b strings.Builder
	for w := range strings.FieldsSeq(words) {
		name, value, _ := strings.Cut(w, "=")
		if file, ok := strings.CutPrefix(name, "@"); ok {
			fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=%q; filename=\"f.png\"\r\nContent-Type: image/png\r\n\r\nPNG\r\n", file)
		} else {
			fmt.Fprintf(&b, "--b\r\nContent-Disposition: form-data; name=%q\r\n\r\n%s\r\n", name, value)
		}
	}
	return b.String() + "--b--\r\n"
}

const (
	undeclaredParameter = policy.RuleUndeclaredParameter
	undeclaredBody      = policy.RuleUndeclaredBodyField
	badValue            = policy.RuleParameterValue
	undeclaredField     = policy.RuleUndeclaredField
	undeclaredCall      = policy.RuleUndeclaredCall
	ambiguous           = "refuse/parameter-spelling"
	duplicate           = "refuse/duplicate-parameter"
)

// bypasses are ways around a contract, each with a near miss that must pass.
var bypasses = []struct{ name, bad, rule, good string }{
	// X: what the reply has.
	{"a field", "GET /x/2/users/me?user.fields=created_at", undeclaredField, "GET /x/2/users/me?user.fields=username"},
	{"one field of several", "GET /x/2/users/me?user.fields=username,location", undeclaredField, "GET /x/2/users/me?user.fields=username,id"},
	{"a field behind a space", "GET /x/2/users/me?user.fields=id,%20email", undeclaredField, "GET /x/2/users/me?user.fields=id,%20username"},
	{"a field behind a line break", "GET /x/2/users/me?user.fields=id%0Aemail", undeclaredField, "GET /x/2/users/me?user.fields=id"},
	{"a field in another case", "GET /x/2/users/me?user.fields=Username", undeclaredField, "GET /x/2/users/me?user.fields=username"},
	{"a field with an encoded comma", "GET /x/2/users/me?user.fields=id%2Cdescription", undeclaredField, "GET /x/2/users/me?user.fields=id%2Cusername"},
	{"a field with an encoded letter", "GET /x/2/users/me?user.fields=%64escription", undeclaredField, "GET /x/2/users/me?user.fields=%75sername"},
	{"a whole object where a part is declared elsewhere", "GET /x/2/users/me?user.fields=entities", undeclaredField, "GET /x/2/users/me?user.fields=public_metrics"},
	{"an expansion", "GET /x/2/tweets/search/recent?query=a&expansions=attachments.media_keys", undeclaredField, "GET /x/2/tweets/search/recent?query=a&expansions=author_id"},
	{"an expansion to posts", "GET /x/2/tweets/search/recent?query=a&expansions=referenced_tweets.id", undeclaredField, "GET /x/2/tweets/search/recent?query=a&expansions=in_reply_to_user_id"},
	{"an expansion to users", "GET /x/2/users/me?expansions=affiliation.user_id", undeclaredField, "GET /x/2/users/me?expansions=pinned_tweet_id"},
	{"an expansion where none is declared", "GET /x/2/users/1/followers?expansions=pinned_tweet_id", undeclaredField, "GET /x/2/users/1/followers?user.fields=id"},
	{"an expansion to places", "GET /x/2/tweets/search/recent?query=a&expansions=geo.place_id", undeclaredField, "GET /x/2/tweets/search/recent?query=a&expansions=entities.mentions.username"},
	{"an expansion to polls", "GET /x/2/tweets/search/recent?query=a&expansions=author_id,attachments.poll_ids", undeclaredField, "GET /x/2/tweets/search/recent?query=a&expansions=author_id,in_reply_to_user_id"},
	{"a field of what is included", "GET /x/2/tweets/search/recent?query=a&user.fields=description", undeclaredField, "GET /x/2/tweets/search/recent?query=a&user.fields=username"},
	{"a field of what is not", "GET /x/2/tweets/search/recent?query=a&media.fields=url", undeclaredField, "GET /x/2/tweets/search/recent?query=a&tweet.fields=author_id"},
	{"a field of posts in the other spelling", "GET /x/2/tweets/search/recent?query=a&post.fields=geo", undeclaredField, "GET /x/2/tweets/search/recent?query=a&post.fields=text"},
	{"a new kind of fields", "GET /x/2/users/me?affiliation.fields=description", undeclaredField, "GET /x/2/users/me?user.fields=id"},
	{"fields that params bounds", "GET /x/2/tweets?ids=1&tweet.fields=geo", badValue, "GET /x/2/tweets?ids=1&tweet.fields=created_at,lang"},
	{"fields that params does not name", "GET /x/2/tweets?ids=1&user.fields=id", undeclaredParameter, "GET /x/2/tweets?ids=1&tweet.fields=lang"},
	{"expansions that params does not name", "GET /x/2/tweets?ids=1&expansions=author_id", undeclaredParameter, "GET /x/2/tweets?ids=1"},

	// X: parameters.
	{"an undeclared parameter", "GET /x/2/users/me?foo=1", undeclaredParameter, "GET /x/2/users/me"},
	{"an empty parameter", "GET /x/2/users/me?foo", undeclaredParameter, "GET /x/2/users/me?"},
	{"a parameter without a name", "GET /x/2/users/me?=1", undeclaredParameter, "GET /x/2/users/me?user.fields=id"},
	{"max_results", "GET /x/2/tweets/search/recent?query=a&max_results=101", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=100"},
	{"max_results too small", "GET /x/2/tweets/search/recent?query=a&max_results=9", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=10"},
	{"max_results with an exponent", "GET /x/2/tweets/search/recent?query=a&max_results=1e2", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=50"},
	{"max_results in hexadecimal", "GET /x/2/tweets/search/recent?query=a&max_results=0x10", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=16"},
	{"max_results with a sign", "GET /x/2/tweets/search/recent?query=a&max_results=%2B50", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=51"},
	{"max_results with a space", "GET /x/2/tweets/search/recent?query=a&max_results=%2050", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=52"},
	{"max_results beyond 64 bits", "GET /x/2/tweets/search/recent?query=a&max_results=18446744073709551626", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=53"},
	{"max_results in other digits", "GET /x/2/tweets/search/recent?query=a&max_results=%D9%A1%D9%A0", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=54"},
	{"max_results as a list", "GET /x/2/tweets/search/recent?query=a&max_results=10,500", badValue, "GET /x/2/tweets/search/recent?query=a&max_results=55"},
	{"max_results empty", "GET /x/2/tweets/search/recent?query=a&max_results=", badValue, "GET /x/2/tweets/search/recent?query=a"},
	{"max_results twice", "GET /x/2/tweets/search/recent?query=a&max_results=10&max_results=500", duplicate, "GET /x/2/tweets/search/recent?query=a&max_results=56"},
	{"max_results in brackets", "GET /x/2/tweets/search/recent?query=a&max_results[]=500", undeclaredParameter, "GET /x/2/tweets/search/recent?query=a&max_results=57"},
	{"max_results in another case", "GET /x/2/tweets/search/recent?query=a&Max_Results=500", undeclaredParameter, "GET /x/2/tweets/search/recent?query=a&max_results=58"},
	{"max_results behind a space", "GET /x/2/tweets/search/recent?query=a&%20max_results=500", undeclaredParameter, "GET /x/2/tweets/search/recent?query=a&max_results=59"},
	{"a long query", "GET /x/2/tweets/search/recent?query=0123456789012345678901234567890", badValue, "GET /x/2/tweets/search/recent?query=012345678901234567890123456789"},
	{"a long query in escapes", "GET /x/2/tweets/search/recent?query=" + strings.Repeat("%41", 31), badValue, "GET /x/2/tweets/search/recent?query=" + strings.Repeat("%41", 30)},
	{"a long query of wide letters", "GET /x/2/tweets/search/recent?query=" + strings.Repeat("%C3%A9", 31), badValue, "GET /x/2/tweets/search/recent?query=" + strings.Repeat("%C3%A9", 30)},
	{"no query", "GET /x/2/tweets/search/recent?max_results=10", policy.RuleMissingParameter, "GET /x/2/tweets/search/recent?max_results=10&query=a"},
	{"a pattern that fits in part", "GET /x/2/tweets/search/recent?query=a&start_time=x2026-01-01T00:00:00Z", badValue, "GET /x/2/tweets/search/recent?query=a&start_time=2026-01-01T00:00:00Z"},
	{"a pattern and a line after it", "GET /x/2/tweets?ids=1%0A", badValue, "GET /x/2/tweets?ids=1"},
	{"end_time", "GET /x/2/tweets/search/recent?query=a&end_time=2026-01-01T00:00:00Z", undeclaredParameter, "GET /x/2/tweets/search/recent?query=a&next_token=abc"},
	{"since_id", "GET /x/2/tweets/search/recent?query=a&since_id=1", undeclaredParameter, "GET /x/2/tweets/search/recent?query=a&pagination_token=abc"},
	{"too many ids", "GET /x/2/tweets?ids=1,2,3", badValue, "GET /x/2/tweets?ids=1,2"},
	{"an empty id", "GET /x/2/tweets?ids=1,", badValue, "GET /x/2/tweets?ids=1,3"},
	{"an id that is none", "GET /x/2/tweets?ids=1,a", badValue, "GET /x/2/tweets?ids=2"},
	{"a part of the path", "GET /x/2/users/5/followers", badValue, "GET /x/2/users/4/followers"},
	{"a part of the path by a parameter", "GET /x/2/users/1/followers?id=9", badValue, "GET /x/2/users/1/followers?max_results=10"},
	{"max_results of another call", "GET /x/2/users/1/followers?max_results=1000", badValue, "GET /x/2/users/1/followers?max_results=100"},
	{"a parameter of a call that has none", "DELETE /x/2/tweets/1?x=1", undeclaredParameter, "DELETE /x/2/tweets/1"},
	{"a body of a call that has none", `DELETE /x/2/tweets/2 json {"x":1}`, undeclaredBody, "DELETE /x/2/tweets/2 json {}"},

	// X: bodies.
	{"a long text", `POST /x/2/tweets json {"text":"012345678901234567890"}`, badValue, `POST /x/2/tweets json {"text":"01234567890123456789"}`},
	{"a long text in escapes", `POST /x/2/tweets json {"text":"` + strings.Repeat(`\u0041`, 21) + `"}`, badValue, `POST /x/2/tweets json {"text":"` + strings.Repeat(`\u0041`, 20) + `"}`},
	{"a text by an escaped name", `POST /x/2/tweets json {"te\u0078t":"012345678901234567890"}`, badValue, `POST /x/2/tweets json {"te\u0078t":"0123456789"}`},
	{"a text in another case", `POST /x/2/tweets json {"text":"a1","Text":"b"}`, undeclaredBody, `POST /x/2/tweets json {"text":"a1"}`},
	{"a text twice", `POST /x/2/tweets json {"text":"a2","text":"012345678901234567890"}`, duplicate, `POST /x/2/tweets json {"text":"a2"}`},
	{"a text as a number", `POST /x/2/tweets json {"text":1}`, badValue, `POST /x/2/tweets json {"text":"1"}`},
	{"a text as a list", `POST /x/2/tweets json {"text":["a"]}`, badValue, `POST /x/2/tweets json {"text":"a3"}`},
	{"a text as an object", `POST /x/2/tweets json {"text":{"a":"b"}}`, badValue, `POST /x/2/tweets json {"text":"a4"}`},
	{"no text", `POST /x/2/tweets json {"nullcast":true}`, policy.RuleMissingParameter, `POST /x/2/tweets json {"nullcast":true,"text":"a5"}`},
	{"a text that is null", `POST /x/2/tweets json {"text":null}`, policy.RuleMissingParameter, `POST /x/2/tweets json {"text":"null"}`},
	{"an undeclared field", `POST /x/2/tweets json {"text":"a6","quote_tweet_id":"1"}`, undeclaredBody, `POST /x/2/tweets json {"text":"a6","nullcast":null}`},
	{"an undeclared object", `POST /x/2/tweets json {"text":"a7","media":{"media_ids":["1"]}}`, undeclaredBody, `POST /x/2/tweets json {"text":"a7","geo":{"place_id":"1"}}`},
	{"an empty undeclared object", `POST /x/2/tweets json {"text":"a8","media":{}}`, undeclaredBody, `POST /x/2/tweets json {"text":"a8","reply":null}`},
	{"a field in a declared object", `POST /x/2/tweets json {"text":"a9","reply":{"in_reply_to_tweet_id":"1","exclude_reply_user_ids":["2"]}}`, undeclaredBody, `POST /x/2/tweets json {"text":"a9","reply":{"in_reply_to_tweet_id":"1"}}`},
	{"a field with a dot in its name", `POST /x/2/tweets json {"text":"b1","reply.in_reply_to_tweet_id":"1"}`, undeclaredBody, `POST /x/2/tweets json {"text":"b1","reply":{"in_reply_to_tweet_id":"12"}}`},
	{"an object as a list", `POST /x/2/tweets json {"text":"b2","reply":[{"in_reply_to_tweet_id":"1"}]}`, badValue, `POST /x/2/tweets json {"text":"b2","reply":{"in_reply_to_tweet_id":"13"}}`},
	{"a pattern in an object", `POST /x/2/tweets json {"text":"b3","reply":{"in_reply_to_tweet_id":"1 "}}`, badValue, `POST /x/2/tweets json {"text":"b3","reply":{"in_reply_to_tweet_id":"14"}}`},
	{"too many options", `POST /x/2/tweets json {"text":"b4","poll":{"options":["a","b","c"]}}`, badValue, `POST /x/2/tweets json {"text":"b4","poll":{"options":["a","b"]}}`},
	{"a long option", `POST /x/2/tweets json {"text":"b5","poll":{"options":["abcdef"]}}`, badValue, `POST /x/2/tweets json {"text":"b5","poll":{"options":["abcde"]}}`},
	{"a list in a list", `POST /x/2/tweets json {"text":"b6","poll":{"options":[["abcdefgh"]]}}`, "", `POST /x/2/tweets json {"text":"b6","poll":{"options":["abcd"]}}`},
	{"an object in a list", `POST /x/2/tweets json {"text":"b7","poll":{"options":[{"label":"a"}]}}`, badValue, `POST /x/2/tweets json {"text":"b7","poll":{"options":["a"]}}`},
	{"options as a text", `POST /x/2/tweets json {"text":"b8","poll":{"options":"a,b"}}`, badValue, `POST /x/2/tweets json {"text":"b8","poll":{"options":["a","c"]}}`},
	{"a number as a text", `POST /x/2/tweets json {"text":"b9","poll":{"duration_minutes":"60"}}`, badValue, `POST /x/2/tweets json {"text":"b9","poll":{"duration_minutes":60}}`},
	{"a great number", `POST /x/2/tweets json {"text":"c1","poll":{"duration_minutes":61}}`, badValue, `POST /x/2/tweets json {"text":"c1","poll":{"duration_minutes":59}}`},
	{"a number with an exponent", `POST /x/2/tweets json {"text":"c2","poll":{"duration_minutes":1e9}}`, badValue, `POST /x/2/tweets json {"text":"c2","poll":{"duration_minutes":58}}`},
	{"a huge number", `POST /x/2/tweets json {"text":"c3","poll":{"duration_minutes":` + strings.Repeat("9", 400) + `}}`, badValue, `POST /x/2/tweets json {"text":"c3","poll":{"duration_minutes":57}}`},
	{"a negative number", `POST /x/2/tweets json {"text":"c4","poll":{"duration_minutes":-10}}`, badValue, `POST /x/2/tweets json {"text":"c4","poll":{"duration_minutes":10}}`},
	{"one of others", `POST /x/2/tweets json {"text":"c5","reply_settings":"everyone"}`, badValue, `POST /x/2/tweets json {"text":"c5","reply_settings":"following"}`},
	{"one of them in another case", `POST /x/2/tweets json {"text":"c6","reply_settings":"Following"}`, badValue, `POST /x/2/tweets json {"text":"c6","reply_settings":"mentionedUsers"}`},
	{"a boolean as a text", `POST /x/2/tweets json {"text":"c7","nullcast":"true"}`, badValue, `POST /x/2/tweets json {"text":"c7","nullcast":false}`},
	{"a body that is a list", `POST /x/2/tweets json [{"text":"a"}]`, policy.RuleUnjudgedBody, `POST /x/2/tweets json {"text":"c8"}`},
	{"a body that is a text", `POST /x/2/tweets json "text"`, policy.RuleUnjudgedBody, `POST /x/2/tweets json {"text":"c9"}`},
	{"a body that is a picture", `POST /x/2/tweets png {"text":"a"}`, policy.RuleUnjudgedBody, `POST /x/2/tweets json {"text":"d1"}`},
	{"a body that is a form", `POST /x/2/tweets form text=d2&for_super_followers_only=1`, undeclaredBody, `POST /x/2/tweets json {"text":"d2"}`},
	{"a deep body", `POST /x/2/tweets json {"text":"d3","geo":` + strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 41), "refuse/parameters", `POST /x/2/tweets json {"text":"d3","geo":{"a":{"b":1}}}`},
	{"a large body", `POST /x/2/tweets json {"text":"d4","x":"` + strings.Repeat("x", 2<<20) + `"}`, policy.RuleUnjudgedBody, `POST /x/2/tweets json {"text":"d4"}`},
	{"a part of a form", "POST /x/2/media/upload parts media_category=tweet_image owner=1 @media", undeclaredBody, "POST /x/2/media/upload parts media_category=tweet_image @media"},
	{"a part with another value", "POST /x/2/media/upload parts media_category=tweet_video @media", badValue, "POST /x/2/media/upload parts @media"},
	{"a file of another name", "POST /x/2/media/upload parts media_category=tweet_image @other", undeclaredBody, "POST /x/2/media/upload parts media_category=tweet_image @media"},
	{"a handle in a part", "POST /x/2/media/upload parts additional_owners=gth_hnd_abc @media", "refuse/handle-inside", "POST /x/2/media/upload parts additional_owners=1 @media"},
	{"a text where a file is declared", "POST /x/2/media/upload parts media=x", badValue, "POST /x/2/media/upload parts @media"},

	// The Graph: what the reply has.
	{"a field of a node", "GET /meta/v25.0/me?fields=id,email", undeclaredField, "GET /meta/v25.0/me?fields=id,name"},
	{"a field of another's node", "GET /meta/v25.0/1234?fields=about", undeclaredField, "GET /meta/v25.0/1234?fields=name"},
	{"a field below an edge", "GET /meta/v25.0/me?fields=accounts{id,access_token}", undeclaredField, "GET /meta/v25.0/me?fields=accounts{id,name}"},
	{"a field by .fields()", "GET /meta/v25.0/me?fields=accounts.fields(id,access_token)", undeclaredField, "GET /meta/v25.0/me?fields=accounts.fields(id,name)"},
	{"a field by both", "GET /meta/v25.0/me?fields=accounts.fields(id){access_token}", undeclaredField, "GET /meta/v25.0/me?fields=accounts.fields(id){name}"},
	{"a field after an empty expansion", "GET /meta/v25.0/me?fields=accounts{},birthday", undeclaredField, "GET /meta/v25.0/me?fields=accounts{},name"},
	{"an edge in an edge", "GET /meta/v25.0/me?fields=accounts{name,feed{message}}", undeclaredField, "GET /meta/v25.0/me?fields=accounts{name},feed{message}"},
	{"an edge that has no contract", "GET /meta/v25.0/me?fields=posts", undeclaredField, "GET /meta/v25.0/me/posts"},
	{"a name given to a field", "GET /meta/v25.0/me?fields=name.as(about)", undeclaredField, "GET /meta/v25.0/me?fields=name"},
	{"a declared name given to a field", "GET /meta/v25.0/me?fields=email.as(name)", undeclaredField, "GET /meta/v25.0/me?fields=name,id"},
	{"a declared name given to an edge", "GET /meta/v25.0/me?fields=feed.as(picture){message}", undeclaredField, "GET /meta/v25.0/me?fields=feed{message}"},
	{"a name in capitals", "GET /meta/v25.0/me?fields=feed.AS(picture){message}", undeclaredField, "GET /meta/v25.0/me?fields=feed.limit(5){message}"},
	{"an edge with a contract from a node without", "GET /meta/v25.0/1234/posts?fields=feed{from}", policy.RuleUnboundExpansion, "GET /meta/v25.0/1234/posts?fields=comments{from}"},
	{"fields of an edge", "GET /meta/v25.0/me/accounts?fields=id,access_token", undeclaredField, "GET /meta/v25.0/me/accounts?fields=id,name"},
	{"fields of an edge by id", "GET /meta/v25.0/10/accounts?fields=category", undeclaredField, "GET /meta/v25.0/10/accounts?fields=name"},
	{"fields of what is written", "POST /meta/v25.0/1234/feed?fields=from form message=a", undeclaredField, "POST /meta/v25.0/1234/feed?fields=id form message=a"},
	{"fields in a form", "POST /meta/v25.0/1234/feed form message=b&fields=from", undeclaredField, "POST /meta/v25.0/1234/feed form message=b&fields=id"},
	{"fields in JSON", `POST /meta/v25.0/1234/feed json {"message":"c","fields":"id,from"}`, undeclaredField, `POST /meta/v25.0/1234/feed json {"message":"c","fields":"id"}`},
	{"fields of nodes by ids", "GET /meta/v25.0/?ids=1,2&fields=id,email", undeclaredField, "GET /meta/v25.0/?ids=1,2&fields=id,name"},
	{"fields of an edge by ids", "GET /meta/v25.0/accounts?ids=1&fields=access_token", undeclaredParameter, "GET /meta/v25.0/me/accounts?fields=id"},
	{"fields in brackets", "GET /meta/v25.0/me?fields[]=email", ambiguous, "GET /meta/v25.0/me?fields=id,picture"},
	{"fields in another case", "GET /meta/v25.0/me?Fields=email", ambiguous, "GET /meta/v25.0/me?fields=picture{url}"},
	{"fields twice", "GET /meta/v25.0/me?fields=id&fields=email", duplicate, "GET /meta/v25.0/me?fields=id,id"},
	{"everything", "GET /meta/v25.0/me?fields=*", "refuse/parameters", "GET /meta/v25.0/me?fields="},

	// The Graph: parameters, wherever they stand.
	{"metadata", "GET /meta/v25.0/me?metadata=1", undeclaredParameter, "GET /meta/v25.0/me?fields=id&pretty=0"},
	{"debug", "GET /meta/v25.0/me?debug=all", undeclaredParameter, "GET /meta/v25.0/me?after=abc"},
	{"a callback", "GET /meta/v25.0/me?callback=f", undeclaredParameter, "GET /meta/v25.0/me?before=abc"},
	{"limit", "GET /meta/v25.0/me/feed?limit=11", badValue, "GET /meta/v25.0/me/feed?limit=10"},
	{"limit in brackets", "GET /meta/v25.0/me/feed?limit[0]=100", undeclaredParameter, "GET /meta/v25.0/me/feed?limit=9"},
	{"limit by a modifier", "GET /meta/v25.0/me?fields=feed.limit(51){message}", badValue, "GET /meta/v25.0/me?fields=feed.limit(50){message}"},
	{"an undeclared modifier", "GET /meta/v25.0/me?fields=feed.summary(true){message}", undeclaredParameter, "GET /meta/v25.0/me?fields=feed.after(x){message}"},
	{"limit of what declares none", "POST /meta/v25.0/1234/feed?limit=26 form message=d", undeclaredParameter, "POST /meta/v25.0/1234/feed?limit=25 form message=d"},
	{"since", "GET /meta/v25.0/me/feed?since=yesterday", badValue, "GET /meta/v25.0/me/feed?since=1700000000"},
	{"until", "GET /meta/v25.0/me/feed?until=1700000000", undeclaredParameter, "GET /meta/v25.0/me/feed?since=1700000001"},
	{"too many ids of nodes", "GET /meta/v25.0/?ids=1,2,3", badValue, "GET /meta/v25.0/?ids=1,2"},
	{"method=", "GET /meta/v25.0/me?method=post", policy.RuleMethodOverride, "GET /meta/v25.0/me?method=get"},
	{"a message in the address", "POST /meta/v25.0/1234/feed?message=012345678901234567890", badValue, "POST /meta/v25.0/1234/feed?message=0123456789"},
	{"a second message in the address", "POST /meta/v25.0/1234/feed?message=012345678901234567890 form message=e", badValue, "POST /meta/v25.0/1234/feed form message=e"},
	{"an undeclared parameter of a post", "POST /meta/v25.0/1234/feed form message=f&place=1", undeclaredBody, "POST /meta/v25.0/1234/feed form message=f&published=false"},
	{"one in the address", "POST /meta/v25.0/1234/feed?tags=1 form message=g", undeclaredParameter, "POST /meta/v25.0/1234/feed form message=g&link=https://example.com/a"},
	{"a link elsewhere", "POST /meta/v25.0/1234/feed form message=h&link=https://example.org/", badValue, "POST /meta/v25.0/1234/feed form message=h&link=https://example.com/b"},
	{"a link elsewhere in JSON", `POST /meta/v25.0/1234/feed json {"message":"i","link":"http://example.com/a"}`, badValue, `POST /meta/v25.0/1234/feed json {"message":"i","link":"https://example.com/c"}`},
	{"an object in JSON", `POST /meta/v25.0/1234/feed json {"message":"j","targeting":{"geo":1}}`, undeclaredBody, `POST /meta/v25.0/1234/feed json {"message":"j"}`},
	{"an id that does not fit", "GET /meta/v25.0/5/picture", badValue, "GET /meta/v25.0/4/picture"},
	{"an id that does not fit, by ids", "GET /meta/v25.0/picture?ids=1,5", badValue, "GET /meta/v25.0/picture?ids=1,4"},
	{"an id that does not fit, by id", "GET /meta/v25.0/picture?id=5", badValue, "GET /meta/v25.0/2/picture?id=1"},
	{"a photo's parts", "POST /meta/v25.0/1234/photos parts caption=a url=https://example.com @source", undeclaredBody, "POST /meta/v25.0/1234/photos parts caption=a @source"},
	{"a photo's long caption", "POST /meta/v25.0/1234/photos parts caption=01234567890 @source", badValue, "POST /meta/v25.0/1234/photos parts caption=0123456789 @source"},

	// The Graph: batches.
	{"a field in a batch", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id,email"}]`, undeclaredField, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id,name"}]`},
	{"a field in a later item", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me?fields=accounts{access_token}"}]`, undeclaredField, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me?fields=accounts{name}"}]`},
	{"a field in an item's body", `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed","body":"message=a&fields=from"}]`, undeclaredField, `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed","body":"message=a&fields=id"}]`},
	{"a field after a reference", `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"?ids={result=a:$.id}&fields=email"}]`, undeclaredField, `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"?ids={result=a:$.id}&fields=name"}]`},
	{"a reference for a field", `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me?fields={result=a:$.id}"}]`, "", `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"{result=a:$.id}?fields=id"}]`},
	{"an id by a reference", `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"{result=a:$.id}/picture"}]`, badValue, `POST /meta/v25.0/ batch [{"method":"GET","name":"a","relative_url":"me?fields=id"},{"method":"GET","relative_url":"1/picture"}]`},
	{"a parameter in a batch", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me/feed?limit=100"}]`, badValue, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me/feed?limit=10"}]`},
	{"an undeclared parameter in a batch", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?metadata=1"}]`, undeclaredParameter, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me"}]`},
	{"a message in a batch", `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed","body":"message=012345678901234567890"}]`, badValue, `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed","body":"message=0123456789"}]`},
	{"a parameter of a posted item", `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed?place=1","body":"message=a"}]`, undeclaredParameter, `POST /meta/v25.0/ batch [{"method":"POST","relative_url":"1/feed?published=true","body":"message=a"}]`},
	{"a method in a batch", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?method=delete"}]`, policy.RuleMethodOverride, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?method=get"}]`},
	{"an edge that is not declared", `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me/photos"}]`, undeclaredCall, `POST /meta/v25.0/ batch [{"method":"GET","relative_url":"me?fields=id"},{"method":"GET","relative_url":"me/posts"}]`},
}

// Whatever is undeclared is refused before it reaches the platform, in whatever
// spelling; beside each attempt, a near miss reaches it.
func TestBypasses(t *testing.T) {
	r := newRig(t, withContracts(t, policy.Enforce))
	xHandle, metaHandle := r.xHandle(), r.metaHandle()
	if len(bypasses) < 100 {
		t.Fatalf("%d cases", len(bypasses))
	}
	for _, test := range bypasses {
		t.Run(test.name, func(t *testing.T) {
			r.t = t
			handle := xHandle
			if strings.Contains(test.bad, " /meta/") {
				handle = metaHandle
			}
			before := r.seen.count()
			bad := r.spoken(handle, test.bad)
			if n := r.seen.count() - before; n != 0 {
				t.Errorf("%s reached the platform", test.bad)
			}
			if bad.status < 400 || bad.status >= 500 || test.rule != "" && !strings.Contains(bad.body, `"rule":"`+test.rule+`"`) {
				t.Errorf("%.200s: %d %s, want rule %s", test.bad, bad.status, bad.body, test.rule)
			}
			good := r.spoken(handle, test.good)
			if n := r.seen.count() - before; n != 1 {
				t.Errorf("%.200s did not reach the platform: %d %s", test.good, good.status, good.body)
			}
		})
	}
	r.t = t
	r.check()
}

// Whatever a body holds, each of its fields is listed under the path to it, and a
// name with a dot is never taken for a path.
func FuzzJSONArguments(f *testing.F) {
	f.Add([]byte(`{"text":"a","poll":{"options":["a",1,null,{"b":[]}]},"a.b":true}`))
	f.Add([]byte(`{"access_token":{"a":1},"x":1e400}`))
	f.Add([]byte(` [1]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) || len(bytes.TrimSpace(b)) == 0 {
			return
		}
		list, object, err := gateway.JSONArgumentsTestOnly(b)
		if object != (bytes.TrimLeft(b, " \r\n\t")[0] == '{') {
			t.Fatalf("%s: an object: %t", b, object)
		}
		if err != nil || !object {
			return
		}
		known := map[string]bool{"": true}
		for _, a := range list {
			above := ""
			if dot := strings.LastIndexByte(a.Name, '.'); dot >= 0 {
				above = a.Name[:dot]
			}
			if !known[above] {
				t.Fatalf("%s: %q stands below nothing", b, a.Name)
			}
			if a.Kind == policy.IsObject || a.Kind == policy.IsList {
				known[a.Name] = true
			}
			if a.Kind == policy.Written || a.Kind == policy.IsFile || a.Name == "access_token" {
				t.Fatalf("%s: %+v", b, a)
			}
		}
	})
}
