package x

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// span is what limits a listing of posts in time.
var span = strings.Fields("max_results pagination_token start_time end_time since_id until_id")

var searchOperations = []operation{
	{id: "searchPostsRecent", route: "GET /2/tweets/search/recent", auth: anyAuth, scopes: readPosts, appLimit: "450/15m", userLimit: "300/15m", query: with(with(postQuery, span...), "query", "next_token", "sort_order"), handle: (*Platform).searchRecent},
	{id: "searchPostsAll", route: "GET /2/tweets/search/all", auth: appOnly, appLimit: "300/15m", query: with(with(postQuery, span...), "query", "next_token", "sort_order"), handle: (*Platform).searchAll},
	{id: "getPostsCountsRecent", route: "GET /2/tweets/counts/recent", auth: appOnly | oauth2User, appLimit: "300/15m", query: with(span, "query", "next_token", "granularity", "search_count.fields"), handle: (*Platform).countRecent},
	{id: "getUsersPosts", route: "GET /2/users/{id}/tweets", auth: anyAuth, scopes: readPosts, appLimit: "10000/15m", userLimit: "900/15m", query: with(with(postQuery, span...), "exclude"), handle: (*Platform).userPosts},
	{id: "getUsersMentions", route: "GET /2/users/{id}/mentions", auth: anyAuth, scopes: readPosts, appLimit: "450/15m", userLimit: "300/15m", query: with(postQuery, span...), handle: (*Platform).userMentions},
	{id: "getUsersTimeline", route: "GET /2/users/{id}/timelines/reverse_chronological", auth: userAuth, scopes: readPosts, userLimit: "180/15m", query: with(with(postQuery, span...), "exclude"), handle: (*Platform).homeTimeline},
	{id: "getPostsQuotedPosts", route: "GET /2/tweets/{id}/quote_tweets", auth: anyAuth, scopes: readPosts, appLimit: "75/15m", userLimit: "75/15m", query: with(postQuery, "max_results", "pagination_token", "exclude"), handle: (*Platform).quotingPosts},
	{id: "getPostsReposts", route: "GET /2/tweets/{id}/retweets", auth: anyAuth, scopes: readPosts, appLimit: "75/15m", userLimit: "75/15m", query: with(postQuery, "max_results", "pagination_token"), handle: (*Platform).repostsOf},
	{id: "getUsersRepostsOfMe", route: "GET /2/users/reposts_of_me", auth: userAuth, scopes: "timeline.read tweet.read", userLimit: "75/15m", query: with(postQuery, "max_results", "pagination_token"), handle: (*Platform).repostsOfMe},
}

// within reads the time and id limits of a listing as a predicate.
func (c *call) within() (func(*post) bool, error) {
	var start, end time.Time
	for name, into := range map[string]*time.Time{"start_time": &start, "end_time": &end} {
		if text := c.query.Get(name); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, invalidRequest(name, text, fmt.Sprintf("The `%s` query parameter value [%s] is not a valid RFC3339 date-time", name, text))
			}
			*into = at
		}
	}
	if !start.IsZero() && !end.IsZero() && !start.Before(end) {
		return nil, invalidRequest("start_time", c.query.Get("start_time"), "Invalid 'start_time': 'start_time' must be before 'end_time'.")
	}
	since, until := c.query.Get("since_id"), c.query.Get("until_id")
	for name, id := range map[string]string{"since_id": since, "until_id": until} {
		if id != "" && !validID(id) {
			return nil, badPathID(name, id)
		}
	}
	return func(t *post) bool {
		return (start.IsZero() || !t.created.Before(start)) && (end.IsZero() || t.created.Before(end)) &&
			(since == "" || olderID(since, t.id)) && (until == "" || olderID(t.id, until))
	}, nil
}

// listPosts answers with one page of the posts that satisfy a predicate, the
// newest first.
func (p *Platform) listPosts(c *call, from []*post, how paging, keep func(*post) bool) (any, error) {
	within, err := c.within()
	if err != nil {
		return nil, err
	}
	exclude, err := c.list("exclude", []string{"replies", "retweets"})
	if err != nil {
		return nil, err
	}
	var found []*post
	for _, t := range slices.Backward(from) {
		if t.author.gone() || !p.mayRead(c, t) || !within(t) || !keep(t) ||
			t.replyTo != nil && slices.Contains(exclude, "replies") || t.repostOf != nil && slices.Contains(exclude, "retweets") {
			continue
		}
		found = append(found, t)
	}
	cut, err := paginate(c, how, found, func(t *post) string { return t.id })
	if err != nil {
		return nil, err
	}
	if len(cut.items) > 0 {
		cut.meta["newest_id"], cut.meta["oldest_id"] = cut.items[0].id, cut.items[len(cut.items)-1].id
	}
	return p.postReply(c, cut.items, nil, cut.meta)
}

// search is the common part of recent and full search.
func (p *Platform) search(c *call, how paging, limit int, since time.Time) (any, error) {
	query := c.query.Get("query")
	if query == "" {
		return nil, missingParameter("query")
	}
	matches, err := parseRule(query, limit)
	if err != nil {
		return nil, invalidRequest("query", query, "There were errors processing your request: "+err.Error())
	}
	if order := c.query.Get("sort_order"); order != "" && order != "recency" && order != "relevancy" {
		return nil, invalidRequest("sort_order", order, fmt.Sprintf("The `sort_order` query parameter value [%s] is not one of [recency,relevancy]", order))
	}
	if text := c.query.Get("start_time"); text != "" && !since.IsZero() {
		if at, err := time.Parse(time.RFC3339, text); err == nil && at.Before(since) {
			return nil, invalidRequest("start_time", text, fmt.Sprintf("Invalid 'start_time':'%s'. 'start_time' must be on or after %s.", text, timestamp(since)))
		}
	}
	return p.listPosts(c, p.state.timeline, how, func(t *post) bool { return !t.created.Before(since) && matches(t) })
}

// recent is how far back recent search looks.
const recent = 7 * 24 * time.Hour

func (p *Platform) searchRecent(c *call) (any, error) {
	return p.search(c, paging{10, 100, 10, "next_token"}, 512, p.now().Add(-recent))
}

func (p *Platform) searchAll(c *call) (any, error) {
	return p.search(c, paging{10, 500, 10, "next_token"}, 1024, time.Time{})
}

// countRecent counts matching posts by hour or day.
func (p *Platform) countRecent(c *call) (any, error) {
	query := c.query.Get("query")
	if query == "" {
		return nil, missingParameter("query")
	}
	matches, err := parseRule(query, 512)
	if err != nil {
		return nil, invalidRequest("query", query, "There were errors processing your request: "+err.Error())
	}
	bucket := map[string]time.Duration{"": time.Hour, "minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[c.query.Get("granularity")]
	if bucket == 0 {
		return nil, invalidRequest("granularity", c.query.Get("granularity"), "The `granularity` query parameter value is not one of [minute,hour,day]")
	}
	within, err := c.within()
	if err != nil {
		return nil, err
	}
	counts := make(map[time.Time]int)
	total := 0
	for _, t := range p.state.timeline {
		if !t.created.Before(p.now().Add(-recent)) && !t.author.protected && !t.author.gone() && within(t) && matches(t) {
			counts[t.created.Truncate(bucket)]++
			total++
		}
	}
	var starts []time.Time
	for start := range counts {
		starts = append(starts, start)
	}
	slices.SortFunc(starts, time.Time.Compare)
	data := []any{}
	for _, start := range starts {
		data = append(data, map[string]any{"start": timestamp(start), "end": timestamp(start.Add(bucket)), "tweet_count": counts[start]})
	}
	return reply(data, nil, nil, map[string]any{"total_tweet_count": total}), nil
}

func (p *Platform) userPosts(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listPosts(c, u.posts, paging{5, 100, 10, ""}, func(*post) bool { return true })
}

func (p *Platform) userMentions(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listPosts(c, p.state.timeline, paging{5, 100, 10, ""}, mentioning(u.person.Username))
}

func (p *Platform) homeTimeline(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	me := c.who.user
	return p.listPosts(c, p.state.timeline, paging{1, 100, 100, ""}, func(t *post) bool {
		return t.author == me || me.following.contains(t.author.id) && !me.muting.contains(t.author.id)
	})
}

func (p *Platform) quotingPosts(c *call) (any, error) {
	quoted, err := p.targetPost(c, "id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listPosts(c, p.state.timeline, paging{10, 100, 10, ""}, func(t *post) bool { return t.quotes == quoted })
}

func (p *Platform) repostsOf(c *call) (any, error) {
	original, err := p.targetPost(c, "id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listPosts(c, p.state.timeline, paging{10, 100, 10, ""}, func(t *post) bool { return t.repostOf == original })
}

func (p *Platform) repostsOfMe(c *call) (any, error) {
	return p.listPosts(c, p.state.timeline, paging{1, 100, 100, ""}, func(t *post) bool {
		return t.repostOf != nil && t.repostOf.author == c.who.user
	})
}
