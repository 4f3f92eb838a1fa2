package console

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// tape is a log's tail: what is put on it is handed out, until somebody stops reading.
type tape struct {
	traffic
	calls  chan []EntryLine // an element of nil is a failure
	opened chan struct{}
	ended  chan struct{}
}

func newTape() *tape {
	return &tape{calls: make(chan []EntryLine), opened: make(chan struct{}, 10), ended: make(chan struct{}, 10)}
}

func (p *tape) Tail(ctx context.Context) (CallTail, error) {
	p.opened <- struct{}{}
	context.AfterFunc(ctx, func() { p.ended <- struct{}{} })
	return p, nil
}

func (p *tape) Next(ctx context.Context) ([]EntryLine, bool, error) {
	select {
	case calls := <-p.calls:
		if calls == nil {
			return nil, false, errors.New("the database is away")
		}
		return calls, true, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

func ids(calls []EntryLine) string {
	out := ""
	for _, e := range calls {
		out += e.ID + " "
	}
	return out
}

func TestOneTailServesEveryWatcher(t *testing.T) {
	p := newTape()
	h := newCallHub(p)
	h.every = time.Microsecond
	all, web := h.join(t.Context(), CallsQuery{}), h.join(t.Context(), CallsQuery{Service: "web", Outcome: "refuse"})
	<-p.opened
	p.calls <- []EntryLine{{ID: "1", Service: "web", Verdict: "done"}, {ID: "2", Service: "web", Verdict: "refuse"}, {ID: "3", Service: "jobs", Verdict: "refuse"}}
	<-all.news
	<-web.news
	if got := ids(all.take()); got != "3 2 1 " {
		t.Errorf("everything, the newest first: %s", got)
	}
	if got := ids(web.take()); got != "2 " {
		t.Errorf("what was asked for: %s", got)
	}

	// A failure is followed by a new tail.
	p.calls <- nil
	<-p.opened
	// Whoever does not fetch loses the oldest, and costs no more than a page.
	var many []EntryLine
	for i := range maxCalls + 7 {
		many = append(many, EntryLine{ID: fmt.Sprint(i)})
	}
	p.calls <- many
	<-all.news
	if got := all.take(); len(got) != maxCalls || got[0].ID != fmt.Sprint(maxCalls+6) {
		t.Errorf("%d calls wait, the first is %q", len(got), got[0].ID)
	}
	if len(web.news) != 0 {
		t.Error("whoever asked for something else was woken")
	}

	// The reading ends with the last one, and begins again with the next.
	h.leave(all)
	h.leave(web)
	<-p.ended
	<-p.ended // of the tail that failed and of its successor
	again := h.join(t.Context(), CallsQuery{})
	<-p.opened
	p.calls <- []EntryLine{{ID: "4"}}
	<-again.news
	h.leave(again)
	<-p.ended
}
