package egress

import (
	"sync"

	"gatehouse"
)

// heldBytes accounts for the bytes that are held whole until they are judged: a bound
// for all, and of one service at most half of it, so that none can have the others
// refused. The zero value with most set is ready.
type heldBytes struct {
	most int64

	mu  sync.Mutex // guards what follows
	all int64
	of  map[gatehouse.ServiceName]int64 // without those that hold nothing
}

// take accounts for n bytes of a service, or reports that there is no room for them.
func (h *heldBytes) take(service gatehouse.ServiceName, n int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all+n > h.most || h.of[service]+n > h.most/2 {
		return false
	}
	if h.of == nil {
		h.of = map[gatehouse.ServiceName]int64{}
	}
	h.all += n
	h.of[service] += n
	return true
}

// give returns n bytes of a service.
func (h *heldBytes) give(service gatehouse.ServiceName, n int64) {
	if n == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all -= n
	if h.of[service] -= n; h.of[service] == 0 {
		delete(h.of, service)
	}
}

// total returns how many bytes are held.
func (h *heldBytes) total() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all
}
