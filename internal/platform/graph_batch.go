package platform

import "strings"

// resultReference reports whether s is a whole JSONPath reference to the id of an
// earlier item's result, such as "{result=friends:$.data.*.id}".
func resultReference(s string) bool {
	return strings.HasPrefix(s, "{result=") && strings.HasSuffix(s, "}")
}
