package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Bounds of a live page. A browser opens the stream again by itself.
const (
	liveLife = 2 * time.Minute
	liveBeat = 15 * time.Second
)

// stream is a route that feeds a live page by server-sent events, which assets/live.js
// puts where the template says:
//
//	<tbody data-live="/calls/live" data-live-most="50">
//
// An event named "prepend" or "replace" carries markup that a template of ours made:
// rows that are put first (at most data-live-most stay), or all of the content.
func stream(pattern string, permission Permission, h func(v *visit, to *feed) error) route {
	live := func(v *visit) error {
		ctx, leave, err := v.console.live.take(v.context(), v.who.ID, v.session.ID, func(until time.Time) {
			_ = http.NewResponseController(v.w).SetWriteDeadline(until) // a writer without one has nobody to wait for
		})
		if err != nil {
			return err
		}
		defer leave()
		placed := ctx
		ctx, cancel := context.WithTimeout(ctx, liveLife)
		defer cancel()
		v.r = v.r.WithContext(ctx)
		head := v.w.Header()
		head.Set("Content-Type", "text/event-stream")
		head.Set("X-Accel-Buffering", "no")
		to := &feed{v: v}
		if err := to.write("retry: 3000\n\n"); err != nil {
			return nil
		}
		err = h(v, to)
		if errors.Is(context.Cause(placed), errDisplaced) {
			// The browser opens it again by itself, and is asked to wait before it does.
			_ = to.put(fmt.Sprintf("retry: %d\n\n", displacedRetry.Milliseconds()))
			return nil
		}
		if errors.Is(err, errFeedOver) || ctx.Err() != nil {
			return nil // the browser left, or asks again
		}
		return err
	}
	// Who asks is found out like for any page; the feed takes a place of its own.
	return route{pattern: "GET " + pattern, permission: permission, live: true, handler: func(v *visit) error {
		v.feed = live
		return nil
	}}
}

// checked refuses what cannot be meant with a page, before the stream begins.
func (r route) checked(check func(v *visit) error) route {
	handler := r.handler
	r.handler = func(v *visit) error {
		if err := check(v); err != nil {
			return err
		}
		return handler(v)
	}
	return r
}

// errFeedOver ends a live page's handler: the browser left, its time is up, or the
// console closes.
var errFeedOver = errors.New("the live page is over")

// feed is where a live page's handler sends what is new. One goroutine uses it.
type feed struct{ v *visit }

// send renders a template that the page's file defines, and sends it as an event.
func (f *feed) send(event, file, name string, data any) error {
	html, err := f.v.render(name, file, "", data)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "event: %s\n", event)
	for line := range bytes.SplitSeq(html, []byte("\n")) {
		b.WriteString("data: ")
		b.Write(bytes.ReplaceAll(line, []byte("\r"), nil))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return f.write(b.String())
}

// wait returns nil when something came or every is over, whichever is first, and
// errFeedOver when nobody is there any more.
func (f *feed) wait(news <-chan struct{}, every time.Duration) error {
	if every <= 0 || every > liveBeat {
		every = liveBeat
	}
	tick := time.NewTimer(every)
	defer tick.Stop()
	select {
	case <-f.v.context().Done():
		return errFeedOver
	case <-f.v.console.closing:
		return errFeedOver
	case <-news:
		return nil
	case <-tick.C:
		// A comment tells whether the browser is still there.
		return f.write(": \n\n")
	}
}

// allowed looks again at who is there: a session may end, an account be suspended or a
// permission go while the page is open, and then nothing more is shown.
func (f *feed) allowed() bool {
	session, account, err := f.v.console.directory.Session(f.v.context(), f.v.browser, f.v.token)
	if err != nil {
		return false // the browser asks again, and is told
	}
	f.v.session, f.v.who, f.v.now = &session, &account, time.Now().UTC()
	return f.v.may(f.v.route.permission)
}

func (f *feed) write(s string) error {
	if !f.allowed() {
		return errFeedOver
	}
	return f.put(s)
}

// put sends what says nothing about anybody.
func (f *feed) put(s string) error {
	if _, err := f.v.w.Write([]byte(s)); err != nil {
		return errFeedOver
	}
	if err := http.NewResponseController(f.v.w).Flush(); err != nil {
		return errFeedOver
	}
	return nil
}
