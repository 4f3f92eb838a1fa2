package config

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"gatehouse"

	"go.yaml.in/yaml/v3"
)

// WritePurposes writes a purposes section as a person would, ready to stand in the
// file. notes are comments by the paths of entries, as errors have them:
// "purposes.publish.calls[0].params.query"; that of "" stands at the top.
func WritePurposes(w io.Writer, purposes map[gatehouse.PurposeName]Purpose, notes map[string]string) error {
	o := writer{notes: notes}
	list := mapping()
	for _, name := range slices.Sorted(maps.Keys(purposes)) {
		at := "purposes." + string(name)
		put(list, o.key(string(name), at), o.purpose(at, purposes[name]))
	}
	top := mapping()
	put(top, o.key("purposes", ""), list)
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(top); err != nil {
		return fmt.Errorf("writing purposes: %w", err)
	}
	return e.Close()
}

// writer builds the nodes of a section.
type writer struct{ notes map[string]string }

func mapping() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func put(m, key, value *yaml.Node) { m.Content = append(m.Content, key, value) }

// plain is a value that is written as it is, with quotes where YAML needs them.
func plain(text string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(text)
	return n
}

func bare(text, tag string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: text}
}

// key is a key with its comment above it.
func (o writer) key(name, at string) *yaml.Node {
	n := plain(name)
	n.HeadComment = comment(o.notes[at])
	return n
}

// comment breaks a note into lines of a readable length.
func comment(note string) string {
	const width = 96
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(note) {
		if line != "" && len(line)+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	if line != "" {
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// onOneLine is a list on one line.
func onOneLine(list []string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, text := range list {
		n.Content = append(n.Content, plain(text))
	}
	return n
}

func (o writer) purpose(at string, p Purpose) *yaml.Node {
	m := mapping()
	put(m, plain("why"), plain(p.Why))
	if p.App != "" {
		put(m, plain("app"), plain(string(p.App)))
	}
	if p.Scopes != nil {
		put(m, o.key("scopes", at+".scopes"), onOneLine(p.Scopes))
	}
	if p.Keep != 0 {
		put(m, plain("keep"), plain(p.Keep.String()))
	}
	if len(p.Calls) == 0 {
		return m
	}
	calls := &yaml.Node{Kind: yaml.SequenceNode}
	for i, c := range p.Calls {
		calls.Content = append(calls.Content, o.call(at+".calls["+strconv.Itoa(i)+"]", c))
	}
	put(m, plain("calls"), calls)
	return m
}

func (o writer) call(at string, c Call) *yaml.Node {
	m := mapping()
	m.HeadComment = comment(o.notes[at])
	put(m, plain("call"), plain(c.Call))
	for _, h := range []struct {
		name  string
		rules map[string]Rule
	}{{"params", c.Params}, {"body", c.Body}} {
		if h.rules == nil {
			continue
		}
		rules := mapping()
		if len(h.rules) == 0 {
			rules.Style = yaml.FlowStyle
		}
		for _, name := range slices.Sorted(maps.Keys(h.rules)) {
			put(rules, o.key(name, at+"."+h.name+"."+name), rule(h.rules[name]))
		}
		put(m, o.key(h.name, at+"."+h.name), rules)
	}
	if c.Fields != nil {
		put(m, o.key("fields", at+".fields"), onOneLine(c.Fields))
	}
	if len(c.Unlisted) > 0 {
		put(m, plain("unlisted"), onOneLine(c.Unlisted))
	}
	return m
}

// rule is one rule on one line, without what is the default.
func rule(r Rule) *yaml.Node {
	m := mapping()
	m.Style = yaml.FlowStyle
	text := func(key, value string) {
		if value != "" {
			put(m, plain(key), plain(value))
		}
	}
	number := func(key string, value int) {
		if value != 0 {
			put(m, plain(key), bare(strconv.Itoa(value), "!!int"))
		}
	}
	text("type", r.Type)
	number("min", r.Min)
	number("max", r.Max)
	text("pattern", r.Pattern)
	if len(r.OneOf) > 0 {
		put(m, plain("one_of"), onOneLine(r.OneOf))
	}
	number("entries", r.Entries)
	if r.Required {
		put(m, plain("required"), bare("true", "!!bool"))
	}
	return m
}
