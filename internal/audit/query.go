package audit

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"
)

// A Query chooses entries by everything that stands in a leaf, and by whose they are.
// What is empty chooses all; what is given has to fit, all of it. Values are compared
// exactly.
type Query struct {
	Action    string                `json:"action,omitempty"`
	App       gatehouse.AppName     `json:"app,omitempty"`
	Code      string                `json:"code,omitempty"`
	Kind      string                `json:"kind,omitempty"`
	Operation gatehouse.Operation   `json:"operation,omitempty"`
	Platform  gatehouse.Platform    `json:"platform,omitempty"`
	Purpose   gatehouse.PurposeName `json:"purpose,omitempty"`
	Rule      string                `json:"rule,omitempty"`
	Service   gatehouse.ServiceName `json:"service,omitempty"`
	Severity  Severity              `json:"severity,omitempty"`
	Verdict   string                `json:"verdict,omitempty"`
	// Operator wants what no service did: an operator, or Gatehouse itself.
	Operator bool `json:"operator,omitempty"`
	// Passed wants what was let through: intents and their outcomes.
	Passed bool `json:"passed,omitempty"`
	// Status is an HTTP status, or a class of them: 429, or 4xx.
	Status string `json:"status,omitempty"`
	// Destination is the host that something was sent to.
	Destination string `json:"destination,omitempty"`
	// Facts are facts with their values.
	Facts map[string]string `json:"facts,omitempty"`
	// Since and Until bound the time: not before Since, before Until.
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Found are those of whom one's entry it has to be; nil is everybody.
	Found []Found `json:"-"`
}

// maxFacts bounds how many facts one query may name.
const maxFacts = 16

// factDestination is the fact that names a destination, and at the same time the
// personal field where it is none of the configuration's.
const factDestination = "host"

// Validate says what of the query cannot be meant.
func (q *Query) Validate() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("searching the log: %w: %w", fmt.Errorf(format, args...), gatehouse.ErrInvalid)
	}
	if q.Code != "" && !IsCode(q.Code) {
		return wrong("code: no entry has such a code; docs/log-events.md lists them")
	}
	if q.Action != "" && actions[q.Action] == "" {
		return wrong("action: there is no such action; docs/log-events.md lists them")
	}
	if q.Severity != "" && !slices.Contains(Severities(), q.Severity) {
		return wrong("severity: it is info, notice, warning or alert")
	}
	if q.Kind != "" && verdicts[q.Kind] == nil {
		return wrong("kind: it is intent, outcome or event")
	}
	if _, known := verdictResults[q.Verdict]; !known {
		return wrong("verdict: it is one of %s", strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(verdictResults)), func(v string) bool { return v == "" }), ", "))
	}
	if q.Status != "" && !validStatus(q.Status) {
		return wrong("status: it is a number such as 429, or a class such as 4xx")
	}
	if q.Passed && q.Kind == KindEvent {
		return wrong("kind: what was let through is an intent and an outcome")
	}
	if q.Operator && q.Service != "" {
		return wrong("actor: what an operator did, no service did")
	}
	if len(q.Facts) > maxFacts {
		return wrong("fact: at most %d can be named", maxFacts)
	}
	if has, ok := q.Facts[factDestination]; ok && q.Destination != "" && has != q.Destination {
		return wrong("destination: the fact %s says another", factDestination)
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		return wrong("until: it is not after since")
	}
	return nil
}

func validStatus(s string) bool {
	if len(s) != 3 || s[0] < '1' || s[0] > '5' {
		return false
	}
	if s[1:] == "xx" {
		return true
	}
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// facts are the wanted facts with the destination.
func (q *Query) facts() map[string]string {
	if q.Destination == "" {
		return q.Facts
	}
	all := map[string]string{factDestination: q.Destination}
	maps.Copy(all, q.Facts)
	return all
}

// matches reports whether the leaf fits; whose it is does not stand there.
func (q *Query) matches(l *Leaf) bool {
	is := func(want, has string) bool { return want == "" || want == has }
	if !is(q.Action, l.Action) || !is(string(q.App), string(l.App)) || !is(q.Kind, l.Kind) || !is(string(q.Operation), string(l.Operation)) ||
		!is(string(q.Platform), string(l.Platform)) || !is(string(q.Purpose), string(l.Purpose)) || !is(q.Rule, l.Rule) ||
		!is(string(q.Service), string(l.Service)) || !is(q.Verdict, l.Verdict) || q.Operator && l.Service != "" || q.Passed && l.Kind == KindEvent {
		return false
	}
	if q.Status != "" && q.Status != strconv.Itoa(l.Status) && q.Status != statusClass(l.Status) {
		return false
	}
	for name, v := range q.facts() {
		if has, ok := l.Facts[name]; !ok || has != v {
			return false
		}
	}
	if q.Code != "" || q.Severity != "" {
		code := CodeOf(l.Action, l.Verdict)
		if !is(q.Code, code.Code) || !is(string(q.Severity), string(code.Severity)) {
			return false
		}
	}
	when := l.When()
	return (q.Since.IsZero() || !when.Before(q.Since)) && (q.Until.IsZero() || when.Before(q.Until))
}

// clauses are what a segment's terms are asked: an entry that fits has one of each.
// Those that leave the fewest entries come first.
func (q *Query) clauses() [][]uint32 {
	var all [][]uint32
	one := func(f field, v string) {
		if v != "" {
			all = append(all, []uint32{termOf(f, v)})
		}
	}
	for name, v := range q.facts() {
		one(byFact, factText(name, v))
	}
	if q.Code != "" {
		all = append(all, []uint32{termOf(byCode, q.Code), termOf(byNone, "")})
	}
	one(byRule, q.Rule)
	one(byAction, q.Action)
	one(byOperation, string(q.Operation))
	if q.Severity != "" {
		all = append(all, []uint32{termOf(bySeverity, string(q.Severity)), termOf(byNone, "")})
	}
	if len(q.Status) == 3 && q.Status[1] == 'x' {
		one(byClass, q.Status)
	} else {
		one(byStatus, q.Status)
	}
	one(byPurpose, string(q.Purpose))
	one(byService, string(q.Service))
	if q.Operator {
		all = append(all, []uint32{termOf(byService, "")})
	}
	if q.Passed {
		all = append(all, []uint32{termOf(byKind, KindIntent), termOf(byKind, KindOutcome)})
	}
	one(byApp, string(q.App))
	one(byPlatform, string(q.Platform))
	one(byVerdict, q.Verdict)
	one(byKind, q.Kind)
	return all
}

// needles are texts that the bytes of every leaf that fits contain, so that most others
// need not be decoded. A leaf's form is canonical: one content has one encoding.
func (q *Query) needles() [][]byte {
	var all [][]byte
	one := func(name, v string) {
		if v != "" {
			all = append(all, appendString(append(appendString(nil, name), ':'), v))
		}
	}
	one("action", q.Action)
	one("app", string(q.App))
	one("kind", q.Kind)
	one("operation", string(q.Operation))
	one("platform", string(q.Platform))
	one("purpose", string(q.Purpose))
	one("rule", q.Rule)
	one("service", string(q.Service))
	one("verdict", q.Verdict)
	for name, v := range q.facts() {
		one(name, v)
	}
	return all
}

// mayMatch reports whether a leaf's bytes contain all needles.
func mayMatch(leaf []byte, needles [][]byte) bool {
	for _, n := range needles {
		if !bytes.Contains(leaf, n) {
			return false
		}
	}
	return true
}
