package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/api"
	"gatehouse/internal/audit"
	"gatehouse/internal/connect"
)

var logHash = audit.NewIndexHash([]byte("the key of a test"))

// setUpSearch makes what searches the log; the only person known is person:1.
func (w *world) setUpSearch() api.LogSearch {
	hash := logHash
	return api.LogSearch{
		In: func(context.Context) (*audit.Searcher, error) {
			return audit.NewSearcher(hash, audit.SearchedLog{Store: w.DB.Audit()}), nil
		},
		Record: func(_ context.Context, by gatehouse.ServiceName, whose []audit.Found) error {
			w.searched = append(w.searched, fmt.Sprintf("%s %d", by, len(whose)))
			return nil
		},
		Whose: func(_ context.Context, _, value string) ([]audit.Found, error) {
			switch value {
			case "person:1":
				return []audit.Found{{Hash: hash, Person: w.person}}, nil
			case "unreadable":
				return nil, gatehouse.ErrInvalid
			}
			return nil, gatehouse.ErrNotFound
		},
	}
}

// logged writes calls of a service, some of a person.
func (w *world) logged(n int) {
	w.t.Helper()
	for i := range n {
		e := audit.Entry{Action: "call", Service: "publisher", Verdict: "refuse", Rule: "purpose/undeclared", Facts: map[string]string{"n": fmt.Sprint(i)}}
		if i%2 == 0 && w.person != "" {
			e.Person, e.Personal = w.person, map[string]string{"handle": "hnd-secret"}
		}
		if _, err := w.Log.Record(w.t.Context(), e); err != nil {
			w.t.Fatal(err)
		}
	}
}

func list(reply map[string]any) []any { return reply["entries"].([]any) }

// somebody makes person:1 a person who is connected.
func (w *world) somebody() {
	w.t.Helper()
	w.connect("user-7", "publish")
	people, err := w.Connections.People(w.t.Context(), connect.Who{Subject: "user-7"})
	if err != nil || len(people) != 1 {
		w.t.Fatal(people, err)
	}
	w.person = people[0]
}

func TestSearchTheLog(t *testing.T) {
	w := newWorld(t)
	w.somebody()
	w.logged(7)
	const path = "/gatehouse/v1/log/entries"
	query := func(pairs ...string) string {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return path + "?" + v.Encode()
	}
	for what, c := range map[string]struct {
		path string
		want int
	}{
		"a service":         {query("service", "publisher"), 7},
		"an actor":          {query("actor", "publisher"), 7},
		"another service":   {query("service", "nobody"), 0},
		"a code":            {query("code", "GH2011W", "severity", "warning"), 7},
		"a rule":            {query("rule", "purpose/undeclared", "verdict", "refuse"), 7},
		"a fact":            {query("fact", "n=3"), 1},
		"a fact of nobody":  {query("fact", "n=3", "fact", "m="), 0},
		"a time":            {query("since", "2020-01-01T00:00:00Z", "service", "publisher"), 7},
		"a time that was":   {query("until", "2020-01-01T00:00:00Z"), 0},
		"a status":          {query("status", "4xx"), 0},
		"what nobody did":   {query("actor", "operator", "rule", "purpose/undeclared"), 0},
		"a person":          {query("person", "person:1", "service", "publisher"), 4},
		"a kind and action": {query("kind", "event", "action", "call"), 7},
	} {
		reply := w.ok(http.StatusOK, "GET", c.path, "")
		if n := len(list(reply)); n != c.want {
			t.Errorf("%s: %d entries, not %d", what, n, c.want)
		}
		if text := fmt.Sprint(reply); strings.Contains(text, "hnd-secret") || strings.Contains(text, string(w.person)) {
			t.Errorf("%s: the reply holds what belongs to a person: %s", what, text)
		}
	}
	first := list(w.ok(http.StatusOK, "GET", query("service", "publisher", "limit", "1"), ""))[0].(map[string]any)
	if first["code"] != "GH2011W" || first["severity"] != "warning" || first["facts"].(map[string]any)["n"] != "6" {
		t.Errorf("the newest entry is %v", first)
	}

	seen := 0
	w.searched = nil
	for cursor := ""; ; {
		reply := w.ok(http.StatusOK, "GET", query("person", "person:1", "service", "publisher", "limit", "3", "cursor", cursor), "")
		seen += len(list(reply))
		if cursor, _ = reply["next"].(string); cursor == "" {
			break
		}
	}
	if seen != 4 {
		t.Errorf("pages have %d entries, not 4", seen)
	}
	if len(w.searched) != 1 || w.searched[0] != "scheduler 1" {
		t.Errorf("that somebody was searched for is on record as %v", w.searched)
	}

	for _, wrong := range []string{
		query("code", "GH9999X"), query("severity", "loud"), query("status", "4x"), query("fact", "n"), query("fact", "=3"), query("fact", "n=1", "fact", "n=2"),
		query("since", "yesterday"), query("limit", "0"), query("limit", "1001"), query("limit", "x"), query("cursor", "abc"), query("actor", "a", "service", "b"),
		query("actor", "operator", "service", "b"), query("person", "unreadable"), query("person", "person:1", "handle", "person:1"), query("verdict", "refused"),
	} {
		w.refuses(http.StatusBadRequest, "log/query", w.request("GET", wrong, ""))
	}
	w.refuses(http.StatusBadRequest, "api/unknown-parameter", w.request("GET", query("wait", "3"), ""))
	w.refuses(http.StatusBadRequest, "api/repeated-parameter", w.request("GET", query("rule", "a", "rule", "b"), ""))
	w.refuses(http.StatusBadRequest, "api/query", w.request("GET", path+"?rule=a;b", ""))
	w.refuses(http.StatusNotFound, "log/whose", w.request("GET", query("person", "person:2"), ""))

	w.key = w.serviceKey("analytics")
	w.refuses(http.StatusForbidden, "log/reader", w.request("GET", path, ""))
	w.refuses(http.StatusForbidden, "log/reader", w.request("GET", "/gatehouse/v1/log/tail", ""))
}

// TestFollowTheLog: what is written is handed out once, also if it is only written while
// the request waits.
func TestFollowTheLog(t *testing.T) {
	w := newWorld(t)
	w.logged(3)
	const path = "/gatehouse/v1/log/tail?service=publisher"
	reply := w.ok(http.StatusOK, "GET", path, "")
	if len(list(reply)) != 0 {
		t.Errorf("what was before is handed out: %v", reply)
	}
	follow := func(more string) []any {
		reply = w.ok(http.StatusOK, "GET", path+"&cursor="+reply["next"].(string)+more, "")
		return list(reply)
	}
	w.logged(2)
	if n := len(follow("")); n != 2 {
		t.Errorf("%d entries are handed out, not 2", n)
	}
	if n := len(follow("&wait=0")); n != 0 {
		t.Errorf("%d entries are handed out twice", n)
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.logged(1)
	}()
	if n := len(follow("&wait=30")); n != 1 {
		t.Errorf("%d entries are handed out, not 1", n)
	}
	<-written
	if n := len(follow("&wait=1")); n != 0 {
		t.Errorf("%d entries are handed out twice", n)
	}
	for _, wrong := range []string{"&wait=31", "&wait=-1", "&cursor=abc", "&code=x"} {
		w.refuses(http.StatusBadRequest, "log/query", w.request("GET", path+wrong, ""))
	}
	w.refuses(http.StatusBadRequest, "api/unknown-parameter", w.request("GET", path+"&limit=3", ""))
	if api.Waiting(w.api) != 0 {
		t.Error("somebody still waits")
	}
}

// TestTooManyWait: who asks without waiting is answered even then.
func TestTooManyWait(t *testing.T) {
	w := newWorld(t)
	const path = "/gatehouse/v1/log/tail"
	leave := api.Wait(w.api, 32)
	w.refuses(http.StatusTooManyRequests, "log/waiting", w.request("GET", path+"?wait=1", ""))
	w.ok(http.StatusOK, "GET", path+"?wait=0", "")
	leave(1)
	w.logged(1)
	w.ok(http.StatusOK, "GET", path+"?wait=1", "")
	leave(31)
	if api.Waiting(w.api) != 0 {
		t.Error("somebody still waits")
	}
}

// Who made one recorded look cannot see, by its cursor, what came since: neither with
// other places in it, nor as a tail's; and it is of no use to another service.
func TestCursorsAreTheCallersOwn(t *testing.T) {
	w := newWorld(t)
	w.somebody()
	w.logged(7)
	path := func(of, cursor string) string {
		return "/gatehouse/v1/log/" + of + "?" + url.Values{"person": {"person:1"}, "cursor": {cursor}, map[string]string{"entries": "limit", "tail": "wait"}[of]: {"1"}}.Encode()
	}
	next := w.ok(http.StatusOK, "GET", path("entries", ""), "")["next"].(string)
	tail := w.ok(http.StatusOK, "GET", path("tail", ""), "")["next"].(string)
	w.ok(http.StatusOK, "GET", path("entries", next), "")
	w.ok(http.StatusOK, "GET", path("tail", tail), "")
	if len(w.searched) != 2 {
		t.Errorf("two looks are on record as %v", w.searched)
	}
	for _, cursor := range []string{next, tail} {
		raw, err := base64.RawURLEncoding.DecodeString(cursor)
		if err != nil {
			t.Fatal(err)
		}
		of := map[bool]string{true: "entries", false: "tail"}[raw[0] == 'p']
		for i := range raw {
			changed := slices.Clone(raw)
			changed[i] ^= 1
			w.refuses(http.StatusBadRequest, "log/query", w.request("GET", path(of, base64.RawURLEncoding.EncodeToString(changed)), ""))
		}
		raw[0] ^= 'p' ^ 't'
		w.refuses(http.StatusBadRequest, "log/query", w.request("GET", path(map[string]string{"entries": "tail", "tail": "entries"}[of], base64.RawURLEncoding.EncodeToString(raw)), ""))
	}
	if len(w.searched) != 2 {
		t.Errorf("what was refused is on record: %v", w.searched)
	}
	other := audit.NewSearcher(logHash, audit.SearchedLog{Store: w.DB.Audit()}).As("service analytics")
	q := audit.Query{Found: []audit.Found{{Hash: logHash, Person: w.person}}}
	page, err := other.Search(t.Context(), q, "", 1)
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	w.refuses(http.StatusBadRequest, "log/query", w.request("GET", path("entries", page.Next), ""))
}

// That somebody is followed is written down once for a while, however often it is asked.
func TestFollowingSomebodyIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.somebody()
	w.logged(3)
	const path = "/gatehouse/v1/log/tail?person=person:1"
	next := ""
	for range 5 {
		next = w.ok(http.StatusOK, "GET", path+"&cursor="+next, "")["next"].(string)
	}
	if len(w.searched) != 1 {
		t.Errorf("five polls are on record as %v", w.searched)
	}
	q := audit.Query{Found: []audit.Found{{Hash: logHash, Person: w.person}}}
	for name, c := range map[string]struct {
		ago  time.Duration
		want int
	}{"a while ago": {50 * time.Minute, 0}, "long ago": {70 * time.Minute, 1}, "in the future": {-70 * time.Minute, 1}, "never": {time.Since(time.Time{}), 1}} {
		tail, err := audit.NewSearcher(logHash, audit.SearchedLog{Store: w.DB.Audit()}).As("service scheduler").Follow(t.Context(), q, "")
		if err != nil {
			t.Fatal(err)
		}
		if name != "never" {
			tail.Record(time.Now().Add(-c.ago))
		}
		w.searched = nil
		again := w.ok(http.StatusOK, "GET", path+"&cursor="+tail.Cursor(), "")["next"].(string)
		w.ok(http.StatusOK, "GET", path+"&cursor="+again, "")
		if len(w.searched) != c.want {
			t.Errorf("recorded %s: it is written down %d times, not %d", name, len(w.searched), c.want)
		}
	}
	// Nobody's entries in particular are no search for somebody.
	w.searched = nil
	w.ok(http.StatusOK, "GET", "/gatehouse/v1/log/tail", "")
	if len(w.searched) != 0 {
		t.Errorf("on record is %v", w.searched)
	}
}
