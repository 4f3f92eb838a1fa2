package scim

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"gatehouse"
	"gatehouse/internal/wire"

	filter "github.com/scim2/filter-parser/v2"
)

// The library's parsers recurse as deeply as their input is nested, and take about a
// millisecond for each hundred parentheses: what they get is bounded first.
const (
	maxFilter = 512
	maxPath   = 256
)

var (
	errFilter   = wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-filter", `This filter is not offered: one of userName, externalId, id and emails.value, or of a group displayName, externalId and id, then eq and a text in quotes.`)
	noTarget    = wire.Refuse(gatehouse.ErrInvalid, "scim/no-target", "An operation that removes needs a path.")
	errPath     = wire.Refuse(gatehouse.ErrInvalid, "scim/invalid-path", "The path of an operation names nothing that a resource has here.")
	errReadOnly = wire.Refuse(gatehouse.ErrInvalid, "scim/mutability", "The path of an operation names what only Gatehouse changes.")
)

// equality is the only kind of filter that provisioning needs: one attribute, in lower
// case, equals one text.
type equality struct{ attribute, value string }

func parseFilter(s string, schema string) (equality, error) {
	if len(s) > maxFilter || !utf8.ValidString(s) {
		return equality{}, errFilter
	}
	parsed, err := filter.ParseFilter([]byte(s))
	if err != nil {
		return equality{}, errFilter
	}
	e, ok := parsed.(*filter.AttributeExpression)
	if !ok || e.Operator != filter.EQ || !ours(e.AttributePath, schema) {
		return equality{}, errFilter
	}
	value, ok := compared(e)
	if !ok {
		return equality{}, errFilter
	}
	return equality{dotted(e.AttributePath), value}, nil
}

// compared is the text that an expression compares with. The library leaves it as it was
// escaped.
func compared(e *filter.AttributeExpression) (string, bool) {
	raw, ok := e.CompareValue.(string)
	if !ok {
		return "", false
	}
	var value string
	if json.Unmarshal([]byte(`"`+raw+`"`), &value) != nil {
		return "", false
	}
	return value, true
}

// ours reports whether a path belongs to a schema of ours: it names none, or this.
func ours(p filter.AttributePath, schema string) bool {
	return p.URIPrefix == nil || strings.EqualFold(p.URI(), schema)
}

// dotted is a path in lower case, without its schema.
func dotted(p filter.AttributePath) string {
	name := strings.ToLower(p.AttributeName)
	if p.SubAttribute != nil {
		name += "." + strings.ToLower(*p.SubAttribute)
	}
	return name
}

// target is what a path of a PATCH names.
type target struct {
	// attribute is in lower case, with a sub-attribute behind a dot: name.givenname.
	attribute string
	// where chooses among several values; nil for all.
	where filter.Expression
	// foreign says that it belongs to an extension, of which nothing is kept.
	foreign bool
}

func parsePath(s, schema string) (target, error) {
	if len(s) > maxPath || !utf8.ValidString(s) {
		return target{}, errPath
	}
	if lower := strings.ToLower(s); strings.HasPrefix(lower, "urn:") && !strings.HasPrefix(lower, strings.ToLower(schema)+":") {
		return target{foreign: true}, nil
	}
	p, err := filter.ParsePath([]byte(s))
	if err != nil || !ours(p.AttributePath, schema) {
		return target{}, errPath
	}
	t := target{attribute: dotted(p.AttributePath), where: p.ValueExpression}
	if p.SubAttribute != nil {
		t.attribute += "." + strings.ToLower(*p.SubAttribute)
	}
	return t, nil
}

// match reports whether a filter in brackets chooses a value, whose attributes are given
// as texts. It knows eq and and; anything else is ok=false.
func match(e filter.Expression, has map[string]string) (matches, ok bool) {
	switch e := e.(type) {
	case nil:
		return true, true
	case *filter.AttributeExpression:
		if e.Operator != filter.EQ || e.AttributePath.URIPrefix != nil {
			return false, false
		}
		want, isText := compared(e)
		if truth, isTruth := e.CompareValue.(bool); isTruth {
			want, isText = map[bool]string{true: "true", false: "false"}[truth], true
		}
		return isText && strings.EqualFold(has[dotted(e.AttributePath)], want), isText
	case *filter.LogicalExpression:
		if e.Operator != filter.AND {
			return false, false
		}
		left, ok1 := match(e.Left, has)
		right, ok2 := match(e.Right, has)
		return left && right, ok1 && ok2
	}
	return false, false
}
