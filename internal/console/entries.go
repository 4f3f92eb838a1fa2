package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EntryLine is an entry of the log in a list. It names no person.
type EntryLine struct {
	// Intent is the id of the intent whose outcome it is, if it is one.
	Intent string

	ID, Kind, Action, Verdict, Rule, Code, Severity string
	Service, Purpose, Operation                     string
	Status                                          int
	Bytes                                           int64
	At                                              time.Time
}

// entryHref is where an entry of the log is shown.
func entryHref(id string) string { return "/log/" + url.PathEscape(id) }

// dutyHref is where a duty is shown.
func dutyHref(id string) string { return "/people/duties/" + url.PathEscape(id) }

// connectionHref is where a connection is shown, and personHref a person.
func connectionHref(id string) string { return "/connections/" + url.PathEscape(id) }
func personHref(id string) string     { return "/people/" + url.PathEscape(id) }

// folded leaves out intents whose outcome is in the list too: the outcome says how it
// ended, and gets the rule that let it begin.
func folded(list []EntryLine) []EntryLine {
	rules, ended := map[string]string{}, map[string]bool{}
	for _, e := range list {
		if e.Kind == "intent" {
			rules[e.ID] = e.Rule
		}
		ended[e.Intent] = true
	}
	out := make([]EntryLine, 0, len(list))
	for _, e := range list {
		if e.Kind == "intent" && ended[e.ID] {
			continue
		}
		if e.Rule == "" {
			e.Rule = rules[e.Intent]
		}
		out = append(out, e)
	}
	return out
}

// entryTable lists entries of the log, each leading to itself.
func entryTable(v *visit, caption string, list []EntryLine, empty Empty) Table {
	t := Table{Caption: caption, Empty: empty, Columns: []Column{
		{Name: "When"}, {Name: "Action"}, {Name: "Outcome"}, {Name: "Operation"}, {Name: "Service"}, {Name: "Status", Number: true}, {Name: "Rule"}, {Name: "Entry"},
	}}
	for _, e := range folded(list) {
		verdict := verdictCell(e.Verdict)
		if e.Kind == "intent" {
			verdict = badgeCell(Off, "begun")
		}
		t.Rows = append(t.Rows, Row{Cells: []Cell{
			clockCell(e.At), textCell(e.Action), verdict, textCell(e.Operation), textCell(e.Service), statusCell(e), textCell(e.Rule), idCell(e.ID, v.reach(entryHref(e.ID))),
		}})
	}
	return t
}

// statusCell is the status of an answer. What went through and was refused on the other
// side stands out: its outcome is "done", for Gatehouse did what it was asked for.
func statusCell(e EntryLine) Cell {
	switch {
	case e.Status == 0:
		return textCell("")
	case e.Status >= 400 && e.Verdict == "done":
		return badgeCell(Warn, strconv.Itoa(e.Status))
	}
	return Cell{Kind: "number", Text: strconv.Itoa(e.Status)}
}

// sortedKeys are the keys of a map in order of what by says of them.
func sortedKeys[K comparable, V any](m map[K]V, by func(K) string) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b K) int { return strings.Compare(by(a), by(b)) })
	return out
}
