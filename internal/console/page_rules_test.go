package console

import (
	"context"
	"net/url"
	"reflect"
	"slices"
	"testing"
	"time"

	"gatehouse/internal/identity/operator"
)

// purposes and destinations are sources of the pages about them.
type (
	purposes     struct{ view PurposesView }
	destinations struct {
		view  DestinationsView
		asked []string
	}
)

func (p *purposes) Purposes(context.Context) (PurposesView, error) { return p.view, nil }

func (d *destinations) Destinations(_ context.Context, actor string) (DestinationsView, error) {
	d.asked = append(d.asked, actor)
	return d.view, nil
}

func (d *destinations) Destination(_ context.Context, actor, host string) (DestinationView, error) {
	d.asked = append(d.asked, actor)
	i := slices.IndexFunc(d.view.List, func(d DestinationView) bool { return d.Host == host })
	if i < 0 {
		return DestinationView{}, errNoSuch("third party")
	}
	return d.view.List[i], nil
}

func TestPurposes(t *testing.T) {
	today := time.Date(2026, 5, 4, 0, 0, 0, 0, time.UTC)
	from := &purposes{}
	d := newDesk(t, operator.Developer, Purposes(from), Log(nil, nil), Services(nil))
	d.get("/purposes").shows(t, "No purpose is declared", "gatehouse policy suggest", "Nothing was observed yet")

	from.view = PurposesView{Since: today, Warning: "observed for less than a week", Purposes: []PurposeView{{
		Name: "publish", Why: "People post through us.", App: "app-x", Platform: "x", Scopes: []string{"tweet.write"}, Services: []PurposeService{{"web", "50/s"}},
		Calls: []PurposeCall{
			{Call: "POST /2/tweets", Declared: true, Params: "none", Body: "text", Fields: "id", Count: 1234, Last: today},
			{Call: "GET /2/users/me", Declared: true, Params: "any", Body: "any", Fields: "whole"},
			{Call: "GET /2/tweets", Count: 2, Reported: 2, Last: today.AddDate(0, 0, 1)},
		},
		Unused:   []UnusedLine{{"call", "GET /2/users/me", "it was never called"}},
		Withheld: []UnusedLine{{"fields", "POST /2/tweets", "text"}},
	}, {Name: "own", Why: "Notes."}}}
	d.get("/purposes").shows(t, `href="/purposes/publish"`, "People post through us.", "1\u202f236", "5 May 2026", "Use is counted since 4 May 2026", "By report mode alone", "!Report mode")
	from.view.Purposes[0].Calls[2].Reported = 0
	d.get("/purposes").shows(t, "1\u202f236", "!By report mode alone")
	from.view.Purposes[0].Calls[2].Reported = 2
	r := d.get("/purposes/publish")
	r.shows(t, "POST /2/tweets", "declared, not used", "not declared", "!it was never called", "!and not used</h2>", "Fields that enforce mode leaves out", `href="/services/web"`, "50/s", "tweet.write", `href="/log?purpose=publish"`, "observed for less than a week", "!Report mode")
	// What the list of calls cannot say follows it, and what it says is not said again.
	from.view.Purposes[0].Unused = append(from.view.Purposes[0].Unused, UnusedLine{"scope", "like.write", "no call needs it"})
	d.get("/purposes/publish").shows(t, "Also declared and not used</h2>", "like.write", "!it was never called")
	d.get("/purposes").shows(t, `<td data-label="Declared, not used" class="number"><span>2</span>`)
	d.get("/purposes/own").shows(t, "No calls", "no bound", "your own data only", "Nothing is unused", "No service may", "!Fields that enforce mode")
	if r := d.get("/purposes/nothing"); r.status != 404 {
		t.Errorf("a purpose that is not there: status %d", r.status)
	}
	from.view.Reports = today
	d.get("/purposes").shows(t, "Report mode is in force until the end of 4 May 2026")
	d.get("/purposes/publish").shows(t, "Report mode", "What it let pass", "verdict=report")

	none := d.house.join("None", operator.Auditor)
	none.get("/purposes/publish").shows(t, "declared, not used")
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), none.account.ID, operator.Auditor))
	for _, path := range []string{"/purposes", "/purposes/publish"} {
		if r := none.get(path); r.status != 403 {
			t.Errorf("%s without the permission: status %d", path, r.status)
		}
	}
}

func TestDestinations(t *testing.T) {
	from := &destinations{}
	d := newDesk(t, operator.Auditor, Destinations(from), Log(nil, nil), Flows(&traffic{}))
	d.get("/destinations").shows(t, "No third party is declared", "Nothing listens for requests", "Nobody else was tried")
	if !slices.Equal(from.asked, []string{string(d.account.ID)}) {
		t.Errorf("asked by %q", from.asked)
	}
	from.view = DestinationsView{Listening: true, At: time.Date(2026, 5, 4, 12, 3, 20, 0, time.UTC), List: []DestinationView{{
		Host: "api.example.com", Purposes: []string{"publish"}, MayReceive: []string{"email"}, Inspect: true, Ports: "443", Last: time.Now(), Sent: 1234, Received: 56, Requests: 100,
		Flows: []Flow{{Kind: "transfer", Verdict: "passed", Destination: "api.example.com", Class: "email", Count: 7}, {Kind: "transfer", Verdict: "stopped", Destination: "api.example.com", Class: "phone", Count: 2, Source: "x: main", Operation: "GET /2/users/me", Purpose: "publish", SentFor: "newsletter", Service: "web"},
			{Kind: "transfer", Verdict: "stopped", Destination: "api.example.com", Class: "postal-address", Count: 2}},
	}, {Host: "quiet.example"}}, Unknown: []EntryLine{{ID: "e9", Kind: "event", Verdict: "refuse", Rule: "refuse/unknown-destination"}}}
	d.get("/destinations").shows(t, `href="/destinations/api.example.com"`, "looked into", "plain http only", `<span>email × 7</span></td><td data-label="Stopped"`, `<span>phone × 2, postal-address × 2</span>`, "nothing about people", `href="/log/e9"`, `href="/flows"`, "!Nothing listens", "never", "Last use as of 4 May 2026, 12:03:20 UTC")
	d.get("/destinations/api.example.com").shows(t, "1\u202f234", "newest 100 requests", "email", "stopped", `href="/log?destination=api.example.com"`,
		// The picture leads from what the data came by, over what it was sent for.
		`>GET /2/users/me</text>`, `>newsletter</text>`, `>web</text>`, "GET /2/users/me → newsletter: phone", "newsletter → web: phone", "web → api.example.com: phone")
	d.get("/destinations/quiet.example").shows(t, "Nothing was recognised", "!newest")
	if r := d.get("/destinations/other.example"); r.status != 404 {
		t.Errorf("a third party that is not there: status %d", r.status)
	}
	from.view.Reports = time.Now()
	d.get("/destinations").shows(t, "Report mode is in force")

	none := d.house.join("None", operator.Auditor)
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), none.account.ID, operator.Auditor))
	for _, path := range []string{"/destinations", "/destinations/api.example.com"} {
		if r := none.get(path); r.status != 403 || len(from.asked) > 6 {
			t.Errorf("%s without the permission: status %d, asked %d", path, r.status, len(from.asked))
		}
	}
}

// rules is everything that the pages about rules show, in which every text is the same.
type rules struct {
	log           logs
	keys          keys
	services      services
	configuration configuration
	purposes      purposes
	destinations  destinations
}

func (r *rules) fill(text string) {
	for _, part := range []any{
		&r.log.page, &r.log.entry, &r.log.state, &r.log.doubt, &r.log.checked, &r.keys.view, &r.keys.key, &r.services.list, &r.services.one, &r.services.key,
		&r.configuration.view, &r.purposes.view, &r.destinations.view,
	} {
		fill(reflect.ValueOf(part).Elem(), text)
	}
	began := r.log.page.Entries[0]
	r.log.entry.Began = &began
	r.log.page.Next = ""
	for i := range r.keys.view.Keys {
		r.keys.view.Keys[i].Kind = "domain"
	}
	r.configuration.view.Nodes[0].Hash = r.configuration.view.Hash + "x"
	r.configuration.view.Nodes[1].Hash = r.configuration.view.Hash + "x"
	r.log.entry.Facts[0].Name = "operator"
	// What an address names is found again.
	r.log.entry.ID, r.purposes.view.Purposes[0].Name, r.destinations.view.List[0].Host, r.services.one.List[0].ID, r.services.one.Name = "e1", "p1", "h1", "k1", "s1"
	for _, flows := range [][]Flow{r.destinations.view.List[0].Flows, r.destinations.view.List[1].Flows} {
		flows[0].Verdict, flows[1].Verdict = "passed", "stopped"
	}
}

func TestRulesPagesHoldWhatTheyAreGiven(t *testing.T) {
	paths := []string{
		"/log", "/log/e1", "/log/state", "/log/in-doubt", "/keys", "/keys/k1", "/services", "/services/s1", "/services/s1/keys/k1", "/configuration",
		"/purposes", "/purposes/p1", "/destinations", "/destinations/h1",
	}
	s := &rules{}
	d := newDesk(t, operator.Owner, Log(&s.log, &s.log), Keys(&s.keys), Services(&s.services), Configuration(&s.configuration), Purposes(&s.purposes), Destinations(&s.destinations), Health(health{}))
	benign := map[string][]string{}
	for i, text := range append([]string{"a word that is long enough"}, hostile...) {
		s.fill(text)
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
		q := url.Values{}
		for _, name := range []string{"after", "since", "until", "action", "verdict", "severity", "actor", "purpose", "operation", "destination", "rule", "code", "status", "kind", "platform", "app", "fact", "operator", "connection", "person"} {
			q.Set(name, text)
		}
		for _, path := range []string{"/log", "/log/in-doubt", "/keys", "/services", "/purposes", "/destinations"} {
			if r := d.get(path + "?" + q.Encode()); r.status != 200 && r.status != 400 {
				t.Errorf("%s with %.40q in every filter: status %d", path, text, r.status)
			} else {
				skeleton(t, r.body)
			}
		}
		skeleton(t, d.post("/log/e1/reveal").body)
		skeleton(t, d.post("/services/s1/keys", "purpose", "p").body)
	}
}
