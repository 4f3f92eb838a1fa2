package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// FlowsSource says which ways data took. It names no person.
type FlowsSource interface {
	// Flows returns what went each way in the last days; zero is everything. Actor is the
	// account of whoever asks, for the log.
	Flows(ctx context.Context, actor string, days int) (FlowsView, error)
}

// FlowsView is what went each way, as of a time.
type FlowsView struct {
	At    time.Time
	Flows []Flow
}

// Flows returns the page about what goes from the platforms for which purpose to whom.
func Flows(from FlowsSource) Page {
	p := flowsPage{from}
	return Page{routes: []route{
		get("/flows", flowsRead, p.show),
		get("/flows/export.csv", flowsRead, p.csv),
		get("/flows/export.json", flowsRead, p.json),
	}}
}

type flowsPage struct{ from FlowsSource }

// flowsDays is the time that the page begins with.
const flowsDays = 30

func (p flowsPage) show(v *visit) error {
	days, err := v.days(flowsDays)
	if err != nil {
		return err
	}
	f, err := p.from.Flows(v.context(), v.actor(), days)
	if err != nil {
		return err
	}
	data := struct {
		Picture   FlowPicture
		Table     Table
		Periods   []periodLink
		CSV, JSON string
		At        time.Time
	}{Periods: v.periodLinks(days), At: f.At}
	data.Picture = drawFlows("Where data goes", f.Flows, func(f Flow) string {
		_, app, _ := strings.Cut(f.Source, ": ")
		return cmp.Or(app, f.Source, "(not known)")
	})
	data.Table = flowTable("Where data goes", f.Flows, Empty{
		Title: "No data has passed yet", Text: "Gatehouse notes what it delivers from the platforms to your services, and recognises it when it leaves again through the proxy. See it with made-up people:", Command: "gatehouse demo",
	})
	query := "?days=" + strconv.Itoa(days)
	data.CSV, data.JSON = "/flows/export.csv"+query, "/flows/export.json"+query
	return v.show("flows.html", "Flows", data)
}

// flowRecord is a flow in an export. Its keys are relied on from outside.
type flowRecord struct {
	Kind        string `json:"kind"`
	Verdict     string `json:"verdict"`
	Source      string `json:"source,omitempty"`
	Operation   string `json:"operation,omitempty"`
	Purpose     string `json:"purpose,omitempty"`
	Service     string `json:"service"`
	Destination string `json:"destination,omitempty"`
	SentFor     string `json:"sent_for,omitempty"`
	Class       string `json:"class"`
	People      int64  `json:"people"`
	Count       int64  `json:"count"`
	First       string `json:"first_at"`
	Last        string `json:"last_at"`
}

func recordOf(f Flow) flowRecord {
	return flowRecord{f.Kind, f.Verdict, f.Source, f.Operation, f.Purpose, f.Service, f.Destination, f.SentFor, f.Class, f.People, f.Count, iso(f.First), iso(f.Last)}
}

// export sends a whole file.
func (p flowsPage) export(v *visit, media, name string, encode func([]Flow) ([]byte, error)) error {
	days, err := v.days(flowsDays)
	if err != nil {
		return err
	}
	f, err := p.from.Flows(v.context(), v.actor(), days)
	if err != nil {
		return err
	}
	body, err := encode(f.Flows)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = v.w.Write(body) // the browser may be gone
	return nil
}

func (p flowsPage) csv(v *visit) error {
	return p.export(v, "text/csv; charset=utf-8", "flows.csv", func(flows []Flow) ([]byte, error) {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		rows := [][]string{{"kind", "verdict", "source", "operation", "purpose", "service", "destination", "sent_for", "class", "people", "count", "first_at", "last_at"}}
		for _, f := range flows {
			r := recordOf(f)
			row := []string{r.Kind, r.Verdict, r.Source, r.Operation, r.Purpose, r.Service, r.Destination, r.SentFor, r.Class, strconv.FormatInt(r.People, 10), strconv.FormatInt(r.Count, 10), r.First, r.Last}
			for i := range row {
				row[i] = plainCell(row[i])
			}
			rows = append(rows, row)
		}
		err := w.WriteAll(rows)
		return b.Bytes(), err
	})
}

// plainCell keeps a spreadsheet from taking a text for a formula: the name of a host is
// somebody else's.
func plainCell(s string) string {
	if strings.HasPrefix(s, "=") || strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") || strings.HasPrefix(s, "@") || strings.HasPrefix(s, "\t") || strings.HasPrefix(s, "\r") {
		return "'" + s
	}
	return s
}

func (p flowsPage) json(v *visit) error {
	return p.export(v, "application/json", "flows.json", func(flows []Flow) ([]byte, error) {
		list := make([]flowRecord, 0, len(flows))
		for _, f := range flows {
			list = append(list, recordOf(f))
		}
		return json.MarshalIndent(map[string]any{"flows": list}, "", "  ")
	})
}
