package observe_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// declared is a configuration with one purpose for each platform.
func declared(x, graph []policy.Call) observe.Declared {
	return observe.Declared{
		Purposes: []policy.Purpose{
			{Name: "read", Why: "w", App: "main-x", Scopes: []string{"tweet.read", "users.read", "follows.read", "offline.access", "dm.read"}, Calls: x},
			{Name: "pages", Why: "w", App: "fb", Scopes: []string{"pages_show_list"}, Calls: graph},
			{Name: "own", Why: "w"},
		},
		Services: map[gatehouse.ServiceName][]gatehouse.PurposeName{
			"web": {"read", "pages", "own"}, "worker": {"read"},
		},
		Platforms: map[gatehouse.AppName]platform.Name{"main-x": platform.X, "fb": platform.Facebook},
	}
}

// graphCall is a call to Facebook of which everything was read.
func graphCall(params, body []policy.Argument, reply string, ops ...gatehouse.Operation) *observe.Seen {
	s := &observe.Seen{
		Service: "web", Purpose: "pages", Platform: gatehouse.Facebook, App: "fb", Operations: ops,
		Params: params, Body: body, ReadParams: true, ReadBody: true, ReadFields: true,
	}
	return answered(s, platform.Facebook, reply)
}

func asking(s *observe.Seen, paths ...string) *observe.Seen {
	for _, p := range paths {
		path, or, _ := strings.Cut(p, " ")
		s.Selected = append(s.Selected, policy.Selected{Path: path, Or: or})
	}
	return s
}

// snapshot is what an observer that saw these calls has stored.
func snapshot(t *testing.T, seen ...*observe.Seen) *observe.Snapshot {
	t.Helper()
	s, _ := newStore(t)
	o := observe.New(observe.Config{Store: s})
	for _, c := range seen {
		o.See(c)
	}
	if err := o.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	out, err := observe.Load(t.Context(), s, time.Time{}, "")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// text is a suggested call on one line.
func text(c observe.SuggestedCall) string {
	var b strings.Builder
	b.WriteString(string(c.Operation))
	for _, h := range []struct {
		name   string
		shapes map[string]policy.Shape
	}{{"params", c.Params}, {"body", c.Body}} {
		if h.shapes == nil {
			continue
		}
		fmt.Fprintf(&b, " %s{", h.name)
		for i, name := range slices.Sorted(maps.Keys(h.shapes)) {
			if i > 0 {
				b.WriteString("; ")
			}
			fmt.Fprintf(&b, "%s: %s", name, h.shapes[name])
		}
		b.WriteString("}")
	}
	if c.Fields != nil {
		fmt.Fprintf(&b, " fields%v", c.Fields)
	}
	if len(c.Unlisted) > 0 {
		fmt.Fprintf(&b, " unlisted%v", c.Unlisted)
	}
	return b.String()
}

func TestSuggest(t *testing.T) {
	const search, post, me = "GET /2/tweets/search/recent", "POST /2/tweets", "GET /2/users/me"
	reported := func(s *observe.Seen) *observe.Seen { s.Reported = true; return s }
	unread := func(s *observe.Seen) *observe.Seen { s.ReadParams, s.ReadBody = false, false; return s }
	unjudged := func(s *observe.Seen) *observe.Seen { s.ReadBody = false; return s }
	filed := func(s *observe.Seen) *observe.Seen { s.Answered, s.File = true, true; return s }
	for _, test := range []struct {
		name string
		was  policy.Call // declared; of X when its operation begins with a version
		seen []*observe.Seen
		want string
		note string // part of a note
	}{
		{"names are exact, bounds have room", policy.Call{}, []*observe.Seen{
			xCall(search, []policy.Argument{written("query", strings.Repeat("q", 37)), written("max_results", "20")}, nil, `{"data":[{"id":"1","text":"t"}]}`),
		}, search + " params{max_results: number, min 1, max 100; query: text, max 4096} fields[id text]", "up to 37 characters seen, 4096 is what the platform allows"},
		{"what no document bounds is rounded up", policy.Call{}, []*observe.Seen{
			xCall(search, []policy.Argument{written("start_time", "2026-01-01T00:00:00Z")}, nil, `{"data":[{"id":"1"}]}`),
		}, search + " params{start_time: text, max 50} fields[id]", "up to 20 characters seen, rounded up"},
		{"the platform's own words", policy.Call{}, []*observe.Seen{
			xCall("GET /2/users/{id}/tweets", []policy.Argument{written("exclude", "replies"), {Name: "id", Text: "12", Path: true}}, nil, `{"data":[{"id":"1"}]}`),
		}, "GET /2/users/{id}/tweets params{exclude: list, one of replies, at most 1 entries; id: number} fields[id]", ""},
		{"a word that is none of them", policy.Call{}, []*observe.Seen{
			xCall("GET /2/users/{id}/tweets", []policy.Argument{written("exclude", "replies,ada")}, nil, `{"data":[{"id":"1"}]}`),
		}, "GET /2/users/{id}/tweets params{exclude: list, max 10, at most 10 entries} fields[id]", ""},
		{"numbers that are ids have no bounds", policy.Call{}, []*observe.Seen{
			xCall(post, nil, []policy.Argument{{Name: "reply", Kind: policy.IsObject}, {Name: "reply.in_reply_to_tweet_id", Kind: policy.IsNumber, Text: "2125848077263702974"}}, `{"data":{"id":"1"}}`),
		}, post + " params{} body{reply.in_reply_to_tweet_id: number} fields[id]", ""},
		{"values of several kinds", policy.Call{}, []*observe.Seen{
			xCall(post, nil, []policy.Argument{{Name: "text", Kind: policy.IsNumber, Text: "5"}}, ""), xCall(post, nil, []policy.Argument{{Name: "text", Kind: policy.IsText, Text: "a"}}, `{"data":{"id":"1"}}`),
		}, post + " params{} body{text: any single value} fields[id]", "several kinds"},
		{"an object of which nothing is known", policy.Call{}, []*observe.Seen{
			xCall(post, nil, []policy.Argument{{Name: "geo", Kind: policy.IsObject}}, `{"data":{"id":"1"}}`),
		}, post + " params{} body{geo: object} fields[id]", ""},
		{"a list of objects", policy.Call{}, []*observe.Seen{
			xCall(post, nil, []policy.Argument{{Name: "media", Kind: policy.IsList, Size: 2}, {Name: "media", Kind: policy.IsObject, In: true}, {Name: "media.media_ids", Kind: policy.IsText, Text: "1"}}, `{"data":{"id":"1"}}`),
		}, post + " params{} body{media: list, at most 10 entries; media.media_ids: text, max 4} fields[id]", ""},
		{"names that no document has", policy.Call{}, []*observe.Seen{
			xCall(post, []policy.Argument{written("odd", "1")}, []policy.Argument{{Name: "strange", Kind: policy.IsBoolean}}, `{"data":{"id":"1","odd_one":1}}`),
		}, post + " params{odd: max 10} body{strange: boolean} fields[id] unlisted[odd strange]", "once a name came that the documents do not list"},
		{"paging is free", policy.Call{}, []*observe.Seen{
			xCall(search, []policy.Argument{{Name: "next_token", Text: "t", Free: true}}, nil, `{"data":[],"meta":{"next_token":"x"}}`),
		}, search + " params{} fields[]", ""},
		{"what chooses fields is governed by them", policy.Call{}, []*observe.Seen{
			asking(xCall(me, []policy.Argument{{Name: "user.fields", Text: "location", Selects: true}}, nil, `{"data":{"id":"1"}}`), "location includes.users.location"),
		}, me + " params{} fields[id location]", "location is asked for and never came"},
		{"a part of what is asked for", policy.Call{}, []*observe.Seen{
			asking(xCall(me, nil, nil, `{"data":{"public_metrics":{"like_count":1}}}`), "public_metrics"),
		}, me + " params{} fields[public_metrics.like_count]", ""},
		{"what is empty at times", policy.Call{}, []*observe.Seen{
			xCall(me, nil, nil, `{"data":{"entities":{}}}`), xCall(me, nil, nil, `{"data":{"entities":{"url":{"urls":[]}}}}`),
		}, me + " params{} fields[entities.url.urls]", ""},
		{"what is a text at times", policy.Call{}, []*observe.Seen{
			xCall(me, nil, nil, `{"data":{"entities":"x"}}`), xCall(me, nil, nil, `{"data":{"entities":{"url":"u"}}}`),
		}, me + " params{} fields[entities]", ""},
		{"no answer but errors", policy.Call{}, []*observe.Seen{xCall(me, nil, nil, "")}, me + " params{}", "no answer was seen"},
		{"an answer without a body", policy.Call{}, []*observe.Seen{func() *observe.Seen { s := xCall("DELETE /2/tweets/{id}", nil, nil, ""); s.Answered = true; return s }()},
			"DELETE /2/tweets/{id} params{} body{} fields[]", ""},
		{"a file", policy.Call{}, []*observe.Seen{filed(xCall("GET /2/media/{media_key}", nil, nil, ""))}, "GET /2/media/{media_key} params{}", "a file"},
		{"a body that cannot be read", policy.Call{}, []*observe.Seen{unjudged(xCall("POST /2/media/upload", nil, nil, `{"data":{"id":"1"}}`))},
			"POST /2/media/upload params{} fields[id]", "no body: once it could not be read"},
		{"nothing was read", policy.Call{}, []*observe.Seen{unread(xCall(me, nil, nil, `{"data":{"id":"1"}}`))}, me + " fields[id]", "only read in report mode"},
		{"what is declared stays where nothing was read", policy.Call{Operation: me, Params: map[string]policy.Shape{"user.fields": {}}}, []*observe.Seen{
			unread(xCall(me, nil, nil, `{"data":{"id":"1"}}`)),
		}, me + " params{user.fields: any single value} fields[id]", ""},
		{"a declared rule that fits stays", policy.Call{Operation: post, Body: map[string]policy.Shape{"text": {Type: policy.Text, Max: 280, Required: true}, "nullcast": {}}}, []*observe.Seen{
			xCall(post, nil, []policy.Argument{{Name: "text", Kind: policy.IsText, Text: "hello"}}, `{"data":{"id":"1"}}`),
		}, post + " params{} body{text: text, max 280, required} fields[id]", "as it is declared"},
		{"one that does not is widened", policy.Call{Operation: search, Params: map[string]policy.Shape{"query": {Max: 3}}}, []*observe.Seen{
			reported(xCall(search, []policy.Argument{written("query", "hello")}, nil, `{"data":[{"id":"1"}]}`)),
		}, search + " params{query: text, max 4096} fields[id]", "once only because of report mode"},
		{"what was not declared until now", policy.Call{Operation: search, Params: map[string]policy.Shape{}}, []*observe.Seen{
			reported(xCall(search, []policy.Argument{written("query", "hello")}, nil, `{"data":[{"id":"1"}]}`)),
		}, search + " params{query: text, max 4096} fields[id]", "not declared until now"},
		{"fields are narrowed and not widened", policy.Call{Operation: me, Fields: []string{"id", "name", "public_metrics.like_count", "verified"}}, []*observe.Seen{
			asking(xCall(me, nil, nil, `{"data":{"id":"1","name":"n","username":"u","location":"l","public_metrics":{"like_count":1,"tweet_count":2}}}`), "location includes.users.location"),
		}, me + " params{} fields[id location name public_metrics.like_count]", "withheld in enforce mode: public_metrics.tweet_count username"},
		{"a page", policy.Call{}, []*observe.Seen{
			graphCall([]policy.Argument{{Name: "limit", Text: "100"}, {Name: "after", Text: "x", Free: true}}, nil, `{"data":[{"access_token":"t","name":"n"}],"paging":{"next":"u"}}`, "GET /me/accounts"),
		}, "GET /me/accounts params{limit: number, min 1, max 100} fields[access_token id name]", ""},
		{"a digit text of the Graph is a text", policy.Call{}, []*observe.Seen{
			graphCall(nil, []policy.Argument{{Name: "message", Text: "2026"}, {Name: "place", Text: "7"}, {Name: "published", Text: "true"}}, `{"id":"1"}`, "POST /{id}/feed"),
		}, "POST /{id}/feed params{} body{message: max 63206; place: max 10; published: boolean} fields[id]", ""},
		{"a name that the Graph's documents do not have", policy.Call{}, []*observe.Seen{
			graphCall(nil, []policy.Argument{{Name: "message", Text: "m"}, {Name: "odd", Text: "m"}, {Name: "attached_media[0]", Text: "m"}}, `{"id":"1"}`, "POST /{id}/feed"),
		}, "POST /{id}/feed params{} body{attached_media[0]: max 10; message: max 63206; odd: max 10} fields[id] unlisted[odd]", "no document lists it"},
		{"a number of JSON", policy.Call{}, []*observe.Seen{
			graphCall(nil, []policy.Argument{{Name: "scheduled_publish_time", Kind: policy.IsNumber, Text: "1800000000"}}, `{"id":"1"}`, "POST /{id}/feed"),
		}, "POST /{id}/feed params{} body{scheduled_publish_time: number} fields[id]", ""},
		{"an upload", policy.Call{}, []*observe.Seen{
			graphCall(nil, []policy.Argument{{Name: "source", Kind: policy.IsFile}, {Name: "caption", Text: "c"}}, `{"id":"1","post_id":"2"}`, "POST /{id}/photos"),
		}, "POST /{id}/photos params{} body{caption: max 10; source: file} fields[id post_id] unlisted[source]", ""},
		{"a body of the Graph that cannot be read", policy.Call{}, []*observe.Seen{unjudged(graphCall(nil, nil, `{"id":"1"}`, "POST /{id}/videos"))},
			"POST /{id}/videos fields[id]", "no params: once the body could not be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var x, graph []policy.Call
			if test.was.Operation != "" {
				x = []policy.Call{test.was}
			}
			var got []string
			var notes []string
			for _, p := range observe.Suggest(snapshot(t, test.seen...), declared(x, graph), "") {
				if p.Unused {
					continue
				}
				for _, c := range p.Calls {
					got = append(got, text(c))
					notes = append(notes, slices.Collect(maps.Values(c.Notes))...)
				}
			}
			if diff := cmp.Diff([]string{test.want}, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(strings.Join(notes, "\n"), test.note) {
				t.Errorf("no note says %q: %q", test.note, notes)
			}
		})
	}
}

// An edge that was only reached through a node gets a contract that gives nothing
// by itself; scopes and calls that were not needed are left out, and said.
func TestSuggestPurposes(t *testing.T) {
	calls := []policy.Call{{Operation: "GET /2/users/me"}, {Operation: "GET /2/dm_events"}}
	d := declared(calls, []policy.Call{{Operation: "GET /{id}"}})
	s := snapshot(t,
		xCall("GET /2/users/me", nil, nil, `{"data":{"id":"1"}}`), xCall("GET unknown", nil, nil, ""),
		graphCall(nil, nil, `{"accounts":{"data":[{"name":"n"}]}}`, "GET /me", "GET /me/accounts"))
	got := observe.Suggest(s, d, "")
	if len(got) != 3 || got[0].Name != "read" || got[1].Name != "pages" || got[2].Name != "own" || got[2].Unused {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff([]string{"tweet.read", "users.read", "offline.access"}, got[0].Scopes); diff != "" {
		t.Error(diff)
	}
	if n := got[0].Notes; n["scopes"] != "left out, no call needs it: follows.read dm.read" ||
		n[""] != "Left out, never seen: GET /2/dm_events. Not suggested: once that the platform's documents do not have (GET unknown)." {
		t.Errorf("%q", n)
	}
	if diff := cmp.Diff([]string{"pages_show_list"}, got[1].Scopes); diff != "" {
		t.Error(diff)
	}
	if len(got[1].Calls) != 2 || text(got[1].Calls[0]) != "GET /me params{} fields[accounts.name]" || text(got[1].Calls[1]) != "GET /me/accounts params{} fields[]" {
		t.Errorf("%+v", got[1].Calls)
	}
	if only := observe.Suggest(s, d, "pages"); len(only) != 1 || only[0].Name != "pages" {
		t.Errorf("only pages: %+v", only)
	}
	// What was never used is left as it is.
	if got := observe.Suggest(snapshot(t), d, "read"); !got[0].Unused || len(got[0].Calls) != 2 || len(got[0].Scopes) != 5 {
		t.Errorf("never used: %+v", got)
	}
}

// Whatever was observed is allowed by what is suggested for it.
func TestSuggestedAllowsWhatWasSeen(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		var seen []*observe.Seen
		for range 1 + random.IntN(6) {
			seen = append(seen, randomCall(random))
		}
		list := observe.Suggest(snapshot(t, seen...), declared(nil, nil), "")
		var purposes []policy.Purpose
		for _, s := range list {
			p := policy.Purpose{Name: s.Name, Why: "w", App: map[gatehouse.PurposeName]gatehouse.AppName{"read": "main-x", "pages": "fb"}[s.Name]}
			for _, c := range s.Calls {
				p.Calls = append(p.Calls, policy.Call{Operation: c.Operation, Params: c.Params, Body: c.Body, Fields: c.Fields})
			}
			purposes = append(purposes, p)
		}
		set, err := policy.Compile(purposes, policy.Enforce)
		if err != nil {
			t.Fatalf("%v in %+v", err, list)
		}
		for _, s := range seen {
			d := set.Decide(policy.Request{
				Service: s.Service, Allowed: []gatehouse.PurposeName{s.Purpose}, Purpose: s.Purpose, Platform: s.Platform, App: s.App, Operations: s.Operations,
				Params: s.Params, Body: s.Body, Selected: s.Selected, Joined: s.Platform != gatehouse.X,
			})
			if !d.Allow {
				t.Fatalf("%s: %s\n%+v\nsuggested %+v", d.Rule, d.Reason, s, list)
			}
		}
	}
}

// randomCall is a call that a client could make.
func randomCall(random *rand.Rand) *observe.Seen {
	values := []string{"", "a", "true", "7", "-3.5", "100000", "replies", "a,b,c", "recency", strings.Repeat("långer ", 30), "2125848077263702974", "0"}
	value := func() string { return values[random.IntN(len(values))] }
	var params, body []policy.Argument
	for _, name := range []string{"query", "max_results", "exclude", "sort_order", "ids", "odd", "expansions", "limit", "period"} {
		if random.IntN(3) == 0 {
			params = append(params, written(name, value()))
		}
	}
	for _, name := range []string{"text", "poll.options", "geo", "reply.auto", "message", "odd_one"} {
		switch random.IntN(8) {
		case 0:
			body = append(body, policy.Argument{Name: name, Kind: policy.IsText, Text: value()})
		case 1:
			body = append(body, policy.Argument{Name: name, Kind: policy.IsNumber, Text: "12"})
		case 2:
			body = append(body, policy.Argument{Name: name, Kind: policy.IsNull})
		case 3:
			above := []string{"media", "attachment"}[random.IntN(2)]
			body = append(body, policy.Argument{Name: above, Kind: policy.IsObject}, policy.Argument{Name: above + ".id", Kind: policy.IsBoolean, Text: "true"})
		}
	}
	s := xCall("GET /2/tweets/search/recent", params, nil, `{"data":{"id":"1"}}`)
	switch random.IntN(3) {
	case 0:
		s = xCall("POST /2/tweets", params, body, `{"data":{"id":"1"}}`)
	case 1:
		s = graphCall(params, body, `{"id":"1"}`, "POST /{id}/feed")
	}
	if random.IntN(2) == 0 {
		asking(s, "name", "id")
	}
	return s
}

func TestUnused(t *testing.T) {
	const me, search, post = "GET /2/users/me", "GET /2/tweets/search/recent", "POST /2/tweets"
	x := []policy.Call{
		{Operation: me, Params: map[string]policy.Shape{"user.fields": {}, "expansions": {}}, Fields: []string{"id", "name", "public_metrics.like_count", "public_metrics.tweet_count", "entities", "location", "odd_one"}},
		{Operation: search}, {Operation: "GET /2/dm_events"},
		{Operation: post, Body: map[string]policy.Shape{"text": {}, "poll.options": {}, "poll": {}, "geo": {}}, Fields: []string{"id", "text"}},
	}
	graph := []policy.Call{
		{Operation: "GET /{id}", Fields: []string{"id", "email"}}, {Operation: "POST /{id}/feed", Params: map[string]policy.Shape{"message": {}, "link": {}}}, {Operation: "GET /{id}/accounts"},
		{Operation: "GET /{id}/feed"},
	}
	s := snapshot(t,
		asking(xCall(me, []policy.Argument{written("user.fields", "x")}, nil, `{"data":{"id":"1","name":"n","public_metrics":{"like_count":1},"entities":{"url":"u"}}}`), "location"),
		xCall(search, nil, nil, `{"data":[]}`),
		xCall(post, nil, []policy.Argument{{Name: "text", Kind: policy.IsText}, {Name: "poll", Kind: policy.IsObject}, {Name: "poll.options", Kind: policy.IsList}}, ""),
		graphCall(nil, nil, `{"id":"1"}`, "GET /me", "GET /me/accounts"),
		graphCall(nil, []policy.Argument{{Name: "message", Text: "m"}}, `{"id":"1"}`, "POST /{id}/feed"))
	var got []string
	for _, f := range observe.FindUnused(s, declared(x, graph)) {
		got = append(got, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s", f.Kind, f.Purpose, f.Service, f.Call, f.Name)), " "))
	}
	want := []string{
		"purpose-of-service read worker",
		"scope read follows.read", "scope read dm.read",
		"parameter read " + me + " expansions",
		"field read " + me + " public_metrics.tweet_count", "field read " + me + " location",
		"call read GET /2/dm_events",
		"body-field read " + post + " geo",
		"field pages GET /{id} email",
		"parameter pages POST /{id}/feed link",
		"call pages GET /{id}/feed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := observe.FindUnused(snapshot(t), declared(x, nil)); len(got) != 2 || got[0].Kind != observe.UnusedPurpose || got[1].Kind != observe.UnusedPurpose {
		t.Errorf("nothing was observed: %+v", got)
	}
}

// What report mode lets through of replies and enforce mode leaves out.
func TestWithheld(t *testing.T) {
	x := []policy.Call{{Operation: "GET /2/users/me", Fields: []string{"id", "public_metrics.like_count", "includes.tweets.id"}}, {Operation: "GET /2/tweets/search/recent"}}
	s := snapshot(t,
		xCall("GET /2/users/me", nil, nil, `{"data":{"id":"1","name":"n","public_metrics":{"like_count":1,"tweet_count":2}},"includes":{"posts":[{"id":"1"}]}}`),
		xCall("GET /2/tweets/search/recent", nil, nil, `{"data":[{"id":"1","text":"t"}]}`))
	want := []observe.Withheld{{Purpose: "read", Call: "GET /2/users/me", Fields: []string{"name", "public_metrics.tweet_count"}}}
	if diff := cmp.Diff(want, observe.FindWithheld(s, declared(x, nil))); diff != "" {
		t.Error(diff)
	}
}

// What was not used any more since a day, and what other services used, is left
// out; what was used on that day is not.
func TestLoad(t *testing.T) {
	s, _ := newStore(t)
	use := func(service gatehouse.ServiceName, op gatehouse.Operation) observe.Use {
		return observe.Use{Service: service, Purpose: "read", Operation: op}
	}
	if err := s.AddUses(t.Context(), []observe.Call{
		{Use: use("web", "GET /2/users/me"), Last: 99, Calls: 1}, {Use: use("web", "GET /2/dm_events"), Last: 100, Calls: 1}, {Use: use("worker", "GET /2/dm_events"), Last: 100, Calls: 1},
	}, nil); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		since   time.Time
		service gatehouse.ServiceName
		want    int // findings: me, dm_events, the worker's purpose, the rest
	}{
		{time.Time{}, "", 0}, {observe.Day(99).Time(), "", 0}, {observe.Day(100).Time(), "", 1}, {observe.Day(101).Time(), "", 2}, {time.Time{}, "worker", 1},
	} {
		got, err := observe.Load(t.Context(), s, test.since, test.service)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		for _, f := range observe.FindUnused(got, declared([]policy.Call{{Operation: "GET /2/users/me"}, {Operation: "GET /2/dm_events"}}, nil)) {
			if f.Kind == observe.UnusedCall {
				calls++
			}
			if f.Kind == observe.UnusedPurpose && f.Purpose == "read" {
				calls = 2
			}
		}
		if calls != test.want {
			t.Errorf("since %v, service %q: %d calls are unused, want %d", test.since, test.service, calls, test.want)
		}
		if !test.since.IsZero() && got.Since.Before(test.since) {
			t.Errorf("since %s counts from %s", test.since, got.Since)
		}
	}
}
