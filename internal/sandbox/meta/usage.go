package meta

import (
	"encoding/json"
	"net/http"
	"path"
	"time"
)

// window counts an app's calls in the hour that began at start.
type window struct {
	start time.Time
	calls int
}

// throttle is a rate-limit answer that a test ordered for later calls.
type throttle struct {
	// Code is the error code: 4, 17, 32, 613, 80001 …
	Code int `json:"code"`
	// Subcode goes with it; zero sends none.
	Subcode int `json:"subcode,omitempty"`
	// Times is how many calls are refused; zero means one, negative all.
	Times int `json:"times,omitempty"`
	// Path is a path.Match pattern over the path without host prefix and
	// version, such as "me/accounts"; empty matches every call.
	Path string `json:"path,omitempty"`
}

// The messages that go with rate-limit codes.
var throttleMessages = map[int]string{
	4:     "(#4) Application request limit reached",
	17:    "(#17) User request limit reached",
	32:    "(#32) Page request limit reached",
	341:   "(#341) Application limit reached",
	368:   "The action attempted has been deemed abusive or is otherwise disallowed",
	613:   "(#613) Calls to this api have exceeded the rate limit.",
	80001: "There have been too many calls to this Page account. Wait a bit and try again. For more info, please refer to https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
	80002: "There have been too many calls to this Instagram account. Wait a bit and try again. For more info, please refer to https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
	80005: "There have been too many leadgen api calls to this Page account. Wait a bit and try again. For more info, please refer to https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
}

func limitReached(code, subcode int) *failure {
	message := throttleMessages[code]
	if message == "" {
		message = "There have been too many calls. Wait a bit and try again."
	}
	return &failure{status: http.StatusForbidden, kind: oauthException, code: code, subcode: subcode, message: message, transient: code < 100, challenge: "invalid_request"}
}

// throttled consumes the first ordered rate-limit answer that matches.
func (p *Platform) throttled(c *call) *failure {
	for i := range p.throttles {
		t := &p.throttles[i]
		if t.Path != "" {
			if ok, err := path.Match(t.Path, joinPath(c.path)); err != nil || !ok {
				continue
			}
		}
		failed := limitReached(t.Code, t.Subcode)
		if t.Times > 0 {
			t.Times--
			if t.Times == 0 {
				p.throttles = append(p.throttles[:i:i], p.throttles[i+1:]...)
			}
		}
		return failed
	}
	return nil
}

func joinPath(segments []string) string { return path.Join(segments...) }

// SetAppCalls sets how many calls each app has in an hour from now on, as
// Config.AppCallsPerHour did.
func (p *Platform) SetAppCalls(perHour int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config.AppCallsPerHour = perHour
}

// countApp counts a call against the app's hour.
func (p *Platform) countApp(c *call) *failure {
	w := p.windows[c.token.app.AppID]
	now := p.now()
	if w == nil || now.Sub(w.start) >= time.Hour || now.Before(w.start) {
		w = &window{start: now}
		p.windows[c.token.app.AppID] = w
	}
	if limit := p.config.AppCallsPerHour; limit > 0 && w.calls >= limit {
		return limitReached(4, 0)
	}
	w.calls++
	return nil
}

// count notes that the call used a business use case of the page or account that
// the node belongs to.
func (c *call) count(n *node, useCase string) {
	root := n.root()
	if useCase == "" {
		switch root.kind.name {
		case "Page":
			useCase = "pages"
		case "IGUser", "InstagramUser":
			useCase = "instagram"
		case "ThreadsUser":
			useCase = "threads"
		case "AdAccount":
			useCase = "ads_management"
		default:
			return
		}
	}
	if c.usage == nil {
		c.usage = make(map[string]string)
	}
	c.usage[root.id] = useCase
}

// usageHeaders reports how much of the limits is used.
func (p *Platform) usageHeaders(c *call, r *reply) {
	if r.header == nil {
		r.header = make(http.Header)
	}
	percent := 0
	if c.token != nil {
		if w := p.windows[c.token.app.AppID]; w != nil {
			percent = p.percent(w.calls)
		}
	}
	estimate := 0
	if r.failure != nil && throttleMessages[r.failure.code] != "" {
		percent, estimate = 100, 5
	}
	r.header.Set("X-App-Usage", plain(object{{"call_count", percent}, {"total_cputime", percent / 2}, {"total_time", percent / 2}}))
	if len(c.usage) == 0 {
		return
	}
	var all object
	for _, id := range sortedKeys(c.usage) {
		// At most 32 objects are reported.
		if len(all) == 32 {
			break
		}
		all.set(id, []any{object{
			{"type", c.usage[id]}, {"call_count", percent}, {"total_cputime", 1}, {"total_time", 1},
			{"estimated_time_to_regain_access", estimate},
		}})
	}
	r.header.Set("X-Business-Use-Case-Usage", plain(all))
	for _, useCase := range c.usage {
		switch useCase {
		case "pages":
			r.header.Set("X-Page-Usage", plain(object{{"call_count", percent}, {"total_cputime", 1}, {"total_time", 1}}))
		case "ads_management":
			r.header.Set("X-Ad-Account-Usage", plain(object{{"acc_id_util_pct", 1.5}, {"reset_time_duration", 100}, {"ads_api_access_tier", "standard_access"}}))
		}
	}
}

// percent is how much of an app's hour is used. Without a limit it never says
// that little is left: careful clients hold back long before everything is used.
func (p *Platform) percent(calls int) int {
	if limit := p.config.AppCallsPerHour; limit > 0 {
		return min(100, calls*100/limit)
	}
	return min(70, calls*100/(200*len(p.people)))
}

// plain renders JSON for a header, without Graph's escapes.
func plain(o object) string {
	text, err := json.Marshal(o)
	if err != nil {
		return "{}"
	}
	return string(text)
}
