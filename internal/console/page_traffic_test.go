package console

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"

	"golang.org/x/net/html"
)

// traffic is a source of all pages about what passes and whose it is: each answers with
// what the test put there, and notes what was asked.
type traffic struct {
	overview    OverviewView
	list        ConnectionList
	connection  ConnectionView
	calls       CallsView
	flows       FlowsView
	found       PeopleFound
	person      PersonView
	duty        DutyView
	asked       []string
	connections []ConnectionsQuery
}

func (s *traffic) note(words ...string) { s.asked = append(s.asked, strings.Join(words, " ")) }

func (s *traffic) Overview(_ context.Context, recent bool) (OverviewView, error) {
	s.note("overview", strconv.FormatBool(recent))
	return s.overview, nil
}

func (s *traffic) Connections(_ context.Context, q ConnectionsQuery) (ConnectionList, error) {
	s.connections = append(s.connections, q)
	return s.list, nil
}

func (s *traffic) Connection(_ context.Context, actor, id string, withLog bool) (ConnectionView, error) {
	s.note("connection", actor, id, strconv.FormatBool(withLog))
	return s.connection, nil
}

func (s *traffic) Revoke(_ context.Context, actor, id string) (string, error) {
	s.note("revoke", actor, id)
	return "It is revoked.", nil
}

func (s *traffic) Calls(context.Context, CallsQuery, int) (CallsView, error) { return s.calls, nil }

func (s *traffic) Tail(context.Context) (CallTail, error) { return nil, gatehouse.ErrUnavailable }

func (s *traffic) Flows(_ context.Context, actor string, days int) (FlowsView, error) {
	s.note("flows", actor, strconv.Itoa(days))
	return s.flows, nil
}

func (s *traffic) Kinds() []string { return []string{"subject", "x"} }

func (s *traffic) Find(_ context.Context, actor, kind, name string) (PeopleFound, error) {
	s.note("find", actor, kind, name)
	return s.found, nil
}

func (s *traffic) Person(_ context.Context, actor, person string, days int) (PersonView, error) {
	s.note("person", actor, person, strconv.Itoa(days))
	return s.person, nil
}

func (s *traffic) Numbered(_ context.Context, actor string, number uint32, days int) (PersonView, error) {
	s.note("number", actor, strconv.Itoa(int(number)), strconv.Itoa(days))
	return s.person, nil
}

func (s *traffic) Duties(context.Context) ([]DutyLine, error) {
	return []DutyLine{s.duty.DutyLine}, nil
}

func (s *traffic) Duty(context.Context, string) (DutyView, error) { return s.duty, nil }

func (s *traffic) Erase(_ context.Context, actor, person string) (string, error) {
	s.note("erase", actor, person)
	if s.person.State == "erased" {
		return "", wire.Refuse(gatehouse.ErrNotFound, "console/unknown", "Nothing is held of this person.")
	}
	return "dty1", nil
}

// pages are all the pages of the source.
func (s *traffic) pages() []Page {
	return []Page{Overview(s), Calls(s), Flows(s), Connections(s), People(s), Health(health{})}
}

// fill gives every text, list, number and time below a value one that is not empty.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Int, reflect.Int64:
		v.SetInt(3)
	case reflect.Uint32:
		v.SetUint(3)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(2)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), text)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]int64{"healthy": 3}))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), text)
			}
		}
	}
}

// filled is a source of which every text is the same.
func filled(text string) *traffic {
	s := &traffic{}
	for _, part := range []any{&s.overview, &s.list, &s.connection, &s.calls, &s.flows, &s.found, &s.person, &s.duty} {
		fill(reflect.ValueOf(part).Elem(), text)
	}
	for i := range s.overview.Plots {
		p := &s.overview.Plots[i]
		p.End = p.Begin.Add(time.Hour)
	}
	for _, flows := range [][]Flow{s.flows.Flows, s.person.Flows} {
		flows[0].Destination, flows[0].Verdict, flows[1].Verdict = "", "passed", "stopped"
	}
	return s
}

// skeleton is a page without its text: elements with the names of their attributes, in
// order. What an address leads to and what a page loads must be ours.
func skeleton(t *testing.T, page string) []string {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		one := n.Data
		for _, a := range n.Attr {
			one += " " + a.Key
			switch a.Key {
			case "href", "src", "action", "data-live":
				if !strings.HasPrefix(a.Val, "/") && a.Val != "#main" || strings.HasPrefix(a.Val, "//") {
					t.Errorf("<%s %s=%q> leads away from here", n.Data, a.Key, a.Val)
				}
			}
		}
		out = append(out, one)
	}
	return out
}

// hostile are texts that somebody else chose: a platform, an app, a person.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='alert(1)`, `javascript:alert(1)`, `//evil.example/x`,
	`</title></svg></table><h1>`, "\u202egnp.exe\u2066", "a\u0000b\r\n\tc", `{{.}}${x}`, `--><!--`, strings.Repeat("W", 3000), `&lt;b&gt;&#60;`, "\xff\xfe",
}

func TestTrafficPagesHoldWhatTheyAreGiven(t *testing.T) {
	paths := []string{"/", "/?of=day", "/calls?service=a", "/flows", "/connections?state=revoked", "/connections/con1", "/people", "/people/p1", "/people/number/3", "/people/duties/d1"}
	benign := map[string][]string{}
	s := &traffic{}
	d := newDesk(t, operator.Owner, s.pages()...)
	for i, text := range append([]string{"a word that is long enough"}, hostile...) {
		*s = *filled(text)
		for _, path := range paths {
			r := d.get(path)
			if r.status != 200 {
				t.Fatalf("%s with %.40q: status %d\n%s", path, text, r.status, r.body)
			}
			got := skeleton(t, r.body)
			if i == 0 {
				benign[path] = got
			} else if !slices.Equal(got, benign[path]) {
				at := 0
				for at < len(got) && at < len(benign[path]) && got[at] == benign[path][at] {
					at++
				}
				t.Errorf("%s with %.40q has another structure, from element %d on: %q instead of %q", path, text, at, got[at:min(len(got), at+3)], benign[path][at:min(len(benign[path]), at+3)])
			}
		}
		// The same in what filters give back, or refuse.
		given := url.QueryEscape(text)
		want := 200
		if len(text) > maxQuery {
			want = 400
		}
		for path, want := range map[string]int{
			"/calls?service=" + given + "&purpose=" + given + "&after=" + given: want, "/connections?purpose=" + given + "&after=" + given: want,
			"/calls?outcome=" + given: 400, "/connections?state=" + given: 400, "/connections?app=x" + given: 400,
		} {
			r := d.get(path)
			if r.status != want {
				t.Errorf("%.80s with %.40q in a filter: status %d instead of %d", path, text, r.status, want)
			}
			skeleton(t, r.body)
		}
	}
}

func TestOverview(t *testing.T) {
	s := &traffic{overview: OverviewView{
		Since: time.Now().Add(-time.Hour), At: time.Now(),
		Groups: []TileGroup{{Name: "Calls", Tiles: []Tile{{Label: "Calls", Value: "12", Href: "/calls"}, {Label: "Connected", Value: "7", Href: "/connections?state=healthy"}}}},
		Plots: []Plotted{{Title: "Calls a minute", Begin: time.Now().Add(-time.Hour), End: time.Now(), Href: "/calls", Series: []Series{
			{Name: "all", Points: []Point{{time.Now().Add(-50 * time.Minute), 3}, {time.Now().Add(-40 * time.Minute), math.NaN()}, {time.Now().Add(-30 * time.Minute), 5}}},
		}}},
	}}
	owner := newDesk(t, operator.Owner, s.pages()...)
	r := owner.get("/")
	r.shows(t, `class="strip good"`, "Nothing needs doing now.", `href="/calls"`, "No duty is open", `data-live="/overview/live"`, "<circle", "last 5")
	if !slices.Equal(s.asked, []string{"overview true"}) {
		t.Errorf("asked %q", s.asked)
	}
	owner.get("/?of=day").shows(t, `data-live="/overview/live?of=day"`, `href="/"`)

	// What stands out is named where one looks first, also when nothing needs doing.
	s.overview.Looks = []Need{{Warn, "backup: not in order", "/health"}}
	s.overview.Groups[0].Tiles = append(s.overview.Groups[0].Tiles, Tile{Label: "Refused calls", Value: "12", Note: "per minute", Tone: Warn, Href: "/calls?outcome=refuse"}, Tile{Label: "Log", Value: "writable", Tone: Good})
	owner.get("/").shows(t, `class="strip good"`, "Nothing needs doing now.", "Worth a look:", "backup: not in order", `<a href="/calls?outcome=refuse">refused calls 12 per minute</a>`, "!log writable</a>")

	s.overview.Needs = []Need{{Warn, "7 connections have to be made again", "/connections?state=reconnect_needed"}}
	owner.get("/").shows(t, `class="strip warn"`, "One thing needs doing now:", `href="/connections?state=reconnect_needed"`)
	// What needs doing is not worth a look as well; its figure is still there.
	again := Tile{Label: "To connect again", Value: "7", Tone: Warn, Href: "/connections?state=reconnect_needed"}
	s.overview.Groups[0].Tiles = append(s.overview.Groups[0].Tiles, again)
	owner.get("/").shows(t, "!to connect again 7", `<span class="label">To connect again</span>`, "refused calls 12 per minute")
	s.overview.Needs = nil
	owner.get("/").shows(t, "to connect again 7")
	s.overview.Needs = []Need{{Warn, "7 connections have to be made again", "/connections?state=reconnect_needed"}}
	s.overview.Needs = append(s.overview.Needs, Need{Bad, "the log is closed", "/health"})
	owner.get("/").shows(t, `class="strip bad"`, "2 things need doing now:", `>the log is closed</a>`)

	// A link that would be refused is not offered; what it says stays.
	developer := owner.house.join("Grace", operator.Developer)
	developer.get("/").shows(t, "7 connections have to be made again", `!href="/connections`, `href="/calls"`)
}

func TestConnections(t *testing.T) {
	now := time.Now()
	s := &traffic{
		list: ConnectionList{
			Platforms: []string{"x"}, Apps: []string{"main-x"}, Purposes: []string{"publish"}, Counts: map[string]int64{"healthy": 1200, "reconnect_needed": 4}, After: "17.con1",
			Connections: []ConnectionLine{{ID: "conabcdefghijklmnop", App: "main-x", Person: "PERSONABCDEFGHIJK", State: "reconnect_needed", Next: "Let the person connect again.", Changed: now.Add(-time.Hour)}},
		},
		connection: ConnectionView{
			ConnectionLine: ConnectionLine{ID: "con1", State: "healthy", Person: "PERSON1", App: "main-x", Created: now, Changed: now, Purposes: []string{"publish"}}, Scopes: []string{"tweet.read"},
			Handles: []HandleLine{{ID: "han1", Service: "web", Purpose: "publish", Created: now, Expires: now.Add(time.Hour)}},
			Entries: []EntryLine{{ID: "e2", Intent: "e1", Kind: "outcome", Action: "call", Verdict: "done", Status: 200, At: now}, {ID: "e1", Kind: "intent", Action: "call", Verdict: "allow", Rule: "purpose/publish", At: now}},
		},
	}
	owner := newDesk(t, operator.Owner, s.pages()...)
	auditor := owner.house.join("Eve", operator.Auditor)
	r := owner.get("/connections?state=reconnect_needed&app=main-x&platform=x&purpose=publish&after=18.con2")
	r.shows(t, `href="/connections/conabcdefghijklmnop"`, "conabcdefghi…", `href="/people/PERSONABCDEFGHIJK"`, "reconnect needed", "Let the person connect again.", "1\u202f200", "after=17.con1", `href="/connections"`)
	if want := (ConnectionsQuery{"x", "main-x", "reconnect_needed", "publish", "18.con2"}); len(s.connections) != 1 || s.connections[0] != want {
		t.Errorf("asked for %+v", s.connections)
	}
	auditor.get("/connections").shows(t, "conabcdefghi…", "!PERSON")
	if r := owner.get("/connections?id=" + url.QueryEscape(" con/../x ")); r.status != 303 || r.header.Get("Location") != "/connections/con%2F..%2Fx" {
		t.Errorf("an id leads to %d %q", r.status, r.header.Get("Location"))
	}

	r = owner.get("/connections/con1")
	r.shows(t, "tweet.read", "Handles", `title="han1"`, "never", "Revoke this connection", `href="/people/PERSON1"`, "purpose/publish", "!begun")
	auditor.get("/connections/con1").shows(t, "tweet.read", "!PERSON1", "!Revoke this connection")
	developer := owner.house.join("Grace", operator.Developer)
	if r := developer.get("/connections/con1"); r.status != 403 {
		t.Errorf("a developer: status %d", r.status)
	}

	// A row that somebody changed is told from others, and can be ended.
	r.shows(t, "!unreadable")
	s.list.Connections[0].Unreadable, s.connection.Unreadable, s.connection.Next = true, true, "Somebody changed this row."
	owner.get("/connections").shows(t, "reconnect needed, unreadable")
	owner.get("/connections/con1").shows(t, "healthy, unreadable", "Somebody changed this row.", "Revoke this connection")
	s.list.Connections[0].Unreadable, s.connection.Unreadable, s.connection.Next = false, false, ""
	owner.get("/connections").shows(t, "reconnect needed", "!unreadable")

	// What was not looked through is not said to hold nothing.
	r.shows(t, "Not renewed yet", "!look further", "!not lately")
	s.connection.PartOfRenewals, s.connection.Handles[0].NotLately = true, true
	owner.get("/connections/con1").shows(t, "Not renewed lately", "!Not renewed yet", `href="/log?action=connect.refresh&amp;connection=con1">look further`, "not lately", "!never", `!href="/log?connection=con1"`)
	entries := s.connection.Entries
	s.connection.PartOfEntries, s.connection.Entries = true, nil
	owner.get("/connections/con1").shows(t, "Nothing lately", "!The log says nothing of it", `href="/log?connection=con1">look further`)
	s.connection.PartOfRenewals, s.connection.PartOfEntries, s.connection.Entries = false, false, entries

	s.asked = nil
	if r := owner.post("/connections/con1/revoke", "typed", "revoked"); r.status != 400 || len(s.asked) != 0 {
		t.Errorf("another word: status %d, asked %q", r.status, s.asked)
	}
	if r := auditor.post("/connections/con1/revoke", "typed", "revoke"); r.status != 403 || len(s.asked) != 0 {
		t.Errorf("an auditor: status %d, asked %q", r.status, s.asked)
	}
	r = owner.post("/connections/con1/revoke", "typed", "revoke")
	if want := []string{"revoke " + string(owner.account.ID) + " con1"}; r.status != 303 || r.header.Get("Location") != "/connections/con1" || !slices.Equal(s.asked, want) {
		t.Errorf("status %d to %q, asked %q, want %q", r.status, r.header.Get("Location"), s.asked, want)
	}
	for at, text := range map[string]string{
		"confirmed": "The platform confirmed", "outstanding": "The platform has not confirmed", "with_parent": "Ended with the grant", "not_offered": "offers no way",
	} {
		s.connection.State, s.connection.AtPlatform = "revoked", at
		owner.get("/connections/con1").shows(t, "How far the revocation is", text, "!Revoke this connection")
	}

	// What is not there teaches.
	s.list = ConnectionList{}
	owner.get("/connections").shows(t, "Nobody has connected yet", "gatehouse connect begin")
	owner.get("/connections?state=revoked").shows(t, "No connection fits")
	s.list.After, s.list.Purposes = "1.con1", []string{"rare"}
	owner.get("/connections?purpose=rare").shows(t, "None among these", "Look further", "after=1.con1")
}

func TestPeople(t *testing.T) {
	now := time.Now()
	s := &traffic{
		person: PersonView{
			ID: "PERSON1", State: "connected", Names: []PersonName{{By: "subject", ID: "ada"}, {By: "x", ID: "12345", Name: "Ada L."}},
			Connections: []ConnectionLine{{ID: "con1", State: "healthy", App: "main-x"}, {ID: "con2", State: "healthy", App: "main-x", Unreadable: true}},
			Flows: []Flow{
				{Kind: "delivery", Verdict: "passed", Source: "x: main-x", Operation: "GET /2/users/me", Purpose: "publish", Service: "web", Class: "name", Count: 3, Last: now},
				{Kind: "transfer", Verdict: "stopped", Source: "x: main-x", Operation: "GET /2/users/me", Purpose: "publish", Service: "web", Destination: "collector.example", Class: "name", Count: 1, Last: now},
			},
			Duties: []DutyView{{DutyLine: DutyLine{ID: "dty0", Kind: "erasure", State: "open", Deadline: now.Add(time.Hour)}, Steps: []Step{{State: "now", Text: "Your app was asked"}}}},
		},
		duty: DutyView{DutyLine: DutyLine{ID: "dty1", Kind: "erasure", State: "done", Deadline: now}, Person: "PERSON1", Steps: []Step{{State: "done", Text: "Closed", At: now}}, Proof: "06proof", StatusPage: "https://app.example/_gatehouse/deletion/X"},
	}
	owner := newDesk(t, operator.Owner, s.pages()...)
	account := string(owner.account.ID)

	// Whom one looks for stands in no address.
	s.found = PeopleFound{People: []string{"PERSON1"}}
	if r := owner.post("/people/find", "kind", "subject", "name", "ada"); r.status != 303 || r.header.Get("Location") != "/people/PERSON1" {
		t.Errorf("one person: status %d to %q", r.status, r.header.Get("Location"))
	}
	s.found = PeopleFound{Numbers: []uint32{17}}
	if r := owner.post("/people/find", "kind", "x", "name", "12345"); r.status != 303 || r.header.Get("Location") != "/people/number/17" {
		t.Errorf("somebody who merely appeared: status %d to %q", r.status, r.header.Get("Location"))
	}
	s.found = PeopleFound{People: []string{"PERSON1", "PERSON2"}}
	owner.post("/people/find", "kind", "subject", "name", "ada").shows(t, "Several people have this name", `href="/people/PERSON2"`)
	s.found = PeopleFound{}
	if r := owner.post("/people/find", "kind", "subject", "name", "eve"); r.status != 303 || r.header.Get("Location") != "/people" {
		t.Errorf("nobody: status %d to %q", r.status, r.header.Get("Location"))
	}
	owner.get("/people").shows(t, "Nothing is held of anybody of this name.", "dty1")
	if r := owner.post("/people/find", "kind", "subject", "name", ""); r.status != 400 {
		t.Errorf("no name: status %d", r.status)
	}
	if want := []string{"find " + account + " subject ada", "find " + account + " x 12345", "find " + account + " subject ada", "find " + account + " subject eve"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}

	s.asked = nil
	owner.get("/people/PERSON1?days=7").shows(t, "ada", "Ada L.", "collector.example", "<svg", "Duty: erasure", "Your app was asked", "Erase this person", "name ×\u00a03")
	owner.get("/people/PERSON1")
	if want := []string{"person " + account + " PERSON1 7", "person " + account + " PERSON1 90"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
	for _, number := range []string{"0", "-1", "x", "4294967296"} {
		if r := owner.get("/people/number/" + number); r.status != 404 {
			t.Errorf("number %s: status %d", number, r.status)
		}
	}
	owner.get("/people/duties/dty1").shows(t, "06proof", "https://app.example/_gatehouse/deletion/X", `href="/people/PERSON1"`)

	for _, role := range []operator.Role{operator.Auditor, operator.Developer} {
		other := owner.house.join("other-"+string(role), role)
		for _, path := range []string{"/people", "/people/PERSON1", "/people/number/17", "/people/duties/dty1"} {
			if r := other.get(path); r.status != 403 {
				t.Errorf("%s at %s: status %d", role, path, r.status)
			} else {
				r.shows(t, "!Ada L.", "!12345")
			}
		}
	}

	s.asked = nil
	if r := owner.post("/people/PERSON1/erase", "typed", "Erase"); r.status != 400 || len(s.asked) != 0 {
		t.Errorf("another word: status %d, asked %q", r.status, s.asked)
	}
	if r := owner.post("/people/PERSON1/erase", "typed", "erase"); r.status != 303 || r.header.Get("Location") != "/people/duties/dty1" || !slices.Equal(s.asked, []string{"erase " + account + " PERSON1"}) {
		t.Errorf("status %d to %q, asked %q", r.status, r.header.Get("Location"), s.asked)
	}
	s.person.State = "erased"
	owner.get("/people/PERSON1").shows(t, "!Erase this person")
	if r := owner.post("/people/PERSON1/erase", "typed", "erase"); r.status != 404 {
		t.Errorf("somebody who is erased: status %d", r.status)
	}
}

func TestFlows(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s := &traffic{flows: FlowsView{At: at, Flows: []Flow{
		{Kind: "delivery", Verdict: "passed", Source: "x: main-x", Operation: "GET /2/users/me", Purpose: "publish", Service: "web", Class: "name", People: 2, Count: 30, First: at, Last: at},
		{Kind: "transfer", Verdict: "stopped", Source: "x: main-x", Purpose: "publish", Service: "web", Destination: "=cmd()", Class: "name", People: 1, Count: 4, First: at, Last: at},
	}}}
	d := newDesk(t, operator.Auditor, s.pages()...)
	d.get("/flows").shows(t, "main-x", "publish", "=cmd()", "name ×\u00a04 (stopped)", `class="flow stopped"`, "/flows/export.csv?days=30", "!No data has passed")
	r := d.get("/flows/export.csv?days=7")
	rows, err := csv.NewReader(strings.NewReader(r.body)).ReadAll()
	if err != nil || len(rows) != 3 || rows[2][6] != "'=cmd()" || rows[1][9] != "2" || r.header.Get("Content-Disposition") == "" {
		t.Errorf("as CSV: %q, %v", rows, err)
	}
	var export struct{ Flows []flowRecord }
	if err := json.Unmarshal([]byte(d.get("/flows/export.json?days=0").body), &export); err != nil || len(export.Flows) != 2 || export.Flows[1].Destination != "=cmd()" || export.Flows[0].Count != 30 {
		t.Errorf("as JSON: %+v, %v", export, err)
	}
	account := string(d.account.ID)
	if want := []string{"flows " + account + " 30", "flows " + account + " 7", "flows " + account + " 0"}; !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
	s.flows.Flows = nil
	d.get("/flows").shows(t, "No data has passed yet", "gatehouse demo", "!<svg viewBox=\"0 0 9")
	for range 3 * maxFlowBoxes {
		s.flows.Flows = append(s.flows.Flows, Flow{Kind: "transfer", Verdict: "passed", Service: "web", Destination: "host" + strconv.Itoa(len(s.flows.Flows)), Class: "name", Count: 1, Last: at})
	}
	d.get("/flows").shows(t, strconv.Itoa(2*maxFlowBoxes)+" boxes with the least did not fit", "host71")
}

func TestCalls(t *testing.T) {
	s := &traffic{calls: CallsView{Services: []string{"web"}, Purposes: []string{"publish"}, Calls: []EntryLine{
		{ID: "06e1", Kind: "outcome", Verdict: "done", Operation: "GET /2/users/me", Service: "web", Purpose: "publish", Status: 200, Bytes: 12345, At: time.Now()},
		{ID: "06e2", Kind: "event", Verdict: "refuse", Operation: "GET /2/dm_events", Service: "web", Rule: "refuse/undeclared-call", Status: 403, At: time.Now()},
	}}}
	d := newDesk(t, operator.Developer, s.pages()...)
	d.get("/calls?service=web&outcome=refuse").shows(t, "refused", "refuse/undeclared-call", "12\u202f345", `data-live="/calls/live?outcome=refuse&amp;service=web"`, `data-live-most="50"`, `href="/calls?outcome=refuse&amp;service=web">Refresh`)
	// Only what went through and was refused on the other side stands out by its status.
	statuses := func() (plain, marked int) {
		body := d.get("/calls").body
		return strings.Count(body, `<span>200<`) + strings.Count(body, ">403<"), strings.Count(body, `class="badge warn">401`)
	}
	if plain, marked := statuses(); plain != 2 || marked != 0 {
		t.Errorf("%d statuses are plain, %d stand out", plain, marked)
	}
	s.calls.Calls[0].Status = 401
	if plain, marked := statuses(); plain != 1 || marked != 1 {
		t.Errorf("%d statuses are plain, %d stand out", plain, marked)
	}
	s.calls.Calls = nil
	d.get("/calls").shows(t, "No call is in the log yet", `data-live="/calls/live"`)
}
