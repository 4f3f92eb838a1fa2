package console

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Flow is a way that data took, as a table and a picture show it.
type Flow struct {
	// Kind is delivery, from a platform to a service, or transfer, from a service to
	// somebody else; Verdict is passed, reported, stopped or unknown.
	Kind, Verdict string
	// Source is the platform and the app registration; Operation the call or event that
	// the data came by.
	Source, Operation string
	Purpose, Service  string
	// Destination and SentFor are of a transfer.
	Destination, SentFor string
	Class                string
	// People is how many it was about; zero where nobody counts them.
	People, Count int64
	First, Last   time.Time
}

// FlowPicture is a drawing of flows, in its own coordinates.
type FlowPicture struct {
	Title, Desc   string
	Width, Height int
	Heads         []flowText
	Boxes         []flowBox
	Links         []flowLink
	// Left is how many boxes did not fit.
	Left int
}

type flowText struct {
	X, Y  int
	Class string
	Text  string
}

type flowBox struct {
	X, Y, Width, Height int
	Title               string
	Lines               []flowText
}

type flowLink struct{ Verdict, Width, Path, Title string }

// The measures of the picture.
const (
	flowBoxWidth, flowGap, flowMargin = 222, 30, 6
	flowTop, flowLine, flowBoxGap     = 34, 17, 14
	flowLetters, flowBoxLines         = 24, 5
	maxFlowBoxes                      = 24 // in a column
)

var flowHeads = [4]string{"Came by", "Purpose", "Service", "Went to"}

// flowSpot is a box while it is laid out.
type flowSpot struct {
	column int
	name   string
	kinds  map[[2]string]int64 // by class and verdict
	last   time.Time
	total  int64
	y, h   int
}

// drawFlows draws flows from what they came by, over their purpose, to services and on to
// others. What went to others came in by a delivery, which is drawn by itself; where there is
// none among the flows, their own way is drawn. Where there are too many boxes, those with the
// least are left to the table.
func drawFlows(title string, flows []Flow, came func(Flow) string) FlowPicture {
	spots := [4]map[string]*flowSpot{{}, {}, {}, {}}
	at := func(column int, name string, f Flow) *flowSpot {
		s := spots[column][name]
		if s == nil {
			s = &flowSpot{column: column, name: name, kinds: map[[2]string]int64{}}
			spots[column][name] = s
		}
		return s
	}
	type way struct{ from, to *flowSpot }
	ways := map[way]map[[2]string]int64{}
	join := func(a, b *flowSpot, f Flow) {
		w := way{a, b}
		if ways[w] == nil {
			ways[w] = map[[2]string]int64{}
		}
		ways[w][[2]string{f.Class, f.Verdict}] += f.Count
	}
	add := func(s *flowSpot, f Flow) {
		s.kinds[[2]string{f.Class, f.Verdict}] += f.Count
		s.total += f.Count
		if f.Last.After(s.last) {
			s.last = f.Last
		}
	}
	deliveries := slices.ContainsFunc(flows, func(f Flow) bool { return f.Destination == "" })
	for _, f := range flows {
		service := at(2, f.Service, f)
		if f.Destination != "" {
			to := at(3, f.Destination, f)
			add(to, f)
			join(service, to, f)
			if deliveries {
				continue
			}
		}
		from, purpose := at(0, came(f), f), at(1, cmp.Or(f.SentFor, f.Purpose, "(no purpose)"), f)
		for _, s := range []*flowSpot{from, purpose, service} {
			add(s, f)
		}
		join(from, purpose, f)
		join(purpose, service, f)
	}
	p := FlowPicture{Title: title, Width: 2*flowMargin + 4*flowBoxWidth + 3*flowGap}
	shown := map[*flowSpot]bool{}
	highest := 0
	var columns [4][]*flowSpot
	for i := range spots {
		list := slices.SortedFunc(maps.Values(spots[i]), func(a, b *flowSpot) int {
			return cmp.Or(cmp.Compare(b.total, a.total), cmp.Compare(a.name, b.name))
		})
		if len(list) > maxFlowBoxes {
			p.Left += len(list) - maxFlowBoxes
			list = list[:maxFlowBoxes]
		}
		y := flowTop
		for _, s := range list {
			shown[s] = true
			s.y, s.h = y, 16+18+flowLine*len(s.lines())
			y += s.h + flowBoxGap
		}
		highest = max(highest, y)
		columns[i] = list
		p.Heads = append(p.Heads, flowText{X: flowX(i), Text: flowHeads[i]})
	}
	p.Height = highest
	var said []string
	for _, list := range columns {
		for _, s := range list {
			p.Boxes = append(p.Boxes, s.box())
		}
	}
	order := slices.SortedFunc(maps.Keys(ways), func(a, b way) int {
		return cmp.Or(cmp.Compare(a.from.column, b.from.column), cmp.Compare(a.from.y, b.from.y), cmp.Compare(a.to.y, b.to.y), cmp.Compare(a.from.name, b.from.name), cmp.Compare(a.to.name, b.to.name))
	})
	for _, w := range order {
		if !shown[w.from] || !shown[w.to] {
			continue
		}
		what := w.from.name + " → " + w.to.name + ": " + strings.Join(kindLines(ways[w]), ", ")
		if len(said) < 40 {
			said = append(said, what)
		}
		p.Links = append(p.Links, drawWay(w.from, w.to, ways[w], what)...)
	}
	p.Desc = strings.Join(said, "; ")
	return p
}

func flowX(column int) int { return flowMargin + column*(flowBoxWidth+flowGap) }

// drawWay draws one curve for each verdict, as wide as there is much.
func drawWay(from, to *flowSpot, kinds map[[2]string]int64, title string) []flowLink {
	var out []flowLink
	offset := 0
	for _, verdict := range []string{"passed", "reported", "unknown", "stopped"} {
		total := int64(0)
		for k, n := range kinds {
			if k[1] == verdict {
				total += n
			}
		}
		if total == 0 {
			continue
		}
		x1, y1 := flowX(from.column)+flowBoxWidth, from.y+from.h/2+offset
		x2, y2 := flowX(to.column), to.y+to.h/2+offset
		out = append(out, flowLink{
			Verdict: verdict, Width: coordinate(min(11, 1.5+1.5*math.Log10(float64(max(1, total))))), Title: title,
			Path: fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, x1+flowGap/2, y1, x2-flowGap/2, y2, x2, y2),
		})
		offset += 10
	}
	return out
}

// kindLines say what kinds of data there were, the most first.
func kindLines(kinds map[[2]string]int64) []string {
	keys := slices.SortedFunc(maps.Keys(kinds), func(a, b [2]string) int {
		return cmp.Or(cmp.Compare(kinds[b], kinds[a]), cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	out := make([]string, 0, len(keys))
	for _, k := range keys {
		text := wordOf(k[0]) + " ×\u00a0" + count(kinds[k])
		if k[1] != "passed" {
			text += " (" + k[1] + ")"
		}
		out = append(out, text)
	}
	return out
}

// lines are what stands in a box under its name.
func (s *flowSpot) lines() []string {
	list := kindLines(s.kinds)
	if len(list) > flowBoxLines {
		list = append(list[:flowBoxLines-1:flowBoxLines-1], fmt.Sprintf("and %d more kinds", len(list)-flowBoxLines+1))
	}
	if !s.last.IsZero() {
		list = append(list, "last "+s.last.UTC().Format("2 Jan 2006, 15:04"))
	}
	return list
}

func (s *flowSpot) box() flowBox {
	b := flowBox{X: flowX(s.column), Y: s.y, Width: flowBoxWidth, Height: s.h, Title: s.name + ": " + strings.Join(kindLines(s.kinds), ", ")}
	y := s.y + 22
	b.Lines = append(b.Lines, flowText{b.X + 12, y, "flow-name", cutText(s.name, flowLetters)})
	for _, line := range s.lines() {
		y += flowLine
		class := "flow-soft"
		switch {
		case strings.HasSuffix(line, "(stopped)"):
			class = "flow-bad"
		case strings.HasSuffix(line, "(reported)"), strings.HasSuffix(line, "(unknown)"):
			class = "flow-warn"
		}
		b.Lines = append(b.Lines, flowText{b.X + 12, y, class, cutText(line, flowLetters+6)})
	}
	return b
}

func cutText(s string, letters int) string {
	if r := []rune(s); len(r) > letters {
		return string(r[:letters-1]) + "…"
	}
	return s
}

// flowTable lists what the picture shows, for those who do not see it, and more: a row
// for each way, with the kinds of data that went it.
func flowTable(caption string, flows []Flow, empty Empty) Table {
	t := Table{Caption: caption, Empty: empty, Columns: []Column{
		{Name: "Came by"}, {Name: "Purpose"}, {Name: "Service"}, {Name: "Went to"}, {Name: "Outcome"}, {Name: "Data"}, {Name: "Last"},
	}}
	type way struct{ verdict, source, operation, purpose, service, destination, sentFor string }
	kinds, last := map[way]map[[2]string]int64{}, map[way]time.Time{}
	var order []way
	for _, f := range flows {
		w := way{f.Verdict, f.Source, f.Operation, f.Purpose, f.Service, f.Destination, f.SentFor}
		if kinds[w] == nil {
			kinds[w] = map[[2]string]int64{}
			order = append(order, w)
		}
		kinds[w][[2]string{f.Class, "passed"}] += f.Count
		if f.Last.After(last[w]) {
			last[w] = f.Last
		}
	}
	slices.SortStableFunc(order, func(a, b way) int { return last[b].Compare(last[a]) })
	for _, w := range order {
		to := "the service"
		if w.destination != "" {
			to = w.destination
		}
		purpose := w.purpose
		if w.sentFor != "" && w.sentFor != purpose {
			purpose = strings.TrimPrefix(purpose+" → "+w.sentFor, " → ")
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{
			textCell(strings.TrimPrefix(w.source+" "+w.operation, " ")), textCell(purpose), textCell(w.service),
			textCell(to), verdictCell(w.verdict), textCell(strings.Join(kindLines(kinds[w]), ", ")), timeCell(last[w]),
		}})
	}
	return t
}

// verdictCell is how a flow or an entry came out. What only happened has no outcome.
func verdictCell(verdict string) Cell {
	if verdict == "" {
		return textCell("–")
	}
	return badgeCell(verdictTone(verdict), verdict)
}

func verdictTone(verdict string) Tone {
	switch verdict {
	case "done", "passed", "allow":
		return Good
	case "refuse", "refused", "failed", "stopped":
		return Bad
	case "report", "reported", "aborted", "unknown":
		return Warn
	}
	return Off
}
