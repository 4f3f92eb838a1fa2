package meta

import (
	"net/http"
	"strings"
)

// newKinds is the schema of the graph.
func newKinds() kinds {
	all := kinds{
		"User": userKind(), "Profile": profileKind(),
		"Page": pageKind(), "Post": postKind(), "Photo": photoKind(), "Video": videoKind(), "Comment": commentKind(),
		"LeadgenForm": leadFormKind(), "Lead": leadKind(),
		"IGUser": igUserKind(), "InstagramUser": instagramUserKind(), "IGMedia": igMediaKind(), "IGComment": igCommentKind(), "Container": containerKind(),
		"ThreadsUser": threadsUserKind(), "ThreadsMedia": threadsMediaKind(),
		"Application": applicationKind(), "Business": businessKind(), "SystemUser": systemUserKind(), "AdAccount": adAccountKind(),
	}
	for name, k := range all {
		k.name = name
	}
	return all
}

// permitted shows a stored property to tokens with the permission and leaves it
// out otherwise, which is what Graph does with a person's fields.
func permitted(name, permission string) fieldFunc {
	return func(c *call, n *node) any {
		if !c.token.has(permission) {
			return nil
		}
		return n.props[name]
	}
}

func userKind() *kind {
	return &kind{
		defaults: []string{"name", "id"},
		fields: with(props("name", "first_name", "last_name", "short_name", "about"), map[string]fieldFunc{
			"email":    permitted("email", "email"),
			"link":     permitted("link", "user_link"),
			"location": permitted("location", "user_location"),
			"locale":   prop("locale"),
			"picture":  pictureField,
		}),
		edges: map[string]*edge{
			"accounts": {
				list:     func(c *call, n *node, _ args) ([]*node, *failure) { return c.p.pagesOf(n.person), nil },
				defaults: []string{"access_token", "category", "category_list", "name", "id", "tasks"},
				read:     []string{"pages_show_list"},
			},
			"permissions": permissionsEdge(),
			"picture":     {data: pictureEdge},
			"feed":        {list: children("feed"), read: []string{"user_posts"}, create: refuseUserPost},
			"posts":       {list: children("feed"), read: []string{"user_posts"}},
			"photos":      {list: children("photos"), read: []string{"user_photos"}},
			"likes":       {list: func(c *call, n *node, _ args) ([]*node, *failure) { return c.p.pagesOf(n.person + 1), nil }, read: []string{"user_likes"}},
			"businesses":  {list: func(c *call, _ *node, _ args) ([]*node, *failure) { return []*node{c.p.nodes[businessID]}, nil }, read: []string{"business_management"}},
			"adaccounts":  {list: func(c *call, _ *node, _ args) ([]*node, *failure) { return []*node{c.p.nodes[adAccountID]}, nil }, read: []string{"ads_read", "ads_management"}},
		},
	}
}

func refuseUserPost(*call, *node) *reply {
	return denied(200, "If posting to a group, requires app being installed in the group, and either publish_to_groups permission with user token, or both pages_read_engagement and pages_manage_posts permission with page token; If posting to a page, requires both pages_read_engagement and pages_manage_posts as an admin with sufficient administrative permission").reply()
}

// profileKind is somebody who appears in replies without having connected: a
// name and a page-scoped id.
func profileKind() *kind {
	return &kind{defaults: []string{"name", "id"}, fields: props("name")}
}

// permissionsEdge lists what the person granted and takes it back: one
// permission, or without one the whole app.
func permissionsEdge() *edge {
	return &edge{
		data: func(c *call, _ *node, a args) (any, *failure) {
			if c.token.grant == nil {
				list := []any{}
				for _, scope := range c.token.scopes {
					list = append(list, object{{"permission", scope}, {"status", string(granted)}})
				}
				return object{{"data", list}}, nil
			}
			return object{{"data", c.token.grant.listPermissions(a["permission"], a["status"])}}, nil
		},
		delete: func(c *call, n *node) *reply {
			g := c.token.grant
			if g == nil || c.token.kind != userToken {
				return missing("delete", n.id).reply()
			}
			name := c.params.Get("permission")
			if name == "" {
				c.p.remove(g)
				c.p.afterRemoval(c.ctx, g)
				return c.p.removed()
			}
			if g.status[name] != granted {
				return invalid("The permission %s is not granted", name).reply()
			}
			if name == fixedScope(c.product) {
				// Taking back the basic permission removes the app.
				c.p.remove(g)
				c.p.afterRemoval(c.ctx, g)
				return c.p.removed()
			}
			g.status[name] = declined
			c.p.permissionChanged(c.ctx, g, name, "revoked")
			return c.p.removed()
		},
	}
}

// removed is the answer to DELETE permissions, of which two forms are known.
func (p *Platform) removed() *reply {
	if p.config.BareTrue {
		return answer(true)
	}
	return success()
}

// pictureField is picture inside a node: an object that wraps the address.
func pictureField(c *call, n *node) any {
	return object{{"data", c.p.picture(c, n)}}
}

func (p *Platform) picture(c *call, n *node) object {
	base := c.base
	if p.config.BaseURL != nil {
		base = p.config.BaseURL()
	} else {
		for prefix := range hostPrefixes {
			base = strings.TrimSuffix(base, "/"+prefix)
		}
	}
	return object{{"height", 50}, {"is_silhouette", false}, {"url", base + "/_/picture.svg?asid=" + n.id}, {"width", 50}}
}

// pictureEdge redirects to the picture unless told not to.
func pictureEdge(c *call, n *node, a args) (any, *failure) {
	picture := c.p.picture(c, n)
	if a["redirect"] == "0" || a["redirect"] == "false" || len(c.path) == 0 || c.path[len(c.path)-1] != "picture" {
		return object{{"data", picture}}, nil
	}
	r := &reply{status: http.StatusFound, header: make(http.Header), raw: []byte{}}
	location, _ := picture.get("url").(string)
	r.header.Set("Location", location)
	return r, nil
}

func servePicture(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "image/svg+xml")
	// A browser that left is no concern of ours.
	_, _ = w.Write([]byte(`<svg xmlns="http://www.w3.org/2000/svg" width="50" height="50"><circle cx="25" cy="25" r="25" fill="#1877f2"/></svg>`))
}
