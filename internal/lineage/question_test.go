package lineage_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/lineage"
)

// Questions are checked, and each refusal has a near miss.
func TestQuestionsAreChecked(t *testing.T) {
	w := fresh(t, nil)
	day := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		wrong, right lineage.Question
		rule         string
	}{
		"limit":    {lineage.Question{Limit: lineage.MaxPage + 1}, lineage.Question{Limit: lineage.MaxPage}, "lineage/limit"},
		"negative": {lineage.Question{Limit: -1}, lineage.Question{Limit: 1}, "lineage/limit"},
		"period": {lineage.Question{Since: day.AddDate(0, 0, 1), Until: day}, lineage.Question{Since: day.Add(time.Hour), Until: day},
			"lineage/period"},
		"after":      {lineage.Question{After: "1.2.3"}, lineage.Question{After: "1.2.3.4"}, "lineage/after"},
		"after zero": {lineage.Question{After: "0.0.0.0"}, lineage.Question{After: "1.0.0.0"}, "lineage/after"},
		"after sign": {lineage.Question{After: "+1.2.3.4"}, lineage.Question{After: "1.2.3.4"}, "lineage/after"},
	} {
		if _, err := w.l.Flows(t.Context(), test.wrong); rule(err) != test.rule || !errors.Is(err, gatehouse.ErrInvalid) {
			t.Errorf("%s: %v, want %s", name, err, test.rule)
		}
		if _, err := w.l.Flows(t.Context(), test.right); err != nil {
			t.Errorf("%s: the near miss: %v", name, err)
		}
	}
	if _, err := w.l.People(t.Context(), lineage.Question{}); rule(err) != "lineage/people" {
		t.Errorf("people of nothing: %v", err)
	}
	if _, err := w.l.People(t.Context(), lineage.Question{About: lineage.Subject{Purpose: "p"}}); err != nil {
		t.Errorf("people of a purpose: %v", err)
	}
}

// That somebody looked is in the log, once for each question, also when it walks
// over many pages; it says about what, and not about whom.
func TestQuestionsAreInTheLog(t *testing.T) {
	w := fresh(t, nil)
	many := []lineage.Delivered{person("111222333444"), person("555666777888")}
	for i := range lineage.MaxPage / 2 {
		many = append(many, person(fmt.Sprint(700000000+i)))
	}
	w.deliver(w.l, source, many...)
	for _, about := range []lineage.Subject{{Keys: w.keys("111222333444")}, {Destination: "a.example"}, {}} {
		before := len(w.actions("lineage.ask"))
		w.flows(w.l, about)
		entries := w.actions("lineage.ask")
		if len(entries) != before+1 {
			t.Fatalf("%d entries more", len(entries)-before)
		}
		for _, e := range entries {
			if strings.Contains(e, "111222333444") || strings.Contains(e, "a.example") {
				t.Errorf("the log says %q", e)
			}
		}
	}
	if all := strings.Join(w.actions("lineage.ask"), "\n"); !strings.Contains(all, "about:person") || !strings.Contains(all, "about:destination") || !strings.Contains(all, "about:flows") {
		t.Errorf("the log says %s", all)
	}
	if _, err := w.l.Flows(t.Context(), lineage.Question{By: "auditor", About: lineage.Subject{Service: "web"}}); err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(w.actions("lineage.ask"), "\n"); !strings.Contains(all, "auditor") {
		t.Error("who asked is not in the log")
	}
}

// A person's pages hold everything once, whatever their size, over all numbers that
// mean them.
func TestPagesOfAPerson(t *testing.T) {
	w := fresh(t, nil)
	shared := person("111222333444").Values[1]
	w.deliver(w.l, source, person("111222333444"), person("555666777888", shared))
	for i := range 5 {
		other := source
		other.Operation = gatehouse.Operation(fmt.Sprint("GET /", i))
		w.deliver(w.l, other, person("111222333444"), person("555666777888"))
		_ = w.send(w.l, to(fmt.Sprintf("h%d.example", i)), shared.Text)
	}
	// Both people at once, and the set of both.
	about := lineage.Subject{Keys: w.keys("111222333444", "555666777888")}
	want := len(w.flows(w.l, about))
	if want != 29 { // 2×2 with 1 kind twice, 5×2×2, 5
		t.Fatalf("there are %d flows", want)
	}
	for _, limit := range []int{1, 2, 3, 28, 29, 30} {
		seen := map[string]bool{}
		n := 0
		for q := (lineage.Question{About: about, Limit: limit}); ; {
			page, err := w.l.Flows(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range page.Flows {
				seen[fmt.Sprintf("%+v", f)] = true
			}
			n += len(page.Flows)
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		if n != want || len(seen) != want {
			t.Errorf("by %d: %d flows, %d different", limit, n, len(seen))
		}
	}
	number := w.flows(w.l, about)[0].Person.Number
	if got := w.flows(w.l, lineage.Subject{Number: number}); len(got) == 0 || got[0].Person.Number != number {
		t.Errorf("by number %d: %+v", number, got)
	}
}

// Who was reached is listed once for each person.
func TestPeopleOfADestination(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"), person("555666777888"), person("999"))
	for _, body := range []string{mail("111222333444") + " 111222333444", mail("111222333444"), mail("555666777888")} {
		if err := w.send(w.l, to("a.example", gatehouse.EmailAddress, gatehouse.PseudonymousID), body); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.send(w.l, to("a.example"), mail("555666777888"))
	_ = w.l.Flush(t.Context())
	for _, q := range []lineage.Question{{About: lineage.Subject{Destination: "A.example"}}, {About: lineage.Subject{Purpose: "analytics"}}} {
		var got []string
		for q.Limit = 1; ; {
			page, err := w.l.People(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.People {
				got = append(got, fmt.Sprint(r.Classes, r.Verdicts, r.Count))
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
		slices.Sort(got)
		same(t, q.About.Destination, got, "[email pseudonymous-id] [passed] 3", "[email] [passed stopped] 2")
	}
	if page, err := w.l.People(t.Context(), lineage.Question{About: lineage.Subject{Purpose: "insights"}}); err != nil || len(page.People) != 3 {
		t.Errorf("the purpose covers %+v, %v", page.People, err)
	}
}

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Exports are of the shape that their readers expect, and OpenLineage's name nobody.
func TestExports(t *testing.T) {
	w := fresh(t, nil)
	w.deliver(w.l, source, person("111222333444"), person("555666777888"))
	_ = w.send(w.l, to("a.example"), mail("111222333444"))
	flows := w.flows(w.l, lineage.Subject{})

	var table bytes.Buffer
	out := csv.NewWriter(&table)
	_ = out.Write(lineage.CSVHeader())
	for i := range flows {
		_ = out.Write(flows[i].CSV())
	}
	out.Flush()
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(rows) != len(flows)+1 || len(rows[1]) != len(lineage.CSVHeader()) {
		t.Errorf("the table is %q, %v", rows, err)
	}

	var events []lineage.RunEvent
	runs := lineage.NewRuns("production", func(e lineage.RunEvent) error {
		events = append(events, e)
		return nil
	})
	for _, some := range [][]lineage.Flow{flows[:1], flows[1:]} {
		if err := runs.Add(some...); err != nil {
			t.Fatal(err)
		}
	}
	if err := runs.End(); err != nil {
		t.Fatal(err)
	}
	ids, ends := map[string][]string{}, map[string]int{}
	for _, e := range events {
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		// The members that the specification's RunEvent, Run, Job and Dataset demand.
		var event struct {
			EventType, EventTime, Producer, SchemaURL string
			Run                                       struct{ RunID string }
			Job                                       struct{ Namespace, Name string }
			Inputs, Outputs                           []struct {
				Namespace, Name string
				OutputFacets    map[string]map[string]any
			}
		}
		if err := json.Unmarshal(text, &event); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, event.EventTime); err != nil {
			t.Error(err)
		}
		if event.SchemaURL != "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent" || event.Producer == "" || !uuid.MatchString(event.Run.RunID) ||
			event.Job.Namespace != "gatehouse/production" || event.Job.Name == "" || len(event.Inputs) != 1 || len(event.Outputs) != 1 {
			t.Errorf("the event is %s", text)
		}
		for _, d := range append(event.Inputs, event.Outputs...) {
			if d.Namespace == "" || d.Name == "" {
				t.Errorf("a dataset of %s has no name", text)
			}
			for _, f := range d.OutputFacets {
				if f["_producer"] == nil || f["_schemaURL"] == nil {
					t.Errorf("the facet is %v", f)
				}
			}
		}
		ids[event.Run.RunID] = append(ids[event.Run.RunID], event.EventType)
		ends[event.EventType]++
		if strings.Contains(string(text), "number") {
			t.Errorf("the event names somebody: %s", text)
		}
	}
	for id, types := range ids {
		if len(types) != 2 || types[0] != "START" {
			t.Errorf("run %s has %v", id, types)
		}
	}
	if ends["COMPLETE"] != 2 || ends["ABORT"] != 1 {
		t.Errorf("the runs end with %v", ends)
	}
}

// Places are read as they were written, and nothing else is.
func FuzzParsePlace(f *testing.F) {
	for _, seed := range []string{"", "1.2.3.4", "2147483647.4294967295.9223372036854775807.0", "01.2.3.4", "1.2.3.4.5", "a", "-1.0.0.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		again, err := lineage.ParsePlace(text)
		if err != nil {
			if text != "" && strings.Contains(err.Error(), text) && len(text) > 20 {
				t.Error("the error repeats the text")
			}
			return
		}
		if text != "" && again != text {
			t.Errorf("%q becomes %q", text, again)
		}
	})
}

// Runs are emitted day by day, as flows come, and no day is held longer than it lasts;
// where they cannot be written it ends.
func TestRunsAreStreamed(t *testing.T) {
	flow := func(day, host string) lineage.Flow {
		return lineage.Flow{Kind: lineage.Sending, Verdict: lineage.Passed, Class: gatehouse.EmailAddress, Service: "web", Destination: host, Day: day, Count: 1}
	}
	emitted := 0
	var full error
	runs := lineage.NewRuns("production", func(lineage.RunEvent) error {
		emitted++
		return full
	})
	for i, step := range []struct {
		flow lineage.Flow
		want int
	}{{flow("2026-05-03", "a.example"), 0}, {flow("2026-05-03", "a.example"), 0}, {flow("2026-05-03", "b.example"), 0}, {flow("2026-05-02", "a.example"), 4}, {flow("2026-05-01", "a.example"), 6}} {
		if err := runs.Add(step.flow); err != nil || emitted != step.want {
			t.Errorf("after flow %d: %d events, %v; want %d", i, emitted, err, step.want)
		}
	}
	full = errors.New("no room")
	if err := runs.Add(flow("2026-04-30", "a.example")); !errors.Is(err, full) {
		t.Errorf("added with %v", err)
	}
}
