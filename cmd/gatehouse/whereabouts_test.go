package main

import (
	"encoding/base64"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/lineage"

	"github.com/google/go-cmp/cmp"
)

// fetched is somebody in a reply.
type fetched struct {
	ID, Name, Username string
	Email              string `json:"confirmed_email"`
}

// somebody is who stands in a reply: x:2244990000. Of a post without an author nobody
// knows whose it is.
type somebody string

// flows are what is expected and what is found: how often each was, by its fields.
type flows map[string]int64

// way is a flow as text.
func way(kind, verdict string, who somebody, class, operation, purpose, destination, sentFor string) string {
	return strings.Join([]string{kind, verdict, string(who), class, operation, purpose, destination, sentFor}, " | ")
}

// observer is an app that fetches people and sends parts of them to others, and writes
// down, from what it sees itself, what should be on record.
type observer struct {
	*house
	x, meta   *demoGrant
	delivered flows
	sent      flows
	origin    map[string][2]string // of somebody's data of a kind: the last call and its purpose
	values    map[string]bool      // that nobody may see who asks about flows
	numbers   map[lineage.Owner]somebody
	everybody map[somebody]bool
}

// fetch makes a call, and notes what stands in its reply.
func (o *observer) fetch(grant, purpose, operation, path string) []byte {
	o.t.Helper()
	status, b, err := o.call(o.t.Context(), http.MethodGet, path, grant, nil)
	if err != nil || status != http.StatusOK {
		o.t.Fatalf("%s: %d, %v\n%s", path, status, err, b)
	}
	var reply any
	if err := json.Unmarshal(b, &reply); err != nil {
		o.t.Fatal(err)
	}
	// How often a reply says the same does not matter.
	seen := map[string]bool{}
	o.read(reply, strings.HasPrefix(path, "/x/"), func(who somebody, class, value string) {
		o.everybody[who] = true
		o.values[value] = true
		o.origin[string(who)+class] = [2]string{operation, purpose}
		if seen[string(who)+class] && who != "" {
			return
		}
		if seen[string(who)+class] = true; who == "" && seen[value] {
			return
		}
		seen[value] = true
		o.delivered[way("delivery", "passed", who, class, operation, purpose, "", "")]++
	})
	return b
}

// shown notes whose ids and names the API showed.
func (o *observer) shown(people ...somebody) {
	for _, who := range people {
		for _, class := range []string{"pseudonymous-id", "name"} {
			o.delivered[way("delivery", "passed", who, class, string(shownOperation), "", "", "")]++
		}
	}
}

// read tells the values of people in a reply of the calls of this test.
func (o *observer) read(v any, x bool, tell func(who somebody, class, value string)) {
	platform := "facebook:"
	if x {
		platform = "x:"
	}
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			o.read(e, x, tell)
		}
	case map[string]any:
		text := func(name string) string { s, _ := v[name].(string); return s }
		id := text("id")
		from, _ := v["from"].(map[string]any)
		switch {
		case id == "":
		case text("author_id") != "":
			who := somebody(platform + text("author_id"))
			tell(who, "pseudonymous-id", text("author_id"))
			tell(who, "post-id", id)
		case from != nil:
			tell(somebody(platform+from["id"].(string)), "post-id", id)
		case text("name") == "":
			tell("", "post-id", id) // of a feed, of which only the ids were asked for
		default:
			who := somebody(platform + id)
			for name, class := range map[string]string{"id": "pseudonymous-id", "name": "name", "username": "username", "email": "email", "confirmed_email": "email"} {
				if text(name) != "" {
					tell(who, class, text(name))
				}
			}
		}
		for name, e := range v {
			if name != "paging" && name != "meta" {
				o.read(e, x, tell)
			}
		}
	}
}

// sends notes a transfer: kinds of data of somebody, or of one of several.
func (o *observer) sends(verdict, destination, sentFor string, classes string, who ...somebody) {
	slices.Sort(who)
	for class := range strings.FieldsSeq(classes) {
		from := o.origin[string(who[0])+class]
		for _, other := range who[1:] {
			// What they do not have in common is not said.
			for i := range from {
				if o.origin[string(other)+class][i] != from[i] {
					from[i] = ""
				}
			}
		}
		label := string(who[0])
		for _, other := range who[1:] {
			label += " or " + string(other)
		}
		o.sent[way("transfer", verdict, somebody(label), class, from[0], from[1], destination, sentFor)]++
	}
}

// name says who is meant in an answer.
func (o *observer) name(p lineage.Person) somebody {
	if len(p.Candidates) == 0 {
		if p.Erased {
			return "erased"
		}
		return o.numbers[p.Number]
	}
	var names []string
	for _, c := range p.Candidates {
		names = append(names, string(o.name(c)))
	}
	return somebody(strings.Join(sorted(names), " or "))
}

// asked runs a question and returns its flows.
func (o *observer) asked(args ...string) []lineage.Flow {
	o.t.Helper()
	var answer struct{ Flows []lineage.Flow }
	if err := json.Unmarshal([]byte(o.must(append([]string{"lineage"}, append(args, "--json")...)...)), &answer); err != nil {
		o.t.Fatal(err)
	}
	return answer.Flows
}

func (o *observer) told(list []lineage.Flow) flows {
	found := flows{}
	for _, f := range list {
		if f.Service != "demo" {
			o.t.Errorf("a flow is of service %s", f.Service)
		}
		found[way(string(f.Kind), string(f.Verdict), o.name(f.Person), string(f.Class), string(f.Operation), string(f.Purpose), f.Destination, string(f.SentFor))] += f.Count
	}
	return found
}

// learn asks about everybody whose number is not known.
func (o *observer) learn() {
	o.t.Helper()
	known := map[somebody]bool{"": true}
	for _, who := range o.numbers {
		known[who] = true
	}
	for who := range o.everybody {
		if known[who] {
			continue
		}
		for _, f := range o.asked("person", string(who)) {
			if f.Kind == lineage.Delivery {
				if other, known := o.numbers[f.Person.Number]; known && other != who {
					o.t.Errorf("number %d is %s and %s", f.Person.Number, other, who)
				}
				o.numbers[f.Person.Number] = who
			}
		}
	}
}

// about returns those of the flows that are, or may be, somebody's.
func (f flows) about(who somebody) flows {
	some := flows{}
	for text, n := range f {
		if slices.Contains(strings.Split(strings.Split(text, " | ")[2], " or "), string(who)) {
			some[text] = n
		}
	}
	return some
}

// check compares all answers with what happened.
func (o *observer) check(hosts ...string) {
	o.t.Helper()
	want := maps.Clone(o.delivered)
	maps.Copy(want, o.sent)
	o.learn()
	var found flows
	// Counts of flows that were there are written twice a second.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if found = o.told(o.asked("service", "demo")); cmp.Equal(found, want) || time.Now().After(deadline) {
			break
		}
	}
	if diff := cmp.Diff(want, found); diff != "" {
		o.t.Fatalf("lineage service demo (-want +got):\n%s", diff)
	}
	for who := range o.everybody {
		if who == "" || len(hosts) > 0 && len(o.sent.about(who)) == 0 {
			continue
		}
		if diff := cmp.Diff(want.about(who), o.told(o.asked("person", string(who)))); diff != "" {
			o.t.Errorf("lineage person %s (-want +got):\n%s", who, diff)
		}
	}
	for _, host := range hosts {
		var reached struct{ People []lineage.Reach }
		if err := json.Unmarshal([]byte(o.must("lineage", "destination", host, "--json")), &reached); err != nil {
			o.t.Fatal(err)
		}
		found := flows{}
		for _, r := range reached.People {
			found[fmt.Sprint(o.name(r.Person), r.Classes, r.Verdicts)] = r.Count
		}
		if diff := cmp.Diff(o.reach(host), found); diff != "" {
			o.t.Errorf("lineage destination %s (-want +got):\n%s", host, diff)
		}
	}
}

// reach sums up what went to a host, person by person.
func (o *observer) reach(host string) flows {
	type sum struct {
		classes, verdicts []string
		count             int64
	}
	sums := map[string]*sum{}
	for text, n := range o.sent {
		if f := strings.Split(text, " | "); f[6] == host {
			s := sums[f[2]]
			if s == nil {
				s = &sum{}
				sums[f[2]] = s
			}
			s.verdicts, s.classes, s.count = append(s.verdicts, f[1]), append(s.classes, f[3]), s.count+n
		}
	}
	want := flows{}
	for who, s := range sums {
		want[fmt.Sprint(who, slices.Compact(sorted(s.classes)), slices.Compact(sorted(s.verdicts)))] = s.count
	}
	return want
}

// silent fails the test if a value of somebody's stands in a text.
func (o *observer) silent(where, text string) {
	o.t.Helper()
	for value := range o.values {
		if strings.Contains(text, value) {
			o.t.Errorf("%s holds a value of somebody's: %q", where, value)
		}
	}
}

// What was fetched about whom, and where it went, is on record, and nothing else; what
// may not go somewhere does not.
func TestWhereDataGoes(t *testing.T) {
	h := newHouse(t)
	ids, crm, none := newStranger(t, "ids.example", false), newStranger(t, "crm.example", false), newStranger(t, "none.example", false)
	h.edit(widen(ids.declare("pseudonymous-id") + crm.declare("email, name, username") + none.declare("")))
	h.start()
	app := h.appOf()
	o := &observer{
		house: h, delivered: flows{}, sent: flows{}, origin: map[string][2]string{}, values: map[string]bool{},
		numbers: map[lineage.Owner]somebody{}, everybody: map[somebody]bool{},
	}
	o.x, o.meta = h.connectVia(app, demoX, "ada", h.box.People()[0]), h.connectVia(app, demoFacebook, "ada", h.box.People()[0])

	// What the app fetches.
	var me, lookup, followers struct{ Data json.RawMessage }
	decode := func(b []byte, v any) {
		t.Helper()
		if err := json.Unmarshal(b, v); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
	}
	decode(o.fetch(o.x.Handle, "publish", "GET /2/users/me", "/x/2/users/me?user.fields=confirmed_email"), &me)
	decode(o.fetch(o.x.Handle, "publish", "GET /2/users/by", "/x/2/users/by?usernames=chloe_lefevre,"+h.box.People()[2]), &lookup)
	var ada fetched
	decode(me.Data, &ada)
	decode(o.fetch(o.x.Handle, "publish", "GET /2/users/{id}/followers", "/x/2/users/"+ada.ID+"/followers?max_results=3"), &followers)
	o.fetch(o.x.Handle, "publish", "GET /2/tweets/search/recent", "/x/2/tweets/search/recent?query=the&max_results=10&expansions=author_id&tweet.fields=author_id&user.fields=username")
	var looked, following []fetched
	decode(lookup.Data, &looked)
	decode(followers.Data, &following)
	var meta fetched
	decode(o.fetch(o.meta.Handle, "pages", "GET /me", "/meta/v25.0/me?fields=id,name,email"), &meta)
	// The API has shown them, too, when they connected.
	o.shown(somebody("x:"+ada.ID), somebody("facebook:"+meta.ID))
	var pages struct {
		Data []struct {
			ID    string
			Token string `json:"access_token"`
		}
	}
	decode(o.fetch(o.meta.Handle, "pages", "GET /me/accounts", "/meta/v25.0/me/accounts?fields=id,name,access_token"), &pages)
	var feed struct{ Data []struct{ ID string } }
	decode(o.fetch(pages.Data[0].Token, "pages", "GET /{id}/feed", "/meta/v25.0/"+pages.Data[0].ID+"/feed?fields=id&limit=2"), &feed)
	var comments struct{ Data []struct{ From fetched } }
	decode(o.fetch(pages.Data[0].Token, "pages", "GET /{id}/comments", "/meta/v25.0/"+feed.Data[0].ID+"/comments?fields=id,from,message"), &comments)
	o.check()

	publish, two, forPages := h.outside("publish", false), h.outside("publish", true), h.outside("pages", true)
	pass := func(client *http.Client, r *http.Request) {
		t.Helper()
		if rule, document := refusal(t, client, r); rule != "" {
			t.Errorf("%s %s: %s %s", r.Method, r.URL.Path, rule, document)
		}
	}
	stop := func(client *http.Client, r *http.Request) {
		t.Helper()
		rule, document := refusal(t, client, r)
		if rule != "lineage/stopped" {
			t.Errorf("%s %s: %q", r.Method, r.URL.Path, rule)
		}
		o.silent("the refusal of "+r.URL.Path, document)
		for _, word := range []string{"email", "name", "pseudonymous", ada.Username, "secret"} {
			if strings.Contains(strings.ReplaceAll(document, "gatehouse lineage destination", ""), word) {
				t.Errorf("the refusal of %s says %q: %s", r.URL.Path, word, document)
			}
		}
	}
	post := func(s *stranger, path, body string) *http.Request {
		return outgoing(t, http.MethodPost, "https://"+s.host+path, strings.NewReader(body))
	}
	x := func(p fetched) somebody { return somebody("x:" + p.ID) }

	// To somebody who may have ids: one of everybody, each written in another way.
	pass(publish, post(ids, "/json", `{"user":"`+looked[0].ID+`"}`))
	o.sends("passed", "ids.example", "publish", "pseudonymous-id", x(looked[0]))
	pass(publish, post(ids, "/escapes", `{"user":"`+escapedJSON(looked[1].ID)+`"}`))
	o.sends("passed", "ids.example", "publish", "pseudonymous-id", x(looked[1]))
	pass(publish, post(ids, "/form", "event=seen&uid="+following[0].ID))
	o.sends("passed", "ids.example", "publish", "pseudonymous-id", x(following[0]))
	pass(two, outgoing(t, http.MethodGet, "https://ids.example/query?u="+percented(following[1].ID), nil))
	o.sends("passed", "ids.example", "publish", "pseudonymous-id", x(following[1]))
	pass(forPages, post(ids, "/two", `{"users":[`+comments.Data[0].From.ID+`,"`+meta.ID+`"]}`))
	o.sends("passed", "ids.example", "pages", "pseudonymous-id", somebody("facebook:"+comments.Data[0].From.ID))
	o.sends("passed", "ids.example", "pages", "pseudonymous-id", somebody("facebook:"+meta.ID))

	// To somebody who may have e-mail addresses, names and usernames. Both platforms
	// gave the address, and nothing says which of the two it was.
	adas := []somebody{x(ada), somebody("facebook:" + meta.ID)}
	pass(publish, post(crm, "/base64", `{"payload":"`+base64.StdEncoding.EncodeToString([]byte(`{"mail":"`+ada.Email+`"}`))+`"}`))
	o.sends("passed", "crm.example", "publish", "email", adas...)
	pass(publish, post(crm, "/html", "<b>"+entities(looked[0].Name)+"</b> @"+entities(looked[0].Username)))
	o.sends("passed", "crm.example", "publish", "name username", x(looked[0]))
	r := post(crm, "/gzip", gzipped(t, `{"who":"`+following[0].Name+`","nick":"`+following[0].Username+`"}`))
	r.Header.Set("Content-Encoding", "gzip")
	pass(publish, r)
	o.sends("passed", "crm.example", "publish", "name username", x(following[0]))
	name := following[1].Name
	pass(two, outgoing(t, http.MethodPost, "https://crm.example/chunks", piecemeal(`{"who":"`+name[:4], name[4:]+`","nick":"`+following[1].Username[:5], following[1].Username[5:]+`"}`)))
	o.sends("passed", "crm.example", "publish", "name username", x(following[1]))
	pass(two, post(crm, "/h2", `{"who":"`+following[2].Name+`","nick":"`+following[2].Username+`"}`))
	o.sends("passed", "crm.example", "publish", "name username", x(following[2]))
	if n := talk(t, publish, "wss://crm.example/socket", []byte("hello"), []byte(looked[0].Name+" "+looked[0].Username), []byte("bye")); n != 3 {
		t.Errorf("%d of 3 messages were answered", n)
	}
	o.sends("passed", "crm.example", "publish", "name username", x(looked[0]))

	// What may not go there: none of it arrives.
	stop(publish, post(crm, "/id", `{"user":"`+looked[0].ID+`"}`))
	o.sends("stopped", "crm.example", "publish", "pseudonymous-id", x(looked[0]))
	// What is before or behind it, and might have gone, does not leave either.
	all := `{"user":"` + following[2].ID + `","text":"` + strings.Repeat("-", 40_000) + `","nick":"` + following[2].Username + `","who":"` + following[2].Name + `"}`
	stop(publish, post(crm, "/all", all))
	packed := post(crm, "/packed", gzipped(t, all))
	packed.Header.Set("Content-Encoding", "gzip")
	stop(two, packed)
	labelled := post(ids, "/labelled?user="+following[2].ID, "Dear "+following[2].Name+", "+following[2].Username)
	stop(two, labelled)
	for _, host := range []string{"crm.example", "crm.example", "ids.example"} {
		o.sends("stopped", host, "publish", "pseudonymous-id name username", x(following[2]))
	}
	for i, d := range disguises() {
		client := []*http.Client{publish, two}[i%2]
		if d.name == "trailer" {
			continue // what comes before it has left
		}
		stop(client, d.make(t, "https://none.example", ada.Email))
		o.sends("stopped", "none.example", "publish", "email", adas...)
	}
	stop(two, post(none, "/beside", looked[0].Name+", @"+looked[0].Username))
	o.sends("stopped", "none.example", "publish", "name username", x(looked[0]))
	if n := talk(t, publish, "wss://none.example/socket", []byte("hello"), []byte("to "+ada.Email)); n != 1 {
		t.Errorf("%d messages were answered, want 1", n)
	}
	o.sends("stopped", "none.example", "publish", "email", adas...)
	for _, part := range []string{ada.Username, "ople.example", percented(ada.Username), escapedJSON(ada.Username[:3]), base64.StdEncoding.EncodeToString([]byte(ada.Username))} {
		if none.heard(part) {
			t.Errorf("somebody who may have nothing got %q", part)
		}
	}
	if none.heard(looked[0].Username) || crm.heard(`{"user"`) || crm.visits("/packed")+ids.visits("/labelled") != 0 {
		t.Error("what was stopped arrived")
	}

	// Near misses.
	other := looked[0].ID[:len(looked[0].ID)-1] + string('0'+(looked[0].ID[len(looked[0].ID)-1]-'0'+1)%10)
	var stranger string
	for _, name := range h.box.People()[20:] {
		if !o.values[name] {
			stranger = name
			break
		}
	}
	for _, text := range []string{
		`{"user":"` + other + `"}`, "Ada", "Chloé", "Dear Ada, dear Chloé,", looked[0].Name, looked[0].Username, "x" + ada.Email + "x",
		stranger, stranger + "@people.example", "grace_okafor@people.example 6100000000000000",
	} {
		pass(two, post(none, "/near", text))
	}
	if n := none.visits("/near"); n != 10 {
		t.Errorf("%d near misses arrived, want 10", n)
	}
	o.check("ids.example", "crm.example", "none.example", "unknown.example")
	o.exports()
	if t.Failed() {
		return
	}

	// Report mode lets pass, and says so.
	reported := "mode: report\nuntil: " + time.Now().AddDate(0, 0, 20).Format(time.DateOnly) + "\n"
	h.stop()
	h.edit(func(text string) string { return text + reported })
	h.start()
	o.ready()
	two = h.outside("publish", true)
	pass(two, post(none, "/report", ada.Email))
	o.sends("reported", "none.example", "publish", "email", adas...)
	if !none.heard(ada.Email) {
		t.Error("in report mode it did not arrive")
	}
	o.check("none.example")
	h.stop()
	h.edit(func(text string) string { return strings.Replace(text, reported, "", 1) })
	h.start()
	o.ready()

	// A process that dies right after a delivery has lost nothing of it.
	var late struct{ Data []fetched }
	decode(o.fetch(o.x.Handle, "publish", "GET /2/users/by", "/x/2/users/by?usernames="+stranger), &late)
	h.kill()
	h.start()
	o.ready()
	two = h.outside("publish", true)
	stop(two, post(none, "/late", stranger+", "+late.Data[0].Name))
	o.sends("stopped", "none.example", "publish", "name username", x(late.Data[0]))
	o.check("none.example")

	o.erases(none, two, x(ada), somebody("facebook:"+meta.ID), ada.Email)
}

// ready waits until the running program recognises what was delivered before.
func (o *observer) ready() {
	o.t.Helper()
	client := o.outside("publish", true)
	eventually(o.t, "the index is loaded", func() bool {
		reply, err := client.Do(outgoing(o.t, http.MethodGet, "https://none.example/ready", nil))
		if err != nil {
			o.t.Fatal(err)
		}
		_ = reply.Body.Close()
		return reply.StatusCode == http.StatusNoContent && strings.Contains(o.must("lineage", "status", "--json"), `"state": "ready"`)
	})
}

// exports looks at what is made of the flows for others: all of it is there, and no
// value of a person's.
func (o *observer) exports() {
	o.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(o.must("lineage", "flows", "--csv"))).ReadAll()
	if err != nil || len(rows) == 0 {
		o.t.Fatalf("the table: %d rows, %v", len(rows), err)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	want, found := flows{}, flows{}
	for text, n := range o.delivered {
		want[nameless(text)] += n
	}
	for text, n := range o.sent {
		want[nameless(text)] += n
	}
	for _, row := range rows[1:] {
		n, err := strconv.ParseInt(row[column["count"]], 10, 64)
		if err != nil {
			o.t.Fatal(err)
		}
		at := func(name string) string { return row[column[name]] }
		found[nameless(way(at("kind"), at("verdict"), "", at("class"), at("operation"), at("purpose"), at("destination"), at("sent_for")))] += n
	}
	if diff := cmp.Diff(want, found); diff != "" {
		o.t.Errorf("lineage flows --csv (-want +got):\n%s", diff)
	}

	counted := flows{}
	for line := range strings.Lines(o.must("lineage", "flows", "--openlineage")) {
		var e lineage.RunEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			o.t.Fatal(err)
		}
		for _, d := range e.Outputs {
			for _, f := range d.OutputFacets {
				if e.EventType != "START" {
					counted[e.EventType] += f.Count
				}
			}
		}
	}
	ends := flows{}
	for text, n := range want {
		if strings.Contains(text, "stopped") {
			ends["ABORT"] += n
		} else {
			ends["COMPLETE"] += n
		}
	}
	if diff := cmp.Diff(ends, counted); diff != "" {
		o.t.Errorf("lineage flows --openlineage (-want +got):\n%s", diff)
	}

	for _, args := range [][]string{
		{"flows"}, {"flows", "--csv"}, {"flows", "--json"}, {"flows", "--openlineage"}, {"service", "demo"}, {"purpose", "publish"},
		{"destination", "crm.example"}, {"diagram"}, {"diagram", "--svg", "-"},
	} {
		out := o.must(append([]string{"lineage"}, args...)...)
		if !strings.Contains(out, "crm.example") && args[0] != "purpose" && args[0] != "destination" || len(out) < 200 {
			o.t.Errorf("lineage %v prints %s", args, out)
		}
		o.silent("lineage "+strings.Join(args, " "), out)
	}
	o.silent("the log", o.must("audit", "show", "--people", "--json", "-n", "100000"))
	o.silent("the program's log", o.stderr.String())
	err = filepath.WalkDir(o.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		o.silent(d.Name(), string(b))
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
}

// nameless is a flow without whose it is.
func nameless(text string) string {
	f := strings.Split(text, " | ")
	f[2] = ""
	return strings.Join(f, " | ")
}

// erases has somebody erased, and looks at what is left.
func (o *observer) erases(s *stranger, client *http.Client, first, second somebody, address string) {
	o.t.Helper()
	out, errOut, _ := o.gatehouse("person", "erase", "subject:ada")
	confirm := regexp.MustCompile(`--confirm (\S+)`).FindStringSubmatch(out)
	if confirm == nil {
		o.t.Fatalf("person erase: %s%s", out, errOut)
	}
	o.must("person", "erase", "subject:ada", "--confirm", confirm[1])
	for _, who := range []somebody{first, second} {
		eventually(o.t, "nothing leads to "+string(who), func() bool { return len(o.asked("person", string(who))) == 0 })
		delete(o.everybody, who)
	}
	// The flows are there, and nobody's.
	for _, all := range []flows{o.delivered, o.sent} {
		for text, n := range maps.Clone(all) {
			tomb := strings.NewReplacer(" "+string(first)+" ", " erased ", " "+string(second)+" ", " erased ").Replace(text)
			if tomb != text {
				delete(all, text)
				all[tomb] += n
			}
		}
	}
	for number, who := range o.numbers {
		if who == first || who == second {
			delete(o.numbers, number)
		}
	}
	o.check(s.host)

	passes := func(path string) {
		o.t.Helper()
		if rule, _ := refusal(o.t, client, outgoing(o.t, http.MethodPost, "https://"+s.host+path, strings.NewReader(address))); rule != "" {
			o.t.Errorf("after the erasure %s is refused: %s", path, rule)
		}
	}
	eventually(o.t, "the program forgets", func() bool {
		rule, _ := refusal(o.t, client, outgoing(o.t, http.MethodPost, "https://"+s.host+"/forgotten", strings.NewReader("x")))
		return rule == ""
	})
	passes("/erased")
	o.stop()
	o.start()
	o.ready()
	client = o.outside("publish", true)
	passes("/erased-again")
	o.check(s.host)

	var entries []struct{ Action string }
	if err := json.Unmarshal([]byte(o.must("audit", "show", "--json", "-n", "100000")), &entries); err != nil {
		o.t.Fatal(err)
	}
	actions := map[string]bool{}
	for _, e := range entries {
		actions[e.Action] = true
	}
	for _, action := range []string{"egress.tunnel", "egress.request", "egress.authority", "lineage.ask", "lineage.erase"} {
		if !actions[action] {
			o.t.Errorf("the log has no %s", action)
		}
	}
	o.must("audit", "verify")
}

// widen lets the demo's purposes fetch what the test does, and declares third parties.
func widen(parties string) func(string) string {
	return func(text string) string {
		for from, to := range map[string]string{
			"follows.read, offline.access]":     "follows.read, users.email, offline.access]",
			"scopes: [public_profile,":          "scopes: [public_profile, email, pages_read_user_content,",
			"      - {call: GET /2/users/me}\n": "      - {call: GET /2/users/me}\n      - {call: GET /2/users/by}\n",
			"      - {call: GET /me}\n":         "      - {call: GET /me}\n      - {call: \"GET /{post-id}/comments\"}\n",
			"third_parties:\n":                  "third_parties:\n" + parties,
			"rate: 200/s":                       "rate: 100000/s", // requests of a test follow one another fast
		} {
			if strings.Count(text, from) != 1 {
				panic("the demo's configuration has not one " + from)
			}
			text = strings.Replace(text, from, to, 1)
		}
		return text
	}
}
