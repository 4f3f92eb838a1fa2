package x

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
)

const hour = time.Hour

const readUsers = "tweet.read users.read"

var userOperations = []operation{
	{id: "getUsersMe", route: "GET /2/users/me", auth: userAuth, scopes: readUsers, userLimit: "75/15m", query: userQuery, handle: (*Platform).me},
	{id: "getUsersById", route: "GET /2/users/{id}", auth: anyAuth, scopes: readUsers, appLimit: "300/15m", userLimit: "900/15m", query: userQuery, handle: (*Platform).userByID},
	{id: "getUsersByIds", route: "GET /2/users", auth: anyAuth, scopes: readUsers, appLimit: "300/15m", userLimit: "900/15m", query: with(userQuery, "ids"), handle: (*Platform).usersByIDs},
	{id: "getUsersByUsername", route: "GET /2/users/by/username/{username}", auth: anyAuth, scopes: readUsers, appLimit: "300/15m", userLimit: "900/15m", query: userQuery, handle: (*Platform).userByName},
	{id: "getUsersByUsernames", route: "GET /2/users/by", auth: anyAuth, scopes: readUsers, appLimit: "300/15m", userLimit: "900/15m", query: with(userQuery, "usernames"), handle: (*Platform).usersByNames},
	{id: "searchUsers", route: "GET /2/users/search", auth: userAuth, scopes: readUsers, appLimit: "300/15m", userLimit: "900/15m", query: with(userQuery, "query", "max_results", "next_token", "pagination_token"), handle: (*Platform).searchUsers},
	{id: "getUsage", route: "GET /2/usage/tweets", auth: appOnly, appLimit: "50/15m", query: []string{"days", "usage.fields"}, handle: (*Platform).usage},
}

// userReply renders users with their includes and the errors of those that were
// not found.
func (p *Platform) userReply(c *call, users []*user, errors []any, meta map[string]any) (any, error) {
	s, err := c.selectFields(userExpansions)
	if err != nil {
		return nil, err
	}
	var n includes
	var data []any
	for _, u := range users {
		data = append(data, p.renderUser(u, c, &s, &n))
	}
	if data == nil {
		return reply(nil, &n, errors, meta), nil
	}
	return reply(data, &n, errors, meta), nil
}

func (p *Platform) oneUser(c *call, u *user, parameter, value string) (any, error) {
	s, err := c.selectFields(userExpansions)
	if err != nil {
		return nil, err
	}
	if problem := standingProblem(u, parameter, value); problem != nil {
		return nil, &notFound{problem}
	}
	var n includes
	return reply(p.renderUser(u, c, &s, &n), &n, nil, nil), nil
}

// standingProblem says why an account cannot be shown: it never was, or it is
// suspended.
func standingProblem(u *user, parameter, value string) map[string]any {
	switch {
	case u == nil:
		return resourceProblem("user", parameter, value)
	case u.standing == "suspended":
		return map[string]any{
			"value": value, "detail": fmt.Sprintf("User has been suspended: [%s].", value), "title": "Forbidden",
			"resource_type": "user", "parameter": parameter, "resource_id": value, "type": problemBase + "resource-not-found",
		}
	case u.gone():
		return resourceProblem("user", parameter, value)
	}
	return nil
}

func (p *Platform) me(c *call) (any, error) {
	return p.oneUser(c, c.who.user, "id", c.who.user.id)
}

func (p *Platform) userByID(c *call) (any, error) {
	id := c.path["id"]
	if !validID(id) {
		return nil, badPathID("id", id)
	}
	return p.oneUser(c, p.state.users[id], "id", id)
}

// badPathID is the refusal of an identifier that cannot be one.
func badPathID(name, id string) error {
	return invalidRequest(name, id, fmt.Sprintf("The `%s` query parameter value [%s] is not valid", name, id))
}

var usernamePattern = regexp.MustCompile(`^[A-Za-z0-9_]{1,15}$`)

func (p *Platform) userByName(c *call) (any, error) {
	name := c.path["username"]
	if !usernamePattern.MatchString(name) {
		return nil, invalidRequest("username", name, fmt.Sprintf("The `username` query parameter value [%s] does not match ^[A-Za-z0-9_]{1,15}$", name))
	}
	return p.oneUser(c, p.state.byUsername(name), "username", name)
}

// maxBatch is how many things one lookup may name.
const maxBatch = 100

// batch reads the comma-separated identifiers of a lookup.
func (c *call) batch(name string, valid func(string) bool) ([]string, error) {
	text := c.query.Get(name)
	if text == "" {
		return nil, missingParameter(name)
	}
	values := strings.Split(text, ",")
	if len(values) > maxBatch {
		return nil, invalidRequest(name, text, fmt.Sprintf("size must be less than or equal to %d", maxBatch))
	}
	for _, value := range values {
		if !valid(value) {
			return nil, invalidRequest(name, value, fmt.Sprintf("The `%s` query parameter value [%s] is not valid", name, value))
		}
	}
	return values, nil
}

func (p *Platform) usersByIDs(c *call) (any, error) {
	ids, err := c.batch("ids", validID)
	if err != nil {
		return nil, err
	}
	return p.lookupUsers(c, "ids", ids, func(id string) *user { return p.state.users[id] })
}

func (p *Platform) usersByNames(c *call) (any, error) {
	names, err := c.batch("usernames", usernamePattern.MatchString)
	if err != nil {
		return nil, err
	}
	return p.lookupUsers(c, "usernames", names, p.state.byUsername)
}

// lookupUsers answers a batch: what was found as data, the rest as errors, all
// with status 200.
func (p *Platform) lookupUsers(c *call, parameter string, values []string, find func(string) *user) (any, error) {
	var found []*user
	var errors []any
	for _, value := range values {
		u := find(value)
		if problem := standingProblem(u, parameter, value); problem != nil {
			errors = append(errors, problem)
			continue
		}
		found = append(found, u)
	}
	return p.userReply(c, found, errors, nil)
}

func (p *Platform) searchUsers(c *call) (any, error) {
	query := normalized(c.query.Get("query"))
	if query == "" {
		return nil, missingParameter("query")
	}
	var found []*user
	for _, u := range p.state.everyone {
		if !u.gone() && strings.Contains(normalized(u.person.Name+" "+u.person.Username+" "+u.person.Bio), query) {
			found = append(found, u)
		}
	}
	cut, err := paginate(c, paging{1, 1000, 100, "next_token"}, found, func(u *user) string { return u.id })
	if err != nil {
		return nil, err
	}
	return p.userReply(c, cut.items, nil, cut.meta)
}

// usage is how many posts the app was given, by the UTC day. Which ones X counts is
// not documented; the sandbox counts each post of data in each reply.
func (p *Platform) usage(c *call) (any, error) {
	days, err := c.number("days", 1, 90, 7)
	if err != nil {
		return nil, err
	}
	today, total := p.config.Clock.Now().UTC().Truncate(24*time.Hour), int64(0)
	daily := []any{}
	for at := today.AddDate(0, 0, 1-days); !at.After(today); at = at.AddDate(0, 0, 1) {
		used := p.state.used[at]
		total += used
		daily = append(daily, map[string]any{"date": at.Format("2006-01-02T15:04:05.000Z"), "usage": fmt.Sprint(used)})
	}
	data := map[string]any{
		"project_id": p.config.App.ID, "project_cap": "2000000", "project_usage": fmt.Sprint(total), "cap_reset_day": 1,
	}
	fields := c.query.Get("usage.fields")
	if strings.Contains(fields, "daily_project_usage") {
		data["daily_project_usage"] = map[string]any{"project_id": p.config.App.ID, "usage": daily}
	}
	if strings.Contains(fields, "daily_client_app_usage") {
		data["daily_client_app_usage"] = []any{map[string]any{"client_app_id": p.config.App.ID, "usage": daily, "usage_result_count": len(daily)}}
	}
	return reply(data, nil, nil, nil), nil
}

// use counts the posts of a reply that the app is given.
func (p *Platform) use(c *call, value any) {
	body, ok := value.(map[string]any)
	if !ok || !strings.HasPrefix(c.op.route, "GET ") {
		return
	}
	list, ok := body["data"].([]any)
	if !ok {
		list = []any{body["data"]}
	}
	for _, item := range list {
		if one, ok := item.(map[string]any); ok && one["text"] != nil && one["id"] != nil {
			p.state.used[p.config.Clock.Now().UTC().Truncate(24*time.Hour)]++
		}
	}
}

// self checks that the user in the path is the one who authenticated, as X
// demands of everything that changes an account.
func (c *call) self(parameter string) error {
	id := c.path[parameter]
	if id == c.who.user.id {
		return nil
	}
	return invalidRequest(parameter, id, fmt.Sprintf("The `%s` query parameter value [%s] must be the same as the authenticating user [%s]", parameter, id, c.who.user.id))
}

// targetUser finds the user that a path parameter or body names.
func (p *Platform) targetUser(parameter, id string) (*user, error) {
	if !validID(id) {
		return nil, badPathID(parameter, id)
	}
	u := p.state.visibleUser(id)
	if u == nil {
		return nil, &problem{http.StatusNotFound, withStatus(resourceProblem("user", parameter, id), http.StatusNotFound)}
	}
	return u, nil
}

func withStatus(body map[string]any, status int) map[string]any {
	body["status"] = status
	return body
}
