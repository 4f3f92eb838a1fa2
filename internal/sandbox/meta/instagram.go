package meta

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The same edges serve Facebook's and Instagram's host; a token has one of the
// two names of each permission.
var (
	readIG     = []string{"instagram_basic", "instagram_business_basic"}
	publishIG  = []string{"instagram_content_publish", "instagram_business_content_publish"}
	commentsIG = []string{"instagram_manage_comments", "instagram_business_manage_comments"}
	insightsIG = []string{"instagram_manage_insights", "instagram_business_manage_insights"}
)

var igMetrics = []string{"impressions", "reach", "follower_count", "profile_views", "views", "likes", "comments", "saved", "shares", "total_interactions"}

func igEdges() map[string]*edge {
	return map[string]*edge{
		"media":                    {list: children("media"), defaults: []string{"id"}, read: readIG, write: publishIG, create: createContainer, usage: "instagram"},
		"media_publish":            {write: publishIG, create: publishMedia, usage: "instagram"},
		"stories":                  {list: children("stories"), read: readIG, usage: "instagram"},
		"tags":                     {list: children("tags"), read: readIG, usage: "instagram"},
		"insights":                 {data: insights(igMetrics, []string{"day"}), read: insightsIG, usage: "instagram"},
		"content_publishing_limit": {data: publishingLimit, read: readIG, usage: "instagram"},
	}
}

func igFields() map[string]fieldFunc {
	return with(props("username", "name", "biography", "website", "followers_count", "follows_count", "ig_id"), map[string]fieldFunc{
		"media_count":         func(_ *call, n *node) any { return len(n.lists["media"]) },
		"profile_picture_url": func(_ *call, n *node) any { return "https://scontent.cdninstagram.com/v/" + n.id + ".jpg" },
	})
}

// igUserKind is a professional account as Facebook's host shows it.
func igUserKind() *kind {
	return &kind{defaults: []string{"id"}, fields: igFields(), edges: igEdges()}
}

// instagramUserKind is the same account as Instagram's own host shows it: an
// app-scoped id, and the account's id in user_id.
func instagramUserKind() *kind {
	edges := igEdges()
	edges["subscribed_apps"] = &edge{data: subscribedApps, create: subscribePage, delete: unsubscribePage}
	return &kind{defaults: []string{"id"}, fields: with(igFields(), props("account_type", "user_id")), edges: edges}
}

func (p *Platform) newMedia(account *node, at time.Time, mediaType, caption string) *node {
	id := p.nextID("17")
	return p.newNode(id, "IGMedia", account, at, map[string]any{
		"caption": caption, "media_type": mediaType, "media_product_type": "FEED", "shortcode": "S" + strconv.FormatInt(p.serial, 36),
		"media_url": "https://scontent.cdninstagram.com/v/" + id + ".jpg", "ig_id": strconv.FormatInt(3000000000+p.serial, 10), "like_count": int(p.serial % 41), "is_comment_enabled": true,
	})
}

func igMediaKind() *kind {
	return &kind{
		defaults: []string{"id"},
		fields: with(props("caption", "media_type", "media_product_type", "media_url", "shortcode", "like_count", "thumbnail_url", "ig_id", "is_comment_enabled", "alt_text"), map[string]fieldFunc{
			"timestamp":      createdTime,
			"permalink":      func(_ *call, n *node) any { return "https://www.instagram.com/p/" + n.text("shortcode") + "/" },
			"username":       func(_ *call, n *node) any { return n.root().props["username"] },
			"owner":          func(_ *call, n *node) any { return object{{"id", n.root().id}} },
			"comments_count": func(_ *call, n *node) any { return len(n.lists["comments"]) },
		}),
		update: func(c *call, n *node) *reply {
			if failed := c.need(commentsIG); failed != nil {
				return failed.reply()
			}
			n.props["is_comment_enabled"] = yes(c.params.Get("comment_enabled"))
			return success()
		},
		edges: map[string]*edge{
			"comments": {list: children("comments"), read: append(slices.Clone(readIG), commentsIG...), write: commentsIG, create: createIGComment, usage: "instagram"},
			"children": {list: children("children"), read: readIG, usage: "instagram"},
			"insights": {data: insights(igMetrics, []string{"lifetime"}), read: insightsIG, usage: "instagram"},
		},
	}
}

func igCommentKind() *kind {
	return &kind{
		defaults: []string{"timestamp", "text", "id"},
		fields: with(props("text", "username", "from"), map[string]fieldFunc{
			"timestamp":  createdTime,
			"hidden":     func(_ *call, n *node) any { hidden, _ := n.props["hidden"].(bool); return hidden },
			"like_count": func(_ *call, n *node) any { return len(n.lists["likes"]) },
			"media":      func(_ *call, n *node) any { return object{{"id", n.parent.id}} },
		}),
		update: func(c *call, n *node) *reply {
			if failed := c.need(commentsIG); failed != nil {
				return failed.reply()
			}
			n.props["hidden"] = yes(c.params.Get("hide"))
			return success()
		},
		remove: removeFrom(commentsIG, "comments", "replies"),
		edges: map[string]*edge{
			"replies": {list: children("replies"), read: append(slices.Clone(readIG), commentsIG...), write: commentsIG, create: createIGReply, usage: "instagram"},
		},
	}
}

func createIGComment(c *call, media *node) *reply { return c.igComment(media, "comments") }

func createIGReply(c *call, comment *node) *reply { return c.igComment(comment, "replies") }

func (c *call) igComment(on *node, list string) *reply {
	text := c.params.Get("message")
	if text == "" {
		return invalid("The parameter message is required").reply()
	}
	comment := c.p.newNode(c.p.nextID("18"), "IGComment", on, c.p.now(), map[string]any{"text": text, "username": on.root().props["username"]})
	on.push(list, comment)
	c.p.instagramChanged(c.ctx, on.root(), "comments", object{
		{"id", comment.id}, {"text", text}, {"from", object{{"id", on.root().id}, {"username", on.root().props["username"]}}}, {"media", object{{"id", on.id}}},
	})
	return answer(object{{"id", comment.id}})
}

// Publishing takes two steps: a container that Instagram fills from an address,
// then its publication. A container lives a day; videos take a moment.
const (
	containerLife = 24 * time.Hour
	videoDelay    = 2 * time.Second
	// dailyPosts is how many posts an account may publish by API in 24 hours.
	dailyPosts = 100
)

func containerKind() *kind {
	return &kind{
		defaults: []string{"id"},
		fields: map[string]fieldFunc{
			"status_code":   func(c *call, n *node) any { return c.p.containerStatus(n) },
			"status":        containerDetail,
			"error_message": func(*call, *node) any { return nil },
			"uri":           prop("uri"),
		},
	}
}

// containerDetail is a sentence on Instagram and a word on Threads.
func containerDetail(c *call, n *node) any {
	code := c.p.containerStatus(n)
	if c.product == threads {
		return code
	}
	return code[:1] + strings.ToLower(code[1:]) + ": Media upload has been processed."
}

func (p *Platform) containerStatus(n *node) string {
	age := p.now().Sub(n.created)
	switch {
	case n.props["published"] == true:
		return "PUBLISHED"
	case age > containerLife:
		return "EXPIRED"
	case n.props["waiting"] == true, n.props["slow"] == true && age < videoDelay:
		return "IN_PROGRESS"
	}
	return "FINISHED"
}

func createContainer(c *call, account *node) *reply {
	mediaType := strings.ToUpper(c.params.Get("media_type"))
	image, video := c.params.Get("image_url"), c.params.Get("video_url")
	values := map[string]any{"caption": c.params.Get("caption"), "type": mediaType, "url": image + video, "item": yes(c.params.Get("is_carousel_item"))}
	resumable := c.params.Get("upload_type") == "resumable"
	switch {
	case mediaType == "CAROUSEL":
		ids := splitScopes(strings.Trim(c.params.Get("children"), "[]"))
		if len(ids) < 2 || len(ids) > 10 {
			return invalid("The carousel must have between 2 and 10 children").reply()
		}
		for i, id := range ids {
			ids[i] = strings.Trim(id, `"`)
			child := c.p.nodes[ids[i]]
			if child == nil || child.kind.name != "Container" || child.parent != c.account(account) || child.props["item"] != true {
				return invalid("Invalid parameter: children").reply()
			}
		}
		values["children"] = ids
	case mediaType == "REELS", mediaType == "VIDEO", mediaType == "STORIES" && video != "":
		if video == "" && !resumable {
			return invalid("The parameter video_url is required.").reply()
		}
		values["slow"] = true
		values["waiting"] = resumable
	case image == "":
		f := invalid("The parameter image_url is required.")
		f.subcode = 2207003
		return f.reply()
	default:
		values["type"] = "IMAGE"
	}
	container := c.p.newNode(c.p.nextID("17"), "Container", c.account(account), c.p.now(), values)
	out := object{{"id", container.id}}
	if resumable {
		uri := c.uploadURL("ig-api-upload/" + c.version + "/" + container.id)
		container.props["uri"] = uri
		c.p.uploads["ig-api-upload/"+container.id] = &upload{token: c.token.app.AppID, container: container}
		out.set("uri", uri)
	}
	return answer(out)
}

// account is the node that owns the media: both views of an account share it.
func (c *call) account(n *node) *node {
	if n.kind.name == "InstagramUser" {
		return c.p.nodes[igAccountID(n.person)]
	}
	return n
}

func publishMedia(c *call, account *node) *reply {
	owner := c.account(account)
	container := c.p.nodes[c.params.Get("creation_id")]
	if container == nil || container.kind.name != "Container" || container.parent != owner {
		f := invalid("Invalid parameter: creation_id")
		f.subcode = 2207006
		return f.reply()
	}
	switch status := c.p.containerStatus(container); {
	case status == "PUBLISHED":
		f := invalid("The media has already been published")
		f.code, f.subcode = 9, 2207032
		return f.reply()
	case status == "EXPIRED":
		f := invalid("The media has expired")
		f.subcode = 2207008
		return f.reply()
	case status == "IN_PROGRESS":
		return (&failure{status: 400, kind: oauthException, code: 9007, subcode: 2207027, message: "Media ID is not available", title: "Media ID is not available", user: "The media is not ready for publishing, please wait for a moment"}).reply()
	case c.p.publishedToday(owner) >= dailyPosts:
		return (&failure{status: 403, kind: oauthException, code: 9, subcode: 2207042, message: "Application request limit reached"}).reply()
	}
	container.props["published"] = true
	media := c.p.newMedia(owner, c.p.now(), igType(container.text("type")), container.text("caption"))
	media.props["api"] = true
	if ids, ok := container.props["children"].([]string); ok {
		for _, id := range ids {
			child := c.p.newMedia(owner, c.p.now(), igType(c.p.nodes[id].text("type")), "")
			media.lists["children"] = append(media.lists["children"], child)
		}
	}
	owner.push("media", media)
	return answer(object{{"id", media.id}})
}

func igType(containerType string) string {
	switch containerType {
	case "CAROUSEL":
		return "CAROUSEL_ALBUM"
	case "REELS", "VIDEO", "STORIES":
		return "VIDEO"
	}
	return "IMAGE"
}

func (p *Platform) publishedToday(account *node) int {
	count := 0
	for _, media := range append(slices.Clone(account.lists["media"]), account.lists["threads"]...) {
		if media.props["api"] == true && p.now().Sub(media.created) < 24*time.Hour {
			count++
		}
	}
	return count
}

func publishingLimit(c *call, account *node, _ args) (any, *failure) {
	return object{{"data", []any{object{
		{"config", object{{"quota_total", dailyPosts}, {"quota_duration", 86400}}}, {"quota_usage", c.p.publishedToday(c.account(account))},
	}}}}, nil
}

// jsonText renders a value for the places that carry JSON in a string.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("meta: encoding a value: %v", err))
	}
	return string(text)
}
