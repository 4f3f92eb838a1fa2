package meta

import (
	"net/http"
	"strconv"
	"strings"
)

// do answers one Graph call. The lock is held while it is answered, save for
// what has to ask somebody else first.
func (p *Platform) do(c *call) *reply {
	if len(c.path) == 0 && c.params.Has("batch") && c.method == http.MethodPost {
		return p.batch(c)
	}
	r := p.locked(c)
	if r.later != nil {
		r = r.later()
	}
	return r
}

func (p *Platform) locked(c *call) *reply {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed := p.throttled(c); failed != nil {
		r := failed.reply()
		p.usageHeaders(c, r)
		return r
	}
	if r := p.oauth(c); r != nil {
		return r
	}
	if failed := p.authenticate(c); failed != nil {
		return failed.reply()
	}
	if failed := p.countApp(c); failed != nil {
		r := failed.reply()
		p.usageHeaders(c, r)
		return r
	}
	r := p.dispatch(c)
	p.usageHeaders(c, r)
	return r
}

// oauth answers the endpoints that take credentials other than a live token.
func (p *Platform) oauth(c *call) *reply {
	path := strings.Join(c.path, "/")
	switch c.product {
	case facebook:
		switch path {
		case "oauth/access_token":
			return p.facebookToken(c)
		case "oauth/revoke":
			return p.revokeToken(c)
		case "debug_token":
			return p.debugToken(c)
		}
	case instagram:
		switch path {
		case "oauth/access_token":
			return p.instagramCode(c)
		case "access_token":
			return p.exchangeLong(c, "ig_exchange_token")
		case "refresh_access_token":
			return p.refreshLong(c, "ig_refresh_token")
		}
	case threads:
		switch path {
		case "oauth/access_token":
			return p.threadsCode(c)
		case "access_token":
			return p.exchangeLong(c, "th_exchange_token")
		case "refresh_access_token":
			return p.refreshLong(c, "th_refresh_token")
		case "debug_token":
			return p.debugToken(c)
		}
	}
	return nil
}

// authenticate resolves the call's token and judges its proof.
func (p *Platform) authenticate(c *call) *failure {
	value := c.credential()
	if value == "" {
		if len(c.path) > 0 && strings.EqualFold(c.path[0], "me") {
			return syntax("An active access token must be used to query information about the current user.")
		}
		return &failure{status: http.StatusBadRequest, kind: oauthException, code: 104, message: "An access token is required to request this resource.", challenge: "invalid_request"}
	}
	t, failed := p.check(value, c.product)
	if failed != nil {
		return failed
	}
	c.token = t
	return p.checkProof(t, c.params.Get("appsecret_proof"), c.params.Get("appsecret_time"))
}

// arguments are the request's parameters as an edge sees them.
func (c *call) arguments() args {
	a := make(args, len(c.params))
	for name := range c.params {
		switch name {
		case "access_token", "appsecret_proof", "appsecret_time", "fields", "method", "pretty", "ids", "format", "suppress_http_code", "debug", "locale", "include_headers", "batch":
		default:
			a[name] = c.params.Get(name)
		}
	}
	return a
}

func (p *Platform) dispatch(c *call) *reply {
	sel, failed := parseFields(c.params.Get("fields"))
	if failed != nil {
		return failed.reply()
	}
	if c.params.Has("ids") && len(c.path) <= 1 && c.method == http.MethodGet {
		return c.several(sel)
	}
	if len(c.path) == 0 {
		if id := c.params.Get("id"); id != "" {
			c.path = []string{id}
		} else {
			return missing(strings.ToLower(c.method), "").reply()
		}
	}
	n, failed := c.lookup(c.path[0])
	if failed != nil {
		return failed.reply()
	}
	switch len(c.path) {
	case 1:
		return c.onNode(n, sel)
	case 2:
		return c.onEdge(n, c.path[1], sel)
	case 3:
		if c.path[1] == "permissions" {
			c.params.Set("permission", c.path[2])
			return c.onEdge(n, "permissions", sel)
		}
	}
	return syntax("Unknown path components: /%s", strings.Join(c.path[1:], "/")).reply()
}

func (c *call) onNode(n *node, sel selection) *reply {
	switch c.method {
	case http.MethodGet, http.MethodHead:
		c.count(n, "")
		out, failed := c.render(n, sel, nil)
		if failed != nil {
			return failed.reply()
		}
		return answer(out)
	case http.MethodPost:
		if n.kind.update != nil {
			return n.kind.update(c, n)
		}
	case http.MethodDelete:
		if n.kind.remove != nil {
			return n.kind.remove(c, n)
		}
	}
	return missing(strings.ToLower(c.method), n.id).reply()
}

func (c *call) onEdge(n *node, name string, sel selection) *reply {
	e := n.kind.edges[strings.ToLower(name)]
	if e == nil {
		if c.method == http.MethodGet {
			return syntaxEdge(n, name).reply()
		}
		return missing(strings.ToLower(c.method), n.id).reply()
	}
	switch c.method {
	case http.MethodGet, http.MethodHead:
		if e.list == nil && e.data == nil {
			return missing("get", n.id).reply()
		}
		out, failed := c.renderEdge(n, strings.ToLower(name), e, sel, c.arguments())
		if failed != nil {
			return failed.reply()
		}
		if r, ok := out.(*reply); ok {
			return r
		}
		return answer(out)
	case http.MethodPost, http.MethodDelete:
		act := e.create
		if c.method == http.MethodDelete {
			act = e.delete
		}
		if act == nil {
			return missing(strings.ToLower(c.method), n.id).reply()
		}
		if e.asPage && c.token.kind != pageToken {
			return denied(210, "A page access token is required to request this resource.").reply()
		}
		if failed := c.need(e.write); failed != nil {
			return failed.reply()
		}
		c.count(n, e.usage)
		return act(c, n)
	}
	return missing(strings.ToLower(c.method), n.id).reply()
}

func syntaxEdge(n *node, name string) *failure {
	return syntax("Unknown path components: /%s", name)
}

// maxIDs is how many objects one ids= call may name.
const maxIDs = 50

// several answers ids=a,b: an object of objects, all or nothing. With a path it
// is the same edge of each.
func (c *call) several(sel selection) *reply {
	ids := strings.Split(c.params.Get("ids"), ",")
	if len(ids) > maxIDs {
		return invalid("Too many IDs. Maximum: %d. Provided: %d.", maxIDs, len(ids)).reply()
	}
	var out object
	for i, id := range ids {
		id = strings.TrimSpace(id)
		if id == "" {
			return invalid("Cannot specify an empty identifier").reply()
		}
		// Each id counts as a call of its own.
		if i > 0 {
			if failed := c.p.countApp(c); failed != nil {
				return failed.reply()
			}
		}
		n, failed := c.lookup(id)
		if failed != nil {
			return failed.reply()
		}
		var one *reply
		if len(c.path) == 1 {
			one = c.onEdge(n, c.path[0], sel)
		} else {
			one = c.onNode(n, sel)
		}
		if one.failure != nil {
			return one
		}
		out.set(id, one.body)
	}
	return answer(out)
}

// integer reads a numeric parameter.
func (c *call) integer(name string) (int, bool) {
	n, err := strconv.Atoi(c.params.Get(name))
	return n, err == nil
}
