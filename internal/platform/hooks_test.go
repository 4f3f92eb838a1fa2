package platform

import (
	"maps"
	"slices"
)

// ReferenceOperations returns the operations whose data holds posts or
// users.
func ReferenceOperations() []string {
	return append(slices.Sorted(maps.Keys(referencePosts)), slices.Sorted(maps.Keys(referenceUsers))...)
}
