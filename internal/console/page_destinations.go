package console

import (
	"context"
	"net/url"
	"strings"
	"time"
)

// DestinationsSource tells who else is sent data.
type DestinationsSource interface {
	// Destinations returns what is declared and what went there. Actor is the account
	// of whoever looks, for the log.
	Destinations(ctx context.Context, actor string) (DestinationsView, error)
	// Destination returns one of them, with the sums of what went there, or ErrNotFound.
	Destination(ctx context.Context, actor, host string) (DestinationView, error)
}

// DestinationsView is everybody else who may be sent data, and who was refused.
type DestinationsView struct {
	// Listening says that there is a proxy for such requests at all.
	Listening bool
	// Reports is when report mode ends; zero when it is not in force.
	Reports time.Time
	List    []DestinationView
	// At is as of when each's last use is.
	At time.Time
	// Unknown are the newest requests to others, which were refused.
	Unknown []EntryLine
}

// DestinationView is one of them.
type DestinationView struct {
	Host                 string
	Purposes, MayReceive []string
	Inspect, Private     bool
	Ports                string
	// Last is when something was last let through.
	Last time.Time
	// Sent and Received are the bytes of the newest requests, as many as Requests; only
	// Destination tells them.
	Sent, Received int64
	Requests       int
	// Flows are of the last 30 days.
	Flows []Flow
}

// Destinations returns the pages about third parties.
func Destinations(from DestinationsSource) Page {
	p := destinationsPage{from}
	return Page{routes: []route{
		get("/destinations", destinationsRead, p.list),
		get("/destinations/{host}", destinationsRead, p.one),
	}}
}

type destinationsPage struct{ from DestinationsSource }

func destinationHref(host string) string { return "/destinations/" + url.PathEscape(host) }

// inspection says what of the requests is searched. Plain http always is, so that data may
// be stopped where nothing else is looked into.
func inspection(d DestinationView) Cell {
	if d.Inspect {
		return badgeCell(Good, "looked into")
	}
	return badgeCell(Off, "plain http only")
}

func mayReceive(d DestinationView) string {
	return orNone(strings.Join(d.MayReceive, ", "), "nothing about people")
}

// classesOf are the kinds of data of flows that were stopped, or that were not, with how
// often each was seen. A request that holds several kinds is in each of them: no sum of
// these is a number of requests.
func classesOf(flows []Flow, stopped bool) string {
	seen := map[string]int64{}
	for _, f := range flows {
		if f.Class != "" && (f.Verdict == "stopped") == stopped {
			seen[f.Class] += f.Count
		}
	}
	var out []string
	for _, class := range sortedKeys(seen, func(s string) string { return s }) {
		out = append(out, class+" × "+count(seen[class]))
	}
	return strings.Join(out, ", ")
}

func (p destinationsPage) list(v *visit) error {
	view, err := p.from.Destinations(v.context(), v.actor())
	if err != nil {
		return err
	}
	data := struct {
		V       DestinationsView
		Table   Table
		Unknown Table
		Flows   string
		More    string
	}{V: view, Flows: v.reach("/flows"), More: v.reach("/log?rule=refuse%2Funknown-destination")}
	data.Table = Table{Caption: "Third parties", Columns: []Column{{Name: "Host"}, {Name: "Purposes"}, {Name: "Inspection"}, {Name: "May receive"}, {Name: "Received in 30 days"}, {Name: "Stopped"}, {Name: "Last use"}}, Empty: Empty{
		Title: "No third party is declared", Text: "Your services reach nobody but the platforms until you name who else they may send to, under third_parties in the configuration. To see whom they try to reach:", Command: "gatehouse policy suggest",
	}}
	for _, d := range view.List {
		data.Table.Rows = append(data.Table.Rows, Row{Cells: []Cell{
			linkCell(d.Host, destinationHref(d.Host)), textCell(strings.Join(d.Purposes, ", ")), inspection(d), textCell(mayReceive(d)), textCell(orNone(classesOf(d.Flows, false), "–")), textCell(orNone(classesOf(d.Flows, true), "–")), timeCell(d.Last),
		}})
	}
	data.Unknown = entryTable(v, "Refused: to somebody who is not declared", view.Unknown, Empty{Title: "Nobody else was tried", Text: "A request to a host that is not declared is refused and becomes an entry here. Which host it was is sealed: whoever may open fields of the log sees it there."})
	return v.show("destinations.html", "Third parties", data)
}

func (p destinationsPage) one(v *visit) error {
	d, err := p.from.Destination(v.context(), v.actor(), v.r.PathValue("host"))
	if err != nil {
		return err
	}
	data := struct {
		D       DestinationView
		Facts   Pairs
		Picture FlowPicture
		Flows   Table
		Log     string
		All     string
	}{D: d, Log: v.reach("/log?" + url.Values{"destination": {d.Host}}.Encode()), All: v.reach("/flows")}
	data.Facts = Pairs{
		{"Purposes", textCell(strings.Join(d.Purposes, ", "))}, {"Inspection", inspection(d)}, {"May receive", textCell(mayReceive(d))}, {"Ports", textCell(d.Ports)}, {"Last use", timeCell(d.Last)},
	}
	if d.Private {
		data.Facts = append(data.Facts, Pair{"Network", textCell("your own")})
	}
	if d.Requests > 0 {
		data.Facts = append(data.Facts, Pair{"Bytes sent, newest " + count(int64(d.Requests)) + " requests", countCell(d.Sent)}, Pair{"Bytes received, of the same", countCell(d.Received)})
	}
	data.Picture = drawFlows("What went to "+d.Host, d.Flows, func(f Flow) string { return orNone(f.Operation, f.Source) })
	data.Flows = flowTable("What went there in 30 days", d.Flows, Empty{Title: "Nothing was recognised", Text: "People's data is looked for where requests are inspected, and in plain http. For the rest, bytes are counted."})
	return v.show("destination.html", d.Host, data)
}
