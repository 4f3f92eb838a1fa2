package console

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// StepupsSource tells of the second factors of the app's own users, and never of what
// one consists of. Actor is the account of whoever asks, for the log.
type StepupsSource interface {
	// Stepups returns what is open and a page of the people for whom a step-up was asked,
	// whoever was last first; after is where an earlier page said that the list goes on.
	Stepups(ctx context.Context, after string) (StepupsView, error)
	// Find returns the person whom the app calls by a name, "" if no step-up was ever
	// asked for them.
	Find(ctx context.Context, actor, subject string) (person string, err error)
	// Holder returns what one person has.
	Holder(ctx context.Context, actor, person string) (HolderView, error)
	// Reset removes all of it and returns how many factors there were.
	Reset(ctx context.Context, actor, person string) (removed int, err error)
}

// StepupsView is what the list shows. It names people by ids that mean nothing outside.
type StepupsView struct {
	// Services may ask for step-ups; none means that the configuration names none.
	Services []string
	// Open and Blocked are how many there are, at most Most.
	Open, Blocked, Most int
	Opens               []OpenStepup
	Holders             []HolderLine
	// After continues the list of people; "" at its end.
	After string
}

// HolderLine is a person in the list.
type HolderLine struct {
	Person                                      string
	Passkeys, TOTP, Blocked, RecoveryLeft, Open int
	Asked, Proved                               time.Time
}

// OpenStepup is a step-up that has neither ended nor expired.
type OpenStepup struct {
	ID, Person, Service string
	// State is asked, started or coded.
	State            string
	Wrong            int
	Created, Expires time.Time
}

// HolderView is all about one person's second factors.
type HolderView struct {
	HolderLine
	// Subject is the app's own name of the person; "" if it is not noted yet.
	Subject string
	Factors []FactorLine
	Opens   []OpenStepup
	Entries []EntryLine
}

// FactorLine is one factor.
type FactorLine struct {
	// Kind is passkey or totp.
	Kind          string
	Blocked       bool
	Created, Used time.Time
}

// Stepups returns the pages about the second factors of the app's users.
func Stepups(from StepupsSource) Page {
	p := stepupsPage{from}
	return Page{routes: []route{
		get("/stepups", peopleRead, p.list),
		post("/stepups/find", peopleRead, p.find),
		get("/stepups/{person}", peopleRead, p.one),
		post("/stepups/{person}/reset", peopleErase, p.reset).demanding(),
	}}
}

type stepupsPage struct{ from StepupsSource }

func stepupHref(person string) string { return "/stepups/" + url.PathEscape(person) }

// factorWord is a kind of factor as people know it.
func factorWord(kind string) string {
	switch kind {
	case "passkey":
		return "passkey"
	case "totp":
		return "authenticator app"
	}
	return wordOf(kind)
}

// has says in words what somebody has.
func (h HolderLine) has() string {
	var words []string
	for _, f := range []struct {
		n    int
		word string
	}{{h.Passkeys, "passkey"}, {h.TOTP, "authenticator app"}, {h.Blocked, "blocked passkey"}} {
		switch {
		case f.n == 1:
			words = append(words, "1 "+f.word)
		case f.n > 1:
			words = append(words, strconv.Itoa(f.n)+" "+f.word+"s")
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

func openBadge(state string) Cell {
	switch state {
	case "asked":
		return badgeCell(Plain, "asked, not opened")
	case "started":
		return badgeCell(Plain, "under way")
	case "coded":
		return badgeCell(Good, "proved, app to collect")
	}
	return badgeCell(Off, wordOf(state))
}

// upTo says a figure that was counted to a bound.
func upTo(n, most int) string {
	if most > 0 && n >= most {
		return count(int64(most)) + "+"
	}
	return count(int64(n))
}

func (p stepupsPage) list(v *visit) error {
	view, err := p.from.Stepups(v.context(), v.query("after"))
	if err != nil {
		return err
	}
	data := struct {
		On      bool
		Tiles   []Tile
		Opens   Table
		Holders Table
		Log     string
	}{On: len(view.Services) > 0 || len(view.Holders) > 0, Log: v.reach("/log?action=stepup.reset")}
	data.Tiles = []Tile{{Label: "Open step-ups", Value: upTo(view.Open, view.Most), Note: "asked for, neither ended nor expired", Href: "#open"}}
	blocked := Tile{Label: "Blocked passkeys", Value: upTo(view.Blocked, view.Most), Note: "none seems to be copied", Href: v.reach("/log?action=stepup.alarm")}
	if view.Blocked > 0 {
		blocked.Tone, blocked.Note = Warn, "seem to exist twice; they open nothing"
	}
	services := Tile{Label: "Services that may ask", Value: count(int64(len(view.Services))), Note: strings.Join(view.Services, ", "), Href: v.reach("/services")}
	if len(view.Services) == 0 {
		services.Tone, services.Note = Off, "stepup.services names none"
	}
	data.Tiles = append(data.Tiles, blocked, services)
	data.Opens = opensTable("Open step-ups, the newest first", view.Opens, true)
	data.Holders = Table{Caption: "People for whom a step-up was asked, whoever was last first", Columns: []Column{
		{Name: "Person"}, {Name: "Second factors"}, {Name: "Recovery codes left", Number: true}, {Name: "Last proof"}, {Name: "Last asked"}, {Name: "Open", Number: true},
	}, Empty: Empty{
		Title: "No step-up was asked for yet", Text: "Your app asks for one with POST /gatehouse/v1/stepups, before something that cannot be undone. Name the services that may ask in the configuration, under stepup.services.", Command: "gatehouse config example",
	}}
	if v.query("after") != "" {
		data.Holders.Pager.Before = "/stepups"
	}
	if view.After != "" {
		data.Holders.Pager.After = v.with("after", view.After)
	}
	for _, h := range view.Holders {
		data.Holders.Rows = append(data.Holders.Rows, Row{Cells: []Cell{
			idCell(h.Person, stepupHref(h.Person)), factorsCell(h), countCell(int64(h.RecoveryLeft)), timeCell(h.Proved), timeCell(h.Asked), countCell(int64(h.Open)),
		}})
	}
	return v.show("stepups.html", "Step-ups", data)
}

func factorsCell(h HolderLine) Cell {
	switch {
	case h.Blocked > 0:
		return badgeCell(Warn, h.has())
	case h.Passkeys+h.TOTP == 0:
		return badgeCell(Off, "none")
	}
	return textCell(h.has())
}

func opensTable(caption string, list []OpenStepup, persons bool) Table {
	t := Table{Caption: caption, Columns: []Column{{Name: "Step-up"}}, Empty: Empty{Title: "Nothing is open", Text: "A step-up is open from the app's request until it is proved and collected, given up, or 15 minutes are over."}}
	if persons {
		t.Columns = append(t.Columns, Column{Name: "Person"})
	}
	t.Columns = append(t.Columns, Column{Name: "State"}, Column{Name: "Asked by"}, Column{Name: "Wrong answers", Number: true}, Column{Name: "Asked"}, Column{Name: "Expires"})
	for _, o := range list {
		row := []Cell{idCell(o.ID, "")}
		if persons {
			row = append(row, idCell(o.Person, stepupHref(o.Person)))
		}
		t.Rows = append(t.Rows, Row{Cells: append(row, openBadge(o.State), textCell(o.Service), countCell(int64(o.Wrong)), timeCell(o.Created), timeCell(o.Expires))})
	}
	return t
}

// findingHolder is the form that looks somebody up by the app's name. It is a command
// for the reasons that finding is one.
type findingHolder struct{ subject string }

func (c *findingHolder) read(f *form) { c.subject = f.need("subject", 200) }

func (p stepupsPage) find(v *visit, in *findingHolder) (*outcome, error) {
	person, err := p.from.Find(v.context(), v.actor(), in.subject)
	if err != nil {
		return nil, err
	}
	if person == "" {
		return goTo("/stepups").saying("No step-up was ever asked for anybody of this name. That you looked is in the log."), nil
	}
	return goTo(stepupHref(person)), nil
}

func (p stepupsPage) one(v *visit) error {
	h, err := p.from.Holder(v.context(), v.actor(), v.r.PathValue("person"))
	if err != nil {
		return err
	}
	data := struct {
		H       HolderView
		Badge   Badge
		Facts   Pairs
		Factors Table
		Opens   Table
		Log     bool
		Entries Table
		Danger  *Danger
	}{H: h, Log: v.may(logRead)}
	switch {
	case h.Blocked > 0:
		data.Badge = Badge{Warn, "a passkey is blocked"}
	case h.Passkeys+h.TOTP > 0:
		data.Badge = Badge{Good, "protected"}
	default:
		data.Badge = Badge{Off, "no second factor"}
	}
	called := textCell("not noted yet")
	if h.Subject != "" {
		called = textCell(h.Subject)
	}
	data.Facts = Pairs{{"Your app's own name", called}, {"Second factors", textCell(h.has())}, {"Recovery codes left", countCell(int64(h.RecoveryLeft))}, {"Last proof", timeCell(h.Proved)}, {"Last asked", timeCell(h.Asked)}}
	data.Factors = Table{Caption: "Second factors", Columns: []Column{{Name: "Kind"}, {Name: "State"}, {Name: "Set up"}, {Name: "Last used"}}, Empty: Empty{
		Title: "This person has no second factor", Text: "The next step-up that your app asks for has them set one up.",
	}}
	for _, f := range h.Factors {
		state := badgeCell(Good, "works")
		if f.Blocked {
			state = badgeCell(Bad, "blocked: it seems to be copied")
		}
		data.Factors.Rows = append(data.Factors.Rows, Row{Cells: []Cell{textCell(factorWord(f.Kind)), state, timeCell(f.Created), timeCell(f.Used)}})
	}
	data.Opens = opensTable("Open step-ups of this person", h.Opens, false)
	data.Entries = entryTable(v, "What the log says of this person, the newest first", h.Entries, Empty{Title: "The log says nothing", Text: "Every step-up leaves entries; they are kept as long as the log is."})
	if v.may(peopleErase) && len(h.Factors)+h.RecoveryLeft+len(h.Opens) > 0 {
		data.Danger = &Danger{
			Title: "Reset second factors", Word: "reset", Button: "Reset", Action: stepupHref(h.Person) + "/reset",
			Will: []string{
				"Removed: " + h.has() + "; recovery codes: " + count(int64(h.RecoveryLeft)) + ". Open step-ups end, and no browser is known as theirs any more.",
				"Your app is told first (event stepup.reset), and the log names you.",
				"From then on whoever is signed in at your app as this person can set up new factors. Be sure who asks you.",
			},
		}
		if h.Subject == "" {
			data.Danger = nil
		}
	}
	return v.show("stepup.html", "Second factors of a person", data)
}

// resettingFactors is the form that removes somebody's factors.
type resettingFactors struct{}

func (*resettingFactors) read(f *form) { f.typed("reset") }

func (p stepupsPage) reset(v *visit, _ *resettingFactors) (*outcome, error) {
	person := v.r.PathValue("person")
	n, err := p.from.Reset(v.context(), v.actor(), person)
	if err != nil {
		return nil, err
	}
	return goTo(stepupHref(person)).saying("Factors that were removed: " + count(int64(n)) + ". Your app is told."), nil
}
