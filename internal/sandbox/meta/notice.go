package meta

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Removal is what happened when a person removed an app: which notices went out
// and how the app answered them.
type Removal struct {
	App string `json:"app"`
	// Person is the app-scoped id that the notices name.
	Person string `json:"person"`
	// Deauthorize and Deletion are the HTTP statuses of the app's answers; zero
	// when nothing was sent or nobody answered.
	Deauthorize int `json:"deauthorize_status"`
	Deletion    int `json:"deletion_status"`
	// URL and Code are what the app answered to the data-deletion request.
	URL  string `json:"url,omitempty"`
	Code string `json:"confirmation_code,omitempty"`
	// Problem says what was wrong with the answer.
	Problem string `json:"problem,omitempty"`
}

// signedNotice makes the signed_request of a notice about a person.
func (p *Platform) signedNotice(g *grant, deletion bool) string {
	now := p.now()
	payload := object{{"algorithm", "HMAC-SHA256"}}
	if deletion {
		payload.set("expires", now.Add(time.Hour).Unix())
	}
	payload.set("issued_at", now.Unix())
	payload.set("user_id", p.me(g.app.product, g.person).id)
	return signRequest(g.app.AppSecret, []byte(jsonText(payload)))
}

// afterRemoval sends the deauthorize notice in the background when the app itself
// removed its permissions through the API.
func (p *Platform) afterRemoval(ctx context.Context, g *grant) {
	if p.config.QuietRemoval {
		return
	}
	send := p.notices(g, false)
	p.background(ctx, func(ctx context.Context) { send(ctx) })
}

// notices prepares the notices of a removal, under the lock; the function that it
// returns sends them and must run without the lock.
func (p *Platform) notices(g *grant, deletion bool) func(context.Context) Removal {
	a := g.app
	removal := Removal{App: a.AppID, Person: p.me(a.product, g.person).id}
	deauthorizeURL, deletionURL := a.deauthorize, a.deletion
	deauthorize, request := p.signedNotice(g, false), p.signedNotice(g, true)
	return func(ctx context.Context) Removal {
		if deauthorizeURL != "" {
			removal.Deauthorize, _ = p.post(ctx, deauthorizeURL, deauthorize)
		}
		if deletion && deletionURL != "" {
			var body []byte
			removal.Deletion, body = p.post(ctx, deletionURL, request)
			removal.readDeletion(body)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.removals = append(p.removals, removal)
		return removal
	}
}

// readDeletion judges the answer to a data-deletion request: a status page and an
// alphanumeric code.
func (r *Removal) readDeletion(body []byte) {
	var reply struct {
		URL  string `json:"url"`
		Code string `json:"confirmation_code"`
	}
	if r.Deletion < 200 || r.Deletion > 299 {
		r.Problem = "the data deletion callback did not answer 2xx"
		return
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		r.Problem = "the data deletion callback did not answer with JSON"
		return
	}
	r.URL, r.Code = reply.URL, reply.Code
	if target, err := url.Parse(reply.URL); err != nil || target.Host == "" {
		r.Problem = "url is not an address"
	}
	if reply.Code == "" || strings.Trim(strings.ToLower(reply.Code), "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		r.Problem = "confirmation_code is not alphanumeric"
	}
}

// post sends a signed_request as a form and returns the status and the body.
func (p *Platform) post(ctx context.Context, target, signed string) (int, []byte) {
	form := url.Values{"signed_request": {signed}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, nil
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("User-Agent", "facebookexternalhit/1.1")
	response, err := p.client.Do(request)
	if err != nil {
		p.log.InfoContext(ctx, "notice not delivered")
		return 0, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return response.StatusCode, nil
	}
	return response.StatusCode, body
}

// RemoveApp is what a person does under Settings: removes the product's app and,
// if deleteData, asks it to delete what it holds. It waits for the app's answers.
// The second result is false when the person had not connected the app.
func (p *Platform) RemoveApp(ctx context.Context, productName, username string, deleteData bool) (Removal, bool) {
	p.mu.Lock()
	a := p.appOf(productOf(productName))
	person, known := p.names[username]
	var g *grant
	if a != nil && known {
		g = p.grants[grantKey{a.AppID, person}]
	}
	if g == nil {
		p.mu.Unlock()
		return Removal{}, false
	}
	p.remove(g)
	send := p.notices(g, deleteData)
	p.mu.Unlock()
	return send(ctx), true
}
