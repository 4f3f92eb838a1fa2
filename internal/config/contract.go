package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Policy returns the call as the policy judges it.
func (c Call) Policy() policy.Call {
	return policy.Call{
		Operation: c.Operation, Params: shapes(c.Params), Body: shapes(c.Body), Fields: c.Fields,
	}
}

func shapes(rules map[string]Rule) map[string]policy.Shape {
	if rules == nil {
		return nil
	}
	out := make(map[string]policy.Shape, len(rules))
	for name, r := range rules {
		out[name] = policy.Shape{
			Type: policy.Type(r.Type), Min: r.Min, Max: r.Max, Pattern: r.Pattern, OneOf: r.OneOf, Entries: r.Entries, Required: r.Required,
		}
	}
	return out
}

var fieldForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*$`)

// paramForm allows the array spelling that Graph's clients use.
var paramForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*(\[[A-Za-z0-9_]*\])?$`)

// callContract checks what a call declares beside itself, against what the
// platform offers, and fills in the types that its document knows. compliance is
// set when the app remembers what it was delivered.
func (c *Config) callContract(d *decoder, path string, p platform.Name, call *Call, compliance bool) {
	used := map[string]bool{}
	listed := func(name string) bool {
		if slices.Contains(call.Unlisted, name) {
			used[name] = true
			return true
		}
		return false
	}
	d.callParams(path, p, call, listed)
	d.callBody(path, p, call, listed)
	d.callFields(path, p, call, listed)
	for i, name := range call.Unlisted {
		if !used[name] {
			d.failAt(path+".unlisted["+strconv.Itoa(i)+"]", "is listed by the platform, or stands nowhere in this call: leave it out")
		}
	}
	if len(call.Fields) > 0 && !slices.Contains(call.Fields, "id") && compliance {
		d.warnAt(path+".fields", "leave id out: what is delivered without it is not remembered, and X is not asked about it (compliance)")
	}
	if c.Environment == production && call.Fields == nil && call.Operation != "" {
		d.warnAt(path, "declares no fields: replies are not narrowed")
	}
}

// callParams checks params. Where the platform's documents do not describe the
// call, only their form can be judged.
func (d *decoder) callParams(path string, p platform.Name, call *Call, listed func(string) bool) {
	known, described := platform.QueryParams(string(call.Operation))
	described = described && p == platform.X
	graph, inGraph := platform.GraphParams(p, string(call.Operation))
	for _, name := range slices.Sorted(maps.Keys(call.Params)) {
		at, rule := path+".params."+name, call.Params[name]
		inPath := strings.Contains(string(call.Operation), "{"+name+"}")
		kind, known1 := known[name]
		switch {
		case !paramForm.MatchString(name):
			d.failAt(at, "is not the name of a parameter")
		case described && !known1 && !inPath && !listed(name):
			d.failAt(at, "is no parameter of this call"+didYouMean(name, slices.Collect(maps.Keys(known)))+" (if it is meant, name it under unlisted, too)")
		case inGraph && !graph[bareName(name)] && !inPath && !listed(name):
			d.failAt(at, "is no parameter of this call"+didYouMean(name, slices.Collect(maps.Keys(graph)))+" (if it is meant, name it under unlisted, too)")
		case rule.Type != "":
		case known1 && (kind != "boolean" || plainRule(rule)):
			rule.Type = kind
		case p.Graph() && (name == "limit" || name == "offset"):
			rule.Type = string(policy.Number)
		}
		call.Params[name] = rule
		d.rule(at, rule)
	}
}

// bareName is a parameter's name without the brackets or members that Graph's
// clients write lists and objects with.
func bareName(name string) string {
	bare, _, _ := strings.Cut(name, "[")
	bare, _, _ = strings.Cut(bare, ".")
	return bare
}

// plainRule reports whether a rule bounds nothing, as fits a boolean.
func plainRule(r Rule) bool {
	return r.Min == 0 && r.Max == 0 && r.Pattern == "" && len(r.OneOf) == 0
}

func (d *decoder) callBody(path string, p platform.Name, call *Call, listed func(string) bool) {
	graph, inGraph := platform.GraphParams(p, string(call.Operation))
	for _, name := range slices.Sorted(maps.Keys(call.Body)) {
		at := path + ".body." + name
		unknown := ""
		if p == platform.X && !strings.HasPrefix(string(call.Operation), "POST /1.1/") {
			unknown = platform.UnknownField(p, name)
		}
		switch {
		case !fieldForm.MatchString(name) && !(p.Graph() && paramForm.MatchString(name)):
			d.failAt(at, "is not the name of a field")
		case unknown != "" && !listed(name):
			d.failAt(at, "no request of "+string(p)+" has a field "+unknown+didYouMean(unknown, platform.FieldNames(p))+" (if it is meant, name it under unlisted, too)")
		case inGraph && !graph[bareName(name)] && !listed(name):
			d.failAt(at, "is no parameter of this call"+didYouMean(bareName(name), slices.Collect(maps.Keys(graph)))+" (if it is meant, name it under unlisted, too)")
		}
		d.rule(at, call.Body[name])
	}
}

// rule checks one rule by itself.
func (d *decoder) rule(at string, r Rule) {
	if r.Type != "" && !slices.Contains(policy.Types(), policy.Type(r.Type)) {
		types := make([]string, 0, 6)
		for _, t := range policy.Types() {
			types = append(types, string(t))
		}
		d.oneOf(at+".type", r.Type, types...)
		return
	}
	switch bounded := !plainRule(r); {
	case r.Max != 0 && r.Min > r.Max:
		d.failAt(at+".min", "is greater than max")
	case r.Entries != 0 && r.Type != string(policy.List):
		d.failAt(at+".entries", "belongs to type: list")
	case bounded && slices.Contains([]policy.Type{policy.Object, policy.File, policy.Boolean}, policy.Type(r.Type)):
		d.failAt(at, "type "+r.Type+" has no bounds")
	}
	if r.Pattern != "" {
		if _, err := regexp.Compile(r.Pattern); err != nil {
			d.failAt(at+".pattern", "is not a regular expression of the RE2 kind")
		}
	}
}

func (d *decoder) callFields(path string, p platform.Name, call *Call, listed func(string) bool) {
	if call.Fields == nil || call.Operation == "" {
		return
	}
	if _, described := platform.QueryParams(string(call.Operation)); p == platform.X && !described {
		d.failAt(path+".fields", "replies of this call have no form that X documents, and are not narrowed")
		return
	}
	for i, f := range call.Fields {
		at := path + ".fields[" + strconv.Itoa(i) + "]"
		first, _, below := strings.Cut(f, ".")
		unknown := platform.UnknownField(p, f)
		switch {
		case !fieldForm.MatchString(f):
			d.failAt(at, "is not the name of a field")
		case slices.Contains(call.Fields[:i], f):
			d.failAt(at, "stands in the list twice")
		case first == "data" && below || p.Graph() && strings.Contains("."+f, ".data."):
			d.failAt(at, "leave data out: fields are named from the object inside it")
		case p == platform.X && slices.Contains([]string{"data", "meta", "errors"}, first):
			d.failAt(at, "is X's envelope, which stays in any case")
		case unknown != "" && !listed(f):
			d.failAt(at, "no object of "+string(p)+" has a field "+unknown+didYouMean(unknown, platform.FieldNames(p))+" (if it is meant, name it under unlisted, too)")
		case p.Graph() && (f == "access_token" || strings.HasSuffix(f, ".access_token")) && !slices.Contains(call.Fields, strings.TrimSuffix(f, "access_token")+"id"):
			d.failAt(at, "needs "+strings.TrimSuffix(f, "access_token")+"id beside it: it tells whose token a handle stands for")
		}
	}
}

func didYouMean(name string, known []string) string {
	slices.Sort(known)
	if near := nearest(name, known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
