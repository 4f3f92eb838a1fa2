package reconcile

import (
	"encoding/json"
	"net/http"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
)

// Meta says in every reply how many hundredths of its hour an app has used (X-App-Usage),
// and its limit is 200 calls an hour for each of the app's daily users, whose number
// nobody tells. So a hundredth is two calls at least, and it may grow without any call
// when the number of users falls. These thresholds leave what neither explains.
const (
	// calm is up to where an app is hardly used, and leap how much more it is within
	// leapTime. For the number of users alone to do that, it has to fall to a third.
	calm, leap, leapTime = 10, 20, 10 * time.Minute
	// leastPerPoint is how many calls a hundredth is at least.
	leastPerPoint = 2
	// rounding is by how much the difference of two rounded percentages may be too large.
	rounding = 1
	// perCall is how often each call of a service may have been counted (it may have been
	// sent twice), and perDeed how many calls anything that Gatehouse does by itself for
	// an app may make: consents, imports, checks and revocations make up to a handful.
	perCall, perDeed = 2, 10
	// mostApps bounds for how many apps a meter keeps a reading.
	mostApps = 1024
)

// appUsage stands for the operation of a Window in which Meta counted an app's calls.
// Left is in calls, as few as they can have been.
const appUsage gatehouse.Operation = "X-App-Usage"

// A reach is a reading of how much of an app's hour is used.
type reach struct {
	percent   float64
	began, at time.Time
}

// usage is the part of X-App-Usage that counts calls. The rest is processor time,
// which has nothing to do with how many there were.
type usage struct {
	Calls *float64 `json:"call_count"`
}

// readUsage reads the header; ok is false if it does not say how many calls.
func readUsage(h http.Header) (percent float64, ok bool) {
	values := h["X-App-Usage"]
	if len(values) == 0 || len(values[0]) > 1024 {
		return 0, false
	}
	var u usage
	if json.Unmarshal([]byte(values[0]), &u) != nil || u.Calls == nil || !(*u.Calls >= 0 && *u.Calls <= 1000) {
		return 0, false
	}
	return *u.Calls, true
}

// hearUsage takes in what a reply says of the whole app.
func (m *Meter) hearUsage(h *Heard, now time.Time) {
	percent, ok := readUsage(h.Header)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.reached[h.App]
	if known && now.Sub(was.at) <= leapTime && percent > was.percent {
		if percent-was.percent < leap {
			return // the calm reading stays what later ones are compared with
		}
		m.leapt(h, was, percent, now)
	}
	delete(m.reached, h.App)
	if percent <= calm && len(m.reached) < mostApps {
		m.reached[h.App] = reach{percent, h.Began, now}
	}
}

// leapt keeps a leap, to be judged as a window is. With the lock held.
func (m *Meter) leapt(h *Heard, was reach, percent float64, now time.Time) {
	if len(m.windows) >= mostKept {
		m.lost++
		return
	}
	k := windowKey{app: h.App, operation: appUsage, limit: 100, reset: now.Unix()}
	counted := int64((percent - was.percent - rounding) * leastPerPoint)
	m.windows[k] = &Window{
		App: h.App, Operation: appUsage, Limit: 100, Reset: time.Unix(now.Unix(), 0).UTC(), Replies: 1,
		First: Reading{Left: counted, Began: was.began, At: was.at}, Last: Reading{Began: h.Began, At: now},
	}
}

// spent is what an entry says of an app's calls to Meta.
type spent struct {
	app   gatehouse.AppName
	at    time.Time
	calls int64
}

// spend returns how many of Meta's calls an intent may explain.
func spend(leaf *audit.Leaf) (spent, bool) {
	if leaf.Kind != audit.KindIntent || leaf.Platform != gatehouse.Facebook || leaf.App == "" {
		return spent{}, false
	}
	calls := int64(perDeed)
	if leaf.Action == "call" || leaf.Action == "call.stream" {
		calls = perCall * items(leaf)
	}
	return spent{leaf.App, leaf.When(), calls}, true
}
