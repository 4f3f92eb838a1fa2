package lineage

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse"
)

// Diagram is the data-flow description: from the platforms, for purposes, to
// services, to others. It is made from what was observed, and names no person.
type Diagram struct {
	Environment  gatehouse.Environment
	Since, Until time.Time
	// columns are sources, purposes, services and destinations.
	columns [4][]*node
	links   []*link
}

// columnNames head the columns.
var columnNames = [4]string{"Platforms", "Purposes", "Services", "Third parties"}

// node is one box. Of what came through it, kinds are counted.
type node struct {
	column int
	name   string
	kinds  map[kindKey]*tally
	// in the picture:
	x, y, height float64
}

// link leads from a box to one in the next column.
type link struct {
	from, to *node
	kinds    map[kindKey]*tally
}

type kindKey struct {
	class   gatehouse.DataClass
	verdict Verdict
}

type tally struct{ count int64 }

func count(kinds map[kindKey]*tally, k kindKey, n int64) {
	if kinds[k] == nil {
		kinds[k] = &tally{}
	}
	kinds[k].count += n
}

// Diagram returns the description of a time; zero times are unbounded. It looks at
// all flows of that time, which takes as long as there are many.
func (l *Lineage) Diagram(ctx context.Context, environment gatehouse.Environment, since, until time.Time) (*Diagram, error) {
	totals, err := l.Totals(ctx, since, until)
	if err != nil {
		return nil, err
	}
	return newDiagram(environment, since, until, totals), nil
}

// Totals returns what the diagram of a time is made from: what went each way. It names
// no person. That it was asked is in the log.
func (l *Lineage) Totals(ctx context.Context, since, until time.Time) ([]Total, error) {
	q := Question{Since: since, Until: until}
	s, err := q.selection()
	if err != nil {
		return nil, err
	}
	if err := l.asked(ctx, &q, ""); err != nil {
		return nil, err
	}
	return l.store.Totals(ctx, s.Since, s.Until)
}

func newDiagram(environment gatehouse.Environment, since, until time.Time, totals []Total) *Diagram {
	d := &Diagram{Environment: environment, Since: since, Until: until}
	nodes := [4]map[string]*node{{}, {}, {}, {}}
	links := map[[2]*node]*link{}
	at := func(column int, name string) *node {
		n := nodes[column][name]
		if n == nil {
			n = &node{column: column, name: name, kinds: map[kindKey]*tally{}}
			nodes[column][name] = n
		}
		return n
	}
	join := func(a, b *node, k kindKey, n int64) {
		l := links[[2]*node{a, b}]
		if l == nil {
			l = &link{from: a, to: b, kinds: map[kindKey]*tally{}}
			links[[2]*node{a, b}] = l
		}
		count(l.kinds, k, n)
	}
	for i := range totals {
		t := &totals[i]
		w, k := &t.Way, kindKey{t.Way.Class, t.Way.Verdict}
		service := at(2, string(w.Service))
		if w.Kind == Sending {
			to := at(3, w.Destination)
			count(to.kinds, k, t.Seen)
			join(service, to, k, t.Seen)
			continue
		}
		source, purpose := at(0, fmt.Sprintf("%s: %s", w.Platform, w.App)), at(1, orUnknown(string(w.Purpose)))
		for _, n := range []*node{source, purpose, service} {
			count(n.kinds, k, t.Seen)
		}
		join(source, purpose, k, t.Seen)
		join(purpose, service, k, t.Seen)
	}
	for i := range nodes {
		d.columns[i] = slices.SortedFunc(maps.Values(nodes[i]), func(a, b *node) int { return cmp.Compare(a.name, b.name) })
	}
	d.links = slices.SortedFunc(maps.Values(links), func(a, b *link) int {
		return cmp.Or(cmp.Compare(a.from.column, b.from.column), cmp.Compare(a.from.name, b.from.name), cmp.Compare(a.to.name, b.to.name))
	})
	return d
}

// lines say what kinds came, the greatest first.
func lines(kinds map[kindKey]*tally) []string {
	keys := slices.SortedFunc(maps.Keys(kinds), func(a, b kindKey) int {
		return cmp.Or(cmp.Compare(kinds[b].count, kinds[a].count), cmp.Compare(a.class, b.class), cmp.Compare(a.verdict, b.verdict))
	})
	list := make([]string, 0, len(keys))
	for _, k := range keys {
		text := fmt.Sprintf("%s × %s", k.class, grouped(kinds[k].count))
		if k.verdict != Passed {
			text += " (" + string(k.verdict) + ")"
		}
		list = append(list, text)
	}
	return list
}

// grouped writes a number with a thin space between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// title says what the diagram is of.
func (d *Diagram) title() string {
	period := "all that is on record"
	if !d.Since.IsZero() || !d.Until.IsZero() {
		period = "from " + dayOr(d.Since, "the beginning") + " to " + dayOr(d.Until, "today")
	}
	return "Data flows of " + string(d.Environment) + ", " + period
}

func dayOr(t time.Time, otherwise string) string {
	if t.IsZero() {
		return otherwise
	}
	return t.UTC().Format(time.DateOnly)
}

// Text writes the description as text.
func (d *Diagram) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", d.title())
	if len(d.links) == 0 {
		b.WriteString("\nNo flows were observed.\n")
	} else {
		b.WriteString(legend + "\n")
	}
	for column := range 3 {
		first := true
		for _, l := range d.links {
			if l.from.column != column {
				continue
			}
			if first {
				fmt.Fprintf(&b, "\n%s → %s\n", columnNames[column], columnNames[column+1])
				first = false
			}
			fmt.Fprintf(&b, "  %s → %s\n", l.from.name, l.to.name)
			for _, line := range lines(l.kinds) {
				fmt.Fprintf(&b, "      %s\n", line)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
