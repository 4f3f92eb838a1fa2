package meta

import (
	"strings"
	"unicode/utf8"
)

// selection is a parsed "fields" parameter.
type selection []selected

// selected is one field: name.modifier(argument){sub-fields}.
type selected struct {
	name string
	// alias comes from .as(alias).
	alias string
	// modifiers are .limit(5), .order(reverse_chronological), .since(…) …
	modifiers map[string]string
	sub       selection
}

// key is the name under which the field is answered.
func (s selected) key() string {
	if s.alias != "" {
		return s.alias
	}
	return s.name
}

// String writes the field so that parseFields reads it back.
func (s selected) String() string {
	var b strings.Builder
	b.WriteString(s.name)
	if s.alias != "" {
		b.WriteString(".as(" + s.alias + ")")
	}
	for _, name := range sortedKeys(s.modifiers) {
		b.WriteString("." + name + "(" + s.modifiers[name] + ")")
	}
	if len(s.sub) > 0 {
		b.WriteString("{" + s.sub.String() + "}")
	}
	return b.String()
}

// String writes the selection so that parseFields reads it back.
func (s selection) String() string {
	parts := make([]string, len(s))
	for i, field := range s {
		parts[i] = field.String()
	}
	return strings.Join(parts, ",")
}

// The bounds on field expansion. Graph has bounds too, without publishing them.
const (
	maxFieldDepth = 16
	maxFields     = 2000
)

// parseFields reads field expansion. An empty text selects nothing, which means
// the kind's defaults.
func parseFields(text string) (selection, *failure) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if !utf8.ValidString(text) {
		return nil, syntax("Syntax error \"Expected name.\" at character 0: the fields parameter is not UTF-8")
	}
	f := &fieldParser{text: text}
	s, failed := f.list(0)
	if failed != nil {
		return nil, failed
	}
	if f.at < len(f.text) {
		return nil, f.fail("Expected end of string instead of \"" + f.text[f.at:f.at+1] + "\".")
	}
	return s, nil
}

type fieldParser struct {
	text  string
	at    int
	count int
}

func (f *fieldParser) fail(what string) *failure {
	return syntax("Syntax error \"%s\" at character %d: %s", what, f.at, f.text)
}

func (f *fieldParser) space() {
	for f.at < len(f.text) && strings.IndexByte(" \t\r\n", f.text[f.at]) >= 0 {
		f.at++
	}
}

// take consumes c when it comes next.
func (f *fieldParser) take(c byte) bool {
	f.space()
	if f.at < len(f.text) && f.text[f.at] == c {
		f.at++
		return true
	}
	return false
}

func (f *fieldParser) name() (string, *failure) {
	f.space()
	start := f.at
	for f.at < len(f.text) && isNameByte(f.text[f.at]) {
		f.at++
	}
	if start == f.at {
		return "", f.fail("Expected name.")
	}
	return f.text[start:f.at], nil
}

func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (f *fieldParser) list(depth int) (selection, *failure) {
	if depth > maxFieldDepth {
		return nil, f.fail("Field expansion is nested too deeply.")
	}
	var all selection
	for {
		// A trailing comma is accepted, as Graph does.
		f.space()
		if len(all) > 0 && (f.at == len(f.text) || f.text[f.at] == '}') {
			return all, nil
		}
		field, failed := f.field(depth)
		if failed != nil {
			return nil, failed
		}
		all = append(all, field)
		if !f.take(',') {
			return all, nil
		}
	}
}

func (f *fieldParser) field(depth int) (selected, *failure) {
	f.count++
	if f.count > maxFields {
		return selected{}, f.fail("Too many fields.")
	}
	name, failed := f.name()
	if failed != nil {
		return selected{}, failed
	}
	field := selected{name: name}
	for {
		switch {
		case f.take('.'):
			if failed := f.modifier(&field, depth); failed != nil {
				return selected{}, failed
			}
		case field.sub == nil && f.take('{'):
			sub, failed := f.list(depth + 1)
			if failed != nil {
				return selected{}, failed
			}
			if !f.take('}') {
				return selected{}, f.fail("Expected \"}\".")
			}
			field.sub = sub
		default:
			return field, nil
		}
	}
}

func (f *fieldParser) modifier(field *selected, depth int) *failure {
	name, failed := f.name()
	if failed != nil {
		return failed
	}
	if !f.take('(') {
		return f.fail("Expected \"(\".")
	}
	// The old form of sub-fields: feed.fields(message,from).
	if name == "fields" {
		sub, failed := f.list(depth + 1)
		if failed != nil {
			return failed
		}
		if !f.take(')') {
			return f.fail("Expected \")\".")
		}
		field.sub = sub
		return nil
	}
	end := strings.IndexByte(f.text[f.at:], ')')
	if end < 0 {
		return f.fail("Expected \")\".")
	}
	argument := strings.TrimSpace(f.text[f.at : f.at+end])
	f.at += end + 1
	if name == "as" {
		for i := range len(argument) {
			if !isNameByte(argument[i]) {
				return f.fail("Expected name.")
			}
		}
		field.alias = argument
		return nil
	}
	if field.modifiers == nil {
		field.modifiers = make(map[string]string)
	}
	field.modifiers[name] = argument
	return nil
}
