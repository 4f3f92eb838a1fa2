package scim

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"
)

// Bounds of what a body may hold. The deepest that providers send is a PATCH whose
// value is a whole user: six levels.
const (
	maxBody   = 256 << 10
	maxDepth  = 10
	maxValues = 20000
)

// An object is a JSON object by its names in lower case: SCIM's names do not tell case
// apart (RFC 7643, 2.1). Its values are nil, bool, string, json.Number, []any and object.
type object map[string]any

var errSyntax = wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-syntax", "The body is no JSON object of the kind that this asks for, is nested too deeply, or has a name twice.")

// parseObject reads a body. A name that stands twice in an object, in whatever case, is
// refused: two readers might each believe another one of them.
func parseObject(body []byte) (object, error) {
	if !utf8.Valid(body) {
		return nil, errSyntax
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	left := maxValues
	v, err := parseValue(d, maxDepth, &left)
	if err != nil {
		return nil, errSyntax
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errSyntax
	}
	o, ok := v.(object)
	if !ok {
		return nil, errSyntax
	}
	return o, nil
}

func parseValue(d *json.Decoder, depth int, left *int) (any, error) {
	if *left--; *left < 0 {
		return nil, errSyntax
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	delim, nested := t.(json.Delim)
	if !nested {
		return t, nil
	}
	if depth == 0 {
		return nil, errSyntax
	}
	switch delim {
	case '[':
		list := []any{}
		for d.More() {
			v, err := parseValue(d, depth-1, left)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case '{':
		o := object{}
		for d.More() {
			t, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, ok := t.(string)
			if !ok {
				return nil, errSyntax
			}
			name = strings.ToLower(name)
			if _, twice := o[name]; twice {
				return nil, errSyntax
			}
			if o[name], err = parseValue(d, depth-1, left); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return o, err
	}
	return nil, errSyntax
}

// invalidValue refuses a value and does not repeat it.
func invalidValue(detail string) error {
	return wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-value", detail)
}

// text is a value that is a text, or nothing.
func text(v any, name string) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return strings.TrimSpace(v), nil
	}
	return "", invalidValue(name + " must be a text.")
}

// truth is a value that is true or false. Entra writes them as texts.
func truth(v any, name string) (bool, error) {
	switch v := v.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
	}
	return false, invalidValue(name + " must be true or false.")
}

// values are the texts under "value" in a list of objects.
func values(v any, name string) ([]string, error) {
	var list []any
	switch v := v.(type) {
	case nil:
		return nil, nil
	case []any:
		list = v
	case object:
		list = []any{v}
	default:
		return nil, invalidValue(name + " must be a list of objects with a value.")
	}
	out := make([]string, 0, len(list))
	for _, item := range list {
		o, ok := item.(object)
		if !ok {
			return nil, invalidValue(name + " must be a list of objects with a value.")
		}
		s, err := text(o["value"], name)
		if err != nil {
			return nil, err
		}
		if s == "" {
			return nil, invalidValue(name + " must be a list of objects with a value.")
		}
		out = append(out, s)
	}
	return out, nil
}
