package x_test

import (
	"encoding/csv"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/sandbox/x"
)

// document is a small OpenAPI document of our own with what X's uses.
const document = `{"openapi":"3.0.0","info":{"title":"t","version":"1"},"paths":{
 "/2/users/me":{"get":{"operationId":"builtIn","responses":{"200":{"content":{"application/json":{"schema":{"type":"boolean"}}}}}}},
 "/2/planets/{id}":{
  "get":{"operationId":"getPlanet","security":[{"BearerToken":[]}],"parameters":[{"name":"id","in":"path","required":true},{"$ref":"#/components/parameters/Fields"},{"name":"orbit","in":"query","required":true}],
   "responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Reply"}}}},"default":{}}},
  "post":{"operationId":"makePlanet","security":[{"OAuth2UserToken":["space.read"]},{"UserToken":[]}],
   "requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Planet"}}}},
   "responses":{"201":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Reply"}}}}}}},
 "/2/planets/{id}/stream":{"get":{"operationId":"streamPlanet","x-twitter-streaming":true,"security":[{"BearerToken":[]}],
   "responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Reply"}}}}}}}},
 "components":{"parameters":{"Fields":{"name":"planet.fields","in":"query"}},"schemas":{
  "Reply":{"type":"object","properties":{"data":{"$ref":"#/components/schemas/Planet"},"errors":{"type":"array","items":{"type":"object"}}}},
  "Planet":{"type":"object","required":["name","id"],"additionalProperties":false,"properties":{
    "id":{"type":"string","pattern":"^[0-9]{1,19}$"},"name":{"type":"string","maxLength":9},"kind":{"type":"string","enum":["gas","rock"]},
    "mass":{"type":"number","minimum":2},"ringed":{"type":"boolean"},"found_at":{"type":"string","format":"date-time"},
    "moons":{"type":"array","minItems":2,"items":{"$ref":"#/components/schemas/Planet"}},
    "orbit":{"allOf":[{"type":"object","properties":{"radius":{"type":"integer","example":7}}},{"type":"object","properties":{"site_url":{"type":"string"}}}]},
    "either":{"oneOf":[{"type":"string","default":"this"},{"type":"integer"}]}}}}}}`

func loaded(t *testing.T) *desk {
	t.Helper()
	path := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	return newDesk(t, x.Config{OpenAPI: path, SampleEvery: 10 * time.Millisecond})
}

func TestOtherOperationsAreAnsweredFromTheirSchemas(t *testing.T) {
	d := loaded(t)
	app := d.x.AppBearer()
	got := d.call(http.MethodGet, "/2/planets/5?orbit=1&planet.fields=name", app, nil).expect(t, http.StatusOK)
	for field, want := range map[string]any{"id": "1346889436626259968", "name": "example n", "kind": "gas", "mass": 2.0, "ringed": true, "found_at": "2026-01-15T12:00:00.000Z", "either": "this"} {
		if got.at(t, "data", field) != want {
			t.Errorf("%s = %v, want %v", field, got.at(t, "data", field), want)
		}
	}
	if got.at(t, "data", "orbit", "radius") != 7.0 || got.at(t, "data", "orbit", "site_url") != "https://example.com/site_url" || len(got.at(t, "data", "moons").([]any)) != 2 {
		t.Errorf("example = %s", got.body)
	}
	if _, errors := got.json(t)["errors"]; errors {
		t.Error("a reply that succeeded has errors")
	}
	if again := d.call(http.MethodGet, "/2/planets/6?orbit=1", app, nil); again.body != got.body {
		t.Error("examples differ from call to call")
	}
	access, _ := d.login(person(0), "space.read users.read tweet.read")
	poor, _ := d.login(person(0), "users.read tweet.read")
	if me := d.call(http.MethodGet, "/2/users/me", access, nil); me.at(t, "data", "username") != person(0) {
		t.Errorf("the document replaced a built-in operation: %s", me.body)
	}
	d.call(http.MethodGet, "/2/planets/5", app, nil).expect(t, http.StatusBadRequest)
	d.call(http.MethodGet, "/2/planets/5?orbit=1", access, nil).expect(t, http.StatusForbidden)
	d.call(http.MethodGet, "/2/planets/5?orbit=1", "", nil).expect(t, http.StatusUnauthorized)
	d.call(http.MethodGet, "/2/planets/5?orbit=1&colour=red", app, nil).expect(t, http.StatusBadRequest)
	d.call(http.MethodPost, "/2/planets/5", access, map[string]any{"id": "1", "name": "Mars"}).expect(t, http.StatusCreated)
	d.call(http.MethodPost, "/2/planets/5", poor, map[string]any{"id": "1", "name": "Mars"}).expect(t, http.StatusForbidden)
	d.do(d.signed(http.MethodPost, "/2/planets/5", d.minted(0), nil, nil)).expect(t, http.StatusBadRequest)
	for body, want := range map[string]string{
		`{"id":"1"}`:                           "$.name: is missing",
		`{"id":"x","name":"Mars"}`:             "$.id: does not match",
		`{"id":"1","name":"a name too long"}`:  "$.name: has a wrong length",
		`{"id":"1","name":"a","kind":"ice"}`:   "$.kind: does not have a value",
		`{"id":"1","name":"a","moons":[]}`:     "$.moons: has a wrong number",
		`{"id":"1","name":"a","moons":[1,2]}`:  "$.moons[0]: object expected",
		`{"id":"1","name":"a","ringed":"yes"}`: "$.ringed: boolean expected",
		`{"id":"1","name":"a","mass":"heavy"}`: "$.mass: number expected",
		`{"id":"1","name":3}`:                  "$.name: string expected",
		`{"id":"1","name":"a","moons":{}}`:     "$.moons: array expected",
		`{"id":"1","name":"a","colour":"red"}`: "$.colour: is not defined",
		`{"id":`:                               "not valid JSON",
		``:                                     "content-type",
	} {
		if reply := d.call(http.MethodPost, "/2/planets/5", access, body).expect(t, http.StatusBadRequest); !strings.Contains(reply.body, want) {
			t.Errorf("%s: %s, want %q", body, reply.body, want)
		}
	}
	lines, _ := d.tail("/2/planets/5/stream", app)
	next(t, lines, "example", func(line string) bool { return strings.Contains(line, `"kind":"gas"`) })
	if reply := d.call(http.MethodGet, "/2/openapi.json", "", nil).expect(t, http.StatusOK); reply.body != document {
		t.Error("the document is not served as it came")
	}
	newDesk(t, x.Config{}).call(http.MethodGet, "/2/openapi.json", "", nil).expect(t, http.StatusNotFound)
}

func TestDocumentsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"absent": "", "not.json": "{", "other.json": `{"swagger":"2.0"}`, "odd.json": `{"openapi":"3.0.0","paths":{"/a":{"get":[]}}}`,
	} {
		path := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := x.New(x.Config{OpenAPI: path}); err == nil || !strings.Contains(err.Error(), "loading the OpenAPI document") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEveryOperationOfXsDocument walks X's own document, where it lies beside
// the repository, and otherwise our small one.
func TestEveryOperationOfXsDocument(t *testing.T) {
	shared := os.Getenv("GATEHOUSE_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "..", "shared")
	}
	path := filepath.Join(shared, "platforms", "x-openapi.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		path, raw = filepath.Join(t.TempDir(), "openapi.json"), []byte(document)
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var described struct {
		Paths map[string]map[string]struct {
			Streaming bool `json:"x-twitter-streaming"`
			Security  []map[string][]string
		}
	}
	if err := json.Unmarshal(raw, &described); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, x.Config{OpenAPI: path})
	access, _ := d.login(person(0), everything+" space.read broadcast.read broadcast.write block.write")
	parameter := regexp.MustCompile(`\{[^}]+\}`)
	count := 0
	for route, methods := range described.Paths {
		for method, op := range methods {
			if op.Streaming || route == "/2/openapi.json" {
				continue
			}
			count++
			bearer := access
			for _, requirement := range op.Security {
				if _, app := requirement["BearerToken"]; app {
					bearer = d.x.AppBearer()
				}
			}
			reply := d.call(strings.ToUpper(method), parameter.ReplaceAllString(route, "1"), bearer, nil)
			if reply.status == http.StatusMethodNotAllowed || reply.status >= 500 || reply.status == http.StatusUnauthorized || reply.status == http.StatusForbidden && strings.Contains(reply.body, "unsupported-authentication") ||
				reply.status == http.StatusNotFound && reply.at(t, "title") == "Not Found" {
				t.Errorf("%s %s = %d %s", method, route, reply.status, reply.body)
			}
			anonymous := d.call(strings.ToUpper(method), parameter.ReplaceAllString(route, "1"), "", nil)
			if len(op.Security) > 0 && anonymous.status != http.StatusUnauthorized {
				t.Errorf("%s %s without a credential = %d", method, route, anonymous.status)
			}
		}
	}
	if count == 0 {
		t.Error("no operation was tried")
	}
	table, err := os.Open(filepath.Join(shared, "platforms", "x-rate-limits.csv"))
	if err != nil {
		return
	}
	defer table.Close()
	rows, err := csv.NewReader(table).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	compareLimits(t, rows[1:])
}

// compareLimits checks the built-in limits against X's table, given as rows of
// method, path, app limit and user limit.
func compareLimits(t *testing.T, rows [][]string) {
	t.Helper()
	spell := strings.NewReplacer(",", "", "15min", "15m", "24hrs", "24h", "—", "", "  ", " ")
	builtIn := x.ExportTestOnlyLimits()
	for _, row := range rows {
		route := row[0] + " " + regexp.MustCompile(`:\w+`).ReplaceAllString(row[1], "{}")
		got, known := builtIn[route]
		if !known {
			continue
		}
		// Limits per second are not enforced.
		want := func(text string) string {
			var kept []string
			for _, field := range strings.Split(text, ", ") {
				if !strings.HasSuffix(field, "/sec") {
					kept = append(kept, strings.TrimSpace(spell.Replace(field)))
				}
			}
			return strings.TrimSpace(strings.Join(kept, " "))
		}
		if got[0] != want(row[2]) || got[1] != want(row[3]) {
			t.Errorf("%s: limits %q, X's table says %q and %q", route, got, want(row[2]), want(row[3]))
		}
	}
}
