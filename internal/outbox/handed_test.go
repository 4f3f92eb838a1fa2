package outbox_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"gatehouse"
	"gatehouse/internal/outbox"
	"gatehouse/internal/store/storetest"
	"gatehouse/internal/wire"
)

// hearing is somebody who has to know what leaves.
type hearing struct {
	mu   sync.Mutex
	deaf bool
	got  []outbox.Handed
}

func (h *hearing) deliver(_ context.Context, e outbox.Handed) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.got = append(h.got, e)
	if h.deaf {
		return wire.Refuse(gatehouse.ErrUnavailable, "lineage/flows", "it could not be noted")
	}
	return nil
}

func (h *hearing) heard() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// What an event holds is told before it leaves, and what cannot be told stays here,
// posted or fetched.
func TestWhatLeavesIsTold(t *testing.T) {
	a := newApp(t, nil)
	h := &hearing{deaf: true}
	w := newWorld(t, storetest.SQLite(t), a.URL+"/events", func(c *outbox.Config) { c.Deliver = h.deliver })
	w.put("e1", "")
	if _, err := w.Fetch(t.Context(), "scheduler", 0, 0); !errors.Is(err, gatehouse.ErrUnavailable) || wire.RuleOf(err) != "lineage/flows" {
		t.Errorf("fetched with %v", err)
	}
	if len(h.got) != 1 || h.got[0].Service != "scheduler" || h.got[0].ID != "e1" || h.got[0].Type != "test.event" || h.got[0].App != "main-x" ||
		h.got[0].Data.Reveal() != `{"n":1}` {
		t.Errorf("told is %+v", h.got)
	}
	w.run()
	eventually(t, a, "it is tried", func() bool { return w.state("e1").Class == "lineage/flows" })
	if got := a.deliveries(); len(got) != 0 || w.state("e1").State != outbox.Waiting {
		t.Errorf("what could not be told left: %+v", got)
	}
	h.mu.Lock()
	h.deaf = false
	h.mu.Unlock()
	if p, err := w.Fetch(t.Context(), "scheduler", 0, 0); err != nil || len(p.Events) != 1 {
		t.Errorf("fetched %+v, %v", p, err)
	}
	w.put("e2", "")
	before := h.heard()
	eventually(t, a, "it is delivered", func() bool { return w.state("e2").State == outbox.Delivered })
	if h.heard() == before || h.got[len(h.got)-1].Service != "" {
		t.Errorf("told is %+v", h.got)
	}
}
