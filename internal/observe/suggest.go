package observe

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse"
	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// Suggested is the narrowest contract for what was observed of a purpose.
type Suggested struct {
	Name   gatehouse.PurposeName `json:"name"`
	Scopes []string              `json:"scopes"`
	Calls  []SuggestedCall       `json:"calls"`
	// Unused is set when nothing was observed: it is what it was.
	Unused bool `json:"unused,omitempty"`
	// Notes are for the purpose, and by "scopes" for that.
	Notes map[string]string `json:"notes,omitempty"`
}

// SuggestedCall is one call of it.
type SuggestedCall struct {
	Operation gatehouse.Operation     `json:"call"`
	Params    map[string]policy.Shape `json:"params,omitzero"`
	Body      map[string]policy.Shape `json:"body,omitzero"`
	Fields    []string                `json:"fields,omitzero"`
	// Unlisted are names above that the platform's documents do not have.
	Unlisted []string `json:"unlisted,omitempty"`
	Seen     int64    `json:"seen"`
	First    string   `json:"first,omitempty"`
	Last     string   `json:"last,omitempty"`
	// Notes are by entry: "params.max_results", "fields", and "" for the call.
	Notes map[string]string `json:"notes,omitempty"`
}

// Suggest returns the narrowest contract of each purpose named, or of all that
// call a platform. What is declared already is narrowed and never widened, but by
// what a call carried or asked for against it.
func Suggest(s *Snapshot, d Declared, only gatehouse.PurposeName) []Suggested {
	var out []Suggested
	for _, p := range d.Purposes {
		if only != "" && p.Name != only {
			continue
		}
		out = append(out, suggest(s, d.Platforms[p.App], p))
	}
	return out
}

func suggest(s *Snapshot, p platform.Name, purpose policy.Purpose) Suggested {
	out := Suggested{Name: purpose.Name, Scopes: slices.Clone(purpose.Scopes), Notes: map[string]string{}}
	uses := s.of(purpose.Name)
	declared := map[gatehouse.Operation]policy.Call{}
	for _, c := range purpose.Calls {
		if _, twice := declared[c.Operation]; !twice {
			declared[c.Operation] = c
		}
	}
	var left []string
	for _, op := range slices.Sorted(maps.Keys(uses)) {
		if strings.HasSuffix(string(op), unknownSuffix) {
			left = append(left, fmt.Sprintf("%s that the platform's documents do not have (%s)", times(uses[op].Calls), op))
			continue
		}
		known, is := declared[op]
		if !is {
			// What is declared for any node holds for one's own.
			if method, rest, ok := strings.Cut(string(op), " /me"); ok {
				known = declared[gatehouse.Operation(method+" /{id}"+rest)]
			}
		}
		n := narrowest{p: p, used: uses[op], was: known, declared: is}
		out.Calls = append(out.Calls, n.call())
	}
	if len(out.Calls) == 0 {
		out.Unused = purpose.App != ""
		if out.Unused {
			out.Notes[""] = "Never used. It is left as it is; think of taking it out."
		}
		for _, c := range purpose.Calls {
			out.Calls = append(out.Calls, SuggestedCall{Operation: c.Operation, Params: c.Params, Body: c.Body, Fields: c.Fields})
		}
		return out
	}
	var never []string
	for _, c := range purpose.Calls {
		if uses[c.Operation] == nil {
			never = append(never, string(c.Operation))
		}
	}
	if len(never) > 0 {
		out.Notes[""] = "Left out, never seen: " + strings.Join(never, ", ") + "."
	}
	if len(left) > 0 {
		out.Notes[""] = strings.TrimSpace(out.Notes[""] + " Not suggested: " + strings.Join(left, ", ") + ".")
	}
	if p != platform.X {
		if len(out.Scopes) > 0 {
			out.Notes["scopes"] = "as they are: Meta does not document which call needs which"
		}
		return out
	}
	needed := neededScopes(p, uses)
	out.Scopes = slices.DeleteFunc(out.Scopes, func(scope string) bool { return !slices.Contains(needed, scope) })
	if dropped := len(purpose.Scopes) - len(out.Scopes); dropped > 0 {
		var names []string
		for _, scope := range purpose.Scopes {
			if !slices.Contains(needed, scope) {
				names = append(names, scope)
			}
		}
		out.Notes["scopes"] = "left out, no call needs it: " + strings.Join(names, " ")
	}
	return out
}

// narrowest makes one call's contract.
type narrowest struct {
	p        platform.Name
	used     *used
	was      policy.Call // what is declared
	declared bool
	out      SuggestedCall
}

func (n *narrowest) note(at, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if before := n.out.Notes[at]; before != "" {
		text = before + "; " + text
	}
	n.out.Notes[at] = text
}

func (n *narrowest) call() SuggestedCall {
	u := n.used
	n.out = SuggestedCall{
		Operation: u.Operation, Seen: u.Calls, First: u.First.String(), Last: u.Last.String(), Notes: map[string]string{},
	}
	if u.Calls == 0 {
		n.note("", "seen %s as an edge of another call, whose fields count; never by itself", times(u.Implied))
		n.out.Params, n.out.Fields = map[string]policy.Shape{}, []string{}
		return n.out
	}
	n.note("", "%s", u.seen())
	if u.Reported > 0 {
		n.note("", "%s only because of report mode", times(u.Reported))
	}
	n.fields()
	n.arguments()
	slices.Sort(n.out.Unlisted)
	n.out.Unlisted = slices.Compact(n.out.Unlisted)
	return n.out
}

// fields suggests the fields of the reply.
func (n *narrowest) fields() {
	u, described := n.used, true
	if n.p == platform.X {
		_, described = platform.QueryParams(string(u.Operation))
	}
	switch {
	case !described:
		return
	case u.Files > 0:
		n.note("", "no fields: it was answered with a file")
		return
	case u.Replies == 0:
		n.out.Fields = slices.Clone(n.was.Fields)
		if n.was.Fields == nil {
			n.note("", "no fields: no answer was seen that was no error")
		}
		return
	}
	var delivered, withheld []string
	for _, f := range u.sorted(InReply) {
		path := alias(n.p, f.Name)
		if !declarable(n.p, path) {
			continue
		}
		if n.was.Fields != nil && !covers(n.was.Fields, path) && !touches(n.was.Fields, path) {
			withheld = append(withheld, path)
			continue
		}
		if !f.Kinds.Has(Held) && n.below(f.Name) {
			continue // it was empty at times; what it holds says more
		}
		delivered = append(delivered, path)
	}
	// What is declared in part is delivered in part.
	for i, path := range delivered {
		if n.was.Fields != nil && !covers(n.was.Fields, path) {
			delivered[i] = ""
			for _, d := range n.was.Fields {
				if strings.HasPrefix(d, path+".") {
					delivered = append(delivered, d)
				}
			}
		}
	}
	fields := prune(delivered)
	for _, f := range u.sorted(Asked) {
		path, or, _ := strings.Cut(f.Name, " ")
		path, or = alias(n.p, path), alias(n.p, or)
		if !declarable(n.p, path) || covers(fields, path) || touches(fields, path) || or != "" && (covers(fields, or) || touches(fields, or)) {
			continue
		}
		switch i := slices.IndexFunc(withheld, func(w string) bool {
			return touches([]string{w}, path) || or != "" && touches([]string{w}, or)
		}); {
		case i >= 0:
			fields = append(fields, withheld[i])
			n.note("fields", "%s is asked for and was not declared", withheld[i])
			withheld = slices.Delete(withheld, i, i+1)
		default:
			fields = append(fields, path)
			n.note("fields", "%s is asked for and never came", path)
		}
	}
	for _, f := range fields {
		if above, ok := strings.CutSuffix(f, "access_token"); ok && n.p.Graph() && (above == "" || strings.HasSuffix(above, ".")) && !covers(fields, above+"id") {
			fields = append(fields, above+"id") // it tells whose token a handle stands for
		}
	}
	if len(withheld) > 0 {
		n.note("fields", "sent by the platform, not declared, withheld in enforce mode: %s", strings.Join(withheld, " "))
	}
	if u.OtherReply > 0 {
		n.note("fields", "%s a name came that the documents do not list: it will be left out, unless you declare it and name it under unlisted", times(u.OtherReply))
	}
	n.out.Fields = append([]string{}, prune(fields)...)
}

// declarable reports whether a contract may name a path: the envelope of a reply
// is none of its fields.
func declarable(p platform.Name, path string) bool {
	first, _, below := strings.Cut(path, ".")
	if p == platform.X && (first == "meta" || first == "errors" || first == "data") {
		return false
	}
	return (first != "data" || !below) && !strings.Contains("."+path, ".data.")
}

// below reports whether the reply had something below a path.
func (n *narrowest) below(path string) bool {
	for other := range n.used.fields[InReply] {
		if strings.HasPrefix(other, path+".") {
			return true
		}
	}
	return false
}

// prune sorts paths and leaves out what another one covers.
func prune(paths []string) []string {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == "" })
	slices.Sort(paths)
	paths = slices.Compact(paths)
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		return slices.ContainsFunc(paths, func(o string) bool { return o != p && strings.HasPrefix(p, o+".") })
	})
}

// arguments suggests params and body.
func (n *narrowest) arguments() {
	u := n.used
	whole := u.Bodies == u.Calls || u.Bodies >= u.Params
	switch {
	case u.Params == 0:
		n.out.Params = maps.Clone(n.was.Params)
		if n.was.Params == nil {
			n.note("", "no params: they are only read in report mode, or where they are declared")
		}
	case n.p.Graph() && !whole:
		n.note("", "no params: %s the body could not be read, and the Graph reads parameters there, too", times(u.Params-u.Bodies))
	default:
		n.out.Params = map[string]policy.Shape{}
		for _, f := range u.sorted(InParams) {
			n.argument("params", f, n.out.Params)
		}
		if u.OtherParams > 0 {
			n.note("", "%s a parameter came whose name is not kept: it will be refused", times(u.OtherParams))
		}
	}
	method, _, _ := strings.Cut(string(u.Operation), " ")
	switch {
	case n.p == platform.X && method == "GET" && len(u.fields[InBody]) == 0:
	case u.Bodies == 0 && (u.Params == 0 || n.was.Body != nil):
		n.out.Body = maps.Clone(n.was.Body)
	case n.p == platform.X && u.Bodies < u.Params:
		n.note("", "no body: %s it could not be read", times(u.Params-u.Bodies))
	case u.Bodies == 0, n.p.Graph() && (!whole || len(u.fields[InBody]) == 0):
	default:
		n.out.Body = map[string]policy.Shape{}
		for _, f := range u.sorted(InBody) {
			n.argument("body", f, n.out.Body)
		}
		if u.OtherBody > 0 {
			n.note("", "%s a field of the body came whose name is not kept: it will be refused", times(u.OtherBody))
		}
	}
}

// argument suggests one parameter, or field of the body.
func (n *narrowest) argument(heading string, f *Field, into map[string]policy.Shape) {
	switch {
	case !f.Kinds.Has(Bound): // paging, which is free
		return
	case f.Kinds.Has(Selects) && n.out.Fields != nil: // fields governs it
		return
	case strings.ContainsAny(f.Name, "[") && n.p == platform.X && heading == "body":
		return
	case f.Kinds.Has(IsObject) && !f.Kinds.Has(IsList) && n.holds(f): // declared with what is in it
		return
	}
	at := heading + "." + f.Name
	s, why := n.shape(heading, f)
	was, known := n.was.Params[f.Name]
	if !known {
		was, known = n.was.Body[f.Name]
	}
	bare := policy.Shape{Type: was.Type, Required: was.Required}
	switch {
	case known && fmt.Sprint(was) != fmt.Sprint(bare) && fits(was, f):
		s, why = was, "as it is declared"
	case known && was.Required:
		s.Required = true
	case !known && (n.was.Params != nil || n.was.Body != nil) && !f.Kinds.Has(InPath):
		why += ", not declared until now"
	}
	into[f.Name] = s
	if f.Kinds.Has(InPath) {
		n.out.Notes[at] = "in the path"
	} else if read := map[string]int64{"params": n.used.Params, "body": n.used.Bodies}[heading]; f.Seen >= read {
		n.out.Notes[at] = "in each call"
	} else {
		n.out.Notes[at] = fmt.Sprintf("in %d of %d calls", f.Seen, read)
	}
	n.note(at, "%s", why)
	if n.unlisted(heading, f) {
		n.out.Unlisted = append(n.out.Unlisted, f.Name)
		n.note(at, "no document lists it")
	}
}

// holds reports whether names below an object's were kept.
func (n *narrowest) holds(f *Field) bool {
	for name := range n.used.fields[f.Place] {
		if strings.HasPrefix(name, f.Name+".") {
			return true
		}
	}
	return false
}

// unlisted reports whether the configuration wants a name under unlisted.
func (n *narrowest) unlisted(heading string, f *Field) bool {
	op := string(n.used.Operation)
	inPath := strings.Contains(op, "{"+f.Name+"}")
	if known, described := platform.GraphParams(n.p, op); n.p != platform.X {
		// Without the brackets or members that clients write lists and objects with.
		bare, _, _ := strings.Cut(f.Name, "[")
		bare, _, _ = strings.Cut(bare, ".")
		return described && !known[bare] && !(heading == "params" && inPath)
	}
	if heading == "body" {
		return !strings.HasPrefix(op, "POST /1.1/") && platform.UnknownField(n.p, f.Name) != ""
	}
	known, described := platform.QueryParams(op)
	_, listed := known[f.Name]
	return described && !listed && !inPath
}
