package policy_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse"
	"gatehouse/internal/policy"
)

// contracts is a set of one purpose with these calls.
func contracts(t testing.TB, mode policy.Mode, calls ...policy.Call) *policy.Set {
	t.Helper()
	s, err := policy.Compile([]policy.Purpose{{Name: "publish", Why: "Publish", App: "main-x", Calls: calls}}, mode)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(op gatehouse.Operation) policy.Request {
	return policy.Request{Service: "s", Allowed: []gatehouse.PurposeName{"publish"}, Purpose: "publish", App: "main-x", Operations: []gatehouse.Operation{op}}
}

// Each shape has a value that it refuses and a near miss that it lets pass.
func TestShapePairs(t *testing.T) {
	written := func(text string) []policy.Argument { return []policy.Argument{{Name: "a", Text: text}} }
	json := func(k policy.Kind, text string) []policy.Argument {
		return []policy.Argument{{Name: "a", Kind: k, Text: text}}
	}
	list := func(entries ...string) []policy.Argument {
		out := []policy.Argument{{Name: "a", Kind: policy.IsList, Size: len(entries)}}
		for _, e := range entries {
			out = append(out, policy.Argument{Name: "a", Kind: policy.IsText, Text: e, In: true})
		}
		return out
	}
	for _, test := range []struct {
		name      string
		shape     policy.Shape
		bad, good []policy.Argument
		says      string
	}{
		{"max of a text", policy.Shape{Max: 3}, written("abcd"), written("äöü"), ".max"},
		{"min of a text", policy.Shape{Min: 2}, written("ä"), written("äö"), ".min"},
		{"pattern", policy.Shape{Pattern: "a|b"}, written("ab"), written("b"), ".pattern"},
		{"pattern to the end", policy.Shape{Pattern: "a"}, written("a\n"), written("a"), ".pattern"},
		{"one of", policy.Shape{OneOf: []string{"a", "b"}}, written("A"), written("a"), ".one_of"},
		{"number", policy.Shape{Type: policy.Number}, written("1e3"), written("1.5"), ".type"},
		{"number that ends in a dot", policy.Shape{Type: policy.Number}, written("1."), written("1"), ".type"},
		{"number with two dots", policy.Shape{Type: policy.Number}, written("1.2.3"), written("-1.2"), ".type"},
		{"number without digits", policy.Shape{Type: policy.Number}, written("-"), written("-0"), ".type"},
		{"number of many digits", policy.Shape{Type: policy.Number}, written(strings.Repeat("1", 41)), written(strings.Repeat("1", 40)), ".type"},
		{"max of a number", policy.Shape{Type: policy.Number, Max: 10}, written("10.1"), written("10"), ".max"},
		{"min of a number", policy.Shape{Type: policy.Number, Min: 10}, written("-11"), written("11"), ".min"},
		{"boolean", policy.Shape{Type: policy.Boolean}, written("1"), written("true"), ".type"},
		{"entries", policy.Shape{Type: policy.List, Entries: 2}, written("a,b,c"), written("a,b"), ".entries"},
		{"an entry", policy.Shape{Type: policy.List, OneOf: []string{"a", "b"}}, written("a,c"), written("b,a"), ".one_of"},
		{"entries in JSON", policy.Shape{Type: policy.List, Entries: 2}, list("a", "b", "c"), list("a", "b"), ".entries"},
		{"an entry in JSON", policy.Shape{Type: policy.List, Max: 1}, list("a", "bc"), list("a", "b"), ".max"},
		{"a list where none is declared", policy.Shape{}, list("a"), json(policy.IsText, "a"), ".type"},
		{"a text for a number", policy.Shape{Type: policy.Number}, json(policy.IsText, "1"), json(policy.IsNumber, "1"), ".type"},
		{"a number for a text", policy.Shape{Type: policy.Text}, json(policy.IsNumber, "1"), json(policy.IsText, "1"), ".type"},
		{"any single value", policy.Shape{}, json(policy.IsObject, ""), json(policy.IsBoolean, "true"), ".type"},
		{"a file", policy.Shape{Type: policy.File}, written("x"), json(policy.IsFile, ""), ".type"},
		{"no file", policy.Shape{}, json(policy.IsFile, ""), json(policy.IsNull, ""), ".type"},
		{"an object", policy.Shape{Type: policy.Object}, json(policy.IsText, "x"), []policy.Argument{{Name: "a", Kind: policy.IsObject}, {Name: "a.b.c", Kind: policy.IsText}}, ".type"},
		{"an entry without its list", policy.Shape{Type: policy.Text}, []policy.Argument{{Name: "a", Kind: policy.IsText, In: true}}, json(policy.IsText, "x"), ".type"},
		{"a list in an object", policy.Shape{Type: policy.Object, Required: true}, nil, []policy.Argument{{Name: "a", Kind: policy.IsList, Size: 1}, {Name: "a", Kind: policy.IsText, In: true}}, "is missing"},
		{"beside an object", policy.Shape{Type: policy.Object}, []policy.Argument{{Name: "a", Kind: policy.IsObject}, {Name: "ab", Kind: policy.IsText}},
			[]policy.Argument{{Name: "a", Kind: policy.IsObject}, {Name: "a.b", Kind: policy.IsText}}, "ab is not declared"},
		{"required", policy.Shape{Required: true}, json(policy.IsNull, ""), json(policy.IsText, ""), "a is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := contracts(t, policy.Enforce, policy.Call{Operation: "POST /x", Body: map[string]policy.Shape{"a": test.shape}})
			r := ask("POST /x")
			r.Body = test.bad
			if d := s.Decide(r); d.Allow || !strings.Contains(d.Reason, test.says) || !strings.Contains(d.Reason, "purposes.publish.calls[0]") {
				t.Errorf("refusal: %+v, want a reason with %q", d, test.says)
			}
			r.Body = test.good
			if d := s.Decide(r); !d.Allow || d.Contract == nil {
				t.Errorf("near miss: %+v", d)
			}
		})
	}
}

// A heading that is absent is free; one that is there is exhaustive, also when it
// is empty. On the Graph, one bounds both.
func TestHeadings(t *testing.T) {
	arg := []policy.Argument{{Name: "a", Text: "1"}}
	none := map[string]policy.Shape{}
	some := map[string]policy.Shape{"a": {}}
	for _, test := range []struct {
		name  string
		call  policy.Call
		ask   func(*policy.Request)
		allow bool
	}{
		{"nothing declared", policy.Call{}, func(r *policy.Request) { r.Params, r.Body = arg, arg }, true},
		{"params, empty", policy.Call{Params: none}, func(r *policy.Request) { r.Params = arg }, false},
		{"params, empty, and a body", policy.Call{Params: none}, func(r *policy.Request) { r.Body = arg }, true},
		{"params, empty, and a body, joined", policy.Call{Params: none}, func(r *policy.Request) { r.Body, r.Joined = arg, true }, false},
		{"params, and a body, joined", policy.Call{Params: some}, func(r *policy.Request) { r.Body, r.Joined = arg, true }, true},
		{"body, empty, and a parameter", policy.Call{Body: none}, func(r *policy.Request) { r.Params = arg }, true},
		{"body, empty, and a parameter, joined", policy.Call{Body: none}, func(r *policy.Request) { r.Params, r.Joined = arg, true }, false},
		{"body, and a parameter, joined", policy.Call{Body: some}, func(r *policy.Request) { r.Params, r.Joined = arg, true }, true},
		{"a body that nobody read", policy.Call{Body: some}, func(r *policy.Request) { r.Unjudged = true }, false},
		{"a body that nobody need read", policy.Call{Params: some}, func(r *policy.Request) { r.Unjudged = true }, true},
		{"a body that nobody read, joined", policy.Call{Params: some}, func(r *policy.Request) { r.Unjudged, r.Joined = true, true }, false},
		{"what paging carries", policy.Call{Params: none}, func(r *policy.Request) { r.Params = []policy.Argument{{Name: "a", Free: true}} }, true},
		{"a part of the path", policy.Call{Params: none}, func(r *policy.Request) { r.Params = []policy.Argument{{Name: "id", Path: true}} }, true},
		{"fields, none declared", policy.Call{Params: none}, func(r *policy.Request) { r.Params = []policy.Argument{{Name: "fields", Selects: true}} }, false},
		{"fields, declared", policy.Call{Params: none, Fields: []string{"id"}}, func(r *policy.Request) { r.Params = []policy.Argument{{Name: "fields", Selects: true}} }, true},
		{"a field, none declared at all", policy.Call{Fields: []string{}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "id"}} }, false},
		{"a field, nothing said", policy.Call{}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "id"}} }, true},
		{"a field of a whole object", policy.Call{Fields: []string{"a"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a.b.c"}} }, true},
		{"an object of which a part is declared", policy.Call{Fields: []string{"a.b"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a"}} }, true},
		{"another part", policy.Call{Fields: []string{"a.b"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a.c"}} }, false},
		{"a part that is declared whole as well", policy.Call{Fields: []string{"a.b", "a"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a.c"}} }, true},
		{"one of two places", policy.Call{Fields: []string{"i.a"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a", Or: "i.a"}} }, true},
		{"neither of two places", policy.Call{Fields: []string{"i.b"}}, func(r *policy.Request) { r.Selected = []policy.Selected{{Path: "a", Or: "i.a"}} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.call.Operation = "POST /x"
			r := ask("POST /x")
			test.ask(&r)
			if d := contracts(t, policy.Enforce, test.call).Decide(r); d.Allow != test.allow {
				t.Errorf("%+v", d)
			}
			if d := contracts(t, policy.Report, test.call).Decide(r); !d.Allow || d.Report == test.allow || d.Reason == "" == d.Report {
				t.Errorf("in report mode: %+v", d)
			}
		})
	}
}

// An edge with a contract is not to be had through a node without one.
func TestExpansionOfAnEdgeWithAContract(t *testing.T) {
	edge := policy.Call{Operation: "GET /me/accounts", Fields: []string{"id"}}
	r := ask("GET /me")
	r.Operations = append(r.Operations, "GET /me/accounts")
	if d := contracts(t, policy.Enforce, policy.Call{Operation: "GET /me"}, edge).Decide(r); d.Allow || d.Rule != policy.RuleUnboundExpansion {
		t.Errorf("from a node without: %+v", d)
	}
	if d := contracts(t, policy.Enforce, policy.Call{Operation: "GET /me", Fields: []string{"accounts.id"}}, edge).Decide(r); !d.Allow {
		t.Errorf("from a node with one: %+v", d)
	}
	if d := contracts(t, policy.Enforce, policy.Call{Operation: "GET /me"}, policy.Call{Operation: "GET /me/accounts"}).Decide(r); !d.Allow {
		t.Errorf("without any: %+v", d)
	}
}

// What is declared for one's own node counts there, wherever it stands; what is
// declared for any node, where nothing else is.
func TestContractOfOnesOwnNode(t *testing.T) {
	s := contracts(t, policy.Enforce, policy.Call{Operation: "GET /{id}", Fields: []string{"id"}}, policy.Call{Operation: "GET /me", Fields: []string{"id", "email"}})
	for op, want := range map[gatehouse.Operation]int{"GET /{id}": 1, "GET /me": 2} {
		if fields, ok := s.Contract("publish", op).Fields(); !ok || len(fields) != want {
			t.Errorf("%s has %v", op, fields)
		}
	}
	s = contracts(t, policy.Enforce, policy.Call{Operation: "GET /{id}", Fields: []string{"id"}})
	if s.Contract("publish", "GET /me") == nil || s.Contract("publish", "GET /me") != s.Contract("publish", "GET /{id}") {
		t.Error("one's own node has another contract than any node")
	}
	if s.Contract("none", "GET /me") != nil || s.Contract("publish", "GET /none") != nil {
		t.Error("a contract of nothing")
	}
}

func TestContractsThatCannotBe(t *testing.T) {
	for says, call := range map[string]policy.Call{
		"params.a: type is none": {Params: map[string]policy.Shape{"a": {Type: "int"}}},
		"min is greater":         {Body: map[string]policy.Shape{"a": {Min: 2, Max: 1}}},
		"entries belongs":        {Body: map[string]policy.Shape{"a": {Entries: 2}}},
		"has no bounds":          {Body: map[string]policy.Shape{"a": {Type: policy.Boolean, OneOf: []string{"true"}}}},
		"pattern is not":         {Body: map[string]policy.Shape{"a": {Pattern: "("}}},
		"a.b stands below it":    {Body: map[string]policy.Shape{"a": {Type: policy.Text}, "a.b": {}}},
	} {
		call.Operation = "POST /x"
		_, err := policy.Compile([]policy.Purpose{{Name: "p", Why: "w", App: "a", Calls: []policy.Call{call}}}, policy.Enforce)
		if !errors.Is(err, gatehouse.ErrInvalid) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "purposes.p.calls[0]") {
			t.Errorf("%v, want an error that says %q", err, says)
		}
	}
}

// A refusal names what the caller wrote in letters that mean nothing to a reader.
func TestNamesInRefusals(t *testing.T) {
	r := ask("POST /x")
	r.Params = []policy.Argument{{Name: "a\r\nX: <b>\x1b[0m" + strings.Repeat("y", 500)}}
	d := contracts(t, policy.Enforce, policy.Call{Operation: "POST /x", Params: map[string]policy.Shape{}}).Decide(r)
	if strings.ContainsAny(d.Reason, "\r\n\x1b<>") || len(d.Reason) > 200 || d.Allow {
		t.Errorf("%+v", d)
	}
}

// manyRules is a set of 500 declared calls with contracts, and a request that uses
// all that one of them declares.
func manyRules(t testing.TB) (*policy.Set, policy.Request) {
	shapes := map[string]policy.Shape{
		"query": {Max: 512, Required: true}, "max_results": {Type: policy.Number, Min: 10, Max: 100},
		"tweet.fields": {Type: policy.List, OneOf: []string{"created_at", "lang", "public_metrics"}}, "start_time": {Pattern: `\d{4}-\d\d-\d\dT[0-9:.]+Z`},
	}
	var calls []policy.Call
	for i := range 500 {
		calls = append(calls, policy.Call{
			Operation: gatehouse.Operation(fmt.Sprintf("GET /2/things%d/{id}", i)), Params: shapes,
			Body: map[string]policy.Shape{"text": {Max: 280}, "poll.options": {Type: policy.List, Entries: 4}}, Fields: []string{"id", "text", "public_metrics.like_count", "includes.users.username"},
		})
	}
	r := ask("GET /2/things321/{id}")
	r.Params = []policy.Argument{{Name: "id", Text: "12345", Path: true}, {Name: "query", Text: "from:somebody"}, {Name: "max_results", Text: "50"},
		{Name: "tweet.fields", Text: "created_at,lang", Selects: true}, {Name: "start_time", Text: "2026-01-01T00:00:00Z"}, {Name: "next_token", Text: "b26v89c19zqg8o3f", Free: true}}
	r.Body = []policy.Argument{{Name: "text", Kind: policy.IsText, Text: "A post of some length, as people write them"}, {Name: "poll", Kind: policy.IsObject},
		{Name: "poll.options", Kind: policy.IsList, Size: 2}, {Name: "poll.options", Kind: policy.IsText, Text: "yes", In: true}, {Name: "poll.options", Kind: policy.IsText, Text: "no", In: true}}
	r.Selected = []policy.Selected{{Path: "id"}, {Path: "public_metrics"}, {Path: "username", Or: "includes.users.username"}}
	return contracts(t, policy.Enforce, calls...), r
}

// A call that a contract allows costs no allocation either.
func TestContractsDoNotAllocate(t *testing.T) {
	s, r := manyRules(t)
	if d := s.Decide(r); !d.Allow {
		t.Fatalf("%+v", d)
	}
	if n := testing.AllocsPerRun(100, func() { s.Decide(r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDecide500 is a decision among 500 rules: by a contract that is used
// whole, and by one of two parameters.
func BenchmarkDecide500(b *testing.B) {
	s, r := manyRules(b)
	b.Run("contract", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Decide(r)
		}
	})
	r.Params, r.Body = []policy.Argument{{Name: "query", Text: "a"}, {Name: "max_results", Text: "50"}}, nil
	b.Run("two parameters", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.Decide(r)
		}
	})
}

// Judging is total and pure: whatever is carried, there is an answer, the same
// twice, and nothing passes that no shape was declared for.
func FuzzContracts(f *testing.F) {
	f.Add("max_results", "50", uint8(0), 0, false, "id", "")
	f.Add("poll.options", "x", uint8(5), 9, true, "includes.users", "a")
	s, asked := manyRules(f)
	f.Fuzz(func(t *testing.T, name, text string, kind uint8, size int, in bool, path, or string) {
		r := asked
		a := policy.Argument{Name: name, Text: text, Kind: policy.Kind(kind % 8), Size: size, In: in}
		r.Params, r.Selected = append(slices.Clip(r.Params), a), append(slices.Clip(r.Selected), policy.Selected{Path: path, Or: or})
		d := s.Decide(r)
		if again := s.Decide(r); again != d {
			t.Fatalf("%+v, then %+v", d, again)
		}
		if d.Allow == (d.Reason != "") || d.Rule == "" {
			t.Fatalf("%+v", d)
		}
		switch name {
		case "query", "max_results", "tweet.fields", "start_time":
		default:
			if d.Allow {
				t.Fatalf("an undeclared parameter %q is allowed", name)
			}
		}
	})
}
