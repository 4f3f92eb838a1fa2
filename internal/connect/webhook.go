package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

// Webhook is an X app's webhook as X knows it.
type Webhook struct {
	ID    string
	URL   string
	Valid bool // X's last check of the address succeeded
	// TellsRevocations: X tells it when a person removes the app.
	TellsRevocations bool
}

// revocations is X's name of the event that a person removed the app.
const revocations = "oauth.revoke"

// XWebhook has X deliver an app's events to an address, and among them that people
// remove the app, which is the sign to let their grants go. X checks the address
// at once, so it must be served already. Doing it again changes nothing.
func (c *Connections) XWebhook(ctx context.Context, name gatehouse.AppName, address string) (hook Webhook, err error) {
	a, err := c.app(name)
	if err != nil {
		return Webhook{}, err
	}
	if a.Platform != gatehouse.X || a.ConsumerKey == "" {
		return Webhook{}, wire.Refuse(gatehouse.ErrInvalid, "connect/no-webhook", "only an app of platform x with consumer_key and consumer_secret has webhooks that can be registered from here")
	}
	e := audit.Entry{Action: "connect.app", Platform: a.Platform, App: a.Name, Facts: map[string]string{"what": "webhook"}}
	receipt, err := c.log.Intent(ctx, e)
	if err != nil {
		return Webhook{}, err
	}
	hook, err = c.xWebhook(ctx, receipt, a, address)
	c.log.Outcome(receipt, outcome(e, err))
	return hook, err
}

func (c *Connections) xWebhook(ctx context.Context, receipt audit.Receipt, a App, address string) (Webhook, error) {
	type entry struct {
		ID    string `json:"id"`
		URL   string `json:"url"`
		Valid bool   `json:"valid"`
	}
	var all struct {
		Data []entry `json:"data"`
	}
	if err := c.asApp(ctx, receipt, a, http.MethodGet, "/2/webhooks", nil, &all); err != nil {
		return Webhook{}, err
	}
	var hook Webhook
	for _, one := range all.Data {
		if one.URL == address {
			hook = Webhook{ID: one.ID, URL: one.URL, Valid: one.Valid}
		}
	}
	switch {
	case hook.ID == "":
		var made struct {
			Data entry `json:"data"`
		}
		if err := c.asApp(ctx, receipt, a, http.MethodPost, "/2/webhooks", map[string]string{"url": address}, &made); err != nil {
			return Webhook{}, err
		}
		hook = Webhook{ID: made.Data.ID, URL: made.Data.URL, Valid: made.Data.Valid}
	case !hook.Valid:
		var checked json.RawMessage
		if err := c.asApp(ctx, receipt, a, http.MethodPut, "/2/webhooks/"+hook.ID, nil, &checked); err != nil {
			return Webhook{}, err
		}
		hook.Valid = true
	}
	var subscriptions struct {
		Data []struct {
			Type    string `json:"event_type"`
			Webhook string `json:"webhook_id"`
		} `json:"data"`
	}
	if err := c.asApp(ctx, receipt, a, http.MethodGet, "/2/activity/subscriptions?max_results=1000", nil, &subscriptions); err != nil {
		return hook, err
	}
	for _, s := range subscriptions.Data {
		hook.TellsRevocations = hook.TellsRevocations || s.Type == revocations && s.Webhook == hook.ID
	}
	if !hook.TellsRevocations {
		var made json.RawMessage
		if err := c.asApp(ctx, receipt, a, http.MethodPost, "/2/activity/subscriptions", map[string]string{"event_type": revocations, "webhook_id": hook.ID}, &made); err != nil {
			return hook, err
		}
		hook.TellsRevocations = true
	}
	return hook, nil
}

// asApp makes one request to an app's platform in the app's own name.
func (c *Connections) asApp(ctx context.Context, receipt audit.Receipt, a App, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout+10*time.Second) // X calls the address before it answers
	defer cancel()
	var content []byte
	if body != nil {
		var err error
		if content, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.Endpoints.API+path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := c.AppRequest(ctx, receipt, a.Name, req); err != nil {
		return err
	}
	return client{c, a}.send(req, into)
}
