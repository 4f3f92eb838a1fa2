package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse"
)

// The identifiers of refusals by a call's contract.
const (
	RuleUndeclaredParameter = "refuse/undeclared-parameter"
	RuleUndeclaredBodyField = "refuse/undeclared-body-field"
	RuleParameterValue      = "refuse/parameter-value"
	RuleMissingParameter    = "refuse/missing-parameter"
	RuleUndeclaredField     = "refuse/undeclared-field"
	RuleUnboundExpansion    = "refuse/unbound-expansion"
	RuleUnjudgedBody        = "refuse/unjudged-body"
)

// Contract is what a declared call may carry and may be answered with. A heading
// that was not declared is free; one that was is exhaustive. It is immutable, and
// its address is its identity within a Set.
type Contract struct {
	call   Call
	rule   string
	at     string // the call's place in the configuration
	params map[string]*shape
	body   map[string]*shape
	needed []string // names of what is required, in params or body
	fields *branch
}

// branch is a declared field with what is declared below it; one with nothing
// below is declared whole.
type branch struct{ below map[string]*branch }

// Rule is where the call is declared: "purpose/NAME/calls[N]".
func (c *Contract) Rule() string { return c.rule }

// Bounds reports which headings are declared: what the gateway has to read of a
// request in order to have it judged.
func (c *Contract) Bounds() (params, body, fields bool) {
	if c == nil {
		return false, false, false
	}
	return c.params != nil, c.body != nil, c.fields != nil
}

// Fields returns the declared fields of the reply, and whether the call declares
// any: a contract that declares none at all allows none.
func (c *Contract) Fields() ([]string, bool) {
	if c == nil || c.fields == nil {
		return nil, false
	}
	return slices.Clone(c.call.Fields), true
}

// Call returns what was declared.
func (c *Contract) Call() Call { return c.call.clone() }

func (c Call) clone() Call {
	c.Params, c.Body = maps.Clone(c.Params), maps.Clone(c.Body)
	if c.Fields != nil {
		c.Fields = append([]string{}, c.Fields...)
	}
	return c
}

// bounded reports whether the call declares anything beside itself.
func (c Call) bounded() bool { return c.Params != nil || c.Body != nil || c.Fields != nil }

// contract compiles what a call declares.
func contract(p Purpose, i int, rule string) (*Contract, error) {
	call := p.Calls[i]
	c := &Contract{call: call.clone(), rule: rule, at: fmt.Sprintf("purposes.%s.calls[%d]", p.Name, i)}
	for _, h := range []struct {
		name  string
		shape map[string]Shape
		into  *map[string]*shape
	}{{"params", call.Params, &c.params}, {"body", call.Body, &c.body}} {
		if h.shape == nil {
			continue
		}
		*h.into = make(map[string]*shape, len(h.shape))
		for _, name := range slices.Sorted(maps.Keys(h.shape)) {
			s, err := h.shape[name].compile()
			if err != nil {
				return nil, fmt.Errorf("%s.%s.%s: %w", c.at, h.name, name, err)
			}
			(*h.into)[name] = s
			if s.Required {
				c.needed = append(c.needed, name)
			}
		}
	}
	// The objects around a declared field of the body are declared with it.
	for name := range call.Body {
		for at := strings.LastIndexByte(name, '.'); at > 0; at = strings.LastIndexByte(name[:at], '.') {
			switch around := c.body[name[:at]]; {
			case around == nil:
				c.body[name[:at]] = &shape{inner: true}
			case around.inner:
			case around.Type == List:
				around.inner = true
			case around.Type != Object:
				return nil, fmt.Errorf("%s.body.%s: %s stands below it, so it is an object or a list: %w", c.at, name[:at], name, gatehouse.ErrInvalid)
			}
		}
	}
	if call.Fields != nil {
		c.fields = &branch{}
		for _, f := range call.Fields {
			c.fields.add(f)
		}
	}
	return c, nil
}

// add declares a path. What is declared whole stays whole.
func (b *branch) add(path string) {
	for more := true; more; {
		var name string
		name, path, more = strings.Cut(path, ".")
		next, known := b.below[name]
		if known && len(next.below) == 0 {
			return
		}
		if !known {
			next = &branch{}
			if b.below == nil {
				b.below = map[string]*branch{}
			}
			b.below[name] = next
		}
		if !more {
			next.below = nil
		}
		b = next
	}
}

// covers reports whether what a path asks for is declared, wholly or in part: of
// an object that is asked for whole, the reply is narrowed.
func (b *branch) covers(path string) bool {
	for more := path != ""; more; {
		var name string
		name, path, more = strings.Cut(path, ".")
		next := b.below[name]
		if next == nil {
			return false
		}
		if len(next.below) == 0 {
			return true
		}
		b = next
	}
	return true
}

// Selected is a field of the reply that a request asks for. Where the request
// does not say which of two places it means, either may be declared.
type Selected struct{ Path, Or string }

// judge looks at what a request carries. It allocates nothing when all is
// declared.
func (c *Contract) judge(r *Request) (rule, reason string) {
	if rule, reason := c.arguments(r, r.Params, c.params, "params"); rule != "" {
		return rule, reason
	}
	if r.Unjudged && (c.body != nil || r.Joined && c.params != nil) {
		return RuleUnjudgedBody, c.at + " declares what the body may hold, and this body cannot be read for that: it is too large, or neither a JSON object nor a form"
	}
	if rule, reason := c.arguments(r, r.Body, c.body, "body"); rule != "" {
		return rule, reason
	}
	for _, name := range c.needed {
		if !present(r.Params, name) && !present(r.Body, name) {
			return RuleMissingParameter, name + " is missing; " + c.at + " requires it"
		}
	}
	if c.fields == nil {
		return "", ""
	}
	for _, s := range r.Selected {
		if !c.fields.covers(s.Path) && (s.Or == "" || !c.fields.covers(s.Or)) {
			return RuleUndeclaredField, "the field " + quoted(s.Path) + " is asked for and not declared; add it to " + c.at + ".fields, or do not ask for it"
		}
	}
	return "", ""
}

func present(list []Argument, name string) bool {
	for i := range list {
		if list[i].Name == name && list[i].Kind != IsNull {
			return true
		}
	}
	return false
}

// arguments judges one heading's values. On the Graph, where a parameter counts
// the same wherever it stands, both headings bound all of them.
func (c *Contract) arguments(r *Request, list []Argument, own map[string]*shape, heading string) (rule, reason string) {
	other := c.body
	if heading == "body" {
		other = c.params
	}
	if !r.Joined {
		other = nil
	}
	if own == nil && other == nil {
		return "", ""
	}
	skip := "" // below an object that is declared whole
	for i := range list {
		a := &list[i]
		if skip != "" && len(a.Name) > len(skip) && a.Name[:len(skip)] == skip && a.Name[len(skip)] == '.' {
			continue
		}
		if skip != "" && a.Name == skip && a.In {
			continue
		}
		skip = ""
		s, at := own[a.Name], heading
		if s == nil && other != nil {
			if s = other[a.Name]; s != nil {
				at = map[bool]string{true: "body", false: "params"}[heading == "params"]
			}
		}
		if s == nil {
			if a.Free || a.Path || a.Selects && c.fields != nil {
				continue
			}
			if heading == "body" {
				return RuleUndeclaredBodyField, "the body's " + quoted(a.Name) + " is not declared; add it to " + c.at + ".body, or leave it out"
			}
			return RuleUndeclaredParameter, "the parameter " + quoted(a.Name) + " is not declared; add it to " + c.at + ".params, or leave it out"
		}
		if f := s.judge(*a); f != fine {
			return RuleParameterValue, "the value of " + quoted(a.Name) + " is not what " + c.at + "." + at + "." + quoted(a.Name) + "." + string(f) + " demands" + s.demand(f)
		}
		if s.Type == Object {
			skip = a.Name
		}
	}
	return "", ""
}

// demand says what was declared.
func (s *shape) demand(f fault) string {
	switch f {
	case badType:
		if s.Type != "" {
			return " (" + string(s.Type) + ")"
		}
	case tooSmall:
		return " (at least " + strconv.Itoa(s.Min) + ")"
	case tooLarge:
		return " (at most " + strconv.Itoa(s.Max) + ")"
	case tooMany:
		return " (at most " + strconv.Itoa(s.Entries) + ")"
	}
	return ""
}

// quoted is a name of the caller's as an error may repeat it: short, and in
// characters that mean nothing to whoever reads it.
func quoted(name string) string {
	const most = 64
	var b strings.Builder
	for i := 0; i < len(name) && i < most; i++ {
		c := name[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_.-{}[]()", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.WriteByte('?')
		}
	}
	return b.String()
}

// Contract returns the contract of a purpose's call; nil when the purpose does
// not declare the operation, or declares nothing beside it.
func (s *Set) Contract(purpose gatehouse.PurposeName, op gatehouse.Operation) *Contract {
	c := s.purposes[purpose]
	if c == nil {
		return nil
	}
	return c.rules[op].contract
}
