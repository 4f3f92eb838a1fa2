package compliance

import (
	"io"
	"strconv"
	"time"
)

// Bounds are the times and sizes that tests shorten.
type Bounds struct {
	Lease, Poll, Slow, Retry, RetryMost, Settle, Recheck time.Duration
	PerJob, Page, Remember                               int
}

// Bound replaces the bounds.
func (k *Compliance) Bound(b Bounds) {
	k.bounds.tick, k.bounds.lease, k.bounds.poll, k.bounds.pollMost, k.bounds.slow = 10*time.Millisecond, b.Lease, b.Poll, b.Poll, b.Slow
	k.bounds.retry, k.bounds.retryMost, k.bounds.settle, k.bounds.recheck = b.Retry, max(b.Retry, b.RetryMost), b.Settle, b.Recheck
	k.bounds.perJob, k.bounds.page, k.bounds.remember = b.PerJob, b.Page, b.Remember
}

// OnStep has f asked at each place between two things that outlive the process;
// an error ends the work there.
func (k *Compliance) OnStep(f func(step string) error) { k.testOnlyStep = f }

// ParseLines parses an answer and returns "id action reason" of each line.
func ParseLines(r io.Reader) (lines []Finding, malformed int64, err error) {
	malformed, err = parseLines(r, func(l line) error {
		lines = append(lines, Finding{ID: itoa(l.id), Action: l.action, Reason: l.reason, At: l.at})
		return nil
	})
	return lines, malformed, err
}

// Word reports whether a text is accepted as an action or a reason.
var Word = word

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
