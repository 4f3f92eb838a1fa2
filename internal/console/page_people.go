package console

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"time"
)

// PeopleSource looks people up. Actor is the account of whoever looks: every look is
// recorded before it is taken.
type PeopleSource interface {
	// Kinds are what people can be looked up by, such as subject, x, facebook.
	Kinds() []string
	// Find returns whom a name means: people whose grant is held, or else the numbers of
	// those who merely appeared.
	Find(ctx context.Context, actor, kind, name string) (PeopleFound, error)
	// Person returns one person's whole story; days bounds their flows, zero is all.
	Person(ctx context.Context, actor, person string, days int) (PersonView, error)
	// Numbered returns the flows of somebody who merely appeared.
	Numbered(ctx context.Context, actor string, number uint32, days int) (PersonView, error)
	// Duties returns a page of duties that are open, the nearest deadline first.
	Duties(ctx context.Context) ([]DutyLine, error)
	// Duty returns one duty with its steps.
	Duty(ctx context.Context, id string) (DutyView, error)
	// Erase opens the duty to erase a person and returns its id.
	Erase(ctx context.Context, actor, person string) (duty string, err error)
}

// PeopleFound is whom a name means.
type PeopleFound struct {
	People  []string
	Numbers []uint32
}

// PersonView is what is known of somebody. Who it is stands in Names, which only those
// see who may read people.
type PersonView struct {
	ID     string
	Number uint32
	// State is connected, ended, erasing or erased.
	State       string
	Names       []PersonName
	Connections []ConnectionLine
	Flows       []Flow
	// FlowsNote says what may be missing of the flows.
	FlowsNote string
	Entries   []EntryLine
	Duties    []DutyView
	// Factors are the second factors that they prove to the app; nil if it never asked.
	Factors *HolderLine
}

// PersonName is what somebody is called: by the app, or at a platform.
type PersonName struct {
	By   string // "subject" for the app's own name, or the platform
	ID   string
	Name string
}

// DutyView is a duty with its steps.
type DutyView struct {
	DutyLine
	Origin, Person string
	Opened, Closed time.Time
	Steps          []Step
	// Proof is the entry of the log that closed it; Justification why it was refused.
	Proof, Justification string
	// StatusPage is what the person can be shown.
	StatusPage string
}

// People returns the pages about single people.
func People(from PeopleSource) Page {
	p := peoplePage{from}
	return Page{routes: []route{
		get("/people", peopleRead, p.start),
		post("/people/find", peopleRead, p.find),
		get("/people/{person}", peopleRead, p.one),
		get("/people/number/{number}", peopleRead, p.number),
		get("/people/duties/{duty}", peopleRead, p.duty),
		post("/people/{person}/erase", peopleErase, p.erase).demanding(),
	}}
}

type peoplePage struct{ from PeopleSource }

// peopleData is what the page to look people up shows.
type peopleData struct {
	Kinds  []Option
	Many   Table
	Duties Table
}

func (p peoplePage) start(v *visit) error {
	data, err := p.data(v, "")
	if err != nil {
		return err
	}
	return v.show("people.html", "People", data)
}

func (p peoplePage) data(v *visit, kind string) (peopleData, error) {
	duties, err := p.from.Duties(v.context())
	if err != nil {
		return peopleData{}, err
	}
	return peopleData{Kinds: kindOptions(kind, p.from.Kinds()), Duties: dutyTable(v, duties)}, nil
}

func kindOptions(selected string, kinds []string) []Option {
	var out []Option
	for _, k := range kinds {
		out = append(out, Option{Value: k, Label: knownBy(k), Selected: k == selected})
	}
	return out
}

// knownBy is what somebody can be known by, in words.
func knownBy(kind string) string {
	switch kind {
	case "subject":
		return "Your app's own name"
	case "connection":
		return "Connection"
	}
	return "Id at " + kind
}

// finding is the form that looks somebody up. It is a command: a look leaves an entry in
// the log, and whom it is about must not stand in an address, where browsers keep it.
type finding struct{ kind, name string }

func (c *finding) read(f *form) {
	c.kind, c.name = f.need("kind", 40), f.need("name", 300)
}

func (p peoplePage) find(v *visit, in *finding) (*outcome, error) {
	found, err := p.from.Find(v.context(), v.actor(), in.kind, in.name)
	if err != nil {
		return nil, err
	}
	switch {
	case len(found.People) == 1:
		return goTo(personHref(found.People[0])), nil
	case len(found.People) == 0 && len(found.Numbers) == 1:
		return goTo("/people/number/" + strconv.FormatUint(uint64(found.Numbers[0]), 10)), nil
	case len(found.People)+len(found.Numbers) == 0:
		return goTo("/people").saying("Nothing is held of anybody of this name. That you looked is in the log."), nil
	}
	data, err := p.data(v, in.kind)
	if err != nil {
		return nil, err
	}
	data.Many = Table{Caption: "People of this name", Columns: []Column{{Name: "Person"}, {Name: "Known by"}}}
	for _, id := range found.People {
		data.Many.Rows = append(data.Many.Rows, Row{Cells: []Cell{idCell(id, personHref(id)), textCell("a grant that is or was held")}})
	}
	for _, n := range found.Numbers {
		text := strconv.FormatUint(uint64(n), 10)
		data.Many.Rows = append(data.Many.Rows, Row{Cells: []Cell{linkCell("number "+text, "/people/number/"+text), textCell("data that was delivered")}})
	}
	return showOnce("people.html", "People", data), nil
}

// periods are what flows can be bounded by, in days; zero is everything.
var periods = []int{7, 30, 90, 0}

// days returns the period that the address asks for.
func (v *visit) days(otherwise int) (int, error) {
	asked, err := v.number("days", "Time in days, 0 for all", periods)
	if err != nil || asked == nil {
		return otherwise, err
	}
	return *asked, nil
}

// number is choice among numbers; nil where it is missing.
func (v *visit) number(name, label string, offered []int) (*int, error) {
	words := make([]string, len(offered))
	for i, n := range offered {
		words[i] = strconv.Itoa(n)
	}
	s, err := v.choice(name, label, words)
	if err != nil || s == "" {
		return nil, err
	}
	return &offered[slices.Index(words, s)], nil
}

// periodLinks lead to the same page about other times.
func (v *visit) periodLinks(chosen int) []periodLink {
	var out []periodLink
	for _, d := range periods {
		text := strconv.Itoa(d) + " days"
		if d == 0 {
			text = "All"
		}
		out = append(out, periodLink{text, v.with("days", strconv.Itoa(d)), d == chosen})
	}
	return out
}

type periodLink struct {
	Text, Href string
	Chosen     bool
}

// personData is what the page of one person shows.
type personData struct {
	P           PersonView
	Badge       Badge
	Label       string
	Connections Table
	Picture     FlowPicture
	Flows       Table
	Periods     []periodLink
	Entries     Table
	Log         bool
	Danger      *Danger
	// Factors says what second factors they have, "" if none was ever asked for; Stepups
	// is where they are.
	Factors, Stepups string
}

func (p peoplePage) one(v *visit) error {
	days, err := v.days(90)
	if err != nil {
		return err
	}
	view, err := p.from.Person(v.context(), v.actor(), v.r.PathValue("person"), days)
	if err != nil {
		return err
	}
	return p.showPerson(v, view, days)
}

func (p peoplePage) number(v *visit) error {
	n, err := strconv.ParseUint(v.r.PathValue("number"), 10, 32)
	if err != nil || n == 0 {
		return errNoSuch("person")
	}
	days, err := v.days(90)
	if err != nil {
		return err
	}
	view, err := p.from.Numbered(v.context(), v.actor(), uint32(n), days)
	if err != nil {
		return err
	}
	return p.showPerson(v, view, days)
}

func (p peoplePage) showPerson(v *visit, view PersonView, days int) error {
	data := personData{P: view, Badge: Badge{personTone(view.State), view.State}, Periods: v.periodLinks(days), Log: v.may(logRead)}
	data.Label = "Person"
	if view.ID == "" {
		data.Label = "Somebody whose data was delivered"
	}
	data.Connections = Table{Caption: "Connections", Columns: []Column{{Name: "Connection"}, {Name: "State"}, {Name: "What to do"}, {Name: "App"}, {Name: "Purposes"}, {Name: "Changed"}}, Empty: Empty{
		Title: "No connection", Text: "This person's grant is not held, or not any more.",
	}}
	for _, c := range view.Connections {
		data.Connections.Rows = append(data.Connections.Rows, Row{Cells: []Cell{
			idCell(c.ID, v.reach(connectionHref(c.ID))), badgeCell(c.tone(), c.word()), textCell(c.Next), textCell(c.App), textCell(strings.Join(c.Purposes, ", ")), timeCell(c.Changed),
		}})
	}
	if f := view.Factors; f != nil {
		data.Factors, data.Stepups = f.has()+"; recovery codes left: "+count(int64(f.RecoveryLeft)), stepupHref(view.ID)
	}
	data.Picture = drawFlows("Where this person's data went", view.Flows, func(f Flow) string {
		return cmp.Or(f.Operation, f.Source, "(not known)")
	})
	data.Flows = flowTable("Where this person's data went", view.Flows, Empty{
		Title: "No flow is on record", Text: "Nothing about this person was delivered in this time, or recognised when it left.",
	})
	data.Entries = entryTable(v, "What the log says of this person, the newest first", view.Entries, Empty{Title: "The log says nothing", Text: "Entries are found until the person is erased; nothing finds them afterwards."})
	if view.ID != "" && view.State != "erased" && view.State != "erasing" && v.may(peopleErase) {
		data.Danger = &Danger{
			Title: "Erase this person", Word: "erase", Button: "Erase", Action: personHref(view.ID) + "/erase",
			Will: []string{
				"They are cut off at once: no handle of theirs works, and the platforms are asked to end the grants.",
				"Your app is asked to delete its own copy, and has until a deadline to say that it did.",
				"Then this person's key is destroyed: tokens, names, and their fields of the log cannot be read again, by anybody. It cannot be undone.",
			},
		}
	}
	return v.show("person.html", data.Label, data)
}

func personTone(state string) Tone {
	switch state {
	case "connected":
		return Good
	case "erasing":
		return Warn
	}
	return Off
}

func (p peoplePage) duty(v *visit) error {
	d, err := p.from.Duty(v.context(), v.r.PathValue("duty"))
	if err != nil {
		return err
	}
	data := struct {
		D     DutyView
		Badge Badge
		Facts Pairs
		Proof string
	}{D: d, Badge: Badge{dutyTone(d.State), d.State}}
	data.Facts = Pairs{
		{"Kind", textCell(wordOf(d.Kind))}, {"Brought about by", textCell(wordOf(d.Origin))}, {"Opened", timeCell(d.Opened)}, {"Deadline", timeCell(d.Deadline)},
	}
	if d.App != "" {
		data.Facts = append(data.Facts, Pair{"App", textCell(d.App)})
	}
	if d.Person != "" {
		data.Facts = append(data.Facts, Pair{"Person", idCell(d.Person, personHref(d.Person))})
	}
	if d.Proof != "" {
		data.Proof = v.reach(entryHref(d.Proof))
	}
	return v.show("duty.html", "Duty", data)
}

// erasing is the form that has a person erased.
type erasing struct{}

func (*erasing) read(f *form) { f.typed("erase") }

func (p peoplePage) erase(v *visit, _ *erasing) (*outcome, error) {
	duty, err := p.from.Erase(v.context(), v.actor(), v.r.PathValue("person"))
	if err != nil {
		return nil, err
	}
	return goTo(dutyHref(duty)).saying("The duty is open: the person is being cut off."), nil
}
