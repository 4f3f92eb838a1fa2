package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/internal/config"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/secret"
)

// scimMatrix is the part of the table of routes about what an identity provider asks for:
// who gets an answer, of those who have a token and of those who are signed in to the
// console. A body that is none shows whether it would have been read.
func scimMatrix(t *testing.T, p *parts, visitors []visitor) string {
	t.Helper()
	tokens, err := p.scimTokens()
	if err != nil {
		t.Fatal(err)
	}
	token := func() (secret.Text, scim.TokenID) {
		text, k, err := tokens.Create(t.Context(), operator.Host(), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		return text, k.ID
	}
	right, _ := token()
	revoked, id := token()
	if err := tokens.Revoke(t.Context(), operator.Host(), id); err != nil {
		t.Fatal(err)
	}
	// As with a mapping of groups, so that these are offered too.
	c := *p.cfg
	c.Operators.SCIM.Enabled = true
	c.Operators.OIDC.Roles = map[string]string{"sre": "operator"}
	q := &parts{cfg: &c, db: p.db, log: p.log, vault: p.vault, logger: p.logger}
	q.operators, err = operator.New(operator.Config{
		Store: p.db.Operators(), Log: p.log, Derive: p.vault.Derive, Passwords: struct{ operator.Passwords }{}, Environment: c.Environment,
		Groups: provisionedGroups(&c),
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := q.newSCIM()
	if err != nil {
		t.Fatal(err)
	}
	handler, err := q.withSCIM(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	type provider struct {
		name   string
		header http.Header
	}
	bearer := func(text secret.Text) http.Header { return http.Header{"Authorization": {"Bearer " + text.Reveal()}} }
	foreign := bearer(right)
	foreign.Set("Origin", "https://evil.example")
	asked := []provider{{"nobody", http.Header{}}, {"provider", bearer(right)}, {"revoked", bearer(revoked)}, {"foreign", foreign}}
	for _, v := range visitors {
		if v.token.IsZero() {
			continue
		}
		asked = append(asked, provider{v.name, http.Header{"Cookie": {"gatehouse=" + v.token.Reveal()}}}, provider{v.name, bearer(v.token)})
	}
	var b strings.Builder
	b.WriteString("\n\n# What an identity provider asks for; operators with their sessions' cookie, or with that as a token\n")
	fmt.Fprintf(&b, "%-46s %-10s %-10s %-10s %-10s %-18s %s", "route", "nobody", "provider", "revoked", "foreign", "operators' cookie", "operators' token")
	for _, r := range server.Routes() {
		fmt.Fprintf(&b, "\n%-46s", r.Method+" "+r.Path)
		rest := map[string]bool{}
		for i, a := range asked {
			req := httptest.NewRequestWithContext(t.Context(), r.Method, "http://"+strings.TrimPrefix(p.cfg.ConsoleURL(), "http://")+wildcard.ReplaceAllString(r.Path, "x"), nil)
			req.Header = a.header.Clone()
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			got := map[int]string{http.StatusUnauthorized: "token", http.StatusForbidden: "refused"}[w.Code]
			switch {
			case w.Code >= 500, w.Code == http.StatusTooManyRequests:
				t.Errorf("%s %s: %s gets %d: %s", r.Method, r.Path, a.name, w.Code, w.Body)
			case got == "":
				got = "in"
			}
			if in := a.name == "provider"; (got == "in") != in {
				t.Errorf("%s %s: %s gets %s", r.Method, r.Path, a.name, got)
			}
			if i < 4 {
				fmt.Fprintf(&b, " %-10s", got)
			} else {
				rest[fmt.Sprint(i%2)+got] = true
			}
		}
		// All operators get the same.
		if len(rest) != 2 || !rest["0refused"] || !rest["1token"] {
			t.Errorf("%s %s: operators get %v", r.Method, r.Path, rest)
		}
		fmt.Fprintf(&b, " %-18s %s", "refused", "token")
	}
	return b.String()
}

// TestScimOfTheRunningCommand has an identity provider keep an account of the running
// program, with a token that a command made.
func TestScimOfTheRunningCommand(t *testing.T) {
	h := newHouseWith(t, "listen:", "operators: {scim: {enabled: true}}\nlisten:")
	finding := func(word string, ok bool) {
		t.Helper()
		out, errOut, _ := h.gatehouse("doctor", "--json")
		var all []finding
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			t.Fatalf("%v\n%s%s", err, out, errOut)
		}
		for _, f := range all {
			if f.Check == "scim" && strings.Contains(f.Text, word) && f.OK == ok {
				return
			}
		}
		t.Errorf("the doctor does not say %q about SCIM: %s", word, out)
	}
	run := func(args ...string) string {
		t.Helper()
		out, errOut, code := h.gatehouse(args...)
		if code != 0 {
			t.Fatalf("%v: %s", args, errOut)
		}
		return strings.TrimSpace(out)
	}
	finding("no identity provider has a token", false)
	var made struct{ ID, Token, URL string }
	if err := json.Unmarshal([]byte(run("account", "scim-token", "create", "--json")), &made); err != nil {
		t.Fatal(err)
	}
	finding("1 token", true)
	h.start()
	ask := func(method, path, body string) (int, map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, made.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+made.Token)
		r.Header.Set("Content-Type", "application/scim+json")
		resp, err := h.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		_ = json.Unmarshal(raw, &v)
		return resp.StatusCode, v
	}
	if made.URL != h.load().ConsoleURL()+"/scim/v2" {
		t.Fatalf("the address is %s", made.URL)
	}
	status, user := ask("POST", "/Users", `{"userName": "ada@example.com", "displayName": "Ada"}`)
	if status != 201 {
		t.Fatalf("%d %v", status, user)
	}
	id, _ := user["id"].(string)
	if link := run("account", "invite", "--again", "ada@example.com"); !strings.Contains(link, "/enrol#") {
		t.Errorf("an owner's link is %s", link)
	}
	if status, _ := ask("PATCH", "/Users/"+id, `{"Operations": [{"op": "Replace", "path": "active", "value": "False"}]}`); status != 200 {
		t.Errorf("leaving: %d", status)
	}
	if out := run("account", "show", "ada@example.com", "--json"); !strings.Contains(out, `"scim"`) {
		t.Errorf("the account does not say who suspended it: %s", out)
	}
	if out := run("account", "scim-token", "list", "--json"); !strings.Contains(out, "last_used_at") || strings.Contains(out, made.Token) {
		t.Errorf("the list of tokens: %s", out)
	}

	// The first owner is invited by a link of init only; the host makes one and links them.
	p, err := assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	enrolled(t, p.operators, operator.Owner)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	run("account", "scim-link", "owner@example.com")
	status, list := ask("GET", `/Users?filter=userName+eq+%22owner@example.com%22`, "")
	found, _ := list["Resources"].([]any)
	if status != 200 || len(found) != 1 {
		t.Fatalf("a linked account is not found: %d %v", status, list)
	}
	owner, _ := found[0].(map[string]any)["id"].(string)
	if status, v := ask("DELETE", "/Users/"+owner, ""); status != 409 {
		t.Errorf("removing the last owner: %d %v", status, v)
	}
	finding("last owner has left", false)
	p, err = assemble(t.Context(), h.load(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	needs := newOverviewSource(p).scimNeeds(t.Context())
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if len(needs) != 1 || !strings.Contains(needs[0].Text, "last owner") {
		t.Errorf("the overview says %v", needs)
	}
	run("account", "scim-link", "--end", "owner@example.com")
	if status, _ := ask("DELETE", "/Users/"+owner, ""); status != 404 {
		t.Errorf("an account that is not linked any more: %d", status)
	}
	run("account", "scim-token", "revoke", made.ID)
	if status, _ := ask("GET", "/Users", ""); status != 401 {
		t.Errorf("a revoked token: %d", status)
	}
	if _, errOut, code := h.gatehouse("account", "scim-token", "revoke", made.ID); code != exitFailed || !strings.Contains(errOut, "no such token") {
		t.Errorf("revoking twice: %d %s", code, errOut)
	}
	for _, args := range [][]string{{"--expires-in", "1s"}, {"--expires-in", "20000h"}, {"--expires-old", "-1h"}} {
		if _, _, code := h.gatehouse(append([]string{"account", "scim-token", "create"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit status %d", args, code)
		}
	}
	if code := h.stop(); code != 0 {
		t.Errorf("stopped with %d", code)
	}
}

// TestNoScimByDefault holds that nothing is offered where the configuration does not say so.
func TestNoScimByDefault(t *testing.T) {
	p := &parts{cfg: &config.Config{}}
	handler, err := p.withSCIM(http.NotFoundHandler())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/scim/v2/Users", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("got %d", w.Code)
	}
	for state, until := range map[string]time.Time{"expired": time.Now(), "ends soon": time.Now().Add(13 * 24 * time.Hour), "in use": time.Now().Add(15 * 24 * time.Hour)} {
		if got := scimTokenState(scim.Token{Until: until}, time.Now()); got != state {
			t.Errorf("a token is %s, want %s", got, state)
		}
	}
}
