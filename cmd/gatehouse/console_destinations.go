package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
	"gatehouse/internal/policy"
)

// destinationsSource tells the console who else is sent data, by the configuration,
// the log and what was recognised on its way.
type destinationsSource struct {
	*parts
	flows *flowsSource
}

// Bounds of the page.
const (
	destinationDays = 30
	maxSentSummed   = 100
	maxUnknown      = 20
)

func (d destinationsSource) Destinations(ctx context.Context, actor string) (console.DestinationsView, error) {
	cfg := d.configured()
	view := console.DestinationsView{Listening: d.cfg.Listen.Proxy != ""}
	if cfg.Reporting(time.Now()) {
		view.Reports = cfg.Until.End()
	}
	hosts := slices.Sorted(maps.Keys(cfg.ThirdParty))
	last, err := lastSent(ctx, d.db, hosts, time.Time{})
	if err != nil {
		return view, err
	}
	flows, err := d.flows.Flows(ctx, actor, destinationDays)
	if err != nil {
		return view, err
	}
	searcher, err := d.searcher(ctx)
	if err != nil {
		return view, err
	}
	for _, host := range hosts {
		t := cfg.ThirdParty[host]
		x := console.DestinationView{Host: host, MayReceive: t.MayReceive, Inspect: t.Inspect, Private: t.Private, Last: last[host], Ports: "443, 80 for plain http"}
		for _, p := range t.Purposes {
			x.Purposes = append(x.Purposes, string(p))
		}
		for _, port := range t.Ports {
			x.Ports += ", " + strconv.Itoa(port)
		}
		page, err := searcher.Search(ctx, audit.Query{Destination: host, Kind: audit.KindOutcome}, "", maxSentSummed)
		if err != nil {
			return view, err
		}
		for i := range page.Entries {
			// An entry without the facts counts as nothing.
			sent, _ := strconv.ParseInt(page.Entries[i].Facts["sent"], 10, 64)
			received, _ := strconv.ParseInt(page.Entries[i].Facts["received"], 10, 64)
			x.Sent, x.Received, x.Requests = x.Sent+sent, x.Received+received, x.Requests+1
		}
		for _, f := range flows.Flows {
			if f.Destination == host {
				x.Flows = append(x.Flows, f)
			}
		}
		view.List = append(view.List, x)
	}
	view.Unknown, err = d.newestLines(ctx, searcher, audit.Query{Rule: policy.RuleUnknownDestination}, maxUnknown)
	return view, err
}
