package lineage

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"gatehouse"
)

// The addresses by which OpenLineage 2-0-2 names what an event is.
const (
	runEventSchema    = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
	outputFacetSchema = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/OutputDatasetFacet"
	producer          = "urn:gatehouse"
)

// RunEvent is an OpenLineage event: one way that data took on one day is a run. It
// names no person.
type RunEvent struct {
	EventType string    `json:"eventType"`
	EventTime time.Time `json:"eventTime"`
	Run       Run       `json:"run"`
	Job       Job       `json:"job"`
	Inputs    []Dataset `json:"inputs"`
	Outputs   []Dataset `json:"outputs"`
	Producer  string    `json:"producer"`
	SchemaURL string    `json:"schemaURL"`
}

// Run is OpenLineage's.
type Run struct {
	ID string `json:"runId"`
}

// Job is OpenLineage's: a service with a purpose.
type Job struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Dataset is OpenLineage's: a platform's operation, a service, or a host.
type Dataset struct {
	Namespace    string               `json:"namespace"`
	Name         string               `json:"name"`
	OutputFacets map[string]FlowFacet `json:"outputFacets,omitempty"`
}

// FlowFacet says what went.
type FlowFacet struct {
	Producer  string              `json:"_producer"`
	SchemaURL string              `json:"_schemaURL"`
	Class     gatehouse.DataClass `json:"dataClass"`
	Verdict   Verdict             `json:"verdict"`
	Count     int64               `json:"count"`
	People    int                 `json:"people"`
}

// Runs gathers flows, page by page, into OpenLineage's runs. It holds those of one day.
type Runs struct {
	environment gatehouse.Environment
	emit        func(RunEvent) error
	day         string
	runs        map[runKey]*dayRun
}

type runKey struct {
	way Edge
	day string
}

type dayRun struct {
	first, last time.Time
	count       int64
	people      map[Owner]bool
}

// NewRuns begins to gather. Of each run emit gets two events, its start and its end:
// what was stopped is a run that was aborted, and what may have gone one that failed.
func NewRuns(environment gatehouse.Environment, emit func(RunEvent) error) *Runs {
	return &Runs{environment: environment, emit: emit, runs: map[runKey]*dayRun{}}
}

// Add takes in flows, those of one day after the other. Several of one way and day
// become one run.
func (r *Runs) Add(flows ...Flow) error {
	for i := range flows {
		f := &flows[i]
		if f.Day != r.day {
			if err := r.End(); err != nil {
				return err
			}
			r.day = f.Day
		}
		key := runKey{day: f.Day, way: Edge{
			Kind: f.Kind, Verdict: f.Verdict, Platform: f.Platform, App: f.App, Class: f.Class, Operation: f.Operation, Purpose: f.Purpose,
			Service: f.Service, Destination: f.Destination, SentFor: f.SentFor,
		}}
		d := r.runs[key]
		if d == nil {
			d = &dayRun{first: f.First, last: f.Last, people: map[Owner]bool{}}
			r.runs[key] = d
		}
		if f.First.Before(d.first) {
			d.first = f.First
		}
		if f.Last.After(d.last) {
			d.last = f.Last
		}
		d.count += f.Count
		if f.Person.Number != 0 {
			d.people[f.Person.Number] = true
		}
	}
	return nil
}

// End emits what was gathered.
func (r *Runs) End() error {
	keys := slices.SortedFunc(maps.Keys(r.runs), func(a, b runKey) int {
		return cmp.Or(cmp.Compare(a.day, b.day), cmp.Compare(fmt.Sprint(a.way), fmt.Sprint(b.way)))
	})
	for _, k := range keys {
		d := r.runs[k]
		e := r.event(k, d)
		e.EventType, e.EventTime = "START", d.first.UTC()
		if err := r.emit(e); err != nil {
			return err
		}
		switch k.way.Verdict {
		case Stopped:
			e.EventType = "ABORT"
		case Unknown:
			e.EventType = "FAIL"
		default:
			e.EventType = "COMPLETE"
		}
		e.EventTime = d.last.UTC()
		if err := r.emit(e); err != nil {
			return err
		}
	}
	clear(r.runs)
	return nil
}

func (r *Runs) event(k runKey, d *dayRun) RunEvent {
	w := &k.way
	own := "gatehouse/" + string(r.environment)
	facet := map[string]FlowFacet{"gatehouse_flow": {
		Producer: producer, SchemaURL: outputFacetSchema, Class: w.Class, Verdict: w.Verdict, Count: d.count, People: len(d.people),
	}}
	service := Dataset{Namespace: own, Name: "service/" + string(w.Service)}
	from := Dataset{Namespace: orUnknown(string(w.Platform)), Name: orUnknown(string(w.Operation))}
	if w.App != "" {
		from.Namespace += "/" + string(w.App)
	}
	e := RunEvent{
		Run: Run{ID: runID(k)}, Job: Job{Namespace: own, Name: string(w.Service) + "." + orUnknown(string(w.Purpose))},
		Inputs: []Dataset{from}, Outputs: []Dataset{service}, Producer: producer, SchemaURL: runEventSchema,
	}
	if w.Kind == Sending {
		e.Job.Name = string(w.Service) + "." + orUnknown(string(w.SentFor))
		e.Inputs = []Dataset{service}
		e.Outputs = []Dataset{{Namespace: "https://" + w.Destination, Name: string(w.Class)}}
	}
	e.Outputs[0].OutputFacets = facet
	return e
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// runID is the same for the same way and day, however often it is exported: a UUID
// of the eighth version (RFC 9562), which is for such.
func runID(k runKey) string {
	b := sha256.Sum256(fmt.Appendf(nil, "%q %s", k.way, k.day))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// CSVHeader are the columns of Flow.CSV.
func CSVHeader() []string {
	return []string{"day", "kind", "verdict", "number", "person", "erased", "candidates", "class", "platform", "app", "operation", "purpose",
		"service", "destination", "sent_for", "part", "handle", "first_at", "last_at", "count"}
}

// CSV is a flow as a row of a table.
func (f *Flow) CSV() []string {
	candidates := ""
	for i, c := range f.Person.Candidates {
		if i > 0 {
			candidates += " "
		}
		candidates += fmt.Sprint(c.Number)
	}
	return []string{
		f.Day, string(f.Kind), string(f.Verdict), fmt.Sprint(f.Person.Number), string(f.Person.Person), fmt.Sprint(f.Person.Erased), candidates,
		string(f.Class), string(f.Platform), string(f.App), string(f.Operation), string(f.Purpose), string(f.Service), f.Destination,
		string(f.SentFor), f.Part, string(f.Handle), f.First.UTC().Format(time.RFC3339Nano), f.Last.UTC().Format(time.RFC3339Nano), fmt.Sprint(f.Count),
	}
}
