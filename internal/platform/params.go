package platform

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ParseParams parses a query or form body as the Graph API does: parts are
// separated by & only, and a value that is no proper percent-encoding stands for
// itself, because Meta's own SDK writes the bodies of batch items without
// encoding them. A name that cannot be decoded, or a semicolon that would make a
// control parameter for a reader that splits there, is an error.
func ParseParams(raw string) (url.Values, error) {
	params := url.Values{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, fmt.Errorf("%w: the name of a parameter is not percent-encoded", ErrSyntax)
		}
		if strings.Contains(part, ";") && splitsToControl(part) {
			return nil, fmt.Errorf("%w: a semicolon hides a parameter", ErrAmbiguous)
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			value = v
		}
		params[name] = append(params[name], value)
	}
	return params, nil
}

// splitsToControl reports whether cutting at semicolons would make one of the
// parameters that decide what a call does.
func splitsToControl(part string) bool {
	first := true
	for piece := range strings.SplitSeq(part, ";") {
		name, _, assigned := strings.Cut(piece, "=")
		if !first && assigned && slices.Contains(control, phpName(name)) {
			return true
		}
		first = false
	}
	return false
}
