package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/config"
	"gatehouse/internal/observe"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
	"gatehouse/internal/store"
)

// TestPolicyCommands is the way of a reviewer: nothing is known before the program
// ran; then what was used is suggested and what was not is listed; under what was
// suggested, nothing is unused any more.
func TestPolicyCommands(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"policy", "suggest"}, 1, "nothing has been observed yet"},
		{[]string{"policy", "unused"}, 1, "nothing has been observed yet"},
		{[]string{"policy", "suggest", "--since", "yesterday"}, 2, "write a day as"},
		{[]string{"policy", "unused", "--since", "2026-02-30"}, 2, "write a day as"},
		{[]string{"policy", "suggest", "--service", "nobody"}, 1, "service nobody is not in the configuration"},
		{[]string{"policy"}, 2, "which of suggest, unused"},
	} {
		if out, errOut, code := h.gatehouse(test.args...); code != test.code || !strings.Contains(errOut, test.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", strings.Join(test.args, " "), code, test.code, test.says, out, errOut)
		}
	}

	h.start()
	ada := h.box.People()[0]
	x := h.connectPerson(demoX, "ada", ada)
	call := func(want int, method, path string, body any) []byte {
		t.Helper()
		status, b, err := h.call(t.Context(), method, path, x.Handle, body)
		if err != nil || status != want {
			t.Fatalf("%s %s: %d, %v, want %d\n%s", method, path, status, err, want, b)
		}
		return b
	}
	var me struct{ Data struct{ ID string } }
	if err := json.Unmarshal(call(http.StatusOK, "GET", "/x/2/users/me", nil), &me); err != nil {
		t.Fatal(err)
	}
	call(http.StatusCreated, "POST", "/x/2/tweets", map[string]string{"text": "a story of Lovelace"})
	call(http.StatusOK, "GET", "/x/2/users/"+me.Data.ID+"/followers?max_results=5", nil)
	call(http.StatusForbidden, "GET", "/x/2/dm_events", nil) // refused, so never used
	if code := h.stop(); code != 0 {
		t.Fatalf("stopping: %d\n%s", code, h.stderr)
	}

	// What was never used, with what was used as the near miss.
	out, errOut, code := h.gatehouse("policy", "unused", "--json")
	var unused unusedAnswer
	if err := json.Unmarshal([]byte(out), &unused); err != nil || code != 1 {
		t.Fatalf("policy unused: exit status %d, %v\n%s%s", code, err, out, errOut)
	}
	var found []string
	for _, f := range unused.Unused {
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Kind, f.Purpose, f.Call)))
	}
	if want := "purpose pages, call publish GET /2/tweets/{id}, call publish GET /2/tweets/search/recent, third-party"; strings.Join(found, ", ") != want {
		t.Errorf("unused: %s\nwant    %s", strings.Join(found, ", "), want)
	}
	if len(unused.Warnings) != 1 || unused.Days != 0 {
		t.Errorf("it does not say that it was not observed for long: %+v", unused)
	}
	if out, _, code := h.gatehouse("policy", "unused"); code != 1 || !strings.Contains(out, "never made") || !strings.Contains(out, "warning: observed for less than a week") {
		t.Errorf("policy unused: %d\n%s", code, out)
	}
	if out, _, code := h.gatehouse("policy", "unused", "--since", time.Now().AddDate(0, 0, 2).Format(time.DateOnly)); code != 1 || strings.Count(out, "nothing was called for it") != 2 {
		t.Errorf("policy unused since the day after tomorrow: %d\n%s", code, out)
	}

	file := filepath.Join(t.TempDir(), "purposes.yaml")
	if out, errOut, code := h.gatehouse("policy", "suggest", "--purpose", "publish", "--output", file); code != 0 || out != "" {
		t.Fatalf("policy suggest: %d\n%s%s", code, out, errOut)
	}
	suggested, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- call: POST /2/tweets\n", "fields: [id, text]", "- call: GET /2/users/{id}/followers", "why: Publish what the person scheduled, and show how it went",
		"# Left out, never seen: GET /2/tweets/{id}, GET /2/tweets/search/recent.", "seen once, on ", "less than a week",
	} {
		if !strings.Contains(string(suggested), want) {
			t.Errorf("%q is not suggested:\n%s", want, suggested)
		}
	}
	for _, not := range []string{"dm_events", "pages:", "Lovelace", me.Data.ID} {
		if strings.Contains(string(suggested), not) {
			t.Errorf("%q is suggested:\n%s", not, suggested)
		}
	}
	if _, errOut, code := h.gatehouse("policy", "suggest", "--output", file); code != 1 || !strings.Contains(errOut, "is there already") {
		t.Errorf("a second time into the same file: %d %s", code, errOut)
	}
	if _, errOut, code := h.gatehouse("policy", "suggest", "--purpose", "publis"); code != 1 || !strings.Contains(errOut, "purpose publis is not in the configuration") {
		t.Errorf("another purpose: %d %s", code, errOut)
	}
	var asJSON struct {
		Days     int
		Purposes []observe.Suggested
	}
	if out, _, code := h.gatehouse("policy", "suggest", "--service", "demo", "--json"); code != 0 || json.Unmarshal([]byte(out), &asJSON) != nil || len(asJSON.Purposes) != 2 || len(asJSON.Purposes[1].Calls) != 3 {
		t.Errorf("policy suggest --json: %d %+v", code, asJSON)
	}

	// It is valid where it stands, and then nothing is unused.
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?s)\npurposes:\n.*\nservices:`)
	text = section.ReplaceAllLiteral(text, append([]byte("\n"), append(suggested, "services:"...)...))
	text = bytes.Replace(text, []byte("purposes: [publish, pages]"), []byte("purposes: [publish]"), 1)
	// The third party, which was never sent anything, would be listed.
	text = regexp.MustCompile(`third_parties:\n.*\n`).ReplaceAllLiteral(text, nil)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"config", "check"}, {"policy", "unused"}} {
		if out, errOut, code := h.gatehouse(args...); code != 0 {
			t.Errorf("%s: %d\n%s%s", strings.Join(args, " "), code, out, errOut)
		}
	}
	// A scope that a connection holds and nobody declares is found.
	text = bytes.Replace(text, []byte("follows.read, "), nil, 1)
	if err := os.WriteFile(h.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, code := h.gatehouse("policy", "unused"); code != 1 || !strings.Contains(out, "granted-scope") || !strings.Contains(out, "follows.read") {
		t.Errorf("with a scope that nobody declares: %d\n%s", code, out)
	}
}

// Whatever was observed, what is suggested is a valid configuration.
func TestSuggestionsAreValid(t *testing.T) {
	const head = `
environment: development
public_url: http://127.0.0.1:8103
listen: {app: "127.0.0.1:0"}
store: sqlite:gatehouse.db
root_key: file:root.key
apps:
  main-x: {platform: x, client_id: some-id, public: true}
  fb: {platform: facebook, client_id: some-id, client_secret: "env:SECRET"}
services:
  web: {purposes: [read, pages]}
`
	secrets := config.Resolver{LookupEnv: func(string) (string, bool) { return "secret", true }}
	cfg, _, err := config.Parse("/etc/gatehouse.yaml", []byte(head+`
purposes:
  read: {why: "Show: it", app: main-x, scopes: [tweet.read, users.read], calls: [{call: GET /2/users/me}]}
  pages: {why: Show it, app: fb, scopes: [pages_show_list], calls: [{call: GET /me}]}
`), secrets)
	if err != nil {
		t.Fatal(err)
	}
	declared, err := declaredIn(cfg)
	if err != nil {
		t.Fatal(err)
	}
	dsn := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	if err := store.Create(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Observe().BeginUses(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	operations := map[platform.Name][]gatehouse.Operation{
		platform.X: {
			"GET /2/users/me", "POST /2/tweets", "GET /2/tweets/search/recent", "GET /2/users/{id}/followers", "DELETE /2/tweets/{id}", "POST /2/media/upload",
			"GET /2/tweets/search/stream", "GET unknown", "POST /2/users/{id}/likes",
		},
		platform.Facebook: {"GET /me", "GET /{id}/accounts", "POST /{id}/feed", "DELETE /{id}", "GET /{id}", "POST unknown"},
	}
	names := append([]string{
		"text", "query", "ids[]", "odd", "odd.even", "a.b.c", "true", "no", "x_1", "limit", "exclude", "data", "meta", "errors", "message", "access_token", "media.media_ids", "tweet.fields", "null",
	}, platform.FieldNames(platform.X)[:40]...)
	values := []string{"", "true", "12", "1.5", "replies", "a,b", strings.Repeat("x", 5000), "- [x]: {y}"}
	for round := range 150 {
		o := observe.New(observe.Config{Store: db.Observe()})
		p, purpose, app := platform.X, gatehouse.PurposeName("read"), gatehouse.AppName("main-x")
		if round%2 == 1 {
			p, purpose, app = platform.Facebook, "pages", "fb"
		}
		arguments := func() (list []policy.Argument) {
			for range random.IntN(6) {
				a := policy.Argument{Name: names[random.IntN(len(names))], Text: values[random.IntN(len(values))], Kind: policy.Kind(random.IntN(8)), Size: random.IntN(9)}
				a.Free, a.Selects = random.IntN(6) == 0, platform.Selects(p, a.Name)
				list = append(list, a)
			}
			return list
		}
		s := &observe.Seen{
			Service: "web", Purpose: purpose, Platform: gatehouse.Platform(p), App: app,
			Operations: []gatehouse.Operation{operations[p][random.IntN(len(operations[p]))]},
			Params:     arguments(), Body: arguments(), ReadParams: random.IntN(9) > 0, ReadBody: random.IntN(9) > 0, ReadFields: true,
			Selected: []policy.Selected{{Path: names[random.IntN(len(names))]}}, Answered: random.IntN(9) > 0,
		}
		if s.Answered {
			s.Reply = platform.NewReplyNames(p)
			s.Reply.Begin(false)
			_, _ = fmt.Fprintf(s.Reply, `{"data":{%q:1,%q:{%q:null,%q:{}}},%q:2}`, names[random.IntN(len(names))], names[random.IntN(len(names))],
				names[random.IntN(len(names))], names[random.IntN(len(names))], names[random.IntN(len(names))])
		}
		o.See(s)
		if err := o.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if round%5 != 0 && round < 140 {
			continue
		}
		l := &looked{cfg: cfg, declared: declared}
		if l.snapshot, err = observe.Load(t.Context(), db.Observe(), time.Time{}, ""); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := l.suggestion(&out, observe.Suggest(l.snapshot, declared, ""), "web", false, time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, _, err := config.Parse("/etc/gatehouse.yaml", append([]byte(head), out.Bytes()...), secrets); err != nil {
			t.Fatalf("round %d: %v\n%s", round, err, out.String())
		}
	}
}
