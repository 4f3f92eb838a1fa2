package meta

import (
	"encoding/json"
	"strconv"
	"strings"
)

// references lists the items that a text refers to by {result=name:path}.
func references(text string) []string {
	var names []string
	for _, reference := range split(text) {
		if reference.name != "" {
			names = append(names, reference.name)
		}
	}
	return names
}

// piece is a stretch of literal text, or a reference.
type piece struct {
	literal string
	name    string
	path    string
}

// split takes a text apart at its references. What is not a whole reference is
// literal.
func split(text string) []piece {
	const open = "{result="
	var pieces []piece
	for {
		at := strings.Index(text, open)
		if at < 0 {
			break
		}
		end := strings.IndexByte(text[at:], '}')
		if end < 0 {
			break
		}
		name, path, ok := strings.Cut(text[at+len(open):at+end], ":")
		if !ok || name == "" || !strings.HasPrefix(path, "$") {
			pieces = append(pieces, piece{literal: text[:at+end+1]})
		} else {
			pieces = append(pieces, piece{literal: text[:at]}, piece{name: name, path: path})
		}
		text = text[at+end+1:]
	}
	return append(pieces, piece{literal: text})
}

// substitute puts earlier results in place of references; false when one is
// missing or failed.
func (b *batchRun) substitute(text string) (string, bool) {
	var out strings.Builder
	for _, piece := range split(text) {
		if piece.name == "" {
			out.WriteString(piece.literal)
			continue
		}
		r := b.results[piece.name]
		if r == nil || !r.ok {
			return "", false
		}
		var value any
		decoder := json.NewDecoder(strings.NewReader(string(r.body)))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return "", false
		}
		out.WriteString(strings.Join(jsonPath(value, piece.path), ","))
	}
	return out.String(), true
}

// jsonPath evaluates the subset of JSONPath that batches use: $, .name, ..name,
// .*, [n], [*] and ['name'].
func jsonPath(value any, path string) []string {
	current := []any{value}
	rest := strings.TrimPrefix(path, "$")
	for rest != "" && len(current) > 0 {
		deep := false
		var step string
		switch {
		case strings.HasPrefix(rest, ".."):
			deep = true
			step, rest = cutStep(rest[2:])
		case rest[0] == '.':
			step, rest = cutStep(rest[1:])
		case rest[0] == '[':
			inner, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				return nil
			}
			step, rest = strings.Trim(inner, `'"`), after
		default:
			return nil
		}
		if step == "" {
			return nil
		}
		if deep {
			var all []any
			for _, v := range current {
				all = append(all, descendants(v)...)
			}
			current = all
		}
		var next []any
		for _, v := range current {
			next = append(next, pick(v, step)...)
		}
		current = next
	}
	var out []string
	for _, v := range current {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case json.Number:
			out = append(out, v.String())
		case bool:
			out = append(out, strconv.FormatBool(v))
		case nil:
		default:
			out = append(out, jsonText(v))
		}
	}
	return out
}

func cutStep(text string) (step, rest string) {
	if end := strings.IndexAny(text, ".["); end >= 0 {
		return text[:end], text[end:]
	}
	return text, ""
}

func pick(v any, step string) []any {
	switch v := v.(type) {
	case map[string]any:
		if step == "*" {
			var all []any
			for _, name := range sortedKeys(v) {
				all = append(all, v[name])
			}
			return all
		}
		if member, ok := v[step]; ok {
			return []any{member}
		}
	case []any:
		if step == "*" {
			return v
		}
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
			return []any{v[i]}
		}
	}
	return nil
}

func descendants(v any) []any {
	all := []any{v}
	switch v := v.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			all = append(all, descendants(v[name])...)
		}
	case []any:
		for _, child := range v {
			all = append(all, descendants(child)...)
		}
	}
	return all
}
