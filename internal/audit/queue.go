package audit

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"gatehouse"
)

// maxGroup is how many entries one durable write takes at most.
const maxGroup = 1024

// linger is how long entries that nobody waits for may lie before they are
// written without company.
const linger = 20 * time.Millisecond

// A group is what one durable write makes durable. Callers that wait do so on
// done; err is set before done is closed.
type group struct {
	rows []entryRow
	// waiting says that somebody waits, so that the group is written at once.
	waiting bool
	since   time.Time
	done    chan struct{}
	err     error
}

// entryRow is a row and whether its caller learns of a failure. Those that do
// not are kept until they are on disk.
type entryRow struct {
	Row
	awaited bool
	// urgent ones are written also while only what takes access away is.
	urgent bool
}

// A queue gathers entries into groups. Callers append to the last group while
// the writer is busy with an earlier one.
type queue struct {
	limit int

	mu sync.Mutex
	// room is signalled when entries were taken, or the queue closed.
	room   *sync.Cond
	groups []*group
	length int
	closed error
	// nudged is closed when the writer has looked around, which somebody asked for; nil
	// while nobody does.
	nudged chan struct{}
	// wake has a token when there may be something for the writer.
	wake chan struct{}
}

func newQueue(limit int) *queue {
	q := &queue{limit: limit, wake: make(chan struct{}, 1)}
	q.room = sync.NewCond(&q.mu)
	return q
}

// last returns the group that takes the next entry.
func (q *queue) last() *group {
	if n := len(q.groups); n > 0 && len(q.groups[n-1].rows) < maxGroup {
		return q.groups[n-1]
	}
	g := &group{since: time.Now(), done: make(chan struct{})}
	q.groups = append(q.groups, g)
	return g
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// nudge makes next return, so that the writer looks around; the channel is closed
// when it has, in a look that began after this call, or when it will not any more.
func (q *queue) nudge() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		over := make(chan struct{})
		close(over)
		return over
	}
	if q.nudged == nil {
		q.nudged = make(chan struct{})
	}
	q.signal()
	return q.nudged
}

func (q *queue) isNudged() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.nudged != nil
}

// asked is called before the writer looks around, and returns what tells those who
// have nudged so far that it has. Who nudges meanwhile waits for the next look.
func (q *queue) asked() (answer func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	nudged := q.nudged
	q.nudged = nil
	return func() {
		if nudged != nil {
			close(nudged)
		}
	}
}

// waiting is how many entries are queued.
func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}

// wait queues a row whose caller waits for the group, and refuses when the
// queue is full or closed.
func (q *queue) wait(r Row) (*group, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed != nil:
		return nil, q.closed
	case q.length >= q.limit:
		return nil, fmt.Errorf("%d entries wait to be written to the log: %w", q.length, gatehouse.ErrUnavailable)
	}
	g := q.last()
	g.rows = append(g.rows, entryRow{Row: r, awaited: true})
	g.waiting = true
	q.length++
	q.signal()
	return g, nil
}

// put queues a row that nobody waits for. When bounded, it waits for room; an
// urgent one is written also while only what takes access away is.
func (q *queue) put(r Row, bounded, urgent bool) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for bounded && q.length >= q.limit && q.closed == nil {
		q.room.Wait()
	}
	if q.closed != nil {
		return q.closed
	}
	g := q.last()
	g.rows = append(g.rows, entryRow{Row: r, urgent: urgent})
	q.length++
	q.signal()
	return nil
}

// flush returns the last group, marked as waited for.
func (q *queue) flush() (*group, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return nil, q.closed
	}
	g := q.last()
	g.waiting = true
	q.signal()
	return g, nil
}

// next returns the first group when it is time to write it: at once if anybody
// waits for one, otherwise when it has lain for linger. It returns nil when ctx
// is done and nothing is left, when the time is over, and when it is nudged.
func (q *queue) next(ctx context.Context, within time.Duration) *group {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	over := time.NewTimer(within)
	defer over.Stop()
	for {
		closing := ctx.Err() != nil
		if q.isNudged() && !closing {
			return nil
		}
		ripe, left := q.ripe(closing)
		switch {
		case ripe:
			q.gather()
			return q.take()
		case closing:
			return nil
		}
		var late <-chan time.Time
		if left > 0 {
			timer.Reset(left)
			late = timer.C
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		case <-late:
		case <-over.C:
			return nil
		}
	}
}

// ripe reports whether the first group should be written now and, if not, in
// what time (0 when there is none; the wait then ends by a signal).
func (q *queue) ripe(closing bool) (bool, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.groups) == 0 {
		return false, 0
	}
	age := time.Since(q.groups[0].since)
	if closing || age >= linger || len(q.groups) > 1 || q.groups[0].waiting {
		return true, 0
	}
	return false, linger - age
}

// gather lets callers that are ready to run add to the group before it is
// taken. Without it, the first caller to wake after a write would get a durable
// write of its own, and all others would wait for the next.
func (q *queue) gather() {
	size := q.size()
	for range 8 {
		runtime.Gosched()
		now := q.size()
		if now == size || now >= maxGroup {
			return
		}
		size = now
	}
}

func (q *queue) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}

// take removes the first group.
func (q *queue) take() *group {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := q.groups[0]
	q.groups = q.groups[1:]
	q.length -= len(g.rows)
	q.room.Broadcast()
	return g
}

// refuse tells all callers who wait that their entries will not be written, and
// keeps the other entries for later.
func (q *queue) refuse(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	groups := q.groups
	q.groups, q.length = nil, 0
	for _, g := range groups {
		for _, r := range g.rows {
			if !r.awaited {
				kept := q.last()
				kept.rows = append(kept.rows, r)
				q.length++
			}
		}
		g.err = why
		close(g.done)
	}
	q.room.Broadcast()
}

// urgent removes and returns the urgent entries, or all of those that nobody waits
// for.
func (q *queue) urgent(all bool) []entryRow {
	q.mu.Lock()
	defer q.mu.Unlock()
	var taken []entryRow
	for _, g := range q.groups {
		left := g.rows[:0]
		for _, r := range g.rows {
			if !r.awaited && (all || r.urgent) && len(taken) < maxGroup {
				taken = append(taken, r)
			} else {
				left = append(left, r)
			}
		}
		g.rows = left
	}
	q.length -= len(taken)
	q.room.Broadcast()
	return taken
}

// close refuses everything from now on, if the queue is empty.
func (q *queue) close(why error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.groups) > 0 {
		return false
	}
	q.closed = why
	q.room.Broadcast()
	return true
}

// abandon refuses everything from now on and returns what was not written.
func (q *queue) abandon(why error) []*group {
	q.mu.Lock()
	defer q.mu.Unlock()
	left := q.groups
	q.groups, q.length, q.closed = nil, 0, why
	q.room.Broadcast()
	return left
}
