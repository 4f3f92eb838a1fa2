package outbox

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The schedule of attempts: 5 s after the first, three times as long after each
// further one, and from about the eighth on once an hour.
const (
	firstWait = 5 * time.Second
	waitGrows = 3
	maxWait   = time.Hour
	// maxAnswer is how much of an answer is read, so that the connection can be
	// used again. Nothing looks at it.
	maxAnswer = 4 << 10
)

// wait returns how long after a failed attempt, counted from 1, the next one is
// due: the schedule with a quarter more or less, so that events that failed
// together do not come back together. What the endpoint asks for (Retry-After)
// counts instead, between one second and maxWait.
func wait(attempt int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(max(asked, time.Second), maxWait)
	}
	d := firstWait
	for i := 1; i < attempt && d < maxWait; i++ {
		d *= waitGrows
	}
	d = min(d, maxWait)
	return d - d/4 + time.Duration(rand.Int64N(int64(d/2)+1))
}

// send posts one signed body and judges the answer by its status alone.
func (o *Outbox) send(ctx context.Context, id string, body []byte, keys [][]byte) verdict {
	ctx, cancel := context.WithTimeout(ctx, o.config.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.config.URL, bytes.NewReader(body))
	if err != nil {
		return verdict{ours: true, class: "internal"} // New has parsed the URL
	}
	// Nothing may repeat the request on its own: an attempt is counted here.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Gatehouse")
	sign(req.Header, keys, id, time.Now(), body)
	o.step("sending")
	reply, err := o.config.Egress.RoundTrip(req)
	if err != nil {
		return verdict{silent: true, class: classOf(err)}
	}
	// Not closed before a little is read, or the connection could not be kept; the
	// context bounds a body that comes slowly.
	_, _ = io.CopyN(io.Discard, reply.Body, maxAnswer)
	reply.Body.Close()
	return judge(reply, time.Now())
}

// judge reads the verdict off a status: 2xx is delivered, 410 says that the
// endpoint never wants it, and everything else is tried again, redirects too,
// which are not followed.
func judge(reply *http.Response, now time.Time) verdict {
	v := verdict{status: reply.StatusCode}
	if v.status/100 == 2 {
		v.delivered = true
		return v
	}
	v.class = "status/" + strconv.Itoa(v.status)
	v.final = v.status == http.StatusGone
	v.after = retryAfter(reply.Header.Get("Retry-After"), now)
	switch v.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		v.silent = true
	}
	return v
}

// retryAfter reads the header's two forms; 0 when there is none, or none that
// makes sense.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// endpoint spares an app that is down, and our log: after silentLimit attempts
// in a row without an answer of the app itself, this process makes one attempt
// at a time, with a growing pause between. What was not tried stays due, so that
// the first success brings everything. One event that the endpoint cannot digest
// never slows the others: theirs are answered.
type endpoint struct {
	mu     sync.Mutex
	silent int           // attempts in a row without an answer
	pause  time.Duration // how long the last pause was
	until  time.Time     // no attempt before
}

const (
	silentLimit = 3
	maxPause    = time.Minute
)

// allowed returns how many attempts may begin now.
func (e *endpoint) allowed(now time.Time, most, running int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.silent < silentLimit {
		return most - running
	}
	if running > 0 || now.Before(e.until) {
		return 0
	}
	return 1
}

// noticed notes how an attempt ended.
func (e *endpoint) noticed(now time.Time, silent bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !silent {
		e.silent, e.pause, e.until = 0, 0, time.Time{}
		return
	}
	if e.silent++; e.silent >= silentLimit && !now.Before(e.until) {
		e.pause = min(max(2*e.pause, time.Second), maxPause)
		e.until = now.Add(e.pause)
	}
}
