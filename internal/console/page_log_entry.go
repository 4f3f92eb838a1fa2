package console

import (
	"net/url"
	"strconv"
	"strings"

	"gatehouse/internal/identity/operator"
)

// NamedValue is a field of an entry.
type NamedValue struct{ Name, Value string }

// LogEntry is one entry of the log. What belongs to a person is sealed: of that it has
// the names.
type LogEntry struct {
	EntryLine
	Node                       string
	Seq                        int64
	App, Platform, Environment string
	// Meaning is what the action means.
	Meaning  string
	Controls []string
	Facts    []NamedValue
	Personal []string
	// Intent is the entry that announced this one, and Outcomes how that ended.
	Began    *EntryLine
	Outcomes []EntryLine
	// NotNear says that the outcome of an intent, if there is one, is not among the entries
	// that follow it soon, and that all were not looked through.
	NotNear bool
}

// endedAs says what a verdict means.
func endedAs(e LogEntry) string {
	if e.NotNear {
		return "It was allowed, and written down before it was done. How it ended is not among the entries that follow it soon; 'gatehouse audit show' looks further."
	}
	if e.Kind == "intent" {
		return "It was allowed, and written down before it was done; its outcome says how it ended."
	}
	switch e.Verdict {
	case "allow", "done", "":
		return "It was done."
	case "refuse":
		return "Gatehouse refused it: it did not happen."
	case "failed":
		return "It was begun and did not come about."
	case "aborted":
		return "It was broken off."
	case "report":
		return "Report mode let it pass; enforce mode would refuse it."
	}
	return ""
}

func severitySays(s string) string {
	switch s {
	case "alert":
		return "alert: it needs somebody now"
	case "warning":
		return "warning: it is to be looked at"
	case "notice":
		return "notice: it changes who may do what, or is rare"
	}
	return "info: it is everyday"
}

// entryData is what the page of one entry shows.
type entryData struct {
	E        LogEntry
	Badge    Badge
	Verdict  Cell
	Ended    string
	Facts    Pairs
	More     Pairs
	Related  Table
	Opened   []NamedValue
	Reveal   bool
	RevealAt string
	Proof    string
}

func (p logPage) one(v *visit) error {
	data, err := p.entry(v)
	if err != nil {
		return err
	}
	return v.show("entry.html", "Entry", data)
}

func (p logPage) entry(v *visit) (entryData, error) {
	e, err := p.from.Entry(v.context(), v.r.PathValue("id"))
	if err != nil {
		return entryData{}, err
	}
	data := entryData{E: e, Badge: Badge{severityTone(e.Severity), e.Code}, Verdict: outcomeCell(e.EntryLine), Ended: endedAs(e), Proof: entryHref(e.ID) + "/proof", RevealAt: entryHref(e.ID) + "/reveal"}
	if m := strings.TrimSuffix(e.Meaning, "."); m != "" {
		data.E.Meaning = m + "."
	}
	data.Reveal = len(e.Personal) > 0 && v.may(logReveal)
	add := func(name, value string) {
		if value != "" {
			data.Facts = append(data.Facts, Pair{name, textCell(value)})
		}
	}
	data.Facts = Pairs{{"When", Cell{Kind: "text", Text: e.At.UTC().Format("2 Jan 2006, 15:04:05.000000 UTC")}}, {"Severity", textCell(severitySays(e.Severity))}}
	add("Service", e.Service)
	add("Purpose", e.Purpose)
	add("Operation", e.Operation)
	add("Platform", e.Platform)
	add("App", e.App)
	add("Rule that decided", e.Rule)
	if e.Status != 0 {
		add("Status of the answer", strconv.Itoa(e.Status))
	}
	if e.Kind == "outcome" {
		add("Bytes of the answer", count(e.Bytes))
	}
	add("Environment", e.Environment)
	add("Kind", e.Kind)
	add("Node", e.Node)
	add("Number in the log", count(e.Seq))
	var names map[operator.AccountID]string
	for _, f := range e.Facts {
		cell := textCell(f.Value)
		if f.Name == "operator" && v.may(operatorsRead) {
			if names == nil {
				if names, err = v.names(); err != nil {
					return data, err
				}
			}
			if name := names[operator.AccountID(f.Value)]; name != "" {
				cell = linkCell(name, "/operators/"+url.PathEscape(f.Value))
			}
		}
		data.More = append(data.More, Pair{wordOf(f.Name), cell})
	}
	related := e.Outcomes
	if e.Began != nil {
		related = append([]EntryLine{*e.Began}, related...)
	}
	if len(related) > 0 {
		data.Related = logTable(v, "What belongs to it", related)
	}
	return data, nil
}

func (p logPage) reveal(v *visit, _ *nothing) (*outcome, error) {
	data, err := p.entry(v)
	if err != nil {
		return nil, err
	}
	if data.Opened, err = p.from.Reveal(v.context(), v.actor(), data.E.ID); err != nil {
		return nil, err
	}
	data.Reveal = false
	return showOnce("entry.html", "Entry", data), nil
}

func (p logPage) proof(v *visit) error {
	id := v.r.PathValue("id")
	proof, err := p.from.Proof(v.context(), id)
	if err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+fileName(id)+`.tlog-proof"`)
	_, err = v.w.Write(proof)
	return err
}

// fileName is an identifier as a name of a file.
func fileName(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, id[:min(len(id), 64)])
}
