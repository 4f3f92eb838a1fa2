package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/config"
	"gatehouse/internal/console"
	"gatehouse/internal/policy"
	"gatehouse/internal/wire"
)

// destinationsSource tells the console who else is sent data, by the configuration,
// the log and what was recognised on its way. When something was last sent to each is
// looked for in the log host by host, so it is kept for a moment.
type destinationsSource struct {
	*parts
	flows *flowsSource
	// turn holds an element while one looks; others wait for the same. Whoever has the turn
	// owns kept.
	turn chan struct{}
	kept *keptLast
}

// keptLast is when something was last sent to hosts, as it was at a time.
type keptLast struct {
	at   time.Time
	last map[string]time.Time // zero is never
}

func newDestinationsSource(p *parts) destinationsSource {
	return destinationsSource{parts: p, flows: newFlowsSource(p), turn: make(chan struct{}, 1), kept: &keptLast{}}
}

// Bounds of the page.
const (
	destinationDays = 30
	maxSentSummed   = 100
	maxUnknown      = 20
	// lastKept is how long it is shown again when something was last sent to somebody.
	lastKept = 30 * time.Second
	// lastBehind is how much earlier than by this clock an entry that is written now may
	// say that it was.
	lastBehind = time.Hour
)

func (d destinationsSource) Destinations(ctx context.Context, actor string) (console.DestinationsView, error) {
	cfg := d.configured()
	view := console.DestinationsView{Listening: d.cfg.Listen.Proxy != ""}
	if cfg.Reporting(time.Now()) {
		view.Reports = cfg.Until.End()
	}
	hosts := slices.Sorted(maps.Keys(cfg.ThirdParty))
	last, at, err := d.last(ctx, hosts)
	if err != nil {
		return view, err
	}
	view.At = at
	flows, err := d.flows.Flows(ctx, actor, destinationDays)
	if err != nil {
		return view, err
	}
	for _, host := range hosts {
		x := destinationView(host, cfg.ThirdParty[host], flows)
		x.Last = last[host]
		view.List = append(view.List, x)
	}
	searcher, err := d.searcher(ctx)
	if err != nil {
		return view, err
	}
	view.Unknown, err = d.newestLines(ctx, searcher, audit.Query{Rule: policy.RuleUnknownDestination}, maxUnknown)
	return view, err
}

// last returns when something was last sent to each of the hosts, and as of when that is.
// What is known is looked for no further back than it is known.
func (d destinationsSource) last(ctx context.Context, hosts []string) (map[string]time.Time, time.Time, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, time.Time{}, ctx.Err()
	}
	now := time.Now().UTC()
	known := map[time.Time][]string{} // by from when on they are looked for
	for _, host := range hosts {
		if _, ok := d.kept.last[host]; ok {
			known[d.kept.at.Add(-lastBehind)] = append(known[d.kept.at.Add(-lastBehind)], host)
		} else {
			known[time.Time{}] = append(known[time.Time{}], host)
		}
	}
	if len(known[time.Time{}]) == 0 && now.Sub(d.kept.at) < lastKept {
		return d.kept.last, d.kept.at, nil
	}
	next := keptLast{now, make(map[string]time.Time, len(hosts))}
	for since, hosts := range known {
		found, err := lastSent(ctx, d.db, hosts, since)
		if err != nil {
			return nil, time.Time{}, err
		}
		for _, host := range hosts {
			next.last[host] = d.kept.last[host]
			if found[host].After(next.last[host]) {
				next.last[host] = found[host]
			}
		}
	}
	*d.kept = next
	return next.last, next.at, nil
}

func destinationView(host string, t config.ThirdParty, flows console.FlowsView) console.DestinationView {
	x := console.DestinationView{Host: host, MayReceive: t.MayReceive, Inspect: t.Inspect, Private: t.Private, Ports: "443, 80 for plain http"}
	for _, p := range t.Purposes {
		x.Purposes = append(x.Purposes, string(p))
	}
	for _, port := range t.Ports {
		x.Ports += ", " + strconv.Itoa(port)
	}
	for _, f := range flows.Flows {
		if f.Destination == host {
			x.Flows = append(x.Flows, f)
		}
	}
	return x
}

func (d destinationsSource) Destination(ctx context.Context, actor, host string) (console.DestinationView, error) {
	t, ok := d.configured().ThirdParty[host]
	if !ok {
		return console.DestinationView{}, wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such third party.")
	}
	flows, err := d.flows.Flows(ctx, actor, destinationDays)
	if err != nil {
		return console.DestinationView{}, err
	}
	x := destinationView(host, t, flows)
	// As lastSent does: without the index's key, what was sent there before it was declared
	// does not count.
	searcher, err := searchLogs(ctx, d.db, nil)
	if err != nil {
		return x, err
	}
	// Most requests are two entries.
	for cursor := ""; ; {
		page, err := searcher.Search(ctx, audit.Query{Destination: host, Passed: true}, cursor, 2*maxSentSummed)
		if err != nil {
			return x, err
		}
		for i := range page.Entries {
			e := &page.Entries[i]
			if e.When.After(x.Last) {
				x.Last = e.When
			}
			if e.Kind != audit.KindOutcome || x.Requests == maxSentSummed {
				continue
			}
			// An entry without the facts counts as nothing.
			sent, _ := strconv.ParseInt(e.Facts["sent"], 10, 64)
			received, _ := strconv.ParseInt(e.Facts["received"], 10, 64)
			x.Sent, x.Received, x.Requests = x.Sent+sent, x.Received+received, x.Requests+1
		}
		if cursor = page.Next; cursor == "" || len(page.Entries) > 0 {
			return x, nil
		}
	}
}
