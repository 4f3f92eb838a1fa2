package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse"

	"go.yaml.in/yaml/v3"
)

// Error is one thing that is wrong with the file.
type Error struct {
	File         string
	Line, Column int
	// Field is the path of the entry, such as purposes.publish.calls[0].call; ""
	// for the file as a whole.
	Field string
	Text  string
}

func (e Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line) + ":" + strconv.Itoa(e.Column)
	}
	if e.Field != "" {
		where += ": " + e.Field
	}
	return where + ": " + e.Text
}

// Unwrap makes every Error an ErrInvalid.
func (e Error) Unwrap() error { return gatehouse.ErrInvalid }

// Errors are all things that are wrong with the file, in the file's order.
type Errors []Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes Errors an ErrInvalid.
func (e Errors) Unwrap() error { return gatehouse.ErrInvalid }

// Warning is something that is allowed but should be known.
type Warning Error

func (w Warning) String() string { return Error(w).Error() }

// maxErrors keeps a file that is no configuration at all from answering with a
// book.
const maxErrors = 50

// position is where an entry stands.
type position struct{ line, column int }

// decoder turns YAML nodes into structs. It is strict: what it does not
// understand is an error, and it goes on to find the others.
type decoder struct {
	file     string
	resolver Resolver
	at       map[string]position // of each entry, by path
	errors   Errors
	warnings []Warning
}

// fail notes an error at a node. No caller may put a value of the file into text
// unless the field can hold no credential.
func (d *decoder) fail(n *yaml.Node, path, text string) {
	d.errors = append(d.errors, Error{d.file, n.Line, n.Column, path, text})
}

// failAt notes an error at an entry that was decoded, or else at the nearest
// entry around it.
func (d *decoder) failAt(path, text string) {
	p := d.where(path)
	d.errors = append(d.errors, Error{d.file, p.line, p.column, path, text})
}

func (d *decoder) warnAt(path, text string) {
	p := d.where(path)
	d.warnings = append(d.warnings, Warning{d.file, p.line, p.column, path, text})
}

func (d *decoder) where(path string) position {
	for {
		if p, ok := d.at[path]; ok {
			return p
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return position{1, 1}
		}
		path = path[:i]
	}
}

// nodeDecoder is a type that reads its own node.
type nodeDecoder interface {
	decode(d *decoder, n *yaml.Node, path string)
}

// value decodes n into v. path names the entry in errors.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	d.at[path] = position{n.Line, n.Column}
	if !d.plain(n, path) {
		return
	}
	switch target := v.Addr().Interface().(type) {
	case nodeDecoder:
		target.decode(d, n, path)
		return
	case *netip.Prefix:
		d.prefix(n, target, path)
		return
	case *time.Duration:
		d.duration(n, target, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(n, v.Addr().Interface(), path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.fail(n, path, "a list is needed here: [a, b]")
			return
		}
		if len(n.Content) == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0)) // there, and empty: no fields at all
		}
		for i, item := range n.Content {
			element := reflect.New(v.Type().Elem()).Elem()
			d.value(item, element, path+"["+strconv.Itoa(i)+"]")
			v.Set(reflect.Append(v, element))
		}
	case reflect.String:
		if text, ok := d.text(n, path); ok {
			v.SetString(text)
		}
	case reflect.Bool:
		switch {
		case n.Kind == yaml.ScalarNode && n.Value == "true":
			v.SetBool(true)
		case n.Kind == yaml.ScalarNode && n.Value == "false":
		default:
			d.fail(n, path, "write true or false")
		}
	case reflect.Int:
		number, err := strconv.Atoi(n.Value)
		if n.Kind != yaml.ScalarNode || err != nil || number < 0 {
			d.fail(n, path, "a whole number is needed here")
			return
		}
		v.SetInt(int64(number))
	default:
		panic("config: no decoder for " + v.Type().String())
	}
}

// plain refuses YAML's means of saying something in a way that a reviewer does
// not see: anchors and aliases (which also can grow without bound), tags, merge
// keys, and entries without a value.
func (d *decoder) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fail(n, path, "anchors and aliases are not accepted; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		d.fail(n, path, "YAML tags are not accepted")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		d.fail(n, path, "has no value; write one or leave the entry out")
	default:
		return true
	}
	return false
}

// text returns the text of a scalar.
func (d *decoder) text(n *yaml.Node, path string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.fail(n, path, "a single value is needed here")
	case n.ShortTag() != "!!str" && n.ShortTag() != "!!int":
		d.fail(n, path, "YAML reads this as something else than text; put it into quotes")
	case n.Value == "":
		d.fail(n, path, "has no value; write one or leave the entry out")
	case strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.fail(n, path, "holds a control character or a line break")
	default:
		return n.Value, true
	}
	return "", false
}

func (d *decoder) prefix(n *yaml.Node, target *netip.Prefix, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, aerr := netip.ParseAddr(text)
		if aerr != nil || a.Zone() != "" {
			d.fail(n, path, "write a network as 10.1.0.0/16 or 2001:db8::/32")
			return
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p != p.Masked() {
		d.fail(n, path, "the address has bits beyond the network's length; write "+p.Masked().String())
		return
	}
	*target = p
}

func (d *decoder) duration(n *yaml.Node, target *time.Duration, path string) {
	text, ok := d.text(n, path)
	if !ok {
		return
	}
	v, err := time.ParseDuration(text)
	if err != nil || v <= 0 {
		d.fail(n, path, "write a span of time as 30s, 10m or 24h")
		return
	}
	*target = v
}

// decodeStruct decodes a mapping into the struct that target points to.
func (d *decoder) decodeStruct(n *yaml.Node, target any, path string) {
	v := reflect.ValueOf(target).Elem()
	fields, names := map[string]int{}, []string{}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Tag.Get("yaml"); name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	d.pairs(n, path, func(key *yaml.Node, value *yaml.Node, at string) {
		i, known := fields[key.Value]
		if !known {
			text := "unknown entry"
			if near := nearest(key.Value, names); near != "" {
				text += "; did you mean " + near + "?"
			}
			d.fail(key, at, text)
			return
		}
		d.value(value, v.Field(i), at)
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.pairs(n, path, func(key *yaml.Node, value *yaml.Node, at string) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, at)
		// The name's own place is what an error about the entry should point at.
		d.at[at] = position{key.Line, key.Column}
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), element)
	})
}

// pairs calls visit for each entry of a mapping, once for each name.
func (d *decoder) pairs(n *yaml.Node, path string, visit func(key, value *yaml.Node, at string)) {
	if n.Kind != yaml.MappingNode {
		d.fail(n, path, "entries are needed here: {name: value}")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0 || len(key.Value) > 253 || key.Value == "" {
			d.fail(key, path, "the entry's name is not a plain text")
			continue
		}
		at := strings.TrimPrefix(path+"."+printable(key.Value), ".")
		if line, twice := seen[key.Value]; twice {
			d.fail(key, at, "stands here twice; the first is in line "+strconv.Itoa(line))
			continue
		}
		seen[key.Value] = key.Line
		visit(key, n.Content[i+1], at)
	}
}

// printable keeps control characters of a name out of errors and logs.
func printable(s string) string {
	if q := strconv.Quote(s); q[1:len(q)-1] != s {
		return q
	}
	return s
}

// sorted returns the errors in the file's order, each once, and not too many.
func (d *decoder) sorted() Errors {
	all := slices.Clone(d.errors)
	slices.SortStableFunc(all, func(a, b Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	all = slices.Compact(all)
	if len(all) > maxErrors {
		rest := len(all) - maxErrors
		all = append(all[:maxErrors], Error{File: d.file, Text: fmt.Sprintf("and %d more errors", rest)})
	}
	return all
}

// syntaxError turns the YAML parser's error into ours.
func syntaxError(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	e := Error{File: file, Line: 1, Column: 1}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if number, why, ok := strings.Cut(rest, ": "); ok {
			if line, nerr := strconv.Atoi(number); nerr == nil {
				e.Line, text = line, why
			}
		}
	}
	if strings.HasPrefix(text, "unknown anchor") {
		// The parser quotes the name, and a secret may begin with an asterisk.
		text = "an alias without an anchor; anchors and aliases are not accepted (put a text that begins with * into quotes)"
	}
	e.Text = "not valid YAML: " + text
	return Errors{e}
}
