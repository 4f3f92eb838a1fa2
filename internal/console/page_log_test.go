package console

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"

	"golang.org/x/net/html"
)

// hostileText is what somebody else may have called something.
const hostileText = `"><script>alert(1)</script>' OR 1=1; DROP TABLE log_entries;--<img src=x onerror=alert(1)>{{.}}` + "\u202e"

// inert fails unless a page has no element or attribute that hostileText would have made.
func (r reply) inert(t *testing.T) {
	t.Helper()
	root, err := html.Parse(strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		if n.Data == "img" || n.Data == "script" && (n.FirstChild != nil || n.Attr[0].Key != "type") {
			t.Errorf("the page has the element <%s>", n.Data)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" || strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				t.Errorf("the page has the attribute %s=%q", a.Key, a.Val)
			}
		}
	}
}

// logs is a source of the pages about the log, and remembers what it was asked.
type logs struct {
	page     LogPage
	entry    LogEntry
	state    LogState
	doubt    DoubtView
	checked  Verification
	asked    []string
	queries  []LogQuery
	afters   []string
	revealed []string
	err      error
}

func (l *logs) Choices() LogChoices {
	return LogChoices{Services: []string{"web"}, Purposes: []string{"publish"}, Apps: []string{"app-x"}, Platforms: []string{"x"}, Actions: []string{"call", "connect.revoke"}}
}

func (l *logs) Search(_ context.Context, _ string, q LogQuery, after string, most int) (LogPage, error) {
	l.queries, l.afters = append(l.queries, q), append(l.afters, after)
	if most != maxLogRows {
		return LogPage{}, fmt.Errorf("%d entries are asked for", most)
	}
	return l.page, l.err
}

func (l *logs) Entry(_ context.Context, id string) (LogEntry, error) {
	if id != l.entry.ID {
		return LogEntry{}, errNoSuch("entry")
	}
	return l.entry, nil
}

func (l *logs) Reveal(_ context.Context, actor, id string) ([]NamedValue, error) {
	l.revealed = append(l.revealed, actor+" "+id)
	return []NamedValue{{"subject", hostileText}}, nil
}

func (l *logs) Proof(_ context.Context, id string) ([]byte, error) {
	return []byte("proof of " + id), nil
}

func (l *logs) State(context.Context) (LogState, error) { return l.state, nil }
func (l *logs) InDoubt(context.Context, time.Time) (DoubtView, error) {
	return l.doubt, nil
}
func (l *logs) Verification() Verification { return l.checked }
func (l *logs) Verify(_ context.Context, actor string) (string, error) {
	l.asked = append(l.asked, actor)
	return "It says what it does.", nil
}

func hostileEntry(id string) EntryLine {
	return EntryLine{ID: id, Kind: "event", Action: hostileText, Verdict: hostileText, Rule: hostileText, Code: hostileText, Severity: hostileText, Service: hostileText, Purpose: hostileText, Operation: hostileText, Status: 200, At: time.Now()}
}

func TestLogSearch(t *testing.T) {
	from := &logs{page: LogPage{Entries: []EntryLine{hostileEntry("e1"), {ID: "e2", Kind: "intent", Action: "call", Code: "GH2000I", Severity: "info"}}, Next: "cursor"}}
	d := newDesk(t, operator.Owner, Log(from, from), People(nil))
	r := d.get("/log?since=24h&action=call")
	r.inert(t)
	r.shows(t, "/log/e1", "begun", "GH2000I", "after=cursor", "&lt;script&gt;", "no service", "!Nothing is written")
	if from.queries[0].Action != "call" || from.queries[0].Since.IsZero() {
		t.Errorf("searched by %+v", from.queries[0])
	}
	// The next page is of the same search: its times do not move on.
	next := regexpFind(t, r.body, `href="(/log\?[^"]*after=cursor[^"]*)"`)
	d.get(strings.ReplaceAll(next, "&amp;", "&"))
	if from.afters[1] != "cursor" || !from.queries[1].Since.Equal(from.queries[0].Since) {
		t.Errorf("the next page asks for %+v after %q, not %+v", from.queries[1], from.afters[1], from.queries[0])
	}

	// Every filter takes what SQL and HTML are made of, as it is.
	fields := []string{"action", "app", "code", "destination", "kind", "operation", "platform", "purpose", "rule", "actor", "severity", "status", "verdict", "fact", "operator", "person", "connection"}
	v := url.Values{}
	for _, f := range fields {
		v.Set(f, hostileText)
	}
	from.queries = nil
	if r := d.get("/log?" + v.Encode()); r.status != 200 {
		t.Errorf("status %d: %s", r.status, r.body)
	} else {
		r.inert(t)
	}
	want := LogQuery{Action: hostileText, App: hostileText, Code: hostileText, Destination: hostileText, Kind: hostileText, Operation: hostileText, Platform: hostileText, Purpose: hostileText, Rule: hostileText, Service: hostileText,
		Severity: hostileText, Status: hostileText, Verdict: hostileText, Facts: []string{hostileText, "operator=" + hostileText}, Person: hostileText, Connection: hostileText}
	if got := fmt.Sprintf("%+v", from.queries); got != fmt.Sprintf("%+v", []LogQuery{want}) {
		t.Errorf("asked for %s\nwant %+v", got, want)
	}

	// What cannot be meant is said beside the form, which stays filled in.
	if r := d.get("/log?since=yesterday&rule=r1"); r.status != 400 {
		t.Errorf("status %d", r.status)
	} else {
		r.shows(t, "write how long ago", `value="r1"`)
	}
	from.err = wire.Refuse(gatehouse.ErrInvalid, "console/filter", "Code: no entry has such a code.")
	if r := d.get("/log?code=x"); r.status != 400 {
		t.Errorf("status %d", r.status)
	} else {
		r.shows(t, "no entry has such a code")
	}
	from.err = errors.New("broken")
	if r := d.get("/log"); r.status != 500 {
		t.Errorf("status %d", r.status)
	}
	from.err, from.page = nil, LogPage{}
	d.get("/log").shows(t, "Nothing is written yet", "gatehouse audit search")
	d.get("/log?rule=x").shows(t, "No entry fits")
	from.page.Next = "more"
	d.get("/log?rule=x").shows(t, "Look further", "after=more")
}

func TestLogOfSomebody(t *testing.T) {
	from := &logs{}
	d := newDesk(t, operator.Auditor, Log(from, from))
	r := d.get("/log")
	r.shows(t, "!Person (id)", "Connection", "Operator")
	if r := d.get("/log?person=per1"); r.status != 403 {
		t.Errorf("an auditor looks for a person: status %d", r.status)
	}
	if r := d.get("/log?connection=con1"); r.status != 200 || from.queries[1].Connection != "con1" {
		t.Errorf("an auditor looks for a connection: status %d", r.status)
	}
	if r := d.house.join("Dev", operator.Developer).get("/log?connection=con1"); r.status != 403 {
		t.Errorf("a developer looks for a connection: status %d", r.status)
	}
	if r := d.house.join("Sec", operator.Security).get("/log?person=per1"); r.status != 200 {
		t.Errorf("security looks for a person: status %d", r.status)
	}
}

func TestLogEntry(t *testing.T) {
	began := hostileEntry("e0")
	from := &logs{entry: LogEntry{
		EntryLine: EntryLine{ID: "e1", Kind: "outcome", Action: "call", Verdict: "failed", Code: "GH2012W", Severity: "warning", Bytes: 1234, Status: 502},
		Meaning:   "A call to a platform", Controls: []string{hostileText}, Facts: []NamedValue{{hostileText, hostileText}, {"operator", hostileText}}, Personal: []string{"connection", hostileText}, Began: &began,
		App: hostileText, Platform: hostileText, Node: hostileText, Seq: 17,
	}}
	d := newDesk(t, operator.Security, Log(from, from))
	r := d.get("/log/e1")
	r.inert(t)
	r.shows(t, "A call to a platform.", "did not come about", "warning: it is to be looked at", "1\u202f234", "502", "/log/e0", "Sealed: connection", "Open these fields", "/log/e1/proof")
	if p := d.get("/log/e1/proof"); p.body != "proof of e1" || p.header.Get("Content-Disposition") != `attachment; filename="e1.tlog-proof"` {
		t.Errorf("the proof is %q, %v", p.body, p.header)
	}
	if p := d.get("/log/x%22%0d%0a..%2f/proof"); strings.ContainsAny(p.header.Get("Content-Disposition")[len(`attachment; filename="`):], "\r\n/") {
		t.Errorf("the file's name is %q", p.header.Get("Content-Disposition"))
	}
	r = d.post("/log/e1/reveal")
	r.inert(t)
	r.shows(t, "That you opened this is in the log", "<dt>subject</dt>", "!Open these fields")
	if len(from.revealed) != 1 || from.revealed[0] != string(d.account.ID)+" e1" {
		t.Errorf("revealed %q", from.revealed)
	}
	from.entry.Kind = "intent"
	d.get("/log/e1").shows(t, "its outcome says how it ended", "!gatehouse audit show")
	from.entry.NotNear = true
	d.get("/log/e1").shows(t, "not among the entries that follow it soon", "!its outcome says how it ended")
	from.entry.Kind, from.entry.NotNear = "outcome", false
	if r := d.get("/log/nothing"); r.status != 404 {
		t.Errorf("an entry that is not there: status %d", r.status)
	}

	auditor := d.house.join("Guest", operator.Auditor)
	auditor.get("/log/e1").shows(t, "Sealed: connection", "!Open these fields")
	if r := auditor.post("/log/e1/reveal"); r.status != 403 || len(from.revealed) != 1 {
		t.Errorf("an auditor reveals: status %d", r.status)
	}
	d.house.ahead.Store(int64(11 * time.Minute))
	if r := d.post("/log/e1/reveal"); r.status != 303 || !strings.HasPrefix(r.header.Get("Location"), "/prove") || len(from.revealed) != 1 {
		t.Errorf("without a recent proof: status %d to %q", r.status, r.header.Get("Location"))
	}
}

func TestLogState(t *testing.T) {
	from := &logs{state: LogState{Condition: "writable", Logs: []LogLine{{Size: 1000, Checkpoint: hostileText}, {Node: hostileText, Size: 234}}}}
	d := newDesk(t, operator.Auditor, Log(from, from))
	r := d.get("/log/state")
	r.inert(t)
	r.shows(t, "writable", "1\u202f234", "not done yet", "Verify now", "None is signed yet")
	d.post("/log/verify").goesTo(t, "/log/state")
	d.get("/log/state").shows(t, "It says what it does.")
	if want := []string{string(d.account.ID)}; !slices.Equal(from.asked, want) {
		t.Errorf("asked by %q, want %q", from.asked, want)
	}

	from.checked = Verification{Began: time.Now(), Done: 5, Total: 10}
	d.get("/log/state").shows(t, "50 %", "under way", "!Verify now")
	from.checked = Verification{Began: time.Now(), Ended: time.Now(), Entries: 1234}
	d.get("/log/state").shows(t, "complete and unaltered", "1\u202f234 entries are as they were written", "Verify now")
	from.checked = Verification{Began: time.Now(), Ended: time.Now(), Count: 2, Problems: []string{hostileText}}
	r = d.get("/log/state")
	r.inert(t)
	r.shows(t, "altered", "2 things are not as written", "!complete and unaltered")
	from.checked = Verification{Began: time.Now(), Ended: time.Now(), Failed: hostileText}
	r = d.get("/log/state")
	r.inert(t)
	r.shows(t, "no result", "!complete and unaltered")
	for condition, says := range map[string]string{"full": "Taking access away still works", "tampered": "gatehouse audit accept", "slow": "takes longer"} {
		from.state.Condition = condition
		d.get("/log/state").shows(t, says, "!Every call is written down")
	}

	d.get("/log/in-doubt").shows(t, "Nothing is in doubt")
	from.doubt.Entries = []EntryLine{hostileEntry("e1")}
	r = d.get("/log/in-doubt?hours=24")
	r.inert(t)
	r.shows(t, "/log/e1", `<span class="chosen">1 d</span>`)
	for range 300 {
		from.doubt.Entries = append(from.doubt.Entries, EntryLine{ID: "e2"})
	}
	if n := strings.Count(d.get("/log/in-doubt").body, "/log/e2"); n != 4*maxLogRows-1 {
		t.Errorf("%d rows", n)
	}
	d.get("/log/in-doubt").shows(t, "!of the log only")
	from.doubt.Looked, from.doubt.From = 524_288, time.Date(2026, 5, 4, 12, 3, 20, 0, time.UTC)
	d.get("/log/in-doubt").shows(t, "Of the newest 524\u202f288 entries of the log only, which go back to 4 May 2026, 12:03:20 UTC", "gatehouse audit in-doubt")
	from.doubt.Entries = nil
	d.get("/log/in-doubt").shows(t, "Nothing among these is in doubt", "!Everything that was begun in this time has an outcome")

	none := d.house.join("None", operator.Auditor)
	must(t, d.house.directory.Revoke(t.Context(), operator.Host(), none.account.ID, operator.Auditor))
	for _, path := range []string{"/log", "/log/e1", "/log/e1/proof", "/log/state", "/log/in-doubt", "/log/state/live"} {
		if r := none.get(path); r.status != 403 {
			t.Errorf("%s without the permission: status %d", path, r.status)
		}
	}
}

// regexpFind returns what the first group of a pattern finds.
func regexpFind(t *testing.T, in, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(in)
	if found == nil {
		t.Fatalf("nothing is like %s", pattern)
	}
	return found[1]
}
