package main

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/console"
	"gatehouse/internal/metrics"
	"gatehouse/internal/vault"
)

// overviewSource says how this Gatehouse is, to a person on duty.
type overviewSource struct {
	*parts
	health *healthGlance
}

func newOverviewSource(p *parts) overviewSource {
	return overviewSource{p, &healthGlance{of: healthSource{p, time.Now()}}}
}

// maxDuties is how many duties the overview shows.
const maxDuties = 8

func (o overviewSource) Overview(ctx context.Context, recent bool) (console.OverviewView, error) {
	now := time.Now().UTC()
	m := o.metrics.Overview(now)
	v := console.OverviewView{Node: o.cfg.Node, At: m.At, Since: m.Since}
	duties, more, err := o.nearestDuties(ctx, maxDuties)
	if err != nil {
		return v, err
	}
	v.Duties, v.MoreDuties = duties, more
	m.DutiesOpen, m.NearestDeadline = dutiesNow(m.DutiesOpen, m.NearestDeadline, duties, more, now)
	wrong, looks := o.health.looks(ctx, now)
	ending, wide, err := o.serviceKeys(ctx, now)
	if err != nil {
		return v, err
	}
	v.Looks = slices.Concat(looks, keyLooks(wide))
	people, err := o.peopleNeeds(ctx, &m, ending, now)
	if err != nil {
		return v, err
	}
	v.Needs = slices.Concat(o.needs(&m), wrong, people, o.scimNeeds(ctx))
	slices.SortStableFunc(v.Needs, func(a, b console.Need) int { return cmp.Compare(graveness(b.Tone), graveness(a.Tone)) })
	v.Groups = o.groups(&m, now)
	v.Plots = o.plots(&m, now, recent)
	v.Keys, err = o.keyAges(ctx)
	return v, err
}

// needs are what somebody has to do now, the gravest first.
func (o overviewSource) needs(m *metrics.Overview) []console.Need {
	var out []console.Need
	add := func(tone console.Tone, text, href string) {
		out = append(out, console.Need{Tone: tone, Text: text, Href: href})
	}
	many := func(f metrics.Figure) bool { return f.Known && f.Value > 0 }
	n := func(f metrics.Figure, one, many string) string { return count(int(f.Value), one, many) }
	switch state := o.log.State(); state.Condition {
	case audit.Writable:
	case audit.Slow:
		add(console.Warn, "the log is slow", "/health")
	default:
		add(console.Bad, "the log is closed ("+string(state.Condition)+"), and so are the gates", "/health")
	}
	switch root := o.vault.RootStatus(); root.State {
	case vault.RootAnswers:
	case vault.RootLost:
		text := "the root key does not answer"
		if !root.Until.IsZero() {
			text += ": calls are served until " + root.Until.UTC().Format("2 Jan 15:04 UTC")
		}
		add(console.Bad, text, "/health")
	default:
		add(console.Bad, "the root key refuses, and nothing can be opened", "/health")
	}
	if many(m.DutiesOverdue) {
		add(console.Bad, n(m.DutiesOverdue, "duty is overdue", "duties are overdue"), "/people")
	}
	if many(m.EventsDead) {
		add(console.Bad, n(m.EventsDead, "event could not be delivered to your app", "events could not be delivered to your app"), "/log?"+m.EventsDead.Search())
	}
	if m.ExportLag.Level != metrics.Good {
		add(console.Warn, n(m.ExportLag, "entry is not exported yet", "entries are not exported yet"), "/log?"+m.ExportLag.Search())
	}
	if many(m.Reconnect) {
		add(console.Warn, n(m.Reconnect, "connection has to be made again by its person", "connections have to be made again by their people"), "/connections?state=reconnect_needed")
	}
	if m.Budget.Level != metrics.Good {
		add(console.Warn, "a budget at a platform is nearly used up", "/log?"+m.Budget.Search())
	}
	return out
}

// tile is a figure as the overview shows it.
func tile(f metrics.Figure, href string) console.Tile {
	t := console.Tile{Label: f.Title, Value: f.Text(), Href: href}
	if href == "" && f.Entries != nil {
		t.Href = "/log?" + f.Search()
	}
	if f.Unit != "seconds" && f.Unit != "percent" {
		t.Note = f.Unit
	}
	switch f.Level {
	case metrics.Warning:
		t.Tone = console.Warn
	case metrics.Bad:
		t.Tone = console.Bad
	}
	return t
}

func (o overviewSource) groups(m *metrics.Overview, now time.Time) []console.TileGroup {
	deadline := console.Tile{Label: "Nearest deadline", Value: "–", Note: "no duty is open", Href: "/log?action=duty.open"}
	if !m.NearestDeadline.IsZero() {
		left := m.NearestDeadline.Sub(now)
		deadline.Value, deadline.Note = "in "+console.Ahead(left), m.NearestDeadline.Format("2 Jan, 15:04 UTC")
		if left < 4*time.Hour {
			deadline.Tone = console.Warn
		}
	}
	log := console.Tile{Label: "Log", Value: string(o.log.State().Condition), Tone: console.Good, Href: "/health"}
	if log.Value != string(audit.Writable) {
		log.Tone = console.Bad
	}
	root := console.Tile{Label: "Root key", Value: string(o.vault.RootStatus().State), Tone: console.Good, Href: "/health"}
	if o.vault.RootStatus().State != vault.RootAnswers {
		root.Tone = console.Bad
	}
	key := tile(m.OldestKey, "/keys")
	m.Own.Title, m.Connected.Title, m.Reconnect.Title, m.LogAppend.Title = "Added by Gatehouse", "Connections", "To connect again", "95 % logged within"
	calls := []console.Tile{
		tile(m.Calls, "/calls"), tile(m.Refused, "/calls?outcome=refuse"), tile(m.Failed, "/calls?outcome=failed"),
		tile(m.Median, ""), tile(m.P95, ""), tile(m.Own, ""),
	}
	people := []console.Tile{
		tile(m.Connected, "/connections?state=healthy"), tile(m.Reconnect, "/connections?state=reconnect_needed"),
		tile(m.Renewals, ""), tile(m.RenewalsFailed, ""), tile(m.DutiesOpen, ""), deadline,
	}
	house := []console.Tile{log, root, key, tile(m.LogEntries, "/log"), tile(m.LogAppend, "/log"), tile(m.EventsWaiting, ""), tile(m.Egress, "")}
	if m.ExportLag.Known {
		house = append(house, tile(m.ExportLag, ""))
	}
	if m.Budget.Known {
		house = append(house, tile(m.Budget, ""))
	}
	return []console.TileGroup{
		{Name: "Calls", Note: "means of the last five minutes", Tiles: calls}, {Name: "People", Tiles: people}, {Name: "House", Tiles: house},
	}
}

// plots are the drawings of what the figures were.
func (o overviewSource) plots(m *metrics.Overview, now time.Time, recent bool) []console.Plotted {
	// A step of a plot is as long as two of those that are kept, so that none is empty
	// because of a clock that ticks a little late. What began lately is not drawn as a
	// point at the end of a day.
	span, most, step := 24*time.Hour, 144, 2*time.Minute
	if recent {
		span, most, step = 2*time.Hour, 120, 20*time.Second
	}
	span = min(span, max(10*time.Minute, now.Sub(m.Since)))
	steps := min(most, int(span/step))
	begin := now.Add(-span)
	line := func(f metrics.Figure, name string, tone console.Tone, scale float64, greatest bool) console.Series {
		points := o.metrics.Series(f.Metric, f.Labels...)
		if recent {
			points = o.metrics.Recent(f.Metric, f.Labels...)
		}
		return console.Series{Name: name, Tone: tone, Points: thinned(points, begin, span, steps, scale, greatest)}
	}
	// What counts things ends at what the tile above says: its points are taken at most
	// every few seconds, and two figures for one thing are one too many.
	counted := func(f metrics.Figure, name string, tone console.Tone) console.Series {
		s := line(f, name, tone, 1, true)
		if f.Known && len(s.Points) > 0 {
			s.Points[len(s.Points)-1].Value = f.Value
		}
		return s
	}
	plot := func(title, unit, href string, series ...console.Series) console.Plotted {
		return console.Plotted{Title: title, Unit: unit, Href: href, Begin: begin, End: now, Series: series}
	}
	return []console.Plotted{
		plot("Calls a minute", "", "/calls", line(m.Calls, "all", console.Plain, 1, false), line(m.Refused, "refused", console.Warn, 1, false), line(m.Failed, "failed", console.Bad, 1, false)),
		plot("Time of a call", " ms", "/log?"+m.P95.Search(), line(m.Median, "median", console.Off, 1000, true), line(m.P95, "95 %", console.Plain, 1000, true)),
		plot("Renewals a minute", "", "/log?"+m.Renewals.Search(), line(m.Renewals, "done", console.Plain, 1, false), line(m.RenewalsFailed, "failed", console.Bad, 1, false)),
		plot("Connections", "", "/connections", counted(m.Connected, "connected", console.Plain), counted(m.Reconnect, "to connect again", console.Warn)),
	}
}

// thinned puts points into as many steps as can be told apart in a plot: their mean, or
// the greatest. A step without any is a gap.
func thinned(points []metrics.Point, begin time.Time, span time.Duration, steps int, scale float64, greatest bool) []console.Point {
	sums, counts := make([]float64, steps), make([]int, steps)
	for _, p := range points {
		at := int(float64(steps) * float64(p.At.Sub(begin)) / float64(span))
		if at < 0 || at >= steps || math.IsNaN(p.Value) {
			continue
		}
		switch {
		case !greatest:
			sums[at] += p.Value
			counts[at]++
		case counts[at] == 0 || p.Value > sums[at]:
			sums[at], counts[at] = p.Value, 1
		}
	}
	out := make([]console.Point, steps)
	for i := range out {
		out[i] = console.Point{At: begin.Add(span * time.Duration(i+1) / time.Duration(steps)), Value: math.NaN()}
		if counts[i] > 0 {
			out[i].Value = scale * sums[i] / float64(counts[i])
		}
	}
	return out
}

// nearestDuties are the open duties whose deadlines are the nearest, and whether there
// are others.
func (p *parts) nearestDuties(ctx context.Context, most int) ([]console.DutyLine, bool, error) {
	now := time.Now()
	var list []cases.Duty
	for _, state := range []cases.State{cases.Overdue, cases.Open} {
		some, err := p.cases.List(ctx, cases.Filter{State: state, Now: now, Limit: 100})
		if err != nil {
			return nil, false, err
		}
		list = append(list, some...)
	}
	slices.SortStableFunc(list, func(a, b cases.Duty) int { return a.Deadline.Compare(b.Deadline) })
	more := len(list) > most
	list = list[:min(len(list), most)]
	out := make([]console.DutyLine, 0, len(list))
	for _, d := range list {
		out = append(out, dutyLine(d, now))
	}
	return out, more, nil
}

// dutiesNow are the figures of duties as a list of all that are open has them, so that
// the tiles say what the table says; a sample is up to half a minute old. Of a list that
// is cut, the nearest deadline is known all the same, and the sample's count stands.
func dutiesNow(open metrics.Figure, nearest time.Time, list []console.DutyLine, more bool, now time.Time) (metrics.Figure, time.Time) {
	if !more {
		open.Value, open.Known, nearest = float64(len(list)), true, time.Time{}
	}
	for _, d := range list {
		if d.Deadline.After(now) {
			return open, d.Deadline
		}
	}
	return open, nearest
}

// keyAges says since when the versions in force are in force, the oldest first.
func (o overviewSource) keyAges(ctx context.Context) ([]console.KeyLine, error) {
	domains, err := o.db.Vault().DomainKeys(ctx)
	if err != nil {
		return nil, err
	}
	var out []console.KeyLine
	for _, k := range domains {
		if k.State == vault.Active {
			out = append(out, console.KeyLine{Name: strings.ToLower(string(k.Domain)), Created: k.Created})
		}
	}
	slices.SortFunc(out, func(a, b console.KeyLine) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}
