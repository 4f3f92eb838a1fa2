package platform

import (
	"fmt"
	"strings"
)

// The limits of a field expansion. Meta's own are not documented; these are far
// above what a request line holds.
const (
	maxFieldsLength = 64 << 10
	maxFields       = 2000
	maxFieldDepth   = 12
)

// Field is one entry of fields=: a name, modifiers such as .limit(5), and the
// fields asked for below it.
type Field struct {
	Name      string
	Modifiers []Modifier
	Fields    []Field
	// Expanded is set when braces or .fields() follow, even empty ones.
	Expanded bool
}

// Modifier is one ".name(argument)" of a field.
type Modifier struct{ Name, Argument string }

// Alias returns the name that .as() gives the field in the reply, or "".
func (f Field) Alias() string {
	for _, m := range f.Modifiers {
		if m.Name == "as" {
			return m.Argument
		}
	}
	return ""
}

// ParseFields parses a Graph field expansion such as
// "id,feed.limit(3){message,comments{from}}". The older spelling
// "feed.fields(message)" is understood as braces.
func ParseFields(s string) ([]Field, error) {
	if len(s) > maxFieldsLength {
		return nil, fmt.Errorf("fields: %w", ErrTooLarge)
	}
	p := fieldParser{s: s}
	fields, err := p.list(0, 0)
	if err != nil {
		return nil, err
	}
	if p.i != len(s) {
		return nil, p.fail("something follows the end")
	}
	return fields, nil
}

// fieldParser is a cursor over one expansion.
type fieldParser struct {
	s     string
	i     int
	count int
}

func (p *fieldParser) fail(why string) error {
	return fmt.Errorf("fields: %w: at byte %d %s", ErrSyntax, p.i, why)
}

func (p *fieldParser) space() {
	for p.i < len(p.s) && (p.s[p.i] == ' ' || p.s[p.i] == '\n' || p.s[p.i] == '\t' || p.s[p.i] == '\r') {
		p.i++
	}
}

func (p *fieldParser) next(c byte) bool {
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

// list parses fields up to the closing byte, which it consumes; 0 is the end of
// the text. Empty entries, as in "id,,name" and "id,", are passed over as Graph
// does.
func (p *fieldParser) list(closing byte, depth int) ([]Field, error) {
	if depth > maxFieldDepth {
		return nil, fmt.Errorf("fields: %w: nested too deep", ErrTooLarge)
	}
	var out []Field
	for {
		p.space()
		if p.i == len(p.s) {
			if closing != 0 {
				return nil, p.fail("a bracket is not closed")
			}
			return out, nil
		}
		if closing != 0 && p.next(closing) {
			return out, nil
		}
		if p.next(',') {
			continue
		}
		f, err := p.field(depth)
		if err != nil {
			return nil, err
		}
		if p.count++; p.count > maxFields {
			return nil, fmt.Errorf("fields: %w: too many", ErrTooLarge)
		}
		out = append(out, f)
		p.space()
		if p.i < len(p.s) && p.s[p.i] != ',' && (closing == 0 || p.s[p.i] != closing) {
			return nil, p.fail("a comma is missing")
		}
	}
}

func fieldByte(c byte) bool {
	return alphanumeric(c) || c == '_' || c == '-' || c == ':'
}

func (p *fieldParser) word() string {
	from := p.i
	for p.i < len(p.s) && fieldByte(p.s[p.i]) {
		p.i++
	}
	return p.s[from:p.i]
}

func (p *fieldParser) field(depth int) (Field, error) {
	f := Field{Name: p.word()}
	if f.Name == "" {
		return f, p.fail("a field name is missing")
	}
	for {
		p.space()
		switch {
		case p.next('.'):
			name := p.word()
			if name == "" || !p.next('(') {
				return f, p.fail("a modifier is malformed")
			}
			if name == "fields" {
				below, err := p.list(')', depth+1)
				if err != nil {
					return f, err
				}
				f.Fields, f.Expanded = append(f.Fields, below...), true
				continue
			}
			argument, err := p.argument()
			if err != nil {
				return f, err
			}
			f.Modifiers = append(f.Modifiers, Modifier{name, argument})
		case p.next('{'):
			below, err := p.list('}', depth+1)
			if err != nil {
				return f, err
			}
			f.Fields, f.Expanded = append(f.Fields, below...), true
		default:
			return f, nil
		}
	}
}

// argument reads up to the parenthesis that closes the modifier. Brackets and
// quoted strings nest inside.
func (p *fieldParser) argument() (string, error) {
	from, depth := p.i, 1
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '(', '{', '[':
			depth++
		case ')', '}', ']':
			if depth--; depth == 0 {
				if p.s[p.i] != ')' {
					return "", p.fail("brackets do not match")
				}
				p.i++
				return strings.TrimSpace(p.s[from : p.i-1]), nil
			}
		case '"', '\'':
			quote := p.s[p.i]
			for p.i++; p.i < len(p.s) && p.s[p.i] != quote; p.i++ {
				if p.s[p.i] == '\\' {
					p.i++
				}
			}
		}
	}
	return "", p.fail("a modifier is not closed")
}
