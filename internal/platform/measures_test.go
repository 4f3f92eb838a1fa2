package platform_test

import (
	"testing"

	"gatehouse/internal/platform"
)

func TestWords(t *testing.T) {
	for _, test := range []struct {
		p     platform.Name
		param string
		want  int
	}{
		{platform.X, "exclude", 2}, {platform.X, "query", 0}, {platform.X, "period", 0},
		{platform.Facebook, "period", 6}, {platform.Threads, "reply_control", 3}, {platform.Facebook, "message", 0}, {platform.Facebook, "exclude", 0},
	} {
		if got := platform.Words(test.p, test.param); len(got) != test.want {
			t.Errorf("%s %s: %q", test.p, test.param, got)
		}
	}
}

func TestMost(t *testing.T) {
	for _, test := range []struct {
		p                platform.Name
		operation, param string
		want             int
	}{
		{platform.X, "GET /2/tweets/search/recent", "max_results", 100}, {platform.X, "GET /2/tweets/search/all", "max_results", 500},
		{platform.X, "GET /2/users/{id}/followers", "max_results", 1000}, {platform.X, "POST /2/tweets", "text", 25000},
		{platform.X, "POST /2/tweets", "for_super_followers_only", 0}, {platform.Facebook, "POST /{id}/feed", "message", 63206},
		{platform.Threads, "POST /{id}/threads", "text", 500}, {platform.Facebook, "POST /{id}/feed", "text", 0}, {platform.Instagram, "POST /{id}/media", "caption", 2200},
	} {
		got, ok := platform.Most(test.p, test.operation, test.param)
		if got != test.want || ok != (test.want != 0) {
			t.Errorf("%s %s %s: %d, %t, want %d", test.p, test.operation, test.param, got, ok, test.want)
		}
	}
}
