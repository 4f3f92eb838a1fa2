package budget

import (
	"time"

	"gatehouse"
	"gatehouse/internal/platform"
)

// pool is one pool of calls. The lock of its shard guards it.
type pool struct {
	key   key
	shard *shard

	flying   int // what the calls under way cost
	admitted int // calls admitted so far, to tell which came after a loss
	lostAt   int // admitted, when the last call was lost
	lost     int // what calls cost that were sent and never answered

	short, day window
	usage      usage
	shut       hold // throttled: for everybody
	held       hold // nearly used up: for callers

	period time.Time // when the present period of fair shares began
	seats  []seat    // one for each service that has asked

	// Of kindOperation.
	accounts []key     // what the last reply counted the operation against
	several  bool      // there was more than one account: only a node tells which
	free     bool      // replies do not name the app's pool: it is not counted against that
	noted    time.Time // when that was
}

const (
	shortLength = 15 * time.Minute
	dayLength   = 24 * time.Hour
	// longest is for how long the word of one reply is taken. A malformed header must
	// not close a pool for years.
	longest = 25 * time.Hour
	// sameReset is by how much the reset times of one window may differ in replies.
	sameReset = 2 * time.Second
	// grain is added to reset times, which name whole seconds.
	grain = time.Second
	// soon is when to ask again if what is under way decides.
	soon = time.Second
)

// window is a number of calls that may be made until a time.
type window struct {
	known            bool
	assumed          bool // nothing was heard since it began: it is taken to be whole
	limit, remaining int
	reset            time.Time // by the platform's clock
	length           time.Duration
}

// roll begins the next window when the time of this one has passed, and reports
// whether it did.
func (w *window) roll(now time.Time) bool {
	if !w.known || now.Before(w.reset.Add(grain)) {
		return false
	}
	w.remaining, w.reset, w.assumed = w.limit, now.Add(w.length), true
	return true
}

// learn takes over what a reply says and reports whether that is news of a window
// that is not over. Within one window replies overtake each other, and the lowest
// number is the newest.
func (w *window) learn(b *platform.Budget, now time.Time, length time.Duration) bool {
	reset := b.Reset
	if latest := now.Add(longest); reset.After(latest) {
		reset = latest
	}
	if b.Limit <= 0 || !reset.After(now) {
		return false
	}
	remaining := min(b.Remaining, b.Limit)
	switch {
	case !w.known || w.assumed || w.limit != b.Limit || reset.After(w.reset.Add(sameReset)):
		if length == shortLength && reset.Sub(now) > shortLength+sameReset {
			length = dayLength // the same header serves operations that are counted by the day
		}
		*w = window{known: true, limit: b.Limit, remaining: remaining, reset: reset, length: max(length, w.length)}
	case reset.Before(w.reset.Add(-sameReset)):
		return false // a late reply of the window before
	default:
		w.remaining = min(w.remaining, remaining)
		if reset.After(w.reset) {
			w.reset = reset
		}
	}
	return true
}

// scarce reports whether fewer calls are left than the time that is left would
// take at an even pace, and less than half.
func (w *window) scarce(free int, now time.Time) bool {
	left := w.reset.Sub(now)
	return 2*free < w.limit && float64(free)*float64(w.length) < float64(w.limit)*float64(left)
}

// over reports whether nothing is known of the pool any more that matters.
func (p *pool) over(now time.Time) bool {
	past := func(t time.Time) bool { return !now.Before(t) }
	return (!p.short.known || past(p.short.reset)) && (!p.day.known || past(p.day.reset)) &&
		(!p.usage.known || past(p.usage.at.Add(usageLife))) && past(p.noted.Add(usageLife)) && p.shut.over(now) && p.held.over(now)
}

// left is how much is left, from 0 to 1.
func (p *pool) left(now time.Time) float64 {
	least := 1.0
	for _, w := range []*window{&p.short, &p.day} {
		if w.known && now.Before(w.reset) {
			least = min(least, float64(w.remaining)/float64(w.limit))
		}
	}
	if p.usage.known {
		least = min(least, 1-p.usage.percent/100)
	}
	if !p.shut.open() {
		return 0
	}
	return least
}

// reserve is what of a window is kept for background work.
func reserve(limit int) int {
	if limit < 2 {
		return 0
	}
	return max(1, limit/20)
}

// check says why a call may not draw on the pool, or returns nil. Of what is under
// way, own belongs to the asking ticket. With the lock held.
func (p *pool) check(c *Call, own int, reserved bool, now time.Time) *Refusal {
	alone := p.flying == own
	if !p.shut.open() && (now.Before(p.shut.until) || !alone) {
		return p.refuse(c, RuleThrottled, p.shut.until, now)
	}
	free, scarce := -1, false // the least of what is left; -1: nothing is known
	until := time.Time{}
	for _, w := range []*window{&p.short, &p.day} {
		if w.roll(now) {
			p.lost = 0
		}
		if !w.known {
			continue
		}
		kept := 0
		if reserved && !c.Background {
			kept = reserve(w.limit)
		}
		left := w.remaining - kept - p.lost - p.flying
		switch {
		case w.remaining-kept < c.cost():
			return p.refuse(c, RuleWindow, w.reset.Add(grain), now)
		case left < c.cost() && !(alone && p.lost > 0):
			// What was lost may have been counted, or not: alone, a call finds out.
			return p.refuse(c, RuleWindow, now.Add(soon), now)
		}
		if free < 0 || left < free {
			free, scarce, until = max(left, 0), w.scarce(left, now), w.reset.Add(grain)
		}
	}
	if refusal := p.checkUsage(c, alone, now); refusal != nil {
		return refusal
	}
	if p.usage.known {
		if left := max(0, p.usage.calls(ceiling(c), p.flying)); free < 0 || left < free {
			free, scarce, until = left, p.usage.percent >= scarceAt, now.Add(usageLife)
		}
	}
	if own > 0 {
		return nil // the rest of a batch, whose first item had its part
	}
	return p.checkShare(c, free, scarce, until, now)
}

// checkUsage judges a percentage.
func (p *pool) checkUsage(c *Call, alone bool, now time.Time) *Refusal {
	u := &p.usage
	if u.known && !now.Before(u.at.Add(usageLife)) {
		u.known = false
		p.held.reopen()
	}
	switch {
	case !u.known:
		return nil
	case u.percent >= ceiling(c):
		if c.Background {
			return nil // shut, or its one attempt
		}
		if now.Before(p.held.until) || !alone {
			return p.refuse(c, RuleUsage, p.held.until, now)
		}
	case u.calls(ceiling(c), p.flying) < c.cost() && !alone:
		return p.refuse(c, RuleUsage, now.Add(soon), now)
	}
	return nil
}

// refuse words a refusal. A time that has passed means that others decide soon.
func (p *pool) refuse(c *Call, rule string, until, now time.Time) *Refusal {
	if earliest := now.Add(soon); until.Before(earliest) {
		until = earliest
	}
	r := &Refusal{Rule: rule, Platform: c.Platform, Operation: c.Operation, RetryAfter: until.Sub(now), Until: until, kind: p.key.kind, owned: p.key.owner != ""}
	for _, w := range []*window{&p.short, &p.day} {
		if w.known && (r.Limit == 0 || w.remaining < r.Remaining) {
			r.Limit, r.Remaining, r.Reset = w.limit, w.remaining, w.reset
		}
	}
	return r
}

// hold closes a pool for a time. After it, it is half open: one call at a time may
// try, until one succeeds.
type hold struct {
	until time.Time
	times int // in a row; 0: open
}

// firstPause and lastPause bound how long a pool is closed when the platform names
// no time. Meta counts over a rolling hour: an attempt a minute costs little of it.
const (
	firstPause = time.Minute
	lastPause  = 15 * time.Minute
)

func (h *hold) open() bool              { return h.times == 0 }
func (h *hold) over(now time.Time) bool { return h.open() || now.After(h.until.Add(lastPause)) }
func (h *hold) reopen()                 { *h = hold{} }

// close closes the pool until the time that the platform named, or for a pause that
// doubles each time. The replies to calls that were under way together are one
// time.
func (h *hold) close(now, named time.Time) {
	if latest := now.Add(longest); named.After(latest) {
		named = latest
	}
	if !h.open() && now.Before(h.until) {
		if named.After(h.until) {
			h.until = named
		}
		return
	}
	h.times++
	if h.until = named; named.IsZero() {
		h.until = now.Add(min(lastPause, firstPause<<min(h.times-1, 8)))
	}
}

// succeed opens the pool if its time has passed: an answer that was under way when
// it was closed says nothing.
func (h *hold) succeed(now time.Time) {
	if !h.open() && !now.Before(h.until) {
		h.reopen()
	}
}

// windowOf returns the window that a header's pool is about, and its length.
func (p *pool) windowOf(name string) (*window, time.Duration) {
	if name == poolCall {
		return &p.short, shortLength
	}
	return &p.day, dayLength
}

// background reports whether a pool of this operation has a reserve.
func (b *Budgets) background(op gatehouse.Operation) bool { return b.reserved[op] }
