package console

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/wire"
)

func TestHeaders(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	for _, path := range []string{"/health", "/sign-in", "/nothing"} {
		h := d.get(path).header
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
			"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "Strict-Transport-Security": "",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}
	secure := newHouse(t, func(c *Config) { c.URL = mustURL("https://ops.example.com") })
	w := httptest.NewRecorder()
	secure.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "https://ops.example.com/sign-in/passkey/begin", nil))
	if w.Header().Get("Strict-Transport-Security") == "" {
		t.Error("over TLS browsers are not told to stay there")
	}
}

// TestCookies: what a browser keeps is out of reach for scripts, other sites and, over
// TLS, other hosts of the domain.
func TestCookies(t *testing.T) {
	for address, want := range map[string][]string{
		"http://localhost:8102":   {"gatehouse-browser-development-8102=", "Path=/", "HttpOnly", "SameSite=Strict", "!Secure", "!__Host-", "!Domain"},
		"https://ops.example.com": {"__Host-gatehouse-browser=", "Path=/", "HttpOnly", "SameSite=Strict", "Secure", "!Domain"},
	} {
		h := newHouse(t, func(c *Config) { c.URL = mustURL(address) })
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, address+"/sign-in/passkey/begin", strings.NewReader(""))
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		h.handler.ServeHTTP(w, r)
		set := strings.Join(w.Header().Values("Set-Cookie"), "\n")
		for _, text := range want {
			without := strings.TrimPrefix(text, "!")
			if strings.Contains(set, without) != (without == text) {
				t.Errorf("%s is wrong about %q: %s", address, text, set)
			}
		}
	}
	// Two cookies of a name: one of them is somebody else's.
	d := newDesk(t, operator.Auditor, Health(health{}))
	r := httptest.NewRequest(http.MethodGet, origin+"/health", nil)
	r.AddCookie(&http.Cookie{Name: d.house.console.cookieName(sessionCookie), Value: d.cookies[sessionCookie]})
	r.AddCookie(&http.Cookie{Name: d.house.console.cookieName(sessionCookie), Value: "another"})
	r.AddCookie(&http.Cookie{Name: d.house.console.cookieName(bindingCookie), Value: d.cookies[bindingCookie]})
	w := httptest.NewRecorder()
	d.house.handler.ServeHTTP(w, r)
	if w.Code != http.StatusSeeOther {
		t.Errorf("with two sessions: %d", w.Code)
	}
	if r := d.get("/health"); r.status != 200 {
		t.Errorf("with one: %d", r.status)
	}
}

func TestOtherHosts(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	for _, host := range []string{"evil.example", "127.0.0.1:8102", "localhost", "localhost:8102.evil.example"} {
		d.do(http.MethodGet, "/health", nil, map[string]string{"Host": host}).goesTo(t, origin+"/")
		if r := d.do(http.MethodPost, "/theme", url.Values{}, map[string]string{"Host": host, "Sec-Fetch-Site": "same-origin"}); r.status != http.StatusMisdirectedRequest {
			t.Errorf("a form to %s: %d", host, r.status)
		}
	}
	if r := d.do(http.MethodGet, "/health", nil, map[string]string{"Host": "LOCALHOST:8102"}); r.status != 200 {
		t.Errorf("in capitals: %d", r.status)
	}
}

// TestLinkFromElsewhere: whoever follows one has no Strict cookie with them, and is
// sent around once, without being asked to sign in.
func TestLinkFromElsewhere(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	s := d.house.stranger()
	r := s.do(http.MethodGet, "/health?a=1", nil, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"})
	if r.status != 200 {
		t.Fatalf("from elsewhere: %d", r.status)
	}
	r.shows(t, `http-equiv="refresh" content="0"`, `href="/health?a=1"`)
	if set := r.header.Values("Set-Cookie"); len(set) != 0 {
		t.Errorf("a browser that may have cookies gets others: %q", set)
	}
	s.do(http.MethodGet, "/health?a=1", nil, map[string]string{"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}).goesTo(t, "/sign-in?return=%2Fhealth%3Fa%3D1")
	// No picture or frame of another site is answered so.
	s.do(http.MethodGet, "/health", nil, map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}).goesTo(t, "/sign-in?return=%2Fhealth")
}

func TestErrorPages(t *testing.T) {
	page := Page{routes: []route{
		get("/broken", healthRead, func(*visit) error { return errors.New("the secret plan failed") }),
		get("/panics", healthRead, func(*visit) error { panic("the secret plan") }),
		get("/told", healthRead, func(*visit) error {
			return wire.WithInstance(wire.Refuse(gatehouse.ErrConflict, "thing/used", "It is used by <others>."), "01H")
		}),
		get("/half", healthRead, func(v *visit) error {
			return v.show("health.html", "Health", struct{ Nothing string }{})
		}),
	}}
	d := newDesk(t, operator.Auditor, page, Health(health{}))
	for path, want := range map[string]int{"/broken": 500, "/panics": 500, "/told": 409, "/half": 500, "/nothing": 404} {
		r := d.get(path)
		if r.status != want {
			t.Errorf("%s: %d", path, r.status)
		}
		r.shows(t, "<h1>", "Back", "!secret plan", `href="/health"`)
	}
	d.get("/told").shows(t, "It is used by &lt;others&gt;.", "thing/used", "01H")
	r := d.do(http.MethodGet, "/told", nil, map[string]string{"Accept": "application/json"})
	r.shows(t, `"rule":"thing/used"`, "!<h1>")
	if r := d.do(http.MethodPut, "/told", nil, map[string]string{"Sec-Fetch-Site": "same-origin"}); r.status != 404 {
		t.Errorf("a method that no page has: %d", r.status)
	}
}

// TestPlaces: the console takes as many requests at once as it may, and lets those go
// that would wait too long.
func TestPlaces(t *testing.T) {
	inside, leave := make(chan bool), make(chan bool)
	page := Page{routes: []route{
		get("/slow", healthRead, func(v *visit) error {
			inside <- true
			<-leave
			return v.redirect("/")
		}),
	}}
	h := newHouse(t, func(c *Config) { c.Limits.Requests, c.Limits.Time = 2, time.Millisecond }, page)
	// Signing in happens beside the pages.
	d := h.join("Ada", operator.Auditor)
	h.console.limits.Time = time.Minute
	done := make(chan reply)
	for range 2 {
		slow := d.again()
		go func() { done <- slow.get("/slow") }()
		<-inside
	}
	h.console.limits.Time = time.Millisecond
	if r := d.get("/account"); r.status != http.StatusTooManyRequests {
		t.Errorf("with no place left: %d", r.status)
	}
	for path := range h.console.assets {
		if r := d.get(path); r.status != http.StatusOK {
			t.Errorf("with no place left, %s: %d", path, r.status)
		}
	}
	h.console.limits.Time = time.Minute
	for range 2 {
		leave <- true
		if r := <-done; r.status != http.StatusSeeOther {
			t.Errorf("a slow page: %d", r.status)
		}
	}
	if r := d.get("/account"); r.status != 200 {
		t.Errorf("with places again: %d", r.status)
	}
}

func TestSlowPageEnds(t *testing.T) {
	page := Page{routes: []route{get("/slow", healthRead, func(v *visit) error {
		<-v.context().Done()
		return v.context().Err()
	})}}
	h := newHouse(t, nil, page)
	d := h.join("Ada", operator.Auditor)
	h.console.limits.Time = 50 * time.Millisecond
	r := d.get("/slow")
	if r.status != http.StatusServiceUnavailable {
		t.Errorf("status %d", r.status)
	}
	r.shows(t, "This took too long.")
}

func TestTheme(t *testing.T) {
	d := newDesk(t, operator.Auditor, Health(health{}))
	header := map[string]string{"Sec-Fetch-Site": "same-origin", "Referer": origin + "/health?x=1"}
	d.do(http.MethodPost, "/theme", url.Values{"theme": {"dark"}}, header).goesTo(t, "/health?x=1")
	d.get("/health").shows(t, `<html lang="en" data-theme="dark">`)
	d.do(http.MethodPost, "/theme", url.Values{"theme": {""}}, header)
	d.get("/health").shows(t, `<html lang="en">`)
	if r := d.post("/theme", "theme", `x" onload="y`); r.status != 400 {
		t.Errorf("a theme that is none: %d", r.status)
	}
	d.cookies[themeCookie] = `x" onload="y`
	d.get("/health").shows(t, `<html lang="en">`)
}

func TestAssets(t *testing.T) {
	s := newHouse(t, nil).stranger()
	for path, a := range s.house.console.assets {
		r := s.get(path)
		if r.status != 200 || r.body != string(a.content) || r.header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d, %s", path, r.status, r.header.Get("Cache-Control"))
		}
		if !strings.HasPrefix(r.header.Get("Content-Type"), map[string]string{"live.js": "text/javascript", "passkey.js": "text/javascript", "console.css": "text/css", "icon.svg": "image/svg+xml"}[a.name]) {
			t.Errorf("%s is sent as %s", path, r.header.Get("Content-Type"))
		}
		if len(r.header.Values("Set-Cookie")) > 0 {
			t.Errorf("%s sets a cookie", path)
		}
	}
	if r := s.get("/assets/000000000000/console.css"); r.status != 404 {
		t.Errorf("another version: %d", r.status)
	}
}

// TestNoInlineAnything: the policy would stop it, so no template has any.
func TestNoInlineAnything(t *testing.T) {
	files, err := pageFiles.ReadDir("pages")
	must(t, err)
	for _, f := range files {
		text, err := pageFiles.ReadFile("pages/" + f.Name())
		must(t, err)
		for _, bad := range []string{" style=", "<style", " onclick=", " onload=", "javascript:", "http://", "https://", "<script>"} {
			if strings.Contains(string(text), bad) {
				t.Errorf("%s has %q", f.Name(), bad)
			}
		}
	}
}
