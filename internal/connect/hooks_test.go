package connect

import (
	"net/url"
	"time"

	"gatehouse"
	"gatehouse/internal/secret"

	"golang.org/x/time/rate"
)

// ReturnAllowed reports whether an allowlist with one entry lets a browser
// return to an address.
func ReturnAllowed(entry, address string) (bool, error) {
	list, err := NewReturnList([]string{entry})
	return err == nil && list.Allows(address), err
}

// WithParams adds what the app is told to its return address.
func WithParams(address string, params url.Values) (string, error) {
	return withParams(address, params)
}

// Classify reduces a platform's error reply.
func Classify(p gatehouse.Platform, status int, body []byte) (class string, isDead bool) {
	e := classify(p, status, body)
	return e.class, e.dead
}

// Member reads a dotted path of a JSON object.
var Member = member

// OnStep has f called at each place of a renewal between two writes, or between
// a write and a call of the platform.
func (c *Connections) OnStep(f func(step string)) { c.testOnlyStep = f }

// Hurry divides all the times that renewals keep to.
func (c *Connections) Hurry(by time.Duration) {
	b := &c.bounds
	for _, d := range []*time.Duration{&b.lease, &b.ask, &b.wait, &b.backoff, &b.backoffMost, &b.impatience, &b.impatienceMost} {
		*d /= by
	}
}

// HurryPauses divides the pauses after failures, and leaves the platform its time to
// answer.
func (c *Connections) HurryPauses(by time.Duration) {
	b := &c.bounds
	for _, d := range []*time.Duration{&b.backoff, &b.backoffMost, &b.impatience, &b.impatienceMost} {
		*d /= by
	}
}

// Pace sets how many connections one look at the store brings of each kind, how
// many answers are waited for at once, and how many are begun in a second.
func (c *Connections) Pace(batch, atOnce int, perSecond float64) {
	c.pacing = pacing{batch: batch, atOnce: atOnce, perSecond: rate.Limit(perSecond)}
}

// PaceOf returns how many a second are begun while this one is the next.
func PaceOf(rec Record, now time.Time) float64 { return float64(defaultPacing.of(rec, now)) }

// RenewAfter returns the age at which a new token of that life is due to be renewed.
func RenewAfter(p gatehouse.Platform, life time.Duration) time.Duration {
	now := time.Now()
	rec := Record{Platform: p, Kind: KindUser}
	return renewAt(rec, now, grant{expires: now.Add(life), refresh: secret.New("a refresh token")}).Sub(now)
}

// Pauses returns the pauses of the timer, and those of callers, after a number
// of failures.
func Pauses(failures int64) (timer, callers time.Duration) {
	now := time.Now()
	return defaultBounds.again(now, failures).Sub(now), defaultBounds.pause(failures)
}

// ParseMark reads a page's Next.
var ParseMark = parseMark
