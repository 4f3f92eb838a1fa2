package x

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

const (
	readPosts  = "tweet.read users.read"
	writePosts = "tweet.read tweet.write users.read"
)

var postOperations = []operation{
	{id: "createPosts", route: "POST /2/tweets", auth: userAuth, scopes: writePosts, appLimit: "10000/24h", userLimit: "100/15m", status: http.StatusCreated, handle: (*Platform).createPost},
	{id: "deletePosts", route: "DELETE /2/tweets/{id}", auth: userAuth, scopes: writePosts, userLimit: "50/15m", handle: (*Platform).deletePost},
	{id: "getPostsById", route: "GET /2/tweets/{id}", auth: anyAuth, scopes: readPosts, appLimit: "450/15m", userLimit: "900/15m", query: postQuery, handle: (*Platform).postByID},
	{id: "getPostsByIds", route: "GET /2/tweets", auth: anyAuth, scopes: readPosts, appLimit: "3500/15m", userLimit: "5000/15m", query: with(postQuery, "ids"), handle: (*Platform).postsByIDs},
	{id: "hidePostsReply", route: "PUT /2/tweets/{tweet_id}/hidden", auth: userAuth, scopes: "tweet.read tweet.moderate.write users.read", userLimit: "50/15m", handle: (*Platform).hideReply},
}

// decode reads a JSON body strictly: X names the field that it does not know.
func (c *call) decode(into any) error {
	if len(bytes.TrimSpace(c.body)) == 0 {
		return invalidRequest("", "", "Requests with bodies must have content-type of application/json.")
	}
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if field, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
			return invalidRequest("", "", "$."+strings.Trim(field, `"`)+": is not defined in the schema and the schema does not allow additional properties")
		}
		return invalidRequest("", "", "The request body is not valid JSON for this operation.")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return invalidRequest("", "", "The request body has more than one JSON value.")
	}
	return nil
}

// newPost is the body of POST /2/tweets.
type newPost struct {
	Text  string `json:"text"`
	Reply *struct {
		To       string   `json:"in_reply_to_tweet_id"`
		Exclude  []string `json:"exclude_reply_user_ids"`
		Populate bool     `json:"auto_populate_reply_metadata"`
	} `json:"reply"`
	Quote string `json:"quote_tweet_id"`
	Media *struct {
		IDs    []string `json:"media_ids"`
		Tagged []string `json:"tagged_user_ids"`
	} `json:"media"`
	Poll *struct {
		Options  []string `json:"options"`
		Duration int      `json:"duration_minutes"`
		Reply    string   `json:"reply_settings"`
	} `json:"poll"`
	ReplySettings  string          `json:"reply_settings"`
	CardURI        string          `json:"card_uri"`
	Community      string          `json:"community_id"`
	DeepLink       string          `json:"direct_message_deep_link"`
	EditOptions    json.RawMessage `json:"edit_options"`
	SuperFollowers bool            `json:"for_super_followers_only"`
	Geo            json.RawMessage `json:"geo"`
	MadeWithAI     bool            `json:"made_with_ai"`
	Nullcast       bool            `json:"nullcast"`
	Paid           bool            `json:"paid_partnership"`
	Share          bool            `json:"share_with_followers"`
}

func (p *Platform) createPost(c *call) (any, error) {
	var body newPost
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	made := &post{author: c.who.user, text: body.Text, lang: c.who.user.person.Lang, replySetting: body.ReplySettings}
	if body.Text == "" && body.Media == nil && body.Poll == nil {
		return nil, invalidRequest("", "", "$.text: is missing but it is required")
	}
	if weight(body.Text) > maxWeight {
		return nil, forbidden("Your Tweet text is too long. For more information about how X determines text length see https://github.com/twitter/twitter-text.")
	}
	if body.ReplySettings != "" && !slices.Contains([]string{"following", "mentionedUsers", "subscribers", "verified"}, body.ReplySettings) {
		return nil, invalidRequest("", "", "$.reply_settings: does not have a value in the enumeration [following, mentionedUsers, subscribers, verified]")
	}
	if body.Reply != nil {
		if made.replyTo = p.state.visiblePost(body.Reply.To); made.replyTo == nil {
			return nil, forbidden("You attempted to reply to a Tweet that is deleted or not visible to you.")
		}
	}
	if body.Quote != "" {
		if made.quotes = p.state.visiblePost(body.Quote); made.quotes == nil {
			return nil, invalidRequest("", "", "You attempted to quote a Tweet that is deleted or not visible to you.")
		}
	}
	if body.Media != nil {
		if body.Poll != nil || len(body.Media.IDs) == 0 || len(body.Media.IDs) > 4 {
			return nil, invalidRequest("", "", "$.media.media_ids: must have between 1 and 4 items and no poll beside it")
		}
		for _, id := range body.Media.IDs {
			m := p.state.media[id]
			if m == nil || m.owner != c.who.user || m.status != "succeeded" {
				return nil, invalidRequest("", "", "Your media IDs are invalid.")
			}
			made.media = append(made.media, m)
		}
	}
	if body.Poll != nil && (len(body.Poll.Options) < 2 || len(body.Poll.Options) > 4 || body.Poll.Duration < 5 || body.Poll.Duration > 10080) {
		return nil, invalidRequest("", "", "$.poll: must have 2 to 4 options and a duration between 5 and 10080 minutes")
	}
	if p.duplicate(c.who.user, body.Text) {
		return nil, forbidden("You are not allowed to create a Tweet with duplicate content.")
	}
	p.addPost(made)
	return reply(map[string]any{"id": made.id, "text": made.text, "edit_history_tweet_ids": []string{made.id}}, nil, nil, nil), nil
}

// duplicate reports whether the author's last post has the same text.
func (p *Platform) duplicate(author *user, text string) bool {
	if p.config.AllowDuplicates || text == "" || len(author.posts) == 0 {
		return false
	}
	last := author.posts[len(author.posts)-1]
	return last.repostOf == nil && last.text == text
}

// addPost places a post and tells streams and webhooks. The caller holds
// Platform.mu.
func (p *Platform) addPost(made *post) *post {
	p.state.insert(made, p.now())
	p.streams.publish(made)
	p.announcePost("post.create", made)
	for _, name := range mentions(made.text) {
		if u := p.state.byUsername(name); u != nil && u != made.author {
			p.announce("post.mention.create", u, p.plainPost(made))
		}
	}
	return made
}

// plainPost is a post as an event's payload.
func (p *Platform) plainPost(t *post) map[string]any {
	s := selection{tweet: []string{"author_id", "created_at", "conversation_id", "lang", "public_metrics"}}
	return p.renderPost(t, nil, &s, &includes{})
}

func (p *Platform) deletePost(c *call) (any, error) {
	id := c.path["id"]
	if !validID(id) {
		return nil, badPathID("id", id)
	}
	t := p.state.posts[id]
	if t == nil {
		return reply(map[string]any{"deleted": false}, nil, nil, nil), nil
	}
	if t.author != c.who.user {
		return nil, forbidden("You are not authorized to delete this Tweet.")
	}
	p.state.remove(t, p.now())
	p.announce("post.delete", t.author, map[string]any{"id": t.id, "author_id": t.author.id, "deleted_at": timestamp(p.now())})
	return reply(map[string]any{"deleted": true}, nil, nil, nil), nil
}

// postProblem says why a post cannot be shown to the caller.
func (p *Platform) postProblem(c *call, t *post, parameter, value string) map[string]any {
	if t == nil || t.author.gone() {
		return resourceProblem("tweet", parameter, value)
	}
	if !p.mayRead(c, t) {
		return map[string]any{
			"value": value, "detail": fmt.Sprintf("Sorry, you are not authorized to see the Tweet with %s: [%s].", parameter, value),
			"title": "Authorization Error", "resource_type": "tweet", "parameter": parameter, "resource_id": value,
			"section": "data", "type": problemBase + "not-authorized-for-resource",
		}
	}
	return nil
}

// mayRead reports whether the caller may read a post: those of protected
// accounts are for their followers.
func (p *Platform) mayRead(c *call, t *post) bool {
	if !t.author.protected {
		return true
	}
	return c != nil && c.who.user != nil && (c.who.user == t.author || c.who.user.following.contains(t.author.id))
}

func (p *Platform) postByID(c *call) (any, error) {
	id := c.path["id"]
	if !validID(id) {
		return nil, badPathID("id", id)
	}
	s, err := c.selectFields(tweetExpansions)
	if err != nil {
		return nil, err
	}
	t := p.state.visiblePost(id)
	if problem := p.postProblem(c, t, "id", id); problem != nil {
		return nil, &notFound{problem}
	}
	var n includes
	return reply(p.renderPost(t, c, &s, &n), &n, nil, nil), nil
}

func (p *Platform) postsByIDs(c *call) (any, error) {
	ids, err := c.batch("ids", validID)
	if err != nil {
		return nil, err
	}
	var found []*post
	var errors []any
	for _, id := range ids {
		t := p.state.visiblePost(id)
		if problem := p.postProblem(c, t, "ids", id); problem != nil {
			errors = append(errors, problem)
			continue
		}
		found = append(found, t)
	}
	return p.postReply(c, found, errors, nil)
}

// postReply renders posts with their includes.
func (p *Platform) postReply(c *call, posts []*post, errors []any, meta map[string]any) (any, error) {
	s, err := c.selectFields(tweetExpansions)
	if err != nil {
		return nil, err
	}
	var n includes
	var data []any
	for _, t := range posts {
		data = append(data, p.renderPost(t, c, &s, &n))
	}
	if data == nil {
		return reply(nil, &n, errors, meta), nil
	}
	return reply(data, &n, errors, meta), nil
}

// targetPost finds the post that a body or path names.
func (p *Platform) targetPost(c *call, parameter, id string) (*post, error) {
	if !validID(id) {
		return nil, badPathID(parameter, id)
	}
	t := p.state.visiblePost(id)
	if problemBody := p.postProblem(c, t, parameter, id); problemBody != nil {
		return nil, &problem{http.StatusNotFound, withStatus(problemBody, http.StatusNotFound)}
	}
	return t, nil
}

func (p *Platform) hideReply(c *call) (any, error) {
	var body struct {
		Hidden *bool `json:"hidden"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Hidden == nil {
		return nil, invalidRequest("", "", "$.hidden: is missing but it is required")
	}
	t, err := p.targetPost(c, "tweet_id", c.path["tweet_id"])
	if err != nil {
		return nil, err
	}
	if t.replyTo == nil || p.state.posts[t.conversation] == nil || p.state.posts[t.conversation].author != c.who.user {
		return nil, forbidden("You can only hide replies to your own conversations.")
	}
	t.hidden = *body.Hidden
	return reply(map[string]any{"hidden": t.hidden}, nil, nil, nil), nil
}
