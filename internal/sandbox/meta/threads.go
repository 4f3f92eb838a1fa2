package meta

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// On Threads an account may publish 250 posts by API in 24 hours.
const dailyThreads = 250

var threadsMetrics = []string{"views", "likes", "replies", "reposts", "quotes", "shares", "followers_count"}

func threadsUserKind() *kind {
	read := []string{"threads_basic"}
	return &kind{
		defaults: []string{"id"},
		fields: with(props("username", "name", "threads_biography", "is_verified"), map[string]fieldFunc{
			"threads_profile_picture_url": func(_ *call, n *node) any { return "https://scontent.cdninstagram.com/v/threads/" + n.id + ".jpg" },
		}),
		edges: map[string]*edge{
			"threads":                  {list: children("threads"), defaults: []string{"id"}, read: read, write: []string{"threads_content_publish"}, create: createThreadContainer},
			"threads_publish":          {write: []string{"threads_content_publish"}, create: publishThread},
			"replies":                  {list: children("replies"), read: []string{"threads_read_replies", "threads_manage_replies"}},
			"threads_insights":         {data: insights(threadsMetrics, []string{"day"}), read: []string{"threads_manage_insights"}},
			"threads_publishing_limit": {data: threadsLimit, read: read},
		},
	}
}

func threadsMediaKind() *kind {
	replies := []string{"threads_read_replies", "threads_manage_replies"}
	return &kind{
		defaults: []string{"id"},
		fields: with(props("text", "media_type", "media_product_type", "shortcode", "is_quote_post", "media_url", "is_reply"), map[string]fieldFunc{
			"timestamp": createdTime,
			"username":  func(_ *call, n *node) any { return n.root().props["username"] },
			"owner":     func(_ *call, n *node) any { return object{{"id", n.root().id}} },
			"permalink": func(_ *call, n *node) any {
				return "https://www.threads.net/@" + n.root().text("username") + "/post/" + n.text("shortcode")
			},
			"has_replies": func(_ *call, n *node) any { return len(n.lists["replies"]) > 0 },
		}),
		remove: func(c *call, n *node) *reply {
			if failed := c.need([]string{"threads_delete"}); failed != nil {
				return failed.reply()
			}
			n.root().drop("threads", n)
			n.root().drop("replies", n)
			if to, ok := n.props["reply_to"].(*node); ok {
				to.drop("replies", n)
			}
			c.p.forget(n)
			return answer(object{{"success", true}, {"deleted_id", n.id}})
		},
		edges: map[string]*edge{
			"replies":      {list: children("replies"), read: replies},
			"conversation": {list: children("replies"), read: replies},
			"insights":     {data: insights(threadsMetrics, []string{"lifetime"}), read: []string{"threads_manage_insights"}},
			"manage_reply": {write: []string{"threads_manage_replies"}, create: func(c *call, n *node) *reply {
				n.props["hidden"] = yes(c.params.Get("hide"))
				return success()
			}},
		},
	}
}

func (p *Platform) newThread(parent *node, at time.Time, mediaType, text string) *node {
	id := p.nextID("18")
	return p.newNode(id, "ThreadsMedia", parent, at, map[string]any{
		"text": text, "media_type": mediaType, "media_product_type": "THREADS", "shortcode": "T" + strconv.FormatInt(p.serial, 36), "is_quote_post": false,
	})
}

func createThreadContainer(c *call, user *node) *reply {
	mediaType := strings.ToUpper(c.params.Get("media_type"))
	values := map[string]any{"text": c.params.Get("text"), "type": mediaType}
	switch mediaType {
	case "TEXT":
		if c.params.Get("text") == "" {
			return invalid("The parameter text is required.").reply()
		}
	case "IMAGE":
		if c.params.Get("image_url") == "" {
			return invalid("The parameter image_url is required.").reply()
		}
	case "VIDEO":
		if c.params.Get("video_url") == "" {
			return invalid("The parameter video_url is required.").reply()
		}
		values["slow"] = true
	default:
		return invalid("Param media_type must be one of {TEXT, IMAGE, VIDEO, CAROUSEL}").reply()
	}
	if id := c.params.Get("reply_to_id"); id != "" {
		to := c.p.nodes[id]
		if to == nil || to.kind.name != "ThreadsMedia" {
			return missing("post", id).reply()
		}
		if failed := c.need([]string{"threads_manage_replies"}); failed != nil {
			return failed.reply()
		}
		values["reply_to"] = to
	}
	container := c.p.newNode(c.p.nextID("17"), "Container", user, c.p.now(), values)
	if yes(c.params.Get("auto_publish_text")) && mediaType == "TEXT" {
		c.params.Set("creation_id", container.id)
		return publishThread(c, user)
	}
	return answer(object{{"id", container.id}})
}

func publishThread(c *call, user *node) *reply {
	container := c.p.nodes[c.params.Get("creation_id")]
	if container == nil || container.kind.name != "Container" || container.parent != user || container.props["published"] == true {
		return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 24, subcode: 4279009, message: "The requested resource does not exist", title: "Media Not Found", user: "The media with the creation id cannot be found."}).reply()
	}
	if c.p.containerStatus(container) != "FINISHED" {
		return (&failure{status: http.StatusBadRequest, kind: oauthException, code: 9007, subcode: 2207027, message: "Media ID is not available"}).reply()
	}
	if c.p.publishedToday(user) >= dailyThreads {
		return denied(10, "Application does not have permission for this action").reply()
	}
	container.props["published"] = true
	mediaType := container.text("type")
	if mediaType == "TEXT" {
		mediaType = "TEXT_POST"
	}
	post := c.p.newThread(user, c.p.now(), mediaType, container.text("text"))
	post.props["api"] = true
	if to, ok := container.props["reply_to"].(*node); ok {
		post.props["is_reply"], post.props["reply_to"] = true, to
		to.push("replies", post)
		user.push("replies", post)
	} else {
		user.push("threads", post)
	}
	return answer(object{{"id", post.id}})
}

func threadsLimit(c *call, user *node, _ args) (any, *failure) {
	limit := func(n int) object {
		return object{{"quota_total", n}, {"quota_duration", int(24 * time.Hour / time.Second)}}
	}
	return object{{"data", []any{object{
		{"quota_usage", c.p.publishedToday(user)}, {"config", limit(dailyThreads)}, {"reply_quota_usage", 0}, {"reply_config", limit(1000)},
	}}}}, nil
}
