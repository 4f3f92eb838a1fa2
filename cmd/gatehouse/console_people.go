package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/audit"
	"gatehouse/internal/cases"
	"gatehouse/internal/connect"
	"gatehouse/internal/console"
	"gatehouse/internal/lineage"
	"gatehouse/internal/public"
	"gatehouse/internal/vault"
	"gatehouse/internal/wire"
)

// peopleSource looks people up for the console. Every look is in the log before it is
// taken, under the account of whoever looks.
type peopleSource struct{ *parts }

// maxFlowPages bounds how many pages of flows one picture is made of.
const maxFlowPages = 5

func (p peopleSource) Kinds() []string {
	kinds := []string{"subject"}
	cfg := p.configured()
	for _, name := range p.connect.Apps() {
		if platform := string(cfg.Apps[name].Platform); !slices.Contains(kinds, platform) {
			kinds = append(kinds, platform)
		}
	}
	slices.Sort(kinds[1:])
	return append(kinds, "connection")
}

func (p peopleSource) Find(ctx context.Context, actor, kind, name string) (console.PeopleFound, error) {
	ctx = audit.By(ctx, actor)
	if !slices.Contains(p.Kinds(), kind) {
		return console.PeopleFound{}, wire.Refuse(gatehouse.ErrInvalid, "console/field", "The form was not accepted: kind is none of what can be chosen.")
	}
	var found console.PeopleFound
	if kind == "connection" {
		people, err := p.connect.People(ctx, connect.Who{Connection: gatehouse.ConnectionID(name)})
		if errors.Is(err, gatehouse.ErrNotFound) {
			return found, nil
		}
		return foundPeople(people), err
	}
	// Also who is not found has been looked for.
	if _, err := p.log.Record(ctx, audit.Entry{Action: "audit.search", Verdict: "allow", Facts: map[string]string{"about": "person", "by": kind}}); err != nil {
		return found, err
	}
	people, err := p.peopleNamed(ctx, kind+":"+name)
	if err != nil {
		return found, err
	}
	if found = foundPeople(people); len(found.People) > 0 || kind == "subject" {
		return found, nil
	}
	keys, err := p.lineageKeys(ctx, kind+":"+name)
	if err != nil {
		return found, err
	}
	flows, err := p.lineage.Flows(ctx, lineage.Question{About: lineage.Subject{Keys: keys}, Limit: 200})
	for _, f := range flows.Flows {
		if len(f.Person.Candidates) == 0 && f.Person.Number != 0 && !slices.Contains(found.Numbers, uint32(f.Person.Number)) {
			found.Numbers = append(found.Numbers, uint32(f.Person.Number))
		}
	}
	return found, err
}

func foundPeople(people []gatehouse.PersonID) console.PeopleFound {
	var found console.PeopleFound
	for _, person := range people {
		if !slices.Contains(found.People, string(person)) {
			found.People = append(found.People, string(person))
		}
	}
	return found
}

func (p peopleSource) Person(ctx context.Context, actor, id string, days int) (console.PersonView, error) {
	ctx = audit.By(ctx, actor)
	person := gatehouse.PersonID(id)
	view := console.PersonView{ID: id, State: "ended"}
	// Nobody's id is written down as if it were somebody's.
	key, err := p.db.Vault().PersonKey(ctx, person, 0)
	if errors.Is(err, gatehouse.ErrNotFound) {
		return view, wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such person.")
	}
	if err != nil {
		return view, err
	}
	whose := []audit.Found{{Hash: p.logIndex, Person: person}}
	if key.State == vault.Destroyed {
		view.State = "erased"
		if _, err := p.log.Record(ctx, audit.Entry{Action: "audit.search", Verdict: "allow", Facts: map[string]string{"about": "person"}}); err != nil {
			return view, err
		}
	} else if err := p.recordSearch(ctx, "", whose); err != nil {
		return view, err
	}
	known, err := p.connect.Known(ctx, person)
	if err != nil {
		return view, err
	}
	for _, c := range known.Connections {
		view.Connections = append(view.Connections, connectionLine(c))
		if c.Status != connect.Revoked && c.Status != connect.Erased && view.State == "ended" {
			view.State = "connected"
		}
		name := console.PersonName{By: string(c.Platform), ID: c.PlatformUser, Name: c.Name}
		if c.PlatformUser != "" && !slices.Contains(view.Names, name) {
			view.Names = append(view.Names, name)
		}
	}
	for _, subject := range known.Subjects() {
		view.Names = append([]console.PersonName{{By: "subject", ID: string(subject)}}, view.Names...)
	}
	now := time.Now()
	duties, err := p.cases.List(ctx, cases.Filter{Person: person, Now: now})
	if err != nil {
		return view, err
	}
	for _, d := range duties {
		view.Duties = append(view.Duties, dutyView(d, now, p.connect.PublicURL()))
		if d.Closed.IsZero() && d.Kind != cases.ContentRemoved && view.State != "erased" {
			view.State = "erasing"
		}
	}
	slices.Reverse(view.Duties) // the newest first
	keys, err := p.connect.UserKeys(ctx, person)
	if err != nil {
		return view, err
	}
	if len(keys) > 0 {
		if view.Flows, view.FlowsNote, err = p.flowsAbout(ctx, lineage.Subject{Keys: keys}, sinceDays(days, now)); err != nil {
			return view, err
		}
	}
	if held, err := p.db.Stepup().Holder(ctx, person, now); err == nil {
		line := holderLine(held.Holder)
		view.Factors = &line
	} else if !errors.Is(err, gatehouse.ErrNotFound) {
		return view, err
	}
	if view.State == "erased" {
		return view, nil // nothing finds the entries of somebody who was erased
	}
	searcher, err := p.searcher(ctx)
	if err != nil {
		return view, err
	}
	view.Entries, err = p.newestLines(ctx, searcher, audit.Query{Found: whose}, maxEntries)
	return view, err
}

func (p peopleSource) Numbered(ctx context.Context, actor string, number uint32, days int) (view console.PersonView, err error) {
	ctx = audit.By(ctx, actor)
	view = console.PersonView{Number: number, State: "never connected"}
	view.Flows, view.FlowsNote, err = p.flowsAbout(ctx, lineage.Subject{Number: lineage.Owner(number)}, sinceDays(days, time.Now()))
	return view, err
}

// wayKey is what is added up in the picture of one person's flows.
type wayKey struct{ kind, verdict, source, operation, purpose, service, destination, sentFor, class string }

// flowsAbout adds up the newest flows about somebody, for a picture and a table.
func (p *parts) flowsAbout(ctx context.Context, about lineage.Subject, since time.Time) ([]console.Flow, string, error) {
	sums := map[wayKey]*console.Flow{}
	var order []*console.Flow
	note, pages := "", 0
	enough := errors.New("enough")
	said, err := p.lineage.EachFlow(ctx, lineage.Question{About: about, Since: since}, func(flows []lineage.Flow) error {
		if pages++; pages > maxFlowPages {
			note = "Only the newest flows are shown: there are very many."
			return enough
		}
		for i := range flows {
			f := &flows[i]
			one := consoleFlow(f)
			k := wayKey{one.Kind, one.Verdict, one.Source, one.Operation, one.Purpose, one.Service, one.Destination, one.SentFor, one.Class}
			sum := sums[k]
			if sum == nil {
				sum = &one
				sums[k] = sum
				order = append(order, sum)
				continue
			}
			sum.Count += one.Count
			if one.First.Before(sum.First) {
				sum.First = one.First
			}
			if one.Last.After(sum.Last) {
				sum.Last = one.Last
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, enough) {
		return nil, "", err
	}
	out := make([]console.Flow, 0, len(order))
	for _, f := range order {
		out = append(out, *f)
	}
	slices.SortStableFunc(out, func(a, b console.Flow) int { return b.Last.Compare(a.Last) })
	return out, strings.TrimSpace(note + " " + said), nil
}

func consoleFlow(f *lineage.Flow) console.Flow {
	out := console.Flow{
		Kind: string(f.Kind), Verdict: string(f.Verdict), Operation: string(f.Operation), Purpose: string(f.Purpose), Service: string(f.Service),
		Destination: f.Destination, SentFor: string(f.SentFor), Class: string(f.Class), Count: f.Count, First: f.First, Last: f.Last,
	}
	if f.App != "" {
		out.Source = fmt.Sprintf("%s: %s", f.Platform, f.App)
	}
	return out
}

func dutyLine(d cases.Duty, now time.Time) console.DutyLine {
	return console.DutyLine{ID: d.ID, Kind: string(d.Kind), App: string(d.App), State: string(d.State(now)), Deadline: d.Deadline, Waiting: d.Waiting()}
}

// dutyView is a duty with its steps in their order; pages is where people's own pages are.
func dutyView(d cases.Duty, now time.Time, pages string) console.DutyView {
	v := console.DutyView{DutyLine: dutyLine(d, now), Origin: string(d.Origin), Person: string(d.Person), Opened: d.Opened, Closed: d.Closed, Proof: d.Proof, Justification: d.Justification}
	if d.Kind != cases.ContentRemoved {
		v.StatusPage = pages + public.DeletionPath + d.Code
	}
	type step struct {
		text, note string
		at         time.Time
	}
	steps := []step{{"The duty is open", "", d.Opened}}
	if d.About() {
		steps = append(steps, step{"Cut off here, and every platform confirmed that the grants ended", "Platforms that have not confirmed are asked again.", d.Revoked})
	}
	answered := "Your app said that its own copy is deleted"
	if d.AnsweredBy != "" {
		answered += " (" + d.AnsweredBy + ")"
	}
	steps = append(steps, step{"Your app was asked to delete its own copy", "The event waits to be delivered.", d.Asked}, step{answered, "Your app answers POST /gatehouse/v1/duties/{id}/done.", d.Answered})
	if d.About() {
		steps = append(steps, step{"Everything that was held here is destroyed", "", d.Shredded})
	}
	steps = append(steps, step{"Closed, with an entry of the log as proof", "", d.Closed})
	underWay := false // one step is
	for _, s := range steps {
		one := console.Step{State: "done", Text: s.text, At: s.at}
		if s.at.IsZero() {
			one.State = "waiting"
			if !underWay && d.Closed.IsZero() {
				one.State, one.Note, underWay = "now", s.note, true
			}
		}
		v.Steps = append(v.Steps, one)
	}
	if d.Justification != "" {
		v.Steps = []console.Step{{State: "done", Text: steps[0].text, At: d.Opened}, {State: "failed", Text: "Refused: nothing was erased", At: d.Closed}}
	}
	return v
}

func (p peopleSource) Duties(ctx context.Context) ([]console.DutyLine, error) {
	list, _, err := p.nearestDuties(ctx, 50)
	return list, err
}

func (p peopleSource) Duty(ctx context.Context, id string) (console.DutyView, error) {
	d, err := p.cases.Get(ctx, id)
	if err != nil {
		return console.DutyView{}, err
	}
	return dutyView(d, time.Now(), p.connect.PublicURL()), nil
}

func (p peopleSource) Erase(ctx context.Context, actor, id string) (string, error) {
	ctx = audit.By(ctx, actor)
	person := gatehouse.PersonID(id)
	if _, err := p.db.Vault().PersonKey(ctx, person, 0); err != nil {
		if errors.Is(err, gatehouse.ErrNotFound) {
			return "", wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such person.")
		}
		return "", err
	}
	opened, err := p.eraseAll(ctx, cases.FromOperator, []gatehouse.PersonID{person}, func(gatehouse.AppName) error { return nil })
	if err != nil {
		return "", err
	}
	if len(opened) == 0 {
		return "", wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "Nothing is held of this person.")
	}
	return slices.MaxFunc(opened, func(a, b cases.Duty) int { return cmp.Or(a.Opened.Compare(b.Opened), strings.Compare(a.ID, b.ID)) }).ID, nil
}
