package console

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// places bound how many pages are made at once, and which part of the machine's time
// goes into them: a page is work without a pause, and calls that wait for a processor
// behind it wait for all of it. What a page took is owed, and paid back as time passes.
// Who asks for a page now and then never waits; while more than burst is owed, everybody
// does. Time that a page spent waiting for a processor is owed too, so that the console
// withdraws when the gates are busy.
type places struct {
	taken chan struct{} // holds one element for each page that is being made
	share float64       // seconds of pages that are paid back in a second

	mu   sync.Mutex
	owed time.Duration
	at   time.Time // when owed was as it is
}

// maxWait is how long the time that is owed keeps a page waiting: one slow page must not
// close the console.
const maxWait = 5 * time.Second

// burst is how much may be owed while a page begins: some dozens of pages.
const burst = 4 * time.Second

// newPlaces returns n places whose pages get a share, from 0 to 1, of all processors.
func newPlaces(n int, share float64) *places {
	return &places{taken: make(chan struct{}, n), share: share * float64(runtime.GOMAXPROCS(0)), at: time.Now()}
}

// take waits for a place until ctx ends, and reports whether there was one.
func (p *places) take(ctx context.Context) bool {
	select {
	case p.taken <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	for {
		wait := p.wait()
		if wait <= 0 {
			return true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			<-p.taken
			return false
		}
	}
}

// leave gives a place back that a page had for some time.
func (p *places) leave(took time.Duration) {
	p.mu.Lock()
	p.settle()
	p.owed = min(p.owed+max(took, 0), burst+time.Duration(float64(maxWait)*p.share))
	p.mu.Unlock()
	<-p.taken
}

// wait returns how long it takes until no more than burst is owed.
func (p *places) wait() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle()
	return time.Duration(float64(p.owed-burst) / p.share)
}

// settle takes off what was paid back since the last time. p.mu is held.
func (p *places) settle() {
	now := time.Now()
	p.owed = max(0, p.owed-time.Duration(float64(now.Sub(p.at))*p.share))
	p.at = now
}
