package console

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"
)

// PurposesSource tells what may be called for, and what is.
type PurposesSource interface {
	Purposes(ctx context.Context) (PurposesView, error)
}

// PurposesView is what is declared and what was observed of it.
type PurposesView struct {
	// Reports is when report mode ends; zero when it is not in force.
	Reports time.Time
	// Since is when observing began, zero if nothing was observed yet. Warning says
	// what may be missing.
	Since    time.Time
	Warning  string
	Purposes []PurposeView
}

// PurposeView is a purpose with its contract and its use.
type PurposeView struct {
	Name, Why, App, Platform, Keep string
	Scopes                         []string
	Services                       []PurposeService
	Calls                          []PurposeCall
	// Unused is what is declared and was never used; Withheld are fields of replies that
	// report mode let through and enforce mode leaves out.
	Unused   []UnusedLine
	Withheld []UnusedLine
}

// PurposeService is a service that may call for it.
type PurposeService struct{ Name, Rate string }

// PurposeCall is an operation, declared or used or both.
type PurposeCall struct {
	Call     string
	Declared bool
	// Bounds say what it may carry and what of the reply is needed.
	Params, Body, Fields string
	// Count is how often it was used, Reported how often report mode alone allowed it.
	Count, Reported int64
	// Last is the day of its last use.
	Last time.Time
}

// UnusedLine is something that nothing needs.
type UnusedLine struct{ Kind, What, Why string }

// Purposes returns the pages about what may be called for.
func Purposes(from PurposesSource) Page {
	p := purposesPage{from}
	return Page{routes: []route{
		get("/purposes", purposesRead, p.list),
		get("/purposes/{name}", purposesRead, p.one),
	}}
}

type purposesPage struct{ from PurposesSource }

func purposeHref(name string) string { return "/purposes/" + url.PathEscape(name) }

// uses adds up what was observed of a purpose.
func (p PurposeView) uses() (calls, reported int64, last time.Time) {
	for _, c := range p.Calls {
		calls, reported = calls+c.Count, reported+c.Reported
		if c.Last.After(last) {
			last = c.Last
		}
	}
	return calls, reported, last
}

func dayCell(t time.Time) Cell {
	if t.IsZero() {
		return textCell("never")
	}
	return textCell(day(t))
}

func (p purposesPage) list(v *visit) error {
	view, err := p.from.Purposes(v.context())
	if err != nil {
		return err
	}
	t := Table{Caption: "Purposes", Columns: []Column{{Name: "Purpose"}, {Name: "Why"}, {Name: "App"}, {Name: "Calls declared", Number: true}, {Name: "Calls made", Number: true}, {Name: "Last used"}, {Name: "Declared, not used", Number: true}, {Name: "By report mode alone", Number: true}}, Empty: Empty{
		Title: "No purpose is declared", Text: "A purpose says in one sentence why your app needs data, and which calls and fields that takes. Let Gatehouse watch your app for some days, and it suggests them:", Command: "gatehouse policy suggest",
	}}
	reporting := slices.ContainsFunc(view.Purposes, func(x PurposeView) bool {
		_, reported, _ := x.uses()
		return reported > 0
	})
	if !reporting {
		t.Columns = t.Columns[:len(t.Columns)-1]
	}
	for _, x := range view.Purposes {
		calls, reported, last := x.uses()
		declared := 0
		for _, c := range x.Calls {
			if c.Declared {
				declared++
			}
		}
		row := Row{Cells: []Cell{
			linkCell(x.Name, purposeHref(x.Name)), textCell(x.Why), textCell(x.App), countCell(int64(declared)), countCell(calls), dayCell(last), countCell(int64(len(x.Unused))),
		}}
		if reporting {
			row.Cells = append(row.Cells, countCell(reported))
		}
		t.Rows = append(t.Rows, row)
	}
	return v.show("purposes.html", "Purposes", struct {
		V     PurposesView
		Table Table
	}{view, t})
}

func (p purposesPage) one(v *visit) error {
	view, err := p.from.Purposes(v.context())
	if err != nil {
		return err
	}
	for _, x := range view.Purposes {
		if x.Name == v.r.PathValue("name") {
			return p.show(v, view, x)
		}
	}
	return errNoSuch("purpose")
}

func (p purposesPage) show(v *visit, view PurposesView, x PurposeView) error {
	data := struct {
		V        PurposesView
		P        PurposeView
		Facts    Pairs
		Services Table
		Calls    Table
		// CallsUnused says that calls, which Unused leaves out, are among what is not used.
		CallsUnused bool
		Unused      Table
		Withheld    Table
		Reported    string
		Log         string
	}{V: view, P: x, Log: v.reach("/log?" + url.Values{"purpose": {x.Name}}.Encode())}
	calls, reported, last := x.uses()
	data.Facts = Pairs{{"App", textCell(orNone(x.App, "none: your own data only"))}, {"Platform", textCell(x.Platform)}, {"Scopes", textCell(orNone(strings.Join(x.Scopes, ", "), "none"))}, {"Kept for at most", textCell(orNone(x.Keep, "no bound"))}, {"Calls observed", countCell(calls)}, {"Last used", dayCell(last)}}
	data.Services = Table{Caption: "Services that may call for it", Columns: []Column{{Name: "Service"}, {Name: "Most requests"}}, Empty: Empty{Title: "No service may", Text: "Name the purpose under a service in the configuration."}}
	for _, s := range x.Services {
		cell := textCell(s.Name)
		if href := v.reach(serviceHref(s.Name)); href != "" {
			cell = linkCell(s.Name, href)
		}
		data.Services.Rows = append(data.Services.Rows, Row{Cells: []Cell{cell, textCell(orNone(s.Rate, "no limit of our own"))}})
	}
	data.Calls = Table{Caption: "Calls", Columns: []Column{{Name: "Call"}, {Name: "Contract"}, {Name: "Parameters"}, {Name: "Body"}, {Name: "Fields of the reply"}, {Name: "Used", Number: true}, {Name: "Last used"}}, Empty: Empty{Title: "No calls", Text: "The purpose is for data of your own, which it seals or keeps."}}
	if reported > 0 {
		data.Calls.Columns = append(data.Calls.Columns, Column{Name: "By report mode alone", Number: true})
	}
	for _, c := range x.Calls {
		contract := badgeCell(Good, "declared")
		switch {
		case !c.Declared:
			contract = badgeCell(Bad, "not declared")
		case c.Count == 0:
			contract = badgeCell(Off, "declared, not used")
		}
		row := Row{Cells: []Cell{textCell(c.Call), contract, textCell(c.Params), textCell(c.Body), textCell(c.Fields), countCell(c.Count), dayCell(c.Last)}}
		if reported > 0 {
			row.Cells = append(row.Cells, countCell(c.Reported))
		}
		data.Calls.Rows = append(data.Calls.Rows, row)
	}
	// Calls are in the list of calls already, with what their contract says.
	rest := slices.DeleteFunc(slices.Clone(x.Unused), func(u UnusedLine) bool { return u.Kind == "call" })
	data.CallsUnused = len(rest) < len(x.Unused)
	data.Unused = unusedTable("Declared and not used", rest, Empty{Title: "Nothing is unused", Text: "Everything that is declared was used, as far as it can be known."})
	if view.Since.IsZero() {
		data.Unused.Empty = Empty{Title: "Nothing was observed yet", Text: "What is not used can be told when your app has worked for some days."}
	}
	data.Withheld = unusedTable("Passed by report mode", x.Withheld, Empty{})
	if reported > 0 {
		data.Reported = v.reach("/log?" + url.Values{"purpose": {x.Name}, "verdict": {"report"}}.Encode())
	}
	return v.show("purpose.html", x.Name, data)
}

func unusedTable(caption string, lines []UnusedLine, empty Empty) Table {
	t := Table{Caption: caption, Columns: []Column{{Name: "Kind"}, {Name: "What"}, {Name: "Why"}}, Empty: empty}
	for _, u := range lines {
		t.Rows = append(t.Rows, Row{Cells: []Cell{textCell(u.Kind), textCell(u.What), textCell(u.Why)}})
	}
	return t
}

// orNone is s, or what stands for nothing.
func orNone(s, none string) string {
	if s == "" {
		return none
	}
	return s
}
