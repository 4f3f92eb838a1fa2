package x

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// renderUser is a user as JSON. viewer is who asks, nil for the app itself.
func (p *Platform) renderUser(u *user, c *call, s *selection, n *includes) map[string]any {
	out := map[string]any{"id": u.id, "name": u.person.Name, "username": u.person.Username}
	for _, field := range s.user {
		switch field {
		case "created_at":
			out[field] = timestamp(u.person.Joined)
		case "description":
			out[field] = u.person.Bio
		case "location":
			out[field] = u.person.Location
		case "protected":
			out[field] = u.protected
		case "verified":
			out[field] = u.person.Index%7 == 0
		case "verified_type":
			out[field] = map[bool]string{true: "blue", false: "none"}[u.person.Index%7 == 0]
		case "url":
			out[field] = "https://people.example/" + u.person.Username
		case "profile_image_url":
			out[field] = "https://pbs.example/profile_images/" + u.id + "/normal.png"
		case "public_metrics":
			out[field] = map[string]any{
				"followers_count": u.followers.len(), "following_count": u.following.len(), "tweet_count": len(u.posts),
				"listed_count": p.state.listed(u), "like_count": u.likes.len(), "media_count": 0,
			}
		case "entities":
			out[field] = map[string]any{"description": textEntities(u.person.Bio)}
		case "pinned_tweet_id":
			if len(u.posts) > 0 {
				out[field] = u.posts[0].id
			}
		case "most_recent_tweet_id":
			if len(u.posts) > 0 {
				out[field] = u.posts[len(u.posts)-1].id
			}
		case "confirmed_email":
			// Only the person themselves, and only with their leave.
			if c != nil && c.who.user == u && c.who.kind == oauth2User && slices.Contains(c.who.token.scopes, "users.email") {
				out[field] = u.person.Email
			}
		case "connection_status":
			if c != nil && c.who.user != nil {
				out[field] = connections(c.who.user, u)
			}
		case "receives_your_dm":
			out[field] = c == nil || c.who.user == nil || !u.dmBlocked.contains(c.who.user.id)
		}
	}
	if len(u.posts) > 0 {
		if s.wants("pinned_tweet_id", "pinned_post_id") {
			out["pinned_tweet_id"] = u.posts[0].id
			p.includePost(u.posts[0], c, s, n)
		}
		if s.wants("most_recent_tweet_id", "most_recent_post_id") {
			last := u.posts[len(u.posts)-1]
			out["most_recent_tweet_id"] = last.id
			p.includePost(last, c, s, n)
		}
	}
	return out
}

// connections is how the viewer stands to another person.
func connections(viewer, other *user) []string {
	status := []string{}
	for _, kind := range []struct {
		name string
		set  *ordered
		id   string
	}{
		{"following", &viewer.following, other.id}, {"followed_by", &viewer.followers, other.id},
		{"muting", &viewer.muting, other.id}, {"blocking", &viewer.blocking, other.id},
	} {
		if kind.set.contains(kind.id) {
			status = append(status, kind.name)
		}
	}
	return status
}

// includeUser puts a person among the includes, once.
func (p *Platform) includeUser(u *user, c *call, s *selection, n *includes) {
	if u != nil && !u.gone() && n.first("user", u.id) {
		plain := *s
		plain.expansions = nil
		n.users = append(n.users, p.renderUser(u, c, &plain, n))
	}
}

// includePost puts a post among the includes, once.
func (p *Platform) includePost(t *post, c *call, s *selection, n *includes) {
	if t != nil && p.state.visiblePost(t.id) != nil && n.first("tweet", t.id) {
		plain := *s
		plain.expansions = nil
		n.tweets = append(n.tweets, p.renderPost(t, c, &plain, n))
	}
}

// renderPost is a post as JSON.
func (p *Platform) renderPost(t *post, c *call, s *selection, n *includes) map[string]any {
	out := map[string]any{"id": t.id, "text": t.displayText(), "edit_history_tweet_ids": []string{t.id}}
	for _, field := range s.tweet {
		p.postField(out, t, c, field)
	}
	if s.wants("author_id", "username") {
		out["author_id"] = t.author.id
		p.includeUser(t.author, c, s, n)
	}
	if s.wants("in_reply_to_user_id") && t.replyTo != nil {
		out["in_reply_to_user_id"] = t.replyTo.author.id
		p.includeUser(t.replyTo.author, c, s, n)
	}
	if s.wants("referenced_tweets.id", "referenced_tweets.id.author_id", "referenced_posts") {
		if references := t.references(); len(references) > 0 {
			out["referenced_tweets"] = references
			for _, referenced := range []*post{t.replyTo, t.quotes, t.repostOf} {
				p.includePost(referenced, c, s, n)
				if referenced != nil && s.wants("referenced_tweets.id.author_id") {
					p.includeUser(referenced.author, c, s, n)
				}
			}
		}
	}
	if s.wants("edit_history_tweet_ids", "edit_history_post_ids") {
		p.includePost(t, c, s, n)
	}
	if s.wants("entities.mentions.username") {
		out["entities"] = textEntities(t.displayText())
		for _, name := range mentions(t.displayText()) {
			p.includeUser(p.state.byUsername(name), c, s, n)
		}
	}
	if s.wants("attachments.media_keys") && len(t.media) > 0 {
		out["attachments"] = t.attachments()
		for _, m := range t.media {
			if n.first("media", m.id) {
				n.media = append(n.media, m.render(s.media))
			}
		}
	}
	return out
}

// postField adds one requested field.
func (p *Platform) postField(out map[string]any, t *post, c *call, field string) {
	switch field {
	case "author_id":
		out[field] = t.author.id
	case "username":
		out[field] = t.author.person.Username
	case "created_at":
		out[field] = timestamp(t.created)
	case "conversation_id":
		out[field] = t.conversation
	case "lang":
		out[field] = t.lang
	case "in_reply_to_user_id":
		if t.replyTo != nil {
			out[field] = t.replyTo.author.id
		}
	case "referenced_tweets":
		if references := t.references(); len(references) > 0 {
			out[field] = references
		}
	case "public_metrics":
		out[field] = map[string]any{
			"retweet_count": t.reposts.len(), "reply_count": t.replies, "like_count": t.likes.len(),
			"quote_count": t.quoted, "bookmark_count": t.bookmarks, "impression_count": 10*t.likes.len() + 7,
		}
	case "non_public_metrics", "organic_metrics":
		if c != nil && c.who.user == t.author {
			out[field] = map[string]any{"impression_count": 10*t.likes.len() + 7, "user_profile_clicks": t.replies}
		}
	case "entities":
		if entities := textEntities(t.displayText()); len(entities) > 0 {
			out[field] = entities
		}
	case "attachments":
		if len(t.media) > 0 {
			out[field] = t.attachments()
		}
	case "possibly_sensitive":
		out[field] = false
	case "reply_settings":
		out[field] = t.replySetting
	case "source":
		out[field] = "Sandbox"
	case "display_text_range":
		out[field] = []int{0, utf8.RuneCountInString(t.displayText())}
	case "edit_controls":
		out[field] = map[string]any{"edits_remaining": 5, "is_edit_eligible": false, "editable_until": timestamp(t.created.Add(hour))}
	}
}

// displayText is the text as readers see it; a repost carries the original's.
func (t *post) displayText() string {
	if t.repostOf != nil {
		return "RT @" + t.repostOf.author.person.Username + ": " + t.repostOf.text
	}
	return t.text
}

// references lists what the post refers to.
func (t *post) references() []any {
	var all []any
	for _, reference := range []struct {
		kind string
		post *post
	}{{"replied_to", t.replyTo}, {"quoted", t.quotes}, {"retweeted", t.repostOf}} {
		if reference.post != nil {
			all = append(all, map[string]any{"type": reference.kind, "id": reference.post.id})
		}
	}
	return all
}

func (t *post) attachments() map[string]any {
	keys := make([]string, len(t.media))
	for i, m := range t.media {
		keys[i] = m.key()
	}
	return map[string]any{"media_keys": keys}
}

var (
	mentionPattern = regexp.MustCompile(`@([A-Za-z0-9_]{1,15})`)
	tagPattern     = regexp.MustCompile(`#([\p{L}\p{M}\p{N}_]+)`)
	urlPattern     = regexp.MustCompile(`https?://[^\s<>"]+`)
)

// mentions returns the user names that a text mentions.
func mentions(text string) []string {
	var names []string
	for _, match := range mentionPattern.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

// textEntities finds hashtags, mentions and links. Positions count characters,
// not bytes.
func textEntities(text string) map[string]any {
	out := make(map[string]any)
	for _, kind := range []struct {
		name, field string
		pattern     *regexp.Regexp
		group       int
	}{{"hashtags", "tag", tagPattern, 1}, {"mentions", "username", mentionPattern, 1}, {"urls", "url", urlPattern, 0}} {
		var all []any
		for _, at := range kind.pattern.FindAllStringSubmatchIndex(text, -1) {
			start := utf8.RuneCountInString(text[:at[0]])
			all = append(all, map[string]any{
				"start": start, "end": start + utf8.RuneCountInString(text[at[0]:at[1]]),
				kind.field: text[at[2*kind.group]:at[2*kind.group+1]],
			})
		}
		if len(all) > 0 {
			out[kind.name] = all
		}
	}
	return out
}

// maxWeight is the length of a post as X counts.
const maxWeight = 280

// weight is the length of a text as X counts it: most letters of the alphabetic
// scripts are one, everything else two, a link always 23.
func weight(text string) int {
	total := 0
	text = urlPattern.ReplaceAllStringFunc(text, func(string) string {
		total += 23
		return ""
	})
	for _, r := range text {
		switch {
		case r <= 4351, r >= 8192 && r <= 8205, r >= 8208 && r <= 8223, r >= 8242 && r <= 8247:
			total++
		default:
			total += 2
		}
	}
	return total
}

// normalized is a text prepared for comparison without regard to case.
func normalized(text string) string { return strings.ToLower(text) }
