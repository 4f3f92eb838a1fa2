package meta

import (
	"slices"
	"time"
)

func postKind() *kind {
	return &kind{
		defaults: []string{"created_time", "message", "story", "id"},
		fields: with(props("message", "story", "link", "from", "is_published", "status_type"), map[string]fieldFunc{
			"created_time":  createdTime,
			"updated_time":  func(_ *call, n *node) any { at, _ := n.props["updated"].(time.Time); return graphTime(at) },
			"permalink_url": func(_ *call, n *node) any { return "https://www.facebook.com/" + n.parent.id + "/posts/" + n.id },
			"full_picture":  postPicture,
			"picture":       postPicture,
			"shares":        func(_ *call, n *node) any { return object{{"count", len(n.lists["likes"])}} },
			"scheduled_publish_time": func(_ *call, n *node) any {
				at, ok := n.props["scheduled"].(time.Time)
				if !ok {
					return nil
				}
				return at.Unix()
			},
		}),
		update: updateMessage("message", writePage),
		remove: removeFrom(writePage, "feed", "visitor_posts"),
		edges: map[string]*edge{
			"comments":    commentsEdge(),
			"likes":       likesEdge(),
			"reactions":   {list: children("likes"), read: readPage, summary: likeSummary},
			"insights":    {data: insights(postMetrics, []string{"lifetime"}), read: []string{"read_insights"}},
			"attachments": {data: attachments, read: readPage},
		},
	}
}

func postPicture(_ *call, n *node) any {
	photos := n.lists["photos"]
	if len(photos) == 0 {
		return nil
	}
	return photoURL(photos[0])
}

func attachments(c *call, n *node, _ args) (any, *failure) {
	data := []any{}
	for _, photo := range n.lists["photos"] {
		data = append(data, object{
			{"media", object{{"image", object{{"height", 900}, {"src", photoURL(photo)}, {"width", 1200}}}}},
			{"target", object{{"id", photo.id}, {"url", "https://www.facebook.com/photo.php?fbid=" + photo.id}}}, {"type", "photo"},
		})
	}
	if link := n.text("link"); link != "" {
		data = append(data, object{{"unshimmed_url", link}, {"type", "share"}})
	}
	return object{{"data", data}}, nil
}

// updateMessage changes a text; only what the page itself published.
func updateMessage(property string, permissions []string) action {
	return func(c *call, n *node) *reply {
		if c.token.kind != pageToken {
			return denied(210, "A page access token is required to request this resource.").reply()
		}
		if failed := c.need(permissions); failed != nil {
			return failed.reply()
		}
		if from, _ := n.props["from"].(*node); from != n.root() {
			return denied(200, "The user does not have permission to edit this object").reply()
		}
		if c.params.Has("message") {
			n.props[property] = c.params.Get("message")
			n.props["updated"] = c.p.now()
		}
		if c.params.Get("is_published") == "true" {
			n.props["is_published"] = true
			delete(n.props, "scheduled")
		}
		return success()
	}
}

// removeFrom deletes a node and takes it out of its parent's lists.
func removeFrom(permissions []string, lists ...string) action {
	return func(c *call, n *node) *reply {
		if n.root().kind.name == "Page" && c.token.kind != pageToken {
			return denied(210, "A page access token is required to request this resource.").reply()
		}
		if failed := c.need(permissions); failed != nil {
			return failed.reply()
		}
		for _, list := range lists {
			n.parent.drop(list, n)
		}
		c.p.forget(n)
		return success()
	}
}

func photoKind() *kind {
	return &kind{
		defaults: []string{"created_time", "name", "id"},
		fields: with(props("name", "from", "width", "height", "page_story_id"), map[string]fieldFunc{
			"created_time": createdTime, "updated_time": createdTime,
			"link":    func(_ *call, n *node) any { return "https://www.facebook.com/photo.php?fbid=" + n.id },
			"source":  func(_ *call, n *node) any { return photoURL(n) },
			"picture": func(_ *call, n *node) any { return photoURL(n) },
			"images": func(_ *call, n *node) any {
				return []any{object{{"height", n.props["height"]}, {"source", photoURL(n)}, {"width", n.props["width"]}}}
			},
		}),
		remove: removeFrom(writePage, "photos"),
		edges:  map[string]*edge{"comments": commentsEdge(), "likes": likesEdge(), "insights": {data: insights(postMetrics, []string{"lifetime"}), read: []string{"read_insights"}}},
	}
}

func photoURL(n *node) string {
	return "https://scontent.xx.fbcdn.net/v/t39.30808-6/" + n.id + "_n.jpg?_nc_cat=1&oh=sandbox"
}

// createPhoto publishes a photo from an address or an uploaded file. The sandbox
// fetches nothing: any address will do.
func createPhoto(c *call, page *node) *reply {
	source, uploaded := c.files["source"]
	if !uploaded && c.params.Get("url") == "" {
		f := invalid("The parameter url is required")
		return f.reply()
	}
	if uploaded && len(source.data) == 0 {
		f := invalid("Invalid image.")
		f.code, f.subcode, f.message = 324, 2069019, "(#324) Requires upload file"
		return f.reply()
	}
	text := c.params.Get("message")
	if text == "" {
		text = c.params.Get("caption")
	}
	shown := c.params.Get("published") != "false" && c.params.Get("published") != "0"
	photo := c.p.newNode(c.p.nextID("31"), "Photo", page, c.p.now(), map[string]any{
		"name": text, "from": page, "width": 1200, "height": 900, "is_published": shown, "bytes": len(source.data),
	})
	page.push("photos", photo)
	out := object{{"id", photo.id}}
	if shown {
		post := c.p.newNode(c.p.postID(page), "Post", page, c.p.now(), map[string]any{
			"message": text, "from": page, "updated": c.p.now(), "is_published": true, "status_type": "added_photos",
		})
		post.lists["photos"] = []*node{photo}
		photo.props["page_story_id"] = post.id
		page.push("feed", post)
		out.set("post_id", post.id)
		c.p.pageChanged(c.ctx, page, "feed", object{
			{"from", object{{"id", page.id}, {"name", page.props["name"]}}}, {"item", "photo"}, {"verb", "add"}, {"post_id", post.id}, {"photo_id", photo.id}, {"message", text}, {"created_time", c.p.now().Unix()}, {"published", 1},
		})
	}
	return answer(out)
}

func commentKind() *kind {
	return &kind{
		defaults: []string{"created_time", "from", "message", "id"},
		fields: with(props("message", "from"), map[string]fieldFunc{
			"created_time":  createdTime,
			"like_count":    func(_ *call, n *node) any { return len(n.lists["likes"]) },
			"comment_count": func(_ *call, n *node) any { return len(n.lists["comments"]) },
			"can_remove":    func(c *call, _ *node) any { return c.token.kind == pageToken },
			"is_hidden":     func(_ *call, n *node) any { hidden, _ := n.props["is_hidden"].(bool); return hidden },
			"permalink_url": func(_ *call, n *node) any {
				return "https://www.facebook.com/" + n.root().id + "/posts/?comment_id=" + n.id
			},
			"parent": func(_ *call, n *node) any {
				if n.parent.kind.name != "Comment" {
					return nil
				}
				return n.parent
			},
		}),
		update: updateComment,
		remove: removeFrom(engagePage, "comments"),
		edges:  map[string]*edge{"comments": commentsEdge(), "likes": likesEdge()},
	}
}

// updateComment edits the page's own comment or hides somebody else's.
func updateComment(c *call, n *node) *reply {
	if c.params.Has("is_hidden") && !c.params.Has("message") {
		if c.token.kind != pageToken {
			return denied(210, "A page access token is required to request this resource.").reply()
		}
		if failed := c.need(engagePage); failed != nil {
			return failed.reply()
		}
		n.props["is_hidden"] = yes(c.params.Get("is_hidden"))
		return success()
	}
	return updateMessage("message", engagePage)(c, n)
}

func commentsEdge() *edge {
	return &edge{
		list: children("comments"), read: []string{"pages_read_engagement", "pages_read_user_content", "user_posts"},
		write: engagePage, asPage: true,
		summary: func(c *call, n *node, all []*node) object {
			return object{{"order", "chronological"}, {"total_count", len(all)}, {"can_comment", c.token.kind == pageToken}}
		},
		create: func(c *call, n *node) *reply {
			message := c.params.Get("message")
			if message == "" {
				return invalid("The parameter message is required").reply()
			}
			comment := c.p.seedComment(n, n.root(), message, c.p.now())
			c.p.pageChanged(c.ctx, n.root(), "feed", object{
				{"from", object{{"id", n.root().id}, {"name", n.root().props["name"]}}}, {"item", "comment"}, {"verb", "add"}, {"post_id", n.id}, {"comment_id", comment.id}, {"message", message}, {"created_time", c.p.now().Unix()},
			})
			return answer(object{{"id", comment.id}})
		},
	}
}

func likesEdge() *edge {
	return &edge{
		list: children("likes"), read: []string{"pages_read_engagement", "user_posts"}, write: engagePage, asPage: true,
		summary: likeSummary,
		create: func(c *call, n *node) *reply {
			if !slices.Contains(n.lists["likes"], c.token.node) {
				n.push("likes", c.token.node)
			}
			return success()
		},
		delete: func(c *call, n *node) *reply {
			n.drop("likes", c.token.node)
			return success()
		},
	}
}

func likeSummary(c *call, n *node, all []*node) object {
	return object{{"total_count", len(all)}, {"can_like", true}, {"has_liked", c.token.node != nil && slices.Contains(n.lists["likes"], c.token.node)}}
}
