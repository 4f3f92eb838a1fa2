package main

import (
	"context"
	"fmt"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/console"
)

// callsSource shows calls out of the log, of which it opens nothing.
type callsSource struct{ *parts }

func (c callsSource) Calls(ctx context.Context, q console.CallsQuery, most int) (console.CallsView, error) {
	cfg := c.configured()
	v := console.CallsView{Services: sortedNames(cfg.Services), Purposes: sortedNames(cfg.Purposes)}
	search := audit.Query{Action: "call", Service: gatehouse.ServiceName(q.Service), Purpose: gatehouse.PurposeName(q.Purpose), Verdict: q.Outcome}
	if search.Validate() != nil {
		return v, nil // no entry can be so
	}
	searcher, err := c.searcher(ctx)
	if err != nil {
		return v, err
	}
	// An intent says nothing that its outcome does not, so about every second entry is
	// left out, unless the outcome that is asked for is one that no intent has.
	limit := most
	if q.Outcome == "" {
		limit = 2*most + 10
	}
	cursor := ""
	for range 3 {
		page, err := searcher.Search(ctx, search, cursor, limit)
		if err != nil {
			return v, err
		}
		v.Calls = append(v.Calls, callLines(page.Entries)...)
		if cursor = page.Next; cursor == "" || len(v.Calls) >= most {
			break
		}
	}
	v.Calls = v.Calls[:min(len(v.Calls), most)]
	return v, nil
}

// callLines are outcomes and refusals; intents are left out.
func callLines(found []audit.Shown) []console.EntryLine {
	lines := entryLines(found)
	kept := lines[:0]
	for _, e := range lines {
		if e.Kind != audit.KindIntent {
			kept = append(kept, e)
		}
	}
	return kept
}

func (c callsSource) Tail(ctx context.Context) (console.CallTail, error) {
	searcher, err := c.searcher(ctx)
	if err != nil {
		return nil, err
	}
	tail, err := searcher.Follow(ctx, audit.Query{Action: "call"}, "")
	if err != nil {
		return nil, err
	}
	return callTail{tail}, nil
}

type callTail struct{ tail *audit.Tail }

func (t callTail) Next(ctx context.Context) ([]console.EntryLine, bool, error) {
	found, more, err := t.tail.Next(ctx)
	return callLines(found), more, err
}

// flowsSource adds up which ways data took. That looks at all flows of a time, so it is
// kept for a moment: who reloads does not make the database count again.
type flowsSource struct {
	*parts
	// turn holds an element while one counts; others wait for the same. Whoever has the
	// turn owns kept.
	turn chan struct{}
	kept map[int]console.FlowsView // by days
}

func newFlowsSource(p *parts) *flowsSource {
	return &flowsSource{parts: p, turn: make(chan struct{}, 1), kept: map[int]console.FlowsView{}}
}

// flowsKept is how long what was counted is shown again.
const flowsKept = 30 * time.Second

func (s *flowsSource) Flows(ctx context.Context, actor string, days int) (console.FlowsView, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return console.FlowsView{}, ctx.Err()
	}
	now := time.Now().UTC()
	if v, ok := s.kept[days]; ok && now.Sub(v.At) < flowsKept {
		return v, nil
	}
	totals, err := s.lineage.Totals(audit.By(ctx, actor), sinceDays(days, now), time.Time{})
	if err != nil {
		return console.FlowsView{}, err
	}
	v := console.FlowsView{At: now, Flows: make([]console.Flow, 0, len(totals))}
	for i := range totals {
		t := &totals[i]
		f := console.Flow{
			Kind: string(t.Way.Kind), Verdict: string(t.Way.Verdict), Operation: string(t.Way.Operation), Purpose: string(t.Way.Purpose), Service: string(t.Way.Service),
			Destination: t.Way.Destination, SentFor: string(t.Way.SentFor), Class: string(t.Way.Class), People: t.People, Count: t.Seen, First: t.First, Last: t.Last,
		}
		if t.Way.App != "" {
			f.Source = fmt.Sprintf("%s: %s", t.Way.Platform, t.Way.App)
		}
		v.Flows = append(v.Flows, f)
	}
	s.kept[days] = v
	return v, nil
}
