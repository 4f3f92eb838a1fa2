package main

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// lookedAt are the pages of the console, each with the name under which a test looks at
// it (lookAt, by axe's judgement too).
var lookedAt = map[string]string{
	"GET /sign-in": "sign-in", "GET /prove": "prove", "GET /enrol": "enrol-link", "GET /account": "account", "GET /account/app": "account-app",
	"GET /{$}": "overview", "GET /calls": "calls", "GET /flows": "flows",
	"GET /connections": "connections", "GET /connections/{id}": "connection", "GET /connections/everything": "everything",
	"GET /people": "people", "GET /people/{person}": "person", "GET /people/number/{number}": "person-number", "GET /people/duties/{duty}": "duty",
	"GET /stepups": "stepups", "GET /stepups/{person}": "stepup",
	"GET /log": "log", "GET /log/state": "log-state", "GET /log/in-doubt": "in-doubt", "GET /log/{id}": "entry",
	"GET /keys": "keys", "GET /keys/{key}": "key",
	"GET /services": "services", "GET /services/{name}": "service", "GET /services/{name}/keys/{key}": "service-key",
	"GET /configuration": "configuration", "GET /purposes": "purposes", "GET /purposes/{name}": "purpose",
	"GET /destinations": "destinations", "GET /destinations/{host}": "destination",
	"GET /operators": "operators", "GET /operators/approvals": "approvals", "GET /operators/invite": "invite", "GET /operators/{id}": "operator", "GET /operators/scim": "scim",
	"GET /reviews": "reviews", "GET /reviews/open": "reviews-open", "GET /reviews/{id}": "review",
	"GET /health": "health",
}

// noPages are the routes that show nothing: they send on, or answer with a file or with
// what changes.
var noPages = []string{"GET /assets/{hash}/{name}", "GET /sign-in/provider", "GET /enrol/{token}", "GET /log/{id}/proof", "GET /reviews/{id}/evidence", "GET /reviews/{id}/table"}

var pageRoutes = regexp.MustCompile(`(?m)^GET /\S*`)

// routesOfPages are the routes of the table that show a page.
func routesOfPages(t *testing.T) []string {
	t.Helper()
	table, err := os.ReadFile(filepath.Join("testdata", "console-routes.golden"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, route := range pageRoutes.FindAllString(string(table), -1) {
		if !strings.HasSuffix(route, "/live") && !strings.Contains(route, "/export.") && !strings.HasPrefix(route, "GET /scim/") {
			out = append(out, route)
		}
	}
	return out
}

// TestEveryPageIsLookedAt holds that each page in the table of routes is looked at.
func TestEveryPageIsLookedAt(t *testing.T) {
	without := map[string]bool{}
	for _, route := range noPages {
		without[route] = true
	}
	var tests strings.Builder
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f == "console_looked_test.go" {
			continue
		}
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(text)
	}
	routes := map[string]bool{}
	for _, route := range routesOfPages(t) {
		routes[route] = true
		switch name := lookedAt[route]; {
		case without[route]:
		case name == "":
			t.Errorf("no test looks at %s", route)
		case !regexp.MustCompile(`lookAt\(t, \w+, "` + name + `"|"` + name + `": "/`).MatchString(tests.String()):
			t.Errorf("no test looks at %s under the name %s", route, name)
		}
	}
	for route := range lookedAt {
		if !routes[route] {
			t.Errorf("there is no %s", route)
		}
	}
	for route := range without {
		if !routes[route] {
			t.Errorf("there is no %s", route)
		}
	}
}

// routed fails if a page that is looked at under the name of a route is another.
func routed(t *testing.T, name, path string) {
	t.Helper()
	for want, n := range lookedAt {
		if n != name {
			continue
		}
		mux := http.NewServeMux()
		for _, route := range routesOfPages(t) {
			mux.Handle(route, http.NotFoundHandler())
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := mux.Handler(request); got != want {
			t.Errorf("the page %s is at %s (%s), want one of %s", name, path, got, want)
		}
	}
}
