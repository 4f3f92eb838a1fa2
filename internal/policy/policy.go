// Package policy decides whether a call may be made for a purpose. It owns the
// compiled purposes and the one function that judges, [Set.Decide].
//
// It promises that a decision is pure and total: the same request on the same
// set gives the same answer, every request gets one, and the answer names the
// rule that gave it. It must never do I/O, read the clock, or allow what no
// purpose declares.
package policy

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse"
)

// Mode says what happens to a call that no purpose declares.
type Mode uint8

const (
	// Enforce refuses it. This is the zero value.
	Enforce Mode = iota
	// Report allows it and flags it: for getting started, and a dated exception
	// on the posture page.
	Report
)

// String returns the mode as the configuration spells it.
func (m Mode) String() string {
	if m == Report {
		return "report"
	}
	return "enforce"
}

// ParseMode reads "enforce" or "report"; empty means enforce.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "", "enforce":
		return Enforce, nil
	case "report":
		return Report, nil
	}
	return Enforce, fmt.Errorf(`mode is "enforce" or "report", not %q: %w`, s, gatehouse.ErrInvalid)
}

// Call is one operation that a purpose declares, in the normal form of package
// platform: "GET /2/users/{id}", "POST /{id}/feed". Of Params, Body and Fields,
// nil is free, and anything else is exhaustive.
type Call struct {
	Operation gatehouse.Operation
	// Params are the parameters that it may carry in its query, and parts of its
	// path by the names in Operation.
	Params map[string]Shape
	// Body are the fields that its body may hold, with the path to each:
	// "text", "poll.options".
	Body map[string]Shape
	// Fields are what its reply may hold, with the path to each, as package
	// platform narrows it: "id", "public_metrics.like_count", "includes.users.name".
	Fields []string
}

// Purpose is a declared reason for using people's data. One without App is for
// data that the app itself has about people: it allows no call.
type Purpose struct {
	Name   gatehouse.PurposeName
	Why    string
	App    gatehouse.AppName
	Scopes []string
	Calls  []Call
}

// Set is the compiled purposes of one configuration. It is immutable: a new
// configuration is a new Set.
type Set struct {
	mode         Mode
	purposes     map[gatehouse.PurposeName]*compiled
	destinations map[string]*destination // by host; see WithDestinations
}

// compiled is a purpose with its calls indexed. The rules are made here, so that
// deciding builds no strings.
type compiled struct {
	purpose Purpose
	rules   map[gatehouse.Operation]declared
}

// declared is where an operation stands, and what it may carry.
type declared struct {
	rule     string
	contract *Contract // nil: the operation alone is declared
	implied  bool      // by a declaration of any node's
}

// Compile checks purposes and indexes them. Errors name the entry.
func Compile(purposes []Purpose, mode Mode) (*Set, error) {
	s := &Set{mode: mode, purposes: make(map[gatehouse.PurposeName]*compiled, len(purposes))}
	for i, p := range purposes {
		switch {
		case p.Name == "":
			return nil, fmt.Errorf("purposes[%d]: name is missing: %w", i, gatehouse.ErrInvalid)
		case strings.TrimSpace(p.Why) == "":
			return nil, fmt.Errorf("purposes.%s.why: say what the data is used for: %w", p.Name, gatehouse.ErrInvalid)
		case p.App == "" && len(p.Scopes)+len(p.Calls) > 0:
			return nil, fmt.Errorf("purposes.%s.app: name the app registration that the scopes and calls are of: %w", p.Name, gatehouse.ErrInvalid)
		case s.purposes[p.Name] != nil:
			return nil, fmt.Errorf("purposes.%s: declared twice: %w", p.Name, gatehouse.ErrInvalid)
		}
		c, err := compile(p)
		if err != nil {
			return nil, err
		}
		s.purposes[p.Name] = c
	}
	return s, nil
}

// me is how the Graph API lets a caller write its own id.
const (
	anyNode = "/{id}"
	ownNode = "/me"
)

func compile(p Purpose) (*compiled, error) {
	p = p.clone()
	c := &compiled{purpose: p, rules: make(map[gatehouse.Operation]declared, 2*len(p.Calls))}
	for i, call := range p.Calls {
		found := declared{rule: fmt.Sprintf("purpose/%s/calls[%d]", p.Name, i)}
		method, path, ok := strings.Cut(string(call.Operation), " ")
		if !ok || method == "" || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf(`purposes.%s.calls[%d]: %q is not "METHOD /path": %w`, p.Name, i, call.Operation, gatehouse.ErrInvalid)
		}
		if call.bounded() {
			var err error
			if found.contract, err = contract(p, i, found.rule); err != nil {
				return nil, err
			}
		}
		// The first declaration counts, but before what one of any node implies.
		if was, twice := c.rules[call.Operation]; !twice || was.implied {
			c.rules[call.Operation] = found
		}
		// Whoever may read any node may read the one that the token stands for;
		// the reverse is not so.
		if rest, ok := strings.CutPrefix(path, anyNode); ok && (rest == "" || rest[0] == '/') {
			own := gatehouse.Operation(method + " " + ownNode + rest)
			if _, known := c.rules[own]; !known {
				found.implied = true
				c.rules[own] = found
			}
		}
	}
	return c, nil
}

// Mode returns the set's mode.
func (s *Set) Mode() Mode { return s.mode }

// Purpose returns a declared purpose.
func (s *Set) Purpose(name gatehouse.PurposeName) (Purpose, bool) {
	c := s.purposes[name]
	if c == nil {
		return Purpose{}, false
	}
	return c.purpose.clone(), true
}

func (p Purpose) clone() Purpose {
	p.Scopes, p.Calls = slices.Clone(p.Scopes), slices.Clone(p.Calls)
	for i := range p.Calls {
		p.Calls[i] = p.Calls[i].clone()
	}
	return p
}

// Names lists the declared purposes, sorted.
func (s *Set) Names() []gatehouse.PurposeName {
	names := make([]gatehouse.PurposeName, 0, len(s.purposes))
	for name := range s.purposes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
