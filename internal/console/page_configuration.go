package console

import (
	"context"
	"slices"
	"strings"
	"time"
)

// ConfigurationSource tells which configuration is in force, and how the file is.
type ConfigurationSource interface {
	Configuration(ctx context.Context) (ConfigurationView, error)
}

// ConfigurationView is what is in force on the node that answers, what other nodes
// apply, and how the file on this node's disk is.
type ConfigurationView struct {
	Path, Hash, Mode string
	// Reports is when report mode ends; zero when it is not in force.
	Reports time.Time
	Node    string
	Nodes   []AppliedLine
	File    ConfigurationFile
}

// AppliedLine is what a node applied last.
type AppliedLine struct {
	Node, Hash, Mode, Entry string
	At                      time.Time
	// Differs are the sections that say something else there. Lines are where its text
	// differs from that of the node that answers: those of Ours and those of Theirs. More
	// says that not all are there, Unknown that its text, or ours, is not known.
	Differs       []string
	Lines         []DifferingLine
	More, Unknown bool
}

// ownSections are those that every node has to itself.
var ownSections = []string{"node", "listen"}

// against says how a node's configuration compares with that of the node that answers.
func (a AppliedLine) against(hash string) Cell {
	if a.Hash == hash {
		return badgeCell(Good, "the same file")
	}
	if a.Unknown {
		return badgeCell(Warn, "another file")
	}
	var rules []string
	for _, name := range a.Differs {
		if !slices.Contains(ownSections, name) {
			rules = append(rules, name)
		}
	}
	switch {
	case len(rules) > 0:
		return badgeCell(Warn, "differs: "+strings.Join(rules, ", "))
	case len(a.Differs) > 0:
		return badgeCell(Good, "the same but for "+strings.Join(a.Differs, ", "))
	}
	return badgeCell(Good, "the same but for comments or layout")
}

// DifferingLine is a line of two texts that are compared.
type DifferingLine struct {
	Side Side
	Text string
}

// Side says which of two texts has a line.
type Side string

// The sides; Left stands for lines that both have and that are left out.
const (
	Both   Side = "both"
	Ours   Side = "ours"
	Theirs Side = "theirs"
	Left   Side = "left"
)

// Mark is what stands before the line.
func (l DifferingLine) Mark() string {
	switch l.Side {
	case Ours:
		return "-"
	case Theirs:
		return "+"
	case Left:
		return "⋮"
	}
	return " "
}

// nodeDifference is how a node's configuration differs from that of this one.
type nodeDifference struct {
	Name string
	AppliedLine
}

// ConfigurationFile is the file on the disk.
type ConfigurationFile struct {
	Hash string
	// Errors keep it from being applied; then it has no text.
	Errors, Warnings []string
	Changes          []ConfigurationChange
	// Act is what has to be done beside applying it.
	Act []string
	// Text is its content without comments: secrets are references.
	Text string
}

// ConfigurationChange is what would change, and whether that takes a restart.
type ConfigurationChange struct {
	Text    string
	Restart bool
}

// Configuration returns the page about what is applied.
func Configuration(from ConfigurationSource) Page {
	p := configurationPage{from}
	return Page{routes: []route{get("/configuration", configRead, p.show)}}
}

type configurationPage struct{ from ConfigurationSource }

func (p configurationPage) show(v *visit) error {
	c, err := p.from.Configuration(v.context())
	if err != nil {
		return err
	}
	data := struct {
		C     ConfigurationView
		Badge Badge
		Facts Pairs
		Nodes Table
		Same  bool
		Other []nodeDifference
	}{C: c, Same: len(c.File.Errors) == 0 && c.File.Hash == c.Hash}
	switch {
	case len(c.File.Errors) > 0:
		data.Badge = Badge{Bad, "the file cannot be applied"}
	case !data.Same:
		data.Badge = Badge{Warn, "the file is not applied"}
	default:
		data.Badge = Badge{Good, "the file is applied"}
	}
	mode := textCell(c.Mode)
	if !c.Reports.IsZero() {
		mode = badgeCell(Warn, c.Mode+" until "+day(c.Reports))
	}
	data.Facts = Pairs{{"File", codeCell(c.Path)}, {"In force (SHA-256)", idCell(c.Hash, "")}, {"Mode", mode}}
	if c.Node != "" {
		data.Facts = append(data.Facts, Pair{"This node", textCell(c.Node)})
	}
	data.Nodes = Table{Caption: "What each node applied last", Columns: []Column{{Name: "Node"}, {Name: "SHA-256"}, {Name: "Against this one"}, {Name: "Mode"}, {Name: "Since"}, {Name: "Entry"}}, Empty: Empty{
		Title: "The log has none yet", Text: "Each configuration that is put into force becomes an entry, with the hash of its file.",
	}}
	for _, n := range c.Nodes {
		name := n.Node
		if name == "" {
			name = "without a name"
		}
		if n.Hash != c.Hash {
			data.Other = append(data.Other, nodeDifference{name, n})
		}
		data.Nodes.Rows = append(data.Nodes.Rows, Row{Cells: []Cell{textCell(name), idCell(n.Hash, ""), n.against(c.Hash), textCell(n.Mode), timeCell(n.At), idCell(n.Entry, v.reach(entryHref(n.Entry)))}})
	}
	return v.show("configuration.html", "Configuration", data)
}
