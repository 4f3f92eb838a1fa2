package main

import (
	"context"
	"maps"
	"slices"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/console"
)

// trafficPages are the pages about what passes and whose it is: Overview, Calls,
// Connections, People, Step-ups, Flows.
func (s *server) trafficPages() []console.Page {
	s.everything = newEverythingCutter(s.parts)
	return []console.Page{
		console.Overview(newOverviewSource(s.parts)), console.Calls(callsSource{s.parts}),
		console.Flows(newFlowsSource(s.parts)), console.Connections(connectionsSource{s.parts}), console.People(peopleSource{s.parts}), console.Stepups(stepupsSource{s.parts}),
		console.Everything(s.everything),
	}
}

// entryLines are entries of the log as lists of the console show them: nothing of them
// is opened.
func entryLines(found []audit.Shown) []console.EntryLine {
	out := make([]console.EntryLine, 0, len(found))
	for i := range found {
		e := &found[i]
		out = append(out, console.EntryLine{
			Intent: e.Intent, ID: e.ID, Kind: e.Kind, Action: e.Action, Verdict: e.Verdict, Rule: e.Rule, Code: e.Code, Severity: string(e.Severity),
			Service: string(e.Service), Purpose: string(e.Purpose), Operation: string(e.Operation), Status: e.Status, Bytes: e.Bytes, At: e.When,
		})
	}
	return out
}

// newestLines searches the log for one page.
func (p *parts) newestLines(ctx context.Context, searcher *audit.Searcher, q audit.Query, most int) ([]console.EntryLine, error) {
	page, err := searcher.Search(ctx, q, "", most)
	if err != nil {
		return nil, err
	}
	return entryLines(page.Entries), nil
}

// sortedNames are the names of a part of the configuration.
func sortedNames[K ~string, V any](m map[K]V) []string {
	out := make([]string, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, string(name))
	}
	return out
}

// sinceDays is the beginning of the last days; zero is no beginning.
func sinceDays(days int, now time.Time) time.Time {
	if days == 0 {
		return time.Time{}
	}
	return now.AddDate(0, 0, 1-days)
}
