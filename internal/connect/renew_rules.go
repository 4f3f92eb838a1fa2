package connect

import (
	"math/rand/v2"
	"net/http"
	"time"

	"gatehouse"
)

const (
	// leaseLife bounds a renewal; see bounds.
	leaseLife = 2 * platformTimeout
	// backoff is how long after an unsuccessful attempt the next one is due.
	backoff = 30 * time.Second
)

// bounds are the times that a renewal keeps to.
type bounds struct {
	// lease is how long an owner has the connection to itself. It is twice what
	// the owner may take to ask, so that a lease that has passed means that its
	// owner is gone, or will find that it may no longer ask; what is left covers
	// clocks that differ.
	lease, ask time.Duration
	// save is how long an owner goes on trying to make a new pair durable.
	save time.Duration
	// wait is how long a caller waits for another owner's renewal.
	wait time.Duration
	// poll is the pause between two looks at a row that another process has.
	poll time.Duration
	// backoff and backoffMost are the first and the longest pause of the timer
	// after a renewal that brought nothing; impatience and impatienceMost those
	// of callers who need a token that has expired.
	backoff, backoffMost, impatience, impatienceMost time.Duration
}

var defaultBounds = bounds{
	lease: leaseLife, ask: platformTimeout, save: 5 * time.Minute, wait: 3 * platformTimeout, poll: 50 * time.Millisecond,
	backoff: backoff, backoffMost: 30 * time.Minute, impatience: 2 * time.Second, impatienceMost: 30 * time.Second,
}

// grow doubles a pause for each failure after the first.
func grow(first, most time.Duration, failures int64) time.Duration {
	pause := first
	for range min(max(failures, 1)-1, 30) {
		if pause *= 2; pause >= most {
			return most
		}
	}
	return pause
}

// again is when the timer tries next after a number of failures: later each
// time, and spread, so that connections that failed together do not all come
// back in the moment when the platform does.
func (b bounds) again(now time.Time, failures int64) time.Time {
	pause := grow(b.backoff, b.backoffMost, failures)
	return now.Add(pause - pause/4 + time.Duration(rand.Int64N(int64(pause/2)+1)))
}

// pause is how long callers who cannot do without are kept from trying again.
func (b bounds) pause(failures int64) time.Duration {
	return grow(b.impatience, b.impatienceMost, failures)
}

// singleUse reports whether a platform's refresh tokens must be taken to work
// once. X's do by all evidence; of a provider described by configuration nothing
// better is known.
func singleUse(p gatehouse.Platform) bool { return p == gatehouse.X || p == gatehouse.OAuth2 }

// exchangeOnly reports whether a platform renews a token only while it lives,
// and by means of itself. The old token lives on, so that asking again after a
// lost reply does no harm.
func exchangeOnly(p gatehouse.Platform) bool {
	return p == gatehouse.Facebook || p == gatehouse.Instagram || p == gatehouse.Threads
}

// ripe is the age from which Instagram and Threads refresh a token.
const ripe = 24 * time.Hour

// notBefore is the time before which the platform refuses to renew a token.
func (r Record) notBefore() time.Time {
	if r.Obtained.IsZero() || (r.Platform != gatehouse.Instagram && r.Platform != gatehouse.Threads) {
		return time.Time{}
	}
	return r.Obtained.Add(ripe)
}

// renewAt says when a record's fresh token should be replaced: early enough that
// no call waits for it, spread so that tokens made together are not renewed
// together. What cannot be renewed by itself (a Page's token comes from its
// parent's) and what never expires has no such time.
func renewAt(r Record, now time.Time, g grant) time.Time {
	if g.expires.IsZero() || r.Kind == KindPage {
		return time.Time{}
	}
	life := g.expires.Sub(now)
	var lead, spread time.Duration
	switch r.Platform {
	case gatehouse.X, gatehouse.OAuth2:
		if g.refresh.IsZero() {
			return time.Time{}
		}
		// The whole lead: a million tokens of two hours that were obtained at once
		// come due at 1,100 a second, and not at four times that.
		lead = min(life/4, 15*time.Minute)
		spread = lead
	case gatehouse.Facebook:
		lead = life / 6
		spread = lead / 4
	default:
		// Instagram and Threads refuse a refresh before 24 hours and after
		// expiry; the middle of the life is far from both.
		lead = life / 2
		spread = lead / 4
	}
	jitter := time.Duration(rand.Int64N(max(int64(spread), 0) + 1))
	return g.expires.Add(-lead - jitter)
}

// due reports whether the record's token should be replaced now.
func (r Record) due(now time.Time) bool { return !r.RenewAt.IsZero() && !now.Before(r.RenewAt) }

// expired reports whether the platform has ceased to accept the token.
func (r Record) expired(now time.Time) bool {
	return !r.AccessExpires.IsZero() && !now.Before(r.AccessExpires)
}

// unprocessed reports whether err is an answer that says by itself that nothing
// was done. Other answers of the class 5xx, and 408, come from something that
// gave up on what stands behind it: the tokens may have been exchanged there.
func unprocessed(err error) bool {
	refused := refusal(err)
	if refused == nil {
		return false
	}
	return refused.status == http.StatusServiceUnavailable ||
		(refused.status < 500 && refused.status != http.StatusRequestTimeout)
}
