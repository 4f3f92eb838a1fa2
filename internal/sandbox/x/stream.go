package x

import (
	"net/http"
	"strconv"
	"time"
)

var streamOperations = []operation{
	{id: "streamPosts", route: "GET /2/tweets/search/stream", auth: appOnly, appLimit: "50/15m", query: with(postQuery, "backfill_minutes", "start_time", "end_time"), stream: (*Platform).filteredStream},
	{id: "streamPostsSample", route: "GET /2/tweets/sample/stream", auth: appOnly, appLimit: "50/15m", query: with(postQuery, "backfill_minutes"), stream: (*Platform).sampledStream},
	{id: "streamPostsSample10", route: "GET /2/tweets/sample10/stream", auth: appOnly, appLimit: "100/15m", query: with(postQuery, "backfill_minutes", "partition", "start_time", "end_time"), stream: (*Platform).sampledStream},
	{id: "activityStream", route: "GET /2/activity/stream", auth: appOnly, appLimit: "450/15m", query: []string{"backfill_minutes", "start_time", "end_time"}, stream: (*Platform).activityStream},
}

// streamBuffer is how far a reader may fall behind before the platform cuts it
// off, as X does.
const streamBuffer = 256

// reader is one open stream.
type reader struct {
	kind  string // filtered, sampled or activity
	posts chan *post
	lines chan []byte // activity events, rendered
	full  chan struct{}
}

// streams are the open streams and the rules of the filtered one. Platform.mu
// guards them.
type streams struct {
	readers map[*reader]bool
	rules   []*streamRule
}

func newStreams() streams { return streams{readers: make(map[*reader]bool)} }

// publish offers a new post to every open stream of posts. A reader that is
// full is cut off rather than waited for.
func (s *streams) publish(t *post) {
	for r := range s.readers {
		if r.kind == "activity" {
			continue
		}
		select {
		case r.posts <- t:
		default:
			s.drop(r)
		}
	}
}

// broadcast offers an event to every open activity stream.
func (s *streams) broadcast(line []byte) {
	for r := range s.readers {
		if r.kind != "activity" {
			continue
		}
		select {
		case r.lines <- line:
		default:
			s.drop(r)
		}
	}
}

func (s *streams) drop(r *reader) {
	if s.readers[r] {
		delete(s.readers, r)
		close(r.full)
	}
}

// open admits a stream, or refuses it: X allows one filtered stream and two of
// each other kind.
func (p *Platform) open(kind string) (*reader, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	allowed := map[string]int{"filtered": 1, "sampled": 2, "activity": 2}[kind]
	for r := range p.streams.readers {
		if r.kind == kind {
			allowed--
		}
	}
	if allowed <= 0 {
		return nil, &problem{http.StatusTooManyRequests, map[string]any{
			"title":            "ConnectionException",
			"detail":           "This stream is currently at the maximum allowed connection limit.",
			"connection_issue": "TooManyConnections",
			"type":             problemBase + "streaming-connection",
		}}
	}
	r := &reader{kind: kind, posts: make(chan *post, streamBuffer), lines: make(chan []byte, streamBuffer), full: make(chan struct{})}
	p.streams.readers[r] = true
	return r, nil
}

func (p *Platform) release(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.streams.readers, r)
}

// keepSending sends what a stream has until the caller leaves, the token dies, the
// reader falls behind or the platform closes. tick, if not nil, yields a line at
// the sampled stream's pace.
func (p *Platform) keepSending(c *call, w http.ResponseWriter, r *reader, line func(*post) []byte, tick func() []byte) error {
	defer p.release(r)
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	write := func(body []byte) bool {
		_, err := w.Write(append(body, '\r', '\n'))
		return err == nil && control.Flush() == nil
	}
	if control.Flush() != nil {
		return nil
	}
	heartbeat := time.NewTicker(p.config.Heartbeat)
	defer heartbeat.Stop()
	var sample <-chan time.Time
	if tick != nil {
		ticker := time.NewTicker(p.config.SampleEvery)
		defer ticker.Stop()
		sample = ticker.C
	}
	for {
		var body []byte
		select {
		case <-c.r.Context().Done():
			return nil
		case <-c.who.token.dead:
			return nil
		case <-r.full:
			return nil
		case <-p.stop:
			return nil
		case <-heartbeat.C:
		case <-sample:
			if body = tick(); body == nil {
				continue
			}
		case t := <-r.posts:
			if body = line(t); body == nil {
				continue
			}
		case body = <-r.lines:
		}
		if !write(body) {
			return nil
		}
	}
}

// streamLine renders a post for a stream, or nil when it may not be sent.
func (p *Platform) streamLine(c *call, s *selection, t *post, more map[string]any) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.author.protected || p.state.visiblePost(t.id) == nil {
		return nil
	}
	var n includes
	out := reply(p.renderPost(t, c, s, &n), &n, nil, nil)
	for name, value := range more {
		out[name] = value
	}
	return encode(out)
}

// filteredStream sends the posts that match the app's rules.
func (p *Platform) filteredStream(c *call, w http.ResponseWriter) error {
	s, err := c.selectFields(tweetExpansions)
	if err != nil {
		return err
	}
	p.mu.Lock()
	ruled := len(p.streams.rules) > 0
	p.mu.Unlock()
	if !ruled {
		return &problem{http.StatusConflict, map[string]any{
			"title": "ConnectionException", "detail": "There are no rules for this stream.", "connection_issue": "RuleConfigurationIssue",
			"type": problemBase + "rule-configuration-issue",
		}}
	}
	r, err := p.open("filtered")
	if err != nil {
		return err
	}
	return p.keepSending(c, w, r, func(t *post) []byte {
		matching := p.matchingRules(t)
		if len(matching) == 0 {
			return nil
		}
		return p.streamLine(c, &s, t, map[string]any{"matching_rules": matching})
	}, nil)
}

// sampledStream sends new posts and, at a steady pace, old ones, so that a quiet
// sandbox still looks like a busy platform.
func (p *Platform) sampledStream(c *call, w http.ResponseWriter) error {
	s, err := c.selectFields(tweetExpansions)
	if err != nil {
		return err
	}
	r, err := p.open("sampled")
	if err != nil {
		return err
	}
	next := 0
	return p.keepSending(c, w, r, func(t *post) []byte { return p.streamLine(c, &s, t, nil) }, func() []byte {
		p.mu.Lock()
		all := p.state.timeline
		var t *post
		if len(all) > 0 {
			t = all[len(all)-1-next%len(all)]
		}
		p.mu.Unlock()
		next++
		if t == nil {
			return nil
		}
		return p.streamLine(c, &s, t, nil)
	})
}

// activityStream sends the events that subscriptions ask for.
func (p *Platform) activityStream(c *call, w http.ResponseWriter) error {
	if text := c.query.Get("backfill_minutes"); text != "" {
		if n, err := strconv.Atoi(text); err != nil || n < 0 || n > 5 {
			return invalidRequest("backfill_minutes", text, "The `backfill_minutes` query parameter value is not between 0 and 5")
		}
	}
	r, err := p.open("activity")
	if err != nil {
		return err
	}
	return p.keepSending(c, w, r, func(*post) []byte { return nil }, nil)
}
