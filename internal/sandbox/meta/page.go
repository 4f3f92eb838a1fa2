package meta

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The permissions that open what belongs to a page; any one will do.
var (
	readPage    = []string{"pages_read_engagement", "pages_read_user_content"}
	writePage   = []string{"pages_manage_posts"}
	engagePage  = []string{"pages_manage_engagement"}
	managePage  = []string{"pages_manage_metadata"}
	leadsOfPage = []string{"leads_retrieval", "pages_manage_ads"}
)

var pageTasks = []string{"ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"}

func pageKind() *kind {
	return &kind{
		defaults: []string{"name", "id"},
		fields: with(props("name", "about", "description", "category", "category_list", "fan_count", "followers_count", "username", "link", "website", "is_published", "verification_status"), map[string]fieldFunc{
			"access_token":                pageAccessToken,
			"tasks":                       func(*call, *node) any { return pageTasks },
			"picture":                     pictureField,
			"instagram_business_account":  linkedInstagram,
			"connected_instagram_account": linkedInstagram,
		}),
		update: updatePage,
		edges: map[string]*edge{
			"feed":            {list: pageFeed, read: readPage, write: writePage, asPage: true, create: createPost},
			"posts":           {list: published("feed"), read: readPage, write: writePage, asPage: true, create: createPost},
			"published_posts": {list: published("feed"), read: readPage},
			"scheduled_posts": {list: scheduled, read: readPage, asPage: true},
			"visitor_posts":   {list: children("visitor_posts"), read: []string{"pages_read_user_content"}},
			"tagged":          {list: children("visitor_posts"), read: []string{"pages_read_user_content"}},
			"photos":          {list: published("photos"), read: readPage, write: writePage, asPage: true, create: createPhoto},
			"videos":          {list: children("videos"), read: readPage, write: writePage, asPage: true, create: createVideo},
			"video_reels":     {list: children("videos"), read: readPage, write: writePage, asPage: true, create: createReel},
			"insights":        {data: insights(pageMetrics, pagePeriods), read: []string{"read_insights"}},
			"leadgen_forms":   {list: children("leadgen_forms"), read: leadsOfPage, write: []string{"pages_manage_ads"}, create: createLeadForm, usage: "leadgen"},
			"picture":         {data: pictureEdge},
			"subscribed_apps": {data: subscribedApps, read: managePage, write: managePage, asPage: true, create: subscribePage, delete: unsubscribePage},
		},
	}
}

// pageAccessToken is the page's own token, for somebody with a role on the page.
func pageAccessToken(c *call, page *node) any {
	t := c.token
	switch {
	case t.kind == pageToken && t.node == page:
		return t.value
	case t.kind != userToken && t.kind != systemToken || !c.sees(page):
		return nil
	case !t.has("pages_show_list", "pages_read_engagement", "pages_manage_posts", "pages_manage_metadata", "leads_retrieval"):
		return nil
	}
	return c.p.pageTokenFor(t, page).value
}

func linkedInstagram(c *call, page *node) any {
	account, _ := page.props["instagram"].(*node)
	if account == nil || !c.token.has("instagram_basic") {
		return nil
	}
	return account
}

func updatePage(c *call, page *node) *reply {
	if c.token.kind != pageToken {
		return denied(210, "A page access token is required to request this resource.").reply()
	}
	if failed := c.need(managePage); failed != nil {
		return failed.reply()
	}
	for _, name := range []string{"about", "description", "website"} {
		if c.params.Has(name) {
			page.props[name] = c.params.Get(name)
		}
	}
	return success()
}

// isPublished is true for what readers see: published, and its time has come.
func (p *Platform) isPublished(n *node) bool {
	if at, ok := n.props["scheduled"].(time.Time); ok {
		return !p.now().Before(at)
	}
	shown, stored := n.props["is_published"].(bool)
	return !stored || shown
}

func published(list string) func(*call, *node, args) ([]*node, *failure) {
	return func(c *call, n *node, _ args) ([]*node, *failure) {
		return slices.DeleteFunc(slices.Clone(n.lists[list]), func(child *node) bool { return !c.p.isPublished(child) }), nil
	}
}

func scheduled(c *call, page *node, _ args) ([]*node, *failure) {
	return slices.DeleteFunc(slices.Clone(page.lists["feed"]), func(child *node) bool {
		_, planned := child.props["scheduled"]
		return !planned || c.p.isPublished(child)
	}), nil
}

// pageFeed is what the page and its visitors posted, newest first.
func pageFeed(c *call, page *node, a args) ([]*node, *failure) {
	own, failed := published("feed")(c, page, a)
	if failed != nil {
		return nil, failed
	}
	all := append(own, page.lists["visitor_posts"]...)
	slices.SortStableFunc(all, func(a, b *node) int { return b.created.Compare(a.created) })
	return all, nil
}

// postID makes the id of a post: the owner's and its own, joined.
func (p *Platform) postID(owner *node) string {
	p.serial++
	return owner.id + "_" + strconv.FormatInt(700000000000+p.serial*7919, 10)
}

func createPost(c *call, page *node) *reply {
	message, link, attached := c.params.Get("message"), c.params.Get("link"), c.params.Get("attached_media")
	if message == "" && link == "" && attached == "" {
		f := invalid("The parameter message is required")
		f.title, f.user = "Missing message or attachment", "Missing message or attachment"
		return f.reply()
	}
	values := map[string]any{"message": message, "link": link, "from": page, "updated": c.p.now(), "is_published": true, "status_type": "mobile_status_update"}
	if c.params.Get("published") == "false" || c.params.Get("published") == "0" {
		values["is_published"] = false
	}
	if at := c.params.Get("scheduled_publish_time"); at != "" {
		moment, failed := when("scheduled_publish_time", at)
		if failed != nil {
			return failed.reply()
		}
		// Between ten minutes and six months ahead.
		if ahead := moment.Sub(c.p.now()); ahead < 10*time.Minute || ahead > 184*24*time.Hour {
			f := invalid("The specified scheduled publish time is invalid.")
			f.subcode = 1363037
			return f.reply()
		}
		values["scheduled"] = moment
	}
	var photos []*node
	if attached != "" {
		var media []struct {
			ID string `json:"media_fbid"`
		}
		if err := json.Unmarshal([]byte(attachedList(attached)), &media); err != nil {
			return invalid("param attached_media must be an array.").reply()
		}
		for _, m := range media {
			photo := c.p.nodes[m.ID]
			if photo == nil || photo.root() != page {
				return invalid("param attached_media[0] must be a valid media id").reply()
			}
			photo.props["is_published"] = true
			photos = append(photos, photo)
		}
		values["status_type"] = "added_photos"
	}
	post := c.p.newNode(c.p.postID(page), "Post", page, c.p.now(), values)
	post.lists["photos"] = photos
	page.push("feed", post)
	if c.p.isPublished(post) {
		c.p.pageChanged(c.ctx, page, "feed", object{
			{"from", object{{"id", page.id}, {"name", page.props["name"]}}}, {"item", "status"}, {"verb", "add"},
			{"post_id", post.id}, {"message", message}, {"created_time", c.p.now().Unix()}, {"published", 1},
		})
	}
	return answer(object{{"id", post.id}})
}

// attachedList turns a list of JSON texts, which is what attached_media[0]={…}
// becomes, into a JSON list.
func attachedList(text string) string {
	var texts []string
	if json.Unmarshal([]byte(text), &texts) == nil {
		return "[" + strings.Join(texts, ",") + "]"
	}
	return text
}

// The metrics of a page and the periods in which they come.
var (
	pageMetrics = []string{"page_impressions", "page_impressions_unique", "page_post_engagements", "page_fans", "page_views_total", "page_follows", "page_daily_follows", "page_media_view"}
	pagePeriods = []string{"day", "week", "days_28"}
	postMetrics = []string{"post_impressions", "post_impressions_unique", "post_clicks", "post_reactions_like_total", "post_engaged_users", "post_media_view"}
)

// insights answers an insights edge: one entry for each metric and period.
func insights(known, periods []string) func(*call, *node, args) (any, *failure) {
	return func(c *call, n *node, a args) (any, *failure) {
		wanted := splitScopes(strings.Trim(a["metric"], "[]"))
		for i := range wanted {
			wanted[i] = strings.Trim(wanted[i], `"`)
		}
		if len(wanted) == 0 {
			wanted = known[:1]
		}
		if a["period"] != "" && !slices.Contains(periods, a["period"]) {
			return nil, invalid("param period must be one of the following values: %s", strings.Join(periods, ", "))
		}
		data := []any{}
		for _, metric := range wanted {
			i := slices.Index(known, metric)
			if i < 0 {
				return nil, invalid("The value must be a valid insights metric")
			}
			for _, period := range periods {
				if a["period"] != "" && a["period"] != period {
					continue
				}
				data = append(data, c.p.insight(n, metric, period, i))
			}
		}
		return object{{"data", data}}, nil
	}
}

func (p *Platform) insight(n *node, metric, period string, salt int) object {
	end := p.now().Truncate(24 * time.Hour).Add(7 * time.Hour)
	values := []any{}
	count := 2
	if period == "lifetime" {
		count = 1
	}
	for i := range count {
		value := object{{"value", 10*(salt+1) + n.person%50 + i}}
		if period != "lifetime" {
			value.set("end_time", graphTime(end.AddDate(0, 0, i-1)))
		}
		values = append(values, value)
	}
	title := strings.ReplaceAll(metric, "_", " ")
	return object{
		{"name", metric}, {"period", period}, {"values", values}, {"title", title},
		{"description", "Sandbox figure for " + title}, {"id", n.id + "/insights/" + metric + "/" + period},
	}
}
