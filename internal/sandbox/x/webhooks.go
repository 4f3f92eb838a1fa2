package x

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// webhook is one registered receiver.
type webhook struct {
	id      string
	url     string
	valid   bool
	created time.Time
}

// subscription asks for one kind of event about one person.
type subscription struct {
	id        string
	eventType string
	userID    string // empty: everybody
	keyword   string
	direction string
	tag       string
	webhookID string // empty: the activity stream only
	created   time.Time
}

// hooks are the webhooks, their subscriptions and the deliveries that wait.
// Platform.mu guards them.
type hooks struct {
	all           map[string]*webhook
	subscriptions []*subscription
	waiting       []delivery
	history       []delivery
	// wake tells the deliverer that something waits.
	wake chan struct{}
}

// delivery is one event on its way to one webhook.
type delivery struct {
	webhookID string
	body      []byte
	at        time.Time
}

func newHooks() hooks {
	return hooks{all: make(map[string]*webhook), wake: make(chan struct{}, 1)}
}

var webhookOperations = []operation{
	{id: "createWebhooks", route: "POST /2/webhooks", auth: appOnly | oauth1User, appLimit: "450/15m", unlocked: true, handle: (*Platform).createWebhook},
	{id: "getWebhooks", route: "GET /2/webhooks", auth: appOnly, appLimit: "450/15m", query: []string{"webhook_config.fields"}, handle: (*Platform).listWebhooks},
	{id: "validateWebhooks", route: "PUT /2/webhooks/{webhook_id}", auth: appOnly | oauth1User, appLimit: "450/15m", unlocked: true, handle: (*Platform).validateWebhook},
	{id: "deleteWebhooks", route: "DELETE /2/webhooks/{webhook_id}", auth: appOnly | oauth1User, appLimit: "450/15m", handle: (*Platform).deleteWebhook},
	{id: "createWebhookReplayJob", route: "POST /2/webhooks/replay", auth: appOnly, appLimit: "100/15m", handle: (*Platform).replayWebhook},
	{id: "createActivitySubscription", route: "POST /2/activity/subscriptions", auth: anyAuth, appLimit: "500/15m", handle: (*Platform).subscribe},
	{id: "getActivitySubscriptions", route: "GET /2/activity/subscriptions", auth: anyAuth, appLimit: "500/15m", query: []string{"max_results", "pagination_token"}, handle: (*Platform).listSubscriptions},
	{id: "deleteActivitySubscription", route: "DELETE /2/activity/subscriptions/{subscription_id}", auth: appOnly, appLimit: "500/15m", handle: (*Platform).unsubscribe},
}

const (
	maxWebhooks = 5
	// receiverTimeout is how long X waits for a receiver.
	receiverTimeout = 10 * time.Second
	// crcEvery is how often a receiver has to prove itself again; X's pages
	// disagree on it.
	crcEvery = time.Hour
)

// errNotLoopback keeps the sandbox from calling anything but this machine.
var errNotLoopback = errors.New("the sandbox only calls loopback addresses")

// receiverClient calls webhooks: loopback only, no redirects, no proxy.
func (p *Platform) receiverClient() *http.Client {
	dialer := &net.Dialer{Timeout: receiverTimeout}
	transport := &http.Transport{
		TLSClientConfig:   p.config.WebhookTLS,
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			target, err := p.loopback(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, network, target)
		},
	}
	return &http.Client{
		Transport: transport, Timeout: receiverTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// loopback turns a webhook's address into one on this machine, or refuses it.
func (p *Platform) loopback(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", errNotLoopback
	}
	if mapped, known := p.config.WebhookHosts[host]; known {
		address = mapped
		if host, port, err = net.SplitHostPort(mapped); err != nil {
			return "", errNotLoopback
		}
	}
	if host == "localhost" {
		return net.JoinHostPort("127.0.0.1", port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return "", errNotLoopback
	}
	return address, nil
}

// signature is what X puts on events and expects in answers to its challenge.
func (p *Platform) signature(body []byte) string {
	mac := hmac.New(sha256.New, []byte(p.config.App.ConsumerSecret))
	mac.Write(body)
	return "sha256=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// challenge sends the CRC and reports whether the receiver proved that it knows
// the consumer secret.
func (p *Platform) challenge(ctx context.Context, receiver string) bool {
	target, err := url.Parse(receiver)
	if err != nil {
		return false
	}
	token := letters(48)
	query := target.Query()
	query.Set("crc_token", token)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return false
	}
	response, err := p.receiverClient().Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"response_token"`
	}
	if json.NewDecoder(io.LimitReader(response.Body, 4096)).Decode(&answer) != nil {
		return false
	}
	return response.StatusCode == http.StatusOK && same(answer.Token, p.signature([]byte(token)))
}

// webhookProblem refuses a webhook with one of X's reasons.
func webhookProblem(reason, detail string) error {
	return invalidRequest("", "", reason+": "+detail)
}

// checkReceiver applies X's rules to a webhook's URL: https, public, no port.
// Receivers on this machine are excused, because no other can be called.
func (p *Platform) checkReceiver(receiver string) error {
	target, err := url.Parse(receiver)
	if err != nil || target.Host == "" || len(receiver) > 200 || target.User != nil || target.Fragment != "" {
		return webhookProblem("UrlValidationFailed", "The URL is not valid.")
	}
	port := target.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[target.Scheme]
	}
	if _, mapped := p.config.WebhookHosts[target.Hostname()]; mapped {
		if target.Scheme != "https" || target.Port() != "" {
			return webhookProblem("UrlValidationFailed", "The URL must be https without a port.")
		}
		return nil
	}
	if _, err := p.loopback(net.JoinHostPort(target.Hostname(), port)); err != nil {
		return webhookProblem("UrlValidationFailed", "The sandbox can only reach webhooks on this machine.")
	}
	if target.Scheme != "https" && target.Scheme != "http" {
		return webhookProblem("UrlValidationFailed", "The URL must be https.")
	}
	return nil
}

func (h *webhook) render() map[string]any {
	return map[string]any{"id": h.id, "url": h.url, "valid": h.valid, "created_at": timestamp(h.created)}
}

func (p *Platform) createWebhook(c *call) (any, error) {
	var body struct {
		URL string `json:"url"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := p.checkReceiver(body.URL); err != nil {
		return nil, err
	}
	register := func(known bool) (*webhook, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, other := range p.hooks.all {
			if other.url == body.URL {
				return nil, webhookProblem("DuplicateUrlFailed", "There is a webhook with this URL already.")
			}
		}
		if len(p.hooks.all) >= maxWebhooks {
			return nil, webhookProblem("WebhookLimitExceeded", "There are as many webhooks as the app may have.")
		}
		if !known {
			return nil, nil
		}
		h := &webhook{id: p.state.nextID(p.now()), url: body.URL, valid: true, created: p.now()}
		p.hooks.all[h.id] = h
		return h, nil
	}
	if _, err := register(false); err != nil {
		return nil, err
	}
	if !p.challenge(c.r.Context(), body.URL) {
		return nil, webhookProblem("CrcValidationFailed", "The challenge was not answered with the right response_token.")
	}
	h, err := register(true)
	if err != nil {
		return nil, err
	}
	return reply(h.render(), nil, nil, nil), nil
}

func (p *Platform) listWebhooks(*call) (any, error) {
	data := []any{}
	for _, h := range p.sortedWebhooks() {
		data = append(data, h.render())
	}
	return reply(data, nil, nil, map[string]any{"result_count": len(data)}), nil
}

func (p *Platform) sortedWebhooks() []*webhook {
	var all []*webhook
	for _, h := range p.hooks.all {
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b *webhook) int { return strings.Compare(a.id, b.id) })
	return all
}

func (p *Platform) validateWebhook(c *call) (any, error) {
	p.mu.Lock()
	h := p.hooks.all[c.path["webhook_id"]]
	p.mu.Unlock()
	if h == nil {
		return nil, missing("webhook", "webhook_id", c.path["webhook_id"])
	}
	valid := p.challenge(c.r.Context(), h.url)
	p.mu.Lock()
	h.valid = valid
	p.mu.Unlock()
	if !valid {
		return nil, webhookProblem("CrcValidationFailed", "The challenge was not answered with the right response_token.")
	}
	return reply(map[string]any{"valid": true}, nil, nil, nil), nil
}

func (p *Platform) deleteWebhook(c *call) (any, error) {
	id := c.path["webhook_id"]
	if p.hooks.all[id] == nil {
		return nil, missing("webhook", "webhook_id", id)
	}
	delete(p.hooks.all, id)
	p.hooks.subscriptions = slices.DeleteFunc(p.hooks.subscriptions, func(s *subscription) bool { return s.webhookID == id })
	return reply(map[string]any{"deleted": true}, nil, nil, nil), nil
}

// replayWebhook delivers again what was delivered in a span of minutes.
func (p *Platform) replayWebhook(c *call) (any, error) {
	var body struct {
		Webhook string `json:"webhook_id"`
		From    string `json:"from_date"`
		To      string `json:"to_date"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	from, errFrom := time.Parse("200601021504", body.From)
	to, errTo := time.Parse("200601021504", body.To)
	if errFrom != nil || errTo != nil || to.Before(from) {
		return nil, invalidRequest("", "", "$.from_date: does not match yyyymmddhhmm or is after $.to_date")
	}
	if p.hooks.all[body.Webhook] == nil {
		return nil, missing("webhook", "webhook_id", body.Webhook)
	}
	for _, d := range p.hooks.history {
		if d.webhookID == body.Webhook && !d.at.Before(from) && d.at.Before(to.Add(time.Minute)) {
			p.enqueue(d)
		}
	}
	return reply(map[string]any{"job_id": p.state.nextID(p.now()), "created_at": timestamp(p.now())}, nil, nil, nil), nil
}
