package connect

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"

	"golang.org/x/sync/errgroup"
)

const (
	// clockGrain is below what a Date header can tell: it counts whole seconds.
	clockGrain = 2 * time.Second
	// clockAlarm is from where on a difference is worth a person's attention: X
	// refuses OAuth 1.0a timestamps that are minutes off.
	clockAlarm = 30 * time.Second
	// clockCalm is below what the alarm is over; between the two nothing changes.
	clockCalm = 15 * time.Second
	// slowReply is from where on a reply says too little about when it was made.
	slowReply = 5 * time.Second
	// absurdSkew is more than any clock that still runs can be off.
	absurdSkew = 366 * 24 * time.Hour
)

// clock is a platform's time, as its replies tell it. Whether a token is still
// good, and whether a signature's timestamp is, are questions about that time.
// Once measured it goes on by the machine's monotonic clock, so that setting the
// machine's clock neither kills a grant nor keeps one alive. Processes that
// measured the same platform agree on it, whatever their machines believe.
type clock struct {
	app      App // one that goes by it; never changes
	mu       sync.Mutex
	recorded bool // what the log was told last: whether the difference is large
	known    bool
	at       time.Time     // of this machine, when measured; with its monotonic reading
	offset   time.Duration // the platform's time minus this machine's, at that moment
	hint     time.Duration // of the last measurement that nothing has confirmed
	hinted   bool
	alarmed  bool // the present difference has been reported
}

// now is the platform's time as far as it is known; sure is false when it was
// never measured, or when the machine's clock was set or stood still since.
func (k *clock) now() (now time.Time, sure bool) {
	local := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known {
		return local, false
	}
	elapsed := local.Sub(k.at)
	jump := local.Round(0).Sub(k.at.Round(0)) - elapsed
	return k.at.Add(k.offset + elapsed), jump.Abs() < clockGrain
}

// measure learns from a reply: sent and got are when the request went out and
// the reply's header came in. One reply alone may be a cache's, so a difference
// counts when a second one agrees, or at once if the platform itself refused our
// timestamp. It reports whether the clock's idea of the time has changed.
func (k *clock) measure(sent, got time.Time, date string, sure bool) bool {
	told, err := http.ParseTime(date)
	took := got.Sub(sent)
	if err != nil || took > slowReply || took < 0 {
		return false
	}
	// The second that the header names has half passed on average, and so has
	// the time that the exchange took.
	offset := told.Add(time.Second / 2).Sub(sent.Add(took / 2).Round(0))
	if offset.Abs() > absurdSkew {
		return false
	}
	if offset.Abs() <= clockGrain+took/2 {
		offset = 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.offset
	if k.known {
		// What the clock would say now, against the machine's present time.
		before = k.at.Add(k.offset + got.Sub(k.at)).Round(0).Sub(got.Round(0))
	}
	changed := (offset - before).Abs() > clockGrain
	if changed && !sure && !(k.hinted && (offset-k.hint).Abs() <= clockGrain) {
		k.hint, k.hinted = offset, true
		return false
	}
	k.known, k.hinted, k.at, k.offset = true, false, got, offset
	return changed
}

// skew is the difference in force, and whether it has just become one that a
// person should hear of.
func (k *clock) skew() (offset time.Duration, alarm bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	large := k.offset.Abs() >= clockAlarm || (k.alarmed && k.offset.Abs() > clockCalm)
	alarm = large && !k.alarmed
	k.alarmed = large
	return k.offset, alarm
}

// news returns the difference if the log has not heard that it became large, or
// small again.
func (k *clock) news() (offset time.Duration, large, news bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.offset, k.alarmed, k.alarmed != k.recorded
}

// heard notes what the log was told.
func (k *clock) heard(large bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.recorded = large
}

// clockKey names the clock that an app's platform goes by.
func clockKey(a App) string {
	if a.Platform == gatehouse.OAuth2 {
		return "oauth2/" + string(a.Name)
	}
	return string(a.Platform)
}

// clockOf returns the clock of an app's platform. An app that left the
// configuration has one that nobody measures.
func (c *Connections) clockOf(app gatehouse.AppName) *clock {
	if a, ok := c.apps[app]; ok {
		return c.clocks[clockKey(a)]
	}
	return &clock{}
}

// now is the time at an app's platform.
func (c *Connections) now(app gatehouse.AppName) time.Time {
	now, _ := c.clockOf(app).now()
	return now
}

// latest is the time of the platform that is furthest ahead: nothing is due
// anywhere before it is due by this.
func (c *Connections) latest() time.Time {
	var latest time.Time
	for _, k := range c.clocks {
		if now, _ := k.now(); now.After(latest) {
			latest = now
		}
	}
	if latest.IsZero() {
		return time.Now()
	}
	return latest
}

// observe has a platform's reply set its clock.
func (c *Connections) observe(ctx context.Context, a App, sent time.Time, reply *http.Response, sure bool) bool {
	k := c.clocks[clockKey(a)]
	changed := k.measure(sent, time.Now(), reply.Header.Get("Date"), sure)
	if offset, alarm := k.skew(); alarm {
		c.logger.WarnContext(ctx, "this machine's clock differs from the platform's: set it, or run a time service",
			slog.String("platform", string(a.Platform)), slog.Duration("platform_ahead_by", offset))
	}
	return changed
}

// Clock is what is known of a platform's time.
type Clock struct {
	Platform gatehouse.Platform
	App      gatehouse.AppName // of a provider that is known by one app only; else ""
	// Offset is how far the platform is ahead of this machine. Differences that
	// a Date header cannot show are zero.
	Offset time.Duration
	// Known is false as long as no reply has told the time.
	Known bool
	// Large says that the difference is one that a person should do something
	// about: OAuth 1.0a signatures are refused, and tokens taken for expired.
	Large bool
	At    time.Time // when it was measured last, by this machine
}

// Clocks returns what is known of each platform's time, in a stable order.
func (c *Connections) Clocks() []Clock {
	var list []Clock
	for _, key := range slices.Sorted(maps.Keys(c.clocks)) {
		list = append(list, c.clocks[key].state())
	}
	return list
}

func (k *clock) state() Clock {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Clock{Platform: k.app.Platform, Offset: k.offset, Known: k.known, Large: k.alarmed, At: k.at}
	if k.app.Platform == gatehouse.OAuth2 {
		s.App = k.app.Name
	}
	return s
}

// MeasureClocks asks each platform once for its time and returns what is known
// then. Nobody's credential is used. What cannot be reached is not known.
func (c *Connections) MeasureClocks(ctx context.Context) []Clock {
	var group errgroup.Group
	for _, k := range c.clocks {
		group.Go(func() error {
			// The first reply alone may be a cache's: a difference needs two.
			for try := 0; try < 2 && !k.state().Known; try++ {
				c.askTime(ctx, k.app)
			}
			return nil
		})
	}
	_ = group.Wait() // no member returns an error
	return c.Clocks()
}

// askTime makes one request to a platform for the Date of its reply.
func (c *Connections) askTime(ctx context.Context, a App) {
	address := a.Endpoints.API
	if address == "" {
		address = a.Endpoints.Token
	}
	req, err := get(ctx, address, nil)
	if err != nil {
		return
	}
	req.Header.Set("Cache-Control", "no-cache")
	sent := time.Now()
	reply, err := c.egress.RoundTrip(req)
	if err != nil {
		return
	}
	_ = reply.Body.Close()
	c.observe(ctx, a, sent, reply, false)
}

// recordClocks puts into the log that a difference has become large, or small
// again: each once.
func (c *Connections) recordClocks(ctx context.Context) error {
	var failed error
	for _, k := range c.clocks {
		offset, large, news := k.news()
		if !news {
			continue
		}
		state := "small"
		if large {
			state = "large"
		}
		_, err := c.log.Record(ctx, audit.Entry{
			Action: "platform.clock", Platform: k.app.Platform, Verdict: "done",
			Facts: map[string]string{"difference": state, "platform_ahead_seconds": strconv.Itoa(int(offset.Round(time.Second) / time.Second))},
		})
		if err == nil {
			k.heard(large)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// ClockSkew returns how far the clock of an app's platform is ahead of this
// machine's. Differences that a Date header cannot show are zero; measured is
// false as long as no reply has told.
func (c *Connections) ClockSkew(app gatehouse.AppName) (skew time.Duration, measured bool) {
	k := c.clockOf(app)
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.offset, k.known
}
