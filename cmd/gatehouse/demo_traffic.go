package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

// demoTraffic makes the calls that a small scheduling app would make, one every
// pause, until ctx ends. It uses handles only.
type demoTraffic struct {
	app     *demoApp
	outside *http.Client // for everybody but the platforms
	pause   time.Duration
	count   int
	me      demoAccount // who was asked about last
}

// demoAccount is what the app knows of somebody at X.
type demoAccount struct{ ID, Name, Username string }

// lines are what the demo posts: text in several scripts, so that anything that
// mistreats bytes is seen.
var demoLines = []string{
	"Good morning from the demo ☕", "Привет из демо", "デモからこんにちは 🎌", "مرحبا من العرض التجريبي",
	"नमस्ते डेमो से", "שלום מהדמו", "Xin chào từ bản demo", "Two tokens walk into a bar; neither leaves",
}

// Run calls until ctx ends. A call that fails is not an error of the demo: the
// log shows it.
func (t *demoTraffic) Run(ctx context.Context) error {
	tick := time.NewTicker(t.pause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		t.step(ctx)
	}
}

// step makes the next call of the round.
func (t *demoTraffic) step(ctx context.Context) {
	t.count++
	xs, metas := t.app.granted(demoX), t.app.granted(demoFacebook)
	line := demoLines[rand.IntN(len(demoLines))]
	if t.count == 1 && len(xs) > 0 {
		t.who(ctx, xs[0])
	}
	if len(xs) > 0 {
		x := xs[(t.count+t.count/8)%len(xs)]
		switch t.count % 8 {
		case 0:
			t.who(ctx, x)
		case 1:
			t.call(ctx, x.Handle, http.MethodPost, "/x/2/tweets", map[string]string{"text": fmt.Sprintf("%s (%d)", line, t.count)})
		case 3:
			t.call(ctx, x.Handle, http.MethodGet, "/x/2/tweets/search/recent?query="+url.QueryEscape("demo")+"&max_results=10", nil)
		case 5:
			// Nobody declared this, so nobody gets it.
			t.call(ctx, x.Handle, http.MethodGet, "/x/2/dm_events", nil)
		}
	}
	switch t.count % 8 {
	case 1:
		// It may have the id, and is not told more.
		t.track(ctx, demoParty, map[string]any{"event": "scheduled", "user": t.me.ID})
	case 3:
		// The name is too much: this is stopped, and lineage says whose it was.
		t.track(ctx, demoParty, map[string]any{"event": "profile", "user": t.me.ID, "name": t.me.Name, "username": t.me.Username})
	case 5:
		t.track(ctx, "unknown.example", map[string]any{"event": "scheduled", "count": t.count})
	}
	if len(metas) > 0 {
		m := metas[t.count/8%len(metas)] // one person a round: the post needs the page that was listed
		switch t.count % 8 {
		case 2:
			t.call(ctx, m.Handle, http.MethodGet, "/meta/v25.0/me?fields=id,name", nil)
		case 4:
			t.pages(ctx, m)
		case 6:
			if len(m.Pages) > 0 {
				p := m.Pages[0]
				t.call(ctx, p.Handle, http.MethodPost, "/meta/v25.0/"+p.ID+"/feed", map[string]string{"message": line})
			}
		case 7:
			if len(m.Pages) > 0 {
				p := m.Pages[0]
				t.call(ctx, p.Handle, http.MethodGet, "/meta/v25.0/"+p.ID+"/feed?fields=id,message&limit=3", nil)
			}
		}
	}
}

// who asks X whose account it is.
func (t *demoTraffic) who(ctx context.Context, x *demoGrant) {
	var reply struct{ Data demoAccount }
	if b := t.call(ctx, x.Handle, http.MethodGet, "/x/2/users/me", nil); json.Unmarshal(b, &reply) == nil {
		t.me = reply.Data
	}
}

// pages lists a person's pages; what stands where Meta puts page tokens are
// handles, which the app keeps for later.
func (t *demoTraffic) pages(ctx context.Context, m *demoGrant) {
	b := t.call(ctx, m.Handle, http.MethodGet, "/meta/v25.0/me/accounts?fields=id,name,access_token&limit=5", nil)
	var reply struct {
		Data []struct {
			ID, Name    string
			AccessToken string `json:"access_token"`
		}
	}
	if json.Unmarshal(b, &reply) != nil {
		return
	}
	t.app.mu.Lock()
	defer t.app.mu.Unlock()
	m.Pages = m.Pages[:0]
	for _, p := range reply.Data {
		m.Pages = append(m.Pages, demoPage{p.ID, p.Name, p.AccessToken})
	}
}

// call makes one call with a handle where a token was, and returns the reply's
// body if it succeeded.
func (t *demoTraffic) call(ctx context.Context, handle, method, path string, body any) []byte {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, t.app.api.base+path, r)
	if err != nil {
		return nil
	}
	req.Header.Set("Authorization", "Bearer "+handle)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := t.app.api.http.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode/100 != 2 {
		return nil
	}
	return b
}
