package console

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/internal/identity/operator"
)

func TestWhatCannotBeMounted(t *testing.T) {
	show := func(v *visit) error { return nil }
	good := get("/x", healthRead, show)
	command := post("/x", healthRead, func(*visit, *nothing) (*outcome, error) { return goTo("/"), nil })
	for name, r := range map[string]route{
		"no permission":       {pattern: "GET /x", handler: show},
		"unknown permission":  get("/x", "health.raed", show),
		"no handler":          get("/x", healthRead, nil),
		"no method":           {pattern: "/x", permission: healthRead, handler: show},
		"unsafe, no command":  {pattern: "POST /x", permission: healthRead, handler: show},
		"command, safe":       {pattern: "GET /x", permission: healthRead, handler: show, command: true},
		"another method":      {pattern: "DELETE /x", permission: healthRead, handler: show, command: true},
		"nobody's fresh sign": get("/x", anyone, show).demanding(),
	} {
		if r.check() == nil {
			t.Errorf("%s: was mounted", name)
		}
	}
	for _, r := range []route{good, command, command.demanding()} {
		if err := r.check(); err != nil {
			t.Errorf("%s: %v", r.pattern, err)
		}
	}
	c := Config{URL: mustURL(origin), Directory: new(operator.Directory), Pages: []Page{{routes: []route{{pattern: "GET /x", handler: show}}}}}
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "permission") {
		t.Errorf("a console with a route without permission: %v", err)
	}
}

func TestCommandsComeFromFormsOfOurs(t *testing.T) {
	done := 0
	page := Page{routes: []route{post("/do", healthRead, func(*visit, *nothing) (*outcome, error) {
		done++
		return goTo("/health").saying("It was done."), nil
	})}}
	d := newDesk(t, operator.Auditor, page, Health(health{}))
	for name, header := range map[string]map[string]string{
		"another site": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
		"another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:9999"},
		"old browser":  {"Origin": "https://evil.example"},
		"no browser":   {},
		// Some browsers say no more than this, and an attacker on the way has the name.
		"another scheme": {"Origin": "https://localhost:8102"},
		"no origin":      {"Origin": "null"},
	} {
		if r := d.do(http.MethodPost, "/do", map[string][]string{}, header); r.status != 403 || done != 0 {
			t.Errorf("%s: status %d, done %d", name, r.status, done)
		}
	}
	if r := d.do(http.MethodPost, "/do", map[string][]string{}, map[string]string{"Origin": origin}); r.status != 303 || done != 1 {
		t.Errorf("an old browser, from a page of ours: status %d, done %d", r.status, done)
	}
	done = 0
	r := d.post("/do")
	if r.status != 303 || r.header.Get("Location") != "/health" || done != 1 {
		t.Fatalf("status %d to %q, done %d", r.status, r.header.Get("Location"), done)
	}
	d.get("/health").shows(t, "It was done.")
	d.get("/health").shows(t, "!It was done.")
	if r := d.post("/do", "extra", "1"); r.status != 400 || done != 1 {
		t.Errorf("a field too many: status %d", r.status)
	}
	// Without a session nothing is done, and nothing is remembered to be done.
	d.cookies = map[string]string{}
	if r := d.post("/do"); r.status != 303 || r.header.Get("Location") != "/sign-in" || done != 1 {
		t.Errorf("nobody: status %d to %q", r.status, r.header.Get("Location"))
	}
	if r := d.get("/health"); r.header.Get("Location") != "/sign-in?return=%2Fhealth" {
		t.Errorf("nobody is sent to %q", r.header.Get("Location"))
	}
}

func TestLocalPath(t *testing.T) {
	for _, evil := range []string{"", "x", "//evil.example", "https://evil.example/", `/\evil.example`, "/\t/evil.example", "javascript:alert(1)", "/" + strings.Repeat("x", 3000)} {
		if got := localPath(evil); got != "/" {
			t.Errorf("localPath(%q) = %q", evil, got)
		}
	}
	for _, good := range []string{"/", "/calls?service=a&page=2", "/log#e1"} {
		if got := localPath(good); got != good {
			t.Errorf("localPath(%q) = %q", good, got)
		}
	}
}
