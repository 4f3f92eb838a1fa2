package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse"
	"gatehouse/internal/policy"
)

// purposes are those of a small app: it publishes on X and reads pages on Meta.
func purposes() []policy.Purpose {
	return []policy.Purpose{
		{Name: "publish", Why: "Publish what the user scheduled", App: "main-x", Scopes: []string{"tweet.write", "tweet.read", "users.read"},
			Calls: []policy.Call{{Operation: "POST /2/tweets"}, {Operation: "GET /2/users/me"}}},
		{Name: "measure", Why: "Show the user how posts did", App: "main-x", Scopes: []string{"tweet.read", "offline.access"},
			Calls: []policy.Call{{Operation: "GET /2/tweets/{id}"}}},
		{Name: "pages", Why: "Answer comments on pages", App: "pages", Scopes: []string{"pages_show_list"},
			Calls: []policy.Call{{Operation: "GET /{id}"}, {Operation: "GET /me/accounts"}, {Operation: "GET /{id}/feed"}}},
	}
}

func compile(t testing.TB, mode policy.Mode) *policy.Set {
	t.Helper()
	s, err := policy.Compile(purposes(), mode)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// request is one that the set allows; each test spoils or spares one thing.
func request(change func(*policy.Request)) policy.Request {
	r := policy.Request{
		Service: "scheduler", Allowed: []gatehouse.PurposeName{"publish", "pages"}, Purpose: "publish",
		Platform: gatehouse.X, App: "main-x", Operations: []gatehouse.Operation{"POST /2/tweets"},
	}
	if change != nil {
		change(&r)
	}
	return r
}

func pages(ops ...gatehouse.Operation) func(*policy.Request) {
	return func(r *policy.Request) {
		r.Purpose, r.Platform, r.App, r.Operations = "pages", gatehouse.Facebook, "pages", ops
	}
}

// Each rule has a request that it refuses and a near miss that it lets pass.
func TestDecidePairs(t *testing.T) {
	for _, test := range []struct {
		name          string
		fires, misses func(*policy.Request)
		rule          string // of the refusal
		allows        string // the rule of the near miss
		says          string // the reason holds this
	}{
		{"no purpose", func(r *policy.Request) { r.Purpose = "" }, nil,
			policy.RuleNoPurpose, "purpose/publish/calls[0]", "make a handle"},
		{"unknown purpose", func(r *policy.Request) { r.Purpose = "publis" }, nil,
			policy.RuleUnknownPurpose, "purpose/publish/calls[0]", "publis is not in the configuration"},
		{"purpose of another service", func(r *policy.Request) { r.Allowed = []gatehouse.PurposeName{"pages"} },
			func(r *policy.Request) { r.Allowed = []gatehouse.PurposeName{"publish"} },
			policy.RulePurposeNotAllowed, "purpose/publish/calls[0]", "services.scheduler.purposes"},
		{"connection of another app", func(r *policy.Request) { r.App = "pages" }, func(r *policy.Request) { r.App = "main-x" },
			policy.RuleOtherApp, "purpose/publish/calls[0]", "belongs to app main-x"},
		{"override", func(r *policy.Request) { r.Override = "DELETE" }, func(r *policy.Request) { r.Override = "" },
			policy.RuleMethodOverride, "purpose/publish/calls[0]", "overrides its method"},
		{"nothing asked", func(r *policy.Request) { r.Operations = nil }, nil,
			policy.RuleNoOperation, "purpose/publish/calls[0]", "no operation"},
		{"unknown operation", func(r *policy.Request) { r.Unknown = true }, func(r *policy.Request) { r.Unknown = false },
			policy.RuleUnknownOperation, "purpose/publish/calls[0]", "no such operation"},
		{"undeclared call", func(r *policy.Request) { r.Operations = []gatehouse.Operation{"DELETE /2/tweets/{id}"} },
			func(r *policy.Request) { r.Operations = []gatehouse.Operation{"GET /2/users/me"} },
			policy.RuleUndeclaredCall, "purpose/publish/calls[1]", `add "- call: DELETE /2/tweets/{id}" to purposes.publish.calls`},
		{"undeclared item of a batch", pages("GET /{id}", "DELETE /{id}"), pages("GET /{id}", "GET /{id}/feed"),
			policy.RuleUndeclaredCall, "purpose/pages/calls[0]", "DELETE /{id}"},
		{"any id is not only one's own", pages("GET /{id}/accounts"), pages("GET /me/accounts"),
			policy.RuleUndeclaredCall, "purpose/pages/calls[1]", "GET /{id}/accounts"},
		{"one's own is any id, for the declared edge alone", pages("GET /me/photos"), pages("GET /me/feed"),
			policy.RuleUndeclaredCall, "purpose/pages/calls[2]", "GET /me/photos"},
		{"one's own node", pages("DELETE /me"), pages("GET /me"),
			policy.RuleUndeclaredCall, "purpose/pages/calls[0]", "DELETE /me"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := compile(t, policy.Enforce)
			d := s.Decide(request(test.fires))
			if d.Allow || d.Report || d.Rule != test.rule || !strings.Contains(d.Reason, test.says) {
				t.Errorf("refusal: %+v, want rule %s and a reason with %q", d, test.rule, test.says)
			}
			d = s.Decide(request(test.misses))
			if d := cmp.Diff(policy.Decision{Allow: true, Rule: test.allows}, d); d != "" {
				t.Errorf("near miss (-want +got):\n%s", d)
			}
		})
	}
}

// Report mode lets undeclared calls pass and flags them. It never relaxes who may
// act, nor what the log could not name.
func TestReportMode(t *testing.T) {
	s := compile(t, policy.Report)
	for rule, change := range map[string]func(*policy.Request){
		policy.RuleUndeclaredCall:   func(r *policy.Request) { r.Operations[0] = "DELETE /2/tweets/{id}" },
		policy.RuleUnknownOperation: func(r *policy.Request) { r.Unknown = true },
	} {
		if d := s.Decide(request(change)); !d.Allow || !d.Report || d.Rule != rule || d.Reason == "" || d.Operation == "" {
			t.Errorf("%s: %+v; want allowed and flagged", rule, d)
		}
	}
	for rule, change := range map[string]func(*policy.Request){
		policy.RuleNoPurpose:         func(r *policy.Request) { r.Purpose = "" },
		policy.RuleUnknownPurpose:    func(r *policy.Request) { r.Purpose = "x" },
		policy.RulePurposeNotAllowed: func(r *policy.Request) { r.Allowed = nil },
		policy.RuleOtherApp:          func(r *policy.Request) { r.App = "pages" },
		policy.RuleMethodOverride:    func(r *policy.Request) { r.Override = "DELETE" },
		policy.RuleNoOperation:       func(r *policy.Request) { r.Operations = nil },
	} {
		if d := s.Decide(request(change)); d.Allow || d.Rule != rule {
			t.Errorf("%s: %+v; want refused", rule, d)
		}
	}
	if d := s.Decide(request(nil)); !d.Allow || d.Report {
		t.Errorf("a declared call is flagged: %+v", d)
	}
}

func TestCompileRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func([]policy.Purpose) []policy.Purpose
		says   string
	}{
		{"no name", func(p []policy.Purpose) []policy.Purpose { p[1].Name = ""; return p }, "purposes[1]"},
		{"no reason", func(p []policy.Purpose) []policy.Purpose { p[1].Why = " "; return p }, "purposes.measure.why"},
		{"no app", func(p []policy.Purpose) []policy.Purpose { p[1].App = ""; return p }, "purposes.measure.app"},
		{"twice", func(p []policy.Purpose) []policy.Purpose { return append(p, p[0]) }, "purposes.publish: declared twice"},
		{"no method", func(p []policy.Purpose) []policy.Purpose { p[0].Calls[1].Operation = "/2/users/me"; return p }, "purposes.publish.calls[1]"},
		{"no path", func(p []policy.Purpose) []policy.Purpose { p[0].Calls[1].Operation = "GET me"; return p }, "purposes.publish.calls[1]"},
	} {
		if _, err := policy.Compile(test.change(purposes()), policy.Enforce); !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v; want an error that names %s", test.name, err, test.says)
		}
	}
}

// A purpose for the app's own data needs no registration, and allows no call.
func TestAPurposeWithoutAnApp(t *testing.T) {
	s, err := policy.Compile([]policy.Purpose{{Name: "support", Why: "Answer people"}}, policy.Enforce)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := s.Purpose("support"); !ok || p.App != "" {
		t.Errorf("the purpose is %+v, %t", p, ok)
	}
}

// A set does not change when its input does.
func TestSetIsImmutable(t *testing.T) {
	in := purposes()
	s, err := policy.Compile(in, policy.Enforce)
	if err != nil {
		t.Fatal(err)
	}
	in[0].Scopes[0], in[0].Calls[0].Operation = "dm.write", "POST /2/dm_conversations"
	got, ok := s.Purpose("publish")
	if !ok {
		t.Fatal("publish is gone")
	}
	if d := cmp.Diff(purposes()[0], got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got.Scopes[0] = "dm.write"
	if again, _ := s.Purpose("publish"); again.Scopes[0] != "tweet.write" {
		t.Error("a caller changed the set")
	}
	if _, ok := s.Purpose("none"); ok {
		t.Error("a purpose that nobody declared")
	}
	if d := cmp.Diff([]gatehouse.PurposeName{"measure", "pages", "publish"}, s.Names()); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
}

func TestScopes(t *testing.T) {
	s := compile(t, policy.Enforce)
	got, err := s.Scopes("main-x", "publish", "measure")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"offline.access", "tweet.read", "tweet.write", "users.read"}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if _, err := s.Scopes("main-x", "none"); !errors.Is(err, gatehouse.ErrNotFound) {
		t.Errorf("unknown purpose: %v", err)
	}
	if _, err := s.Scopes("main-x", "pages"); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("another app's purpose: %v", err)
	}
	if d := cmp.Diff([]string{"tweet.write"}, s.Missing("publish", []string{"users.read", "tweet.read", "like.read"})); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
	if got := s.Missing("none", nil); got != nil {
		t.Errorf("missing for an unknown purpose: %v", got)
	}
}

func TestParseMode(t *testing.T) {
	for in, want := range map[string]policy.Mode{"": policy.Enforce, "enforce": policy.Enforce, "report": policy.Report} {
		got, err := policy.ParseMode(in)
		if err != nil || got != want || in != "" && got.String() != in {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := policy.ParseMode("Report"); !errors.Is(err, gatehouse.ErrInvalid) {
		t.Errorf("an unknown mode: %v", err)
	}
	if compile(t, policy.Report).Mode() != policy.Report {
		t.Error("the set forgot its mode")
	}
}

// An allowed call must not cost an allocation: it is on the way of every call.
func TestDecideDoesNotAllocate(t *testing.T) {
	s, r := compile(t, policy.Enforce), request(nil)
	if n := testing.AllocsPerRun(100, func() {
		if !s.Decide(r).Allow {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkDecide(b *testing.B) {
	s, r := compile(b, policy.Enforce), request(nil)
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(r)
	}
}

// Decide is total: whatever is asked, there is a rule, and only declared
// operations are allowed.
func FuzzDecide(f *testing.F) {
	f.Add("publish", "publish", "main-x", "POST /2/tweets", "", false)
	f.Add("pages", "pages", "pages", "GET /me", "DELETE", true)
	f.Fuzz(func(t *testing.T, purpose, allowed, app, operation, override string, unknown bool) {
		for _, mode := range []policy.Mode{policy.Enforce, policy.Report} {
			d := compile(t, mode).Decide(policy.Request{
				Service: "s", Allowed: []gatehouse.PurposeName{gatehouse.PurposeName(allowed)}, Purpose: gatehouse.PurposeName(purpose),
				App: gatehouse.AppName(app), Operations: []gatehouse.Operation{gatehouse.Operation(operation)}, Override: override, Unknown: unknown,
			})
			if d.Rule == "" || d.Allow == (d.Reason != "") && !d.Report || d.Report && mode == policy.Enforce {
				t.Fatalf("%+v", d)
			}
			if d.Allow && !d.Report && (unknown || override != "" || allowed != purpose || !strings.HasPrefix(d.Rule, "purpose/"+purpose+"/")) {
				t.Fatalf("allowed: %+v", d)
			}
		}
	})
}
