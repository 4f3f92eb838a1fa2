package x

var postPaging = with(postQuery, "max_results", "pagination_token")

var engagementOperations = []operation{
	{id: "likePost", route: "POST /2/users/{id}/likes", auth: userAuth, scopes: "like.write tweet.read users.read", userLimit: "50/15m 1000/24h", handle: (*Platform).like},
	{id: "unlikePost", route: "DELETE /2/users/{id}/likes/{tweet_id}", auth: userAuth, scopes: "like.write tweet.read users.read", userLimit: "50/15m 1000/24h", handle: (*Platform).unlike},
	{id: "getUsersLikedPosts", route: "GET /2/users/{id}/liked_tweets", auth: userAuth, scopes: "like.read tweet.read users.read", appLimit: "75/15m", userLimit: "75/15m", query: postPaging, handle: (*Platform).likedPosts},
	{id: "getPostsLikingUsers", route: "GET /2/tweets/{id}/liking_users", auth: userAuth, scopes: "like.read tweet.read users.read", appLimit: "75/15m", userLimit: "75/15m", query: with(userQuery, userPaging...), handle: (*Platform).likingUsers},
	{id: "repostPost", route: "POST /2/users/{id}/retweets", auth: userAuth, scopes: writePosts, userLimit: "50/15m", handle: (*Platform).repost},
	{id: "unrepostPost", route: "DELETE /2/users/{id}/retweets/{source_tweet_id}", auth: userAuth, scopes: writePosts, userLimit: "50/15m", handle: (*Platform).unrepost},
	{id: "getPostsRepostedBy", route: "GET /2/tweets/{id}/retweeted_by", auth: anyAuth, scopes: readPosts, appLimit: "75/15m", userLimit: "75/15m", query: with(userQuery, userPaging...), handle: (*Platform).repostedBy},
	{id: "createUsersBookmark", route: "POST /2/users/{id}/bookmarks", auth: oauth2User, scopes: "bookmark.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).bookmark},
	{id: "deleteUsersBookmark", route: "DELETE /2/users/{id}/bookmarks/{tweet_id}", auth: oauth2User, scopes: "bookmark.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).unbookmark},
	{id: "getUsersBookmarks", route: "GET /2/users/{id}/bookmarks", auth: userAuth, scopes: "bookmark.read tweet.read users.read", userLimit: "180/15m", query: postPaging, handle: (*Platform).bookmarked},
}

// bodyPost reads the tweet_id of a body, for the authenticated user's account.
func (p *Platform) bodyPost(c *call) (*post, error) {
	var body struct {
		Tweet  string `json:"tweet_id"`
		Folder string `json:"folder_id"`
	}
	if err := c.self("id"); err != nil {
		return nil, err
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Tweet == "" {
		return nil, invalidRequest("", "", "$.tweet_id: is missing but it is required")
	}
	return p.targetPost(c, "tweet_id", body.Tweet)
}

// pathPost reads the post of a path, for the authenticated user's account.
func (p *Platform) pathPost(c *call, parameter string) (*post, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	return p.targetPost(c, parameter, c.path[parameter])
}

func (p *Platform) like(c *call) (any, error) {
	t, err := p.bodyPost(c)
	if err != nil {
		return nil, err
	}
	if t.likes.add(c.who.user.id) {
		c.who.user.likes.add(t.id)
		p.announce("like.create", t.author, map[string]any{
			"liking_user": p.renderUser(c.who.user, nil, &selection{}, &includes{}), "liked_tweet_id": t.id, "created_at": timestamp(p.now()),
		})
	}
	return reply(map[string]any{"liked": true}, nil, nil, nil), nil
}

func (p *Platform) unlike(c *call) (any, error) {
	t, err := p.pathPost(c, "tweet_id")
	if err != nil {
		return nil, err
	}
	t.likes.remove(c.who.user.id)
	c.who.user.likes.remove(t.id)
	return reply(map[string]any{"liked": false}, nil, nil, nil), nil
}

// setOfPosts answers with one page of the posts whose identifiers a set holds,
// the last added first.
func (p *Platform) setOfPosts(c *call, set *ordered, how paging) (any, error) {
	var found []*post
	for _, id := range set.newest() {
		if t := p.state.visiblePost(id); t != nil && p.mayRead(c, t) {
			found = append(found, t)
		}
	}
	cut, err := paginate(c, how, found, func(t *post) string { return t.id })
	if err != nil {
		return nil, err
	}
	return p.postReply(c, cut.items, nil, cut.meta)
}

func (p *Platform) likedPosts(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.setOfPosts(c, &u.likes, paging{5, 100, 100, ""})
}

func (p *Platform) likingUsers(c *call) (any, error) {
	t, err := p.targetPost(c, "id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &t.likes, paging{1, 100, 100, ""})
}

func (p *Platform) repost(c *call) (any, error) {
	t, err := p.bodyPost(c)
	if err != nil {
		return nil, err
	}
	if t.reposts.add(c.who.user.id) {
		c.who.user.reposts.add(t.id)
		made := p.addPost(&post{author: c.who.user, repostOf: t, lang: t.lang})
		return reply(map[string]any{"retweeted": true, "rest_id": made.id}, nil, nil, nil), nil
	}
	return reply(map[string]any{"retweeted": true, "rest_id": t.id}, nil, nil, nil), nil
}

func (p *Platform) unrepost(c *call) (any, error) {
	t, err := p.pathPost(c, "source_tweet_id")
	if err != nil {
		return nil, err
	}
	if t.reposts.remove(c.who.user.id) {
		c.who.user.reposts.remove(t.id)
		for _, mine := range c.who.user.posts {
			if mine.repostOf == t {
				p.state.remove(mine, p.now())
				break
			}
		}
	}
	return reply(map[string]any{"retweeted": false}, nil, nil, nil), nil
}

func (p *Platform) repostedBy(c *call) (any, error) {
	t, err := p.targetPost(c, "id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &t.reposts, paging{1, 100, 100, ""})
}

func (p *Platform) bookmark(c *call) (any, error) {
	t, err := p.bodyPost(c)
	if err != nil {
		return nil, err
	}
	if c.who.user.bookmarks.add(t.id) {
		t.bookmarks++
	}
	return reply(map[string]any{"bookmarked": true}, nil, nil, nil), nil
}

func (p *Platform) unbookmark(c *call) (any, error) {
	t, err := p.pathPost(c, "tweet_id")
	if err != nil {
		return nil, err
	}
	if c.who.user.bookmarks.remove(t.id) {
		t.bookmarks--
	}
	return reply(map[string]any{"bookmarked": false}, nil, nil, nil), nil
}

func (p *Platform) bookmarked(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	return p.setOfPosts(c, &c.who.user.bookmarks, paging{1, 100, 100, ""})
}
