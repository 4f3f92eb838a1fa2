package console

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Tone says how something is, for colour and for those who do not see it.
type Tone string

// The tones.
const (
	Plain Tone = ""
	Good  Tone = "good"
	Warn  Tone = "warn"
	Bad   Tone = "bad"
	Off   Tone = "off"
)

// Badge is a state in a word.
type Badge struct {
	Tone Tone
	Text string
}

// Tile is a figure. Href opens what is behind it: the entries that prove it.
type Tile struct {
	Label, Value string
	Note         string
	Tone         Tone
	Href         string
}

// Table is a list of things. On a narrow screen each row becomes a card in which every
// cell has its column's name.
type Table struct {
	// Caption says what is listed, for those who cannot see it.
	Caption string
	Columns []Column
	Rows    []Row
	// Empty is shown instead when there are no rows.
	Empty Empty
	// Pager is the zero value when everything is on one page.
	Pager Pager
	// Live and LiveMost name the stream that puts new rows first; "" is none.
	Live     string
	LiveMost int
}

// Column is a heading. Sort is the address that sorts by it, "" when nothing does;
// Sorted is "ascending", "descending" or "".
type Column struct {
	Name, Sort, Sorted string
	Number             bool
	// Aside is not shown on a narrow screen: the row leads to a page that says it too.
	Aside bool
}

// Row is one thing of a list.
type Row struct{ Cells []Cell }

// Cell is a value of a row; the functions below make one.
type Cell struct {
	Kind, Text, Href string
	Badge            Badge
	Time             time.Time
	Button           *Button
}

// Button is a form that has nothing but a button.
type Button struct {
	Action, Label string
	// Fields are sent with it.
	Fields []Hidden
	Danger bool
}

// Hidden is a field that the form sends and nobody sees.
type Hidden struct{ Name, Value string }

func textCell(s string) Cell             { return Cell{Kind: "text", Text: s} }
func linkCell(s, href string) Cell       { return Cell{Kind: "link", Text: s, Href: href} }
func codeCell(s string) Cell             { return Cell{Kind: "code", Text: s} }
func countCell(n int64) Cell             { return Cell{Kind: "number", Text: count(n)} }
func timeCell(t time.Time) Cell          { return Cell{Kind: "time", Time: t} }
func clockCell(t time.Time) Cell         { return Cell{Kind: "clock", Time: t} }
func badgeCell(tone Tone, s string) Cell { return Cell{Kind: "badge", Badge: Badge{tone, s}} }
func buttonCell(b Button) Cell           { return Cell{Kind: "button", Button: &b} }

// classOf are the classes of a cell: what does not break in a wide table, and what has
// room beside another in a narrow one.
func classOf(column Column, c Cell) string {
	var out []string
	if column.Number {
		out = append(out, "number")
	}
	if column.Aside {
		out = append(out, "aside")
	}
	said := c.Text
	switch c.Kind {
	case "time":
		said = ago(c.Time)
	case "clock":
		said = clock(c.Time)
	case "badge":
		said = c.Badge.Text + "  "
	case "id":
		said = brief(c.Text) + "  "
	}
	n := utf8.RuneCountInString(said)
	if c.Kind == "text" && n > 0 && (n <= 12 || n <= 24 && !strings.Contains(said, " ")) {
		out = append(out, "word")
	}
	if c.Kind != "button" && n > 0 && utf8.RuneCountInString(column.Name)+n <= 18 {
		out = append(out, "half")
	}
	return strings.Join(out, " ")
}

// dropEmpty leaves out columns in which no row says anything.
func (t *Table) dropEmpty() {
	for i := len(t.Columns) - 1; i >= 0; i-- {
		says := func(r Row) bool {
			return r.Cells[i].Kind != "text" || r.Cells[i].Text != "" && r.Cells[i].Text != "–"
		}
		if len(t.Rows) == 0 || slices.ContainsFunc(t.Rows, says) {
			continue
		}
		t.Columns = slices.Delete(t.Columns, i, i+1)
		for j := range t.Rows {
			t.Rows[j].Cells = slices.Delete(t.Rows[j].Cells, i, i+1)
		}
	}
}

// Pager leads to the pages before and after. Text says where one is.
type Pager struct{ Text, Before, After string }

// Empty is what a page says when there is nothing to show: why, and what to do.
type Empty struct {
	Title, Text string
	// Command is what one would type, "" for none; Href and Link lead on.
	Command, Href, Link string
}

// Filter is a form that narrows a list. It works by the address, so that a view can be
// kept and handed on.
type Filter struct {
	Action string
	Fields []Field
	// Clear is the address without any filter; "" when none is in force.
	Clear string
}

// Field is one field of a form.
type Field struct {
	Name, Label, Value, Hint, Placeholder string
	// Type is an input's type; "" is text, and "select" takes Options.
	Type         string
	Options      []Option
	Autocomplete string
	Required     bool
	Max          int
}

// Option is one choice of a field.
type Option struct {
	Value, Label string
	Selected     bool
}

// options makes a field's choices out of pairs of value and label.
func options(selected string, pairs ...string) []Option {
	out := make([]Option, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		out = append(out, Option{pairs[i], pairs[i+1], pairs[i] == selected})
	}
	return out
}

// Danger is the form of something that cannot be taken back.
type Danger struct {
	Title string
	// Will are sentences that say what will happen.
	Will   []string
	Action string
	Fields []Hidden
	// Word is what must be typed; Button what the button says.
	Word, Button string
	// Approval says whose consent is needed beside one's own; "" for nobody's.
	Approval string
	// ID tells the fields of several on one page apart; "" where there is one.
	ID string
}

// Progress is long work under way. Total zero means that nobody knows.
type Progress struct {
	Label       string
	Done, Total int64
}

// Percent returns how far it is.
func (p Progress) Percent() string {
	if p.Total <= 0 {
		return ""
	}
	return strconv.FormatInt(100*min(p.Done, p.Total)/p.Total, 10) + " %"
}

// Pairs is a list of names and values: the facts about one thing.
type Pairs []Pair

// Pair is one fact.
type Pair struct {
	Name  string
	Value Cell
}

// pager pages through a list by number: page from 0, so many rows each, total of all,
// or less than zero when nobody counts them and more says whether there are others.
func pager(u *url.URL, page, size, rows int, more bool, total int64) Pager {
	var p Pager
	if page > 0 {
		before := ""
		if page > 1 {
			before = strconv.Itoa(page - 1)
		}
		p.Before = withQuery(u, "page", before)
	}
	if more {
		p.After = withQuery(u, "page", strconv.Itoa(page+1))
	}
	if rows > 0 && (p.Before != "" || p.After != "") {
		p.Text = count(int64(page*size+1)) + "–" + count(int64(page*size+rows))
		if total >= 0 {
			p.Text += " of " + count(total)
		}
	}
	return p
}

// sortable returns a column that the list can be sorted by: by and down are how it is
// sorted now.
func sortable(u *url.URL, name, key, by string, down bool) Column {
	c := Column{Name: name}
	order := key
	if by == key {
		c.Sorted = "ascending"
		if down {
			c.Sorted = "descending"
		} else {
			order = "-" + key
		}
	}
	c.Sort = withQuery(u, "sort", order, "page", "")
	return c
}

// passkeyForm is a form that a browser fills in with a passkey: Kind is "get" to show
// one, "create" to make one.
type passkeyForm struct{ Kind, Action, Button, Return string }
