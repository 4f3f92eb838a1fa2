package main

import (
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/cases"
	"gatehouse/internal/console"
	"gatehouse/internal/identity"
	"gatehouse/internal/metrics"
)

func TestThinned(t *testing.T) {
	begin := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	at := func(minutes float64, value float64) metrics.Point {
		return metrics.Point{At: begin.Add(time.Duration(minutes * float64(time.Minute))), Value: value}
	}
	points := []metrics.Point{at(-1, 100), at(.5, 2), at(.9, 4), at(2.5, 8), at(2.6, math.NaN()), at(2.7, 6), at(4, 100)}
	for _, c := range []struct {
		greatest bool
		want     [4]float64
	}{{false, [4]float64{30, -1, 70, -1}}, {true, [4]float64{40, -1, 80, -1}}} {
		got := thinned(points, begin, 4*time.Minute, 4, 10, c.greatest)
		if len(got) != 4 || !got[3].At.Equal(begin.Add(4*time.Minute)) {
			t.Fatalf("steps %v", got)
		}
		for i, want := range c.want {
			if gap := math.IsNaN(got[i].Value); gap != (want < 0) || !gap && got[i].Value != want {
				t.Errorf("the greatest %v: step %d is %v, want %v", c.greatest, i, got[i].Value, want)
			}
		}
	}
}

// Of the steps of a duty, one is under way until it is closed, and what was refused says
// so.
func TestStepsOfADuty(t *testing.T) {
	now := time.Now()
	states := func(d cases.Duty) string {
		out := ""
		for _, s := range dutyView(d, now, "https://app.example").Steps {
			out += s.State + " "
		}
		return out
	}
	d := cases.Duty{ID: "dty1", Kind: cases.Erasure, Person: "PERSON", Code: "CODE", Opened: now, Deadline: now.Add(time.Hour)}
	for _, step := range []struct {
		take func()
		want string
	}{
		{func() {}, "done now waiting waiting waiting waiting "},
		{func() { d.Asked = now }, "done now done waiting waiting waiting "},
		{func() { d.Revoked = now }, "done done done now waiting waiting "},
		{func() { d.Answered, d.Shredded = now, now }, "done done done done done now "},
		{func() { d.Closed = now }, "done done done done done done "},
		{func() { d.Justification = "a law" }, "done failed "},
	} {
		step.take()
		if got := states(d); got != step.want {
			t.Errorf("steps %s, want %s", got, step.want)
		}
	}
	if v := dutyView(d, now, "https://app.example"); v.StatusPage != "https://app.example/_gatehouse/deletion/CODE" {
		t.Errorf("the person's page is %s", v.StatusPage)
	}
	content := cases.Duty{ID: "dty2", Kind: cases.ContentRemoved, Opened: now, Deadline: now}
	if got := states(content); got != "done now waiting waiting " {
		t.Errorf("of content: %s", got)
	}
	if v := dutyView(content, now.Add(time.Second), ""); v.StatusPage != "" || v.State != "overdue" {
		t.Errorf("of content: %+v", v)
	}
}

// What the page Health warns of, the overview says too, and asks for at most so often.
func TestOverviewSaysWhatHealthWarnsOf(t *testing.T) {
	_, p := consoleParts(t)
	o := newOverviewSource(p)
	now := time.Now()
	_, looks := o.health.looks(t.Context(), now)
	if !slices.ContainsFunc(looks, func(n console.Need) bool { return n.Text == "backup: not in order" && n.Href == "/health" }) {
		t.Fatalf("worth a look is %+v", looks)
	}
	o.health.said = nil
	if _, again := o.health.looks(t.Context(), now.Add(glanceEvery-time.Second)); len(again) > 0 {
		t.Errorf("it is asked for at once again: %+v", again)
	}
	if _, later := o.health.looks(t.Context(), now.Add(glanceEvery)); len(later) != len(looks) {
		t.Errorf("later it is %+v", later)
	}
	view, err := o.Overview(t.Context(), true)
	if err != nil || len(view.Looks) != len(looks) {
		t.Errorf("the overview says %+v, %v", view.Looks, err)
	}
}

// TestOverviewCountsWideKeys: a key for every one of several purposes is worth a look, one
// for each is not, nor one that works no more.
func TestOverviewCountsWideKeys(t *testing.T) {
	h, p := consoleParts(t)
	o := newOverviewSource(p)
	name := slices.Sorted(maps.Keys(p.cfg.Services))[0]
	purposes := p.cfg.Services[name].Purposes
	wide := func() string {
		t.Helper()
		_, keys, err := o.serviceKeys(t.Context(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, n := range keyLooks(keys) {
			said = append(said, n.Text+" "+n.Href)
		}
		return strings.Join(said, "; ")
	}
	if len(purposes) < 2 {
		t.Fatalf("the service %s has the purposes %q: %s", name, purposes, h.dir)
	}
	for _, purpose := range []gatehouse.PurposeName{purposes[0], identity.NoPurpose} {
		if _, _, err := p.identity.MakeServiceKey(t.Context(), identity.KeyRequest{Service: name, Purpose: purpose}); err != nil {
			t.Fatal(err)
		}
	}
	if got := wide(); got != "" {
		t.Errorf("keys for one purpose each: %q", got)
	}
	key, _, err := p.identity.MakeServiceKey(t.Context(), identity.KeyRequest{Service: name})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := wide(), "1 service key opens every purpose: "+string(name)+" /services"; got != want {
		t.Errorf("the overview says %q, want %q", got, want)
	}
	line, _, err := servicesSource{p}.line(t.Context(), identity.Service{Name: name})
	if err != nil || line.Wide != 1 || line.Keys != 3 {
		t.Errorf("the list says %+v, %v", line, err)
	}
	if err := p.identity.RevokeServiceKey(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if got := wide(); got != "" {
		t.Errorf("of a key that was revoked: %q", got)
	}
}

// The tiles of duties say what the table below them says, whenever the figures were
// sampled.
func TestDutiesNow(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(hours ...int) (list []console.DutyLine) {
		for _, h := range hours {
			list = append(list, console.DutyLine{Deadline: now.Add(time.Duration(h) * time.Hour)})
		}
		return list
	}
	sampled := metrics.Figure{Value: 9, Known: true}
	for name, c := range map[string]struct {
		list    []console.DutyLine
		more    bool
		open    float64
		nearest time.Time
	}{
		"none":          {nil, false, 0, time.Time{}},
		"two":           {at(24, 48), false, 2, now.Add(24 * time.Hour)},
		"one overdue":   {at(-1, 48), false, 2, now.Add(48 * time.Hour)},
		"all overdue":   {at(-2, -1), false, 2, time.Time{}},
		"a list is cut": {at(-1, 24), true, 9, now.Add(24 * time.Hour)},
		"cut, overdue":  {at(-2, -1), true, 9, now.Add(time.Hour)},
	} {
		if open, nearest := dutiesNow(sampled, now.Add(time.Hour), c.list, c.more, now); open.Value != c.open || !open.Known || !nearest.Equal(c.nearest) {
			t.Errorf("%s: %v, %v; want %v, %v", name, open.Value, nearest, c.open, c.nearest)
		}
	}
}
