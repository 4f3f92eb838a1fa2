package scim_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse"
	"gatehouse/internal/identity/operator"
	"gatehouse/internal/identity/scim"
	"gatehouse/internal/secret"
	"gatehouse/internal/store/storetest"
)

// TestWithoutAToken holds that everybody who shows no token gets the same answer,
// whatever they ask for, and whoever is right or not.
func TestWithoutAToken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"g": operator.Auditor}})
		w.operator("owner@example.com", operator.Owner)
		id := w.made("ada@example.com")
		right := w.token.Reveal()
		first := w.send("GET", "/scim/v2/Users", "", http.Header{}).refused(401, "")
		headers := map[string]http.Header{
			"none": {}, "empty": {"Authorization": {""}}, "no text": {"Authorization": {"Bearer"}}, "basic": {"Authorization": {"Basic " + right}},
			"short": {"Authorization": {"Bearer " + right[:len(right)-1]}}, "long": {"Authorization": {"Bearer " + right + "a"}},
			"wrong":  {"Authorization": {"Bearer " + right[:len(right)-1] + "0"}},
			"spaces": {"Authorization": {"Bearer  " + right}}, "twice": {"Authorization": {"Bearer " + right, "Bearer " + right}},
			"huge": {"Authorization": {"Bearer " + strings.Repeat("a", 8000)}},
		}
		for name, h := range headers {
			for _, path := range []string{"/scim/v2/Users", "/scim/v2/Users/" + id, "/scim/v2/Users/nobody", "/scim/v2/nothing", "/scim/v2/Groups", "/scim/v2/ServiceProviderConfig", "/scim/"} {
				for _, method := range []string{"GET", "PATCH", "DELETE", "OPTIONS"} {
					a := w.send(method, path, "{", h.Clone())
					if a.status != 401 || a.raw != first.raw || a.header.Get("Www-Authenticate") == "" {
						t.Errorf("%s with %s: got %d %s", a.asked, name, a.status, a.raw)
					}
				}
			}
		}
		w.state(id, operator.Invited, "")
		// The near miss: letters of the scheme do not matter.
		w.send("GET", "/scim/v2/Users", "", http.Header{"Authorization": {"bearer " + right}}).is(200)
		if n := len(w.entries("scim.refuse")); n == 0 || n > 20 {
			t.Errorf("the log has %d refusals, want from 1 to 20", n)
		}
		for _, leaf := range w.entries("scim.refuse") {
			if strings.Contains(leaf, right[10:20]) {
				t.Error("the log has a part of a token")
			}
		}
	})
}

// TestTokens holds the life of tokens.
func TestTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{})
		ctx := t.Context()
		opens := func(text secret.Text, want bool) {
			t.Helper()
			a := w.send("GET", "/scim/v2/Users", "", http.Header{"Authorization": {"Bearer " + text.Reveal()}})
			if got := a.status == 200; got != want {
				t.Fatalf("the token opens %v, want %v: %s", got, want, a.raw)
			}
		}
		create := func(life, overlap time.Duration) (secret.Text, scim.Token) {
			t.Helper()
			text, k, err := w.tokens.Create(ctx, operator.Host(), life, overlap)
			if err != nil {
				t.Fatal(err)
			}
			return text, k
		}
		first := w.token
		opens(first, true)
		second, k2 := create(0, -1)
		opens(first, true)
		third, _ := create(48*time.Hour, time.Hour)
		for _, text := range []secret.Text{first, second, third} {
			opens(text, true)
		}
		w.ahead.Add(int64(time.Hour - time.Second))
		opens(first, true)
		w.ahead.Add(int64(time.Second))
		opens(first, false)
		opens(second, false)
		opens(third, true)
		all, err := w.tokens.List(ctx)
		if err != nil || len(all) != 3 || all[2].Used.IsZero() || w.now().Sub(all[2].Used) > time.Hour {
			t.Fatalf("tokens: %+v, %v", all, err)
		}
		w.ahead.Add(int64(47 * time.Hour))
		opens(third, false)

		// Who made it stands with it: the host is nobody, an operator a number.
		if all[0].By != "" {
			t.Errorf("the host's token was made by %q", all[0].By)
		}
		by := operator.By(operator.Session{Account: "acc1", ID: "ses1"})
		if _, k, err := w.tokens.Create(ctx, by, 0, -1); err != nil || k.By != "acc1" {
			t.Fatalf("made by %q, %v", k.By, err)
		} else if all, _ := w.tokens.List(ctx); len(all) != 1 || all[0] != k {
			t.Errorf("tokens: %+v, want %+v", all, k)
		} else if err := w.tokens.Revoke(ctx, by, k.ID); err != nil {
			t.Fatal(err)
		}
		fourth, k4 := create(0, -1)
		if all, _ := w.tokens.List(ctx); len(all) != 1 {
			t.Errorf("%d tokens are kept, want those that work", len(all))
		}
		opens(fourth, true)
		if err := w.tokens.Revoke(ctx, operator.Host(), k4.ID); err != nil {
			t.Fatal(err)
		}
		opens(fourth, false)
		if err := w.tokens.Revoke(ctx, operator.Host(), k4.ID); !errors.Is(err, gatehouse.ErrNotFound) {
			t.Errorf("revoking twice: %v", err)
		}
		for _, life := range []time.Duration{-1, scim.MaxLife + 1} {
			if _, _, err := w.tokens.Create(ctx, operator.Host(), life, -1); !errors.Is(err, gatehouse.ErrInvalid) {
				t.Errorf("a life of %s: %v", life, err)
			}
		}
		for range 10 {
			create(scim.MaxLife, -1)
		}
		if _, _, err := w.tokens.Create(ctx, operator.Host(), 0, -1); !errors.Is(err, gatehouse.ErrConflict) {
			t.Errorf("an eleventh token: %v", err)
		}
		// What is in the database opens nothing, and is no token.
		w.raw.Exec(`UPDATE scim_tokens SET until = 0`)
		_, rows := w.raw.Query(`SELECT id, hash FROM scim_tokens`)
		for _, row := range rows {
			if text := fmt.Sprint(row...); strings.Contains(text, first.Reveal()[12:]) {
				t.Error("the database has a token")
			}
		}
		if len(w.entries("scim.token", string(k2.ID), `"operator":"host"`)) == 0 || len(w.entries("scim.token.revoke", string(k4.ID))) == 0 {
			t.Error("making and revoking tokens is not in the log")
		}
	})
}

// TestWhoMayAsk holds the bounds of the door.
func TestWhoMayAsk(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), options{sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}})
	w.do("GET", "/scim/v2/Users", "").refused(403, "")
	near := newWorld(t, storetest.SQLite(t), options{sources: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}, limits: scim.Limits{PerSecond: 1}})
	near.do("GET", "/scim/v2/Users", "").is(200)
	for _, name := range []string{"Origin", "Sec-Fetch-Site", "Cookie"} {
		near.send("GET", "/scim/v2/Users", "", http.Header{"Authorization": {"Bearer " + near.token.Reveal()}, name: {"x=y"}}).refused(403, "")
	}
	limited := false
	for range 50 {
		if a := near.do("GET", "/scim/v2/Users", ""); a.status == 429 {
			a.refused(429, "")
			limited = a.header.Get("Retry-After") != ""
			break
		}
	}
	if !limited {
		t.Error("fifty requests at once were answered at one in a second")
	}
}

// TestRefusals holds what bodies, filters and paths are refused for, each with a near
// miss that passes, and that no refusal repeats what was sent.
func TestRefusals(t *testing.T) {
	w := newWorld(t, storetest.SQLite(t), options{groups: map[string]operator.Role{"g": operator.Auditor}, limits: scim.Limits{PerSecond: 10000}})
	w.operator("owner@example.com", operator.Owner)
	id := w.made("ada@example.com")
	group := w.do("POST", "/scim/v2/Groups", `{"displayName": "g"}`).is(201).id()
	deep := func(n int) string {
		return `{"userName": "ada@example.com", "x": ` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`
	}
	user, one := "/scim/v2/Users/"+id, func(op string) string { return `{"Operations": [` + op + `]}` }
	for _, test := range []struct {
		method, path, body string
		status             int
		kind               string
	}{
		{"PUT", user, deep(9), 200, ""},
		{"PUT", user, deep(10), 400, "invalidSyntax"},
		{"PUT", user, `{"userName": "ada@example.com"`, 400, "invalidSyntax"},
		{"PUT", user, `{"userName": "ada@example.com"} {}`, 400, "invalidSyntax"},
		{"PUT", user, `["secret-word"]`, 400, "invalidSyntax"},
		{"PUT", user, `{"userName": "ada@example.com", "USERNAME": "secret-word"}`, 400, "invalidSyntax"},
		{"PUT", user, "{\"userName\": \"ada@example.com\xff\"}", 400, "invalidSyntax"},
		{"PUT", user, `{"displayName": "secret-word"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "secret-word"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": 7}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "active": "secret-word"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "active": null}`, 200, ""},
		{"PUT", user, `{"userName": "ada@example.com", "emails": [{"value": "secret-word"}]}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "emails": [7]}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "name": "secret-word"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "displayName": "a\u0000secret-word"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "displayName": "` + strings.Repeat("a", 255) + `"}`, 200, ""},
		{"PUT", user, `{"userName": "ada@example.com", "displayName": "` + strings.Repeat("a", 256) + `"}`, 400, "invalidValue"},
		{"PUT", user, `{"userName": "ada@example.com", "unknown": {"a": [1, 2.5e3, null, true]}}`, 200, ""},
		{"PATCH", user, `{}`, 400, "invalidSyntax"},
		{"PATCH", user, `{"Operations": []}`, 400, "invalidSyntax"},
		{"PATCH", user, one(`{"op": "secret-word", "path": "displayName", "value": "x"}`), 400, "invalidValue"},
		{"PATCH", user, one(`{"op": "add", "path": "displayName"}`), 400, "invalidValue"},
		{"PATCH", user, one(`{"op": "add", "path": "displayName", "value": "x"}`), 200, ""},
		{"PATCH", user, one(`{"op": "remove"}`), 400, "noTarget"},
		{"PATCH", user, one(`{"op": "remove", "path": "displayName"}`), 200, ""},
		{"PATCH", user, one(`{"op": "remove", "path": "name.givenName"}`), 200, ""},
		{"PATCH", user, one(`{"op": "remove", "path": "userName"}`), 400, "invalidValue"},
		{"PATCH", user, one(`{"op": "remove", "path": "active"}`), 400, "invalidValue"},
		{"PATCH", user, one(`{"op": "replace", "path": "actve", "value": false}`), 400, "invalidPath"},
		{"PATCH", user, one(`{"op": "replace", "path": "title", "value": "x"}`), 200, ""},
		{"PATCH", user, one(`{"op": "replace", "path": "id", "value": "secret-word"}`), 400, "mutability"},
		{"PATCH", user, one(`{"op": "replace", "value": {"id": "secret-word", "displayName": "y"}}`), 200, ""},
		{"PATCH", user, one(`{"op": "replace", "value": "secret-word"}`), 400, "invalidValue"},
		{"PATCH", user, one(`{"op": "replace", "path": "emails[type eq \"work\"", "value": "x"}`), 400, "invalidPath"},
		{"PATCH", user, one(`{"op": "replace", "path": "emails[type co \"work\"].value", "value": "x"}`), 400, "invalidPath"},
		{"PATCH", user, one(`{"op": "replace", "path": "emails[type eq \"work\" and primary eq true].value", "value": "ADA@example.com"}`), 200, ""},
		{"PATCH", user, one(`{"op": "replace", "path": "displayName[a eq \"b\"]", "value": "x"}`), 400, "invalidPath"},
		{"PATCH", user, one(`{"op": "replace", "path": "` + strings.Repeat("(", 257) + `", "value": "x"}`), 400, "invalidPath"},
		{"PATCH", user, one(`{"op": "replace", "path": "urn:ietf:params:scim:schemas:core:2.0:User:displayName", "value": "z"}`), 200, ""},
		{"PATCH", user, `{"Operations": [` + strings.Repeat(`{"op": "add", "path": "displayName", "value": "x"},`, 200) + `{"op": "add", "path": "displayName", "value": "x"}]}`, 400, "invalidSyntax"},
		{"PATCH", "/scim/v2/Users/nobody", active(false), 404, ""},
		{"POST", user, `{}`, 405, ""},
		{"POST", "/scim/v2/Bulk", `{}`, 404, ""},
		{"GET", "/scim/v2/Me", ``, 404, ""},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`userName sw "secret-word"`), "", 400, "invalidFilter"},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`password eq "secret-word"`), "", 400, "invalidFilter"},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`userName eq "a" and active eq true`), "", 400, "invalidFilter"},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`userName eq true`), "", 400, "invalidFilter"},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(strings.Repeat("(", 513)), "", 400, "invalidFilter"},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(strings.Repeat("(", 200)+`userName eq "a"`+strings.Repeat(")", 200)), "", 200, ""},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`urn:ietf:params:scim:schemas:core:2.0:User:UserName Eq "ADA@example.com"`), "", 200, ""},
		{"GET", "/scim/v2/Users?filter=" + url.QueryEscape(`userName eq "a' OR '1'='1"`), "", 200, ""},
		{"GET", "/scim/v2/Users?count=x", "", 400, "invalidValue"},
		{"GET", "/scim/v2/Users?count=1&count=2", "", 400, "invalidValue"},
		{"GET", "/scim/v2/Users?count=-5&startIndex=-7", "", 200, ""},
		{"GET", "/scim/v2/Schemas?filter=" + url.QueryEscape(`id eq "x"`), "", 403, ""},
		{"GET", "/scim/v2/Schemas/urn:ietf:params:scim:schemas:core:2.0:User", "", 200, ""},
		{"GET", "/scim/v2/Schemas/urn:x", "", 404, ""},
		{"PATCH", "/scim/v2/Groups/" + group, one(`{"op": "add", "path": "members", "value": "secret-word"}`), 400, "invalidValue"},
		{"PATCH", "/scim/v2/Groups/" + group, one(`{"op": "replace", "path": "members[value eq \"x\"]", "value": []}`), 400, "invalidPath"},
		{"PATCH", "/scim/v2/Groups/" + group, one(`{"op": "remove", "path": "members[value eq \"x\"]"}`), 200, ""},
		{"PATCH", "/scim/v2/Groups/" + group, one(`{"op": "remove", "path": "displayName"}`), 400, "invalidPath"},
		{"PATCH", "/scim/v2/Groups/" + group, one(`{"op": "replace", "path": "id", "value": "x"}`), 400, "mutability"},
		{"PUT", "/scim/v2/Groups/" + group, `{"displayName": ""}`, 400, "invalidValue"},
	} {
		a := w.do(test.method, test.path, test.body)
		if test.status >= 400 {
			a.refused(test.status, test.kind)
		} else {
			a.is(test.status)
		}
		if strings.Contains(a.raw, "secret-word") {
			t.Errorf("%s %s: the answer repeats what was sent: %s", test.method, test.body, a.raw)
		}
	}
	w.state(id, operator.Invited, "")

	token := http.Header{"Authorization": {"Bearer " + w.token.Reveal()}}
	as := func(kind string) http.Header {
		h := token.Clone()
		h.Set("Content-Type", kind)
		return h
	}
	w.send("PATCH", user, one(`{"op": "add", "path": "displayName", "value": "x"}`), as("text/plain")).refused(415, "")
	w.send("PATCH", user, one(`{"op": "add", "path": "displayName", "value": "x"}`), as("application/json; charset=utf-8")).is(200)
	body := `{"userName": "ada@example.com", "x": "` + strings.Repeat("a", 256<<10) + `"}`
	w.do("PUT", user, body).refused(413, "")
	w.do("PUT", user, body[:len(body)-100]+`"}`).is(200)
	many := `{"userName": "ada@example.com", "x": [` + strings.Repeat("0,", 20000) + `0]}`
	w.do("PUT", user, many).refused(400, "invalidSyntax")
	w.do("PUT", user, strings.Replace(many, strings.Repeat("0,", 100), "", 1)).is(200)
}

// TestPages holds how long lists are shown.
func TestPages(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{limits: scim.Limits{PerSecond: 10000}})
		seen := map[string]bool{}
		for i := range 7 {
			w.made(fmt.Sprintf("user-%d@example.com", i))
		}
		for start := 1; start <= 7; start += 3 {
			a := w.do("GET", fmt.Sprintf("/scim/v2/Users?startIndex=%d&count=3", start), "").is(200).has("totalResults", 7).has("startIndex", start)
			for _, r := range a.at("Resources").([]any) {
				seen[r.(map[string]any)["id"].(string)] = true
			}
			a.has("itemsPerPage", min(3, 8-start))
		}
		if len(seen) != 7 {
			t.Errorf("pages hold %d of 7", len(seen))
		}
		w.do("GET", "/scim/v2/Users?count=0", "").is(200).has("totalResults", 7).has("itemsPerPage", 0)
		w.do("GET", "/scim/v2/Users?startIndex=100", "").is(200).has("totalResults", 7).has("Resources", "[]")
		a := w.do("GET", "/scim/v2/Users?attributes=userName,urn:ietf:params:scim:schemas:core:2.0:User:name.familyName&count=1", "").is(200)
		if u := a.at("Resources.0").(map[string]any); len(u) != 3 || u["userName"] == nil || u["id"] == nil {
			t.Errorf("what was asked for: %v", u)
		}
	})
}

// dying is a store on which a process dies.
type dying struct {
	operator.Store
	storetest.Death
}

func (d *dying) AddProvisioned(ctx context.Context, r operator.AccountRecord, p operator.Provisioned, most int) error {
	return d.Write(func() error { return d.Store.AddProvisioned(ctx, r, p, most) })
}

func (d *dying) SetProvisioned(ctx context.Context, p operator.Provisioned, name, key string, at time.Time) error {
	return d.Write(func() error { return d.Store.SetProvisioned(ctx, p, name, key, at) })
}

func (d *dying) SetState(ctx context.Context, id operator.AccountID, c operator.StateChange) error {
	return d.Write(func() error { return d.Store.SetState(ctx, id, c) })
}

func (d *dying) NoteRefused(ctx context.Context, id operator.AccountID, at time.Time) error {
	return d.Write(func() error { return d.Store.NoteRefused(ctx, id, at) })
}

func (d *dying) AddGroup(ctx context.Context, g operator.Group, most int) error {
	return d.Write(func() error { return d.Store.AddGroup(ctx, g, most) })
}

func (d *dying) SetGroup(ctx context.Context, c operator.GroupChange) error {
	return d.Write(func() error { return d.Store.SetGroup(ctx, c) })
}

// TestDyingAtEachWrite has the process die before and after each write of a request that
// has several; the provider then asks again, as it does, and comes to the same end. On
// the way nobody has more than before or after.
func TestDyingAtEachWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		d := &dying{}
		w := newWorld(t, dsn, options{
			groups: map[string]operator.Role{"g1": operator.Operator, "g2": operator.Auditor},
			store:  func(s operator.Store) operator.Store { d.Store = s; return d }, limits: scim.Limits{PerSecond: 10000},
		})
		w.operator("owner@example.com", operator.Owner)
		died := func(left int, after bool, do func() answer) answer {
			t.Helper()
			d.Die(left, after)
			defer d.Die(0, false)
			return do()
		}
		i := 0
		for left := 1; left <= 3; left++ {
			for _, after := range []bool{false, true} {
				i++
				name := fmt.Sprintf("u%d@example.com", i)
				// Making somebody who is not active yet: two writes.
				body := `{"userName": "` + name + `", "active": false}`
				a := died(left, after, func() answer { return w.do("POST", "/scim/v2/Users", body) })
				if want := left > 2; (a.status == 201) != want {
					t.Fatalf("write %d: %d, want success %v", left, a.status, want)
				}
				found := w.do("GET", "/scim/v2/Users?filter="+url.QueryEscape(`userName eq "`+name+`"`), "").is(200)
				if found.at("totalResults") == 0.0 {
					w.do("POST", "/scim/v2/Users", body).is(201)
				} else {
					w.do("PATCH", "/scim/v2/Users/"+found.at("Resources.0.id").(string), active(false)).is(200)
				}
				found = w.do("GET", "/scim/v2/Users?filter="+url.QueryEscape(`userName eq "`+name+`"`), "").has("Resources.0.active", false)
				id := found.at("Resources.0.id").(string)
				w.state(id, operator.Suspended, "scim")
				w.do("PATCH", "/scim/v2/Users/"+id, active(true)).is(200)

				// Leaving with another name: the end comes first.
				session, b := w.enrol(id)
				leave := `{"userName": "` + name + `", "displayName": "X", "active": false}`
				died(left, after, func() answer { return w.do("PUT", "/scim/v2/Users/"+id, leave) })
				if (left > 1 || after) && w.opens(session, b) {
					t.Fatalf("write %d, after %v: the session of who left works", left, after)
				}
				w.do("PUT", "/scim/v2/Users/"+id, leave).is(200).has("displayName", "X").has("active", false)
				// Coming back with another name: the beginning comes last.
				back := `{"userName": "` + name + `", "displayName": "Y", "active": true}`
				died(left, after, func() answer { return w.do("PUT", "/scim/v2/Users/"+id, back) })
				if a := w.account(id); a.State == operator.Active && a.Name != "Y" {
					t.Fatalf("write %d, after %v: who came back has the name %q", left, after, a.Name)
				}
				w.do("PUT", "/scim/v2/Users/"+id, back).is(200).has("active", true)

				// A group that is made with members: two writes.
				for _, group := range []string{"g1", "g2"} {
					body := `{"displayName": "` + group + `", "members": [{"value": "` + id + `"}]}`
					died(left, after, func() answer { return w.do("POST", "/scim/v2/Groups", body) })
					list := w.do("GET", "/scim/v2/Groups?filter="+url.QueryEscape(`displayName eq "`+group+`"`), "").is(200)
					if list.at("totalResults") == 0.0 {
						w.do("POST", "/scim/v2/Groups", body).is(201)
					} else {
						w.do("PUT", "/scim/v2/Groups/"+list.at("Resources.0.id").(string), body).is(200)
					}
				}
				if got := w.roles(id); got != "auditor operator" {
					t.Fatalf("write %d, after %v: the roles are %q", left, after, got)
				}
				for _, group := range []string{"g1", "g2"} {
					gid := w.do("GET", "/scim/v2/Groups?filter="+url.QueryEscape(`displayName eq "`+group+`"`), "").at("Resources.0.id").(string)
					died(left, after, func() answer { return w.do("DELETE", "/scim/v2/Groups/"+gid, "") })
					w.do("DELETE", "/scim/v2/Groups/"+gid, "")
				}
				if got := w.roles(id); got != "" {
					t.Fatalf("write %d, after %v: the roles are %q", left, after, got)
				}
			}
		}
	})
}

// TestManyAtOnce holds that requests at the same time leave one account, and no half of
// a group.
func TestManyAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, dsn string) {
		w := newWorld(t, dsn, options{groups: map[string]operator.Role{"g": operator.Operator}, limits: scim.Limits{PerSecond: 10000, Requests: 8}})
		var all sync.WaitGroup
		counts := map[int]int{}
		var mu sync.Mutex
		many := func(n int, do func(i int) int) {
			clear(counts)
			for i := range n {
				all.Go(func() {
					status := do(i)
					mu.Lock()
					defer mu.Unlock()
					counts[status]++
				})
			}
			all.Wait()
		}
		post := func(path, method, body string) int {
			r, err := http.NewRequestWithContext(t.Context(), method, w.server.URL+path, strings.NewReader(body))
			if err != nil {
				return 0
			}
			r.Header = http.Header{"Authorization": {"Bearer " + w.token.Reveal()}, "Content-Type": {"application/scim+json"}}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return 0
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		many(8, func(int) int { return post("/scim/v2/Users", "POST", `{"userName": "ada@example.com"}`) })
		if counts[201] != 1 || counts[409] != 7 {
			t.Errorf("making one user eight times: %v", counts)
		}
		var ids []string
		for i := range 4 {
			ids = append(ids, w.made(fmt.Sprintf("m%d@example.com", i)))
		}
		group := w.do("POST", "/scim/v2/Groups", `{"displayName": "g"}`).is(201).id()
		many(4, func(i int) int {
			for {
				status := post("/scim/v2/Groups/"+group, "PATCH", `{"Operations": [{"op": "add", "path": "members", "value": [{"value": "`+ids[i]+`"}]}]}`)
				if status != 409 {
					return status
				}
			}
		})
		if counts[200] != 4 {
			t.Errorf("joining at once: %v", counts)
		}
		for _, id := range ids {
			if got := w.roles(id); got != "operator" {
				t.Errorf("who joined has the roles %q", got)
			}
		}
	})
}
