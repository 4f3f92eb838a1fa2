package config_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/config"

	"github.com/google/go-cmp/cmp"
)

// What is written is read as what it was, comments and all that needs quotes.
func TestWritePurposes(t *testing.T) {
	purposes := map[gatehouse.PurposeName]config.Purpose{
		"publish": {Why: "Yes: what # the \"user\" scheduled", App: "main-x", Scopes: []string{"tweet.read"}, Keep: 36 * time.Hour, Calls: []config.Call{
			{Call: "POST /2/tweets", Body: map[string]config.Rule{
				"text": {Type: "text", Min: 1, Max: 280, Pattern: `[^{}]*: "#`, Required: true}, "poll.options": {Type: "list", Entries: 4, Max: 25},
				"reply_settings": {OneOf: []string{"following", "true", "no"}},
			}, Fields: []string{}},
			{Call: "GET /2/users/{id}/followers", Params: map[string]config.Rule{"id": {}, "odd": {Max: 3}}, Fields: []string{"id", "includes.users.name"}, Unlisted: []string{"odd"}},
			{Call: "GET /2/users/me", Params: map[string]config.Rule{}},
		}},
		"own":  {Why: "Ours", Keep: time.Hour},
		"none": {Why: "Nothing yet", App: "main-x", Scopes: []string{}},
	}
	notes := map[string]string{
		"": "at the top", "purposes.publish": "of the purpose", "purposes.publish.scopes": "of scopes", "purposes.publish.calls[0]": strings.Repeat("long ", 60),
		"purposes.publish.calls[0].body.text": "in each call: #", "purposes.publish.calls[1].fields": "of fields",
	}
	var out bytes.Buffer
	if err := config.WritePurposes(&out, purposes, notes); err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(out.String(), "\n") {
		if len(line) > 130 {
			t.Errorf("a line of %d characters: %s", len(line), line)
		}
	}
	for path, note := range notes {
		if !strings.Contains(out.String(), "# "+strings.TrimSpace(note[:min(9, len(note))])) {
			t.Errorf("the note of %q is missing in\n%s", path, out.String())
		}
	}
	const rest = `
environment: development
public_url: http://127.0.0.1:8103
listen: {app: "127.0.0.1:0"}
store: sqlite:gatehouse.db
root_key: file:root.key
apps:
  main-x: {platform: x, client_id: some-id, public: true}
services:
  web: {purposes: [publish, own, none]}
`
	read, _, err := config.Parse("/etc/gatehouse.yaml", append(out.Bytes(), rest...), config.Resolver{})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for name, p := range read.Purposes {
		for i := range p.Calls {
			p.Calls[i].Operation = ""
			for _, rules := range []map[string]config.Rule{p.Calls[i].Params, p.Calls[i].Body} {
				for name, r := range rules {
					if name == "id" {
						r.Type = "" // the document's, filled in
					}
					rules[name] = r
				}
			}
		}
		read.Purposes[name] = p
	}
	if diff := cmp.Diff(purposes, read.Purposes); diff != "" {
		t.Errorf("%s\n%s", diff, out.String())
	}
}
