package meta

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // Meta still sends the legacy X-Hub-Signature beside the newer one.
	"encoding/hex"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// subscription is an app's callback for one kind of object.
type subscription struct {
	object   string
	callback string
	fields   []string
}

func listSubscriptions(c *call, n *node, _ args) (any, *failure) {
	if failed := c.appOnly(n); failed != nil {
		return nil, failed
	}
	data := []any{}
	for _, s := range c.token.app.subscriptions {
		fields := []any{}
		for _, name := range s.fields {
			fields = append(fields, object{{"name", name}, {"version", c.version}})
		}
		data = append(data, object{{"object", s.object}, {"callback_url", s.callback}, {"active", true}, {"fields", fields}})
	}
	return object{{"data", data}}, nil
}

// appOnly refuses anything but the app's own token.
func (c *call) appOnly(n *node) *failure {
	if c.token.kind != appToken || c.token.app.AppID != n.id {
		return oauthFailure(15, 0, "invalid_token", "(#15) This method must be called with an app access_token.")
	}
	return nil
}

// subscribeApp verifies the callback by a challenge before it stores anything.
func subscribeApp(c *call, n *node) *reply {
	if failed := c.appOnly(n); failed != nil {
		return failed.reply()
	}
	s := &subscription{object: c.params.Get("object"), callback: c.params.Get("callback_url"), fields: splitScopes(strings.NewReplacer("[", "", "]", "", `"`, "").Replace(c.params.Get("fields")))}
	if s.object == "" {
		return invalid("The parameter object is required").reply()
	}
	target, err := url.Parse(s.callback)
	if err != nil || target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
		return invalid("The parameter callback_url is required").reply()
	}
	a, verifyToken := c.token.app, c.params.Get("verify_token")
	return &reply{later: func() *reply {
		if why := c.p.challenge(c.ctx, target, verifyToken); why != "" {
			f := oauthFailure(2200, 0, "invalid_request", "(#2200) Callback verification failed with the following errors: "+why)
			return f.reply()
		}
		c.p.mu.Lock()
		defer c.p.mu.Unlock()
		a.subscriptions = slices.DeleteFunc(a.subscriptions, func(old *subscription) bool { return old.object == s.object })
		a.subscriptions = append(a.subscriptions, s)
		return success()
	}}
}

func unsubscribeApp(c *call, n *node) *reply {
	if failed := c.appOnly(n); failed != nil {
		return failed.reply()
	}
	object, fields := c.params.Get("object"), splitScopes(c.params.Get("fields"))
	a := c.token.app
	a.subscriptions = slices.DeleteFunc(a.subscriptions, func(s *subscription) bool {
		if object != "" && s.object != object {
			return false
		}
		s.fields = slices.DeleteFunc(s.fields, func(f string) bool { return slices.Contains(fields, f) })
		return len(fields) == 0 || len(s.fields) == 0
	})
	return success()
}

// challenge asks the callback to prove that it expects us; it returns why not.
func (p *Platform) challenge(ctx context.Context, target *url.URL, verifyToken string) string {
	number, err := rand.Int(rand.Reader, big.NewInt(1<<31))
	if err != nil {
		return "no randomness"
	}
	address := *target
	query := address.Query()
	query.Set("hub.mode", "subscribe")
	query.Set("hub.challenge", number.String())
	query.Set("hub.verify_token", verifyToken)
	address.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return "the address cannot be used"
	}
	request.Header.Set("User-Agent", "facebookplatform/1.0 (+http://developers.facebook.com)")
	response, err := p.client.Do(request)
	if err != nil {
		return "the callback URL could not be reached"
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil || response.StatusCode != http.StatusOK {
		return "HTTP status " + response.Status
	}
	if strings.TrimSpace(string(body)) != number.String() {
		return "Response does not match challenge"
	}
	return ""
}

// subscribedApps lists the app when the page or account sends it events.
func subscribedApps(c *call, n *node, _ args) (any, *failure) {
	data := []any{}
	if fields, ok := subscribersOf(n)[c.token.app.AppID]; ok {
		data = append(data, object{{"category", "Business"}, {"link", "https://www.facebook.com/games/?app_id=" + c.token.app.AppID}, {"name", c.token.app.Name}, {"id", c.token.app.AppID}, {"subscribed_fields", fields}})
	}
	return object{{"data", data}}, nil
}

func subscribersOf(n *node) map[string][]string {
	all, _ := n.props["subscribed"].(map[string][]string)
	if all == nil {
		all = make(map[string][]string)
		n.props["subscribed"] = all
	}
	return all
}

func subscribePage(c *call, n *node) *reply {
	fields := splitScopes(strings.NewReplacer("[", "", "]", "", `"`, "").Replace(c.params.Get("subscribed_fields")))
	if len(fields) == 0 {
		return invalid("The parameter subscribed_fields is required.").reply()
	}
	subscribersOf(n)[c.token.app.AppID] = fields
	return success()
}

func unsubscribePage(c *call, n *node) *reply {
	delete(subscribersOf(n), c.token.app.AppID)
	return success()
}

// pageChanged tells the apps that subscribed to the page's field.
func (p *Platform) pageChanged(ctx context.Context, page *node, field string, value object) {
	if page.kind.name != "Page" {
		return
	}
	for id, fields := range subscribersOf(page) {
		if slices.Contains(fields, field) {
			p.notify(ctx, p.apps[id], "page", field, page.id, value)
		}
	}
}

// instagramChanged tells the apps that hear of an Instagram account: Facebook's
// through the page, Instagram's through the account itself.
func (p *Platform) instagramChanged(ctx context.Context, account *node, field string, value object) {
	page, _ := account.props["page"].(*node)
	for _, source := range []*node{page, p.nodes[igScopedID(account.person)]} {
		if source == nil {
			continue
		}
		for id := range subscribersOf(source) {
			p.notify(ctx, p.apps[id], "instagram", field, account.id, value)
		}
	}
}

// permissionChanged tells the app that a person took back or gave a permission.
func (p *Platform) permissionChanged(ctx context.Context, g *grant, permission, verb string) {
	p.notify(ctx, g.app, "permissions", permission, p.me(g.app.product, g.person).id, object{{"verb", verb}, {"target_ids", []string{}}})
}

// notify sends one change to the app's callback for that object, when it has one
// for the field.
func (p *Platform) notify(ctx context.Context, a *app, kind, field, id string, value object) {
	for _, s := range a.subscriptions {
		if s.object != kind || len(s.fields) > 0 && !slices.Contains(s.fields, field) {
			continue
		}
		body := encode(object{{"object", kind}, {"entry", []any{object{
			{"id", id}, {"time", p.now().Unix()}, {"changes", []any{object{{"field", field}, {"value", value}}}},
		}}}})
		p.send(ctx, s.callback, a.AppSecret, body)
	}
}

// The pauses before a failed delivery is tried again. Meta goes on for 36 hours;
// a sandbox that did would outlive the test.
var retryPauses = []time.Duration{0, 200 * time.Millisecond, time.Second, 5 * time.Second}

// hubSignature is the X-Hub-Signature-256 of a body.
func hubSignature(secret string, body []byte) string {
	return "sha256=" + hex.EncodeToString(mac(secret, string(body)))
}

func legacySignature(secret string, body []byte) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write(body)
	return "sha1=" + hex.EncodeToString(h.Sum(nil))
}

// background runs work that outlives the request that caused it and ends with
// Close, which waits for it. The lock is held by the caller.
func (p *Platform) background(ctx context.Context, work func(context.Context)) {
	if p.closed {
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	p.senders.Go(func() {
		defer close(done)
		defer cancel()
		work(ctx)
	})
	p.senders.Go(func() {
		select {
		case <-p.stopped:
			cancel()
		case <-done:
		}
	})
}

// send delivers a webhook in the background.
func (p *Platform) send(ctx context.Context, target, secret string, body []byte) {
	p.background(ctx, func(ctx context.Context) {
		for _, pause := range retryPauses {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
			if p.deliver(ctx, target, secret, body) {
				return
			}
		}
		p.log.InfoContext(ctx, "webhook not delivered", slog.Int("attempts", len(retryPauses)))
	})
}

func (p *Platform) deliver(ctx context.Context, target, secret string, body []byte) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(string(body)))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "facebookexternalua")
	request.Header.Set("X-Hub-Signature", legacySignature(secret, body))
	request.Header.Set("X-Hub-Signature-256", hubSignature(secret, body))
	response, err := p.client.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}
