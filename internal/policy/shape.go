package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatehouse"
)

// Type is what a value of a request must be.
type Type string

// The types. The zero Type is any single value: a text, a number or a boolean.
const (
	Text    Type = "text"
	Number  Type = "number"
	Boolean Type = "boolean"
	// List is an array in JSON, and values separated by commas in a query or form.
	List Type = "list"
	// Object is a JSON object with whatever is in it.
	Object Type = "object"
	// File is a part of a multipart form that holds a file.
	File Type = "file"
)

// Types lists the types, for errors and documents.
func Types() []Type { return []Type{Text, Number, Boolean, List, Object, File} }

// Shape bounds one parameter, or one field of a body.
type Shape struct {
	Type Type `json:"type,omitempty"`
	// Min and Max bound the length of a text in Unicode characters, or the value of
	// a number; in a list, those of each entry. Zero means no bound.
	Min int `json:"min,omitempty"`
	Max int `json:"max,omitempty"`
	// Pattern is a regular expression (RE2) for the whole of a text, a number's
	// digits or a list's entry. Empty means any.
	Pattern string `json:"pattern,omitempty"`
	// OneOf are the only values, or the only entries of a list. None means any.
	OneOf []string `json:"one_of,omitempty"`
	// Entries is the most that a list may hold. Zero means no bound.
	Entries int `json:"entries,omitempty"`
	// Required refuses the call when the value is absent or null.
	Required bool `json:"required,omitempty"`
}

// String says what the shape allows, for a person.
func (s Shape) String() string {
	var out []string
	add := func(format string, v any, is bool) {
		if is {
			out = append(out, fmt.Sprintf(format, v))
		}
	}
	add("%s", s.Type, s.Type != "")
	add("min %d", s.Min, s.Min != 0)
	add("max %d", s.Max, s.Max != 0)
	add("pattern %s", s.Pattern, s.Pattern != "")
	add("one of %s", strings.Join(s.OneOf, " "), len(s.OneOf) > 0)
	add("at most %d entries", s.Entries, s.Entries != 0)
	add("%s", "required", s.Required)
	if len(out) == 0 {
		return "any single value"
	}
	return strings.Join(out, ", ")
}

// shape is a Shape that can judge.
type shape struct {
	Shape
	pattern *regexp.Regexp
	// inner is set where fields below are declared: on the object that holds them,
	// or the list of such objects.
	inner bool
}

func (s Shape) compile() (*shape, error) {
	c := &shape{Shape: s}
	c.OneOf = slices.Clone(s.OneOf)
	switch {
	case s.Type != "" && !slices.Contains(Types(), s.Type):
		return nil, fmt.Errorf("type is none of text, number, boolean, list, object, file: %w", gatehouse.ErrInvalid)
	case s.Max != 0 && s.Min > s.Max:
		return nil, fmt.Errorf("min is greater than max: %w", gatehouse.ErrInvalid)
	case s.Entries != 0 && s.Type != List:
		return nil, fmt.Errorf("entries belongs to type list: %w", gatehouse.ErrInvalid)
	case (s.Type == Object || s.Type == File || s.Type == Boolean) && (s.Min != 0 || s.Max != 0 || s.Pattern != "" || len(s.OneOf) > 0):
		return nil, fmt.Errorf("type %s has no bounds: %w", s.Type, gatehouse.ErrInvalid)
	}
	if s.Pattern != "" {
		re, err := regexp.Compile(`\A(?:` + s.Pattern + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("pattern is not a regular expression of the RE2 kind: %w", gatehouse.ErrInvalid)
		}
		c.pattern = re
	}
	return c, nil
}

// Kind says what an Argument is.
type Kind uint8

// The kinds of argument.
const (
	Written   Kind = iota // a text of a query, a form or a path: its type is what the contract says
	IsText                // a JSON text
	IsNumber              // a JSON number, as it is written
	IsBoolean             // true or false
	IsNull                // JSON's null, which stands for an absent value
	IsList                // a JSON array; Size entries follow, each an Argument of the same name
	IsObject              // a JSON object; its fields follow
	IsFile                // a file of a multipart form
)

// Argument is one value of a request: a parameter, or a field of the body with
// the path to it, as in "poll.options".
type Argument struct {
	Name string
	Kind Kind
	Text string
	Size int  // of a list
	In   bool // an entry of the list of this name
	// Free is set on what a platform's paging links carry: it needs no declaration.
	Free bool
	// Selects is set on parameters that only choose fields of the reply. Where a
	// contract declares fields, those govern it.
	Selects bool
	// Path is set on parts of the call's path, which the call itself declares.
	Path bool
}

// fault is what is wrong with a value; the name of the Shape's entry that says so.
type fault string

const (
	fine       fault = ""
	badType    fault = "type"
	tooSmall   fault = "min"
	tooLarge   fault = "max"
	badPattern fault = "pattern"
	notOneOf   fault = "one_of"
	tooMany    fault = "entries"
)

// judge looks at one value. It allocates nothing.
func (s *shape) judge(a Argument) fault {
	switch a.Kind {
	case IsNull:
		return fine
	case IsObject:
		if s.inner || s.Type == Object {
			return fine
		}
		return badType
	case IsFile:
		if s.Type != File {
			return badType
		}
		return fine
	case IsList:
		switch {
		case s.Type == Object:
			return fine
		case s.Type != List:
			return badType
		case s.Entries != 0 && a.Size > s.Entries:
			return tooMany
		}
		return fine
	case Written:
		return s.written(a.Text)
	}
	switch {
	case a.In && s.Type == List, s.Type == "" && !s.inner && !a.In:
	case a.Kind == IsText && s.Type == Text, a.Kind == IsNumber && s.Type == Number, a.Kind == IsBoolean && s.Type == Boolean:
		if a.In {
			return badType
		}
	default:
		return badType
	}
	if a.Kind == IsNumber {
		return s.number(a.Text)
	}
	return s.text(a.Text)
}

// written judges a text whose type the request does not say.
func (s *shape) written(text string) fault {
	switch s.Type {
	case Number:
		return s.number(text)
	case Boolean:
		if text != "true" && text != "false" {
			return badType
		}
		return fine
	case Object:
		return fine
	case File:
		return badType
	case List:
		for n, rest, more := 1, text, true; more; n++ {
			var entry string
			entry, rest, more = strings.Cut(rest, ",")
			if s.Entries != 0 && n > s.Entries {
				return tooMany
			}
			if f := s.text(entry); f != fine {
				return f
			}
		}
		return fine
	}
	if s.inner {
		return badType
	}
	return s.text(text)
}

func (s *shape) text(text string) fault {
	if s.Min != 0 || s.Max != 0 {
		switch n := utf8.RuneCountInString(text); {
		case n < s.Min:
			return tooSmall
		case s.Max != 0 && n > s.Max:
			return tooLarge
		}
	}
	return s.value(text)
}

func (s *shape) value(text string) fault {
	if s.pattern != nil && !s.pattern.MatchString(text) {
		return badPattern
	}
	if len(s.OneOf) > 0 && !slices.Contains(s.OneOf, text) {
		return notOneOf
	}
	return fine
}

// number accepts plain decimals alone: in another spelling, such as 1e3, servers
// may read another number than we do.
func (s *shape) number(text string) fault {
	dot, digits := false, 0
	for i := range len(text) {
		switch c := text[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c == '-' && i == 0:
		case c == '.' && !dot && digits > 0:
			dot = true
		default:
			return badType
		}
	}
	if digits == 0 || digits > 40 || text[len(text)-1] == '.' {
		return badType
	}
	if s.Min != 0 || s.Max != 0 {
		v, err := strconv.ParseFloat(text, 64)
		switch {
		case err != nil:
			return badType
		case s.Min != 0 && v < float64(s.Min):
			return tooSmall
		case s.Max != 0 && v > float64(s.Max):
			return tooLarge
		}
	}
	return s.value(text)
}
