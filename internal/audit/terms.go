package audit

import (
	"hash/fnv"
	"strconv"
)

// A field is one of those that every leaf is found by.
type field string

// The fields of terms. What stands in a leaf is nobody's, so the terms may outlive
// every erasure.
const (
	byAction    field = "action"
	byApp       field = "app"
	byCode      field = "code"
	byFact      field = "fact"
	byKind      field = "kind"
	byOperation field = "operation"
	byPlatform  field = "platform"
	byPurpose   field = "purpose"
	byRule      field = "rule"
	byService   field = "service"
	bySeverity  field = "severity"
	byStatus    field = "status"
	byClass     field = "class"
	byVerdict   field = "verdict"
	// byNone is on entries whose action this program does not know: their code may be
	// another to one that does.
	byNone field = "none"
	// byOpen is on intents without an outcome in their segment, and on outcomes without
	// an intent there.
	byOpen field = "open"
)

// termsVersion is that of the terms of a leaf, and of how segments are written. With
// another one, segments are made anew.
const termsVersion = 1

// termOf is the hash that stands for a value. Two values may have the same: whatever is
// found is compared with the leaf.
func termOf(f field, value string) uint32 {
	h := fnv.New64a()
	b := make([]byte, 0, 128)
	b = append(append(append(b, f...), 0), value...)
	_, _ = h.Write(b) // never fails
	sum := h.Sum64()
	return uint32(sum>>32) ^ uint32(sum)
}

// factText is how a fact stands in a term.
func factText(name, value string) string { return name + "=" + value }

// statusClass is the class of an HTTP status, such as 4xx.
func statusClass(status int) string { return strconv.Itoa(status/100) + "xx" }

// terms calls add for every term of the leaf. A term that is left out here is never
// found: a change needs a new termsVersion.
func (l *Leaf) terms(add func(uint32)) {
	value := func(f field, v string) {
		if v != "" {
			add(termOf(f, v))
		}
	}
	value(byAction, l.Action)
	value(byApp, string(l.App))
	value(byKind, l.Kind)
	value(byOperation, string(l.Operation))
	value(byPlatform, string(l.Platform))
	value(byPurpose, string(l.Purpose))
	value(byRule, l.Rule)
	// Without a service, too: then an operator did it, or Gatehouse itself.
	add(termOf(byService, string(l.Service)))
	value(byVerdict, l.Verdict)
	if l.Status != 0 {
		add(termOf(byStatus, strconv.Itoa(l.Status)))
		add(termOf(byClass, statusClass(l.Status)))
	}
	code := CodeOf(l.Action, l.Verdict)
	add(termOf(byCode, code.Code))
	add(termOf(bySeverity, string(code.Severity)))
	if _, known := classes[l.Action]; !known {
		add(termOf(byNone, ""))
	}
	for name, v := range l.Facts {
		add(termOf(byFact, factText(name, v)))
	}
}
