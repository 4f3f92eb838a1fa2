package export

import (
	"slices"
	"strings"

	"gatehouse/internal/audit"
)

// CodeOf returns the entry's code and severity. An entry that cannot be read is one
// that was tampered with.
func CodeOf(e *Entry) audit.Code {
	if e.Leaf == nil {
		return audit.CodeOf("log.tampered", "refuse")
	}
	return audit.CodeOf(e.Leaf.Action, e.Leaf.Verdict)
}

// rank orders severities; an unknown one comes before all.
func rank(s audit.Severity) int { return slices.Index(audit.Severities(), s) }

// A Filter says what a sink gets. The zero Filter lets everything through.
type Filter struct {
	// Least is the lowest severity; empty means all.
	Least audit.Severity
	// Actions are names of actions, or beginnings of them that end in ".*". None means
	// all.
	Actions []string
}

// Lets reports whether the entry passes. A damaged one always does.
func (f *Filter) Lets(e *Entry) bool {
	if e.Leaf == nil {
		return true
	}
	if f.Least != "" && rank(CodeOf(e).Severity) < rank(f.Least) {
		return false
	}
	return len(f.Actions) == 0 || slices.ContainsFunc(f.Actions, func(pattern string) bool {
		prefix, all := strings.CutSuffix(pattern, "*")
		return e.Leaf.Action == pattern || all && strings.HasPrefix(e.Leaf.Action, prefix)
	})
}
