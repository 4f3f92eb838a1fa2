package console

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

// LogSource reads the log. Actor is the account of whoever looks, for the log.
type LogSource interface {
	// Choices are what the search can be narrowed by.
	Choices() LogChoices
	// Search returns a page of entries, the newest first. That somebody searches for
	// those of one person or connection is recorded when after is "". A query that
	// cannot be meant is gatehouse.ErrInvalid.
	Search(ctx context.Context, actor string, q LogQuery, after string, most int) (LogPage, error)
	// Entry returns one entry with its intent or outcome; nothing of it is opened.
	Entry(ctx context.Context, id string) (LogEntry, error)
	// Reveal opens the personal fields of an entry, after that is on record.
	Reveal(ctx context.Context, actor, id string) ([]NamedValue, error)
	// Proof returns the file that proves that an entry stands in the log.
	Proof(ctx context.Context, id string) ([]byte, error)
}

// LogChoices are the names that entries of the log may have.
type LogChoices struct{ Services, Purposes, Apps, Platforms, Actions []string }

// LogQuery narrows the log. "" is everything.
type LogQuery struct {
	Action, App, Code, Destination, Kind, Operation, Platform, Purpose, Rule, Service, Severity, Status, Verdict string
	// NoService wants what no service did.
	NoService bool
	// Facts have the form NAME=VALUE.
	Facts []string
	// Person and Connection are identifiers that mean nothing outside.
	Person, Connection string
	Since, Until       time.Time
}

// LogPage is a page of entries.
type LogPage struct {
	Entries []EntryLine
	// Next continues the list; "" at its end.
	Next string
}

// Log returns the pages about the log.
func Log(from LogSource, checks LogChecker) Page {
	p := logPage{from, checks}
	return Page{routes: []route{
		get("/log", logRead, p.search),
		get("/log/state", logRead, p.state),
		stream("/log/state/live", logRead, p.stateFeed),
		post("/log/verify", logRead, p.verify),
		get("/log/in-doubt", logRead, p.inDoubt),
		get("/log/{id}", logRead, p.one),
		get("/log/{id}/proof", logRead, p.proof),
		post("/log/{id}/reveal", logReveal, p.reveal).demanding(),
	}}
}

type logPage struct {
	from   LogSource
	checks LogChecker
}

// maxLogRows is how many entries one page of the search has.
const maxLogRows = 50

// The words that entries have.
var (
	severities = []string{"info", "notice", "warning", "alert"}
	verdicts   = []string{"allow", "done", "refuse", "report", "failed", "aborted"}
	entryKinds = []string{"intent", "outcome", "event"}
)

func severityTone(s string) Tone {
	switch s {
	case "alert":
		return Bad
	case "warning":
		return Warn
	case "notice":
		return Plain
	}
	return Off
}

// filterRule is the rule of what refuses a list's filter.
const filterRule = "console/filter"

// refuseFilter is the answer to a search that cannot be meant.
func refuseFilter(what string) error {
	return wire.Refuse(gatehouse.ErrInvalid, filterRule, what)
}

// moment reads a time, a day in UTC, or how long ago it was; "" is the zero time.
func moment(name, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(form, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, refuseFilter(name + ": write how long ago, such as 24h, a day such as 2026-05-04, or a time such as 2026-05-04T12:00:00Z.")
}

// noService is what "Done by" is when it was no service.
const noService = "operator"

// logQuery reads the search out of the address. Its names are those of the figures' links.
func logQuery(v *visit) (q LogQuery, err error) {
	q = LogQuery{
		Action: v.query("action"), App: v.query("app"), Code: v.query("code"), Destination: v.query("destination"), Kind: v.query("kind"),
		Operation: v.query("operation"), Platform: v.query("platform"), Purpose: v.query("purpose"), Rule: v.query("rule"), Service: v.query("service"),
		Severity: v.query("severity"), Status: v.query("status"), Verdict: v.query("verdict"),
		Person: v.query("person"), Connection: v.query("connection"),
	}
	for _, f := range v.r.URL.Query()["fact"] {
		if f = strings.TrimSpace(f); f != "" && len(f) <= 500 {
			q.Facts = append(q.Facts, f)
		}
	}
	if by := v.query("operator"); by != "" {
		q.Facts = append(q.Facts, "operator="+by)
	}
	switch by := v.query("actor"); by {
	case "":
	case noService:
		q.NoService = true
	default:
		q.Service = by
	}
	if q.Person != "" && !v.may(peopleRead) || q.Connection != "" && !v.may(connectionsRead) {
		return q, wire.Refuse(gatehouse.ErrDenied, "console/permission", "Your role does not have the permission to look for the entries of one person or connection. An owner can grant it.")
	}
	if q.Since, err = moment("From", v.query("since"), v.now); err == nil {
		q.Until, err = moment("Until", v.query("until"), v.now)
	}
	return q, err
}

// logSearch is what the search shows.
type logSearch struct {
	Wrong       string
	Main, More  []Field
	Open        bool // whether More has anything
	Clear       string
	Table       Table
	People      string // where somebody is looked up by name
	Whose       string // whose entries these are
	Hidden      []Hidden
	State       string
	InDoubtHref string
}

func (p logPage) search(v *visit) error {
	data, err := p.filter(v)
	if err != nil {
		return err
	}
	q, err := logQuery(v)
	var page LogPage
	if err == nil {
		page, err = p.from.Search(v.context(), v.actor(), q, v.query("after"), maxLogRows)
	}
	if problem := wire.ProblemOf(err); err != nil && problem.Status == 400 && problem.Detail != "" {
		data.Wrong = problem.Detail
		return v.showStatus(problem.Status, "log.html", "Log", data)
	}
	if err != nil {
		return err
	}
	data.Table = logTable(v, "Entries of the log, the newest first", page.Entries)
	switch {
	case page.Next != "" && len(page.Entries) == 0:
		data.Table.Empty = Empty{Title: "None so far", Text: "What was looked through so far does not fit; older entries may.", Href: p.next(v, q, page.Next), Link: "Look further"}
	case data.Clear != "":
		data.Table.Empty = Empty{Title: "No entry fits", Text: "Values are compared exactly. Take something out of the search.", Href: "/log", Link: "Show all"}
	default:
		data.Table.Empty = Empty{Title: "Nothing is written yet", Text: "Every call, grant, change and refusal becomes an entry here, before anything is done. The same search from the host:", Command: "gatehouse audit search --since 24h"}
	}
	if page.Next != "" {
		data.Table.Pager.After = p.next(v, q, page.Next)
	}
	if v.query("after") != "" {
		data.Table.Pager.Before = v.with("after", "")
		data.Table.Pager.Text = "older entries"
	}
	return v.show("log.html", "Log", data)
}

// next is the address of the next page. Times are absolute there: the place in the list
// belongs to exactly one search.
func (p logPage) next(v *visit, q LogQuery, after string) string {
	pairs := []string{"after", after}
	for name, at := range map[string]time.Time{"since": q.Since, "until": q.Until} {
		if !at.IsZero() {
			pairs = append(pairs, name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return v.with(pairs...)
}

// filter is the form of the search as it is filled in.
func (p logPage) filter(v *visit) (logSearch, error) {
	c := p.from.Choices()
	text := func(name, label, example string) Field {
		return Field{Name: name, Label: label, Value: v.query(name), Placeholder: example, Max: 500, Autocomplete: "off"}
	}
	choose := func(name, label string, of []string) Field {
		return Field{Name: name, Label: label, Type: "select", Options: chosenOf(v.query(name), of)}
	}
	actor := choose("actor", "Done by", append(slices.Clone(c.Services), noService))
	if i := slices.IndexFunc(actor.Options, func(o Option) bool { return o.Value == noService }); i >= 0 {
		actor.Options[i].Label = "no service"
	}
	data := logSearch{
		Main: []Field{
			choose("action", "Action", c.Actions), choose("verdict", "Outcome", verdicts), choose("severity", "Severity", severities),
			actor, choose("purpose", "Purpose", c.Purposes), text("since", "From", "24h or 2026-05-04"),
		},
		More: []Field{
			text("until", "Until", "1h or 2026-05-05"), text("operation", "Operation", "GET /2/users/me"), text("destination", "Destination", "api.example.com"),
			text("rule", "Rule", "refuse/undeclared-call"), text("code", "Code", "GH2011W"), text("status", "Status", "429 or 4xx"),
			choose("kind", "Kind", entryKinds), choose("platform", "Platform", c.Platforms), choose("app", "App", c.Apps), text("fact", "Fact", "protocol=h2"),
		},
		State: "/log/state", InDoubtHref: "/log/in-doubt",
	}
	if v.may(operatorsRead) {
		names, err := v.names()
		if err != nil {
			return data, err
		}
		f := Field{Name: "operator", Label: "Operator", Type: "select", Options: []Option{{Label: "All", Selected: v.query("operator") == ""}}}
		for _, id := range sortedByName(names) {
			if id == "" {
				continue
			}
			f.Options = append(f.Options, Option{Value: string(id), Label: names[id], Selected: v.query("operator") == string(id)})
		}
		data.More = append(data.More, f)
	}
	if v.may(connectionsRead) {
		data.More = append(data.More, text("connection", "Connection", "con…"))
	}
	if v.may(peopleRead) {
		data.More = append(data.More, text("person", "Person (id)", ""))
		data.People = v.reach("/people")
	}
	for _, f := range data.More {
		if v.query(f.Name) != "" {
			data.Open = true
		}
	}
	// A service of a figure's link is kept, though the form says "Done by".
	if s := v.query("service"); s != "" && v.query("actor") == "" {
		data.Main[3].Options = chosenOf(s, c.Services)
	}
	if v.r.URL.RawQuery != "" {
		data.Clear = "/log"
	}
	return data, nil
}

// chosenOf is anyOf for words of others, which are shown as they are. One that is
// chosen and not in the list is offered too: a search must not change by being shown.
func chosenOf(selected string, of []string) []Option {
	out := []Option{{Label: "All", Selected: selected == ""}}
	found := selected == ""
	for _, s := range of {
		out = append(out, Option{Value: s, Label: s, Selected: s == selected})
		found = found || s == selected
	}
	if !found {
		out = append(out, Option{Value: selected, Label: selected, Selected: true})
	}
	return out
}

// sortedByName are accounts in order of what they are called.
func sortedByName(names map[operator.AccountID]string) []operator.AccountID {
	return sortedKeys(names, func(id operator.AccountID) string { return strings.ToLower(names[id]) + string(id) })
}

// logTable lists entries, each leading to itself.
func logTable(v *visit, caption string, list []EntryLine) Table {
	t := Table{Caption: caption, Columns: []Column{
		{Name: "When"}, {Name: "Code"}, {Name: "Action"}, {Name: "Outcome"}, {Name: "Operation"}, {Name: "Purpose"}, {Name: "Service"}, {Name: "Rule"},
	}}
	for _, e := range list {
		t.Rows = append(t.Rows, Row{Cells: []Cell{
			clockCell(e.At), badgeCell(severityTone(e.Severity), e.Code), linkCell(e.Action, entryHref(e.ID)), outcomeCell(e), textCell(e.Operation), textCell(e.Purpose), textCell(e.Service), textCell(e.Rule),
		}})
	}
	return t
}

// outcomeCell is how an entry came out; an intent has only begun.
func outcomeCell(e EntryLine) Cell {
	switch {
	case e.Kind == "intent":
		return badgeCell(Off, "begun")
	case e.Verdict == "":
		return textCell("–")
	}
	return verdictCell(e.Verdict)
}
