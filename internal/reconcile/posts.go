package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

const (
	day = 24 * time.Hour
	// judgeDays is how many days back X's count is compared: it may come late.
	judgeDays = 3
	// mostPerReply is how many posts a reply may have held of which nothing is known:
	// no operation of X returns more at once.
	mostPerReply = 500
	// slowest is how long before its reply's end a call's intent may have been written.
	slowest = time.Hour
	// keepPosts is how long counts are kept.
	keepPosts = 10 * day
	// mostUsage bounds what is read of X's answer, and of how many apps and days.
	mostUsage, mostClients, mostDays = 1 << 20, 1000, 100
)

// Posts is what replies of X spoke of in one hour, of one app.
type Posts struct {
	App gatehouse.AppName
	// Hour is when the hour began.
	Hour time.Time
	// Posts counts each one as often as a reply spoke of it, and Replies those that were
	// read to their end, less one for each time that a call was sent again.
	Posts, Replies int64
	// Streamed says that some of them came from a stream, and Unbounded that X does not
	// say how fast one of those may be.
	Streamed, Unbounded bool
}

// boundedStreams are the streams of which X says that they send at most streamRate posts
// a second, on openStreams connections of an app at most.
var boundedStreams = map[gatehouse.Operation]bool{"GET /2/tweets/search/stream": true, "GET /2/activity/stream": true}

const (
	streamRate  = 250
	openStreams = 3
	// streamLag is for how long posts of a stream may be sent and not counted here: what
	// is on its way, and what a process that dies had not stored. It is stored each five
	// seconds.
	streamLag = 30 * time.Second
	// mostPerStream is how many posts a stream may have sent, and be sending, that were
	// not counted.
	mostPerStream = streamRate * int64(streamLag/time.Second)
)

type postsKey struct {
	app  gatehouse.AppName
	hour int64
}

// Read takes in how many posts a reply of X spoke of that was read to its end. If whole
// is false, it is a stream that goes on: its posts are taken in as they pass.
func (m *Meter) Read(app gatehouse.AppName, op gatehouse.Operation, posts int64, whole bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.hour(app, time.Now())
	p.Posts += posts
	if whole {
		p.Replies++
	} else {
		p.Streamed, p.Unbounded = true, p.Unbounded || !boundedStreams[op]
	}
}

// reread takes in that a call is sent once more: X may have counted what it answered
// the first time, which nobody has read.
func (m *Meter) reread(app gatehouse.AppName, now time.Time) {
	if !m.config.Posts[app] {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hour(app, now).Replies--
}

// hour returns what is counted of an app in this hour. There are as many as apps in the
// configuration, unless nothing can be stored for days. With the lock held.
func (m *Meter) hour(app gatehouse.AppName, now time.Time) *Posts {
	at := now.UTC().Truncate(time.Hour)
	k := postsKey{app, at.Unix()}
	p := m.posts[k]
	if p == nil {
		p = &Posts{App: app, Hour: at}
		m.posts[k] = p
	}
	return p
}

// flushPosts stores what was counted so far.
func (m *Meter) flushPosts(ctx context.Context) error {
	m.mu.Lock()
	posts := m.posts
	m.posts = map[postsKey]*Posts{}
	m.mu.Unlock()
	if len(posts) == 0 {
		return nil
	}
	list := make([]Posts, 0, len(posts))
	for _, p := range posts {
		list = append(list, *p)
	}
	err := m.config.Store.AddPosts(ctx, list)
	if err == nil {
		return nil
	}
	// It may have been stored: then it counts twice, which explains more than there was.
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, p := range posts {
		if since := m.posts[k]; since != nil {
			p.Posts, p.Replies, p.Streamed = p.Posts+since.Posts, p.Replies+since.Replies, p.Streamed || since.Streamed
			p.Unbounded = p.Unbounded || since.Unbounded
		}
		m.posts[k] = p
	}
	return err
}

// A UsageApp is an app of which X counts the posts.
type UsageApp struct {
	// Client is its id at X.
	Client string
	// Apps are its names in the configuration, the one first that asks.
	Apps []gatehouse.AppName
	// Tolerance is by how many hundredths X's count may be above ours.
	Tolerance int64
}

// A PostsCount is X's count of one day and what explains it.
type PostsCount struct {
	App gatehouse.AppName `json:"app"`
	Day string            `json:"day"` // as 2006-01-02
	// Used is X's count, Read the posts in replies, and Most what the log explains at
	// most: those, what replies may have held that were not read to their end, and the
	// tolerance.
	Used int64 `json:"used"`
	Read int64 `json:"read"`
	Most int64 `json:"most"`
}

// usages compares what X counts of each app.
func (r *Reconciler) usages(ctx context.Context, report *Report) error {
	if r.config.FetchUsage == nil {
		return nil
	}
	for i := range r.config.Usage {
		app := &r.config.Usage[i]
		body, err := r.config.FetchUsage(ctx, app.Apps[0])
		var days map[time.Time]int64
		if err == nil {
			days, err = ReadUsage(body, app.Client)
		}
		if err != nil {
			// Everything else is compared all the same.
			report.UsageFailed++
			r.config.Logger.WarnContext(ctx, "X's count of posts could not be had", slog.String("app", string(app.Apps[0])), slog.Any("error", err))
			continue
		}
		if err := r.usageOf(ctx, report, app, days); err != nil {
			return err
		}
	}
	return r.config.Store.SweepPosts(ctx, report.At.Add(-keepPosts))
}

// usageOf compares the days of one app.
func (r *Reconciler) usageOf(ctx context.Context, report *Report, app *UsageApp, days map[time.Time]int64) error {
	told, err := r.config.Store.PostsTold(ctx, app.Client)
	if errors.Is(err, gatehouse.ErrNotFound) {
		// What was used before anybody looked is nobody's business.
		return r.config.Store.TellPosts(ctx, app.Client, days)
	}
	if err != nil {
		return err
	}
	for at, used := range days {
		if at.Before(report.At.Add(-judgeDays*day)) || at.After(report.At) {
			continue
		}
		if err := r.usageDay(ctx, report, app, at, used, told[at]); err != nil {
			return err
		}
	}
	return nil
}

// usageDay compares one day. X's day may begin up to an hour earlier or later than
// ours: clocks differ, and replies take their time.
func (r *Reconciler) usageDay(ctx context.Context, report *Report, app *UsageApp, at time.Time, used, told int64) error {
	from, until := at.Add(-time.Hour), at.Add(day+time.Hour)
	sum := Posts{}
	for _, name := range app.Apps {
		p, err := r.config.Store.PostsOf(ctx, name, from, until)
		if err != nil {
			return err
		}
		sum.Posts, sum.Replies, sum.Streamed = sum.Posts+p.Posts, sum.Replies+p.Replies, sum.Streamed || p.Streamed
		sum.Unbounded = sum.Unbounded || p.Unbounded
	}
	most := func(posts int64) int64 { return posts + posts*app.Tolerance/100 }
	c := PostsCount{App: app.Apps[0], Day: at.Format(time.DateOnly), Used: used, Read: sum.Posts, Most: most(sum.Posts)}
	if used > c.Most+told {
		// Only now the log: replies that broke off, or that a process had not stored.
		unread, known, err := r.unread(ctx, app, from, until, sum)
		if err != nil {
			return err
		}
		if !known {
			report.UsageUnjudged++
			return nil
		}
		c.Most = most(sum.Posts + unread)
	}
	report.Posts = append(report.Posts, c)
	more := used - c.Most - told
	if more <= 0 {
		return nil
	}
	if err := r.record(ctx, report, ruleElsewhere, Difference{
		Check: "x-posts", Platform: gatehouse.X, App: c.App, Counted: used, Logged: c.Most + told, Excess: more, From: at, Until: at.Add(day),
	}); err != nil {
		return err
	}
	return r.config.Store.TellPosts(ctx, app.Client, map[time.Time]int64{at: told + more})
}

// unread is how many posts X may have answered calls of a time with that were not counted;
// known is false if nothing can be said.
func (r *Reconciler) unread(ctx context.Context, app *UsageApp, from, until time.Time, sum Posts) (unread int64, known bool, err error) {
	if sum.Unbounded {
		return 0, false, nil // what a stream had sent when it ended is not known
	}
	logs, err := r.config.Logs(ctx)
	if err != nil {
		return 0, false, err
	}
	calls, streams, known := int64(0), int64(0), true
	if sum.Streamed {
		streams = openStreams // they may have begun long before
	}
	for _, log := range logs {
		err := each(ctx, log.List, from.Add(-slowest), mostEntries, func(leaf *audit.Leaf) {
			switch {
			case leaf.Action == "log.clock":
				known = false
			case leaf.Action == "call.stream" && leaf.Kind == audit.KindIntent && slices.Contains(app.Apps, leaf.App) && !leaf.When().After(until):
				streams++
				known = known && boundedStreams[leaf.Operation]
			case leaf.Action == "call" && leaf.Kind == audit.KindIntent && leaf.Platform == gatehouse.X && slices.Contains(app.Apps, leaf.App) &&
				!leaf.When().After(until):
				calls++
			}
		})
		if errors.Is(err, errMany) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
	}
	return max(0, calls-sum.Replies)*mostPerReply + streams*mostPerStream, known, nil
}

// usageReply is what is read of X's answer.
type usageReply struct {
	Data struct {
		Apps []struct {
			Client string `json:"client_app_id"`
			Usage  []struct {
				Date  time.Time `json:"date"`
				Usage postCount `json:"usage"`
			} `json:"usage"`
		} `json:"daily_client_app_usage"`
	} `json:"data"`
}

// postCount is a number that X writes as a text; null is none.
type postCount int64

func (n *postCount) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	v, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 64)
	if err != nil || v < 0 || v > 1<<40 {
		return errUsage
	}
	*n = postCount(v)
	return nil
}

var errUsage = fmt.Errorf("X's answer to GET /2/usage/tweets does not say how many posts each app used each day: %w", gatehouse.ErrInvalid)

// ReadUsage returns what X's answer to GET /2/usage/tweets says that one app used, by
// days of UTC. An app that is not in it is an error: its id is wrong, or the bearer is
// of another project.
func ReadUsage(body []byte, client string) (map[time.Time]int64, error) {
	var reply usageReply
	if len(body) > mostUsage || json.Unmarshal(body, &reply) != nil || len(reply.Data.Apps) > mostClients {
		return nil, errUsage
	}
	for _, a := range reply.Data.Apps {
		if a.Client != client {
			continue
		}
		if len(a.Usage) > mostDays {
			return nil, errUsage
		}
		days := map[time.Time]int64{}
		for _, d := range a.Usage {
			if d.Date.Unix() <= 0 {
				return nil, errUsage
			}
			days[d.Date.UTC().Truncate(day)] += int64(d.Usage)
		}
		return days, nil
	}
	return nil, fmt.Errorf("X's answer to GET /2/usage/tweets has no app with this app_id: %w", gatehouse.ErrInvalid)
}
