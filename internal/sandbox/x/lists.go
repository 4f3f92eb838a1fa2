package x

import (
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"
)

// list is one curated list of people.
type list struct {
	id          string
	name        string
	description string
	private     bool
	owner       *user
	created     time.Time
	members     ordered
	followers   ordered
}

const (
	readLists  = "list.read tweet.read users.read"
	writeLists = "list.write tweet.read users.read"
)

var listPaging = with(listQuery, "max_results", "pagination_token")

var listOperations = []operation{
	{id: "createLists", route: "POST /2/lists", auth: userAuth, scopes: "list.read " + writeLists, userLimit: "300/15m", status: http.StatusCreated, handle: (*Platform).createList},
	{id: "getListsById", route: "GET /2/lists/{id}", auth: anyAuth, scopes: readLists, appLimit: "75/15m", userLimit: "75/15m", query: listQuery, handle: (*Platform).listByID},
	{id: "updateLists", route: "PUT /2/lists/{id}", auth: userAuth, scopes: writeLists, userLimit: "300/15m", handle: (*Platform).updateList},
	{id: "deleteLists", route: "DELETE /2/lists/{id}", auth: userAuth, scopes: writeLists, userLimit: "300/15m", handle: (*Platform).deleteList},
	{id: "getListsMembers", route: "GET /2/lists/{id}/members", auth: anyAuth, scopes: readLists, appLimit: "900/15m", userLimit: "900/15m", query: with(userQuery, userPaging...), handle: (*Platform).listMembers},
	{id: "addListsMember", route: "POST /2/lists/{id}/members", auth: userAuth, scopes: writeLists, userLimit: "300/15m", handle: (*Platform).addMember},
	{id: "removeListsMemberByUserId", route: "DELETE /2/lists/{id}/members/{user_id}", auth: userAuth, scopes: writeLists, userLimit: "300/15m", handle: (*Platform).removeMember},
	{id: "getListsFollowers", route: "GET /2/lists/{id}/followers", auth: anyAuth, scopes: readLists, query: with(userQuery, userPaging...), handle: (*Platform).listFollowers},
	{id: "getListsPosts", route: "GET /2/lists/{id}/tweets", auth: anyAuth, scopes: readLists, appLimit: "900/15m", userLimit: "900/15m", query: postPaging, handle: (*Platform).listPostsOf},
	{id: "getUsersOwnedLists", route: "GET /2/users/{id}/owned_lists", auth: anyAuth, scopes: readLists, appLimit: "15/15m", userLimit: "15/15m", query: listPaging, handle: (*Platform).ownedLists},
	{id: "getUsersListMemberships", route: "GET /2/users/{id}/list_memberships", auth: anyAuth, scopes: readLists, appLimit: "75/15m", userLimit: "75/15m", query: listPaging, handle: (*Platform).memberships},
	{id: "getUsersFollowedLists", route: "GET /2/users/{id}/followed_lists", auth: anyAuth, scopes: readLists, query: listPaging, handle: (*Platform).followedLists},
	{id: "followList", route: "POST /2/users/{id}/followed_lists", auth: userAuth, scopes: writeLists, userLimit: "50/15m", handle: (*Platform).followList},
	{id: "unfollowList", route: "DELETE /2/users/{id}/followed_lists/{list_id}", auth: userAuth, scopes: writeLists, userLimit: "50/15m", handle: (*Platform).unfollowList},
	{id: "getUsersPinnedLists", route: "GET /2/users/{id}/pinned_lists", auth: userAuth, scopes: readLists, appLimit: "15/15m", userLimit: "15/15m", query: listQuery, handle: (*Platform).pinnedLists},
	{id: "pinList", route: "POST /2/users/{id}/pinned_lists", auth: userAuth, scopes: writeLists, userLimit: "50/15m", handle: (*Platform).pinList},
	{id: "unpinList", route: "DELETE /2/users/{id}/pinned_lists/{list_id}", auth: userAuth, scopes: writeLists, userLimit: "50/15m", handle: (*Platform).unpinList},
}

// seedLists gives the first few people a list each.
func (s *state) seedLists() {
	for i := range 8 {
		owner := s.everyone[i]
		l := &list{
			id: fmt.Sprint(1_500_000_000_000_000_000 + i*4099), name: "Reading " + fmt.Sprint(i+1), owner: owner,
			description: "People worth reading", created: owner.person.Joined, private: i == 7,
		}
		for k := range 12 {
			l.members.add(s.everyone[draw(len(s.everyone), 10, i, k)].id)
		}
		s.lists[l.id] = l
		owner.lists.add(l.id)
	}
}

// listed is on how many public lists an account stands.
func (s *state) listed(u *user) int {
	count := 0
	for _, l := range s.lists {
		if !l.private && l.members.contains(u.id) {
			count++
		}
	}
	return count
}

func (p *Platform) renderList(l *list, c *call, s *selection, n *includes) map[string]any {
	out := map[string]any{"id": l.id, "name": l.name}
	for _, field := range s.list {
		switch field {
		case "description":
			out[field] = l.description
		case "created_at":
			out[field] = timestamp(l.created)
		case "private":
			out[field] = l.private
		case "owner_id":
			out[field] = l.owner.id
		case "member_count":
			out[field] = l.members.len()
		case "follower_count":
			out[field] = l.followers.len()
		}
	}
	if s.wants("owner_id") {
		out["owner_id"] = l.owner.id
		p.includeUser(l.owner, c, s, n)
	}
	return out
}

// targetList finds a list that the caller may see; own asks for one they own.
func (p *Platform) targetList(c *call, parameter, id string, own bool) (*list, error) {
	if !validID(id) {
		return nil, badPathID(parameter, id)
	}
	l := p.state.lists[id]
	if l == nil || l.private && l.owner != c.who.user {
		return nil, missing("list", parameter, id)
	}
	if own && l.owner != c.who.user {
		return nil, forbidden("You are not allowed to modify this List.")
	}
	return l, nil
}

// listBody is the body of a list's creation and change.
type listBody struct {
	Name        *string `json:"name"`
	Description *string `json:"description"`
	Private     *bool   `json:"private"`
}

func (b *listBody) check() error {
	if b.Name != nil && (utf8.RuneCountInString(*b.Name) < 1 || utf8.RuneCountInString(*b.Name) > 25) {
		return invalidRequest("", "", "$.name: must be between 1 and 25 characters long")
	}
	if b.Description != nil && utf8.RuneCountInString(*b.Description) > 100 {
		return invalidRequest("", "", "$.description: must be at most 100 characters long")
	}
	return nil
}

func (b *listBody) apply(l *list) {
	if b.Name != nil {
		l.name = *b.Name
	}
	if b.Description != nil {
		l.description = *b.Description
	}
	if b.Private != nil {
		l.private = *b.Private
	}
}

func (p *Platform) createList(c *call) (any, error) {
	var body listBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Name == nil {
		return nil, invalidRequest("", "", "$.name: is missing but it is required")
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	l := &list{id: p.state.nextID(p.now()), owner: c.who.user, created: p.now()}
	body.apply(l)
	p.state.lists[l.id] = l
	c.who.user.lists.add(l.id)
	return reply(map[string]any{"id": l.id, "name": l.name}, nil, nil, nil), nil
}

func (p *Platform) listByID(c *call) (any, error) {
	s, err := c.selectFields(listExpansions)
	if err != nil {
		return nil, err
	}
	l, err := p.targetList(c, "id", c.path["id"], false)
	if err != nil {
		return nil, err
	}
	var n includes
	return reply(p.renderList(l, c, &s, &n), &n, nil, nil), nil
}

func (p *Platform) updateList(c *call) (any, error) {
	var body listBody
	l, err := p.targetList(c, "id", c.path["id"], true)
	if err != nil {
		return nil, err
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := body.check(); err != nil {
		return nil, err
	}
	body.apply(l)
	return reply(map[string]any{"updated": true}, nil, nil, nil), nil
}

func (p *Platform) deleteList(c *call) (any, error) {
	l, err := p.targetList(c, "id", c.path["id"], true)
	if err != nil {
		return nil, err
	}
	delete(p.state.lists, l.id)
	l.owner.lists.remove(l.id)
	for _, u := range p.state.everyone {
		u.followed.remove(l.id)
		u.pinned.remove(l.id)
	}
	return reply(map[string]any{"deleted": true}, nil, nil, nil), nil
}

func (p *Platform) listMembers(c *call) (any, error) {
	l, err := p.targetList(c, "id", c.path["id"], false)
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &l.members, paging{1, 100, 100, ""})
}

func (p *Platform) listFollowers(c *call) (any, error) {
	l, err := p.targetList(c, "id", c.path["id"], false)
	if err != nil {
		return nil, err
	}
	return p.listUsers(c, &l.followers, paging{1, 100, 100, ""})
}

func (p *Platform) addMember(c *call) (any, error) {
	var body struct {
		User string `json:"user_id"`
	}
	l, err := p.targetList(c, "id", c.path["id"], true)
	if err != nil {
		return nil, err
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	u, err := p.targetUser("user_id", body.User)
	if err != nil {
		return nil, err
	}
	l.members.add(u.id)
	return reply(map[string]any{"is_member": true}, nil, nil, nil), nil
}

func (p *Platform) removeMember(c *call) (any, error) {
	l, err := p.targetList(c, "id", c.path["id"], true)
	if err != nil {
		return nil, err
	}
	l.members.remove(c.path["user_id"])
	return reply(map[string]any{"is_member": false}, nil, nil, nil), nil
}

func (p *Platform) listPostsOf(c *call) (any, error) {
	l, err := p.targetList(c, "id", c.path["id"], false)
	if err != nil {
		return nil, err
	}
	return p.listPosts(c, p.state.timeline, paging{1, 100, 100, ""}, func(t *post) bool { return l.members.contains(t.author.id) })
}

// listsReply answers with one page of lists.
func (p *Platform) listsReply(c *call, ids []string) (any, error) {
	s, err := c.selectFields(listExpansions)
	if err != nil {
		return nil, err
	}
	var visible []string
	for _, id := range ids {
		if l := p.state.lists[id]; l != nil && (!l.private || l.owner == c.who.user) {
			visible = append(visible, id)
		}
	}
	cut, err := paginate(c, paging{1, 100, 100, ""}, visible, identity)
	if err != nil {
		return nil, err
	}
	var n includes
	var data []any
	for _, id := range cut.items {
		data = append(data, p.renderList(p.state.lists[id], c, &s, &n))
	}
	if data == nil {
		return reply(nil, &n, nil, cut.meta), nil
	}
	return reply(data, &n, nil, cut.meta), nil
}

func (p *Platform) ownedLists(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listsReply(c, u.lists.newest())
}

func (p *Platform) followedLists(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	return p.listsReply(c, u.followed.newest())
}

func (p *Platform) pinnedLists(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	return p.listsReply(c, c.who.user.pinned.newest())
}

func (p *Platform) memberships(c *call) (any, error) {
	u, err := p.targetUser("id", c.path["id"])
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, owner := range p.state.everyone {
		for _, id := range owner.lists.items {
			if p.state.lists[id].members.contains(u.id) {
				ids = append(ids, id)
			}
		}
	}
	return p.listsReply(c, ids)
}

// bodyList reads the list_id of a body, for the authenticated user's account.
func (p *Platform) bodyList(c *call) (*list, error) {
	var body struct {
		List string `json:"list_id"`
	}
	if err := c.self("id"); err != nil {
		return nil, err
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	return p.targetList(c, "list_id", body.List, false)
}

func (p *Platform) followList(c *call) (any, error) {
	l, err := p.bodyList(c)
	if err != nil {
		return nil, err
	}
	l.followers.add(c.who.user.id)
	c.who.user.followed.add(l.id)
	return reply(map[string]any{"following": true}, nil, nil, nil), nil
}

func (p *Platform) unfollowList(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	if l := p.state.lists[c.path["list_id"]]; l != nil {
		l.followers.remove(c.who.user.id)
		c.who.user.followed.remove(l.id)
	}
	return reply(map[string]any{"following": false}, nil, nil, nil), nil
}

func (p *Platform) pinList(c *call) (any, error) {
	l, err := p.bodyList(c)
	if err != nil {
		return nil, err
	}
	c.who.user.pinned.add(l.id)
	return reply(map[string]any{"pinned": true}, nil, nil, nil), nil
}

func (p *Platform) unpinList(c *call) (any, error) {
	if err := c.self("id"); err != nil {
		return nil, err
	}
	c.who.user.pinned.remove(c.path["list_id"])
	return reply(map[string]any{"pinned": false}, nil, nil, nil), nil
}
