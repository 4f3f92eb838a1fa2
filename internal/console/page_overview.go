package console

import (
	"context"
	"slices"
	"strings"
	"time"
)

// OverviewSource says how things are, for a person on duty.
type OverviewSource interface {
	// Overview returns the figures, with plots of the last day, or of the last hours if
	// recent. It is asked often, and so reads what is in memory or cheap.
	Overview(ctx context.Context, recent bool) (OverviewView, error)
}

// OverviewView is what the page Overview shows.
type OverviewView struct {
	// Of says what the figures are of: this process, since when.
	Node  string
	At    time.Time
	Since time.Time
	// Needs are what somebody has to do now, the gravest first.
	Needs []Need
	// Looks are what is not as it should be, and can wait.
	Looks  []Need
	Groups []TileGroup
	Plots  []Plotted
	Duties []DutyLine
	// MoreDuties says that there are open ones beside Duties.
	MoreDuties bool
	Keys       []KeyLine
}

// Need is something that somebody has to do now.
type Need struct {
	Tone Tone
	// Text is part of a sentence: "the log is closed".
	Text string
	Href string
}

// TileGroup is a row of figures.
type TileGroup struct {
	Name  string
	Note  string
	Tiles []Tile
}

// Plotted is what a plot is drawn from.
type Plotted struct {
	Title, Unit, Href string
	Begin, End        time.Time
	Series            []Series
}

// DutyLine is a duty in a list.
type DutyLine struct {
	ID, Kind, App, State string
	Deadline             time.Time
	// Waiting is what it lacks, in words.
	Waiting []string
}

// KeyLine is the age of a key.
type KeyLine struct {
	Name    string
	Created time.Time
}

// Overview returns the page that a person on duty looks at.
func Overview(from OverviewSource) Page {
	p := overviewPage{from}
	return Page{routes: []route{
		get("/{$}", overviewRead, p.show),
		stream("/overview/live", overviewRead, p.feed).checked(func(v *visit) error {
			_, err := overviewDay(v)
			return err
		}),
	}}
}

type overviewPage struct{ from OverviewSource }

// overviewEvery is how often a live overview is drawn again: as often as figures are
// taken.
const overviewEvery = 10 * time.Second

// overviewData is what the template shows.
type overviewData struct {
	OverviewView
	Tone   Tone
	Doing  string
	Plots  []Plot
	Duties Table
	Keys   Table
	Recent bool
	Live   string
}

func (p overviewPage) show(v *visit) error {
	data, err := p.data(v)
	if err != nil {
		return err
	}
	return v.show("overview.html", "Overview", data)
}

// overviewDay reports whether the plots are to be of a day.
func overviewDay(v *visit) (bool, error) {
	of, err := v.choice("of", "Time of the plots", []string{"day"})
	return of == "day", err
}

func (p overviewPage) data(v *visit) (overviewData, error) {
	day, err := overviewDay(v)
	if err != nil {
		return overviewData{}, err
	}
	recent := !day
	o, err := p.from.Overview(v.context(), recent)
	if err != nil {
		return overviewData{}, err
	}
	d := overviewData{OverviewView: o, Tone: Good, Recent: recent, Live: "/overview/live"}
	if !recent {
		d.Live += "?of=day"
	}
	switch len(o.Needs) {
	case 0:
		d.Doing = "Nothing needs doing now."
	case 1:
		d.Doing = "One thing needs doing now:"
	default:
		d.Doing = count(int64(len(o.Needs))) + " things need doing now:"
	}
	for i := range o.Needs {
		if o.Needs[i].Tone == Bad || d.Tone == Good {
			d.Tone = o.Needs[i].Tone
		}
		o.Needs[i].Href = v.reach(o.Needs[i].Href)
	}
	d.Looks = nil
	for _, n := range o.Looks {
		n.Href = v.reach(n.Href)
		d.Looks = append(d.Looks, n)
	}
	for _, g := range o.Groups {
		for i := range g.Tiles {
			t := &g.Tiles[i]
			t.Href = v.reach(t.Href)
			// A figure that stands out is named above, where one looks first, and once: not if
			// what it leads to needs doing anyway.
			known := t.Href != "" && slices.ContainsFunc(o.Needs, func(n Need) bool { return n.Href == t.Href })
			if !known && (t.Tone == Warn || t.Tone == Bad) {
				d.Looks = append(d.Looks, Need{t.Tone, strings.TrimSpace(lowerFirst(t.Label) + " " + t.Value + " " + t.Note), t.Href})
			}
		}
	}
	for _, s := range o.Plots {
		d.Plots = append(d.Plots, newPlot(s.Title, s.Unit, v.reach(s.Href), s.Begin, s.End, s.Series...))
	}
	d.Duties = dutyTable(v, o.Duties)
	d.Keys = Table{Caption: "Keys by age", Columns: []Column{{Name: "Key"}, {Name: "In force since"}}}
	for _, k := range o.Keys {
		name := textCell(k.Name)
		if href := v.reach("/keys"); href != "" {
			name = linkCell(k.Name, href)
		}
		d.Keys.Rows = append(d.Keys.Rows, Row{Cells: []Cell{name, timeCell(k.Created)}})
	}
	return d, nil
}

func lowerFirst(s string) string { return strings.ToLower(s[:min(1, len(s))]) + s[min(1, len(s)):] }

// feed keeps an overview that somebody looks at up to date.
func (p overviewPage) feed(v *visit, to *feed) error {
	began := time.Now()
	for {
		if err := to.wait(nil, overviewEvery); err != nil {
			return err
		}
		v.now = v.now.Add(time.Since(began))
		began = time.Now()
		data, err := p.data(v)
		if err != nil {
			return err
		}
		if err := to.send("replace", "overview.html", "overview", data); err != nil {
			return err
		}
	}
}

// dutyTable lists duties, the nearest deadline first.
func dutyTable(v *visit, list []DutyLine) Table {
	t := Table{Caption: "Duties", Columns: []Column{{Name: "Duty"}, {Name: "Kind"}, {Name: "App"}, {Name: "State"}, {Name: "Deadline"}, {Name: "Waits for"}}, Empty: Empty{
		Title: "No duty is open",
		Text:  "A duty begins when a person removes the app or asks for deletion at a platform, when content is removed there, or when somebody is erased here. It has a deadline, and stays on this page until it is done.",
	}}
	for _, d := range list {
		id := idCell(d.ID, "")
		if v.may(peopleRead) {
			id = idCell(d.ID, dutyHref(d.ID))
		}
		waits := ""
		if len(d.Waiting) > 0 {
			waits = d.Waiting[0]
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{id, textCell(wordOf(d.Kind)), textCell(d.App), badgeCell(dutyTone(d.State), d.State), timeCell(d.Deadline), textCell(waits)}})
	}
	return t
}

func dutyTone(state string) Tone {
	switch state {
	case "overdue":
		return Bad
	case "open":
		return Warn
	case "done":
		return Good
	}
	return Off
}
