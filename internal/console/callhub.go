package console

import (
	"context"
	"slices"
	"sync"
	"time"
)

// callHub reads the log's tail once for everybody who watches calls, however many
// browsers do: what an operator looks at must not cost the gates a query for each of
// them. It reads only while somebody watches.
//
// mu guards watchers and stop.
type callHub struct {
	from  CallsSource
	every time.Duration

	mu       sync.Mutex
	watchers map[*callWatcher]bool
	stop     context.CancelFunc // nil while nobody watches
}

// callWatcher is one browser. mu guards waiting.
type callWatcher struct {
	q    CallsQuery
	news chan struct{} // holds one element when something waits

	mu      sync.Mutex
	waiting []EntryLine // oldest first, at most maxCalls
}

func newCallHub(from CallsSource) *callHub {
	return &callHub{from: from, every: callEvery, watchers: map[*callWatcher]bool{}}
}

// join begins to hand calls to a new watcher. The reading goes on when ctx, that of the
// first of them, is over, until the last one leaves.
func (h *callHub) join(ctx context.Context, q CallsQuery) *callWatcher {
	w := &callWatcher{q: q, news: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.watchers[w] = true
	if h.stop == nil {
		ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
		go h.run(ctx)
	}
	return w
}

// leave ends it; the last one stops the reading.
func (h *callHub) leave(w *callWatcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.watchers, w)
	if len(h.watchers) == 0 && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// run reads until ctx ends. What cannot be read now is tried again: the browsers have
// the page, and open their streams anew every few minutes.
func (h *callHub) run(ctx context.Context) {
	clock := time.NewTicker(h.every)
	defer clock.Stop()
	var tail CallTail
	for {
		if tail == nil {
			if t, err := h.from.Tail(ctx); err == nil {
				tail = t
			}
		}
		if tail != nil {
			calls, more, err := tail.Next(ctx)
			if err != nil {
				tail = nil
			}
			h.hand(ctx, calls)
			if more && err == nil {
				continue
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-clock.C:
		}
	}
}

func (h *callHub) hand(ctx context.Context, calls []EntryLine) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil || len(calls) == 0 {
		return
	}
	for w := range h.watchers {
		w.add(calls)
	}
}

func (w *callWatcher) add(calls []EntryLine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range calls {
		if w.q.fits(e) {
			w.waiting = append(w.waiting, e)
		}
	}
	if len(w.waiting) == 0 {
		return
	}
	w.waiting = w.waiting[max(0, len(w.waiting)-maxCalls):]
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// take returns what waits, the newest first.
func (w *callWatcher) take() []EntryLine {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := slices.Clone(w.waiting)
	w.waiting = nil
	slices.Reverse(calls)
	return calls
}
