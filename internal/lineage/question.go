package lineage

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/wire"
)

const (
	// MaxPage is the most that one answer holds.
	MaxPage = 1000
	// DefaultPage is what it holds if nothing is said.
	DefaultPage = 200
	// maxDepth bounds how many pages of flows are read to sum up one person.
	maxDepth = 10
)

// Subject says what a question is about. One of its fields is set, or none for
// everything.
type Subject struct {
	// Keys are the hashes of one human, as Config.Key makes them.
	Keys []string
	// Number is somebody's number, from another answer.
	Number      Owner
	Handle      gatehouse.HandleID
	Destination string
	Service     gatehouse.ServiceName
	Purpose     gatehouse.PurposeName
}

// kind names the question in the log.
func (s *Subject) kind() string {
	switch {
	case s.Keys != nil, s.Number != 0:
		return "person"
	case s.Handle != "":
		return "handle"
	case s.Destination != "":
		return "destination"
	case s.Service != "":
		return "service"
	case s.Purpose != "":
		return "purpose"
	}
	return "flows"
}

// Question asks for one page.
type Question struct {
	About Subject
	// By is the service that asks; empty for an operator.
	By gatehouse.ServiceName
	// Since and Until bound the days of the flows, both included; zero is unbounded.
	Since, Until time.Time
	// After is Next of the page before.
	After string
	// Limit bounds the page; zero means DefaultPage.
	Limit int

	// further is set for the pages of a walk, which is in the log once.
	further bool
}

// Person is somebody in an answer. Its keys are relied on from outside.
type Person struct {
	// Number names the person in further questions. Zero is nobody: a secret of the
	// app's own, or a value that many share.
	Number   Owner              `json:"number"`
	Platform gatehouse.Platform `json:"platform,omitempty"`
	// Person is set for somebody whose grant is held.
	Person gatehouse.PersonID `json:"person,omitempty"`
	Erased bool               `json:"erased,omitempty"`
	// Candidates are set where it may be any of them.
	Candidates []Person `json:"candidates,omitempty"`
}

// Flow is a flow in an answer. Its keys are relied on from outside.
type Flow struct {
	Kind        Kind                  `json:"kind"`
	Verdict     Verdict               `json:"verdict"`
	Person      Person                `json:"person"`
	Class       gatehouse.DataClass   `json:"class"`
	Platform    gatehouse.Platform    `json:"platform,omitempty"`
	App         gatehouse.AppName     `json:"app,omitempty"`
	Operation   gatehouse.Operation   `json:"operation,omitempty"`
	Purpose     gatehouse.PurposeName `json:"purpose,omitempty"`
	Service     gatehouse.ServiceName `json:"service"`
	Destination string                `json:"destination,omitempty"`
	SentFor     gatehouse.PurposeName `json:"sent_for,omitempty"`
	Part        string                `json:"part,omitempty"`
	Handle      gatehouse.HandleID    `json:"handle,omitempty"`
	Day         string                `json:"day"`
	First       time.Time             `json:"first_at"`
	Last        time.Time             `json:"last_at"`
	Count       int64                 `json:"count"`
}

// Reach is somebody with what became of their data. Its keys are relied on from
// outside.
type Reach struct {
	Person   Person                `json:"person"`
	Classes  []gatehouse.DataClass `json:"classes"`
	Verdicts []Verdict             `json:"verdicts"`
	First    time.Time             `json:"first_at"`
	Last     time.Time             `json:"last_at"`
	Count    int64                 `json:"count"`
	// Incomplete is set where there was too much to sum up.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Flows answers with a page of flows, newest day first.
type Flows struct {
	Flows []Flow `json:"flows"`
	// Next asks for the next page; empty on the last.
	Next string `json:"next,omitempty"`
	// Note says what may be missing.
	Note string `json:"note,omitempty"`
}

// People answers with a page of people, in the order of their numbers.
type People struct {
	People []Reach `json:"people"`
	Next   string  `json:"next,omitempty"`
	Note   string  `json:"note,omitempty"`
}

func refuse(rule, text string) error { return wire.Refuse(gatehouse.ErrInvalid, rule, text) }

// selection checks a question.
func (q *Question) selection() (Selection, error) {
	s := Selection{
		Handle: q.About.Handle, Destination: strings.ToLower(q.About.Destination), Service: q.About.Service, Purpose: q.About.Purpose,
		Until: math.MaxInt32, Limit: q.Limit,
	}
	if !q.Since.IsZero() {
		s.Since = dayOf(q.Since)
	}
	if !q.Until.IsZero() {
		s.Until = dayOf(q.Until)
	}
	switch {
	case s.Limit == 0:
		s.Limit = DefaultPage
	case s.Limit < 0 || s.Limit > MaxPage:
		return s, refuse("lineage/limit", "limit must be a whole number from 1 to "+strconv.Itoa(MaxPage)+".")
	}
	if s.Since > s.Until {
		return s, refuse("lineage/period", "since must not be later than until.")
	}
	var err error
	s.After, err = parsePlace(q.After)
	return s, err
}

// place is where a page ends, as text.
func place(k FlowKey) string { return fmt.Sprintf("%d.%d.%d.%d", k.Day, k.Owner, k.Edge, k.Handle) }

func parsePlace(text string) (FlowKey, error) {
	if text == "" {
		return FlowKey{}, nil
	}
	bad := refuse("lineage/after", "after must be next of the page before, unchanged.")
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return FlowKey{}, bad
	}
	var n [4]int64
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 63)
		if err != nil || strconv.FormatUint(v, 10) != p || i == 0 && v > math.MaxInt32 || i == 1 && v > math.MaxUint32 {
			return FlowKey{}, bad
		}
		n[i] = int64(v)
	}
	k := FlowKey{Day: Day(n[0]), Owner: Owner(n[1]), Edge: n[2], Handle: n[3]}
	if k == (FlowKey{}) {
		return FlowKey{}, bad
	}
	return k, nil
}

// asked writes down that somebody looks, before they do.
func (l *Lineage) asked(ctx context.Context, q *Question, person gatehouse.PersonID) error {
	if q.further {
		return nil
	}
	e := audit.Entry{Action: "lineage.ask", Verdict: "allow", Service: q.By, Facts: map[string]string{"about": q.About.kind()}}
	if person != "" {
		e.Person, e.Personal = person, map[string]string{"person": string(person)}
	}
	_, err := l.log.Record(ctx, e)
	return err
}

// Flows answers a question with flows. That it was asked is in the log.
func (l *Lineage) Flows(ctx context.Context, q Question) (Flows, error) {
	s, err := q.selection()
	if err != nil {
		return Flows{}, err
	}
	var rows []FlowRow
	if q.About.kind() == "person" {
		rows, err = l.flowsOfPerson(ctx, &q, s)
	} else if err = l.asked(ctx, &q, ""); err == nil {
		rows, err = l.store.Flows(ctx, s)
	}
	if err != nil {
		return Flows{}, err
	}
	answer := Flows{}
	if len(rows) == s.Limit {
		answer.Next = place(rows[len(rows)-1].FlowKey)
	}
	if answer.Note, err = l.note(ctx); err != nil {
		return Flows{}, err
	}
	answer.Flows, err = l.views(ctx, rows)
	return answer, err
}

// EachFlow is Flows for all pages; it returns the note of the first. That it was
// asked is in the log once.
func (l *Lineage) EachFlow(ctx context.Context, q Question, visit func([]Flow) error) (note string, err error) {
	for q.Limit = MaxPage; ; q.further = true {
		page, err := l.Flows(ctx, q)
		if err != nil {
			return note, err
		}
		if !q.further {
			note = page.Note
		}
		if err := visit(page.Flows); err != nil {
			return note, err
		}
		if q.After = page.Next; q.After == "" {
			return note, nil
		}
	}
}

// EachPerson is People for all pages, likewise.
func (l *Lineage) EachPerson(ctx context.Context, q Question, visit func([]Reach) error) (note string, err error) {
	for q.Limit = MaxPage; ; q.further = true {
		page, err := l.People(ctx, q)
		if err != nil {
			return note, err
		}
		if !q.further {
			note = page.Note
		}
		if err := visit(page.People); err != nil {
			return note, err
		}
		if q.After = page.Next; q.After == "" {
			return note, nil
		}
	}
}

// flowsOfPerson merges what there is of one human's numbers, and of the sets that
// they may be meant by.
func (l *Lineage) flowsOfPerson(ctx context.Context, q *Question, s Selection) ([]FlowRow, error) {
	owners := []Owner{q.About.Number}
	var err error
	if q.About.Number == 0 {
		if owners, err = l.store.Owners(ctx, q.About.Keys); err != nil {
			return nil, err
		}
	}
	known, err := l.store.People(ctx, owners)
	if err != nil {
		return nil, err
	}
	var person gatehouse.PersonID
	for _, p := range known {
		if p.Person != "" {
			person = p.Person
		}
	}
	if err := l.asked(ctx, q, person); err != nil {
		return nil, err
	}
	for _, o := range slices.Clone(owners) {
		sets, err := l.store.Sets(ctx, o)
		if err != nil {
			return nil, err
		}
		owners = append(owners, sets...)
	}
	slices.Sort(owners)
	var all []FlowRow
	for _, o := range slices.Compact(owners) {
		of := s
		of.Owner = o
		// Of the same day: of owners before the end of the page, all is still to come;
		// of those behind it, nothing.
		if after := s.After; after != (FlowKey{}) && o != after.Owner {
			of.After = FlowKey{Day: after.Day, Owner: o}
			if o < after.Owner {
				of.After.Edge, of.After.Handle = math.MaxInt64, math.MaxInt64
			}
		}
		rows, err := l.store.Flows(ctx, of)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	slices.SortFunc(all, newestFirst)
	return all[:min(len(all), s.Limit)], nil
}

// newestFirst is the order of every list of flows.
func newestFirst(a, b FlowRow) int {
	switch {
	case a.Day != b.Day:
		return int(b.Day - a.Day)
	case a.Owner != b.Owner:
		if a.Owner > b.Owner {
			return -1
		}
		return 1
	case a.Edge != b.Edge:
		return int(b.Edge - a.Edge)
	}
	return int(b.Handle - a.Handle)
}

// views puts people into flows.
func (l *Lineage) views(ctx context.Context, rows []FlowRow) ([]Flow, error) {
	people, err := l.people(ctx, rows)
	if err != nil {
		return nil, err
	}
	flows := make([]Flow, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		w := &r.Way
		flows = append(flows, Flow{
			Kind: w.Kind, Verdict: w.Verdict, Person: people[r.Owner], Class: w.Class, Platform: w.Platform, App: w.App, Operation: w.Operation,
			Purpose: w.Purpose, Service: w.Service, Destination: w.Destination, SentFor: w.SentFor, Part: w.Part, Handle: r.HandleID,
			Day: r.Day.Time().Format(time.DateOnly), First: r.First, Last: r.Last, Count: r.Seen,
		})
	}
	return flows, nil
}

func (l *Lineage) people(ctx context.Context, rows []FlowRow) (map[Owner]Person, error) {
	var owners []Owner
	for i := range rows {
		owners = append(owners, rows[i].Owner)
	}
	return l.named(ctx, owners, true)
}

// named returns what is known of people, candidates included.
func (l *Lineage) named(ctx context.Context, owners []Owner, candidates bool) (map[Owner]Person, error) {
	slices.Sort(owners)
	rows, err := l.store.People(ctx, slices.Compact(owners))
	if err != nil {
		return nil, err
	}
	people := make(map[Owner]Person, len(rows))
	for _, o := range owners {
		people[o] = Person{Number: o}
	}
	for _, r := range rows {
		p := Person{Number: r.Owner, Platform: r.Platform, Person: r.Person, Erased: !r.Erased.IsZero()}
		if p.Erased {
			p.Platform = ""
		}
		if len(r.Candidates) > 0 && candidates {
			members, err := l.named(ctx, slices.Clone(r.Candidates), false)
			if err != nil {
				return nil, err
			}
			for _, c := range r.Candidates {
				p.Candidates = append(p.Candidates, members[c])
			}
		}
		people[r.Owner] = p
	}
	return people, nil
}

// People answers a question about a destination, a service or a purpose with the
// people whose data it was. That it was asked is in the log.
func (l *Lineage) People(ctx context.Context, q Question) (People, error) {
	s, err := q.selection()
	if err != nil {
		return People{}, err
	}
	if s.Destination == "" && s.Service == "" && s.Purpose == "" {
		return People{}, refuse("lineage/people", "People are listed for a destination, a service or a purpose.")
	}
	if err := l.asked(ctx, &q, ""); err != nil {
		return People{}, err
	}
	owners, err := l.store.Reached(ctx, s)
	if err != nil {
		return People{}, err
	}
	answer := People{People: []Reach{}}
	if len(owners) == s.Limit {
		answer.Next = place(FlowKey{Day: 1, Owner: owners[len(owners)-1]})
	}
	if answer.Note, err = l.note(ctx); err != nil {
		return People{}, err
	}
	people, err := l.named(ctx, slices.Clone(owners), true)
	if err != nil {
		return People{}, err
	}
	for _, o := range owners {
		r, err := l.reach(ctx, s, o)
		if err != nil {
			return People{}, err
		}
		if r.Count == 0 && !r.Incomplete {
			continue // what it was reached with was taken back
		}
		r.Person = people[o]
		answer.People = append(answer.People, r)
	}
	return answer, nil
}

// reach sums up the flows of one person that match.
func (l *Lineage) reach(ctx context.Context, s Selection, o Owner) (Reach, error) {
	r := Reach{Classes: []gatehouse.DataClass{}, Verdicts: []Verdict{}}
	of := Selection{Owner: o, Since: s.Since, Until: s.Until, Limit: MaxPage}
	for depth := 0; ; depth++ {
		rows, err := l.store.Flows(ctx, of)
		if err != nil {
			return r, err
		}
		for i := range rows {
			if s.matches(&rows[i].Way) {
				r.add(&rows[i])
			}
		}
		if len(rows) < of.Limit {
			break
		}
		if depth == maxDepth {
			r.Incomplete = true
			break
		}
		of.After = rows[len(rows)-1].FlowKey
	}
	slices.Sort(r.Classes)
	slices.Sort(r.Verdicts)
	return r, nil
}

// matches reports whether a way is among those that a selection names.
func (s *Selection) matches(w *Edge) bool {
	switch {
	case s.Destination != "":
		return w.Destination == s.Destination
	case s.Service != "":
		return w.Service == s.Service
	}
	return w.Purpose == s.Purpose || w.SentFor == s.Purpose
}

func (r *Reach) add(f *FlowRow) {
	if !slices.Contains(r.Classes, f.Way.Class) {
		r.Classes = append(r.Classes, f.Way.Class)
	}
	if !slices.Contains(r.Verdicts, f.Way.Verdict) {
		r.Verdicts = append(r.Verdicts, f.Way.Verdict)
	}
	if r.First.IsZero() || f.First.Before(r.First) {
		r.First = f.First
	}
	if f.Last.After(r.Last) {
		r.Last = f.Last
	}
	r.Count += f.Seen
}
