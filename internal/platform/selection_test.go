package platform_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/platform"
)

func TestSelect(t *testing.T) {
	for _, test := range []struct {
		p     platform.Name
		query string
		want  platform.Selection
	}{
		{platform.X, "user.fields=id,%20name,&max_results=5", platform.Selection{Fields: []platform.Choice{{Path: "id", Or: "includes.users.id"}, {Path: "name", Or: "includes.users.name"}}}},
		{platform.X, "post.fields=text", platform.Selection{Fields: []platform.Choice{{Path: "text", Or: "includes.tweets.text"}}}},
		{platform.X, "dm_event.fields=text", platform.Selection{Fields: []platform.Choice{{Path: "text"}}}},
		{platform.X, "expansions=author_id,geo.place_id,attachments.media_keys,attachments.poll_ids,referenced_tweets.id,referenced_tweets.id.author_id,pinned_tweet_id,topic_ids,edit_history_post_ids,referenced_posts",
			platform.Selection{Fields: []platform.Choice{{Path: "includes.users"}, {Path: "includes.places"}, {Path: "includes.media"}, {Path: "includes.polls"}, {Path: "includes.tweets"},
				{Path: "includes.users"}, {Path: "includes.tweets"}, {Path: "includes.topics"}, {Path: "includes.tweets"}, {Path: "includes.tweets"}}}},
		{platform.Facebook, "fields=id,feed.limit(3){message,comments{from}}&user.fields=x", platform.Selection{
			Fields:    []platform.Choice{{Path: "id"}, {Path: "feed.message"}, {Path: "feed.comments.from"}},
			Modifiers: []platform.Modifier{{Name: "limit", Argument: "3"}}}},
		{platform.Facebook, "fields=about.as(id)", platform.Selection{Fields: []platform.Choice{{Path: "as().about"}, {Path: "about"}}}},
		{platform.Facebook, "", platform.Selection{}},
	} {
		params, err := url.ParseQuery(test.query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := platform.Select(test.p, params)
		if err != nil {
			t.Errorf("%s: %v", test.query, err)
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", test.query, d)
		}
	}
	if _, err := platform.Select(platform.Facebook, url.Values{"fields": {"a{"}}); err == nil {
		t.Error("an expansion that is not closed")
	}
}

// Only what the platforms' own links carry is free, and no page larger than the
// Graph's own.
func TestPagingPairs(t *testing.T) {
	for _, test := range []struct {
		p           platform.Name
		name, value string
		want        bool
	}{
		{platform.X, "pagination_token", "a", true}, {platform.Facebook, "pagination_token", "a", false},
		{platform.Facebook, "after", "a", true}, {platform.X, "after", "a", false},
		{platform.Facebook, "limit", "25", true}, {platform.Facebook, "limit", "26", false}, {platform.Facebook, "limit", "+5", false},
		{platform.Facebook, "limit", "-5", false}, {platform.Facebook, "limit", "007", false}, {platform.Facebook, "limit", "", false}, {platform.X, "limit", "5", false},
		{platform.Threads, "limit", "5", true}, {platform.X, "max_results", "5", false},
	} {
		if got := platform.Paging(test.p, test.name, test.value); got != test.want {
			t.Errorf("%s %s=%s is free: %t", test.p, test.name, test.value, got)
		}
	}
}

// The names that documents have are known, in X's both spellings; others are not.
func TestKnownNames(t *testing.T) {
	for _, test := range []struct {
		p          platform.Name
		path, want string
	}{
		{platform.X, "public_metrics.like_count", ""}, {platform.X, "public_metrics.likes_cuont", "likes_cuont"},
		{platform.X, "pinned_tweet_id", ""}, {platform.X, "pinned_post_id", ""}, {platform.X, "includes.users.username", ""}, {platform.X, "edit_history_tweet_ids", ""},
		{platform.Facebook, "accounts.access_token", ""}, {platform.Facebook, "likes.summary.total_count", ""}, {platform.Facebook, "birtday", "birtday"},
		{platform.Instagram, "media.caption", ""}, {platform.Threads, "threads_biography", ""}, {platform.Threads, "birthday", "birthday"},
	} {
		if got := platform.UnknownField(test.p, test.path); got != test.want {
			t.Errorf("%s %s: %q is unknown, want %q", test.p, test.path, got, test.want)
		}
	}
	params, ok := platform.QueryParams("GET /2/tweets/search/recent")
	if !ok || params["max_results"] != "number" || params["tweet.fields"] != "list" || params["post.fields"] != "list" || params["query"] != "text" {
		t.Errorf("%v, %t", params, ok)
	}
	if _, ok := platform.QueryParams("POST /1.1/statuses/update.json"); ok {
		t.Error("X's document describes a 1.1 call")
	}
}

func FuzzSelect(f *testing.F) {
	f.Add("fields=id,feed.as(x).limit(3){a{b}}")
	f.Add("tweet.fields=a,b&expansions=author_id,,geo.place_id")
	f.Fuzz(func(t *testing.T, query string) {
		params, err := platform.ParseParams(query)
		if err != nil {
			return
		}
		for _, p := range platform.Names() {
			s, err := platform.Select(p, params)
			if err != nil {
				continue
			}
			for _, c := range s.Fields {
				if c.Path == "" || p == platform.X && strings.HasPrefix(c.Or, "includes.") && !strings.HasSuffix(c.Or, c.Path) {
					t.Fatalf("%s: %+v", query, c)
				}
			}
		}
	})
}
