package observe

import (
	"maps"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Finding is something that is granted or declared, and not used.
type Finding struct {
	Kind    Unused                `json:"kind"`
	Purpose gatehouse.PurposeName `json:"purpose,omitempty"`
	Service gatehouse.ServiceName `json:"service,omitempty"`
	Call    gatehouse.Operation   `json:"call,omitempty"`
	App     gatehouse.AppName     `json:"app,omitempty"`
	Name    string                `json:"name,omitempty"`
	Text    string                `json:"text"`
}

// Unused is a kind of Finding.
type Unused string

// The kinds.
const (
	UnusedPurpose   Unused = "purpose"
	UnusedByService Unused = "purpose-of-service"
	UnusedScope     Unused = "scope"
	UnusedCall      Unused = "call"
	UnusedParam     Unused = "parameter"
	UnusedBody      Unused = "body-field"
	UnusedField     Unused = "field"
	// UnusedParty is somebody else to whom the app may send, and who was sent nothing.
	UnusedParty Unused = "third-party"
	// GrantedScope is one that connections hold and no purpose of theirs declares.
	GrantedScope Unused = "granted-scope"
)

// FindUnused lists what is declared and was not used. What cannot be known is not
// listed: Meta's scopes, which it documents for no call; names that no document
// has; headings of calls that were never read.
func FindUnused(s *Snapshot, d Declared) []Finding {
	var out []Finding
	for _, purpose := range d.Purposes {
		if purpose.App == "" {
			continue // the app's own data, of which no call tells
		}
		p := d.Platforms[purpose.App]
		uses := s.of(purpose.Name)
		if len(uses) == 0 {
			out = append(out, Finding{Kind: UnusedPurpose, Purpose: purpose.Name, Text: "nothing was called for it"})
			continue
		}
		for _, service := range slices.Sorted(maps.Keys(d.Services)) {
			if slices.Contains(d.Services[service], purpose.Name) && !s.exercises(service, purpose.Name) {
				out = append(out, Finding{Kind: UnusedByService, Purpose: purpose.Name, Service: service, Text: "the service never called for it"})
			}
		}
		if needed := neededScopes(p, uses); needed != nil {
			for _, scope := range purpose.Scopes {
				if !slices.Contains(needed, scope) {
					out = append(out, Finding{Kind: UnusedScope, Purpose: purpose.Name, Name: scope, Text: "people are asked for it, and no call that was made needs it"})
				}
			}
		}
		for _, call := range purpose.Calls {
			out = append(out, unusedOf(p, purpose, call, uses)...)
		}
	}
	return out
}

// exercises reports whether a service called for a purpose.
func (s *Snapshot) exercises(service gatehouse.ServiceName, purpose gatehouse.PurposeName) bool {
	return slices.ContainsFunc(s.calls, func(c Call) bool { return c.Service == service && c.Purpose == purpose })
}

// judgedBy returns the operations that a declared call decides about: its own,
// and one's own node by a declaration of any, unless that has one of its own.
func judgedBy(purpose policy.Purpose, call policy.Call) []gatehouse.Operation {
	out := []gatehouse.Operation{call.Operation}
	method, rest, ok := strings.Cut(string(call.Operation), " /{id}")
	own := gatehouse.Operation(method + " /me" + rest)
	if ok && (rest == "" || rest[0] == '/') && !slices.ContainsFunc(purpose.Calls, func(c policy.Call) bool { return c.Operation == own }) {
		out = append(out, own)
	}
	return out
}

func unusedOf(p platform.Name, purpose policy.Purpose, call policy.Call, uses map[gatehouse.Operation]*used) []Finding {
	var by []*used
	for _, op := range judgedBy(purpose, call) {
		if uses[op] != nil {
			by = append(by, uses[op])
		}
	}
	finding := func(kind Unused, name, text string) Finding {
		return Finding{Kind: kind, Purpose: purpose.Name, Call: call.Operation, Name: name, Text: text}
	}
	if len(by) == 0 {
		return []Finding{finding(UnusedCall, "", "never made")}
	}
	any := func(f func(*used) bool) bool { return slices.ContainsFunc(by, f) }
	var out []Finding
	for _, h := range []struct {
		kind  Unused
		shape map[string]policy.Shape
		place Place
		read  func(*used) bool
	}{
		{UnusedParam, call.Params, InParams, func(u *used) bool { return u.Params > 0 }},
		{UnusedBody, call.Body, InBody, func(u *used) bool { return u.Bodies > 0 }},
	} {
		if !any(h.read) {
			continue
		}
		places := []Place{h.place}
		if p.Graph() {
			places = []Place{InParams, InBody} // which reads them alike
		}
		for _, name := range slices.Sorted(maps.Keys(h.shape)) {
			if !any(func(u *used) bool { return u.has(name, places...) }) {
				out = append(out, finding(h.kind, name, "no call carried it"))
			}
		}
	}
	if !any(func(u *used) bool { return u.Replies > 0 && u.Files == 0 }) {
		return out
	}
	for _, f := range call.Fields {
		if platform.UnknownField(p, f) != "" {
			continue // what no document lists is not kept
		}
		came := func(u *used) bool {
			for name := range u.fields[InReply] {
				name = alias(p, name)
				if covers([]string{alias(p, f)}, name) || covers([]string{name}, alias(p, f)) {
					return true
				}
			}
			return false
		}
		if any(came) {
			continue
		}
		text := "no reply had it"
		if any(func(u *used) bool { return u.asked(p, f) }) {
			text = "asked for, and no reply had it"
		}
		out = append(out, finding(UnusedField, f, text))
	}
	return out
}

// asked reports whether a field was asked for, or something below or above it.
func (u *used) asked(p platform.Name, field string) bool {
	for name := range u.fields[Asked] {
		for path := range strings.FieldsSeq(name) {
			if path = alias(p, path); covers([]string{path}, field) || covers([]string{field}, path) {
				return true
			}
		}
	}
	return false
}

// Withheld is what replies held beyond a call's declared fields: what report mode
// lets through and enforce mode leaves out.
type Withheld struct {
	Purpose gatehouse.PurposeName `json:"purpose"`
	Call    gatehouse.Operation   `json:"call"`
	Fields  []string              `json:"fields"`
}

// FindWithheld lists the fields that would have been withheld.
func FindWithheld(s *Snapshot, d Declared) []Withheld {
	var out []Withheld
	for _, purpose := range d.Purposes {
		p := d.Platforms[purpose.App]
		uses := s.of(purpose.Name)
		for _, call := range purpose.Calls {
			if call.Fields == nil {
				continue
			}
			declared := make([]string, len(call.Fields))
			for i, f := range call.Fields {
				declared[i] = alias(p, f)
			}
			var fields []string
			for _, op := range judgedBy(purpose, call) {
				if uses[op] == nil {
					continue
				}
				for _, f := range uses[op].sorted(InReply) {
					if path := alias(p, f.Name); !covers(declared, path) && !touches(declared, path) {
						fields = append(fields, path)
					}
				}
			}
			if fields = prune(fields); len(fields) > 0 {
				out = append(out, Withheld{purpose.Name, call.Operation, fields})
			}
		}
	}
	return out
}
