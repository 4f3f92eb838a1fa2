package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/internal/console"
	"gatehouse/internal/identity/factor"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/secret"

	"github.com/google/go-cmp/cmp"
)

// visitor is somebody who asks for every route of the console.
type visitor struct {
	name           string
	token, binding secret.Text
	header         map[string]string
	// ahead is by how much the directory's clock is ahead when they ask.
	ahead time.Duration
}

// brokenWriter takes nothing, so that a live page ends at once.
type brokenWriter struct{ http.ResponseWriter }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("nobody reads") }
func (brokenWriter) Flush()                    {}

var wildcard = regexp.MustCompile(`\{[^}]*\}`)

// outcome is what a visitor gets of a route, in a word. A form that is none shows
// whether its command would have been reached, and does nothing.
func (v visitor) outcome(t *testing.T, handler http.Handler, host string, r console.Route) string {
	t.Helper()
	method, pattern, _ := strings.Cut(r.Pattern, " ")
	path := wildcard.ReplaceAllString(strings.ReplaceAll(pattern, "{$}", ""), "x")
	req := httptest.NewRequestWithContext(t.Context(), method, "http://"+host+path, nil)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Dest", "document")
	for name, value := range v.header {
		req.Header.Set(name, value)
	}
	session, binding := console.CookieNames(&url.URL{Scheme: "http", Host: host}, "development")
	if !v.binding.IsZero() {
		req.AddCookie(&http.Cookie{Name: binding, Value: v.binding.Reveal()})
	}
	if !v.token.IsZero() {
		req.AddCookie(&http.Cookie{Name: session, Value: v.token.Reveal()})
	}
	w := httptest.NewRecorder()
	if r.Live {
		handler.ServeHTTP(brokenWriter{w}, req)
	} else {
		handler.ServeHTTP(w, req)
	}
	to, _, _ := strings.Cut(w.Header().Get("Location"), "?")
	switch {
	case w.Code == http.StatusSeeOther && to == "/sign-in":
		return "sign in"
	case w.Code == http.StatusSeeOther && to == "/prove":
		return "prove"
	case w.Code == http.StatusForbidden:
		for _, rule := range []string{"console/permission", "console/origin"} {
			if strings.Contains(w.Body.String(), rule) {
				return strings.TrimPrefix(rule, "console/")
			}
		}
		return "refused"
	case w.Code == http.StatusTooManyRequests, w.Code >= 500:
		t.Errorf("%s: %s gets %d: %s", r.Pattern, v.name, w.Code, w.Body)
		return "failed"
	}
	return "in"
}

// enrolled makes an operator with a session, as the demo makes its own.
func enrolled(t *testing.T, d *operator.Directory, role operator.Role) visitor {
	t.Helper()
	v := visitor{name: string(role), binding: secret.New(rand.Text())}
	ctx, browser := t.Context(), demoBrowser(v.binding, "test")
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	link, _, err := d.Invite(ctx, operator.Host(), operator.Invitation{Name: string(role), Email: string(role) + "@example.com", Role: role})
	fail(err)
	e := operator.EnrolmentOrSession{Browser: browser, Enrolment: link}
	fail(d.SetPassword(ctx, e, secret.New(rand.Text())))
	app, err := d.BeginTOTP(ctx, e)
	fail(err)
	code, err := demoCode(app.Seed, time.Now())
	fail(err)
	fail(d.FinishTOTP(ctx, e, code))
	_, v.token, _, err = d.Enrol(ctx, browser, link)
	fail(err)
	return v
}

// TestConsoleMatrix asks for every route of the console as nobody, as each role, with
// a session that is over, with a proof that is no longer recent, and from a page of
// another site. The golden file is the answer to "who may do this?".
func TestConsoleMatrix(t *testing.T) {
	h := newHouse(t)
	p, err := assemble(t.Context(), h.load(), newLogger(h.load().Log))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	var ahead atomic.Int64
	passwords, err := factor.NewPasswords(factor.PasswordConfig{})
	if err != nil {
		t.Fatal(err)
	}
	p.operators, err = operator.New(operator.Config{
		Store: p.db.Operators(), Log: p.log, Derive: p.vault.Derive, Passwords: passwords, Environment: p.cfg.Environment,
		Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{parts: p}
	s.cfg.Console.SignIns = 1000 // the limit has a test of its own
	pages, err := s.newConsole()
	if err != nil {
		t.Fatal(err)
	}
	defer pages.Close()
	at, err := url.Parse(p.cfg.ConsoleURL())
	if err != nil {
		t.Fatal(err)
	}
	visitors := []visitor{{name: "nobody"}}
	for _, role := range operator.Roles() {
		visitors = append(visitors, enrolled(t, p.operators, role))
	}
	owner := visitors[1]
	foreign, stale, over, stolen := owner, owner, owner, owner
	foreign.name, foreign.header = "foreign", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
	stale.name, stale.ahead = "stale", 11*time.Minute
	over.name, over.ahead = "expired", 13*time.Hour
	// Last, since it ends the session.
	stolen.name, stolen.binding = "stolen", secret.New(rand.Text())
	visitors = append(visitors, stale, over, foreign, stolen)

	var b strings.Builder
	b.WriteString("# Who gets in: every route of the console. Written by go test ./cmd/gatehouse -run TestConsoleMatrix -update\n")
	fmt.Fprintf(&b, "%-46s %-20s", "route", "permission")
	for _, v := range visitors {
		fmt.Fprintf(&b, " %-10s", v.name)
	}
	routes := pages.Routes()
	lines := make([]string, len(routes))
	for _, v := range visitors {
		ahead.Store(int64(v.ahead))
		for i, r := range routes {
			lines[i] += fmt.Sprintf(" %-10s", v.outcome(t, pages.Handler(), at.Host, r))
		}
	}
	for i, r := range routes {
		fmt.Fprintf(&b, "\n%-46s %-20s%s", r.Pattern, r.Permission, lines[i])
	}
	b.WriteString(scimMatrix(t, p, visitors))
	got := regexp.MustCompile(` +\n`).ReplaceAllString(b.String()+"\n", "\n")
	golden := filepath.Join("testdata", "console-routes.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the routes' answers changed (-before +now); read it, then run with -update:\n%s", diff)
	}
	// What the table promises, whoever wrote the golden file.
	for i, r := range routes {
		answers := strings.Fields(strings.ReplaceAll(lines[i], "sign in", "sign-in"))
		post := strings.HasPrefix(r.Pattern, "POST ")
		if nobody := answers[0]; r.Permission != operator.Anyone && nobody != "sign-in" {
			if !(post && nobody == "origin") {
				t.Errorf("%s: nobody gets %s", r.Pattern, nobody)
			}
		}
		for j, role := range operator.Roles() {
			may := r.Permission == operator.Anyone || r.Permission == operator.Self
			for _, x := range role.Permissions() {
				may = may || x == r.Permission
			}
			if in := answers[1+j] == "in"; in != may {
				t.Errorf("%s: role %s gets %s", r.Pattern, role, answers[1+j])
			}
		}
		if foreign := answers[len(answers)-2]; post && foreign != "origin" {
			t.Errorf("%s: a form of another site gets %s", r.Pattern, foreign)
		}
	}
}
