package x

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"
)

// The kinds of event that can be subscribed to. Private ones need the leave of
// the person they are about.
var (
	publicEvents = strings.Fields(`profile.update.bio profile.update.profile_picture profile.update.banner_picture
		profile.update.screenname profile.update.geo profile.update.url profile.update.verified_badge
		profile.update.affiliate_badge profile.update.handle news.new follow.follow follow.unfollow spaces.start spaces.end
		post.create post.delete post.mention.create post.reply.create post.quote.create post.repost.create like.create
		oauth.revoke`)
	privateEvents = strings.Fields(`chat.received chat.sent chat.conversation_join dm.sent dm.received
		dm.indicate_typing dm.read mute.mute mute.unmute block.block block.unblock`)
)

// maxSubscriptions is what a self-serve app may have.
const maxSubscriptions = 1500

func (s *subscription) filter() map[string]any {
	out := make(map[string]any)
	for name, value := range map[string]string{"user_id": s.userID, "keyword": s.keyword, "direction": s.direction} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}

func (s *subscription) render() map[string]any {
	out := map[string]any{
		"subscription_id": s.id, "event_type": s.eventType, "filter": s.filter(),
		"created_at": timestamp(s.created), "updated_at": timestamp(s.created),
	}
	if s.tag != "" {
		out["tag"] = s.tag
	}
	if s.webhookID != "" {
		out["webhook_id"] = s.webhookID
	}
	return out
}

func (p *Platform) subscribe(c *call) (any, error) {
	var body struct {
		Type   string `json:"event_type"`
		Filter struct {
			User      string `json:"user_id"`
			Keyword   string `json:"keyword"`
			Direction string `json:"direction"`
		} `json:"filter"`
		Tag     string `json:"tag"`
		Webhook string `json:"webhook_id"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	private := slices.Contains(privateEvents, body.Type)
	if !private && !slices.Contains(publicEvents, body.Type) {
		return nil, invalidRequest("", "", "$.event_type: is not a known event type")
	}
	if body.Filter.User == "" && body.Filter.Keyword == "" && body.Type != "oauth.revoke" {
		return nil, invalidRequest("", "", "$.filter: is missing but it is required")
	}
	if body.Filter.User != "" {
		if _, err := p.targetUser("user_id", body.Filter.User); err != nil {
			return nil, err
		}
	}
	if private && (c.who.user == nil || c.who.user.id != body.Filter.User) {
		return nil, forbidden("Private events need the authorization of the user that they are about.")
	}
	if body.Webhook != "" && p.hooks.all[body.Webhook] == nil {
		return nil, invalidRequest("", "", "$.webhook_id: there is no such webhook")
	}
	if len(p.hooks.subscriptions) >= maxSubscriptions {
		return nil, forbidden("The app has as many subscriptions as it may have.")
	}
	s := &subscription{
		id: p.state.nextID(p.now()), eventType: body.Type, userID: body.Filter.User, keyword: body.Filter.Keyword,
		direction: body.Filter.Direction, tag: body.Tag, webhookID: body.Webhook, created: p.now(),
	}
	for _, other := range p.hooks.subscriptions {
		if other.eventType == s.eventType && other.userID == s.userID && other.keyword == s.keyword && other.webhookID == s.webhookID {
			return nil, &problem{http.StatusConflict, map[string]any{
				"title": "Conflict", "detail": "There is such a subscription already.", "type": problemBase + "conflict", "status": http.StatusConflict,
			}}
		}
	}
	p.hooks.subscriptions = append(p.hooks.subscriptions, s)
	return reply(map[string]any{"subscription": s.render()}, nil, nil, map[string]any{"total_subscriptions": len(p.hooks.subscriptions)}), nil
}

func (p *Platform) listSubscriptions(c *call) (any, error) {
	var mine []*subscription
	for _, s := range p.hooks.subscriptions {
		if c.who.user == nil || s.userID == c.who.user.id {
			mine = append(mine, s)
		}
	}
	cut, err := paginate(c, paging{1, 1000, 100, ""}, mine, func(s *subscription) string { return s.id })
	if err != nil {
		return nil, err
	}
	data := []any{}
	for _, s := range cut.items {
		data = append(data, s.render())
	}
	cut.meta["total_subscriptions"] = len(mine)
	return reply(data, nil, nil, cut.meta), nil
}

func (p *Platform) unsubscribe(c *call) (any, error) {
	id := c.path["subscription_id"]
	before := len(p.hooks.subscriptions)
	p.hooks.subscriptions = slices.DeleteFunc(p.hooks.subscriptions, func(s *subscription) bool { return s.id == id })
	if len(p.hooks.subscriptions) == before {
		return nil, missing("subscription", "subscription_id", id)
	}
	return reply(map[string]any{"deleted": true}, nil, nil, map[string]any{"total_subscriptions": len(p.hooks.subscriptions)}), nil
}

// announcePost tells of a new post, its reply, quote or repost.
func (p *Platform) announcePost(kind string, t *post) {
	payload := p.plainPost(t)
	p.announce(kind, t.author, payload)
	for _, reference := range []struct {
		kind string
		post *post
	}{{"post.reply.create", t.replyTo}, {"post.quote.create", t.quotes}, {"post.repost.create", t.repostOf}} {
		if reference.post != nil {
			p.announce(reference.kind, reference.post.author, payload)
		}
	}
}

// announce queues an event for everybody who subscribed to it. The caller holds
// Platform.mu.
func (p *Platform) announce(kind string, subject *user, payload map[string]any) {
	for _, s := range p.hooks.subscriptions {
		if s.eventType != kind || s.userID != "" && s.userID != subject.id {
			continue
		}
		if s.keyword != "" && !strings.Contains(normalized(fmt.Sprint(payload["text"])), normalized(s.keyword)) {
			continue
		}
		event := map[string]any{"event_uuid": snowflake(p.now(), p.state.sequence), "event_type": kind, "filter": s.filter(), "payload": payload}
		p.state.sequence++
		if s.tag != "" {
			event["tag"] = s.tag
		}
		body := encode(map[string]any{"data": event})
		p.streams.broadcast(body)
		if s.webhookID != "" {
			d := delivery{webhookID: s.webhookID, body: body, at: p.now()}
			if len(p.hooks.history) >= maxHistory {
				p.hooks.history = slices.Delete(p.hooks.history, 0, maxHistory/2)
			}
			p.hooks.history = append(p.hooks.history, d)
			p.enqueue(d)
		}
	}
}

// enqueue puts a delivery in line. The caller holds Platform.mu.
func (p *Platform) enqueue(d delivery) {
	p.hooks.waiting = append(p.hooks.waiting, d)
	select {
	case p.hooks.wake <- struct{}{}:
	default:
	}
}

// maxHistory is how many deliveries are kept for a replay.
const maxHistory = 10_000

// attempts and pause say how stubbornly an event is delivered.
const (
	attempts = 3
	pause    = 200 * time.Millisecond
)

// deliver sends events in order, one at a time, and challenges the receivers
// every hour, until ctx ends.
func (p *Platform) deliver(ctx context.Context) error {
	client := p.receiverClient()
	hourly := time.NewTicker(crcEvery)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.stop:
			return nil
		case <-hourly.C:
			p.challengeAll(ctx)
		case <-p.hooks.wake:
		}
		for {
			d, receiver, ok := p.nextDelivery()
			if !ok {
				break
			}
			for attempt := 1; attempt <= attempts && !p.send(ctx, client, receiver, d.body); attempt++ {
				p.config.Log.WarnContext(ctx, "webhook delivery failed", slog.String("webhook", d.webhookID), slog.Int("attempt", attempt))
				select {
				case <-ctx.Done():
					return nil
				case <-time.After(pause * time.Duration(attempt)):
				}
			}
		}
	}
}

// nextDelivery takes the next event in line whose webhook is there and valid.
func (p *Platform) nextDelivery() (delivery, string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.hooks.waiting) > 0 {
		d := p.hooks.waiting[0]
		p.hooks.waiting = p.hooks.waiting[1:]
		if h := p.hooks.all[d.webhookID]; h != nil && h.valid {
			return d, h.url, true
		}
	}
	return delivery{}, "", false
}

// send posts one signed event and reports whether it was taken.
func (p *Platform) send(ctx context.Context, client *http.Client, receiver string, body []byte) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, receiver, bytes.NewReader(body))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Twitter-Webhooks-Signature", p.signature(body))
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return response.StatusCode/100 == 2
}

// challengeAll lets every receiver prove itself again.
func (p *Platform) challengeAll(ctx context.Context) {
	p.mu.Lock()
	all := p.sortedWebhooks()
	p.mu.Unlock()
	for _, h := range all {
		valid := p.challenge(ctx, h.url)
		p.mu.Lock()
		h.valid = valid
		p.mu.Unlock()
	}
}
