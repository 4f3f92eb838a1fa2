package x

import "strings"

var userPaging = strings.Fields("max_results pagination_token")

var followOperations = []operation{
	{id: "getUsersFollowers", route: "GET /2/users/{id}/followers", auth: anyAuth, scopes: "follows.read tweet.read users.read", appLimit: "300/15m", userLimit: "300/15m", query: with(userQuery, userPaging...), handle: (*Platform).followers},
	{id: "getUsersFollowing", route: "GET /2/users/{id}/following", auth: anyAuth, scopes: "follows.read tweet.read users.read", appLimit: "300/15m", userLimit: "300/15m", query: with(userQuery, userPaging...), handle: (*Platform).following},
	{id: "followUser", route: "POST /2/users/{id}/following", auth: userAuth, scopes: "follows.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).follow},
	{id: "unfollowUser", route: "DELETE /2/users/{source_user_id}/following/{target_user_id}", auth: userAuth, scopes: "follows.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).unfollow},
	{id: "getUsersMuting", route: "GET /2/users/{id}/muting", auth: userAuth, scopes: "mute.read tweet.read users.read", userLimit: "15/15m", query: with(userQuery, userPaging...), handle: (*Platform).listMuting},
	{id: "muteUser", route: "POST /2/users/{id}/muting", auth: userAuth, scopes: "mute.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).mute},
	{id: "unmuteUser", route: "DELETE /2/users/{source_user_id}/muting/{target_user_id}", auth: userAuth, scopes: "mute.write tweet.read users.read", userLimit: "50/15m", handle: (*Platform).unmute},
	{id: "getUsersBlocking", route: "GET /2/users/{id}/blocking", auth: userAuth, scopes: "block.read tweet.read users.read", userLimit: "15/15m", query: with(userQuery, userPaging...), handle: (*Platform).listBlocking},
	{id: "blockUsersDms", route: "POST /2/users/{id}/dm/block", auth: userAuth, scopes: "dm.write tweet.read users.read", appLimit: "25/15m 1000/24h", userLimit: "10/15m 400/24h", handle: (*Platform).blockMessages},
	{id: "unblockUsersDms", route: "POST /2/users/{id}/dm/unblock", auth: userAuth, scopes: "dm.write tweet.read users.read", appLimit: "25/15m 1000/24h", userLimit: "10/15m 400/24h", handle: (*Platform).unblockMessages},
}

// listUsers answers with one page of people, the newest of the set first.
func (p *Platform) listUsers(c *call, set *ordered, how paging) (any, error) {
	var ids []string
	for _, id := range set.newest() {
		if p.state.visibleUser(id) != nil {
			ids = append(ids, id)
		}
	}
	cut, err := paginate(c, how, ids, identity)
	if err != nil {
		return nil, err
	}
	users := make([]*user, len(cut.items))
	for i, id := range cut.items {
		users[i] = p.state.users[id]
	}
	return p.userReply(c, users, nil, cut.meta)
}

func (p *Platform) followers(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &u.followers, paging{1, 1000, 100, ""})
}

func (p *Platform) following(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &u.following, paging{1, 1000, 100, ""})
}

// bodyTarget reads the target_user_id of a body.
func (p *Platform) bodyTarget(c *call) (*user, error) {
	var body struct {
		Target string `json:"target_user_id"`
	}
	if err := c.self("id"); err != nil {
		return nil, err
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Target == "" {
		return nil, invalidRequest("", "", "$.target_user_id: is missing but it is required")
	}
	return p.targetUser("target_user_id", body.Target)
}

func (p *Platform) follow(c *call) (any, error) {
	target, err := p.bodyTarget(c)
	if err != nil {
		return nil, err
	}
	if target == c.who.user {
		return nil, invalidRequest("", "", "You cannot follow yourself.")
	}
	if target.protected {
		return reply(map[string]any{"following": false, "pending_follow": true}, nil, nil, nil), nil
	}
	if c.who.user.following.add(target.id) {
		target.followers.add(c.who.user.id)
		p.announce("follow.follow", target, p.relation(c.who.user, target))
	}
	return reply(map[string]any{"following": true, "pending_follow": false}, nil, nil, nil), nil
}

// relation is the payload of an event between two people.
func (p *Platform) relation(source, target *user) map[string]any {
	return map[string]any{
		"source": p.renderUser(source, nil, &selection{}, &includes{}), "target": p.renderUser(target, nil, &selection{}, &includes{}),
		"created_at": timestamp(p.now()),
	}
}

// pathTarget reads the source and target of a path.
func (p *Platform) pathTarget(c *call) (*user, error) {
	if err := c.self("source_user_id"); err != nil {
		return nil, err
	}
	return p.targetUser("target_user_id", c.path["target_user_id"])
}

func (p *Platform) unfollow(c *call) (any, error) {
	target, err := p.pathTarget(c)
	if err != nil {
		return nil, err
	}
	if c.who.user.following.remove(target.id) {
		target.followers.remove(c.who.user.id)
		p.announce("follow.unfollow", target, p.relation(c.who.user, target))
	}
	return reply(map[string]any{"following": false}, nil, nil, nil), nil
}

func (p *Platform) listMuting(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	return p.listUsers(c, &c.who.user.muting, paging{1, 1000, 100, ""})
}

func (p *Platform) mute(c *call) (any, error) {
	target, err := p.bodyTarget(c)
	if err != nil {
		return nil, err
	}
	if c.who.user.muting.add(target.id) {
		p.announce("mute.mute", c.who.user, p.relation(c.who.user, target))
	}
	return reply(map[string]any{"muting": true}, nil, nil, nil), nil
}

func (p *Platform) unmute(c *call) (any, error) {
	target, err := p.pathTarget(c)
	if err != nil {
		return nil, err
	}
	if c.who.user.muting.remove(target.id) {
		p.announce("mute.unmute", c.who.user, p.relation(c.who.user, target))
	}
	return reply(map[string]any{"muting": false}, nil, nil, nil), nil
}

func (p *Platform) listBlocking(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	return p.listUsers(c, &c.who.user.blocking, paging{1, 1000, 100, ""})
}

// blockMessages stops direct messages from the person in the path.
func (p *Platform) blockMessages(c *call) (any, error) {
	target, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	c.who.user.dmBlocked.add(target.id)
	return reply(map[string]any{"blocked": true}, nil, nil, nil), nil
}

func (p *Platform) unblockMessages(c *call) (any, error) {
	target, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	c.who.user.dmBlocked.remove(target.id)
	return reply(map[string]any{"blocked": false}, nil, nil, nil), nil
}
