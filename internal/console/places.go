package console

import (
	"context"
	"time"
)

// places bound how many pages are made at once, and which part of the time: a page is
// work without a pause, and calls that wait for a processor behind it wait for all of
// it. Whoever left a place leaves it empty for a while, so that clients who ask without
// a pause get what the gates do not need. The elements of taken are the places that are
// not to be had.
type places struct{ taken chan struct{} }

func newPlaces(n int) places { return places{make(chan struct{}, n)} }

// Of each place's time no more than one part in 1+restShare is work, unless a page takes
// longer than maxRest/restShare.
const (
	restShare = 4
	maxRest   = 2 * time.Second
)

// rest is how long a place stays empty after a page. A page takes the longer the more
// else there is to do, and so the console withdraws when the gates are busy.
func rest(took time.Duration) time.Duration { return min(restShare*max(took, 0), maxRest) }

// take waits for a place until ctx ends, and reports whether there was one.
func (p places) take(ctx context.Context) bool {
	select {
	case p.taken <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// leave gives a place back that a page had for some time.
func (p places) leave(took time.Duration) {
	time.AfterFunc(rest(took), func() { <-p.taken })
}
