package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/internal/config"
	"gatehouse/internal/policy"
)

// calling is a file whose one purpose has these calls.
func calling(platform, environment, calls string) string {
	return `environment: ` + environment + `
public_url: https://app.example.com
listen: {app: 127.0.0.1:8100}
store: sqlite:/var/lib/gatehouse/gatehouse.db
root_key: file:/etc/gatehouse/root.key
apps:
  main: {platform: ` + platform + `, client_id: env:X_CLIENT_ID, client_secret: file:/run/secrets/x}
purposes:
  read: {why: Show it, app: main, calls: [` + calls + `]}
services:
  web: {purposes: [read]}
`
}

// Each mistake in a contract is an error that names the entry; the near miss
// loads.
func TestContractMistakes(t *testing.T) {
	for _, test := range []struct{ name, platform, bad, says, good string }{
		{"a field with a typo", "x", `{call: GET /2/users/me, fields: [usernam]}`, "calls[0].fields[0]: no object of x has a field usernam; did you mean username?", `{call: GET /2/users/me, fields: [username]}`},
		{"a typo below", "x", `{call: GET /2/users/me, fields: [public_metrics.folowers_count]}`, "did you mean followers_count?", `{call: GET /2/users/me, fields: [public_metrics.followers_count]}`},
		{"a typo in includes", "x", `{call: GET /2/users/me, fields: [includes.tweetz.text]}`, "has a field tweetz", `{call: GET /2/users/me, fields: [includes.tweets.text]}`},
		{"an unlisted field", "x", `{call: GET /2/users/me, fields: [brand_new]}`, "name it under unlisted, too", `{call: GET /2/users/me, fields: [brand_new], unlisted: [brand_new]}`},
		{"unlisted for nothing", "x", `{call: GET /2/users/me, fields: [id], unlisted: [id]}`, "unlisted[0]: is listed by the platform", `{call: GET /2/users/me, fields: [id]}`},
		{"the envelope", "x", `{call: GET /2/users/me, fields: [data.id]}`, "leave data out", `{call: GET /2/users/me, fields: [id]}`},
		{"what stays", "x", `{call: GET /2/users/me, fields: [meta.next_token]}`, "stays in any case", `{call: GET /2/users/me, fields: []}`},
		{"a field twice", "x", `{call: GET /2/users/me, fields: [id, id]}`, "stands in the list twice", `{call: GET /2/users/me, fields: [id, name]}`},
		{"no field", "x", `{call: GET /2/users/me, fields: ["a b"]}`, "is not the name of a field", `{call: GET /2/users/me, fields: [text]}`},
		{"a reply without a form", "x", `{call: POST /1.1/statuses/update.json, fields: [id]}`, "are not narrowed", `{call: POST /1.1/statuses/update.json}`},
		{"a parameter with a typo", "x", `{call: GET /2/tweets/search/recent, params: {max_result: {max: 100}}}`, "params.max_result: is no parameter of this call; did you mean max_results?", `{call: GET /2/tweets/search/recent, params: {max_results: {max: 100}}}`},
		{"a parameter of another call", "x", `{call: GET /2/users/me, params: {max_results: {}}}`, "is no parameter of this call", `{call: GET /2/users/me, params: {user.fields: {one_of: [name]}}}`},
		{"a parameter that is unlisted", "x", `{call: GET /2/users/me, params: {"new": {}}}`, "name it under unlisted", `{call: GET /2/users/me, params: {"new": {}}, unlisted: ["new"]}`},
		{"a part of the path", "x", `{call: "GET /2/tweets/{id}", params: {idd: {}}}`, "is no parameter of this call", `{call: "GET /2/tweets/{id}", params: {id: {pattern: "[0-9]+"}}}`},
		{"a body with a typo", "x", `{call: POST /2/tweets, body: {txt: {max: 280}}}`, "did you mean text?", `{call: POST /2/tweets, body: {text: {max: 280}}}`},
		{"a type", "x", `{call: POST /2/tweets, body: {text: {type: txt}}}`, "type: is none of text, number", `{call: POST /2/tweets, body: {text: {type: text}}}`},
		{"bounds", "x", `{call: POST /2/tweets, body: {text: {min: 3, max: 2}}}`, "min: is greater than max", `{call: POST /2/tweets, body: {text: {min: 2, max: 3}}}`},
		{"entries", "x", `{call: POST /2/tweets, body: {text: {entries: 3}}}`, "belongs to type: list", `{call: POST /2/tweets, body: {poll.options: {type: list, entries: 4}}}`},
		{"bounds of a boolean", "x", `{call: POST /2/tweets, body: {nullcast: {type: boolean, one_of: ["true"]}}}`, "has no bounds", `{call: POST /2/tweets, body: {nullcast: {type: boolean}}}`},
		{"a pattern", "x", `{call: POST /2/tweets, body: {text: {pattern: "("}}}`, "RE2", `{call: POST /2/tweets, body: {text: {pattern: "()"}}}`},

		{"a Graph field with a typo", "facebook", `{call: GET /me, fields: [nmae]}`, "no object of facebook has a field nmae", `{call: GET /me, fields: [name]}`},
		{"data on the Graph", "facebook", `{call: GET /me, fields: [accounts.data.id]}`, "leave data out", `{call: GET /me, fields: [accounts.id]}`},
		{"a token alone", "facebook", `{call: GET /me/accounts, fields: [access_token]}`, "needs id beside it", `{call: GET /me/accounts, fields: [access_token, id]}`},
		{"a token alone below", "facebook", `{call: GET /me, fields: [id, accounts.access_token]}`, "needs accounts.id beside it", `{call: GET /me, fields: [accounts.access_token, accounts.id]}`},
		{"a Graph parameter", "facebook", `{call: GET /me, params: {"li mit": {}}}`, "is not the name of a parameter", `{call: GET /me, params: {limit: {max: 50}}}`},
		{"a Graph parameter with a typo", "facebook", `{call: "POST /{id}/feed", params: {mesage: {max: 500}}}`, "params.mesage: is no parameter of this call; did you mean message?", `{call: "POST /{id}/feed", params: {message: {max: 500}}}`},
		{"a Graph body with a typo", "facebook", `{call: "POST /{id}/feed", body: {"attached_meda[0]": {}}}`, "did you mean attached_media?", `{call: "POST /{id}/feed", body: {"attached_media[0]": {}, link: {}}}`},
		{"a Graph parameter of another edge", "instagram", `{call: "POST /{id}/media_publish", body: {image_url: {}}}`, "body.image_url: is no parameter of this call", `{call: "POST /{id}/media", body: {image_url: {}}}`},
		{"a Graph parameter that is unlisted", "facebook", `{call: "GET /{id}/posts", params: {fresh: {}}}`, "name it under unlisted", `{call: "GET /{id}/posts", params: {fresh: {}, limit: {max: 50}}, unlisted: [fresh]}`},
		{"a Graph path", "facebook", `{call: "GET /{id}/posts", params: {idd: {}}}`, "is no parameter of this call", `{call: "GET /{id}/posts", params: {id: {pattern: "[0-9]+"}}}`},
		{"Threads", "threads", `{call: GET /me, fields: [threads_biografy]}`, "did you mean threads_biography?", `{call: GET /me, fields: [threads_biography]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(calling(test.platform, "staging", test.bad)), world())
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want an error that says %q", err, test.says)
			}
			c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(calling(test.platform, "staging", test.good)), world())
			if err != nil {
				t.Fatal(err)
			}
			call := c.Purposes["read"].Calls[0].Policy()
			if _, err := policy.Compile([]policy.Purpose{{Name: "read", Why: "w", App: "main", Calls: []policy.Call{call}}}, policy.Enforce); err != nil {
				t.Errorf("the policy does not take what the file allows: %v", err)
			}
		})
	}
}

// Where nothing bounds a reply, production is told; where something does, or where
// nobody real is concerned, it is not.
func TestRepliesThatAreNotNarrowed(t *testing.T) {
	for _, test := range []struct {
		environment, call string
		want              bool
	}{
		{"production", `{call: GET /2/users/me}`, true},
		{"production", `{call: GET /2/users/me, params: {}}`, true},
		{"production", `{call: GET /2/users/me, fields: []}`, false},
		{"staging", `{call: GET /2/users/me}`, false},
	} {
		_, warnings, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(calling("x", test.environment, test.call)), world())
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, w := range warnings {
			got = got || strings.Contains(w.String(), "calls[0]: declares no fields: replies are not narrowed")
		}
		if got != test.want {
			t.Errorf("%s %s: warned %t", test.environment, test.call, got)
		}
	}
}

// A post that is delivered without its id cannot be asked about.
func TestComplianceNeedsIDs(t *testing.T) {
	for fields, want := range map[string]bool{"[text]": true, "[id, text]": false, "[]": false} {
		text := strings.Replace(calling("x", "staging", `{call: "GET /2/tweets/{id}", fields: `+fields+`}`),
			"client_secret: file:/run/secrets/x}", "client_secret: file:/run/secrets/x, consumer_key: env:X_KEY, consumer_secret: file:/run/secrets/x1, compliance: {keep: 720h}}", 1)
		_, warnings, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(text), world())
		if err != nil {
			t.Fatal(err)
		}
		got := false
		for _, w := range warnings {
			got = got || strings.Contains(w.String(), "leave id out")
		}
		if got != want {
			t.Errorf("%s: warned %t", fields, got)
		}
	}
}

// The document's example is one that loads.
func TestTheDocumentsContractLoads(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "contracts.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "```yaml\n")
	example, _, found := strings.Cut(rest, "```")
	top, _, _ := strings.Cut(calling("x", "staging", ""), "apps:")
	text := top + `apps:
  main-x: {platform: x, client_id: env:X_CLIENT_ID, client_secret: file:/run/secrets/x}
  pages: {platform: facebook, client_id: env:X_CLIENT_ID, client_secret: file:/run/secrets/x}
services:
  web: {purposes: [publish, pages]}
` + example
	if _, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(text), world()); err != nil || !found {
		t.Errorf("%v\n%s", err, text)
	}
}

// A heading that is empty is not one that is absent, and what the platform's
// document says of a parameter's type holds.
func TestContractIsHandedOver(t *testing.T) {
	c, _, err := config.Parse("/etc/gatehouse/gatehouse.yaml", []byte(calling("x", "staging",
		`{call: GET /2/users/me, params: {}, fields: []}, {call: POST /2/tweets}, `+
			`{call: GET /2/tweets/search/recent, params: {max_results: {max: 100}, tweet.fields: {one_of: [lang]}, query: {max: 50}, since_id: {type: number}}}`)), world())
	if err != nil {
		t.Fatal(err)
	}
	var got []policy.Call
	for _, call := range c.Purposes["read"].Calls {
		got = append(got, call.Policy())
	}
	want := []policy.Call{
		{Operation: "GET /2/users/me", Params: map[string]policy.Shape{}, Fields: []string{}},
		{Operation: "POST /2/tweets"},
		{Operation: "GET /2/tweets/search/recent", Params: map[string]policy.Shape{
			"max_results": {Type: policy.Number, Max: 100}, "tweet.fields": {Type: policy.List, OneOf: []string{"lang"}},
			"query": {Type: policy.Text, Max: 50}, "since_id": {Type: policy.Number},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
