package observe

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gatehouse/internal/platform"
	"gatehouse/internal/policy"
)

// shape suggests the bounds of one value, and says why they are those.
//
// A text that was seen with up to 200 characters may have 201 tomorrow: a bound is
// what the platform allows, where its documents say that, and otherwise what was
// seen, rounded up with room. Names are exact, values never stand here but for the
// platform's own words.
func (n *narrowest) shape(heading string, f *Field) (policy.Shape, string) {
	op, k := string(n.used.Operation), f.Kinds
	most, documented := platform.Most(n.p, op, f.Name)
	kind := ""
	if known, ok := platform.QueryParams(op); ok && n.p == platform.X && heading == "params" {
		kind = known[f.Name]
	}
	switch {
	case k.Has(IsFile):
		return policy.Shape{Type: policy.File}, "a file"
	case k.Has(IsObject) && !k.Has(IsList):
		return policy.Shape{Type: policy.Object}, "an object"
	case k.Has(IsList):
		s := policy.Shape{Type: policy.List, Entries: roundUp(f.Entries)}
		if documented && int64(most) >= f.Entries {
			s.Entries = most
		}
		if f.Entry > 0 {
			s.Max = roundUp(f.Entry)
		}
		return s, fmt.Sprintf("up to %d entries seen", f.Entries)
	}
	if words := n.words(f); words != nil {
		s := policy.Shape{OneOf: words}
		if f.Entries > 1 || kind == "list" {
			s.Type, s.Entries = policy.List, len(words)
		} else if kind != "" {
			s.Type = policy.Text
		}
		return s, "the platform's own words"
	}
	single := k & (IsText | IsInteger | IsNumber | IsBoolean)
	switch {
	case single == IsBoolean && (kind == "" || kind == "boolean"):
		return policy.Shape{Type: policy.Boolean}, "true or false"
	case single != 0 && single&^(IsInteger|IsNumber) == 0 && n.number(f, kind):
		return numbers(f, most, documented)
	case single != IsText && k.Has(JSON):
		return policy.Shape{}, "values of several kinds, without a bound"
	case kind == "list":
		s := policy.Shape{Type: policy.List, Entries: roundUp(f.Entries), Max: roundUp(f.Entry)}
		if documented && int64(most) >= f.Entries {
			s.Entries = most
		}
		return s, fmt.Sprintf("up to %d entries seen", f.Entries)
	}
	s := policy.Shape{Max: roundUp(f.Length)}
	if heading == "params" && kind != "" || k.Has(JSON) {
		s.Type = policy.Text
	}
	if documented && int64(most) >= f.Length && kind != "number" {
		s.Max = most
		return s, fmt.Sprintf("up to %d characters seen, %d is what the platform allows", f.Length, most)
	}
	return s, fmt.Sprintf("up to %d characters seen, rounded up", f.Length)
}

// number reports whether values that look like numbers are some. In a query or a
// form a text may look like one by chance.
func (n *narrowest) number(f *Field, kind string) bool {
	switch {
	case f.Kinds.Has(JSON), kind == "number":
		return true
	case f.Kinds.Has(InPath):
		// The Graph's ids may have an underscore, those of X's conversations a dash,
		// and a user's name may be digits.
		id := f.Name == "id" || strings.HasSuffix(f.Name, "_id")
		return n.p == platform.X && id && !strings.HasSuffix(f.Name, "conversation_id")
	case n.p.Graph():
		return f.Name == "limit" || f.Name == "offset"
	}
	return false
}

// numbers bounds a number.
func numbers(f *Field, most int, documented bool) (policy.Shape, string) {
	s := policy.Shape{Type: policy.Number}
	if f.Max >= 1e9 || f.Min <= -1e9 || f.Kinds.Has(InPath) {
		return s, "a number" // an id or a time: a bound would mean nothing
	}
	seen := fmt.Sprintf("%d to %d seen", f.Min, f.Max)
	if f.Min == f.Max {
		seen = fmt.Sprintf("%d seen", f.Max)
	}
	if s.Max = roundUp(f.Max); f.Max <= 0 {
		s.Max = 0
	}
	if f.Min >= 1 && s.Max > 0 {
		s.Min = 1
	}
	if documented && int64(most) >= f.Max {
		s.Max = most
		return s, fmt.Sprintf("%s, %d is what the platform allows", seen, most)
	}
	return s, seen + ", rounded up"
}

// words returns the platform's words that were seen; nil where it lists none, or
// another value was seen.
func (n *narrowest) words(f *Field) []string {
	if f.Kinds.Has(NoWord) || platform.Words(n.p, f.Name) == nil {
		return nil
	}
	var out []string
	for name := range n.used.fields[Word] {
		if word, ok := strings.CutPrefix(name, f.Name+"="); ok {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return out
}

// roundUp gives a measure room: at least half as much again, in one of 10, 20, 50,
// 100 and so on.
func roundUp(n int64) int {
	if n > 1<<40 {
		return 0
	}
	for step := int64(10); step < math.MaxInt64/10; step *= 10 {
		for _, m := range []int64{1, 2, 5} {
			if v := step * m; v >= n+n/2 {
				return int(v)
			}
		}
	}
	return 0
}

// fits reports whether what was seen is within what is declared, as far as the
// measures tell.
func fits(s policy.Shape, f *Field) bool {
	switch s.Type {
	case policy.Number:
		return !f.Kinds.Has(IsText) && (s.Max == 0 || f.Max <= int64(s.Max)) && (s.Min == 0 || f.Min >= int64(s.Min))
	case policy.List:
		return (s.Entries == 0 || f.Entries <= int64(s.Entries)) && (s.Max == 0 || f.Entry <= int64(s.Max))
	case policy.Object, policy.File, policy.Boolean:
		return !f.Kinds.Has(IsText)
	}
	return s.Max == 0 || f.Length <= int64(s.Max)
}
