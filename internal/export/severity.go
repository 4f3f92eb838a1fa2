package export

import (
	"slices"
	"strings"

	"gatehouse/internal/audit"
)

// A Severity says how much an entry matters, by the names of syslog.
type Severity string

// The severities that entries have, the least first.
const (
	Info     Severity = "info"
	Notice   Severity = "notice"
	Warning  Severity = "warning"
	Error    Severity = "error"
	Critical Severity = "critical"
)

// Severities returns them, the least first.
func Severities() []Severity { return []Severity{Info, Notice, Warning, Error, Critical} }

// rank orders severities; an unknown one comes before all.
func (s Severity) rank() int { return slices.Index(Severities(), s) }

// grave are the actions that matter whatever came of them.
var grave = map[string]Severity{
	damaged:               Critical,
	"log.accept":          Warning,
	"log.clock":           Warning,
	"log.close":           Critical,
	"log.tampered":        Critical,
	"log.export.gap":      Error,
	"log.export.rejected": Error,
	"log.export.stuck":    Error,
	"keys.kms.lost":       Error,
	"keys.destroy":        Notice,
	"connect.export":      Warning,
	"lineage.probing":     Warning,
	"lineage.full":        Warning,
	"duty.overdue":        Error,
	"backup.restore":      Warning,
	"audit.unregistered":  Error,
	"audit.reveal":        Notice,
	"config.apply":        Notice,
	"person.erase":        Notice,
}

// SeverityOf returns an entry's severity: that of its action if the table has one and
// it is the higher, else what became of it. Refused is a warning, failed an error,
// and aborted, or allowed in report mode only, a notice.
func SeverityOf(e *Entry) Severity {
	if e.Leaf == nil {
		return grave[damaged]
	}
	s := ofVerdict(e.Leaf)
	if g := grave[e.Leaf.Action]; g.rank() > s.rank() {
		return g
	}
	return s
}

func ofVerdict(l *audit.Leaf) Severity {
	switch l.Verdict {
	case "refuse":
		return Warning
	case "failed":
		return Error
	case "aborted", "report":
		return Notice
	}
	return Info
}

// A Filter says what a sink gets. The zero Filter lets everything through.
type Filter struct {
	// Least is the lowest severity; empty means all.
	Least Severity
	// Actions are names of actions, or beginnings of them that end in ".*". None means
	// all.
	Actions []string
}

// Lets reports whether the entry passes. A damaged one always does.
func (f *Filter) Lets(e *Entry) bool {
	if e.Leaf == nil {
		return true
	}
	if f.Least != "" && SeverityOf(e).rank() < f.Least.rank() {
		return false
	}
	return len(f.Actions) == 0 || slices.ContainsFunc(f.Actions, func(pattern string) bool {
		prefix, all := strings.CutSuffix(pattern, "*")
		return e.Leaf.Action == pattern || all && strings.HasPrefix(e.Leaf.Action, prefix)
	})
}
