package meta

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// node is one object of the graph. Guarded by Platform.mu.
type node struct {
	id   string
	kind *kind
	// parent leads to the object that decides who may see this one.
	parent *node
	// person is who it belongs to; for a page, who has a role on it.
	person  int
	created time.Time
	props   map[string]any
	// lists are the edges to other nodes, newest first.
	lists map[string][]*node
}

// root is the user, page or account that the node belongs to.
func (n *node) root() *node {
	for n.parent != nil {
		n = n.parent
	}
	return n
}

func (n *node) text(name string) string {
	s, _ := n.props[name].(string)
	return s
}

// push puts a child in front of a list.
func (n *node) push(list string, child *node) {
	n.lists[list] = append([]*node{child}, n.lists[list]...)
}

// drop takes a child out of a list.
func (n *node) drop(list string, child *node) {
	n.lists[list] = slices.DeleteFunc(slices.Clone(n.lists[list]), func(other *node) bool { return other == child })
}

// kind is one of Graph's node types.
type kind struct {
	// name is how Graph's messages call it.
	name string
	// defaults are answered when no fields are asked for.
	defaults []string
	fields   map[string]fieldFunc
	edges    map[string]*edge
	update   action
	remove   action
}

// fieldFunc reads a field. A *node is expanded with the sub-fields asked for; nil
// leaves the field out, which is what Graph does with what is empty or not
// permitted.
type fieldFunc func(*call, *node) any

// action changes a node or an edge.
type action func(*call, *node) *reply

// edge is a connection from a node.
type edge struct {
	// list returns the nodes; where an edge has no nodes, data returns its
	// answer.
	list func(*call, *node, args) ([]*node, *failure)
	data func(*call, *node, args) (any, *failure)
	// summary answers summary=true.
	summary func(*call, *node, []*node) object
	// defaults are the fields answered when none are asked for, where they
	// differ from the kind's own.
	defaults []string
	// read and write are the permissions of which the token must have one.
	read, write []string
	// asPage refuses changes by anything but the page's own token.
	asPage         bool
	create, delete action
	// usage is the business use case that the edge counts against.
	usage string
}

// args are an edge's parameters: of the request, or of the field expansion's
// modifiers.
type args map[string]string

type kinds map[string]*kind

// prop reads a stored property.
func prop(name string) fieldFunc {
	return func(_ *call, n *node) any { return n.props[name] }
}

// props makes a field of each stored property.
func props(names ...string) map[string]fieldFunc {
	all := make(map[string]fieldFunc, len(names))
	for _, name := range names {
		all[name] = prop(name)
	}
	return all
}

// with adds fields that need more than a stored property.
func with(base map[string]fieldFunc, more map[string]fieldFunc) map[string]fieldFunc {
	for name, field := range more {
		base[name] = field
	}
	return base
}

// children is the edge to a stored list.
func children(list string) func(*call, *node, args) ([]*node, *failure) {
	return func(_ *call, n *node, _ args) ([]*node, *failure) { return n.lists[list], nil }
}

// graphTime is how Graph writes a time.
func graphTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05-0700") }

func createdTime(_ *call, n *node) any { return graphTime(n.created) }

// newNode adds a node to the graph.
func (p *Platform) newNode(id, kindName string, parent *node, created time.Time, values map[string]any) *node {
	n := &node{id: id, kind: p.kinds[kindName], parent: parent, created: created, props: values, lists: make(map[string][]*node)}
	if n.kind == nil {
		panic("meta: no kind " + kindName)
	}
	if parent != nil {
		n.person = parent.person
	}
	p.nodes[id] = n
	return n
}

// nextID makes an id that no other node has; prefix tells kinds apart as Meta's
// ids roughly do.
func (p *Platform) nextID(prefix string) string {
	p.serial++
	digits := strconv.FormatInt(100000000000+p.serial*7919, 10)
	return prefix + digits
}

// forget takes a node and everything below it out of the graph.
func (p *Platform) forget(n *node) {
	delete(p.nodes, n.id)
	for _, list := range n.lists {
		for _, child := range list {
			if child.parent == n && p.nodes[child.id] == child {
				p.forget(child)
			}
		}
	}
}

// me is what "me" means to a person's token on a product.
func (p *Platform) me(on product, person int) *node {
	switch on {
	case instagram:
		return p.nodes[igScopedID(person)]
	case threads:
		return p.nodes[threadsID(person)]
	default:
		return p.nodes[userID(person)]
	}
}

// sees reports whether the call's token may see the node at all.
func (c *call) sees(n *node) bool {
	root, t := n.root(), c.token
	switch root.kind.name {
	case "Application":
		return t.app.AppID == root.id
	case "Page":
		switch t.kind {
		case pageToken:
			return t.node == root
		case userToken:
			return t.app.product == facebook && t.grant.person == root.person
		case systemToken:
			return slices.Contains(c.p.assignedPages(), root)
		}
		return false
	case "Business", "SystemUser", "AdAccount":
		return t.kind == systemToken || t.kind == userToken && t.app.product == facebook && t.has("business_management", "ads_read", "ads_management") ||
			t.kind == appToken && root.kind.name == "SystemUser"
	case "User":
		return t.kind == userToken && t.node == root
	case "IGUser":
		// On Facebook an Instagram account is seen through its page; on
		// Instagram by its own token.
		if t.app.product == instagram {
			return t.grant != nil && t.grant.person == root.person
		}
		page, _ := root.props["page"].(*node)
		return page != nil && c.sees(page)
	case "InstagramUser", "ThreadsUser":
		return t.grant != nil && t.grant.person == root.person && t.app.product == productOfKind(root.kind.name)
	}
	return false
}

func productOfKind(name string) product {
	if name == "ThreadsUser" {
		return threads
	}
	return instagram
}

// lookup resolves one path segment to a node that the token may see.
func (c *call) lookup(id string) (*node, *failure) {
	if strings.EqualFold(id, "me") {
		if c.token.node == nil {
			return nil, syntax("An active access token must be used to query information about the current user.")
		}
		return c.token.node, nil
	}
	n := c.p.nodes[id]
	if n == nil && strings.EqualFold(id, "app") {
		n = c.p.nodes[c.token.app.AppID]
	}
	if n != nil && n.kind.name == "IGUser" && c.product == instagram {
		// Instagram's own host takes the account's id, too.
		n = c.p.nodes[igScopedID(n.person)]
	}
	if n == nil && strings.Trim(id, "0123456789_") != "" {
		return nil, &failure{status: 404, kind: oauthException, code: 803, message: "(#803) Some of the aliases you requested do not exist: " + id}
	}
	if n == nil || !c.sees(n) || !n.servedOn(c.product) {
		return nil, missing(strings.ToLower(cmp.Or(c.method, "get")), id)
	}
	return n, nil
}

// servedOn keeps the products' hosts apart: an Instagram account answers on both
// Facebook's and Instagram's, everything else on one.
func (n *node) servedOn(on product) bool {
	switch n.root().kind.name {
	case "IGUser":
		return n.kind.name != "IGUser" && on == instagram || on == facebook
	case "InstagramUser":
		return on == instagram
	case "ThreadsUser":
		return on == threads
	case "Application":
		return true
	}
	return on == facebook
}

// need checks permissions; Graph names one that would do.
func (c *call) need(permissions []string) *failure {
	if len(permissions) == 0 || c.token.has(permissions...) {
		return nil
	}
	if c.product != facebook {
		return denied(10, "Application does not have permission for this action")
	}
	if strings.HasPrefix(permissions[0], "pages_") || strings.HasPrefix(permissions[0], "instagram_") || permissions[0] == "leads_retrieval" || permissions[0] == "read_insights" {
		if c.method == "POST" || c.method == "DELETE" {
			return denied(200, "Requires %s permission to manage the object", permissions[0])
		}
		return denied(10, "This endpoint requires the '%s' permission or the 'Page Public Content Access' feature. Refer to https://developers.facebook.com/docs/apps/review/login-permissions#manage-pages and https://developers.facebook.com/docs/apps/review/feature#reference-PAGES_ACCESS for details.", permissions[0])
	}
	return denied(200, "Requires %s permission", permissions[0])
}
