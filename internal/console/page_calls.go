package console

import (
	"context"
	"time"
)

// CallsSource shows calls as the log has them. They name no person.
type CallsSource interface {
	// Calls returns the newest outcomes and refusals, at most as many as asked for.
	Calls(ctx context.Context, q CallsQuery, most int) (CallsView, error)
	// Tail follows the log from now on.
	Tail(ctx context.Context) (CallTail, error)
}

// CallTail hands out what was written since it was last asked.
type CallTail interface {
	Next(ctx context.Context) (calls []EntryLine, more bool, err error)
}

// CallsQuery narrows the calls. "" is everything.
type CallsQuery struct{ Service, Purpose, Outcome string }

// fits reports whether a call is one that is asked for.
func (q CallsQuery) fits(e EntryLine) bool {
	return (q.Service == "" || e.Service == q.Service) && (q.Purpose == "" || e.Purpose == q.Purpose) && (q.Outcome == "" || e.Verdict == q.Outcome)
}

// CallsView is the newest calls, and what they can be narrowed by.
type CallsView struct {
	Services, Purposes []string
	Calls              []EntryLine
}

// maxCalls is how many calls the page holds.
const maxCalls = 50

// callOutcomes are how a call can come out.
var callOutcomes = []string{"done", "failed", "aborted", "refuse"}

// Calls returns the page of the newest calls, which keeps itself up to date.
func Calls(from CallsSource) Page {
	p := callsPage{from, newCallHub(from)}
	return Page{routes: []route{
		get("/calls", callsRead, p.show),
		stream("/calls/live", callsRead, p.feed).checked(func(v *visit) error {
			_, err := callsQuery(v)
			return err
		}),
	}}
}

type callsPage struct {
	from CallsSource
	hub  *callHub
}

// callsQuery reads the filter out of the address. Services and purposes may be such as
// the configuration has no more: their calls are still in the log.
func callsQuery(v *visit) (CallsQuery, error) {
	outcome, err := v.choice("outcome", "Outcome", callOutcomes)
	return CallsQuery{Service: v.query("service"), Purpose: v.query("purpose"), Outcome: outcome}, err
}

func (p callsPage) show(v *visit) error {
	q, err := callsQuery(v)
	if err != nil {
		return err
	}
	calls, err := p.from.Calls(v.context(), q, maxCalls)
	if err != nil {
		return err
	}
	data := struct {
		Filter Filter
		Table  Table
		Reload string
		More   string
	}{
		Filter: Filter{Action: "/calls", Fields: []Field{
			{Name: "service", Label: "Service", Type: "select", Options: chosenOf(q.Service, calls.Services)},
			{Name: "purpose", Label: "Purpose", Type: "select", Options: chosenOf(q.Purpose, calls.Purposes)},
			{Name: "outcome", Label: "Outcome", Type: "select", Options: anyOf(q.Outcome, "All", callOutcomes)},
		}},
		Table: callTable(v, calls.Calls), Reload: v.with(), More: v.reach("/log?action=call"),
	}
	if q != (CallsQuery{}) {
		data.Filter.Clear = "/calls"
	}
	data.Table.Live, data.Table.LiveMost = withQuery(v.r.URL.JoinPath("live"), "service", q.Service, "purpose", q.Purpose, "outcome", q.Outcome), maxCalls
	return v.show("calls.html", "Calls", data)
}

// callTable lists calls, the newest first.
func callTable(v *visit, calls []EntryLine) Table {
	t := Table{Caption: "Calls, the newest first", Columns: []Column{
		{Name: "When"}, {Name: "Outcome"}, {Name: "Operation"}, {Name: "Purpose"}, {Name: "Service"}, {Name: "Status", Number: true}, {Name: "Bytes", Number: true, Aside: true}, {Name: "Rule"}, {Name: "Entry"},
	}}
	for _, e := range calls {
		size := textCell("")
		if e.Kind == "outcome" {
			size = countCell(e.Bytes)
		}
		verdict := e.Verdict
		if verdict == "refuse" {
			verdict = "refused"
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{
			clockCell(e.At), verdictCell(verdict), textCell(e.Operation), textCell(e.Purpose), textCell(e.Service), statusCell(e), size, textCell(e.Rule), idCell(e.ID, v.reach(entryHref(e.ID))),
		}})
	}
	return t
}

// feed shows what is there now, and then what comes.
func (p callsPage) feed(v *visit, to *feed) error {
	q, err := callsQuery(v)
	if err != nil {
		return err
	}
	w := p.hub.join(v.context(), q)
	defer p.hub.leave(w)
	calls, err := p.from.Calls(v.context(), q, maxCalls)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, e := range calls.Calls {
		seen[e.ID] = true
	}
	if err := to.send("replace", "calls.html", "callrows", callTable(v, calls.Calls)); err != nil {
		return err
	}
	for {
		if err := to.wait(w.news, 0); err != nil {
			return err
		}
		var fresh []EntryLine
		for _, e := range w.take() {
			// What the tail and the first look both found is shown once.
			if !seen[e.ID] {
				fresh = append(fresh, e)
			}
		}
		if len(fresh) == 0 {
			continue
		}
		seen = map[string]bool{}
		if err := to.send("prepend", "calls.html", "callrows", callTable(v, fresh)); err != nil {
			return err
		}
	}
}

// callEvery is how often the log is looked at for whoever watches.
const callEvery = time.Second
