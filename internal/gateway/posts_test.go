package gateway_test

import (
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/gateway"
)

// tally is what a gateway told of posts.
type tally struct {
	mu                      sync.Mutex
	posts, replies, partial int64
}

func (y *tally) count(c *gateway.Config) {
	c.Posts = map[gatehouse.AppName]func(gatehouse.Operation, int64, bool){"main-x": func(_ gatehouse.Operation, posts int64, whole bool) {
		y.mu.Lock()
		defer y.mu.Unlock()
		y.posts += posts
		if whole {
			y.replies++
		} else {
			y.partial++
		}
	}}
}

func (y *tally) take() (posts, replies, partial int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	posts, replies, partial = y.posts, y.replies, y.partial
	y.posts, y.replies, y.partial = 0, 0, 0
	return posts, replies, partial
}

// The posts of each reply of X are told once it was read to its end, also of one that
// is long, of a refusal that there were none; nothing of other apps.
func TestPostsAreCounted(t *testing.T) {
	y := new(tally)
	r := newRig(t, y.count)
	c := r.connection("main-x", "publish", r.people[0].Username)
	_, h := r.handle(c, "publish")
	for name, step := range map[string]struct {
		path           string
		status         int
		posts, replies int64
	}{
		"no posts":  {"/x/2/users/me", 200, 0, 1},
		"a page":    {"/x/2/tweets/search/recent?query=the&max_results=10", 200, 10, 1},
		"a refusal": {"/x/2/tweets/search/recent?query=the&max_results=1000", 400, 0, 1},
		"not sent":  {"/x/2/dm_events", 403, 0, 0},
	} {
		y.take()
		if got := r.call("GET", step.path, bearer(h)); got.status != step.status {
			t.Errorf("%s: status %d, want %d", name, got.status, step.status)
		}
		posts, replies, partial := y.take()
		if posts != step.posts || replies != step.replies || partial != 0 {
			t.Errorf("%s: told of %d posts in %d replies and %d parts, want %d in %d", name, posts, replies, partial, step.posts, step.replies)
		}
	}
	page := r.connection("pages", "pages", r.people[1].Username)
	_, ph := r.handle(page, "pages")
	r.call("GET", "/meta/v25.0/me?fields=id", bearer(ph)).ok()
	if posts, replies, partial := y.take(); posts+replies+partial != 0 {
		t.Errorf("of another platform: %d, %d, %d", posts, replies, partial)
	}
}
