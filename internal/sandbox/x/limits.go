package x

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// limit is so many requests in so long a window.
type limit struct {
	requests int
	window   time.Duration
}

// undocumented is the limit of operations for which X's table has none.
const undocumented = "300/15m"

// parseLimits reads "50/15m 1000/24h".
func parseLimits(text string) ([]limit, error) {
	var limits []limit
	for _, field := range strings.Fields(text) {
		count, span, _ := strings.Cut(field, "/")
		requests, err := strconv.Atoi(count)
		if err != nil {
			return nil, fmt.Errorf("reading limit %q: %w", field, err)
		}
		window, err := time.ParseDuration(span)
		if err != nil {
			return nil, fmt.Errorf("reading limit %q: %w", field, err)
		}
		limits = append(limits, limit{requests, window})
	}
	return limits, nil
}

// window counts the requests of one caller to one operation.
type window struct {
	used  int
	reset time.Time
}

// limiter keeps the windows. Platform.mu guards it.
type limiter struct {
	factor  int
	windows map[string]*window
}

// take counts a request and sets the headers that tell the caller where they
// stand. The 15-minute window is the one X reports as x-rate-limit-*; 24-hour
// windows have headers of their own, seen by clients and not documented.
func (l *limiter) take(h http.Header, op *operation, who caller, app string, now time.Time) error {
	if l.factor < 0 {
		return nil
	}
	pool, text := "app "+app, op.appLimit
	if who.kind != appOnly && who.user != nil {
		pool, text = "user "+who.user.id, op.userLimit
	}
	if text == "" {
		text = undocumented
	}
	limited := l.count(h, pool, text, op, now)
	// Writes with a user's token also draw on the app's pool for the day.
	if who.kind != appOnly {
		for _, daily := range strings.Fields(op.appLimit) {
			if strings.HasSuffix(daily, "/24h") {
				limited = l.count(h, "app "+app, daily, op, now) || limited
			}
		}
	}
	if limited {
		return plainProblem(http.StatusTooManyRequests, "Too Many Requests")
	}
	return nil
}

// count uses up one request of each window of a pool and reports whether any
// had none left.
func (l *limiter) count(h http.Header, pool, text string, op *operation, now time.Time) bool {
	limits, _ := parseLimits(text) // checked when the route was added
	limited := false
	for _, limit := range limits {
		key := pool + " " + op.route + " " + limit.window.String()
		w := l.windows[key]
		if w == nil || !now.Before(w.reset) {
			w = &window{reset: now.Add(limit.window)}
			l.windows[key] = w
		}
		allowed := limit.requests * l.factor
		if w.used >= allowed {
			limited = true
		} else {
			w.used++
		}
		prefix := "x-rate-limit-"
		if limit.window == 24*time.Hour {
			prefix = "x-" + strings.Fields(pool)[0] + "-limit-24hour-"
		}
		h.Set(prefix+"limit", strconv.Itoa(allowed))
		h.Set(prefix+"remaining", strconv.Itoa(allowed-w.used))
		h.Set(prefix+"reset", strconv.FormatInt(w.reset.Unix(), 10))
	}
	return limited
}
