package console

import (
	"context"
	"net/url"
	"strings"
	"time"

	"gatehouse"
	"gatehouse/internal/wire"
)

// ConnectionsSource finds connections and ends one. Actor is the account of whoever
// asks, for the log.
type ConnectionsSource interface {
	// Connections returns a page of connections, the newest first; they name nobody.
	Connections(ctx context.Context, q ConnectionsQuery) (ConnectionList, error)
	// Connection returns one with all about it. The entries of the log are looked for
	// only if withLog: that they are is itself recorded.
	Connection(ctx context.Context, actor, id string, withLog bool) (ConnectionView, error)
	// Revoke ends one and returns what to say.
	Revoke(ctx context.Context, actor, id string) (string, error)
}

// ConnectionsQuery narrows the list. "" is everything.
type ConnectionsQuery struct{ Platform, App, State, Purpose, After string }

// ConnectionList is a page of the list.
type ConnectionList struct {
	// What the filter offers.
	Platforms, Apps, Purposes []string
	// Counts are how many there are by state; nil when that is not known yet.
	Counts      map[string]int64
	Connections []ConnectionLine
	// After continues the list; "" at its end.
	After string
}

// ConnectionLine is a connection in a list. It names its person by an identifier that
// means nothing outside.
type ConnectionLine struct {
	ID, App, Platform, Kind, Service, Person string
	State, Reason, Next                      string
	// Unreadable says that somebody changed the row: what names the person does not open.
	Unreadable, Outstanding bool
	Purposes                []string
	Created, Changed        time.Time
}

// ConnectionView is all about one connection.
type ConnectionView struct {
	ConnectionLine
	Parent                                   string
	Scopes, Declined                         []string
	AccessExpires, RefreshExpires, DataUntil time.Time
	// AtPlatform is how far the revocation of one that ended has come there: confirmed,
	// outstanding, with_parent, not_offered.
	AtPlatform string
	Handles    []HandleLine
	// MoreHandles says that there are others.
	MoreHandles bool
	Renewals    []EntryLine
	// PartOfRenewals and PartOfEntries say that only the newest entries of the person were
	// looked through for these.
	PartOfRenewals, PartOfEntries bool
	Entries                       []EntryLine
}

// HandleLine is a handle of a connection.
type HandleLine struct {
	ID, Service, Purpose string
	Created, Expires     time.Time
	// Used is when a call was last made with it; zero when none is known.
	Used time.Time
	// NotLately says that it is not known for lack of a use among the person's newest
	// entries of the log, where there are older ones.
	NotLately bool
	Ended     bool
}

// connectionStates are the states in the order in which they matter.
var connectionStates = []string{"healthy", "renewing", "in_doubt", "reconnect_needed", "revoked", "erased"}

func connectionTone(state string) Tone {
	switch state {
	case "healthy":
		return Good
	case "renewing":
		return Plain
	case "in_doubt", "reconnect_needed":
		return Warn
	}
	return Off
}

// Connections returns the pages about people's grants.
func Connections(from ConnectionsSource) Page {
	p := connectionsPage{from}
	return Page{routes: []route{
		get("/connections", connectionsRead, p.list),
		get("/connections/{id}", connectionsRead, p.one),
		post("/connections/{id}/revoke", connectionsRevoke, p.revoke).demanding(),
	}}
}

type connectionsPage struct{ from ConnectionsSource }

func (p connectionsPage) list(v *visit) error {
	if id := strings.TrimSpace(v.query("id")); id != "" {
		return v.redirect(connectionHref(id))
	}
	state, err := v.choice("state", "State", connectionStates)
	if err != nil {
		return err
	}
	q := ConnectionsQuery{Platform: v.query("platform"), App: v.query("app"), State: state, Purpose: v.query("purpose"), After: v.query("after")}
	list, err := p.from.Connections(v.context(), q)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, label string
		offered     []string
	}{{"platform", "Platform", list.Platforms}, {"app", "App", list.Apps}, {"purpose", "Purpose", list.Purposes}} {
		if _, err := v.choice(f.name, f.label, f.offered); err != nil {
			return err
		}
	}
	filtered := q.Platform+q.App+q.State+q.Purpose != ""
	data := struct {
		Filter Filter
		Table  Table
		States []stateLink
		Found  bool
		People string
		CutOff bool
	}{
		CutOff: v.may(everythingRevoke),
		Filter: Filter{Action: "/connections", Fields: []Field{
			{Name: "state", Label: "State", Type: "select", Options: anyOf(q.State, "All but erased", connectionStates)},
			{Name: "platform", Label: "Platform", Type: "select", Options: anyOf(q.Platform, "All", list.Platforms)},
			{Name: "app", Label: "App", Type: "select", Options: anyOf(q.App, "All", list.Apps)},
			{Name: "purpose", Label: "Purpose", Type: "select", Options: anyOf(q.Purpose, "All", list.Purposes)},
			{Name: "id", Label: "Connection id", Placeholder: "con…", Max: 100, Autocomplete: "off"},
		}},
		People: v.reach("/people"),
	}
	if filtered || q.After != "" {
		data.Filter.Clear = "/connections"
	}
	if list.Counts != nil {
		for _, state := range connectionStates {
			if n := list.Counts[state]; n > 0 || state == q.State {
				data.States = append(data.States, stateLink{Badge{connectionTone(state), wordOf(state)}, n, "/connections?state=" + state, state == q.State})
			}
		}
	}
	t := Table{Caption: "Connections, the newest first", Columns: []Column{
		{Name: "Connection"}, {Name: "State"}, {Name: "What to do"}, {Name: "App"}, {Name: "Purposes"}, {Name: "Changed"},
	}}
	if v.may(peopleRead) {
		t.Columns = append(t.Columns, Column{Name: "Person"})
	}
	t.Empty = Empty{
		Title: "Nobody has connected yet", Text: "Your app begins a connection and sends its user's browser to the address that it gets. To try it by hand:",
		Command: "gatehouse connect begin --app APP --purpose PURPOSE --subject NAME --return-to URL",
	}
	if filtered {
		t.Empty = Empty{Title: "No connection fits", Text: "Take something out of the filter.", Href: "/connections", Link: "Show all"}
	}
	if q.After != "" || list.After != "" && len(list.Connections) == 0 {
		t.Empty = Empty{Title: "None among these", Text: "The connections that were looked through so far do not fit; older ones may."}
		if list.After != "" {
			t.Empty.Href, t.Empty.Link = v.with("after", list.After), "Look further"
		}
	}
	for _, c := range list.Connections {
		row := Row{Cells: []Cell{
			idCell(c.ID, connectionHref(c.ID)), badgeCell(c.tone(), c.word()), textCell(c.Next), textCell(c.App),
			textCell(strings.Join(c.Purposes, ", ")), timeCell(c.Changed),
		}}
		if v.may(peopleRead) {
			row.Cells = append(row.Cells, idCell(c.Person, personHrefOf(c.Person)))
		}
		t.Rows = append(t.Rows, row)
	}
	if list.After != "" {
		t.Pager.After = v.with("after", list.After)
	}
	if q.After != "" {
		t.Pager.Before = v.with("after", "")
	}
	data.Table = t
	return v.show("connections.html", "Connections", data)
}

// stateLink is how many there are in a state, and where they are listed.
type stateLink struct {
	Badge  Badge
	Count  int64
	Href   string
	Chosen bool
}

func (c ConnectionLine) tone() Tone {
	if c.Unreadable {
		return Bad
	}
	return connectionTone(c.State)
}

func (c ConnectionLine) word() string {
	if c.Unreadable {
		return wordOf(c.State) + ", unreadable"
	}
	if c.State == "revoked" && c.Outstanding {
		return "revoked, platform to confirm"
	}
	return wordOf(c.State)
}

func personHrefOf(id string) string {
	if id == "" {
		return ""
	}
	return personHref(id)
}

// anyOf makes a field's choices: everything, or one of a list.
func anyOf(selected, all string, of []string) []Option {
	out := []Option{{Label: all, Selected: selected == ""}}
	for _, s := range of {
		out = append(out, Option{Value: s, Label: wordOf(s), Selected: s == selected})
	}
	return out
}

func (p connectionsPage) one(v *visit) error {
	c, err := p.from.Connection(v.context(), v.actor(), v.r.PathValue("id"), v.may(logRead))
	if err != nil {
		return err
	}
	data := struct {
		C           ConnectionView
		Badge       Badge
		Facts       Pairs
		Handles     Table
		Renewals    Table
		Entries     Table
		Log         bool
		Steps       []Step
		Danger      *Danger
		MoreHandles bool
		// Where the log is searched further, if not all was looked through; "" if it was.
		MoreRenewals, MoreEntries string
	}{C: c, Badge: Badge{c.tone(), c.word()}, Log: v.may(logRead), MoreHandles: c.MoreHandles}
	inLog := url.Values{"connection": {c.ID}}
	if c.PartOfEntries {
		data.MoreEntries = "/log?" + inLog.Encode()
	}
	if c.PartOfRenewals {
		inLog.Set("action", "connect.refresh")
		data.MoreRenewals = "/log?" + inLog.Encode()
	}
	data.Facts = Pairs{
		{"App", textCell(c.App)}, {"Platform", textCell(c.Platform)}, {"Kind", textCell(wordOf(c.Kind))}, {"Begun by service", textCell(c.Service)},
		{"Connected", timeCell(c.Created)}, {"Changed", timeCell(c.Changed)},
		{"Access token until", untilCell(c.AccessExpires)}, {"Refresh token until", untilCell(c.RefreshExpires)},
	}
	if !c.DataUntil.IsZero() {
		data.Facts = append(data.Facts, Pair{"Access to data until", timeCell(c.DataUntil)})
	}
	if c.Parent != "" {
		data.Facts = append(data.Facts, Pair{"Came out of", idCell(c.Parent, connectionHref(c.Parent))})
	}
	if c.Person != "" && v.may(peopleRead) {
		data.Facts = append(data.Facts, Pair{"Person", idCell(c.Person, personHref(c.Person))})
	}
	data.Handles = Table{Caption: "Handles that work", Columns: []Column{{Name: "Handle"}, {Name: "Service"}, {Name: "Purpose"}, {Name: "Made"}, {Name: "Ends"}, {Name: "Last used"}}, Empty: Empty{
		Title: "No handle works", Text: "The app makes one for each call, or for a session, with POST /gatehouse/v1/handles.",
	}}
	for _, h := range c.Handles {
		data.Handles.Rows = append(data.Handles.Rows, Row{Cells: []Cell{idCell(h.ID, ""), textCell(h.Service), textCell(h.Purpose), timeCell(h.Created), timeCell(h.Expires), usedCell(h)}})
	}
	data.Renewals = entryTable(v, "Renewals, the newest first", c.Renewals, Empty{Title: "Not renewed yet", Text: "Gatehouse renews a token before it ends; a token that does not end needs no renewal."})
	if c.PartOfRenewals {
		data.Renewals.Empty = Empty{Title: "Not renewed lately", Text: "There is no renewal among the person's newest entries."}
	}
	data.Entries = entryTable(v, "What the log says of this connection, the newest first", c.Entries, Empty{Title: "The log says nothing of it", Text: "Entries are found until the person is erased."})
	if c.PartOfEntries {
		data.Entries.Empty = Empty{Title: "Nothing lately", Text: "There is nothing of it among the person's newest entries."}
	}
	switch {
	case c.State == "revoked":
		data.Steps = revocation(c)
	case c.State != "erased" && v.may(connectionsRevoke):
		data.Danger = &Danger{
			Title: "Revoke this connection", Word: "revoke", Button: "Revoke", Action: connectionHref(c.ID) + "/revoke",
			Will: []string{
				"Every handle of it stops working at once, also those of connections that came out of it.",
				"The platform is asked to end the grant, and asked again until it confirms.",
				"The tokens are dropped here. To go on, the person has to connect again.",
			},
		}
	}
	return v.show("connection.html", "Connection", data)
}

// usedCell is when a handle was last used.
func usedCell(h HandleLine) Cell {
	if h.Used.IsZero() && h.NotLately {
		return textCell("not lately")
	}
	return timeCell(h.Used)
}

// untilCell is when something ends, where no time means that no end is known.
func untilCell(t time.Time) Cell {
	if t.IsZero() {
		return textCell("no end is named")
	}
	return timeCell(t)
}

// revocation is how far the end of a connection has come.
func revocation(c ConnectionView) []Step {
	steps := []Step{{State: "done", Text: "Cut off here: no handle works, the tokens are dropped", At: c.Changed}}
	switch c.AtPlatform {
	case "outstanding":
		return append(steps, Step{State: "now", Text: "The platform has not confirmed", Note: "It is asked again by itself until it does."})
	case "with_parent":
		return append(steps, Step{State: "done", Text: "Ended with the grant that it came out of"})
	case "not_offered":
		return append(steps, Step{State: "failed", Text: "The platform offers no way to end a grant", Note: "It ends there when it expires, or when the person removes the app in their settings."})
	}
	return append(steps, Step{State: "done", Text: "The platform confirmed that the grant is gone"})
}

// revoking is the form that ends a connection.
type revoking struct{}

func (*revoking) read(f *form) { f.typed("revoke") }

func (p connectionsPage) revoke(v *visit, _ *revoking) (*outcome, error) {
	id := v.r.PathValue("id")
	said, err := p.from.Revoke(v.context(), v.actor(), id)
	if err != nil {
		return nil, err
	}
	return goTo(connectionHref(id)).saying(said), nil
}

// errNoSuch is the answer for things that are not there.
func errNoSuch(what string) error {
	return wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "There is no such "+what+", or not any more. Look for it in the list.")
}
